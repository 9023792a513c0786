"""Calibration against hand-made figures and evidence whose true probabilities are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from augmint.generation.calibrate import Calibration, reliability, scores


def evidence(real: bool, n: int, seed: int, columns: int = 20) -> np.ndarray:
    """A raw score that is three times too sure and 1.5 too high, a telling rebuild error, and features of noise."""
    x = np.random.default_rng((seed, real)).normal(size=(n, columns))
    logit = 1.2 * (x[:, 0] + (0.6 if real else -0.6))  # the log odds of N(+.6, 1) against N(-.6, 1)
    x[:, 0] = 3.0 * logit + 1.5
    x[:, 1] += 0.5 * real
    return x


def judged(c: Calibration, n: int = 4000) -> dict[str, float]:
    """How good the probabilities are on fresh evidence."""
    p = c.probability(np.concatenate([evidence(True, n, 900), evidence(False, n, 901)]))
    return scores(p, np.arange(2 * n) < n, np.ones(2 * n))


def test_scores_by_hand() -> None:
    p = np.repeat([0.2, 0.8], 10)
    y = np.r_[np.ones(2), np.zeros(8), np.ones(6), np.zeros(4)].astype(bool)
    found = scores(p, y, np.ones(20))
    assert found["ece"] == pytest.approx(ece_by_hand(p, y))
    assert found["brier"] == pytest.approx(brier_score_loss(y, p))
    assert found["auc"] == pytest.approx(roc_auc_score(y, p))


def ece_by_hand(p: np.ndarray, y: np.ndarray) -> float:
    order = np.argsort(p, kind="stable").reshape(10, -1)  # ten bins of like size
    return float(np.mean([abs(p[i].mean() - y[i].mean()) for i in order]))


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 200), seed=st.integers(0, 999))
def test_bins_hold_everything_once(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, y, w = rng.uniform(size=n), rng.uniform(size=n) < 0.5, rng.uniform(0.1, 1.0, size=n)
    bins = reliability(p, y, w)
    assert sum(b["n"] for b in bins) == n
    assert sum(b["w"] for b in bins) == pytest.approx(1.0)
    assert sum(b["w"] * b["p"] for b in bins) == pytest.approx((w * p).sum() / w.sum())
    assert [b["p"] for b in bins] == sorted(b["p"] for b in bins)
    assert len(bins) <= 10


@pytest.mark.parametrize(("held", "bound"), [(400, 0.03), (50, 0.06)])
def test_calibration_mends_the_raw_score(held: int, bound: float) -> None:
    fits = [Calibration.fit(evidence(True, held, s), evidence(False, 1000, s), seed=s) for s in range(4)]
    fresh = [judged(c) for c in fits]
    raw = [c.report["raw"] for c in fits]
    assert np.mean([f["ece"] for f in fresh]) <= bound
    assert np.mean([r["ece"] for r in raw]) > 0.1
    assert np.mean([f["brier"] for f in fresh]) < np.mean([r["brier"] for r in raw])
    assert np.mean([f["auc"] for f in fresh]) >= 0.8


def test_the_report_is_honest() -> None:
    """What is said of the fit's own folds is what fresh evidence shows, short data included."""
    for held in (60, 300):
        fits = [Calibration.fit(evidence(True, held, s), evidence(False, 600, s), seed=s) for s in range(6)]
        for name, tolerance in (("auc", 0.03), ("brier", 0.02)):
            said = np.mean([c.report["calibrated"][name] for c in fits])
            assert said == pytest.approx(np.mean([judged(c)[name] for c in fits]), abs=tolerance)


def test_a_bent_relation_is_straightened() -> None:
    """Reals whose raw score is Beta(3, 1) and fakes with Beta(1, 1): the odds are ``3 p^2``, from which a slope of the logit
    (scikit-learn's logistic regression) is more than twice as far."""

    def logits(a: float, n: int, seed: int) -> np.ndarray:
        p = np.random.default_rng(seed).beta(a, 1.0, size=(n, 1))
        return np.log(p / (1.0 - p))

    real, fake = logits(3, 4000, 0), logits(1, 4000, 1)
    x = np.linspace(-4.0, 4.0, 101)[:, None]
    odds = 3.0 / (1.0 + np.exp(-x[:, 0])) ** 2
    truth = odds / (1.0 + odds)
    found = Calibration.fit(real, fake, seed=0, num_scores=1).probability(x)
    straight = LogisticRegression().fit(np.concatenate([real, fake]), np.arange(8000) < 4000).predict_proba(x)[:, 1]
    assert np.abs(found - truth).mean() < 0.5 * np.abs(straight - truth).mean()
    assert (np.diff(found) >= 0).all()


