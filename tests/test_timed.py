"""Labels with times beside sounds: read, moved with the sound, written in the layout they came in."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import fftconvolve, hilbert

import augmint as am
from augmint.core.errors import BadSample
from augmint.core.run import read_jsonl
from augmint.data import audio, timed
from augmint.data.audio import Sound
from augmint.data.timed import Timed
from augmint.modalities.speech import SpeechModality
from augmint.transforms import run_audio
from augmint.transforms.levels import Trim
from augmint.transforms.mix import Pool
from augmint.transforms.mix_audio import Concat
from augmint.transforms.plan import SOUND_OPS, SOUNDS, Plan, Step
from augmint.transforms.recipe import Recipe, recipe_for
from augmint.transforms.temporal import Temporal, along
from voices import voice, write

RATE = 16_000
LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 1.5
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "words 1"
        xmin = 0
        xmax = 1.5
        intervals: size = 4
        intervals [1]:
            xmin = 0
            xmax = 0.25
            text = ""
        intervals [2]:
            xmin = 0.25
            xmax = 0.5
            text = "say ""ah"" 2"
        intervals [3]:
            xmin = 0.5
            xmax = 1.25
            text = "<exists>"
        intervals [4]:
            xmin = 1.25
            xmax = 1.5
            text = ""
    item [2]:
        class = "TextTier"
        name = "clicks"
        xmin = 0
        xmax = 1.5
        points: size = 1
        points [1]:
            number = 0.75
            mark = "k"
"""
SHORT = (
    '"ooTextFile short"\n"TextGrid"\n\n0\n1.5\n<exists>\n2\n"IntervalTier"\n"words 1"\n0\n1.5\n4\n0\n0.25\n""\n0.25\n0.5\n'
    '"say ""ah"" 2"\n0.5\n1.25\n"<exists>"\n1.25\n1.5\n""\n"TextTier"\n"clicks"\n0\n1.5\n1\n0.75\n"k"\n'
)


def held(path: Path, data: bytes, seconds: float = 1.5) -> Timed:
    path.write_bytes(data)
    found = timed.read(path, seconds)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "data", [LONG.encode(), SHORT.encode(), LONG.encode("utf-16"), b"\xef\xbb\xbf" + SHORT.encode()]
)
def test_praats_two_formats_and_codings_say_the_same(data: bytes, tmp_path: Path) -> None:
    found = held(tmp_path / "a.TextGrid", data)
    np.testing.assert_array_equal(found.times, [[0.25, 0.5], [0.5, 1.25], [0.75, 0.75]])
    assert [(t.name, t.texts) for t in found.document] == [("words 1", ('say "ah" 2', "<exists>")), ("clicks", ("k",))]
    assert found.encoded().decode() == LONG  # as Praat would write it, empty intervals and all


def half(times: np.ndarray) -> np.ndarray:
    """A sound of 1.5 s at double speed, of which the first .2 s are lost."""
    return np.clip(times / 2 - 0.2, 0, 0.55)


def test_moved_intervals_still_fill_their_tier_and_what_is_lost_is_gone(tmp_path: Path) -> None:
    found = held(tmp_path / "a.TextGrid", LONG.encode()).moved(half, 0.55)
    again = held(tmp_path / "b.TextGrid", found.encoded(), 0.55)
    np.testing.assert_allclose(again.times, [[0, 0.05], [0.05, 0.425], [0.175, 0.175]], atol=1e-6)
    assert "xmax = 0.55\n" in found.encoded().decode() and "1.5" not in found.encoded().decode()
    gone = held(tmp_path / "a.TextGrid", LONG.encode()).moved(lambda t: np.clip(t - 0.6, 0, 0.9), 0.9)
    again = held(tmp_path / "b.TextGrid", gone.encoded(), 0.9)
    np.testing.assert_allclose(again.times, [[0, 0.65], [0.15, 0.15]], atol=1e-6)
    assert again.document[0].texts == ("<exists>",)


