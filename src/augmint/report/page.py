"""Pages from templates: self-contained, nothing loaded, no script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from augmint.report.thumbs import lighter

TEMPLATES = Path(__file__).parent / "templates"


def rendered(template: str, **values: Any) -> str:
    """The page. Autoescape is on: only the modality's previews and our own figures pass as markup."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["light"] = lighter
    env.filters["count"] = lambda n: f"{n:,}" if isinstance(n, int) else str(n)
    return env.get_template(template).render(**values)
