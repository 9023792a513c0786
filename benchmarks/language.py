"""Which of three languages is it? Real telephone prompts, at most a second of each, in noise, and few of them.

Claim: with 10 prompts a language (with ``--pool``: 5, and 600 unlabelled ones), classic augmentation raises accuracy over none on prompts that
stand nowhere else, with its interval above 0 in every draw (10 paired seeds); and the verdict on synthetic samples is honest: HELPS or HURTS in no
draw unless the mean over the draws is above or below 0 too, and without a pool, where there is nothing that they could add, never HELPS.

A draw chooses the prompts of each part anew, the same ones in all three languages, so that no prompt tells the language; each recording has
noise of its own, white or pink, 0 to 15 dB below it, in all parts alike. One speaker a language: what is learned is as much a voice as a
language. The prompts are Debian's (asterisk-core-sounds-{en,es,fr}-g722, fetched with apt-get, 16 kHz); nothing of them is kept.

The steps are fixed (300 a stage, 300 a probe, a grid of 38 x 48), for a time would make the figures hang on what else the machine does. The recipe
was chosen on draws 100 and above after draw 0 had been seen, so neither counts (docs/log.md). Run: python benchmarks/language.py [--pool] [--draws 1,2,3]; some 2 minutes of one
core a draw. Stored as language or language_pool. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from draws import Row, asked, boosted, levels, told, verdicts
from peers import NoPeer
from prompts import RATE, recordings
from tables import Bar, publish

from augmint.core import rng
from augmint.data import audio
from augmint.data.audio import Sound
from augmint.evaluation.proof import Proof
from augmint.transforms import run_audio
from augmint.transforms.recipe import Recipe

LANGUAGES = ("en", "es", "fr")
SECONDS, POOL = 1.0, 200
SETTINGS = {"steps": 300, "probe_steps": 300, "grid": 48, "seeds": 10, "workers": 1, "variants": 1}
RECIPE = """
ops:
  - TimeStretch: {rate: [0.88, 1.14]}
  - PitchShift: {semitones: [-1.5, 1.5]}
  - TimeShift: {shift_s: [-0.08, 0.08]}
  - Gain: {gain_db: [-6, 3]}
  - OneOf: {p: 0.8, ops: [{AddNoise: {snr_db: [5, 30]}}, {AddNoise: {snr_db: [5, 30], colour: pink}}]}
  - MixUp: {alpha: 0.4, p: 0.5}
"""
NOISES = [Recipe.from_dict({"ops": [{"AddNoise": {"snr_db": [0, 15], "colour": c}}]}) for c in ("white", "pink")]


def noisy_crop(wave: np.ndarray, key: int) -> Sound:
    """The loudest second, peak at half of full scale, in noise."""
    size = round(SECONDS * RATE)
    if len(wave) > size:
        held = np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64))])
        start = int(np.argmax(held[size:] - held[:-size]))
        wave = wave[start : start + size]
    level = (0.5 * wave / np.abs(wave).max())[:, None].astype(np.float32)
    return Sound(run_audio.apply(NOISES[key % len(NOISES)].plan_of(key), level, RATE), RATE)


def lay_out(home: Path, found: dict[str, np.ndarray], *, pool: bool, draw: int) -> tuple[Path, Path | None]:
    """``data/train`` and ``data/test`` with a folder a language, and ``pool``; a prompt is in one part only, and all that are left are tested."""
    names = sorted(set.intersection(*({n[3:] for n in found if n.startswith(f"{k}/")} for k in LANGUAGES)))
    order = [names[i] for i in rng.permutation(rng.key("language", draw), len(names))]
    few, rest = (5, POOL) if pool else (10, 0)
    parts = {"data/train": order[:few], "pool": order[few : few + rest], "data/test": order[few + rest :]}
    for part, chosen in parts.items():
        for name in chosen:
            for language in LANGUAGES:
                sound = noisy_crop(found[f"{language}/{name}"], rng.key("noise", draw, language, name))
                said = name.replace("/", "-")
                place = f"{language}-{said}.wav" if part == "pool" else f"{language}/{said}.wav"
                path = home / part / place
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(audio.encode(sound, ".wav"))
    return home / "data", home / "pool" if pool else None


def bars(proofs: list[Proof], *, pool: bool) -> list[Bar]:
    classic, synthetic = asked(proofs, "classic"), asked(proofs, "synthetic")
    mean, seeds = float(np.mean([v["effect"] for v in synthetic])), min(p.num_seeds for p in proofs)
    wrong = [
        v
        for v in synthetic
        if (v["verdict"] == "HELPS" and (mean <= 0 or not pool)) or (v["verdict"] == "HURTS" and mean >= 0)
    ]
    intervals = ", ".join(f"{v['effect']:+.1f} [{v['ci95'][0]:+.1f}, {v['ci95'][1]:+.1f}]" for v in classic)
    above = len(classic) == len(proofs) and all(v["ci95"][0] > 0 for v in classic)
    return [
        Bar("classic augmentation against none, every draw", "interval above 0", intervals, above),
        Bar("verdicts on synthetic samples that do not hold", "0", f"{len(wrong)} ({told(synthetic)})", not wrong),
        Bar("paired seeds of each", ">= 10", str(seeds), seeds >= 10),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", default="1,2,3")
    parser.add_argument("--pool", action="store_true", help="5 labelled prompts a language, and unlabelled ones")
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        found = recordings(LANGUAGES)
    except NoPeer as error:
        print(f"nothing to measure with: {error}")
        return 1
    proofs: list[Proof] = []
    rows: list[Row] = []
    with TemporaryDirectory() as scratch:
        recipe = Path(scratch) / "noisy-words.yaml"
        recipe.write_text(RECIPE)
        for draw in (numbers := [int(n) for n in args.draws.split(",")]):
            proof, cost = boosted(
                partial(lay_out, found=found, pool=args.pool, draw=draw), draw=draw, recipe=str(recipe), **SETTINGS
            )
            proofs.append(proof)
            rows += verdicts(draw, proof, cost)
            print(*rows[-2:], *levels([proof], [draw]), sep="\n", flush=True)
    return publish(
        "language_pool" if args.pool else "language",
        (__doc__ or "").split("\n\n")[1].replace("\n", " "),
        bars(proofs, pool=args.pool),
        {"Verdicts": rows, "Accuracy of every arm, %": levels(proofs, numbers)},
        [sentence for p in proofs[:1] for sentence in (*p.sentences, *p.advice)],
        store=max(numbers) < 100,
    )


if __name__ == "__main__":
    sys.exit(main())
