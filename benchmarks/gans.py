"""What the benchmarks of the GAN engine share: real pictures with their judge, the engine trained for a CPU time, and figures.

The judge, a small CNN, saw training reals only. Whatever is trained here is given CPU seconds of this process on one
thread; steps that fit are probed, and the probing counts.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import cv2
import numpy as np
import torch
from glyphs import Glyphs
from peers import one_thread
from tables import RESULTS
from torch import Tensor

from augmint.core import rng
from augmint.core.config import TrainConfig
from augmint.core.errors import Interrupted
from augmint.core.run import write_bytes
from augmint.core.types import F32, I64, Grid
from augmint.evaluation.distances import frechet, prdc
from augmint.evaluation.features import TrainedCnn, trained_cnn_features
from augmint.evaluation.metrics import cas, prototypes
from augmint.modalities import get
from augmint.models.blocks import count_weights
from augmint.models.generator import Maker
from augmint.models.sizes import networks
from augmint.models.verifier import Judge
from augmint.steps import widening
from augmint.training.choose import best_precision, most_steps
from augmint.training.loop import Data, Schedule, State, latents, one_step, train
from augmint.training.losses import gamma_for, lr_for
from augmint.transforms.recipe import Recipe
from augmint.transforms.run_torch import gan_recipe

NUM_TEST = 500
PART = 500
"""Samples that are drawn at a time."""
Row = dict[str, Any]
Draw = Callable[[I64, int], F32]
"""Labels and a seed to synthetic pictures ``[N, C, H, W]`` in [-1, 1]."""


def options(doc: str | None, *, seeds: int, budget: float, unit: str = "CPU seconds a net") -> argparse.Namespace:
    """``--seeds`` and ``--budget`` of a script, with everything on one thread; ``whole`` where the full setting is run,
    ``claim`` from the docstring."""
    paragraphs = (doc or "").split("\n\n")
    parser = argparse.ArgumentParser(description=paragraphs[0])
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--budget", type=float, default=budget, help=unit)
    args = parser.parse_args()
    one_thread()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    args.whole = args.seeds >= seeds and args.budget == budget
    args.claim = paragraphs[1].replace("\n", " ")
    return args


def folder(args: argparse.Namespace) -> Path:
    """Where pictures go: beside the tables, or where nobody looks."""
    return RESULTS if args.whole else Path(gettempdir())


# -- reals -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reals:
    """Real pictures ``[N, C, H, W]`` in [-1, 1], those to train on and unseen ones, and what judges imitations."""

    x: F32
    y: I64
    test_x: F32
    test_y: I64
    num_classes: int
    steps: int = 600

    @property
    def grid(self) -> Grid:
        return Grid(self.x.shape[1], tuple(self.x.shape[2:]))

    @cached_property
    def features(self) -> TrainedCnn:
        """Trained on the training reals alone."""
        return trained_cnn_features(self.x, self.y, seed=0, steps=self.steps)

    @cached_property
    def baseline(self) -> float:
        """What one picture a class would be worth (CAS)."""
        return prototypes(self.x, self.y, self.test_x, self.test_y)

    @cached_property
    def floor(self) -> float:
        """Fréchet distance of real against real."""
        return float(_against_unseen(self, _stand_ins(self))["frechet"])

    def material(self) -> Data:
        """All training reals; none are held out, so that nothing steers ``aug_p``."""
        return Data(self.x, self.y, self.num_classes, self.x[:0], self.y[:0])


def digits(side: int) -> Reals:
    """Scikit-learn's digits, 500 of them set aside by a fixed permutation."""
    from sklearn.datasets import load_digits

    found = load_digits()
    small = (found.images / 8 - 1).astype(np.float32)
    x = np.stack([cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR) for image in small])[:, None]
    y = found.target.astype(np.int64)
    order = rng.permutation(rng.key("digits benchmark"), len(x))
    test, fit = order[:NUM_TEST], order[NUM_TEST:]
    return Reals(x[fit], y[fit], x[test], y[test], 10)


def letters(found: Glyphs, *, num_test: int, steps: int) -> Reals:
    """Ten letters of many fonts; the unseen ones are of fonts, and families, that stand nowhere else."""
    x = (found.pixels / 127.5 - 1).astype(np.float32)
    train, test = found.split(0)
    y = np.arange(10)
    pick = rng.permutation(rng.key("letters benchmark"), 10 * len(test))[:num_test]
    rest = x[test].reshape(-1, 1, *x.shape[2:])[pick], np.tile(y, len(test))[pick]
    return Reals(x[train].reshape(-1, 1, *x.shape[2:]), np.tile(y, len(train)), *rest, 10, steps)


# -- training for a time ---------------------------------------------------------------------------------------------


class Budget:
    """True when the CPU time of this process is spent."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.start = seconds, time.process_time()

    @property
    def used(self) -> float:
        return time.process_time() - self.start

    def __bool__(self) -> bool:
        return self.used >= self.seconds


@dataclass(frozen=True)
class Trained:
    """A maker of pictures, and what it took: weights, CPU seconds, steps, samples seen."""

    net: str
    draw: Draw
    facts: Row


@dataclass(frozen=True)
class Ours(Trained):
    """The engine's own, with its networks."""

    generator: Maker
    verifier: Judge


