"""Reading and writing pictures, against Pillow and against a parser of the containers written here."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageOps

from augmint.core.errors import BadSample, UserError
from augmint.core.provenance import SOURCE_TYPES
from augmint.data import images


def photo(height: int = 40, width: int = 56) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([4 * x % 256, 5 * y % 256, (x * y) % 256], axis=2).astype(np.uint8)


def save(path: Path, picture: Image.Image, **options: Any) -> Path:
    picture.save(path, **options)
    return path


def as_array(path: Path, mode: str) -> np.ndarray:
    found = np.array(ImageOps.exif_transpose(Image.open(path)).convert(mode))
    return found[:, :, None] if found.ndim == 2 else found


GRAY = Image.fromarray(photo()[..., 0])
RGB = Image.fromarray(photo())
RGBA = Image.fromarray(np.dstack([photo(), photo()[..., 1]]))
PALETTE = RGB.convert("P", palette=Image.Palette.ADAPTIVE, colors=16)


@pytest.mark.parametrize(
    ("picture", "options", "mode"),
    [
        (GRAY, {}, "L"),
        (RGB, {}, "RGB"),
        (RGBA, {}, "RGBA"),
        (GRAY.convert("1"), {}, "L"),
        (PALETTE, {}, "RGB"),
        (PALETTE, {"transparency": 3}, "RGBA"),
        (PALETTE, {"transparency": bytes(range(0, 256, 16))}, "RGBA"),
        (Image.merge("LA", [GRAY, GRAY.rotate(180)]), {}, "RGBA"),
        (GRAY, {"transparency": 20}, "RGBA"),
        (RGB, {"transparency": (4, 5, 1)}, "RGBA"),
    ],
    ids="gray rgb rgba 1bit palette palette-key palette-alpha gray-alpha gray-key rgb-key".split(),
)
def test_every_kind_of_png_reads_as_pillow_reads_it(
    tmp_path: Path, picture: Image.Image, options: dict[str, Any], mode: str
) -> None:
    path = save(tmp_path / "a.png", picture, **options)
    found = images.read(path)
    np.testing.assert_array_equal(found, as_array(path, mode))
    assert images.header(path)[:4] == (*found.shape, "PNG")


def test_16_bit_png_is_scaled_and_not_cut(tmp_path: Path) -> None:
    deep = np.linspace(0, 65535, 40 * 56).reshape(40, 56).astype(np.uint16)
    path = save(tmp_path / "a.png", Image.fromarray(deep))
    np.testing.assert_array_equal(images.read(path)[..., 0], np.floor(deep / 257 + 0.5).astype(np.uint8))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_read_as_pillow_reads_them(tmp_path: Path, mode: str, progressive: bool) -> None:
    path = save(tmp_path / "a.JPEG", RGB.convert(mode), quality=95, progressive=progressive)
    found, wanted = images.read(path), as_array(path, "L" if mode == "L" else "RGB")
    assert found.shape == wanted.shape
    assert np.abs(found.astype(int) - wanted).max() <= (2 if mode == "CMYK" else 1)
    assert images.header(path)[:4] == (*found.shape, "JPEG")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a{suffix}", GRAY, exif=exif)
    found = images.read(path)
    np.testing.assert_allclose(found, as_array(path, "L"), atol=1)
    assert images.header(path)[:2] == found.shape[:2] == ((56, 40) if orientation >= 5 else (40, 56))


def test_a_jpeg_named_png_is_read_for_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    RGB.save(path, format="JPEG")
    assert images.header(path).format == "JPEG"
    assert images.read(path).shape == (40, 56, 3)


def broken(path: Path, data: bytes) -> BadSample:
    path.write_bytes(data)
    with pytest.raises(BadSample) as caught:
        images.read(path)
    assert str(path) in str(caught.value) and caught.value.mend
    return caught.value


def coded(form: str, picture: Image.Image = RGB, **options: Any) -> bytes:
    out = BytesIO()
    picture.save(out, format=form, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"hello, I am a picture\n", "text, beginning with 'hello, I am a pi'"),
        (b"\x00" * 4000, "no known format"),
        (coded("GIF"), "a GIF"),
        (b"\x89PNG\r\n\x1a\n", "cut short"),
        (b"\xff\xd8\xff", "cut short"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path: Path, data: bytes, words: str) -> None:
    assert words in broken(tmp_path / "a.png", data).problem


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, form: str) -> None:
    whole = coded(form, quality=90)
    for cut in [*range(1, 60), *range(60, len(whole), 97), len(whole) - 3, len(whole) - 1]:
        broken(tmp_path / "a.jpg", whole[:cut])


def test_a_progressive_jpeg_that_lacks_its_last_scans_is_refused(tmp_path: Path) -> None:
    whole = coded("JPEG", progressive=True)
    assert "cut short" in broken(tmp_path / "a.jpg", whole[: int(0.8 * len(whole))]).problem


def test_the_thumbnails_end_is_not_taken_for_the_pictures_end(tmp_path: Path) -> None:
    small = coded("JPEG", RGB.resize((16, 16)))
    whole = coded("JPEG")
    block = b"\xff\xe1" + struct.pack(">H", len(small) + 8) + b"Exif\0\0" + small
    broken(tmp_path / "a.jpg", whole[:2] + block + whole[2:-200])


def test_a_flipped_bit_in_a_png_is_found(tmp_path: Path) -> None:
    data = bytearray(coded("PNG"))
    data[data.index(b"IDAT") + 30] ^= 1
    assert "checksum" in broken(tmp_path / "a.png", bytes(data)).problem


@pytest.mark.parametrize("way", [{}, {"optimize": True}, {"progressive": True}, {"restart_marker_blocks": 4}])
@pytest.mark.parametrize("filling", [bytes(512), bytes(range(1, 255)) * 2 + bytes(4)])
def test_a_jpeg_damaged_in_the_middle_is_nearly_always_found(
    tmp_path: Path, way: dict[str, Any], filling: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its structure and its end are right; the hole is a sector of a disk, or of another file."""
    whole = coded("JPEG", Image.fromarray(photo(160, 200)), quality=90, **way)
    first = whole.index(b"\xff\xda") + 16
    places = np.linspace(first, len(whole) - 520, 40).astype(int)
    found = []
    for at in places.tolist():
        (tmp_path / "a.jpg").write_bytes(whole[:at] + filling + whole[at + 512 :])
        try:
            images.read(tmp_path / "a.jpg")
        except BadSample as error:
            assert str(tmp_path / "a.jpg") in str(error) and error.mend
            found.append(at)
    # In the later scans of a progressive JPEG nearly any bits are valid.
    assert len(found) >= (0.7 if "progressive" in way else 0.95) * len(places)
    assert capfd.readouterr().err == "", "the decoder's own lines name no file"


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("way", [{}, {"optimize": True}, {"progressive": True}, {"quality": 5, "optimize": True}])
def test_pictures_whose_pixels_are_coded_as_zeros_are_whole(tmp_path: Path, mode: str, way: dict[str, Any]) -> None:
    """A flat picture with tables of its own is hundreds of zero bytes, and right so."""
    x = np.tile(np.arange(800), (800, 1))
    flats = (0 * x, 0 * x + 255, x * 255 // 800, 255 * (x > 400), 255 * (x % 64 == 0))
    for levels in flats:
        path = save(tmp_path / "a.jpg", Image.fromarray(levels.astype(np.uint8)).convert(mode), **way)
        assert np.abs(images.read(path).astype(int) - as_array(path, mode)).max() <= 1
    save(path, Image.fromarray(np.zeros((800, 800), np.uint8)).convert(mode), **way)
    assert bytes(256) in path.read_bytes() or "optimize" not in way, "what this test is about"


def test_what_some_cameras_leave_after_the_pixels_is_no_damage(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = coded("JPEG")
    (tmp_path / "a.jpg").write_bytes(whole[:-2] + bytes(12) + whole[-2:])
    np.testing.assert_array_equal(images.read(tmp_path / "a.jpg"), as_array(tmp_path / "a.jpg", "RGB"))
    assert capfd.readouterr().err == ""


def test_what_others_say_while_a_jpeg_is_read_is_passed_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "a.jpg", RGB)
    lines = [f"line {i}" for i in range(2000)]
    other = Thread(target=lambda: [os.write(2, f"{line}\n".encode()) for line in lines])
    other.start()
    with ThreadPoolExecutor(4) as pool:
        same = set(pool.map(lambda _: images.read(tmp_path / "a.jpg").tobytes(), range(400)))
    other.join()
    assert len(same) == 1
    assert sorted(capfd.readouterr().err.splitlines()) == sorted(lines)


def test_a_jpeg_is_read_without_an_error_stream(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", RGB)
    code = f"import os; os.close(2); from augmint.data import images; print(images.read(__import__('pathlib').Path({str(tmp_path / 'a.jpg')!r})).shape)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "(40, 56, 3)\n"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def huge_png(width: int, height: int) -> bytes:
    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def huge_jpeg(width: int, height: int) -> bytes:
    data = bytearray(coded("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("data", [huge_png(60_000, 60_000), huge_jpeg(60_000, 60_000), huge_png(2**31 - 1, 2**31 - 1)])
def test_a_forged_header_is_refused_before_anything_is_allocated(
    tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object) -> None:
        raise AssertionError("the decoder was called")

    monkeypatch.setattr("cv2.imdecode", never)
    error = broken(tmp_path / "a.png", data)
    assert "million pixels; the limits are 100 million" in error.problem
    with pytest.raises(BadSample):
        images.header(tmp_path / "a.png")


def test_long_thin_pictures_are_refused_too(tmp_path: Path) -> None:
    assert "32767 a side" in broken(tmp_path / "a.png", huge_png(40_000, 10)).problem


def test_pipes_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "folder.png", "missing.png"):
        with pytest.raises(BadSample):
            images.read(tmp_path / name)


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", RGB)

    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # chmod does not stop root, who runs tests in containers
    with pytest.raises(BadSample, match=r"may not be read(.|\n)*chmod"):
        images.read(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["PNG", "JPEG"]), st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=8))))
