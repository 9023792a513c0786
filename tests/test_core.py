"""The floor that all stands on: randomness as a function, the run folder, safe writing, settings, and the worker pool."""

from __future__ import annotations

import json
import math
import operator
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from augmint.core import config as core_config
from augmint.core import rng, run
from augmint.core.config import BoostConfig, GenerateConfig, TrainConfig, TrainVerb, build, load_yaml
from augmint.core.errors import BadSample, Interrupted, Refused, UserError, did_you_mean
from augmint.core.machine import cores
from augmint.core.presets import preset, share_of
from augmint.core.run import Run, check_output, read_json, read_jsonl, stop_on_signal, write_bytes, write_json
from augmint.scale.pool import ordered_map

WORDS = st.text(st.sampled_from("\x1fsia1") | st.characters(exclude_categories=("Cs",)), max_size=12)
MENDS = "to mend it"

# -- randomness as a function ----------------------------------------------------------------------------------------

MASK = 2**64 - 1


def slow_mix(x: int) -> int:
    """SplitMix64's finaliser in Python's whole numbers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


@given(st.integers(0, MASK), st.integers(0, MASK))
def test_bits_are_the_same_as_in_whole_numbers(key: int, counter: int) -> None:
    slow = slow_mix(slow_mix((key + 0x9E3779B97F4A7C15 * (counter + 1)) & MASK) ^ key)
    assert int(rng.bits(key, counter)[0]) == slow
    assert rng.uniform(key, counter)[0] == (slow >> 11) / 2**53


def test_the_mixer_is_the_published_splitmix64() -> None:
    """The first numbers that Java's SplittableRandom and Vigna's splitmix64.c give from the seed 1234567."""
    state, out = 1234567, []
    for _ in range(3):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        out.append(int(rng.mix(np.array([state], dtype=np.uint64))[0]))
    assert out == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("way", ["over counters", "over keys", "over words"])
def test_uniform_numbers_are_uniform(way: str) -> None:
    n = 40_000
    match way:
        case "over counters":
            u = rng.uniform(rng.key("a"), np.arange(n))
        case "over keys":
            u = rng.uniform(np.arange(n), 0)
        case _:
            u = rng.uniform([rng.key("sample", f"cat/{i:05d}.png", 0) for i in range(n)], 3)
    assert u.min() >= 0 and u.max() < 1
    assert stats.kstest(u, "uniform").pvalue > 0.001
    for power in (1, 2, 3, 4):
        expected, spread = 1 / (power + 1), math.sqrt(1 / (2 * power + 1) - 1 / (power + 1) ** 2)
        assert abs((u**power).mean() - expected) < 4 * spread / math.sqrt(n)
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 4 / math.sqrt(n)
    pairs, _, _ = np.histogram2d(u[:-1:2], u[1::2], bins=10)
    assert stats.chisquare(pairs.ravel()).pvalue > 0.001


def test_normal_numbers_are_normal() -> None:
    z = rng.normal(rng.key("n"), np.arange(40_000))
    assert stats.kstest(z, "norm").pvalue > 0.001
    assert abs(stats.kurtosis(z)) < 0.1 and np.isfinite(z).all()
    rows = rng.normal(np.arange(2000)[:, None], np.arange(8)[None])
    assert np.abs(np.corrcoef(rows.T) - np.eye(8)).max() < 4 / math.sqrt(2000)


def test_every_bit_is_set_half_of_the_time_and_one_input_bit_turns_half_of_them() -> None:
    found = rng.bits(rng.key("bits"), np.arange(20_000))
    each = (found[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert np.abs(each.mean(0) - 0.5).max() < 4.5 / math.sqrt(4 * 20_000)
    for bit in (0, 17, 40, 63):
        turned = rng.bits(np.arange(2000, dtype=np.uint64) ^ np.uint64(1 << bit), 5) ^ rng.bits(np.arange(2000), 5)
        share = ((turned[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)).mean(0)
        assert np.abs(share - 0.5).max() < 0.07


@settings(max_examples=30)
@given(st.lists(st.integers(0, MASK), min_size=1, max_size=5), st.lists(st.integers(0, 2**40), min_size=1, max_size=5))
def test_a_vector_of_samples_gives_the_numbers_of_each_alone(keys: list[int], counters: list[int]) -> None:
    k, c = np.array(keys, dtype=np.uint64), np.array(counters, dtype=np.uint64)
    for fn in (rng.bits, rng.uniform, rng.normal, rng.combine):
        whole = fn(k[:, None], c[None])
        alone = [[fn(int(a), int(b))[0] for b in c] for a in k]
        assert np.array_equal(whole, np.array(alone))


def test_keys_of_different_words_differ() -> None:
    parts: list[tuple[str | int, ...]] = [
        ("a", 1), ("a1",), ("a", "1"), (1, "a"), ("a", 1, ""), ("", "a", 1), (), ("",), (0,), ("0",), (1, 2), (12,), (2, 1),
        ("a", -1), ("A", 1), ("a\x1fi1",), ("a\x1f", 1), ("a\x1f\x1fi1",),
    ]  # fmt: skip
    assert len({rng.key(*p) for p in parts}) == len(parts)


@given(st.lists(WORDS | st.integers(), max_size=4), st.lists(WORDS | st.integers(), max_size=4))
def test_keys_are_equal_only_for_equal_parts(a: list[str | int], b: list[str | int]) -> None:
    assert (rng.key(*a) == rng.key(*b)) == (a == b)
    assert 0 <= rng.key(*a) <= MASK and 0 <= rng.torch_seed(*a) < 2**63


def test_a_number_from_numpy_is_the_same_key_as_a_plain_one() -> None:
    assert rng.key("a", int(np.int64(7))) == rng.key("a", 7) == rng.key("a", np.int64(7))  # type: ignore[arg-type]


def test_keys_stay_what_they_are_in_other_processes() -> None:
    """Python's own hash of words changes with every process; a key must not."""
    (there,) = ordered_map(partial(rng.key, "sample"), ["cat/1.png"], workers=2)
    assert there == rng.key("sample", "cat/1.png")


