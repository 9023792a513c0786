"""Mixing ops: what is mixed, against pictures painted by hand and measured again, and by whom, against counts."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import augmint as am
from augmint import cli
from augmint.core import rng
from augmint.core.errors import UserError
from augmint.core.run import read_jsonl
from augmint.data import images
from augmint.evaluation import lift
from augmint.evaluation.arms import Arm, Task
from augmint.transforms import run_cv, run_mix, run_mix_torch, run_torch
from augmint.transforms.mix import MIXES, Pool, others
from augmint.transforms.plan import Partner, Plan, Step, sample_key
from augmint.transforms.recipe import Recipe
from augmint.transforms.run_mix import Scene
from augmint.transforms.targets import Targets
from test_transforms_run import LEVELS, noise_image, photo, to_levels, to_tensor

NAMES = [f"{c}/{i}.png" for c in "abc" for i in range(20)]
POOL = Pool(NAMES)
OTHERS = ("MixUp", "CutMix", "Mosaic", "CopyPaste")


def mixed(name, numbers, own, *others, steps=((),) * 3, border="reflect"):
    """What a step makes of a scene and its partners."""
    scenes = {str(i): scene for i, scene in enumerate(others)}
    partners = tuple(Partner(i, steps[int(i)]) for i in scenes)
    return run_mix.apply(Plan((Step(name, name, numbers, partners),), border), own, scenes.__getitem__)


def painted(height, width, box, level=255):
    """A black picture with a box in it."""
    x = np.zeros((height, width, 1), np.uint8)
    left, top, right, bottom = box
    x[top:bottom, left:right] = level
    return x


def measured(seen):
    y, x = np.nonzero(seen)
    return [x.min(), y.min(), x.max() + 1, y.max() + 1] if len(x) else None


def recipe(*ops):
    return Recipe.from_dict({"ops": list(ops)})


# -- the plan --------------------------------------------------------------------------------------------------------


def test_partners_are_others_evenly_chosen_and_do_not_depend_on_the_order_of_the_pool():
    r = recipe("Mosaic")
    counts = dict.fromkeys(NAMES, 0)
    turned = Pool(NAMES[::-1])
    for name in NAMES:
        for variant in range(20):
            plan = r.draw(seed=0, sample_id=name, variant=variant, pool=POOL)
            ids = [p.id for p in plan.steps[0].partners]
            assert len(set(ids)) == 3 and name not in ids
            assert plan == r.draw(seed=0, sample_id=name, variant=variant, pool=turned)
            for i in ids:
                counts[i] += 1
    assert stats.chisquare(list(counts.values())).pvalue > 1e-4


def test_a_sample_that_comes_changes_only_the_plans_that_it_is_in():
    r = recipe("MixUp", "Rotate")
    more = Pool([*NAMES, "new.png"])
    changed = 0
    for name in NAMES:
        for variant in range(10):
            before = r.draw(seed=0, sample_id=name, variant=variant, pool=POOL)
            after = r.draw(seed=0, sample_id=name, variant=variant, pool=more)
            changed += before != after
            assert before == after or after.others == ("new.png",)
    assert 1 <= changed <= 30  # one in sixty of 600


def test_mixing_changes_no_other_op_and_partners_went_through_what_stands_before():
    alone, among = recipe("Rotate", "Hue"), recipe("Rotate", {"MixUp": {"p": 0.5}}, "Hue")
    happened = 0
    for name in NAMES:
        plain = alone.draw(seed=3, sample_id=name)
        plan = among.draw(seed=3, sample_id=name, pool=POOL)
        assert tuple(s for s in plan.steps if s.op != "MixUp") == plain.steps
        for step in plan.steps:
            if step.op == "MixUp":
                happened += 1
                (partner,) = step.partners
                assert [s.op for s in partner.steps] == ["Rotate"]
                assert partner.steps != plain.steps[:1]  # drawn anew
    assert 15 < happened < 45


def test_mosaics_are_mixed_with_mosaics():
    plan = recipe("HorizontalFlip", "Mosaic", "MixUp", "Scale").draw(seed=0, sample_id="a/0.png", pool=POOL)
    mix = next(s for s in plan.steps if s.op == "MixUp")
    inner = next(s for s in mix.partners[0].steps if s.op == "Mosaic")
    assert len(inner.partners) == 3 and len(plan.others) == 7 and "Scale" not in {s.op for s in mix.partners[0].steps}


@pytest.mark.parametrize("name", MIXES)
def test_a_plan_survives_json(name):
    plan = recipe("Rotate", name, "Brightness").draw(seed=1, sample_id="a/1.png", pool=POOL)
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.to_json() == Plan.from_json(plan.to_json()).to_json()
    broken = json.loads(plan.to_json())
    broken["steps"][1]["partners"] = []
    with pytest.raises(UserError, match="partners"):
        Plan.from_dict(broken)


def test_shares_follow_their_distribution_and_the_sample_keeps_the_greater():
    keys = np.array([sample_key(0, str(i)) for i in range(4000)], np.uint64)
    lam = recipe({"MixUp": {"alpha": 0.4}}).draw_batch(keys)[0].params["lam"]
    assert lam.min() >= 0.5
    assert stats.kstest(lam, lambda x: 2 * stats.beta(0.4, 0.4).cdf(x) - 1).pvalue > 1e-4  # folded at a half
    cut = recipe("CutMix").draw_batch(keys)[0].params["side_frac"]
    assert stats.kstest(1 - cut**2, stats.uniform(0.5, 0.5).cdf).pvalue > 1e-4
    weights = recipe("AugMix").draw_batch(keys)[0].params
    w = np.stack([weights[f"weight_{i}"] for i in (1, 2, 3)])
    assert stats.kstest(w.sum(0), "uniform").pvalue > 1e-4
    assert stats.kstest((w / w.sum(0))[0], stats.beta(1, 2).cdf).pvalue > 1e-4  # a Dirichlet's margin


def test_without_others_nothing_is_mixed_and_without_a_pool_it_is_an_error():
    for name in OTHERS:
        assert recipe(name).draw(seed=0, sample_id="a", pool=Pool(["a"])).steps == ()
        with pytest.raises(UserError, match="needs other samples"):
            recipe(name).draw(seed=0, sample_id="a")
    plan = recipe("Mosaic").draw(seed=0, sample_id="a", pool=Pool(["a", "b"]))
    assert [p.id for p in plan.steps[0].partners] == ["b"] * 3
    choice = recipe({"OneOf": {"ops": ["MixUp", "CutMix"]}})
    assert {choice.draw(seed=0, sample_id=n, pool=POOL).steps[0].op for n in NAMES} == {"MixUp", "CutMix"}


def test_executors_of_one_picture_refuse_to_mix():
    plan = recipe("MixUp").draw(seed=0, sample_id="a", pool=POOL)
    with pytest.raises(UserError, match="MixUp mixes pictures"):
        run_cv.apply(plan, noise_image(8, 8, 3))
    with pytest.raises(UserError, match="mixes samples, and with them their labels"):
        run_torch.augment(torch.zeros(2, 3, 8, 8), recipe("CutMix"), np.arange(2, dtype=np.uint64))


def test_the_experiment_refuses_recipes_that_paste_objects(tmp_path):
    path = tmp_path / "mix.yaml"
    path.write_text("ops:\n  - OneOf: {ops: [CopyPaste, Rotate]}\n")
    assert Recipe.load(path).mixes
    with pytest.raises(UserError, match=r"mix\.yaml: CopyPaste needs more than"):
        Recipe.load(path, tensors=True)
    path.write_text("ops:\n  - OneOf: {ops: [MixUp, CutMix]}\n  - Mosaic\n  - AugMix\n")
    assert Recipe.load(path, tensors=True).mixes


# -- the pictures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_mixup_is_the_weighted_mean_and_joins_the_targets(kind):
    a, b = (noise_image(9, 12, 3, seed=s).astype(kind) * (257 if kind is np.uint16 else 1) for s in (0, 1))
    one = Targets((np.full((9, 12), 3),), np.array([[1.0, 1, 5, 5]]), np.array([[2.0, 2]]), ("x",), ("p",))
    two = Targets((np.full((9, 12), 4),), np.array([[6.0, 2, 9, 8]]), np.array([[7.0, 3]]), ("y",), ())
    out = mixed("MixUp", {"lam": 0.7}, Scene(a, one, {"cat": 1.0}), Scene(b, two, {"dog": 1.0}))
    want = 0.7 * a.astype(float) + 0.3 * b.astype(float)
    assert out.picture.dtype == kind and np.abs(out.picture - want).max() <= 0.51
    assert out.labels == pytest.approx({"cat": 0.7, "dog": 0.3})
    assert out.targets.boxes.tolist() == [[1, 1, 5, 5], [6, 2, 9, 8]] and out.targets.box_labels == ("x", "y")
    assert out.targets.keypoints.tolist() == [[2, 2], [7, 3]] and out.targets.keypoint_labels == ("p", None)
    assert (out.targets.masks[0] == 3).all()


def test_objects_that_hardly_show_through_are_not_there():
    own = Targets(boxes=np.array([[1.0, 1, 5, 5]]), box_labels=("own",))
    other = Targets(boxes=np.array([[2.0, 2, 6, 6]]), box_labels=("other",), keypoints=np.array([[3.0, 3]]))
    black = np.zeros((8, 8, 3), np.uint8)
    for lam, seen in ((0.95, ("own",)), (0.6, ("own", "other"))):
        out = mixed("MixUp", {"lam": lam}, Scene(black, own), Scene(black, other)).targets
        assert out.box_labels == seen and len(out.keypoints) == len(seen) - 1


def test_a_partner_of_another_size_is_stretched_after_its_own_steps():
    own, other = Scene(noise_image(10, 14, 3)), Scene(noise_image(21, 30, 3, seed=1))
    turn = Step("Rotate", "Rotate", {"degrees": 10.0})
    out = mixed("MixUp", {"lam": 0.5}, own, other, steps=((turn,),))
    resize = Step("Resize", "Resize", {"height_px": 10.0, "width_px": 14.0})
    want = (own.picture.astype(float) + run_cv.apply(Plan((turn, resize)), other.picture)) / 2
    assert np.abs(out.picture - want).max() <= 0.51


def test_transparent_colour_does_not_leak_into_a_blend():
    own = np.full((4, 4, 4), 255, np.uint8)
    other = np.zeros((4, 4, 4), np.uint8)
    other[..., 1] = 200  # invisible green
    out = mixed("MixUp", {"lam": 0.5}, Scene(own), Scene(other)).picture
    assert (out[..., :3] == 255).all() and (np.abs(out[..., 3] - 127.5) <= 0.5).all()


boxes = st.tuples(st.integers(0, 40), st.integers(0, 30), st.integers(6, 30), st.integers(6, 30)).map(
    lambda b: (b[0], b[1], min(50, b[0] + b[2]), min(40, b[1] + b[3]))
)


@settings(max_examples=80, deadline=None)
@given(boxes, boxes, st.floats(0.1, 0.7), st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_cutmix_boxes_are_what_can_be_seen_of_them(mine, theirs, side, x, y, outlined):
    numbers = {"side_frac": side, "x_frac": x, "y_frac": y}
    scenes = []
    for box in (mine, theirs):
        seen = painted(40, 50, box)
        instances = (seen[..., 0] > 0).astype(np.int32) if outlined else None
        scenes.append(
            Targets((seen[..., 0],), np.array([box], float), np.array([[box[0], box[1]]]), ("b",), (), instances)
        )
    black = np.zeros((40, 50, 1), np.uint8)
    flat = mixed("CutMix", numbers, Scene(black), Scene(black + 200)).picture[..., 0]
    patch = flat == 200
    out = mixed(
        "CutMix",
        numbers,
        Scene(painted(40, 50, mine), scenes[0], {"a": 1.0}),
        Scene(painted(40, 50, theirs), scenes[1], {"b": 1.0}),
    )
    want, order = [], []
    for i, box in enumerate((mine, theirs)):
        whole = painted(40, 50, box)[..., 0] > 0
        seen = whole & (~patch if i == 0 else patch)
        if seen.sum() >= 0.1 * whole.sum() and seen.any():
            want.append(measured(seen))
            order.append(i)
    assert out.targets.boxes.tolist() == want
    np.testing.assert_array_equal(out.targets.masks[0], out.picture[..., 0])
    if outlined:
        for k, i in enumerate(order, 1):
            seen = (painted(40, 50, (mine, theirs)[i])[..., 0] > 0) & (~patch if i == 0 else patch)
            np.testing.assert_array_equal(out.targets.instances == k, seen)
    points = [p for i, p in enumerate((mine[:2], theirs[:2])) if patch[p[1], p[0]] == i]
    assert out.targets.keypoints.tolist() == [list(p) for p in points]
    assert out.labels.get("b", 0) == pytest.approx(patch.mean())


@settings(max_examples=60, deadline=None)
@given(st.lists(boxes, min_size=4, max_size=4), st.floats(0.3, 0.7), st.floats(0.3, 0.7))
def test_mosaic_boxes_are_where_painted_ones_go(four, x, y):
    scenes = []
    for i, box in enumerate(four):
        level = 60 * (i + 1)
        targets = Targets((painted(40, 50, box, level)[..., 0],), np.array([box], float), box_labels=(level,))
        scenes.append(Scene(painted(40, 50, box, level), targets, {"abcd"[i]: 1.0}))
    out = mixed("Mosaic", {"x_frac": x, "y_frac": y}, *scenes)
    assert out.picture.shape == (40, 50, 1) and sum(out.labels.values()) == pytest.approx(1)
    assert max(out.labels, key=out.labels.get) == "a"
    found = dict(zip(out.targets.box_labels, out.targets.boxes, strict=True))
    for i in range(4):
        level = 60 * (i + 1)
        seen = measured(out.targets.masks[0] == level)  # nearest pixel: half a pixel of doubt on each side
        if level in found and seen is not None:
            assert np.abs(found[level] - seen).max() <= 1
        elif seen is not None:
            left = np.prod(np.subtract(seen[2:], seen[:2]))
            assert left <= 0.2 * np.prod(np.subtract(four[i][2:], four[i][:2]))


def test_mosaic_meets_where_it_says_and_each_picture_covers_its_corner():
    scenes = [Scene(np.full((20 + 7 * i, 30 - 3 * i, 3), 50 * i, np.uint8), labels={str(i): 1.0}) for i in range(4)]
    out = mixed("Mosaic", {"x_frac": 0.6, "y_frac": 0.35}, *scenes)
    rows, columns = 7, 18  # of 20 and 30
    corners = [
        out.picture[:rows, :columns],
        out.picture[:rows, columns:],
        out.picture[rows:, :columns],
        out.picture[rows:, columns:],
    ]
    assert [len(np.unique(c)) for c in corners] == [1, 1, 1, 1]
    assert (corners[2] == 0).all()  # the largest is the sample's own
    sizes = {int(c.flat[0]): c[..., 0].size / 600 for c in corners}
    assert out.labels == pytest.approx({str(level // 50): share for level, share in sizes.items()})


def test_copypaste_pastes_whole_objects_with_what_belongs_to_them():
    own = Scene(
        np.full((30, 40, 3), 10, np.uint8),
        Targets((np.ones((30, 40), np.uint8),), np.array([[0.0, 0, 12, 12]]), box_labels=("old",)),
    )
    disc = np.hypot(*np.mgrid[-10:20, -12:28]) < 8
    bar = np.zeros((30, 40), bool)
    bar[20:28, 25:38] = True
    instances = disc * 1 + bar * 2
    picture = np.where(instances[..., None] > 0, 100 + 50 * instances[..., None], 0).astype(np.uint8).repeat(3, 2)
    theirs = Targets(
        (instances.astype(np.uint8) * 7,),
        np.array([[5.0, 3, 20, 18], [25, 20, 38, 28]]),
        box_labels=("disc", "bar"),
        instances=instances,
    )
    out = mixed("CopyPaste", {"share_frac": 1.0, "key": 5.0}, own, Scene(picture, theirs))
    pasted = instances > 0
    np.testing.assert_array_equal(out.picture, np.where(pasted[..., None], picture, own.picture))
    np.testing.assert_array_equal(out.targets.masks[0], np.where(pasted, instances * 7, 1))
    assert out.targets.box_labels == ("old", "disc", "bar")
    for number, label in ((2, disc), (3, bar)):
        np.testing.assert_array_equal(out.targets.instances == number, label)
    assert out.targets.boxes[2].tolist() == measured(bar)
    one = mixed("CopyPaste", {"share_frac": 0.0, "key": 5.0}, own, Scene(picture, theirs))
    new = one.targets.box_labels[1:]
    assert len(new) == 1
    np.testing.assert_array_equal((one.picture != own.picture).any(-1), disc if new == ("disc",) else bar)


def test_copypaste_takes_boxes_where_nothing_is_outlined_and_values_of_masks_where_there_are_no_boxes():
    own, other = Scene(np.zeros((20, 20, 1), np.uint8)), np.full((20, 20, 1), 200, np.uint8)
    by_box = Targets(boxes=np.array([[2.0, 3, 8, 9]]))
    out = mixed("CopyPaste", {"share_frac": 1.0, "key": 1.0}, own, Scene(other, by_box))
    assert measured(out.picture[..., 0]) == [2, 3, 8, 9] == out.targets.boxes[0].tolist()
    assert out.targets.instances is None
    mask = np.zeros((20, 20), np.int64)
    mask[4:6, 4:9] = 3
    out = mixed("CopyPaste", {"share_frac": 1.0, "key": 1.0}, own, Scene(other, Targets((mask,))))
    np.testing.assert_array_equal(out.targets.masks[0], mask)
    np.testing.assert_array_equal(out.picture[..., 0] > 0, mask > 0)
    out = mixed("CopyPaste", {"share_frac": 1.0, "key": 1.0}, own, Scene(other))
    assert not out.picture.any()


def test_what_is_pasted_over_a_box_takes_it_away():
    own = Scene(
        np.zeros((20, 20, 1), np.uint8),
        Targets(boxes=np.array([[2.0, 2, 8, 8], [10, 10, 18, 18]]), box_labels=("gone", "half")),
    )
    other = Scene(own.picture + 200, Targets(boxes=np.array([[0.0, 0, 20, 14]]), box_labels=("front",)))
    out = mixed("CopyPaste", {"share_frac": 1.0, "key": 1.0}, own, other)
    assert out.targets.box_labels == ("half", "front")
    assert out.targets.boxes.tolist() == [[10, 14, 18, 18], [0, 0, 20, 14]]


def test_augmix_is_the_blend_of_its_chains():
    image = noise_image(16, 16, 3)
    plan = recipe("AugMix").draw(seed=0, sample_id="a")
    (step,) = plan.steps
    assert all(1 <= len(p.steps) <= 3 and p.id is None for p in step.partners)
    weights = [step.params[f"weight_{i}"] for i in (1, 2, 3)]
    chains = [run_cv.apply(Plan(p.steps), image).astype(float) for p in step.partners]
    want = (1 - sum(weights)) * image + sum(w * c for w, c in zip(weights, chains, strict=True))
    given_ = Targets(boxes=np.array([[1.0, 2, 9, 9]]))
    out = run_mix.apply(plan, Scene(image, given_, {"a": 1.0}), {}.__getitem__)
    assert np.abs(out.picture - want).max() <= 0.51
    assert out.targets.boxes.tolist() == given_.boxes.tolist() and out.labels == {"a": 1.0}
    still = {
        s.op
        for i in range(40)
        for p in recipe({"AugMix": {"geometry": False}}).draw(seed=0, sample_id=str(i)).steps[0].partners
        for s in p.steps
    }
    assert still == {"AutoContrast", "Equalize", "Posterize", "Solarize"}


@pytest.mark.parametrize("name", OTHERS)
def test_one_pixel_is_enough_and_other_kinds_are_told(name):
    dot = Scene(np.full((1, 1, 3), 9, np.uint8), Targets(boxes=np.array([[0.0, 0, 1, 1]])), {"a": 1.0})
    numbers = {"lam": 0.5, "side_frac": 0.5, "x_frac": 0.4, "y_frac": 0.4, "share_frac": 1.0, "key": 0.0}
    out = mixed(name, numbers, dot, *[dot] * max(1, MIXES[name].num_partners))
    assert (out.picture == 9).all() and out.picture.shape == (1, 1, 3)
    with pytest.raises(UserError, match="channels"):
        mixed(name, numbers, Scene(noise_image(8, 8, 3)), *[Scene(noise_image(8, 8, 1))] * 3)
    if name != "MixUp":
        two = Scene(noise_image(8, 8, 3), Targets((np.zeros((8, 8)),) * 2, np.array([[1.0, 1, 5, 5]])))
        with pytest.raises(UserError, match="masks"):
            mixed(name, numbers, Scene(noise_image(8, 8, 3), Targets((np.zeros((8, 8)),))), *[two] * 3)


def test_unlabelled_pictures_give_no_soft_label():
    a, b = Scene(noise_image(4, 4, 1), labels={"a": 1.0}), Scene(noise_image(4, 4, 1))
    assert mixed("MixUp", {"lam": 0.6}, a, b).labels == {} == mixed("MixUp", {"lam": 0.6}, b, a).labels


# -- batches of tensors ----------------------------------------------------------------------------------------------


KEYS = np.array([sample_key(7, str(i)) for i in range(12)], np.uint64)


def test_each_of_the_others_of_a_batch_is_as_likely_and_none_comes_twice():
    keys = np.array([sample_key(0, str(i)) for i in range(6000)], np.uint64)
    found = others(keys, 3, groups=1000)
    own = np.arange(6000)
    assert (found // 6 == own[:, None] // 6).all() and (found != own[:, None]).all()
    assert all(len(set(row)) == 3 for row in found.tolist())
    step = (found - own[:, None]) % 6
    for column in step.T:
        assert stats.chisquare(np.bincount(column, minlength=6)[1:]).pvalue > 1e-4
    pairs = np.bincount(step[:, 0] * 6 + step[:, 1], minlength=36).reshape(6, 6)[1:, 1:]
    assert stats.chisquare(pairs[~np.eye(5, dtype=bool)]).pvalue > 1e-4
    assert others(keys[:4], 3, groups=2).tolist() == [[1] * 3, [0] * 3, [3] * 3, [2] * 3]
    assert others(keys[:4], 3, groups=4).shape == (4, 0)


@pytest.mark.parametrize("name", ["MixUp", "CutMix", "Mosaic", "AugMix"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_batch_is_mixed_as_pictures_are(name, channels):
    """The other executor on the same plan, with the batch's own partners."""
    # Far from black and white: a fused program clips after it has scaled, a batch before.
    pictures = [np.roll(photo(24, 30, channels), 5 * i, 1) // (2 + i % 3) + np.uint8(40) for i in range(len(KEYS))]
    r = recipe("Brightness", {name: {"p": 0.7}}, "HorizontalFlip")
    x = torch.cat([to_tensor(p) for p in pictures])
    y = torch.eye(len(KEYS))
    out, soft = run_mix_torch.augment(x, y, r, KEYS)
    partners = others(r.mixing_keys(KEYS, 1), max(1, MIXES[name].num_partners))
    scenes = {str(i): Scene(p, labels={str(i): 1.0}) for i, p in enumerate(pictures)}
    drawn = r.draw_batch(KEYS)

    def steps_of(i):
        """Without partners, which are the data set's in a plan and the batch's here."""
        return [Step(d.op, d.id, {k: float(v[i]) for k, v in d.params.items()}) for d in drawn if d.active[i]]

    before = {str(i): tuple(s for s in steps_of(i) if s.op == "Brightness") for i in range(len(KEYS))}
    happened = 0
    for i in range(len(KEYS)):
        if name == "AugMix":
            plan = r.plan_of(int(KEYS[i]))
        else:
            mine = tuple(Partner(str(j), before[str(j)]) for j in partners[i])
            plan = Plan(tuple(Step(s.op, s.id, s.params, mine) if s.op == name else s for s in steps_of(i)))
        happened += any(s.op == name for s in plan.steps)
        want = run_mix.apply(plan, scenes[str(i)], scenes.__getitem__)
        shares = [want.labels.get(str(j), 0.0) for j in range(len(KEYS))]
        np.testing.assert_allclose(soft[i].numpy(), shares, atol=1e-6)
        got = to_levels(out[i : i + 1])
        levels = want.picture.astype(float)
        if channels == 4:
            levels[..., :3] *= levels[..., 3:] / 255
        off = np.abs(got - levels)
        # One rounding a picture more there, and a chain of AugMix posterises what is a level apart.
        assert np.quantile(off, 0.99) <= LEVELS + 1 and off.mean() < 0.7, off.max()
    assert 4 <= happened <= 11


def test_gradients_go_to_every_picture_by_its_share():
    """Everything before the labels is linear in the pictures: a finite difference is the derivative."""
    g = torch.Generator().manual_seed(0)
    r = recipe("Rotate", "Mosaic", "MixUp", "CutMix", "Brightness")
    x = (0.4 * torch.rand(6, 3, 16, 16, generator=g, dtype=torch.float64) - 0.2).requires_grad_()
    weight = torch.rand(6, 3, 16, 16, generator=g, dtype=torch.float64)
    step = torch.rand(6, 3, 16, 16, generator=g, dtype=torch.float64) * 1e-3

    def value(v):
        return (run_mix_torch.augment(v, torch.eye(6), r, KEYS[:6], clip=False)[0] * weight).sum()

    value(x).backward()
    with torch.no_grad():
        assert (x.grad * step).sum().item() == pytest.approx((value(x + step) - value(x)).item(), rel=1e-6)
    assert (x.grad.abs().sum((1, 2, 3)) > 0).all()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(["MixUp", "CutMix", "Mosaic", "AugMix", "Rotate", "Invert"]), min_size=1, max_size=4),
    st.integers(1, 5), st.integers(1, 3), st.sampled_from([1, 3, 4]), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99),
)  # fmt: skip
def test_labels_stay_shares_and_batches_of_a_batch_never_meet(names, size, groups, channels, height, width, seed):
    n = size * groups
    keys = rng.bits(seed, np.arange(n))
    x = torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(seed))
    if channels == 4:
        x[:, :3] *= x[:, 3:]
    x = 2 * x - 1
    out, soft = run_mix_torch.augment(x, torch.eye(n), recipe(*names), keys, groups=groups)
    assert out.shape == x.shape and out.isfinite().all() and out.abs().max() <= 1 + 1e-6
    torch.testing.assert_close(soft.sum(1), torch.ones(n))
    assert soft.min() >= 0
    for row in range(n):
        mine = slice(row // size * size, row // size * size + size)
        assert soft[row, mine].sum().item() == pytest.approx(1, abs=1e-5)
    for i in range(groups):  # each batch by itself becomes the same
        mine = slice(i * size, i * size + size)
        alone, own = run_mix_torch.augment(x[mine], torch.eye(size), recipe(*names), keys[mine])
        off = (alone - out[mine]).abs()
        assert off.max() < 1e-5 or (
            "AugMix" in names and off.quantile(0.5) < 1e-5
        )  # a rounding may posterise otherwise
        torch.testing.assert_close(own, soft[mine, mine])


def test_other_grids_are_blended_only_and_what_does_not_fit_is_told():
    keys = KEYS[:4]
    x = torch.arange(4.0).view(4, 1, 1).expand(4, 2, 5) / 4
    out, soft = run_mix_torch.augment(x, torch.eye(4), recipe("MixUp", "CutMix", "Mosaic", "AugMix"), keys)
    torch.testing.assert_close(out, (soft @ torch.arange(4.0) / 4).view(4, 1, 1).expand(4, 2, 5))
    assert (soft > 0).sum(1).tolist() == [2] * 4
    flat = torch.zeros(4, 3, 8, 8)
    with pytest.raises(UserError, match="CopyPaste needs more than the tensors"):
        run_mix_torch.augment(flat, torch.eye(4), recipe("CopyPaste"), keys)
    with pytest.raises(UserError, match="one_hot"):
        run_mix_torch.augment(flat, torch.zeros(4, dtype=torch.long), recipe("MixUp"), keys)
    with pytest.raises(UserError, match="4 samples are not 3 batches"):
        run_mix_torch.augment(flat, torch.eye(4), recipe("MixUp"), keys, groups=3)


# -- probes ----------------------------------------------------------------------------------------------------------


def blobs(n, seed):
    y = np.arange(n) % 3
    centre = np.random.default_rng(5).normal(size=(3, 1, 8, 8))
    x = 0.5 * centre[y] + 0.1 * np.random.default_rng(seed).normal(size=(n, 1, 8, 8))
    return x.astype(np.float32).clip(-1, 1), y


def test_a_probe_learns_the_shares_of_mixed_samples():
    x, y = blobs(30, 0)
    mixing = recipe({"MixUp": {"alpha": 1.0}}, "CutMix")
    task = Task(x, y, *blobs(60, 1), 3, mixing)
    unit = lift._Unit(Arm("classic", "", "classic"), task, 2, 0, 5)
    stack, loss = lift._classifier(unit)
    draws = lift._Draws(task, unit.arm, lift.Stream(0, 2))
    clean, hard = draws(3)
    seen, soft = zip(
        *(  # each model's batch by itself
            run_mix_torch.augment(clean[s], F.one_hot(hard[s], 3).float(), mixing, draws.keys(3)[s])
            for s in (slice(0, 30), slice(30, 60))
        ),
        strict=True,
    )
    assert all((s.max(1).values < 1).any() for s in soft)
    log = stack.logits(torch.stack(seen)).log_softmax(2)
    shares = torch.stack(soft)
    divergence = (torch.special.xlogy(shares, shares) - shares * log).sum(2).mean(1)
    torch.testing.assert_close(loss(3), divergence)
    assert (loss(3) > 0).all()


def test_probes_learn_from_mixed_samples_whatever_they_are():
    x, y = blobs(30, 0)
    task = Task(x, y, *blobs(60, 1), 3, recipe("MixUp", {"CutMix": {"p": 0.5}}))
    arm = Arm("classic", "", "classic")
    for probe in ("cnn", "sklearn.neighbors:KNeighborsClassifier"):
        (found,) = lift.run(task, [arm], seeds=2, steps=60, probe=probe).values()
        assert (found == task.test_y).mean() > 0.9
    u = np.random.default_rng(0).random((1, 20000))
    drawn = lift._drawn_class(torch.tensor([[0.2, 0.0, 0.8]]).expand(20000, 3), u)
    assert np.bincount(drawn, minlength=3) == pytest.approx([4000, 0, 16000], abs=250)


def test_what_has_no_label_is_not_mixed():
    x, y = blobs(30, 0)
    task = Task(x, y, *blobs(9, 1), 3, recipe("MixUp", "Invert"))
    out = task.augmenter()(torch.from_numpy(x), KEYS.repeat(3)[:30])
    torch.testing.assert_close(out, -torch.from_numpy(x))
    assert task.mixer() is not None
    assert Task(x, y, *blobs(9, 1), 3, recipe("Invert")).mixer() is None


def test_prove_takes_recipes_that_mix(tmp_path, capsys):
    for kind, seed in (("real", 0), ("made", 1)):
        for i in range(24):
            level = 60 if i % 2 else 180
            noise = noise_image(8, 8, 1, seed=100 * seed + i) // 8
            images.write(tmp_path / kind / ("dark" if i % 2 else "bright") / f"{seed}{i}.png", level + noise)
    path = tmp_path / "mix.yaml"
    path.write_text("ops:\n  - MixUp\n  - OneOf: {p: 0.5, ops: [CutMix, Mosaic, AugMix]}\n")
    args = [str(tmp_path / "real"), str(tmp_path / "made"), "--recipe", str(path), "--out", str(tmp_path / "out")]
    assert cli.main(["prove", *args, "--seeds", "3", "--probe-steps", "20", "--workers", "1", "--no-audit"]) == 0, (
        capsys.readouterr().err
    )
    path.write_text("ops:\n  - CopyPaste\n")
    assert cli.main(["prove", *args[:-1], str(tmp_path / "o2")]) == 2
    assert "CopyPaste needs more than" in capsys.readouterr().err


# -- the folder job --------------------------------------------------------------------------------------------------


def write_classes(root: Path) -> Path:
    for i, name in enumerate(f"{c}/{i}.png" for c in ("cat", "dog") for i in range(5)):
        images.write(root / name, noise_image(20 + i, 24, 3 if i % 3 else 1, seed=i))
    return root


def hashes(folder: Path) -> dict[str, str]:
    return {p.name: sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.png")}


def test_a_folder_is_mixed_alike_by_any_number_of_workers_and_replays_from_its_manifest(tmp_path):
    root = write_classes(tmp_path / "in")
    path = tmp_path / "mix.yaml"
    path.write_text(
        "ops:\n  - Rotate\n  - Mosaic: {p: 0.5}\n  - OneOf: {ops: [MixUp, CutMix, AugMix]}\n  - Brightness\n"
    )
    for workers in (1, 2):
        am.augment(root, out=tmp_path / str(workers), recipe=str(path), variants=2, workers=workers, seed=4)
    assert hashes(tmp_path / "1") == hashes(tmp_path / "2")
    data = am.read(root)
    load = {s.id: s for s in data}
    rows = [r for r in read_jsonl(tmp_path / "1" / "manifest.jsonl") if r["origin"] == "augmented"]
    assert len(rows) == 20
    soft = outvoted = 0
    for row in rows:
        plan = Plan.from_dict(row["plan"])
        assert tuple(row["parents"]) == (row["parents"][0], *plan.others)
        sample = load[row["parents"][0]]
        again = data.modality.transform(plan, sample, load.__getitem__)
        np.testing.assert_array_equal(images.read(tmp_path / "1" / row["file_name"]), again.data)
        shares = row.get("soft_label")
        if shares is not None:
            soft += 1
            assert sum(shares.values()) == pytest.approx(1, abs=1e-5) and set(shares) == {"cat", "dog"}
            assert shares == again.meta["soft_label"]
            assert shares[row["label"]] == max(shares.values())
            outvoted += row["label"] != sample.label
        else:
            assert row["label"] == sample.label
        assert row["file_name"].startswith(str(row["label"]))
    assert soft >= 5 and outvoted, "three of the other class in a mosaic"
    told = {r["file_name"]: r.get("soft_label") for r in read_jsonl(tmp_path / "1" / "metadata.jsonl")}
    assert {r["file_name"]: r.get("soft_label") for r in rows}.items() <= told.items()


def test_replay_makes_the_same_bytes_and_names_what_differs(tmp_path, capsys):
    root = write_classes(tmp_path / "in")
    (tmp_path / "mix.yaml").write_text("ops:\n  - Rotate\n  - Mosaic\n  - GaussianNoise\n")
    am.augment(root, out=tmp_path / "out", recipe=str(tmp_path / "mix.yaml"), variants=2, workers=1)
    out, manifest = tmp_path / "out", tmp_path / "out" / "manifest.jsonl"
    made = {p.name: d for p, d in ((p, sha256(p.read_bytes()).hexdigest()) for p in out.rglob("*.aug*.png"))}
    assert cli.main(["replay", str(manifest)]) == 0
    assert (
        capsys.readouterr().out.splitlines()[-1]
        == "made again from the real samples, 20 of 20 augmented ones come out byte for byte"
    )
    gone, changed = (
        r["file_name"] for r in read_jsonl(manifest) if r["file_name"].endswith(("dog/1.aug0.png", "dog/1.aug1.png"))
    )
    (out / gone).unlink()
    images.write(out / changed, noise_image(1, 24, 3))
    assert cli.main(["replay", str(manifest), "--out", str(tmp_path / "again")]) == 1
    told = capsys.readouterr().out
    assert "20 of 20 augmented ones" in told
    assert f"gone from beside the manifest: {gone}" in told and f"changed since they were written: {changed}" in told
    assert "OpenCV" not in told
    assert hashes(tmp_path / "again") == made
    images.write(out / "dog" / "0.png", noise_image(20, 24, 1, seed=99))
    found = am.replay(manifest)
    assert found.same < 20 and any("dog/0.aug0.png" in name for name in found.other)
    assert "dog/0.png" in found.changed and "changed real samples" in found.summary[-2]
    (out / "dog" / "0.png").unlink()
    assert cli.main(["replay", str(manifest)]) == 2
    assert "dog/0.png" in capsys.readouterr().err
    assert cli.main(["replay", str(tmp_path / "in")]) == 2 and "no such manifest" in capsys.readouterr().err


def test_replay_names_other_versions_as_the_reason(tmp_path):
    root = write_classes(tmp_path / "in")
    am.augment(root, out=tmp_path / "out", recipe="light", variants=1, workers=1)
    kept = tmp_path / "out" / ".augmint.json"
    kept.write_text(kept.read_text().replace(f'"numpy": "{np.__version__}"', '"numpy": "1.0.0"'))
    manifest = tmp_path / "out" / "manifest.jsonl"
    rows = manifest.read_text().splitlines()
    row = json.loads(rows[-1])
    first, *rest = row["plan"]["steps"]
    plan = {**row["plan"], "steps": [{**first, "degrees": first["degrees"] + 9}, *rest]}
    manifest.write_text("\n".join([*rows[:-1], json.dumps({**row, "plan": plan})]) + "\n")
    found = am.replay(manifest)
    assert found.other == (row["file_name"],) and not found.changed and found.exit_code == 1
    assert any(f"numpy 1.0.0 then, {np.__version__} now" in line for line in found.summary)


def test_a_partner_that_cannot_be_read_is_left_out_of_the_plan(tmp_path):
    root = write_classes(tmp_path / "in")
    whole = bytearray((root / "cat" / "0.png").read_bytes())
    whole[len(whole) // 2] ^= 255  # a scan looks at headers only
    (root / "cat" / "0.png").write_bytes(whole)
    path = tmp_path / "mix.yaml"
    path.write_text("ops:\n  - Brightness\n  - MixUp\n")
    result = am.augment(root, out=tmp_path / "out", recipe=str(path), variants=4, workers=1)
    assert any("cat/0.png" in line for line in result.summary)
    rows = [r for r in read_jsonl(tmp_path / "out" / "manifest.jsonl") if r["origin"] == "augmented"]
    assert len(rows) == 36 and not any("cat/0.png" in r["parents"] for r in rows)
    kinds = {tuple(s["op"] for s in r["plan"]["steps"]) for r in rows}
    assert kinds == {("Brightness",), ("Brightness", "MixUp")}
