"""The training loop, to be read from top to bottom.

Nothing here reads a clock or a global random state: a step is a function of the state and its number, so a run that
was killed and resumed equals the one that was not, bit for bit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from augmint.core import rng
from augmint.core.errors import Interrupted, UserError
from augmint.core.types import F32, I64, Grid
from augmint.models.generator import Z_DIM, Maker
from augmint.models.verifier import Judge, Verdict
from augmint.scale import ranks
from augmint.training import adapt, checkpoint, ema, losses, watch
from augmint.transforms.recipe import Recipe
from augmint.transforms.run_torch import augment

Figures = dict[str, float]
Losses = dict[str, float | Tensor]
"""Figures of a step that may still lie on the device: reading one waits for the whole step."""
REBUILT = 2
"""Every how many-th real sample of a batch is rebuilt: with all of them a step takes a twentieth longer and learns no better (docs/log.md)."""
COUNTERS = ("step", "samples_seen", "aug_p", "lr_scale", "best_recall", "improved_at", "notes")
NUM_GAP = 128
MATCHED = 4
"""Training samples that each of up to `NUM_GAP` held-out reals is compared with."""
STEERED = 4
"""So many times a tick the augmentation is steered, from the first tick on: once would move it by less than half of its range in a
whole run."""
FAIR_SHARE = 0.5
"""No run ends before this part of its budget, however still its figures stand."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a run is going to do; every number is settled before the first step.

    Attributes:
        patience: ticks without any improvement after which the run ends, once `FAIR_SHARE` of it is done; ``None`` = never.
    """

    steps: int
    batch: int
    gamma: float
    lr: float
    rebuild_weight: float = 0.1
    class_weight: float = 0.2
    lazy: int = 4
    ticks: int = 10
    patience: int | None = None
    seed: int = 0
    precision: str = "fp32"
    compiled: bool = False

    @property
    def tick_steps(self) -> int:
        """Steps from tick to tick."""
        return max(1, self.steps // self.ticks)

    def is_tick(self, step: int) -> bool:
        """Whether a tick (figures, snapshot, checkpoint) follows this many finished steps."""
        return step == self.steps or step % self.tick_steps == 0

    def is_steered(self, step: int) -> bool:
        """Whether the augmentation is steered after this many finished steps: at ticks, and at equal distances between them."""
        each = self.tick_steps
        part, before = (STEERED * (n % each) // each for n in (step, step - 1))
        return step >= each and (self.is_tick(step) or part != before)

    def half(self, x: Tensor) -> torch.autocast:
        """What the networks run under on ``x``'s device: bfloat16 in convolutions and products where it is chosen."""
        return torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bf16")


@dataclass(slots=True)
class State:
    """All that a checkpoint holds."""

    generator: Maker
    verifier: Judge
    ema: Maker
    opt_g: torch.optim.Adam
    opt_v: torch.optim.Adam
    step: int = 0
    samples_seen: int = 0
    aug_p: float = 0.0
    lr_scale: float = 1.0
    best_fid: float = float("inf")
    best_recall: float = 0.0
    improved_at: int = 0
    notes: list[str] = field(default_factory=list)

    @classmethod
    def fresh(cls, generator: Maker, verifier: Judge, lr: float) -> State:
        average = copy.deepcopy(generator).requires_grad_(False)
        adam = {"lr": lr, "betas": (0.0, 0.9), "eps": 1e-8, "fused": True}
        return cls(
            generator,
            verifier,
            average,
            torch.optim.Adam(generator.parameters(), **adam),  # type: ignore[arg-type]
            torch.optim.Adam(verifier.parameters(), **adam),  # type: ignore[arg-type]
        )

    def lay_out(self, schedule: Schedule) -> None:
        """Make the networks run as the schedule says; no number changes.

        Convolutions in bfloat16 are quickest with the channels of the weights last. Compiled is what ``net(...)`` calls;
        ``net.forward(...)``, which the penalties differentiate twice, stays as it is.
        """
        if schedule.precision == "bf16":
            for _, net in self._modules():
                for weight in net.parameters():
                    if weight.dim() == 4:
                        weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        if schedule.compiled:
            self.generator.compile()
            self.verifier.compile()

    def save(self, folder: Path, schedule: Schedule) -> None:
        optim = {f"{n}.{k}": v for n, o in self._optims() for k, v in checkpoint.adam_state(o).items()}
        parts: dict[str, Mapping[str, Tensor]] = {n: m.state_dict() for n, m in self._modules()}
        counters = {k: getattr(self, k) for k in COUNTERS}
        best = None if self.best_fid == float("inf") else self.best_fid
        threads = torch.get_num_threads()
        state = {**counters, "best_fid": best, "num_threads": threads, "steps": schedule.steps}
        checkpoint.save_folder(folder, {**parts, "optim": optim}, state)

    def judge(self, found: Figures) -> bool:
        """Take note of a tick's held-out figures; true if this is the best state so far. Without figures every state is."""
        fid, recall = found.get("fid", self.best_fid), found.get("recall", 0.0)
        is_best = fid <= self.best_fid
        if "fid" not in found or fid < self.best_fid or recall > self.best_recall:
            self.improved_at = self.step
        self.best_fid, self.best_recall = min(self.best_fid, fid), max(self.best_recall, recall)
        return is_best

    def is_stalled(self, schedule: Schedule) -> bool:
        """Whether neither held-out distance nor recall has improved for so many ticks that going on is of no use."""
        if schedule.patience is None or self.step < FAIR_SHARE * schedule.steps:
            return False
        each = schedule.tick_steps
        return self.step // each - self.improved_at // each >= schedule.patience

    def is_finite(self) -> bool:
        """Whether every weight is a number: only such a state may become the last good one."""
        return all(bool(p.isfinite().all()) for _, m in self._modules() for p in m.parameters())

    def load(self, folder: Path) -> None:
        for name, module in self._modules():
            checkpoint.load_into(module, folder, name)
        optim = checkpoint.load_part(folder, "optim")
        for name, optimiser in self._optims():
            mine = {k.removeprefix(name + "."): v for k, v in optim.items() if k.startswith(name + ".")}
            checkpoint.load_adam(optimiser, mine)
        state = checkpoint.load_state(folder)
        for name in COUNTERS:
            setattr(self, name, state[name])
        self.best_fid = float("inf") if state["best_fid"] is None else state["best_fid"]

    def _modules(self) -> list[tuple[str, nn.Module]]:
        return [("generator", self.generator), ("verifier", self.verifier), ("ema", self.ema)]

    def _optims(self) -> list[tuple[str, torch.optim.Adam]]:
        return [("g", self.opt_g), ("v", self.opt_v)]


