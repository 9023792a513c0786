"""Real voices to try on: lays the telephone prompts of three languages out as data sets for augmint.

The Debian packages asterisk-core-sounds-{en,es,fr}-wav hold about 550 recorded prompts a language, one speaker each, 8 kHz; en and fr are
CC-BY-SA-3.0 (es: see its copyright file). They are fetched with apt-get and unpacked; nothing is installed, nothing is kept here.

Two sets are written, and a `pool/` of further prompts beside them:

- `OUT/languages`, with `train/` and `test/`: which language is it? The same prompts are in the same part in all three languages, so that no prompt tells the language.
- `OUT/digits` (no parts): the spoken digits 0 to 9 in three languages, one recording of each: too few to learn from, enough to listen to.

Run: python examples/speech_prompts.py OUT [--train 10] [--test 60] [--pool 120], then
     augmint boost OUT/languages --unlabelled OUT/pool --out OUT/boosted --time 10m
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from augmint.core import rng
from augmint.core.errors import BadSample
from augmint.data import audio

LANGUAGES = ("en", "es", "fr")
LONGEST_S = 1.6
NO_SPEECH = ("silence", "beep", "tone", "ring", "moh", "confbridge-join", "confbridge-leave")


def fetch(languages: tuple[str, ...], folder: Path, *, coding: str = "wav") -> dict[str, dict[str, Path]]:
    """Prompts by language and name (``digits/7``); ``wav`` at 8 kHz or ``g722`` at 16 kHz."""
    found = {}
    for language in languages:
        package = f"asterisk-core-sounds-{language}-{coding}"
        subprocess.run(["apt-get", "download", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = folder.glob(f"{package}_*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, folder / language], check=True)
        files = sorted((folder / language).rglob(f"*.{coding}"))
        top = next(f.parent.parent for f in files if f.match(f"digits/0.{coding}"))
        found[language] = {f.relative_to(top).with_suffix("").as_posix(): f for f in files if f.is_relative_to(top)}
    return found


def short_words(prompts: dict[str, dict[str, Path]]) -> list[str]:
    """Names of what is said in a second or so in every language, shuffled the same way every time."""
    names = sorted(set.intersection(*(set(found) for found in prompts.values())))
    kept = [n for n in names if not any(word in n for word in NO_SPEECH)]
    kept = [n for n in kept if all(_is_short(found[n]) for found in prompts.values())]
    return [kept[i] for i in rng.permutation(rng.key("prompts"), len(kept))]


def _is_short(path: Path) -> bool:
    try:
        return 0.3 <= audio.header(path).seconds <= LONGEST_S
    except BadSample:
        return False


def lay_out(prompts: dict[str, dict[str, Path]], out: Path, *, train: int, test: int, pool: int) -> None:
    names = short_words(prompts)
    parts = {"train": names[:train], "test": names[train : train + test]}
    for language, found in prompts.items():
        for part, chosen in parts.items():
            for name in chosen:
                copy(found[name], out / "languages" / part / language / f"{name.replace('/', '-')}.wav")
        for name in names[train + test :][:pool]:
            copy(found[name], out / "pool" / f"{language}-{name.replace('/', '-')}.wav")
        for digit in range(10):
            copy(found[f"digits/{digit}"], out / "digits" / str(digit) / f"{language}.wav")
    print(
        f"{out}: {len(parts['train'])} prompts a language to train on, {len(parts['test'])} to test, {pool} in the pool"
    )


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=int, default=10)
    parser.add_argument("--test", type=int, default=60)
    parser.add_argument("--pool", type=int, default=120)
    args = parser.parse_args()
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise SystemExit("this takes Debian or Ubuntu: the prompts come as their packages")
    with TemporaryDirectory() as scratch:
        lay_out(fetch(LANGUAGES, Path(scratch)), args.out, train=args.train, test=args.test, pool=args.pool)


if __name__ == "__main__":
    main()
