"""The demo's data set: how many of which, and no image twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from augmint.modalities import get
from augmint.steps.handwriting import NUM_TEST, write_digits


@pytest.mark.parametrize("per_class", [2, [3, 80, 5, 1, 1, 1, 1, 1, 1, 1]])
def test_classes_have_as_many_training_images_as_asked_for(tmp_path: Path, per_class: int | list[int]) -> None:
    data, pool = write_digits(tmp_path, get("image"), per_class=per_class, with_pool=True, draw=1)
    assert pool is not None
    counts = [len(list((data / "train" / str(c)).glob("*.png"))) for c in range(10)]
    assert counts == (per_class if isinstance(per_class, list) else [per_class] * 10)
    names = [p.stem for part in (data, pool) for p in part.rglob("*.png")]
    assert len(names) == len(set(names)) and len(list((data / "test").rglob("*.png"))) == NUM_TEST
    target = load_digits().target
    assert all(target[int(p.stem)] == int(p.parent.name) for p in data.rglob("*.png"))
    assert np.isin([int(n) for n in names], np.arange(len(target))).all()
