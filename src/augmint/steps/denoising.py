"""A denoiser of one's own: trained on clean recordings and noises, held against the built-in one on voices kept out, and written."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from augmint.core.errors import Interrupted, UserError
from augmint.core.run import Run, write_bytes, write_json
from augmint.core.types import F32, Dataset
from augmint.models.mask import MaskNet
from augmint.steps.results import Progress, Result
from augmint.steps.voices import kept_out, unreadable
from augmint.training.denoiser import Mixer, bands_of, segmental, train
from augmint.transforms import mask_net
from augmint.transforms.waves import resampled

WEIGHTS = "denoiser.safetensors"
FASTEST = 16_000
_LEAST_HELD = 2
_TRIED = 3  # steps that tell how long one takes
_JUDGED = 12  # batches
_TOLD = 50


def train_denoiser(
    run: Run,
    clean: Dataset,
    noises: Dataset | None,
    *,
    seconds: float,
    steps: int | None,
    seed: int,
    stop: object,
    progress: Progress,
) -> Result:
    """Train on ``clean``, as `voices.recordings` gives it, and write ``denoiser.safetensors`` into the run.

    Raises:
        UserError: the training diverged.
        Interrupted: it was stopped; nothing can be taken up.
    """
    rate = min(FASTEST, Counter(clean[i].data.rate for i in range(len(clean))).most_common(1)[0][0])
    voices = [x for x in _waves(clean, rate) if x.any()]
    own = [] if noises is None else [x for x in _waves(noises.usable(), rate) if x.any()]
    mine, held = kept_out(len(voices), "denoiser", seed, least=_LEAST_HELD)
    mixer = Mixer([voices[i] for i in mine], own, rate, seed)
    judge = Mixer([voices[i] for i in held], own, rate, seed + 1)
    started = time.perf_counter()
    steps = steps or _affordable(mixer, seconds)
    run.choose("steps", steps, "what the time allows")
    net = None
    for number, (trained, figures) in enumerate(train(mixer, steps), 1):
        net = trained
        if number % _TOLD == 0 or number == steps:
            progress({"stage": "train", "done": number, "total": steps, **figures})
        if stop:
            raise Interrupted(
                "stopped while training a denoiser", where=run.path, mend="start it anew: --out elsewhere"
            )
    assert net is not None
    found = _judged(judge, net)
    numbers: list[Any] = [*net.weights(rate).arrays.values(), *found.values()]
    if not all(np.isfinite(v).all() for v in numbers):
        raise UserError(
            "training diverged: some weights or figures are no numbers; nothing was saved",
            where=run.path, mend="look for odd recordings with augmint inspect, and give a folder of its own to --out",
        )  # fmt: skip
    write_bytes(run / WEIGHTS, mask_net.encoded(net.weights(rate)))
    write_json(run / "denoiser.json", {"rate": rate, "steps": steps, "voices": len(mine), "noises": len(own), **found})
    run.update(status="done", timings={"train": time.perf_counter() - started})
    return Result(_lines(run / WEIGHTS, found, steps, len(held), clean), found, run.path)


def _lines(weights: Path, found: dict[str, float], steps: int, held: int, clean: Dataset) -> list[str]:
    better = found["gan_db"] - found["spectral_db"]
    lines = [
        f"{steps} steps; on {held} recordings kept out, SI-SDR in noise rises by {found['gan_db']:.1f} dB "
        f"(method spectral: {found['spectral_db']:.1f} dB)"
    ]
    if better < 0:
        lines.append("it is no better than method spectral: use that, or give more --time or more recordings")
    return [*lines, *unreadable(clean), f"to use it, in a recipe: - Denoise: {{method: gan, weights: {weights}}}"]


def _waves(data: Dataset, rate: int) -> list[F32]:
    """Each sound's mean of channels at one rate."""
    found = (data[i].data for i in range(len(data)))
    return [resampled(s.wave.mean(axis=1, keepdims=True), rate / s.rate)[:, 0] for s in found]


def _affordable(mixer: Mixer, seconds: float) -> int:
    took = []
    start = time.perf_counter()
    for _ in train(mixer, _TRIED):
        took.append(time.perf_counter() - start)
        start = time.perf_counter()
    return max(20, round(0.95 * seconds / min(took)))  # the first one also warms up


def _judged(judge: Mixer, net: MaskNet) -> dict[str, float]:
    """What both methods add to SI-SDR, and to the verifier's measure, on mixes of voices that were kept out."""
    net.eval()
    rows = []
    bands = bands_of(judge.rate, judge.frames.size // 2 + 1)
    for number in range(_JUDGED):
        mixed = judge.batch(number)
        with torch.inference_mode():
            gains = {
                "noisy": torch.ones_like(mixed.features[:, 2]),
                "spectral": mixed.features[:, 2],
                "gan": net(mixed.features),
            }
        clean = mixed.clean.abs() @ bands
        rows.append(
            [
                [
                    float(v.mean())
                    for v in (_si_sdr(mixed.clean, g * mixed.noisy), segmental(clean, (g * mixed.noisy).abs() @ bands))
                ]
                for g in gains.values()
            ]
        )
    (noisy, q0), (spectral, q1), (gan, q2) = np.array(rows).mean(axis=0)
    return {
        "spectral_db": float(spectral - noisy), "gan_db": float(gan - noisy),
        "quality_noisy": float(q0), "quality_spectral": float(q1), "quality_gan": float(q2),
    }  # fmt: skip


def _si_sdr(clean: torch.Tensor, heard: torch.Tensor) -> torch.Tensor:
    """``[N]`` in dB, of spectra ``[N, frames, bins]`` (Le Roux et al. 2019)."""
    a, b = (torch.view_as_real(x).flatten(1) for x in (clean, heard))
    part = (a * b).sum(1, keepdim=True) / a.square().sum(1, keepdim=True).clamp(min=1e-12) * a
    return 10 * torch.log10(part.square().sum(1) / (b - part).square().sum(1).clamp(min=1e-12))
