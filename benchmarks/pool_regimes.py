"""Where would a synthetic set beat training on the pool itself? Three more places to look, beside five labels of digits and of letters.

Claim: with a pool, synthetic samples never HURT against the best classic augmentation, neither with 20 labels a class (handwritten digits,
letters of many fonts) nor where the few labelled pictures look unlike the pool and the test part (digits drawn bolder); what
the direct uses of the pool reach there stands beside it, and is no part of the claim.

Steps are fixed (700 a stage, 400 a probe). ``bold``: the labelled digits alone are dilated by one cell of their 8 x 8, the pool, which is
plain, and the test part are not: a domain gap. Needs the fonts of benchmarks/fonts.sh.

Run: python benchmarks/pool_regimes.py [--draws 0,1,2]; about three minutes a draw and regime on an idle core. Stored with three draws of
all regimes only. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from draws import Row, against, asked, boosted, told, verdicts
from glyphs import glyphs, write_glyphs
from tables import Bar, publish

from augmint.evaluation.proof import Proof
from augmint.modalities import get
from augmint.steps.handwriting import write_digits

SETTINGS = {"steps": 700, "probe_steps": 400, "workers": 1, "seeds": 10}
Written = tuple[Path, Path | None]


def digits_20(home: Path, draw: int) -> Written:
    return write_digits(home, get("image"), per_class=20, with_pool=True, draw=draw)


def letters_20(home: Path, draw: int) -> Written:
    return write_glyphs(home, get("image"), glyphs(16), per_class=20, draw=draw)


def bold_digits(home: Path, draw: int) -> Written:
    """Five labels a class; the labelled training pictures are dilated where they lie."""
    data, pool = write_digits(home, get("image"), per_class=5, with_pool=True, draw=draw)
    for path in (data / "train").rglob("*.png"):
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert picture is not None
        cv2.imwrite(str(path), cv2.dilate(picture, np.ones((2, 2), np.uint8)))
    return data, pool


REGIMES: dict[str, Callable[..., Written]] = {
    "digits, 20 labels": digits_20,
    "letters, 20 labels": letters_20,
    "digits, 5 bold labels": bold_digits,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", default="0,1,2")
    args = parser.parse_args()
    torch.set_num_threads(1)
    numbers = [int(n) for n in args.draws.split(",")]
    found: dict[str, list[Proof]] = {}
    rows: list[Row] = []
    for name, write in REGIMES.items():
        found[name] = []
        for draw in numbers:
            proof, cost = boosted(partial(write, draw=draw), draw=draw, **SETTINGS)
            found[name].append(proof)
            rows += [{"regime": name, **row} for row in verdicts(draw, proof, cost)]
            print(*rows[-2:], sep="\n", flush=True)
    synthetic = {name: asked(proofs, "synthetic") for name, proofs in found.items()}
    bars = [
        Bar(f"{name}: verdicts HURTS", "0", told(v), all(one["verdict"] != "HURTS" for one in v))
        for name, v in synthetic.items()
    ]
    tables = {"Verdicts": rows}
    for base, title in (("classic", "the best classic arm"), ("synthetic", "the synthetic arm")):
        tables[f"Against {title}, points over the draws"] = [
            {"regime": name, **row} for name, proofs in found.items() for row in against(proofs, base)
        ]
    claim = (__doc__ or "").split("\n\n")[1].replace("\n", " ")
    return publish("pool_regimes", claim, bars, tables, store=len(numbers) >= 3)


if __name__ == "__main__":
    sys.exit(main())
