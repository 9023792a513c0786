"""The run folder, safe writing, and signals that save before they end."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from tempfile import mkstemp
from types import FrameType
from typing import Any, BinaryIO

from augmint.core.errors import Refused, UserError

_PART = (".augmint-", ".part")  # how the names of files that are being written begin and end


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says against writing into a `UserError` with the path and a mend."""
    try:
        yield
    except PermissionError:
        raise _unwritable(path) from None
    except OSError as error:
        raise UserError(
            f"writing failed: {error.strerror}", where=path, mend="choose another --out, or check the disk's space"
        ) from None


def _unwritable(path: Path) -> UserError:
    return UserError(
        "this place cannot be written to", where=path, mend="choose another --out, or mend its permissions"
    )


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """A file to write into, under a temporary name beside ``path``, which it gets at the end: a reader sees the old file or the new one.

    Args:
        sync: wait until it has reached the disk, which takes milliseconds. Of files that come in thousands `settle` at the end is
            hundreds of times as fast.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = mkstemp(dir=path.parent, prefix=_PART[0], suffix=_PART[1])
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as f:
                yield f
                if sync:
                    f.flush()
                    os.fsync(f.fileno())
            part.chmod(0o644)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def write_bytes(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a whole file, as `replacing` does."""
    with replacing(path, sync=sync) as f:
        f.write(data)


def settle() -> None:
    """Wait until all that was written has reached the disk; nothing where the system cannot tell."""
    if hasattr(os, "sync"):
        os.sync()


def sweep(folder: Path) -> None:
    """Remove the temporary files that a killed process of ours left below a folder."""
    for part in folder.rglob("*".join(_PART)):
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Readable JSON, keys in the order given; NaN and infinity are refused, for no other tool would read them."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, default=_plain) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line; the rows are taken one by one."""
    with replacing(path) as f:
        f.writelines(map(_line, rows))


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False, allow_nan=False, default=_plain).encode() + b"\n"


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy scalars and arrays, torch tensors
        return value.tolist()
    if isinstance(value, Path):
        return value.as_posix()
    if hasattr(value, "model_dump"):
        return value.model_dump()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("this file is missing", where=path, mend="is this the folder of a run?") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"not readable as JSON: {error}", where=path, mend="restore it, or start a new run") from None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file; a last line cut short by a kill is dropped."""
    return list(iter_jsonl(path))


def iter_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The same one by one, for files of millions of lines."""
    if not path.exists():
        return
    bad = 0
    # Of the bytes: a line may be cut inside a letter, and words may hold what Python takes for the end of a line.
    with path.open("rb") as f:
        for number, line in enumerate(f, 1):
            if bad and line.strip(b"\n"):
                raise UserError("not readable as JSON", where=f"{path}, line {bad}", mend="restore the file")
            try:
                row = json.loads(line.decode())
            except ValueError:
                bad = bad or number
                continue
            yield row


class Lines:
    """Rows kept in a file, for there may be millions of them: added one by one, read one by one. What was there before is gone.

    Close it (or use it with ``with``) before it is read.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._num = path, 0
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb")

    def add(self, row: Mapping[str, Any]) -> None:
        with writing(self._path):
            self._file.write(_line(row))
        self._num += 1

    def __len__(self) -> int:
        return self._num

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter_jsonl(self._path)

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: object) -> None:
        with writing(self._path):
            self._file.close()


def file_sum(path: Path) -> str:
    """SHA-256 of a file, as manifests have it."""
    return data_sum(path.read_bytes())


def data_sum(data: bytes) -> str:
    """The same of a file's bytes."""
    return sha256(data).hexdigest()


def check_output(out: Path, *, ours: str | None = None) -> None:
    """Refuse an output folder that holds something already, unless the file ``ours`` in it shows that we made it."""
    if out.exists() and not out.is_dir():
        raise Refused("the output is an existing file", where=out, mend="give a folder that does not exist yet")
    if out.is_dir() and any(out.iterdir()) and not (ours and (out / ours).exists()):
        raise Refused(
            "the output folder exists and is not empty", where=out, mend="give another --out, or move it away"
        )
    for parent in (out, *out.parents):
        if parent.exists():
            if not parent.is_dir() or not os.access(parent, os.W_OK):
                raise _unwritable(parent)
            return


def check_apart(out: Path, *inputs: Path) -> None:
    """Refuse an output inside an input (it would become part of the data) or around it."""
    for root in inputs:
        a, b = out.resolve(), root.resolve()
        if a == b or b in a.parents:
            raise Refused(
                f"the output would lie inside the input {root}", where=out, mend="give a folder outside of it"
            )


def versions() -> dict[str, str]:
    """Versions that decide bytes, read from metadata: nothing heavy is imported."""
    out = {"python": sys.version.split()[0]}
    for name in ("augmint", "torch", "numpy", "opencv-python-headless", "scikit-learn", "scipy", "pandas"):
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return out


def command(*words: str | Path) -> str:
    """The command line that started this process, quoted for a shell; called from Python, ``augmint`` with these words."""
    typed = Path(sys.argv[0])
    by_hand = typed.stem == "augmint" or typed.parts[-2:] == ("augmint", "__main__.py")
    return shlex.join(["augmint", *(sys.argv[1:] if by_hand else map(str, words))])


