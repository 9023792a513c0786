"""`augment` as a whole: what it holds in memory, and when its files have reached the disk."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

import augmint as am
from augmint.core.errors import Refused, UserError
from augmint.core.run import iter_jsonl
from augmint.data import images
from augmint.steps import output
from test_transforms_run import noise_image


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for i in range(20):
        images.write(tmp_path / "in" / "ab"[i % 2] / f"{i}.png", noise_image(8, 8, 3, seed=i))
    return tmp_path / "in"


def test_memory_does_not_grow_with_what_is_told_of_each_file(pictures: Path, tmp_path: Path) -> None:
    """A line of the manifest takes 900 bytes on disk and six times as many as an object; what is kept is a name and a label."""

    def peak(variants: int) -> int:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        am.augment(pictures, out=tmp_path / str(variants), recipe="light", variants=variants, workers=1)
        return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    peak(2)  # imports
    few, many = peak(5), peak(35)
    tracemalloc.stop()
    assert (many - few) / (20 * 30) < 1000
    assert sum(row["origin"] == "augmented" for row in iter_jsonl(tmp_path / "35" / "manifest.jsonl")) == 700


def test_all_files_are_on_the_disk_before_the_manifest_tells_of_them(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def settle() -> None:
        assert not (tmp_path / "out" / "manifest.jsonl").exists()
        seen.append(len(list((tmp_path / "out").rglob("*.png"))))

    monkeypatch.setattr(output, "settle", settle)
    am.augment(pictures, out=tmp_path / "out", recipe="light", variants=2, workers=1)
    assert seen == [60]


def test_where_nothing_is_drawn_there_is_one_variant(pictures: Path, tmp_path: Path) -> None:
    result = am.augment(pictures, out=tmp_path / "out", recipe="enhance", variants=4, workers=1)
    assert result.facts == {"real": 20, "augmented": 20} and "would be the same" in result.summary[-1]
    (tmp_path / "r.yaml").write_text("ops:\n  - Denoise\n  - HorizontalFlip: {p: 0.5}\n")
    drawn = am.augment(pictures, out=tmp_path / "drawn", recipe=str(tmp_path / "r.yaml"), variants=2, workers=1)
    assert drawn.facts["augmented"] == 40
    (tmp_path / "n.yaml").write_text("ops:\n  - GaussianNoise: {sigma_frac: [0.1, 0.1]}\n")
    noise = am.augment(pictures, out=tmp_path / "noise", recipe=str(tmp_path / "n.yaml"), variants=2, workers=1)
    assert noise.facts["augmented"] == 40, "the same strength, another noise"


def test_what_augment_has_written_is_not_augmented_again(pictures: Path, tmp_path: Path) -> None:
    images.write(pictures / "a" / "x.aug0.png", noise_image(8, 8, 3))  # a name alone is no variant
    am.augment(pictures, out=tmp_path / "out", recipe="light", variants=1, workers=1)
    with pytest.raises(UserError, match=r"21 samples have the names of variants(.|\n)*real samples"):
        am.augment(tmp_path / "out", out=tmp_path / "twice", recipe="light", workers=1)
    assert not (tmp_path / "twice").exists()


def test_a_dry_run_refuses_what_the_run_would_refuse(pictures: Path, tmp_path: Path) -> None:
    same = {"out": tmp_path / "out", "variants": 1, "workers": 1}
    am.augment(pictures, recipe="light", **same)
    before = sorted(p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*"))
    assert "would write" in am.augment(pictures, recipe="light", dry_run=True, **same).summary[0]
    with pytest.raises(Refused, match=r"recipe\.name was 'light', now 'medium'; recipe\.ops are others") as refused:
        am.augment(pictures, recipe="medium", dry_run=True, **same)
    assert len(str(refused.value)) < 400
    assert before == sorted(p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*"))


def test_a_program_is_told_of_all_that_was_left_out(pictures: Path, tmp_path: Path) -> None:
    bad = [f"{'ab'[i % 2]}/bad{i}.png" for i in range(8)]
    for name in bad:
        (pictures / name).write_bytes(b"no picture")
    first = am.augment(pictures, out=tmp_path / "out", recipe="light", variants=1, workers=1)
    assert sorted(row["where"] for row in first.facts["left_out"]) == sorted(bad)
    assert all(row["reason"] and row["mend"] for row in first.facts["left_out"])
    again = am.augment(pictures, out=tmp_path / "out", recipe="light", variants=1, workers=1)
    assert again.facts == first.facts and first.to_dict()["left_out"] == first.facts["left_out"]
