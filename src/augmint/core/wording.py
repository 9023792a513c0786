"""Counts as people write them."""

from __future__ import annotations


def number_of(count: float, one: str, many: str = "") -> str:
    """``1 seed``, ``1,300 seeds``, ``1.5 points``; ``many`` where an s does not do."""
    told = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{told} {one if count == 1 else many or one + 's'}"
