"""What the default recipe is worth to a classifier with few labelled pictures, against none and against what others use by default.

Claim: with 10 and with 50 labelled pictures a class of digits (scikit-learn's, enlarged to 16 pixels) and of letters of many fonts (16
pixels, the test part of fonts of their own), probes trained through the default recipe `medium` are better than without any, and not
worse than through albumentations' usual pipeline or TrivialAugment: the 95 % interval of the difference lies above 0 against none,
and not below 0 against each of the others.

Ten paired seeds: each has labelled pictures of its own, and an initialisation; what it sees at a step are the same pictures in every arm,
and only what happens to them differs. Intervals count seeds and test pictures. The probes are those of `augmint prove`.

The others: albumentations 2.0.8 in an environment of its own, as tutorials write it (flip p .5, shift-scale-rotate with its defaults p .5,
brightness and contrast p .2), and without the flip, which suits letters and digits. TrivialAugment is written here after the ranges and the 31
steps of torchvision's TrivialAugmentWide (nearest pixel, black beyond the edge), which does not run beside a torch for CPUs: once as
published, where shifts reach 32 pixels, and once with shifts scaled as if the picture had 224.

Run: python benchmarks/default_recipe.py [--steps 800]; about 7 minutes. Needs the fonts of benchmarks/fonts.sh. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from glyphs import glyphs
from numpy.typing import NDArray
from peers import NoPeer, Peer, one_thread
from PIL import Image, ImageEnhance, ImageOps
from sklearn.datasets import load_digits
from tables import Bar, cpu_seconds, publish

from augmint.core import rng
from augmint.core.types import I64
from augmint.evaluation.paired import Resamples
from augmint.evaluation.probes import Design, Stack, Stream, train
from augmint.evaluation.probes import one_thread as probes_on_one_thread
from augmint.transforms.recipe import Recipe
from augmint.transforms.run_torch import augment

SIDE, CLASSES, SEEDS, BATCH, STEPS = 16, 10, 10, 32, 800
PER_CLASS = (10, 50)
PEER = """
import os
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import albumentations as A, cv2
cv2.setNumThreads(0)
def ways(seed):
    rest = [A.ShiftScaleRotate(p=0.5), A.RandomBrightnessContrast(p=0.2)]
    return {"flip": A.Compose([A.HorizontalFlip(p=0.5), *rest], seed=seed), "plain": A.Compose(rest, seed=seed)}
def run(data):
    way = ways(0)[str(data["way"])]
    np.save(str(data["out"]), np.stack([way(image=x)["image"] for x in data["images"]]))
