"""The program on a batch of tensors: every sample with numbers of its own, differentiable, on any device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from augmint.core.errors import UserError
from augmint.core.rng import U64
from augmint.core.types import I64
from augmint.transforms import fuse
from augmint.transforms.colour import Affine, Brightness, Contrast, Fold, Part, Power, Saturation
from augmint.transforms.fuse import Recolour, Stage, Warp
from augmint.transforms.geometry import Rotate, Scale, Translate, affine, inverse
from augmint.transforms.local import Blur, Hole, Noise, kernel, mirrored, radius
from augmint.transforms.pixels import Picture
from augmint.transforms.plan import Border, Drawn, Interp, op_alone
from augmint.transforms.recipe import Recipe
from augmint.transforms.signal import FreqMask, Gain, TimeMask
from augmint.transforms.temporal import PitchShift, TimeShift, TimeStretch

_PADDING = {"reflect": "reflection", "edge": "border", "zero": "zeros"}
_MODE = {"linear": "bilinear", "cubic": "bicubic"}


def augment(x: Tensor, recipe: Recipe, keys: ArrayLike, *, p: float = 1.0, clip: bool = True) -> Tensor:
    """Every sample of a batch, transformed as the plan of its key says.

    Args:
        x: float ``[N, C, *grid]`` in [-1, 1], 1 to 3 axes. On 2 axes, three channels are RGB and four are RGBA with colour
            premultiplied; on 1 or 3 axes only the ops that make sense there happen (noise, brightness, contrast, cutout).
        keys: uint64 ``[N]``, from ``plan.sample_key`` or ``rng.combine``.
        p: in [0, 1], scales every op's own probability.
        clip: cut values to [-1, 1] where an op leaves the range, as `run_cv` does. ``False`` inside GAN training: a cut
            value has no gradient.

    Returns:
        A tensor like ``x``; ``x`` itself where nothing happens to any sample. Where the recipe ends in `Normalize`, of its numbers.

    Raises:
        UserError: for a recipe that mixes samples: their labels would be wrong. `run_mix_torch.augment` gives both.
    """
    if recipe.mixes:
        raise UserError(
            f"the recipe '{recipe.name}' mixes samples, and with them their labels",
            mend="call run_mix_torch.augment, which gives labels too; inside GAN training take the mixing ops out",
        )
    return normalised(changed(x, recipe.draw_batch(checked_keys(x, keys), p=p), recipe, clip), recipe)


def checked_keys(x: Tensor, keys: ArrayLike) -> U64:
    """The keys as an array, if there is one for each sample of a batch of floats."""
    keys = np.asarray(keys, dtype=np.uint64)
    if not 3 <= x.ndim <= 5 or keys.shape != (len(x),) or 0 in x.shape[1:] or not x.is_floating_point():
        raise UserError(
            f"a batch of shape {list(x.shape)} and type {x.dtype} with keys of shape {list(keys.shape)}",
            mend="give floats [N, C, *grid] with 1 to 3 axes and one key a sample",
        )
    return keys


def changed(x: Tensor, drawn: Sequence[Drawn], recipe: Recipe, clip: bool) -> Tensor:
    """What ops that were drawn for a batch make of it, each sample by itself."""
    planar = x.ndim == 4
    drawn = [d for d in drawn if d.active.any()]
    if recipe.on_grid is not None:
        return recipe.on_grid(x, drawn, clip) if drawn else x
    drawn = [d for d in drawn if planar or op_alone(d.op).any_axes]
    if not drawn:
        return x
    resizes = planar and any(op_alone(d.op).resizes for d in drawn)
    return (_alike if resizes else _program)(x, drawn, recipe, clip)


def normalised(x: Tensor, recipe: Recipe) -> Tensor:
    """In the numbers of the recipe's `Normalize`, if it has one."""
    if recipe.normalize is None:
        return x
    mean, std = (_to(v.copy(), x).view(-1, *[1] * (x.ndim - 2)) for v in recipe.normalize.numbers(x.shape[1]))
    return (0.5 * x + 0.5 - mean) / std


def _program(x: Tensor, drawn: Sequence[Drawn], recipe: Recipe, clip: bool) -> Tensor:
    planar = x.ndim == 4
    height, width = (x.shape[-2] if x.ndim > 3 else 1), x.shape[-1]
    v = 0.5 * x + 0.5
    for stage in fuse.compile_batch(drawn, (height, width), x.shape[1] if planar else 1):
        v = _run(stage, v, recipe, clip)
    return 2 * v - 1


