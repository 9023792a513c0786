"""Neighbour counts between two sets of features: precision, recall, density and coverage, also in their clipped forms.

Distances are computed in single precision, tile by tile, which is twice as fast and needs little memory. Each carries a
bound on its rounding error; every decision that falls within the bound is taken again in double precision, from the
differences themselves. The results are those of an exact computation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augmint.core.errors import UserError

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]
_TILE = 1024  # rows and columns of a tile: 4 MB, and large enough for a matrix product at full speed
_SPARE = 4  # neighbours kept beyond the k-th, so that near ties can be settled among them
_PAIRS = 1 << 21  # numbers in one block of exact differences: 16 MB
_TINY = 1e-30  # where squared norms near one underflow
_DOUBLE = 2.0**-29  # rounding of double against single precision
_MANY = 1 << 17  # near ties in a tile from which on all of it in double precision is cheaper than its pairs


def table(x: Floats) -> Floats:
    """``[N, D]`` as float32 or float64, without a copy where it is that already.

    Raises:
        UserError: with fewer than two rows, or if a number is not finite.
    """
    rows = np.asarray(x)
    if rows.dtype not in (np.float32, np.float64):
        rows = rows.astype(np.float64)
    if rows.ndim != 2 or len(rows) < 2:
        raise UserError(f"a metric needs a table of at least two rows, not {rows.shape}", mend="give more samples")
    if not np.isfinite(rows).all():
        raise UserError("the features hold NaN or infinity", mend="look for broken samples with `augmint inspect`")
    return rows


def blocks(num: int, step: int) -> list[slice]:
    """Slices of at most ``step`` that cover ``range(num)``."""
    return [slice(i, min(i + step, num)) for i in range(0, num, step)]


def prdc(real: Floats, fake: Floats, *, k: int = 5) -> dict[str, float]:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    Args:
        real: ``[N, D]``; fake: ``[M, D]``; at least two rows each.
        k: neighbours that span a sample's ball; lowered where there are not so many.
    """
    found = fidelity(real, fake, k=k)
    return {name: found[name] for name in ("precision", "recall", "density", "coverage")}


def fidelity(real: Floats, fake: Floats, *, k: int = 5) -> dict[str, float]:
    """What `prdc` gives, with clipped density and clipped coverage (Salvy et al. 2025, 2507.01761).

    The clipped forms let no sample count for more than one: balls of outliers shrink to the median radius, and a sample
    in more than k balls counts as one in k. Density is divided by what the reals reach among themselves. Coverage is
    read off the curve that it follows when m of the M synthetic samples are as good as real, so that both fall in
    proportion to the share of good samples and end at 1.

    Args:
        real: ``[N, D]``; fake: ``[M, D]``; at least two rows each.
        k: neighbours that span a sample's ball; lowered where there are not so many.
    """
    x, y = table(real), table(fake)
    k = min(k, len(x) - 1, len(y) - 1)
    centre = x.mean(0, dtype=np.float64)
    scale = _scale(centre, x, y)
    reach_y = _nearest(_cloud(y, y.mean(0, dtype=np.float64), scale), k).reach
    near = _nearest(_cloud(x, centre, scale), k)
    small = np.minimum(near.reach, np.median(near.reach))
    found = _count(near.cloud, _cloud(y, centre, scale), near.reach, small, reach_y)
    clipped = np.minimum(found.in_small, k).mean() / np.minimum(_own_count(near, small), k).mean()
    covered = float(np.minimum(found.balls_of_real, k).mean() / k)
    return {
        "precision": float((found.balls_of_fake > 0).mean()),
        "recall": float(found.recalled.mean()),
        "density": float(found.balls_of_fake.mean() / k),
        "coverage": float((found.balls_of_real > 0).mean()),
        "clipped_density": float(min(1.0, clipped)),
        "clipped_coverage": _share_of_good(covered, len(x), len(y), k),
    }


