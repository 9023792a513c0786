"""What a recipe costs: which of its ops become one, what ends a run, and the time of each on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import cv2
import numpy as np

from augmint.core import rng
from augmint.core.rng import U64
from augmint.transforms import run_mix, run_mix_audio
from augmint.transforms.choice import Choice, OneOf, SomeOf
from augmint.transforms.mix import Pool
from augmint.transforms.op import Op
from augmint.transforms.plan import PICTURES, SOUNDS, Plan
from augmint.transforms.recipe import Recipe
from augmint.transforms.run_mix import Scene
from augmint.transforms.run_mix_audio import Heard

SIDE = 512
DRAWS = 12  # plans that a figure is taken over
SECONDS, RATE = 4.0, 16_000


@dataclass(frozen=True)
class _Kind:
    """How recipes for one kind of data are measured and told.

    Args:
        joins: families whose ops become one in a run, and what that is, in the order in which they are computed.
        ends: why an op of another family ends a run.
    """

    thing: str
    joins: Mapping[str, str]
    ends: Mapping[str, str]
    run: Callable[[Plan, Any], Any]


_KINDS = {
    PICTURES: _Kind(
        "picture",
        {"geometry": "one warp", "colour": "one colour pass"},
        {"local": "looks at places or neighbours", "mixing": "needs other pictures"},
        lambda plan, scene: run_mix.apply(plan, scene, lambda _: scene),
    ),
    SOUNDS: _Kind(
        "sound",
        {"time": "one stretch and one resampling", "response": "one frequency response"},
        {"samples": "works on samples", "mixing": "needs other sounds"},
        lambda plan, sound: run_mix_audio.apply(plan, sound, lambda _: sound),
    ),
}
_POOL = Pool("0123", lambda folder: ["0"])


@dataclass(frozen=True)
class Cost:
    """One op of a recipe: ``stage`` numbers what is computed together, ``us`` is its time alone in microseconds."""

    op: str
    family: str
    p: float
    choice: str
    stage: int
    us: float


@dataclass(frozen=True)
class Explanation:
    """A recipe's ops in the stages that they are computed in.

    Attributes:
        fused_us: time of each stage, with all its ops, in microseconds.
        plan_us, picture_us, chain_us: mean time of drawing a plan; of a picture, as often as the ops happen; and of the same with one op
            at a time.
    """

    recipe: Recipe
    side: int
    costs: tuple[Cost, ...]
    fused_us: tuple[float, ...]
    plan_us: float
    picture_us: float
    chain_us: float

    @property
    def summary(self) -> list[str]:
        """Lines for a terminal."""
        r, ms, kind = self.recipe, 1e-3, _KINDS[self.recipe.kind]
        is_sound = r.kind == SOUNDS
        ways = f"quality {r.quality}" if is_sound else f"border {r.border}, interp {r.interp}"
        what = f"{SECONDS:g} s at {RATE:,} Hz" if is_sound else f"{self.side} x {self.side} RGB"
        lines = [
            f"recipe {r.name}: {len(self.costs)} ops in {len(self.fused_us)} stages, {ways}",
            f"milliseconds on this machine, one thread, {what}, {DRAWS} draws; each op as if it always happened",
            f"{'':4}{'op':24}{'family':10}{'p':>6}{'alone':>9}",
        ]
        for stage, costs in _stages(self.costs):
            lines += self._stage(stage, costs, kind)
        times = (self.chain_us * ms, self.picture_us * ms, self.chain_us / self.picture_us)
        lines.append(
            f"a {kind.thing}, its ops as often as they happen: "
            + "{:.2f} ms op by op, {:.2f} ms fused ({:.1f} times as fast)".format(*times)
        )
        return [*lines, f"drawing its plan: {self.plan_us * ms:.2f} ms"]

    def _stage(self, stage: int, costs: list[Cost], kind: _Kind) -> Iterator[str]:
        joins = kind.joins.get(costs[0].family)
        for i, c in enumerate(costs):
            head = f"{stage + 1:<4}" if i == 0 else " " * 4
            yield f"{head}{c.op:24}{c.family:10}{c.p:6.3g}{c.us / 1e3:9.2f}" + (f"  {c.choice}" if c.choice else "")
        if joins and len(costs) > 1 and not any(c.choice.startswith("one of") for c in costs):
            yield f"    {'= ' + joins:40}{self.fused_us[stage] / 1e3:9.2f}"
        elif not joins:
            yield f"    ends the run: it {kind.ends[costs[0].family]}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        stages = [
            {
                "ops": [vars(c) for c in costs],
                "us": self.fused_us[n],
                "ends_run": costs[0].family not in _KINDS[self.recipe.kind].joins,
            }
            for n, costs in _stages(self.costs)
        ]
        totals = {"plan_us": self.plan_us, "picture_us": self.picture_us, "chain_us": self.chain_us}
        size = {"seconds": SECONDS} if self.recipe.kind == SOUNDS else {"side_px": self.side}
        return {"recipe": self.recipe.to_dict(), **size, "stages": stages, **totals}


def explain(recipe: Recipe, *, side: int = SIDE) -> Explanation:
    """Measure a recipe on a noisy picture of ``side`` x ``side`` pixels, or on 4 s of sound; it takes seconds at most."""
    ops = [replace(op, p=1.0, id=i) for op, i in zip(recipe.flat, recipe.ids, strict=True)]
    keys = np.array([rng.key("explain", i) for i in range(DRAWS)], np.uint64)
    kind = _KINDS[recipe.kind]
    sample = _sound() if recipe.kind == SOUNDS else Scene(_picture(side), labels={"": 1.0})
    numbers = _numbered(ops, list(kind.joins))
    costs = tuple(
        Cost(op.name, op.family, own.p, choice, number, _time(recipe, (op,), keys, sample))
        for op, own, choice, number in zip(ops, recipe.flat, _choices(recipe), numbers, strict=True)
    )
    fused = tuple(
        _time(recipe, tuple(op for op, number in zip(ops, numbers, strict=True) if number == stage), keys, sample)
        for stage in sorted(set(numbers))
    )
    plans = [_plan(recipe, int(k)) for k in keys]
    return Explanation(
        recipe,
        side,
        costs,
        fused,
        float(np.mean(_times(lambda k: _plan(recipe, int(k)), keys))),
        float(np.mean(_times(lambda plan: kind.run(plan, sample), plans))),
        float(np.mean(_times(lambda plan: _op_by_op(kind, plan, sample), plans))),
    )


def _stages(costs: tuple[Cost, ...]) -> Iterator[tuple[int, list[Cost]]]:
    """The costs of each stage, geometry of a run before its colour, as they are computed."""
    ordered = sorted(costs, key=lambda c: c.stage)
    return ((stage, list(group)) for stage, group in groupby(ordered, key=lambda c: c.stage))


def _numbered(ops: list[Op], joining: list[str]) -> list[int]:
    """The stage of each op: in a run all of one family that joins is one, and all of the next one the next."""
    kinds: dict[tuple[int, int], int] = {}
    run, places = 0, []
    for op in ops:
        if op.family in joining:
            places.append((run, joining.index(op.family)))
        else:
            places.append((run, len(joining)))
            run += 1
    for place in sorted(places):
        kinds.setdefault(place, len(kinds))
    return [kinds[place] for place in places]


def _choices(recipe: Recipe) -> Iterator[str]:
    """For each op, the choice that it stands in."""
    for entry in recipe.ops:
        if not isinstance(entry, Choice):
            yield ""
            continue
        few = {OneOf: f"one of {len(entry.ops)}", SomeOf: f"{entry.num_chosen} of {len(entry.ops)}"}
        yield from [few.get(type(entry), "all or none") + f", p {entry.p:.3g}"] * len(entry.ops)


def _picture(side: int) -> Any:
    """Grain on slow waves: JPEG, medians and histograms have something to do."""
    y, x = np.mgrid[:side, :side] / side
    waves = [127 + 80 * np.sin(9 * (a * x + b * y)) for a, b in ((1, 0), (0, 1), (1, 1))]
    grain = 20 * rng.normal(1, np.arange(side * side * 3)).reshape(side, side, 3)
    return np.clip(np.stack(waves, -1) + grain, 0, 255).astype(np.uint8)


def _sound() -> Heard:
    """A buzz at 120 Hz and some noise: there is something to search for, to clip and to compress."""
    times = np.arange(round(SECONDS * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * 120 * k * times + k * k) / k for k in range(1, 30))
    grain = 0.1 * rng.normal(1, np.arange(len(times)))
    return Heard((0.1 * (buzz + grain)).astype(np.float32)[:, None], RATE, {"": 1.0})


def _plan(recipe: Recipe, key: int) -> Plan:
    return recipe.plan_of(key, own="0", pool=_POOL)


def _op_by_op(kind: _Kind, plan: Plan, sample: Any) -> Any:
    for step in plan.steps:
        sample = kind.run(replace(plan, steps=(step,)), sample)
    return sample


def _time(recipe: Recipe, ops: tuple[Op, ...], keys: U64, sample: Any) -> float:
    own, run = replace(recipe, ops=ops), _KINDS[recipe.kind].run
    return float(np.median(_times(lambda plan: run(plan, sample), [_plan(own, int(k)) for k in keys])))


def _times(fn: Callable[[Any], Any], things: Sequence[Any] | U64) -> list[float]:
    """Microseconds of one thread's CPU time that ``fn`` takes of each thing; the better of two."""
    taken, threads = [], cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for thing in things:
            twice = []
            for _ in range(2):
                start = time.thread_time()
                fn(thing)
                twice.append(time.thread_time() - start)
            taken.append(1e6 * min(twice))
    finally:
        cv2.setNumThreads(threads)
    return taken
