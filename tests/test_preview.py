"""Contact sheets: what they show, and where targets are drawn."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
import pytest

import augmint as am
import toys
import voices
from augmint import cli
from augmint.core.errors import UserError
from augmint.data import audio, images
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
    bright = out[:15, :15].max(-1) == 255
    outline = np.zeros((15, 15), bool)
    outline[14] = outline[:, 14] = True  # the edge of the picture is no outline
    np.testing.assert_array_equal(bright, outline)  # a pixel wide, in full colour
    assert 0 < out[:14, :14].max() <= 0.15 * 255  # what is inside is still seen
    y, x = np.nonzero(seen[:, 20:70])
    assert (x.min() + 20, y.min(), x.max() + 20, y.max()) == (30, 15, 59, 44)
    assert not seen[20:40, 35:55].any()  # a frame is empty
    y, x = np.nonzero(seen[46:, 70:])
    assert np.abs([x.mean() + 70 - 76, y.mean() + 46 - 52]).max() < 0.6  # the middle of pixel (25, 17), enlarged
    assert marked(noise_image(300, 200, 3), Targets(), 128).shape == (128, 85, 3)


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Two vowels at several levels."""
    for i in range(4):
        sound = voices.voice("ah" if i % 2 else "ee", seconds=0.3 + 0.1 * i, rate=16_000)
        voices.write(tmp_path / "in" / "ab"[i % 2] / f"{i}.wav", sound)
    return tmp_path / "in"


def test_sounds_are_drawn_as_loud_and_as_long_as_they_are(sounds: Path, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("ops:\n  - Gain: {gain_db: [-40, 0]}\n  - TimeStretch: {rate: [0.5, 2]}\n")
    am.preview(sounds, out=tmp_path / "sheet.png", recipe=str(tmp_path / "r.yaml"))
    x = images.read(tmp_path / "sheet.png").astype(int)
    paper = (x == x[0, 0]).all(-1)
    line = [slice(24, 24 + 128), slice(24 + 156, 24 + 156 + 128)]  # under titles of 24 pixels, 4 pixels apart
    edges = [np.flatnonzero(np.diff(np.concatenate([[True], paper[rows].all(0), [True]]).astype(int))) for rows in line]
    widths = [np.diff(found)[::2] for found in edges]
    assert len(widths[0]) == 6 and np.ptp(widths[0]) == 0
    # From half to double speed: the first is four times as long as the last, within a column.
    assert len(widths[1]) == 6 and (np.diff(widths[1]) < 0).all() and 3.4 < widths[1][0] / widths[1][-1] < 4.6
    light = [x[line[0], a:b].mean() for a, b in zip(edges[0][::2], edges[0][1::2], strict=True)]
    assert (np.diff(light) > 5).all()  # eight decibels a step


def test_a_page_has_players_for_what_each_op_and_the_recipe_make(sounds: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "r.yaml").write_text("name: mine & yours\nops:\n  - Gain: {gain_db: [-20, 0]}\n  - PolarityInvert\n")
    out = tmp_path / "page.html"
    assert cli.main(["preview", str(sounds), "--recipe", str(tmp_path / "r.yaml"), "--out", str(out)]) == 0
    page = out.read_text(encoding="utf-8")
    coded = [base64.b64decode(c) for c in re.findall(r'src="data:audio/mpeg;base64,([^"]+)"', page)]
    assert len(coded) == 1 + 6 + 1 + 1 + 4 * (1 + 5)  # as it is and from low to high; the same inverted; samples
    assert "gain_db -20<" in page and "gain_db -12<" in page and "variant 4<" in page and "mine &amp; yours" in page
    assert "http" not in page and "<script" not in page
    heard = []
    for data in coded[:7]:
        (tmp_path / "a.mp3").write_bytes(data)
        heard.append(10 * np.log10(np.square(audio.read(tmp_path / "a.mp3").wave).mean()))
    np.testing.assert_allclose(np.array(heard[1:]) - heard[0], np.linspace(-20, 0, 6), atol=0.3)


def test_on_a_page_spectrograms_are_as_wide_as_sounds_are_long_and_what_draws_nothing_is_shown_once(
    sounds: Path, tmp_path: Path
) -> None:
    (tmp_path / "r.yaml").write_text("ops:\n  - TimeStretch: {rate: [0.5, 2]}\n")
    am.preview(sounds, out=tmp_path / "page.html", recipe=str(tmp_path / "r.yaml"))
    page = (tmp_path / "page.html").read_text()
    shares = [float(w) for w in re.findall(r"width:([\d.]+)%;aspect-ratio", page)][1:7]
    told = [float(s) for s in re.findall(r'<img[^>]*title="[^"]*, ([\d.]+) s"', page)][1:7]
    assert shares[0] == 100 and shares[-1] < 30
    np.testing.assert_allclose(shares, 100 * np.array(told) / told[0], atol=2.5)  # times are told in hundredths
    am.preview(sounds, out=tmp_path / "clean.html", recipe="enhance")
    page = (tmp_path / "clean.html").read_text()
    assert "as it is, then what it becomes" in page and "variant 0<" in page and "variant 1<" not in page
    assert page.count("strength 1<") == page.count("gain_db 6<") == 1


def test_pictures_have_a_page_too(pictures: Path, tmp_path: Path) -> None:
    am.preview(pictures, out=tmp_path / "page.html", recipe="light")
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count("<img") >= 6 * (1 + 5)


def test_what_is_mixed_in_is_named(pictures: Path, tmp_path: Path) -> None:
    """The captions name the samples that are mixed in, which on flat greys the pixels give away."""
    greys = {f"{'ab'[i % 2]}/{i}.png": 20 * i for i in range(10)}
    for name, grey in greys.items():
        images.write(pictures / name, np.full((8, 8, 3), grey, np.uint8))
    (tmp_path / "r.yaml").write_text("ops:\n  - MixUp: {p: 1}\n")
    am.preview(pictures, out=tmp_path / "page.html", recipe=str(tmp_path / "r.yaml"))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    own, other = re.findall(r"MixUp, on (\S+), with (\S+)<", page)[0]
    drawn = []
    for coded in re.findall(r'src="data:image/png;base64,([^"]+)"', page):
        (tmp_path / "a.png").write_bytes(base64.b64decode(coded))
        drawn.append(images.read(tmp_path / "a.png"))
    assert (drawn[0] == greys[own]).all()
    low, high = sorted((greys[own], greys[other]))
    assert (
        all(low - 1 <= x.mean() <= high + 1 for x in drawn[1:6])
        and max(abs(x.mean() - greys[own]) for x in drawn[1:6]) > 2
    )
    assert len(re.findall(r"variant \d, with [ab]/\d\.png<", page)) == 6 * 5


def test_what_cannot_be_drawn_is_told(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"\.png"):
        am.preview(pictures, out=tmp_path / "sheet.jpg")
    monkeypatch.setitem(MODALITIES, "row", "toys:Rows")
    rows = toys.write_rows(tmp_path / "rows")
    with pytest.raises(UserError, match="cannot be drawn"):
        am.preview(am.read(rows, modality="row"), out=tmp_path / "rows.png", recipe="light")


@pytest.mark.parametrize("num_channels", [1, 3])
def test_a_mask_hides_nothing_of_what_is_in_it(num_channels: int) -> None:
    picture = noise_image(40, 50, 3)
    instances = np.zeros((40, 50), np.int32)
    instances[5:20, 5:30], instances[12:30, 20:45] = 1, 2
    masks = (np.repeat((instances > 0)[..., None], num_channels, 2).astype(np.uint8),)
    for targets in (Targets(masks), Targets(boxes=np.array([[5.0, 5, 30, 20], [20, 12, 45, 30]]), instances=instances)):
        out = marked(picture, targets, 50)
        covered = instances > 0 if len(targets.masks) else instances
        wide = np.pad(covered, 1, mode="edge")
        around = [wide[1 + dy : 41 + dy, 1 + dx : 51 + dx] for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0))]
        rim = (covered > 0) & np.any([a != covered for a in around], axis=0)
        inside = (covered > 0) & ~rim
        framed = np.zeros((40, 50), bool)
        for x0, y0, x1, y1 in np.rint(targets.boxes).astype(int):
            framed[max(0, y0 - 12) : y1 + 12, [x0, x1 - 1]] = framed[[y0, y1 - 1], x0:x1] = True
        far = np.abs(out.astype(int) - picture).max(-1)
        assert far[inside & ~framed].max() <= 0.15 * 255 and far[covered == 0][~framed[covered == 0]].max() == 0
        assert (out[rim & ~framed].max(-1) == 255).all() and len(np.unique(out[rim & ~framed], axis=0)) <= 2


