"""For the report's eyes: where reals, kept and rejected samples lie on a map of features, and the samples most like copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augmint.core import rng
from augmint.core.run import write_json, write_jsonl
from augmint.core.types import F32, I64, Modality, Sample
from augmint.evaluation.features import trained_cnn_features
from augmint.steps.synthesis import Synthetic

F64 = NDArray[np.float64]
MOST_A_KIND = 180  # 540 points: t-SNE takes about a second, and more dots would hide each other
MOST_COPIES = 10
FEWEST_FOR_TSNE = 60


def look_closer(folder: Path, made: Sequence[Synthetic], modality: Modality, *, seed: int) -> None:
    """Write ``map.json`` and ``copies.jsonl`` into ``folder`` (``eval``) for the first fold's GAN; nothing without one."""
    if not made:
        return
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it comes with scikit-learn

    # One thread: with so few points many are slower (5 to 10 times, measured), and the map is the same on every machine.
    with threadpool_limits(1):
        write_json(folder / "map.json", feature_map(made[0], seed=seed))
    write_jsonl(folder / "copies.jsonl", closest(made[0], modality.preview))


def feature_map(made: Synthetic, *, seed: int) -> dict[str, Any]:
    """``{"method", "reals", "points": [{"x", "y", "kind", "label", "reason"?}]}``, at most 180 points a kind.

    The features come from a small net that saw training reals only. Reals are the held-out ones, as no net has seen them;
    with fewer than ten of those, training reals, which then lie nearer to their own class than an unseen real would.
    """
    known, classes = made.known, made.gan.classes
    unseen = len(known.held_x) >= 10
    real_x, real_y = (known.held_x, known.held_y) if unseen else (known.x, known.y)
    picks = {
        "real": _some(np.arange(len(real_x)), "real", seed),
        "kept": _some(made.kept, "kept", seed),
        "rejected": _some(np.array(sorted(made.curation.reasons), dtype=np.int64), "rejected", seed),
    }
    extractor = trained_cnn_features(known.x, known.y if len(classes) > 1 else None, seed=seed)
    sets = {"real": (real_x, real_y), "kept": (made.x, made.y), "rejected": (made.x, made.y)}
    flat, method = embed(
        np.concatenate([extractor(sets[kind][0][chosen]) for kind, chosen in picks.items()]), seed=seed
    )
    points, at = [], iter(flat.round(3).tolist())
    for kind, chosen in picks.items():
        for index in chosen.tolist():
            x, y = next(at)
            label = int(sets[kind][1][index])
            point: dict[str, Any] = {
                "x": x,
                "y": y,
                "kind": kind,
                "label": classes[label] if 0 <= label < len(classes) else None,
            }
            points.append({**point, "reason": made.curation.reasons[index]} if kind == "rejected" else point)
    name = f"{method} of {extractor.name}@{extractor.sha256[:8]}"
    return {"method": name, "reals": "held-out reals" if unseen else "training reals", "points": points}


def embed(features: F32, *, seed: int) -> tuple[F64, str]:
    """``[N, D]`` features to ``[N, 2]`` and the method's name: t-SNE (van der Maaten & Hinton 2008) begun at the two
    principal axes, which keeps the large-scale order; those axes alone for fewer than 60 samples.
    """
    centred = features.astype(np.float64) - features.mean(0)
    if len(features) < FEWEST_FOR_TSNE:
        return _principal(centred), "principal components"
    from sklearn.manifold import TSNE

    state = rng.torch_seed("map", seed) % 2**31
    net = TSNE(2, init="pca", perplexity=min(30, len(features) // 4), max_iter=500, random_state=state)
    return np.asarray(net.fit_transform(centred), np.float64), "t-SNE"


def _principal(centred: F64) -> F64:
    """The two directions of the largest variance, each signed so that its largest weight is positive; 0 where there is none."""
    out = np.zeros((len(centred), 2))
    if len(centred) < 2:
        return out
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    for k, axis in enumerate(axes[:2]):
        out[:, k] = centred @ axis * np.sign(axis[np.abs(axis).argmax()] or 1.0)
    return out


def closest(made: Synthetic, show: Callable[[Sample], str]) -> list[dict[str, Any]]:
    """The ten candidates with the lowest ratio of the copy check, each with its picture and its training sample's."""
    ratio = made.copies.ratio
    rows = []
    for index in np.argsort(ratio, kind="stable")[:MOST_COPIES].tolist():
        sample, nearest = made.sample(index), int(made.copies.nearest[index])
        twin = Sample(f"training sample {nearest}", made.gan.codec.decode(made.known.x[nearest]))
        reason = made.curation.reasons.get(index)
        rows.append(
            {
                "id": sample.id,
                "kind": "rejected" if reason else "kept",
                "label": sample.label,
                "reason": reason,
                "flagged": bool(made.copies.flagged[index]),
                "nearest_ratio": round(float(ratio[index]), 3),
                "html": show(sample),
                "nearest_id": twin.id,
                "nearest_html": show(twin),
            }
        )
    return rows


def _some(indices: I64, name: str, seed: int) -> I64:
    """At most so many of the indices, drawn without replacement, in order."""
    if len(indices) <= MOST_A_KIND:
        return indices
    return np.sort(indices[rng.permutation(rng.key("map", name, seed), len(indices))[:MOST_A_KIND]])
