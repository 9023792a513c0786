"""Drawing from a GAN and judging with it: what a sample may depend on, and what it may not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from augmint.core import rng
from augmint.core.config import GenerateConfig
from augmint.core.errors import UserError
from augmint.core.types import Grid, Sample
from augmint.generation.codes import Codes
from augmint.generation.dials import Dials
from augmint.generation.draw import CHUNK, Gan, Known
from augmint.models.generator import Generator
from augmint.models.verifier import Verifier
from augmint.steps import synthesis
from augmint.steps.synthesis import synthesise

torch.set_num_threads(1)

CLASSES = ("cat", "dog", "owl")
SHAPES = {"1-D": (20,), "2-D": (8, 8), "3-D": (4, 4, 4)}


@dataclass(frozen=True)
class PlainCodec:
    """A sample is its own grid."""

    grid: Grid

    def encode(self, sample: Sample) -> Any:
        return sample.data

    def decode(self, x: Any) -> Any:
        assert np.abs(x).max() <= 1
        return x.copy()

    def to_dict(self) -> dict[str, Any]:
        return {"channels": self.grid.channels, "shape": list(self.grid.shape)}


def codec(state: Mapping[str, Any]) -> PlainCodec:
    return PlainCodec(Grid(state["channels"], tuple(state["shape"])))


def networks(size: str, grid: Grid, num_classes: int) -> tuple[nn.Module, Verifier]:
    shape = (grid.channels, grid.shape, num_classes, (12, 8))
    return Generator(*shape), Verifier(*shape)


MODALITY: Any = SimpleNamespace(name="toy", ops=(), codec=codec, networks=networks)


def reals(n: int, shape: tuple[int, ...], channels: int, seed: int) -> tuple[Any, Any]:
    """Level and noise: class c lies around a third of c."""
    y = (np.arange(n) % len(CLASSES)).astype(np.int64)
    noise = rng.normal(rng.key("reals", seed), np.arange(n * channels * int(np.prod(shape)))).reshape(
        n, channels, *shape
    )
    x = 0.2 * noise + (y / 3 - 0.3).reshape(-1, *[1] * (1 + len(shape)))
    return np.clip(x, -1, 1).astype(np.float32), y


def made(shape: tuple[int, ...] = (8, 8), channels: int = 2, *, held: int = 40, known: bool = True) -> Gan:
    grid = Grid(channels, shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        generator, verifier = networks("nano", grid, len(CLASSES))
        for p in [*generator.parameters(), *verifier.parameters()]:
            if not p.any():
                nn.init.normal_(p, std=0.05)
        nn.init.normal_(generator.out.weight, std=0.1)  # untrained nets overshoot; clipping would hide differences
    x, y = reals(30, shape, channels, 0)
    held_x, held_y = reals(held, shape, channels, 1)
    about = Known(x, y, held_x, held_y) if known else None
    return Gan(MODALITY, PlainCodec(grid), CLASSES, generator, verifier, known=about, name="toy-run", sealed="5/5/0")


SHARED = made()


@pytest.fixture(scope="module")
def gan() -> Gan:
    return SHARED


def labels(*values: int) -> Any:
    return np.array(values, dtype=np.int64)


class Rendering(PlainCodec):
    """What is made is halved on the way out of the grid."""

    def render(self, x: Any) -> Any:
        return self.decode(x) / 2


def test_what_is_made_is_rendered_where_a_codec_knows_how_and_decoded_else() -> None:
    plain, other = made(), made()
    other.codec = Rendering(other.codec.grid)
    for a, b in zip(plain.generate(4), other.generate(4), strict=True):
        assert np.array_equal(a.data, 2 * b.data) and a.meta == b.meta


# -- what a sample depends on ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_samples_lie_on_the_grid_and_in_range(shape: tuple[int, ...]) -> None:
    x = made(shape).draw(labels(0, 1, 2, 0))
    assert x.shape == (4, 2, *shape) and x.dtype == np.float32 and np.abs(x).max() <= 1
    assert len({a.tobytes() for a in x}) == 4


@pytest.mark.parametrize("quality", [0.0, 0.6])
def test_samples_do_not_depend_on_where_a_chunk_ends(gan: Gan, quality: float) -> None:
    y = (np.arange(130) * 7 % 3).astype(np.int64)
    whole = gan.draw(y, seed=4, dials=Dials(quality=quality))
    for n in (1, CHUNK - 1, CHUNK, CHUNK + 1, 130):
        assert np.array_equal(gan.draw(y[:n], seed=4, dials=Dials(quality=quality)), whole[:n]), n


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=90), st.integers(0, 2**31))
def test_the_ith_sample_of_a_class_depends_on_the_seed_the_class_and_i_alone(y: list[int], seed: int) -> None:
    mixed = SHARED.draw(labels(*y), seed=seed)
    for c in set(y):
        own = mixed[np.array(y) == c]
        alone = SHARED.draw(np.full(len(own) + 3, c, np.int64), seed=seed)[: len(own)]
        # Another place in the chunk may round differently, nothing more.
        assert np.allclose(own, alone, atol=1e-5)


def test_seeds_and_classes_give_other_samples(gan: Gan) -> None:
    y = labels(0, 0, 0, 0)
    a, b, c = gan.draw(y, seed=0), gan.draw(y, seed=1), gan.draw(y + 1, seed=0)
    assert np.abs(a - b).max() > 1e-3 and np.abs(a - c).max() > 1e-3


def test_the_latents_behind_the_samples_are_standard_normal(gan: Gan) -> None:
    seen: list[torch.Tensor] = []
    mapping = gan.generator.mapping
    hook = mapping.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    try:
        gan.draw((np.arange(256) % 3).astype(np.int64), seed=11)
    finally:
        hook.remove()
    z = torch.cat(seen).numpy()
    assert z.shape == (256, 64)
    assert stats.kstest(z.ravel(), "norm").pvalue > 0.001
    assert np.abs(np.corrcoef(z.T) - np.eye(64)).max() < 0.35, "axes of z that belong together"


def test_an_unknown_label_counts_as_the_first_class(gan: Gan) -> None:
    assert np.array_equal(gan.draw(labels(-1, -1)), gan.draw(labels(0, 0)))


# -- the quality dial ------------------------------------------------------------------------------------------------


def test_quality_draws_every_class_towards_its_own_mean(gan: Gan) -> None:
    y = np.repeat(np.arange(3), 64).astype(np.int64)
    dials = (0.0, 0.25, 0.5, 0.75, 1.0)
    spread = []
    for quality in dials:
        x = gan.draw(y, seed=2, dials=Dials(quality=quality)).reshape(3, 64, -1)
        spread.append(((x - x.mean(1, keepdims=True)) ** 2).mean((1, 2)))
    for before, after in pairwise(spread):
        assert (after < before).all()
    assert (spread[-1] > 0).all(), "not one picture only, even at the end"
    assert (spread[-1] < 0.25 * spread[0]).all()


def test_quality_is_truncation_towards_the_mean_of_w(gan: Gan) -> None:
    """Karras et al. 2019: w' = mean + psi (w - mean), with psi = 1 - 3/4 quality; the mean is estimated from 256 latents."""
    seen: list[torch.Tensor] = []
    real = gan.generator.synthesise
    gan.generator.synthesise = lambda w: seen.append(w) or real(w)  # type: ignore[assignment,method-assign,func-returns-value]
    try:
        for quality in (0.0, 0.4, 1.0):
            gan.draw(np.full(CHUNK, 1, np.int64), seed=8, dials=Dials(quality=quality))
    finally:
        del gan.generator.synthesise
    full, some, most = ((w if w.dim() == 2 else w[:, 0]).double() for w in seen)
    mean = (most - 0.25 * full) / 0.75
    assert torch.allclose(mean, mean[:1], atol=1e-4), "one mean for all samples of the class"
    assert torch.allclose(some, mean + 0.7 * (full - mean), atol=1e-4)
    error = full.std(0) / np.sqrt(CHUNK)
    assert ((full.mean(0) - mean[0]).abs() < 6 * error + 1e-3).all()


