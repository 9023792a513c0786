"""A vocoder of one's own: trained on recorded voices, held against Griffin and Lim's algorithm on voices kept out, and used where it has won."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from augmint.core.config import TrainVerb
from augmint.core.errors import BadSample, UserError
from augmint.core.run import Run, read_json, write_json
from augmint.core.types import F32, Codec, Dataset
from augmint.data.spectra import Mel, Speaker
from augmint.models import sizes
from augmint.models.blocks import count_weights
from augmint.models.vocoder import SIZES, networks
from augmint.steps import starting
from augmint.steps.inputs import fingerprints
from augmint.steps.results import Progress, Result
from augmint.steps.voices import kept_out, unreadable
from augmint.training import checkpoint
from augmint.training.choose import seconds_of
from augmint.training.loop import Figures
from augmint.training.vocoder import ALONE, Pair, Pieces, Schedule, State, apart, one_step, train

FILE, FOLDER = "vocoder.json", "vocoder"
JUDGED_S = (0.008, 0.025, 0.1)
"""Windows of the judge: others than those of the training, of the mel spectrogram (40 ms), and so of Griffin and Lim's iterations."""
HEARD_DB = 60.0
"""Below the loudest cell: softer ones do not count in the distance between mel spectrograms."""
_LEAST_HELD, _MOST_HELD = 3, 200
_LEAST_S = 5.0
_FEWEST_STEPS = 20
_SAME = 0.01
"""Columns may differ in length by this part: what rounding makes of them."""


@runtime_checkable
class SoundCodec(Codec, Protocol):
    """A codec whose grid is a mel spectrogram."""

    @property
    def mel(self) -> Mel: ...

    @property
    def column_s(self) -> float: ...

    def pair(self, sound: Any) -> Pair: ...

    def spoken(self, speak: Speaker) -> SoundCodec: ...