@given(st.integers(0, MASK), st.integers(0, 200))
def test_a_permutation_holds_every_number_once(key: int, n: int) -> None:
    order = rng.permutation(key, n)
    assert order.dtype == np.int64 and sorted(order.tolist()) == list(range(n))
    assert np.array_equal(order, rng.permutation(key, n))


def test_every_order_is_as_likely_as_another() -> None:
    orders = [tuple(rng.permutation(rng.key("p", i), 4).tolist()) for i in range(4800)]
    counts = [orders.count(o) for o in sorted(set(orders))]
    assert len(counts) == 24 and stats.chisquare(counts).pvalue > 0.001


def test_no_global_random_state_is_touched() -> None:
    before = str(np.random.get_state()), random.getstate()  # noqa: NPY002 - it is what must not change
    rng.normal(rng.key("a"), np.arange(10))
    rng.permutation(rng.key("b"), 10)
    assert (str(np.random.get_state()), random.getstate()) == before  # noqa: NPY002 - the same


# -- safe writing ----------------------------------------------------------------------------------------------------


def test_a_file_appears_whole_with_its_folders_and_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "c.bin"
    write_bytes(target, b"one")
    write_bytes(target, b"two")
    assert target.read_bytes() == b"two" and [p.name for p in target.parent.iterdir()] == ["c.bin"]
    assert target.stat().st_mode & 0o444 == 0o444


def test_a_write_that_fails_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.json"
    write_bytes(target, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device") as error:
        write_bytes(target, b"new")
    assert str(target) in str(error.value) and MENDS in str(error.value)
    assert target.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_ctrl_c_in_the_middle_of_a_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes(tmp_path / "a", b"old")

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "a", b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"old")]


def test_a_target_that_is_a_folder_is_told_and_leaves_no_rest(tmp_path: Path) -> None:
    (tmp_path / "a" / "inside").mkdir(parents=True)
    with pytest.raises(UserError, match="writing failed"):
        write_bytes(tmp_path / "a", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_place_without_permission_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(run, "mkstemp", refused)
    with pytest.raises(UserError, match="cannot be written") as error:
        write_bytes(tmp_path / "x", b"")
    assert str(tmp_path / "x") in str(error.value) and "--out" in str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, -math.inf]])
