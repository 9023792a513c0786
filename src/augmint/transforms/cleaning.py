"""Transforms that clean: noise out of a sound, and the speaker nearer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import numpy as np

from augmint.core.errors import UserError, check_one_of
from augmint.core.rng import F64
from augmint.core.types import F32
from augmint.transforms import engines, mask_net, spectral
from augmint.transforms.levels import limited
from augmint.transforms.op import Law, Params, Range, between, within
from augmint.transforms.signal import Whole

Method = Literal["auto", "spectral", "rnnoise", "deepfilter", "gan"]
CEILING = 10 ** (-1 / 20)
"""1 dB below full scale."""


@dataclass(frozen=True, kw_only=True)
class Denoise(Whole):
    """Take the noise around out.

    ``strength``: how much of what the method takes away is taken away, within [0, 1]; 0.9 leaves the noise 20 dB softer at least.
    ``method``: ``spectral``, which is always there; ``rnnoise`` or ``deepfilter``, networks in packages of their own; ``auto``: the best of
    these that is installed; ``gan``: the network that `augmint train CLEAN --denoiser` has trained on one's own voices. What is written
    down in plans is which one it was. ``weights``: path of that network's file, from where the command runs.

    To ``spectral`` all that is steady is noise, a held tone too; all channels get the same gains. The engines hear up to 24 kHz, each channel
    by itself. Silence stays silence, and the length stays.
    """

    num_uniforms: ClassVar[int] = 1
    strength: Range = field(default=(1.0, 1.0), metadata=within(0, 1))
    file_settings: ClassVar[tuple[str, ...]] = ("weights",)
    method: Method = "auto"
    weights: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_one_of("Denoise: method", self.method, get_args(Method))
        if (self.method == "gan") != isinstance(self.weights, str):
            raise UserError(
                f"Denoise: method is {self.method}, weights is {self.weights!r}",
                mend="gan, and only gan, takes weights: the path of a denoiser.safetensors",
            )

    def draw(self, u: F64) -> dict[str, F64]:
        strength = between(self.strength, u[..., 0])
        return {"strength": strength, "method": np.full_like(strength, get_args(Method).index(self.chosen))}

    def check_needs(self) -> None:
        if self.method == "gan":
            mask_net.load(str(self.weights))
        elif self.method in engines.ENGINES:
            engines.check(self.method)

    @property
    def chosen(self) -> str:
        """The method, also where it is ``auto``."""
        return next((n for n in _BEST if engines.is_there(n)), "spectral") if self.method == "auto" else self.method

    @staticmethod
    def apply(params: Params, wave: F32, rate: int) -> F32:
        method, strength = get_args(Method)[int(params["method"])], np.float32(params["strength"])
        if strength == 0 or not wave.any():
            return wave
        return wave + strength * (_speech(method, params, wave, rate) - wave)


def _speech(method: str, params: Params, wave: F32, rate: int) -> F32:
    match method:
        case "spectral":
            return spectral.cleaned(wave, rate)
        case "gan":
            return mask_net.cleaned(str(params["weights"]), wave, rate)
        case _:
            return engines.cleaned(method, wave, rate)


_BEST = ("deepfilter", "rnnoise")


@dataclass(frozen=True, kw_only=True)
class SpeakerBoost(Whole):
    """Amplify the speaker, and not the noise: frames with speech get ``gain_db`` louder, what is no speech 2 dB softer, and no peak comes
    nearer to full scale than 1 dB, between the samples neither (ITU-R BS.1770-4, annex 2).

    ``gain_db``: within [0, 24]. The gain is at the times and frequencies where the speech is. Where the speech is deep in noise, it gets at
    most 3 dB more than ``gain_db``, and the frame as a whole less; where there is none, all stays as it is. For one loudness in all files put
    `LoudnessNormalize` and `Limiter` after it.
    """

    num_uniforms: ClassVar[int] = 1
    laws: ClassVar[tuple[Law, ...]] = (Law("gain_db", "gain_db"),)
    gain_db: Range = field(default=(6.0, 6.0), metadata=within(0, 24))

    @staticmethod
    def apply(params: Params, wave: F32, rate: int) -> F32:
        return limited(spectral.boosted(wave, rate, float(params["gain_db"])), rate, CEILING, between=True)
