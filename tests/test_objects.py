"""COCO, YOLO and mask folders, there and back through `augmint augment`, with every object painted in a colour of its own and measured again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from matplotlib.path import Path as Outline
from PIL import Image

import augmint as am
from augmint import cli
from augmint.core.errors import BadSample, UserError
from augmint.core.run import read_jsonl
from augmint.data import images, outlines, sides
from augmint.transforms.marks import marked
from augmint.transforms.targets import Targets

NAMES = ["disc", "bar"]
TURNING = "ops:\n  - Rotate: {degrees: [-40, 40]}\n  - Scale: {factor: [0.8, 1.2]}\n  - HorizontalFlip\nborder: zero\n"
MIXING = "ops:\n  - Rotate: {degrees: [-20, 20]}\n  - OneOf: {ops: [Mosaic, CutMix, CopyPaste]}\nborder: zero\n"


def scene(number: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """A dark picture with a disc and a bar, each of one colour, and what a person would write down of it."""
    rng = np.random.default_rng(number)
    height, width = 60 + number, 80
    picture = np.zeros((height, width, 3), np.uint8)
    x, y, r = rng.integers(14, 26), rng.integers(14, 40), rng.integers(7, 12)
    level = 100 + 10 * number
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    circle = np.stack([x + r * np.cos(turn), y + r * np.sin(turn)], 1)
    disc = outlines.filled([circle.ravel().tolist()], (height, width))
    picture[disc] = (level, 0, 0)
    left, top, wide, high = rng.integers(42, 50), rng.integers(5, 30), rng.integers(8, 24), rng.integers(8, 20)
    picture[top : top + high, left : left + wide] = (0, level, 0)
    bar = [left, top, left + wide, top, left + wide, top + high, left, top + high]
    rows, columns = np.flatnonzero(disc.any(1)), np.flatnonzero(disc.any(0))
    box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    out = [
        {"class": 0, "box": box, "outline": circle.ravel().tolist(), "point": (int(x), int(y))},
        {"class": 1, "box": [left, top, left + wide, top + high], "outline": bar, "point": (int(left), int(top))},
    ]
    return picture, [{k: (np.asarray(v).tolist() if k != "class" else v) for k, v in o.items()} for o in out]


def write_coco(root: Path, *, count: int = 5) -> Path:
    rows: list[dict[str, Any]] = []
    pictures = []
    for i in range(count):
        picture, things = scene(i)
        images.write(root / "train2017" / f"{i}.png", picture)
        pictures.append({"id": 7 + i, "file_name": f"{i}.png", "height": picture.shape[0], "width": 80, "license": 3})
        for o in things:
            left, top, right, bottom = o["box"]
            own = {"id": 100 + len(rows), "image_id": 7 + i, "category_id": 5 + o["class"], "iscrowd": 0, "score": 0.5}
            box = [left, top, right - left, bottom - top]
            points = [*o["point"], 2, 0, 0, 0] if o["class"] == 1 else None
            rows.append(
                {
                    **own,
                    "bbox": box,
                    "segmentation": [o["outline"]],
                    "area": 1.0,
                    **({"keypoints": points} if points else {}),
                }
            )
    found = {"info": {"year": 1}, "images": pictures, "annotations": rows}
    found["categories"] = [{"id": 5 + k, "name": n} for k, n in enumerate(NAMES)]
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(found))
    return root


def write_yolo(root: Path, kind: str, *, count: int = 5) -> Path:
    for i in range(count):
        picture, things = scene(i)
        height, width = picture.shape[:2]
        images.write(root / "images" / "train" / f"{i}.png", picture)
        lines = []
        for o in things:
            left, top, right, bottom = o["box"]
            box = [
                (left + right) / 2 / width,
                (top + bottom) / 2 / height,
                (right - left) / width,
                (bottom - top) / height,
            ]
            numbers = (
                (np.reshape(o["outline"], (-1, 2)) / [width, height]).ravel().tolist() if kind == "polygons" else box
            )
            numbers = [*numbers, o["point"][0] / width, o["point"][1] / height, 2] if kind == "pose" else numbers
            lines.append(" ".join(map(str, [o["class"], *numbers])))
        (root / "labels" / "train").mkdir(parents=True, exist_ok=True)
        (root / "labels" / "train" / f"{i}.txt").write_text("\n".join(lines))
    images.write(root / "images" / "val" / "v.png", scene(0)[0])  # no label file: nothing is in it
    shape = "kpt_shape: [1, 3]\n" if kind == "pose" else ""
    (root / "data.yaml").write_text(f"names: {{0: disc, 1: bar}}\n{shape}")
    return root


def write_masks(root: Path) -> Path:
    for i in range(4):
        picture, things = scene(i)
        images.write(root / "images" / f"{i}.png", picture)
        mask = np.zeros(picture.shape[:2], np.uint8)
        for o in things:
            mask[outlines.filled([o["outline"]], mask.shape)] = 1 + o["class"]
        (root / "masks").mkdir(exist_ok=True)
        (root / "masks_fine").mkdir(exist_ok=True)
        palette = Image.fromarray(mask, "P") if i % 2 else Image.fromarray(mask)
        if i % 2:
            palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        palette.save(root / "masks" / f"{i}.png")
        Image.fromarray(mask.astype(np.uint16) * 300).save(root / "masks_fine" / f"{i}.png")
    return root


def augmented(root: Path, out: Path, text: str, **settings: Any) -> am.Dataset:
    (out.parent / "r.yaml").write_text(text)
    am.augment(root, out=out, recipe=str(out.parent / "r.yaml"), variants=6, workers=1, **settings)
    return am.read(out)


def certain(picture: np.ndarray, kind: int) -> np.ndarray:
    """Where an object of a class is for certain: more than half of its colour, and none of the other's."""
    own, other = picture[..., kind].astype(int), picture[..., 1 - kind].astype(int)
    return (own > 55) & (other < 30)


