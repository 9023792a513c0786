"""The copy check on real handwriting: planted copies are found, unseen reals are let go."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from augmint.core.errors import UserError
from augmint.evaluation.copies import check


def parts(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """450 training images, 447 held out, 900 more that neither has seen."""
    images = (load_digits().images[:, None] / 8 - 1).astype(np.float32)
    images = images[np.random.default_rng(seed).permutation(len(images))]
    return images[:450], images[450:897], images[897:]


def moved(x: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """Shifted by whole pixels, background where nothing comes in."""
    out = np.full_like(x, -1.0)
    h, w = x.shape[-2:]
    out[..., max(dy, 0) : h + min(dy, 0), max(dx, 0) : w + min(dx, 0)] = x[
        ..., max(-dy, 0) : h + min(-dy, 0), max(-dx, 0) : w + min(-dx, 0)
    ]
    return out


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("how", ["noise", "shift", "flip and shift"])
def test_planted_copies_are_recovered_within_a_point(share: float, how: str) -> None:
    for seed in range(2):
        train, held, fresh = parts(seed)
        rng = np.random.default_rng(100 + seed)
        fake = fresh[:800].copy()
        planted = rng.choice(800, int(share * 800), replace=False)
        source = rng.choice(450, len(planted))
        copy = train[source] + 0.03 * rng.normal(size=(len(planted), 1, 8, 8)).astype(np.float32)
        copy = {"noise": copy, "shift": moved(copy, 0, 1), "flip and shift": moved(copy[..., ::-1], -1, 0)}[how]
        fake[planted] = copy
        found = check(fake, train, held)
        assert abs(found.rate - share) <= 0.01
        assert found.flagged[planted].all()
        assert (found.nearest[planted] == source).mean() > 0.95
        innocent = np.setdiff1d(np.arange(800), planted)
        assert found.flagged[innocent].mean() <= 0.01


def test_false_alarms_on_unseen_reals_stay_below_one_percent() -> None:
    rates = []
    for seed in range(8):
        train, held, fresh = parts(seed)
        found = check(fresh, train, held)
        rates.append(found.rate)
        assert found.real_rate is not None and found.real_rate <= 0.01
    assert np.mean(rates) <= 0.01


def test_without_symmetry_a_shifted_copy_goes_unseen() -> None:
    train, held, _ = parts(0)
    copies = moved(train[:50], 1, 1)
    assert check(copies, train, held).rate == 1.0
    assert check(copies, train, held, symmetric=False).rate < 0.1


def test_copies_of_duplicated_training_samples_do_not_go_free() -> None:
    train, held, _ = parts(0)
    train = np.concatenate([train, train[:60]])
    assert check(train[:60], train, held).flagged.all()


def test_few_held_out_reals_rank_only_and_flag_the_obvious() -> None:
    train, held, fresh = parts(0)
    fake = np.concatenate([train[:5], fresh[:95]])
    found = check(fake, train, held[:99])
    assert found.threshold is None and found.real_rate is None
    assert np.flatnonzero(found.flagged).tolist() == [0, 1, 2, 3, 4]
    assert set(np.argsort(found.ratio)[:5]) == {0, 1, 2, 3, 4}
    assert found.to_dict() == {"rate": 0.05, "real_rate": None, "threshold": None, "flagged": 5, "n": 100}


def slow_ratio(x: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The plain rule by loops, without flips and shifts."""
    between = np.array([[np.linalg.norm(p - q) for q in train] for p in x])
    own = np.array([min(np.linalg.norm(p - q) for j, q in enumerate(train) if i != j) for i, p in enumerate(train)])
    near = between.argmin(1)
    return between[np.arange(len(x)), near] / np.maximum(own, np.median(own) / 2)[near], near


@pytest.mark.parametrize("d", [3, 17])
def test_rows_of_features_follow_the_plain_rule(d: int) -> None:
    rng = np.random.default_rng(d)
    fake, train, held = (rng.normal(size=(n, d)).astype(np.float32) for n in (30, 40, 120))
    found = check(fake, train, held)
    ratio, near = slow_ratio(fake, train)
    np.testing.assert_allclose(found.ratio, ratio, rtol=1e-3)
    assert (found.nearest == near).all()
    assert found.threshold is not None
    assert ((found.ratio < found.threshold) == found.flagged).all()


@settings(max_examples=25, deadline=None)
@given(
    shape=st.one_of(
        st.tuples(st.integers(1, 2), st.integers(4, 70)),
        st.tuples(st.integers(1, 4), st.integers(4, 20), st.integers(4, 20)),
        st.tuples(st.just(1), st.integers(4, 9), st.integers(4, 9), st.integers(4, 9)),
    ),
    seed=st.integers(0, 99),
)
def test_exact_copies_are_found_on_any_grid(shape: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    train = rng.uniform(-1, 1, size=(12, *shape)).astype(np.float32)
    order = rng.permutation(12)
    found = check(train[order], train, train[:0])
    assert found.flagged.all() and (found.nearest == order).all()
    if len(shape) == 3:
        assert check(np.flip(train, -1), train, train[:0]).flagged.all()
    assert np.isfinite(found.ratio).all()


def test_odd_input() -> None:
    train, held, _ = parts(0)
    one = check(train[:3], train[:1], held)
    assert one.flagged[0] and np.isfinite(one.ratio).all()
    same = check(train[:3], np.repeat(train[:1], 5, 0), held)
    assert same.flagged[0] and np.isfinite(same.ratio).all()
    assert check(train[:0], train, held).rate == 0.0
    with pytest.raises(UserError, match="cannot be looked for"):
        check(train, train[..., :4], held)
    with pytest.raises(UserError, match="at least one training sample"):
        check(train, train[:0], held)
