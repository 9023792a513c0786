"""The README keeps its word: its Python runs, its commands parse, its links and make targets exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augmint import cli

ROOT = Path(__file__).parent.parent
PAGES = [
    p for p in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))) if p.is_file()
]
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SHELL = {"sh", "bash", "shell", "console"}


def blocks(page: Path, languages: set[str]) -> list[str]:
    """The fenced blocks of these languages."""
    return [body for language, body in _FENCE.findall(page.read_text(encoding="utf-8")) if language in languages]


def commands(page: Path) -> list[list[str]]:
    """Shell lines as words, without prompt, comment, continuation, or the brackets of what may be left out; N is 3."""
    lines = "\n".join(blocks(page, _SHELL)).replace("\\\n", " ").splitlines()
    plain = [re.sub(r"\bN\b", "3", re.sub(r"^\$ |[\[\]]", "", line)) for line in lines if line.strip()]
    return [shlex.split(line, comments=True) for line in plain]


def test_there_is_a_readme() -> None:
    assert ROOT / "README.md" in PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_parse(page: Path) -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for words in commands(page):
        if words[:1] == ["make"]:
            assert set(words[1:]) <= known, words
        if words[:1] == ["augmint"] and words[1:2] not in ([], ["--help"], ["--version"], ["COMMAND"]):
            assert words[1] in cli.VERBS, words
            try:
                cli.parse(words[1], words[2:])
            except SystemExit as end:
                assert not end.code, f"{page.name}: {shlex.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(_FENCE, "", page.read_text(encoding="utf-8"))
    targets = [t.split("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"https?:|mailto:|#", t)]
    assert [t for t in targets if not (page.parent / t).exists()] == []


def test_requirements_name_files_that_exist() -> None:
    text = (ROOT / "docs" / "requirements.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/*.-]+(?:\.py|/))`", text)) - {"OUT.run/samples/"}
    places = (ROOT, ROOT / "src" / "augmint")
    assert [n for n in sorted(named) if not any(list(place.glob(n)) for place in places)] == []
    assert all(f"| S{n} |" in text for n in range(1, 17))


def test_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks in order, in one namespace, beside small folders of the names that they use; every run is tiny."""
    from augmint.core import presets

    def tiny(name: str) -> dict[str, Any]:
        return {
            "time": 3.0,
            "steps": 6,
            "batch": 8,
            "seeds": 3,
            "probe_steps": 5,
            "variants": 1,
            "workers": 1,
            "folds": 2,
        }

    code = blocks(ROOT / "README.md", {"python", "py"})
    assert code
    monkeypatch.setattr(presets, "preset", tiny)
    monkeypatch.chdir(tmp_path)
    for folder in set(re.findall(r"(?<!out=)[\"']([\w-]+)/[\"']", "\n".join(code))):
        _pictures(Path(folder))
    names: dict[str, Any] = {"__name__": "readme"}
    for block in code:
        exec(compile(_small(block), "README.md", "exec"), names)


def _small(block: str) -> str:
    """The block with its time set short: a keyword outranks the preset that the test puts in."""
    return re.sub(r"\btime=(\"[^\"]*\"|'[^']*'|[\d.]+)", "time=3", block)


def _pictures(folder: Path) -> None:
    from augmint.data import images

    rng = np.random.default_rng(0)
    for label, level in (("cat", 60), ("dog", 180)):
        for i in range(10):
            images.write(folder / label / f"{i}.png", rng.integers(level - 60, level + 60, (8, 8, 3)).astype(np.uint8))
