"""Metrics on rows of features: how near the synthetic samples are to the real ones, and how much of them they cover.

Every number that `measure` gives stands beside its real-versus-real value at the same n: the best that any generator
could show on this data. All of these metrics move with n; never compare them across different n.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from augmint.core.errors import UserError
from augmint.core.rng import key, permutation
from augmint.core.types import F32, I64
from augmint.evaluation.distances import auc, c2st_auc, frechet, kid, median_bandwidth, squared, vendi
from augmint.evaluation.features import FeatureExtractor, shrink
from augmint.evaluation.neighbours import fidelity, prdc

__all__ = [
    "Metric",
    "auc",
    "c2st_auc",
    "cas",
    "class_consistency",
    "curation_judge",
    "fidelity",
    "frechet",
    "kid",
    "measure",
    "prdc",
    "prototypes",
    "summary",
    "vendi",
]

F64 = NDArray[np.float64]
Labelled = tuple[F32, I64]
_MIN_REALS = 20
_SUBSAMPLE = 500  # larger samples tell no more about the spread, only later


@dataclass(frozen=True)
class Metric:
    """One number with what it takes to judge it.

    ``ci95`` is a 95 % interval from half-samples (`None` with fewer than 8 samples a side: there is nothing to
    resample). ``real_vs_real`` is the same metric between real samples at the same ``n``. ``baseline`` is a lazy
    competitor's value where there is one (class prototypes, for CAS).
    """

    metric: str
    title: str
    value: float
    ci95: tuple[float, float] | None
    real_vs_real: float | None
    better: Literal["lower", "higher"]
    extractor: str
    n: int
    baseline: float | None = None

    def to_row(self) -> dict[str, Any]:
        """One of the ``rows`` in ``eval/metrics.json``."""
        row = {"metric": self.metric, "title": self.title, "value": self.value, "real": self.real_vs_real}
        row |= {"ci95": None if self.ci95 is None else list(self.ci95), "better": self.better, "n": self.n}
        row["extractor"] = self.extractor
        return row if self.baseline is None else {**row, "baseline": self.baseline}


_TITLES: dict[str, tuple[str, Literal["lower", "higher"]]] = {
    "frechet": ("Fréchet distance", "lower"),
    "kid": ("Kernel distance (RBF)", "lower"),
    "precision": ("Precision: looks real", "higher"),
    "recall": ("Recall: covers the real variety", "higher"),
    "density": ("Density", "higher"),
    "coverage": ("Coverage", "higher"),
    "clipped_density": ("Clipped density: share as good as real", "higher"),
    "clipped_coverage": ("Clipped coverage: share of the variety", "higher"),
    "vendi": ("Vendi score: distinct samples (cosine kernel)", "higher"),
    "c2st_auc": ("Told apart by a classifier (AUC)", "lower"),
    "class_consistency": ("Class consistency", "higher"),
    "cas": ("Train on synthetic, test on real (CAS)", "higher"),
}
_RANGES = {"frechet": (0.0, np.inf), "density": (0.0, np.inf), "kid": (-np.inf, np.inf), "vendi": (1.0, np.inf)}


def class_consistency(predicted: I64, asked: I64) -> float:
    """Share of samples to which a classifier that saw only reals gives the class that the generator was asked for."""
    known = asked >= 0
    return float((predicted[known] == asked[known]).mean()) if known.any() else 0.0


def cas(fake_x: F32, fake_y: I64, real_x: F32, real_y: I64) -> float:
    """Classification accuracy score (Ravuri & Vinyals 2019): train on synthetic, test on real.

    The classifier is a logistic regression on the samples averaged down to 8 cells an axis: cheap, and the same for
    every generator. Compare with `prototypes`: a generator below that tells a classifier less than class means do.

    Returns:
        Accuracy in [0, 1] on the labelled reals.
    """
    from sklearn.linear_model import LogisticRegression

    train, test = _table(fake_x), _table(real_x)
    known, target = fake_y >= 0, real_y >= 0
    if not target.any() or not known.any():
        return 0.0
    if len(np.unique(fake_y[known])) < 2:
        return float((real_y[target] == fake_y[known][0]).mean())
    model = LogisticRegression(C=0.1, max_iter=1000, tol=1e-3).fit(train[known], fake_y[known])
    return float((model.predict(test[target]) == real_y[target]).mean())


def prototypes(train_x: F32, train_y: I64, real_x: F32, real_y: I64) -> float:
    """Accuracy of the nearest class mean, on the same table as `cas`: what one picture a class would be worth."""
    train, test, target = _table(train_x), _table(real_x), real_y >= 0
    classes = np.unique(train_y[train_y >= 0])
    if not len(classes) or not target.any():
        return 0.0
    means = np.stack([train[train_y == c].mean(0) for c in classes])
    nearest = classes[squared(test[target], means).argmin(1)]
    return float((nearest == real_y[target]).mean())


def _table(x: F32) -> F64:
    return shrink(x, 8).reshape(len(x), -1).astype(np.float64)


def measure(
    fake_x: F32,
    real_x: F32,
    extractor: FeatureExtractor,
    *,
    fake_y: I64 | None = None,
    real_y: I64 | None = None,
    other_x: F32 | None = None,
    other_y: I64 | None = None,
    seed: int = 0,
    resamples: int = 30,
) -> list[Metric]:
    """All metrics, each with its interval and its real-versus-real value at the same n.

    With ``other_x`` (further reals) both comparisons are made at n = the smallest of the three sets. Without, and where the
    extractor was trained on those (``has_seen``), the reals are halved at random a few times, and both synthetic and real
    stand-ins are compared with one half; the values are means over these halvings.

    The interval comes from half-samples without replacement (a delete-half jackknife, Shao & Wu 1989), which, unlike
    the bootstrap, makes no duplicates: those would fool every neighbour metric. Class metrics have Wilson's interval.

    Args:
        fake_x: ``[N, C, *shape]`` or ``[N, D]`` synthetic; real_x: reals that the extractor has not seen.
        fake_y: classes asked for; real_y, other_y: true classes; they add class consistency and CAS.
        other_x: more reals, such as the training part, for the real-versus-real column and for prototypes.

    Raises:
        UserError: with fewer than 2 synthetic or 4 real samples (2 with ``other_x``).
    """
    fake, real = extractor(fake_x), extractor(real_x)
    other = None if other_x is None or getattr(extractor, "has_seen", False) else extractor(other_x)
    n = min(len(fake), len(real) // 2 if other is None else min(len(real), len(other)))
    if n < 2:
        raise UserError(
            f"{len(fake)} synthetic and {len(real)} real samples are too few to measure", mend="give at least 2 and 4"
        )
    scores = _Scores(median_bandwidth(real), seed)
    value, ceiling = _at_equal_n(scores, fake, real, other, n, seed)
    se = _standard_errors(
        scores, fake, real, min(len(fake), len(real), n if other is not None else 2 * n), resamples, seed
    )
    name = f"{extractor.name}@{extractor.sha256[:8]}"
    rows = [_row(m, value[m], ceiling[m], se, name, n) for m in value]
    if fake_y is not None and real_y is not None and (fake_y >= 0).any() and len(np.unique(real_y[real_y >= 0])) > 1:
        classify = getattr(extractor, "classify", None)
        if classify is not None:
            rows.append(_consistency(classify, (fake_x, fake_y), (real_x, real_y), name))
        more = None if other_x is None or other_y is None else (other_x, other_y)
        rows.append(_train_on_synthetic((fake_x, fake_y), (real_x, real_y), more, seed))
    return rows


@dataclass(frozen=True)
class _Scores:
    bandwidth: float
    seed: int

    def __call__(self, fake: F32, real: F32) -> dict[str, float]:
        near = {"frechet": frechet(fake, real), "kid": kid(fake, real, bandwidth=self.bandwidth)}
        near |= {**fidelity(real, fake), "vendi": vendi(fake, centre=real.mean(0, dtype=np.float64))}
        return {**near, "c2st_auc": c2st_auc(fake, real, seed=self.seed)}


def _draw(x: F32, n: int, *parts: str | int) -> F32:
    return x if n == len(x) else x[np.sort(permutation(key(*parts), len(x))[:n])]


def _at_equal_n(
    scores: _Scores, fake: F32, real: F32, other: F32 | None, n: int, seed: int
) -> tuple[dict[str, float], dict[str, float]]:
    if other is not None:
        a = _draw(real, n, "real", seed)
        return scores(_draw(fake, n, "fake", seed), a), scores(_draw(other, n, "other", seed), a)
    values, ceilings = [], []
    for split in range(int(np.clip(2000 // n, 1, 8))):
        order = permutation(key("halves", seed, split), len(real))
        a, b = real[order[:n]], real[order[n : 2 * n]]
        values.append(scores(_draw(fake, n, "fake", seed, split), a))
        ceilings.append(scores(b, a))
    return _mean(values), _mean(ceilings)


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {m: float(np.mean([r[m] for r in rows])) for m in rows[0]}


def _standard_errors(
    scores: _Scores, fake: F32, real: F32, size: int, resamples: int, seed: int
) -> dict[str, float] | None:
    m = min(size // 2, _SUBSAMPLE)
    if m < 4:
        return None
    rows = [scores(_draw(fake, m, "sub-fake", seed, r), _draw(real, m, "sub-real", seed, r)) for r in range(resamples)]
    scale = np.sqrt(m / (size - m))  # 1 for exact halves
    return {k: float(np.std([row[k] for row in rows], ddof=1) * scale) for k in rows[0]}


def _row(name: str, value: float, ceiling: float, se: Mapping[str, float] | None, extractor: str, n: int) -> Metric:
    title, better = _TITLES[name]
    low, high = _RANGES.get(name, (0.0, 1.0))
    ci = None
    if se is not None:
        ci = (float(max(low, value - 1.96 * se[name])), float(min(high, value + 1.96 * se[name])))
    return Metric(name, title, value, ci, ceiling, better, extractor, n)


def _consistency(classify: Callable[[F32], I64], fake: Labelled, real: Labelled, name: str) -> Metric:
    agree, truth = (class_consistency(classify(x), y) for x, y in (fake, real))
    title, better = _TITLES["class_consistency"]
    n = int((fake[1] >= 0).sum())
    return Metric("class_consistency", title, agree, _wilson(agree, n), truth, better, name, n)


def _train_on_synthetic(fake: Labelled, real: Labelled, other: Labelled | None, seed: int) -> Metric:
    """CAS beside the same with real stand-ins at equal n, and beside class prototypes of the stand-ins."""
    if other is None:
        order = permutation(key("cas", seed), len(real[0]))
        train, test = np.array_split(order, 2)
        real, other = (real[0][test], real[1][test]), (real[0][train], real[1][train])
    n = min(len(fake[0]), len(other[0]))
    drawn = [permutation(key("cas", seed, side), len(part[0]))[:n] for side, part in enumerate((fake, other))]
    score = cas(fake[0][drawn[0]], fake[1][drawn[0]], *real)
    ceiling = cas(other[0][drawn[1]], other[1][drawn[1]], *real)
    title, better = _TITLES["cas"]
    ci = _wilson(score, int((real[1] >= 0).sum()))
    judge = "logistic regression, 8 cells an axis"
    return Metric("cas", title, score, ci, ceiling, better, judge, n, baseline=prototypes(*other, *real))


def _wilson(p: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval for a share."""
    z2 = 1.96**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = 1.96 * np.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def summary(metrics: list[Metric]) -> dict[str, Any]:
    """``{"extractor", "n", "rows"}``, as ``eval/metrics.json`` keeps them.

    Every row names its extractor; the titles of rows whose metric was measured before, through another one, do too.
    """
    first, rows = metrics[0], [m.to_row() for m in metrics]
    for i, row in enumerate(rows):
        if any(row["metric"] == earlier["metric"] for earlier in rows[:i]):
            row["title"] += f" · {row['extractor']}"
    return {"extractor": first.extractor, "n": first.n, "rows": rows}


def curation_judge(fake: F32, real: F32, *, seed: int = 0) -> Callable[[I64, int], dict[str, float]] | None:
    """What `generation.curate` proves itself with: metrics of a choice of candidates against a third split of reals.

    Args:
        fake: ``[N, D]`` features of all candidates; real: ``[M, D]`` features of reals that neither the calibration
            nor the extractor has seen.

    Returns:
        A function of (indices, resample) to ``frechet``, ``recall``, ``precision`` and ``coverage`` on a random half of
        the reals and of the choice. The same resample number means the same reals, and the same candidates as far as
        two choices share them: differences between choices are paired. `None` with fewer than 20 reals, on which
        nothing could be proven.
    """
    if len(real) < _MIN_REALS:
        return None

    def judge(indices: I64, resample: int) -> dict[str, float]:
        a = _draw(real, min(len(real) // 2, _SUBSAMPLE), "judge-real", seed, resample)
        order = np.argsort(permutation(key("judge-fake", seed, resample), len(fake)))[indices]
        b = fake[indices[np.argsort(order)[: min(len(indices) // 2, _SUBSAMPLE)]]]
        found = prdc(a, b)
        return {"frechet": frechet(a, b)} | {k: found[k] for k in ("recall", "precision", "coverage")}

    return judge
