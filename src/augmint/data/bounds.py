"""Annotations held against their picture: what cannot be right is found here, before a transform drops it without a word."""

from __future__ import annotations

from collections.abc import Sequence

_ROUNDING = 1e-3  # of a side: a box may lie outside by this much because it was rounded
_SIDES = 2  # pictures: no object that is seen in one is larger
_AWAY = 1  # pictures: no keypoint is farther outside


def fault(box: Sequence[float], points: Sequence[float], size: tuple[int, int]) -> str:
    """What cannot be right of an object, '' where all can be.

    A box that is partly outside is no fault, nor one that is outside by rounding alone, nor a keypoint near the picture.

    Args:
        box: left, top, right, bottom in pixels.
        points: x, y and visibility of each keypoint, in pixels; those of visibility 0 are nowhere.
        size: height and width of the picture.
    """
    sides = (size[1], size[0])
    spans = [
        (box[i] / side, box[i + 2] / side) for i, side in enumerate(sides)
    ]  # of x and y, in plain numbers: they are few
    if any(low >= high for low, high in spans):
        return "its box has no area"
    if any((low >= 1 and high > 1 + _ROUNDING) or (high <= 0 and low < -_ROUNDING) for low, high in spans):
        return "its box lies wholly outside the picture"
    if any(high - low >= _SIDES for low, high in spans):
        return f"its box is {_SIDES} times as large as the picture, or more"
    seen = [points[k : k + 2] for k in range(0, len(points), 3) if points[k + 2] > 0]
    if any(not -_AWAY < v / side < 1 + _AWAY for at in seen for v, side in zip(at, sides, strict=True)):
        return "a keypoint lies as far outside the picture as that is large, or farther"
    return ""
