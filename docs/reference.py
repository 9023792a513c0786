"""Writes docs/reference.md from the commands and settings in the code: ``make docs``. A test keeps the two in step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from augmint import cli
from augmint.core import config, presets

HEAD = """# Reference

Written by `make docs` from `augmint/cli.py` and `augmint/core/config.py`; do not edit it by hand.

Every command is also a function of the same name in Python (`import augmint as am`), with the same arguments: `--probe-steps 400`
is `probe_steps=400`, and a settings file in YAML has the same keys (`probe_steps: 400`).
What counts, from weakest to strongest: the defaults below, the preset, the file given to `--config`, then flags or keyword arguments.
The resolved settings of a run are in its `config.yaml`, every value worked out from the data in `choices.json` with its reason.
"""


def page() -> str:
    """The whole page as Markdown."""
    parts = [
        HEAD,
        "## Commands\n",
        *(_command(n) for n in cli.VERBS),
        "## Settings\n",
        *_sections(),
        _presets(),
        _codes(),
    ]
    return "\n".join(parts)


def _command(name: str) -> str:
    verb = cli.VERBS[name]
    text = [
        f"### augmint {name}\n",
        f"{verb.text[0].upper()}{verb.text[1:]}.\n",
        f"```sh\naugmint {name} {verb.usage}".rstrip(),
    ]
    rows = [(_spelled(o), "required" if o.default is cli.UNSET else "", o.text) for o in cli.own_options(verb)]
    groups = ", ".join(f"[{g}](#{g})" for g in cli.groups(cli.settings_model(verb)))
    return "\n".join(
        [*text, "```\n", _table(("argument", "", "meaning"), rows), f"Settings: {groups}.\n" if groups else ""]
    )


def _spelled(option: cli.Option) -> str:
    if option.name.isupper():
        return f"`{option.name}`"
    flag = "`--" + option.name.replace("_", "-") + "`"
    return f"`{option.short}`, {flag}" if option.short else flag


def _sections() -> list[str]:
    """One table a group of settings; a group that several commands share is told once, as the largest of them has it."""
    models = [m for v in cli.VERBS.values() if (m := cli.settings_model(v))]
    found: dict[str, dict[str, Any]] = {}
    for model in models:
        for group, names in cli.groups(model).items():
            found.setdefault(group, {}).update({n: model.model_fields[n] for n in names})
    return [
        f"### {group}\n\n{_table(('setting', 'default', 'range', 'meaning'), _rows(f))}" for group, f in found.items()
    ]


def _rows(fields: dict[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    for name, info in fields.items():
        default = cli.duration(info.default) if name == "time" else info.default
        choices = [a for kind in _kinds(info.annotation) for a in getattr(kind, "__args__", ()) if isinstance(a, str)]
        span = ", ".join(choices) or cli.limits(info)
        shown = "" if default is None else f"{default}".lower()
        rows.append((f"`{cli.flag(name)}`", shown, span, str(info.description)))
    return rows


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """A type and, if it is a union, its members."""
    return (annotation, *getattr(annotation, "__args__", ()))


def _presets() -> str:
    base = config.BoostConfig()
    rows = []
    for name in ("fast", "balanced", "best"):
        changes = presets.preset(name)
        shown = {k: cli.duration(v) if k == "time" else v for k, v in changes.items() if v != getattr(base, k)}
        rows.append((f"`{name}`", ", ".join(f"{k} {v}" for k, v in shown.items()) or "the defaults"))
    return "### presets\n\n" + _table(("preset", "what it changes"), rows)


def _codes() -> str:
    rows = [(str(code), meaning) for code, meaning in cli.EXIT_CODES.items()]
    return "## Exit codes\n\n" + _table(("code", "meaning"), rows).rstrip() + "\n"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(page(), encoding="utf-8")
