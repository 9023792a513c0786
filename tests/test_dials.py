"""Quality, style, likeness and walks: arithmetic on w, held against the formulas written out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import augmint as am
from augmint.core.errors import UserError
from augmint.core.types import Sample
from augmint.generation.dials import Dials, invert
from test_contract import TINY, TRAIN, write_images
from test_draw import CLASSES, made

torch.set_num_threads(1)


def parts(seed: int = 0) -> tuple[am.Gan, torch.Tensor, torch.Tensor, torch.Tensor]:
    gan = made()
    z = torch.randn(6, 64, generator=torch.Generator().manual_seed(seed))
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    means = torch.randn(3, gan.generator.weigh.in_features, generator=torch.Generator().manual_seed(9))
    return gan, z, y, means


@torch.no_grad()
def test_a_neutral_dial_changes_nothing() -> None:
    gan, z, y, means = parts()
    w = Dials().steer(gan.generator, z, y, means)
    torch.testing.assert_close(w, gan.generator.mapping(z, y)[:, None].expand_as(w))
    assert Dials().is_neutral and not Dials(quality=0.1).is_neutral


@torch.no_grad()
def test_likeness_goes_from_the_sample_itself_to_anything_of_the_class() -> None:
    gan, z, y, means = parts()
    like = torch.randn(gan.generator.num_stages, means.shape[1], generator=torch.Generator().manual_seed(1))
    free = Dials().steer(gan.generator, z, y, means)
    for strength in (0.0, 0.3, 1.0):
        w = Dials(like=like, strength=strength).steer(gan.generator, z, y, means)
        torch.testing.assert_close(w, (1 - strength) * like + strength * free)


@torch.no_grad()
def test_style_replaces_the_finer_stages_only() -> None:
    gan, z, y, means = parts()
    num = gan.generator.num_stages
    own = Dials(quality=0.4).steer(gan.generator, z, y, means)
    other = Dials(quality=0.4).steer(gan.generator, z, torch.full_like(y, 2), means)
    by_class = Dials(quality=0.4, style=2).steer(gan.generator, z, y, means)
    real = torch.ones(num, means.shape[1])
    by_sample = Dials(quality=0.4, style=real).steer(gan.generator, z, y, means)
    half = max(1, num // 2)
    for w, fine in ((by_class, other), (by_sample, real.expand_as(own))):
        torch.testing.assert_close(w[:, :half], own[:, :half])
        torch.testing.assert_close(w[:, half:], fine[:, half:])


@pytest.mark.parametrize("shape", [(20,), (8, 8), (4, 4, 4)])
def test_a_sample_that_the_generator_can_make_is_found(shape: tuple[int, ...]) -> None:
    """Made from a w of another class's latents: descent must come far nearer to it than the best of its starts."""
    gan = made(shape)
    x = torch.from_numpy(gan.draw(np.array([1]), seed=77))[0]
    before = [p.clone() for p in gan.generator.parameters()]
    w = invert(gan.generator, gan.verifier, x, 1)
    with torch.no_grad():
        error = (gan.generator.synthesise(w[None])[0].clamp(-1, 1) - x).square().mean()
        random = torch.from_numpy(gan.draw(np.full(64, 1), seed=5))
    assert error < 0.25 * (random - x).square().flatten(1).mean(1).min()
    assert torch.equal(w, invert(gan.generator, gan.verifier, x, 1))
    assert all(torch.equal(a, b) for a, b in zip(before, gan.generator.parameters(), strict=True))
    assert all(p.grad is None for p in gan.generator.parameters())


def test_new_samples_near_one_are_nearer_the_lower_the_strength() -> None:
    gan = made()
    x = gan.draw(np.array([2]), seed=3)[0]
    target = Sample("mine", x, "owl")
    far = [
        np.mean([np.square(s.data - x).mean() for s in gan.generate(12, like=target, strength=strength)])
        for strength in (0.0, 0.3, 0.6, 1.0)
    ]
    assert far == sorted(far) and far[0] < 0.2 * far[-1]
    made_like = gan.generate(3, like=target, seed=1)
    assert {s.label for s in made_like} == {"owl"}
    with pytest.raises(UserError, match="of the class 'owl', and 'cat' is asked for"):
        gan.generate(3, like=target, label="cat")
    unlabelled = Sample("mine", x)
    assert {s.label for s in gan.generate(3, like=unlabelled, label="cat")} == {"cat"}, "nobody knows better"


