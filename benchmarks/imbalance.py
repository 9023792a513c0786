"""Rare classes: synthetic samples against the best that the same labels can do without them.

Claim: digits with 3 rare classes of 3 or of 5 labelled samples and 7 of 80, a GAN trained on exactly these, and its samples in at most
a quarter of the rare classes' draws. Against square-root sampling with logit adjustment the verdict is never HURTS, in any of
five draws of both. It follows the interval of balanced accuracy: recall of the rare classes is shown beside it and decides
nothing, also where it rises and balanced accuracy does not.

A draw chooses which classes are rare and which images are labelled. The last part is made so that rare recall rises alone: a part of
the "synthetic" samples are held-back reals of the rare classes, which raises their recall, the rest are common samples named rare, which lowers
that of the common ones. Balanced accuracy is worked out again by scikit-learn from the predictions of every experiment.

Run: python benchmarks/imbalance.py [--draws 5] [--steps 800]; about 15 minutes. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import balanced_accuracy_score
from tables import Bar, cpu_seconds, publish

from augmint.core import rng
from augmint.core.config import GenerateConfig, ProveVerb, TrainConfig
from augmint.core.run import Run
from augmint.core.types import F32, I64
from augmint.evaluation.arms import arms
from augmint.evaluation.controls import rare
from augmint.evaluation.distances import squared
from augmint.evaluation.lift import run
from augmint.evaluation.paired import Effect, Resamples
from augmint.evaluation.proof import Proof, decide, judge
from augmint.modalities import get
from augmint.steps.experiment import Offered, experiment, task_of
from augmint.steps.gan import train_gan
from augmint.steps.handwriting import write_digits
from augmint.steps.prepare import FOLDS, Prepared, prepare, sealed_name
from augmint.steps.synthesis import synthesise
from augmint.transforms.recipe import Recipe
from augmint.verbs import read

FEW, MANY, NUM_RARE = (3, 5), 80, 3
DRAWS, SEEDS, GAN_STEPS, PROBE_STEPS = 5, 10, 800, 400
MOST_SHARE = 0.25
BAIT_DRAWS, BAIT_FEW, BAIT_TRUE, NEAR, EACH = 3, 5, (0.2, 0.4, 0.6), 5, 200
BEST, OURS = "sqrt_adjusted", "synthetic"
Row = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One experiment: its data, its proof, and the predictions ``[S, N]`` of each arm."""

    about: Row
    prepared: Prepared
    proof: Proof
    predictions: Mapping[str, I64]

    @property
    def test_y(self) -> I64:
        return self.prepared.y[self.prepared.folds[0].test]

    @property
    def verdict(self) -> Row:
        """The proof's own row on the synthetic samples."""
        found: Row = next(v for v in self.proof.verdicts if v["question"] == "synthetic")
        return found

    def rare_recall(self, arm: str, against: str | None = None) -> Effect:
        """Mean recall of the rare classes, or how much it differs from another arm's, in percent."""
        fit_y = self.prepared.y[self.prepared.folds[0].fit]
        where = np.flatnonzero(rare(fit_y, self.prepared.num_classes)[self.test_y])
        y = self.test_y[where]
        right = {k: self.predictions[k][:, where] == y for k in (arm, against or arm)}
        return Resamples(y, self.proof.num_seeds, balanced=True).effect(right[arm], right[against] if against else None)

    @property
    def is_bought(self) -> bool:
        """Whether rare recall rises, and balanced accuracy does not."""
        return self.rare_recall(OURS, BEST).ci95[0] > 0 >= float(self.verdict["ci95"][0])

    def misjudged(self) -> float:
        """Largest difference of any arm's figure from the balanced accuracy that scikit-learn finds, in points."""
        found = {
            k: 100 * np.mean([balanced_accuracy_score(self.test_y, p) for p in pred])
            for k, pred in self.predictions.items()
        }
        return max(abs(float(a["mean"] - found[a["name"]])) for a in self.proof.arms)


