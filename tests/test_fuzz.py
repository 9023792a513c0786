"""Bad input, drawn at random: whatever comes, it is transformed by a rule or refused in words, never a traceback and never silently wrong."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import augmint as am
from augmint.core.errors import UserError
from augmint.data import images, objects
from augmint.transforms import run_cv, run_mix, run_mix_torch, run_torch
from augmint.transforms.choice import CHOICES
from augmint.transforms.mix import MIXES, Pool
from augmint.transforms.plan import PICTURE_OPS, Plan, sample_key
from augmint.transforms.recipe import PRESETS, Recipe
from augmint.transforms.run_mix import Scene
from augmint.transforms.targets import Targets, from_format, to_format
from test_objects import write_coco, write_yolo

NAMES = [n for n in PICTURE_OPS if n != "Deskew"]  # which takes no targets
SIZES = {"height_px": 5, "width_px": 7, "side_px": 6}
odd_numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.none(),
    st.text(max_size=5),
)
junk = st.recursive(
    odd_numbers, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=6), x, max_size=3), max_leaves=6
)
arrays = st.sampled_from(
    [np.uint8, np.uint16, np.int16, np.int64, np.float16, np.float32, np.float64, np.bool_]
).flatmap(lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=7)))


def told(function: Any, *args: Any, **more: Any) -> Any:
    """What a function returns; ``None`` where it refuses in words that say how to mend it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            return function(*args, **more)
    except UserError as error:
        assert error.problem and "Traceback" not in str(error) and len(str(error)) < 2000
        return None


def ops(*names: str) -> list[Any]:
    """With sizes that may be larger or smaller than the picture."""
    kinds = {n: PICTURE_OPS.get(n, MIXES.get(n)) for n in names}
    return [{n: {k: v for k, v in SIZES.items() if isinstance(getattr(kinds[n], k, None), int)}} for n in names]


# -- pictures --------------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(
    arrays, st.lists(st.sampled_from([*NAMES, "Deskew"]), min_size=1, max_size=3), st.integers(0, 2**31), st.booleans()
)
def test_any_array_is_transformed_in_its_kind_or_refused(
    x: np.ndarray, names: list[str], seed: int, exact: bool
) -> None:
    plan = Recipe.from_dict({"ops": ops(*names)}).draw(seed=seed, sample_id="a")
    is_picture = x.ndim == 3 and x.dtype in (np.uint8, np.uint16) and x.size > 0 and x.shape[2] in (1, 2, 3, 4)
    before = x.copy()
    out = told(run_cv.apply, plan, x, exact=exact)
    assert (out is not None) == is_picture
    if out is not None:
        assert out.dtype == x.dtype and out.ndim == 3 and out.shape[2] == x.shape[2] and out.size
    found = told(run_cv.apply_normalised, plan, x)
    assert (found is not None) == is_picture and (
        found is None or (found.dtype == np.float32 and np.isfinite(found).all())
    )
    made = told(am.Augment(Recipe.from_dict({"ops": ops(*names)})), x, 3)
    if made is not None:
        assert made.dtype == x.dtype and made.ndim == x.ndim
    assert (made is not None) == (is_picture or (x.ndim == 2 and x.dtype in (np.uint8, np.uint16) and x.size > 0))
    np.testing.assert_array_equal(x, before)


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=6), elements=st.floats(width=32)),
    st.lists(st.sampled_from([*NAMES, "MixUp", "CutMix", "Mosaic", "AugMix"]), min_size=1, max_size=3),
    st.integers(0, 2**31),
)  # fmt: skip
def test_any_batch_of_floats_is_transformed_or_refused(x: np.ndarray, names: list[str], seed: int) -> None:
    """NaN and infinity, too: they spread as far as an op reaches, and never to another sample that they are not mixed into."""
    recipe = Recipe.from_dict({"ops": ops(*names)})
    keys = np.array([sample_key(seed, str(i)) for i in range(len(x))], np.uint64)
    batch = torch.from_numpy(x)
    with np.errstate(all="ignore"):
        out = told(run_torch.augment, batch, recipe, keys)
        mixed = told(run_mix_torch.augment, batch, torch.eye(len(keys)), recipe, keys)
    assert recipe.mixes or (out is None) == (mixed is None)
    if out is not None and len(keys):
        assert out.shape[:2] == batch.shape[:2]
        clean = np.flatnonzero([(np.abs(v) <= 1).all() for v in x])
        assert out[torch.from_numpy(clean)].isfinite().all()


# -- targets ---------------------------------------------------------------------------------------------------------

corner = st.one_of(st.floats(-1e9, 1e9), st.sampled_from([0.0, -1e-3, 12.0, 12.001, 9.0, 9.001, math.nan, math.inf]))


