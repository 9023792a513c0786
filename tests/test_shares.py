"""The share follows the regime; held-out reals may lower it, and nothing but held-out reals; and what scope 'method' trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import augmint as am
from augmint.core.config import BoostConfig, ProveVerb
from augmint.core.presets import share_of
from augmint.core.run import Run, read_json
from augmint.evaluation.arms import Task
from augmint.modalities import MODALITIES
from augmint.steps import shares
from toys import write_signals

WHAT: dict[str, Any] = {"seed": 0, "steps": 60, "workers": 1, "progress": lambda event: None}


def blobs(num: int, seed: int) -> tuple[Any, Any]:
    centre = np.random.default_rng(99).normal(size=(3, 1, 8, 8))
    y = np.arange(num) % 3
    x = 0.4 * centre[y] + 0.9 * np.random.default_rng(seed).normal(size=(num, 1, 8, 8))
    return x.astype(np.float32).clip(-1, 1), y.astype(np.int64)


def experiment(*, poisoned: bool) -> tuple[Task, tuple[Any, Any]]:
    """A task whose synthetic samples are as good as reals, or carry the next class's label; its test part cannot be used."""
    (x, y), (new_x, new_y) = blobs(18, 1), blobs(90, 2)
    hidden = np.full((5, 1, 8, 8), np.nan, np.float32)
    new_y = (new_y + poisoned) % 3
    return Task(x, y, hidden, np.zeros(5, np.int64), 3, synthetic_x=new_x, synthetic_y=new_y), blobs(90, 3)


def opened(path: Path) -> Run:
    return Run.open(path, verb="prove", config={}, inputs={})


def test_held_out_reals_lower_a_share_that_hurts_and_leave_one_that_does_not(tmp_path: Path) -> None:
    config = ProveVerb(seeds=5)
    start = share_of("closed")[0]
    for poisoned, wanted in ((True, start * shares.LOWER[-1]), (False, start)):
        task, held = experiment(poisoned=poisoned)
        job = opened(tmp_path / str(poisoned))
        amount, why = shares.settled(job, task, held, config, "closed", **WHAT)
        assert amount == pytest.approx(wanted) and "90 held-out reals" in why
        again = shares.settled(job, replace(task, fit_x=task.fit_x[:0]), held, config, "closed", **WHAT)
        assert again == (amount, why)  # on resume it is read, not measured again


def test_a_share_that_was_set_stands_and_a_fold_has_no_say_over_the_others() -> None:
    many, few = np.arange(shares.FEWEST_HELD) % 3, np.arange(shares.FEWEST_HELD - 1) % 3
    assert shares.can_be_lowered(ProveVerb(), many, 1)
    assert not shares.can_be_lowered(ProveVerb(share=0.5), many, 1)
    assert not shares.can_be_lowered(ProveVerb(), many, 5)
    assert not shares.can_be_lowered(ProveVerb(), few, 1)
    assert not shares.can_be_lowered(BoostConfig(), np.full(500, -1), 1)


def test_scope_method_trains_a_generator_a_seed_and_says_so_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODALITIES, "signal", "toys:Signals")
    data = am.read(write_signals(tmp_path / "data", per_class=24), modality="signal")
    notes: list[str] = []
    quick: dict[str, Any] = {"workers": 1, "time": 5.0, "steps": 6, "batch": 8, "probe_steps": 5, "variants": 1}
    result = am.boost(
        data, out=tmp_path / "out", scope="method", seeds=3, folds=2,
        progress=lambda e: notes.append(str(e.get("note"))), **quick,
    )  # fmt: skip
    assert any("scope 'method': 4 more GANs" in note for note in notes)
    made = sorted((tmp_path / "out.run" / "method").glob("fold-*-gan-*/gan/generator.safetensors"))
    assert len({p.read_bytes() for p in made}) == 4  # two folds, two seeds beside the first, each its own weights
    proof = result.proof
    assert proof is not None and "one a seed" in proof.scope and "one a seed" in proof.sentences[1]
    assert read_json(tmp_path / "out.run" / "eval" / "registered.json")["plan"]["scope"] == proof.scope
    assert {"synthetic", "verifier"} <= {a["name"] for a in proof.arms}
    assert "unfiltered" not in {a["name"] for a in proof.arms}


def test_the_time_of_the_experiment_counts_every_arm_that_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told before there is a GAN, as so many steps of so many plain arms; held against the arms of the finished proof."""
    monkeypatch.setitem(MODALITIES, "signal", "toys:Signals")
    data = am.read(write_signals(tmp_path / "data", per_class=24), modality="signal")
    quick: dict[str, Any] = {
        "workers": 1,
        "time": 500.0,
        "steps": 6,
        "batch": 8,
        "probe_steps": 5,
        "seeds": 3,
        "folds": 2,
    }
    am.boost(data, out=tmp_path / "out", variants=1, **quick)
    told = read_json(tmp_path / "out.run" / "choices.json")["proof_seconds"]["reason"]
    arms = read_json(tmp_path / "out.run" / "eval" / "registered.json")["plan"]["arms"]
    trained = sum({"train": 1.0, "backbone": 1.5}.get(a["method"], 0.0) for a in arms)
    assert (
        "backbone" in {a["method"] for a in arms}
        and told == f"5 steps; all arms together cost as much as {trained:.0f} plain ones"
    )
