"""The verifier as a product: as a classifier beside consistency training, and its trunk, fine-tuned, beside a contrastive one.

Claim: with 5 labelled digits a class and 800 unlabelled ones, over 10 draws and on 897 sealed test digits, the verifier of a trained GAN
names at most .7 points fewer rightly than a probe trained on the labels and, by consistency in the manner of FixMatch (Sohn et al.
2020), on the pool; and its trunk, fine-tuned on the labels, is at least 1.5 points above a trunk of the same build that learned from
the same pictures without labels for the same CPU time (SimCLR, Chen et al. 2020), fine-tuned likewise.

The verifier's CPU time is that of both stages of training and of all that goes with a run. Control and fine-tuning are the product's own
arms with the classic recipe: 3 probe seeds a draw, 400 steps and a quarter of that. The contrastive trunk is judged twice, fine-tuned
and under a logistic regression on its features (of the labels in eight views), and counts with the better mean.

Run: python benchmarks/verifier_classifier.py [--seeds 10] [--budget 1600], the budget being steps in each of the two stages; about 60 CPU
minutes: 6 a draw. Not stored with fewer seeds or another budget. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gans import Budget, Row, options
from tables import Bar, over_draws, publish
from torch import Tensor, nn

from augmint.core import rng
from augmint.core.config import TrainConfig
from augmint.core.run import Run
from augmint.core.types import F32, I64
from augmint.evaluation.arms import Task, arms
from augmint.evaluation.estimators import linear
from augmint.evaluation.lift import run
from augmint.generation.draw import Gan
from augmint.modalities import get
from augmint.models.verifier import FEATURES, Backbone
from augmint.steps.experiment import Offered, task_of
from augmint.steps.gan import train_gan
from augmint.steps.handwriting import write_digits
from augmint.steps.prepare import FOLDS, Prepared, prepare, sealed_name
from augmint.training.fit import networks
from augmint.transforms.local import Cutout
from augmint.transforms.recipe import Recipe
from augmint.transforms.run_torch import augment
from augmint.verbs import read

SIZE, PER_CLASS, PROBES, PROBE_STEPS, VIEWS = "nano", 5, 3, 400, 8
LEAST_CLASSIFIER, LEAST_TRUNK = -0.7, 1.5
OWN = ("classic", "consistency", "verifier", "backbone")
BATCH, TEMPERATURE, LR = 128, 0.2, 1e-3


def trained(home: Path, draw: int, steps: int) -> tuple[Prepared, Gan, float]:
    """The product's GAN on one draw of the digits, and the CPU seconds of its training."""
    kind = get("image")
    data, pool = write_digits(home / "digits", kind, per_class=PER_CLASS, with_pool=True, draw=draw)
    assert pool is not None
    prepared = prepare(read(data), read(pool), seed=draw, folds=FOLDS, grid=None)
    config, begun = TrainConfig(steps=steps, size=SIZE), time.process_time()
    job = Run.open(home / "gan", verb="train", config=config.model_dump(), inputs={})
    material, sealed = prepared.material(prepared.folds[0]), sealed_name(draw, FOLDS, 0)
    gan, _ = train_gan(job, prepared.data, prepared.codec, material, config, seconds=60.0, seed=draw, sealed=sealed)
    return prepared, gan, time.process_time() - begun


def contrastive(prepared: Prepared, seconds: float, seed: int) -> tuple[Backbone, int]:
    """A trunk of the verifier's build that learned to know pictures again: NT-Xent of two strong views, Adam with a cosine."""
    kind, budget, step = prepared.data.modality, Budget(seconds), 0
    trunk = networks(kind, SIZE, prepared.codec.grid, prepared.num_classes, seed=seed)[1].as_backbone()
    medium = Recipe.load("medium", allowed=kind.ops)
    strong = Recipe("strong view", (*medium.ops, Cutout(p=0.5)))
    x = torch.from_numpy(np.concatenate([prepared.x[prepared.folds[0].fit], prepared.pool_x]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.torch_seed(seed, "contrastive"))
        head = nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.ReLU(), nn.Linear(FEATURES, 64))
    optim = torch.optim.Adam([*trunk.parameters(), *head.parameters()], lr=LR, weight_decay=1e-6)
    while not budget:
        optim.param_groups[0]["lr"] = LR * (0.5 + 0.5 * np.cos(np.pi * budget.used / seconds))
        pick = torch.from_numpy(rng.permutation(rng.key(seed, "pictures", step), len(x))[:BATCH])
        keys = rng.bits(rng.key(seed, "views", step), np.arange(2 * len(pick)))
        loss = nt_xent(F.normalize(head(trunk(augment(x[pick].repeat(2, 1, 1, 1), strong, keys)))))
        optim.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optim.step()
        step += 1
    return trunk, step


