"""Properties that verdicts must have whatever the results are: tables of results made up by hypothesis."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from augmint.evaluation import proof
from augmint.evaluation.arms import Arm

ARMS = [
    Arm("real", "real samples only", "base", augmented=False),
    Arm("classic", "+ classic", "classic"),
    Arm("synthetic", "+ synthetic", "synthetic", filler="synthetic", share=0.5),
    Arm("duplicates", "+ copies", "control", filler="duplicates", share=0.5),
]
WORDS = {"HELPS", "NO DIFFERENCE", "HURTS", "NOT ENOUGH EVIDENCE"}


@st.composite
def results(draw):
    """Predictions of four arms of any quality, from never right to always right, over 2 to 4 classes."""
    num_seeds, num_test = draw(st.integers(2, 8)), draw(st.integers(1, 80))
    g = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_classes = draw(st.integers(2, 4))
    y = g.integers(0, num_classes, num_test)
    level = [draw(st.sampled_from([0.0, 0.3, 0.7, 0.9, 1.0])) for _ in ARMS]
    right = {a.name: g.random((num_seeds, num_test)) < v for a, v in zip(ARMS, level, strict=True)}
    return {k: np.where(r, y, (y + 1) % num_classes) for k, r in right.items()}, y


regimes = st.sampled_from(["closed", "pool"])
quick = settings(deadline=None, max_examples=15)


@quick
@given(results(), regimes, st.floats(0.1, 5))
def test_a_verdict_is_what_its_interval_says(found, regime, margin):
    predictions, y = found
    got = proof.judge(predictions, y, ARMS, regime=regime, margin=margin)
    json.dumps(got.to_dict(), allow_nan=False)
    assert len(got.verdicts) == 2
    for v in got.verdicts:
        low, high = v["ci95"]
        assert low <= v["effect"] <= high and 0 < v["p"] <= 1 and v["verdict"] in WORDS
        assert v["sentence"].startswith(v["verdict"] + ":")
        if v["verdict"] in ("HELPS", "HURTS"):
            assert (v["effect"] > 0) == (v["verdict"] == "HELPS") and low * high >= 0
        assert (v["needed"] is not None) == (v["verdict"] == "NOT ENOUGH EVIDENCE")
    with_synthetic = got.verdict("synthetic") == "HELPS"
    assert with_synthetic == any(line.startswith("Train with the synthetic samples") for line in got.advice)
    assert with_synthetic != any(line.startswith("Train without the synthetic samples") for line in got.advice)
    leaves_classic = any(line.startswith("Train without classic") for line in got.advice)
    assert leaves_classic == (got.verdict("classic") != "HELPS" and not with_synthetic)


def test_a_lift_that_copies_reach_too_is_not_said_to_be_what_is_new():
    """400 test samples, 8 seeds; the synthetic arm is right on 60 more than the classic one."""
    y = np.zeros(400, np.int64)
    answers = {
        name: np.tile((np.arange(400) >= num_right).astype(np.int64), (8, 1))
        for name, num_right in (("real", 200), ("classic", 300), ("synthetic", 360))
    }
    for copies, wanted in (("classic", False), ("synthetic", True)):
        got = proof.judge(answers | {"duplicates": answers[copies]}, y, ARMS, regime="closed")
        assert got.verdict("synthetic") == "HELPS"
        assert any("as many copies of real samples" in line for line in got.advice) == wanted


def test_a_lift_over_an_arm_that_is_worse_than_nothing_is_said_to_be_that():
    """400 test samples, 8 seeds: right on 360, 300 and 360 of them, or on 300, 300 and 360."""
    y = np.zeros(400, np.int64)
    for alone, wanted in ((360, True), (300, False)):
        rights = {"real": alone, "classic": 300, "synthetic": 360, "duplicates": 300}
        answers = {k: np.tile((np.arange(400) >= n).astype(np.int64), (8, 1)) for k, n in rights.items()}
        got = proof.judge(answers, y, ARMS, regime="closed")
        assert got.verdict("synthetic") == "HELPS"
        assert any(line.startswith("Over the real samples alone") for line in got.advice) == wanted


@quick
@given(results())
def test_exchanged_arms_exchange_the_verdict(found):
    predictions, y = found
    turned = predictions | {"classic": predictions["synthetic"], "synthetic": predictions["classic"]}
    one, two = (proof.judge(p, y, ARMS, regime="pool").verdicts[1] for p in (predictions, turned))
    assert one["effect"] == -two["effect"] and one["p"] == two["p"]
    assert np.allclose(one["ci95"], [-v for v in reversed(two["ci95"])], atol=2e-3)
    mirror = {"HELPS": "HURTS", "HURTS": "HELPS"}
    assert two["verdict"] == mirror.get(one["verdict"], one["verdict"])


@quick
@given(results())
def test_equal_answers_are_never_a_difference(found):
    predictions, y = found
    got = proof.judge(predictions | {"synthetic": predictions["classic"]}, y, ARMS, regime="pool")
    assert got.verdicts[1]["effect"] == 0 and got.verdicts[1]["verdict"] in ("NO DIFFERENCE", "NOT ENOUGH EVIDENCE")


@quick
@given(results())
def test_controls_do_not_move_a_verdict(found):
    """Fewer or other arms beside the primary ones: the same verdicts to the last digit."""
    predictions, y = found
    whole, few = (proof.judge(predictions, y, arms, regime="pool") for arms in (ARMS, ARMS[:3]))
    assert whole.verdicts == few.verdicts
    other = proof.judge(predictions | {"duplicates": np.tile(y, (len(predictions["real"]), 1))}, y, ARMS, regime="pool")
    assert other.verdicts == whole.verdicts


@quick
@given(results(), st.floats(0.1, 2), st.floats(0, 5))
def test_a_wider_margin_only_settles_more(found, margin, more):
    predictions, y = found
    one, two = (proof.judge(predictions, y, ARMS, regime="pool", margin=m) for m in (margin, margin + more))
    for v, w in zip(one.verdicts, two.verdicts, strict=True):
        assert w["verdict"] == v["verdict"] or (v["verdict"], w["verdict"]) == ("NOT ENOUGH EVIDENCE", "NO DIFFERENCE")


@quick
@given(results(), st.integers(0, 99))
def test_the_names_of_the_classes_do_not_matter(found, seed):
    predictions, y = found
    new = np.random.default_rng(seed).permutation(4)
    renamed = proof.judge({k: new[v] for k, v in predictions.items()}, new[y], ARMS, regime="pool")
    assert renamed.verdicts == proof.judge(predictions, y, ARMS, regime="pool").verdicts
