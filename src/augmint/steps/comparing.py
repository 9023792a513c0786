"""``prove`` on its own: real samples against any synthetic set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from augmint.core.config import ProveVerb
from augmint.core.errors import Refused, UserError
from augmint.core.run import Run, command, write_json, write_text
from augmint.core.types import F32, I64, Codec, Dataset, Sample, likeness, rendered
from augmint.data.leaks import copies
from augmint.data.split import Fold
from augmint.evaluation.audit import FEWEST, audit
from augmint.evaluation.copies import check
from augmint.evaluation.features import trained_cnn_features
from augmint.evaluation.metrics import measure, summary
from augmint.evaluation.paired import smallest_provable
from augmint.evaluation.proof import Proof
from augmint.generation.draw import Gan
from augmint.steps.experiment import Offered, experiment, probe_input, probe_steps, undertrained
from augmint.steps.inputs import fingerprints, left_out
from augmint.steps.prepare import FOLDS, Prepared, prepare, read_sealed
from augmint.steps.results import Progress, Result
from augmint.steps.shares import share
from augmint.steps.synthesis import wanted
from augmint.transforms.recipe import Recipe, recipe_for

Synthetic = Dataset | Gan | Sequence[Sample]
FEWEST_TESTED = 2
TOO_MANY_COPIES = 0.02
NAMED = 5
"""Copies of test samples that a refusal names."""
TOO_ROUGH = 5.0
"""A test part that cannot prove a lift of this many points is called too small."""


@dataclass(frozen=True)
class Offer:
    """The synthetic set on the grid of the reals.

    Attributes:
        x, y: ``[N, C, *shape]`` and ``[N]`` the reals' class indices; ids: ``[N]`` names for people.
        sealed: the split whose test part its maker never saw, if that is known.
        notes: what was left out of it.
    """

    x: F32
    y: I64
    ids: tuple[str, ...]
    sealed: str | None
    notes: tuple[str, ...] = ()


def compare(
    real: Dataset,
    pool: Dataset | None,
    synthetic: Synthetic,
    place: Path,
    config: ProveVerb,
    *,
    dry_run: bool,
    stop: object,
    progress: Progress,
) -> Proof | Result:
    """The experiment on ``real`` with ``synthetic`` beside it; what it leaves is in the folder ``place``.

    Samples of a GAN of ours come with the seed of its split: that split's test part is used, once. A set from elsewhere is
    tested on the test part that the reals bring, or on all outer folds; what its maker has seen cannot be known, but copies
    of test samples in it are looked for, and refused.

    Raises:
        UserError: if there is nothing to prove, or nothing to prove it on.
        Refused: if test samples stand in the training part or in the synthetic set.
    """
    probe = probe_input(config)  # first: a name that is no probe must not cost a reading of all samples
    _check_labels(*(data for data in (real, synthetic) if isinstance(data, Dataset)))
    sealed = _sealed(synthetic)
    seed, num_folds, fold = read_sealed(sealed) if sealed is not None else (config.seed, FOLDS, None)
    # A maker from elsewhere may have had all training samples, so all arms get them: what one arm alone had would look like a lift.
    p = prepare(
        real, pool, seed=seed, folds=num_folds, grid=config.grid, strict=config.strict, hold_out=sealed is not None
    )
    _check_task(p)
    folds = p.folds if fold is None else p.folds[fold : fold + 1]
    offer = _on_grid(synthetic, p, sealed, strict=config.strict)
    _refuse_leaks(offer, p, folds)
    recipe = recipe_for(real.modality, config.recipe, tensors=True, levels=True)
    amount, why = share(config, p.regime)
    num_test = sum(int((p.y[f.test] >= 0).sum()) for f in folds)
    lines = [*p.notes, *offer.notes, *_classic(recipe), *_power(num_test, config.seeds), *_on_pool(synthetic, p)]
    if config.audit:
        _check_audit(p, folds[0], offer)
    if dry_run:
        return Result([*lines, f"would compare {len(offer.x)} synthetic samples at a share of {amount:.0%} ({why})"])
    for line in lines:
        progress({"stage": "read", "note": line})

    kept = config.model_dump(exclude={"workers", "strict"})
    given = {**fingerprints(real, pool), "synthetic": f"{len(offer.x)} samples, {_digest(offer.x, offer.y)}", **probe}
    run = Run.open(place, verb="prove", config=kept, inputs=given)
    if "command" not in run.state:
        where = synthetic.root if isinstance(synthetic, Dataset) else "SYNTHETIC"
        more: list[str | Path] = ["--unlabelled", pool.root] if pool is not None else []
        run.update(command=command("prove", real.root, where, *more, "--out", place, "--config", run / "config.yaml"))
    write_text(run / "split.csv", p.split.table(p.data.ids, [r.label for r in p.data.refs]).to_csv(index=False))
    run.choose("modality", real.modality.name, "the kind of the files that are there")
    run.choose("regime", p.regime, p.notes[-1])
    run.choose("share", amount, why)
    run.choose("grid", list(p.codec.grid.size), "as set" if config.grid else "as the real samples are")
    run.choose("maker", *_maker(sealed))
    gan = synthetic if isinstance(synthetic, Gan) else None
    offered = [Offered(fold, kept=(offer.x, offer.y), gan=gan) for fold in folds]
    probe_steps(run, p, recipe, config)
    took = float(run.chosen("proof_seconds"))
    for line in (
        f"the experiment takes {f'about {took:.0f} s' if took >= 1 else 'less than a second'}",
        *undertrained(run, config),
    ):
        progress({"stage": "read", "note": line})
    proof = experiment(run, p, offered, recipe, config, seed=config.seed, stop=stop, progress=progress)
    found = _metrics(p, folds[0], offer, config.seed)
    remarks = [*_on_pool(synthetic, p), *_on_copies(found["copies"])]
    if config.audit:
        attack = audit(offer.x, p.x[folds[0].fit], p.x[_unseen(p, folds[0], offer)])
        remarks.append(attack.sentence[0].upper() + attack.sentence[1:] + ".")
        found["membership"] = attack.to_dict()
    proof = replace(proof, advice=[*proof.advice, *remarks])
    write_json(run / "eval" / "proof.json", proof.to_dict())
    write_json(run / "eval" / "metrics.json", found)
    run.update(status="done", counts={"real": len(real), "synthetic": len(offer.x)})
    return proof


def _on_pool(synthetic: Synthetic, p: Prepared) -> list[str]:
    """A word where a GAN has learned from a pool that no other arm has."""
    if not isinstance(synthetic, Gan) or not synthetic.pooled or len(p.pool_x):
        return []
    return [
        "This GAN learned from an unlabelled pool, which no other arm has: a lift may be the pool's. Give it with --unlabelled, and "
        "what it does by itself is shown beside."
    ]


def _on_copies(found: dict[str, Any]) -> list[str]:
    """A line of advice where more samples look copied than reals do among themselves."""
    if found["threshold"] is None or found["rate"] <= (found["real_rate"] or 0.0) + TOO_MANY_COPIES:
        return []
    return [
        f"{found['flagged']} of {found['n']} synthetic samples lie suspiciously near to one training sample (of unseen reals "
        f"{100 * (found['real_rate'] or 0.0):.1f} % do): they say little that the training samples do not. The report lists them."
    ]


def _maker(sealed: str | None) -> tuple[str, str]:
    """Who made the synthetic samples, as far as that decides what is known of them, and why."""
    if sealed is None:
        return "unknown", "no mark of augmint on the samples: what their maker has seen is not known"
    return "augmint", "the samples carry the split whose test part their GAN never saw"


def _check_task(p: Prepared) -> None:
    """Whether there is something to learn and something to test it on."""
    if p.regime == "none":
        raise UserError(
            "there is nothing to prove: " + p.notes[-1],
            where=p.data.root,
            mend="give labelled samples of two classes at least, and more than a few",
        )
    if p.num_test < FEWEST_TESTED:
        raise UserError(
            f"too few samples for any claim: {len(p.y)} samples leave {p.num_test} to test on",
            where=p.data.root,
            mend=f"give about {tests_needed(TOO_ROUGH, 10)} labelled test samples to prove a lift of {TOO_ROUGH:g} points",
        )


def _check_labels(*sets: Dataset) -> None:
    """A table may be a pool, and then has no labels: here they are missed, and the table's first note says where they were looked for."""
    for data in sets:
        if data.layout == "table" and not data.classes:
            raise UserError(
                f"no row has a label; {data.notes[0]}",
                where=data.root,
                mend="name the column with the classes label (in npz files the array y)",
            )


