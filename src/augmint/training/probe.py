"""Gamma by trial: short runs at a quarter, once and four times the formula's, judged by held-out distance and recall.

The run goes on from the winner's trial, which is bit for bit what a run with that gamma would have done so far: of three
trials one costs nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from augmint.core.errors import Interrupted
from augmint.scale import ranks
from augmint.training import watch
from augmint.training.loop import Data, Figures, Schedule, State, one_step, read
from augmint.transforms.recipe import Recipe

FACTORS = (0.25, 1.0, 4.0)
LEAST_CORE_SECONDS = 1200.0
"""In a shorter budget the trials would cost more than they bring."""
LEAST_HELD_OUT = 100
"""With fewer held-out reals, recall is noise."""
FEWEST_STEPS = 400
"""A shorter trial misleads: a low gamma is ahead at first, and collapses later (research before the project: at 16 x 16, 105 steps
favour 1 over 10, 430 steps the other way round, and so does the end)."""
MOST_STEPS = 2000
MARGIN = 0.9
"""Another gamma must be better than the formula's by a tenth: less is chance."""


def steps_of(schedule: Schedule) -> int:
    """Steps of a trial, a twentieth of the run: before its first tick, so that nothing has been steered."""
    return min(MOST_STEPS, max(FEWEST_STEPS, schedule.steps // 20))


def why_not(schedule: Schedule, core_seconds: float, num_held_out: int) -> str:
    """Why there are no trials, or nothing where they are worth it."""
    if core_seconds <= LEAST_CORE_SECONDS:
        return f"{core_seconds / 60:.0f} core-minutes, trials need more than {LEAST_CORE_SECONDS / 60:.0f}"
    if num_held_out <= LEAST_HELD_OUT:
        return f"{num_held_out} held-out samples, trials need more than {LEAST_HELD_OUT}"
    if steps_of(schedule) >= schedule.steps // schedule.ticks:
        return f"{schedule.steps:,} steps are too few for trials of {FEWEST_STEPS}"
    return ""


def trials(
    state: State,
    data: Data,
    schedule: Schedule,
    recipe: Recipe,
    folder: Path,
    *,
    stop: object,
    measure: Callable[[State], Figures],
    on_step: Callable[[int], None],
) -> dict[float, Figures]:
    """Train one trial for each factor, in ``folder/gamma-{factor}``; what is there already is not trained again.

    Args:
        state: where all of them begin; it is left as it is.
        measure: held-out figures of a state, with ``fid`` and ``recall``.
        on_step: called with the number of steps done in all trials together.

    Returns:
        figures of each factor; none for one that diverged.
    """
    num = steps_of(schedule)
    found: dict[float, Figures] = {}
    for i, factor in enumerate(FACTORS):

        def told(n: int, done: int = i * num) -> None:
            on_step(done + n)

        trial, own = copy.deepcopy(state), replace(schedule, gamma=factor * schedule.gamma)
        trial.lay_out(own)
        if ranks.told((place_of(folder, factor) / "state.json").exists()):
            trial.load(place_of(folder, factor))
        if _run(trial, data, own, recipe, num, place_of(folder, factor), stop, told):
            found[factor] = ranks.told(measure(trial) if ranks.is_first() else {})
    return found


def _run(
    trial: State,
    data: Data,
    schedule: Schedule,
    recipe: Recipe,
    num: int,
    place: Path,
    stop: object,
    on_step: Callable[[int], None],
) -> bool:
    """Train one trial to its end and save it; false if a loss was not a number."""
    while trial.step < num:
        pending = one_step(trial, data, schedule, recipe)
        is_stopped = ranks.any_true(bool(stop))
        if is_stopped or trial.step == num:
            if not watch.is_finite(ranks.averaged(read(pending))):
                return False
            if ranks.is_first():
                trial.save(place, schedule)
            ranks.wait()
        on_step(trial.step)
        if is_stopped:
            raise Interrupted("stopped while trying gamma; the state is saved", mend="run the same command to go on")
    return True


def place_of(folder: Path, factor: float) -> Path:
    """Where a trial is saved."""
    return folder / f"gamma-{factor:g}"


def best(found: Mapping[float, Figures]) -> float:
    """The factor with the lowest distance a recall; the formula's own unless another one is better by a tenth.

    Both count: a distance alone is lowest, for a while, for a generator that has settled on few samples.
    """
    if not found:
        return 1.0
    score = {f: v["fid"] / max(v["recall"], 0.01) for f, v in found.items()}
    winner = min(score, key=lambda f: score[f])
    return winner if 1.0 not in score or score[winner] < MARGIN * score[1.0] else 1.0
