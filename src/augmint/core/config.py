"""Settings: frozen pydantic models, the one source for flags, YAML, Python arguments and the reference page.

Order of precedence: the defaults below, the preset, a YAML file, then flags or keyword arguments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from augmint.core.errors import UserError, did_you_mean

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def seconds(text: str | float) -> float:
    """``"90s"``, ``"10m"``, ``"1.5h"`` or a number of seconds, as seconds."""
    if isinstance(text, (int, float)):
        return float(text)
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    if not found or found[2] not in _UNITS:
        raise ValueError(f"{text!r} is not a duration; write 90s, 10m or 1.5h")
    return float(found[1]) * _UNITS[found[2]]


Seconds = Annotated[float, BeforeValidator(seconds), Field(gt=0)]


class Section(BaseModel):
    """A group of settings that one part of augmint receives."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RunConfig(Section):
    """What every verb takes."""

    seed: int = Field(0, ge=0, description="Every random number follows from this one.")
    time: Seconds = Field(
        300.0, description="Time to spend, as 90s, 10m or 1.5h; becomes a number of steps at the start."
    )
    preset: Literal["fast", "balanced", "best"] = Field(
        "balanced", description="How thorough to be where you set nothing."
    )
    workers: int = Field(0, ge=0, description="Processes to use; 0 = as many as there are cores.")
    strict: bool = Field(
        False, description="Stop at the first file that cannot be read, instead of skipping and naming it."
    )


class AugmentConfig(Section):
    """Classic transforms."""

    recipe: str = Field(
        "medium",
        description="light, medium, strong, trivial, rand, document, enhance, ada, or the path of a recipe in YAML.",
    )
    variants: int = Field(4, ge=1, le=10_000, description="Augmented variants of each real sample.")


class TrainConfig(Section):
    """The GAN. What is left empty is worked out from the data and the time, and written to choices.json."""

    size: Literal["nano", "small", "base", "large", "article"] | None = Field(
        None,
        description="Network size (default: nano on a CPU, by grid and samples on a GPU); article is the literal small net of "
        "the article: the teaching baseline.",
    )
    tier: Literal["own", "projected"] = Field(
        "own",
        description="own: the verifier learns from the data alone; projected: on frozen ImageNet features, for pictures of 128 "
        "pixels or more (smaller ones are enlarged).",
    )
    grid: int | None = Field(
        None,
        ge=4,
        le=512,
        description="Longest side that the GAN sees (in boost, the probes too), in pixels (default: from the data and the time).",
    )
    steps: int | None = Field(None, ge=1, description="Training steps (default: from the time).")
    batch: int = Field(32, ge=2, le=4096, description="Samples a step.")
    gamma: float | None = Field(
        None,
        gt=0,
        description="Weight of the gradient penalties (default: 0.375 x pixels / batch, in up to 8,000 steps a quarter of it from 64 x 64 on).",
    )
    lr: float | None = Field(
        None,
        gt=0,
        description="Adam's learning rate at the start; it falls to a third (default: 0.0006, or 0.001 where a grid of 64 x 64 cells or "
        "more gets no more than 8,000 steps).",
    )
    rebuild_weight: float = Field(0.1, ge=0, description="Weight of the verifier's rebuild loss.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Numbers in the convolutions; auto takes bf16 where a step is measurably faster with it."
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Compile the networks (torch.compile; needs a C++ compiler, and a minute or two at the start); auto tries it "
        "on a GPU, in runs of 20 minutes or more, and keeps it where a step is measurably faster.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where to train; auto takes a GPU where there is one."
    )
    lazy: int = Field(4, ge=1, description="Gradient penalties every so many steps, with so many times the weight.")


class GenerateConfig(Section):
    """Making and choosing synthetic samples."""

    quality: float = Field(0.0, ge=0, le=1, description="0 = full variety; towards 1 = nearer to each class's mean.")
    keep: float = Field(0.7, gt=0, le=1, description="Share of the candidates that curation may keep, class by class.")
    vocoder: str | None = Field(
        None,
        description="Sounds: folder of a vocoder's run; it makes the waveforms if it has beaten Griffin and Lim's algorithm, which does so "
        "otherwise.",
    )


class ProveConfig(Section):
    """The experiment."""

    seeds: int = Field(10, ge=3, le=200, description="Paired probe models an arm.")
    margin: float = Field(1.0, gt=0, description="Points of accuracy below which a difference does not matter to you.")
    share: float | None = Field(
        None, ge=0, le=0.9, description="Synthetic share of each batch (default: by the regime)."
    )
    probe_steps: int | None = Field(None, ge=1, description="Training steps of every probe (default: from the time).")
    probe: str = Field(
        "cnn",
        description="What is trained in every arm: cnn, linear (on frozen features), a scikit-learn estimator "
        "(sklearn.ensemble:RandomForestClassifier) or your own function (module:function).",
    )


