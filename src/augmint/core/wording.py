"""Counts as people write them."""

from __future__ import annotations


def number_of(count: float, one: str, many: str = "") -> str:
    """``1 seed``, ``1,300 seeds``, ``1.5 points``; ``many`` where an s does not do."""
    told = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{told} {one if count == 1 else many or one + 's'}"


def signed(*values: float) -> tuple[str, ...]:
    """``+3.3`` each; all with two digits where one of them, not 0, would read as 0: then its side is what matters."""
    digits = 2 if any(v and not round(v, 1) for v in values) else 1
    return tuple(f"{v:+.{digits}f}" for v in values)
