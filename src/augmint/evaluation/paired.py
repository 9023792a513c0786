"""Statistics of a paired experiment: the same seeds and the same test items under two arms.

The paired difference of seed ``s`` on item ``i`` is modelled with crossed effects, ``D[s, i] = effect + seed[s] + item[i] +
pair[s, i]``. The interval is a two-way bootstrap (seeds and items are both resampled: Owen 2007, "The pigeonhole
bootstrap"), which counts the pair term three times and forgets that few seeds say little of their own spread. So its
deviations are rescaled to the unbiased variance of the crossed model and to Student's t with Satterthwaite's degrees of
freedom. Measured under no difference: tests/test_proof.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augmint.core import rng
from augmint.core.types import I64

F64 = NDArray[np.float64]

# Variances of the three terms measured on digits with the default probes, a good arm against a weaker one
# (docs/log.md), in units of 1: what is assumed before there is an experiment of one's own.
_TYPICAL = (8e-5, 0.015, 0.045)
_MOST_ITEMS = 20
"""So many times the test part is the largest that is called affordable: below, an effect is hardly more than its own noise."""
_Z95, _Z80 = 1.959964, 0.841621


@dataclass(frozen=True)
class Effect:
    """A paired difference in points, its 95 % interval, and the two-sided p of no difference.

    Both count seeds and test items: p is Student's, of the variance and degrees of freedom that the interval is scaled to. They
    agree but for the bootstrap's skewness, which the interval follows and p does not.

    ``parts``: variances of the seed, item and pair terms in units of 1, for planning; ``num_seeds``, ``num_test``.
    """

    effect: float
    ci95: tuple[float, float]
    p: float
    parts: tuple[float, float, float]
    num_seeds: int
    num_test: int


@dataclass(frozen=True)
class Needed:
    """What would settle a comparison four times in five, if the effect is what it looks like.

    ``seeds`` at this test part, ``test_items`` at these seeds; where neither alone is enough, ``both`` of them together
    (seeds, test items). ``None``: cannot.
    """

    seeds: int | None
    test_items: int | None
    both: tuple[int, int] | None = None


class Resamples:
    """Two-way bootstrap draws, made once and shared by all comparisons of an experiment.

    Args:
        test_y: labels ``[N]``; with ``balanced`` every class weighs the same and items are resampled within classes.
    """

    def __init__(self, test_y: I64, num_seeds: int, *, balanced: bool = False, seed: int = 0) -> None:
        n = len(test_y)
        self.num_seeds, self.groups = num_seeds, test_y if balanced else np.zeros(n, np.int64)
        classes, inverse, counts = np.unique(self.groups, return_inverse=True, return_counts=True)
        self.weight: F64 = 1.0 / (len(classes) * counts[inverse])
        num = int(np.clip(1e7 // n, 200, 2000))
        self.seeds = _counts(rng.key("resample-seeds", seed), num, np.arange(num_seeds))
        self.items = np.zeros((num, n), np.uint8)
        for c in classes:
            where = np.flatnonzero(self.groups == c)
            self.items[:, where] = _counts(rng.key("resample-items", seed, int(c)), num, where)

    def effect(self, a: NDArray[np.bool_], b: NDArray[np.bool_] | None = None) -> Effect:
        """How much more often ``a`` is right than ``b`` (both bool ``[S, N]``); without ``b``, how often ``a`` is."""
        diff = a.astype(np.float64) - (0.0 if b is None else b)
        weighted = diff * self.weight
        by_seed = weighted.sum(1)
        mean = float(by_seed.mean())
        parts, variance, df = self._variance(diff, by_seed)
        drawn = np.einsum("bn,bn->b", (self.seeds / self.num_seeds) @ weighted, self.items)
        low, high = _interval(mean, drawn, variance, df)
        low, high = max(low, 0.0 if b is None else -1.0), min(high, 1.0)  # what a share, or a difference of two, can be
        return Effect(100 * mean, (100 * low, 100 * high), _p(mean, variance, df), parts, *diff.shape)

    def drawn(self, table: F64) -> F64:
        """Resampled means ``[R]`` of any table ``[S, N]`` of numbers, spread as its interval is; paired over tables.

        For what is worked out from several effects, such as their ratio: its interval is that of the same draws.
        """
        weighted = table * self.weight
        by_seed = weighted.sum(1)
        _, variance, df = self._variance(table, by_seed)
        raw = np.einsum("bn,bn->b", (self.seeds / self.num_seeds) @ weighted, self.items)
        scale = _half(variance, df) / (_Z95 * max(float(raw.std()), 1e-12))
        out: F64 = by_seed.mean() + scale * (raw - raw.mean())
        return out

    def _variance(self, diff: F64, by_seed: F64) -> tuple[tuple[float, float, float], float, float]:
        """The three variance terms, the variance of the mean, and its degrees of freedom."""
        num, n = diff.shape
        size, total = np.bincount(self.groups)[self.groups], np.bincount(self.groups).astype(np.float64)
        item = diff.mean(0)
        within = item - (np.bincount(self.groups, item) / total.clip(1))[self.groups]
        lone = size < 2  # a class with one test item says nothing of its own spread: measured from the overall mean
        within[lone] = item[lone] - item.mean()
        more = np.where(lone, 1.0, size / np.maximum(size - 1, 1)) * self.weight**2
        seen_seeds = float(by_seed.var(ddof=1)) / num
        seen_items = float((more * within**2).sum())
        rest = diff - item
        for c in np.unique(self.groups):
            where = self.groups == c
            rest[:, where] -= rest[:, where].mean(1, keepdims=True)
        pair = float((more * (rest**2).sum(0)).sum()) / (num - 1) / num
        only_items = max(seen_items - pair, 0.0)
        spread = float((self.weight**2).sum())
        # Never surer than if one item had been gained and one lost: 10 items that all agree prove little.
        variance = max(seen_seeds + only_items, seen_items, 2 * spread / n)
        df = variance**2 / max(seen_seeds**2 / (num - 1) + seen_items**2 / max(n - 1, 1), 1e-300)
        parts = (max(seen_seeds - pair, 0.0) * num, only_items / spread, pair * num / spread)
        return parts, variance, max(df, num - 1.0)


def _counts(key: int, num: int, among: I64) -> NDArray[np.uint8]:
    """How often each of ``among`` is drawn in each of ``num`` resamples with replacement: ``[num, len(among)]``."""
    n = len(among)
    keys, out = rng.bits(key, np.arange(num)), np.empty((num, n), np.uint8)
    rows = max(1, 1_000_000 // n)
    for start in range(0, num, rows):
        u = rng.uniform(keys[start : start + rows, None], among)
        picked = (u * n).astype(np.int64) + n * np.arange(len(u))[:, None]
        out[start : start + rows] = np.bincount(picked.reshape(-1), minlength=u.size).reshape(u.shape).clip(max=255)
    return out


def _half(variance: float, df: float) -> float:
    from scipy.stats import t

    return float(t.ppf(0.975, df)) * math.sqrt(variance)


def _interval(mean: float, drawn: F64, variance: float, df: float) -> tuple[float, float]:
    half = _half(variance, df)
    spread = float(drawn.std())
    if spread < 1e-12:
        return mean - half, mean + half
    low, high = np.quantile(drawn, [0.025, 0.975]) - drawn.mean()
    scale = half / (_Z95 * spread)
    return mean + scale * float(low), mean + scale * float(high)


def _p(mean: float, variance: float, df: float) -> float:
    from scipy.stats import t

    return max(float(2 * t.sf(abs(mean) / math.sqrt(variance), df)), 1e-12) if mean else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of a family of p values (Holm 1979), in the order given."""
    order = np.argsort(p, kind="stable")
    stepped = np.asarray(p, dtype=np.float64)[order] * np.arange(len(p), 0, -1)
    out = np.empty(len(p))
    out[order] = np.minimum(np.maximum.accumulate(stepped), 1.0) if len(p) else stepped
    return [float(v) for v in out]


