"""A hundred and three hundred pictures: does augmentation that is steered by held-out pictures help, and are there copies?

Claim: with 100 and with 300 digits of 16 pixels (of which 15 % are held out and steer the augmentation) and 120 CPU seconds, or the 600 passes at which the product ends, the steered
augmentation of real and fake lowers the Fréchet distance to 500 unseen digits and raises recall, on the mean of 3 seeds, against the same
engine, data and time without it; and of 1,000 synthetic digits the copy check flags no more than half a point above what it flags
among unseen reals.

Every seed draws its own digits, the same for both. The judge, a small CNN, saw the 1,297 digits that these are drawn from and none of the
500 unseen ones: with 85 digits to learn from it would see little. Beside it: as many of the training digits, with repeats, in the place
of the synthetic ones, which is what copies would be worth. Both nets are the averaged ones of the last step.

Run: python benchmarks/few_images.py [--seeds 3] [--budget 120]; about 30 CPU minutes: 2 a net, 12 nets, and their judging. Not stored with
fewer seeds or another budget. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import sys

import numpy as np
from gans import Reals, Row, digits, every_seed, judged, keep_picture, memorisation, options, picture, train_ours
from tables import Bar, publish

from augmint.core import rng
from augmint.core.types import F32, I64
from augmint.evaluation.copies import CopyCheck
from augmint.training.loop import Data
from augmint.transforms.recipe import Recipe

SIDE, NUMBERS, HELD_FRAC, NUM_CHECKED = 16, (100, 300), 0.15, 1000
MOST_COPIES = 0.005
NONE = Recipe("none", ())
ARMS: dict[str, Recipe | None] = {"steered": None, "without": NONE}


def drawn(reals: Reals, num: int, seed: int) -> tuple[I64, I64]:
    """Positions of the digits to train on, and of those that steer; as many of each class, as far as that goes."""
    order = rng.permutation(rng.key("few images", num, seed), len(reals.x))
    mine = [order[reals.y[order] == c][: num // 10] for c in range(10)]
    held = int(HELD_FRAC * num)
    turns = np.stack(mine, 1).reshape(-1)
    return turns[held:], turns[:held]


def one_draw(reals: Reals, num: int, seed: int, seconds: float) -> tuple[list[Row], dict[str, bytes]]:
    """Both arms on one draw."""
    fit, held = drawn(reals, num, seed)
    data = Data(reals.x[fit], reals.y[fit], 10, reals.x[held], reals.y[held])
    check, y = CopyCheck(reals.x[fit], reals.test_x), np.arange(NUM_CHECKED) % 10
    rows, pages = list[Row](), dict[str, bytes]()
    for arm, recipe in ARMS.items():
        made = train_ours(data, seconds, seed, recipe=recipe)
        found, copied = judged(reals, made.draw(reals.test_y, 1)), check(made.draw(y, 4))
        near = memorisation(made.draw(reals.test_y, 1), reals.x[fit], reals.test_x)
        told = {"copies": copied.rate, "real copies": copied.real_rate, "memorisation": near}
        rows.append({"images": num, "augmentation": arm, "seed": seed, **found, **told, **made.facts})
        pages[arm] = picture(reals, made.draw)
        print(rows[-1], flush=True)
    return rows, pages


def repeated(reals: Reals, num: int, seed: int) -> Row:
    """What the training digits themselves are worth, each as often as it takes."""
    fit, _ = drawn(reals, num, seed)
    own = [fit[reals.y[fit] == c] for c in range(10)]
    seen = np.zeros(10, np.int64)
    fake: list[F32] = []
    for c in reals.test_y.tolist():
        fake.append(reals.x[own[c][seen[c] % len(own[c])]])
        seen[c] += 1
    return {"images": num, "seed": seed, **judged(reals, np.stack(fake))}


def bars(rows: list[Row], num: int) -> list[Bar]:
    """The claim at one number of images."""
    steered, without = ([r for r in rows if r["images"] == num and r["augmentation"] == arm] for arm in ARMS)

    def both(name: str) -> tuple[float, float, str]:
        a, b = (float(np.mean([r[name] for r in found])) for found in (steered, without))
        return a, b, f"{a:.3f} against {b:.3f} ({every_seed(steered, name)} against {every_seed(without, name)})"

    near, covers = both("frechet"), both("recall")
    over = [r["copies"] - r["real copies"] for r in steered]
    return [
        Bar(f"Fréchet distance, steered against without, {num} images", "lower", near[2], near[0] < near[1]),
        Bar(f"recall, steered against without, {num} images", "higher", covers[2], covers[0] > covers[1]),
        Bar(f"copies above real against real, points, {num} images", f"<= {100 * MOST_COPIES:g}", ", ".join(f"{100 * v:+.1f}" for v in over), max(over) <= MOST_COPIES),
    ]  # fmt: skip


def main() -> int:
    args = options(__doc__, seeds=3, budget=120.0)
    reals = digits(SIDE)
    rows, limits = list[Row](), list[Row]()
    for num in NUMBERS:
        for seed in range(args.seeds):
            found, pages = one_draw(reals, num, seed, args.budget)
            rows += found
            limits.append(repeated(reals, num, seed))
            for arm, page in pages.items() if seed == 0 else ():
                keep_picture(args, f"few_images_{num}_{arm}.png", page)
    tables = {
        "Every seed": [{k: v for k, v in r.items() if k != "planned"} for r in rows],
        "The training digits, repeated": limits,
    }
    notes = [
        "Pictures (seed 0): few_images_*.png; the last two rows are unseen reals.",
        "aug_p is its value at the end.",
    ]
    judgements = [bar for num in NUMBERS for bar in bars(rows, num)]
    return publish("few_images", args.claim, judgements, tables, notes, store=args.whole)


if __name__ == "__main__":
    sys.exit(main())
