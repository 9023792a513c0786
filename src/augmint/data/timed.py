"""Labels with times beside a sound of the same name: a Praat TextGrid, JSON or CSV. Read, moved along with the sound, written alike.

- ``.TextGrid``: Praat's long or short text format, interval and point tiers (Boersma and Weenink, "TextGrid file formats").
- ``.json``: wherever an object has the numbers ``start`` and ``end``, or ``time``, in seconds; all else in it is kept.
- ``.csv``: the columns ``start`` and ``end``, or ``time``, in seconds; other columns are kept.

A JSON or CSV without any of these is no label file, and left alone.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augmint.core.errors import BadSample
from augmint.data.files import regular

F64 = NDArray[np.float64]
SUFFIXES = (".TextGrid", ".json", ".csv")
SPAN, POINT = ("start", "end"), ("time",)
WANTED = "labels are a CSV with commas and the columns start and end, or time; JSON with such numbers; or a TextGrid"
MAX_BYTES = 32 * 2**20
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Timed:
    """One label file: its ending, what is in it, and where in that the times stand.

    Attributes:
        times: ``[K, 2]`` start and end of each label in seconds, in the order of the file; a point has the same twice.
        seconds: of the sound that it belongs to, as the file or the sound says.
    """

    suffix: str
    document: Any
    times: F64
    seconds: float

    def moved(self, along: Callable[[F64], F64], seconds: float) -> Timed:
        """The same file for a sound that is ``seconds`` long now, whose old times are ``along`` of them.

        A label of which nothing is left has no times any more (NaN) and is not written; of others, what is left is.
        """
        # A point is lost where its surroundings are: then both of their ends come to lie at the same place.
        is_point = self.times[:, 0] == self.times[:, 1]
        wide = self.times + np.where(is_point, 1e-4, 0.0)[:, None] * [-1, 1]
        new = along(wide)
        lost = new[:, 1] - new[:, 0] < 1e-6
        middle = along(self.times)
        times = np.where(is_point[:, None], middle, new)
        return replace(self, times=np.where(lost[:, None], np.nan, times), seconds=seconds)

    def then(self, other: Timed) -> Timed | None:
        """Both files' labels in one, where they are of one form (the same tiers, columns, or JSON lists); else nothing."""
        return _JOINERS[self.suffix](self, other) if self.suffix == other.suffix else None

    def encoded(self) -> bytes:
        """The bytes of the file with these times."""
        return _WRITERS[self.suffix](self).encode("utf-8")


def read(path: Path, seconds: float) -> Timed | None:
    """The labels of a sound that is ``seconds`` long; `None` for a JSON or CSV that has none.

    Raises:
        BadSample: the file cannot be read, is not what its ending says, or a label ends before it starts.
    """
    suffix = next(s for s in SUFFIXES if s.lower() == path.suffix.lower())
    with regular(path) as found:
        if found.st_size > MAX_BYTES:
            raise _bad(path, f"{found.st_size / 2**20:.0f} MB of time labels; the limit is {MAX_BYTES // 2**20} MB")
        data = path.read_bytes()
    document, times = _READERS[suffix](_text(data, path), path)
    if not len(times) and suffix != ".TextGrid":
        return None
    table = np.array(times, dtype=np.float64).reshape(-1, 2)
    wrong = np.flatnonzero(~(np.isfinite(table).all(1) & (table[:, 0] >= 0) & (table[:, 1] >= table[:, 0])))
    if len(wrong):
        a, b = table[wrong[0]]
        raise _bad(path, f"label {wrong[0] + 1} goes from {a:g} to {b:g} s")
    if len(table) and table[:, 1].max() > seconds + 0.5:
        raise _bad(path, f"a label ends after {table[:, 1].max():g} s, the sound after {seconds:g} s")
    return Timed(suffix, document, np.minimum(table, seconds), seconds)


def joined(parts: Sequence[Sequence[Timed]]) -> Iterator[Timed]:
    """The label files of sounds one after another, already moved: of each ending one, where all of them have it in one form."""
    for first in parts[0]:
        found: Timed | None = first
        for others in parts[1:]:
            other = next((o for o in others if o.suffix == first.suffix), None)
            found = found.then(other) if found is not None and other is not None else None
        if found is not None:
            yield found


def _bad(path: Path, problem: str) -> BadSample:
    return BadSample(problem, where=path, mend="correct the times of the label file, or take it out of the folder")


def _text(data: bytes, path: Path) -> str:
    coding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"  # Praat writes both
    try:
        return data.decode(coding)
    except UnicodeDecodeError:
        raise _bad(path, "the label file is no text in UTF-8 or UTF-16") from None


