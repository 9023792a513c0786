"""Folder conventions: class folders, one flat folder, or metadata.csv / metadata.jsonl, with train/val/test or without.

Nothing here opens a sample. A path is followed only as long as it stays inside the data folder.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, isnan
from pathlib import Path, PurePosixPath
from typing import Any

from augmint.core.errors import BadSample, UserError, did_you_mean
from augmint.core.types import Part, Ref, Scan, Skipped
from augmint.core.wording import number_of
from augmint.data.tables import NAMES, Metadata, read_metadata

_PARTS: dict[str, Part] = {
    **dict.fromkeys(("train", "training", "fit"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "held-out", "heldout"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_JUNK = {"thumbs.db", "desktop.ini", "ehthumbs.db", "__macosx", "icon\r", "$recycle.bin", "@eadir"}

_OURS = {
    "left-out.jsonl",
    "manifest.jsonl",
    "metrics.json",
    "recipe.yaml",
    "rejected.jsonl",
    "README.md",
    "report.html",
}  # what augmint writes beside


def part_of(name: str) -> Part | None:
    """The part that a folder name or a ``split`` field means (``valid`` → ``val``), or ``None``."""
    return _PARTS.get(name.strip().lower())


def scan(root: Path, suffixes: Sequence[str], *, beside: Sequence[str] = (), strict: bool = False) -> Scan:
    """Find the samples under a folder, with labels and parts, in the order of their paths.

    - ``root/[train|val|test/]<class>/**/x.png``: class folders; the first folder is the label.
    - ``root/[train|val|test/]x.png``: flat, no labels.
    - ``metadata.csv`` or ``metadata.jsonl`` in the root or in a split folder: ``file_name`` is relative to the file,
      ``label`` and ``split`` are optional, other columns go to ``Ref.meta``. Files that it does not list are left out.

    Hidden files and what operating systems leave behind are passed over; symlinks may not lead out of ``root``.

    Args:
        suffixes: lower-case endings of sample files, with the dot.
        beside: endings of further files; one of a sample's own name lies beside it (``Ref.beside``).
        strict: raise for the first file or row that would be skipped.

    Raises:
        UserError: no such folder, nothing in it, or a metadata file that is no table.
        BadSample: with ``strict``, the first file or row that cannot be used.
    """
    if not root.exists():
        raise UserError("there is no such folder", where=root, mend="check the path")
    if not root.is_dir():
        raise UserError("this is a file; a folder of samples is expected", where=root, mend="give the folder it is in")
    base = root.resolve()
    found = _Walk(base, tuple(suffixes), tuple(s.lower() for s in beside))
    found.walk()
    folders = _split_folders(found)
    tables = _metadata(found, folders)
    refs = [_accompanied(found, ref) for ref in _listed(found, tables, folders) + _by_folder(found, tables, folders)]
    refs.sort(key=lambda r: r.id)
    if strict and found.skipped:
        first = found.skipped[0]
        raise BadSample(first.reason, where=first.where, mend=first.mend)
    if not refs:
        raise _nothing(root, found)
    _remark(found, refs, folders, bool(tables))
    return Scan(tuple(refs), _layout(refs, folders, bool(tables)), tuple(found.notes), tuple(found.skipped))


def examined(found: Scan, look: Callable[[Ref], Ref], *, root: Path, strict: bool) -> Scan:
    """With what each file says of itself in its head: ``look`` adds it to a reference, its ``origin`` too.

    A file with a broken head is skipped and named.

    Raises:
        UserError: none of the files can be used.
        BadSample: with ``strict``, the first that cannot.
    """
    refs: list[Ref] = []
    bad: list[Skipped] = []
    for ref in found.refs:
        try:
            refs.append(look(ref))
        except BadSample as error:
            if strict:
                raise
            bad.append(Skipped(ref.id, error.problem, error.mend))
    if not refs:
        raise UserError(
            f"none of the {len(bad)} files can be used; the first, {bad[0].where}: {bad[0].reason}",
            where=root,
            mend=bad[0].mend,
        )
    made = sum(r.meta["origin"] != "real" for r in refs)
    note = (f"{made} of {len(refs)} samples are marked as augmented or synthetic",) if made else ()
    return replace(found, refs=tuple(refs), skipped=(*found.skipped, *bad), notes=(*found.notes, *note))


@dataclass
class _Walk:
    """What lies under the root: sample files by their POSIX path, metadata files, and what was passed over."""

    base: Path
    suffixes: tuple[str, ...]
    beside: tuple[str, ...] = ()
    files: dict[str, Path] = field(default_factory=dict)
    companions: dict[str, list[Path]] = field(default_factory=dict)
    tables: list[PurePosixPath] = field(default_factory=list)
    folders: list[PurePosixPath] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def skip(self, where: object, reason: str, mend: str) -> None:
        self.skipped.append(Skipped(str(where), reason, mend))

    def walk(self) -> None:
        for here, names, files in os.walk(self.base, onerror=self._unreadable):
            names[:] = sorted(n for n in names if self._enter(Path(here) / n))
            self.folders += [PurePosixPath((Path(here) / n).relative_to(self.base).as_posix()) for n in names]
            for name in sorted(files):
                self._file(Path(here) / name)

    def _unreadable(self, error: OSError) -> None:
        self.skip(error.filename, f"the folder may not be read: {error.strerror}", "mend its permissions")

    def _enter(self, path: Path) -> bool:
        if path.name.startswith(".") or path.name.lower() in _JUNK:
            return False
        if path.is_symlink():
            self.skip(
                path.relative_to(self.base).as_posix(),
                "a folder that is a symlink is not followed",
                "put the files themselves into the data folder",
            )
            return False
        return True

    def _file(self, path: Path) -> None:
        name = path.name
        if name.startswith(".") or name.lower() in _JUNK or name in _OURS:
            return
        relative = path.relative_to(self.base).as_posix()
        if not relative.isprintable() or any("\ud800" <= c <= "\udfff" for c in relative):
            self.skip(ascii(relative), "the file's name holds control characters or is not UTF-8", "rename the file")
        elif name not in NAMES and path.suffix.lower() in self.beside and path.is_file() and self._inside(path):
            self.companions.setdefault(relative[: -len(path.suffix)], []).append(path)
        elif name not in NAMES and path.suffix.lower() not in self.suffixes:
            self.others[path.suffix.lower() or "no ending"] += 1
        elif path.is_symlink() and not self._inside(path):
            self.skip(relative, "a symlink that leads out of the data folder", "put the file itself into the folder")
        elif not path.is_file():
            self.skip(relative, "not a regular file", "take it out of the folder")
        elif name in NAMES:
            self.tables.append(PurePosixPath(relative))
        else:
            self.files[relative] = path

    def _inside(self, path: Path) -> bool:
        try:
            return path.resolve(strict=True).is_relative_to(self.base)
        except (OSError, RuntimeError):  # dangling, or a loop
            return False


def _accompanied(found: _Walk, ref: Ref) -> Ref:
    """With the files of its own name beside it; they are taken once."""
    return replace(ref, beside=tuple(found.companions.pop(ref.id[: -len(PurePosixPath(ref.id).suffix)], ())))


def split_folders(tops: Iterable[str]) -> dict[str, Part]:
    """Which top-level folders are parts of a split: all of them, or those beside a ``train``.

    A lone ``test`` among other folders is a class.
    """
    names = sorted(set(tops))
    parts = {name: part for name in names if (part := part_of(name))}
    values = set(parts.values())
    return parts if len(parts) == len(names) or ("train" in values and len(values) > 1) else {}


def _split_folders(found: _Walk) -> dict[str, Part]:
    tops = {PurePosixPath(f).parts[0] for f in found.files if "/" in f}
    parts = split_folders(tops)
    alike = [name for name in sorted(tops) if part_of(name)]
    if alike and not parts:
        found.notes.append(f"the folder '{alike[0]}' is read as a class, for other class folders stand beside it")
    return parts


def _metadata(found: _Walk, folders: dict[str, Part]) -> dict[str, Metadata]:
    """Metadata files that count, by the folder they describe ('' for the root)."""
    tables: dict[str, Metadata] = {}
    for path in found.tables:
        folder = "" if len(path.parts) == 1 else path.parent.as_posix()
        if folder and folder not in folders:
            found.notes.append(f"{path} is ignored: metadata belongs into the data folder itself or a split folder")
        elif folder in tables:
            raise UserError(
                "metadata.csv and metadata.jsonl stand side by side",
                where=found.base / folder,
                mend="keep one of the two",
            )
        else:
            tables[folder] = read_metadata(found.base / path)
    found.notes += [note for table in tables.values() if (note := table.note)]
    return tables


def _listed(found: _Walk, tables: dict[str, Metadata], folders: dict[str, Part]) -> list[Ref]:
    """The samples that metadata files name."""
    refs: dict[str, Ref] = {}
    twice: set[str] = set()
    named: set[str] = set()
    for folder, table in tables.items():
        for row in table.rows:
            where = f"{table.path}, line {row.line}"
            named.add(_safe_name(found, row.values.get("file_name"), folder)[0])
            ref = _row_ref(found, folder, row.values, where, folders)
            if ref is None:
                continue
            if ref.id not in refs:
                refs[ref.id] = ref
            elif refs[ref.id].label == ref.label:
                found.skip(where, f"'{ref.id}' is listed a second time", "remove the line")
            else:
                labels = f"'{refs[ref.id].label}' and '{ref.label}'"
                found.skip(where, f"'{ref.id}' is listed twice, as {labels}: left out", "keep the line that is right")
                twice.add(ref.id)
    for folder in tables:
        for name in found.files:
            if name not in named and _owner(name, tables) == folder:
                found.skip(name, "not listed in the metadata file", "add a line for it, or delete the file")
    return [ref for name, ref in refs.items() if name not in twice]


def _owner(name: str, tables: dict[str, Metadata]) -> str | None:
    """The folder whose metadata file describes this file: its split folder's own, else the root's."""
    top = name.split("/", 1)[0]
    if "/" in name and top in tables:
        return top
    return "" if "" in tables else None


def _row_ref(found: _Walk, folder: str, values: dict[str, Any], where: str, folders: dict[str, Part]) -> Ref | None:
    name, problem = _safe_name(found, values.get("file_name"), folder)
    if problem:
        found.skip(where, problem, "write the path relative to the metadata file, inside its folder")
        return None
    if name not in found.files:
        _explain_missing(found, name, where)
        return None
    label, problem = _label(values.get("label"))
    if problem:
        found.skip(where, problem, "write one label, as text")
        return None
    top = name.split("/", 1)[0]
    part = folders.get(top) if "/" in name else None
    split = values.get("split")
    if split not in (None, ""):
        part = part_of(str(split))
        if part is None:
            found.skip(where, f"unknown split '{split}'{did_you_mean(str(split), _PARTS)}", "use train, val or test")
            return None
    if "label" not in values:
        inner = PurePosixPath(name).parts[1 if top in folders else 0 :]
        label = inner[0] if len(inner) > 1 else None
    meta = {k: v for k, v in values.items() if k not in ("file_name", "label", "split") and _is_plain(v)}
    return Ref(name, found.files[name], label, part, meta=meta)


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int)) or (isinstance(value, float) and isfinite(value))


def _explain_missing(found: _Walk, name: str, where: str) -> None:
    if any(s.where == name for s in found.skipped):
        return  # already named, with the better reason
    if PurePosixPath(name).suffix.lower() not in ("", *found.suffixes):
        found.skip(where, f"'{name}' is not one of {', '.join(found.suffixes)}", "convert the file, or remove the line")
    else:
        found.skip(where, f"there is no file '{name}'", "restore the file, or remove the line")


def _safe_name(found: _Walk, value: Any, folder: str) -> tuple[str, str]:
    """(POSIX path relative to the root, '') or ('', what is wrong). A name without its ending means the file that has one."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        return "", f"file_name is {value!r}, not a path"
    path = PurePosixPath(value.strip().replace("\\", "/"))
    if path.is_absolute() or (path.parts and path.parts[0].endswith(":")):
        return "", f"file_name '{value}' is an absolute path"
    if ".." in path.parts:
        return "", f"file_name '{value}' leads out of the data folder"
    name = (PurePosixPath(folder) / path).as_posix()
    return next((n for n in (name, *(name + suffix for suffix in found.suffixes)) if n in found.files), name), ""


