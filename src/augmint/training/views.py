"""The recipes of training: what the GAN's verifier sees its samples through, and the two views of consistency."""

from __future__ import annotations

from dataclasses import dataclass

from augmint.core.types import Codec, Modality
from augmint.transforms.local import Cutout
from augmint.transforms.recipe import Recipe, recipe_for
from augmint.transforms.run_torch import gan_recipe
from augmint.transforms.signal import FreqMask, TimeMask


@dataclass(frozen=True, slots=True)
class Views:
    """``gan`` for real and fake inside GAN training; ``weak`` gives the label that ``strong`` must keep."""

    gan: Recipe
    weak: Recipe
    strong: Recipe


def views_of(modality: Modality, codec: Codec | None) -> Views:
    """Of the ops that the data takes, on the grid of its codec.

    The strong view has no flips: they change handwriting, letters and parts with a side, and with them the label.
    """
    medium = recipe_for(modality, "medium")
    hides = (Cutout(p=0.5), TimeMask(p=0.5, width_frac=(0.1, 0.3)), FreqMask(p=0.5, width_frac=(0.1, 0.25)))
    strong = Recipe("strong view", (*medium.ops, *(op for op in hides if op.name in modality.ops)))
    views = (gan_recipe(modality.ops), recipe_for(modality, "light"), strong)
    return Views(*(view.on(codec) for view in views))
