"""The verbs. Each is a function and a command of the same name and arguments; this is the one place that picks a modality.

What learns is imported by the verbs that need it, once they have looked at their input: those that only transform start without torch,
whose import takes seconds, and a wrong path is told at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from augmint.core import config as c
from augmint.core.doctor import Health, examine
from augmint.core.errors import UserError
from augmint.core.run import (
    Run,
    check_apart,
    check_output,
    read_json,
    read_jsonl,
    stop_on_signal,
    write_bytes,
    write_json,
)
from augmint.core.types import Dataset, Modality, Sample
from augmint.modalities import find, get
from augmint.report import html, inspection
from augmint.steps import output
from augmint.steps.folder import augment_folder
from augmint.steps.previewing import CELL, contact_sheet
from augmint.steps.replaying import Replayed, other_versions
from augmint.steps.replaying import replay as remade
from augmint.steps.results import Progress, Result, quiet
from augmint.transforms.explain import Explanation, explain
from augmint.transforms.recipe import Recipe, is_recipe, recipe_for

if TYPE_CHECKING:
    from augmint.evaluation.proof import Proof
    from augmint.generation.draw import Gan

Data = str | Path | Dataset


def read(path: str | Path, *, modality: str | Modality | None = None, strict: bool = False) -> Dataset:
    """A data set on disk: class folders, one flat folder, or a folder with ``metadata.csv`` or ``metadata.jsonl``. One file is
    a feature table (CSV, Parquet or npz), which can be put to the proof.

    Args:
        modality: the kind of data; with none, the one whose files are there.
        strict: stop at the first file that cannot be read.

    Raises:
        UserError: if there is no such folder or nothing in it can be used.
    """
    root = Path(path).expanduser().resolve()
    if not root.exists():
        raise UserError("there is no such folder or table", where=path, mend="check the path")
    if modality is None:
        modality = "table" if root.is_file() else find(root)
    kind = get(modality) if isinstance(modality, str) else modality
    scan = kind.scan(root, strict=strict)
    return Dataset(kind, root, scan.refs, layout=scan.layout, notes=scan.notes, skipped=scan.skipped)


def boost(
    data: Data,
    *,
    out: str | Path,
    unlabelled: Data | None = None,
    config: Path | None = None,
    dry_run: bool = False,
    progress: Progress = quiet,
    **settings: Any,
) -> Result:
    """The main job: a folder of real samples in, a larger set that was put to the proof and a report out.

    Args:
        data: folder or `Dataset`; a test part in it is never trained on.
        out: folder for the larger set; the run goes to ``OUT.run``. The same call again goes on where it was stopped.
        unlabelled: further real samples without labels.
        settings: see `augmint.core.config.BoostConfig`, and docs/reference.md.
    """
    chosen = c.settings(c.BoostConfig, config=config, flags=settings)
    labelled, pool = _dataset(data, chosen.strict), _pool(data, unlabelled, chosen.strict)
    check_apart(Path(out), labelled.root, *([pool.root] if pool else []))
    from augmint.steps.boosting import Boost

    job = Boost(labelled, pool, Path(out), chosen, progress)
    if dry_run:
        return job.plan()
    with stop_on_signal() as stop:
        job.open()
        prepared = job.prepare()
        job.announce()
        if job.is_done:
            progress({"stage": "read", "note": "all of this is done already; nothing was changed"})
            return job.result()
        made = [job.make(number, fold, stop) for number, fold in enumerate(prepared.folds)] if job.trains else []
        proof = job.prove(made, stop) if prepared.has_task else None
        job.write(made, proof, stop)
    return job.result()


def augment(
    data: Data,
    *,
    out: str | Path,
    config: Path | None = None,
    dry_run: bool = False,
    progress: Progress = quiet,
    **settings: Any,
) -> Result:
    """Write the real samples and ``variants`` transformed ones of each to ``out``; test and val parts are only copied.

    With ``search=True`` the recipe is chosen by experiment on the training part and written to ``OUT/recipe.yaml``.
    """
    chosen = c.settings(c.AugmentVerb, config=config, flags=settings)
    samples = _dataset(data, chosen.strict)
    check_apart(Path(out), samples.root)
    return augment_folder(samples, Path(out), chosen, dry_run=dry_run, progress=progress)


def train(
    data: Data,
    *,
    out: str | Path | None = None,
    unlabelled: Data | None = None,
    init: str | Path | None = None,
    config: Path | None = None,
    dry_run: bool = False,
    progress: Progress = quiet,
    **settings: Any,
) -> Gan | Result:
    """Train the generator and its verifier; a test part is kept from them, so that `prove` can use it.

    Under torchrun every process takes its part of each batch; the first one writes and speaks.

    Args:
        out: folder of the run (pictures, curves, checkpoints); with none, only the GAN is returned. The same call again goes
            on where it was stopped; with a larger ``time`` or ``steps``, a finished run is trained further.
        init: folder of another run on the same kind of data, or of an exported GAN, whose weights to start from; it must not
            have seen this data's test part.
    """
    chosen = c.settings(c.TrainVerb, config=config, flags=settings)
    if chosen.denoiser or chosen.noises is not None or chosen.vocoder:
        return _train_on_voices(data, out, init, chosen, dry_run, progress)
    samples, pool = _dataset(data, chosen.strict), _pool(data, unlabelled, chosen.strict)
    source = _gan_folder(Path(init)) if init is not None else None
    from augmint.generation.draw import Gan
    from augmint.scale import ranks
    from augmint.steps.gan import train_gan
    from augmint.steps.prepare import FOLDS, sealed_name
    from augmint.steps.training import get_ready

    with TemporaryDirectory() as scratch, stop_on_signal() as stop, ranks.joined():
        place, progress = _meeting_place(out, Path(scratch)), progress if ranks.is_first() else quiet
        ready = get_ready(samples, pool, chosen, before=Run(place), source=source)
        if dry_run:
            return Result(ready.lines(chosen.time), {"choices": dict(ready.choices)})
        for line in ready.notes:
            progress({"stage": "read", "note": line})
        ranks.by_first(lambda: ready.open(place, chosen))
        run = Run(place, writes=ranks.is_first())
        if run.is_done:
            return Gan.load(run.path, samples.modality)
        prepared = ready.prepared
        gan, _ = train_gan(
            run, prepared.data, prepared.codec, ready.material, c.TrainConfig(**_only(chosen, c.TrainConfig)),
            seconds=chosen.time, seed=chosen.seed, sealed=sealed_name(chosen.seed, FOLDS, 0), stop=stop, progress=progress,
        )  # fmt: skip
        run.update(status="done", counts={"real": len(samples)})
        if out is not None and ranks.is_first():
            page = html.write(run.path, run / "report.html", samples.modality)
            progress({"stage": "write", "note": f"report: {page}"})
    return gan


def _train_on_voices(
    data: Data, out: str | Path | None, init: str | Path | None, chosen: c.TrainVerb, dry_run: bool, progress: Progress
) -> Result:
    """The other things to train: what `Denoise` takes as its method gan, and what `generate` takes as its vocoder."""
    from augmint.steps.voices import recordings

    what = "a vocoder" if chosen.vocoder else "a denoiser"
    if chosen.vocoder and (chosen.denoiser or chosen.noises is not None):
        raise UserError("a vocoder and a denoiser are two runs", mend="give --denoiser (with --noises) or --vocoder")
    if out is None or not (chosen.denoiser or chosen.vocoder):
        raise UserError(
            "noises are for a denoiser"
            if chosen.noises is not None and not chosen.denoiser
            else f"{what} is written to a folder",
            mend=f"give --{what.split()[1]} and --out RUN",
        )
    samples = _dataset(data, chosen.strict)
    voices = recordings(samples, what)
    check_apart(Path(out), samples.root)
    if dry_run:
        budget = f"{chosen.steps} steps" if chosen.steps else f"{chosen.time:.0f} s"
        return Result([f"would train {what} on {len(voices)} recordings for {budget}, and write it to {out}"])
    with stop_on_signal() as stop:
        if chosen.vocoder:
            from augmint.steps.vocoding import run_vocoder

            source = None
            if init is not None:
                folder = _gan_folder(Path(init))
                source = folder, _modality_of(folder).codec(read_json(folder / "gan.json")["codec"])
            return run_vocoder(Path(out), samples, voices, source, chosen, stop=stop, progress=progress)
        from augmint.steps.denoising import run_denoiser

        noises = _dataset(chosen.noises, chosen.strict) if chosen.noises is not None else None
        return run_denoiser(Path(out), samples, voices, noises, chosen, stop=stop, progress=progress)


def _meeting_place(out: str | Path | None, scratch: Path) -> Path:
    """The folder of a run, which all processes must be able to find."""
    from augmint.scale import ranks

    if out is None and ranks.num_ranks() > 1:
        raise UserError("several processes need one folder to meet in", mend="give --out RUN")
    return Path(out) if out is not None else scratch / "run"


def generate(
    run: str | Path,
    *,
    num: int,
    out: str | Path,
    label: str | None = None,
    config: Path | None = None,
    dry_run: bool = False,
    progress: Progress = quiet,
    **settings: Any,
) -> Result:
    """Make ``num`` new samples with a trained run, curated: class counts are exact, every rejected one has its reason."""
    chosen = c.settings(c.GenerateVerb, config=config, flags=settings)
    folder, target = _gan_folder(Path(run)), Path(out)
    from augmint.steps.synthesis import synthesise, told

    gan = load(folder)
    if num < 1:
        raise UserError(f"cannot make {num} samples", mend="give -n 1 or more")
    spoken = _spoken(gan, chosen.vocoder, progress)
    _check_dials(chosen)
    dials, own = gan.dials(
        quality=chosen.quality, style=chosen.style, like=chosen.like, strength=chosen.strength, label=label
    )
    classes = gan.numbers(own)
    want = {k: num // len(classes) + (i < num % len(classes)) for i, k in enumerate(classes)}
    if dry_run:
        return Result([f"would make {num} samples of {len(classes)} classes and write them to {target}"], {"num": num})
    check_output(target)
    if chosen.walk:
        frames = gan.walk(num, label=own, dials=dials, seed=chosen.seed)
        rows = output.write_walk(frames, gan.modality, target)
        return Result([f"wrote a walk of {len(rows)} frames to {target}"], {"num": len(rows)}, target)
    made = synthesise(
        gan, c.GenerateConfig(**_only(chosen, c.GenerateConfig)), seed=chosen.seed, progress=progress,
        want={k: n for k, n in want.items() if n}, dials=dials, source=chosen.source,
    )  # fmt: skip
    sink = gan.modality.sink(target, layout="class-folders" if gan.classes else "flat")
    rows = output.write_synthetic([made], sink, dials=_dials_told(chosen))
    sink.close()
    output.write_manifest(target, rows)
    output.write_rejected(target / "rejected.jsonl", [made])
    write_json(target / "metrics.json", {**made.metrics, **spoken})
    return Result(
        [f"wrote {len(rows)} samples to {target}: {told(made.curation, len(made.y))}"], {"num": len(rows)}, target
    )


def _dials_told(chosen: c.GenerateVerb) -> dict[str, Any]:
    """What samples are steered by, for the manifest; nothing where nothing does."""
    told = {"quality": chosen.quality or None, "style": chosen.style, "like": chosen.like}
    told |= {"strength": chosen.strength} if chosen.like is not None else {}
    told |= {"source": chosen.source} if chosen.source != "generator" else {}
    return {name: value for name, value in told.items() if value is not None}


def _check_dials(chosen: c.GenerateVerb) -> None:
    """Refuse settings that would do nothing, before anything is made."""
    given = chosen.model_fields_set
    if chosen.walk and chosen.source != "generator":
        raise UserError("a walk leads through the generator's space", mend="leave --source verifier out")
    if chosen.source == "verifier" and (chosen.like or chosen.style):
        raise UserError("style and likeness are dials of the generator", mend="leave --source verifier out")
    if chosen.walk and "keep" in given:
        raise UserError("the frames of a walk are not curated", mend="leave --keep or --walk out")
    if "strength" in given and chosen.like is None:
        raise UserError("--strength says how far from --like, which is not given", mend="give --like FILE as well")


def _spoken(gan: Gan, vocoder: str | None, progress: Progress) -> dict[str, str]:
    """Let a vocoder that has won make this GAN's waveforms; what it was found to be, by name."""
    if vocoder is None:
        return {}
    from augmint.steps.vocoding import speaking

    gan.codec, told = speaking(gan.codec, Path(vocoder))
    progress({"stage": "read", "note": told})
    return {"vocoder": told}


