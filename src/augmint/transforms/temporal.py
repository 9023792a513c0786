"""Transforms of time and pitch. However many there are in a plan, they are one line from old to new times and one change of pitch:
the sound is stretched once and resampled once, and whatever is tied to times moves along the same line."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from augmint.core.rng import F64
from augmint.transforms.op import Bool, Family, Op, Params, Range, between, within


@dataclass(frozen=True)
class TimeMap:
    """New time = ``scale`` · old time + ``shift_s``, in seconds, and the pitch times ``pitch``; each ``[...]``.

    The sound becomes ``scale`` times as long. A shift leaves its length: what it moves beyond an end is lost, and there is
    silence where it came from.
    """

    scale: F64
    shift_s: F64
    pitch: F64

    @classmethod
    def still(cls) -> TimeMap:
        return cls(np.ones(()), np.zeros(()), np.ones(()))

    @property
    def is_still(self) -> bool:
        return bool(np.all(self.scale == 1) and np.all(self.shift_s == 0) and np.all(self.pitch == 1))

    def then(self, after: TimeMap) -> TimeMap:
        return TimeMap(self.scale * after.scale, self.shift_s * after.scale + after.shift_s, self.pitch * after.pitch)

    def masked(self, active: Bool) -> TimeMap:
        """The same where active, nothing elsewhere."""
        return TimeMap(
            np.where(active, self.scale, 1.0),
            np.where(active, self.shift_s, 0.0),
            np.where(active, self.pitch, 1.0),
        )

    def moved(self, times_s: F64, seconds: float) -> F64:
        """Where times of a sound of so many seconds are now, those beyond its ends at the ends."""
        return np.asarray(np.clip(self.scale * times_s + self.shift_s, 0.0, self.scale * seconds))


@dataclass(frozen=True, kw_only=True)
class Temporal(Op):
    """An op that is a `TimeMap`."""

    family: ClassVar[Family] = "time"

    @staticmethod
    @abstractmethod
    def time_map(params: Params) -> TimeMap:
        """What the op does to times and pitch."""


def _map(params: Params, name: str, **parts: F64) -> TimeMap:
    still = np.asarray(params[name]) * 0.0
    return TimeMap(parts.get("scale", still + 1), parts.get("shift_s", still), parts.get("pitch", still + 1))


@dataclass(frozen=True, kw_only=True)
class TimeStretch(Temporal):
    """Speak faster or slower at the same pitch. ``rate``: above 1 = faster and shorter; log-uniform; within [0.5, 2]."""

    num_uniforms: ClassVar[int] = 1
    rate: Range = field(default=(0.9, 1.1), metadata=within(0.5, 2))

    def draw(self, u: F64) -> dict[str, F64]:
        low, high = np.log(self.rate)
        return {"rate": np.exp(between((low, high), u[..., 0]))}

    @staticmethod
    def time_map(params: Params) -> TimeMap:
        return _map(params, "rate", scale=1 / np.asarray(params["rate"]))


@dataclass(frozen=True, kw_only=True)
class PitchShift(Temporal):
    """Higher or lower at the same speed, formants and all. ``semitones``: within [-12, 12]."""

    num_uniforms: ClassVar[int] = 1
    semitones: Range = field(default=(-2.0, 2.0), metadata=within(-12, 12))

    def draw(self, u: F64) -> dict[str, F64]:
        return {"semitones": between(self.semitones, u[..., 0])}

    @staticmethod
    def time_map(params: Params) -> TimeMap:
        return _map(params, "semitones", pitch=2.0 ** (np.asarray(params["semitones"]) / 12))


@dataclass(frozen=True, kw_only=True)
class TimeShift(Temporal):
    """Earlier or later, by up to a part of a second. ``shift_s``: seconds, positive = later, within [-10, 10]."""

    num_uniforms: ClassVar[int] = 1
    shift_s: Range = field(default=(-0.05, 0.05), metadata=within(-10, 10))

    def draw(self, u: F64) -> dict[str, F64]:
        return {"shift_s": between(self.shift_s, u[..., 0])}

    @staticmethod
    def time_map(params: Params) -> TimeMap:
        return _map(params, "shift_s", shift_s=np.asarray(params["shift_s"]))
