"""A vocoder of one's own: its transforms against scipy's, its pieces against the spectrogram, its verdict on planted speakers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch

import augmint
from augmint import cli
from augmint.core.errors import Interrupted, Refused, UserError
from augmint.core.run import read_json, write_json
from augmint.core.types import F32, Sample
from augmint.data import images
from augmint.data.audio import Sound
from augmint.data.spectra import Mel
from augmint.modalities.image import ImageCodec
from augmint.modalities.speech import SpeechCodec, SpeechModality
from augmint.models.blocks import count_weights
from augmint.models.vocoder import REACH, SIZES, WIDER, Vocoder, networks
from augmint.steps import vocoding
from augmint.training import vocoder
from augmint.training.vocoder import EDGE, FRAMES, Pair, Pieces, Schedule, State
from voices import phrase, voice, write, write_voices

RATE = 8000
MEL = Mel(RATE, 40, 0.01)
CODEC = SpeechCodec(RATE, 40, 128, 0.01, -5.0)
STEPS = 21  # saved after every second; the verifier joins at the eighth


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocoder, "BATCH", 4)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return [CODEC.pair(phrase(seed, slower=2.0)) for seed in range(8)]


@pytest.fixture(scope="module")
def net() -> Vocoder:
    return networks(MEL, "nano", 0)[0].eval()


# --- the networks -----------------------------------------------------------------------------------------------------


def test_the_inverse_gives_a_wave_back_from_the_spectrum_that_scipy_makes(net: Vocoder) -> None:
    wave = np.random.default_rng(0).normal(size=40 * MEL.hop)
    _, _, spectrum = scipy.signal.stft(wave, nperseg=MEL.length, noverlap=MEL.length - MEL.hop, padded=False)
    spectrum *= MEL.window.sum()
    found = net.inverse(torch.from_numpy(spectrum.astype(np.complex64))[None], len(wave))[0].numpy()
    np.testing.assert_allclose(found, wave, atol=1e-5)


def test_the_inverse_of_any_spectrum_is_that_of_scipy_and_that_of_griffin_and_lim(net: Vocoder) -> None:
    draw = np.random.default_rng(1)
    spectrum = draw.normal(size=(2, MEL.length // 2 + 1, 30)) @ np.eye(30)
    spectrum = (spectrum[0] + 1j * spectrum[1]).astype(np.complex64)
    spectrum[[0, -1]] = spectrum[[0, -1]].real
    samples = 29 * MEL.hop
    found = net.inverse(torch.from_numpy(spectrum)[None], samples)[0].numpy()
    _, theirs = scipy.signal.istft(spectrum / MEL.window.sum(), nperseg=MEL.length, noverlap=MEL.length - MEL.hop)
    np.testing.assert_allclose(found, theirs[:samples], atol=1e-5)
    np.testing.assert_allclose(found, MEL.inverse(spectrum.T, samples), atol=1e-5)


def test_phases_of_0_make_a_click_in_the_middle_of_its_frame() -> None:
    net = networks(MEL, "nano", 0)[0]
    with torch.no_grad():
        net.phase.weight.zero_()
        net.phase.bias.zero_()
    levels = np.full((MEL.num_mels, 21), -80, np.float32)
    levels[:, 12] = -10
    assert abs(int(np.abs(net.wave(levels, 20 * MEL.hop)).argmax()) - 12 * MEL.hop) <= 1


def test_at_the_start_amplitudes_are_those_that_griffin_and_lim_would_begin_with(net: Vocoder) -> None:
    levels = np.random.default_rng(2).uniform(-60, 0, (MEL.num_mels, 12)).astype(np.float32)
    with torch.no_grad():
        found = net.spectrum(torch.from_numpy(levels)[None])[0].abs().numpy()
    shares = MEL.filters / MEL.filters.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found**2, shares.T @ 10 ** (levels / 10) * MEL.scale, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_so_many_weights(size: str) -> None:
    mel = Mel(16_000, 80, 0.01)
    width, blocks, bins = SIZES[size].width, SIZES[size].blocks, mel.length // 2 + 1
    block = (REACH + 1) * width + 2 * width + (width + 1) * WIDER * width + (WIDER * width + 1) * width + width
    want = (REACH * mel.num_mels + 1) * width + 4 * width + blocks * block + 2 * (width + 1) * bins
    found = count_weights(networks(mel, size, 0)[0])
    assert found == want
    assert size != "small" or 1.0e6 < found < 1.6e6


def test_a_wave_is_the_same_however_many_threads_there_are(net: Vocoder, pairs: list[Pair]) -> None:
    levels, wave = max(pairs, key=lambda pair: len(pair[1]))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            found.append(net.wave(levels, len(wave)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert found[0].shape == wave.shape and all(np.array_equal(x, found[0]) for x in found)


# --- the codec --------------------------------------------------------------------------------------------------------


def test_a_pair_is_what_decode_sees_and_the_wave_that_it_should_make() -> None:
    sound, seen = phrase(3), list[tuple[F32, int]]()

    def speak(levels: F32, samples: int) -> F32:
        seen.append((levels, samples))
        return np.full(samples, 0.5, np.float32)

    made = CODEC.spoken(speak).decode(CODEC.encode(Sample("", sound)))
    levels, wave = CODEC.pair(sound)
    np.testing.assert_array_equal(seen[0][0], levels)
    assert seen[0][1] == len(wave) == len(made.wave)
    scale = 10 ** (CODEC.ceiling_db / 20)
    np.testing.assert_allclose(made.wave, 0.5 * scale, rtol=1e-5)
    num = min(len(wave), len(sound.wave))
    assert len(wave) - num < MEL.hop
    np.testing.assert_allclose(wave[:num] * scale, sound.wave[:num, 0], atol=1e-6)


def test_a_pair_is_of_the_whole_sound_however_long_the_grid() -> None:
    sound = Sound(np.concatenate([phrase(s).wave for s in range(4)]), RATE)
    levels, wave = replace(CODEC, columns=16).pair(sound)
    assert len(wave) > 0.9 * len(sound.wave) and levels.shape == (40, MEL.frames(len(wave)))


def test_who_speaks_is_not_saved_with_the_codec() -> None:
    spoken = CODEC.spoken(lambda levels, samples: np.zeros(samples, np.float32))
    assert spoken.to_dict() == CODEC.to_dict() and spoken == CODEC == SpeechModality().codec(spoken.to_dict())


def test_what_is_all_but_silent_is_decoded_too(net: Vocoder) -> None:
    made = CODEC.spoken(net.wave).decode(np.full((1, 40, 128), -1, np.float32))
    assert np.isfinite(made.wave).all() and np.abs(made.wave).max() < 1e-2


# --- training ---------------------------------------------------------------------------------------------------------


def test_pieces_are_the_waves_of_their_levels_and_the_same_every_time(pairs: list[Pair]) -> None:
    pieces = Pieces(pairs, MEL, seed=5)
    levels, waves = pieces.batch(3)
    assert torch.equal(waves, pieces.batch(3)[1]) and not torch.equal(waves, pieces.batch(4)[1])
    for seen, wave in zip(levels.numpy(), waves.numpy(), strict=True):
        inner = slice(EDGE, FRAMES - EDGE)
        found = MEL.levels(wave)[:, inner]
        loud = seen[:, inner] > seen.max() - 40
        assert np.abs(found - seen[:, inner])[loud].max() < 0.5


def test_the_distance_of_a_wave_half_as_loud_and_of_one_whose_phases_do_not_go_together() -> None:
    wave = torch.from_numpy(np.random.default_rng(0).normal(size=(2, RATE))).float()
    assert float(vocoder.apart(wave, wave, RATE)) < 1e-4
    assert float(vocoder.apart(wave, 0.5 * wave, RATE)) == pytest.approx(0.5 + np.log(2), abs=0.02)
    real = voice(seconds=1.0, rate=RATE).wave[:, 0]
    spectrum = MEL.transform(real)
    turned = np.abs(spectrum) * np.exp(2j * np.pi * np.random.default_rng(1).uniform(size=spectrum.shape))
    kept, lost = (
        float(vocoder.apart(*(torch.from_numpy(x)[None] for x in (real, MEL.inverse(s, len(real)))), RATE))
        for s in (spectrum, turned.astype(np.complex64))
    )
    assert kept < 1e-3 and lost > 0.5


def test_training_comes_nearer_to_the_voices_and_the_verifier_joins_it(pairs: list[Pair]) -> None:
    pieces, state, rows = Pieces(pairs, MEL, 0), State.fresh(MEL, "nano", 0, "cpu"), list[dict[str, float]]()
    before = state.verifier.ears[0].score.weight.detach().clone()  # type: ignore[union-attr]
    vocoder.train(state, pieces, Schedule(45, 2e-3), on_row=rows.append)
    assert len(rows) == 45 and ["verifier" in row for row in rows] == [False] * 15 + [True] * 30
    assert np.mean([r["spectra"] for r in rows[-5:]]) < 0.9 * np.mean([r["spectra"] for r in rows[:5]])
    assert not torch.equal(before, state.verifier.ears[0].score.weight)  # type: ignore[union-attr]


class After:
    """Asks to stop when it has been looked at so many times."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    def __bool__(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("killed", [False, True])