@pytest.mark.parametrize("quality", [-0.1, 1.01, float("nan")])
def test_a_quality_outside_its_range_is_refused(gan: Gan, quality: float) -> None:
    with pytest.raises(UserError, match=r"outside 0\.\.1"):
        gan.draw(labels(0), dials=Dials(quality=quality))


# -- samples for people ----------------------------------------------------------------------------------------------


def test_generate_gives_labelled_synthetic_samples_with_scores(gan: Gan) -> None:
    samples = gan.generate(7, seed=3)
    assert [s.label for s in samples] == ["cat", "dog", "owl", "cat", "dog", "owl", "cat"]
    assert {s.origin for s in samples} == {"synthetic"} and len({s.id for s in samples}) == 7
    for i, s in enumerate(samples):
        assert s.meta["seed"] == 3 and s.meta["index"] == i and s.meta["model"] == "toy-run"
        assert s.meta["sealed"] == "5/5/0"
        assert 0 <= s.meta["score"] <= 100 and 0 <= s.meta["rebuild"] <= 100
    json.dumps([dict(s.meta) for s in samples])


@pytest.mark.parametrize("source", ["generator", "verifier"])
@pytest.mark.parametrize("label", [None, "dog"])
def test_sample_i_does_not_depend_on_how_many_are_asked_for(gan: Gan, label: str | None, source: str) -> None:
    few, many = (gan.generate(n, label=label, seed=1, source=source) for n in (5, 70))
    for a, b in zip(few, many, strict=False):
        assert (a.id, a.label, a.meta) == (b.id, b.label, b.meta) and np.array_equal(a.data, b.data)


