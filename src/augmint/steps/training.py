"""Before a GAN is trained by itself: data on its grid, divided; where its weights come from; the run that is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from augmint.core.config import TrainVerb
from augmint.core.errors import UserError
from augmint.core.run import Run, command, write_text
from augmint.core.types import Dataset
from augmint.core.wording import number_of
from augmint.scale import ranks
from augmint.steps import starting
from augmint.steps.gan import FEWEST_TO_JUDGE
from augmint.steps.inputs import fingerprints
from augmint.steps.prepare import FOLDS, MIN_PER_CLASS, Prepared, prepare
from augmint.steps.sizing import fitting
from augmint.training.fit import Material


@dataclass(frozen=True, slots=True)
class Ready:
    """All that `train_gan` needs to begin.

    Attributes:
        inputs: fingerprint of each input, by name.
        choices: value and reason of what was chosen here, by name.
        notes: lines for people.
        steps: how many are set, if they are.
    """

    prepared: Prepared
    material: Material
    inputs: Mapping[str, str]
    choices: Mapping[str, tuple[Any, str]]
    notes: tuple[str, ...]
    steps: int | None = None

    @classmethod
    def of(
        cls,
        prepared: Prepared,
        material: Material,
        inputs: Mapping[str, str],
        choices: Mapping[str, tuple[Any, str]],
        config: TrainVerb,
        *more: str,
    ) -> Ready:
        """With what a person should know of the data before it is trained on.

        Raises:
            UserError: if all samples to train on are one and the same.
        """
        x = np.concatenate([material.x, material.pool_x])
        if len(x) > 1 and not np.ptp(x, axis=0).any():
            raise UserError(
                f"all {len(x)} samples to train on are the same: there is nothing to learn",
                where=prepared.data.root,
                mend="look at them with `augmint inspect`",
            )
        notes = (*prepared.notes, *_on_parts(prepared, material), *more)
        return cls(prepared, material, inputs, choices, notes, config.steps)

    def lines(self, seconds: float) -> list[str]:
        """What would be done, for a dry run."""
        pool = f"{len(self.prepared.pool_x)} of a pool"
        chosen = [f"{name}: {value} ({why})" for name, (value, why) in self.choices.items()]
        budget = f"{seconds:.0f} s" if self.steps is None else f"{self.steps} steps"
        return [*self.notes, *chosen, f"would train {budget} on {number_of(len(self.material.x), 'sample')}, {pool}"]

    def open(self, place: Path, config: TrainVerb) -> None:
        """Start the run, or check that it is the same one; a longer budget is not another run."""
        kept = config.model_dump(exclude={"workers", "strict"})
        run = Run.open(place, verb="train", config=kept, inputs=self.inputs, budgets=("time", "steps"))
        if "command" not in run.state:
            run.update(
                command=command("train", self.prepared.data.root, "--out", place, "--config", run / "config.yaml")
            )
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
        side = max(prepared.codec.grid.shape)
        choices = {
            "size": (size, "that of the run to start from"),
            "grid_side": (side, "as set" if config.grid else "that of the run to start from"),
        }
        return Ready.of(prepared, material, inputs, choices, config, about)
    if config.grid is not None:
        prepared, side, why = on(config.grid), config.grid, "as set"
    else:
        prepared, side, why = fitting(on, config, lambda p: config.time, chosen=ranks.told(before.chosen("grid_side")))
    choices = {"grid_side": (side, why)}
    return Ready.of(prepared, prepared.material(prepared.folds[0]), inputs, choices, config)


def _on_parts(prepared: Prepared, material: Material) -> list[str]:
    """What became of the samples, and whether those to learn from are too few."""
    fold, num = prepared.folds[0], np.bincount(material.y[material.y >= 0], minlength=max(1, prepared.num_classes))
    learned = f"{number_of(len(material.x), 'sample')} to learn from"
    notes = [
        f"{learned}, {len(material.held_out_x)} held out to choose by, {len(fold.test)} kept from it as a test part, for `augmint prove`"
    ]
    fewest = int(num.min()) if prepared.num_classes else len(material.x)
    if fewest < MIN_PER_CLASS and not material.has_pool:
        which = f" of '{prepared.data.classes[int(num.argmin())]}'" if prepared.num_classes else ""
        notes.append(
            f"{number_of(fewest, 'sample')}{which} to learn from: so few are learned by heart, and what is made repeats them; "
            "`augmint augment` makes more of them, or add samples, or a pool with --unlabelled"
        )
    if len(material.held_out_x) < FEWEST_TO_JUDGE:
        notes.append(
            f"with fewer than {FEWEST_TO_JUDGE} samples held out there are no figures while it trains: the last step counts, not the best"
        )
    return notes
