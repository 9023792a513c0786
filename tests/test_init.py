"""A run that goes on after its end, and one that starts from another's weights: by the verb, as a user would."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import augmint as am
from augmint.core.errors import Refused, UserError
from augmint.core.run import Run, read_json, read_jsonl
from augmint.core.types import Grid
from augmint.data import images
from augmint.training import fit, transfer
from test_contract import TINY, TRAIN, write_images

torch.set_num_threads(1)

NETS: Any = SimpleNamespace(name="toy")
GRID = Grid(2, (8, 8))


def pair(classes: int, seed: int = 0, size: str = "nano") -> Any:
    return fit.networks(NETS, size, GRID, classes, seed=seed)


@pytest.mark.parametrize("size", ["nano", "article"])
def test_what_has_a_row_a_class_is_named_whole(size: str) -> None:
    """Built for five and for seven classes, nothing but these differs in shape, and it differs along its first axis alone."""
    found = set()
    for a, b in zip(pair(5, size=size), pair(7, size=size), strict=True):
        other = b.state_dict()
        for name, value in a.state_dict().items():
            if value.shape != other[name].shape:
                found.add(name)
                assert (value.shape[0], other[name].shape[0]) == (5, 7) and value.shape[1:] == other[name].shape[1:]
    assert found - set(transfer.SET) == set(transfer.PER_CLASS)


def test_rows_follow_the_names_and_new_classes_stay_fresh() -> None:
    theirs, classes = ("cat", "dog", "owl"), ("ant", "owl", "cat")
    for old, new in zip(pair(3, 1), pair(3, 2), strict=True):
        fresh = {k: v.clone() for k, v in new.state_dict().items()}
        transfer.adopt(new, old.state_dict(), theirs, classes)
        for name, value in new.state_dict().items():
            given = old.state_dict()[name]
            if name not in transfer.PER_CLASS:
                assert torch.equal(value, given)
                continue
            assert torch.equal(value[0], fresh[name][0]) and torch.equal(value[1], given[2])
            assert torch.equal(value[2], given[0])


def test_the_same_classes_in_another_order_make_the_same_samples() -> None:
    (old, old_verifier), (new, new_verifier) = pair(3, 1), pair(3, 2)
    transfer.adopt(new, old.state_dict(), ("a", "b", "c"), ("c", "a", "b"))
    transfer.adopt(new_verifier, old_verifier.state_dict(), ("a", "b", "c"), ("c", "a", "b"))
    z, y, there = torch.randn(6, 64), torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([1, 2, 0, 1, 2, 0])
    x = old(z, y)
    assert torch.equal(x, new(z, there))
    assert torch.equal(old_verifier.score(x, y), new_verifier.score(x, there))
    assert torch.equal(old_verifier.classify(x), new_verifier.classify(x)[:, [1, 2, 0]])


def test_without_labels_on_both_sides_the_one_row_is_taken_over() -> None:
    (old, _), (new, _) = pair(0, 1), pair(0, 2)
    transfer.adopt(new, old.state_dict(), (), ())
    assert all(torch.equal(v, old.state_dict()[k]) for k, v in new.state_dict().items())


def test_weights_of_another_network_are_refused() -> None:
    old, _ = fit.networks(NETS, "nano", Grid(1, (8, 8)), 3, seed=0)
    new, _ = pair(3)
    before = {k: v.clone() for k, v in new.state_dict().items()}
    with pytest.raises(UserError, match=r"another network: out\."):
        transfer.adopt(new, old.state_dict(), ("a",), ("a",))
    assert all(torch.equal(v, before[k]) for k, v in new.state_dict().items()), "half adopted"


# -- by the verb -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("init") / "data")


@pytest.fixture(scope="module")
def old(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("old") / "run"
    am.train(data, out=run, **TINY, **TRAIN)
    return run


def other_pictures(
    root: Path, *, side: int = 12, channels: int = 1, names: tuple[str, ...] = ("lying", "dots")
) -> Path:
    rng = np.random.default_rng(7)
    for name in names:
        for i in range(12):
            x = rng.integers(0, 255, (side, side, channels)).astype(np.uint8)
            images.write(root / name / f"{i:03d}.png", x)
    return root


def weights(run: Path, name: str = "generator") -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return dict(load_file(run / "gan" / f"{name}.safetensors"))


def test_a_finished_run_is_trained_further(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    am.train(data, out=run, **TINY, **TRAIN)
    first = (run / "checkpoints" / "last").read_text()
    am.train(data, out=run, **TINY, **{**TRAIN, "steps": 14})
    assert (first, (run / "checkpoints" / "last").read_text()) == ("step-000008\n", "step-000014\n")
    assert Run(run).is_done and Run(run).chosen("steps") == 14 and Run(run).state["config"]["steps"] == 14
    steps = [r["step"] for r in read_jsonl(run / "metrics.jsonl") if "tick" not in r]
    assert steps == list(range(1, 15))
    with pytest.raises(Refused, match="steps was 14, now 8"):
        am.train(data, out=run, **TINY, **TRAIN)
    with pytest.raises(Refused, match="batch was 8, now 4"):
        am.train(data, out=run, **TINY, **{**TRAIN, "steps": 20, "batch": 4})


def test_a_run_starts_from_another_and_says_so(old: Path, tmp_path: Path) -> None:
    more = other_pictures(tmp_path / "more")
    run = tmp_path / "run"
    settings = {**TINY, **TRAIN, "steps": 1, "lr": 1e-9}
    am.train(more, out=run, init=old, **settings)
    # With next to no learning what comes out is what went in.
    mine, theirs = weights(run, "verifier"), weights(old, "verifier")
    trunk = [k for k in mine if k not in transfer.PER_CLASS]
    assert all(torch.allclose(mine[k], theirs[k], atol=1e-7) for k in trunk)
    rows = "heads.project.weight"  # lying is the first class there, and the second one here, after dots
    assert torch.allclose(mine[rows][1], theirs[rows][0], atol=1e-7)
    assert not torch.allclose(mine[rows][0], theirs[rows][1], atol=1e-3)
    why = Run(run).reason("init")
    assert "classes taken over: lying" in why and "new: dots" in why and "left behind: standing" in why
    assert len(read_json(run / "run.json")["inputs"]["init"]) == 64
    am.export(run, out=tmp_path / "card")
    assert why in (tmp_path / "card" / "README.md").read_text()
    with pytest.raises(Refused, match=r"inputs\.init was '\w+', now None"):
        am.train(more, out=run, **settings)


def test_it_starts_from_an_export_too_and_says_what_it_cannot_check(old: Path, data: Path, tmp_path: Path) -> None:
    am.export(old, out=tmp_path / "card")
    found = am.train(data, init=tmp_path / "card", dry_run=True, **TINY, **TRAIN)
    assert any("nobody can tell" in line for line in found.summary)


def test_a_run_that_knows_the_test_part_is_refused(old: Path, data: Path, tmp_path: Path) -> None:
    """The same data with the same seed has the same split; with another seed the old run has seen the test part."""
    assert am.train(data, init=old, dry_run=True, **TINY, **TRAIN)
    with pytest.raises(Refused, match=r"has learned .* of this data's test part") as error:
        am.train(data, init=old, out=tmp_path / "run", **{**TINY, "seed": 4}, **TRAIN)
    assert "--seed" in str(error.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "how,told",
    [
        ({"size": "article"}, "size 'nano', not 'article'"),
        ({"grid": 16}, "a grid of .*, this data gets one of"),
    ],
)
def test_what_does_not_fit_is_refused(how: dict[str, Any], told: str, old: Path, tmp_path: Path) -> None:
    more = other_pictures(tmp_path / "more")
    with pytest.raises(UserError, match=told):
        am.train(more, init=old, **TINY, **TRAIN, **how)


def test_colour_does_not_fit_gray_and_the_grid_is_the_old_one(old: Path, tmp_path: Path) -> None:
    assert am.train(other_pictures(tmp_path / "large", side=20), init=old, dry_run=True, **TINY, **TRAIN)
    with pytest.raises(UserError, match="grid"):
        am.train(other_pictures(tmp_path / "colour", channels=3), init=old, **TINY, **TRAIN)
    with pytest.raises(UserError, match="no trained GAN"):
        am.train(other_pictures(tmp_path / "any"), init=tmp_path, **TINY, **TRAIN)


def test_another_kind_of_data_is_refused(old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import toys
    from augmint.modalities import MODALITIES

    monkeypatch.setitem(MODALITIES, "signal", "toys:Signals")
    data = am.read(toys.write_signals(tmp_path / "waves"), modality="signal")
    with pytest.raises(UserError, match="made image data, this is signal data"):
        am.train(data, init=old, **TINY, **TRAIN)