def _alike(x: Tensor, drawn: Sequence[Drawn], recipe: Recipe, clip: bool) -> Tensor:
    """Samples to which the same ops happen together: where sizes change, all of a program's pictures have one size."""
    happening = np.stack([d.active for d in drawn], 1)
    parts: list[Tensor] = []
    kinds, kind = np.unique(happening, axis=0, return_inverse=True)
    rows = [np.flatnonzero(kind.ravel() == i) for i in range(len(kinds))]
    for own in rows:
        some = [
            Drawn(d.op, d.id, d.active[own], {k: v[own] for k, v in d.params.items()})
            for d in drawn
            if d.active[own[0]]
        ]
        part = x[torch.from_numpy(own).to(x.device)]
        parts.append(_program(part, some, recipe, clip) if some else part)
    if len({p.shape[2:] for p in parts}) > 1:
        raise UserError(
            "the pictures of a batch come out at different sizes", mend="end the recipe with a Resize whose p is 1"
        )
    back = np.argsort(np.concatenate(rows))
    return torch.cat(parts)[torch.from_numpy(back).to(x.device)]


def gan_recipe(ops: Sequence[str]) -> Recipe:
    """What real and fake pass through inside GAN training, of the ops that the data takes: mild, and without flips.

    Args:
        ops: names of the ops that the data's modality takes.

    Source: the groups of Karras et al. 2020 (arXiv 2006.06676, appendix B) that are differentiable and cheap, with the ranges
    of Zhao et al. 2020 (arXiv 2006.10738) made smaller, so that small strokes stay inside the picture. Cutout is left out: with it
    the held-out distance rises (docs/log.md). Sound gets the same kinds.
    """
    return Recipe(
        "gan",
        (
            Rotate(degrees=(-10, 10), p=0.8),
            Translate(shift_frac=(-0.125, 0.125), p=0.8),
            Scale(factor=(0.85, 1.18), p=0.8),
            Brightness(add_frac=(-0.15, 0.15), p=0.8),
            Contrast(factor=(0.75, 1.33), p=0.8),
            Saturation(factor=(0.5, 1.5), p=0.8),
            TimeStretch(rate=(0.92, 1.09), p=0.8),
            PitchShift(semitones=(-1, 1), p=0.8),
            TimeShift(shift_s=(-0.05, 0.05), p=0.8),
            Gain(gain_db=(-4, 4), p=0.8),
            FreqMask(width_frac=(0.05, 0.2), p=0.5),
            TimeMask(width_frac=(0.05, 0.2), p=0.5),
        ),
    ).only(ops)


def _run(stage: Stage, v: Tensor, recipe: Recipe, clip: bool) -> Tensor:
    match stage:
        case Warp():
            return warped(stage, v, recipe, clip)
        case Recolour():
            return _on_colour(v, lambda c: _recolour(stage.parts, c), clip)
        case Noise():
            return _noise(stage, v, clip)
        case Blur():
            return _blur(stage, v)
        case Hole():
            return _hole(stage, v)
        case Picture():
            return _picture(stage, v, recipe.border)
        case _:
            raise TypeError(f"{type(stage).__name__} is no stage of a batch")


def _to(values: NDArray[np.float64], like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device=like.device, dtype=like.dtype)


def warped(stage: Warp, v: Tensor, recipe: Recipe, clip: bool) -> Tensor:
    """One resampling of pictures ``v [N, C, H, W]`` in [0, 1], each by its own matrix."""
    cells = stage.cells()
    if (cells > 1).any():
        return _averaged(stage, cells, v, recipe, clip)
    return _sampled(stage, v, (1, 1), recipe, clip)


def _averaged(stage: Warp, cells: I64, v: Tensor, recipe: Recipe, clip: bool) -> Tensor:
    """Samples that shrink by the same whole numbers together: means of cells of pixels, then sampled."""
    kinds, kind = np.unique(cells, axis=0, return_inverse=True)
    parts: list[Tensor] = []
    rows = [np.flatnonzero(kind.ravel() == i) for i in range(len(kinds))]
    for (high, wide), own in zip(kinds.tolist(), rows, strict=True):
        x = v[torch.from_numpy(own).to(v.device)]
        if (high, wide) != (1, 1):
            x = F.pad(x, (0, -x.shape[3] % wide, 0, -x.shape[2] % high), mode="replicate")
            x = F.avg_pool2d(x, (high, wide))
        parts.append(_sampled(stage.rows(own), x, (high, wide), recipe, clip))
    back = np.argsort(np.concatenate(rows))
    return torch.cat(parts)[torch.from_numpy(back).to(v.device)]