def test_json_keeps_all_that_is_no_time(tmp_path: Path) -> None:
    words = [
        {"word": "a", "start": 0.1, "end": 0.3, "p": 0.5},
        {"word": "b", "start": 0.5, "end": 1, "x": [{"time": 0.75}]},
    ]
    document = {"language": "en", "end": 3, "segments": [{"start": 0.1, "end": 1.0, "words": words}]}
    found = held(tmp_path / "a.json", json.dumps(document).encode()).moved(half, 0.55)
    new = json.loads(found.encoded())
    assert new == {
        "language": "en",
        "end": 3,
        "segments": [
            {"start": 0, "end": 0.3, "words": [{"word": "b", "start": 0.05, "end": 0.3, "x": [{"time": 0.175}]}]}
        ],
    }


def test_csv_keeps_its_columns(tmp_path: Path) -> None:
    text = 'who,Start,End,said\nx,0.1,0.3,"gone, all of it"\n\ny,0.5,1,"b, c"\n'
    found = held(tmp_path / "a.csv", text.encode()).moved(half, 0.55)
    assert found.encoded().decode() == 'who,Start,End,said\ny,0.05,0.3,"b, c"\n'
    points = held(tmp_path / "b.csv", b"time,mark\n0.1,a\n0.75,b\n1.5,c\n").moved(half, 0.55)
    assert points.encoded().decode() == "time,mark\n0.175,b\n0.55,c\n"


def test_what_is_no_label_file_is_left_alone(tmp_path: Path) -> None:
    for name, data in (("a.json", b'{"start": "noon", "tags": [1, 2]}'), ("a.csv", b"a,b\n1,2\n"), ("b.csv", b"")):
        (tmp_path / name).write_bytes(data)
        assert timed.read(tmp_path / name, 1.0) is None


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.TextGrid", LONG[:300].encode(), "cut short"),
        ("a.TextGrid", b"hello", "cut short|does not begin"),
        ("a.TextGrid", b"\xff\x00\x01", "no text"),
        ("a.json", b'[{"start": 1, "end"', "JSON"),
        ("a.json", b'[{"start": 1, "end": 0.5}]', "label 1 goes from 1 to 0.5"),
        ("a.json", b'[{"start": 0, "end": NaN}]', "label 1 goes from 0 to nan"),
        ("a.csv", b"start,end\n0,1\n1,x\n", "line 3"),
        ("a.csv", b"start,end\n0,9\n", "ends after 9 s, the sound after 1.5"),
    ],
)
def test_a_broken_label_file_is_named(name: str, data: bytes, told: str, tmp_path: Path) -> None:
    with pytest.raises(BadSample, match=told):
        held(tmp_path / name, data)
    write(tmp_path / "a.wav", voice(seconds=1.5))
    write(tmp_path / "b.wav", voice(seconds=1.5))
    data_set = am.read(tmp_path)
    assert data_set.ids == ("b.wav",) and data_set.skipped[0].where == "a.wav"


# --- with the sound --------------------------------------------------------------------------------------------------


def clicks(times: list[float], seconds: float = 3.0) -> Sound:
    """A low hum with a sharp click at each time."""
    t = np.arange(round(seconds * RATE)) / RATE
    wave = 0.02 * np.sin(2 * np.pi * 150 * t)
    for at in times:
        wave[round(at * RATE) : round(at * RATE) + 16] += 0.8 * np.hanning(16) * np.array([1, -1] * 8)
    return Sound(wave[:, None].astype(np.float32), RATE)


def found_clicks(sound: Sound) -> np.ndarray:
    """Where a click is, by the energy of the differences of neighbours: peaks at least 50 ms apart."""
    sharp = np.convolve(np.square(np.diff(sound.wave[:, 0].astype(np.float64))), np.ones(32), "same")
    peaks = []
    while sharp.max() > 0.02:
        at = int(sharp.argmax())
        peaks.append(at / sound.rate)
        sharp[max(0, at - 800) : at + 800] = 0
    return np.sort(peaks)


