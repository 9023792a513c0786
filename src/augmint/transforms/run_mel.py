"""The program for sound on log-mel spectrograms: a batch of tensors, every sample with numbers of its own, differentiable.

What a spectrogram cannot show is not there: polarity, phases, and what lies below its lowest level. Where `run_audio` adds noise, here
stands what noise of that kind looks like on average, with its fluctuations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from augmint.core import rng
from augmint.core.hearing import mel_of
from augmint.transforms import fuse_audio, spectral
from augmint.transforms.channel import MOST_DB, TELEPHONE_HZ, VTLP, Codec, PacketLoss
from augmint.transforms.cleaning import Denoise, SpeakerBoost
from augmint.transforms.fuse_audio import Response, Stage
from augmint.transforms.levels import (
    BLOCK_S,
    LUFS_AT_1,
    RELATIVE_LU,
    SILENT_LUFS,
    LoudnessNormalize,
    PeakNormalize,
    Trim,
    k_weights,
)
from augmint.transforms.mix import Mix
from augmint.transforms.mix_audio import AddBabble, Concat, MixUp
from augmint.transforms.op import Params
from augmint.transforms.plan import Drawn
from augmint.transforms.run_torch import normal_field
from augmint.transforms.signal import Alone, BandPass, Gap, Noise, Room, Whole, tilt
from augmint.transforms.temporal import TimeMap

_ABOVE = 0.02  # what is this much above the lowest level is sound
_CREST_DB = 4.5  # of a peak above a sine of the power of its loudest column: 4.1 ± 1.2 dB in recorded speech
_SMOOTH_HZ = 220.0
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
            return _filtered(stage, x, length, grid), length
        case Noise():
            return _noisy(stage, x, length, grid), length
        case Gap():
            return _gapped(stage, x, length, grid), length
        case Alone():
            show = _SHOWN.get(stage.op)
            if show is None:
                return x, length
            active = torch.from_numpy(stage.active).to(x.device)
            changed, longer = show(stage.params, x, length, grid)
            return torch.where(active[:, None, None, None], changed, x), torch.where(active, longer, length)


def _to(values: NDArray[Any] | tuple[float, ...], like: Tensor) -> Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float64)).to(device=like.device, dtype=like.dtype)


def _moved(stage: TimeMap, x: Tensor, length: Tensor, grid: MelGrid) -> tuple[Tensor, Tensor]:
    rows, columns = x.shape[2], x.shape[3]
    line = stage.line(length.detach().cpu().numpy().astype(np.float64) * grid.column_s)
    scale, shift, pitch = (v[:, None] for v in (line.scale, line.shift_s, line.pitch))
    mel = mel_of(np.array(grid.middles_hz))
    row = (mel_of(np.array(grid.middles_hz) / pitch) - mel[0]) / (mel[1] - mel[0])
    column = (np.arange(columns) - shift / grid.column_s) / scale
    # grid_sample counts from -1 to 1 between the middles of the outer cells.
    y = _to(2 * row / (rows - 1) - 1, x)[:, :, None].expand(len(x), rows, columns)
    t = _to(2 * column / (columns - 1) - 1, x)[:, None].expand(len(x), rows, columns)
    out = F.grid_sample(x + 1, torch.stack([t, y], -1), mode="bilinear", padding_mode="zeros", align_corners=True) - 1
    start, stop, length = (_to(t / grid.column_s, x) for t in (line.start_s, line.stop_s, line.seconds))
    at = torch.arange(columns, device=x.device)
    heard = (at >= start[:, None]) & (at < stop[:, None])
    return torch.where(heard[:, None, None], out, -1.0), length.clamp(max=columns)


def _within(length: Tensor, x: Tensor) -> Tensor:
    """``[N, 1, 1, columns]``: before the sound's end."""
    return (torch.arange(x.shape[-1], device=x.device) < length[:, None])[:, None, None]


def _filtered(stage: Response, x: Tensor, length: Tensor, grid: MelGrid) -> Tensor:
    factors = np.maximum(np.abs(stage.at(np.array(grid.middles_hz))), 1e-9)
    change = _to(20 * np.log10(factors) / grid.unit_db, x)
    x = _raised(x, change.expand(len(x), -1)[:, None, :, None])
    for room in stage.rooms():
        x = _echoing(room, x, length, grid)
    return x


