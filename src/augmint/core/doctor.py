"""Whether this machine and its packages can run augmint. Versions come from metadata, torch is tried in a child process."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal

from augmint.core.machine import cores

# Runs in a child: a broken binary package can end the interpreter, and a good one costs seconds to import.
_PROBE = """
import json, torch, cv2
cuda = torch.cuda.is_available()
print(json.dumps({
    "sum": float(torch.ones(4).sum()), "threads": torch.get_num_threads(), "cuda": torch.version.cuda,
    "device": torch.cuda.get_device_name(0) if cuda else None, "cv2": cv2.__version__}))
"""
_STRANGERS = ("torchvision", "torchaudio")
_NEEDED_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Check:
    """One line of the table."""

    name: str
    status: Literal["ok", "warn", "broken"]
    found: str
    mend: str = ""


@dataclass(frozen=True)
class Health:
    """All checks; ``exit_code`` is 1 when something that augmint needs is broken."""

    checks: tuple[Check, ...]

    @property
    def exit_code(self) -> int:
        return int(any(c.status == "broken" for c in self.checks))

    @property
    def summary(self) -> list[str]:
        """A table, then what to mend."""
        wide = max(len(c.name) for c in self.checks)
        rows = [f"{c.status:<7} {c.name:<{wide}}  {c.found}" for c in self.checks]
        rows += [f"        {c.name}: {c.mend}" for c in self.checks if c.mend]
        return [*rows, "something that augmint needs is broken" if self.exit_code else "ready"]

    def to_dict(self) -> dict[str, Any]:
        return {"ready": not self.exit_code, "checks": [asdict(c) for c in self.checks]}


def examine(place: Path | None = None) -> Health:
    """Check Python, packages, torch, cores, and the disk at ``place`` (default: the working folder)."""
    place = place or Path.cwd()
    return Health((_python(), *_packages(), *_torch(), *_strangers(), _disk(place), _writing(place)))


def _python() -> Check:
    return Check("python", "ok", sys.version.split()[0])


def _packages() -> Iterator[Check]:
    for line in metadata.requires("augmint") or ():
        wanted = re.match(r"([A-Za-z0-9._-]+)\s*([^;]*)", line)
        if not wanted or "extra ==" in line:
            continue
        name, lowest = wanted[1], re.search(r">=\s*([\d.]+)", wanted[2])
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Check(name, "broken", "not installed", f"pip install -c constraints.txt '{line}'")
            continue
        old = lowest is not None and _numbers(found) < _numbers(lowest[1])
        mend = f"pip install -c constraints.txt '{name}{wanted[2].strip()}'"
        yield Check(name, "broken" if old else "ok", found, mend if old else "")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version.split("+", maxsplit=1)[0])[:3])


def _torch() -> Iterator[Check]:
    command = [sys.executable, "-c", _PROBE]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        yield Check("torch runs", "broken", "did not answer within 120 s", "is the disk or the machine overloaded?")
        return
    if child.returncode:
        last = (child.stderr.strip().splitlines() or [f"ended with code {child.returncode}"])[-1]
        yield Check("torch runs", "broken", last, "pip install --force-reinstall -c constraints.txt torch")
        return
    found = json.loads(child.stdout.strip().splitlines()[-1])
    yield Check("torch runs", "ok", f"yes, {found['threads']} threads; OpenCV {found['cv2']}")
    if found["device"]:
        yield Check("cuda", "ok", found["device"])
    elif found["cuda"]:
        yield Check("cuda", "warn", "torch is built for CUDA and sees no device", "works on the CPU; check the driver")
    else:
        yield Check("cuda", "ok", "none; everything runs on the CPU")
    have, usable = os.cpu_count(), cores()
    yield Check("cores", "ok", str(have) if usable == have else f"{usable} of {have}: this process may use no more")


def _strangers() -> Iterator[Check]:
    for name in _STRANGERS:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        mend = f"augmint does not use it; beside another build of torch it can break imports: pip uninstall {name}"
        yield Check(name, "warn", found, mend)


def _disk(place: Path) -> Check:
    free = shutil.disk_usage(place).free
    if free < _NEEDED_BYTES:
        return Check("disk", "warn", f"{free / 1e9:.1f} GB free", "checkpoints and samples of a run may need more")
    return Check("disk", "ok", f"{free / 1e9:.0f} GB free")


def _writing(place: Path) -> Check:
    try:
        with TemporaryFile(dir=place) as f:
            f.write(b"augmint")
    except OSError as error:
        return Check("writing", "warn", f"not in {place}: {error.strerror}", "give an --out that can be written to")
    return Check("writing", "ok", f"{place} can be written to")
