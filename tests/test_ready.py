"""What `train` says of the data before it trains on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import augmint as am


def folder(root: Path, per_class: int, *, alike: bool = False) -> Path:
    """Two classes of 12 x 12 pictures of noise, or of one and the same picture."""
    g = np.random.default_rng(0)
    first = g.integers(0, 255, (12, 12), np.uint8)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            x = first if alike else g.integers(0, 255, (12, 12), np.uint8)
            Image.fromarray(x).save(root / name / f"{i:02}.png")
    return root


def notes(data: Path, **more: object) -> list[str]:
    return am.train(data, steps=20, workers=1, dry_run=True, **more).summary


def test_where_all_samples_went_is_said(tmp_path: Path) -> None:
    told = notes(folder(tmp_path / "d", 60))
    (line,) = [line for line in told if "to learn from" in line]
    learn, held, test = (int(word) for word in line.replace(",", "").split() if word.isdigit())
    assert learn + held + test == 120 and test == 24 and held >= 1
    assert f"would train 20 steps on {learn} samples, 0 of a pool" in told
    assert not any("by heart" in line for line in told)


def test_too_few_samples_are_said_to_be_and_for_what(tmp_path: Path) -> None:
    told = "\n".join(notes(folder(tmp_path / "d", 6)))
    assert "by heart" in told and "augmint augment" in told and "no figures while it trains" in told
    pool = folder(tmp_path / "pool", 20)
    assert "by heart" not in "\n".join(notes(folder(tmp_path / "e", 6), unlabelled=pool))


def test_one_picture_many_times_is_nothing_to_learn(tmp_path: Path) -> None:
    with pytest.raises(am.UserError, match="all 16 samples to train on are the same"):
        am.train(folder(tmp_path / "d", 8, alike=True), out=tmp_path / "run", steps=20, workers=1)
    assert not (tmp_path / "run").exists()
