"""A second data set for the main job: letters of many fonts, five labelled pictures a class and a pool, fonts apart in the test.

Claim: with 5 labelled pictures a class of the letters ABEGKMRSTZ (16 pixels) and 1,000 unlabelled ones, synthetic samples raise the
accuracy over the best classic augmentation: the mean effect over 8 fresh draws is above 0 with its 95 % t interval above 0, and
the verdict is HURTS in none of them (10 paired seeds each; about 2,000 sealed test pictures of fonts that stand nowhere else).

A draw chooses the test fonts, the labelled pictures and the pool anew, and trains its own GAN; it is one observation of the
mean, for test pictures of one font err together, which a draw's own interval does not know. Fair controls stand in the tables:
consistency training, label spreading and classifiers trained on the labelled pool use the pool directly, and may well be better.

The steps are fixed (700 a stage, 400 a probe: about three minutes a draw on an idle core), for a time would make the figures hang on what else the
machine does. Draws 100 and above were for exploring. Needs the fonts of benchmarks/fonts.sh.

Run: python benchmarks/boost_glyphs.py [--draws 0,1,2,3,4,5,6,7] [--steps 700 | --time 150]; about 25 minutes. Stored at the full setting
only. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from draws import Row, against, asked, boosted, levels, told, verdicts
from glyphs import Glyphs, glyphs, write_glyphs
from tables import Bar, over_draws, publish

from augmint.evaluation.proof import Proof
from augmint.modalities import get

SIDE, PER_CLASS, FEWEST_DRAWS, FEWEST_SEEDS = 16, 5, 8, 10
STEPS, PROBE_STEPS = 700, 400


def one_draw(found: Glyphs, draw: int, settings: dict[str, Any]) -> tuple[Proof, Row]:
    """The main job on one draw of the letters, through the Python API; the proof and what it cost."""

    def write(home: Path) -> tuple[Path, Path | None]:
        return write_glyphs(home, get("image"), found, per_class=PER_CLASS, draw=draw)

    return boosted(write, draw=draw, workers=1, seeds=FEWEST_SEEDS, **settings)


def bars(proofs: list[Proof]) -> list[Bar]:
    """The claim, held against all draws together."""
    synthetic = asked(proofs, "synthetic")
    mean, low, high = over_draws([v["effect"] for v in synthetic])
    hurts, seeds = sum(v["verdict"] == "HURTS" for v in synthetic), min(p.num_seeds for p in proofs)
    return [
        Bar("synthetic against the best classic, mean of the draws", "interval above 0", f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]", low > 0),
        Bar("draws in which it HURTS", "0", f"{hurts} of {len(synthetic)} ({told(synthetic)})", hurts == 0),
        Bar("fresh draws", f">= {FEWEST_DRAWS}", f"{len(synthetic)}", len(synthetic) >= FEWEST_DRAWS),
        Bar("paired seeds of each", f">= {FEWEST_SEEDS}", f"{seeds}", seeds >= FEWEST_SEEDS),
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", default="0,1,2,3,4,5,6,7")
    parser.add_argument("--steps", type=int, default=STEPS, help="of stage 1 and of the GAN")
    parser.add_argument("--time", type=float, help="seconds given to each draw, in the place of fixed steps")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = glyphs(SIDE)
    fixed = {"steps": args.steps, "probe_steps": PROBE_STEPS}
    numbers = [int(n) for n in args.draws.split(",")]
    proofs: list[Proof] = []
    rows: list[Row] = []
    for draw in numbers:
        proof, cost = one_draw(found, draw, fixed if args.time is None else {"time": args.time})
        proofs.append(proof)
        rows += verdicts(draw, proof, cost)
        print(*rows[-2:], *levels([proof], [draw]), sep="\n", flush=True)
    claim = (__doc__ or "").split("\n\n")[1].replace("\n", " ")
    tables = {
        "Verdicts": rows,
        "Against the best classic arm, points over the draws": against(proofs, "classic"),
        "Against the synthetic arm, points over the draws": against(proofs, "synthetic"),
        "Accuracy of every arm, %": levels(proofs, numbers),
    }
    groups = len(np.unique(found.group))
    notes = [
        f"{len(found.names)} fonts in {groups} groups, sha256 of the pictures {found.digest}; left out: {found.dropped}.",
        *(sentence for p in proofs[:1] for sentence in (*p.sentences, *p.advice)),
    ]
    store = len(numbers) >= FEWEST_DRAWS and args.steps == STEPS and args.time is None
    return publish("boost_glyphs", claim, bars(proofs), tables, notes, store=store)


if __name__ == "__main__":
    sys.exit(main())
