"""A contact sheet of a recipe: each op from low to high, and the whole on real samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np

from augmint.core.errors import BadSample, UserError
from augmint.core.types import Dataset, Sample
from augmint.transforms.mix import Pool
from augmint.transforms.op import Op
from augmint.transforms.plan import Plan, op_named, sample_key
from augmint.transforms.recipe import Recipe, kind_of

CELL = 160  # pixels
LEVELS = 6  # of an op
VARIANTS = 5
SHOWN = 6  # samples


def contact_sheet(data: Dataset, recipe: Recipe, *, seed: int, every_op: bool) -> tuple[bytes, str]:
    """The bytes of a picture and its suffix.

    Args:
        every_op: show all ops that the data takes, with their default ranges, not only those of the recipe.

    Raises:
        UserError: if this kind of data has no pictures, or none can be read.
    """
    kind = data.modality
    if not all(hasattr(kind, name) for name in ("transform", "marked", "sheet")):
        raise UserError(f"{kind.name} samples cannot be drawn", mend="use augmint augment, and look at its files")
    job = _Sheet(data, seed)
    usable = job.usable()
    if not usable:
        raise UserError("no sample can be read", where=data.root, mend="augmint inspect names what is wrong")
    ops = [op_named(name, kind_of(kind))() for name in kind.ops] if every_op else recipe.flat
    rows = [(job.levels(op, usable[0]), _range(op)) for op in ops]
    rows += [
        (job.variants(recipe, s), f"recipe {recipe.name} on {s.id}: as it is, then {VARIANTS} variants") for s in usable
    ]
    cells: Sequence[Sequence[Sample]] = [[kind.marked(s, CELL) for s in row] for row, _ in rows]  # type: ignore[attr-defined]
    found: tuple[bytes, str] = kind.sheet(cells, [title for _, title in rows])  # type: ignore[attr-defined]
    return found


def _range(op: Op) -> str:
    """An op's name with its ranges, from low to high."""
    ranges = [f"{e.name} {v[0]:g} to {v[1]:g}" for e in fields(op) if isinstance(v := getattr(op, e.name), tuple)]
    return op.name + (": " + ", ".join(ranges) if ranges else "")


class _Sheet:
    """The samples of a data set and what plans make of them."""

    def __init__(self, data: Dataset, seed: int) -> None:
        self.data, self.seed, self.pool = data, seed, Pool(data.ids)
        self.number = {name: i for i, name in enumerate(data.ids)}

    def usable(self) -> list[Sample]:
        """At most six samples that can be read, in turn from the classes."""
        labels, before = self.data.labels.tolist(), Counter[int]()
        turns = []
        for label in labels:
            turns.append(before[label])
            before[label] += 1
        turn = np.lexsort((labels, turns))
        found: list[Sample] = []
        for i in turn:
            if len(found) == SHOWN:
                break
            try:
                found.append(self.data[int(i)])
            except BadSample:
                continue
        return found

    def levels(self, op: Op, sample: Sample) -> list[Sample]:
        """What an op makes of a sample, its ranges and places passed through evenly."""
        (step,) = self._plan(Recipe("one", (replace(op, p=1.0),)), sample, 0).steps[:1] or (None,)
        if step is None:  # a mixing op without other samples
            return []
        levels = [0.5] if op.num_uniforms == 0 else np.linspace(0, 1 - 2**-53, LEVELS)
        numbers = [{k: float(v) for k, v in op.draw(np.full(op.num_uniforms, t)).items()} for t in levels]
        return [self._made(Plan((step._replace(params=n),)), sample) for n in numbers]

    def variants(self, recipe: Recipe, sample: Sample) -> list[Sample]:
        return [sample, *(self._made(self._plan(recipe, sample, v), sample) for v in range(VARIANTS))]

    def _plan(self, recipe: Recipe, sample: Sample, variant: int) -> Plan:
        key = sample_key(self.seed, sample.id, variant)
        return recipe.plan_of(key, own=sample.id, pool=self.pool)

    def _made(self, plan: Plan, sample: Sample) -> Sample:
        def load(name: str) -> Sample:
            return self.data[self.number[name]]

        try:
            out: Sample = self.data.modality.transform(plan, sample, load)  # type: ignore[attr-defined]
        except BadSample:  # a partner cannot be read
            return sample
        return out
