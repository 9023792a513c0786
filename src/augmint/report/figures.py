"""The report's figures: each a function from numbers to one inline SVG with a title and labelled axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from augmint.report.svg import (
    Scale,
    axes,
    diamond,
    dot,
    group,
    line,
    minus,
    nice_step,
    path,
    rect,
    short,
    span,
    svg,
    text,
    tick_label,
)

Pair = tuple[float, float]
MAX_POINTS = 160  # a curve of 340 pixels shows no more


def signed(value: float, digits: int = 2) -> str:
    """``+3.28``, with a true minus sign where it is negative; 0 has no sign."""
    words = plain(value, digits)
    return f"+{words}" if value > 0 and float(f"{value:.{digits}f}") else words


def plain(value: float, digits: int) -> str:
    """``3.28`` or ``−3.28``; what rounds to 0 has no sign."""
    words = f"{value:.{digits}f}"
    return minus(words if float(words) else words.removeprefix("-"))


def interval(pair: Pair | None, digits: int = 2) -> str:
    """``[2.05, 4.58]``, or nothing."""
    return "" if pair is None else f"[{', '.join(plain(v, digits) for v in pair)}]"


@dataclass(frozen=True)
class Arm:
    """One row of the forest plot: differences to the reference arm, in points."""

    title: str
    kind: str
    effect: float
    ci95: Pair | None = None
    seeds: tuple[float, ...] = ()
    is_reference: bool = False
    is_primary: bool = False

    @property
    def numbers(self) -> str:
        return "reference" if self.is_reference else f"{signed(self.effect)} {interval(self.ci95)}".strip()


def effect_bar(effect: float, ci95: Pair, *, margin: float, title: str) -> str:
    """One difference with its interval, zero and the margin: the picture under a verdict. Points."""
    reach = max(abs(ci95[0]), abs(ci95[1]), margin) * 1.15
    x = Scale(-reach, reach, 8, 332)
    parts = [rect(x(-margin), 6, x(margin) - x(-margin), 26, "margin"), line(x(0), 2, x(0), 36, "zero")]
    parts += [line(x(ci95[0]), 19, x(ci95[1]), 19, "whisker"), dot(x(effect), 19, 6, "now")]
    for v in x.ticks(6):
        parts.append(text(x(v), 50, signed(v, 0 if float(v).is_integer() else 1), "tick", anchor="middle"))
    parts.append(text(170, 67, "difference in points, 95 % interval", "label", anchor="middle"))
    return svg(340, 72, parts, title=title, cls="effect")


def forest(arms: Sequence[Arm], *, margin: float, metric: str, reference: str, narrow: bool = False) -> str:
    """The paired difference of every arm to the best classic arm, in points.

    Markers: circle = an arm that may enter the result, hollow diamond = control; small ticks = single paired seeds; line = 95 % interval.
    """
    row, head = (44, 30) if narrow else (30, 32)
    width = 340 if narrow else 860
    x = _forest_scale(arms, margin, (10, 202) if narrow else (318, 690))
    tops, heading = _forest_tops(arms, head, row)
    bottom = tops[-1] + row
    # On a phone the names stand above the marks: there, band and lines are drawn where no words are.
    bands = [(top + 20, top + row) for top in tops] if narrow else [(head - 8, bottom)]
    parts = [rect(x(-margin), a, x(margin) - x(-margin), b - a, "margin") for a, b in bands]
    parts += [line(x(v), a, x(v), b, "grid") for v in x.ticks(6) for a, b in bands]
    parts += [line(x(0), a, x(0), b, "zero") for a, b in bands]
    better = min(max(x(0), x.start + 62), x.end - 62)
    parts.append(text(better - 8, head - 14, "← worse", "tick", anchor="end"))
    parts.append(text(better + 8, head - 14, "better →", "tick"))
    if heading is not None:
        parts.append(text(0, heading + 19, "Controls", "tick"))
    parts += [_forest_row(arm, x, top, row, width, narrow) for arm, top in zip(arms, tops, strict=True)]
    parts.append(line(x.start, bottom, x.end, bottom, "axis"))
    for v in x.ticks(6):
        parts.append(text(x(v), bottom + 17, tick_label(v), "tick", anchor="middle"))
    parts.append(text((x.start + x.end) / 2, bottom + 35, f"difference in {metric} (points)", "label", anchor="middle"))
    title = f"Forest plot: difference in {metric} of every arm to {reference}, in points, with 95 % intervals"
    return svg(width, bottom + 42, parts, title=title, cls="narrow" if narrow else "wide")


def _forest_tops(arms: Sequence[Arm], head: float, row: float) -> tuple[list[float], float | None]:
    """Where each row begins, and where the heading above the first control does."""
    first = next((i for i, a in enumerate(arms) if a.kind == "control"), None)
    tops = [head + row * i + (26 if first is not None and i >= first else 0) for i in range(len(arms))]
    return tops, None if first is None else tops[first] - 26


def _forest_scale(arms: Sequence[Arm], margin: float, pixels: Pair) -> Scale:
    values = [0.0, -margin, margin]
    for arm in arms:
        values += [arm.effect, *(arm.ci95 or ()), *arm.seeds]
    low, high = span(values, pad=0.04)
    return Scale(low, high, *pixels)


def _forest_row(arm: Arm, x: Scale, top: float, row: float, width: float, narrow: bool) -> str:
    y = top + (30 if narrow else row / 2)
    strong = " strong" if arm.is_primary else ""
    parts = [rect(0, top, width, row, "row")]
    parts.append(text(0, top + 15 if narrow else y + 4.5, short(arm.title, 52 if narrow else 44), f"name{strong}"))
    parts += [line(x(s), y - 8, x(s), y - 3.5, "seed") for s in arm.seeds]
    if arm.ci95 is not None:
        parts.append(line(x(arm.ci95[0]), y, x(arm.ci95[1]), y, f"whisker {arm.kind}"))
    mark = diamond if arm.kind == "control" else dot
    parts.append(mark(x(arm.effect), y, 6 if arm.kind == "control" else 5.5, f"mark {arm.kind}"))
    parts.append(text(width, y + 4.5, arm.numbers, f"value{strong}", anchor="end"))
    return group(parts, hint=f"{arm.title}: {arm.numbers}")


@dataclass(frozen=True)
class Series:
    """One curve. ``look`` is ``a``, ``b``, ``c`` or ``d``: the page's four line colours and dashes."""

    name: str
    look: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]


