"""Only the waist may name a modality: everything else gets one as an object."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "augmint"
NAMES = {"image", "video", "text", "speech"}
MAY = ("modalities/", "verbs.py", "core/config.py", "core/presets.py")


def named(tree: ast.AST) -> Iterator[tuple[int, Any]]:
    """Line and value of every string constant that is a modality's name; docstrings are exempt."""
    exempt = {id(node) for scope in ast.walk(tree) for node in _docstring(scope)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value in NAMES
            and id(node) not in exempt
        ):
            yield node.lineno, node.value


def _docstring(scope: ast.AST) -> Iterator[ast.Constant]:
    body = getattr(scope, "body", None)
    if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        yield body[0].value


def test_no_file_outside_the_waist_names_a_modality() -> None:
    found = [
        f"{file.relative_to(SOURCE).as_posix()}:{line} {value!r}"
        for file in sorted(SOURCE.rglob("*.py"))
        if not file.relative_to(SOURCE).as_posix().startswith(MAY)
        for line, value in named(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert not found, "a modality is named outside the waist:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ('if data.modality.name == "image":\n    pass', 1),
        ('match name:\n    case "speech":\n        pass', 1),
        ('TABLE = {"video": 1, "text": 2}', 2),
        ('"""image"""\nx = 1', 0),
        ('def f():\n    "text"\n    return "an image of it"', 0),
    ],
)
def test_the_walk_sees_what_it_should(code: str, count: int) -> None:
    assert len(list(named(ast.parse(code)))) == count
