"""Outlines of objects: polygons and run lengths to pixels and back.

Coordinates count from the picture's outer edge, as boxes do: pixel j covers j to j + 1. A pixel belongs to a polygon if its middle does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from augmint.core.errors import UserError

Bool = NDArray[np.bool_]
Size = tuple[int, int]  # height, width
_TOLERANCE = 0.3  # pixels that a traced outline may be off, beside the half pixel of the raster


def filled(polygons: Sequence[Sequence[float]], size: Size) -> Bool:
    """``[H, W]``: the pixels of one object, from polygons ``[x1, y1, x2, y2, ...]``; where two overlap both count.

    Raises:
        UserError: for a polygon of fewer than three points, or of what are no finite numbers.
    """
    out = np.zeros(size, np.bool_)
    if not isinstance(polygons, Sequence) or isinstance(polygons, str):
        raise UserError("an outline that is no list of polygons", mend="give [[x1, y1, x2, y2, x3, y3, ...], ...]")
    for polygon in polygons:
        try:
            points = np.asarray(polygon, np.float64).reshape(-1, 2)
        except (TypeError, ValueError):
            points = np.zeros((0, 2))
        if len(points) < 3 or not np.isfinite(points).all():
            raise UserError("an outline that is no polygon", mend="give x and y of three points or more")
        out |= _inside(points, size)
    return out


def _inside(points: NDArray[np.float64], size: Size) -> Bool:
    """Even-odd: along each row of pixel middles, every edge that crosses it turns inside to outside from there on."""
    ends = np.roll(points, -1, 0)
    rows = np.arange(size[0])[:, None] + 0.5
    crosses = (points[:, 1] <= rows) != (ends[:, 1] <= rows)  # [H, edges]
    row, edge = np.nonzero(crosses)
    slope = (ends[edge, 0] - points[edge, 0]) / (ends[edge, 1] - points[edge, 1])
    at = points[edge, 0] + (row + 0.5 - points[edge, 1]) * slope
    turns = np.zeros((size[0], size[1] + 1), np.int64)
    np.add.at(turns, (row, np.clip(np.ceil(at - 0.5), 0, size[1]).astype(np.int64)), 1)
    return np.asarray(np.cumsum(turns, 1)[:, :-1] % 2 == 1)


def traced(pixels: Bool) -> list[list[float]]:
    """Polygons around the pixels, the largest first; holes are filled."""
    double = np.repeat(np.repeat(pixels.astype(np.uint8), 2, 0), 2, 1)
    found, _ = cv2.findContours(np.pad(double, 1), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    out = []
    for contour in sorted(found, key=cv2.contourArea, reverse=True):
        points = cv2.approxPolyDP(contour, 2 * _TOLERANCE, True).reshape(-1, 2)
        if len(points) >= 3:
            out.append(np.round((points - 0.5) / 2, 2).ravel().tolist())
    return out


def joined(polygons: Sequence[Sequence[float]]) -> list[float]:
    """One polygon of several parts: from the nearest corner of what there is over to the next part, around it and back on the same way.

    The way there and back encloses nothing, so what is filled by even-odd is the same.
    """
    first, *rest = (np.asarray(p, np.float64).reshape(-1, 2) for p in polygons)
    while rest:
        gaps = [((first[:, None] - part[None]) ** 2).sum(-1) for part in rest]
        nearest = int(np.argmin([g.min() for g in gaps]))
        part, gap = rest.pop(nearest), gaps[nearest]
        at, start = np.unravel_index(gap.argmin(), gap.shape)
        around = np.roll(part, -start, 0)
        first = np.concatenate([first[: at + 1], around, around[:1], first[at:]])
    out: list[float] = first.ravel().tolist()
    return out


def has_holes(pixels: Bool) -> bool:
    """Whether something that is not of the object lies inside it."""
    _, tree = cv2.findContours(pixels.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return tree is not None and bool((tree[0, :, 3] >= 0).any())


def from_runs(found: Mapping[str, Any], size: Size) -> Bool:
    """``[H, W]`` from COCO's run lengths, down the columns, as numbers or as its text.

    Raises:
        UserError: if they are not of this size.
    """
    counts = found.get("counts")
    numbers = _decoded(counts) if isinstance(counts, str) else counts
    is_whole = isinstance(numbers, list) and all(isinstance(n, int) and n >= 0 for n in numbers)
    if list(found.get("size", ())) != list(size) or not is_whole or sum(numbers or ()) != size[0] * size[1]:
        raise UserError("run lengths that do not fill their picture", mend="write the annotations again")
    values = np.arange(len(numbers or ())) % 2 == 1
    return np.repeat(values, numbers or ()).reshape(size[::-1]).T


def to_runs(pixels: Bool) -> dict[str, Any]:
    """The inverse of `from_runs`, as numbers."""
    flat = pixels.T.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *ends, len(flat)]).tolist()
    return {"size": list(pixels.shape), "counts": [0, *counts] if flat[0] else counts}


def _decoded(text: str) -> list[int]:
    """COCO's text of run lengths: groups of five bits, the sixth says that more follow; from the third number on, differences."""
    out: list[int] = []
    value = shift = 0
    for letter in text:
        code = ord(letter) - 48
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        out.append(value + (out[-2] if len(out) > 2 else 0))
        value = shift = 0
    return out
