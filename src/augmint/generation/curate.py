"""Curation: which candidates are kept, and why each of the others is not.

Rejection sampling by the calibrated density ratio (Azadi et al. 2018, "Discriminator Rejection Sampling"), class by
class, never a top-k cut: that keeps the prototypes and throws the variety away. It has to prove itself on a third
split, or only near-copies, duplicates and surplus are taken out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from augmint.core.errors import UserError
from augmint.core.rng import key, permutation, uniform
from augmint.core.types import F32, I64

F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
Reason = Literal["verifier", "memorised", "duplicate", "surplus"]
Judge = Callable[[I64, int], Mapping[str, float]]
"""(indices of a choice, number of a resample) to ``frechet``, ``recall`` and, if there is, ``coverage`` of the choice there;
`evaluation.metrics.curation_judge` makes one."""

_CAP = 0.9  # quantile of the density ratio above which all candidates count alike
_RESAMPLES = 24
_MIN_CHOICE = 20  # with fewer samples kept there is nothing to measure
_RECALL_LOSS = 0.01  # what counts as no loss


@dataclass(frozen=True)
class Curation:
    """What was kept, and why.

    Attributes:
        kept: ``[K]`` indices of candidates, ascending.
        reasons: for every candidate that is not kept, why: ``memorised`` (a suspected copy), ``duplicate`` (of
            another candidate, to the grey level), ``verifier`` (rejected by the density ratio), ``surplus``.
        applied: whether the verifier's filter was used; ``why`` says in a sentence why or why not.
        before, after: means of the judge's metrics without and with the filter; empty if there was no judge.
        accept_rate: share of the clean candidates that the filter lets pass (1 if it is not applied).
        missing: class to number of samples that clean candidates were too few for.
    """

    kept: I64
    reasons: dict[int, Reason]
    applied: bool
    why: str
    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)
    accept_rate: float = 1.0
    missing: Mapping[int, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The ``curation`` part of ``eval/metrics.json``."""
        return {
            "applied": self.applied,
            "why": self.why,
            "accept_rate": self.accept_rate,
            "before": dict(self.before),
            "after": dict(self.after),
            "reasons": dict(Counter(self.reasons.values())),
            "kept": len(self.kept),
            "missing": {str(c): n for c, n in self.missing.items()},
        }


def curate(
    prob: F64,
    y: I64,
    flagged: Bools,
    x: F32,
    *,
    keep: float = 0.7,
    want: Mapping[int, int] | None = None,
    seed: int = 0,
    judge: Judge | None = None,
) -> Curation:
    """Choose among candidates so that every class gets exactly the number that is wanted.

    Args:
        prob: ``[N]`` calibrated chance of being real; y: ``[N]`` class (-1 throughout where there are none);
            flagged: ``[N]`` suspected copies; x: ``[N, ...]`` the samples on the grid, in [-1, 1].
        keep: share of each class's clean candidates that may pass the filter; more pass where ``want`` needs them.
        want: samples for each class; default: ``keep`` of each class's candidates. A class with fewer clean
            candidates gets those, and `Curation.missing` says how many lack.
        judge: compares choices on reals that nothing was fitted on. Without it the filter is not applied.

    Raises:
        UserError: if the arguments differ in length, or ``keep`` is not in (0, 1].
    """
    if not len(prob) == len(y) == len(flagged) == len(x):
        raise UserError(f"{len(prob)} scores, {len(y)} classes, {len(flagged)} flags and {len(x)} samples do not match")
    if not 0 < keep <= 1:
        raise UserError(f"keep is {keep}", mend="give a share above 0 and up to 1")
    reasons: dict[int, Reason] = {int(i): "memorised" for i in np.flatnonzero(flagged)}
    reasons |= {int(i): "duplicate" for i in _duplicates(x, ~flagged)}
    clean = np.setdiff1d(np.arange(len(y)), np.array(list(reasons), dtype=np.int64))
    target = {int(c): int(want[c]) for c in want} if want is not None else _shares(y, keep)
    passing = _filter(prob, y, clean, target, keep, seed)
    filtered, unfiltered = _take(passing, y, target, seed), _take(clean, y, target, seed)
    applied, why, before, after = _prove(filtered, unfiltered, judge)
    kept = filtered if applied else unfiltered
    refused = set(clean.tolist()) - set(passing.tolist()) if applied else set()
    for i in sorted(set(clean.tolist()) - set(kept.tolist())):
        reasons[i] = "verifier" if i in refused else "surplus"
    have = Counter(y[kept].tolist())
    missing = {c: n - have[c] for c, n in target.items() if n > have[c]}
    rate = len(passing) / max(len(clean), 1) if applied else 1.0
    return Curation(kept, dict(sorted(reasons.items())), applied, why, before, after, rate, missing)


