"""Closer looks at the proof: paired seeds, accuracy against share and against more reals, recall a class, and the order of events."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from markupsafe import Markup

from augmint.report import plots
from augmint.report.figures import interval, signed
from augmint.report.numbers import NOTHING, Row, duration, moment, number, pair, sentence
from augmint.report.terms import Terms

MAX_CLASSES = 60
FEW_TESTED = 30
QUESTIONS = {"classic": "Classic augmentation, seed by seed", "synthetic": "Synthetic samples, seed by seed"}


def slopes(row: Row, arms: Sequence[Row], *, same: str) -> list[dict[str, Any]]:
    """One figure a verdict whose two arms have results of the same seeds; ``same``: what those of a seed have in common."""
    by_name = {a["name"]: a for a in arms}
    out = []
    for verdict in row.get("verdicts") or ():
        a, b = by_name.get(verdict.get("a")), by_name.get(verdict.get("b"))
        ours, theirs = _seeds(a), _seeds(b)
        if a is None or b is None or len(ours) < 2 or len(ours) != len(theirs):
            continue
        drawn = plots.slopes(theirs, ours, names=(_title(b), _title(a)), y_label=f"{row.get('metric', 'accuracy')}, %")
        rising = sum(x > y for x, y in zip(ours, theirs, strict=True))
        question = str(verdict.get("question", ""))
        out.append(
            {
                "title": QUESTIONS.get(question, question),
                "figure": Markup(drawn),
                "note": f"{rising} of {len(ours)} seeds rise. A line is one seed: {same}.",
            }
        )
    return out


def _seeds(arm: Row | None) -> list[float]:
    return [float(v) for v in (arm or {}).get("per_seed") or () if isinstance(v, (int, float))]


def _title(arm: Row) -> str:
    return str(arm.get("title") or arm["name"])


def shares(row: Row) -> dict[str, Any] | None:
    """Accuracy against the synthetic share of a batch; the share that was set beforehand is marked."""
    points = _points(row.get("share_curve"), "share", 100.0)
    if len(points) < 2:
        return None
    metric, fixed = str(row.get("metric", "accuracy")), number(row, "share")
    drawn = plots.response(
        points,
        title=f"{metric} in percent against the synthetic share of a batch, with 95 % intervals",
        x_label="synthetic share of a batch, %",
        y_label=f"{metric}, %",
        mark=None if fixed is None else (100 * fixed, "set beforehand"),
    )
    return {"figure": Markup(drawn)}


def more_real(row: Row, arms: Sequence[Row]) -> dict[str, Any] | None:
    """What more reals would have brought, and how many of them the synthetic samples are worth."""
    found: Row = row.get("more_real") or {}
    points, why = _points(found.get("points"), "num_real"), str(found.get("why") or "")
    if len(points) < 2:
        return {"figure": None, "told": "", "why": sentence(why), "doubling": ""} if why else None
    metric = str(row.get("metric", "accuracy"))
    arm = next((a for a in arms if a["name"] == "synthetic" and number(a, "mean") is not None), None)
    level = None if arm is None else plots.Level(_title(arm), number(arm, "mean") or 0.0, pair(arm.get("ci95")))
    now, more = max(p.x for p in points), number(found.get("worth") or {}, "k") or 0.0
    more *= len(row.get("per_class") or ()) if (found.get("worth") or {}).get("per_class") else 1
    drawn = plots.response(
        points,
        title=f"{metric} in percent against the number of labelled reals, with 95 % intervals",
        x_label="labelled reals in training, classic augmentation",
        y_label=f"{metric}, %",
        level=level,
        mark=(now + more, "worth as many") if more > 0 and level is not None else None,
    )
    doubling: Row = found.get("doubling") or {}
    effect, ci95 = number(doubling, "effect"), pair(doubling.get("ci95"))
    twice = (
        ""
        if effect is None
        else f"As many labels again would bring about {signed(effect, 1)} points {interval(ci95, 1)}".rstrip()
    )
    return {"figure": Markup(drawn), "told": worth(row), "why": sentence(why), "doubling": sentence(twice)}


def worth(row: Row) -> str:
    """``worth about 6 more labelled samples a class [3.1, 9.4]``; nothing where the proof has no such number."""
    found: Row = (row.get("more_real") or {}).get("worth") or {}
    k, ci95 = number(found, "k"), pair(found.get("ci95"))
    if k is None or k <= 0:
        return ""
    told = (
        f"worth about {k:,.{0 if k >= 10 else 1}f} more labelled samples{' a class' if found.get('per_class') else ''}"
    )
    return f"{told} {interval(ci95, 1)}".rstrip()


def _points(rows: Any, x: str, times: float = 1.0) -> list[plots.Point]:
    found = [(number(r, x), number(r, "mean"), pair(r.get("ci95"))) for r in rows or ()]
    return [plots.Point(times * a, mean, ci95) for a, mean, ci95 in found if a is not None and mean is not None]


# -- classes -----------------------------------------------------------------------------------------------------------


def per_class(row: Row, arms: Sequence[Row]) -> dict[str, Any] | None:
    """Recall a class of the arms that the verdicts name, and the change that the last question is about.

    The classes with the largest changes, where there are more than 60.
    """
    rows: list[Row] = list(row.get("per_class") or ())
    shown = [a for a in _asked(row, arms) if any(a["name"] in r for r in rows)]
    if not rows or not shown:
        return None
    last = _last_question(row, {a["name"] for a in shown})
    names = (str(last["b"]), str(last["a"])) if last else (shown[0]["name"], shown[-1]["name"])
    total = len(rows)
    if total > MAX_CLASSES:
        keep = sorted(range(total), key=lambda i: -abs(_change(rows[i], names) or 0.0))[:MAX_CLASSES]
        rows = [rows[i] for i in sorted(keep)]
    low = min((v for r in rows for n in names if (v := number(r, n)) is not None), default=0.0)
    scale = (min(90.0, 10.0 * (low // 10)), 100.0)
    titles = {a["name"]: _title(a) for a in shown}
    changes = [c for r in rows if (c := _change(r, names)) is not None]
    return {
        "arms": list(titles.values()),
        "before": titles.get(names[0], names[0]),
        "after": titles.get(names[1], names[1]),
        "rows": [_class_row(r, shown, names, scale) for r in rows],
        "axis": Markup(plots.dumbbell_axis(scale)),
        "total": total,
        "told": _gains(sum(c > 0 for c in changes), sum(c < 0 for c in changes)),
        "is_thin": any((number(r, "n") or 0) < FEW_TESTED for r in rows),
    }


def _gains(up: int, down: int) -> str:
    return f"{up} {'class gains' if up == 1 else 'classes gain'}, {down} {'loses' if down == 1 else 'lose'}"


def _asked(row: Row, arms: Sequence[Row]) -> list[Row]:
    named = {n for v in row.get("verdicts") or () for n in (v.get("a"), v.get("b"))}
    return [a for a in arms if a["name"] in named]


def _last_question(row: Row, names: set[str]) -> Row | None:
    asked = [v for v in row.get("verdicts") or () if {v.get("a"), v.get("b")} <= names]
    return next((v for v in asked if v.get("question") == "synthetic"), asked[-1] if asked else None)


def _change(row: Row, names: tuple[str, str]) -> float | None:
    before, after = number(row, names[0]), number(row, names[1])
    return None if before is None or after is None else after - before


def _class_row(row: Row, shown: Sequence[Row], names: tuple[str, str], scale: tuple[float, float]) -> dict[str, Any]:
    change, name = _change(row, names), str(row.get("class", ""))
    drawn = ""
    if change is not None:
        before, after = row[names[0]], row[names[1]]
        drawn = plots.dumbbell(before, after, scale, title=f"{name}: recall {before:.1f} to {after:.1f} percent")
    return {
        "name": name,
        "n": row.get("n", ""),
        "cells": [NOTHING if (v := number(row, a["name"])) is None else f"{v:.1f}" for a in shown],
        "change": NOTHING if change is None else signed(change, 1),
        "tone": "" if not change else "up" if change > 0 else "down",
        "figure": Markup(drawn),
    }


# -- what was fixed beforehand -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Written:
    """A file of the run and when it was last written, in seconds since 1970."""

    name: str
    at: float


def registration(
    plan: Row | None, proof: Row | None, predictions: Sequence[Written], terms: Terms
) -> dict[str, Any] | None:
    """The order of events, and what shows that the primary comparisons were fixed before the test part was opened."""
    at = _seconds((plan or {}).get("at"))
    if plan is None or at is None:
        return None
    content: Row = plan.get("plan") or {}
    asked = [f"{terms.arm(q[1])} against {terms.arm(q[2])}" for q in content.get("primary") or () if len(q) == 3]
    events = [
        {
            "at": moment(plan["at"]),
            "what": "comparisons, arms, margin and rule written down",
            "file": "eval/registered.json",
            "after": "",
        }
    ]
    for found in sorted(predictions, key=lambda f: f.at):
        since = duration(found.at - at) + " later" if found.at >= at else duration(at - found.at) + " EARLIER"
        events.append(
            {
                "at": _moment(found.at),
                "what": "predictions for the test part written",
                "file": f"eval/{found.name}",
                "after": since,
            }
        )
    digest = sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    checks = [
        ("The plan's fingerprint, computed again for this page, is the one in the file", digest == plan.get("sha256"))
    ]
    if proof and proof.get("registered"):
        checks.append(
            ("The proof carries that same fingerprint", proof["registered"].get("sha256") == plan.get("sha256"))
        )
    if proof and asked:
        judged = {(v.get("a"), v.get("b")) for v in proof.get("verdicts") or ()}
        checks.append(
            (
                "The verdicts judge what was registered, and nothing else",
                judged == {(q[1], q[2]) for q in content["primary"]},
            )
        )
    if predictions:
        # The registration is told to the second.
        checks.append(
            ("Every file of predictions is younger than the registration", all(int(f.at) >= at for f in predictions))
        )
    return {
        "asked": asked,
        "rule": content.get("rule"),
        "sha256": str(plan.get("sha256", "")),
        "events": events,
        "checks": [{"what": what, "holds": holds} for what, holds in checks],
        "holds": all(holds for _, holds in checks),
    }


def _seconds(told: Any) -> float | None:
    try:
        return datetime.fromisoformat(str(told)).timestamp()
    except ValueError:
        return None


def _moment(seconds: float) -> str:
    return moment(datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds"))
