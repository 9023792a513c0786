"""Distances between two sets of features: closed forms and neighbour counts that work from two rows on.

No labels, no classes, no extractor: `metrics` puts these beside their real-versus-real values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from augmint.core.errors import UserError
from augmint.core.rng import key, permutation

F64 = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
_BLOCK = 1 << 22  # numbers in one block of a distance matrix: 32 MB


def frechet(a: Floats, b: Floats) -> float:
    """Fréchet distance between the Gaussians fitted to two sets of features (Heusel et al. 2017, eq. 6).

    The trace of the root of the covariances' product is the nuclear norm of ``A B^T`` for centred rows A and B, so
    that with few samples an n x n Gram matrix does (exact, real and fast); else the symmetric d x d form. Neither
    can turn complex or NaN, as a general matrix root does for n < d.

    Args:
        a: ``[N, D]``, ``b``: ``[M, D]``, at least two rows each; finite numbers.
    """
    x, y = _rows(a), _rows(b)
    mean = np.square(x.mean(0) - y.mean(0)).sum()
    x = (x - x.mean(0)) / np.sqrt(len(x) - 1)
    y = (y - y.mean(0)) / np.sqrt(len(y) - 1)
    overlap = _nuclear_by_gram(x, y) if min(len(x), len(y)) <= x.shape[1] else _nuclear_by_covariance(x, y)
    return float(max(0.0, mean + np.square(x).sum() + np.square(y).sum() - 2.0 * overlap))


def _nuclear_by_gram(x: F64, y: F64) -> float:
    cross = x @ y.T if len(x) <= len(y) else y @ x.T
    if len(cross) <= 512:
        return float(np.linalg.svd(cross, compute_uv=False).sum())
    return _root_trace(cross @ cross.T)


def _nuclear_by_covariance(x: F64, y: F64) -> float:
    values, vectors = np.linalg.eigh(x.T @ x)
    root = vectors * np.sqrt(values.clip(0))
    return _root_trace(root.T @ (y.T @ y) @ root)


def _root_trace(symmetric: F64) -> float:
    values = np.linalg.eigvalsh(symmetric)
    noise = len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)  # zero in truth; their roots would add up
    return float(np.sqrt(values[values > noise]).sum())


def _rows(x: Floats) -> F64:
    rows = np.asarray(x, dtype=np.float64)
    if rows.ndim != 2 or len(rows) < 2:
        raise UserError(f"a metric needs a table of at least two rows, not {rows.shape}", mend="give more samples")
    if not np.isfinite(rows).all():
        raise UserError("the features hold NaN or infinity", mend="look for broken samples with `augmint inspect`")
    return rows


def squared(x: F64, y: F64) -> F64:
    out: F64 = x @ y.T
    out *= -2.0
    out += np.square(x).sum(1)[:, None]
    out += np.square(y).sum(1)
    return np.maximum(out, 0.0, out=out)


def _blocks(rows: int, columns: int) -> list[slice]:
    step = max(1, _BLOCK // max(columns, 1))
    return [slice(i, min(i + step, rows)) for i in range(0, rows, step)]


def median_bandwidth(reference: Floats) -> float:
    """The median squared distance between rows of the reference (of at most 1,000 of them, evenly spaced)."""
    x = _rows(reference)
    x = x[:: -(-len(x) // 1000)]
    found = float(np.median(squared(x, x)[np.triu_indices(len(x), 1)])) if len(x) > 1 else 0.0
    return found or 1.0


def kid(a: Floats, b: Floats, *, bandwidth: float | None = None) -> float:
    """Kernel distance: the unbiased squared maximum mean discrepancy (Gretton et al. 2012, eq. 3), RBF kernel.

    Zero on average for equal distributions (so at times below zero) and at most 2. With the median bandwidth it
    works from small n on (KAD, Chung et al. 2025), where the cubic kernel of KID is noise.

    Args:
        a: ``[N, D]``; ``b``: ``[M, D]``, the reference; at least two rows each.
        bandwidth: squared length scale; default: `median_bandwidth` of ``b``.
    """
    x, y = _rows(a), _rows(b)
    s2 = bandwidth or median_bandwidth(y)
    centre = y.mean(0)
    x, y = x - centre, y - centre

    def total(p: F64, q: F64) -> float:
        return sum(float(np.exp(squared(p[rows], q) / (-2.0 * s2)).sum()) for rows in _blocks(len(p), len(q)))

    n, m = len(x), len(y)
    # Rounding may put the diagonal's distance a hair above zero; its kernel is one.
    within = (total(x, x) - n) / (n * (n - 1)) + (total(y, y) - m) / (m * (m - 1))
    return float(within - 2.0 * total(x, y) / (n * m))


def prdc(real: Floats, fake: Floats, *, k: int = 5) -> dict[str, float]:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020), in blocks.

    Args:
        real: ``[N, D]``; fake: ``[M, D]``; at least two rows each.
        k: neighbours that span a sample's ball; lowered where there are not so many.
    """
    x, y = _rows(real), _rows(fake)
    centre = x.mean(0)
    x, y = x - centre, y - centre
    k = min(k, len(x) - 1, len(y) - 1)
    reach_x, reach_y = _kth(x, k), _kth(y, k)
    balls = np.zeros(len(y), dtype=np.int64)
    covered, recalled = np.zeros(len(x), bool), np.zeros(len(x), bool)
    for rows in _blocks(len(x), len(y)):
        d2 = squared(x[rows], y)
        inside = d2 < reach_x[rows, None]
        balls += inside.sum(0)
        covered[rows] = inside.any(1)
        recalled[rows] = (d2 < reach_y).any(1)
    return {
        "precision": float((balls > 0).mean()),
        "recall": float(recalled.mean()),
        "density": float(balls.mean() / k),
        "coverage": float(covered.mean()),
    }


