"""The program on one sound: float32 ``[T, C]``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from augmint.core.types import F32, I64
from augmint.transforms import fuse_audio
from augmint.transforms.fuse_audio import Response, Stage
from augmint.transforms.local import normal_field
from augmint.transforms.plan import Plan, Quality
from augmint.transforms.signal import Alone, Gap, Noise, Point, Room, tilt
from augmint.transforms.temporal import Line, Pieces, TimeMap
from augmint.transforms.waves import FADE_S, RINGING_S, fade, mixed_in, places_hz

_FRAME_S, _REACH_S = 0.040, 0.008
_LEAST_S = 0.004  # on from a piece to the next one, so that what is heard twice is 16 ms apart at most
_MARGIN_S = 2 * (_FRAME_S + _REACH_S)
_SEARCH_HZ: dict[Quality, int] = {"fast": 4_000, "best": 16_000}
_TAPER = 0.05  # of the band
_LARGE = 16_384
_FIRST_ECHO_S = 0.0025  # 86 cm further than the direct way
_OUT_OF_TUNE = 5e-4  # a hundredth of a semitone


def apply(plan: Plan, wave: F32, rate: int, *, exact: bool = False) -> F32:
    """What a plan makes of a sound ``[T, C]`` at ``rate`` samples a second. All channels go the same way.

    Args:
        exact: op by op, as they are written: the reference for the fused program.
    """
    return apply_with(plan, wave, rate, exact=exact)[0]


def apply_with(plan: Plan, wave: F32, rate: int, *, exact: bool = False) -> tuple[F32, tuple[Line | Pieces, ...]]:
    """The same, and the lines that its times have gone along, one after another; see `temporal.along`."""
    lines: list[Line | Pieces] = []
    for each in [replace(plan, steps=(step,)) for step in plan.steps] if exact else [plan]:
        for time, stage in _paired(fuse_audio.compile(each)):
            line = Line.still(np.asarray(len(wave) / rate)) if time is None else time.line(np.asarray(len(wave) / rate))
            if isinstance(stage, Alone):
                line = stage.op.line(stage.params, wave, rate)
            if stage is None or isinstance(stage, Response):
                wave, gone = _passed(line, stage, wave, rate, each.quality)
                lines.append(gone)
            else:
                wave = _pointwise(stage, wave, rate)
                lines.append(line)
    return wave, tuple(lines)


def _paired(stages: Sequence[Stage]) -> Iterator[tuple[TimeMap | None, Response | Point | None]]:
    """Time and what follows it, if that is a response: they are computed together."""
    waiting: TimeMap | None = None
    for stage in stages:
        if isinstance(stage, TimeMap):
            waiting = stage
            continue
        if waiting is not None and not isinstance(stage, Response):
            yield waiting, None
            waiting = None
        yield waiting, stage
        waiting = None
    if waiting is not None:
        yield waiting, None


def _pointwise(stage: Point, wave: F32, rate: int) -> F32:
    match stage:
        case Noise():
            return _noisy(stage, wave, rate)
        case Gap():
            return _gapped(stage, wave, rate)
        case Alone():
            return stage.op.apply(stage.params, wave, rate)


# --- time and spectrum -----------------------------------------------------------------------------------------------


def _passed(line: Line, response: Response | None, wave: F32, rate: int, quality: Quality) -> tuple[F32, Line | Pieces]:
    """The sound along its new times, then through the response; at most one stretch and one Fourier transform there and back. And the line."""
    length = max(1, round(float(line.seconds) * rate))
    rooms = [] if response is None else [_echoes(room, rate, length) for room in response.rooms()]
    ringing = max([round(RINGING_S * rate), *(len(room) for room in rooms)])
    size, inner = _sizes(length + ringing, float(line.pitch))
    # What is stretched is at another rate than what comes out, if the pitch changes: so many samples a second of new time.
    out, gone = (wave, line) if line.is_still else _placed(line, wave, rate, rate * inner / size, quality)
    if inner == size:
        if response is None:
            return out, gone
        factors = response.at(places_hz(size, rate))
        if factors.min() == factors.max() and not rooms:
            return out * np.float32(factors[0]), gone
    return _transformed(out, response, rooms, (inner, size), rate)[:length], gone


def _transformed(wave: F32, response: Response | None, rooms: list[F32], sizes: tuple[int, int], rate: int) -> F32:
    """From ``sizes[0]`` samples to ``sizes[1]`` of the same time, each frequency times the response there: ``[sizes[1], C]``."""
    import scipy.fft

    inner, size = sizes
    spectrum = scipy.fft.rfft(wave, inner, axis=0)[: size // 2 + 1]
    if response is not None:
        spectrum *= response.at(places_hz(size, rate)[: len(spectrum)]).astype(np.float32)[:, None]
    if inner != size:
        spectrum *= np.float32(size / inner)
    if inner > size:  # what would lie above half of the rate goes softly
        edge = spectrum[-round(_TAPER * len(spectrum)) :]
        edge *= np.linspace(1, 0, len(edge), dtype=np.float32)[:, None]
    for room in rooms:
        spectrum *= scipy.fft.rfft(room, size)[: len(spectrum), None]
    out: F32 = scipy.fft.irfft(spectrum, size, axis=0).astype(np.float32, copy=False)
    return out


def _echoes(room: Room, rate: int, length: int) -> F32:
    """A room's answer to a click: the click, then a tail until it is 60 dB down or nobody hears it any more."""
    size = min(length, max(2, round(float(room.rt60_s) * rate)))
    direct, reverberant = room.shares
    start = min(size - 1, round(_FIRST_ECHO_S * rate))
    times = np.arange(size - start) / rate
    # All that falls by 60 dB, also where a short sound hears only its beginning.
    power = float(room.rt60_s) * rate / (6 * np.log(10))
    out = np.zeros(size, np.float32)
    tail = normal_field(room.key, size - start) * np.exp(-3 * np.log(10) * times / float(room.rt60_s))
    out[start:] = tail * np.sqrt(float(reverberant) / power)
    out[0] += np.sqrt(float(direct))
    return out


