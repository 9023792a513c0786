"""The import contracts hold, and each of them would notice a breach."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Layers of the plan that have no code yet get an empty package in the copy, so that a breach can be planted in them.
_LAYERS = ("generation", "evaluation", "training", "modalities", "models", "data", "transforms", "scale", "report")


def _lint(root: Path) -> subprocess.CompletedProcess[str]:
    lint = Path(sys.executable).parent / "lint-imports"
    env = {**os.environ, "PYTHONPATH": str(root / "src"), "COLUMNS": "200"}
    return subprocess.run(
        [str(lint), "--no-cache"], cwd=root, env=env, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def skeleton(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package and its contracts."""
    root = tmp_path_factory.mktemp("skeleton")
    shutil.copy(ROOT / "pyproject.toml", root)
    shutil.copytree(ROOT / "src" / "augmint", root / "src" / "augmint", ignore=shutil.ignore_patterns("__pycache__"))
    for name in _LAYERS:
        (root / "src" / "augmint" / name).mkdir(exist_ok=True)
        (root / "src" / "augmint" / name / "__init__.py").touch()
    return root


def test_imports_go_downward_only() -> None:
    done = _lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("place", "line", "contract"),
    [
        ("core/config.py", "import torch", "the light core"),
        ("transforms/fuse.py", "import cv2", "the light core"),
        ("core/errors.py", "import augmint.scale.pool", "downward only"),
        ("data/planted.py", "import augmint.training", "downward only"),
        ("data/planted.py", "import augmint.transforms", "downward only"),
        ("generation/planted.py", "import augmint.evaluation", "downward only"),
        ("evaluation/planted.py", "def f():\n    from augmint.modalities import get", "as an object"),
        ("report/planted.py", "import augmint.cli", "downward only"),
        ("tools.py", "x = 1", "downward only"),
    ],
)
def test_a_planted_breach_is_reported(skeleton: Path, place: str, line: str, contract: str) -> None:
    file = skeleton / "src" / "augmint" / place
    before = file.read_text() if file.exists() else None
    file.write_text(f"{before or ''}\n{line}\n")
    try:
        done = _lint(skeleton)
    finally:
        file.write_text(before) if before is not None else file.unlink()
    assert done.returncode != 0, done.stdout
    broken = [row for row in done.stdout.splitlines() if "BROKEN" in row] or [done.stdout + done.stderr]
    assert any(contract in row for row in broken), done.stdout
