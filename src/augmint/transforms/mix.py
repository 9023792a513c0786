"""Mixing ops: several pictures become one. Their numbers; `run_mix` computes them, and `run_mix_torch` on batches of tensors.

A step of a mixing op names its partners: each with its id and what happened to it before. Those are the ops that stand before the
mixing op in the recipe, drawn anew for the partner; so in a recipe of Mosaic and then MixUp, two mosaics are mixed. The sample that
the recipe was drawn for keeps the greater share, and so its hard label. In a batch of tensors the partners are other samples of the
batch, as the ops before have left them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np

from augmint.core import rng
from augmint.core.rng import F64, U64
from augmint.core.types import I64
from augmint.transforms.colour import Posterize, Solarize
from augmint.transforms.geometry import Rotate, Shear, Translate
from augmint.transforms.op import KEY, Bool, Family, Law, Op, Params, Range, number, within
from augmint.transforms.pixels import AutoContrast, Equalize

Labels = Mapping[str, float]
DEEPEST = 3  # ops in a chain of AugMix


FILE = "file:"
"""Before the path of a file that is mixed in and is no sample of the data set, in the place of an id."""


class Pool:
    """The samples among which partners are found, by their ids.

    Args:
        files: lists the files of a folder, for ops that mix in such; without it they find none.
    """

    def __init__(self, ids: Iterable[str], files: Callable[[str], Sequence[str]] = lambda folder: ()) -> None:
        self.ids, self._files = tuple(ids), files
        self._folders: dict[str, Pool] = {}

    def of_folder(self, folder: str) -> Pool:
        """The files of a folder in the place of samples; no folder has none."""
        if folder not in self._folders:
            self._folders[folder] = Pool(FILE + name for name in (self._files(folder) if folder else ()))
        return self._folders[folder]

    @cached_property
    def _hashes(self) -> U64:
        return np.array([rng.key("partner", i) for i in self.ids], np.uint64)

    def pick(self, key: int, own: str, count: int) -> tuple[str, ...]:
        """``count`` others than ``own``, repeated where there are fewer; none where there are no others.

        Those with the highest hash of key and id (rendezvous hashing, Thaler and Ravishankar 1998): the order of the ids does not
        matter, and a sample that comes or goes changes the choice only where it is chosen itself.
        """
        if not self.ids:
            return ()
        scores = rng.bits(np.uint64(key), self._hashes)
        most = min(len(scores), count + 1)
        best = np.argpartition(scores, len(scores) - most)[-most:]
        found = [self.ids[i] for i in best[np.argsort(scores[best])[::-1]] if self.ids[i] != own][:count]
        return tuple(found[i % len(found)] for i in range(count)) if found else ()


def others(keys: U64, num: int, *, groups: int = 1) -> I64:
    """``[N, num]``: for each sample of a batch, the places in it of ``num`` others, repeated where there are fewer.

    Each of the others is equally likely, none comes twice before all have come. ``[N, 0]`` where a sample is alone.

    Args:
        keys: uint64 ``[N]``, of this purpose.
        groups: the batch is so many batches of one size, one after the other, and nobody meets a sample of another one.
    """
    size = len(keys) // groups
    found = np.zeros((len(keys), 0), np.int64)
    for i in range(min(num, size - 1)):
        # The next one is drawn among those that are left: counted on over the ones that are taken.
        step = (rng.uniform(keys, i) * (size - 1 - i)).astype(np.int64)
        for taken in np.sort(found, axis=1).T:
            step += step >= taken
        found = np.concatenate([found, step[:, None]], axis=1)
    own = np.arange(len(keys))[:, None]
    placed: I64 = own // size * size + (own % size + 1 + found) % size
    return placed[:, np.arange(num) % placed.shape[1]] if placed.shape[1] else placed


def shares(parts: Iterable[tuple[Labels, float]]) -> dict[str, float]:
    """Of all classes, from each part's own and its share of the whole; nothing where a part has no label."""
    out: dict[str, float] = {}
    for labels, share in parts:
        if not labels:
            return {}
        for label, own in labels.items():
            out[label] = out.get(label, 0.0) + share * own
    return {label: share for label, share in out.items() if share > 0}