def test_stopped_or_killed_and_taken_up_it_ends_bit_for_bit_where_it_would_have_ended(
    pairs: list[Pair], tmp_path: Path, killed: bool
) -> None:
    pieces, schedule = Pieces(pairs, MEL, 0), Schedule(STEPS, 2e-3)
    assert schedule.is_heard(8) and not schedule.is_heard(6) and schedule.is_tick(12) and not schedule.is_tick(13)
    whole = vocoder.train(State.fresh(MEL, "nano", 1, "cpu"), pieces, schedule)
    first = State.fresh(MEL, "nano", 1, "cpu")

    def kill(figures: dict[str, float]) -> None:
        if killed and first.step == 13:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError if killed else Interrupted, match="killed" if killed else "the state is saved"):
        vocoder.train(first, pieces, schedule, checkpoints=tmp_path, stop=After(99 if killed else 12), on_row=kill)
    again = State.fresh(MEL, "nano", 2, "cpu")
    again.load(tmp_path)
    assert again.step == (12 if killed else 13)
    vocoder.train(again, pieces, schedule, checkpoints=tmp_path)
    for a, b in ((whole.net, again.net), (whole.verifier, again.verifier)):
        assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def test_what_is_no_number_is_told_and_not_saved(pairs: list[Pair], tmp_path: Path) -> None:
    spoiled = [(levels, np.full_like(wave, np.nan)) for levels, wave in pairs]
    with pytest.raises(UserError, match="diverged"):
        vocoder.train(
            State.fresh(MEL, "nano", 0, "cpu"), Pieces(spoiled, MEL, 0), Schedule(3, 1e-3), checkpoints=tmp_path
        )
    assert not list(tmp_path.iterdir())


