"""The membership audit against planted makers, and its interval against slow formulas and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from augmint.core.errors import UserError
from augmint.core.types import F32
from augmint.evaluation.audit import auc_with_interval, audit


def world(n: int, seed: int, shape: tuple[int, ...] = (1, 6, 6)) -> F32:
    """Samples of one smooth distribution on a grid."""
    rng = np.random.default_rng(seed)
    basis = np.random.default_rng(99).normal(size=(5, int(np.prod(shape))))
    flat = np.tanh(0.4 * rng.normal(size=(n, 5)) @ basis + 0.1 * rng.normal(size=(n, basis.shape[1])))
    return flat.reshape(n, *shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 6, 6), (1, 24), (8, 1)])
def test_a_maker_that_copies_is_found_out_and_an_independent_one_is_not(shape: tuple[int, ...]) -> None:
    train, unseen, fresh = (world(n, s, shape) for n, s in ((150, 1), (200, 2), (300, 3)))
    noise = np.random.default_rng(4).normal(0, 0.02, (300, *shape)).astype(np.float32)
    copied = audit(train[np.arange(300) % 150] + noise, train, unseen)
    assert copied.auc > 0.97 and copied.ci95[0] > 0.9 and copied.tpr_at_1_fpr > 0.9
    assert "a leak" in copied.sentence
    honest = audit(fresh, train, unseen)
    assert honest.ci95[0] < 0.5 < honest.ci95[1]
    assert honest.tpr_at_1_fpr < 0.08
    assert "no privacy proof" not in honest.sentence and "not a privacy proof" in honest.sentence


def test_exact_copies_of_all_training_samples_give_one_with_an_interval_that_is_not_empty() -> None:
    train, unseen = world(25, 1), world(30, 2)
    found = audit(train, train, unseen)
    assert found.auc == 1.0 and found.tpr_at_1_fpr == 1.0
    assert 0.7 < found.ci95[0] < 0.99 and found.ci95[1] == 1.0
    assert found.to_dict()["n"] == 55


def test_half_copied_lies_between() -> None:
    train, unseen = world(200, 1), world(200, 2)
    found = audit(np.concatenate([train[:100], world(100, 3)]), train, unseen)
    assert 0.65 < found.auc < 0.9
    assert found.tpr_at_1_fpr == pytest.approx(0.5, abs=0.05)


def test_the_rate_at_1_percent_is_that_of_the_roc_curve() -> None:
    train, unseen, fake = world(120, 1), world(250, 2), np.concatenate([world(120, 1)[:40], world(80, 3)])
    found = audit(fake, train, unseen)
    flat = [x.reshape(len(x), -1) for x in (train, unseen, fake)]
    score = [-np.linalg.norm(x[:, None] - flat[2][None], axis=2).min(1) for x in flat[:2]]
    truth = np.repeat([1, 0], [120, 250])
    fpr, tpr, _ = roc_curve(truth, np.concatenate(score), drop_intermediate=False)
    assert found.tpr_at_1_fpr == pytest.approx(tpr[fpr <= 0.01].max(), abs=0.01)
    assert found.auc == pytest.approx(roc_auc_score(truth, np.concatenate(score)), abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(3, 40), st.integers(3, 40), st.integers(2, 30))
def test_auc_is_that_of_scikit_learn_and_delong_that_of_the_slow_formula(
    seed: int, m: int, n: int, levels: int
) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, levels, m).astype(float) + 1, rng.integers(0, levels, n).astype(float)  # ties abound
    value, (low, high) = auc_with_interval(a, b)
    assert value == pytest.approx(roc_auc_score(np.repeat([1, 0], [m, n]), np.concatenate([a, b])))
    psi = (a[:, None] > b) + 0.5 * (a[:, None] == b)
    half = 1.959964 * np.sqrt(psi.mean(1).var(ddof=1) / m + psi.mean(0).var(ddof=1) / n)
    assert low <= max(0, value - half) + 1e-9 and high >= min(1, value + half) - 1e-9
    assert 0 <= low <= value <= high <= 1
    mirrored = auc_with_interval(b, a)
    assert mirrored[0] == pytest.approx(1 - value)
    assert mirrored[1] == pytest.approx((1 - high, 1 - low), abs=1e-6)


@pytest.mark.parametrize(("shift", "m", "n", "most"), [(0.0, 40, 60, 0.985), (1.0, 40, 25, 0.99), (2.5, 30, 30, 1.0)])
def test_the_interval_covers_the_truth_in_95_of_100_or_more_near_1(shift: float, m: int, n: int, most: float) -> None:
    from scipy.stats import norm

    rng, truth = np.random.default_rng(0), norm.cdf(shift / np.sqrt(2))
    hits = 0
    for _ in range(400):
        _, (low, high) = auc_with_interval(rng.normal(shift, 1, m), rng.normal(0, 1, n))
        hits += low <= truth <= high
    assert 0.925 <= hits / 400 <= most


def test_too_few_reals_are_told() -> None:
    with pytest.raises(UserError, match="at least 20"):
        audit(world(50, 0), world(19, 1), world(50, 2))
    with pytest.raises(UserError, match="0 synthetic"):
        audit(world(0, 0), world(30, 1), world(50, 2))
