"""What an effect is worth in further labelled samples, and accuracy against the synthetic share: the two curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augmint.evaluation.arms import Arm
from augmint.evaluation.paired import F64, Effect, Resamples

_FARTHEST = math.log(4)
"""Errors follow the curve for a short way only: up to 4 times as many labels, and no further."""
_FIT = "the error against the number of labelled reals, both as logarithms"

Right = Mapping[str, NDArray[np.bool_]]


def more_real(
    arms: Sequence[Arm],
    right: Right,
    draws: Resamples,
    *,
    best: str,
    labelled: Mapping[str, NDArray[Any]],
) -> dict[str, Any]:
    """The curve of the best classic arm on less of the labelled reals, and what the synthetic effect is worth on it.

    Args:
        right: which answers of each arm are right, ``[S, N]``.
        labelled: labelled reals of each class ``[K]`` in each arm of the curve, the best classic arm among them.

    Returns:
        ``points``: ``num_real``, ``mean``, ``ci95``; ``doubling``: points that as many labels again would bring, or
        ``None``; ``worth``: ``k`` further labelled samples a class with ``ci95``, or ``None``; ``why`` it is so.
    """
    num_real = {name: float(counts.sum()) for name, counts in labelled.items()}
    curve = [a.name for a in arms if a.curve == "reals" and a.name in num_real]
    names = sorted({*curve, *([best] if best in right and best in num_real else [])}, key=lambda n: num_real[n])
    points = [{"num_real": round(num_real[n], 1), **level(draws.effect(right[n]))} for n in names]
    found: dict[str, Any] = {"points": points, "doubling": None, "worth": None}
    if len(names) < 2:
        return found | {"why": "no arm was trained on fewer labelled reals: too little time, or too few a class"}
    curve_of = _Curve.through(names, [num_real[n] for n in names], right, draws)
    exponents = curve_of.exponents()
    error, errors = curve_of.error(best), curve_of.errors(best)
    found["doubling"] = _estimate(
        100 * error * (1 - 2**curve_of.exponent), 100 * errors * (1 - np.exp2(np.minimum(exponents, 50.0)))
    )
    if np.quantile(exponents, 0.975) >= 0:
        return found | {"why": f"here {_FIT}, does not measurably fall, so nothing can be priced in labels"}
    if "synthetic" not in right:
        return found | {"why": "no synthetic samples were tested"}
    gain, gains = curve_of.fall("synthetic", best)
    ratio = gain / -curve_of.exponent
    if abs(ratio) > _FARTHEST:
        return found | {
            "why": "the effect is larger than four times the labels would explain: beyond what was measured"
        }
    each = num_real[best] / max(1, int((labelled[best] > 0).sum()))
    low, high = (round(_labels(float(q), each), 1) for q in np.quantile(_ratio(gains, -exponents), [0.025, 0.975]))
    worth = {"k": round(_labels(ratio, each), 1), "ci95": [low, high], "per_class": True}
    return found | {"worth": worth, "why": f"{_FIT}: a line through {len(names)} points, prolonged"}


@dataclass(frozen=True)
class _Curve:
    """Error as a power of the number of labelled reals, ``c n^b`` with b < 0 (Hestness et al. 2017): unlike a line of accuracies it
    never promises more than the error that is left.

    Draws are of the logarithms' first-order change, so that each quantity is one table of answers and pairing is kept.
    """

    right: Right
    draws: Resamples
    weights: Mapping[str, float]
    exponent: float

    @classmethod
    def through(cls, names: Sequence[str], num: Sequence[float], right: Right, draws: Resamples) -> _Curve:
        weights = dict(zip(names, _slope_weights(num).tolist(), strict=True))
        found = cls(right, draws, weights, 0.0)
        return replace(found, exponent=sum(w * math.log(found.error(n)) for n, w in weights.items()))

    def error(self, name: str) -> float:
        """The weighted mean error of an arm; half a test sample where it makes none."""
        wrong = float(((1.0 - self.right[name]) * self.draws.weight).sum(1).mean())
        return max(wrong, 0.5 / int(self.right[name].shape[1]))

    def errors(self, name: str) -> F64:
        """The same in each draw."""
        return self._moved(-self.right[name].astype(np.float64), self.error(name)).clip(0.0, 1.0)

    def exponents(self) -> F64:
        """The exponent in each draw."""
        table = sum(-w * self.right[n] / self.error(n) for n, w in self.weights.items())
        return self._moved(np.asarray(table), self.exponent)

    def fall(self, name: str, of: str) -> tuple[float, F64]:
        """By how much the logarithm of the error of ``name`` lies below that of ``of``, and in each draw."""
        table = self.right[name] / self.error(name) - self.right[of] / self.error(of)
        value = math.log(self.error(of) / self.error(name))
        return value, self._moved(table, value)

    def _moved(self, table: F64, value: float) -> F64:
        drawn = self.draws.drawn(table)
        out: F64 = value + drawn - float((table * self.draws.weight).sum(1).mean())
        return out


def _slope_weights(num: Sequence[float]) -> F64:
    """Weights of the points whose sum is the least-squares slope against log(num)."""
    x = np.log(np.asarray(num, dtype=np.float64))
    x -= x.mean()
    out: F64 = x / (x**2).sum()
    return out


def _ratio(gains: F64, slopes: F64) -> F64:
    """Effect over slope in each draw; with a slope that is not above 0 no number of labels is enough."""
    safe = np.where(slopes > 0, slopes, 1.0)
    out: F64 = np.where(slopes > 0, gains / safe, np.sign(gains) * _FARTHEST).clip(-_FARTHEST, _FARTHEST)
    return out


def _labels(ratio: float, each: float) -> float:
    """Further labelled samples a class that lower the logarithm of the error by ``ratio`` exponents."""
    return each * math.expm1(ratio)


def _estimate(value: float, drawn: F64) -> dict[str, Any]:
    return {"effect": round(value, 3), "ci95": [round(float(q), 3) for q in np.quantile(drawn, [0.025, 0.975])]}


def level(found: Effect) -> dict[str, Any]:
    """``mean`` and ``ci95`` in percent."""
    return {"mean": round(found.effect, 3), "ci95": [round(v, 3) for v in found.ci95]}


def share_curve(arms: Sequence[Arm], right: Right, draws: Resamples, *, best: str) -> list[dict[str, Any]]:
    """Accuracy at each synthetic share that was tried, 0 among them; empty where only the main share was."""
    tried = [(a.share, a.name) for a in arms if a.kind == "synthetic"]
    if len(tried) < 2 or best not in right:
        return []
    return [{"share": s, **level(draws.effect(right[n]))} for s, n in sorted([(0.0, best), *tried])]