def test_wrong_wishes_are_refused_with_a_hint(gan: Gan) -> None:
    with pytest.raises(UserError, match="did you mean 'dog'") as error:
        gan.generate(1, label="dg")
    assert "cat, dog, owl" in str(error.value)
    for num in (0, -3):
        with pytest.raises(UserError, match="one or more"):
            gan.generate(num)


# -- scores ----------------------------------------------------------------------------------------------------------


def test_scores_are_percentiles_among_the_held_out_reals(gan: Gan) -> None:
    assert gan.known is not None
    scores = gan.score(gan.known.held_x, gan.known.held_y)
    for own, raw in ((scores.realness, scores.evidence[:, 0]), (scores.rebuild, scores.evidence[:, 1])):
        slow = [stats.percentileofscore(raw, v, kind="mean") for v in raw]
        assert np.allclose(own, slow, atol=1e-3)
        assert own.min() >= 0 and own.max() <= 100 and own.mean() == pytest.approx(50, abs=1e-3)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 70), st.floats(0.01, 3), st.integers(0, 99))
def test_any_sample_scores_between_0_and_100(n: int, scale: float, seed: int) -> None:
    x = (scale * rng.normal(seed, np.arange(n * 128))).reshape(n, 2, 8, 8).astype(np.float32)
    scores = SHARED.score(x)
    for found in (scores.realness, scores.rebuild):
        assert found.shape == (n,) and (found >= 0).all() and (found <= 100).all()
    assert scores.evidence.shape == (n, 2 + 128) and np.isfinite(scores.evidence).all()


def test_noise_is_rebuilt_worse_than_any_held_out_real_is() -> None:
    """The rebuild score turns the right way: higher is stranger."""
    gan = made()
    loud = np.where(rng.uniform(1, np.arange(128 * 8)) < 0.5, -1, 1).reshape(8, 2, 8, 8).astype(np.float32)
    assert (gan.score(loud, labels(*[0] * 8)).rebuild == 100).all()


