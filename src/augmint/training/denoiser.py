"""Training a denoiser on clean speech: a mask network against a verifier that predicts quality and rebuilds the speech.

What counts most is how unlike the clean and the cleaned sound are heard (`disturbance`). Beside it, after MetricGAN (Fu et al. 2019, arXiv 1905.04874): the
verifier hears a clean and a cleaned spectrogram and predicts a measure of quality, and the mask network raises what is predicted. The measure is the
frequency-weighted segmental SNR (Hu and Loizou 2008, "Evaluation of objective quality measures for speech enhancement"), and the verifier's second branch
rebuilds the clean spectrogram from the cleaned one, so that it must know what speech is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from augmint.core import rng
from augmint.core.hearing import mel_triangles
from augmint.core.types import F32
from augmint.models.mask import BANDS, WIDTH, MaskNet, Quality
from augmint.training import adapt
from augmint.training.disturbance import Disturbance
from augmint.transforms import mask_net, spectral

SECONDS = 2.0
BATCH = 8
LEAST_DB, MOST_DB = -10.0, 35.0
SNRS_DB = (-3.0, 15.0)
TALKERS = 8
"""At most, of a babble."""
VERIFIER = 0.01
"""The weight of what the verifier says; the disturbance's part of the loss is some .03 after training."""
COLOUR = 0.001
"""The weight of levels of bands throughout. Without it, bands that are hard to clean are made softer for good, which PESQ hardly minds; ten times as much
takes a quarter of what PESQ gains."""
LAZY = 4
"""The verifier learns and speaks every so many steps, with so many times the weight: each time takes more than half as long as all else."""
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Mixed:
    """One batch: ``features`` and the spectra, all ``[N, frames, bins]``, of the noisy and the clean sounds."""

    features: Tensor
    noisy: Tensor
    clean: Tensor


class Mixer:
    """Batches of the user's speech in noise: white to brown noise, others who talk, and the user's own noises; all by number."""

    def __init__(self, voices: Sequence[F32], noises: Sequence[F32], rate: int, seed: int) -> None:
        """``voices`` and ``noises``: ``[T]`` at ``rate``; of voices that follow each other it is likely that it is the same person who talks."""
        self.voices = [(x / np.sqrt(_active_power(x, rate))).astype(np.float32) for x in voices]
        self.noises, self.rate, self.seed = noises, rate, seed
        self.frames = spectral.Frames(rate)
        self.length = round(SECONDS * rate)

    def batch(self, number: int) -> Mixed:
        rows = [self._one(np.random.default_rng([self.seed, number, i])) for i in range(BATCH)]
        clean, noisy = (np.stack(part) / np.float32(np.sqrt(self.frames.scale)) for part in zip(*rows, strict=True))
        seen = mask_net.features(np.square(np.abs(noisy)))
        return Mixed(*(torch.from_numpy(x) for x in (seen, noisy, clean)))

    def _one(self, draw: np.random.Generator) -> tuple[Any, Any]:
        speech, noise = self._voice(draw), self._noise(draw)
        loud = np.sqrt(_active_power(speech, self.rate) / max(1e-12, float(np.square(noise).mean())))
        noise *= np.float32(loud * 10 ** (-draw.uniform(*SNRS_DB) / 20))
        return self.frames.transform(speech), self.frames.transform(speech + noise)

    def _voice(self, draw: np.random.Generator) -> F32:
        """Words from anywhere, and those that follow."""
        at = int(draw.integers(len(self.voices)))
        parts, have = list[F32](), 0
        while have < self.length:
            parts.append(self.voices[at % len(self.voices)])
            have += len(parts[-1])
            at += 1
        start = draw.integers(have - self.length + 1)
        return np.concatenate(parts)[start : start + self.length]

    def _noise(self, draw: np.random.Generator) -> F32:
        kind = draw.uniform()
        if self.noises and kind < 0.4:
            x = self.noises[int(draw.integers(len(self.noises)))]
            at = (draw.integers(len(x)) + np.arange(self.length)) % len(x)
            found: F32 = x[at]
            return found
        if kind < (0.7 if self.noises else 0.5):
            talkers = int(draw.integers(3, TALKERS + 1))
            return np.asarray(np.sum([self._voice(draw) for _ in range(talkers)], axis=0, dtype=np.float32))
        return self._steady(draw)

    def _steady(self, draw: np.random.Generator) -> F32:
        import scipy.fft

        white = scipy.fft.rfft(draw.standard_normal(self.length, dtype=np.float32))
        khz = np.maximum(np.fft.rfftfreq(self.length, 1 / self.rate), 20.0) / 1000
        slope = (khz ** (-draw.uniform(-0.3, 1.2) / 2)).astype(np.float32)
        made: F32 = scipy.fft.irfft(white * slope, self.length)
        return made


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
    mixer: Mixer,
    steps: int,
    *,
    width: int = WIDTH,
    precision: Precision = "fp32",
    verifier_weight: float = VERIFIER,
    lr: float = 2e-3,
) -> Iterator[tuple[MaskNet, dict[str, float]]]:
    """The network after each of ``steps`` steps, with the step's figures."""
    bins = mixer.frames.size // 2 + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.key("denoiser", mixer.seed) % 2**63)
        net, verifier = MaskNet(bins, width), Quality()
    bands, disturbance = bands_of(mixer.rate, bins), Disturbance(mixer.rate, bins)
    fast = torch.optim.AdamW(net.parameters(), lr, betas=(0.9, 0.98))
    slow = torch.optim.Adam(verifier.parameters(), lr / 2)

    rates = [torch.optim.lr_scheduler.LambdaLR(o, lambda n: adapt.warmed(n, steps)) for o in (fast, slow)]

    def seen(size: Tensor) -> Tensor:
        return torch.log(size + 1e-4) / 4

    figures = dict[str, float]()
    for number in range(steps):
        mixed = mixer.batch(number)
        clean, noisy = mixed.clean.abs(), mixed.noisy.abs()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            gain = net(mixed.features)
        made = gain * noisy
        apart = ((made + 1e-4) ** 0.3 - (clean + 1e-4) ** 0.3).square().mean()
        heard = disturbance(clean, made).mean()
        colour = disturbance.colour(clean, made).mean()
        loss = heard / 1000 + 0.3 * apart + COLOUR * colour
        if number % LAZY == 0 and verifier_weight:
            # The verifier's turn: what it says of clean, cleaned and noisy sounds, and the speech that it hears in them.
            slow.zero_grad()
            known, parts = clean @ bands, [clean @ bands, made.detach() @ bands, noisy @ bands]
            told, again = verifier(seen(known).repeat(len(parts), 1, 1), seen(torch.cat(parts)))
            true = torch.cat([segmental(known, part) for part in parts])
            wrong = (told - true).square().mean() + 0.1 * (again - seen(known).repeat(len(parts), 1, 1)).square().mean()
            wrong.backward()
            slow.step()
            said = verifier(seen(known), seen(made @ bands))[0]
            loss = loss + LAZY * verifier_weight * (1 - said).square().mean()
            figures = {"quality": float(said.detach().mean()), "verifier": float(wrong.detach())}
        fast.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        fast.step()
        for rate in rates:
            rate.step()
        yield (
            net,
            {
                "disturbance": float(heard.detach()),
                "apart": float(apart.detach()),
                "colour": float(colour.detach()),
                **figures,
            },
        )