def _shown(value: float) -> str:
    return f"{value:.{_DIGITS}f}".rstrip("0").rstrip(".")


# --- Praat -----------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(r'"((?:[^"]|"")*)"|<(exists|absent)>|(?<![\w.\[])([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?![\w\]])')
_INTERVALS, _POINTS = "IntervalTier", "TextTier"


@dataclass(frozen=True, slots=True)
class _Tier:
    """``texts`` of the labels that have one, in order; empty intervals are what lies between."""

    kind: str
    name: str
    texts: tuple[str, ...]


def _read_grid(text: str, path: Path) -> tuple[tuple[_Tier, ...], list[tuple[float, float]]]:
    """Both formats hold the same strings and numbers in the same order; the long one has words around them."""
    tokens = iter([m[1].replace('""', '"') if m[1] is not None else m[2] or float(m[3]) for m in _TOKEN.finditer(text)])
    try:
        if not str(next(tokens)).startswith("ooTextFile") or next(tokens) != "TextGrid":
            raise _bad(path, "the file does not begin as a TextGrid does")
        _number(tokens), _number(tokens)
        tiers, times = [], list[tuple[float, float]]()
        for _ in range(int(_number(tokens)) if next(tokens) == "exists" else 0):
            kind, name = _string(tokens), _string(tokens)
            if kind not in (_INTERVALS, _POINTS):
                raise _bad(path, f"a tier of the kind '{kind}'")
            _number(tokens), _number(tokens)
            texts = []
            for _ in range(int(_number(tokens))):
                start = _number(tokens)
                end = _number(tokens) if kind == _INTERVALS else start
                label = _string(tokens)
                if label or kind == _POINTS:
                    texts.append(label)
                    times.append((start, end))
            tiers.append(_Tier(kind, name, tuple(texts)))
    except (StopIteration, ValueError):
        raise _bad(path, "the TextGrid is cut short or damaged") from None
    return tuple(tiers), times


def _number(tokens: Iterator[Any]) -> float:
    found = next(tokens)
    if not isinstance(found, float) or not isfinite(found):
        raise ValueError
    return found


def _string(tokens: Iterator[Any]) -> str:
    found = next(tokens)
    if not isinstance(found, str):
        raise ValueError
    return found


def _write_grid(labels: Timed) -> str:
    end = _shown(labels.seconds)
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {end}",
        "tiers? <exists>",
    ]
    lines += [f"size = {len(labels.document)}", "item []:"]
    at = 0
    for number, tier in enumerate(labels.document, 1):
        times = labels.times[at : at + len(tier.texts)]
        at += len(tier.texts)
        kept = [(*t, text) for t, text in zip(times.tolist(), tier.texts, strict=True) if isfinite(t[0])]
        is_spans = tier.kind == _INTERVALS
        parts = list(_without_holes(kept, labels.seconds)) if is_spans else kept
        lines += [
            f"    item [{number}]:",
            f"        class = {_quoted(tier.kind)}",
            f"        name = {_quoted(tier.name)}",
        ]
        lines += [
            "        xmin = 0",
            f"        xmax = {end}",
            f"        {'intervals' if is_spans else 'points'}: size = {len(parts)}",
        ]
        for i, (start, stop, text) in enumerate(parts, 1):
            lines.append(f"        {'intervals' if is_spans else 'points'} [{i}]:")
            if is_spans:
                lines += [
                    f"            xmin = {_shown(start)}",
                    f"            xmax = {_shown(stop)}",
                    f"            text = {_quoted(text)}",
                ]
            else:
                lines += [f"            number = {_shown(start)}", f"            mark = {_quoted(text)}"]
    return "\n".join(lines) + "\n"


def _join_grids(a: Timed, b: Timed) -> Timed | None:
    if [(t.kind, t.name) for t in a.document] != [(t.kind, t.name) for t in b.document]:
        return None
    tiers, times, at = [], [np.zeros((0, 2))], [0, 0]
    for both in zip(a.document, b.document, strict=True):
        for k, (labels, tier) in enumerate(zip((a, b), both, strict=True)):
            times.append(labels.times[at[k] : at[k] + len(tier.texts)])
            at[k] += len(tier.texts)
        tiers.append(replace(both[0], texts=(*both[0].texts, *both[1].texts)))
    return replace(a, document=tuple(tiers), times=np.concatenate(times))


def _without_holes(spans: Sequence[tuple[float, float, str]], seconds: float) -> Iterator[tuple[float, float, str]]:
    """Praat wants a tier's intervals to fill it: with empty ones between."""
    at = 0.0
    for start, stop, text in spans:
        if start - at > 1e-6:
            yield at, start, ""
        yield max(at, start), stop, text
        at = stop
    if seconds - at > 1e-6 or not spans:
        yield at, seconds, ""


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


