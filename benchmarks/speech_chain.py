"""Seven transforms of speech in a row, fused, against audiomentations and pedalboard, and what they cost in quality.

Claim: gain, noise, pitch, stretch, shift, mask and band-pass on 4 s at 16 kHz, one thread, CPU time: with `quality: best` at least twice as
fast as audiomentations, with `fast` three times (aim: five) and twelve times as fast as pedalboard (Rubber Band). Pitch by 2 semitones and
tempo by a tenth lose at most .05 of DNSMOS with `best` and .15 with `fast`.

Real telephone prompts of three languages (Debian's asterisk-core-sounds-{en,es,fr}-g722, fetched with apt-get, 16 kHz). Everything takes turns; the
peers run in an environment of their own. pedalboard is GPL and is used here only. DNSMOS is P.835's of the package speechmos, whose
wheel holds the networks. Run: python benchmarks/speech_chain.py; some minutes. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from peers import NoPeer, Peer, one_thread
from tables import Bar, publish

RATE, SECONDS, CLIPS, ROUNDS = 16_000, 4.0, 30, 9
JUDGED = 12
OPS = [
    {"Gain": {"gain_db": [-6, 6]}},
    {"AddNoise": {"snr_db": [5, 40]}},
    {"PitchShift": {"semitones": [-3, 3]}},
    {"TimeStretch": {"rate": [0.85, 1.15]}},
    {"TimeShift": {"shift_s": [-0.4, 0.4]}},
    {"TimeMask": {"width_frac": [0.0, 0.1]}},
    {"BandPass": {"low_hz": [50, 300], "high_hz": [3000, 7500]}},
]
CHANGES = {"2 semitones down": ("p", -2.0), "2 semitones up": ("p", 2.0), "rate .9": ("r", 0.9), "rate 1.1": ("r", 1.1)}
DECODER = """
import av, numpy as np
from pathlib import Path
def run(data):
    found = {}
    for path in sorted(Path(str(data["folder"])).rglob("*.g722")):
        if path.stat().st_size < 8000 * 3.0 or "silence" in str(path):
            continue
        with av.open(str(path), format="g722") as box:
            x = np.concatenate([f.to_ndarray()[0] for f in box.decode(audio=0)]).astype(np.float32) / 32768
        if 4 * 16000 <= len(x) <= 8 * 16000:
            found[path.relative_to(str(data["folder"])).as_posix().replace("/", "-")] = x
    np.savez(str(data["out"]), **found)
    return len(found)
"""
CHAINS = """
import audiomentations as A
import numpy as np
import pedalboard as P
rng = np.random.default_rng(0)
CHAIN = A.Compose([
    A.Gain(-6, 6, p=1),
    A.AddGaussianSNR(5, 40, p=1),
    A.PitchShift(-3, 3, p=1),
    A.TimeStretch(0.85, 1.15, leave_length_unchanged=False, p=1),
    A.Shift(-0.1, 0.1, rollover=False, p=1),
    A.TimeMask(0.0, 0.1, p=1),
    A.BandPassFilter(p=1),
])
def rubber_band(x):
    x = x * np.float32(10 ** (rng.uniform(-6, 6) / 20))
    x = x + np.float32(np.sqrt(np.square(x).mean()) * 10 ** (-rng.uniform(5, 40) / 20)) * rng.standard_normal(len(x), np.float32)
    x = P.Pedalboard([P.PitchShift(rng.uniform(-3, 3))])(x, 16000)
    x = P.time_stretch(x[None], 16000, stretch_factor=rng.uniform(0.85, 1.15))[0]
    x = np.roll(x, int(rng.uniform(-6400, 6400)))
    start = int(rng.uniform(0, 0.9) * len(x))
    x[start : start + int(rng.uniform(0, 0.1) * len(x))] = 0
    return P.Pedalboard([P.HighpassFilter(rng.uniform(50, 300)), P.LowpassFilter(rng.uniform(3000, 7500))])(x, 16000)
def run(data):
    for x in data["clips"]:
        out = CHAIN(x, sample_rate=16000) if str(data["which"]) == "audiomentations" else rubber_band(x)
    return [str(out.dtype), len(out)]
"""
JUDGE = """
import onnxruntime
_init = onnxruntime.InferenceSession.__init__
def _one_thread(self, *args, **settings):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    _init(self, *args, sess_options=options, **settings)
onnxruntime.InferenceSession.__init__ = _one_thread
import python_stretch
from speechmos import dnsmos
def run(data):
    rows = []
    for x in (data[k] for k in sorted(data) if k.startswith("x")):
        if "change" in data:
            stretch = python_stretch.Signalsmith.Stretch()
            stretch.preset(1, 16000)
            if str(data["change"]) == "p":
                stretch.setTransposeSemitones(float(data["by"]))
            else:
                stretch.timeFactor = float(data["by"])
            x = stretch.process(x[None])[0]
        found = dnsmos.run(np.clip(x, -1, 1).astype(np.float32), 16000)
        rows.append([float(found[k]) for k in ("ovrl_mos", "sig_mos", "bak_mos", "p808_mos")])
    return rows
