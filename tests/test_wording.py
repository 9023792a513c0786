"""Counts and signed figures as people read them."""

from __future__ import annotations

import pytest

from augmint.core.wording import number_of, signed


@pytest.mark.parametrize(
    "told,wanted",
    [
        (number_of(1, "seed"), "1 seed"),
        (number_of(0, "seed"), "0 seeds"),
        (number_of(1300, "seed"), "1,300 seeds"),
        (number_of(2, "class", "classes"), "2 classes"),
        (number_of(1.0, "point"), "1 point"),
        (number_of(0.5, "point"), "0.5 points"),
    ],
)
def test_counts(told: str, wanted: str) -> None:
    assert told == wanted


def test_a_bound_beside_zero_keeps_its_side() -> None:
    assert signed(1.24, 0.042) == ("+1.24", "+0.04")
    assert signed(1.24, -0.31) == ("+1.2", "-0.3")
    assert signed(0.0, 2.0) == ("+0.0", "+2.0"), "nothing is hidden in a true 0"
