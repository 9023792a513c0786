"""The ops of `pixels` on one uint8 picture, with OpenCV: each function has its op's name and numbers.

Colour ops get the colour channels alone; what mixes neighbours gets colour premultiplied by alpha, with alpha as a channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from augmint.core import rng
from augmint.core.rng import F64
from augmint.core.types import F32
from augmint.transforms.colour import LUMA
from augmint.transforms.local import normal_field
from augmint.transforms.pixels import Threshold
from augmint.transforms.plan import Border
from augmint.transforms.sampling import sampled

U8 = NDArray[np.uint8]
_HALF_RANGE = 128.0  # levels: the greatest deviation that there can be


def run(name: str, x: U8, numbers: Mapping[str, float], border: Border) -> U8:
    """A new picture ``[H, W, C]``; alpha of four channels is straight and changes only where neighbours are mixed or holes are cut.

    Args:
        border: what lies beyond the edge for ops that move pixels.
    """
    fn = _OPS[name]
    ways: dict[str, Any] = {**numbers, "border": border} if fn in _MOVING else {**numbers}
    if x.shape[2] != 4:
        return _deep(fn(np.ascontiguousarray(x), **ways))
    if fn in _HOLES:
        hole = fn(np.full((*x.shape[:2], 1), 255, np.uint8), **{**ways, "fill": 0.0})
        return np.where(hole > 0, x, np.uint8(0))
    if fn not in _MIXING:
        return np.concatenate([_deep(fn(np.ascontiguousarray(x[..., :3]), **ways)), x[..., 3:]], -1)
    alpha = x[..., 3:] / np.float32(255)
    pre = np.concatenate([np.rint(x[..., :3] * alpha).astype(np.uint8), x[..., 3:]], -1)
    out = fn(pre, **ways)
    straight = out[..., :3] * np.float32(255) / np.maximum(out[..., 3:], 1)
    return np.concatenate([_u8(straight), out[..., 3:]], -1)


def _deep(x: Any) -> U8:
    out: U8 = x[..., None] if x.ndim == 2 else x
    return out


def _u8(x: Any) -> U8:
    return _deep(cv2.convertScaleAbs(np.maximum(x, 0)))  # rounds half to even


def _luma(x: U8) -> F32:
    out: F32 = (x @ LUMA).astype(np.float32) if x.shape[2] == 3 else x[..., 0].astype(np.float32)
    return out


def _planes(x: U8, fn: Callable[[U8], Any]) -> U8:
    return _deep(cv2.merge([fn(np.asarray(plane, np.uint8)) for plane in cv2.split(x)]))


def equalize(x: U8) -> U8:
    return _planes(x, cv2.equalizeHist)


def auto_contrast(x: U8, cut_frac: float) -> U8:
    def stretched(plane: U8) -> U8:
        total = np.cumsum(np.bincount(plane.ravel(), minlength=256))
        low = int(np.searchsorted(total, cut_frac * plane.size, side="right"))
        high = int(np.searchsorted(total, (1 - cut_frac) * plane.size, side="left"))
        if high <= low:
            return plane
        table = _u8((np.arange(256) - low) * (255 / (high - low)))
        return np.asarray(cv2.LUT(plane, table), np.uint8)

    return _planes(x, stretched)


def clahe(x: U8, clip: float, cells: float) -> U8:
    method = cv2.createCLAHE(clip, (min(int(cells), x.shape[1]), min(int(cells), x.shape[0])))
    if x.shape[2] != 3:
        return _planes(x, method.apply)
    ycc = cv2.cvtColor(x, cv2.COLOR_RGB2YCrCb)
    ycc[..., 0] = method.apply(np.ascontiguousarray(ycc[..., 0]))
    return np.asarray(cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB), np.uint8)


def motion_blur(x: U8, length_px: float, degrees: float) -> U8:
    reach = int(np.ceil(length_px / 2))
    angle = np.deg2rad(degrees)
    steps = np.linspace(-(length_px - 1) / 2, (length_px - 1) / 2, 4 * reach + 1)
    weights = np.zeros((2 * reach + 1, 2 * reach + 1))
    for at in steps:  # each point shared among the four pixels around it
        px, py = at * np.cos(angle) + reach, -at * np.sin(angle) + reach
        col, row = int(np.floor(px)), int(np.floor(py))
        for dy in (0, 1):
            for dx in (0, 1):
                w = (1 - abs(py - row - dy)) * (1 - abs(px - col - dx))
                weights[min(row + dy, 2 * reach), min(col + dx, 2 * reach)] += w
    return _deep(cv2.filter2D(x, -1, weights / weights.sum(), borderType=cv2.BORDER_REFLECT))


def median_blur(x: U8, side_px: float) -> U8:
    side = 2 * round((side_px - 1) / 2) + 1
    return _deep(cv2.medianBlur(x, side)) if side > 1 else x.copy()


def sharpen(x: U8, amount: float, sigma_px: float) -> U8:
    soft = cv2.GaussianBlur(x.astype(np.float32), (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT)
    return _u8(x + amount * (x - _deep(soft).astype(np.float32)))


def iso_noise(x: U8, luma_frac: float, colour_frac: float, key: float) -> U8:
    height, width, channels = x.shape
    grain = normal_field(np.array(key), height * width * (1 + channels)).reshape(height, width, 1 + channels)
    out = x + np.float32(255 * luma_frac) * grain[..., :1]
    if channels == 3:
        coarse = 2 * cv2.GaussianBlur(grain[..., 1:], (0, 0), 0.56, borderType=cv2.BORDER_REFLECT)
        out = out + np.float32(255 * colour_frac) * (coarse - (coarse @ LUMA.astype(np.float32))[..., None])
    return _u8(out)


def shot_noise(x: U8, photons: float, key: float) -> U8:
    grain = normal_field(np.array(key), x.size).reshape(x.shape)
    return _u8(x + np.sqrt(x * np.float32(255 / photons)) * grain)


def salt_and_pepper(x: U8, share_frac: float, key: float) -> U8:
    u = rng.uniform(int(key), np.arange(x.shape[0] * x.shape[1])).reshape(*x.shape[:2], 1)
    return np.where(u < share_frac / 2, np.uint8(0), np.where(u < share_frac, np.uint8(255), x))


def jpeg(x: U8, quality: float) -> U8:
    if x.shape[2] == 2:
        return _planes(x, lambda p: jpeg(p[..., None], quality)[..., 0])
    bgr = cv2.cvtColor(x, cv2.COLOR_RGB2BGR) if x.shape[2] == 3 else x
    _, coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, round(quality)])
    out = _deep(cv2.imdecode(coded, cv2.IMREAD_UNCHANGED))
    return np.asarray(cv2.cvtColor(out, cv2.COLOR_BGR2RGB), np.uint8) if x.shape[2] == 3 else out


def downscale(x: U8, factor: float) -> U8:
    height, width = x.shape[:2]
    small = (max(1, round(factor * width)), max(1, round(factor * height)))
    shrunk = cv2.resize(x, small, interpolation=cv2.INTER_AREA)
    return _deep(cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR))


def coarse_dropout(x: U8, side_frac: float, key: float, holes: float, fill: float) -> U8:
    height, width = x.shape[:2]
    out = x.copy()
    middles = rng.uniform(int(key), np.arange(2 * int(holes))).reshape(-1, 2)
    for cx, cy in middles:
        left, right = (np.clip(np.rint((cx + s * side_frac / 2) * width), 0, width).astype(int) for s in (-1, 1))
        top, bottom = (np.clip(np.rint((cy + s * side_frac / 2) * height), 0, height).astype(int) for s in (-1, 1))
        out[top:bottom, left:right] = np.rint(255 * fill)
    return out


def grid_dropout(x: U8, unit_frac: float, hole_frac: float, key: float, fill: float) -> U8:
    height, width = x.shape[:2]
    unit = max(2.0, unit_frac * min(height, width))
    start = rng.uniform(int(key), np.arange(2)) * unit
    across = (np.arange(width) + start[0]) % unit < hole_frac * unit
    down = (np.arange(height) + start[1]) % unit < hole_frac * unit
    return np.where((down[:, None] & across)[..., None], np.uint8(np.rint(255 * fill)), x)


def denoise(x: U8, sigma_frac: float) -> U8:
    if x.shape[2] in (1, 3):
        return _deep(cv2.bilateralFilter(x, 7, 255 * sigma_frac, 2.0, borderType=cv2.BORDER_REFLECT))
    return _planes(x, lambda p: cv2.bilateralFilter(p, 7, 255 * sigma_frac, 2.0, borderType=cv2.BORDER_REFLECT))


def binarize(x: U8, method: float, window_px: float, k: float) -> U8:
    luma = _u8(_luma(x))
    if get_args(Threshold)[int(method)] == "sauvola":
        white = np.where(luma[..., 0] > _local_threshold(luma, int(window_px), k), np.uint8(255), np.uint8(0))
    else:
        white = np.asarray(cv2.threshold(luma, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1], np.uint8)
    return np.repeat(white[..., None], x.shape[2], -1)


def _local_threshold(luma: U8, window: int, k: float) -> F64:
    """Sauvola and Pietikäinen's threshold of each pixel ``[H, W]``: by the mean and deviation of the square around it."""
    side = window | 1  # a square has a middle
    levels = luma.astype(np.float32)  # of which OpenCV adds up whole numbers in double precision: exact
    mean, square = (
        cv2.boxFilter(x, cv2.CV_64F, (side, side), borderType=cv2.BORDER_REFLECT) for x in (levels, levels * levels)
    )
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    found: F64 = mean * (1 + k * (deviation / _HALF_RANGE - 1))
    return found


