"""Metrics against closed forms, SciPy, slow loops and properties."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist
from scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import normalize

from augmint.core.errors import UserError
from augmint.evaluation import metrics
from augmint.evaluation.distances import median_bandwidth
from augmint.evaluation.features import Plain, pixel_features, shrink, trained_cnn_features


def digits() -> tuple[np.ndarray, np.ndarray]:
    data = load_digits()
    order = np.random.default_rng(7).permutation(len(data.images))
    return (data.images[order, None] / 8 - 1).astype(np.float32), data.target[order].astype(np.int64)


def table(n: int, d: int, seed: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) / np.sqrt(d) + shift


def textbook_frechet(a: np.ndarray, b: np.ndarray) -> float:
    s, t = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(s + t - 2 * sqrtm(s @ t).real))


@pytest.mark.parametrize(("n", "m", "d"), [(400, 300, 24), (900, 900, 64), (65, 70, 64), (50, 40, 12)])
def test_frechet_is_the_scipy_formula(n: int, m: int, d: int) -> None:
    a, b = table(n, d, 1), table(m, d, 2, shift=0.3)
    assert metrics.frechet(a, b) == pytest.approx(textbook_frechet(a, b), rel=1e-6)


@pytest.mark.parametrize(("n", "m", "d"), [(20, 30, 64), (60, 40, 128), (600, 560, 640), (10, 900, 64)])
def test_frechet_below_full_rank_is_the_symmetric_formula(n: int, m: int, d: int) -> None:
    """There SciPy's general root loses itself; the root of S^1/2 T S^1/2 by its eigenvalues does not."""
    a, b = table(n, d, 1), table(m, d, 2, shift=0.3)
    s, t = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(s)
    root = vectors @ np.diag(np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.svd(root @ t @ root, compute_uv=False)).sum()
    slow = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(s) + np.trace(t) - 2 * cross
    assert metrics.frechet(a, b) == pytest.approx(slow, rel=1e-5)


@pytest.mark.parametrize(("n", "m"), [(4, 5), (6, 3), (9, 8)])
def test_frechet_below_full_rank_to_fifty_digits(n: int, m: int) -> None:
    """The root of the covariances' product, eigenvalue by eigenvalue, in exact enough arithmetic to be the truth."""
    mpmath = pytest.importorskip("mpmath")
    a, b = table(n, 8, 1), table(m, 8, 2, shift=0.3)
    with mpmath.workdps(50):

        def moments(x: np.ndarray) -> tuple[Any, Any]:
            rows = mpmath.matrix(x.tolist())
            mean = mpmath.matrix([sum(rows[:, j]) / len(x) for j in range(8)])
            centred = rows - mpmath.matrix([list(mean)] * len(x))
            return mean, centred.T * centred / (len(x) - 1)

        (mu, s), (nu, t) = moments(a), moments(b)
        roots = sum(mpmath.sqrt(max(mpmath.re(v), 0)) for v in mpmath.eig(s * t, left=False, right=False))
        trace = sum(s[i, i] + t[i, i] for i in range(8))
        truth = float(sum((p - q) ** 2 for p, q in zip(mu, nu, strict=True)) + trace - 2 * roots)
    assert metrics.frechet(a, b) == pytest.approx(truth, rel=1e-9)


def test_frechet_of_exact_gaussians_in_closed_form() -> None:
    """Two points a axis at +-s have mean 0 and a diagonal covariance: FD = |shift|^2 + sum (s - t)^2."""
    s, t, shift = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 0.5]), np.array([1.0, 0.0, 2.0])
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T * np.sqrt(7 / 8)
    assert metrics.frechet(signs * s, signs * t + shift) == pytest.approx(5 + np.square(s - t).sum(), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(2, 12), m=st.integers(2, 12), d=st.integers(1, 20), seed=st.integers(0, 999))