class BoostConfig(RunConfig, AugmentConfig, TrainConfig, GenerateConfig, ProveConfig):
    """The main job: all of it."""

    folds: int = Field(5, ge=2, le=20, description="Outer folds, where the data brings no test part and is small.")
    scope: Literal["set", "method"] = Field(
        "set",
        description="What the verdict is about: the generator that made this set, or the method (a generator is trained for "
        "every probe seed: takes many times longer, told beforehand).",
    )
    include_synthetic: bool = Field(
        False, description="Mix kept synthetic samples in although nothing could prove them."
    )


class AugmentVerb(RunConfig, AugmentConfig):
    """``augmint augment``."""

    search: bool = Field(
        False,
        description="Choose the recipe by experiment, instead of --recipe: presets and strengths are tried with small probes inside the "
        "training part, in --time; OUT/recipe.yaml has the best.",
    )


class TrainVerb(RunConfig, TrainConfig):
    """``augmint train``."""

    denoiser: bool = Field(
        False,
        description="Sounds: train a denoiser for Denoise's method gan on them instead; they are taken to be clean. Of the "
        "other settings only seed, time and steps count.",
    )
    vocoder: bool = Field(
        False,
        description="Sounds: train a vocoder on them instead, for --vocoder of generate and boost, and hold it against Griffin and Lim's "
        "algorithm. Of the other settings only seed, time, steps, grid, size (nano or small) and device count.",
    )
    noises: str | None = Field(
        None, description="Folder with sounds of one's own noises for it (default: made noises and other voices alone)."
    )


class GenerateVerb(RunConfig, GenerateConfig):
    """``augmint generate``."""

    style: str | None = Field(
        None, description="Class, or file of a real sample, whose finer traits (strokes, texture) the new samples take."
    )
    like: str | None = Field(None, description="File of a real sample: make new ones near it, of its class.")
    strength: float = Field(
        0.5,
        ge=0,
        le=1,
        description="How far from --like: 0 = as near as the generator comes, 1 = anything of the class.",
    )
    source: Literal["generator", "verifier"] = Field(
        "generator", description="Which of the two makes the samples; the verifier's own are blurred and less varied."
    )
    walk: bool = Field(
        False,
        description="Make a walk through the generator's space instead: -n frames that change step by step, uncurated; "
        "as samples, a sheet and a moving picture.",
    )


class ProveVerb(RunConfig, AugmentConfig, ProveConfig):
    """``augmint prove``."""

    grid: int | None = Field(
        None, ge=4, le=512, description="Longest side that the probes see, in pixels (default: from the data)."
    )
    audit: bool = Field(
        False,
        description="Attack the synthetic samples too: can their nearness tell what their maker was trained on? No privacy proof.",
    )


T = TypeVar("T", bound=Section)


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping, read by the safe loader: a tag such as ``!!python`` is refused, nothing is executed."""
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("there is no such settings file", where=path, mend="check the path given to --config") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error)
        raise UserError(f"not plain YAML: {problem}", where=where, mend="use plain keys and values, no tags") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise UserError("a settings file is a list of `key: value` lines", where=path, mend="see docs/reference.md")
    return {str(k): v for k, v in found.items()}


def build(model: type[T], *layers: Mapping[str, Any], where: object = None) -> T:
    """The settings of a verb from layers of increasing precedence; a key set to ``None`` counts as not set.

    Raises:
        UserError: for an unknown key (with the nearest known one) or a value out of range.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            if name not in model.model_fields:
                raise UserError(
                    f"unknown setting '{name}'{did_you_mean(name, model.model_fields)}",
                    where=where,
                    mend="known here: " + ", ".join(model.model_fields),
                )
            if value is not None:
                merged[name] = value
    try:
        return model(**merged)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(p) for p in first["loc"])
        about = str(model.model_fields[name].description) if name in model.model_fields else ""
        raise UserError(
            f"setting '{name}'{_said(first['msg'])} (it was {first['input']!r})",
            where=where,
            mend=f"give another value; {name} is: {about}" if about else "",
        ) from None


def _said(problem: str) -> str:
    """The checker's sentence in ours: it begins with "Input should be", or with the kind of an error that we raise."""
    wanted = problem.removeprefix("Input should ")
    return f" should {wanted}" if wanted != problem else ": " + problem.removeprefix("Value error, ")


def settings(model: type[T], *, config: Path | None = None, flags: Mapping[str, Any] | None = None) -> T:
    """The settings of a verb: defaults, then the preset, then the YAML file, then flags or keyword arguments."""
    from augmint.core.presets import preset

    from_file = load_yaml(config) if config is not None else {}
    from_flags = {k: v for k, v in (flags or {}).items() if v is not None}
    build(model, from_file, where=config)  # a fault in the file is reported with the file's name
    chosen = build(model, from_file, from_flags)
    names = model.model_fields
    presets = {k: v for k, v in preset(getattr(chosen, "preset", "balanced")).items() if k in names}
    return build(model, presets, from_file, from_flags)
