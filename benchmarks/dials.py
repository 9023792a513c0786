"""The dials do what they say: quality buys precision with recall, and samples near a given one are of its class and no copies.

Claim: on GANs of digits (16 pixels, two core-minutes, 3 seeds) quality at 0, .25, .5, .75 and 1 gives precision that never falls and recall
that never rises by more than .005 from one to the next, and both move from end to end (means over seeds and four draws of 500, against
500 unseen digits). Of the samples that ``generate(like=...)`` makes at its strength of .5, near a training digit or near an unseen
one, at least 95 % are of that digit's class, and the copy check flags no more than half a point above what it flags
among unseen reals, on the mean of the seeds.

Precision, recall and class are those of a small CNN that saw the training reals alone. Each seed: 20 training and 20 unseen digits, two of
each class, 25 samples near each.

Run: python benchmarks/dials.py [--seeds 3] [--budget 120]; about 12 CPU minutes: 2 a seed of training, 2 of inversion. Not stored with
fewer seeds or another budget. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
from gans import Ours, Reals, Row, digits, grid_of, judged, keep_picture, options, train_ours
from tables import Bar, publish

from augmint.core.types import F32, I64, Sample
from augmint.evaluation.copies import CopyCheck
from augmint.generation.dials import Dials
from augmint.generation.draw import Gan, Known
from augmint.modalities import get

SIDE, QUALITIES, DRAWS = 16, (0.0, 0.25, 0.5, 0.75, 1.0), 4
STRENGTH, EACH, A_CLASS = 0.5, 25, 2
SLACK, LEAST_KEPT, MOST_COPIES = 0.005, 0.95, 0.005


def as_gan(reals: Reals, made: Ours) -> Gan:
    """The product's own object around the trained networks."""
    kind = get("image")
    codec = kind.codec({"channels": 1, "height": SIDE, "width": SIDE, "pad": [0]})
    known = Known(reals.x, reals.y, reals.x[:0], reals.y[:0])
    return Gan(kind, codec, [str(c) for c in range(10)], made.generator, made.verifier, known=known)


def qualities(reals: Reals, gan: Gan, seed: int) -> list[Row]:
    """Figures at every place of the dial, each the mean of four draws."""
    rows = []
    for quality in QUALITIES:
        found = [judged(reals, gan.draw(reals.test_y, seed=n, dials=Dials(quality=quality))) for n in range(DRAWS)]
        means = {
            k: float(np.mean([f[k] for f in found]))
            for k in ("precision", "recall", "coverage", "frechet_ratio", "label_accuracy")
        }
        rows.append({"seed": seed, "quality": quality, **means})
    return rows


def near(reals: Reals, gan: Gan, x: F32, y: I64) -> tuple[F32, float]:
    """Samples near two digits of each class, in their order, and the share that keeps the class."""
    chosen = np.concatenate([np.flatnonzero(y == c)[:A_CLASS] for c in range(10)])
    made = []
    for i in chosen.tolist():
        like = Sample(f"{i}", gan.codec.decode(x[i]), str(y[i]))
        made += [gan.codec.encode(s) for s in gan.generate(EACH, like=like, strength=STRENGTH, seed=i)]
    out: F32 = np.stack(made)
    return out, float((reals.features.classify(out) == np.repeat(y[chosen], EACH)).mean())


def page_of(x: F32, y: I64, made: F32) -> bytes:
    """Each given digit, and nine samples near it."""
    chosen = np.concatenate([np.flatnonzero(y == c)[:A_CLASS] for c in range(10)])
    rows = [np.concatenate([x[i][None], made[n * EACH : n * EACH + 9]]) for n, i in enumerate(chosen.tolist())]
    return grid_of(np.concatenate(rows))


def bars(dial: list[Row], like: list[Row]) -> list[Bar]:
    """The claim, on means over the seeds."""
    found = []
    for name, sign, word in (("precision", 1, "rises"), ("recall", -1, "falls")):
        means = [float(np.mean([r[name] for r in dial if r["quality"] == q])) for q in QUALITIES]
        ok = all(sign * (b - a) >= -SLACK for a, b in pairwise(means)) and sign * (means[-1] - means[0]) > 0
        found.append(
            Bar(f"{name} {word} with quality", f"at every step, to {SLACK}", ", ".join(f"{m:.3f}" for m in means), ok)
        )
    for of in ("training", "unseen"):
        mine = [r for r in like if r["near"] == of]
        kept, over = (float(np.mean([r[k] for r in mine])) for k in ("class kept", "copies above reals"))
        found += [
            Bar(f"class kept near {of} digits", f">= {LEAST_KEPT}", f"{kept:.3f}", kept >= LEAST_KEPT),
            Bar(f"copies above real against real, points, near {of} digits", f"<= {100 * MOST_COPIES:g}", f"{100 * over:+.1f}", over <= MOST_COPIES),
        ]  # fmt: skip
    return found


def main() -> int:
    args = options(__doc__, seeds=3, budget=120.0)
    reals = digits(SIDE)
    check, dial, like = CopyCheck(reals.x, reals.test_x), list[Row](), list[Row]()
    for seed in range(args.seeds):
        gan = as_gan(reals, train_ours(reals.material(), args.budget, seed))
        dial += qualities(reals, gan, seed)
        for of, x, y in (("training", reals.x, reals.y), ("unseen", reals.test_x, reals.test_y)):
            made, kept = near(reals, gan, x, y)
            copied = check(made)
            over = copied.rate - (copied.real_rate or 0.0)
            told = {"copies": copied.rate, "real copies": copied.real_rate, "copies above reals": over}
            like.append({"seed": seed, "near": of, "class kept": kept, **told})
            if seed == 0:
                keep_picture(args, f"dials_like_{of}.png", page_of(x, y, made))
        print(*dial[-len(QUALITIES) :], *like[-2:], sep="\n", flush=True)
        if seed == 0:
            rows = [gan.draw(np.arange(10), seed=n, dials=Dials(quality=q)) for q in QUALITIES for n in (0, 1)]
            keep_picture(args, "dials_quality.png", grid_of(np.concatenate(rows)))
    notes = [
        "Pictures (seed 0): dials_quality.png, two rows each of quality 0 to 1; dials_like_training.png and dials_like_unseen.png, the given digit "
        "first in its row."
    ]
    return publish(
        "dials", args.claim, bars(dial, like), {"Quality": dial, "Near a given digit": like}, notes, store=args.whole
    )


if __name__ == "__main__":
    sys.exit(main())
