"""The compiler: a plan becomes a program of few stages.

Between two local ops, all geometry becomes one matrix and all colour a short list of parts, whatever order they were
written in: geometry first, then colour. So a fused program differs from a chain by design: nothing is cropped or clipped in
between, and the picture is resampled once. ``exact=True`` of `run_cv.apply` is the chain.

One algorithm serves a single plan (no leading axes) and a batch (leading axis N).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from augmint.core.rng import F64
from augmint.core.types import I64
from augmint.transforms import local
from augmint.transforms.colour import Affine, Colour, Part
from augmint.transforms.geometry import Geometry, affine, inverse
from augmint.transforms.op import Bool, Op, Params
from augmint.transforms.plan import OPS, Drawn, Plan

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Move:
    """An exact array move: cut a window of the input out, swap its axes, mirror it. No resampling."""

    top: int
    left: int
    height: int  # of the window, in the input
    width: int
    transpose: bool
    flip_y: bool  # after the swap
    flip_x: bool


@dataclass(frozen=True)
class Warp:
    """One resampling. ``matrix`` ``[..., 3, 3]`` maps input to output positions, from centre to centre, in pixels."""

    matrix: F64
    size: Size
    out_size: Size

    def pixel_inverse(self) -> F64:
        """``[..., 3, 3]`` from output pixel indices (x, y) to input pixel indices."""
        (h, w), (new_h, new_w) = self.size, self.out_size
        to_centre = affine(1.0, 0.0, 0.0, 1.0, -(new_w - 1) / 2, -(new_h - 1) / 2)
        from_centre = affine(1.0, 0.0, 0.0, 1.0, (w - 1) / 2, (h - 1) / 2)
        return from_centre @ inverse(self.matrix) @ to_centre


@dataclass(frozen=True)
class Recolour:
    """Matrices and powers on the colour channels, in order; no two matrices follow each other."""

    parts: tuple[Part, ...]


Stage = Move | Warp | Recolour | local.Stage


@dataclass(frozen=True)
class Program:
    """What an executor runs on a picture of ``size`` (height, width, channels); ``plan`` is where it came from."""

    stages: tuple[Stage, ...]
    size: tuple[int, int, int]
    plan: Plan


@dataclass
class _Run:
    """A fusion run: geometry and colour between two local ops."""

    size: Size
    out_size: Size
    matrix: F64 | None = None
    parts: list[Part] = field(default_factory=list)

    def add(self, op: type[Op], params: Params, active: Bool, k: int) -> None:
        if issubclass(op, Geometry):
            m = np.where(active[..., None, None], op.matrix(params, *self.out_size), np.eye(3))
            self.matrix = m if self.matrix is None else m @ self.matrix
            self.out_size = op.out_size(params, *self.out_size)
            return
        part = cast(type[Colour], op).part(params, k).masked(active)
        last = self.parts[-1] if self.parts else None
        if isinstance(last, Affine) and isinstance(part, Affine):
            self.parts[-1] = last.then(part)
        else:
            self.parts.append(part)

    def stages(self) -> list[Stage]:
        out: list[Stage] = []
        if self.matrix is not None:
            out.append(Warp(self.matrix, self.size, self.out_size))
        return [*out, Recolour(tuple(self.parts))] if self.parts else out


def compile(plan: Plan, size: tuple[int, int, int]) -> Program:
    """The program of one plan for a picture of ``size`` (height, width, channels)."""
    steps = ((OPS[s.op], np.array(True), {k: np.asarray(v) for k, v in s.params.items()}) for s in plan.steps)
    stages = _stages(steps, size[:2], colours(size[2]), np.zeros((), np.int64))
    return Program(tuple(s for stage in stages if (s := _as_move(stage)) is not None), size, plan)


def compile_batch(drawn: Sequence[Drawn], size: Size, channels: int) -> tuple[Stage, ...]:
    """The stages of N samples at once; every array in them has the leading axis N."""
    if not drawn:
        return ()
    steps = ((OPS[d.op], d.active, d.params) for d in drawn)
    return tuple(_stages(steps, size, colours(channels), np.zeros(len(drawn[0].active), np.int64)))


def colours(channels: int) -> int:
    """Colour channels that a matrix may mix: the three of RGB and RGBA; 1 means that all channels are treated alike."""
    return 3 if channels in (3, 4) else 1


def _stages(steps: Iterable[tuple[type[Op], Bool, Params]], size: Size, k: int, slot: I64) -> list[Stage]:
    # ``slot``: the run that a sample has reached, which is the number of the last local op that happens to it. So an op
    # that does not happen to a sample ends no run of it, and a batch fuses each sample as its own plan would be.
    runs = [_Run(size, size)]
    locals_: list[Stage] = []
    for op, active, params in steps:
        if issubclass(op, local.Local):
            here = runs[-1].out_size
            locals_.append(op.stage(params, *here).masked(active))
            runs.append(_Run(here, here))
            slot = np.where(active, len(locals_), slot)
            continue
        for number, run in enumerate(runs):
            mine = active & (slot == number)
            if mine.any():
                run.add(op, params, mine, k)
    out = runs[0].stages()
    for stage, run in zip(locals_, runs[1:], strict=True):
        out += [stage, *run.stages()]
    return out


def _as_move(stage: Stage) -> Stage | None:
    """A warp that only moves whole pixels as the array move that it is, or ``None`` where it changes nothing."""
    if not isinstance(stage, Warp):
        return stage
    m = stage.pixel_inverse()
    whole = np.rint(m)
    (h, w), (new_h, new_w) = stage.size, stage.out_size
    if np.abs(m - whole).max() > 1e-9 or np.any(np.abs(whole[:2, :2]).sum(1) != 1):
        return stage
    ends = whole @ np.array([[0, new_w - 1], [0, new_h - 1], [1, 1]])  # opposite corners of the output, in the input
    (left, right), (top, bottom) = np.sort(ends[0]), np.sort(ends[1])
    if left < 0 or top < 0 or right >= w or bottom >= h:
        return stage
    turned = whole[0, 0] == 0
    x_step, y_step = (whole[1, 0], whole[0, 1]) if turned else (whole[0, 0], whole[1, 1])
    window = (int(top), int(left), int(bottom - top) + 1, int(right - left) + 1)
    move = Move(*window, bool(turned), bool(y_step < 0), bool(x_step < 0))
    return None if move == Move(0, 0, h, w, False, False, False) else move
