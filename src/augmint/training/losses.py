"""The objective, as pure functions of scores, logits and samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from augmint.models.verifier import Verdict
from augmint.training.slopes import PiecewiseLinear

Found = TypeVar("Found")


def relativistic(winner: Tensor, loser: Tensor) -> Tensor:
    """``mean softplus(-(winner - loser))``: each score is compared with its partner's, never with zero.

    Jolicoeur-Martineau 2018, and eq. 2 of R3GAN (Huang et al. 2024). The verifier plays (real, fake), the generator (fake, real).
    """
    return F.softplus(loser - winner).mean()


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """``mean max(0, 1 - real) + mean max(0, 1 + fake)``, what a verifier of patches plays (Lim and Ye 2017)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def verifier_loss(real: Verdict, fake: Verdict) -> Tensor:
    """Real above fake: relativistic, or the hinge of every patch where there are patches."""
    if real.patches is not None and fake.patches is not None:
        return hinge(real.patches, fake.patches)
    return relativistic(real.score, fake.score)


def generator_loss(fake: Verdict, real_score: Tensor) -> Tensor:
    """Fake above real: relativistic, or every patch as high as can be where there are patches."""
    return relativistic(fake.score, real_score) if fake.patches is None else -fake.patches.mean()


def gradient_penalty(score: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``E |d score / d x|^2`` at ``x [N, ...]``: R1 on reals (Mescheder et al. 2018), R2 on fakes. Differentiable in the weights."""
    return penalised(score, x, lambda found: found)[1]


def penalised(judge: Callable[[Tensor], Found], x: Tensor, score: Callable[[Found], Tensor]) -> tuple[Found, Tensor]:
    """What is found at ``x [N, ...]``, and the `gradient_penalty` of its score, from one pass; both go back through it once."""
    x = x.detach().requires_grad_(True)
    with PiecewiseLinear():
        found = judge(x)
    (grad,) = torch.autograd.grad(score(found).sum(), x, create_graph=True)
    return found, grad.square().flatten(1).sum(1).mean()


def rebuild_error(x: Tensor, rebuilt: Tensor) -> Tensor:
    """Mean squared error a sample, ``[N]``."""
    return (x - rebuilt).square().flatten(1).mean(1)


def consistency(logits_weak: Tensor, logits_strong: Tensor, threshold: float) -> Tensor:
    """Cross-entropy of the strong view against the weak view's label, where that label is surer than ``threshold``.

    ``[..., N, K]`` logits -> ``[...]``: the mean over N, to which unsure samples add nothing. FixMatch, Sohn et al. 2020, eq. 4.
    """
    sure, label = logits_weak.detach().softmax(-1).max(-1)
    loss = F.cross_entropy(logits_strong.flatten(0, -2), label.flatten(), reduction="none").view(sure.shape)
    return (loss * (sure >= threshold)).mean(-1)


LR, FAST_LR = 6e-4, 1e-3
_MIDDLING, _LARGE, _FEW_STEPS = 32 * 32, 64 * 64, 8000


def lr_for(shape: tuple[int, ...], steps: int) -> float:
    """Adam's learning rate at the start: the higher one for large grids in few steps.

    Measured, not derived: on letters of 64 x 64 cells in 3,200 steps recall and CAS are higher with it for each of three seeds, on digits
    of 16 x 16 they are not; 12,000 steps on spoken digits (80 x 64) were good with the lower one (docs/log.md).
    """
    return FAST_LR if _cells(shape) >= _LARGE and steps <= _FEW_STEPS else LR


def gamma_for(shape: tuple[int, ...], batch: int, steps: int) -> float:
    """Where the penalties' weight starts: ``0.375 * cells / batch`` (3 at 16 x 16 and a batch of 32); in few steps the same from 32 x 32 to
    64 x 64 cells, and a quarter of it from there on.

    Measured, not derived: 1 to 10 was best at 16 x 16, 100 times too low collapses to one picture a class, ten times too
    high is only slower; and slower is what few steps of a large grid cannot afford: at 64 pixels a quarter covers more of the reals for
    each of three seeds; at 128, in 600 steps, the two are alike (docs/log.md).
    """
    full = 0.375 * _cells(shape) / batch
    return full if steps > _FEW_STEPS else full * min(1.0, max(_MIDDLING / _cells(shape), _MIDDLING / _LARGE))


def _cells(shape: tuple[int, ...]) -> int:
    cells = 1
    for s in shape:
        cells *= s
    return cells
