"""What a run works out before it trains, once: threads, steps, gamma; and afterwards, where it ended. Each with its reason."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from augmint.core.config import TrainConfig
from augmint.core.errors import UserError
from augmint.core.machine import cores, free_memory
from augmint.core.run import Run
from augmint.core.types import F32
from augmint.models.verifier import Judge
from augmint.scale import ranks
from augmint.training import checkpoint, losses, probe
from augmint.training.loop import Data, Figures, Schedule, State, one_step
from augmint.transforms.recipe import Recipe

FEWEST_STEPS = 200
"""With fewer, nothing is learned and no verdict would mean anything: a budget that is too short is exceeded, and told."""
USED = 0.92
"""Of the time, for steps."""
FEW_STEPS = 600
"""With fewer, pictures are still blots on most data: told, with what would help."""
MEMORY_SHARE = 0.5
PROBED_CELLS = 2**18
"""What the number of threads is tried on: 32 samples of up to 90 x 90 cells, fewer of larger ones."""
FASTER = 1.25
"""So many times as fast must a step be in bfloat16, for it rounds to three digits, and compiled, for that takes time."""
WORTH_COMPILING = 1200.0
"""Seconds that a run must have before compiling is tried unasked."""
PATIENCE = 4
"""Of ten ticks: where the steps follow from the time, a run whose held-out figures stand still for so long ends."""


def threads(run: Run, verifier: Judge, samples: F32) -> None:
    """As many threads as pay: small convolutions on a busy machine are faster on one."""
    if run.chosen("threads") is None:
        run.choose("threads", *best_threads(verifier, samples))
    torch.set_num_threads(int(chosen(run, "threads")))


def best_threads(verifier: Judge, samples: F32) -> tuple[int, str]:
    some = max(2, min(32, PROBED_CELLS // math.prod(samples.shape[2:])))
    x = torch.from_numpy(samples[np.arange(some) % len(samples)])
    times = {}
    for num in sorted({1, cores()}, reverse=True):
        torch.set_num_threads(num)
        times[num] = min(seconds_of(lambda: torch.autograd.backward(verifier.score(x).sum())) for _ in range(5))
    verifier.zero_grad(set_to_none=True)
    told = ", ".join(f"{1000 * t:.1f} ms with {num}" for num, t in times.items())
    best = min(times, key=lambda num: times[num] * (1.0 if num == 1 else 1.3))
    return best, f"a pass of the verifier took {told}; more must pay"


def batch(run: Run, config: TrainConfig, state: State, data: Data, schedule: Schedule) -> int:
    """Samples a step: as set, but no more than there are, and no more than half of the free memory holds."""
    if ranks.told(run.chosen("batch")) is None:
        wanted = min(config.batch, max(2, len(data.x)))
        why = "as set" if wanted == config.batch else "no more than there are samples"
        free, each = free_bytes(data.device), bytes_per_sample(state, data, schedule)
        most = wanted if free is None else ranks.num_ranks() * max(2, int(MEMORY_SHARE * free / each))
        if most < wanted:
            why = f"a sample takes about {each / 2**20:.0f} MiB in a step, and {(free or 0) / 2**30:.1f} GiB are free"
        run.choose("batch", min(wanted, most), why)
    return int(chosen(run, "batch"))


def bytes_per_sample(state: State, data: Data, schedule: Schedule) -> float:
    """What autograd keeps in a step with penalties, on a copy; counted, for a peak cannot be measured without reaching it.

    Never too low where it was compared with the peak of the process (64 to 512 pixels, nano and small), and up to 2.6 times too high.
    """
    kept, num = 0, 2

    def count(t: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += t.numel() * t.element_size()
        return t

    trial = copy.deepcopy(state)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
        one_step(trial, data, replace(schedule, batch=num * ranks.num_ranks(), steps=1000, lazy=1), Recipe("none", ()))
    return kept / num


def free_bytes(device: str) -> int | None:
    """Free memory where training happens; ``None`` where nothing says so."""
    return torch.cuda.mem_get_info()[0] if device == "cuda" else free_memory()


def precision(run: Run, config: TrainConfig, state: State, data: Data, schedule: Schedule) -> str:
    """As set, or bfloat16 where a step is a good deal faster with it (a CPU without products of its own for it is slower)."""
    if config.precision != "auto":
        run.choose("precision", config.precision, "as set")
    elif run.chosen("precision") is None:
        run.choose("precision", *best_precision(state, data, schedule))
    return str(chosen(run, "precision"))


def best_precision(state: State, data: Data, schedule: Schedule) -> tuple[str, str]:
    """The quicker one and its reason, from three steps of each on copies."""
    times = {name: _quickest(state, data, replace(schedule, precision=name)) for name in ("fp32", "bf16")}
    told = ", ".join(f"{1000 * t:.0f} ms in {name}" for name, t in times.items())
    best = "bf16" if FASTER * times["bf16"] < times["fp32"] else "fp32"
    return best, f"a step without penalties took {told}; bf16 must be {FASTER} times as fast"


def compiled(run: Run, config: TrainConfig, state: State, data: Data, schedule: Schedule, seconds: float) -> bool:
    """Whether the networks are compiled: as set, or where a GPU's step is a good deal faster then and the run long enough to gain by it.

    Raises:
        UserError: if it is asked for and cannot be had here, with what the compiler says.
    """
    if ranks.told(run.chosen("compile")) is None:
        if config.compile == "off":
            found, why = False, "as set"
        elif config.compile == "on":
            found, why = True, f"as set; {_try_compiled(state, data, schedule)[1].partition(';')[0]}"
        elif data.device == "cpu":
            found, why = False, "on a CPU only where --compile on asks for it"
        elif seconds < WORTH_COMPILING:
            found, why = False, f"it takes a minute or two, and the run {seconds:.0f} s"
        else:
            try:
                found, why = _try_compiled(state, data, schedule)
            except UserError as error:
                found, why = False, str(error).splitlines()[0]
        run.choose("compile", found, why)
    return bool(chosen(run, "compile"))


def _try_compiled(state: State, data: Data, schedule: Schedule) -> tuple[bool, str]:
    times = [_quickest(state, data, schedule)]
    try:
        times.append(_quickest(state, data, replace(schedule, compiled=True)))
    except Exception as error:  # the compiler has errors of its own, of many kinds
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"the networks cannot be compiled here: {lines[0]}",
            mend="install a C++ compiler (on a GPU, Triton comes with PyTorch), or leave --compile out",
        ) from error
    told = f"a step without penalties took {1000 * times[0]:.0f} ms, compiled {1000 * times[1]:.0f} ms"
    return FASTER * times[1] < times[0], f"{told}; compiled must be {FASTER} times as fast"


def _quickest(state: State, data: Data, schedule: Schedule) -> float:
    """Seconds of the fastest of three steps without penalties, on a copy; the compiler's work is done before."""
    trial, long = copy.deepcopy(state), replace(schedule, steps=1000, gamma=0.0)
    trial.lay_out(long)
    for _ in range(2 if schedule.compiled else 0):
        one_step(trial, data, long, Recipe("none", ()))
    return min(seconds_of(lambda: one_step(trial, data, long, Recipe("none", ()))) for _ in range(3))


