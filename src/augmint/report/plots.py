"""The figures of the evidence: paired seeds, accuracy against share and against more reals, classes, and the map of features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from augmint.report.figures import Bins, Pair
from augmint.report.svg import (
    Scale,
    axes,
    cross,
    dot,
    group,
    line,
    marks,
    minus,
    path,
    rect,
    short,
    span,
    svg,
    text,
    tick_label,
    wrap,
)

WIDTH = 340.0  # what a phone shows without shrinking


def slopes(left: Sequence[float], right: Sequence[float], *, names: tuple[str, str], y_label: str) -> str:
    """One line a seed from its result without to its result with; the thick line joins the means. Percent."""
    x = (128.0, 268.0)
    means = (sum(left) / len(left), sum(right) / len(right))
    low, high = span([*left, *right], pad=0.08)
    y = Scale(low, high, 246, 14)
    parts = _left_axis(y, (56, 332), y_label)
    parts += [line(v, y.start, v, y.end, "axis") for v in x]
    for number, (a, b) in enumerate(zip(left, right, strict=True), 1):
        look = "up" if b > a else "down" if b < a else "level"
        shape = [line(x[0], y(a), x[1], y(b), f"slope {look}"), dot(x[0], y(a), 2.6, look), dot(x[1], y(b), 2.6, look)]
        parts.append(group(shape, hint=f"seed {number}: {a:.2f} to {b:.2f}"))
    parts.append(line(x[0], y(means[0]), x[1], y(means[1]), "slope mean"))
    for at, mean, anchor, off in ((x[0], means[0], "end", -9.0), (x[1], means[1], "start", 9.0)):
        parts += [
            dot(at, y(mean), 4.5, "mean"),
            text(at + off, y(mean) + 4, f"{mean:.1f}", "value strong", anchor=anchor),
        ]
    for at, name in zip(x, names, strict=True):
        for row, words in enumerate(wrap(name, 21)[:2]):
            parts.append(text(at, 266 + 14 * row, words, "tick", anchor="middle"))
    title = (
        f"Paired seeds: {y_label} of each seed, {names[0]} against {names[1]}; means {means[0]:.2f} and {means[1]:.2f}"
    )
    return svg(WIDTH, 288, parts, title=title)


@dataclass(frozen=True)
class Point:
    """A mean with its interval at a place on the x axis."""

    x: float
    mean: float
    ci95: Pair | None = None


@dataclass(frozen=True)
class Level:
    """A result that does not move along the x axis: a horizontal line with its interval as a band."""

    name: str
    mean: float
    ci95: Pair | None = None


def response(
    points: Sequence[Point],
    *,
    title: str,
    x_label: str,
    y_label: str,
    level: Level | None = None,
    mark: tuple[float, str] | None = None,
) -> str:
    """A measured curve with intervals; perhaps a level to compare with, and a marked place on the x axis."""
    points = sorted(points, key=lambda p: p.x)
    ys = [v for p in points for v in (p.mean, *(p.ci95 or ()))]
    ys += [level.mean, *(level.ci95 or ())] if level else []
    xs = [p.x for p in points] + ([mark[0]] if mark else [])
    x_low, x_high = span(xs, pad=0.04)
    x, y = Scale(x_low, x_high, 56, 332), Scale(*span(ys, pad=0.1), 232, 32)
    parts = axes(x, y, x_label=x_label, y_label=y_label)
    if level is not None:
        if level.ci95:
            parts.append(
                rect(x.start, y(level.ci95[1]), x.end - x.start, y(level.ci95[0]) - y(level.ci95[1]), "band a")
            )
        parts.append(line(x.start, y(level.mean), x.end, y(level.mean), "curve a"))
        parts += [line(56, 13, 76, 13, "curve a"), text(82, 17, short(f"{level.name}: {level.mean:.1f}", 46), "tick")]
    if mark is not None:
        parts.append(line(x(mark[0]), y.start, x(mark[0]), y.end, "zero"))
        flips = x(mark[0]) > 240
        parts.append(
            text(
                x(mark[0]) + (-6 if flips else 6), y.start - 7, mark[1], "tick over", anchor="end" if flips else "start"
            )
        )
    look = "c" if level else "a"
    parts.append(path([(x(p.x), y(p.mean)) for p in points], f"curve solid {look}"))
    for p in points:
        whisker = [line(x(p.x), y(p.ci95[0]), x(p.x), y(p.ci95[1]), f"bar-{look}")] if p.ci95 else []
        told = f"{tick_label(p.x)}: {p.mean:.2f}" + (minus(f" [{p.ci95[0]:.2f}, {p.ci95[1]:.2f}]") if p.ci95 else "")
        parts.append(group([*whisker, dot(x(p.x), y(p.mean), 4, f"dot-{look}")], hint=told))
    return svg(WIDTH, 272, parts, title=title)


def reliability(bins: Bins) -> str:
    """Stated probability of being real against the share that was real; the larger the dot, the more samples."""
    x, y = Scale(0, 1, 56, 326), Scale(0, 1, 286, 16)
    parts = axes(x, y, x_label="stated probability of being real", y_label="share that was real", num_y=5)
    parts.append(line(x(0), y(0), x(1), y(1), "zero"))
    points = sorted(bins.points)
    most = max((n for *_, n in points), default=1.0) or 1.0
    for p, f, n in points:
        # The vertical line is the error: what was said less what was true.
        shape = [
            line(x(p), y(p), x(p), y(f), f"gap-{bins.look}"),
            dot(x(p), y(f), 2.5 + 4 * math.sqrt(n / most), f"dot-{bins.look}"),
        ]
        parts.append(group(shape, hint=f"{bins.name}: said {p:.2f}, was {f:.2f} ({n:.0f} samples)"))
    parts.insert(-len(points) or len(parts), path([(x(p), y(f)) for p, f, _ in points], f"curve solid {bins.look}"))
    name = f"Reliability diagram, {bins.name}: stated probability of being real against the share that was real"
    return svg(WIDTH, 326, parts, title=name)


def dumbbell(before: float, after: float, scale: Pair, *, title: str) -> str:
    """Two values of one class on a shared axis: hollow before, full after. Percent."""
    x = Scale(*scale, 12, 186)
    look = "up" if after > before else "down" if after < before else "level"
    parts = [line(12, 10, 186, 10, "grid"), line(x(before), 10, x(after), 10, f"step {look}")]
    parts += [dot(x(before), 10, 4, "was"), dot(x(after), 10, 4.5, look)]
    return svg(200, 20, parts, title=title, cls="dumbbell")


def dumbbell_axis(scale: Pair) -> str:
    """The axis that all rows of `dumbbell` share."""
    x = Scale(*scale, 12, 186)
    parts = [text(x(v), 14, f"{v:g}", "tick", anchor="middle") for v in x.ticks(4)]
    return svg(200, 18, parts, title=f"Axis from {scale[0]:g} to {scale[1]:g} percent", cls="dumbbell")


@dataclass(frozen=True)
class Spot:
    """A sample on the map: ``kind`` is ``real``, ``kept`` or ``rejected``."""

    x: float
    y: float
    kind: str
    label: str = ""


def chart(spots: Sequence[Spot], *, title: str) -> str:
    """The map of features: rejected below, reals, then kept samples above them; class names above their reals."""
    size = 480.0
    low_x, high_x = span([s.x for s in spots])
    low_y, high_y = span([s.y for s in spots])
    x, y = Scale(low_x, high_x, 8, size - 8), Scale(low_y, high_y, 412, 8)
    parts = [rect(0.5, 0.5, size - 1, 419, "frame")]
    draw = {"rejected": cross, "real": dot, "kept": dot}
    for kind, shape in draw.items():
        own = [(x(s.x), y(s.y), s.label) for s in spots if s.kind == kind]
        parts.append(marks([(shape(a, b, 2.8, ""), label) for a, b, label in own], f"pt {kind}"))
    parts += [text(x(a), max(y(b) - 8, 20), short(name, 16), "place", anchor="middle") for name, a, b in _places(spots)]
    return svg(size, 420, parts, title=title)


MOST_PLACES = 30


def _places(spots: Sequence[Spot]) -> list[tuple[str, float, float]]:
    """Each class above the bulk of its reals (of all its samples, where it has no real); nothing where classes are many."""
    names = sorted({s.label for s in spots if s.label})
    if len(names) > MOST_PLACES:
        return []
    found = []
    for name in names:
        own = [s for s in spots if s.label == name]
        own = [s for s in own if s.kind == "real"] or own
        found.append((name, _quantile([s.x for s in own], 0.5), _quantile([s.y for s in own], 0.9)))
    return found


def _quantile(values: list[float], part: float) -> float:
    return sorted(values)[int(part * (len(values) - 1))]


def _left_axis(y: Scale, across: Pair, label: str) -> list[str]:
    parts = []
    for v in y.ticks(5):
        parts += [
            line(across[0], y(v), across[1], y(v), "grid"),
            text(across[0] - 6, y(v) + 4, tick_label(v), "tick", anchor="end"),
        ]
    parts.append(text(12, (y.start + y.end) / 2, label, "label", anchor="middle", up=True))
    return parts
