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
from augmint.core.wording import number_of, signed
from augmint.evaluation.advice import advise
from augmint.evaluation.arms import CNN, Arm, Regime, best_classic
from augmint.evaluation.paired import Effect, Needed, Resamples, holm, needed, smallest_provable
from augmint.evaluation.worth import more_real, share_curve

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["HELPS", "NO DIFFERENCE", "HURTS", "NOT ENOUGH EVIDENCE", "NO TASK"]
Question = Literal["classic", "synthetic"]
Scope = Literal["set", "method"]

_SUBJECT = {"classic": "classic augmentation", "synthetic": "adding the synthetic samples"}
_SCOPES: dict[Scope, str] = {
    "set": "this synthetic set on this data",
    "method": "generators trained this way on this data, one a seed",
}


@dataclass(frozen=True)
class Proof:
    """Every number, interval and verdict of an experiment. Accuracies in percent, effects in points.

    ``more_real``: see `worth.more_real`; ``share_curve``: accuracy at each synthetic share; ``probe``: what was trained.
    """

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
    more_real: dict[str, Any] | None = None
    share_curve: list[dict[str, Any]] = field(default_factory=list)
    probe: str = CNN

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

    @property
    def summary(self) -> list[str]:
        """Lines for people: the verdicts in a sentence each, the figures behind them in a small table, and the advice."""
        reference = next((v["b"] for v in self.verdicts if v["question"] == "synthetic"), "classic")
        wide = max(len(a["title"]) for a in self.arms)
        against = {c["a"]: c for c in self.comparisons}
        against |= {v["a"]: v for v in self.verdicts if v["question"] == "synthetic"}
        rows = [f"{'':{wide}}  {self.metric:>8}    against the best classic"]
        for arm in self.arms:
            told = ""
            if arm["name"] == reference:
                told = "(this one)"
            if arm["name"] in against:
                c = against[arm["name"]]
                low, high = signed(*c["ci95"])
                told = f"{c['effect']:+5.1f} [{low}, {high}]"
            mark = " *" if arm["kind"] == "control" else "  "
            rows.append(f"{arm['title']:{wide}}{mark}{arm['mean']:7.1f} %  {told}")
        return [*self.sentences, "", *rows, "* a control", "", *self.advice]

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


def register(
    arms: Sequence[Arm],
    test_y: I64,
    *,
    regime: Regime,
    margin: float,
    num_seeds: int,
    probe: str = CNN,
    scope: Scope = "set",
) -> dict[str, Any]:
    """What will be compared and by which rule, with the time and a hash: to be written before the test part is opened.

    Hand it to `judge`, which refuses to judge anything else.
    """
    plan = _plan(arms, test_y, regime, margin, num_seeds, probe, scope)
    return {"at": datetime.now(UTC).isoformat(timespec="seconds"), "sha256": _sha256(plan), "plan": plan}


def _plan(
    arms: Sequence[Arm], test_y: I64, regime: Regime, margin: float, num_seeds: int, probe: str, scope: Scope
) -> dict[str, Any]:
    return {
        "scope": _SCOPES[scope],
        "primary": [list(q) for q in questions(arms, regime)],
        "arms": [asdict(a) for a in arms],
        "probe": probe,
        "regime": regime,
        "metric": _metric(regime),
        "margin": margin,
        "num_seeds": num_seeds,
        "num_test": len(test_y),
        "rule": "HELPS above 0, HURTS below 0, NO DIFFERENCE inside the margin, else NOT ENOUGH EVIDENCE",
    }


def _sha256(plan: Mapping[str, Any]) -> str:
    return sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()


def is_balanced(regime: str) -> bool:
    """Whether every class weighs the same in this regime's metric, whatever its number of test samples."""
    return regime == "imbalance"


def _metric(regime: str) -> str:
    return "balanced accuracy" if is_balanced(regime) else "accuracy"


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


