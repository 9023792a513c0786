"""What lies around the pixels in PNG and JPEG files (of others: `formats`): sizes, orientation, completeness, provenance marks.

Read from the container alone, before anything is decoded or allocated, so that a forged header costs nothing.
Sources: the PNG specification (W3C, third edition), ITU-T T.81 annex B (JPEG), EXIF 2.32 (orientation), XMP part 3.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from typing import Literal, cast
from xml.sax.saxutils import escape

from augmint.core.errors import BadSample
from augmint.data import formats

Format = Literal["PNG", "JPEG", "TIFF", "WEBP", "BMP"]
Buffer = bytes | mmap

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_OTHERS = (
    (b"GIF8", "a GIF"),
    (b"%PDF", "a PDF"),
    (b"<svg", "an SVG"),
    (b"<!DOC", "a web page"),
    (b"<html", "a web page"),
    (b"\xff\x0a", "a JPEG XL"),
)
_MAX_PARTS = 200_000  # chunks or segments: far above any real file, far below what would stall a scan
_RESTORE = "restore the file from where it came from, or delete it"
_XMP_PNG = b"XML:com.adobe.xmp"
_XMP_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
_SOURCE_TYPE = re.compile(rb"DigitalSourceType[^>]{0,200}?[>=]\s*[\"']?\s*(https?://cv\.iptc\.org/[\w/.-]{1,80})")
# In entropy-coded data a 0xFF is followed by 0 (stuffing), D0-D7 (restart) or another fill byte; all else is a marker.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_END_OF_BLOCK = 0
_HOLE = 128  # bytes of zeros in a row: several blocks, however they are coded
_NOT_FRAMES = (0xC4, 0xC8, 0xCC)  # DHT, JPG and DAC share the range of the frame headers


@dataclass(frozen=True, slots=True)
class Head:
    """A container's word on its picture: ``height`` and ``width`` in pixels as stored, before ``orientation``.

    ``channels`` is what a reader gets: 1 gray, 3 RGB, 4 RGBA. ``alpha_key`` is the one transparent colour of a
    PNG without an alpha channel, ``mark`` its IPTC digital source type (a URI).
    """

    height: int
    width: int
    channels: int
    format: Format
    bits: int = 8
    orientation: int = 1
    alpha_key: tuple[int, ...] | None = None
    mark: str | None = None


def read_head(data: Buffer, where: object) -> Head:
    """The head of a picture's file.

    Raises:
        BadSample: for an empty file, another format (named where it is known), or a head that makes no sense.
    """
    start = bytes(data[:16])
    if not start:
        raise BadSample("the file is empty (0 bytes)", where=where, mend=_RESTORE)
    if start.startswith(_PNG):
        return _png_head(data, where)
    if start.startswith(_JPEG):
        return _jpeg_head(data, where)
    name = formats.format_of(start)
    if name is not None:
        found = formats.facts(data, where)
        mark = _source_type(found.pop("xmp"))
        return Head(format=cast(Format, name), mark=mark, **found)
    raise BadSample(
        f"not a PNG, JPEG, TIFF, WebP or BMP picture, whatever its name says: it is {_kind(start)}",
        where=where,
        mend="convert it to PNG or JPEG, or take it out of the folder",
    )


def _kind(start: bytes) -> str:
    for magic, name in _OTHERS:
        if start.startswith(magic):
            return name
    if start[4:8] == b"ftyp":
        return "a HEIC, AVIF or MP4"
    if all(32 <= b < 127 or b in b"\r\n\t" for b in start):
        return f"text, beginning with {start.decode('ascii').strip()!r}"
    return "of no known format"


# PNG


def _chunks(data: Buffer, where: object) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of each chunk's data, IEND last; anything cut short is named."""
    at, size = 8, len(data)
    for _ in range(_MAX_PARTS):
        if at + 12 > size:
            break
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        start, end = at + 8, at + 8 + length
        if end + 4 > size:
            break
        yield kind, start, end
        if kind == b"IEND":
            return
        at = end + 4
    raise _truncated(where, "PNG")


def _truncated(where: object, name: str) -> BadSample:
    return BadSample(f"the {name} is cut short: its end is missing", where=where, mend=_RESTORE)


