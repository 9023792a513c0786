"""Spoken digits that the engine makes are read by a classifier that has never heard the voices it learned from.

Claim: trained for at most 60 CPU-minutes on one thread on digits in three languages (real telephone prompts, and espeak-ng voices for variety,
`examples/speech_digits.py`), the engine's digits, turned into sound and back, are read as what they should be by a classifier of other voices in at
least 85 % of cases; recall is at least .4, DNSMOS within .4 of the real ones', and no more of them are copies than unseen reals are.

The GAN never hears the 14 voices of the test part. The classifier (a small CNN) is trained on seven of them, and read are: the other seven ("real"), the
voices that the GAN learned from, and the GAN's. What is real here is mostly espeak-ng: synthetic voices, and said to be. DNSMOS (Microsoft's, in the
package speechmos) is meant for speech of some seconds, so ten digits are put in a row.

Run: python benchmarks/speech_digits.py [--steps 12000] [--side 80] [--run FOLDER]; a run that was stopped goes on. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from peers import ROOT, NoPeer, Peer, one_thread
from tables import RESULTS, Bar, cpu_seconds, publish

import augmint as am
from augmint.core.run import read_json, write_bytes, write_json
from augmint.core.types import F32, I64, Dataset, Sample, likeness, rendered
from augmint.data.audio import Sound
from augmint.evaluation.copies import check
from augmint.evaluation.distances import frechet, prdc
from augmint.evaluation.features import TrainedCnn, trained_cnn_features
from augmint.modalities import get
from augmint.modalities.speech import SpeechCodec
from augmint.transforms.waves import resampled

sys.path.insert(0, str(ROOT / "examples"))
import speech_digits as example

NUM = 400
HEARD = 100  # that DNSMOS listens to
SPEECH = get("speech")

DNSMOS = """
from speechmos import dnsmos
def run(data):
    found = [dnsmos.run(wave, sr=16000) for wave in data.values()]
    return {k: float(np.mean([f[k] for f in found])) for k in ("ovrl_mos", "sig_mos", "bak_mos")}
