"""Half precision: what it may change, what it may not, and who chooses it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from augmint.core.config import TrainConfig
from augmint.core.errors import UserError
from augmint.core.run import Run
from augmint.core.types import Grid
from augmint.modalities import get
from augmint.models import sizes
from augmint.training import choose
from augmint.training.loop import Data, Schedule, State, one_step, read, train
from augmint.transforms.recipe import Recipe
from augmint.transforms.run_torch import gan_recipe

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
    a = read(one_step(full, data, SCHEDULE, NONE))
    b = read(one_step(half, data, replace(SCHEDULE, precision="bf16"), NONE))
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
        state.lay_out(replace(SCHEDULE, precision="bf16"))
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
    state.lay_out(replace(SCHEDULE, precision="bf16"))
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
    monkeypatch.setattr(choose, "_quickest", lambda state, data, schedule: given[schedule.precision])
    assert choose.precision(run, TrainConfig(), state, data, SCHEDULE) == found
    monkeypatch.setattr(choose, "_quickest", lambda *given: pytest.fail("timed again"))
    assert choose.precision(run, TrainConfig(), state, data, SCHEDULE) == found


class Unread(TorchDispatchMode):
    """Refuses to tell a number of a tensor: on a GPU that waits for all that was asked of it before. Adam counts its steps on the CPU."""

    def __init__(self, *optimisers: torch.optim.Optimizer) -> None:
        super().__init__()
        self.optimisers = optimisers

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            counters = [v["step"] for o in self.optimisers for v in o.state.values()]
            assert any(args[0] is c for c in counters), "a number was read"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("recipe", [NONE, gan_recipe(get("image").ops)])
def test_a_step_reads_no_number_from_the_device(recipe: Recipe) -> None:
    state, data = start()
    state.aug_p = 0.6
    with Unread(state.opt_g, state.opt_v):
        for _ in range(2):  # with penalties and without
            pending = one_step(state, data, replace(SCHEDULE, lazy=2), recipe)
    with Unread(), pytest.raises(AssertionError, match="a number was read"):
        float(pending["g_loss"])
    assert all(np.isfinite(v) for v in read(pending).values())


@pytest.mark.slow
def test_gradients_of_compiled_networks_are_the_same_bits_each_time() -> None:
    """Sums that all threads add to at once are not (with `nn.Embedding` and `F.interpolate` in the networks this fails)."""
    state = start()[0]
    state.lay_out(replace(SCHEDULE, compiled=True))
    z, y = torch.randn(512, 64), torch.randint(2, (512,), generator=torch.Generator().manual_seed(0))

    def gradients() -> list[torch.Tensor]:
        loss = state.verifier(state.generator(z, y), y).score.square().sum()
        return list(torch.autograd.grad(loss, [state.verifier.heads.project.weight, *state.generator.parameters()]))

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first = gradients()
        for _ in range(20):
            for one, two in zip(first, gradients(), strict=True):
                torch.testing.assert_close(one, two, rtol=0, atol=0)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.slow
def test_compiled_steps_are_those_of_the_networks_and_go_on_bit_for_bit(tmp_path: Path) -> None:
    schedule = replace(SCHEDULE, compiled=True, steps=6)

    def begun(how: Schedule) -> State:
        state, _ = start()
        state.lay_out(how)
        return state

    data = start()[1]
    plain, whole, first, again = (begun(replace(schedule, compiled=c)) for c in (False, True, True, True))
    a, b = (read(one_step(state, data, schedule, NONE)) for state in (plain, whole))
    assert a == pytest.approx(b, rel=1e-4)
    train(whole, data, schedule, NONE)
    while first.step < 3:
        one_step(first, data, schedule, NONE)
    first.save(tmp_path / "step", schedule)
    again.load(tmp_path / "step")
    train(again, data, schedule, NONE)
    for one, two in zip(weights(whole), weights(again), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_compiling_is_tried_where_it_may_pay_and_its_failure_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, data = start()

    def choice(name: str, wanted: str, seconds: float) -> tuple[bool, str]:
        run = Run.open(tmp_path / name, verb="train", config={}, inputs={})
        found = choose.compiled(run, TrainConfig(compile=wanted), state, data, SCHEDULE, seconds)  # type: ignore[arg-type]
        return found, run.reason("compile")

    monkeypatch.setattr(choose, "_quickest", lambda *given: pytest.fail("timed"))
    assert choice("off", "off", 9999) == (False, "as set")
    assert choice("cpu", "auto", 9999)[0] is False
    monkeypatch.setattr(data, "device", "cuda")
    assert choice("short", "auto", 60) == (False, "it takes a minute or two, and the run 60 s")
    monkeypatch.setattr(choose, "_quickest", lambda state, data, schedule: 0.5 if schedule.compiled else 1.0)
    assert choice("quick", "auto", 9999)[0] is True
    monkeypatch.setattr(choose, "_quickest", lambda state, data, schedule: 0.9 if schedule.compiled else 1.0)
    assert choice("slow", "auto", 9999)[0] is False
    assert choice("wanted", "on", 60)[0] is True

    def broken(state: State, data: Data, schedule: Schedule) -> float:
        if schedule.compiled:
            raise RuntimeError("no working C++ compiler\nfound")
        return 1.0

    monkeypatch.setattr(choose, "_quickest", broken)
    assert "no working C++ compiler" in choice("broken", "auto", 9999)[1]
    with pytest.raises(UserError, match="leave --compile out"):
        choice("asked", "on", 60)


def test_what_is_set_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, data = start()
    run = Run.open(tmp_path / "run", verb="train", config={}, inputs={})
    monkeypatch.setattr(choose, "_quickest", lambda *given: pytest.fail("timed"))
    assert choose.precision(run, TrainConfig(precision="bf16"), state, data, SCHEDULE) == "bf16"


def test_a_gpu_that_is_not_there_is_refused_and_auto_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert (sizes.device(), sizes.device("auto"), sizes.device("cpu")) == ("cpu", "cpu", "cpu")
    with pytest.raises(UserError, match="no GPU"):
        sizes.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert (sizes.device(), sizes.device("cpu")) == ("cuda", "cpu")
