"""Transforms of time and pitch. However many there are in a plan, they are one line from old to new times and one change of pitch:
the sound is stretched once and resampled once, and whatever is tied to times moves along the same line."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from augmint.core.rng import F64
from augmint.transforms.op import EVEN, Bool, Family, Law, Op, Params, Range, within

LONGEST_S = 600.0
_TORN_S = 0.002  # so near to the middle between two pieces, they are within 5 dB of each other


@dataclass(frozen=True)
class Line:
    """New time = ``scale`` · old time + ``shift_s``, for what comes to lie from ``start_s`` to ``stop_s``; each ``[...]``, in seconds.

    The sound is ``seconds`` long now, silent where nothing has come to lie, and its pitch is ``pitch`` times what it was.
    """

    scale: F64
    shift_s: F64
    start_s: F64
    stop_s: F64
    seconds: F64
    pitch: F64

    @classmethod
    def still(cls, seconds: F64) -> Line:
        none = 0.0 * seconds
        return cls(none + 1, none, none, seconds, seconds, none + 1)

    def stretched(self, factor: F64, *, pitch: F64 | float = 1.0) -> Line:
        """``factor`` times as long."""
        times = {name: value * factor for name, value in vars(self).items() if name != "pitch"}
        return Line(**times, pitch=self.pitch * pitch)

    def framed(self, later_s: F64, seconds: F64) -> Line:
        """Later by so many seconds, in a frame of another length; what it leaves is lost."""
        start, stop = (np.clip(t + later_s, 0.0, seconds) for t in (self.start_s, self.stop_s))
        return replace(self, shift_s=self.shift_s + later_s, start_s=start, stop_s=stop, seconds=seconds)

    @property
    def is_still(self) -> bool:
        """Whether nothing moves, of one sound."""
        return (float(self.scale), float(self.shift_s), float(self.pitch)) == (1.0, 0.0, 1.0) and bool(
            self.start_s == 0 and self.stop_s == self.seconds
        )

    def where(self, active: Bool, other: Line) -> Line:
        """This line where active, ``other`` elsewhere."""
        return Line(*(np.where(active, a, b) for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    def at(self, times_s: F64) -> F64:
        """Where times are now, those that were lost at the ends of what is left."""
        return np.asarray(np.clip(self.scale * times_s + self.shift_s, self.start_s, self.stop_s))


@dataclass(frozen=True)
class Pieces:
    """A `Line` of one sound as it was gone along: piece by piece, each of them taken from near where the line has it.

    Args:
        taken_s: ``[K]`` the middle of each piece in old time; ``placed_s``: in new time, evenly apart.
    """

    line: Line
    taken_s: F64
    placed_s: F64

    def at(self, times_s: F64) -> F64:
        """As `Line.at`, where they are heard.

        A piece is heard by itself until halfway to the next one, and time in it goes as fast as before (but for the pitch). What lies between
        two pieces, or is as loud in one of them as in the other, is between its two places. So times keep their order.
        """
        apart = (self.placed_s[1] - self.placed_s[0]) * self.line.pitch
        alone = np.clip(np.diff(self.taken_s) / 2 - _TORN_S, 0, apart / 2 - _TORN_S)
        ends = np.stack([np.append(0, -alone), np.append(alone, 0)], 1)
        old, new = (self.taken_s[:, None] + ends).ravel(), (self.placed_s[:, None] + ends / self.line.pitch).ravel()
        return np.asarray(np.clip(np.interp(times_s, old, new), self.line.start_s, self.line.stop_s))


def along(lines: Iterable[Line | Pieces], times_s: F64) -> F64:
    """Where times are after several lines, one after another."""
    for line in lines:
        times_s = line.at(times_s)
    return times_s


@dataclass(frozen=True, kw_only=True)
class Temporal(Op):
    """An op that changes a `Line`."""

    family: ClassVar[Family] = "time"

    @staticmethod
    @abstractmethod
    def move(line: Line, params: Params) -> Line:
        """What becomes of times and pitch, for numbers ``[...]``."""


@dataclass(frozen=True)
class TimeMap:
    """Ops on time in a row, each with its numbers and where it happens."""

    parts: tuple[tuple[type[Temporal], Params, Bool], ...]

    def line(self, seconds: F64) -> Line:
        """What they are together for sounds of so many seconds ``[...]``."""
        line = Line.still(seconds)
        for op, params, active in self.parts:
            line = op.move(line, params).where(active, line)
        return line


@dataclass(frozen=True, kw_only=True)
class TimeStretch(Temporal):
    """Speak faster or slower at the same pitch. ``rate``: above 1 = faster and shorter; log-uniform; within [0.5, 2]."""

    num_uniforms: ClassVar[int] = 1
    laws: ClassVar[tuple[Law, ...]] = (Law("rate", "rate", log=True),)
    rate: Range = field(default=(0.9, 1.1), metadata=within(0.5, 2))

    @staticmethod
    def move(line: Line, params: Params) -> Line:
        return line.stretched(1 / np.asarray(params["rate"]))


@dataclass(frozen=True, kw_only=True)
class PitchShift(Temporal):
    """Higher or lower at the same speed, formants and all. ``semitones``: within [-12, 12]."""

    num_uniforms: ClassVar[int] = 1
    laws: ClassVar[tuple[Law, ...]] = (Law("semitones", "semitones"),)
    semitones: Range = field(default=(-2.0, 2.0), metadata=within(-12, 12))

    @staticmethod
    def move(line: Line, params: Params) -> Line:
        pitch = 2.0 ** (np.asarray(params["semitones"]) / 12)
        return line.stretched(np.ones_like(pitch), pitch=pitch)


@dataclass(frozen=True, kw_only=True)
class SpeedPerturb(Temporal):
    """Play faster or slower, pitch and all, as a record does (Ko et al. 2015, "Audio augmentation for speech recognition").

    ``factor``: above 1 = faster, shorter and higher; log-uniform; within [0.5, 2].
    """

    num_uniforms: ClassVar[int] = 1
    laws: ClassVar[tuple[Law, ...]] = (Law("factor", "factor", log=True),)
    factor: Range = field(default=(0.9, 1.1), metadata=within(0.5, 2))

    @staticmethod
    def move(line: Line, params: Params) -> Line:
        factor = np.asarray(params["factor"])
        return line.stretched(1 / factor, pitch=factor)


@dataclass(frozen=True, kw_only=True)
class TimeShift(Temporal):
    """Earlier or later, by up to a part of a second; the length stays, what leaves it is lost and silence fills the gap.

    ``shift_s``: seconds, positive = later, within [-10, 10].
    """

    num_uniforms: ClassVar[int] = 1
    laws: ClassVar[tuple[Law, ...]] = (Law("shift_s", "shift_s"),)
    shift_s: Range = field(default=(-0.05, 0.05), metadata=within(-10, 10))

    @staticmethod
    def move(line: Line, params: Params) -> Line:
        return line.framed(np.asarray(params["shift_s"]), line.seconds)


@dataclass(frozen=True, kw_only=True)
class Crop(Temporal):
    """Keep a part at a random place. ``seconds``: how much, within [0.02, 600]; what is shorter stays whole."""

    num_uniforms: ClassVar[int] = 2
    laws: ClassVar[tuple[Law, ...]] = (Law("seconds", "seconds"), Law("from_frac", EVEN))
    seconds: Range = field(default=(1.0, 1.0), metadata=within(0.02, LONGEST_S))

    @staticmethod
    def move(line: Line, params: Params) -> Line:
        kept = np.minimum(line.seconds, np.asarray(params["seconds"]))
        return line.framed(-np.asarray(params["from_frac"]) * (line.seconds - kept), kept)


@dataclass(frozen=True, kw_only=True)
class Pad(Temporal):
    """Add silence. ``seconds``: the least length, within [0.02, 600]; what is longer stays as it is. ``before_frac``: the share of the
    silence that comes before the sound, within [0, 1]."""

    num_uniforms: ClassVar[int] = 2
    laws: ClassVar[tuple[Law, ...]] = (Law("seconds", "seconds"), Law("before_frac", "before_frac"))
    seconds: Range = field(default=(1.0, 1.0), metadata=within(0.02, LONGEST_S))
    before_frac: Range = field(default=(0.0, 0.0), metadata=within(0, 1))

    @staticmethod
    def move(line: Line, params: Params) -> Line:
        seconds = np.maximum(line.seconds, np.asarray(params["seconds"]))
        return line.framed(np.asarray(params["before_frac"]) * (seconds - line.seconds), seconds)