def embolden(x: U8, radius_px: float) -> U8:
    def thick(radius: int) -> F32:
        y, across = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        disc = (np.hypot(y, across) <= radius + 0.3).astype(np.uint8)
        return _deep(cv2.erode(x, disc, borderType=cv2.BORDER_REFLECT)).astype(np.float32)

    whole = int(radius_px)
    part = np.float32(radius_px - whole)
    return _u8((1 - part) * thick(whole) + part * thick(whole + 1))


def deblock(x: U8, strength: float) -> U8:
    out = x.astype(np.float32)
    for _ in range(2):  # across the columns' borders, then, turned, across the rows'
        at = np.arange(8, out.shape[1] - 1, 8)
        a, b, c, d = (out[:, at + i] for i in (-2, -1, 0, 1))
        step = (a - 4 * b + 4 * c - d) / 8
        size = np.abs(step)
        near = np.sign(step) * np.maximum(0, size - np.maximum(0, 2 * (size - strength)))
        far = np.clip((a - d) / 4, -np.abs(near) / 2, np.abs(near) / 2)
        for i, change in zip((-2, -1, 0, 1), (-far, near, -near, far), strict=True):
            out[:, at + i] += change
        out = out.swapaxes(0, 1)
    return _u8(out)


def deskew(x: U8, most_degrees: float, border: Border) -> U8:
    angle = _skew(_u8(_luma(x[..., :3] if x.shape[2] == 4 else x)), most_degrees)
    if angle == 0:
        return x.copy()
    height, width = x.shape[:2]
    back = np.vstack([cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -angle, 1.0), (0, 0, 1)])
    planes = [plane[..., None] for plane in cv2.split(x)] if x.shape[2] == 2 else [x]  # see `run_cv` for two channels
    return np.concatenate([sampled(plane, back, (height, width), border, "cubic") for plane in planes], -1)