def thin(series: Series, most: int = MAX_POINTS) -> Series:
    """At most so many points, each the mean of equally many neighbours."""
    size = math.ceil(len(series.xs) / most)
    if size <= 1:
        return series
    cuts = range(0, len(series.xs), size)
    mean = [tuple(sum(v[i : i + size]) / len(v[i : i + size]) for i in cuts) for v in (series.xs, series.ys)]
    return Series(series.name, series.look, mean[0], mean[1])


def curves(series: Sequence[Series], *, title: str, x_label: str, y_label: str, unit_range: bool = False) -> str:
    """Curves over training; the y axis turns logarithmic where positive values span more than two decades.

    Args:
        unit_range: the values are shares: the axis goes from 0 to 1.
    """
    kept = [thin(s) for s in series if s.xs]
    ys = [v for s in kept for v in s.ys]
    log = not unit_range and min(ys) > 0 and max(ys) / min(ys) > 100
    low, high = (0.0, 1.0) if unit_range else span(ys, zero=min(ys) >= 0)
    if log:
        low, high = min(ys) / 1.3, max(ys) * 1.3
    x_low, x_high = 0.0, max(v for s in kept for v in s.xs) or 1.0
    x, y = Scale(x_low, x_high, 56, 284), Scale(low, high, 164, 30, log=log)
    parts = axes(x, y, x_label=x_label, y_label=y_label + (", log scale" if log else ""))
    at = 6.0
    for s in kept:
        points = [(x(a), y(b)) for a, b in zip(s.xs, s.ys, strict=True)]
        marks = [dot(px, py, 2.4, f"dot-{s.look}") for px, py in points] if len(points) <= 30 else []
        hint = f"{s.name}: last {s.ys[-1]:.4g}"
        parts.append(group([path(points, f"curve {s.look}"), *marks], hint=hint))
        parts += [line(at, 13, at + 16, 13, f"curve {s.look}"), text(at + 21, 17, s.name, "tick")]
        at += 38 + 6.4 * len(s.name)
    return svg(294, 204, parts, title=f"{title}: {y_label} over {x_label}")


@dataclass(frozen=True)
class Bins:
    """Points of a reliability diagram: mean probability, share of reals, number of samples."""

    name: str
    look: str
    points: tuple[tuple[float, float, float], ...]


def gauge(value: float, ci95: Pair | None, real: float | None, *, title: str) -> str:
    """A metric and its interval beside the value that reals reach against reals, on one line from 0."""
    most = max(v for v in (value, real, ci95[1] if ci95 else None) if v is not None)
    low = min(0.0, value, ci95[0] if ci95 else 0.0)
    step = nice_step(max(most, 1e-12) / 4)
    high = 1.0 if 0.3 < most <= 1.0 else max(step * math.ceil(most / step), 1e-12)
    x = Scale(low, high, 4, 156)
    parts = [line(x(low), 12, x(high), 12, "axis")]
    if ci95 is not None:
        parts.append(line(x(ci95[0]), 12, x(ci95[1]), 12, "whisker"))
    if real is not None:
        parts.append(line(x(real), 4, x(real), 20, "real"))
    parts.append(dot(x(value), 12, 4.5, "now"))
    return svg(160, 24, parts, title=title, cls="gauge")


def bar(share: float, look: str = "a") -> str:
    """A bar of 0 to 1 beside a printed number; decoration, so hidden from screen readers."""
    width = 160 * min(max(share, 0.0), 1.0)
    return (
        '<svg class="bar" aria-hidden="true" viewBox="0 0 160 10" width="160" height="10" preserveAspectRatio="none">'
        f"{rect(0, 0, 160, 10, 'trough')}{rect(0, 0, max(width, 1.5 if share > 0 else 0), 10, f'fill-{look}')}</svg>"
    )
