"""From the files of a run to what the report's template shows: numbers become words, tables and figures here.

Every function returns ``None`` (or an empty list) where the run has nothing to show, and the template leaves that section out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from augmint.report import figures, plots
from augmint.report.closeness import REASONS, SPARE, copies, feature_map, membership
from augmint.report.evidence import Written, registration
from augmint.report.manifest import cost, reproduce
from augmint.report.numbers import Row, figure, moment, number, pair, sentence
from augmint.report.terms import Terms
from augmint.report.verdicts import proof, verdicts

ORIGINS = ("real", "augmented", "synthetic")
PARTS = ("fit", "held-out", "test")
PANELS = (
    ("Losses", "loss (nats)", (("g_loss", "generator"), ("v_loss", "verifier")), False),
    ("Gradient penalties", "penalty", (("r1", "R1, at reals"), ("r2", "R2, at fakes")), False),
    ("Rebuilding real samples", "rebuild error", (("recon", "verifier's decoder"),), False),
    ("Held-out gap", "told apart", (("gap", "training reals above unseen ones"),), True),
    ("Augmentation inside training", "probability", (("aug_p", "aug_p"),), True),
    ("Learning rate", "rate", (("lr", "lr"),), False),
    ("Fréchet distance to held-out reals", "Fréchet distance", (("fid", "fid"),), False),
    (
        "Fidelity and variety",
        "share",
        (("precision", "precision"), ("recall", "recall"), ("coverage", "coverage")),
        True,
    ),
    ("Near-copies of training samples", "share flagged", (("copy_rate", "copy rate"),), False),
)


@dataclass(frozen=True)
class Files:
    """What was found in a run folder; everything may be empty."""

    name: str
    state: Row = field(default_factory=dict)
    choices: Row = field(default_factory=dict)
    config: str = ""
    log: Sequence[Row] = ()
    journal: str = ""
    proof: Row | None = None
    metrics: Row | None = None
    gallery: Sequence[Row] = ()
    snapshots: Sequence[Row] = ()
    dials: Row | None = None
    split: Sequence[Mapping[str, str]] = ()
    modality: str = ""
    registered: Row | None = None
    predictions: Sequence[Written] = ()
    closest: Sequence[Row] = ()
    map: Row | None = None
    evidence: Sequence[Row] = ()


def view(files: Files) -> dict[str, Any]:
    """All sections by name, in the words of the template."""
    metrics = files.metrics or {}
    classes = {r["label"] for r in files.split if r.get("label")}
    terms = Terms.of(files.state, files.choices, files.proof, files.registered)
    choices = terms.choices(files.choices)
    return {
        "head": head(files),
        "is_foreign": terms.is_foreign,
        "verdicts": verdicts(files.proof, verb=str(files.state.get("verb", "")), num_classes=len(classes)),
        "proof": proof(files.proof, terms),
        "advice": list((files.proof or {}).get("advice") or ()),
        "metrics": metric_rows(metrics, terms),
        "registration": registration(files.registered, files.proof, files.predictions, terms),
        "map": feature_map(files.map, terms),
        "copies": copies(metrics.get("copies"), files.closest, files.gallery),
        "membership": membership(metrics.get("membership"), terms),
        "calibration": calibration(metrics.get("calibration")),
        "curation": curation(metrics.get("curation")),
        "curves": training_curves(files.log),
        "remarks": remarks(files.journal),
        "snapshots": list(files.snapshots),
        "dials": files.dials,
        "data": data(files, choices),
        "cost": cost(files.state.get("timings"), files.proof, terms),
        "reproduce": reproduce(files.name, files.state, choices, files.config, files.evidence, terms),
    }


def head(files: Files) -> dict[str, Any]:
    state = files.state
    counts = state.get("counts") or {}
    facts = [f for f in (f"augmint {state['verb']}" if "verb" in state else "", files.modality) if f]
    if "started" in state:
        facts.append("started " + moment(state["started"]))
    return {
        "name": files.name.removesuffix(".run"),
        "facts": facts,
        "made": _made(str(state.get("verb", "")), counts),
        "is_done": state.get("status") in (None, "done") or files.proof is not None,
    }


def _made(verb: str, counts: Row) -> str:
    """What the run made; of one that made no set, what it was given."""
    told = [f"{n:,} {origin}" for origin in ORIGINS if isinstance(n := counts.get(origin), int)]
    if not told:
        return ""
    if verb == "prove":
        return f"Compared: {' and '.join(told)} samples. No set was written: this run only tests."
    if verb == "train":
        return f"Given: {', '.join(told)} samples. No set was written: this run only trains."
    return f"In the resulting set: {', '.join(told)} samples."


def metric_rows(metrics: Row, terms: Terms) -> dict[str, Any] | None:
    """The rows by extractor: numbers seen through different features cannot be compared."""
    found = [r for r in metrics.get("rows") or () if number(r, "value") is not None]
    default = str(metrics.get("extractor") or "")
    names = list(dict.fromkeys(str(r.get("extractor") or default) for r in found))
    groups = [
        {
            "extractor": name,
            "seen_through": terms.features(name),
            "rows": [_metric(r) for r in found if str(r.get("extractor") or default) == name],
        }
        for name in names
    ]
    return {"n": metrics.get("n"), "groups": groups} if groups else None


def _metric(row: Row) -> dict[str, Any]:
    value, ci95, real = number(row, "value") or 0.0, pair(row.get("ci95")), number(row, "real")
    title = str(row.get("title") or row.get("metric", ""))
    spoken = f"{title}: {figure(value)}" + (f", reals against reals {figure(real)}" if real is not None else "")
    return {
        "title": title,
        "value": figure(value),
        "ci95": f"[{figure(ci95[0])}, {figure(ci95[1])}]" if ci95 else "",
        "real": figure(real),
        "better": {"lower": "↓ lower is better", "higher": "↑ higher is better"}.get(
            str(row.get("better")), str(row.get("better", ""))
        ),
        "gauge": Markup(figures.gauge(value, ci95, real, title=spoken)),
    }


def calibration(row: Row | None) -> dict[str, Any] | None:
    """Reliability diagram and the three scores, raw and calibrated."""
    if not row:
        return None
    if row.get("fitted") is False:
        return {"figures": [], "scores": [], "too_few": int(row.get("num_real") or 0)}
    states = [(name, row.get(name) or {}) for name in ("raw", "calibrated")]
    found = {name: state.get("bins") or () for name, state in states}
    found["calibrated"] = found["calibrated"] or row.get("bins") or ()
    found["raw"] = found["raw"] or row.get("raw_bins") or ()
    looks = (("raw", "b", "Before: the raw score"), ("calibrated", "a", "After calibration"))
    drawn = [
        {"title": title, "figure": Markup(plots.reliability(figures.Bins(name, look, points)))}
        for name, look, title in looks
        if (points := _points(found[name]))
    ]
    scores = [
        {
            "name": title,
            "raw": figure(number(states[0][1], key)),
            "calibrated": figure(number(states[1][1], key)),
            "better": better,
        }
        for key, title, better in (
            ("ece", "Expected calibration error", "↓ lower is better"),
            ("brier", "Brier score", "↓ lower is better"),
            ("auc", "AUC, real against synthetic", "0.5: cannot tell them apart"),
        )
        if number(states[0][1], key) is not None or number(states[1][1], key) is not None
    ]
    return {"figures": drawn, "scores": scores, "too_few": None} if drawn or scores else None


def _points(bins: Iterable[Row]) -> tuple[tuple[float, float, float], ...]:
    rows = [(number(b, "p"), number(b, "freq"), number(b, "n") or 0.0) for b in bins]
    return tuple((p, f, n) for p, f, n in rows if p is not None and f is not None and n > 0)


def curation(row: Row | None) -> dict[str, Any] | None:
    """Whether curation was applied and why, what it changed, and what it turned away."""
    if not row:
        return None
    before, after = row.get("before") or {}, row.get("after") or {}
    changes = [
        (name.replace("_", " "), figure(number(before, name)), figure(number(after, name)))
        for name in {**before, **after}
    ]
    counts = {str(k): int(v) for k, v in (row.get("reasons") or {}).items() if isinstance(v, int)}
    most = max(counts.values(), default=0) or 1
    reasons = [
        {
            "name": "not needed" if k == SPARE else k,
            "n": f"{n:,}",
            "why": REASONS.get(k, ""),
            "bar": Markup(figures.bar(n / most, "b")),
        }
        for k, n in sorted(counts.items(), key=lambda kv: -kv[1])
    ]
    rate = number(row, "accept_rate")
    return {
        "applied": bool(row.get("applied")),
        "why": sentence(str(row.get("why") or "")),
        "missing": sum(n for n in (row.get("missing") or {}).values() if isinstance(n, int)),
        "rate": None if rate is None else f"{100 * rate:.0f} %",
        "changes": changes,
        "reasons": reasons,
    }


def training_curves(log: Sequence[Row]) -> list[dict[str, Any]]:
    """One small figure for each group of quantities that the log holds."""
    rows = _in_order(log)
    by_samples = any(number(r, "samples_seen") is not None for r in rows)
    key, x_label = ("samples_seen", "samples seen") if by_samples else ("step", "step")
    out = []
    for title, y_label, names, unit_range in PANELS:
        series = [_series(rows, key, name, label, look) for (name, label), look in zip(names, "abc", strict=False)]
        kept = [s for s in series if len(s.xs) > 1]
        if kept:
            drawn = figures.curves(kept, title=title, x_label=x_label, y_label=y_label, unit_range=unit_range)
            out.append({"title": title, "figure": Markup(drawn)})
    return out


def remarks(journal: str) -> list[str]:
    """What was told in words while it trained, each kind once, in its last wording, with the steps at which it was told.

    Args:
        journal: the text of ``log.txt``.
    """
    found: dict[str, tuple[list[int], str]] = {}
    for step, text in re.findall(r"^\S+  step (\d+): (.+)$", journal, re.MULTILINE):
        kind = text.partition(":")[0]
        steps = [*found.get(kind, ([], ""))[0], int(step)]
        found[kind] = steps, text
    return [
        f"Step {steps[0]}: {text}."
        if len(steps) == 1
        else f"{len(steps)} times, at steps {steps[0]} to {steps[-1]}: {text}."
        for steps, text in found.values()
    ]


def _in_order(log: Sequence[Row]) -> list[Row]:
    """By step; what a resumed run wrote again replaces what was there, key by key."""
    merged: dict[float, dict[str, Any]] = {}
    for row in log:
        if (step := number(row, "step")) is not None:
            merged.setdefault(step, {}).update(row)
    return [merged[step] for step in sorted(merged)]


def _series(rows: list[Row], x: str, y: str, label: str, look: str) -> figures.Series:
    points = [(a, b) for r in rows if (a := number(r, x)) is not None and (b := number(r, y)) is not None]
    return figures.Series(label, look, tuple(a for a, _ in points), tuple(b for _, b in points))


def data(files: Files, choices: Row) -> dict[str, Any] | None:
    """Samples a class and part, what was inferred and why, and what was left out."""
    inferred = [
        {"name": str(name).replace("_", " "), "value": _plain(c.get("value")), "reason": str(c.get("reason", ""))}
        for name, c in choices.items()
    ]
    skipped = list(files.state.get("skipped") or ())
    counts = _counts(files.split)
    return {"counts": counts, "inferred": inferred, "skipped": skipped} if counts or inferred or skipped else None


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {_plain(v)}" for k, v in value.items())
    return (", ".join(map(_plain, value)) or "none") if isinstance(value, (list, tuple)) else str(value)


def _counts(split: Sequence[Mapping[str, str]]) -> dict[str, Any] | None:
    """Samples by class (rows) and part (columns); of the first fold where there are several (``fold_0``, ``fold_1`` ...)."""
    folds = sorted(k for k in (split[0] if split else ()) if k.startswith("fold_"))
    column = folds[0] if folds else "part"
    rows = [(r.get("label") or "(no label)", r[column]) for r in split if r.get(column)]
    if not rows:
        return None
    parts = sorted({part for _, part in rows}, key=lambda p: (PARTS.index(p) if p in PARTS else len(PARTS), p))
    tally = Counter(rows)
    sums = Counter(label for label, _ in rows)
    most = max(sums.values())
    body = [
        {"name": k, "cells": [tally[k, p] for p in parts], "sum": sums[k], "bar": Markup(figures.bar(sums[k] / most))}
        for k in sorted(sums, key=_by_number)
    ]
    total = [sum(tally[k, p] for k in sums) for p in parts]
    return {"parts": parts, "rows": body, "total": total, "sum": len(rows), "num_folds": len(folds)}


def _by_number(name: str) -> tuple[bool, int, str]:
    """Numbers first and by size, so that class 10 comes after class 9."""
    return not name.isdecimal(), int(name) if name.isdecimal() else 0, name
