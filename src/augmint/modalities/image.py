"""Pictures: PNG and JPEG files, gray, RGB or RGBA, of any size."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from augmint.core.errors import BadSample, UserError
from augmint.core.run import read_jsonl, write_bytes, write_jsonl
from augmint.core.types import F32, Dataset, Grid, Origin, Ref, Sample, Scan, Skipped
from augmint.data import images, layout
from augmint.data.images import SOURCE_TYPES, SUFFIXES, U8
from augmint.data.split import box_means

LARGEST = 64  # pixels on the longer side, unless a size is asked for: what a CPU trains a GAN on in minutes
SMALLEST = 4
_SCANNED = ("height", "width", "channels", "format", "bytes", "origin")
_ORIGINS: dict[str | None, Origin] = {SOURCE_TYPES["augmented"]: "augmented", SOURCE_TYPES["synthetic"]: "synthetic"}
_WINDOWS_NAMES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


class ImageModality:
    """Everything about pictures: `Sample.data` is uint8 ``[H, W, C]`` with C in {1, 3, 4}."""

    name = "image"
    ops = (
        "Rotate",
        "Translate",
        "Scale",
        "Shear",
        "HorizontalFlip",
        "VerticalFlip",
        "Crop",
        "Brightness",
        "Contrast",
        "Saturation",
        "Gamma",
        "GaussianNoise",
        "GaussianBlur",
        "Cutout",
    )

    def scan(self, root: Path, *, strict: bool = False) -> Scan:
        """Class folders, a flat folder or metadata, as `layout.scan` has it, and each picture's header.

        Every ``Ref.meta`` gets ``height, width`` (upright), ``channels, format, bytes`` and ``origin``; a picture
        whose header is broken or too large is skipped and named.
        """
        found = layout.scan(root, SUFFIXES, strict=strict)
        refs: list[Ref] = []
        bad: list[Skipped] = []
        for ref in found.refs:
            try:
                refs.append(_with_header(ref))
            except BadSample as error:
                if strict:
                    raise
                bad.append(Skipped(ref.id, error.problem, error.mend))
        if not refs:
            raise UserError(
                f"none of the {len(bad)} pictures can be used; the first, {bad[0].where}: {bad[0].reason}",
                where=root,
                mend=bad[0].mend,
            )
        made = sum(r.meta["origin"] != "real" for r in refs)
        note = (f"{made} of {len(refs)} pictures are marked as augmented or synthetic",) if made else ()
        return replace(found, refs=tuple(refs), skipped=(*found.skipped, *bad), notes=(*found.notes, *note))

    def load(self, ref: Ref) -> Sample:
        """Decode one picture; see `images.read` for what may be in the file and what comes out."""
        origin = ref.meta.get("origin", "real")
        return Sample(ref.id, images.read(ref.path), ref.label, meta=ref.meta, origin=origin)

    def sink(self, out: Path, *, layout: str) -> ImageSink:
        return ImageSink(out, layout=layout)

    def fit(self, dataset: Dataset, *, size: int | None = None) -> ImageCodec:
        """One grid for all pictures: their own size where it is common and at most 64, else a letterbox.

        Mixed sizes get the median longer side (at most 64) and the median aspect, or a square where upright and lying
        pictures are mixed. ``size`` sets the longer side. Channels are the widest that occur.
        """
        if not len(dataset):
            raise UserError("there are no pictures to fit a grid to", where=dataset.root, mend="check the folder")
        shapes = np.array([_shape(dataset, i) for i in range(len(dataset))])
        height, width = _grid_size(shapes[:, :2].astype(np.float64), size)
        channels = int(shapes[:, 2].max())
        fits = (np.abs(shapes[:, 0] * width - shapes[:, 1] * height) <= np.maximum(shapes[:, 0], shapes[:, 1])).all()
        pad = (0,) * channels if fits or channels == 4 else _border_level(dataset, channels)
        return ImageCodec(channels, height, width, pad)

    def codec(self, state: Mapping[str, Any]) -> ImageCodec:
        return ImageCodec(state["channels"], state["height"], state["width"], tuple(state["pad"]))

    def features(self, batch: F32) -> F32:
        """``[N, D]`` of ``[N, C, H, W]``: 8 x 8 box means, level and contrast of each channel, and 4 x 4 cells of
        gradient directions (8 bins, weighted by magnitude; after Dalal and Triggs 2005, without their blocks)."""
        num, channels = batch.shape[:2]
        small = box_means(box_means(batch, 2, 8), 3, 8).reshape(num, -1)
        flat = batch.reshape(num, channels, -1)
        return np.concatenate([small, flat.mean(axis=2), flat.std(axis=2), _gradients(batch)], axis=1, dtype=np.float32)

    def preview(self, sample: Sample, *, width: int = 96) -> str:
        """An ``<img>`` with the picture inside; small pictures keep sharp pixels, large ones are shrunk first."""
        data: U8 = sample.data
        height = max(1, round(width * data.shape[0] / data.shape[1]))
        if data.shape[1] > 2 * width:
            data = _resized(data, (2 * height, 2 * width))
        coded = base64.b64encode(images.encode(data, ".png")).decode("ascii")
        style = ' style="image-rendering:pixelated"' if data.shape[1] < width else ""
        title = escape(sample.id if sample.label is None else f"{sample.label}: {sample.id}", quote=True)
        return (
            f'<img src="data:image/png;base64,{coded}" width="{width}" height="{height}" '
            f'alt="{title}" title="{title}" loading="lazy"{style}>'
        )


def _with_header(ref: Ref) -> Ref:
    head = images.header(ref.path)
    told = ref.meta.get("origin")
    origin = told if told in ("real", *_ORIGINS.values()) else _ORIGINS.get(head.mark, "real")
    seen = {"height": head.height, "width": head.width, "channels": head.channels, "format": head.format}
    return replace(ref, meta={**ref.meta, **seen, "bytes": ref.path.stat().st_size, "origin": origin})


def _shape(dataset: Dataset, index: int) -> tuple[int, int, int]:
    meta = dataset.refs[index].meta
    if {"height", "width", "channels"} <= meta.keys():
        return meta["height"], meta["width"], meta["channels"]
    height, width, channels = dataset[index].data.shape
    return height, width, channels


def _grid_size(sizes: F32 | np.ndarray[Any, np.dtype[np.float64]], size: int | None) -> tuple[int, int]:
    """(height, width) of the grid for pictures of ``sizes`` ``[N, 2]``."""
    if (sizes == sizes[0]).all():
        height, width = float(sizes[0, 0]), float(sizes[0, 1])
    else:
        aspects = np.log(sizes[:, 1] / sizes[:, 0])
        low, middle, high = np.quantile(aspects, [0.2, 0.5, 0.8])
        aspect = 1.0 if low < -0.1 and high > 0.1 else float(np.exp(middle))
        longer = float(np.median(sizes.max(axis=1)))
        height, width = longer / max(aspect, 1.0), longer * min(aspect, 1.0)
    scale = (size or min(LARGEST, max(height, width))) / max(height, width)
    return max(SMALLEST, round(height * scale)), max(SMALLEST, round(width * scale))


def _border_level(dataset: Dataset, channels: int) -> tuple[int, ...]:
    """Median of the outermost pixels over at most 200 pictures: what letterbox bars blend in with."""
    edges = []
    for i in np.unique(np.linspace(0, len(dataset) - 1, 200).astype(int)):
        try:
            x = _promoted(dataset[int(i)].data, channels)
        except BadSample:
            continue
        edges.append(np.median(np.concatenate([x[0], x[-1], x[:, 0], x[:, -1]]), axis=0))
    return tuple(int(v) for v in np.median(edges, axis=0)) if edges else (0,) * channels


def _promoted(x: U8, channels: int) -> U8:
    """Gray to RGB to RGBA without loss; the other way, alpha is laid on black and colour becomes luma."""
    have = x.shape[2]
    if have == 4 and channels < 4:
        x = ((x[:, :, :3].astype(np.uint16) * x[:, :, 3:] + 127) // 255).astype(np.uint8)
        have = 3
    if have == 3 and channels == 1:
        gray: U8 = np.asarray(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY), dtype=np.uint8)[:, :, None]
        return gray
    if have == 1 and channels >= 3:
        x = np.repeat(x, 3, axis=2)
    if channels == 4 and x.shape[2] == 3:
        x = np.concatenate([x, np.full((*x.shape[:2], 1), 255, dtype=np.uint8)], axis=2)
    return x


def _resized(x: Any, size: tuple[int, int]) -> Any:
    if x.shape[:2] == size:
        return x
    shrinks = size[0] < x.shape[0] or size[1] < x.shape[1]
    out: Any = cv2.resize(x, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return out[:, :, None] if out.ndim == 2 else out


def _gradients(batch: F32) -> F32:
    gray = batch.mean(axis=1)
    dy, dx = np.gradient(gray, axis=(1, 2))
    magnitude = np.hypot(dx, dy)
    bins = ((np.arctan2(dy, dx) / (2 * np.pi) + 1.0) * 8).astype(np.int64) % 8
    planes = np.where(bins[:, None] == np.arange(8)[None, :, None, None], magnitude[:, None], 0.0).astype(np.float32)
    cells = box_means(box_means(planes, 2, 4), 3, 4).reshape(len(batch), -1)
    out: F32 = np.sqrt(cells)
    return out


@dataclass(frozen=True, slots=True)
class ImageCodec:
    """Between pictures of any size and one grid: aspect kept, the rest filled with ``pad`` (levels 0 to 255).

    Four channels are premultiplied on the grid, so that what lies under full transparency cannot be learned; `decode`
    undoes it.
    """

    channels: int
    height: int
    width: int
    pad: tuple[int, ...]

    @property
    def grid(self) -> Grid:
        return Grid(self.channels, (self.height, self.width))

    def encode(self, sample: Sample) -> F32:
        """``[C, height, width]`` float32 in [-1, 1]."""
        x = _promoted(sample.data, self.channels)
        if self.channels == 4:
            alpha = x[:, :, 3:].astype(np.float32) / 255.0
            x = np.concatenate([x[:, :, :3] * alpha, x[:, :, 3:]], axis=2, dtype=np.float32)
        boxed = self._letterbox(x.astype(np.float32)) / 127.5 - 1.0
        return np.ascontiguousarray(boxed.transpose(2, 0, 1), dtype=np.float32)

    def _letterbox(self, x: F32) -> F32:
        scale = min(self.height / x.shape[0], self.width / x.shape[1])
        height = min(self.height, max(1, round(x.shape[0] * scale)))
        width = min(self.width, max(1, round(x.shape[1] * scale)))
        inner: F32 = _resized(x, (height, width))
        if (height, width) == (self.height, self.width):
            return inner
        out = np.empty((self.height, self.width, self.channels), dtype=np.float32)
        out[:] = self.pad
        top, left = (self.height - height) // 2, (self.width - width) // 2
        out[top : top + height, left : left + width] = inner
        return out

    def decode(self, x: F32) -> U8:
        """uint8 ``[height, width, C]``; straight alpha where there are four channels."""
        y = (np.clip(x, -1.0, 1.0).transpose(1, 2, 0).astype(np.float32) + 1.0) * 127.5
        if self.channels == 4:
            alpha = np.rint(y[:, :, 3:]) / 255.0
            colour = np.where(alpha > 0, y[:, :, :3] / np.maximum(alpha, 1e-6), 0.0)
            y = np.concatenate([np.minimum(colour, 255.0), y[:, :, 3:]], axis=2)
        out: U8 = np.rint(y).astype(np.uint8)
        return out

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class ImageSink:
    """Writes pictures into a data set on disk, in a given layout, with metadata.jsonl beside them.

    `save` only writes a file and may run in worker processes; `note` keeps metadata.jsonl and belongs to one process,
    which calls it in the samples' order. `write` and `copy` do both.
    """

    def __init__(self, out: Path, *, layout: str) -> None:
        self.out, self.layout = out, layout
        self._rows: dict[str, dict[str, dict[str, Any]]] = {}
        self._mine: set[str] = set()

    def place(self, sample: Sample, *, part: str | None = None) -> Path:
        """Where a sample goes, relative to the sink's root: its id, under its class folder and part folder.

        An id that has them already keeps its place. Names that could leave the folder are refused.
        """
        path = PurePosixPath(sample.id)
        if path.is_absolute() or ".." in path.parts or "\0" in sample.id or not path.name:
            raise BadSample("this id cannot be a path inside the output", where=sample.id, mend="give another id")
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            path = path.with_name(path.name + ".png")
        elif suffix != ".png" and sample.data is not None and sample.data.shape[2] == 4:
            path = path.with_suffix(".png")
        folders = list(path.parts[:-1])
        wanted = folder_name(sample.label) if sample.label is not None and self.layout == "class-folders" else None
        if wanted is not None and wanted not in folders[:2]:
            at = 1 if folders and layout.part_of(folders[0]) else 0
            folders.insert(at, wanted)
        if part is not None and (not folders or layout.part_of(folders[0]) != layout.part_of(part)):
            folders.insert(0, part)
        return Path(*folders, path.name)

    def save(self, sample: Sample, *, part: str | None = None) -> Path:
        """Write one picture, with the provenance mark of its origin, and return its place."""
        place = self.place(sample, part=part)
        mark = SOURCE_TYPES.get(sample.origin)
        write_bytes(self.out / place, images.encode(sample.data, place.suffix, mark=mark))
        return place

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
        in_folder = part is not None and bool(rest) and layout.part_of(top) == layout.part_of(part)
        split = {"split": part} if part is not None else {}
        row = {"file_name": rest if in_folder else name, "label": label, "origin": origin, **split, **(extra or {})}
        self._append(self.out / (top if in_folder else "") / "metadata.jsonl", row)

    def _append(self, path: Path, row: dict[str, Any]) -> None:
        key = path.as_posix()
        if key not in self._rows:
            self._rows[key] = {str(r.get("file_name")): r for r in read_jsonl(path)}
            write_jsonl(path, list(self._rows[key].values()))  # drops a line that a kill has cut short
        rows, name = self._rows[key], row["file_name"]
        if name in rows and rows[name] != row:
            rows[name] = row
            write_jsonl(path, list(rows.values()))
        elif name not in rows:
            rows[name] = row
            with path.open("a", encoding="utf-8") as f:
                f.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")

    def write(self, sample: Sample, *, part: str | None = None) -> Path:
        """`save` and `note` one sample. Columns of its ``meta`` that the scan did not make go into its line."""
        place = self.save(sample, part=part)
        self.note(place, label=sample.label, origin=sample.origin, part=part, extra=_own_columns(sample.meta))
        return place

    def copy(self, ref: Ref, *, part: str | None = None) -> Path:
        """Copy a file byte for byte to the path of its id, and note it; ``part`` is by default what the ref says."""
        place = PurePosixPath(ref.id)
        if place.is_absolute() or ".." in place.parts:
            raise BadSample("this id cannot be a path inside the output", where=ref.id, mend="give another id")
        write_bytes(self.out / place, ref.path.read_bytes())
        columns, origin = _own_columns(ref.meta), ref.meta.get("origin", "real")
        self.note(Path(place), label=ref.label, origin=origin, part=part or ref.part, extra=columns)
        return Path(place)


def _own_columns(meta: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in meta.items() if k not in _SCANNED}


def folder_name(label: str) -> str:
    """A label as the name of one folder, on any system; changed names end in a hash, so that no two labels meet."""
    clean = re.sub(r'[\x00-\x1f/\\:*?"<>|]', "_", label).strip(" .")[:80]
    if clean == label and not _WINDOWS_NAMES.fullmatch(clean):
        return clean
    return f"{clean or 'class'}-{blake2b(label.encode('utf-8', 'replace'), digest_size=3).hexdigest()}"
