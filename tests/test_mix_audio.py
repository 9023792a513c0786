"""Ops that need other sounds: by closed form; which ones they take, from what folder, and that files replay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import augmint as am
from augmint import cli
from augmint.core import rng
from augmint.core.errors import UserError
from augmint.core.run import read_jsonl
from augmint.core.types import Sample
from augmint.data.audio import Sound
from augmint.evaluation import lift
from augmint.evaluation.arms import Arm, Task
from augmint.modalities.speech import SpeechCodec
from augmint.steps.augmenting import files_of
from augmint.transforms import run_audio, run_mix_audio, run_mix_torch
from augmint.transforms.mix import Mix, Pool, others
from augmint.transforms.mix_audio import SOUND_MIXES, AddBabble, AddBackground, Concat, ImpulseResponse, MixUp
from augmint.transforms.plan import SOUNDS as KIND
from augmint.transforms.plan import Partner, Plan, Step
from augmint.transforms.recipe import Recipe
from augmint.transforms.run_mix_audio import Heard
from augmint.transforms.signal import Gain
from augmint.transforms.temporal import SpeedPerturb, Temporal, TimeShift, along
from test_speech import files
from test_transforms_audio import RATE, db, tone
from voices import voice, write, write_voices

A = Heard(voice("ah", seconds=0.5, rate=RATE).wave, RATE, {"ah": 1.0})
B = Heard(voice("ee", f0=200, seconds=0.3, rate=RATE).wave, RATE, {"ee": 1.0})
SOUNDS = {"a": A, "b": B, "file:noises/rain.wav": Heard(0.1 * tone(3000, 3.0), RATE)}
POOL = Pool(["a", "b"], lambda folder: [f"{folder}/rain.wav"])


def mixed(
    *ops: Mix | Gain | Temporal, seed: int = 0, sound: Heard = A, sounds: dict[str, Heard] = SOUNDS
) -> tuple[Plan, Heard]:
    plan = Recipe("r", ops).draw(seed=seed, sample_id="a", pool=POOL)
    return plan, run_mix_audio.apply(plan, sound, sounds.__getitem__)


def test_mixup_is_the_weighted_sum_and_keeps_the_greater_share() -> None:
    for seed in range(5):
        plan, made = mixed(MixUp(alpha=1.0), seed=seed)
        lam = plan.steps[0].params["lam"]
        assert lam >= 0.5
        other = np.zeros_like(A.wave)
        other[: len(B.wave)] = B.wave
        np.testing.assert_allclose(made.wave, lam * A.wave + (1 - lam) * other, atol=1e-6)
        assert made.labels == pytest.approx({"ah": lam, "ee": 1 - lam})


def test_concat_puts_one_behind_the_other() -> None:
    _, made = mixed(Concat(gap_s=(0.25, 0.25)))
    gap = np.zeros((RATE // 4, 1))
    np.testing.assert_array_equal(made.wave, np.concatenate([A.wave, gap, B.wave]))
    assert made.labels == pytest.approx({"ah": 0.625, "ee": 0.375}) and [name for name, _ in made.parts] == ["", "b"]


def test_times_of_both_go_along() -> None:
    ops = (SpeedPerturb(factor=(0.8, 0.8)), Concat(gap_s=(0.1, 0.1)), TimeShift(shift_s=(0.05, 0.05)))
    _, made = mixed(*ops)
    times = {name: along(lines, np.array([0.0, 0.3])) for name, lines in made.parts}
    np.testing.assert_allclose(times[""], [0.05, 0.425], atol=1e-4)
    np.testing.assert_allclose(times["b"], [0.775, 1.1], atol=1e-4)  # its last 50 ms are shifted out


def test_partners_went_through_what_stands_before_but_raw_ones_did_not() -> None:
    louder = Gain(gain_db=(6, 6))
    _, made = mixed(louder, Concat(gap_s=(0, 0)))
    np.testing.assert_allclose(made.wave, 10**0.3 * np.concatenate([A.wave, B.wave]), rtol=1e-5)
    for op in (AddBackground(folder="noises"), AddBabble()):
        plan, _ = mixed(louder, op)
        assert all(p.steps == () for p in plan.steps[1].partners)


@pytest.mark.parametrize("snr", [-3.0, 12.0])
@pytest.mark.parametrize("op", [AddBabble, AddBackground])
def test_what_is_added_has_the_level_asked_for(op: type[AddBabble] | type[AddBackground], snr: float) -> None:
    where = {"folder": "noises"} if op is AddBackground else {"talkers": 3}
    plan, made = mixed(op(snr_db=(snr, snr), **where))
    added = made.wave - A.wave
    assert abs(db(float(np.square(A.wave, dtype=float).mean() / np.square(added, dtype=float).mean())) - snr) < 0.1
    assert len(plan.steps[0].partners) == (3 if op is AddBabble else 1)
    silent = Heard(np.zeros((800, 1), np.float32), RATE)
    assert not mixed(op(**where), sound=silent)[1].wave.any()


def test_a_background_comes_from_anywhere_and_is_repeated_where_it_is_short() -> None:
    long = np.arange(3 * RATE, dtype=np.float32)[:, None]
    op, level = AddBackground(folder="noises", snr_db=(100, 100)), []
    for seed in range(12):
        sounds = {**SOUNDS, "file:noises/rain.wav": Heard(long, RATE)}
        plan, made = mixed(op, seed=seed, sounds=sounds)
        start = int(plan.steps[0].params["from_frac"] * (len(long) - len(A.wave) + 1))
        level.append(start)
        added = (made.wave - A.wave)[:, 0].astype(float)
        want = long[start : start + len(A.wave), 0].astype(float)
        assert np.corrcoef(added, want)[0, 1] > 0.9
    assert max(level) - min(level) > RATE
    short = Heard(np.sin(2 * np.pi * np.arange(100) / 50).astype(np.float32)[:, None], RATE)
    _, made = mixed(AddBackground(folder="noises", snr_db=(0, 0)), sounds={**SOUNDS, "file:noises/rain.wav": short})
    added = (made.wave - A.wave)[:, 0]
    np.testing.assert_allclose(added[:-100], added[100:], atol=1e-5)


def test_an_impulse_response_is_convolved_from_its_peak_on() -> None:
    answer = np.zeros((400, 2), np.float32)
    answer[40], answer[40 + 160] = 0.8, 0.6  # an echo 10 ms behind; the second channel is not asked
    answer[:, 1] *= -1
    _, made = mixed(ImpulseResponse(folder="rooms"), sounds={**SOUNDS, "file:rooms/rain.wav": Heard(answer, RATE)})
    want = 0.8 * A.wave
    want[160:] += 0.6 * A.wave[:-160]
    np.testing.assert_allclose(made.wave, want, atol=1e-5)


def test_others_are_brought_to_the_rate_and_the_channels_of_the_sound() -> None:
    both = Heard(voice(seconds=0.4, rate=8000, channels=2).wave, 8000)
    plan = Recipe("r", (Concat(gap_s=(0, 0)),)).draw(seed=0, sample_id="a", pool=POOL)
    made = run_mix_audio.apply(plan, A, {"b": both}.__getitem__)
    assert made.wave.shape == (len(A.wave) + round(0.4 * RATE), 1)


@pytest.mark.parametrize("name", SOUND_MIXES)
def test_they_survive_json_and_take_a_blink_silence_and_six_channels(name: str) -> None:
    settings = {"folder": "noises"} if hasattr(SOUND_MIXES[name], "folder") else {}
    recipe = Recipe("r", (SOUND_MIXES[name](**settings),))
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    plan = recipe.draw(seed=1, sample_id="a", pool=POOL)
    assert Plan.from_json(plan.to_json()) == plan and plan.others
    for wave, rate in (
        (np.zeros((800, 1), np.float32), 8000),
        (voice(seconds=0.02, rate=8000).wave, 8000),
        (voice(seconds=0.05, rate=192_000, channels=6).wave, 192_000),
    ):
        for other in (SOUNDS["b"], Heard(np.zeros((50, 2), np.float32), 44_100)):
            out = run_mix_audio.apply(plan, Heard(wave, rate), lambda _, other=other: other).wave
            assert out.shape[1] == wave.shape[1] and out.dtype == np.float32 and np.isfinite(out).all()


def test_what_it_cannot_do_is_told() -> None:
    plan = Recipe("r", (Concat(),)).draw(seed=0, sample_id="a", pool=POOL)
    with pytest.raises(UserError, match=r"Concat mixes sounds(.|\n)*run_mix_audio"):
        run_audio.apply(plan, A.wave, RATE)
    with pytest.raises(UserError, match=r"AddBackground: folder is None(.|\n)*folder: noises"):
        Recipe.from_dict({"ops": ["AddBackground"]})
    with pytest.raises(UserError, match="talkers is 0"):
        AddBabble(talkers=0)


def test_folders_are_listed_in_order_and_missing_or_empty_ones_named(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "b.WAV".lower(), voice())
    write(tmp_path / "c.flac", voice())
    (tmp_path / "read.me").write_text("not a sound")
    found = [Path(f).relative_to(tmp_path).as_posix() for f in files_of(str(tmp_path), suffixes=(".wav", ".flac"))]
    assert found == ["c.flac", "deep/b.wav"]
    with pytest.raises(UserError, match=r"no such folder(.|\n)*where the command runs"):
        files_of(str(tmp_path / "gone"), suffixes=(".wav",))
    with pytest.raises(UserError, match=r"nothing in it(.|\n)*\.mp3"):
        files_of(str(tmp_path), suffixes=(".mp3",))


def test_files_replay_with_their_backgrounds_and_say_when_one_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_voices(tmp_path / "in", per_class=3)
    for i in range(3):
        write(tmp_path / "noises" / f"{i}.wav", voice("oo", f0=80 + 20 * i, seconds=0.7, rate=16_000, seed=i))
    (tmp_path / "noises" / "broken.wav").write_bytes(b"RIFF of nothing")
    (tmp_path / "r.yaml").write_text(
        "ops: [PitchShift, {AddBackground: {folder: noises}}, {AddBabble: {talkers: 2, p: 0.5}}, {Concat: {p: 0.5}}, {MixUp: {p: 0.5}},"
        " {ImpulseResponse: {folder: noises, p: 0.5}}]"
    )
    monkeypatch.chdir(tmp_path)
    for name, workers in (("one", 1), ("two", 2)):
        am.augment("in", out=name, variants=3, workers=workers, recipe="r.yaml", seed=2)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    rows = [row for row in read_jsonl(tmp_path / "one" / "manifest.jsonl") if "plan" in row]
    backgrounds = [
        s["partners"][0]["sample"] for row in rows for s in row["plan"]["steps"] if s["op"] == "AddBackground"
    ]
    assert set(backgrounds) == {f"file:noises/{i}.wav" for i in range(3)}, "the broken one was not mixed in"
    assert len(backgrounds) < len(rows), "where it was drawn, nothing happened"
    assert any("soft_label" in row for row in rows)
    found = am.replay(tmp_path / "one" / "manifest.jsonl")
    assert found.to_dict()["same"] == len(rows)
    (tmp_path / "bad.yaml").write_text("ops: [{AddBackground: {folder: nowhere}}]")
    with pytest.raises(UserError, match="nowhere: there is no such folder"):
        am.augment("in", out="three", recipe="bad.yaml")
    assert not (tmp_path / "three").exists()
    (tmp_path / "noises" / "0.wav").unlink()
    with pytest.raises(UserError, match=r"noises/0\.wav(.|\n)*where the command runs"):
        am.replay(tmp_path / "one" / "manifest.jsonl")


def test_words_are_joined_and_what_is_not_the_same_is_dropped(tmp_path: Path) -> None:
    for i in range(2):
        write(tmp_path / "in" / f"{i}.wav", voice(seed=i))
    (tmp_path / "in" / "metadata.csv").write_text(
        "file_name,transcript,speaker,language\n0.wav,good,ann,en\n1.wav,morning,bob,en\n"
    )
    (tmp_path / "r.yaml").write_text("ops: [Concat]")
    am.augment(tmp_path / "in", out=tmp_path / "out", variants=1, workers=1, recipe=str(tmp_path / "r.yaml"))
    rows = {r["file_name"]: r for r in read_jsonl(tmp_path / "out" / "metadata.jsonl")}
    assert rows["0.aug0.wav"]["transcript"] == "good morning" and rows["1.aug0.wav"]["transcript"] == "morning good"
    assert rows["0.aug0.wav"]["language"] == "en" and "speaker" not in rows["0.aug0.wav"]
    assert rows["0.wav"]["transcript"] == "good" and rows["0.wav"]["speaker"] == "ann"


# --- batches of spectrograms -----------------------------------------------------------------------------------------

CODEC = SpeechCodec(RATE, 64, 64, 0.016, -10.0)
VOICES = [
    Heard(voice(v, f0=f, seconds=s, rate=RATE, seed=i).wave, RATE, {str(i): 1.0})
    for i, (v, f, s) in enumerate(
        (("ah", 120, 0.3), ("ee", 200, 0.4), ("oo", 160, 0.35), ("ee", 110, 0.5), ("oo", 220, 0.3), ("ah", 180, 0.45))
    )
]
KEYS = rng.bits(11, np.arange(len(VOICES)))


def on_the_grid(sound: Heard) -> np.ndarray:
    return CODEC.encode(Sample("a", Sound(sound.wave, sound.rate)))


BATCH = torch.from_numpy(np.stack([on_the_grid(v) for v in VOICES]))


@pytest.mark.parametrize(
    ("op", "most_db"),
    [
        (MixUp(alpha=1.0, p=0.8), 2.0),
        (Concat(p=0.8, gap_s=(0.02, 0.1)), 1.5),
        (AddBabble(p=0.8, talkers=3, snr_db=(0, 10)), 3.5),
    ],
)
def test_a_batch_of_spectrograms_is_mixed_as_sounds_are(op: Mix, most_db: float) -> None:
    """The other executor on the same plan, with the batch's own partners."""
    recipe = Recipe("r", (Gain(gain_db=(-6, 0)), op, TimeShift(shift_s=(0, 0.03))))
    out, soft = run_mix_torch.augment(BATCH, torch.eye(len(VOICES)), recipe.on(CODEC), KEYS)
    partners = others(recipe.mixing_keys(KEYS, 1), op.wanted)
    drawn, off, happened = recipe.draw_batch(KEYS), list[float](), 0
    for i in range(len(VOICES)):

        def step(number: int, own: int, who: tuple[Partner, ...] = ()) -> tuple[Step, ...]:
            d = drawn[number]
            return (Step(d.op, d.id, {k: float(v[own]) for k, v in d.params.items()}, who),) if d.active[own] else ()

        plan = Plan(
            (*step(0, i), *step(1, i, tuple(Partner(str(j), step(0, j)) for j in partners[i])), *step(2, i)), kind=KIND
        )
        happened += any(s.op == op.name for s in plan.steps)
        want = run_mix_audio.apply(plan, VOICES[i], lambda name: VOICES[int(name)])
        shares = [want.labels.get(str(j), 0.0) for j in range(len(VOICES))]
        np.testing.assert_allclose(soft[i].numpy(), shares, atol=0.02)  # lengths are whole columns here
        both = out[i].numpy(), on_the_grid(want)
        heard = np.maximum(*both) > -0.5
        off.append(40 * float(np.abs(both[0] - both[1])[heard].mean()))
    assert 3 <= happened < len(VOICES) and np.mean(off) < most_db, off


