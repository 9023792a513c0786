"""Colour: every op is a matrix on the colour channels or a power, so a run of them is LUT · matrix · LUT.

Values run from 0 to 1. Nothing is clipped between two ops of a run, only at its end. Alpha is never touched.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import permutations
from typing import Any, ClassVar

import numpy as np

from augmint.core.rng import F64
from augmint.transforms.geometry import cos_sin
from augmint.transforms.op import Bool, Family, Law, Op, Params, Range, between, within

_LUMA = (0.2126, 0.7152, 0.0722)  # ITU-R BT.709, section 3.2: red, green, blue
LUMA: F64 = np.array(_LUMA)
Numbers = tuple[float, ...]


@dataclass(frozen=True)
class Affine:
    """``v -> matrix[..., :k] · v + matrix[..., k]`` on the k colour channels; ``matrix`` is ``[..., k, k + 1]``.

    With k = 1 the two numbers hold for every channel of the tensor.

    Args:
        numbers: that matrix; or, of one sample, its 2 or 12 numbers row by row: a fraction of the time of arrays.
    """

    numbers: F64 | Numbers

    @cached_property
    def matrix(self) -> F64:
        n = self.numbers
        return np.array(self.rows(1 if len(n) == 2 else 3)) if isinstance(n, tuple) else n

    def rows(self, channels: int) -> Sequence[Sequence[float]]:
        """One picture's matrix for all its channels, also where one pair of numbers holds for each."""
        n = self.numbers
        if not isinstance(n, tuple):
            found: list[list[float]] = self.on(channels).tolist()
            return found
        if len(n) > 2:
            return n[:4], n[4:8], n[8:]
        scale, offset = n
        return [[*[scale if i == j else 0.0 for i in range(channels)], offset] for j in range(channels)]

    def masked(self, active: Bool) -> Affine:
        """The same where active, nothing elsewhere; parameters without axes take those of ``active``."""
        k = self.matrix.shape[-2]
        return Affine(np.where(active[..., None, None], self.matrix, np.eye(k, k + 1)))

    @property
    def mixes(self) -> bool:
        """Whether one picture's channels may be mixed, rather than each changed by itself."""
        n = self.numbers
        if isinstance(n, tuple):
            return len(n) > 2
        square = n[:, :-1]
        return bool(np.abs(square - np.diag(square.diagonal())).max() > 1e-12)

    def on(self, channels: int) -> F64:
        """The matrix for this many channels, also where one pair of numbers holds for each."""
        m = self.matrix
        return m if m.shape[-2] == channels else _same(m[..., 0, 0], m[..., 0, 1], channels)

    def then(self, after: Affine) -> Affine:
        """Both in one: this first."""
        if isinstance(self.numbers, tuple) and isinstance(after.numbers, tuple):
            return Affine(_chained(self.numbers, after.numbers))
        k = max(self.matrix.shape[-2], after.matrix.shape[-2])
        first, last = self.on(k), after.on(k)
        m = last[..., :k] @ first
        m[..., k] += last[..., k]
        return Affine(m)


def _chained(first: Numbers, last: Numbers) -> Numbers:
    """The numbers of two matrices in one, spelled out: loops take half as long again."""
    if len(last) == 2:
        scale, offset = last
        if len(first) == 2:
            return scale * first[0], scale * first[1] + offset
        j, k, m, v, n, o, p, w, q, r, y, x = first
        return (
            scale * j, scale * k, scale * m, scale * v + offset,
            scale * n, scale * o, scale * p, scale * w + offset,
            scale * q, scale * r, scale * y, scale * x + offset,
        )  # fmt: skip
    a, b, c, s, d, e, f, t, g, h, i, u = last
    if len(first) == 2:
        scale, offset = first
        return (
            a * scale, b * scale, c * scale, (a + b + c) * offset + s,
            d * scale, e * scale, f * scale, (d + e + f) * offset + t,
            g * scale, h * scale, i * scale, (g + h + i) * offset + u,
        )  # fmt: skip
    j, k, m, v, n, o, p, w, q, r, y, x = first
    return (
        a * j + b * n + c * q, a * k + b * o + c * r, a * m + b * p + c * y, a * v + b * w + c * x + s,
        d * j + e * n + f * q, d * k + e * o + f * r, d * m + e * p + f * y, d * v + e * w + f * x + t,
        g * j + h * n + i * q, g * k + h * o + i * r, g * m + h * p + i * y, g * v + h * w + i * x + u,
    )  # fmt: skip


@dataclass(frozen=True)
class Power:
    """``v -> max(v, 0) ** exponent`` on each colour channel; an exponent of 1 leaves ``v`` as it is."""

    exponent: F64

    def masked(self, active: Bool) -> Power:
        return Power(np.where(active, self.exponent, 1.0))


