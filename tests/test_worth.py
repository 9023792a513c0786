"""What an effect is worth in labelled samples: against predictions built so that the answer is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmint.evaluation import proof, worth
from augmint.evaluation.arms import Arm
from augmint.evaluation.paired import Resamples

BEST = Arm("classic", "+ classic", "classic")
ARMS = [
    Arm("real", "real samples only", "base", augmented=False),
    BEST,
    Arm("synthetic", "+ synthetic", "synthetic", filler="synthetic", share=0.5),
    Arm("reals_50%", "", "control", part=0.5, curve="reals"),
    Arm("reals_75%", "", "control", part=0.75, curve="reals"),
]
LABELLED = {"classic": np.full(4, 20), "reals_50%": np.full(4, 10), "reals_75%": np.full(4, 15)}


def table(level, *, num_test=2000, num_seeds=10, seed=0, noise=0.004):
    """Right or wrong ``[S, N]`` at about this level; items have a difficulty that every arm shares."""
    difficulty = (np.arange(num_test) + 0.5) / num_test
    jitter = noise * np.random.default_rng(seed).standard_normal((num_seeds, num_test))
    return difficulty + jitter < level


def predictions(times, *, exponent=0.3, **more):
    """The error is ``.2 (n / 80)^-exponent``; synthetic samples do what ``times`` the labels would."""
    level = {name: 1 - 0.2 * (n.sum() / 80) ** -exponent for name, n in LABELLED.items()}
    level |= {"real": 0.7, "synthetic": 1 - 0.2 * times ** -abs(exponent or 0.3)}
    y = np.arange(2000) % 4
    right = {k: table(v, seed=i, **more) for i, (k, v) in enumerate(sorted(level.items()))}
    return {k: np.where(r, y, (y + 1) % 4) for k, r in right.items()}, y


def judged(found, y, arms=ARMS):
    return proof.judge(found, y, arms, regime="pool", told=proof.Told(labelled=LABELLED))


@pytest.mark.parametrize("wanted", [5.0, 10.0, 20.0])
def test_the_worth_of_a_planted_effect_is_recovered(wanted):
    got = judged(*predictions(1 + wanted / 20))
    found = got.more_real
    assert found["worth"]["k"] == pytest.approx(wanted, rel=0.12)
    low, high = found["worth"]["ci95"]
    assert low < wanted < high and found["worth"]["per_class"]
    assert [p["num_real"] for p in found["points"]] == [40, 60, 80]
    assert found["doubling"]["effect"] == pytest.approx(20 * (1 - 2**-0.3), rel=0.1)
    assert any(f"about {found['worth']['k']:.1f} more labelled samples a class" in line for line in got.advice)
    json.dumps(got.to_dict(), allow_nan=False)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99, 1.0])
def test_more_labels_never_promise_more_than_the_error_that_is_left(level):
    """The fewer, the much worse: a line of accuracies would end above 100 %."""
    y = np.arange(400) % 4
    right = {"classic": table(level, num_test=400), "reals_75%": table(level - 0.2, num_test=400, seed=1)}
    right |= {"reals_50%": table(level - 0.4, num_test=400, seed=2)}
    right |= {"real": right["reals_50%"], "synthetic": right["classic"]}
    doubling = judged({k: np.where(r, y, (y + 1) % 4) for k, r in right.items()}, y).more_real["doubling"]
    assert 0 < doubling["effect"] <= 100 - 100 * level + 0.13, "half a test sample in 400, where no error is left"
    assert doubling["ci95"][1] <= 100


def test_an_effect_of_nothing_is_worth_nothing():
    got = judged(*predictions(1.0))
    low, high = got.more_real["worth"]["ci95"]
    assert low < 0 < high and abs(got.more_real["worth"]["k"]) < 1.5
    assert any("As many labelled samples again (80 more)" in line for line in got.advice)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"exponent": 0.0}, "does not measurably fall"),
        ({"exponent": -0.3}, "does not measurably fall"),
        ({"exponent": 0.2, "times": 6.0}, "beyond what was measured"),
    ],
)
def test_where_it_cannot_be_said_it_says_why(change, why):
    found = judged(*predictions(**({"times": 1.6} | change))).more_real
    assert found["worth"] is None and why in found["why"]


def test_no_effect_and_no_slope_are_worth_nothing_and_warn_of_nothing():
    found = worth._ratio(np.array([0.0, 0.0, 0.1, -0.1]), np.array([0.5, 0.0, 0.0, -1.0]))
    assert found.tolist() == [0, 0, worth._FARTHEST, -worth._FARTHEST]


def test_without_the_arms_there_is_no_worth():
    found, y = predictions(1.6)
    alone = judged(found, y, ARMS[:3])
    assert alone.more_real["worth"] is None and "fewer labelled reals" in alone.more_real["why"]
    assert alone.share_curve == [] and len(alone.more_real["points"]) == 1
    without = judged(found, y, [*ARMS[:2], *ARMS[3:]])
    assert without.more_real["worth"] is None and "no synthetic" in without.more_real["why"]


def test_points_of_a_curve_stand_in_no_table():
    found, y = predictions(1.6)
    arms = [*ARMS, Arm("share_25%", "", "synthetic", filler="synthetic", share=0.25, curve="share")]
    got = judged(found | {"share_25%": found["classic"]}, y, arms)
    assert {a["name"] for a in got.arms} == {"real", "classic", "synthetic"} and got.share == 0.5
    assert not {"reals_50%", "reals_75%", "share_25%"} & ({c["a"] for c in got.comparisons} | set(got.per_class[0]))
    assert [row["share"] for row in got.share_curve] == [0.0, 0.25, 0.5]
    assert got.share_curve[0]["mean"] == got.share_curve[1]["mean"] and got.share_curve[1]["p_holm"] == 1
    assert got.share_curve[2]["mean"] == pytest.approx(100 - 20 * 1.6**-0.3, abs=0.3)


def test_the_slope_is_that_of_a_least_squares_line():
    n, level = np.array([10, 15, 40]), np.array([0.5, 0.7, 0.65])
    assert worth._slope_weights(n) @ level == pytest.approx(np.polyfit(np.log(n), level, 1)[0])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(3, 12), st.integers(20, 200), st.booleans())
def test_draws_have_the_interval_of_the_effect(seed, num_seeds, num_test, balanced):
    """The draws that ratios are made of and the interval of a verdict come from one rule."""
    g = np.random.default_rng(seed)
    y = g.integers(0, 3, num_test)
    a, b = g.random((num_seeds, num_test)) < 0.7, g.random((num_seeds, num_test)) < 0.6
    draws = Resamples(y, num_seeds, balanced=balanced)
    # Points lie between -100 and 100, and so does what is told of them.
    low, high = np.clip(100 * np.quantile(draws.drawn(a.astype(float) - b), [0.025, 0.975]), -100, 100)
    assert (low, high) == pytest.approx(draws.effect(a, b).ci95, abs=1e-6)
