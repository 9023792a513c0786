"""Calibration and curation on GANs of the product's own making, judged on reals that neither of them has seen.

Claim: on handwritten digits and on letters of many fonts (16 pixels, 5 GANs each), the calibrated chance of being real has an
expected calibration error of at most .03 with 400 held-out reals, a Brier score no worse than the raw score's and an AUC of at
least .8 with 400 and with 50, and curation never raises the Fréchet distance to unseen reals beyond its interval, keeps every
class's number exactly, and leaves its filter off where it does not help.

Every seed divides the data set anew: reals to train on, to calibrate with, for curation's own proof (the third split), to judge with:
error, Brier score and AUC are those of the judging reals against fresh synthetic samples, which no fit has seen. What a
perfectly calibrated forecast would show with as many samples stands beside the error (``floor``). Each calibration is
fitted with the verifier's rebuild score and without. A GAN of a quarter of the steps stands beside each: the verifier tells its
samples more easily, and there is more for a filter to do. It is held to the same bars but that on the AUC, which is for the full GAN.

Run: python benchmarks/curation.py [--seeds 5] [--steps 800] [--home FOLDER]; about 25 minutes on one core (800 steps take a CPU minute). Needs the
fonts of benchmarks/fonts.sh. Stored with the full setting only. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from glyphs import LETTERS, glyphs
from tables import Bar, publish

from augmint.core import rng
from augmint.core.config import TrainConfig
from augmint.core.run import Run
from augmint.core.types import F32, I64, Dataset, Sample
from augmint.evaluation.copies import check
from augmint.evaluation.distances import frechet
from augmint.evaluation.features import trained_cnn_features
from augmint.evaluation.metrics import curation_judge
from augmint.generation.calibrate import Calibration, scores
from augmint.generation.curate import Judge, curate
from augmint.generation.draw import Gan
from augmint.modalities import get
from augmint.steps.gan import train_gan
from augmint.steps.synthesis import SPARE, Evidence, wanted
from augmint.training.fit import Material
from augmint.verbs import read

SIDE, KEEP, RESAMPLES = 16, 0.7, 24
MOST_ECE, LEAST_AUC = 0.03, 0.8
HELD_OUT = (400, 50)
SHORT = 4
"""The GAN beside the full one gets so many times fewer steps."""
FRESH = 4
"""So many fresh synthetic samples a judging real, for the error is to be that of the calibration and not of the draw."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Reals:
    """Some reals on the grid, ``[N, 1, 16, 16]`` in [-1, 1], and their classes."""

    x: F32
    y: I64

    def first(self, num: int) -> Reals:
        return Reals(self.x[:num], self.y[:num])


@dataclass(frozen=True)
class Case:
    """A data set, and its four parts of one seed."""

    name: str
    data: Dataset
    fit: Reals
    calibrate: Reals
    third: Reals
    judge: Reals


# -- data ------------------------------------------------------------------------------------------------------------


