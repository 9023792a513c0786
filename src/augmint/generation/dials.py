"""The two dials of a generator, quality and style, and samples near a given one: all of them are arithmetic on ``w``.

``w`` is what the generator's fully connected layers make of a latent vector and a class; every stage can take its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from augmint.core import rng
from augmint.core.errors import UserError
from augmint.models.generator import Z_DIM, Maker
from augmint.models.verifier import Judge

PULL = 0.75
"""Full quality goes this far towards the class's mean; at the mean itself every sample would be the same."""
STARTS, STEPS, LR = 64, 200, 0.05
STAY = 0.02
"""Weight of staying where the generator's own ``w`` lie: farther out a sample is met more exactly, and its neighbours are not samples."""


@dataclass(frozen=True, slots=True)
class Dials:
    """How drawn samples are steered.

    Attributes:
        quality: 0 = full variety, 1 = close to each class's mean (truncation, Karras et al. 2019).
        like: ``w [stages, D]`` of one real sample, around which samples are drawn.
        strength: how far from ``like``, 0 = as near as the generator comes, 1 = anything of the class.
        style: ``w [stages, D]`` of one real sample, or a class index: where the finer half of the stages takes its ``w`` from
            (style mixing, Karras et al. 2019).
    """

    quality: float = 0.0
    like: Tensor | None = None
    strength: float = 0.5
    style: Tensor | int | None = None

    def __post_init__(self) -> None:
        for name in ("quality", "strength"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UserError(f"{name} {value} is outside 0..1", mend="give a number from 0 to 1")

    @property
    def is_neutral(self) -> bool:
        """Whether nothing is steered."""
        return self.quality == 0 and self.like is None and self.style is None

    def steer(self, generator: Maker, z: Tensor, y: Tensor, means: Tensor) -> Tensor:
        """``w [N, stages, D]`` of latents ``[N, 64]`` and classes ``[N]``; ``means [K, D]`` is each class's mean ``w``."""
        pull, num = 1.0 - PULL * self.quality, generator.num_stages

        def mapped(label: Tensor) -> Tensor:
            w = generator.to_w(z, label)
            return (means[label] + pull * (w - means[label]))[:, None].expand(-1, num, -1)

        w = mapped(y)
        if self.like is not None:
            w = self.like + self.strength * (w - self.like)
        if self.style is not None:
            other = mapped(torch.full_like(y, self.style)) if isinstance(self.style, int) else self.style.expand_as(w)
            fine = torch.arange(num) >= max(1, num // 2)
            w = torch.where(fine[:, None], other, w)
        return w


def invert(generator: Maker, verifier: Judge, x: Tensor, label: int) -> Tensor:
    """The ``w [stages, D]`` whose sample comes nearest to ``x [C, *shape]``: found by gradient descent, not by an encoder.

    Starts from the nearest of 64 of the class's own ``w`` and moves each stage's by Adam, so that both the values and the
    verifier's features agree, each in units of their spread over those 64 (Abdal et al. 2019, "Image2StyleGAN", in ``w+``).
    The same sample gives the same ``w``.
    """
    y = torch.full((STARTS,), label)
    z = torch.from_numpy(rng.normal(rng.key("inversion", label), np.arange(STARTS * Z_DIM)).astype(np.float32))
    with torch.no_grad():
        own = generator.to_w(z.reshape(STARTS, Z_DIM), y)
        made = generator.synthesise(own)
        wanted, found = verifier.features(x[None]), verifier.features(made)
        scale = made.var(0).mean().clamp(min=1e-4), found.var(0).mean().clamp(min=1e-4)

    def distance(sample: Tensor, features: Tensor) -> Tensor:
        cells = (sample - x).square().flatten(1).mean(1) / scale[0]
        out: Tensor = cells + 0.3 * (features - wanted).square().mean(1) / scale[1]
        return out

    mean, spread = own.mean(0), own.std(0).clamp(min=1e-3)
    best = own[distance(made, found).argmin()]
    w = best.expand(1, generator.num_stages, -1).clone().requires_grad_(True)
    optimiser = torch.optim.Adam([w], lr=LR)
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = LR * (1 - step / STEPS)
        sample = generator.synthesise(w)
        far = F.mse_loss((w - mean) / spread, torch.zeros_like(w))
        loss = distance(sample, verifier.features(sample)).sum() + STAY * far
        (w.grad,) = torch.autograd.grad(loss, w)
        optimiser.step()
    return w.detach()[0]


def walk(keys: Tensor, num: int) -> Tensor:
    """``num`` points ``[num, stages, D]`` at even steps on the closed line through ``keys [M, stages, D]``."""
    at = torch.arange(num) * len(keys) / num
    first = at.long()
    part = (at - first)[:, None, None]
    return torch.lerp(keys[first], keys[(first + 1) % len(keys)], part)