class Run:
    """A folder with settings, log, weights, samples and proof of one job.

    The same command again finds the folder, checks that nothing has changed, and goes on; with other settings or data
    it refuses and names the difference.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        """``writes``: of several processes at one run, only one may."""
        self.path, self.writes = path, writes

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def state(self) -> dict[str, Any]:
        return dict(read_json(self / "run.json"))

    @property
    def is_done(self) -> bool:
        return (self / "run.json").exists() and self.state.get("status") == "done"

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        verb: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        budgets: Sequence[str] = (),
    ) -> Run:
        """Start a run, or take up the one that is there.

        Args:
            config: the settings that decide the result, as plain JSON values.
            inputs: fingerprint of each input, by name.
            budgets: settings that may have grown since: the run, finished or not, then goes on to the larger one.
        """
        run = cls(path)
        wanted = _as_json({"verb": verb, "config": config, "inputs": inputs})
        if (run / "run.json").exists():
            run._take_up(wanted, budgets)
            return run
        # A kill before run.json was whole leaves its temporary file and nothing else.
        if path.exists() and not all(p.match("*".join(_PART)) for p in path.iterdir()):
            raise Refused("the folder exists and is not a run of augmint", where=path, mend="give another --out")
        sweep(path)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(
            run / "run.json", {**wanted, "status": "running", "started": now, "versions": versions(), "timings": {}}
        )
        write_text(run / "config.yaml", _yaml(wanted["config"]))
        return run

    def _take_up(self, wanted: dict[str, Any], budgets: Sequence[str]) -> None:
        found = {k: self.state.get(k) for k in wanted}
        settings: dict[str, Any] = found["config"] or {}
        grown = {k: wanted["config"].get(k) for k in budgets if _is_more(wanted["config"].get(k), settings.get(k))}
        larger = " or ".join(f"--{k}" for k in budgets)
        check_unchanged(
            {**found, "config": settings | grown},
            wanted,
            where=self.path,
            more=f" (a larger {larger} trains it further)" if larger else "",
        )
        sweep(self.path)
        if grown:
            self.log("a longer budget: " + ", ".join(f"{k} was {settings[k]}, now {v}" for k, v in grown.items()))
            write_text(self / "config.yaml", _yaml(wanted["config"]))
            self.update(config=wanted["config"], status="running")

    def update(self, **fields: Any) -> None:
        """Change fields of ``run.json``; ``timings`` add up, for a run may be taken up again."""
        if not self.writes:
            return
        state = self.state
        timings = state.get("timings", {})
        timings |= {k: round(timings.get(k, 0.0) + v, 1) for k, v in fields.pop("timings", {}).items()}
        write_json(self / "run.json", {**state, **fields, "timings": timings})

    def choose(self, name: str, value: Any, reason: str, *, anew: bool = False) -> None:
        """Write an inferred value and its reason to ``choices.json``; the first choice of a name stands, unless ``anew``."""
        choices = read_json(self / "choices.json") if (self / "choices.json").exists() else {}
        choice = {"value": value, "reason": reason}
        if (name not in choices or (anew and choices[name] != choice)) and self.writes:
            write_json(self / "choices.json", {**choices, name: choice})

    def chosen(self, name: str) -> Any:
        """A value that was chosen before, or ``None``."""
        choices = read_json(self / "choices.json") if (self / "choices.json").exists() else {}
        return choices[name]["value"] if name in choices else None

    def reason(self, name: str) -> str:
        """Why a value was chosen."""
        return str(read_json(self / "choices.json")[name]["reason"])

    def log(self, text: str) -> None:
        """Append a line to ``log.txt``."""
        if not self.writes:
            return
        with (self / "log.txt").open("a", encoding="utf-8") as f:
            f.write(f"{datetime.now(UTC).isoformat(timespec='seconds')}  {text}\n")


def check_unchanged(found: Mapping[str, Any], wanted: Mapping[str, Any], *, where: Path, more: str = "") -> None:
    """Refuse to go on with what was made otherwise, and name what differs.

    Args:
        found, wanted: verb, config and inputs.
        more: what else repeating the first command can do.
    """
    wanted = _as_json(wanted)
    changes = _changes({k: found.get(k) for k in wanted}, wanted)
    if changes:
        raise Refused(
            "this run was made with other settings or data: " + "; ".join(changes),
            where=where,
            mend=f"repeat the first command to go on with it{more}, or give another --out",
        )


def _as_json(value: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from a JSON file."""
    return dict(json.loads(json.dumps(value, default=_plain)))


def _yaml(value: Any) -> str:
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def _is_more(new: Any, old: Any) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in (new, old)) and new > old


_MOST_TOLD = 120
"""Letters about one setting that differs; a list of ops has thousands."""


def _changes(old: Any, new: Any, at: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        names = [*old, *(k for k in new if k not in old)]
        return [c for k in names for c in _changes(old.get(k), new.get(k), f"{at}.{k}" if at else k)]
    if old == new:
        return []
    name, told = at.removeprefix("config."), f"was {old!r}, now {new!r}"
    return [f"{name} {told if len(told) <= _MOST_TOLD else 'are others'}"]


class Stop:
    """Whether Ctrl-C or SIGTERM has asked to stop; long loops look at it where stopping loses nothing."""

    def __init__(self) -> None:
        self.asked = False

    def __bool__(self) -> bool:
        return self.asked


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Turn the first SIGINT or SIGTERM into a polite request; a second one ends at once."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(signum: int, frame: FrameType | None) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True
        with suppress(OSError):
            os.write(2, b"\naugmint: stopping, as soon as nothing is lost by it; once more stops at once\n")

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
