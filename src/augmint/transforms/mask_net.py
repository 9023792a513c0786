"""A small network that says which cells of a spectrogram are speech, trained on the user's own voices and noises (`training.denoiser`).

It sees what `spectral` sees and what `spectral` makes of it, and gives factors of amplitude in its place. Above half of the rate that it was trained at,
`spectral` does the work. Here it is computed with numpy alone: its network as it is trained is `models.mask`.
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

SURE = 0.02
"""How near to 0 and 1 the gains are taken to be that the network corrects."""
MOST = 4.0
"""What the network's last numbers are multiplied by, before they are added to the gains' logits."""
FORM = "augmint denoiser 1"


class Weights(NamedTuple):
    """Arrays by the names of `models.mask.MaskNet`'s parameters, and the rate that they are for."""

    arrays: Mapping[str, F32]
    rate: int


def dilation(block: int) -> int:
    """Frames between the taps of a block's filters."""
    return int(2 ** (block % 3))


def features(power: F32, rate: int) -> F32:
    """``[3, frames, bins]``: how loud each cell is against the sound, against the noise, and `spectral`'s gains."""
    level = np.log(power + np.float32(1e-10))
    noise = np.log(spectral.noise_of(np.maximum(power, np.float32(1e-10))))
    gain = spectral.gains(power, rate)
    return np.stack([(level - level.mean()) / 4, (level - noise) / 4, gain]).astype(np.float32)


def gains(weights: Weights, seen: F32) -> F32:
    """``[frames, bins]`` factors of amplitude in (0, 1) for `features`; the same bits however many threads there are."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it comes with scikit-learn

    with threadpool_limits(1, user_api="blas"):  # sums of products are parted by threads
        return _gains(weights.arrays, seen)


def _gains(w: Mapping[str, F32], seen: F32) -> F32:
    y = seen.transpose(1, 0, 2).reshape(seen.shape[1], -1) @ w["enter.weight"].T + w["enter.bias"]
    block = 0
    while f"blocks.{block}.norm.weight" in w:
        own = {name.removeprefix(f"blocks.{block}."): v for name, v in w.items() if name.startswith(f"blocks.{block}.")}
        y = y + _block(y, own, dilation(block))
        block += 1
    own_gain = np.clip(seen[2], SURE, 1 - SURE)
    logits = np.log(own_gain / (1 - own_gain)) + np.float32(MOST) * (y @ w["leave.weight"].T + w["leave.bias"])
    out: F32 = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return out


def _block(y: F32, w: Mapping[str, F32], step: int) -> F32:
    """Normalised over frames and width, filtered along time, Gaussian error units, mixed: ``[frames, width]``."""
    from scipy.special import erf

    z = (y - y.mean()) / np.sqrt(y.var() + np.float32(1e-5)) * w["norm.weight"] + w["norm.bias"]
    taps = w["time.weight"][:, 0].T  # [reach, width]
    reach = step * (len(taps) // 2)
    padded = np.pad(z, ((reach, reach), (0, 0)))
    z = sum((padded[k * step : k * step + len(y)] * tap for k, tap in enumerate(taps)), w["time.bias"])
    z = z * (np.float32(0.5) * (1 + erf(z / np.float32(np.sqrt(2)))))
    out: F32 = z @ w["mix.weight"][:, :, 0].T + w["mix.bias"]
    return out


def cleaned(path: str, wave: F32, rate: int) -> F32:
    """The speech in ``[T, C]`` by the network in a file; all channels have the same gains.

    Raises:
        UserError: if the file is not there, or holds no such network.
    """
    weights = load(path)
    low = resampled(wave, weights.rate / rate)
    out = spectral.Frames(weights.rate).changed(low, lambda power: gains(weights, features(power, weights.rate)))
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
    if about.get("form") != FORM:
        raise UserError("these are no denoiser's weights", where=path, mend="give the denoiser.safetensors of a run")
    if not all(np.isfinite(v).all() for v in arrays.values()):
        raise UserError("some of these weights are no numbers", where=path, mend="train them again")
    return Weights(arrays, int(about["rate"]))


def encoded(weights: Weights) -> bytes:
    """The bytes of a file for `load`."""
    from safetensors.numpy import save

    return save(dict(weights.arrays), {"form": FORM, "rate": str(weights.rate)})