def test_never_nan_from_two_samples_on(n: int, m: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-1, 2, size=(n, d)).astype(np.float32), rng.integers(-1, 2, size=(m, d)).astype(np.float32)
    values = [metrics.frechet(a, b), metrics.kid(a, b), metrics.c2st_auc(a, b), metrics.vendi(a, centre=b.mean(0))]
    values += metrics.fidelity(b, a).values()
    assert np.isfinite(values).all()
    assert metrics.frechet(a, b) == pytest.approx(metrics.frechet(b, a), rel=1e-6, abs=1e-6)
    assert metrics.frechet(a, a) == pytest.approx(0.0, abs=1e-5)
    turn, _ = np.linalg.qr(rng.normal(size=(d, d)))
    assert metrics.frechet(a @ turn, b @ turn) == pytest.approx(metrics.frechet(a, b), rel=1e-5, abs=1e-5)
    assert metrics.frechet(3 * a, 3 * b) == pytest.approx(9 * metrics.frechet(a, b), rel=1e-5, abs=1e-5)


def test_kid_is_the_unbiased_estimator(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = table(30, 4, 1), table(41, 4, 2, shift=0.5)
    s2 = median_bandwidth(b)
    assert s2 == pytest.approx(np.median(cdist(b, b, "sqeuclidean")[np.triu_indices(41, 1)]))
    k = [np.exp(-cdist(p, q, "sqeuclidean") / (2 * s2)) for p, q in ((a, a), (b, b), (a, b))]
    slow = (k[0].sum() - 30) / (30 * 29) + (k[1].sum() - 41) / (41 * 40) - 2 * k[2].mean()
    assert metrics.kid(a, b) == pytest.approx(slow, rel=1e-9)
    monkeypatch.setattr("augmint.evaluation.distances._ROWS", 8)
    assert metrics.kid(a, b) == pytest.approx(slow, rel=1e-9)


def test_kid_is_zero_on_average_for_equal_distributions() -> None:
    rng = np.random.default_rng(0)
    values = [metrics.kid(rng.normal(size=(20, 5)), rng.normal(size=(20, 5)), bandwidth=10.0) for _ in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 20
    assert metrics.kid(rng.normal(size=(200, 5)), 3 + rng.normal(size=(200, 5))) > 0.3


@pytest.mark.parametrize(("n", "d"), [(12, 30), (200, 6), (31, 30)])
def test_vendi_is_the_entropy_of_the_kernel(n: int, d: int) -> None:
    x, centre = table(n, d, 1), np.full(d, 0.3)
    for origin in (centre, None):
        unit = normalize(x - (x.mean(0) if origin is None else origin))
        values = np.linalg.eigvalsh(unit @ unit.T / n)
        values = values[values > 1e-12]
        assert metrics.vendi(x, centre=origin) == pytest.approx(np.exp(-(values * np.log(values)).sum()), rel=1e-6)


def test_vendi_counts_what_is_distinct() -> None:
    """k orthogonal directions count k, however often each is repeated; copies count once."""
    corners = np.repeat(np.eye(5, 8), 20, axis=0)
    assert metrics.vendi(corners, centre=np.zeros(8)) == pytest.approx(5.0)
    assert metrics.vendi(corners[:20], centre=np.zeros(8)) == pytest.approx(1.0)
    assert metrics.vendi(np.ones((4, 3)), centre=np.ones(3)) == 1.0


def test_single_precision_tables_are_measured_as_exactly() -> None:
    a, b = table(70, 9, 1).astype(np.float32), table(80, 9, 2).astype(np.float32)
    for metric in (metrics.frechet, metrics.kid, metrics.prdc, metrics.c2st_auc):
        assert metric(a, b) == pytest.approx(metric(a.astype(np.float64), b.astype(np.float64)), rel=1e-9)


def test_a_two_sample_test_of_large_sets_is_one_of_their_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("augmint.evaluation.distances._MOST", 60)
    a, b = table(600, 3, 1), table(50, 3, 2)
    assert metrics.c2st_auc(a, b) == metrics.c2st_auc(a, b)
    assert metrics.c2st_auc(a, a + 9.0) > 0.99


def test_auc_is_the_peers_and_counts_ties_half() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.integers(0, 6, 40), rng.integers(1, 8, 30)
    peer = roc_auc_score(np.r_[np.ones(40), np.zeros(30)], np.r_[p, q])
    assert metrics.auc(p, q) == pytest.approx(peer)


def test_c2st_of_shifted_gaussians_is_known() -> None:
    """Two unit Gaussians at distance s: the best classifier's AUC is Phi(s / sqrt 2)."""
    rng = np.random.default_rng(0)
    for s in (0.0, 1.0, 2.0):
        a, b = rng.normal(size=(1500, 4)), rng.normal(size=(1500, 4))
        a[:, 0] += s
        assert metrics.c2st_auc(a, b) == pytest.approx(norm.cdf(s / np.sqrt(2)), abs=0.03)


def test_c2st_sees_a_lack_of_variety() -> None:
    rng = np.random.default_rng(0)
    assert metrics.c2st_auc(0.3 * rng.normal(size=(300, 6)), rng.normal(size=(300, 6))) > 0.9


def test_prototypes_and_cas_on_separated_classes() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 30)
    x = (rng.normal(size=(90, 5)) * 0.1 + np.eye(3, 5)[y]).astype(np.float32)
    assert metrics.prototypes(x, y, x, y) == 1.0
    assert metrics.cas(x, y, x, y) == 1.0
    assert metrics.cas(x, (y + 1) % 3, x, y) == 0.0
    assert metrics.cas(x[y == 1], y[y == 1], x, y) == pytest.approx(1 / 3)
    assert metrics.class_consistency(np.array([0, 1, 2, 0]), np.array([0, 1, 0, -1])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("shape", [(3,), (1, 9), (2, 8, 6), (1, 4, 6, 5), (3, 40, 20), (1, 1)])
def test_features_of_any_grid(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = (rng.normal(size=(60, *shape)) * 0.3 + np.where(y, 0.5, -0.5).reshape(-1, *[1] * len(shape))).astype(np.float32)
    net = trained_cnn_features(x[:40], y[:40], steps=40)
    assert net(x).shape == (60, 64)
    assert (net.classify(x[40:]) == y[40:]).mean() >= 0.9
    assert net(x[:0]).shape == (0, 64)
    again = trained_cnn_features(x[:40], y[:40], steps=40)
    assert again.sha256 == net.sha256 and (again(x) == net(x)).all()
    assert trained_cnn_features(x[:40], y[:40], steps=40, seed=1).sha256 != net.sha256


def test_features_leave_the_global_generators_alone() -> None:
    import torch

    x, y = digits()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    trained_cnn_features(x[:40], None, steps=3)
    trained_cnn_features(x[:40], y[:40], steps=3)
    assert (torch.get_rng_state() == before).all()
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_features_without_labels_or_with_gaps() -> None:
    x, y = digits()
    free = trained_cnn_features(x[:100], steps=20)
    assert free.name == "cnn-clusters-64" and (free.classify(x[:5]) == -1).all()
    assert trained_cnn_features(x[:100], np.full(100, 4), steps=5).name == "cnn-clusters-64"
    gaps = np.where(y[:100] < 5, y[:100] + 10, -1)
    some = trained_cnn_features(x[:100], gaps, steps=60)
    assert set(some.classify(x[:100])) <= set(range(10, 15))
    with pytest.raises(UserError, match="cannot be learned from 1"):
        trained_cnn_features(x[:1], y[:1])


def test_shrink_averages() -> None:
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    assert shrink(x, 2)[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert shrink(x, 4) is x


def measured(fake: np.ndarray, real: np.ndarray, **more: Any) -> dict[str, metrics.Metric]:
    return {m.metric: m for m in metrics.measure(fake, real, Plain("rows", lambda x: x), **more)}


def test_measure_ranks_good_noisy_and_collapsed() -> None:
    x, y = digits()
    net = trained_cnn_features(x[:800], y[:800], steps=120)
    real, good, rng = x[800:1300], x[1300:], np.random.default_rng(0)
    noisy = (good + 0.5 * rng.normal(size=good.shape)).astype(np.float32)
    means = np.stack([x[:800][y[:800] == c].mean(0) for c in range(10)])
    collapsed = (means[y[1300:]] + 0.02 * rng.normal(size=good.shape)).astype(np.float32)
    found = {}
    for name, fake in (("good", good), ("noisy", noisy), ("collapsed", collapsed)):
        rows = metrics.measure(fake, real, net, fake_y=y[1300:], real_y=y[800:1300])
        found[name] = {r.metric: r for r in rows}
    for m in found["good"].values():
        assert m.ci95 is not None and m.real_vs_real is not None
        assert m.ci95[0] <= m.value <= m.ci95[1]
    ceiling = found["good"]["frechet"]
    assert ceiling.ci95 is not None and ceiling.real_vs_real is not None
    assert ceiling.ci95[0] <= ceiling.real_vs_real <= ceiling.ci95[1]
    assert found["noisy"]["precision"].value < 0.7
    assert found["collapsed"]["precision"].value > 0.9
    assert found["collapsed"]["recall"].value < 0.05
    assert found["collapsed"]["cas"].value <= (found["collapsed"]["cas"].baseline or 0) + 0.03
    assert found["collapsed"]["frechet"].value > 2 * ceiling.value
    table = metrics.summary(list(found["good"].values()))
    assert table["extractor"] == f"cnn-classes-64@{net.sha256[:8]}" and table["n"] == 250
    assert {"metric", "title", "value", "ci95", "real", "better", "n", "extractor"} <= set(table["rows"][0])


def test_measure_with_other_reals_uses_all_of_n() -> None:
    found = measured(table(50, 4, 1), table(60, 4, 2), other_x=table(70, 4, 3))
    assert found["frechet"].n == 50
    assert measured(table(50, 4, 1), table(60, 4, 2))["frechet"].n == 30
    assert "cas" not in found


def test_the_interval_holds_the_truth() -> None:
    """The expected distance at this n, from many draws, lies in about 95 % of the intervals of single draws."""
    rng = np.random.default_rng(0)
    draws = [(rng.normal(size=(100, 3)), 1.0 + rng.normal(size=(100, 3))) for _ in range(40)]
    truth = np.mean([metrics.frechet(*d) for d in draws])
    hits = [measured(a, b, other_x=a, resamples=20)["frechet"].ci95 for a, b in draws]
    assert sum(h is not None and h[0] <= truth <= h[1] for h in hits) >= 34


def test_measure_of_tiny_sets() -> None:
    found = measured(table(2, 3, 0), table(4, 3, 1))
    assert found["recall"].ci95 is None and np.isfinite([m.value for m in found.values()]).all()
    with pytest.raises(UserError, match="too few to measure"):
        measured(table(2, 3, 0), table(3, 3, 1))
    with pytest.raises(UserError, match="NaN"):
        measured(np.full((5, 2), np.nan), table(9, 2, 1))


def test_judge_pairs_its_resamples() -> None:
    x = pixel_features()(digits()[0])
    judge = metrics.curation_judge(x[:200], x[200:300], seed=1)
    assert judge is not None and metrics.curation_judge(x[:200], x[200:219]) is None
    everything = np.arange(200)
    assert judge(everything, 3) == judge(everything, 3)
    assert judge(everything, 3) != judge(everything, 4)
    assert set(judge(everything, 0)) == {"frechet", "recall", "precision", "coverage"}


def test_measure_is_cheap() -> None:
    a, b = table(500, 64, 1).astype(np.float32), table(500, 64, 2).astype(np.float32)
    measured(a[:40], b[:40])
    start = time.thread_time()
    measured(a, b)
    assert time.thread_time() - start < 4.0  # 0.4 s alone; generous for a busy machine


def test_reals_that_taught_the_features_do_not_stand_for_reals() -> None:
    """Thirty samples of noise are learned by heart: in these features they are told from other noise, which is like itself."""
    g = np.random.default_rng(0)
    train, held = (g.normal(0, 1, (n, 1, 8, 8)).astype(np.float32) for n in (30, 80))
    y = np.arange(30) % 2
    look = trained_cnn_features(train, y, steps=300)
    rows = {
        m.metric: m
        for m in metrics.measure(g.normal(0, 1, (80, 1, 8, 8)).astype(np.float32), held, look, other_x=train, other_y=y)
    }
    assert rows["c2st_auc"].real_vs_real == pytest.approx(0.5, abs=0.12)
    assert rows["c2st_auc"].n == 40
    naive = metrics.c2st_auc(look(train), look(held)[:30], seed=0)
    assert naive > rows["c2st_auc"].real_vs_real + 0.1
