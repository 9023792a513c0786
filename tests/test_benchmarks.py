"""Benchmarks run for minutes to an hour and some examples need Debian's packages: too much for a test. That what they use is there is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
IMPORT_ALL = """
import importlib.util, sys
sys.path.insert(0, sys.argv[1])
for number, path in enumerate(sys.argv[2:]):  # under names of their own: a benchmark and an example may share one
    spec = importlib.util.spec_from_file_location(f"module_{number}", path)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
"""


@pytest.mark.parametrize("folder", ["benchmarks", "examples"])
def test_every_script_finds_what_it_imports(folder: str) -> None:
    paths = sorted((HOME / folder).glob("*.py"))
    assert paths
    words = [sys.executable, "-c", IMPORT_ALL, str(HOME / folder), *map(str, paths)]
    run = subprocess.run(words, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
