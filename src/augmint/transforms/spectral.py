"""Noise out of a sound by its spectrogram alone: what is steady is noise, what stands out of it is speech.

The whole sound is at hand, so both estimates look ahead as well as back:

1. The noise's power at each frequency is tracked from frame to frame by how probably there is speech (Gerkmann and Hendriks 2012),
   once forwards and once backwards in time, from the softest fifth of the frames; the geometric mean of both counts.
2. The speech's power over the noise's follows from frame to frame too (decision-directed, Ephraim and Malah 1984), both ways.
3. What that makes of the speech's spectrum is smoothed in the cepstrum (Breithaupt, Gerkmann and Martin 2008): its envelope hardly, the rest
   over some frames, but for the peak that a voice's pitch is, which stays: so harmonics stand, and single cells do not sing.
4. Each cell is multiplied by the gain that is best for logarithms of amplitudes (Ephraim and Malah 1985).

Phases stay; nothing moves in time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from augmint.core.types import F32
from augmint.transforms.waves import overlap

C64 = NDArray[np.complex64]
_HOP_S = 0.016
_OVERLAP = 3
_SILENT = 1e-10  # mean power of a frame; 100 dB below full scale
SOFTEST = 0.2  # of the frames, to start from
_PRIOR = 10**1.5  # a cell with speech in it is usually so much stronger than the noise: 15 dB
_WITHIN_S, _BRIEF, _BIAS = 1.0, 7, 1.5
_KEPT = 0.95  # of the noise's estimate from one frame to the next
_SURE = 0.99  # that there is speech, at most: an estimate that is too low gets out of it
_FOLLOWED = 0.93  # of the speech's estimate from one frame to the next
_LEAST = 10**-2.5  # the speech's power over the noise's
_MOST = 1e4
FLOOR = 10 ** (-25 / 20)
_ENVELOPE_S, _COARSE_S = 0.0008, 0.0025
_SMOOTHINGS = (1.0, 2.0)  # frames: of what is between these two quefrencies, and of what is above
_PITCH_HZ = (70.0, 400.0)
_SOFTER_DB, _EXTRA_DB = 2.0, 3.0
_SOFT_DB, _BURIED_DB = -35.0, -6.0  # speech below the loudest frame, and below the noise, is none
_ROUNDS = 2  # of steps 3 and 4
_LOG_V, _STEPS = (-11.0, 4.0), 4096
_VOICED = 0.15  # the cepstrum's peak where there is a pitch


def cleaned(wave: F32, rate: int) -> F32:
    """The speech in ``[T, C]``, as long; all channels have the same gains, so that voices stay where they are."""
    return Frames(rate).changed(wave, lambda power: gains(power, rate))


def boosted(wave: F32, rate: int, gain_db: float) -> F32:
    """``[T, C]`` with the speech raised, as `rises` has it; all channels have the same gains."""
    return Frames(rate).changed(wave, lambda power: rises(power, gains(power, rate), gain_db))


def rises(power: F32, gain: F32, gain_db: float) -> F32:
    """``[frames, bins]`` factors of amplitude that make frames with speech ``gain_db`` louder, at the frequencies where the speech is.

    What is no speech gets 2 dB softer, which pays for the noise that is taken along around words. Speech deep in noise gets less: no cell
    gets more than 3 dB above ``gain_db``. Where there is no speech at all, all stays as it is.

    Args:
        gain: what would leave the speech, as `gains` gives it.
    """
    share = (gain - np.float32(FLOOR)) / np.float32(1 - FLOOR)
    share *= _spoken(power, share)[:, None]
    there = share.any(axis=1)
    if not there.any():
        return np.ones_like(gain)
    softer = np.float32(10 ** (-_SOFTER_DB / 20)) ** (1 - share)
    # The powers of frames with speech, times (softer * (1 + rise * share))^2, sum to what is wanted: a quadratic equation for rise.
    wanted = 10 ** (gain_db / 10) * float(power[there].sum(dtype=np.float64))
    weights, part = (power * np.square(softer))[there].astype(np.float64), share[there].astype(np.float64)
    a, b, c = (float((weights * part**k).sum()) for k in (2, 1, 0))
    rise = (np.sqrt(max(0.0, b * b + a * (wanted - c))) - b) / a
    out: F32 = softer * (1 + np.float32(min(rise, 10 ** ((gain_db + _EXTRA_DB) / 20) - 1)) * share)
    return out


def _spoken(power: F32, share: F32) -> NDArray[np.bool_]:
    """``[frames]``: whether there is speech, or there is in a frame beside it."""
    from scipy.ndimage import maximum_filter1d

    speech, rest = ((power * np.square(part)).sum(axis=1) for part in (share, 1 - share))
    rest = maximum_filter1d(rest, 3)
    there = (speech > 10 ** (_SOFT_DB / 10) * speech.max()) & (speech > 10 ** (_BURIED_DB / 10) * rest)
    return np.asarray(maximum_filter1d(there, 3))


class Frames:
    """Windows of 48 ms, a third of it apart: square roots of Hann's, there and back."""

    def __init__(self, rate: int) -> None:
        import scipy.fft

        self.hop = int(scipy.fft.next_fast_len(max(4, round(_HOP_S * rate))))
        self.size = _OVERLAP * self.hop
        at = (np.arange(self.size) + 0.5) / self.size
        self.window = np.sin(np.pi * at).astype(np.float32)
        self.scale = self.size / 2
        """What a frame's power sums to, a bin, for white noise of mean square 1."""

    def changed(self, wave: F32, factors: Callable[[F32], F32]) -> F32:
        """``[T, C]`` with each cell times what ``factors`` makes of the channels' mean power ``[frames, bins]``, the same for all channels."""
        spectrum = np.stack([self.transform(channel) for channel in wave.T])
        found = factors(np.square(np.abs(spectrum)).mean(axis=0) / np.float32(self.scale))
        return np.stack([self.inverse(channel * found, len(wave)) for channel in spectrum], axis=1)

    def transform(self, mono: F32) -> C64:
        """``[frames, bins]`` of ``[T]``; the first frame ends with the first hop."""
        import scipy.fft

        padded = np.pad(mono, (self.size - self.hop, 2 * self.size))
        parts = np.lib.stride_tricks.sliding_window_view(padded, self.size)[:: self.hop]
        parts = parts[: -(-len(mono) // self.hop) + _OVERLAP - 1]
        found: C64 = scipy.fft.rfft(parts * self.window, axis=1)
        return found

    def inverse(self, spectrum: C64, length: int) -> F32:
        """``[length]`` of ``[frames, bins]``."""
        import scipy.fft

        parts = scipy.fft.irfft(spectrum, self.size, axis=1) * self.window
        out = np.zeros((len(parts) + _OVERLAP - 1, self.hop), np.float32)
        overlap(parts, out)
        return out.ravel()[self.size - self.hop :][:length] * np.float32(2 / _OVERLAP)


def gains(power: F32, rate: int) -> F32:
    """``[frames, bins]`` factors of amplitude in [0.056, 1] for powers of `Frames`."""
    power = np.maximum(power, np.float32(_SILENT))
    noise = noise_of(power)
    over = np.minimum(power / noise, np.float32(_MOST))
    prior = _followed(over)
    for _ in range(_ROUNDS):
        speech = np.maximum(np.square(_gain(prior, over)) * over, np.float32(_LEAST))
        prior = np.maximum(_smoothed(speech * noise, rate) / noise, np.float32(_LEAST))
    return np.clip(_gain(prior, over), np.float32(FLOOR), 1)


def noise_of(power: F32) -> F32:
    """The noise's power in each cell of ``[frames, bins]``. Frames of digital silence tell nothing of it."""
    heard = power.mean(axis=1) > 10 * _SILENT
    out = power.copy()
    if heard.any():
        out[heard] = _tracked(power[heard])
    return out


def _tracked(power: F32) -> F32:
    softest = np.argsort(power.mean(axis=1), kind="stable")[: max(2, round(SOFTEST * len(power)))]
    both = np.stack([power, power[::-1]], axis=1)
    noise = np.broadcast_to(power[softest].mean(axis=0), both.shape[1:]).copy()
    found = np.empty_like(both)
    usual = np.full_like(noise, 0.5)
    slope, odds = np.float32(_PRIOR / (1 + _PRIOR)), np.float32(1 + _PRIOR)
    least = _least(power)
    least = np.stack([least, least[::-1]], axis=1)
    for t, here in enumerate(both):
        noise = np.maximum(noise, least[t])
        speech = 1 / (1 + odds * np.exp(-slope * np.minimum(here / noise, 80)))
        usual = np.float32(0.9) * usual + np.float32(0.1) * speech
        speech = np.where(usual > _SURE, np.minimum(speech, np.float32(_SURE)), speech)
        noise = noise + np.float32(1 - _KEPT) * (1 - speech) * (here - noise)
        found[t] = noise
    out: F32 = np.sqrt(found[:, 0] * found[::-1, 1])
    return out


def _least(power: F32) -> F32:
    """What the noise has at least: the least power, over some frames, that there is within a second (Martin 2001)."""
    from scipy.ndimage import minimum_filter1d, uniform_filter1d

    width = 2 * round(_WITHIN_S / _HOP_S) + 1
    over = uniform_filter1d(power, _BRIEF, axis=0, mode="nearest")
    out: F32 = np.float32(_BIAS) * minimum_filter1d(over, width, axis=0, mode="nearest")
    return out


def _followed(over: F32) -> F32:
    """The speech's power over the noise's, from the whole power over the noise's, ``[frames, bins]``."""
    both = np.stack([over, over[::-1]], axis=1)
    new = np.float32(1 - _FOLLOWED) * np.maximum(both - 1, 0)
    found = np.empty_like(both)
    last = np.ones_like(both[0])
    for t, here in enumerate(both):
        prior = np.maximum(np.float32(_FOLLOWED) * last + new[t], np.float32(_LEAST))
        found[t] = prior
        last = np.square(prior / (1 + prior)) * here
    out: F32 = np.sqrt(found[:, 0] * found[::-1, 1])
    return out


def _smoothed(speech: F32, rate: int) -> F32:
    """The speech's power, smoothed over frames in the cepstrum."""
    import scipy.fft
    from scipy.ndimage import gaussian_filter1d

    size = 2 * (speech.shape[1] - 1)
    cepstrum = scipy.fft.irfft(np.log(speech), size, axis=1)[:, : speech.shape[1]]
    smooth = cepstrum.copy()
    edges = [round(s * rate) for s in (_ENVELOPE_S, _COARSE_S)]
    for low, high, frames in zip(edges, [edges[1], None], _SMOOTHINGS, strict=True):
        smooth[:, low:high] = gaussian_filter1d(cepstrum[:, low:high], frames, axis=0, truncate=2.5)
    lowest, highest = (round(rate / hz) for hz in reversed(_PITCH_HZ))
    part = cepstrum[:, lowest : highest + 1]
    if part.shape[1]:
        voiced = np.flatnonzero(part.max(axis=1) > _VOICED)
        peak = lowest + part[voiced].argmax(axis=1)
        for near in (-1, 0, 1):
            at = np.minimum(peak + near, cepstrum.shape[1] - 1)
            smooth[voiced, at] = cepstrum[voiced, at]
    whole = np.concatenate([smooth, smooth[:, -2:0:-1]], axis=1)
    out: F32 = np.exp(np.minimum(scipy.fft.rfft(whole, axis=1).real, 60))
    return out


def _gain(prior: F32, over: F32) -> F32:
    """The gain that is best for logarithms of amplitudes: with ``v = prior / (1 + prior) * over``, ``v / over * exp(E1(v) / 2)``."""
    wiener = prior / (1 + prior)
    at = (np.log(wiener * over) - np.float32(_LOG_V[0])) * np.float32(_STEPS / (_LOG_V[1] - _LOG_V[0]))
    out: F32 = wiener * _table()[np.clip(at, 0, _STEPS).astype(np.int32)]
    return out


@lru_cache(maxsize=1)
def _table() -> F32:
    """``exp(E1(v) / 2)`` at even steps of ``log(v)``."""
    from scipy.special import exp1

    steps = np.linspace(*_LOG_V, _STEPS + 1) + (_LOG_V[1] - _LOG_V[0]) / _STEPS / 2
    return np.exp(exp1(np.exp(steps)) / 2).astype(np.float32)
