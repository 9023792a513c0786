"""Choosing among ops: some of a list happen to a sample, which ones is drawn as everything else is."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np

from augmint.core.errors import UserError
from augmint.core.rng import F64
from augmint.transforms.op import Bool, Op


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Some of ``ops``, in the order of the list; each chosen op's own ``p`` still decides whether it happens.

    Args:
        p: probability in [0, 1] that anything of it happens.
        id: name of its random stream, as of an op's.
    """

    ops: tuple[Op, ...]
    p: float = 1.0
    id: str | None = None

    def __post_init__(self) -> None:
        if not self.ops:
            raise UserError(f"{self.name} has no ops", mend="list at least one below `ops:`")
        if isinstance(self.p, bool) or not isinstance(self.p, int | float) or not 0 <= self.p <= 1:
            raise UserError(f"{self.name}: p is {self.p!r}", mend="p is a probability between 0 and 1")

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def num_chosen(self) -> int:
        """How many of the ops are chosen: all."""
        return len(self.ops)

    def chosen(self, u: F64) -> Bool:
        """``[N, ops]``: which ones, from independent uniforms ``[N, 1 + ops]``. Every set of the size is equally likely."""
        rank = np.argsort(np.argsort(u[:, 1:], axis=1), axis=1)
        return np.asarray((u[:, :1] < self.p) & (rank < self.num_chosen))

    def only(self, allowed: tuple[str, ...]) -> Self | None:
        """Without the ops that are not allowed; ``None`` where none is left."""
        ops = tuple(op for op in self.ops if op.name in allowed)
        return replace(self, ops=ops) if ops else None

    def to_dict(self) -> dict[str, Any]:
        plain = {e.name: getattr(self, e.name) for e in fields(self) if e.name != "ops"}
        return {
            self.name: {**{k: v for k, v in plain.items() if v is not None}, "ops": [op.to_dict() for op in self.ops]}
        }


@dataclass(frozen=True, kw_only=True)
class OneOf(Choice):
    """One of the ops."""

    @property
    def num_chosen(self) -> int:
        return 1


@dataclass(frozen=True, kw_only=True)
class SomeOf(Choice):
    """``num`` of the ops (all, where there are fewer)."""

    num: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.num, bool) or not isinstance(self.num, int) or self.num < 1:
            raise UserError(f"SomeOf: num is {self.num!r}", mend="num is a whole number from 1 on")

    @property
    def num_chosen(self) -> int:
        return self.num


@dataclass(frozen=True, kw_only=True)
class Sometimes(Choice):
    """All of the ops or none."""

    p: float = 0.5


CHOICES: dict[str, type[Choice]] = {kind.__name__: kind for kind in (OneOf, SomeOf, Sometimes)}
