"""Curation: exact counts, a reason for everything, and no filter that has not proven itself."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from augmint.core.errors import UserError
from augmint.evaluation.features import pixel_features
from augmint.evaluation.metrics import curation_judge
from augmint.generation.curate import curate


def always_better(indices: np.ndarray, resample: int) -> dict[str, float]:
    """A judge for whom the two choices differ by their sum: the test says which is better by where it puts weight."""
    return {"frechet": float(np.mean(indices)) + 0.0 * resample, "recall": 1.0}


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 150),
    classes=st.integers(1, 4),
    keep=st.floats(0.05, 1.0),
    asked=st.one_of(st.none(), st.integers(0, 30)),
    seed=st.integers(0, 999),
    judged=st.booleans(),
)
def test_every_candidate_is_kept_or_has_a_reason(
    n: int, classes: int, keep: float, asked: int | None, seed: int, judged: bool
) -> None:
    rng = np.random.default_rng(seed)
    prob, y = rng.uniform(size=n), rng.integers(0, classes, n)
    flagged, x = rng.uniform(size=n) < 0.1, rng.integers(-1, 2, size=(n, 1, 3)).astype(np.float32)
    want = None if asked is None else dict.fromkeys(range(classes), asked)
    found = curate(prob, y, flagged, x, keep=keep, want=want, seed=seed, judge=always_better if judged else None)
    assert sorted([*found.kept.tolist(), *found.reasons]) == list(range(n))
    assert all((found.reasons.get(i) == "memorised") == bool(flagged[i]) for i in range(n))
    clean = [i for i in range(n) if found.reasons.get(i) not in ("memorised", "duplicate")]
    have, there = Counter(y[found.kept].tolist()), Counter(y[clean].tolist())
    target = want or {c: round(keep * k) for c, k in Counter(y.tolist()).items()}
    for c, number in target.items():
        assert have[c] == min(number, there[c])
        assert found.missing.get(c, 0) == number - have[c]
    shown = {x[i].tobytes() for i in found.kept}
    assert len(shown) == len(found.kept)
    if not found.applied:
        assert "verifier" not in found.reasons.values() and found.why
    assert sum(found.to_dict()["reasons"].values()) == len(found.reasons)


def distinct(n: int) -> np.ndarray:
    return np.random.default_rng(5).uniform(-1, 1, size=(n, 1, 4, 4)).astype(np.float32)


def lower_is_better(indices: np.ndarray, resample: int) -> dict[str, float]:
    noise = float(np.random.default_rng(resample).normal())  # the same for both choices: paired
    return {"frechet": 100.0 + noise + float(np.mean(indices)) / 100, "recall": 0.9}


def test_rejection_keeps_the_density_ratio() -> None:
    """With r = 1 for half and r = 3 for the others (a quarter may pass), the odds of passing are 1 to 3."""
    n = 20_000
    prob = np.where(np.arange(n) % 2, 0.75, 0.5)
    x = np.arange(n, dtype=np.float32).reshape(n, 1) / n
    x = np.concatenate([np.rint(x * n / 200) / 127.5, np.mod(x * n, 200) / 127.5], 1)
    found = curate(prob, np.zeros(n, int), np.zeros(n, bool), x, keep=0.25, judge=judge_by(prob))
    assert found.applied
    odd = np.mean(found.kept % 2)
    assert odd == pytest.approx(0.75, abs=0.02)


def judge_by(prob: np.ndarray):  # type: ignore[no-untyped-def]
    return lambda indices, resample: {"frechet": 10 - float(prob[indices].mean()), "recall": 0.9}


def test_variety_survives_where_a_top_cut_would_kill_it() -> None:
    prob = np.linspace(0.3, 0.7, 1000)
    found = curate(prob, np.zeros(1000, int), np.zeros(1000, bool), distinct(1000), keep=0.5, judge=judge_by(prob))
    assert found.applied
    below = np.mean(prob[found.kept] < 0.5)
    assert 0.25 < below < 0.45  # a top half would have none


def test_no_judge_no_filter() -> None:
    found = curate(np.linspace(0, 1, 100), np.zeros(100, int), np.zeros(100, bool), distinct(100), keep=0.5)
    assert not found.applied and "held out" in found.why and len(found.kept) == 50
    assert set(found.reasons.values()) == {"surplus"}


@pytest.mark.parametrize(
    ("gain", "noise", "recall", "applied"), [(1.0, 0.1, 0.0, True), (0.1, 1.0, 0.0, False), (1.0, 0.1, -0.05, False)]
)
def test_the_filter_must_prove_itself(gain: float, noise: float, recall: float, applied: bool) -> None:
    """Better beyond the interval and without loss of recall, or not at all."""
    prob = np.tile([0.1, 0.9], 200)

    def judge(indices: np.ndarray, resample: int) -> dict[str, float]:
        filtered = prob[indices].mean() > 0.6
        luck = noise * np.random.default_rng((resample, bool(filtered))).normal()
        return {"frechet": 5.0 - gain * filtered + luck, "recall": 0.8 + recall * filtered}

    found = curate(prob, np.zeros(400, int), np.zeros(400, bool), distinct(400), keep=0.5, judge=judge)
    assert found.applied is applied
    assert found.before and found.after
    assert ("verifier" in found.reasons.values()) is applied
    assert len(found.kept) == 200


def digits_with_rubbish() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """600 candidates, a third of them noise over a digit; 600 reals of a third split."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.images))
    x, y = (data.images[order, None] / 8 - 1).astype(np.float32), data.target[order].astype(np.int64)
    bad = np.arange(600) % 3 == 0
    fake = x[:600].copy()
    fake[bad] += np.random.default_rng(1).normal(size=(200, 1, 8, 8)).astype(np.float32)
    return fake.clip(-1, 1), y[:600], bad, x[600:1200]


def test_on_digits_a_good_verifier_is_used_and_a_blind_one_is_not() -> None:
    fake, y, bad, real = digits_with_rubbish()
    see = pixel_features()
    judge = curation_judge(see(fake), see(real))
    rng = np.random.default_rng(2)
    clear = np.where(bad, 0.05, 0.6) + 0.05 * rng.uniform(size=600)
    want = dict.fromkeys(range(10), 30)
    good = curate(clear, y, np.zeros(600, bool), fake, keep=0.6, want=want, judge=judge)
    assert good.applied and good.after["frechet"] < good.before["frechet"]
    assert bad[good.kept].mean() < 0.1
    assert Counter(y[good.kept].tolist()) == dict.fromkeys(range(10), 30)
    blind = curate(rng.uniform(0.2, 0.8, 600), y, np.zeros(600, bool), fake, keep=0.6, want=want, judge=judge)
    assert not blind.applied
    assert Counter(y[blind.kept].tolist()) == dict.fromkeys(range(10), 30)


def test_odd_input() -> None:
    one = (np.full(3, 0.5), np.zeros(3, int), np.zeros(3, bool), distinct(3))
    with pytest.raises(UserError, match="do not match"):
        curate(one[0][:2], *one[1:])
    with pytest.raises(UserError, match="keep is 0"):
        curate(*one, keep=0.0)
    nothing = curate(np.zeros(0), np.zeros(0, int), np.zeros(0, bool), distinct(0), want={0: 5})
    assert len(nothing.kept) == 0 and nothing.missing == {0: 5}
    certain = curate(np.array([0.0, 1.0, 1.0]), *one[1:], keep=1.0, judge=lower_is_better)
    assert len(certain.kept) == 3
