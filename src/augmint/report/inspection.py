"""`inspect`: what is in a data set, in tables and pictures; `fix`: a clean copy of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from augmint.core.errors import BadSample, Refused
from augmint.core.machine import cores
from augmint.core.run import check_output, write_jsonl, write_text
from augmint.core.types import I64, Dataset, Part, Ref, Sample, Skipped
from augmint.core.wording import number_of
from augmint.data import split
from augmint.data.layout import split_folders
from augmint.data.objects import counted
from augmint.data.tables import describe
from augmint.report import charts
from augmint.report.page import rendered

if TYPE_CHECKING:
    import pandas as pd

COMPARED_SIDE = 32  # cells a side on which near-duplicates are compared
SHOWN = 48  # samples on the contact sheet
SHOWN_PAIRS = 24
FEW = 8
_MOST_CLASSES = 8  # that the summary names
_SPAN = (("from", "min"), ("median", "median"), ("to", "max"))
_BY_FOLDER = ("class-folders", "flat", "metadata")  # layouts in which no further file tells where a sample lies
_SEALED = ("test", "val", "train", None)
_PARTS: dict[str, Part] = {"fit": "train", "held-out": "val", "test": "test"}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shown:
    """A sample's HTML preview for the page, with a caption; ``label`` is empty where there is none."""

    caption: str
    html: str
    label: str = ""


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found.

    Attributes:
        summary: lines for a terminal. advice: what to do about it.
        classes, sizes, duplicates, broken: DataFrames; empty where there is nothing to tell.
        table: one row a usable sample.
    """

    name: str
    summary: tuple[str, ...]
    advice: tuple[str, ...]
    notes: tuple[str, ...]
    classes: pd.DataFrame
    sizes: pd.DataFrame
    duplicates: pd.DataFrame
    broken: pd.DataFrame
    table: pd.DataFrame
    sheet: tuple[Shown, ...] = field(default=(), repr=False)
    pairs: tuple[tuple[Shown, Shown], ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; previews and the table of samples are left out."""
        frames = {"classes": self.classes, "sizes": self.sizes, "duplicates": self.duplicates, "broken": self.broken}
        tables = {k: v.astype(object).where(v.notna(), None).to_dict("records") for k, v in frames.items()}
        return {"name": self.name, "summary": self.summary, "advice": self.advice, "notes": self.notes, **tables}

    def print(self) -> None:
        """The summary and the table of classes on the terminal."""
        from rich.console import Console
        from rich.table import Table

        console = Console()
        console.print("\n".join(self.summary), markup=False, highlight=False, soft_wrap=True)
        if len(self.classes):
            table = Table(*map(str, self.classes.columns), box=None)
            for row in self.classes.itertuples(index=False):
                table.add_row(*map(str, row))
            console.print(table)

    def html(self, path: Path) -> Path:
        """Write everything as one self-contained page and return its path."""
        from itertools import groupby

        sheet = [(label, list(shown)) for label, shown in groupby(self.sheet, key=lambda s: s.label)]
        figures = {"bars": charts.class_bars(self.classes), "scatter": charts.size_scatter(self.table)}
        write_text(path, rendered("inspection.html.j2", found=self, sheet=sheet, **figures))
        return path


@dataclass(frozen=True, slots=True)
class _Study:
    """The usable samples of a data set, compared with each other."""

    data: Dataset
    digests: tuple[str, ...]
    groups: I64
    nearest: dict[int, tuple[int, float]]  # position → (earlier near position, distance)
    seen: tuple[Any, ...] = ()  # what the modality kept of each for its own advice


def inspect(data: Dataset, *, previews: bool = True) -> Inspection:
    """Read every sample once and describe the data set: classes, sizes, duplicates, what is broken, what to do.

    Args:
        previews: also make the pictures that `Inspection.html` shows.
    """
    import pandas as pd

    study = _study(data)
    usable = study.data
    broken = pd.DataFrame([asdict(s) for s in usable.skipped])
    table = usable.table if len(usable) else pd.DataFrame({"id": [], "label": [], "part": []})
    names = getattr(usable.modality, "sizes", ("width", "height", "channels", "format"))
    duplicates, sizes, classes = _duplicates(study), _sizes(table, names), describe(usable)
    advice = tuple(_advice(study, duplicates, classes))
    lines = _summary(usable, table, sizes, duplicates)
    sheet = tuple(_contact_sheet(usable)) if previews else ()
    pairs = tuple(_pairs(usable, duplicates)) if previews else ()
    summary = (*lines, *(f"note: {n}" for n in data.notes), *(f"advice: {a}" for a in advice))
    return Inspection(
        data.root.name, summary, advice, data.notes, classes, sizes, duplicates, broken, table, sheet, pairs
    )


