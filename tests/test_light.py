"""Help, version and mistakes answer before anything heavy is imported; pictures are transformed without what learns."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

import augmint as am
from augmint.scale.pool import ordered_map
from augmint.steps.augmenting import _Item, _Job, augment_sample
from augmint.transforms.recipe import PRESETS

HEAVY = ("torch", "pandas", "matplotlib", "scipy", "sklearn", "cv2")
_CHILD = """
import json, sys, time
start = time.process_time()
try:
    code = {code}
except SystemExit as end:
    code = end.code
print("\\x1e" + json.dumps([code, time.process_time() - start, sorted(m for m in sys.modules if "." not in m)]))
"""


def _child(code: str) -> tuple[int, float, set[str]]:
    """Exit code, CPU seconds after the interpreter's start, and modules loaded by an expression in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD.format(code=code)], capture_output=True, text=True, timeout=60, check=True
    )
    status, cpu_s, modules = json.loads(done.stdout.rsplit("\x1e", 1)[1])
    return status, cpu_s, set(modules)


def _main(*args: str) -> str:
    return f"__import__('augmint.cli', fromlist=['main']).main({list(args)!r})"


@pytest.mark.parametrize("args", [(), ("--help",), ("--version",), ("nonsense",)])
def test_the_top_level_needs_no_parser_and_under_0_4_s(args: tuple[str, ...]) -> None:
    status, cpu_s, modules = _child(_main(*args))
    assert status == (2 if args == ("nonsense",) else 0)
    assert not modules & {*HEAVY, "tyro", "pydantic", "rich", "yaml"}
    assert cpu_s < 0.4


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("boost", "--help"), 0),
        (("prove", "--help"), 0),
        (("boost", "d", "--out", "o", "--seeds", "1"), 2),
        (("boost", "d", "--out", "o", "--nonsense", "1"), 2),
        (("augment", "d", "--out", "o", "--config", "no-such-file.yaml"), 2),
    ],
)
def test_help_of_a_verb_and_faulty_settings_load_nothing_heavy(args: tuple[str, ...], expected: int) -> None:
    status, _, modules = _child(_main(*args))
    assert (status or 0) == expected
    assert not modules & set(HEAVY)


@pytest.mark.parametrize("args", [("boost", "nowhere"), ("train", "nowhere"), ("generate", "nowhere", "-n", "1")])
def test_a_wrong_path_is_told_before_torch_is_loaded(args: tuple[str, ...]) -> None:
    status, _, modules = _child(_main(*args, "--out", "o"))
    assert status == 2 and "torch" not in modules


def test_importing_the_package_loads_no_library() -> None:
    _, _, modules = _child("__import__('augmint') and 0")
    assert not modules & {*HEAVY, "numpy", "pydantic"}


def test_doctor_leaves_torch_to_a_child() -> None:
    _, _, modules = _child("__import__('augmint.core.doctor', fromlist=['examine']).examine().exit_code")
    assert not modules & set(HEAVY)


@pytest.fixture(scope="module")
def augmented(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """A folder with ``pictures`` and ``more``, which the command made of them, and the modules that it took."""
    place = tmp_path_factory.mktemp("light")
    (place / "pictures" / "a").mkdir(parents=True)
    x = np.random.default_rng(0).integers(0, 256, (4, 24, 32, 3), np.uint8)
    for i, picture in enumerate(x):
        cv2.imwrite(str(place / "pictures" / "a" / f"{i}.png"), picture)
    arguments = ("augment", place / "pictures", "--out", place / "more", "--recipe", "strong", "--variants", "1")
    status, _, modules = _child(_main(*map(str, (*arguments, "--workers", "1"))))
    assert status == 0 and len(list((place / "more").rglob("*.aug0.png"))) == len(x)
    return place, modules


def test_augment_takes_no_library_that_its_recipe_does_not_need(augmented: tuple[Path, set[str]]) -> None:
    _, modules = augmented
    assert modules & set(HEAVY) == {"cv2"}


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        (("replay", "more/manifest.jsonl"), set()),
        (("preview", "pictures", "--out", "sheet.png"), set()),
        (("preview", "pictures", "--out", "sheet.html"), set()),
        (("inspect", "pictures"), {"pandas"}),  # whose answer is tables
        (("inspect", "medium"), set()),
    ],
)
def test_pictures_are_shown_and_made_again_without_torch(
    args: tuple[str, ...], shown: set[str], augmented: tuple[Path, set[str]]
) -> None:
    place, _ = augmented
    given = [str(place / a) if "/" in a or "." in a or a == "pictures" else a for a in args]
    status, _, modules = _child(_main(*given))
    assert status == 0
    assert modules & set(HEAVY) == {"cv2", *shown}


def _made(job: _Job, item: _Item) -> set[str]:
    """The modules of the process that makes one sample's variants."""
    assert len(augment_sample(job, item)) == job.variants  # type: ignore[arg-type]
    return {name for name in sys.modules if "." not in name}


def test_a_worker_starts_as_light(augmented: tuple[Path, set[str]]) -> None:
    data = am.read(augmented[0] / "pictures")
    job = _Job(data.modality, None, PRESETS["strong"], 0, 1, None)
    for modules in ordered_map(partial(_made, job), [_Item(data.refs[0], None)] * 2, workers=2):
        assert modules & set(HEAVY) == {"cv2"}
