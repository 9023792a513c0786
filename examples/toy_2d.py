"""A GAN that you can see whole: points in the plane, the generator's density, and what the verifier thinks of every place.

The nets, losses and loop are those that train on pictures; a point is a grid of one axis with two cells. Eight Gaussians in a ring show whether
modes are lost, the spiral whether a thin curve is followed. Below each picture stand the figures that the eye would
estimate: how many of the eight modes have samples, and how many samples lie on the data.

Run: python examples/toy_2d.py [--steps 1500] [--out toy_2d.png]; under a minute on one core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes

from augmint.core import rng
from augmint.core.types import F32, I64
from augmint.models.generator import Generator
from augmint.models.verifier import Verifier
from augmint.training.loop import Data, Schedule, State, latents, train
from augmint.transforms.recipe import Recipe

NUM, SIDE, REACH = 2000, 120, 1.0
NOISE = 0.04
LR, GAMMA = 3e-3, 0.02


def ring(key: int) -> F32:
    """Eight Gaussians of standard deviation .04 on a circle of radius .7: ``[2000, 2]``."""
    return (np.resize(centres(), (NUM, 2)) + NOISE * rng.normal(key, np.arange(2 * NUM)).reshape(NUM, 2)).astype(
        np.float32
    )


def spiral(key: int) -> F32:
    """One and a half turns from the middle outwards, with noise: ``[2000, 2]``."""
    t = np.sqrt(rng.uniform(key, np.arange(NUM)))
    angle = 3 * np.pi * t
    curve = 0.8 * t[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return (curve + 0.5 * NOISE * rng.normal(rng.key(key, "noise"), np.arange(2 * NUM)).reshape(NUM, 2)).astype(
        np.float32
    )


def fitted(points: F32, steps: int, seed: int) -> State:
    """The engine on points: no classes, no augmentation; the penalty's weight is set by hand, its formula counts pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.torch_seed(seed, "weights"))
        shape = (1, (2,), 0, (32, 32))
        state = State.fresh(Generator(*shape), Verifier(*shape), lr=LR)
    nothing: tuple[F32, I64] = (points[:0, None], np.zeros(0, np.int64))
    data = Data(points[:, None], np.full(NUM, -1), 0, *nothing)
    schedule = Schedule(steps, batch=128, gamma=GAMMA, lr=LR, seed=seed)
    return train(state, data, schedule, Recipe("none", ()))


@torch.no_grad()
def drawn(state: State, num: int = 4000) -> F32:
    """``[num, 2]`` points of the averaged generator."""
    x: F32 = state.ema(latents(rng.key("toy"), num), torch.zeros(num, dtype=torch.long))[:, 0].numpy()
    return x


@torch.no_grad()
def field(state: State) -> F32:
    """The verifier's realness of every place in the square: ``[120, 120]``; only differences mean something."""
    axis = np.linspace(-REACH, REACH, SIDE, dtype=np.float32)
    places = torch.from_numpy(np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 1, 2))
    scores: F32 = state.verifier.score(places, torch.zeros(len(places), dtype=torch.long)).reshape(SIDE, SIDE).numpy()
    return scores


def centres() -> F32:
    """Of the eight Gaussians, ``[8, 2]``."""
    angle = 2 * np.pi * np.arange(8) / 8
    return (0.7 * np.stack([np.cos(angle), np.sin(angle)], 1)).astype(np.float32)


def near(x: F32, places: F32) -> F32:
    """Which samples lie within three standard deviations of which places: ``[N, M]`` of 0 and 1."""
    return (torch.cdist(torch.from_numpy(x), torch.from_numpy(places)) < 3 * NOISE).float().numpy()


def told(name: str, x: F32, real: F32) -> str:
    """How many modes hold 2 % of the samples or more, and how many samples lie on the data."""
    if name == "spiral":
        return f"{near(x, real).max(1).mean():.0%} on the curve"
    at = near(x, centres())
    return f"{(at.mean(0) > 0.02).sum()} of 8 modes, {at.max(1).mean():.0%} in one"


def panel(ax: Axes, x: F32, title: str) -> None:
    ax.hist2d(x[:, 0], x[:, 1], bins=90, range=[[-REACH, REACH]] * 2, cmap="magma")
    ax.set_title(title, fontsize=10)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--out", type=Path, default=Path("toy_2d.png"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    cases: dict[str, Callable[[int], F32]] = {"eight Gaussians": ring, "spiral": spiral}
    figure, axes = plt.subplots(2, 3, figsize=(9, 6.4), layout="constrained")
    for (name, make), row in zip(cases.items(), axes, strict=True):
        real = make(rng.key("toy", name))
        state = fitted(real, args.steps, seed=0)
        x = drawn(state)
        panel(row[0], real, name)
        panel(row[1], x, f"generator: {told(name, x, real)}")
        row[2].imshow(field(state), origin="lower", extent=[-REACH, REACH] * 2, cmap="viridis")
        row[2].scatter(*real[::21].T, s=1, c="white", alpha=0.5)
        row[2].set_title("verifier's score, data in white", fontsize=10)
        print(f"{name}: {told(name, x, real)}")
    for ax in axes.flat:
        ax.set_xticks([]), ax.set_yticks([])
    figure.savefig(args.out, dpi=110)
    print(f"{args.out}  ({time.perf_counter() - began:.0f} s)")


if __name__ == "__main__":
    main()
