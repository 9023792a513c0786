"""Targets drawn onto their picture, for people to look at."""

from __future__ import annotations

import colorsys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from augmint.core import rng
from augmint.transforms.targets import Targets

U8 = NDArray[np.uint8]
_VEIL = 0.45  # how much a mask covers


def marked(picture: U8, targets: Targets, side: int) -> U8:
    """RGB ``[h, w, 3]`` whose longer side has ``side`` pixels, with masks as veils, boxes as frames with their labels, keypoints as dots.

    Args:
        picture: RGB uint8 ``[H, W, 3]``; a small one is enlarged by a whole number, without smoothing, to at most ``side``.
    """
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    scale = float(max(1, int(scale))) if scale >= 1 else scale
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    out: U8 = np.ascontiguousarray(cv2.resize(picture, size, interpolation=way))
    for mask in (*targets.masks[:1], *([] if targets.instances is None else [targets.instances])):
        out = _veiled(out, mask)
    for i, box in enumerate(targets.boxes):
        label = str(targets.box_labels[i]) if targets.box_labels else ""
        _framed(out, box * scale, label, _colour(label or i))
    for i, point in enumerate(targets.keypoints):
        x, y = (int(v) for v in np.rint((point + 0.5) * scale - 0.5))
        cv2.circle(out, (x, y), 3, (0, 0, 0), -1, cv2.LINE_AA)
        name = str(targets.keypoint_labels[i]) if targets.keypoint_labels else str(i)
        cv2.circle(out, (x, y), 2, _colour(name), -1, cv2.LINE_AA)
    return out


def _colour(of: object) -> tuple[int, int, int]:
    """A bright colour that is always the same for the same thing."""
    hue = rng.key("colour", str(of)) % 360 / 360
    r, g, b = (int(255 * v) for v in colorsys.hsv_to_rgb(hue, 0.75, 1.0))
    return r, g, b


def _veiled(out: U8, mask: NDArray[Any]) -> U8:
    flat = mask if mask.ndim == 2 else (mask != 0).any(-1)
    values, numbers = np.unique(flat, return_inverse=True)
    small = cv2.resize(
        numbers.reshape(flat.shape).astype(np.float32), out.shape[1::-1], interpolation=cv2.INTER_NEAREST
    ).astype(int)
    colours = np.array([(0, 0, 0) if v == 0 else _colour(v) for v in values], np.float32)
    veil = np.where((values != 0)[small][..., None], _VEIL, 0.0)
    mixed: U8 = np.rint(out * (1 - veil) + colours[small] * veil).astype(np.uint8)
    return np.ascontiguousarray(mixed)


def _framed(out: U8, box: NDArray[np.float64], label: str, colour: tuple[int, int, int]) -> None:
    left, top, right, bottom = (int(v) for v in np.rint(box - [0, 0, 1, 1]))
    cv2.rectangle(out, (left, top), (right, bottom), colour, 1)
    text = label.encode("ascii", "replace").decode()[:14]
    wide = 6 * len(text) + 2
    if text and right - left >= wide:  # in a small box it would hide what is there
        low = top if top > 10 else top + 10  # above the frame, where there is room
        cv2.rectangle(out, (left, low - 10), (left + wide, low), colour, -1)
        cv2.putText(out, text, (left + 1, low - 2), cv2.FONT_HERSHEY_SIMPLEX, 0.32, (0, 0, 0), 1, cv2.LINE_AA)
