"""The number of workers and the order of the files on disk change no byte of the output.

Claim: ``augmint augment`` writes identical bytes (SHA-256 of every file: pictures, metadata, manifest) with 1, 2 and 4 workers,
whether the input files were created in order or shuffled.

Run: python benchmarks/workers_bytes.py; about half a minute. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from tables import Bar, cpu_seconds, publish

from augmint.core import rng

NUM, WORKERS, VARIANTS = 36, (1, 2, 4), 3
Pictures = dict[str, bytes]


def pictures() -> Pictures:
    """Cuts of scikit-learn's two photos by file name: PNG and JPEG; gray, RGB and RGBA; many sizes; three folders."""
    from sklearn.datasets import load_sample_images

    photos, found = load_sample_images().images, {}
    for i in range(NUM):
        u = rng.uniform(rng.key("cut", i), np.arange(4))
        height, width = (24 + 60 * u[:2]).astype(int)
        top, left = (u[2:] * (340, 540)).astype(int)
        cut = photos[i % 2][top : top + height, left : left + width, ::-1]
        if i % 3 == 1:
            cut = cut[..., 1]
        elif i % 3 == 2:
            cut = np.dstack([cut, np.linspace(0, 255, height * width).reshape(height, width).astype(np.uint8)])
        suffix = ".jpg" if i % 6 in (0, 1) else ".png"
        found[f"{('flower', 'temple', 'both')[i % 3]}/{i:02d}{suffix}"] = cv2.imencode(suffix, cut)[1].tobytes()
    return found


def written(root: Path, found: Pictures, *, shuffled: bool) -> Path:
    """The pictures in a folder, created in order or in a random one."""
    names = sorted(found)
    order = rng.permutation(rng.key("creation"), len(names)) if shuffled else np.arange(len(names))
    for i in order.tolist():
        path = root / names[i]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(found[names[i]])
    return root


def sums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file, by its path in the folder."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): sha256(p.read_bytes()).hexdigest() for p in files}


def augmented(data: Path, out: Path, workers: int) -> None:
    """The command, as a user gives it."""
    augmint = Path(sys.executable).with_name("augmint")
    chosen = ["--seed", "7", "--recipe", "strong", "--variants", str(VARIANTS), "--workers", str(workers)]
    command = [str(augmint), "augment", str(data), "--out", str(out), *chosen]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def main() -> int:
    found, runs, rows = pictures(), [], []
    with TemporaryDirectory() as scratch:
        for shuffled in (False, True):
            # The same path for both, so that nothing but the order of creation differs.
            data = written(Path(scratch) / "data", found, shuffled=shuffled)
            for workers in WORKERS:
                out, cpu, wall = Path(scratch) / "out", cpu_seconds(), time.perf_counter()
                augmented(data, out, workers)
                runs.append(sums(out))
                whole = sha256(repr(sorted(runs[-1].items())).encode()).hexdigest()
                order = "shuffled" if shuffled else "in order"
                row = {"workers": workers, "files created": order, "files": len(runs[-1]), "sha256 of all": whole[:16]}
                rows.append({**row, "cpu_s": cpu_seconds() - cpu, "wall_s": time.perf_counter() - wall})
                shutil.rmtree(out)
            shutil.rmtree(data)
    wrong = sorted({name for run in runs for name in run.keys() | runs[0].keys() if run.get(name) != runs[0].get(name)})
    num = len(runs[0])
    expected = NUM * (1 + VARIANTS)
    bars = [
        Bar("files that differ between any two runs", "0", f"{len(wrong)} of {num} {wrong[:3] or ''}", not wrong),
        Bar("pictures written", str(expected), str(_num_pictures(runs[0])), _num_pictures(runs[0]) == expected),
    ]
    claim = (__doc__ or "").split("\n\n")[1].replace("\n", " ")
    return publish("workers_bytes", claim, bars, {"Runs": rows})


def _num_pictures(run: dict[str, str]) -> int:
    return sum(name.endswith((".png", ".jpg")) for name in run)


if __name__ == "__main__":
    sys.exit(main())
