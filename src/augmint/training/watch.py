"""The health of a run, told in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from augmint.core.types import F32, I64


def is_finite(figures: Mapping[str, float]) -> bool:
    """False when a loss has become NaN or infinite."""
    return all(np.isfinite(v) for v in figures.values())


def diversity_by_class(x: F32, y: I64, num_classes: int) -> F32:
    """Root mean squared distance of a class's samples from their mean, ``[K]``; 0 = one sample only. NaN where a class is absent."""
    flat = x.reshape(len(x), -1)
    out = np.full(num_classes, np.nan, dtype=np.float32)
    for c in range(num_classes):
        if (y == c).sum() >= 2:
            out[c] = np.sqrt(flat[y == c].var(axis=0).mean())
    return out


def remarks(
    figures: Mapping[str, float], fake_spread: F32, real_spread: F32, classes: Sequence[str], *, late: bool
) -> list[str]:
    """What a person should know at this tick, with advice; empty when all is well.

    Args:
        figures: what the tick measured: ``gap``, ``aug_p``, ``recall``, ``copy_rate`` where known.
        fake_spread, real_spread: of `diversity_by_class`.
        late: past the first third of the run; before that, low variety is normal.
    """
    out: list[str] = []
    if late:
        with np.errstate(invalid="ignore"):
            flat = np.flatnonzero(fake_spread < 0.25 * real_spread)
        if len(flat):
            names = ", ".join(classes[int(i)] for i in flat[:5]) if classes else "the set"
            out.append(
                f"collapse: {names} shows little but one sample; a larger --gamma (x4) is the cure that was measured"
            )
        if figures.get("recall", 1.0) < 0.05:
            out.append("collapse: less than 5 % of the held-out reals lie near anything generated; try --gamma x4")
        if figures.get("gap", 0.0) > 0.8 and figures.get("aug_p", 0.0) >= 0.75:
            out.append(
                "overfitting: the verifier knows its training samples by heart even with augmentation; more data, or less time"
            )
        if figures.get("copy_rate", 0.0) > 0.05:
            out.append(
                f"copying: {100 * figures['copy_rate']:.0f} % of the samples lie too near a training sample; curation will take them out"
            )
    return out
