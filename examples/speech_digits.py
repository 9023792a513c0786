"""Spoken digits to generate from: real telephone prompts of three languages, and synthetic voices for variety.

Of each digit there is one real recording a language (Debian's asterisk-core-sounds-{en,es,fr}-g722, see speech_prompts.py). The variety comes
from espeak-ng, a speech synthesiser (GPL; run as a program, `apt-get install espeak-ng`; nothing of it is part of augmint): its voices are
*not* real speech, files of theirs are called `espeak-...`, and what is shown with them is that the engine works, not how well it does on people.

OUT gets `train/` (28 synthetic voices a language, each digit twice, and the prompts) and `test/` (14 other voices), class folders 0 to 9,
16 kHz, cut to the word and brought to one level.

Run: pip install 'augmint[speech]'; python examples/speech_digits.py OUT, then
     augmint train OUT --out digits.run --time 60m
     augmint generate digits.run -n 100 --out spoken
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from speech_prompts import LANGUAGES, fetch

from augmint.core import rng
from augmint.data import audio
from augmint.data.audio import Sound
from augmint.transforms.waves import resampled

RATE = 16_000
LEVEL_DB = -23.0
ACCENTS = {
    "en": ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029"),
    "es": ("es", "es-419"),
    "fr": ("fr-fr", "fr-be", "fr-ch"),
}
TRAIN = (
    *(
        "m1",
        "m2",
        "m3",
        "m4",
        "m5",
        "m6",
        "m7",
        "f1",
        "f2",
        "f4",
        "f5",
        "Alicia",
        "Andrea",
        "belinda",
        "linda",
        "steph",
    ),
    *("Andy", "david", "Michael", "john", "edward", "Henrique", "Hugo", "Marco", "Diogo", "Gene", "paul", "robert"),
)
TEST = ("m8", "f3", "Annie", "anika", "Alex", "Mike", "adam", "steph2", "Denis", "travis", "victor", "Lee", "max", "ed")


def espeak(voice: str, *, speed: int, pitch: int, text: str, folder: Path) -> Sound:
    """``speed`` in words a minute, ``pitch`` 0 to 99."""
    path = folder / "said.wav"
    subprocess.run(["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "-w", path, text], check=True)
    said = audio.read(path)
    return Sound(resampled(said.wave, RATE / said.rate), RATE)


def word(sound: Sound) -> Sound:
    """Without the silence around it (40 dB below its loudest 10 ms, and 20 ms more), at -23 dB of full scale."""
    wave, part = sound.wave[:, 0], sound.rate // 100
    level = np.convolve(np.square(wave), np.ones(part) / part, "same")
    heard = np.flatnonzero(level > level.max() * 1e-4)
    wave = wave[max(0, heard[0] - 2 * part) : heard[-1] + 2 * part]
    wave = wave * (10 ** (LEVEL_DB / 20) / np.sqrt(np.square(wave).mean()))
    return Sound(np.clip(wave, -1, 1)[:, None].astype(np.float32), sound.rate)


def keep(sound: Sound, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(audio.encode(word(sound), ".wav"))


def lay_out(out: Path) -> None:
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for language, prompts in fetch(LANGUAGES, folder, coding="g722").items():
            for digit in range(10):
                keep(audio.read(prompts[f"digits/{digit}"]), out / "train" / str(digit) / f"prompt-{language}.wav")
            for part, voices in (("train", TRAIN), ("test", TEST)):
                for voice in voices:
                    for take in range(2):
                        for digit in range(10):
                            u = rng.uniform(rng.key("espeak", language, voice, take, digit), np.arange(3))
                            accent = ACCENTS[language][int(u[0] * len(ACCENTS[language]))]
                            speed, pitch = int(130 + 60 * u[1]), int(25 + 50 * u[2])
                            said = espeak(f"{accent}+{voice}", speed=speed, pitch=pitch, text=str(digit), folder=folder)
                            keep(said, out / part / str(digit) / f"espeak-{language}-{voice}-{take}.wav")
    print(
        f"{out}: {len(list(out.rglob('train/*/*.wav')))} digits to learn from, {len(list(out.rglob('test/*/*.wav')))} to test"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    for program, package in (
        ("apt-get", "Debian or Ubuntu"),
        ("dpkg-deb", "Debian or Ubuntu"),
        ("espeak-ng", "apt-get install espeak-ng"),
    ):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is not here: this takes {package}")
    lay_out(args.out)


if __name__ == "__main__":
    main()
