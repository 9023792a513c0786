"""The image modality: scan, codec, features, sink, preview."""

from __future__ import annotations

import base64
import json
import pickle
import re
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import augmint as am
from augmint.core.errors import BadSample, UserError
from augmint.core.provenance import SOURCE_TYPES
from augmint.core.run import read_jsonl
from augmint.core.types import Dataset, Modality, Sample
from augmint.data import images
from augmint.data.sink import folder_name
from augmint.modalities.image import ImageCodec, ImageModality
from augmint.transforms.colour import Brightness, Contrast
from augmint.transforms.geometry import Translate
from augmint.transforms.mix import MIXES, MixUp, Pool
from augmint.transforms.plan import PICTURE_OPS, Plan
from augmint.transforms.recipe import Recipe

MODALITY = ImageModality()


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def dataset(root: Path, pictures: dict[str, np.ndarray]) -> Dataset:
    for name, x in pictures.items():
        images.write(root / name, x)
    return read(root)


def read(root: Path) -> Dataset:
    found = MODALITY.scan(root)
    return Dataset(MODALITY, root, found.refs, layout=found.layout, notes=found.notes, skipped=found.skipped)


def _applied(plan, x: np.ndarray) -> np.ndarray:
    return MODALITY.transform(plan, Sample("a", x), {}.__getitem__).data


def test_it_is_a_modality_with_ops_that_exist() -> None:
    assert isinstance(MODALITY, Modality)
    assert len(set(MODALITY.ops)) == len(MODALITY.ops) and set(MODALITY.ops) == {*PICTURE_OPS, *MIXES}
    assert {"Rotate", "HorizontalFlip", "Contrast", "Cutout"} <= set(MODALITY.ops)


def test_scan_names_broken_and_huge_files_and_goes_on(tmp_path: Path) -> None:
    dataset(tmp_path, {"cat/a.png": noise(5, 7), "cat/B.JPG": noise(6, 8, 1), "dog/c.png": noise(4, 4, 4)})
    (tmp_path / "cat" / "empty.png").touch()
    (tmp_path / "cat" / "text.png").write_text("hello")
    data = read(tmp_path)
    assert [(r.id, r.meta["height"], r.meta["width"], r.meta["channels"], r.meta["format"]) for r in data.refs] == [
        ("cat/B.JPG", 6, 8, 1, "JPEG"),
        ("cat/a.png", 5, 7, 3, "PNG"),
        ("dog/c.png", 4, 4, 4, "PNG"),
    ]
    assert {s.where for s in data.skipped} == {"cat/empty.png", "cat/text.png"} and all(s.mend for s in data.skipped)
    with pytest.raises(BadSample, match=r"empty\.png"):
        MODALITY.scan(tmp_path, strict=True)


def test_scan_of_nothing_but_broken_files_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(UserError, match=r"none of the 1 files can be used; the first, a\.png: not a PNG"):
        MODALITY.scan(tmp_path)


def test_a_truncated_jpeg_is_found_by_usable(tmp_path: Path) -> None:
    dataset(tmp_path, {"a.jpg": noise(64, 64), "b.jpg": noise(64, 64)})
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    data = read(tmp_path).usable()
    assert data.ids == ("b.jpg",) and "cut short" in data.skipped[0].reason
    with pytest.raises(BadSample, match=r"a\.jpg"):
        read(tmp_path).usable(strict=True)


# Codec


def grid_of(tmp_path: Path, shapes: list[tuple[int, int]], size: int | None = None) -> tuple[int, ...]:
    data = dataset(tmp_path, {f"{i:03d}.png": noise(h, w) for i, (h, w) in enumerate(shapes)})
    return MODALITY.fit(data, size=size).grid.size


