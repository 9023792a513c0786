"""Three steps of training in double precision, started by ``torchrun`` from test_ranks.py: ``python ranks_in_double.py OUT``.

In single precision two ranks and one can be held together in their gradients only: Adam divides a first gradient by its own size, so
where one is all but zero its rounding decides, and that differs from machine to machine. In double nothing is left to rounding.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from augmint.core.types import Grid
from augmint.modalities import get
from augmint.models import sizes
from augmint.scale import ranks
from augmint.training.loop import Data, Schedule, State, train
from augmint.transforms.recipe import PRESETS


def main(out: Path) -> None:
    torch.set_default_dtype(torch.float64)
    made = np.random.default_rng(0).normal(size=(32, 1, 12, 12)).clip(-1, 1)
    data = Data(made, np.arange(32) % 2, 2, made[:0], np.zeros(0, np.int64))  # type: ignore[arg-type]
    with ranks.joined():
        state = State.fresh(*sizes.networks(get("image"), "nano", Grid(1, (12, 12)), 2, seed=1), 2e-3)
        state.aug_p = 0.8
        train(state, data, Schedule(3, 8, 1.0, 2e-3, seed=3, lazy=2), PRESETS["ada"])
        parts = {"generator": state.generator, "verifier": state.verifier, "ema": state.ema}
        found = {f"{n}.{k}": v.numpy() for n, m in parts.items() for k, v in m.state_dict().items()}
        np.savez(out / f"rank{ranks.rank()}.npz", **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