def prove(
    real: Data,
    synthetic: str | Path | Dataset | Gan | Sequence[Sample],
    *,
    out: str | Path | None = None,
    unlabelled: Data | None = None,
    config: Path | None = None,
    dry_run: bool = False,
    progress: Progress = quiet,
    **settings: Any,
) -> Proof | Result:
    """Find out by experiment whether synthetic samples train a better model than classic augmentation alone.

    Args:
        real: folder, feature table (a CSV, Parquet or npz file) or `Dataset`.
        synthetic: a folder or table of the same kind (made by any tool), a run of augmint, a `Gan`, or samples. For what augmint
            made, the test part is the one that the GAN was kept from; of another maker nobody can know what it has seen.
        out: folder for the proof and its report.
        unlabelled: further real samples without labels, which the maker of the set had too: what they do by themselves is then shown
            beside it.
    """
    from augmint.generation.draw import Gan
    from augmint.steps.comparing import compare

    chosen = c.settings(c.ProveVerb, config=config, flags=settings)
    samples = real if isinstance(real, Dataset) else read(real, strict=chosen.strict)
    pool = _pool(samples, unlabelled, chosen.strict)
    if samples.layout != "table" and isinstance(synthetic, str | Path) and (Path(synthetic) / "run.json").exists():
        synthetic = Gan.load(_gan_folder(Path(synthetic)), samples.modality)
    elif isinstance(synthetic, str | Path):
        synthetic = read(synthetic, modality=samples.modality, strict=chosen.strict)
    with TemporaryDirectory() as scratch, stop_on_signal() as stop:
        place = Path(out) if out is not None else Path(scratch) / "proof"
        found = compare(samples, pool, synthetic, place, chosen, dry_run=dry_run, stop=stop, progress=progress)
        if not isinstance(found, Result) and out is not None:
            html.write(place, place / "report.html", samples.modality)
            progress({"stage": "write", "note": f"report: {place / 'report.html'}"})
    return found


