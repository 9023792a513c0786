"""`augment` as a whole: what it holds in memory, and when its files have reached the disk."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

import augmint as am
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