def _label(value: Any) -> tuple[str | None, str]:
    if value is None or (isinstance(value, str) and not value.strip()) or (isinstance(value, float) and isnan(value)):
        return None, ""
    if isinstance(value, (str, int, float)):
        return str(value), ""
    return None, f"the label is {value!r}; one class a sample is expected"


def _by_folder(found: _Walk, tables: dict[str, Metadata], folders: dict[str, Part]) -> list[Ref]:
    """The samples that no metadata file is about, labelled by their folders."""
    sections: dict[str, list[str]] = {}
    for name in found.files:
        if _owner(name, tables) is not None:
            continue
        top = name.split("/", 1)[0] if "/" in name else ""
        if folders and top not in folders:
            found.skip(name, "it lies beside the split folders " + ", ".join(folders), "move it into one of them")
        else:
            sections.setdefault(top if folders else "", []).append(name)
    return [ref for top, names in sections.items() for ref in _section(found, top, names, folders.get(top))]


def _section(found: _Walk, top: str, names: list[str], part: Part | None) -> list[Ref]:
    """One split folder, or the whole: class folders if at least as many files lie in sub-folders as beside them."""
    inner = {name: PurePosixPath(name).parts[1 if top else 0 :] for name in names}
    deep = [n for n in names if len(inner[n]) > 1]
    flat = [n for n in names if len(inner[n]) == 1]
    if len(deep) >= len(flat):
        for name in flat:
            found.skip(name, "it lies beside the class folders and so has no class", "move it into a class folder")
        return [Ref(n, found.files[n], inner[n][0], part) for n in deep]
    for name in deep:
        found.skip(
            name,
            f"it lies in a sub-folder of a flat folder ({len(flat)} files lie directly in it)",
            "move it up, or sort all files into class folders",
        )
    return [Ref(n, found.files[n], None, part) for n in flat]


