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
