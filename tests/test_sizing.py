"""The grid follows the time: as large as the time can train on, no larger than the data, and what was asked for always wins."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import augmint as am
from augmint.core.config import TrainConfig
from augmint.core.run import Run, read_json
from augmint.core.types import F32, Grid
from augmint.steps import sizing
from augmint.training import choose, fit
from augmint.training.choose import FEW_STEPS
from test_contract import write_images

PLAIN: Any = SimpleNamespace(name="toy")


def cells_cost(modality: Any, x: F32, num_classes: int, config: TrainConfig) -> float:
    """A machine that needs 0.1 ms a cell."""
    return 1e-4 * x[0, 0].size


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 300), st.sampled_from([1.0, 0.5]), st.floats(1.0, 1e5))
def test_the_largest_side_that_the_time_affords(longest: int, aspect: float, seconds: float) -> None:
    grid = Grid(1, (longest, max(1, round(longest * aspect))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizing, "machine_seconds", cells_cost)
        side, why = sizing.largest(PLAIN, grid, 2, TrainConfig(batch=2), seconds)
    sides = sorted({s for s in (32, 48, 64, 96, 128, 192, 256, 384) if s < longest} | {longest})

    def steps(s: int) -> float:
        return seconds / (1e-4 * s * max(1, round(grid.shape[1] * s / longest)))

    enough = [s for s in sides if steps(s) >= FEW_STEPS]
    assert side == (longest if longest <= 32 else max(enough, default=32))
    assert why == sizing.OWN_SIDE or f"{seconds:.0f} s" in why


def test_what_is_too_large_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def cost(modality: Any, x: F32, num_classes: int, config: TrainConfig) -> float:
        tried.append(x.shape[-1])
        return cells_cost(modality, x, num_classes, config)

    monkeypatch.setattr(sizing, "machine_seconds", cost)
    side, why = sizing.largest(PLAIN, Grid(3, (256, 256)), 2, TrainConfig(batch=4), 200.0)
    assert side == 48 and tried == [32, 48, 64]
    assert "48: 868 steps of 230 ms" in why and "64: 488 steps of 410 ms" in why


def test_a_step_is_timed_and_nothing_else_is_touched() -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    noise = sizing._noise(Grid(1, (12, 12)), 8)
    assert noise.shape == (8, 1, 12, 12) and noise.std() > 0.3 and abs(noise).max() <= 1
    small = fit.machine_seconds(PLAIN, noise, 2, TrainConfig(batch=8))
    large = fit.machine_seconds(PLAIN, sizing._noise(Grid(1, (64, 64)), 8), 2, TrainConfig(batch=8))
    assert 0 < small < large
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), state)


# -- by the verbs ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("sizing") / "data", side=64, per_class=20)


SHORT: dict[str, Any] = {"workers": 1, "seed": 3, "batch": 8, "size": "article"}


def test_train_chooses_once_and_tells_why(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sizing, "machine_seconds", cells_cost)
    monkeypatch.setattr(choose, "FEWEST_STEPS", 3)
    run = tmp_path / "run"
    gan = am.train(data, out=run, time=0.5, **SHORT)
    assert isinstance(gan, am.Gan) and gan.codec.grid.shape == (32, 32)
    choice = read_json(run / "choices.json")["grid_side"]
    assert choice["value"] == 32 and "32: 5 steps of 102 ms" in choice["reason"]
    monkeypatch.setattr(sizing, "machine_seconds", lambda *_: pytest.fail("measured again"))
    again = am.train(data, out=run, time=0.5, **SHORT)
    assert isinstance(again, am.Gan) and again.codec.grid.shape == (32, 32) and Run(run).is_done


@pytest.mark.parametrize(
    "how,side",
    [
        ({"time": 0.5}, 32),
        ({"time": 1000.0}, 64),
        ({"time": 0.5, "grid": 64}, 64),
        ({"time": 0.5, "grid": 20}, 20),
        ({"time": 0.5, "steps": 4}, 64),
    ],
)
def test_what_is_asked_for_wins(how: dict[str, Any], side: int, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "machine_seconds", cells_cost)
    plan = am.train(data, dry_run=True, **{**SHORT, **how})
    chosen = plan.to_dict()["choices"].get("grid_side", (how.get("grid"), ""))  # type: ignore[union-attr]
    assert chosen[0] == side


def test_where_no_gan_is_trained_the_data_keeps_its_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sizing, "machine_seconds", lambda *_: pytest.fail("measured"))
    few = write_images(tmp_path / "few", side=64, per_class=6)
    plan = am.boost(few, out=tmp_path / "out", dry_run=True, time=5.0, probe_steps=5, seeds=3, folds=2, **SHORT)
    assert plan.to_dict()["choices"]["grid"]["value"] == [1, 64, 64]


def test_boost_divides_the_time_among_its_folds(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sizing, "machine_seconds", cells_cost)
    common: dict[str, Any] = {"out": tmp_path / "out", "dry_run": True, "probe_steps": 5, "seeds": 3, **SHORT}
    for folds, side in ((3, 48), (6, 32)):  # half of 1,000 s: 167 s or 83 s a GAN; 600 steps of 48 x 48 take 138 s
        plan = am.boost(data, time=1000.0, folds=folds, **common)
        choices = plan.to_dict()["choices"]
        assert choices["grid_side"]["value"] == side and choices["grid"]["value"][1:] == [side, side]
    plan = am.boost(data, time=1000.0, folds=6, grid=64, **common)
    assert plan.to_dict()["choices"]["grid"] == {"value": [1, 64, 64], "reason": "as set"}
