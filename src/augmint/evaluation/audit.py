"""An audit by membership inference: can someone with the synthetic samples tell which reals their maker was trained on?

One attack, and a simple one (the nearest synthetic sample; Chen et al. 2020, "GAN-Leaks", section 4.1, full black box). An AUC
clearly above one half shows a leak. An AUC near one half shows that this attack fails, not that the samples are private: others
succeed where distance fails ("The DCR Delusion", 2505.01524). It is an audit, not a privacy proof.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augmint.core.errors import UserError
from augmint.core.types import F32
from augmint.evaluation.features import FeatureExtractor, pixel_features

F64 = NDArray[np.float64]
FEWEST = 20
"""Reals on each side below which the attack says nothing."""
_Z95 = 1.959964
_SIDE = 16
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Membership:
    """How well the attack tells training reals from reals that the maker never saw.

    Attributes:
        auc: chance that a training real lies nearer to the synthetic samples than an unseen one; .5 is guessing.
        ci95: its 95 % interval.
        tpr_at_1_fpr: share of the training reals that are found out where at most 1 % of the unseen ones are accused;
            guessing gives .01. With fewer than 100 unseen reals none may be accused.
        num_training, num_unseen: how many reals of each kind were attacked.
    """

    auc: float
    ci95: tuple[float, float]
    tpr_at_1_fpr: float
    num_training: int
    num_unseen: int
    attack: str

    @property
    def sentence(self) -> str:
        """One line for people."""
        low, high = self.ci95
        found = (
            "a leak: training samples lie nearer to the synthetic ones" if low > 0.5 else "this attack finds no leak"
        )
        return f"membership audit: AUC {self.auc:.2f} [{low:.2f}, {high:.2f}], {found} (an audit, not a privacy proof)"

    def to_dict(self) -> dict[str, Any]:
        """The ``membership`` part of ``eval/metrics.json``."""
        return {
            "auc": self.auc,
            "ci95": list(self.ci95),
            "tpr_at_1_fpr": self.tpr_at_1_fpr,
            "n": self.num_training + self.num_unseen,
            "num_training": self.num_training,
            "num_unseen": self.num_unseen,
            "attack": self.attack,
        }


def audit(fake_x: F32, train_x: F32, unseen_x: F32, extractor: FeatureExtractor | None = None) -> Membership:
    """Attack the synthetic samples: each real is scored by its distance to the nearest of them.

    Args:
        fake_x, train_x, unseen_x: ``[N, C, *shape]`` on one grid; ``train_x`` is what the maker was trained on, ``unseen_x``
            are reals of the same kind that it never saw.
        extractor: the space of the distance. It must not have learned from either group of reals, or its own memory of them
            is what is found: default are the samples themselves, averaged down to 16 cells an axis.

    Raises:
        UserError: with fewer than 20 reals on a side, or no synthetic sample.
    """
    if min(len(train_x), len(unseen_x)) < FEWEST or not len(fake_x):
        raise UserError(
            f"an audit of {len(fake_x)} synthetic samples with {len(train_x)} training and {len(unseen_x)} unseen reals",
            mend=f"give at least {FEWEST} reals on each side, or leave --audit out",
        )
    seen_through = extractor or pixel_features(_SIDE)
    fake, train, unseen = (seen_through(x).astype(np.float64) for x in (fake_x, train_x, unseen_x))
    near, far = _nearest(train, fake), _nearest(unseen, fake)
    value, ci95 = auc_with_interval(-near, -far)
    allowed = math.floor(0.01 * len(far))
    found = float((near < np.sort(far)[allowed]).mean())
    return Membership(value, ci95, found, len(near), len(far), f"nearest synthetic sample ({seen_through.name})")


def auc_with_interval(positive: F64, negative: F64) -> tuple[float, tuple[float, float]]:
    """Area under the ROC curve and its 95 % interval.

    The interval is DeLong's (1988, equations 2 to 4), but never narrower than Newcombe's (2006, method 5, with the variance of
    Hanley and McNeil), which does not shrink to nothing where the groups are wholly apart. So it errs on the wide side near 0 and 1.
    """
    wins = _placements(positive, negative)
    losses = 1.0 - _placements(negative, positive)
    value = float(wins.mean())
    half = _Z95 * math.sqrt(float(wins.var(ddof=1)) / len(wins) + float(losses.var(ddof=1)) / len(losses))
    low, high = _newcombe(value, len(positive), len(negative))
    return value, (max(0.0, min(low, value - half)), min(1.0, max(high, value + half)))


def _placements(a: F64, b: F64) -> F64:
    """For each of ``a``, the share of ``b`` below it; ties count half."""
    ordered = np.sort(b)
    below, upto = np.searchsorted(ordered, a, "left"), np.searchsorted(ordered, a, "right")
    return (below + upto) / (2.0 * len(b))


def _newcombe(value: float, m: int, n: int) -> tuple[float, float]:
    """The areas that ``value`` does not contradict: each bound's own standard error reaches from it to ``value``."""
    half = (m + n) / 2 - 1

    def error(area: float) -> float:
        return math.sqrt(area * (1 - area) * (1 + half * ((1 - area) / (2 - area) + area / (1 + area))) / (m * n))

    def bound(end: float) -> float:
        outer, inner = end, value
        for _ in range(50):
            middle = (outer + inner) / 2
            if abs(value - middle) > _Z95 * error(middle):
                outer = middle
            else:
                inner = middle
        return outer

    return bound(0.0), bound(1.0)


def _nearest(x: F64, among: F64) -> F64:
    """Distance of each row of ``x`` to the nearest row of ``among``."""
    centre = among.mean(axis=0)
    x, among = x - centre, among - centre
    squares = np.square(among).sum(1)
    step = max(1, _BLOCK // len(among))
    out = np.empty(len(x))
    for i in range(0, len(x), step):
        part = x[i : i + step]
        nearest = (squares - 2.0 * part @ among.T).argmin(1)
        out[i : i + step] = np.linalg.norm(part - among[nearest], axis=1)  # exact also where a copy makes it zero
    return out
