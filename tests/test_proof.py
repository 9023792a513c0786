"""The statistics and verdicts of `prove`: against closed forms, SciPy, slow references and simulated experiments."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmint.core.errors import UserError
from augmint.evaluation import paired, proof
from augmint.evaluation.arms import Arm

ARMS = [
    Arm("real", "real samples only", "base", augmented=False),
    Arm("classic", "+ classic", "classic"),
    Arm("synthetic", "+ synthetic", "synthetic", filler="synthetic", share=0.5),
    Arm("consistency", "consistency training on the pool", "control", method="consistency"),
]


def answers(g, ability, num_seeds, difficulty):
    """Simulated correctness: each probe has its own ability, each test item its own difficulty."""
    seed = 0.15 * g.standard_normal((num_seeds, 1))
    return g.random((num_seeds, len(difficulty))) < 1 / (1 + np.exp(-(ability + seed + difficulty)))


# --- statistics


def test_p_is_that_of_a_paired_t_test_where_all_scatter_is_between_seeds():
    """Every seed gains or loses the same share of many items: what is left is a t test over seeds."""
    from scipy.stats import ttest_1samp

    gains = np.array([30, 55, 10, 42, 25, 60, 38, 20])
    b = np.zeros((8, 4000), bool)
    a = np.arange(4000) < gains[:, None] * 10
    shuffled = np.stack([np.random.default_rng(s).permutation(row) for s, row in enumerate(a)])
    found = paired.Resamples(np.zeros(4000, np.int64), 8).effect(shuffled, b)
    assert found.p == pytest.approx(ttest_1samp(gains, 0).pvalue, rel=0.15)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.floats(0, 0.5), st.integers(3, 12), st.sampled_from([30, 100, 400]))
def test_p_and_the_interval_say_the_same(seed, lift, num_seeds, num_test):
    g = np.random.default_rng(seed)
    difficulty = g.standard_normal(num_test)
    a, b = answers(g, 1 + lift, num_seeds, difficulty), answers(g, 1.0, num_seeds, difficulty)
    found = paired.Resamples(np.zeros(num_test, np.int64), num_seeds).effect(a, b)
    apart = found.ci95[0] > 0 or found.ci95[1] < 0
    assert (found.p < 0.05) == apart or 0.02 < found.p < 0.1  # skewness moves the interval a little


def test_holm_equals_the_textbook():
    assert paired.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert paired.holm([]) == []


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_order_and_lies_between_p_and_bonferroni(p):
    out = np.array(paired.holm(p))
    assert (out >= np.array(p)).all() and (out <= np.minimum(1, np.array(p) * len(p)) + 1e-12).all()
    assert (np.diff(out[np.argsort(p, kind="stable")]) >= 0).all()


def test_variance_is_that_of_the_crossed_model():
    """Against the analysis of variance of a two-way table without replication, written out by hand."""
    g = np.random.default_rng(2)
    a, b = answers(g, 1.0, 6, g.standard_normal(40) * 2), answers(g, 0.0, 6, g.standard_normal(40) * 2)
    d = a.astype(float) - b
    s, n = d.shape
    ms_seed = n * ((d.mean(1) - d.mean()) ** 2).sum() / (s - 1)
    ms_item = s * ((d.mean(0) - d.mean()) ** 2).sum() / (n - 1)
    rest = d - d.mean(0) - d.mean(1, keepdims=True) + d.mean()
    ms_pair = (rest**2).sum() / (s - 1) / (n - 1)
    parts, variance, _ = paired.Resamples(np.zeros(n, int), s)._variance(d, d.mean(1))
    assert parts[2] == pytest.approx(ms_pair)
    assert parts[1] == pytest.approx(max(ms_item - ms_pair, 0) / s)
    assert parts[0] == pytest.approx(max(ms_seed - ms_pair, 0) / n)
    assert variance == pytest.approx(max(ms_seed + max(ms_item - ms_pair, 0), ms_item) / (s * n))


def test_no_interval_goes_beyond_what_a_difference_of_shares_can_be():
    y = np.array([0, 1, 0, 1])
    right = np.random.default_rng(0).random((3, 4)) < 0.5
    for a, b in ((right, None), (right, ~right), (np.ones_like(right), np.zeros_like(right))):
        found = paired.Resamples(y, 3).effect(a, b)
        low, high = found.ci95
        assert (0 if b is None else -100) <= low <= found.effect <= high <= 100


def test_interval_equals_student_where_items_do_not_vary():
    """All items alike within a seed: only the seeds are random, and the interval is about that of the t test."""
    from scipy.stats import t

    share = np.array([0.52, 0.55, 0.50, 0.58, 0.54, 0.49, 0.56, 0.53])
    g = np.random.default_rng(3)
    n = 8_000
    a = np.stack([g.permutation(n) < v * n for v in share])
    found = paired.Resamples(np.zeros(n, int), 8).effect(a, np.zeros_like(a))
    half = 100 * t.ppf(0.975, 7) * share.std(ddof=1) / np.sqrt(8)
    assert found.effect == pytest.approx(100 * share.mean(), abs=0.01)
    assert (found.ci95[1] - found.ci95[0]) / 2 == pytest.approx(half, rel=0.08)


def test_balanced_weighs_classes_alike():
    y = np.array([0] * 90 + [1] * 10)
    right = np.repeat((y == 0)[None], 4, 0)
    draws = paired.Resamples(y, 4, balanced=True)
    assert draws.effect(right).effect == pytest.approx(50)
    assert paired.Resamples(y, 4).effect(right).effect == pytest.approx(90)
    for c, n in ((0, 90), (1, 10)):
        assert (draws.items[:, y == c].sum(1) == n).all()


@pytest.mark.parametrize("n", [10, 100])
def test_identical_answers_prove_as_much_as_the_test_part_holds(n):
    same = np.ones((10, n), bool)
    found = paired.Resamples(np.zeros(n, int), 10).effect(same, same)
    assert found.effect == 0 and found.p == 1
    assert found.ci95[1] == pytest.approx(100 * 2 / n * 2**0.5, rel=0.15)  # the "rule of three": about 3 / n
    assert proof.decide(found.ci95, 1.0) == "NOT ENOUGH EVIDENCE"


def verdict_counts(runs, num_seeds, num_test, lift, *, balanced=False):
    g = np.random.default_rng(num_test + num_seeds)
    difficulty = 2.5 * g.standard_normal(num_test) + 3.2
    y = g.integers(0, 5, num_test)
    draws = paired.Resamples(y, num_seeds, balanced=balanced)
    pairs = ((answers(g, lift, num_seeds, difficulty), answers(g, 0, num_seeds, difficulty)) for _ in range(runs))
    return Counter(proof.decide(draws.effect(a, b).ci95, 1.0) for a, b in pairs)


@pytest.mark.parametrize(("num_seeds", "num_test", "balanced"), [(10, 400, False), (10, 300, True), (5, 400, False)])
def test_no_difference_is_rarely_called_one(num_seeds, num_test, balanced):
    found = verdict_counts(300, num_seeds, num_test, 0.0, balanced=balanced)
    assert 0.01 <= (found["HELPS"] + found["HURTS"]) / 300 <= 0.065


def test_a_planted_effect_is_found():
    assert verdict_counts(60, 10, 897, 0.4)["HELPS"] >= 54
    assert verdict_counts(60, 10, 897, -0.4)["HURTS"] >= 54


def test_smallest_provable_falls_with_items_and_seeds_and_is_found_four_times_in_five():
    by_items = [paired.smallest_provable(n, 10) for n in (10, 30, 100, 300, 1000, 10_000)]
    assert by_items == sorted(by_items, reverse=True)
    assert paired.smallest_provable(300, 20) < paired.smallest_provable(300, 5)
    g, seeds, items = np.random.default_rng(5), 10, 600
    least = paired.smallest_provable(items, seeds) / 100
    sd = [v**0.5 for v in paired._TYPICAL]
    draws, found = paired.Resamples(np.zeros(items, int), seeds), 0
    for _ in range(100):  # the terms as assumed; correctness itself is not needed for the interval
        d = least + sd[0] * g.standard_normal((seeds, 1)) + sd[1] * g.standard_normal(items)
        found += draws.effect(d + sd[2] * g.standard_normal((seeds, items)), np.zeros((seeds, items))).ci95[0] > 0
    assert 70 <= found <= 90


def test_needed_settles_what_it_promises():
    found = paired.Effect(0.9, (-0.4, 2.2), 0.1, (3e-4, 0.001, 0.06), 5, 897)
    lacking = paired.needed(found, 1.0)
    assert lacking.seeds is not None and lacking.seeds > 5
    assert paired._half_width(found.parts, lacking.seeds, 897, power=True) <= 0.9
    assert paired._half_width(found.parts, lacking.seeds - 1, 897, power=True) > 0.9
    only_items = paired.needed(paired.Effect(0.5, (-2, 3), 0.1, (0.0, 0.02, 0.06), 10, 600), 1.0)
    assert only_items.seeds is None and only_items.test_items is not None and only_items.test_items > 1000


# --- verdicts


@settings(deadline=None)
@given(st.floats(-20, 20), st.floats(0, 20), st.floats(0.01, 5))
def test_verdict_rule(low, width, margin):
    high = low + width
    got = proof.decide((low, high), margin)
    wanted = (
        "HELPS"
        if low > 0
        else "HURTS"
        if high < 0
        else "NO DIFFERENCE"
        if abs(low) <= margin and abs(high) <= margin
        else "NOT ENOUGH EVIDENCE"
    )
    assert got == wanted
    mirror = {"HELPS": "HURTS", "HURTS": "HELPS"}
    assert proof.decide((-high, -low), margin) == mirror.get(got, got)


def made(num_seeds=10, num_test=500, lifts=(0.0, 1.0, 1.0, 2.0), seed=0):
    """Predictions of the four arms with abilities ``lifts``, over 4 classes."""
    g = np.random.default_rng(seed)
    y = np.sort(g.integers(0, 4, num_test))
    difficulty = 2 * g.standard_normal(num_test) + 1
    right = {a.name: answers(g, v, num_seeds, difficulty) for a, v in zip(ARMS, lifts, strict=True)}
    return {name: np.where(r, y, (y + 1) % 4) for name, r in right.items()}, y


def test_judge_answers_both_questions_in_plain_words():
    predictions, y = made(lifts=(0.0, 1.2, 0.2, 2.2))
    got = proof.judge(predictions, y, ARMS, regime="pool", told=proof.Told(classes=list("abcd"), costs={"real": 1.234}))
    assert [(v["question"], v["verdict"]) for v in got.verdicts] == [("classic", "HELPS"), ("synthetic", "HURTS")]
    assert got.verdict("synthetic") == "HURTS" and got.share == 0.5
    assert got.sentences[0].startswith("HELPS: classic augmentation raises accuracy by ")
    assert "lowers accuracy" in got.sentences[1] and "500 test samples" in got.sentences[1]
    assert any("train on it directly" in line for line in got.advice)
    assert any(line == "Train without the synthetic samples: proven to hurt here." for line in got.advice)
    mean = {a["name"]: a["mean"] for a in got.arms}
    assert mean["real"] == pytest.approx(100 * (predictions["real"] == y).mean(), abs=1e-3)
    assert np.mean(got.arms[0]["per_seed"]) == pytest.approx(mean["real"], abs=1e-3)
    assert got.verdicts[0]["effect"] == pytest.approx(mean["classic"] - mean["real"], abs=2e-3)
    assert got.arms[0]["cost_s"] == 1.23 and got.arms[1]["cost_s"] is None


def test_proof_goes_through_json_and_makes_a_table():
    predictions, y = made()
    got = proof.judge(predictions, y, ARMS, regime="pool")
    again = proof.Proof.from_dict(json.loads(json.dumps(got.to_dict(), allow_nan=False)))
    assert again.to_dict() == json.loads(json.dumps(got.to_dict()))
    table = again.table
    assert list(table["name"]) == [a.name for a in ARMS]
    assert (table["low"] <= table["mean"]).all() and (table["mean"] <= table["high"]).all()
    with pytest.raises(UserError, match="not a proof"):
        proof.Proof.from_dict({"x": 1})
    rows = {(c["a"], c["b"]) for c in got.comparisons}
    assert rows == {("consistency", "classic"), ("synthetic", "consistency"), ("synthetic", "real")}
    assert all(c["p_holm"] >= c["p"] for c in got.comparisons)
    assert [r["n"] for r in got.per_class] == list(np.bincount(y))


def test_the_same_input_gives_the_same_proof():
    predictions, y = made()
    one, two = (proof.judge(predictions, y, ARMS, regime="pool") for _ in range(2))
    assert one.to_dict() == two.to_dict()


def test_not_enough_evidence_says_what_would_be():
    predictions, y = made(num_seeds=3, num_test=40, lifts=(0, 0.1, 0.2, 0.3))
    got = proof.judge(predictions, y, ARMS, regime="pool")
    verdict = got.verdicts[1]
    assert verdict["verdict"] == "NOT ENOUGH EVIDENCE" and any(verdict["needed"].values())
    assert "to settle it would take about" in verdict["sentence"]


def test_registered_experiments_cannot_be_exchanged():
    predictions, y = made()
    entry = proof.register(ARMS, y, regime="pool", margin=1.0, num_seeds=10)
    assert entry["plan"]["primary"] == [["classic", "classic", "real"], ["synthetic", "synthetic", "classic"]]
    got = proof.judge(predictions, y, ARMS, regime="pool", registered=json.loads(json.dumps(entry)))
    assert got.registered["sha256"] == entry["sha256"]
    for change in ({"margin": 3.0}, {"regime": "closed"}):
        with pytest.raises(UserError, match="registered"):
            proof.judge(predictions, y, ARMS, **{"regime": "pool", "margin": 1.0, **change}, registered=entry)


def test_imbalance_is_judged_on_balanced_accuracy_against_the_strong_baseline():
    arms = [*ARMS[:2], Arm("sqrt_adjusted", "sqrt", "classic", sampling="sqrt", adjust=True), ARMS[2]]
    y = np.array([0] * 90 + [1] * 10)
    predictions = {a.name: np.zeros((5, 100), int) for a in arms}
    predictions["synthetic"] = np.tile(y, (5, 1))
    got = proof.judge(predictions, y, arms, regime="imbalance")
    assert got.metric == "balanced accuracy" and got.verdicts[1]["b"] == "sqrt_adjusted"
    assert got.arms[0]["mean"] == 50 and got.verdicts[1]["effect"] == 50


def test_no_task_and_bad_input():
    got = proof.no_task("the samples have no labels")
    assert {v["verdict"] for v in got.verdicts} == {"NO TASK"} and len(got.table) == 0
    assert "no labels" in got.sentences[0]
    json.dumps(got.to_dict(), allow_nan=False)
    predictions, y = made()
    with pytest.raises(UserError, match="no predictions of: synthetic"):
        proof.judge({k: v for k, v in predictions.items() if k != "synthetic"}, y, ARMS, regime="pool")
    with pytest.raises(UserError, match="shapes"):
        proof.judge(predictions, y[:-1], ARMS, regime="pool")
    with pytest.raises(UserError, match="seed"):
        proof.judge({k: v[:1] for k, v in predictions.items()}, y, ARMS, regime="pool")


def test_weak_classes_are_named():
    predictions, y = made()
    predictions["classic"][:, y == 2] = 3
    predictions["synthetic"][:, y == 2] = 3
    got = proof.judge(predictions, y, ARMS, regime="pool", told=proof.Told(classes=["cat", "dog", "hen", "owl"]))
    assert any("Class 'hen'" in line for line in got.advice)


def test_a_verifier_that_beats_the_set_is_recommended():
    predictions, y = made()
    arms = [*ARMS, Arm("verifier", "the verifier as classifier", "control", method="verifier")]
    assert not any("as_backbone" in line for line in proof.judge(predictions, y, ARMS, regime="pool").advice)
    for ability, wanted in ((y, True), (np.zeros_like(y), False)):
        predictions["verifier"] = np.tile(ability, (10, 1))
        got = proof.judge(predictions, y, arms, regime="pool")
        assert any("as_backbone" in line for line in got.advice) == wanted