def _skew(luma: U8, most_degrees: float) -> float:
    """Degrees, counter-clockwise, by which lines of text must be turned to lie level: to half a degree, then to a twentieth."""
    shrink = min(1.0, 600 / max(luma.shape))
    if shrink < 1:
        size = (max(1, round(shrink * luma.shape[1])), max(1, round(shrink * luma.shape[0])))
        luma = np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8)
    _, ink = cv2.threshold(luma, 0, 255, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    if np.mean(ink) > 127:  # light on dark
        ink = np.asarray(255 - ink)
    height, width = ink.shape
    middle = ((width - 1) / 2, (height - 1) / 2)

    def unrest(angle: float) -> float:
        turned = cv2.warpAffine(ink, cv2.getRotationMatrix2D(middle, float(angle), 1.0), (width, height))
        return float((np.diff(turned.sum(1, dtype=np.float64)) ** 2).sum())

    best = 0.0
    for reach, step in ((most_degrees, 0.5), (0.5, 0.05)):
        steps = int(reach / step)
        angles = sorted((best + step * i for i in range(-steps, steps + 1)), key=abs)  # of equal ones the least
        best = max((a for a in angles if abs(a) <= most_degrees), key=unrest)
    return round(best, 6)


_OPS: dict[str, Callable[..., Any]] = {
    "Equalize": equalize,
    "AutoContrast": auto_contrast,
    "CLAHE": clahe,
    "MotionBlur": motion_blur,
    "MedianBlur": median_blur,
    "Sharpen": sharpen,
    "ISONoise": iso_noise,
    "ShotNoise": shot_noise,
    "SaltAndPepper": salt_and_pepper,
    "JPEG": jpeg,
    "Downscale": downscale,
    "CoarseDropout": coarse_dropout,
    "GridDropout": grid_dropout,
    "Denoise": denoise,
    "Binarize": binarize,
    "Embolden": embolden,
    "Deblock": deblock,
    "Deskew": deskew,
}
_MIXING = (motion_blur, median_blur, downscale, deskew)
_HOLES = (coarse_dropout, grid_dropout)
_MOVING = (deskew,)