def _sizes(least: int, pitch: float) -> tuple[int, int]:
    """Lengths of transforms ``(out, in)``: out at least ``least``, in ``pitch`` times as long within a hundredth of a semitone, both quick."""
    if abs(pitch - 1) < 1e-9:
        size = int(_smooth(least, 2 * least)[0])
        return size, size
    outs = _smooth(least, round(1.12 * least) + 16)
    wanted = outs * pitch
    known = _smooth(int(0.9 * wanted[0]), int(1.1 * wanted[-1]) + 16)
    above = np.clip(np.searchsorted(known, wanted), 1, len(known) - 1)
    nearest = np.where(wanted - known[above - 1] < known[above] - wanted, known[above - 1], known[above])
    wrong = np.abs(nearest / wanted - 1)
    good = np.flatnonzero(wrong < _OUT_OF_TUNE)
    at = good[0] if len(good) else int(np.argmin(wrong))
    if wrong[at] >= _OUT_OF_TUNE:
        return int(outs[at]), round(float(wanted[at]))
    return int(outs[at]), int(nearest[at])


def _smooth(low: int, high: int) -> I64:
    """Whole numbers within ``[low, high]`` whose factors are 2, 3, 5, 7, 11 and 13 only, in order; large ones are multiples of 16, which makes
    transforms a third quicker."""
    known = _smooth_up_to(high.bit_length())
    return known[np.searchsorted(known, low) : np.searchsorted(known, high, side="right")]


@cache
def _smooth_up_to(bits: int) -> I64:
    found = np.array([1], np.int64)
    for prime in (2, 3, 5, 7, 11, 13):
        powers = prime ** np.arange(int(bits / np.log2(prime)) + 1, dtype=np.int64)
        found = np.outer(found, powers).ravel()
        found = found[found < 1 << bits]
    return np.sort(found[(found % 16 == 0) | (found < _LARGE)])


def _placed(line: Line, wave: F32, rate: int, inner: float, quality: Quality) -> tuple[F32, Line | Pieces]:
    """The sound on its new times, at ``inner`` samples a second; where it was cut it fades, so that nothing clicks. And how it went there."""
    scale, shift = float(line.scale), float(line.shift_s)
    start, stop = float(line.start_s), float(line.stop_s)
    out = np.zeros((max(1, round(float(line.seconds) * inner)), wave.shape[1]), np.float32)
    to = round(start * inner)
    size = min(round(stop * inner), len(out)) - to
    if size <= 0:
        return out, line
    # Only what is kept is stretched, and a little more, so that its edges sound as they would.
    first = max(0, round(((start - shift) / scale - _MARGIN_S) * rate))
    last = min(len(wave), round(((stop - shift) / scale + _MARGIN_S) * rate))
    made, taken = stretched(wave[first:last], scale * inner / rate, rate, quality)
    begin = round((start - shift - scale * first / rate) * inner)
    part = made[begin : begin + size]
    out[to : to + len(part)] = part
    edge = fade(min(len(part), round(FADE_S * inner)))
    if begin > 0 or first > 0:
        out[to : to + len(edge)] *= edge
    if begin + len(part) < len(made) or last < len(wave):
        out[to + len(part) - len(edge) : to + len(part)] *= edge[::-1]
    if len(taken) < 2:
        return out, line
    placed = to - begin + _half(rate) * np.arange(len(taken))
    return out, Pieces(line, (first + taken) / rate, placed / inner)


def _half(rate: int) -> int:
    """Samples of half a piece: the middles of pieces are so far apart where they have been put."""
    return max(4, round(_FRAME_S * rate / 2))


