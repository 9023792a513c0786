"""Which pictures the report shows, so that they tell the truth about all of them and the file stays small."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from augmint.report.closeness import REASONS, SPARE
from augmint.report.numbers import Row, figure, number
from augmint.report.thumbs import lighter, snapshot

BUDGET = {
    "kept": 700_000,
    "rejected": 300_000,
    "spare": 150_000,
    "augmented": 300_000,
    "real": 150_000,
    "snapshots": 600_000,
    "pairs": 250_000,
}  # bytes of markup
MOST = {"kept": 42, "rejected": 28, "spare": 14, "augmented": 21, "real": 22}
TITLES = {
    "kept": "Synthetic, kept",
    "rejected": "Synthetic, rejected",
    "spare": "Synthetic, not needed",
    "augmented": "Augmented by classic transforms",
    "real": "Real",
}
NOTES = {
    "kept": "From the most to the least convincing. Left the synthetic sample, right its nearest training sample.",
    "rejected": "With the reason of each one, in the order of reason and score. Left the synthetic sample, right its nearest training sample.",
    "spare": f"Nothing is wrong with these: {REASONS[SPARE]}. Left the synthetic sample, right its nearest training sample.",
    "augmented": "Left the augmented sample, right the real one that it was made from, where that is known.",
    "real": "For comparison: what the generator learnt from.",
}
MAX_SNAPSHOTS = 6
PICTURES = ("html", "nearest_html")


def groups(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The gallery's parts in order: kept, rejected, not needed, augmented, real; a part without samples is left out."""
    out = []
    for kind, title in TITLES.items():
        found = sorted((r for r in rows if _part(r) == kind and r.get("html")), key=_order)
        if found:
            shown = fitting([_light(r) for r in spread(found, MOST[kind])], BUDGET[kind])
            named = {str(r.get("reason")) for r in shown} if kind == "rejected" else set[str]()
            reasons = [(name, why) for name, why in REASONS.items() if name in named]
            part = {"kind": kind, "title": title, "note": NOTES[kind], "total": len(found), "reasons": reasons}
            out.append({**part, "shown": [_item(r) for r in shown]})
    return out


def _part(row: Row) -> str:
    return "spare" if row.get("kind") == "rejected" and row.get("reason") == SPARE else str(row.get("kind"))


def _order(row: Row) -> tuple[int, str, float]:
    score, reason = number(row, "score"), str(row.get("reason") or "")
    return [*REASONS].index(reason) if reason in REASONS else -1, reason, -(score if score is not None else -1.0)


def _light(row: Row) -> Row:
    return {**row, **{k: lighter(str(row[k])) for k in PICTURES if row.get(k)}}


def fitting(rows: Sequence[Any], budget: int, fields: Sequence[str] = PICTURES) -> list[Any]:
    """As many evenly spread rows, first and last among them, as so many bytes of markup allow (one at least)."""
    for num_shown in range(len(rows), 1, -1):
        shown = spread(rows, num_shown)
        if sum(len(str(r.get(k) or "")) for r in shown for k in fields) <= budget:
            return shown
    return list(rows[:1])


def spread(rows: Sequence[Any], count: int) -> list[Any]:
    """``count`` of the rows at even distances, the first and the last among them."""
    if count >= len(rows):
        return list(rows)
    return [rows[round(i * (len(rows) - 1) / max(count - 1, 1))] for i in range(count)]


def _item(row: Row) -> dict[str, Any]:
    reason, ratio = str(row.get("reason") or ""), number(row, "nearest_ratio")
    return {
        "id": row.get("id", ""),
        "label": row.get("label"),
        "score": "" if number(row, "score") is None else f"{number(row, 'score'):.0f}",
        "rebuild": "" if number(row, "rebuild") is None else figure(number(row, "rebuild")),
        "reason": "" if reason == SPARE else reason,  # the heading says it
        "why": REASONS.get(reason, reason),
        "html": row["html"],
        "nearest": row.get("nearest_html"),
        "nearest_id": row.get("nearest_id", ""),
        "ratio": "" if ratio is None else f"{ratio:.2f}",
    }


def snapshots(folder: Path) -> list[dict[str, Any]]:
    """Up to six of the picture grids ``step-*.png``, spread over training, as data URIs."""
    found = [snapshot(path) for path in spread(sorted(folder.glob("step-*.png")), MAX_SNAPSHOTS)]
    return fitting([s for s in found if s is not None], BUDGET["snapshots"], ("uri",))


def dials(folder: Path) -> dict[str, Any] | None:
    """The picture of what quality, style and likeness do, as a data URI; ``None`` where the run made none."""
    path = folder / "dials.png"
    return snapshot(path) if path.exists() else None


def closest(rows: Sequence[Row]) -> list[Row]:
    """The pairs of the copy check with light pictures; the first ones, as many as the file's size allows."""
    light, spent, out = [_light(r) for r in rows], 0, list[Row]()
    for row in light:
        spent += sum(len(str(row.get(k) or "")) for k in PICTURES)
        if out and spent > BUDGET["pairs"]:
            break
        out.append(row)
    return out
