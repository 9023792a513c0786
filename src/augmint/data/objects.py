"""Data sets with targets: COCO files, YOLO label files, and folders of masks. Found, read, and told as plain values.

- **COCO**: a JSON file with ``images``, ``annotations`` and ``categories``, in ``annotations/``, in the root, or beside the pictures of a
  split folder. Boxes, outlines (polygons or run lengths) and keypoints. Which of these swap in a mirrored picture: ``flip_indices`` of
  the category, as YOLO has it, or else names that differ in left and right.
- **YOLO**: ``images/`` and ``labels/`` (or both in each split folder), a text file a picture, names in a YAML file or ``classes.txt``. Boxes,
  polygons, or keypoints where the YAML file has ``kpt_shape``, and ``flip_idx`` for mirrored ones. A picture without a file has no objects.
- **Masks**: ``images/`` and ``masks/`` (or ``masks...`` several times), of the same names.

Coordinates belong to the picture as a person sees it, its EXIF orientation applied; keypoints count from the middle of the first pixel.
A sample with an annotation that cannot be right (`bounds`), or of a class that the data set does not name, is left out.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augmint.core.config import load_yaml
from augmint.core.errors import BadSample, UserError
from augmint.core.types import Part, Ref, Scan, Skipped
from augmint.core.wording import number_of
from augmint.data import bounds, outlines
from augmint.data.files import regular
from augmint.data.layout import part_of
from augmint.data.sides import UNKNOWN, flips_of, twin_of

LAYOUTS = ("coco", "yolo", "masks")
_OWN = ("id", "image_id", "category_id", "bbox", "segmentation", "keypoints", "num_keypoints", "area")
_NAMES = "classes.txt"  # the names of YOLO's classes; labelling tools put it among the label files
_NAMED = 3  # numbers that a note gives
_FIRST = 4096  # bytes of a JSON file that show whether it may be COCO's
_SPLIT_AT = re.compile(r"[^a-z]+")
_IN_FRACTIONS = (
    "YOLO wants fractions of the picture's width and height; are these pixels? Divide them, or remove the line"
)
_IN_PIXELS = "COCO wants pixels of this very picture (a box: left, top, width, height); mend or remove the annotation"


@dataclass(frozen=True, slots=True)
class Thing:
    """What is in a box: its class by name and number, and ``key``, which is its own in the whole data set.

    ``num_points``: keypoints that its kind has, seen or not, each told by ``point_size`` numbers; ``more``: what else the data set says.
    """

    label: str
    number: int
    key: str = ""
    num_points: int = 0
    point_size: int = 3
    more: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.label


@dataclass(frozen=True, slots=True)
class Point:
    """Keypoint ``number`` of the thing with this key; ``seen``: 1 hidden, 2 visible; ``twin``: its number in a mirrored picture."""

    key: str
    number: int
    seen: int
    twin: int

    def __str__(self) -> str:
        return str(self.number)


def mirrored(point: Point) -> Point:
    """What a keypoint is in a mirrored picture."""
    return replace(point, number=point.twin, twin=point.number)


def find(root: Path, suffixes: Sequence[str], *, strict: bool = False) -> Scan | None:
    """The samples of a data set in one of the layouts, or ``None`` where it is in none of them.

    Raises:
        UserError: for a file of annotations that cannot be read as what it says it is.
    """
    if not root.is_dir():
        return None
    base = root.resolve()
    found = _Found(base, tuple(suffixes))
    looks = {"coco": found.coco, "yolo": found.yolo, "masks": found.masks}
    layout = next((name for name, look in looks.items() if look()), None)
    if layout is None:
        return None
    if strict and found.skipped:
        first = found.skipped[0]
        raise BadSample(first.reason, where=first.where, mend=first.mend)
    if not found.refs:
        why = f"; the first, {found.skipped[0]}" if found.skipped else ""
        raise UserError(f"no picture of this {layout} data set can be used{why}", where=root, mend="check its paths")
    refs = sorted(found.refs.values(), key=lambda r: r.id)
    return Scan(tuple(refs), layout, tuple(found.notes), tuple(found.skipped))


@dataclass
class _Found:
    """What lies under the root."""

    base: Path
    suffixes: tuple[str, ...]
    refs: dict[str, Ref] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    # -- COCO --

    def coco(self) -> bool:
        files = sorted(set(self._json_files()), key=lambda f: (not f.name.startswith("instances"), f.as_posix()))
        told = [(file, found) for file in files if (found := _coco(file)) is not None]
        for file, found in told:
            self._coco_file(file, found)
        return bool(told)

    def _json_files(self) -> Iterator[Path]:
        for pattern in ("annotations/*.json", "*.json", "*/_annotations.coco.json", "*/annotations.json"):
            yield from (f for f in self.base.glob(pattern) if f.is_file() and self._is_inside(f))

    def _coco_file(self, file: Path, found: dict[str, Any]) -> None:
        name = file.relative_to(self.base).as_posix()
        of_image: dict[Any, list[dict[str, Any]]] = {}
        for annotation in found["annotations"]:
            if isinstance(annotation.get("image_id"), int):
                of_image.setdefault(annotation["image_id"], []).append(annotation)
            else:
                self._skip(f"{name}, annotation {annotation.get('id')}", "its image_id is no whole number")
        self._note_strays(name, of_image, found["images"])
        kinds = {c["id"]: _kind(c, name) for c in found.get("categories") or () if isinstance(c.get("id"), int)}
        if not kinds and found["annotations"]:
            self.notes.append(f"{name}: no categories: classes are called by their numbers")
        if any("keypoints" in a for a in found["annotations"]):
            self.notes += [f"{name}: {k.told}" for k in kinds.values() if k.told]
        known = 0
        for image in found["images"]:
            path = self._picture(file, image.get("file_name"))
            if path is None or not isinstance(image.get("id"), int):
                why = (
                    "its id is no whole number"
                    if path
                    else f"there is no picture '{image.get('file_name')}' in the folder"
                )
                self._skip(f"{name}, image {image.get('id')}", why)
                continue
            ref = self._ref(path, _part(file, path, self.base))
            known += ref.id in self.refs
            if ref.id in self.refs:
                continue
            try:
                objects = [_coco_object(a, kinds, name) for a in of_image.get(image.get("id"), ())]
            except UserError as error:
                self._skip(f"{name}, {ref.id}", error.problem, error.mend)
                continue
            size = [image[k] for k in ("height", "width") if isinstance(image.get(k), int)]
            size = size if len(size) == 2 else []  # of one side alone nothing can be said
            told = {"objects": objects, "size": size, "number": image.get("id"), "file_name": image.get("file_name")}
            self.refs[ref.id] = _with(ref, told, (file,), name)
        if known:
            self.notes.append(f"{name}: {known} pictures are told of in another file already, which counts")

    def _note_strays(
        self, name: str, of_image: Mapping[int, Sequence[Any]], pictures: Iterable[dict[str, Any]]
    ) -> None:
        """Annotations of pictures that the file does not list belong to nothing."""
        strays = sorted(of_image.keys() - {i["id"] for i in pictures if isinstance(i.get("id"), int)})
        if strays:
            num = sum(len(of_image[k]) for k in strays)
            numbers = ", ".join(map(str, strays[:_NAMED])) + (", ..." if len(strays) > _NAMED else "")
            self.notes.append(
                f"{name}: {number_of(num, 'annotation')} of no picture that it lists (image_id {numbers}): passed over; "
                "list the picture, or mend the image_id"
            )

    def _picture(self, file: Path, name: object) -> Path | None:
        if not isinstance(name, str) or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            return None
        split = file.stem.removeprefix("instances_").removeprefix("person_keypoints_")
        homes = [file.parent, self.base, self.base / "images", self.base / split, self.base / "images" / split]
        for home in homes:
            path = home / name
            if path.suffix.lower() in self.suffixes and path.is_file() and self._is_inside(path):
                return path
        return None

    # -- YOLO and masks --

    def yolo(self) -> bool:
        homes = [h for h in self._homes() if any((h / "labels").rglob("*.txt"))]
        if not homes:
            return False
        info = self._yolo_info()
        for home in homes:
            pictures = list(self._pictures(home / "images"))
            self._note_alone(pictures, home, "labels", (".txt",))
            for path in pictures:
                inner = path.relative_to(home / "images").with_suffix(".txt")
                label = home / "labels" / inner
                beside = ((label,) if label.is_file() and self._is_inside(label) else ()) + info.files
                ref = self._ref(path, part_of(home.name) if home != self.base else part_of(inner.parts[0]))
                told = {k: getattr(info, k) for k in ("names", "num_points", "point_size", "flips")}
                self.refs[ref.id] = _with(ref, told, beside)
        return True

    def masks(self) -> bool:
        homes = [(h, sorted(m for m in h.glob("masks*") if m.is_dir())) for h in self._homes()]
        homes = [(h, m) for h, m in homes if any(self._is_paired(h, m))]
        for home, folders in homes:
            pictures = list(self._pictures(home / "images"))
            for folder in folders:
                self._note_alone(pictures, home, folder.name, self.suffixes)
            for path in pictures:
                inner = path.relative_to(home / "images")
                masks = tuple(m for folder in folders if (m := _same_name(folder / inner)) is not None)
                ref = self._ref(path, part_of(home.name) if home != self.base else part_of(inner.parts[0]))
                if len(masks) < len(folders) or not all(self._is_inside(m) for m in masks):
                    self._skip(ref.id, f"it has no mask in {', '.join(f.name for f in folders)}")
                else:
                    self.refs[ref.id] = _with(ref, {"masks": len(masks)}, masks, ",".join(f.name for f in folders))
        return bool(homes)

    def _note_alone(self, pictures: Sequence[Path], home: Path, folder: str, suffixes: Sequence[str]) -> None:
        """What lies beside no picture annotates nothing."""
        known = {p.relative_to(home / "images").with_suffix("") for p in pictures}
        files = [p for p in sorted((home / folder).rglob("*")) if p.suffix.lower() in suffixes and p.name != _NAMES]
        alone = [f for f in files if f.relative_to(home / folder).with_suffix("") not in known]
        if alone:
            self.notes.append(
                f"{number_of(len(alone), 'file')} in {folder}/ without a picture of the same name in images/, "
                f"the first {alone[0].relative_to(self.base).as_posix()}: passed over; restore the picture, or remove the file"
            )

    def _is_paired(self, home: Path, folders: list[Path]) -> Iterator[bool]:
        for path in self._pictures(home / "images"):
            yield any(_same_name(f / path.relative_to(home / "images")) is not None for f in folders)

    def _homes(self) -> list[Path]:
        """Folders that hold ``images/``: the root, or its split folders."""
        inner = [p for p in sorted(self.base.iterdir()) if p.is_dir() and not p.is_symlink() and part_of(p.name)]
        return [h for h in (self.base, *inner) if (h / "images").is_dir()]

    def _pictures(self, folder: Path) -> Iterator[Path]:
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in self.suffixes and path.is_file() and self._is_inside(path):
                yield path

    def _yolo_info(self) -> _YoloInfo:
        for path in sorted(self.base.glob("*.y*ml")):
            found = load_yaml(path) if self._is_inside(path) else {}
            names = found.get("names")
            if isinstance(names, list):
                names = dict(enumerate(names))
            if isinstance(names, dict):
                count, each = _kpt_shape(found.get("kpt_shape"), path.name)
                flips = flips_of(found.get("flip_idx"), count, "flip_idx", path.name)
                if count > 1 and not flips:
                    self.notes.append(f"{path.name}: {UNKNOWN.format('flip_idx: [1, 0, ...]')}")
                classes = {int(k): str(v) for k, v in names.items() if str(k).isdecimal()}
                return _YoloInfo(classes, count, each, flips, (path,))
        path = self.base / _NAMES
        if path.is_file():
            return _YoloInfo(dict(enumerate(_lines(path))), files=(path,))
        self.notes.append("no names of classes (data.yaml or classes.txt): they are called by their numbers")
        return _YoloInfo({})

    # -- all --

    def _is_inside(self, path: Path) -> bool:
        return not path.is_symlink() or path.resolve().is_relative_to(self.base)

    def _ref(self, path: Path, part: Part | None) -> Ref:
        return Ref(path.relative_to(self.base).as_posix(), path, None, part)

    def _skip(self, where: str, reason: str, mend: str = "restore it, or remove its line") -> None:
        self.skipped.append(Skipped(where, reason, mend))


@dataclass(frozen=True)
class _YoloInfo:
    names: dict[int, str]
    num_points: int = 0
    point_size: int = 0
    flips: tuple[int, ...] = ()
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Kind:
    """A category of COCO: its name, the number of each keypoint in a mirrored picture, and what is to be told of them."""

    name: str
    flips: tuple[int, ...] = ()
    told: str = ""


def _kind(found: Mapping[str, Any], where: str) -> _Kind:
    name, points = str(found.get("name")), found.get("keypoints")
    points = [str(p) for p in points] if isinstance(points, list) else []
    told = flips_of(found.get("flip_indices"), len(points), "flip_indices", where)
    if told:
        return _Kind(name, told)
    flips = tuple(points.index(twin) if (twin := twin_of(p)) in points else i for i, p in enumerate(points))
    if flips == tuple(range(len(points))):
        return _Kind(name, (), f"{name}: {UNKNOWN.format('flip_indices: [1, 0, ...]')}" if len(points) > 1 else "")
    pairs = ", ".join(f"{points[i]} and {points[j]}" for i, j in enumerate(flips) if i < j)
    return _Kind(name, flips, f"{name}: in mirrored pictures these keypoints swap: {pairs}")


def _kpt_shape(found: object, where: str) -> tuple[int, int]:
    """How many keypoints an object has, and by how many numbers each is told; zeros where nothing is told.

    Raises:
        UserError: if it is something else.
    """
    match found:
        case None:
            return 0, 0
        case [int(count), 2 | 3 as each] if count > 0:
            return count, each
        case _:
            raise UserError(
                f"kpt_shape is {found!r}",
                where=where,
                mend="write how many keypoints there are, and 2 or 3 numbers each: [17, 3]",
            )


def _with(ref: Ref, targets: Mapping[str, Any], beside: tuple[Path, ...], source: str = "") -> Ref:
    meta = {"annotations": source} if source else {}
    return Ref(ref.id, ref.path, ref.label, ref.part, meta=meta, targets=targets, beside=beside)


def _lines(path: Path) -> list[str]:
    """
    Raises:
        BadSample: the file may not be read, or holds no text.
    """
    with regular(path):
        try:
            return path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise BadSample(f"not UTF-8 text: {error.reason}", where=path, mend="restore the file") from None


def _same_name(path: Path) -> Path | None:
    """The picture of this name, with this ending or ``.png``."""
    return next((p for p in (path, path.with_suffix(".png")) if p.is_file()), None)


def _part(file: Path, picture: Path, base: Path) -> Part | None:
    """``instances_train2017.json``, ``train/_annotations.coco.json`` and pictures in ``train/`` are of the training part."""
    words = [*file.relative_to(base).parts[:-1], *_SPLIT_AT.split(file.stem.lower())]
    words += picture.relative_to(base).parts[:-1]
    return next((part for w in words if (part := part_of(w))), None)


def _coco(file: Path) -> dict[str, Any] | None:
    """The contents of a COCO file of objects; ``None`` for another kind of JSON."""
    is_told = file.parent.name == "annotations" or "coco" in file.name
    with file.open("rb") as f:
        start = f.read(_FIRST)
    if not is_told and not any(f'"{key}"'.encode() in start for key in ("images", "annotations", "categories", "info")):
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        if not is_told:
            return None
        raise UserError(f"not readable as JSON: {error}", where=file, mend="restore the file") from None
    keys = ("images", "annotations", *(["categories"] if isinstance(found, dict) and found.get("categories") else []))
    rows = [found.get(key) for key in keys] if isinstance(found, dict) else [None]
    if not all(isinstance(r, list) and all(isinstance(x, dict) for x in r) for r in rows):
        return None
    if rows[1] and not any("bbox" in a for a in rows[1]):  # captions, say
        return None
    return dict(found)


def _coco_object(found: Mapping[str, Any], kinds: Mapping[Any, _Kind], where: str) -> dict[str, Any]:
    number, box = found.get("category_id"), found.get("bbox")
    what = f"annotation {found.get('id')}"
    if not isinstance(number, int):
        raise UserError(f"{what} has no category", mend="give it a category_id")
    if kinds and number not in kinds:
        raise UserError(
            f"{what} has the category_id {number}, which 'categories' does not have",
            mend=f"add it to the categories of {where}, or mend the category_id",
        )
    numbers = np.asarray(box, np.float64) if _are_numbers(box, 4) else np.full(4, np.nan)
    if not np.isfinite(numbers).all() or (numbers[2:] <= 0).any():
        raise UserError(f"{what} has the box {box!r}", mend=_IN_PIXELS)
    outline, points = found.get("segmentation") or None, found.get("keypoints") or []
    if points and not (_are_numbers(points) and len(points) % 3 == 0 and np.isfinite(points).all()):
        raise UserError(f"{what} has keypoints that are not three numbers each", mend="write x, y and visibility")
    more = {k: v for k, v in found.items() if k not in _OWN}
    left, top, wide, high = numbers.tolist()
    kind = kinds.get(number, _Kind(str(number)))
    return {
        "id": found.get("id"), "label": kind.name, "number": number, "box": [left, top, left + wide, top + high],
        "outline": outline, "points": points, "flips": kind.flips, "more": more,
    }  # fmt: skip


def _are_numbers(found: object, count: int | None = None) -> bool:
    if not isinstance(found, list) or (count is not None and len(found) != count):
        return False
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in found)


def load(ref: Ref, size: tuple[int, int]) -> dict[str, Any]:
    """The targets of one sample, as `transforms.targets.Targets` takes them; ``size`` is the picture's height and width.

    Raises:
        BadSample: if they cannot be read, or are of a picture of another size.
    """
    try:
        if "objects" in ref.targets:
            told = ref.targets["size"]
            if told and list(told) != list(size):
                raise UserError(
                    f"annotated at {told[1]} x {told[0]} pixels, and it has {size[1]} x {size[0]}",
                    mend="annotate it as it is seen",
                )
            return _targets(ref.id, _coco_objects(ref, size), size, _IN_PIXELS)
        if "masks" in ref.targets:
            return {"masks": tuple(_mask(path, size) for path in ref.beside)}
        if "names" in ref.targets:
            return _targets(ref.id, list(_yolo_objects(ref, size)), size, _IN_FRACTIONS)
    except UserError as error:
        raise BadSample(error.problem, where=ref.id, mend=error.mend) from None
    return {}


def counted(refs: Iterable[Ref]) -> tuple[dict[str, int], int]:
    """How many objects of each class the annotations tell of, the most frequent first, and in how many samples; what cannot be read is
    left out."""
    found: Counter[str] = Counter()
    num = 0
    for ref in refs:
        try:
            objects = ref.targets["objects"] if "objects" in ref.targets else _yolo_objects(ref, (1, 1))
            labels = [str(o["label"]) for o in objects] if "objects" in ref.targets or "names" in ref.targets else []
        except (UserError, BadSample):
            continue
        found.update(labels)
        num += bool(labels)
    return dict(found.most_common()), num


def _coco_objects(ref: Ref, size: tuple[int, int]) -> list[dict[str, Any]]:
    """What was found of the sample, each with the place that an error names."""
    out = [{**o, "what": f"{ref.meta['annotations']}, annotation {o['id']}"} for o in ref.targets["objects"]]
    for o in out:
        if min(size) > 1 and max(o["box"]) <= 1 and min(o["box"]) >= 0:
            raise UserError(
                f"{o['what']}: its box lies within the first pixel; is it in fractions of the picture?", mend=_IN_PIXELS
            )
    return out


def _targets(owner: str, objects: Sequence[Mapping[str, Any]], size: tuple[int, int], mend: str) -> dict[str, Any]:
    """
    Raises:
        UserError: for an object that cannot be right; ``mend`` says how its numbers are meant.
    """
    things, points, places = [], [], []
    instances = np.zeros(size, np.int32)
    for i, o in enumerate(objects):
        if wrong := bounds.fault(o["box"], o["points"], size):
            raise UserError(f"{o['what']}: {wrong}", mend=mend)
        key = f"{owner}#{i}"
        things.append(Thing(o["label"], o["number"], key, len(o["points"]) // 3, o.get("point_size", 3), o["more"]))
        flips = o["flips"] if 3 * len(o["flips"]) == len(o["points"]) else range(len(o["points"]) // 3)
        for number, (x, y, seen) in enumerate(np.reshape(o["points"], (-1, 3)).tolist()):
            if seen > 0:
                places.append([x, y])
                points.append(Point(key, number, int(seen), flips[number]))
        if o["outline"]:
            instances[_inside(o, size, mend)] = i + 1
    return {
        "boxes": np.array([o["box"] for o in objects], np.float64).reshape(-1, 4),
        "box_labels": tuple(things),
        "keypoints": np.array(places, np.float64).reshape(-1, 2),
        "keypoint_labels": tuple(points),
        "instances": instances if any(o["outline"] for o in objects) else None,
        "mirror": mirrored,
    }


def _inside(found: Mapping[str, Any], size: tuple[int, int], mend: str) -> NDArray[np.bool_]:
    """``[H, W]``: the pixels of an object with an outline.

    Raises:
        UserError: for what is no outline, or one that lies outside the picture.
    """
    outline = found["outline"]
    try:
        if isinstance(outline, Mapping):
            return outlines.from_runs(outline, size)
        inside = outlines.filled(outline, size)
    except UserError as error:
        raise UserError(f"{found['what']}: {error.problem}", mend=error.mend) from None
    if not inside.any():  # too thin, or elsewhere
        corners = np.concatenate([np.reshape(p, (-1, 2)) for p in outline])
        if "outside" in (wrong := bounds.fault([*corners.min(0), *corners.max(0)], (), size)):
            raise UserError(f"{found['what']}: {wrong.replace('box', 'outline')}", mend=mend)
    return inside


def _yolo_objects(ref: Ref, size: tuple[int, int]) -> Iterator[dict[str, Any]]:
    file = next((p for p in ref.beside if p.suffix == ".txt" and p.stem == ref.path.stem), None)
    if file is None:
        return
    scale = np.array([size[1], size[0]], np.float64)
    names, count, each = ref.targets["names"], ref.targets["num_points"], ref.targets["point_size"]
    for line, text in enumerate(_lines(file), 1):
        if not text.strip():
            continue
        try:
            number, *rest = (float(v) for v in text.split())
            values = np.array(rest)
            if not np.isfinite([number, *values]).all() or number != int(number) or number < 0:
                raise ValueError
            if names and number not in names:
                raise UserError(
                    f"{file.name}, line {line}: class {int(number)} is none of the {len(names)} that the data set names",
                    mend="add it to the names of data.yaml (or classes.txt), or mend the line",
                )
            yield {
                "what": f"{file.name}, line {line} ('{text[:60]}')",
                **_yolo_numbers(values, scale, count, each),
                "number": int(number),
                "label": names.get(int(number), str(int(number))),
                "flips": ref.targets["flips"],
                "more": {},
            }
        except ValueError:
            raise UserError(
                f"{file.name}, line {line}: '{text[:60]}' is no box, polygon or pose",
                mend="write the class, then the box's middle, width and height as fractions of the picture",
            ) from None


def _yolo_numbers(values: NDArray[np.float64], scale: NDArray[np.float64], count: int, each: int) -> dict[str, Any]:
    if len(values) == 4 + count * each:
        middle, half = values[:2] * scale, values[2:4] * scale / 2
        points = values[4:].reshape(count, -1) if count else np.zeros((0, 3))
        seen = points[:, 2:] if each == 3 else np.where((points > 0).any(1, keepdims=True), 2.0, 0.0)
        flat = np.concatenate([points[:, :2] * scale, seen[:, :1]], 1).ravel().tolist()
        return {"box": [*(middle - half), *(middle + half)], "outline": None, "points": flat, "point_size": each}
    if len(values) < 6 or len(values) % 2:
        raise ValueError
    points = values.reshape(-1, 2) * scale
    return {"box": [*points.min(0), *points.max(0)], "outline": [points.ravel().tolist()], "points": []}


def _mask(path: Path, size: tuple[int, int]) -> NDArray[Any]:
    """The values of a mask: classes of a palette or of grey levels, or colours."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as found:
            if found.size != size[::-1]:
                raise UserError(
                    f"{path.name} has {found.width} x {found.height} pixels, the picture {size[1]} x {size[0]}",
                    mend="make them alike",
                )
            plain = found.convert("L") if found.mode in ("1", "LA") else found
            return np.array(plain)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise UserError(f"the mask {path.name} cannot be read: {error}", mend="write it again as PNG") from None
