"""Frequencies as they are heard."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from augmint.core.rng import F64


def mel_of(hz: ArrayLike) -> F64:
    """Mel of a frequency in Hz: ``1127 ln(1 + f / 700)`` (O'Shaughnessy 1987)."""
    return np.asarray(1127.0 * np.log1p(np.asarray(hz, dtype=np.float64) / 700.0))


def hz_of(mel: ArrayLike) -> F64:
    """The inverse of `mel_of`."""
    return np.asarray(700.0 * np.expm1(np.asarray(mel, dtype=np.float64) / 1127.0))
