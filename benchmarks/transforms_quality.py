"""What one warp keeps that several lose, and whether OpenCV and torch run the same plan alike.

Claim: photographs that are turned, shifted, scaled and slanted and then put back are at least 5 dB nearer to what they were with one
warp there and one back than with four and four, on average, and nearer in every case. The two executors differ by at most one grey
level, before rounding by .35 on average, with every border and interpolation.

Run: python benchmarks/transforms_quality.py; a minute. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import sys
from functools import reduce
from typing import Any

import cv2
import numpy as np
import torch
from peers import one_thread
from skimage import data
from sklearn.datasets import load_sample_images
from tables import Bar, publish
from transforms import RECIPE

from augmint.transforms import fuse, run_cv, run_torch
from augmint.transforms.geometry import as_array, inverse
from augmint.transforms.plan import PICTURE_OPS as OPS
from augmint.transforms.plan import sample_key
from augmint.transforms.recipe import PRESETS, Recipe
from augmint.transforms.sampling import sampled

SIDE = 512
DRAWS = 6  # a photograph
WARPS = Recipe.from_dict(
    {
        "ops": [
            {"Rotate": {"degrees": [-15, 15]}},
            {"Translate": {"shift_frac": [-0.08, 0.08]}},
            {"Scale": {"factor": [0.85, 1.2]}},
            {"Shear": {"x_degrees": [-8, 8], "y_degrees": [-4, 4]}},
        ]
    }
)
RUNS = ("light", "medium", "strong", "ada", "chain")


def photographs() -> list[np.ndarray]:
    found = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket(), *load_sample_images().images]
    squares = [x[(h := (x.shape[0] - (s := min(x.shape[:2]))) // 2) : h + s, :s] for x in found]
    return [cv2.resize(x, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for x in squares]


def warped(x: np.ndarray, matrix: np.ndarray, interp: str) -> np.ndarray:
    warp = fuse.Warp(matrix, (SIDE, SIDE), (SIDE, SIDE))
    return sampled(x, warp.pixel_inverse(), (SIDE, SIDE), "reflect", interp)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Of the centre, where nothing from beyond the edge is seen, in dB."""
    middle = slice(SIDE // 4, -SIDE // 4)
    return float(10 * np.log10(255**2 / np.mean((a[middle, middle] - b[middle, middle]) ** 2)))


def round_trips(interp: str) -> dict[str, Any]:
    gains, one, four = [], [], []
    for number, photo in enumerate(photographs()):
        x = photo.astype(np.float32)
        for i in range(DRAWS):
            steps = WARPS.draw(seed=number, sample_id=str(i)).steps
            each = [as_array(OPS[s.op].matrix(s.params, SIDE, SIDE)) for s in steps]  # type: ignore[attr-defined]
            whole = reduce(lambda m, n: n @ m, each)
            there_and_back = [*each, *(inverse(m) for m in reversed(each))]
            chained = reduce(lambda v, m: warped(v, m, interp), there_and_back, x)
            composed = warped(warped(x, whole, interp), inverse(whole), interp)
            one.append(psnr(composed, x))
            four.append(psnr(chained, x))
            gains.append(one[-1] - four[-1])
    return {
        "interp": interp,
        "cases": len(gains),
        "chained dB": float(np.mean(four)),
        "composed dB": float(np.mean(one)),
        "gain dB": float(np.mean(gains)),
        "least gain dB": min(gains),
    }


def compared(name: str, border: str, interp: str) -> dict[str, Any]:
    """OpenCV's levels against torch's, before and after theirs are rounded."""
    ops = (Recipe.from_dict(RECIPE) if name == "chain" else PRESETS[name]).ops
    recipe, most, means, far = Recipe("r", ops, border, interp), 0.0, [], 0  # type: ignore[arg-type]
    for number, photo in enumerate(photographs()):
        x = cv2.resize(photo, (160, 160), interpolation=cv2.INTER_AREA)
        keys = np.array([sample_key(number, str(i)) for i in range(DRAWS)], np.uint64)
        batch = torch.from_numpy(np.repeat(x[None], DRAWS, 0)).permute(0, 3, 1, 2).double() / 127.5 - 1
        levels = ((run_torch.augment(batch, recipe, keys) + 1) * 127.5).clamp(0, 255).permute(0, 2, 3, 1).numpy()
        for key, want in zip(keys, levels, strict=True):
            got = run_cv.apply(recipe.plan_of(int(key)), x)
            most = max(most, float(np.abs(got - np.rint(want)).max()))
            far += int((np.abs(got - np.rint(want)) > 1).sum())
            means.append(float(np.abs(got - want).mean()))
    return {
        "recipe": name,
        "border": border,
        "interp": interp,
        "greatest difference, levels": most,
        "pixels beyond one level": far,
        "mean before rounding": float(np.mean(means)),
        "greatest mean": max(means),
    }


def main() -> int:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    trips = [round_trips(interp) for interp in ("linear", "cubic")]
    rows = [
        compared(name, border, interp)
        for name in RUNS
        for border in ("reflect", "edge", "zero")
        for interp in ("linear", "cubic")
    ]
    most, mean = max(r["greatest difference, levels"] for r in rows), max(r["mean before rounding"] for r in rows)
    bars = [
        *(
            Bar(f"composed minus chained, {t['interp']}", ">= 5 dB", f"{t['gain dB']:.1f} dB", t["gain dB"] >= 5)
            for t in trips
        ),
        *(
            Bar(
                f"least of {t['cases']} cases, {t['interp']}",
                "> 0",
                f"{t['least gain dB']:+.1f} dB",
                t["least gain dB"] > 0,
            )
            for t in trips
        ),
        Bar("executors, greatest difference", "<= 1 level", f"{most:.0f}", most <= 1),
        Bar("executors, mean before rounding", "<= .35 level", f"{mean:.3f}", mean <= 0.35),
    ]
    notes = [
        f"six photographs of scikit-image and scikit-learn, {DRAWS} draws each; round trips in float32, {SIDE} pixels, centre of half the "
        "side; executors at 160 pixels, uint8 against float64.",
    ]
    claim = (__doc__ or "").split("\n\n")[1].replace("\n", " ")
    return publish("transforms_quality", claim, bars, {"Round trips": trips, "Executors": rows}, notes)


if __name__ == "__main__":
    one_thread()
    sys.exit(main())
