"""From data and a time budget to a trained GAN: choose, teach (where there is a pool), train.

Every choice is written to the run's ``choices.json`` with its reason before it is used, and read from there when the run
is taken up again: time is looked at once.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from augmint.core.config import TrainConfig
from augmint.core.errors import Interrupted
from augmint.core.run import Run, read_jsonl, write_jsonl
from augmint.core.types import F32, I64, Codec, Grid, Modality
from augmint.models import sizes
from augmint.models.blocks import count_weights
from augmint.models.generator import Maker
from augmint.models.sizes import networks
from augmint.models.verifier import Judge
from augmint.scale import ranks
from augmint.training import checkpoint, choose, losses, semi
from augmint.training.loop import Data, Figures, Schedule, State, one_step, train
from augmint.training.transfer import Start, adopt
from augmint.training.views import Views, views_of
from augmint.transforms.recipe import Recipe

SHOWN = ("v_loss", "g_loss", "aug_p", "fid", "precision", "recall")
"""Figures that progress shows; all of them are in metrics.jsonl."""
POOL_PART = 0.3
"""Of the time, for stage 1 where there is a pool."""
SURE = 0.5
"""Pool samples that the verifier is less sure of than this do not train the generator."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a GAN learns from, on the grid. Labels are class indices, -1 where unknown.

    Attributes:
        pool_x: unlabelled training samples, ``[M, ...]``; may be empty.
        held_out_x: reals that nothing trains on, ``[H, ...]``; ``held_out_y`` may hold -1.
        classes: names of the classes, where weights to start from are matched by them.
        start: weights of another GAN, to start from instead of chance.
        codec: what put the samples on their grid, where it has transforms of its own there.
    """

    x: F32
    y: I64
    pool_x: F32
    held_out_x: F32
    held_out_y: I64
    num_classes: int
    classes: tuple[str, ...] = ()
    start: Start | None = None
    codec: Codec | None = None

    @property
    def grid(self) -> Grid:
        return Grid(self.x.shape[1], tuple(self.x.shape[2:]))

    @property
    def has_pool(self) -> bool:
        return len(self.pool_x) > 0 and self.num_classes > 0


@dataclass(frozen=True, slots=True)
class Fitted:
    """What `fit` leaves behind.

    Attributes:
        generator: the averaged generator of the best checkpoint.
        x, y: what the generator learned from: the labelled samples, and those of the pool with the labels given to them.
        pool_y, pool_sure: label of each pool sample and how sure the verifier was, in [0, 1].
    """

    generator: Maker
    verifier: Judge
    x: F32
    y: I64
    pool_y: I64
    pool_sure: F32
    held_out_y: I64


def fit(
    run: Run,
    modality: Modality,
    material: Material,
    config: TrainConfig,
    *,
    seconds: float,
    seed: int,
    stop: object = False,
    on_tick: Callable[[State, Figures, Material], Figures] = lambda state, figures, material: {},
    progress: Callable[[dict[str, Any]], None] = lambda event: None,
) -> Fitted:
    """Train a GAN in the run's folder, or go on with one that was interrupted.

    Args:
        seconds: time for everything here; `POOL_PART` of it goes to stage 1 where there is a pool.
        on_tick: sees the state about ten times a run, returns held-out figures; ``fid`` chooses the best checkpoint.
    """
    views = views_of(modality, material.codec)
    generator, verifier = _begin(run, modality, material, config, seed)
    known, pool_y, pool_sure = material, np.zeros(0, np.int64), np.zeros(0, np.float32)
    if material.has_pool:
        known, pool_y, pool_sure = _with_pool(
            run, material, verifier, views, POOL_PART * seconds, seed, config, stop, progress
        )
        seconds *= 1 - POOL_PART
    data = Data(known.x, known.y, known.num_classes, known.held_out_x, known.held_out_y, sizes.device(config.device))

    schedule = Schedule(
        1, config.batch, _gamma(config, verifier, material, config.batch, 1), losses.LR,
        rebuild_weight=config.rebuild_weight, lazy=config.lazy, patience=choose.PATIENCE if config.steps is None else None, seed=seed,
    )  # fmt: skip
    state = State.fresh(generator, verifier, losses.LR)
    batch = choose.batch(run, config, state, data, schedule)
    schedule = replace(schedule, batch=batch)
    schedule = replace(schedule, precision=choose.precision(run, config, state, data, schedule))
    schedule = replace(schedule, compiled=choose.compiled(run, config, state, data, schedule, seconds))
    state.lay_out(schedule)
    schedule = replace(schedule, steps=choose.steps(run, state, data, schedule, config.steps, seconds))
    num = schedule.steps
    gamma, lr = _gamma(config, verifier, material, batch, num), choose.lr(run, config, material.grid.shape, num)
    schedule = replace(schedule, gamma=gamma, lr=lr)
    gamma = choose.gamma(
        run, state, data, schedule, views.gan, config, seconds,
        stop=stop, measure=lambda trial: on_tick(trial, {}, known), progress=progress,
    )  # fmt: skip
    schedule = replace(schedule, gamma=gamma)
    _tell(progress, choose.short(run, schedule.steps, config), _resume(run, state, schedule.steps))

    def row(figures: dict[str, Any]) -> None:
        # After a return to a checkpoint steps come again: what they gave before is dropped.
        earlier = [r for r in read_jsonl(run / "metrics.jsonl") if _place(r) < _place(figures)]
        write_jsonl(run / "metrics.jsonl", [*earlier, figures])
        shown = {k: figures[k] for k in SHOWN if k in figures}
        progress({"stage": "train", "done": state.step, "total": schedule.steps, "figures": shown})

    train(
        state,
        data,
        schedule,
        views.gan,
        folder=run / "checkpoints",
        stop=stop,
        on_row=row if ranks.is_first() else lambda figures: None,
        on_tick=lambda s, f: on_tick(s, f, known),
    )
    for note in state.notes:
        run.log(note)
    _tell(progress, choose.end(run, state, schedule))
    best = checkpoint.find(run / "checkpoints", "best")
    if best is not None:
        checkpoint.load_into(state.ema, best, "ema")
        checkpoint.load_into(state.verifier, best, "verifier")
        _tell(progress, choose.kept(run, best))
    verifier = copy.deepcopy(state.verifier).cpu()  # a copy is not compiled: what comes now is in parts of any size
    return Fitted(state.ema.cpu(), verifier, known.x, known.y, pool_y, pool_sure, known.held_out_y)


def _tell(progress: Callable[[dict[str, Any]], None], *texts: str) -> None:
    for text in texts:
        if text:
            progress({"stage": "train", "note": text})


def _begin(run: Run, modality: Modality, material: Material, config: TrainConfig, seed: int) -> tuple[Maker, Judge]:
    """The networks, with the weights of another run where there is one to start from; and how many threads they get."""
    size, why = _size(run, config, material)
    device = sizes.device(config.device)
    generator, verifier = networks(modality, size, material.grid, material.num_classes, seed=seed, tier=config.tier)
    if material.start is not None:
        given, classes = material.start, material.classes
        adopt(generator, given.generator, given.classes, classes)
        adopt(verifier, given.verifier, given.classes, classes)
        run.choose("init", given.name, given.told(classes))
    choose.threads(run, verifier, material.x)
    run.choose("device", device, "as set" if config.device != "auto" else "a GPU where there is one")
    run.choose("size", size, f"{why}; {count_weights(generator):,} + {count_weights(verifier):,} weights")
    return generator.to(device), verifier.to(device)


def _size(run: Run, config: TrainConfig, material: Material) -> tuple[str, str]:
    """The networks' size and why: as it was chosen before, as set, or by data and device."""
    wanted = run.chosen("size") or config.size
    if wanted is not None:
        return wanted, "as set"
    return sizes.choose(material.grid, len(material.x) + len(material.pool_x), sizes.device(config.device))