def box_ends(params: Params, axis: str, length: int) -> tuple[I64, I64]:
    """First and last (excluded) row or column ``[...]`` of `CutMix`'s box, which may hang over the edge."""
    half = np.asarray(params["side_frac"]) / 2
    middle = np.asarray(params[f"{axis}_frac"])
    low, high = (np.clip(np.rint((middle + d) * length), 0, length).astype(np.int64) for d in (-half, half))
    return low, high


def _beta(alpha: float, u: F64) -> F64:
    """Uniform numbers as Beta(alpha, alpha) ones."""
    from scipy.special import betaincinv

    return np.asarray(betaincinv(alpha, alpha, u))


@dataclass(frozen=True, kw_only=True)
class Mix(Op):
    """An op that needs other samples.

    ``num_partners``: how many, 0 where it mixes versions of the sample itself; ``has_more``: whether they may be more than that.
    ``is_raw``: whether it takes them as they are, without what the recipe does before. ``on_batches``: whether it happens on batches of
    tensors, see `run_mix_torch`.
    """

    family: ClassVar[Family] = "mixing"
    num_partners: ClassVar[int] = 1
    has_more: ClassVar[bool] = False
    is_raw: ClassVar[bool] = False
    on_batches: ClassVar[bool] = False

    @property
    def wanted(self) -> int:
        """How many partners this one asks for."""
        return self.num_partners

    def source(self, pool: Pool) -> Pool:
        """Where it finds them."""
        return pool


@dataclass(frozen=True, kw_only=True)
class MixUp(Mix):
    """Blend with another picture, stretched to this one's size (Zhang et al. 2017, arXiv 1710.09412, equation 2).

    ``alpha``: of Beta(alpha, alpha), within [0.01, 100]; small ones mostly mix in little. This picture's share is the greater one,
    as in MixMatch (Berthelot et al. 2019, arXiv 1905.02249, equation 9).
    """

    on_batches: ClassVar[bool] = True
    num_uniforms: ClassVar[int] = 1
    any_axes: ClassVar[bool] = True
    alpha: float = field(default=0.2, metadata=number(0.01, 100))

    def draw(self, u: F64) -> dict[str, F64]:
        lam = _beta(self.alpha, u[..., 0])
        return {"lam": np.maximum(lam, 1 - lam)}


@dataclass(frozen=True, kw_only=True)
class CutMix(Mix):
    """A box of another picture, stretched to this one's size, in this one (Yun et al. 2019, arXiv 1905.04899).

    ``alpha``: of Beta(alpha, alpha), within [0.01, 100], for the share that stays; at least half does. The box is cut at the edge.
    """

    on_batches: ClassVar[bool] = True
    num_uniforms: ClassVar[int] = 3
    alpha: float = field(default=1.0, metadata=number(0.01, 100))

    def draw(self, u: F64) -> dict[str, F64]:
        lam = _beta(self.alpha, u[..., 0])
        return {"side_frac": np.sqrt(1 - np.maximum(lam, 1 - lam)), "x_frac": u[..., 1], "y_frac": u[..., 2]}


@dataclass(frozen=True, kw_only=True)
class Mosaic(Mix):
    """This picture and three others around a point, each scaled to cover its corner, at this picture's size (Bochkovskiy et al. 2020,
    arXiv 2004.10934). This one has the largest corner.

    ``centre_frac``: where they meet, as a fraction of width and of height, drawn apart, within [0.1, 0.9].
    """

    on_batches: ClassVar[bool] = True
    num_uniforms: ClassVar[int] = 2
    num_partners: ClassVar[int] = 3
    laws: ClassVar[tuple[Law, ...]] = (Law("x_frac", "centre_frac"), Law("y_frac", "centre_frac"))
    centre_frac: Range = field(default=(0.3, 0.7), metadata=within(0.1, 0.9))


