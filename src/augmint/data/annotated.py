"""Writing data sets with targets: what `objects` reads, in the layout that it came in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augmint.core.run import read_json, write_bytes
from augmint.core.types import Ref, Sample
from augmint.data import outlines
from augmint.data.objects import Point, Thing
from augmint.data.sink import FolderSink

_ASIDE = ".targets"  # what workers tell of COCO's pictures, until the one file is written


class AnnotatedSink(FolderSink):
    """A `FolderSink` that writes the targets too: label files, masks, or the COCO files in which the reals are told of.

    Reals keep their own files and lines, byte for byte and value for value; what is made is added behind them.
    """

    def __init__(self, out: Path, **how: Any) -> None:
        super().__init__(out, **how)
        self._sources: dict[str, Path] = {}  # COCO files, by their place
        self._copied: dict[str, set[Any]] = {}  # numbers of pictures in each
        self._folders: dict[tuple[str, str], str] = {}  # where the file names of a folder's pictures count from

    def save(self, sample: Sample, *, part: str | None = None) -> dict[str, str]:
        """Write one sample's file and its targets; what is returned is `FolderSink.save`'s."""
        files = super().save(sample, part=part)
        place = Path(next(iter(files)))
        return {**files, **dict(self._put(path, data) for path, data in self._targets(sample, place))}

    def _targets(self, sample: Sample, place: Path) -> Iterator[tuple[Path, bytes]]:
        if self.layout == "masks" and "masks" in sample.targets:
            for folder, mask in zip(sample.meta["annotations"].split(","), sample.targets["masks"], strict=True):
                yield _beside(place, folder).with_suffix(".png"), _png(mask)
        elif "boxes" in sample.targets:
            objects = list(_objects(sample.targets))
            if self.layout == "yolo":
                yield label_place(place), _yolo_lines(objects, sample.data.shape[:2]).encode()
            elif "annotations" in sample.meta:
                height, width = sample.data.shape[:2]
                told = {"file": sample.meta["annotations"], "height": height, "width": width, "objects": objects}
                yield Path(_ASIDE) / f"{place.as_posix()}.json", json.dumps(told).encode()

    def copy(self, ref: Ref) -> Path:
        """Copy a file and what lies beside it; of a COCO file, which is not one picture's, what was copied is noted."""
        source = ref.meta.get("annotations") if self.layout == "coco" else None
        if source is None:
            return super().copy(ref)
        self._sources[source] = ref.beside[0]
        self._copied.setdefault(source, set()).add(ref.targets["number"])
        home = PurePosixPath(ref.targets["file_name"]).parent.as_posix()
        self._folders[source, PurePosixPath(ref.id).parent.as_posix()] = home
        return super().copy(replace(ref, beside=()))

    def close(self) -> None:
        """Write the COCO files, and what `FolderSink` writes at the end."""
        super().close()
        made: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        aside = self.out / _ASIDE
        for path in sorted(aside.rglob("*.json")):
            told = read_json(path)
            made.setdefault(told["file"], []).append((path.relative_to(aside).as_posix().removesuffix(".json"), told))
        for name, source in self._sources.items():
            write_bytes(self.out / name, json.dumps(self._merged(name, read_json(source), made.get(name, []))).encode())
        shutil.rmtree(aside, ignore_errors=True)

    def _merged(self, name: str, found: dict[str, Any], made: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
        """The reals of a COCO file that were copied, and behind them what was made."""
        own = self._copied[name]
        images = [i for i in found["images"] if i.get("id") in own]
        rows = [a for a in found["annotations"] if a.get("image_id") in own]
        next_image, next_row = (_next_id(found[k]) for k in ("images", "annotations"))
        for number, (place, told) in enumerate(made, next_image):
            home = self._folders[name, PurePosixPath(place).parent.as_posix()]
            file_name = (PurePosixPath(home) / PurePosixPath(place).name).as_posix()
            images.append({"id": number, "file_name": file_name, "height": told["height"], "width": told["width"]})
            for entry in told["objects"]:
                rows.append({"id": next_row, "image_id": number, **_coco_row(entry)})
                next_row += 1
        return {**found, "images": images, "annotations": rows}


def _next_id(rows: list[dict[str, Any]]) -> int:
    return 1 + max((r["id"] for r in rows if isinstance(r.get("id"), int)), default=0)


def label_place(place: Path) -> Path:
    """``images/train/a.jpg`` → ``labels/train/a.txt``: the last folder of that name counts."""
    return _beside(place, "labels").with_suffix(".txt")


def _beside(place: Path, folder: str) -> Path:
    parts = list(place.parts)
    at = max((i for i, p in enumerate(parts[:-1]) if p == "images"), default=None)
    return Path(folder, *parts) if at is None else Path(*parts[:at], folder, *parts[at + 1 :])


def _objects(targets: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each box with its class, outline and keypoints, as plain values."""
    instances = targets.get("instances")
    points: dict[str, list[tuple[Point, list[float]]]] = {}
    for place, point in zip(targets["keypoints"].tolist(), targets["keypoint_labels"], strict=True):
        points.setdefault(point.key, []).append((point, place))
    out = []
    for number, (box, thing) in enumerate(zip(targets["boxes"].tolist(), targets["box_labels"], strict=True), 1):
        pixels = instances == number if instances is not None else None
        entry = {
            "label": thing.label,
            "number": thing.number,
            "box": [round(v, 3) for v in box],
            "more": dict(thing.more),
        }
        entry |= {"points": _points(thing, points.get(thing.key, [])), "point_size": thing.point_size}
        out.append({**entry, **(_outline(pixels, thing) if pixels is not None and pixels.any() else {})})
    return out


def _outline(pixels: NDArray[np.bool_], thing: Thing) -> dict[str, Any]:
    polygons = outlines.traced(pixels)
    needs_runs = not polygons or bool(thing.more.get("iscrowd")) or outlines.has_holes(pixels)
    runs = {"runs": outlines.to_runs(pixels)} if needs_runs else {}
    return {"area": int(pixels.sum()), "polygons": polygons, **runs}


def _points(thing: Thing, found: list[tuple[Point, list[float]]]) -> list[float]:
    """x, y and visibility of each keypoint of its kind; zeros for those that are not there."""
    out = [0.0] * (3 * thing.num_points)
    for point, (x, y) in found:
        out[3 * point.number : 3 * point.number + 3] = [round(x, 3), round(y, 3), point.seen]
    return out


def _coco_row(entry: Mapping[str, Any]) -> dict[str, Any]:
    left, top, right, bottom = entry["box"]
    wide, high = round(right - left, 3), round(bottom - top, 3)
    row = {
        "category_id": entry["number"],
        "bbox": [left, top, wide, high],
        "area": entry.get("area", round(wide * high, 3)),
        "iscrowd": 0,
    }
    if "polygons" in entry:
        row["segmentation"] = entry.get("runs") or entry["polygons"]
    if entry["points"]:
        row["keypoints"] = entry["points"]
        row["num_keypoints"] = sum(v > 0 for v in entry["points"][2::3])
    return {**row, **entry["more"]}


def _yolo_lines(objects: list[dict[str, Any]], size: tuple[int, int]) -> str:
    """A line an object: a polygon where it has an outline, its parts joined, else the box and its keypoints.

    Several lines would be several objects to whoever trains on them, and the format has no other way for parts.
    """
    height, width = size
    lines = []
    for entry in objects:
        left, top, right, bottom = entry["box"]
        numbers = [
            (left + right) / 2 / width,
            (top + bottom) / 2 / height,
            (right - left) / width,
            (bottom - top) / height,
        ]
        points = np.reshape(entry["points"], (-1, 3)) / [width, height, 1]
        numbers += points[:, : entry["point_size"]].ravel().tolist()
        if entry.get("polygons") and not entry["points"]:
            outline = outlines.joined(entry["polygons"])
            numbers = (np.reshape(outline, (-1, 2)) / [width, height]).ravel().tolist()
        lines.append(" ".join([str(entry["number"]), *(f"{v:.6g}" for v in np.clip(numbers, 0, 2))]))
    return "".join(line + "\n" for line in lines)


def _png(mask: NDArray[Any]) -> bytes:
    from PIL import Image

    coded = BytesIO()
    Image.fromarray(np.ascontiguousarray(mask)).save(coded, "PNG")
    return coded.getvalue()
