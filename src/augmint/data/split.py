"""Splits: fit, held-out and test, decided once and written down; near-duplicates never stand on two sides.

*Test* is sealed and opened once. *Held-out* chooses checkpoints, filters and shares. *Fit* is what models learn from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from augmint.core import rng
from augmint.core.types import F32, I64
from augmint.core.wording import number_of

if TYPE_CHECKING:
    import pandas as pd

SMALL = 1000  # below this many samples one test part is too small to prove anything: outer folds instead
NEAR, NEAR_SHARE = 0.1, 0.085  # see near_threshold; measured on digits and photos (tests/test_data_split.py)
_SIDE, _FLOOR, _LEVEL_WEIGHT = 16, 0.1, 0.25
_CHUNK = 1024


@dataclass(frozen=True, slots=True)
class Fold:
    """Sorted positions of each part in one fold; what is in none of the three is left out."""

    fit: I64
    held_out: I64
    test: I64


@dataclass(frozen=True, slots=True)
class Split:
    """One fold where the data brings or affords its own test part, several outer folds otherwise.

    ``groups`` are near-duplicate group ids ``[N]``; ``left_out`` positions are near-duplicates of a given test or val
    sample that stand in training; ``notes`` say what was decided and why.
    """

    folds: tuple[Fold, ...]
    groups: I64
    left_out: I64
    notes: tuple[str, ...] = ()

    def part(self, fold: int = 0) -> NDArray[np.str_]:
        """``[N]`` of "fit", "held-out", "test" or "left-out" for one fold."""
        names = np.full(len(self.groups), "left-out", dtype="<U8")
        chosen = self.folds[fold]
        for name, where in (("fit", chosen.fit), ("held-out", chosen.held_out), ("test", chosen.test)):
            names[where] = name
        return names

    def table(self, ids: Sequence[str], labels: Sequence[str | None] | None = None) -> pd.DataFrame:
        """One row a sample for split.csv: ``id, [label,] group`` and one column a fold (``fold_0`` ...)."""
        import pandas as pd

        columns: dict[str, object] = {"id": list(ids)}
        if labels is not None:
            columns["label"] = list(labels)
        columns["group"] = self.groups
        columns |= {f"fold_{k}": self.part(k) for k in range(len(self.folds))}
        return pd.DataFrame(columns)


def signature(x: F32) -> F32:
    """``[N, D]`` what near-duplicates share: box means on at most 16 cells an axis, with contrast and level held apart.

    Each row is centred and scaled to length 1, so that the distance between two rows is ``sqrt(2 - 2 r)`` with their
    correlation r: re-encoding, resizing and small changes of brightness or contrast hardly move it. Rows of very low
    contrast are scaled by less, for what is left in them is noise; the mean level is one more column, weighted low.

    Args:
        x: ``[N, C, *shape]`` in [-1, 1], 1 to 3 axes.
    """
    out = x.astype(np.float32, copy=False)
    for axis in range(2, x.ndim):
        out = box_means(out, axis, _SIDE)
    rows = out.reshape(len(x), int(np.prod(out.shape[1:])))
    mean = rows.mean(axis=1, keepdims=True)
    rows = rows - mean
    contrast = np.sqrt((rows**2).mean(axis=1, keepdims=True))
    rows = rows / (np.maximum(contrast, _FLOOR) * np.sqrt(rows.shape[1]))
    return np.concatenate([rows, _LEVEL_WEIGHT * mean], axis=1).astype(np.float32)


def near_threshold(x: F32) -> float:
    """The distance between signatures below which two samples count as one.

    0.1 (a correlation of 0.995), but never more than 8.5 % of a typical distance in this data set (the upper quartile
    over pairs): pictures of one scene from a fixed camera all correlate, and are not copies of each other for that.
    """
    if len(x) < 4:
        return NEAR
    some = x[rng.permutation(rng.key("near threshold"), len(x))[:512]].astype(np.float64)
    squares = (some**2).sum(axis=1)
    d2 = squares[:, None] + squares[None] - 2.0 * some @ some.T
    typical = np.sqrt(np.maximum(np.quantile(d2[np.triu_indices(len(some), 1)], 0.75), 0.0))
    return float(min(NEAR, NEAR_SHARE * typical))


def box_means(x: F32, axis: int, cells: int) -> F32:
    """Means over at most ``cells`` runs of nearly equal length along one axis."""
    size = x.shape[axis]
    if size <= cells:
        return x
    starts = (np.arange(cells) * size) // cells
    widths = np.diff(np.append(starts, size)).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    out: F32 = (np.add.reduceat(x, starts, axis=axis) / widths).astype(np.float32)
    return out


def near_duplicates(x: F32, threshold: float | None = None) -> I64:
    """Group ids ``[N]``: samples linked by distances below ``threshold`` share the id of their first member.

    Args:
        x: ``[N, C, *shape]`` in [-1, 1], compared by their `signature`; or rows to compare, ``[N, D]``.
        threshold: Euclidean distance between rows; default: `near_threshold`.
    """
    x = signature(x) if x.ndim > 2 else np.ascontiguousarray(x, dtype=np.float32)
    return joined(near_pairs(x, threshold), len(x))


def joined(pairs: Iterable[tuple[int, int]], num: int) -> I64:
    """Group ids ``[num]`` of what the pairs connect, each the group's first member."""
    parent = np.arange(num)
    for i, j in pairs:
        a, b = _root(parent, i), _root(parent, j)
        parent[max(a, b)] = min(a, b)
    return np.array([_root(parent, i) for i in range(num)], dtype=np.int64)


