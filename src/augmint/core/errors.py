"""One kind of error for the people who use augmint: what went wrong, where, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class UserError(Exception):
    """Something that the user can mend.

    Args:
        problem: what is wrong, in one sentence, with the value that was found.
        where: file (and line) or sample id, if there is one.
        mend: what to do about it, in one sentence.
    """

    exit_code = 2

    def __init__(self, problem: str, *, where: object = None, mend: str = "") -> None:
        self.problem, self.where, self.mend = problem, None if where is None else str(where), mend
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return place + self.problem + (f"\n  to mend it: {self.mend}" if self.mend else "")


class BadSample(UserError):
    """One sample cannot be used; the others can. Skipped, counted and named, unless ``--strict``."""

    exit_code = 3


class Refused(UserError):
    """Going on would lose or mix something: an existing output, other settings, changed data."""

    exit_code = 4


class Interrupted(UserError):
    """Ctrl-C or SIGTERM arrived; the state is saved and the same command goes on from there."""

    exit_code = 130


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the nearest known word, or an empty string."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""


def check_one_of(what: str, word: object, known: Sequence[str]) -> None:
    """
    Raises:
        UserError: if a setting's word is none of those that are known.
    """
    if word not in known:
        listing = (" or " if len(known) < 4 else ", ").join(known)
        raise UserError(f"{what} is {word!r}{did_you_mean(str(word), known)}", mend=f"use {listing}")
