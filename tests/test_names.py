"""Names that other people's scripts rely on, frozen here: changing one is a decision, with a line in CHANGELOG.md."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import augmint
from augmint import cli
from augmint.core.run import read_json, read_jsonl

ROOT = Path(__file__).parent.parent

PUBLIC = [
    "Augment",
    "Dataset",
    "Gan",
    "Proof",
    "Recipe",
    "Sample",
    "UserError",
    "__version__",
    "augment",
    "boost",
    "demo",
    "doctor",
    "export",
    "from_albumentations",
    "generate",
    "inspect",
    "load",
    "preview",
    "prove",
    "read",
    "replay",
    "report",
    "train",
]

_RUN = "--seed --time --preset --workers --strict --no-strict"
_AUGMENT = "--recipe --variants"
_TRAIN = "--size --tier --grid --steps --batch --gamma --lr --rebuild-weight --precision --compile --device --lazy"
_GENERATE = "--quality --keep --vocoder"
_PROVE = "--seeds --margin --share --probe-steps --probe"
_SETTINGS = "--config --dry-run"
_EVERY = "--json --debug"
OPTIONS = {
    "boost": f"--out --unlabelled {_RUN} {_AUGMENT} {_TRAIN} {_GENERATE} {_PROVE}"
    f" --folds --scope --include-synthetic --no-include-synthetic {_SETTINGS} {_EVERY}",
    "augment": f"--out {_RUN} {_AUGMENT} --search --no-search {_SETTINGS} {_EVERY}",
    "train": f"--out --unlabelled --init --denoiser --no-denoiser --noises --vocoder --no-vocoder {_RUN} {_TRAIN} {_SETTINGS} {_EVERY}",
    "generate": f"--num --out --label {_RUN} {_GENERATE} --style --like --strength --source --walk --no-walk {_SETTINGS} {_EVERY}",
    "prove": f"--out {_RUN} {_AUGMENT} {_PROVE} --unlabelled --grid --audit --no-audit {_SETTINGS} {_EVERY}",
    "report": _EVERY,
    "export": f"--out --onnx {_EVERY}",
    "inspect": f"--fix --out {_EVERY}",
    "preview": f"--out --recipe --every-op --cell --seed {_EVERY}",
    "replay": f"--out {_EVERY}",
    "doctor": _EVERY,
    "demo": f"--closed --out {_EVERY}",
}

RUN_JSON = [
    "verb",
    "config",
    "inputs",
    "status",
    "started",
    "versions",
    "timings",
    "command",
    "counts",
    "skipped",
]
METRICS = [
    "step",
    "samples_seen",
    "seconds",
    "tick",
    "g_loss",
    "v_loss",
    "recon",
    "r1",
    "r2",
    "aug_p",
    "gap",
    "lr",
    "fid",
    "precision",
    "recall",
    "density",
    "coverage",
    "copy_rate",
]
MANIFEST = [
    "file_name",
    "dials",
    "sha256",
    "beside",
    "origin",
    "label",
    "part",
    "parents",
    "plan",
    "score",
    "rebuild",
    "model",
    "seed",
    "index",
    "reason",
    "soft_label",
]
METADATA = ["file_name", "label", "split", "origin", "digital_source_type", "score", "soft_label"]


def test_public_names() -> None:
    assert sorted(augmint.__all__) == sorted(PUBLIC) == sorted(dir(augmint))
    assert all(getattr(augmint, name) is not None for name in PUBLIC)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = augmint.no_such_name


def test_report_stays_the_verb_when_the_sub_package_is_imported() -> None:
    from augmint.report import html

    assert isinstance(html, ModuleType)
    assert callable(augmint.report)


@pytest.mark.parametrize("name", OPTIONS)
def test_options(name: str) -> None:
    assert sorted(cli.options(name)) == sorted(OPTIONS[name].split())


def test_verbs_are_commands_and_functions() -> None:
    assert set(cli.VERBS) == set(OPTIONS)
    assert set(cli.VERBS) < set(augmint.__all__)


def test_the_reference_page_is_in_step_with_the_settings() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "reference.py"))["page"]()
    assert (ROOT / "docs" / "reference.md").read_text(encoding="utf-8") == page, "run: make docs"


def test_keys_of_the_files_that_a_run_leaves(tmp_path: Path) -> None:
    from augmint.data import images

    pictures = np.random.default_rng(0).integers(0, 255, (16, 8, 8, 1)).astype(np.uint8)
    for i, x in enumerate(pictures):
        images.write(tmp_path / "in" / "ab"[i % 2] / f"{i}.png", x)
    data = augmint.read(tmp_path / "in")
    augmint.augment(data, out=tmp_path / "more", variants=1, workers=1)
    augmint.train(data, out=tmp_path / "run", steps=4, batch=4, workers=1)
    assert set(read_json(tmp_path / "run" / "run.json")) <= set(RUN_JSON)
    for file, known in (
        ("run/metrics.jsonl", METRICS),
        ("more/manifest.jsonl", MANIFEST),
        ("more/metadata.jsonl", METADATA),
    ):
        rows: list[dict[str, Any]] = read_jsonl(tmp_path / file)
        assert rows, file
        assert {key for row in rows for key in row} <= set(known), file
