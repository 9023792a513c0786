"""How unlike two sounds are heard, as a loss that can be followed back: the symmetric disturbance of PESQ, in broad strokes.

After Rix et al. 2001 ("Perceptual evaluation of speech quality (PESQ)", ICASSP) and Martín-Doñas et al. 2018 ("A deep learning loss function based on
the perceptual evaluation of the speech quality"): powers in bands, the speech at 79 dB; loudness by Zwicker's law above the threshold
of hearing (Terhardt 1979); what is a quarter of the softer loudness or less apart is not heard as different; loud differences in few
bands count more than small ones in all, and bad moments more than even ones. Bands are even on the mel scale, and frames are those of `spectral`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from augmint.core.hearing import hz_of, mel_of, mel_triangles

BANDS = 48
SPEECH_DB = 79.0
_POWER = 0.23  # Zwicker's
_DEAD = 0.25
_MOMENT = 20  # frames, of which half are the next moment's too
_WORST = 6.0  # the norm over a moment's frames
_LEVELS, _SOFT = (3e-4, 5.0), 5e3  # what a frame's level is made up for by, and the power that makes that no matter
_SLOPES, _LITTLE = (0.01, 100.0), 1e3  # the same of a band throughout
_SPOKEN = 1e-3  # of the loudest frame's power


class Disturbance:
    """``[N]`` of amplitudes ``[N, frames, bins]`` of a clean and of a heard sound; 0 for the same, some 10 to 20 for what is nearly clean, 80 for noise.

    The heard sound's level counts as little as in PESQ: altogether not at all, and that of a band or of a frame only where it is far off.
    """

    def __init__(self, rate: int, bins: int) -> None:
        hz = np.linspace(0, rate / 2, bins)
        shares = mel_triangles(hz, rate / 2, BANDS)
        middles = hz_of(np.linspace(0, mel_of(rate / 2), BANDS + 2))[1:-1]
        khz = middles / 1000
        threshold = 3.64 * khz**-0.8 - 6.5 * np.exp(-0.6 * (khz - 3.3) ** 2) + 1e-3 * khz**4
        barks = 26.81 * middles / (1960 + middles)  # Traunmüller 1990
        self.shares = torch.from_numpy(shares.T.copy()).float()
        self.threshold = torch.from_numpy(10 ** (threshold / 10)).float()
        self.widths = torch.from_numpy(np.gradient(barks)).float()

    def loudness(self, power: Tensor) -> Tensor:
        """Zwicker's law of powers ``[..., bands]``, as parts of what 0 dB is; what is below the threshold of hearing has none."""
        over = (0.5 + 0.5 * power / self.threshold).clamp(min=1)
        found: Tensor = (2 * self.threshold) ** _POWER * (over**_POWER - 1)
        return found

    def __call__(self, clean: Tensor, heard: Tensor) -> Tensor:
        a, b, spoken = self._levelled(clean, heard)
        weight = ((a.sum(2) + 1e5) / 1e7) ** 0.04
        slopes = ((b * spoken).sum(1, keepdim=True) + _LITTLE) / ((a * spoken).sum(1, keepdim=True) + _LITTLE)
        a = a * slopes.clamp(*_SLOPES)
        b = b * ((a.sum(2, keepdim=True) + _SOFT) / (b.sum(2, keepdim=True) + _SOFT)).clamp(*_LEVELS)
        one, other = self.loudness(a), self.loudness(b)
        apart = ((one - other).abs() - _DEAD * torch.minimum(one, other)).clamp(min=0)
        frames = ((apart * self.widths).square().sum(2) + 1e-9).sqrt() * self.widths.sum().sqrt() / weight
        if frames.shape[1] > _MOMENT:
            moments = frames.unfold(1, _MOMENT, _MOMENT // 2)
            frames = (moments.clamp(min=1e-6) ** _WORST).mean(2) ** (1 / _WORST)
        return frames.square().mean(1).sqrt()

    def colour(self, clean: Tensor, heard: Tensor) -> Tensor:
        """``[N]``: how far the levels of bands throughout are off, which the disturbance makes up for: mean squares of natural logarithms of power."""
        a, b, spoken = self._levelled(clean, heard, keep=True)
        apart = ((b * spoken).sum(1) + _LITTLE).log() - ((a * spoken).sum(1) + _LITTLE).log()
        return (apart.square() * self.widths).sum(1) / self.widths.sum()

    def _levelled(self, clean: Tensor, heard: Tensor, keep: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Powers in bands, both with the speech at 79 dB (or, to ``keep`` how they differ, both times what the clean one needs); and the
        frames with speech, ``[N, frames, 1]``."""
        a, b = (x.square() @ self.shares for x in (clean, heard))
        level = a.sum(2, keepdim=True)
        spoken = (level > _SPOKEN * level.amax(1, keepdim=True)).float()
        count = spoken.sum(1, keepdim=True).clamp(min=1)
        means = [((x.sum(2, keepdim=True) * spoken).sum(1, keepdim=True) / count).clamp(min=1e-20) for x in (a, b)]
        loud = 10 ** (SPEECH_DB / 10)
        return a * (loud / means[0]), b * (loud / means[0 if keep else 1]), spoken
