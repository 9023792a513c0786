"""Presets: functions from a name to settings. One dial for how thorough to be."""

from __future__ import annotations

from typing import Any


def preset(name: str) -> dict[str, Any]:
    """The settings that a preset changes from the defaults."""
    match name:
        case "fast":
            return {"time": 120.0, "variants": 2, "seeds": 10}
        case "best":
            return {"time": 1800.0, "variants": 8, "seeds": 20}
        case _:
            return {}


def share_of(regime: str) -> tuple[float, str]:
    """The synthetic share of a batch that a regime starts from, and why (measured: docs/log.md)."""
    match regime:
        case "pool":
            return 0.5, "an unlabelled pool was given: whoever made the samples has seen more than the labels"
        case "imbalance":
            return 0.25, "unbalanced classes: at most a quarter of the rare classes' draws"
        case _:
            return 0.25, "closed set: tried at 25 % to measure it; left out of the result unless it is proven"
