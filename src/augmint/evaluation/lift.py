"""Training the arms: the same probes on different data, paired in everything that the arms share.

Equal steps, equal batches and equal random streams in all arms. Where an arm puts other samples (synthetic ones, a
labelled pool) into a batch, they take a share of the slots, and each takes the class of the real sample whose slot it
gets: the arms differ in pictures, never in the mix of classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from augmint.core.errors import UserError
from augmint.core.types import F32, I64
from augmint.evaluation import controls, estimators
from augmint.evaluation.arms import CNN, Arm, Task, part_of, unchanged
from augmint.evaluation.finetune import finetuned
from augmint.evaluation.probes import U64, Design, Stack, Stream, one_thread, train
from augmint.scale.pool import ordered_map
from augmint.training.spread import spread

BATCH = 32
TUNING = 4
"""A pre-trained trunk is fine-tuned for a quarter of the probes' steps: no better with more, and dear (docs/log.md)."""
LEARNED = 0.1
"""Cross-entropy on its own augmented batches below which a probe is taken to have learned them."""
FEWEST, MOST, VIEWS = 400, 4000, 8
"""An estimator's training set: 8 draws of each labelled real, 400 at least and 4,000 at most, equal in all arms."""


# --- what a model sees at a step -------------------------------------------------------------------------------------


