"""A folder of JPEG files, augmented: ``augmint augment`` against a pool of processes with OpenCV and albumentations.

Claim: photographs of 512 x 512 pixels, read, flipped, turned, shifted, scaled, recoloured and written as JPEG of quality 95, take at most
1 / 1.6 of the CPU time of albumentations in a pool of the same size: a further picture, and a job of 720 pictures with its start.

Both decode a file once for all of its variants and write the same kind of JPEG (full colour resolution). What a start costs is told
apart: two runs of each with few and many variants, and the difference between them.

With --scaling, the claim is another one: two workers, of one thread each, take at most 1 / 1.85 of the time of one for a further picture.
That is time on the clock, which says something where two cores are idle only; files lie in memory where the system has such a folder, for
waiting for a disk is not the cores'.

Run: python benchmarks/transforms_folder.py; five minutes on a quiet machine, with --scaling two. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import yaml
from peers import ONE_THREAD, NoPeer, interpreter, one_thread
from tables import Bar, cpu_seconds, publish
from transforms import RECIPE, photos

from augmint.core.machine import cores

FILES = 80
VARIANTS = (1, 9)
ROUNDS = 3
WORKERS = 1
MEMORY = Path("/dev/shm")
PEER = """
import os, sys
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import multiprocessing, pathlib
import albumentations as A, cv2
cv2.setNumThreads(0)
R = cv2.BORDER_REFLECT_101
CHAIN = A.Compose([
    A.HorizontalFlip(p=0.5),
    A.Rotate((-15, 15), border_mode=R, p=1),
    A.Affine(translate_percent=(-0.1, 0.1), border_mode=R, p=1),
    A.Affine(scale=(0.8, 1.2), border_mode=R, p=1),
    A.RandomBrightnessContrast((-0.2, 0.2), (-0.2, 0.2), p=1),
    A.HueSaturationValue((-8, 8), (-30, 30), (0, 0), p=1),
    A.RandomGamma((80, 125), p=1),
])
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
def one(job):
    path, out, variants = job
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    for k in range(variants):
        made = CHAIN(image=image)["image"]
        cv2.imwrite(str(out / f"{path.stem}.{k}.jpg"), cv2.cvtColor(made, cv2.COLOR_RGB2BGR), JPEG)
if __name__ == "__main__":
    data, out, variants, workers = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    out.mkdir()
    jobs = [(p, out, variants) for p in sorted(data.glob("*.jpg"))]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for _ in pool.imap(one, jobs, chunksize=4):
            pass
"""


def make(folder: Path) -> None:
    """Photographs, each rolled by another number of columns."""
    folder.mkdir()
    images = photos(512)
    for i in range(FILES):
        image = cv2.cvtColor(np.roll(images[i % len(images)], 9 * i, 1), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / f"{i:03d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 95])


def job(root: Path, variants: int, workers: int) -> None:
    """Our side: a whole command, its start included, which must write what was asked for."""
    out = root / "ours"
    own = [sys.executable, "-m", "augmint", "augment", root / "data", "--recipe", root / "recipe.yaml"]
    done([*own, "--out", out, "--variants", variants, "--workers", workers], out)
    assert len(list(out.glob("*.aug*.jpg"))) == FILES * variants


def peer_job(python: Path, root: Path, variants: int) -> None:
    """The other side's."""
    out = root / "peer"
    done([python, root / "peer.py", root / "data", out, variants, WORKERS], out)
    assert len(list(out.glob("*.jpg"))) == FILES * variants


