"""Transforms of what a voice goes through: the vocal tract itself, codecs, and lines that lose packets."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np

from augmint.core import rng
from augmint.core.errors import UserError
from augmint.core.rng import F64
from augmint.core.types import F32
from augmint.transforms.op import KEY, Law, Params, Range, between, within
from augmint.transforms.signal import BandPass, Whole
from augmint.transforms.waves import filtered, of_length, overlap, resampled

Coder = Literal["mulaw", "alaw", "gsm", "mp3", "vorbis", "opus"]
TELEPHONE_HZ = (300.0, 3400.0)
_FRAME_S = 0.032
_MOUTH_S, _VOICE_S = 0.0018, 0.0028
"""What lies below the first of these in the cepstrum is the mouth, above the second the voice: pitches are below 360 Hz mostly."""
MOST_DB = 30.0
_BLOCK = 1024  # frames


@dataclass(frozen=True, kw_only=True)
class VTLP(Whole):
    """Another length of the vocal tract: formants move, the pitch stays (after Jaitly and Hinton 2013, "Vocal tract length perturbation").

    ``alpha``: formants times this, above 1 = a shorter tract; log-uniform; within [0.7, 1.4]. The smooth part of each 32 ms' spectrum is
    moved, by at most 30 dB; the phases stay.
    """

    num_uniforms: ClassVar[int] = 1
    laws: ClassVar[tuple[Law, ...]] = (Law("alpha", "alpha", log=True),)
    alpha: Range = field(default=(0.9, 1.1), metadata=within(0.7, 1.4))

    @staticmethod
    def apply(params: Params, wave: F32, rate: int) -> F32:
        return np.stack([_moved_formants(mono, rate, float(params["alpha"])) for mono in wave.T], axis=1)


def _moved_formants(mono: F32, rate: int, alpha: float) -> F32:
    hop = max(4, round(_FRAME_S * rate / 4))
    size = 4 * hop
    window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(size) + 0.5) / size)).astype(np.float32)
    padded = np.pad(mono, (size, 2 * size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    out = np.zeros((len(frames) + 3, hop), np.float32)
    for start in range(0, len(frames), _BLOCK):  # of an hour of sound all frames at once would not fit
        parts = _with_formants(frames[start : start + _BLOCK] * window, rate, alpha) * window
        overlap(np.float32(0.5) * parts, out[start:])  # squared windows overlap to 2
    return out.ravel()[size : size + len(mono)]


def _with_formants(frames: F32, rate: int, alpha: float) -> F32:
    """Each of ``[N, size]`` with the smooth part of its spectrum moved."""
    import scipy.fft

    size = frames.shape[1]
    spectrum = scipy.fft.rfft(frames, axis=1)
    cepstrum = scipy.fft.irfft(20 * np.log10(np.abs(spectrum) + np.float32(1e-7)), size, axis=1)
    at_s = np.minimum(np.arange(size), size - np.arange(size)) / rate
    voice = np.clip((at_s - _MOUTH_S) / (_VOICE_S - _MOUTH_S), 0, 1)
    smooth = scipy.fft.rfft(cepstrum * (0.5 + 0.5 * np.cos(np.pi * voice)), axis=1).real
    places = np.minimum(np.arange(smooth.shape[1]) / alpha, smooth.shape[1] - 1)
    low = np.minimum(places.astype(np.int64), smooth.shape[1] - 2)
    moved = smooth[:, low] + (smooth[:, low + 1] - smooth[:, low]) * (places - low)
    gain = 10 ** (np.clip(moved - smooth, -MOST_DB, MOST_DB) / 20)
    found: F32 = scipy.fft.irfft(spectrum * gain, size, axis=1).astype(np.float32)
    return found


@dataclass(frozen=True, kw_only=True)
class PacketLoss(Whole):
    """Silence packets, as a bad line without repair does.

    ``loss_frac``: probability of each, within [0, 0.9]; ``packet_ms``: their length, within [2.5, 120].
    """

    num_uniforms: ClassVar[int] = 3
    laws: ClassVar[tuple[Law, ...]] = (Law("loss_frac", "loss_frac"), Law("packet_ms", "packet_ms"), KEY)
    loss_frac: Range = field(default=(0.01, 0.1), metadata=within(0, 0.9))
    packet_ms: Range = field(default=(10.0, 40.0), metadata=within(2.5, 120))

    @staticmethod
    def apply(params: Params, wave: F32, rate: int) -> F32:
        return wave * ~PacketLoss.lost(params, np.arange(len(wave)) / rate)[:, None]

    @staticmethod
    def lost(params: Params, times_s: F64) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Whether the packets that these times fall into are lost."""
        packet = (times_s / (float(params["packet_ms"]) / 1000) + 1e-9).astype(np.uint64)
        each = rng.uniform(np.uint64(params["key"]), np.arange(int(packet.max(initial=0)) + 1))
        found: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = (each < float(params["loss_frac"]))[packet]
        return found