def report(run: str | Path) -> Path:
    """Write the report of a run again and return its path."""
    folder = Path(run)
    folder = folder if (folder / "run.json").exists() else folder.with_name(folder.name + ".run")
    path: Path = html.write(folder, folder / "report.html", _modality_of(folder))
    return path


def export(run: str | Path, *, out: str | Path, onnx: bool = False) -> Result:
    """Write the GAN of a run for use elsewhere: weights, a model card and, if wanted, ONNX graphs; its training samples stay behind.

    Args:
        out: a folder that does not exist yet.
        onnx: ``generator.onnx`` and ``verifier.onnx`` too; needs the extra ``onnx``.
    """
    from augmint.generation.draw import Gan
    from augmint.steps import export as exporting

    if onnx:
        exporting.check_onnx()
    folder, target = _gan_folder(Path(run)), Path(out)
    check_output(target)
    files = exporting.export(folder, Gan.load(folder, _modality_of(folder)), target, onnx=onnx)
    found = exporting.facts(files, target)
    lines = [f"{name}  {size / 2**20:.2f} MiB" for name, size in found["files"].items()]
    return Result([f"wrote {len(files)} files to {target}", *lines], found, target)


def inspect(
    data: Data, *, fix: str | Path | None = None, out: str | Path | None = None
) -> inspection.Inspection | Explanation | Result:
    """Describe a data set: classes, counts, sizes, duplicates, broken files. Or a recipe: what of it is fused, and what each op costs.

    Args:
        data: folder, `Dataset`, name of a preset recipe, or recipe file.
        fix: write a clean copy here (broken and duplicate files out, near-duplicates in one part, given parts as they are, a ``split`` column).
        out: write the page with tables and pictures here.
    """
    if isinstance(data, str | Path) and is_recipe(data):
        if fix is not None or out is not None:
            raise UserError("a recipe is only printed", where=data, mend="leave --fix and --out away")
        return explain(Recipe.load(data))
    samples = _dataset(data, strict=False)
    if fix is not None:
        check_output(Path(fix))
    found = inspection.inspect(samples)
    if out is not None:
        found = replace(found, summary=(*found.summary, f"page: {found.html(Path(out))}"))
    if fix is None:
        return found
    fixed = inspection.fix(samples, Path(fix))
    return Result([*found.summary, *fixed.summary], {**found.to_dict(), "fixed": fixed.to_dict()}, Path(fix))


