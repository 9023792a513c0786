"""Feature tables: samples that are rows of numbers, from CSV, Parquet or npz files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from augmint.core.errors import UserError, did_you_mean
from augmint.core.types import Part
from augmint.data.layout import part_of

if TYPE_CHECKING:
    import pandas as pd

F64 = NDArray[np.float64]
SUFFIXES = (".csv", ".parquet", ".npz")
MAX_BYTES = 1024 * 2**20
LABELS = ("label", "target", "class")
_PASSED_OVER = ("id", "file_name", "origin", "split")
_MANY = 0.5  # a column of which more than this share are numbers is one of numbers; what is none in it is a fault
_LENGTH = 1 << 20


@dataclass(frozen=True)
class Rows:
    """A feature table.

    Attributes:
        columns: names of the features; of an npz without ``columns`` they are ``x0, x1 ...`` and ``named`` is False.
        values: ``[N, D]`` finite numbers.
        labels: ``[N]`` class names, ``None`` where there is none: a table of a pool has none at all.
        parts: ``[N]`` what the column ``split`` says.
        notes: which column the labels were taken from, and what was left out.
    """

    path: Path
    columns: tuple[str, ...]
    values: F64
    labels: tuple[str | None, ...]
    parts: tuple[Part | None, ...]
    notes: tuple[str, ...]
    named: bool = True


def read_rows(path: Path) -> Rows:
    """Read a feature table.

    CSV (comma, semicolon or tab) and Parquet: columns of numbers are the features; labels stand in ``label``, else
    ``target``, else ``class``, else in the last column that holds no numbers, else nowhere; ``split`` (train, val or test) is optional;
    ``id``, ``file_name``, ``origin`` and other columns without numbers are left out and named. npz: arrays ``x`` ``[N, D]``,
    and optionally ``y`` ``[N]``, ``split`` ``[N]`` and ``columns`` ``[D]``; pickled objects are refused.

    Raises:
        UserError: not such a file, too large, or with a value that is missing, infinite or no number
            (named with its row and column).
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError("not a feature table", where=path, mend="give a folder, or one of: " + ", ".join(SUFFIXES))
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(f"reading failed: {error.strerror}", where=path, mend="check the path") from None
    if stat.st_size > MAX_BYTES:
        raise UserError(f"a table of more than {MAX_BYTES // 2**20} MiB", where=path, mend="give a part of its rows")
    return _read(path, stat.st_mtime_ns)


@lru_cache(maxsize=4)
def _read(path: Path, changed_ns: int) -> Rows:
    """``changed_ns`` is there for the cache: a file that was written again is read again."""
    match path.suffix.lower():
        case ".npz":
            return _from_arrays(path)
        case ".csv":
            return _from_frame(_csv(path), path)
        case _:
            return _from_frame(_parquet(path), path)


def _csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        with path.open(encoding="utf-8-sig") as f:
            head = f.readline(_LENGTH)
        separator = max(",;\t", key=head.count)
        frame = pd.read_csv(path, sep=separator, encoding="utf-8-sig", low_memory=False)
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 text: {error.reason}", where=path, mend="save the table as UTF-8") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise UserError(
            f"not readable as CSV: {error}", where=path, mend="write a header and one row a sample"
        ) from None
    except OSError as error:
        raise UserError(f"reading failed: {error.strerror}", where=path, mend="mend its permissions") from None
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes surplus fields for an index
        raise UserError("the rows have more fields than the header", where=path, mend="name every column in the header")
    return frame


def _parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except ImportError:
        raise UserError(
            "reading Parquet takes the package pyarrow, which is not installed",
            where=path,
            mend="pip install 'augmint[parquet]', or save the table as CSV",
        ) from None
    except (ValueError, OSError) as error:  # what pyarrow raises for a damaged file derives from these
        raise UserError(f"not readable as Parquet: {error}", where=path, mend="write the file again") from None


def _from_frame(frame: pd.DataFrame, path: Path) -> Rows:
    frame = frame.set_axis([str(c).strip() for c in frame.columns], axis=1)
    twice = frame.columns[frame.columns.duplicated()].tolist()
    if twice or not len(frame):
        problem = f"there are two columns '{twice[0]}'" if twice else "there are no rows"
        raise UserError(problem, where=path, mend="mend the table")
    label, why = _label_column(frame)
    numbers = [c for c in frame.columns if c not in (label, *_PASSED_OVER) and _is_numeric(frame[c])]
    others = [c for c in frame.columns if c not in (label, "split", *numbers)]
    if not numbers:
        raise UserError("there is no column of numbers", where=path, mend="give one column a feature")
    values = np.stack([_finite(frame[c], c, path) for c in numbers], axis=1)
    notes = [f"{path.name}: {why}, {len(numbers)} columns of numbers"]
    if others:
        notes.append(f"{path.name}: left out {', '.join(others[:8])}: no features")
    parts = frame["split"].tolist() if "split" in frame else [None] * len(frame)
    labels = _names(frame[label].tolist() if label is not None else [None] * len(frame), path)
    return Rows(path, tuple(numbers), values, labels, _parts(parts, path), tuple(notes))


def _label_column(frame: pd.DataFrame) -> tuple[str | None, str]:
    """The column with the classes, if there is one, and where they were taken from."""
    for name in LABELS:
        if name in frame.columns:
            return name, f"labels from column '{name}'"
    words = [c for c in frame.columns if c not in _PASSED_OVER and not _is_numeric(frame[c])]
    if not words:
        near = "".join(did_you_mean("label", frame.columns.tolist()))
        return None, f"no labels (there is no column `label`{near}, `target` or `class`, and none with words)"
    guessed = "the last one without numbers, for there is no `label`, `target` or `class`"
    return words[-1], f"labels from column '{words[-1]}' ({guessed})"


