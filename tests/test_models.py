"""The networks, against loops over cells, PyTorch's own rearrangements, and arithmetic written out by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from augmint.models import blocks
from augmint.models.blocks import Plan, Residual, conv, crop_to, halve, pad_to, shuffle, unshuffle, upsample
from augmint.models.generator import Z_DIM, ArticleGenerator, Generator
from augmint.models.verifier import FEATURES, ArticleVerifier, Judge, Verifier

torch.set_num_threads(1)

SHAPES = [(8, 8), (28, 28), (48, 80), (7, 5), (50,), (8, 8, 8), (1, 1), (6,), (1,), (3, 9, 4), (1, 17)]
WIDTHS = (24, 16, 12)
NETS = {
    "engine": lambda c, shape, k: (Generator(c, shape, k, WIDTHS), Verifier(c, shape, k, WIDTHS)),
    "article": lambda c, shape, k: (ArticleGenerator(c, shape, k), ArticleVerifier(c, shape, k)),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(kind: str, channels: int, shape: tuple[int, ...], num_classes: int = 3) -> tuple[nn.Module, Judge]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        generator, verifier = NETS[kind](channels, shape, num_classes)
        for p in [*generator.parameters(), *verifier.parameters()]:
            if not p.any():  # what starts at nothing would hide a mistake behind it
                nn.init.normal_(p, std=0.05)
    return generator, verifier


# -- rearranging cells -----------------------------------------------------------------------------------------------


def slow_unshuffle(x: np.ndarray) -> np.ndarray:
    """One cell at a time: the offset inside a block of 2 x 2 ... becomes the channel, the first axis counting slowest."""
    n, c, *sizes = x.shape
    axes = len(sizes)
    out = np.empty((n, c * 2**axes, *(s // 2 for s in sizes)), x.dtype)
    for channel in range(c):
        for cell in itertools.product(*(range(s) for s in sizes)):
            block = 0
            for at in cell:
                block = 2 * block + at % 2
            out[(slice(None), channel * 2**axes + block, *(at // 2 for at in cell))] = x[(slice(None), channel, *cell)]
    return out


@pytest.mark.parametrize("size", [(2, 3, 8), (2, 2, 4, 6), (2, 3, 2, 6, 4)])
def test_unshuffle_moves_each_cell_where_a_loop_over_cells_puts_it(size: tuple[int, ...]) -> None:
    x = torch.randn(size, generator=seeded())
    assert np.array_equal(unshuffle(x).numpy(), slow_unshuffle(x.numpy()))


def test_two_axes_are_rearranged_as_torch_does_it() -> None:
    x = torch.randn(3, 4, 6, 10, generator=seeded())
    assert torch.equal(unshuffle(x), F.pixel_unshuffle(x, 2))
    assert torch.equal(shuffle(x), F.pixel_shuffle(x, 2))


def test_one_and_three_axes_agree_with_two_where_one_axis_stands_still() -> None:
    x = torch.randn(2, 3, 6, 10, generator=seeded())
    flat = unshuffle(x[:, :, 0])  # one row alone: the even and the odd cells
    assert torch.equal(flat[:, 0::2], x[:, :, 0, 0::2]) and torch.equal(flat[:, 1::2], x[:, :, 0, 1::2])
    deep = unshuffle(torch.stack([x, x], 2)).reshape(2, 3, 2, 4, 3, 5)
    assert torch.equal(deep[:, :, 0], deep[:, :, 1])
    assert torch.equal(deep[:, :, 0].flatten(1, 2), unshuffle(x))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_shuffle_undoes_unshuffle_and_the_other_way_round(n: int, c: int, half: list[int]) -> None:
    x = torch.randn(n, c, *(2 * h for h in half), generator=seeded())
    assert torch.equal(shuffle(unshuffle(x)), x)
    y = torch.randn(n, c * 2 ** len(half), *half, generator=seeded())
    assert torch.equal(unshuffle(shuffle(y)), y)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 70), min_size=1, max_size=3))
def test_a_plan_covers_the_grid_in_even_halvings(shape: list[int]) -> None:
    plan = Plan(shape)
    assert all(p >= s for p, s in zip(plan.padded, shape, strict=True))
    assert all(p < s + 2 ** (plan.levels + 1) for p, s in zip(plan.padded, shape, strict=True)), "padding wasted"
    assert all(p == b * 2 ** (plan.levels + 1) for p, b in zip(plan.padded, plan.base, strict=True))
    assert plan.at(0) == plan.base and plan.at(plan.levels) == tuple(p // 2 for p in plan.padded)
    assert min(plan.base) <= 7
    assert min(plan.base) >= 3 or plan.levels == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 6)), min_size=1, max_size=3))
def test_padding_repeats_the_edge_and_cropping_takes_it_away(sizes: list[tuple[int, int]]) -> None:
    x = torch.randn(2, 2, *(s for s, _ in sizes), generator=seeded())
    padded = pad_to(x, [s + more for s, more in sizes])
    edge = np.pad(x.numpy(), [(0, 0), (0, 0), *((0, more) for _, more in sizes)], mode="edge")
    assert np.array_equal(padded.numpy(), edge)
    assert torch.equal(crop_to(padded, [s for s, _ in sizes]), x)


@pytest.mark.parametrize("shape", [(8,), (4, 6), (2, 4, 6)])
def test_halving_is_the_mean_of_each_block(shape: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, *shape, generator=seeded())
    by_block = unshuffle(x).unflatten(1, (3, 2 ** len(shape))).mean(2)
    assert torch.allclose(halve(x), by_block, atol=1e-6)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4)])
def test_upsampling_keeps_a_constant_and_is_the_separable_linear_one(shape: tuple[int, ...]) -> None:
    assert torch.allclose(upsample(torch.full((1, 2, *shape), 0.3), [2 * s for s in shape]), torch.tensor(0.3))
    x = torch.randn(1, 1, *shape, generator=seeded(), dtype=torch.float64)
    slow = x[0, 0].numpy()
    for axis, size in enumerate(shape):
        at = np.clip((np.arange(2 * size) + 0.5) / 2 - 0.5, 0, size - 1)  # centres of cells, edges held
        slow = np.apply_along_axis(lambda row, a=at, s=size: np.interp(a, np.arange(s), row), axis, slow)
    assert np.allclose(upsample(x, [2 * s for s in shape])[0, 0].numpy(), slow)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_convolution_keeps_the_size_and_a_new_residual_block_changes_nothing(axes: int) -> None:
    x = torch.randn(2, 4, *(5, 6, 7)[:axes], generator=seeded())
    assert conv(axes, 4, 6)(x).shape == (2, 6, *x.shape[2:])
    assert not conv(axes, 4, 6, zero=True)(x).any()
    assert torch.equal(Residual(axes, 4)(x), x)


def test_the_number_of_weights_is_counted() -> None:
    assert blocks.count_weights(nn.Linear(3, 5)) == 3 * 5 + 5
    assert blocks.count_weights(conv(2, 3, 4)) == 3 * 3 * 3 * 4 + 4


def test_gradients_come_as_one_vector_in_the_order_of_the_parameters() -> None:
    layer = nn.Linear(2, 1)
    layer(torch.tensor([[2.0, -3.0]])).sum().backward()
    assert blocks.flat_grads(layer).tolist() == [2.0, -3.0, 1.0]


# -- the networks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_any_grid_goes_in_and_comes_out(kind: str, shape: tuple[int, ...], channels: int) -> None:
    generator, verifier = made(kind, channels, shape)
    y = torch.tensor([0, 2, 1])
    fake = generator(torch.randn(3, Z_DIM, generator=seeded()), y)
    assert fake.shape == (3, channels, *shape) and fake.dtype == torch.float32 and fake.isfinite().all()
    verdict = verifier(fake, y)
    assert verdict.score.shape == (3,) and verdict.logits.shape == (3, 3) and verdict.features.shape == (3, FEATURES)
    assert verifier.reconstruct(fake).shape == fake.shape
    assert verifier.rebuild(verifier.encode(fake)).shape == fake.shape
    assert torch.equal(verifier.classify(fake), verdict.logits) and torch.equal(verifier.score(fake, y), verdict.score)


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("shape", [(7, 5), (9,), (3, 4, 5)])
def test_every_weight_is_used_and_every_cell_is_seen(kind: str, shape: tuple[int, ...]) -> None:
    generator, verifier = made(kind, 2, shape, num_classes=2)
    y = torch.tensor([0, 1, 0, 1])
    x = generator(torch.randn(4, Z_DIM, generator=seeded()), y)
    verdict = verifier(x, y)
    rebuilt = verifier.rebuild(verifier.heads.code(verdict.features))
    (slope,) = torch.autograd.grad(verdict.score.sum(), x, retain_graph=True)
    assert (slope.abs().sum(0) > 0).all(), "a cell that the realness does not look at"
    (verdict.score.square().sum() + verdict.logits.square().sum() + rebuilt.square().sum()).backward()
    for name, p in [*generator.named_parameters(), *verifier.named_parameters()]:
        assert p.grad is not None and p.grad.any(), f"{name} has no gradient"


@pytest.mark.parametrize("kind", NETS)
def test_samples_of_a_batch_do_not_mix(kind: str) -> None:
    generator, verifier = made(kind, 1, (9, 6))
    z, y = torch.randn(5, Z_DIM, generator=seeded()), torch.tensor([0, 1, 2, 0, 1])
    whole = generator(z, y)
    alone = torch.cat([generator(z[i : i + 1], y[i : i + 1]) for i in range(5)])
    assert torch.allclose(whole, alone, atol=1e-5)
    scores = torch.cat([verifier.score(whole[i : i + 1], y[i : i + 1]) for i in range(5)])
    assert torch.allclose(verifier.score(whole, y), scores, atol=1e-4)


@pytest.mark.parametrize("kind", NETS)
def test_the_length_of_z_does_not_matter_only_its_direction(kind: str) -> None:
    generator, _ = made(kind, 1, (6, 6))
    z, y = torch.randn(3, Z_DIM, generator=seeded()), torch.zeros(3, dtype=torch.long)
    assert torch.allclose(generator(z, y), generator(7 * z, y), atol=1e-4)
    assert not torch.allclose(generator(z, y), generator(-z, y), atol=1e-2)


def test_the_class_and_the_latent_both_change_the_sample() -> None:
    generator, _ = made("engine", 1, (8, 8))
    z = torch.randn(1, Z_DIM, generator=seeded()).expand(3, -1)
    a, b, c = generator(z, torch.tensor([0, 1, 2]))
    assert (a - b).abs().max() > 1e-3 and (b - c).abs().max() > 1e-3


def test_one_w_for_all_stages_equals_the_same_w_for_each() -> None:
    generator, _ = made("engine", 1, (28, 28))
    w = generator.mapping(torch.randn(2, Z_DIM, generator=seeded()), torch.tensor([0, 1]))
    stages = len(generator.blocks)
    assert torch.equal(generator.synthesise(w), generator.synthesise(w[:, None].repeat(1, stages, 1)))
    mixed = torch.stack([w[:1].expand(stages, -1), w[1:].expand(stages, -1)])
    mixed[0, -1] = w[1]
    assert not torch.allclose(generator.synthesise(mixed)[0], generator.synthesise(w)[0], atol=1e-4)


@pytest.mark.parametrize("kind", NETS)
def test_realness_is_the_projection_of_miyato_and_koyama(kind: str) -> None:
    """score(x, y) = f(h) + <embed(y), h>, and without a label f(h) alone."""
    _, verifier = made(kind, 1, (8, 8))
    x, y = torch.randn(4, 1, 8, 8, generator=seeded()), torch.tensor([2, 0, 1, 1])
    h, heads = verifier.features(x), verifier.heads
    plain = h @ heads.realness.weight[0] + heads.realness.bias
    assert torch.allclose(verifier.score(x), plain, atol=1e-5)
    by_hand = plain + torch.stack([h[i] @ heads.project.weight[int(c)] for i, c in enumerate(y)])
    assert torch.allclose(verifier.score(x, y), by_hand, atol=1e-4)


def test_data_without_classes_has_one_class_inside() -> None:
    generator, verifier = made("engine", 1, (8, 8), num_classes=0)
    zeros = torch.zeros(2, dtype=torch.long)
    x = generator(torch.randn(2, Z_DIM, generator=seeded()), zeros)
    assert verifier(x, zeros).logits.shape == (2, 1)


# -- the article's small net -----------------------------------------------------------------------------------------


def test_the_article_verifier_is_two_convolutions_and_two_fully_connected_layers() -> None:
    """Written out: conv, conv, fc, fc; what the heads read from there is one linear read-out each."""
    _, verifier = made("article", 1, (8, 8))
    assert isinstance(verifier, ArticleVerifier)
    outside = [m for name, m in verifier.named_modules() if not name.startswith("heads.decoder")]
    assert [type(m) for m in outside if isinstance(m, nn.Conv2d)] == [nn.Conv2d] * 2
    linears = {name: m for name, m in verifier.heads.named_children() if isinstance(m, nn.Linear)}
    hidden = [m for name, m in linears.items() if name.startswith("fc")]
    readouts = {name: m for name, m in linears.items() if not name.startswith("fc")}
    assert len(hidden) == 2 and set(readouts) == {"realness", "classes", "code"}

    x = torch.randn(3, 1, 8, 8, generator=seeded())
    h = x
    for layer in (verifier.conv1, verifier.conv2):
        h = F.leaky_relu(F.conv2d(h, layer.weight, layer.bias, stride=2, padding=1), 0.2)
    h = h.flatten(1)
    for layer in hidden:
        h = F.leaky_relu(F.linear(h, layer.weight, layer.bias), 0.2)
    assert torch.allclose(h, verifier.features(x), atol=1e-5)
    assert torch.allclose(verifier.classify(x), h @ readouts["classes"].weight.T + readouts["classes"].bias, atol=1e-4)


def test_the_article_generator_is_fully_connected_layers_and_two_convolutions() -> None:
    generator, _ = made("article", 3, (8, 8))
    kinds = [type(m) for m in generator.modules()]
    assert kinds.count(nn.Conv2d) == 2 and kinds.count(nn.Linear) == 3  # two make w, one spreads it over the grid
    x = generator(100 * torch.randn(4, Z_DIM, generator=seeded()), torch.zeros(4, dtype=torch.long))
    assert x.abs().max() <= 1


def test_the_engine_verifier_has_at_least_two_convolution_stages_and_two_fully_connected_layers() -> None:
    for shape in SHAPES:
        _, verifier = made("engine", 1, shape)
        assert len(verifier.blocks) >= 2 and isinstance(verifier.heads.fc1, nn.Linear)
        assert isinstance(verifier.heads.fc2, nn.Linear)


@pytest.mark.parametrize("shape", [(8, 8), (50,), (1, 1)])
def test_the_code_is_shorter_than_the_sample(shape: tuple[int, ...]) -> None:
    """Otherwise rebuilding would be copying; a floor of 4 for the smallest grids."""
    _, verifier = made("engine", 2, shape)
    cells = 2 * math.prod(shape)
    assert verifier.heads.code.out_features <= max(4, cells // 2)


@pytest.mark.parametrize("kind", NETS)
def test_the_backbone_is_the_trunk_and_a_copy(kind: str) -> None:
    _, verifier = made(kind, 2, (9, 12))
    x = torch.randn(5, 2, 9, 12, generator=seeded())
    backbone = verifier.as_backbone()
    torch.testing.assert_close(backbone(x), verifier.features(x))
    before = verifier.features(x).detach()
    backbone(x).sum().backward()
    assert all(p.grad is not None for p in backbone.parameters())  # nothing in it is dead weight
    with torch.no_grad():
        for p in backbone.parameters():
            p.add_(1.0)
    torch.testing.assert_close(verifier.features(x), before)
