"""Speech: WAV, FLAC, Ogg, Opus and MP3 files (others with an extra) of a few seconds, one channel or many, at any sample rate."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from html import escape
from math import ceil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from augmint.core.errors import BadSample, UserError
from augmint.core.provenance import SOURCE_TYPES, origin_of
from augmint.core.types import F32, Dataset, Grid, Likeness, Ref, Sample, Scan
from augmint.data import audio, contact, images, layout, timed
from augmint.data.audio import SUFFIXES, Sound
from augmint.data.images import U8
from augmint.data.sink import FolderSink
from augmint.data.spectra import LOWEST_DB, Mel, Speaker, to_db
from augmint.data.split import box_means
from augmint.data.timed import Timed, joined
from augmint.transforms import run_mix_audio
from augmint.transforms.channel import VTLP
from augmint.transforms.choice import OneOf, SomeOf
from augmint.transforms.cleaning import Denoise, SpeakerBoost
from augmint.transforms.mix import Mix
from augmint.transforms.op import Op, Params
from augmint.transforms.plan import SOUND_OPS, SOUNDS, Drawn, Plan
from augmint.transforms.recipe import Recipe
from augmint.transforms.run_mix_audio import Heard
from augmint.transforms.signal import AddNoise, BandPass, FreqMask, Gain, Peaking, PolarityInvert, Reverb, TimeMask
from augmint.transforms.temporal import PitchShift, TimeShift, TimeStretch, along
from augmint.transforms.waves import resampled

if TYPE_CHECKING:
    from torch import Tensor

    from augmint.core.rng import F64
    from augmint.transforms.run_mel import MelGrid

FASTEST = 16_000
"""Hz. What is heard above 8 kHz costs half of the grid and tells words apart hardly ever."""
MELS = 80
COLUMN_S = 0.010
"""80 rows and 10 ms: with fewer or longer ones Griffin and Lim's algorithm loses what was said (docs/log.md)."""
LONGEST_HOP_S = 0.016
LONGEST = 128  # columns, unless a size is asked for
LONGEST_S = 4.0
SMALLEST = 4
RANGE_DB = 80.0
_MEASURED = 200  # sounds that the levels of a data set are taken from
_HEARD = 0.3  # on the grid above silence, 12 dB: a generator never makes quite nothing (docs/log.md)
_STEADY_S = 0.020
"""Of what networks make, detail from column to column that is quicker than this is noise: their verifier does not see it, while of real
sounds nothing is lost with it (docs/log.md)."""
_SHOWN_S = 4.0
_SPOKEN = ("transcript", "normalized", "transcription", "text", "sentence")
_SCANNED = ("seconds", "rate", "channels", "format", "coding", "bytes", "origin", "timed")


def _sound_ops(strength: float) -> tuple[Op, ...]:
    s = strength
    return (
        TimeStretch(rate=(1 / (1 + 0.3 * s), 1 + 0.3 * s)),
        PitchShift(semitones=(-4 * s, 4 * s)),
        TimeShift(shift_s=(-0.1 * s, 0.1 * s)),
        Gain(gain_db=(-12 * s, 6 * s)),
        BandPass(low_hz=(30, 30 + 370 * s), high_hz=(7800 - 4800 * s, 7800)),
        Peaking(gain_db=(-15 * s, 15 * s)),
        FreqMask(width_frac=(0, 0.3 * s)),
        Reverb(rt60_s=(0.1, 0.1 + 0.6 * s), drr_db=(20 - 18 * s, 20)),
        VTLP(alpha=(1 / (1 + 0.15 * s), 1 + 0.15 * s)),
        AddNoise(snr_db=(30 - 25 * s, 40)),
        AddNoise(snr_db=(30 - 25 * s, 40), colour="pink"),
        TimeMask(width_frac=(0, 0.2 * s)),
    )