class _Draws:
    """Which samples each model sees at each step: a function of (seed, model, step, slot) and of the arm's data.

    ``named``: classes ``[S, M]`` that each model itself gave the pool, which then fills the arm's share. In a table of
    classes, -1 means that this sample is not for this model.
    """

    def __init__(self, task: Task, arm: Arm, stream: Stream, named: I64 | None = None) -> None:
        self.stream, self.arm, self.fit_y = stream, arm, task.fit_y
        self.batch = min(BATCH, len(task.fit_y))
        models = range(stream.num if arm.part < 1 else 0)
        mine = [part_of(task.fit_y, arm.part, stream.seed, s) for s in models] or [np.arange(len(task.fit_y))]
        # By class: systematic places then give even class counts, and one table of weights serves every model.
        self.order = np.stack([own[np.argsort(task.fit_y[own], kind="stable")] for own in mine])
        weight = controls.sampling_weights(task.fit_y[self.order[0]], arm.sampling)
        self.cdf = np.cumsum(weight) / weight.sum()
        more_x, table = _filler(task, arm, stream) if named is None else (task.pool_x, named)
        assert more_x is not None
        self.x = torch.from_numpy(np.concatenate([task.fit_x, more_x]))
        self.by_class = np.argsort(table, axis=1, kind="stable") + len(task.fit_y)
        self.counts = np.stack([np.bincount(row[row >= 0], minlength=task.num_classes) for row in table])
        self.starts = np.cumsum(self.counts, axis=1) - self.counts + (table < 0).sum(1, keepdims=True)
        if arm.rare_only:
            self.counts = self.counts * controls.rare(task.fit_y, task.num_classes)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Samples ``[S·B, C, *shape]`` and their classes ``[S·B]``."""
        place = self.stream.places(step, self.batch)
        item = _rows(self.order, np.searchsorted(self.cdf, place, side="right").clip(max=len(self.cdf) - 1))
        y = self.fit_y[item]
        if self.arm.share > 0:
            count = _rows(self.counts, y)
            other = self._slots(step) & (count > 0)
            u = self.stream.uniform("other", step, self.batch)
            at = np.where(other, _rows(self.starts, y) + (u * count).astype(np.int64), 0)
            item = np.where(other, _rows(self.by_class, at), item) if other.any() else item
        return self.x[torch.from_numpy(item.reshape(-1))], torch.from_numpy(y.reshape(-1))

    def _slots(self, step: int) -> NDArray[np.bool_]:
        """Which slots go to the other samples, ``[S, B]``: evenly spread, each slot with probability ``share``."""
        start = self.stream.uniform("share", step, 1)
        edges = np.floor(np.arange(self.batch + 1) * self.arm.share + start)
        return np.diff(edges, axis=1) > 0

    def keys(self, step: int) -> U64:
        """One augmentation key for each sample of the batch."""
        return self.stream.keys("augment", step, self.batch).reshape(-1)


def _seen(task: Task, arm: Arm, draws: _Draws) -> Callable[[int], tuple[Tensor, Tensor]]:
    """What the models of an arm are shown at a step: augmented samples ``[S·B, C, *shape]``, and their classes ``[S·B]``; where the
    recipe mixes samples, each with others of its own batch, the share of each class ``[S·B, K]``."""
    augment = task.augmenter() if arm.augmented else unchanged
    mix = task.mixer() if arm.augmented else None

    def shown(step: int) -> tuple[Tensor, Tensor]:
        x, y = draws(step)
        return (augment(x, draws.keys(step)), y) if mix is None else mix(x, y, draws.keys(step), draws.stream.num)

    return shown


def _rows(table: I64, at: I64) -> I64:
    """``table[s, at[s, b]]``; a table of one row serves every model."""
    out: I64 = table[0][at] if len(table) == 1 else np.take_along_axis(table, at, 1)
    return out


def _filler(task: Task, arm: Arm, stream: Stream) -> tuple[F32, I64]:
    """The samples that take the arm's share of the slots ``[M, C, *shape]``, and their classes: one row for all models, or
    ``[S, M]``, a row for each."""
    x, y = task.fit_x[:0], task.fit_y[:0]
    match arm.filler:
        case "synthetic" if task.synthetic_x is not None and task.synthetic_y is not None:
            x, y = task.synthetic_x, task.synthetic_y
            if task.synthetic_of is not None:
                return x, np.where(task.synthetic_of == np.arange(stream.num)[:, None], y, -1)
        case "unfiltered" if task.synthetic_all_x is not None and task.synthetic_all_y is not None:
            x, y = task.synthetic_all_x, task.synthetic_all_y
        case "duplicates" if task.synthetic_y is not None:
            pick = controls.duplicates(task.fit_y, task.synthetic_y, stream.seed)
            x, y = task.fit_x[pick], task.fit_y[pick]
        case "mixed":
            x, y = controls.mixed(task.fit_x, task.fit_y, controls.rare(task.fit_y, task.num_classes), stream.seed)
        case "pool" if task.pool_x is not None and task.pool_y is not None:
            x, y = task.pool_x, task.pool_y
        case "spread" if task.pool_x is not None:
            pool_y, _ = spread(task.fit_x, task.fit_y, task.pool_x, task.test_x[:0])
            x, y = task.pool_x, pool_y
    return x, np.atleast_2d(y)


# --- running ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Unit:
    """One arm of work for one worker."""

    arm: Arm
    task: Task
    seeds: int
    seed: int
    steps: int
    probe: str = CNN


def run(
    task: Task,
    arms: Sequence[Arm],
    *,
    seeds: int = 10,
    seed: int = 0,
    steps: int = 500,
    probe: str = CNN,
    workers: int = 1,
    stop: object = False,
    tick: Callable[[str, float, I64], None] | None = None,
) -> dict[str, I64]:
    """Train every arm and predict the test part.

    Args:
        seeds: paired probes an arm (S).
        steps: training steps of every classifier (not of estimators).
        probe: ``cnn``, ``linear``, or the user's own as `estimators.find` takes it.
        workers: processes; the result is the same with any number.
        stop: becomes true when somebody asks to stop; looked at while workers are waited for.
        tick: told the name, the CPU seconds and the predictions of each arm that is done.

    Returns:
        Predicted classes ``[S, N_test]`` of each arm, by its name.

    Raises:
        UserError: where shapes, labels or numbers do not fit together, or where the user's probe fails.
    """
    task = _checked(task)
    longest_first = sorted(arms, key=lambda a: -a.weight)
    units = [_Unit(arm, _slim(task, arm), seeds, seed, steps, probe) for arm in longest_first]
    found = {}
    workers = min(workers, max(1, len(units)))
    made = ordered_map(_run_unit, units, workers=workers, name=lambda u: f"arm '{u.arm.name}'", stop=stop)
    with closing(made) as results:
        for unit, (pred, seconds) in zip(units, results, strict=True):
            found[unit.arm.name] = pred
            if tick:
                tick(unit.arm.name, seconds, pred)
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


def steps_to_learn(task: Task, *, fewest: int, most: int, seeds: int = 2) -> tuple[int, float]:
    """Steps in which a plain probe learns its own augmented reals, and its mean loss over the last tenth of them.

    Doubled from ``fewest`` until that loss is below `LEARNED`, ``most`` at the latest. Looks at the training part alone. A probe that has
    not learned what it sees hides what more samples are worth, and what wrong ones do (docs/log.md).
    """
    task, steps = _checked(task), fewest
    with one_thread():
        while True:
            stack, loss = _classifier(_Unit(Arm("classic", "", "classic"), task, seeds, 0, steps))
            seen = list[float]()

            def told(step: int, loss: Callable[[int], Tensor] = loss, seen: list[float] = seen) -> Tensor:
                found = loss(step)
                seen.append(float(found.detach().mean()))
                return found

            train(stack, told, steps=steps)
            left = float(np.mean(seen[-max(1, steps // 10) :]))
            if left < LEARNED or 2 * steps > most:
                return steps, left
            steps *= 2


def seconds_per_arm(task: Task, probe: str, *, seeds: int = 10) -> float:
    """Seconds of one arm with an estimator, from one fit on the training part; it fails here if it fails at all. By the clock: a
    probe may wait, or work in other processes.

    Raises:
        UserError: naming the probe.
    """
    task = _checked(task)
    begun = time.perf_counter()
    small = replace(task, test_x=task.fit_x, test_y=task.fit_y)
    _run_unit(_Unit(Arm("classic", "", "classic"), small, 1, 0, 1, probe))
    return seeds * (time.perf_counter() - begun)


def _run_unit(unit: _Unit) -> tuple[I64, float]:
    begun = time.process_time()
    task, num = unit.task, unit.seeds
    with one_thread():
        match unit.arm.method:
            case "verifier":
                assert task.verifier_pred is not None
                pred = np.broadcast_to(task.verifier_pred, (num, len(task.test_y))).astype(np.int64)
            case "verifier_linear":
                assert task.views is not None
                pred = np.tile(estimators.linear(task.views.seen, task.views.seen_y, task.views.test), (num, 1))
            case "spread":
                assert task.pool_x is not None
                pred = np.tile(spread(task.fit_x, task.fit_y, task.pool_x, task.test_x)[1], (num, 1))
            case "spread_features":
                v = task.views
                assert v is not None
                pred = np.tile(spread(v.fit, task.fit_y, v.pool, v.test)[1], (num, 1))
            case "backbone":
                pred = _finetuned(unit)
            case _:
                pred = _trained(unit) if unit.probe == CNN else _estimated(unit)
    return pred, time.process_time() - begun


def _trained(unit: _Unit) -> I64:
    named = None
    if unit.arm.method == "self_training":
        assert unit.task.pool_x is not None
        first, loss = _classifier(replace(unit, arm=replace(unit.arm, method="train", share=0.0)))
        train(first, loss, steps=unit.steps)
        named = first.predict(unit.task.pool_x)
    stack, loss = _classifier(unit, named)
    train(stack, loss, steps=unit.steps)
    return stack.predict(unit.task.test_x)


def _finetuned(unit: _Unit) -> I64:
    task = unit.task
    draws = _Draws(task, unit.arm, Stream(unit.seed, unit.seeds))
    seen, size = _seen(task, unit.arm, draws), (unit.seeds, draws.batch)
    assert task.backbone is not None

    def batches(step: int) -> tuple[Tensor, Tensor]:
        x, y = seen(step)
        return x.view(*size, *x.shape[1:]), y.view(*size, *y.shape[1:])

    steps = max(1, unit.steps // TUNING)
    return finetuned(task.backbone, task.num_classes, batches, task.test_x, num=unit.seeds, seed=unit.seed, steps=steps)


def _estimated(unit: _Unit) -> I64:
    """An estimator for each seed, trained on what its stacked sister would have seen: drawn slots, augmented.

    Estimators take whole labels: a mixed sample gets one of its classes, drawn by their shares, so that the loss is right on average.
    """
    task, stream = unit.task, Stream(unit.seed, unit.seeds)
    draws = _Draws(task, unit.arm, stream)
    seen = _seen(task, unit.arm, draws)
    steps = -(-int(np.clip(VIEWS * len(task.fit_y), FEWEST, MOST)) // draws.batch)
    parts = [seen(step) for step in range(steps)]
    size = (unit.seeds, draws.batch, *task.fit_x.shape[1:])
    x = torch.cat([x.view(size) for x, _ in parts], 1).numpy()
    whole = [_drawn_class(y, stream.uniform("class", i, draws.batch)) for i, (_, y) in enumerate(parts)]
    y = torch.cat([y.view(size[:2]) for y in whole], 1).numpy()
    probe = estimators.find(unit.probe, task.fit_x, task.fit_y, seed=unit.seed)
    where = f"arm '{unit.arm.name}'"
    return np.stack([probe(x[s], y[s], task.test_x, unit.seed + s, where) for s in range(unit.seeds)])


def _drawn_class(y: Tensor, u: NDArray[np.float64]) -> Tensor:
    """One class for each sample ``[N]``, by uniform numbers ``[S, B]``, where ``y`` holds the shares of several."""
    if y.ndim == 1:
        return y
    return (y.cumsum(1) <= torch.from_numpy(u.reshape(-1, 1))).sum(1).clamp(max=y.shape[1] - 1)


def _classifier(unit: _Unit, named: I64 | None = None) -> tuple[Stack, Callable[[int], Tensor]]:
    task, arm = unit.task, unit.arm
    stack = Stack(Design.of(task.fit_x.shape[1:], task.num_classes), num=unit.seeds, seed=unit.seed)
    draws = _Draws(task, arm, Stream(unit.seed, unit.seeds), named)
    seen = _seen(task, arm, draws)
    offset = torch.from_numpy(controls.adjustment(task.fit_y, task.num_classes, arm.sampling)) if arm.adjust else 0.0

    def loss(step: int) -> Tensor:
        x, y = seen(step)
        logits = stack.logits(x.view(unit.seeds, draws.batch, *x.shape[1:]))
        each = F.cross_entropy((logits + offset).flatten(0, 1), y, reduction="none")
        # Of mixed labels no model can know more than the shares: what is left of the loss then is no lack of learning.
        each = each if y.ndim == 1 else each - torch.special.entr(y).sum(1)
        return each.view(unit.seeds, -1).mean(1)

    if arm.method == "consistency":
        assert task.pool_x is not None
        return stack, controls.with_consistency(stack, loss, task.pool_x, task.augmenter(), draws.stream)
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
    if keep != "synthetic":
        drop |= {"synthetic_of": None}
    if arm.filler not in ("pool", "spread") and arm.method not in ("consistency", "self_training", "spread"):
        drop |= {"pool_x": None, "pool_y": None}
    if arm.method not in ("verifier_linear", "spread_features"):
        drop |= {"views": None}
    if arm.method != "backbone":
        drop |= {"backbone": None}
    return replace(task, **drop)
