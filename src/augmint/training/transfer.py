"""Fine-tuning: networks that start from the weights of another GAN instead of chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from augmint.core.errors import UserError

PER_CLASS = ("mapping.embed.weight", "heads.project.weight", "heads.classes.weight", "heads.classes.bias")
"""What has one row a class, in the generator and in the verifier."""
SET = ("mapping.middle", "mapping.spread")
"""What is set once training is over, and so not taken over by one that begins."""


@dataclass(frozen=True, slots=True)
class Start:
    """Weights to start from.

    Attributes:
        name: of the run that they are from.
        classes: that they know, in the order of the rows; none for a GAN without labels.
    """

    name: str
    classes: tuple[str, ...]
    generator: Mapping[str, Tensor]
    verifier: Mapping[str, Tensor]

    def told(self, classes: Sequence[str]) -> str:
        """A sentence on what is taken over for a GAN of these classes."""
        same = [c for c in classes if c in self.classes]
        new = [c for c in classes if c not in self.classes]
        left = [c for c in self.classes if c not in classes]
        parts = (("classes taken over", same), ("new", new), ("left behind", left))
        return "; ".join([f"weights of {self.name}", *(f"{what}: {', '.join(c)}" for what, c in parts if c)])


@torch.no_grad()
def adopt(module: nn.Module, weights: Mapping[str, Tensor], known: Sequence[str], classes: Sequence[str]) -> None:
    """Copy weights into a network of the same build. Rows of a class are matched by its name; those of a new class stay as they are.

    Args:
        known: classes of the weights; classes: those of the network; both in the order of the rows, empty without labels.

    Raises:
        UserError: if the weights are of another network.
    """
    own = {k: v for k, v in module.state_dict().items() if k not in SET}
    weights = {k: v for k, v in weights.items() if k not in SET}
    odd = [k for k in {*own, *weights} if k not in own or k not in weights or _differ(k, own[k], weights[k])]
    if odd:
        raise UserError(
            f"these weights are of another network: {min(odd)} does not fit",
            mend="start from a run with the same --size and --grid",
        )
    rows = [(list(known).index(c), i) for i, c in enumerate(classes) if c in known]
    if not known and not classes:
        rows = [(0, 0)]
    for name, value in own.items():
        if name not in PER_CLASS:
            value.copy_(weights[name])
            continue
        for theirs, mine in rows:
            value[mine] = weights[name][theirs]


def _differ(name: str, own: Tensor, other: Tensor) -> bool:
    return own.shape[1:] != other.shape[1:] or (name not in PER_CLASS and own.shape != other.shape)