def chosen(run: Run, name: str) -> Any:
    """A choice, when the first rank has written it."""
    ranks.wait()
    return run.chosen(name)


def steps(run: Run, state: State, data: Data, schedule: Schedule, wanted: int | None, seconds: float) -> int:
    """The number of steps: as set, or as many as the time allows. A step is timed once, so more time means more steps."""
    if wanted is not None:
        num, why = wanted, "as set"
    else:
        if run.chosen("step_seconds") is None:
            per_step = seconds_per_step(state, data, schedule)
            run.choose("step_seconds", float(f"{per_step:.4g}"), "measured on a copy at the start")
        per_step = float(chosen(run, "step_seconds"))
        cap = most_steps(len(data.x), schedule.batch)
        num = int(min(cap, max(FEWEST_STEPS, USED * seconds / per_step)))
        why = (
            f"{USED:.0%} of {seconds:.0f} s at {1000 * per_step:.0f} ms a step (the rest is for figures and pictures), "
            f"at least {FEWEST_STEPS}, at most 600 passes ({cap:,})"
        )
    run.choose("steps", num, why, anew=True)
    return int(chosen(run, "steps"))


def lr(run: Run, config: TrainConfig, shape: tuple[int, ...], steps: int) -> float:
    """The learning rate at the start: as set, or by the grid and the steps."""
    if config.lr is not None:
        run.choose("lr", config.lr, "as set")
    elif run.chosen("lr") is None:
        run.choose("lr", losses.lr_for(shape, steps), "by the cells of the grid and the number of steps")
    return float(chosen(run, "lr"))


