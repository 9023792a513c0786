"""The compiler for sound: a plan becomes a program of few stages.

Between two ops on samples, all that is done to time and pitch becomes one map and all filters and gains one frequency response,
whatever order they were written in: time first, then the response. ``exact=True`` of `run_audio.apply` is the chain.

One algorithm serves a single plan (no leading axes) and a batch (leading axis N).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from augmint.core.rng import F64
from augmint.transforms.op import Bool, Op, Params
from augmint.transforms.plan import SOUNDS, Drawn, Plan, op_alone
from augmint.transforms.signal import Filter, Point, Pointwise, Room
from augmint.transforms.temporal import Temporal, TimeMap


@dataclass(frozen=True)
class Response:
    """Filters in a row, each with its numbers and where it happens."""

    parts: tuple[tuple[type[Filter], Params, Bool], ...]

    def at(self, hz: F64) -> F64:
        """``[..., F]`` factors of amplitude at frequencies ``[F]``."""
        out = np.ones(len(hz))
        for op, params, active in self.parts:
            own = op.response(params, hz)
            out = out * (own if active.ndim == 0 else np.where(active[..., None], own, 1.0))
        return out

    def rooms(self) -> list[Room]:
        """What echoes, in order; where an op does not happen its room has none."""
        found = ((op.room(params), active) for op, params, active in self.parts)
        return [room.masked(active) for room, active in found if room is not None]


Stage = TimeMap | Response | Point


@dataclass
class _Run:
    """Between two ops on samples."""

    times: list[tuple[type[Temporal], Params, Bool]] = field(default_factory=list)
    filters: list[tuple[type[Filter], Params, Bool]] = field(default_factory=list)

    def add(self, op: type[Op], params: Params, active: Bool) -> None:
        if issubclass(op, Temporal):
            self.times.append((op, params, active))
        else:
            self.filters.append((cast(type[Filter], op), params, active))

    def stages(self) -> list[Stage]:
        out: list[Stage] = [TimeMap(tuple(self.times))] if self.times else []
        return [*out, Response(tuple(self.filters))] if self.filters else out


_HAPPENS = np.array(True)


def compile(plan: Plan) -> tuple[Stage, ...]:
    """The program of one plan."""
    steps = ((op, cast(Params, s.params), _HAPPENS) for op, s in plan.ops(SOUNDS))
    return _stages(steps, np.zeros((), np.int64))


def compile_batch(drawn: Sequence[Drawn]) -> tuple[Stage, ...]:
    """The stages of N samples at once; every array in them has the leading axis N, or none."""
    if not drawn:
        return ()
    steps = ((op_alone(d.op, SOUNDS), d.params, d.active) for d in drawn)
    return _stages(steps, np.zeros(len(drawn[0].active), np.int64))


def _stages(
    steps: Iterable[tuple[type[Op], Params, Bool]], slot: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
) -> tuple[Stage, ...]:
    # ``slot``: the run that a sample has reached; an op that does not happen to a sample ends no run of it.
    runs, points = [_Run()], list[Point]()
    for op, params, active in steps:
        if issubclass(op, Pointwise):
            points.append(op.point(params).masked(active))
            runs.append(_Run())
            slot = np.where(active, len(points), slot)
            continue
        for number, run in enumerate(runs):
            mine = active & (slot == number)
            if mine.any():
                run.add(op, params, mine)
    out = runs[0].stages()
    for point, run in zip(points, runs[1:], strict=True):
        out += [point, *run.stages()]
    return tuple(out)