@pytest.mark.parametrize(
    ("shapes", "size", "grid"),
    [
        ([(8, 8)] * 3, None, (3, 8, 8)),
        ([(30, 41)] * 3, None, (3, 30, 41)),
        ([(8, 8)] * 3, 16, (3, 16, 16)),
        ([(100, 200)] * 3, None, (3, 32, 64)),
        ([(100, 200)] * 3, 32, (3, 16, 32)),
        ([(30, 60), (40, 80), (50, 100)], None, (3, 32, 64)),
        ([(10, 20), (12, 24), (11, 22)], None, (3, 11, 22)),
        ([(30, 60), (60, 30), (31, 60), (60, 31)], None, (3, 60, 60)),
        ([(4, 400)], None, (3, 4, 64)),
        ([(1, 1)], None, (3, 4, 4)),
    ],
)
def test_the_grid_comes_from_the_data(
    tmp_path: Path, shapes: list[tuple[int, int]], size: int | None, grid: tuple[int, ...]
) -> None:
    found = grid_of(tmp_path, shapes, size)
    assert found[0] == 3 and np.abs(np.subtract(found, grid)).max() <= 1


@settings(deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(4, 12), st.integers(4, 12), st.sampled_from([1, 3]))))
def test_own_size_goes_there_and_back_exactly(x: np.ndarray) -> None:
    codec = ImageCodec(x.shape[2], *x.shape[:2], (0,) * x.shape[2])
    coded = codec.encode(Sample("a.png", x))
    assert coded.dtype == np.float32 and coded.min() >= -1 and coded.max() <= 1
    np.testing.assert_array_equal(codec.decode(coded), x)


@settings(deadline=None)
@given(hnp.arrays(np.uint8, (6, 5, 4)))
def test_alpha_is_premultiplied_and_comes_back(x: np.ndarray) -> None:
    codec = ImageCodec(4, 6, 5, (0, 0, 0, 0))
    coded = codec.encode(Sample("a.png", x))
    alpha = x[..., 3:] / 255.0
    np.testing.assert_allclose((coded.transpose(1, 2, 0)[..., :3] + 1) / 2, x[..., :3] / 255.0 * alpha, atol=1e-5)
    back = codec.decode(coded)
    np.testing.assert_array_equal(back[..., 3], x[..., 3])
    seen = x[..., 3] > 0
    np.testing.assert_array_equal(back[seen], x[seen])
    assert (back[~seen] == 0).all()


def test_transparent_edges_take_no_colour_from_what_cannot_be_seen() -> None:
    x = np.zeros((64, 64, 4), np.uint8)
    x[:, :32] = (200, 100, 50, 255)
    x[:, 32:, :3] = (0, 255, 0)  # green under full transparency
    shrunk = ImageCodec(4, 9, 9, (0,) * 4).encode(Sample("a.png", x))
    back = ImageCodec(4, 9, 9, (0,) * 4).decode(shrunk)
    visible = back[back[..., 3] > 8]
    assert np.abs(visible[:, :3].astype(int) - (200, 100, 50)).max() <= 2


def test_letterbox_keeps_the_aspect_and_fills_with_the_border_level(tmp_path: Path) -> None:
    pages = {f"{i}.png": np.full((20 + 10 * i, 40, 1), 230, np.uint8) for i in range(4)}
    codec = MODALITY.fit(dataset(tmp_path, pages))
    assert codec.pad == (230,)
    x = np.zeros((10, 40, 1), np.uint8)
    x[4:6] = 255
    boxed = ImageCodec(1, 32, 32, (128,)).encode(Sample("a.png", x))[0]
    np.testing.assert_allclose(boxed[:12], 128 / 127.5 - 1, atol=1e-6)
    np.testing.assert_allclose(boxed[20:], 128 / 127.5 - 1, atol=1e-6)
    wanted = cv2.resize(x, (32, 8), interpolation=cv2.INTER_AREA) / 127.5 - 1
    np.testing.assert_allclose(boxed[12:20], wanted, atol=0.01)