class _Way(NamedTuple):
    """How libsndfile writes it: at one of these rates, and whether a telephone's band is cut out before."""

    format: str
    coding: str
    rates: tuple[int, ...]
    telephone: bool = False
    squeezes: bool = False


_MUSIC = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_WAYS: dict[Coder, _Way] = {
    "mulaw": _Way("WAV", "ULAW", (8_000,), telephone=True),
    "alaw": _Way("WAV", "ALAW", (8_000,), telephone=True),
    "gsm": _Way("WAV", "GSM610", (8_000,), telephone=True),
    "mp3": _Way("MP3", "MPEG_LAYER_III", _MUSIC, squeezes=True),
    "vorbis": _Way("OGG", "VORBIS", _MUSIC, squeezes=True),
    "opus": _Way("OGG", "OPUS", (8_000, 12_000, 16_000, 24_000, 48_000), squeezes=True),
}


@dataclass(frozen=True, kw_only=True)
class Codec(Whole):
    """Encode and decode.

    ``coder``: ``mulaw`` or ``alaw`` (G.711) or ``gsm`` (06.10 full rate), all three after a telephone's band of 300 to 3400 Hz at 8 kHz;
    ``mp3``, ``vorbis`` or ``opus``. ``compression_frac``: how far these three squeeze, within [0, 0.99]: MP3 and Vorbis from their best to
    their smallest variable rate, Opus from 256 to 8 kbit/s, in proportion. Each channel by itself. What is beyond full scale is cut.
    """

    num_uniforms: ClassVar[int] = 1
    compression_frac: Range = field(default=(0.6, 0.95), metadata=within(0, 0.99))
    coder: Coder = "mulaw"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.coder not in _WAYS:
            raise UserError(f"Codec: coder is {self.coder!r}", mend="use " + ", ".join(_WAYS))

    def draw(self, u: F64) -> dict[str, F64]:
        squeeze = between(self.compression_frac, u[..., 0])
        return {"compression_frac": squeeze, "coder": np.full_like(squeeze, get_args(Coder).index(self.coder))}

    @staticmethod
    def apply(params: Params, wave: F32, rate: int) -> F32:
        way = Codec.way(params)
        own = next((r for r in way.rates if r >= rate), way.rates[-1])
        low, high = TELEPHONE_HZ
        band = {"low_hz": np.array(low), "high_hz": np.array(high)}
        x = filtered(wave, rate, lambda hz: BandPass.response(band, hz)) if way.telephone else wave
        x = np.clip(resampled(x, own / rate), -1, 1)
        coded = np.stack([_coded(way, channel, own, float(params["compression_frac"])) for channel in x.T], axis=1)
        return of_length(resampled(coded, rate / own), len(wave))

    @staticmethod
    def way(params: Params) -> _Way:
        return _WAYS[get_args(Coder)[int(params["coder"])]]


def _coded(way: _Way, mono: F32, rate: int, squeeze: float) -> F32:
    """One channel through the coder and back, as long as before."""
    import soundfile as sf

    how: dict[str, Any] = {"compression_level": squeeze} if way.squeezes else {}
    if way.format == "MP3":
        how["bitrate_mode"] = "VARIABLE"  # constant ones change the rate
    out = BytesIO()
    try:
        with sf.SoundFile(out, "w", rate, 1, way.coding, format=way.format, **how) as file:
            file.write(mono)
        out.seek(0)
        found: F32 = sf.read(out, dtype="float32", always_2d=True)[0]
    except (sf.SoundFileError, ValueError) as error:
        raise UserError(
            f"Codec: this libsndfile ({sf.__libsndfile_version__}) cannot write {way.coding}: {error}",
            mend="upgrade soundfile (pip install -U soundfile), or take another coder",
        ) from None
    return of_length(found, len(mono))[:, 0]
