"""A plan: what does happen to one sample, as plain numbers. It replays from its JSON to the same bytes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal, NamedTuple, get_args

from augmint.core import rng
from augmint.core.errors import UserError, check_one_of, did_you_mean
from augmint.core.rng import F64
from augmint.transforms.bending import ElasticTransform, GridDistortion, OpticalDistortion, Perspective
from augmint.transforms.channel import VTLP, Codec, PacketLoss
from augmint.transforms.cleaning import Denoise as SoundDenoise
from augmint.transforms.cleaning import SpeakerBoost
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
from augmint.transforms.levels import BitCrush, Clip, Limiter, LoudnessNormalize, PeakNormalize, Trim
from augmint.transforms.local import Cutout, GaussianBlur, GaussianNoise
from augmint.transforms.mix import MIXES, AugMix, Mix
from augmint.transforms.mix_audio import SOUND_MIXES
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
from augmint.transforms.signal import (
    AddNoise,
    BandPass,
    BandStop,
    FreqMask,
    Gain,
    HighPass,
    HighShelf,
    LowPass,
    LowShelf,
    Peaking,
    PolarityInvert,
    Reverb,
    TimeMask,
)
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
from augmint.transforms.temporal import Crop as SoundCrop
from augmint.transforms.temporal import Pad as SoundPad
from augmint.transforms.temporal import PitchShift, SpeedPerturb, TimeShift, TimeStretch

Border = Literal["reflect", "edge", "zero"]
Interp = Literal["linear", "cubic"]
Quality = Literal["fast", "best"]

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
        *(TimeStretch, PitchShift, SpeedPerturb, TimeShift, SoundCrop, SoundPad),
        *(Gain, PolarityInvert, LowPass, HighPass, BandPass, BandStop, Peaking, LowShelf, HighShelf, FreqMask, Reverb),
        *(LoudnessNormalize, PeakNormalize, Limiter, Clip, BitCrush, Trim),
        *(VTLP, Codec, PacketLoss, AddNoise, TimeMask),
        *(SoundDenoise, SpeakerBoost),
        *SOUND_MIXES.values(),
    )
}
Vocabulary = Mapping[str, type[Op]]
VOCABULARIES: Mapping[str, Vocabulary] = {"pictures": {**PICTURE_OPS, **MIXES}, "sounds": SOUND_OPS}
"""What an op's name means, by kind of data: the same name may be another op in another kind."""
PICTURES = "pictures"
SOUNDS = "sounds"


def sample_key(seed: int, sample_id: str, variant: int = 0, epoch: int = 0) -> int:
    """The 64-bit key that every draw for this sample follows from; nothing else does."""
    return rng.key("sample", seed, sample_id, variant, epoch)


def kind_for(names: Iterable[object]) -> str:
    """The kind of data that all these ops are for; pictures where several have them.

    Raises:
        UserError: for an op that no kind has (with the nearest name that one has), or ops of different kinds.
    """
    names = list(names)
    fitting = [kind for kind, known in VOCABULARIES.items() if all(n in known for n in names)]
    if fitting:
        return fitting[0]
    every = {name: kind for kind, known in VOCABULARIES.items() for name in known}
    first = every.get(str(names[0]), "")
    for name in names:
        if name not in every:
            raise _unknown(name, every)
        if name not in VOCABULARIES[first]:
            raise UserError(
                f"{names[0]} is an op for {first}, and {name} one for {every[name]}", mend="keep to one kind of data"
            )
    raise AssertionError


def op_named(name: object, kind: str) -> type[Op]:
    """The op that a name means for a kind of data.

    Raises:
        UserError: if it means nothing there: with the nearest name that does, or where other kinds have it.
    """
    known = VOCABULARIES[kind]
    if isinstance(name, str) and name in known:
        return known[name]
    elsewhere = [k for k, ops in VOCABULARIES.items() if name in ops]
    if elsewhere:
        raise UserError(
            f"{name} does not apply to this kind of data: it is an op for {' and '.join(elsewhere)}",
            mend="take it out; what applies: " + ", ".join(known),
        )
    raise _unknown(name, known)


def _unknown(name: object, known: Iterable[str]) -> UserError:
    """With the nearest name, or else all of them."""
    near = did_you_mean(str(name), known)
    mend = "write it so; docs/transforms.md lists all" if near else "known ops: " + ", ".join(known)
    return UserError(f"unknown op '{name}'{near}", mend=mend)


@cache
def op_alone(name: str, kind: str = PICTURES) -> type[Op]:
    """The op of this name, if one sample is all that it needs."""
    op = VOCABULARIES[kind].get(name) or op_named(name, kind)
    if issubclass(op, Mix):
        module = "run_mix" if kind == PICTURES else "run_mix_audio"
        raise UserError(f"{name} mixes {kind}, and here is one alone", mend=f"use {module}.apply, or take it out")
    return op


def check_ways(border: object, interp: object, quality: object) -> None:
    """Refuse a border, an interpolation or a quality that the executors do not know."""
    for name, value, kind in (("border", border, Border), ("interp", interp, Interp), ("quality", quality, Quality)):
        check_one_of(name, value, get_args(kind))


_NO_FILES: Mapping[str, str] = {}


