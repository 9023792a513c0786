"""The copy check on real handwriting: planted copies are found, unseen reals are let go."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform, gaussian_filter
from sklearn.datasets import load_digits

from augmint.core.errors import UserError
from augmint.core.types import Likeness
from augmint.evaluation.alignment import Search
from augmint.evaluation.copies import CopyCheck, check


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


def laid_anew(x: np.ndarray, seed: int, *, least: float = 1.0, degrees: float = 0.0) -> np.ndarray:
    """Cropped to a share of the sides anywhere, from ``least`` to 1, and turned: bilinear, by SciPy."""
    rng = np.random.default_rng(seed)
    out = np.empty_like(x)
    size = np.array(x.shape[2:], dtype=np.float64)
    middle = (size - 1) / 2
    for i, channels in enumerate(x):
        share, angle = rng.uniform(least, 1), np.deg2rad(rng.uniform(-degrees, degrees))
        back = share * np.eye(len(size))
        if len(size) > 1:
            back[-2:, -2:] = share * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        offset = middle + rng.uniform(-0.5, 0.5, len(size)) * (1 - share) * size - back @ middle
        out[i] = [affine_transform(c, back, offset, order=1, mode="mirror") for c in channels]
    return out


HOW = {
    "noise": lambda x, seed: x,
    "shift": lambda x, seed: moved(x, 0, 1),
    "flip and shift": lambda x, seed: moved(x[..., ::-1], -1, 0),
    "crop": lambda x, seed: laid_anew(x, seed, least=0.8),
    "turn": lambda x, seed: laid_anew(x, seed, degrees=12),
    "flip, crop and turn": lambda x, seed: laid_anew(x[..., ::-1], seed, least=0.8, degrees=12),
}


@pytest.fixture(scope="module")
def checks() -> list[CopyCheck]:
    return [CopyCheck(*parts(seed)[:2]) for seed in range(4)]


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("how", HOW)
def test_planted_copies_are_recovered_within_a_point(share: float, how: str, checks: list[CopyCheck]) -> None:
    off, alarms = [], []
    for seed, checked in enumerate(checks):
        train, _, fresh = parts(seed)
        rng = np.random.default_rng(100 + seed)
        fake = fresh[:800].copy()
        planted = rng.choice(800, int(share * 800), replace=False)
        source = rng.choice(450, len(planted))
        copy = train[source] + 0.03 * rng.normal(size=(len(planted), 1, 8, 8)).astype(np.float32)
        fake[planted] = HOW[how](copy, seed)
        found = checked(fake)
        off.append(abs(found.rate - share))
        alarms.append(found.flagged[np.setdiff1d(np.arange(800), planted)].mean())
        assert found.flagged[planted].mean() >= 0.95
        assert (found.nearest[planted] == source).mean() >= 0.95
    # Over draws: the threshold is an order statistic of 447 reals, and in one draw in twenty a few more than 1 % pass it.
    assert np.mean(off) <= 0.01 and np.mean(alarms) <= 0.01


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
    assert check(copies, train, held, like=None).rate < 0.1


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


def test_prepared_and_at_once_give_the_same(checks: list[CopyCheck]) -> None:
    train, held, fresh = parts(0)
    at_once = check(fresh[:90], train, held)
    prepared = checks[0](fresh[:90])
    np.testing.assert_array_equal(at_once.nearest, prepared.nearest)
    np.testing.assert_allclose(at_once.ratio, prepared.ratio, rtol=1e-4)
    assert at_once.threshold == prepared.threshold


def slow_nearest(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Distances ``[N, M]`` by brute force: the least over thousands of flips, turns, crops and shifts, each a matrix between
    pixels (bilinear); what an alignment does not show of a sample counts like what it shows."""
    n = x.shape[-1]
    y0, x0 = (z.ravel() - (n - 1) / 2 for z in np.mgrid[:n, :n])
    a, b = x.reshape(len(x), -1).astype(np.float64), train.reshape(len(train), -1).astype(np.float64)
    least = np.full((len(a), len(b)), np.inf)
    turns, shares, shifts = np.deg2rad(np.arange(-12, 13, 4)), np.linspace(0.8, 1, 5), np.linspace(-1, 1, 5)
    for angle, share, down, right in product(turns, shares, shifts, shifts):
        at_y, at_x = share * (y0 + down), share * (x0 + right)
        at_y, at_x = np.cos(angle) * at_y + np.sin(angle) * at_x, np.cos(angle) * at_x - np.sin(angle) * at_y
        at_y, at_x = at_y + (n - 1) / 2, at_x + (n - 1) / 2
        shown = (np.minimum(at_y, at_x) >= -1e-9) & (np.maximum(at_y, at_x) <= n - 1 + 1e-9)
        hat = [np.maximum(1 - np.abs(at[shown, None] - np.arange(n)), 0) for at in (at_y, at_x)]
        laid = b @ (hat[0][:, :, None] * hat[1][:, None]).reshape(-1, n * n).T
        for flip in ((), (-1,), (-2,), (-2, -1)):
            seen = np.flip(x, flip).reshape(len(x), -1)[:, shown].astype(np.float64)
            square = np.square(seen).sum(1)[:, None] - 2 * seen @ laid.T + np.square(laid).sum(1)
            least = np.minimum(least, square * n * n / shown.sum())
    return np.sqrt(np.maximum(least, 0))


