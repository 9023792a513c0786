"""Stacked probes and the arms: pairing, controls, determinism; against single models, scikit-learn and closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from augmint.core import rng
from augmint.core.errors import UserError
from augmint.evaluation import controls, finetune, lift
from augmint.evaluation.arms import Arm, Task, regime_of
from augmint.evaluation.arms import arms as arms_of
from augmint.evaluation.probes import Design, Stack, Stream, one_thread, train
from augmint.training.spread import spread

SIZES = [(1, 8, 8), (3, 16, 12), (4, 128, 96), (1, 40), (2, 500), (30, 1), (1, 3), (3, 6, 16, 16), (1, 5, 1), (1, 2, 9)]


def jitter(x, keys):
    """A tiny augmentation: each sample gets its own brightness."""
    shift = torch.from_numpy(rng.uniform(keys, 0) - 0.5).float()
    return x + 0.2 * shift.view(-1, *(1,) * (x.dim() - 1))


def blobs(n, size, seed, classes=3, spread=0.6, sizes=None):
    """Classes as noisy copies of fixed random pictures."""
    centre = np.random.default_rng(99).normal(size=(classes, *size))
    g = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), sizes) if sizes else np.arange(n) % classes
    return (centre[y] * 0.4 + spread * g.normal(size=(len(y), *size))).astype(np.float32).clip(-1, 1), y.astype(
        np.int64
    )


def task(size=(1, 8, 8), spread=0.9, **more):
    fit_x, fit_y = blobs(18, size, 1, spread=spread)
    test_x, test_y = blobs(120, size, 2, spread=spread)
    return Task(fit_x, fit_y, test_x, test_y, 3, augment=jitter, **more)


def full_task():
    pool_x, pool_y = blobs(90, (1, 8, 8), 3, spread=0.9)
    new_x, new_y = blobs(45, (1, 8, 8), 4, spread=0.9)
    new = {"synthetic_x": new_x[:30], "synthetic_y": new_y[:30], "synthetic_all_x": new_x, "synthetic_all_y": new_y}
    guess = np.zeros(120, np.int64)
    return task(pool_x=pool_x, pool_y=pool_y, verifier_pred=guess, **new)


# --- probes


@pytest.mark.parametrize("size", SIZES)
def test_probes_take_any_grid(size):
    design = Design.of(size, 5)
    stack = Stack(design, num=2, seed=0)
    x = np.random.default_rng(0).normal(size=(7, *size)).astype(np.float32)
    assert stack.logits(torch.from_numpy(x)).shape == (2, 7, 5)
    assert stack.predict(x, chunk=3).shape == (2, 7)
    assert max(design.tail) <= 2 or not design.pools
    assert 0 < design.num_weights < 120_000


@pytest.mark.parametrize("size", [(1, 8, 8), (3, 16, 12), (2, 40), (2, 4, 8, 8), (12, 1)])
def test_a_stack_equals_its_models_one_by_one(size):
    """Model s of a stack gets the logits and the gradients that it gets alone."""
    design, g = Design.of(size, 4), torch.Generator().manual_seed(0)
    stack, x = Stack(design, num=3, seed=0), torch.randn(3, 6, *size, generator=g)
    logits = stack.logits(x)
    logits.square().sum().backward()
    for s in range(3):
        one = Stack(design, num=1, seed=0)
        one.weights = [w.detach()[s : s + 1].clone().requires_grad_() for w in stack.weights]
        alone = one.logits(x[s : s + 1])
        alone.square().sum().backward()
        torch.testing.assert_close(alone[0], logits[s], rtol=1e-4, atol=1e-5)
        for w, v in zip(one.weights, stack.weights, strict=True):
            torch.testing.assert_close(w.grad[0], v.grad[s], rtol=1e-3, atol=1e-3)


def test_a_stack_of_one_is_the_plain_network():
    """Against torch's own modules with the same weights."""
    stack = Stack(Design.of((1, 8, 8), 10), num=1, seed=3)
    x = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    w = [v.detach()[0] for v in stack.weights]
    y = F.max_pool2d(F.relu(F.conv2d(x, w[0], w[1], padding=1)), 2)
    y = F.relu(F.conv2d(y, w[2], w[3], padding=1))
    y = F.max_pool2d(F.relu(F.conv2d(y, w[4], w[5], padding=1)), 2)
    torch.testing.assert_close(stack.logits(x)[0], y.flatten(1) @ w[6] + w[7], rtol=1e-4, atol=1e-5)


