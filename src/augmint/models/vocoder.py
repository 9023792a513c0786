"""The networks of a vocoder that is trained on one's own voices: from log-mel frames to a waveform, and the verifier that hears it.

After Vocos (Siuzdak 2023, arXiv 2306.00814): everything happens at the rate of the frames, and an inverse short-time Fourier transform makes the samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from augmint.core import rng
from augmint.core.types import F32
from augmint.data.spectra import Mel


class Size(NamedTuple):
    """Width and blocks of the vocoder, channels of its verifier, and the learning rate that both take."""

    width: int
    blocks: int
    channels: int
    lr: float


SIZES = {"nano": Size(64, 3, 8, 2e-3), "small": Size(192, 5, 32, 7e-4)}
"""At 80 rows of 10 ms, 16 kHz: .15 and 1.4 million weights in the vocoder."""
REACH = 7
"""Frames that a block sees."""
WIDER = 3
MOST = 4.0
"""How far the network may move a bin's amplitude from what its rows tell, as a natural logarithm."""
HEARD_S = (0.005, 0.016, 0.064)
"""Windows through which the verifier hears, and the loss compares. The vocoder's own is 40 ms at 10 ms a frame."""


class Vocoder(nn.Module):
    """``[N, num_mels, frames]`` levels in dB below full scale, and a number of samples, to waves ``[N, T]``.

    What a row tells is shared out among its bins; the network corrects these amplitudes and finds the phases, relative to the middle of
    each window, where those of a click are 0.
    """

    filters: Tensor
    window: Tensor
    turn: Tensor

    def __init__(self, mel: Mel, size: str = "small") -> None:
        super().__init__()
        self.mel = mel
        width, blocks = SIZES[size].width, SIZES[size].blocks
        bins = mel.length // 2 + 1
        shares = mel.filters / mel.filters.sum(axis=1, keepdims=True)
        self.register_buffer("filters", torch.from_numpy(shares.T.copy()), persistent=False)
        self.register_buffer("window", torch.from_numpy(mel.window), persistent=False)
        self.register_buffer("turn", 1.0 - 2.0 * (torch.arange(bins) % 2)[:, None], persistent=False)
        self.enter = nn.Conv1d(mel.num_mels, width, REACH, padding=REACH // 2)
        self.first = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(_Block(width, 1 / blocks) for _ in range(blocks))
        self.last = nn.LayerNorm(width)
        self.amplitude, self.phase = nn.Linear(width, bins), nn.Linear(width, bins)
        nn.init.zeros_(self.amplitude.weight)
        nn.init.zeros_(self.amplitude.bias)

    def forward(self, levels: Tensor, num_samples: int) -> Tensor:
        return self.inverse(self.spectrum(levels), num_samples)

    def spectrum(self, levels: Tensor) -> Tensor:
        """``[N, bins, frames]`` complex, as `Mel.transform` has it."""
        y = self.first(self.enter(levels / 40 + 1).transpose(1, 2))
        for block in self.blocks:
            y = block(y)
        y = self.last(y)
        change, angle = (head(y).transpose(1, 2) for head in (self.amplitude, self.phase))
        told = (self.filters @ torch.pow(10.0, levels / 10) * self.mel.scale).clamp(min=1e-12).sqrt()
        return torch.polar(told * torch.exp(change.clamp(-MOST, MOST)), angle) * self.turn

    def inverse(self, spectrum: Tensor, num_samples: int) -> Tensor:
        """As `Mel.inverse`, with gradients."""
        length, hop = self.mel.length, self.mel.hop
        return torch.istft(spectrum, length, hop, window=self.window, center=True, length=num_samples)

    def wave(self, levels: F32, num_samples: int) -> F32:
        """A sound ``[num_samples]`` with about these levels ``[num_mels, frames]``: the same bits however many threads there are."""
        with _one_thread(), torch.inference_mode():
            out: F32 = self(torch.from_numpy(np.ascontiguousarray(levels))[None], num_samples)[0].numpy()
        return out


class _Block(nn.Module):
    """Liu et al. 2022, "A ConvNet for the 2020s", on one axis: ``[N, frames, width]``."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.time = nn.Conv1d(width, width, REACH, padding=REACH // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, WIDER * width), nn.Linear(WIDER * width, width)
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.time(x.transpose(1, 2)).transpose(1, 2))
        out: Tensor = x + self.scale * self.narrow(F.gelu(self.wide(y)))
        return out


class Listener(nn.Module):
    """The verifier: hears waves ``[N, T]`` through each of `HEARD_S`, and scores patches of what it hears (Jang et al. 2021, UnivNet)."""

    def __init__(self, rate: int, size: str = "small") -> None:
        super().__init__()
        self.ears = nn.ModuleList(_Ear(round(s * rate), SIZES[size].channels) for s in HEARD_S)

    def forward(self, wave: Tensor) -> tuple[Tensor, list[Tensor]]:
        """All patches' scores ``[N, P]``, and what each layer has found, for comparing waves with each other."""
        scores, found = list[Tensor](), list[Tensor]()
        for ear in self.ears:
            seen = ear(wave)
            scores.append(seen[-1].flatten(1))
            found += seen[:-1]
        return torch.cat(scores, 1), found


class _Ear(nn.Module):
    """Convolutions on the spectrogram of one window, coarser in frequency from layer to layer."""

    def __init__(self, window: int, width: int) -> None:
        super().__init__()
        self.window = window
        widths = [1, width, width, width, width]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, (3, 9), stride=(1, 2), padding=(1, 4)) for a, b in pairwise(widths))
        self.score = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, wave: Tensor) -> list[Tensor]:
        y = torch.log(spectrum_of(wave, self.window).transpose(1, 2)[:, None] + 1e-3)
        found = []
        for layer in self.layers:
            y = F.leaky_relu(layer(y), 0.2)
            found.append(y)
        return [*found, self.score(y)]


def spectrum_of(wave: Tensor, window: int) -> Tensor:
    """``[N, bins, frames]`` amplitudes of ``[N, T]`` through a Hann window of so many samples; white noise of mean square 1 has about 1."""
    shape = torch.hann_window(window, device=wave.device)
    found = torch.stft(
        wave, window, max(1, window // 4), window=shape, center=True, pad_mode="constant", return_complex=True
    )
    return (found.real.square() + found.imag.square() + 1e-12).sqrt() / math.sqrt(0.375 * window)


def networks(mel: Mel, size: str, seed: int) -> tuple[Vocoder, Listener]:
    """Vocoder and verifier; the weights at the start follow from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.torch_seed(seed, "vocoder"))
        return Vocoder(mel, size), Listener(mel.rate, size)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums of products are parted by threads, and a sum's bits depend on how it is parted."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
