"""Arms of the experiment: the same probes trained on different data, paired in everything that the arms share.

Equal steps, equal batches and equal random streams in all arms. Where an arm puts other samples (synthetic ones, a
labelled pool) into a batch, they take a share of the slots, and each takes the class of the real sample whose slot it
gets: the arms differ in pictures, never in the mix of classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from augmint.core.errors import UserError
from augmint.core.types import F32, I64
from augmint.evaluation import controls
from augmint.evaluation.probes import U64, Design, Stack, Stream, one_thread, train
from augmint.scale.pool import ordered_map

if TYPE_CHECKING:
    from augmint.transforms.recipe import Recipe

Augment = Callable[[Tensor, U64], Tensor]
Regime = Literal["closed", "pool", "imbalance"]
Kind = Literal["base", "classic", "synthetic", "control"]
Method = Literal["train", "consistency", "spread", "verifier"]
Filler = Literal["none", "synthetic", "unfiltered", "duplicates", "pool", "spread"]
Sampling = Literal["natural", "balanced", "sqrt"]

BATCH = 32


@dataclass(frozen=True)
class Task:
    """What the arms train on and predict: tensors on the grid, float32 ``[N, C, *shape]`` in [-1, 1], labels int64.

    ``fit`` are labelled reals; ``pool`` unlabelled reals, with the labels that the verifier gave them; ``synthetic`` the
    kept samples and ``synthetic_all`` all candidates before curation; ``verifier_pred`` the verifier's own answers on
    the test part. ``augment(x, keys)`` replaces the recipe's executor; it must be picklable for more than one worker.
    """

    fit_x: F32
    fit_y: I64
    test_x: F32
    test_y: I64
    num_classes: int
    recipe: Recipe | None = None
    pool_x: F32 | None = None
    pool_y: I64 | None = None
    pool_conf: F32 | None = None
    synthetic_x: F32 | None = None
    synthetic_y: I64 | None = None
    synthetic_all_x: F32 | None = None
    synthetic_all_y: I64 | None = None
    verifier_pred: I64 | None = None
    augment: Augment | None = None

    def augmenter(self) -> Augment:
        """The classic augmentation of this task; no recipe means none."""
        if self.augment is not None:
            return self.augment
        if self.recipe is None:
            return _unchanged
        return partial(_by_recipe, recipe=self.recipe)


@dataclass(frozen=True)
class Arm:
    """One line of the experiment: how its classifier is trained."""

    name: str
    title: str
    kind: Kind
    method: Method = "train"
    augmented: bool = True
    filler: Filler = "none"
    share: float = 0.0
    sampling: Sampling = "natural"
    adjust: bool = False
    rare_only: bool = False
    note: str = ""

    @property
    def weight(self) -> float:
        """Training time, where one step of plain training is 1."""
        return {"train": 1.0, "consistency": 4.0}.get(self.method, 0.0)


def _unchanged(x: Tensor, keys: U64) -> Tensor:
    return x


def _by_recipe(x: Tensor, keys: U64, *, recipe: Recipe) -> Tensor:
    from augmint.transforms.run_torch import augment

    return augment(x, recipe, keys)


def regime_of(fit_y: I64, *, num_pool: int = 0) -> Regime:
    """``pool`` if there is one; ``imbalance`` if the largest class is 3 times the smallest; else ``closed``."""
    if num_pool:
        return "pool"
    counts = np.unique(fit_y[fit_y >= 0], return_counts=True)[1]
    return "imbalance" if len(counts) and counts.max() >= 3 * counts.min() else "closed"


def best_classic(regime: Regime) -> str:
    """The arm that synthetic samples must beat, fixed by the regime before anything is seen."""
    return "sqrt_adjusted" if regime == "imbalance" else "classic"


def arms(task: Task, regime: Regime, *, share: float) -> list[Arm]:
    """The arms of a regime, as far as the task has what they need.

    Args:
        share: synthetic share of a batch; under imbalance, of the draws of the rare classes.
    """
    out = [
        Arm("real", "real samples only", "base", augmented=False),
        Arm("classic", "+ classic augmentation", "classic"),
    ]
    best = out[1]
    if regime == "imbalance":
        out.append(Arm("balanced", "+ classic, balanced sampling", "control", sampling="balanced"))
        title = "+ classic, square-root sampling, logit adjustment"
        best = Arm("sqrt_adjusted", title, "classic", sampling="sqrt", adjust=True)
        out.append(best)
    if task.synthetic_x is not None:
        out += _synthetic_arms(task, best, share, rare_only=regime == "imbalance")
    if regime == "pool" and task.pool_x is not None:
        out += _pool_arms(task, share)
    if task.verifier_pred is not None:
        out.append(Arm("verifier", "the verifier as classifier", "control", method="verifier"))
    return out


def _synthetic_arms(task: Task, best: Arm, share: float, *, rare_only: bool) -> list[Arm]:
    base = replace(best, share=share, rare_only=rare_only)
    of = "of the rare classes' draws" if rare_only else "of each batch"
    out = [
        replace(base, name="synthetic", title=f"+ synthetic ({share:.0%} {of})", kind="synthetic", filler="synthetic")
    ]
    if task.synthetic_all_x is not None:
        title = "+ synthetic before curation"
        out.append(replace(base, name="unfiltered", title=title, kind="control", filler="unfiltered"))
    title = "+ as many copies of real samples"
    return [*out, replace(base, name="duplicates", title=title, kind="control", filler="duplicates")]


def _pool_arms(task: Task, share: float) -> list[Arm]:
    share = share or 0.5
    out = [
        Arm("consistency", "consistency training on the pool", "control", method="consistency"),
        Arm("spread", "label spreading over the pool (no network)", "control", method="spread"),
        Arm("spread_trained", "pool with spread labels", "control", filler="spread", share=share),
    ]
    if task.pool_y is not None:
        title = "pool labelled by the verifier"
        out.append(Arm("pool_labelled", title, "control", filler="pool", share=share))
    return out


# --- what a model sees at a step -------------------------------------------------------------------------------------


class _Draws:
    """Which samples each model sees at each step: a function of (seed, model, step, slot) and of the arm's data."""

    def __init__(self, task: Task, arm: Arm, stream: Stream) -> None:
        self.stream, self.arm, self.fit_y = stream, arm, task.fit_y
        self.batch = min(BATCH, len(task.fit_y))
        weight = controls.sampling_weights(task.fit_y, arm.sampling)
        self.order = np.argsort(task.fit_y, kind="stable")  # by class: systematic places then give even class counts
        self.cdf = np.cumsum(weight[self.order]) / weight.sum()
        more_x, more_y = _filler(task, arm, stream.seed)
        by_class = np.argsort(more_y, kind="stable")
        self.x = torch.from_numpy(np.concatenate([task.fit_x, more_x[by_class]]))
        self.counts = np.bincount(more_y, minlength=task.num_classes)
        if arm.rare_only:
            self.counts = self.counts * controls.rare(task.fit_y, task.num_classes)
        self.starts = len(task.fit_y) + np.searchsorted(more_y[by_class], np.arange(task.num_classes))

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Samples ``[S·B, C, *shape]`` and their classes ``[S·B]``."""
        place = self.stream.places(step, self.batch)
        item = self.order[np.searchsorted(self.cdf, place, side="right").clip(max=len(self.order) - 1)]
        y = self.fit_y[item]
        if self.arm.share > 0:
            other = self._slots(step) & (self.counts[y] > 0)
            u = self.stream.uniform("other", step, self.batch)
            item = np.where(other, self.starts[y] + (u * self.counts[y]).astype(np.int64), item)
        return self.x[torch.from_numpy(item.reshape(-1))], torch.from_numpy(y.reshape(-1))

    def _slots(self, step: int) -> NDArray[np.bool_]:
        """Which slots go to the other samples, ``[S, B]``: evenly spread, each slot with probability ``share``."""
        start = self.stream.uniform("share", step, 1)
        edges = np.floor(np.arange(self.batch + 1) * self.arm.share + start)
        return np.diff(edges, axis=1) > 0

    def keys(self, step: int) -> U64:
        """One augmentation key for each sample of the batch."""
        return self.stream.keys("augment", step, self.batch).reshape(-1)


def _filler(task: Task, arm: Arm, seed: int) -> tuple[F32, I64]:
    """The samples that take the arm's share of the slots, with their classes; those without a class are left out."""
    x, y = task.fit_x[:0], task.fit_y[:0]
    match arm.filler:
        case "synthetic" if task.synthetic_x is not None and task.synthetic_y is not None:
            x, y = task.synthetic_x, task.synthetic_y
        case "unfiltered" if task.synthetic_all_x is not None and task.synthetic_all_y is not None:
            x, y = task.synthetic_all_x, task.synthetic_all_y
        case "duplicates" if task.synthetic_y is not None:
            pick = controls.duplicates(task.fit_y, task.synthetic_y, seed)
            x, y = task.fit_x[pick], task.fit_y[pick]
        case "pool" if task.pool_x is not None and task.pool_y is not None:
            x, y = task.pool_x, task.pool_y
        case "spread" if task.pool_x is not None:
            pool_y, _ = controls.spread(task.fit_x, task.fit_y, task.pool_x, task.test_x[:0])
            x, y = task.pool_x, pool_y
    return x[y >= 0], y[y >= 0]