def test_damaged_files_read_or_raise_bad_sample_and_nothing_else(
    tmp_path: Path, form: str, edits: list[tuple[int, bytes]]
) -> None:
    data = bytearray(coded(form, PALETTE if form == "PNG" else RGB))
    for at, patch in edits:
        data[at % len(data) : at % len(data) + len(patch)] = patch
    path = tmp_path / "a.png"
    path.write_bytes(bytes(data))
    try:
        found = images.read(path)
    except BadSample:
        return
    assert found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] in (1, 3, 4)


pictures = hnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3, 4])))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pictures)
def test_png_round_trip_is_exact(tmp_path: Path, x: np.ndarray) -> None:
    images.write(tmp_path / "a.png", x)
    np.testing.assert_array_equal(images.read(tmp_path / "a.png"), x)
    np.testing.assert_array_equal(as_array(tmp_path / "a.png", {1: "L", 3: "RGB", 4: "RGBA"}[x.shape[2]]), x)


def test_jpeg_round_trip_is_close_and_keeps_colour_edges(tmp_path: Path) -> None:
    x = np.zeros((16, 16, 3), np.uint8)
    x[:, ::2] = (255, 0, 0)
    x[:, 1::2] = (0, 0, 255)
    images.write(tmp_path / "a.jpg", x)
    assert np.abs(images.read(tmp_path / "a.jpg").astype(int) - x).mean() < 12


