"""What an experiment compares: its data (`Task`), its arms, and which arms each regime has. Fixed before anything is seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from torch import Tensor, nn

from augmint.core import rng
from augmint.core.types import F32, I64
from augmint.evaluation.probes import U64

if TYPE_CHECKING:
    from augmint.transforms.recipe import Recipe

Augment = Callable[[Tensor, U64], Tensor]
Mixer = Callable[[Tensor, Tensor, U64, int], tuple[Tensor, Tensor]]
"""Samples, classes ``[N]``, keys and the number of batches to samples and the share of each class ``[N, K]``."""
Regime = Literal["closed", "pool", "imbalance"]
Kind = Literal["base", "classic", "synthetic", "control"]
Method = Literal[
    "train", "consistency", "self_training", "spread", "spread_features", "verifier", "verifier_linear", "backbone"
]
Filler = Literal["none", "synthetic", "unfiltered", "duplicates", "mixed", "pool", "spread"]
Sampling = Literal["natural", "balanced", "sqrt"]
Curve = Literal["", "reals", "share"]

CNN, LINEAR = "cnn", "linear"
"""Probes of the house: a small network, and logistic regression on frozen features. Any other name is the user's own."""
PARTS = (0.5, 0.75)
SHARES = (0.25, 0.5, 0.75)
SMALL_EXTRA = 0.25
"""Extra arms up to this share of the main arms' training time need no spare time."""


@dataclass(frozen=True)
class Views:
    """The verifier's features ``[·, D]`` of the labelled reals in several augmented views (with their classes), of the
    plain labelled reals, of the pool and of the test part."""

    seen: F32
    seen_y: I64
    fit: F32
    pool: F32
    test: F32


@dataclass(frozen=True)
class Task:
    """What the arms train on and predict: tensors on the grid, float32 ``[N, C, *shape]`` in [-1, 1], labels int64.

    ``fit`` are labelled reals; ``pool`` unlabelled reals, with the labels that the verifier gave them; ``synthetic`` the
    kept samples and ``synthetic_all`` all candidates before curation; ``verifier_pred`` the verifier's own answers on
    the test part, ``views`` its features, ``backbone`` its trunk, from ``[N, C, *shape]`` to features. ``augment(x, keys)``
    replaces the recipe's executor; it must be picklable for more than one worker.

    Where every probe seed has a GAN of its own, ``synthetic_of`` ``[N]`` says for which seed each synthetic sample is, and
    ``pool_y`` and ``verifier_pred`` have a row for each seed: ``[S, ·]``.
    """

    fit_x: F32
    fit_y: I64
    test_x: F32
    test_y: I64
    num_classes: int
    recipe: Recipe | None = None
    pool_x: F32 | None = None
    pool_y: I64 | None = None
    synthetic_x: F32 | None = None
    synthetic_y: I64 | None = None
    synthetic_of: I64 | None = None
    synthetic_all_x: F32 | None = None
    synthetic_all_y: I64 | None = None
    verifier_pred: I64 | None = None
    views: Views | None = None
    backbone: nn.Module | None = None
    augment: Augment | None = None

    def augmenter(self) -> Augment:
        """The classic augmentation of this task, of each sample by itself; no recipe means none."""
        if self.augment is not None:
            return self.augment
        if self.recipe is None:
            return unchanged
        return partial(_by_recipe, recipe=self.recipe.unmixed)

    def mixer(self) -> Mixer | None:
        """The same with ops that mix samples, for samples whose classes are known; ``None`` where there are none."""
        if self.augment is not None or self.recipe is None or not self.recipe.mixes:
            return None
        return partial(_mixed_by_recipe, recipe=self.recipe, num_classes=self.num_classes)


@dataclass(frozen=True)
class Arm:
    """One line of the experiment: how its classifier is trained.

    ``part``: of each class's labelled reals, how much is used; every probe seed has its own nested subset. An arm with a
    ``curve`` is a point of "accuracy against labelled reals" or "against share", and stands in no table.
    """

    name: str
    title: str
    kind: Kind
    method: Method = "train"
    augmented: bool = True
    filler: Filler = "none"
    share: float = 0.0
    sampling: Sampling = "natural"
    adjust: bool = False
    rare_only: bool = False
    part: float = 1.0
    curve: Curve = ""
    note: str = ""

    @property
    def weight(self) -> float:
        """Training time, where one step of plain training is 1."""
        return {"train": 1.0, "self_training": 2.0, "consistency": 4.0, "backbone": 1.5}.get(self.method, 0.0)