def test_streams_depend_on_seed_model_step_and_slot_alone():
    few, many = Stream(7, 2), Stream(7, 5)
    assert (few.keys("a", 3, 4) == many.keys("a", 3, 9)[:2, :4]).all()
    assert len(np.unique(np.stack([many.keys(p, s, 9) for p in "ab" for s in range(3)]))) == 2 * 3 * 5 * 9
    place = many.places(0, 8)
    assert (np.floor(place * 8) == np.arange(8)).all()
    a, b = Stack(Design.of((1, 8, 8), 3), num=2, seed=1), Stack(Design.of((1, 8, 8), 3), num=4, seed=1)
    assert all(torch.equal(v, w[:2]) for v, w in zip(a.weights, b.weights, strict=True))


def test_one_thread_puts_things_back():
    torch.set_flush_denormal(False)
    tiny = torch.full((1,), 1e-38)
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1 and (tiny * 1e-2).item() == 0
    assert torch.get_num_threads() == before and (tiny * 1e-2).item() > 0


def test_training_learns():
    t = task(spread=0.3)
    got = lift.run(t, [Arm("classic", "", "classic")], seeds=2, steps=60)["classic"]
    assert (got == t.test_y).mean() > 0.9


# --- arms


def drawn(t, arm, step=0, num=4):
    draws = lift._Draws(t, arm, Stream(0, num))
    x, y = draws(step)
    return x.numpy(), y.numpy(), draws


def test_arms_share_every_slot_that_is_not_replaced():
    t = full_task()
    plain = Arm("classic", "", "classic")
    half = Arm("synthetic", "", "synthetic", filler="synthetic", share=0.5)
    real = {v.tobytes() for v in t.fit_x}
    replaced = []
    for step in range(50):
        (x0, y0, d0), (x1, y1, d1) = drawn(t, plain, step), drawn(t, half, step)
        assert (y0 == y1).all() and (d0.keys(step) == d1.keys(step)).all()
        other = np.array([v.tobytes() not in real for v in x1])
        assert (x0[~other] == x1[~other]).all()
        of = {v.tobytes(): c for v, c in zip(t.synthetic_x, t.synthetic_y, strict=True)}
        assert all(of[v.tobytes()] == c for v, c in zip(x1[other], y1[other], strict=True))
        replaced.append(other.reshape(4, -1).mean(1))
    assert np.all(np.abs(np.stack(replaced) - 0.5) <= 1 / 18 + 1e-9)


def test_a_class_without_synthetic_samples_keeps_its_real_ones():
    t = full_task()
    t = replace(t, synthetic_x=t.synthetic_x[t.synthetic_y == 0], synthetic_y=t.synthetic_y[t.synthetic_y == 0])
    x, y, _ = drawn(t, Arm("synthetic", "", "synthetic", filler="synthetic", share=1.0))
    real = {v.tobytes() for v in t.fit_x}
    assert all((v.tobytes() in real) == (c != 0) for v, c in zip(x, y, strict=True))


@pytest.mark.parametrize(("sampling", "power"), [("natural", 1.0), ("sqrt", 0.5), ("balanced", 0.0)])
def test_sampling_gives_the_class_shares_it_names(sampling, power):
    x, y = blobs(0, (1, 8, 8), 0, sizes=[64, 16, 4])
    t = replace(task(), fit_x=x, fit_y=y)
    arm = Arm("a", "", "control", sampling=sampling)
    seen = np.bincount(np.concatenate([drawn(t, arm, step)[1] for step in range(60)]), minlength=3)
    share = np.array([64, 16, 4]) ** power
    assert seen / seen.sum() == pytest.approx(share / share.sum(), abs=0.01)
    assert np.exp(controls.adjustment(y, 3, sampling)) == pytest.approx(share / share.sum(), abs=1e-6)


