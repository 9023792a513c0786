"""From data and a time budget to a trained GAN: choose, teach (where there is a pool), train.

Every choice is written to the run's ``choices.json`` with its reason before it is used, and read from there when the run
is taken up again: time is looked at once.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from augmint.core.config import TrainConfig
from augmint.core.errors import Interrupted
from augmint.core.run import Run, read_jsonl, write_jsonl
from augmint.core.types import F32, I64, Grid, Modality
from augmint.models import sizes
from augmint.models.blocks import count_weights
from augmint.models.generator import Maker
from augmint.models.sizes import networks
from augmint.models.verifier import Judge
from augmint.scale import ranks
from augmint.scale.pool import cores
from augmint.training import checkpoint, losses, semi
from augmint.training.loop import Data, Figures, Schedule, State, one_step, train
from augmint.training.transfer import Start, adopt
from augmint.transforms.local import Cutout
from augmint.transforms.recipe import Recipe
from augmint.transforms.run_torch import gan_recipe

SHOWN = ("v_loss", "g_loss", "aug_p", "fid", "precision", "recall")
"""Figures that progress shows; all of them are in metrics.jsonl."""
FEWEST_STEPS = 200
"""With fewer, nothing is learned and no verdict would mean anything: a budget that is too short is exceeded, and told."""
FEW_STEPS = 600
"""With fewer, pictures are still blots on most data: told, with what would help."""
PROBED_CELLS = 2**18
"""What the number of threads is tried on: 32 samples of up to 90 x 90 cells, fewer of larger ones."""
FASTER = 1.25
"""So many times as fast must a step in bfloat16 be, for it rounds to three digits."""
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
    """

    x: F32
    y: I64
    pool_x: F32
    held_out_x: F32
    held_out_y: I64
    num_classes: int
    classes: tuple[str, ...] = ()
    start: Start | None = None

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
    ops = modality.ops
    size, why = _size(run, config, material)
    device = sizes.device(config.device)
    generator, verifier = networks(modality, size, material.grid, material.num_classes, seed=seed, tier=config.tier)
    if material.start is not None:
        given, classes = material.start, material.classes
        adopt(generator, given.generator, given.classes, classes)
        adopt(verifier, given.verifier, given.classes, classes)
        run.choose("init", given.name, given.told(classes))
    _threads(run, verifier, material)
    generator, verifier = generator.to(device), verifier.to(device)
    run.choose("device", device, "as set" if config.device != "auto" else "a GPU where there is one")
    run.choose("size", size, f"{why}; {count_weights(generator):,} + {count_weights(verifier):,} weights")

    def told(event: dict[str, Any]) -> None:
        progress(event)
        if stop:
            raise Interrupted(
                "stopped while learning the pool; this stage starts over", mend="run the same command to go on"
            )

    pool_y, pool_sure, held_y = np.zeros(0, np.int64), np.zeros(0, np.float32), material.held_out_y
    if material.has_pool:
        none = material.held_out_x[:0], material.held_out_y[:0]
        labelled = Data(material.x, material.y, material.num_classes, *none, device)
        _teach(run, labelled, material.pool_x, verifier, ops, POOL_PART * seconds, seed, config, told)
        ranks.equalise(verifier)
        pool_y, pool_sure = semi.label_pool(verifier, labelled, material.pool_x)
        held_y = np.where(held_y < 0, semi.label(verifier, material.held_out_x)[0], held_y)
        seconds *= 1 - POOL_PART
    sure = pool_sure >= SURE
    x = np.concatenate([material.x, material.pool_x[sure]]) if sure.any() else material.x
    y = np.concatenate([material.y, pool_y[sure]]) if sure.any() else material.y
    known = replace(material, x=x, y=y, held_out_y=held_y)
    data = Data(x, y, material.num_classes, material.held_out_x, held_y, device)

    batch = min(config.batch, max(2, len(x)))
    gamma, why = _gamma(config, verifier, material, batch)
    run.choose("batch", batch, "as set" if batch == config.batch else "no more than there are samples")
    run.choose("gamma", gamma, why)
    schedule = Schedule(
        1, batch, gamma, config.lr, rebuild_weight=config.rebuild_weight, lazy=config.lazy, seed=seed, ticks=10
    )
    state = State.fresh(generator, verifier, config.lr)
    schedule = replace(schedule, precision=_precision(run, config, state, data, schedule))
    _lay_out(state, schedule.precision)
    schedule = replace(schedule, steps=_steps(run, state, data, schedule, config.steps, seconds))
    for text in (_short(run, schedule.steps, config), _resume(run, state, schedule.steps)):
        if text:
            progress({"stage": "train", "note": text})

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
        gan_recipe(ops),
        folder=run / "checkpoints",
        stop=stop,
        on_row=row if ranks.is_first() else lambda figures: None,
        on_tick=lambda s, f: on_tick(s, f, known),
    )
    for note in state.notes:
        run.log(note)
    best = checkpoint.find(run / "checkpoints", "best")
    if best is not None:
        checkpoint.load_into(state.ema, best, "ema")
        checkpoint.load_into(state.verifier, best, "verifier")
    return Fitted(state.ema.cpu(), state.verifier.cpu(), x, y, pool_y, pool_sure, held_y)


