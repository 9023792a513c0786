"""From data sets on disk to tensors and a split that is written down before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from augmint.core import rng
from augmint.core.errors import Refused, UserError
from augmint.core.types import F32, I64, Codec, Dataset
from augmint.data.leaks import copies, groups
from augmint.data.split import Fold, Split, assign
from augmint.evaluation.arms import regime_of
from augmint.evaluation.distances import c2st_auc
from augmint.evaluation.features import pixel_features
from augmint.steps.inputs import left_out, nothing_usable
from augmint.training.fit import Material

HELD_OUT_FRAC = 0.15
FOLDS = 5
ENOUGH_POOL = 100
"""A pool of this size gives the held-out part, and every labelled sample is left for training."""
FEWEST_COMPARED, TOLD_APART = 20, 0.8
"""Samples of either kind that a comparison of the labelled ones with the pool takes, and the AUC from which they differ."""
FEWEST_LABELS = 4
MIN_PER_CLASS = 8
"""Under this many real samples a class, and without a pool, no GAN is trained."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A data set on its grid, divided.

    Attributes:
        x: ``[N, C, *shape]``; y: ``[N]`` class indices, -1 without a label.
        pool_x: ``[M, C, *shape]`` unlabelled, without near-duplicates of test samples; may be empty.
        pool_held: positions in the pool that nothing trains on.
        regime: ``pool``, ``imbalance``, ``closed``, or ``none`` where there are no labels to learn.
    """

    data: Dataset
    codec: Codec
    x: F32
    y: I64
    pool_x: F32
    pool_held: I64
    split: Split
    regime: str
    notes: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        return len(self.data.classes)

    @property
    def folds(self) -> tuple[Fold, ...]:
        return self.split.folds

    @property
    def num_test(self) -> int:
        """How many labelled samples will be tested in all folds together."""
        return sum(int((self.y[f.test] >= 0).sum()) for f in self.folds)

    @property
    def has_task(self) -> bool:
        """Whether there is something to learn and something to test it on."""
        return self.regime != "none" and self.num_test > 0

    def material(self, fold: Fold) -> Material:
        """What a GAN may learn from in one fold; samples without a label among labelled ones join the pool."""
        used = np.setdiff1d(np.arange(len(self.pool_x)), self.pool_held)
        bare = fold.fit[self.y[fold.fit] < 0] if self.num_classes else fold.fit[:0]
        fit = np.setdiff1d(fold.fit, bare)
        held_x = np.concatenate([self.x[fold.held_out], self.pool_x[self.pool_held]])
        held_y = np.concatenate([self.y[fold.held_out], np.full(len(self.pool_held), -1)])
        pool_x = np.concatenate([self.pool_x[used], self.x[bare]])
        return Material(
            self.x[fit], self.y[fit], pool_x, held_x, held_y, self.num_classes, self.data.classes, codec=self.codec
        )


def prepare(
    data: Dataset,
    pool: Dataset | None,
    *,
    seed: int,
    folds: int,
    grid: int | None,
    strict: bool = False,
    hold_out: bool = True,
) -> Prepared:
    """Read everything once, find near-duplicates, and split.

    Args:
        hold_out: keep a part of the training samples from all training, where the data brings none of its own to hold out.

    Raises:
        UserError: if no sample can be read.
        Refused: if a sample of the given test part stands in another part or in the pool too.
    """
    data = data.usable(strict=strict)
    pool = pool.usable(strict=strict) if pool is not None else None
    if not len(data):
        raise nothing_usable(data)
    codec = data.modality.fit(data if pool is None else _joined(data, pool), size=grid)
    x, y = data.encode(codec), data.labels
    pool_x = pool.encode(codec) if pool is not None else np.zeros((0, *codec.grid.size), np.float32)
    _refuse_leaks(data, x, pool, pool_x)
    alike = groups(np.concatenate([x, pool_x]))
    notes: list[str] = []

    enough = len(pool_x) >= ENOUGH_POOL
    parts = [r.part for r in data.refs]
    held_out_frac = HELD_OUT_FRAC if hold_out and not enough else 0.0
    split = assign(y, parts, alike[: len(x)], seed=seed, held_out_frac=held_out_frac, folds=folds)
    if len(pool_x):
        tested = np.unique(alike[np.concatenate([f.test for f in split.folds])])
        clean = ~np.isin(alike[len(x) :], tested)
        if not clean.all():
            notes.append(f"{(~clean).sum()} pool samples are left out: near-duplicates of test samples")
        pool_x = pool_x[clean]
        notes += _unlike(x[np.array([part != "test" for part in parts]) & (y >= 0)], pool_x, seed)
    num_held = int(HELD_OUT_FRAC * len(pool_x)) if enough else 0
    held = np.sort(rng.permutation(rng.key("pool held-out", seed), len(pool_x))[:num_held])
    regime, why = _regime(data, y, split, len(pool_x))
    if regime == "none" and "test" not in parts:
        first = split.folds[0]  # nothing to test: one fold, and its test samples are for training
        whole = Fold(np.union1d(first.fit, first.test), first.held_out, first.test[:0])
        split = replace(split, folds=(whole,), notes=())
    return Prepared(
        data, codec, x, y, pool_x, held, split, regime,
        (*data.notes, *left_out(data.skipped), *split.notes, *notes, why),
    )  # fmt: skip


def _refuse_leaks(data: Dataset, x: F32, pool: Dataset | None, pool_x: F32) -> None:
    """A test sample that is trained on as well proves nothing. Those that are merely alike are left out of training later."""
    sealed = np.array([r.part == "test" for r in data.refs])
    ids = [r.id for r, hidden in zip(data.refs, sealed, strict=True) if hidden]
    open_ids = [r.id for r, hidden in zip(data.refs, sealed, strict=True) if not hidden]
    for what, more_x, names in (
        ("training", x[~sealed], open_ids),
        ("pool", pool_x, list(pool.ids) if pool is not None else []),
    ):
        same = copies(more_x, x[sealed], np.concatenate([x, pool_x]), only_identical=True)
        if same:
            raise Refused(
                f"{len(same)} {what} samples stand in the test part too; the first: {names[same[0].index]} is {ids[same[0].test]}",
                where=data.root,
                mend="take them out of one of the two: `augmint inspect DATA --fix CLEAN` writes such a copy"
                if data.root.is_dir()
                else "take these rows out of one of the two; ids number the rows from 1",
            )


def _unlike(x: F32, pool_x: F32, seed: int) -> list[str]:
    """A word where the pool can be told from the labelled samples outside the test part: labels that are carried over to it may be wrong.

    Digits drawn bolder than their pool have an AUC of 1.00, digits of the same kind .40 to .55 (six draws each); training on
    that pool cost up to 23 points (docs/log.md).
    """
    if min(len(x), len(pool_x)) < FEWEST_COMPARED:
        return []
    look = pixel_features()
    found = c2st_auc(look(x), look(pool_x), seed=seed)
    if found < TOLD_APART:
        return []
    return [
        f"the pool looks unlike the labelled samples: a classifier tells them apart (AUC {found:.2f}, .5 = alike). If they were taken in "
        f"different ways, what is learned from the pool may be wrong, and the verdict HURTS likely: label a few samples of the pool, too"
    ]


def _joined(data: Dataset, pool: Dataset) -> Dataset:
    return data.with_refs([*data.refs, *(replace(r, label=None, part=None) for r in pool.refs)])


def _regime(data: Dataset, y: I64, split: Split, num_pool: int) -> tuple[str, str]:
    """The regime that decides the synthetic share, recognised from the data, and a sentence on it."""
    num_labels, spared = int((y >= 0).sum()), "nothing can be proven, samples are scored and kept apart"
    if not num_labels:
        return "none", f"no labels to learn: {spared}"
    if len(data.classes) < 2:
        return "none", f"one class only: {spared}"
    if num_labels < FEWEST_LABELS:
        return "none", f"{num_labels} labelled samples in all, where {FEWEST_LABELS} are the fewest to divide: {spared}"
    if num_pool:
        return (
            "pool",
            f"few labels and a pool of {num_pool}: labels are carried over to it, and what it does without a generator is compared",
        )
    fit_y = y[split.folds[0].fit]
    if regime_of(fit_y) == "imbalance":
        counts = np.bincount(fit_y[fit_y >= 0])
        return "imbalance", f"unbalanced classes ({counts[counts > 0].min()} to {counts.max()} training samples)"
    return "closed", "a closed set: labelled samples and no pool"


def enough_to_train(prepared: Prepared) -> tuple[bool, str]:
    """Whether a GAN makes sense, and why not: under 8 reals a class without a pool it would only learn them by heart."""
    if len(prepared.pool_x):
        return True, ""
    fit = prepared.folds[0].fit
    counts = np.bincount(np.maximum(prepared.y[fit], 0), minlength=max(1, prepared.num_classes))
    if counts.mean() < MIN_PER_CLASS:
        return False, (
            f"about {counts.mean():.1f} real samples a class and no pool: a GAN would learn them by heart, so this run "
            f"augments only ({MIN_PER_CLASS} or more a class, or --unlabelled, would train one)"
        )
    return True, ""


def sealed_name(seed: int, folds: int, fold: int) -> str:
    """The name of a split's test part, as every sample of a GAN that never saw it carries it: ``seed/folds/fold``."""
    return f"{seed}/{folds}/{fold}"


def read_sealed(name: str) -> tuple[int, int, int]:
    """Seed, number of folds and fold of a `sealed_name`."""
    try:
        seed, folds, fold = (int(part) for part in name.split("/"))
    except ValueError:
        raise UserError(
            f"'{name}' does not name a split", mend="leave the column `sealed` as augmint wrote it"
        ) from None
    return seed, folds, fold
