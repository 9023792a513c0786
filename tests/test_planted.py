"""Verdicts on answers of real probes, kept in a file: a planted effect of known size, and none at all.

The file holds, of 200 probe seeds on 897 digits, which answers were right with 6 and with 8 labelled images a class
(`benchmarks/planted.py`); each experiment here draws 10 of the seeds.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from augmint.evaluation.paired import Resamples
from augmint.evaluation.proof import decide

SEEDS = 10


@pytest.fixture(scope="module")
def answers():
    with np.load(Path(__file__).parent / "planted.npz", allow_pickle=False) as kept:
        shape = tuple(kept["shape"])
        return {k: np.unpackbits(kept[k], count=shape[0] * shape[1]).reshape(shape) > 0 for k in ("few", "more")}


def verdicts(a, b, runs, *, paired):
    """Verdicts of experiments of 10 seeds; unpaired ones take other seeds for the second arm."""
    g, draws = np.random.default_rng(0), Resamples(np.zeros(a.shape[1], int), SEEDS)
    found = Counter()
    for _ in range(runs):
        pick = g.permutation(len(a))
        other = pick[:SEEDS] if paired else pick[SEEDS : 2 * SEEDS]
        found[decide(draws.effect(a[pick[:SEEDS]], b[other]).ci95, 1.0)] += 1
    return found


def test_a_planted_effect_is_found(answers):
    true = 100 * (answers["more"].mean() - answers["few"].mean())
    assert 1.5 < true < 3.5
    found = verdicts(answers["more"], answers["few"], 60, paired=True)
    assert found["HELPS"] >= 54, (true, found)
    assert verdicts(answers["few"], answers["more"], 20, paired=True)["HURTS"] >= 18


@pytest.mark.slow
@pytest.mark.parametrize("name", ["few", "more"])
def test_the_same_data_in_both_arms_rarely_differ(answers, name):
    found = verdicts(answers[name], answers[name], 1000, paired=False)
    assert 10 <= found["HELPS"] + found["HURTS"] <= 65, found
