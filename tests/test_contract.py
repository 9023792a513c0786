"""Every modality through every verb, at sizes that only show that the parts fit together."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import augmint as am
import toys
import voices
from augmint.core.types import Codec, Dataset, Modality
from augmint.data import images
from augmint.modalities import MODALITIES

TINY: dict[str, Any] = {"workers": 1, "time": 5.0, "seed": 3}
TRAIN: dict[str, Any] = {"steps": 8, "batch": 8}
PROVE: dict[str, Any] = {"seeds": 3, "probe_steps": 5, "variants": 1}
VERDICTS = {"HELPS", "NO DIFFERENCE", "HURTS", "NOT ENOUGH EVIDENCE", "NO TASK"}


def write_images(root: Path, *, per_class: int = 12, side: int = 12) -> Path:
    """Class folders of 12 x 12 gray pictures: bars that stand and bars that lie."""
    rng = np.random.default_rng(0)
    for label in ("lying", "standing"):
        for i in range(per_class):
            x = rng.integers(0, 60, (side, side, 1)).astype(np.uint8)
            at = int(rng.integers(2, side - 4))
            if label == "lying":
                x[at : at + 2] = 230
            else:
                x[:, at : at + 2] = 230
            images.write(root / label / f"{i:03d}.png", x)
    return root


KINDS = {
    "image": write_images,
    "speech": voices.write_voices,
    "signal": toys.write_signals,
    "row": toys.write_rows,
}
GRID = {"speech": {"grid": 24}}
"""A smaller grid than its own, where that would take long."""
LOSSY = {"speech": 0.06}
"""Mean difference on the grid, where a codec loses something (phases, and what follows from it: 2.4 of 80 dB)."""


@pytest.fixture(scope="module", autouse=True)
def _toys_known() -> Iterator[None]:
    """The one line that a modality costs outside its own file."""
    patch = pytest.MonkeyPatch()
    patch.setitem(MODALITIES, "signal", "toys:Signals")
    patch.setitem(MODALITIES, "row", "toys:Rows")
    yield
    patch.undo()


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def root(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return KINDS[kind](tmp_path_factory.mktemp(kind) / "data")


@pytest.fixture(scope="module")
def data(kind: str, root: Path) -> Dataset:
    return am.read(root, modality=kind)


@pytest.fixture(scope="module")
def run(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp(f"{kind}-gan") / "run"


@pytest.fixture(scope="module")
def gan(kind: str, data: Dataset, run: Path) -> am.Gan:
    """Trained once a modality, in the folder `run`."""
    return am.train(data, out=run, **TINY, **TRAIN, **GRID.get(kind, {}))


def test_it_fulfils_the_protocol(kind: str, data: Dataset) -> None:
    assert isinstance(data.modality, Modality)
    assert data.modality.name == kind
    assert data.modality.ops


def test_read_gives_ids_labels_a_table_and_a_fingerprint(kind: str, data: Dataset, root: Path) -> None:
    assert len(data) == len(set(data.ids)) == 24
    assert len(data.classes) == 2
    assert set(data.counts.values()) == {12}
    assert list(data.table["id"]) == list(data.ids)
    assert data.fingerprint == am.read(root, modality=kind).fingerprint
    assert all(data[i].id == data.ids[i] and data[i].label == data.refs[i].label for i in range(len(data)))


def test_the_codec_goes_there_and_back_and_survives_json(kind: str, data: Dataset) -> None:
    codec = data.modality.fit(data)
    x = data.encode(codec)
    assert x.dtype == np.float32 and x.shape == (24, *codec.grid.size)
    assert -1 <= x.min() < x.max() <= 1
    again: Codec = data.modality.codec(json.loads(json.dumps(codec.to_dict())))
    sample = data[0]
    same = type(sample)(sample.id, again.decode(x[0]), sample.label)
    if kind in LOSSY:
        assert np.abs(again.encode(same) - x[0]).mean() < LOSSY[kind]
    else:
        np.testing.assert_allclose(again.encode(same), x[0], atol=1.01 / 127.5)
    assert data.modality.features(x).shape[0] == 24
    assert "<" in data.modality.preview(sample)


def test_the_sink_writes_what_the_scan_reads(data: Dataset, tmp_path: Path) -> None:
    sink = data.modality.sink(tmp_path / "out", layout=data.layout)
    for sample in data:
        assert (tmp_path / "out" / sink.write(sample)).is_file()
    back = am.read(tmp_path / "out", modality=data.modality.name)
    assert back.counts == data.counts
    codec = data.modality.fit(data)
    # Rows and files may come back in another order: compare what the two sets hold.
    old, new = (np.sort(d.encode(codec).reshape(24, -1).sum(1)) for d in (data, back))
    np.testing.assert_allclose(new, old, atol=1e-3)


def test_inspect_describes_it(data: Dataset) -> None:
    found = am.inspect(data)
    assert any("24" in line for line in found.summary)
    json.dumps(found.to_dict())


def test_augment_multiplies_it_and_keeps_the_labels(kind: str, data: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "more"
    result = am.augment(data, out=out, variants=2, **TINY)
    more = am.read(out, modality=kind)
    assert result.summary
    assert more.classes == data.classes
    # The sealed test part of the rows is not multiplied.
    assert len(more) >= 2 * (len(data) - len(data.part("test")))


def test_augment_does_not_depend_on_what_ran_before(data: Dataset, tmp_path: Path) -> None:
    for name in ("a", "b"):
        am.augment(data, out=tmp_path / name, variants=1, **TINY)
    assert _bytes(tmp_path / "a") == _bytes(tmp_path / "b")


def test_train_gives_a_gan_that_makes_labelled_samples(gan: am.Gan, data: Dataset) -> None:
    new = gan.generate(4, label=data.classes[1])
    assert len(new) == 4
    assert {s.label for s in new} == {data.classes[1]}
    assert {s.origin for s in new} == {"synthetic"}
    assert type(new[0].data) is type(data[0].data)


def test_generate_writes_a_data_set_of_its_own(
    kind: str, gan: am.Gan, run: Path, data: Dataset, tmp_path: Path
) -> None:
    result = am.generate(run, num=12, out=tmp_path / "new", **TINY)
    assert result.summary
    made = am.read(tmp_path / "new", modality=kind)
    assert 0 < len(made) <= 12
    assert set(made.classes) <= set(data.classes)


def test_prove_ends_with_a_verdict(kind: str, gan: am.Gan, data: Dataset, tmp_path: Path) -> None:
    new = gan.generate(16)
    proof = am.prove(data, new, out=tmp_path / "proof", **TINY, **PROVE, **GRID.get(kind, {}))
    told = json.loads(json.dumps(proof.to_dict()))
    assert {v["verdict"] for v in told["verdicts"]} <= VERDICTS
    assert len(proof.table) == len(told["arms"])


def test_boost_writes_the_set_the_run_and_the_report(kind: str, data: Dataset, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "boosted"
    before = _bytes(root)
    events: list[dict[str, Any]] = []
    result = am.boost(data, out=out, progress=events.append, folds=2, **TINY, **TRAIN, **PROVE, **GRID.get(kind, {}))
    assert result.summary and events
    json.dumps(result.to_dict())
    assert _bytes(root) == before, "the input was touched"
    # Nothing is mixed in that was not proven to help.
    helps = {v["question"] for v in result.to_dict()["proof"]["verdicts"] if v["verdict"] == "HELPS"}
    more = am.read(out, modality=kind)
    assert (len(more) > len(data)) == bool(helps) and len(more) >= len(data)
    assert (out / "report.html").is_file()
    if kind != "row":  # rows of one file cannot be copied byte for byte
        written = set(_bytes(out).values())
        assert set(before.values()) <= written


def test_report_is_written_again(gan: am.Gan, run: Path) -> None:
    path = am.report(run)
    assert path.suffix == ".html"
    assert "<html" in path.read_text(encoding="utf-8")[:200].lower()


def _bytes(folder: Path) -> dict[str, str]:
    """SHA-256 of every sample file."""
    return {
        p.relative_to(folder).as_posix(): sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.suffix in (".png", ".wav", ".npy", ".csv")
    }