@settings(max_examples=250, deadline=None)
@given(
    st.lists(st.lists(corner, min_size=4, max_size=4), max_size=4),
    st.lists(st.lists(corner, min_size=2, max_size=2), max_size=4),
    st.lists(st.sampled_from([*NAMES, "Deskew"]), min_size=1, max_size=3),
    st.integers(0, 2**31),
    st.sampled_from([0.0, 0.1, 1.0]),
)
def test_targets_end_inside_the_picture_or_are_refused(
    boxes: list[list[float]], points: list[list[float]], names: list[str], seed: int, least: float
) -> None:
    picture = np.zeros((9, 12, 3), np.uint8)
    plan = Recipe.from_dict({"ops": ops(*names)}).draw(seed=seed, sample_id="a")
    given_ = Targets((np.zeros((9, 12), np.uint8),), boxes, points, tuple(range(len(boxes))))  # type: ignore[arg-type]
    found = told(run_cv.apply_with, plan, picture, given_, min_visibility=least)
    numbers = [v for row in [*boxes, *points] for v in row]
    wrong = not np.isfinite(numbers).all() or any(b[0] > b[2] or b[1] > b[3] for b in boxes)
    assert (found is None) == (wrong or any(s.op == "Deskew" for s in plan.steps))
    if found is None:
        return
    out, moved = found
    height, width = out.shape[:2]
    assert moved.masks[0].shape == (height, width)
    assert (moved.boxes >= -1e-6).all() and (moved.boxes <= np.array([width, height] * 2) + 1e-6).all()
    assert (moved.boxes[:, 2:] - moved.boxes[:, :2] > 0.9).all() and len(moved.box_labels) == len(moved.boxes)
    assert (moved.keypoints >= -0.5 - 1e-6).all() and (moved.keypoints <= np.array([width, height]) - 0.5 + 1e-6).all()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.floats(-0.002, 1.002), min_size=4, max_size=4), max_size=3),
    st.sampled_from(["yolo", "coco", "pascal_voc", "voc", ""]),
)
def test_formats_go_there_and_back_or_are_refused(boxes: list[list[float]], form: Any) -> None:
    found = told(from_format, boxes, form, (9, 12))
    assert (found is None) == (form in ("voc", ""))
    if found is not None:
        np.testing.assert_allclose(to_format(found, form, (9, 12)), np.reshape(boxes, (-1, 4)), atol=1e-9)


@pytest.mark.parametrize("name", MIXES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_pictures_of_any_two_kinds_are_mixed_or_refused(name: str, data: st.DataObject) -> None:
    own, other = (data.draw(arrays) for _ in range(2))
    box = np.array([[0.0, 0, 2, 2]])
    recipe = Recipe.from_dict({"ops": [name]})
    plan = recipe.draw(seed=data.draw(st.integers(0, 99)), sample_id="a", pool=Pool(["a", "b"]))
    out = told(run_mix.apply, plan, Scene(own, Targets(boxes=box)), {"b": Scene(other, Targets(boxes=box))}.__getitem__)
    if out is not None:
        assert out.picture.dtype == own.dtype and out.picture.shape[2:] == own.shape[2:]


# -- recipes and plans -----------------------------------------------------------------------------------------------

op_names = st.one_of(
    st.sampled_from([*PICTURE_OPS, *MIXES, *CHOICES, "Normalize", "Rotat", "rotate"]), st.text(max_size=6)
)
setting_names = st.sampled_from(
    sorted({f.name for op in (*PICTURE_OPS.values(), *MIXES.values()) for f in fields(op)} | {"ops", "num"})
)
entries = st.recursive(
    st.one_of(op_names, st.dictionaries(op_names, st.one_of(junk, st.dictionaries(setting_names, junk, max_size=2)), max_size=2)),
    lambda x: st.dictionaries(op_names, st.fixed_dictionaries({"ops": st.lists(x, max_size=3)}), min_size=1, max_size=1),
    max_leaves=4,
)  # fmt: skip
recipes = st.one_of(
    junk,
    st.dictionaries(st.sampled_from(["ops", "name", "border", "interp", "op"]), st.one_of(junk, st.lists(entries, max_size=3)), max_size=3),
    st.fixed_dictionaries({"ops": st.lists(entries, min_size=1, max_size=3)}),
)  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(recipes)
def test_any_recipe_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, found: Any) -> None:
    path = tmp_path_factory.mktemp("r") / "r.yaml"
    path.write_text(yaml.safe_dump(found, allow_unicode=True), encoding="utf-8")
    recipe = told(Recipe.load, path)
    if recipe is not None:
        assert Recipe.from_dict(recipe.to_dict()) == recipe
        plan = recipe.draw(seed=0, sample_id="a", pool=Pool(["a", "b", "c"]))
        assert Plan.from_json(plan.to_json()) == plan


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_recipe_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("r") / "r.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    told(Recipe.load, path)
    told(Recipe.load, text)
    told(Plan.from_json, text)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_plan_is_run_or_refused(data: st.DataObject) -> None:
    """A manifest that somebody has edited."""
    preset = data.draw(st.sampled_from(sorted(PRESETS)))
    recipe = data.draw(
        st.sampled_from(
            [PRESETS[preset], Recipe.from_dict({"ops": ["Rotate", "Mosaic", "AugMix", "ElasticTransform"]})]
        )
    )
    plan = recipe.draw(seed=data.draw(st.integers(0, 99)), sample_id="a", pool=Pool(["a", "b"])).to_dict()
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(
            st.sampled_from([plan, *plan["steps"], *(p for s in plan["steps"] for p in s.get("partners", []))])
        )
        if place:
            place[data.draw(st.sampled_from(sorted(place)))] = data.draw(junk)
        if not isinstance(plan.get("steps"), list) or not all(isinstance(s, dict) for s in plan["steps"]):
            break
        if not all(
            isinstance(s.get("partners", []), list) and all(isinstance(p, dict) for p in s.get("partners", []))
            for s in plan["steps"]
        ):
            break
    read = told(Plan.from_json, json.dumps(plan))
    if read is not None:
        assert Plan.from_json(read.to_json()) == read