def test_realness_turns_the_right_way(gan: Gan) -> None:
    x, y = reals(50, (8, 8), 2, 7)
    scores = gan.score(x, y)
    order = np.argsort(scores.evidence[:, 0])
    assert (np.diff(scores.realness[order]) >= 0).all() and scores.realness[order[0]] < scores.realness[order[-1]]


def test_evidence_is_score_log_rebuild_error_and_features(gan: Gan) -> None:
    x, y = reals(5, (8, 8), 2, 9)
    evidence = gan.score(x, y).evidence
    with torch.no_grad():
        t = torch.from_numpy(x)
        score, features = gan.verifier.score(t, torch.from_numpy(y)), gan.verifier.features(t)
        error = ((t - gan.verifier.reconstruct(t)) ** 2).mean((1, 2, 3))
    assert np.allclose(evidence[:, 0], score.numpy(), atol=1e-4)
    assert np.allclose(np.exp(evidence[:, 1]), error.numpy(), rtol=1e-3)
    assert np.allclose(evidence[:, 2:], features.numpy(), atol=1e-4)


def test_without_labels_the_verifier_names_them(gan: Gan) -> None:
    x, _ = reals(20, (8, 8), 2, 9)
    named, sure = gan.classify(x)
    assert np.array_equal(gan.score(x).evidence, gan.score(x, named).evidence)
    assert named.dtype == np.int64 and ((sure >= 1 / 3) & (sure <= 1)).all()


def test_judging_does_not_depend_on_the_chunk(gan: Gan) -> None:
    x, y = reals(130, (8, 8), 2, 4)
    whole = gan.score(x, y).evidence
    for n in (1, CHUNK - 1, CHUNK, CHUNK + 1):
        assert np.array_equal(gan.score(x[:n], y[:n]).evidence, whole[:n])
        assert np.array_equal(gan.classify(x[:n])[1], gan.classify(x)[1][:n])
        assert np.array_equal(gan.reconstruct(x[:n]), gan.reconstruct(x)[:n])


def test_without_held_out_reals_the_training_ones_are_the_reference() -> None:
    gan = made(held=0)
    assert gan.known is not None
    scores = gan.score(gan.known.x, gan.known.y)
    assert scores.realness.mean() == pytest.approx(50, abs=1e-3)


def test_without_any_reals_every_percentile_is_the_middle_one() -> None:
    gan = made(known=False)
    scores = gan.score(reals(3, (8, 8), 2, 0)[0])
    assert scores.realness.tolist() == scores.rebuild.tolist() == [50, 50, 50]


# -- the verifier's own samples --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_verifier_makes_samples_too(shape: tuple[int, ...]) -> None:
    gan = made(shape)
    y = (np.arange(70) % 3).astype(np.int64)
    x = gan.verifier_draw(y, seed=2)
    assert x.shape == (70, 2, *shape) and np.abs(x).max() <= 1
    assert np.array_equal(x, gan.verifier_draw(y, seed=2)) and not np.array_equal(x, gan.verifier_draw(y, seed=3))
    assert np.array_equal(x[:9], gan.verifier_draw(y[:9], seed=2))


def test_where_codes_do_not_vary_the_verifier_makes_reconstructions(gan: Gan) -> None:
    """With one real in every class that is all there is."""
    x, y = reals(6, (8, 8), 2, 0)
    lonely = Gan(MODALITY, gan.codec, CLASSES, gan.generator, gan.verifier, known=Known(x[:3], y[:3], x, y))
    out = lonely.verifier_draw(labels(2, 0, 1))
    assert np.allclose(out, lonely.reconstruct(x[[2, 0, 1]]), atol=1e-5)