def test_times_follow_the_clicks_through_whatever_moves_them() -> None:
    """The clicks are looked for in the sound that came out."""
    times = [0.3, 0.8, 1.31, 1.77, 2.4, 2.75]
    sound = clicks(times)
    assert np.abs(found_clicks(sound) - times).max() < 0.001
    moving = [*(op for op in SOUND_OPS.values() if issubclass(op, Temporal)), Trim]
    recipes = [Recipe("one", (op(),)) for op in moving]
    recipes += [recipe_for(SpeechModality(), name) for name in ("light", "medium")]
    off, wanted = list[float](), 0
    for number, recipe in enumerate(recipes):
        for variant in range(6):
            plan = recipe.plan_of(100 * number + variant)
            wave, lines = run_audio.apply_with(plan, sound.wave, RATE)
            out, new = Sound(wave, RATE), along(lines, np.array([(t - 1e-4, t + 1e-4) for t in times]))
            there = new.mean(1)[new[:, 1] - new[:, 0] > 1e-6]
            heard = found_clicks(out)
            near = np.abs(there[:, None] - heard).min(1) if len(heard) else np.full(len(there), np.inf)
            wanted += len(there)
            off += near[near < 0.05].tolist()
    # Masks and noise hide some, and a stretch may lose or double one: those that are there must be where they are said to be.
    assert len(off) > 0.9 * wanted
    assert max(off) <= 0.010


def chirp(pitch: float = 1.0) -> np.ndarray:
    """6 ms that rise from 2.5 to 4.5 kHz, as another pitch makes them."""
    t = np.arange(round(0.006 * RATE / pitch)) / RATE
    hz = 2500 * pitch + 1000 * pitch * t / t[-1]
    return np.hanning(len(t)) * np.sin(2 * np.pi * hz * t)


