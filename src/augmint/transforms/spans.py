"""Where the times of a sound are after a plan: labels move along the line that the sound is stretched by."""

from __future__ import annotations

import numpy as np

from augmint.core.rng import F64
from augmint.transforms import fuse_audio
from augmint.transforms.plan import Plan
from augmint.transforms.temporal import TimeMap


def moved(plan: Plan, times_s: F64, seconds: float) -> F64:
    """New times, of any shape, of a sound that was ``seconds`` long; those that are lost lie at the ends of what is left."""
    for stage in fuse_audio.compile(plan):
        if isinstance(stage, TimeMap):
            times_s, seconds = stage.moved(times_s, seconds), float(stage.scale) * seconds
    return np.asarray(times_s)
