"""Drawing one plan at a time, quickly: all numbers of a recipe in one pass over one array.

The numbers are those of `Recipe.draw_batch`, which draws many samples at once, op by op.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from augmint.core import rng
from augmint.core.rng import U64
from augmint.transforms.op import Op
from augmint.transforms.plan import Step


class _Entry(NamedTuple):
    op: Op
    id: str
    gate: int  # the lane that decides whether it happens
    numbers: tuple[tuple[str, int], ...]  # the lanes of numbers that follow a law
    rest: slice | None  # the lanes of uniforms, where the op itself makes numbers of them
    files: Mapping[str, str]


class Drawing:
    """The lanes of a recipe's ops: the place of each of their numbers in one array.

    Args:
        ops, ids, streams: of a recipe, in order.
    """

    def __init__(self, ops: Sequence[Op], ids: Sequence[str], streams: U64) -> None:
        lanes: list[tuple[int, int, float, float]] = []  # op, counter, where it begins, how far it goes
        logs: list[tuple[int, int, float, float]] = []  # those that are exponents, which come last
        found = []
        for number, op in enumerate(ops):
            gate = len(lanes)
            lanes.append((number, 0, 0.0, 1.0))
            by_law = type(op).draw is Op.draw
            for i in range(op.num_uniforms):
                law = op.laws[i] if by_law else None
                low, high = (0.0, 1.0) if law is None else law.limits(op)
                (logs if law is not None and law.log else lanes).append((number, i + 1, low, high - low))
            found.append((op, gate, by_law))
        self._first_log = len(lanes)
        lanes += logs
        at = {(number, counter): lane for lane, (number, counter, _, _) in enumerate(lanes)}
        numbers, counters, self._low, self._span = (np.array(column) for column in zip(*lanes, strict=True))
        self._lanes = rng.Lanes(streams, numbers, counters)
        self._entries = tuple(
            _Entry(
                op,
                ids[i],
                gate,
                tuple((law.name, at[i, k]) for k, law in enumerate(op.laws, 1)) if by_law else (),
                None if by_law else slice(gate + 1, gate + 1 + op.num_uniforms),
                op.files,
            )
            for i, (op, gate, by_law) in enumerate(found)
        )

    def steps(self, key: int, end: int) -> list[Step]:
        """What happens to the sample of this key, of the first ``end`` ops."""
        drawn = self._lanes.uniform(key)
        drawn *= self._span
        drawn += self._low
        logs = drawn[self._first_log :]
        np.exp(logs, out=logs)
        numbers = drawn.tolist()
        steps = []
        for op, own, gate, named, rest, files in self._entries[:end]:
            if numbers[gate] < op.p:
                if rest is None:
                    params = {name: numbers[lane] for name, lane in named}
                else:
                    params = {name: float(v) for name, v in op.draw(drawn[rest]).items()}
                steps.append(Step(type(op).__name__, own, params, files=files))
        return steps
