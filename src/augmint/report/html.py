"""One self-contained ``report.html`` from the files of a run: opens offline, loads nothing, runs no script."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from augmint.core.errors import UserError
from augmint.core.run import read_json, read_jsonl, write_text
from augmint.core.types import Modality
from augmint.report import gallery, manifest
from augmint.report.evidence import Written
from augmint.report.page import rendered
from augmint.report.view import Files, view


def write(run_dir: Path, out_path: Path, modality: Modality | None = None) -> Path:
    """Write the report of a run and return its path. Whatever the run does not hold is left out.

    Args:
        run_dir: the run folder: run.json and, where the run made them, choices.json, config.yaml, metrics.jsonl, split.csv, eval/ and samples/.
        out_path: the file to write, under a temporary name first.
        modality: named in the head of the report.

    Raises:
        UserError: there is no run, one of its files is damaged, or the place cannot be written to.
    """
    if not (run_dir / "run.json").exists():
        raise UserError(
            "there is no run here", where=run_dir, mend="give the OUT.run folder of boost, augment, train or prove"
        )
    write_text(out_path, render(load(run_dir, modality)))
    return out_path


def load(run_dir: Path, modality: Modality | None = None) -> Files:
    """What the run folder holds; a file that is not there is empty."""
    config = run_dir / "config.yaml"
    # With outer folds each has a GAN of its own; the curves and pictures of the first stand for all.
    trained = run_dir / "fold-0" if (run_dir / "fold-0" / "metrics.jsonl").exists() else run_dir
    journal = trained / "log.txt"
    return Files(
        name=run_dir.name,
        state=read_json(run_dir / "run.json"),
        choices=_json(run_dir / "choices.json") or {},
        config=config.read_text(encoding="utf-8") if config.exists() else "",
        log=read_jsonl(trained / "metrics.jsonl"),
        journal=journal.read_text(encoding="utf-8") if journal.exists() else "",
        proof=_json(run_dir / "eval" / "proof.json"),
        metrics=_json(run_dir / "eval" / "metrics.json"),
        gallery=read_jsonl(run_dir / "eval" / "gallery.jsonl"),
        snapshots=gallery.snapshots(trained / "samples"),
        dials=gallery.dials(trained / "samples"),
        split=_table(run_dir / "split.csv"),
        modality=modality.name if modality is not None else "",
        registered=_json(run_dir / "eval" / "registered.json"),
        predictions=[Written(p.name, p.stat().st_mtime) for p in (run_dir / "eval").glob("predictions-*.npz")],
        closest=gallery.closest(read_jsonl(run_dir / "eval" / "copies.jsonl")),
        map=_json(run_dir / "eval" / "map.json"),
        evidence=manifest.files(run_dir),
    )


def render(files: Files) -> str:
    """The page."""
    return rendered("report.html.j2", **view(files), groups=gallery.groups(files.gallery))


def _json(path: Path) -> Any:
    return read_json(path) if path.exists() else None


def _table(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))
