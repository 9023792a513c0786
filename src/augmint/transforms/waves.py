"""What several ops do to waves ``[T, C]``: fade, filter, resample, cut into frames."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from augmint.core.rng import F64
from augmint.core.types import F32

FADE_S = 0.005
RINGING_S = 0.1
"""How long a filter may ring on beyond the end of a sound."""
_FINEST = 200  # of the fractions that stand for ratios of rates: wrong by less than a thousandth of a semitone


def fade(length: int) -> F32:
    """``[length, 1]`` from 0 to 1."""
    up = 0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / max(1, length))
    return up.astype(np.float32)[:, None]


def faded(wave: F32, rate: int) -> F32:
    """In and out within 5 ms at each end."""
    edge = fade(min(len(wave), round(FADE_S * rate)))
    out = wave.copy()
    out[: len(edge)] *= edge
    out[len(out) - len(edge) :] *= edge[::-1]
    return out


def places_hz(size: int, rate: float) -> F64:
    """Frequencies of the bins of a real transform of so many samples."""
    return np.arange(size // 2 + 1, dtype=np.float64) * (rate / size)


def filtered(wave: F32, rate: int, response: Callable[[F64], F64]) -> F32:
    """Each frequency times a real number: ``response`` from frequencies ``[F]`` in Hz."""
    import scipy.fft

    size = scipy.fft.next_fast_len(len(wave) + round(RINGING_S * rate), real=True)
    factors = response(places_hz(size, rate)).astype(np.float32)[:, None]
    out: F32 = scipy.fft.irfft(scipy.fft.rfft(wave, size, axis=0) * factors, size, axis=0)[: len(wave)]
    return out


def resampled(wave: F32, ratio: float) -> F32:
    """``ratio`` times as many samples of the same sound, low-pass filtered so that nothing folds back: ``[T · ratio, C]``."""
    from scipy.signal import resample_poly

    found = Fraction(ratio).limit_denominator(_FINEST)
    if found == 1:
        return wave
    out: F32 = np.asarray(resample_poly(wave, found.numerator, found.denominator, axis=0), dtype=np.float32)
    return out


def overlap(parts: F32, out: F32) -> None:
    """Add frames ``[N, k · hop]``, each a hop after the last, to ``out [N + k - 1 or more, hop]``."""
    hop = out.shape[1]
    for k in range(parts.shape[1] // hop):
        out[k : k + len(parts)] += parts[:, k * hop : (k + 1) * hop]


def of_length(wave: F32, length: int) -> F32:
    """Cut, or filled up with silence."""
    return wave[:length] if len(wave) >= length else np.pad(wave, ((0, length - len(wave)), (0, 0)))


def power(wave: F32) -> float:
    """Mean square."""
    flat = wave.ravel()
    return float(flat @ flat) / len(flat)


def mixed_in(wave: F32, other: F32, snr_db: float) -> F32:
    """Plus ``other``, ``snr_db`` softer on average; nothing where one of them is silent."""
    have, want = power(other), power(wave) * 10 ** (-snr_db / 10)
    if have == 0:
        return wave
    out = other * np.float32(np.sqrt(want / have))
    out += wave
    return out
