"""Writing a data set of files: one file a sample, in class folders or flat, with metadata.jsonl beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any

from augmint.core.errors import BadSample, UserError
from augmint.core.run import data_sum, read_jsonl, write_bytes, write_jsonl
from augmint.core.types import Origin, Ref, Sample
from augmint.data import layout as conventions

_WINDOWS_NAMES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


class FolderSink:
    """Writes samples into a data set on disk, in a given layout, with metadata.jsonl beside them.

    `save` only writes a file and may run in worker processes; `note` keeps metadata.jsonl and belongs to one process.
    `write` and `copy` do both.

    Args:
        layout: ``class-folders``, ``flat`` or ``metadata``.
        file_name: the last part of a sample's id, with the ending that its file will have.
        encode: the bytes of that file, from the sample and the ending.
        beside: the bytes of further files of the same name, by their endings. These are functions of a module, not lambdas, so
            that the sink can be sent to workers.
        passing: keys of ``Sample.meta`` that a scan finds again, and that metadata.jsonl therefore leaves out.
    """

    def __init__(
        self,
        out: Path,
        *,
        layout: str,
        file_name: Callable[[Sample], str],
        encode: Callable[[Sample, str], bytes],
        beside: Callable[[Sample], Mapping[str, bytes]] | None = None,
        passing: Collection[str] = (),
    ) -> None:
        self.out, self.layout = out, layout
        self._file_name, self._encode, self._beside, self._passing = file_name, encode, beside, frozenset(passing)
        self._rows: dict[str, dict[str, dict[str, Any]]] = {}
        self._mine: set[str] = set()
        self._class_folders: set[str] = set()  # of the reals: what is made goes to them, whatever they are called

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rows": {}, "_mine": set()}  # a worker saves files and needs no lines

    def place(self, sample: Sample, *, part: str | None = None) -> Path:
        """Where a sample goes, relative to the sink's root: its id, under its class folder and part folder.

        An id that has them already keeps its place. Names that could leave the folder are refused.
        """
        path = PurePosixPath(sample.id)
        if path.is_absolute() or ".." in path.parts or "\0" in sample.id or not path.name:
            raise BadSample("this id cannot be a path inside the output", where=sample.id, mend="give another id")
        folders = list(path.parts[:-1])
        label = sample.label if self.layout == "class-folders" else None
        if label is not None and not {label, folder_name(label)} & set(folders[:2]):
            at = 1 if folders and conventions.part_of(folders[0]) else 0
            folders.insert(at, label if label in self._class_folders else folder_name(label))
        if part is not None and (not folders or conventions.part_of(folders[0]) != conventions.part_of(part)):
            folders.insert(0, part)
        return Path(*folders, self._file_name(sample))

    def save(self, sample: Sample, *, part: str | None = None) -> dict[str, str]:
        """Write one sample's file, and those beside it; returns their places, its own first, and the SHA-256 of each.

        None is waited for to reach the disk: who needs that calls `run.settle` after the last one.
        """
        place = self.place(sample, part=part)
        beside = self._beside(sample) if self._beside is not None else {}
        files = {
            place: self._encode(sample, place.suffix),
            **{place.with_suffix(s): data for s, data in beside.items()},
        }
        return dict(self._put(path, data) for path, data in files.items())

    def _put(self, place: Path, data: bytes) -> tuple[str, str]:
        write_bytes(self.out / place, data, sync=False)
        return place.as_posix(), data_sum(data)

    def note(
        self,
        place: Path,
        *,
        label: str | None,
        origin: Origin,
        part: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a line to metadata.jsonl: the split folder's own if the sample lies in its part's folder, else the root's.

        The part also stands in the column `split`. A line that an interrupted run has left is taken over.
        """
        name = place.as_posix()
        if name in self._mine:
            raise UserError(
                "two samples would be written to one file", where=self.out / name, mend="give them other ids"
            )
        self._mine.add(name)
        top, _, rest = name.partition("/")
        in_folder = part is not None and bool(rest) and conventions.part_of(top) == conventions.part_of(part)
        split = {"split": part} if part is not None else {}
        row = {"file_name": rest if in_folder else name, "label": label, "origin": origin, **split, **(extra or {})}
        self._append(top if in_folder else "", row)

    def _append(self, home: str, row: dict[str, Any]) -> None:
        path, rows, name = self.out / home / "metadata.jsonl", self._known(home), row["file_name"]
        if name not in rows:
            rows[name] = row
            with path.open("a", encoding="utf-8") as f:
                f.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        elif rows[name] != row:
            rows[name] = row
            write_jsonl(path, list(rows.values()))

    def _known(self, home: str) -> dict[str, dict[str, Any]]:
        if home not in self._rows:
            path = self.out / home / "metadata.jsonl"
            self._rows[home] = {str(r.get("file_name")): r for r in read_jsonl(path)}
            write_jsonl(path, list(self._rows[home].values()))  # drops a line that a kill has cut short
        return self._rows[home]

    def close(self) -> None:
        """Sort metadata.jsonl by file name, and move each line into its split folder's file."""
        parts = conventions.split_folders({name.split("/", 1)[0] for name in self._mine if "/" in name})
        for part in parts:
            self._known(part)
        lines = {f"{home}/{name}" if home else name: r for home, rows in self._rows.items() for name, r in rows.items()}
        homes: dict[str, list[dict[str, Any]]] = {home: [] for home in self._rows}
        for name in sorted(lines):
            top, _, rest = name.partition("/")
            home = top if rest and top in parts else ""
            homes.setdefault(home, []).append({**lines[name], "file_name": rest if home else name})
        for home, rows in homes.items():
            path = self.out / home / "metadata.jsonl"
            if rows:
                write_jsonl(path, rows)
            else:
                path.unlink(missing_ok=True)
        self._rows = {home: {r["file_name"]: r for r in rows} for home, rows in homes.items() if rows}

    def write(self, sample: Sample, *, part: str | None = None) -> Path:
        """`save` and `note` one sample. Columns of its ``meta`` that the scan did not make go into its line."""
        place = Path(next(iter(self.save(sample, part=part))))
        self.note(place, label=sample.label, origin=sample.origin, part=part, extra=self._own_columns(sample.meta))
        return place

    def copy(self, ref: Ref) -> Path:
        """Copy a file and those beside it byte for byte to the path of its id, and note it with the ref's part.

        The id may name another top folder than the one that the file lies in: those beside it go there too.
        """
        place = PurePosixPath(ref.id)
        if place.is_absolute() or ".." in place.parts:
            raise BadSample("this id cannot be a path inside the output", where=ref.id, mend="give another id")
        self._put(Path(place), ref.path.read_bytes())
        for path, target in self.beside(ref):
            if not (self.out / target).exists():
                self._put(target, path.read_bytes())
        self._class_folders |= {ref.label} & set(place.parts[:-1][:2]) if ref.label is not None else set()
        columns, origin = self._own_columns(ref.meta), ref.meta.get("origin", "real")
        self.note(Path(place), label=ref.label, origin=origin, part=ref.part, extra=columns)
        return Path(place)

    def beside(self, ref: Ref) -> Iterator[tuple[Path, Path]]:
        """Each file beside a real sample, and the place that `copy` gives it."""
        own = PurePosixPath(ref.id).parts
        root = ref.path.parents[len(own) - 1]
        home = ref.path.relative_to(root).parts[0]
        for path in ref.beside:
            place = path.relative_to(root)
            # Where its sample goes to another top folder, it goes there too.
            yield path, Path(own[0], *place.parts[1:]) if place.parts[0] == home != own[0] else place

    def _own_columns(self, meta: Mapping[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in meta.items() if k not in self._passing}


def folder_name(label: str) -> str:
    """A label as the name of one folder, on any system; changed names end in a hash, so that no two labels meet."""
    clean = re.sub(r'[\x00-\x1f/\\:*?"<>|]', "_", label).strip(" .")[:50].rstrip(" .")
    if clean and clean == label and not _WINDOWS_NAMES.fullmatch(clean):
        return clean
    return f"{clean or 'class'}-{blake2b(label.encode('utf-8', 'replace'), digest_size=3).hexdigest()}"
