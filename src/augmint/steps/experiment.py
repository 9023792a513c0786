"""The experiment: what is compared is written down first, then the arms are trained, then the test part is opened."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from augmint.core import rng
from augmint.core.config import BoostConfig, ProveVerb
from augmint.core.errors import Interrupted
from augmint.core.machine import cores
from augmint.core.run import Run, read_json, write_bytes, write_json
from augmint.core.types import F32, I64
from augmint.data.split import Fold
from augmint.evaluation import estimators
from augmint.evaluation.arms import CNN, Arm, Augment, Regime, Task, Views, arms, best_classic, extras, num_reals
from augmint.evaluation.lift import LEARNED, run, seconds_per_arm, seconds_per_step, steps_to_learn
from augmint.evaluation.proof import Proof, Told, judge, register
from augmint.generation.draw import Gan
from augmint.steps.prepare import Prepared
from augmint.steps.shares import can_be_lowered, settled, share
from augmint.transforms.recipe import Recipe

Progress = Callable[[dict[str, Any]], None]
PROBE_STEPS = 400
MOST_STEPS = 1600
"""Where the samples are harder to learn than digits, in doublings of `PROBE_STEPS`."""
FEWEST_STEPS = 150
LARGEST_PART = 0.45
"""Share of the time that the experiment may take before its extra arms go, and then its probes get fewer steps."""
EASY_PART = 0.1
"""Extra arms may fill the experiment up to this share of the time."""
MOST_VIEWS = 2000


def probe_steps(job: Run, prepared: Prepared, recipe: Recipe, config: ProveVerb | BoostConfig) -> int:
    """Training steps of every probe, settled before anything is trained, with the arms beside the main ones and the time
    that the experiment will take. A probe of the user's own is tried here, on the training part."""
    if job.chosen("probe_steps") is None:
        regime: Regime = prepared.regime  # type: ignore[assignment]
        task = task_of(prepared, recipe, Offered(prepared.folds[0]))
        named = None if task.pool_x is None else np.zeros(len(task.pool_x), np.int64)
        # As if there were a GAN already: the arms that need one take their time too.
        full = replace(task, synthetic_x=task.fit_x, synthetic_all_x=task.fit_x, pool_y=named, backbone=nn.Identity())
        main = arms(full, regime, share=share(config, regime)[0], probe=config.probe)
        wanted = config.probe_steps or PROBE_STEPS
        scale = len(prepared.folds) / min(config.workers or cores(), cores())
        each = _seconds_of_an_arm(task, config, wanted) * scale
        weight = sum(a.weight for a in main)
        if config.probe == CNN and config.probe_steps is None and each * weight <= LARGEST_PART * config.time:
            wanted, left = steps_to_learn(task, fewest=PROBE_STEPS, most=MOST_STEPS)
            job.choose(
                "probe_loss", round(left, 3), f"of the plain probe after {wanted} steps on its own augmented reals"
            )
            each *= wanted / PROBE_STEPS
        more = _affordable(job, main, full, regime, config, each)
        weight += sum(a.weight for a in more)
        if can_be_lowered(config, prepared.y[prepared.folds[0].held_out], len(prepared.folds)):
            weight += 2  # the best classic arm and the synthetic one, on the held-out reals
        fitting = int(np.clip(LARGEST_PART * config.time / (each * weight) * wanted, FEWEST_STEPS, wanted))
        steps = config.probe_steps or (fitting if config.probe == CNN else PROBE_STEPS)
        why = f"{wanted} learn the training samples, {fitting} fit into the time"
        job.choose("probe_steps", steps, "as set" if config.probe_steps else why)
        told = f"{steps} steps; " if config.probe == CNN else f"{config.probe}; "
        told += f"all arms together cost as much as {weight:.0f} plain ones"
        job.choose("proof_seconds", round(each * weight * steps / wanted, 1), told)
        job.choose("probe_steps_wanted", wanted, "what the time would have to allow")
    return int(job.chosen("probe_steps"))


def probe_input(config: ProveVerb | BoostConfig) -> dict[str, str]:
    """What a run's inputs name of a probe of the user's own: its file, for an edited one is another experiment.

    Raises:
        UserError: if there is no such probe, before anything is read for it.
    """
    found = estimators.digest(config.probe)
    return {"probe": found} if found else {}


def undertrained(job: Run, config: ProveVerb | BoostConfig) -> list[str]:
    """A word where the probes do not get the steps that they need."""
    steps, wanted = int(job.chosen("probe_steps")), int(job.chosen("probe_steps_wanted") or 0)
    lines = []
    if config.probe == CNN and config.probe_steps is None and steps < wanted:
        time = float(job.chosen("proof_seconds")) * wanted / steps / LARGEST_PART
        lines.append(
            f"the probes get {steps} training steps for want of time and need {wanted} or more: a lift, or a harm, may stay hidden; "
            f"give --time {np.ceil(time / 60):.0f}m or --probe-steps {wanted}"
        )
    left = float(job.chosen("probe_loss") or 0.0)
    if steps == wanted and left >= LEARNED:
        lines.append(
            f"the probes do not learn their own samples in {steps} training steps (loss {left:.2f}): a lift, or a harm, may stay hidden; "
            f"--probe-steps {2 * steps} gives them more"
        )
    return lines