def near_pairs(x: F32, threshold: float | None = None) -> list[tuple[int, int]]:
    """Pairs (i < j) of rows ``[N, D]`` nearer than ``threshold``; of equal rows, only the first is compared on.

    Rows are compared in blocks, so that memory stays small.
    """
    threshold = near_threshold(x) if threshold is None else threshold
    first: dict[bytes, int] = {}
    pairs = [(a, i) for i, row in enumerate(x) if (a := first.setdefault(row.tobytes(), i)) != i]
    at = np.array(list(first.values()), dtype=np.int64)
    x = x[at]
    squares = np.einsum("nd,nd->n", x, x, dtype=np.float64)
    for top in range(0, len(x), _CHUNK):
        block = slice(top, top + _CHUNK)
        d2 = squares[block, None] + squares[None, top:] - 2.0 * (x[block] @ x[top:].T)
        # products in float32 are good to about 1e-6 of the squares: what is near enough is computed again, exactly
        rows, columns = np.nonzero(d2 < threshold**2 + 1e-4 * (1.0 + squares[block, None]))
        later = rows < columns
        for i, j in zip(rows[later] + top, columns[later] + top, strict=True):
            if np.linalg.norm(x[i].astype(np.float64) - x[j]) < threshold:
                pairs.append((int(at[i]), int(at[j])))
    return pairs


