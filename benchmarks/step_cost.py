"""What a step of the engine costs: beside a DCGAN, a FastGAN-like net, its own half precision, and itself with all that a run does.

Claim: at 32 x 32 pixels, batches of 32, one thread and fp32, a step of the engine (both nets, penalties every fourth step, the rebuild
branch) takes at most 2.3 times a step of a plain DCGAN of like width (48) and at most half a step of a FastGAN-like net with as many
weights as the engine. In bfloat16 with channels last it is at least 1.4 times as fast as in fp32, where the CPU has AVX512-BF16.
A whole run (loader, held-out figures, snapshots, checkpoints) makes at least .9 of the images a second of bare steps.

CPU seconds of this process. All kinds of step take turns, in rounds of four steps each; the fastest round of each counts, so that
neighbours on the machine do not. The engine's step is measured without augmentation, as runs begin, and with half of it, and the
bars hold for both. In bfloat16 the penalties stay in fp32, as in the product. A whole run
has as many steps as fit into two core-minutes; digits, 15 % of them held out.

Run: python benchmarks/step_cost.py [--budget 120] [--seeds 1]; about 7 CPU minutes: 2 of rounds, 4 of whole runs. Exit code 1: a bar
is missed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from gans import Row, digits, options, start
from rivals import adams, as_large, dcgan, dcgan_step, fastgan, fastgan_step
from tables import Bar, publish
from torch import nn

from augmint.core import rng
from augmint.core.config import TrainConfig
from augmint.core.run import Run
from augmint.core.types import Dataset
from augmint.modalities import get
from augmint.models.blocks import count_weights
from augmint.steps.gan import train_gan
from augmint.training.fit import Material
from augmint.training.loop import Data, latents, one_step
from augmint.transforms.run_torch import gan_recipe

SIDE, BATCH, DCGAN_WIDTH = 32, 32, 48
STEPS = 4
"""Steps a round: one of them has the penalties."""
MOST_DCGAN, MOST_FASTGAN, LEAST_HALF, LEAST_WHOLE = 2.3, 0.5, 1.4, 0.9
ENGINE, AUGMENTED, HALF = "augmint", "augmint, aug_p .5", "augmint, bf16"
Step = Callable[[], None]


def has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware."""
    info = Path("/proc/cpuinfo")
    return info.exists() and "avx512_bf16" in info.read_text()


def engine(data: Data, *, aug_p: float = 0.0, half: bool = False) -> Step:
    """The product's step, on and on."""
    state, schedule = start(data, 0)
    recipe = gan_recipe(get("image").ops)
    if half:
        schedule = replace(schedule, precision="bf16")
        state.lay_out(schedule)

    def step() -> None:
        state.aug_p = aug_p
        one_step(state, data, schedule, recipe)

    return step


def rival(
    data: Data, make: Callable[[Data, int], tuple[nn.Module, nn.Module]], step: Callable[..., None], width: int
) -> Step:
    """A step of a rival, with its Adam."""
    nets, number = make(data, width), [0]
    optims = adams(nets)

    def run() -> None:
        real, y = data.draw(rng.key("cost", number[0]), BATCH)
        step(nets, optims, real, y, latents(rng.key("cost z", number[0]), BATCH))
        number[0] += 1

    return run


