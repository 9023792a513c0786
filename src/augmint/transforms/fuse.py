"""The compiler: a plan becomes a program of few stages.

Between two local ops, all geometry becomes one matrix and all colour a short list of parts, whatever order they were
written in: geometry first, then colour. So a fused program differs from a chain by design: nothing is cropped or clipped in
between, and the picture is resampled once. ``exact=True`` of `run_cv.apply` is the chain.

One algorithm serves a single plan (no leading axes) and a batch (leading axis N).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from augmint.core.errors import UserError
from augmint.core.rng import F64
from augmint.core.types import I64
from augmint.transforms import local
from augmint.transforms.bending import Bending, Field
from augmint.transforms.colour import Affine, Colour, Part
from augmint.transforms.geometry import Geometry, Matrix, Six, affine, as_array, inverse, moved, product
from augmint.transforms.op import Bool, Op, Params
from augmint.transforms.pixels import Picture, PixelOp
from augmint.transforms.plan import PICTURES, Drawn, Plan, op_alone

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

    @property
    def out_size(self) -> Size:
        return (self.width, self.height) if self.transpose else (self.height, self.width)


_SINGLE: I64 = np.array([1, 1])


@dataclass(frozen=True)
class Bend:
    """A field of displacement, and the matrix ``[..., 3, 3]`` that comes after it."""

    field: Field
    matrix: F64


@dataclass(frozen=True)
class Warp:
    """One resampling. ``matrix`` ``[..., 3, 3]``, of which ``moving`` may be the numbers, maps input to output positions, from centre
    to centre, in pixels; the fields, each with a matrix of its own, come after it."""

    moving: Matrix
    size: Size
    out_size: Size
    bends: tuple[Bend, ...] = ()

    @cached_property
    def matrix(self) -> F64:
        return as_array(self.moving)

    def pixel_inverse(self, cells: tuple[int, int] = (1, 1)) -> F64:
        """``[..., 3, 3]`` from output pixel indices (x, y) to input pixel indices, or to those of ``cells`` (y, x) of pixels.

        Without the fields.
        """
        if self.six is not None:
            if cells == (1, 1):
                return as_array(self.six)
            (high, wide), (a, b, x, c, d, y) = cells, self.six
            return affine(a / wide, b / wide, c / high, d / high, (x + 0.5) / wide - 0.5, (y + 0.5) / high - 0.5)
        new_h, new_w = self.out_size
        to_centre = affine(1.0, 0.0, 0.0, 1.0, -(new_w - 1) / 2, -(new_h - 1) / 2)
        return self.from_centre(cells) @ self.back @ to_centre

    @cached_property
    def six(self) -> Six | None:
        """The numbers of ``pixel_inverse()``, where ``moving`` is numbers."""
        m = self.moving
        if not isinstance(m, tuple):
            return None
        a, b, tx, c, d, ty = m
        det = a * d - b * c
        if det == 0:
            return None
        (high, wide), (new_high, new_wide) = self.size, self.out_size
        a, b, c, d = d / det, -b / det, -c / det, a / det
        x, y = tx + (new_wide - 1) / 2, ty + (new_high - 1) / 2
        return a, b, (wide - 1) / 2 - a * x - b * y, c, d, (high - 1) / 2 - c * x - d * y

    @property
    def shrinks(self) -> bool:
        """Whether one picture's cells of pixels are averaged before they are sampled."""
        cells = self.cells()
        return cells is not _SINGLE and bool(cells.max() > 1)

    def from_centre(self, cells: tuple[int, int] = (1, 1)) -> F64:
        """``[3, 3]`` from positions in the input, measured from its centre, to indices of ``cells`` (y, x) of its pixels."""
        (h, w), (high, wide) = self.size, cells
        return affine(1 / wide, 0.0, 0.0, 1 / high, w / wide / 2 - 0.5, h / high / 2 - 0.5)

    @cached_property
    def back(self) -> F64:
        """The inverse of ``matrix``."""
        return inverse(self.matrix)

    def rows(self, index: I64) -> Warp:
        """The same for some samples of a batch."""
        bends = tuple(Bend(replace(b.field, nodes=b.field.nodes[index]), b.matrix[index]) for b in self.bends)
        return replace(self, moving=self.matrix[index], bends=bends)

    def is_still(self, cells: I64, size: Size) -> bool:
        """Whether one picture's cells of pixels, of ``size`` in all, are the output already."""
        if size != self.out_size:
            return False
        return bool(np.abs(self.pixel_inverse((int(cells[0]), int(cells[1]))) - np.eye(3)).max() < 1e-9)

    def is_inside(self) -> Bool:
        """``[...]``: whether the output shows nothing from beyond the input's outer edges."""
        if self.bends:
            return np.zeros(self.matrix.shape[:-2], np.bool_)
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
        at = moved(self.back, corners * self.out_size[::-1])
        return np.asarray((np.abs(at) <= np.array(self.size[::-1]) / 2 + 1e-6).all((-1, -2)))

    def cells(self) -> I64:
        """``[..., 2]``: rows and columns of input pixels that one output pixel stands for, where that is 2 or more, else 1.

        They are averaged before the picture is sampled: sampling alone would skip pixels. Measured in the picture's middle.
        """
        if not self.bends and self.six is not None:
            a, b, _, c, d, _ = self.six
            if min(a, b, c, d) > -1.4 and max(a, b, c, d) < 1.4:
                return _SINGLE
            spans = zip((math.hypot(c, d), math.hypot(a, b)), self.size, strict=True)
            return np.array([min(max(1, math.floor(span + 1e-9)), side) for span, side in spans])
        m = self.back
        for bend in self.bends:
            m = m @ inverse(bend.matrix)
        slope = m[..., :2, :2] - m[..., :2, 2:] * m[..., 2:, :2]
        span = np.hypot(slope[..., 0], slope[..., 1])[..., ::-1]  # y, x
        out: I64 = np.clip(np.floor(span + 1e-9), 1, self.size).astype(np.int64)
        return out