def _root(parent: I64, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = int(parent[i])
    return int(i)


def assign(
    labels: I64,
    parts: Sequence[str | None],
    groups: I64 | None = None,
    *,
    seed: int,
    held_out_frac: float = 0.15,
    test_frac: float = 0.2,
    folds: int = 5,
) -> Split:
    """Divide samples into fit, held-out and test, class by class, near-duplicate groups together.

    A given test part is the test part, a given val part is held out. Without a test part, fewer than 1,000 samples
    are divided into ``folds`` outer folds, each the test part once; more give one fold. A class that has only one
    group stays in fit: a model that has never seen it could only fail it.

    Args:
        labels: ``[N]`` class indices, -1 where there is none.
        parts: ``[N]`` of "train", "val", "test" or ``None``: what the data set itself says.
        groups: ``[N]`` near-duplicate group ids; default: every sample its own.
        held_out_frac: share of the samples that are not in a given test part.
        test_frac: share of the test part where one is cut from 1,000 samples or more.
        folds: number of outer folds.
    """
    num = len(labels)
    groups = np.arange(num) if groups is None else np.asarray(groups, dtype=np.int64)
    given = np.array([p if p in ("val", "test") else "" for p in parts], dtype="<U4")
    left_out, notes = _straddling(groups, given), []
    if len(left_out):
        notes.append(f"{len(left_out)} samples are left out of training: near-duplicates of given test or val samples")
    open_at = np.setdiff1d(np.flatnonzero(given == ""), left_out)
    val, test = np.flatnonzero(given == "val"), np.flatnonzero(given == "test")
    val = np.setdiff1d(val, left_out)
    units = _units(labels, groups, open_at)
    if len(test):
        notes.append(f"the given test part ({len(test)} samples) is the sealed test part")
        tests = [test]
    elif num >= SMALL:
        notes.append(f"one test part, {test_frac:.0%} of {num} samples")
        tests = [_take(units, test_frac * len(open_at), rng.key("split test", seed))]
    else:
        tests = _outer(units, folds, rng.key("split folds", seed))
        notes.append(f"{number_of(len(tests), 'outer fold')}, for {num} samples are fewer than {SMALL:,}")
    made = []
    for k, chosen in enumerate(tests):
        held = val
        if not len(val):
            rest = _units(labels, groups, np.setdiff1d(open_at, chosen))
            base = len(open_at) + len(val)
            held = _take(rest, held_out_frac * base, rng.key("split held-out", seed, k), spare_rare=True)
        fit = np.setdiff1d(open_at, np.concatenate([chosen, held]))
        made.append(Fold(fit, np.sort(held), np.sort(chosen)))
    return Split(tuple(made), groups, left_out, tuple(notes))


def _straddling(groups: I64, given: NDArray[np.str_]) -> I64:
    """Positions whose group reaches into a more sealed given part: test before val before the rest."""
    in_test = np.isin(groups, groups[given == "test"]) & (given != "test")
    in_val = np.isin(groups, groups[given == "val"]) & (given == "")
    return np.flatnonzero(in_test | in_val).astype(np.int64)


def _units(labels: I64, groups: I64, at: I64) -> dict[int, list[I64]]:
    """Groups as arrays of positions, by the label that most of their members carry."""
    members: dict[int, list[int]] = {}
    for i in at:
        members.setdefault(int(groups[i]), []).append(int(i))
    units: dict[int, list[I64]] = {}
    for group in members.values():
        label = Counter(int(labels[i]) for i in group).most_common(1)[0][0]
        units.setdefault(label, []).append(np.array(group, dtype=np.int64))
    return {label: units[label] for label in sorted(units)}


def _outer(units: dict[int, list[I64]], folds: int, key: int) -> list[I64]:
    """Test positions of each outer fold: every class spread evenly, large groups first."""
    divisible = {label: groups for label, groups in units.items() if len(groups) >= 2}
    count = min(folds, max((len(g) for g in divisible.values()), default=0), sum(map(len, divisible.values())))
    if count < 2:
        return [np.array([], dtype=np.int64)]
    chosen: list[list[I64]] = [[] for _ in range(count)]
    total = np.zeros(count)
    for label, groups in divisible.items():
        mine = np.zeros(count)
        for i in _shuffled(groups, rng.key("class", key, label), largest_first=True):
            k = int(np.lexsort((np.arange(count), total, mine))[0])
            chosen[k].append(groups[i])
            mine[k] += len(groups[i])
            total[k] += len(groups[i])
    return [np.sort(np.concatenate(c)) for c in chosen if c]


def _take(units: dict[int, list[I64]], target: float, key: int, *, spare_rare: bool = False) -> I64:
    """About ``target`` positions, class by class in proportion (largest remainders), never a class's last group.

    With ``spare_rare``, a class of less than half the largest one's size gives nothing where its share is under one sample: one
    of three tells nothing of a generator, but is a third of what there is to learn that class from.
    """
    divisible = {label: groups for label, groups in units.items() if len(groups) >= 2}
    sizes = {label: sum(map(len, groups)) for label, groups in divisible.items()}
    total = sum(map(len, (i for groups in units.values() for i in groups)))
    if not divisible or target <= 0:
        return np.array([], dtype=np.int64)
    quota = {label: target * n / total for label, n in sizes.items()}
    spare = max(round(target), 1) - sum(int(q) for q in quota.values())
    luck = dict(zip(divisible, rng.uniform(rng.key("remainders", key), np.arange(len(divisible))), strict=True))
    giving = [c for c in divisible if not spare_rare or quota[c] >= 1 or 2 * sizes[c] >= max(sizes.values())]
    by_remainder = sorted(giving, key=lambda c: (-(quota[c] - int(quota[c])), luck[c]))
    wanted = {label: int(quota[label]) + (label in by_remainder[: max(spare, 0)]) for label in divisible}
    taken: list[I64] = []
    for label, groups in divisible.items():
        got, left = 0, len(groups)
        for i in _shuffled(groups, rng.key("class", key, label)):
            if left == 1 or got + len(groups[i]) / 2 > wanted[label]:
                continue
            taken.append(groups[i])
            got, left = got + len(groups[i]), left - 1
    return np.sort(np.concatenate(taken)) if taken else np.array([], dtype=np.int64)


def _shuffled(groups: list[I64], key: int, *, largest_first: bool = False) -> list[int]:
    order = [int(i) for i in rng.permutation(key, len(groups))]
    return sorted(order, key=lambda i: -len(groups[i])) if largest_first else order