@dataclass(frozen=True)
class Verdict:
    """Both ways back from log-mel frames, on recordings kept out.

    Attributes:
        spectra, mels: means of the vocoder and of Griffin and Lim's algorithm: the multi-resolution distance between spectra, and dB
            between mel spectrograms.
        ci95: of the paired difference in ``spectra``, vocoder less Griffin-Lim.
    """

    spectra: tuple[float, float]
    mels: tuple[float, float]
    ci95: tuple[float, float]
    held_out: int

    @property
    def wins(self) -> bool:
        """By spectra beyond doubt, and in mels too."""
        return self.ci95[1] < 0 and self.mels[0] <= self.mels[1]

    @property
    def told(self) -> str:
        (a, b), (c, d), (low, high) = self.spectra, self.mels, self.ci95
        figures = (
            f"on {self.held_out} recordings kept out, {a:.3f} against {b:.3f} between spectra (difference {low:+.3f} to {high:+.3f}) "
            f"and {c:.2f} against {d:.2f} dB between mels; less is better"
        )
        if self.wins:
            return f"the vocoder beats Griffin-Lim: {figures}; it will be used"
        return f"the vocoder does not beat Griffin-Lim: {figures}; Griffin-Lim stays"

    def to_dict(self) -> dict[str, Any]:
        return {
            "wins": self.wins,
            "spectra": {"vocoder": self.spectra[0], "griffin_lim": self.spectra[1], "ci95": list(self.ci95)},
            "mels_db": {"vocoder": self.mels[0], "griffin_lim": self.mels[1]},
            "held_out": self.held_out,
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Verdict:
        spectra, mels = ((found[k]["vocoder"], found[k]["griffin_lim"]) for k in ("spectra", "mels_db"))
        low, high = found["spectra"]["ci95"]
        return cls(spectra, mels, (low, high), found["held_out"])


@dataclass(frozen=True)
class Ready:
    """All that `train_vocoder` needs to begin.

    Attributes:
        voices: the recordings; pairs: frames and waves of those that can be heard.
        codec: whose sounds the vocoder is for.
    """

    voices: Dataset
    pairs: Sequence[Pair]
    codec: SoundCodec
    size: str
    device: str


def run_vocoder(
    out: Path,
    samples: Dataset,
    voices: Dataset,
    source: tuple[Path, Codec] | None,
    chosen: TrainVerb,
    *,
    stop: object,
    progress: Progress,
) -> Result:
    """The run in ``out``, or what is told of it where it is done.

    Args:
        samples: all that was given; voices: those of it that can be used, as `voices.recordings` has them.
        source: folder and codec of the GAN whose sounds the vocoder is for; with none, it is for the recordings' own grid.

    Raises:
        Refused: ``out`` holds a run with other settings or data.
        UserError, Interrupted: see `get_ready` and `train_vocoder`.
    """
    names = ("vocoder", "seed", "time", "steps", "grid", "size", "device")
    settings, inputs = {name: getattr(chosen, name) for name in names}, fingerprints(samples, None)
    if source is not None:
        inputs["init"] = starting.fingerprint(source[0])
    # A test part is nobody's to learn from. What cannot be used is told before the run claims its folder.
    mine = voices.with_refs([r for r in voices.refs if r.part in (None, "train")])
    codec = source[1] if source is not None else samples.modality.fit(voices, size=chosen.grid)
    ready = None if Run(out).is_done else get_ready(mine, codec, chosen)
    run = Run.open(out, verb="train", config=settings, inputs=inputs)
    if ready is None:
        told = ["this vocoder is trained already", *lines(run.path, verdict_of(run.path), voices)]
        return Result(told, read_json(run / FILE), run.path)
    return train_vocoder(run, ready, chosen, stop=stop, progress=progress)


def get_ready(voices: Dataset, codec: Codec, config: TrainVerb) -> Ready:
    """Read ``voices``, as `voices.recordings` gives them.

    Raises:
        UserError: there is too little to hear, or no such codec, size or device.
    """
    if not isinstance(codec, SoundCodec):
        raise UserError("the run given to --init makes no sounds", mend="give a run on sounds, or leave --init out")
    device = sizes.device(config.device)
    size = config.size or ("nano" if device == "cpu" else "small")
    if size not in SIZES:
        raise UserError(f"there is no vocoder of the size '{size}'", mend=f"give --size {' or '.join(SIZES)}")
    return Ready(voices, _pairs(voices, codec), codec, size, device)


def train_vocoder(run: Run, ready: Ready, config: TrainVerb, *, stop: object, progress: Progress) -> Result:
    """Train, judge, and write ``vocoder.json`` and ``vocoder/`` into the run.

    Raises:
        UserError: the training diverged.
        Interrupted: it was stopped; the same command goes on.
    """
    started = time.perf_counter()
    pairs, codec, mel = ready.pairs, ready.codec, ready.codec.mel
    mine, held = kept_out(len(pairs), "vocoder", config.seed, least=_LEAST_HELD)
    pieces = Pieces([pairs[i] for i in mine], mel, config.seed)
    state = State.fresh(mel, ready.size, config.seed, ready.device)
    run.choose("device", ready.device, "as set" if config.device != "auto" else "a GPU where there is one")
    weights = f"{count_weights(state.net):,} + {count_weights(state.verifier):,} weights"
    run.choose("size", ready.size, f"{'as set' if config.size else 'by the device'}; {weights}")
    if config.steps is None and run.chosen("steps") is None:
        per_step = _seconds_per_step(state, pieces)
        num = max(_FEWEST_STEPS, round(0.92 * config.time / per_step))
        run.choose("steps", num, f"{config.time:.0f} s at {1000 * per_step:.0f} ms a step, {_FEWEST_STEPS} at least")
    run.choose("steps", config.steps, "as set")
    schedule = Schedule(int(run.chosen("steps")), SIZES[ready.size].lr)
    state.load(run / "checkpoints")
    if state.step:
        run.log(f"resumed at step {state.step}")
        progress({"stage": "train", "note": f"step {state.step} of {schedule.steps} was saved: going on from there"})

    def row(figures: Figures) -> None:
        progress({"stage": "train", "done": state.step, "total": schedule.steps, "figures": figures})

    train(state, pieces, schedule, checkpoints=run / "checkpoints", stop=stop, on_row=row)
    net = state.net.cpu().eval()
    verdict = judged(net.wave, codec, [pairs[i] for i in held[:_MOST_HELD]])
    checkpoint.save_folder(run / FOLDER, {"net": net.state_dict()}, {"size": ready.size})
    about = {"size": ready.size, **facts(codec), "steps": schedule.steps, "voices": len(mine), **verdict.to_dict()}
    write_json(run / FILE, about)
    run.update(status="done", timings={"train_s": time.perf_counter() - started})
    return Result(lines(run.path, verdict, ready.voices), about, run.path)


def lines(folder: Path, verdict: Verdict, voices: Dataset) -> list[str]:
    """What a trained vocoder is told by."""
    use = [f"to use it: augmint generate RUN --vocoder {folder} -n 100 --out OUT"] if verdict.wins else []
    more = [] if verdict.wins else ["more --time, more recordings or a GPU may change that"]
    return [verdict.told, *more, *unreadable(voices), *use]


def verdict_of(folder: Path) -> Verdict:
    """What was found when the vocoder of a run was trained."""
    return Verdict.from_dict(read_json(folder / FILE))


def judged(speak: Speaker, codec: SoundCodec, pairs: Sequence[Pair]) -> Verdict:
    """Both ways back from each recording's frames, against the recording itself.

    The distance between spectra is that of `training.vocoder.apart`, through `JUDGED_S`. Levels alone are Griffin and Lim's strength, and
    tell nothing of phases that do not go together; longer and shorter windows do: a buzz fills the gaps between harmonics, and smears clicks.
    Sample by sample nothing can be compared, for no spectrogram tells where a wave begins.
    """
    from scipy.stats import ttest_rel

    rows = []
    for levels, wave in pairs:
        ways = (speak(levels, len(wave)), codec.mel.wave(levels, len(wave)))
        rows.append([[_spectra(codec.mel, wave, made), _mels(codec.mel, wave, made)] for made in ways])
    found = np.array(rows)  # recordings, ways, measures
    (spectra, mels), (theirs, their_mels) = found.mean(axis=0).tolist()
    low, high = ttest_rel(found[:, 0, 0], found[:, 1, 0]).confidence_interval(0.95)
    return Verdict((spectra, theirs), (mels, their_mels), (float(low), float(high)), len(rows))


def _spectra(mel: Mel, real: F32, made: F32) -> float:
    a, b = (torch.from_numpy(np.ascontiguousarray(wave))[None] for wave in (real, made))
    return float(apart(a, b, mel.rate, JUDGED_S))


def _mels(mel: Mel, real: F32, made: F32) -> float:
    a, b = mel.levels(real), mel.levels(made)
    lowest = a.max() - HEARD_DB
    return float(np.abs(np.maximum(a, lowest) - np.maximum(b, lowest)).mean())


# -- using it ----------------------------------------------------------------------------------------------------------


def speaking(codec: Codec, folder: Path) -> tuple[Codec, str]:
    """The codec with the vocoder of a run where that has won, else as it is; and a line for people.

    Raises:
        UserError: see `loaded`.
    """
    spoken = loaded(codec, folder)
    verdict = verdict_of(folder)
    return spoken if verdict.wins else codec, verdict.told


def loaded(codec: Codec, folder: Path) -> Codec:
    """The codec with the vocoder of a run, whatever was found of it.

    Raises:
        UserError: there is no vocoder, or it is for another kind of data or another grid.
    """
    if not (folder / FILE).is_file():
        raise UserError(
            "there is no trained vocoder here", where=folder, mend="train one: augmint train VOICES --vocoder --out RUN"
        )
    if not isinstance(codec, SoundCodec):
        raise UserError("a vocoder makes sounds, and this data is of another kind", mend="leave --vocoder out")
    about = read_json(folder / FILE)
    _check_grid(about, facts(codec), codec, folder)
    net, _ = networks(codec.mel, about["size"], 0)
    checkpoint.load_into(net, folder / FOLDER, "net")
    return codec.spoken(net.eval().wave)


def fingerprint(folder: Path) -> str:
    """SHA-256 over a vocoder's weights and its verdict."""
    files = (folder / FILE, folder / FOLDER / "net.safetensors")
    return sha256(b"".join(file.read_bytes() for file in files if file.is_file())).hexdigest()


def facts(codec: SoundCodec) -> dict[str, Any]:
    """What of its grid a vocoder is bound to."""
    mel = codec.mel
    return {"rate": mel.rate, "rows": mel.num_mels, "hop": mel.hop, "column_s": codec.column_s}


def _check_grid(theirs: Mapping[str, Any], ours: Mapping[str, Any], codec: Codec, folder: Path) -> None:
    told = {"rate": "{} Hz", "rows": "{} rows", "hop": "{} samples between frames"}
    other = [name for name in told if theirs[name] != ours[name]]
    if abs(theirs["column_s"] / ours["column_s"] - 1) > _SAME:
        told, other = {**told, "column_s": "columns of {:.4f} s"}, [*other, "column_s"]
    if other:
        a, b = (", ".join(told[name].format(which[name]) for name in other) for which in (theirs, ours))
        raise UserError(
            f"this vocoder is for another grid: {a}, where the samples have {b}",
            where=folder,
            mend=f"train one for it: augmint train VOICES --vocoder --grid {max(codec.grid.shape)}, or with --init RUN, whose grid is taken",
        )


# -- inside ------------------------------------------------------------------------------------------------------------


def _pairs(voices: Dataset, codec: SoundCodec) -> list[Pair]:
    """Frames and waves of all recordings that can be read and heard."""
    found = []
    for i in range(len(voices)):
        try:
            levels, wave = codec.pair(voices[i].data)
        except BadSample:
            continue
        if levels.max() > -HEARD_DB:
            found.append((levels, wave))
    seconds = sum(len(wave) for _, wave in found) / codec.mel.rate
    if seconds < _LEAST_S or len(found) < 2 * _LEAST_HELD:
        raise UserError(
            f"{len(found)} recordings with {seconds:.1f} s of sound are too little for a vocoder",
            where=voices.root,
            mend=f"give {_LEAST_S:.0f} s at least; some minutes of speech are better",
        )
    return found


def _seconds_per_step(state: State, pieces: Pieces) -> float:
    """On a copy: steps without the verifier and with it, in their shares."""
    trial, long = copy.deepcopy(state), Schedule(1000, 0.0)

    def step(number: int) -> float:
        trial.step = number
        return seconds_of(lambda: one_step(trial, pieces, long))

    alone, both = (min(step(number) for _ in range(3)) for number in (0, long.steps - 1))
    return ALONE * alone + (1 - ALONE) * both
