"""What verbs give back: a few lines for people, everything for programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from augmint.evaluation.proof import Proof

Progress = Callable[[dict[str, Any]], None]


def quiet(event: dict[str, Any]) -> None:
    """The progress of somebody who does not want to see any."""


@dataclass(frozen=True)
class Result:
    """What a verb did.

    Attributes:
        summary: lines for people.
        facts: the same and more for programs.
        out: the folder written, if there is one; report: the page to open.
    """

    summary: list[str]
    facts: dict[str, Any] = field(default_factory=dict)
    out: Path | None = None
    report: Path | None = None
    proof: Proof | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        places = {"out": self.out, "report": self.report}
        found = {k: str(v) for k, v in places.items() if v is not None}
        return {**found, **self.facts, **({"proof": self.proof.to_dict()} if self.proof else {})}


def table_of(proof: Proof) -> list[str]:
    """The verdicts in a sentence each, the figures behind them in a small table, and the advice."""
    reference = next((v["b"] for v in proof.verdicts if v["question"] == "synthetic"), "classic")
    wide = max(len(a["title"]) for a in proof.arms)
    against = {c["a"]: c for c in proof.comparisons}
    against |= {v["a"]: v for v in proof.verdicts if v["question"] == "synthetic"}
    rows = [f"{'':{wide}}  {proof.metric:>8}    against the best classic"]
    for arm in proof.arms:
        told = ""
        if arm["name"] == reference:
            told = "(this one)"
        if arm["name"] in against:
            c = against[arm["name"]]
            told = f"{c['effect']:+5.1f} [{c['ci95'][0]:+.1f}, {c['ci95'][1]:+.1f}]"
        mark = " *" if arm["kind"] == "control" else "  "
        rows.append(f"{arm['title']:{wide}}{mark}{arm['mean']:7.1f} %  {told}")
    return [*proof.sentences, "", *rows, "* a control", "", *proof.advice]