def test_the_search_finds_what_brute_force_finds() -> None:
    train, _, fresh = parts(3)
    train = train[:60]
    x = np.concatenate([fresh[:40], laid_anew(train[:40], 5, least=0.8, degrees=12)])
    slow = slow_nearest(x, train)
    distance, nearest = Search(train).nearest(x)
    # It aligns continuously and may come nearer than the grid; a few innocents may end with a neighbour a little farther off.
    assert (distance <= 1.1 * slow.min(1) + 0.1).mean() >= 0.95
    assert (slow[np.arange(len(x)), nearest] <= 1.15 * slow.min(1) + 0.1).mean() >= 0.95
    assert (nearest[40:] == np.arange(40)).mean() >= 0.95


@pytest.mark.parametrize("shape", [(2, 64), (1, 150), (3, 8, 16, 16), (1, 12, 20)])
def test_crops_and_turns_are_seen_on_grids_of_one_to_three_axes(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(len(shape))
    rough = rng.normal(size=(160, *shape))
    smooth = gaussian_filter(rough, (0, 0, *(n / 12 for n in shape[1:])), mode="nearest")
    smooth = (smooth / smooth.std()).astype(np.float32)
    train, held = smooth[:60], smooth[60:]
    copies = laid_anew(train, 7, least=0.8, degrees=12 if len(shape) > 2 else 0)
    found = check(copies, train, held)
    assert found.flagged.all() and (found.nearest == np.arange(60)).all()
    assert found.ratio.max() < 0.1 < np.median(check(copies, train, held, like=None).ratio)


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


def signals(num: int, seed: int) -> np.ndarray:
    """Smooth pictures ``[num, 1, 24, 40]`` whose rows and columns mean different things."""
    rough = np.random.default_rng(seed).normal(size=(num, 1, 24, 40))
    smooth = gaussian_filter(rough, (0, 0, 1, 2), mode="nearest")
    return (smooth / smooth.std()).astype(np.float32)


def test_where_nothing_moves_along_an_axis_no_copy_is_looked_for_there() -> None:
    x = signals(260, 0)
    train, held = x[:100], x[100:]
    along = Likeness(axes=(1,))
    late = laid_anew(train.reshape(100, 24, 40), 3, least=0.9).reshape(train.shape)  # each row alike
    assert check(late, train, held, like=along).flagged.all()
    for other in (train[:, :, ::-1], train[:, :, :, ::-1]):
        mirrored = np.ascontiguousarray(other)
        assert check(mirrored, train, held).ratio.max() < 0.1  # a picture's copies
        assert check(mirrored, train, held, like=along).ratio.min() > 0.7


def test_a_level_that_does_not_count_is_taken_out_before() -> None:
    x = signals(260, 1)
    train, held = x[:100], x[100:]
    level = np.linspace(-1, 1, 100, dtype=np.float32)[:, None, None, None]
    assert check(train + level, train, held, like=Likeness(axes=(1,))).rate < 1
    without = Likeness(axes=(1,), levelled=lambda x: x - x.mean((1, 2, 3), keepdims=True))
    found = check(train + level, train, held, like=without)
    assert found.flagged.all() and found.ratio.max() < 1e-3
