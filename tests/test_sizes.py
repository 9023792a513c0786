"""The named sizes: any grid goes through forward and back, weights and memory as the docs say, and no scale runs away."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from augmint.core.types import Grid
from augmint.models.blocks import Residual, count_weights, unshuffle
from augmint.models.generator import Z_DIM, Generator
from augmint.models.sizes import FEW, MANY, TOP_WIDTH, choose, networks, stage_widths
from augmint.models.verifier import Verifier

torch.set_num_threads(1)

PLAIN: Any = SimpleNamespace(name="toy", ops=())
SIDES = st.one_of(st.integers(8, 40), st.sampled_from([48, 64, 80, 96]))


def tiny(channels: int, shape: tuple[int, ...], num_classes: int = 2) -> tuple[Generator, Verifier]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Generator(channels, shape, num_classes, (8, 6)), Verifier(channels, shape, num_classes, (8, 6))
    return made


def one_step_of_both(channels: int, shape: tuple[int, ...], num_classes: int = 2) -> None:
    """Forward, and one descent of each net: a finite slope at every weight, and the scores move as they should."""
    generator, verifier = tiny(channels, shape, num_classes)
    y = torch.arange(2) % max(1, num_classes)
    z = torch.randn(2, Z_DIM, generator=torch.Generator().manual_seed(1))
    for net, sign in ((generator, -1.0), (verifier, 1.0)):
        fake = generator(z, y)
        assert fake.shape == (2, channels, *shape)
        before = verifier.score(fake, y).mean()
        (sign * before).backward()
        with torch.no_grad():
            slopes = [p.grad for p in net.parameters() if p.grad is not None]
            assert all(g.isfinite().all() for g in slopes)
            length = math.sqrt(sum(float(g.square().sum()) for g in slopes))
            assert length > 0
            for p in net.parameters():
                if p.grad is not None:
                    p.sub_(1e-3 / length * p.grad)
            assert -sign * (verifier.score(generator(z, y), y).mean() - before) > 0
        generator.zero_grad()
        verifier.zero_grad()


@settings(max_examples=25, deadline=None)
@given(SIDES, SIDES, st.integers(1, 4), st.integers(0, 3))
def test_pictures_of_any_size_go_forward_and_back(height: int, width: int, channels: int, num_classes: int) -> None:
    one_step_of_both(channels, (height, width), num_classes)


@pytest.mark.parametrize("shape", [(512, 512), (512, 8), (9, 512), (300, 200), (512,), (20, 24, 12)], ids=str)
def test_the_largest_grids_and_other_numbers_of_axes_too(shape: tuple[int, ...]) -> None:
    one_step_of_both(4, shape)


@pytest.mark.parametrize(
    ("size", "least", "most"), [("nano", 0.6, 0.8), ("small", 4.5, 6), ("base", 18, 22), ("large", 40, 48)]
)
def test_weights_of_both_nets_at_32_pixels_in_millions(size: str, least: float, most: float) -> None:
    assert least <= millions(size, 32) <= most


def test_base_has_about_25_million_weights_for_the_grids_of_a_gpu() -> None:
    assert all(20 <= millions("base", side) <= 27 for side in (64, 128, 256, 512))
    assert all(1.8 * millions("base", side) <= millions("large", side) for side in (64, 128, 256, 512))


def millions(size: str, side: int) -> float:
    with torch.device("meta"):
        return sum(count_weights(net) for net in networks(PLAIN, size, Grid(3, (side, side)), 10, seed=0)) / 1e6


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(list(TOP_WIDTH)), st.integers(8, 512))
def test_no_stage_costs_more_than_about_three_times_the_one_before(size: str, side: int) -> None:
    """Of two convolutions a cell: multiplications go with the square of the width, and cells fourfold."""
    widths = stage_widths((side, side), size)
    assert widths == sorted(widths, reverse=True)
    narrowest = 16
    assert all(4 * b**2 <= 3.4 * a**2 or b == narrowest for a, b in pairwise(widths))


def outputs_in_bytes(net: nn.Module, *inputs: Tensor) -> int:
    """What the modules' outputs of one pass take, on no real memory."""
    seen = 0

    def count(module: nn.Module, given: Any, made: Any) -> None:
        nonlocal seen
        seen += made.numel() * 4 if isinstance(made, Tensor) else 0

    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | Residual):
            module.register_forward_hook(count)
    net(*inputs)
    return seen


