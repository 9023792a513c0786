"""What a run works out before it trains, once: threads, steps, gamma; and afterwards, where it ended. Each with its reason."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from augmint.core.config import TrainConfig
from augmint.core.run import Run
from augmint.core.types import F32
from augmint.models.verifier import Judge
from augmint.scale import ranks
from augmint.scale.pool import cores
from augmint.training import checkpoint, probe
from augmint.training.loop import Data, Figures, Schedule, State, one_step
from augmint.transforms.recipe import Recipe

FEWEST_STEPS = 200
"""With fewer, nothing is learned and no verdict would mean anything: a budget that is too short is exceeded, and told."""
FEW_STEPS = 600
"""With fewer, pictures are still blots on most data: told, with what would help."""
PROBED_CELLS = 2**18
"""What the number of threads is tried on: 32 samples of up to 90 x 90 cells, fewer of larger ones."""
FASTER = 1.25
"""So many times as fast must a step in bfloat16 be, for it rounds to three digits."""
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


def precision(run: Run, config: TrainConfig, state: State, data: Data, schedule: Schedule) -> str:
    """As set, or bfloat16 where a step is a good deal faster with it (a CPU without products of its own for it is slower).

    Convolutions in bfloat16 are quickest with the channels last, so the weights are laid out so.
    """
    if config.precision != "auto":
        run.choose("precision", config.precision, "as set")
    elif run.chosen("precision") is None:
        run.choose("precision", *best_precision(state, data, schedule))
    found = str(chosen(run, "precision"))
    lay_out(state, found)
    return found


def best_precision(state: State, data: Data, schedule: Schedule) -> tuple[str, str]:
    """The quicker one and its reason, from three steps of each on copies."""
    times = {name: _seconds_in(name, state, data, schedule) for name in ("fp32", "bf16")}
    told = ", ".join(f"{1000 * t:.0f} ms in {name}" for name, t in times.items())
    best = "bf16" if FASTER * times["bf16"] < times["fp32"] else "fp32"
    return best, f"a step without penalties took {told}; bf16 must be {FASTER} times as fast"


def _seconds_in(name: str, state: State, data: Data, schedule: Schedule) -> float:
    trial, long = copy.deepcopy(state), replace(schedule, steps=1000, gamma=0.0, precision=name)
    lay_out(trial, name)
    return min(seconds_of(lambda: one_step(trial, data, long, Recipe("none", ()))) for _ in range(3))


def lay_out(state: State, name: str) -> None:
    """The weights as convolutions of this precision like them; no number changes."""
    if name == "bf16":
        for net in (state.generator, state.verifier, state.ema):
            for weight in net.parameters():
                if weight.dim() == 4:
                    weight.data = weight.data.contiguous(memory_format=torch.channels_last)


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
        # The most that was of use here; past it a small set is only learned by heart.
        cap = max(500, 60 * len(data.x) // schedule.batch * 10)
        num = int(min(cap, max(FEWEST_STEPS, 0.92 * seconds / per_step)))
        why = f"{seconds:.0f} s at {1000 * per_step:.0f} ms a step, {FEWEST_STEPS} to {cap:,}"
    run.choose("steps", num, why, anew=True)
    return int(chosen(run, "steps"))


def seconds_per_step(state: State, data: Data, schedule: Schedule) -> float:
    """Seconds of a step on this machine as it is now, penalties with their share; measured on a copy."""
    trial, long = copy.deepcopy(state), replace(schedule, steps=1000)
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
    folder, formula = run / "checkpoints", "0.375 x cells of the grid / batch"
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
    start = time.perf_counter()
    fn()
    return time.perf_counter() - start
