"""Write the boosted data set: reals byte for byte, what was proven beside them, and a line on each file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from augmint.core.run import file_sum, settle, write_bytes, write_jsonl, write_text
from augmint.core.types import Dataset, FileSink, Modality, Ref, Sample, Sink
from augmint.steps.results import Progress

if TYPE_CHECKING:
    from augmint.steps.synthesis import Synthetic

Rows = list[dict[str, Any]]


def part_folder(data: Dataset) -> str | None:
    """The name of the data set's own training folder, where it has one: made samples go there."""
    for ref in data.refs:
        if ref.part == "train" and "/" in ref.id:
            return ref.id.split("/", 1)[0]
    return None


def copy_reals(data: Dataset, sink: Sink, progress: Progress) -> Rows:
    """Copy every real sample; returns their manifest rows."""
    rows: Rows = []
    files = sink if isinstance(sink, FileSink) else None
    for done, ref in enumerate(data.refs, 1):
        path = sink.copy(ref)
        row: dict[str, Any] = {
            "file_name": path.as_posix(),
            "origin": "real",
            "label": ref.label,
            "part": ref.part,
            "parents": [],
        }
        if files is not None and ref.beside:
            row["beside"] = {place.as_posix(): "" for _, place in files.beside(ref)}
        rows.append(row)
        if done % 100 == 0 or done == len(data):
            progress({"stage": "write", "done": done, "total": len(data)})
    return rows


def write_synthetic(
    made: Iterable[Synthetic], sink: Sink, *, part: str | None = None, dials: Mapping[str, Any] | None = None
) -> Rows:
    """Write what curation kept; returns manifest rows with scores and model, and with the dials that steered them, if any did."""
    steered = {"dials": dict(dials)} if dials else {}
    rows: Rows = []
    for fold, synthetic in enumerate(made):
        for index in synthetic.kept.tolist():
            sample = synthetic.sample(index)
            name = sample.id if fold == 0 else f"{sample.id}-fold{fold}"
            sample = replace(sample, id=name, meta=metadata(sample))
            path = sink.write(sample, part=part)
            rows.append({**manifest_row(sample, path), **steered})
    return rows


def metadata(sample: Sample) -> dict[str, Any]:
    """What of a synthetic sample's knowledge goes into ``metadata.jsonl``."""
    return {name: sample.meta[name] for name in ("score", "rebuild", "model", "seed", "index", "sealed")}


def manifest_row(sample: Sample, path: Path) -> dict[str, Any]:
    """The manifest's line of a synthetic sample."""
    return {
        "file_name": path.as_posix(),
        "origin": "synthetic",
        "label": sample.label,
        "parents": [],
        **metadata(sample),
    }


def write_walk(frames: list[Sample], modality: Modality, out: Path) -> Rows:
    """A walk: its frames as samples in ``frames/`` and, where the kind of data has pictures, ``walk.gif`` and a sheet of twelve."""
    sink, rows = modality.sink(out / "frames", layout="flat"), []
    for sample in frames:
        path = sink.write(replace(sample, meta=metadata(sample)))
        rows.append(manifest_row(sample, Path("frames") / path))
    sink.close()
    write_manifest(out, rows)
    film, sheet = getattr(modality, "film", None), getattr(modality, "sheet", None)
    if film is not None:
        data, suffix = film(frames)
        write_bytes(out / f"walk{suffix}", data)
    if sheet is not None:
        data, suffix = sheet([[frames[i] for i in np.linspace(0, len(frames) - 1, 12).astype(int)]], [""])
        write_bytes(out / f"walk{suffix}", data)
    return rows


