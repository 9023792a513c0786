"""How near the synthetic samples come to the real ones: the copy check, the membership audit, and the map of features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from augmint.report import figures, plots
from augmint.report.figures import interval
from augmint.report.numbers import Row, figure, number, pair
from augmint.report.terms import Terms

MOST_PAIRS = 10
REASONS = {
    "verifier": "the verifier found it unconvincing for its class",
    "memorised": "too close to one training sample",
    "duplicate": "nearly equal to another candidate that was kept",
    "surplus": "its class was already full; where the score filter is off, picked without regard to the score",
}
SPARE = "surplus"
"""The reason of what was left out though nothing is wrong with it."""
ON_MAP = (("real", "real"), ("kept", "synthetic, kept"), ("rejected", "synthetic, rejected or not needed"))


def copies(row: Row | None, closest: Sequence[Row], gallery: Sequence[Row]) -> dict[str, Any] | None:
    """The copy check, and the ten candidates most like a training sample: of all, or of the gallery where that is all there is."""
    if not row:
        return None
    rate, real, threshold = number(row, "rate"), number(row, "real_rate"), number(row, "threshold")
    found = [r for r in closest or gallery if r.get("kind") in ("kept", "rejected") and r.get("nearest_html")]
    found = sorted(
        (r for r in found if number(r, "nearest_ratio") is not None), key=lambda r: float(r["nearest_ratio"])
    )
    return {
        "rate": None if rate is None else f"{100 * rate:.1f} %",
        "real": None if real is None else f"{100 * real:.1f} %",
        "threshold": None if threshold is None else figure(threshold),
        "flagged": row.get("flagged"),
        "n": row.get("n"),
        "suspects": [_suspect(r) for r in row.get("suspects") or ()],
        "pairs": [_pair(r, threshold) for r in found[:MOST_PAIRS]],
        "of_all": bool(closest),
    }


def _suspect(row: Row) -> dict[str, str]:
    return {
        "id": str(row.get("id", "")),
        "nearest_id": str(row.get("nearest_id", "")),
        "ratio": figure(number(row, "ratio")),
    }


def _pair(row: Row, threshold: float | None) -> dict[str, Any]:
    ratio, reason = float(row["nearest_ratio"]), str(row.get("reason") or "")
    flagged = row.get("flagged")
    flagged = flagged if isinstance(flagged, bool) else reason == "memorised"
    drawn = figures.gauge(ratio, None, threshold, title=f"distance ratio {ratio:.2f}")
    return {
        "id": row.get("id", ""),
        "label": row.get("label"),
        "html": row["html"],
        "nearest": row["nearest_html"],
        "nearest_id": row.get("nearest_id", ""),
        "ratio": f"{ratio:.2f}",
        "gauge": Markup(drawn),
        "flagged": flagged,
        "fate": _fate(row["kind"], reason),
        "why": "" if reason == SPARE else REASONS.get(reason, ""),
    }


def _fate(kind: str, reason: str) -> str:
    if kind == "kept":
        return "kept"
    return "not needed" if reason == SPARE else "rejected" + (f": {reason}" if reason else "")


def membership(row: Row | None, terms: Terms) -> dict[str, Any] | None:
    """The opt-in audit: how well an attack tells training samples from unseen reals of the same kind."""
    auc = number(row or {}, "auc")
    if row is None or auc is None:
        return None
    ci95, hits = pair(row.get("ci95")), number(row, "tpr_at_1_fpr")
    low, high = ci95 or (auc, auc)
    if low > 0.5:
        told = "The attack does better than guessing: training samples can be told from others, some of them at least."
    elif high >= 0.6:
        told = "The attack did not beat guessing, but the interval is wide: with so few samples a leak could be missed."
    else:
        told = "The attack did not beat guessing. Another attack could; this one row is no promise of privacy."
    return {
        "auc": figure(auc),
        "ci95": interval(ci95),
        "hits": None if hits is None else f"{100 * hits:.1f} %",
        "n": row.get("n"),
        "attack": terms.features(str(row.get("attack") or "")),
        "told": told,
        "gauge": Markup(figures.gauge(auc, ci95, 0.5, title=f"membership attack AUC {auc:.2f}; 0.5 is guessing")),
    }


def feature_map(found: Row | None, terms: Terms) -> dict[str, Any] | None:
    """Real, kept and rejected samples as points, and the sentence on how to read them."""
    rows = [r for r in (found or {}).get("points") or () if number(r, "x") is not None and number(r, "y") is not None]
    counts = Counter(str(r.get("kind")) for r in rows)
    if found is None or not counts["real"] or not counts["kept"] + counts["rejected"]:
        return None
    spots = [plots.Spot(float(r["x"]), float(r["y"]), str(r.get("kind")), str(r.get("label") or "")) for r in rows]
    method = str(found.get("method") or "")
    kinds = [{"kind": k, "title": title, "n": counts[k]} for k, title in ON_MAP if counts[k]]
    told = ", ".join(f"{k['n']} {k['title']}" for k in kinds)
    return {
        "figure": Markup(plots.chart(spots, title=f"Map of features: {told}")),
        "kinds": kinds,
        "method": terms.features(method),
        "reals": str(found.get("reals") or ""),
        "is_tsne": "t-sne" in method.lower(),
    }
