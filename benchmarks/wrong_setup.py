"""What the cases of wrong_input.py are made of: the real command, what is wanted of it, and small folders of pictures.

Pictures are made with Pillow, which augmint does not use.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from augmint.core import rng

Check = Callable[[Path], str]
"""What else is wrong in a case's folder after the command, in words; '' if nothing is."""
Sign = Callable[[Path], bool]
"""Whether a command has come to the place where it shall be killed."""
Args = tuple[str | Path, ...]

SKIPS = -1

_MAIN = "import sys; from augmint.cli import main; sys.exit(main())"
# For what must be the same to the bit: threads may change bits, and a run chooses their number by the clock.
_ON_ONE_CORE = (
    "import os; hasattr(os, 'sched_setaffinity') and os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
)
# Root may write and read anything, until it gives up the capabilities for that: CAP_DAC_OVERRIDE and _READ_SEARCH.
_AS_ANYBODY = (
    "import ctypes, os, sys; "
    "os.geteuid() or [ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) for capability in (1, 2)]; "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


@dataclass(frozen=True)
class Wanted:
    """One command, and what must come of it.

    Attributes:
        code: the exit code, or `SKIPS`: 0, and a file is left out and named.
        names, mend: what the message must hold: the file or key, and what to do about it.
        check: looks at the folder afterwards.
        as_anybody: run without root's right to read and write everywhere.
        kills: at each sign the command is killed with SIGKILL, and given again; all on one core.
    """

    args: Args
    code: int = 0
    names: str = ""
    mend: str = ""
    check: Check = lambda home: ""
    as_anybody: bool = False
    kills: tuple[Sign, ...] = ()

    @property
    def told(self) -> str:
        """The outcome in a word or two."""
        return {0: "works", SKIPS: "left out and named"}.get(self.code, f"refused, {self.code}")


Builder = Callable[[Path], Wanted]
CASES: dict[str, Builder] = {}


def case(title: str) -> Callable[[Builder], Builder]:
    """Enter a function that builds one case in an empty folder."""

    def enter(build: Builder) -> Builder:
        CASES[title] = build
        return build

    return enter


# -- commands and folders --------------------------------------------------------------------------------------------


def start(args: Args, log: Path, *, as_anybody: bool = False, on_one_core: bool = False) -> subprocess.Popen[bytes]:
    """The real command in a process group of its own; both its streams go to ``log``."""
    main = _ON_ONE_CORE + _MAIN if on_one_core else _MAIN
    command = [*(["-c", _AS_ANYBODY] if as_anybody else []), "-c", main, *map(str, args)]
    with log.open("ab") as sink:
        return subprocess.Popen([sys.executable, *command], stdout=sink, stderr=sink, start_new_session=True)


def finished(args: Args, log: Path) -> None:
    """A command that is no part of the question: it must do its work."""
    if start(args, log, on_one_core=True).wait():
        raise SystemExit(f"the command failed:\n{log.read_text()[-2000:]}")
    log.unlink()


def tree(home: Path) -> dict[str, str]:
    """Every file, link and folder below ``home`` by its path, with its SHA-256, target or permissions."""
    found = {}
    for path in home.rglob("*"):
        if path.is_symlink():
            told = f"-> {path.readlink()}"
        elif path.is_dir():
            told = f"folder {path.stat().st_mode:o}"
        elif os.access(path, os.R_OK):
            told = f"{path.stat().st_mode:o} {sha256(path.read_bytes()).hexdigest()}"
        else:
            told = f"{path.stat().st_mode:o} {path.stat().st_size} bytes of {path.stat().st_mtime_ns}"
        found[path.relative_to(home).as_posix()] = told
    return found


def picture(*key: object, height: int = 24, width: int = 24) -> Image.Image:
    """An RGB picture like no other: soft spots of colour and a little noise."""
    spots = rng.uniform(rng.key("spots", *map(str, key)), np.arange(48)).reshape(4, 4, 3)
    size, smooth = (width, height), Image.Resampling.BICUBIC
    soft = np.array(Image.fromarray((255 * spots).astype(np.uint8)).resize(size, smooth), dtype=np.float64)
    noise = rng.uniform(rng.key("noise", *map(str, key)), np.arange(soft.size)).reshape(soft.shape)
    return Image.fromarray(np.clip(soft + 30 * (noise - 0.5), 0, 255).astype(np.uint8))


def coded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, format=kind, **options)
    return out.getvalue()


def put(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def folder(path: Path, counts: Mapping[str, int] | None = None, side: int = 24) -> Path:
    """Class folders with so many square pictures each."""
    for name, count in ({"cat": 4, "dog": 4} if counts is None else counts).items():
        for i in range(count):
            put(path / name / f"{i:02d}.png", coded(picture(path.name, name, i, height=side, width=side)))
    return path


def augment(data: Path, *more: str | Path) -> Args:
    """One variant a sample, into ``out`` beside the data."""
    return ("augment", data, "--out", data.parent / "out", "--variants", "1", "--workers", "1", *more)


def holds(start_of_name: str, count: int, out: str = "out") -> Check:
    """The output holds so many pictures whose names begin like this."""

    def check(home: Path) -> str:
        found = [p for p in (home / out).rglob(f"{start_of_name}*") if p.suffix.lower() in (".png", ".jpg")]
        return "" if len(found) == count else f"{len(found)} pictures {start_of_name}* in the output, not {count}; "

    return check
