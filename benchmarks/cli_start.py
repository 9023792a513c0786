"""``augmint --help`` answers at once.

Claim: it takes less than 0.4 s of CPU time (median of seven fresh processes, after one that warms the file cache) and imports
none of torch, pandas and matplotlib.

Run: python benchmarks/cli_start.py; about 5 seconds. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

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


def start(command: list[str]) -> tuple[float, float]:
    """CPU and wall seconds of one process."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return cpu_seconds() - cpu, time.perf_counter() - wall


def measure(arguments: list[str]) -> dict[str, Any]:
    """Median times of ``augmint`` with these arguments, beside an empty Python, and what it imports."""
    augmint = str(Path(sys.executable).with_name("augmint"))
    start([augmint, *arguments])
    times = [start([augmint, *arguments]) for _ in range(7)]
    listed = subprocess.run([sys.executable, "-c", LIST, *arguments], check=True, capture_output=True, text=True)
    modules = json.loads(listed.stdout)
    return {
        "command": " ".join(["augmint", *arguments]),
        "cpu_s": median(cpu for cpu, _ in times),
        "slowest_cpu_s": max(cpu for cpu, _ in times),
        "wall_s": median(wall for _, wall in times),
        "modules": len(modules),
        "heavy": ", ".join(name for name in HEAVY if name in modules) or "none",
    }


def main() -> int:
    empty = median(start([sys.executable, "-c", "pass"])[0] for _ in range(7))
    found = [measure(arguments) for arguments in (["--help"], ["--version"])]
    text = found[0]
    loaded = [name for name in FORBIDDEN if name in str(text["heavy"]).split(", ")]
    bars = [
        Bar("CPU time of augmint --help", "< 0.4 s", f"{text['cpu_s']:.3f} s", float(text["cpu_s"]) < 0.4),
        Bar("torch, pandas, matplotlib imported", "none", ", ".join(loaded) or "none", not loaded),
    ]
    claim = (__doc__ or "").split("\n\n")[1].replace("\n", " ")
    return publish("cli_start", claim, bars, {"Times": found}, [f"Python alone takes {empty:.3f} s of CPU time."])


if __name__ == "__main__":
    sys.exit(main())
