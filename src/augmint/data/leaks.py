"""Test samples that stand in training: the same content, or near enough to be the same picture or row.

Pictures and other grids are compared by their `signature`. Rows of a table are compared column by column, to a thousandth of
a standard deviation; where the columns hold so few values that rows agree by chance, agreement shows nothing, and none is told.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from augmint.core.types import F32, I64
from augmint.data.split import joined, near_pairs, near_threshold, signature

_CHUNK = 1024
_COLUMN_NEAR = 2.5e-4  # a thousandth of a standard deviation, on the grid of a table
_CHANCE = 0.01  # more expected agreements by chance than this, and agreement shows nothing
_SAME, _CLOSE = 1e-7, 1e-3  # chance that two values of a continuous column are the same in float32, or are near


@dataclass(frozen=True, slots=True)
class Copy:
    """Sample ``index`` repeats test sample ``test``: the same on the grid, or near."""

    index: int
    test: int
    identical: bool


def groups(x: F32) -> I64:
    """Near-duplicate group ids ``[N]`` of ``[N, C, *shape]``, each the group's first member."""
    rows = _rows(x)
    threshold = _threshold(x, rows, len(x) * len(x))
    return np.arange(len(x)) if threshold is None else joined(near_pairs(rows, threshold), len(x))


def copies(x: F32, test_x: F32, known_x: F32, *, only_identical: bool = False) -> list[Copy]:
    """Which of ``x`` repeat a test sample, in their order.

    Args:
        x, test_x: ``[N, C, *shape]`` and ``[M, C, *shape]`` in [-1, 1] on one grid.
        known_x: all reals, from which is told what counts as near.
    """
    if not len(x) or not len(test_x):
        return []
    threshold = _threshold(known_x, _rows(known_x), len(x) * len(test_x))
    if threshold is None:
        return []
    where = {row.tobytes(): j for j, row in reversed(list(enumerate(test_x)))}
    same = {i: where[row.tobytes()] for i, row in enumerate(x) if row.tobytes() in where}
    near = {} if only_identical or not threshold else _near(_rows(x), _rows(test_x), threshold)
    return [Copy(i, same.get(i, near.get(i, 0)), i in same) for i in sorted({*same, *near})]


def _is_table(x: F32) -> bool:
    return max(x.shape[2:], default=1) == 1


def _rows(x: F32) -> F32:
    return np.ascontiguousarray(x.reshape(len(x), -1)) if _is_table(x) else signature(x)


def _threshold(x: F32, rows: F32, pairs: int) -> float | None:
    """The distance below which two rows count as one: 0 where only identical ones do, None where not even those do."""
    if not _is_table(x):
        return near_threshold(rows)
    if _by_chance(rows, _CLOSE) * pairs < _CHANCE:
        return float(_COLUMN_NEAR * np.sqrt(rows.shape[1]))
    return 0.0 if _by_chance(rows, _SAME) * pairs < _CHANCE else None


def _by_chance(rows: F32, least: float) -> float:
    """Chance that two rows agree: the product over columns, and its root, for columns are not independent."""
    n, total = len(rows), 0.0
    for column in rows.T:
        counts = np.unique(column, return_counts=True)[1].astype(np.float64)
        total += np.log(max(float((counts * (counts - 1)).sum()) / max(n * (n - 1), 1), least))
    return float(np.exp(0.5 * total))


def _near(x: F32, test: F32, threshold: float) -> dict[int, int]:
    """For each row of ``x`` with a test row nearer than ``threshold``: the nearest one's position."""
    found: dict[int, int] = {}
    sealed = test.astype(np.float64)  # the threshold of a table lies below what products in float32 tell apart
    squares = np.square(sealed).sum(axis=1)
    for top in range(0, len(x), _CHUNK):
        part = x[top : top + _CHUNK].astype(np.float64)
        nearest = (squares - 2.0 * (part @ sealed.T)).argmin(axis=1)
        exact = np.linalg.norm(part - sealed[nearest], axis=1)
        found |= {top + int(i): int(nearest[i]) for i in np.flatnonzero(exact < threshold)}
    return found
