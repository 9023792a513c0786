"""Drawing with words: the few SVG elements, scales and axes that the figures are made of.

Hand-written instead of matplotlib's SVG, because the figures then take their colours from the page (light, dark, print), keep
their text as text, and weigh two to ten kilobytes each.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape


def num(value: float) -> str:
    """A coordinate: two decimals, no trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def minus(words: str) -> str:
    """With the minus sign that has the width of a plus."""
    return words.replace("-", "\N{MINUS SIGN}")


def svg(width: float, height: float, parts: Iterable[str], *, title: str, cls: str = "") -> str:
    """A figure with its title for those who hear it or hover over it."""
    name = escape(title, quote=True)
    return (
        f'<svg class="{escape(cls, quote=True)}" role="img" aria-label="{name}" viewBox="0 0 {num(width)} {num(height)}" '
        f'width="{num(width)}" height="{num(height)}"><title>{name}</title>{"".join(parts)}</svg>'
    )


def line(x1: float, y1: float, x2: float, y2: float, cls: str) -> str:
    return f'<line class="{cls}" x1="{num(x1)}" y1="{num(y1)}" x2="{num(x2)}" y2="{num(y2)}"/>'


def rect(x: float, y: float, width: float, height: float, cls: str) -> str:
    return f'<rect class="{cls}" x="{num(x)}" y="{num(y)}" width="{num(max(width, 0))}" height="{num(height)}"/>'


def dot(x: float, y: float, radius: float, cls: str) -> str:
    return f'<circle class="{cls}" cx="{num(x)}" cy="{num(y)}" r="{num(radius)}"/>'


def diamond(x: float, y: float, radius: float, cls: str) -> str:
    r = radius
    return f'<path class="{cls}" d="M{num(x)} {num(y - r)}l{num(r)} {num(r)}l{num(-r)} {num(r)}l{num(-r)} {num(-r)}z"/>'


def cross(x: float, y: float, radius: float, cls: str) -> str:
    r = radius
    return f'<path class="{cls}" d="M{num(x - r)} {num(y - r)}l{num(2 * r)} {num(2 * r)}m0 {num(-2 * r)}l{num(-2 * r)} {num(2 * r)}"/>'


def path(points: Sequence[tuple[float, float]], cls: str) -> str:
    """A broken line through the points."""
    if not points:
        return ""
    return f'<path class="{cls}" d="M{" ".join(f"{num(x)} {num(y)}" for x, y in points)}"/>'


def text(x: float, y: float, words: str, cls: str = "", *, anchor: str = "start", up: bool = False) -> str:
    """Words at a point; ``up`` turns them a quarter turn counter-clockwise."""
    turn = f' transform="rotate(-90 {num(x)} {num(y)})"' if up else ""
    return f'<text class="{cls}" x="{num(x)}" y="{num(y)}" text-anchor="{anchor}"{turn}>{escape(words)}</text>'


def group(parts: Iterable[str], *, hint: str) -> str:
    """Elements with a hint that shows when the pointer rests on them."""
    return f"<g><title>{escape(hint)}</title>{''.join(parts)}</g>"


def marks(shapes: Iterable[tuple[str, str]], cls: str) -> str:
    """Many small shapes of one kind, each with its own hint; the class is said once, for there may be hundreds."""
    drawn = (
        shape.replace(' class=""', "").replace("/>", f"><title>{escape(hint)}</title></{shape[1:].split(' ', 1)[0]}>")
        if hint
        else shape.replace(' class=""', "")
        for shape, hint in shapes
    )
    return f'<g class="{cls}">{"".join(drawn)}</g>'


def wrap(words: str, most: int) -> list[str]:
    """Lines of at most so many characters, broken between words where that can be."""
    return textwrap.wrap(words, most) or [""]


def short(words: str, most: int) -> str:
    """At most so many characters, the last one an ellipsis where something was cut."""
    return words if len(words) <= most else words[: most - 1].rstrip() + "…"


@dataclass(frozen=True)
class Scale:
    """From data to pixels, linear or logarithmic. ``low`` and ``high`` lie at ``start`` and ``end``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, v = self.low, self.high, value
        if self.log:
            low, high, v = math.log10(low), math.log10(high), math.log10(max(v, self.low))
        return self.start + (v - low) / (high - low) * (self.end - self.start)

    def ticks(self, num_about: int = 5) -> list[float]:
        """Round values inside the range: steps of 1, 2 or 5 times a power of ten, or whole decades."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            every = max(1, math.ceil((last - first + 1) / num_about))
            return [10.0**e for e in range(first, last + 1, every)]
        step = nice_step((self.high - self.low) / num_about)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(i * step, 12) for i in range(first, last + 1)]


def nice_step(rough: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))


def span(values: Iterable[float], *, pad: float = 0.05, zero: bool = False) -> tuple[float, float]:
    """The range of the values with a margin; never empty. ``zero`` makes it begin at 0 where all are positive."""
    found = [v for v in values if math.isfinite(v)] or [0.0]
    low, high = min(found), max(found)
    if zero and low >= 0:
        return 0.0, high * (1 + pad) or 1.0
    room = (high - low) * pad or max(abs(high), 1e-9) * 0.5
    return low - room, high + room


def tick_label(value: float) -> str:
    """``1200`` as ``1.2k``."""
    size = abs(value)
    if size >= 1e6:
        return minus(f"{value / 1e6:g}M")
    if size >= 1e3:
        return minus(f"{value / 1e3:g}k")
    if 0 < size < 1e-3:
        return minus(f"{value:.0e}".replace("e-0", "e-"))
    return minus(f"{value:.4g}")


def axes(x: Scale, y: Scale, *, x_label: str, y_label: str, num_x: int = 5, num_y: int = 4) -> list[str]:
    """Grid lines, tick labels and axis labels for a plot whose box the two scales span."""
    left, right, bottom, top = x.start, x.end, y.start, y.end
    parts = []
    for v in y.ticks(num_y):
        parts += [line(left, y(v), right, y(v), "grid"), text(left - 6, y(v) + 4, tick_label(v), "tick", anchor="end")]
    for v in x.ticks(num_x):
        parts += [
            line(x(v), bottom, x(v), bottom + 4, "axis"),
            text(x(v), bottom + 17, tick_label(v), "tick", anchor="middle"),
        ]
    parts.append(line(left, bottom, right, bottom, "axis"))
    parts.append(text((left + right) / 2, bottom + 34, x_label, "label", anchor="middle"))
    parts.append(text(left - 44, (top + bottom) / 2, y_label, "label", anchor="middle", up=True))
    return parts