def measured(seen: np.ndarray) -> np.ndarray:
    y, x = np.nonzero(seen)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])


def check_boxes(sample: am.Sample, *, within: float) -> int:
    """Each box holds an object of its class and is no larger; returns how many were checked."""
    checked = 0
    targets = sample.targets
    for number, (box, thing) in enumerate(zip(targets["boxes"], targets["box_labels"], strict=True), 1):
        x0, y0, x1, y1 = np.rint(box).astype(int)
        kind = NAMES.index(str(thing))
        window = np.zeros(sample.data.shape[:2], bool)
        window[max(0, y0 - 3) : y1 + 3, max(0, x0 - 3) : x1 + 3] = True
        seen = certain(sample.data, kind) & window
        if targets["instances"] is not None:
            own = targets["instances"] == number
            if own.sum() > 100:  # of small ones, most pixels are edge
                assert (own & seen).sum() >= 0.85 * own.sum()
            seen &= cv2.dilate(own.astype(np.uint8), np.ones((3, 3))) > 0
        if seen.sum() < 12:
            continue
        assert np.abs(measured(seen) - box).max() <= within, (sample.id, str(thing), box, measured(seen))
        checked += 1
    return checked


def made(data: am.Dataset) -> list[am.Sample]:
    return [s for s in data if ".aug" in s.id]


# -- COCO ------------------------------------------------------------------------------------------------------------


def test_coco_there_and_back(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "in")
    data = am.read(root)
    assert data.layout == "coco" and {r.part for r in data.refs} == {"train"}
    assert data[0].targets["boxes"].tolist() == [o["box"] for o in scene(0)[1]]
    assert check_boxes(data[0], within=0) == 2
    out = augmented(root, tmp_path / "out", TURNING)
    assert out.layout == "coco" and len(out) == 5 + 30
    assert sum(check_boxes(s, within=1.5) for s in made(out)) >= 45
    # What was there is there still, value for value, before what is new.
    before, after = (
        json.loads((f / "annotations" / "instances_train2017.json").read_text()) for f in (root, tmp_path / "out")
    )
    assert after["images"][:5] == before["images"] and after["annotations"][:10] == before["annotations"]
    assert {k: after[k] for k in ("info", "categories")} == {k: before[k] for k in ("info", "categories")}
    assert len({a["id"] for a in after["annotations"]}) == len(after["annotations"])
    assert {a["image_id"] for a in after["annotations"]} <= {i["id"] for i in after["images"]}
    new = after["annotations"][10:]
    assert all(a["score"] == 0.5 and a["area"] > 1 and a["category_id"] in (5, 6) for a in new)
    assert all((root.parent / "out" / "train2017" / i["file_name"]).is_file() for i in after["images"])
    assert not (tmp_path / "out" / ".targets").exists()


def test_coco_keypoints_move_with_their_object_and_vanish_with_it(tmp_path: Path) -> None:
    text = TURNING.replace("ops:", "ops:\n  - Translate: {shift_frac: [-0.4, 0.4]}")
    out = augmented(write_coco(tmp_path / "in"), tmp_path / "out", text)
    seen = 0
    for s in made(out):
        bars = {t.key: b for t, b in zip(s.targets["box_labels"], s.targets["boxes"], strict=True) if str(t) == "bar"}
        assert all(p.key in bars and p.number == 0 for p in s.targets["keypoint_labels"])
        for (x, y), p in zip(s.targets["keypoints"], s.targets["keypoint_labels"], strict=True):
            near = certain(s.data, 1)[max(0, int(y) - 2) : int(y) + 4, max(0, int(x) - 2) : int(x) + 4]
            assert near.any() and not near.all(), p  # a corner of the bar
            seen += 1
    assert seen >= 10
    rows = json.loads((tmp_path / "out" / "annotations" / "instances_train2017.json").read_text())["annotations"]
    bars = [a for a in rows if "keypoints" in a]
    assert all(len(a["keypoints"]) == 6 for a in bars) and any(a.get("num_keypoints") == 0 for a in bars[5:])