@dataclass(frozen=True)
class Recolour:
    """Matrices and powers on the colour channels, in order; no two matrices follow each other."""

    parts: tuple[Part, ...]


Stage = Move | Warp | Recolour | local.Stage | Picture


@dataclass(frozen=True)
class Program:
    """What an executor runs on a picture of ``size`` (height, width, channels); ``plan`` is where it came from."""

    stages: tuple[Stage, ...]
    size: tuple[int, int, int]
    plan: Plan

    @property
    def out_size(self) -> Size:
        """Height and width afterwards."""
        moving = [s.out_size for s in self.stages if isinstance(s, Move | Warp)]
        return moving[-1] if moving else self.size[:2]


@dataclass
class _Run:
    """A fusion run: geometry and colour between two local ops."""

    size: Size
    out_size: Size
    matrix: Matrix | None = None
    bends: list[Bend] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    def add(self, op: type[Geometry | Colour], params: Params, k: int, active: Bool | None = None) -> None:
        """``active`` ``[N]``: to which samples of a batch it happens."""
        if issubclass(op, Geometry):
            self._move(op, params, active)
            return
        part = op.part(params, k)
        if active is not None:
            part = part.masked(active)
        last = self.parts[-1] if self.parts else None
        if isinstance(last, Affine) and isinstance(part, Affine):
            self.parts[-1] = last.then(part)
        else:
            self.parts.append(part)

    def _move(self, op: type[Geometry], params: Params, active: Bool | None) -> None:
        m = op.matrix(params, *self.out_size)
        if active is not None:
            m = np.where(active[..., None, None], as_array(m), np.eye(3))
        if issubclass(op, Bending):
            still = np.broadcast_to(np.eye(3), as_array(m).shape)
            self.matrix = still if self.matrix is None else self.matrix
            field = op.bend(params, *self.out_size)
            self.bends.append(Bend(field if active is None else field.masked(active), still))
            return
        if self.bends:
            self.bends[-1] = Bend(self.bends[-1].field, as_array(m) @ self.bends[-1].matrix)
        else:
            self.matrix = m if self.matrix is None else product(m, self.matrix)
        if op.resizes:
            self.out_size = self._new_size(op, params, active)

    def _new_size(self, op: type[Geometry], params: Params, active: Bool | None) -> Size:
        if active is None:
            return op.out_size(params, *self.out_size)
        size = op.out_size({k: v[active] for k, v in params.items()}, *self.out_size)
        if size != self.out_size and not active.all():
            raise UserError(
                f"{op.__name__} happens to some pictures of a batch only, and would make them of another size",
                mend="set its p to 1, or use the recipe on files",
            )
        return size

    def stages(self) -> list[Stage]:
        out: list[Stage] = []
        if self.matrix is not None:
            out.append(Warp(self.matrix, self.size, self.out_size, tuple(self.bends)))
        return [*out, Recolour(tuple(self.parts))] if self.parts else out


