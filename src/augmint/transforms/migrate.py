"""Recipes from other libraries' descriptions: what `albumentations.to_dict` gives, of version 2.

Ranges are carried over; where the other library's op means something slightly else, docs/transforms.md says so. What has other units is
refused by name rather than guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from augmint.core.errors import UserError
from augmint.transforms.recipe import Recipe

Settings = Mapping[str, Any]
_BORDERS = {0: "zero", 1: "edge", 2: "reflect", 4: "reflect"}
_NOTHING = ("NoOp", "ToTensorV2")
_CHOICES = {"OneOf": "OneOf", "SomeOf": "SomeOf", "Sequential": "Sometimes"}


def from_albumentations(found: Settings) -> Recipe:
    """A recipe from the dict that ``transform.to_dict()`` or ``albumentations.to_dict(transform)`` gives.

    Raises:
        UserError: for what is no such dict, or has ops or settings without a counterpart; all of them are named.
    """
    top = found.get("transform", found) if isinstance(found, Mapping) else None
    entries = top.get("transforms") if isinstance(top, Mapping) else None
    if not isinstance(top, Mapping) or not _are_entries(entries):
        what = "" if isinstance(found, Mapping) else f", but of type {type(found).__name__}"
        raise UserError(
            f"this is no albumentations pipeline as a dict{what}",
            mend="give transform.to_dict(), where transform is the Compose",
        )
    ways: dict[str, Any] = {}
    missing: list[str] = []
    ops = [op for entry in entries for op in _entry(entry, ways, missing)]
    if missing:
        raise UserError(
            "no counterpart for " + ", ".join(dict.fromkeys(missing)),
            mend="take them out, or write ours by hand: docs/transforms.md has the table",
        )
    if top.get("p", 1) < 1:
        raise UserError("a pipeline that happens sometimes only", mend="put its p into Sequential inside Compose")
    return Recipe.from_dict({"name": "albumentations", **ways, "ops": ops})


def _are_entries(found: object) -> TypeGuard[Sequence[Settings]]:
    """Whether this is a list of ops, of those that choose among others too."""
    return isinstance(found, list | tuple) and all(
        isinstance(e, Mapping) and ("transforms" not in e or _are_entries(e["transforms"])) for e in found
    )


def _entry(entry: Settings, ways: dict[str, Any], missing: list[str]) -> list[dict[str, Any]]:
    name = str(entry.get("__class_fullname__", "?")).rsplit(".", 1)[-1]
    if name in _NOTHING:
        return []
    if name in _CHOICES:
        return [{_CHOICES[name]: _choice(name, entry, ways, missing)}]
    convert = _OPS.get(name)
    try:
        if convert is None:
            raise _NoCounterpart(name)
        _note_ways(name, entry, ways)
        settings = convert(entry)
    except _NoCounterpart as error:
        missing.append(str(error))
        return []
    except KeyError as error:
        missing.append(f"{name} without {error}")
        return []
    own = next(iter(settings))
    return [settings if own == "Normalize" else {own: {**settings[own], "p": entry.get("p", 0.5)}}]


class _NoCounterpart(Exception):
    """What has none."""


def _choice(name: str, entry: Settings, ways: dict[str, Any], missing: list[str]) -> dict[str, Any]:
    inner = [op for e in entry["transforms"] for op in _entry(e, ways, missing)]
    out: dict[str, Any] = {"p": entry.get("p", 1.0), "ops": inner}
    if name == "SomeOf":
        if not isinstance(entry.get("n"), int) or entry.get("replace"):
            missing.append("SomeOf with a range, or with repeats")
        out["num"] = entry.get("n")
    if name == "OneOf":  # there the p of its ops are weights, and the chosen one happens
        weights = [e.get("p", 0.5) for e in entry["transforms"]]
        if len(set(weights)) > 1:
            missing.append("OneOf with unequal weights")
        out["ops"] = [{k: {**v, "p": 1.0}} for op in inner for k, v in op.items()]
    return out


def _note_ways(name: str, entry: Settings, ways: dict[str, Any]) -> None:
    """Border and interpolation hold for a whole recipe."""
    if "border_mode" in entry:
        border = _BORDERS.get(entry["border_mode"], "")
        if not border or ways.setdefault("border", border) != border:
            raise _NoCounterpart(f"{name} with border_mode {entry['border_mode']} (one for all)")
        if border == "zero" and np.any(entry.get("fill", 0)):
            raise _NoCounterpart(f"{name} with another fill than 0")
    if entry.get("interpolation") in (2, 4):
        ways["interp"] = "cubic"


def _affine(e: Settings) -> dict[str, Any]:
    if e.get("translate_px") not in (None, {"x": [0, 0], "y": [0, 0]}) or e.get("fit_output"):
        raise _NoCounterpart("Affine with translate_px or fit_output")
    shift = e.get("translate_percent") or {"x": [0, 0], "y": [0, 0]}
    if shift["x"] != shift["y"] or e["scale"]["x"] != e["scale"]["y"]:
        raise _NoCounterpart("Affine with other ranges for x than for y")
    shear = {"x_degrees": e["shear"]["x"], "y_degrees": e["shear"]["y"]}
    return {"Affine": {"factor": e["scale"]["x"], "degrees": e["rotate"], "shift_frac": shift["x"], **shear}}


def _shift_scale_rotate(e: Settings) -> dict[str, Any]:
    if e["shift_limit_x"] != e["shift_limit_y"]:
        raise _NoCounterpart("ShiftScaleRotate with other shifts in x than in y")
    still = {"x_degrees": [0, 0], "y_degrees": [0, 0]}
    factor = [1 + v for v in e["scale_limit"]]
    return {"Affine": {"factor": factor, "degrees": e["rotate_limit"], "shift_frac": e["shift_limit_x"], **still}}


def _sized(name: str, height: str = "height", width: str = "width") -> Callable[[Settings], dict[str, Any]]:
    return lambda e: {name: {"height_px": e[height], "width_px": e[width]}}


def _plain(name: str, **settings: str) -> Callable[[Settings], dict[str, Any]]:
    """The op of this name, each of its settings from the one named."""
    return lambda e: {name: {own: e[theirs] for own, theirs in settings.items()}}


def _scaled(name: str, own: str, theirs: str, factor: float) -> Callable[[Settings], dict[str, Any]]:
    return lambda e: {name: {own: [v * factor for v in e[theirs]]}}


def _gaussian_blur(e: Settings) -> dict[str, Any]:
    if max(e["blur_limit"]) > 0:
        raise _NoCounterpart("GaussianBlur with a blur_limit (set sigma_limit)")
    return {"GaussianBlur": {"sigma_px": e["sigma_limit"]}}


def _coarse_dropout(e: Settings) -> dict[str, Any]:
    sides, most = [*e["hole_height_range"], *e["hole_width_range"]], e["num_holes_range"][1]
    if max(sides) > 1 or e["hole_height_range"] != e["hole_width_range"]:
        raise _NoCounterpart("CoarseDropout with holes in pixels, or not of the picture's aspect")
    return {"CoarseDropout": {"side_frac": e["hole_height_range"], "holes": most, "fill": _fill(e)}}


def _grid_dropout(e: Settings) -> dict[str, Any]:
    if e.get("unit_size_range") or e.get("holes_number_xy"):
        raise _NoCounterpart("GridDropout with unit_size_range or holes_number_xy")
    return {"GridDropout": {"hole_frac": [e["ratio"], e["ratio"]], "fill": _fill(e)}}


def _erasing(e: Settings) -> dict[str, Any]:
    return {"Cutout": {"side_frac": [v**0.5 for v in e["scale"]], "fill": _fill(e)}}


def _fill(e: Settings) -> float:
    if not isinstance(e.get("fill", 0), int | float):
        raise _NoCounterpart(f"{e['__class_fullname__']} with fill {e['fill']!r}")
    return float(e.get("fill", 0)) / 255


def _jpeg(e: Settings) -> dict[str, Any]:
    if e.get("compression_type", "jpeg") != "jpeg":
        raise _NoCounterpart("ImageCompression other than JPEG")
    return {"JPEG": {"quality": e["quality_range"]}}


def _normalize(e: Settings) -> dict[str, Any]:
    if e.get("normalization", "standard") != "standard" or e.get("max_pixel_value", 255) != 255 or e.get("p", 1) < 1:
        raise _NoCounterpart("Normalize by anything but mean and std of values from 0 to 1")
    return {"Normalize": {"mean": e["mean"], "std": e["std"]}}


def _rgb_shift(e: Settings) -> dict[str, Any]:
    limits = [e[f"{c}_shift_limit"] for c in "rgb"]
    if limits[0] != limits[1] or limits[0] != limits[2]:
        raise _NoCounterpart("RGBShift with other ranges for each channel")
    return {"RGBShift": {"add_frac": [v / 255 for v in limits[0]]}}


def _colour_jitter(e: Settings) -> dict[str, Any]:
    hue = [max(-180.0, min(180.0, 360 * v)) for v in e["hue"]]
    return {"ColorJitter": {**{k: e[k] for k in ("brightness", "contrast", "saturation")}, "hue_degrees": hue}}


def _hue_saturation_value(e: Settings) -> dict[str, Any]:
    hue = [2.0 * v for v in e["hue_shift_limit"]]  # there a circle has 180 steps
    factors = {
        k: [1 + v / 255 for v in e[f"{s}_shift_limit"]] for k, s in (("saturation", "sat"), ("brightness", "val"))
    }
    return {"ColorJitter": {**factors, "contrast": [1, 1], "hue_degrees": hue}}


def _contrast(e: Settings) -> dict[str, Any]:
    return {"BrightnessContrast": {"add_frac": e["brightness_limit"], "factor": [1 + v for v in e["contrast_limit"]]}}


def _resized_crop(e: Settings) -> dict[str, Any]:
    height, width = e["size"]
    return {
        "RandomResizedCrop": {"height_px": height, "width_px": width, "area_frac": e["scale"], "aspect": e["ratio"]}
    }


_OPS: dict[str, Callable[[Settings], dict[str, Any]]] = {
    **{name: _plain(name) for name in ("HorizontalFlip", "VerticalFlip", "Transpose", "RandomRotate90")},
    **{name: _plain(name) for name in ("Equalize", "ChannelShuffle", "ToGray")},
    "Rotate": _plain("Rotate", degrees="limit"),
    "Affine": _affine,
    "ShiftScaleRotate": _shift_scale_rotate,
    "Perspective": _plain("Perspective", corner_frac="scale"),
    "GridDistortion": lambda e: {
        "GridDistortion": {"cells": e["num_steps"], "bend_frac": [0, max(map(abs, e["distort_limit"]))]}
    },
    "Resize": _sized("Resize"),
    "RandomCrop": _sized("RandomCrop"),
    "CenterCrop": _sized("CenterCrop"),
    "PadIfNeeded": _sized("Pad", "min_height", "min_width"),
    "LongestMaxSize": _plain("LongestMaxSize", side_px="max_size"),
    "RandomResizedCrop": _resized_crop,
    "RandomBrightnessContrast": _contrast,
    "ColorJitter": _colour_jitter,
    "HueSaturationValue": _hue_saturation_value,
    "RGBShift": _rgb_shift,
    "RandomGamma": _scaled("Gamma", "exponent", "gamma_limit", 0.01),
    "InvertImg": _plain("Invert"),
    "Solarize": _plain("Solarize", threshold_frac="threshold_range"),
    "Posterize": _plain("Posterize", bits="num_bits"),
    "AutoContrast": lambda e: {"AutoContrast": {"cut_frac": [e["cutoff"] / 100] * 2}},
    "CLAHE": lambda e: {"CLAHE": {"clip": e["clip_limit"], "cells": e["tile_grid_size"][0]}},
    "PlanckianJitter": _plain("WhiteBalance", kelvin="temperature_limit"),
    "GaussianBlur": _gaussian_blur,
    "MotionBlur": _plain("MotionBlur", length_px="blur_limit"),
    "MedianBlur": _plain("MedianBlur", side_px="blur_limit"),
    # A box of n pixels has the variance of a Gaussian with this sigma.
    "Blur": lambda e: {"GaussianBlur": {"sigma_px": [((n * n - 1) / 12) ** 0.5 for n in e["blur_limit"]]}},
    "GaussNoise": _plain("GaussianNoise", sigma_frac="std_range"),
    "SaltAndPepper": _plain("SaltAndPepper", share_frac="amount"),
    "ImageCompression": _jpeg,
    "Downscale": _plain("Downscale", factor="scale_range"),
    "CoarseDropout": _coarse_dropout,
    "GridDropout": _grid_dropout,
    "Erasing": _erasing,
    "Mosaic": _plain("Mosaic", centre_frac="center_range"),
    "Normalize": _normalize,
    "ToFloat": lambda e: {"Normalize": {"mean": 0, "std": 1}},
}