def rare_digits(home: Path, few: int, draw: int, *, with_pool: bool = False) -> Prepared:
    """One draw of the digits, written out and read as an ordinary data set."""
    chosen = rng.permutation(rng.key("rare classes", draw), 10)[:NUM_RARE]
    per_class = [few if c in chosen else MANY for c in range(10)]
    data, _ = write_digits(home, get("image"), per_class=per_class, with_pool=with_pool, draw=draw)
    return prepare(read(data), None, seed=draw, folds=FOLDS, grid=None)


def offer_gan(home: Path, prepared: Prepared, draw: int, steps: int) -> tuple[Offered, Row]:
    """The product's own GAN on the training part, and its curated samples."""
    fold, config, cpu = prepared.folds[0], TrainConfig(steps=steps), cpu_seconds()
    job = Run.open(home, verb="train", config=config.model_dump(), inputs={})
    sealed = sealed_name(draw, FOLDS, 0)
    gan, _ = train_gan(
        job, prepared.data, prepared.codec, prepared.material(fold), config, seconds=300.0, seed=draw, sealed=sealed
    )
    made = synthesise(gan, GenerateConfig(), seed=draw)
    offered = Offered(fold, (made.x[made.kept], made.y[made.kept]), (made.x, made.y), gan)
    about = looks(prepared, *offered.kept) if offered.kept else {}
    return offered, {**about, "filtered": made.curation.applied, "cpu_s": cpu_seconds() - cpu}


def looks(prepared: Prepared, x: F32, y: I64) -> Row:
    """Whether rare classes have collapsed or been mixed up: distance of samples to their class's mean, over that of all test reals;
    and how many have a test real of their own class nearest."""
    fold = prepared.folds[0]
    fit_x, fit_y = prepared.x[fold.fit], prepared.y[fold.fit]
    test_x, test_y = prepared.x[fold.test], prepared.y[fold.test]
    rightly = test_y[squared(_flat(x), _flat(test_x)).argmin(1)] == y
    which, out = rare(fit_y, prepared.num_classes), {}
    for name, group in (("rare", np.flatnonzero(which)), ("common", np.flatnonzero(~which))):
        for kind, px, py in (("reals", fit_x, fit_y), ("synthetic", x, y)):
            out[f"{name}: spread of {kind}"] = float(
                np.mean([_around(px[py == c]) / _around(test_x[test_y == c]) for c in group])
            )
        out[f"{name}: rightly named"] = float(rightly[np.isin(y, group)].mean())
    return out


def _flat(x: F32) -> F32:
    return x.reshape(len(x), -1)


def _around(x: F32) -> float:
    return float(np.sqrt(((_flat(x) - _flat(x).mean(0)) ** 2).sum(1).mean()))


def held_back(home: Path, prepared: Prepared) -> tuple[F32, I64]:
    """Digits that are neither in the training nor in the test part, with their classes."""
    pool = read(home / "pool")
    target = load_digits().target
    return pool.encode(prepared.codec), np.array([target[int(Path(i).stem)] for i in pool.ids], dtype=np.int64)


def bait(prepared: Prepared, more_x: F32, more_y: I64, true: float, seed: int) -> tuple[F32, I64]:
    """Samples named rare: a ``true`` part of them are, the others are the common training samples nearest to rare ones."""
    fold = prepared.folds[0]
    x, y = prepared.x[fold.fit], prepared.y[fold.fit]
    which, xs = rare(y, prepared.num_classes), []
    common, num = x[~which[y]], round(true * EACH)
    for c in np.flatnonzero(which):
        u = rng.uniform(rng.key("bait", seed, int(c)), np.arange(2 * EACH)).reshape(2, EACH)
        own, new = (kind[(u[0] * len(kind)).astype(np.int64)] for kind in (x[y == c], more_x[more_y == c]))
        near = np.argsort(squared(_flat(own), _flat(common)), axis=1)[:, :NEAR]
        wrong = common[near[np.arange(EACH), (u[1] * NEAR).astype(np.int64)]]
        xs.append(np.concatenate([new[:num], wrong[num:]]))
    return np.concatenate(xs), np.flatnonzero(which).repeat(EACH)