@pytest.mark.parametrize(("size", "most"), [("nano", 24), ("small", 55), ("base", 110), ("large", 165)])
def test_what_one_sample_of_512_pixels_takes_in_mebibytes(size: str, most: int) -> None:
    with torch.device("meta"):
        generator, verifier = networks(PLAIN, size, Grid(3, (512, 512)), 10, seed=0)
        y = torch.zeros(1, dtype=torch.long)
        made = outputs_in_bytes(generator, torch.zeros(1, Z_DIM), y)
        judged = outputs_in_bytes(verifier, torch.zeros(1, 3, 512, 512), y)
        rebuilt = outputs_in_bytes(verifier.heads.decoder, torch.zeros(1, 64))
    assert max(made, judged) <= most * 2**20
    # The branch that rebuilds stays the light one: a quarter of the verifier, or what that was for nano before its pooling came first.
    assert rebuilt <= max(0.25 * judged, 6.5 * 2**20)


def natural(shape: tuple[int, int], n: int = 2) -> Tensor:
    """Noise with a 1/f spectrum, the spectrum of photographs, at a spread of .5."""
    noise = torch.fft.rfft2(torch.randn(n, 3, *shape, generator=torch.Generator().manual_seed(0)))
    fy, fx = torch.fft.fftfreq(shape[0])[:, None], torch.fft.rfftfreq(shape[1])[None]
    x = torch.fft.irfft2(noise / torch.hypot(fy, fx).clamp_min(1 / max(shape)), s=shape)
    x = x - x.mean((2, 3), keepdim=True)
    return (0.5 * x / x.std((2, 3), keepdim=True)).clamp(-1, 1)


@pytest.mark.parametrize("shape", [(8, 8), (16, 16), (48, 80), (128, 128), (256, 256), (512, 512)], ids=str)
def test_every_stage_starts_with_values_of_about_one(shape: tuple[int, int]) -> None:
    """Width is no part of it, for weights are scaled by it; so narrow nets stand for all."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator, verifier = Generator(3, shape, 3, (48, 32, 24, 16)), Verifier(3, shape, 3, (48, 32, 24, 16))
    found: dict[str, float] = {}
    for side, net in (("generator", generator), ("verifier", verifier)):
        for name, block in net.blocks.named_children():
            block.register_forward_hook(
                lambda m, i, out, at=f"{side} stage {name}": found.update({at: float(out.std())})
            )
    y = torch.zeros(2, dtype=torch.long)
    with torch.no_grad():
        x = generator(torch.randn(2, Z_DIM, generator=torch.Generator().manual_seed(1)), y)
        verdict = verifier(natural(shape), y)
    found |= {"samples": float(x.std()), "features": float(verdict.features.std())}
    assert all(0.2 < spread < 2.5 for spread in found.values()), found


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_before_it_learns_all_cells_of_a_block_are_the_same(axes: int) -> None:
    """No checker of cells in samples and reconstructions: what a shuffle makes of them is the nearest neighbour."""
    generator, verifier = tiny(3, (12, 16, 8)[:axes])
    y = torch.zeros(2, dtype=torch.long)
    with torch.no_grad():
        x = generator(torch.randn(2, Z_DIM, generator=torch.Generator().manual_seed(1)), y)
        for made in (x, verifier.reconstruct(x)):
            blocks = unshuffle(made).unflatten(1, (3, 2**axes))
            assert torch.allclose(blocks, blocks[:, :, :1].expand_as(blocks), atol=1e-6) and made.std() > 0.01


# -- which one -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "num", "device", "wanted"),
    [
        ((512, 512), 10**6, "cpu", "nano"),
        ((28, 28), 5000, "cuda", "small"),
        ((64, 48), 5000, "cuda", "base"),
        ((128, 128), 10**6, "cuda", "base"),
        ((256, 256), MANY - 1, "cuda", "base"),
        ((256, 256), MANY, "mps", "large"),
        ((256, 256), FEW - 1, "cuda", "small"),
        ((16, 16), FEW - 1, "cuda", "nano"),
    ],
)
def test_the_size_follows_from_device_grid_and_samples(
    shape: tuple[int, ...], num: int, device: str, wanted: str
) -> None:
    size, why = choose(Grid(3, shape), num, device)
    assert size == wanted
    assert ("CPU" if device == "cpu" else device) in why