def _gamma(config: TrainConfig, verifier: Judge, material: Material, batch: int, steps: int) -> float:
    """As set, none for a verifier on frozen features, or what the formula starts from."""
    if config.gamma is not None:
        return config.gamma
    return 0.0 if verifier.borrowed else losses.gamma_for(material.grid.shape, batch, steps)


def _with_pool(
    run: Run,
    material: Material,
    verifier: Judge,
    views: Views,
    seconds: float,
    seed: int,
    config: TrainConfig,
    stop: object,
    progress: Callable[[dict[str, Any]], None],
) -> tuple[Material, I64, F32]:
    """Stage 1: the verifier learns from labels and pool, and labels the pool; what it is sure of joins the labelled samples."""

    def told(event: dict[str, Any]) -> None:
        progress(event)
        if stop:
            raise Interrupted(
                "stopped while learning the pool; this stage starts over", mend="run the same command to go on"
            )

    none = material.held_out_x[:0], material.held_out_y[:0]
    labelled = Data(material.x, material.y, material.num_classes, *none, sizes.device(config.device))
    _teach(run, labelled, material.pool_x, verifier, views, seconds, seed, config, told)
    ranks.equalise(verifier)
    pool_y, pool_sure = semi.label_pool(verifier, labelled, material.pool_x)
    held_y = np.where(material.held_out_y < 0, semi.label(verifier, material.held_out_x)[0], material.held_out_y)
    sure = pool_sure >= SURE
    x, y = np.concatenate([material.x, material.pool_x[sure]]), np.concatenate([material.y, pool_y[sure]])
    return replace(material, x=x, y=y, held_out_y=held_y), pool_y, pool_sure