def with_chirps(background: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A sound with a chirp about every quarter of a second, and where their middles are."""
    places = np.arange(round(0.2 * RATE), len(background) - round(0.2 * RATE), round(0.26 * RATE))
    places = places + np.random.default_rng(seed).integers(-640, 640, len(places))
    out = 0.3 * background
    for at in places:
        out[at - 48 : at + 48] += 0.6 * chirp()
    return out[:, None].astype(np.float32), places / RATE


def found_chirps(wave: np.ndarray, pitch: float, near: np.ndarray) -> np.ndarray:
    """Where within 45 ms of a time a chirp is most like what is heard; NaN where that is less than a third as loud as it was."""
    sought = chirp(pitch)
    like = np.abs(hilbert(fftconvolve(wave[:, 0], sought[::-1], "same"))) / (0.6 * np.square(sought).sum())
    out = []
    for at in near:
        first = max(0, round((at - 0.045) * RATE))
        best = first + int(like[first : round((at + 0.045) * RATE)].argmax())
        out.append(best / RATE if like[best] > 0.35 else math.nan)
    return np.array(out)


@pytest.mark.parametrize("quality", ["best", "fast"])
@pytest.mark.parametrize(
    ("rate", "semitones"),
    [(0.5, 0), (0.7, 0), (0.9, 0), (0.97, 0), (1.1, 0), (1.4, 0), (2, 0), (1, -12), (1, -2), (1, 2), (1, 12), (0.8, 3)],
)
def test_a_label_is_within_10_ms_of_what_it_labels(rate: float, semitones: float, quality: str) -> None:
    """In a voice, in noise, in a hum and in silence, wherever pieces were taken from; and labels keep their order."""
    t = np.arange(4 * RATE) / RATE
    talk = np.concatenate(
        [
            voice(v, f0=f, seconds=1.0, rate=RATE).wave[:, 0]
            for v, f in zip("ah ee oo ah".split(), (70, 120, 180, 250), strict=True)
        ]
    )
    backgrounds = [talk, 0.05 * np.random.default_rng(0).normal(size=len(t)), np.sin(2 * np.pi * 110 * t), 0 * t]
    ops = [{"TimeStretch": {"rate": [rate, rate]}}, {"PitchShift": {"semitones": [semitones, semitones]}}]
    plan = Recipe.from_dict({"ops": ops, "quality": quality}).plan_of(1)
    found, wanted = 0, 0
    for seed, background in enumerate(backgrounds):
        wave, times = with_chirps(background, seed)
        made, lines = run_audio.apply_with(plan, wave, RATE)
        labels = along(lines, times)
        heard = found_chirps(made, 2 ** (semitones / 12), labels)
        found, wanted = found + np.isfinite(heard).sum(), wanted + len(times)
        assert np.nanmax(np.abs(heard - labels)) <= 0.010
        # Labels keep their order, and a point in what a faster sound skips is squeezed, not lost (`Timed.moved` looks .1 ms to both sides).
        assert (np.diff(along(lines, np.arange(0.001, 3.99, 0.0002))) > 1e-6).all()
    assert found > 0.9 * wanted * min(1.0, 1 / rate, 2 ** (semitones / 12))  # what is made shorter loses some


def test_variants_have_their_labels_beside_them_in_the_form_they_came_in(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a" / "x.wav", voice(seconds=1.5, rate=RATE))
    (tmp_path / "in" / "a" / "x.TextGrid").write_text(LONG)
    (tmp_path / "in" / "a" / "x.json").write_text('[{"start": 0.5, "end": 1.25, "text": "b"}]')
    write(tmp_path / "in" / "b" / "y.flac", voice(seconds=1.0, rate=RATE))
    (tmp_path / "in" / "b" / "y.csv").write_text("start,end,word\n0.2,0.4,yes\n")
    (tmp_path / "in" / "b" / "z.TextGrid").write_text(LONG)
    data = am.read(tmp_path / "in")
    assert any("no sample has the name of 1 label file, the first " in note for note in data.notes)
    assert [len(r.beside) for r in data.refs] == [2, 1]
    (tmp_path / "r.yaml").write_text("ops:\n  - SpeedPerturb: {factor: [2, 2]}\n")
    for name, workers in (("one", 1), ("two", 2)):
        am.augment(data, out=tmp_path / name, variants=1, recipe=str(tmp_path / "r.yaml"), workers=workers)
    out = tmp_path / "one"
    names = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    assert names == sorted(
        p.relative_to(tmp_path / "two").as_posix() for p in (tmp_path / "two").rglob("*") if p.is_file()
    )
    for name in ("a/x.TextGrid", "a/x.json", "b/y.csv"):
        assert (out / name).read_bytes() == (tmp_path / "in" / name).read_bytes()
    assert json.loads((out / "a" / "x.aug0.json").read_text()) == [{"start": 0.25, "end": 0.625, "text": "b"}]
    assert (out / "b" / "y.aug0.csv").read_text() == "start,end,word\n0.1,0.2,yes\n"
    grid = timed.read(out / "a" / "x.aug0.TextGrid", 0.75)
    assert grid is not None and math.isclose(audio.header(out / "a" / "x.aug0.wav").seconds, 0.75)
    np.testing.assert_allclose(grid.times, [[0.125, 0.25], [0.25, 0.625], [0.375, 0.375]], atol=1e-6)
    more = am.read(out)
    assert len(more) == 4 and all(r.beside for r in more.refs)
    assert not [n for n in more.notes if n.partition(":")[0] != "labels with times lie beside 4 sounds"][1:]
    assert {"a/x.aug0.wav", "b/y.aug0.flac"} <= {r["file_name"] for r in read_jsonl(out / "metadata.jsonl")}


def test_labels_of_sounds_that_are_joined_are_joined_where_they_are_of_one_form(tmp_path: Path) -> None:
    for name, word in (("x", "yes"), ("y", "no")):
        write(tmp_path / f"{name}.wav", voice(seconds=1.0, rate=RATE))
        (tmp_path / f"{name}.csv").write_text(f"start,end,word\n0.2,0.4,{word}\n")
        (tmp_path / f"{name}.json").write_text(json.dumps({"by": name, "words": [{"time": 0.5, "said": word}]}))
        (tmp_path / f"{name}.TextGrid").write_text(LONG.replace("1.5\n", "1\n").replace("1.25", "1"))
    write(tmp_path / "z.wav", voice(seconds=1.0, rate=RATE))
    (tmp_path / "z.csv").write_text("start,end\n0.2,0.4\n")
    samples = {s.id: s for s in am.read(tmp_path)}
    for other in ("y.wav", "z.wav"):
        plan = Recipe("one", (Concat(gap_s=(0.5, 0.5)),)).plan_of(1, own="x.wav", pool=Pool(("x.wav", other)))
        out = SpeechModality().transform(plan, samples["x.wav"], samples.__getitem__)
        assert abs(out.data.seconds - 2.5) < 1e-3
        found = {labels.suffix: labels for labels in out.targets.get("timed", ())}
        if other == "z.wav":  # it has no word column and no TextGrid
            assert not found
            continue
        assert found[".csv"].encoded().decode() == "start,end,word\n0.2,0.4,yes\n1.7,1.9,no\n"
        words = [{"time": 0.5, "said": "yes"}, {"time": 2.0, "said": "no"}]
        assert json.loads(found[".json"].encoded()) == {"by": "x", "words": words}
        again = held(tmp_path / "a.TextGrid", found[".TextGrid"].encoded(), 2.5)
        starts = [0.25, 0.5, 1.75, 2.0, 0.75, 2.25]
        np.testing.assert_allclose(again.times[:, 0], starts, atol=1e-3)


def test_a_sound_shifted_out_of_its_labels_keeps_none(tmp_path: Path) -> None:
    plan = Plan((Step("TimeShift", "TimeShift-1", {"shift_s": -1.0}),), kind=SOUNDS)
    write(tmp_path / "x.wav", voice(seconds=1.5, rate=RATE))
    (tmp_path / "x.csv").write_text("start,end,word\n0.2,0.4,yes\n")
    (sample,) = am.read(tmp_path)
    out = SpeechModality().transform(plan, sample, lambda name: sample)
    (labels,) = out.targets["timed"]
    assert labels.encoded() == b"start,end,word\n"


def test_label_lines_stand_in_the_sheet(tmp_path: Path) -> None:
    write(tmp_path / "x.wav", voice(seconds=1.0, rate=RATE))
    (tmp_path / "x.csv").write_text("start,end,word\n0.25,0.5,yes\n")
    (sample,) = am.read(tmp_path)
    from augmint.data import images

    (tmp_path / "sheet.png").write_bytes(SpeechModality().sheet([[sample]], [""])[0])
    x = images.read(tmp_path / "sheet.png")
    white = np.flatnonzero((x[8:100] == 255).all((0, 2)))
    assert len(white) == 2
    np.testing.assert_allclose((white - 4) / (x.shape[1] - 8), [0.25, 0.5], atol=0.01)


def test_a_file_beside_a_sound_that_has_no_times_is_told_of_and_kept(tmp_path: Path) -> None:
    for name, table in (("a", "start,end,text\n0.1,0.2,ah\n"), ("b", "start\tend\ttext\n0.1\t0.2\tah\n")):
        write(tmp_path / "in" / f"{name}.wav", voice(rate=RATE))
        (tmp_path / "in" / f"{name}.csv").write_text(table)
    notes = "\n".join(am.read(tmp_path / "in").notes)
    assert "times lie beside 1 sounds" in notes and "the first b.csv" in notes and "start and end" in notes
    am.augment(tmp_path / "in", out=tmp_path / "out", variants=1, workers=1, recipe="light")
    out = sorted(p.name for p in (tmp_path / "out").glob("*.csv"))
    assert out == ["a.aug0.csv", "a.csv", "b.csv"]
    assert (tmp_path / "out" / "b.csv").read_bytes() == (tmp_path / "in" / "b.csv").read_bytes()
    assert "timed" not in read_jsonl(tmp_path / "out" / "metadata.jsonl")[0]