# -- files of annotations --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coco(tmp_path_factory.mktemp("coco"), count=2)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_coco_file_is_read_or_its_fault_is_named(coco: Path, data: st.DataObject) -> None:
    file = coco / "annotations" / "instances_train2017.json"
    told_ = json.loads(file.read_text())
    place = data.draw(st.sampled_from([told_, *told_["images"], *told_["annotations"], *told_["categories"]]))
    key = data.draw(st.sampled_from([*sorted(place), "keypoints", "flip_indices", "segmentation"]))
    before = file.read_bytes()
    place[key] = data.draw(junk)
    file.write_text(json.dumps(told_))
    try:
        found = told(am.read, coco)
        for i in range(len(found) if found is not None else 0):
            sample = told(found.__getitem__, i)
            if sample is not None and sample.targets:
                plan = Recipe.from_dict({"ops": ["HorizontalFlip", "Rotate"]}).draw(seed=1, sample_id="a")
                told(run_cv.apply_with, plan, sample.data, Targets(**sample.targets))
    finally:
        file.write_bytes(before)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_label_file_and_data_yaml_is_read_or_its_fault_is_named(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = write_yolo(tmp_path_factory.mktemp("yolo"), "pose", count=1)
    if data.draw(st.booleans()):
        numbers = st.one_of(st.floats(), st.floats(-0.01, 1.01), st.text(max_size=3))
        lines = data.draw(st.lists(st.lists(numbers, max_size=9), max_size=3))
        text = "\n".join(" ".join(map(str, line)) for line in lines)
        (root / "labels" / "train" / "0.txt").write_bytes(text.encode("utf-8", "surrogatepass"))
    else:
        info = {"names": {0: "a"}, data.draw(st.sampled_from(["names", "kpt_shape", "flip_idx"])): data.draw(junk)}
        (root / "data.yaml").write_text(yaml.safe_dump(info, allow_unicode=True), encoding="utf-8")
    found = told(am.read, root)
    for i in range(len(found) if found is not None else 0):
        sample = told(found.__getitem__, i)
        if sample is not None and sample.targets:
            assert objects.LAYOUTS[1] == found.layout
            told(run_cv.apply_with, Plan(), sample.data, Targets(**sample.targets))


def test_a_crop_larger_than_the_picture_shows_its_border(tmp_path: Path) -> None:
    """The rule: the window is that large whatever the picture is, and beyond the picture lies what the border says."""
    x = np.arange(1, 10, dtype=np.uint8).reshape(3, 3, 1) * 20
    for name in ("CenterCrop", "RandomCrop"):
        for border, mode in (("zero", "constant"), ("edge", "edge"), ("reflect", "symmetric")):
            recipe = Recipe.from_dict({"border": border, "ops": [{name: {"height_px": 5, "width_px": 7}}]})
            out = run_cv.apply(recipe.draw(seed=0, sample_id="a"), x)
            assert out.shape == (5, 7, 1)
            wide = np.pad(x[..., 0], ((2, 2), (4, 4)), mode=mode)  # type: ignore[call-overload]
            windows = [wide[i : i + 5, j : j + 7] for i in range(3) for j in range(5)]
            assert any(np.array_equal(out[..., 0], w) for w in windows), (name, border)
    images.write(tmp_path / "a.png", x)
