"""Stage 1 of learning from few labels and a pool: the verifier's class head, taught by labels and by consistency.

No generator takes part: adding one to consistency training made no difference where it was measured (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from augmint.core import rng
from augmint.core.types import F32, I64
from augmint.models.verifier import Judge
from augmint.training import adapt, losses
from augmint.training.loop import Data
from augmint.training.spread import spread
from augmint.transforms.recipe import Recipe
from augmint.transforms.run_torch import augment


@dataclass(frozen=True, slots=True)
class Lessons:
    """What stage 1 is going to do."""

    steps: int
    batch: int = 32
    pool_ratio: int = 2
    lr: float = 2e-3
    threshold: float = 0.9
    seed: int = 0


def teach(
    verifier: Judge,
    labelled: Data,
    pool: F32,
    weak: Recipe,
    strong: Recipe,
    lessons: Lessons,
    *,
    on_step: Callable[[int], None] = lambda step: None,
) -> dict[str, Tensor]:
    """Train the class head (and the trunk under it) on labels and pool; returns the averaged weights.

    Args:
        pool: ``[M, C, *shape]`` without labels.
        weak, strong: the two views; the weak one gives the label that the strong one must keep (FixMatch, Sohn et al. 2020).
    """
    optimiser = torch.optim.Adam(verifier.parameters(), lr=lessons.lr, betas=(0.9, 0.99), weight_decay=0.0)
    average = {k: v.detach().clone() for k, v in verifier.state_dict().items()}
    unlabelled = torch.from_numpy(pool).to(labelled.device)
    num_pool = lessons.batch * lessons.pool_ratio
    for step in range(lessons.steps):
        optimiser.param_groups[0]["lr"] = adapt.learning_rate(lessons.lr, step / lessons.steps)
        x, y = labelled.draw(rng.key(lessons.seed, "teach", step), lessons.batch)
        pick = (rng.uniform(rng.key(lessons.seed, "pool", step), np.arange(num_pool)) * len(pool)).astype(int)
        u = unlabelled[torch.from_numpy(pick).to(labelled.device)]
        keys = rng.bits(rng.key(lessons.seed, "views", step), np.arange(lessons.batch + 2 * num_pool))
        views = torch.cat(
            [augment(torch.cat([x, u]), weak, keys[: lessons.batch + num_pool]), augment(u, strong, keys[-num_pool:])]
        )
        on_label, on_weak, on_strong = torch.split(verifier.classify(views), [lessons.batch, num_pool, num_pool])
        loss = F.cross_entropy(on_label, y) + losses.consistency(on_weak, on_strong, lessons.threshold)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        decay = min(0.99, (step + 1) / (step + 10))
        for name, value in verifier.state_dict().items():
            average[name].lerp_(value, 1 - decay)
        on_step(step + 1)
    return average


@torch.no_grad()
def label(verifier: Judge, x: F32, *, chunk: int = 256) -> tuple[I64, F32]:
    """The class head's labels ``[N]`` and how sure it is of each, in [0, 1]."""
    at = next(verifier.parameters()).device
    parts = [
        verifier.classify(torch.from_numpy(x[i : i + chunk]).to(at)).softmax(1).cpu() for i in range(0, len(x), chunk)
    ]
    p = torch.cat(parts) if parts else torch.zeros(0, 1)
    sure, best = p.max(1) if len(p) else (torch.zeros(0), torch.zeros(0, dtype=torch.long))
    return best.numpy().astype(np.int64), sure.numpy().astype(np.float32)


@torch.no_grad()
def label_pool(verifier: Judge, labelled: Data, pool: F32) -> tuple[I64, F32]:
    """Labels of the pool, spread from the labelled samples over the verifier's features, and how sure its class head is.

    The class head errs by whole clusters, which the graph joins to their right neighbours: on digits (4 draws of 5 labels a
    class, 2 initial weights each) 94.5 % are right instead of 93.1 % (docs/log.md).
    """
    known = labelled.x
    features = [
        torch.cat([verifier.features(part.to(known.device)).cpu() for part in torch.split(x, 256)])
        for x in (known, torch.from_numpy(pool))
    ]
    found, _ = spread(features[0].numpy(), labelled.y, features[1].numpy(), features[1].numpy()[:0])
    return found, label(verifier, pool)[1]
