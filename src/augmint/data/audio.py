"""Reading and writing sound: WAV, FLAC, Ogg, Opus and MP3, one channel or many, at any sample rate, as float32 ``[T, C]``; reading also
what `ffmpeg` knows.

What a reader gets, whatever is in the file: full scale is ±1, whole numbers of any width are divided by it; values of
floating-point files are kept as they are, beyond ±1 too. Silence is sound: a file of nothing but zeros is read like any other.
What is refused: files cut short (where the format can tell), values that are no numbers, and less than `SHORTEST` seconds.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from augmint.core.errors import BadSample, UserError
from augmint.core.provenance import SOURCE_TYPES
from augmint.core.types import F32
from augmint.data import ffmpeg
from augmint.data.files import filled

FORMATS: Mapping[str, str] = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".opus": "OGG", ".mp3": "MP3"}
"""What can be written, by the file's ending."""
SUFFIXES = (*FORMATS, *ffmpeg.SUFFIXES)
MAX_VALUES = 2**27
"""Samples times channels that one file may hold: 140 minutes of one channel at 16 kHz."""
MAX_CHANNELS = 64
RATES = (1_000, 768_000)
SHORTEST = 0.02
LOUDEST = 16.0
"""24 dB above full scale. What is louder was not divided by full scale when it was written."""
_CODINGS = {".ogg": "VORBIS", ".opus": "OPUS", ".mp3": "MPEG_LAYER_III"}
_BITS = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """``wave`` float32 ``[T, C]``, full scale ±1, and ``rate`` in samples a second."""

    wave: F32
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.wave) / self.rate


class Header(NamedTuple):
    """What a file says of itself; ``coding`` is how it holds a value (``PCM_16``, ``FLOAT``, ``VORBIS`` ...)."""

    frames: int
    rate: int
    channels: int
    format: str
    coding: str
    mark: str | None = None

    @property
    def seconds(self) -> float:
        return self.frames / self.rate


def header(path: Path) -> Header:
    """What a sound file says of itself, without decoding it.

    Raises:
        BadSample: the file is empty, no sound, too long or too short, cut short as far as its headers tell, or may not be read.
    """
    if path.suffix.lower() in ffmpeg.SUFFIXES:
        head = Header(*ffmpeg.about(path))
        if not head.frames:
            head = head._replace(frames=len(ffmpeg.decoded(path, most=MAX_VALUES)))
        _check(head, path)
        return head
    with _opened(path) as file:
        head = Header(file.frames, file.samplerate, file.channels, file.format, file.subtype, _mark(file.comment))
    if head.format in _WHOLE and not _WHOLE[head.format](path):
        raise _cut_short(head.format, path)
    _check(head, path)
    return head


def read(path: Path) -> Sound:
    """Decode a sound file.

    Raises:
        BadSample: as `header` does, and for damage that only decoding shows.
    """
    head = header(path)
    if path.suffix.lower() in ffmpeg.SUFFIXES:
        wave = ffmpeg.decoded(path, most=MAX_VALUES)
        _check(head._replace(frames=len(wave)), path)
    else:
        with _opened(path) as file:
            wave = file.read(dtype="float32", always_2d=True)
        if len(wave) < head.frames:
            raise _cut_short(head.format, path)
    wrong = np.flatnonzero(~np.isfinite(wave).all(axis=1))
    if len(wrong):
        raise BadSample(
            f"{len(wrong)} of {len(wave)} samples are no numbers, the first after {wrong[0] / head.rate:.3f} s",
            where=path,
            mend="write the file again without NaN and infinity, or take it out",
        )
    peak = float(np.abs(wave).max())
    if peak > LOUDEST:
        raise BadSample(
            f"values of up to {peak:g}, where full scale is 1",
            where=path,
            mend="divide by full scale (32768 for 16 bits) when the file is written",
        )
    return Sound(wave, head.rate)


def encode(sound: Sound, suffix: str, *, mark: str | None = None, coding: str | None = None) -> bytes:
    """The bytes of a file of this ending; the same every time. Whole-number codings cut what is beyond ±1.

    Args:
        mark: URI of an IPTC digital source type, kept as the comment.
        coding: how a value is held; the ending's usual way (16 bits for WAV and FLAC) where that is not possible in it.

    Raises:
        UserError: this kind of file cannot hold so many channels or this rate.
    """
    import soundfile as sf

    kind = FORMATS[suffix.lower()]
    if coding is None or not sf.check_format(kind, coding):
        coding = _CODINGS.get(suffix.lower(), "PCM_16")
    out = BytesIO()
    try:
        with sf.SoundFile(out, "w", sound.rate, sound.wave.shape[1], coding, format=kind) as file:
            if mark is not None:
                file.comment = mark
            file.write(_whole(sound.wave, _BITS[coding]) if coding in _BITS else sound.wave)
    except sf.SoundFileError as error:
        raise UserError(
            f"{sound.wave.shape[1]} channels at {sound.rate:,} Hz cannot be written as {kind}: {str(error).rstrip('.')}",
            mend="convert the files of this data set to WAV or FLAC",
        ) from None
    made = out.getvalue()
    return _same_pages(made) if kind == "OGG" else _undated(made) if kind == "WAV" else made


