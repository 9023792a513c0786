"""Make augmented files again from their manifest: is what lies there what was made, and does it come out again?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from augmint.core.errors import UserError
from augmint.core.run import file_sum, read_json, versions
from augmint.core.types import Dataset, FileSink, Sample
from augmint.steps.augmenting import partner
from augmint.steps.folder import FINISHED
from augmint.steps.results import Progress
from augmint.transforms.plan import Plan

_DECIDE_BYTES = ("augmint", "numpy", "opencv-python-headless", "scipy")
_NAMED = 5  # files of one kind in a line for people


@dataclass(frozen=True)
class Replayed:
    """What became of the files of a manifest's lines; ``exit_code`` is 1 where something is not as the manifest tells.

    Attributes:
        same: made again with the bytes that the manifest tells of.
        other: made again with other bytes.
        missing, changed: of the files that lie beside the manifest, reals, masks and label files among them: gone, and no longer what was
            written.
        versions: of what decides bytes, where they are others now than when the files were made: (name, then, now).
        out: where the files were written to, if they were.
    """

    same: int
    other: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    versions: tuple[tuple[str, str, str], ...] = ()
    out: Path | None = None

    @property
    def exit_code(self) -> int:
        return int(bool(self.other or self.missing or self.changed))

    @property
    def summary(self) -> list[str]:
        """Lines for people."""
        return list(self._lines())

    def _lines(self) -> Iterator[str]:
        num = self.same + len(self.other)
        yield f"made again from the real samples, {self.same} of {num} augmented ones come out byte for byte"
        for what, names in (
            ("gone from beside the manifest", self.missing),
            ("changed since they were written", self.changed),
            ("come out with other bytes", self.other),
        ):
            if names:
                more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
                yield f"{what}: {', '.join(names[:_NAMED])}{more}"
        if self.other:
            yield f"other bytes follow from {self._reason()}"
        if self.missing or self.changed:
            yield "to have them as they were: augmint replay MANIFEST --out NEW, if the real samples are unchanged"

    def _reason(self) -> str:
        if self.versions:
            return "other versions: " + ", ".join(f"{name} {then} then, {now} now" for name, then, now in self.versions)
        if self.changed:
            return "changed real samples, or another kind of CPU"
        return "another kind of CPU or other versions of OpenCV and numpy; bytes hold on one stack"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        named = {k: list(getattr(self, k)) for k in ("other", "missing", "changed", "versions")}
        return {"same": self.same, **named, **({"out": str(self.out)} if self.out else {})}


def replay(data: Dataset, rows: Sequence[dict[str, Any]], out: Path, progress: Progress) -> Replayed:
    """Write the augmented samples of a manifest's lines to ``out``, each made of its parents in ``data`` by its plan.

    Args:
        data: the data set that the manifest lies in.
        rows: all of its lines.

    Raises:
        UserError: if this kind of data has no plans of its own, or a parent is gone.
    """
    transform: Callable[..., Sample] | None = getattr(data.modality, "transform", None)
    sink = data.modality.sink(out, layout=data.layout)
    if transform is None or not isinstance(sink, FileSink):
        raise UserError(f"{data.modality.name} samples are not replayed", mend="run augmint augment again")
    told = {name: sha256 for row in rows for name, sha256 in _files(row).items()}
    sums = {name: _sum_of(data.root / name) for name in told}
    missing = tuple(name for name, found in sums.items() if found is None)
    changed = tuple(name for name, found in sums.items() if found not in (None, told[name]))
    refs = {ref.id: ref for ref in data.refs}

    def load(name: str) -> Sample:
        return data.modality.load(partner(name, refs))

    planned, other = [row for row in rows if "plan" in row], []
    for done, row in enumerate(planned, 1):
        made = transform(Plan.from_dict(row["plan"]), load(row["parents"][0]), load)
        sample = replace(made, id=row["file_name"], label=row["label"], origin="augmented")
        files = sink.save(sample)
        if _files(row) != {name: files.get(name) for name in _files(row)}:
            other.append(row["file_name"])
        progress({"stage": "replay", "done": done, "total": len(planned)})
    return Replayed(len(planned) - len(other), tuple(other), missing, changed)


def _files(row: Mapping[str, Any]) -> dict[str, str]:
    """The files of a line, its sample's own first, with their sums."""
    return {row["file_name"]: row["sha256"], **row.get("beside", {})}


def _sum_of(path: Path) -> str | None:
    return file_sum(path) if path.is_file() else None


def other_versions(made: Path) -> tuple[tuple[str, str, str], ...]:
    """What decides bytes and has another version than when a folder was made; nothing where that was not kept."""
    made = made.resolve()
    runs = [made / FINISHED, made.with_name(made.name + ".run") / "run.json"]
    then: dict[str, str] = next((read_json(path)["versions"] for path in runs if path.is_file()), {})
    now = versions()
    return tuple((k, then[k], now.get(k, "none")) for k in _DECIDE_BYTES if k in then and then[k] != now.get(k))
