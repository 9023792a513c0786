"""Gamma found by trial, and an end when nothing improves: both exact, both with their reasons, both only where they pay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from augmint.core.config import TrainConfig
from augmint.core.errors import Interrupted
from augmint.core.run import Run, read_json, read_jsonl
from augmint.core.types import Grid
from augmint.models.sizes import networks
from augmint.training import checkpoint, choose, fit, loop, probe
from augmint.training.loop import Data, Schedule, State, train
from augmint.transforms.recipe import Recipe
from augmint.transforms.run_torch import gan_recipe
from test_training import MODALITY, OPS, Killed, contents, data_of, fresh, material_of, run_files

torch.set_num_threads(1)
FORMULA = 0.375 * 64 / 6


# -- the choice ------------------------------------------------------------------------------------------------------


def told(**figures: tuple[float, float]) -> dict[float, dict[str, float]]:
    return {float(k[1:].replace("_", ".")): {"fid": f, "recall": r} for k, (f, r) in figures.items()}


@pytest.mark.parametrize(
    "found,factor",
    [
        (told(x0_25=(40, 0.3), x1=(40, 0.3), x4=(40, 0.3)), 1.0),
        (told(x0_25=(37, 0.3), x1=(40, 0.3), x4=(80, 0.1)), 1.0),  # better by less than a tenth
        (told(x0_25=(30, 0.3), x1=(40, 0.3), x4=(80, 0.1)), 0.25),
        (told(x0_25=(30, 0.01), x1=(40, 0.3), x4=(44, 0.2)), 1.0),  # nearer, and collapsed
        (told(x0_25=(43.3, 0.258), x1=(60, 0.3), x4=(43.7, 0.419)), 4.0),
        (told(x0_25=(30, 0.3), x4=(30, 0.2)), 0.25),  # the formula's diverged
        ({}, 1.0),
    ],
)
def test_distance_and_recall_decide_together(found: dict[float, dict[str, float]], factor: float) -> None:
    assert probe.best(found) == factor


@pytest.mark.parametrize(
    "steps,seconds,held,reason",
    [
        (20_000, 1201, 101, ""),
        (20_000, 1200, 101, "20 core-minutes, trials need more than 20"),
        (20_000, 1201, 100, "100 held-out samples"),
        (4_000, 1201, 101, "too few for trials of 400"),
        (4_010, 1201, 101, ""),
    ],
)
def test_trials_are_made_only_where_they_pay(steps: int, seconds: float, held: int, reason: str) -> None:
    found = probe.why_not(Schedule(steps, 32, 1.0, 1e-3), seconds, held)
    assert reason in found and bool(found) == bool(reason)


@given(st.integers(4_010, 10**6))
def test_a_trial_ends_before_the_first_tick(steps: int) -> None:
    plan = Schedule(steps, 32, 1.0, 1e-3)
    assert not any(plan.is_tick(s) for s in (1, probe.steps_of(plan)))
    assert probe.FEWEST_STEPS <= probe.steps_of(plan) < plan.tick_steps


# -- trials in a run -------------------------------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forty steps, trials of two."""
    monkeypatch.setattr(choose, "FEWEST_STEPS", 40)
    monkeypatch.setattr(probe, "LEAST_CORE_SECONDS", 0.0)
    monkeypatch.setattr(probe, "LEAST_HELD_OUT", 5)
    monkeypatch.setattr(probe, "FEWEST_STEPS", 2)
    yield


def by_weight(state: State, figures: dict[str, float], material: Any) -> dict[str, float]:
    """Figures that follow from the state alone; the recall rises, so that no run ends early."""
    size = sum(p.detach().abs().sum().item() for p in state.verifier.parameters())
    return {"fid": 1e4 / size, "recall": 0.5 + state.step / 1000}


def started(path: Path, *, gamma: float | None = None, crash_at: int = -1, stop_at: int = -1, **how: Any) -> Any:
    run = Run.open(path, verb="train", config={}, inputs={})
    run.choose("threads", 1, "a test")
    run.choose("precision", "fp32", "a test")
    run.choose("step_seconds", 1.0, "a test")
    events = {"all": 0}

    class Stop:
        def __bool__(self) -> bool:
            return events["all"] >= stop_at > 0

    def progress(event: dict[str, Any]) -> None:
        events["all"] += 1
        if events["all"] == crash_at:
            raise Killed

    config = TrainConfig(batch=6, lr=2e-3, gamma=gamma, **how)
    made = fit.fit(
        run, MODALITY, material_of(), config, seconds=0.1, seed=4, stop=Stop(), on_tick=by_weight, progress=progress
    )
    return run, made