def test_channels_are_the_widest_and_narrow_ones_are_promoted(tmp_path: Path) -> None:
    data = dataset(tmp_path, {"g.png": noise(8, 8, 1), "c.png": noise(8, 8, 3), "t.png": noise(8, 8, 4)})
    codec = MODALITY.fit(data)
    assert codec.channels == 4
    back = {s.id: codec.decode(codec.encode(s)) for s in data}
    for name, x in {s.id: s.data for s in data}.items():
        rgb = np.repeat(x, 3, axis=2) if x.shape[2] == 1 else x[..., :3]
        if x.shape[2] < 4:
            np.testing.assert_array_equal(back[name][..., :3], rgb)
            assert (back[name][..., 3] == 255).all()
    narrow = ImageCodec(1, 8, 8, (0,)).encode(data[2])
    assert narrow.shape == (1, 8, 8)


@pytest.mark.parametrize("deep", [False, True])
def test_the_codec_survives_json(tmp_path: Path, deep: bool) -> None:
    x = noise(9, 20).astype(np.uint16) * 16 if deep else noise(9, 20)
    codec = MODALITY.fit(dataset(tmp_path, {"a.png": x, "b.png": np.rot90(x).copy()}))
    assert (codec.span is not None) == deep
    assert MODALITY.codec(json.loads(json.dumps(codec.to_dict()))) == codec


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_scans_of_12_bits_in_16_span_the_grid_and_come_back(tmp_path: Path, channels: int) -> None:
    """In 8 bits such a scan has 17 levels; here no level is lost, and a network sees as much contrast as of an 8-bit picture."""
    ramps = {f"{i}.png": _ramp(channels, 300 + i, 4000) for i in range(3)}
    for x in ramps.values() if channels == 4 else ():
        x[..., 3] = 65535
    codec = MODALITY.fit(dataset(tmp_path, ramps))
    assert codec.span == (300, 4000)
    for name, x in ramps.items():
        coded = codec.encode(Sample(name, x))
        wanted = (x[..., :3].astype(float) - 300) / 3700 * 2 - 1
        np.testing.assert_allclose(coded.transpose(1, 2, 0)[..., :3], wanted, atol=1 / 65535)
        back = codec.decode(coded)
        assert back.dtype == np.uint16
        np.testing.assert_array_equal(back, x)


def test_previews_of_12_bits_are_no_black_squares() -> None:
    x = _ramp(4, 300, 4000)
    x[..., 3] = 65535
    for shown in (x, x[..., :1]):
        coded = MODALITY.preview(Sample("a", shown)).split("base64,")[1].split('"')[0]
        seen = np.asarray(Image.open(BytesIO(base64.b64decode(coded))))
        assert seen[..., 0].max() == 255 if seen.ndim == 3 else seen.max() == 255


def _ramp(channels: int, low: int, high: int) -> np.ndarray:
    return np.repeat(np.linspace(low, high, 48 * 48).round().astype(np.uint16).reshape(48, 48, 1), channels, 2)


def test_16_bits_with_transparency_keep_all_levels_and_mixed_folders_have_8(tmp_path: Path) -> None:
    x = np.concatenate([_ramp(3, 0, 65535), np.full((48, 48, 1), 65535, np.uint16)], axis=2)
    codec = MODALITY.fit(dataset(tmp_path / "clear", {"a.png": x}))
    np.testing.assert_allclose(codec.decode(codec.encode(Sample("a.png", x))).astype(int), x, atol=1)
    mixed = MODALITY.fit(dataset(tmp_path / "mixed", {"a.png": _ramp(1, 0, 65535), "b.png": noise(48, 48, 1)}))
    assert mixed.span is None
    assert mixed.decode(mixed.encode(Sample("a.png", _ramp(1, 0, 65535)))).dtype == np.uint8


def test_a_picture_of_8_bits_beside_16_has_the_same_brightness(tmp_path: Path) -> None:
    codec = MODALITY.fit(dataset(tmp_path, {"a.png": _ramp(1, 0, 65535)}))
    gray = np.full((48, 48, 1), 51, np.uint8)
    np.testing.assert_allclose(codec.encode(Sample("b.png", gray)), -0.6, atol=1e-4)


