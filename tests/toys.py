"""Two toy modalities, each whole in this one file: 1-D signals in a folder, and rows of a CSV.

They keep the promise that a modality is one file and an entry in a dict: nothing in augmint knows them. They also serve as
the shortest example of the protocol (see CONTRIBUTING.md).
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from augmint.core.errors import BadSample, UserError
from augmint.core.run import write_bytes, write_jsonl, write_text
from augmint.core.types import F32, Dataset, Grid, Ref, Sample, Scan
from augmint.data import layout
from augmint.data.layout import part_of


def write_signals(root: Path, *, per_class: int = 12, length: int = 24, seed: int = 0) -> Path:
    """Class folders of noisy waves: one class has three periods, the other a ramp; ``.npy`` and ``.csv`` mixed."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 1, length)
    shapes = {"ramp": 2 * t - 1, "wave": np.sin(6 * np.pi * t)}
    for label, shape in shapes.items():
        (root / label).mkdir(parents=True, exist_ok=True)
        for i in range(per_class):
            y = (shape * rng.uniform(0.7, 1.3) + rng.normal(0, 0.1, length)).astype(np.float32)
            if i % 2:
                np.savetxt(root / label / f"{i:03d}.csv", y)
            else:
                np.save(root / label / f"{i:03d}.npy", y)
    return root


def write_rows(root: Path, *, per_class: int = 12, seed: int = 0) -> Path:
    """A folder with one CSV: six columns of numbers, a label, and a split that seals every fourth row."""
    rng = np.random.default_rng(seed)
    rows = []
    for k, label in enumerate(("low", "high")):
        for i in range(per_class):
            values = rng.normal(4.0 * k, 1.0, 6) * [1, 10, 100, 1, 10, 100]
            rows.append(
                {**{f"x{j}": v for j, v in enumerate(values)}, "label": label, "split": "train" if i % 4 else "test"}
            )
    root.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(root / "rows.csv", index=False)
    return root


@dataclass(frozen=True)
class LineCodec:
    """Numbers in ``[low, high]`` ↔ ``[1, L]`` in [-1, 1]; one range a position, or one for all. Lengths are resampled."""

    length: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    columns: tuple[str, ...] = ()

    @property
    def grid(self) -> Grid:
        return Grid(1, (self.length,))

    def encode(self, sample: Sample) -> F32:
        y = np.array(list(sample.data.values()) if self.columns else sample.data, dtype=np.float64)
        if len(y) != self.length:
            y = np.interp(np.linspace(0, 1, self.length), np.linspace(0, 1, len(y)), y)
        low, high = np.array(self.low), np.array(self.high)
        x: F32 = np.clip(2 * (y - low) / (high - low) - 1, -1, 1).astype(np.float32)
        return x[None]

    def decode(self, x: F32) -> Any:
        low, high = np.array(self.low), np.array(self.high)
        y = low + (np.clip(x[0], -1, 1).astype(np.float64) + 1) / 2 * (high - low)
        return dict(zip(self.columns, y.tolist(), strict=True)) if self.columns else y.astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> LineCodec:
        return cls(state["length"], tuple(state["low"]), tuple(state["high"]), tuple(state["columns"]))


class _Lines:
    """What both toys share: one axis of numbers."""

    def codec(self, state: Mapping[str, Any]) -> LineCodec:
        return LineCodec.from_dict(state)

    def features(self, batch: F32) -> F32:
        return batch.reshape(len(batch), -1)

    def preview(self, sample: Sample, *, width: int = 96) -> str:
        y = np.array(list(sample.data.values()) if isinstance(sample.data, dict) else sample.data, dtype=np.float64)
        span = float(np.ptp(y)) or 1.0
        points = " ".join(
            f"{i * 100 / max(1, len(y) - 1):.1f},{40 * (y.max() - v) / span:.1f}" for i, v in enumerate(y)
        )
        title = html.escape(f"{sample.id} {sample.label}")
        line = f'<polyline points="{points}" fill="none" stroke="currentColor"/>'
        return f'<svg viewBox="0 0 100 40" width="{width}" role="img"><title>{title}</title>{line}</svg>'


class Signals(_Lines):
    """1-D signals, one a file, as ``.npy`` or ``.csv`` with one number a line; ``Sample.data`` is float32 ``[L]``."""

    name = "signal"
    ops = ("Brightness", "Contrast", "GaussianNoise", "Cutout")

    def scan(self, root: Path, *, strict: bool = False) -> Scan:
        return layout.scan(root, (".npy", ".csv"), strict=strict)

    def load(self, ref: Ref) -> Sample:
        try:
            is_npy = ref.path.suffix == ".npy"
            y = np.load(ref.path, allow_pickle=False) if is_npy else np.loadtxt(ref.path, ndmin=1)
        except (ValueError, OSError) as error:
            raise BadSample(f"not a signal: {error}", where=ref.path, mend="write one number a line") from None
        if y.ndim != 1 or len(y) < 4 or not np.isfinite(y).all():
            raise BadSample("not a finite series of at least 4 numbers", where=ref.path, mend="leave it out")
        return Sample(ref.id, y.astype(np.float32), ref.label, meta=ref.meta)

    def sink(self, out: Path, *, layout: str) -> SignalSink:
        return SignalSink(out, layout)

    def fit(self, dataset: Dataset, *, size: int | None = None) -> LineCodec:
        signals = [s.data for s in dataset]
        length = size or int(np.median([len(y) for y in signals]))
        top = 1.25 * max(float(np.abs(y).max()) for y in signals) or 1.0
        return LineCodec(length, (-top,), (top,))


