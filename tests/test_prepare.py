"""What is found out about a data set and its pool before anything is trained."""

from __future__ import annotations

import numpy as np
import pytest

from augmint.steps.prepare import FEWEST_COMPARED, _unlike


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
