"""A plan: what does happen to one sample, as plain numbers. It replays from its JSON to the same bytes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

from augmint.core import rng
from augmint.core.errors import UserError, did_you_mean
from augmint.core.rng import F64
from augmint.transforms.bending import ElasticTransform, GridDistortion, OpticalDistortion, Perspective
from augmint.transforms.colour import (
    Brightness,
    BrightnessContrast,
    ChannelShuffle,
    ColorJitter,
    Contrast,
    Gamma,
    Hue,
    Invert,
    Posterize,
    RGBShift,
    Saturation,
    Solarize,
    ToGray,
    WhiteBalance,
)
from augmint.transforms.geometry import Affine, Crop, HorizontalFlip, Rotate, Scale, Shear, Translate, VerticalFlip
from augmint.transforms.local import Cutout, GaussianBlur, GaussianNoise
from augmint.transforms.mix import MIXES, AugMix
from augmint.transforms.op import Bool, Op
from augmint.transforms.pixels import (
    CLAHE,
    JPEG,
    AutoContrast,
    Binarize,
    CoarseDropout,
    Deblock,
    Denoise,
    Deskew,
    Downscale,
    Embolden,
    Equalize,
    GridDropout,
    ISONoise,
    MedianBlur,
    MotionBlur,
    SaltAndPepper,
    Sharpen,
    ShotNoise,
)
from augmint.transforms.signal import AddNoise, BandPass, FreqMask, Gain, PolarityInvert, TimeMask
from augmint.transforms.sizing import (
    CenterCrop,
    LetterBox,
    LongestMaxSize,
    Pad,
    RandomCrop,
    RandomResizedCrop,
    RandomRotate90,
    Resize,
    Transpose,
    Upscale,
)
from augmint.transforms.temporal import PitchShift, TimeShift, TimeStretch

Border = Literal["reflect", "edge", "zero"]
Interp = Literal["linear", "cubic"]

PICTURE_OPS: dict[str, type[Op]] = {
    op.__name__: op
    for op in (
        *(Rotate, Translate, Scale, Shear, Affine, HorizontalFlip, VerticalFlip, Crop),
        *(
            Upscale,
            Resize,
            LongestMaxSize,
            LetterBox,
            CenterCrop,
            RandomCrop,
            RandomResizedCrop,
            Pad,
            Transpose,
            RandomRotate90,
        ),
        *(Perspective, ElasticTransform, GridDistortion, OpticalDistortion),
        *(Brightness, Contrast, BrightnessContrast, Saturation, Hue, ColorJitter, Gamma, RGBShift, WhiteBalance),
        *(ChannelShuffle, ToGray, Invert, Solarize, Posterize),
        *(GaussianNoise, GaussianBlur, Cutout),
        *(Equalize, AutoContrast, CLAHE, MotionBlur, MedianBlur, Sharpen, ISONoise, ShotNoise, SaltAndPepper, JPEG),
        *(Downscale, CoarseDropout, GridDropout, Denoise, Binarize, Embolden, Deblock, Deskew),
    )
}
SOUND_OPS: dict[str, type[Op]] = {
    op.__name__: op
    for op in (
        *(TimeStretch, PitchShift, TimeShift),
        *(Gain, PolarityInvert, BandPass, FreqMask),
        *(AddNoise, TimeMask),
    )
}
OPS: dict[str, type[Op]] = {**PICTURE_OPS, **SOUND_OPS}
"""One namespace: a recipe names ops, whatever they are for."""


def sample_key(seed: int, sample_id: str, variant: int = 0, epoch: int = 0) -> int:
    """The 64-bit key that every draw for this sample follows from; nothing else does."""
    return rng.key("sample", seed, sample_id, variant, epoch)


def check_op(name: object) -> str:
    """The name, if it is a known op's.

    Raises:
        UserError: naming the nearest known op.
    """
    known = (*OPS, *MIXES)
    if not isinstance(name, str) or name not in known:
        raise UserError(f"unknown op '{name}'{did_you_mean(str(name), known)}", mend="known ops: " + ", ".join(known))
    return name


def op_named(name: object) -> type[Op]:
    """The op of this name, a mixing one too."""
    return OPS.get(check_op(name)) or MIXES[str(name)]


def op_alone(name: str) -> type[Op]:
    """The op of this name, if one picture is all that it needs."""
    if name in MIXES:
        raise UserError(f"{name} mixes pictures, and here is one alone", mend="use run_mix.apply, or take it out")
    return OPS[name]


def check_ways(border: object, interp: object) -> None:
    """Refuse a border or an interpolation that the executors do not know."""
    for name, value, kind in (("border", border, Border), ("interp", interp, Interp)):
        known = get_args(kind)
        if value not in known:
            raise UserError(f"{name} is {value!r}{did_you_mean(str(value), known)}", mend="use " + " or ".join(known))


class Step(NamedTuple):
    """One op that happens, with its numbers; ``partners`` are what a mixing op mixes in."""

    op: str
    id: str
    params: Mapping[str, float]
    partners: tuple[Partner, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        partners = {"partners": [p.to_dict() for p in self.partners]} if self.partners else {}
        return {"op": self.op, "id": self.id, **self.params, **partners}

    def others(self) -> Iterator[str]:
        """The ids of all other samples that go into it."""
        for partner in self.partners:
            if partner.id is not None:
                yield partner.id
            for step in partner.steps:
                yield from step.others()


@dataclass(frozen=True)
class Partner:
    """A picture that is mixed in: the sample of this id (``None``: the picture itself) after these steps."""

    id: str | None
    steps: tuple[Step, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {"sample": self.id, "steps": [s.to_dict() for s in self.steps]}


@dataclass(frozen=True)
class Drawn:
    """One op drawn for N samples: ``active`` and every entry of ``params`` are ``[N]``."""

    op: str
    id: str
    active: Bool
    params: Mapping[str, F64]


@dataclass(frozen=True)
class Plan:
    """The steps that happen to one sample, in order, and how pixels beyond the edge and between pixels are found."""

    steps: tuple[Step, ...] = ()
    border: Border = "reflect"
    interp: Interp = "linear"

    def to_dict(self) -> dict[str, Any]:
        return {"border": self.border, "interp": self.interp, "steps": [s.to_dict() for s in self.steps]}

    @property
    def others(self) -> tuple[str, ...]:
        """The ids of the other samples that are mixed in, each once."""
        return tuple(dict.fromkeys(i for s in self.steps for i in s.others()))

    def without(self, ids: Collection[str]) -> Plan:
        """Without the steps that need one of these samples."""
        return replace(self, steps=tuple(s for s in self.steps if not set(ids) & set(s.others())))

    def to_json(self) -> str:
        """One line; ``from_json`` gives back an equal plan."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Plan:
        """
        Raises:
            UserError: for an unknown op, or numbers that are missing or not numbers.
        """
        border, interp = found.get("border", "reflect"), found.get("interp", "linear")
        check_ways(border, interp)
        return cls(tuple(_step(s) for s in found.get("steps", ())), border, interp)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(f"a plan is not readable as JSON: {error}", mend="restore the manifest") from None
        if not isinstance(found, dict):
            raise UserError("a plan is a JSON object", mend="restore the manifest")
        return cls.from_dict(found)


