"""Precision, recall, density and coverage, plain and clipped, against loops, SciPy and properties; ties are the hard part."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import betabinom

from augmint.core.errors import UserError
from augmint.evaluation import neighbours
from augmint.evaluation.neighbours import expected_cover, fidelity, prdc


def slow(real: np.ndarray, fake: np.ndarray, k: int) -> dict[str, float]:
    """The definitions, on whole matrices of distances from differences."""
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    rr, ff, rf = cdist(real, real, "sqeuclidean"), cdist(fake, fake, "sqeuclidean"), cdist(real, fake, "sqeuclidean")
    np.fill_diagonal(rr, np.inf)
    np.fill_diagonal(ff, np.inf)
    reach, other = np.sort(rr, 1)[:, k - 1], np.sort(ff, 1)[:, k - 1]
    inside = rf < reach[:, None]
    small = np.minimum(reach, np.median(reach))
    among = np.minimum((rr <= small[:, None]).sum(0), k).mean()
    curve = [
        np.minimum(np.arange(m + 1), k) @ betabinom.pmf(np.arange(m + 1), m, k, len(real) - k) / k
        for m in range(len(fake) + 1)
    ]
    return {
        "precision": inside.any(0).mean(),
        "recall": (rf < other).any(1).mean(),
        "density": inside.sum() / (k * len(fake)),
        "coverage": inside.any(1).mean(),
        "clipped_density": min(1.0, np.minimum((rf <= small[:, None]).sum(0), k).mean() / among),
        "clipped_coverage": np.interp(
            np.minimum(inside.sum(1), k).mean() / k, curve, np.arange(len(fake) + 1) / len(fake)
        ),
    }


@pytest.mark.parametrize(("n", "m", "k"), [(60, 75, 5), (30, 20, 3), (9, 60, 1), (40, 41, 8)])
@pytest.mark.parametrize("tile", [7, 1024])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_the_definition(n: int, m: int, k: int, tile: int, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_TILE", tile)
    rng = np.random.default_rng(n)
    real, fake = rng.normal(size=(n, 4)).astype(dtype), (0.7 * rng.normal(size=(m, 4))).astype(dtype)
    assert fidelity(real, fake, k=k) == pytest.approx(slow(real, fake, k), abs=1e-12)
    assert prdc(real, fake, k=k) == {name: fidelity(real, fake, k=k)[name] for name in prdc(real, fake, k=k)}


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(3, 40),
    m=st.integers(3, 40),
    d=st.integers(1, 30),
    k=st.integers(1, 6),
    levels=st.integers(2, 9),
    shift=st.sampled_from([0.0, 1e3, 1e6]),
    many=st.sampled_from([0, 1 << 17]),
    seed=st.integers(0, 999),
)
def test_ties_and_far_offsets_are_settled_exactly(
    n: int, m: int, d: int, k: int, levels: int, shift: float, many: int, seed: int
) -> None:
    """Whole numbers: equal distances everywhere, all of them exact in double precision, and hidden by the offset in single."""
    rng = np.random.default_rng(seed)
    real, fake = rng.integers(0, levels, (n, d)) + shift, rng.integers(0, levels, (m, d)) + shift
    k = min(k, n - 1, m - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_TILE", 11)
        patch.setattr(neighbours, "_MANY", many)
        found = prdc(real, fake, k=k)
    assert found == pytest.approx({name: slow(real, fake, k)[name] for name in found}, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-25, 1e-9, 1.0, 1e9, 1e25])
def test_scale_and_place_do_not_matter(scale: float) -> None:
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(80, 6)), rng.normal(size=(70, 6))
    whole = np.round(real * 64), np.round(fake * 64)
    assert fidelity(whole[0] * scale, whole[1] * scale) == pytest.approx(slow(*whole, 5), abs=0.02)
    assert fidelity(whole[0] * 2.0**40, whole[1] * 2.0**40) == fidelity(*whole)


def test_close_calls_in_single_precision_are_decided_in_double() -> None:
    """Samples at the edge of a ball, a hair inside or outside: less than single precision can see."""
    rng = np.random.default_rng(0)
    real = rng.normal(size=(200, 50))
    d2 = cdist(real, real, "sqeuclidean")
    np.fill_diagonal(d2, np.inf)
    fifth = np.sqrt(np.sort(d2, 1)[:, 4])
    way = rng.normal(size=real.shape)
    way /= np.linalg.norm(way, axis=1)[:, None]
    hair = np.where(np.arange(200) % 2, 1e-10, -1e-10)[:, None]
    fake = real + way * fifth[:, None] * (1 + hair)
    assert prdc(real, fake) == pytest.approx({n: slow(real, fake, 5)[n] for n in prdc(real, fake)}, abs=1e-12)


def test_copies_and_collapse() -> None:
    rng = np.random.default_rng(0)
    real = rng.normal(size=(300, 20)).astype(np.float32)
    assert fidelity(real, real.copy()) == {**dict.fromkeys(fidelity(real, real), 1.0)}
    one = fidelity(real, np.repeat(real[:1], 300, 0))
    assert one["precision"] == 1.0 and one["recall"] == 0.0 and one["clipped_coverage"] < 0.05
    same = fidelity(np.ones((50, 7)), np.ones((40, 7)))
    assert same["density"] == 0.0 and np.isfinite(list(same.values())).all()


@pytest.mark.parametrize(("n", "m", "k"), [(30, 25, 5), (400, 100, 5), (7, 50, 1), (6, 9, 5)])
def test_the_expected_cover_is_beta_binomial(n: int, m: int, k: int) -> None:
    j = np.arange(m + 1)
    wanted = [np.minimum(j, k) @ betabinom.pmf(j, i, k, n - k) / k for i in range(m + 1)]
    np.testing.assert_allclose(expected_cover(n, m, k), wanted, atol=1e-9)
    assert (np.diff(expected_cover(n, m, k)) > 0).all()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_clipped_forms_say_the_share_of_good_samples(share: float) -> None:
    """What they are for: bad samples far away lower both in proportion, in any dimension."""
    found = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        real, fake = rng.normal(size=(400, 8)), rng.normal(size=(400, 8))
        fake[int(400 * share) :] += 40.0
        found.append(fidelity(real, fake))
    for name in ("clipped_density", "clipped_coverage"):
        assert np.mean([f[name] for f in found]) == pytest.approx(share, abs=0.04)


def test_one_outlier_among_the_reals_does_not_make_the_bad_good() -> None:
    rng = np.random.default_rng(0)
    real, bad = rng.normal(size=(300, 5)), 6.0 + rng.normal(size=(300, 5))
    real[:6] = 12.0 * rng.normal(size=(6, 5))
    found = fidelity(real, bad)
    assert found["precision"] > 0.5  # fooled: a ball as wide as the outliers are far
    assert found["clipped_density"] < 0.01


def test_wrong_tables_are_refused() -> None:
    good = np.zeros((4, 2))
    for bad, problem in ((good[:1], "at least two rows"), (good[0], "at least two rows"), (good * np.nan, "NaN")):
        with pytest.raises(UserError, match=problem):
            prdc(good, bad)


_LARGE = """
import resource
import numpy as np
from augmint.evaluation import metrics

rng = np.random.default_rng(0)
mix = rng.normal(size=(64, 1280)).astype(np.float32) / 8

def table():
    return rng.standard_normal((20_000, 64), dtype=np.float32) @ mix + 0.5 * rng.standard_normal((20_000, 1280), dtype=np.float32)

a, b = table(), table()
found = [metrics.frechet(a, b), metrics.kid(a, b), metrics.vendi(a), metrics.c2st_auc(a, b), *metrics.fidelity(a, b).values()]
assert np.isfinite(found).all(), found
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
def test_20_000_samples_of_1280_features_stay_below_1_5_gb() -> None:
    """About a minute of one core; the peak holds Python, torch and the two tables (205 MB) too."""
    done = subprocess.run([sys.executable, "-c", _LARGE], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1.5e9
