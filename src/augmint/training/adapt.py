"""What steers itself while training: the augmentation probability and the learning rate."""

from __future__ import annotations

import math

import torch

TARGET_GAP = 0.5
CAP = 0.8


def gap(train: torch.Tensor, held_out: torch.Tensor, fake: torch.Tensor) -> float:
    """How much of the verifier's advantage comes from having seen its reals: 0 = none, 1 = all of it.

    ``(E D(train) - E D(held-out)) / (E D(train) - E D(fake))``, the validation heuristic of ADA (Karras et al. 2020, eq. 1);
    the other one of that paper needs scores with an absolute zero, which relativistic scores do not have.
    """
    advantage = (train.mean() - fake.mean()).item()
    if advantage <= 1e-6:
        return 0.0
    return min(1.0, max(0.0, (train.mean() - held_out.mean()).item() / advantage))


def next_aug_p(aug_p: float, found_gap: float, *, step: float = 0.05) -> float:
    """A step towards more augmentation when the verifier overfits, towards less when it does not; within [0, 0.8]."""
    return min(CAP, max(0.0, aug_p + (step if found_gap > TARGET_GAP else -step)))


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