def _sampled(stage: Warp, v: Tensor, cells: fuse.Size, recipe: Recipe, clip: bool) -> Tensor:
    n, (height, width) = len(v), stage.out_size
    points = torch.from_numpy(_places(height, width)).to(v)
    for bend in reversed(stage.bends):
        points = _bent(bend, _multiplied(inverse(bend.matrix), points))
    # grid_sample counts from -1 to 1 between the outer edges of the outer pixels.
    size = np.array(v.shape[:1:-1])
    to_grid = affine(2 / size[0], 0.0, 0.0, 2 / size[1], *(1 / size - 1))
    at = _multiplied(to_grid @ stage.from_centre(cells) @ inverse(stage.matrix), points)[:, :2]
    grid = at.view(n, 2, height, width).permute(0, 2, 3, 1)
    # What shows nothing from beyond the edge must not fade there either.
    inside = np.broadcast_to(stage.is_inside(), (n,)) if recipe.border == "zero" else np.zeros(n, np.bool_)
    if inside.all():
        out = _read(v, grid, recipe.interp, "edge")
    elif inside.any():
        own = torch.from_numpy(inside.copy()).to(v.device)[:, None, None, None]
        out = torch.where(own, _read(v, grid, recipe.interp, "edge"), _read(v, grid, recipe.interp, recipe.border))
    else:
        out = _read(v, grid, recipe.interp, recipe.border)
    return out.clamp(0, 1) if clip and recipe.interp == "cubic" else out


def _read(v: Tensor, grid: Tensor, interp: Interp, border: Border) -> Tensor:
    return F.grid_sample(v, grid, mode=_MODE[interp], padding_mode=_PADDING[border], align_corners=False)


def _places(height: int, width: int) -> NDArray[np.float64]:
    """``[3, height · width]``: x, y and 1 of every pixel centre, from the picture's centre."""
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    return np.stack([x - (width - 1) / 2, y - (height - 1) / 2, np.ones_like(x, dtype=np.float64)])


def _multiplied(matrix: NDArray[np.float64], points: Tensor) -> Tensor:
    """``[N, 3, K]``: points (x, y, 1) ``[3, K]`` or ``[N, 3, K]`` through each sample's own matrix ``[N, 3, 3]``."""
    m = _to(matrix, points)
    # One matrix product for the whole batch where it can be: one a sample is five times slower on small pictures.
    out = (m.view(-1, 3) @ points).view(len(m), 3, -1) if points.ndim == 2 else torch.bmm(m, points)
    return out if np.all(matrix[:, 2] == (0, 0, 1)) else out / out[:, 2:]


def _bent(bend: fuse.Bend, points: Tensor) -> Tensor:
    field = bend.field
    steps = torch.einsum("hi,nijc,wj->nchw", *(_to(a, points) for a in (field.rows(), field.nodes, field.columns())))
    size = points.new_tensor(field.size[::-1])[:, None]
    grid = (2 * points[:, :2] / size).transpose(1, 2)[:, None]
    moves = F.grid_sample(steps, grid, mode="bilinear", padding_mode="border", align_corners=False)[:, :, 0]
    return torch.cat([points[:, :2] + moves, points[:, 2:]], 1)


def _is_rgba(v: Tensor) -> bool:
    return v.ndim == 4 and v.shape[1] == 4


def _on_colour(v: Tensor, fn: Callable[[Tensor], Tensor], clip: bool) -> Tensor:
    """Run what changes colours on straight ones; alpha stays as it is."""
    if not _is_rgba(v):
        out = fn(v)
        return out.clamp(0, 1) if clip else out
    alpha = v[:, 3:]
    straight = (v[:, :3] / alpha.clamp_min(1 / 255)).clamp(0, 1)
    out = fn(straight)
    # A generator may give alphas below 0: nothing is seen there, and no gradient comes from there.
    return torch.cat([(out.clamp(0, 1) if clip else out) * alpha.clamp_min(0), alpha], 1)


def _recolour(parts: tuple[Part, ...], colour: Tensor) -> Tensor:
    for part in parts:
        if isinstance(part, Affine):
            colour = _matrix(part, colour)
        elif isinstance(part, Power):
            exponent = column(part.exponent, colour)
            # The gradient of a power below 1 is infinite at 0.
            bright = colour > 0
            power = torch.where(bright, colour, 1.0) ** exponent * bright
            colour = torch.where(exponent == 1, colour, power)
        elif isinstance(part, Fold):
            is_bright = torch.round(255 * colour) >= column(np.rint(255 * part.threshold), colour)
            colour = torch.where(is_bright, 1 - colour, colour)
        else:
            step = column(part.step, colour)
            steps = torch.floor(torch.round(255 * colour) / step.clamp_min(1)) * step / 255
            colour = torch.where(step == 0, colour, steps)
    return colour


