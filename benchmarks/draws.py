"""The main job on several independent draws of a data set: what the benchmarks of ``boost`` share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tables import cpu_seconds, over_draws

from augmint.core.run import read_json
from augmint.evaluation.proof import Proof
from augmint.verbs import boost

Row = dict[str, Any]
Write = Callable[[Path], tuple[Path, Path | None]]
"""An empty folder to the data set and the pool (or none) that it writes there."""


def boosted(write: Write, *, draw: int, **settings: Any) -> tuple[Proof, Row]:
    """The main job through the Python API; the proof, and what it cost."""
    with TemporaryDirectory() as scratch:
        home = Path(scratch)
        data, pool = write(home)
        cpu, wall = cpu_seconds(), time.perf_counter()
        result = boost(data, out=home / "boosted", unlabelled=pool, seed=draw, **settings)
        cost = {"wall_s": time.perf_counter() - wall, "cpu_s": cpu_seconds() - cpu}
        assert result.proof is not None
        choices = read_json(home / "boosted.run" / "choices.json")
    steps = {k: choices[k]["value"] for k in ("stage_1_steps", "steps", "probe_steps") if k in choices}
    return result.proof, {**cost, **steps}


def verdicts(draw: int, proof: Proof, cost: Row) -> list[Row]:
    """One row a question."""
    rows = []
    for v in proof.verdicts:
        row = {"draw": draw, "question": f"{v['a']} against {v['b']}", "verdict": v["verdict"], "effect": v["effect"]}
        low, high = v["ci95"]
        rows.append({**row, "low": low, "high": high, "p": v["p"], "seeds": proof.num_seeds, **cost})
    return rows


def asked(proofs: Sequence[Proof], question: str) -> list[Row]:
    """The verdicts on one question, draw by draw."""
    return [v for p in proofs for v in p.verdicts if v["question"] == question]


def told(found: Sequence[Row]) -> str:
    return ", ".join(f"{v['verdict']} {v['effect']:+.2f}" for v in found)


def levels(proofs: Sequence[Proof], numbers: Sequence[int]) -> list[Row]:
    """Accuracy of every arm in every draw, %."""
    return [
        {"arm": a["title"], "kind": a["kind"], **{f"draw {n}": _level(p, a["name"]) for n, p in zip(numbers, proofs, strict=True)}}
        for a in proofs[0].arms
    ]  # fmt: skip


def against(proofs: Sequence[Proof], base: str) -> list[Row]:
    """What every arm adds to one of them over the draws, in points: mean and t interval."""
    rows = []
    for arm in proofs[0].arms:
        pairs = [(_level(p, arm["name"]), _level(p, base)) for p in proofs]
        effects = [a - b for a, b in pairs if a is not None and b is not None]
        if arm["name"] != base and len(effects) == len(proofs):
            mean, low, high = over_draws(effects)
            rows.append({"arm": arm["title"], "kind": arm["kind"], "points": mean, "low": low, "high": high})
    return rows


def _level(proof: Proof, name: str) -> float | None:
    return next((a["mean"] for a in proof.arms if a["name"] == name), None)