def _raised(x: Tensor, change: Tensor) -> Tensor:
    """Where there is sound, by so many units."""
    return torch.where(x > -1 + _ABOVE, (x + change).clamp(min=-1), x)


def _power(x: Tensor, grid: MelGrid) -> Tensor:
    return 10 ** (((x + 1) * grid.unit_db + grid.floor_db) / 10)


def _level(power: Tensor, grid: MelGrid) -> Tensor:
    return (10 * torch.log10(power.clamp(min=1e-30)) - grid.floor_db) / grid.unit_db - 1


def _echoing(room: Room, x: Tensor, length: Tensor, grid: MelGrid) -> Tensor:
    """Each column's power goes on into the following ones, less and less: what the tail of noise is on average."""
    columns = x.shape[-1]
    edges = np.concatenate([[0.0], np.arange(columns) + 0.5]) * grid.column_s
    rest = np.exp(-6 * np.log(10) * edges / np.broadcast_to(room.rt60_s, (len(x),))[:, None])
    direct, reverberant = (np.broadcast_to(v, (len(x),)) for v in room.shares)
    weights = reverberant[:, None] * (rest[:, :-1] - rest[:, 1:])
    weights[:, 0] += direct
    lag = np.arange(columns) - np.arange(columns)[:, None]
    spread = _to(np.where(lag >= 0, weights[:, np.maximum(lag, 0)], 0.0), x)
    out = _level(_power(x, grid) @ spread[:, None], grid).clamp(min=-1)
    return torch.where(_within(length, x) & _to(reverberant > 0, x)[:, None, None, None].bool(), out, x)


def _noisy(stage: Noise, x: Tensor, length: Tensor, grid: MelGrid) -> Tensor:
    rows = np.flatnonzero(np.isfinite(stage.snr_db) & (length > 0).cpu().numpy())
    if not rows.size:
        return x
    at = torch.from_numpy(rows).to(x.device)
    some, inside = x[at], _within(length[at], x)
    power = _power(some, grid)
    heard = torch.where(inside, power, 0.0).sum((1, 2, 3)) / length[at]  # per column, all rows together
    shape = np.array(grid.white) * np.square(tilt(np.array(grid.middles_hz), stage.slope[rows]))
    level = heard[:, None] * _to(shape / shape.sum(1, keepdims=True) * 10 ** (-stage.snr_db[rows, None] / 10), x)
    keys = torch.from_numpy(stage.key[rows].astype(np.int64)).to(x.device)
    grain = normal_field(keys, some[0].numel()).to(x.dtype).view_as(some) / _to(grid.degrees, x).sqrt()[:, None]
    noise = level[:, None, :, None] * (1 + grain).clamp(min=_SOFTEST)
    mixed = _level(power + noise, grid)
    return x.index_copy(0, at, torch.where(inside, mixed, some))


def _gapped(stage: Gap, x: Tensor, length: Tensor, grid: MelGrid) -> Tensor:
    start, stop = (length * _to(np.broadcast_to(v, (len(x),)), x) for v in (stage.start, stage.stop))
    edge = grid.window_s / 4 / grid.column_s  # nearer to an end of the gap a window still hears what is beyond it
    column = torch.arange(x.shape[-1], device=x.device)
    gap = (column >= (start + edge)[:, None]) & (column <= (stop - edge)[:, None])
    return torch.where(gap[:, None, None], -1.0, x)


# --- ops on whole sounds ---------------------------------------------------------------------------------------------


def _numbers(params: Params, name: str, x: Tensor) -> Tensor:
    """``[N]``"""
    return _to(np.broadcast_to(np.asarray(params[name]), (len(x),)), x)


def _columns_heard(x: Tensor, weights: NDArray[np.float64], length: Tensor, grid: MelGrid) -> Tensor:
    """``[N, columns]`` weighted power of all rows, 0 behind the sound's end."""
    power = _power(x.detach(), grid)[:, 0] * _to(weights, x)[:, None]
    return torch.where(_within(length, x)[:, 0], power, 0.0).sum(1)