"""


def learned(args: argparse.Namespace, data: Path, run: Path) -> tuple[Any, float]:
    """The GAN, and the CPU seconds that all starts of its training took."""
    spent = run.with_name(run.name + ".cpu.json")
    before, start = (read_json(spent) if spent.exists() else 0.0), cpu_seconds()
    try:
        gan = am.train(data, out=run, steps=args.steps, grid=args.side)
    finally:
        write_json(spent, before + cpu_seconds() - start)
    return gan, float(read_json(spent))


def encoded(codec: SpeechCodec, sounds: list[Sound]) -> F32:
    return np.stack([codec.encode(Sample("", sound)) for sound in sounds])


def halves(test: Dataset) -> tuple[Dataset, Dataset]:
    """Voices to train the classifier on, and others; no voice in both."""
    voices = [Path(name).stem.split("-")[2] for name in test.ids]
    first = set(sorted(set(voices))[::2])
    parts = [[i for i, v in enumerate(voices) if (v in first) == is_first] for is_first in (True, False)]
    return test.subset(parts[0]), test.subset(parts[1])


def reading(
    classifier: TrainedCnn, who: str, x: F32, y: I64, codec: SpeechCodec, sounds: list[Sound]
) -> dict[str, Any]:
    """How often digits are read right, on the grid and after the way through sound."""
    through, lengths = encoded(codec, sounds), [sound.seconds for sound in sounds]
    return {
        "who": who,
        "n": len(x),
        "read_right": float((classifier.classify(x) == y).mean()),
        "through_sound": float((classifier.classify(through) == y).mean()),
        "seconds_10_50_90_%": " ".join(f"{v:.2f}" for v in np.percentile(lengths, [10, 50, 90])),
    }


def rows_of_ten(sounds: list[Sound], rate: int) -> dict[str, F32]:
    """Ten sounds in a row, a fifth of a second between them, at 16 kHz."""
    gap = np.zeros((rate // 5, 1), np.float32)
    rows = [
        np.concatenate([p for s in sounds[i : i + 10] for p in (s.wave, gap)]) for i in range(0, len(sounds) - 9, 10)
    ]
    return {
        str(i): (resampled(w, 16_000 / rate) if rate != 16_000 else w)[:, 0].clip(-1, 1) for i, w in enumerate(rows)
    }


def mos(sounds: dict[str, list[Sound]], rate: int) -> Iterator[dict[str, Any]]:
    with Peer("speechmos", DNSMOS, "librosa", "onnxruntime") as peer:  # it does not say that it needs them
        for who, some in sounds.items():
            yield {"who": who, **peer(rows_of_ten(some, rate))[1]}


def measured(args: argparse.Namespace, data: Path, run: Path) -> int:
    gan, spent = learned(args, data, run)
    codec, known = gan.codec, gan.known
    mine, others = halves(am.read(data).part("test"))
    classifier = trained_cnn_features(mine.encode(codec), mine.labels, seed=1, steps=1500)
    real_x, real_y = others.encode(codec), others.labels
    y = np.tile(np.arange(10), NUM // 10)
    fake = gan.draw(y, seed=1)
    own = slice(None, None, max(1, len(known.x) // NUM))
    heard = [rendered(codec, one) for one in fake]
    unsteadied = [codec.decode(one) for one in fake]
    voices = [
        reading(classifier, who, x, y, codec, sounds)
        for who, x, y, sounds in (
            ("real: other voices", real_x, real_y, [codec.decode(one) for one in real_x]),
            ("real: the GAN's own", known.x[own], known.y[own], [codec.decode(one) for one in known.x[own]]),
            ("made", fake, y, heard),
            ("made, as decoded", fake, y, unsteadied),
        )
    ]
    held = known.held_x
    some = np.random.default_rng(0).permutation(len(known.x))[: len(held)]
    drawn = gan.draw(known.held_y, seed=2)
    others_made = [rendered(codec, one) for one in drawn]
    x = {
        "made, as rendered": encoded(codec, others_made),
        "made, as drawn": drawn,
        "real": known.x[some],
    }
    features = {who: classifier(part) for who, part in x.items()}
    near = []
    for who, f in features.items():
        found = prdc(classifier(held), f)
        near.append(
            {
                "who": who,
                "frechet": frechet(classifier(held), f),
                **{k: found[k] for k in ("precision", "recall", "coverage")},
            }
        )
    copies = check(encoded(codec, heard), known.x, held, like=likeness(codec))
    chosen = np.random.default_rng(1).permutation(len(others))[:HEARD]
    listened = list(
        mos(
            {
                "real, as it was recorded": [others[int(i)].data for i in chosen],
                "real, through the grid": [codec.decode(x) for x in real_x[chosen]],
                "real, rendered like made ones": [rendered(codec, x) for x in real_x[chosen]],
                "made": heard[:HEARD],
                "made, a second draw": others_made[:HEARD],
                "made, as decoded": unsteadied[:HEARD],
            },
            codec.rate,
        )
    )
    picture = SPEECH.sheet(
        [
            [Sample("", one[0]) for one in part[:10]]
            for part in (
                *np.split(encoded(codec, heard[:60]), 6),
                real_x[np.argsort(real_y, kind="stable")][:: len(real_x) // 10],
            )
        ],
        ["made", *[""] * 5, "real"],
    )[0]
    if args.whole:
        write_bytes(RESULTS / "speech_digits.png", picture)
    right, recall = voices[2]["through_sound"], near[0]["recall"]
    fall = listened[0]["ovrl_mos"] - listened[3]["ovrl_mos"]
    real_rate = copies.real_rate or 0.0
    bars = [
        Bar("made digits read right by a classifier of other voices, through sound", ">= 85 %", f"{right:.1%}", right >= 0.85),
        Bar("recall", ">= .4", f"{recall:.2f}", recall >= 0.4),
        Bar("DNSMOS (OVRL) below recorded digits", "<= .4", f"{fall:.2f}", fall <= 0.4),
        Bar("copies, unseen reals beside", "<= theirs", f"{copies.rate:.1%}, {real_rate:.1%}", copies.rate <= real_rate),
        Bar("CPU minutes of training", "<= 60", f"{spent / 60:.0f}", spent <= 3600),
    ]  # fmt: skip
    notes = [
        f"{len(known.x)} digits to learn from, grid {' x '.join(map(str, codec.grid.shape))}, {args.steps} steps of 32; classifier trained on {len(mine)} digits of other voices.",
        "Pictures (six rows made, one real; 0 to 9): speech_digits.png.",
    ]
    tables = {
        "Read": voices,
        "Near the reals (features of the classifier)": near,
        "DNSMOS": listened,
    }
    return publish("speech_digits", args.claim, bars, tables, notes, store=args.whole)


def main() -> int:
    paragraphs = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(description=paragraphs[0])
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--side", type=int, default=80)
    parser.add_argument("--run", type=Path, help="folder of the run; the digits are beside it")
    args = parser.parse_args()
    one_thread()
    args.whole = (args.steps, args.side) == (12_000, 80)
    args.claim = paragraphs[1].replace("\n", " ")
    if any(shutil.which(program) is None for program in ("apt-get", "dpkg-deb", "espeak-ng")):
        print("speech_digits: skipped, nothing was measured: it takes Debian's packages and espeak-ng")
        return 0
    with TemporaryDirectory() as scratch:
        run = args.run or Path(scratch) / "run"
        data = run.with_name(run.name + ".data")
        if not data.exists():
            example.lay_out(data)
        try:
            return measured(args, data, run)
        except NoPeer as reason:
            print(f"speech_digits: skipped, nothing was measured: {reason}")
            return 0


if __name__ == "__main__":
    sys.exit(main())
