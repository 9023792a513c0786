"""The speech modality: folders and tables, the codec, variants and their files, the verbs where they are not in the contract."""

from __future__ import annotations

import json
import pickle
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import augmint as am
from augmint.core.errors import BadSample, Refused, UserError
from augmint.core.run import Run, read_jsonl
from augmint.core.types import Dataset, Modality, Sample, likeness
from augmint.data import audio
from augmint.data.audio import Sound
from augmint.evaluation.copies import CopyCheck
from augmint.modalities import find
from augmint.modalities.image import ImageModality
from augmint.modalities.speech import SpeechCodec, SpeechModality
from augmint.report.inspection import inspect
from augmint.transforms.plan import PICTURES, SOUND_OPS, SOUNDS, Plan
from augmint.transforms.recipe import recipe_for
from voices import phrase, pitch, voice, write, write_voices

MODALITY = SpeechModality()


def nobody(name: str) -> Sample:
    raise AssertionError(f"no op mixes in {name}")


def files(root: Path) -> dict[str, str]:
    return {p.relative_to(root).as_posix(): sha256(p.read_bytes()).hexdigest() for p in root.rglob("*") if p.is_file()}


# --- reading ---------------------------------------------------------------------------------------------------------


def test_it_is_a_modality_with_ops_of_its_own() -> None:
    assert isinstance(MODALITY, Modality)
    assert MODALITY.ops == tuple(SOUND_OPS)
    assert pickle.loads(pickle.dumps(MODALITY)).name == MODALITY.name


def test_a_folder_is_known_by_what_most_of_its_files_are(tmp_path: Path) -> None:
    write_voices(tmp_path / "in", per_class=2)
    (tmp_path / "in" / "cover.png").write_bytes(b"not read")
    assert am.read(tmp_path / "in").modality.name == find(tmp_path / "in") == "speech"
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "scan.dcm").write_bytes(b"not read")
    with pytest.raises(UserError, match=r"its files end in \.dcm(.|\n)*image: \.png(.|\n)*speech: \.wav"):
        am.read(tmp_path / "none")


def test_class_folders_of_four_formats(tmp_path: Path) -> None:
    for i, suffix in enumerate((".wav", ".flac", ".ogg", ".mp3")):
        write(tmp_path / "test" / "ah" / f"{i}{suffix}", voice(rate=16_000))
        write(tmp_path / "train" / "ee" / f"{i}{suffix.upper() if suffix == '.wav' else suffix}", voice(rate=16_000))
    data = am.read(tmp_path)
    assert data.classes == ("ah", "ee") and [r.part for r in data.refs] == ["test"] * 4 + ["train"] * 4
    assert sorted({r.meta["format"] for r in data.refs}) == ["FLAC", "MP3", "OGG", "WAV"]
    assert all(isinstance(s.data, Sound) and s.data.rate == 16_000 for s in data)
    assert data.table["seconds"].between(0.39, 0.5).all()


