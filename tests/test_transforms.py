"""Recipes, plans and draws: what may happen, what does happen, and that nothing else decides it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmint.core.errors import UserError
from augmint.transforms import fuse, fuse_audio
from augmint.transforms.mix import Mix
from augmint.transforms.plan import PICTURE_OPS as OPS
from augmint.transforms.plan import PICTURES, SOUND_OPS, SOUNDS, VOCABULARIES, Plan, Step, sample_key
from augmint.transforms.recipe import PRESETS, Recipe
from augmint.transforms.signal import Gain

ids = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12)
ALONE = {kind: [op for op in known.values() if not issubclass(op, Mix)] for kind, known in VOCABULARIES.items()}
recipes = st.sampled_from(sorted(ALONE)).flatmap(
    lambda kind: st.lists(st.sampled_from(ALONE[kind]), min_size=1, max_size=8).map(
        lambda ops: Recipe("r", tuple(op() for op in ops))
    )
)


@given(recipes, st.integers(0, 2**31), ids, st.integers(0, 99), st.integers(0, 9))
def test_a_draw_equals_its_row_of_a_batch_and_does_not_depend_on_the_batch(recipe, seed, sample_id, variant, epoch):
    plan = recipe.draw(seed=seed, sample_id=sample_id, variant=variant, epoch=epoch)
    key = sample_key(seed, sample_id, variant, epoch)
    others = [sample_key(seed, sample_id, variant + 1, epoch), sample_key(seed + 1, sample_id, variant, epoch)]
    for keys in ([key, *others], [*others, key]):
        drawn = recipe.draw_batch(np.array(keys, np.uint64))
        i = keys.index(key)
        row = (Step(d.op, d.id, {k: float(v[i]) for k, v in d.params.items()}) for d in drawn if d.active[i])
        assert plan.steps == tuple(row)


@given(recipes, ids)
def test_taking_one_op_out_changes_no_other_op(recipe, sample_id):
    whole = {s.id: s for s in recipe.draw(seed=1, sample_id=sample_id).steps}
    last_of_its_name = {op.name: i for i, op in enumerate(recipe.ops)}
    for i in last_of_its_name.values():
        rest = Recipe("r", recipe.ops[:i] + recipe.ops[i + 1 :])
        plan = {s.id: s for s in rest.draw(seed=1, sample_id=sample_id).steps}
        assert plan == {k: v for k, v in whole.items() if k != recipe.ids[i]}


@given(recipes, ids, st.randoms())
def test_the_order_of_different_ops_changes_no_draw(recipe, sample_id, random):
    ops = [op.build({**op.to_dict()[op.name], "id": i}) for op, i in zip(recipe.ops, recipe.ids, strict=True)]
    plan = {s.id: s for s in recipe.draw(seed=1, sample_id=sample_id).steps}
    random.shuffle(ops)
    assert {s.id: s for s in Recipe("r", tuple(ops)).draw(seed=1, sample_id=sample_id).steps} == plan


def test_draws_fill_their_ranges_evenly():
    recipe = PRESETS["strong"]
    keys = np.array([sample_key(0, str(i)) for i in range(4000)], np.uint64)
    for op, drawn in zip(recipe.ops, recipe.draw_batch(keys), strict=True):
        assert abs(drawn.active.mean() - op.p) < 4 * np.sqrt(max(op.p * (1 - op.p), 1e-9) / 4000) + 1e-9
        for entry in fields(op):
            if "least" not in entry.metadata:
                continue
            low, high = getattr(op, entry.name)
            name = "x_frac" if entry.name == "shift_frac" else entry.name
            v = drawn.params[name]
            u = np.log(v / low) / np.log(high / low) if entry.name in ("factor", "exponent") and low else None
            u = (v - low) / (high - low) if u is None or op.name == "Saturation" else u
            assert u.min() >= -1e-12 and u.max() <= 1 + 1e-12
            counts = np.histogram(u, 10, (0, 1))[0]
            assert ((counts - 400) ** 2 / 400).sum() < 33.7  # chi-square with 9 degrees of freedom, p = 1e-4


def test_different_ops_draw_independently():
    recipe = Recipe.from_dict({"ops": ["Rotate", "Rotate", "Brightness", "Shear"]})
    keys = np.array([sample_key(0, str(i)) for i in range(5000)], np.uint64)
    rows = [v for d in recipe.draw_batch(keys) for k, v in d.params.items() if k != "y_degrees"]
    assert np.abs(np.corrcoef(rows) - np.eye(4)).max() < 4.5 / np.sqrt(5000)


@pytest.mark.parametrize("p", [0.0, 0.25, 1.0])
def test_p_scales_every_probability_and_only_adds_ops_as_it_grows(p):
    recipe = PRESETS["strong"]
    keys = np.array([sample_key(0, str(i)) for i in range(4000)], np.uint64)
    for op, part, full in zip(recipe.ops, recipe.draw_batch(keys, p=p), recipe.draw_batch(keys), strict=True):
        assert abs(part.active.mean() - p * op.p) < 0.035
        assert not np.any(part.active & ~full.active)
        assert all(np.array_equal(part.params[k], full.params[k]) for k in full.params)


@given(recipes, ids)
def test_a_plan_survives_json_number_for_number(recipe, sample_id):
    plan = recipe.draw(seed=7, sample_id=sample_id)
    text = plan.to_json()
    assert Plan.from_json(text) == plan
    for step in json.loads(text)["steps"]:
        assert all(isinstance(v, str | float) for v in step.values())


@given(recipes)
def test_a_recipe_survives_its_dict(recipe):
    found = json.loads(json.dumps(recipe.to_dict()))
    assert Recipe.from_dict(found) == recipe


CHOOSING = {
    "ops": [
        "Rotate",
        {"OneOf": {"p": 0.8, "ops": ["Scale", {"Shear": {"p": 0.5}}, "Brightness"]}},
        {"SomeOf": {"num": 2, "ops": ["Gamma", "Contrast", "Rotate", "JPEG"]}},
        {"Sometimes": {"ops": ["Hue", "Invert"]}},
    ]
}


def test_choices_choose_as_often_as_they_say():
    recipe = Recipe.from_dict(CHOOSING)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    keys = np.array([sample_key(0, str(i)) for i in range(6000)], np.uint64)
    on = np.stack([d.active for d in recipe.draw_batch(keys)], 1).astype(float)
    want = [1, 0.8 / 3, 0.4 / 3, 0.8 / 3, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert np.abs(on.mean(0) - want).max() < 0.03
    assert on[:, 1:4].sum(1).max() == 1 and (on[:, 4:8].sum(1) == 2).all() and (on[:, 8] == on[:, 9]).all()
    pairs = np.bincount((on[:, 4:8] @ [1, 2, 4, 8]).astype(int), minlength=16)
    assert (pairs > 0).sum() == 6 and pairs[pairs > 0].min() > 850  # each pair one time in six
    assert recipe.ids[0] == "Rotate-1" and recipe.ids[6] == "Rotate-2"


def test_a_choice_leaves_the_other_ops_as_they_were():
    alone = Recipe.from_dict({"ops": ["Rotate", "Hue"]})
    among = Recipe.from_dict({"ops": ["Rotate", {"OneOf": {"ops": ["Hue", "Scale"]}}]})
    for i in range(40):
        before = {s.id: s for s in alone.draw(seed=1, sample_id=str(i)).steps}
        after = {s.id: s for s in among.draw(seed=1, sample_id=str(i)).steps}
        assert after["Rotate-1"] == before["Rotate-1"]
        assert after.get("Hue-1", before["Hue-1"]) == before["Hue-1"] and len(after) == 2


def test_trivial_is_one_op_and_rand_two():
    for name, most in (("trivial", 1), ("rand", 2)):
        counts = {len(PRESETS[name].draw(seed=0, sample_id=str(i)).steps) for i in range(300)}
        assert counts == ({0, 1} if most == 1 else {2})
    few = Recipe.load("trivial", allowed=["Rotate", "Brightness"])
    assert {op.name for op in few.flat} == {"Rotate", "Brightness"}
    assert PRESETS["enhance"].draw(seed=0, sample_id="a") == PRESETS["enhance"].draw(seed=5, sample_id="b")


def test_presets_are_limited_to_what_the_data_takes():
    assert Recipe.load("medium").ops == PRESETS["medium"].ops
    assert [op.name for op in Recipe.load("medium", allowed=["GaussianNoise", "Rotate"]).ops] == [
        "Rotate",
        "GaussianNoise",
    ]
    assert not {"HorizontalFlip", "VerticalFlip"} & {op.name for op in PRESETS["medium"].ops}
    assert "HorizontalFlip" in {op.name for op in PRESETS["strong"].ops}


def test_a_recipe_file_is_read_with_defaults_ids_and_ways(tmp_path: Path):
    path = tmp_path / "parts.yaml"
    path.write_text(
        "border: zero\ninterp: cubic\nops:\n  - Rotate: {degrees: [-3, 3], p: 0.5}\n  - HorizontalFlip\n"
        "  - Rotate:\n  - GaussianNoise: {sigma_frac: [0, 0.02], id: grain}\n"
    )
    recipe = Recipe.load(str(path))
    assert (recipe.name, recipe.border, recipe.interp) == ("parts", "zero", "cubic")
    assert recipe.ids == ("Rotate-1", "HorizontalFlip-1", "Rotate-2", "grain")
    assert recipe.ops[0].p == 0.5 and recipe.ops[1] == OPS["HorizontalFlip"]() and recipe.ops[2] == OPS["Rotate"]()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ops:\n  - Rotat: {degrees: [1, 2]}", ["Rotat", "did you mean 'Rotate'"]),
        ("ops:\n  - Rotate: {degres: [1, 2]}", ["degres", "did you mean 'degrees'"]),
        ("ops:\n  - Rotate: {degrees: 12}", ["degrees", "12", "[low, high]"]),
        ("ops:\n  - Rotate: {degrees: [5, -5]}", ["[5, -5]", "low <= high"]),
        ("ops:\n  - Rotate: {degrees: [0, 999]}", ["999", "180"]),
        ("ops:\n  - Rotate: {degrees: [0, .nan]}", ["nan"]),
        ("ops:\n  - Rotate: {p: 2}", ["p is 2", "between 0 and 1"]),
        ("ops:\n  - Rotate: {p: often}", ["often"]),
        ("ops:\n  - Rotate: {id: 3}", ["id is 3"]),
        ("ops:\n  - Rotate: 12", ["its settings are 12"]),
        ("ops:\n  - [Rotate]", ["op 1"]),
        ("ops:\n  - Crop: {resize: 1}", ["resize", "true or false"]),
        ("ops:\n  - Cutout: {fill: 300}", ["fill", "between 0 and 1"]),
        ("ops:\n  - Shear: {x_degrees: [0, 45], y_degrees: [0, 45]}", ["flattens"]),
        ("ops:\n  - Rotate: {id: a}\n  - Scale: {id: a}", ["two ops", "'a'"]),
        ("ops:\n  - OneOf: {ops: [Rotat]}", ["Rotat", "did you mean 'Rotate'"]),
        ("ops:\n  - OneOf: {ops: []}", ["op 1, OneOf", "list of `ops`"]),
        ("ops:\n  - OneOf: {oops: [Rotate]}", ["oops", "did you mean 'ops'"]),
        ("ops:\n  - SomeOf: {num: 0, ops: [Rotate]}", ["num is 0"]),
        ("ops:\n  - Sometimes: {p: 3, ops: [Rotate]}", ["p is 3"]),
        ("ops:\n  - Sometimes: {ops: [VerticalFlip]}", ["VerticalFlip", "does not apply"]),
        ("ops:\n  - OneOf: {ops: [{OneOf: {ops: [Rotate]}}]}", ["unknown op 'OneOf'"]),
        ("opps:\n  - Rotate", ["opps", "did you mean 'ops'"]),
        ("ops: []", ["list of `ops`"]),
        ("border: reflekt\nops:\n  - Rotate", ["reflekt", "did you mean 'reflect'"]),
        ("interp: lanczos\nops:\n  - Rotate", ["lanczos", "linear or cubic"]),
        ("ops: !!python/object/apply:os.system ['true']", ["not plain YAML"]),
        ("ops:\n  - VerticalFlip", ["VerticalFlip", "does not apply"]),
    ],
)
def test_a_bad_recipe_file_is_named_and_its_mend_told(tmp_path: Path, text: str, words: list[str]):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        Recipe.load(str(path), allowed=[n for n in OPS if n != "VerticalFlip"])
    message = str(caught.value)
    assert "bad.yaml" in message and caught.value.mend
    assert all(word in message for word in words), message


def test_unknown_presets_and_missing_files_are_told():
    with pytest.raises(UserError, match="did you mean 'medium'"):
        Recipe.load("mediun")
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        Recipe.load("nowhere.yaml")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"steps": [{"op": "Rotat"}]}', '{"steps": [{"op": "Rotate"}]}', '{"border": "x", "steps": []}']
)
def test_a_broken_plan_is_refused(text: str):
    with pytest.raises(UserError):
        Plan.from_json(text)


def test_geometry_and_colour_fuse_to_one_stage_each_and_local_ops_end_the_run():
    plan = Plan(
        (
            Step("Brightness", "a", {"add_frac": 0.1}),
            Step("Rotate", "b", {"degrees": 5.0}),
            Step("Saturation", "c", {"factor": 1.1}),
            Step("Scale", "d", {"factor": 1.1}),
            Step("GaussianBlur", "e", {"sigma_px": 1.0}),
            Step("Translate", "f", {"x_frac": 0.1, "y_frac": 0.0}),
            Step("Gamma", "g", {"exponent": 0.9}),
        )
    )
    names = [type(s).__name__ for s in fuse.compile(plan, (20, 30, 3)).stages]
    assert names == ["Warp", "Recolour", "Blur", "Warp", "Recolour"]


def test_the_light_half_of_the_engine_loads_neither_torch_nor_opencv():
    code = "import sys, augmint.transforms.fuse, augmint.transforms.recipe; print({'torch', 'cv2'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_a_batch_fuses_each_sample_as_its_own_plan_would_be(seed):
    # Two local ops that happen or not, so that runs end at different places for different samples.
    names = ["Rotate", {"GaussianBlur": {"p": 0.5}}, "Translate", "Brightness", {"Cutout": {"p": 0.5}}, "Shear"]
    recipe = Recipe.from_dict({"ops": names})
    keys = np.array([sample_key(seed, str(i)) for i in range(6)], np.uint64)
    batch = fuse.compile_batch(recipe.draw_batch(keys), (16, 12), 3)
    warps = [s for s in batch if isinstance(s, fuse.Warp)]
    for i, k in enumerate(keys):
        alone = [s.matrix for s in fuse.compile(recipe.plan_of(int(k)), (16, 12, 3)).stages if isinstance(s, fuse.Warp)]
        mine = [w.matrix[i] for w in warps if not np.array_equal(w.matrix[i], np.eye(3))]
        np.testing.assert_allclose(mine, alone, atol=1e-12)


def test_the_guide_lists_every_op_with_its_default_ranges():
    pictures, sounds = (Path(__file__).parents[1] / "docs" / "transforms.md").read_text().split("\n## Sound\n")
    for kind, guide in ((PICTURES, pictures), (SOUNDS, sounds)):
        for name, op in VOCABULARIES[kind].items():
            row = next((line for line in guide.splitlines() if line.startswith(f"| `{name}` |")), "")
            assert f"| {op.family} |" in row, name
            for entry in fields(op):
                if "least" in entry.metadata:
                    low, high = entry.default
                    bounds = f"[{entry.metadata['least']:g}, {entry.metadata['most']:g}]"
                    told = (f"`{entry.name}`", f"({low:g}, {high:g})", bounds)
                    assert all(t in row for t in told), (name, entry.name)


# --- names by kind of data -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Crop(Gain):
    """A name that pictures have too, with other settings."""


@pytest.fixture
def two_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOUND_OPS, "Crop", Crop)


def test_a_name_means_what_the_data_makes_of_it(two_crops: None):
    file = {"ops": [{"Crop": {"p": 0.5}}]}
    assert type(Recipe.from_dict(file, kind=SOUNDS).ops[0]) is Crop
    assert type(Recipe.from_dict(file, kind=PICTURES).ops[0]) is OPS["Crop"]


def test_without_data_the_other_ops_tell_and_else_it_is_a_picture(two_crops: None):
    assert type(Recipe.from_dict({"ops": ["Crop", {"OneOf": {"ops": ["TimeMask"]}}]}).flat[0]) is Crop
    assert Recipe.from_dict({"ops": ["Crop", "Rotate"]}).kind == Recipe.from_dict({"ops": ["Crop"]}).kind == PICTURES


def test_a_plan_says_which_kind_its_names_are_of(two_crops: None):
    plan = Recipe("r", (Crop(gain_db=(3, 3)),)).draw(seed=0, sample_id="a")
    assert plan.kind == SOUNDS and Plan.from_json(plan.to_json()) == plan
    with pytest.raises(UserError, match=r"a plan for sounds(.|\n)*recipe for this data"):
        fuse.compile(plan, (8, 8, 3))
    with pytest.raises(UserError, match="a plan for pictures"):
        fuse_audio.compile(Recipe("r", (OPS["Crop"](),)).draw(seed=0, sample_id="a"))


@pytest.mark.parametrize(
    ("ops", "kind", "words"),
    [
        (["Gain", "Rotate"], SOUNDS, r"Rotate does not apply(.|\n)*op for pictures(.|\n)*what applies"),
        (["Rotate", "Gain"], None, "Rotate is an op for pictures, and Gain one for sounds"),
        (["Gain", "Gian"], None, "did you mean 'Gain'"),
        (["Gian"], SOUNDS, "did you mean 'Gain'"),
    ],
)
def test_an_op_of_another_kind_is_named(ops: list[str], kind: str | None, words: str):
    with pytest.raises(UserError, match=words):
        Recipe.from_dict({"ops": ops}, kind=kind)