def test_transforms_take_what_12_bits_use_for_black_and_white(tmp_path: Path) -> None:
    """As if the picture had been stretched by hand before, and brought back after; mixed with another one, too."""
    low, high = 300, 4000
    x, other = _ramp(1, low, high), np.flipud(_ramp(1, low, high)).copy()
    data = dataset(tmp_path, {"a.png": x, "b.png": other})
    assert MODALITY.span(data) == (low, high)

    def by_hand(v: np.ndarray) -> np.ndarray:
        return np.rint((v - float(low)) * 65535 / (high - low)).astype(np.uint16)

    ops = (Brightness(add_frac=(0.2, 0.2), p=1.0), Contrast(factor=(1.3, 1.3), p=1.0), MixUp(p=1.0))
    plan = Recipe("r", ops).plan_of(5, own="a.png", pool=Pool(("a.png", "b.png")))
    assert plan.others == ("b.png",)
    samples = {"a.png": Sample("a.png", x, "u"), "b.png": Sample("b.png", other, "v")}
    stretched = {k: replace(s, data=by_hand(s.data)) for k, s in samples.items()}
    wanted = MODALITY.transform(plan, stretched["a.png"], stretched.__getitem__).data
    told = Plan.from_json(replace(plan, span=(low, high)).to_json())
    found = MODALITY.transform(told, samples["a.png"], samples.__getitem__).data
    assert found.dtype == np.uint16 and found.max() <= high and found.min() >= low
    np.testing.assert_allclose(found, low + wanted.astype(float) * (high - low) / 65535, atol=0.51)
    still = MODALITY.transform(replace(told, steps=()), samples["a.png"], samples.__getitem__).data
    np.testing.assert_array_equal(still, x)


@pytest.mark.parametrize("span", [[5, 5], [0, 70_000], [1], "wide", [0.5, 9]])
def test_a_plan_with_a_span_that_is_none_is_refused(span: object) -> None:
    with pytest.raises(UserError, match="no two levels of 16 bits"):
        Plan.from_json(json.dumps({"steps": [], "span": span}))


def test_a_folder_of_12_bits_is_augmented_and_replayed_within_its_levels(tmp_path: Path) -> None:
    for i in range(3):
        images.write(tmp_path / "in" / "a" / f"{i}.png", _ramp(1, 300 + i, 4000))
    am.augment(tmp_path / "in", out=tmp_path / "out", variants=2, recipe="strong")
    made = [images.read(p, deep=True) for p in sorted((tmp_path / "out").rglob("*.aug*.png"))]
    assert len(made) == 6 and all(x.dtype == np.uint16 and x.min() >= 300 and x.max() <= 4000 for x in made)
    assert np.mean([x.std() for x in made]) > 300  # not all black, as with fractions of 65,535
    rows = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert {tuple(r["plan"]["span"]) for r in rows if "plan" in r} == {(300, 4000)}
    found = am.replay(tmp_path / "out" / "manifest.jsonl")
    assert (found.same, found.other, found.changed) == (6, (), ())


def test_hot_pixels_hardly_stretch_the_span(tmp_path: Path) -> None:
    x = _ramp(1, 1000, 2000)
    x[5, 7] = 65535
    codec = MODALITY.fit(dataset(tmp_path, {"a.png": x}))
    assert codec.span is not None and codec.span[1] <= 2250
    assert codec.encode(Sample("a.png", x)).max() == 1
    bright = _ramp(1, 1000, 2000)
    bright[5, 7] = 2200  # one pixel that may mean something
    assert MODALITY.fit(dataset(tmp_path / "b", {"a.png": bright})).span == (1000, 2200)