def _png_head(data: Buffer, where: object) -> Head:
    before: list[tuple[bytes, bytes]] = []  # what stands before the pixels, each piece up to 1 MiB
    for kind, start, end in _chunks(data, where):
        if kind == b"IDAT":
            break
        if kind in (b"IHDR", b"tRNS", b"eXIf", b"iTXt"):
            before.append((kind, bytes(data[start : min(end, start + 2**20)])))
    if not before or before[0][0] != b"IHDR" or len(before[0][1]) != 13:
        raise BadSample("a PNG without its header chunk", where=where, mend=_RESTORE)
    width, height, bits, colour = struct.unpack(">IIBB", before[0][1][:10])
    channels = {0: 1, 2: 3, 3: 3, 4: 4, 6: 4}.get(colour)
    if channels is None or bits not in (1, 2, 4, 8, 16) or not width or not height:
        raise BadSample("a PNG whose header makes no sense", where=where, mend=_RESTORE)
    first = {kind: body for kind, body in reversed(before)}
    orientation = exif_orientation(first.get(b"eXIf", b""))
    mark = next((m for kind, body in before if kind == b"iTXt" and (m := _source_type(_itxt(body)))), None)
    if b"tRNS" not in first:
        return Head(height, width, channels, "PNG", bits, orientation, None, mark)
    raw = first[b"tRNS"][: 2 * channels] if colour in (0, 2) else b""
    key = struct.unpack(f">{len(raw) // 2}H", raw[: len(raw) // 2 * 2])
    return Head(height, width, 4, "PNG", bits, orientation, key, mark)


def _itxt(body: bytes) -> bytes:
    """The text of an iTXt chunk that holds XMP, or nothing; a compressed one is unpacked up to 1 MiB."""
    if not body.startswith(_XMP_PNG + b"\0"):
        return b""
    rest = body[len(_XMP_PNG) + 1 :]
    packed, fields = rest[:1] == b"\x01", rest[2:].split(b"\0", 2)
    if len(fields) < 3:
        return b""
    if not packed:
        return fields[2]
    try:
        return zlib.decompressobj().decompress(fields[2], 2**20)
    except zlib.error:
        return b""


def _check_png(data: Buffer, where: object) -> None:
    for kind, start, end in _chunks(data, where):
        (crc,) = struct.unpack(">I", data[end : end + 4])
        if zlib.crc32(data[start:end], zlib.crc32(kind)) != crc:
            raise BadSample(
                f"the PNG is damaged: the checksum of its {kind.decode('latin1')!r} part is wrong",
                where=where,
                mend=_RESTORE,
            )


def lean_png(data: Buffer, where: object) -> bytes:
    """The PNG with nothing but what its pixels need: no profile, text or animation reaches the decoder."""
    out = [_PNG]
    for kind, start, end in _chunks(data, where):
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            out.append(bytes(data[start - 8 : end + 4]))
    return b"".join(out)


# JPEG


def _segments(data: Buffer, where: object) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment's data in order; EOI last."""
    at, size = 2, len(data)
    for _ in range(_MAX_PARTS):
        if at + 2 > size:
            break
        if data[at] != 0xFF:
            raise BadSample("the JPEG is damaged: a marker is missing", where=where, mend=_RESTORE)
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0xD9:
            yield marker, at + 2, at + 2
            return
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            at += 2
            continue
        if at + 4 > size:
            break
        (length,) = struct.unpack(">H", data[at + 2 : at + 4])
        start, end = at + 4, at + 2 + length
        if length < 2 or end > size:
            break
        yield marker, start, end
        at = _after_scan(data, end, where) if marker == 0xDA else end
    raise _truncated(where, "JPEG")


def _after_scan(data: Buffer, at: int, where: object) -> int:
    found = _NEXT_MARKER.search(data, at)
    if found is None:
        raise _truncated(where, "JPEG")
    return found.start()


def _jpeg_head(data: Buffer, where: object) -> Head:
    orientation, mark = 1, None
    for marker, start, end in _segments(data, where):
        if marker == 0xE1:
            body = bytes(data[start:end])
            if body.startswith(b"Exif\0\0"):
                orientation = exif_orientation(body[6:])
            elif body.startswith(_XMP_JPEG):
                mark = mark or _source_type(body)
        elif 0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES:
            if end - start < 6:
                break
            bits, height, width, channels = struct.unpack(">BHHB", data[start : start + 6])
            if not height or not width or channels not in (1, 3, 4):
                break
            return Head(height, width, 1 if channels == 1 else 3, "JPEG", bits, orientation, None, mark)
        elif marker == 0xDA:
            break
    raise BadSample("a JPEG whose header makes no sense", where=where, mend=_RESTORE)


def check_whole(data: Buffer, head: Head, where: object) -> None:
    """Raise `BadSample` unless the file reaches its proper end (and in a PNG every checksum is right, in a JPEG no pixels
    are overwritten with zeros).

    Decoders fill what is missing with grey and say nothing.
    """
    if head.format == "PNG":
        _check_png(data, where)
    elif head.format == "JPEG":
        _check_jpeg(data, where)  # of the others their head has been checked with their length


def _check_jpeg(data: Buffer, where: object) -> None:
    """The first value of a Huffman table has the code of zeros alone. Where that is not "end of block" for all components of
    a scan, a stretch of zeros says that coefficient after coefficient of block after block is the same: no picture does."""
    zeros_mean: dict[int, int] = {}  # AC table to what its code of zeros stands for
    is_sequential = False
    for marker, start, end in _segments(data, where):
        body = bytes(data[start:end])
        if marker == 0xC4:
            zeros_mean |= _codes_of_zeros(body)
        elif marker in (0xC0, 0xC1):
            is_sequential = True
        elif marker == 0xDA and is_sequential and body:
            tables = [0x10 | (selectors & 0x0F) for selectors in body[2 : 1 + 2 * body[0] : 2]]
            is_coded = any(zeros_mean.get(table, _END_OF_BLOCK) != _END_OF_BLOCK for table in tables)
            if is_coded and data.find(bytes(_HOLE), end, _after_scan(data, end, where)) >= 0:
                raise BadSample(
                    "the JPEG is damaged: a part of its pixels is overwritten with zeros", where=where, mend=_RESTORE
                )


def _codes_of_zeros(body: bytes) -> dict[int, int]:
    """Table (class in the high half of the byte, number in the low) to its first value, of a DHT segment."""
    found, at = {}, 0
    while at + 17 < len(body):
        found[body[at]] = body[at + 17]
        at += 17 + sum(body[at + 1 : at + 17])
    return found


# EXIF and provenance


def exif_orientation(tiff: bytes) -> int:
    """EXIF tag 0x0112 of the first directory: 1 to 8, and 1 where there is none."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    (at,) = struct.unpack(f"{order}I", tiff[4:8])
    if at + 2 > len(tiff):
        return 1
    (count,) = struct.unpack(f"{order}H", tiff[at : at + 2])
    for i in range(count):
        entry = tiff[at + 2 + 12 * i : at + 14 + 12 * i]
        if len(entry) == 12 and struct.unpack(f"{order}HH", entry[:4]) == (0x0112, 3):
            value = int(struct.unpack(f"{order}H", entry[8:10])[0])
            return value if 1 <= value <= 8 else 1
    return 1


def _source_type(xmp: bytes) -> str | None:
    found = _SOURCE_TYPE.search(xmp)
    return found[1].decode("ascii") if found else None


def _xmp(uri: str) -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
        f"<Iptc4xmpExt:DigitalSourceType>{escape(uri)}</Iptc4xmpExt:DigitalSourceType>"
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def with_mark(data: bytes, uri: str) -> bytes:
    """The same PNG, JPEG, TIFF or WebP with the IPTC digital source type in XMP, the coded pixels not touched; BMP, which has no place
    for it, as it is."""
    xmp = _xmp(uri)
    if not data.startswith((_PNG, _JPEG)):
        return formats.with_xmp(data, xmp)
    if data.startswith(_PNG):
        body = b"iTXt" + _XMP_PNG + b"\0\0\0\0\0" + xmp
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        return data[:33] + chunk + data[33:]  # 8 bytes of signature and 25 of IHDR come first
    at = 2
    if data[2:4] == b"\xff\xe0":  # JFIF wants to be the first segment
        at = 4 + struct.unpack(">H", data[4:6])[0]
    body = _XMP_JPEG + xmp
    return data[:at] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[at:]
