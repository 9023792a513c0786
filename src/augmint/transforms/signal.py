"""Transforms of a sound's spectrum, noise and gaps.

Gains, filters, rooms and the sign are one frequency response, however many there are; noise and gaps follow after it, sample by
sample. Filters have no phase: nothing moves in time.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, get_args

import numpy as np

from augmint.core.errors import UserError
from augmint.core.hearing import mel_of
from augmint.core.rng import F64
from augmint.core.types import F32
from augmint.transforms.op import KEY, KEY_BITS, Bool, Family, Law, Op, Params, Range, between, within
from augmint.transforms.temporal import Line

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
    """An op that multiplies each frequency by a number: a real one, or what a room makes of it."""

    family: ClassVar[Family] = "response"

    @staticmethod
    @abstractmethod
    def response(params: Params, hz: F64) -> F64:
        """``[..., F]`` factors of amplitude at frequencies ``[F]``, for numbers ``[...]``."""

    @staticmethod
    def room(params: Params) -> Room | None:
        """The echoes that it adds besides."""
        return None


def _column(params: Params, name: str) -> F64:
    return np.asarray(params[name])[..., None]


@dataclass(frozen=True, kw_only=True)
class Gain(Filter):
    """Louder or softer. ``gain_db``: dB, within [-60, 60]; what leaves full scale is cut when it is written in whole numbers."""

    num_uniforms: ClassVar[int] = 1
    laws: ClassVar[tuple[Law, ...]] = (Law("gain_db", "gain_db"),)
    gain_db: Range = field(default=(-6.0, 6.0), metadata=within(-60, 60))

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


def _falling(hz: F64, edge: F64) -> F64:
    """Amplitudes of a Butterworth low-pass of fourth order: 3 dB down at its edge, 24 dB an octave beyond."""
    # In place: for arrays as long as a sound, memory costs more than arithmetic.
    out = np.asarray(hz / edge)
    for _ in range(3):
        out *= out
    out += 1
    np.sqrt(out, out=out)
    return np.divide(1, out, out=out)


def _rising(hz: F64, edge: F64) -> F64:
    return _falling(edge, np.maximum(hz, 1e-3))


@dataclass(frozen=True, kw_only=True)
class LowPass(Filter):
    """Keep what is low. ``cutoff_hz``: 3 dB down, log-uniform, within [10, 20000]; 24 dB an octave beyond (Butterworth of fourth order)."""

    num_uniforms: ClassVar[int] = 1
    laws: ClassVar[tuple[Law, ...]] = (Law("cutoff_hz", "cutoff_hz", log=True),)
    cutoff_hz: Range = field(default=(2000.0, 7500.0), metadata=within(10, 20_000))

    @staticmethod
    def response(params: Params, hz: F64) -> F64:
        return _falling(hz, _column(params, "cutoff_hz"))


@dataclass(frozen=True, kw_only=True)
class HighPass(Filter):
    """Keep what is high; the rest as `LowPass`. ``cutoff_hz``: within [10, 20000]."""

    num_uniforms: ClassVar[int] = 1
    laws: ClassVar[tuple[Law, ...]] = (Law("cutoff_hz", "cutoff_hz", log=True),)
    cutoff_hz: Range = field(default=(50.0, 400.0), metadata=within(10, 20_000))

    @staticmethod
    def response(params: Params, hz: F64) -> F64:
        return _rising(hz, _column(params, "cutoff_hz"))


@dataclass(frozen=True, kw_only=True)
class _Band(Filter):
    """Two edges, log-uniform. Where the low one is drawn above the high one, they are swapped."""

    num_uniforms: ClassVar[int] = 2
    laws: ClassVar[tuple[Law, ...]] = (Law("low_hz", "low_hz", log=True), Law("high_hz", "high_hz", log=True))
    low_hz: Range = field(default=(50.0, 300.0), metadata=within(10, 20_000))
    high_hz: Range = field(default=(3000.0, 7500.0), metadata=within(10, 20_000))

    def draw(self, u: F64) -> dict[str, F64]:
        edges = super().draw(u).values()
        return {"low_hz": np.minimum(*edges), "high_hz": np.maximum(*edges)}


@dataclass(frozen=True, kw_only=True)
class BandPass(_Band):
    """Keep a band, as a telephone or a small loudspeaker does.

    ``low_hz``, ``high_hz``: 3 dB down, log-uniform, within [10, 20000]; 24 dB an octave beyond (Butterworth of fourth order). Where
    the low edge is drawn above the high one, they are swapped.
    """

    @staticmethod
    def response(params: Params, hz: F64) -> F64:
        return _rising(hz, _column(params, "low_hz")) * _falling(hz, _column(params, "high_hz"))


@dataclass(frozen=True, kw_only=True)
class BandStop(_Band):
    """Take a band out: what a band-pass of these edges keeps, and nothing at its middle (Butterworth of fourth order).

    ``low_hz``, ``high_hz``: 3 dB down, log-uniform, within [10, 20000]. Where the low edge is drawn above the high one, they are swapped.
    """

    low_hz: Range = field(default=(300.0, 1000.0), metadata=within(10, 20_000))
    high_hz: Range = field(default=(1200.0, 4000.0), metadata=within(10, 20_000))

    @staticmethod
    def response(params: Params, hz: F64) -> F64:
        low, high = _column(params, "low_hz"), _column(params, "high_hz")
        # The prototype's frequency, by the transformation from low-pass to band-stop; infinite at the geometric middle.
        away = np.abs(hz**2 - low * high) / np.maximum(hz, 1e-3)
        return _falling((high - low) / np.maximum(away, 1e-6), np.ones(1))


@dataclass(frozen=True, kw_only=True)
class Peaking(Filter):
    """Raise or lower the surroundings of a frequency, as an equaliser's bell does.

    ``centre_hz``: where it is ``gain_db``, log-uniform, within [10, 20000]; ``gain_db``: within [-40, 40]; ``q``: narrower where larger,
    log-uniform, within [0.1, 30]. The curve is that of Bristow-Johnson's cookbook, before it is bent to fit below half the rate.
    """

    num_uniforms: ClassVar[int] = 3
    laws: ClassVar[tuple[Law, ...]] = (
        Law("centre_hz", "centre_hz", log=True),
        Law("gain_db", "gain_db"),
        Law("q", "q", log=True),
    )
    centre_hz: Range = field(default=(100.0, 6000.0), metadata=within(10, 20_000))
    gain_db: Range = field(default=(-12.0, 12.0), metadata=within(-40, 40))
    q: Range = field(default=(0.5, 5.0), metadata=within(0.1, 30))

    @staticmethod
    def response(params: Params, hz: F64) -> F64:
        s, a, q = 1j * hz / _column(params, "centre_hz"), 10 ** (_column(params, "gain_db") / 40), _column(params, "q")
        return np.asarray(np.abs((s**2 + s * a / q + 1) / (s**2 + s / (a * q) + 1)))


@dataclass(frozen=True, kw_only=True)
class _Shelf(Filter):
    num_uniforms: ClassVar[int] = 2
    laws: ClassVar[tuple[Law, ...]] = (Law("corner_hz", "corner_hz", log=True), Law("gain_db", "gain_db"))
    corner_hz: Range = field(default=(100.0, 1000.0), metadata=within(10, 20_000))
    gain_db: Range = field(default=(-12.0, 12.0), metadata=within(-40, 40))


@dataclass(frozen=True, kw_only=True)
class LowShelf(_Shelf):
    """Raise or lower all that is low.

    ``corner_hz``: where half of ``gain_db`` is reached, log-uniform, within [10, 20000]; ``gain_db``: within [-40, 40]. As steep as it can be
    without a bump (Bristow-Johnson's cookbook, slope 1).
    """

    @staticmethod
    def response(params: Params, hz: F64) -> F64:
        return _shelf(hz / _column(params, "corner_hz"), _column(params, "gain_db"))


@dataclass(frozen=True, kw_only=True)
class HighShelf(_Shelf):
    """Raise or lower all that is high; the rest as `LowShelf`."""

    corner_hz: Range = field(default=(1500.0, 6000.0), metadata=within(10, 20_000))

    @staticmethod
    def response(params: Params, hz: F64) -> F64:
        return _shelf(_column(params, "corner_hz") / np.maximum(hz, 1e-3), _column(params, "gain_db"))


def _shelf(ratio: F64, gain_db: F64) -> F64:
    s, a = 1j * ratio, 10 ** (gain_db / 40)
    damped = np.sqrt(2 * a) * s
    return np.asarray(a * np.abs((s**2 + damped + a) / (a * s**2 + damped + 1)))


@dataclass(frozen=True)
class Room:
    """Echoes of ``key`` behind each sound: noise that falls by 60 dB in ``rt60_s``; the sound is ``drr_db`` stronger than all of them.
    Each ``[...]``."""

    key: F64
    rt60_s: F64
    drr_db: F64

    def masked(self, active: Bool) -> Room:
        """The same where active, nothing elsewhere."""
        return replace(self, drr_db=np.where(active, self.drr_db, np.inf))

    @property
    def shares(self) -> tuple[F64, F64]:
        """The parts of the power that are direct and reverberant."""
        direct = 1 / (1 + 10 ** (-self.drr_db / 10))
        return direct, 1 - direct


@dataclass(frozen=True, kw_only=True)
class Reverb(Filter):
    """A room: echoes that die away, with a tail of noise (Schroeder's model of diffuse sound).

    ``rt60_s``: seconds until they are 60 dB down, within [0.05, 5]; ``drr_db``: power of the direct sound over that of the echoes, within
    [-20, 40]. The power of the whole stays about the same, and the length too: put `Pad` before it to hear the last echo out.
    """

    num_uniforms: ClassVar[int] = 3
    laws: ClassVar[tuple[Law, ...]] = (Law("rt60_s", "rt60_s"), Law("drr_db", "drr_db"), KEY)
    rt60_s: Range = field(default=(0.2, 0.8), metadata=within(0.05, 5))
    drr_db: Range = field(default=(0.0, 12.0), metadata=within(-20, 40))

    @staticmethod
    def response(params: Params, hz: F64) -> F64:
        return np.ones(len(hz))

    @staticmethod
    def room(params: Params) -> Room | None:
        return Room(*(np.asarray(params[name]) for name in ("key", "rt60_s", "drr_db")))


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


@dataclass(frozen=True)
class Alone:
    """What `Whole` op does to one sound, with its numbers and where it happens."""

    op: type[Whole]
    params: Params
    active: Bool

    def masked(self, active: Bool) -> Alone:
        """The same where active, nothing elsewhere."""
        return replace(self, active=active)


Point = Noise | Gap | Alone


@dataclass(frozen=True, kw_only=True)
class Pointwise(Op):
    """An op on the samples themselves."""

    family: ClassVar[Family] = "samples"

    @classmethod
    @abstractmethod
    def point(cls, params: Params) -> Point:
        """What the executors run."""


@dataclass(frozen=True, kw_only=True)
class Whole(Pointwise):
    """An op that looks at a whole sound and says itself what becomes of it."""

    @staticmethod
    @abstractmethod
    def apply(params: Params, wave: F32, rate: int) -> F32:
        """A sound ``[T, C]`` with one set of numbers."""

    @staticmethod
    def line(params: Params, wave: F32, rate: int) -> Line:
        """Where times go, if they go anywhere."""
        return Line.still(np.asarray(len(wave) / rate))

    @classmethod
    def point(cls, params: Params) -> Point:
        return Alone(cls, params, np.array(True))


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

    @classmethod
    def point(cls, params: Params) -> Point:
        return Noise(*(np.asarray(params[name]) for name in ("key", "slope", "snr_db")))


@dataclass(frozen=True, kw_only=True)
class TimeMask(Pointwise):
    """Silence a part (SpecAugment). ``width_frac``: of the length, within [0, 1]; its place is drawn evenly."""

    num_uniforms: ClassVar[int] = 2
    width_frac: Range = field(default=(0.0, 0.1), metadata=within(0, 1))

    def draw(self, u: F64) -> dict[str, F64]:
        width = between(self.width_frac, u[..., 0])
        return {"width_frac": width, "from_frac": u[..., 1] * (1 - width)}

    @classmethod
    def point(cls, params: Params) -> Point:
        start = np.asarray(params["from_frac"])
        return Gap(start, start + np.asarray(params["width_frac"]))


def tilt(hz: F64, slope: F64) -> F64:
    """``[..., F]`` amplitudes of noise whose power falls as frequency to the power of ``slope`` ``[...]``; 1 at 1 kHz."""
    return np.asarray((np.maximum(hz, LOWEST_HZ) / 1000.0) ** (-np.asarray(slope)[..., None] / 2))
