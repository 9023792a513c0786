"""Loudness against the standard's own numbers and a slow reference; peaks, limiter, clipping, bits and silence by closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal as peer

from augmint.transforms.levels import BitCrush, Clip, Limiter, LoudnessNormalize, PeakNormalize, Trim, loudness
from test_transforms_audio import RATE, db, made, tone
from voices import voice

# ITU-R BS.1770-4, tables 1 and 2: the filters at 48 kHz.
SHELF = ([1.53512485958697, -2.69169618940638, 1.19839281085285], [1.0, -1.69065929318241, 0.73248077421585])
HIGH_PASS = ([1.0, -2.0, 1.0], [1.0, -1.99004745483398, 0.99007225036621])


def sine(level_db: float, seconds: float, rate: int = 48_000, channels: int = 2) -> np.ndarray:
    x = 10 ** (level_db / 20) * np.sin(2 * np.pi * 1000 * np.arange(round(seconds * rate)) / rate)
    return np.repeat(x[:, None], channels, axis=1).astype(np.float32)


def slow_loudness(wave: np.ndarray) -> float:
    """BS.1770-4 as it is written, at 48 kHz: block by block."""
    x = wave.astype(np.float64)
    for forth, back in (SHELF, HIGH_PASS):
        x = peer.lfilter(forth, back, x, axis=0)
    weights = (1.0, 1.0, 1.0, 1.41, 1.41)
    powers = []
    for start in range(0, len(x) - 19_200 + 1, 4_800):
        block = x[start : start + 19_200]
        powers.append(sum(weights[c] * np.mean(block[:, c] ** 2) for c in range(x.shape[1])))
    above = [p for p in powers if -0.691 + 10 * np.log10(p + 1e-30) > -70]
    gate = -0.691 + 10 * np.log10(np.mean(above)) - 10
    return float(-0.691 + 10 * np.log10(np.mean([p for p in above if -0.691 + 10 * np.log10(p) > gate])))


def test_a_full_sine_has_the_standards_loudness_at_every_rate() -> None:
    for rate in (8_000, 16_000, 44_100, 48_000, 192_000):
        x = np.sin(2 * np.pi * 997 * np.arange(3 * rate) / rate).astype(np.float32)[:, None]
        assert abs(loudness(x, rate) + 3.01) < 0.1


@pytest.mark.parametrize(
    ("parts", "want"),  # EBU Tech 3341, cases 1, 2, 3 and 5, shortened
    [
        ([(-23, 5)], -23),
        ([(-33, 5)], -33),
        ([(-36, 2), (-23, 12), (-36, 2)], -23),
        ([(-26, 4), (-20, 4.02), (-26, 4)], -23),
    ],
)
def test_the_broadcasters_test_signals(parts: list[tuple[float, float]], want: float) -> None:
    assert abs(loudness(np.concatenate([sine(*part) for part in parts]), 48_000) - want) < 0.1


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_loudness_is_that_of_the_slow_reference(channels: int) -> None:
    x = np.concatenate(
        [voice(f0=f, seconds=0.7, rate=48_000, channels=channels).wave * a for f, a in ((90, 1), (180, 0.02))]
    )
    assert abs(loudness(x, 48_000) - slow_loudness(x)) < 0.01


def test_loudness_normalize_brings_it_there_and_leaves_silence_alone() -> None:
    x = voice(seconds=0.9, rate=RATE).wave
    assert abs(loudness(made(x, LoudnessNormalize(lufs=(-27, -27))), RATE) + 27) < 0.01
    short = voice(seconds=0.1, rate=RATE).wave
    assert abs(loudness(made(short, LoudnessNormalize(lufs=(-27, -27))), RATE) + 27) < 0.01
    for quiet in (np.zeros((RATE, 1), np.float32), x * np.float32(1e-5)):
        np.testing.assert_array_equal(made(quiet, LoudnessNormalize()), quiet)


def test_peak_normalize() -> None:
    x = voice(seconds=0.3, rate=RATE, channels=2).wave
    y = made(x, PeakNormalize(peak_dbfs=(-7, -7)))
    assert abs(db(float(np.abs(y).max()) ** 2) + 7) < 1e-4
    np.testing.assert_allclose(y / x, (y / x)[np.abs(x).argmax() // 2, 0], rtol=1e-4)


def test_the_limiter_holds_its_ceiling_and_touches_nothing_else() -> None:
    x = np.concatenate([0.1 * tone(300), 2.0 * tone(300), 0.1 * tone(300)])
    y = made(x, Limiter(ceiling_dbfs=(-6, -6)))
    assert np.abs(y).max() <= 10 ** (-6 / 20) + 1e-7
    far = round(0.011 * RATE)
    np.testing.assert_array_equal(y[: RATE - far], x[: RATE - far])
    np.testing.assert_array_equal(y[2 * RATE + far :], x[2 * RATE + far :])
    loud = slice(RATE + far, 2 * RATE - far)
    assert abs(np.corrcoef(x[loud, 0], y[loud, 0])[0, 1] - 1) < 1e-6, "a steady tone is turned down, not bent"


def test_clip_cuts_the_share_asked_for_and_leaves_the_rest() -> None:
    x = np.random.default_rng(0).normal(0, 0.1, (RATE, 1)).astype(np.float32)
    y = made(x, Clip(share_frac=(0.05, 0.05)))
    cut = x != y
    assert abs(cut.mean() - 0.05) < 1e-3
    assert np.unique(np.abs(y[cut])).size == 1 and np.abs(y).max() <= np.abs(x[cut]).min()


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_bit_crush_leaves_so_many_levels(bits: int) -> None:
    ramp = np.linspace(-1, 1, 20_000, dtype=np.float32)[:, None]
    y = made(ramp, BitCrush(bits=(bits, bits)))
    assert len(np.unique(y)) == 2**bits
    inside = ramp < 1 - 2.0 ** (1 - bits)
    assert np.abs(y - ramp)[inside].max() <= 2.0**-bits + 1e-6


def test_bits_are_whole_and_all_of_them_come() -> None:
    drawn = BitCrush(bits=(6, 9)).draw(np.linspace(0, 1 - 2**-53, 400)[:, None])["bits"]
    assert sorted(set(drawn)) == [6, 7, 8, 9]


def test_trim_takes_silence_from_the_ends_only() -> None:
    rng = np.random.default_rng(0)
    word = voice(seconds=0.3, rate=RATE).wave
    hum = lambda s: rng.normal(0, 1e-4, (round(s * RATE), 1)).astype(np.float32)  # noqa: E731
    x = np.concatenate([hum(0.5), word, hum(0.4), word, hum(0.7)])
    first, last = Trim.kept({"below_db": np.array(40.0)}, x, RATE)
    assert abs(first / RATE - 0.5) < 0.025 and abs(last / RATE - 1.5) < 0.025
    assert len(made(x, Trim(below_db=(40, 40)))) == last - first
    for whole in (np.zeros((RATE, 1), np.float32), tone(300), word[:100]):
        np.testing.assert_array_equal(made(whole, Trim()), whole)
