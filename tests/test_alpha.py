"""Pictures with transparency through the engine: premultiplied on the grid, colour ops as if they were not, straight again at the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import augmint as am
from augmint.data import images
from augmint.transforms.colour import Brightness, Contrast, Saturation
from augmint.transforms.op import Op
from augmint.transforms.recipe import Recipe
from augmint.transforms.run_torch import augment

torch.set_num_threads(1)

KEYS = np.arange(3, dtype=np.uint64)
LUMA = torch.tensor([0.2126, 0.7152, 0.0722]).view(1, 3, 1, 1)


def premultiplied(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Straight colour ``[3, 3, 6, 7]`` and alpha ``[3, 1, 6, 7]``, both within (.01, .99)."""
    both = 0.01 + 0.98 * torch.rand(3, 4, 6, 7, generator=torch.Generator().manual_seed(seed))
    return both[:, :3], both[:, 3:]


def straight_form(name: str, c: Tensor) -> Tensor:
    """What the op does to colours that are not premultiplied, written out."""
    match name:
        case "Brightness":
            return c + 0.2
        case "Contrast":
            return 0.5 + 1.4 * (c - 0.5)
        case _:
            grey = (LUMA * c).sum(1, keepdim=True)
            return grey + 0.3 * (c - grey)


@pytest.mark.parametrize(
    "op", [Brightness(add_frac=(0.2, 0.2)), Contrast(factor=(1.4, 1.4)), Saturation(factor=(0.3, 0.3))]
)
def test_a_colour_op_inside_training_is_its_straight_form_and_alpha_keeps_its_bits(op: Op) -> None:
    colour, alpha = premultiplied()
    x = 2 * torch.cat([colour * alpha, alpha], 1) - 1
    out = augment(x, Recipe("one", (op,)), KEYS, clip=False)
    wanted = straight_form(type(op).__name__, colour) * alpha
    torch.testing.assert_close(0.5 * out[:, :3] + 0.5, wanted, atol=2e-6, rtol=0)
    torch.testing.assert_close(out[:, 3:], x[:, 3:], atol=1e-7, rtol=0)


@pytest.mark.parametrize("alpha", [-0.3, 0.0, 1e-6, 1 / 255, 0.5, 1.2])
def test_no_alpha_makes_the_gradient_explode(alpha: float) -> None:
    """A generator may give any colour under any alpha, a nearly transparent one too: division by it must not blow up."""
    x = 3 * torch.rand(3, 4, 6, 7, generator=torch.Generator().manual_seed(0)) - 1.5
    x[:, 3] = 2 * alpha - 1
    x.requires_grad_(True)
    recipe = Recipe("r", (Brightness(add_frac=(0.2, 0.2)), Contrast(factor=(1.4, 1.4)), Saturation(factor=(1.5, 1.5))))
    (slope,) = torch.autograd.grad(augment(x, recipe, KEYS, clip=False).sum(), x)
    assert slope.isfinite().all() and slope.abs().max() < 12


def discs(root: Path, num: int = 24, side: int = 16) -> Path:
    """Red or blue discs on nothing, with soft rims; bright green hides where nothing can be seen."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    for i in range(num):
        radius = 3 + 3 * (i % 6) / 5
        alpha = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
        colour = np.where(alpha[..., None] > 0, [(220, 30, 20), (20, 30, 220)][i % 2], (0, 255, 0))
        data = np.concatenate([colour, np.rint(255 * alpha)[..., None]], 2).astype(np.uint8)
        images.write(root / ("red", "blue")[i % 2] / f"{i:02d}.png", data)
    return root


@pytest.mark.slow
def test_a_gan_of_pictures_with_transparency_makes_pictures_with_transparency(tmp_path: Path) -> None:
    gan = am.train(am.read(discs(tmp_path / "in")), out=tmp_path / "run", steps=40, batch=8, workers=1)
    assert gan.codec.grid.size == (4, 16, 16)
    x = np.stack([s.data for s in gan.generate(8, seed=1)])
    assert x.shape == (8, 16, 16, 4) and x.dtype == np.uint8
    assert not x[x[..., 3] == 0].any(), "a colour under nothing"
    rebuilt = gan.codec.decode(gan.reconstruct(gan.known.x[:1])[0])
    seen = rebuilt[rebuilt[..., 3] > 100]
    assert len(seen) and np.median(seen[:, 1]) < 128, "the green that nobody can see was learned"
    am.generate(tmp_path / "run", num=4, out=tmp_path / "new", keep=1.0)
    written = sorted((tmp_path / "new").rglob("*.png"))
    assert len(written) == 4 and all(images.read(p).shape == (16, 16, 4) for p in written)