def _half_width(parts: tuple[float, float, float], seeds: int, items: float, *, power: bool) -> float:
    """Half of the interval's width in points; with ``power``, the effect that is found four times in five."""
    from scipy.stats import t

    seed_part, item_part, pair_part = parts
    by_seed = seed_part / seeds + pair_part / (seeds * items)
    variance = max(by_seed + item_part / items, 2 / items**2)
    df = max(seeds - 1.0, variance**2 / max(by_seed**2 / (seeds - 1), 1e-300))
    return 100 * math.sqrt(variance) * (float(t.ppf(0.975, df)) + (_Z80 if power else 0.0))


def smallest_provable(num_test: int, num_seeds: int) -> float:
    """The smallest lift in points that an experiment of this size would find four times in five.

    Assumes the scatter measured on digits with the default probes; known before anything is trained.
    """
    if num_test < 1 or num_seeds < 2:
        return 100.0
    return min(100.0, _half_width(_TYPICAL, num_seeds, num_test, power=True))


def needed(found: Effect, margin: float) -> Needed:
    """Seeds (at this test part) or test items (at these seeds) that would settle ``found``, up to 200 and 20 times as many as there are."""
    size = abs(found.effect)
    target = max(size, margin - size)
    enough = (
        s for s in range(found.num_seeds + 1, 201) if _half_width(found.parts, s, found.num_test, power=True) <= target
    )
    seeds, items = next(enough, None), _items(found, found.num_seeds, target)
    if seeds or items:
        return Needed(seeds, items)
    pairs = ((s, _items(found, s, target)) for s in (20, 50, 100, 200) if s > found.num_seeds)
    return Needed(None, None, next(((s, n) for s, n in pairs if n), None))


def _items(found: Effect, seeds: int, target: float) -> int | None:
    tried = (int(found.num_test * 1.05**k) + 1 for k in range(1, 240))
    fitting = (n for n in tried if n <= _MOST_ITEMS * found.num_test)
    return _round_up(next((n for n in fitting if _half_width(found.parts, seeds, n, power=True) <= target), None))


def _round_up(n: int | None) -> int | None:
    """To two digits: more would be false precision."""
    if n is None:
        return None
    unit: int = 10 ** max(0, len(str(n)) - 2)
    return math.ceil(n / unit) * unit
