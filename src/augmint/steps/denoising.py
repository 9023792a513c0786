"""A denoiser of one's own: trained on clean recordings and noises, held against the built-in one on voices kept out, and written."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from augmint.core.config import TrainVerb
from augmint.core.errors import Interrupted, UserError
from augmint.core.run import Run, read_json, write_bytes, write_json
from augmint.core.types import F32, Dataset
from augmint.models.mask import MaskNet
from augmint.steps.inputs import fingerprints
from augmint.steps.results import Progress, Result
from augmint.steps.voices import kept_out, unreadable
from augmint.training.choose import FASTER
from augmint.training.denoiser import Mixer, Precision, bands_of, segmental, train
from augmint.training.disturbance import Disturbance
from augmint.transforms import mask_net, spectral
from augmint.transforms.waves import resampled

WEIGHTS, FILE = "denoiser.safetensors", "denoiser.json"
FASTEST = 16_000
_LEAST_HELD = 2
_TRIED = 3  # steps that tell how long one takes
_JUDGED = 12  # batches
_TOLD = 50


def run_denoiser(
    out: Path,
    samples: Dataset,
    clean: Dataset,
    noises: Dataset | None,
    chosen: TrainVerb,
    *,
    stop: object,
    progress: Progress,
) -> Result:
    """The run in ``out``, or what is told of it where it is done.

    Args:
        samples: all that was given; clean: those of it that can be used, as `voices.recordings` has them.

    Raises:
        Refused: ``out`` holds a run with other settings or data.
        UserError, Interrupted: see `train_denoiser`.
    """
    settings = {"denoiser": True, "seed": chosen.seed, "time": chosen.time, "steps": chosen.steps}
    theirs = {} if noises is None else {"noises": fingerprints(noises, None)["data"]}
    run = Run.open(out, verb="train", config=settings, inputs={**fingerprints(samples, None), **theirs})
    if run.is_done:
        return Result(["this denoiser is trained already"], read_json(run / FILE), run.path)
    return train_denoiser(
        run, clean, noises, seconds=chosen.time, steps=chosen.steps, seed=chosen.seed, stop=stop, progress=progress
    )


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
    # As they follow each other in the data, where the same person often talks on.
    mixer = Mixer([voices[i] for i in sorted(mine)], own, rate, seed)
    judge = Mixer([voices[i] for i in sorted(held)], own, rate, seed + 1)
    started, used = time.perf_counter(), time.process_time()
    precision, each = _quicker(mixer)
    run.choose("precision", precision, f"bf16 must be {FASTER} times as fast")
    reason = "as set" if steps else f"what the time allows, at {1000 * each:.0f} ms"
    steps = steps or max(20, round(0.95 * (seconds - (time.perf_counter() - started)) / each))
    run.choose("steps", steps, reason)
    net = None
    for number, (trained, figures) in enumerate(train(mixer, steps, precision=precision), 1):
        net = trained
        if number % _TOLD == 0 or number == steps:
            progress({"stage": "train", "done": number, "total": steps, "figures": figures})
        if stop:
            raise Interrupted(
                "stopped while training a denoiser", where=run.path, mend="start it anew: --out elsewhere"
            )
    assert net is not None
    spent = time.process_time() - used
    found = _judged(judge, net)
    numbers: list[Any] = [*net.weights(rate).arrays.values(), *found.values()]
    if not all(np.isfinite(v).all() for v in numbers):
        raise UserError(
            "training diverged: some weights or figures are no numbers; nothing was saved",
            where=run.path, mend="look for odd recordings with augmint inspect, and give a folder of its own to --out",
        )  # fmt: skip
    write_bytes(run / WEIGHTS, mask_net.encoded(net.weights(rate)))
    write_json(
        run / FILE,
        {
            "rate": rate, "steps": steps, "voices": len(mine), "noises": len(own), "cpu_seconds": spent,
            "minutes": sum(map(len, mixer.voices)) / rate / 60, **found,
        },
    )  # fmt: skip
    run.update(status="done", timings={"train": time.perf_counter() - started})
    return Result(_lines(run / WEIGHTS, found, steps, len(held), clean), found, run.path)


def _lines(weights: Path, found: dict[str, float], steps: int, held: int, clean: Dataset) -> list[str]:
    lines = [
        f"{steps} steps; on {held} recordings kept out, what is heard of noise falls from {found['disturbance_noisy']:.0f} to "
        f"{found['disturbance_gan']:.0f} (by method spectral to {found['disturbance_spectral']:.0f}), and SI-SDR rises by "
        f"{found['gan_db']:.1f} dB (by method spectral {found['spectral_db']:.1f} dB)"
    ]
    if found["disturbance_gan"] > found["disturbance_spectral"]:
        lines.append("it is no better than method spectral: use that, or give more --time or more recordings")
    return [*lines, *unreadable(clean), f"to use it, in a recipe: - Denoise: {{method: gan, weights: {weights}}}"]


def _waves(data: Dataset, rate: int) -> list[F32]:
    """Each sound's mean of channels at one rate."""
    found = (data[i].data for i in range(len(data)))
    return [resampled(s.wave.mean(axis=1, keepdims=True), rate / s.rate)[:, 0] for s in found]


