"""Classic augmentation of whole data sets: a plan a variant, applied at the sample's own size, written with its plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from augmint.core.errors import BadSample
from augmint.core.types import Codec, Dataset, Modality, Ref, Sample, Sink, Skipped
from augmint.scale.pool import ordered_map
from augmint.transforms.plan import Plan, sample_key
from augmint.transforms.recipe import Recipe

Progress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class _Job:
    """What a worker needs to make and write one sample's variants."""

    modality: Modality
    codec: Codec | None
    recipe: Recipe
    seed: int
    variants: int
    part: str | None
    sink: Sink | None


def variant_id(parent: str, variant: int) -> str:
    """``a/b.png`` and 0 -> ``a/b.aug0.png``."""
    path = PurePosixPath(parent)
    return path.with_name(f"{path.stem}.aug{variant}{path.suffix}").as_posix()


def augment_sample(job: _Job, ref: Ref) -> list[tuple[Sample, Plan, Path | None]] | Skipped:
    """All variants of one sample, written already if the sink can do that in a worker."""
    try:
        sample = job.modality.load(ref)
    except BadSample as error:
        return Skipped(ref.id, error.problem, error.mend)
    made = []
    for variant in range(job.variants):
        key = sample_key(job.seed, ref.id, variant)
        plan = job.recipe.plan_of(key)
        data = _apply(job, sample, plan, key)
        new = Sample(variant_id(ref.id, variant), data, ref.label, meta=_own_meta(sample), origin="augmented")
        place = job.sink.save(new, part=job.part) if job.sink is not None else None  # type: ignore[attr-defined]
        made.append((replace(new, data=None) if place is not None else new, plan, place))
    return made


def _own_meta(sample: Sample) -> dict[str, Any]:
    return {k: v for k, v in sample.meta.items() if k not in ("sha256", "bytes", "origin")}


def _apply(job: _Job, sample: Sample, plan: Plan, key: int) -> Any:
    apply = getattr(job.modality, "apply", None)
    if apply is not None:
        return apply(plan, sample.data)
    import torch

    from augmint.transforms.run_torch import augment

    assert job.codec is not None
    x = torch.from_numpy(job.codec.encode(sample))[None]
    return job.codec.decode(augment(x, job.recipe, np.array([key], dtype=np.uint64))[0].numpy())


def augment_all(
    data: Dataset,
    recipe: Recipe,
    sink: Sink,
    *,
    variants: int,
    seed: int,
    workers: int,
    part: Callable[[Ref], str | None] = lambda ref: None,
    stop: object = False,
    progress: Progress = lambda event: None,
) -> Iterator[dict[str, Any] | Skipped]:
    """Write ``variants`` augmented samples of each sample; yields a manifest row for each, or why one was skipped.

    The rows, and the bytes that they tell of, do not depend on ``workers``.
    """
    modality = data.modality
    codec = None if hasattr(modality, "apply") else modality.fit(data)
    lasting = getattr(modality, "lasting", ())
    in_worker = sink if hasattr(sink, "save") else None
    job = _Job(modality, codec, recipe.on(codec), seed, variants, None, in_worker)
    results = ordered_map(
        partial(_in_part, job), [(ref, part(ref)) for ref in data.refs], workers=workers, name=lambda item: item[0].id
    )
    for done, (ref, result) in enumerate(zip(data.refs, results, strict=True), 1):
        if isinstance(result, Skipped):
            yield result
            continue
        for sample, plan, place in result:
            if place is None:
                path = sink.write(sample, part=part(ref))
            else:
                path = place
                extra = {k: v for k, v in sample.meta.items() if k not in ref.meta or k in lasting}
                sink.note(place, label=sample.label, origin="augmented", extra=extra)  # type: ignore[attr-defined]
            yield {
                "file_name": path.as_posix(),
                "origin": "augmented",
                "label": ref.label,
                "parents": [ref.id],
                "seed": seed,
                "plan": plan.to_dict(),
            }
        progress({"stage": "augment", "done": done, "total": len(data)})
        if stop:
            return


def _in_part(job: _Job, item: tuple[Ref, str | None]) -> list[tuple[Sample, Plan, Path | None]] | Skipped:
    return augment_sample(replace(job, part=item[1]), item[0])
