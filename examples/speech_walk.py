"""Three walks of three minutes each on two cores: augmenting, cleaning and generating speech. Every command is shown before it runs.

The speech is real: telephone prompts of three languages, fetched with apt-get (see speech_prompts.py). Where there is no apt-get, a buzz through
two resonators stands in for it, a synthetic control that shows that the commands work and nothing else: its files are called `made-...`.

Run: python examples/speech_walk.py augment OUT
     python examples/speech_walk.py clean OUT
     python examples/speech_walk.py generate OUT
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy.signal import lfilter
from speech_prompts import LANGUAGES, NO_SPEECH, copy, fetch

from augmint import cli
from augmint.core.errors import BadSample
from augmint.core.types import F32
from augmint.data import audio
from augmint.data.audio import Sound

Speech = Mapping[str, Mapping[str, Path]]
"""Files by language and what is said in them; of made ones, by vowel and number."""
RATE = 8000
VOWELS = {"ah": (700, 1200), "ee": (300, 2300), "oo": (350, 800)}


def augmint(*words: object) -> None:
    """Run a command as one types it; the walk ends where it fails."""
    given = [str(word) for word in words]
    print(f"\n$ augmint {shlex.join(given)}", flush=True)
    if cli.main(given):
        sys.exit(f"the walk ends here: augmint {given[0]} failed")


def speech(folder: Path) -> Speech:
    """Real prompts, or the synthetic control where they cannot be had."""
    if shutil.which("apt-get") and shutil.which("dpkg-deb"):
        found = fetch(LANGUAGES, folder)
        return {language: {n: p for n, p in all_.items() if _is_speech(n, p)} for language, all_ in found.items()}
    print("no apt-get here: a made voice stands in for the prompts, a synthetic control")
    rng = np.random.default_rng(0)
    made: dict[str, dict[str, Path]] = {vowel: {} for vowel in VOWELS}
    for vowel, formants in VOWELS.items():
        for i in range(60):
            path = folder / vowel / f"made-{i:02d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(audio.encode(Sound(buzz(formants, rng)[:, None], RATE), ".wav"))
            made[vowel][path.stem] = path
    return made


def _is_speech(name: str, path: Path) -> bool:
    try:
        return not any(word in name for word in NO_SPEECH) and audio.header(path).seconds >= 0.3
    except BadSample:
        return False


def buzz(formants: tuple[int, int], rng: np.random.Generator) -> F32:
    """Three to eight syllables of one vowel with pauses between, each at a pitch that falls: pulses through two resonators."""
    parts = []
    for _ in range(rng.integers(3, 9)):
        size, f0 = round(rng.uniform(0.12, 0.3) * RATE), rng.uniform(90, 220)
        wave = np.diff(np.floor(np.cumsum(np.linspace(f0, 0.8 * f0, size) / RATE)), prepend=0.0)
        for hz in formants:
            wave = lfilter([1.0], [1.0, -1.94 * np.cos(2 * np.pi * hz / RATE), 0.94], wave)
        parts += [0.4 * wave / np.abs(wave).max() * np.hanning(size), np.zeros(round(rng.uniform(0.04, 0.15) * RATE))]
    return np.concatenate(parts).astype(np.float32)


def seconds(path: Path) -> float:
    return audio.header(path).seconds


# --- the walks -------------------------------------------------------------------------------------------------------


def walk_augment(found: Speech, out: Path) -> None:
    """Twenty short recordings a class, with the time of what is said in each; four variants of all."""
    data = out / "words"
    for language, prompts in found.items():
        for name in sorted(prompts, key=lambda n: seconds(prompts[n]))[:20]:
            path = data / language / f"{name.replace('/', '-')}.wav"
            copy(prompts[name], path)
            write_times(path)
    augmint("inspect", data, "--out", out / "words.html")
    augmint("preview", data, "--recipe", "strong", "--out", out / "strong.html")
    augmint("augment", data, "--out", out / "more", "--variants", 4, "--recipe", "medium")
    augmint("replay", out / "more" / "manifest.jsonl")
    one = min((out / "more").rglob("*.aug0.csv"))
    before = one.with_name(one.name.replace(".aug0", ""))
    print(f"\nthe label went along: {before.name} says {told(before)} s, {one.name} {told(one)} s")
    print(f"to hear: {out / 'strong.html'} (each op from low to high), and the variants in {out / 'more'}")


def write_times(path: Path) -> None:
    """Beside a sound: from when to when it is within 30 dB of its loudest 10 ms."""
    sound = audio.read(path)
    size = sound.rate // 100
    frames = sound.wave[: len(sound.wave) // size * size, 0].reshape(-1, size)
    power = np.square(frames, dtype=np.float64).mean(1)
    loud = np.flatnonzero(power > power.max() / 1000)
    path.with_suffix(".csv").write_text(f"start,end,word\n{loud[0] / 100},{(loud[-1] + 1) / 100},{path.stem}\n")


def told(path: Path) -> str:
    return " to ".join(f"{float(t):.3f}" for t in path.read_text().splitlines()[1].split(",")[:2])


def walk_clean(found: Speech, out: Path) -> None:
    """Sentences, made noisy here so that one can tell what cleaning does to the speech and to the pauses; then cleaned."""
    clean, noisy = out / "clean", out / "noisy"
    for language, prompts in found.items():
        long = [n for n in sorted(prompts) if 1.5 <= seconds(prompts[n]) <= 8]
        for name in long[:: max(1, len(long) // 10)][:10]:
            copy(prompts[name], clean / f"{language}-{name.replace('/', '-')}.wav")
    recipe = out / "noise.yaml"
    recipe.write_text("ops:\n  - AddNoise: {snr_db: [5, 10], colour: pink}\n")
    augmint("augment", clean, "--out", out / "made-noisy", "--variants", 1, "--recipe", recipe)
    for path in (out / "made-noisy").glob("*.aug0.wav"):
        copy(path, noisy / path.name.replace(".aug0", ""))
    augmint("preview", noisy, "--recipe", "enhance", "--out", out / "enhance.html")
    augmint("augment", noisy, "--out", out / "cleaned", "--variants", 1, "--recipe", "enhance")
    changes = np.array([change(p, noisy / p.name, out / "cleaned" / f"{p.stem}.aug0.wav") for p in clean.iterdir()])
    spoken, paused = changes.mean(0)
    print(f"\n{len(changes)} recordings: where somebody speaks {spoken:+.1f} dB, in the pauses {paused:+.1f} dB")
    print(f"to hear: {out / 'enhance.html'}, or the same name in {noisy} and {out / 'cleaned'}")


def change(clean: Path, before: Path, after: Path) -> tuple[float, float]:
    """dB between two files in frames of 20 ms where the clean one has speech, and where it has next to none."""
    power = [framed(path) for path in (clean, before, after)]
    level = power[0] / power[0].max()
    where = (level > 1e-2, level < 1e-5)
    return tuple(float(10 * np.log10(power[2][w].mean() / power[1][w].mean())) if w.any() else 0.0 for w in where)  # type: ignore[return-value]


def framed(path: Path) -> np.ndarray:
    """Power of each 20 ms."""
    sound = audio.read(path)
    size = sound.rate // 50
    return np.square(sound.wave[: len(sound.wave) // size * size, 0].reshape(-1, size), dtype=np.float64).mean(1)


def walk_generate(found: Speech, out: Path) -> None:
    """Short words by language; a minute and a half of training makes sounds of a voice's pitch and length, not yet words."""
    data = out / "short"
    for language, prompts in found.items():
        for name in sorted(prompts, key=lambda n: seconds(prompts[n]))[:60]:
            copy(prompts[name], data / language / f"{name.replace('/', '-')}.wav")
    augmint("train", data, "--out", out / "short.run", "--time", "90s", "--grid", 48)
    augmint("generate", out / "short.run", "-n", 30, "--out", out / "spoken")
    print(f"\nto hear: {out / 'short.run' / 'report.html'}, and the kept ones in {out / 'spoken'}")
    print("an hour on digits, of which there are more: examples/speech_digits.py")


WALKS = {"augment": walk_augment, "clean": walk_clean, "generate": walk_generate}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("walk", choices=WALKS)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch:
        WALKS[args.walk](speech(Path(scratch)), args.out)


if __name__ == "__main__":
    main()
