"""Adversarial training, against closed forms, finite differences, and itself after a crash at every possible place."""

from __future__ import annotations

import copy
import json
import math
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from scipy import stats
from sklearn.metrics import roc_auc_score
from torch import nn

from augmint.core import rng
from augmint.core.config import TrainConfig
from augmint.core.errors import Interrupted, UserError
from augmint.core.machine import cores
from augmint.core.run import Run, read_jsonl
from augmint.models.generator import Generator
from augmint.models.verifier import Verifier
from augmint.training import adapt, checkpoint, ema, fit, loop, losses, semi, watch
from augmint.training.fit import Material
from augmint.training.loop import Data, Schedule, State, one_step, train
from augmint.transforms.recipe import Recipe
from augmint.transforms.run_torch import augment, gan_recipe

torch.set_num_threads(1)

OPS = ("Rotate", "Translate", "Scale", "Brightness", "Contrast", "GaussianNoise", "Cutout")
WIDTHS = (12, 8)
MENDS = "to mend it"


def tiny_networks(size: str, grid: Any, num_classes: int) -> tuple[nn.Module, Verifier]:
    shape = (grid.channels, grid.shape, num_classes, WIDTHS)
    return Generator(*shape), Verifier(*shape)


MODALITY: Any = SimpleNamespace(name="toy", ops=OPS, networks=tiny_networks)


@pytest.fixture(autouse=True)
def _threads_stay_as_they_are() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def halves(n: int, shape: tuple[int, ...] = (8, 8), *, classes: int = 2, channels: int = 1, seed: int = 0) -> Any:
    """Class c is bright in the c-th slice of the last axis and dark elsewhere, with noise."""
    y = (np.arange(n) % classes).astype(np.int64)
    x = np.full((n, channels, *shape), -0.6, np.float32)
    width = shape[-1] // classes
    for i, c in enumerate(y):
        x[i, ..., c * width : (c + 1) * width] = 0.6
    noise = rng.normal(rng.key("noise", seed), np.arange(x.size)).reshape(x.shape)
    return np.clip(x + 0.1 * noise, -1, 1).astype(np.float32), y


def data_of(shape: tuple[int, ...] = (8, 8), *, classes: int = 2, channels: int = 1, n: int = 24) -> Data:
    x, y = halves(n, shape, classes=classes, channels=channels)
    held_x, held_y = halves(12, shape, classes=classes, channels=channels, seed=1)
    return Data(x, y, classes, held_x, held_y)


def fresh(data: Data, *, seed: int = 1, lr: float = 2e-3, aug_p: float = 0.0) -> State:
    state = State.fresh(*fit.networks(MODALITY, "nano", data.grid, data.num_classes, seed=seed), lr)
    state.aug_p = aug_p
    return state


def contents(state: State) -> dict[str, Any]:
    """Every number of a state, as bytes where it is a tensor."""
    out: dict[str, Any] = {}
    for name, module in (("generator", state.generator), ("verifier", state.verifier), ("ema", state.ema)):
        out |= {f"{name}.{k}": v.numpy().tobytes() for k, v in module.state_dict().items()}
    for name, optimiser in (("opt_g", state.opt_g), ("opt_v", state.opt_v)):
        out |= {f"{name}.{k}": v.numpy().tobytes() for k, v in checkpoint.adam_state(optimiser).items()}
    counters = ("step", "samples_seen", "aug_p", "lr_scale", "best_fid", "best_recall", "improved_at", "notes")
    return {**out, **{k: getattr(state, k) for k in counters}}


def files(folder: Path) -> dict[str, bytes]:
    """Every file under a folder by its path; what begins with a dot is left over from a kill, and nobody reads it."""
    found = {p.relative_to(folder): p for p in sorted(folder.rglob("*")) if p.is_file()}
    return {
        str(name): p.read_bytes() for name, p in found.items() if not any(part.startswith(".") for part in name.parts)
    }


# -- losses ----------------------------------------------------------------------------------------------------------


def test_the_relativistic_loss_is_the_mean_softplus_of_the_difference() -> None:
    winner, loser = torch.tensor([0.3, -2.0, 5.0]), torch.tensor([1.0, -2.0, -4.0])
    by_hand = np.mean([math.log(1 + math.exp(0.7)), math.log(2), math.log(1 + math.exp(-9))])
    assert losses.relativistic(winner, loser).item() == pytest.approx(by_hand, rel=1e-6)
    assert losses.relativistic(winner + 100, loser + 100).item() == pytest.approx(by_hand, rel=1e-4), "not relative"
    assert losses.relativistic(torch.tensor([-1e4]), torch.tensor([1e4])).item() == pytest.approx(2e4)


@pytest.mark.parametrize("shape", [(6,), (3, 4), (2, 3, 2)])
def test_the_penalty_of_a_linear_score_is_the_square_of_its_weights(shape: tuple[int, ...]) -> None:
    w = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    x = torch.randn(5, 2, *shape, generator=torch.Generator().manual_seed(1))
    penalty = losses.gradient_penalty(lambda v: (v * w).flatten(1).sum(1), x)
    assert penalty.item() == pytest.approx(w.square().sum().item(), rel=1e-5)
    penalty.backward()
    assert w.grad is not None and torch.allclose(w.grad, 2 * w, rtol=1e-5)
    assert x.grad is None and not x.requires_grad


def test_the_penalty_is_the_mean_over_samples_not_over_cells() -> None:
    """score = |x|^2 / 2 has the slope x."""
    x = torch.tensor([[[1.0, 2.0]], [[0.0, 3.0]]])
    assert losses.gradient_penalty(lambda v: v.square().flatten(1).sum(1) / 2, x).item() == pytest.approx((5 + 9) / 2)


def test_the_penalty_of_a_verifier_and_its_slope_in_the_weights_match_finite_differences() -> None:
    data = data_of((4, 4))
    verifier = fresh(data).verifier.double()
    x, y = data.x[:2].double(), torch.tensor([0, 1])
    eps = 1e-6

    def slopes_squared() -> float:
        total = 0.0
        for cell in range(x[0].numel()):
            step = torch.zeros_like(x).flatten(1)
            step[:, cell] = eps
            step = step.view_as(x)
            with torch.no_grad():
                slope = (verifier.score(x + step, y) - verifier.score(x - step, y)) / (2 * eps)
            total += slope.square().mean().item()
        return total

    penalty = losses.gradient_penalty(lambda v: verifier.score(v, y), x)
    assert penalty.item() == pytest.approx(slopes_squared(), rel=1e-5)
    penalty.backward()
    weight = verifier.heads.fc1.weight
    assert weight.grad is not None
    at = np.unravel_index(int(weight.grad.abs().argmax()), weight.shape)
    with torch.no_grad():
        weight[at] += 1e-4
        up = slopes_squared()
        weight[at] -= 2e-4
        down = slopes_squared()
    assert (up - down) / 2e-4 == pytest.approx(weight.grad[at].item(), rel=1e-3)