def _is_numeric(column: pd.Series[Any]) -> bool:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return True
    filled = column.dropna()
    return len(filled) > 0 and float(pd.to_numeric(filled, errors="coerce").notna().mean()) > _MANY


def _finite(column: pd.Series[Any], name: str, path: Path) -> F64:
    import pandas as pd

    values: F64 = np.asarray(pd.to_numeric(column, errors="coerce"), dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise _not_finite(column.iloc[int(bad[0])], name, len(bad), f"{path}, {_row(int(bad[0]))}")
    return values


def _not_finite(found: Any, column: str, count: int, where: str) -> UserError:
    what = "an empty cell" if found is None or (isinstance(found, float) and np.isnan(found)) else f"'{found}'"
    more = f" ({count} such cells in this column)" if count > 1 else ""
    return UserError(
        f"{what} where a finite number is expected, in column '{column}'{more}",
        where=where,
        mend="fill the cell or leave the row out: no number is made up for it",
    )


def _row(index: int) -> str:
    """A row as people count: from 1, without the header and blank lines."""
    return f"row {index + 1} of the data"


def _from_arrays(path: Path) -> Rows:
    try:
        with ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > MAX_BYTES:
            raise UserError(f"arrays of more than {MAX_BYTES // 2**20} MiB", where=path, mend="give a part of the rows")
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in ("x", "y", "split", "columns") if name in file.files}
            names = list(file.files)
    except (BadZipFile, ValueError, OSError, EOFError) as error:
        raise UserError(
            f"not readable as npz: {error}",
            where=path,
            mend="write it with numpy.savez(file, x=..., y=...), plain arrays",
        ) from None
    if "x" not in found:
        raise UserError(
            f"there is no array x; found: {', '.join(names) or 'none'}",
            where=path,
            mend="write it with numpy.savez(file, x=..., y=...)",
        )
    x = _checked_array(found, path)
    named = "columns" in found
    columns = tuple(map(str, found["columns"].tolist())) if named else tuple(f"x{i}" for i in range(x.shape[1]))
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        i, j = map(int, bad[0])
        count = int((bad[:, 1] == j).sum())
        raise _not_finite(float(x[i, j]), columns[j], count, f"{path}, {_row(i)} (x[{i}])")
    parts = found["split"].tolist() if "split" in found else [None] * len(x)
    y = found["y"].tolist() if "y" in found else [None] * len(x)
    labels = "labels from array 'y'" if "y" in found else "no labels (there is no array y)"
    notes = (f"{path.name}: {labels}, {x.shape[1]} features from 'x'",)
    return Rows(path, columns, x, _names(y, path), _parts(parts, path), notes, named)


def _checked_array(found: dict[str, NDArray[Any]], path: Path) -> F64:
    x, sizes = found["x"], {k: v.shape for k, v in found.items()}
    fits = x.ndim == 2 and 0 not in x.shape and x.dtype.kind in "fiub"
    rows = all(found[k].shape == x.shape[:1] for k in ("y", "split") if k in found)
    if not fits or not rows or ("columns" in found and found["columns"].shape != x.shape[1:]):
        told = ", ".join(f"{k} {v}" for k, v in sizes.items())
        raise UserError(
            f"the arrays do not fit together: {told} ({x.dtype})",
            where=path,
            mend="give numbers x [N, D] and, where there are any, y [N], split [N] and columns [D]",
        )
    out: F64 = x.astype(np.float64)
    return out


def _names(values: Sequence[Any], path: Path) -> tuple[str | None, ...]:
    """Class names: whole numbers without their ``.0``, so that tables of different kinds agree."""
    out: list[str | None] = []
    for value in values:
        if not _text(value):
            out.append(None)
        elif isinstance(value, float):
            if not value.is_integer():
                raise UserError(
                    f"{value} is no class: the labels are numbers with fractions",
                    where=path,
                    mend="give classes; a proof for regression does not exist here",
                )
            out.append(str(int(value)))
        else:
            out.append(_text(value))
    return tuple(out)


def _text(value: Any) -> str:
    """A cell as text; empty where pandas or numpy say that it is missing."""
    text = str(value).strip()
    return "" if text in ("None", "nan", "NaN", "<NA>") else text


def _parts(values: Sequence[Any], path: Path) -> tuple[Part | None, ...]:
    out: list[Part | None] = []
    for i, value in enumerate(values):
        text = _text(value)
        part = part_of(text) if text else None
        if text and part is None:
            raise UserError(
                f"'{text}' in `split` is no part", where=f"{path}, {_row(i)}", mend="write train, val or test"
            )
        out.append(part)
    return tuple(out)


def aligned(values: F64, columns: Sequence[str], wanted: Sequence[str], *, where: object, named: bool = True) -> F64:
    """``values`` ``[..., D]`` with their columns in the order of ``wanted``.

    Raises:
        UserError: where the columns are not the same ones, naming those that are missing or not known.
    """
    if tuple(columns) == tuple(wanted) or (not named and len(columns) == len(wanted)):
        return values
    missing, extra = ([c for c in a if c not in set(b)] for a, b in ((wanted, columns), (columns, wanted)))
    if missing or extra:
        told = [
            f"{word} {_some(names)}"
            for word, names in (("missing:", missing), ("not in the real set:", extra))
            if names
        ]
        raise UserError(
            "the columns differ from those of the real set; " + "; ".join(told),
            where=where,
            mend="give both tables the same columns of numbers",
        )
    place = {c: i for i, c in enumerate(columns)}
    return values[..., [place[c] for c in wanted]]


def _some(names: Sequence[str]) -> str:
    return ", ".join(f"'{n}'" for n in names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