def most_steps(num_samples: int, batch: int) -> int:
    """600 passes, the most that was of use here: past it a small set is only learned by heart."""
    return max(500, 60 * num_samples // batch * 10)


def seconds_per_step(state: State, data: Data, schedule: Schedule) -> float:
    """Seconds of a step on this machine as it is now, penalties with their share; measured on a copy."""
    trial, long = copy.deepcopy(state), replace(schedule, steps=1000)
    trial.lay_out(long)
    for _ in range(schedule.lazy):
        one_step(trial, data, long, Recipe("none", ()))
    num = 3 * schedule.lazy
    return sum(seconds_of(lambda: one_step(trial, data, long, Recipe("none", ()))) for _ in range(num)) / num


def gamma(
    run: Run,
    state: State,
    data: Data,
    schedule: Schedule,
    recipe: Recipe,
    config: TrainConfig,
    seconds: float,
    *,
    stop: object,
    measure: Callable[[State], Figures],
    progress: Callable[[dict[str, Any]], None],
) -> float:
    """The weight of the penalties: as set, as the formula has it, or as trials found it. After trials the winner's is the last checkpoint."""
    folder, formula = run / "checkpoints", "0.375 x cells of the grid / batch, on large grids in few steps less"
    if config.gamma is not None:
        run.choose("gamma", config.gamma, "as set")
    elif schedule.gamma == 0:
        why = "no penalties: frozen features, hinge loss and bounded weights keep the slopes small"
        run.choose("gamma", 0.0, why)
    elif ranks.told(run.chosen("gamma")) is None:
        cost = seconds * torch.get_num_threads()
        less = "the steps are set" if config.steps else probe.why_not(schedule, cost, len(data.held_out_x))
        if less:
            run.choose("gamma", schedule.gamma, f"{formula}; not tried out: {less}")
        else:
            total = len(probe.FACTORS) * probe.steps_of(schedule)
            found = probe.trials(
                state, data, schedule, recipe, folder, stop=stop, measure=measure,
                on_step=lambda n: progress({"stage": "try gamma", "done": n, "total": total, "figures": {}}),
            )  # fmt: skip
            told = {f"{f:g}": {k: v[k] for k in ("fid", "recall")} for f, v in found.items()}
            run.choose("gamma_trials", told, f"{total // len(probe.FACTORS)} steps each, at these times the formula's")
            run.choose("gamma_factor", probe.best(found), "the lowest distance a recall, if lower by a tenth")
            run.choose(
                "gamma", probe.best(found) * schedule.gamma, f"{formula}, times the gamma_factor that trials found"
            )
    factor = chosen(run, "gamma_factor")
    if factor is not None and checkpoint.find(folder, "last") is None and ranks.is_first():
        checkpoint.point(folder, "last", probe.place_of(folder, factor))
    return float(chosen(run, "gamma"))


def end(run: Run, state: State, schedule: Schedule) -> str:
    """Write down where the run ended and why; a sentence if that was early."""
    if state.step == schedule.steps:
        run.choose("last_step", state.step, "the whole budget", anew=True)
        return ""
    why = (
        f"neither held-out distance nor recall has improved since step {state.improved_at}: {schedule.patience} ticks of "
        f"{schedule.tick_steps} steps"
    )
    run.choose("last_step", state.step, why, anew=True)
    text = f"ended at step {state.step} of {schedule.steps}: {why}"
    run.log(text)
    return text


def kept(run: Run, best: Path) -> str:
    """Write down whose weights the run's GAN has, and why; a sentence on it."""
    state = checkpoint.load_state(best)
    fid = state["best_fid"]
    why = "the last: nothing is held out to choose by" if fid is None else f"the lowest held-out distance, {fid:.3g}"
    run.choose("best_step", state["step"], why, anew=True)
    return f"the weights of step {state['step']} are kept: {why}"


def short(run: Run, steps: int, config: TrainConfig) -> str:
    """A word on a budget that is too short to learn much, and what to do about it."""
    each = run.chosen("step_seconds")
    if config.steps is not None or steps >= FEW_STEPS or each is None:
        return ""
    longer = FEW_STEPS * float(each)
    text = (
        f"{steps} steps are few: expect rough samples. {FEW_STEPS} would take the GAN alone about {longer:.0f} s on this machine as "
        f"busy as it is; give so much more --time, or a smaller --grid"
    )
    run.log(text)
    return text


def seconds_of(fn: Callable[[], Any]) -> float:
    """Wall seconds, a GPU's work included."""
    start = time.perf_counter()
    fn()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start
