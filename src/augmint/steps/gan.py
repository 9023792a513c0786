"""Train a GAN in a run's folder, with held-out figures and a snapshot at every tick."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from torch import nn

from augmint.core import rng
from augmint.core.config import TrainConfig
from augmint.core.run import Run, write_bytes
from augmint.core.types import F32, I64, Codec, Dataset, Sample, likeness
from augmint.evaluation.copies import CopyCheck
from augmint.evaluation.distances import frechet, prdc
from augmint.evaluation.features import TrainedCnn, trained_cnn_features
from augmint.generation.dials import Dials
from augmint.generation.draw import Gan, Known
from augmint.scale import ranks
from augmint.steps.widening import best_spread
from augmint.training.fit import Fitted, Material, fit
from augmint.training.loop import Figures, State
from augmint.training.watch import diversity_by_class, remarks

Progress = Callable[[dict[str, Any]], None]
Net = TypeVar("Net", bound=nn.Module)
SNAPSHOT_ROWS = 8
DIAL_COLUMNS = 10
FEWEST_TO_JUDGE = 20
"""Held-out reals: with fewer, distance and recall are noise, and none are taken."""


def train_gan(
    run: Run,
    data: Dataset,
    codec: Codec,
    material: Material,
    config: TrainConfig,
    *,
    seconds: float,
    seed: int,
    sealed: str,
    stop: object = False,
    progress: Progress = lambda event: None,
) -> tuple[Gan, Fitted]:
    """Train, choose the best checkpoint by held-out figures, save ``gan.json`` and its weights, return both."""
    started = time.perf_counter()
    watcher = _Watcher(run, data, codec, material, seed, progress)
    fitted = fit(
        run, data.modality, material, config, seconds=seconds, seed=seed, stop=stop, on_tick=watcher, progress=progress
    )
    known = Known(fitted.x, fitted.y, material.held_out_x, fitted.held_out_y)
    gan = Gan(
        data.modality, codec, data.classes, fitted.generator, fitted.verifier,
        known=known, name=run.path.name, sealed=sealed, pooled=material.has_pool,
    )  # fmt: skip
    spread, why = ranks.told(watcher.spread(gan) if ranks.is_first() else (1.0, ""))
    gan.generator.mapping.widen(spread)
    run.choose("spread", spread, why, anew=True)
    if ranks.is_first():
        gan.save(run.path, size=run.chosen("size"))
        _show_dials(gan, run)
    run.update(timings={"train_s": round(time.perf_counter() - started, 1)})
    return gan, fitted


class _Watcher:
    """At a tick: figures against held-out reals, remarks in words, and a grid of pictures with the same latents as before."""

    def __init__(
        self, run: Run, data: Dataset, codec: Codec, material: Material, seed: int, progress: Progress
    ) -> None:
        self.run, self.data, self.codec, self.progress, self.seed = run, data, codec, progress, seed
        self.features: TrainedCnn | None = None
        self.copies: CopyCheck | None = None

    def __call__(self, state: State, figures: Figures, known: Material) -> Figures:
        gan = Gan(self.data.modality, self.codec, self.data.classes, _here(state.ema), _here(state.verifier))
        n = min(300, len(known.held_out_x)) if len(known.held_out_x) >= FEWEST_TO_JUDGE else 0
        y = known.held_out_y[:n] if n else np.arange(64) % max(1, known.num_classes)
        fake = gan.draw(y, seed=rng.key("tick", self.seed) % 2**31)
        found = self._held_out(fake, known, n) if n else {}
        for text in remarks(
            {**figures, **found},
            diversity_by_class(fake, np.maximum(y, 0), max(1, known.num_classes)),
            diversity_by_class(known.x, np.maximum(known.y, 0), max(1, known.num_classes)),
            self.data.classes,
            late=state.step > max(100, self.run.chosen("steps") / 3),
        ):
            self.run.log(f"step {state.step}: {text}")
            self.progress({"stage": "train", "note": text})
        if figures:  # a trial, of which there is nothing to keep, has none
            self._snapshot(gan, state.step, known)
        return found

    def spread(self, gan: Gan) -> tuple[float, str]:
        """How far from the middle of its class this generator, which is trained, should draw; see `widening`."""
        assert gan.known is not None
        known, mapping = gan.known, gan.generator.mapping
        mapping.widen(1.0)  # finds the middles, which are the same at every spread

        def draw(spread: float, y: I64, number: int) -> F32:
            mapping.spread.fill_(spread)
            return gan.draw(y, seed=rng.key("spread", self.seed, number) % 2**31)

        def features(x: F32) -> F32:
            return self._features(known.x, known.y)(x)

        return best_spread(draw, features, known.x, known.y, seed=self.seed)

    def _features(self, x: F32, y: I64) -> TrainedCnn:
        if self.features is None:
            self.features = trained_cnn_features(x, y, seed=self.seed, steps=200)
        return self.features

    def _held_out(self, fake: F32, known: Material, n: int) -> Figures:
        features = self._features(known.x, known.y)
        if self.copies is None:
            self.copies = CopyCheck(known.x[:2000], known.held_out_x[:n], like=likeness(self.codec))
        real_f, fake_f = features(known.held_out_x[:n]), features(fake)
        found = prdc(real_f, fake_f, k=min(5, n // 4))
        figures = {"fid": frechet(real_f, fake_f), **{k: found[k] for k in ("precision", "recall", "coverage")}}
        return {**figures, "copy_rate": self.copies(fake[:64]).rate}

    def _snapshot(self, gan: Gan, step: int, known: Material) -> None:
        """Rows of synthetic samples of fixed latents, then reals, then the verifier's reconstructions of those reals."""
        sheet = getattr(self.data.modality, "sheet", None)
        if sheet is None:
            return
        classes = max(1, known.num_classes)
        columns = min(12, classes) if classes > 1 else 10
        y = np.tile(np.arange(columns) % classes, SNAPSHOT_ROWS).astype(np.int64)
        fake = gan.draw(y, seed=0).reshape(SNAPSHOT_ROWS, columns, *known.grid.size)
        real = np.stack([_first(known.x, known.y, c % classes, c) for c in range(columns)])
        rows = [*fake, real, gan.reconstruct(real)]
        titles = ["synthetic", *[""] * (SNAPSHOT_ROWS - 1), "real", "rebuilt by the verifier"]
        data, suffix = sheet(_sketched(gan.codec, rows), titles)
        write_bytes(self.run / "samples" / f"step-{step:06d}{suffix}", data)


