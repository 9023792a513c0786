"""Verdicts: from the predictions of paired arms to two sentences, the figures behind them, and what to do next."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from augmint.core.errors import UserError
from augmint.core.types import I64
from augmint.evaluation.lift import Arm, Regime, best_classic
from augmint.evaluation.paired import Effect, Needed, Resamples, holm, needed, smallest_provable

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["HELPS", "NO DIFFERENCE", "HURTS", "NOT ENOUGH EVIDENCE", "NO TASK"]
Question = Literal["classic", "synthetic"]

_SUBJECT = {"classic": "classic augmentation", "synthetic": "adding the synthetic samples"}
_SCOPES = {"set": "this generator on this data", "method": "this method on this data"}


@dataclass(frozen=True)
class Proof:
    """Every number, interval and verdict of an experiment. Accuracies in percent, effects in points."""

    regime: str
    scope: str
    metric: str
    margin: float
    num_seeds: int
    num_test: int
    share: float
    share_reason: str
    smallest_provable: float
    arms: list[dict[str, Any]] = field(default_factory=list)
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    comparisons: list[dict[str, Any]] = field(default_factory=list)
    per_class: list[dict[str, Any]] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    registered: dict[str, Any] = field(default_factory=dict)

    @property
    def table(self) -> pd.DataFrame:
        """One row an arm: name, title, kind, mean, low, high, cost_s."""
        import pandas as pd

        rows = [
            {**{k: a[k] for k in ("name", "title", "kind", "mean", "cost_s")}, "ci95": a["ci95"]} for a in self.arms
        ]
        frame = pd.DataFrame(rows, columns=["name", "title", "kind", "mean", "ci95", "cost_s"])
        frame[["low", "high"]] = frame["ci95"].to_list() if len(frame) else np.zeros((0, 2))
        return frame[["name", "title", "kind", "mean", "low", "high", "cost_s"]]

    def verdict(self, question: Question) -> Verdict | None:
        """The verdict on ``classic`` or ``synthetic``; ``None`` if that was not asked."""
        return next((v["verdict"] for v in self.verdicts if v["question"] == question), None)

    @property
    def sentences(self) -> list[str]:
        """Each verdict in one sentence."""
        return [v["sentence"] for v in self.verdicts]

    def to_dict(self) -> dict[str, Any]:
        """Plain values: what ``eval/proof.json`` holds."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Proof:
        """
        Raises:
            UserError: if a field is missing or unknown.
        """
        try:
            return cls(**found)
        except TypeError as error:
            raise UserError(f"this is not a proof: {error}", mend="run `augmint prove` again") from None


def decide(ci95: tuple[float, float], margin: float) -> Verdict:
    """The verdict that an interval in points gives; one that touches 0 is not above or below it."""
    low, high = ci95
    if low > 0:
        return "HELPS"
    if high < 0:
        return "HURTS"
    return "NO DIFFERENCE" if -margin <= low and high <= margin else "NOT ENOUGH EVIDENCE"


def questions(arms: Sequence[Arm], regime: Regime) -> list[tuple[Question, str, str]]:
    """The primary comparisons ``(question, arm, against)`` that these arms can answer; fixed before anything is seen."""
    names = {a.name for a in arms}
    asked: list[tuple[Question, str, str]] = [
        ("classic", "classic", "real"),
        ("synthetic", "synthetic", best_classic(regime)),
    ]
    return [q for q in asked if {q[1], q[2]} <= names]


def register(arms: Sequence[Arm], test_y: I64, *, regime: Regime, margin: float, num_seeds: int) -> dict[str, Any]:
    """What will be compared and by which rule, with the time and a hash: to be written before the test part is opened.

    Hand it to `judge`, which refuses to judge anything else.
    """
    plan = _plan(arms, test_y, regime, margin, num_seeds)
    return {"at": datetime.now(UTC).isoformat(timespec="seconds"), "sha256": _sha256(plan), "plan": plan}


def _plan(arms: Sequence[Arm], test_y: I64, regime: Regime, margin: float, num_seeds: int) -> dict[str, Any]:
    return {
        "primary": [list(q) for q in questions(arms, regime)],
        "arms": [asdict(a) for a in arms],
        "regime": regime,
        "metric": _metric(regime),
        "margin": margin,
        "num_seeds": num_seeds,
        "num_test": len(test_y),
        "rule": "HELPS above 0, HURTS below 0, NO DIFFERENCE inside the margin, else NOT ENOUGH EVIDENCE",
    }


def _sha256(plan: Mapping[str, Any]) -> str:
    return sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()


def _metric(regime: str) -> str:
    return "balanced accuracy" if regime == "imbalance" else "accuracy"


def no_task(why: str, *, regime: str = "closed", margin: float = 1.0) -> Proof:
    """The proof of a data set that poses no task: no labels, or one class."""
    asked: list[Question] = ["classic", "synthetic"]
    verdicts = [
        {"question": q, "a": q, "b": "real" if q == "classic" else "classic", "verdict": "NO TASK", "effect": None}
        | {"ci95": None, "p": None, "needed": None}
        | {"sentence": f"NO TASK: whether {_SUBJECT[q]} helps cannot be tested, for {why}."}
        for q in asked
    ]
    advice = ["Label some samples in two classes or more to have the lift proven."]
    return Proof(regime, _SCOPES["set"], "accuracy", margin, 0, 0, 0.0, "", 100.0, verdicts=verdicts, advice=advice)


