"""Geometry that sets the size, or trades the axes: resizing, cropping, padding, quarter turns.

The size travels with the plan's program: the ops that follow see the new one. Sizes are in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from augmint.core.rng import F64
from augmint.transforms.geometry import Geometry, Matrix, one_size, planar, window
from augmint.transforms.op import Law, Params, Range, between, number, within

LONGEST = 16_384
Size = tuple[int, int]  # height, width


def _fixed(u: F64, **settings: float) -> dict[str, F64]:
    """Settings as drawn numbers: the plan replays without its recipe."""
    return {k: np.full(u.shape[:-1], float(v)) for k, v in settings.items()}


def _told(params: Params) -> Size:
    return one_size("a batch", params["height_px"], params["width_px"])


def _stretched(size: Size, out_size: Size) -> Matrix:
    """Outer edge to outer edge."""
    return planar(out_size[1] / size[1], 0.0, 0.0, out_size[0] / size[0])


@dataclass(frozen=True, kw_only=True)
class ToSize(Geometry):
    """Base of the ops with ``height_px`` and ``width_px``, whole pixels within [1, 16384]."""

    resizes: ClassVar[bool] = True
    height_px: int = field(default=224, metadata=number(1, LONGEST, whole=True))
    width_px: int = field(default=224, metadata=number(1, LONGEST, whole=True))

    def draw(self, u: F64) -> dict[str, F64]:
        return _fixed(u, height_px=self.height_px, width_px=self.width_px)

    @staticmethod
    def out_size(params: Params, height: int, width: int) -> Size:
        return _told(params)


@dataclass(frozen=True, kw_only=True)
class Resize(ToSize):
    """Stretch to a size; the aspect is not kept."""

    @staticmethod
    def matrix(params: Params, height: int, width: int) -> Matrix:
        return _stretched((height, width), _told(params))


@dataclass(frozen=True, kw_only=True)
class LetterBox(ToSize):
    """Scale to fit inside a size, aspect kept, centred; the rest is the border (``border: zero`` for bars)."""

    @staticmethod
    def matrix(params: Params, height: int, width: int) -> Matrix:
        new_height, new_width = _told(params)
        factor = min(new_height / height, new_width / width)
        return planar(factor, 0.0, 0.0, factor)


@dataclass(frozen=True, kw_only=True)
class CenterCrop(ToSize):
    """Cut a window out of the middle. Where it is larger than the picture, the border fills it."""

    @staticmethod
    def matrix(params: Params, height: int, width: int) -> Matrix:
        return window((height, width), _told(params), 0.5, 0.5)


@dataclass(frozen=True, kw_only=True)
class RandomCrop(ToSize):
    """Cut a window out at a random place. Where it is larger than the picture, that lies centred and the border fills it."""

    num_uniforms: ClassVar[int] = 2

    def draw(self, u: F64) -> dict[str, F64]:
        return {**super().draw(u), "x_frac": u[..., 0], "y_frac": u[..., 1]}

    @staticmethod
    def matrix(params: Params, height: int, width: int) -> Matrix:
        return window((height, width), _told(params), params["y_frac"], params["x_frac"])


@dataclass(frozen=True, kw_only=True)
class Pad(ToSize):
    """Make the picture at least this large, the old one in the middle, with the border around it."""

    @staticmethod
    def matrix(params: Params, height: int, width: int) -> Matrix:
        return window((height, width), Pad.out_size(params, height, width), 0.5, 0.5)

    @staticmethod
    def out_size(params: Params, height: int, width: int) -> Size:
        least = _told(params)
        return max(height, least[0]), max(width, least[1])


@dataclass(frozen=True, kw_only=True)
class LongestMaxSize(Geometry):
    """Scale so that the longer side has ``side_px`` pixels, aspect kept, whole number within [1, 16384]."""

    resizes: ClassVar[bool] = True
    side_px: int = field(default=224, metadata=number(1, LONGEST, whole=True))

    def draw(self, u: F64) -> dict[str, F64]:
        return _fixed(u, side_px=self.side_px)

    @staticmethod
    def matrix(params: Params, height: int, width: int) -> Matrix:
        return _stretched((height, width), LongestMaxSize.out_size(params, height, width))

    @staticmethod
    def out_size(params: Params, height: int, width: int) -> Size:
        factor = np.asarray(params["side_px"]) / max(height, width)
        return one_size("LongestMaxSize", *(np.maximum(1, np.rint(side * factor)) for side in (height, width)))


@dataclass(frozen=True, kw_only=True)
class Upscale(Geometry):
    """Enlarge the whole picture, its size too. ``factor``: drawn log-uniformly, within [1, 8]; best with ``interp: cubic``."""

    resizes: ClassVar[bool] = True
    num_uniforms: ClassVar[int] = 1
    laws: ClassVar[tuple[Law, ...]] = (Law("factor", "factor", log=True),)
    factor: Range = field(default=(2.0, 2.0), metadata=within(1, 8))

    @staticmethod
    def matrix(params: Params, height: int, width: int) -> Matrix:
        return _stretched((height, width), Upscale.out_size(params, height, width))

    @staticmethod
    def out_size(params: Params, height: int, width: int) -> Size:
        factor = np.asarray(params["factor"])
        return one_size("Upscale", *(np.clip(np.rint(side * factor), 1, LONGEST) for side in (height, width)))


@dataclass(frozen=True, kw_only=True)
class RandomResizedCrop(ToSize):
    """Cut a random window out and stretch it to a size (Szegedy et al. 2014, arXiv 1409.4842).

    ``area_frac``: share of the picture's area, within [0.01, 1]; ``aspect``: width over height of the window, relative to the
    picture's own, drawn log-uniformly, within [0.1, 10]. A window that would not fit is made smaller.
    """

    num_uniforms: ClassVar[int] = 4
    area_frac: Range = field(default=(0.08, 1.0), metadata=within(0.01, 1))
    aspect: Range = field(default=(0.75, 1.3333), metadata=within(0.1, 10))

    def draw(self, u: F64) -> dict[str, F64]:
        low, high = np.log(self.aspect)
        area, aspect = between(self.area_frac, u[..., 0]), np.exp(between((low, high), u[..., 1]))
        wide, high = np.minimum(1, np.sqrt(area * aspect)), np.minimum(1, np.sqrt(area / aspect))
        place = {"keep_x_frac": wide, "keep_y_frac": high, "x_frac": u[..., 2], "y_frac": u[..., 3]}
        return {**super().draw(u), **place}

    @staticmethod
    def matrix(params: Params, height: int, width: int) -> Matrix:
        # The window's centre lies (2x - 1) / 2 of the free side away from the picture's.
        dx, dy = ((params[f"{a}_frac"] - 0.5) * (1 - params[f"keep_{a}_frac"]) for a in "xy")
        new_height, new_width = _told(params)
        sx, sy = new_width / (params["keep_x_frac"] * width), new_height / (params["keep_y_frac"] * height)
        return planar(sx, 0.0, 0.0, sy, -dx * width * sx, -dy * height * sy)


@dataclass(frozen=True, kw_only=True)
class Transpose(Geometry):
    """Rows and columns swapped: an exact array move unless something else warps."""

    resizes: ClassVar[bool] = True
    p: float = 0.5

    @staticmethod
    def matrix(params: Params, height: int, width: int) -> Matrix:
        return planar(0.0, 1.0, 1.0, 0.0)

    @staticmethod
    def out_size(params: Params, height: int, width: int) -> Size:
        return width, height


@dataclass(frozen=True, kw_only=True)
class RandomRotate90(Geometry):
    """Turn by 0, 90, 180 or 270 degrees counter-clockwise: an exact array move unless something else warps."""

    resizes: ClassVar[bool] = True
    num_uniforms: ClassVar[int] = 1

    def draw(self, u: F64) -> dict[str, F64]:
        return {"quarters": np.floor(4 * u[..., 0])}

    @staticmethod
    def matrix(params: Params, height: int, width: int) -> Matrix:
        quarters = np.asarray(params["quarters"]).astype(int) % 4
        cos, sin = np.array([1.0, 0.0, -1.0, 0.0])[quarters], np.array([0.0, 1.0, 0.0, -1.0])[quarters]
        return planar(cos, sin, -sin, cos)

    @staticmethod
    def out_size(params: Params, height: int, width: int) -> Size:
        is_odd = np.asarray(params["quarters"]) % 2 == 1
        return one_size("RandomRotate90", np.where(is_odd, width, height), np.where(is_odd, height, width))
