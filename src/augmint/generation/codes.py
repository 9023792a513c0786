"""What the verifier's own generative branch draws from: a normal distribution of its codes for every class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from augmint.core import rng
from augmint.core.types import F32, I64


@dataclass(frozen=True, slots=True)
class Codes:
    """One normal distribution a class, over the codes ``[D]`` that the verifier has for training reals.

    Attributes:
        mean: ``[K, D]``.
        root: ``[K, D, D]``, a square root of each covariance.
    """

    mean: F32
    root: F32

    @classmethod
    def fit(cls, codes: F32, y: I64, num_classes: int) -> Codes:
        """Means and covariances of ``codes [M, D]``; a class's covariance leans on that of all classes, the more the fewer it has.

        ``(n S_class + D S_within) / (n + D)``, regularised discriminant analysis (Friedman 1989) with a weight that follows
        from the counts. A class without codes gets the mean and covariance of all.
        """
        codes, dim = codes.astype(np.float64), codes.shape[1]
        groups = [codes[y == c] for c in range(num_classes)]
        scatters = [(g - g.mean(0)).T @ (g - g.mean(0)) if len(g) else np.zeros((dim, dim)) for g in groups]
        within = sum(scatters, start=np.zeros((dim, dim))) / len(codes)
        means, roots = [], []
        for group, scatter in zip(groups, scatters, strict=True):
            is_there = len(group) > 0
            means.append((group if is_there else codes).mean(0))
            covariance = (scatter + dim * within) / (len(group) + dim) if is_there else np.cov(codes.T, ddof=0)
            values, vectors = np.linalg.eigh(covariance.reshape(dim, dim))
            roots.append(vectors * np.sqrt(values.clip(0)))
        return cls(np.stack(means).astype(np.float32), np.stack(roots).astype(np.float32))

    def draw(self, y: I64, seed: int, *, spread: float = 1.0) -> F32:
        """Codes ``[N, D]`` of classes ``y``, ``spread`` times as far from the mean; the i-th of a class follows from (seed, class, i)."""
        keys = nth_keys(y, seed, "code")
        noise = rng.normal(keys[:, None], np.arange(self.mean.shape[1])[None]).astype(np.float32)
        out: F32 = self.mean[y] + spread * np.einsum("nij,nj->ni", self.root[y], noise, dtype=np.float32)
        return out


def nth_keys(y: I64, seed: int, what: str) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Keys ``[N]``: that of the i-th sample of class c is a function of (seed, what, c, i)."""
    seen: dict[int, int] = {}
    keys = np.empty(len(y), dtype=np.uint64)
    for n, c in enumerate(y.tolist()):
        keys[n] = rng.key(seed, what, c, seen.get(c, 0))
        seen[c] = seen.get(c, 0) + 1
    return keys
