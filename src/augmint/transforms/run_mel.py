"""The program for sound on log-mel spectrograms: a batch of tensors, every sample with numbers of its own, differentiable.

What a spectrogram cannot show is not there: polarity, phases, and what lies below its lowest level. Where `run_audio` adds noise, here
stands what noise of that kind looks like on average, with its fluctuations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from augmint.core.hearing import mel_of
from augmint.transforms import fuse_audio
from augmint.transforms.fuse_audio import Response, Stage
from augmint.transforms.plan import Drawn
from augmint.transforms.run_torch import normal_field
from augmint.transforms.signal import Gap, Noise, tilt
from augmint.transforms.temporal import TimeMap

_ABOVE = 0.02  # what is this much above the lowest level is sound
_SOFTEST = 0.05  # of the mean power of noise: a cell that fluctuates to nothing has no level


@dataclass(frozen=True)
class MelGrid:
    """What the cells of ``[N, 1, mels, columns]`` in [-1, 1] stand for; -1 is silence, and what lies behind a sound's end.

    Args:
        middles_hz: ``[mels]`` evenly spaced on the mel scale.
        column_s: seconds from one column to the next; ``window_s`` that one column looks at.
        floor_db, ceiling_db: levels of -1 and 1.
        white: ``[mels]`` share of white noise's power in each row.
        degrees: ``[mels]`` how many independent numbers a cell of noise is the mean of.
    """

    middles_hz: tuple[float, ...]
    column_s: float
    window_s: float
    floor_db: float
    ceiling_db: float
    white: tuple[float, ...]
    degrees: tuple[float, ...]

    @property
    def unit_db(self) -> float:
        """dB of one unit on the grid."""
        return (self.ceiling_db - self.floor_db) / 2


def run(x: Tensor, drawn: Sequence[Drawn], grid: MelGrid, *, clip: bool = True) -> Tensor:
    """Every sample of a batch, transformed as its numbers say.

    Args:
        clip: cut what is above 1, too. ``False`` inside GAN training: a cut value has no gradient.
    """
    length = _length(x)
    for stage in fuse_audio.compile_batch(drawn):
        x, length = _run(stage, x, length, grid)
    return x.clamp(-1, 1) if clip else x


def _length(x: Tensor) -> Tensor:
    """``[N]`` columns until the sound ends."""
    heard = (x.detach() > -1 + _ABOVE).any(1).any(1)
    return (heard * torch.arange(1, x.shape[-1] + 1, device=x.device)).amax(1).to(x.dtype)


def _run(stage: Stage, x: Tensor, length: Tensor, grid: MelGrid) -> tuple[Tensor, Tensor]:
    match stage:
        case TimeMap():
            return _moved(stage, x, length, grid)
        case Response():
            return _filtered(stage, x, grid), length
        case Noise():
            return _noisy(stage, x, length, grid), length
        case Gap():
            return _gapped(stage, x, length, grid), length


def _to(values: NDArray[np.float64] | tuple[float, ...], like: Tensor) -> Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float64)).to(device=like.device, dtype=like.dtype)


def _moved(stage: TimeMap, x: Tensor, length: Tensor, grid: MelGrid) -> tuple[Tensor, Tensor]:
    n, rows, columns = len(x), x.shape[2], x.shape[3]
    scale, shift, pitch = (np.broadcast_to(v, (n,))[:, None] for v in (stage.scale, stage.shift_s, stage.pitch))
    mel = mel_of(np.array(grid.middles_hz))
    row = (mel_of(np.array(grid.middles_hz) / pitch) - mel[0]) / (mel[1] - mel[0])
    column = (np.arange(columns) - shift / grid.column_s) / scale
    # grid_sample counts from -1 to 1 between the middles of the outer cells.
    y = _to(2 * row / (rows - 1) - 1, x)[:, :, None].expand(n, rows, columns)
    t = _to(2 * column / (columns - 1) - 1, x)[:, None].expand(n, rows, columns)
    out = F.grid_sample(x + 1, torch.stack([t, y], -1), mode="bilinear", padding_mode="zeros", align_corners=True) - 1
    length = (length * _to(scale[:, 0], x)).clamp(max=columns)
    return torch.where(_within(length, out), out, -1.0), length


def _within(length: Tensor, x: Tensor) -> Tensor:
    """``[N, 1, 1, columns]``: before the sound's end."""
    return (torch.arange(x.shape[-1], device=x.device) < length[:, None])[:, None, None]


def _filtered(stage: Response, x: Tensor, grid: MelGrid) -> Tensor:
    factors = np.maximum(np.abs(stage.at(np.array(grid.middles_hz))), 1e-9)
    change = _to(20 * np.log10(factors) / grid.unit_db, x)
    change = change.expand(len(x), -1)[:, None, :, None]
    return torch.where(x > -1 + _ABOVE, (x + change).clamp(min=-1), x)


def _noisy(stage: Noise, x: Tensor, length: Tensor, grid: MelGrid) -> Tensor:
    rows = np.flatnonzero(np.isfinite(stage.snr_db) & (length > 0).cpu().numpy())
    if not rows.size:
        return x
    at = torch.from_numpy(rows).to(x.device)
    some, inside = x[at], _within(length[at], x)
    power = 10 ** (((some + 1) * grid.unit_db + grid.floor_db) / 10)
    heard = torch.where(inside, power, 0.0).sum((1, 2, 3)) / length[at]  # per column, all rows together
    shape = np.array(grid.white) * np.square(tilt(np.array(grid.middles_hz), stage.slope[rows]))
    level = heard[:, None] * _to(shape / shape.sum(1, keepdims=True) * 10 ** (-stage.snr_db[rows, None] / 10), x)
    keys = torch.from_numpy(stage.key[rows].astype(np.int64)).to(x.device)
    grain = normal_field(keys, some[0].numel()).to(x.dtype).view_as(some) / _to(grid.degrees, x).sqrt()[:, None]
    noise = level[:, None, :, None] * (1 + grain).clamp(min=_SOFTEST)
    mixed = (10 * torch.log10(power + noise) - grid.floor_db) / grid.unit_db - 1
    return x.index_copy(0, at, torch.where(inside, mixed, some))


def _gapped(stage: Gap, x: Tensor, length: Tensor, grid: MelGrid) -> Tensor:
    start, stop = (length * _to(np.broadcast_to(v, (len(x),)), x) for v in (stage.start, stage.stop))
    edge = grid.window_s / 4 / grid.column_s  # nearer to an end of the gap a window still hears what is beyond it
    column = torch.arange(x.shape[-1], device=x.device)
    gap = (column >= (start + edge)[:, None]) & (column <= (stop - edge)[:, None])
    return torch.where(gap[:, None, None], -1.0, x)
