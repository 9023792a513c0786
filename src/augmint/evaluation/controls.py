"""Fair competitors of synthetic samples: what the same labels, or the same pool, can do without a generator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augmint.core import rng
from augmint.core.types import F32, I64
from augmint.evaluation.probes import U64, Stack, Stream
from augmint.training.losses import consistency
from augmint.training.spread import neighbours

F64 = NDArray[np.float64]


def sampling_weights(y: I64, sampling: str) -> F64:
    """Weight of each sample when batches are drawn: ``natural`` 1, ``balanced`` 1/n of its class, ``sqrt`` 1/sqrt(n)."""
    power = {"natural": 0.0, "sqrt": 0.5, "balanced": 1.0}[sampling]
    weight: F64 = np.bincount(y)[y].astype(np.float64) ** -power
    return weight


def adjustment(y: I64, num_classes: int, sampling: str) -> F32:
    """What is added to the logits in training, ``[K]``: the log of each class's share of the draws.

    Source: Menon et al. 2021, "Long-tail learning via logit adjustment", equation 10 with tau = 1, where the prior is
    that of the batches. A class without samples gets half a sample.
    """
    counts = np.bincount(y, minlength=num_classes).astype(np.float64).clip(0.5)
    share = counts ** {"natural": 1.0, "sqrt": 0.5, "balanced": 0.0}[sampling]
    out: F32 = np.log(share / share.sum()).astype(np.float32)
    return out


def rare(y: I64, num_classes: int) -> NDArray[np.bool_]:
    """Which classes have less than half as many samples as the largest, ``[K]``."""
    counts = np.bincount(y, minlength=num_classes)
    out: NDArray[np.bool_] = counts < counts.max() / 2
    return out


def duplicates(fit_y: I64, wanted: I64, seed: int) -> I64:
    """Indices of real samples, as many of each class as ``wanted`` has: each in turn, in a random order."""
    out = []
    for c in np.unique(wanted[wanted >= 0]):
        have = np.flatnonzero(fit_y == c)
        if len(have):
            order = have[rng.permutation(rng.key("duplicates", seed, int(c)), len(have))]
            out.append(np.resize(order, (wanted == c).sum()))
    return np.concatenate(out).astype(np.int64) if out else np.zeros(0, np.int64)


def mixed(fit_x: F32, fit_y: I64, which: NDArray[np.bool_], seed: int, *, each: int = 200) -> tuple[F32, I64]:
    """Mixes of two reals of one class, ``each`` of every class in ``which``: the simplest maker of synthetic samples.

    The second real is one of the 5 nearest of the class, the weight uniform. Source: Chawla et al. 2002, "SMOTE".
    """
    xs, ys = [fit_x[:0]], [fit_y[:0]]
    for c in np.flatnonzero(which):
        own = fit_x[fit_y == c]
        if len(own) < 2:
            continue
        flat = torch.from_numpy(own).flatten(1)
        near = neighbours(flat, flat, itself=False)[1]
        u = rng.uniform(rng.key("mixed", seed, int(c)), np.arange(3 * each)).reshape(3, each)
        first = (u[0] * len(own)).astype(np.int64)
        second = near[first, (u[1] * near.shape[1]).astype(np.int64)]
        weight = u[2].reshape(-1, *(1,) * (own.ndim - 1))
        xs.append((own[first] + weight * (own[second] - own[first])).astype(np.float32))
        ys.append(np.full(each, c, np.int64))
    return np.concatenate(xs), np.concatenate(ys)


def with_consistency(
    stack: Stack,
    labelled: Callable[[int], Tensor],
    pool_x: F32,
    augment: Callable[[Tensor, U64], Tensor],
    stream: Stream,
    *,
    batch: int = 64,
    threshold: float = 0.8,
) -> Callable[[int], Tensor]:
    """A loss that adds consistency on the pool: what a model is sure of on a weak view must hold on a strong one.

    Source: Sohn et al. 2020, "FixMatch", equations 3 and 4. Weak is the classic recipe, strong the recipe applied twice.
    """
    pool = torch.from_numpy(pool_x)
    batch = min(batch, len(pool))

    def loss(step: int) -> Tensor:
        pick = (stream.places(step, batch, "pool") * len(pool)).astype(np.int64)
        x = pool[torch.from_numpy(pick.reshape(-1))]
        keys = [stream.keys(f"pool-{view}", step, batch).reshape(-1) for view in ("weak", "strong", "again")]
        size = (stack.num, batch, *x.shape[1:])
        with torch.no_grad():
            weak = stack.logits(augment(x, keys[0]).view(size))
        strong = stack.logits(augment(augment(x, keys[1]), keys[2]).view(size))
        return labelled(step) + consistency(weak, strong, threshold)

    return loss
