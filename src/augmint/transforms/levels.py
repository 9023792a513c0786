"""Transforms that look at how loud a sound is: loudness, peak, limiter, clipping, bits, silence at its ends.

What has no level (silence) stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from augmint.core.rng import F64
from augmint.core.types import F32
from augmint.transforms.op import Law, Params, Range, between, within
from augmint.transforms.signal import Whole
from augmint.transforms.temporal import Line
from augmint.transforms.waves import faded, resampled

BLOCK_S, _STEP_S = 0.4, 0.1
SILENT_LUFS, RELATIVE_LU, LUFS_AT_1 = -70.0, -10.0, -0.691  # the last: of the weighted power 1
_AHEAD_S = 0.005
_NEARER = 10 ** (0.5 / 20)  # for what four times the rate does not show, and what the gain's changes add
_FRAME_S, _HOP_S = 0.020, 0.005


@dataclass(frozen=True, kw_only=True)
class LoudnessNormalize(Whole):
    """Bring to a loudness (ITU-R BS.1770-4: K-weighted, gated).

    ``lufs``: within [-70, 0]. Sounds of less than 0.4 s are one block; what is softer than -70 LUFS stays as it is. What leaves full
    scale is cut when it is written in whole numbers: put `Limiter` after it.
    """

    num_uniforms: ClassVar[int] = 1
    laws: ClassVar[tuple[Law, ...]] = (Law("lufs", "lufs"),)
    lufs: Range = field(default=(-26.0, -18.0), metadata=within(-70, 0))

    @staticmethod
    def apply(params: Params, wave: F32, rate: int) -> F32:
        have = loudness(wave, rate)
        return wave * np.float32(10 ** ((float(params["lufs"]) - have) / 20)) if have > SILENT_LUFS else wave


@dataclass(frozen=True, kw_only=True)
class PeakNormalize(Whole):
    """Bring the largest value to a level. ``peak_dbfs``: dB of full scale, within [-60, 0]."""

    num_uniforms: ClassVar[int] = 1
    laws: ClassVar[tuple[Law, ...]] = (Law("peak_dbfs", "peak_dbfs"),)
    peak_dbfs: Range = field(default=(-6.0, -1.0), metadata=within(-60, 0))

    @staticmethod
    def apply(params: Params, wave: F32, rate: int) -> F32:
        peak = float(np.abs(wave).max())
        return wave * np.float32(10 ** (float(params["peak_dbfs"]) / 20) / peak) if peak > 0 else wave


@dataclass(frozen=True, kw_only=True)
class Limiter(Whole):
    """Turn down what is too loud, 5 ms before it comes until 5 ms after; the rest stays as it is.

    ``ceiling_dbfs``: dB of full scale that no value is above, within [-60, 0].
    """

    num_uniforms: ClassVar[int] = 1
    laws: ClassVar[tuple[Law, ...]] = (Law("ceiling_dbfs", "ceiling_dbfs"),)
    ceiling_dbfs: Range = field(default=(-12.0, -1.0), metadata=within(-60, 0))

    @staticmethod
    def apply(params: Params, wave: F32, rate: int) -> F32:
        return limited(wave, rate, 10 ** (float(params["ceiling_dbfs"]) / 20))


@dataclass(frozen=True, kw_only=True)
class Clip(Whole):
    """Cut peaks, as an overdriven microphone does. ``share_frac``: the share of the values that is cut, within [0, 0.5]."""

    num_uniforms: ClassVar[int] = 1
    laws: ClassVar[tuple[Law, ...]] = (Law("share_frac", "share_frac"),)
    share_frac: Range = field(default=(0.0, 0.05), metadata=within(0, 0.5))

    @staticmethod
    def apply(params: Params, wave: F32, rate: int) -> F32:
        size = np.abs(wave).ravel()
        above = round(float(params["share_frac"]) * len(size))
        if above == 0:
            return wave
        level = np.partition(size, len(size) - above - 1)[len(size) - above - 1]
        return np.clip(wave, -level, level) if level > 0 else wave


@dataclass(frozen=True, kw_only=True)
class BitCrush(Whole):
    """Round to fewer levels. ``bits``: of a value, rounded down to a whole number, within [1, 24]: 2 to the power of it levels between
    minus and plus full scale; what is beyond is cut."""

    num_uniforms: ClassVar[int] = 1
    bits: Range = field(default=(6.0, 12.0), metadata=within(1, 24))

    def draw(self, u: F64) -> dict[str, F64]:
        low, high = np.floor(self.bits)
        return {"bits": np.minimum(high, np.floor(between((low, high + 1), u[..., 0])))}

    @staticmethod
    def apply(params: Params, wave: F32, rate: int) -> F32:
        top = np.float32(2.0 ** (float(params["bits"]) - 1))
        out: F32 = np.clip(np.rint(wave * top), -top, top - 1) / top
        return out


@dataclass(frozen=True, kw_only=True)
class Trim(Whole):
    """Take silence away from both ends.

    ``below_db``: what is so far below the loudest 20 ms is silence, within [5, 100]. Where nothing is, all of it stays.
    """

    num_uniforms: ClassVar[int] = 1
    laws: ClassVar[tuple[Law, ...]] = (Law("below_db", "below_db"),)
    below_db: Range = field(default=(30.0, 45.0), metadata=within(5, 100))

    @staticmethod
    def apply(params: Params, wave: F32, rate: int) -> F32:
        first, last = Trim.kept(params, wave, rate)
        return wave if (first, last) == (0, len(wave)) else faded(wave[first:last], rate)

    @staticmethod
    def line(params: Params, wave: F32, rate: int) -> Line:
        first, last = Trim.kept(params, wave, rate)
        return Line.still(np.asarray(len(wave) / rate)).framed(
            np.asarray(-first / rate), np.asarray((last - first) / rate)
        )

    @staticmethod
    def kept(params: Params, wave: F32, rate: int) -> tuple[int, int]:
        """The first sample that stays, and the one after the last."""
        size, hop = max(1, round(_FRAME_S * rate)), max(1, round(_HOP_S * rate))
        starts = np.arange(0, max(1, len(wave) - size + 1), hop)
        held = np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64).sum(axis=1))])
        energy = held[np.minimum(starts + size, len(wave))] - held[starts]
        heard = np.flatnonzero(energy > energy.max() * 10 ** (-float(params["below_db"]) / 10))
        if not len(heard):
            return 0, len(wave)
        last = len(wave) if heard[-1] == len(starts) - 1 else int(starts[heard[-1]]) + size
        return int(starts[heard[0]]), last


def limited(wave: F32, rate: int, ceiling: float, *, between: bool = False) -> F32:
    """No value beyond ``ceiling``: the gain that each needs, the least within 5 ms, and the mean of that over the same time.

    Args:
        between: nor any between the samples, as they are heard: at four times the rate (ITU-R BS.1770-4, annex 2).
    """
    from scipy.ndimage import minimum_filter1d, uniform_filter1d

    peaks = np.abs(wave).max(axis=1)
    if between:
        peaks = np.maximum(peaks, _NEARER * np.abs(resampled(wave, 4)).max(axis=1).reshape(-1, 4).max(axis=1))
    if peaks.max() <= ceiling:
        return wave
    width = 2 * round(_AHEAD_S * rate) + 1
    needed = ceiling / np.maximum(peaks, ceiling).astype(np.float64)
    gain = uniform_filter1d(minimum_filter1d(needed, width, mode="nearest"), width, mode="nearest")
    return np.clip(wave * gain[:, None].astype(np.float32), -ceiling, ceiling).astype(np.float32)


def loudness(wave: F32, rate: int) -> float:
    """Integrated loudness of ``[T, C]`` in LUFS (ITU-R BS.1770-4), minus infinity where no block is above -70.

    Channels count once, the fourth and fifth of five 1.41 times; of six (5.1) the fourth does not.
    """
    from scipy.signal import sosfilt

    square = np.square(sosfilt(_k_weighting(rate), wave.astype(np.float64), axis=0))
    weights = {5: [1, 1, 1, 1.41, 1.41], 6: [1, 1, 1, 0, 1.41, 1.41]}.get(wave.shape[1], [1.0] * wave.shape[1])
    held = np.concatenate([[0.0], np.cumsum(square @ np.array(weights))])
    size = min(len(wave), round(BLOCK_S * rate))
    starts = np.rint(np.arange(0, (len(wave) - size) / rate + 1e-9, _STEP_S) * rate).astype(np.int64)
    powers = (held[starts + size] - held[starts]) / size
    powers = powers[powers > 10 ** ((SILENT_LUFS - LUFS_AT_1) / 10)]
    if not len(powers):
        return -np.inf
    powers = powers[powers > powers.mean() * 10 ** (RELATIVE_LU / 10)]
    return float(10 * np.log10(powers.mean()) + LUFS_AT_1)


def k_weights(hz: F64) -> F64:
    """Factors of power that BS.1770 gives to frequencies."""
    from scipy.signal import sosfreqz

    return np.asarray(np.abs(sosfreqz(_k_weighting(48_000), hz, fs=48_000)[1]) ** 2)


def _k_weighting(rate: int) -> F64:
    """The two filters of BS.1770 (a shelf for the head, and a high-pass), as second-order sections at any rate.

    The standard gives them at 48 kHz; these are the analogue filters behind those numbers (De Man 2018, "Evaluation of
    implementations of the EBU R128 loudness measurement").
    """
    sections = []
    for hz, gain_db, q in (
        (1681.974450955533, 3.999843853973347, 0.7071752369554196),
        (38.13547087602444, None, 0.5003270373238773),
    ):
        k = np.tan(np.pi * min(hz / rate, 0.45))
        norm = 1 + k / q + k * k
        back = [1.0, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm]
        if gain_db is None:
            sections.append([1.0, -2.0, 1.0, *back])
            continue
        high = 10 ** (gain_db / 20)
        band = high**0.4996667741545416
        forth = [high + band * k / q + k * k, 2 * (k * k - high), high - band * k / q + k * k]
        sections.append([*(v / norm for v in forth), *back])
    return np.array(sections)
