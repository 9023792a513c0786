"""Transforms of a sound's level, spectrum and samples.

Gains, filters and the sign are one frequency response, however many there are; noise and gaps follow after it, sample by sample.
Filters have no phase: nothing moves in time.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, get_args

import numpy as np

from augmint.core.errors import UserError
from augmint.core.hearing import mel_of
from augmint.core.rng import F64
from augmint.transforms.local import KEY_BITS
from augmint.transforms.op import Bool, Family, Op, Params, Range, between, within

Colour = Literal["white", "pink", "brown", "blue"]
SLOPES: dict[str, float] = {"white": 0.0, "pink": 1.0, "brown": 2.0, "blue": -1.0}
"""Power falls as the frequency to the power of this."""
LOWEST_HZ = 20.0
"""Below this frequency coloured noise is as strong as at it: pink noise has no bound there, and nobody hears it."""
MASKED_TO_HZ = 8000.0
SKIRT_MEL = 20.0
DEEPEST = 1e-4
"""Amplitude that is left in a masked band: 80 dB down."""


@dataclass(frozen=True, kw_only=True)
class Filter(Op):
    """An op that multiplies each frequency by a real number."""

    family: ClassVar[Family] = "response"

    @staticmethod
    @abstractmethod
    def response(params: Params, hz: F64) -> F64:
        """``[..., F]`` factors of amplitude at frequencies ``[F]``, for numbers ``[...]``."""


def _column(params: Params, name: str) -> F64:
    return np.asarray(params[name])[..., None]


@dataclass(frozen=True, kw_only=True)
class Gain(Filter):
    """Louder or softer. ``gain_db``: dB, within [-60, 60]; what leaves full scale is cut when it is written in whole numbers."""

    num_uniforms: ClassVar[int] = 1
    gain_db: Range = field(default=(-6.0, 6.0), metadata=within(-60, 60))

    def draw(self, u: F64) -> dict[str, F64]:
        return {"gain_db": between(self.gain_db, u[..., 0])}

    @staticmethod
    def response(params: Params, hz: F64) -> F64:
        return np.asarray(10 ** (_column(params, "gain_db") / 20) * np.ones(len(hz)))


@dataclass(frozen=True, kw_only=True)
class PolarityInvert(Filter):
    """Plus and minus swapped: another waveform that sounds the same; ``p`` 0.5."""

    p: float = 0.5

    def draw(self, u: F64) -> dict[str, F64]:
        return {}

    @staticmethod
    def response(params: Params, hz: F64) -> F64:
        return -np.ones(len(hz))


@dataclass(frozen=True, kw_only=True)
class BandPass(Filter):
    """Keep a band, as a telephone or a small loudspeaker does.

    ``low_hz``, ``high_hz``: 3 dB down, log-uniform, within [10, 20000]; 24 dB an octave beyond (Butterworth of fourth order). Where
    the low edge is drawn above the high one, they are swapped.
    """

    num_uniforms: ClassVar[int] = 2
    low_hz: Range = field(default=(50.0, 300.0), metadata=within(10, 20_000))
    high_hz: Range = field(default=(3000.0, 7500.0), metadata=within(10, 20_000))

    def draw(self, u: F64) -> dict[str, F64]:
        edges = [
            np.exp(between((np.log(low), np.log(high)), u[..., k]))
            for k, (low, high) in enumerate((self.low_hz, self.high_hz))
        ]
        return {"low_hz": np.minimum(*edges), "high_hz": np.maximum(*edges)}

    @staticmethod
    def response(params: Params, hz: F64) -> F64:
        low, high = _column(params, "low_hz"), _column(params, "high_hz")
        below = (low / np.maximum(hz, 1e-3)) ** 8
        return np.asarray(1 / np.sqrt((1 + below) * (1 + (hz / high) ** 8)))


@dataclass(frozen=True, kw_only=True)
class FreqMask(Filter):
    """Take a band out (SpecAugment, Park et al. 2019, arXiv 1904.08779).

    ``width_frac``: of the mel scale from 0 to 8 kHz, within [0, 1]; the band's place is drawn evenly on it. The gap is 80 dB deep.
    """

    num_uniforms: ClassVar[int] = 2
    width_frac: Range = field(default=(0.0, 0.15), metadata=within(0, 1))

    def draw(self, u: F64) -> dict[str, F64]:
        width = between(self.width_frac, u[..., 0])
        return {"width_frac": width, "from_frac": u[..., 1] * (1 - width)}

    @staticmethod
    def response(params: Params, hz: F64) -> F64:
        top = mel_of(MASKED_TO_HZ)
        start = top * _column(params, "from_frac")
        stop = start + top * _column(params, "width_frac")
        at = mel_of(hz)
        # Slopes lie inside the band, so that a band of no width is no gap.
        slope = np.clip(np.minimum(at - start, stop - at) / SKIRT_MEL, 0.0, 1.0)
        return np.asarray(DEEPEST**slope)


@dataclass(frozen=True)
class Noise:
    """Noise of ``key`` whose power falls as frequency to the power of ``slope``, ``snr_db`` below the sound; each ``[...]``."""

    key: F64
    slope: F64
    snr_db: F64

    def masked(self, active: Bool) -> Noise:
        """The same where active, nothing elsewhere."""
        return replace(self, snr_db=np.where(active, self.snr_db, np.inf))


@dataclass(frozen=True)
class Gap:
    """Silence from ``start`` to ``stop``, as fractions of the length; each ``[...]``."""

    start: F64
    stop: F64

    def masked(self, active: Bool) -> Gap:
        """The same where active, nothing elsewhere."""
        return replace(self, stop=np.where(active, self.stop, self.start))


Point = Noise | Gap


@dataclass(frozen=True, kw_only=True)
class Pointwise(Op):
    """An op on the samples themselves."""

    family: ClassVar[Family] = "samples"

    @staticmethod
    @abstractmethod
    def point(params: Params) -> Point:
        """What the executors run."""


@dataclass(frozen=True, kw_only=True)
class AddNoise(Pointwise):
    """Add steady noise.

    ``snr_db``: mean power of the sound over that of the noise, in dB, within [-20, 100]; ``colour``: ``white``, ``pink``, ``brown``
    or ``blue``. Every channel gets a noise of its own. In silence nothing is added, for there is no level to go by.
    """

    num_uniforms: ClassVar[int] = 2
    snr_db: Range = field(default=(15.0, 40.0), metadata=within(-20, 100))
    colour: Colour = "white"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.colour not in SLOPES:
            raise UserError(f"AddNoise: colour is {self.colour!r}", mend="use " + ", ".join(get_args(Colour)))

    def draw(self, u: F64) -> dict[str, F64]:
        snr = between(self.snr_db, u[..., 0])
        return {
            "snr_db": snr,
            "slope": np.full_like(snr, SLOPES[self.colour]),
            "key": np.floor(u[..., 1] * 2.0**KEY_BITS),
        }

    @staticmethod
    def point(params: Params) -> Point:
        return Noise(*(np.asarray(params[name]) for name in ("key", "slope", "snr_db")))


@dataclass(frozen=True, kw_only=True)
class TimeMask(Pointwise):
    """Silence a part (SpecAugment). ``width_frac``: of the length, within [0, 1]; its place is drawn evenly."""

    num_uniforms: ClassVar[int] = 2
    width_frac: Range = field(default=(0.0, 0.1), metadata=within(0, 1))

    def draw(self, u: F64) -> dict[str, F64]:
        width = between(self.width_frac, u[..., 0])
        return {"width_frac": width, "from_frac": u[..., 1] * (1 - width)}

    @staticmethod
    def point(params: Params) -> Point:
        start = np.asarray(params["from_frac"])
        return Gap(start, start + np.asarray(params["width_frac"]))


def tilt(hz: F64, slope: F64) -> F64:
    """``[..., F]`` amplitudes of noise whose power falls as frequency to the power of ``slope`` ``[...]``; 1 at 1 kHz."""
    return np.asarray((np.maximum(hz, LOWEST_HZ) / 1000.0) ** (-np.asarray(slope)[..., None] / 2))