"""
NONE, OURS = "none", "medium"
PEERS = {
    "flip": "albumentations, usual",
    "plain": "albumentations, without the flip",
    "published": "TrivialAugment, as published",
    "scaled": "TrivialAugment, shifts scaled",
}
Pictures = NDArray[np.uint8]
Views = Callable[[int], torch.Tensor]


class Setting:
    """Pictures ``[N, 16, 16]``, which of them each seed has labelled ``[S, n]``, and which are tested."""

    def __init__(self, name: str, per_class: int, x: Pictures, y: I64, fit: I64, test: I64) -> None:
        self.name, self.per_class = name, per_class
        self.x, self.y, self.test = x, y, test
        self.labelled = np.stack([self._own(fit, seed) for seed in range(SEEDS)])
        self.stream = Stream(0, SEEDS)

    def _own(self, fit: I64, seed: int) -> I64:
        order = fit[rng.permutation(rng.key("default recipe", self.name, seed), len(fit))]
        return np.sort(np.concatenate([order[self.y[order] == c][: self.per_class] for c in range(CLASSES)]))

    def shown(self, step: int) -> I64:
        """``[S · B]``: which pictures the models are shown."""
        place = (self.stream.places(step, BATCH) * self.labelled.shape[1]).astype(np.int64)
        return np.take_along_axis(self.labelled, place, 1).ravel()

    def trained(self, views: Views, steps: int) -> tuple[NDArray[np.bool_], float]:
        """``[S, T]``: which test pictures each model names rightly; and the mean loss over the last tenth of the steps."""
        stack = Stack(Design.of((1, SIDE, SIDE), CLASSES), num=SEEDS, seed=0)
        told: list[float] = []

        def loss(step: int) -> torch.Tensor:
            logits = stack.logits(views(step).view(SEEDS, BATCH, 1, SIDE, SIDE))
            y = torch.from_numpy(self.y[self.shown(step)])
            each = F.cross_entropy(logits.flatten(0, 1), y, reduction="none").view(SEEDS, -1).mean(1)
            told.append(float(each.detach().mean()))
            return each

        with probes_on_one_thread():
            train(stack, loss, steps=steps)
            found = stack.predict(on_grid(self.x[self.test]).numpy())
        return found == self.y[self.test], float(np.mean(told[-max(1, steps // 10) :]))


def on_grid(x: Pictures) -> torch.Tensor:
    return torch.from_numpy(x[:, None].astype(np.float32) / 127.5 - 1)


def settings() -> Iterator[Setting]:
    found = load_digits()
    small = np.rint(found.images * (255 / 16)).astype(np.uint8)
    x = np.stack([cv2.resize(p, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) for p in small])
    y = found.target.astype(np.int64)
    order = rng.permutation(rng.key("default recipe", "digits"), len(x))
    letters = glyphs(SIDE)
    flat, number = letters.pixels.reshape(-1, SIDE, SIDE), np.arange(letters.pixels.shape[0] * CLASSES)
    fit, test = (number.reshape(-1, CLASSES)[fonts].ravel() for fonts in letters.split(0))
    for per_class in PER_CLASS:
        yield Setting("digits", per_class, x, y, order[:897], order[897:])
        yield Setting("letters", per_class, flat, number % CLASSES, fit, test)


# -- what happens to the pictures --------------------------------------------------------------------------------------


def by_recipe(setting: Setting, recipe: Recipe) -> Views:
    """As the probes of `augmint prove` see them."""

    def views(step: int) -> torch.Tensor:
        keys = setting.stream.keys("augment", step, BATCH).ravel()
        return augment(on_grid(setting.x[setting.shown(step)]), recipe, keys)

    return views


def by_albumentations(setting: Setting, peer: Peer, way: str, steps: int, home: Path) -> Views:
    rows = np.concatenate([setting.shown(step) for step in range(steps)])
    place = home / "made.npy"
    peer({"way": np.array(way), "out": np.array(str(place)), "images": setting.x[rows]})
    made = np.load(place, allow_pickle=False).reshape(steps, -1, SIDE, SIDE)
    return lambda step: on_grid(made[step])


def by_trivial(setting: Setting, shift_px: float) -> Views:
    def views(step: int) -> torch.Tensor:
        draws = np.random.default_rng([step, round(shift_px)])
        made = [np.asarray(trivial(Image.fromarray(setting.x[i]), draws, shift_px)) for i in setting.shown(step)]
        return on_grid(np.stack(made))

    return views


def trivial(x: Image.Image, draws: np.random.Generator, shift_px: float) -> Image.Image:
    """One op of fourteen, at one of 31 strengths (Müller and Hutter 2021, arXiv 2103.10158; the wide ranges of torchvision)."""
    op, part = int(draws.integers(14)), int(draws.integers(31)) / 30
    sign = 1 if draws.integers(2) else -1
    strong, shift = sign * 0.99 * part, int(sign * shift_px * part)
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Color, ImageEnhance.Contrast, ImageEnhance.Sharpness)
    ways: list[Callable[[], Image.Image]] = [
        lambda: x,
        lambda: moved(x, (1, strong, 0, 0, 1, 0)),
        lambda: moved(x, (1, 0, 0, strong, 1, 0)),
        lambda: moved(x, (1, 0, shift, 0, 1, 0)),
        lambda: moved(x, (1, 0, 0, 0, 1, shift)),
        lambda: x.rotate(sign * 135 * part),
        *(partial(enhanced, x, kind, 1 + strong) for kind in enhancers),
        lambda: ImageOps.posterize(x, 8 - round(6 * part)),
        lambda: ImageOps.solarize(x, round(255 * (1 - part))),
        lambda: ImageOps.autocontrast(x),
        lambda: ImageOps.equalize(x),
    ]
    return ways[op]()


def enhanced(x: Image.Image, kind: Callable[[Image.Image], Any], factor: float) -> Image.Image:
    out: Image.Image = kind(x).enhance(factor)
    return out


def moved(x: Image.Image, back: tuple[float, ...]) -> Image.Image:
    return x.transform(x.size, Image.Transform.AFFINE, back, Image.Resampling.NEAREST)


def arms(setting: Setting, peer: Peer, steps: int, home: Path) -> Iterator[tuple[str, Views]]:
    yield NONE, lambda step: on_grid(setting.x[setting.shown(step)])
    for name in (OURS, "light", "trivial"):
        yield name, by_recipe(setting, Recipe.load(name))
    for way in ("flip", "plain"):
        yield way, by_albumentations(setting, peer, way, steps, home)
    yield "published", by_trivial(setting, 32)
    yield "scaled", by_trivial(setting, 32 * SIDE / 224)


def measured(
    setting: Setting, peer: Peer, steps: int, home: Path
) -> tuple[dict[str, NDArray[np.bool_]], dict[str, float]]:
    """Which test pictures each model of each arm names rightly, and what its loss was at the end; told as they come."""
    right, left = {}, {}
    for name, views in arms(setting, peer, steps, home):
        right[name], left[name] = setting.trained(views, steps)
        accuracy = 100 * right[name].mean()
        print(f"{setting.name} {setting.per_class} {name} {accuracy:.2f} ({cpu_seconds():.0f} CPU-s)", flush=True)
    return right, left


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=STEPS)
    steps = parser.parse_args().steps
    one_thread()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    bars: list[Bar] = []
    try:
        with Peer("albumentations", PEER) as peer, TemporaryDirectory() as home:
            for setting in settings():
                right, left = measured(setting, peer, steps, Path(home))
                draws = Resamples(setting.y[setting.test], SEEDS)
                where = f"{setting.name}, {setting.per_class} a class"
                for name, found in right.items():
                    against_none, against = (
                        draws.effect(a, b) for a, b in ((found, right[NONE]), (right[OURS], found))
                    )
                    told = "{:+.2f} [{:+.2f}, {:+.2f}]".format(against.effect, *against.ci95)
                    gain = "{:+.2f} [{:+.2f}, {:+.2f}]".format(against_none.effect, *against_none.ci95)
                    rows.append(
                        {
                            "data": where,
                            "recipe": PEERS.get(name, name),
                            "loss at the end": f"{left[name]:.3f}",
                            "accuracy, %": f"{100 * found.mean():.2f}",
                            "against none": "" if name == NONE else gain,
                            f"{OURS} against it": "" if name == OURS else told,
                        }
                    )
                    if name == NONE:
                        bars.append(Bar(f"{OURS} against none: {where}", "interval above 0", told, against.ci95[0] > 0))
                    elif name in PEERS:
                        ok = against.ci95[1] >= 0
                        bars.append(Bar(f"{OURS} against {PEERS[name]}: {where}", "interval not below 0", told, ok))
            version = peer.version
    except NoPeer as error:
        print(f"no albumentations to measure against: {error}")
        return 1
    claim = (__doc__ or "").split("\n\n")[1].replace("\n", " ")
    notes = [
        f"{SEEDS} paired seeds, {steps} steps of {BATCH} pictures; albumentations {version}; {cpu_seconds():.0f} CPU-s",
        "TrivialAugment is a rewriting after torchvision's published ranges, not torchvision itself.",
    ]
    return publish("default_recipe", claim, bars, {"Accuracy": rows}, notes, store=steps == STEPS)


if __name__ == "__main__":
    sys.exit(main())
