"""Arms beside the main ones: subsets of the labelled reals, shares, mixing, self-training; and which are affordable."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from augmint.core import rng
from augmint.evaluation import arms as a
from augmint.evaluation import controls, lift
from augmint.evaluation.probes import Stream
from augmint.transforms.recipe import Recipe
from augmint.transforms.sizing import CenterCrop, RandomResizedCrop


def blobs(num, seed, *, classes=3, spread=0.6, sizes=None):
    """Classes as noisy copies of fixed random 8 x 8 pictures."""
    centre = np.random.default_rng(99).normal(size=(classes, 1, 8, 8))
    g = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), sizes) if sizes else np.arange(num) % classes
    x = centre[y] * 0.4 + spread * g.normal(size=(len(y), 1, 8, 8))
    return x.astype(np.float32).clip(-1, 1), y.astype(np.int64)


def task(sizes=(12, 12, 12), **more):
    fit_x, fit_y = blobs(0, 1, sizes=list(sizes))
    test_x, test_y = blobs(60, 2)
    pool_x, _ = blobs(90, 3)
    new_x, new_y = blobs(45, 4)
    full = {"pool_x": pool_x, "synthetic_x": new_x, "synthetic_y": new_y}
    return a.Task(fit_x, fit_y, test_x, test_y, 3, **(full | more))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=5), st.integers(0, 99))
def test_subsets_nest_and_keep_every_class(sizes, seed):
    y = np.random.default_rng(seed).permutation(np.append(np.repeat(np.arange(len(sizes)), sizes), -1))
    small, large, whole = (set(a.part_of(y, part, seed, 1)) for part in (0.5, 0.75, 1.0))
    assert small <= large <= whole == set(np.flatnonzero(y >= 0))
    for part, found in ((0.5, small), (0.75, large)):
        counts = np.bincount(y[list(found)], minlength=len(sizes))
        assert counts.tolist() == [-(-part * n // 1) for n in sizes]
        assert (a.num_reals(y, part, len(sizes)) == counts).all()


def test_an_arm_with_fewer_reals_draws_from_each_models_own_subset():
    t, stream = task(), Stream(5, 4)
    half = a.Arm("half", "", "control", part=0.5, curve="reals")
    draws, whole = lift._Draws(t, half, stream), lift._Draws(t, a.Arm("all", "", "classic"), stream)
    seen = [set() for _ in range(4)]
    for step in range(40):
        x, y = draws(step)
        assert len(x) == len(whole(step)[0]) and (draws.keys(step) == whole.keys(step)).all()
        for s, picture in enumerate(x.numpy().reshape(4, draws.batch, -1)):
            seen[s] |= {v.tobytes() for v in picture}
        assert np.ptp(np.bincount(y.numpy())) <= 8
    for s in range(4):
        assert seen[s] == {t.fit_x[i].tobytes() for i in a.part_of(t.fit_y, 0.5, 5, s)}
    assert seen[0] != seen[1]


def test_extras_are_taken_in_order_of_worth_and_dropped_first():
    t = task()
    main = a.arms(t, "pool", share=0.5)

    def names(spare):
        return [arm.name for arm in a.extras(main, t, "pool", spare=spare)]

    reals, shares = ["reals_50%", "reals_75%"], ["share_25%", "share_75%"]
    assert names(-1) == [] and names(0) == reals and names(4) == [*reals, "self_training"]
    assert names(99) == [*reals, "self_training", *shares]
    weight = sum(arm.weight for arm in main)
    assert sum(arm.weight for arm in a.extras(main, t, "pool")) <= 0.25 * weight
    assert len({arm.name for arm in main} & set(names(99))) == 0
    rare = a.extras(a.arms(t, "imbalance", share=0.25), t, "imbalance", spare=99)
    assert [arm.name for arm in rare] == [*reals, "share_50%"] and all(arm.sampling == "sqrt" for arm in rare)


def test_classes_too_small_to_leave_some_out_have_no_curve():
    def curve(n):
        t = task((n, n, n))
        return [
            arm.name for arm in a.extras(a.arms(t, "closed", share=0.25), t, "closed", spare=9) if arm.curve == "reals"
        ]

    assert curve(1) == [] and curve(2) == ["reals_50%"] and len(curve(4)) == 2


def test_estimators_get_no_arm_that_needs_a_loss():
    t = task()
    methods = {arm.method for arm in a.arms(t, "pool", share=0.5, probe="linear")}
    assert methods == {"train", "spread"}
    best = next(arm for arm in a.arms(t, "imbalance", share=0.25, probe="m:f") if arm.name == "sqrt_adjusted")
    assert not best.adjust and "logit" not in best.title
    main = a.arms(t, "pool", share=0.5, probe="linear")
    assert "self_training" not in [arm.name for arm in a.extras(main, t, "pool", spare=99, probe="linear")]


def test_mixes_lie_between_two_reals_of_the_class():
    x, y = blobs(0, 0, sizes=[30, 5, 1])
    got, named = controls.mixed(x, y, np.array([False, True, True]), 0)
    assert set(named) == {1} and len(got) == 200  # one sample cannot be mixed with another of its class
    own = x[y == 1].reshape(5, -1).astype(np.float64)
    for v in got.reshape(200, -1)[:50].astype(np.float64):
        gaps = []
        for i in range(5):
            for j in range(5):
                d = own[j] - own[i]
                w = np.clip((v - own[i]) @ d / max(d @ d, 1e-12), 0, 1)
                gaps.append(np.abs(own[i] + w * d - v).max())
        assert min(gaps) < 1e-5
    t = replace(task(), fit_x=x, fit_y=y)
    assert "mixed" in [arm.name for arm in a.arms(t, "imbalance", share=0.25)]


def test_self_training_fills_each_models_slots_by_its_own_labels():
    t, stream = task(), Stream(0, 3)
    arm = a.Arm("self", "", "control", method="self_training", share=0.5)
    named = np.stack([np.roll(np.arange(90) % 3, s) for s in range(3)])
    draws, real = lift._Draws(t, arm, stream, named), {v.tobytes() for v in t.fit_x}
    of = [{v.tobytes(): c for v, c in zip(t.pool_x, row, strict=True)} for row in named]
    others = 0
    for step in range(10):
        x, y = (v.numpy() for v in draws(step))
        for i, (picture, c) in enumerate(zip(x, y, strict=True)):
            if picture.tobytes() not in real:
                assert of[i // draws.batch][picture.tobytes()] == c
                others += 1
    assert others == pytest.approx(0.5 * 10 * 3 * draws.batch, rel=0.1)
    assert lift.run(t, [arm], seeds=2, steps=5)["self"].shape == (2, 60)


def test_the_verifiers_features_serve_a_linear_probe_and_label_spreading():
    """Features that separate the classes perfectly: both find them."""
    t = task()
    g = np.random.default_rng(0)

    def features(y):
        return (np.eye(3)[y] * 4 + 0.1 * g.normal(size=(len(y), 3))).astype(np.float32)

    seen_y = np.tile(t.fit_y, 2)
    views = a.Views(features(seen_y), seen_y, features(t.fit_y), features(np.arange(90) % 3), features(t.test_y))
    t = replace(t, views=views)
    chosen = [arm for arm in a.arms(t, "pool", share=0.5) if arm.method in ("verifier_linear", "spread_features")]
    found = lift.run(t, chosen, seeds=2, steps=1)
    assert len(found) == 2 and all((v == t.test_y).all() for v in found.values())


@pytest.mark.parametrize(
    "ops", [(RandomResizedCrop(height_px=24, width_px=20),), (CenterCrop(height_px=6, width_px=6),)]
)
def test_a_recipe_that_changes_the_size_is_seen_on_the_grid(ops):
    x = torch.linspace(-1, 1, 12).expand(3, 1, 12, 12).contiguous()
    made = a._by_recipe(x, rng.bits(rng.key(1), np.arange(3)), recipe=Recipe("crops", ops))
    assert made.shape == x.shape and made.isfinite().all()
    # A slope stays a slope, and a crop of it shows a part of its range.
    assert (made.diff(dim=-1) >= -1e-5).all() and made.max() - made.min() < 2.0