def _matrix(part: Affine, colour: Tensor) -> Tensor:
    m = part.matrix
    k = m.shape[-2]
    if k == 1:
        return colour * column(m[:, 0, 0], colour) + column(m[:, 0, 1], colour)
    weights = _to(m, colour)
    return torch.baddbmm(weights[..., k:], weights[..., :k], colour.flatten(2)).view_as(colour)


def column(values: NDArray[np.float64], like: Tensor) -> Tensor:
    """Numbers ``[N]`` that broadcast over a batch ``[N, ...]``, as it is held."""
    return _to(values, like).view(-1, *[1] * (like.ndim - 1))


def _noise(stage: Noise, v: Tensor, clip: bool) -> Tensor:
    rows = np.flatnonzero(stage.sigma)
    if not rows.size:
        return v
    channels = 3 if _is_rgba(v) else v.shape[1]
    shape = v.shape[2:]
    keys = torch.from_numpy(stage.key[rows].astype(np.int64)).to(v.device)
    grain = normal_field(keys, prod(shape) * channels).to(v.dtype).view(-1, *shape, channels).movedim(-1, 1)
    grain = grain * column(stage.sigma[rows], v)
    at = torch.from_numpy(rows).to(v.device)
    return v.index_copy(0, at, _on_colour(v[at], lambda c: c + grain, clip))


def _picture(stage: Picture, v: Tensor, border: Border) -> Tensor:
    """Each picture in 8 bits on the CPU; the gradient passes straight through."""
    from augmint.transforms.run_pixels import run

    with torch.no_grad():
        out = v.clone()
        for i in np.flatnonzero(np.broadcast_to(stage.active, (len(v),))):
            x = v[i].permute(1, 2, 0).cpu().double().numpy()
            if _is_rgba(v):
                x = np.concatenate([x[..., :3] / np.maximum(x[..., 3:], 1 / 255), x[..., 3:]], -1)
            whole = np.rint(255 * np.nan_to_num(x).clip(0, 1)).astype(np.uint8)  # what is no number stays none below
            y = run(stage.name, whole, {k: float(a[i]) for k, a in stage.params.items()}, border) / 255
            if _is_rgba(v):
                y = np.concatenate([y[..., :3] * y[..., 3:], y[..., 3:]], -1)
            out[i] = torch.from_numpy(y).permute(2, 0, 1).to(v)
    return v + (out - v).detach()


def _blur(stage: Blur, v: Tensor) -> Tensor:
    rows = np.flatnonzero(stage.sigma)
    if not rows.size:
        return v
    reach = radius(stage.sigma)
    weights = _to(kernel(stage.sigma[rows], reach), v)
    at = torch.from_numpy(rows).to(v.device)
    out = v[at]
    for axis in (2, 3):
        length = out.shape[axis]
        wide = out.index_select(axis, torch.from_numpy(mirrored(length, reach)).to(v.device))
        # A sum of shifted copies: grouped convolutions with a kernel a sample are slower on a CPU.
        parts = (wide.narrow(axis, i, length) * weights[:, i].view(-1, 1, 1, 1) for i in range(2 * reach + 1))
        out = sum(parts, start=torch.zeros((), dtype=v.dtype, device=v.device))
    return v.index_copy(0, at, out)


def _hole(stage: Hole, v: Tensor) -> Tensor:
    left, top, right, bottom = (column(stage.box[:, i], v) for i in range(4))
    across = torch.arange(v.shape[-1], device=v.device)
    hole = (across >= left) & (across < right)
    if v.ndim > 3:
        down = torch.arange(v.shape[-2], device=v.device)[:, None]
        hole = hole & (down >= top) & (down < bottom)
    fill = column(np.zeros_like(stage.fill) if _is_rgba(v) else stage.fill, v)
    return torch.where(hole, fill, v)


_GOLDEN, _M1, _M2 = (c - 2**64 for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _right(x: Tensor, bits: int) -> Tensor:
    """Logical shift: torch has signed integers only."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _right(x, 30)) * _M1
    x = (x ^ _right(x, 27)) * _M2
    return x ^ _right(x, 31)


def normal_field(keys: Tensor, count: int) -> Tensor:
    """Standard normal float32 ``[N, count]`` for noise keys int64 ``[N]``: what `local.normal_field` gives, on the keys' device."""
    half = (count + 1) // 2
    at = torch.arange(1, half + 1, device=keys.device)
    keys = keys[:, None]
    h = _mix(_mix(keys + _GOLDEN * at) ^ keys)
    u1 = (_right(h, 40) + 1).float() * 2**-24
    u2 = (_right(h, 16) & 0xFFFFFF).float() * 2**-24
    r, angle = (-2 * u1.log()).sqrt(), 2 * torch.pi * u2
    return torch.cat([r * angle.cos(), r * angle.sin()], 1)[:, :count]
