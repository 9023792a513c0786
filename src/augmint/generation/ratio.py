"""Another opinion beside the verifier's: how much likelier are these features among training reals than among the GAN's samples?

The verifier was trained together with its generator, which has learned to please it. A classifier taught afterwards, on samples drawn
afresh, sees what the verifier let pass, and its logit estimates the density ratio (Sugiyama et al. 2012; for generative models Grover et
al. 2019). It has seen the training reals, so what it says of them is worth nothing: its scale is that of the calibration on held-out reals.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augmint.core.rng import key, permutation

Floats = NDArray[np.floating[Any]]

ROWS = 2000
"""So many rows of either kind are learned from: fewer are repeated, of more a part is drawn."""
_HIDDEN, _PENALTY, _EPOCHS = 64, 1.0, 60


@dataclass(frozen=True)
class DensityRatio:
    """A small network, fitted on features ``[N, D]`` of training reals against those of fresh synthetic samples.

    Called with features ``[N, D]`` it gives ``[N]`` log density ratios, within ±9.
    """

    mean: Floats
    scale: Floats
    net: Any

    @classmethod
    def fit(cls, real: Floats, fake: Floats, *, seed: int) -> DensityRatio | None:
        """`None` when there is nothing of one kind."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        if not len(real) or not len(fake):
            return None
        x = np.concatenate([_rows(real, seed, "real"), _rows(fake, seed, "fake")]).astype(np.float64)
        mean, scale = x.mean(0), x.std(0) + 1e-6
        net = MLPClassifier((_HIDDEN,), alpha=_PENALTY, max_iter=_EPOCHS, random_state=key("ratio", seed) % 2**31)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it is stopped early on purpose
            net.fit((x - mean) / scale, np.arange(len(x)) < ROWS)
        return cls(mean, scale, net)

    def __call__(self, features: Floats) -> Floats:
        if not len(features):
            return np.zeros(0)
        p = self.net.predict_proba((np.asarray(features, dtype=np.float64) - self.mean) / self.scale)[:, 1]
        return np.asarray(np.log(p + 1e-4) - np.log1p(1e-4 - p))


def _rows(x: Floats, seed: int, kind: str) -> Floats:
    return x[np.resize(permutation(key("ratio", seed, kind), len(x)), ROWS)]
