"""Geometry: every op is one 3×3 matrix, so a run of them is one matrix and one warp.

Conventions, stated once: x grows to the right and y downwards; the centre of pixel (i, j) lies at x = j, y = i; matrices
map input to output positions, *measured from the centre of the picture*, ``((W - 1) / 2, (H - 1) / 2)``, in pixels. Angles
are in degrees and counter-clockwise as seen on the screen.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from augmint.core.errors import UserError
from augmint.core.rng import F64
from augmint.transforms.op import EVEN, Family, Law, Op, Params, Range, within

Six = tuple[float, float, float, float, float, float]
Matrix = F64 | Six
"""``[..., 3, 3]``; or, of one sample, the numbers of the two upper rows of an affine one: a tenth of the time of arrays."""


def planar(a: ArrayLike, b: ArrayLike, c: ArrayLike, d: ArrayLike, tx: ArrayLike = 0.0, ty: ArrayLike = 0.0) -> Matrix:
    """`affine`, of one sample as six numbers."""
    if (
        isinstance(a, float)
        and isinstance(b, float)
        and isinstance(c, float)
        and isinstance(d, float)
        and isinstance(tx, float)
        and isinstance(ty, float)
    ):
        return a, b, tx, c, d, ty
    return affine(a, b, c, d, tx, ty)


def product(after: Matrix, before: Matrix) -> Matrix:
    """Both in one."""
    if isinstance(after, tuple) and isinstance(before, tuple):
        (a, b, tx, c, d, ty), (e, f, ux, g, h, uy) = after, before
        return a * e + b * g, a * f + b * h, a * ux + b * uy + tx, c * e + d * g, c * f + d * h, c * ux + d * uy + ty
    return as_array(after) @ as_array(before)


def as_array(m: Matrix) -> F64:
    """``[..., 3, 3]``."""
    return np.array((m[:3], m[3:], (0.0, 0.0, 1.0))) if isinstance(m, tuple) else m


def cos_sin(degrees: Any) -> tuple[Any, Any]:
    """Cosine and sine of an angle or of an array of them."""
    if isinstance(degrees, float):
        angle = math.radians(degrees)
        return math.cos(angle), math.sin(angle)
    radians = np.deg2rad(degrees)
    return np.cos(radians), np.sin(radians)


def affine(a: ArrayLike, b: ArrayLike, c: ArrayLike, d: ArrayLike, tx: ArrayLike = 0.0, ty: ArrayLike = 0.0) -> F64:
    """``[..., 3, 3]`` with rows (a, b, tx), (c, d, ty), (0, 0, 1), the arguments broadcast against each other."""
    if all(isinstance(v, float) for v in (a, b, c, d, tx, ty)):  # one sample: a tenth of the time
        return np.array([[a, b, tx], [c, d, ty], [0.0, 0.0, 1.0]])
    parts = np.broadcast_arrays(a, b, tx, c, d, ty)
    out = np.zeros((*parts[0].shape, 3, 3))
    out[..., 0, 0], out[..., 0, 1], out[..., 0, 2] = parts[:3]
    out[..., 1, 0], out[..., 1, 1], out[..., 1, 2] = parts[3:]
    out[..., 2, 2] = 1.0
    return out


def inverse(m: F64) -> F64:
    """The inverse of matrices ``[..., 3, 3]``, scaled so that the last number is 1, in closed form (the adjugate)."""
    if m.ndim == 2:
        return np.array(_inverse(*m.ravel().tolist())).reshape(3, 3)
    nine = _inverse(*(m[..., row, column] for row in range(3) for column in range(3)))
    return np.stack(nine, -1).reshape(m.shape)


def _inverse(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any, i: Any) -> list[Any]:
    det = a * e - b * d
    out = [e * i - f * h, c * h - b * i, b * f - c * e]
    out += [f * g - d * i, a * i - c * g, c * d - a * f, d * h - e * g, b * g - a * h, det]
    return [v / det for v in out]


def moved(m: F64, points: F64) -> F64:
    """Where matrices ``[..., 3, 3]`` take points ``[..., K, 2]`` (x, y)."""
    out = points @ np.swapaxes(m[..., :2, :2], -1, -2) + m[..., None, :2, 2]
    w = points @ m[..., 2, :2, None] + m[..., None, 2:, 2]
    result: F64 = out / w
    return result


@dataclass(frozen=True, kw_only=True)
class Geometry(Op):
    """An op that moves pixels: it gives a matrix, and says what becomes of the size."""

    family: ClassVar[Family] = "geometry"

    @staticmethod
    @abstractmethod
    def matrix(params: Params, height: int, width: int) -> Matrix:
        """``[..., 3, 3]`` or its numbers, input to output, from the centre of the input to the centre of the output, in pixels."""

    @staticmethod
    def out_size(params: Params, height: int, width: int) -> tuple[int, int]:
        """Height and width afterwards; of the same picture drawn many times, where ``params`` have an axis.

        Raises:
            UserError: if the pictures of a batch would come out at different sizes.
        """
        return height, width


def one_size(name: str, height: ArrayLike, width: ArrayLike) -> tuple[int, int]:
    """Height and width as whole numbers, from arrays that hold the same size everywhere."""
    if isinstance(height, float) and isinstance(width, float):
        return int(height), int(width)
    height, width = np.unique(np.asarray(height)), np.unique(np.asarray(width))
    if height.size != 1 or width.size != 1:
        raise UserError(
            f"{name} makes pictures of different sizes, which a batch of tensors cannot hold",
            mend="set `resize: true` or a fixed size, or use the recipe on files",
        )
    return int(height[0]), int(width[0])


def window(size: tuple[int, int], out_size: tuple[int, int], y_frac: ArrayLike, x_frac: ArrayLike) -> Matrix:
    """Cut ``out_size`` out of ``size`` in whole pixels, ``0 <= frac < 1`` of the free places from the top left.

    An axis that is too short is centred, and what is missing lies beyond the edge: a crop larger than the picture is a pad.
    """
    shifts = []
    for side, new, frac in zip(size, out_size, (y_frac, x_frac), strict=True):
        free = side - new
        start = np.floor(np.multiply(frac, free + 1)) if free >= 0 else free // 2
        shifts.append(free / 2 - start)
    return planar(1.0, 0.0, 0.0, 1.0, shifts[1], shifts[0])


@dataclass(frozen=True, kw_only=True)
class Rotate(Geometry):
    """Turn about the centre. ``degrees``: counter-clockwise, within [-180, 180]."""

    num_uniforms: ClassVar[int] = 1
    laws: ClassVar[tuple[Law, ...]] = (Law("degrees", "degrees"),)
    degrees: Range = field(default=(-12.0, 12.0), metadata=within(-180, 180))

    @staticmethod
    def matrix(params: Params, height: int, width: int) -> Matrix:
        cos, sin = cos_sin(params["degrees"])
        return planar(cos, sin, -sin, cos)


@dataclass(frozen=True, kw_only=True)
class Translate(Geometry):
    """Shift. ``shift_frac``: fraction of the width (drawn once) and of the height (drawn again); positive is right, down."""

    num_uniforms: ClassVar[int] = 2
    laws: ClassVar[tuple[Law, ...]] = (Law("x_frac", "shift_frac"), Law("y_frac", "shift_frac"))
    shift_frac: Range = field(default=(-0.12, 0.12), metadata=within(-1, 1))

    @staticmethod
    def matrix(params: Params, height: int, width: int) -> Matrix:
        return planar(1.0, 0.0, 0.0, 1.0, params["x_frac"] * width, params["y_frac"] * height)


@dataclass(frozen=True, kw_only=True)
class Scale(Geometry):
    """Enlarge or shrink about the centre. ``factor``: above 1 enlarges; drawn log-uniformly, within [0.1, 10]."""

    num_uniforms: ClassVar[int] = 1
    laws: ClassVar[tuple[Law, ...]] = (Law("factor", "factor", log=True),)
    factor: Range = field(default=(0.88, 1.12), metadata=within(0.1, 10))

    @staticmethod
    def matrix(params: Params, height: int, width: int) -> Matrix:
        return planar(params["factor"], 0.0, 0.0, params["factor"])


@dataclass(frozen=True, kw_only=True)
class Shear(Geometry):
    """Slant about the centre. ``x_degrees``: above 0 the top moves right, as italics lean; ``y_degrees``: above 0 the right
    side moves up. Both within [-45, 45]."""

    num_uniforms: ClassVar[int] = 2
    laws: ClassVar[tuple[Law, ...]] = (Law("x_degrees", "x_degrees"), Law("y_degrees", "y_degrees"))
    x_degrees: Range = field(default=(-8.0, 8.0), metadata=within(-45, 45))
    y_degrees: Range = field(default=(0.0, 0.0), metadata=within(-45, 45))

    @staticmethod
    def matrix(params: Params, height: int, width: int) -> Matrix:
        (cos_x, sin_x), (cos_y, sin_y) = cos_sin(params["x_degrees"]), cos_sin(params["y_degrees"])
        # Both slants read the input position; the area changes by 1 - tan x · tan y, which [-45, 45] keeps at 0 or above.
        return planar(1.0, -sin_x / cos_x, -sin_y / cos_y, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        steepest = max(map(abs, self.x_degrees)) + max(map(abs, self.y_degrees))
        if steepest > 80:
            raise UserError(
                f"Shear: x_degrees and y_degrees together reach {steepest:g} degrees, which flattens the picture",
                mend="keep their sum within 80 degrees",
            )


@dataclass(frozen=True, kw_only=True)
class Affine(Geometry):
    """Scale, shear, turn and shift, in this order: `Scale`, `Shear`, `Rotate` and `Translate` in one op, drawn apart."""

    num_uniforms: ClassVar[int] = 6
    laws: ClassVar[tuple[Law, ...]] = (
        *(Law("factor", "factor", log=True), Law("x_degrees", "x_degrees"), Law("y_degrees", "y_degrees")),
        *(Law("degrees", "degrees"), Law("x_frac", "shift_frac"), Law("y_frac", "shift_frac")),
    )
    factor: Range = field(default=(0.9, 1.1), metadata=within(0.1, 10))
    x_degrees: Range = field(default=(-5.0, 5.0), metadata=within(-45, 45))
    y_degrees: Range = field(default=(0.0, 0.0), metadata=within(-34, 34))
    degrees: Range = field(default=(-10.0, 10.0), metadata=within(-180, 180))
    shift_frac: Range = field(default=(-0.1, 0.1), metadata=within(-1, 1))

    @staticmethod
    def matrix(params: Params, height: int, width: int) -> Matrix:
        m = Scale.matrix(params, height, width)
        for op in (Shear, Rotate, Translate):
            m = product(op.matrix(params, height, width), m)
        return m


@dataclass(frozen=True, kw_only=True)
class HorizontalFlip(Geometry):
    """Left and right swapped: an exact array move unless something else warps. Changes letters and parts with a side."""

    p: float = 0.5

    @staticmethod
    def matrix(params: Params, height: int, width: int) -> Matrix:
        return planar(-1.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class VerticalFlip(Geometry):
    """Top and bottom swapped: an exact array move unless something else warps."""

    p: float = 0.5

    @staticmethod
    def matrix(params: Params, height: int, width: int) -> Matrix:
        return planar(1.0, 0.0, 0.0, -1.0)


@dataclass(frozen=True, kw_only=True)
class Crop(Geometry):
    """Cut a window out, at a random place.

    ``keep_frac``: side of the window as a fraction of each side of the picture, within [0.25, 1]. With ``resize`` the window
    is scaled back to the picture's size; without, the window is whole pixels and the picture becomes smaller (files only: a
    batch of tensors keeps its grid).
    """

    resizes: ClassVar[bool] = True
    num_uniforms: ClassVar[int] = 3
    laws: ClassVar[tuple[Law, ...]] = (Law("keep_frac", "keep_frac"), Law("x_frac", EVEN), Law("y_frac", EVEN))
    constants: ClassVar[tuple[str, ...]] = ("resize",)
    keep_frac: Range = field(default=(0.8, 1.0), metadata=within(0.25, 1))
    resize: bool = True

    @staticmethod
    def matrix(params: Params, height: int, width: int) -> Matrix:
        keep, x, y, resize = (params[k] for k in ("keep_frac", "x_frac", "y_frac", "resize"))
        if np.all(resize == 1):
            # A window of keep · W pixels has its centre (2x - 1) / 2 of the free width away from the picture's centre.
            dx, dy = ((f - 0.5) * (1 - keep) * side for f, side in ((x, width), (y, height)))
            return planar(1 / keep, 0.0, 0.0, 1 / keep, -dx / keep, -dy / keep)
        new_height, new_width = Crop.out_size(params, height, width)
        return window((height, width), (new_height, new_width), y, x)

    @staticmethod
    def out_size(params: Params, height: int, width: int) -> tuple[int, int]:
        if np.all(params["resize"] == 1):
            return height, width
        keep = params["keep_frac"]
        return one_size("Crop", np.maximum(1, np.rint(keep * height)), np.maximum(1, np.rint(keep * width)))
