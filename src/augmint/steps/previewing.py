"""A contact sheet of a recipe: each op from low to high, and the whole on real samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from augmint.core.errors import BadSample, UserError
from augmint.core.types import Dataset, Sample
from augmint.report.page import rendered
from augmint.steps.augmenting import span_of
from augmint.transforms.mix import Pool
from augmint.transforms.op import Op
from augmint.transforms.pixels import PixelOp
from augmint.transforms.plan import Plan, op_named, sample_key
from augmint.transforms.recipe import Recipe, kind_of

PAGE = ".html"
CELL, LEAST_CELL, MOST_CELL = 160, 64, 1024  # pixels
LEVELS = 6  # of an op
VARIANTS = 5
SHOWN = 6  # samples


@dataclass(frozen=True, slots=True)
class Row:
    """One line: a sample as it is, and what was made of it, each under a few words. ``is_recipe``: not of one op alone."""

    title: str
    before: Sample
    after: tuple[tuple[Sample, str], ...]
    is_recipe: bool


def contact_sheet(data: Dataset, recipe: Recipe, suffix: str, *, seed: int, every_op: bool, cell: int) -> bytes:
    """The bytes of a sheet of this ending: a page that shows each sample as reports do, with players where it is heard, or one picture.

    Args:
        every_op: show all ops that the data takes, with their default ranges, not only those of the recipe.
        cell: pixels of each picture's longer side, on a page its width, from 64 to 1024; spectrograms of one picture keep their size.

    Raises:
        UserError: if there is no such sheet of this kind of data, no sample can be read, or cells would be too small or too large.
    """
    if not LEAST_CELL <= cell <= MOST_CELL:
        raise UserError(f"cell is {cell}", mend=f"give pixels from {LEAST_CELL} to {MOST_CELL}")
    kind = data.modality
    if not hasattr(kind, "transform") or not hasattr(kind, "sheet"):
        raise UserError(f"{kind.name} samples cannot be drawn", mend="use augmint augment, and look at its files")
    rows = _rows(data, recipe, seed=seed, every_op=every_op)
    if suffix.lower() == PAGE:
        return _page(data, recipe, rows, cell).encode()
    draw = getattr(kind, "marked", lambda sample, side: sample)
    cells = [
        [draw(s, cell) for s in (*([row.before] if row.is_recipe else []), *(s for s, _ in row.after))] for row in rows
    ]
    coded, own = kind.sheet(cells, [row.title for row in rows])
    if suffix.lower() != own:
        raise UserError(f"there is no sheet that ends in '{suffix}'", mend=f"give --out NAME{own} or --out NAME{PAGE}")
    found: bytes = coded
    return found


def _rows(data: Dataset, recipe: Recipe, *, seed: int, every_op: bool) -> list[Row]:
    kind, job = data.modality, _Sheet(data, seed)
    usable = job.usable()
    if not usable:
        raise UserError("no sample can be read", where=data.root, mend="augmint inspect names what is wrong")
    ops = [op_named(name, kind_of(kind))() for name in kind.ops] if every_op else recipe.flat
    alone = [job.alone(op, usable[0]) for op in ops]
    made = [(s, tuple(job.variants(recipe, s))) for s in usable]
    return [*alone, *(Row(_title(recipe, s, len(after)), s, after, True) for s, after in made)]


def _title(recipe: Recipe, sample: Sample, num: int) -> str:
    then = "what it becomes" if num == 1 else f"{num} variants"
    return f"recipe {recipe.name} on {sample.id}: as it is, then {then}"


def _page(data: Dataset, recipe: Recipe, rows: Sequence[Row], cell: int) -> str:
    def cells(row: Row) -> list[tuple[str, str]]:
        samples, words = zip((row.before, "as it is"), *row.after, strict=True)
        line = getattr(data.modality, "previews", None)
        drawn = line(samples, width=cell) if line else [data.modality.preview(s, width=cell) for s in samples]
        return list(zip(drawn, words, strict=True))

    parts = (("Each op", False), (f"The recipe {recipe.name}", True))
    lines = [(title, [(r.title, cells(r)) for r in rows if r.is_recipe == of_recipe]) for title, of_recipe in parts]
    return rendered("preview.html.j2", name=data.root.name, recipe=recipe.name, parts=lines, cell=cell)


def _ranges(op: Op) -> dict[str, tuple[float, float]]:
    return {e.name: v for e in fields(op) if isinstance(v := getattr(op, e.name), tuple)}


def _range(op: Op) -> str:
    """An op's name with its ranges, from low to high."""
    ranges = [f"{name} {v[0]:g} to {v[1]:g}" for name, v in _ranges(op).items()]
    return op.name + (": " + ", ".join(ranges) if ranges else "")


def _partners(plan: Plan, own: str = "") -> str:
    """Which samples are mixed in, behind ``own`` words; nothing where none is."""
    return f"{own}, with {', '.join(plan.others)}" if plan.others else ""


class _Sheet:
    """The samples of a data set and what plans make of them."""

    def __init__(self, data: Dataset, seed: int) -> None:
        self.data, self.seed, self.pool, self.span = data, seed, Pool(data.ids), span_of(data)
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

    def alone(self, op: Op, sample: Sample) -> Row:
        """What an op makes of a sample, its ranges and places passed through evenly, each with its numbers."""
        if isinstance(op, PixelOp) and op.moves:  # targets cannot follow it, the picture can be shown
            sample = replace(sample, targets={})
        plan = self._plan(Recipe("one", (replace(op, p=1.0),)), sample, 0)
        if not plan.steps:  # a mixing op without other samples
            return Row(_range(op), sample, (), False)
        levels = [0.5] if op.num_uniforms == 0 else np.linspace(0, 1 - 2**-53, LEVELS)
        numbers = [{k: float(v) for k, v in op.draw(np.full(op.num_uniforms, t)).items()} for t in levels]
        numbers = [n for i, n in enumerate(numbers) if n not in numbers[:i]]  # one, where a range has no width
        told = [", ".join(f"{k} {n[k]:.3g}" for k in _ranges(op) if k in n) for n in numbers]
        made = (self._made(replace(plan, steps=(plan.steps[0]._replace(params=n),)), sample) for n in numbers)
        title = _range(op) + _partners(plan, f", on {sample.id}")
        return Row(title, sample, tuple(zip(made, told, strict=True)), False)

    def variants(self, recipe: Recipe, sample: Sample) -> list[tuple[Sample, str]]:
        """Five of them, or as many different ones as there are: what cleans has nothing to draw."""
        plans = [self._plan(recipe, sample, v) for v in range(VARIANTS)]
        return [
            (self._made(p, sample), f"variant {v}" + _partners(p)) for v, p in enumerate(plans) if p not in plans[:v]
        ]

    def _plan(self, recipe: Recipe, sample: Sample, variant: int) -> Plan:
        key = sample_key(self.seed, sample.id, variant)
        return replace(recipe.plan_of(key, own=sample.id, pool=self.pool), span=self.span)

    def _made(self, plan: Plan, sample: Sample) -> Sample:
        def load(name: str) -> Sample:
            return self.data[self.number[name]]

        try:
            out: Sample = self.data.modality.transform(plan, sample, load)  # type: ignore[attr-defined]
        except BadSample:  # a partner cannot be read
            return sample
        return out
