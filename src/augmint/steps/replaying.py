"""Make augmented files again from their manifest, and see whether they are the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from augmint.core.errors import UserError
from augmint.core.types import Dataset, Sample
from augmint.steps.augmenting import partner
from augmint.transforms.plan import Plan

Progress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Replayed:
    """How many files came out with the bytes that the manifest tells of, and which did not."""

    same: int
    other: tuple[str, ...]


def replay(data: Dataset, rows: Sequence[dict[str, Any]], out: Path, progress: Progress) -> Replayed:
    """Write the augmented samples of a manifest's lines to ``out``, each made of its parents in ``data`` by its plan.

    Raises:
        UserError: if this kind of data has no plans of its own, or a parent is gone.
    """
    transform = getattr(data.modality, "transform", None)
    if transform is None:
        raise UserError(f"{data.modality.name} samples are not replayed", mend="run augmint augment again")
    refs = {ref.id: ref for ref in data.refs}

    def load(name: str) -> Sample:
        return data.modality.load(partner(name, refs))

    sink = data.modality.sink(out, layout=data.layout)
    other = []
    for done, row in enumerate(rows, 1):
        made: Sample = transform(Plan.from_dict(row["plan"]), load(row["parents"][0]), load)
        sample = replace(made, id=row["file_name"], label=row["label"], origin="augmented")
        place = sink.save(sample)  # type: ignore[attr-defined]
        if sha256((out / place).read_bytes()).hexdigest() != row["sha256"]:
            other.append(row["file_name"])
        progress({"stage": "replay", "done": done, "total": len(rows)})
    return Replayed(len(rows) - len(other), tuple(other))
