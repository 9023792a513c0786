"""The density ratio against the closed form of two normal densities."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from augmint.generation.ratio import DensityRatio


def normal(num: int, mean: float, width: float, seed: int, dim: int = 8) -> np.ndarray:
    return (mean + width * np.random.default_rng(seed).normal(size=(num, dim))).astype(np.float32)


def log_ratio(x: np.ndarray, mean: float, width: float) -> np.ndarray:
    """Of the standard normal density over that of the given mean and width."""
    other = 0.5 * np.square((x - mean) / width).sum(1) + x.shape[1] * np.log(width)
    return np.asarray(other - 0.5 * np.square(x).sum(1))


@pytest.mark.parametrize(("mean", "width"), [(0.4, 1.0), (0.0, 1.5), (0.2, 0.8)])
def test_it_orders_unseen_samples_nearly_as_well_as_the_true_ratio(mean: float, width: float) -> None:
    # The second and third case differ in their spread, which no linear score sees.
    ratio = DensityRatio.fit(normal(1500, 0, 1, 0), normal(1800, mean, width, 1), seed=0)
    assert ratio is not None
    x = np.concatenate([normal(2000, 0, 1, 2), normal(2000, mean, width, 3)])
    y = np.arange(len(x)) < 2000
    best, found = (roc_auc_score(y, score) for score in (log_ratio(x, mean, width), ratio(x)))
    assert found > 0.5 + 0.9 * (best - 0.5)


def test_it_says_nothing_where_there_is_nothing_to_see() -> None:
    ratio = DensityRatio.fit(normal(1500, 0, 1, 0), normal(1500, 0, 1, 1), seed=0)
    assert ratio is not None
    x = np.concatenate([normal(2000, 0, 1, 2), normal(2000, 0, 1, 3)])
    assert abs(roc_auc_score(np.arange(len(x)) < 2000, ratio(x)) - 0.5) < 0.03


def test_it_is_the_same_again_and_within_its_bounds() -> None:
    real, fake = normal(5, 0, 1, 0), normal(3000, 3, 1, 1)
    a, b = (DensityRatio.fit(real, fake, seed=4) for _ in range(2))
    assert a is not None and b is not None
    x = 100 * normal(50, 0, 1, 2)
    np.testing.assert_array_equal(a(x), b(x))
    assert np.isfinite(a(x)).all() and np.abs(a(x)).max() < 9.3
    assert len(a(x[:0])) == 0


@pytest.mark.parametrize(("reals", "fakes"), [(0, 20), (20, 0)])
def test_nothing_of_one_kind_gives_none(reals: int, fakes: int) -> None:
    assert DensityRatio.fit(normal(reals, 0, 1, 0), normal(fakes, 0, 1, 1), seed=0) is None
