"""Marks of provenance: what a made file says of where it comes from, in words that other tools know."""

from __future__ import annotations

from collections.abc import Mapping

from augmint.core.types import Origin

# IPTC digital source types (https://cv.iptc.org/newscodes/digitalsourcetype/). What a GAN makes comes from a model
# derived from sampled content. An augmented sample is a real one that an algorithm changed without inventing
# anything: "algorithmically altered", never the term for generative models.
SOURCE_TYPES: Mapping[str, str] = {
    "augmented": "http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicallyEnhanced",
    "synthetic": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
}
_ORIGINS: Mapping[str, Origin] = {SOURCE_TYPES["augmented"]: "augmented", SOURCE_TYPES["synthetic"]: "synthetic"}


def origin_of(told: object, mark: str | None) -> Origin:
    """Where a sample comes from: as its line in the metadata tells, else as the mark in its file does, else it is real."""
    if told == "real":
        return "real"
    for origin in _ORIGINS.values():
        if told == origin:
            return origin
    return _ORIGINS.get(mark or "", "real")