def stretched(wave: F32, factor: float, rate: int, quality: Quality = "best") -> tuple[F32, I64]:
    """``factor`` times as long at the same pitch, ``[round(T · factor), C]``, and where the middle of each piece was before, in samples; those
    of the pieces are `_half` apart now, the first one at 0. No pieces where the length stays.

    Overlap-add of pieces that are taken, within 8 ms of where they should be (half a period of 62 Hz), from where they go on best with what the last
    piece was followed by (WSOLA, Verhelst and Roelands 1993).
    """
    length = max(1, round(len(wave) * factor))
    if length == len(wave):
        return wave, np.zeros(0, np.int64)
    half = _half(rate)
    reach = round(_REACH_S * rate)
    step = max(1, rate // _SEARCH_HZ[quality])
    edge = reach + 2 * half + step
    padded = np.pad(wave, ((edge, edge + 4 * half), (0, 0)))
    ideal = edge - half + np.rint(np.arange(0, length + half, half) / factor).astype(np.int64)
    places = _follow(
        padded @ np.full(wave.shape[1], 1 / wave.shape[1], np.float32),
        np.minimum(ideal, len(padded) - 4 * half - reach - step),
        half,
        reach,
        round(min(_LEAST_S * rate, half / factor / 2)),
        step,
    )
    window = (0.5 - 0.5 * np.cos(np.pi * (np.arange(2 * half) + 0.5) / half)).astype(np.float32)[:, None]
    out = np.empty((len(places) + 1, half, wave.shape[1]), dtype=np.float32)
    pieces = np.lib.stride_tricks.sliding_window_view(padded, half, axis=0)
    np.multiply(pieces[places].transpose(0, 2, 1), window[:half], out=out[:-1])
    out[-1] = 0
    out[1:] += pieces[places + half].transpose(0, 2, 1) * window[half:]
    return out.reshape(-1, wave.shape[1])[half : half + length], places + half - edge


def _means(x: F32, step: int) -> F32:
    """Of each ``step`` samples; added slice by slice, for numpy is slow along short axes."""
    size = len(x) // step * step
    out = x[:size:step].copy()
    for k in range(1, step):
        out += x[k:size:step]
    out /= np.float32(step)
    return out


def _follow(mono: F32, ideal: I64, half: int, reach: int, least: int, step: int) -> I64:
    """Where each piece of ``2 half`` samples is taken from: within ``reach`` of its ideal place and ``least`` behind the last one, where it is
    most like what follows that, by normalised correlation of means of ``step`` samples; between those places, by a parabola."""
    few = _means(mono, step)
    size, num = 2 * half // step, 2 * reach // step + 1
    energy = np.concatenate([[0.0], np.cumsum(np.square(few, dtype=np.float64))])
    weight = (1 / np.sqrt(energy[size:] - energy[:-size] + 1e-9)).astype(np.float32)
    firsts = np.maximum((ideal - reach) // step, 0).tolist()
    found = [int(ideal[0])]
    for ideal_first in firsts[1:]:
        at, last = (found[-1] + half) // step, ideal_first + num
        first = min(max(ideal_first, (found[-1] + least) // step), last - 1)
        likeness = np.correlate(few[first : last + size - 1], few[at : at + size])
        likeness *= weight[first:last]
        best = int(likeness.argmax())
        place = step * (first + best) + (found[-1] + half) % step
        if step > 1 and 0 < best < last - first - 1:
            low, peak, high = likeness[best - 1 : best + 2].tolist()
            bend = low - 2 * peak + high
            place += round(step * 0.5 * (low - high) / bend) if bend < 0 else 0
        found.append(place)
    return np.array(found)


# --- samples ---------------------------------------------------------------------------------------------------------


def _noisy(stage: Noise, wave: F32, rate: int) -> F32:
    return mixed_in(wave, _noise(stage, len(wave), wave.shape[1], rate), float(stage.snr_db))


def _noise(stage: Noise, length: int, channels: int, rate: int) -> F32:
    """``[length, channels]`` at any level."""
    import scipy.fft

    field = normal_field(stage.key, length * channels).reshape(channels, length)
    if stage.slope == 0:
        return field.T
    size = scipy.fft.next_fast_len(length, real=True)
    spectrum = scipy.fft.rfft(field, size, axis=1) * tilt(places_hz(size, rate), stage.slope).astype(np.float32)
    out: F32 = scipy.fft.irfft(spectrum, size, axis=1)[:, :length].astype(np.float32, copy=False)
    return out.T


def _gapped(stage: Gap, wave: F32, rate: int) -> F32:
    start, stop = round(float(stage.start) * len(wave)), round(float(stage.stop) * len(wave))
    if stop <= start:
        return wave
    edge = fade(min((stop - start) // 2, round(FADE_S * rate)))
    out = wave.copy()
    out[start + len(edge) : stop - len(edge)] = 0
    out[start : start + len(edge)] *= edge[::-1]
    out[stop - len(edge) : stop] *= edge
    return out
