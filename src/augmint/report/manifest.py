"""What the run cost, and all that somebody needs to make it again and to see that it came out the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from markupsafe import Markup

from augmint.report import figures
from augmint.report.numbers import Row, duration, number
from augmint.report.terms import Terms

STEPS = {"train_s": "training the GAN", "prove_s": "the experiment", "generate_s": "making and scoring samples"}
SETTLED = ("steps", "stage_1_steps", "probe_steps", "batch", "size", "grid", "folds", "threads")
EVIDENCE = (
    "config.yaml",
    "choices.json",
    "split.csv",
    "gan.json",
    "gan/*.safetensors",
    "rejected.jsonl",
    "eval/*.json",
    "eval/*.npz",
)
MOST_FILES = 40


def cost(timings: Row | None, proof: Row | None, terms: Terms) -> dict[str, Any] | None:
    """Seconds of each step of the road, and the CPU time of all arms together."""
    spent = {
        STEPS.get(str(k), str(k).removesuffix("_s").replace("_", " ")): s
        for k in timings or {}
        if (s := number(timings or {}, k)) is not None and k not in ("total", "total_s")
    }
    if not spent:
        return None
    total = number(timings or {}, "total") or number(timings or {}, "total_s") or sum(spent.values())
    most = max(spent.values()) or 1.0
    rows = [
        {
            "name": k,
            "time": duration(s),
            "share": f"{100 * s / (total or 1):.0f} %",
            "bar": Markup(figures.bar(s / most)),
        }
        for k, s in spent.items()
    ]
    arms = [s for a in (proof or {}).get("arms") or () if (s := number(a, "cost_s")) is not None]
    return {
        "rows": rows,
        "total": duration(total),
        "arms": duration(sum(arms)) if arms else "",
        "num_arms": len(arms),
        "num_more": len(terms.arms) - len(arms),
    }


def files(run_dir: Path) -> list[dict[str, Any]]:
    """Name, bytes and SHA-256 of the files that the numbers of the page come from."""
    found = [path for pattern in EVIDENCE for path in sorted(run_dir.glob(pattern)) if path.is_file()]
    return [_file(path, path.relative_to(run_dir).as_posix()) for path in found[:MOST_FILES]]


def _file(path: Path, name: str) -> dict[str, Any]:
    digest = sha256()
    with path.open("rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return {"name": name, "bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def reproduce(
    name: str, state: Row, choices: Row, config_text: str, evidence: Sequence[Row], terms: Terms
) -> dict[str, Any]:
    """Command, seed, versions, fingerprints of the input, what was settled on the way, and sums of what came out."""
    config, inputs = state.get("config") or {}, dict(state.get("inputs") or {})
    settled = [
        (k, choices[k]["value"]) for k in SETTLED if isinstance(choices.get(k), Mapping) and "value" in choices[k]
    ]
    return {
        "command": str(state.get("command") or terms.command(name, inputs)),
        "is_kept": bool(state.get("command")),
        "seed": config.get("seed"),
        "versions": dict(state.get("versions") or {}),
        "inputs": inputs,
        "settled": [(k.replace("_", " "), " x ".join(map(str, v)) if isinstance(v, list) else v) for k, v in settled],
        "config": config_text or "\n".join(f"{k}: {'null' if v is None else v}" for k, v in config.items()),
        "files": list(evidence),
    }
