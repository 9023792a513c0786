"""A trained GAN, and drawing samples from it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from augmint.core import rng
from augmint.core.errors import UserError, did_you_mean
from augmint.core.run import read_json, write_json
from augmint.core.types import F32, I64, Codec, Modality, Ref, Sample, rendered
from augmint.core.wording import number_of
from augmint.generation.codes import Codes, nth_keys
from augmint.generation.dials import PULL, Dials, invert, walk
from augmint.models.generator import Z_DIM, Maker
from augmint.models.sizes import networks
from augmint.models.verifier import Judge
from augmint.training import checkpoint

NEUTRAL = Dials()
Source = str | Path | Sample
"""A class (for ``style``), the path of a file, or a sample."""
Given = F32 | Iterable[Sample]
"""Tensors ``[N, C, *shape]`` in [-1, 1] on the GAN's own grid, or samples (a `Dataset`, what `generate` gave, a list), which are brought there."""
CHUNK = 64
"""Samples go through the networks in padded chunks of one size, since the size of a batch changes bits: 64 of up to 64 x 64 cells,
fewer of larger grids."""


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


@dataclass(frozen=True, slots=True)
class Known:
    """The real samples that a GAN is judged with; kept with it, for a copy can only be found beside its original.

    Attributes:
        x, y: ``[M, C, *shape]``, ``[M]``: what the generator learned from, pool samples with the labels given to them.
        held_x, held_y: ``[H, C, *shape]``, ``[H]``: reals that nothing was trained on; may be empty.
    """

    x: F32
    y: I64
    held_x: F32
    held_y: I64

    def of(self, classes: Iterable[int]) -> Known:
        """Those of these classes: what samples of them alone are measured against."""
        fit, held = (np.isin(np.maximum(y, 0), list(classes)) for y in (self.y, self.held_y))
        return Known(self.x[fit], self.y[fit], self.held_x[held], self.held_y[held])


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
        generator: Maker,
        verifier: Judge,
        *,
        known: Known | None = None,
        name: str = "gan",
        sealed: str | None = None,
        pooled: bool = False,
    ) -> None:
        """``sealed`` names the split whose test part this GAN never saw, as ``seed/folds/fold``; ``pooled``: it learned from an
        unlabelled pool too."""
        self.modality, self.codec, self.classes, self.name = modality, codec, tuple(classes), name
        self.generator, self.verifier = generator.eval(), verifier.eval()
        self.known, self.sealed, self.pooled = known, sealed, pooled
        self._codes: Codes | None = None
        self._held_scores: F32 | None = None
        self._held_errors: F32 | None = None
        if known is not None:
            has_held = len(known.held_x) > 0
            raw = self._evidence(known.held_x, known.held_y) if has_held else self._evidence(known.x, known.y)
            self._held_scores, self._held_errors = np.sort(raw[:, 0]), np.sort(raw[:, 1])

    @property
    def summary(self) -> list[str]:
        """A few lines for people."""
        shape = " x ".join(str(s) for s in self.codec.grid.shape)
        channels = number_of(self.codec.grid.channels, "channel")
        return [f"a GAN of {shape} grids, {channels}, {number_of(max(1, len(self.classes)), 'class', 'classes')}"]

    def to_dict(self) -> dict[str, Any]:
        return {"classes": list(self.classes), "grid": list(self.codec.grid.size)}

    # -- making samples ------------------------------------------------------------------------------------------

    def generate(
        self,
        num: int,
        *,
        label: str | None = None,
        quality: float = 0.0,
        style: Source | None = None,
        like: Source | None = None,
        strength: float = 0.5,
        seed: int = 0,
        source: str = "generator",
    ) -> list[Sample]:
        """``num`` synthetic samples, each with the verifier's scores in ``meta``.

        Args:
            label: a class; with none, the classes take turns (with ``like``, its class is taken).
            quality: 0 = full variety, 1 = close to each class's mean (truncation, Karras et al. 2019).
            style: a class or a real sample whose finer traits the new samples take.
            like: a real sample near which the new ones lie; ``strength`` says how far off, 0 = as near as the generator
                comes, 1 = anything of the class.
            seed: another seed gives other samples; sample ``i`` of a class does not depend on ``num``.
            source: ``generator``, or ``verifier`` for the verifier's own generative branch.
        """
        dials, own = self.dials(quality=quality, style=style, like=like, strength=strength, label=label)
        y = self._labels(num, own)
        return self._told(self.draw(y, seed=seed, dials=dials, source=source), y, seed)

    def walk(self, num: int, *, label: str | None = None, dials: Dials = NEUTRAL, seed: int = 0) -> list[Sample]:
        """``num`` samples at even steps on a closed walk: through four samples of a class, or one of every class."""
        classes = self.numbers(label)
        stops = np.array(classes * (1 if len(classes) > 1 else 4), dtype=np.int64)
        y, z = torch.from_numpy(stops), torch.from_numpy(_latents(stops, seed))
        with torch.no_grad():
            keys = dials.steer(self.generator, z, y, self._class_means())
        at = torch.from_numpy(stops[np.arange(num) * len(stops) // num])
        x = self._in_chunks(lambda w, _: self.generator.synthesise(w).clamp(-1, 1), walk(keys, num), at)
        return self._told(x, at.numpy(), seed)

    def dials(
        self,
        *,
        quality: float = 0.0,
        style: Source | None = None,
        like: Source | None = None,
        strength: float = 0.5,
        label: str | None = None,
    ) -> tuple[Dials, str | None]:
        """What `generate` was asked for as `Dials`, and the class to make: ``label``, or that of ``like``.

        Finding the ``w`` of a real sample takes seconds.

        Raises:
            UserError: if ``style`` or ``like`` is neither a class (for ``style``) nor a sample that can be read, or ``like`` is
                known to be of another class than ``label``.
        """
        self.numbers(label)
        near, own = (None, label) if like is None else self._inverted(like, label)
        if isinstance(style, str) and style in self.classes:
            return Dials(quality, near, strength, self.classes.index(style)), own
        return Dials(quality, near, strength, None if style is None else self._inverted(style)[0]), own

    def _inverted(self, source: Source, wanted: str | None = None) -> tuple[Tensor, str | None]:
        """``w [stages, D]`` of a real sample, and its class: as labelled or filed, else as wanted, else as the verifier names it."""
        sample = source if isinstance(source, Sample) else self._read(Path(source))
        x = self.codec.encode(sample)[None]
        known = sample.label if sample.label in self.classes else None
        if known is not None and wanted is not None and known != wanted:
            raise UserError(
                f"'{sample.id}' is of the class '{known}', and '{wanted}' is asked for",
                mend=f"leave the label out, or give a sample of '{wanted}'; finer traits alone are what style takes",
            )
        name = known or wanted
        label = int(self.classify(x)[0][0]) if name is None else self.classes.index(name)
        w = invert(self.generator, self.verifier, torch.from_numpy(x[0]), label)
        return w, self.classes[label] if self.classes else None

    def _read(self, path: Path) -> Sample:
        if not path.is_file():
            if str(path) in self.classes:
                raise UserError(f"'{path}' is a class, not a file", mend=f"give a file of it, or --label {path}")
            raise UserError(
                f"'{path}' is neither a file nor a class{did_you_mean(str(path), self.classes)}",
                mend="give a file of the same kind as the data"
                + (f", or one of: {', '.join(self.classes)}" if self.classes else ""),
            )
        folder = path.resolve().parent.name
        return self.modality.load(Ref(path.name, path.resolve(), folder if folder in self.classes else None))

    def _told(self, x: F32, y: I64, seed: int) -> list[Sample]:
        scores = self.score(x, y)
        return [self.sample(x[i], int(y[i]), i, seed, scores) for i in range(len(x))]

    def sample(self, x: F32, y: int, index: int, seed: int, scores: Scores) -> Sample:
        """One grid tensor as a sample of the modality, with its scores."""
        return replace(self.about(y, index, seed, scores), data=rendered(self.codec, np.clip(x, -1, 1)))

    def about(self, y: int, index: int, seed: int, scores: Scores) -> Sample:
        """What is known of a sample, without its data: decoding may take long."""
        label = self.classes[y] if self.classes else None
        meta = {
            "seed": seed,
            "index": index,
            "score": round(float(scores.realness[index]), 2),
            "rebuild": round(float(scores.rebuild[index]), 2),
            "model": self.name,
            "sealed": self.sealed,
        }
        return Sample(f"synthetic-{seed}-{index:06d}", None, label, meta=meta, origin="synthetic")

    def draw(self, y: I64, *, seed: int = 0, dials: Dials = NEUTRAL, source: str = "generator") -> F32:
        """Grid tensors ``[N, C, *shape]`` in [-1, 1] of these classes.

        The latent of the ``i``-th sample of a class is a function of (seed, class, i) alone. For ``source`` see `generate`.
        """
        y = np.maximum(y, 0)
        if source == "verifier":
            return self.verifier_draw(y, seed=seed, dials=dials)
        means = None if dials.is_neutral else self._class_means()

        def make(z: Tensor, y_part: Tensor) -> Tensor:
            w = self.generator.to_w(z, y_part) if means is None else dials.steer(self.generator, z, y_part, means)
            return self.generator.synthesise(w).clamp(-1, 1)

        return self._in_chunks(make, torch.from_numpy(_latents(y, seed)), torch.from_numpy(y))

    def verifier_draw(self, y: I64, *, seed: int = 0, dials: Dials = NEUTRAL) -> F32:
        """Samples of the verifier's own generative branch: codes drawn from what its training reals have (`Codes`), decoded.

        Of the dials, quality brings the codes nearer to their class's mean.

        Raises:
            UserError: if the training samples are not known, or a style or likeness is asked for.
        """
        if self.known is None:
            raise UserError(
                "this GAN was exported, without the real samples whose codes the verifier draws from",
                mend="load it from its run",
            )
        if dials.like is not None or dials.style is not None:
            raise UserError("style and likeness are dials of the generator", mend="leave --source verifier out")
        if self._codes is None:
            zeros = torch.zeros(len(self.known.x), dtype=torch.long)
            found = self._in_chunks(lambda x, _: self.verifier.encode(x), torch.from_numpy(self.known.x), zeros)
            self._codes = Codes.fit(found, np.maximum(self.known.y, 0), max(1, len(self.classes)))
        codes = self._codes.draw(np.maximum(y, 0), seed, spread=1.0 - PULL * dials.quality)
        return self._in_chunks(
            lambda c, _: self.verifier.rebuild(c).clamp(-1, 1), torch.from_numpy(codes), torch.from_numpy(y)
        )

    # -- judging samples -----------------------------------------------------------------------------------------

    def on_grid(self, x: Given) -> F32:
        """``[N, C, *shape]`` in [-1, 1]: what the networks see of these samples; such tensors are what they are.

        Raises:
            UserError: if tensors are of another size, or what is given is neither tensors nor samples.
        """
        size = self.codec.grid.size
        if isinstance(x, np.ndarray):
            if x.shape[1:] != size:
                told = f"N x {' x '.join(map(str, size))} in [-1, 1]"
                raise UserError(f"tensors of {x.shape}: this GAN takes {told}", mend="give such tensors, or samples")
            return np.asarray(x, np.float32)
        if isinstance(x, str | Path | Sample):
            raise UserError(
                f"{x!r:.60} is no list of samples", mend="give a list, or what augmint.read(folder) returns"
            )
        return np.stack([self.codec.encode(s) for s in x]) if x else np.zeros((0, *size), np.float32)

    def score(self, x: Given, y: I64 | None = None) -> Scores:
        """Both scores of each sample; ``y [N]`` are class indices, without which the verifier's own are used."""
        x = self.on_grid(x)
        found = self._evidence(x, self.classify(x)[0] if y is None else y)
        realness, rebuild = _percentile(self._held_scores, found[:, 0]), _percentile(self._held_errors, found[:, 1])
        return Scores(realness, rebuild, found)

    def _evidence(self, x: F32, y: I64) -> F32:
        def judge(x_part: Tensor, y_part: Tensor) -> Tensor:
            verdict = self.verifier(x_part, y_part)
            rebuilt = self.verifier.rebuild(self.verifier.heads.code(verdict.features))
            error = (x_part - rebuilt).square().flatten(1).mean(1).add(1e-8).log()
            return torch.cat([verdict.score[:, None], error[:, None], verdict.features], 1)

        return self._in_chunks(judge, torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(np.maximum(y, 0)))

    def classify(self, x: Given) -> tuple[I64, F32]:
        """Class indices ``[N]`` (into ``classes``) and how sure the verifier is of each, in [0, 1]."""
        x = self.on_grid(x)
        zeros = torch.zeros(len(x), dtype=torch.long)
        p = self._in_chunks(
            lambda part, _: self.verifier.classify(part).softmax(1), torch.from_numpy(np.ascontiguousarray(x)), zeros
        )
        return p.argmax(1).astype(np.int64), p.max(1)

    def reconstruct(self, x: Given) -> F32:
        """``[N, C, *shape]`` in [-1, 1]: each sample as the verifier's generative branch rebuilds it."""
        x = self.on_grid(x)
        zeros = torch.zeros(len(x), dtype=torch.long)
        return self._in_chunks(
            lambda part, _: self.verifier.reconstruct(part).clamp(-1, 1),
            torch.from_numpy(np.ascontiguousarray(x)),
            zeros,
        )

    # -- disk ----------------------------------------------------------------------------------------------------

    def save(self, run: Path, *, size: str, with_samples: bool = True) -> None:
        """``gan.json`` and ``gan/*.safetensors`` in the run's folder; ``with_samples`` the reals that it is judged with, too."""
        tensors: dict[str, Mapping[str, Tensor]] = {
            "generator": self.generator.state_dict(),
            "verifier": self.verifier.state_dict(),
        }
        if self.known is not None and with_samples:
            k = self.known
            half = {"x": k.x.astype(np.float16), "held_x": k.held_x.astype(np.float16), "y": k.y, "held_y": k.held_y}
            tensors["known"] = {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in half.items()}
        checkpoint.save_folder(run / "gan", tensors, {"name": self.name})
        about = {
            "modality": self.modality.name,
            "size": size,
            "tier": self.verifier.tier,
            "classes": list(self.classes),
            "codec": self.codec.to_dict(),
        }
        write_json(run / "gan.json", {**about, "name": self.name, "sealed": self.sealed, "pooled": self.pooled})

    @classmethod
    def load(cls, run: Path, modality: Modality) -> Gan:
        """The GAN of a finished run."""
        about = read_json(run / "gan.json")
        missing = {"modality", "size", "classes", "codec", "name", "sealed"} - set(about)
        if missing:
            raise UserError(
                f"this GAN was saved by another version: {', '.join(sorted(missing))} missing",
                where=run / "gan.json",
                mend="train it again",
            )
        codec = modality.codec(about["codec"])
        generator, verifier = networks(
            modality, about["size"], codec.grid, len(about["classes"]), seed=0, tier=about.get("tier", "own")
        )
        checkpoint.load_into(generator, run / "gan", "generator")
        checkpoint.load_into(verifier, run / "gan", "verifier")
        known = None
        if (run / "gan" / "known.safetensors").exists():  # an exported GAN has left its samples behind
            k = {name: v.numpy() for name, v in checkpoint.load_part(run / "gan", "known").items()}
            known = Known(k["x"].astype(np.float32), k["y"], k["held_x"].astype(np.float32), k["held_y"])
        return cls(
            modality, codec, about["classes"], generator, verifier,
            known=known, name=about["name"], sealed=about["sealed"], pooled=about.get("pooled", False),
        )  # fmt: skip

    # -- inside --------------------------------------------------------------------------------------------------

    def numbers(self, label: str | None) -> list[int]:
        """Indices of the classes that are meant: one, or with none all of them (the only one, where there are no classes)."""
        if label is None:
            return list(range(max(1, len(self.classes))))
        if label not in self.classes:
            raise UserError(
                f"there is no class '{label}'{did_you_mean(label, self.classes)}",
                mend="one of: " + ", ".join(self.classes),
            )
        return [self.classes.index(label)]

    def _labels(self, num: int, label: str | None) -> I64:
        if num < 1:
            raise UserError(f"cannot make {num} samples", mend="ask for one or more")
        classes = np.array(self.numbers(label), dtype=np.int64)
        return classes[np.arange(num) % len(classes)]

    @torch.no_grad()
    def _class_means(self, *, n: int = 256) -> Tensor:
        """Mean ``w`` of every class, ``[K, D]``."""
        means = []
        for c in range(max(1, len(self.classes))):
            y = np.full(n, c, dtype=np.int64)
            means.append(self.generator.to_w(torch.from_numpy(_latents(y, 0)), torch.from_numpy(y)).mean(0))
        return torch.stack(means)

    @torch.no_grad()
    def _in_chunks(self, fn: Any, x: Tensor, y: Tensor) -> F32:
        """``fn(x, y)`` in chunks of one fixed size, the last one padded with zeros; of nothing, an empty batch."""
        size = max(4, min(CHUNK, CHUNK * 64 * 64 // math.prod(self.codec.grid.shape)))
        parts = []
        for i in range(0, max(1, len(x)), size):
            a, b = x[i : i + size], y[i : i + size]
            n = len(a)
            if n < size:
                a, b = (torch.cat([part, part.new_zeros(size - n, *part.shape[1:])]) for part in (a, b))
            parts.append(fn(a, b)[:n].float())
        return torch.cat(parts).numpy()


def _latents(y: I64, seed: int) -> F32:
    """``[N, 64]``: the row of the i-th sample of class c is a function of (seed, c, i)."""
    return rng.normal(nth_keys(y, seed, "latent")[:, None], np.arange(Z_DIM)[None]).astype(np.float32)


def _percentile(sorted_reference: F32 | None, values: F32) -> F32:
    """Where each value lies among the references, 0 to 100; 50 where there is no reference."""
    if sorted_reference is None or not len(sorted_reference):
        return np.full(len(values), 50.0, dtype=np.float32)
    at = (np.searchsorted(sorted_reference, values, "left") + np.searchsorted(sorted_reference, values, "right")) / 2
    return (100.0 * at / len(sorted_reference)).astype(np.float32)