def _here(net: Net) -> Net:
    """On the CPU, where samples are drawn; a copy where it is trained elsewhere."""
    return net if next(net.parameters()).device.type == "cpu" else copy.deepcopy(net).cpu()


def _show_dials(gan: Gan, run: Run) -> None:
    """``samples/dials.png``: the same latents at rising quality, near the first real sample, and in another class's style."""
    sheet = getattr(gan.modality, "sheet", None)
    if sheet is None or gan.known is None:
        return
    names = gan.classes
    y = np.arange(DIAL_COLUMNS, dtype=np.int64) % max(1, len(names))
    real = Sample("real", gan.codec.decode(gan.known.x[0]), names[max(0, int(gan.known.y[0]))] if names else None)
    like, label = gan.dials(like=real)
    near = np.full(DIAL_COLUMNS, names.index(label) if label is not None else 0)
    rows = {f"quality {q:g}": gan.draw(y, dials=Dials(quality=q)) for q in (0.0, 0.5, 1.0)}
    if len(names) > 1:
        rows[f"style of {names[1]}"] = gan.draw(y, dials=Dials(style=1))
    for strength in (0.0, 0.3, 0.6):
        made = gan.draw(near, dials=replace(like, strength=strength))
        rows[f"like the first (real), strength {strength:g}"] = np.concatenate([gan.known.x[:1], made[1:]])
    data, suffix = sheet(_sketched(gan.codec, rows.values()), list(rows))
    write_bytes(run / "samples" / f"dials{suffix}", data)


def _sketched(codec: Codec, rows: Iterable[F32]) -> list[list[Sample]]:
    """Samples for a sheet: decoded, or sketched by a codec that decodes slowly."""
    look = getattr(codec, "sketch", codec.decode)
    return [[Sample("", look(x)) for x in row] for row in rows]


def _first(x: F32, y: I64, label: int, nth: int) -> F32:
    own = np.flatnonzero(np.maximum(y, 0) == label)
    chosen: F32 = x[own[nth % len(own)]] if len(own) else x[nth % len(x)]
    return chosen
