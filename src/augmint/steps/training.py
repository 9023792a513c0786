"""Before a GAN is trained by itself: data on its grid, divided; where its weights come from; the run that is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from augmint.core.config import TrainVerb
from augmint.core.run import Run, write_text
from augmint.core.types import Dataset
from augmint.scale import ranks
from augmint.steps import starting
from augmint.steps.inputs import fingerprints
from augmint.steps.prepare import FOLDS, Prepared, prepare
from augmint.steps.sizing import fitting
from augmint.training.fit import Material


@dataclass(frozen=True, slots=True)
class Ready:
    """All that `train_gan` needs to begin.

    Attributes:
        inputs: fingerprint of each input, by name.
        choices: value and reason of what was chosen here, by name.
        notes: lines for people.
    """

    prepared: Prepared
    material: Material
    inputs: Mapping[str, str]
    choices: Mapping[str, tuple[Any, str]]
    notes: tuple[str, ...]

    def lines(self, seconds: float) -> list[str]:
        """What would be done, for a dry run."""
        pool = f"{len(self.prepared.pool_x)} of a pool"
        chosen = [f"{name}: {value} ({why})" for name, (value, why) in self.choices.items()]
        return [
            *self.notes,
            *chosen,
            f"would train {seconds:.0f} s on {len(self.prepared.folds[0].fit)} samples, {pool}",
        ]

    def open(self, place: Path, config: TrainVerb) -> None:
        """Start the run, or check that it is the same one; a longer budget is not another run."""
        kept = config.model_dump(exclude={"workers", "strict"})
        run = Run.open(place, verb="train", config=kept, inputs=self.inputs, budgets=("time", "steps"))
        table = self.prepared.split.table(self.prepared.data.ids, [r.label for r in self.prepared.data.refs])
        write_text(run / "split.csv", table.to_csv(index=False))
        run.choose("modality", self.prepared.data.modality.name, "the kind of the files that are there")
        for name, (value, why) in self.choices.items():
            run.choose(name, value, why)


def get_ready(samples: Dataset, pool: Dataset | None, config: TrainVerb, *, before: Run, source: Path | None) -> Ready:
    """Read, choose the grid, split.

    Args:
        before: the run's folder, where an earlier start may have chosen the grid.
        source: folder of a GAN to start from.
    """

    def on(side: int | None) -> Prepared:
        return prepare(samples, pool, seed=config.seed, folds=FOLDS, grid=side, strict=config.strict)

    inputs = fingerprints(samples, pool)
    if source is not None:
        old, size = starting.load(source, samples.modality, config.size, config.tier)
        prepared = on(config.grid or max(old.codec.grid.shape))
        start, about = starting.start(old, source, prepared, prepared.folds[0])
        material = replace(prepared.material(prepared.folds[0]), start=start)
        inputs["init"] = starting.fingerprint(source)
        choices = {"size": (size, "that of the run to start from")}
        return Ready(prepared, material, inputs, choices, (*prepared.notes, about))
    if config.grid is not None:
        prepared = on(config.grid)
        return Ready(prepared, prepared.material(prepared.folds[0]), inputs, {}, prepared.notes)
    prepared, side, why = fitting(on, config, lambda p: config.time, chosen=ranks.told(before.chosen("grid_side")))
    return Ready(prepared, prepared.material(prepared.folds[0]), inputs, {"grid_side": (side, why)}, prepared.notes)