def _seconds_of_an_arm(task: Task, config: ProveVerb | BoostConfig, steps: int) -> float:
    if config.probe == CNN:
        return steps * seconds_per_step(task, seeds=config.seeds)
    return seconds_per_arm(task, config.probe, seeds=config.seeds)


def _affordable(
    job: Run, main: Sequence[Arm], task: Task, regime: Regime, config: ProveVerb | BoostConfig, each: float
) -> list[Arm]:
    """The arms beside the main ones for which there is time; chosen before anything is trained, and written down."""
    weight = sum(a.weight for a in main)
    is_short = 1.25 * weight * each > LARGEST_PART * config.time
    spare = -1.0 if is_short else max(0.0, EASY_PART * config.time / each - weight)
    more = extras(main, task, regime, spare=spare, probe=config.probe)
    why = "time is short" if is_short else "as many as a quarter of the main arms' time, or spare time, allows"
    job.choose("extra_arms", [a.name for a in more], why)
    return more


Labelled = tuple[F32, I64]


@dataclass(frozen=True, slots=True)
class Offered:
    """What there is for one fold's experiment: kept synthetic samples, all candidates, and the GAN that made them.

    ``others``: kept samples and GAN of each probe seed but the first, in scope ``method``: no two probes then learn from
    samples of the same GAN, and the verdict holds for the making of GANs and not only for this one.
    """

    fold: Fold
    kept: Labelled | None = None
    candidates: Labelled | None = None
    gan: Gan | None = None
    others: tuple[tuple[Labelled, Gan], ...] = ()


def task_of(prepared: Prepared, recipe: Recipe, offered: Offered) -> Task:
    """The data of one fold's experiment. The controls get the whole pool, the held-out part of it too."""
    p, fold, gan = prepared, offered.fold, offered.gan
    test = fold.test[p.y[fold.test] >= 0]
    has_pool = len(p.pool_x) > 0
    kept, candidates = offered.kept or (None, None), offered.candidates or (None, None)
    task = Task(
        fit_x=p.x[fold.fit],
        fit_y=p.y[fold.fit],
        test_x=p.x[test],
        test_y=p.y[test],
        num_classes=p.num_classes,
        recipe=recipe.on(p.codec),
        pool_x=p.pool_x if has_pool else None,
        pool_y=gan.classify(p.pool_x)[0] if has_pool and gan is not None else None,
        synthetic_x=kept[0],
        synthetic_y=kept[1],
        synthetic_all_x=candidates[0],
        synthetic_all_y=candidates[1],
        verifier_pred=gan.classify(p.x[test])[0] if gan is not None else None,
    )
    if gan is None:
        return task
    if offered.others:
        return _each_its_own(task, offered)
    return replace(task, views=_views(gan, task, p.pool_x), backbone=gan.verifier.as_backbone())


def _each_its_own(task: Task, offered: Offered) -> Task:
    """Every probe seed has its own GAN: its kept samples, its labels of the pool, its verifier. What shows one GAN only
    (candidates before curation, the verifier's features) is left out."""
    assert offered.kept is not None and offered.gan is not None
    sets, gans = zip((offered.kept, offered.gan), *offered.others, strict=True)
    pool_x = task.pool_x
    return replace(
        task,
        synthetic_x=np.concatenate([x for x, _ in sets]),
        synthetic_y=np.concatenate([y for _, y in sets]),
        synthetic_of=np.repeat(np.arange(len(sets)), [len(y) for _, y in sets]),
        synthetic_all_x=None,
        synthetic_all_y=None,
        pool_y=None if pool_x is None else np.stack([gan.classify(pool_x)[0] for gan in gans]),
        verifier_pred=np.stack([gan.classify(task.test_x)[0] for gan in gans]),
    )