# --- running ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Unit:
    """One arm of work for one worker."""

    arm: Arm
    task: Task
    seeds: int
    seed: int
    steps: int


def run(
    task: Task,
    arms: Sequence[Arm],
    *,
    seeds: int = 10,
    seed: int = 0,
    steps: int = 500,
    workers: int = 1,
    tick: Callable[[str, float], None] | None = None,
) -> dict[str, I64]:
    """Train every arm and predict the test part.

    Args:
        seeds: paired probes an arm (S).
        steps: training steps of every classifier.
        workers: processes; the result is the same with any number.
        tick: told the name and the CPU seconds of each arm that is done.

    Returns:
        Predicted classes ``[S, N_test]`` of each arm, by its name.

    Raises:
        UserError: where shapes, labels or numbers do not fit together.
    """
    task = _checked(task)
    longest_first = sorted(arms, key=lambda a: -a.weight)
    units = [_Unit(arm, _slim(task, arm), seeds, seed, steps) for arm in longest_first]
    found = {}
    results = ordered_map(_run_unit, units, workers=min(workers, len(units)), name=lambda u: f"arm '{u.arm.name}'")
    for unit, (pred, seconds) in zip(units, results, strict=True):
        found[unit.arm.name] = pred
        if tick:
            tick(unit.arm.name, seconds)
    return {arm.name: found[arm.name] for arm in arms}


