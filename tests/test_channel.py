"""The vocal tract, codecs and lost packets: by formants and pitch, companding's own property, and counting."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal as peer

from augmint.core.errors import UserError
from augmint.transforms.channel import VTLP, Codec, PacketLoss
from test_transforms_audio import RATE, db, made, rms, tone
from voices import VOWELS, pitch, voice


def formant(wave: np.ndarray, low: float, high: float) -> float:
    """Where the envelope of a steady voice is highest within a band, in Hz: by linear prediction of 14 coefficients."""
    x = peer.lfilter([1, -0.6], 1, wave[len(wave) // 4 : -len(wave) // 4, 0]) * np.hanning(len(wave) // 2)
    r = np.correlate(x, x, "full")[len(x) - 1 : len(x) + 14]
    back = np.linalg.solve(r[np.abs(np.subtract.outer(range(14), range(14)))] + 1e-6 * r[0] * np.eye(14), r[1:])
    hz, h = peer.freqz([1.0], np.concatenate([[1.0], -back]), 4096, fs=RATE)
    inside = (hz > low) & (hz < high)
    return float(hz[inside][np.abs(h[inside]).argmax()])


@pytest.mark.parametrize("alpha", [0.85, 1.18])
def test_vtlp_moves_formants_and_not_the_pitch(alpha: float) -> None:
    x = voice("ee", f0=110, seconds=1.0, rate=RATE).wave
    y = made(x, VTLP(alpha=(alpha, alpha)))
    second = VOWELS["ee"][1]
    moved = formant(y, second * 0.7, second * 1.4) / formant(x, second * 0.7, second * 1.4)
    assert abs(moved / alpha - 1) < 0.04
    middle = slice(RATE // 4, -RATE // 4)
    assert abs(12 * np.log2(pitch(y[middle, 0], RATE) / 110)) < 0.05


def test_vtlp_of_1_is_nothing() -> None:
    x = voice(seconds=0.4, rate=RATE, channels=2).wave
    np.testing.assert_allclose(made(x, VTLP(alpha=(1, 1))), x, atol=1e-5)


@pytest.mark.parametrize("coder", ["mulaw", "alaw"])
def test_companding_is_as_good_for_soft_sounds_as_for_loud_ones(coder: str) -> None:
    snr = []
    for level in (1.0, 0.3, 0.1):
        x = level * tone(1013.7)
        y = made(x, Codec(coder=coder))
        middle = slice(RATE // 4, -RATE // 4)
        snr.append(db(float(np.square(x[middle]).mean() / np.square(y - x)[middle].mean())))
    # Eight evenly spaced bits would lose 20 dB on the way.
    assert min(snr) > 28 and max(snr) < 42 and max(snr) - min(snr) < 9


@pytest.mark.parametrize("coder", ["mulaw", "gsm"])
def test_a_telephone_has_its_band_only(coder: str) -> None:
    high = tone(5000)
    assert rms(made(high, Codec(coder=coder))) < 0.003 * rms(high)
    assert rms(made(tone(1000), Codec(coder=coder))) > 0.8 * rms(tone(1000))


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
@pytest.mark.parametrize("coder", ["mp3", "vorbis", "opus", "gsm"])
def test_coders_keep_length_and_place(coder: str, rate: int) -> None:
    rng = np.random.default_rng(0)
    x = voice(seconds=0.8, rate=rate, channels=2).wave * (
        1 + 0.5 * rng.normal(size=(round(0.8 * rate), 1)).cumsum(0) / rate**0.5
    )
    x = (0.3 * x / np.abs(x).max()).astype(np.float32)
    y = made(x, Codec(coder=coder, compression_frac=(0.6, 0.6)), rate=rate)
    assert y.shape == x.shape
    lags = peer.correlation_lags(len(y), len(x))
    lag = int(lags[np.argmax(peer.correlate(y[:, 0], x[:, 0]))])
    assert abs(lag) < 0.001 * rate


@pytest.mark.parametrize("coder", ["mp3", "vorbis", "opus"])
def test_more_compression_costs_more(coder: str) -> None:
    x = voice(seconds=0.8, rate=RATE).wave
    snr = [
        db(float(np.square(x).mean() / np.square(made(x, Codec(coder=coder, compression_frac=(c, c))) - x).mean()))
        for c in (0.3, 0.97)
    ]
    assert snr[0] > snr[1] + 3


def test_a_coder_that_is_none_is_named() -> None:
    with pytest.raises(UserError, match=r"coder is 'mp5'(.|\n)*mulaw, alaw"):
        Codec(coder="mp5")  # type: ignore[arg-type]


def test_packets_are_lost_whole_and_as_often_as_asked_for() -> None:
    x = np.ones((20 * RATE, 1), np.float32)
    y = made(x, PacketLoss(loss_frac=(0.2, 0.2), packet_ms=(20, 20)))[:, 0]
    packets = y.reshape(-1, RATE // 50)
    assert set(np.unique(packets)) == {0, 1} and (packets == packets[:, :1]).all()
    assert abs(packets[:, 0].mean() - 0.8) < 4 * np.sqrt(0.16 / len(packets))