def _place(row: Mapping[str, Any]) -> tuple[int, bool]:
    """Where a row of ``metrics.jsonl`` stands: by its step, the tick's own row last."""
    return row["step"], "tick" in row


def _teach(
    run: Run,
    labelled: Data,
    pool: F32,
    verifier: Judge,
    views: Views,
    seconds: float,
    seed: int,
    config: TrainConfig,
    progress: Callable[[dict[str, Any]], None],
) -> None:
    """Stage 1, once: its weights are kept in ``checkpoints/stage-1``."""
    folder = run / "checkpoints" / "stage-1"
    if ranks.told((folder / "state.json").exists()):
        checkpoint.load_into(verifier, folder, "verifier")
        return

    def lesson(net: Judge, steps: int, tell: Callable[[int], None]) -> dict[str, torch.Tensor]:
        return semi.teach(net, labelled, pool, views.weak, views.strong, semi.Lessons(steps, seed=seed), on_step=tell)

    if config.steps is None and run.chosen("stage_1_steps") is None:
        trial = copy.deepcopy(verifier)
        lesson(trial, 2, lambda step: None)
        start = time.perf_counter()
        lesson(trial, 8, lambda step: None)
        per_step = (time.perf_counter() - start) / 8
        steps = int(min(2000, max(choose.FEWEST_STEPS, seconds / per_step)))
        run.choose(
            "stage_1_steps",
            steps,
            f"{seconds:.0f} s at {1000 * per_step:.0f} ms a step, {choose.FEWEST_STEPS} to 2,000",
        )
    run.choose("stage_1_steps", config.steps, "as many as the GAN's, as set")
    steps = int(choose.chosen(run, "stage_1_steps"))
    weights = lesson(
        verifier, steps, lambda step: progress({"stage": "learn the pool", "done": step, "total": steps, "figures": {}})
    )
    verifier.load_state_dict(weights)
    if ranks.is_first():
        checkpoint.save_folder(folder, {"verifier": verifier.state_dict()}, {"steps": steps})


def machine_seconds(modality: Modality, x: F32, num_classes: int, config: TrainConfig) -> float:
    """Seconds of a step on samples like ``x [batch, C, *shape]``, from three steps, with as many threads as pay: for choosing the grid."""
    before = torch.get_num_threads()
    grid = Grid(x.shape[1], tuple(x.shape[2:]))
    device = sizes.device(config.device)
    size = config.size or sizes.choose(grid, sizes.FEW, device)[0]
    generator, verifier = networks(modality, size, grid, num_classes, seed=0, tier=config.tier)
    y = np.arange(len(x), dtype=np.int64) % max(1, num_classes)
    data = Data(x, y, num_classes, x[:0], y[:0], device)
    schedule = Schedule(1000, len(x), losses.gamma_for(x.shape[2:], len(x), 1000), losses.LR, lazy=max(2, config.lazy))

    def step(number: int) -> float:
        state.step = number
        return choose.seconds_of(lambda: one_step(state, data, schedule, Recipe("none", ())))

    try:
        torch.set_num_threads(ranks.told(choose.best_threads(verifier, x)[0]))
        state = State.fresh(generator.to(device), verifier.to(device), losses.LR)
        step(0)  # the first one is slower than all others
        penalised, plain = step(0), step(1)
    finally:
        torch.set_num_threads(before)
    return penalised / config.lazy + plain * (1 - 1 / config.lazy)


def _resume(run: Run, state: State, steps: int) -> str:
    """Go on from the last checkpoint, and say so; figures of steps after it are dropped, for they will come again."""
    last = checkpoint.find(run / "checkpoints", "last")
    if last is not None:
        state.load(last)
    if not ranks.is_first():
        return ""
    if last is None:
        write_jsonl(run / "metrics.jsonl", [])
        return ""
    rows = [r for r in read_jsonl(run / "metrics.jsonl") if r["step"] <= state.step]
    write_jsonl(run / "metrics.jsonl", rows)
    run.log(f"resumed at step {state.step}")
    before = checkpoint.load_state(last)["steps"]
    grown = f"; the learning rate follows the new budget, no longer that of {before} steps" if before != steps else ""
    return f"step {state.step} of {steps} was saved: going on from there{grown}"
