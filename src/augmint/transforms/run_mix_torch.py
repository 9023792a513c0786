"""Mixing ops on batches of tensors: `run_torch` between them, partners from the batch itself, and labels that go along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from augmint.core.errors import UserError
from augmint.core.rng import F64, U64
from augmint.core.types import I64
from augmint.transforms.fuse import Warp
from augmint.transforms.geometry import affine
from augmint.transforms.mix import AugMix, CutMix, Mix, MixUp, Mosaic, box_ends, others
from augmint.transforms.op import Params
from augmint.transforms.plan import Drawn
from augmint.transforms.recipe import Recipe
from augmint.transforms.run_torch import changed, checked_keys, column, normalised, warped

_Made = tuple[
    Tensor, F64
]  # the mixed samples [R, ...], and the share of each of their parts [R, parts], the sample's own first


def augment(
    x: Tensor, y: Tensor, recipe: Recipe, keys: ArrayLike, *, groups: int = 1, p: float = 1.0, clip: bool = True
) -> tuple[Tensor, Tensor]:
    """`run_torch.augment` for recipes that mix samples too: the samples, and how much of each class is in them.

    A partner is another sample of the batch, as the ops before have left it: each is equally likely. A sample that is alone in its batch
    is not mixed. A mixing op ends the fused run of the whole batch.

    Args:
        x, recipe, keys, p, clip: as `run_torch.augment` has them. On 1 or 3 axes MixUp is the only mixing op that happens; on grids that
            are no pictures, those of its codec (``mix_on_grid``).
        y: float ``[N, K]``: the share of each class, such as ``one_hot(labels, K).float()``.
        groups: the batch is so many batches of one size, one after the other, and none is mixed with another.

    Returns:
        Samples as from `run_torch.augment`, differentiable, and labels like ``y``. Cross-entropy takes both as they are.

    Raises:
        UserError: for other mixing ops (CopyPaste, whose objects a tensor does not show), or for labels or groups that do not fit the
            batch.
    """
    keys = checked_keys(x, keys)
    if y.ndim != 2 or len(y) != len(x) or not y.is_floating_point():
        raise UserError(
            f"labels of shape {list(y.shape)} and type {y.dtype} for {len(x)} samples",
            mend="give the share of each class, [N, K]: torch.nn.functional.one_hot(labels, K).float()",
        )
    if groups < 1 or len(x) % groups:
        raise UserError(f"{len(x)} samples are not {groups} batches of one size", mend="give another `groups`")
    drawn = recipe.draw_batch(keys, p=p)
    waiting: list[Drawn] = []
    for at, (op, one) in enumerate(zip(recipe.flat, drawn, strict=True)):
        if not isinstance(op, Mix):
            waiting.append(one)
        elif _happens(op, one, x, recipe):
            x, waiting = changed(x, waiting, recipe, clip), []
            x, y = _mixed(op, one, x, y, recipe, recipe.mixing_keys(keys, at), groups, clip)
    return normalised(changed(x, waiting, recipe, clip), recipe), y


def _happens(op: Mix, drawn: Drawn, x: Tensor, recipe: Recipe) -> bool:
    if not op.on_batches:
        raise UserError(
            f"{op.name} needs more than the tensors and classes of a batch",
            mend="use it on samples as they are (run_mix.apply, say, which takes targets), or take it out",
        )
    is_picture = x.ndim == 4 and recipe.on_grid is None
    return bool(drawn.active.any()) and (is_picture or op.any_axes or recipe.mix_on_grid is not None)


def _mixed(
    op: Mix, drawn: Drawn, x: Tensor, y: Tensor, recipe: Recipe, keys: U64, groups: int, clip: bool
) -> tuple[Tensor, Tensor]:
    rows = np.flatnonzero(drawn.active)
    params = {k: v[rows] for k, v in drawn.params.items()}
    at = _index(rows, x)
    if isinstance(op, AugMix):
        return x.index_copy(0, at, _blended(op, params, x[at], recipe, keys[rows], clip)), y
    partners = others(keys, op.wanted, groups=groups)[rows]
    if not partners.shape[1]:
        return x, y
    parts = [at, *(_index(column, x) for column in partners.T)]
    samples = [x[part] for part in parts]
    if recipe.mix_on_grid is not None:
        made, shares = recipe.mix_on_grid(op, params, samples, clip)
    else:
        made, shares = _MIX[type(op)](params, samples, recipe)
    weights = torch.from_numpy(shares).to(y)
    mixed_y = sum(
        (weights[:, i, None] * y[part.to(y.device)] for i, part in enumerate(parts)), start=torch.zeros(()).to(y)
    )
    return x.index_copy(0, at, made), y.index_copy(0, at.to(y.device), mixed_y)


def _index(rows: I64, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(rows)).to(like.device)


def _mix_up(params: Params, parts: list[Tensor], recipe: Recipe) -> _Made:
    own, other = parts
    lam = params["lam"]
    return own + column(1 - lam, own) * (other - own), np.stack([lam, 1 - lam], 1)


def _cut_mix(params: Params, parts: list[Tensor], recipe: Recipe) -> _Made:
    own, other = parts
    height, width = own.shape[2:]
    top, bottom = box_ends(params, "y", height)
    left, right = box_ends(params, "x", width)
    share = (bottom - top) * (right - left) / (height * width)
    where = _window(own, top, bottom, left, right)
    return torch.where(where, other, own), np.stack([1 - share, share], 1)


def _window(like: Tensor, top: I64, bottom: I64, left: I64, right: I64) -> Tensor:
    """bool ``[R, 1, H, W]``: inside each sample's own window."""
    down = torch.arange(like.shape[2], device=like.device)[:, None]
    across = torch.arange(like.shape[3], device=like.device)
    rows, columns = (
        (here >= _index(low, like).view(-1, 1, 1, 1)) & (here < _index(high, like).view(-1, 1, 1, 1))
        for here, low, high in ((down, top, bottom), (across, left, right))
    )
    return rows & columns