@pytest.mark.usefixtures("short")
def test_the_run_is_the_one_that_the_winning_gamma_would_have_been(tmp_path: Path) -> None:
    run, made = started(tmp_path / "tried")
    choices = read_json(run / "choices.json")
    trials = choices["gamma_trials"]["value"]
    assert set(trials) == {"0.25", "1", "4"} and len({v["fid"] for v in trials.values()}) == 3
    factor = choices["gamma_factor"]["value"]
    score = {k: v["fid"] / v["recall"] for k, v in trials.items()}
    assert f"{factor:g}" == (min(score, key=lambda k: score[k]) if min(score.values()) < 0.9 * score["1"] else "1")
    assert choices["gamma"]["value"] == pytest.approx(factor * FORMULA)
    _, direct = started(tmp_path / "direct", gamma=choices["gamma"]["value"])
    for a, b in ((made.generator, direct.generator), (made.verifier, direct.verifier)):
        assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())
    # From the end of the trial on, every row is the same.
    rows = [[r for r in read_jsonl(tmp_path / name / "metrics.jsonl") if r["step"] > 2] for name in ("tried", "direct")]
    assert rows[0] == rows[1] and rows[0][-1]["step"] == 40


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("factor", probe.FACTORS)
def test_any_of_them_may_win(factor: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(probe, "best", lambda found: factor)
    run, made = started(tmp_path / "tried")
    _, direct = started(tmp_path / "direct", gamma=factor * FORMULA)
    assert all(torch.equal(v, direct.generator.state_dict()[k]) for k, v in made.generator.state_dict().items())
    left = sorted(p.name for p in (run / "checkpoints").iterdir() if p.is_dir())
    assert [n for n in left if n.startswith("gamma")] == [], "trials are swept up"


@pytest.mark.usefixtures("short")
def test_killed_or_stopped_while_trying_and_taken_up_again_is_the_same(tmp_path: Path) -> None:
    run, _ = started(tmp_path / "straight")
    expected = run_files(run)
    for crash_at in (1, 3, 6):
        path = tmp_path / f"killed-{crash_at}"
        with pytest.raises(Killed):
            started(path, crash_at=crash_at)
        assert run_files(started(path)[0]) == expected, f"killed at event {crash_at}"
    with pytest.raises(Interrupted, match="trying gamma"):
        started(tmp_path / "stopped", stop_at=3)
    assert run_files(started(tmp_path / "stopped")[0]) == expected


@pytest.mark.usefixtures("short")
def test_what_is_set_is_not_tried(tmp_path: Path) -> None:
    for name, how, why in (
        ("gamma", {"gamma": 2.0}, "as set"),
        ("steps", {"steps": 40}, "the steps are set"),
    ):
        run, _ = started(tmp_path / name, **how)
        assert why in run.reason("gamma") and run.chosen("gamma_trials") is None


@pytest.mark.usefixtures("short")
def test_a_trial_that_diverges_is_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = loop.one_step

    def step(state: State, data: Data, s: Schedule, recipe: Recipe) -> dict[str, float]:
        figures = real(state, data, s, recipe)
        return {**figures, "v_loss": float("nan")} if s.gamma > 2 * FORMULA else figures

    monkeypatch.setattr(probe, "one_step", step)
    run, _ = started(tmp_path / "run")
    assert set(run.chosen("gamma_trials")) == {"0.25", "1"}


# -- the early end ---------------------------------------------------------------------------------------------------

PLAN = Schedule(40, 6, 1.5, 2e-3, lazy=3, ticks=10, seed=5, patience=4)


def at_rest(best_at: int, *, recall_until: int = 0) -> Any:
    """Figures whose distance is best at one step, and whose recall rises until another."""

    def measure(state: State, figures: dict[str, float]) -> dict[str, float]:
        return {"fid": abs(state.step - best_at), "recall": min(state.step, recall_until) / 100}

    return measure


def trained(on_tick: Any, folder: Path | None = None, plan: Schedule = PLAN, stop_at: int = -1) -> State:
    data, state = data_of(), fresh(data_of())
    last = checkpoint.find(folder, "last") if folder else None
    if last is not None:
        state.load(last)

    class Stop:
        def __bool__(self) -> bool:
            return state.step == stop_at

    return train(state, data, plan, gan_recipe(OPS), folder=folder, on_tick=on_tick, stop=Stop())


@pytest.mark.parametrize(
    "best_at,recall_until,end",
    [
        (4, 0, 20),  # stands still from the first tick: half of the budget is its due
        (8, 0, 24),
        (12, 0, 28),
        (24, 0, 40),
        (4, 16, 32),  # recall still rises
        (40, 0, 40),
    ],
)
def test_it_ends_four_ticks_after_the_last_improvement_and_not_before_half(
    best_at: int, recall_until: int, end: int
) -> None:
    assert trained(at_rest(best_at, recall_until=recall_until)).step == end


def test_without_patience_or_without_figures_the_budget_is_used_up() -> None:
    assert trained(at_rest(4), plan=replace(PLAN, patience=None)).step == 40
    assert trained(lambda state, figures: {}).step == 40


def test_stopped_on_the_way_the_end_is_the_same(tmp_path: Path) -> None:
    straight = trained(at_rest(8), tmp_path / "straight")
    for stop_at in (9, 20, 23):
        with pytest.raises(Interrupted):
            trained(at_rest(8), tmp_path / str(stop_at), stop_at=stop_at)
        again = trained(at_rest(8), tmp_path / str(stop_at))
        assert contents(again) == contents(straight)
    assert contents(trained(at_rest(8), tmp_path / "straight")) == contents(straight), "it went on after its end"


def test_the_end_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(choose, "FEWEST_STEPS", 40)
    run = Run.open(tmp_path / "run", verb="train", config={}, inputs={})
    notes: list[str] = []

    def go(**how: Any) -> None:
        fit.fit(
            run, MODALITY, material_of(), TrainConfig(batch=6, **how), seconds=0.01, seed=4,
            on_tick=lambda s, f, m: at_rest(8)(s, f), progress=lambda event: notes.append(event.get("note", "")),
        )  # fmt: skip

    go()
    assert run.chosen("last_step") == 24 and "since step 8: 4 ticks of 4 steps" in run.reason("last_step")
    assert any("ended at step 24 of 40" in n for n in notes) and "ended at step 24" in (run / "log.txt").read_text()
    best = checkpoint.find(run / "checkpoints", "best")
    assert best is not None and best.name == "step-000008"
    monkeypatch.setattr(choose, "FEWEST_STEPS", 80)  # a longer budget gives it another chance
    go()
    assert run.chosen("steps") == 80 and run.chosen("last_step") == 40


def test_steps_that_are_set_are_all_done(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", verb="train", config={}, inputs={})
    config = TrainConfig(batch=6, steps=30)
    fit.fit(run, MODALITY, material_of(), config, seconds=1.0, seed=4, on_tick=lambda s, f, m: at_rest(3)(s, f))
    assert (run.chosen("last_step"), run.reason("last_step")) == (30, "the whole budget")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1)), min_size=1, max_size=12))
