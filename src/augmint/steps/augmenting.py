"""Classic augmentation of whole data sets: a plan a variant, applied at the sample's own size, written with its plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from augmint.core.errors import BadSample, UserError
from augmint.core.types import Codec, Dataset, Modality, Ref, Sample, Sink, Skipped
from augmint.scale.pool import ordered_map
from augmint.transforms.mix import FILE, Pool
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
    sink: Sink | None


def variant_id(parent: str, variant: int) -> str:
    """``a/b.png`` and 0 -> ``a/b.aug0.png``."""
    path = PurePosixPath(parent)
    return path.with_name(f"{path.stem}.aug{variant}{path.suffix}").as_posix()


@dataclass(frozen=True, slots=True)
class _Item:
    """One sample; for a recipe that mixes samples also its plans and its partners, which are found where all ids are known."""

    ref: Ref
    part: str | None
    plans: tuple[Plan, ...] = ()
    partners: Mapping[str, Ref] = field(default_factory=dict)


def augment_sample(job: _Job, item: _Item) -> list[tuple[Sample, Plan, Path | None]] | Skipped:
    """All variants of one sample, written already if the sink can do that in a worker.

    A mixing step whose partner cannot be read does not happen; the plan that comes back says so.
    """
    ref = item.ref
    try:
        sample = job.modality.load(ref)
    except BadSample as error:
        return Skipped(ref.id, error.problem, error.mend)
    partners = _Partners(job.modality, item.partners)
    made = []
    for variant in range(job.variants):
        key = sample_key(job.seed, ref.id, variant)
        plan = item.plans[variant] if item.plans else job.recipe.plan_of(key, own=ref.id)
        plan = plan.without([i for i in plan.others if not partners.is_usable(i)])
        new = _transformed(job, sample, plan, key, partners)
        new = replace(new, id=variant_id(ref.id, variant), meta=_own_meta(new), origin="augmented")
        place = job.sink.save(new, part=item.part) if job.sink is not None else None  # type: ignore[attr-defined]
        made.append((replace(new, data=None, targets={}) if place is not None else new, plan, place))
    return made


class _Partners:
    """The samples that are mixed into one sample's variants, each loaded once."""

    def __init__(self, modality: Modality, refs: Mapping[str, Ref]) -> None:
        self._modality, self._refs = modality, refs
        self._loaded: dict[str, Sample | None] = {}

    def is_usable(self, name: str) -> bool:
        if name not in self._loaded:
            try:
                self._loaded[name] = self._modality.load(self._refs[name])
            except BadSample:
                self._loaded[name] = None
        return self._loaded[name] is not None

    def __call__(self, name: str) -> Sample:
        found = self._loaded[name] if self.is_usable(name) else None
        assert found is not None
        return found


def _own_meta(sample: Sample) -> dict[str, Any]:
    return {k: v for k, v in sample.meta.items() if k not in ("sha256", "bytes", "origin")}


def _transformed(job: _Job, sample: Sample, plan: Plan, key: int, partners: Callable[[str], Sample]) -> Sample:
    transform = getattr(job.modality, "transform", None)
    if transform is not None:
        made: Sample = transform(plan, sample, partners)
        return made
    import torch

    from augmint.transforms.run_torch import augment

    assert job.codec is not None
    x = torch.from_numpy(job.codec.encode(sample))[None]
    out = job.codec.decode(augment(x, job.recipe, np.array([key], dtype=np.uint64))[0].numpy())
    return replace(sample, data=out)


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
    codec = None if hasattr(modality, "transform") else modality.fit(data)
    lasting = getattr(modality, "lasting", ())
    in_worker = sink if hasattr(sink, "save") else None
    job = _Job(modality, codec, recipe.on(codec), seed, variants, in_worker)
    results = ordered_map(
        partial(augment_sample, job), _items(data, job, part), workers=workers, name=lambda item: item.ref.id
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
                "parents": [ref.id, *plan.others],
                "seed": seed,
                "plan": plan.to_dict(),
                **{k: v for k, v in sample.meta.items() if k == "soft_label"},
            }
        progress({"stage": "augment", "done": done, "total": len(data)})
        if stop:
            return


def _items(data: Dataset, job: _Job, part: Callable[[Ref], str | None]) -> Iterator[_Item]:
    if not job.recipe.mixes:
        yield from (_Item(ref, part(ref)) for ref in data.refs)
        return
    files = partial(files_of, suffixes=getattr(data.modality, "suffixes", ()))
    pool, refs = Pool(data.ids, files), dict(zip(data.ids, data.refs, strict=True))
    for ref in data.refs:
        keys = (sample_key(job.seed, ref.id, variant) for variant in range(job.variants))
        plans = tuple(job.recipe.plan_of(key, own=ref.id, pool=pool) for key in keys)
        yield _Item(ref, part(ref), plans, {i: partner(i, refs) for plan in plans for i in plan.others})


def files_of(folder: str, *, suffixes: Sequence[str]) -> list[str]:
    """Paths of a folder's files with these endings, also of folders within it, in order.

    Raises:
        UserError: if there is no such folder, or nothing in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(
            "there is no such folder to mix in from", where=root, mend="give the path from where the command runs"
        )
    found = sorted(p.as_posix() for p in root.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
    if not found:
        raise UserError(
            "nothing in it can be mixed in", where=root, mend="put files there that end in " + ", ".join(suffixes)
        )
    return found


def partner(name: str, refs: Mapping[str, Ref]) -> Ref:
    """Where what a plan mixes in lies: a sample of the data set, or a file.

    Raises:
        UserError: if it is gone.
    """
    if name.startswith(FILE):
        path = Path(name.removeprefix(FILE)).absolute()
        if path.is_file():
            return Ref(name, path)
    elif name in refs:
        return refs[name]
    raise UserError(
        "a sample that others were made of is gone",
        where=name,
        mend="restore it; files of the recipe's folders are looked for from where the command runs",
    )
