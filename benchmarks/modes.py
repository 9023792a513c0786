"""Does the GAN find all modes? Stacked letters: three letters as red, green and blue, 1,000 combinations of known frequency.

Claim: trained without labels for ten core-minutes on 20,000 pictures of 32 pixels (each channel a letter of ABEGKMRSTZ in a font of its
own, all 1,000 triples equally likely), the engine's 25,000 samples show at least twice as many of the triples as those of a DCGAN with
as many weights and as much CPU time, or at least 950.

After StackedMNIST (Metz et al. 2017). A classifier that was trained on real letters names each channel; its accuracy on fonts that nobody
trained on is in the notes. KL: of the shares of the 1,000 triples from equal shares; real pictures of those other fonts, as
many, are counted by the same classifier.

Run: python benchmarks/modes.py [--seeds 1] [--budget 600]; about 24 CPU minutes a seed, of which 20 train. Fonts: benchmarks/fonts.sh.
Not stored with another budget. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import sys

import numpy as np
from gans import Reals, Row, Trained, at_the_end, every_seed, grid_of, keep_picture, letters, options, train_ours
from glyphs import glyphs
from rivals import train_dcgan
from tables import Bar, publish

from augmint.core import rng
from augmint.core.types import F32, I64
from augmint.training.loop import Data

SIDE, NUM_TRAIN, NUM_DRAWN, MODES = 32, 20_000, 25_000, 1000
ENOUGH, TIMES = 950, 2.0
PART = 5000


def stacked(x: F32, num: int, name: str) -> F32:
    """``[num, 3, H, W]``: three letters by chance, ``x [N, 1, H, W]`` holding as many of each class."""
    pick = (rng.uniform(rng.key("stacked", name), np.arange(3 * num)) * len(x)).astype(np.int64)
    return x[pick, 0].reshape(num, 3, *x.shape[2:])


def triples(letter: Reals, x: F32) -> I64:
    """Which of the 1,000 combinations each picture shows, as the classifier reads it."""
    read = letter.features.classify(x.reshape(-1, 1, *x.shape[2:])).reshape(-1, 3)
    out: I64 = read @ np.array([100, 10, 1])
    return out


def coverage(modes: I64) -> Row:
    """How many triples occur, and the divergence of their shares from equal ones, in nats."""
    share = np.bincount(modes, minlength=MODES) / len(modes)
    seen = share[share > 0]
    return {"modes": len(seen), "kl": float((seen * np.log(seen * MODES)).sum())}


def counted(letter: Reals, made: Trained) -> Row:
    """The modes among its samples, drawn a part at a time."""
    none = np.zeros(PART, np.int64)
    return coverage(np.concatenate([triples(letter, made.draw(none, 10 + i)) for i in range(NUM_DRAWN // PART)]))


def bars(rows: list[Row]) -> list[Bar]:
    """The claim, held against every seed."""
    ours, theirs = ([r for r in rows if r["net"] == net] for net in ("augmint", "DCGAN"))
    ok = all(o["modes"] >= ENOUGH or o["modes"] >= TIMES * t["modes"] for o, t in zip(ours, theirs, strict=True))
    told = f"{every_seed(ours, 'modes', 'd')} against {every_seed(theirs, 'modes', 'd')}"
    return [Bar("modes of 1,000", f">= {ENOUGH}, or >= {TIMES:g} x DCGAN's", told, ok)]


def main() -> int:
    args = options(__doc__, seeds=1, budget=600.0)
    fonts = glyphs(SIDE)
    letter = letters(fonts, num_test=2000, steps=3000)
    x = stacked(letter.x, NUM_TRAIN, "train")
    data = Data(x, np.full(len(x), -1), 0, x[:0], np.zeros(0, np.int64))
    rows = list[Row]()
    for seed in range(args.seeds):
        ours = train_ours(data, args.budget, seed)
        other = train_dcgan(data, ours.facts["cpu_s"], seed, weights=ours.facts["weights"])
        for made in (ours, other):
            rows.append({"net": made.net, "seed": seed, **counted(letter, made), **made.facts})
            print(rows[-1], flush=True)
            if seed == 0:
                page = np.concatenate([made.draw(np.zeros(80, np.int64), 3), x[:20]])
                keep_picture(args, f"modes_{made.net.lower()}.png", grid_of(page, rule=8))
    real = coverage(triples(letter, stacked(letter.test_x, NUM_DRAWN, "test")))
    accuracy = float((letter.features.classify(letter.test_x) == letter.test_y).mean())
    notes = [
        f"{len(fonts.names)} fonts, {fonts.digest}. The classifier reads {accuracy:.1%} of the letters of unseen fonts.",
        "Pictures (seed 0): modes_augmint.png, modes_dcgan.png; the last two rows are real.",
    ]
    tables = {"Every seed": at_the_end(rows, "planned", "aug_p"), "Real pictures": [{"of": "unseen fonts", **real}]}
    return publish("modes", args.claim, bars(rows), tables, notes, store=args.whole)


if __name__ == "__main__":
    sys.exit(main())