class Data:
    """Training samples in memory, drawn class by class in equal numbers, and held-out reals for the gap.

    Args:
        x: ``[N, C, *shape]`` in [-1, 1].
        y: ``[N]`` class indices; all -1 (or ``num_classes`` 0) for data without labels.
        device: where the samples lie and are drawn.
    """

    def __init__(self, x: F32, y: I64, num_classes: int, held_out_x: F32, held_out_y: I64, device: str = "cpu") -> None:
        if not len(x):
            raise UserError("there is nothing to train on", mend="give at least one usable sample")
        self.x, self.num_classes, self.device = torch.from_numpy(x).to(device), num_classes, device
        self.held_out_x = torch.from_numpy(held_out_x).to(device)
        self.held_out_y = torch.from_numpy(np.maximum(held_out_y, 0)).to(device)
        self.y = np.maximum(y, 0)
        self.has_labels = num_classes > 0
        groups = [np.flatnonzero(self.y == c) for c in range(max(num_classes, 1))]
        self.groups = [g for g in groups if len(g)]

    @property
    def grid(self) -> Grid:
        return Grid(self.x.shape[1], tuple(self.x.shape[2:]))

    def draw(self, key: int, n: int) -> tuple[Tensor, Tensor]:
        """``n`` samples and labels: a class by chance, then one of its samples."""
        u = rng.uniform(key, np.arange(2 * n)).reshape(2, n)
        group = (u[0] * len(self.groups)).astype(int)
        index = np.array([self.groups[g][int(v * len(self.groups[g]))] for g, v in zip(group, u[1], strict=True)])
        place, label = (sent(torch.from_numpy(v), self.x.device) for v in (index, self.y[index]))
        return self.x[place], label

    def draw_like(self, key: int, y: Tensor) -> Tensor:
        """A sample of each of these classes ``[N]``; of any class where one has none."""
        groups = {int(self.y[g[0]]): g for g in self.groups}
        choices = [groups.get(c, np.arange(len(self.y))) for c in y.tolist()]
        u = rng.uniform(key, np.arange(len(choices)))
        index = np.array([g[int(v * len(g))] for g, v in zip(choices, u, strict=True)])
        return self.x[sent(torch.from_numpy(index), self.x.device)]


def read(losses: Losses) -> Figures:
    """Losses as numbers, in one transfer."""
    waiting = {k: v for k, v in losses.items() if isinstance(v, Tensor)}
    known = {k: v for k, v in losses.items() if not isinstance(v, Tensor)}
    values = torch.stack([v.double() for v in waiting.values()]).tolist() if waiting else []
    return {**known, **dict(zip(waiting, values, strict=True))}