def digits() -> Iterator[Sample]:
    """Scikit-learn's 1,797 digits; the grid doubles their 8 pixels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = np.rint(found.images * (255 / 16)).astype(np.uint8)[..., None]
    for i, label in enumerate(found.target.astype(str).tolist()):
        yield Sample(f"{label}/{i:04d}.png", pixels[i], label)


def letters() -> Iterator[Sample]:
    """3,400 of the pictures of all fonts."""
    found = glyphs(SIDE)
    for i in rng.permutation(rng.key("curation", "glyphs"), len(found.names) * len(LETTERS))[:3400].tolist():
        font, c = divmod(i, len(LETTERS))
        yield Sample(f"{LETTERS[c]}/{font:04d}.png", found.pixels[font, c, :, :, None], LETTERS[c])


@dataclass(frozen=True)
class Source:
    """A data set on the grid, and how many of its samples train, calibrate and form the third split; the rest judges."""

    name: str
    data: Dataset
    reals: Reals
    sizes: tuple[int, int, int]

    def divided(self, seed: int) -> Case:
        """Another division for every seed, for five GANs on one division would be five looks at one choice of reals."""
        order = rng.permutation(rng.key("curation", self.name, seed), len(self.reals.x))
        parts = [Reals(self.reals.x[i], self.reals.y[i]) for i in np.split(order, np.cumsum(self.sizes))]
        return Case(self.name, self.data, *parts)


def source(root: Path, name: str) -> Source:
    """Written to disk, and read as the product reads it."""
    samples, sizes = SOURCES[name]
    if not root.exists():
        sink = get("image").sink(root, layout="class-folders")
        for sample in samples():
            sink.write(sample)
        sink.close()
    data = read(root)
    return Source(name, data, Reals(data.encode(data.modality.fit(data, size=SIDE)), data.labels), sizes)


SOURCES: dict[str, tuple[Callable[[], Iterator[Sample]], tuple[int, int, int]]] = {
    "digits": (digits, (400, 400, 200)),
    "glyphs": (letters, (1000, 400, 400)),
}


# -- one GAN ---------------------------------------------------------------------------------------------------------


def trained(home: Path, case: Case, steps: int, seed: int) -> Gan:
    """As ``augmint train`` does, the calibrating reals held out."""
    held = case.calibrate
    config = TrainConfig(steps=steps)
    run = Run.open(home, verb="train", config=config.model_dump(), inputs={})
    codec = case.data.modality.fit(case.data, size=SIDE)
    material = Material(case.fit.x, case.fit.y, case.fit.x[:0], held.x, held.y, len(case.data.classes))
    return train_gan(run, case.data, codec, material, config, seconds=60.0, seed=seed, sealed="0/5/0")[0]


def calibrated(
    case: Case, gan: Gan, evidence: Evidence, fake: Reals, *, seed: int
) -> tuple[list[Row], list[Calibration]]:
    """Every calibration of one GAN, judged on unseen reals and fresh synthetic samples; and those with the rebuild score."""
    y = np.tile(case.judge.y, FRESH)
    real = evidence(case.judge.x, case.judge.y)
    fresh = evidence(gan.draw(y, seed=rng.key("fresh", seed) % 2**31), y)
    held = evidence(case.calibrate.x, case.calibrate.y)
    made = evidence(fake.x, fake.y)
    raw = judged(1 / (1 + np.exp(-np.concatenate([real, fresh])[:, 0].astype(np.float64))), len(real))
    rows, found = [], []
    for num in HELD_OUT:
        for rebuild in (True, False):
            used = np.setdiff1d(np.arange(real.shape[1]), [] if rebuild else [1])
            fitted = Calibration.fit(
                held[:num][:, used], made[:, used], seed=seed, num_scores=evidence.num_scores - (not rebuild)
            )
            p = fitted.probability(np.concatenate([real, fresh])[:, used])
            after = judged(p, len(real))
            told = {"raw_ece": raw["ece"], "ece": after["ece"], "floor": floor(p, len(real), seed)}
            told |= {"own_ece": fitted.report["calibrated"]["ece"], "raw_brier": raw["brier"], "brier": after["brier"]}
            rows.append({"held_out": num, "rebuild": rebuild, **told, "raw_auc": raw["auc"], "auc": after["auc"]})
            found += [fitted] if rebuild else []
    return rows, found


def judged(p: np.ndarray[Any, np.dtype[np.float64]], num_real: int) -> dict[str, float]:
    """Error, Brier score and AUC; the first ``num_real`` are real, and reals and fakes weigh the same."""
    y = np.arange(len(p)) < num_real
    return scores(p, y, np.where(y, 0.5 / num_real, 0.5 / (len(p) - num_real)))


def floor(p: np.ndarray[Any, np.dtype[np.float64]], num_real: int, seed: int, times: int = 20) -> float:
    """Calibration error of forecasts that are right: as many reals and fakes drawn from these with the chances they state."""
    errors = []
    share = np.where(np.arange(len(p)) < num_real, 0.5 / num_real, 0.5 / (len(p) - num_real))
    for n in range(times):
        draws = [
            rng.uniform(rng.key("floor", seed, n, side), np.arange(size))
            for side, size in (("real", num_real), ("fake", len(p) - num_real))
        ]
        # The density of all forecasts, times p, is that of the reals' forecasts; times 1 - p, that of the fakes'.
        picked = [
            np.searchsorted(np.cumsum(w) / w.sum(), u) for w, u in zip((share * p, share * (1 - p)), draws, strict=True)
        ]
        errors.append(judged(p[np.concatenate(picked).clip(max=len(p) - 1)], num_real)["ece"])
    return float(np.mean(errors))


def curated(case: Case, evidence: Evidence, fake: Reals, fitted: Calibration, num: int, *, seed: int) -> Row:
    """Curation as the product does it, and what it did to the distance from reals that it never saw."""
    extractor = evidence.extractor
    features, want = extractor(fake.x), wanted(case.fit.y, len(case.data.classes))
    chance = fitted.probability(evidence(fake.x, fake.y))
    flagged = check(fake.x, case.fit.x, case.calibrate.x[:num]).flagged
    third = case.third.first(num)

    def choose(judge: Judge | None) -> I64:
        return curate(chance, fake.y, flagged, fake.x, keep=KEEP, want=want, seed=seed, judge=judge).kept

    own = curation_judge(features, extractor(third.x), seed=seed)
    found = curate(chance, fake.y, flagged, fake.x, keep=KEEP, want=want, seed=seed, judge=own)
    plain, filtered = (
        choose(None),
        choose(lambda chosen, resample: {"frechet": -float(chance[chosen].mean()), "recall": 1.0}),
    )
    outer = curation_judge(features, extractor(case.judge.x), seed=rng.key("outer", seed) % 2**31)
    assert outer is not None
    before = np.array([outer(plain, r)["frechet"] for r in range(RESAMPLES)])
    after, forced = (np.array([outer(kept, r)["frechet"] for r in range(RESAMPLES)]) for kept in (found.kept, filtered))
    counts = np.bincount(fake.y[found.kept], minlength=len(want)).tolist()
    return {
        "third_split": len(third.x), "applied": found.applied, "before": float(before.mean()), "after": float(after.mean()),
        **interval(after - before, "change"), **interval(forced - before, "if_applied"),
        "counts_exact": counts == [want[c] for c in range(len(want))] and not found.missing,
        "why": found.why.split(" (")[0],
    }  # fmt: skip


def interval(changes: np.ndarray[Any, np.dtype[np.float64]], name: str) -> dict[str, float]:
    """95 %, as curation forms its own: the deviation over random halves is the standard error of the whole."""
    half = 1.96 * float(changes.std(ddof=1))
    return {
        name: float(changes.mean()),
        f"{name}_low": float(changes.mean()) - half,
        f"{name}_high": float(changes.mean()) + half,
    }


def one_gan(home: Path, case: Case, steps: int, seed: int) -> tuple[Row, list[Row], list[Row]]:
    """A GAN, and every calibration and curation of it."""
    gan = trained(home, case, steps, seed)
    extractor = trained_cnn_features(case.fit.x, case.fit.y, seed=seed)
    want = wanted(case.fit.y, len(case.data.classes))
    y = np.concatenate([np.full(ceil(SPARE * n / KEEP), c, dtype=np.int64) for c, n in want.items()])
    fake = Reals(gan.draw(y, seed=seed), y)
    other = np.concatenate([case.calibrate.x, case.third.x])
    num = min(len(other), len(case.judge.x))
    judge = case.judge.first(num)
    like = extractor(gan.draw(judge.y, seed=rng.key("like", seed) % 2**31))
    distances = [frechet(extractor(judge.x), f) for f in (like, extractor(other[:num]))]
    name = {"data": case.name, "seed": seed, "steps": steps}
    about = {
        **name,
        "n": num,
        "frechet": distances[0],
        "real_real": distances[1],
        "ratio": distances[0] / distances[1],
    }
    evidence = Evidence.of(gan, extractor, case.fit.x, y, gan.draw, seed=seed)
    rows, found = calibrated(case, gan, evidence, fake, seed=seed)
    kept = [curated(case, evidence, fake, fitted, n, seed=seed) for n, fitted in zip(HELD_OUT, found, strict=True)]
    return (
        about,
        [{**name, **r} for r in rows],
        [{**name, "held_out": n, **r} for n, r in zip(HELD_OUT, kept, strict=True)],
    )


# -- the claim -------------------------------------------------------------------------------------------------------


def bars(rows: list[Row], kept: list[Row], full: int) -> list[Bar]:
    """The claim, held against every GAN; calibrations as the product makes them, with the rebuild score."""
    out = []
    for data in dict.fromkeys(r["data"] for r in rows):
        ours = [r for r in rows if r["data"] == data and r["rebuild"]]
        many = [r["ece"] for r in ours if r["held_out"] == HELD_OUT[0]]
        worse = [r["brier"] - r["raw_brier"] for r in ours]
        out.append(
            Bar(
                f"{data}: largest calibration error, {HELD_OUT[0]} held out",
                f"<= {MOST_ECE}",
                f"{max(many):.3f}",
                max(many) <= MOST_ECE,
            )
        )
        out.append(
            Bar(f"{data}: Brier score less the raw one, the largest", "<= 0", f"{max(worse):+.3f}", max(worse) <= 0)
        )
        for num in HELD_OUT:
            auc = [r["auc"] for r in ours if r["held_out"] == num and r["steps"] == full]
            out.append(
                Bar(
                    f"{data}: smallest AUC, {num} held out", f">= {LEAST_AUC}", f"{min(auc):.3f}", min(auc) >= LEAST_AUC
                )
            )
    rises = sum(r["change_low"] > 0 for r in kept)
    wrong = sum(r["applied"] and r["change"] > 0 for r in kept)
    exact, applied = sum(r["counts_exact"] for r in kept), sum(r["applied"] for r in kept)
    return [
        *out,
        Bar("curations that raise the distance beyond its interval", "0", f"{rises} of {len(kept)}", rises == 0),
        Bar("filters applied that raise the distance at all", "0", f"{wrong} of {applied} applied", wrong == 0),
        Bar("curations with every class's number exact", f"{len(kept)}", f"{exact}", exact == len(kept)),
    ]  # fmt: skip


def summary(rows: list[Row], keys: tuple[str, ...], figures: tuple[str, ...]) -> list[Row]:
    """Means over the seeds."""
    groups = dict.fromkeys(tuple(r[k] for k in keys) for r in rows)
    return [
        {**dict(zip(keys, g, strict=True)), **{f: float(np.mean([r[f] for r in rows if tuple(r[k] for k in keys) == g])) for f in figures}}
        for g in groups
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--data", default="digits,glyphs")
    parser.add_argument("--home", type=Path, help="keep the GANs here, and do not train them again")
    args = parser.parse_args()
    torch.set_num_threads(1)
    gans: list[Row] = []
    rows: list[Row] = []
    kept: list[Row] = []
    for name in args.data.split(","):
        with TemporaryDirectory() as scratch:
            home = (args.home or Path(scratch)) / name
            data = source(home / "data", name)
            for seed in range(args.seeds):
                for steps in (args.steps, args.steps // SHORT):
                    found = one_gan(home / f"{seed}-{steps}", data.divided(seed), steps, seed)
                    gans.append(found[0])
                    rows += found[1]
                    kept += found[2]
                    print(found[0], *found[1], *found[2], sep="\n", flush=True)
    claim = (__doc__ or "").split("\n\n")[1].replace("\n", " ")
    means = ("raw_ece", "ece", "floor", "own_ece", "raw_brier", "brier", "raw_auc", "auc")
    tables = {
        "GANs": gans,
        "Calibration, means over the seeds": summary(rows, ("data", "steps", "held_out", "rebuild"), means),
        "Curation, means over the seeds": summary(kept, ("data", "steps", "held_out"), ("applied", "before", "after", "if_applied")),
        "Calibration": rows,
        "Curation": kept,
    }  # fmt: skip
    store = (args.seeds, args.steps, args.data) == (5, 800, "digits,glyphs")
    return publish("curation", claim, bars(rows, kept, args.steps), tables, store=store)


if __name__ == "__main__":
    sys.exit(main())
