"""Half precision: what it may change, what it may not, and who chooses it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from augmint.core.config import TrainConfig
from augmint.core.errors import UserError
from augmint.core.run import Run
from augmint.core.types import Grid
from augmint.modalities import get
from augmint.models import sizes
from augmint.training import choose
from augmint.training.loop import Data, Schedule, State, one_step, train
from augmint.transforms.recipe import Recipe

NONE = Recipe("none", ())
SCHEDULE = Schedule(12, 8, 1.0, 1e-3, seed=3, ticks=4)


def start(shape: tuple[int, ...] = (16, 16)) -> tuple[State, Data]:
    made = np.random.default_rng(0).normal(size=(32, 1, *shape)).clip(-1, 1).astype(np.float32)
    data = Data(made, np.arange(32) % 2, 2, made[:0], np.zeros(0, np.int64))
    nets = sizes.networks(get("image"), "nano", Grid(1, shape), 2, seed=1)
    return State.fresh(*nets, 1e-3), data


def weights(state: State) -> list[torch.Tensor]:
    return [p.detach() for m in (state.generator, state.verifier, state.ema) for p in m.parameters()]


@pytest.mark.parametrize("shape", [(24,), (16, 16), (8, 8, 8)])
def test_a_step_in_half_is_nearly_that_in_full_and_its_weights_stay_full(shape: tuple[int, ...]) -> None:
    (full, data), (half, _) = start(shape), start(shape)
    a = one_step(full, data, SCHEDULE, NONE)
    b = one_step(half, data, replace(SCHEDULE, precision="bf16"), NONE)
    assert all(w.dtype == torch.float32 for w in weights(half))
    for name in ("v_loss", "recon", "g_loss"):
        assert b[name] == pytest.approx(a[name], rel=0.03, abs=0.01) and b[name] != a[name]
    # R1 of reals does not pass through anything that was rounded.
    assert b["r1"] == a["r1"]


@pytest.mark.parametrize("at", [1, 3, 7])
def test_stopped_and_taken_up_again_in_half_is_the_same_bit_for_bit(at: int, tmp_path: Path) -> None:
    schedule = replace(SCHEDULE, precision="bf16")

    def begun() -> tuple[State, Data]:
        state, data = start()
        choose.lay_out(state, "bf16")
        return state, data

    whole, data = begun()
    train(whole, data, schedule, NONE)
    first, _ = begun()
    while first.step < at:
        one_step(first, data, schedule, NONE)
    first.save(tmp_path / "step", schedule)
    again, _ = begun()
    again.load(tmp_path / "step")
    train(again, data, schedule, NONE)
    for a, b in zip(weights(whole), weights(again), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_the_layout_changes_no_weight_and_reaches_pictures_only() -> None:
    state, data = start()
    before = [w.clone() for w in weights(state)]
    choose.lay_out(state, "bf16")
    for a, b in zip(before, weights(state), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    wide = next(w for w in weights(state) if w.dim() == 4 and min(w.shape) > 1)
    assert wide.is_contiguous(memory_format=torch.channels_last)
    one_step(state, data, SCHEDULE, NONE)


@pytest.mark.parametrize(("times", "found"), [((1.0, 0.5), "bf16"), ((1.0, 0.9), "fp32"), ((1.0, 2.0), "fp32")])
def test_half_is_chosen_where_it_is_a_good_deal_faster_and_kept(
    times: tuple[float, float], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, data = start()
    run = Run.open(tmp_path / "run", verb="train", config={}, inputs={})
    given = dict(zip(("fp32", "bf16"), times, strict=True))
    monkeypatch.setattr(choose, "_seconds_in", lambda name, *rest: given[name])
    assert choose.precision(run, TrainConfig(), state, data, SCHEDULE) == found
    monkeypatch.setattr(choose, "_seconds_in", lambda name, *rest: pytest.fail("timed again"))
    assert choose.precision(run, TrainConfig(), state, data, SCHEDULE) == found


def test_what_is_set_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, data = start()
    run = Run.open(tmp_path / "run", verb="train", config={}, inputs={})
    monkeypatch.setattr(choose, "_seconds_in", lambda name, *rest: pytest.fail("timed"))
    assert choose.precision(run, TrainConfig(precision="bf16"), state, data, SCHEDULE) == "bf16"


def test_a_gpu_that_is_not_there_is_refused_and_auto_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert (sizes.device(), sizes.device("auto"), sizes.device("cpu")) == ("cpu", "cpu", "cpu")
    with pytest.raises(UserError, match="no GPU"):
        sizes.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert (sizes.device(), sizes.device("cpu")) == ("cuda", "cpu")