def _mosaic(params: Params, parts: list[Tensor], recipe: Recipe) -> _Made:
    """Four pictures around a point, each scaled to cover its corner; the first of them has the largest."""
    height, width = size = (parts[0].shape[2], parts[0].shape[3])
    middle = [np.rint(params[f"{axis}_frac"] * side).astype(np.int64) for axis, side in (("y", height), ("x", width))]
    rows, columns = ([(0 * m, m), (m, 0 * m + side)] for m, side in zip(middle, size, strict=True))
    corners = np.array([(*r, *c) for r in rows for c in columns]).transpose(
        2, 0, 1
    )  # [R, corner, top bottom left right]
    area = (corners[..., 1] - corners[..., 0]) * (corners[..., 3] - corners[..., 2])
    order = np.argsort(-area, axis=1, kind="stable")
    corners = np.take_along_axis(corners, order[..., None], 1)
    # What a corner shows lies inside its picture: so the border is that of the corner's edge alone.
    still = replace(recipe, border="edge")
    out = parts[0]
    for i, part in enumerate(parts):
        top, bottom, left, right = corners[:, i].T
        high, wide = np.maximum(bottom - top, 1), np.maximum(right - left, 1)
        factor = np.maximum(high / height, wide / width)
        to_corner = affine(factor, 0.0, 0.0, factor, (left + right - width) / 2, (top + bottom - height) / 2)
        placed = 2 * warped(Warp(to_corner, size, size), 0.5 * part + 0.5, still, True) - 1
        out = torch.where(_window(out, top, bottom, left, right), placed, out)
    return out, np.take_along_axis(area, order, 1) / (height * width)


_MIX: dict[type[Mix], Callable[[Params, list[Tensor], Recipe], _Made]] = {
    MixUp: _mix_up,
    CutMix: _cut_mix,
    Mosaic: _mosaic,
}


def _blended(op: AugMix, params: Params, own: Tensor, recipe: Recipe, keys: U64, clip: bool) -> Tensor:
    """Samples and the three chains of each."""
    out = own
    for number, chain in enumerate(op.chains(keys), 1):
        made = changed(own, [Drawn(name, name, active, numbers) for name, active, numbers in chain], recipe, clip)
        out = out + column(params[f"weight_{number}"], own) * (made - own)
    return out
