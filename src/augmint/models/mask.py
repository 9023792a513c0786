"""The networks of a denoiser that is trained on one's own voices: the mask, and the verifier that judges what it leaves."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from augmint.core.types import F32
from augmint.transforms.mask_net import REACH, STEPS, Weights

WIDTH = 256
BANDS = 32


class MaskNet(nn.Module):
    """``[N, frames, bins]``, as `mask_net.features` gives them, to ``[N, frames, bins]`` factors of amplitude in (0, 1).

    Frames are looked at with half a second on both sides. Whole convolutions along time, over all channels: on a CPU they learn as much in
    a second as ten times as many multiplications that are parted by channel. What norms do is fixed after training, so a frame's factors depend on
    nothing that is further away.
    """

    def __init__(self, bins: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv1d(bins, width, 1)
        self.blocks = nn.ModuleList(_Block(width, step) for step in STEPS)
        self.norm = nn.BatchNorm1d(width)
        self.leave = nn.Conv1d(width, bins, 1)
        nn.init.normal_(self.leave.weight, std=0.01)  # all gains near a half

    def forward(self, x: Tensor) -> Tensor:
        y = self.enter(x.transpose(1, 2))
        for block in self.blocks:
            y = block(y)
        out: Tensor = self.leave(torch.relu(self.norm(y))).transpose(1, 2)
        return torch.sigmoid(out.float())

    def weights(self, rate: int) -> Weights:
        """What `mask_net` computes with."""
        arrays = {"enter.weight": _array(self.enter.weight[:, :, 0].T), "enter.bias": _array(self.enter.bias)}
        for i, block in enumerate(self.blocks):
            assert isinstance(block, _Block)
            own = {"weight": block.conv.weight.permute(2, 1, 0), "bias": block.conv.bias, **_fixed(block.norm)}
            arrays |= {f"blocks.{i}.{name}": _array(v) for name, v in own.items()}
        last = {"weight": self.leave.weight[:, :, 0].T, "bias": self.leave.bias, **_fixed(self.norm)}
        return Weights(arrays | {f"leave.{name}": _array(v) for name, v in last.items()}, rate)


def _fixed(norm: nn.BatchNorm1d) -> dict[str, Tensor]:
    """What a norm multiplies with and adds once it is trained."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return {"scale": scale, "shift": norm.bias - norm.running_mean * scale}


def _array(value: Tensor | None) -> F32:
    assert value is not None
    found: F32 = value.detach().cpu().float().contiguous().numpy().copy()
    return found


class _Block(nn.Module):
    def __init__(self, width: int, step: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.conv = nn.Conv1d(width, width, REACH, padding=step * (REACH // 2), dilation=step)
        nn.init.normal_(self.conv.weight, std=0.5 / (REACH * width) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv(torch.relu(self.norm(x)))
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