def take_bait(home: Path, draw: int) -> list[Trial]:
    """The two arms that the verdict compares, trained and judged as the experiment does it, at each share of true samples."""
    prepared = rare_digits(home, BAIT_FEW, draw, with_pool=True)
    recipe, found, trials = Recipe.load("medium", allowed=prepared.data.modality.ops), dict[str, I64](), []
    held = held_back(home, prepared)
    for true in BAIT_TRUE:
        task = task_of(prepared, recipe, Offered(prepared.folds[0], bait(prepared, *held, true, draw)))
        chosen = [a for a in arms(task, "imbalance", share=MOST_SHARE) if a.name in (BEST, OURS)]
        new = [a for a in chosen if a.name == OURS or a.name not in found]
        found = {**found, **run(task, new, seeds=SEEDS, seed=draw, steps=PROBE_STEPS)}
        proof = judge(found, task.test_y, chosen, regime="imbalance")
        trials.append(Trial({"draw": draw, "truly rare": f"{true:.0%}"}, prepared, proof, found))
    return trials


def prove(home: Path, prepared: Prepared, offered: Offered, few: int, draw: int) -> Trial:
    """The experiment of the product at the share of the regime."""
    config = ProveVerb(seeds=SEEDS, probe_steps=PROBE_STEPS, workers=1)
    job = Run.open(home, verb="prove", config=config.model_dump(), inputs={})
    job.choose(
        "probe_steps", PROBE_STEPS, "as set; and with that no arms beside the main ones, which the clock would choose"
    )
    recipe = Recipe.load(config.recipe, allowed=prepared.data.modality.ops)
    proof = experiment(job, prepared, [offered], recipe, config, seed=draw, stop=False, progress=lambda event: None)
    with np.load(job / "eval" / "predictions-fold-0.npz") as kept:
        found = {k: kept[k] for k in kept.files if k != "seconds"}
    return Trial({"in a rare class": few, "draw": draw}, prepared, proof, found)


def told(trial: Trial) -> Row:
    """The verdict of one experiment, with rare recall beside it."""
    v, more = trial.verdict, trial.rare_recall(OURS, BEST)
    chosen = rare(trial.prepared.y[trial.prepared.folds[0].fit], trial.prepared.num_classes)
    row = {**trial.about, "rare classes": " ".join(str(c) for c in np.flatnonzero(chosen))}
    row |= {"verdict": v["verdict"], "balanced accuracy": _interval(v["effect"], v["ci95"]), "p": v["p"]}
    return {**row, "rare recall": _interval(more.effect, more.ci95), "rare recall p": more.p}


def _interval(effect: float, ci95: tuple[float, float]) -> str:
    return f"{effect:+.2f} [{ci95[0]:+.2f}, {ci95[1]:+.2f}]"


def levels(trials: list[Trial]) -> list[Row]:
    """Balanced accuracy and rare recall of every arm, mean over the draws."""
    rows = []
    for i, arm in enumerate(trials[0].proof.arms):
        row: Row = {"arm": arm["title"]}
        for few in FEW:
            mine = [t for t in trials if t.about["in a rare class"] == few]
            row[f"{few}: balanced accuracy"] = float(np.mean([t.proof.arms[i]["mean"] for t in mine]))
            row[f"{few}: rare recall"] = float(np.mean([t.rare_recall(arm["name"]).effect for t in mine]))
        rows.append(row)
    return rows