def test_fit_needs_pictures(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        MODALITY.fit(Dataset(MODALITY, tmp_path, []))


# Features and preview


@pytest.mark.parametrize("shape", [(5, 1, 8, 8), (3, 3, 40, 24), (2, 4, 64, 64), (2, 1, 4, 4)])
def test_features_are_finite_one_row_a_picture_and_batch_free(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    found = MODALITY.features(x)
    assert found.dtype == np.float32 and found.shape[0] == shape[0] and np.isfinite(found).all()
    np.testing.assert_allclose(MODALITY.features(x[:1])[0], found[0], atol=1e-6)


def test_gradient_features_turn_with_the_picture() -> None:
    ramp = np.broadcast_to(np.linspace(-1, 1, 16, dtype=np.float32), (16, 16))
    right, left = (MODALITY.features(x[None, None].copy())[0, -128:].reshape(8, 16) for x in (ramp, ramp[:, ::-1]))
    assert (right.sum(1) > 0).tolist() == [i == 0 for i in range(8)]
    assert (left.sum(1) > 0).tolist() == [i == 4 for i in range(8)]


def test_preview_is_one_safe_tag_with_the_pixels_in_it() -> None:
    x = noise(8, 8, 4)
    html = MODALITY.preview(Sample('a"><script>.png', x, "<b>"))
    assert "<script>" not in html and "pixelated" in html and html.count("<") == 1
    coded = re.search(r'base64,([^"]+)"', html)
    assert coded is not None
    np.testing.assert_array_equal(np.array(Image.open(BytesIO(base64.b64decode(coded[1])))), x)
    large = MODALITY.preview(Sample("a.png", noise(600, 400)), width=50)
    assert 'width="50" height="75"' in large and "pixelated" not in large and len(large) < 60_000


# Sink


def test_class_folders_are_written_with_marks_and_metadata(tmp_path: Path) -> None:
    sink = MODALITY.sink(tmp_path, layout="class-folders")
    assert sink.write(Sample("a.png", noise(4, 4), "cat", origin="augmented")) == Path("cat/a.png")
    assert sink.write(Sample("dog/b.jpg", noise(4, 4), "dog", origin="synthetic")) == Path("dog/b.jpg")
    assert sink.write(Sample("c", noise(4, 4, 4), "dog", origin="synthetic")) == Path("dog/c.png")
    assert sink.write(Sample("dog/d.jpg", noise(4, 4, 4), "dog")) == Path("dog/d.png"), "JPEG has no alpha"
    for_worker = pickle.loads(pickle.dumps(sink))
    assert for_worker.out == tmp_path and not for_worker._rows, "what is sent to workers does not grow"
    rows = read_jsonl(tmp_path / "metadata.jsonl")
    assert [(r["file_name"], r["label"], r["origin"]) for r in rows] == [
        ("cat/a.png", "cat", "augmented"),
        ("dog/b.jpg", "dog", "synthetic"),
        ("dog/c.png", "dog", "synthetic"),
        ("dog/d.png", "dog", "real"),
    ]
    marks = {name: images.header(tmp_path / name).mark for name in ("cat/a.png", "dog/b.jpg", "dog/d.png")}
    assert marks == {
        "cat/a.png": SOURCE_TYPES["augmented"],
        "dog/b.jpg": SOURCE_TYPES["synthetic"],
        "dog/d.png": None,
    }
    back = read(tmp_path)
    assert back.layout == "class-folders" and back.counts == {"cat": 1, "dog": 3} and not back.skipped
    assert {s.id: s.origin for s in back}["dog/c.png"] == "synthetic"
    assert "3 of 4 samples are marked" in back.notes[-1]


def test_origins_are_known_from_the_marks_alone(tmp_path: Path) -> None:
    sink = MODALITY.sink(tmp_path, layout="flat")
    for origin in ("real", "augmented", "synthetic"):
        sink.write(Sample(origin, noise(4, 4), origin=origin))
    (tmp_path / "metadata.jsonl").unlink()
    assert [s.origin for s in read(tmp_path)] == ["augmented", "real", "synthetic"]


def test_parts_go_into_their_folders_with_their_own_metadata(tmp_path: Path) -> None:
    sink = MODALITY.sink(tmp_path, layout="class-folders")
    assert sink.write(Sample("x.png", noise(4, 4), "cat"), part="train") == Path("train/cat/x.png")
    assert sink.write(Sample("Test/cat/y.png", noise(4, 4), "cat"), part="test") == Path("Test/cat/y.png")
    assert [r["file_name"] for r in read_jsonl(tmp_path / "train" / "metadata.jsonl")] == ["cat/x.png"]
    back = read(tmp_path)
    assert {r.id: (r.label, r.part) for r in back.refs} == {
        "Test/cat/y.png": ("cat", "test"),
        "train/cat/x.png": ("cat", "train"),
    }


def test_closing_sorts_and_sends_lines_home(tmp_path: Path) -> None:
    sink = MODALITY.sink(tmp_path, layout="class-folders")
    for name in ("train/c/b.png", "test/c/a.png", "train/c/a.png"):
        files = sink.save(Sample(name, noise(4, 4), "c"))
        assert {k: sha256((tmp_path / k).read_bytes()).hexdigest() for k in files} == files
        sink.note(Path(next(iter(files))), label="c", origin="augmented")  # as after a worker's save: no part is given
    sink.close()
    sink.close()
    assert [r["file_name"] for r in read_jsonl(tmp_path / "train" / "metadata.jsonl")] == ["c/a.png", "c/b.png"]
    assert [r["file_name"] for r in read_jsonl(tmp_path / "test" / "metadata.jsonl")] == ["c/a.png"]
    assert not (tmp_path / "metadata.jsonl").exists()
    assert {r.id: r.part for r in read(tmp_path).refs}["test/c/a.png"] == "test"


def test_a_plan_is_applied_at_the_pictures_own_size() -> None:
    recipe = Recipe.load("medium", allowed=MODALITY.ops)
    x = noise(30, 50)
    out = _applied(recipe.draw(seed=0, sample_id="a"), x)
    assert out.shape == x.shape and out.dtype == np.uint8 and (out != x).any()


def test_a_sheet_shows_every_picture_sharply() -> None:
    rows = [[Sample("a", noise(8, 8, 1, i)) for i in range(3)], [Sample("b", noise(8, 8, 4))]]
    coded, suffix = MODALITY.sheet(rows, ["reals", ""])
    shown = np.array(Image.open(BytesIO(coded)))
    assert suffix == ".png" and shown.shape == (24 + 52 + 52, 4 + 3 * 52, 3)
    np.testing.assert_array_equal(shown[24:72:6, 56:104:6, 0], rows[0][1].data[..., 0])


def test_reals_are_copied_byte_for_byte_with_their_columns(tmp_path: Path) -> None:
    images.write(tmp_path / "in" / "x" / "a.JPG", noise(20, 20))
    row = {"file_name": "x/a.JPG", "label": "A/B", "split": "test", "who": "Ann"}
    (tmp_path / "in" / "metadata.jsonl").write_text(json.dumps(row))
    data = read(tmp_path / "in")
    sink = MODALITY.sink(tmp_path / "out", layout=data.layout)
    assert sink.copy(data.refs[0]) == Path("x/a.JPG")
    assert (tmp_path / "out/x/a.JPG").read_bytes() == (tmp_path / "in/x/a.JPG").read_bytes()
    back = read(tmp_path / "out")
    assert [(r.id, r.label, r.part, r.meta["who"]) for r in back.refs] == [("x/a.JPG", "A/B", "test", "Ann")]
    assert back.layout == data.layout == "metadata"


def test_a_class_called_test_survives_the_round_trip(tmp_path: Path) -> None:
    sink = MODALITY.sink(tmp_path, layout="class-folders")
    for label in ("test", "other"):
        sink.write(Sample(f"{label}/a.png", noise(4, 4), label))
    back = read(tmp_path)
    assert back.counts == {"other": 1, "test": 1} and not back.skipped


def test_an_interrupted_metadata_file_is_taken_up(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    samples = [Sample(f"{i}.png", noise(4, 4, seed=i), "c") for i in range(4)]
    for sample in samples:
        MODALITY.sink(whole, layout="flat").write(sample)
    sink = MODALITY.sink(cut, layout="flat")
    for sample in samples[:2]:
        sink.write(sample)
    with (cut / "metadata.jsonl").open("a") as f:
        f.write('{"file_name": "2.pn')
    again = MODALITY.sink(cut, layout="flat")
    for sample in samples:
        again.write(sample)
    assert (cut / "metadata.jsonl").read_bytes() == (whole / "metadata.jsonl").read_bytes()


@pytest.mark.parametrize("name", ["../a.png", "/tmp/a.png", "x/../../a.png", "a\0.png", ""])
def test_ids_that_lead_out_are_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadSample):
        MODALITY.sink(tmp_path / "out", layout="flat").write(Sample(name, noise(4, 4)))
    assert not list(tmp_path.rglob("*.png"))


@given(st.text(max_size=200))
def test_every_label_is_one_plain_folder(label: str) -> None:
    name = folder_name(label)
    assert name and not set(name) & set('/\\:*?"<>|\0') and name not in (".", "..") and not name.startswith(".")
    assert name == name.strip(" .") and len(name) <= 90
    other = folder_name(label + "x")
    assert name.lower() != other.lower() or label.lower() == (label + "x").lower()


def test_labels_that_would_meet_stay_apart(tmp_path: Path) -> None:
    sink = MODALITY.sink(tmp_path, layout="class-folders")
    places = {sink.write(Sample("a.png", noise(4, 4), label)) for label in ("a/b", "a_b", "a:b", "../../etc", "con")}
    assert len(places) == 5
    assert read(tmp_path).counts == {label: 1 for label in ("a/b", "a_b", "a:b", "../../etc", "con")}


def test_made_samples_go_to_the_class_folder_that_the_reals_have(tmp_path: Path) -> None:
    images.write(tmp_path / "in" / "why? a:b" / "a.png", noise(4, 4))
    data = read(tmp_path / "in")
    sink = MODALITY.sink(tmp_path / "out", layout="class-folders")
    sink.copy(data.refs[0])
    for name in ("synthetic-0", "why? a:b/a.aug0.png"):
        assert sink.write(Sample(name, noise(4, 4), "why? a:b")).parent == Path("why? a:b")
    (tmp_path / "out" / "metadata.jsonl").unlink()
    assert read(tmp_path / "out").counts == {"why? a:b": 3}


def test_two_samples_do_not_share_a_file(tmp_path: Path) -> None:
    sink = MODALITY.sink(tmp_path, layout="flat")
    sink.write(Sample("a.png", noise(4, 4)))
    with pytest.raises(UserError, match="two samples"):
        sink.write(Sample("a.png", noise(4, 4)))


def test_a_cut_out_picture_is_not_mirrored_beyond_its_edge() -> None:
    """Moved by four pixels: a transparent picture ends at its edge, an opaque one is continued."""
    x = np.full((16, 16, 4), 200, np.uint8)
    x[:, :, 3] = 0
    x[4:12, 8:, 3] = 255  # touches the right edge, where its mirror image would come in
    plan = Recipe("r", (Translate(shift_frac=(-0.25, -0.25), p=1.0),)).draw(seed=0, sample_id="a")
    wanted = np.zeros((16, 16), np.uint8)
    wanted[:12, :12] = x[4:, 4:, 3]
    assert (_applied(plan, x)[:, :, 3] == wanted).all()
    x[:, :, 3] = 255
    assert (_applied(plan, x)[:, :, 3] == 255).all()
