"""The program on one picture of 8 or 16 bits, with OpenCV.

Short programs stay in uint8; where the rounding after each stage could add up to more than one grey level, the same stages
run in float32 and are rounded once. Bytes depend on the version of OpenCV (4 and 5 differ by up to 3 levels).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from augmint.core.errors import UserError
from augmint.core.rng import F64
from augmint.core.types import F32, I64
from augmint.transforms import fuse, run_pixels
from augmint.transforms.bending import centred
from augmint.transforms.colour import Affine, Fold, Part, Power, Steps, pointwise, table
from augmint.transforms.deep import Ending, tones
from augmint.transforms.fuse import Move, Program, Recolour, Stage, Warp
from augmint.transforms.geometry import inverse
from augmint.transforms.local import Blur, Hole, Noise, kernel, normal_field, radius
from augmint.transforms.pixels import Picture, PixelOp
from augmint.transforms.plan import PICTURES, Border, Plan
from augmint.transforms.sampling import Pixels, Where, sampled, widened
from augmint.transforms.targets import Targets, carry, tightened

U8 = NDArray[np.uint8]
_TILE = 1 << 17  # pixels: fewer calls matter more than a smaller cache


def apply(what: Plan | Program, image: Pixels, *, exact: bool = False) -> Pixels:
    """A new picture: the plan's steps happen to ``image``, which stays as it is.

    Args:
        what: a plan, or its program compiled for this picture's size.
        image: ``[H, W, C]`` uint8 or uint16, C from 1 to 4; four channels are RGBA with straight alpha. 16 bits are computed in
            float32, all but the ops of `pixels`, which see the upper 8.
        exact: the unfused reference: each step resampled, clipped and cropped on its own, in float32.

    Raises:
        UserError: if the picture is of another kind, or of another size than the program.
    """
    program = _program(what, image)
    if exact:
        return _chain(program.plan, image)
    return _finished(program, image, None)


def apply_normalised(what: Plan | Program, image: Pixels, mean: ArrayLike = 0.5, std: ArrayLike = 0.5) -> F32:
    """`apply` for a network: ``(value - mean) / std`` of values from 0 to 1, float32 ``[H, W, C]``, not rounded in between.

    Args:
        mean, std: one number, or one a channel; 0.5 and 0.5 give the range [-1, 1].

    Raises:
        UserError: as `apply`.
    """
    program = _program(what, image)
    return _finished(program, image, _normalising(_numbers(mean), _numbers(std), image.shape[2]))


def check_picture(image: Pixels) -> None:
    """
    Raises:
        UserError: if this is no picture that `apply` takes.
    """
    if image.dtype not in (np.uint8, np.uint16) or image.ndim != 3 or not 1 <= image.shape[2] <= 4 or image.size == 0:
        raise UserError(
            f"a picture of shape {list(image.shape)} and type {image.dtype}",
            mend="give uint8 or uint16 [H, W, C] with C from 1 to 4; levels are not guessed from floats",
        )


def _program(what: Plan | Program, image: Pixels) -> Program:
    check_picture(image)
    program = fuse.compile(what, _size(image)) if isinstance(what, Plan) else what
    if program.size != image.shape:
        raise UserError(
            f"a program for size {list(program.size)} and a picture of size {list(image.shape)}", mend="compile it anew"
        )
    return program


def _numbers(values: ArrayLike) -> tuple[float, ...]:
    return values if isinstance(values, tuple) else tuple(np.ravel(values).tolist())


@lru_cache(64)
def _normalising(mean: tuple[float, ...], std: tuple[float, ...], channels: int) -> Ending:
    if {len(mean), len(std)} - {1, channels}:
        raise UserError(
            f"{len(mean)} means and {len(std)} deviations for {channels} channels", mend="give one, or one a channel"
        )
    m, s = (values * channels if len(values) == 1 else values for values in (mean, std))
    return Ending(tuple(1 / b for b in s), tuple(-a / b for a, b in zip(m, s, strict=True)))


def _finished(program: Program, image: Pixels, ending: Ending | None) -> Pixels:
    """The program's result: levels in the type of the picture, or what the ending says."""
    x: Pixels = image
    stages = program.stages
    if image.dtype != np.uint8:
        x = _float(image)
    elif not _fits_uint8(program):
        while isinstance(stages[0], Move):
            x, stages = _move(stages[0], x), stages[1:]
        count = _run_length(stages) if image.shape[2] in (1, 3) else 0
        if not count:
            x = _float(x)
        elif count == len(stages):
            return _tiled(stages, x, program.plan, ending)
        else:
            x, stages = _tiled(stages[:count], x, program.plan, _LEVELS[image.shape[2]]), stages[count:]
    for stage in stages:
        x = _run(stage, x, program.plan)
    return _whole(x, image) if ending is None else _ended(x, ending)