@dataclass(frozen=True)
class Told:
    """What a proof reports beside its figures; no verdict depends on it.

    Attributes:
        classes: names of the classes.
        costs: CPU seconds of each arm.
        labelled: labelled training samples of each class ``[K]``, by arm: of the best classic one, and of those with fewer.
    """

    share_reason: str = ""
    classes: Sequence[str] | None = None
    costs: Mapping[str, float] = field(default_factory=dict)
    labelled: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def judge(
    predictions: Mapping[str, I64],
    test_y: I64,
    arms: Sequence[Arm],
    *,
    regime: Regime,
    margin: float = 1.0,
    scope: Scope = "set",
    probe: str = CNN,
    registered: Mapping[str, Any] | None = None,
    told: Told | None = None,
) -> Proof:
    """Weigh the arms' predictions.

    Args:
        predictions: predicted classes ``[S, N]`` of each arm; of several folds, joined along the test items.
        test_y: true classes ``[N]``.
        margin: points below which a difference does not matter.
        registered: what `register` gave; anything else than what it announced is refused.
        told: what is reported beside the figures.

    Raises:
        UserError: fewer than two seeds, shapes that differ, or an experiment that is not the registered one.
    """
    num_seeds, told = _check(predictions, test_y, arms), told or Told()
    if registered is not None and registered["sha256"] != _sha256(
        _plan(arms, test_y, regime, margin, num_seeds, probe, scope)
    ):
        raise UserError("this is not the experiment that was registered", mend="register it, and run it again")
    metric = _metric(regime)
    draws = Resamples(test_y, num_seeds, balanced=metric != "accuracy")
    right = {a.name: predictions[a.name] == test_y for a in arms}
    table, best = [a for a in arms if not a.curve], best_classic(regime)
    level = {a.name: draws.effect(right[a.name]) for a in table}
    asked = questions(arms, regime)
    verdicts = [_verdict(q, a, b, draws.effect(right[a], right[b]), level, metric, margin, scope) for q, a, b in asked]
    comparisons, at_share = _secondary(arms, regime, right, draws)
    curve = share_curve(arms, right, draws, best=best)
    proof = Proof(
        regime=regime,
        scope=_SCOPES[scope],
        metric=metric,
        margin=margin,
        num_seeds=num_seeds,
        num_test=len(test_y),
        share=next((a.share for a in arms if a.kind == "synthetic"), 0.0),
        share_reason=told.share_reason,
        smallest_provable=round(smallest_provable(len(test_y), num_seeds), 2),
        arms=[_arm_row(a, right[a.name], level[a.name], draws, told.costs) for a in table],
        verdicts=verdicts,
        comparisons=comparisons,
        per_class=_per_class({a.name: right[a.name] for a in table}, test_y, told.classes),
        registered={k: registered[k] for k in ("at", "sha256")} if registered else {},
        more_real=more_real(arms, right, draws, best=best, labelled=told.labelled),
        share_curve=[row | at_share.get(row["share"], {}) for row in curve],
        probe=probe,
    )
    if verdicts:
        used = verdicts[-1]["a"] if verdicts[-1]["verdict"] == "HELPS" else verdicts[-1]["b"]
        proof.advice.extend(advise(proof, _recalls(right[used], test_y, told.classes, told.labelled.get(best))))
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
            f"{number_of(num_seeds, 'seed')} and {number_of(len(test_y), 'test sample')} prove nothing",
            mend="take at least 3 seeds, better 10",
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
    question: Question,
    a: str,
    b: str,
    found: Effect,
    level: Mapping[str, Effect],
    metric: str,
    margin: float,
    scope: Scope,
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
        "sentence": _sentence(
            question, verdict, found, level[b].effect, level[a].effect, metric, margin, lacking, scope
        ),
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
    scope: Scope,
) -> str:
    subject = _SUBJECT[question]
    low, high = signed(*_pair(found.ci95))
    basis = f"95 % interval {low} to {high}, {found.num_seeds} paired seeds, {found.num_test} test samples"
    basis += f"; {_SCOPES[scope]}" if question == "synthetic" else ""
    change = f"by {abs(found.effect):.1f} points ({before:.1f} % to {after:.1f} %; {basis})"
    match verdict:
        case "HELPS":
            return f"{verdict}: {subject} raises {metric} {change}."
        case "HURTS":
            return f"{verdict}: {subject} lowers {metric} {change}."
        case "NO DIFFERENCE":
            return f"{verdict}: {subject} changes {metric} by less than {number_of(margin, 'point')} either way ({found.effect:+.1f}; {basis})."
        case _:
            what = f"{subject} changes {metric} by {found.effect:+.1f} points, which may be chance ({basis})"
            return f"{verdict}: {what}; {_settle(lacking)}."


def _settle(lacking: Needed | None) -> str:
    seeds, items = (lacking.seeds, lacking.test_items) if lacking else (None, None)
    if seeds:
        return f"about {seeds} seeds would settle it" + (f", or {items:,} test samples" if items else "")
    if items:
        return f"more seeds cannot settle it on so small a test part, which would need about {items:,} samples"
    if lacking and lacking.both:
        return f"to settle it would take about {lacking.both[0]} seeds and a test part of about {lacking.both[1]:,} samples"
    return "no affordable experiment of this kind would settle it"


def _secondary(
    arms: Sequence[Arm], regime: Regime, right: Mapping[str, NDArray[np.bool_]], draws: Resamples
) -> tuple[list[dict[str, Any]], dict[float, dict[str, Any]]]:
    """Every other arm against the best classic, and the synthetic arm against each control and the reals alone; Holm over all.

    Other shares are in the same family, and come apart by their share.
    """
    best, primary = best_classic(regime), {q[1:] for q in questions(arms, regime)}
    share_of = {a.name: a.share for a in arms if a.curve == "share"}
    others = [a for a in arms if a.kind != "base" and a.name != best and a.curve != "reals"]
    pairs = [(a.name, best) for a in others if best in right]
    if "synthetic" in right:
        alone = [a for a in arms if a.kind == "base"]
        pairs += [("synthetic", a.name) for a in [*alone, *(a for a in others if a.kind == "control")]]
    found = [(a, b, draws.effect(right[a], right[b])) for a, b in pairs if (a, b) not in primary]
    rows, at_share = [], dict[float, dict[str, Any]]()
    for (a, b, e), adjusted in zip(found, holm([e.p for *_, e in found]), strict=True):
        numbers = {"effect": round(e.effect, 3), "p": e.p, "p_holm": adjusted}
        if a in share_of:
            at_share[share_of[a]] = numbers | {"effect_ci95": _pair(e.ci95)}
        else:
            rows.append({"a": a, "b": b, "ci95": _pair(e.ci95), **numbers})
    return rows, at_share


def _recalls(
    right: NDArray[np.bool_], test_y: I64, classes: Sequence[str] | None, labelled: NDArray[Any] | None
) -> list[dict[str, Any]]:
    """Recall with its interval, of each class with 10 test samples or more."""
    rows = []
    for c in np.unique(test_y):
        where = np.flatnonzero(test_y == c)
        if len(where) >= 10:
            found = Resamples(test_y[where], len(right)).effect(right[:, where])
            count = int(labelled[c]) if labelled is not None and c < len(labelled) else None
            name = classes[int(c)] if classes else str(c)
            rows.append({"class": name, "recall": found.effect, "ci95": found.ci95, "labelled": count})
    return rows


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