def start(data: Data, seed: int, *, steps: int = 10**6) -> tuple[State, Schedule]:
    """The product's networks, losses and defaults at step 0."""
    chosen = TrainConfig()
    generator, verifier = networks(get("image"), "nano", data.grid, data.num_classes, seed=seed)
    batch = min(chosen.batch, max(2, len(data.x)))
    gamma, lr = gamma_for(data.grid.shape, batch, steps), lr_for(data.grid.shape, steps)
    schedule = Schedule(steps, batch, gamma, lr, chosen.rebuild_weight, lazy=chosen.lazy, seed=seed)
    return State.fresh(generator, verifier, lr), schedule


def train_ours(
    data: Data,
    seconds: float,
    seed: int,
    *,
    recipe: Recipe | None = None,
    changes: Callable[[Schedule], Schedule] = lambda s: s,
) -> Ours:
    """The product's loop for a CPU time (and no longer than the product goes on), and how wide it then draws; the averaged generator
    of the last step.

    Args:
        data: its held-out part, where there is one, steers ``aug_p``.
        recipe: transforms of real and fake; the product's by default.
        changes: what is to be different from the product's schedule.
    """
    budget = Budget(seconds - 0.2)  # a step that is under way will be finished
    state, schedule = start(data, seed)
    schedule = changes(schedule)
    recipe = gan_recipe(get("image").ops) if recipe is None else recipe
    precision = best_precision(state, data, schedule)[0]
    schedule = replace(schedule, precision=precision)
    state.lay_out(schedule)
    widened = _Widened(data, seed)
    budget.seconds -= widened.seconds(state)
    steps = max(1, int(0.98 * (budget.seconds - budget.used) / _step_seconds(state, data, schedule, recipe)))
    steps = min(steps, most_steps(len(data.x), schedule.batch))
    probed = steps
    schedule = _of(schedule, data.grid.shape, steps)
    with suppress(Interrupted):  # where the machine became slower than the probe, the budget holds
        train(state, data, replace(schedule, steps=steps), recipe, stop=budget)
    spread = widened(state.ema)
    used = budget.used

    def draw(y: I64, draw_seed: int) -> F32:
        return in_parts(state.ema, latents(rng.key("draw", draw_seed), len(y)), y)

    weights = count_weights(state.generator) + count_weights(state.verifier)
    facts = {"weights": weights, "cpu_s": used, "steps": state.step, "samples_seen": state.samples_seen}
    facts |= {"in": precision, "planned": probed, "aug_p": state.aug_p, "spread": spread}
    return Ours("augmint", draw, facts, state.ema, state.verifier)


def _of(schedule: Schedule, shape: tuple[int, ...], steps: int) -> Schedule:
    """What the product changes once it knows how many steps there are, beside what was changed for a benchmark."""
    many, batch = schedule.steps, schedule.batch
    rate = lr_for(shape, steps) / lr_for(shape, many)
    weight = gamma_for(shape, batch, steps) / gamma_for(shape, batch, many)
    return replace(schedule, lr=rate * schedule.lr, gamma=weight * schedule.gamma)


class _Widened:
    """What the product does once training is over: how far from the middle of its class the generator draws."""

    def __init__(self, data: Data, seed: int) -> None:
        self.x, self.y, self.seed = data.x.numpy(), data.y, seed
        enough = len(self.x) >= widening.FEWEST
        self.features = trained_cnn_features(self.x, self.y, seed=seed, steps=200) if enough else None

    def __call__(self, generator: Maker) -> float:
        def draw(spread: float, y: I64, number: int) -> F32:
            generator.mapping.widen(spread)
            return in_parts(generator, latents(rng.key("spread", self.seed, number), len(y)), y)

        def features(x: F32) -> F32:
            assert self.features is not None
            return self.features(x)

        spread = widening.best_spread(draw, features, self.x, self.y, seed=self.seed)[0]
        generator.mapping.widen(spread)
        return spread

    def seconds(self, state: State, num: int = 100) -> float:
        """CPU seconds that it will take, from a hundred samples."""
        if self.features is None:
            return 0.0
        begun = time.process_time()
        self.features(in_parts(state.ema, latents(1, num), np.resize(self.y, num)))
        parts = widening.DRAWS * len(widening.SPREADS) * min(len(self.x), widening.MOST) + len(self.x)
        return (time.process_time() - begun) * parts / num


def _step_seconds(state: State, data: Data, schedule: Schedule, recipe: Recipe, num: int = 12) -> float:
    trial = copy.deepcopy(state)
    for _ in range(schedule.lazy):
        one_step(trial, data, schedule, recipe)
    begun = time.process_time()
    for _ in range(num):
        one_step(trial, data, schedule, recipe)
    return (time.process_time() - begun) / num