def test_coco_through_mixing_ops_and_any_number_of_workers(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "in")
    out = augmented(root, tmp_path / "out", MIXING)
    assert sum(check_boxes(s, within=2) for s in made(out)) >= 45
    assert any(len(s.targets["boxes"]) > 2 for s in made(out))
    am.augment(root, out=tmp_path / "two", recipe=str(tmp_path / "r.yaml"), variants=6, workers=2)
    name = Path("annotations", "instances_train2017.json")
    assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_a_coco_export_with_split_folders_and_run_lengths(tmp_path: Path) -> None:
    crowd = np.zeros((60, 80), bool)
    crowd[10:20, 5:15] = crowd[40:50, 60:70] = True
    for part in ("train", "valid"):
        images.write(tmp_path / "in" / part / "a.png", scene(0)[0])
        row = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [5, 10, 65, 40], "iscrowd": 1}
        row["segmentation"] = outlines.to_runs(crowd)
        found = {
            "images": [{"id": 0, "file_name": "a.png"}],
            "annotations": [row],
            "categories": [{"id": 1, "name": "crowd"}],
        }
        (tmp_path / "in" / part / "_annotations.coco.json").write_text(json.dumps(found))
    data = am.read(tmp_path / "in")
    assert {r.id: r.part for r in data.refs} == {"train/a.png": "train", "valid/a.png": "val"}
    np.testing.assert_array_equal(data[0].targets["instances"] > 0, crowd)
    augmented(tmp_path / "in", tmp_path / "out", "ops:\n  - HorizontalFlip: {p: 1}\n")
    after = json.loads((tmp_path / "out" / "train" / "_annotations.coco.json").read_text())
    new = after["annotations"][-1]
    np.testing.assert_array_equal(outlines.from_runs(new["segmentation"], (60, 80)), crowd[:, ::-1])
    assert new["iscrowd"] == 1 and new["bbox"] == [10, 10, 65, 40]
    assert len(json.loads((tmp_path / "out" / "valid" / "_annotations.coco.json").read_text())["images"]) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bbox": [1, 2, 3]}, "annotation 100 has the box"),
        ({"bbox": [1, 2, -3, 4]}, "annotation 100 has the box"),
        ({"bbox": "all"}, "annotation 100 has the box"),
        ({"bbox": [1, 2, 0, 4]}, "annotation 100 has the box"),
        ({"bbox": [1, 2, float("nan"), 4]}, "annotation 100 has the box"),
        ({"bbox": [80, 10, 20, 20]}, "annotation 100.*wholly outside"),
        ({"bbox": [10, -30, 20, 20]}, "annotation 100.*wholly outside"),
        ({"bbox": [0, 0, 160, 60]}, "2 times as large"),
        ({"bbox": [0.2, 0.3, 0.1, 0.2]}, "annotation 100.*fractions"),
        ({"segmentation": [[800, 80, 900, 80, 900, 95]]}, "annotation 100.*outline.*outside"),
        ({"keypoints": [800, 10, 2]}, "annotation 100.*keypoint"),
        ({"keypoints": [float("nan"), 10, 2]}, "three numbers each"),
        ({"category_id": 99}, "annotation 100 has the category_id 99"),
        ({"category_id": None}, "no category"),
        ({"keypoints": [1, 2]}, "three numbers each"),
        ({"segmentation": [[1, 2, 3, 4]]}, "no polygon"),
        ({"segmentation": {"size": [3, 3], "counts": [9]}}, "do not fill"),
    ],
)
def test_a_broken_annotation_costs_its_picture_and_is_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    file = write_coco(tmp_path / "in", count=2) / "annotations" / "instances_train2017.json"
    found = json.loads(file.read_text())
    found["annotations"][0].update(change)
    file.write_text(json.dumps(found))
    data = am.read(tmp_path / "in").usable()
    assert len(data) == 1 and re.search(words, str(data.skipped[0]))
    assert "instances_train2017.json" in str(data.skipped[0])
    assert re.search(words, "\n".join(am.inspect(tmp_path / "in").summary))
    result = am.augment(tmp_path / "in", out=tmp_path / "out", variants=1, workers=1, recipe="light")
    assert any(re.search(words, line) for line in result.summary)
    with pytest.raises((BadSample, UserError), match=words):
        am.augment(tmp_path / "in", out=tmp_path / "strict", variants=1, workers=1, strict=True)


def test_files_that_lead_out_are_missing_or_sized_otherwise_are_skipped(tmp_path: Path) -> None:
    file = write_coco(tmp_path / "in", count=4) / "annotations" / "instances_train2017.json"
    images.write(tmp_path / "secret.png", scene(0)[0])
    found = json.loads(file.read_text())
    found["images"][0]["file_name"] = "../../secret.png"
    found["images"][1]["file_name"] = "gone.png"
    found["images"][2]["height"] = 999
    file.write_text(json.dumps(found))
    data = am.read(tmp_path / "in").usable()
    assert data.ids == ("train2017/3.png",)
    assert [word in str(s) for s, word in zip(data.skipped, ("secret", "gone.png", "999"), strict=True)] == [True] * 3
    file.write_text("{")
    with pytest.raises(UserError, match="instances_train2017"):
        am.read(tmp_path / "in")