def _size(run: Run, config: TrainConfig, material: Material) -> tuple[str, str]:
    """The networks' size and why: as it was chosen before, as set, or by data and device."""
    wanted = run.chosen("size") or config.size
    if wanted is not None:
        return wanted, "as set"
    return sizes.choose(material.grid, len(material.x) + len(material.pool_x), sizes.device(config.device))


def _gamma(config: TrainConfig, verifier: Judge, material: Material, batch: int) -> tuple[float, str]:
    if config.gamma is not None:
        return config.gamma, "as set"
    if verifier.borrowed:
        return 0.0, "no penalties: frozen features, hinge loss and bounded weights keep the slopes small"
    return losses.gamma_for(material.grid.shape, batch), "0.375 x cells of the grid / batch"


def _place(row: Mapping[str, Any]) -> tuple[int, bool]:
    """Where a row of ``metrics.jsonl`` stands: by its step, the tick's own row last."""
    return row["step"], "tick" in row


def _threads(run: Run, verifier: Judge, material: Material) -> None:
    """As many threads as pay: small convolutions on a busy machine are faster on one."""
    if run.chosen("threads") is None:
        run.choose("threads", *_best_threads(verifier, material.x))
    torch.set_num_threads(int(_chosen(run, "threads")))


def _best_threads(verifier: Judge, samples: F32) -> tuple[int, str]:
    some = max(2, min(32, PROBED_CELLS // math.prod(samples.shape[2:])))
    x = torch.from_numpy(samples[np.arange(some) % len(samples)])
    times = {}
    for num in sorted({1, cores()}, reverse=True):
        torch.set_num_threads(num)
        times[num] = min(_seconds_of(lambda: torch.autograd.backward(verifier.score(x).sum())) for _ in range(5))
    verifier.zero_grad(set_to_none=True)
    told = ", ".join(f"{1000 * t:.1f} ms with {num}" for num, t in times.items())
    best = min(times, key=lambda num: times[num] * (1.0 if num == 1 else 1.3))
    return best, f"a pass of the verifier took {told}; more must pay"


def _precision(run: Run, config: TrainConfig, state: State, data: Data, schedule: Schedule) -> str:
    """As set, or bfloat16 where a step is a good deal faster with it (a CPU without products of its own for it is slower)."""
    if config.precision != "auto":
        run.choose("precision", config.precision, "as set")
    elif run.chosen("precision") is None:
        times = {name: _seconds_in(name, state, data, schedule) for name in ("fp32", "bf16")}
        told = ", ".join(f"{1000 * t:.0f} ms in {name}" for name, t in times.items())
        best = "bf16" if FASTER * times["bf16"] < times["fp32"] else "fp32"
        run.choose("precision", best, f"a step without penalties took {told}; bf16 must be {FASTER} times as fast")
    return str(_chosen(run, "precision"))


def _seconds_in(precision: str, state: State, data: Data, schedule: Schedule) -> float:
    trial, long = copy.deepcopy(state), replace(schedule, steps=1000, gamma=0.0, precision=precision)
    _lay_out(trial, precision)
    return min(_seconds_of(lambda: one_step(trial, data, long, Recipe("none", ()))) for _ in range(3))


def _lay_out(state: State, precision: str) -> None:
    """Channels last, where bfloat16 pays for pictures, too: what convolutions in it are quickest with."""
    if precision == "bf16":
        for net in (state.generator, state.verifier, state.ema):
            for weight in net.parameters():
                if weight.dim() == 4:
                    weight.data = weight.data.contiguous(memory_format=torch.channels_last)


def _chosen(run: Run, name: str) -> Any:
    """A choice, when the first rank has written it."""
    ranks.wait()
    return run.chosen(name)


def _seconds_of(fn: Callable[[], Any]) -> float:
    start = time.perf_counter()
    fn()
    return time.perf_counter() - start


def _teach(
    run: Run,
    labelled: Data,
    pool: F32,
    verifier: Judge,
    ops: Sequence[str],
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
    # The strong view has no flips: they change handwriting, letters and parts with a side, and with them the label.
    medium = Recipe.load("medium", allowed=ops)
    weak = Recipe.load("light", allowed=ops)
    strong = Recipe("strong view", (*medium.ops, *((Cutout(p=0.5),) if "Cutout" in ops else ())))

    def lesson(net: Judge, steps: int, tell: Callable[[int], None]) -> dict[str, torch.Tensor]:
        return semi.teach(net, labelled, pool, weak, strong, semi.Lessons(steps, seed=seed), on_step=tell)

    if config.steps is None and run.chosen("stage_1_steps") is None:
        trial = copy.deepcopy(verifier)
        lesson(trial, 2, lambda step: None)
        start = time.perf_counter()
        lesson(trial, 8, lambda step: None)
        per_step = (time.perf_counter() - start) / 8
        steps = int(min(2000, max(FEWEST_STEPS, seconds / per_step)))
        run.choose(
            "stage_1_steps", steps, f"{seconds:.0f} s at {1000 * per_step:.0f} ms a step, {FEWEST_STEPS} to 2,000"
        )
    run.choose("stage_1_steps", config.steps, "as many as the GAN's, as set")
    steps = int(_chosen(run, "stage_1_steps"))
    weights = lesson(
        verifier, steps, lambda step: progress({"stage": "learn the pool", "done": step, "total": steps, "figures": {}})
    )
    verifier.load_state_dict(weights)
    if ranks.is_first():
        checkpoint.save_folder(folder, {"verifier": verifier.state_dict()}, {"steps": steps})


def _steps(run: Run, state: State, data: Data, schedule: Schedule, wanted: int | None, seconds: float) -> int:
    """The number of steps: as set, or as many as the time allows. A step is timed once, so more time means more steps."""
    if wanted is not None:
        steps, why = wanted, "as set"
    else:
        if run.chosen("step_seconds") is None:
            per_step = seconds_per_step(state, data, schedule)
            run.choose("step_seconds", float(f"{per_step:.4g}"), "measured on a copy at the start")
        per_step = float(_chosen(run, "step_seconds"))
        # The most that was of use here; past it a small set is only learned by heart.
        cap = max(500, 60 * len(data.x) // schedule.batch * 10)
        steps = int(min(cap, max(FEWEST_STEPS, 0.92 * seconds / per_step)))
        why = f"{seconds:.0f} s at {1000 * per_step:.0f} ms a step, {FEWEST_STEPS} to {cap:,}"
    run.choose("steps", steps, why, anew=True)
    return int(_chosen(run, "steps"))


def machine_seconds(modality: Modality, x: F32, num_classes: int, config: TrainConfig) -> float:
    """Seconds of a step on samples like ``x [batch, C, *shape]``, from three steps, with as many threads as pay: for choosing the grid."""
    before = torch.get_num_threads()
    grid = Grid(x.shape[1], tuple(x.shape[2:]))
    size = config.size or sizes.choose(grid, sizes.FEW, sizes.device(config.device))[0]
    generator, verifier = networks(modality, size, grid, num_classes, seed=0, tier=config.tier)
    y = np.arange(len(x), dtype=np.int64) % max(1, num_classes)
    data, state = Data(x, y, num_classes, x[:0], y[:0]), State.fresh(generator, verifier, config.lr)
    schedule = Schedule(1000, len(x), losses.gamma_for(x.shape[2:], len(x)), config.lr, lazy=max(2, config.lazy))

    def step(number: int) -> float:
        state.step = number
        return _seconds_of(lambda: one_step(state, data, schedule, Recipe("none", ())))

    try:
        torch.set_num_threads(ranks.told(_best_threads(verifier, x)[0]))
        step(0)  # the first one is slower than all others
        penalised, plain = step(0), step(1)
    finally:
        torch.set_num_threads(before)
    return penalised / config.lazy + plain * (1 - 1 / config.lazy)


def seconds_per_step(state: State, data: Data, schedule: Schedule) -> float:
    """Seconds of a step on this machine as it is now, penalties with their share; measured on a copy."""
    trial, long = copy.deepcopy(state), replace(schedule, steps=1000)
    for _ in range(schedule.lazy):
        one_step(trial, data, long, Recipe("none", ()))
    num = 3 * schedule.lazy
    return sum(_seconds_of(lambda: one_step(trial, data, long, Recipe("none", ()))) for _ in range(num)) / num


def _short(run: Run, steps: int, config: TrainConfig) -> str:
    """A word on a budget that is too short to learn much, and what to do about it."""
    each = run.chosen("step_seconds")
    if config.steps is not None or steps >= FEW_STEPS or each is None:
        return ""
    longer = FEW_STEPS * float(each)
    text = (
        f"{steps} steps are few: expect rough samples. The GAN would need about {longer / 60:.1f} minutes to itself on this machine "
        f"as busy as it is, so give more --time; a smaller --grid is cheaper, too"
    )
    run.log(text)
    return text


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
