"""Choices of the engine that measurements made, each against its alternatives at equal CPU time.

Claim: on 1,297 digits at 16 pixels, in 60 s of process CPU time on one thread, no other value of a choice is better than the product's
in both Fréchet distance and recall on the mean of 3 seeds: penalties every 4 steps (8, 16), the rebuild loss (none), the half-life of the
running average (a quarter, four times). At 64 pixels, on letters of many fonts, in 240 s and with one seed, the same holds for the formula
of gamma (a quarter, four times).

Features and figures as in digits_gan.py and glyphs_gan.py. With one seed, a fifth in distance is no difference.

Run: python benchmarks/engine_choices.py [--seeds 3] [--budget 60]; about 35 CPU minutes. Fonts: benchmarks/fonts.sh. Not stored with
fewer seeds or another budget. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from unittest.mock import patch

import numpy as np
from gans import Reals, Row, at_the_end, digits, figures, letters, options, train_ours
from glyphs import glyphs
from tables import Bar, publish

from augmint.training import ema
from augmint.training.loop import Schedule

SIDE, LARGE_SIDE, LARGE_SECONDS, NUM_LARGE_TEST = 16, 64, 240.0, 1000
PRODUCT = "the product's"
Change = Callable[[Schedule], Schedule]
CHOICES: dict[str, Change] = {
    PRODUCT: lambda s: s,
    "penalties every 8": lambda s: replace(s, lazy=8),
    "penalties every 16": lambda s: replace(s, lazy=16),
    "no rebuild loss": lambda s: replace(s, rebuild_weight=0.0),
}
AVERAGES = {"average x 1/4": 0.25, "average x 4": 4.0}
GAMMAS: dict[str, Change] = {
    PRODUCT: lambda s: s,
    "gamma x 1/4": lambda s: replace(s, gamma=s.gamma / 4),
    "gamma x 4": lambda s: replace(s, gamma=s.gamma * 4),
}


def averaged_over(factor: float) -> AbstractContextManager[object]:
    """The running average with so many times the product's half-life."""
    own = ema.half_life
    return patch.object(ema, "half_life", lambda total: factor * own(total))


def rows_of(
    reals: Reals, seconds: float, seed: int, changes: Mapping[str, Change], averages: Mapping[str, float]
) -> list[Row]:
    """Every choice with one seed at one size."""
    arms = [(name, change, nullcontext()) for name, change in changes.items()]
    arms += [(name, CHOICES[PRODUCT], averaged_over(factor)) for name, factor in averages.items()]
    rows = list[Row]()
    for name, change, around in arms:
        with around:
            made = train_ours(reals.material(), seconds, seed, changes=change)
        rows.append(
            {"side": reals.grid.shape[0], "choice": name, "seed": seed, **figures(reals, made.draw), **made.facts}
        )
        print(rows[-1], flush=True)
    return rows


def bars(rows: list[Row]) -> list[Bar]:
    """Every alternative against the product's choice at the same size."""
    found = []
    for side, name in dict.fromkeys((r["side"], r["choice"]) for r in rows if r["choice"] != PRODUCT):

        def mean(figure: str, of: str, side: int = side) -> float:
            return float(np.mean([r[figure] for r in rows if r["side"] == side and r["choice"] == of]))

        (near, theirs), (covers, covered) = ((mean(f, PRODUCT), mean(f, name)) for f in ("frechet_ratio", "recall"))
        told = f"Fréchet ratio {theirs:.2f} against {near:.2f}, recall {covered:.3f} against {covers:.3f}"
        found.append(Bar(f"{name}, {side} px", "not better in both", told, theirs >= near or covered <= covers))
    return found


def main() -> int:
    args = options(__doc__, seeds=3, budget=60.0)
    small = digits(SIDE)
    rows = [r for seed in range(args.seeds) for r in rows_of(small, args.budget, seed, CHOICES, AVERAGES)]
    large = letters(glyphs(LARGE_SIDE), num_test=NUM_LARGE_TEST, steps=1500)
    rows += rows_of(large, LARGE_SECONDS * args.budget / 60.0, 0, GAMMAS, {})
    tables = {"Every run": at_the_end(rows, "planned", "aug_p", "weights")}
    return publish("engine_choices", args.claim, bars(rows), tables, [], store=args.whole)


if __name__ == "__main__":
    sys.exit(main())