def test_annotations_of_no_picture_and_of_no_category_are_told_of(tmp_path: Path) -> None:
    file = write_coco(tmp_path / "in", count=3) / "annotations" / "instances_train2017.json"
    found = json.loads(file.read_text())
    assert not am.read(tmp_path / "in").notes
    for row in found["annotations"][:2]:
        row["image_id"] = 12345
    file.write_text(json.dumps(found))
    result = am.augment(tmp_path / "in", out=tmp_path / "out", variants=1, workers=1, recipe="light")
    for lines in (am.inspect(tmp_path / "in").summary, result.summary):
        assert any("2 annotations" in line and "12345" in line and line.startswith("note") for line in lines)
    rows = json.loads((tmp_path / "out" / "annotations" / file.name).read_text())
    assert {a["image_id"] for a in rows["annotations"]} <= {i["id"] for i in rows["images"]}
    file.write_text(json.dumps({**found, "categories": []}))
    data = am.read(tmp_path / "in")
    assert any("called by their numbers" in n for n in data.notes)
    assert [str(t) for t in data[1].targets["box_labels"]] == ["5", "6"]


def test_other_json_beside_class_folders_is_no_annotation(tmp_path: Path) -> None:
    for label in "ab":
        images.write(tmp_path / label / "1.png", scene(0)[0])
    (tmp_path / "info.json").write_text('{"info": "mine", "images": 3}')
    (tmp_path / "broken.json").write_text('{"info": ')
    assert am.read(tmp_path).layout == "class-folders"


# -- YOLO ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["boxes", "polygons", "pose"])
def test_yolo_there_and_back(tmp_path: Path, kind: str) -> None:
    root = write_yolo(tmp_path / "in", kind)
    data = am.read(root)
    assert data.layout == "yolo" and [r.part for r in data.refs] == ["train"] * 5 + ["val"]
    np.testing.assert_allclose(
        data[1].targets["boxes"], [o["box"] for o in scene(1)[1]], atol=0.5 if kind == "polygons" else 1e-9
    )
    text = (
        TURNING if kind == "polygons" else "ops:\n  - HorizontalFlip\n  - VerticalFlip\n  - Translate\nborder: zero\n"
    )
    out = augmented(root, tmp_path / "out", text)
    assert out.layout == "yolo" and len(out) == 6 + 30
    assert sum(check_boxes(s, within=1.5) for s in made(out)) >= 45
    for i in range(5):
        name = Path("labels", "train", f"{i}.txt")
        assert (tmp_path / "out" / name).read_bytes() == (root / name).read_bytes()
    assert (tmp_path / "out" / "data.yaml").read_bytes() == (root / "data.yaml").read_bytes()
    assert not (tmp_path / "out" / "labels" / "val").exists()
    for path in (tmp_path / "out" / "labels").rglob("*.aug*.txt"):
        for line in path.read_text().splitlines():
            number, *rest = line.split()
            assert number in "01" and all(0 <= float(v) <= 2 for v in rest)
            assert len(rest) == {"boxes": 4, "pose": 7}.get(kind, len(rest))
            assert kind != "polygons" or len(rest) >= 6
    if kind == "pose":
        points = [p for s in made(out) for p in s.targets["keypoint_labels"]]
        assert len(points) >= 40 and {p.number for p in points} == {0}


def test_yolo_without_names_and_with_wrong_lines(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "in", "boxes", count=3)
    (root / "data.yaml").unlink()
    (root / "labels" / "train" / "0.txt").write_text("0 0.5 0.5 0.2\n")
    (root / "labels" / "train" / "1.txt").write_text("0 0.5 0.5 0.2 1.0006\n\n1 .1 .1 .2 .2\n")
    data = am.read(root)
    assert any("called by their numbers" in n for n in data.notes)
    left = data.usable()
    assert "0.txt, line 1" in str(left.skipped[0]) and len(left) == 3
    assert [str(t) for t in data[1].targets["box_labels"]] == ["0", "1"]
    am.augment(root, out=tmp_path / "out", variants=1, workers=1, recipe="light")  # 1.0006 is no error
    (root / "classes.txt").write_text("disc\nbar\n")
    assert [str(t) for t in am.read(root)[1].targets["box_labels"]] == ["disc", "bar"]


@pytest.mark.parametrize(
    ("kind", "line", "words"),
    [
        ("boxes", "0 160 120 40 40", "pixels"),
        ("boxes", "0 40 30 80 60", "pixels"),  # cut to the picture, this would be all of it
        ("boxes", "0 1.2 0.5 0.1 0.1", "wholly outside"),
        ("boxes", "0 0.5 -0.2 0.1 0.1", "wholly outside"),
        ("boxes", "0 0.5 0.5 0.1 0", "no area"),
        ("boxes", "0 0.5 0.5 -0.1 0.1", "no area"),
        ("boxes", "0 nan 0.5 0.1 0.1", "no box"),
        ("boxes", "-1 0.5 0.5 0.1 0.1", "no box"),
        ("boxes", "5 0.5 0.5 0.1 0.1", "class 5"),
        ("polygons", "0 10 10 30 10 30 40", "pixels"),
        ("pose", "0 .5 .5 .2 .2 40 30 2", "keypoint"),
    ],
)
def test_a_yolo_line_that_cannot_be_right_costs_its_picture_and_is_named(
    tmp_path: Path, kind: str, line: str, words: str
) -> None:
    root = write_yolo(tmp_path / "in", kind, count=2)
    with (root / "labels" / "train" / "0.txt").open("a") as file:
        file.write("\n" + line)
    (left,) = am.read(root).usable().skipped
    assert left.where == "images/train/0.png" and "0.txt, line 3" in left.reason and words in str(left)
    assert any(words in row and "0.txt, line 3" in row for row in am.inspect(root).summary)
    result = am.augment(root, out=tmp_path / "out", variants=1, workers=1, recipe="light")
    assert any(words in row and "0.txt, line 3" in row for row in result.summary)
    assert not list((tmp_path / "out").rglob("0.*"))
    with pytest.raises(BadSample, match="line 3"):
        am.augment(root, out=tmp_path / "strict", variants=1, workers=1, strict=True)
    assert not (tmp_path / "strict").exists()