def over_draws(trials: list[Trial]) -> list[str]:
    """Mean effects over the draws: no verdict, but what the draws have in common."""
    out = []
    for few in FEW:
        mine = [t for t in trials if t.about["in a rare class"] == few]
        effects, recalls = [t.verdict["effect"] for t in mine], [t.rare_recall(OURS, BEST).effect for t in mine]
        out.append(
            f"Rare classes of {few}, mean over {len(mine)} draws: balanced accuracy {np.mean(effects):+.2f} points, "
            f"rare recall {np.mean(recalls):+.2f}."
        )
    return out


def bars(trials: list[Trial], baits: list[Trial]) -> list[Bar]:
    """The claim, held against every experiment."""
    everything = [*trials, *baits]
    out = []
    for few in FEW:
        found = [t.verdict for t in trials if t.about["in a rare class"] == few]
        said = ", ".join(f"{v['verdict']} {v['effect']:+.2f}" for v in found)
        hurts = [v for v in found if v["verdict"] == "HURTS"]
        out.append(Bar(f"verdicts, {few} in a rare class", "never HURTS", said, not hurts))
    metrics = sorted({t.proof.metric for t in everything})
    wrong = max(t.misjudged() for t in everything)
    followed = sum(t.verdict["verdict"] == decide(tuple(t.verdict["ci95"]), t.proof.margin) for t in everything)
    most = max(t.proof.share for t in everything)
    bought = [t.verdict["verdict"] for t in everything if t.is_bought]
    told = ", ".join(f"{bought.count(v)} {v}" for v in sorted(set(bought)))
    return [
        *out,
        Bar("synthetic part of the rare classes' draws", f"<= {MOST_SHARE:.0%}", f"{most:.0%}", most <= MOST_SHARE),
        Bar("metric", "balanced accuracy", ", ".join(metrics), metrics == ["balanced accuracy"]),
        Bar("largest difference from scikit-learn's, points", "< 0.001", f"{wrong:.4f}", wrong < 0.001),
        Bar("verdicts that its interval gives", f"{len(everything)}", f"{followed}", followed == len(everything)),
        Bar("experiments where rare recall rises and balanced accuracy does not", ">= 1", f"{len(bought)}", len(bought) > 0),
        Bar("their verdicts", "never HELPS", told or "none", "HELPS" not in bought),
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--steps", type=int, default=GAN_STEPS, help="of each GAN")
    args = parser.parse_args()
    torch.set_num_threads(1)
    trials: list[Trial] = []
    gans: list[Row] = []
    for few in FEW:
        for draw in range(args.draws):
            with TemporaryDirectory() as scratch:
                home = Path(scratch)
                prepared = rare_digits(home, few, draw)
                offered, about = offer_gan(home / "gan", prepared, draw, args.steps)
                trials.append(prove(home / "proof", prepared, offered, few, draw))
            gans.append({"in a rare class": few, "draw": draw, **about})
            print(told(trials[-1]), gans[-1], flush=True)
    baits: list[Trial] = []
    for draw in range(min(BAIT_DRAWS, args.draws)):
        with TemporaryDirectory() as scratch:
            baits += take_bait(Path(scratch), draw)
        print(*map(told, baits[-len(BAIT_TRUE) :]), sep="\n", flush=True)
    tables = {
        "Every arm, mean over the draws, %": levels(trials),
        "Synthetic against square-root sampling with logit adjustment, points": [told(t) for t in trials],
        "The same of samples named rare of which only a part are": [told(t) for t in baits],
        "GANs: spread within a class, over that of the test reals": gans,
    }
    held = "Of the 80 images of a common class the product holds 12 out of training, of the rare classes none."
    notes = [*over_draws(trials), held, f"{PROBE_STEPS} steps a probe; {cpu_seconds():.0f} CPU-s in all."]
    claim = (__doc__ or "").split("\n\n")[1].replace("\n", " ")
    store = (args.draws, args.steps) == (DRAWS, GAN_STEPS)
    return publish("imbalance", claim, bars(trials, baits), tables, notes, store=store)


if __name__ == "__main__":
    sys.exit(main())
