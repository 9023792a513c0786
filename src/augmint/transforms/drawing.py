"""Drawing one plan at a time, quickly: all random numbers of a recipe in one pass, and only those that count.

The numbers are those of `Recipe.draw_batch`, which draws many samples at once, op by op.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from augmint.core import rng
from augmint.core.rng import U64
from augmint.transforms.op import Law, Op
from augmint.transforms.plan import Step


class _Number(NamedTuple):
    """A number that follows a law: where its uniform one is, and what that is stretched over."""

    name: str
    lane: int
    low: float
    span: float
    log: bool


class _Entry(NamedTuple):
    op: Op
    name: str
    id: str
    gate: int | None  # the lane that decides whether it happens, where chance does
    numbers: tuple[_Number, ...]
    constants: Mapping[str, float]
    rest: slice | None  # the lanes of uniforms, where the op itself makes numbers of them
    files: Mapping[str, str]


class Drawing:
    """The lanes of a recipe's ops: the place of each of their random numbers among all.

    Args:
        ops, ids, streams: of a recipe, in order.
    """

    def __init__(self, ops: Sequence[Op], ids: Sequence[str], streams: U64) -> None:
        lanes: list[tuple[int, int]] = []  # number of the op, counter
        entries = []
        for number, (op, own) in enumerate(zip(ops, ids, strict=True)):
            gate = len(lanes) if op.p < 1 else None
            first = len(lanes) + (op.p < 1)
            by_law = type(op).draw is Op.draw
            count = len(op.laws) if by_law else op.num_uniforms
            lanes += [(number, counter) for counter in range(op.p >= 1, 1 + count)]
            numbers = tuple(_number(op, law, first + i) for i, law in enumerate(op.laws)) if by_law else ()
            constants = {name: float(getattr(op, name)) for name in op.constants} if by_law else {}
            rest = None if by_law else slice(first, first + count)
            entries.append(_Entry(op, op.name, own, gate, numbers, constants, rest, op.files))
        self._entries = tuple(entries)
        self._lanes = rng.Lanes(streams, [number for number, _ in lanes], [counter for _, counter in lanes])

    def steps(self, key: int, end: int) -> list[Step]:
        """What happens to the sample of this key, of the first ``end`` ops."""
        u = self._lanes.uniform(key)
        steps = []
        for op, kind, own, gate, numbers, constants, rest, files in self._entries[:end]:
            if gate is not None and u[gate] >= op.p:
                continue
            params = {}
            for name, lane, low, span, log in numbers:
                number = low + span * u[lane]
                params[name] = float(np.exp(number)) if log else number  # `math.exp` may differ in the last bit
            if constants:
                params |= constants
            if rest is not None:
                params = {name: float(v) for name, v in op.draw(np.array(u[rest])).items()}
            steps.append(Step(kind, own, params, (), files))
        return steps


def _number(op: Op, law: Law, lane: int) -> _Number:
    low, high = law.limits(op)
    return _Number(law.name, lane, low, high - low, law.log)
