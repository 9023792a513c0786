"""TIFF, WebP and BMP: what their headers say, and their pixels, by Pillow (16 bits by OpenCV, which has them in colour); XMP put into them.

One picture a file: pages and frames beyond the first would be lost, so such files are refused. Pillow turns a TIFF upright itself.

Sources: TIFF 6.0 section 2; XMP part 3, sections 1.1.7.2 and 1.1.8; RFC 9649 section 2 (WebP).
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from mmap import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augmint.core.errors import BadSample

_CHANNELS = {
    "1": 1,
    "L": 1,
    "I;16": 1,
    "I;16L": 1,
    "I;16B": 1,
    "LA": 4,
    "P": 3,
    "PA": 4,
    "RGB": 3,
    "RGBA": 4,
    "CMYK": 3,
}
_XMP, _BYTE = 700, 1  # TIFF's tag and type
_HAS_XMP, _HAS_ALPHA = 0x04, 0x10  # flags of WebP's VP8X
_BITS, _STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES, _ORIENTATION = 258, 273, 279, 324, 325, 274
MAGIC = {b"II*\0": "TIFF", b"MM\0*": "TIFF", b"BM": "BMP"}


def format_of(start: bytes) -> str | None:
    """``TIFF``, ``WEBP`` or ``BMP``, by the first bytes of a file."""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    return next((name for magic, name in MAGIC.items() if start.startswith(magic)), None)


def facts(data: Any, where: object) -> dict[str, Any]:
    """Height, width, channels, bits and orientation, and the XMP packet.

    Raises:
        BadSample: for a file that Pillow cannot make sense of, is cut short, or holds several pictures or an unusual kind.
    """
    with _opened(data, where) as found:
        count = getattr(found, "n_frames", 1)
        if count > 1:
            raise BadSample(
                f"{count} pages or frames in one file", where=where, mend="save each as a picture of its own"
            )
        channels = _CHANNELS.get(found.mode)
        tags = getattr(found, "tag_v2", {})
        bits = max(_numbers(tags.get(_BITS, 8)))
        if channels is None or bits not in (1, 2, 4, 8, 16):
            raise BadSample(
                f"a {found.format} of an unusual kind ({found.mode})",
                where=where,
                mend="save it as 8 or 16 bits a channel",
            )
        if found.format == "TIFF":
            turned = tags.get(_ORIENTATION, 1)
            if bits == 16 and turned != 1:
                raise BadSample("a TIFF of 16 bits that is stored turned", where=where, mend="save it upright")
            _check_tiff(tags, len(data), where)
        elif found.format == "BMP":
            _check_bmp(found, len(data), where)
        elif len(data) < 8 + struct.unpack("<I", data[4:8])[0]:
            raise _cut_short(where, "WebP")
        orientation = 1 if found.format == "TIFF" else found.getexif().get(_ORIENTATION, 1)
        has_key = channels == 3 and "transparency" in found.info
        xmp = found.info.get("xmp", b"")
        return {
            "height": found.height, "width": found.width, "channels": 4 if has_key else channels, "bits": bits,
            "orientation": orientation if orientation in range(1, 9) else 1, "xmp": xmp if isinstance(xmp, bytes) else b"",
        }  # fmt: skip


def with_xmp(data: bytes, xmp: bytes) -> bytes:
    """The same file, as this program writes it, with an XMP packet, the coded pixels not touched; a BMP, which has no place for it, as it is."""
    match format_of(data[:12]):
        case "TIFF":
            return _tiff_with(data, xmp)
        case "WEBP":
            return _webp_with(data, xmp)
        case _:
            return data


def _tiff_with(data: bytes, xmp: bytes) -> bytes:
    """The packet and a new directory behind all else; what the old one points at stays where it is."""
    order = "<" if data.startswith(b"II") else ">"
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    entries = [data[at + 2 + 12 * i : at + 14 + 12 * i] for i in range(count)]
    following = data[at + 2 + 12 * count : at + 6 + 12 * count]
    place = len(data) + len(data) % 2  # words begin at even places
    entries.append(struct.pack(f"{order}HHII", _XMP, _BYTE, len(xmp), place))
    entries.sort(key=lambda e: int(struct.unpack(f"{order}H", e[:2])[0]))
    body = data.ljust(place, b"\0") + xmp + bytes(len(xmp) % 2)
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + following
    return body[:4] + struct.pack(f"{order}I", len(body)) + body[8:] + directory


def _webp_with(data: bytes, xmp: bytes) -> bytes:
    """As an extended file: what is in it and how large it is, the picture, the packet."""
    chunks, at = [], 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        chunks.append((name, data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    told = dict(chunks)
    if b"VP8X" in told:
        head = bytes([told[b"VP8X"][0] | _HAS_XMP]) + told[b"VP8X"][1:]
    elif b"VP8L" in told:  # after one byte, 14 bits of width - 1, 14 of height - 1, and one for alpha
        (bits,) = struct.unpack_from("<I", told[b"VP8L"], 1)
        head = _extended(bits & 0x3FFF, bits >> 14 & 0x3FFF, _HAS_ALPHA * (bits >> 28 & 1))
    else:  # after a tag and a code of three bytes each, width and height in 14 bits each
        width, height = struct.unpack_from("<HH", told[b"VP8 "], 6)
        head = _extended((width & 0x3FFF) - 1, (height & 0x3FFF) - 1, 0)
    picture = [(n, body) for n, body in chunks if n not in (b"VP8X", b"XMP ")]
    parts = (
        struct.pack("<4sI", n, len(body)) + body + bytes(len(body) % 2)
        for n, body in [(b"VP8X", head), *picture, (b"XMP ", xmp)]
    )
    riff = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(riff)) + riff


def _extended(width: int, height: int, flags: int) -> bytes:
    """VP8X for a picture of these sides, less one each."""
    sides = width.to_bytes(3, "little") + height.to_bytes(3, "little")
    return bytes([flags | _HAS_XMP, 0, 0, 0]) + sides


def pixels(data: Any, channels: int, where: object) -> NDArray[np.uint8]:
    """8 bits ``[H, W, channels]``.

    Raises:
        BadSample: if they are damaged.
    """
    with _opened(data, where) as found:
        x = np.asarray(found.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels]))
    return x[..., None] if x.ndim == 2 else x


@contextmanager
def _opened(data: Any, where: object) -> Iterator[Any]:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sizes are checked by those who call
            stream: Any = data if isinstance(data, mmap) else BytesIO(data)  # a mapped file is read where it must be
            stream.seek(0)
            with Image.open(stream, formats=("TIFF", "WEBP", "BMP")) as found:
                yield found
    except Image.DecompressionBombError:
        raise BadSample(
            "too many pixels", where=where, mend="make the picture smaller, or take it out of the folder"
        ) from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error) as error:
        raise BadSample(
            f"the file is damaged or of an unusual kind: {error}",
            where=where,
            mend="restore it from where it came from, or delete it",
        ) from None


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (int(value),)


def _check_tiff(tags: Any, size: int, where: object) -> None:
    """All strips and tiles must lie within the file."""
    for starts, counts in ((_STRIPS, _STRIP_BYTES), (_TILES, _TILE_BYTES)):
        for start, count in zip(_numbers(tags.get(starts, ())), _numbers(tags.get(counts, ())), strict=False):
            if start + count > size:
                raise _cut_short(where, "TIFF")


def _check_bmp(found: Any, size: int, where: object) -> None:
    """Rows are as many bytes as their pixels take, rounded up to four."""
    is_plain = found.info.get("compression", 0) == 0
    bits = {"1": 1, "L": 8, "P": 8, "RGB": 24, "RGBA": 32}.get(found.mode, 0)
    if is_plain and bits >= 24 and size < (found.width * bits + 31) // 32 * 4 * found.height:
        raise _cut_short(where, "BMP")


def _cut_short(where: object, name: str) -> BadSample:
    return BadSample(f"the {name} is cut short: its end is missing", where=where, mend="restore it, or delete it")
