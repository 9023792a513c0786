"""The proof says HURTS when it must: half of every batch from a broken GAN.

Claim: 10 or 20 labelled digits a class, no pool, and a broken GAN, whose recall on real digits that nobody trained on is under .05:
one with a hundredth of the gradient penalty, one with a thousandth, and one that was stopped after 60 steps; a share of 50 % of its samples
gives the verdict HURTS, in each of three draws of both, and never HELPS.

The samples go in as the GAN makes them: curation is another defence, and not the one tested here. Recall is measured on the
digits outside training and test part, with features that saw only the training reals. What a penalty too small leaves behind is one or a few
good pictures a class; what training too short does, pictures that are no digits.

Run: python benchmarks/poison.py [--draws 3] [--per-class 10,20]; about 15 minutes. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from tables import Bar, cpu_seconds, publish

from augmint.core.config import ProveVerb, TrainConfig
from augmint.core.run import Run
from augmint.core.types import F32
from augmint.evaluation.distances import prdc
from augmint.evaluation.features import trained_cnn_features
from augmint.evaluation.proof import Proof
from augmint.generation.draw import Gan
from augmint.modalities import get
from augmint.steps.experiment import Offered, experiment
from augmint.steps.handwriting import write_digits
from augmint.steps.prepare import Prepared, prepare
from augmint.training.fit import fit
from augmint.training.losses import gamma_for
from augmint.transforms.recipe import Recipe
from augmint.verbs import read

SHARE, PER_CLASS, MOST_RECALL, NUM = 0.5, "10,20", 0.05, 500
BROKEN = {"gamma / 100": (1000, 100.0), "gamma / 1000": (1000, 1000.0), "stopped early": (60, 1.0)}
"""Steps, and what gamma is divided by."""


def broken_gan(home: Path, prepared: Prepared, steps: int, divisor: float) -> Gan:
    """A GAN of the product's own making, but for its gamma; without held-out reals, since the augmentation that they steer
    mends some of the damage."""
    material = prepared.material(prepared.folds[0])
    material = replace(material, held_out_x=material.held_out_x[:0], held_out_y=material.held_out_y[:0])
    config = TrainConfig(steps=steps, gamma=gamma_for(material.grid.shape, 32, steps) / divisor)
    run = Run.open(home, verb="train", config=config.model_dump(), inputs={})
    kind = prepared.data.modality
    fitted = fit(run, kind, material, config, seconds=60.0, seed=0)
    return Gan(kind, prepared.codec, prepared.data.classes, fitted.generator, fitted.verifier)


def recall(gan: Gan, prepared: Prepared, unseen: F32) -> dict[str, float]:
    """How much of the unseen reals lies near anything that the GAN makes, and how much of what it makes near them."""
    fold = prepared.folds[0]
    features = trained_cnn_features(prepared.x[fold.fit], prepared.y[fold.fit], seed=0)
    fake = gan.draw(np.arange(len(unseen), dtype=np.int64) % 10, seed=1)
    found = prdc(features(unseen), features(fake))
    return {k: found[k] for k in ("precision", "recall", "coverage")}


def prove(home: Path, prepared: Prepared, gan: Gan, *, seed: int) -> Proof:
    """The experiment of the product, with the share as poisoned as it gets."""
    y = np.repeat(np.arange(10, dtype=np.int64), 100)
    config = ProveVerb(share=SHARE, time=300.0)
    run = Run.open(home, verb="prove", config=config.model_dump(), inputs={})
    offered = Offered(prepared.folds[0], kept=(gan.draw(y, seed=2), y), gan=gan)
    recipe = Recipe.load(config.recipe, allowed=prepared.data.modality.ops)
    return experiment(run, prepared, [offered], recipe, config, seed=seed, stop=False, progress=lambda event: None)


def one_draw(home: Path, per_class: int, draw: int, broken: str) -> tuple[dict[str, Any], Proof]:
    """Break a GAN on one draw of the digits, and put its samples to the proof."""
    kind, cpu = get("image"), cpu_seconds()
    data, _ = write_digits(home / "labelled", kind, per_class=per_class, with_pool=False, draw=draw)
    # The same draw with its pool: digits that are neither in the training nor in the test part.
    _, pool = write_digits(home / "more", kind, per_class=per_class, with_pool=True, draw=draw)
    assert pool is not None
    prepared = prepare(read(data), None, seed=draw, folds=5, grid=None)
    gan = broken_gan(home / "gan", prepared, *BROKEN[broken])
    found = recall(gan, prepared, read(pool).encode(prepared.codec)[:NUM])
    proof = prove(home / "proof", prepared, gan, seed=draw)
    verdict = next(v for v in proof.verdicts if v["question"] == "synthetic")
    told = {"verdict": verdict["verdict"], "effect": verdict["effect"], "ci95": verdict["ci95"], "p": verdict["p"]}
    return {"broken": broken, "a class": per_class, "draw": draw, **found, **told, "cpu_s": cpu_seconds() - cpu}, proof


def bars(broken: str, per_class: int, rows: list[dict[str, Any]]) -> list[Bar]:
    """The claim at one number of labels, for one way to break a GAN."""
    mine = [r for r in rows if r["a class"] == per_class and r["broken"] == broken]
    worst = max(r["recall"] for r in mine)
    told = ", ".join(f"{r['verdict']} {r['effect']:+.2f}" for r in mine)
    hurts, where = all(r["verdict"] == "HURTS" for r in mine), f"{broken}, {per_class} a class"
    return [
        Bar(f"largest recall, {where}", f"< {MOST_RECALL}", f"{worst:.3f}", worst < MOST_RECALL),
        Bar(f"verdicts on a share of {SHARE:.0%}, {where}", "HURTS", told, hurts),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--per-class", default=PER_CLASS, help="labelled digits of each class")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    proofs: list[Proof] = []
    cases = [(broken, int(n)) for broken in BROKEN for n in args.per_class.split(",")]
    for broken, per_class in cases:
        for draw in range(args.draws):
            with TemporaryDirectory() as scratch:
                row, proof = one_draw(Path(scratch), per_class, draw, broken)
            rows.append(row)
            proofs.append(proof)
            print(row, flush=True)
    levels = [
        {
            "arm": arm["title"],
            **{
                f"{r['broken']}, {r['a class']}, draw {r['draw']}": p.arms[i]["mean"]
                for r, p in zip(rows, proofs, strict=True)
            },
        }
        for i, arm in enumerate(proofs[0].arms)
    ]
    claim = (__doc__ or "").split("\n\n")[1].replace("\n", " ")
    tables = {"Broken GANs": rows, "Accuracy of every arm, %": levels}
    store = (args.draws, args.per_class) == (3, PER_CLASS)
    judged = [bar for broken, per_class in cases for bar in bars(broken, per_class, rows)]
    helped = [r for r in rows if r["verdict"] == "HELPS"]
    judged.append(Bar("HELPS among all of them", "none", str(len(helped)), not helped))
    return publish("poison", claim, judged, tables, [s for p in proofs for s in p.sentences[1:]], store=store)


if __name__ == "__main__":
    sys.exit(main())
