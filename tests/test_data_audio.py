"""Reading and writing sound, and spectrograms: what goes in comes out, and what is broken is named."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from augmint.core.errors import BadSample, UserError
from augmint.core.provenance import SOURCE_TYPES
from augmint.data import audio, spectra
from augmint.data.audio import Sound
from augmint.data.spectra import Mel
from voices import voice, write

SECOND = voice(seconds=1.0, rate=16_000)


def noise(channels: int = 1, seconds: float = 0.5, rate: int = 8000) -> Sound:
    values = np.random.default_rng(1).uniform(-0.9, 0.9, (round(seconds * rate), channels))
    return Sound(values.astype(np.float32), rate)


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "coding", "step"),
    [
        (".wav", "PCM_U8", 2**-7),
        (".wav", "PCM_16", 2**-15),
        (".wav", "PCM_24", 2**-23),
        (".wav", "FLOAT", 0.0),
        (".flac", "PCM_16", 2**-15),
        (".flac", "PCM_24", 2**-23),
    ],
)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_lossless_files_hold_every_value_to_half_a_step_and_rewriting_changes_none(
    tmp_path: Path, suffix: str, coding: str, step: float, channels: int
) -> None:
    sound = noise(channels)
    first = audio.read(write(tmp_path / f"a{suffix}", sound, coding))
    assert first.rate == 8000 and first.wave.dtype == np.float32
    assert np.abs(first.wave - sound.wave).max() <= step / 2 + 1e-7
    again = audio.read(write(tmp_path / f"b{suffix}", first, coding))
    np.testing.assert_array_equal(again.wave, first.wave)


@pytest.mark.parametrize("suffix", [".ogg", ".mp3"])
def test_lossy_files_hold_what_is_heard(tmp_path: Path, suffix: str) -> None:
    back = audio.read(write(tmp_path / f"a{suffix}", SECOND))
    assert back.rate == 16_000 and back.wave.shape[1] == 1
    mel = Mel(16_000)
    a, b = (mel.levels(s.wave[:16_000, 0]) for s in (SECOND, back))
    heard = a > a.max() - 40
    assert np.abs(a - b)[:, : b.shape[1]][heard].mean() < 2.0


@pytest.mark.parametrize("coding", ["FLOAT", "DOUBLE"])
def test_floating_point_files_do_not_tell_when_they_were_written(coding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """libsndfile writes the second of the peak's measurement, and a second later another one."""
    sound = voice(seconds=0.2, rate=16_000)
    first = audio.encode(sound, ".wav", coding=coding)
    time.sleep(1.1)
    assert audio.encode(sound, ".wav", coding=coding) == first
    read, rate = sf.read(BytesIO(first), always_2d=True)
    np.testing.assert_array_equal(read.astype(np.float32), sound.wave)
    assert rate == sound.rate and b"PEAK" in first


def test_the_same_sound_gives_the_same_bytes_in_another_process_at_another_time() -> None:
    """Ogg draws a serial number by the clock, in seconds."""
    code = (
        "import time; from hashlib import sha256; from voices import voice; from augmint.data import audio; time.sleep(1.1)\n"
        "for s in audio.FORMATS: print(sha256(audio.encode(voice(seconds=0.2, rate=16000), s)).hexdigest())"
    )
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent, check=True
    )
    here = [sha256(audio.encode(voice(seconds=0.2, rate=16_000), suffix)).hexdigest() for suffix in audio.FORMATS]
    assert child.stdout.split() == here


def test_the_sum_of_an_ogg_page_is_the_encoders(tmp_path: Path) -> None:
    out = BytesIO()
    sf.write(out, SECOND.wave, 16_000, format="OGG", subtype="VORBIS")
    page = bytearray(out.getvalue())
    end = 27 + page[26] + sum(page[27 : 27 + page[26]])
    told = int.from_bytes(page[22:26], "little")
    page[22:26] = bytes(4)
    assert audio._page_sum(bytes(page[:end])) == told


@pytest.mark.parametrize("suffix", audio.FORMATS)
@pytest.mark.parametrize("origin", SOURCE_TYPES)
def test_the_mark_of_provenance_is_in_the_file(tmp_path: Path, suffix: str, origin: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(audio.encode(SECOND, suffix, mark=SOURCE_TYPES[origin]))
    assert audio.header(path).mark == SOURCE_TYPES[origin]
    assert audio.header(write(tmp_path / f"b{suffix}", SECOND)).mark is None


def test_the_header_tells_what_reading_gives(tmp_path: Path) -> None:
    for name, sound in (("a.wav", noise(2)), ("b.flac", noise(6)), ("c.wav", voice(rate=192_000, seconds=0.1))):
        head = audio.header(write(tmp_path / name, sound))
        assert (head.frames, head.rate, head.channels) == (len(sound.wave), sound.rate, sound.wave.shape[1])
        assert head.seconds == sound.seconds


def test_whole_numbers_cut_at_full_scale_and_floats_do_not(tmp_path: Path) -> None:
    loud = Sound(np.array([[1.5], [-1.5]] * 400, np.float32), 8000)
    cut = audio.read(write(tmp_path / "a.wav", loud)).wave
    assert cut.max() == 1 - 2**-15 and cut.min() == -1
    np.testing.assert_array_equal(audio.read(write(tmp_path / "b.wav", loud, "FLOAT")).wave, loud.wave)


def test_what_a_format_cannot_hold_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"6 channels at 8,000 Hz cannot be written as MP3(.|\n)*convert"):
        audio.encode(noise(6), ".mp3")