def test_of_a_sound_that_the_grid_ends_before_the_rest_does_not_count() -> None:
    ones = torch.full((2, 1, 64, 64), 0.5)
    ones[0, ..., 40:], ones[1, ..., 50:] = -1, -1
    recipe = Recipe("r", (Concat(gap_s=(0.16, 0.16)),)).on(CODEC)
    out, soft = run_mix_torch.augment(ones, torch.eye(2), recipe, KEYS[:2])
    torch.testing.assert_close(soft, torch.tensor([[40 / 54, 14 / 54], [4 / 54, 50 / 54]]))
    assert (out[0, ..., :40] == 0.5).all() and (out[0, ..., 40:50] == -1).all() and (out[0, ..., 50:] == 0.5).all()


def test_mixed_spectrograms_have_gradients_and_silence_stays() -> None:
    recipe = Recipe("r", (MixUp(alpha=1.0), Concat(), AddBabble())).on(CODEC)
    x = BATCH.clone().requires_grad_()
    run_mix_torch.augment(x, torch.eye(len(x)), recipe, KEYS, clip=False)[0].sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and (x.grad.abs().sum((1, 2, 3)) > 0).all()
    silent = torch.full((4, 1, 64, 64), -1.0)
    out, soft = run_mix_torch.augment(silent, torch.eye(4), recipe, KEYS[:4])
    assert torch.equal(out, silent) and torch.allclose(soft.sum(1), torch.ones(4))


