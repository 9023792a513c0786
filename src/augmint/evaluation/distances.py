"""Distances between two sets of features: closed forms and neighbour counts that work from two rows on.

No labels, no classes, no extractor: `metrics` puts these beside their real-versus-real values.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from augmint.core.rng import key, permutation
from augmint.evaluation.neighbours import Floats, blocks, fidelity, prdc, table

__all__ = ["auc", "c2st_auc", "fidelity", "frechet", "kid", "median_bandwidth", "prdc", "squared", "vendi"]

F64 = NDArray[np.float64]
_ROWS = 1024  # taken to double precision at a time
_MOST = 4000  # rows a side in a two-sample test, whose AUC then has a standard error below .007


def frechet(a: Floats, b: Floats) -> float:
    """Fréchet distance between the Gaussians fitted to two sets of features (Heusel et al. 2017, eq. 6).

    The trace of the root of the covariances' product is the nuclear norm of ``A B^T`` for centred rows A and B, so
    that with few samples an n x n Gram matrix does (exact, real and fast); else the symmetric d x d form. Neither
    can turn complex or NaN, as a general matrix root does for n < d.

    Args:
        a: ``[N, D]``, ``b``: ``[M, D]``, at least two rows each; finite numbers.
    """
    x, y = sorted((table(a), table(b)), key=len, reverse=True)
    mu, nu = x.mean(0, dtype=np.float64), y.mean(0, dtype=np.float64)
    if len(x) <= x.shape[1]:
        p, q = (x - mu) / np.sqrt(len(x) - 1), (y - nu) / np.sqrt(len(y) - 1)
        spread, overlap = np.square(p).sum() + np.square(q).sum(), _nuclear(p, q)
    else:
        s, t = _covariance(x, mu), _covariance(y, nu)
        spread, overlap = np.trace(s) + np.trace(t), _overlap(s, t)
    return float(max(0.0, np.square(mu - nu).sum() + spread - 2.0 * overlap))


def _nuclear(x: F64, y: F64) -> float:
    cross = y @ x.T
    if len(cross) <= 512:
        return float(np.linalg.svd(cross, compute_uv=False).sum())
    return _root_trace(cross @ cross.T)


def _covariance(x: Floats, mean: F64) -> F64:
    out = np.zeros((x.shape[1], x.shape[1]))
    for part in blocks(len(x), _ROWS):
        centred = x[part] - mean
        out += centred.T @ centred
    return out / (len(x) - 1)


def _overlap(s: F64, t: F64) -> float:
    """Trace of the root of ``S T``: of ``L^T T L`` for any L with ``L L^T = S``, so that no root of S is needed."""
    try:
        root = np.linalg.cholesky(s)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(s)
        root = vectors * np.sqrt(values.clip(0))
    return _root_trace(root.T @ t @ root)


def _root_trace(symmetric: F64) -> float:
    values = np.linalg.eigvalsh(symmetric)
    noise = len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)  # zero in truth; their roots would add up
    return float(np.sqrt(values[values > noise]).sum())


def squared(x: Floats, y: Floats) -> F64:
    """``[N, M]`` squared distances of double-precision rows; what rounding puts below zero is zero."""
    out: F64 = np.asarray(x @ y.T, dtype=np.float64)
    out *= -2.0
    out += np.square(x).sum(1)[:, None]
    out += np.square(y).sum(1)
    return np.maximum(out, 0.0, out=out)


def median_bandwidth(reference: Floats) -> float:
    """The median squared distance between rows of the reference (of at most 1,000 of them, evenly spaced)."""
    x = table(reference)
    x = np.asarray(x[:: -(-len(x) // 1000)], dtype=np.float64)
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
    x, y = table(a), table(b)
    s2 = bandwidth or median_bandwidth(y)
    centre = y.mean(0, dtype=np.float64)

    def total(p: Floats, q: Floats) -> float:
        found = 0.0
        for i, j in product(blocks(len(p), _ROWS), blocks(len(q), _ROWS)):
            if p is not q or i.start <= j.start:
                part = float(np.exp(squared(p[i] - centre, q[j] - centre) / (-2.0 * s2)).sum())
                found += part * (2.0 if p is q and i.start < j.start else 1.0)
        return found

    n, m = len(x), len(y)
    # Rounding may put the diagonal's distance a hair above zero; its kernel is one.
    within = (total(x, x) - n) / (n * (n - 1)) + (total(y, y) - m) / (m * (m - 1))
    return float(within - 2.0 * total(x, y) / (n * m))


def vendi(x: Floats, *, centre: Floats | None = None) -> float:
    """Vendi score (Friedman & Dieng 2022, eq. 1): the effective number of distinct samples, from 1 to n.

    It is the exponential of the entropy of the eigenvalues of K / n. The kernel K is the cosine between rows seen from
    ``centre``: at most D directions can be told apart, and noise counts as variety, so compare with the score of reals.

    Args:
        x: ``[N, D]``, at least two rows.
        centre: ``[D]``, such as the reals' mean, without which all samples would point the same way; default: the
            rows' own mean.
    """
    rows = table(x)
    origin = rows.mean(0, dtype=np.float64) if centre is None else np.asarray(centre, dtype=np.float64)
    if len(rows) <= rows.shape[1]:
        unit = _directions(rows, origin)
        values = np.linalg.eigvalsh(unit @ unit.T)
    else:
        gram = np.zeros((rows.shape[1], rows.shape[1]))
        for part in blocks(len(rows), _ROWS):
            unit = _directions(rows[part], origin)
            gram += unit.T @ unit
        values = np.linalg.eigvalsh(gram)
    values = values[values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)]
    share = values / values.sum() if len(values) else np.ones(1)  # a row on the centre points nowhere
    return float(np.exp(-(share * np.log(share)).sum()))


def _directions(rows: Floats, centre: F64) -> F64:
    out: F64 = np.asarray(rows - centre, dtype=np.float64)
    length = np.sqrt(np.square(out).sum(1))[:, None]
    np.divide(out, length, out=out, where=length > 0)
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
    folds that it was not fitted on. Of larger sets 4,000 rows a side are drawn.
    """
    a, b = (_at_most(table(x), _MOST, seed, side) for side, x in enumerate((a, b)))
    x = np.concatenate([a, b]).astype(np.float64)
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


def _at_most(x: Floats, num: int, seed: int, side: int) -> Floats:
    return x if len(x) <= num else x[np.sort(permutation(key("c2st rows", seed, side), len(x))[:num])]


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