# --- JSON ------------------------------------------------------------------------------------------------------------


def _read_json(text: str, path: Path) -> tuple[Any, list[tuple[float, float]]]:
    try:
        document = json.loads(text)
        return document, [_times(found) for found in _objects(document)]
    except (json.JSONDecodeError, RecursionError) as error:
        raise _bad(path, f"not readable as JSON: {error}") from None


def _objects(document: Any) -> Iterator[dict[str, Any]]:
    """All objects with times, in the order of the file."""
    if isinstance(document, dict):
        if _keys(document):
            yield document
        document = list(document.values())
    if isinstance(document, list):
        for part in document:
            yield from _objects(part)


def _keys(found: dict[str, Any]) -> tuple[str, ...]:
    return next((k for k in (SPAN, POINT) if all(_is_number(found.get(name)) for name in k)), ())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _times(found: dict[str, Any]) -> tuple[float, float]:
    keys = _keys(found)
    return float(found[keys[0]]), float(found[keys[-1]])


def _write_json(labels: Timed) -> str:
    found = _moved_json(labels.document, iter(labels.times.tolist()))
    return json.dumps(None if found is _LOST else found, ensure_ascii=False, indent=1) + "\n"


_LOST = object()


def _moved_json(document: Any, times: Iterator[list[float]]) -> Any:
    """The same with new times; what is lost is left out of its list, and is null elsewhere."""
    if isinstance(document, list):
        return [new for part in document if (new := _moved_json(part, times)) is not _LOST]
    if not isinstance(document, dict):
        return document
    keys = _keys(document)
    new = next(times) if keys else [0.0]
    inner = {k: _moved_json(v, times) for k, v in document.items()}
    if not isfinite(new[0]):
        return _LOST
    inner = {k: None if v is _LOST else v for k, v in inner.items()}
    return {**inner, **{k: round(t, _DIGITS) for k, t in zip(keys, new, strict=False)}}


def _join_json(a: Timed, b: Timed) -> Timed | None:
    one, two = (json.loads(labels.encoded()) for labels in (a, b))
    if isinstance(one, list) and isinstance(two, list):
        document: Any = [*one, *two]
    elif isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        document = {k: [*v, *two[k]] if isinstance(v, list) and isinstance(two[k], list) else v for k, v in one.items()}
    else:
        return None
    return replace(a, document=document, times=np.array([_times(o) for o in _objects(document)]).reshape(-1, 2))


# --- CSV -------------------------------------------------------------------------------------------------------------


def _read_csv(text: str, path: Path) -> tuple[list[list[str]], list[tuple[float, float]]]:
    rows = [row for row in csv.reader(StringIO(text)) if row]
    columns = _columns(rows)
    times = []
    for number, row in enumerate(rows[1:] if columns else [], 2):
        try:
            times.append((float(row[columns[0]]), float(row[columns[-1]])))
        except (ValueError, IndexError):
            raise _bad(path, f"line {number} has no number for '{rows[0][columns[0]]}'") from None
    return rows, times


def _columns(rows: Sequence[Sequence[str]]) -> list[int]:
    head = [cell.strip().lower() for cell in rows[0]] if rows else []
    return next(([head.index(k) for k in keys] for keys in (SPAN, POINT) if set(keys) <= set(head)), [])


def _write_csv(labels: Timed) -> str:
    rows, columns = labels.document, _columns(labels.document)
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows[0])
    for row, new in zip(rows[1:], labels.times.tolist(), strict=True):
        if isfinite(new[0]):
            told = dict(zip(columns, new, strict=False))
            writer.writerow([_shown(told[i]) if i in told else cell for i, cell in enumerate(row)])
    return out.getvalue()


def _join_csv(a: Timed, b: Timed) -> Timed | None:
    if a.document[0] != b.document[0]:
        return None
    return replace(a, document=[*a.document, *b.document[1:]], times=np.concatenate([a.times, b.times]))


_READERS: dict[str, Callable[[str, Path], tuple[Any, list[tuple[float, float]]]]] = {
    ".TextGrid": _read_grid,
    ".json": _read_json,
    ".csv": _read_csv,
}
_WRITERS: dict[str, Callable[[Timed], str]] = {".TextGrid": _write_grid, ".json": _write_json, ".csv": _write_csv}
_JOINERS: dict[str, Callable[[Timed, Timed], Timed | None]] = {
    ".TextGrid": _join_grids,
    ".json": _join_json,
    ".csv": _join_csv,
}
