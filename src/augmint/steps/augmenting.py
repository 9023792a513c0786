"""Classic augmentation of whole data sets: a plan a variant, applied at the sample's own size, written with its plan."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from augmint.core.errors import BadSample, UserError
from augmint.core.run import file_sum, iter_jsonl, write_jsonl
from augmint.core.types import Codec, Dataset, FileSink, Modality, Ref, Sample, Sink, Skipped
from augmint.scale.pool import ordered_map
from augmint.steps.results import Progress, quiet
from augmint.transforms.mix import FILE, Mix, Pool
from augmint.transforms.plan import Plan, sample_key
from augmint.transforms.recipe import Recipe

_VARIANT = re.compile(r"\.aug\d+(?=(\.[^./]*)?$)")
"""What `variant_id` adds to a name."""


@dataclass(frozen=True, slots=True)
class _Job:
    """What a worker needs to make and write one sample's variants."""

    modality: Modality
    codec: Codec | None
    recipe: Recipe
    seed: int
    variants: int
    sink: FileSink | None
    span: tuple[int, int] | None = None


def variant_id(parent: str, variant: int) -> str:
    """``a/b.png`` and 0 -> ``a/b.aug0.png``."""
    path = PurePosixPath(parent)
    return path.with_name(f"{path.stem}.aug{variant}{path.suffix}").as_posix()


def variants_of(recipe: Recipe, wanted: int) -> int:
    """So many as are wanted, or one where all would be the same."""
    return 1 if recipe.is_fixed else wanted


def check_names(data: Dataset) -> None:
    """
    Raises:
        UserError: if samples have the names that variants of others would get, as in a folder that `augment` wrote.
    """
    known = set(data.ids)
    taken = [name for name in data.ids if (parent := _VARIANT.sub("", name)) != name and parent in known]
    if taken:
        raise UserError(
            f"{len(taken)} samples have the names of variants of others, the first {taken[0]}",
            where=data.root,
            mend="give the folder of the real samples: this one looks like what augment has made of them",
        )


@dataclass(frozen=True, slots=True)
class _Item:
    """One sample; for a recipe that mixes samples also its plans and its partners, which are found where all ids are known."""

    ref: Ref
    part: str | None
    plans: tuple[Plan, ...] = ()
    partners: Mapping[str, Ref] = field(default_factory=dict)


class _Variant(NamedTuple):
    """A sample that was made. Where it is written already, its data is left away, and ``files`` tells of what `FileSink.save` wrote."""

    sample: Sample
    plan: Plan
    files: Mapping[str, str] | None = None


def augment_sample(job: _Job, item: _Item) -> list[_Variant] | Skipped:
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
        plan = replace(plan.without([i for i in plan.others if not partners.is_usable(i)]), span=job.span)
        new = _transformed(job, sample, plan, key, partners)
        new = replace(new, id=variant_id(ref.id, variant), label=_largest(new), meta=_own_meta(new), origin="augmented")
        made.append(_Variant(new, plan) if job.sink is None else _saved(job.sink, new, plan, item.part))
    return made


def span_of(data: Dataset) -> tuple[int, int] | None:
    """What its plans take for black and white, where its kind of data knows such a thing."""
    found = getattr(data.modality, "span", None)
    span: tuple[int, int] | None = found(data) if found is not None else None
    return span


def _saved(sink: FileSink, sample: Sample, plan: Plan, part: str | None) -> _Variant:
    files = sink.save(sample, part=part)
    return _Variant(replace(sample, data=None, targets={}), plan, files)


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


def _largest(sample: Sample) -> str | None:
    """The class with the largest share, the sample's own among equals: three partners of a mosaic can be one class together."""
    soft: Mapping[str, float] = sample.meta.get("soft_label") or {}
    return max(soft, key=lambda label: (soft[label], label == sample.label)) if soft else sample.label


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


class Journal(Mapping[str, list[dict[str, Any]]]):
    """What was made already, a line a sample in ``path``: a command that was stopped goes on from there when it is given again.

    Args:
        out: where the files lie. A sample of which one is gone, or is not what was written (a machine without power leaves
            files empty), is made again.
    """

    def __init__(self, path: Path, out: Path) -> None:
        write_jsonl(path, (line for line in iter_jsonl(path) if _lies_there(line, out)))
        self._path, self._at = path, dict[str, int]()
        with path.open("rb") as file:
            at = 0
            for line in file:
                self._at[json.loads(line)["id"]] = at
                at += len(line)

    def __len__(self) -> int:
        return len(self._at)

    def __iter__(self) -> Iterator[str]:
        return iter(self._at)

    def __getitem__(self, name: str) -> list[dict[str, Any]]:
        with self._path.open("rb") as file:
            file.seek(self._at[name])
            made: list[dict[str, Any]] = json.loads(file.readline())["made"]
            return made

    def add(self, name: str, made: list[dict[str, Any]]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"id": name, "made": made}, ensure_ascii=False, allow_nan=False) + "\n")


