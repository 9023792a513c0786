"""``augmint --help`` answers at once, and ``augmint augment`` of pictures starts soon.

Claim: the help takes less than 0.4 s of CPU time (median of seven fresh processes, after one that warms the file cache), and a whole
``augment`` of eight small pictures less than 1 s; neither imports torch, pandas or matplotlib.

Run: python benchmarks/cli_start.py; about 15 seconds. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from tables import Bar, cpu_seconds, publish

HEAVY = ("torch", "pandas", "matplotlib", "numpy", "cv2", "scipy", "sklearn", "pydantic", "tyro", "rich")
FORBIDDEN = HEAVY[:3]
LIST = """
import json, sys
from augmint.cli import main
sys.stdout = open("/dev/null", "w")
main(sys.argv[1:])
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})), file=sys.__stdout__)
"""


def start(command: list[str], out: Path | None = None) -> tuple[float, float]:
    """CPU and wall seconds of one process, which finds no folder ``out``."""
    if out is not None:
        shutil.rmtree(out, ignore_errors=True)
    cpu, wall = cpu_seconds(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return cpu_seconds() - cpu, time.perf_counter() - wall


def measure(arguments: list[str], out: Path | None = None) -> dict[str, Any]:
    """Median times of ``augmint`` with these arguments, beside an empty Python, and what it imports."""
    command = [str(Path(sys.executable).with_name("augmint")), *arguments]
    start(command, out)
    times = [start(command, out) for _ in range(7)]
    if out is not None:
        shutil.rmtree(out)
    listed = subprocess.run([sys.executable, "-c", LIST, *arguments], check=True, capture_output=True, text=True)
    modules = json.loads(listed.stdout)
    return {
        "command": " ".join(["augmint", *(Path(a).name for a in arguments)]),
        "cpu_s": median(cpu for cpu, _ in times),
        "slowest_cpu_s": max(cpu for cpu, _ in times),
        "wall_s": median(wall for _, wall in times),
        "modules": len(modules),
        "heavy": ", ".join(name for name in HEAVY if name in modules) or "none",
    }


def pictures(folder: Path) -> None:
    """Eight of 64 x 64 pixels."""
    folder.mkdir()
    for i in range(8):
        cv2.imwrite(str(folder / f"{i}.jpg"), np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8))


def main() -> int:
    empty = median(start([sys.executable, "-c", "pass"])[0] for _ in range(7))
    with TemporaryDirectory() as name:
        root = Path(name)
        pictures(root / "data")
        job = ["augment", str(root / "data"), "--out", str(root / "more"), "--workers", "1"]
        found = [measure(["--help"]), measure(["--version"]), measure(job, root / "more")]
    bars = []
    for row, most in ((found[0], 0.4), (found[2], 1.0)):
        loaded = [m for m in FORBIDDEN if m in row["heavy"].split(", ")]
        bars += [
            Bar(f"CPU time of {row['command']}", f"< {most:g} s", f"{row['cpu_s']:.3f} s", row["cpu_s"] < most),
            Bar("torch, pandas, matplotlib imported", "none", ", ".join(loaded) or "none", not loaded),
        ]
    claim = (__doc__ or "").split("\n\n")[1].replace("\n", " ")
    return publish("cli_start", claim, bars, {"Times": found}, [f"Python alone takes {empty:.3f} s of CPU time."])


if __name__ == "__main__":
    sys.exit(main())
