"""The proof as the report tells it: verdict cards, forest plot, table of arms, recall a class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from augmint.report import figures
from augmint.report.evidence import more_real, per_class, shares, slopes, worth
from augmint.report.figures import interval, signed
from augmint.report.numbers import NOTHING, Row, duration, number, p_value, pair, sentence
from augmint.report.terms import Terms

TONES = {"HELPS": "good", "HURTS": "bad", "NO DIFFERENCE": "even", "NOT ENOUGH EVIDENCE": "open", "NO TASK": "none"}
QUESTIONS = {
    "classic": "Classic augmentation against none",
    "synthetic": "Synthetic samples against the best classic",
}
KINDS = {"base": "no augmentation", "classic": "classic", "synthetic": "synthetic", "control": "control"}
OF_SET = "this set on this data"


def verdicts(proof: Row | None, *, verb: str = "", num_classes: int = 0) -> list[dict[str, Any]]:
    """The verdict cards; one that says why there is none where nothing was proven."""
    if proof is None or not proof.get("verdicts"):
        return [_no_verdict(is_no_task=verb == "boost" and num_classes < 2)]
    return [_verdict(v, proof) for v in proof["verdicts"]]


def _no_verdict(*, is_no_task: bool) -> dict[str, Any]:
    nothing = "nothing here shows that the samples make a model better"
    if is_no_task:
        word = "NO TASK"
        sentence = f"A lift takes a task, and a task takes labels of two classes or more. Samples were made and scored; {nothing}."
    else:
        word = "NOT PROVEN"
        sentence = f"This run made no proof: {nothing}. To test them: augmint prove REAL SYNTHETIC."
    return {
        "question": "Does it help?",
        "word": word,
        "tone": "none",
        "sentence": sentence,
        "facts": [],
        "needed": "",
        "worth": "",
    }


def _verdict(row: Row, proof: Row) -> dict[str, Any]:
    effect, ci95, word = number(row, "effect"), pair(row.get("ci95")), str(row.get("verdict", ""))
    question = str(row.get("question", ""))
    card: dict[str, Any] = {
        "question": QUESTIONS.get(question, question),
        "word": word,
        "tone": TONES.get(word, "none"),
        # The word stands above the sentence already.
        "sentence": sentence(str(row.get("sentence", "")).removeprefix(f"{row.get('verdict')}: ")),
        "facts": _facts(row, proof) if effect is not None else [],
        "needed": _needed(row.get("needed")),
        "worth": sentence(worth(proof)) if question == "synthetic" and word == "HELPS" else "",
    }
    if effect is not None:
        card |= {"effect": signed(effect), "interval": interval(ci95)}
    if effect is not None and ci95 is not None:
        title = f"{word}: {signed(effect)} points, 95 % interval {interval(ci95)}"
        card["bar"] = Markup(figures.effect_bar(effect, ci95, margin=_margin(proof), title=title))
    return card


def _facts(row: Row, proof: Row) -> list[str]:
    """The p, and what chance it and the interval allow for."""
    counts = ((proof.get("num_seeds"), "paired seeds"), (proof.get("num_test"), "test samples"))
    told = " and ".join(f"{n:,} {what}" for n, what in counts if isinstance(n, int))
    p = p_value(number(row, "p"))
    return [
        f
        for f in (p, f"over {told}: {'p and interval cover' if p else 'the interval covers'} both" if told else "")
        if f
    ]


def _margin(proof: Row) -> float:
    return number(proof, "margin") or 1.0


def _needed(value: Any) -> str:
    """``To settle it: about 20 paired seeds, or about 640 test samples``."""
    if not isinstance(value, Mapping):
        return ""
    seeds, items, both = (value.get(k) for k in ("seeds", "test_items", "both"))
    ways = [f"about {n:,} {what}" for n, what in ((seeds, "paired seeds"), (items, "test samples")) if n]
    if both and not ways:
        ways = [f"about {both[0]:,} paired seeds and {both[1]:,} test samples together"]
    return "To settle it: " + ", or ".join(ways) if ways else ""


def proof(row: Row | None, terms: Terms) -> dict[str, Any] | None:
    """Forest plot, table of arms, and the closer looks: seeds, shares, more reals, classes."""
    arms: list[Row] = list((row or {}).get("arms") or ())
    if row is None or len(arms) < 2:
        return None
    base = _reference(row, arms)
    metric, margin = str(row.get("metric", "accuracy")), _margin(row)
    primary = {v.get("a") for v in row.get("verdicts") or ()}
    arms.sort(key=lambda a: list(KINDS).index(a["kind"]) if a.get("kind") in KINDS else 0)
    drawn = [_arm(a, base, row, is_primary=a["name"] in primary) for a in arms]
    title = _title(base)
    forests = [
        Markup(figures.forest(drawn, margin=margin, metric=metric, reference=title, narrow=narrow))
        for narrow in (False, True)
    ]
    return {
        "forests": forests,
        "reference": title,
        "metric": metric,
        "margin": _short(margin),
        "kinds": {a.kind for a in drawn},
        "arms": [_arm_row(a, d, _comparison(row, a["name"], base["name"])) for a, d in zip(arms, drawn, strict=True)],
        "per_class": per_class(row, arms),
        "pairing": terms.pairing,
        "slopes": slopes(row, arms, same=terms.seed),
        "shares": shares(row),
        "more_real": more_real(row, arms),
        "terms": _terms(row, terms),
    }


def _short(value: float) -> str:
    return f"{value:g}"


def _title(arm: Row) -> str:
    return str(arm.get("title") or arm["name"])


def _reference(row: Row, arms: list[Row]) -> Row:
    """The best classic arm: what the synthetic verdict compares with, else the best of the classic kind."""
    wanted = next((v.get("b") for v in row.get("verdicts") or () if v.get("question") == "synthetic"), None)
    named = next((a for a in arms if a["name"] == wanted), None)
    classic = [a for a in arms if a.get("kind") == "classic"] or arms
    return named or max(classic, key=lambda a: number(a, "mean") or -math.inf)


def _comparison(row: Row, a: str, b: str) -> dict[str, Any] | None:
    """The difference a - b as the proof has it, turned round where it has b - a; a verdict before a secondary comparison."""
    for found in (*(row.get("verdicts") or ()), *(row.get("comparisons") or ())):
        effect, ci95 = number(found, "effect"), pair(found.get("ci95"))
        if effect is None or {found.get("a"), found.get("b")} != {a, b} or a == b:
            continue
        if found.get("a") == b:
            effect, ci95 = -effect, (-ci95[1], -ci95[0]) if ci95 else None
        p = number(found, "p_holm")
        return {"effect": effect, "ci95": ci95, "p": p if p is not None else number(found, "p")}
    return None


def _arm(arm: Row, base: Row, row: Row, *, is_primary: bool) -> figures.Arm:
    same = arm["name"] == base["name"]
    found = _comparison(row, arm["name"], base["name"])
    ours, theirs = arm.get("per_seed") or (), base.get("per_seed") or ()
    paired = len(ours) == len(theirs) and not same
    seeds = tuple(a - b for a, b in zip(ours, theirs, strict=True)) if paired else ()
    kind = arm["kind"] if arm.get("kind") in KINDS else "base"
    effect = found["effect"] if found else (number(arm, "mean") or 0.0) - (number(base, "mean") or 0.0)
    return figures.Arm(_title(arm), kind, effect, found["ci95"] if found else None, seeds, same, is_primary)


def _arm_row(arm: Row, drawn: figures.Arm, found: Mapping[str, Any] | None) -> dict[str, Any]:
    mean, ci95 = number(arm, "mean"), pair(arm.get("ci95"))
    seconds, p = number(arm, "cost_s"), None if found is None else found["p"]
    return {
        "title": drawn.title,
        "kind": KINDS.get(drawn.kind, drawn.kind),
        "mean": NOTHING if mean is None else f"{mean:.2f}",
        "ci95": interval(ci95),
        "effect": drawn.numbers,
        "p": p_value(p).removeprefix("p = ").removeprefix("p "),
        "cost": NOTHING if seconds is None else duration(seconds),
        "note": str(arm.get("note") or ""),
        "is_primary": drawn.is_primary or drawn.is_reference,
    }


def _terms(row: Row, words: Terms) -> list[tuple[str, str]]:
    """The terms of the experiment, fixed before it ran."""
    terms = [("Regime", str(row["regime"]))] if row.get("regime") else []
    if row.get("scope"):
        terms.append(("Scope", OF_SET if words.is_foreign else str(row["scope"])))
    if (smallest := number(row, "smallest_provable")) is not None:
        terms.append(("Lift that is found four times in five", f"{smallest:.2f} points"))
    if (share := number(row, "share")) is not None:
        reason = f": {row['share_reason']}" if row.get("share_reason") else ""
        terms.append(("Synthetic share of a batch", f"{100 * share:.0f} %{reason}"))
    if row.get("probe"):
        terms.append(("Probe", words.probe_told))
    return terms
