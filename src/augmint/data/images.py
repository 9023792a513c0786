"""Reading and writing pictures: PNG, JPEG, TIFF, WebP and BMP, gray, RGB or RGBA, as uint8 ``[H, W, C]``.

What a reader gets, whatever is in the file:

- 16-bit PNG and TIFF: scaled to 8 bits (``round(v / 257)``), or left as uint16 where that is asked for; palettes are resolved; gray + alpha and any transparency give RGBA
  with straight alpha; CMYK JPEG becomes RGB. Colour profiles are ignored.
- EXIF orientation is applied, once, here: height, width and pixels are those that a person sees. Files that augmint
  copies keep their bytes, orientation tag included; files that it writes are upright and carry no tag.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from mmap import ACCESS_READ, mmap
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from augmint.core.errors import BadSample, UserError
from augmint.core.run import write_bytes
from augmint.data import formats
from augmint.data.containers import Head, check_whole, lean_png, read_head, with_mark
from augmint.data.files import regular

U8 = NDArray[np.uint8]
T = TypeVar("T")

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
DEEP = (".png", ".tif", ".tiff")  # hold 16 bits
CLEAR = (*DEEP, ".webp")  # hold transparency
MAX_PIXELS = 100_000_000
MAX_SIDE = 32_767  # OpenCV's warps count pixels in signed 16 bits
MAX_BYTES = 512 * 2**20
JPEG_QUALITY = 95
PADDING = 16  # bytes after the pixels that some cameras' encoders leave there; the picture is whole all the same

# What libjpeg says of pixels that are damaged, before it fills them with something and goes on; and what it remarks on
# files that are only odd (jerror.h).
_DAMAGE = re.compile(r"Corrupt JPEG data: ((\d+) extraneous bytes .*|.*)\n|Premature end of JPEG file\n")
_ODD = re.compile(r"(Inconsistent progression sequence|Invalid SOS parameters|Unknown Adobe color transform).*\n")
_LISTENING = Lock()


class Header(NamedTuple):
    """Upright size in pixels, channels as `read` returns them, container format, and the provenance mark's URI."""

    height: int
    width: int
    channels: int
    format: str
    mark: str | None = None


def header(path: Path, *, max_pixels: int = MAX_PIXELS) -> Header:
    """What a picture file says of itself, without decoding it.

    Raises:
        BadSample: the file is empty, not a picture, too large, cut short within its header, or may not be read.
    """
    with _opened(path) as data:
        head = read_head(data, path)
    _check_limits(head, path, max_pixels)
    height, width = (head.width, head.height) if head.orientation >= 5 else (head.height, head.width)
    return Header(height, width, head.channels, head.format, head.mark)


def read(path: Path, *, max_pixels: int = MAX_PIXELS, deep: bool = False) -> Any:
    """Decode one picture to uint8 ``[H, W, C]`` with C = 1 (gray), 3 (RGB) or 4 (RGBA, straight alpha), upright.

    Args:
        deep: leave 16 bits as uint16.

    Raises:
        BadSample: the file is broken, cut short, larger than ``max_pixels``, or may not be read. Limits are checked
            on the header, before the pixels are allocated.
    """
    with _opened(path) as data:
        head = read_head(data, path)
        _check_limits(head, path, max_pixels)
        check_whole(data, head, path)
        coded = lean_png(data, path) if head.format == "PNG" else bytes(data[:])
    by_pillow = head.format not in ("PNG", "JPEG") and head.bits < 16
    x = formats.pixels(coded, head.channels, path) if by_pillow else _decode(coded, head, path)
    return _upright(x if deep else eight_bits(x), head.orientation)


def eight_bits(x: NDArray[Any]) -> U8:
    """uint16 levels as uint8 ones; uint8 as it is."""
    if x.dtype == np.uint16:
        x = (x.astype(np.uint32) + 128) // 257
    return np.ascontiguousarray(x, dtype=np.uint8)


@contextmanager
def _opened(path: Path) -> Iterator[bytes | mmap]:
    """The file's bytes, mapped and not loaded; pipes, devices and giants are refused before they are opened."""
    with regular(path) as found:
        if found.st_size > MAX_BYTES:
            raise BadSample(
                f"{found.st_size / 2**20:.0f} MiB; the limit for one picture is {MAX_BYTES // 2**20} MiB",
                where=path,
                mend="make it smaller, or take it out of the folder",
            )
        if found.st_size == 0:
            yield b""
            return
        with path.open("rb") as f, mmap(f.fileno(), 0, access=ACCESS_READ) as data:
            yield data


def _check_limits(head: Head, path: Path, max_pixels: int) -> None:
    pixels = head.height * head.width
    if pixels > max_pixels or max(head.height, head.width) > MAX_SIDE:
        raise BadSample(
            f"{head.width} x {head.height} = {pixels / 1e6:,.0f} million pixels; the limits are "
            f"{max_pixels / 1e6:,.0f} million and {MAX_SIDE} a side",
            where=path,
            mend="make the picture smaller, or take it out of the folder",
        )


def _decode(coded: bytes, head: Head, path: Path) -> NDArray[Any]:
    raw, said = _listened(lambda: _imdecode(coded)) if head.format == "JPEG" else (_imdecode(coded), "")
    if raw is not None and (fault := _damage(said)):
        raise BadSample(
            f"the JPEG is damaged within its pixels: {fault}",
            where=path,
            mend="restore the file from where it came from, or delete it",
        )
    if raw is None or raw.shape[:2] != (head.height, head.width) or raw.dtype not in (np.uint8, np.uint16):
        raise BadSample(
            f"the {head.format} cannot be decoded: its pixels are damaged or of an unusual kind",
            where=path,
            mend="save it again as an ordinary PNG or JPEG, or take it out of the folder",
        )
    x: NDArray[Any] = raw[:, :, None] if raw.ndim == 2 else raw
    x = _swapped(x)
    if head.channels == 4 and x.shape[2] < 4:
        x = _keyed(x, head)
    return np.ascontiguousarray(x)