def unchanged(x: Tensor, keys: U64) -> Tensor:
    """No augmentation."""
    return x


def _by_recipe(x: Tensor, keys: U64, *, recipe: Recipe) -> Tensor:
    """What a recipe makes of samples on the grid, on the grid."""
    from augmint.transforms.run_torch import augment

    return _scaled_back(augment(x, recipe, keys), x)


def _mixed_by_recipe(
    x: Tensor, y: Tensor, keys: U64, groups: int, *, recipe: Recipe, num_classes: int
) -> tuple[Tensor, Tensor]:
    from torch.nn.functional import one_hot

    from augmint.transforms.run_mix_torch import augment

    made, shares = augment(x, one_hot(y, num_classes).to(x.dtype), recipe, keys, groups=groups)
    return _scaled_back(made, x), shares


def _scaled_back(made: Tensor, like: Tensor) -> Tensor:
    """Onto the grid again, where a recipe has cropped or resized."""
    from torch.nn.functional import interpolate

    if made.shape == like.shape:
        return made
    return interpolate(made, size=tuple(like.shape[2:]), mode="bilinear", align_corners=False, antialias=True)


def regime_of(fit_y: I64, *, num_pool: int = 0) -> Regime:
    """``pool`` if there is one; ``imbalance`` if the largest class is 3 times the smallest; else ``closed``."""
    if num_pool:
        return "pool"
    counts = np.unique(fit_y[fit_y >= 0], return_counts=True)[1]
    return "imbalance" if len(counts) and counts.max() >= 3 * counts.min() else "closed"


def best_classic(regime: Regime) -> str:
    """The arm that synthetic samples must beat, fixed by the regime before anything is seen."""
    return "sqrt_adjusted" if regime == "imbalance" else "classic"


def arms(task: Task, regime: Regime, *, share: float, probe: str = CNN) -> list[Arm]:
    """The main arms of a regime, as far as the task has what they need and the probe can be trained that way.

    Args:
        share: synthetic share of a batch; under imbalance, of the draws of the rare classes.
        probe: ``cnn``, ``linear`` or the user's own.
    """
    out = [
        Arm("real", "real samples only", "base", augmented=False),
        Arm("classic", "+ classic augmentation", "classic"),
    ]
    best = out[1]
    if regime == "imbalance":
        out.append(Arm("balanced", "+ classic, balanced sampling", "control", sampling="balanced"))
        title = "+ classic, square-root sampling, logit adjustment"
        best = Arm("sqrt_adjusted", title, "classic", sampling="sqrt", adjust=True)
        out.append(best)
        mixed = {"title": "+ mixes of two reals of a class", "filler": "mixed", "share": share or 0.25}
        out.append(replace(best, name="mixed", kind="control", rare_only=True, **mixed))  # type: ignore[arg-type]
    if task.synthetic_x is not None:
        out += _synthetic_arms(task, best, share, rare_only=regime == "imbalance")
    if regime == "pool" and task.pool_x is not None:
        out += _pool_arms(task, share)
    if task.verifier_pred is not None:
        out.append(Arm("verifier", "the verifier as classifier", "control", method="verifier"))
    if task.views is not None:
        title = "linear probe on the verifier's features"
        out.append(Arm("verifier_linear", title, "control", method="verifier_linear"))
    if task.backbone is not None:
        out.append(Arm("backbone", "the verifier's trunk, fine-tuned", "control", method="backbone"))
    return _possible(out, probe)


def _synthetic_arms(task: Task, best: Arm, share: float, *, rare_only: bool) -> list[Arm]:
    base = replace(best, share=share, rare_only=rare_only)
    of = "of the rare classes' draws" if rare_only else "of each batch"
    out = [
        replace(base, name="synthetic", title=f"+ synthetic ({share:.0%} {of})", kind="synthetic", filler="synthetic")
    ]
    if task.synthetic_all_x is not None:
        title = "+ synthetic before curation"
        out.append(replace(base, name="unfiltered", title=title, kind="control", filler="unfiltered"))
    title = "+ as many copies of real samples"
    return [*out, replace(base, name="duplicates", title=title, kind="control", filler="duplicates")]