@pytest.mark.parametrize(
    "line",
    [
        "0 1.0004 0.5 0.0008 0.1",  # outside by rounding
        "0 -0.0004 0.5 0.0008 0.1",
        "0 0.98 0.5 0.2 0.2",  # partly outside
        "0 1.2 0.5 1.5 0.5",
        "0 0.5 0.5 1.2 1.2",
    ],
)
def test_a_yolo_box_that_hangs_over_the_edge_is_no_fault(tmp_path: Path, line: str) -> None:
    root = write_yolo(tmp_path / "in", "boxes", count=1)
    (root / "labels" / "train" / "0.txt").write_text(line)
    assert not am.read(root).usable().skipped


def test_any_class_counts_where_none_is_named_and_keys_may_be_text(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "in", "boxes", count=1)
    (root / "labels" / "train" / "0.txt").write_text("7 0.5 0.5 0.2 0.2")
    (root / "data.yaml").unlink()
    assert [str(t) for t in am.read(root)[0].targets["box_labels"]] == ["7"]
    (root / "data.yaml").write_text("names: {'7': seven}\n")
    assert [str(t) for t in am.read(root)[0].targets["box_labels"]] == ["seven"]


def test_label_files_and_masks_without_a_picture_are_told_of(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "yolo", "boxes", count=2)
    (root / "labels" / "train" / "classes.txt").write_text("disc\nbar\n")
    assert not am.read(root).notes
    (root / "images" / "train" / "1.png").unlink()
    masks = write_masks(tmp_path / "masks")
    (masks / "images" / "3.png").unlink()
    for data, first in ((am.read(root), "labels/train/1.txt"), (am.read(masks), "masks/3.png")):
        assert any(first in note and "1 file in " in note for note in data.notes)


def in_parts(picture: np.ndarray, *, hole: bool = False) -> list[list[float]]:
    """Three squares of one object, painted and as polygons."""
    corners = [(6, 8, 20, 18), (40, 10, 52, 26), (22, 34, 34, 44)]
    for left, top, right, bottom in corners:
        picture[top:bottom, left:right] = 200
    if hole:
        picture[14:20, 44:48] = 0
    return [[left, top, right, top, right, bottom, left, bottom] for left, top, right, bottom in corners]


def test_an_object_of_several_parts_stays_one_line_of_yolo_and_loses_none(tmp_path: Path) -> None:
    picture = np.zeros((50, 60, 1), np.uint8)
    line = outlines.joined(in_parts(picture))
    images.write(tmp_path / "in" / "images" / "a.png", picture)
    (tmp_path / "in" / "labels").mkdir()
    (tmp_path / "in" / "data.yaml").write_text("names: [thing]\n")
    (tmp_path / "in" / "labels" / "a.txt").write_text(
        " ".join(["0", *(f"{v / s:.6g}" for v, s in zip(line, [60, 50] * len(line), strict=False))])
    )
    out = augmented(tmp_path / "in", tmp_path / "out", "ops:\n  - HorizontalFlip\n  - VerticalFlip\nborder: zero\n")
    assert len(made(out)) == 6
    for sample in made(out):
        (line,) = (tmp_path / "out" / "labels" / f"{Path(sample.id).stem}.txt").read_text().splitlines()
        np.testing.assert_array_equal(sample.targets["instances"] == 1, sample.data[..., 0] > 0)
        # As OpenCV's own filling has it, whose polygons own the pixels that they touch: what others train on.
        points = np.reshape([float(v) for v in line.split()[1:]], (-1, 2)) * [60, 50] - 0.5
        theirs = cv2.fillPoly(np.zeros((50, 60), np.uint8), [np.rint(points).astype(np.int32)], 1) > 0
        seen = sample.data[..., 0] > 0
        assert (
            not (seen & ~theirs).any()
            and (theirs & ~cv2.dilate(seen.astype(np.uint8), np.ones((3, 3))).astype(bool)).sum() < 60
        )
    coco = {"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "thing"}]}
    row = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [6, 8, 46, 36], "segmentation": in_parts(picture)}
    images.write(tmp_path / "coco" / "a.png", picture)
    (tmp_path / "coco" / "annotations.json").write_text(json.dumps({**coco, "annotations": [row]}))
    for sample in made(augmented(tmp_path / "coco", tmp_path / "out2", "ops:\n  - HorizontalFlip\nborder: zero\n")):
        np.testing.assert_array_equal(sample.targets["instances"] == 1, sample.data[..., 0] > 0)
    rows = json.loads((tmp_path / "out2" / "annotations.json").read_text())["annotations"]
    assert len(rows) == 7 and all(len(r["segmentation"]) == 3 for r in rows)