"""


def prompts(folder: Path) -> dict[str, np.ndarray]:
    """Recordings of 4 to 8 s by name, as many of each language."""
    for language in ("en", "es", "fr"):
        package = f"asterisk-core-sounds-{language}-g722"
        subprocess.run(["apt-get", "download", package], cwd=folder, check=True, capture_output=True)
        (archive,) = folder.glob(f"{package}_*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, folder / language], check=True)
    with Peer("av", DECODER) as decoder:
        decoder({"folder": np.array(str(folder)), "out": np.array(str(folder / "clips.npz"))})
    with np.load(folder / "clips.npz") as file:
        found = dict(file)
    each = [[n for n in found if n.startswith(language)] for language in ("en", "es", "fr")]
    num = CLIPS // 3
    return {n: found[n] for names in each for n in names[:: max(1, len(names) // num)][:num]}


def timed(clips: np.ndarray, peer: Peer) -> tuple[dict[str, Any], dict[str, float]]:
    """Milliseconds a clip, medians over rounds in which everything takes a turn, and the ratios within a round."""
    from augmint.transforms import run_audio
    from augmint.transforms.recipe import Recipe

    recipes = {quality: Recipe.from_dict({"ops": OPS, "quality": quality}) for quality in ("best", "fast")}

    def ours(quality: str) -> float:
        start = time.process_time()
        for i, x in enumerate(clips):
            run_audio.apply(recipes[quality].draw(seed=0, sample_id=str(i)), x[:, None], RATE)
        return time.process_time() - start

    def theirs(which: str) -> float:
        return peer({"clips": clips, "which": np.array(which)})[0]

    spent: dict[str, list[float]] = defaultdict(list)
    for number in range(ROUNDS + 1):  # the first one warms up
        for quality in recipes:
            spent[quality].append(ours(quality))
        for which in ("audiomentations", "pedalboard"):
            spent[which].append(theirs(which))
        if number == 0:
            spent.clear()
    ms = {name: 1000 * median(times) / len(clips) for name, times in spent.items()}
    least = {name: 1000 * min(times) / len(clips) for name, times in spent.items()}
    ratios = {
        f"{peer} / {quality}": median(a / b for a, b in zip(spent[peer], spent[quality], strict=True))
        for quality in recipes
        for peer in ("audiomentations", "pedalboard")
    }
    rows = {
        name: {
            "pipeline": name,
            "ms a clip": ms[name],
            "least": least[name],
            "x real time": 1000 * SECONDS / ms[name],
            "audiomentations / it": median(a / b for a, b in zip(spent["audiomentations"], spent[name], strict=True)),
        }
        for name in spent
    }
    return rows, ratios


def judged(clips: dict[str, np.ndarray], judge: Peer) -> list[dict[str, Any]]:
    """What each change of pitch or tempo costs in DNSMOS, for ours and for signalsmith-stretch (audiomentations' own)."""
    from augmint.transforms import run_audio
    from augmint.transforms.recipe import Recipe

    sounds = list(clips.values())
    before = np.array(judge(_numbered(sounds))[1])
    rows = []
    for title, (kind, by) in CHANGES.items():
        op = {"PitchShift": {"semitones": [by, by]}} if kind == "p" else {"TimeStretch": {"rate": [by, by]}}
        for quality in ("best", "fast"):
            plan = Recipe.from_dict({"ops": [op], "quality": quality}).draw(seed=0, sample_id="a")
            made = [run_audio.apply(plan, x[:, None], RATE)[:, 0] for x in sounds]
            rows.append(_row(title, quality, before, np.array(judge(_numbered(made))[1])))
        peer = judge({**_numbered(sounds), "change": np.array(kind), "by": np.array(by)})[1]
        rows.append(_row(title, "signalsmith", before, np.array(peer)))
    return rows


def _numbered(sounds: list[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"x{i:03d}": x for i, x in enumerate(sounds)}


def _row(title: str, who: str, before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    change = (after - before).mean(axis=0)
    return {
        "change": title,
        "by": who,
        **dict(zip(("OVRL", "SIG", "BAK", "P.808"), change.round(3).tolist(), strict=True)),
    }


def main() -> int:
    try:
        with TemporaryDirectory() as scratch, Peer("audiomentations", CHAINS, "pedalboard", "python-stretch") as peer:
            clips = prompts(Path(scratch))
            rows, ratios = timed(np.stack([x[: round(SECONDS * RATE)] for x in clips.values()]), peer)
            versions = {"audiomentations": peer.version, **peer.versions}
        with Peer("speechmos", JUDGE, "onnxruntime", "librosa", "python-stretch") as judge:
            quality = judged(dict(list(clips.items())[:: CLIPS // JUDGED][:JUDGED]), judge)
            versions["speechmos"] = judge.version
    except (NoPeer, OSError, subprocess.CalledProcessError) as error:
        print(f"nothing to measure with or against: {error}")
        return 1
    bars = [
        Bar(name, f">= {least:g}" + (f" (aim {aim:g})" if aim else ""), f"{ratios[name]:.2f}", ratios[name] >= least)
        for name, least, aim in (
            ("audiomentations / best", 2.0, None),
            ("audiomentations / fast", 3.0, 5.0),
            ("pedalboard / fast", 12.0, None),
        )
    ]
    for name, most in (("best", 0.05), ("fast", 0.15)):
        lost = -float(np.mean([row["OVRL"] for row in quality if row["by"] == name]))
        bars.append(Bar(f"DNSMOS lost by {name}", f"<= {most:g}", f"{lost:.3f}", lost <= most))
    claim = (__doc__ or "").split("\n\n")[1].replace("\n", " ")
    notes = [
        ", ".join(f"{k} {v}" for k, v in versions.items())
        + f"; {CLIPS} clips of {SECONDS:g} s, {ROUNDS} rounds in turn, one thread, medians; drawing the plan is in our times.",
        f"DNSMOS: P.835 (overall, signal, background) and P.808, mean change over {JUDGED} recordings of 4 to 8 s.",
    ]
    return publish("speech_chain", claim, bars, {"Times": list(rows.values()), "Change of DNSMOS": quality}, notes)


if __name__ == "__main__":
    one_thread()
    sys.exit(main())
