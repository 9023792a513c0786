"""``prove`` on its own: real samples against any synthetic set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augmint.core.config import ProveVerb
from augmint.core.errors import UserError
from augmint.core.run import Run, write_json, write_text
from augmint.core.types import F32, I64, Codec, Dataset, Sample
from augmint.data.split import Fold
from augmint.evaluation.copies import check
from augmint.evaluation.features import trained_cnn_features
from augmint.evaluation.metrics import measure, summary
from augmint.evaluation.paired import smallest_provable
from augmint.evaluation.proof import Proof
from augmint.generation.draw import Gan
from augmint.steps.experiment import Offered, experiment, share
from augmint.steps.prepare import FOLDS, Prepared, prepare, read_sealed
from augmint.steps.results import Progress, Result
from augmint.steps.synthesis import wanted
from augmint.transforms.recipe import Recipe

Synthetic = Dataset | Gan | Sequence[Sample]


def compare(
    real: Dataset,
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
    tested on all outer folds, and what its maker has seen cannot be known.
    """
    sealed = _sealed(synthetic)
    seed, num_folds, fold = read_sealed(sealed) if sealed is not None else (config.seed, FOLDS, None)
    p = prepare(real, None, seed=seed, folds=num_folds, grid=config.grid, strict=config.strict)
    if not p.has_task:
        raise UserError(
            "there is nothing to prove: " + p.notes[-1], where=real.root, mend="label the samples, two classes at least"
        )
    folds = p.folds if fold is None else p.folds[fold : fold + 1]
    x, y = _on_grid(synthetic, p)
    recipe = Recipe.load(config.recipe, allowed=real.modality.ops)
    amount, why = share(config, p.regime)
    num_test = sum(int((p.y[f.test] >= 0).sum()) for f in folds)
    least = smallest_provable(num_test, config.seeds)
    lines = [
        *p.notes,
        f"{num_test} test samples and {config.seeds} seeds can prove a lift of about {least:.1f} points or more",
    ]
    if dry_run:
        return Result([*lines, f"would compare {len(x)} synthetic samples at a share of {amount:.0%} ({why})"])
    for line in lines:
        progress({"stage": "read", "note": line})

    kept = config.model_dump(exclude={"workers", "strict"})
    given = {"data": real.fingerprint, "synthetic": f"{len(x)} samples, {_digest(x, y)}"}
    run = Run.open(place, verb="prove", config=kept, inputs=given)
    write_text(run / "split.csv", p.split.table(p.data.ids, [r.label for r in p.data.refs]).to_csv(index=False))
    run.choose("regime", p.regime, p.notes[-1])
    run.choose("share", amount, why)
    gan = synthetic if isinstance(synthetic, Gan) else None
    offered = [Offered(fold, kept=(x, y), gan=gan) for fold in folds]
    proof = experiment(run, p, offered, recipe, config, seed=config.seed, stop=stop, progress=progress)
    write_json(run / "eval" / "metrics.json", _metrics(p, folds[0], x, y, config.seed))
    run.update(status="done", counts={"real": len(real), "synthetic": len(x)})
    return proof


def _sealed(synthetic: Synthetic) -> str | None:
    """The split whose test part the makers of these samples never saw; none for samples from elsewhere."""
    if isinstance(synthetic, Gan):
        return synthetic.sealed
    metas = [r.meta for r in synthetic.refs] if isinstance(synthetic, Dataset) else [s.meta for s in synthetic]
    names = {meta.get("sealed") for meta in metas}
    if len(names) > 1:
        raise UserError(
            "these samples come from GANs of several folds, and each fold's test part was seen by the others",
            mend="their proof is in the run's eval/proof.json; or give one fold's folder, such as OUT.run/fold-0",
        )
    return names.pop() if names else None


def _on_grid(synthetic: Synthetic, p: Prepared) -> tuple[F32, I64]:
    """The synthetic samples as ``[N, C, *shape]`` on the grid of the reals, with the reals' class indices."""
    if isinstance(synthetic, Gan):
        y = np.concatenate([np.full(n, k) for k, n in wanted(p.y, p.num_classes).items()]).astype(np.int64)
        samples = [synthetic.codec.decode(x) for x in synthetic.draw(y)]
        return _encoded(p.codec, [Sample("", d) for d in samples]), y
    loaded = list(synthetic.usable()) if isinstance(synthetic, Dataset) else list(synthetic)
    known = {name: k for k, name in enumerate(p.data.classes)}
    labels = {s.label for s in loaded if s.label is not None}
    if not labels & set(known):
        raise UserError(
            f"no class is in both sets: real {', '.join(list(known)[:5])}; synthetic {', '.join(sorted(labels)[:5]) or 'none'}",
            mend="give the synthetic samples the class names of the real ones",
        )
    usable = [s for s in loaded if s.label in known]
    return _encoded(p.codec, usable), np.array([known[str(s.label)] for s in usable], dtype=np.int64)


def _encoded(codec: Codec, samples: Sequence[Sample]) -> F32:
    return np.stack([codec.encode(s) for s in samples]) if samples else np.zeros((0, *codec.grid.size), np.float32)


def _digest(x: F32, y: I64) -> str:
    from hashlib import sha256

    return sha256(x.tobytes() + y.tobytes()).hexdigest()[:16]


def _metrics(p: Prepared, fold: Fold, x: F32, y: I64, seed: int) -> dict[str, Any]:
    """Metrics against the held-out and test reals of a fold, which the features have not seen, and the copy check."""
    unseen = np.concatenate([fold.held_out, fold.test])
    extractor = trained_cnn_features(p.x[fold.fit], p.y[fold.fit], seed=seed)
    rows = measure(
        x, p.x[unseen], extractor, fake_y=y, real_y=p.y[unseen], other_x=p.x[fold.fit], other_y=p.y[fold.fit], seed=seed
    )
    return {**summary(rows), "copies": check(x, p.x[fold.fit], p.x[unseen]).to_dict()}