# --- what is wrong with a file ---------------------------------------------------------------------------------------


def header_only(path: Path) -> None:
    write(path, noise())
    path.write_bytes(path.read_bytes()[:40] + struct.pack("<I", 0))


def one_sample(path: Path) -> None:
    write(path, Sound(np.array([[0.5]], np.float32), 8000))


def cut(path: Path) -> None:
    write(path, SECOND)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def not_numbers(path: Path) -> None:
    wave = noise().wave.copy()
    wave[100, 0], wave[101, 0] = np.nan, np.inf
    write(path, Sound(wave, 8000), "FLOAT")


def not_divided(path: Path) -> None:
    write(path, Sound(noise().wave * 32768, 8000), "FLOAT")


def words(path: Path) -> None:
    path.write_text("this is no sound\n" * 50)


@pytest.mark.parametrize(
    ("name", "spoil", "told"),
    [
        ("a.wav", lambda p: p.touch(), "the file is empty"),
        ("a.mp3", lambda p: p.touch(), "the file is empty"),
        ("a.wav", header_only, "holds no sound"),
        ("a.wav", one_sample, r"0\.1 ms of sound \(1 samples\)"),
        ("a.wav", cut, "the WAV is cut short"),
        ("a.flac", cut, "cut short|not readable"),
        ("a.ogg", cut, "the OGG is cut short"),
        ("a.mp3", cut, "the MP3 is cut short"),
        ("a.wav", not_numbers, r"2 of 4000 samples are no numbers, the first after 0\.013 s"),
        ("a.wav", not_divided, "where full scale is 1"),
        ("a.wav", words, "not readable as sound"),
        ("a.mp3", words, "not readable as sound|holds no sound"),
        ("a.wav", lambda p: None, "the file is gone"),
        ("a.wav", lambda p: p.mkdir(), "not a regular file"),
    ],
)
def test_what_is_broken_is_refused_by_name_with_a_mend(tmp_path: Path, name: str, spoil: object, told: str) -> None:
    spoil(tmp_path / name)  # type: ignore[operator]
    with pytest.raises(BadSample, match=told) as error:
        audio.read(tmp_path / name)
    assert error.value.mend and name in str(error.value.where)


def test_a_length_that_was_never_filled_in_is_no_fault(tmp_path: Path) -> None:
    """Programs that write into a pipe leave it so."""
    path = write(tmp_path / "a.wav", noise())
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(bytes(data))
    assert len(audio.read(path).wave) == 4000


def test_silence_and_a_constant_are_sound(tmp_path: Path) -> None:
    for value in (0.0, 0.25):
        sound = Sound(np.full((800, 1), value, np.float32), 8000)
        np.testing.assert_array_equal(audio.read(write(tmp_path / f"{value}.wav", sound)).wave, sound.wave)


def test_giants_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.wav", noise(2))
    monkeypatch.setattr(audio, "MAX_VALUES", 7999)
    with pytest.raises(BadSample, match=r"the limit is(.|\n)*cut it into parts"):
        audio.header(path)


# --- spectrograms ----------------------------------------------------------------------------------------------------


def test_the_transform_is_scipys_and_its_inverse_gives_the_wave_back() -> None:
    from scipy.signal import ShortTimeFFT

    mel, wave = Mel(16_000), SECOND.wave[:, 0]
    found = mel.transform(wave)
    peer = ShortTimeFFT(mel.window.astype(float), mel.hop, 16_000, fft_mode="onesided", phase_shift=None)
    want = peer.stft(wave.astype(float), p0=0, p1=len(found)).T
    np.testing.assert_allclose(np.abs(found), np.abs(want), atol=2e-3)
    np.testing.assert_allclose(mel.inverse(found, len(wave)), wave, atol=1e-5)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_levels_are_of_full_scale_and_filters_share_all_power(rate: int) -> None:
    mel = Mel(rate)
    sine = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate).astype(np.float32)
    together = mel.power(sine).sum(axis=0)[10:-10]
    np.testing.assert_allclose(together, 1.0, atol=0.01)
    white = np.random.default_rng(0).normal(size=20 * rate).astype(np.float32)
    np.testing.assert_allclose(mel.power(white).mean(axis=1), mel.white(), rtol=0.25)
    assert abs(mel.power(white).mean(axis=1).sum() / mel.white().sum() - 1) < 0.02
    assert (mel.filters.sum(axis=1) > 0).all()


@pytest.mark.parametrize("vowel", ["ah", "ee"])
def test_a_sound_made_from_levels_has_these_levels_within_one_and_a_half_db(vowel: str) -> None:
    sound, mel = voice(vowel, seconds=0.6, rate=16_000), Mel(16_000)
    levels = mel.levels(sound.wave[:, 0])
    made = mel.wave(levels, len(sound.wave))
    heard = levels > levels.max() - 60
    assert np.abs(mel.levels(made) - levels)[heard].mean() < 1.5
    np.testing.assert_array_equal(made, mel.wave(levels, len(sound.wave)))


def test_silence_has_the_lowest_level() -> None:
    assert (Mel(8000).levels(np.zeros(800, np.float32)) == spectra.LOWEST_DB).all()
