"""Sampling one picture by a matrix or by maps with OpenCV, past what is slow in it.

OpenCV takes up to twice as long where a picture is looked at near its edge and beyond, and OpenCV 5 twice as long for three channels as for
four. So what is looked at is cut out, the border is laid around it, and RGB travels as RGBA. The pixels are the same but for
the rounding of positions, in the order of 1e-5 pixels.
"""

from __future__ import annotations

import math
import threading
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray

from augmint.core.rng import F64
from augmint.core.types import F32
from augmint.transforms.fuse import Size

Pixels = NDArray[Any]  # uint8; uint16 at the door, and where 257 is one level; or float32 from 0 to 255
Where = F64 | tuple[F32, F32]  # from output to input pixels: a matrix ``[3, 3]``, or a map of x and one of y

_BORDER = {"reflect": cv2.BORDER_REFLECT, "edge": cv2.BORDER_REPLICATE, "zero": cv2.BORDER_CONSTANT}
_INTERP = {"nearest": cv2.INTER_NEAREST, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
_REACH = 3  # pixels around a position that count, the widest kernel's two and one for rounding
_LARGEST = 32_767  # OpenCV's warps count pixels in signed 16 bits
_KEPT = threading.local()
_KEEP = 1 << 24  # bytes


def sampled(
    x: Pixels,
    where: Where,
    size: Size,
    border: str,
    interp: str,
    *,
    kind: type[np.generic] | None = None,
    keep: bool = True,
) -> Pixels:
    """A picture ``[H, W, C]`` of ``size``: each of its pixels is looked up in ``x`` ``[h, w, C]`` where ``where`` says.

    Args:
        kind: of uint8 make uint16, 257 a level, or float32 first.
        keep: ``False`` for a result that lives until this thread's next call: no memory is asked of the system for it.
    """
    code = _BORDER[border]
    room = _NONE
    if interp != "nearest":  # whose ties would fall otherwise
        x, room, where = _cut(x, where, size, border)
    padded = x.shape[2] == 3 and interp == "linear" and _rgba_agrees(border, (kind or x.dtype.type).__name__)
    if padded:
        x = cv2.cvtColor(x, cv2.COLOR_RGB2RGBA, dst=scratch("a", (*x.shape[:2], 4), x.dtype))
    if any(room):
        shape = (x.shape[0] + room[0] + room[1], x.shape[1] + room[2] + room[3], *x.shape[2:])
        x = cv2.copyMakeBorder(x, *room, code, dst=scratch("b", shape, x.dtype))
    if kind is not None:
        x = widened(x, kind, "c")
    ways: dict[str, Any] = {"borderMode": code, "borderValue": 0}
    shape = (*size, *x.shape[2:]) if x.ndim == 3 and x.shape[2] > 1 else size
    if padded or not keep:
        ways["dst"] = scratch(("a" if kind is not None else "d") if padded else "b", shape, x.dtype)
    if isinstance(where, tuple):
        out = cv2.remap(x, *where, _INTERP[interp], **ways)
    else:
        flags = _INTERP[interp] | cv2.WARP_INVERSE_MAP
        flat = where[2, 0] == where[2, 1] == 0 and where[2, 2] == 1
        warp = cv2.warpAffine if flat else cv2.warpPerspective
        out = warp(x, where[:2] if flat else where, size[::-1], flags=flags, **ways)
    if padded:
        out = cv2.cvtColor(out, cv2.COLOR_RGBA2RGB, dst=None if keep else scratch("b", (*size, 3), x.dtype))
    return out[..., None] if out.ndim == 2 else out


def widened(x: Pixels, kind: type[np.generic], name: str) -> Pixels:
    """uint8 as uint16, 257 a level, or as float32; for this thread's next steps only."""
    out = scratch(name, x.shape, kind)
    if out.dtype == np.uint16:
        return np.multiply(x, np.uint16(257), dtype=np.uint16, out=out)
    np.copyto(out, x)
    return out


def scratch(name: str, shape: tuple[int, ...], kind: DTypeLike) -> Pixels:
    """An array of this thread's own, the same memory for the same name. Fresh memory of this size costs more than the arithmetic
    on it: it is given back to the system each time, and faulted in again."""
    count = math.prod(shape) * np.dtype(kind).itemsize
    if count > _KEEP:
        return np.empty(shape, kind)
    flat = _KEPT.__dict__.get(name)
    if flat is None or flat.size < count:
        flat = _KEPT.__dict__[name] = np.empty(count, np.uint8)
    return np.ndarray(shape, kind, flat)


_NONE = (0, 0, 0, 0)


def _cut(x: Pixels, where: Where, size: Size, border: str) -> tuple[Pixels, tuple[int, int, int, int], Where]:
    """The part of a picture that is looked at; the room to lay around it (above, below, left, right); and where to look there.

    The picture itself where that would not be less work.
    """
    ends = _looked_at(where, size)
    if ends is None:
        return x, _NONE, where
    height, width = x.shape[:2]
    rows, columns = _span(ends[2], ends[3], height, border), _span(ends[0], ends[1], width, border)
    if rows is None or columns is None:
        return x, _NONE, where
    (top, bottom, above, below), (left, right, before, after) = rows, columns
    tall, wide = bottom - top + above + below, right - left + before + after
    if tall > _LARGEST or wide > _LARGEST or tall * wide > 4 * (height * width + size[0] * size[1]):
        return x, _NONE, where
    return x[top:bottom, left:right], (above, below, before, after), _shifted(where, left - before, top - above)


def _looked_at(where: Where, size: Size) -> tuple[int, int, int, int] | None:
    """Columns from, to and rows from, to (exclusive) that are looked at; ``None`` if they go to the horizon."""
    if isinstance(where, tuple):
        x0, x1, y0, y1 = (float(end) for v in where for end in (v.min(), v.max()))
    else:
        (a, b, c), (d, e, f), (g, h, i) = where.tolist()
        wide, high = size[1] - 1, size[0] - 1
        aw, bh, dw, eh = a * wide, b * high, d * wide, e * high
        xs, ys = (c, c + aw, c + bh, c + aw + bh), (f, f + dw, f + eh, f + dw + eh)
        if g or h:
            far = [i, i + g * wide, i + h * high, i + g * wide + h * high]
            if min(far) < 0.01 * max(far):
                return None
            xs, ys = (tuple(v / w for v, w in zip(ends, far, strict=True)) for ends in (xs, ys))
        x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
    if min(x0, y0) < -_LARGEST or max(x1, y1) > _LARGEST:
        return None
    return (
        *(math.floor(x0) - _REACH, math.floor(x1) + _REACH + 1),
        *(math.floor(y0) - _REACH, math.floor(y1) + _REACH + 1),
    )


def _span(low: int, high: int, length: int, border: str) -> tuple[int, int, int, int] | None:
    """Of one axis: the pixels from, to (exclusive) that are needed, and how many to lay before and after them."""
    if border == "zero":  # costs nothing beyond the edge
        first, last = max(low, 0), min(high, length)
        return (first, last, 0, 0) if first < last else None
    before, after = max(0, -low), max(0, high - length)
    if before > length or after > length:
        return None
    # What is mirrored into the room must be there.
    return max(0, min(low, length - after)), min(length, max(high, before)), before, after


def _shifted(where: Where, left: int, top: int) -> Where:
    if isinstance(where, tuple):
        x, y = where
        return x - np.float32(left), y - np.float32(top)
    out = where.copy()
    if where[2, 0] == where[2, 1] == 0:
        out[0, 2] -= left
        out[1, 2] -= top
    else:
        out[:2] -= np.outer((left, top), where[2])
    return out


@cache
def _rgba_agrees(border: str, kind: str) -> bool:
    """Whether sampling RGB as RGBA gives the same bytes on this OpenCV: it does on 4 and 5, at half the
    time on 5. Looked at once, for a version to come may differ."""
    image = (np.arange(31 * 29 * 3) * 7919 % 256).astype(kind).reshape(31, 29, 3)
    turn = np.array([[1.1, 0.3, 2.4], [-0.3, 0.9, -1.7], [0.0, 0.0, 1.0]])
    lean = turn + np.array([[0.0] * 3, [0.0] * 3, [0.002, 0.001, 0.0]])
    y, x = np.mgrid[:31, :29].astype(np.float64)
    maps = [(m[0] * x + m[1] * y + m[2]).astype(np.float32) for m in turn[:2]]
    ways: dict[str, Any] = {"borderMode": _BORDER[border], "borderValue": 0}

    def warps(v: Pixels) -> list[Pixels]:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return [
            cv2.warpAffine(v, turn[:2], (29, 31), flags=flags, **ways),
            cv2.warpPerspective(v, lean, (29, 31), flags=flags, **ways),
            cv2.remap(v, maps[0], maps[1], cv2.INTER_LINEAR, **ways),
        ]

    as_rgba = warps(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA))
    return all(np.array_equal(a[..., :3], b) for a, b in zip(as_rgba, warps(image), strict=True))