def test_under_imbalance_only_rare_classes_are_filled():
    x, y = blobs(0, (1, 8, 8), 0, sizes=[30, 20, 4])
    t = replace(full_task(), fit_x=x, fit_y=y)
    assert regime_of(y) == "imbalance" and list(controls.rare(y, 3)) == [False, False, True]
    arms = {a.name: a for a in arms_of(t, "imbalance", share=0.25)}
    assert arms["synthetic"].sampling == "sqrt" and arms["synthetic"].adjust and arms["synthetic"].rare_only
    real = {v.tobytes() for v in x}
    for step in range(20):
        got, c, _ = drawn(t, arms["synthetic"], step)
        assert all(v.tobytes() in real for v in got[c != 2])


def test_arms_of_each_regime():
    names = {r: [a.name for a in arms_of(full_task(), r, share=0.5)] for r in ("closed", "pool", "imbalance")}
    assert names["closed"] == ["real", "classic", "synthetic", "unfiltered", "duplicates", "verifier"]
    pool = ["consistency", "spread", "spread_trained", "pool_labelled"]
    assert names["pool"] == [*names["closed"][:5], *pool, "verifier"]
    assert names["imbalance"][:4] == ["real", "classic", "balanced", "sqrt_adjusted"]
    assert [a.name for a in arms_of(task(), "closed", share=0.25)] == ["real", "classic"]
    assert regime_of(np.array([0, 1, 1, -1])) == "closed" and regime_of(np.zeros(3, int), num_pool=9) == "pool"


def test_equal_data_give_equal_models():
    """A share filled with nothing, and an arm run beside others or alone: the same predictions bit for bit."""
    t = task()
    arms = [Arm("classic", "", "classic"), Arm("same", "", "control", filler="synthetic", share=0.5)]
    both = lift.run(t, arms, seeds=3, steps=20)
    assert (both["classic"] == both["same"]).all()
    assert (lift.run(t, arms[:1], seeds=3, steps=20)["classic"] == both["classic"]).all()
    assert (lift.run(t, arms[:1], seeds=3, steps=20, seed=1)["classic"] != both["classic"]).any()


def test_run_gives_every_arm_and_tells_the_cost():
    t, seen = full_task(), {}
    arms = arms_of(t, "pool", share=0.5)
    got = lift.run(t, arms, seeds=2, steps=5, tick=lambda name, seconds, pred: seen.update({name: seconds}))
    assert list(got) == [a.name for a in arms] == [a for a in got if seen[a] >= 0]
    assert all(v.shape == (2, 120) and v.dtype == np.int64 for v in got.values())
    assert (got["verifier"] == 0).all()


@pytest.mark.slow
def test_workers_do_not_change_the_result():
    t = full_task()
    arms = arms_of(t, "pool", share=0.5)
    one, two = (lift.run(t, arms, seeds=2, steps=10, workers=w) for w in (1, 2))
    assert list(one) == list(two) and all((one[k] == two[k]).all() for k in one)


def test_seconds_per_step_is_a_time():
    assert 0 < lift.seconds_per_step(task(), seeds=2) < 1


def test_bad_tasks_are_refused():
    t, arms = task(), [Arm("classic", "", "classic")]
    broken = t.fit_x.copy()
    broken[0, 0, 0, 0] = np.nan
    for change, match in [
        ({"fit_y": np.zeros(18, np.int64)}, "two classes"),
        ({"test_x": t.test_x[:0], "test_y": t.test_y[:0]}, "empty"),
        ({"fit_x": broken}, "not numbers"),
        ({"pool_x": t.fit_x[..., :4]}, "the pool samples are"),
        ({"test_y": t.test_y[:-1]}, "labels"),
    ]:
        with pytest.raises(UserError, match=match):
            lift.run(replace(t, **change), arms, seeds=2, steps=1)


def test_unlabelled_samples_are_left_out():
    t, arms = task(), [Arm("classic", "", "classic")]
    more = replace(t, fit_x=np.concatenate([t.fit_x, t.test_x[:5]]), fit_y=np.append(t.fit_y, [-1] * 5))
    assert (lift.run(more, arms, seeds=2, steps=5)["classic"] == lift.run(t, arms, seeds=2, steps=5)["classic"]).all()


