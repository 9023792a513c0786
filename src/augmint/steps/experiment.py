"""The experiment: what is compared is written down first, then the arms are trained, then the test part is opened."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from augmint.core.config import BoostConfig, ProveVerb
from augmint.core.errors import Interrupted
from augmint.core.presets import share_of
from augmint.core.run import Run, read_json, write_bytes, write_json
from augmint.core.types import F32, I64
from augmint.data.split import Fold
from augmint.evaluation.lift import Arm, Task, arms, run, seconds_per_step
from augmint.evaluation.proof import Proof, judge, register
from augmint.generation.draw import Gan
from augmint.scale.pool import cores
from augmint.steps.prepare import Prepared
from augmint.transforms.recipe import Recipe

Progress = Callable[[dict[str, Any]], None]
PROBE_STEPS = 400
FEWEST_STEPS = 150
LARGEST_PART = 0.45
"""Share of the time that the experiment may take before its probes get fewer steps."""


def probe_steps(job: Run, prepared: Prepared, recipe: Recipe, config: ProveVerb | BoostConfig) -> int:
    """Training steps of every probe, settled before anything is trained, and the time that the experiment will take."""
    if job.chosen("probe_steps") is None:
        regime: Any = prepared.regime
        task = task_of(prepared, recipe, Offered(prepared.folds[0]))
        full = replace(task, synthetic_x=task.fit_x, synthetic_all_x=task.fit_x)
        weight = sum(a.weight for a in arms(full, regime, share=0.5)) * len(prepared.folds)
        per_step = seconds_per_step(task, seeds=config.seeds) * weight / min(config.workers or cores(), cores())
        fitting = int(np.clip(LARGEST_PART * config.time / per_step, FEWEST_STEPS, PROBE_STEPS))
        steps = config.probe_steps or fitting
        job.choose(
            "probe_steps", steps, "as set" if config.probe_steps else f"{PROBE_STEPS}, fewer where time is short"
        )
        job.choose("proof_seconds", round(steps * per_step, 1), f"{steps} steps of {weight:.0f} arms")
    return int(job.chosen("probe_steps"))


def share(config: ProveVerb | BoostConfig, regime: str) -> tuple[float, str]:
    """The synthetic share of a batch, and why."""
    return (config.share, "as set") if config.share is not None else share_of(regime)


@dataclass(frozen=True, slots=True)
class Offered:
    """What there is for one fold's experiment: kept synthetic samples, all candidates, and the GAN that made them."""

    fold: Fold
    kept: tuple[F32, I64] | None = None
    candidates: tuple[F32, I64] | None = None
    gan: Gan | None = None


def task_of(prepared: Prepared, recipe: Recipe, offered: Offered) -> Task:
    """The data of one fold's experiment. The controls get the whole pool, the held-out part of it too."""
    p, fold, gan = prepared, offered.fold, offered.gan
    test = fold.test[p.y[fold.test] >= 0]
    has_pool = len(p.pool_x) > 0
    kept, candidates = offered.kept or (None, None), offered.candidates or (None, None)
    return Task(
        fit_x=p.x[fold.fit],
        fit_y=p.y[fold.fit],
        test_x=p.x[test],
        test_y=p.y[test],
        num_classes=p.num_classes,
        recipe=recipe,
        pool_x=p.pool_x if has_pool else None,
        pool_y=gan.classify(p.pool_x)[0] if has_pool and gan is not None else None,
        synthetic_x=kept[0],
        synthetic_y=kept[1],
        synthetic_all_x=candidates[0],
        synthetic_all_y=candidates[1],
        verifier_pred=gan.classify(p.x[test])[0] if gan is not None else None,
    )


def _predictions(
    job: Run, name: str, task: Task, chosen: Sequence[Arm], *, config: ProveVerb | BoostConfig, seed: int, steps: int,
    stop: object = False, progress: Progress = lambda event: None,
) -> tuple[dict[str, I64], dict[str, float]]:  # fmt: skip
    """Predicted classes ``[S, N]`` and CPU seconds of each arm; kept on disk, so that it is done once."""
    path = job / "eval" / f"predictions-{name}.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as kept:
            found = {k: kept[k] for k in kept.files if k != "seconds"}
            return found, dict(zip(found, kept["seconds"].tolist(), strict=True))
    spent: dict[str, float] = {}

    def tick(arm: str, cpu_s: float) -> None:
        spent[arm] = round(cpu_s, 2)
        progress({"stage": "prove", "done": len(spent), "total": len(chosen)})
        if stop:
            raise Interrupted(
                "stopped during the experiment; finished folds are kept", mend="run the same command to go on"
            )

    progress({"stage": "prove", "done": 0, "total": len(chosen)})
    found = run(task, chosen, seeds=config.seeds, seed=seed, steps=steps, workers=config.workers or cores(), tick=tick)
    data = io.BytesIO()
    np.savez_compressed(data, seconds=np.array([spent[k] for k in found]), **found)  # type: ignore[arg-type]
    write_bytes(path, data.getvalue())
    return found, {k: spent[k] for k in found}


def experiment(
    job: Run,
    prepared: Prepared,
    offered: Sequence[Offered],
    recipe: Recipe,
    config: ProveVerb | BoostConfig,
    *,
    seed: int,
    stop: object,
    progress: Progress,
) -> Proof:
    """Train all arms in every fold, and judge them on all test samples together.

    What is going to be compared, and by which rule, is in ``eval/registered.json`` before any arm sees the test part.
    """
    began = time.perf_counter()
    regime: Any = prepared.regime
    amount, why = share(config, regime)
    steps = probe_steps(job, prepared, recipe, config)
    tasks = [task_of(prepared, recipe, o) for o in offered]
    chosen = arms(tasks[0], regime, share=amount)
    test_y = np.concatenate([t.test_y for t in tasks])
    path = job / "eval" / "registered.json"
    if not path.exists():
        write_json(path, register(chosen, test_y, regime=regime, margin=config.margin, num_seeds=config.seeds))
    parts, costs = [], dict[str, float]()
    for number, task in enumerate(tasks):
        found, spent = _predictions(
            job,
            f"fold-{number}",
            task,
            chosen,
            config=config,
            seed=seed,
            steps=steps,
            progress=progress,
        )
        parts.append(found)
        costs = {k: round(costs.get(k, 0.0) + v, 2) for k, v in spent.items()}
    proof = judge(
        {a.name: np.concatenate([part[a.name] for part in parts], axis=1) for a in chosen},
        test_y,
        chosen,
        regime=regime,
        margin=config.margin,
        share_reason=why,
        classes=prepared.data.classes,
        costs=costs,
        registered=read_json(path),
    )
    write_json(job / "eval" / "proof.json", proof.to_dict())
    job.update(timings={"prove_s": round(time.perf_counter() - began, 1)})
    return proof
