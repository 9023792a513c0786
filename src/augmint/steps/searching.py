"""Which recipe suits a data set: presets and strengths tried with small probes, inside the training part."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import yaml

from augmint.core.errors import UserError
from augmint.core.machine import cores
from augmint.core.types import Dataset, Modality
from augmint.data.leaks import groups
from augmint.data.split import assign
from augmint.evaluation.arms import Arm, Task
from augmint.evaluation.lift import run, seconds_per_step
from augmint.evaluation.paired import Effect, Resamples
from augmint.scale.pool import ordered_map
from augmint.steps.results import Progress
from augmint.transforms.recipe import PRESETS, Recipe, rand

FOLDS, SEEDS = 3, 5
FEWEST_STEPS, STEPS = 60, 400
NONE = "none"
_NAMES = ("light", "medium", "strong", "trivial", "rand", "ada")
DEFAULT = "medium"
LATE = 1.25
"""Times the time that was given: a fold that would end later is not begun."""
_CANDIDATES = (*(PRESETS[name] for name in _NAMES), rand(0.3), rand(1.0))


@dataclass(frozen=True)
class Tried:
    """One candidate: accuracy in percent over the inner folds, and against none."""

    name: str
    accuracy: float
    effect: Effect


@dataclass(frozen=True)
class Search:
    """What was tried, the best first, and the best recipe."""

    recipe: Recipe
    tried: tuple[Tried, ...]
    lines: tuple[str, ...]

    def yaml(self) -> str:
        """The recipe as a recipe file, with what was tried as a comment."""
        text: str = yaml.safe_dump(self.recipe.to_dict(), sort_keys=False)
        return "".join(f"# {line}\n" for line in self.lines) + text


@dataclass(frozen=True)
class _Unit:
    name: str
    task: Task
    arm: Arm
    seed: int
    steps: int


def search(data: Dataset, *, seed: int, seconds: float, workers: int, stop: object, progress: Progress) -> Search:
    """Train the same probes on the same samples with each candidate and with none.

    Every training sample is tested once, by probes that did not see it nor its near-duplicates (from 1,000 samples on, a fifth of
    them is), or a third of them where the time is up sooner. A test or val part is not looked at.

    Args:
        data: the training part.
        seconds: time to spend; it becomes a number of steps before anything is trained. Where the machine turns out to be slower, whole
            folds are left out; one is always tried.

    Raises:
        UserError: if there are no two classes with three labelled samples each.
    """
    begun, data = time.perf_counter(), data.usable()
    labelled = data.subset(np.flatnonzero(data.labels >= 0))
    if len(labelled.classes) < 2 or min(labelled.counts.values()) < FOLDS:
        raise UserError(
            f"choosing a recipe takes two classes of {FOLDS} labelled samples or more",
            where=data.root,
            mend="leave --search out and give --recipe; augmint preview shows what each does",
        )
    codec = labelled.modality.fit(labelled)
    x, y = labelled.encode(codec), labelled.labels
    split = assign(y, [None] * len(y), groups(x), seed=seed, held_out_frac=0.0, folds=FOLDS)
    candidates = [r.on(codec) for c in _candidates(labelled.modality) if (r := c.only(labelled.modality.ops)).ops]
    tasks = [Task(x[f.fit], y[f.fit], x[f.test], y[f.test], len(labelled.classes)) for f in split.folds]
    steps, expected = _affordable(tasks[0], candidates, seconds, workers, len(tasks))
    each = 1 + len(candidates)
    told = f"{len(candidates)} recipes and none, {len(tasks)} folds, {SEEDS} probes of {steps} steps each"
    progress({"stage": "search", "note": f"{told}: about {expected:.0f} s, more where others use this machine"})
    right: dict[str, list[Any]] = {}
    given, done = list[_Unit](), 0

    def in_time() -> Iterator[_Unit]:
        for fold, task in enumerate(tasks):
            if fold and done and (time.perf_counter() - begun) / done * each * (fold + 1) > LATE * seconds:
                return
            for unit in _units(task, candidates, seed, steps):
                given.append(unit)
                yield unit

    for found in ordered_map(_right, in_time(), workers=workers, name=lambda u: u.name, stop=stop):
        right.setdefault(given[done].name, []).append(found)
        done += 1
        progress({"stage": "search", "done": done, "total": each * len(tasks)})
    all_folds, tasks = len(tasks), tasks[: done // each]
    table = {name: np.concatenate(parts, axis=1) for name, parts in right.items()}
    draws = Resamples(np.concatenate([t.test_y for t in tasks]), SEEDS, seed=seed)
    tried = [
        Tried(r.name, 100 * float(table[r.name].mean()), draws.effect(table[r.name], table[NONE])) for r in candidates
    ]
    tried.sort(key=lambda t: (-t.accuracy, t.name != DEFAULT))
    best = next(r for r in candidates if r.name == tried[0].name)
    base = 100 * float(table[NONE].mean())
    return Search(best, tuple(tried), tuple(_told(tried, base, len(draws.groups), len(tasks), all_folds, steps)))


def _candidates(modality: Modality) -> Sequence[Recipe]:
    """What is tried: of the kind of data's own presets, where it has any."""
    own: Mapping[str, Recipe] | None = getattr(modality, "presets", None)
    return _CANDIDATES if own is None else [own[name] for name in _NAMES if name in own]