def test_joined_parts_fill_what_they_fill_apart() -> None:
    rng = np.random.default_rng(5)
    for _ in range(40):
        pixels = cv2.GaussianBlur(rng.random((40, 50)).astype(np.float32), (0, 0), 2.5)
        pixels = pixels > np.quantile(pixels, 0.75)
        parts = outlines.traced(pixels)
        whole = outlines.joined(parts)
        np.testing.assert_array_equal(outlines.filled([whole], (40, 50)), outlines.filled(parts, (40, 50)))
        at = {tuple(p) for p in np.reshape(whole, (-1, 2)).tolist()}
        assert at == {tuple(p) for part in parts for p in np.reshape(part, (-1, 2)).tolist()}


# -- mirrored keypoints ----------------------------------------------------------------------------------------------

EYES = ["nose", "left_eye", "right_eye"]


def face(root: Path) -> np.ndarray:
    """A nose and two eyes, each a pixel of its own level; the person's left eye is on the right of the picture."""
    picture = np.zeros((40, 50, 1), np.uint8)
    for level, (x, y) in zip((60, 120, 240), ((25, 20), (35, 10), (15, 10)), strict=True):
        picture[y, x] = level
    images.write(root / "images" / "a.png", picture)
    return picture


def check_eyes(data: am.Dataset, swaps: bool) -> int:
    """Each point lies on its pixel; in a mirrored picture the one that was the left eye is told of as the right one."""
    mirrored_ones = 0
    for sample in made(data):
        at = {int(level): np.argwhere(sample.data[..., 0] == level)[0][::-1] for level in (60, 120, 240)}
        nose, left, right = at[60], at[120], at[240]
        # Seen from the nose, the way from left to right turns clockwise in a picture that is not mirrored.
        is_mirrored = np.linalg.det([left - nose, right - nose]) > 0
        mirrored_ones += is_mirrored
        names = [60, 240, 120] if is_mirrored and swaps else [60, 120, 240]
        found = {
            p.number: xy for xy, p in zip(sample.targets["keypoints"], sample.targets["keypoint_labels"], strict=True)
        }
        for number, level in enumerate(names):
            np.testing.assert_allclose(found[number], at[level], atol=1e-2)
    return mirrored_ones


TURNS = "ops: [HorizontalFlip, VerticalFlip, RandomRotate90, Transpose]\n"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ({"keypoints": EYES}, "left_eye and right_eye"),
        ({"keypoints": ["a", "b", "c"], "flip_indices": [0, 2, 1]}, ""),
        ({"keypoints": ["a", "b", "c"]}, "keep their numbers"),
        ({"keypoints": EYES, "flip_indices": [0, 1, 2]}, ""),
    ],
)
def test_coco_keypoints_swap_sides_in_mirrored_pictures(tmp_path: Path, kind: dict[str, Any], words: str) -> None:
    face(tmp_path / "in")
    row = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [10, 5, 32, 22],
        "keypoints": [25, 20, 2, 35, 10, 2, 15, 10, 1],
    }
    told = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [row],
        "categories": [{"id": 1, "name": "face", **kind}],
    }
    (tmp_path / "in" / "annotations").mkdir()
    (tmp_path / "in" / "annotations" / "person_keypoints.json").write_text(json.dumps(told))
    data = am.read(tmp_path / "in")
    assert words in " ".join(data.notes) and (words or not data.notes)
    out = augmented(tmp_path / "in", tmp_path / "out", TURNS, seed=1)
    swaps = kind.get("flip_indices", [0, 2, 1] if "left_eye" in kind["keypoints"] else [0, 1, 2]) != [0, 1, 2]
    assert 1 <= check_eyes(out, swaps) <= 5
    assert am.replay(tmp_path / "out" / "manifest.jsonl").to_dict()["same"] == 6


@pytest.mark.parametrize("flips", ["flip_idx: [0, 2, 1]\n", ""])
def test_yolo_keypoints_swap_sides_in_mirrored_pictures(tmp_path: Path, flips: str) -> None:
    face(tmp_path / "in")
    numbers = [0.5, 0.4, 0.6, 0.5, 25 / 50, 20 / 40, 2, 35 / 50, 10 / 40, 2, 15 / 50, 10 / 40, 2]
    (tmp_path / "in" / "labels").mkdir()
    (tmp_path / "in" / "labels" / "a.txt").write_text(" ".join(map(str, [0, *numbers])))
    (tmp_path / "in" / "data.yaml").write_text(f"names: [face]\nkpt_shape: [3, 3]\n{flips}")
    assert any("keep their numbers" in n for n in am.read(tmp_path / "in").notes) == (not flips)
    assert 1 <= check_eyes(augmented(tmp_path / "in", tmp_path / "out", TURNS, seed=1), bool(flips)) <= 5