def expected_cover(num_real: int, num_fake: int, k: int) -> F64:
    """``[M + 1]``: mean of ``min(J, k) / k`` for 0 to M samples as good as real, of which J lie in a real sample's ball.

    The ball's mass is that of the k-th of N - 1 uniform order statistics, so J is beta-binomial (k, N - k), whatever
    the distribution of the samples.
    """
    from scipy.special import betaln, gammaln

    m, j = np.arange(num_fake + 1)[:, None], np.arange(k)
    rest = np.maximum(m - j, 0)
    log = gammaln(m + 1) - gammaln(j + 1) - gammaln(rest + 1)
    log = log + betaln(k + j, num_real - k + rest) - betaln(k, num_real - k)
    chance = np.where(j <= m, np.exp(log), 0.0)
    curve: F64 = 1.0 - (chance * (1.0 - j / k)).sum(1)
    return curve


def _share_of_good(covered: float, num_real: int, num_fake: int, k: int) -> float:
    curve = expected_cover(num_real, num_fake, k)
    return float(np.interp(covered, curve, np.arange(num_fake + 1) / num_fake))


@dataclass(frozen=True)
class _Cloud:
    """A table around a centre in single precision, with what a tile of distances and its error bound take.

    ``rows`` ``[N, D + 2]`` ends in 1 and the squared norm, so that one matrix product gives squared distances. All are
    scaled by ``scale`` (a power of two: exact) to norms of at most about one.
    """

    exact: Floats
    rows: F32
    square: F64
    centre: F64
    scale: float

    @property
    def bound(self) -> float:
        """Error of a squared distance, over the sum of the two squared norms (Higham 2002, eq. 3.5, for D + 2 terms)."""
        return float(2.0 * (self.rows.shape[1] + 6) * 2.0**-24)

    def tile(self, rows: slice, other: _Cloud, columns: slice) -> F32:
        left: F32 = self.rows[rows] * np.float32(-2.0)
        left[:, -2], left[:, -1] = self.rows[rows, -1], 1.0
        return np.asarray(left @ other.rows[columns].T, dtype=np.float32)

    def precise(self, rows: slice | I64, other: _Cloud, columns: slice) -> F64:
        """The same in double precision, what rounding leaves of equal rows' distance set to zero."""
        a = (self.exact[rows] - self.centre) * self.scale
        b = (other.exact[columns] - self.centre) * self.scale
        norms = np.square(a).sum(1)[:, None] + np.square(b).sum(1)
        out = norms - 2.0 * (a @ b.T)
        return np.where(out <= 4e-16 * a.shape[1] * norms, 0.0, out)

    def pairs(self, i: I64, other: _Cloud, j: I64) -> F64:
        """Squared distances of pairs, from their differences."""
        out = np.empty(len(i))
        for part in blocks(len(i), max(1, _PAIRS // self.exact.shape[1])):
            difference = np.subtract(self.exact[i[part]], other.exact[j[part]], dtype=np.float64) * self.scale
            out[part] = np.einsum("ij,ij->i", difference, difference)
        return out

    def error(self, squares: F64) -> F64:
        """Bound on a tile's error for others of these squared norms, ``[N, K]``."""
        out: F64 = self.bound * (self.square[:, None] + squares) + _TINY
        return out

    def slack(self, reach: F64) -> F64:
        """How far above ``reach`` the tile may put a distance that is not above it: its other end is not farther out."""
        out: F64 = self.bound * (self.square + (np.sqrt(self.square) + np.sqrt(reach)) ** 2) + _TINY
        return out


def _scale(centre: F64, *tables: Floats) -> float:
    """A power of two that brings all norms around the centre to at most one."""
    largest = max(np.square(x[part] - centre).sum(1).max() for x in tables for part in blocks(len(x), _TILE))
    return float(2.0 ** -np.ceil(np.log2(max(largest, 1e-300)) / 2))


def _cloud(x: Floats, centre: F64, scale: float) -> _Cloud:
    rows, square = np.empty((len(x), x.shape[1] + 2), np.float32), np.empty(len(x))
    for part in blocks(len(x), _TILE):
        centred = (x[part] - centre) * scale
        rows[part, :-2], square[part] = centred, np.square(centred).sum(1)
    rows[:, -2], rows[:, -1] = 1.0, square
    return _Cloud(x, rows, square, centre, scale)


@dataclass(frozen=True)
class _Near:
    """The nearest neighbours of every row: ``index``, squared ``distance`` and its error bound, each ``[N, K]``, K >= k.

    ``reach`` ``[N]`` is the exact squared distance of the k-th; ``cloud`` the rows themselves.
    """

    cloud: _Cloud
    index: I64
    distance: F64
    error: F64
    reach: F64

    def settle(self, unsure: NDArray[np.bool_]) -> None:
        """Replace the distances at these places by exact ones."""
        where = np.nonzero(unsure & (self.error > 0))
        self.distance[where] = self.cloud.pairs(where[0], self.cloud, self.index[where])
        self.error[where] = 0.0


def _nearest(cloud: _Cloud, k: int) -> _Near:
    num = len(cloud.rows)
    index, distance = _listed(cloud, min(k + _SPARE, num - 1))
    found = _Near(cloud, index, distance.astype(np.float64), cloud.error(cloud.square[index]), np.empty(num))
    highest = (found.distance + found.error)[:, :k].max(1)  # the k-th is not farther than that
    if index.shape[1] < num - 1:
        _relist(found, np.flatnonzero(found.distance[:, -1] <= highest + cloud.slack(highest)))
    lowest = np.partition(found.distance - found.error, k - 1, axis=1)[:, k - 1]
    highest = np.partition(found.distance + found.error, k - 1, axis=1)[:, k - 1]
    found.settle((found.distance - found.error <= highest[:, None]) & (found.distance + found.error >= lowest[:, None]))
    return replace(found, reach=np.partition(found.distance, k - 1, axis=1)[:, k - 1])


def _relist(found: _Near, rows: I64) -> None:
    """Rows with too many near ties for their list: list them again from distances in double precision."""
    everything = slice(0, len(found.index))
    for part in blocks(len(rows), max(1, _PAIRS // len(found.index))):
        some = rows[part]
        exact = found.cloud.precise(some, found.cloud, everything)
        exact[np.arange(len(some)), some] = np.inf
        width = found.index.shape[1]
        index = np.argpartition(exact, width - 1, axis=1)[:, :width]
        found.index[some] = index
        found.distance[some] = np.take_along_axis(exact, index, 1)
        found.error[some] *= _DOUBLE


def _listed(cloud: _Cloud, keep: int) -> tuple[I64, F32]:
    """The ``keep`` nearest others of every row by single-precision distance, unsorted: indices and distances."""
    num = len(cloud.rows)
    index, distance = np.zeros((num, keep), np.int64), np.full((num, keep), np.inf, np.float32)
    parts = blocks(num, _TILE)
    for part in parts:
        tile = cloud.tile(part, cloud, part)
        np.fill_diagonal(tile, np.inf)
        width = min(keep, len(tile) - 1)
        if width:
            near = np.argpartition(tile, width - 1, axis=1)[:, :width]
            index[part, :width], distance[part, :width] = near + part.start, np.take_along_axis(tile, near, 1)
    for here, there in ((a, b) for i, a in enumerate(parts) for b in parts[i + 1 :]):
        tile = cloud.tile(here, cloud, there)  # distances are symmetric: one tile serves its rows and its columns
        rows, columns = _places(tile < distance[here].max(1)[:, None])
        _merge(index[here], distance[here], rows, columns + there.start, tile[rows, columns])
        rows, columns = _places(tile < distance[there].max(1))
        _merge(index[there], distance[there], columns, rows + here.start, tile[rows, columns])
    return index, distance


def _places(chosen: NDArray[np.bool_]) -> tuple[I64, I64]:
    """``nonzero`` of a matrix, faster."""
    rows, columns = np.divmod(np.flatnonzero(chosen), chosen.shape[1])
    return rows, columns


def _merge(index: I64, distance: F32, rows: I64, others: I64, found: F32) -> None:
    """Keep the nearest of what is listed and of what was found, row by row, in place."""
    order = np.lexsort((found, rows))
    rows, others, found = rows[order], others[order], found[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    keep = index.shape[1]
    first = rank < keep
    more, further = np.zeros_like(index), np.full_like(distance, np.inf)
    more[rows[first], rank[first]], further[rows[first], rank[first]] = others[first], found[first]
    both, squares = np.concatenate([index, more], 1), np.concatenate([distance, further], 1)
    near = np.argpartition(squares, keep - 1, axis=1)[:, :keep]
    index[:], distance[:] = np.take_along_axis(both, near, 1), np.take_along_axis(squares, near, 1)


def _own_count(near: _Near, small: F64) -> I64:
    """In how many of the others' shrunken balls each real lies; a shrunken ball holds none but listed neighbours."""
    near.settle(np.abs(near.distance - small[:, None]) <= near.error)
    return np.bincount(near.index[near.distance <= small[:, None]], minlength=len(small))


@dataclass
class _Counts:
    """Of each synthetic sample: how many reals' balls, whole and shrunken, hold it. Of each real: how many synthetic
    samples lie in its ball, and whether it lies in one of theirs."""

    balls_of_fake: I64
    in_small: I64
    balls_of_real: I64
    recalled: NDArray[np.bool_]


def _count(x: _Cloud, y: _Cloud, reach_x: F64, small: F64, reach_y: F64) -> _Counts:
    n, m = len(reach_x), len(reach_y)
    out = _Counts(np.zeros(m, np.int64), np.zeros(m, np.int64), np.zeros(n, np.int64), np.zeros(n, bool))
    far_x, far_y = (
        np.nextafter((r + c.slack(r)).astype(np.float32), np.float32(np.inf)) for c, r in ((x, reach_x), (y, reach_y))
    )
    for rows, columns in product(blocks(n, _TILE), blocks(m, _TILE)):
        tile = x.tile(rows, y, columns)
        pairs = _Pairs(x, y, rows, columns, tile)
        i, j, d2 = pairs.settled(tile <= far_x[rows, None], lambda i, j: (reach_x[i], small[i]))
        inside = d2 < reach_x[i]
        out.balls_of_fake += np.bincount(j[inside], minlength=m)
        out.balls_of_real += np.bincount(i[inside], minlength=n)
        out.in_small += np.bincount(j[d2 <= small[i]], minlength=m)
        open_rows = ~out.recalled[rows, None]  # one ball is enough
        i, j, d2 = pairs.settled((tile <= far_y[columns]) & open_rows, lambda i, j: (reach_y[j],))
        out.recalled[i[d2 < reach_y[j]]] = True
    return out


@dataclass(frozen=True)
class _Pairs:
    """The pairs of one tile."""

    x: _Cloud
    y: _Cloud
    rows: slice
    columns: slice
    tile: F32

    def settled(self, chosen: NDArray[np.bool_], limits: Callable[[I64, I64], tuple[F64, ...]]) -> tuple[I64, I64, F64]:
        """Rows, columns and squared distances of the chosen pairs, exact where rounding could put one across a limit."""
        at = _places(chosen)
        i, j, d2 = at[0] + self.rows.start, at[1] + self.columns.start, self.tile[at].astype(np.float64)
        error = self.x.bound * (self.x.square[i] + self.y.square[j]) + _TINY
        bounds = limits(i, j)
        unsure = _near_any(d2, bounds, error)
        if unsure.sum() > _MANY:
            d2[unsure] = self.x.precise(self.rows, self.y, self.columns)[at[0][unsure], at[1][unsure]]
            unsure &= _near_any(d2, bounds, error * _DOUBLE) & (d2 > 0)  # equal rows' distance is certain
        d2[unsure] = self.x.pairs(i[unsure], self.y, j[unsure])
        return i, j, d2


def _near_any(d2: F64, limits: tuple[F64, ...], error: F64) -> NDArray[np.bool_]:
    """Where a distance may lie on either side of a limit."""
    near = [np.abs(d2 - limit) <= error for limit in limits]
    return np.asarray(np.any(near, axis=0))
