"""The running average of the generator, which is what people get."""

from __future__ import annotations

import torch
from torch import nn


def half_life(samples_total: int) -> float:
    """In samples: min(10,000, 5 % of all that will be seen), at most 1,000 in runs below 50,000 (Karras et al. 2020, adapted)."""
    return min(10_000.0, 0.05 * samples_total, 1_000.0 if samples_total < 50_000 else 10_000.0)


@torch.no_grad()
def update(ema: nn.Module, net: nn.Module, batch: int, samples_seen: int, samples_total: int) -> None:
    """Move ``ema`` towards ``net``; early on the average is short, so that the random start is forgotten."""
    life = min(half_life(samples_total), max(1.0, 0.05 * samples_seen))
    decay = 0.5 ** (batch / life)
    torch._foreach_lerp_(list(ema.parameters()), [p.detach() for p in net.parameters()], 1 - decay)
