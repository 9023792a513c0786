"""The judge with weights from elsewhere: it is the published net, sees what people see, and judges large grids only."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image

from augmint.core.errors import UserError
from augmint.core.types import Grid
from augmint.evaluation.features import pixel_features
from augmint.evaluation.metrics import measure, summary
from augmint.generation.draw import Known
from augmint.modalities.image import ImageCodec, ImageModality
from augmint.models import efficientnet
from augmint.models.efficientnet import Lite0, _seen, efficientnet_features, weights_path
from augmint.steps.synthesis import _judged


def photo(name: str, size: int = 224) -> np.ndarray:
    """The middle square of one of scikit-learn's two photos, ``[1, 3, size, size]`` in [-1, 1]."""
    whole = load_sample_image(name)
    side = min(whole.shape[:2])
    top, left = ((s - side) // 2 for s in whole.shape[:2])
    square = cv2.resize(whole[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_AREA)
    return square.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1.0


def test_the_weights_fit_strictly_and_are_named_by_their_hash() -> None:
    place = weights_path()
    assert place is not None
    state = torch.load(place, map_location="cpu", weights_only=True)
    net = Lite0()
    assert set(net.state_dict()) == set(state)
    net.load_state_dict(state, strict=True)
    found = efficientnet_features()
    assert found.sha256 == sha256(place.read_bytes()).hexdigest()
    assert found.sha256.startswith("57934424")  # as the file's own name has it
    assert not any(p.requires_grad for p in found.net.parameters()) and not found.net.training


@pytest.mark.parametrize(("name", "classes"), [("flower.jpg", {985}), ("china.jpg", {442, 698})])
def test_it_recognises_photos(name: str, classes: set[int]) -> None:
    """985: daisy; 442: bell cote; 698: palace."""
    with torch.inference_mode():
        assert int(efficientnet_features().net(_seen(photo(name))).argmax()) in classes


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 40, 64), (4, 32, 48), (3, 70, 65)])
def test_features_of_every_kind_of_grid(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (3, *shape)).astype(np.float32)
    judge = efficientnet_features()
    rows = judge(x)
    assert rows.shape == (3, 1280) and rows.dtype == np.float32 and np.isfinite(rows).all() and (rows >= 0).all()
    np.testing.assert_allclose(judge(x[1:2])[0], rows[1], atol=2e-4)  # whatever else is in the batch
    assert judge(x[:0]).shape == (0, 1280)


def test_gray_is_colour_without_colour_and_alpha_lies_over_grey() -> None:
    judge, x = efficientnet_features(), photo("flower.jpg", 64)
    gray = x.mean(1, keepdims=True)
    np.testing.assert_allclose(judge(gray), judge(np.repeat(gray, 3, 1)), atol=1e-5)
    half = np.where(np.arange(64) < 32, 1.0, -1.0).astype(np.float32)
    alpha = np.broadcast_to(half, (1, 1, 64, 64))
    premultiplied = np.where(alpha > 0, x, -1.0)
    over_grey = np.where(alpha > 0, x, 0.0)
    np.testing.assert_allclose(judge(np.concatenate([premultiplied, alpha], 1)), judge(over_grey), atol=1e-5)
    shape = np.concatenate([np.full((1, 3, 64, 64), -1.0, np.float32), alpha], 1)
    nothing = np.full((1, 4, 64, 64), -1.0, np.float32)
    assert np.abs(judge(shape) - judge(nothing)).max() > 0.1, "a black shape cannot be told from nothing"


def test_small_grids_are_enlarged_to_64() -> None:
    x = np.zeros((2, 3, 32, 40), np.float32)
    assert _seen(x).shape == (2, 3, 64, 80)
    assert _seen(np.zeros((2, 1, 65, 70), np.float32)).shape == (2, 3, 65, 70)


@pytest.mark.parametrize("shape", [(5,), (1, 40), (2, 32, 32), (1, 8, 8, 8)])
def test_other_grids_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="two axes with 1, 3 or 4 channels"):
        efficientnet_features()(np.zeros((2, *shape), np.float32))


def test_missing_and_broken_weights_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = efficientnet_features.__wrapped__
    monkeypatch.setattr(efficientnet, "_PACKAGE", "no_such_package_of_weights")
    assert weights_path() is None and ImageModality().judge(Grid(3, (64, 64))) is None
    with pytest.raises(UserError, match="not installed"):
        fresh()
    for content in (b"not weights", b""):
        broken = tmp_path / "w.pth"
        broken.write_bytes(content)
        monkeypatch.setattr(efficientnet, "weights_path", lambda place=broken: place)
        with pytest.raises(UserError, match="not the weights"):
            fresh()


def test_weights_that_carry_code_do_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Planted:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "was here",))

    torch.save({"x": Planted()}, tmp_path / "w.pth")
    monkeypatch.setattr(efficientnet, "weights_path", lambda: tmp_path / "w.pth")
    with pytest.raises(UserError, match="not the weights"):
        efficientnet_features.__wrapped__()
    assert not (tmp_path / "was here").exists()


def test_the_modality_offers_it_from_32_pixels_on() -> None:
    modality = ImageModality()
    judge = modality.judge(Grid(1, (32, 48)))
    assert judge is not None and judge.name == "efficientnet-lite0"
    assert modality.judge(Grid(1, (31, 48))) is None
    assert modality.judge(ImageCodec(3, 8, 8, (0, 0, 0)).grid) is None


def test_rows_name_their_extractor_and_judge_blur() -> None:
    """Crops of one photo against others of it, sharp and blurred: through either extractor blur is farther off."""
    x, rng = photo("china.jpg", 400), np.random.default_rng(0)
    at = rng.integers(0, 336, (120, 2))
    crops = np.stack([x[0, :, r : r + 64 : 2, c : c + 64 : 2] for r, c in at])
    blurred = np.stack([cv2.GaussianBlur(p.transpose(1, 2, 0), (0, 0), 2).transpose(2, 0, 1) for p in crops[80:]])
    judge = efficientnet_features()
    good, bad = (measure(fake, crops[:40], judge, other_x=crops[40:80], resamples=4) for fake in (crops[80:], blurred))
    assert good[0].metric == "frechet" and bad[0].value > 1.5 * good[0].value
    table = summary([*measure(crops[80:], crops[:40], pixel_features(), resamples=4), *good])
    assert {row["extractor"].split("@")[0] for row in table["rows"]} == {"pixels-8", "efficientnet-lite0"}
    titles = [row["title"] for row in table["rows"]]
    assert len(set(titles)) == len(titles)
    assert table["extractor"].startswith("pixels-8")


def test_a_run_of_large_grids_is_measured_through_the_judge_too() -> None:
    rng = np.random.default_rng(0)
    x, none = rng.uniform(-1, 1, (30, 1, 32, 32)).astype(np.float32), np.zeros(0, np.int64)
    known = Known(x[:10], none, x[10:20], none)
    for modality, wanted in ((ImageModality(), {"efficientnet-lite0"}), (object(), set())):
        gan: Any = SimpleNamespace(
            verifier=SimpleNamespace(borrowed=()), modality=modality, codec=ImageCodec(1, 32, 32, (0,))
        )
        found = _judged(gan, x[20:], known, seed=0)
        assert {m.extractor.split("@")[0] for m in found} == wanted


def test_loading_moves_no_random_state() -> None:
    efficientnet_features.cache_clear()
    before = torch.random.get_rng_state()
    efficientnet_features()
    assert torch.equal(before, torch.random.get_rng_state())