def _quicker(mixer: Mixer) -> tuple[Precision, float]:
    """In which numbers a step is a good deal faster, and the seconds that it takes then."""
    took = dict[Precision, float]()
    choices: tuple[Precision, Precision] = ("fp32", "bf16")
    for precision in choices:
        start, each = time.perf_counter(), list[float]()
        for _ in train(mixer, _TRIED, precision=precision):
            each.append(time.perf_counter() - start)
            start = time.perf_counter()
        took[precision] = min(each)  # the first one also warms up
    best: Precision = "bf16" if FASTER * took["bf16"] < took["fp32"] else "fp32"
    return best, took[best]


def _judged(judge: Mixer, net: MaskNet) -> dict[str, float]:
    """What both methods add to SI-SDR, to the verifier's measure and take from the disturbance, on mixes of voices that were kept out."""
    net.eval()
    rows = []
    bins = judge.frames.size // 2 + 1
    bands, disturbance = bands_of(judge.rate, bins), Disturbance(judge.rate, bins)
    for number in range(_JUDGED):
        mixed = judge.batch(number)
        power = mixed.noisy.abs().square().numpy()
        steady = torch.from_numpy(np.stack([spectral.gains(one, judge.rate) for one in power]))
        clean = mixed.clean.abs()
        with torch.inference_mode():
            made = [gain * mixed.noisy for gain in (torch.ones_like(steady), steady, net(mixed.features))]
            rows.append(
                [
                    [
                        float(measured.mean())
                        for measured in (
                            _si_sdr(mixed.clean, x),
                            segmental(clean @ bands, x.abs() @ bands),
                            disturbance(clean, x.abs()),
                        )
                    ]
                    for x in made
                ]
            )
    mean = np.array(rows).mean(axis=0)
    found = {"spectral_db": float(mean[1, 0] - mean[0, 0]), "gan_db": float(mean[2, 0] - mean[0, 0])}
    for which, (_, quality, heard) in zip(("noisy", "spectral", "gan"), mean, strict=True):
        found |= {f"quality_{which}": float(quality), f"disturbance_{which}": float(heard)}
    return found


def _si_sdr(clean: torch.Tensor, heard: torch.Tensor) -> torch.Tensor:
    """``[N]`` in dB, of spectra ``[N, frames, bins]`` (Le Roux et al. 2019)."""
    a, b = (torch.view_as_real(x).flatten(1) for x in (clean, heard))
    part = (a * b).sum(1, keepdim=True) / a.square().sum(1, keepdim=True).clamp(min=1e-12) * a
    return 10 * torch.log10(part.square().sum(1) / (b - part).square().sum(1).clamp(min=1e-12))
