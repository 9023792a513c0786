"""Data sets with something wrong in them, through `augment`: what is left out, what is told, and what is left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import augmint as am
from augmint.core.errors import BadSample, Refused, UserError
from augmint.core.run import read_jsonl
from augmint.data import images


def noise(*key: int) -> np.ndarray:
    return np.random.default_rng(key).integers(0, 255, (16, 16, 3)).astype(np.uint8)


def write(root: Path, *labels: str, each: int = 3) -> Path:
    for k, label in enumerate(labels or ("cat", "dog")):
        for i in range(each):
            images.write(root / label / f"{i}.png", noise(k, i))
    return root


def cut_short(path: Path) -> Path:
    """Its header is right, so that only reading it whole shows the fault."""
    images.write(path, noise(9))
    path.write_bytes(path.read_bytes()[:-300])
    return path


def names(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


@pytest.mark.parametrize("place", ["train/cat", "test/cat"])
def test_a_broken_file_is_not_copied_and_is_named_with_its_mend(tmp_path: Path, place: str) -> None:
    write(tmp_path / "in" / "train")
    write(tmp_path / "in" / "test")
    cut_short(tmp_path / "in" / place / "cut.jpg")
    result = am.augment(tmp_path / "in", out=tmp_path / "out", variants=2, workers=1)
    assert not list((tmp_path / "out").rglob("cut*"))
    (told,) = (line for line in result.summary if "cut.jpg" in line)
    assert f"{place}/cut.jpg: the JPEG is cut short" in told and "restore the file" in told
    listed = [r["file_name"] for r in read_jsonl(tmp_path / "out" / "manifest.jsonl")]
    assert len(listed) == 12 + 6 * 2 and "wrote 12 real and 12 augmented" in result.summary[0]


def test_what_the_scan_leaves_out_is_named_too(tmp_path: Path) -> None:
    (write(tmp_path / "in") / "cat" / "empty.png").write_bytes(b"")
    told = am.augment(tmp_path / "in", out=tmp_path / "out", variants=1, workers=1).summary
    assert any("cat/empty.png" in line and "to mend it:" in line for line in told)


def test_strict_stops_at_a_broken_file_before_anything_is_written(tmp_path: Path) -> None:
    cut_short(write(tmp_path / "in") / "dog" / "cut.jpg")
    with pytest.raises(BadSample, match=r"cut\.jpg"):
        am.augment(tmp_path / "in", out=tmp_path / "out", strict=True, workers=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", [am.augment, am.boost])
def test_nothing_but_broken_files_is_refused_before_anything_is_written(tmp_path: Path, verb: object) -> None:
    cut_short(tmp_path / "in" / "cat" / "cut.jpg")
    with pytest.raises(UserError, match=r"cut\.jpg: the JPEG is cut short(.|\n)*restore the file"):
        verb(tmp_path / "in", out=tmp_path / "out", workers=1)  # type: ignore[operator]
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_an_output_where_even_root_cannot_write_is_told_with_its_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^/proc(.|\n)*choose another --out"):
        am.augment(write(tmp_path / "in"), out="/proc/augmint-out", workers=1)


def test_variants_lie_beside_their_parents_whatever_the_class_is_called(tmp_path: Path) -> None:
    """Tools that know only folders read the output too."""
    labels = ("a:b", "what?", "con", "<b>", "blank ")
    data = am.read(write(tmp_path / "in", *labels))
    am.augment(data, out=tmp_path / "out", variants=1, workers=1)
    assert {p.name for p in (tmp_path / "out").iterdir() if p.is_dir()} == set(labels)
    assert am.read(tmp_path / "out").counts == dict.fromkeys(sorted(labels), 6)
    (tmp_path / "out" / "metadata.jsonl").unlink()
    assert am.read(tmp_path / "out").counts == dict.fromkeys(sorted(labels), 6)


class _Stopped(Exception):
    pass


def stopped(tmp_path: Path, **settings: int) -> None:
    """Leave an output as a kill does: after some of its files."""

    def stop(event: dict[str, object]) -> None:
        if event.get("done") == 3:
            raise _Stopped

    with pytest.raises(_Stopped):
        am.augment(tmp_path / "in", out=tmp_path / "out", workers=1, progress=stop, **settings)
    assert list((tmp_path / "out").rglob("*.aug0.png"))


def test_an_unfinished_output_is_not_mixed_with_other_settings_or_data(tmp_path: Path) -> None:
    write(tmp_path / "in")
    stopped(tmp_path, variants=3)
    before = names(tmp_path / "out")
    with pytest.raises(Refused, match="variants was 3, now 1"):
        am.augment(tmp_path / "in", out=tmp_path / "out", variants=1, workers=1)
    images.write(tmp_path / "in" / "cat" / "new.png", noise(7))
    with pytest.raises(Refused, match=r"inputs\.data"):
        am.augment(tmp_path / "in", out=tmp_path / "out", variants=3, workers=1)
    assert names(tmp_path / "out") == before


def test_the_same_command_ends_what_was_stopped_and_leaves_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "in")
    am.augment(tmp_path / "in", out=tmp_path / "whole", variants=3, workers=1)
    stopped(tmp_path, variants=3)
    (tmp_path / "out" / "cat" / ".augmint-half.part").write_bytes(b"what a kill leaves")
    am.augment(tmp_path / "in", out=tmp_path / "out", variants=3, workers=1)
    assert names(tmp_path / "out") == names(tmp_path / "whole")
    for name in names(tmp_path / "whole"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