# --- controls


def test_duplicates_have_the_class_counts_of_the_synthetic_set():
    fit_y, wanted = np.array([0, 0, 1, 1, 1, 2]), np.array([0] * 4 + [1] * 7 + [3] * 2 + [-1])
    got = controls.duplicates(fit_y, wanted, 0)
    assert np.bincount(fit_y[got]).tolist() == [4, 7]
    times = np.bincount(got, minlength=6)
    assert times[:2].tolist() == [2, 2] and set(times[2:5]) == {2, 3}


def test_label_spreading_follows_the_clusters():
    """Two moons, three labels each: the graph gets them nearly all, the nearest labelled sample does not."""
    from sklearn.datasets import make_moons

    x, y = make_moons(400, noise=0.06, random_state=0)
    x = x.astype(np.float32)[:, None]
    fit = np.concatenate([np.flatnonzero(y == c)[:3] for c in (0, 1)])
    pool, test = np.setdiff1d(np.arange(300), fit), np.arange(300, 400)
    got_pool, got_test = spread(x[fit], y[fit], x[pool], x[test])
    nearest = y[fit][np.linalg.norm(x[test] - x[fit][:, 0], axis=-1).argmin(1)]
    assert (nearest == y[test]).mean() < (got_test == y[test]).mean()
    assert (got_pool == y[pool]).mean() > 0.95 and (got_test == y[test]).mean() > 0.95


def test_label_spreading_equals_the_closed_form():
    """Against a dense solve of (I - 0.99 S)^-1 Y on a graph built by scikit-learn."""
    from sklearn.neighbors import kneighbors_graph

    x, y = blobs(60, (1, 4, 4), 0, spread=0.8)
    flat = x.reshape(60, -1).astype(np.float64)
    far = kneighbors_graph(flat, 5, mode="distance").toarray()
    width = far.max(1)
    close = np.where(far > 0, np.exp(-(far**2) / np.outer(width, width)), 0)
    close = np.maximum(close, close.T)
    d = close.sum(1) ** -0.5
    wanted = np.linalg.solve(np.eye(60) - 0.99 * d[:, None] * close * d, np.eye(3)[y] * (np.arange(60) < 6)[:, None])
    got, _ = spread(x[:6], y[:6], x[6:], x[:0])
    assert (got == wanted[6:].argmax(1)).all()


def test_an_island_without_labels_takes_the_nearest_label():
    x = np.concatenate([np.zeros((1, 1, 2)), np.ones((1, 1, 2)), np.full((12, 1, 2), 9.0)]).astype(np.float32)
    x += 0.01 * np.arange(14).reshape(-1, 1, 1)
    got, _ = spread(x[:2], np.array([0, 1]), x[2:], x[:0])
    assert (got == 1).all()


def test_consistency_adds_nothing_where_nothing_is_sure_and_something_where_all_is():
    stack, stream = Stack(Design.of((1, 8, 8), 3), num=2, seed=0), Stream(0, 2)
    pool = blobs(20, (1, 8, 8), 0)[0]
    zero = torch.zeros(2)
    never = controls.with_consistency(stack, lambda step: zero, pool, jitter, stream, threshold=1.1)
    always = controls.with_consistency(stack, lambda step: zero, pool, jitter, stream, threshold=0.0)
    assert never(0).tolist() == [0, 0] and (always(0) > 0).all()


@pytest.mark.slow
def test_digits_reach_what_the_arms_are_known_for():
    """Five labels a class and a pool of 800: classic beats none, and the pool beats classic (research: lift-cases)."""
    from sklearn.datasets import load_digits

    from augmint.transforms.recipe import Recipe

    digits = load_digits()
    x, y = (digits.images / 8 - 1).astype(np.float32)[:, None], digits.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(x))
    test, rest = order[:897], order[897:]
    fit = np.concatenate([rest[y[rest] == c][:5] for c in range(10)])
    pool = np.setdiff1d(rest, fit)[:800]
    t = Task(x[fit], y[fit], x[test], y[test], 10, Recipe.load("medium"), pool_x=x[pool])
    arms = [a for a in arms_of(t, "pool", share=0.5) if a.name in ("real", "classic", "consistency", "spread")]
    mean = {k: 100 * (v == t.test_y).mean() for k, v in lift.run(t, arms, seeds=5, steps=400).items()}
    assert 76 < mean["real"] < 90 and mean["classic"] > mean["real"] + 2
    assert max(mean["consistency"], mean["spread"]) > mean["classic"]


