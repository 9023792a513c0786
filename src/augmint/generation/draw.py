"""A trained GAN, and drawing samples from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from augmint.core import rng
from augmint.core.errors import UserError, did_you_mean
from augmint.core.run import read_json, write_json
from augmint.core.types import F32, I64, Codec, Modality, Sample
from augmint.models.generator import Z_DIM
from augmint.models.verifier import Judge
from augmint.training import checkpoint
from augmint.training.fit import networks

CHUNK = 64
"""Samples go through the networks in padded chunks of this one size, since the size of a batch changes bits."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What the verifier says of ``[N]`` samples.

    Attributes:
        realness: percentile in [0, 100] of the verifier's score among held-out reals; higher = more real.
        rebuild: percentile in [0, 100] of the rebuild error among held-out reals; higher = stranger.
        evidence: ``[N, 2 + 128]`` raw score, log rebuild error, and the verifier's features, for the calibration.
    """

    realness: F32
    rebuild: F32
    evidence: F32


class Gan:
    """Generator, verifier and codec of a run.

    Example:
        >>> gan = am.train(am.read("photos/"))          # doctest: +SKIP
        >>> new = gan.generate(100, label="cat")        # doctest: +SKIP
    """

    def __init__(
        self,
        modality: Modality,
        codec: Codec,
        classes: Sequence[str],
        generator: nn.Module,
        verifier: Judge,
        *,
        held_scores: F32 | None = None,
        held_errors: F32 | None = None,
        codes: Tensor | None = None,
        code_labels: I64 | None = None,
        name: str = "gan",
    ) -> None:
        self.modality, self.codec, self.classes, self.name = modality, codec, tuple(classes), name
        self.generator, self.verifier = generator.eval().requires_grad_(False), verifier.eval()
        self._held_scores = np.sort(held_scores) if held_scores is not None else None
        self._held_errors = np.sort(held_errors) if held_errors is not None else None
        self._codes, self._code_labels = codes, code_labels

    @property
    def summary(self) -> list[str]:
        """A few lines for people."""
        shape = " x ".join(str(s) for s in self.codec.grid.shape)
        return [f"a GAN of {shape} grids, {self.codec.grid.channels} channels, {max(1, len(self.classes))} classes"]

    def to_dict(self) -> dict[str, Any]:
        return {"classes": list(self.classes), "grid": list(self.codec.grid.size)}

    # -- making samples ------------------------------------------------------------------------------------------

    def generate(
        self, num: int, *, label: str | None = None, quality: float = 0.0, seed: int = 0, source: str = "generator"
    ) -> list[Sample]:
        """``num`` synthetic samples, each with the verifier's scores in ``meta``.

        Args:
            label: a class; with none, the classes take turns.
            quality: 0 = full variety, 1 = close to each class's mean (truncation, Karras et al. 2019).
            seed: another seed gives other samples; sample ``i`` of a class does not depend on ``num``.
            source: ``generator``, or ``verifier`` for the verifier's own generative branch.
        """
        y = self._labels(num, label)
        x = self.draw(y, seed=seed, quality=quality) if source == "generator" else self.verifier_draw(y, seed=seed)
        scores = self.score(x, y)
        return [self.sample(x[i], int(y[i]), i, seed, scores) for i in range(num)]

    def sample(self, x: F32, y: int, index: int, seed: int, scores: Scores) -> Sample:
        """One grid tensor as a sample of the modality, with its scores."""
        label = self.classes[y] if self.classes else None
        meta = {
            "seed": seed,
            "index": index,
            "score": round(float(scores.realness[index]), 2),
            "rebuild": round(float(scores.rebuild[index]), 2),
            "model": self.name,
        }
        name = f"synthetic-{seed}-{index:06d}"
        return Sample(name, self.codec.decode(np.clip(x, -1, 1)), label, meta=meta, origin="synthetic")

    def draw(self, y: I64, *, seed: int = 0, quality: float = 0.0) -> F32:
        """Grid tensors ``[N, C, *shape]`` in [-1, 1] of these classes.

        The latent of the ``i``-th sample of a class is a function of (seed, class, i) alone.
        """
        if not 0 <= quality <= 1:
            raise UserError(f"quality {quality} is outside 0..1", mend="0 = full variety, 1 = close to the mean")
        y = np.maximum(y, 0)
        z = _latents(y, seed)
        pull = 1.0 - 0.75 * quality  # never all the way: at the mean itself every sample would be the same
        means = self._class_means(seed=0) if quality > 0 else None

        def make(z_part: Tensor, y_part: Tensor) -> Tensor:
            w = self.generator.mapping(z_part, y_part)  # type: ignore[operator]
            if means is not None:
                w = means[y_part] + pull * (w - means[y_part])
            out: Tensor = self.generator.synthesise(w)  # type: ignore[operator]
            return out.clamp(-1, 1)

        return _in_chunks(make, torch.from_numpy(z), torch.from_numpy(y))

    def verifier_draw(self, y: I64, *, seed: int = 0) -> F32:
        """Samples of the verifier's own generative branch: mixed codes of two training reals of the class, decoded."""
        if self._codes is None or self._code_labels is None or not len(self._codes):
            raise UserError("this GAN has no codes of its training samples", mend="train it again with this version")
        y = np.maximum(y, 0)
        picks = []
        for i, c in enumerate(y):
            own = np.flatnonzero(self._code_labels == c)
            own = own if len(own) else np.arange(len(self._codes))
            u = rng.uniform(rng.key(seed, "mix codes", int(c), i), np.arange(3))
            a, b = own[int(u[0] * len(own))], own[int(u[1] * len(own))]
            picks.append(torch.lerp(self._codes[a], self._codes[b], 0.5 * float(u[2])))
        codes = torch.stack(picks)
        return _in_chunks(lambda c, _: self.verifier.rebuild(c).clamp(-1, 1), codes, torch.from_numpy(y))

    # -- judging samples -----------------------------------------------------------------------------------------

    def score(self, x: F32, y: I64 | None = None) -> Scores:
        """Both scores of ``[N, C, *shape]``; without labels the verifier's own are used."""
        y = self.classify(x)[0] if y is None else np.maximum(y, 0)

        def judge(x_part: Tensor, y_part: Tensor) -> Tensor:
            verdict = self.verifier(x_part, y_part)
            rebuilt = self.verifier.rebuild(self.verifier.heads.code(verdict.features))
            error = (x_part - rebuilt).square().flatten(1).mean(1).add(1e-8).log()
            return torch.cat([verdict.score[:, None], error[:, None], verdict.features], 1)

        evidence = _in_chunks(judge, torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(y))
        return Scores(
            _percentile(self._held_scores, evidence[:, 0]), _percentile(self._held_errors, evidence[:, 1]), evidence
        )

    def classify(self, x: F32) -> tuple[I64, F32]:
        """Class indices ``[N]`` and how sure the verifier is of each, in [0, 1]."""
        zeros = torch.zeros(len(x), dtype=torch.long)
        p = _in_chunks(lambda part, _: self.verifier.classify(part).softmax(1), torch.from_numpy(np.ascontiguousarray(x)), zeros)
        return p.argmax(1).astype(np.int64), p.max(1)

    def reconstruct(self, x: F32) -> F32:
        """``[N, C, *shape]`` as the verifier's generative branch rebuilds it."""
        zeros = torch.zeros(len(x), dtype=torch.long)
        return _in_chunks(lambda part, _: self.verifier.reconstruct(part).clamp(-1, 1), torch.from_numpy(np.ascontiguousarray(x)), zeros)

    # -- disk ----------------------------------------------------------------------------------------------------

    def save(self, run: Path, *, size: str) -> None:
        """``gan.json`` and ``gan/*.safetensors`` in the run's folder."""
        tensors: dict[str, Mapping[str, Tensor]] = {
            "generator": self.generator.state_dict(),
            "verifier": self.verifier.state_dict(),
            "references": {
                "held_scores": _tensor(self._held_scores),
                "held_errors": _tensor(self._held_errors),
                "codes": self._codes if self._codes is not None else torch.zeros(0, 1),
                "code_labels": torch.from_numpy(self._code_labels) if self._code_labels is not None else torch.zeros(0),
            },
        }
        checkpoint.save_folder(run / "gan", tensors, {"name": self.name})
        about = {"modality": self.modality.name, "size": size, "classes": list(self.classes), "codec": self.codec.to_dict()}
        write_json(run / "gan.json", {**about, "name": self.name})

    @classmethod
    def load(cls, run: Path, modality: Modality) -> Gan:
        """The GAN of a finished run."""
        about = read_json(run / "gan.json")
        codec = modality.codec(about["codec"])
        generator, verifier = networks(modality, about["size"], codec.grid, len(about["classes"]), seed=0)
        checkpoint.load_into(generator, run / "gan", "generator")
        checkpoint.load_into(verifier, run / "gan", "verifier")
        refs = checkpoint.load_part(run / "gan", "references")
        return cls(
            modality,
            codec,
            about["classes"],
            generator,
            verifier,
            held_scores=refs["held_scores"].numpy(),
            held_errors=refs["held_errors"].numpy(),
            codes=refs["codes"],
            code_labels=refs["code_labels"].numpy().astype(np.int64),
            name=about["name"],
        )

    # -- inside --------------------------------------------------------------------------------------------------

    def _labels(self, num: int, label: str | None) -> I64:
        if num < 1:
            raise UserError(f"cannot make {num} samples", mend="ask for one or more")
        if label is None:
            return np.arange(num, dtype=np.int64) % max(1, len(self.classes))
        if label not in self.classes:
            raise UserError(
                f"there is no class '{label}'{did_you_mean(label, self.classes)}", mend="one of: " + ", ".join(self.classes)
            )
        return np.full(num, self.classes.index(label), dtype=np.int64)

    def _class_means(self, *, seed: int, n: int = 256) -> Tensor:
        """Mean ``w`` of every class, ``[K, D]``."""
        means = []
        for c in range(max(1, len(self.classes))):
            y = np.full(n, c, dtype=np.int64)
            means.append(self.generator.mapping(torch.from_numpy(_latents(y, seed)), torch.from_numpy(y)).mean(0))  # type: ignore[operator]
        return torch.stack(means)


