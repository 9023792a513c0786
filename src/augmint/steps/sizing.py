"""The grid follows the time: pictures are no larger than what the time can train on, unless a size is asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from augmint.core import rng
from augmint.core.config import TrainConfig
from augmint.core.types import F32, Grid, Modality
from augmint.scale import ranks
from augmint.steps.prepare import Prepared
from augmint.training.choose import FEW_STEPS
from augmint.training.fit import POOL_PART, machine_seconds

SIDES = (32, 48, 64, 96, 128, 192, 256, 384)
"""Longest sides to choose from, below the data's own. No fewer than 32 cells: on those the frozen features that judge pictures see
nothing, and a verdict would be about other pictures than yours."""


OWN_SIDE = "the data's own, or the largest that is taken unasked"


def fitting(
    prepare_on: Callable[[int | None], Prepared],
    config: TrainConfig,
    seconds: Callable[[Prepared], float | None],
    *,
    chosen: int | None,
) -> tuple[Prepared, int, str]:
    """The data on the largest grid that the time affords, its longest side, and why.

    Args:
        prepare_on: prepares the data on a grid of this longest side, ``None`` for its own.
        seconds: for one GAN, of the data as prepared; ``None`` where none will be trained.
        chosen: the side that was chosen before, when a run is taken up again.
    """
    own = prepare_on(None)
    longest, side, why = max(own.codec.grid.shape), chosen, "as chosen at the start"
    if side is None:
        side, why = longest, OWN_SIDE
        time = seconds(own)
        if config.steps is None and time is not None:
            time *= 1 - POOL_PART if len(own.pool_x) else 1.0
            side, why = largest(own.data.modality, own.codec.grid, own.num_classes, config, time)
    if side == longest:
        return own, longest, why
    smaller = prepare_on(side)
    if smaller.codec.grid == own.codec.grid:  # of rows and the like there is one size only
        return own, longest, OWN_SIDE
    return smaller, side, why


def largest(modality: Modality, grid: Grid, num_classes: int, config: TrainConfig, seconds: float) -> tuple[int, str]:
    """The longest side of the largest grid, up to the data's own, on which ``seconds`` buy `FEW_STEPS` steps; the smallest one where
    none does. Measured from the smallest up, so that no more than a few steps are spent on what is too large."""
    longest = max(grid.shape)
    if longest <= SIDES[0]:
        return longest, OWN_SIDE
    found, told = 0, []
    for side in [*(s for s in SIDES if s < longest), longest]:
        shape = tuple(max(1, round(n * side / longest)) for n in grid.shape)
        x = _noise(Grid(grid.channels, shape), config.batch)
        each = float(ranks.told(machine_seconds(modality, x, num_classes, config)))
        told.append(f"{side}: {seconds / each:,.0f} steps of {1000 * each:.0f} ms")
        if seconds / each < FEW_STEPS:
            break
        found = side
    if not found:
        why = f"the smallest side to choose from: {seconds:.0f} s are short of {FEW_STEPS} steps"
    else:
        why = f"the largest side on which {seconds:.0f} s buy {FEW_STEPS} steps"
    return found or SIDES[0], f"{why} ({'; '.join(told)})"


def _noise(grid: Grid, batch: int) -> F32:
    size = (batch, *grid.size)
    values = rng.normal(rng.key("noise for timing"), np.arange(int(np.prod(size))))
    return np.clip(0.5 * values, -1, 1).astype(np.float32).reshape(size)