def test_the_rebuild_error_is_a_mean_over_the_cells_of_each_sample() -> None:
    x, rebuilt = torch.zeros(2, 1, 2, 2), torch.tensor([[[[2.0, 0.0], [0.0, 0.0]]], [[[1.0, 1.0], [1.0, 1.0]]]])
    assert losses.rebuild_error(x, rebuilt).tolist() == [1.0, 1.0]


def test_consistency_is_the_cross_entropy_of_the_sure_ones_over_all() -> None:
    weak = torch.tensor([[4.0, 0.0, 0.0], [0.1, 0.0, 0.0], [0.0, 0.0, 9.0]])
    strong = torch.tensor([[1.0, 2.0, 0.0], [5.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    p = np.exp(weak.numpy()) / np.exp(weak.numpy()).sum(1, keepdims=True)
    assert list(p.max(1) >= 0.9) == [True, False, True]
    nll = [-math.log(math.exp(1) / (math.exp(1) + math.exp(2) + 1)), 0, -math.log(math.e / (1 + 2 * math.e))]
    assert losses.consistency(weak, strong, 0.9).item() == pytest.approx(sum(nll) / 3, rel=1e-5)
    assert losses.consistency(weak, strong, 1.0).item() == 0
    stacked = losses.consistency(torch.stack([weak, weak]), torch.stack([strong, strong]), 0.9)
    assert stacked.tolist() == pytest.approx([sum(nll) / 3] * 2, rel=1e-5)


def test_consistency_teaches_only_the_strong_view() -> None:
    weak = torch.tensor([[9.0, 0.0]], requires_grad=True)
    strong = torch.tensor([[0.0, 1.0]], requires_grad=True)
    losses.consistency(weak, strong, 0.5).backward()
    assert weak.grad is None and strong.grad is not None and strong.grad[0, 0] < 0 < strong.grad[0, 1]


def test_gamma_starts_where_the_formula_says() -> None:
    assert losses.gamma_for((16, 16), 32, 9000) == pytest.approx(0.375 * 256 / 32) == pytest.approx(3.0)
    assert losses.gamma_for((50,), 10, 100) == pytest.approx(0.375 * 5)
    assert losses.gamma_for((8, 8, 8), 64, 100) == pytest.approx(3.0)


def test_in_few_steps_large_grids_have_a_lighter_penalty() -> None:
    full = {side: 0.375 * side * side / 32 for side in (16, 32, 48, 64, 128)}
    few = {side: losses.gamma_for((side, side), 32, 8000) for side in full}
    assert {side: losses.gamma_for((side, side), 32, 8001) for side in full} == pytest.approx(full)
    assert few == pytest.approx({16: full[16], 32: full[32], 48: full[32], 64: full[32], 128: full[128] / 4})


@pytest.mark.parametrize(
    ("shape", "steps", "lr"),
    [
        ((16, 16), 500, 6e-4),
        ((64, 64), 8000, 1e-3),
        ((63, 64), 500, 6e-4),
        ((80, 64), 12_000, 6e-4),
        ((16, 16, 16), 900, 1e-3),
    ],
)
def test_large_grids_in_few_steps_have_the_higher_rate(shape: tuple[int, ...], steps: int, lr: float) -> None:
    assert losses.lr_for(shape, steps) == lr


# -- what steers itself ----------------------------------------------------------------------------------------------


def test_the_learning_rate_falls_along_a_cosine_to_a_third() -> None:
    assert adapt.learning_rate(6e-4, 0) == pytest.approx(6e-4)
    assert adapt.learning_rate(6e-4, 1) == adapt.learning_rate(6e-4, 3) == pytest.approx(2e-4)
    assert adapt.learning_rate(6e-4, 0.5) == pytest.approx(4e-4)
    rates = [adapt.learning_rate(1.0, p) for p in np.linspace(0, 1, 50)]
    assert rates == sorted(rates, reverse=True)


def test_beta2_rises_over_the_first_half() -> None:
    assert [adapt.beta2(p) for p in (0, 0.25, 0.5, 1)] == pytest.approx([0.9, 0.945, 0.99, 0.99])


def test_both_optimisers_get_the_scheduled_rate_and_betas() -> None:
    data, recipe = data_of(), Recipe("none", ())
    state = fresh(data)
    state.lr_scale = 0.5
    schedule = Schedule(10, 4, 1.0, 1e-3)
    for done in range(10):
        figures = one_step(state, data, schedule, recipe)
        assert figures["lr"] == pytest.approx(0.5 * adapt.learning_rate(1e-3, done / 10))
        for group in (*state.opt_g.param_groups, *state.opt_v.param_groups):
            assert group["lr"] == figures["lr"] and group["betas"] == (0.0, adapt.beta2(done / 10))
            assert group["weight_decay"] == 0


def test_the_gap_is_the_area_under_the_curve_of_training_against_unseen_reals() -> None:
    """With every pair there is, it is ``2 AUC - 1`` (scikit-learn's)."""
    g = np.random.default_rng(0)
    train, held = g.normal(0.7, 1, 300), g.normal(0, 1, 80)
    area = roc_auc_score(np.repeat([1, 0], [300, 80]), np.concatenate([train, held]))
    pairs = torch.from_numpy(np.tile(train, (80, 1)))
    assert adapt.gap(pairs, torch.from_numpy(held)) == pytest.approx(2 * area - 1)
    assert adapt.gap(100 + 1000 * pairs, 100 + 1000 * torch.from_numpy(held)) == pytest.approx(2 * area - 1), "no scale"
    assert adapt.gap(-pairs, -torch.from_numpy(held)) == 0, "unseen reals above: no overfitting"
    assert adapt.gap(torch.ones(3, 4), torch.ones(3)) == 0 and adapt.gap(torch.ones(3, 4), torch.zeros(3)) == 1


def test_training_samples_to_compare_with_are_of_the_class_of_each_held_out_one() -> None:
    x, y = halves(9, classes=3)
    data = Data(x, y, 4, x[:0], y[:0])
    wanted = torch.tensor([2, 0, 0, 1, 2, 3])
    drawn = data.draw_like(5, wanted)
    found = [int(y[(x == one.numpy()).all(axis=(1, 2, 3))][0]) for one in drawn]
    assert found[:5] == wanted[:5].tolist() and found[5] in (0, 1, 2), "of a class that nobody has, any"
    assert not torch.equal(data.draw_like(6, wanted), drawn)


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 0.8), st.lists(st.floats(0, 1), max_size=40))
def test_the_augmentation_probability_follows_the_gap_and_stays_in_its_range(aug_p: float, gaps: list[float]) -> None:
    for found in gaps:
        after = adapt.next_aug_p(aug_p, found)
        assert 0 <= after <= 0.8
        assert after >= aug_p if found > 0.5 else after <= aug_p
        assert abs(after - aug_p) <= min(0.1, abs(found - 0.5) / 4) + 1e-12
        aug_p = after


@pytest.mark.parametrize("steps", [3, 40, 97, 1522])
def test_the_augmentation_is_steered_about_four_times_a_tick_and_not_before_the_first(steps: int) -> None:
    plan = Schedule(steps, 4, 1.0, 1e-3)
    each = steps // 10 or 1
    at = [s for s in range(1, steps + 1) if plan.is_steered(s)]
    assert at[0] == each and at[-1] == steps and set(range(each, steps + 1, each)) <= set(at)
    per_tick = [sum(k * each <= s < (k + 1) * each for s in at) for k in range(1, steps // each)]
    assert set(per_tick) <= {min(4, each)}


def test_with_too_few_held_out_reals_nothing_is_steered() -> None:
    x, y = halves(12)
    data = Data(x, y, 2, x[:7], y[:7])
    state = train(fresh(data, aug_p=0.4), data, Schedule(4, 4, 1.0, 1e-3), gan_recipe(OPS))
    assert state.aug_p == 0.4


# -- the running average ---------------------------------------------------------------------------------------------


def test_the_average_is_the_geometric_series() -> None:
    """Far enough in, the decay is constant: after n steps of weight v_i the average is the geometric sum."""
    net, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(average.weight, 2.0)
    total, batch, values = 100_000, 500, [0.3, -1.0, 4.0, 4.0, 0.5]
    life = ema.half_life(total)
    assert life == 5_000
    for i, v in enumerate(values):
        nn.init.constant_(net.weight, v)
        ema.update(average, net, batch, 100_000 + i, total)  # 5 % of what was seen is at the half-life
    d, n = 0.5 ** (batch / life), len(values)
    series = d**n * 2.0 + (1 - d) * sum(d ** (n - 1 - i) * v for i, v in enumerate(values))
    assert average.weight.item() == pytest.approx(series, rel=1e-6)


def test_half_of_the_past_is_forgotten_after_a_half_life() -> None:
    net, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    nn.init.ones_(average.weight)
    for _ in range(10):
        ema.update(average, net, 100, 10**9, 20_000)
    assert average.weight.item() == pytest.approx(0.5, rel=1e-5)


def test_the_random_start_is_forgotten_early() -> None:
    net, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    nn.init.ones_(average.weight)
    for step in range(1, 11):
        ema.update(average, net, 32, 32 * step, 10**9)
    assert average.weight.item() < 1e-6


def test_the_half_life_is_bounded() -> None:
    assert ema.half_life(4_000) == pytest.approx(200)
    assert ema.half_life(40_000) == 1_000
    assert ema.half_life(120_000) == pytest.approx(6_000)
    assert ema.half_life(10**7) == 10_000


def test_the_average_follows_the_generator_in_the_loop() -> None:
    data = data_of()
    state, schedule = fresh(data), Schedule(6, 4, 1.0, 2e-3)
    slow = {k: v.double().clone() for k, v in state.ema.state_dict().items()}
    for _ in range(6):
        one_step(state, data, schedule, Recipe("none", ()))
        life = min(ema.half_life(24), max(1.0, 0.05 * state.samples_seen))
        d = 0.5 ** (4 / life)
        for k, v in state.generator.state_dict().items():
            slow[k] = d * slow[k] + (1 - d) * v.double()
    assert all(torch.allclose(v.double(), slow[k], atol=1e-6) for k, v in state.ema.state_dict().items())
    assert not any(p.requires_grad for p in state.ema.parameters())


# -- the data --------------------------------------------------------------------------------------------------------


def test_draws_are_class_balanced_and_uniform_inside_a_class() -> None:
    x, _ = halves(50)
    y = np.array([0] * 45 + [1] * 3 + [3] * 2)  # class 2 is empty
    x[:, 0, 0, 0] = np.arange(50) / 50
    drawn_x, drawn_y = Data(x, y, 4, x[:0], y[:0]).draw(rng.key("draw"), 9_000)
    index = np.rint(drawn_x[:, 0, 0, 0].numpy() * 50).astype(int)
    assert np.array_equal(drawn_y.numpy(), y[index]), "label of another sample"
    counts = np.bincount(drawn_y.numpy(), minlength=4)
    assert counts[2] == 0
    assert stats.chisquare(counts[[0, 1, 3]]).pvalue > 0.001
    for c in (0, 1, 3):
        assert stats.chisquare(np.bincount(index[y[index] == c], minlength=50)[y == c]).pvalue > 0.001


def test_a_draw_is_a_function_of_its_key() -> None:
    data = data_of()
    first, again, other = (data.draw(rng.key("k", i), 16)[0] for i in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_latents_are_standard_normal_and_a_function_of_the_key() -> None:
    z = loop.latents(rng.key("z"), 500)
    assert stats.kstest(z.flatten().numpy(), "norm").pvalue > 0.001
    assert torch.equal(z, loop.latents(rng.key("z"), 500)) and not torch.equal(z, loop.latents(rng.key("y"), 500))


def test_no_data_is_refused() -> None:
    with pytest.raises(UserError, match="nothing to train on"):
        Data(np.zeros((0, 1, 8, 8), np.float32), np.zeros(0, np.int64), 2, *halves(0))


def test_samples_without_a_label_are_not_passed_off_as_the_first_class(tmp_path: Path) -> None:
    """A data set where some files have no label: the generator of class 0 must not learn from them."""
    import augmint as am
    from augmint.data import images
    from augmint.steps.prepare import prepare

    lines = ["file_name,label"]
    for i in range(60):
        light = {"a": 10, "b": 120, "": 240}[label := ("a", "b", "")[i % 3]]
        noise = (rng.bits(i, np.arange(64)) % np.uint64(12)).astype(np.uint8).reshape(8, 8, 1)
        images.write(tmp_path / f"{i:02d}.png", noise + np.uint8(light))
        lines.append(f"{i:02d}.png,{label}")
    (tmp_path / "metadata.csv").write_text("\n".join(lines) + "\n")
    prepared = prepare(am.read(tmp_path), None, seed=0, folds=2, grid=None)
    material = prepared.material(prepared.folds[0])
    data = Data(material.x, material.y, material.num_classes, material.held_out_x, material.held_out_y)
    drawn_x, drawn_y = data.draw(rng.key("draw"), 200)
    assert (drawn_x[drawn_y == 0] < 0).all(), "white pictures without a label are drawn as the dark class"


# -- checkpoints -----------------------------------------------------------------------------------------------------


def test_adam_comes_back_bit_for_bit_and_goes_on_bit_for_bit(tmp_path: Path) -> None:
    def step(net: nn.Module, optimiser: torch.optim.Optimizer, i: int) -> None:
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(i))
        optimiser.zero_grad()
        net(x).square().mean().backward()
        optimiser.step()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2, betas=(0.0, 0.9))
    for i in range(3):
        step(net, optimiser, i)
    checkpoint.save_folder(tmp_path / "c", {"net": net.state_dict(), "optim": checkpoint.adam_state(optimiser)}, {})

    other = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    checkpoint.load_into(other, tmp_path / "c", "net")
    theirs = torch.optim.Adam(other.parameters(), lr=1e-2, betas=(0.0, 0.9))
    checkpoint.load_adam(theirs, checkpoint.load_part(tmp_path / "c", "optim"))
    before, after = checkpoint.adam_state(optimiser), checkpoint.adam_state(theirs)
    assert before.keys() == after.keys() and len(before) == 4 * 3
    assert all(torch.equal(before[k], after[k]) and before[k].dtype == after[k].dtype for k in before)
    for i in range(3, 6):
        step(net, optimiser, i)
        step(other, theirs, i)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_a_checkpoint_does_not_change_when_training_goes_on(tmp_path: Path) -> None:
    data = data_of()
    state = fresh(data)
    one_step(state, data, Schedule(4, 4, 1.0, 1e-3), Recipe("none", ()))
    moments = checkpoint.adam_state(state.opt_g)
    kept = {k: v.clone() for k, v in moments.items()}
    one_step(state, data, Schedule(4, 4, 1.0, 1e-3), Recipe("none", ()))
    assert all(torch.equal(moments[k], kept[k]) for k in kept)


def test_a_state_comes_back_whole(tmp_path: Path) -> None:
    data = data_of()
    state, schedule = fresh(data, aug_p=0.35), Schedule(9, 4, 1.0, 1e-3)
    train(state, data, replace(schedule, steps=3), gan_recipe(OPS))
    state.notes, state.lr_scale = ["something happened"], 0.25
    state.save(tmp_path / "s", schedule)
    other = fresh(data, seed=99)
    other.load(tmp_path / "s")
    assert contents(other) == contents(state)


class Bomb:
    def __reduce__(self) -> Any:
        return (exec, ("raise AssertionError('the pickle was run')",))


@pytest.mark.parametrize("how", ["pickle", "torch.save", "text", "empty", "cut"])
def test_only_safetensors_are_read(how: str, tmp_path: Path) -> None:
    path = tmp_path / "generator.safetensors"
    match how:
        case "pickle":
            path.write_bytes(pickle.dumps(Bomb()))
        case "torch.save":
            torch.save({"a": torch.zeros(3), "b": Bomb()}, path)
        case "text":
            path.write_text("weights, honestly")
        case "empty":
            path.write_bytes(b"")
        case _:
            save_file({"weight": torch.zeros(100)}, path)
            path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match="not a safetensors file") as error:
        checkpoint.load_into(nn.Linear(1, 1), tmp_path, "generator")
    assert "pickles are refused" in str(error.value) and str(path) in str(error.value) and MENDS in str(error.value)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing") as error:
        checkpoint.load_part(tmp_path, "verifier")
    assert "verifier.safetensors" in str(error.value)


@pytest.mark.parametrize("other", [(2, (8, 8), 2), (1, (8, 9), 2), (1, (8, 8), 3)])
def test_weights_of_another_network_are_refused_and_the_layer_is_named(other: Any, tmp_path: Path) -> None:
    mine, theirs = Generator(1, (8, 8), 2, WIDTHS), Generator(*other, WIDTHS)
    checkpoint.save_folder(tmp_path / "c", {"generator": theirs.state_dict()}, {})
    differing = [k for k, v in theirs.state_dict().items() if v.shape != mine.state_dict()[k].shape]
    assert differing
    with pytest.raises(UserError, match="another network") as error:
        checkpoint.load_into(mine, tmp_path / "c", "generator")
    assert any(name in str(error.value) for name in differing) and "generator.safetensors" in str(error.value)


def test_weights_with_a_layer_more_or_less_are_refused_by_name(tmp_path: Path) -> None:
    checkpoint.save_folder(tmp_path / "c", {"net": {"weight": torch.zeros(1, 1)}}, {})
    with pytest.raises(UserError, match="bias"):
        checkpoint.load_into(nn.Linear(1, 1), tmp_path / "c", "net")


def test_old_checkpoints_go_and_the_best_stays(tmp_path: Path) -> None:
    for step in (5, 10, 15, 20, 100_000):
        checkpoint.save_folder(tmp_path / f"step-{step:06d}", {}, {"step": step})
        checkpoint.point(tmp_path, "last", tmp_path / f"step-{step:06d}")
        if step == 10:
            checkpoint.point(tmp_path, "best", tmp_path / "step-000010")
        checkpoint.tidy(tmp_path)
    left = {p.name for p in tmp_path.glob("step-*")}
    assert left == {"step-000010", "step-000020", "step-100000"}
    last, best = checkpoint.find(tmp_path, "last"), checkpoint.find(tmp_path, "best")
    assert last and best and (last.name, best.name) == ("step-100000", "step-000010")


def test_a_pointer_to_nothing_is_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoint.find(tmp_path, "last") is None
    checkpoint.point(tmp_path, "last", tmp_path / "step-000007")
    assert checkpoint.find(tmp_path, "last") is None


# -- the loop: resume ------------------------------------------------------------------------------------------------


class StopAt:
    """True when the state has reached a step, as if Ctrl-C had come there."""

    def __init__(self, state: State, step: int) -> None:
        self.state, self.step = state, step

    def __bool__(self) -> bool:
        return self.state.step == self.step


PLAN = Schedule(13, 6, 1.5, 2e-3, lazy=3, ticks=4, seed=5)  # ticks after 3, 6, 9, 12 and 13


def fid_at(state: State, figures: dict[str, float]) -> dict[str, float]:
    return {"fid": abs(state.step - 8.5)}  # best at step 9


def trained(folder: Path | None, stops: set[int] | frozenset[int] = frozenset()) -> tuple[State, list[dict[str, Any]]]:
    """A whole run, stopped after each of these steps and taken up again by a new process's worth of objects."""
    data, rows = data_of(), []
    for stop in [*sorted(stops), -1]:
        state = fresh(data, aug_p=0.6)
        last = checkpoint.find(folder, "last") if folder else None
        if last is not None:
            state.load(last)
        try:
            train(
                state, data, PLAN, gan_recipe(OPS), folder=folder, stop=StopAt(state, stop), on_row=rows.append,
                on_tick=fid_at,
            )  # fmt: skip
        except Interrupted as error:
            assert state.step == stop and f"step {stop} of 13" in str(error)
            assert "run the same command" in str(error)
        else:
            return state, rows
    raise AssertionError("never finished")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("whole")
    state, rows = trained(folder)
    assert state.aug_p != 0.6 and state.step == 13
    return contents(state), rows, files(folder)


@settings(max_examples=5, deadline=None)
@given(st.sets(st.integers(1, 12), min_size=1, max_size=4))
def test_stopped_anywhere_and_taken_up_again_is_the_same_bit_for_bit(
    whole: Any, tmp_path_factory: pytest.TempPathFactory, stops: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("stopped")
    state, rows = trained(folder, stops)
    assert contents(state) == whole[0]
    assert rows == whole[1]
    kept = {name: data for name, data in files(folder).items() if name.split("/")[0] in ("last", "best", "step-000013")}
    assert kept == {name: whole[2][name] for name in kept}
    assert kept["best"] == b"step-000009\n"


def test_saving_changes_nothing(whole: Any) -> None:
    state, rows = trained(None)
    assert contents(state) == whole[0] and rows == whole[1]


class Killed(BaseException):
    """Stands for SIGKILL: nothing in augmint catches it."""


class Killer:
    """Ends the process, so to speak, before the n-th rename, or in the middle of the removal of a folder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int | None) -> None:
        self.at, self.count = at, 0
        replace_, rmtree = Path.replace, shutil.rmtree

        def renaming(path: Path, target: Path) -> Any:
            self.tick()
            return replace_(path, target)

        def removing(path: Path, *args: Any, **kwargs: Any) -> None:
            inside = sorted(p for p in Path(path).glob("*") if p.name != "state.json") if Path(path).exists() else []
            if inside and self.count + 1 == self.at:
                inside[0].unlink()
            if inside:
                self.tick()
            rmtree(path, *args, **kwargs)

        monkeypatch.setattr(Path, "replace", renaming)
        monkeypatch.setattr(shutil, "rmtree", removing)

    def tick(self) -> None:
        self.count += 1
        if self.count == self.at:
            raise Killed


def survives(at: int | None, folder: Path, stops: frozenset[int]) -> tuple[int, State]:
    with pytest.MonkeyPatch.context() as patch:
        killer = Killer(patch, at)
        try:
            state, _ = trained(folder, stops)
        except Killed:
            killer.at = None
            state, _ = trained(folder)
    return killer.count, state


@pytest.mark.parametrize("stops", [frozenset(), frozenset({6})], ids=["straight", "stopped at a tick"])
def test_killed_before_any_write_and_run_again_is_the_same(stops: frozenset[int], whole: Any, tmp_path: Path) -> None:
    """Every place where something on disk changes, one after the other; a sample of them, the rest by the slow test."""
    number, _ = survives(None, tmp_path / "count", stops)
    assert number > 30
    for at in range(1, number + 1, 11):
        _check_kill(at, tmp_path / str(at), stops, whole)


@pytest.mark.slow
@pytest.mark.parametrize("stops", [frozenset(), frozenset({6})], ids=["straight", "stopped at a tick"])
def test_killed_before_every_write_and_run_again_is_the_same(stops: frozenset[int], whole: Any, tmp_path: Path) -> None:
    number, _ = survives(None, tmp_path / "count", stops)
    for at in range(1, number + 1):
        _check_kill(at, tmp_path / str(at), stops, whole)


def test_the_best_checkpoint_is_never_behind_the_last_one(whole: Any, tmp_path: Path) -> None:
    """Killed between the two pointers: the run goes on from the last one and would not come by the best one again."""

    class KilledHere:
        def __init__(self) -> None:
            self.count = 0

        def __call__(self, folder: Path, name: str, target: Path) -> None:
            self.count += target.name == "step-000009"
            if self.count == 2:
                raise Killed
            real(folder, name, target)

    real = checkpoint.point
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "point", KilledHere())
        with pytest.raises(Killed):
            trained(tmp_path)
    state, _ = trained(tmp_path)
    assert contents(state) == whole[0]
    assert files(tmp_path)["best"] == whole[2]["best"]


def _check_kill(at: int, folder: Path, stops: frozenset[int], whole: Any) -> None:
    _, state = survives(at, folder, stops)
    assert contents(state) == whole[0], f"killed at write {at}"
    found = files(folder)
    for name in ("last", "best", "step-000013/ema.safetensors", "step-000009/ema.safetensors"):
        assert found[name] == whole[2][name], f"killed at write {at}: {name}"


# -- the loop: numbers that are none ---------------------------------------------------------------------------------


def broken_steps(monkeypatch: pytest.MonkeyPatch, at: int, *, below: float = 0.0) -> None:
    """A loss is NaN at one step until the learning rate has been lowered under ``below`` of itself."""
    real = loop.one_step

    def step(state: State, *args: Any) -> dict[str, float]:
        figures = real(state, *args)
        return {**figures, "v_loss": float("nan")} if state.step == at and state.lr_scale > below else figures

    monkeypatch.setattr(loop, "one_step", step)


def test_a_loss_that_is_no_number_goes_back_to_the_last_checkpoint_at_half_the_rate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken_steps(monkeypatch, 8, below=0.5)
    state, rows = trained(tmp_path)
    assert state.step == 13 and state.lr_scale == 0.5
    assert state.notes == ["step 8: a loss was not a number; back to step 6 at half the learning rate"]
    assert all(math.isfinite(v) for row in rows for v in row.values())
    rates = {row["step"]: row["lr"] for row in rows}
    assert rates[13] == pytest.approx(0.5 * adapt.learning_rate(PLAN.lr, 12 / 13))


def test_every_return_to_a_checkpoint_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken_steps(monkeypatch, 8, below=0.125)
    state, _ = trained(tmp_path)
    assert state.lr_scale == 0.125
    assert len(state.notes) == 3


def test_stopped_and_taken_up_again_after_a_return_is_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken_steps(monkeypatch, 8, below=0.5)
    straight, _ = trained(tmp_path / "straight")
    for stop in (7, 9, 11):
        state, _ = trained(tmp_path / str(stop), {stop})
        assert contents(state).keys() == contents(straight).keys()
        differing = [k for k, v in contents(state).items() if v != contents(straight)[k] and k != "notes"]
        # A stop at 7 makes a checkpoint there, which the run then goes back to instead of 6: a step less at the old rate.
        assert not differing or stop == 7


def test_it_gives_up_in_plain_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken_steps(monkeypatch, 8)
    with pytest.raises(UserError, match="diverged at step 8") as error:
        trained(tmp_path)
    assert "--lr" in str(error.value) and "--gamma" in str(error.value)


def test_without_a_checkpoint_it_gives_up_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken_steps(monkeypatch, 2)
    with pytest.raises(UserError, match="diverged at step 2"):
        trained(tmp_path)


def test_a_nan_in_the_data_ends_the_run_and_saves_nothing(tmp_path: Path) -> None:
    x, y = halves(4)
    x[:, 0, 3, 3] = np.nan
    data = Data(x, y, 2, *halves(0))
    with pytest.raises(UserError, match=MENDS):
        train(fresh(data), data, PLAN, Recipe("none", ()), folder=tmp_path)
    assert not files(tmp_path)


def test_weights_that_are_no_numbers_are_never_the_last_good_checkpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The generator overflows in the update of a step that a tick follows: its losses were still numbers."""
    real = loop.one_step

    def step(state: State, *args: Any) -> dict[str, float]:
        figures = real(state, *args)
        if state.step == 9 and state.lr_scale == 1:
            with torch.no_grad():
                next(iter(state.generator.parameters())).fill_(float("nan"))
        return figures

    monkeypatch.setattr(loop, "one_step", step)
    state, _ = trained(tmp_path)
    assert state.step == 13 and state.lr_scale == 0.5


def test_health_is_told_from_finite_numbers() -> None:
    assert watch.is_finite({"a": 1.0, "b": -3})
    assert not watch.is_finite({"a": float("nan")}) and not watch.is_finite({"a": 1.0, "b": float("inf")})


def test_diversity_is_the_root_mean_variance_of_a_class() -> None:
    x = np.array([[[0.0, 0.0]], [[2.0, 0.0]], [[5.0, 5.0]], [[5.0, 5.0]], [[1.0, 1.0]]], np.float32)
    found = watch.diversity_by_class(x, np.array([0, 0, 1, 1, 2]), 4)
    assert found[:2].tolist() == pytest.approx([math.sqrt(0.5), 0])
    assert np.isnan(found[2:]).all()


def test_remarks_come_late_and_name_the_class() -> None:
    flat, real = np.array([0.01, 0.4], np.float32), np.array([0.4, 0.4], np.float32)
    assert watch.remarks({}, flat, real, ("cat", "dog"), late=False) == []
    (told,) = watch.remarks({}, flat, real, ("cat", "dog"), late=True)
    assert "cat" in told and "dog" not in told and "--gamma" in told
    figures = {"recall": 0.01, "gap": 0.9, "aug_p": 0.8, "copy_rate": 0.2}
    told = " ".join(watch.remarks(figures, real, real, ("cat", "dog"), late=True))
    assert "collapse" in told and "overfitting" in told and "20 %" in told
    assert watch.remarks({"recall": 0.5, "gap": 0.1, "aug_p": 0.1}, real, real, (), late=True) == []


# -- one step --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("done,penalised", [(6, True), (7, False)])
def test_a_step_follows_the_slope_of_the_objective_written_out(done: int, penalised: bool) -> None:
    data, state = data_of(), fresh(data_of())
    for module in (state.generator, state.verifier):
        module.double()
    data.x = data.x.double()
    state.opt_g, state.opt_v = (torch.optim.Adam(m.parameters()) for m in (state.generator, state.verifier))
    state.ema.double()
    state.step = done
    s = Schedule(20, 5, 1.5, 1e-3, rebuild_weight=0.3, class_weight=0.7, lazy=3, seed=2)
    d, g = copy.deepcopy(state.verifier), copy.deepcopy(state.generator)
    with pytest.MonkeyPatch.context() as patch:
        z = loop.latents(rng.key(2, "z", done), 5).double()
        patch.setattr(loop, "latents", lambda key, n: z)
        figures = one_step(state, data, s, Recipe("none", ()))

    real, y = data.draw(rng.key(2, "batch", done), 5)
    fake = g(z, y)
    still = fake.detach()

    def slope_squared(x: torch.Tensor) -> torch.Tensor:
        x = x.clone().requires_grad_(True)
        grads = [torch.autograd.grad(d.score(x, y)[i], x, create_graph=True)[0][i] for i in range(5)]
        return sum((v**2).sum() for v in grads) / 5

    objective = torch.log(1 + torch.exp(d.score(still, y) - d.score(real, y))).mean()
    objective = objective + 0.3 * ((d.reconstruct(real) - real)[::2] ** 2).mean()  # every second one is rebuilt
    objective = objective - 0.7 * torch.log_softmax(d.classify(real), 1)[torch.arange(5), y].mean()
    if penalised:
        r1, r2 = slope_squared(real), slope_squared(still)
        objective = objective + 3 * 1.5 / 2 * (r1 + r2)
        assert (figures["r1"], figures["r2"]) == pytest.approx((r1.item(), r2.item()))
    objective.backward()
    for mine, theirs in zip(d.parameters(), state.verifier.parameters(), strict=True):
        assert theirs.grad is not None
        assert torch.allclose(theirs.grad, torch.zeros_like(mine) if mine.grad is None else mine.grad, atol=1e-9)

    after = state.verifier  # the generator answers to the verifier as it is now
    torch.log(1 + torch.exp(after.score(real, y) - after.score(fake, y))).mean().backward()
    for mine, theirs in zip(g.parameters(), state.generator.parameters(), strict=True):
        assert mine.grad is not None and theirs.grad is not None
        assert torch.allclose(theirs.grad, mine.grad, atol=1e-9)


def test_real_and_fake_pass_through_the_same_transforms(monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_of()
    state = fresh(data, aug_p=0.25)
    calls: list[float] = []

    def turned(x: torch.Tensor, recipe: Recipe, keys: Any, *, p: float, clip: bool) -> torch.Tensor:
        assert len(x) == len(keys) == len(set(keys.tolist())) == 12
        calls.append(p)
        return -x

    seen: list[torch.Tensor] = []
    hook = state.verifier.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    monkeypatch.setattr(loop, "augment", turned)
    with torch.no_grad():
        fake = state.generator(loop.latents(rng.key(5, "z", 0), 6), data.draw(rng.key(5, "batch", 0), 6)[1])
    one_step(state, data, PLAN, Recipe("none", ()))
    hook.remove()
    assert calls == [0.25]
    real = data.draw(rng.key(5, "batch", 0), 6)[0]
    for x in seen:  # every look of the verifier: losses, penalties, and the generator's turn
        assert torch.allclose(x, -real, atol=1e-5) or torch.allclose(x, -fake, atol=1e-5)


# -- the loop: it learns ---------------------------------------------------------------------------------------------


def test_two_classes_are_learned_in_seconds() -> None:
    data = data_of(n=40)
    rows: list[dict[str, Any]] = []
    state = train(fresh(data, lr=4e-3), data, Schedule(160, 16, 1.0, 4e-3), Recipe("none", ()), on_row=rows.append)
    assert all(math.isfinite(r["v_loss"]) and math.isfinite(r["g_loss"]) for r in rows)
    y = torch.arange(64) % 2
    with torch.no_grad():
        fake = state.ema(loop.latents(rng.key("test"), 64), y)
        named = state.verifier.classify(data.held_out_x).argmax(1)
        rebuilt = losses.rebuild_error(data.held_out_x, state.verifier.reconstruct(data.held_out_x)).mean()
    assert torch.equal(named, data.held_out_y)
    assert rebuilt < data.held_out_x.var()
    real = torch.stack([data.x[data.y == c].mean(0) for c in (0, 1)])
    made = torch.stack([fake[y == c].mean(0) for c in (0, 1)])
    own, other = (made - real).square().mean(), (made - real.flip(0)).square().mean()
    assert own < 0.1 * other, "samples of a class are not nearer to that class"


@pytest.mark.parametrize("shape,channels", [((12,), 2), ((4, 4, 4), 1), ((1,), 3), ((7, 5), 4)])
def test_grids_of_any_axes_train(shape: tuple[int, ...], channels: int) -> None:
    data = data_of(shape, channels=channels) if shape != (1,) else data_of((2,), channels=channels)
    if shape == (1,):
        data = Data(data.x[..., :1].numpy(), data.y, 2, data.held_out_x[..., :1].numpy(), data.held_out_y.numpy())
    state = fresh(data, aug_p=0.8)
    before = contents(state)
    rows: list[dict[str, Any]] = []
    train(state, data, Schedule(4, 4, 1.0, 1e-3, lazy=2), gan_recipe(OPS), on_row=rows.append)
    assert state.generator(loop.latents(1, 2), torch.tensor([0, 1])).shape == (2, channels, *shape)
    assert all(math.isfinite(v) for row in rows for v in row.values())
    same = {k for k, v in contents(state).items() if v == before.get(k)}
    # Only differences of realness mean something: its offset has no slope. How far samples are spread is set afterwards.
    set_later = {f"{net}.mapping.{name}" for net in ("generator", "ema") for name in ("middle", "spread")}
    assert same == {"lr_scale", "best_fid", "best_recall", "notes", "verifier.heads.realness.bias", *set_later}


def test_data_without_labels_trains() -> None:
    x, y = halves(16)
    data = Data(x, np.full_like(y, -1), 0, x[:0], y[:0])
    state = train(fresh(data), data, Schedule(5, 4, 1.0, 1e-3), gan_recipe(OPS))
    assert state.step == 5 and state.samples_seen == 20


def test_penalties_come_lazily_and_rows_and_ticks_on_time() -> None:
    data, rows = data_of(), []
    train(fresh(data), data, Schedule(115, 2, 1.0, 1e-3, lazy=4, ticks=10), Recipe("none", ()), on_row=rows.append)
    plain = [r for r in rows if "tick" not in r]
    assert [r["step"] for r in plain] == list(range(1, 116))
    assert [r["step"] for r in rows if "tick" in r] == [*range(11, 115, 11), 115]
    assert all(("r1" in r) == ((r["step"] - 1) % 4 == 0) for r in plain)
    assert all(r["samples_seen"] == 2 * r["step"] for r in rows)
    assert all(0 <= r["gap"] <= 1 for r in rows if "tick" in r)


def test_the_penalties_hold_the_slope_down() -> None:
    """The reason for gamma: with it, the verifier stays flat at its reals."""
    data = data_of()
    found = []
    for gamma in (1e-6, 10.0):
        state = train(fresh(data, lr=4e-3), data, Schedule(40, 8, gamma, 4e-3), Recipe("none", ()))
        y = torch.from_numpy(data.y)
        found.append(losses.gradient_penalty(lambda x, s=state, y=y: s.verifier.score(x, y), data.x).item())
    assert found[1] < 0.1 * found[0]


# -- stage 1 ---------------------------------------------------------------------------------------------------------


def test_the_pool_teaches_the_class_head_more_than_the_labels_alone() -> None:
    x, y = halves(200, seed=3)
    x = np.clip(x + 0.8 * rng.normal(4, np.arange(x.size)).reshape(x.shape), -1, 1).astype(np.float32)
    labelled = Data(x[:4], y[:4], 2, x[:0], y[:0])
    none = Recipe("none", ())
    verifier = fresh(labelled).verifier
    steps: list[int] = []
    weights = semi.teach(verifier, labelled, x[4:150], none, none, semi.Lessons(40, batch=8), on_step=steps.append)
    verifier.load_state_dict(weights)
    named, sure = semi.label(verifier, x[150:])
    assert steps == list(range(1, 41))
    assert (named == y[150:]).mean() > 0.9
    assert named.dtype == np.int64 and sure.shape == (50,) and (sure >= 0.5).all() and (sure <= 1).all()


def test_labels_do_not_depend_on_the_chunk_and_none_is_none() -> None:
    data = data_of()
    verifier, x = fresh(data).verifier, data.x.numpy()
    (whole_y, whole_p), (parts_y, parts_p) = semi.label(verifier, x), semi.label(verifier, x, chunk=5)
    assert np.array_equal(whole_y, parts_y) and np.allclose(whole_p, parts_p, atol=1e-5)
    none = semi.label(verifier, x[:0])
    assert none[0].shape == (0,) and none[0].dtype == np.int64 and none[1].shape == (0,)


# -- fit: everything in a run's folder -------------------------------------------------------------------------------


def material_of(*, pool: int = 0) -> Material:
    x, y = halves(20)
    held_x, held_y = halves(10, seed=1)
    return Material(x, y, halves(pool, seed=2)[0], held_x, held_y, 2)


def fitted(
    path: Path, *, pool: int = 0, crash_at: int = -1, steps: int = 11, on_tick: Any = fid_at,
    budgets: tuple[str, ...] = (), notes: list[str] | None = None,
) -> tuple[Run, fit.Fitted]:  # fmt: skip
    run = Run.open(path, verb="train", config={"steps": steps}, inputs={}, budgets=budgets)
    run.choose("threads", 1, "a test")
    run.choose("precision", "fp32", "a test")
    events = 0

    def progress(event: dict[str, Any]) -> None:
        nonlocal events
        events += 1
        if notes is not None and "note" in event:
            notes.append(event["note"])
        if events == crash_at:
            raise Killed

    made = fit.fit(
        run, MODALITY, material_of(pool=pool), TrainConfig(steps=steps, batch=6, lr=2e-3), seconds=1.0, seed=4,
        on_tick=lambda s, f, m: on_tick(s, f), progress=progress,
    )  # fmt: skip
    return run, made


def run_files(run: Run) -> dict[str, bytes]:
    return {k: v for k, v in files(run.path).items() if k not in ("log.txt", "run.json")}


@pytest.mark.parametrize("pool,crashes", [(0, (1, 9, 21)), (30, (4, 20))])
def test_a_crash_at_any_time_then_the_same_command_leaves_the_same_folder(
    pool: int, crashes: tuple[int, ...], tmp_path: Path
) -> None:
    run, straight = fitted(tmp_path / "straight", pool=pool)
    expected = run_files(run)
    assert {"choices.json", "config.yaml", "metrics.jsonl", "checkpoints/last", "checkpoints/best"} <= set(expected)
    for crash_at in crashes:
        path = tmp_path / str(crash_at)
        with pytest.raises(Killed):
            fitted(path, pool=pool, crash_at=crash_at)
        run, made = fitted(path, pool=pool)
        assert run_files(run) == expected, f"crashed at event {crash_at}"
        for a, b in ((made.generator, straight.generator), (made.verifier, straight.verifier)):
            assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())
        assert np.array_equal(made.pool_y, straight.pool_y) and np.array_equal(made.y, straight.y)


def test_the_same_command_after_the_end_changes_nothing(tmp_path: Path) -> None:
    run, first = fitted(tmp_path / "run")
    before = run_files(run)
    run, again = fitted(tmp_path / "run")
    assert run_files(run) == before
    for k, v in first.generator.state_dict().items():
        assert torch.equal(v, again.generator.state_dict()[k])


def test_the_best_checkpoint_is_what_people_get(tmp_path: Path) -> None:
    run, made = fitted(tmp_path / "run")
    best = checkpoint.find(run / "checkpoints", "best")
    assert best is not None and best.name in ("step-000008", "step-000009")
    assert all(torch.equal(v, made.generator.state_dict()[k]) for k, v in checkpoint.load_part(best, "ema").items())
    last = checkpoint.load_part(run / "checkpoints" / "step-000011", "ema")
    assert any(not torch.equal(v, made.generator.state_dict()[k]) for k, v in last.items())


def test_metrics_rows_are_told_once_even_after_a_return(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Steps that were taken back come again: their first figures are dropped, as they are when a run is resumed."""
    real = loop.one_step

    def step(state: State, *args: Any) -> dict[str, float]:
        figures = real(state, *args)
        return {**figures, "g_loss": float("inf")} if state.step == 24 and state.lr_scale == 1 else figures

    monkeypatch.setattr(loop, "one_step", step)
    run, _ = fitted(tmp_path / "run", steps=25)
    steps = [r["step"] for r in read_jsonl(run / "metrics.jsonl") if "tick" not in r]
    assert steps == list(range(1, 26))


def test_a_return_to_a_checkpoint_is_written_to_the_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken_steps(monkeypatch, 8, below=0.5)
    run, _ = fitted(tmp_path / "run")
    assert "half the learning rate" in (run / "log.txt").read_text()


def test_the_pool_is_labelled_and_learned_from(tmp_path: Path) -> None:
    run, made = fitted(tmp_path / "run", pool=30, steps=25)
    truth = halves(30, seed=2)[1]
    assert (made.pool_y == truth).mean() > 0.9
    sure = made.pool_sure >= fit.SURE
    assert len(made.x) == 20 + sure.sum() and np.array_equal(made.y[20:], made.pool_y[sure])
    assert run.chosen("stage_1_steps") == 25


def test_choices_are_written_with_their_reasons(tmp_path: Path) -> None:
    run, _ = fitted(tmp_path / "run")
    choices = json.loads((run / "choices.json").read_text())
    assert choices["steps"] == {"value": 11, "reason": "as set"}
    assert choices["gamma"]["value"] == pytest.approx(0.375 * 64 / 6)
    assert choices["batch"]["value"] == 6 and all(c["reason"] for c in choices.values())


def test_time_becomes_steps_once_and_the_clock_is_not_read_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = Run.open(tmp_path / "run", verb="train", config={}, inputs={})

    def go(seconds: float) -> fit.Fitted:
        config = TrainConfig(batch=6)
        return fit.fit(run, MODALITY, material_of(), config, seconds=seconds, seed=0)

    go(0.2)
    steps, threads = run.chosen("steps"), run.chosen("threads")
    assert steps >= 20 and threads in (1, cores())
    before = run_files(run)
    monkeypatch.setattr(time, "perf_counter", lambda: pytest.fail("the clock was read"))
    go(0.2)
    assert (run.chosen("steps"), run.chosen("threads")) == (steps, threads)
    assert run_files(run) == before
    go(210.5 * run.chosen("step_seconds") / 0.92)  # more time, more steps: by the step as it was timed
    assert (run.chosen("steps"), run.chosen("threads")) == (max(steps, 210), threads)


def test_a_longer_budget_goes_on_from_the_end_and_a_kill_on_the_way_changes_nothing(tmp_path: Path) -> None:
    def longer(path: Path, crash_at: int = -1) -> tuple[Run, fit.Fitted]:
        return fitted(path, steps=24, crash_at=crash_at, budgets=("steps",))

    first, _ = fitted(tmp_path / "straight")
    rows = read_jsonl(first / "metrics.jsonl")
    run, straight = longer(tmp_path / "straight")
    after = read_jsonl(run / "metrics.jsonl")
    assert after[: len(rows)] == rows, "what was trained is kept"
    assert run.chosen("steps") == 24 and checkpoint.load_state(run / "checkpoints" / "step-000024")["step"] == 24
    rates = {r["step"]: r["lr"] for r in after}
    for step in (12, 18, 24):  # a row's rate is that of the step that ended there
        assert rates[step] == pytest.approx(2e-3 * (2 / 3 + math.cos(math.pi * (step - 1) / 24) / 3), rel=1e-6)
    fitted(tmp_path / "killed")
    for crash_at in (3, 9):
        with pytest.raises(Killed):
            longer(tmp_path / "killed", crash_at)
    run, made = longer(tmp_path / "killed")
    assert run_files(run) == run_files(Run(tmp_path / "straight"))
    for k, v in straight.generator.state_dict().items():
        assert torch.equal(v, made.generator.state_dict()[k])
    assert "no longer that of 11 steps" in fitted_notes(tmp_path)


def fitted_notes(tmp_path: Path) -> str:
    """What is told when a run of 11 steps is taken up with 12."""
    fitted(tmp_path / "told")
    told: list[str] = []
    fitted(tmp_path / "told", steps=12, budgets=("steps",), notes=told)
    return " ".join(told)


def test_the_start_follows_from_the_seed() -> None:
    grid = data_of().grid
    for size in ("nano", "article"):
        plain: Any = SimpleNamespace(name="toy", ops=OPS)
        a, b, c = (fit.networks(plain, size, grid, 2, seed=s)[1].state_dict() for s in (3, 3, 4))
        assert all(torch.equal(a[k], b[k]) for k in a) and any(not torch.equal(a[k], c[k]) for k in a)


# -- nobody's global state -------------------------------------------------------------------------------------------


def global_states() -> list[Any]:
    numpy_state = np.random.get_state()  # noqa: NPY002 - it is what must not change
    return [torch.get_rng_state().tolist(), [str(s) for s in numpy_state], str(random.getstate())]


def test_no_global_random_state_is_read_or_moved(tmp_path: Path) -> None:
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the same
        random.seed(seed)
        before = global_states()
        run, made = fitted(tmp_path / str(seed), pool=12, steps=5)
        keys = rng.bits(rng.key("a"), np.arange(8))
        seen = augment(data_of().x[:8], Recipe.load("strong"), keys)
        assert global_states() == before, "a global random state was used"
        results.append((run_files(run), seen.numpy().tobytes(), made.generator.state_dict()["basis"].numpy().tobytes()))
    assert results[0] == results[1]


# -- a real kill -----------------------------------------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_training import fitted
fitted(Path(sys.argv[1]), pool=20, steps=60)
"""


@pytest.mark.slow
def test_sigkill_at_any_moment_and_the_same_command_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    code = CHILD.format(tests=str(Path(__file__).parent))

    def start(path: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", code, str(path)])

    assert start(tmp_path / "straight").wait(300) == 0
    killed = tmp_path / "killed"
    for rows in (1, 17, 40):  # thrice, the later ones further on
        process = start(killed)
        until = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < until:
            if len(read_jsonl(killed / "metrics.jsonl")) >= rows:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        assert process.wait(60) == -signal.SIGKILL
        assert len(read_jsonl(killed / "metrics.jsonl")) < 60
    assert start(killed).wait(300) == 0
    straight, again = run_files(Run(tmp_path / "straight")), run_files(Run(killed))
    assert straight.keys() == again.keys()
    assert [k for k in straight if straight[k] != again[k]] == []