@pytest.mark.parametrize("flips", ["[0, 1]", "[1, 2, 0]", "[0, 1, 3]", "2", "[0.0, 2, 1]"])
def test_flips_that_are_none_are_named(tmp_path: Path, flips: str) -> None:
    root = write_yolo(tmp_path / "in", "pose", count=1)
    (root / "data.yaml").write_text(f"names: [disc, bar]\nkpt_shape: [3, 3]\nflip_idx: {flips}\n")
    with pytest.raises(UserError, match=r"data\.yaml: flip_idx is .* for 3 keypoints"):
        am.read(root)


def test_left_and_right_are_found_in_names() -> None:
    pairs = [
        "left_eye right_eye",
        "Left Eye|Right Eye",
        "l_hip r_hip",
        "hip-L hip-R",
        "leftEye rightEye",
        "eyeLeft eyeRight",
    ]
    for pair in pairs:
        one, other = pair.split("|") if "|" in pair else pair.split()
        assert sides.twin_of(one) == other and sides.twin_of(other) == one
    for name in ("bright", "leftover", "tail", "rl", "cleft"):
        assert sides.twin_of(name) == name


# -- masks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [TURNING, MIXING])
def test_mask_folders_there_and_back(tmp_path: Path, text: str) -> None:
    root = write_masks(tmp_path / "in")
    data = am.read(root)
    assert data.layout == "masks" and data[1].targets["masks"][0].max() == 2  # a palette's numbers, not its colours
    out = augmented(root, tmp_path / "out", text)
    assert out.layout == "masks" and len(out) == 4 + 24
    for s in made(out):
        mask, fine = s.targets["masks"]
        assert set(np.unique(mask)) <= {0, 1, 2} and fine.dtype == np.uint16
        np.testing.assert_array_equal(fine, mask.astype(np.uint16) * 300)
        for kind in (0, 1):
            sure = s.data[..., kind] > 95
            assert (mask[sure] == kind + 1).all()
        assert (mask[(s.data < 5).all(-1)] == 0).all()
    for i in range(4):
        assert (tmp_path / "out" / "masks" / f"{i}.png").read_bytes() == (root / "masks" / f"{i}.png").read_bytes()


def test_masks_that_are_missing_broken_or_of_another_size_are_named(tmp_path: Path) -> None:
    root = write_masks(tmp_path / "in")
    (root / "masks" / "0.png").unlink()
    (root / "masks" / "1.png").write_bytes(b"no picture")
    Image.new("L", (3, 3)).save(root / "masks" / "2.png")
    data = am.read(root).usable()
    assert data.ids == ("images/3.png",)
    told = " | ".join(map(str, data.skipped))
    assert "no mask in" in told and "cannot be read" in told and "3 x 3" in told


def test_a_preview_draws_them(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "in", count=2)
    plain = tmp_path / "plain"
    for i in range(2):
        images.write(plain / f"{i}.png", scene(i)[0])
    recipe = tmp_path / "r.yaml"
    recipe.write_text("ops:\n  - Brightness: {add_frac: [0, 0.001]}\n")  # five variants that look the same
    for name, folder in (("marked", root), ("plain", plain)):
        assert cli.main(["preview", str(folder), "--out", str(tmp_path / f"{name}.png"), "--recipe", str(recipe)]) == 0
    a, b = (images.read(tmp_path / f"{n}.png").astype(int) for n in ("marked", "plain"))
    assert a.shape == b.shape and 0.01 < (np.abs(a - b).max(-1) > 20).mean() < 0.4


def test_a_preview_of_every_op_shows_those_that_targets_cannot_follow(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "in", count=2)
    assert cli.main(["preview", str(root), "--out", str(tmp_path / "every.png"), "--every-op"]) == 0


def test_inspect_counts_what_is_annotated(tmp_path: Path) -> None:
    for root in (write_coco(tmp_path / "coco", count=3), write_yolo(tmp_path / "yolo", "boxes", count=3)):
        told = "\n".join(am.inspect(root).summary)
        num = 3 if root.name == "coco" else 4
        assert f"6 objects in 3 of {num} samples: disc 3, bar 3" in told and "no labels" not in told
        assert "need class labels" in told
    assert "masks beside 4 samples" in "\n".join(am.inspect(write_masks(tmp_path / "masks")).summary)


def test_names_and_veils_have_the_colour_of_their_frame_and_stay_in_the_picture() -> None:
    grey = np.full((60, 80, 3), 90, np.uint8)
    instances = np.zeros((60, 80), np.int32)
    instances[20:40, 10:16] = 1
    targets = Targets(
        boxes=np.array([[10.0, 20, 16, 40], [70, 2, 79, 58]]),
        box_labels=("crocodile", "crocodile"),
        instances=instances,
    )
    out = marked(grey, targets, 80).astype(int)
    frame = out[20, 12]
    veil = np.rint(90 * 0.88 + frame * 0.12)
    assert np.abs(out[30, 13] - veil).max() <= 1  # inside the first box
    assert (out[11:19, 10:40] == frame).all(-1).sum() > 80  # its name above it, wider than it is
    assert (out[11:19, 67:70] == 90).all() and (out[3:57, 71:78] == 90).all()  # no room above, below or in the second


