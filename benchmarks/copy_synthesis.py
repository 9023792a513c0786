"""What is lost on the way from a sound to its log-mel spectrogram and back by Griffin and Lim's algorithm.

Claim: of real telephone prompts (16 kHz, three languages, 1.5 to 4 s) the grid that the codec chooses for short sounds, 80 rows and a column every 10 ms, keeps a
PESQ-WB of at least 3.8 and a STOI of at least .99.

The prompts are Debian's asterisk-core-sounds in G.722 (`examples/speech_prompts.py`), read with PyAV; pesq and pystoi are in the benchmarks' own environment.

A vocoder of one's own (`augmint train --vocoder`) beside it, without a bar: `python benchmarks/copy_synthesis.py --lay-out VOICES` writes all other prompts
as WAV, `augmint train VOICES --vocoder --grid 401 --out RUN --time 6m` trains it, and `python benchmarks/copy_synthesis.py --vocoder RUN` measures.

Run: python benchmarks/copy_synthesis.py; a CPU minute. Exit code 1: a bar is missed.
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
from tables import Bar, cpu_seconds, publish

from augmint.core.errors import BadSample
from augmint.core.run import read_json
from augmint.core.types import F32, Codec, Sample
from augmint.data import audio
from augmint.data.audio import Sound
from augmint.data.spectra import Mel
from augmint.modalities.speech import COLUMN_S, MELS, SpeechCodec
from augmint.steps.vocoding import FILE, loaded, verdict_of

sys.path.insert(0, str(ROOT / "examples"))
from speech_prompts import LANGUAGES, fetch

EACH = 7  # prompts of a language
PESQ = """
from pesq import pesq
from pystoi import stoi
def run(data):
    num = sum(k.startswith("real") for k in data)
    pairs = [(data[f"real{i}"], data[f"made{i}"]) for i in range(num)]
    return [[float(pesq(16000, a, b, "wb")), float(stoi(a, b, 16000))] for a, b in pairs]
"""
GRIDS = (
    (MELS, COLUMN_S),
    (MELS, 0.0125),
    (MELS, 0.016),
    (MELS, 0.02),
    (MELS, 0.008),
    (64, COLUMN_S),
    (64, 0.0125),
    (64, 0.016),
    (128, 0.008),
)


def prompts() -> tuple[list[Sound], dict[str, Sound]]:
    """Those that are measured, and all others of .3 to 6 s by name."""
    found, others = list[Sound](), dict[str, Sound]()
    with TemporaryDirectory() as scratch:
        for language, named in fetch(LANGUAGES, Path(scratch), coding="g722").items():
            mine, usual = dict[str, Sound](), list[str]()
            for name, path in sorted(named.items()):
                try:
                    seconds = audio.header(path).seconds
                    if 0.3 <= seconds <= 6.0:
                        mine[name] = audio.read(path)
                    usual += [name] if 1.5 <= seconds <= 4.0 else []
                except BadSample:
                    continue
            chosen = usual[:: max(1, len(usual) // EACH)][:EACH]
            found += [mine[name] for name in chosen]
            others |= {f"{language}-{name.replace('/', '-')}": mine[name] for name in mine if name not in chosen}
    return found, others


def there_and_back(found: list[Sound], vocoder: Path | None) -> Iterator[dict[str, Any]]:
    with Peer("pesq", PESQ, "pystoi") as peer:
        for mels, column_s, speaker in [(*grid, None) for grid in GRIDS] + ([(*GRIDS[0], vocoder)] if vocoder else []):
            start = cpu_seconds()
            made = [again(sound, mels, column_s, speaker) for sound in found]
            spent = (cpu_seconds() - start) / sum(s.seconds for s in found)
            data = {f"real{i}": s.wave[:, 0] for i, s in enumerate(found)}
            data |= {f"made{i}": m for i, m in enumerate(made)}
            scores = np.array(peer(data)[1])
            yield {
                "rows": mels,
                "column_ms": 1000 * column_s,
                "by": "a vocoder" if speaker else "Griffin-Lim",
                "pesq_wb": float(scores[:, 0].mean()),
                "worst": float(scores[:, 0].min()),
                "stoi": float(scores[:, 1].mean()),
                "worst_stoi": float(scores[:, 1].min()),
                "times_real_time": 1 / spent,
            }


def again(sound: Sound, mels: int, column_s: float, vocoder: Path | None) -> F32:
    """Through the codec with as many columns as the sound needs, at the length that it had."""
    columns = Mel(sound.rate, mels, column_s).frames(len(sound.wave))
    loudest = SpeechCodec(sound.rate, mels, columns, column_s, 0.0).levels(sound).max()
    codec: Codec = SpeechCodec(sound.rate, mels, columns, column_s, float(loudest))
    codec = loaded(codec, vocoder) if vocoder else codec
    wave = codec.decode(codec.encode(Sample("", sound))).wave[:, 0]
    return np.pad(wave, (0, max(0, len(sound.wave) - len(wave))))[: len(sound.wave)]


def main() -> int:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        print("copy_synthesis: skipped, nothing was measured: the prompts come as Debian's packages")
        return 0
    parser = argparse.ArgumentParser()
    parser.add_argument("--vocoder", type=Path, help="folder of a vocoder's run to measure too")
    parser.add_argument("--lay-out", type=Path, help="write all other prompts here, and measure nothing")
    args = parser.parse_args()
    found, others = prompts()
    if args.lay_out:
        args.lay_out.mkdir(parents=True)
        for name, sound in others.items():
            (args.lay_out / f"{name}.wav").write_bytes(audio.encode(sound, ".wav"))
        return 0
    try:
        rows = list(there_and_back(found, args.vocoder))
    except NoPeer as reason:
        print(f"copy_synthesis: skipped, nothing was measured: {reason}")
        return 0
    own = rows[0]
    bars = [
        Bar("PESQ-WB, 80 rows of 10 ms", ">= 3.8", f"{own['pesq_wb']:.2f}", own["pesq_wb"] >= 3.8),
        Bar("STOI, 80 rows of 10 ms", ">= .99", f"{own['stoi']:.3f}", own["stoi"] >= 0.99),
    ]
    notes = [
        f"{len(found)} prompts, {sum(s.seconds for s in found):.0f} s in all; 32 rounds. Sounds of more than 1.28 s get longer columns unless a larger grid is asked for."
    ]
    if args.vocoder:
        about = read_json(args.vocoder / FILE)
        notes.append(
            f"The vocoder: size {about['size']}, {about['steps']} steps on {about['voices']} other prompts; {verdict_of(args.vocoder).told}."
        )
    claim = (__doc__ or "").split("\n\n")[1].replace("\n", " ")
    return publish("copy_synthesis", claim, bars, {"Grids": rows}, notes)


if __name__ == "__main__":
    one_thread()
    sys.exit(main())