def _pool_arms(task: Task, share: float) -> list[Arm]:
    share = share or 0.5
    out = [
        Arm("consistency", "consistency training on the pool", "control", method="consistency"),
        Arm("spread", "label spreading over the pool (no network)", "control", method="spread"),
        Arm("spread_trained", "pool with spread labels", "control", filler="spread", share=share),
    ]
    if task.views is not None:
        title = "label spreading on the verifier's features"
        out.insert(2, Arm("spread_features", title, "control", method="spread_features"))
    if task.pool_y is not None:
        title = "pool labelled by the verifier"
        out.append(Arm("pool_labelled", title, "control", filler="pool", share=share))
    return out


def _possible(wanted: Sequence[Arm], probe: str) -> list[Arm]:
    """What this probe can be trained on: an estimator has no loss to add consistency or logit adjustment to."""
    if probe == CNN:
        return list(wanted)
    fit = [a for a in wanted if a.method not in ("consistency", "self_training", "backbone")]
    plain = "+ classic, square-root sampling"
    return [replace(a, adjust=False, title=plain if a.name == "sqrt_adjusted" else a.title) for a in fit]


# --- arms beside the main ones ---------------------------------------------------------------------------------------


def extras(main: Sequence[Arm], task: Task, regime: Regime, *, spare: float = 0.0, probe: str = CNN) -> list[Arm]:
    """Arms for the two curves and for self-training, in order of worth, as many as are affordable.

    Args:
        spare: weight of arms for which there is time; a quarter of the main arms' weight is always taken, where ``spare``
            is not negative.
    """
    if spare < 0:
        return []
    budget = max(spare, SMALL_EXTRA * sum(a.weight for a in main))
    best = next((a for a in main if a.name == best_classic(regime)), None)
    groups = [] if best is None else [_fewer_reals(best, task.fit_y)]
    if regime == "pool":
        title, share = "self-training on the pool", next((a.share for a in main if a.filler == "spread"), 0.5)
        groups.append([Arm("self_training", title, "control", method="self_training", share=share)])
    groups.append(_other_shares([a for a in main if a.kind == "synthetic"], rare_only=regime == "imbalance"))
    out: list[Arm] = []
    for wanted in groups:
        group = _possible(wanted, probe)
        cost = sum(a.weight for a in group)
        if cost <= budget + 1e-9:
            out, budget = [*out, *group], budget - cost
    return out


def _fewer_reals(best: Arm, fit_y: I64) -> list[Arm]:
    """The best classic arm on less of the labelled reals; none where classes are too small to leave some out."""
    sizes = {len(fit_y[fit_y >= 0])}
    out = []
    for part in PARTS:
        count = int(num_reals(fit_y, part, 0).sum())
        if count not in sizes:
            sizes.add(count)
            out.append(replace(best, name=f"reals_{part:.0%}", title=f"{part:.0%} of the labelled reals", part=part))
    return [replace(a, kind="control", curve="reals") for a in out]


def _other_shares(main: Sequence[Arm], *, rare_only: bool) -> list[Arm]:
    most = 0.5 if rare_only else max(SHARES)
    return [
        replace(a, name=f"share_{share:.0%}", title=f"synthetic share {share:.0%}", share=share, curve="share")
        for a in main[:1]
        for share in SHARES
        if share <= most and abs(share - a.share) > 0.01
    ]


def part_of(fit_y: I64, part: float, seed: int, model: int) -> I64:
    """Indices of a model's subset: the first ``part`` of each class in an order of the model's own, so that they nest."""
    out = []
    for c in np.unique(fit_y[fit_y >= 0]):
        have = np.flatnonzero(fit_y == c)
        order = rng.permutation(rng.key("labelled reals", seed, model, int(c)), len(have))
        out.append(have[order[: _count(len(have), part)]])
    return np.concatenate(out)


def num_reals(fit_y: I64, part: float, num_classes: int) -> I64:
    """How many labelled reals of each class ``[K]`` a subset holds."""
    counts = np.bincount(fit_y[fit_y >= 0], minlength=num_classes)
    return np.array([_count(int(n), part) for n in counts], dtype=np.int64)


def _count(n: int, part: float) -> int:
    return int(np.ceil(part * n - 1e-9))