def test_the_same_data_has_another_fingerprint_with_other_labels(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "in", "boxes", count=2)
    before = am.read(root).fingerprint
    assert before == am.read(root).fingerprint
    (root / "labels" / "train" / "0.txt").write_text("")
    assert am.read(root).fingerprint != before


def test_the_manifest_names_every_made_file(tmp_path: Path) -> None:
    augmented(write_masks(tmp_path / "in"), tmp_path / "out", "ops:\n  - CutMix\n")
    assert am.replay(tmp_path / "out" / "manifest.jsonl").to_dict()["same"] == 24
    rows = read_jsonl(tmp_path / "out" / "manifest.jsonl")
    assert len(rows) == 4 + 24 and all(len(r["parents"]) == 2 for r in rows if r["origin"] == "augmented")


# -- outlines --------------------------------------------------------------------------------------------------------


def star(rng: np.random.Generator) -> np.ndarray:
    turn = np.sort(rng.uniform(0, 2 * np.pi, 9))
    reach = rng.uniform(5, 22, 9)
    return np.stack([30 + reach * np.cos(turn), 25 + reach * np.sin(turn)], 1)


def test_a_polygon_is_filled_where_the_middles_of_pixels_lie_inside() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        points = star(rng)
        y, x = np.mgrid[:50, :60] + 0.5
        want = Outline(points).contains_points(np.stack([x.ravel(), y.ravel()], 1)).reshape(50, 60)
        got = outlines.filled([points.ravel().tolist()], (50, 60))
        np.testing.assert_array_equal(got, want)


def test_traced_outlines_fill_to_the_same_pixels() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        pixels = outlines.filled([star(rng).ravel().tolist()], (50, 60))
        again = outlines.filled(outlines.traced(pixels), (50, 60))
        assert (pixels & again).sum() / (pixels | again).sum() > 0.97
    pixels = np.zeros((50, 60), bool)
    pixels[20:30, 25:35] = True
    assert not outlines.has_holes(pixels)
    pixels[24:26, 28:31] = False
    assert outlines.has_holes(pixels)


def coded(counts: list[int]) -> str:
    """COCO's text of run lengths, written from its description."""
    text = ""
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            low, value = value & 31, value >> 5
            more = value != -1 if low & 16 else value != 0
            text += chr(48 + (low | 32 if more else low))
    return text


def test_run_lengths_are_read_as_numbers_and_as_text() -> None:
    assert not outlines.from_runs({"size": [10, 10], "counts": "T3"}, (10, 10)).any()  # pycocotools' of an empty mask
    rng = np.random.default_rng(2)
    for _ in range(30):
        pixels = rng.random((23, 37)) < rng.uniform(0.02, 0.98)
        runs = outlines.to_runs(pixels)
        np.testing.assert_array_equal(outlines.from_runs(runs, (23, 37)), pixels)
        np.testing.assert_array_equal(outlines.from_runs({**runs, "counts": coded(runs["counts"])}, (23, 37)), pixels)
    with pytest.raises(UserError, match="do not fill"):
        outlines.from_runs({"size": [10, 10], "counts": "T"}, (10, 10))


def test_a_yolo_file_that_is_no_text_is_named_and_costs_only_its_picture(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "in", "boxes")
    victim = next((root / "labels").rglob("*.txt"))
    victim.write_bytes(b"\xff\xfe\x00\x81")
    data = am.read(root)
    (bad,) = (ref for ref in data.refs if ref.path.stem == victim.stem)
    with pytest.raises(BadSample, match="not UTF-8 text"):
        data[data.ids.index(bad.id)]
    result = am.augment(root, out=tmp_path / "out", variants=1, workers=1)
    assert any(bad.id in line and "not UTF-8 text" in line for line in result.summary)
    for info in root.glob("*.yaml"):
        info.unlink()
    (root / "classes.txt").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UserError, match="not UTF-8 text"):
        am.read(root)


@pytest.mark.parametrize(
    ("write", "edited", "made"),
    [
        (lambda root: write_yolo(root, "detect"), "labels/train/0.aug0.txt", True),
        (lambda root: write_yolo(root, "detect"), "labels/train/1.txt", False),
        (write_masks, "masks/1.aug0.png", True),
        (write_coco, "annotations/instances_train2017.json", False),
    ],
)
def test_replay_sees_that_annotations_were_changed(
    tmp_path: Path, write: Any, edited: str, made: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write(tmp_path / "in")
    out = tmp_path / "out"
    augmented(root, out, "ops: [HorizontalFlip, Rotate]")
    monkeypatch.chdir(out)  # where its manifest has no folder in its path
    assert am.replay("manifest.jsonl").exit_code == 0 and am.replay(".").exit_code == 0
    path = out / edited
    data = path.read_bytes()
    path.write_bytes(data[:-1] if edited.endswith("txt") else data + b" ")
    found = am.replay("manifest.jsonl")
    assert found.changed == (edited,) and found.exit_code == 1 and not found.missing
    if made:
        assert found.other == (), "what is made again is what was made, whatever lies there now"
        path.unlink()
        assert am.replay("manifest.jsonl").missing == (edited,)
