"""The networks of a denoiser that is trained on one's own voices: the mask, and the verifier that judges what it leaves."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from augmint.transforms.mask_net import MOST, SURE, Weights, dilation

WIDTH, BLOCKS, REACH = 192, 5, 5
BANDS = 32


class MaskNet(nn.Module):
    """``[N, 3, frames, bins]``, as `mask_net.features` gives them, to ``[N, frames, bins]`` factors of amplitude in (0, 1).

    Frames are looked at with a third of a second on both sides. At the start it gives what `spectral` gives.
    """

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.enter = nn.Linear(3 * bins, WIDTH)
        self.blocks = nn.ModuleList(_Block(dilation(i)) for i in range(BLOCKS))
        self.leave = nn.Linear(WIDTH, bins)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = self.enter(x.permute(0, 2, 1, 3).flatten(2)).transpose(1, 2)
        for block in self.blocks:
            y = block(y)
        own = torch.logit(x[:, 2].clamp(SURE, 1 - SURE))
        return torch.sigmoid(own + MOST * self.leave(y.transpose(1, 2)))

    def weights(self, rate: int) -> Weights:
        """What `mask_net` computes with."""
        return Weights({k: np.ascontiguousarray(v.detach().cpu().numpy()) for k, v in self.state_dict().items()}, rate)


class _Block(nn.Module):
    def __init__(self, step: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, WIDTH)
        self.time = nn.Conv1d(WIDTH, WIDTH, REACH, padding=step * (REACH // 2), dilation=step, groups=WIDTH)
        self.mix = nn.Conv1d(WIDTH, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.mix(nn.functional.gelu(self.time(self.norm(x))))
        return out


class Quality(nn.Module):
    """The verifier: from bands of the clean and of the cleaned sound, ``[N, frames, bands]`` each, to the predicted quality ``[N]`` in
    [0, 1]; and from the cleaned bands alone, the clean ones again."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.look = nn.Sequential(
            nn.Conv1d(BANDS, width, 5, padding=2), nn.GELU(), nn.Conv1d(width, width, 5, padding=2), nn.GELU()
        )
        self.compare = nn.Sequential(nn.Conv1d(3 * width, width, 3, padding=1), nn.GELU())
        self.judge = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, 1))
        self.rebuild = nn.Conv1d(width, BANDS, 5, padding=2)

    def forward(self, clean: Tensor, heard: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.look(clean.transpose(1, 2)), self.look(heard.transpose(1, 2))
        both = self.compare(torch.cat([a, b, a - b], 1))
        told = self.judge(torch.cat([both.mean(2), both.std(2)], 1))
        return torch.sigmoid(told[:, 0]), self.rebuild(b).transpose(1, 2)
