"""Annotations held against their picture: what cannot be right is found here, before a transform drops it without a word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
    scale = np.array([size[1], size[0]], np.float64)
    low, high = np.asarray(box[:2]) / scale, np.asarray(box[2:]) / scale
    if (low >= high).any():
        return "its box has no area"
    if (((low >= 1) & (high > 1 + _ROUNDING)) | ((high <= 0) & (low < -_ROUNDING))).any():
        return "its box lies wholly outside the picture"
    if (high - low >= _SIDES).any():
        return f"its box is {_SIDES} times as large as the picture, or more"
    found = np.reshape(points, (-1, 3))
    at = found[found[:, 2] > 0, :2] / scale
    if ((at <= -_AWAY) | (at >= 1 + _AWAY)).any():
        return "a keypoint lies as far outside the picture as that is large, or farther"
    return ""