def preview(
    data: Data,
    *,
    out: str | Path = "preview.png",
    recipe: str = "medium",
    every_op: bool = False,
    cell: int = CELL,
    seed: int = 0,
) -> Result:
    """Draw a contact sheet: each op of a recipe from low to high, and the recipe on samples, with their boxes, masks and time labels.

    Args:
        out: picture to write, or a page (``.html``) on which sounds can be heard; it is written over.
        recipe: name of a preset, or path of a recipe in YAML.
        every_op: show all ops that the data takes, with their default ranges.
        cell: pixels of each picture's longer side, on a page of its width, from 64 to 1024; spectrograms in a ``.png`` keep their size.
    """
    samples = _dataset(data, strict=False)
    chosen, path = recipe_for(samples.modality, recipe), Path(out)
    coded = contact_sheet(samples, chosen, path.suffix, seed=seed, every_op=every_op, cell=cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, coded)
    return Result([f"wrote {path}"], {"recipe": chosen.name}, path)


def replay(manifest: str | Path, *, out: str | Path | None = None, progress: Progress = quiet) -> Replayed:
    """Hold a manifest against the files beside it, and make the augmented ones again from the reals: are they those bytes?

    Args:
        manifest: ``manifest.jsonl`` as `augment` or `boost` has written it, or its folder.
        out: folder for the files; without one they are only compared.
    """
    path = Path(manifest)
    path = path / "manifest.jsonl" if path.is_dir() else path
    if not path.is_file():
        raise UserError(
            "there is no such manifest", where=path, mend="give the manifest.jsonl of an augmented data set"
        )
    rows = read_jsonl(path)
    if not any("plan" in row for row in rows):
        raise UserError("no line of it has a plan", where=path, mend="give the manifest.jsonl of an augmented data set")
    if out is not None:
        check_output(Path(out))
    with TemporaryDirectory() as scratch:
        found = remade(read(path.parent), rows, Path(out) if out is not None else Path(scratch), progress)
    return replace(found, versions=other_versions(path.parent), out=Path(out) if out is not None else None)