def _latents(y: I64, seed: int) -> F32:
    """``[N, 64]``: the row of the i-th sample of class c is a function of (seed, c, i)."""
    seen: dict[int, int] = {}
    keys = np.empty(len(y), dtype=np.uint64)
    for n, c in enumerate(y.tolist()):
        keys[n] = rng.key(seed, "latent", c, seen.get(c, 0))
        seen[c] = seen.get(c, 0) + 1
    return rng.normal(keys[:, None], np.arange(Z_DIM)[None]).astype(np.float32)


@torch.no_grad()
def _in_chunks(fn: Any, x: Tensor, y: Tensor) -> F32:
    """``fn(x, y)`` in chunks of one fixed size, the last one padded with its own first row."""
    parts = []
    for i in range(0, len(x), CHUNK):
        a, b = x[i : i + CHUNK], y[i : i + CHUNK]
        n = len(a)
        if n < CHUNK:
            a, b = torch.cat([a, a[:1].expand(CHUNK - n, *a.shape[1:])]), torch.cat([b, b[:1].expand(CHUNK - n)])
        parts.append(fn(a, b)[:n].float())
    return torch.cat(parts).numpy()


def _percentile(sorted_reference: F32 | None, values: F32) -> F32:
    """Where each value lies among the references, 0 to 100; 50 where there is no reference."""
    if sorted_reference is None or not len(sorted_reference):
        return np.full(len(values), 50.0, dtype=np.float32)
    at = (np.searchsorted(sorted_reference, values, "left") + np.searchsorted(sorted_reference, values, "right")) / 2
    return (100.0 * at / len(sorted_reference)).astype(np.float32)


def _tensor(values: F32 | None) -> Tensor:
    return torch.zeros(0) if values is None else torch.from_numpy(np.ascontiguousarray(values))