# --- the verdict ------------------------------------------------------------------------------------------------------


def test_the_verdict_on_one_who_knows_the_waves_on_noise_and_on_griffin_and_lim_themselves(pairs: list[Pair]) -> None:
    known = {levels.tobytes(): wave for levels, wave in pairs}
    noise = np.random.default_rng(0)

    def found(speak: Any) -> vocoding.Verdict:
        return vocoding.judged(speak, CODEC, pairs)

    perfect = found(lambda levels, samples: known[levels.tobytes()])
    assert perfect.wins and perfect.spectra[0] < 1e-4 and perfect.mels[0] == 0
    assert "beats Griffin-Lim" in perfect.told and "it will be used" in perfect.told
    poor = found(lambda levels, samples: noise.normal(size=samples).astype(np.float32))
    assert not poor.wins and poor.ci95[0] > 0 and "Griffin-Lim stays" in poor.told
    same = found(MEL.wave)
    assert not same.wins and same.spectra[0] == same.spectra[1]
    # The right levels with phases that do not go together.
    fewer = found(lambda levels, samples: MEL.wave(levels, samples, rounds=2))
    assert not fewer.wins and fewer.spectra[0] > fewer.spectra[1]
    for verdict in (perfect, poor):
        assert vocoding.Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict


@pytest.mark.parametrize(
    ("spectra", "ci95", "mels", "wins"),
    [
        ((0.4, 0.5), (-0.12, -0.08), (0.4, 0.5), True),
        ((0.4, 0.5), (-0.30, 0.10), (0.4, 0.5), False),  # it may be chance
        ((0.4, 0.5), (-0.12, -0.08), (0.6, 0.5), False),  # other levels than wanted
        ((0.6, 0.5), (0.08, 0.12), (0.4, 0.5), False),
    ],
)
def test_it_wins_beyond_doubt_and_by_both_measures(
    spectra: tuple[float, float], ci95: tuple[float, float], mels: tuple[float, float], wins: bool
) -> None:
    assert vocoding.Verdict(spectra, mels, ci95, 20).wins == wins


# --- as commands ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Voices, a GAN and a vocoder on them, both of a few steps."""
    root = tmp_path_factory.mktemp("vocoder")
    write_voices(root / "voices")
    augmint.train(root / "voices", out=root / "gan", steps=4, batch=4, grid=24, workers=1)
    code = cli.main(
        f"train {root / 'voices'} --vocoder --init {root / 'gan'} --out {root / 'run'} --steps 3 --device cpu".split()
    )
    assert code == 0
    return root