@torch.no_grad()
def in_parts(make: Callable[[Tensor, Tensor], Tensor], z: Tensor, y: I64) -> F32:
    """``make(z, y)`` of many, some at a time, cut to [-1, 1]; without a label the class is 0."""
    label = torch.from_numpy(np.maximum(y, 0))
    parts = zip(torch.split(z, PART), torch.split(label, PART), strict=True)
    return torch.cat([make(a, b).clamp(-1, 1) for a, b in parts]).numpy()


# -- figures ---------------------------------------------------------------------------------------------------------


def figures(reals: Reals, draw: Draw) -> Row:
    """As many synthetic pictures as there are unseen reals, of the same classes, against those; and the CAS."""
    found = judged(reals, draw(reals.test_y, 1))
    return {**found, "cas": cas(draw(reals.y, 2), reals.y, reals.test_x, reals.test_y)}


def judged(reals: Reals, fake: F32) -> Row:
    """Synthetic pictures of the classes of the unseen reals against those."""
    found = _against_unseen(reals, fake)
    found["frechet_ratio"] = found["frechet"] / reals.floor
    return {**found, "label_accuracy": float((reals.features.classify(fake) == reals.test_y).mean())}


def real_against_real(reals: Reals) -> Row:
    """What no generator can beat: as many training reals in the place of the synthetic ones."""
    return {
        **_against_unseen(reals, _stand_ins(reals)),
        "frechet_ratio": 1.0,
        "label_accuracy": float((reals.features.classify(reals.test_x) == reals.test_y).mean()),
        "cas": cas(reals.x, reals.y, reals.test_x, reals.test_y),
    }


def _stand_ins(reals: Reals) -> F32:
    """As many training reals as there are unseen ones."""
    some: F32 = reals.x[rng.permutation(rng.key("real against real"), len(reals.x))[: len(reals.test_x)]]
    return some


def _against_unseen(reals: Reals, x: F32) -> Row:
    real, seen = reals.features(reals.test_x), reals.features(x)
    found = prdc(real, seen)
    return {**{k: found[k] for k in ("precision", "recall", "coverage")}, "frechet": frechet(real, seen)}


def memorisation(fake: F32, train_x: F32, test_x: F32) -> float:
    """Median distance (pixels) of synthetic pictures to their nearest training real, over that of unseen reals; 1 is ideal."""
    return float(np.median(nearest(fake, train_x)) / np.median(nearest(test_x, train_x)))


def nearest(x: F32, train_x: F32) -> F32:
    """``[N]`` distance to the nearest training real."""
    rows = torch.from_numpy(train_x).flatten(1)
    parts = torch.split(torch.from_numpy(np.ascontiguousarray(x)).flatten(1), PART)
    return torch.cat([torch.cdist(part, rows).min(1).values for part in parts]).numpy()


def every_seed(found: Sequence[Row], name: str, form: str = ".3f") -> str:
    """A figure of every row, for the table of bars."""
    return ", ".join(format(r[name], form) for r in found)


def at_the_end(rows: Sequence[Row], *names: str) -> list[Row]:
    """The same rows without some of their figures, which some nets have and others do not."""
    return [{k: v for k, v in r.items() if k not in names} for r in rows]


# -- pictures --------------------------------------------------------------------------------------------------------


def picture(reals: Reals, draw: Draw, *, rows: int = 8) -> bytes:
    """Rows of synthetic pictures, one column a class (ten of the only one), and below them two rows of unseen reals."""
    y = np.tile(np.arange(10) if reals.num_classes else np.zeros(10, np.int64), rows)
    real = [(reals.test_x[reals.test_y == c] if reals.num_classes else reals.test_x[2 * c :])[:2] for c in range(10)]
    return grid_of(np.concatenate([draw(y, 3), np.stack(real, 1).reshape(20, *reals.x.shape[1:])]), rule=rows)


def grid_of(x: F32, *, columns: int = 10, rule: int = 0) -> bytes:
    """``[N, C, H, W]`` as a PNG, ten a row, with a line below row number ``rule``; small pictures are enlarged."""
    cells = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=1.0)
    rows, (channels, high, wide) = len(x) // columns, cells.shape[1:]
    page = cells[: rows * columns].reshape(rows, columns, channels, high, wide).transpose(0, 3, 1, 4, 2)
    pixels = np.rint((page.reshape(rows * high, columns * wide, channels) + 1) * 127.5).clip(0, 255).astype(np.uint8)
    if rule:
        pixels = np.insert(pixels, [rule * high] * 4, 255, axis=0)
    zoom = max(1, 36 // wide)
    large = pixels.repeat(zoom, 0).repeat(zoom, 1)[:, :, ::-1]
    coded: bytes = cv2.imencode(".png", np.ascontiguousarray(large), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
    return coded


def keep_picture(args: argparse.Namespace, name: str, data: bytes) -> str:
    """Write a picture beside the tables (elsewhere, for a short run) and return its name."""
    write_bytes(folder(args) / name, data)
    return name