def test_json_without_a_number_is_refused_and_nothing_is_written(value: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"x": value})
    with pytest.raises(ValueError):
        run.write_jsonl(tmp_path / "a.jsonl", [{"x": value}])
    assert not list(tmp_path.iterdir())


def test_json_takes_what_science_has_and_reads_it_back(tmp_path: Path) -> None:
    value = {"b": np.float32(0.5), "a": np.arange(3), "p": Path("x/y"), "c": TrainConfig(), "é": "ü\u2028"}
    write_json(tmp_path / "a.json", value)
    found = read_json(tmp_path / "a.json")
    assert list(found) == list(value), "keys in the order given"
    assert found["b"] == 0.5 and found["a"] == [0, 1, 2] and found["p"] == "x/y" and found["é"] == "ü\u2028"
    assert TrainConfig(**found["c"]) == TrainConfig()


def test_json_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing"):
        read_json(tmp_path / "run.json")
    for broken in (b"{", b"", b"\xff\xfe"):
        (tmp_path / "run.json").write_bytes(broken)
        with pytest.raises(UserError, match="not readable as JSON") as error:
            read_json(tmp_path / "run.json")
        assert "run.json" in str(error.value)


ROWS = [{"step": 1, "name": "naïve.png"}, {"step": 2, "name": "日本/a.png"}, {"step": 3, "x": [0.25, None]}]


def test_a_last_line_cut_anywhere_is_dropped(tmp_path: Path) -> None:
    """Cut after any byte, inside a letter of several bytes too."""
    path = tmp_path / "a.jsonl"
    run.write_jsonl(path, ROWS)
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        complete = sum(cut >= end - 1 for end in ends)  # without its line break a row is whole already
        assert read_jsonl(path) == ROWS[:complete], f"cut after {cut} bytes: {whole[:cut][-12:]!r}"


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(UserError, match="line 2") as error:
        read_jsonl(tmp_path / "a.jsonl")
    assert "a.jsonl" in str(error.value)


def test_no_file_is_no_rows(tmp_path: Path) -> None:
    assert read_jsonl(tmp_path / "a.jsonl") == []


@settings(max_examples=60)
@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=8) | st.integers() | st.none(), max_size=3)))
def test_rows_come_back_whatever_their_words_hold(tmp_path_factory: pytest.TempPathFactory, rows: list[object]) -> None:
    """Names of files may hold anything: among it what Python, not JSON, takes for the end of a line."""
    path = tmp_path_factory.getbasetemp() / "rows.jsonl"
    run.write_jsonl(path, rows)  # type: ignore[arg-type]
    assert read_jsonl(path) == rows


def test_names_with_line_separators_come_back(tmp_path: Path) -> None:
    rows = [{"id": f"a{mark}b.png"} for mark in ("\u2028", "\u2029", "\x85", "\x0b", "\x1c", "\r", "\n")]
    run.write_jsonl(tmp_path / "a.jsonl", rows)
    assert read_jsonl(tmp_path / "a.jsonl") == rows


def test_rows_kept_in_a_file_come_back_in_order_and_take_no_memory(tmp_path: Path) -> None:
    row = {"file_name": "a" * 300, "plan": list(range(300))}
    tracemalloc.start()
    with run.Lines(tmp_path / "new" / "rows.jsonl") as rows:
        for i in range(3000):
            rows.add({**row, "i": i})
    run.write_jsonl(tmp_path / "all.jsonl", ({"j": r["i"], **r} for r in rows))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(rows) == 3000 and [r["j"] for r in run.iter_jsonl(tmp_path / "all.jsonl")] == list(range(3000))
    assert peak < 200_000 < (tmp_path / "all.jsonl").stat().st_size / 10
    with run.Lines(tmp_path / "new" / "rows.jsonl") as again:
        assert list(again) == [], "what was there before is gone"


def test_what_a_kill_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from augmint.core import run
run.os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
run.write_bytes(Path({str(tmp_path)!r}) / "cat" / "a.png", b"half")
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    (left,) = (tmp_path / "cat").iterdir()
    mine = [".film.part", ".hidden", "b.png", "c.part"]
    for name in mine:
        (tmp_path / "cat" / name).write_text("mine")
    run.sweep(tmp_path)
    assert not left.exists()
    assert sorted(p.name for p in (tmp_path / "cat").iterdir()) == mine


