"""The main job, stage by stage. Every stage can be run again: what it finds done in the run's folder it takes from there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from augmint.core import rng
from augmint.core.config import BoostConfig, GenerateConfig, TrainConfig
from augmint.core.errors import Interrupted
from augmint.core.run import Lines, Run, check_output, command, read_json, sweep, write_json, write_text
from augmint.core.types import Dataset, Ref, Sample, Skipped
from augmint.data.split import Fold
from augmint.evaluation.paired import smallest_provable
from augmint.evaluation.proof import Proof
from augmint.generation.draw import Gan
from augmint.report import html
from augmint.steps import output
from augmint.steps.augmenting import augment_all, variants_of
from augmint.steps.experiment import Labelled, Offered, experiment, probe_input, probe_steps, undertrained
from augmint.steps.gan import train_gan
from augmint.steps.inputs import fingerprints
from augmint.steps.mapping import look_closer
from augmint.steps.prepare import Prepared, enough_to_train, prepare, sealed_name
from augmint.steps.results import Progress, Result
from augmint.steps.shares import share
from augmint.steps.sizing import fitting
from augmint.steps.synthesis import Synthetic, synthesise
from augmint.steps.vocoding import fingerprint, speaking
from augmint.training.choose import FEWEST_STEPS
from augmint.transforms.recipe import recipe_for

OVERHEAD_S = 20.0
"""Reading, curating, writing and the report, out of the time given."""

NO_TASK = (
    "NO TASK: without labels of two classes there is nothing to prove. Classic variants are in the set, unproven; "
    "synthetic samples are scored, curated and kept apart."
)


class Boost:
    """One ``augmint boost``; the verb calls the stages in order."""

    def __init__(self, data: Dataset, pool: Dataset | None, out: Path, config: BoostConfig, progress: Progress) -> None:
        self.data, self.pool, self.out, self.config, self.progress = data, pool, out, config, progress
        self.run = Run(out.with_name(out.name + ".run"))
        self.recipe = recipe_for(data.modality, config.recipe, tensors=True, levels=True)
        self._prepared: Prepared | None = None

    # -- before anything is trained ------------------------------------------------------------------------------

    @property
    def prepared(self) -> Prepared:
        if self._prepared is None:
            c = self.config

            def on(side: int | None) -> Prepared:
                return prepare(self.data, self.pool, seed=c.seed, folds=c.folds, grid=side, strict=c.strict)

            if c.grid is not None:
                self._prepared = on(c.grid)
                self.run.choose("grid", list(self._prepared.codec.grid.size), "as set")
            else:
                self._prepared, side, why = fitting(on, c, self._guessed_seconds, chosen=self.run.chosen("grid_side"))
                self.run.choose("grid_side", side, why)
                self.run.choose("grid", list(self._prepared.codec.grid.size), self.run.reason("grid_side"))
            if c.vocoder is not None:
                codec, told = speaking(self._prepared.codec, Path(c.vocoder))
                self.run.choose("vocoder", codec is not self._prepared.codec, told)
                self._prepared = replace(self._prepared, codec=codec)
        return self._prepared

    @property
    def trains(self) -> bool:
        """Whether a GAN is trained at all."""
        return enough_to_train(self.prepared)[0]

    @property
    def is_done(self) -> bool:
        return self.run.is_done and (self.out / "manifest.jsonl").exists()

    def plan(self) -> Result:
        """What would be done, with time and memory; nothing is written."""
        with TemporaryDirectory() as scratch:
            self.run = Run.open(Path(scratch) / "dry", verb="boost", config={}, inputs={})
            lines = self._told()
            p = self.prepared
            if p.has_task:
                steps = probe_steps(self.run, p, self.recipe, self.config)
                lines.append(f"the experiment: {steps} steps a probe, about {self.run.chosen('proof_seconds'):.0f} s")
                lines += [*self._short(), *self._scope()]
            if self.trains:
                lines.append(f"the GAN: {len(p.folds)} x {self._gan_seconds():.0f} s at {p.codec.grid.size}")
            memory = (p.x.nbytes + p.pool_x.nbytes) * 6 / 2**30 + 0.6
            lines.append(f"memory: about {memory:.1f} GiB; nothing was written")
            return Result(
                lines, {"choices": read_json(self.run / "choices.json") if (self.run / "choices.json").exists() else {}}
            )

    def open(self) -> None:
        """Start the run, or find it and check that nothing has changed."""
        kept = self.config.model_dump(exclude={"workers", "strict"})
        inputs = {**fingerprints(self.data, self.pool), **probe_input(self.config), **self._vocoder_input()}
        fresh = not (self.run / "run.json").exists()
        if fresh:
            check_output(self.out)
            self._check_vocoder()
        else:
            sweep(self.out)
        self.run = Run.open(self.run.path, verb="boost", config=kept, inputs=inputs)
        if fresh:
            pool = ("--unlabelled", self.pool.root) if self.pool else ()
            given = command("boost", self.data.root, *pool, "--out", self.out, "--config", self.run / "config.yaml")
            self.run.update(command=given)

    def _vocoder_input(self) -> dict[str, str]:
        return {} if self.config.vocoder is None else {"vocoder": fingerprint(Path(self.config.vocoder))}

    def _check_vocoder(self) -> None:
        """One that does not fit is told before the run claims its folder, at the price of reading twice."""
        if self.config.vocoder is not None:
            mine = self.run
            with TemporaryDirectory() as scratch:
                self.run = Run.open(Path(scratch) / "dry", verb="boost", config={}, inputs={})
                _ = self.prepared
            self.run, self._prepared = mine, None

    def prepare(self) -> Prepared:
        """Read, find near-duplicates, split; the split is written down here."""
        p = self.prepared
        labels = [r.label for r in p.data.refs]
        if not (self.run / "split.csv").exists():
            write_text(self.run / "split.csv", p.split.table(p.data.ids, labels).to_csv(index=False))
        self.run.update(skipped=[asdict(s) for s in p.data.skipped])
        self.run.choose("modality", p.data.modality.name, "the kind of the files that are there")
        self.run.choose("layout", p.data.layout, f"{len(p.data)} samples, {len(p.data.classes)} classes")
        self.run.choose("regime", p.regime, p.notes[-1])
        self.run.choose("share", *share(self.config, p.regime))
        self.run.choose(
            "folds",
            len(p.folds),
            "the data's own test part, or enough data for one" if len(p.folds) == 1 else "outer folds",
        )
        return p

    def announce(self) -> None:
        """Tell what was inferred and why, and the smallest lift that this data could prove."""
        p = self.prepared
        if p.has_task and not self.is_done:
            probe_steps(self.run, p, self.recipe, self.config)
        for line in [*self._told(), *self._short(), *self._scope()]:
            self.progress({"stage": "read", "note": line})
            self.run.log(line)

    def _told(self) -> list[str]:
        p = self.prepared
        lines = [
            f"{len(p.data)} samples ({p.data.layout}), {p.num_classes} classes, "
            + (f"pool of {len(p.pool_x)}, " if len(p.pool_x) else "")
            + f"grid {p.codec.grid.size}",
            *p.notes,
        ]
        if p.has_task:
            least = smallest_provable(p.num_test, self.config.seeds)
            lines.append(
                f"{p.num_test} test samples and {self.config.seeds} seeds find a lift of about {least:.1f} points four times in five, "
                "smaller ones less often"
            )
        if self.config.vocoder is not None:
            lines.append(self.run.reason("vocoder"))
        ok, why = enough_to_train(p)
        return lines if ok else [*lines, why]

    def _short(self) -> list[str]:
        """A warning where the time given is too short for what must be done at least."""
        proof, c = float(self.run.chosen("proof_seconds") or 0.0), self.config
        hidden = undertrained(self.run, c)
        if proof <= 0.6 * c.time or c.steps is not None:
            return hidden
        num = len(self.prepared.folds)
        among = f" in {num} folds" if num > 1 else ""
        return [
            f"{c.time:.0f} s are short: the experiment{among} takes about {proof:.0f} s of its own, which leaves the GAN{among} "
            f"{num * self._gan_seconds():.0f} s, and it trains {FEWEST_STEPS} steps at least; this run will take longer than asked",
            *hidden,
        ]

    def _scope(self) -> list[str]:
        """What scope ``method`` costs beyond the time given."""
        c, num = self.config, len(self.prepared.folds) * (self.config.seeds - 1)
        if c.scope == "set" or not self.trains or not self.prepared.has_task:
            return []
        return [
            f"scope 'method': {num} more GANs of {self._gan_seconds():.0f} s each, so that every probe seed has its own; "
            f"about {num * self._gan_seconds() / 60:.0f} minutes beyond --time"
        ]

    # -- making --------------------------------------------------------------------------------------------------

    def make(self, number: int, fold: Fold, stop: object) -> Synthetic:
        """Train the GAN of one fold and make its curated samples."""
        p, c = self.prepared, self.config
        if p.has_task:
            probe_steps(self.run, p, self.recipe, self.config)
        self.run.choose(
            "gan_seconds", self._gan_seconds(), "the time, less the experiment and the rest, over the folds"
        )
        home = self.run if len(p.folds) == 1 else self._inner(f"fold-{number}", fold=number)
        seed = c.seed if number == 0 else rng.key(c.seed, "fold", number) % 2**31
        return self._made(home, number, fold, seed, stop)

    def _inner(self, name: str, **which: int) -> Run:
        """A run inside this one, for a GAN of its own."""
        inputs = {"data": self.run.state["inputs"]["data"], **{k: str(v) for k, v in which.items()}}
        return Run.open(self.run / name, verb="train", config=self.run.state["config"], inputs=inputs)

    def _made(self, home: Run, number: int, fold: Fold, seed: int, stop: object) -> Synthetic:
        p, c = self.prepared, self.config
        gan, _ = train_gan(
            home, p.data, p.codec, p.material(fold), self._section(TrainConfig),
            seconds=float(self.run.chosen("gan_seconds")), seed=seed, sealed=sealed_name(c.seed, c.folds, number), stop=stop, progress=self.progress,
        )  # fmt: skip
        made = synthesise(gan, self._section(GenerateConfig), seed=c.seed, progress=self.progress)
        write_json(home / "eval" / "metrics.json", made.metrics)
        if home is not self.run:
            home.update(status="done")
        return made

    def _others(self, number: int, fold: Fold, stop: object) -> Iterator[tuple[Labelled, Gan]]:
        """In scope ``method``: what a GAN of its own makes for each probe seed but the first."""
        for s in range(1, self.config.seeds if self.config.scope == "method" else 1):
            self.progress({"stage": "train", "note": f"GAN {s + 1} of {self.config.seeds}, fold {number}"})
            home = self._inner(f"method/fold-{number}-gan-{s}", fold=number, gan=s)
            made = self._made(home, number, fold, rng.key(self.config.seed, "gan", number, s) % 2**31, stop)
            yield (made.x[made.kept], made.y[made.kept]), made.gan

    def _guessed_seconds(self, prepared: Prepared) -> float | None:
        """For one GAN, before the grid is chosen: what the experiment will take depends on it, so half of the time is a guess."""
        return 0.5 * self.config.time / len(prepared.folds) if enough_to_train(prepared)[0] else None

    def _gan_seconds(self) -> float:
        proof = float(self.run.chosen("proof_seconds") or 0.0)
        c, num = self.config, len(self.prepared.folds)
        return max(0.25 * c.time, c.time - proof - min(OVERHEAD_S, 0.15 * c.time)) / num

    # -- proving -------------------------------------------------------------------------------------------------

    def prove(self, made: list[Synthetic], stop: object) -> Proof:
        """Train all arms in every fold and judge them on all test samples together."""
        folds = self.prepared.folds
        offered = [
            Offered(fold, (s.x[s.kept], s.y[s.kept]), (s.x, s.y), s.gan, tuple(self._others(number, fold, stop)))
            for number, (fold, s) in enumerate(zip(folds, made, strict=False))
        ]
        return experiment(
            self.run, self.prepared, offered or [Offered(fold) for fold in folds], self.recipe, self.config,
            seed=self.config.seed, stop=stop, progress=self.progress,
        )  # fmt: skip

    # -- writing -------------------------------------------------------------------------------------------------

    def write(self, made: list[Synthetic], proof: Proof | None, stop: object) -> None:
        """OUT with what was proven, what was made beside it in OUT.run, and the report."""
        p, c = self.prepared, self.config
        # Without a task nothing can be proven: classic variants are what was asked for, synthetic ones are kept apart.
        with_classic = proof is None or proof.verdict("classic") == "HELPS"
        proven = proof is not None and proof.verdict("synthetic") == "HELPS"
        with_synthetic = bool(made) and (proven or c.include_synthetic)
        mine = p.data.with_refs([r for r in p.data.refs if r.part in (None, "train")])
        sink = p.data.modality.sink(self.out, layout=p.data.layout)
        reals = output.copy_reals(p.data, sink, self.progress)
        with Lines(self.run / "rows.jsonl") as augmented:
            if with_classic:
                for row in augment_all(
                    mine,
                    self.recipe,
                    sink,
                    variants=variants_of(self.recipe, c.variants),
                    seed=c.seed,
                    workers=c.workers,
                    stop=stop,
                    progress=self.progress,
                ):
                    if not isinstance(row, Skipped):
                        augmented.add(row)
        synthetic = output.write_synthetic(made, sink, part=output.part_folder(p.data)) if with_synthetic else []
        counts = {"real": len(reals), "augmented": len(augmented), "synthetic": len(synthetic)}
        sink.close()
        if stop:
            raise Interrupted("stopped while writing", where=self.out, mend="run the same command to go on")
        if made and not with_synthetic:
            self._keep_apart(made)
        output.write_rejected(self.run / "rejected.jsonl", made)
        self._measured(made)
        self._gallery(made, mine)
        look_closer(self.run / "eval", made, p.data.modality, seed=c.seed)
        self.run.update(counts=counts)
        sentences = proof.sentences if proof else [NO_TASK]
        output.write_card(self.out, self.out.name, counts, sentences, p.data.classes)
        self.run.update(status="done")
        html.write(self.run.path, self.out / "report.html", p.data.modality)
        output.write_manifest(self.out, chain(reals, augmented, synthetic))
        (self.run / "rows.jsonl").unlink()

    def _keep_apart(self, made: list[Synthetic]) -> None:
        apart = self.prepared.data.modality.sink(
            self.run / "synthetic", layout="class-folders" if self.prepared.num_classes else "flat"
        )
        output.write_synthetic(made, apart)
        apart.close()

    def _measured(self, made: list[Synthetic]) -> None:
        """The metrics of the first fold's GAN stand for the run; the others are in their own folders."""
        if made and len(made) > 1:
            write_json(self.run / "eval" / "metrics.json", {**made[0].metrics, "fold": 0, "folds": len(made)})

    def _gallery(self, made: list[Synthetic], mine: Dataset) -> None:
        refs = [mine.refs[int(i)] for i in rng.permutation(rng.key("gallery", self.config.seed), len(mine))[:20]]
        few = _Memory()
        list(augment_all(mine.with_refs(refs), self.recipe, few, variants=1, seed=self.config.seed, workers=1))
        output.write_gallery(self.run / "eval" / "gallery.jsonl", mine, made[:1], few.samples, refs)

    # -- telling -------------------------------------------------------------------------------------------------

    def result(self) -> Result:
        """The verdicts, the figures behind them, and where everything is."""
        path = self.run / "eval" / "proof.json"
        proof = Proof.from_dict(read_json(path)) if path.exists() else None
        counts = self.run.state["counts"]
        lines = proof.summary if proof else [NO_TASK]
        told = ", ".join(f"{n} {origin}" for origin, n in counts.items())
        page = self.out / "report.html"
        return Result(
            [*lines, f"{self.out}: {told}", f"report: {page}"],
            {"counts": counts, "run": str(self.run.path)},
            self.out,
            page,
            proof,
        )

    def _section(self, section: Any) -> Any:
        """The values of one section of the settings."""
        return section(**{name: getattr(self.config, name) for name in section.model_fields})


class _Memory:
    """A sink that keeps samples in memory: for pictures in the report."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    def write(self, sample: Sample, *, part: str | None = None) -> Path:
        self.samples.append(sample)
        return Path(sample.id)

    def copy(self, ref: Ref) -> Path:
        return Path(ref.id)

    def close(self) -> None:
        """Nothing to write."""
