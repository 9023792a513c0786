"""`augmint inspect RECIPE`: what is fused is what the compiler fuses, and the figures are times."""

from __future__ import annotations

import json

import pytest

from augmint import cli
from augmint.transforms import fuse
from augmint.transforms.explain import explain
from augmint.transforms.plan import Plan, Step
from augmint.transforms.recipe import PRESETS, Recipe

RUNS = Recipe.from_dict(
    {
        "ops": [
            *("Brightness", "Rotate", "Gamma", "Scale", {"GaussianBlur": {"p": 0.2}}),
            *("Translate", "Hue", "MixUp", "Contrast", "Perspective"),
        ]
    }
)


def test_stages_are_those_of_the_compiler():
    found = explain(RUNS, side=32)
    told = [[c.op for c in found.costs if c.stage == n] for n in range(len(found.fused_us))]
    assert told == [
        *(["Rotate", "Scale"], ["Brightness", "Gamma"], ["GaussianBlur"]),
        *(["Translate"], ["Hue"], ["MixUp"], ["Perspective"], ["Contrast"]),
    ]
    ops = [op for op in RUNS.flat if op.name != "MixUp"]
    drawn = [d for d in RUNS.draw_batch([1]) if d.op != "MixUp"]
    plan = Plan(
        tuple(
            Step(op.name, d.id, {k: float(v[0]) for k, v in d.params.items()}) for op, d in zip(ops, drawn, strict=True)
        )
    )
    # Without the mixing op the two runs around it are one.
    assert len(fuse.compile(plan, (32, 32, 3)).stages) == len(found.fused_us) - 3


def test_what_is_fused_costs_less_than_its_parts_and_the_lines_tell_it():
    recipe = Recipe.from_dict({"ops": ["Rotate", "Translate", "Scale", "Shear", "GaussianNoise"]})
    found = explain(recipe, side=256)
    assert found.fused_us[0] < 0.6 * sum(c.us for c in found.costs[:4])
    assert found.picture_us < found.chain_us and found.plan_us > 0
    text = "\n".join(found.summary)
    assert "= one warp" in text and text.count("ends the run: it looks at places or neighbours") == 1
    json.dumps(found.to_dict())


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_explained(name, capsys):
    found = explain(PRESETS[name], side=16)
    assert [c.op for c in found.costs] == [op.name for op in PRESETS[name].flat]
    assert all(c.us > 0 for c in found.costs)
    if name == "trivial":
        assert "one of 13, p 0.929" in "\n".join(found.summary) and "= one warp" not in "\n".join(found.summary)


def test_the_command_takes_a_recipe_where_it_takes_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("ops:\n  - Mosaic\n  - Rotate: {p: 0.25}\n")
    assert cli.main(["inspect", "mine.yaml"]) == 0
    out = capsys.readouterr().out
    assert "recipe mine: 2 ops in 2 stages" in out and "needs other pictures" in out and "0.25" in out
    assert cli.main(["inspect", "mine.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stages"][0]["ends_run"] is True
    (tmp_path / "mine.yaml").write_text("ops:\n  - Rotat\n")
    assert cli.main(["inspect", "mine.yaml"]) == 2
    assert "did you mean 'Rotate'" in capsys.readouterr().err
    (tmp_path / "medium").mkdir()
    assert cli.main(["inspect", "medium"]) == 2  # a folder of this name is the folder


def test_a_recipe_for_sounds_is_told_in_its_own_words() -> None:
    ops = ["TimeStretch", "Gain", "Reverb", "PitchShift", "AddNoise", {"AddBackground": {"folder": "noises"}}]
    found = explain(Recipe.from_dict({"name": "calls", "quality": "fast", "ops": ops}))
    assert [c.stage for c in found.costs] == [0, 1, 1, 0, 2, 3]
    text = "\n".join(found.summary)
    for words in (
        "quality fast",
        "4 s at 16,000 Hz",
        "= one stretch",
        "= one frequency response",
        "works on samples",
        "needs other sounds",
    ):
        assert words in text, words
    assert found.to_dict()["seconds"] == 4 and found.chain_us > 0