def _as_loud(params: Params, x: Tensor, length: Tensor, grid: MelGrid) -> tuple[Tensor, Tensor]:
    # A sine of amplitude 1 has the power 1 here, and the mean square 1/2.
    heard = _columns_heard(x, k_weights(np.array(grid.middles_hz)) / 2, length, grid)
    width = min(x.shape[-1], max(1, round(BLOCK_S / grid.column_s)))
    blocks = F.avg_pool1d(heard[:, None], width, stride=1)[:, 0]
    blocks = blocks * (width / length.clamp(1, width))[:, None]  # a sound of less than a block is one
    whole = torch.arange(blocks.shape[1], device=x.device) <= (length - width).clamp(min=0)[:, None]
    loud = whole & (blocks > 10 ** ((SILENT_LUFS - LUFS_AT_1) / 10))
    mean = _mean(blocks, loud)
    mean = _mean(blocks, loud & (blocks > 10 ** (RELATIVE_LU / 10) * mean[:, None]))
    change = _numbers(params, "lufs", x) - (10 * torch.log10(mean) + LUFS_AT_1)
    return _raised(x, torch.where(loud.any(1), change, 0.0)[:, None, None, None] / grid.unit_db), length


def _mean(values: Tensor, where: Tensor) -> Tensor:
    return (values * where).sum(1) / where.sum(1).clamp(min=1)


def _as_high(params: Params, x: Tensor, length: Tensor, grid: MelGrid) -> tuple[Tensor, Tensor]:
    loudest = _columns_heard(x, np.ones(x.shape[2]), length, grid).amax(1).clamp(min=1e-30)
    change = _numbers(params, "peak_dbfs", x) - 10 * torch.log10(loudest) - _CREST_DB
    return _raised(x, torch.where(length > 0, change, 0.0)[:, None, None, None] / grid.unit_db), length


def _trimmed(params: Params, x: Tensor, length: Tensor, grid: MelGrid) -> tuple[Tensor, Tensor]:
    power = _columns_heard(x, np.ones(x.shape[2]), length, grid)
    heard = power > power.amax(1, keepdim=True) * 10 ** (-_numbers(params, "below_db", x)[:, None] / 10)
    at = torch.arange(x.shape[-1], device=x.device).expand_as(heard)
    first = torch.where(heard, at, x.shape[-1]).amin(1) % x.shape[-1]
    last = torch.where(heard, at + 1, 0).amax(1)
    kept = torch.where(heard.any(1), (last - first).to(x.dtype), length)
    places = (at + first[:, None]).clamp(max=x.shape[-1] - 1)
    out = x.gather(3, places[:, None, None].expand_as(x))
    return torch.where(_within(kept, x), out, -1.0), kept


def _other_tract(params: Params, x: Tensor, length: Tensor, grid: MelGrid) -> tuple[Tensor, Tensor]:
    hz, alpha = np.array(grid.middles_hz), np.broadcast_to(np.asarray(params["alpha"]), (len(x),))
    near = np.exp(-0.5 * ((hz[:, None] - hz) / _SMOOTH_HZ) ** 2)
    smooth = _to(near / near.sum(1, keepdims=True), x) @ x
    mel = mel_of(hz)
    row = np.clip((mel_of(hz / alpha[:, None]) - mel[0]) / (mel[1] - mel[0]), 0, len(hz) - 1)
    low = np.minimum(row.astype(np.int64), len(hz) - 2)
    part = _to(row - low, x)[:, None, :, None]
    below, above = (
        smooth.gather(2, torch.from_numpy(i).to(x.device)[:, None, :, None].expand_as(x)) for i in (low, low + 1)
    )
    most = MOST_DB / grid.unit_db
    return _raised(x, (below + (above - below) * part - smooth).clamp(-most, most)), length