@dataclass(frozen=True)
class Fold:
    """``v -> 1 - v`` from ``threshold`` on (compared in whole grey levels); a threshold above 1 leaves ``v`` as it is."""

    threshold: F64

    def masked(self, active: Bool) -> Fold:
        return Fold(np.where(active, self.threshold, 2.0))


@dataclass(frozen=True)
class Steps:
    """Keep the upper bits of each 8-bit level: multiples of ``step`` levels; a step of 0 leaves ``v`` as it is."""

    step: F64

    def masked(self, active: Bool) -> Steps:
        return Steps(np.where(active, self.step, 0.0))


Part = Affine | Power | Fold | Steps


_VALUES: F64 = np.arange(256)[:, None] / 255


def table(parts: tuple[Part, ...], channels: int = 1) -> F64 | None:
    """What one picture's parts make of the 256 levels of each channel, unclipped, in levels: ``[256, 1 or channels]``.

    ``None`` where channels are mixed.
    """
    v = _VALUES
    for part in parts:
        if isinstance(part, Affine):
            if part.mixes:
                return None
            v = part.matrix[:, :-1].diagonal() * v + part.matrix[:, -1]
        else:
            v = pointwise(part, v)
    if v.shape[1] > 1 and np.abs(v - v[:, :1]).max() < 1e-12:
        v = v[:, :1]
    return 255 * v


def pointwise(part: Power | Fold | Steps, v: Any) -> Any:
    """A part that looks at one number at a time, on an array of values from 0 to 1, for one picture."""
    match part:
        case Power():
            return v if part.exponent == 1 else np.maximum(v, 0) ** part.exponent
        case Fold():
            return np.where(np.rint(255 * v) >= np.rint(255 * part.threshold), 1 - v, v)
        case Steps():
            return v if part.step == 0 else np.floor(np.rint(255 * v) / part.step) * part.step / 255


def _same(scale: F64, offset: F64, k: int) -> F64:
    """The matrix that does the same to each of k channels."""
    return scale[..., None, None] * np.eye(k, k + 1) + offset[..., None, None] * np.eye(1, k + 1, k)


def _alike(scale: Any, offset: Any, k: int) -> Affine:
    """``v -> scale · v + offset`` on each of k channels."""
    if isinstance(scale, float) and isinstance(offset, float):
        return Affine((scale, offset))
    scale, offset = np.broadcast_arrays(scale, offset)
    return Affine(_same(scale, offset, k))


def _nothing(like: Any) -> Affine:
    """What changes nothing, for as many samples."""
    return _alike(1.0, 0.0 if isinstance(like, float) else np.zeros_like(like), 1)


def _turned(cos: float, sin: float) -> Numbers:
    """The matrix of `Hue` as numbers: Rodrigues' formula about (1, 1, 1) / sqrt 3, then grey added until the luma is what it was."""
    part, sin = (1 - cos) / 3, sin / math.sqrt(3)
    rows = (
        (part + cos, part - sin, part + sin),
        (part + sin, part + cos, part - sin),
        (part - sin, part + sin, part + cos),
    )
    (a, b, c), (d, e, f), (g, h, i) = rows
    red, green, blue = _LUMA
    x, y, z = (
        red - red * a - green * d - blue * g,
        green - red * b - green * e - blue * h,
        blue - red * c - green * f - blue * i,
    )
    return a + x, b + y, c + z, 0.0, d + x, e + y, f + z, 0.0, g + x, h + y, i + z, 0.0


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
    laws: ClassVar[tuple[Law, ...]] = (Law("add_frac", "add_frac"),)
    add_frac: Range = field(default=(-0.1, 0.1), metadata=within(-1, 1))

    @staticmethod
    def part(params: Params, k: int) -> Part:
        return _alike(1.0, params["add_frac"], k)


@dataclass(frozen=True, kw_only=True)
class Contrast(Colour):
    """Stretch about mid-grey. ``factor``: above 1 more contrast; drawn log-uniformly, within [0.1, 10]."""

    any_axes: ClassVar[bool] = True
    laws: ClassVar[tuple[Law, ...]] = (Law("factor", "factor", log=True),)
    factor: Range = field(default=(0.85, 1.18), metadata=within(0.1, 10))

    @staticmethod
    def part(params: Params, k: int) -> Part:
        return _alike(params["factor"], 0.5 - 0.5 * params["factor"], k)


@dataclass(frozen=True, kw_only=True)
class BrightnessContrast(Colour):
    """Stretch about mid-grey, then add a constant. ``add_frac``: fraction of the full range, within [-1, 1]; ``factor``: drawn
    log-uniformly, within [0.1, 10]."""

    num_uniforms: ClassVar[int] = 2
    laws: ClassVar[tuple[Law, ...]] = (Law("add_frac", "add_frac"), Law("factor", "factor", log=True))
    add_frac: Range = field(default=(-0.2, 0.2), metadata=within(-1, 1))
    factor: Range = field(default=(0.8, 1.25), metadata=within(0.1, 10))

    @staticmethod
    def part(params: Params, k: int) -> Part:
        return _alike(params["factor"], 0.5 - 0.5 * params["factor"] + params["add_frac"], k)


