"""Feature extractors: what the metrics look through. Each has a name and a hash, for a number without them means nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import ClassVar, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from augmint.core.errors import UserError
from augmint.core.rng import torch_seed
from augmint.core.types import F32, I64
from augmint.core.wording import number_of

_CONVS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_POOLS: dict[int, Callable[..., Tensor]] = {
    1: F.adaptive_avg_pool1d,
    2: F.adaptive_avg_pool2d,
    3: F.adaptive_avg_pool3d,
}
_LONGEST_SIDE = {1: 256, 2: 32, 3: 16}  # what the small net needs to see, and no more than it can afford
_WIDTH, _DIM = 32, 64
_CHUNK = 512


class FeatureExtractor(Protocol):
    """A fixed function from samples on the grid to rows of features."""

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str:
        """Of the weights (of the name, where there are none): equal means comparable numbers."""
        ...

    def __call__(self, x: F32) -> F32:
        """``[N, C, *shape]`` or ``[N, D]`` to ``[N, D']``."""
        ...


def shrink(x: F32, longest: int) -> F32:
    """``[N, C, *shape]`` averaged down until no axis is longer than ``longest``; flat vectors ``[N, D]`` stay as they are."""
    shape = x.shape[2:]
    small = tuple(min(s, longest) for s in shape)
    if small == shape:
        return x
    out: F32 = _POOLS[len(shape)](torch.from_numpy(np.ascontiguousarray(x)), small).numpy()
    return out


@dataclass(frozen=True)
class Plain:
    """A function without weights as an extractor: ``Plain("pixels", fn)``."""

    name: str
    fn: Callable[[F32], F32]

    @property
    def sha256(self) -> str:
        return sha256(self.name.encode()).hexdigest()

    def __call__(self, x: F32) -> F32:
        return np.asarray(self.fn(x), dtype=np.float32)


def pixel_features(longest: int = 8) -> Plain:
    """The samples themselves, averaged down to at most ``longest`` cells an axis. For want of a net; weak on shifts."""
    return Plain(f"pixels-{longest}", lambda x: shrink(x, longest).reshape(len(x), -1))


@dataclass(frozen=True)
class TrainedCnn:
    """The penultimate layer (64 numbers) of a small classifier that saw nothing but the training reals.

    ``classes`` are the class numbers that it knows; empty when it was trained without labels. What it was trained on lies
    closer together in these features than other reals do, and cannot stand for reals in a comparison (``has_seen``).
    """

    has_seen: ClassVar[bool] = True
    name: str
    sha256: str
    weights: tuple[Tensor, ...]
    classes: I64
    scale: float

    def __call__(self, x: F32) -> F32:
        parts = [self._hidden(x[i : i + _CHUNK]) / self.scale for i in range(0, len(x), _CHUNK)]
        return np.concatenate([p.numpy() for p in parts]) if parts else np.zeros((0, _DIM), np.float32)

    def classify(self, x: F32) -> I64:
        """The class number that the net gives each sample, ``[N]``; -1 everywhere if it was trained without labels."""
        if not len(self.classes):
            return np.full(len(x), -1, dtype=np.int64)
        hidden = torch.from_numpy(self(x)) * self.scale
        best = F.linear(hidden, self.weights[-2], self.weights[-1]).argmax(1)
        found: I64 = self.classes[best.numpy()]
        return found

    def _hidden(self, x: F32) -> Tensor:
        with torch.inference_mode():
            return _hidden(_seen(x), self.weights)


def trained_cnn_features(
    x: F32, y: I64 | None = None, *, seed: int = 0, steps: int = 300, batch: int = 32
) -> TrainedCnn:
    """Train a small net on training reals and keep its penultimate layer as features.

    Convolutions over 1 to 3 axes, or fully connected layers for flat vectors, then 64 features and a class layer.
    Without labels (or with one class) the classes are clusters of the shrunken samples, in the manner of DeepCluster
    (Caron et al. 2018), one round: enough to make the features follow what varies in the data.

    Args:
        x: ``[N, C, *shape]`` or ``[N, D]`` float32 in about [-1, 1]; training reals only.
        y: ``[N]`` class numbers; -1 = no label, such samples are left out as long as two classes remain.
        steps: gradient steps with ``batch`` samples each (Adam, cosine from 2e-3).

    Raises:
        UserError: with fewer than two samples.
    """
    if len(x) < 2:
        raise UserError(
            f"features cannot be learned from {number_of(len(x), 'sample')}", mend="give at least two training samples"
        )
    labelled = np.zeros(len(x), bool) if y is None else y >= 0
    if y is None or len(np.unique(y[labelled])) < 2:
        what, classes, target, seen = "cnn-clusters", np.zeros(0, np.int64), _clusters(x, seed), _seen(x)
    else:
        what = "cnn-classes"
        classes, target = np.unique(y[labelled], return_inverse=True)
        seen = _seen(x[labelled])
    weights = _fit(seen, torch.from_numpy(target), seed=seed, steps=steps, batch=batch)
    with torch.inference_mode():
        spread = torch.cat([_hidden(part, weights) for part in torch.split(seen, _CHUNK)]).var(0).mean().sqrt()
    digest = sha256()
    for w in weights:
        digest.update(w.numpy().tobytes())
    return TrainedCnn(f"{what}-{_DIM}", digest.hexdigest(), weights, classes.astype(np.int64), float(spread) or 1.0)


def _clusters(x: F32, seed: int) -> I64:
    from sklearn.cluster import KMeans

    flat = shrink(x, 8).reshape(len(x), -1)
    k = int(np.clip(len(x) // 20, 2, 10))
    found: I64 = (
        KMeans(k, n_init=1, random_state=torch_seed("clusters", seed) % 2**31).fit_predict(flat).astype(np.int64)
    )
    return found


def _seen(x: F32) -> Tensor:
    axes = x.ndim - 2
    return torch.from_numpy(np.ascontiguousarray(x if axes < 1 else shrink(x, _LONGEST_SIDE[axes]), dtype=np.float32))


def _start(x: Tensor, num_classes: int, gen: torch.Generator) -> tuple[Tensor, ...]:
    """Weights and zero biases, layer by layer; He-initialised from ``gen`` alone."""
    axes = x.dim() - 2
    if axes < 1:
        sizes: list[tuple[int, ...]] = [(2 * _DIM, x.shape[1]), (_DIM, 2 * _DIM)]
    else:
        channels = (x.shape[1], _WIDTH, 2 * _WIDTH, 2 * _WIDTH)
        sizes = [(b, a, *[3] * axes) for a, b in pairwise(channels)]
        sizes.append((_DIM, 2 * _WIDTH * int(np.prod(_cells(_strided(x.shape[2:]))))))
    sizes.append((num_classes, _DIM))
    out: list[Tensor] = []
    for size in sizes:
        fan_in = int(np.prod(size[1:]))
        out += [torch.randn(size, generator=gen) * (2.0 / fan_in) ** 0.5, torch.zeros(size[0])]
    return tuple(out)


def _strides(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """A small grid stays whole in the first stage; a larger one is halved at once, for there the cost is."""
    return (2 if max(shape) > 16 else 1, 2, 2)


def _strided(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The grid after the convolutions."""
    for stride in _strides(shape):
        shape = tuple(-(-s // stride) for s in shape)
    return shape


def _cells(shape: tuple[int, ...]) -> tuple[int, ...]:
    """What is left of the grid before the fully connected layer: position matters (6 and 9), but not to the pixel."""
    return tuple(min(2, s) for s in shape)


def _hidden(x: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
    pairs = [(weights[i], weights[i + 1]) for i in range(0, len(weights) - 2, 2)]
    axes = x.dim() - 2
    if axes >= 1:
        for (w, b), stride in zip(pairs[:-1], _strides(x.shape[2:]), strict=True):
            x = F.leaky_relu(_CONVS[axes](x, w, b, stride=stride, padding=1), 0.1)
        x = _POOLS[axes](x, _cells(x.shape[2:])).flatten(1)
        pairs = pairs[-1:]
    for w, b in pairs:
        x = F.leaky_relu(F.linear(x, w, b), 0.1)
    return x


def _fit(x: Tensor, y: Tensor, *, seed: int, steps: int, batch: int) -> tuple[Tensor, ...]:
    gen = torch.Generator().manual_seed(torch_seed("features", seed))
    weights = tuple(w.requires_grad_() for w in _start(x, int(y.max()) + 1, gen))
    optim = torch.optim.AdamW(weights, lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optim, max(steps, 1))
    # Classes are drawn evenly: the features must not forget a rare class.
    chance = 1.0 / torch.bincount(y)[y].float()
    for _ in range(steps):
        pick = torch.multinomial(chance, min(batch, len(x)), replacement=True, generator=gen)
        real = x[pick]
        real = real + 0.1 * torch.randn(real.shape, generator=gen)
        loss = F.cross_entropy(
            F.linear(_hidden(real, weights), weights[-2], weights[-1]), y[pick], label_smoothing=0.05
        )
        optim.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optim.step()
        schedule.step()
    return tuple(w.detach() for w in weights)