def compile(plan: Plan, size: tuple[int, int, int]) -> Program:
    """The program of one plan for a picture of ``size`` (height, width, channels)."""
    height, width, channels = size
    k, run = colours(channels), _Run((height, width), (height, width))
    stages: list[Stage] = []
    for op, step in plan.ops(PICTURES):
        params: Params = step.params  # type: ignore[assignment]
        if issubclass(op, (Geometry, Colour)):
            run.add(op, params, k)
            continue
        here = run.out_size
        stages += [*run.stages(), _local(op).stage(params, *here)]
        run = _Run(here, here)
    stages += run.stages()
    return Program(tuple(s for stage in stages if (s := _as_move(stage)) is not None), size, plan)


def _local(op: type[Op]) -> type[local.Local | PixelOp]:
    """What ends a run: all that neither moves nor recolours."""
    assert issubclass(op, (local.Local, PixelOp))
    return op


def compile_batch(drawn: Sequence[Drawn], size: Size, channels: int) -> tuple[Stage, ...]:
    """The stages of N samples at once; every array in them has the leading axis N."""
    if not drawn:
        return ()
    # The run that a sample has reached, which is the number of the last local op that happens to it. So an op that does not
    # happen to a sample ends no run of it, and a batch fuses each sample as its own plan would be.
    reached = np.zeros(len(drawn[0].active), np.int64)
    runs, between, k = [_Run(size, size)], [], colours(channels)
    for d in drawn:
        op = op_alone(d.op)
        if issubclass(op, (Geometry, Colour)):
            for number, run in enumerate(runs):
                mine = d.active & (reached == number)
                if mine.any():
                    run.add(op, d.params, k, mine)
            continue
        here = runs[-1].out_size
        between.append(_local(op).stage(d.params, *here).masked(d.active))
        runs.append(_Run(here, here))
        reached = np.where(d.active, len(between), reached)
    out = runs[0].stages()
    for stage, run in zip(between, runs[1:], strict=True):
        out += [stage, *run.stages()]
    return tuple(out)


def colours(channels: int) -> int:
    """Colour channels that a matrix may mix: the three of RGB and RGBA; 1 means that all channels are treated alike."""
    return 3 if channels in (3, 4) else 1


def _as_move(stage: Stage) -> Stage | None:
    """A warp that only moves whole pixels as the array move that it is, or ``None`` where it changes nothing."""
    if not isinstance(stage, Warp) or stage.bends:
        return stage
    six = stage.six
    if six is None or not all(map(_is_whole, six)):
        return stage
    a, b, x, c, d, y = map(round, six)
    if abs(a) + abs(b) != 1 or abs(c) + abs(d) != 1 or a * d == b * c:
        return stage
    (h, w), (new_h, new_w) = stage.size, stage.out_size
    # Opposite corners of the output, in the input.
    left, right = sorted((x, a * (new_w - 1) + b * (new_h - 1) + x))
    top, bottom = sorted((y, c * (new_w - 1) + d * (new_h - 1) + y))
    if left < 0 or top < 0 or right >= w or bottom >= h:
        return stage
    if a == d == 1 and top == left == 0 and (new_h, new_w) == stage.size:
        return None
    x_step, y_step = (c, b) if a == 0 else (a, d)
    return Move(top, left, bottom - top + 1, right - left + 1, a == 0, y_step < 0, x_step < 0)


def _is_whole(v: float) -> bool:
    return abs(v - round(v)) < 1e-9