class SignalSink:
    """Writes signals into class folders or one folder, with one ``metadata.jsonl``."""

    def __init__(self, out: Path, layout: str) -> None:
        self.out, self.layout = out, layout
        self.rows: list[dict[str, Any]] = []

    def write(self, sample: Sample, *, part: str | None = None) -> Path:
        coded = BytesIO()
        np.save(coded, np.asarray(sample.data, dtype=np.float32), allow_pickle=False)
        name = Path(sample.id).name
        inner = Path(sample.label or "" if self.layout == "class-folders" else "", f"{name.removesuffix('.npy')}.npy")
        return self._put(coded.getvalue(), Path(part or "", inner), sample.label, sample.origin)

    def close(self) -> None:
        """Everything is on disk already."""

    def copy(self, ref: Ref) -> Path:
        """A real sample, byte for byte, at the path of its id."""
        return self._put(ref.path.read_bytes(), Path(ref.id), ref.label, "real")

    def _put(self, data: bytes, path: Path, label: str | None, origin: str) -> Path:
        write_bytes(self.out / path, data)
        self.rows.append({"file_name": path.as_posix(), "label": label, "origin": origin})
        write_jsonl(self.out / "metadata.jsonl", self.rows)
        return path


_RESERVED = ("id", "label", "split", "origin")


class Rows(_Lines):
    """Rows of a CSV with a ``label`` column; ``Sample.data`` maps the columns of numbers to their values."""

    name = "row"
    ops = ("GaussianNoise",)

    def scan(self, root: Path, *, strict: bool = False) -> Scan:
        files = [root] if root.is_file() else sorted(root.glob("*.csv"))
        refs = [ref for file in files for ref in self._refs(file)]
        if not refs:
            raise UserError("no CSV with rows", where=root, mend="give a folder with a .csv file")
        return Scan(tuple(refs), "rows")

    def _refs(self, file: Path) -> list[Ref]:
        table = _table(file, file.stat().st_mtime_ns)
        labels = table["label"].tolist() if "label" in table else [None] * len(table)
        parts = table["split"].tolist() if "split" in table else [""] * len(table)
        return [
            Ref(f"{file.stem}-{i:05d}", file, label if isinstance(label, str) else None, part_of(str(part)), i)
            for i, (label, part) in enumerate(zip(labels, parts, strict=True))
        ]

    def load(self, ref: Ref) -> Sample:
        row = _table(ref.path, ref.path.stat().st_mtime_ns).iloc[ref.row or 0]
        try:
            data = {str(k): float(v) for k, v in row.items() if k not in _RESERVED}
        except ValueError as error:
            raise BadSample(
                f"not a number: {error}", where=f"{ref.path}, row {ref.row}", mend="mend the cell"
            ) from None
        if not np.isfinite(list(data.values())).all():
            raise BadSample("an empty cell", where=f"{ref.path}, row {ref.row}", mend="fill it, or remove the row")
        return Sample(ref.id, data, ref.label)

    def sink(self, out: Path, *, layout: str) -> RowSink:
        return RowSink(out)

    def fit(self, dataset: Dataset, *, size: int | None = None) -> LineCodec:
        rows = [s.data for s in dataset]
        values = np.array([list(r.values()) for r in rows])
        low, high = values.min(0), values.max(0)
        margin = 0.1 * np.maximum(high - low, 1e-6)
        return LineCodec(
            values.shape[1], tuple((low - margin).tolist()), tuple((high + margin).tolist()), tuple(rows[0])
        )


class RowSink:
    """Writes ``rows.csv``, whole after each row; the part goes into its ``split`` column."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.rows: list[dict[str, Any]] = []

    def write(self, sample: Sample, *, part: str | None = None) -> Path:
        own = {"id": sample.id, "label": sample.label, "split": part, "origin": sample.origin}
        self.rows.append({**sample.data, **own})
        write_text(self.out / "rows.csv", pd.DataFrame(self.rows).to_csv(index=False))
        return Path("rows.csv")

    def close(self) -> None:
        """Everything is on disk already."""

    def copy(self, ref: Ref) -> Path:
        """A real row, value for value."""
        return self.write(Rows().load(ref), part=ref.part)


@lru_cache(maxsize=8)
def _table(file: Path, stamp: int) -> pd.DataFrame:
    try:
        return pd.read_csv(file)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"not a CSV: {error}", where=file, mend="write a header and one row a sample") from None
