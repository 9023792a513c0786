"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from augmint.report.figures import Pair
from augmint.report.svg import minus

Row = Mapping[str, Any]
NOTHING = "\N{EN DASH}"  # where there is no number


def number(row: Row, key: str) -> float | None:
    """A finite number under this key, or ``None``."""
    value = row.get(key)
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def pair(value: Any) -> Pair | None:
    """A 95 % interval, or ``None``."""
    if isinstance(value, Sequence) and len(value) == 2 and all(isinstance(v, (int, float)) for v in value):
        return float(value[0]), float(value[1])
    return None


def figure(value: float | None) -> str:
    """About three significant digits; an en dash where there is no number."""
    if value is None:
        return NOTHING
    size = abs(value)
    value = value or 0.0  # no minus zero
    if size and size < 0.001:
        return minus(f"{value:.2g}")
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return minus(f"{value:,.{digits}f}")


def p_value(value: float | None) -> str:
    return "" if value is None else "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def moment(text: Any) -> str:
    """``2025-06-02T10:11:12+00:00`` as ``2025-06-02 10:11:12 UTC``."""
    return str(text).replace("T", " ").replace("+00:00", " UTC")


def duration(seconds: float) -> str:
    """``0.42 s``, ``12.3 s``, ``4 min 05 s``, ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def sentence(words: str) -> str:
    """With a capital and a full stop."""
    return words[:1].upper() + words[1:] + ("" if not words or words.endswith((".", "!", "?")) else ".")