def test_the_records_are_those_of_the_list(ticks: list[tuple[float, float]]) -> None:
    state = fresh(data_of())
    for i, (fid, recall) in enumerate(ticks, 1):
        state.step = i
        assert state.judge({"fid": fid, "recall": recall}) == (fid == min(f for f, _ in ticks[:i]))
    fids, recalls = np.array(ticks).T
    assert state.best_fid == fids.min() and state.best_recall == recalls.max()
    assert state.improved_at == 1 + max(int(fids.argmin()), int(recalls.argmax()) if recalls.max() > 0 else 0)


# -- memory ----------------------------------------------------------------------------------------------------------


def small_state(side: int, batch: int) -> tuple[State, Data, Schedule]:
    x = np.zeros((6, 1, side, side), np.float32)
    y = np.zeros(6, np.int64)
    generator, verifier = networks(MODALITY, "nano", Grid(1, (side, side)), 1, seed=0)
    return State.fresh(generator, verifier, 1e-3), Data(x, y, 1, x[:0], y[:0]), Schedule(1, batch, 1.0, 1e-3)


def test_memory_of_a_step_grows_with_the_cells_and_is_no_less_than_its_activations() -> None:
    small, large = (choose.bytes_per_sample(*small_state(side, 4)) for side in (16, 64))
    assert small < large < 16 * small
    held = 0

    def count(module: object, given: object, made: torch.Tensor) -> None:
        nonlocal held
        held += made.numel() * 4

    state, data, _ = small_state(64, 4)
    for net in (state.generator, state.verifier):
        for module in net.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_hook(count)  # type: ignore[arg-type]
    state.generator(torch.zeros(1, 64), torch.zeros(1, dtype=torch.long))
    state.verifier.score(data.x[:1], torch.zeros(1, dtype=torch.long))
    assert large > held


@pytest.mark.parametrize(("free", "expected"), [(None, 6), (2**40, 6), (0, 2)])
def test_a_batch_is_no_larger_than_samples_and_free_memory_allow(
    free: int | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "free_memory", lambda: free)
    state, data, schedule = small_state(16, 32)
    run = Run.open(tmp_path / "run", verb="train", config={}, inputs={})
    assert choose.batch(run, TrainConfig(), state, data, schedule) == expected
    assert ("MiB" in run.reason("batch")) == (free == 0)
    monkeypatch.setattr(choose, "free_memory", lambda: 2**40)
    assert choose.batch(run, TrainConfig(), state, data, schedule) == expected, "chosen once"


def test_half_of_the_free_memory_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, data, schedule = small_state(16, 32)
    each = choose.bytes_per_sample(state, data, schedule)
    monkeypatch.setattr(choose, "free_memory", lambda: int(2 * 4.5 * each))
    run = Run.open(tmp_path / "run", verb="train", config={}, inputs={})
    assert choose.batch(run, TrainConfig(), state, data, schedule) == 4