def _telephoned(params: Params, x: Tensor, length: Tensor, grid: MelGrid) -> tuple[Tensor, Tensor]:
    hz, (low, high) = np.array(grid.middles_hz), TELEPHONE_HZ
    factors = BandPass.response({"low_hz": np.array(low), "high_hz": np.array(high)}, hz) * (hz < 4000)
    coders = [Codec.way({"coder": c}).telephone for c in np.broadcast_to(np.asarray(params["coder"]), (len(x),))]
    change = np.where(np.array(coders)[:, None], 20 * np.log10(np.maximum(factors, 1e-9)), 0.0) / grid.unit_db
    return _raised(x, _to(change, x)[:, None, :, None]), length


def _with_losses(params: Params, x: Tensor, length: Tensor, grid: MelGrid) -> tuple[Tensor, Tensor]:
    step = 0.001
    columns, half = x.shape[-1], round(grid.window_s / step / 2)
    times = np.arange(round(columns * grid.column_s / step) + half, dtype=np.float64) * step
    window = np.hanning(2 * half + 1) ** 2
    left = []
    for i in range(len(x)):
        own = {k: np.broadcast_to(np.asarray(v), (len(x),))[i] for k, v in params.items()}
        heard = np.pad(1.0 - PacketLoss.lost(own, times), half, mode="edge")
        share = np.convolve(heard, window / window.sum(), mode="valid")
        left.append(
            share[np.minimum(np.rint(np.arange(columns) * grid.column_s / step).astype(np.int64), len(share) - 1)]
        )
    change = 10 * np.log10(np.maximum(np.array(left), 1e-9)) / grid.unit_db
    return _raised(x, _to(change, x)[:, None, None]), length


def _speech_gains(x: Tensor, length: Tensor, grid: MelGrid) -> tuple[Tensor, Tensor]:
    """``[N, mels, columns]`` powers, and factors of amplitude: Wiener's, of what is half above the mean of the softest fifth of
    a sound's columns, when cells are smoothed."""
    power = _power(x.detach(), grid)[:, 0]
    level = torch.where(_within(length, x)[:, 0, 0] & (x.detach() > -1 + _ABOVE).any(2)[:, 0], power.sum(1), torch.inf)
    count = torch.isfinite(level).sum(1)
    last = level.sort(1).values.gather(1, ((spectral.SOFTEST * count).round().long() - 1).clamp(min=0)[:, None])
    soft = (level <= last) & torch.isfinite(level)
    noise = (power * soft[:, None]).sum(2) / soft.sum(1).clamp(min=1)[:, None]
    smooth = F.avg_pool2d(power, 3, 1, 1, count_include_pad=False)
    over = (smooth / noise.clamp(min=1e-30)[:, :, None] - 1.5).clamp(min=0)
    gains = (over / (1 + over)).clamp(min=spectral.FLOOR)
    return power, torch.where((count > 0)[:, None, None], gains, 1.0)


def _without_noise(params: Params, x: Tensor, length: Tensor, grid: MelGrid) -> tuple[Tensor, Tensor]:
    strength = _numbers(params, "strength", x)[:, None, None]
    gains = 1 + strength * (_speech_gains(x, length, grid)[1] - 1)
    return _raised(x, 20 * torch.log10(gains)[:, None] / grid.unit_db), length


def _speech_raised(params: Params, x: Tensor, length: Tensor, grid: MelGrid) -> tuple[Tensor, Tensor]:
    power, gains = _speech_gains(x, length, grid)
    factors = [
        spectral.rises(p, g, float(db))
        for p, g, db in zip(
            power.transpose(1, 2).cpu().numpy(),
            gains.transpose(1, 2).cpu().numpy(),
            _numbers(params, "gain_db", x),
            strict=True,
        )
    ]
    change = _to(20 * np.log10(np.stack(factors)).transpose(0, 2, 1), x)[:, None] / grid.unit_db
    return _raised(x, change), length


_SHOWN: Mapping[type[Whole], Callable[[Params, Tensor, Tensor, MelGrid], tuple[Tensor, Tensor]]] = {
    LoudnessNormalize: _as_loud,
    PeakNormalize: _as_high,
    Trim: _trimmed,
    VTLP: _other_tract,
    Codec: _telephoned,
    PacketLoss: _with_losses,
    Denoise: _without_noise,
    SpeakerBoost: _speech_raised,
}
"""Peaks and rounding do not show on a spectrogram: nothing happens to one for the other ops."""


