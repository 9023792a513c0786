"""Wrong input: the real command on folders, files and settings that people get wrong, or make with ill intent.

Claim: on each case the command does what its row wants (it works, leaves the file out and names it, or refuses with an exit code of
docs/reference.md); the message names the file or key and a mend; no input changes, no traceback is shown, and nothing half-written
stays behind, not even after ``kill -9`` and the same command again.

The cases are in wrong_cases.py. Whatever lies in a case's folder before the command counts as its input. Damage within a JPEG cannot
always be seen: the second table says how much of it is found.

Run: python benchmarks/wrong_input.py [--only WORD]; 3 minutes of CPU, on two cores. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from io import BytesIO
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from tables import Bar, cpu_seconds, publish
from wrong_cases import with_hole
from wrong_setup import CASES, Wanted, coded, picture, start, tree

from augmint.core import rng
from augmint.core.errors import BadSample
from augmint.data import images

TRIES = 100


def run(wanted: Wanted, home: Path, log: Path) -> tuple[int, list[str]]:
    """Give the command, kill it at each sign and give it again: (last exit code, what went wrong with the kills)."""
    faults = []
    for sign in wanted.kills:
        process = start(wanted.args, log, on_one_core=True)
        while process.poll() is None and not sign(home):
            time.sleep(0.002)
        process.kill()
        if process.wait() != -signal.SIGKILL:
            faults.append("it ended before it was killed")
        if not ends(process.pid):
            faults.append("its workers lived on")
    last = start(wanted.args, log, as_anybody=wanted.as_anybody, on_one_core=bool(wanted.kills))
    return last.wait(), faults


def ends(group: int, patience_s: float = 10.0) -> bool:
    """Whether all processes of a group end by themselves; those that do not are ended."""
    until = time.monotonic() + patience_s
    try:
        while time.monotonic() < until:
            os.killpg(group, 0)
            time.sleep(0.05)
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return True
    return False


def message(lines: Sequence[str], wanted: Wanted) -> str:
    """The line that holds the name and, of a refusal, the mend below it."""
    for i, line in enumerate(lines):
        if wanted.names and wanted.names in line:
            has_more = wanted.code > 0 and "to mend it:" in "".join(lines[i + 1 : i + 2])
            return line + (f" / {lines[i + 1].strip()}" if has_more else "")
    return ""


def judge(title: str) -> dict[str, Any]:
    """Build a case, give its command, and compare what came with what was wanted."""
    with TemporaryDirectory() as scratch:
        home, log = Path(scratch) / "home", Path(scratch) / "log.txt"
        home.mkdir()
        wanted = CASES[title](home)
        before = tree(home)
        code, faults = run(wanted, home, log)
        after, text = tree(home), log.read_text(errors="replace")
        changed = [name for name, told in before.items() if after.get(name) != told]
        new = after.keys() - before.keys()
        left = sorted(new if wanted.code > 0 else {n for n in new if n.endswith(".part") or n.endswith(".augmint")})
        told = message(text.splitlines(), wanted)
        is_told = not wanted.names or (wanted.names in told and wanted.mend in told)
        if code != max(wanted.code, 0):
            faults.append(f"exit code {code}: {text.strip()[-300:]}")
        elif wrong := wanted.check(home):
            faults.append(wrong)
        faults += [f"left behind: {left[:3]}"] if left else []
        faults += [] if is_told else [f"not told: {wanted.names}, {wanted.mend}"]
        return {
            "case": title,
            "wanted": wanted.told,
            "exit code": code,
            "message": told.replace(str(home) + "/", "").replace(str(home), "").replace("|", "/").strip(),
            "inputs changed": len(changed),
            "left behind": len(left),
            "traceback": "Traceback" in text,
            "named and mend": is_told,
            "as wanted": "; ".join(faults).replace("|", "/").replace("\n", " ") or "yes",
        }


def whole_jpegs() -> list[bytes]:
    """Photographs as their cameras and editors coded them, and pictures coded in other ways."""
    found = [p.read_bytes() for p in (files("sklearn") / "datasets" / "images").iterdir() if p.name.endswith(".jpg")]  # type: ignore[attr-defined]
    photo = picture("photo", height=200, width=300)
    ways: list[dict[str, Any]] = [{"quality": q, "subsampling": s} for q in (30, 75, 95) for s in (0, 2)]
    ways += [{"optimize": True}, {"progressive": True}, {"restart_marker_blocks": 4}]
    return found + [coded(photo.convert(mode), "JPEG", **way) for mode in ("RGB", "L", "CMYK") for way in ways]


def refuses(data: bytes, path: Path) -> bool:
    path.write_bytes(data)
    try:
        images.read(path)
    except BadSample:
        return True
    return False


def damage_found(tries: int) -> list[dict[str, Any]]:
    """How many of the JPEGs with a hole of so many bytes are refused."""
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory() as scratch:
        path, whole = Path(scratch) / "a.jpg", whole_jpegs()
        refused = sum(refuses(data, path) for data in whole)
        rows.append({"coding": "all", "bytes overwritten": 0, "with": "", "files": len(whole), "refused": refused})
        large = [data for data in whole if len(data) > 20_000 and b"\xff\xc2" not in data]
        again = [coded(Image.open(BytesIO(data)), "JPEG", quality=90, progressive=True) for data in large]
        for coding, size in product(("sequential", "progressive"), (1, 64, 512, 4096)):
            some = large if coding == "sequential" else again
            where = rng.uniform(rng.key("hole", size), np.arange(tries))
            noise = (255 * rng.uniform(rng.key("noise", size), np.arange(size))).astype(np.uint8).tobytes()
            for name, filling in (("zeros", bytes(size)), ("noise", noise)):
                holes = (with_hole(some[i % len(some)], w, filling) for i, w in enumerate(where.tolist()))
                refused = sum(refuses(data, path) for data in holes)
                row = {"coding": coding, "bytes overwritten": size, "with": name}
                rows.append({**row, "files": tries, "refused": refused})
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose title holds this word")
    parser.add_argument("--jobs", type=int, default=2, help="commands at a time")
    args = parser.parse_args()
    begun, cpu = time.perf_counter(), cpu_seconds()
    titles = [title for title in CASES if args.only in title]
    with ThreadPoolExecutor(args.jobs) as pool:
        rows = []
        for row in pool.map(judge, titles):
            print(f"{row['case']}: {row['as wanted']}", flush=True)
            rows.append(row)
    wrong = [r["case"] for r in rows if r["as wanted"] != "yes"]
    changed = sum(r.pop("inputs changed") for r in rows)
    traces = sum(r.pop("traceback") for r in rows)
    untold = sum(not r.pop("named and mend") for r in rows)
    bars = [
        Bar("cases not as wanted", "0", f"{len(wrong)} of {len(rows)}", not wrong),
        Bar("inputs changed", "0", str(changed), not changed),
        Bar("tracebacks", "0", str(traces), not traces),
        Bar("messages without the file or key, or without a mend", "0", str(untold), not untold),
    ]
    claim = (__doc__ or "").split("\n\n")[1].replace("\n", " ")
    notes = [
        f"{time.perf_counter() - begun:.0f} s, {args.jobs} commands at a time; {cpu_seconds() - cpu:.0f} s of CPU. In the cases "
        "that are about permissions root gives up its right to read and write everywhere.",
        "A killed run must give the files of one that nobody killed, and its worker processes must end with it.",
        "Damage is found by the JPEG decoder's own remarks, and by zeros where its tables allow none; a change within one "
        "coefficient leaves a file that is as valid as before, and no reader can know.",
    ]
    tables = {"Cases": rows, "Damage within a JPEG": damage_found(TRIES)}
    return publish("wrong_input", claim, bars, tables, notes, store=not args.only)


if __name__ == "__main__":
    sys.exit(main())