def _views(gan: Gan, task: Task, pool_x: F32) -> Views:
    """What the verifier's trunk makes of the labelled reals, each plain and in several augmented views, and of the rest."""

    def features(x: F32) -> F32:
        return gan.score(x, np.zeros(len(x), np.int64)).evidence[:, 2:]

    x, y = task.fit_x[task.fit_y >= 0], task.fit_y[task.fit_y >= 0]
    times = int(np.clip(MOST_VIEWS // len(x), 1, 7))
    augment: Augment = task.augmenter()
    keys = rng.bits(rng.key("views"), np.arange(times * len(x)))
    drawn = augment(torch.from_numpy(np.tile(x, (times, *(1,) * (x.ndim - 1)))), keys).numpy()
    fit = features(x)
    seen = np.concatenate([fit, features(drawn)])
    return Views(seen, np.tile(y, times + 1), fit, features(pool_x) if len(pool_x) else fit[:0], features(task.test_x))


def _predictions(
    job: Run, name: str, task: Task, chosen: Sequence[Arm], *, config: ProveVerb | BoostConfig, seed: int, steps: int,
    stop: object, progress: Progress,
) -> tuple[dict[str, I64], dict[str, float]]:  # fmt: skip
    """Predicted classes ``[S, N]`` and CPU seconds of each arm; every arm is on disk as soon as it is done."""
    path = job / "eval" / f"predictions-{name}.npz"
    found, spent = _kept(path)
    found = {k: v for k, v in found.items() if v.shape == (config.seeds, len(task.test_y))}

    def tick(arm: str, cpu_s: float, pred: I64) -> None:
        found[arm], spent[arm] = pred, round(cpu_s, 2)
        data = io.BytesIO()
        np.savez_compressed(data, seconds=np.array([spent[k] for k in found]), **found)  # type: ignore[arg-type]
        write_bytes(path, data.getvalue())
        progress({"stage": "prove", "done": len(found), "total": len(chosen)})
        if stop and len(found) < len(chosen):
            raise Interrupted(
                "stopped during the experiment; finished arms are kept", mend="run the same command to go on"
            )

    progress({"stage": "prove", "done": len(found), "total": len(chosen)})
    left = [a for a in chosen if a.name not in found]
    workers = config.workers or cores()
    run(
        task,
        left,
        seeds=config.seeds,
        seed=seed,
        steps=steps,
        probe=config.probe,
        workers=workers,
        stop=stop,
        tick=tick,
    )
    return {a.name: found[a.name] for a in chosen}, {a.name: spent[a.name] for a in chosen}


def _kept(path: Path) -> tuple[dict[str, I64], dict[str, float]]:
    """What an earlier try left."""
    if not path.exists():
        return {}, {}
    with np.load(path, allow_pickle=False) as kept:
        found = {k: kept[k] for k in kept.files if k != "seconds"}
        return found, dict(zip(found, kept["seconds"].tolist(), strict=True))


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
    regime: Regime = prepared.regime  # type: ignore[assignment]
    steps = probe_steps(job, prepared, recipe, config)
    tasks = [task_of(prepared, recipe, o) for o in offered]
    amount, why = _settled_share(job, prepared, tasks, offered, config, seed=seed, steps=steps, progress=progress)
    main = arms(tasks[0], regime, share=amount, probe=config.probe)
    names = job.chosen("extra_arms") or []
    chosen = [*main, *(a for a in extras(main, tasks[0], regime, spare=np.inf, probe=config.probe) if a.name in names)]
    test_y = np.concatenate([t.test_y for t in tasks])
    scope = config.scope if isinstance(config, BoostConfig) else "set"
    rule: Any = {"regime": regime, "margin": config.margin, "probe": config.probe, "scope": scope}
    path = job / "eval" / "registered.json"
    if not path.exists():
        write_json(path, register(chosen, test_y, num_seeds=config.seeds, **rule))
    parts, costs = [], dict[str, float]()
    for number, task in enumerate(tasks):
        found, spent = _predictions(
            job, f"fold-{number}", task, chosen, config=config, seed=seed, steps=steps, stop=stop, progress=progress
        )
        parts.append(found)
        costs = {k: round(costs.get(k, 0.0) + v, 2) for k, v in spent.items()}
    proof = judge(
        {a.name: np.concatenate([part[a.name] for part in parts], axis=1) for a in chosen},
        test_y,
        chosen,
        registered=read_json(path),
        told=Told(why, prepared.data.classes, costs, _labelled(tasks, chosen, regime)),
        **rule,
    )
    write_json(job / "eval" / "proof.json", proof.to_dict())
    job.update(timings={"prove_s": round(time.perf_counter() - began, 1)})
    return proof


def _settled_share(
    job: Run, prepared: Prepared, tasks: Sequence[Task], offered: Sequence[Offered], config: ProveVerb | BoostConfig, *,
    seed: int, steps: int, progress: Progress,
) -> tuple[float, str]:  # fmt: skip
    """The share that will be tested, settled on held-out reals before the test part is opened."""
    regime: Regime = prepared.regime  # type: ignore[assignment]
    held = offered[0].fold.held_out[prepared.y[offered[0].fold.held_out] >= 0]
    if offered[0].kept is None or not can_be_lowered(config, prepared.y[held], len(offered)):
        return share(config, regime)
    return settled(
        job, tasks[0], (prepared.x[held], prepared.y[held]), config, regime,
        seed=seed, steps=steps, workers=config.workers or cores(), progress=progress,
    )  # fmt: skip


def _labelled(tasks: Sequence[Task], chosen: Sequence[Arm], regime: Regime) -> dict[str, NDArray[np.float64]]:
    """Labelled reals of each class in the best classic arm and in those with fewer, mean over the folds."""
    curve = [a for a in chosen if a.curve == "reals" or a.name == best_classic(regime)]
    return {a.name: np.mean([num_reals(t.fit_y, a.part, t.num_classes) for t in tasks], axis=0) for a in curve}
