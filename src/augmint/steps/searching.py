"""Which recipe suits a data set: presets and strengths tried with small probes, inside the training part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import yaml

from augmint.core.errors import UserError
from augmint.core.types import Dataset, Modality
from augmint.data.leaks import groups
from augmint.data.split import assign
from augmint.evaluation.arms import Arm, Task
from augmint.evaluation.lift import run, seconds_per_step
from augmint.evaluation.paired import Effect, Resamples
from augmint.scale.pool import cores, ordered_map
from augmint.steps.results import Progress
from augmint.transforms.recipe import PRESETS, Recipe, rand

FOLDS, SEEDS = 3, 5
FEWEST_STEPS, STEPS = 60, 400
NONE = "none"
_NAMES = ("light", "medium", "strong", "trivial", "rand", "ada")
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
    them is). A test or val part is not looked at.

    Args:
        data: the training part.
        seconds: time to spend; it becomes a number of steps before anything is trained.

    Raises:
        UserError: if there are no two classes with three labelled samples each.
    """
    data = data.usable()
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
    steps = _affordable(tasks[0], candidates, seconds, workers, len(tasks))
    units = [unit for task in tasks for unit in _units(task, candidates, seed, steps)]
    right: dict[str, list[Any]] = {}
    made = ordered_map(_right, units, workers=workers, name=lambda u: u.name, stop=stop)
    for done, (unit, found) in enumerate(zip(units, made, strict=True), 1):
        right.setdefault(unit.name, []).append(found)
        progress({"stage": "search", "done": done, "total": len(units)})
    table = {name: np.concatenate(parts, axis=1) for name, parts in right.items()}
    draws = Resamples(np.concatenate([t.test_y for t in tasks]), SEEDS, seed=seed)
    tried = [
        Tried(r.name, 100 * float(table[r.name].mean()), draws.effect(table[r.name], table[NONE])) for r in candidates
    ]
    tried.sort(key=lambda t: -t.accuracy)
    best = next(r for r in candidates if r.name == tried[0].name)
    base = 100 * float(table[NONE].mean())
    return Search(best, tuple(tried), tuple(_told(tried, base, len(draws.groups), len(tasks), steps)))


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


def _affordable(task: Task, candidates: Sequence[Recipe], seconds: float, workers: int, folds: int) -> int:
    each = float(np.mean([seconds_per_step(replace(task, recipe=r), seeds=SEEDS) for r in candidates]))
    share = min(workers or cores(), cores())
    return int(np.clip(seconds * share / (each * folds * (1 + len(candidates))), FEWEST_STEPS, STEPS))


def _told(tried: Sequence[Tried], base: float, num: int, folds: int, steps: int) -> list[str]:
    of = f"{folds} inner folds" if folds > 1 else "an inner test part"
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
    lines.append(
        f"{best.name} is taken: the best of {len(tried)}, {sure}; as the best of several it looks a little better than it is"
    )
    return lines
