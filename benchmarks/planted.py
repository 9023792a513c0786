"""A planted effect of known size: real images held back from one arm, at 200 probe seeds.

Writes the answers (right or wrong) of both arms to ``tests/planted.npz``, from which `tests/test_planted.py` draws
experiments of 10 seeds: how often is the true effect found, and how often one where there is none?

    python benchmarks/planted.py          # about 2 CPU-minutes
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from augmint.evaluation.arms import Arm, Task
from augmint.evaluation.lift import run
from augmint.transforms.recipe import Recipe

HELD_BACK, ALL = 6, 8
SEEDS, AT_ONCE, STEPS = 200, 20, 300
TARGET = Path(__file__).parent.parent / "tests" / "planted.npz"


def answers() -> dict[str, np.ndarray]:
    """Right or wrong ``[200, 897]`` of the arm with 6 and of the arm with 8 labelled images a class."""
    digits = load_digits()
    x, y = (digits.images / 8 - 1).astype(np.float32)[:, None], digits.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(x))
    test, rest = order[:897], order[897:]
    found = {}
    for name, num in (("few", HELD_BACK), ("more", ALL)):
        fit = np.concatenate([rest[y[rest] == c][:num] for c in range(10)])
        task, parts = Task(x[fit], y[fit], x[test], y[test], 10, Recipe.load("medium")), []
        for seed in range(SEEDS // AT_ONCE):
            pred = run(task, [Arm("classic", "", "classic")], seeds=AT_ONCE, seed=seed, steps=STEPS)["classic"]
            parts.append(pred == y[test])
        found[name] = np.concatenate(parts)
        print(f"{name}: {100 * found[name].mean():.2f} %", flush=True)
    return found


if __name__ == "__main__":
    both = answers()
    gain = 100 * (both["more"].mean(1) - both["few"].mean(1))
    print(f"true effect {gain.mean():+.2f} points (standard error of seeds {gain.std(ddof=1) / SEEDS**0.5:.2f})")
    np.savez_compressed(TARGET, shape=both["few"].shape, **{k: np.packbits(v) for k, v in both.items()})
