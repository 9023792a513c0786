"""Between waveforms and log-mel spectrograms: short-time Fourier transform, mel filters, and the way back without phases.

Levels are in dB of full scale: the filters of a sine of amplitude 1 have 0 dB together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from augmint.core import rng
from augmint.core.hearing import hz_of, mel_of, mel_triangles
from augmint.core.rng import F64
from augmint.core.types import F32

C64 = NDArray[np.complex64]
Speaker = Callable[[F32, int], F32]
"""From levels ``[num_mels, frames]`` in dB below the loudest, and a number of samples, to a wave ``[T]``."""
LOWEST_DB = -120.0
_MOMENTUM = 0.99
_UPDATES = 30
"""With 8, real prompts came back with a PESQ-WB of 3.8 instead of 3.9, and twice as many rounds did not make up for it (docs/log.md)."""


@dataclass(frozen=True)
class Mel:
    """A mel spectrogram of sound at ``rate`` samples a second.

    Windows (Hann) of four times ``hop_s`` seconds, four of which overlap; ``num_mels`` triangular filters between 0 Hz and half the rate, which sum to 1
    at every frequency between the first and the last one's middle: so the filters' powers sum to the sound's.
    """

    rate: int
    num_mels: int = 80
    hop_s: float = 0.016

    @cached_property
    def hop(self) -> int:
        """Samples between two frames."""
        return max(1, round(self.hop_s * self.rate))

    @cached_property
    def length(self) -> int:
        """Samples of a window."""
        return 4 * self.hop

    @cached_property
    def window(self) -> F32:
        return np.hanning(self.length + 1)[:-1].astype(np.float32)

    @cached_property
    def middles(self) -> F64:
        """``[num_mels]`` middle frequency of each filter, in Hz."""
        return hz_of(np.linspace(0, mel_of(self.rate / 2), self.num_mels + 2)[1:-1])

    @cached_property
    def filters(self) -> F32:
        """``[num_mels, bins]``. Each bin is counted with its whole width, so that no filter, however narrow, is empty."""
        bins = self.length // 2 + 1
        # 16 places within a bin stand for its width.
        places = (np.arange(bins * 16) + 0.5) / 16 - 0.5
        hz = np.abs(places) * self.rate / self.length
        found = mel_triangles(hz, self.rate / 2, self.num_mels)
        means: F32 = found.reshape(self.num_mels, bins, 16).mean(axis=2).astype(np.float32)
        return means

    def frames(self, num_samples: int) -> int:
        """Frames of a sound: the first is centred on its first sample, the last on its last hop."""
        return 1 + num_samples // self.hop

    def transform(self, wave: F32) -> C64:
        """Short-time Fourier transform ``[frames, bins]`` of ``[T]``."""
        import scipy.fft

        half = self.length // 2
        padded = np.pad(wave, (half, half + self.hop))
        parts = np.lib.stride_tricks.sliding_window_view(padded, self.length)[:: self.hop][: self.frames(len(wave))]
        found: C64 = scipy.fft.rfft(parts * self.window, axis=1)
        return found

    def inverse(self, spectrum: C64, num_samples: int) -> F32:
        """The wave ``[num_samples]`` whose transform is nearest to ``spectrum`` (Griffin and Lim 1984, eq. 6)."""
        import scipy.fft

        parts = scipy.fft.irfft(spectrum, self.length, axis=1).astype(np.float32, copy=False) * self.window
        half, quarter = self.length // 2, parts.reshape(len(parts), 4, self.hop)
        out = np.zeros((len(parts) + 3, self.hop), dtype=np.float32)
        weight = np.zeros_like(out)
        square = np.square(self.window).reshape(4, self.hop)
        for k in range(4):
            out[k : k + len(parts)] += quarter[:, k]
            weight[k : k + len(parts)] += square[k]
        out /= np.maximum(weight, np.float32(1e-4))
        whole = out.reshape(-1)[half : half + num_samples]
        return np.pad(whole, (0, num_samples - len(whole)))

    def power(self, wave: F32) -> F32:
        """``[num_mels, frames]`` power in each filter. They sum to twice the mean square of what the window shows: a sine of
        amplitude 1 has 1 (Parseval)."""
        spectrum = self.transform(wave)
        found: F32 = self.filters @ (np.square(spectrum.real) + np.square(spectrum.imag)).T / np.float32(self.scale)
        return found

    @cached_property
    def scale(self) -> float:
        """Of a bin's power in the transform of a sine of amplitude 1, summed over bins."""
        return self.length * float(np.square(self.window).sum()) / 4

    def levels(self, wave: F32) -> F32:
        """``[num_mels, frames]`` in dB of full scale, at least `LOWEST_DB`."""
        return to_db(self.power(wave))

    def white(self) -> F64:
        """``[num_mels]`` expected power in each filter of white noise of mean square 1."""
        return np.asarray(self.filters.sum(axis=1, dtype=np.float64) * 4 / self.length)

    def degrees(self) -> F64:
        """``[num_mels]`` of how many bins each filter is a mean, those of smaller weight counted for less."""
        weight = self.filters.astype(np.float64)
        return np.asarray(np.maximum(1.0, weight.sum(axis=1) ** 2 / np.square(weight).sum(axis=1)))

    def wave(self, levels: F32, num_samples: int, *, rounds: int = 32) -> F32:
        """A sound ``[num_samples]`` with about these levels ``[num_mels, frames]``.

        Amplitudes of the bins from the filters' powers (multiplicative updates, Lee and Seung 2001), phases by Griffin and Lim's
        algorithm with momentum (Perraudin, Balazs and Søndergaard 2013) from random ones that are the same every time.
        """
        power: F32 = np.power(np.float32(10), levels.T / np.float32(10), dtype=np.float32)
        amplitude = np.sqrt(self._bins(power) * np.float32(self.scale))
        angle = 2 * np.pi * rng.uniform(rng.key("phases"), np.arange(amplitude.size)).astype(np.float32)
        phase: C64 = np.exp(1j * angle).reshape(amplitude.shape).astype(np.complex64)
        last: C64 = np.zeros_like(phase)
        for _ in range(rounds):
            found = self.transform(self.inverse(amplitude * phase, num_samples))[: len(amplitude)]
            ahead = found + np.float32(_MOMENTUM) * (found - last)
            phase, last = (ahead / np.maximum(np.abs(ahead), np.float32(1e-12))).astype(np.complex64, copy=False), found
        out: F32 = self.inverse(amplitude * phase, num_samples)
        return out

    def _bins(self, power: F32) -> F32:
        """``[frames, bins]`` powers of at least 0 whose filters' powers are about ``[frames, num_mels]``."""
        each = self.filters.sum(axis=0)
        tiny = np.float32(1e-12)
        found: F32 = power / self.filters.sum(axis=1) @ self.filters + tiny
        for _ in range(_UPDATES):
            found *= (power / np.maximum(found @ self.filters.T, tiny)) @ self.filters / np.maximum(each, tiny)
        return found


def to_db(power: F32) -> F32:
    """Power in dB, at least `LOWEST_DB`."""
    found: F32 = np.float32(10) * np.log10(np.maximum(power, np.float32(1e-30)))
    return np.maximum(found, np.float32(LOWEST_DB))
