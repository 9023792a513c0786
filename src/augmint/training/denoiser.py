"""Training a denoiser on clean speech: a mask network against a verifier that predicts quality and rebuilds the speech.

After MetricGAN (Fu et al. 2019, arXiv 1905.04874): the verifier hears a clean and a cleaned spectrogram and predicts a measure of quality that cannot be
followed back through; the mask network then raises what is predicted. Here the measure is the frequency-weighted segmental SNR
(Hu and Loizou 2008, "Evaluation of objective quality measures for speech enhancement"), and the verifier's second branch rebuilds the clean spectrogram
from the cleaned one, so that it must know what speech is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from augmint.core import rng
from augmint.core.hearing import mel_triangles
from augmint.core.rng import F64
from augmint.core.types import F32
from augmint.models.mask import BANDS, MaskNet, Quality
from augmint.training import adapt
from augmint.transforms import mask_net, spectral

SECONDS = 2.0
BATCH = 8
LEAST_DB, MOST_DB = -10.0, 35.0
SNRS_DB = (-3.0, 15.0)
TALKERS = 8
"""At most, of a babble."""


@dataclass(frozen=True)
class Mixed:
    """One batch: ``features`` ``[N, 3, frames, bins]``, and the spectra ``[N, frames, bins]`` of the noisy and the clean sounds."""

    features: Tensor
    noisy: Tensor
    clean: Tensor


class Mixer:
    """Batches of the user's speech in noise: white to brown noise, others who talk, and the user's own noises; all by number."""

    def __init__(self, voices: Sequence[F32], noises: Sequence[F32], rate: int, seed: int) -> None:
        """``voices`` and ``noises``: ``[T]`` at ``rate``."""
        self.voices, self.noises, self.rate, self.seed = voices, noises, rate, seed
        self.frames = spectral.Frames(rate)
        self.length = round(SECONDS * rate)

    def batch(self, number: int) -> Mixed:
        rows = [self._one(np.random.default_rng([self.seed, number, i])) for i in range(BATCH)]
        features, noisy, clean = (torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True))
        return Mixed(features, noisy, clean)

    def _one(self, draw: np.random.Generator) -> tuple[F32, Any, Any]:
        speech = self._voice(draw)
        noise = self._noise(draw)
        loud = np.sqrt(_active_power(speech, self.rate) / max(1e-12, float(np.square(noise).mean())))
        noise *= loud * 10 ** (-draw.uniform(*SNRS_DB) / 20)
        scale = 10 ** (draw.uniform(-30, -6) / 20) / max(1e-6, float(np.abs(speech + noise).max()))
        clean, noisy = (self.frames.transform((scale * x).astype(np.float32)) for x in (speech, speech + noise))
        power = np.square(np.abs(noisy)).astype(np.float32) / np.float32(self.frames.scale)
        root = np.float32(np.sqrt(self.frames.scale))
        return mask_net.features(power, self.rate), noisy / root, clean / root

    def _voice(self, draw: np.random.Generator) -> F64:
        """Words from anywhere, one after another."""
        parts, have = list[F32](), 0
        while have < self.length:
            x = self.voices[int(draw.integers(len(self.voices)))]
            parts.append(x)
            have += len(x)
        start = draw.integers(have - self.length + 1)
        return np.asarray(np.concatenate(parts)[start : start + self.length], dtype=np.float64)

    def _noise(self, draw: np.random.Generator) -> F64:
        kind = draw.uniform()
        if self.noises and kind < 0.4:
            x = self.noises[int(draw.integers(len(self.noises)))]
            at = (draw.integers(len(x)) + np.arange(self.length)) % len(x)
            return np.asarray(x[at], dtype=np.float64)
        if kind < 0.7:
            voices = [self._voice(draw) for _ in range(draw.integers(3, TALKERS + 1))]
            return np.asarray(np.sum([v / np.sqrt(_active_power(v, self.rate)) for v in voices], axis=0))
        hz = np.maximum(np.fft.rfftfreq(self.length, 1 / self.rate), 20.0)
        white = np.fft.rfft(draw.normal(size=self.length))
        return np.asarray(np.fft.irfft(white * (hz / 1000) ** (-draw.uniform(-0.3, 1.2) / 2), self.length))


def _active_power(x: Any, rate: int) -> float:
    """Mean power of the frames of 20 ms within 30 dB of the loudest."""
    size = max(1, round(0.02 * rate))
    power = np.square(x[: len(x) // size * size].reshape(-1, size), dtype=np.float64).mean(axis=1)
    return float(power[power >= power.max() * 1e-3].mean()) + 1e-12


def bands_of(rate: int, bins: int) -> Tensor:
    """``[bins, bands]`` shares of each bin in bands even on the mel scale."""
    found = mel_triangles(np.linspace(0, rate / 2, bins), rate / 2, BANDS).T + 1e-6
    return torch.from_numpy(found / found.sum(0)).float()


def segmental(clean: Tensor, heard: Tensor) -> Tensor:
    """``[N]`` frequency-weighted segmental SNR, as a part of its range, of amplitudes in bands ``[N, frames, bands]``; pauses do not count.

    What is silent throughout counts as 0 dB.
    """
    ratio = 20 * torch.log10(clean / ((clean - heard).abs() + 1e-8) + 1e-8)
    weights = clean**0.2
    # Digital silence, as gates and editors leave it, has no weight at all.
    frames = (weights * ratio.clamp(LEAST_DB, MOST_DB)).sum(2) / weights.sum(2).clamp(min=1e-8)
    level = clean.square().sum(2)
    spoken = level > 1e-3 * level.amax(1, keepdim=True)
    return (((frames * spoken).sum(1) / spoken.sum(1).clamp(min=1)) - LEAST_DB) / (MOST_DB - LEAST_DB)


def train(
    mixer: Mixer, steps: int, *, verifier_weight: float = 0.05, lr: float = 1e-3
) -> Iterator[tuple[MaskNet, dict[str, float]]]:
    """The network after each of ``steps`` steps, with the step's figures."""
    bins = mixer.frames.size // 2 + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.key("denoiser", mixer.seed) % 2**63)
        net, verifier = MaskNet(bins), Quality()
    bands = bands_of(mixer.rate, bins)
    fast, slow = torch.optim.Adam(net.parameters(), lr, betas=(0.9, 0.99)), torch.optim.Adam(verifier.parameters(), lr)

    rates = [torch.optim.lr_scheduler.LambdaLR(o, lambda n: adapt.warmed(n, steps)) for o in (fast, slow)]

    def seen(size: Tensor) -> Tensor:
        return torch.log(size @ bands + 1e-4) / 4

    for number in range(steps):
        mixed = mixer.batch(number)
        clean, noisy = mixed.clean.abs(), mixed.noisy.abs()
        gain = net(mixed.features)
        made = gain * noisy
        # The verifier's turn: what it says of clean, cleaned and noisy sounds, and the speech that it hears in them.
        slow.zero_grad()
        wrong = torch.zeros(())
        for heard in (clean, made.detach(), noisy):
            told, again = verifier(seen(clean), seen(heard))
            wrong = wrong + (told - segmental(clean @ bands, heard @ bands)).square().mean()
            wrong = wrong + 0.1 * (again - seen(clean)).square().mean()
        wrong.backward()  # type: ignore[no-untyped-call]
        slow.step()
        # The mask network's: compressed spectra with their phases, and what the verifier says.
        fast.zero_grad()
        told, _ = verifier(seen(clean), seen(made))
        phase = mixed.noisy / noisy.clamp(min=1e-8)
        goal = mixed.clean / clean.clamp(min=1e-8)
        a, b = (made + 1e-8) ** 0.3, (clean + 1e-8) ** 0.3
        apart = (a - b).square().mean() + 0.3 * (a * phase - b * goal).abs().square().mean()
        loss = apart + verifier_weight * (1 - told).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        fast.step()
        for rate in rates:
            rate.step()
        figures = {"loss": loss, "apart": apart, "quality": told.mean(), "verifier": wrong}
        yield net, {name: float(value.detach()) for name, value in figures.items()}