def write_manifest(out: Path, rows: Iterable[dict[str, Any]]) -> None:
    """``manifest.jsonl``: one line a sample, with the SHA-256 of its file, and of those ``beside`` it: as the row has them, where they were
    taken when the file was written.

    When it is there, the files that it tells of have reached the disk.
    """
    settle()
    sums: dict[str, str] = {}  # a COCO file lies beside all of its pictures

    def summed(row: dict[str, Any]) -> dict[str, Any]:
        own = row.get("sha256") or file_sum(out / row["file_name"])
        beside = {}
        for name, given in row.get("beside", {}).items():
            if (out / name).is_file():  # what workers leave for the end is gone by now
                if not given and name not in sums:
                    sums[name] = file_sum(out / name)
                beside[name] = given or sums[name]
        rest = {k: v for k, v in row.items() if k not in ("sha256", "beside")}
        return {**rest, "sha256": own, **({"beside": beside} if beside else {})}

    write_jsonl(out / "manifest.jsonl", map(summed, rows))


def write_rejected(path: Path, made: Iterable[Synthetic]) -> None:
    """``rejected.jsonl``: every rejected candidate with its reason and scores."""
    rows: Rows = []
    for fold, synthetic in enumerate(made):
        for index, reason in sorted(synthetic.curation.reasons.items()):
            sample = synthetic.about(index)
            rows.append({"id": sample.id, "fold": fold, "label": sample.label, "reason": reason, **metadata(sample)})
    write_jsonl(path, rows)


def write_gallery(
    path: Path, data: Dataset, made: Iterable[Synthetic], augmented: Iterable[Sample], real: Iterable[Ref]
) -> None:
    """``eval/gallery.jsonl``: samples with pictures for the report, each synthetic one beside its nearest training sample."""
    show = data.modality.preview
    rows: Rows = []
    for synthetic in made:
        for kind, chosen in (
            ("kept", _spread(synthetic.kept.tolist(), 48)),
            ("rejected", _spread(sorted(synthetic.curation.reasons), 36)),
        ):
            rows += [_gallery_row(kind, synthetic, i, show) for i in chosen]
    reals = [data.modality.load(ref) for ref in real]
    for new, parent in zip(augmented, reals, strict=False):
        row = {"id": new.id, "kind": "augmented", "label": new.label, "html": show(new)}
        rows.append({**row, "nearest_id": parent.id, "nearest_html": show(parent)})
    rows += [{"id": s.id, "kind": "real", "label": s.label, "html": show(s)} for s in reals]
    write_jsonl(path, rows)


def _gallery_row(kind: str, synthetic: Synthetic, index: int, show: Callable[[Sample], str]) -> dict[str, Any]:
    sample = synthetic.sample(index)
    nearest = int(synthetic.copies.nearest[index])
    twin = Sample(f"training sample {nearest}", synthetic.gan.codec.decode(synthetic.known.x[nearest]))
    return {
        "id": sample.id,
        "kind": kind,
        "label": sample.label,
        "score": sample.meta["score"],
        "rebuild": sample.meta["rebuild"],
        "reason": synthetic.curation.reasons.get(index),
        "html": show(sample),
        "nearest_id": twin.id,
        "nearest_html": show(twin),
        "nearest_ratio": round(float(synthetic.copies.ratio[index]), 3),
    }


def _spread(indices: list[int], most: int) -> list[int]:
    return indices if len(indices) <= most else [indices[int(i * len(indices) / most)] for i in range(most)]


def write_card(out: Path, title: str, counts: dict[str, int], sentences: Iterable[str], classes: Iterable[str]) -> None:
    """``README.md``: the data card, with the YAML head that dataset hubs read."""
    lines = [f"- {n} {origin}" for origin, n in counts.items() if n]
    text = "\n".join(
        [
            "---", "tags: [augmint, synthetic-data]" if counts.get("synthetic") else "tags: [augmint]", "---", "",
            f"# {title}", "", "Made with augmint from a folder of real samples.", "", "## What is in it", "", *lines,
            "", f"Classes: {', '.join(classes) or 'none'}", "", "## What was proven", "", *[f"- {s}" for s in sentences], "",
            "`manifest.jsonl` has a line for each file: its SHA-256, its origin, its parents, and the plan or the scores behind it.",
            "Real files are unchanged. Made files carry the IPTC `digitalSourceType` in their metadata where the format can;",
            "metadata can be stripped, so this helps detection and is no proof of origin. See `report.html` for the evidence.", "",
        ]
    )  # fmt: skip
    write_text(out / "README.md", text)