def test_codes_have_the_mean_and_covariance_that_are_written_down() -> None:
    """Two classes in three dimensions, one of them with two codes only; against the formula by hand and NumPy's own moments."""
    g = np.random.default_rng(0)
    many, few = g.normal(size=(40, 3)) * [1, 2, 0.5] + 3, np.array([[0.0, 0, 0], [2, 0, 0]])
    y = np.array([0] * 40 + [1] * 2)
    found = Codes.fit(np.concatenate([many, few]).astype(np.float32), y, 3)
    within = (40 * np.cov(many.T, ddof=0) + 2 * np.cov(few.T, ddof=0)) / 42
    for c, group, n in ((0, many, 40), (1, few, 2)):
        wanted = (n * np.cov(group.T, ddof=0) + 3 * within) / (n + 3)
        drawn = found.draw(np.full(20_000, c), seed=1)
        assert np.allclose(drawn.mean(0), group.mean(0), atol=0.06)
        assert np.allclose(np.cov(drawn.T), wanted, atol=0.06 * np.abs(wanted).max())
        assert np.allclose(found.root[c] @ found.root[c].T, wanted, atol=1e-5)
    assert np.allclose(found.mean[2], np.concatenate([many, few]).mean(0), atol=1e-5)  # of a class that has none: all


def test_quality_brings_what_the_verifier_makes_nearer_to_the_class_mean(gan: Gan) -> None:
    y = np.zeros(64, np.int64)
    spreads = [gan.draw(y, dials=Dials(quality=q), source="verifier").std(0).mean() for q in (0.0, 0.5, 1.0)]
    assert spreads[0] > 1.2 * spreads[1] > 1.2 * 1.2 * spreads[2] > 0


def test_style_and_likeness_are_the_generators(gan: Gan) -> None:
    with pytest.raises(UserError, match="dials of the generator"):
        gan.draw(labels(0), dials=Dials(style=1), source="verifier")


def test_a_class_without_reals_borrows_from_all(gan: Gan) -> None:
    x, y = reals(6, (8, 8), 2, 0)
    few = Gan(MODALITY, gan.codec, CLASSES, gan.generator, gan.verifier, known=Known(x, np.minimum(y, 1), x, y))
    assert few.verifier_draw(labels(2, 2)).shape == (2, 2, 8, 8)


def test_a_gan_without_its_reals_cannot_do_that() -> None:
    with pytest.raises(UserError, match="without the real samples"):
        made(known=False).verifier_draw(labels(0))


# -- disk ------------------------------------------------------------------------------------------------------------


def test_a_loaded_gan_makes_the_same_bytes(gan: Gan, tmp_path: Path) -> None:
    gan.save(tmp_path, size="nano")
    loaded = Gan.load(tmp_path, MODALITY)
    y = (np.arange(70) % 3).astype(np.int64)
    for quality in (0.0, 0.7):
        assert (
            loaded.draw(y, seed=9, dials=Dials(quality=quality)).tobytes()
            == gan.draw(y, seed=9, dials=Dials(quality=quality)).tobytes()
        )
    assert (loaded.classes, loaded.name, loaded.sealed) == (CLASSES, "toy-run", "5/5/0")
    x, _ = reals(5, (8, 8), 2, 3)
    assert np.array_equal(loaded.score(x).evidence, gan.score(x).evidence)
    assert loaded.known is not None and gan.known is not None
    for name in ("x", "held_x"):
        mine, theirs = getattr(gan.known, name), getattr(loaded.known, name)
        assert theirs.dtype == np.float32 and np.abs(mine - theirs).max() < 1 / 255 / 2, "half a grey level"
    assert np.array_equal(loaded.known.y, gan.known.y) and np.array_equal(loaded.known.held_y, gan.known.held_y)
    assert np.abs(loaded.score(x).realness - gan.score(x).realness).max() <= 100 / 40


