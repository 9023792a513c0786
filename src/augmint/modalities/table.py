"""Rows of a feature table: CSV, Parquet or npz. They can be put to the proof; no GAN of ours makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from augmint.core.errors import UserError
from augmint.core.types import F32, Dataset, Grid, Ref, Sample, Scan, Sink
from augmint.data.rows import F64, aligned, read_rows

_REACH = 4.0  # so many standard deviations lie at 1 / sqrt(2) of the grid's range: bent, never cut


@dataclass(frozen=True, slots=True)
class Row:
    """The numbers of one row, ``values`` ``[D]``, and their columns; ``named`` where the table names its columns."""

    columns: tuple[str, ...]
    values: F64
    named: bool = True


class TableModality:
    """Everything about rows of numbers: `Sample.data` is a `Row`, and all features are channels of a grid of one cell."""

    name = "table"
    ops = ("GaussianNoise",)

    def scan(self, root: Path, *, strict: bool = False) -> Scan:
        """Every row of the file, in its order; ``id`` is the file's stem and the row's number, counted from 1 as in messages."""
        if root.is_dir():
            raise UserError(
                "a folder where a feature table is expected", where=root, mend="give a CSV, Parquet or npz file"
            )
        rows = read_rows(root)
        refs = [
            Ref(f"{root.stem}-{i + 1:06d}", root, label, part, i)
            for i, (label, part) in enumerate(zip(rows.labels, rows.parts, strict=True))
        ]
        return Scan(tuple(refs), "table", rows.notes)

    def load(self, ref: Ref) -> Sample:
        rows = read_rows(ref.path)
        return Sample(ref.id, Row(rows.columns, rows.values[ref.row or 0], rows.named), ref.label)

    def sink(self, out: Path, *, layout: str) -> Sink:
        """
        Raises:
            UserError: always. There is no boosted table to write: augmint proves tables, it does not make them.
        """
        raise UserError("a feature table can be put to the proof, not enlarged", mend="augmint prove REAL SYNTHETIC")

    def fit(self, dataset: Dataset, *, size: int | None = None) -> TableCodec:
        """Mean and standard deviation of each column over the rows that the table does not set apart as its test part."""
        training = [i for i, r in enumerate(dataset.refs) if r.part != "test"] or list(range(len(dataset)))
        data: list[Row] = [dataset[i].data for i in training]
        values = np.stack([row.values for row in data])
        spread = values.std(axis=0)
        spread = np.where(spread > 1e-12 * np.maximum(np.abs(values).max(axis=0), 1e-300), spread, 1.0)
        return TableCodec(data[0].columns, tuple(values.mean(axis=0).tolist()), tuple(spread.tolist()))

    def codec(self, state: Mapping[str, Any]) -> TableCodec:
        return TableCodec(tuple(state["columns"]), tuple(state["mean"]), tuple(state["spread"]))

    def features(self, batch: F32) -> F32:
        """The rows themselves, ``[N, D]``."""
        return batch.reshape(len(batch), -1)

    def preview(self, sample: Sample, *, width: int = 96) -> str:
        """The first numbers of the row."""
        row: Row = sample.data
        shown = ", ".join(f"{c} {v:.4g}" for c, v in zip(row.columns[:4], row.values[:4], strict=True))
        return f'<span title="{escape(f"{sample.label}: {sample.id}", quote=True)}">{escape(shown)}</span>'


@dataclass(frozen=True, slots=True)
class TableCodec:
    """Between rows and ``[D, 1]`` in (-1, 1): standardised, divided by 4, and bent so that outliers keep their order."""

    columns: tuple[str, ...]
    mean: tuple[float, ...]
    spread: tuple[float, ...]

    @property
    def grid(self) -> Grid:
        return Grid(len(self.columns), (1,))

    def encode(self, sample: Sample) -> F32:
        """
        Raises:
            UserError: where the row's columns are not those of the table that the codec was fitted on.
        """
        row: Row = sample.data
        values = aligned(row.values, row.columns, self.columns, where=sample.id, named=row.named)
        z = (values - np.array(self.mean)) / np.array(self.spread) / _REACH
        x: F32 = (z / np.sqrt(1.0 + z * z)).astype(np.float32)[:, None]
        return x

    def decode(self, x: F32) -> Row:
        y = np.clip(x[:, 0].astype(np.float64), -1 + 1e-7, 1 - 1e-7)
        z = _REACH * y / np.sqrt(1.0 - y * y)
        return Row(self.columns, np.array(self.mean) + z * np.array(self.spread))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
