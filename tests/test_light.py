"""Help, version and mistakes answer before anything heavy is imported."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "pandas", "matplotlib", "scipy", "sklearn", "cv2")
_CHILD = """
import json, sys, time
start = time.process_time()
try:
    code = {code}
except SystemExit as end:
    code = end.code
print("\\x1e" + json.dumps([code, time.process_time() - start, sorted(m for m in sys.modules if "." not in m)]))
"""


def _child(code: str) -> tuple[int, float, set[str]]:
    """Exit code, CPU seconds after the interpreter's start, and modules loaded by an expression in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD.format(code=code)], capture_output=True, text=True, timeout=60, check=True
    )
    status, cpu_s, modules = json.loads(done.stdout.rsplit("\x1e", 1)[1])
    return status, cpu_s, set(modules)


def _main(*args: str) -> str:
    return f"__import__('augmint.cli', fromlist=['main']).main({list(args)!r})"


@pytest.mark.parametrize("args", [(), ("--help",), ("--version",), ("nonsense",)])
def test_the_top_level_needs_no_parser_and_under_0_4_s(args: tuple[str, ...]) -> None:
    status, cpu_s, modules = _child(_main(*args))
    assert status == (2 if args == ("nonsense",) else 0)
    assert not modules & {*HEAVY, "tyro", "pydantic", "rich", "yaml"}
    assert cpu_s < 0.4


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("boost", "--help"), 0),
        (("prove", "--help"), 0),
        (("boost", "d", "--out", "o", "--seeds", "1"), 2),
        (("boost", "d", "--out", "o", "--nonsense", "1"), 2),
        (("augment", "d", "--out", "o", "--config", "no-such-file.yaml"), 2),
    ],
)
def test_help_of_a_verb_and_faulty_settings_load_nothing_heavy(args: tuple[str, ...], expected: int) -> None:
    status, _, modules = _child(_main(*args))
    assert (status or 0) == expected
    assert not modules & set(HEAVY)


def test_importing_the_package_loads_no_library() -> None:
    _, _, modules = _child("__import__('augmint') and 0")
    assert not modules & {*HEAVY, "numpy", "pydantic"}


def test_doctor_leaves_torch_to_a_child() -> None:
    _, _, modules = _child("__import__('augmint.core.doctor', fromlist=['examine']).examine().exit_code")
    assert not modules & set(HEAVY)
