"""Fair competitors of synthetic samples: what the same labels, or the same pool, can do without a generator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from augmint.core import rng
from augmint.core.types import F32, I64
from augmint.evaluation.probes import U64, Stack, Stream

F64 = NDArray[np.float64]

_MOST_SPREAD = 6000  # labelled and pool samples in one neighbour graph; beyond, the pool is thinned


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


def spread(fit_x: F32, fit_y: I64, pool_x: F32, test_x: F32) -> tuple[I64, I64]:
    """Label spreading on raw values: labels of the pool ``[M]`` and, by the same graph, of the test part ``[N]``.

    The test part takes no part in the graph. A pool larger than 6,000 samples is thinned to them, and the rest labelled
    like the test part. Source: Zhou et al. 2004, "Learning with local and global consistency".
    """
    from sklearn.semi_supervised import LabelSpreading

    some = np.arange(len(pool_x))[:: max(1, -(-len(pool_x) // _MOST_SPREAD))]
    x = np.concatenate([fit_x, pool_x[some]]).reshape(len(fit_x) + len(some), -1)
    y = np.concatenate([fit_y, np.full(len(some), -1)])
    model = LabelSpreading(kernel="knn", n_neighbors=min(7, len(x) - 1), alpha=0.5, max_iter=60, tol=1e-4)
    with np.errstate(invalid="ignore", divide="ignore"):
        model.fit(x, y)
    rest = [model.predict(v.reshape(len(v), -1)) if len(v) else np.zeros(0) for v in (pool_x, test_x)]
    rest[0][some] = model.transduction_[len(fit_x) :]
    return rest[0].astype(np.int64), rest[1].astype(np.int64)


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
            sure, guess = stack.logits(augment(x, keys[0]).view(size)).softmax(2).max(2)
        strong = stack.logits(augment(augment(x, keys[1]), keys[2]).view(size))
        each = F.cross_entropy(strong.flatten(0, 1), guess.flatten(), reduction="none").view(stack.num, batch)
        return labelled(step) + ((sure > threshold) * each).mean(1)

    return loss