def _each(fn: Callable[[int], T], count: int) -> list[T]:
    """``fn`` of 0 .. count-1 on threads (decoding gives up the interpreter lock), results in order."""
    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(fn, range(count)))


def _study(data: Dataset) -> _Study:
    keep = getattr(data.modality, "seen", lambda sample: None)

    def read(i: int) -> tuple[str, Any] | Skipped:
        try:
            sample = data[i]
        except BadSample as error:
            return Skipped(data.refs[i].id, error.problem, error.mend)
        return _digest(sample), keep(sample)

    found = _each(read, len(data))
    good = [i for i, f in enumerate(found) if not isinstance(f, Skipped)]
    usable = data.subset(good)
    usable.skipped = (*data.skipped, *(f for f in found if isinstance(f, Skipped)))
    digests = tuple(f[0] for f in found if not isinstance(f, Skipped))
    seen = tuple(f[1] for f in found if not isinstance(f, Skipped))
    if not good:
        return _Study(usable, digests, np.zeros(0, dtype=np.int64), {})
    codec = data.modality.fit(usable)
    if max(codec.grid.shape) > COMPARED_SIDE:
        codec = data.modality.fit(usable, size=COMPARED_SIDE)
    x = np.stack(_each(lambda i: codec.encode(usable[i]), len(usable)))
    rows = split.signature(x)
    first: dict[str, int] = {}
    same = [(first.setdefault(d, i), i) for i, d in enumerate(digests)]
    pairs = sorted({*split.near_pairs(rows), *((a, b) for a, b in same if a != b)}, key=lambda p: (p[1], p[0]))
    nearest: dict[int, tuple[int, float]] = {}
    for a, b in pairs:
        distance = 0.0 if digests[a] == digests[b] else float(np.linalg.norm(rows[a] - rows[b]))
        if b not in nearest or distance < nearest[b][1]:
            nearest[b] = (a, distance)
    return _Study(usable, digests, split.joined(pairs, len(usable)), nearest, seen)


def _digest(sample: Sample) -> str:
    """Equal for samples that hold the same data, however the files are coded."""
    return sha256(_content(sample.data)).hexdigest()


def _content(data: Any) -> bytes:
    if isinstance(data, np.ndarray):
        return f"{data.dtype}{data.shape}".encode() + np.ascontiguousarray(data).tobytes()
    if is_dataclass(data):  # its repr would leave out the middle of long arrays
        return b"".join(_content(getattr(data, entry.name)) for entry in fields(data))
    return repr(data).encode()


def _duplicates(study: _Study) -> pd.DataFrame:
    """One row a sample that an earlier one anticipates."""
    import pandas as pd

    rows = []
    for i, (j, distance) in sorted(study.nearest.items()):
        ref, like = study.data.refs[i], study.data.refs[j]
        kind = "exact" if study.digests[i] == study.digests[j] else "near"
        row = {"kind": kind, "id": ref.id, "same_as": like.id, "distance": round(distance, 4)}
        labels = {"label": ref.label, "label_of_other": like.label, "part": ref.part, "part_of_other": like.part}
        rows.append({**row, **labels, "group": int(study.groups[i])})
    return pd.DataFrame(rows)