def _lies_there(line: Mapping[str, Any], out: Path) -> bool:
    files = [item for made in line["made"] for item in made["files"].items()]
    return all((out / name).is_file() and file_sum(out / name) == sha256 for name, sha256 in files)


def augment_all(
    data: Dataset,
    recipe: Recipe,
    sink: Sink,
    *,
    variants: int,
    seed: int,
    workers: int,
    part: Callable[[Ref], str | None] = lambda ref: None,
    journal: Journal | None = None,
    stop: object = False,
    progress: Progress = quiet,
) -> Iterator[dict[str, Any] | Skipped]:
    """Write ``variants`` augmented samples of each sample; yields a manifest row for each, or why one was skipped.

    The rows, and the bytes that they tell of, do not depend on ``workers``, nor on what the ``journal`` has already.
    """
    modality = data.modality
    codec = None if hasattr(modality, "transform") else modality.fit(data)
    in_worker = sink if isinstance(sink, FileSink) else None
    job = _Job(modality, codec, recipe.on(codec), seed, variants, in_worker, span_of(data))
    before: Mapping[str, list[dict[str, Any]]] = journal if journal is not None and in_worker is not None else {}
    items = _items(data, job, part, before)
    with closing(
        ordered_map(partial(augment_sample, job), items, workers=workers, name=lambda item: item.ref.id)
    ) as results:
        for done, ref in enumerate(data.refs, 1):
            made = before.get(ref.id)
            if made is None:
                result = next(results)
                if isinstance(result, Skipped):
                    yield result
                    continue
                made = [_told(job, sink, ref, one, part(ref)) for one in result]
                if journal is not None and in_worker is not None:
                    journal.add(ref.id, made)
            for one in made:
                if in_worker is not None:
                    place, extra = Path(one["row"]["file_name"]), one["extra"]
                    in_worker.note(place, label=one["label"], origin="augmented", extra=extra)
                yield one["row"]
            progress({"stage": "augment", "done": done, "total": len(data)})
            if stop:
                return
        next(results, None)  # so that workers end by themselves


def _told(job: _Job, sink: Sink, ref: Ref, made: _Variant, part: str | None) -> dict[str, Any]:
    """The manifest's row of a variant, and what its line in the metadata has besides; it is written, if a worker has not done that."""
    sample, plan, files = made
    path = Path(next(iter(files))) if files is not None else sink.write(sample, part=part)
    lasting = getattr(job.modality, "lasting", ())
    row = {
        "file_name": path.as_posix(),
        "origin": "augmented",
        "label": sample.label,
        "parents": [ref.id, *plan.others],
        "seed": job.seed,
        "plan": plan.to_dict(),
        **{k: v for k, v in sample.meta.items() if k == "soft_label"},
        **_summed(files),
    }
    extra = {k: v for k, v in sample.meta.items() if k not in ref.meta or k in lasting}
    return {"row": row, "label": sample.label, "extra": extra, "files": files}


def _summed(files: Mapping[str, str] | None) -> dict[str, Any]:
    """What a row of the manifest has of the files of one sample."""
    if files is None:
        return {}
    (_, sha256), *beside = files.items()
    return {"sha256": sha256, **({"beside": dict(beside)} if beside else {})}


def _items(data: Dataset, job: _Job, part: Callable[[Ref], str | None], before: Container[str]) -> Iterator[_Item]:
    todo = [ref for ref in data.refs if ref.id not in before]
    if not job.recipe.mixes:
        yield from (_Item(ref, part(ref)) for ref in todo)
        return
    pool, refs = pool_of(data), dict(zip(data.ids, data.refs, strict=True))
    for ref in todo:
        keys = (sample_key(job.seed, ref.id, variant) for variant in range(job.variants))
        plans = tuple(job.recipe.plan_of(key, own=ref.id, pool=pool) for key in keys)
        yield _Item(ref, part(ref), plans, {i: partner(i, refs) for plan in plans for i in plan.others})


def pool_of(data: Dataset) -> Pool:
    """Where a recipe's mixing ops find partners: among the samples, and in the folders that it names."""
    return Pool(data.ids, partial(files_of, suffixes=getattr(data.modality, "suffixes", ())))


def check_needs(recipe: Recipe, data: Dataset) -> None:
    """
    Raises:
        UserError: if what an op needs is not there: a folder that it mixes in from, or nothing in it, a package, a file.
    """
    for op in recipe.flat:
        op.check_needs()
        if isinstance(op, Mix):
            op.source(pool_of(data))


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