def _undated(data: bytes) -> bytes:
    """A WAV file without the second in which its peak was measured, which libsndfile writes for floating-point codings."""
    at = 12
    while at + 8 <= len(data) and data[at : at + 4] != b"data":
        if data[at : at + 4] == b"PEAK":  # size, version, time stamp
            return data[: at + 12] + bytes(4) + data[at + 16 :]
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return data


def _whole(wave: F32, bits: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Rounded to so many bits, in the upper ones of 32: reading divides by the same power of two, so nothing is lost twice."""
    top = 2.0 ** (bits - 1)
    values = np.clip(np.rint(wave.astype(np.float64) * top), -top, top - 1)
    return (values.astype(np.int64) << (32 - bits)).astype(np.int32)


def _mark(comment: str) -> str | None:
    return comment if comment in SOURCE_TYPES.values() else None


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The decoder on a file; pipes, devices and what is no sound are refused by name."""
    import soundfile as sf

    with filled(path):
        try:
            with path.open("rb") as raw, sf.SoundFile(raw) as file:
                yield file
        except sf.SoundFileError as error:
            raise BadSample(
                f"not readable as sound: {str(error).rstrip('.')}",
                where=path,
                mend="restore the file, or save it again as WAV, FLAC, Ogg or MP3",
            ) from None


def _check(head: Header, path: Path) -> None:
    if head.frames <= 0:
        raise BadSample("the file holds no sound", where=path, mend="restore the file, or delete it")
    if not RATES[0] <= head.rate <= RATES[1] or not 1 <= head.channels <= MAX_CHANNELS:
        raise BadSample(
            f"{head.channels} channels at {head.rate:,} Hz; the limits are {MAX_CHANNELS} and {RATES[0]:,} to {RATES[1]:,} Hz",
            where=path,
            mend="save it again with an ordinary rate, or take it out of the folder",
        )
    if head.frames * head.channels > MAX_VALUES:
        raise BadSample(
            f"{head.seconds / 60:.0f} minutes of {head.channels} channels at {head.rate:,} Hz; the limit is "
            f"{MAX_VALUES / head.channels / head.rate / 60:.0f} minutes",
            where=path,
            mend="cut it into parts",
        )
    if head.seconds < SHORTEST:
        raise BadSample(
            f"{1000 * head.seconds:.1f} ms of sound ({head.frames} samples); at least {1000 * SHORTEST:.0f} ms are needed",
            where=path,
            mend="leave it out, or join it with what it was cut from",
        )


def _cut_short(kind: str, path: Path) -> BadSample:
    return BadSample(
        f"the {kind} is cut short", where=path, mend="restore the file from where it came from, or delete it"
    )


# --- what decoders pass over in silence ------------------------------------------------------------------------------


def _whole_wav(path: Path) -> bool:
    """Whether the data chunk is as long as it says; lengths of 0 and of all ones are what programs write into a pipe."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF":
            return True  # RF64 and the like have their lengths elsewhere
        at = 12
        while at + 8 <= size:
            file.seek(at)
            chunk = file.read(8)
            length = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                return length in (0, 0xFFFFFFFF) or at + 8 + length <= size
            at += 8 + length + length % 2
    return True


def _whole_ogg(path: Path) -> bool:
    """Whether the last page is marked as the last."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2**17))  # a page has 65,307 bytes at most
        data = file.read()
    at = data.rfind(b"OggS")
    return at >= 0 and len(data) > at + 5 and bool(data[at + 5] & 4)


_WHOLE = {"WAV": _whole_wav, "WAVEX": _whole_wav, "OGG": _whole_ogg}


def _same_pages(data: bytes) -> bytes:
    """An Ogg file with the serial number 1: the encoder draws one by the clock, and the same sound shall give the same bytes."""
    out, at = bytearray(data), 0
    while at + 27 <= len(out) and out[at : at + 4] == b"OggS":
        lengths = out[at + 27 : at + 27 + out[at + 26]]
        end = at + 27 + len(lengths) + sum(lengths)
        out[at + 14 : at + 18] = (1).to_bytes(4, "little")
        out[at + 22 : at + 26] = bytes(4)
        out[at + 22 : at + 26] = _page_sum(bytes(out[at:end])).to_bytes(4, "little")
        at = end
    return bytes(out)


_REVERSED = bytes(int(f"{i:08b}"[::-1], 2) for i in range(256))


def _page_sum(page: bytes) -> int:
    """CRC-32 of an Ogg page (RFC 3533): polynomial 0x04c11db7, not reflected, from 0, without a last inversion.

    zlib's is the same polynomial reflected and inverted at both ends; inverting again and reflecting bytes and sum gives this one.
    """
    found = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{found:032b}"[::-1], 2)
