"""`inspect` and `fix` on a folder with every kind of trouble in it."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_sample_images

import augmint as am
from augmint.core.errors import Refused
from augmint.core.provenance import SOURCE_TYPES
from augmint.core.run import read_jsonl
from augmint.core.types import Dataset, Ref
from augmint.data import images
from augmint.modalities.image import ImageModality
from augmint.report import inspection
from augmint.report.inspection import fix, inspect
from test_objects import write_yolo

MODALITY = ImageModality()


def read(root: Path) -> Dataset:
    found = MODALITY.scan(root)
    return Dataset(MODALITY, root, found.refs, layout=found.layout, notes=found.notes, skipped=found.skipped)


def views(count: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    picture = load_sample_images().images[seed % 2]
    out = []
    for _ in range(count):
        y, x, h, w = rng.integers(0, 200), rng.integers(0, 400), rng.integers(80, 160), rng.integers(80, 160)
        out.append(np.ascontiguousarray(picture[y : y + h, x : x + w]))
    return out


@pytest.fixture
def troubled(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for label, seed in (("temple", 0), ("flower", 1)):
        for i, x in enumerate(views(12, seed)):
            images.write(root / label / f"{i:02d}.png", x)
    first = images.read(root / "temple" / "00.png")
    shutil.copy(root / "temple" / "00.png", root / "temple" / "copy.png")
    images.write(root / "temple" / "marked.png", first, mark=SOURCE_TYPES["augmented"])  # other bytes, same pixels
    images.write(root / "temple" / "small.jpg", cv2.resize(first, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    shutil.copy(root / "flower" / "03.png", root / "temple" / "wrong.png")
    (root / "flower" / "empty.png").touch()
    images.write(root / "flower" / "cut.jpg", first)
    whole = (root / "flower" / "cut.jpg").read_bytes()
    (root / "flower" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "notes.txt").write_text("x")
    return root


def state(root: Path) -> dict[str, tuple[str, float]]:
    return {
        p.relative_to(root).as_posix(): (sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime)
        for p in root.rglob("*")
        if p.is_file()
    }


def test_it_finds_what_was_put_in(troubled: Path) -> None:
    before = state(troubled)
    found = inspect(read(troubled))
    assert found.classes.set_index("class")["samples"].to_dict() == {"flower": 12, "temple": 16}
    assert {(r.kind, r.id, r.same_as) for r in found.duplicates.itertuples()} == {
        ("exact", "temple/copy.png", "temple/00.png"),
        ("exact", "temple/marked.png", "temple/00.png"),
        ("near", "temple/small.jpg", "temple/00.png"),
        ("exact", "temple/wrong.png", "flower/03.png"),
    }
    assert found.duplicates["group"].nunique() == 2
    assert set(found.broken["where"]) == {"flower/empty.png", "flower/cut.jpg"}
    assert found.sizes["samples"].sum() == 28
    text = "\n".join(found.summary)
    for words in ("28 usable", "2 classes, 12 to 16 samples", "3 exact duplicates, 1 near-duplicate", "2 left out",
                  "flower/cut.jpg: the JPEG is cut short", "note: other files", "another label", "--fix"):  # fmt: skip
        assert words in text
    assert state(troubled) == before
    assert isinstance(found.classes, pd.DataFrame)
    told = json.loads(json.dumps(found.to_dict()))
    assert len(told["duplicates"]) == 4 and told["broken"][0]["mend"]


class Page(HTMLParser):
    """Collects what would be fetched from elsewhere, and the pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.pictures, self.drawings = 0, 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.drawings += tag == "svg"
        self.pictures += tag == "img"
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and value and not value.startswith(("data:", "#")):
                self.outside.append(value)
        assert tag not in ("script", "link", "iframe")


def test_the_page_is_one_file_with_pictures_and_drawings(troubled: Path, tmp_path: Path) -> None:
    images.write(troubled / "a<b>&$x$" / "0.png", np.zeros((9, 9, 1), np.uint8))
    found = inspect(read(troubled))
    path = found.html(tmp_path / "page.html")
    text = path.read_text()
    page = Page()
    page.feed(text)
    assert page.outside == [] and page.drawings == 2
    assert page.pictures == len(found.sheet) + 2 * len(found.duplicates)
    assert "<b>&$x$" not in text and "temple/small.jpg" in text and "cut short" in text
    assert "url(" not in text.replace("url(#", "") and "var(--a)" in text and "#010204" not in text
    again = inspect(read(troubled)).html(tmp_path / "again.html")
    assert again.read_text() == text