_LEVELS = {c: Ending((255.0,) * c, (0.0,) * c) for c in (1, 3)}


def _ended(x: Pixels, ending: Ending) -> F32:
    """What an ending makes of levels, uint8 or float32 from 0 to 255."""
    if x.dtype != np.uint8:
        return _deep(cv2.transform(x, ending.matrix(255)))
    levels = np.arange(256)[:, None, None] / 255
    return _deep(cv2.LUT(x, (levels * ending.scale + ending.offset).astype(np.float32)))


def _run_length(stages: tuple[Stage, ...]) -> int:
    """How many stages at the beginning are colours, or one warp without a filter or a field and then colours."""
    if isinstance(stages[0], Recolour):
        return 1
    warp = stages[0]
    is_run = isinstance(warp, Warp) and len(stages) > 1 and isinstance(stages[1], Recolour)
    return 2 if is_run and isinstance(warp, Warp) and not warp.bends and not warp.shrinks else 0


def _tiled(run: tuple[Stage, ...], image: U8, plan: Plan, ending: Ending | None) -> Pixels:
    """A run on a picture of 8 bits, some of it at a time: what lies between stays in the cache, and no fresh memory is asked of the
    system for it, which otherwise takes longer than the arithmetic."""
    warp, recolour = run[0] if len(run) > 1 else None, run[-1]
    assert isinstance(recolour, Recolour) and isinstance(warp, Warp | None)
    channels = image.shape[2]
    found = tones(recolour.parts, channels, ending)
    kind = np.float32 if found is None else np.uint16
    out = np.empty((*(warp.out_size if warp else image.shape[:2]), channels), np.float32 if ending else np.uint8)
    where, border = (warp.pixel_inverse(), _beyond(warp, plan.border)) if warp else (None, plan.border)
    for top, left, height, width in _tiles(*out.shape[:2]):
        into = out[top : top + height, left : left + width]
        if where is None:
            x = widened(image[top : top + height, left : left + width], kind, "b")
        else:
            here = where @ ((1.0, 0.0, left), (0.0, 1.0, top), (0.0, 0.0, 1.0)) if top or left else where
            x = sampled(image, here, (height, width), border, plan.interp, kind=kind, keep=False)
        if found is not None:
            found.run(x, into)
            continue
        x = _recolour(recolour.parts, _clipped(x))
        into[:] = _whole(x, into) if ending is None else _ended(x, ending)
    return out


