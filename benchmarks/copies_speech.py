"""Copies of spoken prompts are found wherever they begin, however loud they are and if they are a little slower; no others.

Claim: of real telephone prompts (three languages, one speaker each) planted as they are, moved in time by up to 150 ms, 4 dB louder,
5 % slower, or all of these with noise of 1.5 % of the range, at least 98 % are found beside their source, and of unseen prompts at most 1 %
are called copies. A prompt played backwards is no copy.

The prompts are Debian's asterisk-core-sounds, .3 to 1.6 s long, fetched with apt-get (`examples/speech_prompts.py`): two fifths to train on, a
third held out, the rest unseen.

Run: python benchmarks/copies_speech.py; two CPU minutes. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from peers import ROOT, one_thread
from tables import Bar, publish

from augmint.core.errors import BadSample
from augmint.core.types import Sample, likeness
from augmint.data import audio
from augmint.data.audio import Sound
from augmint.data.leaks import groups
from augmint.evaluation.copies import CopyCheck
from augmint.modalities.speech import SpeechCodec
from augmint.transforms import run_audio

sys.path.insert(0, str(ROOT / "examples"))
from speech_prompts import LANGUAGES, NO_SPEECH, fetch

SEEDS, NUM_COPIES = 4, 80
CODEC = SpeechCodec(8000, 64, 110, 0.016, -8.0)
NOISE = 0.03


def later(sound: Sound, seconds: float) -> Sound:
    """With silence before it; negative: earlier, as far as it is nearly silent there (60 dB below its loudest)."""
    n = round(abs(seconds) * sound.rate)
    if seconds >= 0:
        return Sound(np.pad(sound.wave, ((n, 0), (0, 0))), sound.rate)
    heard = np.flatnonzero(np.abs(sound.wave).max(1) > 1e-3 * np.abs(sound.wave).max())
    return Sound(sound.wave[min(n, int(heard[0])) :], sound.rate)


def slower(sound: Sound, factor: float) -> Sound:
    return Sound(run_audio.stretched(sound.wave, factor, sound.rate)[0], sound.rate)


def louder(sound: Sound, decibels: float) -> Sound:
    return Sound(sound.wave * np.float32(10 ** (decibels / 20)), sound.rate)


def everything(sound: Sound, rng: np.random.Generator) -> Sound:
    changed = louder(slower(sound, float(rng.choice([0.95, 1.05]))), rng.uniform(-6, 4))
    return later(changed, rng.uniform(-0.15, 0.15))


HOW: dict[str, Callable[[Sound, np.random.Generator], Sound]] = {
    "as it is": lambda s, rng: s,
    "moved by up to 150 ms": lambda s, rng: later(s, rng.uniform(-0.15, 0.15)),
    "4 dB louder": lambda s, rng: louder(s, 4),
    "5 % slower": lambda s, rng: slower(s, 1.05),
    "all of these, down to -6 dB and 5 % faster": everything,
    "backwards (no copy)": lambda s, rng: Sound(np.ascontiguousarray(s.wave[::-1]), s.rate),
}


def prompts() -> list[Sound]:
    """What is said in .3 to 1.6 s, all languages; of near-duplicates, which a split keeps on one side, the first."""
    found = []
    with TemporaryDirectory() as scratch:
        for named in fetch(LANGUAGES, Path(scratch)).values():
            for name, path in sorted(named.items()):
                try:
                    wanted = 0.3 <= audio.header(path).seconds <= 1.6
                except BadSample:
                    continue
                if wanted and not any(word in name for word in NO_SPEECH):
                    found.append(audio.read(path))
    return [found[i] for i in np.unique(groups(seen(found)))]


def seen(sounds: list[Sound], rng: np.random.Generator | None = None) -> np.ndarray:
    """On the grid, with a little noise where they are imitations."""
    x = np.stack([CODEC.encode(Sample("", s)) for s in sounds])
    return x if rng is None else (x + NOISE * rng.normal(size=x.shape)).astype(np.float32)


def one_seed(sounds: list[Sound], seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(sounds))
    cuts = (0, len(order) * 2 // 5, len(order) * 11 // 15, len(order))
    train, held, fresh = (order[a:b] for a, b in pairwise(cuts))
    x = [seen([sounds[i] for i in part]) for part in (train, held, fresh)]
    start = time.process_time()
    check = CopyCheck(x[0], x[1], like=likeness(CODEC))
    alarms = check(x[2]).rate
    spent = time.process_time() - start
    rows = []
    for name, change in HOW.items():
        source = rng.choice(len(train), NUM_COPIES, replace=False)
        found = check(seen([change(sounds[train[i]], rng) for i in source], rng))
        rows.append(
            {
                "seed": seed,
                "copies": name,
                "found": float(found.flagged.mean()),
                "right_source": float((found.nearest == source).mean()),
                "median_ratio": float(np.median(found.ratio)),
                "threshold": found.threshold,
                "false_alarms": alarms,
                "cpu_s": spent,
            }
        )
    return rows


def main() -> int:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        print("copies_speech: skipped, nothing was measured: the prompts come as Debian's packages")
        return 0
    sounds = prompts()
    every = [row for seed in range(SEEDS) for row in one_seed(sounds, seed)]
    table = []
    for name in HOW:
        mine = [r for r in every if r["copies"] == name]
        table.append(
            {
                "copies": name,
                **{k: mean(r[k] for r in mine) for k in ("found", "right_source", "median_ratio", "false_alarms")},
            }
        )
    real = [r for r in table if "no copy" not in r["copies"]]
    worst, alarms = min(r["found"] for r in real), table[0]["false_alarms"]
    bars = [
        Bar("planted copies found, worst kind", ">= 98 %", f"{worst:.1%}", worst >= 0.98),
        Bar("beside their source, worst kind", ">= 98 %", f"{min(r['right_source'] for r in real):.1%}", min(r["right_source"] for r in real) >= 0.98),
        Bar("unseen prompts that are called copies", "<= 1 %", f"{alarms:.2%}", alarms <= 0.01),
        Bar("prompts played backwards that are called copies", "<= 1 %", f"{table[-1]['found']:.2%}", table[-1]["found"] <= 0.01),
    ]  # fmt: skip
    notes = [
        f"{len(sounds)} prompts, {NUM_COPIES} copies of each kind a seed, {SEEDS} seeds; preparing and looking at the unseen ones takes "
        f"{mean(r['cpu_s'] for r in every):.1f} CPU s.",
    ]
    claim = (__doc__ or "").split("\n\n")[1].replace("\n", " ")
    return publish("copies_speech", claim, bars, {"Mean over seeds": table, "Every seed": every}, notes)


if __name__ == "__main__":
    one_thread()
    sys.exit(main())
