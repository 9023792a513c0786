"""Colour: every op is a matrix on the colour channels or a power, so a run of them is LUT · matrix · LUT.

Values run from 0 to 1. Nothing is clipped between two ops of a run, only at its end. Alpha is never touched.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from augmint.core.rng import F64
from augmint.transforms.op import Bool, Family, Op, Params, Range, between, within

LUMA: F64 = np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709, section 3.2: red, green, blue


@dataclass(frozen=True)
class Affine:
    """``v -> matrix[..., :k] · v + matrix[..., k]`` on the k colour channels; ``[..., k, k + 1]``.

    With k = 1 the two numbers hold for every channel of the tensor.
    """

    matrix: F64

    def masked(self, active: Bool) -> Affine:
        """The same where active, nothing elsewhere."""
        k = self.matrix.shape[-2]
        return Affine(np.where(active[..., None, None], self.matrix, np.eye(k, k + 1)))

    def then(self, after: Affine) -> Affine:
        """Both in one: this first."""
        k = self.matrix.shape[-2]
        m = after.matrix[..., :k] @ self.matrix
        m[..., k] += after.matrix[..., k]
        return Affine(m)


@dataclass(frozen=True)
class Power:
    """``v -> max(v, 0) ** exponent`` on each colour channel; an exponent of 1 leaves ``v`` as it is."""

    exponent: F64

    def masked(self, active: Bool) -> Power:
        return Power(np.where(active, self.exponent, 1.0))


Part = Affine | Power


def table(parts: tuple[Part, ...]) -> F64 | None:
    """What one picture's parts make of the 256 levels, unclipped, in levels; ``None`` where channels are mixed."""
    v = np.arange(256) / 255
    for part in parts:
        if isinstance(part, Affine):
            k = part.matrix.shape[-2]
            scale, offset = float(part.matrix[0, 0]), float(part.matrix[0, k])
            if not np.allclose(part.matrix, _same(np.array(scale), np.array(offset), k), rtol=0, atol=1e-12):
                return None
            v = scale * v + offset
        elif part.exponent != 1:
            v = np.maximum(v, 0) ** part.exponent
    return 255 * v


def _same(scale: F64, offset: F64, k: int) -> F64:
    """The matrix that does the same to each of k channels."""
    return scale[..., None, None] * np.eye(k, k + 1) + offset[..., None, None] * np.eye(1, k + 1, k)


@dataclass(frozen=True, kw_only=True)
class Colour(Op):
    """An op that changes values where they are."""

    family: ClassVar[Family] = "colour"
    num_uniforms: ClassVar[int] = 1

    @staticmethod
    @abstractmethod
    def part(params: Params, k: int) -> Part:
        """The op's algebra on k colour channels: 3 (RGB), or 1 for "every channel alike"."""


@dataclass(frozen=True, kw_only=True)
class Brightness(Colour):
    """Add a constant. ``add_frac``: fraction of the full range (0.1 = 25.5 grey levels), within [-1, 1]."""

    any_axes: ClassVar[bool] = True
    add_frac: Range = field(default=(-0.1, 0.1), metadata=within(-1, 1))

    def draw(self, u: F64) -> dict[str, F64]:
        return {"add_frac": between(self.add_frac, u[..., 0])}

    @staticmethod
    def part(params: Params, k: int) -> Part:
        add = np.asarray(params["add_frac"])
        return Affine(_same(np.ones_like(add), add, k))


@dataclass(frozen=True, kw_only=True)
class Contrast(Colour):
    """Stretch about mid-grey. ``factor``: above 1 more contrast; drawn log-uniformly, within [0.1, 10]."""

    any_axes: ClassVar[bool] = True
    factor: Range = field(default=(0.85, 1.18), metadata=within(0.1, 10))

    def draw(self, u: F64) -> dict[str, F64]:
        low, high = np.log(self.factor)
        return {"factor": np.exp(between((low, high), u[..., 0]))}

    @staticmethod
    def part(params: Params, k: int) -> Part:
        factor = np.asarray(params["factor"])
        return Affine(_same(factor, 0.5 - 0.5 * factor, k))


@dataclass(frozen=True, kw_only=True)
class Saturation(Colour):
    """Move colours away from their own grey (BT.709 luma). ``factor``: 0 = grey, 1 = unchanged, within [0, 4]. No effect on grey
    pictures."""

    factor: Range = field(default=(0.7, 1.3), metadata=within(0, 4))

    def draw(self, u: F64) -> dict[str, F64]:
        return {"factor": between(self.factor, u[..., 0])}

    @staticmethod
    def part(params: Params, k: int) -> Part:
        factor = np.asarray(params["factor"])
        if k == 1:
            return Affine(_same(np.ones_like(factor), np.zeros_like(factor), 1))
        grey = np.zeros((3, 4))
        grey[:, :3] = LUMA
        s = factor[..., None, None]
        return Affine(s * np.eye(3, 4) + (1 - s) * grey)


@dataclass(frozen=True, kw_only=True)
class Gamma(Colour):
    """Raise to a power. ``exponent``: above 1 darkens the mid-tones; drawn log-uniformly, within [0.1, 10]."""

    exponent: Range = field(default=(0.8, 1.25), metadata=within(0.1, 10))

    def draw(self, u: F64) -> dict[str, F64]:
        low, high = np.log(self.exponent)
        return {"exponent": np.exp(between((low, high), u[..., 0]))}

    @staticmethod
    def part(params: Params, k: int) -> Part:
        return Power(np.asarray(params["exponent"]))
