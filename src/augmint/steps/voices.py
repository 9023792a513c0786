"""What is the same in all that is trained on recorded voices alone: which recordings it takes, and which are kept out to judge it by."""

from __future__ import annotations

from augmint.core import rng
from augmint.core.errors import UserError
from augmint.core.types import I64, Dataset
from augmint.transforms.plan import SOUNDS

HELD_OUT = 0.1
"""Of the recordings, by which the result is measured."""
_LEAST = 10


def recordings(voices: Dataset, what: str) -> Dataset:
    """Those of a data set that can be read.

    Args:
        what: is trained, with its article, for people.

    Raises:
        UserError: this is no sound, or too few of them.
    """
    if getattr(voices.modality, "kind", None) != SOUNDS:
        raise UserError(f"{what} is trained on sounds", where=voices.root, mend="give a folder with clean recordings")
    usable = voices.usable()
    if len(usable) < _LEAST:
        raise UserError(
            f"{len(usable)} usable recordings are too few for {what}",
            where=voices.root,
            mend=f"give {_LEAST} at least; some minutes of speech are better",
        )
    return usable


def kept_out(num: int, what: str, seed: int, *, least: int) -> tuple[I64, I64]:
    """Positions of the recordings to learn from, and of those to be judged by."""
    order = rng.permutation(rng.key(what, seed), num)
    held = max(least, round(HELD_OUT * num))
    return order[held:], order[:held]


def unreadable(voices: Dataset) -> list[str]:
    """A line for people, where some recordings could not be read."""
    return [f"{len(voices.skipped)} files could not be read: augmint inspect names them"] if voices.skipped else []
