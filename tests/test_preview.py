"""Contact sheets: what they show, and where targets are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import augmint as am
import toys
from augmint import cli
from augmint.core.errors import UserError
from augmint.data import images
from augmint.modalities import MODALITIES
from augmint.transforms.marks import marked
from augmint.transforms.targets import Targets
from test_transforms_run import noise_image


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for i in range(10):
        images.write(tmp_path / "in" / "ab"[i % 2] / f"{i}.png", noise_image(30, 40, 3, seed=i))
    return tmp_path / "in"


def test_a_sheet_has_a_line_for_each_op_and_each_sample(pictures: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("ops:\n  - Rotate: {degrees: [0, 90]}\n  - Invert\n  - MixUp\n")
    out = tmp_path / "new" / "sheet.png"
    assert cli.main(["preview", str(pictures), "--recipe", str(path), "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    x = images.read(out)
    # Three ops and six samples, each under a title of 24 pixels; 40 x 30 is enlarged to 160 x 120.
    assert x.shape == (9 * (24 + 124), 6 * 164 + 4, 3)
    first, last = x[24:144, 4:164], x[24:144, 4 + 5 * 164 : 164 + 5 * 164]
    shown = images.read(pictures / "a" / "0.png").repeat(4, 0).repeat(4, 1)
    np.testing.assert_array_equal(first, shown)  # the low end of its range: not turned
    assert np.abs(last.astype(int) - shown).mean() > 20
    invert = x[24 + 148 : 144 + 148, 4:164]
    np.testing.assert_array_equal(invert, 255 - shown)
    before = out.read_bytes()
    am.preview(pictures, out=out, recipe=str(path))
    assert out.read_bytes() == before
    am.preview(pictures, out=out, recipe=str(path), seed=1)
    assert out.read_bytes() != before


def test_every_op_is_shown(pictures: Path, tmp_path: Path) -> None:
    data = am.read(pictures)
    data = data.subset([0, 1])
    am.preview(data, out=tmp_path / "all.png", every_op=True, recipe="light")
    height = images.read(tmp_path / "all.png").shape[0]
    assert height > (len(data.modality.ops) + 2) * 24


def test_targets_are_drawn_where_they_are() -> None:
    picture = np.zeros((20, 30, 3), np.uint8)
    mask = np.zeros((20, 30), np.uint8)
    mask[:5, :5] = 1
    targets = Targets((mask,), np.array([[10.0, 5, 20, 15]]), np.array([[25.0, 17]]))
    out = marked(picture, targets, 90)  # three times as large
    assert out.shape == (60, 90, 3)
    seen = out.any(-1)
    assert seen[:15, :15].all() and not seen[16:, :15].any()
    y, x = np.nonzero(seen[:, 20:70])
    assert (x.min() + 20, y.min(), x.max() + 20, y.max()) == (30, 15, 59, 44)
    assert not seen[20:40, 35:55].any()  # a frame is empty
    y, x = np.nonzero(seen[46:, 70:])
    assert np.abs([x.mean() + 70 - 76, y.mean() + 46 - 52]).max() < 0.6  # the middle of pixel (25, 17), enlarged
    assert marked(noise_image(300, 200, 3), Targets(), 128).shape == (128, 85, 3)


def test_what_cannot_be_drawn_is_told(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"\.png"):
        am.preview(pictures, out=tmp_path / "sheet.jpg")
    monkeypatch.setitem(MODALITIES, "row", "toys:Rows")
    rows = toys.write_rows(tmp_path / "rows")
    with pytest.raises(UserError, match="cannot be drawn"):
        am.preview(am.read(rows, modality="row"), out=tmp_path / "rows.png", recipe="light")
