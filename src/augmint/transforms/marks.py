"""Targets drawn onto their picture, for people to look at."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from augmint.core import rng
from augmint.transforms.targets import Targets

U8 = NDArray[np.uint8]
Colour = tuple[int, int, int]
Corners = tuple[int, int, int, int]  # left, top, right, bottom
_VEIL = 0.12  # how much of a mask's colour lies over what is in it: that must still be seen


def marked(picture: U8, targets: Targets, side: int) -> U8:
    """RGB ``[h, w, 3]`` whose longer side has ``side`` pixels, with masks outlined under a faint tint, boxes as frames with their labels, keypoints as dots.

    Args:
        picture: RGB uint8 ``[H, W, 3]``; a small one is enlarged by a whole number, without smoothing, to at most ``side``.
    """
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    scale = float(max(1, int(scale))) if scale >= 1 else scale
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    out: U8 = np.ascontiguousarray(cv2.resize(picture, size, interpolation=way))
    names = [str(label) for label in targets.box_labels] or [""] * len(targets.boxes)
    colours = [_colour(name or i) for i, name in enumerate(names)]
    for mask in targets.masks[:1]:
        out = _veiled(out, mask, _colour)
    if targets.instances is not None:
        out = _veiled(out, targets.instances, lambda number: colours[number - 1])
    for draw in (_framed, _named):  # names lie over frames
        for name, box, colour in zip(names, targets.boxes, colours, strict=True):
            left, top, right, bottom = np.rint(box * scale - [0, 0, 1, 1]).astype(int).tolist()
            draw(out, (left, top, right, bottom), name, colour)
    for i, point in enumerate(targets.keypoints):
        x, y = (int(v) for v in np.rint((point + 0.5) * scale - 0.5))
        cv2.circle(out, (x, y), 3, (0, 0, 0), -1, cv2.LINE_AA)
        name = str(targets.keypoint_labels[i]) if targets.keypoint_labels else str(i)
        cv2.circle(out, (x, y), 2, _colour(name), -1, cv2.LINE_AA)
    return out


def _colour(of: object) -> Colour:
    """A bright colour that is always the same for the same thing."""
    text = str(of)
    # Numbers in turn, far apart (the golden section); names anywhere.
    hue = int(text) * 0.618 % 1 if text.isdigit() else rng.key("colour", text) % 360 / 360
    r, g, b = (int(255 * v) for v in colorsys.hsv_to_rgb(hue, 0.75, 1.0))
    return r, g, b


def _veiled(out: U8, mask: NDArray[Any], colour: Callable[[Any], Colour]) -> U8:
    flat = mask if mask.ndim == 2 else (mask != 0).any(-1)
    values, numbers = np.unique(flat, return_inverse=True)
    small = cv2.resize(
        numbers.reshape(flat.shape).astype(np.float32), out.shape[1::-1], interpolation=cv2.INTER_NEAREST
    ).astype(int)
    colours = np.array([(0, 0, 0) if v == 0 else colour(v) for v in values.tolist()], np.float32)
    veil = np.where((values != 0)[small][..., None], _VEIL, 0.0)
    mixed: U8 = np.rint(out * (1 - veil) + colours[small] * veil).astype(np.uint8)
    rim = _rim(small) & (values != 0)[small]
    mixed[rim] = colours[small[rim]]
    return np.ascontiguousarray(mixed)


def _rim(numbers: NDArray[Any]) -> NDArray[np.bool_]:
    """Which cells have another number above, below, to the left or to the right; the picture's edge is none."""
    out = np.zeros(numbers.shape, np.bool_)
    for here, there in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = numbers[here] != numbers[there]
        out[here] |= differs
        out[there] |= differs
    return out


def _framed(out: U8, box: Corners, name: str, colour: Colour) -> None:
    cv2.rectangle(out, box[:2], box[2:], colour, 1)


def _named(out: U8, box: Corners, name: str, colour: Colour) -> None:
    """The name above the frame, or below it: inside it would hide what is in a small box."""
    left, top, right, bottom = box
    text = name.encode("ascii", "replace").decode()[:14]
    wide = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.32, 1)[0][0] + 2
    inside = top + 10
    low = top if top > 10 else bottom + 11 if bottom + 11 < out.shape[0] else inside
    if text and (low != inside or right - left >= wide):
        left = max(0, min(left, out.shape[1] - wide - 1))
        cv2.rectangle(out, (left, low - 10), (left + wide, low), colour, -1)
        cv2.putText(out, text, (left + 1, low - 2), cv2.FONT_HERSHEY_SIMPLEX, 0.32, (0, 0, 0), 1, cv2.LINE_AA)
