"""The projected tier: frozen features mixed at random, bounded nets on four scales, hinge loss, and never the same judge."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from augmint.core.config import TrainConfig
from augmint.core.errors import Interrupted, UserError
from augmint.core.types import Grid
from augmint.generation.draw import Gan, Known
from augmint.modalities.image import ImageCodec, ImageModality
from augmint.models.efficientnet import efficientnet_features, shown
from augmint.models.generator import Generator
from augmint.models.projected import Bounded, Mixed, ProjectedVerifier, spectral_norm
from augmint.models.sizes import networks
from augmint.models.verifier import Verdict
from augmint.steps.synthesis import _judged
from augmint.training import losses
from augmint.training.fit import _gamma
from augmint.training.loop import Data, Schedule, State, train
from augmint.transforms.recipe import Recipe

torch.set_num_threads(1)

PLAIN: Any = SimpleNamespace(name="toy", ops=())


def pictures(n: int, channels: int = 3, side: int = 32, seed: int = 0) -> Tensor:
    small = torch.rand(n, channels, 4, 4, generator=torch.Generator().manual_seed(seed))
    return 2 * nn.functional.interpolate(small, size=(side, side), mode="bilinear") - 1


def verifier_of(channels: int = 3, side: int = 32, seed: int = 0) -> ProjectedVerifier:
    found = networks(PLAIN, "nano", Grid(channels, (side, side)), 2, seed=seed, tier="projected")[1]
    assert isinstance(found, ProjectedVerifier)
    return found


@pytest.fixture(scope="module")
def verifier() -> ProjectedVerifier:
    return verifier_of()


def test_the_frozen_net_is_the_published_one_with_its_norms_worked_in(verifier: ProjectedVerifier) -> None:
    x = shown(pictures(2, side=64), ground=0)
    with torch.no_grad():
        for mine, theirs in zip(verifier.mixed.net.taps(x), efficientnet_features().net.taps(x), strict=True):
            assert (mine - theirs).abs().max() < 1e-4 * theirs.abs().max()


def test_nothing_of_the_features_can_be_trained(verifier: ProjectedVerifier) -> None:
    names = {name for name, _ in verifier.named_parameters()}
    assert names and not any(name.startswith("mixed") for name in names)
    saved = {name for name in verifier.state_dict() if name.startswith("mixed")}
    assert {"mixed.across.0.weight", "mixed.down.3.weight", "mixed.net._conv_stem.weight"} <= saved


def test_the_mixing_follows_from_the_seed_and_differs_from_the_weights_of_others() -> None:
    a, b, c = (verifier_of(seed=s).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["mixed.across.0.weight"], c["mixed.across.0.weight"])
    assert torch.equal(a["mixed.net._conv_stem.weight"], c["mixed.net._conv_stem.weight"])


def test_every_feature_reaches_the_finest_map_and_coarse_ones_do_not_see_finer(verifier: ProjectedVerifier) -> None:
    """CSM goes from coarse to fine: a change of one tap reaches its own map and all finer ones, no coarser."""
    mixed = verifier.mixed
    taps = [t.requires_grad_(True) for t in mixed.net.taps(shown(pictures(1, side=128), ground=0))]
    fixed = SimpleNamespace(taps=lambda x: taps)
    own = mixed.net
    try:
        del mixed.net
        mixed.net = fixed  # type: ignore[assignment]
        maps = mixed(pictures(1, side=128))
    finally:
        mixed.net = own
    for i, found in enumerate(maps):
        slopes = torch.autograd.grad(found.square().sum(), taps, retain_graph=True, allow_unused=True)
        for j, slope in enumerate(slopes):
            assert (slope is not None) == (j >= i)
            if slope is not None:
                assert (slope.abs().sum((0, 2, 3)) > 0).all(), "a channel that nobody looks at"


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 99))
def test_the_spectral_norm_is_the_largest_singular_value(rows: int, columns: int, seed: int) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    largest = np.linalg.svd(matrix.numpy(), compute_uv=False)[0]
    found = float(spectral_norm(matrix))
    assert 0.93 * largest <= found <= largest * (1 + 1e-9)


def test_a_bounded_convolution_of_one_cell_does_not_stretch() -> None:
    layer = Bounded(8, 6, 1)
    with torch.no_grad():
        layer.layer.weight.mul_(50)
        x = torch.randn(500, 8, 1, 1, generator=torch.Generator().manual_seed(0))
        assert (layer(x).flatten(1).norm(dim=1) <= 1.05 * x.flatten(1).norm(dim=1)).all()


@pytest.mark.parametrize(("channels", "shape"), [(1, (32, 32)), (3, (40, 64)), (4, (32, 48)), (3, (130, 150))])
def test_pictures_go_in_and_verdicts_come_out(channels: int, shape: tuple[int, int]) -> None:
    net = ProjectedVerifier(channels, shape, 3)
    x = 2 * torch.rand(2, channels, *shape, generator=torch.Generator().manual_seed(0)) - 1
    x.requires_grad_(True)
    verdict = net(x, torch.tensor([0, 2]))
    assert verdict.score.shape == (2,) and verdict.logits.shape == (2, 3) and verdict.features.shape == (2, 128)
    assert verdict.patches is not None and torch.allclose(verdict.patches.mean(1), verdict.score)
    assert 4 * 16 <= verdict.patches.shape[1] - 1 <= 4 * 8 * 8
    assert net.reconstruct(x).shape == x.shape
    (slope,) = torch.autograd.grad(verdict.score.sum(), x)
    assert (slope.abs().sum((0, 1)) > 0).float().mean() > 0.95 and slope.abs().sum((0, 2, 3)).all()
    alone = net.score(x[1:], torch.tensor([2]))
    assert torch.allclose(alone, verdict.score[1:], atol=1e-4)


def test_a_black_shape_on_nothing_is_seen() -> None:
    mixed = Mixed(4)
    nothing = -torch.ones(1, 4, 32, 32)
    shape = nothing.clone()
    shape[:, 3, 8:24, 8:24] = 1
    assert all((a - b).abs().max() > 0.1 for a, b in zip(mixed(nothing), mixed(shape), strict=True))


@pytest.mark.parametrize(("channels", "shape"), [(2, (64, 64)), (3, (31, 64)), (1, (64,)), (1, (32, 32, 32))])
def test_other_grids_are_refused(channels: int, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="pictures of at least 32"):
        ProjectedVerifier(channels, shape, 2)


def test_the_losses_are_the_hinge_of_every_patch() -> None:
    real, fake = torch.tensor([[2.0, 0.5], [-1.0, 1.0]]), torch.tensor([[-3.0, 0.0], [1.0, -0.5]])
    a, b = (Verdict(p.mean(1), torch.zeros(2, 1), torch.zeros(2, 1), p) for p in (real, fake))
    assert losses.verifier_loss(a, b).item() == pytest.approx((0 + 0.5 + 2 + 0) / 4 + (0 + 1 + 2 + 0.5) / 4)
    assert losses.generator_loss(b, a.score).item() == pytest.approx((3 - 0 - 1 + 0.5) / 4)
    plain = [v._replace(patches=None) for v in (a, b)]
    assert losses.verifier_loss(*plain) == losses.relativistic(a.score, b.score)
    assert losses.generator_loss(plain[1], a.score) == losses.relativistic(b.score, a.score)


def test_there_is_no_penalty_unless_one_is_asked_for(verifier: ProjectedVerifier) -> None:
    material: Any = SimpleNamespace(grid=Grid(3, (32, 32)))
    assert _gamma(TrainConfig(tier="projected"), verifier, material, 32, 100) == 0
    assert _gamma(TrainConfig(tier="projected", gamma=2.0), verifier, material, 32, 100) == 2.0


def test_the_backbone_has_no_dead_weights(verifier: ProjectedVerifier) -> None:
    backbone, x = verifier.as_backbone(), pictures(2)
    torch.testing.assert_close(backbone(x), verifier.features(x))
    backbone(x).sum().backward()
    assert all(p.grad is not None for p in backbone.parameters())


def gan_of(tier: str) -> Gan:
    x = pictures(24, 1).numpy()
    y = (np.arange(24) % 2).astype(np.int64)
    generator, judge = networks(PLAIN, "nano", Grid(1, (32, 32)), 2, seed=0, tier=tier)
    codec = ImageCodec(1, 32, 32, (0,))
    return Gan(ImageModality(), codec, ("a", "b"), generator, judge, known=Known(x[:12], y[:12], x[12:], y[12:]))


def test_it_is_never_judged_by_the_features_that_taught_it() -> None:
    for tier, wanted in (("own", "efficientnet-lite0"), ("projected", "cells-and-gradients")):
        gan = gan_of(tier)
        assert gan.known is not None
        rows = _judged(gan, gan.draw(np.arange(12) % 2), gan.known, 0)
        assert rows and {r.extractor.split("@")[0] for r in rows} == {wanted}


def test_a_gan_of_this_tier_is_saved_and_loaded(tmp_path: Path) -> None:
    generator, judge = networks(PLAIN, "nano", Grid(1, (32, 32)), 2, seed=1, tier="projected")
    Gan(ImageModality(), ImageCodec(1, 32, 32, (0,)), ("a", "b"), generator, judge).save(tmp_path, size="nano")
    loaded = Gan.load(tmp_path, ImageModality()).verifier
    assert loaded.tier == "projected"
    x = pictures(2, 1, seed=1)
    assert torch.equal(loaded.score(x), judge.score(x)) and torch.equal(loaded.reconstruct(x), judge.reconstruct(x))


@pytest.mark.slow
def test_twenty_steps_train_and_a_stop_changes_nothing(tmp_path: Path) -> None:
    x = pictures(16, 1).numpy()
    y = (np.arange(16) % 2).astype(np.int64)

    def fresh() -> State:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            generator = Generator(1, (32, 32), 2, (8, 6))
        return State.fresh(generator, verifier_of(1), 1e-3)

    data = Data(x, y, 2, x[:0], y[:0])
    schedule, recipe = Schedule(20, 4, 0.0, 1e-3, seed=3, ticks=1), Recipe("none", ())
    straight, rows = fresh(), []
    before = {k: v.clone() for k, v in straight.verifier.state_dict().items()}
    train(straight, data, schedule, recipe, on_row=rows.append)
    after = straight.verifier.state_dict()
    assert all(torch.equal(before[k], after[k]) == k.startswith("mixed") for k in before if "bias" not in k)
    assert straight.step == 20 and straight.is_finite() and "r1" not in rows[0]

    class AtTen:
        def __bool__(self) -> bool:
            return halfway.step == 10

    halfway = fresh()
    with pytest.raises(Interrupted):
        train(halfway, data, schedule, recipe, folder=tmp_path, stop=AtTen())
    resumed = fresh()
    for p in resumed.verifier.buffers():
        p.zero_()  # all of it must come from the checkpoint
    resumed.load(tmp_path / "step-000010")
    train(resumed, data, schedule, recipe)
    for net in ("generator", "verifier", "ema"):
        mine, theirs = (getattr(s, net).state_dict() for s in (resumed, straight))
        assert all(torch.equal(mine[k], theirs[k]) for k in theirs), net
