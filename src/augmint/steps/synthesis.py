"""Make candidates, score them, calibrate the scores, find copies, curate, and measure what is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

import numpy as np

from augmint.core import rng
from augmint.core.config import GenerateConfig
from augmint.core.errors import UserError
from augmint.core.types import F32, I64, Sample, likeness
from augmint.evaluation.copies import Copies, check
from augmint.evaluation.features import FeatureExtractor, Plain, trained_cnn_features
from augmint.evaluation.metrics import Metric, curation_judge, measure, summary
from augmint.generation.calibrate import Calibration
from augmint.generation.curate import Curation, Reason, curate
from augmint.generation.dials import Dials
from augmint.generation.draw import Gan, Known, Scores
from augmint.generation.ratio import ROWS, DensityRatio

Progress = Callable[[dict[str, Any]], None]
MOST_PER_CLASS = 500
MOST_JUDGED = 1000
SPARE = 1.15
"""So many times the candidates that curation may keep, since copies and duplicates go first."""
_FATES: dict[Reason, str] = {
    "memorised": "near-copies of training samples",
    "duplicate": "duplicates of other candidates",
    "verifier": "by the verifier's score",
    "surplus": "beyond the number wanted",
}


@dataclass(frozen=True, slots=True)
class Synthetic:
    """Candidates of one GAN and what became of them.

    Attributes:
        x, y: ``[N, C, *shape]`` and ``[N]`` all candidates; ``kept`` and ``reasons`` in `curation` index them.
        probability: ``[N]`` calibrated chance of being real.
        known: the training samples, what ``copies.nearest`` points into, and the held-out reals.
        metrics: the content of ``eval/metrics.json``.
    """

    gan: Gan
    seed: int
    x: F32
    y: I64
    scores: Scores
    probability: F32
    copies: Copies
    curation: Curation
    known: Known
    metrics: dict[str, Any]

    @property
    def kept(self) -> I64:
        return self.curation.kept

    def sample(self, index: int) -> Sample:
        """One candidate as a sample, with its scores."""
        return self.gan.sample(self.x[index], int(self.y[index]), index, self.seed, self.scores)

    def about(self, index: int) -> Sample:
        """The same without its data."""
        return self.gan.about(int(self.y[index]), index, self.seed, self.scores)


def wanted(y: I64, num_classes: int) -> dict[int, int]:
    """How many synthetic samples of each class: three times the largest class, between 100 and 500.

    More variety helps the probes a little (+.3 points at 400 against 100 a class, docs/log.md), and costs next to nothing.
    """
    largest = int(np.bincount(np.maximum(y, 0), minlength=max(1, num_classes)).max(initial=0))
    return dict.fromkeys(range(max(1, num_classes)), min(MOST_PER_CLASS, max(100, 3 * largest)))


def synthesise(
    gan: Gan,
    config: GenerateConfig,
    *,
    seed: int,
    want: dict[int, int] | None = None,
    dials: Dials | None = None,
    source: str = "generator",
    progress: Progress = lambda event: None,
) -> Synthetic:
    """Candidates of every class, curated against the held-out reals: one half calibrates, the other half is the third split.

    Args:
        want: how many of which class; default: `wanted`.
        dials: how the candidates are steered; default: by the quality set.
        source: ``generator``, or ``verifier`` for its own generative branch.
    """
    known, num_classes = gan.known, len(gan.classes)
    if known is None:
        raise UserError(
            "this GAN was exported, without the real samples that curation judges by",
            mend="generate from its run; in Python gan.generate(...) makes samples that are scored and not curated",
        )
    want = want or wanted(known.y, num_classes)
    own = known.of(want)
    y = np.concatenate([np.full(ceil(SPARE * n / config.keep), c, dtype=np.int64) for c, n in want.items()])
    progress({"stage": "generate", "done": 0, "total": len(y)})
    made = partial(gan.draw, dials=dials or Dials(quality=config.quality), source=source)
    x = made(y, seed=seed)
    extractor = trained_cnn_features(known.x, known.y if num_classes > 1 else None, seed=seed)
    held_x, held_y = own.held_x, own.held_y
    half = rng.permutation(rng.key("third split", seed), len(held_x))
    first, third = np.sort(half[: len(half) // 2]), np.sort(half[len(half) // 2 :])

    scores, evidence = gan.score(x, y), Evidence.of(gan, extractor, own.x, y, made, seed=seed)
    of_x = evidence(x, y)
    calibration = Calibration.fit(
        evidence(held_x[first], held_y[first]), of_x, seed=seed, num_scores=evidence.num_scores
    )
    probability = calibration.probability(of_x)
    copies = check(x, known.x, known.held_x, like=likeness(gan.codec))
    curation = curate(
        probability,
        y,
        copies.flagged,
        x,
        keep=config.keep,
        want=want,
        seed=seed,
        judge=curation_judge(extractor(x), extractor(held_x[third]), seed=seed),
    )
    progress({"stage": "generate", "done": len(y), "total": len(y), "note": told(curation, len(y))})
    metrics = _measured(gan, x, y, curation, copies, calibration, extractor, own, seed)
    return Synthetic(gan, seed, x, y, scores, probability.astype(np.float32), copies, curation, known, metrics)


@dataclass(frozen=True)
class Evidence:
    """What a calibration goes by: ``num_scores`` scores of each sample, then frozen features."""

    gan: Gan
    extractor: FeatureExtractor
    ratio: DensityRatio | None
    num_scores = 4

    @classmethod
    def of(
        cls, gan: Gan, extractor: FeatureExtractor, train_x: F32, y: I64, draw: Callable[..., F32], *, seed: int
    ) -> Evidence:
        """The density ratio is taught by the training reals and by samples of classes ``y`` that serve for nothing else.

        Args:
            draw: makes samples, by ``draw(y, seed=...)``, just as those that are to be judged are made.
        """
        some = y[rng.permutation(rng.key("taught by", seed), len(y))[:ROWS]]
        fresh = draw(some, seed=rng.key("taught by", seed) % 2**31)
        return cls(gan, extractor, DensityRatio.fit(extractor(train_x), extractor(fresh), seed=seed))

    def __call__(self, x: F32, y: I64) -> F32:
        """``[N, 4 + D]``: raw realness, log rebuild error, log-probability of the class, log density ratio, and features."""
        features = self.extractor(x)
        if not len(x):
            return np.zeros((0, self.num_scores + features.shape[1]), np.float32)
        raw = self.gan.score(x, y).evidence[:, :2]
        named, sure = self.gan.classify(x)
        agrees = np.where(named == np.maximum(y, 0), np.log(sure + 1e-6), np.log1p(-np.minimum(sure, 1 - 1e-6)))
        ratio = np.zeros(len(x)) if self.ratio is None else self.ratio(features)
        return np.concatenate([raw, agrees[:, None], ratio[:, None], features], axis=1).astype(np.float32)


def told(curation: Curation, num: int) -> str:
    """One line on what curation did."""
    reasons = curation.to_dict()["reasons"]
    out = [f"{n} {_FATES[word]}" for word, n in reasons.items()]
    left = f", left out {', '.join(out)}" if out else ""
    return f"kept {len(curation.kept)} of {num} candidates{left}; {curation.why}"


def _measured(
    gan: Gan,
    x: F32,
    y: I64,
    curation: Curation,
    copies: Copies,
    calibration: Calibration,
    extractor: FeatureExtractor,
    known: Known,
    seed: int,
) -> dict[str, Any]:
    """The content of ``eval/metrics.json``; without enough held-out reals there is nothing to measure against."""
    has_classes = len(gan.classes) > 1
    found: dict[str, Any] = {
        "copies": copies.to_dict(),
        "curation": curation.to_dict(),
        "calibration": calibration.report,
    }
    if len(known.held_x) < 4 or len(curation.kept) < 4:
        return {"extractor": None, "n": 0, "rows": [], **found}
    metrics = measure(
        x[curation.kept],
        known.held_x,
        extractor,
        fake_y=y[curation.kept] if has_classes else None,
        real_y=known.held_y if has_classes else None,
        other_x=known.x,
        other_y=known.y if has_classes else None,
        seed=seed,
    )
    return {**summary(metrics + _judged(gan, x[curation.kept], known, seed)), **found}


def _judged(gan: Gan, kept: F32, known: Known, seed: int) -> list[Metric]:
    """The same metrics through the extractor that the modality brings, if it does, on at most 1,000 samples a side."""
    judge = getattr(gan.modality, "judge", None)
    extractor: FeatureExtractor | None = None if judge is None else judge(gan.codec.grid)
    if extractor is None:
        return []
    if extractor.name in gan.verifier.borrowed:  # what has taught the generator cannot judge it
        extractor = Plain("cells-and-gradients", gan.modality.features)
    fake, held, train = (
        part[np.sort(rng.permutation(rng.key("judged", seed, side), len(part))[:MOST_JUDGED])]
        for side, part in enumerate((kept, known.held_x, known.x))
    )
    return measure(fake, held, extractor, other_x=train, seed=seed)
