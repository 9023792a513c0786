"""Stacked probes: many small classifiers of one architecture, one a seed, trained together on one thread.

The models are independent: model ``s`` owns group ``s`` of every grouped convolution and slab ``s`` of every batched
product, so the gradients never mix. Everything random is a pure function of (seed, model, step, slot); two arms that
see the same data therefore train the same models bit for bit, and arms that differ are paired in all that they share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from augmint.core import rng
from augmint.core.types import F32, I64

U64 = NDArray[np.uint64]
_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_FORMAT = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d}
_MOST = {1: 32, 2: 8, 3: 8}  # longest axis that the first convolution sees, by the number of axes; twice that, if large
_SMALLEST = 4  # shorter than this on every axis, there is nothing to convolve


@dataclass(frozen=True)
class Design:
    """Architecture of one probe, worked out from the grid.

    ``fold``: factor by which each axis is folded into channels (pixel-unshuffle) before the first convolution;
    ``widths`` and ``pools``: output channels and max-pool window of each convolution; ``hidden``: a layer before the
    last, for grids too small to convolve (flat vectors).
    """

    channels: int
    shape: tuple[int, ...]
    num_classes: int
    fold: tuple[int, ...] = ()
    widths: tuple[int, ...] = ()
    pools: tuple[tuple[int, ...], ...] = ()
    hidden: tuple[int, ...] = ()

    @classmethod
    def of(cls, size: tuple[int, ...], num_classes: int) -> Design:
        """The design for a grid ``(C, *shape)`` of 1 to 3 axes: one more pooled convolution with each doubling."""
        channels, shape = size[0], size[1:]
        if max(shape) < _SMALLEST:
            return cls(channels, shape, num_classes, (1,) * len(shape), hidden=(64, 64))
        most = _MOST[len(shape)]
        fold = tuple(math.ceil(n / (most if n <= 4 * most else 2 * most)) for n in shape)
        now = tuple(math.ceil(n / f) for n, f in zip(shape, fold, strict=True))
        pools: list[tuple[int, ...]] = []
        while max(now) > 2:
            pools.append(tuple(2 if n > 2 else 1 for n in now))
            now = _pooled(now, pools[-1])
        pools.insert(-1, (1,) * len(shape))
        return cls(channels, shape, num_classes, fold, (16, 32, 32, 48, 48, 48)[: len(pools)], tuple(pools))

    @property
    def tail(self) -> tuple[int, ...]:
        """Shape of the last map."""
        now = tuple(math.ceil(n / f) for n, f in zip(self.shape, self.fold, strict=True))
        for pool in self.pools:
            now = _pooled(now, pool)
        return now

    def shapes(self) -> list[tuple[tuple[int, ...], int]]:
        """Shape of each weight (without the models' axis) with its fan-in; a bias follows each."""
        axes, width = len(self.shape), self.channels * math.prod(self.fold)
        out: list[tuple[tuple[int, ...], int]] = []
        for w in self.widths:
            out.append(((w, width, *(3,) * axes), width * 3**axes))
            width = w
        width *= math.prod(self.tail)
        for w in (*self.hidden, self.num_classes):
            out.append(((width, w), width))
            width = w
        return out

    @property
    def num_weights(self) -> int:
        """Weights of one model, biases left out."""
        return sum(math.prod(shape) for shape, _ in self.shapes())


def _pooled(shape: tuple[int, ...], pool: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.ceil(n / p) for n, p in zip(shape, pool, strict=True))


class Stack:
    """``num`` probes of one design. Weights carry the models' axis first: ``[S, ...]``."""

    def __init__(self, design: Design, *, num: int, seed: int) -> None:
        self.design, self.num = design, num
        self.weights: list[Tensor] = []
        for layer, (shape, fan_in) in enumerate(design.shapes()):
            last = layer == len(design.shapes()) - 1
            scale = math.sqrt((1.0 if last else 2.0) / fan_in)
            draws = [_normal(shape, rng.torch_seed("probe-init", seed, s, layer)) for s in range(num)]
            out_axis = 0 if len(shape) > 2 else 1
            self.weights += [torch.stack(draws) * scale, torch.zeros(num, shape[out_axis])]
        for w in self.weights:
            w.requires_grad_()

    def logits(self, x: Tensor) -> Tensor:
        """Logits ``[S, B, K]`` of a batch for each model: ``x`` is ``[S, B, C, *shape]``, or ``[B, C, *shape]`` for all."""
        d, num = self.design, self.num
        if x.dim() == len(d.shape) + 2:
            x = x.expand(num, *x.shape)
        batch, pairs = x.shape[1], list(zip(self.weights[::2], self.weights[1::2], strict=True))
        x = _fold(x.transpose(0, 1).reshape(batch, num * d.channels, *d.shape), d.fold)
        x = x.contiguous(memory_format=_FORMAT[len(d.shape)])  # pooling is 15 times faster with the channels last
        conv, pooling = _CONV[len(d.shape)], _POOL[len(d.shape)]
        for (w, b), pool in zip(pairs, d.pools, strict=False):
            x = conv(x, w.flatten(0, 1), b.flatten(), padding=1, groups=num)
            x = F.relu(pooling(x, pool, ceil_mode=True) if max(pool) > 1 else x)
        x = x.reshape(batch, num, -1).transpose(0, 1)
        for w, b in pairs[len(d.pools) : -1]:
            x = F.relu(torch.baddbmm(b[:, None], x, w))
        w, b = pairs[-1]
        return torch.baddbmm(b[:, None], x, w)

    @torch.no_grad()
    def predict(self, x: F32, *, chunk: int = 256) -> I64:
        """Predicted class of each of ``x [N, C, *shape]`` by each model: ``[S, N]``."""
        found = [self.logits(torch.from_numpy(x[i : i + chunk])).argmax(2) for i in range(0, len(x), chunk)]
        return torch.cat(found, 1).numpy()


def _normal(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _fold(x: Tensor, fold: tuple[int, ...]) -> Tensor:
    """Pixel-unshuffle over 1 to 3 axes, zero-padded to a multiple of the factors; groups of channels stay together."""
    if max(fold) == 1:
        return x
    shape = x.shape[2:]
    pad = [v for n, f in zip(reversed(shape), reversed(fold), strict=True) for v in (0, -n % f)]
    x = F.pad(x, pad)
    split = [v for n, f in zip(x.shape[2:], fold, strict=True) for v in (n // f, f)]
    axes = len(fold)
    x = x.reshape(*x.shape[:2], *split)
    order = [0, 1, *(3 + 2 * a for a in range(axes)), *(2 + 2 * a for a in range(axes))]
    return x.permute(order).reshape(x.shape[0], x.shape[1] * math.prod(fold), *split[::2])


def pace(step: int, steps: int) -> float:
    """Part of the learning rate at a step: a linear warm-up over a twentieth of them, and a cosine to zero."""
    return min(1.0, (step + 1) / max(1, steps // 20)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def train(stack: Stack, loss: Callable[[int], Tensor], *, steps: int, lr: float = 3e-3) -> None:
    """Adam with a linear warm-up and a cosine to zero; ``loss(step)`` gives each model's loss ``[S]``."""
    optim = torch.optim.Adam(stack.weights, lr=lr, betas=(0.9, 0.99), fused=True)
    for step in range(steps):
        optim.param_groups[0]["lr"] = lr * pace(step, steps)
        optim.zero_grad(set_to_none=True)
        torch.autograd.backward(loss(step).sum())
        optim.step()


@dataclass(frozen=True)
class Stream:
    """Random numbers of ``num`` models, each a function of (seed, model, step, slot) and a purpose."""

    seed: int
    num: int

    def keys(self, purpose: str, step: int, slots: int) -> U64:
        """64 random bits for each model and slot: ``[S, slots]``."""
        models = np.array([rng.key("probe", purpose, self.seed, s) for s in range(self.num)], dtype=np.uint64)
        return rng.bits(models[:, None], (step << 24) + np.arange(slots))

    def uniform(self, purpose: str, step: int, slots: int) -> NDArray[np.float64]:
        """Uniform numbers in [0, 1): ``[S, slots]``."""
        return rng.uniform(self.keys(purpose, step, slots))

    def places(self, step: int, slots: int, purpose: str = "draw") -> NDArray[np.float64]:
        """Where in [0, 1) each slot falls, ``[S, slots]``: one in each of ``slots`` equal intervals (systematic)."""
        return (np.arange(slots) + self.uniform(purpose, step, slots)) / slots


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread and denormals flushed (they cost 5 times the work): the same bits with any number of workers."""
    threads, flushing = torch.get_num_threads(), bool((torch.full((1,), 1e-38) * 1e-2).item() == 0)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushing)
