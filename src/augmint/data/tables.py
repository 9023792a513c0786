"""Tables beside the samples: metadata.csv and metadata.jsonl in, a Pandas table of the classes out."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augmint.core.errors import UserError, did_you_mean
from augmint.core.types import Dataset

if TYPE_CHECKING:
    import pandas as pd

NAMES = ("metadata.jsonl", "metadata.csv")
MAX_BYTES = 1024 * 2**20
_LABEL_WORDS = ("class", "category", "target", "labels", "y")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a metadata file: its number (from 1, the header of a CSV being line 1) and its fields."""

    line: int
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Metadata:
    """A metadata file: ``columns`` in the order of their first appearance, rows in file order."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def note(self) -> str | None:
        """A remark where the labels probably stand under another name."""
        near = [c for c in self.columns if c.lower() in _LABEL_WORDS or c.lower() == "label"]
        if "label" in self.columns or not near:
            return None
        return f"{self.path.name} has no column `label`; if '{near[0]}' holds the classes, rename it to label"


def read_metadata(path: Path) -> Metadata:
    """Read ``metadata.csv`` or ``metadata.jsonl`` (columns ``file_name``, ``label``, optionally ``split``, others).

    CSV: UTF-8, with or without a byte order mark; comma, semicolon or tab, as the header has it. JSONL: one object a
    line. Empty fields are ``None``. A CSV without header, of two or three fields between bars (``id|transcript|normalized``), is
    read as the LJ Speech data set has it (Ito and Johnson 2017): the files are ``wavs/<id>``, and there are no labels.

    Raises:
        UserError: not UTF-8, not a table, or without a column ``file_name``; names the file and line.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"a table of more than {MAX_BYTES // 2**20} MiB", where=path, mend="split the data set")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 text: {error.reason}", where=path, mend="save the table as UTF-8") from None
    except OSError as error:
        raise UserError(f"reading failed: {error.strerror}", where=path, mend="mend its permissions") from None
    rows = tuple(_jsonl_rows(text, path) if path.suffix == ".jsonl" else _csv_rows(text, path))
    columns = tuple(dict.fromkeys(c for row in rows for c in row.values))
    if rows and "file_name" not in columns:
        raise UserError(
            f"there is no column `file_name`{did_you_mean('file_name', columns)}; found: {', '.join(columns)}",
            where=path,
            mend="name the column with the files' relative paths file_name",
        )
    return Metadata(path, columns, rows)


def _csv_rows(text: str, path: Path) -> Iterator[Row]:
    first = text.split("\n", 1)[0]
    if "|" in first and "file_name" not in first:
        yield from _transcript_rows(text, path)
        return
    reader = csv.reader(text.splitlines(keepends=True), delimiter=max(",;\t", key=first.count), strict=True)
    header: list[str] = []
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise UserError(
                f"not readable as CSV: {error}", where=f"{path}, line {line}", mend="mend this line"
            ) from None
        if fields is None:
            return
        if not any(f.strip() for f in fields):
            continue
        if not header:
            header = [f.strip() for f in fields]
        elif len(fields) != len(header):
            raise UserError(
                f"{len(fields)} fields where the header has {len(header)}",
                where=f"{path}, line {line}",
                mend="quote fields that hold the separator",
            )
        else:
            yield Row(line, {k: v.strip() or None for k, v in zip(header, fields, strict=True)})


def _transcript_rows(text: str, path: Path) -> Iterator[Row]:
    for line, content in enumerate(text.split("\n"), 1):
        fields = [f.strip() for f in content.split("|")]
        if not content.strip():
            continue
        if not 2 <= len(fields) <= 3 or not fields[0]:
            raise UserError(
                f"{len(fields)} fields between bars, where two or three are expected: id|transcript|normalized",
                where=f"{path}, line {line}",
                mend="mend this line, or give the table a header with a column file_name",
            )
        said = {k: v or None for k, v in zip(("transcript", "normalized"), fields[1:], strict=False)}
        yield Row(line, {"file_name": f"wavs/{fields[0]}", "label": None, **said})


def _jsonl_rows(text: str, path: Path) -> Iterator[Row]:
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            found = json.loads(content)
        except (json.JSONDecodeError, RecursionError) as error:
            problem = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
            raise UserError(
                f"not readable as JSON: {problem}", where=f"{path}, line {line}", mend="write one object a line"
            ) from None
        if not isinstance(found, dict):
            raise UserError(
                f"a {type(found).__name__} where an object is expected",
                where=f"{path}, line {line}",
                mend='write lines such as {"file_name": "a.png", "label": "cat"}',
            )
        yield Row(line, found)


def describe(dataset: Dataset) -> pd.DataFrame:
    """One row a class: samples, share, samples in each given part, and median sizes where the scan knew them.

    Columns: ``class, samples, share_percent`` and, where there are any, ``train, val, test, open`` (counts),
    ``height, width`` (medians in pixels), ``size_range`` ("from - to" of the longer side). A last row ``(no label)``
    counts what has none.
    """
    import pandas as pd

    table = dataset.table if len(dataset) else pd.DataFrame({"id": [], "label": [], "part": []})
    groups: list[tuple[str, Any]] = [(c, table["label"] == c) for c in dataset.classes]
    if len(table) and bool(table["label"].isna().any()):
        groups.append(("(no label)", table["label"].isna()))
    sized = {"height", "width"} <= set(table.columns)
    parted = bool(table["part"].notna().any())
    rows = []
    for name, where in groups:
        members = table[where]
        row: dict[str, Any] = {"class": name, "samples": len(members)}
        row["share_percent"] = round(100 * len(members) / len(table), 1) if len(table) else 0.0
        if parted:
            row |= {p: int((members["part"] == p).sum()) for p in ("train", "val", "test")}
            row["open"] = int(members["part"].isna().sum())
        if sized and len(members):
            longer = members[["height", "width"]].max(axis=1)
            row |= {"height": int(members["height"].median()), "width": int(members["width"].median())}
            row["size_range"] = f"{int(longer.min())} - {int(longer.max())}"
        rows.append(row)
    return pd.DataFrame(rows)
