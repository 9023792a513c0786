"""TIFF, WebP, BMP and 16 bits: read as Pillow and OpenCV read them, whole or not at all, and kept by `augmint augment`."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import augmint as am
from augmint.core.errors import BadSample, UserError
from augmint.core.provenance import SOURCE_TYPES
from augmint.core.run import read_jsonl
from augmint.data import formats, images
from augmint.modalities.image import ImageModality
from augmint.transforms import run_cv
from augmint.transforms.plan import Plan
from test_transforms_run import noise_image

RGB = Image.fromarray(noise_image(40, 56, 3))
DEEP = noise_image(30, 44, 3).astype(np.uint16) * 257 + noise_image(30, 44, 3, seed=1)


def coded(form: str, picture: Image.Image = RGB, **options: Any) -> bytes:
    out = BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("form", "mode", "options"),
    [
        *[
            ("TIFF", m, {"compression": c})
            for m in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")
            for c in (None, "tiff_lzw")
        ],
        *[("TIFF", "RGB", {"compression": c}) for c in ("tiff_adobe_deflate", "packbits")],
        *[("WEBP", m, {"lossless": True}) for m in ("RGB", "RGBA")],
        ("WEBP", "RGB", {"quality": 80}),
        *[("BMP", m, {}) for m in ("1", "L", "P", "RGB", "RGBA")],
    ],
)
def test_every_kind_reads_as_pillow_reads_it(tmp_path: Path, form: str, mode: str, options: dict[str, Any]) -> None:
    path = tmp_path / f"a.{form.lower()}"
    path.write_bytes(coded(form, RGB.convert(mode), **options))
    found, head = images.read(path), images.header(path)
    with Image.open(path) as picture:
        wanted = np.asarray(picture.convert({1: "L", 3: "RGB", 4: "RGBA"}[head.channels]))
        assert head.channels == (4 if "A" in picture.getbands() else 1 if picture.mode in ("1", "L") else 3)
    np.testing.assert_array_equal(found, wanted.reshape(found.shape))
    assert head[:4] == (*found.shape, form)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_there_and_back(tmp_path: Path, suffix: str, channels: int) -> None:
    x = np.concatenate([DEEP, DEEP[..., :1]], -1)[..., :channels]
    images.write(tmp_path / f"a{suffix}", x)
    np.testing.assert_array_equal(images.read(tmp_path / f"a{suffix}", deep=True), x)
    np.testing.assert_array_equal(images.read(tmp_path / f"a{suffix}"), np.floor(x / 257 + 0.5).astype(np.uint8))
    by_cv = cv2.imread(str(tmp_path / f"a{suffix}"), cv2.IMREAD_UNCHANGED)
    assert by_cv.dtype == np.uint16
    assert images.header(tmp_path / f"a{suffix}").channels == channels


@pytest.mark.parametrize("suffix", [".webp", ".tif", ".bmp"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("size", [(40, 41), (1, 1), (7, 3)])
def test_marks_are_read_back_and_leave_the_pixels_alone(
    tmp_path: Path, suffix: str, channels: int, deep: bool, size: tuple[int, int]
) -> None:
    """By Pillow and OpenCV, which know nothing of how it was put in."""
    if (deep and suffix != ".tif") or (channels == 4 and suffix == ".bmp"):
        return
    x = noise_image(*size, channels).astype(np.uint16 if deep else np.uint8)
    uri = SOURCE_TYPES["augmented"]
    marked, plain = (images.encode(x, suffix, mark=m) for m in (uri, None))
    if suffix == ".bmp":
        assert marked == plain  # BMP has no place for it: the manifest tells
        return
    for i, data in enumerate((plain, marked)):
        (tmp_path / f"{i}{suffix}").write_bytes(data)
    assert [images.header(tmp_path / f"{i}{suffix}").mark for i in (0, 1)] == [None, uri]
    assert images.header(tmp_path / f"1{suffix}")[:4] == images.header(tmp_path / f"0{suffix}")[:4]
    for read in (lambda p: images.read(p, deep=True), lambda p: cv2.imread(str(p), cv2.IMREAD_UNCHANGED)):
        np.testing.assert_array_equal(*(read(tmp_path / f"{i}{suffix}") for i in (0, 1)))
    if not deep:
        with Image.open(tmp_path / f"1{suffix}") as found:
            assert uri.encode() in found.info["xmp"] and found.size == size[::-1]
            if suffix == ".webp":
                np.testing.assert_array_equal(np.array(found), np.array(Image.open(tmp_path / f"0{suffix}")))


@pytest.mark.parametrize(
    "how", [{"lossless": True}, {"quality": 80}, {"quality": 80, "exif": b"Exif\0\0II*\0" + bytes(6)}]
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_every_kind_of_webp_takes_a_mark(how: dict[str, Any], mode: str) -> None:
    x = noise_image(9, 14, 4)
    x[..., 3] //= 2
    whole = coded("WEBP", Image.fromarray(x[..., : len(mode)]), **how)
    marked = formats.with_xmp(formats.with_xmp(whole, b"first"), b"<x>ours</x>")
    with Image.open(BytesIO(marked)) as found, Image.open(BytesIO(whole)) as plain:
        assert found.info["xmp"] == b"<x>ours</x>" and found.mode == mode
        np.testing.assert_array_equal(np.array(found), np.array(plain))
    assert len(marked) == 8 + int.from_bytes(marked[4:8], "little") and len(marked) % 2 == 0


@pytest.mark.parametrize("order", ["II", "MM"])
def test_the_tags_of_a_marked_tiff_are_in_order_and_the_old_ones_are_there(order: str) -> None:
    """A directory read here, of a file that was written here: 2 x 1 grey pixels."""
    way = "<" if order == "II" else ">"
    tags = [
        (256, 2),
        (257, 1),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 200),
        (277, 1),
        (278, 1),
        (279, 2),
        (339, 1),
        (34675, 0),
    ]
    entries = b"".join(struct.pack(f"{way}HHII", tag, 4, 1, value) for tag, value in tags)
    whole = order.encode() + struct.pack(f"{way}HI", 42, 8) + struct.pack(f"{way}H", len(tags)) + entries + bytes(4)
    marked = formats.with_xmp(whole.ljust(200, b"\0") + b"\x11\x99\x07", b"<x/>!")
    (at,) = struct.unpack_from(f"{way}I", marked, 4)
    (count,) = struct.unpack_from(f"{way}H", marked, at)
    found = [struct.unpack_from(f"{way}HHII", marked, at + 2 + 12 * i) for i in range(count)]
    assert at % 2 == 0 and [f[0] for f in found] == sorted([*(t for t, _ in tags), 700])
    assert {f[0]: f[3] for f in found if f[0] != 700} == dict(tags)
    (xmp,) = (f for f in found if f[0] == 700)
    assert xmp[1:3] == (1, 5) and marked[xmp[3] : xmp[3] + 5] == b"<x/>!" and marked[200:202] == b"\x11\x99"


@pytest.mark.parametrize("suffix", [".webp", ".bmp", ".tif"])
def test_8_bits_there_and_back(tmp_path: Path, suffix: str) -> None:
    x = cv2.GaussianBlur(noise_image(40, 40, 3), (0, 0), 3)
    images.write(tmp_path / f"a{suffix}", x)
    y = images.read(tmp_path / f"a{suffix}", deep=True)
    assert y.dtype == np.uint8 and np.abs(y.astype(int) - x).mean() <= (2 if suffix == ".webp" else 0)


@pytest.mark.parametrize("form", ["TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(tmp_path: Path, form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{form.lower()}"
    path.write_bytes(coded(form, exif=exif, **({"lossless": True} if form == "WEBP" else {})))
    x = np.asarray(RGB)
    x = x.transpose(1, 0, 2) if orientation >= 5 else x
    x = x[::-1] if orientation in (3, 4, 7, 8) else x
    x = x[:, ::-1] if orientation in (2, 3, 6, 7) else x
    np.testing.assert_array_equal(images.read(path), x)
    assert images.header(path)[:2] == x.shape[:2]


@pytest.mark.parametrize("form", ["TIFF", "WEBP", "BMP"])
def test_a_file_cut_short_or_overwritten_at_its_head_is_refused(tmp_path: Path, form: str) -> None:
    whole = coded(form)
    path = tmp_path / "a.png"
    for cut in [*range(4, 60, 3), *range(60, len(whole), 311), len(whole) - 2]:
        path.write_bytes(whole[:cut])
        with pytest.raises(BadSample) as caught:
            images.read(path)
        assert str(path) in str(caught.value) and caught.value.mend
    for at in range(0, 60, 4):  # no crash, whatever is said
        path.write_bytes(whole[:at] + b"\xff\xff\xff\x7f" + whole[at + 4 :])
        try:
            images.header(path)
        except BadSample as error:
            assert error.mend


def test_what_is_more_than_one_picture_or_no_plain_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(coded("TIFF", save_all=True, append_images=[RGB]))
    with pytest.raises(BadSample, match="2 pages"):
        images.read(path)
    path.write_bytes(coded("WEBP", save_all=True, append_images=[RGB.rotate(90, expand=False)]))
    with pytest.raises(BadSample, match="2 pages"):
        images.header(path)
    path.write_bytes(coded("TIFF", Image.fromarray(np.zeros((4, 4), np.float32))))
    with pytest.raises(BadSample, match="unusual kind"):
        images.read(path)
    big = bytearray(coded("BMP"))
    big[18:26] = struct.pack("<ii", 30_000, 30_000)
    path.write_bytes(big)
    with pytest.raises(BadSample):  # before anything of that size is allocated
        images.read(path)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """One picture in each format, those that can with 16 bits."""
    for i, suffix in enumerate((".png", ".tif", ".webp", ".bmp", ".jpg")):
        deep = suffix in (".png", ".tif")
        images.write(tmp_path / "in" / "ab"[i % 2] / f"{i}{suffix}", DEEP if deep else noise_image(30, 44, 3, seed=i))
    return tmp_path / "in"


def test_augment_keeps_format_and_depth(mixed: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("ops:\n  - Rotate\n  - Contrast\n")
    am.augment(mixed, out=tmp_path / "out", recipe=str(recipe), variants=1, workers=1)
    rows = [r for r in read_jsonl(tmp_path / "out" / "manifest.jsonl") if r["origin"] == "augmented"]
    assert sorted(Path(r["file_name"]).suffix for r in rows) == [".bmp", ".jpg", ".png", ".tif", ".webp"]
    for row in rows:
        suffix = Path(row["file_name"]).suffix
        x = images.read(tmp_path / "out" / row["file_name"], deep=True)
        assert x.dtype == (np.uint16 if suffix in (".png", ".tif") else np.uint8)
        if suffix in (".png", ".tif"):
            want = run_cv.apply(Plan.from_dict(row["plan"]), DEEP)
            np.testing.assert_array_equal(x, want)
            assert (x % 257 != 0).any()  # more than 8 bits blown up
    assert len(am.read(tmp_path / "out")) == 10


def test_depths_and_kinds_mix(mixed: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("ops:\n  - MixUp: {alpha: 4}\n")
    am.augment(mixed, out=tmp_path / "out", recipe=str(recipe), variants=3, workers=1)
    data = am.read(tmp_path / "out")
    assert len(data) == 5 + 15 and len(data.usable()) == 20
    codec = data.modality.fit(data)
    x = data.encode(codec)
    assert x.min() >= -1 and x.max() <= 1 and 0.2 < x.std() < 0.8  # 16 bits are no 257 times as bright


def test_a_clear_or_deep_picture_goes_where_it_can(tmp_path: Path) -> None:
    sink = ImageModality().sink(tmp_path, layout="flat")
    clear, deep = noise_image(8, 8, 4), DEEP
    names = [
        sink.write(am.Sample(n, x)).name
        for n, x in (("a.bmp", clear), ("b.webp", clear), ("c.jpg", deep), ("d.tif", deep))
    ]
    assert names == ["a.png", "b.webp", "c.png", "d.tif"]
    with pytest.raises(UserError, match="no 16 bits"):
        images.encode(deep, ".bmp")
    assert "<img" in ImageModality().preview(am.Sample("d.tif", deep))