@dataclass(frozen=True, kw_only=True)
class Saturation(Colour):
    """Move colours away from their own grey (BT.709 luma). ``factor``: 0 = grey, 1 = unchanged, within [0, 4]. No effect on grey
    pictures."""

    laws: ClassVar[tuple[Law, ...]] = (Law("factor", "factor"),)
    factor: Range = field(default=(0.7, 1.3), metadata=within(0, 4))

    @staticmethod
    def part(params: Params, k: int) -> Part:
        factor = params["factor"]
        if k == 1:
            return _nothing(factor)
        if isinstance(factor, float):
            red, green, blue = [(1 - factor) * v for v in _LUMA]
            return Affine(
                (factor + red, green, blue, 0.0, red, factor + green, blue, 0.0, red, green, factor + blue, 0.0)
            )
        factor = np.asarray(factor)
        grey = np.zeros((3, 4))
        grey[:, :3] = LUMA
        s = factor[..., None, None]
        return Affine(s * np.eye(3, 4) + (1 - s) * grey)


@dataclass(frozen=True, kw_only=True)
class Gamma(Colour):
    """Raise to a power. ``exponent``: above 1 darkens the mid-tones; drawn log-uniformly, within [0.1, 10]."""

    laws: ClassVar[tuple[Law, ...]] = (Law("exponent", "exponent", log=True),)
    exponent: Range = field(default=(0.8, 1.25), metadata=within(0.1, 10))

    @staticmethod
    def part(params: Params, k: int) -> Part:
        return Power(params["exponent"])


@dataclass(frozen=True, kw_only=True)
class Hue(Colour):
    """Turn colours about the grey axis, their luma kept (BT.709). ``degrees``: within [-180, 180]. No effect on grey pictures."""

    laws: ClassVar[tuple[Law, ...]] = (Law("degrees", "degrees"),)
    degrees: Range = field(default=(-15.0, 15.0), metadata=within(-180, 180))

    @staticmethod
    def part(params: Params, k: int) -> Part:
        if k == 1:
            return _nothing(params["degrees"])
        cos, sin = cos_sin(params["degrees"])
        if isinstance(cos, float):
            return Affine(_turned(cos, sin))
        cos, sin = cos[..., None, None], sin[..., None, None]
        # Rodrigues' formula about (1, 1, 1) / sqrt 3, then grey added until the luma is what it was.
        turn = cos * np.eye(3) + (1 - cos) / 3 + sin / np.sqrt(3) * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
        turn = turn + (LUMA - LUMA @ turn)[..., None, :]
        return Affine(np.concatenate([turn, np.zeros_like(turn[..., :1])], -1))


@dataclass(frozen=True, kw_only=True)
class ColorJitter(Colour):
    """Multiply, stretch about mid-grey, saturate and turn the hue, in this order, drawn apart.

    ``brightness`` and ``contrast`` (factors, within [0.1, 10]), ``saturation`` (within [0, 4]), ``hue_degrees`` (within [-180, 180]).
    """

    num_uniforms: ClassVar[int] = 4
    laws: ClassVar[tuple[Law, ...]] = tuple(
        Law(name, name) for name in ("brightness", "contrast", "saturation", "hue_degrees")
    )
    brightness: Range = field(default=(0.8, 1.2), metadata=within(0.1, 10))
    contrast: Range = field(default=(0.8, 1.2), metadata=within(0.1, 10))
    saturation: Range = field(default=(0.8, 1.2), metadata=within(0, 4))
    hue_degrees: Range = field(default=(-15.0, 15.0), metadata=within(-180, 180))

    @staticmethod
    def part(params: Params, k: int) -> Part:
        out = _alike(params["brightness"], 0.0, k)
        for part in (
            Contrast.part({"factor": params["contrast"]}, k),
            Saturation.part({"factor": params["saturation"]}, k),
            Hue.part({"degrees": params["hue_degrees"]}, k),
        ):
            out = out.then(part) if isinstance(part, Affine) else out
        return out


@dataclass(frozen=True, kw_only=True)
class RGBShift(Colour):
    """Add another constant to each channel. ``add_frac``: fraction of the full range, within [-1, 1]; on grey pictures the first
    of the three."""

    num_uniforms: ClassVar[int] = 3
    laws: ClassVar[tuple[Law, ...]] = tuple(Law(f"{c}_frac", "add_frac") for c in ("red", "green", "blue"))
    add_frac: Range = field(default=(-0.08, 0.08), metadata=within(-1, 1))

    @staticmethod
    def part(params: Params, k: int) -> Part:
        add = np.stack([np.asarray(params[f"{c}_frac"]) for c in ("red", "green", "blue")[:k]], -1)
        return Affine(np.concatenate([np.broadcast_to(np.eye(k), (*add.shape, k)), add[..., None]], -1))