def test_a_walk_is_closed_even_and_goes_by_its_stops() -> None:
    gan = made()
    frames = np.stack([s.data for s in gan.walk(48, seed=4)])
    steps = [np.abs(b - a).mean() for a, b in zip(frames, np.roll(frames, -1, 0), strict=True)]
    assert max(steps) < 0.2 * np.abs(frames[0] - frames[24]).mean() + 0.05
    stops = gan.draw(np.arange(3), seed=4)
    np.testing.assert_allclose(frames[::16], stops, atol=1e-5)
    assert {s.label for s in gan.walk(8, label="dog")} == {"dog"}
    assert [s.label for s in gan.walk(6)] == [c for c in CLASSES for _ in range(2)]


def test_a_walk_obeys_the_dials() -> None:
    """At strength 0 it stays at the sample it is like; in the style of its own class it is the walk itself."""
    gan = made()
    like, _ = gan.dials(like=Sample("mine", gan.draw(np.array([2]), seed=3)[0], "owl"), strength=0.0)
    still = np.stack([s.data for s in gan.walk(8, dials=like)])
    np.testing.assert_allclose(still, np.broadcast_to(still[0], still.shape), atol=1e-5)
    own, free = (gan.walk(8, label="dog", dials=d) for d in (Dials(style=1), Dials()))
    np.testing.assert_allclose([s.data for s in own], [s.data for s in free], atol=1e-5)


@pytest.mark.parametrize("name", ["quality", "strength"])
@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_dials_have_ends(name: str, value: float) -> None:
    with pytest.raises(UserError, match=name):
        Dials(**{name: value})


def test_what_is_no_class_and_no_file_is_named(tmp_path: Path) -> None:
    gan = made()
    with pytest.raises(UserError, match=r"'catt' is neither a file nor a class.*cat"):
        gan.generate(1, style="catt")
    with pytest.raises(UserError, match="neither a file"):
        gan.generate(1, like=tmp_path / "none.png")


def test_the_command_makes_samples_near_a_file_and_a_walk(tmp_path: Path) -> None:
    from PIL import Image

    root = write_images(tmp_path / "data")
    am.train(root, out=tmp_path / "run", **TINY, **TRAIN)
    file = str(root / "lying" / "003.png")
    with pytest.raises(UserError, match="--strength"):
        am.generate(tmp_path / "run", num=6, out=tmp_path / "near", strength=0.2)
    near = am.generate(tmp_path / "run", num=6, out=tmp_path / "near", like=file, style="standing", workers=1)
    for line in (tmp_path / "near" / "manifest.jsonl").read_text().splitlines():
        assert json.loads(line)["dials"] == {"style": "standing", "like": file, "strength": 0.5}
    with pytest.raises(UserError, match="is a class, not a file"):
        am.generate(tmp_path / "run", num=6, out=tmp_path / "no", like="lying")
    loaded = am.load(tmp_path / "run")
    assert loaded.classify(am.read(root))[0].shape == (len(am.read(root)),)
    assert near.facts["num"] >= 1
    assert {p.parent.name for p in (tmp_path / "near").rglob("*.png")} == {"lying"}
    am.generate(tmp_path / "run", num=10, out=tmp_path / "walk", walk=True, workers=1)
    with Image.open(tmp_path / "walk" / "walk.gif") as film:
        assert film.n_frames == 10 and film.info["loop"] == 0
    assert len(list((tmp_path / "walk" / "frames").glob("*.png"))) == 10
    assert (tmp_path / "walk" / "walk.png").exists() and (tmp_path / "walk" / "manifest.jsonl").exists()
    with pytest.raises(UserError, match="neither a file"):
        am.generate(tmp_path / "run", num=1, out=tmp_path / "no", like=str(tmp_path / "absent.png"))
    assert not (tmp_path / "no").exists()
