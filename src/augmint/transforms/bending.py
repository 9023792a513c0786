"""Geometry beyond affine matrices: perspective, which is a matrix too, and smooth fields of displacement.

A field says where an output pixel looks in the input: ``source = position + displacement(position)``. It is a sum of products
of a function of y and a function of x, so a whole picture of it is two small matrix products. Every field here is
invertible within its bounds: no fold can show a thing twice.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np

from augmint.core import rng
from augmint.core.rng import F64
from augmint.transforms.geometry import Geometry, affine
from augmint.transforms.op import KEY, Bool, Law, Params, Range, between, number, within

Basis = Literal["spline", "powers"]


def centred(length: int) -> F64:
    """Positions of the pixels of a row or column, from its middle."""
    return np.arange(length, dtype=np.float64) - (length - 1) / 2


@dataclass(frozen=True)
class Field:
    """Displacement at (x, y), in pixels: ``sum_ij Y_i(y) nodes[..., i, j, :] X_j(x)``, for a picture of ``size``.

    ``spline``: uniform cubic B-splines over the picture (free-form deformation, Rueckert et al. 1999, equation 2);
    ``powers``: 1, s, s², s³ of the position over half the diagonal, from the centre. Beyond the edge the value on it holds.
    """

    basis: Basis
    nodes: F64  # [..., rows, columns, 2]: x, y
    size: tuple[int, int]

    def masked(self, active: Bool) -> Field:
        """The same where active, nothing elsewhere."""
        return replace(self, nodes=np.where(active[..., None, None, None], self.nodes, 0.0))

    def weights(self, axis: int, at: F64) -> F64:
        """``[K, nodes]`` of positions ``[K]`` along axis 0 (y) or 1 (x), in pixels from the centre."""
        length, count = self.size[axis], self.nodes.shape[axis - 3]
        at = np.clip(at, -(length - 1) / 2, (length - 1) / 2)
        if self.basis == "powers":
            half = np.hypot(*self.size) / 2
            powers: F64 = (at / half)[:, None] ** np.arange(count)
            return powers
        cells = count - 3
        u = (at / length + 0.5) * cells
        first = np.minimum(np.floor(u).astype(int), cells - 1)
        t = u - first
        out = np.zeros((len(at), count))
        rows = np.arange(len(at))
        for i, w in enumerate(
            ((1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6)
        ):
            out[rows, first + i] = w
        return out

    def rows(self) -> F64:
        """``[H, rows]``: what ``nodes`` is multiplied with from the left for a whole picture."""
        return self.weights(0, centred(self.size[0]))

    def columns(self) -> F64:
        """``[W, columns]``."""
        return self.weights(1, centred(self.size[1]))

    def at(self, points: F64) -> F64:
        """Displacement ``[K, 2]`` at points ``[K, 2]`` (x, y from the centre); for one sample's field."""
        y, x = self.weights(0, points[:, 1]), self.weights(1, points[:, 0])
        out: F64 = np.einsum("ki,ijc,kj->kc", y, self.nodes, x)
        return out

    def forward(self, points: F64) -> F64:
        """Where the field takes points of the input ``[K, 2]``: solves ``q + displacement(q) = point`` by Newton's method."""
        q, step, part = points.copy(), 1e-3, np.ones((len(points), 1))
        miss = self.at(q)
        for _ in range(40):
            if not miss.size or np.abs(miss).max() < 1e-9:
                break
            dx, dy = ((self.at(q + step * e) - self.at(q - step * e)) / (2 * step) for e in np.eye(2))
            jacobian = np.eye(2) + np.stack([dx, dy], -1)
            trial = q - part * np.linalg.solve(jacobian, miss[..., None])[..., 0]
            new = trial + self.at(trial) - points
            # Half the step where a whole one overshoots, as it does across the picture's edge, where the field has a kink.
            is_better = (new**2).sum(1, keepdims=True) < (miss**2).sum(1, keepdims=True)
            q, miss = np.where(is_better, trial, q), np.where(is_better, new, miss)
            part = np.where(is_better, np.minimum(1, 2 * part), part / 2)
        return q


@dataclass(frozen=True, kw_only=True)
class Perspective(Geometry):
    """See the picture from another side: each corner moves on its own.

    ``corner_frac``: the farthest that a corner moves along each axis, as a fraction of the side, within [0, 0.3].
    """

    num_uniforms: ClassVar[int] = 9
    corner_frac: Range = field(default=(0.02, 0.08), metadata=within(0, 0.3))

    def draw(self, u: F64) -> dict[str, F64]:
        far = between(self.corner_frac, u[..., 0])
        return {f"{a}{i}_frac": far * (2 * u[..., 1 + 2 * i + (a == "y")] - 1) for i in range(4) for a in "xy"}

    @staticmethod
    def matrix(params: Params, height: int, width: int) -> F64:
        # From the unit square to a quadrilateral and back: Heckbert 1989, "Fundamentals of texture mapping", section 2.2.3.
        signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        half = np.array([width, height]) / 2
        moved = np.stack([np.stack([params[f"x{i}_frac"], params[f"y{i}_frac"]], -1) for i in range(4)], -2)
        corners = half * (signs + 2 * moved)
        (x0, x1, x2, x3), (y0, y1, y2, y3) = (np.moveaxis(corners[..., a], -1, 0) for a in (0, 1))
        dx1, dx2, sx = x1 - x2, x3 - x2, x0 - x1 + x2 - x3
        dy1, dy2, sy = y1 - y2, y3 - y2, y0 - y1 + y2 - y3
        det = dx1 * dy2 - dx2 * dy1
        g, h = (sx * dy2 - dx2 * sy) / det, (dx1 * sy - sx * dy1) / det
        square = affine(x1 - x0 + g * x1, x3 - x0 + h * x3, y1 - y0 + g * y1, y3 - y0 + h * y3, x0, y0)
        square[..., 2, 0], square[..., 2, 1] = g, h
        out: F64 = square @ affine(1 / width, 0.0, 0.0, 1 / height, 0.5, 0.5)
        return out / out[..., 2:, 2:]


