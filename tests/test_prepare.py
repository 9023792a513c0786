"""What is found out about a data set and its pool before anything is trained."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import augmint as am
from augmint.steps.prepare import FEWEST_COMPARED, _unlike, prepare


def pictures(num: int, seed: int, *, light: float = 0.0, noise: float = 0.5) -> np.ndarray:
    made = np.random.default_rng(seed).normal(light, noise, size=(num, 1, 12, 12))
    return made.astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_a_pool_of_the_same_kind_gives_no_word(seed: int) -> None:
    assert _unlike(pictures(40, seed), pictures(400, seed + 50), 0) == []


@pytest.mark.parametrize("change", [{"light": 0.4}, {"noise": 1.0}])
def test_a_pool_that_is_lighter_or_rougher_is_told(change: dict[str, float]) -> None:
    (told,) = _unlike(pictures(40, 1), pictures(400, 2, **change), 0)
    assert "the pool looks unlike" in told and "AUC" in told


def test_too_few_are_not_compared() -> None:
    assert _unlike(pictures(FEWEST_COMPARED - 1, 1), pictures(400, 2, light=5.0), 0) == []
    assert _unlike(pictures(40, 1), pictures(0, 2), 0) == []


@pytest.mark.parametrize(
    ("names", "told"),
    [(["a/1", "a/2", "b/1"], "3 labelled samples"), (["a/1", "a/2", "a/3", "a/4", "a/5"], "one class"), (["1", "2", "3"], "no labels")],
)  # fmt: skip
def test_why_nothing_can_be_proven_is_told(names: list[str], told: str, tmp_path: Path) -> None:
    for i, name in enumerate(names):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.random.default_rng(i).integers(0, 255, (12, 12), dtype=np.uint8))
    found = prepare(am.read(tmp_path), None, seed=0, folds=2, grid=None)
    assert found.regime == "none" and any(told in note for note in found.notes)
