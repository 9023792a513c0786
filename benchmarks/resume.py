"""A run that was killed and started again equals the one that was not, bit for bit.

Claim: ``augmint train`` is killed with SIGKILL at random steps (once, or three times in a row; with a pool also while its first
stage learns), the same command is given again, and the weights, the optimiser's moments, the curves and the pictures are
those of the uninterrupted run.

Run: python benchmarks/resume.py [--kills 5] [--steps 60]; about 3 minutes. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tables import Bar, cpu_seconds, publish

from augmint.core import rng
from augmint.core.run import read_jsonl
from augmint.modalities import get
from augmint.steps.handwriting import write_digits

COMPARED = ("gan/*", "gan.json", "checkpoints/*", "checkpoints/*/*", "metrics.jsonl", "samples/*", "split.csv")
Kill = tuple[str, int]
"""Where to kill: ``("gan", step)``, or ``("stage 1", 0)``: while the pool is learned."""


def command(data: Path, pool: Path | None, out: Path, steps: int) -> list[str]:
    """The command, as a user gives it."""
    augmint = str(Path(sys.executable).with_name("augmint"))
    more = ["--unlabelled", str(pool)] if pool else []
    return [augmint, "train", str(data), "--out", str(out), *more, "--steps", str(steps), "--seed", "3"]


def start(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    """One process on one core: a run chooses its number of threads by the clock, and threads may change bits."""
    core = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None

    def pin() -> None:
        if core is not None:
            os.sched_setaffinity(0, {core})

    with log.open("ab") as sink:
        return subprocess.Popen(arguments, stdout=sink, stderr=sink, preexec_fn=pin)  # noqa: PLW1509 - no threads here


def reached(run: Path, kill: Kill) -> bool:
    """Whether the run has come to the place where it shall be killed."""
    where, step = kill
    if where == "stage 1":
        return (run / "choices.json").exists() and "stage_1_steps" in (run / "choices.json").read_text()
    rows = read_jsonl(run / "metrics.jsonl")
    return bool(rows) and int(rows[-1]["step"]) >= step


def train(arguments: list[str], run: Path, log: Path, kills: tuple[Kill, ...]) -> list[str]:
    """Run the command to its end; before that, once for each kill, until it gets there. Returns where it was killed."""
    told = []
    for kill in kills:
        process = start(arguments, log)
        while process.poll() is None and not reached(run, kill):
            time.sleep(0.002)
        if kill[0] == "stage 1":
            time.sleep(0.3)
        process.kill()
        process.wait()
        rows = read_jsonl(run / "metrics.jsonl")
        told.append(f"step {rows[-1]['step']}" if kill[0] == "gan" else kill[0])
    last = start(arguments, log)
    if last.wait():
        raise SystemExit(f"the command failed:\n{log.read_text()[-2000:]}")
    return told


def sums(run: Path) -> dict[str, str]:
    """SHA-256 of everything that must be equal."""
    files = sorted({p for pattern in COMPARED for p in run.glob(pattern) if p.is_file()})
    return {p.relative_to(run).as_posix(): sha256(p.read_bytes()).hexdigest() for p in files}


def plans(num: int, steps: int) -> dict[str, tuple[bool, list[tuple[Kill, ...]]]]:
    """Which runs are killed where: name to (with a pool, kills of each run)."""
    at = (1 + rng.uniform(rng.key("kill", num, steps), range(num)) * (steps - 2)).astype(int).tolist()
    in_a_row = tuple(("gan", steps * n // 4) for n in (1, 2, 3))
    return {
        "labels": (False, [*[(("gan", step),) for step in at], in_a_row]),
        "labels and pool": (True, [(("stage 1", 0), ("gan", steps // 2))]),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory() as scratch:
        home = Path(scratch)
        for name, (has_pool, runs) in plans(args.kills, args.steps).items():
            data, pool = write_digits(home / name, get("image"), per_class=12, with_pool=has_pool)
            whole: dict[str, str] = {}
            for number, kills in enumerate([(), *runs]):
                begun = cpu_seconds()
                # All runs have the same name, since a GAN is called after its run.
                run, log = home / f"{name} {number}" / "run", home / f"{name} {number}.txt"
                killed = train(command(data, pool, run, args.steps), run, log, kills)
                found = sums(run)
                whole = whole or found
                differ = sorted(k for k in found.keys() | whole.keys() if found.get(k) != whole.get(k))
                row = {"data": name, "killed at": ", ".join(killed) or "never", "files": len(found)}
                rows.append(
                    {**row, "differ": len(differ), "first": "".join(differ[:1]), "cpu_s": cpu_seconds() - begun}
                )
                print(rows[-1], flush=True)
    wrong = sum(r["differ"] > 0 for r in rows)
    fewest = min(r["files"] for r in rows)
    bars = [
        Bar("killed runs that differ from the uninterrupted one", "0", f"{wrong} of {len(rows) - 2}", wrong == 0),
        Bar("files compared in each", ">= 10", str(fewest), fewest >= 10),
    ]
    claim = (__doc__ or "").split("\n\n")[1].replace("\n", " ")
    notes = [f"{args.steps} steps, 120 digits; every process on one core, so that all runs choose one thread."]
    return publish("resume", claim, bars, {"Runs": rows}, notes, store=(args.kills, args.steps) == (5, 60))


if __name__ == "__main__":
    sys.exit(main())