def test_print_shows_the_classes(troubled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspect(read(troubled), previews=False).print()
    shown = capsys.readouterr().out
    assert "temple" in shown and "28 usable" in shown


def test_flat_single_and_equal_sized_sets(tmp_path: Path) -> None:
    images.write(tmp_path / "one" / "a.png", np.zeros((8, 8, 1), np.uint8))
    found = inspect(read(tmp_path / "one"))
    assert "1 usable image sample, layout flat" in found.summary[0] and "no labels" in found.summary
    assert any("no labels" in a for a in found.advice)
    found.html(tmp_path / "one.html")


def test_nothing_usable(tmp_path: Path) -> None:
    images.write(tmp_path / "a.png", np.zeros((8, 8, 1), np.uint8))
    data = read(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    found = inspect(data)
    assert "0 usable" in found.summary[0] and len(found.broken) == 1
    found.html(tmp_path / "page.html")


def test_leaks_between_parts_are_told(tmp_path: Path) -> None:
    x = views(6, 0)
    for i in range(3):
        images.write(tmp_path / "d" / "train" / "c" / f"{i}.png", x[i])
        images.write(tmp_path / "d" / "test" / "c" / f"{i}.png", x[3 + i])
    images.write(tmp_path / "d" / "train" / "c" / "leak.jpg", x[3])
    found = inspect(read(tmp_path / "d"))
    assert any("1 pair of duplicates across the border of the test part" in a for a in found.advice)
    assert "given parts: 4 train, 3 test" in found.summary

    fixed = fix(read(tmp_path / "d"), tmp_path / "clean")
    assert [s.where for s in fixed.left_out] == ["train/c/leak.jpg"]
    clean = read(tmp_path / "clean")
    assert {r.id for r in clean.part("test").refs} == {f"test/c/{i}.png" for i in range(3)}


# fix


def test_fix_writes_a_clean_set_and_leaves_the_input_alone(troubled: Path, tmp_path: Path) -> None:
    before = state(troubled)
    fixed = fix(read(troubled), tmp_path / "clean")
    assert state(troubled) == before
    clean = read(tmp_path / "clean")
    # Both of a contradiction, two exact copies and two broken ones are gone; the near-duplicate stays.
    assert set(before) - {f"{r.id}" for r in clean.refs} == {
        "flower/03.png", "temple/wrong.png", "temple/copy.png", "temple/marked.png", "flower/empty.png",
        "flower/cut.jpg", "notes.txt",
    }  # fmt: skip
    after = state(tmp_path / "clean")
    assert all(after[r.id][0] == before[r.id][0] for r in clean.refs), "byte for byte"
    part = {r.id: r.part for r in clean.refs}
    assert part["temple/00.png"] == part["temple/small.jpg"]
    assert set(part.values()) == {"train", "val", "test"}
    rows = read_jsonl(tmp_path / "clean" / "metadata.jsonl")
    assert {r["file_name"]: r["split"] for r in rows} == part
    reasons = {r["where"]: r["reason"] for r in read_jsonl(tmp_path / "clean" / "left-out.jsonl")}
    assert reasons["temple/copy.png"] == "exactly the same as temple/00.png"
    assert reasons["temple/wrong.png"] == "the same data is labelled 'flower' and 'temple'"
    assert fixed.counts == {p: list(part.values()).count(p) for p in ("train", "val", "test")}
    json.dumps(fixed.to_dict())
    found = inspect(clean, previews=False)
    assert "0 exact duplicates, 1 near-duplicate" in found.summary and not len(found.broken)
    assert not any("border" in a for a in found.advice)
    assert not clean.notes, "our own files need no remark"


def test_fix_gives_the_same_set_again(troubled: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        fix(read(troubled), tmp_path / name)
    assert {k: v[0] for k, v in state(tmp_path / "a").items()} == {k: v[0] for k, v in state(tmp_path / "b").items()}


def test_the_copy_in_the_test_part_is_the_one_that_stays(tmp_path: Path) -> None:
    x = views(5, 0)
    for i, part in enumerate(("train", "train", "val", "test", "test")):
        images.write(tmp_path / "d" / part / "c" / f"{i}.png", x[i])
    shutil.copy(tmp_path / "d/test/c/3.png", tmp_path / "d/train/c/3.png")
    fixed = fix(read(tmp_path / "d"), tmp_path / "clean")
    assert [s.where for s in fixed.left_out] == ["train/c/3.png"]
    assert fixed.counts == {"train": 2, "val": 1, "test": 2}


def agreeing(out: Path, layout: str) -> dict[str, str]:
    """The part of each file of a fixed set, the same in its folder's name and in the column, whoever reads it."""
    rows = {}
    for table in out.rglob("metadata.jsonl"):
        home = table.parent.relative_to(out)
        rows |= {(home / r["file_name"]).as_posix(): r["split"] for r in read_jsonl(table)}
    for name, part in rows.items():
        assert (out / name).is_file() and part in name.split("/")[: 2 if layout == "yolo" else 1], (name, part)
    return rows


def test_parts_given_by_folders_stay_in_every_layout(tmp_path: Path) -> None:
    yolo = write_yolo(tmp_path / "yolo", "boxes", count=8)
    (yolo / "images" / "val" / "v.png").unlink()
    images.write(yolo / "images" / "val" / "v.png", views(1, 0)[0])
    for i, x in enumerate(views(12, 1)):
        part = "val" if i > 9 else "train"
        images.write(tmp_path / "classes" / part / "ab"[i % 2] / f"{i}.png", x)
        images.write(tmp_path / "flat" / part / f"{i}.png", x)
        images.write(tmp_path / "no_val" / ("test" if i > 9 else "train") / "a" / f"{i}.png", x)
    for name in ("yolo", "classes", "flat", "no_val"):
        data = am.read(tmp_path / name)
        fixed = fix(data, tmp_path / "out" / name)
        assert any("kept" in line for line in fixed.summary)
        rows = agreeing(fixed.path, name)
        assert rows == {r.id: r.part for r in data.refs if r.id in rows} and len(rows) == len(data)
        assert {r.id: r.part for r in am.read(fixed.path).refs} == rows


def test_samples_of_no_part_are_divided_and_those_near_a_training_sample_go_with_it(tmp_path: Path) -> None:
    root, rows = tmp_path / "d", []
    for i, x in enumerate(views(30, 0)):
        images.write(root / f"{i:02d}.png", x)
        rows.append({"file_name": f"{i:02d}.png", "split": "train" if i < 4 else None})
        if i < 4:  # nearly the same, and of no part
            images.write(root / f"{i:02d}_again.png", x ^ 1)
            rows.append({"file_name": f"{i:02d}_again.png", "split": None})
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    fixed = fix(am.read(root), tmp_path / "out")
    part = {r.id: r.part for r in am.read(tmp_path / "out").refs}
    assert all(part[f"{i:02d}{end}.png"] == "train" for i in range(4) for end in ("", "_again"))
    assert set(part.values()) == {"train", "val", "test"} and any("30 samples without" in s for s in fixed.summary)


def test_files_whose_column_contradicts_their_folder_go_to_the_folder_of_their_part(tmp_path: Path) -> None:
    root, rows = tmp_path / "d", []
    for i, x in enumerate(views(6, 0)):
        name = f"train/c/{i}.png"
        images.write(root / name, x)
        rows.append({"file_name": name, "label": "c", "split": "train" if i < 4 else "test"})
    images.write(root / "test" / "c" / "4.png", views(1, 1)[0])  # where one of them would go
    rows.append({"file_name": "test/c/4.png", "label": "c", "split": "test"})
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    fixed = fix(am.read(root), tmp_path / "out")
    assert agreeing(fixed.path, "classes") == {
        **{f"train/c/{i}.png": "train" for i in range(4)},
        **{"test/c/4.png": "test", "test/c/5.png": "test"},
    }
    assert (fixed.path / "test/c/5.png").read_bytes() == (root / "train/c/5.png").read_bytes()
    assert [s.where for s in fixed.left_out] == ["train/c/4.png"]
    assert any("1 file went" in line for line in fixed.summary)


def test_what_lies_beside_a_file_goes_with_it(tmp_path: Path) -> None:
    root, sink = tmp_path / "d", MODALITY.sink(tmp_path / "out", layout="metadata")
    images.write(root / "train" / "a.png", views(1, 0)[0])
    (root / "train" / "a.txt").write_text("beside")
    ref = Ref("test/a.png", root / "train" / "a.png", part="test", beside=(root / "train" / "a.txt",))
    sink.copy(ref)
    assert (tmp_path / "out" / "test" / "a.txt").read_text() == "beside" and not (tmp_path / "out" / "train").exists()


def test_outputs_that_exist_or_lie_in_the_input_are_refused(troubled: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("x")
    before = state(tmp_path)
    for out in (tmp_path / "full", troubled, troubled / "clean", tmp_path / "full" / "precious.txt"):
        with pytest.raises(Refused):
            fix(read(troubled), out)
    assert state(tmp_path) == before
    (tmp_path / "empty").mkdir()
    fix(read(troubled), tmp_path / "empty")
    assert len(read(tmp_path / "empty")) == 24


def test_a_failure_leaves_nothing_behind(troubled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(inspection, "write_jsonl", fail)
    before = state(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fix(read(troubled), tmp_path / "clean")
    assert state(tmp_path) == before and not (tmp_path / "clean").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]


def test_a_place_that_is_taken_is_refused_before_anything_is_read(
    troubled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    monkeypatch.setattr(inspection, "inspect", lambda data: pytest.fail("it was read"))
    with pytest.raises(Refused):
        am.inspect(troubled, fix=tmp_path / "taken")


def test_the_page_is_named(troubled: Path, tmp_path: Path) -> None:
    found = am.inspect(troubled, out=tmp_path / "page.html")
    assert found.summary[-1] == f"page: {tmp_path / 'page.html'}"


def of_twelve_bits(seed: int, *, hot: bool = False) -> np.ndarray:
    """As a microscope gives them: levels 176 to 4391, and a hot pixel or two."""
    x = np.random.default_rng(seed).integers(176, 4392, (60, 70, 1)).astype(np.uint16)
    x[0, :2] = 65_535 if hot else x[0, :2]
    return x


def told(tmp_path: Path, pictures: list[np.ndarray]) -> list[str]:
    for i, x in enumerate(pictures):
        images.write(tmp_path / f"{i}.png", x)
    return [line for line in inspect(read(tmp_path), previews=False).summary if "16-bit" in line]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_that_hold_twelve_are_told(tmp_path: Path, channels: int) -> None:
    pictures = [of_twelve_bits(i, hot=i == 1).repeat(channels, 2) for i in range(3)]
    if channels == 4:
        for x in pictures:
            x[..., 3] = 65_535
    (line,) = told(tmp_path, pictures)
    assert line.startswith("advice: 16-bit pictures use only 7 % of their range (levels 17") and "of 65,535" in line
    assert "these levels are black and white" in line and "see 17 levels" in line
    low, factor = line.split("x to (x - ")[1].split(" cut")[0].split(") * ")
    stretched = (pictures[0][..., :1].astype(float) - int(low)) * float(factor)
    assert abs(stretched.max() - 65_535) < 655 and abs(stretched.min()) < 655  # a hundredth


def test_sixteen_bits_that_are_used_are_not_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    full = [rng.integers(0, 65_536, (20, 20, 1)).astype(np.uint16) for _ in range(2)]
    flat, eight = np.full((20, 20, 1), 700, np.uint16), rng.integers(0, 9, (20, 20, 1)).astype(np.uint8)
    assert told(tmp_path / "full", [*full, eight]) == []
    assert told(tmp_path / "one", [*full, of_twelve_bits(0)]) == []
    assert told(tmp_path / "flat", [flat, eight]) == [] == told(tmp_path / "eight", [eight])
    (line,) = told(tmp_path / "most", [full[0], of_twelve_bits(0), of_twelve_bits(1)])
    assert "2 of 3 16-bit pictures use only 7 %" in line