def _shares(y: I64, keep: float) -> dict[int, int]:
    return {int(c): round(keep * int(n)) for c, n in zip(*np.unique(y, return_counts=True), strict=True)}


def _duplicates(x: F32, among: Bools) -> list[int]:
    """Candidates that show what an earlier one shows, to the 8-bit level that files keep."""
    seen: set[bytes] = set()
    out = []
    levels = np.rint(x * 127.5).astype(np.int32)
    for i in np.flatnonzero(among):
        data = levels[i].tobytes()
        if data in seen:
            out.append(int(i))
        seen.add(data)
    return out


def _filter(prob: F64, y: I64, clean: I64, target: Mapping[int, int], keep: float, seed: int) -> I64:
    """The candidates that rejection sampling lets pass: in every class a fixed number.

    To accept i when u_i <= min(1, r_i / c) is to accept the smallest u_i / r_i; so instead of searching for the c that
    gives the number, sort by that (sequential Poisson sampling, Ohlsson 1998).
    """
    ratio = prob.clip(1e-6, 1 - 1e-6) / (1.0 - prob.clip(1e-6, 1 - 1e-6))
    u = uniform(key("curate", seed), np.arange(len(prob)))
    passing = [np.zeros(0, dtype=np.int64)]
    for c in np.unique(y[clean]):
        mine = clean[y[clean] == c]
        capped = np.minimum(ratio[mine], np.quantile(ratio[mine], _CAP))
        number = max(round(keep * len(mine)), min(target.get(int(c), 0), len(mine)))
        passing.append(mine[np.argsort(u[mine] / capped, kind="stable")[:number]])
    return np.sort(np.concatenate(passing))


def _take(pool: I64, y: I64, target: Mapping[int, int], seed: int) -> I64:
    """The wanted number of every class, chosen blindly; an order fixed for all candidates pairs the choices."""
    rank = np.argsort(permutation(key("surplus", seed), len(y)))
    chosen = [np.zeros(0, dtype=np.int64)]
    for c, number in target.items():
        mine = pool[y[pool] == c]
        chosen.append(mine[np.argsort(rank[mine], kind="stable")[:number]])
    return np.sort(np.concatenate(chosen))


def _prove(filtered: I64, unfiltered: I64, judge: Judge | None) -> tuple[bool, str, dict[str, float], dict[str, float]]:
    """Whether the filter may be used, in words, with the judge's means before and after it.

    It must lower the Fréchet distance beyond the interval and not lose recall; unless coverage rises beyond its own: then
    it was the outliers' wide neighbourhoods that made recall high (Naeem et al. 2020, section 3.1).
    """
    if judge is None:
        return False, "not filtered by score: too few real samples are held out to prove the filter on", {}, {}
    if len(filtered) < _MIN_CHOICE:
        return False, f"not filtered by score: with {len(filtered)} samples kept nothing can be proven", {}, {}
    if np.array_equal(filtered, unfiltered):
        return False, "not filtered by score: the filter would change nothing", {}, {}
    pairs = [(judge(unfiltered, r), judge(filtered, r)) for r in range(_RESAMPLES)]
    before, after = (_mean([p[side] for p in pairs]) for side in (0, 1))
    figures = (
        f"Fréchet distance {before['frechet']:.3g} to {after['frechet']:.3g}, "
        f"recall {before['recall']:.2f} to {after['recall']:.2f}"
    )
    loses = before["recall"] - after["recall"] > _RECALL_LOSS and _change(pairs, "coverage")[0] <= 0
    if _change(pairs, "frechet")[1] >= 0:
        reason = "no improvement beyond its interval"
    elif loses:
        reason = "it would lose variety"
    else:
        return True, f"filtered by score: proven on held-out reals of their own ({figures})", before, after
    return False, f"not filtered by score: {reason} on held-out reals of their own ({figures})", before, after


def _change(pairs: list[tuple[Mapping[str, float], Mapping[str, float]]], metric: str) -> tuple[float, float]:
    """95 % interval of what the filter adds to a metric; half-samples' deviation is the whole's standard error."""
    change = np.array([after.get(metric, 0.0) - before.get(metric, 0.0) for before, after in pairs])
    half = 1.96 * float(change.std(ddof=1))
    return float(change.mean()) - half, float(change.mean()) + half


def _mean(rows: list[Mapping[str, float]]) -> dict[str, float]:
    return {m: float(np.mean([row[m] for row in rows])) for m in rows[0]}