def sent(x: Tensor, device: torch.device) -> Tensor:
    """``x`` on the device, without waiting until it is there."""
    return x.to(device) if device.type == "cpu" else x.pin_memory().to(device, non_blocking=True)


def latents(key: int, n: int) -> Tensor:
    """``[n, 64]`` standard normal, a function of the key."""
    return torch.randn(n, Z_DIM, generator=torch.Generator().manual_seed(key >> 1))


def train(
    state: State,
    data: Data,
    schedule: Schedule,
    recipe: Recipe,
    *,
    folder: Path | None = None,
    stop: object = False,
    on_row: Callable[[dict[str, Any]], None] = lambda row: None,
    on_tick: Callable[[State, Figures], Figures] = lambda state, figures: {},
) -> State:
    """Train from ``state.step`` to ``schedule.steps``, or until the held-out figures stand still.

    Args:
        recipe: transforms for real and fake alike, applied with the steered probability ``aug_p``.
        folder: where checkpoints go; with none, nothing is saved.
        stop: becomes true when somebody asks to stop; the state is saved and `Interrupted` raised.
        on_row: called with the losses about a hundred times a run.
        on_tick: called with the state and the tick's figures; returns more figures; ``fid`` decides the best checkpoint.
    """
    every = max(1, schedule.steps // 100)
    while state.step < schedule.steps and not state.is_stalled(schedule):
        pending = one_step(state, data, schedule, recipe)
        is_stopped = ranks.any_true(bool(stop))  # one rank that was asked to stop stops all
        is_saved = schedule.is_tick(state.step) or is_stopped
        is_row = state.step % every == 0 or state.step == schedule.steps
        if not (is_saved or is_row or schedule.is_steered(state.step)):
            continue  # a loss that is no number stays none: it is seen at the next row, and nothing waits for this step
        figures = ranks.averaged(read(pending))
        if not watch.is_finite(figures) or (is_saved and not state.is_finite()):
            _roll_back(state, folder)
            continue

        if schedule.is_steered(state.step):
            figures |= _steer(state, data, schedule)

        if is_row:
            on_row({"step": state.step, "samples_seen": state.samples_seen, **figures})

        if schedule.is_tick(state.step):
            found = {**figures, **ranks.told(on_tick(state, figures) if ranks.is_first() else {})}
            is_best = state.judge(found)
            on_row({"step": state.step, "samples_seen": state.samples_seen, "tick": True, **found})
            _save(state, schedule, folder, is_best)

        if is_stopped:
            if not schedule.is_tick(state.step):  # a tick has saved it already
                _save(state, schedule, folder, is_best=False)
            raise Interrupted(
                f"stopped after step {state.step} of {schedule.steps}; the state is saved",
                mend="run the same command to go on",
            )
    return state


def one_step(state: State, data: Data, s: Schedule, recipe: Recipe) -> Losses:
    """One step of the verifier, then one of the generator, on one batch; returns the losses (of this rank's part of it) for `read`.

    Nothing here waits for the device. ``verifier(...)`` and ``generator(...)`` may be compiled; ``.forward(...)`` never is, as the
    penalties need it.
    """
    progress = state.step / s.steps
    for group in (*state.opt_g.param_groups, *state.opt_v.param_groups):
        group["lr"] = adapt.learning_rate(s.lr, progress) * state.lr_scale
        group["betas"] = (0.0, adapt.beta2(progress))

    # Data: reals, fakes, and the same transforms of both with the steered probability.
    mine = ranks.part(s.batch)
    real, y = (whole[mine] for whole in data.draw(rng.key(s.seed, "batch", state.step), s.batch))
    label = y if data.has_labels else torch.zeros_like(y)
    z = sent(latents(rng.key(s.seed, "z", state.step), s.batch)[mine], real.device)
    with s.half(real):
        fake = state.generator(z, label)
    fake = fake.to(real.dtype)
    keys = rng.bits(rng.key(s.seed, "augment", state.step), np.arange(2 * s.batch)).reshape(2, -1)[:, mine].reshape(-1)
    seen = (
        augment(torch.cat([real, fake]), recipe, keys, p=state.aug_p, clip=False)
        if state.aug_p > 0
        else torch.cat([real, fake])
    )
    real_seen, fake_seen = seen[: len(real)].detach(), seen[len(real) :]

    # Verifier: real above fake; rebuild and name the reals; lazily, flat slopes at reals (R1) and fakes (R2).
    verifier = state.verifier
    (on_real, on_fake), slopes = _judged(state, (real_seen, fake_seen.detach()), label, s)
    again = slice(-mine.start % REBUILT, None, REBUILT)  # by the place in the whole batch, however many ranks share it
    with s.half(real):
        rebuilt = verifier.rebuild(verifier.heads.code(on_real.features[again])).to(real.dtype)
    recon = losses.rebuild_error(real_seen[again], rebuilt).sum() * ranks.num_ranks() / -(-s.batch // REBUILT)
    v_loss = losses.verifier_loss(on_real, on_fake)
    total = v_loss + s.rebuild_weight * recon
    if data.has_labels:
        total = total + s.class_weight * F.cross_entropy(on_real.logits, label)
    figures: Losses = {"v_loss": v_loss.detach(), "recon": recon.detach(), "aug_p": state.aug_p}
    for name, slope in zip(("r1", "r2"), slopes, strict=False):
        total = total + 0.5 * s.gamma * s.lazy * slope
        figures[name] = slope.detach()
    state.opt_v.zero_grad(set_to_none=True)
    torch.autograd.backward(total)
    ranks.average_grads(verifier)
    state.opt_v.step()

    # Generator: fake above real, judged by the verifier as it is now.
    verifier.requires_grad_(False)
    with s.half(real):
        with torch.no_grad():
            real_score = verifier.score(real_seen, label)
        judged = verifier(fake_seen, label).to(real.dtype)
    g_loss = losses.generator_loss(judged, real_score.to(real.dtype))
    state.opt_g.zero_grad(set_to_none=True)
    torch.autograd.backward(g_loss)
    ranks.average_grads(state.generator)
    state.opt_g.step()
    verifier.requires_grad_(True)

    state.step += 1
    state.samples_seen += s.batch
    ema.update(state.ema, state.generator, s.batch, state.samples_seen, s.steps * s.batch)
    return {**figures, "g_loss": g_loss.detach(), "lr": state.opt_g.param_groups[0]["lr"]}


def _judged(
    state: State, both: tuple[Tensor, Tensor], label: Tensor, s: Schedule
) -> tuple[list[Verdict], list[Tensor]]:
    """The verifier on reals and fakes; every ``lazy`` steps the penalties of its slopes there, in full precision always: slopes of slopes.

    Where the verdicts are in full precision too, and not compiled, one pass gives verdict and penalty.
    """
    verifier = state.verifier
    is_penalised = s.gamma > 0 and state.step % s.lazy == 0
    if is_penalised and s.precision == "fp32" and not s.compiled:
        found = [losses.penalised(lambda x: verifier.forward(x, label), x, lambda v: v.score) for x in both]
        return [verdict for verdict, _ in found], [slope for _, slope in found]
    with s.half(both[0]):
        verdicts = [verifier(x, label).to(x.dtype) for x in both]
    slopes = [losses.gradient_penalty(lambda x: verifier.forward(x, label).score, x) for x in both if is_penalised]
    return verdicts, slopes


@torch.no_grad()
def _steer(state: State, data: Data, s: Schedule) -> Figures:
    """Measure the held-out gap and move ``aug_p``; with under 8 held-out reals there is nothing to measure."""
    if len(data.held_out_x) < 8:
        return {}
    n = min(NUM_GAP, len(data.held_out_x))
    held, y = data.held_out_x[:n], data.held_out_y[:n]
    often = y.repeat_interleave(MATCHED)
    real = data.draw_like(rng.key(s.seed, "gap", state.step), often)
    with s.half(held):
        score = [state.verifier.score(x, label).to(held.dtype) for x, label in ((real, often), (held, y))]
    found = adapt.gap(score[0].view(n, MATCHED), score[1])
    found = ranks.told(found)  # the last bits of a rank's own may differ
    state.aug_p = adapt.next_aug_p(state.aug_p, found)
    return {"gap": found}


def _save(state: State, schedule: Schedule, folder: Path | None, is_best: bool) -> None:
    if folder is None:
        return
    if ranks.is_first():
        _write(state, schedule, folder, is_best)
    ranks.wait()


def _write(state: State, schedule: Schedule, folder: Path, is_best: bool) -> None:
    target = folder / f"step-{state.step:06d}"
    state.save(target, schedule)
    if is_best:  # first: a run that is killed here goes on from before this step and comes by it again
        checkpoint.point(folder, "best", target)
    checkpoint.point(folder, "last", target)
    checkpoint.tidy(folder)


def _roll_back(state: State, folder: Path | None) -> None:
    """A loss is no longer a number: back to the last checkpoint, at half the learning rate."""
    at = state.step
    last = checkpoint.find(folder, "last") if folder else None
    scale = state.lr_scale / 2
    if last is None or scale < 1 / 64:
        raise UserError(
            f"training diverged at step {at} and going back did not help",
            mend="look for values that are no numbers in the data; else lower --lr, or raise --gamma",
        )
    told = state.notes
    state.load(last)
    state.lr_scale = scale
    note = f"step {at}: a loss was not a number; back to step {state.step} at half the learning rate"
    state.notes = [*told, note]
