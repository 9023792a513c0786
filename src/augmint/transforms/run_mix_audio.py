"""Plans that mix sounds: `run_audio` between the mixing steps, and what each of these makes of several sounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from augmint.core import rng
from augmint.core.rng import F64
from augmint.core.types import F32
from augmint.transforms import run_audio
from augmint.transforms.mix import Labels, shares
from augmint.transforms.mix_audio import SOUND_MIXES
from augmint.transforms.plan import Plan, Step
from augmint.transforms.temporal import Line, Pieces
from augmint.transforms.waves import mixed_in, of_length, power, resampled


@dataclass(frozen=True)
class Heard:
    """A sound ``[T, C]`` and what is known of it.

    Args:
        labels: the share of each class, 1 in all; empty where it has no label.
        parts: whose words are heard one after another (samples' ids, "" for the sound itself), and along which lines their times have gone.
    """

    wave: F32
    rate: int
    labels: Labels = field(default_factory=dict)
    parts: tuple[tuple[str, tuple[Line | Pieces, ...]], ...] = (("", ()),)

    @property
    def seconds(self) -> F64:
        return np.asarray(len(self.wave) / self.rate)

    def moved(self, *lines: Line | Pieces) -> Heard:
        """All its times gone along further lines."""
        return replace(self, parts=tuple((name, (*before, *lines)) for name, before in self.parts))


Load = Callable[[str], Heard]


def apply(plan: Plan, sound: Heard, load: Load) -> Heard:
    """What the plan makes of a sound.

    Args:
        load: the sound of a partner by its id, or ``file:`` and a path, at any rate and with any number of channels.
    """
    return _run(plan, plan.steps, sound, load)


def _run(plan: Plan, steps: tuple[Step, ...], sound: Heard, load: Load) -> Heard:
    waiting: list[Step] = []
    for step in steps:
        if step.op not in SOUND_MIXES:
            waiting.append(step)
            continue
        sound, waiting = _alone(plan, waiting, sound), []
        others = [_run(plan, p.steps, replace(load(str(p.id)), parts=((str(p.id), ()),)), load) for p in step.partners]
        sound = _MIX[step.op](step, sound, others)
    return _alone(plan, waiting, sound)


def _alone(plan: Plan, steps: list[Step], sound: Heard) -> Heard:
    wave, lines = run_audio.apply_with(replace(plan, steps=tuple(steps)), sound.wave, sound.rate)
    return replace(sound, wave=wave).moved(*lines)


def _like(sound: Heard, other: Heard) -> Heard:
    """Another sound at this one's rate, with as many channels: their mean in each, where the numbers differ."""
    wave = resampled(other.wave, sound.rate / other.rate)
    if wave.shape[1] != sound.wave.shape[1]:
        wave = np.repeat(wave.mean(axis=1, keepdims=True), sound.wave.shape[1], axis=1)
    return replace(other, wave=wave, rate=sound.rate)


def _mix_up(step: Step, sound: Heard, others: list[Heard]) -> Heard:
    other, lam = _like(sound, others[0]), step.params["lam"]
    wave = np.float32(lam) * sound.wave + np.float32(1 - lam) * of_length(other.wave, len(sound.wave))
    return replace(sound, wave=wave, labels=shares([(sound.labels, lam), (other.labels, 1 - lam)]))


def _concat(step: Step, sound: Heard, others: list[Heard]) -> Heard:
    other = _like(sound, others[0])
    gap = np.zeros((round(step.params["gap_s"] * sound.rate), sound.wave.shape[1]), np.float32)
    own = len(sound.wave) / (len(sound.wave) + len(other.wave))
    both = Heard(
        np.concatenate([sound.wave, gap, other.wave]),
        sound.rate,
        shares([(sound.labels, own), (other.labels, 1 - own)]),
    )
    first = sound.moved(Line.still(sound.seconds).framed(np.zeros(()), both.seconds))
    second = other.moved(Line.still(other.seconds).framed(both.seconds - other.seconds, both.seconds))
    return replace(both, parts=(*first.parts, *second.parts))


def _add_babble(step: Step, sound: Heard, others: list[Heard]) -> Heard:
    places = rng.uniform(np.uint64(step.params["key"]), np.arange(len(others)))
    voices = [_cut(_like(sound, o).wave, len(sound.wave), float(u)) for o, u in zip(others, places, strict=True)]
    babble = sum((v / np.float32(np.sqrt(have)) for v in voices if (have := power(v)) > 0), np.zeros_like(sound.wave))
    return replace(sound, wave=mixed_in(sound.wave, babble, step.params["snr_db"]))


def _add_background(step: Step, sound: Heard, others: list[Heard]) -> Heard:
    background = _cut(_like(sound, others[0]).wave, len(sound.wave), step.params["from_frac"])
    return replace(sound, wave=mixed_in(sound.wave, background, step.params["snr_db"]))


def _cut(wave: F32, length: int, start: float) -> F32:
    """So many samples from a random place: where there are not enough, it is gone through again and again."""
    if len(wave) >= length:
        first = int(start * (len(wave) - length + 1))
        return wave[first : first + length]
    return wave[(int(start * len(wave)) + np.arange(length)) % len(wave)]


def _in_room(step: Step, sound: Heard, others: list[Heard]) -> Heard:
    import scipy.signal

    answer = resampled(others[0].wave[:, :1], sound.rate / others[0].rate)[:, 0]
    answer = answer[int(np.abs(answer).argmax()) :][: len(sound.wave)]
    have = float(np.square(answer, dtype=np.float64).sum())
    if have == 0:
        return sound
    out: F32 = scipy.signal.oaconvolve(sound.wave, answer[:, None] / np.float32(np.sqrt(have)), axes=0)
    return replace(sound, wave=out[: len(sound.wave)].astype(np.float32, copy=False))


_MIX: Mapping[str, Callable[[Step, Heard, list[Heard]], Heard]] = {
    "MixUp": _mix_up,
    "Concat": _concat,
    "AddBabble": _add_babble,
    "AddBackground": _add_background,
    "ImpulseResponse": _in_room,
}