@dataclass(frozen=True, kw_only=True)
class Bending(Geometry):
    """An op with a field instead of a matrix."""

    @staticmethod
    def matrix(params: Params, height: int, width: int) -> F64:
        return affine(1.0, 0.0, 0.0, 1.0)

    @staticmethod
    @abstractmethod
    def bend(params: Params, height: int, width: int) -> Field:
        """The field, from output to input, for a picture of this size."""


@dataclass(frozen=True, kw_only=True)
class ElasticTransform(Bending):
    """Bend smoothly, everywhere in another direction (Simard et al. 2003), by cubic splines over random nodes.

    ``bend_frac``: the farthest that a node moves along each axis, as a fraction of the distance between nodes, within [0, 0.4]
    (below 0.4 nothing folds: Choi and Lee 2000); ``cells``: how many such distances a side has, whole number within [1, 32].
    """

    num_uniforms: ClassVar[int] = 2
    laws: ClassVar[tuple[Law, ...]] = (Law("bend_frac", "bend_frac"), KEY)
    constants: ClassVar[tuple[str, ...]] = ("cells",)
    bend_frac: Range = field(default=(0.1, 0.3), metadata=within(0, 0.4))
    cells: int = field(default=4, metadata=number(1, 32, whole=True))

    @staticmethod
    def bend(params: Params, height: int, width: int) -> Field:
        cells = int(np.max(params["cells"]))
        nodes = (cells + 3) ** 2 * 2
        shift = 2 * rng.uniform(_keys(params)[..., None], np.arange(nodes)) - 1
        shift = shift.reshape(*np.shape(params["key"]), cells + 3, cells + 3, 2)
        return Field("spline", shift * _reach(params, cells, height, width), (height, width))


@dataclass(frozen=True, kw_only=True)
class GridDistortion(Bending):
    """Stretch some columns and rows and squeeze others.

    ``bend_frac``: the farthest that a grid line moves, as a fraction of the distance between lines, within [0, 0.4];
    ``cells``: grid cells a side, whole number within [1, 32].
    """

    num_uniforms: ClassVar[int] = 2
    laws: ClassVar[tuple[Law, ...]] = (Law("bend_frac", "bend_frac"), KEY)
    constants: ClassVar[tuple[str, ...]] = ("cells",)
    bend_frac: Range = field(default=(0.1, 0.3), metadata=within(0, 0.4))
    cells: int = field(default=5, metadata=number(1, 32, whole=True))

    @staticmethod
    def bend(params: Params, height: int, width: int) -> Field:
        cells = int(np.max(params["cells"]))
        lines = 2 * rng.uniform(_keys(params)[..., None], np.arange(2 * (cells + 3))) - 1
        lines = lines.reshape(*np.shape(params["key"]), 2, cells + 3)
        shift = np.stack(np.broadcast_arrays(lines[..., 0, None, :], lines[..., 1, :, None]), -1)
        return Field("spline", shift * _reach(params, cells, height, width), (height, width))


@dataclass(frozen=True, kw_only=True)
class OpticalDistortion(Bending):
    """Bend as a lens does (Brown 1966, first radial term): ``source = position · (1 + k · r²)``, r = 1 in the corners.

    ``k``: above 0 barrel (the corners move inwards), below 0 pincushion, within [-0.3, 1].
    """

    num_uniforms: ClassVar[int] = 1
    laws: ClassVar[tuple[Law, ...]] = (Law("k", "k"),)
    k: Range = field(default=(-0.15, 0.15), metadata=within(-0.3, 1))

    @staticmethod
    def bend(params: Params, height: int, width: int) -> Field:
        nodes = np.zeros((4, 4, 2))
        nodes[0, 3, 0] = nodes[2, 1, 0] = nodes[3, 0, 1] = nodes[1, 2, 1] = np.hypot(height, width) / 2
        return Field("powers", np.asarray(params["k"])[..., None, None, None] * nodes, (height, width))


def _keys(params: Params) -> rng.U64:
    return np.asarray(params["key"]).astype(np.uint64)


def _reach(params: Params, cells: int, height: int, width: int) -> F64:
    """``[..., 1, 1, 2]``: how far a node moves along x and y, in pixels."""
    out: F64 = np.asarray(params["bend_frac"])[..., None, None, None] * (np.array([width, height]) / cells)
    return out
