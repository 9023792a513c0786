"""`augmint augment --search`: the recipe that is chosen is the one that helps, found inside the training part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

import augmint as am
from augmint.core.errors import UserError
from augmint.data import images
from augmint.steps import searching
from augmint.transforms.plan import SOUNDS
from augmint.transforms.recipe import Recipe
from voices import write_voices


def write_bars(root: Path, *, count: int = 9, part: str = "") -> Path:
    """Two classes that a turn by a quarter would swap: bars that lie and bars that stand."""
    rng = np.random.default_rng(len(part))
    for label in ("lying", "standing"):
        for i in range(count):
            x = rng.integers(0, 90, (12, 12, 1)).astype(np.uint8)
            at = int(rng.integers(1, 10))
            x[at : at + 2] = 220
            images.write(root / part / label / f"{i}.png", x if label == "lying" else x.transpose(1, 0, 2))
    return root


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "STEPS", searching.FEWEST_STEPS)


def search(data: am.Dataset, **settings) -> searching.Search:
    how = {"seed": 0, "seconds": 600.0, "workers": 1, "stop": False, "progress": lambda event: None, **settings}
    return searching.search(data, **how)


def test_what_destroys_the_label_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swaps = Recipe.from_dict({"name": "swaps", "ops": [{"Rotate": {"degrees": [90, 90], "p": 0.5}}]})
    shifts = Recipe.from_dict({"name": "shifts", "ops": [{"Translate": {"shift_frac": [-0.3, 0.3]}}]})
    monkeypatch.setattr(searching, "_CANDIDATES", (swaps, shifts))
    data = am.read(write_bars(tmp_path / "in"))
    found = search(data)
    assert found.recipe == shifts and [t.name for t in found.tried] == ["shifts", "swaps"]
    swapped = found.tried[1].effect
    assert found.tried[1].accuracy < 75 and swapped.effect < -10
    assert found.tried[0].effect.num_test == len(data)  # every sample is tested once
    assert Recipe.from_dict(yaml.safe_load(found.yaml())) == shifts and found.yaml().startswith("# recipes tried on 18")
    again = search(data, workers=2)
    assert [(t.name, t.accuracy, t.effect.ci95) for t in again.tried] == [
        (t.name, t.accuracy, t.effect.ci95) for t in found.tried
    ]


def test_the_command_writes_the_recipe_and_never_sees_the_test_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = tuple(
        Recipe.from_dict({"name": n, "ops": [{"Translate": {"shift_frac": [-s, s]}}]})
        for n, s in (("near", 0.1), ("far", 0.3))
    )
    monkeypatch.setattr(searching, "_CANDIDATES", two)
    root = write_bars(write_bars(tmp_path / "in", part="train"), part="test")
    plan = am.augment(root, out=tmp_path / "out", search=True, dry_run=True)
    assert "try recipes" in plan.summary[0] and not (tmp_path / "out").exists()
    result = am.augment(root, out=tmp_path / "out", search=True, time=0.05, workers=1, variants=1)
    taken = Recipe.load(tmp_path / "out" / "recipe.yaml")
    assert taken in two and f"{taken.name} is taken" in "\n".join(result.summary)
    assert am.read(tmp_path / "out").counts == {"lying": 27, "standing": 27}
    for path in (root / "test").rglob("*.png"):  # other test pictures, the same choice
        images.write(path, np.zeros((12, 12, 1), np.uint8))
    am.augment(root, out=tmp_path / "again", search=True, time=0.05, workers=1, variants=1)
    assert (tmp_path / "again" / "recipe.yaml").read_text() == (tmp_path / "out" / "recipe.yaml").read_text()


def test_a_fold_that_would_end_too_late_is_left_out_and_that_is_told(tmp_path: Path) -> None:
    data = am.read(write_bars(tmp_path / "in"))
    events: list[dict] = []
    found = search(data, seconds=0.05, progress=events.append)
    assert found.tried[0].effect.num_test == len(data) // 3 and "before the other 2" in found.lines[0]
    (told,) = [e["note"] for e in events if "note" in e]
    assert "60 steps" in told and "about 0 s" not in told, (
        "the fewest steps take longer than was asked for, and it says so"
    )
    done = [e["done"] for e in events if "done" in e]
    assert done == list(range(1, 10))  # one of three folds: none and eight recipes


def test_where_all_do_equally_well_the_default_is_taken_and_nothing_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "_right", lambda unit: np.ones((searching.SEEDS, len(unit.task.test_y)), bool))
    found = search(am.read(write_bars(tmp_path / "in")))
    assert found.recipe.name == "medium" and "do not tell them apart" in found.lines[-1]


def test_it_takes_labels(tmp_path: Path) -> None:
    for i in range(5):
        images.write(tmp_path / "in" / f"{i}.png", np.full((8, 8, 1), 40 * i, np.uint8))
    with pytest.raises(UserError, match="two classes of 3"):
        am.augment(tmp_path / "in", out=tmp_path / "out", search=True)


def test_sounds_are_searched_with_presets_of_their_own(tmp_path: Path) -> None:
    data = am.read(write_voices(tmp_path / "in", per_class=6))
    found = search(data)
    assert sorted(t.name for t in found.tried) == ["light", "medium", "rand", "strong", "trivial"]
    assert Recipe.from_dict(yaml.safe_load(found.yaml())) == found.recipe and found.recipe.kind == SOUNDS