def _tiles(height: int, width: int) -> Iterator[tuple[int, int, int, int]]:
    """Top, left, height and width of parts of a picture, as square as may be."""
    rows = columns = 1
    while -(-height // rows) * -(-width // columns) > _TILE:
        if width / columns > height / rows:
            columns *= 2
        else:
            rows *= 2
    tall, wide = -(-height // rows), -(-width // columns)
    for top in range(0, height, tall):
        for left in range(0, width, wide):
            yield top, left, min(tall, height - top), min(wide, width - left)


def _beyond(warp: Warp, border: Border) -> Border:
    """The border; what shows nothing from beyond the edge must not fade there either."""
    return "edge" if border == "zero" and warp.is_inside() else border


def apply_with(plan: Plan, image: Pixels, targets: Targets, *, min_visibility: float = 0.1) -> tuple[Pixels, Targets]:
    """A new picture, and what belongs to it moved along: see `targets` for the rules.

    Args:
        min_visibility: a box is dropped where less than this share of its area is left, from 0 to 1.

    Raises:
        UserError: if the picture or a target is not of its kind.
    """
    check_picture(image)
    _check_follows(plan, targets)
    if not targets.is_there:
        return apply(plan, image), targets
    program, checked = fuse.compile(plan, _size(image)), targets.checked(image.shape[:2])
    out = apply(program, image)
    moved = carry(program, checked, min_visibility=min_visibility)
    instances = None if moved.instances is None else _mask(program, moved.instances, "zero")
    masks = tuple(_mask(program, m, plan.border) for m in checked.masks)
    out_targets = replace(moved, masks=masks, instances=instances)
    return out, tightened(out_targets) if any(isinstance(s, Warp) for s in program.stages) else out_targets


def _check_follows(plan: Plan, targets: Targets) -> None:
    """Refuse ops that move pixels by what they find in the picture, where targets would have to follow."""
    for op, step in plan.ops(PICTURES):
        if issubclass(op, PixelOp) and op.moves and targets.is_there:
            raise UserError(f"{step.op} moves pixels, and targets cannot follow it", mend="take it out of the recipe")


def _mask(program: Program, mask: Pixels, border: Border) -> Pixels:
    """Each value of the nearest pixel."""
    # As bytes: OpenCV takes few types, and rounds ties to another pixel in each.
    planes = np.ascontiguousarray(mask).view(np.uint8).reshape(*mask.shape[:2], -1)
    moved = [_nearest(program, np.ascontiguousarray(planes[..., i : i + 1]), border) for i in range(planes.shape[2])]
    out = np.concatenate(moved, -1)
    return out.view(mask.dtype).reshape(*out.shape[:2], *mask.shape[2:])


def _nearest(program: Program, x: Pixels, border: Border) -> Pixels:
    for stage in program.stages:
        if isinstance(stage, Move):
            x = _move(stage, x)
        elif isinstance(stage, Warp):
            x = sampled(x, _where(stage, np.array([1, 1])), stage.out_size, _beyond(stage, border), "nearest")
    return x


def _chain(plan: Plan, image: Pixels) -> Pixels:
    x: Pixels = _float(image)
    for step in plan.steps:
        for stage in fuse.compile(Plan((step,), plan.border, plan.interp), _size(x)).stages:
            x = _run(stage, x, plan)
    return _whole(x, image)


def _size(x: Pixels) -> tuple[int, int, int]:
    height, width, channels = x.shape
    return height, width, channels


def _float(image: Pixels) -> F32:
    """Levels from 0 to 255 as float32: 16 bits fit between them."""
    x: F32 = image.astype(np.float32)
    return x if image.dtype == np.uint8 else x * np.float32(1 / 257)


def _whole(x: Pixels, image: Pixels) -> Pixels:
    """Rounded, in the type of the picture that went in."""
    if x.dtype == np.uint8:
        return x.copy() if np.shares_memory(x, image) else np.ascontiguousarray(x)
    if image.dtype == np.uint16:
        return np.rint(_clipped(x) * np.float32(257)).astype(np.uint16)
    return _deep(cv2.convertScaleAbs(_clipped(x)))  # rounds half to even


def _deep(x: Pixels) -> Pixels:
    """OpenCV drops the channel axis where there is one channel."""
    return x[..., None] if x.ndim == 2 else x


def _fits_uint8(program: Program) -> bool:
    """Whether rounding after each stage keeps every value within one grey level of the unrounded result."""
    error = 0.0  # greatest deviation so far, in levels
    for stage in program.stages:
        if isinstance(stage, Warp) and program.size[2] < 4:
            error = (1.0 if program.plan.interp == "linear" else 1.9) * error + 0.5
            error += 0.5 * stage.shrinks
        elif isinstance(stage, Recolour):
            error = _deviation(stage.parts, error)
        elif isinstance(stage, Blur) and program.size[2] < 4:
            error += 0.5
        elif isinstance(stage, Picture):
            if error > 0.5:  # a level of difference before it can become many
                return False
            error = 0.0
        elif not isinstance(stage, Move | Hole):
            return False
        # 1.5 is where rounding a second time could show a difference of two levels.
        if error > 1.4:
            return False
    return True


def _deviation(parts: tuple[Part, ...], error: float) -> float:
    """What becomes of an error in uint8; infinite where that cannot hold what lies between the parts."""
    for part in parts:
        if isinstance(part, Affine) and part.mixes:
            if len(parts) > 1:
                return math.inf
            # OpenCV's matrices on uint8 are whole numbers of 1/1024.
            return max([sum(map(abs, row)) for *row, _ in part.rows(3)]) * error + 0.8
        if isinstance(part, Fold | Steps) and error:  # a small change of value can become a large one
            return math.inf
    if not error:
        return 0.5
    levels = table(parts)
    assert levels is not None
    return float(np.abs(np.diff(levels, axis=0)).max()) * error + 0.5


def _run(stage: Stage, x: Pixels, plan: Plan) -> Pixels:
    match stage:
        case Move():
            return _move(stage, x)
        case Warp():
            return _premultiplied(x, lambda v: _warp(stage, v, plan))
        case Recolour():
            return _recolour(stage.parts, x)
        case Picture():
            whole = x if x.dtype == np.uint8 else np.rint(x).astype(np.uint8)
            out = run_pixels.run(stage.name, whole, {k: float(v) for k, v in stage.params.items()}, plan.border)
            return out.astype(x.dtype, copy=False)
        case Noise():
            return _noise(stage, x)
        case Blur():
            weights = kernel(stage.sigma, radius(stage.sigma))
            return _premultiplied(x, lambda v: _blurred(v, weights))
        case Hole():
            left, top, right, bottom = stage.box.astype(int)
            out = x.copy()
            out[top:bottom, left:right] = 0 if x.shape[2] == 4 else np.rint(255 * stage.fill)
            return out


def _blurred(x: Pixels, weights: F64) -> Pixels:
    # uint8 to uint8 would have weights of 8 bits.
    out = cv2.sepFilter2D(x, cv2.CV_32F, weights, weights, borderType=cv2.BORDER_REFLECT)
    return _deep(cv2.convertScaleAbs(out) if x.dtype == np.uint8 else out)


def _move(m: Move, x: Pixels) -> Pixels:
    out = x[m.top : m.top + m.height, m.left : m.left + m.width]
    if m.transpose:
        out = _deep(cv2.transpose(out))
    if m.flip_y or m.flip_x:
        # Forty times faster than making a reversed view contiguous.
        out = _deep(cv2.flip(out, -1 if m.flip_y and m.flip_x else 0 if m.flip_y else 1))
    return out


def _premultiplied(x: Pixels, fn: Callable[[Pixels], Pixels]) -> Pixels:
    """Run what mixes neighbours so that the colour of transparent pixels does not leak; clipped to 0..255."""
    if x.shape[2] != 4:
        return _clipped(fn(x))
    alpha = x[..., 3:] / np.float32(255)
    out = _clipped(fn(np.concatenate([x[..., :3] * alpha, x[..., 3:]], -1)))
    alpha = out[..., 3:] / np.float32(255)
    colour = out[..., :3] / np.maximum(alpha, np.float32(1e-6))
    return _clipped(np.concatenate([colour, out[..., 3:]], -1))


def _clipped(x: Pixels) -> Pixels:
    """Cut a fresh float array to 0..255, in place; uint8 is there already."""
    return x if x.dtype == np.uint8 else np.clip(x, 0, 255, out=x)


def _warp(stage: Warp, x: Pixels, plan: Plan) -> Pixels:
    cells = stage.cells()
    if cells.max() > 1:
        x = _averaged(x, int(cells[0]), int(cells[1]))
        if not stage.bends and stage.is_still(cells, x.shape[:2]):
            return x
    border, where = _beyond(stage, plan.border), _where(stage, cells)
    if x.shape[2] == 2:  # OpenCV 5 interpolates two channels on a coarse raster, one channel exactly
        both = [sampled(c[..., None], where, stage.out_size, border, plan.interp) for c in cv2.split(x)]
        return np.concatenate(both, -1)
    return sampled(x, where, stage.out_size, border, plan.interp)


def _averaged(x: Pixels, rows: int, columns: int) -> Pixels:
    """Means of cells of pixels; the last cells are filled up with the edge."""
    height, width = x.shape[:2]
    down, right = -height % rows, -width % columns
    if down or right:
        x = cv2.copyMakeBorder(x, 0, down, 0, right, cv2.BORDER_REPLICATE)
    size = ((width + right) // columns, (height + down) // rows)
    return _deep(cv2.resize(x, size, interpolation=cv2.INTER_AREA))


def _where(stage: Warp, cells: I64) -> Where:
    """Where an output pixel looks: a matrix of pixel indices, or a map of x and one of y."""
    if not stage.bends:
        return stage.pixel_inverse((int(cells[0]), int(cells[1])))
    height, width = stage.out_size
    x, y = centred(width), centred(height)[:, None]
    for bend in reversed(stage.bends):
        field, steps = (
            bend.field,
            np.einsum("hi,ijc,wj->chw", bend.field.rows(), bend.field.nodes, bend.field.columns()),
        )
        if field.size == stage.out_size and np.array_equal(bend.matrix, np.eye(3)) and bend is stage.bends[-1]:
            x, y = x + steps[0], y + steps[1]
            continue
        x, y = _through(inverse(bend.matrix), x, y)
        at_x, at_y = ((v + (side - 1) / 2).astype(np.float32) for v, side in zip((x, y), field.size[::-1], strict=True))
        dx, dy = (
            cv2.remap(v.astype(np.float32), at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for v in steps
        )
        x, y = x + dx, y + dy
    x, y = _through(stage.from_centre((int(cells[0]), int(cells[1]))) @ inverse(stage.matrix), x, y)
    return x.astype(np.float32), y.astype(np.float32)


def _through(m: F64, x: F64, y: F64) -> tuple[F64, F64]:
    w = m[2, 0] * x + m[2, 1] * y + m[2, 2]
    return (m[0, 0] * x + m[0, 1] * y + m[0, 2]) / w, (m[1, 0] * x + m[1, 1] * y + m[1, 2]) / w


def _recolour(parts: tuple[Part, ...], x: Pixels) -> Pixels:
    colour, alpha = (x[..., :3], x[..., 3:]) if x.shape[2] == 4 else (x, x[..., :0])
    colour = np.ascontiguousarray(colour)
    is_matrix = len(parts) == 1 and isinstance(parts[0], Affine)  # a quarter of a table's time
    levels = table(parts) if x.dtype == np.uint8 and not is_matrix else None
    if levels is not None:
        colour = _deep(cv2.LUT(colour, cv2.convertScaleAbs(np.maximum(levels, 0))[:, None]))
    else:
        for part in parts:
            colour = _part(part, colour)
        colour = _clipped(colour)
    return np.concatenate([colour, alpha], -1) if alpha.shape[2] else colour


def _part(part: Part, x: Pixels) -> Pixels:
    channels = x.shape[2]
    if isinstance(part, Affine):
        return _deep(cv2.transform(x, np.array([[*row, 255 * at] for *row, at in part.rows(channels)])))
    if isinstance(part, Power) and part.exponent != 1:
        # OpenCV takes twice as long where there are zeros; this is nothing even to the power of 0.1.
        out = _deep(cv2.pow(np.clip(x, np.float32(1e-30), np.float32(np.inf), out=x), float(part.exponent)))
        return np.multiply(out, np.float32(255 ** (1 - float(part.exponent))), out=out)
    stepped: F32 = (pointwise(part, x / np.float32(255)) * np.float32(255)).astype(np.float32)
    return stepped


def _noise(stage: Noise, x: Pixels) -> Pixels:
    height, width, channels = x.shape
    count = 3 if channels == 4 else channels
    grain: F32 = normal_field(stage.key, height * width * count).reshape(height, width, count)
    grain *= np.float32(255 * stage.sigma)
    grain += x[..., :count]
    return _clipped(grain if count == channels else np.concatenate([grain, x[..., count:]], -1))
