"""Other packages for the benchmarks to measure against: in a virtual environment of their own, one thread, CPU time.

augmint never imports them. They live in ``.venv-bench`` beside the package and are installed when first needed; those that need torch,
or bring a module of a name that another has too, in ``.venv-bench-torch``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
VENV = ROOT / ".venv-bench"
_COUNTS = "OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS VECLIB_MAXIMUM_THREADS OPENCV_FOR_THREADS_NUM"
ONE_THREAD = dict.fromkeys(_COUNTS.split(), "1")
_SERVER = """
import contextlib, json, sys, time
import numpy as np
print("ready", flush=True)
for line in sys.stdin:
    with np.load(line.strip(), allow_pickle=False) as file:
        data = dict(file)
    with contextlib.redirect_stdout(sys.stderr):
        start = time.process_time()
        found = run(data)
        spent = time.process_time() - start
    print(json.dumps([spent, found]), flush=True)
"""


class NoPeer(Exception):
    """The peer cannot be had here, and why."""


class Peer:
    """A process of the benchmarks' environment that runs one function whenever it is asked to.

    Example:
        >>> with Peer("prdc", CODE) as peer:            # doctest: +SKIP
        ...     seconds, found = peer({"x": x})
    """

    def __init__(self, package: str, code: str, *needs: str, suffix: str = "") -> None:
        """``code`` defines ``run(data)``, which takes a dict of arrays and returns what JSON can hold; ``needs`` are further packages.

        Args:
            suffix: ``-torch`` for the environment with torch.

        Raises:
            NoPeer: if the environment cannot be made, or the package not be installed or imported.
        """
        python = interpreter(package, *needs, suffix=suffix)
        told = "from importlib import metadata; print(*map(metadata.version, %r))" % [package, *needs]
        self.version, *others = _told([str(python), "-c", told]).split()
        self.versions = dict(zip(needs, others, strict=True))
        self._folder = TemporaryDirectory()
        self._log = (Path(self._folder.name) / "log.txt").open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [str(python), "-c", code + _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **ONE_THREAD, "PYTHONWARNINGS": "ignore"},
        )
        # All is imported before another peer installs something else into the same environment.
        if self._line() != "ready\n":
            raise self._ended()

    def __call__(self, data: Mapping[str, np.ndarray]) -> tuple[float, Any]:
        """CPU seconds of the function alone, and what it returned."""
        assert self._process.stdin is not None
        place = Path(self._folder.name) / "data.npz"
        np.savez(place, **data)
        try:
            self._process.stdin.write(f"{place}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        line = self._line()
        if not line:
            raise self._ended()
        spent, found = json.loads(line)
        return float(spent), found

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def _ended(self) -> NoPeer:
        self._log.seek(0)
        return NoPeer("it ended with an error: " + (self._log.read().strip().splitlines() or ["no words"])[-1])

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()
        self._folder.cleanup()


def interpreter(*packages: str, suffix: str = "") -> Path:
    """The environment's interpreter, with the packages installed.

    Raises:
        NoPeer: if they cannot be.
    """
    venv = VENV.with_name(VENV.name + suffix)
    python = venv / "bin" / "python"
    try:
        if not python.exists():
            _told([sys.executable, "-m", "venv", str(venv)])
        there = "from importlib import metadata; [metadata.version(p) for p in %r]" % [*packages]
        if subprocess.run([str(python), "-c", there], capture_output=True, check=False).returncode:
            # scikit-learn: prdc does not say that it needs it.
            pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            _told([*pip, "-c", str(ROOT / "constraints.txt"), *packages, "scikit-learn"])
    except (OSError, subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise NoPeer(
            f"{', '.join(packages)} cannot be installed into {venv.name}: {said[-1] if said else 'no words'}"
        ) from error
    return python


def _told(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout.strip()


def one_thread() -> None:
    """Start this script again with one thread for linear algebra, unless it has been: libraries read that once."""
    if any(os.environ.get(name) != "1" for name in ONE_THREAD):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})
