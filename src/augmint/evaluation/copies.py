"""The copy check: which synthetic samples lie suspiciously near one training sample. Not a privacy proof.

A generator can leak what it has learned without copying any one sample, and "far from every training sample" does not
refute membership inference ("The DCR Delusion", 2505.01524). This check finds copies, and only those.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augmint.core.errors import UserError
from augmint.core.types import F32, I64

F64 = NDArray[np.float64]
View = tuple[Any, ...]  # an index: an ellipsis and slices

_MIN_HELD = 100  # below, a first percentile does not exist
_FALSE_ALARMS = 0.01
_NEAR_EXACT = 0.25  # nearer than this share of the usual distance is a copy by any standard
_LONGEST_SIDE = {1: 64, 2: 16, 3: 8}
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Copies:
    """What `check` found.

    Attributes:
        ratio: ``[N]`` distance to the nearest training sample, over that one's distance to its own nearest.
        nearest: ``[N]`` index of that training sample.
        flagged: ``[N]`` suspected copies.
        threshold: ratio below which a sample is flagged; `None` with fewer than 100 held-out reals, where only
            near-exact copies are flagged and the ratio serves to rank.
        real_rate: share of held-out reals that the same rule flags, each judged by the others; `None` like the threshold.
    """

    ratio: F64
    nearest: I64
    flagged: NDArray[np.bool_]
    threshold: float | None
    real_rate: float | None

    @property
    def rate(self) -> float:
        """Share of samples that are flagged."""
        return float(self.flagged.mean()) if len(self.flagged) else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The ``copies`` part of ``eval/metrics.json``."""
        return {
            "rate": self.rate,
            "real_rate": self.real_rate,
            "threshold": self.threshold,
            "flagged": int(self.flagged.sum()),
            "n": len(self.flagged),
        }


def check(fake_x: F32, train_x: F32, held_x: F32, *, symmetric: bool = True) -> Copies:
    """Flag synthetic samples that are nearer to a training sample than 99 % of unseen reals are.

    Nearness is a ratio, so that a sample from a crowded region is not accused for its crowd: the distance to the
    nearest training sample over that one's distance to its own nearest neighbour. The threshold is the held-out
    reals' order statistic that keeps false alarms at or below 1 % (see `_rank`).

    Large grids are averaged down first (to at most 16 cells a side for two axes), which keeps the search cheap.

    Args:
        fake_x, train_x, held_x: ``[N, C, *shape]`` on one grid, or ``[N, D]`` rows of features, float32.
            ``train_x`` is all that the generator saw; ``held_x`` are reals that it did not.
        symmetric: look under shifts of one or two cells along every axis too, and (grids of two axes) under
            flips; for the GAN saw augmented reals. Rows of features are compared as they are.

    Raises:
        UserError: if there is no training sample or the grids differ.
    """
    if (
        len(train_x) == 0
        or fake_x.shape[1:] != train_x.shape[1:]
        or (len(held_x) and held_x.shape[1:] != train_x.shape[1:])
    ):
        raise UserError(
            f"copies of {train_x.shape} cannot be looked for in {fake_x.shape} (held out: {held_x.shape})",
            mend="give samples of one grid, and at least one training sample",
        )
    fake, train, held = (_small(x) for x in (fake_x, train_x, held_x))
    own = _own_distance(train, symmetric)
    ratio, nearest = _ratio(fake, train, own, symmetric)
    near_exact = ratio < _NEAR_EXACT
    if len(held) < _MIN_HELD:
        return Copies(ratio, nearest, near_exact, None, None)
    real = np.sort(_ratio(held, train, own, symmetric)[0])
    rank = _rank(len(real))
    # Nothing farther off than the training sample's own neighbour is called its copy, whatever the held-out reals do.
    low, high = (float(np.clip(r, _NEAR_EXACT, 1.0)) for r in (real[rank - 1], real[rank]))
    left_out = np.where(np.arange(len(real)) < rank, high, low)  # the threshold that the other reals would have given
    return Copies(ratio, nearest, ratio < low, low, float((real < left_out).mean()))


