"""A small network that says which cells of a spectrogram are speech, trained on the user's own voices and noises (`training.denoiser`).

It sees the levels of cells and gives factors of amplitude. Above half of the rate that it was trained at, `spectral` does the work. Here it is computed
with numpy alone: its network as it is trained is `models.mask`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from augmint.core.errors import UserError
from augmint.core.types import F32
from augmint.transforms import spectral
from augmint.transforms.waves import of_length, resampled

STEPS = (1, 2, 4, 8, 1, 2, 4, 8)
"""Frames between the taps of each block's filters."""
REACH = 3
"""Taps of a filter."""
FORM = "augmint denoiser 2"
_FORMS = "augmint denoiser "
_NEAR = 64
"""Frames of some 16 ms."""
_SOFTEST = 1e-8  # of the mean power of a cell
_PART = 4096  # frames at a time


class Weights(NamedTuple):
    """Arrays by name, as `models.mask.MaskNet.weights` gives them, and the rate that they are for."""

    arrays: Mapping[str, F32]
    rate: int


def features(power: F32) -> F32:
    """``[..., frames, bins]``: how loud each cell is against the sound within a second of it; silence is as soft as can be."""
    frames = power.shape[-2]
    at = np.arange(frames)
    first, last = np.maximum(at - _NEAR, 0), np.minimum(at + _NEAR + 1, frames)
    sums = np.cumsum(power.mean(axis=-1, dtype=np.float64), axis=-1)
    sums = np.concatenate([np.zeros_like(sums[..., :1]), sums], axis=-1)
    mean = np.maximum((sums[..., last] - sums[..., first]) / (last - first), 1e-20).astype(np.float32)
    found: F32 = np.log(power / mean[..., None] + np.float32(_SOFTEST)) / np.float32(4)
    return found


def gains(weights: Weights, seen: F32) -> F32:
    """``[frames, bins]`` factors of amplitude in (0, 1) for `features`; the same bits however many threads there are.

    Long sounds are looked at in parts, each with all the frames around it that count.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it comes with scikit-learn

    around = sum(STEPS) * (REACH // 2)
    with threadpool_limits(1, user_api="blas"):  # sums of products are parted by threads
        parts = []
        for start in range(0, len(seen), _PART):
            before, end = max(0, start - around), min(len(seen), start + _PART)
            made = _gains(weights.arrays, seen[before : end + around])
            parts.append(made[start - before : end - before])
    return np.concatenate(parts)


def _gains(w: Mapping[str, F32], seen: F32) -> F32:
    y = seen @ w["enter.weight"] + w["enter.bias"]
    for block, step in enumerate(STEPS):
        taps, bias, scale, shift = (w[f"blocks.{block}.{name}"] for name in ("weight", "bias", "scale", "shift"))
        reach = step * (REACH // 2)
        padded = np.pad(np.maximum(y * scale + shift, 0), ((reach, reach), (0, 0)))
        y = y + bias
        for k, tap in enumerate(taps):
            y += padded[k * step : k * step + len(y)] @ tap
    y = np.maximum(y * w["leave.scale"] + w["leave.shift"], 0) @ w["leave.weight"] + w["leave.bias"]
    out: F32 = (1 / (1 + np.exp(-np.maximum(y, -80)))).astype(np.float32)
    return out


def cleaned(path: str, wave: F32, rate: int) -> F32:
    """The speech in ``[T, C]`` by the network in a file; all channels have the same gains.

    Raises:
        UserError: if the file is not there, or holds no such network.
    """
    weights = load(path)
    low = resampled(wave, weights.rate / rate)
    out = spectral.Frames(weights.rate).changed(low, lambda power: gains(weights, features(power)))
    if rate == weights.rate:
        return out
    above = spectral.cleaned(wave, rate)
    return above + of_length(resampled(out - spectral.cleaned(low, weights.rate), rate / weights.rate), len(wave))


@lru_cache(maxsize=4)
def load(path: str) -> Weights:
    """The network of a file.

    Raises:
        UserError: if there is none, or what is there would make sounds that are none.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise UserError(
            "there are no such weights", where=path, mend="train them: augmint train CLEAN --denoiser --out RUN"
        )
    try:
        with safe_open(path, "np") as file:
            about = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"not readable as weights: {error}", where=path, mend="train them again") from None
    form = about.get("form", "")
    if form.startswith(_FORMS) and form != FORM:
        raise UserError(
            f"these weights are of another version of augmint ({form}; this one reads {FORM})",
            where=path, mend="train them again: augmint train CLEAN --denoiser --out RUN",
        )  # fmt: skip
    if form != FORM:
        raise UserError("these are no denoiser's weights", where=path, mend="give the denoiser.safetensors of a run")
    if not all(np.isfinite(v).all() for v in arrays.values()):
        raise UserError("some of these weights are no numbers", where=path, mend="train them again")
    return Weights(arrays, int(about["rate"]))


def encoded(weights: Weights) -> bytes:
    """The bytes of a file for `load`."""
    from safetensors.numpy import save

    return save(dict(weights.arrays), {"form": FORM, "rate": str(weights.rate)})