# -- where output may go ---------------------------------------------------------------------------------------------


def test_a_new_or_an_empty_folder_may_be_written(tmp_path: Path) -> None:
    check_output(tmp_path / "new" / "deeper")
    check_output(tmp_path)
    assert not list(tmp_path.iterdir()), "checking makes nothing"


def test_what_exists_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(Refused, match="existing file"):
        check_output(tmp_path / "file")
    with pytest.raises(Refused, match="not empty") as error:
        check_output(tmp_path)
    assert str(tmp_path) in str(error.value) and "--out" in str(error.value)
    (tmp_path / ".hidden").write_text("")
    with pytest.raises(Refused, match="not empty"):
        check_output(tmp_path, ours="run.json")
    check_output(tmp_path, ours="file")


@pytest.mark.parametrize("out", ["", "new", "new/deeper"])
def test_a_read_only_place_is_refused_before_any_work(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By way of ``os.access``, since root may write anywhere."""
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path and real(path, mode))
    with pytest.raises(UserError, match="cannot be written") as error:
        check_output(tmp_path / out)
    assert str(tmp_path) in str(error.value) and MENDS in str(error.value)


def test_a_folder_without_permission_is_refused_as_it_is(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.access(locked, os.W_OK):
        pytest.skip("this user may write anywhere")
    with pytest.raises(UserError, match="cannot be written"):
        check_output(locked / "out")
    with pytest.raises(UserError, match="cannot be written"):
        write_bytes(locked / "out" / "a", b"")


# -- the run folder --------------------------------------------------------------------------------------------------


def opened(path: Path, **changes: object) -> Run:
    wanted = {"verb": "boost", "config": {"seed": 0, "train": {"lr": 6e-4, "grid": None}}, "inputs": {"data": "abc"}}
    return Run.open(path, **{**wanted, **changes})  # type: ignore[arg-type]


def test_a_run_that_was_killed_before_its_first_file_was_whole_is_started_again(tmp_path: Path) -> None:
    path = tmp_path / "out.run"
    code = f"""
import os, signal
from pathlib import Path
from augmint.core import run
run.os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
run.Run.open(Path({str(path)!r}), verb="boost", config={{}}, inputs={{}})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert len(list(path.iterdir())) == 1
    assert opened(path).state["status"] == "running"
    assert sorted(p.name for p in path.iterdir()) == ["config.yaml", "run.json"]


def test_the_same_command_takes_up_the_run(tmp_path: Path) -> None:
    first = opened(tmp_path / "r")
    first.choose("steps", 100, "as set")
    started = first.state["started"]
    again = opened(tmp_path / "r")
    assert again.state["started"] == started and again.chosen("steps") == 100 and not again.is_done
    again.update(status="done", timings={"train_s": 3.0})
    again.update(timings={"prove_s": 4.0})
    assert again.is_done and again.state["timings"] == {"train_s": 3.0, "prove_s": 4.0}
    assert opened(tmp_path / "r").is_done
    assert set(again.state["versions"]) >= {"python", "numpy", "torch"}


def test_settings_compare_as_json_does(tmp_path: Path) -> None:
    """A tuple, a path or a NumPy number is the same setting as what JSON makes of it."""
    opened(tmp_path / "r", config={"a": (1, 2), "p": Path("x"), "n": np.float64(0.5)})
    opened(tmp_path / "r", config={"a": [1, 2], "p": "x", "n": 0.5})


@pytest.mark.parametrize(
    "changes,named",
    [
        ({"config": {"seed": 1, "train": {"lr": 6e-4, "grid": None}}}, "seed was 0, now 1"),
        ({"config": {"seed": 0, "train": {"lr": 1e-3, "grid": None}}}, "train.lr was 0.0006, now 0.001"),
        ({"config": {"seed": 0, "train": {"lr": 6e-4, "grid": 8}}}, "train.grid was None, now 8"),
        ({"config": {"seed": 0}}, "train was {"),
        (
            {"config": {"seed": 0, "train": {"lr": 6e-4, "grid": None}, "size": "nano"}},
            "size was None, now 'nano'",
        ),
        ({"inputs": {"data": "abd"}}, "inputs.data was 'abc', now 'abd'"),
        ({"inputs": {"data": "abc", "pool": "x"}}, "inputs.pool was None, now 'x'"),
        ({"verb": "train"}, "verb was 'boost', now 'train'"),
    ],
)
def test_other_settings_or_data_are_refused_and_the_difference_named(
    changes: dict[str, object], named: str, tmp_path: Path
) -> None:
    opened(tmp_path / "r")
    before = (tmp_path / "r" / "run.json").read_bytes()
    with pytest.raises(Refused) as error:
        opened(tmp_path / "r", **changes)
    assert named in str(error.value) and str(tmp_path / "r") in str(error.value) and MENDS in str(error.value)
    assert "config." not in str(error.value)
    assert (tmp_path / "r" / "run.json").read_bytes() == before


def test_a_budget_may_grow_and_nothing_else_may_change(tmp_path: Path) -> None:
    def again(**config: object) -> Run:
        return Run.open(tmp_path / "r", verb="train", config=config, inputs={}, budgets=("time", "steps"))

    again(time=60.0, steps=None, lr=1e-3).update(status="done")
    for refused, named in (
        ({"time": 30.0, "steps": None, "lr": 1e-3}, "time was 60.0, now 30.0"),
        ({"time": 60.0, "steps": 500, "lr": 1e-3}, "steps was None, now 500"),
        ({"time": 90.0, "steps": None, "lr": 2e-3}, "lr was 0.001, now 0.002"),
    ):
        with pytest.raises(Refused, match=named) as error:
            again(**refused)
        assert "time was 60.0, now 90.0" not in str(error.value), "what may differ is no fault"
    assert again(time=60.0, steps=None, lr=1e-3).is_done
    run = again(time=90.0, steps=None, lr=1e-3)
    assert not run.is_done and run.state["config"]["time"] == 90.0
    assert "time: 90.0" in (run / "config.yaml").read_text()
    assert "time was 60.0, now 90.0" in (run / "log.txt").read_text()
    with pytest.raises(Refused, match=r"time was 90\.0, now 60\.0"):
        again(time=60.0, steps=None, lr=1e-3)


def test_a_choice_stands_unless_it_is_made_anew(tmp_path: Path) -> None:
    run = opened(tmp_path / "r")
    run.choose("steps", 1, "a")
    run.choose("steps", 2, "b")
    assert (run.chosen("steps"), run.reason("steps")) == (1, "a")
    run.choose("steps", 2, "b", anew=True)
    assert (run.chosen("steps"), run.reason("steps")) == (2, "b")
    Run(run.path, writes=False).choose("steps", 3, "c", anew=True)
    Run(run.path, writes=False).update(status="done")
    assert run.chosen("steps") == 2 and not run.is_done


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(Refused, match="not a run"):
        opened(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_first_choice_stands(tmp_path: Path) -> None:
    found = opened(tmp_path / "r")
    assert found.chosen("threads") is None
    found.choose("threads", 1, "measured")
    found.choose("threads", 2, "measured again")
    found.choose("zero", 0, "a value that counts as false")
    found.choose("zero", 5, "another")
    assert found.chosen("threads") == 1 and found.chosen("zero") == 0
    assert read_json(found / "choices.json")["threads"] == {"value": 1, "reason": "measured"}


def test_the_settings_are_kept_as_yaml_that_gives_them_back(tmp_path: Path) -> None:
    found = opened(tmp_path / "r")
    assert load_yaml(found / "config.yaml") == found.state["config"]


def test_the_log_has_a_time_and_a_line_each(tmp_path: Path) -> None:
    found = opened(tmp_path / "r")
    found.log("one")
    found.log("two")
    lines = (found / "log.txt").read_text().splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == ["one", "two"]
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00  ", line) for line in lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_asks_and_a_second_one_ends(number: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop_on_signal() as stop:
        assert not stop
        signal.raise_signal(number)
        assert stop
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_signals_are_given_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError), stop_on_signal():
        raise ValueError
    assert signal.getsignal(signal.SIGTERM) == before


def test_in_a_thread_signals_are_left_alone() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with stop_on_signal() as stop:
            seen.append(bool(stop) or signal.getsignal(signal.SIGINT) is not before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


# -- errors and settings ---------------------------------------------------------------------------------------------


def test_an_error_says_what_where_and_how_to_mend_it() -> None:
    assert (
        str(UserError("it broke", where=Path("a/b"), mend="glue it"))
        == f"{Path('a/b')}: it broke\n  to mend it: glue it"
    )
    assert str(UserError("it broke")) == "it broke"
    codes = [e("x").exit_code for e in (UserError, BadSample, Refused, Interrupted)]
    assert codes == [2, 3, 4, 130]


def test_the_nearest_word_is_offered() -> None:
    assert did_you_mean("sed", ["seed", "time"]) == " (did you mean 'seed'?)"
    assert did_you_mean("zzz", ["seed", "time"]) == ""


@pytest.mark.parametrize(
    "text,value", [("90s", 90), ("10m", 600), ("1.5h", 5400), ("2 min", 120), ("45", 45), (" 3M ", 180), (7, 7), (0.5, 0.5)]
)  # fmt: skip
def test_durations_are_read_as_people_write_them(text: str | float, value: float) -> None:
    assert build(TrainVerb, {"time": text}).time == value


@pytest.mark.parametrize("text", ["10x", "ten", "", "-3m", "0s", "1m30s", "nan", float("nan"), float("inf"), -1])
def test_what_is_no_duration_is_refused(text: str | float) -> None:
    with pytest.raises(UserError, match="time"):
        build(TrainVerb, {"time": text})


def test_later_layers_win_and_none_is_not_set() -> None:
    found = build(GenerateConfig, {"quality": 0.5, "keep": 0.2}, {"quality": 0.25}, {"quality": None})
    assert (found.quality, found.keep) == (0.25, 0.2)


def test_settings_are_frozen_and_closed() -> None:
    with pytest.raises(ValidationError):
        TrainConfig().lr = 1.0  # type: ignore[misc]
    with pytest.raises(ValidationError):
        TrainConfig(leraning_rate=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "model,values,told",
    [
        (TrainVerb, {"sed": 1}, "did you mean 'seed'"),
        (TrainVerb, {"batch": 1}, "batch"),
        (TrainVerb, {"size": "huge"}, "size"),
        (GenerateConfig, {"quality": 1.5}, "quality"),
        (GenerateConfig, {"keep": 0}, "keep"),
        (BoostConfig, {"seeds": "many"}, "seeds"),
    ],
)
def test_a_wrong_setting_is_named_with_its_place(model: type, values: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told) as error:
        build(model, values, where="settings.yaml")
    assert str(error.value).startswith("settings.yaml: ") and MENDS in str(error.value)


def test_flags_win_over_the_file_the_file_over_the_preset_the_preset_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("preset: best\nseeds: 5\nmargin: 2\n")
    found = core_config.settings(BoostConfig, config=path, flags={"margin": 3.0, "keep": None})
    assert (found.seeds, found.margin, found.keep) == (5, 3.0, 0.7)
    assert found.time == preset("best")["time"] and found.variants == preset("best")["variants"]
    assert core_config.settings(BoostConfig, config=path, flags={"preset": "fast"}).time == preset("fast")["time"]
    assert core_config.settings(BoostConfig) == BoostConfig()
    assert core_config.settings(TrainVerb, flags={"preset": "fast"}).time == preset("fast")["time"]


@pytest.mark.parametrize("name", ["fast", "balanced", "best"])
def test_presets_are_valid_settings(name: str) -> None:
    assert build(BoostConfig, preset(name)).preset == "balanced"


def test_the_share_follows_the_regime() -> None:
    assert [share_of(r)[0] for r in ("pool", "imbalance", "closed")] == [0.5, 0.25, 0.25]


@pytest.mark.parametrize(
    "text,told",
    [
        ("!!python/object/apply:os.system ['echo pwned > /tmp/pwned']", "not plain YAML"),
        ("a: [1", "not plain YAML"),
        ("- a\n- b", "key: value"),
        ("just words", "key: value"),
    ],
)
def test_a_settings_file_is_plain_data_only(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=told) as error:
        load_yaml(path)
    assert "s.yaml" in str(error.value)


def test_a_settings_file_may_be_empty_and_must_exist(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("# nothing\n")
    assert load_yaml(tmp_path / "s.yaml") == {}
    with pytest.raises(UserError, match="no such settings file"):
        load_yaml(tmp_path / "t.yaml")
    (tmp_path / "u.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not plain YAML"):
        load_yaml(tmp_path / "u.yaml")


def test_a_fault_in_the_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("sede: 3\n")
    with pytest.raises(UserError, match=r"s\.yaml.*did you mean 'seed'"):
        core_config.settings(BoostConfig, config=path)


# -- the pool --------------------------------------------------------------------------------------------------------


def test_results_come_in_order_and_the_same_with_any_number_of_workers() -> None:
    items = [300, 1, 2000, 7, 0, 50, 900, 3, 20, 10, 400, 6]
    one, two = (list(ordered_map(math.factorial, items, workers=n)) for n in (1, 2))
    assert one == two == [math.factorial(i) for i in items]


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_to_do_gives_nothing(workers: int) -> None:
    assert list(ordered_map(math.factorial, [], workers=workers)) == []


def test_a_worker_that_fails_names_its_item() -> None:
    found = ordered_map(int, ["1", "2", "x3", "4"], workers=2, name=lambda item: f"cat/{item}.png")
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(UserError, match=r"cat/x3\.png: .*ValueError: invalid literal") as error:
        next(found)
    assert "--workers 1" in str(error.value) and isinstance(error.value.__cause__, ValueError)


def test_a_worker_that_dies_names_its_item() -> None:
    """As the kernel ends one for its memory."""
    with pytest.raises(UserError, match="worker failed") as error:
        list(ordered_map(os._exit, [3], workers=2, name="sample {}".format))
    assert "sample 3" in str(error.value)


def test_our_own_errors_come_through_as_they_are() -> None:
    with pytest.raises(UserError, match="no such settings file") as error:
        list(ordered_map(load_yaml, [Path("nowhere.yaml")], workers=2))
    assert str(error.value).startswith("nowhere.yaml")


def test_items_are_taken_as_needed_and_stopping_early_is_fine() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(10_000):
            taken.append(i)
            yield i

    found = ordered_map(operator.neg, items(), workers=2)
    assert next(found) == 0 and len(taken) <= 4 * 2
    assert next(found) == -1 and len(taken) <= 4 * 2 + 1
    found.close()  # type: ignore[attr-defined]
    assert len(taken) < 20


def test_workers_have_one_thread_each_and_leave_ctrl_c_to_the_parent() -> None:
    names = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]
    assert list(ordered_map(os.getenv, names, workers=2)) == ["1"] * 3
    (handler,) = ordered_map(signal.getsignal, [signal.SIGINT], workers=2)
    assert handler == signal.SIG_IGN


def test_workers_end_with_a_parent_that_is_killed() -> None:
    code = """
import os, signal
from augmint.scale.pool import ordered_map
found = ordered_map(os.path.abspath, map(str, range(100)), workers=2)
next(found)
os.kill(os.getpid(), signal.SIGKILL)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    assert parent.wait() == -signal.SIGKILL
    until = time.monotonic() + 20
    try:
        while time.monotonic() < until:
            os.killpg(parent.pid, 0)  # raises once no process of the group is left
            time.sleep(0.05)
        os.killpg(parent.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    pytest.fail("a worker lives on")


def test_at_least_one_core_is_found() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)


def test_the_words_of_json_stay_words(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": "é"})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"x": "é"}
    assert "é" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_asking_to_stop_ends_the_workers_and_what_they_are_at() -> None:
    asked: list[int] = []
    began = time.perf_counter()
    with (
        pytest.raises(Interrupted, match="stopped"),
        closing(ordered_map(time.sleep, [0.0, 60.0, 60.0], workers=2, stop=asked)) as found,
    ):
        next(found)
        asked.append(1)  # a list that is no longer empty is true
        next(found)
    assert time.perf_counter() - began < 30


def test_an_error_in_the_loop_over_the_results_ends_the_workers_too() -> None:
    began = time.perf_counter()
    with pytest.raises(ZeroDivisionError), closing(ordered_map(time.sleep, [0.0, 60.0], workers=2)) as found:
        for _ in found:
            raise ZeroDivisionError
    assert time.perf_counter() - began < 30