def judge(
    predictions: Mapping[str, I64],
    test_y: I64,
    arms: Sequence[Arm],
    *,
    regime: Regime,
    margin: float = 1.0,
    share_reason: str = "",
    scope: Literal["set", "method"] = "set",
    classes: Sequence[str] | None = None,
    costs: Mapping[str, float] | None = None,
    registered: Mapping[str, Any] | None = None,
) -> Proof:
    """Weigh the arms' predictions.

    Args:
        predictions: predicted classes ``[S, N]`` of each arm; of several folds, joined along the test items.
        test_y: true classes ``[N]``.
        margin: points below which a difference does not matter.
        costs: CPU seconds of each arm.
        registered: what `register` gave; anything else than what it announced is refused.

    Raises:
        UserError: fewer than two seeds, shapes that differ, or an experiment that is not the registered one.
    """
    num_seeds = _check(predictions, test_y, arms)
    if registered is not None and registered["sha256"] != _sha256(_plan(arms, test_y, regime, margin, num_seeds)):
        raise UserError("this is not the experiment that was registered", mend="register it, and run it again")
    metric = _metric(regime)
    draws = Resamples(test_y, num_seeds, balanced=metric != "accuracy")
    right = {a.name: predictions[a.name] == test_y for a in arms}
    level = {name: draws.effect(r) for name, r in right.items()}
    asked = questions(arms, regime)
    verdicts = [_verdict(q, a, b, draws.effect(right[a], right[b]), level, metric, margin) for q, a, b in asked]
    proof = Proof(
        regime=regime,
        scope=_SCOPES[scope],
        metric=metric,
        margin=margin,
        num_seeds=num_seeds,
        num_test=len(test_y),
        share=next((a.share for a in arms if a.kind == "synthetic"), 0.0),
        share_reason=share_reason,
        smallest_provable=round(smallest_provable(len(test_y), num_seeds), 2),
        arms=[_arm_row(a, right[a.name], level[a.name], draws, costs or {}) for a in arms],
        verdicts=verdicts,
        comparisons=_secondary(arms, regime, right, draws),
        per_class=_per_class(right, test_y, classes),
        registered={k: registered[k] for k in ("at", "sha256")} if registered else {},
    )
    proof.advice.extend(_advice(proof))
    return proof


def _check(predictions: Mapping[str, I64], test_y: I64, arms: Sequence[Arm]) -> int:
    missing = [a.name for a in arms if a.name not in predictions]
    if missing or not arms:
        raise UserError(f"no predictions of: {', '.join(missing) or 'any arm'}", mend="run all arms first")
    shapes = {predictions[a.name].shape for a in arms}
    if len(shapes) > 1 or next(iter(shapes))[1:] != test_y.shape:
        raise UserError(f"predictions of shapes {sorted(shapes)} for {len(test_y)} test samples")
    num_seeds = int(next(iter(shapes))[0])
    if num_seeds < 2 or not len(test_y):
        raise UserError(
            f"{num_seeds} seed(s) and {len(test_y)} test samples prove nothing", mend="take at least 3 seeds, better 10"
        )
    return num_seeds


# --- rows ------------------------------------------------------------------------------------------------------------


def _arm_row(
    arm: Arm, right: NDArray[np.bool_], level: Effect, draws: Resamples, costs: Mapping[str, float]
) -> dict[str, Any]:
    return {
        "name": arm.name,
        "title": arm.title,
        "kind": arm.kind,
        "mean": round(level.effect, 3),
        "ci95": _pair(level.ci95),
        "per_seed": [round(100 * float(v), 3) for v in right @ draws.weight],
        "cost_s": round(costs[arm.name], 2) if arm.name in costs else None,
        "note": arm.note,
    }


def _pair(ci95: tuple[float, float]) -> list[float]:
    return [round(v, 3) for v in ci95]


def _verdict(
    question: Question, a: str, b: str, found: Effect, level: Mapping[str, Effect], metric: str, margin: float
) -> dict[str, Any]:
    verdict = decide(found.ci95, margin)
    lacking = needed(found, margin) if verdict == "NOT ENOUGH EVIDENCE" else None
    return {
        "question": question,
        "a": a,
        "b": b,
        "verdict": verdict,
        "effect": round(found.effect, 3),
        "ci95": _pair(found.ci95),
        "p": found.p,
        "sentence": _sentence(question, verdict, found, level[b].effect, level[a].effect, metric, margin, lacking),
        "needed": asdict(lacking) if lacking else None,
    }


