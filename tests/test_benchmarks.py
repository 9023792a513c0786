"""Benchmarks run for minutes to an hour, too long for a test; that what they use is still there is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).parents[1] / "benchmarks"
IMPORT_ALL = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


def test_every_benchmark_finds_what_it_imports() -> None:
    names = sorted(path.stem for path in HOME.glob("*.py"))
    assert len(names) > 40
    run = subprocess.run([sys.executable, "-c", IMPORT_ALL, str(HOME), *names], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