def test_probes_learn_from_mixed_sounds() -> None:
    """The product's arm, with partners of its own batch and the shares as labels."""
    y = np.arange(len(VOICES)) % 3
    task = Task(
        BATCH.numpy(),
        y,
        BATCH.numpy(),
        y,
        3,
        Recipe("r", (MixUp(alpha=1.0), Concat(p=0.5), AddBabble(p=0.5))).on(CODEC),
    )
    for probe in ("cnn", "sklearn.neighbors:KNeighborsClassifier"):
        (found,) = lift.run(task, [Arm("classic", "", "classic")], seeds=2, steps=120, probe=probe).values()
        assert (found == y).mean() > 0.9
    mixer = task.mixer()
    assert mixer is not None
    soft = mixer(torch.from_numpy(task.fit_x), torch.from_numpy(y), KEYS, 1)[1]
    assert (soft.max(1).values < 1).any() and torch.allclose(soft.sum(1), torch.ones(len(y)))


def test_prove_takes_recipes_that_mix_sounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_voices(tmp_path / "real", per_class=12)
    for i in range(24):
        write(
            tmp_path / "made" / ("ah", "ee")[i % 2] / f"{i}.wav",
            voice(("ah", "ee")[i % 2], f0=91.3 + 5 * i, seed=50 + i),
        )
    path = tmp_path / "mix.yaml"
    path.write_text("ops:\n  - Gain\n  - OneOf: {ops: [MixUp, Concat, AddBabble]}\n")
    args = [str(tmp_path / "real"), str(tmp_path / "made"), "--recipe", str(path), "--out", str(tmp_path / "out")]
    assert cli.main(["prove", *args, "--seeds", "3", "--probe-steps", "20", "--workers", "1", "--no-audit"]) == 0, (
        capsys.readouterr().err
    )
    path.write_text("ops:\n  - AddBackground: {folder: noises}\n")
    assert cli.main(["prove", *args[:-1], str(tmp_path / "o2")]) == 2
    assert "AddBackground needs more than" in capsys.readouterr().err