def plant(places: Path, name: str, spectra: float) -> Path:
    """The same vocoder as if it had done so well."""
    run = places / name
    (run / vocoding.FOLDER).mkdir(parents=True)
    for file in (places / "run" / vocoding.FOLDER).iterdir():
        (run / vocoding.FOLDER / file.name).write_bytes(file.read_bytes())
    verdict = vocoding.Verdict((spectra, 0.5), (spectra, 0.5), (spectra - 0.51, spectra - 0.49), 3)
    write_json(run / vocoding.FILE, {**read_json(places / "run" / vocoding.FILE), **verdict.to_dict()})
    return run


def made(places: Path, out: Path, **settings: Any) -> dict[str, bytes]:
    augmint.generate(places / "gan", num=6, out=out, **settings)
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*.wav"))}


def test_a_vocoder_is_trained_judged_and_used_where_it_has_won(places: Path, tmp_path: Path) -> None:
    about, run = read_json(places / "run" / vocoding.FILE), read_json(places / "run" / "run.json")
    assert about["wins"] is False and about["steps"] == 3 and run["status"] == "done"
    lines = list[str]()
    plain = made(places, tmp_path / "plain")
    lost = made(
        places, tmp_path / "lost", vocoder=str(places / "run"), progress=lambda e: lines.append(e.get("note", ""))
    )
    won = made(places, tmp_path / "won", vocoder=str(plant(places, "winner", 0.1)))
    assert len(plain) == 6 and lost == plain and any("Griffin-Lim stays" in line for line in lines)
    assert won.keys() == plain.keys() and all(won[k] != plain[k] for k in plain)
    assert "it will be used" in read_json(tmp_path / "won" / "metrics.json")["vocoder"]
    assert "vocoder" not in read_json(tmp_path / "plain" / "metrics.json")


def test_the_same_command_again_finds_it_done_and_other_settings_are_refused(places: Path) -> None:
    how = {"vocoder": True, "init": places / "gan", "out": places / "run", "device": "cpu"}
    found = augmint.train(places / "voices", steps=3, **how)
    assert "trained already" in found.summary[0]
    with pytest.raises(Refused, match="other settings"):
        augmint.train(places / "voices", steps=4, **how)


def test_boost_tells_what_the_vocoder_was_found_to_be_and_refuses_one_for_another_grid(
    places: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    told = augmint.boost(places / "voices", out=out, grid=24, vocoder=str(places / "run"), time=20, dry_run=True)
    assert any("Griffin-Lim stays" in line for line in told.summary)
    with pytest.raises(UserError, match=r"another grid: \d+ rows(.|\n)*--vocoder --grid 32"):
        augmint.boost(places / "voices", out=out, grid=32, vocoder=str(places / "run"), time=20)
    assert not list(tmp_path.iterdir())


def test_what_is_no_vocoder_or_nothing_to_train_one_on_is_named(places: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no trained vocoder(.|\n)*augmint train VOICES --vocoder"):
        augmint.generate(places / "gan", num=2, out=tmp_path / "out", vocoder=str(tmp_path))
    for number, x in enumerate(np.random.default_rng(0).integers(0, 255, (12, 8, 8, 1)).astype(np.uint8)):
        images.write(tmp_path / "pictures" / f"{number}.png", x)
    for number in range(3):
        write(tmp_path / "few" / f"{number}.wav", voice())
    for number in range(12):
        write(tmp_path / "short" / f"{number}.wav", voice(seconds=0.1, f0=100 + number))
    write_voices(tmp_path / "silent", per_class=6)
    for path in (tmp_path / "silent").rglob("*.wav"):
        write(path, Sound(np.zeros((RATE, 1), np.float32), RATE))
    out = tmp_path / "run"
    for folder, settings, problem in (
        ("pictures", {}, "a vocoder is trained on sounds"),
        ("few", {}, "too few for a vocoder"),
        ("short", {}, "12 recordings with 1.. s of sound are too little"),
        ("silent", {}, "0 recordings with 0.0 s of sound"),
        ("short", {"denoiser": True}, "two runs"),
        ("short", {"size": "large"}, "no vocoder of the size 'large'"),
    ):
        with pytest.raises(UserError, match=problem):
            augmint.train(tmp_path / folder, out=out, vocoder=True, steps=2, **settings)
    with pytest.raises(UserError, match="--vocoder and --out"):
        augmint.train(tmp_path / "short", vocoder=True)
    assert not out.exists()


def test_a_vocoder_is_for_sounds(places: Path) -> None:
    with pytest.raises(UserError, match="of another kind"):
        vocoding.speaking(ImageCodec(1, 8, 8, (0, 0)), places / "run")
    codec = SpeechModality().codec(read_json(places / "gan" / "gan.json")["codec"])
    with pytest.raises(UserError, match=r"another grid: 8000 Hz.*, where the samples have 16000 Hz"):
        vocoding.speaking(replace(codec, rate=16_000), places / "run")