PRESETS: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "light",
            (
                TimeStretch(rate=(0.95, 1.05)),
                PitchShift(semitones=(-0.5, 0.5)),
                Gain(gain_db=(-3, 2)),
                AddNoise(snr_db=(30, 45)),
            ),
        ),
        Recipe(
            "medium",
            (
                TimeStretch(rate=(0.88, 1.14)),
                PitchShift(semitones=(-1.5, 1.5)),
                TimeShift(shift_s=(-0.04, 0.04)),
                Gain(gain_db=(-6, 3)),
                PolarityInvert(),
                BandPass(p=0.3),
                AddNoise(snr_db=(15, 40), p=0.7),
            ),
        ),
        Recipe(
            "strong",
            (
                TimeStretch(rate=(0.8, 1.25)),
                PitchShift(semitones=(-3, 3)),
                TimeShift(shift_s=(-0.08, 0.08)),
                Gain(gain_db=(-12, 6)),
                PolarityInvert(),
                BandPass(low_hz=(50, 500), high_hz=(2500, 7500), p=0.5),
                Peaking(p=0.3),
                FreqMask(width_frac=(0.0, 0.2), p=0.5),
                Reverb(rt60_s=(0.1, 0.7), drr_db=(0, 12), p=0.4),
                VTLP(alpha=(0.88, 1.14), p=0.4),
                OneOf(ops=(AddNoise(snr_db=(3, 30)), AddNoise(snr_db=(3, 30), colour="pink")), p=0.8),
                TimeMask(width_frac=(0.0, 0.15), p=0.5),
            ),
        ),
        # TrivialAugment and RandAugment (recipe.py has the papers), with what sound has.
        Recipe("trivial", (OneOf(ops=_sound_ops(1.0), p=0.9),)),
        Recipe("rand", (SomeOf(ops=_sound_ops(0.6), num=2),)),
        # The same for every sample, as far as its noise is: what is there is cleaned.
        Recipe("enhance", (Denoise(), SpeakerBoost())),
    )
}


