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
from augmint.core.run import read_jsonl
from augmint.data import images
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
