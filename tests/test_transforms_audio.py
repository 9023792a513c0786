"""Transforms of sound, by numbers: level, pitch, length and spectrum of what comes out; fused and chain; wave and spectrogram."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal as peer

from augmint.core import rng
from augmint.core.errors import UserError
from augmint.core.types import Sample
from augmint.data.audio import Sound
from augmint.modalities.speech import PRESETS, SpeechCodec
from augmint.transforms import fuse_audio, run_audio, run_torch
from augmint.transforms.channel import VTLP, Codec, PacketLoss
from augmint.transforms.levels import LoudnessNormalize, PeakNormalize, Trim
from augmint.transforms.mix import Mix
from augmint.transforms.op import Op
from augmint.transforms.plan import SOUND_OPS, Plan, Quality, sample_key
from augmint.transforms.recipe import Recipe
from augmint.transforms.signal import (
    SLOPES,
    AddNoise,
    BandPass,
    BandStop,
    Filter,
    FreqMask,
    Gain,
    HighPass,
    HighShelf,
    LowPass,
    LowShelf,
    Peaking,
    PolarityInvert,
    Reverb,
    TimeMask,
)
from augmint.transforms.temporal import Crop, Pad, PitchShift, SpeedPerturb, Temporal, TimeShift, TimeStretch, along
from voices import pitch, voice

RATE = 16_000


def drawn(*ops: Op, seed: int = 0) -> Plan:
    return Recipe("r", ops).draw(seed=seed, sample_id="a")


def made(wave: np.ndarray, *ops: Op, rate: int = RATE, seed: int = 0) -> np.ndarray:
    return run_audio.apply(drawn(*ops, seed=seed), wave, rate)


def db(ratio: float) -> float:
    return float(10 * np.log10(ratio))


def tone(hz: float, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)[:, None]


def rms(wave: np.ndarray) -> float:
    return float(np.sqrt(np.square(wave[len(wave) // 4 : -len(wave) // 4], dtype=np.float64).mean()))


# --- single ops ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [-20.0, 0.0, 7.5])
def test_gain_is_in_db(gain: float) -> None:
    x = voice(rate=RATE).wave
    np.testing.assert_allclose(made(x, Gain(gain_db=(gain, gain))), x * 10 ** (gain / 20), rtol=1e-6)


def test_polarity_is_a_sign_and_two_are_none() -> None:
    x = voice(rate=RATE).wave
    np.testing.assert_array_equal(made(x, PolarityInvert(p=1)), -x)
    np.testing.assert_array_equal(made(x, PolarityInvert(p=1), PolarityInvert(p=1)), x)


@pytest.mark.parametrize("colour", SLOPES)
@pytest.mark.parametrize(("snr", "channels"), [(0.0, 1), (12.5, 2)])
def test_noise_has_the_level_asked_for_within_a_tenth_of_a_db(colour: str, snr: float, channels: int) -> None:
    x = voice(rate=RATE, channels=channels).wave
    y = made(x, AddNoise(snr_db=(snr, snr), colour=colour))
    assert abs(db(np.square(x, dtype=np.float64).mean() / np.square(y - x, dtype=np.float64).mean()) - snr) < 0.1
    if channels == 2:
        noise = (y - x).T
        assert abs(np.corrcoef(noise)[0, 1]) < 0.1, "each channel has its own"


@pytest.mark.parametrize(("colour", "db_an_octave"), [("white", 0), ("pink", -3.01), ("brown", -6.02), ("blue", 3.01)])
def test_noise_has_its_colour(colour: str, db_an_octave: float) -> None:
    x = tone(1000, 8.0)
    hz, density = peer.welch((made(x, AddNoise(snr_db=(0, 0), colour=colour)) - x)[:, 0], RATE, nperseg=2048)
    part = (hz > 200) & (hz < 6400)
    slope = np.polyfit(np.log2(hz[part]), 10 * np.log10(density[part]), 1)[0]
    assert abs(slope - db_an_octave) < 0.3


@pytest.mark.parametrize("semitones", [-4.0, -1.5, 0.5, 3.0])
def test_pitch_shift_by_autocorrelation(semitones: float) -> None:
    x = voice(f0=150, seconds=1.0, rate=RATE).wave
    y = made(x, PitchShift(semitones=(semitones, semitones)))
    assert len(y) == len(x)
    middle = slice(RATE // 4, -RATE // 4)
    moved = 12 * np.log2(pitch(y[middle, 0], RATE) / pitch(x[middle, 0], RATE))
    assert abs(moved - semitones) < 0.05


@pytest.mark.parametrize("rate", [0.5, 0.87, 1.2, 2.0])
def test_time_stretch_changes_the_length_and_neither_pitch_nor_level(rate: float) -> None:
    x = voice(f0=130, seconds=1.0, rate=RATE).wave
    y = made(x, TimeStretch(rate=(rate, rate)))
    assert len(y) == round(len(x) / rate)
    middle = slice(len(y) // 4, -len(y) // 4)
    assert abs(12 * np.log2(pitch(y[middle, 0], RATE) / 130)) < 0.1
    assert abs(db((rms(y) / rms(x)) ** 2)) < 0.7


@pytest.mark.parametrize("quality", ["fast", "best"])
@pytest.mark.parametrize("semitones", [-2.0, 2.0])
def test_either_quality_keeps_the_spectrum_of_a_resampled_sound(quality: Quality, semitones: float) -> None:
    # Resampling moves the pitch without any artefact, and the length with it: its spectrogram, read at the old times, is the aim.
    x = (
        voice(f0=140, seconds=1.2, rate=RATE).wave
        * (1 + 0.5 * np.sin(2 * np.pi * 4 * np.arange(1.2 * RATE) / RATE))[:, None]
    )
    x = x.astype(np.float32)
    recipe = Recipe("r", (PitchShift(semitones=(semitones, semitones)),), quality=quality)
    shifted = run_audio.apply(recipe.draw(seed=0, sample_id="a"), x, RATE)
    played = made(x, SpeedPerturb(factor=(2 ** (semitones / 12),) * 2))
    got, want = (_mean_spectrum(y) for y in (shifted, played))
    assert np.abs(got - want).mean() < 1.5


def _mean_spectrum(x: np.ndarray) -> np.ndarray:
    hz, density = peer.welch(x[:, 0], RATE, nperseg=1024)
    return 10 * np.log10(density[(hz > 100) & (hz < 3500)])


@pytest.mark.parametrize("factor", [0.7, 1.1])
def test_speed_changes_length_and_pitch_together(factor: float) -> None:
    x = voice(f0=130, seconds=1.0, rate=RATE).wave
    y = made(x, SpeedPerturb(factor=(factor, factor)))
    assert abs(len(y) - len(x) / factor) <= 1
    middle = slice(len(y) // 4, -len(y) // 4)
    assert abs(12 * np.log2(pitch(y[middle, 0], RATE) / 130 / factor)) < 0.02


@given(st.floats(0.5, 2.0), st.integers(100, 200_000))
def test_lengths_of_transforms_are_in_tune(pitch: float, least: int) -> None:
    out, inner = run_audio._sizes(least, pitch)
    assert out >= least and abs(12 * np.log2(inner / out / pitch)) < 0.01 + 12 * np.log2(1 + 0.5 / inner)


def test_crop_keeps_a_part_and_what_is_shorter_whole() -> None:
    x = np.random.default_rng(0).normal(0, 0.1, (RATE, 2)).astype(np.float32)
    starts = set()
    for seed in range(8):
        plan = drawn(Crop(seconds=(0.3, 0.3)), seed=seed)
        y, start = run_audio.apply(plan, x, RATE), round(plan.steps[0].params["from_frac"] * 0.7 * RATE)
        assert len(y) == round(0.3 * RATE)
        np.testing.assert_allclose(y[100:-100], x[start : start + len(y)][100:-100], atol=1e-6)
        starts.add(start)
    assert len(starts) == 8
    np.testing.assert_array_equal(made(x, Crop(seconds=(1.5, 1.5))), x)


@pytest.mark.parametrize("before", [0.0, 0.25, 1.0])
def test_pad_puts_silence_where_it_is_asked_for(before: float) -> None:
    x = np.random.default_rng(0).normal(0, 0.1, (RATE // 2, 1)).astype(np.float32)
    y = made(x, Pad(seconds=(1, 1), before_frac=(before, before)))
    start = round(before * RATE / 2)
    assert len(y) == RATE
    np.testing.assert_array_equal(y[start : start + len(x)], x)
    assert not y[:start].any() and not y[start + len(x) :].any()
    np.testing.assert_array_equal(made(x, Pad(seconds=(0.2, 0.2))), x)


TIMES = (
    TimeStretch(rate=(0.6, 1.7)),
    SpeedPerturb(),
    PitchShift(),
    TimeShift(shift_s=(-0.4, 0.4)),
    Crop(seconds=(0.3, 1.2)),
    Pad(seconds=(0.5, 2), before_frac=(0, 1)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(TIMES), min_size=1, max_size=5), st.integers(0, 2**31))
def test_a_run_of_times_is_one_line_that_goes_through_them_one_by_one(ops: list[Temporal], seed: int) -> None:
    plan = drawn(*ops, seed=seed)
    times, seconds = np.linspace(0, 1, 41), 1.0
    lost = np.zeros(41, bool)
    for step in plan.steps:  # slowly, each time by itself
        n = step.params
        factor = 1 / n.get("rate", n.get("factor", 1.0))
        times, seconds = times * factor, seconds * factor
        frame, later = seconds, n.get("shift_s", 0.0)
        if step.op == "Crop":
            frame = min(seconds, n["seconds"])
            later = -n["from_frac"] * (seconds - frame)
        if step.op == "Pad":
            frame = max(seconds, n["seconds"])
            later = n["before_frac"] * (frame - seconds)
        times, seconds = times + later, frame
        lost |= (times < -1e-9) | (times > frame + 1e-9)
    (stage,) = fuse_audio.compile(plan)
    assert isinstance(stage, fuse_audio.TimeMap)
    line = stage.line(np.asarray(1.0))
    assert abs(float(line.seconds) - seconds) < 1e-9
    np.testing.assert_allclose(line.at(np.linspace(0, 1, 41))[~lost], times[~lost], atol=1e-9)
    assert (np.clip(line.at(np.linspace(0, 1, 41)), 0, seconds) == line.at(np.linspace(0, 1, 41))).all()
    x = voice(seconds=1.0, rate=8000).wave
    assert abs(len(run_audio.apply(plan, x, 8000)) - len(run_audio.apply(plan, x, 8000, exact=True))) <= len(ops)


def test_what_was_shifted_out_is_lost_and_does_not_come_back() -> None:
    x = np.ones((RATE, 1), np.float32)
    y = made(x, TimeShift(shift_s=(0.3, 0.3)), TimeShift(shift_s=(-0.3, -0.3)))[:, 0]
    assert (y[: round(0.69 * RATE)] == 1).all() and not y[round(0.7 * RATE) :].any()


def test_time_stretch_keeps_channels_together() -> None:
    one = voice(rate=RATE).wave
    both = np.concatenate([one, -0.5 * one], axis=1)
    y = made(both, TimeStretch(rate=(0.9, 0.9)), PitchShift(semitones=(1, 1)))
    np.testing.assert_allclose(y[:, 1], -0.5 * y[:, 0], atol=1e-6)


@pytest.mark.parametrize("shift", [-0.05, 0.03, 2.0])
def test_time_shift_moves_by_so_many_seconds_and_keeps_the_length(shift: float) -> None:
    x = np.random.default_rng(0).normal(0, 0.1, (RATE // 2, 1)).astype(np.float32)
    y = made(x, TimeShift(shift_s=(shift, shift)))
    assert len(y) == len(x)
    if abs(shift) * RATE >= len(x):
        assert not y.any()
        return
    lags = peer.correlation_lags(len(y), len(x))
    assert lags[np.argmax(peer.correlate(y[:, 0], x[:, 0]))] == round(shift * RATE)
    gap = y[: round(shift * RATE)] if shift > 0 else y[round(shift * RATE) :]
    assert not gap.any()


@pytest.mark.parametrize(("hz", "loss"), [(300.0, 3.01), (1000.0, 0.0), (3000.0, 3.01), (6000.0, 24.1), (75.0, 48.2)])
def test_band_pass_is_butterworths_fourth_order_without_phase(hz: float, loss: float) -> None:
    x = tone(hz)
    y = made(x, BandPass(low_hz=(300, 300), high_hz=(3000, 3000)))
    assert abs(-db((rms(y) / rms(x)) ** 2) - loss) < 0.2
    middle = slice(RATE // 4, -RATE // 4)
    assert np.corrcoef(x[middle, 0], y[middle, 0])[0, 1] > 0.9999


HZ = np.geomspace(20, 20_000, 200)


@pytest.mark.parametrize(
    ("op", "edges", "kind"),
    [
        (LowPass(cutoff_hz=(900, 900)), 900, "lowpass"),
        (HighPass(cutoff_hz=(900, 900)), 900, "highpass"),
        (BandStop(low_hz=(400, 400), high_hz=(2500, 2500)), (400, 2500), "bandstop"),
        (BandStop(low_hz=(2500, 2500), high_hz=(400, 400)), (400, 2500), "bandstop"),
    ],
)
def test_filters_are_scipys_analogue_butterworths(op: Filter, edges: float | tuple[float, float], kind: str) -> None:
    back, forth = peer.butter(4, 2 * np.pi * np.array(edges), kind, analog=True)
    want = np.abs(peer.freqs(back, forth, 2 * np.pi * HZ)[1])
    np.testing.assert_allclose(op.response(drawn(op).steps[0].params, HZ), want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("gain", [-9.0, 12.0])
@pytest.mark.parametrize("q", [0.7, 4.0])
def test_a_bell_has_its_gain_at_its_centre_and_half_of_it_at_its_width(gain: float, q: float) -> None:
    op = Peaking(centre_hz=(1000, 1000), gain_db=(gain, gain), q=(q, q))
    half = np.sqrt(1 + 1 / (4 * q**2))  # the edges are 1 / q apart, and their product is 1
    at = 1000 * np.array([1, half - 1 / (2 * q), half + 1 / (2 * q), 0.001, 1000])
    found = 20 * np.log10(op.response(drawn(op).steps[0].params, at))
    np.testing.assert_allclose(found, [gain, gain / 2, gain / 2, 0, 0], atol=0.01)
    x = tone(1000)
    assert abs(db((rms(made(x, op)) / rms(x)) ** 2) - gain) < 0.05


@pytest.mark.parametrize("gain", [-9.0, 12.0])
def test_shelves_have_their_gain_beyond_the_corner_and_half_of_it_there(gain: float) -> None:
    for op, sign in ((LowShelf, -1), (HighShelf, 1)):
        one = op(corner_hz=(1000, 1000), gain_db=(gain, gain))
        at = 1000.0 * 100.0 ** (sign * np.array([1.0, 0.0, -1.0]))
        found = 20 * np.log10(one.response(drawn(one).steps[0].params, at))
        np.testing.assert_allclose(found, [gain, gain / 2, 0], atol=0.02)
        curve = 20 * np.log10(one.response(drawn(one).steps[0].params, HZ))
        assert (np.diff(curve) * sign * np.sign(gain) >= -1e-9).all(), "no bump"


@pytest.mark.parametrize("rt60", [0.2, 0.5, 1.2])
@pytest.mark.parametrize("rate", [8000, 44_100])
def test_a_room_dies_away_as_asked_for_by_schroeders_integral(rt60: float, rate: int) -> None:
    click = np.zeros((round(2 * rate), 1), np.float32)
    click[0] = 1
    decay, direct = [], []
    for seed in range(6):
        h = np.square(
            made(click, Reverb(rt60_s=(rt60, rt60), drr_db=(3, 3)), rate=rate, seed=seed)[:, 0].astype(np.float64)
        )
        direct.append(h[:5].sum() / h[5:].sum())
        assert abs(h.sum() - 1) < 0.15, "the power stays"
        fall = 10 * np.log10(np.cumsum(h[round(0.003 * rate) :][::-1])[::-1] + 1e-30)
        fall -= fall[0]
        part = (fall < -5) & (fall > -35)
        decay.append(-60 / np.polyfit(np.arange(len(fall))[part] / rate, fall[part], 1)[0])
    assert abs(np.mean(decay) / rt60 - 1) < 0.05 and max(np.abs(np.array(decay) / rt60 - 1)) < 0.15
    assert abs(db(float(np.mean(direct))) - 3) < 0.5


def test_a_filter_and_a_room_become_one_transform_and_are_what_the_chain_is() -> None:
    x = np.pad(voice(seconds=0.4, rate=RATE).wave, ((0, RATE // 2), (0, 0)))
    plan = drawn(Reverb(rt60_s=(0.3, 0.3)), BandPass(), Peaking())
    assert len(fuse_audio.compile(plan)) == 1
    fused, exact = (run_audio.apply(plan, x, RATE, exact=e) for e in (False, True))
    np.testing.assert_allclose(fused, exact, atol=1e-4)


def test_freq_mask_takes_out_its_band_and_nothing_else() -> None:
    mask = drawn(FreqMask(width_frac=(0.2, 0.2)))
    numbers = mask.steps[0].params
    top = 1127 * np.log1p(8000 / 700)

    def hz_at(part: float) -> float:
        return float(700 * np.expm1(top * (numbers["from_frac"] + part * numbers["width_frac"]) / 1127))

    for part, loss in ((0.5, 80.0), (-0.1, 0.0), (1.1, 0.0)):
        x = tone(hz_at(part)) * np.hanning(RATE).astype(np.float32)[:, None]
        assert abs(-db((rms(run_audio.apply(mask, x, RATE)) / rms(x)) ** 2) - loss) < 1.0


def test_time_mask_silences_so_much_and_fades_at_its_edges() -> None:
    x = np.ones((RATE, 1), np.float32)
    y = made(x, TimeMask(width_frac=(0.25, 0.25)))[:, 0]
    assert (y < 1).sum() == 0.25 * RATE and y.min() == 0
    assert np.abs(np.diff(y)).max() < 0.03


ALONE = [name for name, op in SOUND_OPS.items() if not issubclass(op, Mix)]
LONGER = {"Pad": {"seconds": (0.1, 0.15)}}  # so that its length is of the others' kind


@pytest.mark.parametrize("name", ALONE)
def test_every_op_takes_silence_a_blink_and_six_channels(name: str) -> None:
    for wave, rate in (
        (np.zeros((800, 1), np.float32), 8000),
        (voice(seconds=0.02, rate=8000).wave, 8000),
        (voice(seconds=0.05, rate=192_000, channels=6).wave, 192_000),
        (np.full((400, 1), 0.3, np.float32), 8000),
    ):
        out = made(wave, SOUND_OPS[name](p=1.0, **LONGER.get(name, {})), rate=rate)
        assert out.dtype == np.float32 and out.shape[1] == wave.shape[1] and np.isfinite(out).all()
        assert 0.4 < len(out) / len(wave) < 2.1 or (name == "Pad" and 0.09 < len(out) / rate < 0.16)


# --- plans -----------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(sorted(ALONE)), min_size=1, max_size=6), st.integers(0, 2**31))
def test_a_plan_replays_from_its_json_to_the_same_numbers(names: list[str], seed: int) -> None:
    plan = Recipe("r", tuple(SOUND_OPS[n]() for n in names)).draw(seed=seed, sample_id="a")
    x = voice(seconds=0.1).wave
    again = Plan.from_json(plan.to_json())
    assert again == plan
    np.testing.assert_array_equal(run_audio.apply(again, x, 8000), run_audio.apply(plan, x, 8000))


def test_a_run_becomes_one_map_and_one_response() -> None:
    ops = (Gain(), TimeStretch(), BandPass(), PitchShift(), TimeShift(), AddNoise(), Gain(), TimeMask())
    kinds = [type(stage).__name__ for stage in fuse_audio.compile(drawn(*ops))]
    assert kinds == ["TimeMap", "Response", "Noise", "Response", "Gap"]


def test_two_stretches_are_one_and_undo_each_other() -> None:
    x = voice(rate=RATE).wave
    np.testing.assert_array_equal(made(x, TimeStretch(rate=(0.8, 0.8)), TimeStretch(rate=(1.25, 1.25))), x)
    np.testing.assert_array_equal(made(x, PitchShift(semitones=(3, 3)), PitchShift(semitones=(-3, -3))), x)


def test_what_commutes_is_as_the_chain_has_it() -> None:
    x = voice(seconds=0.5, rate=RATE).wave
    plan = drawn(Gain(), BandPass(), PolarityInvert(p=1), TimeShift(shift_s=(0.05, 0.05)), FreqMask())
    fused, exact = (run_audio.apply(plan, x, RATE, exact=e) for e in (False, True))
    # But for the fade where the shift cuts, and what a filter rings on beyond it.
    np.testing.assert_allclose(fused[2000:], exact[2000:], atol=2e-3)


@pytest.mark.parametrize(
    ("ops", "num"),
    [
        ((TimeStretch(rate=(0.8, 0.8)), TimeShift(shift_s=(0.03, 0.03))), 1),
        (
            (
                Trim(below_db=(30, 30)),
                TimeStretch(rate=(1.2, 1.2)),
                PitchShift(),
                Pad(seconds=(2, 2), before_frac=(0.5, 0.5)),
            ),
            2,
        ),
    ],
)
def test_times_move_along_the_lines(ops: tuple[Op, ...], num: int) -> None:
    x = np.zeros((RATE, 1), np.float32)
    clicks = np.array([0.2, 0.5, 0.81])
    for t in clicks:
        at = round(t * RATE)
        x[at - 160 : at + 160, 0] = tone(1000, 0.02)[:, 0] * np.hanning(320)
    plan = drawn(*ops)
    wave, lines = run_audio.apply_with(plan, x, RATE)
    y = np.abs(wave[:, 0])
    assert len(lines) == num
    for t in along(lines, clicks):
        near = slice(round((t - 0.05) * RATE), round((t + 0.05) * RATE))
        centre = np.average(np.arange(near.start, near.stop), weights=y[near]) / RATE
        assert abs(centre - t) < 0.01


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_draw_and_no_label_is_lost(preset: str) -> None:
    x = voice(seconds=0.3).wave
    for i in range(6):
        y = run_audio.apply(PRESETS[preset].draw(seed=i, sample_id="a"), x, 8000)
        assert np.isfinite(y).all() and rms(y) > 0.05 * rms(x)


def test_a_colour_that_is_none_is_named() -> None:
    with pytest.raises(UserError, match=r"colour is 'red'(.|\n)*white, pink, brown, blue"):
        AddNoise(colour="red")  # type: ignore[arg-type]


# --- spectrograms ----------------------------------------------------------------------------------------------------

CODEC = SpeechCodec(RATE, 64, 40, 0.016, -10.0)
VOICES = [voice(v, f0=f, seconds=s, rate=RATE) for v, f, s in (("ah", 120, 0.4), ("ee", 200, 0.5), ("oo", 160, 0.45))]


def on_the_grid(sound: Sound) -> np.ndarray:
    return CODEC.encode(Sample("a", sound))


@pytest.mark.parametrize(
    ("op", "most_db"),
    [
        (Gain(gain_db=(-9, -9)), 0.1),
        (TimeShift(shift_s=(0.048, 0.048)), 1.0),
        (TimeStretch(rate=(0.85, 0.85)), 3.0),
        (PitchShift(semitones=(2, 2)), 3.5),
        (BandPass(), 0.5),
        (FreqMask(width_frac=(0.2, 0.2)), 1.5),
        (AddNoise(snr_db=(10, 10)), 3.5),
        (AddNoise(snr_db=(10, 10), colour="pink"), 3.5),
        (PolarityInvert(p=1), 0.01),
        (SpeedPerturb(factor=(1.1, 1.1)), 3.5),
        (Crop(seconds=(0.3, 0.3)), 1.5),
        (Pad(seconds=(0.6, 0.6), before_frac=(0.5, 0.5)), 2.0),
        (LowPass(cutoff_hz=(1500, 1500)), 0.5),
        (HighPass(cutoff_hz=(500, 500)), 0.5),
        (BandStop(low_hz=(500, 500), high_hz=(1500, 1500)), 1.0),
        (Peaking(centre_hz=(1000, 1000), gain_db=(10, 10)), 0.5),
        (LowShelf(gain_db=(8, 8)), 0.5),
        (HighShelf(gain_db=(-8, -8)), 0.5),
        (Reverb(rt60_s=(0.5, 0.5), drr_db=(3, 3)), 3.5),
        (LoudnessNormalize(lufs=(-30, -30)), 1.0),
        (PeakNormalize(peak_dbfs=(-20, -20)), 2.5),
        (Trim(below_db=(20, 20)), 3.5),
        (VTLP(alpha=(1.15, 1.15)), 3.5),
        (Codec(), 2.0),
        (PacketLoss(loss_frac=(0.15, 0.15)), 3.5),
    ],
)
def test_a_spectrogram_becomes_what_the_spectrogram_of_the_wave_becomes(op: Op, most_db: float) -> None:
    recipe = Recipe("r", (op,))
    x = np.stack([on_the_grid(v) for v in VOICES])
    keys = np.array([sample_key(0, str(i)) for i in range(len(x))], dtype=np.uint64)
    got = run_torch.augment(torch.from_numpy(x), recipe.on(CODEC), keys).numpy()
    changed = [run_audio.apply(recipe.plan_of(int(k)), v.wave, v.rate) for k, v in zip(keys, VOICES, strict=True)]
    want = np.stack([on_the_grid(Sound(wave, v.rate)) for wave, v in zip(changed, VOICES, strict=True)])
    heard = np.maximum(got, want) > -0.5  # within 60 dB of the loudest
    assert 40 * np.abs(got - want)[heard].mean() < most_db


def test_the_gap_on_a_spectrogram_lies_where_it_lies_in_the_sound() -> None:
    steady = np.random.default_rng(0).normal(0, 0.1, (round(0.6 * RATE), 1)).astype(np.float32)
    plan_of = Recipe("r", (TimeMask(width_frac=(0.3, 0.3)),))
    key = np.array([sample_key(0, "a")], dtype=np.uint64)
    got = run_torch.augment(torch.from_numpy(on_the_grid(Sound(steady, RATE))[None]), plan_of.on(CODEC), key)[0, 0]
    want = on_the_grid(Sound(run_audio.apply(plan_of.plan_of(int(key[0])), steady, RATE), RATE))[0]
    silent = [np.flatnonzero((a <= -1).all(axis=0)[:36]) for a in (got.numpy(), want)]
    assert abs(silent[0].min() - silent[1].min()) <= 1 and abs(silent[0].max() - silent[1].max()) <= 1


def test_a_batch_is_what_each_sample_is_alone_and_gradients_pass() -> None:
    recipe = PRESETS["strong"].on(CODEC)
    x = torch.from_numpy(np.stack([on_the_grid(v) for v in VOICES])).requires_grad_()
    keys = rng.bits(3, np.arange(len(x)))
    whole = run_torch.augment(x, recipe, keys)
    for i in range(len(x)):
        np.testing.assert_allclose(
            whole[i].detach(), run_torch.augment(x[i : i + 1], recipe, keys[i : i + 1])[0].detach(), atol=1e-5
        )
    run_torch.augment(x, run_torch.gan_recipe(list(SOUND_OPS)).on(CODEC), keys, clip=False).sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all() and (x.grad != 0).any()


def test_silence_stays_silence_on_the_grid() -> None:
    x = torch.full((2, 1, 64, 40), -1.0)
    assert torch.equal(run_torch.augment(x, PRESETS["strong"].on(CODEC), rng.bits(1, np.arange(2))), x)
