"""The whole of `augment`: a folder of real samples and their variants, that a stopped command goes on with and a finished one knows again."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augmint.core.config import AugmentVerb
from augmint.core.errors import Interrupted, Refused
from augmint.core.run import (
    Lines,
    Run,
    check_output,
    check_unchanged,
    iter_jsonl,
    read_json,
    stop_on_signal,
    sweep,
    write_json,
    write_text,
)
from augmint.core.types import Dataset, Skipped
from augmint.steps import output
from augmint.steps.augmenting import Journal, augment_all, check_names, check_needs, variants_of
from augmint.steps.inputs import fingerprints, left_out, noted, nothing_usable
from augmint.steps.results import Progress, Result
from augmint.transforms.recipe import Recipe, recipe_for

if TYPE_CHECKING:
    from augmint.steps.searching import Search

UNFINISHED = ".augmint"
"""In the folder, until all is done: what would make another command mix two sets, and how far it is."""
FINISHED = ".augmint.json"
"""And afterwards: the same, in a file, for other tools take every folder for a class."""

SAME = "one variant of each: this recipe draws nothing at random, so further ones would be the same"


def augment_folder(samples: Dataset, target: Path, chosen: AugmentVerb, *, dry_run: bool, progress: Progress) -> Result:
    """Write the reals of ``samples`` and the variants of those to train on to ``target``, by the recipe that is given or searched for.

    Raises:
        UserError: if no sample can be read, or an op's needs are not met.
        Refused: if ``target`` holds anything else, or what other settings have made.
        Interrupted: if it was stopped; the same call goes on.
    """
    started = time.perf_counter()
    found_before = target / "recipe.yaml"  # by a run of this command that was stopped later
    searches = chosen.search and not found_before.is_file()
    source = found_before if chosen.search and not searches else chosen.recipe
    recipe = recipe_for(samples.modality, source, levels=True)
    check_needs(recipe, samples)
    mine = samples.with_refs([r for r in samples.refs if r.part in (None, "train")])
    check_names(samples)
    variants = chosen.variants if searches else variants_of(recipe, chosen.variants)
    about: dict[str, Any] = {
        "verb": "augment",
        "config": {"variants": variants, "seed": chosen.seed, "recipe": recipe.to_dict()},
        "inputs": fingerprints(samples, None),
    }
    is_done = (target / FINISHED).is_file()
    if is_done:
        check_unchanged(read_json(target / FINISHED), about, where=target)
    else:
        check_output(target, ours=UNFINISHED)
    if dry_run:
        return _planned(samples, mine, target, variants, searches)
    if is_done:
        return _made_already(target)
    samples = samples.usable(strict=True) if chosen.strict else samples
    if not any(len(samples.subset([i]).usable()) for i in range(len(samples))):  # stops at the first good one
        raise nothing_usable(samples.usable())
    searched = _searched(mine, chosen, progress) if searches else None
    recipe = searched.recipe if searched is not None else recipe
    about["config"] = {**about["config"], "recipe": recipe.to_dict()}
    run = Run.open(target / UNFINISHED, **about)
    sweep(target)
    if searched is not None:
        write_text(found_before, searched.yaml())
    counts, skipped = _write(samples, mine, recipe, variants, target, run, chosen, progress)
    run.update(status="done", counts=counts)
    lost = [asdict(s) for s in skipped]
    # A kill before or behind this leaves what the same command takes up.
    kept = {k: run.state[k] for k in (*about, "versions", "counts")}
    write_json(target / FINISHED, {**kept, **({"left_out": lost} if lost else {})})
    shutil.rmtree(run.path)
    lines = [
        *(searched.lines if searched is not None else ()),
        f"wrote {counts['real']} real and {counts['augmented']} augmented samples ({recipe.name}) to {target} "
        f"in {time.perf_counter() - started:.1f} s",
        *([SAME] if variants < chosen.variants else []),
    ]
    return Result([*lines, *left_out(skipped), *noted(samples)], _facts(counts, lost), target)


def _facts(counts: dict[str, int], lost: list[dict[str, str]]) -> dict[str, Any]:
    return {**counts, **({"left_out": lost} if lost else {})}


def _planned(samples: Dataset, mine: Dataset, target: Path, variants: int, searches: bool) -> Result:
    counts = {"real": len(samples), "augmented": variants * len(mine)}
    would = f"would write {counts['real']} real and {counts['augmented']} augmented samples to {target}"
    first = ["would first try recipes on the training part"] if searches else []
    return Result([*first, would, *noted(samples)], counts)


def _made_already(target: Path) -> Result:
    """What the command finds where all is done.

    Raises:
        Refused: if files are gone since.
    """
    run = read_json(target / FINISHED)
    shutil.rmtree(target / UNFINISHED, ignore_errors=True)  # which a kill just before the end leaves
    names = [row["file_name"] for row in iter_jsonl(target / "manifest.jsonl")]
    gone = [name for name in names if not (target / name).is_file()]
    if gone or not names:
        raise Refused(
            f"it was finished, and {len(gone)} of its files are gone, the first {gone[0]}"
            if gone
            else "it was finished, and its manifest is gone",
            where=target,
            mend="give another --out, or move this folder away",
        )
    return Result(
        ["all of this is done already; nothing was changed"], _facts(run["counts"], run.get("left_out", [])), target
    )


def _searched(training: Dataset, chosen: AugmentVerb, progress: Progress) -> Search:
    """The recipe that does best in experiments on the training part."""
    from augmint.steps.searching import search  # with torch, whose import takes seconds

    with stop_on_signal() as stop:
        return search(
            training, seed=chosen.seed, seconds=chosen.time, workers=chosen.workers, stop=stop, progress=progress
        )


def _write(
    samples: Dataset,
    mine: Dataset,
    recipe: Recipe,
    variants: int,
    target: Path,
    run: Run,
    chosen: AugmentVerb,
    progress: Progress,
) -> tuple[dict[str, int], tuple[Skipped, ...]]:
    """The files and the manifest: how many of each origin, and what could not be read."""
    sink = samples.modality.sink(target, layout=samples.layout)
    broken: list[Skipped] = []
    with stop_on_signal() as stop, Lines(run / "rows.jsonl") as new:
        for row in augment_all(
            mine,
            recipe,
            sink,
            variants=variants,
            seed=chosen.seed,
            workers=chosen.workers,
            journal=Journal(run / "made.jsonl", target),
            stop=stop,
            progress=progress,
        ):
            if isinstance(row, Skipped):
                broken.append(row)
            else:
                new.add(row)
        if stop:
            raise Interrupted("stopped while augmenting", where=target, mend="the same command goes on from here")
        others = samples.with_refs([r for r in samples.refs if r.part not in (None, "train")]).usable()
        skipped = (*others.skipped, *broken)
        lost = {s.where for s in skipped}
        rows = output.copy_reals(samples.with_refs([r for r in samples.refs if r.id not in lost]), sink, progress)
    sink.close()
    output.write_manifest(target, chain(rows, new))
    return {"real": len(rows), "augmented": len(new)}, skipped
