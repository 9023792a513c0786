"""Frequencies as they are heard."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from augmint.core.rng import F64


def mel_of(hz: ArrayLike) -> F64:
    """Mel of a frequency in Hz: ``1127 ln(1 + f / 700)`` (O'Shaughnessy 1987)."""
    return np.asarray(1127.0 * np.log1p(np.asarray(hz, dtype=np.float64) / 700.0))


def mel_triangles(hz: F64, top_hz: float, num: int) -> F64:
    """``[num, F]`` what triangular filters, evenly spaced on the mel scale from 0 to ``top_hz``, give to frequencies ``[F]``, within [0, 1].

    Each rises from the middle of the one before and falls to the middle of the next: in between they sum to 1.
    """
    edges = hz_of(np.linspace(0, mel_of(top_hz), num + 2))[:, None]
    rise, fall = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2]), (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    return np.asarray(np.clip(np.minimum(rise, fall), 0, None))


def hz_of(mel: ArrayLike) -> F64:
    """The inverse of `mel_of`."""
    return np.asarray(700.0 * np.expm1(np.asarray(mel, dtype=np.float64) / 1127.0))
