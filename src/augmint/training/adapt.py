"""What steers itself while training: the augmentation probability and the learning rate."""

from __future__ import annotations

import math

import torch

TARGET_GAP = 0.5
FULL_GAP = 0.4
"""So far from the target `next_aug_p` takes a whole step."""
CAP = 0.8


def gap(train: torch.Tensor, held_out: torch.Tensor) -> float:
    """How sure a verifier tells the reals that it learned from and reals that it never saw apart: 0 = not at all, 1 = always.

    ``2 P(D(train) > D(held-out)) - 1`` over pairs of a class, at least 0. ADA's validation heuristic (Karras et al. 2020, eq. 1) sets
    the difference of the two against that to fakes, which on small sets is near nothing itself: it jumps from 0 to 1 from one
    time to the next (decision 021). Their other one needs scores with an absolute zero, which relativistic scores do not have.

    Args:
        train: ``[N, M]``: scores of M training samples of the class of each held-out real.
        held_out: ``[N]``.
    """
    over = train - held_out[:, None]
    return max(0.0, ((over > 0).double().mean() - (over < 0).double().mean()).item())


def next_aug_p(aug_p: float, found_gap: float, *, step: float = 0.1) -> float:
    """Towards more augmentation when the verifier overfits, towards less when it does not, the further off the faster; within [0, 0.8]."""
    move = min(1.0, max(-1.0, (found_gap - TARGET_GAP) / FULL_GAP))
    return min(CAP, max(0.0, aug_p + step * move))


def learning_rate(lr: float, progress: float) -> float:
    """Cosine from ``lr`` to a third of it; ``progress`` in [0, 1]."""
    return lr * (1 / 3 + (2 / 3) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def warmed(step: int, steps: int) -> float:
    """Share of the learning rate: up within 50 steps, or the first fifth of a short run, then a cosine down to a twentieth."""
    warm = max(1, min(50, steps // 5))
    return min(1.0, (step + 1) / warm) * (0.05 + 0.475 * (1 + math.cos(math.pi * step / steps)))


def beta2(progress: float) -> float:
    """Adam's second beta, 0.9 -> 0.99 over the first half of the run (R3GAN)."""
    return 0.9 + 0.09 * min(1.0, 2 * progress)