@pytest.mark.parametrize(
    ("x", "suffix"),
    [
        (np.zeros((4, 4, 4), np.uint8), ".jpg"),
        (np.zeros((4, 4, 2), np.uint8), ".png"),
        (np.zeros((4, 4), np.uint8), ".png"),
        (np.zeros((4, 4, 3), np.float32), ".png"),
        (np.zeros((0, 4, 3), np.uint8), ".png"),
        (np.zeros((4, 4, 3), np.uint8), ".gif"),
        (np.zeros((4, 4, 4), np.uint8), ".bmp"),
        (np.zeros((4, 4, 3), np.uint16), ".webp"),
    ],
)
def test_what_cannot_be_written_is_refused_in_words(x: np.ndarray, suffix: str) -> None:
    with pytest.raises(UserError):
        images.encode(x, suffix)


# Provenance marks, read by a parser of our own


def xmp_of_png(data: bytes) -> list[str]:
    at, found = 8, []
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        if kind == b"iTXt":
            keyword, rest = body.split(b"\0", 1)
            assert keyword == b"XML:com.adobe.xmp" and rest[:2] == b"\0\0"
            found.append(rest[2:].split(b"\0", 2)[2].decode())
        at += 12 + length
    return found


def xmp_of_jpeg(data: bytes) -> list[str]:
    at, found, order = 2, [], []
    while data[at + 1] != 0xDA:
        (length,) = struct.unpack(">H", data[at + 2 : at + 4])
        body = data[at + 4 : at + 2 + length]
        order.append(data[at + 1])
        if data[at + 1] == 0xE1 and body.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            found.append(body[29:].decode())
        at += 2 + length
    assert order[0] == 0xE0, "JFIF stays first"
    return found


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("origin", ["augmented", "synthetic"])
def test_the_mark_is_valid_xmp_and_leaves_the_pixels_alone(tmp_path: Path, suffix: str, origin: str) -> None:
    uri = SOURCE_TYPES[origin]
    marked, plain = images.encode(photo(), suffix, mark=uri), images.encode(photo(), suffix)
    (xmp,) = xmp_of_png(marked) if suffix == ".png" else xmp_of_jpeg(marked)
    tag = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
    assert [e.text for e in ElementTree.fromstring(xmp).iter(tag)] == [uri]
    assert len(marked) - len(plain) < 500
    both = [np.array(Image.open(BytesIO(d))) for d in (marked, plain)]
    np.testing.assert_array_equal(*both)
    (tmp_path / f"a{suffix}").write_bytes(marked)
    assert images.header(tmp_path / f"a{suffix}").mark == uri
    np.testing.assert_array_equal(images.read(tmp_path / f"a{suffix}"), both[0])


