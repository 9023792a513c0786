"""Two hours of speech, two workers: the files stream through, memory stays flat, and a command that was killed goes on where it was.

Claim: ``augmint augment`` on two hours of recorded speech, with two workers, holds no more memory at the end than at a tenth of the way (within 5 %, all
processes together), and killed with SIGKILL half-way it makes only what is missing when it is given again (but for what the workers had in hand), and
leaves the same bytes as one worker that nothing happened to.

The prompts are joined to files of 15 s at 16 kHz, all alike so that memory tells of their number (Debian's asterisk-core-sounds-{en,es,fr}-wav, fetched with apt-get). Run: python
benchmarks/speech_folder.py [--hours 2]; some minutes. Exit code 1: a bar is missed.
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

import numpy as np
from tables import Bar, cpu_seconds, publish

from augmint.core import rng
from augmint.data import audio
from augmint.data.audio import Sound
from augmint.transforms.waves import resampled

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from speech_prompts import LANGUAGES, fetch

RATE, SECONDS = 16_000, 15


def lay_out(folder: Path, hours: float) -> int:
    """Files of joined prompts, one folder a language; returns their number."""
    with TemporaryDirectory() as scratch:
        prompts = {lang: sorted(found.values()) for lang, found in fetch(LANGUAGES, Path(scratch)).items()}
        waves = {
            lang: [resampled(audio.read(f).wave, 2.0) for f in files if f.stat().st_size > 4000][:200]
            for lang, files in prompts.items()
        }
    left, number = hours * 3600, 0
    while left > 0:
        lang, u = LANGUAGES[number % 3], rng.uniform(rng.key("folder", number), np.arange(60))
        parts: list[np.ndarray] = []
        while sum(map(len, parts)) < SECONDS * RATE and len(parts) < len(u):
            parts.append(waves[lang][int(u[len(parts)] * len(waves[lang]))])
        path = folder / lang / f"{number:05d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        sound = Sound(np.concatenate(parts)[: SECONDS * RATE], RATE)
        path.write_bytes(audio.encode(sound, ".wav"))
        left, number = left - sound.seconds, number + 1
    return number


def started(data: Path, out: Path, *, workers: int = 2) -> subprocess.Popen[bytes]:
    """The command, as a user gives it."""
    augmint = str(Path(sys.executable).with_name("augmint"))
    chosen = ["--recipe", "strong", "--variants", "1", "--workers", str(workers), "--seed", "3"]
    return subprocess.Popen([augmint, "augment", str(data), "--out", str(out), *chosen], stdout=subprocess.DEVNULL)


def made(out: Path) -> int:
    return sum(1 for _ in out.rglob("*.aug0.wav"))


def resident_mib(pid: int) -> float:
    """Of a process and all that it started."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20 + sum(resident_mib(int(child)) for child in children)


def sums(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): sha256(p.read_bytes()).hexdigest() for p in files}


def watched(data: Path, out: Path, num: int) -> list[tuple[float, float]]:
    """Runs to the end; share done and MiB resident, every quarter of a second."""
    process, seen = started(data, out), []
    while process.poll() is None:
        time.sleep(0.25)
        try:
            seen.append((made(out) / num, resident_mib(process.pid)))
        except (OSError, IndexError):
            break
    if process.wait():
        raise SystemExit("the command failed")
    return seen


def killed_half_way(data: Path, out: Path, num: int) -> tuple[int, int]:
    """Files there when it was killed, and how many of them the second run left alone."""
    process = started(data, out)
    while made(out) < num // 2:
        time.sleep(0.05)
    process.kill()
    process.wait()
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.aug0.wav")}
    if started(data, out).wait():
        raise SystemExit("the command failed")
    return len(before), sum(p.stat().st_mtime_ns == at for p, at in before.items())


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hours", type=float, default=2.0)
    hours = parser.parse_args().hours
    with TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        num = lay_out(data, hours)
        before = cpu_seconds()
        seen = watched(data, Path(scratch) / "whole", num)
        spent = cpu_seconds() - before
        there, kept = killed_half_way(data, Path(scratch) / "killed", num)
        if started(data, Path(scratch) / "one", workers=1).wait():
            raise SystemExit("the command failed")
        wanted = sums(Path(scratch) / "one")
        same = all(sums(Path(scratch) / name) == wanted for name in ("whole", "killed"))
    early = max(mib for share, mib in seen if share <= 0.1)
    late = max(mib for share, mib in seen if 0.1 < share < 1)
    bars = [
        Bar("most memory after a tenth / before", "<= 1.05", f"{late / early:.3f}", late <= 1.05 * early),
        Bar("files made again after the kill", "<= 2", str(there - kept), there - kept <= 2),
        Bar("same bytes as one worker, uninterrupted", "yes", "yes" if same else "no", same),
    ]
    rows = [
        {"done": f"{done:.0%}", "MiB": max(mib for share, mib in seen if done - 0.1 < share <= done)}
        for done in np.arange(1, 11) / 10
        if any(done - 0.1 < share <= done for share, _ in seen)
    ]
    claim = (__doc__ or "").split("\n\n")[1].replace("\n", " ")
    note = f"{hours:g} hours in {num} files, recipe strong, one variant each, two workers: {spent:.0f} CPU seconds, {hours * 3600 / spent:.0f} x real time with reading and writing."
    return publish("speech_folder", claim, bars, {"Memory": rows}, [note])


if __name__ == "__main__":
    sys.exit(main())
