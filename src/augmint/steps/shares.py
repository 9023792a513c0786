"""The synthetic share of a batch: it follows the regime, and held-out reals may lower it, never raise it.

Nothing here sees the test part: picking the best share there would make a gain out of nothing (docs/prove.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augmint.core.config import BoostConfig, ProveVerb
from augmint.core.presets import share_of
from augmint.core.run import Run
from augmint.core.types import F32, I64
from augmint.evaluation.arms import Regime, Task, arms, best_classic
from augmint.evaluation.lift import run
from augmint.evaluation.paired import Resamples
from augmint.evaluation.proof import decide, is_balanced

Progress = Callable[[dict[str, Any]], None]
FEWEST_HELD = 50
"""With fewer labelled held-out reals no share could be seen to hurt."""
LOWER = (1.0, 0.5, 0.25)
"""The shares that are tried, in parts of the regime's; the last one is not left, so that there is something to judge."""


def share(config: ProveVerb | BoostConfig, regime: str) -> tuple[float, str]:
    """The synthetic share that an experiment starts from, and why."""
    return (config.share, "as set") if config.share is not None else share_of(regime)


def can_be_lowered(config: ProveVerb | BoostConfig, held_y: I64, num_folds: int) -> bool:
    """Whether held-out reals have a say: a share that was set stands, and with several folds one fold's held-out reals are
    another's test part."""
    return config.share is None and num_folds == 1 and int((held_y >= 0).sum()) >= FEWEST_HELD


def settled(
    job: Run,
    task: Task,
    held: tuple[F32, I64],
    config: ProveVerb | BoostConfig,
    regime: Regime,
    *,
    seed: int,
    steps: int,
    workers: int,
    progress: Progress,
) -> tuple[float, str]:
    """The share that will be put to the proof: the regime's, halved while held-out reals show that it hurts.

    A share is shown to hurt when the 95 % interval (two standard errors) of its paired difference from the best classic arm
    lies below 0 on the held-out reals. Written to ``choices.json`` as ``tested_share``, and taken from there on resume.

    Args:
        held: labelled reals ``[H, C, *shape]``, ``[H]`` that neither generator nor probes have seen.
    """
    start, why = share(config, regime)
    if job.chosen("tested_share") is None:
        inner = replace(task, test_x=held[0], test_y=held[1], verifier_pred=None, views=None, backbone=None)
        draws = Resamples(held[1], config.seeds, balanced=is_balanced(regime), seed=seed)
        told: list[str] = []
        right: dict[str, NDArray[np.bool_]] = {}
        for part in LOWER:
            amount = part * start
            wanted = [a for a in arms(inner, regime, share=amount) if a.name in (best_classic(regime), "synthetic")]
            left = [a for a in wanted if a.name not in right or a.name == "synthetic"]
            found = run(inner, left, seeds=config.seeds, seed=seed, steps=steps, probe=config.probe, workers=workers)
            right |= {name: pred == held[1] for name, pred in found.items()}
            effect = draws.effect(right["synthetic"], right[best_classic(regime)])
            low, high = effect.ci95
            told.append(f"{amount:.0%}: {effect.effect:+.1f} [{low:+.1f}, {high:+.1f}]")
            if decide(effect.ci95, config.margin) != "HURTS":
                break
        why += f"; on {len(held[1])} held-out reals {', '.join(told)}"
        job.choose("tested_share", amount, why)
        progress({"stage": "prove", "note": f"synthetic share {amount:.0%}: {why}"})
    return float(job.chosen("tested_share")), str(job.reason("tested_share"))