# --- several sounds --------------------------------------------------------------------------------------------------


def mix(
    op: Mix, params: Params, parts: Sequence[Tensor], grid: MelGrid, *, clip: bool = True
) -> tuple[Tensor, NDArray[np.float64]]:
    """What a mixing op makes of sounds and their partners: batches of one size, each sound's own first.

    Returns:
        The mixed sounds, and the share of each part ``[N, parts]`` in the class of what is heard on the grid.
    """
    out, shares = _MIX[type(op)](params, parts, grid)
    return out.clamp(-1, 1) if clip else out, shares


def _added(params: Params, parts: Sequence[Tensor], grid: MelGrid) -> tuple[Tensor, NDArray[np.float64]]:
    own, other = parts
    lam = np.asarray(params["lam"])
    shares = np.stack([lam, 1 - lam], 1)
    # Different sounds' phases have nothing to do with each other: so powers add.
    mine, theirs = (
        _to(s**2, own)[:, None, None, None] * _power(x, grid) for s, x in zip(shares.T, (own, other), strict=True)
    )
    return torch.where(_within(_length(own), own), _level(mine + theirs, grid).clamp(min=-1), -1.0), shares


def _one_after_another(params: Params, parts: Sequence[Tensor], grid: MelGrid) -> tuple[Tensor, NDArray[np.float64]]:
    own, other = parts
    before, columns = _length(own), own.shape[-1]
    start = before + _to(np.rint(np.asarray(params["gap_s"]) / grid.column_s), own)
    at = torch.arange(columns, device=own.device) - start[:, None]
    behind = other.gather(3, at.clamp(0, columns - 1).long()[:, None, None].expand_as(other))
    out = torch.where(_within(before, own), own, torch.where((at >= 0)[:, None, None], behind, -1.0))
    # Of the other one, the grid may end before it does.
    heard = np.stack(
        [v.cpu().numpy() for v in (before, torch.minimum(_length(other), columns - start).clamp(min=0))], 1
    )
    return out, np.where(
        heard.sum(1, keepdims=True) > 0, heard / np.maximum(heard.sum(1, keepdims=True), 1), [1.0, 0.0]
    )


def _among_talkers(params: Params, parts: Sequence[Tensor], grid: MelGrid) -> tuple[Tensor, NDArray[np.float64]]:
    own, *others = parts
    length = _length(own)
    at = torch.arange(own.shape[-1], device=own.device)
    places = _to(rng.uniform(np.asarray(params["key"]).astype(np.uint64)[:, None], np.arange(len(others))), own)
    babble = torch.zeros_like(own)
    for other, place in zip(others, places.T, strict=True):
        theirs = _length(other)
        # From anywhere in it; where it is not as long, it is gone through again and again.
        first = (place * torch.where(theirs < length, theirs, theirs - length + 1)).floor()
        column = ((first[:, None] + at) % theirs.clamp(min=1)[:, None]).long()
        talk = torch.where(
            _within(length, own) & (theirs > 0)[:, None, None, None],
            _power(other.gather(3, column[:, None, None].expand_as(other)), grid),
            0.0,
        )
        babble = babble + talk / talk.sum((1, 2, 3), keepdim=True).clamp(min=1e-30)
    power = torch.where(_within(length, own), _power(own, grid), 0.0)
    snr = _to(10 ** (-np.asarray(params["snr_db"]) / 10), own)[:, None, None, None]
    ratio = power.sum((1, 2, 3), keepdim=True) / babble.sum((1, 2, 3), keepdim=True).clamp(min=1e-30)
    mixed = _level(power + snr * ratio * babble, grid).clamp(min=-1)
    one = np.zeros((len(own), len(parts)))
    one[:, 0] = 1
    return torch.where(_within(length, own), mixed, own), one


_MIX: Mapping[type[Mix], Callable[[Params, Sequence[Tensor], MelGrid], tuple[Tensor, NDArray[np.float64]]]] = {
    MixUp: _added,
    Concat: _one_after_another,
    AddBabble: _among_talkers,
}