def nt_xent(z: Tensor) -> Tensor:
    """Chen et al. 2020, eq. 1: row i of ``[2 n, D]`` and row i + n are views of one picture."""
    similar = (z @ z.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    return F.cross_entropy(similar, torch.arange(len(z)).roll(len(z) // 2))


def under_regression(trunk: Backbone, task: Task, seed: int) -> I64:
    """Classes of the test part by logistic regression on the trunk's features of the labels, plain and in views."""
    keys = rng.bits(rng.key("regression", seed), np.arange(VIEWS * len(task.fit_x)))
    views = task.augmenter()(torch.from_numpy(np.tile(task.fit_x, (VIEWS, 1, 1, 1))), keys)

    @torch.no_grad()
    def features(x: Tensor) -> F32:
        return trunk(x).numpy()  # type: ignore[no-any-return]

    seen = np.concatenate([features(torch.from_numpy(task.fit_x)), features(views)])
    return linear(seen, np.tile(task.fit_y, VIEWS + 1), features(torch.from_numpy(task.test_x)))


def one_draw(draw: int, steps: int) -> Row:
    """Accuracy of every way on one draw, %."""
    with TemporaryDirectory() as scratch:
        prepared, gan, spent = trained(Path(scratch), draw, steps)
    recipe = Recipe.load("medium", allowed=prepared.data.modality.ops)
    task = task_of(prepared, recipe, Offered(prepared.folds[0], gan=gan))
    settings: dict[str, Any] = {"seeds": PROBES, "seed": draw, "steps": PROBE_STEPS}
    wanted = [arm for arm in arms(task, "pool", share=0.5) if arm.name in OWN]
    found: dict[str, I64] = run(task, wanted, **settings)
    trunk, rival_steps = contrastive(prepared, spent, draw)
    other = Task(task.fit_x, task.fit_y, task.test_x, task.test_y, task.num_classes, recipe, backbone=trunk)
    found["contrastive, fine-tuned"] = run(other, [a for a in wanted if a.name == "backbone"], **settings)["backbone"]
    found["contrastive, regression"] = under_regression(trunk, other, draw)
    right = {name: 100 * float((pred == task.test_y).mean()) for name, pred in found.items()}
    return {"draw": draw, **right, "cpu_s": spent, "contrastive steps": rival_steps}


def bars(rows: list[Row]) -> list[Bar]:
    """The claim, on means over the draws."""

    def least(what: str, limit: float, name: str, other: str) -> Bar:
        mean, low, high = over_draws([r[name] - r[other] for r in rows])
        return Bar(what, f">= {limit:+.1f}", f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]", mean >= limit)

    kinds = ("contrastive, fine-tuned", "contrastive, regression")
    best = max(kinds, key=lambda name: float(np.mean([r[name] for r in rows])))
    return [
        least("the verifier above consistency training, points", LEAST_CLASSIFIER, "verifier", "consistency"),
        least(f"its trunk, fine-tuned, above the {best.replace(',', ' one,')}, points", LEAST_TRUNK, "backbone", best),
    ]


def main() -> int:
    args = options(__doc__, seeds=10, budget=1600, unit="steps in each of the two stages")
    rows = list[Row]()
    for draw in range(args.seeds):
        rows.append(one_draw(draw, int(args.budget)))
        print(rows[-1], flush=True)
    means = {k: float(np.mean([r[k] for r in rows])) for k in rows[0] if k != "draw"}
    tables = {"Accuracy of every draw, %": [*rows, {"draw": "mean", **means}]}
    return publish("verifier_classifier", args.claim, bars(rows), tables, store=args.whole)


if __name__ == "__main__":
    sys.exit(main())
