"""The networks by name: nano, small, base and large differ in width alone; article is the small net of the textbook."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from augmint.core import rng
from augmint.core.errors import UserError
from augmint.core.types import Grid, Modality
from augmint.models.generator import ArticleGenerator, Generator, Maker
from augmint.models.projected import ProjectedVerifier
from augmint.models.verifier import ArticleVerifier, Judge, Verifier

TOP_WIDTH = {"nano": 96, "small": 256, "base": 512, "large": 768}
"""Channels at the lowest resolution. Both nets together at 128 pixels: .7, 5.6, 22 and 50 million weights."""
_TAPER = (1.0, 0.75, 0.5, 0.375, 0.25, 0.1875, 0.125)
_STEEP_TAPER = (1.0, 0.67, 0.34, 0.17, 0.17, 0.17, 0.17)
"""Of nano: on a CPU the time goes into the stages with many cells, and steps count for more than width there (docs/log.md)."""
_MULTIPLE = 16
"""Convolutions compute channels in blocks of so many; 40 take as long as 48."""
_NARROWEST = 16
_STEEPEST = 0.92
"""Of the width before: fourfold cells then cost no more than 3.4 times as much."""
FEW, MANY = 500, 10_000
"""Samples below which a GPU gets one size less, and from which on a large grid gets the largest."""


def networks(
    modality: Modality, size: str, grid: Grid, num_classes: int, *, seed: int, tier: str = "own"
) -> tuple[Maker, Judge]:
    """Generator and verifier of a named size; the weights at the start follow from the seed.

    Args:
        tier: ``own``, or ``projected`` for a verifier on frozen ImageNet features beside the generator of that size.
    """
    generator, verifier = _own(modality, size, grid, num_classes, seed=seed)
    if tier == "own":
        return generator, verifier
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.torch_seed(seed, "projection"))
        return generator, ProjectedVerifier(grid.channels, grid.shape, num_classes)


def _own(modality: Modality, size: str, grid: Grid, num_classes: int, *, seed: int) -> tuple[Maker, Judge]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.torch_seed(seed, "weights"))
        own = getattr(modality, "networks", None)
        if own is not None:
            made: tuple[Maker, Judge] = own(size, grid, num_classes)
            return made
        if size == "article":
            return (
                ArticleGenerator(grid.channels, grid.shape, num_classes),
                ArticleVerifier(grid.channels, grid.shape, num_classes),
            )
        widths = stage_widths(grid.shape, size)
        return (
            Generator(grid.channels, grid.shape, num_classes, widths),
            Verifier(grid.channels, grid.shape, num_classes, widths),
        )


def stage_widths(shape: Sequence[int], size: str) -> list[int]:
    """Channels a stage, lowest resolution first; narrower for small grids, where width only costs (docs/log.md).

    From stage to stage the cells grow fourfold and the work of a cell falls by the square of the width, so that no stage of
    a large grid costs more than about three times the one before.
    """
    top = TOP_WIDTH[size]
    first = min(top, _MULTIPLE * round(top * (64 + 2 * max(shape)) / 128 / _MULTIPLE))
    taper = _STEEP_TAPER if size == "nano" else _TAPER
    widths = [first]
    for f in taper[1:]:
        most = int(_STEEPEST * widths[-1]) // _MULTIPLE  # where rounding up would undo the taper
        widths.append(max(_NARROWEST, _MULTIPLE * min(most, round(first * f / _MULTIPLE))))
    return widths


def device(wanted: str = "auto") -> str:
    """``cpu`` or ``cuda``: as wanted, or a GPU where there is one.

    Raises:
        UserError: if a GPU is wanted and none can be used.
    """
    found = torch.cuda.is_available()
    if wanted == "cuda" and not found:
        raise UserError("no GPU can be used here", mend="leave --device out; `augmint doctor` tells what PyTorch sees")
    return "cuda" if found and wanted != "cpu" else "cpu"


def choose(grid: Grid, num_samples: int, kind: str) -> tuple[str, str]:
    """The size that suits a grid, so many training samples and a ``kind`` of device (``cpu``, ``cuda``, ...), and why.

    On a CPU more steps of a small net beat fewer of a large one. The steps for GPUs follow what published nets of such grids
    have (20 to 30 million weights for 128 to 256 pixels); they were not measured here.
    """
    longest = max(grid.shape)
    if kind == "cpu":
        return "nano", "a CPU: many steps of a small net beat few of a large one"
    sizes = list(TOP_WIDTH)
    at = 1 if longest <= 32 else 2 if longest <= 128 or num_samples < MANY else 3
    why = f"a GPU ({kind}), a grid of {longest}"
    if num_samples < FEW:
        return sizes[at - 1], f"{why}, one size less for fewer than {FEW} samples"
    return sizes[at], f"{why} and {num_samples:,} samples"