def done(command: list[object], out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    subprocess.run([str(part) for part in command], check=True, capture_output=True, env={**os.environ, **ONE_THREAD})


def spent(clock: Callable[[], float], work: Callable[[], None]) -> float:
    """Seconds by a clock."""
    before = clock()
    work()
    return clock() - before


def in_turn(clock: Callable[[], float], sides: dict[str, Callable[[int], None]]) -> dict[tuple[str, int], list[float]]:
    """Seconds of each side's job with few and with many variants, a round each."""
    found: dict[tuple[str, int], list[float]] = {(who, v): [] for who in sides for v in VARIANTS}
    for _ in range(ROUNDS):
        for variants in VARIANTS:
            for who, work in sides.items():
                found[who, variants].append(spent(clock, lambda w=work, v=variants: w(v)))
    return found


def a_picture(found: dict[tuple[str, int], list[float]], who: str) -> list[float]:
    """Seconds of a further picture, a round each: what many variants take more than few."""
    few, many = (found[who, v] for v in VARIANTS)
    return [(b - a) / (FILES * (VARIANTS[1] - VARIANTS[0])) for a, b in zip(few, many, strict=True)]


def times(more: list[float], less: list[float]) -> float:
    """How many times as much the first is, the median over rounds."""
    return median(a / b for a, b in zip(more, less, strict=True))


def rows(found: dict[tuple[str, int], list[float]], sides: Iterable[str]) -> list[dict[str, object]]:
    return [
        {
            "": who,
            "ms a picture": 1e3 * median(a_picture(found, who)),
            **{f"s, {FILES * v} pictures": median(found[who, v]) for v in VARIANTS},
        }
        for who in sides
    ]


def against_peer(root: Path) -> int:
    python = interpreter("albumentations")
    (root / "peer.py").write_text(PEER)
    sides = {"ours": lambda v: job(root, v, WORKERS), "peer": lambda v: peer_job(python, root, v)}
    found = in_turn(cpu_seconds, sides)
    each = times(a_picture(found, "peer"), a_picture(found, "ours"))
    most = VARIANTS[-1]
    whole = times(found["peer", most], found["ours", most])
    bars = [
        Bar("peer / ours, a further picture", ">= 1.6", f"{each:.2f}", each >= 1.6),
        Bar(f"peer / ours, {FILES * most} pictures and the start", ">= 1.6", f"{whole:.2f}", whole >= 1.6),
    ]
    notes = [
        f"albumentations in a spawned pool of {WORKERS}, augmint with {WORKERS} worker; CPU seconds of all processes, {ROUNDS} rounds in "
        "turn, medians. augmint also keeps a manifest with the plan and a hash of each file, and waits for the disk after each.",
    ]
    return publish("transforms_folder", claim(1), bars, {"Jobs": rows(found, sides)}, notes)


def scaling(root: Path) -> int:
    sides = {"1 worker": lambda v: job(root, v, 1), "2 workers": lambda v: job(root, v, 2)}
    found = in_turn(time.perf_counter, sides)
    ratio = times(a_picture(found, "1 worker"), a_picture(found, "2 workers"))
    bars = [Bar("1 worker / 2 workers, a further picture", ">= 1.85", f"{ratio:.2f}", ratio >= 1.85)]
    notes = [
        f"Time on the clock, {cores()} cores for this process; {ROUNDS} rounds in turn, medians. The load is told below: idle cores only count."
    ]
    return publish("transforms_scaling", claim(3), bars, {"Jobs": rows(found, sides)}, notes)


def claim(paragraph: int) -> str:
    return (__doc__ or "").split("\n\n")[paragraph].replace("\n", " ")


def main() -> int:
    parser = argparse.ArgumentParser(description="A folder of JPEG files, augmented.")
    parser.add_argument("--scaling", action="store_true", help="two workers against one, on idle cores")
    wants_scaling = parser.parse_args().scaling
    with TemporaryDirectory(dir=MEMORY if wants_scaling and MEMORY.is_dir() else None) as name:
        root = Path(name)
        make(root / "data")
        (root / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
        try:
            return scaling(root) if wants_scaling else against_peer(root)
        except NoPeer as error:
            print(f"no albumentations to measure against: {error}")
            return 1


if __name__ == "__main__":
    one_thread()
    sys.exit(main())
