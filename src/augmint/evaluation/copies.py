"""The copy check: which synthetic samples lie suspiciously near one training sample. Not a privacy proof.

A generator can leak what it has learned without copying any one sample, and "far from every training sample" does not
refute membership inference ("The DCR Delusion", 2505.01524). This check finds copies, and only those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augmint.core.errors import UserError
from augmint.core.types import F32, I64, PICTURES, Likeness
from augmint.evaluation.alignment import MIN_CELLS, Search, averaged, comparable

F64 = NDArray[np.float64]
Nearest = Callable[[F32, bool], tuple[F64, I64]]
"""Distance to and index of the nearest training sample, for each sample; whether these are the training samples themselves,
each looking for another."""

_MIN_HELD = 100  # below, a first percentile does not exist
_FALSE_ALARMS = 0.01
_NEAR_EXACT = 0.25  # nearer than this share of the usual distance is a copy by any standard
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

    def suspects(self, ids: Sequence[str], train_ids: Sequence[str], most: int = 20) -> list[dict[str, Any]]:
        """The flagged samples by name, nearest first, each beside its nearest training sample.

        Args:
            ids, train_ids: names of the samples ``[N]`` and of the training samples ``[M]``.
        """
        found = [int(i) for i in np.argsort(self.ratio, kind="stable") if self.flagged[i]]
        return [
            {"id": ids[i], "nearest_id": train_ids[int(self.nearest[i])], "ratio": round(float(self.ratio[i]), 3)}
            for i in found[:most]
        ]


class CopyCheck:
    """`check` with its references prepared once, for sets of synthetic samples that come one after the other.

    Raises:
        UserError: if there is no training sample or the grids differ.
    """

    def __init__(self, train_x: F32, held_x: F32, *, like: Likeness | None = PICTURES) -> None:
        _refuse(train_x, held_x, held_x)
        self._train_x, self._held_x, self._like = train_x, held_x, like
        train = comparable(train_x, like)
        self._nearest = _search(train, like)
        self._own = _own_distance(train, self._nearest)
        self._real = np.sort(self._ratio(comparable(held_x, like))[0])

    def __call__(self, fake_x: F32) -> Copies:
        _refuse(self._train_x, self._held_x, fake_x)
        ratio, nearest = self._ratio(comparable(fake_x, self._like))
        if len(self._real) < _MIN_HELD:
            return Copies(ratio, nearest, ratio < _NEAR_EXACT, None, None)
        rank = _rank(len(self._real))
        # Nothing farther off than the training sample's own neighbour is called its copy, whatever the held-out reals do.
        low, high = (float(np.clip(self._real[r], _NEAR_EXACT, 1.0)) for r in (rank - 1, rank))
        # The threshold that the other reals would have given.
        left_out = np.where(np.arange(len(self._real)) < rank, high, low)
        return Copies(ratio, nearest, ratio < low, low, float((self._real < left_out).mean()))

    def _ratio(self, x: F32) -> tuple[F64, I64]:
        distance, nearest = self._nearest(x, False)
        return distance / self._own[nearest], nearest


def check(fake_x: F32, train_x: F32, held_x: F32, *, like: Likeness | None = PICTURES) -> Copies:
    """Flag synthetic samples that are nearer to a training sample than 99 % of unseen reals are.

    Nearness is a ratio, so that a sample from a crowded region is not accused for its crowd: the distance to the
    nearest training sample over that one's distance to its own nearest neighbour. The threshold is the held-out
    reals' order statistic that keeps false alarms at or below 1 % (see `_rank`). All these distances come from one
    search, so that whatever it lets look alike, it lets look alike among reals too.

    Large grids are averaged down first (to at most 16 cells a side for two axes), which keeps the search cheap.

    Args:
        fake_x, train_x, held_x: ``[N, C, *shape]`` on one grid, or ``[N, D]`` rows of features, float32.
            ``train_x`` is all that the generator saw; ``held_x`` are reals that it did not.
        like: what leaves a sample the same, and is therefore looked under, for the GAN saw augmented reals: by default crops and
            shifts along every axis, turns in the last two, and (grids of two axes) flips. None: samples are compared as they are,
            and so are rows of features.

    Raises:
        UserError: if there is no training sample or the grids differ.
    """
    return CopyCheck(train_x, held_x, like=like)(fake_x)


def _refuse(train_x: F32, held_x: F32, fake_x: F32) -> None:
    if (
        len(train_x) == 0
        or fake_x.shape[1:] != train_x.shape[1:]
        or (len(held_x) and held_x.shape[1:] != train_x.shape[1:])
    ):
        raise UserError(
            f"copies of {train_x.shape} cannot be looked for in {fake_x.shape} (held out: {held_x.shape})",
            mend="give samples of one grid, and at least one training sample",
        )


def _rank(num_held: int) -> int:
    """Which of the sorted held-out ratios is the threshold: a one-sided tolerance limit (Wilks 1941).

    The first percentile itself would exceed 1 % false alarms half of the time. The limit stays below with 90 %
    confidence; with fewer than 230 reals the smallest ratio is all there is, and the confidence is less (63 % at 100).
    """
    from scipy.stats import binom

    return max(1, int((binom.cdf(np.arange(num_held // 50), num_held, _FALSE_ALARMS) <= 0.1).sum()))


def _search(train_x: F32, like: Likeness | None) -> Nearest:
    """What finds the nearest of the training samples: aligned, or as they are."""
    if like is not None and max(train_x.shape[2:], default=1) >= MIN_CELLS:
        return Search(train_x, shift=like.shift).nearest
    return partial(_plainly, train=_small(train_x))


def _small(x: F32) -> F32:
    return averaged(x) if x.ndim > 2 else np.asarray(x, dtype=np.float32)


def _own_distance(train: F32, nearest: Nearest) -> F64:
    """Each training sample's distance to its nearest other.

    Floored at half the median: a training sample that is there twice would otherwise have no distance to speak of, and
    the copies of what is duplicated, the likeliest of all, would go free.
    """
    if len(train) < 2:
        return np.full(len(train), float(_small(train).std()) * np.sqrt(_small(train)[0].size) or 1.0)
    own, _ = nearest(train, True)
    usual = own[own > 1e-3 * own.max()]
    floor: F64 = np.maximum(own, 0.5 * float(np.median(usual)) if len(usual) else 1.0)
    return floor


def _plainly(x: F32, but_itself: bool, *, train: F32) -> tuple[F64, I64]:
    """Distance to and index of the nearest training sample, both as they are."""
    distance, index = np.empty(len(x)), np.empty(len(x), dtype=np.int64)
    centre = train.mean(0)  # it keeps the subtraction below exact enough
    a, b = ((z - centre).reshape(len(z), centre.size) for z in (_small(x), train))
    square = np.square(b).sum(1)
    step = max(1, _BLOCK // len(b))
    for i in range(0, len(a), step):
        rows = slice(i, i + step)
        d2 = a[rows] @ b.T
        d2 *= -2.0
        d2 += square
        if but_itself:
            d2[np.arange(len(d2)), np.arange(i, i + len(d2))] = np.inf
        index[rows] = j = d2.argmin(1)
        distance[rows] = d2[np.arange(len(d2)), j].astype(np.float64) + np.square(a[rows]).sum(1)
    return np.sqrt(np.maximum(distance, 0.0)), index