def test_pillow_finds_the_mark(tmp_path: Path) -> None:
    for suffix in (".png", ".jpg", ".tif", ".webp"):
        images.write(tmp_path / f"a{suffix}", photo(), mark=SOURCE_TYPES["synthetic"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow misses defusedxml only for its own parsing
            info = Image.open(tmp_path / f"a{suffix}").info
        assert b"trainedAlgorithmicMedia" in (info["xmp"] if isinstance(info["xmp"], bytes) else info["xmp"].encode())


def test_marks_of_other_tools_are_understood(tmp_path: Path) -> None:
    uri = SOURCE_TYPES["synthetic"]
    packet = f'<x:xmpmeta><rdf:Description Iptc4xmpExt:DigitalSourceType="{uri}"/></x:xmpmeta>'.encode()
    data = images.encode(photo(), ".png")
    for flag, body in ((b"\0", packet), (b"\1", zlib.compress(packet))):
        text = chunk(b"iTXt", b"XML:com.adobe.xmp\0" + flag + b"\0\0\0" + body)
        (tmp_path / "a.png").write_bytes(data[:33] + text + data[33:])
        assert images.header(tmp_path / "a.png").mark == uri
    bomb = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b" " * 50_000_000))
    (tmp_path / "a.png").write_bytes(data[:33] + bomb + data[33:])
    assert images.header(tmp_path / "a.png").mark is None
