"""What goes into a run, and what of it cannot be used."""

from __future__ import annotations

from augmint.core.errors import UserError
from augmint.core.types import Dataset, Skipped


def fingerprints(data: Dataset, pool: Dataset | None) -> dict[str, str]:
    """Fingerprint of each input, by name."""
    return {"data": data.fingerprint, **({"unlabelled": pool.fingerprint} if pool is not None else {})}


def nothing_usable(data: Dataset) -> UserError:
    """What to tell of a data set that is empty, or that `Dataset.usable` has emptied."""
    if not data.skipped:
        return UserError("there are no samples", where=data.root, mend="put samples into it, or check the path")
    first = data.skipped[0]
    return UserError(
        f"no sample can be read; the first, {first.where}: {first.reason}", where=data.root, mend=first.mend
    )


def left_out(skipped: tuple[Skipped, ...]) -> tuple[str, ...]:
    """A line for each of the first samples that could not be used."""
    return tuple(f"left out {s}" for s in skipped[:5]) + (
        (f"... and {len(skipped) - 5} more",) if len(skipped) > 5 else ()
    )


def noted(data: Dataset) -> tuple[str, ...]:
    """A line for each remark on how the data set was read."""
    return tuple(f"note: {n}" for n in data.notes)