def ljspeech(root: Path, lines: list[str]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def test_a_table_of_transcripts_as_lj_speech_has_it(tmp_path: Path) -> None:
    for i in (1, 2, 3):
        write(tmp_path / "in" / "wavs" / f"LJ001-000{i}.wav", voice(seed=i))
    ljspeech(
        tmp_path / "in",
        [
            'LJ001-0001|Printing, in the "only sense|Printing',
            "LJ001-0002|It's 7, she said|It's seven",
            "LJ001-0009|gone|gone",
        ],
    )
    data = am.read(tmp_path / "in")
    assert data.layout == "metadata" and data.ids == ("wavs/LJ001-0001.wav", "wavs/LJ001-0002.wav")
    assert data.classes == () and data.refs[0].meta["transcript"] == 'Printing, in the "only sense'
    told = {s.where.rsplit("/", 1)[-1]: s.reason for s in data.skipped}
    assert told["metadata.csv, line 3"] == "there is no file 'wavs/LJ001-0009'"
    assert told["LJ001-0003.wav"] == "not listed in the metadata file"

    am.augment(data, out=tmp_path / "more", variants=1, workers=1)
    rows = {r["file_name"]: r for r in read_jsonl(tmp_path / "more" / "metadata.jsonl")}
    assert rows["wavs/LJ001-0002.aug0.wav"]["transcript"] == "It's 7, she said"
    assert len(am.read(tmp_path / "more")) == 4


def test_a_line_of_transcripts_with_a_bar_too_many_is_named(tmp_path: Path) -> None:
    write(tmp_path / "wavs" / "a.wav", voice())
    with pytest.raises(UserError, match=r"metadata\.csv, line 1: 4 fields between bars"):
        am.read(ljspeech(tmp_path, ["a|b|c|d"]))


def test_hugging_face_audiofolder(tmp_path: Path) -> None:
    write(tmp_path / "train" / "a.wav", voice())
    (tmp_path / "train" / "metadata.csv").write_text("file_name,transcription\na.wav,ah\n")
    (ref,) = am.read(tmp_path).refs
    assert ref.part == "train" and ref.meta["transcription"] == "ah"


# --- what is wrong ---------------------------------------------------------------------------------------------------


def spoilt(root: Path) -> Path:
    """Good voices, and one file of each fault."""
    write_voices(root, per_class=6)
    (root / "ah" / "empty.wav").touch()
    (root / "ah" / "words.wav").write_text("hello " * 100)
    write(root / "ah" / "blink.wav", Sound(np.ones((1, 1), np.float32) / 2, 8000))
    write(root / "ee" / "nan.wav", Sound(np.full((4000, 1), np.nan, np.float32), 8000), "FLOAT")
    write(root / "ee" / "cut.flac", voice(seconds=1.0))
    whole = (root / "ee" / "cut.flac").read_bytes()
    (root / "ee" / "cut.flac").write_bytes(whole[: len(whole) // 2])
    return root


def test_what_is_broken_is_named_and_nothing_else_is_lost(tmp_path: Path) -> None:
    root = spoilt(tmp_path / "in")
    write(root / "ah" / "silent.wav", Sound(np.zeros((3000, 1), np.float32), 8000))
    write(root / "ah" / "stereo.wav", voice(channels=2))
    write(root / "ee" / "fast.wav", voice(rate=44_100))
    before = files(root)
    result = am.augment(root, out=tmp_path / "out", variants=1, workers=1)
    assert files(root) == before
    told = "\n".join(result.summary)
    for name in ("empty.wav", "words.wav", "blink.wav", "nan.wav", "cut.flac"):
        assert name in told and not list((tmp_path / "out").rglob(name))
    assert "wrote 15 real and 15 augmented" in told
    out = am.read(tmp_path / "out")
    assert [n for n in out.notes if "sample rates differ" in n] and [n for n in out.notes if "channels differ" in n]
    loaded = {s.id: s for s in out}
    assert not loaded["ah/silent.aug0.wav"].data.wave.any()
    assert loaded["ah/stereo.aug0.wav"].data.wave.shape[1] == 2
    assert loaded["ee/fast.aug0.wav"].data.rate == 44_100
    codec = MODALITY.fit(out)
    x = out.encode(codec)
    assert codec.rate == 8000 and np.isfinite(x).all() and (x[out.ids.index("ah/silent.wav")] == -1).all()


def test_strict_stops_at_the_first(tmp_path: Path) -> None:
    with pytest.raises(BadSample, match="to mend it"):
        am.augment(spoilt(tmp_path / "in"), out=tmp_path / "out", strict=True, workers=1)
    assert not (tmp_path / "out").exists()


def test_a_recipe_for_pictures_is_refused_and_says_what_there_is(tmp_path: Path) -> None:
    write_voices(tmp_path / "in", per_class=1)
    with pytest.raises(UserError, match=r"no recipe 'document'(.|\n)*use light, medium, strong"):
        am.augment(tmp_path / "in", out=tmp_path / "out", recipe="document")
    (tmp_path / "r.yaml").write_text("ops: [Rotate]")
    with pytest.raises(UserError, match=r"Rotate does not apply(.|\n)*TimeStretch"):
        am.augment(tmp_path / "in", out=tmp_path / "out", recipe=str(tmp_path / "r.yaml"))


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["ops: [PitchShift, AddNoise]", "ops: [{Concat: {p: 0.7}}, MixUp]"])
def test_a_command_that_was_stopped_goes_on_where_it_was(tmp_path: Path, recipe: str) -> None:
    write_voices(tmp_path / "in", per_class=4)
    (tmp_path / "r.yaml").write_text(recipe)
    same: dict[str, Any] = {"variants": 2, "workers": 1, "recipe": str(tmp_path / "r.yaml"), "seed": 1}
    am.augment(tmp_path / "in", out=tmp_path / "whole", **same)

    def stop(event: dict[str, Any]) -> None:
        if event == {"stage": "augment", "done": 5, "total": 8}:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        am.augment(tmp_path / "in", out=tmp_path / "out", progress=stop, **same)
    with (tmp_path / "out" / ".augmint" / "made.jsonl").open("a") as file:
        file.write('{"id": "cut')  # what a kill leaves
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.wav")}
    gone, *_, empty = sorted(before)
    gone.unlink()
    empty.write_bytes(b"")  # what a machine without power leaves
    am.augment(tmp_path / "in", out=tmp_path / "out", **same)
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    kept = [p for p in before if p.stat().st_mtime_ns == before[p]]
    assert len(before) == 10 and len(kept) == 6, "but for the samples of the files that are gone or empty"


def test_a_finished_command_is_done_and_one_with_other_settings_is_refused_by_name(tmp_path: Path) -> None:
    write_voices(tmp_path / "in", per_class=2)
    same: dict[str, Any] = {"out": tmp_path / "out", "variants": 2, "workers": 1, "recipe": "light"}
    first = am.augment(tmp_path / "in", **same)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*") if p.is_file()}
    again = am.augment(tmp_path / "in", **same)
    assert again.summary == ["all of this is done already; nothing was changed"] and again.facts == first.facts
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*") if p.is_file()}
    (tmp_path / "out" / ".augmint").mkdir()  # as a kill just before the end leaves it
    assert am.augment(tmp_path / "in", **same).summary == again.summary
    assert not (tmp_path / "out" / ".augmint").exists(), "other tools would take it for a class"
    with pytest.raises(Refused, match="variants was 2, now 3"):
        am.augment(tmp_path / "in", **{**same, "variants": 3})
    gone = next(p for p in before if ".aug1" in p.name)
    gone.unlink()
    with pytest.raises(Refused, match=rf"1 of its files are gone, the first .*{gone.name}"):
        am.augment(tmp_path / "in", **same)
    assert len(am.read(tmp_path / "out")) == 11


def test_variants_replay_from_the_manifest_and_do_not_depend_on_workers(tmp_path: Path) -> None:
    write_voices(tmp_path / "in", per_class=3)
    write(tmp_path / "in" / "ah" / "deep.flac", voice(rate=16_000, channels=2), "PCM_24")
    write(tmp_path / "in" / "ah" / "lossy.ogg", voice(rate=16_000))
    for name, workers in (("one", 1), ("two", 2)):
        am.augment(tmp_path / "in", out=tmp_path / name, variants=2, workers=workers, recipe="strong", seed=4)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert audio.header(tmp_path / "one" / "ah" / "deep.aug0.flac").coding == "PCM_24"

    data = am.read(tmp_path / "in")
    for row in read_jsonl(tmp_path / "one" / "manifest.jsonl"):
        if row["origin"] == "augmented":
            parent = data[data.ids.index(row["parents"][0])]
            again = MODALITY.transform(Plan.from_dict(row["plan"]), parent, nobody).data
            sample = Sample(row["file_name"], again, row["label"], meta=parent.meta, origin="augmented")
            MODALITY.sink(tmp_path / "replayed", layout="class-folders").save(sample)
            assert sha256((tmp_path / "replayed" / row["file_name"]).read_bytes()).hexdigest() == row["sha256"]
    assert {r.meta["origin"] for r in am.read(tmp_path / "one").refs} == {"real", "augmented"}


# --- the grid --------------------------------------------------------------------------------------------------------


def dataset(tmp_path: Path, **sounds: Sound) -> Dataset:
    for name, sound in sounds.items():
        write(tmp_path / f"{name}.wav", sound, "FLOAT")
    return am.read(tmp_path)


def test_the_grid_follows_the_data(tmp_path: Path) -> None:
    short = MODALITY.fit(dataset(tmp_path / "a", x=voice(seconds=0.5), y=voice(seconds=0.4)))
    assert (short.rate, short.grid.size) == (8000, (1, 80, 51)) and short.column_s == 0.01
    long = MODALITY.fit(dataset(tmp_path / "b", x=voice(seconds=9.0, rate=44_100)))
    assert long.rate == 16_000 and long.grid.shape[1] <= 128 and abs(long.columns * long.column_s - 4.0) < 0.1
    small = MODALITY.fit(am.read(tmp_path / "a"), size=32)
    assert small.grid.shape == (32, 20) and abs(small.columns * small.column_s - 0.51) < 1e-9
    assert MODALITY.codec(json.loads(json.dumps(small.to_dict()))) == small
    finer = MODALITY.fit(am.read(tmp_path / "b"), size=200)
    assert finer.grid.shape == (80, 200) and abs(finer.columns * finer.column_s - 4.0) < 0.1
    assert MODALITY.fit(am.read(tmp_path / "a"), size=160).grid.shape == (160, 102)


def test_windows_are_as_short_as_columns_ask_for() -> None:
    for column_s, hop_s in ((0.008, 0.008), (0.016, 0.016), (0.02, 0.01), (0.04, 0.04 / 3)):
        mel = SpeechCodec(16_000, 80, 64, column_s, -10.0).mel
        assert mel.hop == round(16_000 * hop_s) and mel.length == 4 * mel.hop


def test_the_loudest_cell_is_one_and_the_end_is_silence(tmp_path: Path) -> None:
    data = dataset(tmp_path, x=voice(seconds=0.5), y=voice("ee", seconds=0.25))
    x = data.encode(MODALITY.fit(data))
    assert abs(x.max() - 1) < 1e-3 and x.min() == -1
    assert (x[1, 0, :, 28:] == -1).all() and (x[1, 0, :, 3:24] > -1).any(axis=0).all()


@pytest.mark.parametrize(("seconds", "size"), [(0.3, None), (0.72, None), (1.5, 48)])
def test_a_decoded_sound_has_length_pitch_and_levels_of_the_one_that_was_encoded(
    tmp_path: Path, seconds: float, size: int | None
) -> None:
    sound = voice(f0=180, seconds=seconds, rate=16_000)
    data = dataset(tmp_path, x=sound, y=voice(seconds=1.5, rate=16_000))
    codec = MODALITY.fit(data, size=size)
    x = codec.encode(data[0])
    back = codec.decode(x)
    assert abs(back.seconds - seconds) <= 2 * codec.column_s
    middle = back.wave[len(back.wave) // 4 : -len(back.wave) // 4, 0]
    if size is None:  # 48 cells are too coarse to hold the harmonics
        assert abs(12 * np.log2(pitch(middle, 16_000) / 180)) < 0.3
    again = codec.encode(Sample("x", back))
    heard = x > -0.5
    assert 40 * np.abs(again - x)[heard].mean() < 3.0


def test_of_a_long_sound_the_loudest_part_is_seen() -> None:
    wave = np.zeros((16_000, 1), np.float32)
    wave[12_000:14_000] = voice(seconds=0.25).wave
    codec = SpeechCodec(8000, 64, 32, 0.016, -10.0)
    x = codec.encode(Sample("a", Sound(wave, 8000)))
    assert (x > -1).any(axis=1).sum() >= 14


def test_what_a_generator_makes_can_always_be_decoded() -> None:
    codec = SpeechCodec(8000, 16, 8, 0.016, -10.0)
    for value in (-1.0, 1.0, 5.0):
        sound = codec.decode(np.full((1, 16, 8), value, np.float32))
        assert np.isfinite(sound.wave).all() and np.abs(sound.wave).max() <= 1 and sound.seconds >= audio.SHORTEST


@pytest.mark.parametrize("column_s", [0.01, 0.0125, 0.016, 0.02, 0.031])
def test_what_networks_made_is_rendered_steady_for_20_ms(column_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not change in time stays, slow change stays nearly, and what jumps from column to column is gone where they are 10 ms."""
    codec = SpeechCodec(16_000, 6, 64, column_s, -10.0)
    monkeypatch.setattr(SpeechCodec, "decode", lambda self, x: x)
    still = np.broadcast_to(np.linspace(-0.8, 0.8, 6, dtype=np.float32)[None, :, None], (1, 6, 64))
    assert np.allclose(codec.render(still), still, atol=1e-6)
    times = np.arange(64) * column_s
    slow = (0.5 * np.sin(2 * np.pi * 4 * times))[None, None].repeat(6, 1).astype(np.float32)
    inner = (..., slice(4, -4))
    assert np.abs(codec.render(slow) - slow)[inner].max() < 0.07
    jumping = np.where(np.arange(64) % 2, 0.2, -0.2)[None, None].repeat(6, 1).astype(np.float32)
    left = np.abs(codec.render(jumping)[inner]).max()
    if column_s >= 0.02:
        assert left == np.float32(0.2)
    elif column_s == 0.01:
        assert left < 1e-6


def test_a_rendered_word_keeps_length_pitch_and_levels() -> None:
    codec = SpeechCodec(16_000, 80, 64, 0.01, -10.0)
    x = codec.encode(Sample("a", voice(f0=180, seconds=0.5, rate=16_000)))
    back = codec.render(x)
    assert abs(back.seconds - codec.decode(x).seconds) <= codec.column_s + 1e-9
    middle = back.wave[len(back.wave) // 4 : -len(back.wave) // 4, 0]
    assert abs(12 * np.log2(pitch(middle, 16_000) / 180)) < 0.3
    assert 40 * np.abs(codec.encode(Sample("a", back)) - x)[x > -0.5].mean() < 3.0


def test_features_tell_vowels_apart_and_same_from_other() -> None:
    codec = SpeechCodec(8000, 64, 24, 0.016, -10.0)
    x = np.stack(
        [codec.encode(Sample("a", voice(v, f0=f, seconds=0.3))) for v in ("ah", "ee") for f in (110, 125, 140)]
    )
    f = MODALITY.features(x)
    distance = np.linalg.norm(f[:, None] - f[None], axis=2) + 1e9 * np.eye(6)
    assert (distance.argmin(axis=1) // 3 == np.arange(6) // 3).all()


def later(sound: Sound, seconds: float) -> Sound:
    """With so much silence before it."""
    return Sound(np.pad(sound.wave, ((round(seconds * sound.rate), 0), (0, 0))), sound.rate)


COPIES = {
    "as it is": phrase,
    "0.12 s later": lambda i: later(phrase(i), 0.12),
    "5 dB louder": lambda i: Sound(phrase(i).wave * np.float32(10 ** (5 / 20)), 8000),
    "6 dB softer": lambda i: Sound(phrase(i).wave * np.float32(0.5), 8000),
    "5 % slower": lambda i: phrase(i, slower=1.05),
    "all at once": lambda i: later(Sound(phrase(i, slower=0.95).wave * np.float32(0.6), 8000), 0.08),
}


def test_copies_of_a_sound_are_found_wherever_it_begins_and_backwards_is_no_copy() -> None:
    codec = SpeechCodec(8000, 64, 56, 0.016, -10.0)

    def seen(sounds: list[Sound]) -> np.ndarray:
        x = np.stack([codec.encode(Sample("", s)) for s in sounds])
        return x + 0.02 * np.random.default_rng(0).normal(size=x.shape).astype(np.float32)

    train, held = (seen([phrase(i) for i in part]) for part in (range(200), range(1000, 1240)))
    check = CopyCheck(train, held, like=likeness(codec))
    fresh = check(seen([phrase(i) for i in range(2000, 2300)]))
    assert fresh.rate <= 0.01 and fresh.real_rate is not None and fresh.real_rate <= 0.01
    for name, make in COPIES.items():
        found = check(seen([make(i) for i in range(60)]))
        assert found.flagged.mean() >= 0.98 and (found.nearest == np.arange(60)).all(), name
    assert check(train[:60, :, :, ::-1].copy()).rate <= 0.02
    assert check(train[:60, :, ::-1].copy()).rate <= 0.02


# --- looking ---------------------------------------------------------------------------------------------------------


def test_a_preview_is_a_picture_and_a_player_that_hold_everything_themselves(tmp_path: Path) -> None:
    sample = Sample("<ah>/a.wav", voice(seconds=0.4, rate=44_100, channels=2), "<ah>")
    shown = MODALITY.preview(sample)
    found = dict(re.findall(r'src="data:(\w+/\w+);base64,([^"]+)"', shown))
    assert set(found) == {"image/webp", "audio/mpeg"} and "<ah>" not in shown and "http" not in shown
    import base64

    (tmp_path / "a.mp3").write_bytes(base64.b64decode(found["audio/mpeg"]))
    heard = audio.read(tmp_path / "a.mp3")
    assert heard.rate == 16_000 and abs(heard.seconds - 0.4) < 0.12
    assert len(shown) < 16_000
    long = MODALITY.preview(Sample("b", voice(seconds=6.0, rate=16_000)))
    assert "the first 4 s" in long and len(long) < 80_000


def test_sheets_take_sounds_and_sketches_and_a_film_is_one_sound(tmp_path: Path) -> None:
    codec = SpeechCodec(8000, 64, 32, 0.016, -10.0)
    sound = voice(seconds=0.3)
    data, suffix = MODALITY.sheet(
        [[Sample("", sound)], [Sample("", codec.sketch(codec.encode(Sample("", sound))))]], ["a", ""]
    )
    assert suffix == ".png" and data.startswith(b"\x89PNG")
    film, suffix = MODALITY.film([Sample("", sound, origin="synthetic"), Sample("", sound, origin="synthetic")])
    (tmp_path / f"walk{suffix}").write_bytes(film)
    assert abs(audio.read(tmp_path / "walk.wav").seconds - 0.8) < 1e-3


def test_inspect_tells_lengths_rates_and_duplicates(tmp_path: Path) -> None:
    write_voices(tmp_path / "in", per_class=3)
    # The middle alone differs: what is compared must be all of a sound.
    one = voice(seconds=1.0)
    other = Sound(one.wave.copy(), one.rate)
    other.wave[3000:5000] = voice("oo", seconds=0.25).wave
    for name, sound in (("one", one), ("other", other), ("same", one)):
        write(tmp_path / "in" / "ah" / f"{name}.wav", sound)
    found = inspect(am.read(tmp_path / "in"))
    told = "\n".join(found.summary)
    assert "rate 8000" in told and "channels 1" in told and re.search(r"seconds 0\.2\d* to 1;", told)
    exact = found.duplicates[found.duplicates["kind"] == "exact"]
    assert exact[["id", "same_as"]].to_numpy().tolist() == [["ah/same.wav", "ah/one.wav"]]
    assert {"seconds_from", "seconds_median", "seconds_to", "rate"} <= set(found.sizes.columns)
    page = found.html(tmp_path / "page.html").read_text()
    assert page.count("<audio") >= 9


def test_a_run_without_a_gan_is_reported_as_what_it_is(tmp_path: Path) -> None:
    Run.open(tmp_path / "run", verb="prove", config={}, inputs={}).choose("modality", "speech", "its files")
    assert "speech" in am.report(tmp_path / "run").read_text(encoding="utf-8").split("</header>")[0]


def test_recipes_of_its_own_have_the_names_of_the_houses() -> None:
    for name in ("light", "medium", "strong", "trivial", "rand"):
        assert recipe_for(MODALITY, name).kind == SOUNDS
        assert recipe_for(ImageModality(), name).kind == PICTURES