def _step(found: Mapping[str, Any]) -> Step:
    name = check_op(found.get("op"))
    wanted = _param_names(name)
    numbers = {k: found.get(k) for k in wanted}
    wrong = [k for k, v in numbers.items() if isinstance(v, bool) or not isinstance(v, int | float)]
    if wrong:
        raise UserError(f"a plan's {name} has no number for '{wrong[0]}'", mend="restore the manifest")
    params = {k: float(v) for k, v in numbers.items() if v is not None}
    return Step(name, str(found.get("id", name)), params, _partners(name, found.get("partners", [])))


def _partners(name: str, found: Any) -> tuple[Partner, ...]:
    kind = MIXES.get(name)
    wanted = 0 if kind is None else kind.num_partners or AugMix.num_chains
    if not isinstance(found, list) or len(found) != wanted or not all(isinstance(p, dict) for p in found):
        raise UserError(f"a plan's {name} needs {wanted} partners", mend="restore the manifest")
    ids = [p.get("sample") for p in found]
    if any(not isinstance(i, str) if kind is not None and kind.num_partners else i is not None for i in ids):
        raise UserError(f"a plan's {name} has a partner without an id", mend="restore the manifest")
    return tuple(Partner(i, tuple(_step(s) for s in p.get("steps", ()))) for i, p in zip(ids, found, strict=True))


def _param_names(name: str) -> list[str]:
    import numpy as np

    op = op_named(name)
    return list(op().draw(np.full(op.num_uniforms, 0.5)))