def _sentence(
    question: Question,
    verdict: Verdict,
    found: Effect,
    before: float,
    after: float,
    metric: str,
    margin: float,
    lacking: Needed | None,
) -> str:
    subject = _SUBJECT[question]
    low, high = found.ci95
    basis = f"95 % interval {low:+.1f} to {high:+.1f}, {found.num_seeds} paired seeds, {found.num_test} test samples"
    change = f"by {abs(found.effect):.1f} points ({before:.1f} % to {after:.1f} %; {basis})"
    match verdict:
        case "HELPS":
            return f"{verdict}: {subject} raises {metric} {change}."
        case "HURTS":
            return f"{verdict}: {subject} lowers {metric} {change}."
        case "NO DIFFERENCE":
            return f"{verdict}: {subject} changes {metric} by less than {margin:g} point(s) either way ({found.effect:+.1f}; {basis})."
        case _:
            what = f"{subject} changes {metric} by {found.effect:+.1f} points, which may be chance ({basis})"
            return f"{verdict}: {what}; {_settle(lacking)}."


def _settle(lacking: Needed | None) -> str:
    seeds, items = (lacking.seeds, lacking.test_items) if lacking else (None, None)
    if seeds:
        return f"about {seeds} seeds would settle it" + (f", or {items:,} test samples" if items else "")
    if items:
        return f"more seeds alone cannot settle it, about {items:,} test samples would"
    if lacking and lacking.both:
        return f"about {lacking.both[0]} seeds on {lacking.both[1]:,} test samples would settle it"
    return "no affordable experiment would settle so small a difference"


def _secondary(
    arms: Sequence[Arm], regime: Regime, right: Mapping[str, NDArray[np.bool_]], draws: Resamples
) -> list[dict[str, Any]]:
    """Every other arm against the best classic, and the synthetic arm against each control; Holm over all of them."""
    best, primary = best_classic(regime), {q[1:] for q in questions(arms, regime)}
    pairs = [(a.name, best) for a in arms if a.kind != "base" and a.name != best and best in right]
    if "synthetic" in right:
        pairs += [("synthetic", a.name) for a in arms if a.kind == "control"]
    found = [(a, b, draws.effect(right[a], right[b])) for a, b in pairs if (a, b) not in primary]
    rows = zip(found, holm([e.p for *_, e in found]), strict=True)
    return [
        {"a": a, "b": b, "effect": round(e.effect, 3), "ci95": _pair(e.ci95), "p": e.p, "p_holm": adjusted}
        for (a, b, e), adjusted in rows
    ]


def _per_class(
    right: Mapping[str, NDArray[np.bool_]], test_y: I64, classes: Sequence[str] | None
) -> list[dict[str, Any]]:
    """Recall of each class in percent, mean over the seeds."""
    rows = []
    for c in np.unique(test_y):
        where = test_y == c
        row: dict[str, Any] = {"class": classes[int(c)] if classes else str(c), "n": int(where.sum())}
        rows.append(row | {name: round(100 * float(r[:, where].mean()), 2) for name, r in right.items()})
    return rows


# --- advice ----------------------------------------------------------------------------------------------------------


def _advice(proof: Proof) -> list[str]:
    return [*_on_use(proof), *_on_pool(proof), *_on_weak_classes(proof)]


def _on_use(proof: Proof) -> list[str]:
    out = []
    for v in proof.verdicts:
        what = "Classic augmentation" if v["question"] == "classic" else "The synthetic samples"
        verb = "is" if v["question"] == "classic" else "are"
        if v["verdict"] != "HELPS":
            out.append(f"{what} {verb} left out of the boosted set: not proven to help here.")
    if proof.regime == "imbalance":
        out.append("With unbalanced classes, try square-root sampling with logit adjustment first: it costs nothing.")
    return out


def _on_pool(proof: Proof) -> list[str]:
    """Where using the pool itself does as well as samples made from it, say so."""
    mean = {a["name"]: a["mean"] for a in proof.arms}
    direct = [a for a in proof.arms if a["name"] in ("consistency", "spread", "spread_trained", "pool_labelled")]
    if not direct:
        return []
    best = max(direct, key=lambda a: float(a["mean"]))
    rival = "synthetic" if "synthetic" in mean else best_classic("pool")
    ahead = best["mean"] - mean[rival]
    if ahead < -proof.margin:
        return []
    how = f"{ahead:.1f} points above" if ahead > 0 else f"within {proof.margin:g} point(s) of"
    return [
        f"Using the pool directly ({best['title']}) reaches {best['mean']:.1f} %, {how} the {rival} arm: "
        "if you can keep the pool at training time, train on it directly."
    ]


def _on_weak_classes(proof: Proof) -> list[str]:
    """Name the class whose recall lies far below the others', if the test part can tell."""
    if not proof.verdicts or len(proof.per_class) < 2:
        return []
    last = proof.verdicts[-1]
    arm = last["a"] if last["verdict"] == "HELPS" else last["b"]
    rows = [r for r in proof.per_class if r["n"] >= 10]
    if len(rows) < 2:
        return []
    weakest = min(rows, key=lambda r: float(r[arm]))
    typical = float(np.median([r[arm] for r in rows]))
    if typical - weakest[arm] < 15:
        return []
    name, recall = weakest["class"], weakest[arm]
    return [
        f"Class '{name}' is the weakest (recall {recall:.0f} %, the median class {typical:.0f} %): label 10 more of it."
    ]
