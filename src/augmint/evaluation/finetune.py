"""Fine-tuning a pre-trained trunk: one copy a probe seed. A trunk is too large to be stacked like the small probes."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from augmint.core.rng import torch_seed
from augmint.core.types import F32, I64
from augmint.evaluation.probes import pace

TRUNK_LR, HEAD_LR = 1e-4, 1e-2
CALMED = 0.3
"""Of its learning rate the new layer keeps, once the trunk learns with it."""


def finetuned(
    backbone: nn.Module,
    num_classes: int,
    batches: Callable[[int], tuple[Tensor, Tensor]],
    test_x: F32,
    *,
    num: int,
    seed: int,
    steps: int,
) -> I64:
    """Classes ``[S, N]`` of ``test_x`` by ``num`` copies of ``backbone``, each under a new linear layer of its own.

    The new layer learns alone for half of the steps: what comes back through one that knows nothing yet would spoil the features that
    were there (Kumar et al. 2022, arXiv 2202.10054). Then the trunk learns with it, and more slowly.

    Args:
        backbone: from ``[B, C, *shape]`` to features ``[B, D]``; it is not changed.
        batches: step to samples ``[S, B, C, *shape]`` and classes ``[S, B]``: the batches of the stacked probes.
        steps: gradient steps of Adam, each half at the `pace` of the probes.
    """
    nets = [_with_head(backbone, num_classes, torch_seed("backbone-head", seed, s), test_x) for s in range(num)]
    optims = [_optimiser(net) for net in nets]
    alone = steps // 2
    for step in range(steps):
        is_alone = step < alone
        part = pace(step, alone) if is_alone else pace(step - alone, steps - alone)
        rates = (0.0, HEAD_LR * part) if is_alone else (TRUNK_LR * part, CALMED * HEAD_LR * part)
        x, y = batches(step)
        for s, (net, optim) in enumerate(zip(nets, optims, strict=True)):
            for group, lr in zip(optim.param_groups, rates, strict=True):
                group["lr"] = lr
            with torch.set_grad_enabled(not is_alone):
                features = net[0](x[s])
            optim.zero_grad(set_to_none=True)
            torch.autograd.backward(F.cross_entropy(net[1](features), y[s]))
            optim.step()
    with torch.no_grad():
        parts = torch.split(torch.from_numpy(test_x), 256)
        return torch.stack([torch.cat([net(part).argmax(1) for part in parts]) for net in nets]).numpy()


def _with_head(backbone: nn.Module, num_classes: int, seed: int, x: F32) -> nn.Sequential:
    trunk = copy.deepcopy(backbone)
    with torch.no_grad():
        width = trunk(torch.from_numpy(x[:1])).shape[1]
    head = nn.Linear(width, num_classes)
    with torch.no_grad():
        head.weight.copy_(torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(seed)) / width**0.5)
        head.bias.zero_()
    return nn.Sequential(trunk, head)


def _optimiser(net: nn.Sequential) -> torch.optim.Adam:
    groups = [{"params": list(net[0].parameters())}, {"params": list(net[1].parameters())}]
    return torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)
