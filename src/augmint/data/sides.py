"""Which keypoints swap in a mirrored picture: told by the data file, or by names that differ in left and right."""

from __future__ import annotations

import re

from augmint.core.errors import UserError

UNKNOWN = "keypoints keep their numbers in mirrored pictures; give `{}`, or leave flips out, if any is left or right"
_SIDE = re.compile(
    r"(?<![A-Za-z])(?i:left|right|l|r)(?![A-Za-z])|(?<![A-Za-z])([lL]eft|[rR]ight)(?=[A-Z])|(?<=[a-z])(Left|Right)(?![a-z])"
)
_OTHER_SIDE = {"left": "right", "right": "left", "l": "r", "r": "l"}


def twin_of(name: str) -> str:
    """The name with left for right: of ``left_eye``, ``Left Eye``, ``l_eye``, ``leftEye`` and ``eyeLeft``."""

    def other(found: re.Match[str]) -> str:
        word = _OTHER_SIDE[found[0].lower()]
        return word.upper() if found[0].isupper() else word.capitalize() if found[0][0].isupper() else word

    return _SIDE.sub(other, name)


def flips_of(found: object, count: int, name: str, where: str) -> tuple[int, ...]:
    """The number that each keypoint has in a mirrored picture; nothing where nothing is told.

    Raises:
        UserError: if it is not each number once, two by two.
    """
    if found is None:
        return ()
    flips = tuple(found) if isinstance(found, list) and all(type(v) is int for v in found) else ()
    if sorted(flips) != list(range(count)) or any(flips[j] != i for i, j in enumerate(flips)):
        raise UserError(
            f"{name} is {found!r} for {count} keypoints",
            where=where,
            mend="write for each keypoint the number, from 0 on, of the one that it is in a mirrored picture",
        )
    return flips