def _kth(x: F64, k: int) -> F64:
    """Squared distance of each row to its k-th neighbour among the others."""
    out = np.empty(len(x))
    for rows in _blocks(len(x), len(x)):
        d2 = squared(x[rows], x)
        d2[np.arange(len(d2)), np.arange(rows.start, rows.stop)] = np.inf
        out[rows] = np.partition(d2, k - 1, axis=1)[:, k - 1]
    return out


def auc(positive: Floats, negative: Floats) -> float:
    """Chance that a positive's score is above a negative's, ties counting half (Mann-Whitney U over N M)."""
    from scipy.stats import rankdata

    n, m = len(positive), len(negative)
    ranks = rankdata(np.concatenate([positive, negative]))[:n]
    return float((ranks.sum() - n * (n + 1) / 2) / (n * m))


def c2st_auc(a: Floats, b: Floats, *, seed: int = 0, folds: int = 5) -> float:
    """Classifier two-sample test (Lopez-Paz & Oquab 2017) as an AUC: 0.5 = cannot be told apart, 1 = always.

    A ridge discriminant on features and their squares (so that a set with too little variety shows too), scored on
    folds that it was not fitted on.
    """
    x = np.concatenate([_rows(a), _rows(b)])
    label = np.concatenate([np.ones(len(a)), -np.ones(len(b))])
    folds = min(folds, len(a), len(b))
    fold = np.empty(len(x), dtype=np.int64)
    fold[: len(a)] = permutation(key("c2st", seed, 0), len(a)) % folds
    fold[len(a) :] = permutation(key("c2st", seed, 1), len(b)) % folds
    score = np.empty(len(x))
    for f in range(folds):
        train, test = fold != f, fold == f
        score[test] = _ridge_score(x[train], label[train], x[test])
    inside = [auc(score[(fold == f) & (label > 0)], score[(fold == f) & (label < 0)]) for f in range(folds)]
    return float(np.mean(inside))  # by fold: scores of different fits have different offsets


def _ridge_score(x: F64, label: F64, test: F64) -> F64:
    mean, sd = x.mean(0), x.std(0)
    sd = np.where(sd > 1e-9 * (np.abs(mean) + 1e-12), sd, np.inf)
    z, t = (x - mean) / sd, ((test - mean) / sd).clip(-6, 6)
    z, t = np.concatenate([z, z * z], 1), np.concatenate([t, t * t], 1)
    centre = z.mean(0)
    z, t = z - centre, t - centre
    weight = np.where(label > 0, 1.0 / (label > 0).sum(), 1.0 / max((label < 0).sum(), 1))
    target, penalty = label * weight * len(z) / 2.0, 0.1 * len(z)
    if z.shape[1] <= len(z):
        w = np.linalg.solve(z.T @ z + penalty * np.eye(z.shape[1]), z.T @ target)
        return np.asarray(t @ w)
    dual = np.linalg.solve(z @ z.T + penalty * np.eye(len(z)), target)
    return np.asarray(t @ (z.T @ dual))
