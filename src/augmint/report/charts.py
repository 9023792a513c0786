"""Matplotlib pictures of a data set as inline SVG, in the page's own colours (light and dark)."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_BARS = 60
# Matplotlib knows no CSS variables: it draws in these, and they are replaced in its SVG.
_INK, _MARK, _RULE = "#010203", "#010204", "#010205"
_CSS = {_INK: "var(--muted)", _MARK: "var(--a)", _RULE: "var(--rule)"}


def class_bars(classes: pd.DataFrame) -> str:
    """Samples a class as horizontal bars, in class order; the most frequent 60 where there are more. '' if none."""
    if not len(classes):
        return ""
    shown = classes.nlargest(MAX_BARS, "samples").sort_index() if len(classes) > MAX_BARS else classes
    fig, ax = _figure(4.8, 0.5 + 0.27 * len(shown))
    names = [_short(str(c)) for c in shown["class"]]
    bars = ax.barh(range(len(shown)), shown["samples"], color=_MARK, height=0.68)
    ax.bar_label(bars, padding=4, color=_INK, fontsize=9)
    ax.set_yticks(range(len(shown)), names)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.1 * max(1, shown["samples"].max()))
    ax.set_xlabel("samples")
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return _svg(fig, "Samples of each class")


def size_scatter(table: pd.DataFrame) -> str:
    """Width against height in pixels, one circle a size, its area the number of samples. '' for fewer than two sizes."""
    if not {"width", "height"} <= set(table.columns) or not len(table):
        return ""
    sizes = table.groupby(["width", "height"]).size().reset_index(name="samples")
    if len(sizes) < 2:
        return ""
    fig, ax = _figure(4.4, 3.8)
    area = 14 + 220 * sizes["samples"] / sizes["samples"].max()
    ax.scatter(sizes["width"], sizes["height"], s=area, color=_MARK, alpha=0.55, linewidths=0)
    low = int(min(sizes["width"].min(), sizes["height"].min()))
    high = int(max(sizes["width"].max(), sizes["height"].max()))
    if high > 12 * low:
        ax.set_xscale("log")
        ax.set_yscale("log")
    else:
        ax.set_xlim(0, 1.05 * high)
        ax.set_ylim(0, 1.05 * high)
    ax.axline((low, low), (high, high), color=_RULE, linewidth=1, zorder=0)
    ax.set_xlabel("width, pixels")
    ax.set_ylabel("height, pixels")
    return _svg(fig, "Sizes of the samples")


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), layout="constrained")
    ax = fig.subplots()
    for side, spine in ax.spines.items():
        spine.set_color(_RULE)
        spine.set_visible(side in ("left", "bottom"))
    ax.tick_params(colors=_INK, labelsize=9, which="both")
    ax.xaxis.label.set_color(_INK)
    ax.yaxis.label.set_color(_INK)
    return fig, ax


def _svg(fig: Figure, title: str) -> str:
    from matplotlib import rc_context

    out = StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif"}):
        fig.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Title": title})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    for drawn, css in _CSS.items():
        text = text.replace(drawn, css)
    return text.replace("<svg ", '<svg role="img" ', 1)


def _short(name: str) -> str:
    # a dollar sign would start a formula
    name = name.replace("$", r"\$")
    return name if len(name) <= 28 else name[:27] + "…"
