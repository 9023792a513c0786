"""The nearest training sample under every way of laying one sample on another: mirrored, shifted, cropped, turned.

Aligning every pair would cost hours, so it is done in two steps. First all pairs, in few directions: the distance is taken
not to a training sample but to the flat surface that it sweeps when it is moved a little (the tangent distance of Simard et
al. 1993), from several starts; that is matrix products. Then the few pairs that came nearest are aligned by least squares
(Gauss-Newton, after Lucas and Kanade 1981).

The range is that of the usual transforms, which the generator of a GAN has seen its reals under: crops that keep 76 % or more
of a side, each side its own, shrinking by up to 14 %, turns within 15 degrees, shifts by an eighth of a side, all at once. Where
a kind of data says that nothing moves along an axis (`Likeness`), that axis counts as channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from augmint.core.types import F32, I64, PICTURES, Likeness
from augmint.data.split import box_means
from augmint.evaluation.features import shrink

F64 = NDArray[np.float64]

_LONGEST_SIDE = {1: 64, 2: 16, 3: 8}
_FINE_SIDE = {1: 256, 2: 64, 3: 16}
MIN_CELLS = 4  # a shorter axis is not a place to move in

_ROWS = 16  # at most, of axes that nothing moves along
_TURN, _SHARE = math.radians(15), (0.76, 1.14)
# Where alignments start: share of the sides that is seen, and shifts of every axis in parts of the reach. A single axis is
# cheap, and a signal varies fast on it.
_SHARES_1, _APART_1 = (1.0, 0.94, 0.88, 0.82), 1 / 32
_START_2 = [(1.0, [-1.0, 0.0, 1.0]), (0.88, [0.0]), (0.88, [-0.8, 0.8])]
_SPREAD = (math.radians(7), 0.08, 0.06)  # of turn, logarithm of the share, and shift: how far a flat surface is trusted
_RIDGE = 0.02  # the share of the samples' variance that no alignment explains
_DIRECTIONS = 24
_FITTED_ON = 256  # training samples that the directions are taken from

_EACH = 4  # nearest training samples from a start, for a mirror image
_PAIRS, _FIT, _LAST = 8, 4, 2  # nearest of them all: aligned by some steps, by more, and on finer samples
_STEPS = (2, 2, 2)
_DAMPING = 0.01
_FAR_BLOCK, _NEAR_BLOCK = 1 << 18, 1 << 17  # numbers in work at once: distances, cells


class Search:
    """Training samples, prepared to be searched.

    Args:
        x: ``[M, C, *shape]`` float32, one to three axes, the longest of `MIN_CELLS` or more.
        shift: how far a sample is moved, as a part of the side.
    """

    def __init__(self, x: F32, *, shift: float = PICTURES.shift) -> None:
        self._fine, self._x = _tensor(_finer(x)), _tensor(averaged(x))
        self._space = _Space(tuple(self._x.shape[2:]), x.shape[-2] / x.shape[-1] if x.ndim > 3 else 1.0, shift)
        self._surfaces = [_Surfaces(self._x, self._space, start) for start in self._space.starts]

    @torch.inference_mode()
    def nearest(self, x: F32, but_itself: bool = False) -> tuple[F64, I64]:
        """Distance ``[N]`` to and index ``[N]`` of the training sample nearest to each of ``[N, C, *shape]``.

        Distances are between samples as `averaged`. What an alignment does not see of a sample is taken to differ as much
        as what it sees.

        Args:
            but_itself: ``x`` are the training samples, and the nearest *other* one is wanted.
        """
        distance, index = np.empty(len(x)), np.empty(len(x), dtype=np.int64)
        small, step = _tensor(averaged(x)), max(1, _FAR_BLOCK // len(self._x))
        for i in range(0, len(x), step):
            square, found = self._some(small[i : i + step], i if but_itself else None)
            distance[i : i + step], index[i : i + step] = square.sqrt().numpy(), found.numpy()
        return distance, index

    def _some(self, x: Tensor, first: int | None) -> tuple[Tensor, Tensor]:
        views, sample = self._space.mirrored(x), torch.arange(len(x))[:, None]
        train, view, p = self._shortlist(views, first)
        for source, steps, keep in (
            (self._x, _STEPS[0], _FIT),
            (self._x, _STEPS[1], _LAST),
            (self._fine, _STEPS[2], 1),
        ):
            pairs = (view, sample.expand_as(train), train, p)
            blocks = zip(
                *(torch.split(z.flatten(0, 1), max(1, _NEAR_BLOCK // x[0].numel())) for z in pairs), strict=True
            )
            found = [_align(views[v, n], source[m], q, self._space, steps) for v, n, m, q in blocks]
            square, p = (torch.cat(z).view(*train.shape, *z[0].shape[1:]) for z in zip(*found, strict=True))
            best = square.topk(min(keep, square.shape[1]), dim=1, largest=False)
            train, view, p = (z[sample, best.indices] for z in (train, view, p))
        return best.values[:, 0], train[:, 0]

    def _shortlist(self, views: Tensor, first: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """Pairs that are nearest before they are aligned: training sample and view ``[N, K]``, and the start ``[N, K, P]``."""
        each = min(_EACH, len(self._x) - (first is not None))
        found = [surfaces.nearest(view, each, first) for view, surfaces in product(views, self._surfaces)]
        values, indices = (torch.cat(part, 1) for part in zip(*found, strict=True))
        best = values.topk(min(_PAIRS, values.shape[1]), dim=1, largest=False).indices
        view, start = best // (each * len(self._surfaces)), best // each % len(self._surfaces)
        return indices.gather(1, best), view, self._space.starts[start]


def comparable(x: F32, like: Likeness | None) -> F32:
    """``[N, C, *shape]`` at one level, with the axes that nothing moves along averaged to at most 16 rows and put to the channels."""
    if like is None or x.ndim < 3:
        return x
    x = x if like.levelled is None else like.levelled(x)
    if like.axes is None or len(like.axes) == x.ndim - 2:
        return x
    fixed = [2 + i for i in range(x.ndim - 2) if i not in like.axes]
    for axis in fixed:
        x = box_means(x, axis, _ROWS)
    x = np.moveaxis(x, fixed, range(2, 2 + len(fixed)))
    return np.ascontiguousarray(x.reshape(len(x), -1, *x.shape[2 + len(fixed) :]))


def averaged(x: F32) -> F32:
    """``[N, C, *shape]`` as the search compares it: at most 64, 16 or 8 cells a side (one, two, three axes)."""
    return shrink(_finer(x), _LONGEST_SIDE[x.ndim - 2])


def _finer(x: F32) -> F32:
    """As training samples are kept: what is read between coarser cells has lost detail that a copy still shows."""
    return shrink(np.asarray(x, dtype=np.float32), _FINE_SIDE[x.ndim - 2])


def _tensor(x: F32) -> Tensor:
    """``[N, C, (depth,) height, width]``: a single axis counts as a picture of height 1."""
    out = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
    return out[:, :, None] if out.ndim == 3 else out


@dataclass(frozen=True)
class _Space:
    """Ways to lay a training sample on another: a turn in the last two axes, for each axis the logarithm of the share that is
    seen, for each axis a shift as a fraction of the side. The cell at x shows what lies at ``turn(share * (x + shift))``,
    all measured from the centre.

    Attributes:
        cells: the grid that samples are compared on, two or three axes.
        aspect: height over width before samples were averaged down: a turn keeps the true angles.
        shift: how far a sample is moved, as a part of the side.
    """

    cells: tuple[int, ...]
    aspect: float
    shift: float

    @cached_property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest ``[P]``; equal for an axis that is too short to move in."""
        moves = [n >= MIN_CELLS for n in self.cells]
        turn = _TURN * all(moves[-2:])
        reach = [max(self.shift, 1 / n) * m for n, m in zip(self.cells, moves, strict=True)]
        low, high = ([math.log(share) * m for m in moves] for share in _SHARE)
        return torch.tensor([-turn, *low, *(-r for r in reach)]), torch.tensor([turn, *high, *reach])

    @cached_property
    def free(self) -> Tensor:
        """Which numbers of an alignment can change, ``[P']``."""
        low, high = self.bounds
        return torch.nonzero(high > low)[:, 0]

    @cached_property
    def starts(self) -> Tensor:
        """Alignments ``[S, P]`` so dense that from one of them the best is in reach."""
        d = len(self.cells)
        reach = self.bounds[1][1 + d :].tolist()
        moves = [bool(r) for r in reach]
        along_one = np.linspace(-1, 1, 2 * max(4, round(self.shift / _APART_1)) + 1).tolist()
        found = []
        for share, steps in [(share, along_one) for share in _SHARES_1] if sum(moves) == 1 else _START_2:
            shares = [math.log(share) * m for m in moves]
            found += [(0.0, *shares, *at) for at in product(*([r * s for s in steps] if r else [0.0] for r in reach))]
        return torch.tensor(found)

    def mirrored(self, x: Tensor) -> Tensor:
        """``[V, N, C, *cells]``: the samples, and of pictures their mirror images."""
        flips: list[list[int]] = [[], [-1], [-2], [-2, -1]] if len(self.cells) == 2 and self.cells[0] > 1 else [[]]
        return torch.stack([x.flip(f) for f in flips])

    def lay(self, x: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """Samples ``[K, C, *shape]`` laid as ``p`` ``[K, P]`` says, on the grid; and which cells ``[K, 1, *cells]`` show nothing
        from beyond the outermost cells' centres (0 or 1)."""
        d, fine = len(self.cells), x.shape[2:]
        turn = torch.eye(d).repeat(len(p), 1, 1)
        turn[:, -2, -2] = turn[:, -1, -1] = p[:, 0].cos()
        turn[:, -2, -1], turn[:, -1, -2] = p[:, 0].sin() / self.aspect, -p[:, 0].sin() * self.aspect
        linear = turn * p[:, None, 1 : 1 + d].exp()
        offset = linear @ (2 * p[:, 1 + d :, None])
        matrix = torch.cat([linear.flip(1, 2), offset.flip(1)], 2)  # the last axis first, as torch has it
        read = F.affine_grid(matrix, [len(p), 1, *fine], align_corners=False)
        inside = (read.abs() <= 1 + 1e-5 - 1 / torch.tensor(fine[::-1])).all(-1)[:, None]
        shown = F.grid_sample(x, read.expand(len(x), *read.shape[1:]), padding_mode="border", align_corners=False)
        return _averaged(shown, self.cells), (_averaged(inside.float(), self.cells) > 0.999).float()

    @cached_property
    def places(self) -> Tensor:
        """``[cells, 1 + d]``: 1, and where the cell's centre lies, in half sides from the centre."""
        axes = [(2 * torch.arange(n) + 1) / n - 1 for n in self.cells]
        return torch.stack([torch.ones(self.cells), *torch.meshgrid(*axes, indexing="ij")], -1).flatten(0, -2)

    def motion(self, p: Tensor) -> Tensor:
        """``[K, P', d, 1 + d]``: how far what a cell shows moves along each axis with each free number, as a linear function of
        the cell's `places`."""
        d = len(self.cells)
        place = torch.eye(d, 1 + d).roll(1, 1).repeat(len(p), 1, 1)
        place[:, :, 0] = 2 * p[:, 1 + d :]
        out = torch.zeros(len(p), 1 + 2 * d, d, 1 + d)
        tilt = (p[:, d] - p[:, d - 1]).exp() / self.aspect
        out[:, 0, -2], out[:, 0, -1] = tilt[:, None] * place[:, -1], -place[:, -2] / tilt[:, None]
        for k in range(d):
            out[:, 1 + k, k], out[:, 1 + d + k, k, 0] = place[:, k], 2.0
        return out[:, self.free]


class _Surfaces:
    """What the training samples sweep when they are moved a little from one start: flat surfaces, in few directions."""

    def __init__(self, x: Tensor, space: _Space, start: Tensor) -> None:
        some, seen = space.lay(x[:: -(-len(x) // _FITTED_ON)], start[None])
        self._weight = (seen[0] * (seen[0].numel() / seen[0].sum())).sqrt()
        rows = self._flat(some)
        self._axes = torch.linalg.svd(rows, full_matrices=False)[2][:_DIRECTIONS].T
        d = len(space.cells)
        spread = torch.tensor([_SPREAD[0], *[_SPREAD[1]] * d, *[_SPREAD[2]] * d])[space.free]
        ridge = _RIDGE * rows.var() / spread.square()
        parts = [self._swept(part, space, start[None], ridge) for part in torch.split(x, _FITTED_ON)]
        at, ways = torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts], 1)
        # The last column meets a 1: one product gives |b|^2 - 2ab, and others what the difference has of each way.
        self._far = torch.cat([-2 * at, at.square().sum(1, keepdim=True)], 1).T.contiguous()
        self._ways = torch.cat([ways, -(ways * at).sum(2, keepdim=True)], 2).mT.contiguous()

    def _swept(self, x: Tensor, space: _Space, p: Tensor, ridge: Tensor) -> tuple[Tensor, Tensor]:
        """Where the samples lie ``[M, K]``, and which ways they can be moved ``[P', M, K]``.

        The ways are scaled so that a difference loses the square of what it has of each, and then has lost what the best move
        explains; a move costs, as in ridge regression, for the surface is not flat far off.
        """
        shown, _ = space.lay(x, p)
        motion = space.motion(p)[0] @ space.places.T
        motion = motion.view(*motion.shape[:2], *space.cells)
        ways = torch.stack([sum(s * m for s, m in zip(_slopes(shown), move, strict=True)) for move in motion], 1)
        ways = (ways * self._weight).flatten(2) @ self._axes
        bend = ways @ ways.mT
        ridge = ridge + 1e-4 * bend.diagonal(dim1=1, dim2=2).mean(1, keepdim=True) + 1e-9
        root = torch.linalg.cholesky(bend + torch.diag_embed(ridge))
        ways = torch.linalg.solve_triangular(root, ways, upper=False)
        return self._flat(shown) @ self._axes, ways.movedim(1, 0)

    def _flat(self, x: Tensor) -> Tensor:
        return (x * self._weight).flatten(1)

    def nearest(self, x: Tensor, num: int, first: int | None) -> tuple[Tensor, Tensor]:
        """Squared distances and indices ``[N, num]``; with ``first``, sample i is not compared with training sample ``first + i``.

        What the directions miss of a sample is left out: it would be the same for all training samples but differ between
        starts, and a start that hides what is bright would win.
        """
        at = self._flat(x) @ self._axes
        with_one = torch.cat([at, torch.ones(len(at), 1)], 1)
        square = with_one @ self._far
        for way in self._ways:
            explained = with_one @ way
            square.addcmul_(explained, explained, value=-1.0)
        if first is not None:
            square[torch.arange(len(x)), first + torch.arange(len(x))] = torch.inf
        values, indices = square.topk(num, dim=1, largest=False)
        return values + at.square().sum(1, keepdim=True), indices


def _align(x: Tensor, train: Tensor, p: Tensor, space: _Space, steps: int) -> tuple[Tensor, Tensor]:
    """Lay ``train`` ``[K, C, *shape]`` on ``x`` ``[K, C, *cells]``, from ``p`` ``[K, P]``: the least squared distance met, and where."""
    least, best = torch.full((len(x),), torch.inf), p
    for step in range(steps + 1):
        shown, seen = space.lay(train, p)
        rest = (x - shown) * seen
        square = rest.square().flatten(1).sum(1) * (seen[0].numel() / seen.flatten(1).sum(1).clamp(min=1))
        best = torch.where((square < least)[:, None], p, best)
        least = torch.minimum(square, least)
        if step < steps:
            change = _step([s * seen for s in _slopes(shown)], rest, space.motion(p), space.places)
            p = p.index_add(1, space.free, change).clamp(*space.bounds)
    return least, best


def _step(slopes: list[Tensor], rest: Tensor, motion: Tensor, places: Tensor) -> Tensor:
    """The damped Gauss-Newton step ``[K, P']``.

    A sample changes with a number by its slopes times the motion, and motions are linear in the place. So sums over cells need
    be taken of slopes against slopes and against the rest, times places, and not for every pair of numbers.
    """
    d = len(slopes)
    push = torch.stack([(s * rest).sum(1).flatten(1) for s in slopes], 1) @ places
    pull = torch.stack(
        [(slopes[min(i, j)] * slopes[max(i, j)]).sum(1).flatten(1) for i, j in product(range(d), repeat=2)], 1
    )
    pull = (pull @ (places[:, :, None] * places[:, None]).flatten(1)).view(-1, d, d, 1 + d, 1 + d)
    pull = pull.transpose(2, 3).reshape(-1, d * (1 + d), d * (1 + d))
    motion = motion.flatten(2)
    bend = motion @ pull @ motion.mT
    bend += torch.diag_embed(_DAMPING * bend.diagonal(dim1=1, dim2=2) + 1e-6)
    step: Tensor = torch.linalg.solve(bend, motion @ push.flatten(1)[..., None])[..., 0]
    return step


def _slopes(x: Tensor) -> list[Tensor]:
    """Of ``[K, C, *cells]`` along each axis, for half its length: central differences."""
    out = []
    for axis in range(2, x.ndim):
        n = x.shape[axis]
        wide = torch.cat([x.narrow(axis, 0, 1), x, x.narrow(axis, n - 1, 1)], axis)
        out.append((wide.narrow(axis, 2, n) - wide.narrow(axis, 0, n)) * (n / 4))
    return out


def _averaged(x: Tensor, cells: tuple[int, ...]) -> Tensor:
    return x if tuple(x.shape[2:]) == cells else F.interpolate(x, size=cells, mode="area")