def test_noise_features_do_not_drown_the_scores() -> None:
    """130 columns of nothing, 50 reals: still as good as the two columns that tell something."""
    wide = Calibration.fit(evidence(True, 50, 1, 132), evidence(False, 800, 1, 132), seed=0)
    x = np.concatenate([evidence(True, 2000, 5, 132), evidence(False, 2000, 6, 132)])
    assert roc_auc_score(np.arange(4000) < 2000, wide.probability(x)) > 0.79


def test_features_are_used_where_they_tell() -> None:
    def telling(real: bool, seed: int) -> np.ndarray:
        x = evidence(real, 400, seed)
        x[:, 2:8] += 1.0 * real
        return x

    c = Calibration.fit(telling(True, 0), telling(False, 1), seed=0)
    p = c.probability(np.concatenate([telling(True, 2), telling(False, 3)]))
    assert roc_auc_score(np.arange(800) < 400, p) > 0.95


def test_probability_does_not_depend_on_how_many_fakes_there_are() -> None:
    x = np.concatenate([evidence(True, 500, 8), evidence(False, 500, 9)])
    few = Calibration.fit(evidence(True, 400, 0), evidence(False, 400, 0), seed=0).probability(x)
    many = Calibration.fit(evidence(True, 400, 0), evidence(False, 4000, 0), seed=0).probability(x)
    assert abs(few.mean() - many.mean()) < 0.03


def test_useless_evidence_says_one_half() -> None:
    rng = np.random.default_rng(0)
    c = Calibration.fit(rng.normal(size=(300, 8)), rng.normal(size=(300, 8)), seed=0)
    p = c.probability(rng.normal(size=(1000, 8)))
    assert np.abs(p - 0.5).max() < 0.2 and c.report["calibrated"]["brier"] < 0.26


def test_too_few_to_fit() -> None:
    for real, fake in ((9, 50), (50, 9), (0, 20), (3, 0)):
        c = Calibration.fit(evidence(True, real, 0), evidence(False, fake, 0), seed=0)
        assert (c.probability(evidence(True, 7, 1)) == 0.5).all()
        assert len(c.fake_probability) == fake
    assert Calibration.fit(evidence(True, 9, 0), evidence(False, 9, 0), seed=0).report["raw"]["auc"] > 0.5


def test_survives_json_and_repeats() -> None:
    a = Calibration.fit(evidence(True, 60, 0), evidence(False, 90, 0), seed=3)
    b = Calibration.from_dict(json.loads(json.dumps(a.to_dict(), allow_nan=False)))
    x = evidence(True, 40, 5)
    np.testing.assert_allclose(b.probability(x), a.probability(x), rtol=1e-12)
    again = Calibration.fit(evidence(True, 60, 0), evidence(False, 90, 0), seed=3)
    assert (again.probability(x) == a.probability(x)).all()
    assert json.dumps(b.report) == json.dumps(a.report)


def test_constant_and_single_columns() -> None:
    real, fake = evidence(True, 80, 0)[:, :1], evidence(False, 80, 0)[:, :1]
    assert Calibration.fit(real, fake, seed=0).report["calibrated"]["auc"] > 0.75
    flat = Calibration.fit(np.ones((40, 3)), np.ones((40, 3)), seed=0)
    np.testing.assert_allclose(flat.probability(np.ones((4, 3))), 0.5, atol=1e-6)


def test_cross_fitted_probabilities_of_the_fakes_are_not_optimistic() -> None:
    """In-sample the fakes of the fit would look faker than fresh ones do."""
    c = Calibration.fit(evidence(True, 60, 0), evidence(False, 400, 0), seed=0)
    assert c.fake_probability.mean() == pytest.approx(c.probability(evidence(False, 4000, 77)).mean(), abs=0.05)


def test_what_could_not_be_fitted_says_so() -> None:
    few, many = np.random.default_rng(0).normal(size=(2, 60, 3))
    assert Calibration.fit(few[:4], many, seed=0).report["fitted"] is False
    assert "fitted" not in Calibration.fit(few, many, seed=0).report