def tests_needed(points: float, num_seeds: int) -> int:
    """Labelled test samples that prove a lift of ``points`` four times in five, to two digits (at most a million)."""
    low, high = 1, 1_000_000
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if smallest_provable(middle, num_seeds) <= points else (middle + 1, high)
    unit = int(10 ** max(0, len(str(low)) - 2))
    return -(-low // unit) * unit


def _power(num_test: int, num_seeds: int) -> list[str]:
    """What this test part can prove and, where that is little, what it would take."""
    least = smallest_provable(num_test, num_seeds)
    lines = [
        f"{num_test} test samples and {num_seeds} seeds find a lift of about {least:.1f} points four times in five, smaller ones less often"
    ]
    if least > TOO_ROUGH:
        for seeds in sorted({num_seeds, max(num_seeds, 10)}):
            if smallest_provable(1_000_000, seeds) <= TOO_ROUGH:
                lines.append(
                    f"that is few: for a lift of {TOO_ROUGH:g} points give about {tests_needed(TOO_ROUGH, seeds)} labelled "
                    f"test samples and --seeds {seeds}"
                )
                break
    return lines


def _classic(recipe: Recipe) -> list[str]:
    """A word on the classic arm where the kind of data leaves little of the recipe."""
    match [op.name for op in recipe.ops]:
        case []:
            return [f"recipe '{recipe.name}' has no transform for this data: the classic arm is the real one again"]
        case [only]:
            return [f"classic augmentation of this data is {only} alone: the other transforms mean nothing here"]
        case _:
            return []


def _refuse_leaks(offer: Offer, p: Prepared, folds: Sequence[Fold]) -> None:
    """Copies of test samples among the synthetic ones. Of a GAN that never saw the test part only identical ones are."""
    test = np.unique(np.concatenate([f.test for f in folds]))
    found = copies(offer.x, p.x[test], p.x, only_identical=offer.sealed is not None)
    if not found:
        return
    same, pairs = (
        sum(c.identical for c in found),
        [f"{offer.ids[c.index]} is {p.data.ids[test[c.test]]}" for c in found],
    )
    given = any(r.part == "test" for r in p.data.refs)
    mend = "take them out, and better: make the set anew from the training part alone"
    if not given:
        mend = (
            "these reals bring no test part, so each of them is tested: put samples that the maker of the set never saw into a "
            "folder test/, or mark them in a column `split`"
        )
    raise Refused(
        f"{len(found)} of {len(offer.x)} synthetic samples are copies of test samples ({same} identical, {len(found) - same} "
        f"nearly so); the first: {', '.join(pairs[:NAMED])}",
        mend=mend,
    )


def _sealed(synthetic: Synthetic) -> str | None:
    """The split whose test part the makers of these samples never saw; none for samples from elsewhere."""
    if isinstance(synthetic, Gan):
        return synthetic.sealed
    metas = [r.meta for r in synthetic.refs] if isinstance(synthetic, Dataset) else [s.meta for s in synthetic]
    names = {meta.get("sealed") for meta in metas}
    if len(names - {None}) > 1:
        raise UserError(
            "these samples come from GANs of several folds, and each fold's test part was seen by the others",
            mend="their proof is in the run's eval/proof.json; or give one fold's folder, such as OUT.run/fold-0",
        )
    return names.pop() if len(names) == 1 else None  # of a mixed set nobody knows what its makers saw


def _on_grid(synthetic: Synthetic, p: Prepared, sealed: str | None, *, strict: bool) -> Offer:
    """The synthetic samples on the grid of the reals, with the reals' class indices."""
    if isinstance(synthetic, Gan):
        y = np.concatenate([np.full(n, k) for k, n in wanted(p.y, p.num_classes).items()]).astype(np.int64)
        samples = [
            Sample(f"{synthetic.name}-{i:06d}", rendered(synthetic.codec, x)) for i, x in enumerate(synthetic.draw(y))
        ]
        return Offer(_encoded(p.codec, samples), y, tuple(s.id for s in samples), sealed)
    notes: list[str] = []
    if isinstance(synthetic, Dataset):
        synthetic = synthetic.usable(strict=strict)
        notes += [*synthetic.notes, *left_out(synthetic.skipped)]
    loaded = list(synthetic)
    known = {name: k for k, name in enumerate(p.data.classes)}
    labels = {s.label for s in loaded if s.label is not None}
    if not labels & set(known):
        raise UserError(
            f"no class is in both sets: real {', '.join(list(known)[:5])}; synthetic {', '.join(sorted(labels)[:5]) or 'none'}",
            mend="give the synthetic samples the class names of the real ones",
        )
    usable = [s for s in loaded if s.label in known]
    if len(usable) < len(loaded):
        strange = ", ".join(sorted(labels - set(known))[:5]) or "none"
        notes.append(
            f"{len(loaded) - len(usable)} synthetic samples have no class of the real set (theirs: {strange}): left out"
        )
    y = np.array([known[str(s.label)] for s in usable], dtype=np.int64)
    return Offer(_encoded(p.codec, usable), y, tuple(s.id for s in usable), sealed, tuple(notes))


def _encoded(codec: Codec, samples: Sequence[Sample]) -> F32:
    return np.stack([codec.encode(s) for s in samples]) if samples else np.zeros((0, *codec.grid.size), np.float32)


def _digest(x: F32, y: I64) -> str:
    from hashlib import sha256

    return sha256(x.tobytes() + y.tobytes()).hexdigest()[:16]


def _metrics(p: Prepared, fold: Fold, offer: Offer, seed: int) -> dict[str, Any]:
    """Metrics against the held-out and test reals of a fold, which the features have not seen, and the copy check."""
    unseen = np.concatenate([fold.held_out, fold.test])
    extractor = trained_cnn_features(p.x[fold.fit], p.y[fold.fit], seed=seed)
    rows = measure(
        offer.x, p.x[unseen], extractor, fake_y=offer.y, real_y=p.y[unseen],
        other_x=p.x[fold.fit], other_y=p.y[fold.fit], seed=seed,
    )  # fmt: skip
    found = check(offer.x, p.x[fold.fit], p.x[unseen], like=likeness(p.codec))
    suspects = found.suspects(offer.ids, [p.data.ids[i] for i in fold.fit])
    return {**summary(rows), "copies": {**found.to_dict(), "suspects": suspects}}


def _unseen(p: Prepared, fold: Fold, offer: Offer) -> I64:
    """Reals that the maker of the set never saw: a GAN of ours saw no held-out sample either; of others only a given test
    part is known."""
    return np.sort(np.concatenate([fold.held_out, fold.test])) if offer.sealed is not None else fold.test


def _check_audit(p: Prepared, fold: Fold, offer: Offer) -> None:
    """Before any time is spent: an audit needs reals of which is known that the maker never saw them."""
    if offer.sealed is None and not any(r.part == "test" for r in p.data.refs):
        raise UserError(
            "--audit compares training samples with reals that the maker of the set never saw, and here nobody knows those",
            where=p.data.root,
            mend="put them into a folder test/ or mark them in a column `split`, or leave --audit out",
        )
    num_unseen = len(_unseen(p, fold, offer))
    if min(len(fold.fit), num_unseen) < FEWEST:
        raise UserError(
            f"{len(fold.fit)} training samples and {num_unseen} unseen ones are too few for --audit",
            where=p.data.root,
            mend=f"give at least {FEWEST} of each, or leave --audit out",
        )