def test_saved_and_loaded_again_the_files_are_the_same(gan: Gan, tmp_path: Path) -> None:
    gan.save(tmp_path / "a", size="nano")
    Gan.load(tmp_path / "a", MODALITY).save(tmp_path / "b", size="nano")
    names = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len(names) >= 4
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_a_pickle_in_place_of_the_weights_is_refused(gan: Gan, tmp_path: Path) -> None:
    gan.save(tmp_path, size="nano")
    torch.save(gan.generator.state_dict(), tmp_path / "gan" / "generator.safetensors")
    with pytest.raises(UserError, match="pickles are refused"):
        Gan.load(tmp_path, MODALITY)


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gan\.json"):
        Gan.load(tmp_path, MODALITY)


def test_an_empty_wish_gives_an_empty_batch(gan: Gan) -> None:
    none = np.zeros(0, np.int64)
    assert gan.draw(none).shape == (0, 2, 8, 8)
    assert gan.verifier_draw(none).shape == (0, 2, 8, 8)
    assert gan.score(np.zeros((0, 2, 8, 8), np.float32), none).evidence.shape == (0, 130)


def test_the_summary_is_for_people(gan: Gan) -> None:
    assert "8 x 8" in gan.summary[0] and "3 classes" in gan.summary[0]
    assert json.loads(json.dumps(gan.to_dict())) == {"classes": list(CLASSES), "grid": [2, 8, 8]}


@pytest.mark.parametrize(("dials", "source"), [(Dials(quality=0.7), "generator"), (Dials(quality=0.4), "verifier")])
def test_what_teaches_the_calibration_is_made_as_the_candidates_are(
    dials: Dials, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gan, calls = made(), []
    draw = gan.draw

    def watched(y: Any, *, seed: int = 0, **how: Any) -> Any:
        calls.append((seed, how))
        return draw(y, seed=seed, **how)

    monkeypatch.setattr(gan, "draw", watched)
    synthesise(gan, GenerateConfig(), seed=3, want={0: 12, 1: 12, 2: 12}, dials=dials, source=source)
    assert len({seed for seed, _ in calls}) == len(calls) == 2
    assert all(how == {"dials": dials, "source": source} for _, how in calls)


# -- what it takes ---------------------------------------------------------------------------------------------------


def test_samples_are_judged_as_their_tensors_are(gan: Gan) -> None:
    samples = gan.generate(5, seed=4)
    x = np.stack([s.data for s in samples])
    assert np.array_equal(gan.score(samples).evidence, gan.score(x).evidence)
    assert np.array_equal(gan.classify(iter(samples))[0], gan.classify(x)[0])
    assert np.array_equal(gan.reconstruct(samples), gan.reconstruct(x)) and gan.reconstruct(samples).shape == x.shape
    assert gan.classify([])[0].shape == (0,)


@pytest.mark.parametrize(
    "given,told",
    [
        (np.zeros((3, 1, 8, 8), np.float32), "takes N x 2 x 8 x 8 in"),
        (np.zeros((2, 8, 8), np.float32), "takes N x 2 x 8 x 8 in"),
        ("photos/", "is no list of samples"),
        (Sample("one", np.zeros((2, 8, 8), np.float32)), "is no list of samples"),
    ],
)
def test_what_is_neither_tensors_of_the_grid_nor_samples_is_refused(gan: Gan, given: Any, told: str) -> None:
    for judge in (gan.score, gan.classify, gan.reconstruct):
        with pytest.raises(UserError, match=told):
            judge(given)


def test_samples_of_one_class_are_measured_against_reals_of_that_class(monkeypatch: pytest.MonkeyPatch) -> None:
    gan, seen = made(held=60), []
    own = synthesis.measure

    def measure(fake: Any, real: Any, *args: Any, **more: Any) -> Any:
        seen.append((real, more))
        return own(fake, real, *args, **more)

    monkeypatch.setattr(synthesis, "measure", measure)
    synthesise(gan, GenerateConfig(), seed=0, want={1: 12})
    (real, more), known = seen[0], gan.known
    assert known is not None
    assert np.array_equal(real, known.held_x[known.held_y == 1])
    assert np.array_equal(more["other_x"], known.x[known.y == 1])