def _sizes(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """How often each size occurs, the most frequent first; empty where the scan knows no sizes. Of what is no whole number
    stands the range."""
    columns = [c for c in names if c in table.columns]
    spans = [c for c in columns if table[c].dtype.kind == "f"]
    groups = table.groupby([c for c in columns if c not in spans], sort=True) if len(columns) > len(spans) else None
    if groups is None or not len(table):
        return table.iloc[:0, :0]
    found = {f"{c}_{word}": groups[c].agg(how) for c in spans for word, how in _SPAN}
    counts = groups.size().to_frame("samples").assign(**found).reset_index()
    return counts.sort_values("samples", ascending=False, kind="stable").reset_index(drop=True)


def _summary(data: Dataset, table: pd.DataFrame, sizes: pd.DataFrame, duplicates: pd.DataFrame) -> list[str]:
    counts = data.counts
    lines = [f"{data.root.name}: {number_of(len(table), f'usable {data.modality.name} sample')}, layout {data.layout}"]
    if counts:
        low, high = min(counts.values()), max(counts.values())
        each = f"{number_of(low, 'sample')} each" if low == high else f"{low} to {high} samples"
        lines.append(f"{number_of(len(counts), 'class', 'classes')}, {each}")
    else:
        lines.append(_targets(data) or "no labels")
    if bool(table["part"].notna().any()):
        parts = {p: int((table["part"] == p).sum()) for p in ("train", "val", "test")}
        lines.append("given parts: " + ", ".join(f"{n} {p}" for p, n in parts.items() if n))
    if len(sizes) and "width" not in sizes:
        names = [c for c in getattr(data.modality, "sizes", ()) if c in table]
        lines.append("; ".join(f"{name} {_span(table[name])}" for name in names))
    elif len(sizes):
        small, large = table[["width", "height"]].min(), table[["width", "height"]].max()
        span = f"{small.width} x {small.height}"
        if len(sizes[["width", "height"]].drop_duplicates()) > 1:
            span += f" to {large.width} x {large.height}"
        formats = table["format"].value_counts().items() if "format" in table else ()
        lines.append("; ".join(["sizes " + span, ", ".join(f"{n} {name}" for name, n in formats)]).rstrip("; "))
    exact = int((duplicates["kind"] == "exact").sum()) if len(duplicates) else 0
    lines.append(f"{number_of(exact, 'exact duplicate')}, {number_of(len(duplicates) - exact, 'near-duplicate')}")
    left = data.skipped
    lines.append(f"{len(left)} left out" + (":" if left else ""))
    lines += [f"  {s}" for s in left[:10]]
    return lines + ([f"  ... and {len(left) - 10} more"] if len(left) > 10 else [])


def _targets(data: Dataset) -> str:
    """What is annotated, if anything is."""
    masks = sum("masks" in ref.targets for ref in data.refs)
    if masks:
        return f"masks beside {number_of(masks, 'sample')}"
    objects, num = counted(data.refs)
    if not objects:
        return ""
    each = [f"{name} {n}" for name, n in objects.items()]
    shown = ", ".join(each[:_MOST_CLASSES]) + (
        f" and {len(each) - _MOST_CLASSES} more" if len(each) > _MOST_CLASSES else ""
    )
    return f"{number_of(sum(objects.values()), 'object')} in {num} of {number_of(len(data.refs), 'sample')}: {shown}"


def _span(column: pd.Series[Any]) -> str:
    """The range of numbers, or how often each word occurs."""
    if column.dtype.kind not in "if":
        return ", ".join(f"{word} ({n})" for word, n in column.value_counts().items())
    low, high = column.min(), column.max()
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _advice(study: _Study, duplicates: pd.DataFrame, classes: pd.DataFrame) -> list[str]:
    out = []
    labelled = classes[classes["class"] != "(no label)"] if len(classes) else classes
    if len(labelled) and labelled["samples"].min() < FEW:
        poor = labelled.nsmallest(1, "samples").iloc[0]
        have = number_of(int(poor["samples"]), "sample")
        out.append(f"class '{poor['class']}' has {have}: a few more real ones are worth more than anything made")
    if len(labelled) > 1 and labelled["samples"].max() >= 4 * max(labelled["samples"].min(), 1):
        out.append("the classes are unbalanced: balanced sampling is compared with in every proof")
    if len(labelled) == 1:
        out.append("there is one class only: nothing can be proven by classification")
    if not len(labelled) and any(ref.targets for ref in study.data.refs):
        out.append(
            "`augmint augment` moves what is annotated along; boost and prove need class labels, which are not here"
        )
    elif not len(labelled):
        out.append("there are no labels: samples can be made and scored, but no lift can be proven")
    if len(duplicates):
        out += _advice_on_copies(duplicates)
    out += getattr(study.data.modality, "advised", lambda seen: [])(study.seen)
    if len(duplicates) or study.data.skipped:
        out.append(f"`augmint inspect {study.data.root.name} --fix OUT` writes a clean copy, split safely")
    return out


def _advice_on_copies(duplicates: pd.DataFrame) -> list[str]:
    out = []
    exact = duplicates[duplicates["kind"] == "exact"].dropna(subset=["label", "label_of_other"])
    if conflicts := int((exact["label"] != exact["label_of_other"]).sum()):
        out.append(
            f"{number_of(conflicts, 'exact duplicate')} under another label: look at the pairs, one label is wrong"
        )
    sealed = duplicates[(duplicates["part"] == "test") != (duplicates["part_of_other"] == "test")]
    if len(sealed):
        pairs = number_of(len(sealed), "pair")
        out.append(f"{pairs} of duplicates across the border of the test part: results on it would look too good")
    return out


def _spread(data: Dataset, count: int) -> list[int]:
    """At most ``count`` positions, taken in turn from the classes and evenly within each."""
    labels = data.labels
    of_class = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    each = max(1, count // max(1, len(of_class)))
    picked = [at[np.unique(np.linspace(0, len(at) - 1, each).astype(int))] for at in of_class]
    return [int(i) for at in picked for i in at][:count]


def _contact_sheet(data: Dataset) -> list[Shown]:
    return [_shown(data, i) for i in _spread(data, SHOWN)]


def _shown(data: Dataset, i: int) -> Shown:
    sample = data[i]
    return Shown(sample.id, data.modality.preview(sample, width=96), sample.label or "")


def _pairs(data: Dataset, duplicates: pd.DataFrame) -> list[tuple[Shown, Shown]]:
    if not len(duplicates):
        return []
    position = {name: i for i, name in enumerate(data.ids)}
    nearest_first = duplicates.sort_values("distance", ascending=False, kind="stable").head(SHOWN_PAIRS)
    out = []
    for row in nearest_first.itertuples():
        a, b = _shown(data, position[str(row.same_as)]), _shown(data, position[str(row.id)])
        out.append((Shown(str(row.same_as), a.html), Shown(f"{row.id} ({row.kind}, {row.distance})", b.html)))
    return out


@dataclass(frozen=True)
class Fixed:
    """A clean copy of a data set: where it lies, what was left out and why, and how it was split."""

    path: Path
    summary: tuple[str, ...]
    left_out: tuple[Skipped, ...]
    counts: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        left = [asdict(s) for s in self.left_out]
        return {"path": self.path.as_posix(), "summary": self.summary, "counts": self.counts, "left_out": left}


def fix(data: Dataset, out: Path, *, seed: int = 0) -> Fixed:
    """Write a clean copy: broken samples and exact duplicates out, near-duplicates on one side, parts in metadata.

    The files are copied byte for byte, in the input's layout; metadata.jsonl gets a column ``split`` (train, val,
    test); left-out.jsonl names what was left out and why. Given parts stay as they are, and only samples of none are divided;
    training samples that nearly repeat one of a given test or val part are left out. A file in the folder of another part than
    its own (which a ``split`` column may say) goes to the folder of that part. The copy is made under a temporary name and
    renamed at the end.

    Raises:
        Refused: ``out`` holds something, or lies inside the data set.
    """
    check_output(out)
    if out.resolve().is_relative_to(data.root.resolve()):
        raise Refused("the output lies inside the input", where=out, mend="give a folder beside it")
    study = _study(data)
    left = list(study.data.skipped)
    kept = _without_copies(study, left)
    chosen = study.data.subset(kept)
    parts = [r.part for r in chosen.refs]
    divided = split.assign(chosen.labels, parts, study.groups[kept], seed=seed)
    names = _given_stay(divided.part(), parts, study.groups[kept])
    for i in divided.left_out:
        left.append(Skipped(chosen.refs[i].id, "nearly the same as a sample of the test or val part", ""))
    rows = [(ref, _PARTS[str(n)]) for ref, n in zip(chosen.refs, names, strict=True) if str(n) in _PARTS]
    rows, moved = _in_their_folders(rows, left) if data.layout in _BY_FOLDER else (rows, 0)
    out.parent.mkdir(parents=True, exist_ok=True)
    part_name = Path(mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        _copy(data, part_name, rows, left)
        if out.exists():
            out.rmdir()  # empty, or check_output would have refused
        part_name.rename(out)
    finally:
        shutil.rmtree(part_name, ignore_errors=True)
    counts = {p: sum(name == p for _, name in rows) for p in ("train", "val", "test")}
    summary = (
        f"{len(rows)} samples copied to {out}; {len(left)} left out (left-out.jsonl names each)",
        "split: " + ", ".join(f"{n} {p}" for p, n in counts.items()),
        *(_told_of_given(parts) if any(parts) else divided.notes if len(divided.folds) == 1 else ()),
        *([f"{number_of(moved, 'file')} went to the folder of the part that their split column says"] if moved else []),
    )
    return Fixed(out, summary, tuple(left), counts)


def _given_stay(names: NDArray[np.str_], parts: Sequence[Part | None], groups: I64) -> NDArray[np.str_]:
    """A training part that the data set gives stays whole, and what nearly repeats a sample of it goes with it."""
    is_given = np.array([p == "train" for p in parts])
    is_fixed = np.array([p in ("val", "test") for p in parts]) | (names == "left-out")
    return np.where(np.isin(groups, groups[is_given]) & ~is_fixed, "fit", names)


def _told_of_given(parts: Sequence[Part | None]) -> list[str]:
    none = sum(p is None for p in parts)
    missing = [p for p in ("train", "val", "test") if p not in parts]
    kept = "the parts that the data set gives are kept"
    if none:
        return [f"{kept}; {number_of(none, 'sample')} without one " + ("was" if none == 1 else "were") + " divided"]
    return [
        f"{kept}: it gives no {' and no '.join(missing)} part, and none was cut from the others" if missing else kept
    ]


def _in_their_folders(rows: Sequence[tuple[Ref, Part]], left: list[Skipped]) -> tuple[list[tuple[Ref, Part]], int]:
    """Each sample under the folder of its part, where the folders are parts; how many were moved. One whose place there is
    taken is left out."""
    tops = {ref.id.split("/", 1)[0] for ref, _ in rows if "/" in ref.id}
    folders = split_folders(tops)
    home = {part: name for name, part in folders.items()}
    taken = {ref.id for ref, _ in rows}
    out, moved = [], 0
    for ref, part in rows:
        top, _, rest = ref.id.partition("/")
        if not rest or folders.get(top, part) == part:
            out.append((ref, part))
            continue
        place = f"{home.get(part, part)}/{rest}"
        if place in taken:
            left.append(Skipped(ref.id, f"it belongs to the {part} part, where there is another {place}", "rename it"))
            continue
        taken.add(place)
        moved += 1
        out.append((replace(ref, id=place), part))
    return out, moved


def _without_copies(study: _Study, left: list[Skipped]) -> list[int]:
    """Positions to keep: one of each set of exact duplicates, the most sealed first; none where labels contradict."""
    refs = study.data.refs
    same: dict[str, list[int]] = {}
    for i, digest in enumerate(study.digests):
        same.setdefault(digest, []).append(i)
    kept = []
    for members in same.values():
        labels = {refs[i].label for i in members} - {None}
        if len(labels) > 1:
            words = " and ".join(f"'{w}'" for w in sorted(map(str, labels)))
            left += [Skipped(refs[i].id, f"the same data is labelled {words}", "keep the right one") for i in members]
            continue
        best = min(members, key=lambda i: _worth(refs[i]))
        kept.append(best)
        left += [Skipped(refs[i].id, f"exactly the same as {refs[best].id}") for i in members if i != best]
    return sorted(kept)


def _worth(ref: Ref) -> tuple[int, bool, str]:
    return _SEALED.index(ref.part), ref.label is None, ref.id


def _copy(data: Dataset, folder: Path, rows: Sequence[tuple[Ref, Part]], left: Sequence[Skipped]) -> None:
    folder.chmod(0o755)
    sink = data.modality.sink(folder, layout=data.layout)
    for ref, part in rows:
        sink.copy(replace(ref, part=part))
    sink.close()
    write_jsonl(folder / "left-out.jsonl", [asdict(s) for s in left])