def in_turns(steps: dict[str, Step], seconds: float) -> dict[str, list[float]]:
    """CPU seconds a step in each round, round by round, until the time is up; the first round only warms up."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    begun = time.process_time()
    while time.process_time() - begun < seconds or len(found[ENGINE]) < 3:
        for name, step in steps.items():
            since = time.process_time()
            for _ in range(STEPS):
                step()
            found[name].append((time.process_time() - since) / STEPS)
    return {name: values[1:] for name, values in found.items()}


def whole_run(data: Data, num_steps: int, seed: int) -> Row:
    """Images a CPU second of the product's training with all that belongs to it, and of bare steps, of the same number."""
    with TemporaryDirectory() as scratch:
        kind, home = get("image"), Path(scratch)
        codec = kind.codec({"channels": 1, "height": SIDE, "width": SIDE, "pad": [0]})
        names = Dataset(kind, home, [], classes=[str(c) for c in range(10)])
        x = data.x.numpy()
        material = Material(x, data.y, x[:0], data.held_out_x.numpy(), data.held_out_y.numpy(), 10)
        config = TrainConfig(steps=num_steps)
        job = Run.open(home / "run", verb="train", config=config.model_dump(), inputs={})
        begun = time.process_time()
        train_gan(job, names, codec, material, config, seconds=1.0, seed=seed, sealed="0/5/0")
        full = time.process_time() - begun
        half = job.chosen("precision") == "bf16"
    step, begun = engine(data, half=half), time.process_time()
    for _ in range(num_steps):
        step()
    bare, images = time.process_time() - begun, num_steps * BATCH
    found = {"bare img/s": images / bare, "all-in img/s": images / full, "ratio": bare / full}
    return {"seed": seed, "steps": num_steps, **found}


def bars(cost: dict[str, list[float]], runs: list[Row]) -> list[Bar]:
    """The claim; ratios of the fastest rounds."""
    least = {name: min(found) for name, found in cost.items()}

    def ratio(what: str, limit: float, name: str, other: str) -> Bar:
        found = least[name] / least[other]
        return Bar(what, f"<= {limit:g} x", f"{found:.2f} x", found <= limit)

    found = []
    for name in (ENGINE, AUGMENTED):
        found += [
            ratio(f"step of {name} / DCGAN of width {DCGAN_WIDTH}", MOST_DCGAN, name, "DCGAN"),
            ratio(f"step of {name} / FastGAN-like", MOST_FASTGAN, name, "FastGAN-like"),
        ]
    gain = least[ENGINE] / least[HALF]
    what = "bf16, channels last / fp32, images a second"
    if has_bf16():
        found.append(Bar(what, f">= {LEAST_HALF:g} x", f"{gain:.2f} x", gain >= LEAST_HALF))
    else:
        found.append(Bar(what, "only with AVX512-BF16", f"{gain:.2f} x; this CPU has none", True))
    worst = min(r["ratio"] for r in runs)
    return [*found, Bar("all-in / bare images a second", f">= {LEAST_WHOLE:g}", f"{worst:.3f}", worst >= LEAST_WHOLE)]


def main() -> int:
    args = options(__doc__, seeds=1, budget=120.0)
    reals = digits(SIDE)
    held = len(reals.x) * 15 // 100
    data = Data(reals.x[held:], reals.y[held:], 10, reals.x[:held], reals.y[:held])
    state, _ = start(data, 0)
    weights = count_weights(state.generator) + count_weights(state.verifier)
    wide = as_large(lambda w: fastgan(data, w), weights)
    steps = {
        ENGINE: engine(data),
        AUGMENTED: engine(data, aug_p=0.5),
        HALF: engine(data, half=True),
        "DCGAN": rival(data, dcgan, dcgan_step, DCGAN_WIDTH),
        "FastGAN-like": rival(data, fastgan, fastgan_step, wide),
    }
    cost = in_turns(steps, args.budget)
    size = {"DCGAN": sum(count_weights(n) for n in dcgan(data, DCGAN_WIDTH))}
    size |= {"FastGAN-like": sum(count_weights(n) for n in fastgan(data, wide))}
    rows = [
        {
            "step": name, "weights": size.get(name, weights), "rounds": len(found), "fastest ms": 1000 * min(found),
            "median ms": 1000 * float(np.median(found)), "img/s": BATCH / min(found), "/ DCGAN": min(found) / min(cost["DCGAN"]),
        }
        for name, found in cost.items()
    ]  # fmt: skip
    print(*rows, sep="\n", flush=True)
    num = max(20, int(args.budget / float(np.median(cost[ENGINE]))))
    runs = [whole_run(data, num, seed) for seed in range(args.seeds)]
    notes = [f"AVX512-BF16: {'yes' if has_bf16() else 'no'}."]
    return publish(
        "step_cost", args.claim, bars(cost, runs), {"Steps": rows, "Whole runs": runs}, notes, store=args.whole
    )


if __name__ == "__main__":
    sys.exit(main())