def test_cells_are_as_large_as_asked_for(tmp_path: Path, capsys) -> None:
    images.write(tmp_path / "in" / "a.png", noise_image(550, 425, 1))
    (tmp_path / "r.yaml").write_text("ops:\n  - Invert\n")
    given = ["preview", str(tmp_path / "in"), "--recipe", str(tmp_path / "r.yaml")]
    for cell, height, width in ((160, 160, 124), (550, 550, 425), (64, 64, 49)):
        out = tmp_path / f"{cell}.png"
        assert cli.main([*given, "--out", str(out), "--cell", str(cell)]) == 0
        x = images.read(out)
        assert x.shape[0] == 2 * (24 + height + 4)
        inverted = x[24 : 24 + height, 4 : 4 + width]
        assert (x[24 : 24 + height, 4 + width] == x[0, 0]).all()
        assert np.abs(inverted.mean() - (255 - noise_image(550, 425, 1).mean())) < 1
        if cell == 550:
            np.testing.assert_array_equal(inverted[..., :1], 255 - noise_image(550, 425, 1))
        am.preview(tmp_path / "in", out=tmp_path / "page.html", recipe=str(tmp_path / "r.yaml"), cell=cell)
        page = (tmp_path / "page.html").read_text()
        assert '<img src="data:image/' in page and f'width="{cell}"' in page
        kind, coded = re.findall(r'src="data:image/(\w+);base64,([^"]+)"', page)[0]
        (tmp_path / f"shown.{kind}").write_bytes(base64.b64decode(coded))
        assert images.read(tmp_path / f"shown.{kind}").shape[1] >= min(425, cell)
    for cell in (63, 1025):
        assert cli.main([*given, "--out", str(tmp_path / "x.png"), "--cell", str(cell)]) == 2
        assert "from 64 to 1024" in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()