def _layout(refs: list[Ref], folders: dict[str, Part], has_tables: bool) -> str:
    labelled = [r for r in refs if r.label is not None]

    def in_class_folder(ref: Ref) -> bool:
        parts = PurePosixPath(ref.id).parts
        inner = parts[1 if parts[0] in folders else 0 :]
        return len(inner) > 1 and inner[0] == ref.label

    if labelled and all(in_class_folder(r) for r in labelled):
        return "class-folders"
    return "metadata" if has_tables else "flat"


def _remark(found: _Walk, refs: list[Ref], folders: dict[str, Part], has_tables: bool) -> None:
    """Remarks on what a person may have meant otherwise."""
    labels = {r.label for r in refs if r.label is not None}
    alone = [path for paths in found.companions.values() for path in paths]
    if alone:
        first = min(alone).relative_to(found.base).as_posix()
        found.notes.append(
            f"no sample has the name of {number_of(len(alone), 'label file')}, the first {first}: they are passed over; "
            "names must be the same but for the ending"
        )
    if found.others:
        listing = ", ".join(f"{n} {suffix}" for suffix, n in found.others.most_common(5))
        found.notes.append(f"other files are passed over ({listing}); read are {', '.join(found.suffixes)}")
    if folders:
        found.notes.append("split folders: " + ", ".join(f"{name} = {part}" for name, part in folders.items()))
    by_case = Counter(label.strip().lower() for label in labels)
    if same := [label for label, n in by_case.items() if n > 1]:
        found.notes.append(f"class '{same[0]}' is spelled in more than one way: these count as different classes")
    if has_tables or not labels:
        return
    depth = 1 if folders else 0
    full = {PurePosixPath(r.id).parts[: depth + 1] for r in refs}
    empty = [f for f in found.folders if len(f.parts) == depth + 1 and f.parts not in full]
    found.notes += [f"the folder '{f}' holds no samples" for f in empty[:5]]
    if len(labels) == 1:
        inside = sorted(
            {PurePosixPath(r.id).parts[depth + 1] for r in refs if len(PurePosixPath(r.id).parts) > depth + 2}
        )
        hint = (
            f"; if its folders ({', '.join(inside[:4])}) are the classes, give that folder" if len(inside) > 1 else ""
        )
        found.notes.append(f"there is only one class folder, '{next(iter(labels))}'{hint}")


def _nothing(root: Path, found: _Walk) -> UserError:
    wanted = ", ".join(found.suffixes)
    if found.skipped:
        first = found.skipped[0]
        return UserError(
            f"no usable samples ({wanted}); {len(found.skipped)} left out, the first: {first.where}: {first.reason}",
            where=root,
            mend=first.mend,
        )
    if found.others:
        listing = ", ".join(f"{n} {suffix}" for suffix, n in found.others.most_common(5))
        return UserError(f"no samples ({wanted}), only {listing}", where=root, mend="convert them, or check the path")
    return UserError(
        f"the folder holds no samples ({wanted})", where=root, mend="put samples into it, or check the path"
    )