def seconds_per_step(task: Task, *, seeds: int = 10, probe: int = 6) -> float:
    """CPU seconds that one training step of one plain arm takes here (median of ``probe`` steps)."""
    task = _checked(task)
    arm, times = Arm("classic", "", "classic"), []
    with one_thread():
        stack, loss = _classifier(_Unit(arm, task, seeds, 0, 1))
        for _ in range(probe):
            begun = time.process_time()
            train(stack, loss, steps=1)
            times.append(time.process_time() - begun)
    return float(np.median(times))


def _run_unit(unit: _Unit) -> tuple[I64, float]:
    begun = time.process_time()
    task, num = unit.task, unit.seeds
    with one_thread():
        match unit.arm.method:
            case "verifier":
                assert task.verifier_pred is not None
                pred = np.tile(task.verifier_pred.astype(np.int64), (num, 1))
            case "spread":
                assert task.pool_x is not None
                _, test = controls.spread(task.fit_x, task.fit_y, task.pool_x, task.test_x)
                pred = np.tile(test, (num, 1))
            case _:
                stack, loss = _classifier(unit)
                train(stack, loss, steps=unit.steps)
                pred = stack.predict(task.test_x)
    return pred, time.process_time() - begun


def _classifier(unit: _Unit) -> tuple[Stack, Callable[[int], Tensor]]:
    task, arm = unit.task, unit.arm
    stack = Stack(Design.of(task.fit_x.shape[1:], task.num_classes), num=unit.seeds, seed=unit.seed)
    draws = _Draws(task, arm, Stream(unit.seed, unit.seeds))
    augment = task.augmenter() if arm.augmented else _unchanged
    offset = torch.from_numpy(controls.adjustment(task.fit_y, task.num_classes, arm.sampling)) if arm.adjust else 0.0

    def loss(step: int) -> Tensor:
        x, y = draws(step)
        logits = stack.logits(augment(x, draws.keys(step)).view(unit.seeds, draws.batch, *x.shape[1:]))
        return F.cross_entropy((logits + offset).flatten(0, 1), y, reduction="none").view(unit.seeds, -1).mean(1)

    if arm.method == "consistency":
        assert task.pool_x is not None
        return stack, controls.with_consistency(stack, loss, task.pool_x, augment, draws.stream)
    return stack, loss


def _checked(task: Task) -> Task:
    """Labelled samples only, contiguous float32, and whatever would go wrong later said now."""
    labelled = task.fit_y >= 0
    if task.num_classes < 2 or len(np.unique(task.fit_y[labelled])) < 2:
        raise UserError("the experiment needs two classes", mend="label the samples, or keep the verdict NO TASK")
    if not len(task.test_y):
        raise UserError("the test part is empty", mend="give more labelled samples, or a test folder")
    if len(task.test_x) != len(task.test_y):
        raise UserError(f"{len(task.test_x)} test samples have {len(task.test_y)} labels")
    named = {
        "fit": task.fit_x,
        "test": task.test_x,
        "pool": task.pool_x,
        "synthetic": task.synthetic_x,
        "synthetic_all": task.synthetic_all_x,
    }
    for name, x in named.items():
        if x is not None and x.shape[1:] != task.fit_x.shape[1:]:
            raise UserError(f"the {name} samples are {x.shape[1:]}, the real ones {task.fit_x.shape[1:]}")
        if x is not None and not np.isfinite(x).all():
            raise UserError(f"the {name} samples hold values that are not numbers", mend="leave those samples out")
    return replace(task, fit_x=task.fit_x[labelled], fit_y=task.fit_y[labelled])


def _slim(task: Task, arm: Arm) -> Task:
    """Without what this arm does not use: less to send to a worker."""
    keep = {"synthetic": "synthetic", "unfiltered": "synthetic_all", "duplicates": "synthetic"}.get(arm.filler)
    drop: dict[str, Any] = {}
    for name in ("synthetic", "synthetic_all"):
        if name != keep:
            drop |= {f"{name}_x": None, f"{name}_y": None}
    if arm.filler not in ("pool", "spread") and arm.method not in ("consistency", "spread"):
        drop |= {"pool_x": None, "pool_y": None, "pool_conf": None}
    return replace(task, **drop)
