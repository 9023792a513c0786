"""The program on one sound: float32 ``[T, C]``."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from augmint.core.rng import F64
from augmint.core.types import F32
from augmint.transforms import fuse_audio
from augmint.transforms.fuse_audio import Response, Stage
from augmint.transforms.local import normal_field
from augmint.transforms.plan import Plan
from augmint.transforms.signal import Gap, Noise, tilt
from augmint.transforms.temporal import TimeMap

FADE_S = 0.005
_FRAME_S, _REACH_S = 0.030, 0.010
_COARSE_HZ = 8_000
_RINGING_S = 0.1
_FINEST = 200  # of the fractions that stand for ratios of rates: wrong by less than a thousandth of a semitone


def apply(plan: Plan, wave: F32, rate: int, *, exact: bool = False) -> F32:
    """What a plan makes of a sound ``[T, C]`` at ``rate`` samples a second. All channels go the same way.

    Args:
        exact: op by op, as they are written: the reference for the fused program.
    """
    plans = [replace(plan, steps=(step,)) for step in plan.steps] if exact else [plan]
    for each in plans:
        for stage in fuse_audio.compile(each):
            wave = _run(stage, wave, rate)
    return wave


def _run(stage: Stage, wave: F32, rate: int) -> F32:
    match stage:
        case TimeMap():
            return _moved(stage, wave, rate)
        case Response():
            return _filtered(stage, wave, rate)
        case Noise():
            return _noisy(stage, wave, rate)
        case Gap():
            return _gapped(stage, wave, rate)


# --- time ------------------------------------------------------------------------------------------------------------


def _moved(stage: TimeMap, wave: F32, rate: int) -> F32:
    scale, pitch = float(stage.scale), float(stage.pitch)
    out = stretched(wave, scale * pitch, rate)
    if pitch != 1:
        out = resampled(out, 1 / pitch)
    out = _of_length(out, max(1, round(len(wave) * scale)))
    return _shifted(out, round(float(stage.shift_s) * rate), rate)


def _of_length(wave: F32, length: int) -> F32:
    return wave[:length] if len(wave) >= length else np.pad(wave, ((0, length - len(wave)), (0, 0)))


def _shifted(wave: F32, samples: int, rate: int) -> F32:
    """Later by so many samples at the same length; where the sound is cut it fades, so that nothing clicks."""
    if samples == 0:
        return wave
    out = np.zeros_like(wave)
    size = len(wave) - abs(samples)
    if size <= 0:
        return out
    kept = wave[:size] if samples > 0 else wave[-size:]
    fade = _fade(min(size, round(FADE_S * rate)))
    kept = kept.copy()
    kept[: len(fade)] *= fade
    kept[size - len(fade) :] *= fade[::-1]
    out[max(samples, 0) : max(samples, 0) + size] = kept
    return out


def _fade(length: int) -> F32:
    """``[length, 1]`` from 0 to 1."""
    up = 0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / max(1, length))
    return up.astype(np.float32)[:, None]


def resampled(wave: F32, ratio: float) -> F32:
    """``ratio`` times as many samples of the same sound, low-pass filtered so that nothing folds back: ``[T · ratio, C]``."""
    from scipy.signal import resample_poly

    found = Fraction(ratio).limit_denominator(_FINEST)
    if found == 1:
        return wave
    out: F32 = np.asarray(resample_poly(wave, found.numerator, found.denominator, axis=0), dtype=np.float32)
    return out


def stretched(wave: F32, factor: float, rate: int) -> F32:
    """``factor`` times as long at the same pitch: ``[round(T · factor), C]``.

    Overlap-add of pieces that are taken, within 10 ms of where they should be, from where they go on best with what the last
    piece was followed by (WSOLA, Verhelst and Roelands 1993).
    """
    length = max(1, round(len(wave) * factor))
    if length == len(wave):
        return wave
    half = max(4, round(_FRAME_S * rate / 2))
    reach, step = round(_REACH_S * rate), max(1, rate // _COARSE_HZ)
    edge = reach + 2 * half
    padded = np.pad(wave, ((edge, edge + 2 * half + step), (0, 0)))
    search = _Search(padded.mean(axis=1), 2 * half, reach, step)
    window = (0.5 - 0.5 * np.cos(np.pi * (np.arange(2 * half) + 0.5) / half)).astype(np.float32)[:, None]
    out = np.zeros((length + 4 * half, wave.shape[1]), dtype=np.float32)
    at = edge - half
    for start in range(0, length + half, half):
        if start:
            ideal = min(edge - half + round(start / factor), len(padded) - reach - 2 * half - step)
            at = search.best(min(at + half, len(padded) - 2 * half), ideal)
        out[start : start + 2 * half] += padded[at : at + 2 * half] * window
    return out[half : half + length]


class _Search:
    """Where pieces of ``length`` samples are most like a given one: every ``step`` samples within ``reach``, then in between."""

    def __init__(self, mono: F32, length: int, reach: int, step: int) -> None:
        self.mono, self.length, self.reach, self.step = mono, length, reach, step
        self.coarse = np.ascontiguousarray(mono[::step])
        self.energies = [_summed(x) for x in (mono, self.coarse)]

    def best(self, target: int, ideal: int) -> int:
        """The place near ``ideal`` whose piece is most like the one at ``target``."""
        length, step = self.length, self.step
        wanted = self.mono[target : target + length]
        first, num = (ideal - self.reach) // step, 2 * self.reach // step + 1
        found = step * _likest(self.coarse, self.energies[1], wanted[::step], first, num)
        if step == 1:
            return found
        low = max(0, found - step + 1)
        return _likest(self.mono, self.energies[0], wanted, low, 2 * step - 1)


def _summed(x: F32) -> F64:
    """``[T + 1]`` energy before each sample."""
    return np.concatenate([[0.0], np.cumsum(np.square(x, dtype=np.float64))])


def _likest(x: F32, energy: F64, wanted: F32, first: int, num: int) -> int:
    """Which of ``num`` places from ``first`` on has the largest normalised correlation with ``wanted``."""
    size = len(wanted)
    products = np.correlate(x[first : first + num + size - 1], wanted)
    held = energy[first + size : first + size + num] - energy[first : first + num]
    return first + int((products / np.sqrt(held + 1e-9)).argmax())


# --- spectrum --------------------------------------------------------------------------------------------------------


def _filtered(stage: Response, wave: F32, rate: int) -> F32:
    import scipy.fft

    size = scipy.fft.next_fast_len(len(wave) + round(_RINGING_S * rate), real=True)
    factors = stage.at(_places_hz(size, rate))
    if factors.min() == factors.max():
        return wave * np.float32(factors[0])
    spectrum = scipy.fft.rfft(wave, size, axis=0) * factors.astype(np.float32)[:, None]
    out: F32 = scipy.fft.irfft(spectrum, size, axis=0)[: len(wave)].astype(np.float32, copy=False)
    return out


def _places_hz(size: int, rate: int) -> F64:
    """Frequencies of the bins of a real transform of so many samples."""
    return np.arange(size // 2 + 1, dtype=np.float64) * (rate / size)


# --- samples ---------------------------------------------------------------------------------------------------------


def _noisy(stage: Noise, wave: F32, rate: int) -> F32:
    power = float(np.square(wave, dtype=np.float64).mean())
    noise = _noise(stage, len(wave), wave.shape[1], rate)
    have = float(np.square(noise, dtype=np.float64).mean())
    if power == 0 or have == 0:
        return wave
    return wave + noise * np.float32(np.sqrt(power / have * 10 ** (-float(stage.snr_db) / 10)))


def _noise(stage: Noise, length: int, channels: int, rate: int) -> F32:
    """``[length, channels]`` at any level."""
    import scipy.fft

    field = normal_field(stage.key, length * channels).reshape(channels, length)
    if stage.slope == 0:
        return field.T
    size = scipy.fft.next_fast_len(length, real=True)
    spectrum = scipy.fft.rfft(field, size, axis=1) * tilt(_places_hz(size, rate), stage.slope).astype(np.float32)
    out: F32 = scipy.fft.irfft(spectrum, size, axis=1)[:, :length].astype(np.float32, copy=False)
    return out.T


def _gapped(stage: Gap, wave: F32, rate: int) -> F32:
    start, stop = round(float(stage.start) * len(wave)), round(float(stage.stop) * len(wave))
    if stop <= start:
        return wave
    fade = _fade(min((stop - start) // 2, round(FADE_S * rate)))
    out = wave.copy()
    out[start + len(fade) : stop - len(fade)] = 0
    out[start : start + len(fade)] *= fade[::-1]
    out[stop - len(fade) : stop] *= fade
    return out
