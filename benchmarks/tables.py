"""What the benchmarks share: bars, and a table with machine, versions and date in ``results/NAME.md`` and ``.json``."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

from augmint.core.run import versions, write_json, write_text

RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True)
class Bar:
    """One line of a claim: what was wanted, what was found, and whether that is enough."""

    what: str
    wanted: str
    found: str
    ok: bool


def cpu_seconds() -> float:
    """CPU seconds of this process and of its finished children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def over_draws(effects: Sequence[float]) -> tuple[float, float, float]:
    """Mean of the draws' effects and its 95 % t interval; a draw is one observation, whatever its own interval."""
    mean, num = float(np.mean(effects)), len(effects)
    half = float(t.ppf(0.975, num - 1) * np.std(effects, ddof=1) / np.sqrt(num)) if num > 1 else np.inf
    return mean, mean - half, mean + half


def machine() -> str:
    """Processor, cores this process may use, and how busy the machine was."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores, load {os.getloadavg()[0]:.1f}, {platform.system()} {platform.release()}"


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table; numbers to three digits, nothing where a row lacks what another has."""
    head = list(dict.fromkeys(k for row in rows for k in row))
    lines = [head, ["---"] * len(head), *[[_cell(row.get(k, "")) for k in head] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 100
        else f"{value:,.0f}"
        if isinstance(value, float)
        else str(value)
    )


def publish(
    name: str,
    claim: str,
    bars: Sequence[Bar],
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    notes: Sequence[str] = (),
    *,
    store: bool = True,
) -> int:
    """Print what was found, write it to ``results/`` if ``store``, and return 1 if a bar is missed."""
    made = datetime.now(UTC).isoformat(timespec="seconds")
    judged = [{"bar": b.what, "wanted": b.wanted, "found": b.found, "": "reached" if b.ok else "MISSED"} for b in bars]
    parts = [
        f"# {name}\n\n{claim}",
        markdown(judged),
        *[f"## {title}\n\n{markdown(rows)}" for title, rows in tables.items()],
    ]
    parts += ["\n".join(f"- {n}" for n in notes)] if notes else []
    used = ", ".join(f"{k} {v}" for k, v in versions().items())
    parts.append(f"{made}; {machine()}; {used}.")
    text = "\n\n".join(parts) + "\n"
    print(text)
    if store:
        write_text(RESULTS / f"{name}.md", text)
        found: dict[str, Any] = {
            "name": name,
            "claim": claim,
            "made": made,
            "machine": machine(),
            "versions": versions(),
        }
        found |= {"bars": [asdict(b) for b in bars], "tables": dict(tables), "notes": list(notes)}
        write_json(RESULTS / f"{name}.json", found)
    return 0 if all(b.ok for b in bars) else 1