@dataclass(frozen=True, kw_only=True)
class CopyPaste(Mix):
    """Objects of another picture, scaled to fit into this one, pasted onto it (Ghiasi et al. 2021, arXiv 2012.07177).

    ``share_frac``: how many of its objects, as a share, within [0, 1]; one at least. An object is what ``instances`` outlines, else a
    box (what of it is in the first mask, where there is one), else a value of the first mask. Without any, nothing is pasted.
    """

    num_uniforms: ClassVar[int] = 2
    laws: ClassVar[tuple[Law, ...]] = (Law("share_frac", "share_frac"), KEY)
    share_frac: Range = field(default=(0.3, 1.0), metadata=within(0, 1))


@dataclass(frozen=True, kw_only=True)
class AugMix(Mix):
    """The picture blended with three chains of one to three ops on itself (Hendrycks et al. 2020, arXiv 1912.02781, algorithm 1).

    ``strength``: of the ops, within [0, 1] (the paper's severity of 3 is 0.3); ``alpha``: of the Dirichlet and Beta weights, within
    [0.01, 100]; ``geometry``: whether turning, slanting and shifting are among the ops. Targets stay where the picture itself has
    them: use ``geometry: false`` with boxes and keypoints.
    """

    on_batches: ClassVar[bool] = True
    num_uniforms: ClassVar[int] = 4
    num_partners: ClassVar[int] = 0
    num_chains: ClassVar[int] = 3
    strength: float = field(default=0.3, metadata=number(0, 1))
    alpha: float = field(default=1.0, metadata=number(0.01, 100))
    geometry: bool = True

    def draw(self, u: F64) -> dict[str, F64]:
        from scipy.special import gammaincinv

        # A Dirichlet vector is one of Gamma numbers, divided by their sum.
        parts = np.maximum(gammaincinv(self.alpha, u[..., : self.num_chains]), 1e-300)
        shares = parts / parts.sum(-1, keepdims=True)
        lam = _beta(self.alpha, u[..., 3])
        return {f"weight_{i + 1}": shares[..., i] * lam for i in range(self.num_chains)}

    @property
    def ops(self) -> Sequence[Op]:
        """What a chain is made of: the paper's ops, with both shifts in one."""
        s = self.strength
        still = (AutoContrast(), Equalize(), Posterize(bits=(8 - 4 * s, 8)), Solarize(threshold_frac=(1 - s, 1)))
        moving = (
            Rotate(degrees=(-30 * s, 30 * s)),
            Shear(x_degrees=(-17 * s, 17 * s)),
            Shear(x_degrees=(0, 0), y_degrees=(-17 * s, 17 * s)),
            Translate(shift_frac=(-0.33 * s, 0.33 * s)),
        )
        return (*still, *moving) if self.geometry else still

    def chains(self, keys: U64) -> list[list[tuple[str, Bool, dict[str, F64]]]]:
        """Each chain for keys ``[N]``: ops in order, to whom of the samples each happens ``[N]``, and its numbers, each ``[N]``."""
        ops, out = self.ops, []
        for chain in range(self.num_chains):
            u = rng.uniform(rng.combine(keys, chain)[:, None], np.arange(1 + DEEPEST * 8))
            one = []
            for step in range(DEEPEST):
                own = u[:, 1 + 8 * step : 9 + 8 * step]
                number = np.where(step < 1 + np.floor(DEEPEST * u[:, 0]), np.floor(own[:, 0] * len(ops)), -1)
                one += [(ops[i].name, number == i, ops[i].draw(own[:, 1:])) for i in range(len(ops)) if i in number]
            out.append(one)
        return out


MIXES: dict[str, type[Mix]] = {op.__name__: op for op in (MixUp, CutMix, Mosaic, CopyPaste, AugMix)}