def doctor() -> Health:
    """Check this machine and its packages."""
    return examine()


def demo(*, out: str | Path = "demo", closed: bool = False, progress: Progress = quiet) -> Result:
    """The main job on real handwriting: 5 labelled images a class and a pool of 800, or 10 a class and no pool (``closed``)."""
    from augmint.steps.handwriting import DEMO_DRAW, write_digits

    place, kind = Path(out), get("image")
    data, pool = place / "data", None if closed else place / "pool"
    if not (place / "digits.json").exists():
        check_output(place)
        write_digits(place, kind, per_class=10 if closed else 5, with_pool=not closed, draw=DEMO_DRAW)
        write_json(place / "digits.json", {"source": "scikit-learn's digits", "closed": closed})
    return boost(data, out=place / "boosted", unlabelled=pool, time=150, progress=progress)


# -- inside ----------------------------------------------------------------------------------------------------------


def _dataset(data: Data, strict: bool) -> Dataset:
    found = data if isinstance(data, Dataset) else read(data, strict=strict)
    if found.layout == "table":
        raise UserError(
            "a feature table can be put to the proof, not enlarged or described",
            where=found.root,
            mend="augmint prove REAL SYNTHETIC, or give a folder of samples",
        )
    return found


def _pool(data: Data, unlabelled: Data | None, strict: bool) -> Dataset | None:
    if unlabelled is None or isinstance(unlabelled, Dataset):
        return unlabelled
    return read(unlabelled, modality=data.modality if isinstance(data, Dataset) else None, strict=strict)


def _only(chosen: c.Section, section: type[c.Section]) -> dict[str, Any]:
    """The values of one section, for the part that receives nothing else."""
    return {name: getattr(chosen, name) for name in section.model_fields}


def load(run: str | Path) -> Gan:
    """The GAN of a run that `train` or `boost` finished, or of an exported one.

    Raises:
        UserError: if there is none.
    """
    from augmint.generation.draw import Gan

    folder = _gan_folder(Path(run))
    return Gan.load(folder, _modality_of(folder))


def _gan_folder(run: Path) -> Path:
    """The folder of a trained GAN: the run itself, or ``OUT.run`` beside ``OUT``, or its first fold."""
    for folder in (run, run.with_name(run.name + ".run")):
        for place in (folder, folder / "fold-0"):
            if (place / "gan.json").exists():
                return place
    raise UserError(
        "there is no trained GAN here",
        where=run,
        mend="give the folder of a run that `augmint train` or `boost` finished",
    )


def _modality_of(run: Path) -> Modality:
    for place in (run, run / "fold-0"):
        if (place / "gan.json").exists():
            return get(read_json(place / "gan.json")["modality"])
    return get(Run(run).chosen("modality") or "image")