def _swapped(x: NDArray[Any]) -> NDArray[Any]:
    """Red and blue in each other's place; OpenCV's files begin with blue. A fiftieth of the time of indexing."""
    if x.shape[2] < 3:
        return x
    return cv2.cvtColor(x, cv2.COLOR_RGB2BGR if x.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)


def _imdecode(coded: bytes) -> NDArray[Any] | None:
    try:
        return cv2.imdecode(np.frombuffer(coded, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None


def _damage(said: str) -> str:
    """What the decoder found wrong with the pixels, or nothing."""
    found = _DAMAGE.search(said)
    if found is None or (found[2] and int(found[2]) <= PADDING):
        return ""
    return found[1] or "it ends too early"


def _listened(decode: Callable[[], T]) -> tuple[T, str]:
    """What ``decode`` returns, and what the JPEG decoder wrote to the process's error stream meanwhile.

    The decoder tells of damage nowhere else. One picture at a time, or nobody could say whose damage it is; lines that
    others write meanwhile are passed on.
    """
    with _LISTENING, TemporaryFile() as ear:
        try:
            stream = os.dup(2)
        except OSError:  # this process has no error stream
            return decode(), ""
        try:
            os.dup2(ear.fileno(), 2)
            found = decode()
        finally:
            os.dup2(stream, 2)
            os.close(stream)
        ear.seek(0)
        said = ear.read().decode(errors="replace")
        if others := _ODD.sub("", _DAMAGE.sub("", said)):
            os.write(2, others.encode())
        return found, said


def _keyed(x: NDArray[Any], head: Head) -> NDArray[Any]:
    """Alpha from the one colour that a PNG without an alpha channel declares transparent; decoders skip it for gray."""
    top = np.iinfo(x.dtype).max
    scale = top // (2**head.bits - 1)  # decoders spread 1, 2 and 4 bits over the whole range
    key = np.array(head.alpha_key or (), dtype=np.int64) * scale
    opaque = (x != key).any(axis=2) if len(key) == x.shape[2] else np.ones(x.shape[:2], dtype=bool)
    colour = np.repeat(x, 3, axis=2) if x.shape[2] == 1 else x
    return np.concatenate([colour, np.where(opaque, top, 0).astype(x.dtype)[:, :, None]], axis=2)


def _upright(x: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo an EXIF orientation (1 to 8): exact array moves, no resampling."""
    if orientation >= 5:
        x = x.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        x = x[::-1]
    if orientation in (2, 3, 6, 7):
        x = x[:, ::-1]
    return np.ascontiguousarray(x)


def encode(array: NDArray[Any], suffix: str, *, mark: str | None = None) -> bytes:
    """The bytes of a file: PNG, TIFF and BMP exact, JPEG (full colour resolution) and WebP of quality 95.

    Args:
        array: uint8 ``[H, W, C]``, C in {1, 3, 4}; straight alpha. uint16 in PNG and TIFF.
        suffix: one of `SUFFIXES`, in any case.
        mark: IPTC digital source type, a URI such as the values of `core.provenance.SOURCE_TYPES`; written as XMP; BMP has no place for it.

    Raises:
        UserError: for another suffix, another shape or type, or alpha or 16 bits where the format has none.
    """
    kind = suffix.lower()
    if kind not in SUFFIXES:
        raise UserError(f"pictures are not written as '{suffix}'", mend="use " + ", ".join(SUFFIXES))
    if (
        array.dtype not in (np.uint8, np.uint16)
        or array.ndim != 3
        or array.shape[2] not in (1, 3, 4)
        or 0 in array.shape
    ):
        raise UserError(
            f"a picture is uint8 or uint16 [H, W, 1 | 3 | 4], not {array.dtype} {list(array.shape)}",
            mend="convert it first",
        )
    if array.shape[2] == 4 and kind not in CLEAR:
        raise UserError(f"{kind} files have no transparency", mend="write pictures with alpha as .png")
    if array.dtype == np.uint16 and kind not in DEEP:
        raise UserError(f"{kind} files have no 16 bits", mend="write such pictures as " + " or ".join(DEEP))
    full_colour = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    options = {
        ".png": [cv2.IMWRITE_PNG_COMPRESSION, 4],
        ".webp": [cv2.IMWRITE_WEBP_QUALITY, JPEG_QUALITY],
        ".jpg": [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, *full_colour],
    }.get(kind.replace("jpeg", "jpg"), [])
    _, coded = cv2.imencode(kind, np.ascontiguousarray(_swapped(array)), options)
    data: bytes = coded.tobytes()
    return with_mark(data, mark) if mark else data


def write(path: Path, array: NDArray[Any], *, mark: str | None = None) -> None:
    """`encode` by the path's suffix and write safely: temporary name, then rename."""
    write_bytes(path, encode(array, path.suffix, mark=mark))


def gif(frames: Sequence[U8], *, seconds: float = 0.06) -> bytes:
    """The bytes of a looping GIF of uint8 ``[H, W, 3]`` frames of one size, each shown for ``seconds``."""
    from PIL import Image

    first, *rest = (Image.fromarray(frame) for frame in frames)
    coded = BytesIO()
    first.save(coded, "GIF", save_all=True, append_images=rest, duration=round(1000 * seconds), loop=0)
    return coded.getvalue()