@dataclass(frozen=True, kw_only=True)
class WhiteBalance(Colour):
    """The picture as if lit by a black body of another temperature, its luma kept. ``kelvin``: within [2000, 15000]; 6500 changes
    nothing, below is warmer. No effect on grey pictures.

    Source: chromaticity of the Planckian locus by Kim et al. 2002 (US patent 7024034), sRGB primaries and exponent 2.2.
    """

    num_uniforms: ClassVar[int] = 1
    kelvin: Range = field(default=(4500.0, 9000.0), metadata=within(2000, 15_000))

    def draw(self, u: F64) -> dict[str, F64]:
        low, high = 1 / self.kelvin[0], 1 / self.kelvin[1]  # even in what the eye sees
        return {"kelvin": 1 / between((low, high), u[..., 0])}

    @staticmethod
    def part(params: Params, k: int) -> Part:
        kelvin = np.asarray(params["kelvin"])
        if k == 1:
            return _nothing(params["kelvin"])
        gain = (_black_body(kelvin) / _black_body(np.array(6500.0))) ** (1 / 2.2)
        gain = gain / (gain @ LUMA)[..., None]
        return Affine(gain[..., :, None] * np.eye(3, 4))


def _black_body(kelvin: F64) -> F64:
    """Linear sRGB ``[..., 3]`` of a black body, at luminance 1."""
    t = 1e3 / kelvin
    cold = -0.2661239 * t**3 - 0.2343589 * t**2 + 0.8776956 * t + 0.179910
    hot = -3.0258469 * t**3 + 2.1070379 * t**2 + 0.2226347 * t + 0.240390
    x = np.where(kelvin < 4000, cold, hot)
    low = -1.1063814 * x**3 - 1.34811020 * x**2 + 2.18555832 * x - 0.20219683
    mid = -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867
    high = 3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483
    y = np.where(kelvin < 2222, low, np.where(kelvin < 4000, mid, high))
    xyz = np.stack([x / y, np.ones_like(y), (1 - x - y) / y], -1)
    to_rgb = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    rgb: F64 = np.maximum(xyz @ to_rgb.T, 1e-3)
    return rgb


@dataclass(frozen=True, kw_only=True)
class ChannelShuffle(Colour):
    """Red, green and blue in another order, each of the six equally likely. No effect on grey pictures."""

    def draw(self, u: F64) -> dict[str, F64]:
        return {"order": np.floor(6 * u[..., 0])}

    @staticmethod
    def part(params: Params, k: int) -> Part:
        order = np.asarray(params["order"]).astype(int)
        if k == 1:
            return _nothing(params["order"])
        return Affine(np.array([np.eye(3, 4)[list(p)] for p in permutations(range(3))])[order])


@dataclass(frozen=True, kw_only=True)
class ToGray(Colour):
    """Every channel becomes the luma (BT.709). No effect on grey pictures."""

    num_uniforms: ClassVar[int] = 0

    @staticmethod
    def part(params: Params, k: int) -> Part:
        return Saturation.part({"factor": np.array(0.0)}, k)


@dataclass(frozen=True, kw_only=True)
class Invert(Colour):
    """Black becomes white and white black."""

    any_axes: ClassVar[bool] = True
    num_uniforms: ClassVar[int] = 0

    @staticmethod
    def part(params: Params, k: int) -> Part:
        return _alike(-1.0, 1.0, k)


@dataclass(frozen=True, kw_only=True)
class Solarize(Colour):
    """Invert what is bright. ``threshold_frac``: from this grey value on, within [0, 1]."""

    laws: ClassVar[tuple[Law, ...]] = (Law("threshold_frac", "threshold_frac"),)
    threshold_frac: Range = field(default=(0.6, 0.9), metadata=within(0, 1))

    @staticmethod
    def part(params: Params, k: int) -> Part:
        return Fold(np.asarray(params["threshold_frac"]))


@dataclass(frozen=True, kw_only=True)
class Posterize(Colour):
    """Keep the upper bits of each 8-bit level. ``bits``: how many, rounded to a whole number, within [1, 8]."""

    bits: Range = field(default=(3.0, 6.0), metadata=within(1, 8))

    def draw(self, u: F64) -> dict[str, F64]:
        low, high = np.rint(self.bits)
        return {"bits": low + np.floor((high - low + 1) * u[..., 0])}

    @staticmethod
    def part(params: Params, k: int) -> Part:
        return Steps(2.0 ** (8 - np.asarray(params["bits"])))