def _units(task: Task, candidates: Sequence[Recipe], seed: int, steps: int) -> list[_Unit]:
    bare = _Unit(NONE, task, Arm("real", "", "base", augmented=False), seed, steps)
    classic = Arm("classic", "", "classic")
    return [bare, *(_Unit(r.name, replace(task, recipe=r), classic, seed, steps) for r in candidates)]


def _right(unit: _Unit) -> Any:
    """``[S, N]``: which test samples each probe names rightly."""
    (found,) = run(unit.task, [unit.arm], seeds=SEEDS, seed=unit.seed, steps=unit.steps).values()
    return found == unit.task.test_y


def _affordable(
    task: Task, candidates: Sequence[Recipe], seconds: float, workers: int, folds: int
) -> tuple[int, float]:
    """Steps of each probe, and the seconds that all of them will take."""
    each = float(np.mean([seconds_per_step(replace(task, recipe=r), seeds=SEEDS) for r in candidates]))
    share = min(workers or cores(), cores())
    per_step = each * folds * (1 + len(candidates)) / share
    steps = int(np.clip(seconds / per_step, FEWEST_STEPS, STEPS))
    return steps, steps * per_step


def _told(tried: Sequence[Tried], base: float, num: int, folds: int, all_folds: int, steps: int) -> list[str]:
    of = f"{folds} inner folds" if folds > 1 else "an inner test part"
    of += (
        f" (the time was up before the other {all_folds - folds}: a longer --time tells more)"
        if folds < all_folds
        else ""
    )
    lines = [
        f"recipes tried on {num} samples of {of}, {SEEDS} probes of {steps} steps each; the test part was not looked at"
    ]
    for t in tried:
        low, high = t.effect.ci95
        lines.append(
            f"  {t.name:9} {t.accuracy:5.1f} %   against none {t.effect.effect:+.1f} [{low:+.1f}, {high:+.1f}]"
        )
    best = tried[0]
    sure = "better than none" if best.effect.ci95[0] > 0 else "not shown to be better than none"
    lines.append(f"  {NONE:9} {base:5.1f} %")
    level = [t for t in tried if t.accuracy == best.accuracy]
    if len(level) > 1:
        why = f"{len(level)} of {len(tried)} do equally well, so these samples do not tell them apart; {sure}"
    else:
        why = f"the best of {len(tried)}, {sure}; as the best of several it looks a little better than it is"
    lines.append(f"{best.name} is taken: {why}")
    return lines
