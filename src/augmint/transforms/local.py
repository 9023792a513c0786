"""Local ops: noise, blur, cutout. They look at neighbours or at places, so nothing fuses across them.

Each gives a stage: plain arrays with free leading axes that the executors read.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from augmint.core import rng
from augmint.core.errors import UserError
from augmint.core.rng import F64
from augmint.core.types import F32
from augmint.transforms.op import EVEN, KEY, Bool, Family, Law, Op, Params, Range, within

_BLOCK = 16_384  # pairs at a time stay in the cache: twice as fast on large pictures


@dataclass(frozen=True)
class Noise:
    """Add ``sigma`` (fraction of the full range) times the Gaussian field of ``key`` to the colour channels."""

    sigma: F64
    key: F64

    def masked(self, active: Bool) -> Noise:
        """The same where active, nothing elsewhere."""
        return replace(self, sigma=np.where(active, self.sigma, 0.0))


@dataclass(frozen=True)
class Blur:
    """Convolve with a Gaussian of ``sigma`` pixels, cut at 3 sigma; edges are mirrored."""

    sigma: F64

    def masked(self, active: Bool) -> Blur:
        return Blur(np.where(active, self.sigma, 0.0))


@dataclass(frozen=True)
class Hole:
    """Fill rows ``top <= y < bottom``, columns ``left <= x < right`` with ``fill`` (0 to 1); RGBA becomes transparent there."""

    box: F64  # [..., 4]: left, top, right, bottom, whole pixels
    fill: F64

    def masked(self, active: Bool) -> Hole:
        return replace(self, box=np.where(active[..., None], self.box, 0.0))


Stage = Noise | Blur | Hole


def normal_field(keys: F64, count: int) -> F32:
    """Standard normal numbers ``[..., count]`` for noise keys ``[...]``: Box-Muller on 24-bit uniforms of one hash a pair.

    `run_torch` computes the same numbers on tensors.
    """
    half = (count + 1) // 2
    keys = np.asarray(keys).astype(np.uint64)
    out = np.empty((*keys.shape, 2 * half), np.float32)
    for start in range(0, half, _BLOCK):
        stop = min(start + _BLOCK, half)
        h = rng.bits(keys[..., None], np.arange(start, stop))
        u1 = ((h >> np.uint64(40)) + np.uint64(1)).astype(np.float32) * np.float32(2**-24)
        u2 = ((h >> np.uint64(16)) & np.uint64(0xFFFFFF)).astype(np.float32) * np.float32(2**-24)
        r, angle = np.sqrt(np.float32(-2) * np.log(u1)), np.float32(2 * np.pi) * u2
        np.multiply(r, np.cos(angle), out=out[..., start:stop])
        np.multiply(r, np.sin(angle), out=out[..., half + start : half + stop])
    return out[..., :count]


def radius(sigma: F64) -> int:
    """Pixels that the widest of the kernels reaches."""
    return math.ceil(3 * float(np.max(sigma, initial=0.0)))


def kernel(sigma: F64, reach: int) -> F64:
    """Gaussian weights ``[..., 2 reach + 1]`` for ``[...]`` sigmas in pixels, each cut at its own 3 sigma, summing to 1."""
    at = np.arange(-reach, reach + 1)
    s = np.maximum(sigma, 1e-6)[..., None]
    w = np.exp(-0.5 * (at / s) ** 2) * (np.abs(at) <= np.ceil(3 * s))
    out: F64 = w / w.sum(-1, keepdims=True)
    return out


def mirrored(length: int, reach: int) -> NDArray[np.int64]:
    """Positions ``-reach .. length + reach - 1`` folded back into ``0 .. length - 1``, edge pixels repeated."""
    at = np.arange(-reach, length + reach) % (2 * length)
    return np.minimum(at, 2 * length - 1 - at)


@dataclass(frozen=True, kw_only=True)
class Local(Op):
    """An op that ends a fusion run."""

    family: ClassVar[Family] = "local"

    @staticmethod
    @abstractmethod
    def stage(params: Params, height: int, width: int) -> Stage:
        """What the executors run, for a picture of this size."""


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Local):
    """Add independent Gaussian noise. ``sigma_frac``: standard deviation as a fraction of the full range, within [0, 1]."""

    any_axes: ClassVar[bool] = True
    num_uniforms: ClassVar[int] = 2
    laws: ClassVar[tuple[Law, ...]] = (Law("sigma_frac", "sigma_frac"), KEY)
    sigma_frac: Range = field(default=(0.0, 0.04), metadata=within(0, 1))

    @staticmethod
    def stage(params: Params, height: int, width: int) -> Stage:
        return Noise(np.asarray(params["sigma_frac"]), np.asarray(params["key"]))


@dataclass(frozen=True, kw_only=True)
class GaussianBlur(Local):
    """Blur. ``sigma_px``: standard deviation in pixels, within [0.1, 10]."""

    num_uniforms: ClassVar[int] = 1
    laws: ClassVar[tuple[Law, ...]] = (Law("sigma_px", "sigma_px"),)
    sigma_px: Range = field(default=(0.3, 1.0), metadata=within(0.1, 10))

    @staticmethod
    def stage(params: Params, height: int, width: int) -> Stage:
        return Blur(np.asarray(params["sigma_px"]))


@dataclass(frozen=True, kw_only=True)
class Cutout(Local):
    """Blank a box (DeVries and Taylor 2017, arXiv 1708.04552), which may hang over the edge.

    ``side_frac``: its sides as a fraction of the picture's, within [0, 1]; ``fill``: grey value in [0, 1]. On RGBA the hole is
    transparent. On one axis it is a span; on three, the same hole in every slice of the first.
    """

    any_axes: ClassVar[bool] = True
    num_uniforms: ClassVar[int] = 3
    laws: ClassVar[tuple[Law, ...]] = (Law("side_frac", "side_frac"), Law("x_frac", EVEN), Law("y_frac", EVEN))
    constants: ClassVar[tuple[str, ...]] = ("fill",)
    side_frac: Range = field(default=(0.1, 0.35), metadata=within(0, 1))
    fill: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.fill, bool) or not isinstance(self.fill, int | float) or not 0 <= self.fill <= 1:
            raise UserError(f"Cutout: fill is {self.fill!r}", mend="fill is a grey value between 0 and 1")

    @staticmethod
    def stage(params: Params, height: int, width: int) -> Stage:
        half = np.asarray(params["side_frac"]) / 2
        edges = [
            np.clip(np.rint((params[at] + sign * half) * side), 0, side)
            for sign in (-1, 1)
            for at, side in (("x_frac", width), ("y_frac", height))
        ]
        return Hole(np.stack(edges, -1), np.asarray(params["fill"]))
