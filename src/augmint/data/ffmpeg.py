"""Sounds that libsndfile does not know, decoded by FFmpeg through PyAV: G.722, AAC, AMR, WMA. Needs the extra ``speech``.

Read only: what is made of them is written as WAV. Nothing but the first sound of a file is opened, and no more of it than is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from augmint.core.errors import BadSample
from augmint.core.types import F32
from augmint.data.files import filled

SUFFIXES = (".g722", ".m4a", ".aac", ".amr", ".wma")


class About(NamedTuple):
    """What a file says of its sound; ``frames`` is 0 where it does not tell its length."""

    frames: int
    rate: int
    channels: int
    format: str
    coding: str


def about(path: Path) -> About:
    """What the container says, without decoding.

    Raises:
        BadSample: PyAV is not installed, or the file is empty, no sound, or may not be read.
    """
    with _opened(path) as (container, stream):
        seconds = float(stream.duration * stream.time_base) if stream.duration else (container.duration or 0) / 1e6
        frames = round(seconds * stream.rate)
        return About(frames, stream.rate, stream.channels, path.suffix[1:].upper(), stream.codec_context.name.upper())


def decoded(path: Path, *, most: int) -> F32:
    """``[T, C]``, full scale ±1, at the rate of the file. Silence that a coder has put before the beginning stays where the file does
    not tell of it.

    Args:
        most: samples times channels from which on it is not decoded further.

    Raises:
        BadSample: as `about` does, for damage that decoding shows, and for more than ``most`` values.
    """
    with _opened(path) as (container, stream):
        parts: list[F32] = []
        have = 0
        for frame in container.decode(stream):
            part = _values(frame)
            parts.append(part)
            have += part.size
            if have > most:
                raise BadSample(f"more than {most:,} values of sound", where=path, mend="cut it into parts")
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)


def _values(frame: Any) -> F32:
    """``[samples, channels]`` of one frame, whatever form it has."""
    found = frame.to_ndarray()
    found = found.reshape(frame.samples, -1) if not frame.format.is_planar else found.T
    if found.dtype.kind == "f":
        return np.asarray(found, dtype=np.float32)
    middle = 128.0 if found.dtype == np.uint8 else 0.0
    full = 2.0 ** (8 * found.dtype.itemsize - 1)
    scaled: F32 = ((found.astype(np.float64) - middle) / full).astype(np.float32)
    return scaled


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its first sound."""
    try:
        import av
    except ImportError:
        kind = path.suffix.lower()
        raise BadSample(
            f"{kind} files are read with PyAV, which is not installed", where=path, mend="pip install 'augmint[speech]'"
        ) from None
    with filled(path):
        try:
            with av.open(str(path)) as container:
                if not container.streams.audio:
                    raise BadSample("the file holds no sound", where=path, mend="restore the file, or delete it")
                yield container, container.streams.audio[0]
        except av.FFmpegError as error:
            raise BadSample(
                f"not readable as sound: {error.strerror}",
                where=path,
                mend="restore the file, or save it again as WAV, FLAC, Ogg or MP3",
            ) from None
