"""The command line: what reaches a verb, what people read, and how mistakes are told."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import augmint
from augmint import cli
from augmint.core.config import BoostConfig, seconds, settings
from augmint.core.errors import BadSample, Interrupted, Refused
from augmint.core.progress import Live

LONG = [n for n, v in cli.VERBS.items() if v.is_long]
WITH_SETTINGS = [n for n, v in cli.VERBS.items() if v.model]


def run(line: str) -> int:
    return cli.main(line.split())


class Answer:
    """What a verb returns, as far as the command line knows it."""

    summary = ("first line", "last line")
    exit_code = 0

    def to_dict(self) -> dict[str, Any]:
        return {"verdict": "HELPS", "effect": 3.25}


class StandIn(ModuleType):
    """Takes the place of `augmint.verbs` and remembers how it was called."""

    def __init__(self) -> None:
        super().__init__("augmint.verbs")
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.events: list[dict[str, Any]] = []
        self.fault: BaseException | None = None
        self.answer: Any = Answer()
        for name in cli.VERBS:
            setattr(self, name, self._verb(name))

    def _verb(self, name: str) -> Any:
        def verb(*places: Any, **named: Any) -> Any:
            self.calls.append((name, places, named))
            for event in self.events:
                named["progress"](event)
            if self.fault:
                raise self.fault
            return self.answer

        return verb


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "augmint.verbs", stand_in)
    monkeypatch.setattr(augmint, "verbs", stand_in, raising=False)
    return stand_in


def _minimal(name: str) -> list[str]:
    """The shortest command line that a verb accepts."""
    out = [name]
    for option in cli.VERBS[name].options:
        if option.default is cli.UNSET:
            out += [f"--{option.name}"] if not option.name.isupper() else []
            out += ["3" if option.kind is int else option.name.lower()]
    return out


@pytest.mark.parametrize("name", cli.VERBS)
def test_every_verb_is_called_once_with_what_its_signature_names(name: str, verbs: StandIn) -> None:
    assert cli.main(_minimal(name)) == 0
    ((called, places, named),) = verbs.calls
    assert called == name
    assert list(places) == [Path(o.name.lower()) for o in cli.VERBS[name].options if o.name.isupper()]
    assert ("progress" in named) == (name in LONG)
    assert ({"config", "dry_run"} <= set(named)) == (name in WITH_SETTINGS)
    assert not {"json", "debug"} & set(named)


def test_positions_options_and_flags_arrive_with_their_types(verbs: StandIn) -> None:
    line = "generate my.run -n 12 --out new --label cat --quality 0.5 --time 90s --seed 4 --strict --dry-run"
    assert run(line) == 0
    ((_, places, named),) = verbs.calls
    named.pop("progress")
    assert places == (Path("my.run"),)
    assert named == {
        "num": 12,
        "out": Path("new"),
        "label": "cat",
        "config": None,
        "dry_run": True,
        "quality": 0.5,
        "time": "90s",
        "seed": 4,
        "strict": True,
    }


def test_only_written_flags_count_as_set(verbs: StandIn) -> None:
    assert run("boost d --out o") == 0
    assert not set(verbs.calls[0][2]) & set(BoostConfig.model_fields)
    assert run("boost d --out o --seeds 10 --no-strict --probe_steps=7") == 0
    given_ = {k: v for k, v in verbs.calls[1][2].items() if k in BoostConfig.model_fields}
    assert given_ == {"seeds": 10, "strict": False, "probe_steps": 7}


def test_flags_beat_the_file_and_the_file_beats_the_preset(verbs: StandIn, tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("preset: best\nseeds: 7\nstrict: true\nvariants: 3\n")
    line = ["boost", "d", "--out", "o", "--config", str(file), "--no-strict", "--variants", "4"]
    assert cli.main(line) == 0
    named = verbs.calls[0][2]
    flags = {k: v for k, v in named.items() if k in BoostConfig.model_fields}
    merged = settings(BoostConfig, config=named["config"], flags=flags)
    # seeds: file over preset (20); variants: flag equal to the default over file and preset (8); time: preset.
    assert (merged.seeds, merged.variants, merged.strict, merged.time) == (7, 4, False, 1800.0)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("bost d --out o", "did you mean 'boost'?"),
        ("boost d --out o --seeds 1", "setting 'seeds' should be greater than or equal to 3 (it was 1)"),
        ("boost d --out o --time soon", "not a duration"),
        ("boost d --out o --gama 3", "--gamma"),
        ("boost d --out o --preset bst", "balanced"),
        ("boost d", "--out"),
    ],
)
def test_a_mistake_is_told_with_its_mend_and_code_2(
    line: str, told: str, verbs: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = run(line)
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    assert (code, out, verbs.calls) == (2, "", [])
    assert told in err
    assert "Traceback" not in err


def test_a_folder_given_as_the_command_is_recognised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([str(tmp_path)]) == 2
    assert f"augmint boost {tmp_path} --out OUT" in capsys.readouterr().err


def test_an_unknown_key_in_the_file_names_file_and_nearest_key(
    verbs: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("sed: 3\n")
    assert cli.main(["augment", "d", "--out", "o", "--config", str(file)]) == 2
    err = capsys.readouterr().err
    assert str(file) in err and "did you mean 'seed'?" in err
    assert not verbs.calls


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (BadSample("cut short", where="a.jpg"), 3),
        (Refused("it exists", where="out"), 4),
        (Interrupted("stopped"), 130),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("division by zero"), 1),
    ],
)
def test_every_exit_code_is_documented_and_shows_no_traceback(
    fault: BaseException, code: int, verbs: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    verbs.fault = fault
    assert run("report r") == code
    assert code in cli.EXIT_CODES
    assert "Traceback" not in capsys.readouterr().err
    assert run("report r --debug") == code
    if not isinstance(fault, KeyboardInterrupt):
        assert "Traceback" in capsys.readouterr().err


def test_json_is_one_object_on_stdout_also_for_an_error(verbs: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    verbs.events = [{"stage": "train", "done": 1, "total": 2}]
    assert run("train d --json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"verdict": "HELPS", "effect": 3.25}
    assert "train" in err
    verbs.fault = Refused("it exists", where="out", mend="give another --out")
    assert run("train d --json") == 4
    told = json.loads(capsys.readouterr().out)["error"]
    assert told == {"problem": "it exists", "where": "out", "mend": "give another --out", "exit_code": 4}


def test_text_goes_to_stdout_and_a_path_is_printed_as_it_is(verbs: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect d") == 0
    assert capsys.readouterr().out == "first line\nlast line\n"
    verbs.answer = Path("r/report.html")
    assert run("report r") == 0
    assert capsys.readouterr().out == "r/report.html\n"
    assert run("report r --json") == 0
    assert json.loads(capsys.readouterr().out) == {"path": "r/report.html"}


def test_the_exit_code_of_an_answer_is_passed_on(verbs: StandIn) -> None:
    verbs.answer.exit_code = 1
    assert cli.main(["doctor"]) == 1


@pytest.mark.parametrize("closed", [False, True])
def test_the_demo_has_an_output_of_its_own(closed: bool, verbs: StandIn) -> None:
    assert cli.main(["demo", "--closed"] if closed else ["demo"]) == 0
    assert verbs.calls[0][2]["out"] == Path("demo-closed" if closed else "demo")


def test_plain_progress_is_about_ten_lines_a_stage() -> None:
    stream = io.StringIO()
    with Live(stream) as live:
        live({"stage": "scan", "note": "12 images, 3 classes"})
        for i in range(1, 1001):
            live({"stage": "train", "done": i, "total": 1000, "figures": {"g_loss": 0.6931}})
        live({"stage": "prove", "done": 10, "total": 10})
    lines = stream.getvalue().splitlines()
    assert lines[0].split() == ["scan", "12", "images,", "3", "classes"]
    assert 10 <= sum(line.startswith("train") for line in lines) <= 12
    assert "1000/1000" in lines[-2] and "g_loss 0.693" in lines[-2]
    assert lines[-1].startswith("prove")


def test_a_terminal_gets_a_bar_and_keeps_the_texts() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with Live(stream) as live:
        live({"stage": "scan", "note": "12 [images]"})
        live({"stage": "train", "done": 5, "total": 5, "figures": {"fid": 1.5}})
    assert "12 [images]" in stream.getvalue()
    assert "5/5" in stream.getvalue()


@pytest.mark.parametrize("name", cli.VERBS)
def test_help_tells_every_flag(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--help"])
    out = capsys.readouterr().out
    assert not end.value.code
    assert all(flag in out for flag in cli.options(name))


def test_help_shows_ranges_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["boost", "--help"])
    out = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "(3 to 200; default: 10)" in out
    assert "(above 0 to 1; default: 0.7)" in out
    assert "default: 5m)" in out


@given(st.one_of(st.integers(1, 200_000), st.floats(0.1, 1e4).map(lambda s: float(f"{s:g}"))))
def test_a_duration_is_read_back_as_it_was_written(amount: float) -> None:
    assert seconds(cli.duration(amount)) == pytest.approx(amount, rel=1e-5)


def test_doctor_finds_this_environment_able() -> None:
    from augmint.core.doctor import examine

    health = examine()
    assert health.exit_code == 0
    assert {c["name"] for c in health.to_dict()["checks"]} >= {"python", "torch", "numpy", "torch runs", "disk"}


def test_doctor_reports_a_broken_package_and_a_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    from augmint.core import doctor

    real = metadata.version
    faked = {"torchvision": "0.28.0", "numpy": "1.9.0"}

    def version(name: str) -> str:
        if name == "scipy":
            raise metadata.PackageNotFoundError(name)
        return faked.get(name) or real(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(doctor, "_PROBE", "raise SystemExit('operator does not exist')")
    health = doctor.examine()
    status = {c.name: c.status for c in health.checks}
    assert health.exit_code == 1
    assert (status["scipy"], status["numpy"], status["torchvision"], status["torch runs"]) == (
        "broken",
        "broken",
        "warn",
        "broken",
    )
    assert any("operator does not exist" in line for line in health.summary)
