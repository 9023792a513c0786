"""A folder of JPEG files, augmented: ``augmint augment`` against a pool of processes with OpenCV and albumentations.

Claim: photographs of 512 x 512 pixels, read, flipped, turned, shifted, scaled, recoloured and written as JPEG of quality 95, take at most
1 / 1.6 of the CPU time of albumentations in a pool of the same size.

Both decode a file once for all of its variants and write the same kind of JPEG (full colour resolution). What a start costs is told
apart: two runs of each with few and many variants, and the difference between them. Run: python benchmarks/transforms_folder.py; five
minutes on a quiet machine. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import yaml
from peers import ONE_THREAD, NoPeer, interpreter, one_thread
from tables import Bar, cpu_seconds, publish
from transforms import RECIPE, photos

FILES = 80
VARIANTS = (1, 9)
ROUNDS = 3
WORKERS = 1
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


def seconds(command: list[str], out: Path) -> float:
    """CPU seconds of a command and its children, which must write what was asked for."""
    shutil.rmtree(out, ignore_errors=True)
    before = cpu_seconds()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **ONE_THREAD})
    return cpu_seconds() - before


def main() -> int:
    try:
        python = interpreter("albumentations")
    except NoPeer as error:
        print(f"no albumentations to measure against: {error}")
        return 1
    with TemporaryDirectory() as name:
        root = Path(name)
        make(root / "data")
        (root / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
        (root / "peer.py").write_text(PEER)
        own = [sys.executable, "-m", "augmint", "augment", str(root / "data"), "--recipe", str(root / "recipe.yaml")]
        spent: dict[tuple[str, int], list[float]] = {(who, v): [] for who in ("ours", "peer") for v in VARIANTS}
        for _ in range(ROUNDS):
            for variants in VARIANTS:
                out = root / "ours"
                tail = ["--out", str(out), "--variants", str(variants), "--workers", str(WORKERS)]
                spent["ours", variants].append(seconds([*own, *tail], out))
                assert len(list(out.glob("*.aug*.jpg"))) == FILES * variants
                out = root / "peer"
                tail = [str(root / "data"), str(out), str(variants), str(WORKERS)]
                spent["peer", variants].append(seconds([str(python), str(root / "peer.py"), *tail], out))
                assert len(list(out.glob("*.jpg"))) == FILES * variants
    few, many = VARIANTS
    more = FILES * (many - few)
    each = {w: [(b - a) / more for a, b in zip(spent[w, few], spent[w, many], strict=True)] for w in ("ours", "peer")}
    ratio = median(b / a for a, b in zip(each["ours"], each["peer"], strict=True))
    whole = median(b / a for a, b in zip(spent["ours", many], spent["peer", many], strict=True))
    rows = [
        {
            "": who,
            "ms a picture": 1e3 * median(each[who]),
            **{f"s, {FILES * v} pictures": median(spent[who, v]) for v in VARIANTS},
        }
        for who in ("ours", "peer")
    ]
    bars = [Bar("peer / ours, a further picture", ">= 1.6", f"{ratio:.2f}", ratio >= 1.6)]
    notes = [
        f"albumentations in a spawned pool of {WORKERS}, augmint with {WORKERS} worker; CPU seconds of all processes, {ROUNDS} rounds in "
        f"turn, medians. Of the job of {FILES * many} pictures as a whole, starts included, the ratio is {whole:.2f}: a start of augmint "
        "loads torch. augmint also keeps a manifest with the plan and a hash of each file, and waits for the disk after each.",
    ]
    return publish(
        "transforms_folder", (__doc__ or "").split("\n\n")[1].replace("\n", " "), bars, {"Jobs": rows}, notes
    )


if __name__ == "__main__":
    one_thread()
    sys.exit(main())