class Step(NamedTuple):
    """One op that happens, with its numbers; ``partners`` are what a mixing op mixes in, ``files`` the paths of files that it needs, as the
    recipe gives them, from where the command runs."""

    op: str
    id: str
    params: Mapping[str, float]
    partners: tuple[Partner, ...] = ()
    files: Mapping[str, str] = _NO_FILES

    def to_dict(self) -> dict[str, Any]:
        partners = {"partners": [p.to_dict() for p in self.partners]} if self.partners else {}
        return {"op": self.op, "id": self.id, **self.params, **self.files, **partners}

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
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The steps that happen to one sample, in order, and how they are computed.

    ``border`` and ``interp``: how pixels beyond the edge and between pixels are found. ``quality``: of changes of pitch and tempo.
    ``kind``: of data, which its ops' names are for; see `VOCABULARIES`. ``span``: the levels of 16 bits that are black and white to
    the ops, where a data set uses less than all of them.
    """

    steps: tuple[Step, ...] = ()
    border: Border = "reflect"
    interp: Interp = "linear"
    kind: str = PICTURES
    quality: Quality = "best"
    span: tuple[int, int] | None = None

    def to_dict(self) -> dict[str, Any]:
        ways: dict[str, Any] = {"border": self.border, "interp": self.interp}
        if self.span is not None:
            ways["span"] = list(self.span)
        if self.kind != PICTURES:
            ways = {"kind": self.kind, "quality": self.quality}
        return {**ways, "steps": [s.to_dict() for s in self.steps]}

    def ops(self, kind: str) -> Iterator[tuple[type[Op], Step]]:
        """Each step with what its name means.

        Raises:
            UserError: if the plan is for another kind of data, or (when it comes to it) a step mixes samples.
        """
        if self.steps and self.kind != kind:
            raise UserError(f"a plan for {self.kind}, and here are {kind}", mend="draw it from a recipe for this data")
        return ((op_alone(step.op, kind), step) for step in self.steps)

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
            UserError: for what is no list of steps, an unknown op, or numbers that are missing, not finite or not numbers.
        """
        border, interp, quality = (found.get(k, d) for k, d in _WAYS.items())
        steps = _listed(found)
        check_ways(border, interp, quality)
        kind = found["kind"] if "kind" in found else kind_for(str(s.get("op")) for s in steps)
        if not isinstance(kind, str) or kind not in VOCABULARIES:
            raise UserError(f"a plan for {kind!r}, which is no kind of data", mend="restore the manifest")
        return cls(tuple(_step(s, kind) for s in steps), border, interp, kind, quality, _span(found.get("span")))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(f"a plan is not readable as JSON: {error}", mend="restore the manifest") from None
        if not isinstance(found, dict):
            raise UserError("a plan is a JSON object", mend="restore the manifest")
        return cls.from_dict(found)


def _span(found: object) -> tuple[int, int] | None:
    if found is None:
        return None
    match found:
        case [int(low), int(high)] if 0 <= low < high <= 65_535:
            return low, high
    raise UserError(f"a plan with the span {found!r}, which is no two levels of 16 bits", mend="restore the manifest")


_WAYS: Mapping[str, Any] = {"border": "reflect", "interp": "linear", "quality": "best"}


def _listed(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    steps = found.get("steps", [])
    if not isinstance(steps, list) or not all(isinstance(s, dict) for s in steps):
        raise UserError("the steps of a plan are no list of steps", mend="restore the manifest")
    return steps


def _step(found: Mapping[str, Any], kind: str) -> Step:
    name = str(found.get("op"))
    op = op_named(name, kind)
    numbers = {k: found.get(k, op.later.get(k)) for k in _param_names(op)}
    wrong = [
        k for k, v in numbers.items() if isinstance(v, bool) or not isinstance(v, int | float) or not abs(v) < 1e300
    ]
    if wrong:
        raise UserError(f"a plan's {name} has no number for '{wrong[0]}'", mend="restore the manifest")
    params = {k: float(v) for k, v in numbers.items() if v is not None}
    files = {k: str(found[k]) for k in op.file_settings if k in found}
    return Step(name, str(found.get("id", name)), params, _partners(op, found.get("partners", []), kind), files)


def _partners(op: type[Op], found: Any, kind: str) -> tuple[Partner, ...]:
    name, mix = op.__name__, op if issubclass(op, Mix) else None
    wanted = 0 if mix is None else mix.num_partners or AugMix.num_chains
    enough = isinstance(found, list) and (len(found) >= wanted if mix and mix.has_more else len(found) == wanted)
    if not enough or not all(isinstance(p, dict) for p in found):
        raise UserError(f"a plan's {name} needs {wanted} partners", mend="restore the manifest")
    ids = [p.get("sample") for p in found]
    if any(not isinstance(i, str) if mix is not None and mix.num_partners else i is not None for i in ids):
        raise UserError(f"a plan's {name} has a partner without an id", mend="restore the manifest")
    return tuple(Partner(i, tuple(_step(s, kind) for s in _listed(p))) for i, p in zip(ids, found, strict=True))


def _param_names(op: type[Op]) -> list[str]:
    import numpy as np

    return list(op().draw(np.full(op.num_uniforms, 0.5)))
