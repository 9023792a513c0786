"""Training a vocoder on recorded voices: a network that makes waveforms of log-mel frames, against a verifier that hears them.

After Vocos (Siuzdak 2023, arXiv 2306.00814), with the multi-resolution distance between spectra of Yamamoto et al. 2020 (arXiv 1910.11480) beside the one
between mel spectrograms, and the hinge and the matched features of a verifier that hears spectrograms (Jang et al. 2021, arXiv 2106.07889).

A step is a function of the state and its number: stopped and taken up, a run ends where it would have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from augmint.core.errors import Interrupted, UserError
from augmint.core.types import F32
from augmint.data.spectra import Mel
from augmint.models.vocoder import HEARD_S, Listener, Vocoder, networks, spectrum_of
from augmint.training import adapt, checkpoint
from augmint.training.loop import Figures, Losses, read, sent
from augmint.training.losses import hinge
from augmint.training.watch import is_finite

Pair = tuple[F32, F32]
"""Levels ``[num_mels, frames]`` in dB below the loudest, and the wave ``[T]`` that they are of; the first frame is centred on its first sample."""
BATCH, FRAMES = 16, 64
HEARD = 4
"""So many pieces of a batch the verifier hears: hearing one costs more than making four."""
EDGE = 4
"""Frames at both ends of a piece that count for nothing: their windows hang over."""
LOUDER_DB = (-12.0, 0.0)
ALONE = 1 / 3
"""Of the steps, before the verifier joins: what it says of noise is of no use."""
TICKS = 10
_LEAST = 1e-3
"""Amplitudes are compared down to this: some 60 dB below a loud voice."""


class Pieces:
    """Batches of pieces of voices, as loud as they are or softer; all by number."""

    def __init__(self, pairs: Sequence[Pair], mel: Mel, seed: int) -> None:
        self.pairs, self.mel, self.seed = pairs, mel, seed
        lengths = np.array([levels.shape[1] for levels, _ in pairs], dtype=np.float64)
        self.chances = lengths / lengths.sum()

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """``[N, num_mels, FRAMES]`` levels, ``[N, (FRAMES - 1) * hop]`` waves."""
        rows = [self._one(np.random.default_rng([self.seed, number, i])) for i in range(BATCH)]
        levels, waves = (torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True))
        return levels, waves

    def _one(self, draw: np.random.Generator) -> Pair:
        levels, wave = self.pairs[int(draw.choice(len(self.pairs), p=self.chances))]
        hop, lowest = self.mel.hop, float(levels.min())
        start = int(draw.integers(max(1, levels.shape[1] - FRAMES + 1)))
        seen = np.full((len(levels), FRAMES), lowest, np.float32)  # behind a sound's end there is silence
        part = levels[:, start : start + FRAMES]
        seen[:, : part.shape[1]] = part
        heard = np.zeros((FRAMES - 1) * hop, np.float32)
        piece = wave[start * hop : start * hop + len(heard)]
        heard[: len(piece)] = piece
        gain = float(draw.uniform(*LOUDER_DB))
        return np.maximum(seen + np.float32(gain), np.float32(lowest)), heard * np.float32(10 ** (gain / 20))


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a run is going to do.

    Attributes:
        mel_weight, verifier_weight, match_weight: of the distance in mels, of what the verifier says, and of what its layers find,
            beside the distance between spectra.
    """

    steps: int
    lr: float
    mel_weight: float = 1.0
    verifier_weight: float = 0.05
    match_weight: float = 0.5

    def is_heard(self, step: int) -> bool:
        """Whether the verifier takes part in this step."""
        return step >= ALONE * self.steps

    def is_tick(self, step: int) -> bool:
        """Whether the state is saved after this many steps."""
        return step == self.steps or step % max(1, self.steps // TICKS) == 0


@dataclass(slots=True)
class State:
    """All that a checkpoint holds."""

    net: Vocoder
    verifier: Listener
    opt_net: torch.optim.Adam
    opt_verifier: torch.optim.Adam
    step: int = 0

    @classmethod
    def fresh(cls, mel: Mel, size: str, seed: int, device: str) -> State:
        net, verifier = networks(mel, size, seed)
        net, verifier = net.to(device), verifier.to(device)
        one, other = (torch.optim.Adam(module.parameters(), betas=(0.8, 0.99)) for module in (net, verifier))
        return cls(net, verifier, one, other)

    def save(self, checkpoints: Path) -> None:
        parts: dict[str, Mapping[str, Tensor]] = {name: module.state_dict() for name, module, _ in self._parts()}
        optim = {f"{name}.{k}": v for name, _, o in self._parts() for k, v in checkpoint.adam_state(o).items()}
        folder = checkpoints / f"step-{self.step:06d}"
        checkpoint.save_folder(folder, {**parts, "optim": optim}, {"step": self.step})
        checkpoint.point(checkpoints, "last", folder)
        checkpoint.tidy(checkpoints)

    def load(self, checkpoints: Path) -> None:
        """Go on from the last checkpoint, if there is one."""
        folder = checkpoint.find(checkpoints, "last")
        if folder is None:
            return
        moments = checkpoint.load_part(folder, "optim")
        for name, module, optimiser in self._parts():
            checkpoint.load_into(module, folder, name)
            mine = {k.removeprefix(name + "."): v for k, v in moments.items() if k.startswith(name + ".")}
            checkpoint.load_adam(optimiser, mine)
        self.step = checkpoint.load_state(folder)["step"]

    def _parts(self) -> list[tuple[str, nn.Module, torch.optim.Adam]]:
        return [("net", self.net, self.opt_net), ("verifier", self.verifier, self.opt_verifier)]


def train(
    state: State,
    pieces: Pieces,
    schedule: Schedule,
    *,
    checkpoints: Path | None = None,
    stop: object = False,
    on_row: Callable[[Figures], None] = lambda figures: None,
) -> State:
    """Train from ``state.step`` to ``schedule.steps``; ``on_row`` is called about fifty times.

    Raises:
        Interrupted: somebody asked to stop; the state is saved.
        UserError: the training diverged; the last good state is saved.
    """
    every = max(1, schedule.steps // 50)
    while state.step < schedule.steps:
        losses = one_step(state, pieces, schedule)
        is_stopped = bool(stop)
        is_saved = schedule.is_tick(state.step) or is_stopped
        if is_saved or state.step % every == 0:
            figures = read(losses)
            if not is_finite(figures) or not all(bool(p.isfinite().all()) for p in state.net.parameters()):
                raise UserError(
                    f"training diverged before step {state.step}: some weights or figures are no numbers",
                    mend="look for odd recordings with augmint inspect, and give a folder of its own to --out",
                )
            on_row(figures)
        if is_saved and checkpoints is not None:
            state.save(checkpoints)
        if is_stopped and state.step < schedule.steps:
            raise Interrupted(
                f"stopped after step {state.step} of {schedule.steps}; the state is saved",
                mend="run the same command to go on",
            )
    return state


def one_step(state: State, pieces: Pieces, s: Schedule) -> Losses:
    """One step of the verifier, where it takes part, then one of the vocoder, on one batch."""
    for optimiser in (state.opt_net, state.opt_verifier):
        for group in optimiser.param_groups:
            group["lr"] = s.lr * adapt.warmed(state.step, s.steps)
    device, hop = state.net.window.device, pieces.mel.hop
    levels, waves = (sent(part, device) for part in pieces.batch(state.step))
    inner = slice(EDGE * hop, -EDGE * hop)
    real, made = waves[:, inner], state.net(levels, waves.shape[1])[:, inner]
    heard = s.is_heard(state.step)
    figures: Losses = {}
    if heard:
        told = hinge(state.verifier(real[:HEARD])[0], state.verifier(made[:HEARD].detach())[0])
        state.opt_verifier.zero_grad(set_to_none=True)
        torch.autograd.backward(told)
        state.opt_verifier.step()
        figures["verifier"] = told.detach()
    spectra, mels = apart(real, made, pieces.mel.rate), mels_apart(state.net, real, made)
    total = spectra + s.mel_weight * mels
    if heard:
        with torch.no_grad():
            _, goal = state.verifier(real[:HEARD])
        state.verifier.requires_grad_(False)  # its own gradients are not needed here
        scores, found = state.verifier(made[:HEARD])
        state.verifier.requires_grad_(True)
        match = torch.stack([(a - b).abs().mean() for a, b in zip(found, goal, strict=True)]).mean()
        total = total - s.verifier_weight * scores.mean() + s.match_weight * match
    state.opt_net.zero_grad(set_to_none=True)
    torch.autograd.backward(total)
    nn.utils.clip_grad_norm_(state.net.parameters(), 1.0)
    state.opt_net.step()
    state.step += 1
    return {"spectra": spectra.detach(), "mels": mels.detach(), **figures}


def apart(real: Tensor, made: Tensor, rate: int, windows_s: Sequence[float] = HEARD_S) -> Tensor:
    """The multi-resolution distance of waves ``[N, T]``: the mean over windows of how far amplitudes are apart, against the real ones'
    size, and how far their logarithms are (Yamamoto et al. 2020, eq. 4 to 6).

    Phases count: where neighbouring frames do not go together, what is heard through longer and shorter windows than theirs is another.
    """
    found = torch.zeros((), device=real.device)
    for seconds in windows_s:
        a, b = (spectrum_of(wave, round(seconds * rate)) for wave in (real, made))
        size = a.square().sum((1, 2)).sqrt().clamp(min=1e-3)
        converged = ((a - b).square().sum((1, 2)) + 1e-12).sqrt() / size
        logarithms = (torch.log(a + _LEAST) - torch.log(b + _LEAST)).abs().mean((1, 2))
        found = found + (converged + logarithms).mean()
    return found / len(windows_s)


def mels_apart(net: Vocoder, real: Tensor, made: Tensor) -> Tensor:
    """Mean difference of the logarithms of powers in mel rows, as the vocoder sees them, of waves ``[N, T]``."""
    sizes = (spectrum_of(wave, net.mel.length).square() for wave in (real, made))
    a, b = (torch.log(net.filters.T @ size + _LEAST**2) for size in sizes)
    return (a - b).abs().mean() / 2