class SpeechModality:
    """Everything about speech: `Sample.data` is a `Sound`."""

    name = "speech"
    suffixes = SUFFIXES
    kind = SOUNDS
    ops = tuple(SOUND_OPS)
    presets = PRESETS
    sizes = ("seconds", "rate", "channels", "coding")
    lasting = (*_SPOKEN, "speaker", "language")

    def scan(self, root: Path, *, strict: bool = False) -> Scan:
        """Class folders, a flat folder or metadata, as `layout.scan` has it, and the head of each file.

        Every ``Ref.meta`` gets ``seconds, rate, channels, format, coding, bytes`` and ``origin``; a file whose head or whose time
        labels are broken is skipped and named.
        """
        scanned = layout.scan(root, SUFFIXES, beside=timed.SUFFIXES, strict=strict)
        found = layout.examined(scanned, _with_header, root=root, strict=strict)
        return replace(found, notes=(*found.notes, *_told_of_labels(found.refs), *_mixed(found.refs)))

    def load(self, ref: Ref) -> Sample:
        """Decode one sound; see `audio.read` for what may be in the file and what comes out. With the labels beside it (``timed``)."""
        sound, origin = audio.read(ref.path), ref.meta.get("origin", "real")
        labels = tuple(_labels(ref, sound.seconds))
        return Sample(ref.id, sound, ref.label, {"timed": labels} if labels else {}, ref.meta, origin)

    def transform(self, plan: Plan, sample: Sample, load: Callable[[str], Sample]) -> Sample:
        """What a plan makes of one sound, with its own rate and channels, and of its labels; ``meta`` gets ``soft_label`` where classes
        are mixed."""
        partners: dict[str, Sample] = {"": sample}

        def heard(name: str) -> Heard:
            partners[name] = load(name)
            return _heard(partners[name])

        made = run_mix_audio.apply(plan, _heard(sample), heard)
        meta = dict(sample.meta)
        if len(made.parts) > 1:
            meta = _joined_meta(meta, [partners[name].meta for name, _ in made.parts])
        if len(made.labels) > 1:
            meta["soft_label"] = {k: round(v, 6) for k, v in made.labels.items()}
        out = Sound(made.wave, made.rate)
        moved = [
            [labels.moved(partial(along, lines), out.seconds) for labels in partners[name].targets.get("timed", ())]
            for name, lines in made.parts
        ]
        timed_labels = tuple(joined(moved))
        return replace(sample, data=out, targets={"timed": timed_labels} if timed_labels else {}, meta=meta)

    def sink(self, out: Path, *, layout: str) -> FolderSink:
        """Writes sounds with the provenance mark of their origin, and their labels; variants are coded as their originals."""
        return FolderSink(out, layout=layout, file_name=_file_name, encode=_coded, beside=_beside, passing=_SCANNED)

    def fit(self, dataset: Dataset, *, size: int | None = None) -> SpeechCodec:
        """One grid for all sounds: the commonest rate (16 kHz at most), as long as all but a few of them (4 s at most), 80 rows of
        the mel scale, a column every 10 ms or, for long sounds, fewer. ``size`` sets the longer side; a larger one than their own buys
        long sounds columns before it buys rows. Levels are the data's own: the loudest cell is 1, what is 80 dB below it -1.
        """
        if not len(dataset):
            raise UserError("there are no sounds to fit a grid to", where=dataset.root, mend="check the folder")
        facts = [_facts(dataset, i) for i in range(len(dataset))]
        rate = min(FASTEST, max(Counter(r for r, _ in facts).items(), key=lambda found: (found[1], -found[0]))[0])
        usual = float(np.quantile([s for _, s in facts], 0.95))
        longest = max(s for _, s in facts)
        seconds = min(LONGEST_S, longest if longest <= 1.25 * usual else usual)
        mel = Mel(rate, hop_s=COLUMN_S)
        frames = mel.frames(round(seconds * rate))
        mels, columns = MELS, max(SMALLEST, -(-frames // -(-frames // LONGEST)))
        if size is not None and size > max(mels, columns) and frames > columns:
            columns = min(size, frames)  # what a long sound lacks first is time
        if size is not None:
            mels, columns = (max(SMALLEST, round(n * size / max(mels, columns))) for n in (mels, columns))
        column_s = frames * mel.hop / rate / columns
        codec = SpeechCodec(rate, mels, columns, column_s, 0.0)
        return replace(codec, ceiling_db=_loudest(dataset, codec))

    def codec(self, state: Mapping[str, Any]) -> SpeechCodec:
        return SpeechCodec(state["rate"], state["num_mels"], state["columns"], state["column_s"], state["ceiling_db"])

    def features(self, batch: F32) -> F32:
        """``[N, D]`` of ``[N, 1, mels, columns]``: 8 x 8 means, and mean, spread and mean change in time of each row."""
        num = len(batch)
        small = box_means(box_means(batch, 2, 8), 3, 8).reshape(num, -1)
        rows = batch[:, 0]
        change = (
            np.abs(np.diff(rows, axis=2)).mean(axis=2) if rows.shape[2] > 1 else np.zeros(rows.shape[:2], np.float32)
        )
        return np.concatenate([small, rows.mean(axis=2), rows.std(axis=2), change], axis=1, dtype=np.float32)

    def sheet(self, rows: Sequence[Sequence[Sample]], titles: Sequence[str]) -> tuple[bytes, str]:
        """A PNG with one line of spectrograms a row, each under its title ('' for none): ``(bytes, suffix)``. In a line, sounds are as
        bright as they are loud and as wide as they are long; what is on the grid already is drawn smaller."""
        pictures = [_line_of(row) for row in rows]
        return images.encode(contact.sheet(pictures, titles), ".png"), ".png"

    def film(self, frames: Sequence[Sample]) -> tuple[bytes, str]:
        """All sounds one after another, a tenth of a second between them: ``(bytes, suffix)``."""
        rate = frames[0].data.rate
        gap = np.zeros((rate // 10, 1), np.float32)
        parts = [part for frame in frames for part in (_mono(frame.data, rate)[:, None], gap)]
        sound = Sound(np.concatenate(parts), rate)
        return audio.encode(sound, ".wav", mark=SOURCE_TYPES.get(frames[0].origin)), ".wav"

    def previews(self, line: Sequence[Sample], *, width: int = 96) -> list[str]:
        """`preview` of sounds side by side: spectrograms are as wide as the sounds are long, the longest ``width``."""
        shown = [min(sample.data.seconds, _SHOWN_S) for sample in line]
        return [self._preview(s, width, seconds / max(shown)) for s, seconds in zip(line, shown, strict=True)]

    def preview(self, sample: Sample, *, width: int = 96) -> str:
        """A spectrogram (low at the bottom) and a player, of at most 4 s of one channel at up to 16 kHz."""
        return self._preview(sample, width, 1.0)

    def _preview(self, sample: Sample, width: int, share: float) -> str:
        """The spectrogram takes a share of the width, and as much height whatever that is."""
        sound: Sound = sample.data
        rate = min(FASTEST, sound.rate)
        heard = _mono(sound, rate)[: round(_SHOWN_S * rate)]
        title = sample.id if sample.label is None else f"{sample.label}: {sample.id}"
        title = escape(
            f"{title}, {sound.seconds:.2f} s" + (f" (the first {_SHOWN_S:g} s)" if sound.seconds > _SHOWN_S else ""),
            quote=True,
        )
        shown = replace(sample, data=Sound(heard[:, None], rate))
        drawn = _webp(_drawn(shown, _levels_of_line([shown.data])[0], 64, widest=192))
        coded = audio.encode(Sound(heard[:, None], rate), ".mp3")
        return (
            f'<img src="data:image/webp;base64,{_base64(drawn)}" width="{round(share * width)}" height="{round(width * 2 / 3)}" '
            f'style="object-fit:fill;width:{share:.1%};aspect-ratio:{1.5 * share:.3f}" alt="{title}" title="{title}" loading="lazy">'
            f'<audio controls controlslist="nodownload noplaybackrate noremoteplayback" preload="none" '
            f'style="display:block;width:100%;height:1.7rem" title="{title}" '
            f'src="data:audio/mpeg;base64,{_base64(coded)}"></audio>'
        )


@dataclass(frozen=True, slots=True)
class SpeechCodec:
    """Between sounds and log-mel spectrograms ``[1, num_mels, columns]``.

    A sound begins at the first column; behind its end, and where it is 80 dB softer than the loudest of the data, there is -1. So the
    grid tells how long a sound is, and `decode` gives back that length. Of a sound longer than the grid the loudest part is seen.
    """

    rate: int
    num_mels: int
    columns: int
    column_s: float
    ceiling_db: float
    speak: Speaker | None = field(default=None, compare=False, repr=False)
    """Makes waveforms in `decode`; with none, Griffin and Lim's algorithm does. It is not saved with the codec."""

    @property
    def grid(self) -> Grid:
        return Grid(1, (self.num_mels, self.columns))

    @property
    def mel(self) -> Mel:
        """With frames as far apart as columns, or as an equal part of a column of at most 16 ms."""
        return _mel(self.rate, self.num_mels, self.column_s / ceil(self.column_s / LONGEST_HOP_S - 1e-6))

    def levels(self, sound: Sound) -> F32:
        """``[num_mels, columns]`` in dB of full scale."""
        power = _averaged(self.mel.power(_mono(sound, self.rate)), self.column_s * self.rate / self.mel.hop)
        if power.shape[1] > self.columns:
            held = np.concatenate([[0.0], np.cumsum(power.sum(axis=0, dtype=np.float64))])
            start = int(np.argmax(held[self.columns :] - held[: -self.columns]))
            power = power[:, start : start + self.columns]
        found: F32 = np.full((self.num_mels, self.columns), LOWEST_DB, dtype=np.float32)
        found[:, : power.shape[1]] = to_db(power)
        return found

    def encode(self, sample: Sample) -> F32:
        """``[1, num_mels, columns]`` float32 in [-1, 1]."""
        scaled: F32 = 1 + (self.levels(sample.data) - np.float32(self.ceiling_db)) / np.float32(RANGE_DB / 2)
        return np.clip(scaled, -1, 1)[None]

    def decode(self, x: F32) -> Sound:
        """A sound of one channel with these levels, as long as the grid has sound."""
        levels, samples = self._frames(x)
        if self.speak is None:
            wave = self.mel.wave(levels, samples)
        else:
            wave = self.speak(levels - np.float32(self.ceiling_db), samples) * np.float32(10 ** (self.ceiling_db / 20))
        return Sound((wave / max(1.0, float(np.abs(wave).max())))[:, None], self.rate)

    def spoken(self, speak: Speaker) -> SpeechCodec:
        """The same grid, with waveforms of another making."""
        return replace(self, speak=speak)

    def pair(self, sound: Sound) -> tuple[F32, F32]:
        """Of a whole sound, however long the grid, what `decode` makes a waveform of, ``[num_mels, frames]`` in dB below the ceiling, and
        the waveform ``[T]`` that this was of, the ceiling at 0 dB."""
        wave = _mono(sound, self.rate)
        columns = 1 + ceil(len(wave) / self.rate / self.column_s)
        levels, samples = self._frames(replace(self, columns=columns).encode(Sample("", sound)))
        wave = np.pad(wave, (0, max(0, samples - len(wave))))[:samples]
        return levels - np.float32(self.ceiling_db), wave * np.float32(10 ** (-self.ceiling_db / 20))

    def _frames(self, x: F32) -> tuple[F32, int]:
        """``[num_mels, frames]`` in dB of full scale, as far as there is sound on the grid, and the number of samples."""
        heard = np.flatnonzero((x[0] > -1 + _HEARD).any(axis=0))
        levels = np.clip(x[0][:, : int(heard[-1]) + 1 if len(heard) else 1], -1, 1)
        levels = (levels - 1) * (RANGE_DB / 2) + self.ceiling_db
        seconds = max(
            1.1 * audio.SHORTEST, (levels.shape[1] - 0.5) * self.column_s
        )  # columns are centred on their times
        samples = round(seconds * self.rate)
        frames = np.arange(self.mel.frames(samples)) * self.mel.hop / self.rate / self.column_s
        return _between(levels, frames), samples

    def render(self, x: F32) -> Sound:
        """`decode` of what a network has made: as if columns were `_STEADY_S` apart at least, means read between."""
        width = max(1.0, _STEADY_S / self.column_s)
        return self.decode(_between(_averaged(np.clip(x[0], -1, 1), width), np.arange(self.columns) / width)[None])

    @property
    def likeness(self) -> Likeness:
        """A sound is the same earlier or later, a little faster or slower, louder or softer; backwards or upside down it is another."""
        return Likeness(axes=(1,), shift=1 / 4, levelled=_levelled)

    def sketch(self, x: F32) -> F32:
        """The spectrogram ``[num_mels, columns]`` itself: what a sheet shows without decoding."""
        seen: F32 = x[0]
        return seen

    def on_grid(self, x: Tensor, drawn: Sequence[Drawn], clip: bool) -> Tensor:
        """Transforms of sound, on spectrograms; see `run_mel`."""
        from augmint.transforms.run_mel import run

        return run(x, drawn, self._mel_grid(), clip=clip)

    def mix_on_grid(self, op: Mix, params: Params, parts: list[Tensor], clip: bool) -> tuple[Tensor, F64]:
        """Several sounds in one, on spectrograms; see `run_mel.mix`."""
        from augmint.transforms.run_mel import mix

        return mix(op, params, parts, self._mel_grid(), clip=clip)

    def _mel_grid(self) -> MelGrid:
        from augmint.transforms.run_mel import MelGrid

        mel = self.mel
        middles, white, degrees = (tuple(v.tolist()) for v in (mel.middles, mel.white(), mel.degrees()))
        times, levels = (self.column_s, mel.length / self.rate), (self.ceiling_db - RANGE_DB, self.ceiling_db)
        return MelGrid(middles, *times, *levels, white, degrees)

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(replace(self, speak=None)).items() if name != "speak"}


def _levelled(x: F32) -> F32:
    """Grid tensors ``[N, 1, mels, columns]`` with the energy of one cell at 1; silence stays silence.

    That is less than most sounds have, so that they are lowered, and what was nearly silent is silence.
    """
    power = np.where(x > -1, 10 ** ((x.astype(np.float64) - 1) * (RANGE_DB / 20)), 0.0).sum((1, 2, 3), keepdims=True)
    change = -10 * np.log10(np.maximum(power, 1e-30)) / (RANGE_DB / 2)
    found: F32 = np.where(x > -1, np.maximum(x + change, -1), -1).astype(np.float32)
    return found


@lru_cache(maxsize=16)
def _mel(rate: int, num_mels: int, hop_s: float) -> Mel:
    """Its filters are worked out once."""
    return Mel(rate, num_mels, hop_s)


def _heard(sample: Sample) -> Heard:
    sound: Sound = sample.data
    return Heard(sound.wave, sound.rate, {} if sample.label is None else {sample.label: 1.0})


def _joined_meta(own: dict[str, Any], parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is known of sounds one after another: their words joined; what is not known of all, or not the same, of none."""
    for key in SpeechModality.lasting:
        values = [part.get(key) for part in parts]
        if key in _SPOKEN and all(values):
            own[key] = " ".join(map(str, values))
        elif len(set(values)) > 1:
            own.pop(key, None)
    return own


def _mono(sound: Sound, rate: int) -> F32:
    """The mean of all channels at another rate, ``[T]``."""
    wave = sound.wave.mean(axis=1, keepdims=True)
    out: F32 = resampled(wave, rate / sound.rate)[:, 0] if rate != sound.rate else wave[:, 0]
    return out


def _averaged(power: F32, width: float) -> F32:
    """Means of ``[mels, frames]`` over columns of ``width`` frames, each centred on a multiple of it."""
    if abs(width - 1) < 1e-6:
        return power
    frames = power.shape[1]
    edges = np.clip((np.arange(int((frames - 1) / width) + 2) - 0.5) * width + 0.5, 0, frames)
    held = np.concatenate([np.zeros((len(power), 1)), np.cumsum(power, axis=1, dtype=np.float64)], axis=1)
    at = np.minimum(edges.astype(int), frames - 1)
    sums = held[:, at] + (edges - at) * power[:, at]
    means: F32 = (np.diff(sums, axis=1) / np.maximum(np.diff(edges), 1e-9)).astype(np.float32)
    return means


def _between(levels: F32, places: np.ndarray[Any, np.dtype[np.float64]]) -> F32:
    """``[mels, len(places)]``: read between columns, the last one going on."""
    low = np.clip(np.floor(places).astype(int), 0, levels.shape[1] - 1)
    high = np.minimum(low + 1, levels.shape[1] - 1)
    part = np.clip(places - low, 0, 1)
    read: F32 = (levels[:, low] * (1 - part) + levels[:, high] * part).astype(np.float32)
    return read


def _facts(dataset: Dataset, index: int) -> tuple[int, float]:
    """Rate and seconds."""
    meta = dataset.refs[index].meta
    if {"rate", "seconds"} <= meta.keys():
        return meta["rate"], meta["seconds"]
    sound: Sound = dataset[index].data
    return sound.rate, sound.seconds


def _loudest(dataset: Dataset, codec: SpeechCodec) -> float:
    """The highest level of at most 200 sounds, in dB; 0 where there is only silence."""
    found = [LOWEST_DB]
    for i in np.unique(np.linspace(0, len(dataset) - 1, _MEASURED).astype(int)):
        try:
            found.append(float(codec.levels(dataset[int(i)].data).max()))
        except BadSample:
            continue
    return round(max(found), 2) if max(found) > LOWEST_DB + RANGE_DB / 2 else 0.0


def _with_header(ref: Ref) -> Ref:
    head = audio.header(ref.path)
    seen = {"seconds": round(head.seconds, 4), "rate": head.rate, "channels": head.channels, "format": head.format}
    origin = origin_of(ref.meta.get("origin"), head.mark)
    rest = {"coding": head.coding, "bytes": ref.path.stat().st_size, "origin": origin}
    num = sum(timed.read(path, head.seconds) is not None for path in ref.beside)
    return replace(ref, meta={**ref.meta, **seen, **rest, **({"timed": num} if ref.beside else {})})


def _labels(ref: Ref, seconds: float) -> Iterator[Timed]:
    for path in ref.beside:
        found = timed.read(path, seconds)
        if found is not None:
            yield found


def _told_of_labels(refs: Sequence[Ref]) -> Iterator[str]:
    """Whether files beside sounds were understood as labels with times."""
    with_labels = [r for r in refs if r.meta.get("timed")]
    if with_labels:
        yield f"labels with times lie beside {len(with_labels)} sounds: they move with what is made of these"
    others = [r for r in refs if len(r.beside) > r.meta.get("timed", 0)]
    if others:
        first = next(p for p in others[0].beside if timed.read(p, others[0].meta["seconds"]) is None)
        yield (
            f"{len(others)} sounds have a file beside them that has no times, the first {first.name}: it is copied and not moved with "
            f"what is made ({timed.WANTED})"
        )


def _mixed(refs: Sequence[Ref]) -> list[str]:
    """A word where rates or channels differ: a model that is trained on them may learn to tell these instead of words."""
    told = []
    for name, what, do in (
        ("rate", "sample rates", "brought to one rate"),
        ("channels", "numbers of channels", "mixed to one"),
    ):
        counts = Counter(r.meta[name] for r in refs)
        if len(counts) > 1:
            listing = ", ".join(f"{n} with {value}" for value, n in counts.most_common(4))
            told.append(f"{what} differ ({listing}): files keep theirs, and for the networks they are {do}")
    return told


def _file_name(sample: Sample) -> str:
    """The id's own name, with ``.wav`` behind it where sounds of that ending are only read."""
    path = PurePosixPath(sample.id)
    return path.name if path.suffix.lower() in audio.FORMATS else path.name + ".wav"


def _coded(sample: Sample, suffix: str) -> bytes:
    coding = sample.meta.get("coding")
    return audio.encode(sample.data, suffix, mark=SOURCE_TYPES.get(sample.origin), coding=coding)


def _beside(sample: Sample) -> dict[str, bytes]:
    return {labels.suffix: labels.encoded() for labels in sample.targets.get("timed", ())}


# --- looking ---------------------------------------------------------------------------------------------------------


def _line_of(row: Sequence[Sample]) -> list[U8]:
    levels = _levels_of_line([sample.data for sample in row])
    return [
        _drawn(sample, x, 128 if isinstance(sample.data, Sound) else 64) for sample, x in zip(row, levels, strict=True)
    ]


def _drawn(sample: Sample, levels: F32, height: int, *, widest: int = 256) -> U8:
    """The spectrogram with a white line at each start and end of a label."""
    picture = _picture(levels, height, widest=widest)
    for labels in sample.targets.get("timed", ()):
        times = labels.times[labels.times <= sample.data.seconds] / sample.data.seconds
        picture[:, np.minimum((times * picture.shape[1]).astype(int), picture.shape[1] - 1)] = 255
    return picture


def _levels_of_line(line: Sequence[Sound | F32]) -> list[F32]:
    """``[mels, columns]`` in [-1, 1] of each sound, by the loudest cell of them all; what is on the grid already stays."""
    levels = {i: _own_levels(data) for i, data in enumerate(line) if isinstance(data, Sound)}
    loudest = max((float(x.max()) for x in levels.values()), default=0.0)
    floor = max(loudest, LOWEST_DB + RANGE_DB) - RANGE_DB
    return [
        np.clip((levels[i] - floor) / (RANGE_DB / 2) - 1, -1, 1) if isinstance(data, Sound) else data
        for i, data in enumerate(line)
    ]


def _own_levels(sound: Sound) -> F32:
    rate = min(FASTEST, sound.rate)
    return _mel(rate, MELS, COLUMN_S).levels(_mono(sound, rate))


def _picture(levels: F32, height: int, *, widest: int = 256) -> U8:
    """RGB, low frequencies at the bottom."""
    gray = np.rint((np.clip(levels[::-1], -1, 1) + 1) * 127.5).astype(np.uint8)
    width = min(widest, max(8, gray.shape[1] * height // max(1, gray.shape[0])))
    shrinks = gray.shape[0] > height or gray.shape[1] > width
    drawn = cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST)
    return np.ascontiguousarray(cv2.applyColorMap(drawn, cv2.COLORMAP_MAGMA)[:, :, ::-1])


def _webp(picture: U8) -> bytes:
    bgr = np.ascontiguousarray(picture[:, :, ::-1])
    return cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, 70])[1].tobytes()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