def test_stacked_training_is_what_a_loop_gives():
    """Three models trained in a stack and one by one agree to rounding after a few steps."""
    x = torch.randn(3, 8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.arange(8) % 3
    design = Design.of((1, 8, 8), 3)

    def fit(stack, x):
        def loss(step):
            each = F.cross_entropy(stack.logits(x).flatten(0, 1), y.repeat(len(x)), reduction="none")
            return each.view(len(x), -1).mean(1)

        train(stack, loss, steps=5)

    stack = Stack(design, num=3, seed=0)
    ones = [Stack(design, num=1, seed=0) for _ in range(3)]
    for s, one in enumerate(ones):
        one.weights = [w.detach()[s : s + 1].clone().requires_grad_() for w in stack.weights]
        fit(one, x[s : s + 1])
    fit(stack, x)
    for s, one in enumerate(ones):
        torch.testing.assert_close(one.logits(x[s : s + 1])[0], stack.logits(x)[s], rtol=1e-2, atol=1e-2)


# --- a generator for every seed, and a trunk to fine-tune


def test_with_a_set_for_every_seed_each_probe_learns_from_its_own():
    """Model s is what it would have been, had all models learned from the s-th set."""
    sets = [blobs(24, (1, 8, 8), 10 + s, spread=0.9) for s in range(3)]
    whole = {
        "synthetic_x": np.concatenate([x for x, _ in sets]),
        "synthetic_y": np.concatenate([y for _, y in sets]),
        "synthetic_of": np.repeat(np.arange(3), 24),
    }
    arm = [Arm("synthetic", "", "synthetic", filler="synthetic", share=0.5)]
    got = lift.run(task(**whole), arm, seeds=3, steps=8)["synthetic"]
    alone = [
        lift.run(task(synthetic_x=x, synthetic_y=y), arm, seeds=3, steps=8)["synthetic"][s]
        for s, (x, y) in enumerate(sets)
    ]
    assert (got == np.stack(alone)).all() and (got[0] != got[1]).any()


def test_a_verifier_for_every_seed_answers_for_it():
    guess = np.random.default_rng(0).integers(0, 3, (2, 120))
    arm = [Arm("verifier", "", "control", method="verifier")]
    assert (lift.run(task(verifier_pred=guess), arm, seeds=2)["verifier"] == guess).all()


def test_the_new_layer_learns_alone_first():
    """Features that tell classes apart, scaled so that a layer that knows nothing would send large slopes back into them."""
    seen: list[bool] = []

    class Trunk(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(5.0))

        def forward(self, x):
            seen.append(torch.is_grad_enabled())
            return self.scale * x

    x = torch.eye(3).repeat(2, 10, 1)
    y = torch.arange(3).repeat(2, 10)
    got = finetune.finetuned(Trunk(), 3, lambda step: (x, y), np.eye(3, dtype=np.float32), num=2, seed=0, steps=801)
    assert (got == np.arange(3)).all()
    assert seen[2:-2] == [False] * 800 + [True] * 802  # the first two tell the width, the last two judge


def test_a_trunk_is_fine_tuned_and_stays_as_it_was():
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh())
    before = [p.clone() for p in trunk.parameters()]
    easy, hard = (replace(task(spread=s), backbone=trunk) for s in (0.3, 0.9))
    arms = [a for a in arms_of(easy, "closed", share=0.25) if a.method == "backbone"]
    assert (lift.run(easy, arms, seeds=2, steps=1200)["backbone"] == easy.test_y).mean() > 0.9
    few, more = (lift.run(hard, arms, seeds=n, steps=40)["backbone"] for n in (2, 3))
    assert (few == more[:2]).all() and (more[0] != more[1]).any()
    assert all(torch.equal(a, b) for a, b in zip(before, trunk.parameters(), strict=True))
