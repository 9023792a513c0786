"""The GAN against a small diffusion model, which is what a person would try instead: quality at equal training time, and speed.

Claim: on digits at 32 pixels, trained for 120 CPU seconds on one thread each, the Fréchet distance of the engine's samples to 500
unseen reals is no larger, and their recall no smaller, than those of a DDPM (Ho et al. 2020) with as many weights, with every seed;
and the engine makes at least 50 times as many samples a CPU second as the DDPM's own best sampler of at most 50 steps.

The DDPM is a U-Net with attention that learns the noise; averaged weights. Its samplers are DDIM (Song et al. 2021) of 20 and 50
steps and DPM-Solver++(2M) (Lu et al. 2022) of 20; for each seed the one with the least Fréchet distance over its first 250 samples is the
best, which is in the DDPM's favour. Speed: CPU seconds of those 250. A run with less than the full budget judges 40 samples.

Run: python benchmarks/diffusion.py [--seeds 3] [--budget 120]; about 30 CPU minutes: 4 a seed of training, 6 of sampling. Not stored with
fewer seeds or another budget. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

from gans import (
    Draw,
    Reals,
    Row,
    at_the_end,
    digits,
    every_seed,
    judged,
    keep_picture,
    options,
    picture,
    real_against_real,
    train_ours,
)
from rivals import train_diffusion
from tables import Bar, publish

from augmint.evaluation.distances import frechet

SIDE, LEAST_SPEED, NUM_TRIED = 32, 50.0, 250


def tried(reals: Reals, draw: Draw) -> Row:
    """Fréchet distance of the first samples to the first unseen reals, and samples a CPU second."""
    y, begun = reals.test_y[:NUM_TRIED], time.process_time()
    fake = draw(y, 1)
    spent = time.process_time() - begun
    distance = frechet(reals.features(reals.test_x[: len(y)]), reals.features(fake))
    return {"frechet": distance, "samples/s": len(y) / spent}


def bars(ours: list[Row], best: list[Row]) -> list[Bar]:
    """The claim, held against every seed."""
    pairs, num = list(zip(ours, best, strict=True)), len(ours)
    near, covers = (
        sum(o["frechet"] <= t["frechet"] for o, t in pairs),
        sum(o["recall"] >= t["recall"] for o, t in pairs),
    )
    ratios = [{"speed": o["samples/s"] / t["samples/s"]} for o, t in pairs]
    told = [
        f"{n} of {num} ({every_seed(ours, k)} against {every_seed(best, k)})"
        for n, k in ((near, "frechet"), (covers, "recall"))
    ]
    return [
        Bar("Fréchet distance no larger", f"{num} of {num}", told[0], near == num),
        Bar("recall no smaller", f"{num} of {num}", told[1], covers == num),
        Bar("samples a second / best sampler's", f">= {LEAST_SPEED:.0f} x", every_seed(ratios, "speed", ".0f"), all(r["speed"] >= LEAST_SPEED for r in ratios)),
    ]  # fmt: skip


def main() -> int:
    args = options(__doc__, seeds=3, budget=120.0)
    reals = digits(SIDE)
    some = reals if args.whole else replace(reals, test_x=reals.test_x[:40], test_y=reals.test_y[:40])
    data, ours, best, samplers = reals.material(), list[Row](), list[Row](), list[Row]()
    for seed in range(args.seeds):
        made = train_ours(data, args.budget, seed)
        other = train_diffusion(data, made.facts["cpu_s"], seed, weights=made.facts["weights"])
        trials = {name: tried(some, draw) for name, draw in other.draws.items()}
        chosen = min(trials, key=lambda name: trials[name]["frechet"])
        for net, draw, told, kept in (
            (made, made.draw, tried(some, made.draw), ours),
            (other, other.draws[chosen], trials[chosen], best),
        ):
            found = judged(some, draw(some.test_y, 1))
            kept.append({"net": net.net, "seed": seed, **found, **net.facts, "samples/s": told["samples/s"]})
        samplers += [{"seed": seed, "sampler": name, **found} for name, found in trials.items()]
        print(ours[-1], best[-1], sep="\n", flush=True)
        if seed == 0:
            keep_picture(args, "diffusion_augmint.png", picture(reals, made.draw))
            keep_picture(args, "diffusion_ddpm.png", picture(reals, other.draws[chosen]))
    rows = at_the_end([row for pair in zip(ours, best, strict=True) for row in pair], "planned", "aug_p")
    tables = {"Every seed": rows, "The DDPM's samplers": samplers, "Real against real": [real_against_real(some)]}
    notes = ["Pictures (seed 0, best sampler): diffusion_augmint.png, diffusion_ddpm.png; the last two rows are real."]
    return publish("diffusion", args.claim, bars(ours, best), tables, notes, store=args.whole)


if __name__ == "__main__":
    sys.exit(main())