def _rank(num_held: int) -> int:
    """Which of the sorted held-out ratios is the threshold: a one-sided tolerance limit (Wilks 1941).

    The first percentile itself would exceed 1 % false alarms half of the time. The limit stays below with 90 %
    confidence; with fewer than 230 reals the smallest ratio is all there is, and the confidence is less (63 % at 100).
    """
    from scipy.stats import binom

    return max(1, int((binom.cdf(np.arange(num_held // 50), num_held, _FALSE_ALARMS) <= 0.1).sum()))


def _small(x: F32) -> F32:
    if x.ndim < 3:
        return np.asarray(x, dtype=np.float32)
    from augmint.evaluation.features import shrink

    return shrink(np.asarray(x, dtype=np.float32), _LONGEST_SIDE[x.ndim - 2])


def _ratio(x: F32, train: F32, own: F64, symmetric: bool) -> tuple[F64, I64]:
    distance, nearest = _nearest(x, train, symmetric=symmetric)
    return distance / own[nearest], nearest


def _own_distance(train: F32, symmetric: bool) -> F64:
    """Each training sample's distance to its nearest other.

    Floored at half the median: a training sample that is there twice would otherwise have no distance to speak of, and
    the copies of what is duplicated, the likeliest of all, would go free.
    """
    if len(train) < 2:
        return np.full(len(train), float(train.std()) * np.sqrt(train[0].size) or 1.0)
    own, _ = _nearest(train, train, symmetric=symmetric, but_itself=True)
    usual = own[own > 1e-3 * own.max()]
    floor: F64 = np.maximum(own, 0.5 * float(np.median(usual)) if len(usual) else 1.0)
    return floor


def _nearest(x: F32, train: F32, *, symmetric: bool, but_itself: bool = False) -> tuple[F64, I64]:
    """Distance to and index of the nearest training sample, under every flip and shift."""
    best = np.full(len(x), np.inf)
    index = np.zeros(len(x), dtype=np.int64)
    centre = train.mean()  # one number, so that shifts stay shifts; it keeps the subtraction below exact enough
    for flip, here, there in _alignments(train.shape[1:], symmetric):
        a = (np.flip(x, flip) if flip else x)[here] - centre
        b = train[there] - centre
        a, b = (z.reshape(len(z), int(np.prod(z.shape[1:]))) for z in (a, b))
        scale = train[0].size / max(b.shape[1], 1)  # a shift sees less of the sample: count what it sees for all of it
        square = np.square(b).sum(1)
        step = max(1, _BLOCK // len(b))
        for i in range(0, len(a), step):
            rows = slice(i, i + step)
            d2 = a[rows] @ b.T
            d2 *= -2.0
            d2 += square
            if but_itself:
                d2[np.arange(len(d2)), np.arange(i, i + len(d2))] = np.inf
            j = d2.argmin(1)
            found = scale * (d2[np.arange(len(d2)), j].astype(np.float64) + np.square(a[rows]).sum(1))
            better = found < best[rows]
            best[rows] = np.where(better, found, best[rows])
            index[rows] = np.where(better, j, index[rows])
    return np.sqrt(np.maximum(best, 0.0)), index


def _alignments(size: tuple[int, ...], symmetric: bool) -> Iterator[tuple[tuple[int, ...], View, View]]:
    """Axes to flip, and the overlapping views of the two samples, for every way to lay one on the other."""
    shape = size[1:]
    if not symmetric or not shape:
        yield (), (...,), (...,)
        return
    flips: list[tuple[int, ...]] = [(), (-1,), (-2,), (-2, -1)] if len(shape) == 2 else [()]
    reach = [0 if s < 4 else 2 if s > 12 and len(shape) < 3 else 1 for s in shape]
    for flip, shift in product(flips, product(*(range(-r, r + 1) for r in reach))):
        here = (..., *(slice(max(s, 0), n + min(s, 0)) for s, n in zip(shift, shape, strict=True)))
        there = (..., *(slice(max(-s, 0), n + min(-s, 0)) for s, n in zip(shift, shape, strict=True)))
        yield flip, here, there
