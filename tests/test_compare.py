"""``prove`` on sets from elsewhere: feature tables, leaks that are refused, and what the user is told."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import augmint as am
from augmint import cli
from augmint.core import presets
from augmint.core.config import BoostConfig, ProveVerb
from augmint.core.errors import Refused, UserError
from augmint.core.run import Run
from augmint.data import images, leaks
from augmint.data.rows import read_rows
from augmint.evaluation.arms import Task
from augmint.evaluation.lift import steps_to_learn
from augmint.evaluation.paired import smallest_provable
from augmint.evaluation.proof import Proof
from augmint.modalities import get
from augmint.steps.comparing import tests_needed as needed  # not a test
from augmint.steps.experiment import probe_input, undertrained
from augmint.transforms.local import GaussianNoise
from augmint.transforms.recipe import Recipe

QUICK: dict[str, Any] = {"seeds": 3, "probe_steps": 8, "workers": 1}
COLUMNS = list("abcdef")


def table(per_class: int, seed: int, *, classes: tuple[str, ...] = ("u", "v"), gap: float = 2.0) -> pd.DataFrame:
    """Six columns of very different scale, one Gaussian a class."""
    rng = np.random.default_rng(seed)
    parts = [rng.normal(gap * k, 1.0, (per_class, 6)) * 10.0 ** np.arange(6) for k in range(len(classes))]
    frame = pd.DataFrame(np.concatenate(parts), columns=COLUMNS)
    return frame.assign(label=np.repeat(classes, per_class))


def with_split(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([train.assign(split="train"), test.assign(split="test")], ignore_index=True)


def saved(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".npz":
        more = {"split": frame["split"].to_numpy(str)} if "split" in frame else {}
        x, y = frame[COLUMNS].to_numpy(), frame["label"].to_numpy(str)
        np.savez(path, x=x, y=y, columns=np.array(COLUMNS), **more)
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    return path


# --- tables ----------------------------------------------------------------------------------------------------------


def kinds() -> list[Any]:
    pytest_parquet = pytest.param(
        ".parquet", marks=pytest.mark.skipif("not __import__('importlib').util.find_spec('pyarrow')")
    )
    return [".csv", ".npz", pytest_parquet]


@pytest.fixture(scope="module")
def proven(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, pd.DataFrame, list[Any]]:
    """A real and a made table, and the arms of their proof from CSV files."""
    place = tmp_path_factory.mktemp("tables")
    real, made = with_split(table(20, 1), table(40, 2)), table(50, 3)
    proof = am.prove(saved(real, place / "r.csv"), saved(made, place / "s.csv"), **QUICK)
    return real, made, _arms(proof)


def _arms(proof: Any) -> list[Any]:
    return [{k: v for k, v in row.items() if k != "cost_s"} for row in proof.to_dict()["arms"]]


@pytest.mark.parametrize("suffix", kinds())
def test_tables_of_any_kind_and_order_are_proven_to_the_same_numbers(suffix: str, proven: Any, tmp_path: Path) -> None:
    real, made, arms = proven
    notes: list[str] = []
    proof = am.prove(
        saved(real, tmp_path / f"r{suffix}"),
        saved(made[["label", *reversed(COLUMNS)]], tmp_path / "s.csv"),
        out=tmp_path / "proof",
        progress=lambda e: notes.append(str(e.get("note"))),
        **QUICK,
    )
    assert _arms(proof) == arms
    assert {"real", "classic", "synthetic", "duplicates"} <= set(proof.table["name"])
    found = json.loads((tmp_path / "proof" / "eval" / "metrics.json").read_text())
    assert found["copies"]["n"] == 100 and {r["metric"] for r in found["rows"]} >= {"frechet", "recall", "cas"}
    assert (tmp_path / "proof" / "report.html").exists()
    assert (tmp_path / "proof" / "eval" / "registered.json").exists()
    assert any("labels from" in n for n in notes) and any("GaussianNoise alone" in n for n in notes)


def test_a_table_is_learned_from(tmp_path: Path) -> None:
    """Columns of scales from 1 to 100,000 and Gaussians that a line separates: the probes reach the Bayes rate."""
    real = with_split(table(30, 1, gap=1.2), table(300, 2, gap=1.2))
    proof = am.prove(
        saved(real, tmp_path / "r.csv"),
        saved(table(50, 3, gap=1.2), tmp_path / "s.csv"),
        seeds=3,
        probe_steps=150,
        workers=1,
    )
    bayes = 100 * 0.9292  # the normal distribution function at half the distance 1.2 * sqrt(6)
    assert float(proof.table["mean"].iloc[0]) == pytest.approx(bayes, abs=4)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.drop(columns=["c"]), "missing: 'c'"),
        (lambda t: t.assign(extra=1.0), "not in the real set: 'extra'"),
        (lambda t: t.rename(columns={"a": "aa"}), "missing: 'a'; not in the real set: 'aa'"),
        (lambda t: t.assign(label="other"), "no class is in both sets: real u, v; synthetic other"),
        (lambda t: t.assign(b=[np.nan, *t["b"][1:]]), "row 1 of the data: an empty cell .* column 'b'"),
        (lambda t: t.assign(b=[*t["b"][:-1], np.inf]), "row 100 of the data: 'inf' .* column 'b'"),
        (lambda t: t.assign(b=["x?", *t["b"].astype(str)[1:]]), "row 1 of the data: 'x\\?' .* column 'b'"),
        (lambda t: t.assign(split="tset"), "'tset' in `split` is no part"),
        (lambda t: t[COLUMNS], "there is no column `label`"),
        (lambda t: t.assign(label=np.linspace(0.1, 0.9, len(t))), "is no class"),
        (lambda t: t.iloc[:0], "there are no rows"),
        (lambda t: t[["label"]], "there is no column of numbers"),
    ],
)  # fmt: skip
def test_a_table_that_does_not_fit_is_told_by_name(change: Any, told: str, tmp_path: Path) -> None:
    real = saved(with_split(table(20, 1), table(40, 2)), tmp_path / "r.csv")
    with pytest.raises(UserError, match=told) as found:
        am.prove(real, saved(change(table(50, 3)), tmp_path / "s.csv"), dry_run=True)
    assert found.value.mend


@pytest.mark.parametrize("change", [lambda t: t.drop(columns="label"), lambda t: t.assign(label=np.nan)])
def test_real_rows_without_any_label_are_told_where_it_was_looked_for(change: Any, tmp_path: Path) -> None:
    real = saved(change(table(20, 1)), tmp_path / "r.csv")
    with pytest.raises(UserError, match=r"no row has a label; r\.csv: .*label") as found:
        am.prove(real, saved(table(20, 2), tmp_path / "s.csv"), dry_run=True)
    assert "name the column" in found.value.mend


def test_the_label_column_is_looked_for_and_named(tmp_path: Path) -> None:
    def rows(**columns: Any) -> Any:
        return read_rows(saved(pd.DataFrame(columns), tmp_path / f"{len(list(tmp_path.iterdir()))}.csv"))

    x = [1.0, 2.0, 3.0]
    assert rows(x=x, target=[0, 1, 1], **{"class": [7, 8, 9]}).labels == ("0", "1", "1")
    assert rows(x=x, label=["0", "1", "1"], target=[3, 4, 5]).columns == ("x", "target")
    found = rows(word=["p", "q", "r"], x=x, kind=["a", "b", "a"], id=["i", "j", "k"])
    assert found.labels == ("a", "b", "a") and found.columns == ("x",)
    assert "the last one without numbers" in found.notes[0] and "word" in found.notes[1]
    assert rows(x=x, label=[1.0, 2.0, None]).labels == ("1", "2", None)


def test_npz_refuses_objects_and_arrays_that_do_not_fit(tmp_path: Path) -> None:
    def problem(**arrays: Any) -> str:
        np.savez(tmp_path / "t.npz", **arrays)
        with pytest.raises(UserError) as found:
            read_rows(tmp_path / "t.npz")
        return found.value.problem

    x = np.ones((4, 2))
    assert "not readable as npz" in problem(x=np.array([{}] * 4, dtype=object), y=np.arange(4))
    assert "no array x; found: a" in problem(a=x)
    assert "do not fit together" in problem(x=x, y=np.arange(3))
    assert "do not fit together" in problem(x=x[0], y=np.arange(2))
    x[2, 1] = np.nan
    assert "column 'x1'" in problem(x=x, y=np.arange(4))
    (tmp_path / "t.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(UserError, match="not readable as npz"):
        read_rows(tmp_path / "t.npz")
    with pytest.raises(UserError, match="not a feature table"):
        read_rows(saved(pd.DataFrame({"x": [1]}), tmp_path / "t.xls.txt"))


def test_parquet_without_its_package_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    for name in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"pip install 'augmint\[parquet\]'"):
        read_rows(tmp_path / "t.parquet")


def test_only_prove_takes_a_table(tmp_path: Path) -> None:
    real = saved(table(20, 1), tmp_path / "r.csv")
    for verb in (am.boost, am.augment, am.train):
        with pytest.raises(UserError, match="augmint prove"):
            verb(real, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- leaks -----------------------------------------------------------------------------------------------------------


def pictures(n: int, seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 255, (8, 8, 1)).astype(np.uint8) for _ in range(n)]


def folder(root: Path, parts: dict[str, list[Any]]) -> Path:
    """Class folders under each name, the pictures dealt out to two classes."""
    for part, found in parts.items():
        for i, x in enumerate(found):
            images.write(root / part / "ab"[i % 2] / f"{i:03d}.png", x)
    return root


def test_synthetic_copies_of_test_samples_are_refused_by_name(tmp_path: Path) -> None:
    test, fake = pictures(20, 2), pictures(40, 3)
    real = folder(tmp_path / "real", {"train": pictures(20, 1), "test": test})
    clean = folder(tmp_path / "clean", {"": fake})
    assert am.prove(real, clean, dry_run=True).summary
    near = (test[7].astype(int) + np.arange(64).reshape(8, 8, 1) % 2).astype(np.uint8)  # one grey level here and there
    spoiled = folder(tmp_path / "spoiled", {"": [*fake[:4], test[5], near, *fake[6:]]})
    with pytest.raises(
        Refused, match=r"2 of 40 .*\(1 identical, 1 nearly so\); the first: a/004.png is test/b/005.png"
    ) as found:
        am.prove(real, spoiled, dry_run=True)
    assert "training part alone" in found.value.mend


def test_without_a_test_part_copies_of_any_real_are_refused_with_the_way_out(tmp_path: Path) -> None:
    reals = pictures(30, 1)
    real, fake = folder(tmp_path / "real", {"": reals}), folder(tmp_path / "fake", {"": [reals[3], *pictures(20, 2)]})
    with pytest.raises(Refused, match="1 of 21") as found:
        am.prove(real, fake, dry_run=True)
    assert "test/" in found.value.mend and "`split`" in found.value.mend


def test_a_test_sample_in_the_training_part_or_the_pool_is_refused(tmp_path: Path) -> None:
    train, test = pictures(20, 1), pictures(20, 2)
    real = folder(tmp_path / "real", {"train": [*train, test[4]], "test": test})
    fake = folder(tmp_path / "fake", {"": pictures(20, 3)})
    with pytest.raises(Refused, match=r"1 training samples .*train/a/020.png is test/a/004.png") as found:
        am.prove(real, fake, dry_run=True)
    assert "--fix" in found.value.mend
    clean = folder(tmp_path / "clean", {"train": train, "test": test})
    pool = folder(tmp_path / "pool", {"": [*pictures(30, 4), test[1]]})
    with pytest.raises(Refused, match=r"1 pool samples .*test/b/001.png"):
        am.train(clean, unlabelled=pool, dry_run=True)


def test_near_copies_within_the_reals_are_left_out_of_training_not_refused(tmp_path: Path) -> None:
    test = pictures(20, 2)
    near = (test[7].astype(int) + np.arange(64).reshape(8, 8, 1) % 2).astype(np.uint8)
    real = folder(tmp_path / "real", {"train": [*pictures(20, 1), near], "test": test})
    told = am.prove(real, folder(tmp_path / "fake", {"": pictures(20, 3)}), dry_run=True)
    assert any("1 samples are left out" in line for line in told.summary)


def test_rows_that_repeat_test_rows_are_refused(tmp_path: Path) -> None:
    test = table(40, 2)
    real = saved(with_split(table(20, 1), test), tmp_path / "r.csv")
    spoiled = pd.concat([table(30, 3), test.iloc[[9]]])
    with pytest.raises(Refused, match=r"1 of 61 .*1 identical.*s-000061 is r-000050"):
        am.prove(real, saved(spoiled, tmp_path / "s.csv"), dry_run=True)
    within = with_split(pd.concat([table(20, 1), test.iloc[[9]]]), test)
    with pytest.raises(Refused, match="1 training samples"):
        am.prove(saved(within, tmp_path / "w.csv"), saved(table(30, 3), tmp_path / "c.csv"), dry_run=True)


def test_rows_that_agree_by_chance_are_no_leak() -> None:
    """Three columns of five values each: independent rows repeat each other all the time."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 5, (200, 3, 1)).astype(np.float32) / 5 for _ in range(2))
    assert leaks.copies(a, b, np.concatenate([a, b])) == []
    assert len(np.unique(leaks.groups(a))) == 200


@pytest.mark.parametrize("columns", [3, 6, 40])
def test_independent_rows_are_no_leak_and_planted_ones_are(columns: int) -> None:
    rng = np.random.default_rng(columns)
    a, b = (0.25 * rng.normal(size=(300, columns, 1)).astype(np.float32) for _ in range(2))
    assert leaks.copies(a, b, np.concatenate([a, b])) == []
    a[11] = b[22]
    assert leaks.copies(a, b, np.concatenate([a, b])) == [leaks.Copy(11, 22, True)]
    a[11] += 1e-5
    found = leaks.copies(a, b, np.concatenate([a, b]))
    assert found == ([leaks.Copy(11, 22, False)] if columns > 5 else [])


# --- what is told ----------------------------------------------------------------------------------------------------


def test_a_small_test_part_is_told_what_it_would_take(tmp_path: Path) -> None:
    real = saved(with_split(table(20, 1), table(15, 2)), tmp_path / "r.csv")
    told = am.prove(real, saved(table(30, 3), tmp_path / "s.csv"), dry_run=True).summary
    assert any("30 test samples and 10 seeds find a lift of about" in line for line in told)
    assert any(f"give about {needed(5.0, 10)} labelled" in line for line in told)
    large = saved(with_split(table(20, 1), table(400, 2)), tmp_path / "l.csv")
    assert not any("that is few" in line for line in am.prove(large, tmp_path / "s.csv", dry_run=True).summary)


@pytest.mark.parametrize("points", [2.0, 5.0, 10.0])
def test_as_many_test_samples_as_told_do_prove_it(points: float) -> None:
    n = needed(points, 10)
    assert smallest_provable(n, 10) <= points < smallest_provable(int(0.85 * n), 10)


def test_no_test_sample_at_all_is_told(tmp_path: Path) -> None:
    lonely = table(1, 1, classes=("u", "v", "w", "x"))
    with pytest.raises(UserError, match="too few samples for any claim: 4 samples leave 0") as found:
        am.prove(saved(lonely, tmp_path / "r.csv"), saved(table(30, 3), tmp_path / "s.csv"), dry_run=True)
    assert str(needed(5.0, 10)) in found.value.mend


def test_synthetic_samples_of_strange_classes_are_left_out_and_told(tmp_path: Path) -> None:
    real = saved(with_split(table(20, 1), table(40, 2)), tmp_path / "r.csv")
    made = pd.concat([table(30, 3), table(5, 4).assign(label="zebra")])
    told = am.prove(real, saved(made, tmp_path / "s.csv"), dry_run=True).summary
    assert any("10 synthetic samples have no class of the real set (theirs: zebra)" in line for line in told)


def test_the_audit_is_written_when_asked_for_and_refused_where_nothing_is_known(tmp_path: Path) -> None:
    train, test = table(30, 1), table(40, 2)
    copies = pd.concat([train, train])
    copies[COLUMNS] += 1e-2 * 10.0 ** np.arange(6)
    real, fake = saved(with_split(train, test), tmp_path / "r.csv"), saved(copies, tmp_path / "s.csv")
    proof = am.prove(real, fake, out=tmp_path / "proof", audit=True, **QUICK)
    found = json.loads((tmp_path / "proof" / "eval" / "metrics.json").read_text())["membership"]
    assert found["auc"] > 0.99 and found["ci95"][0] > 0.8
    assert {"auc", "ci95", "tpr_at_1_fpr", "n", "attack"} <= set(found)
    assert isinstance(proof, Proof) and any(line.startswith("Membership audit: AUC") for line in proof.summary)
    with pytest.raises(UserError, match="nobody knows"):
        am.prove(saved(train, tmp_path / "open.csv"), saved(table(30, 5), tmp_path / "t.csv"), audit=True, dry_run=True)


def test_a_foreign_maker_has_no_sample_that_the_other_arms_lack(tmp_path: Path) -> None:
    """Copies of any training rows, which hold nothing new, are held against arms that have all of these rows too."""
    train = table(20, 1, gap=1.0)
    real = saved(with_split(train, table(60, 2, gap=1.0)), tmp_path / "r.csv")
    am.prove(real, saved(train, tmp_path / "s.csv"), out=tmp_path / "out", **QUICK)
    parts = pd.read_csv(tmp_path / "out" / "split.csv")["fold_0"].value_counts()
    assert parts.to_dict() == {"test": 120, "fit": 40}
    copies = json.loads((tmp_path / "out" / "eval" / "metrics.json").read_text())["copies"]
    assert copies["flagged"] >= 38, "the check looks at all of them, too"


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_what_a_pool_does_by_itself_stands_beside_a_foreign_set(suffix: str, tmp_path: Path) -> None:
    """Six labels and 400 rows without any: label spreading comes near the line that separates the Gaussians (98.9 %, from the
    normal distribution function at half their distance), and its arm is there whoever made the synthetic set."""
    real = saved(with_split(table(3, 1, gap=1.87), table(200, 2, gap=1.87)), tmp_path / "r.csv")
    made, pool = table(20, 3, gap=1.87), table(200, 4, gap=1.87)
    if suffix == ".csv":
        pool.drop(columns="label").to_csv(tmp_path / "p.csv", index=False)
    else:
        np.savez(tmp_path / "p.npz", x=pool[COLUMNS].to_numpy(), columns=np.array(COLUMNS))
    out = tmp_path / "out"
    proof = am.prove(
        real,
        saved(made, tmp_path / "s.csv"),
        unlabelled=tmp_path / f"p{suffix}",
        out=out,
        seeds=3,
        probe_steps=60,
        workers=1,
    )
    means = dict(zip(proof.table["name"], proof.table["mean"], strict=True))
    assert {"consistency", "spread", "spread_trained", "synthetic"} <= set(means)
    assert means["spread"] == pytest.approx(98.9, abs=2)
    assert "unlabelled" in Run(out).state["inputs"] and "--unlabelled" in Run(out).state["command"]


def test_a_gan_that_had_a_pool_says_so_where_no_arm_has_it(tmp_path: Path) -> None:
    from augmint.steps.handwriting import write_digits

    real, pool = write_digits(tmp_path, get("image"), per_class=5, with_pool=True, draw=0)
    assert pool is not None
    am.train(real, unlabelled=pool, out=tmp_path / "run", steps=3, size="nano")
    alone = "\n".join(am.prove(real, tmp_path / "run", dry_run=True).summary)
    beside = "\n".join(am.prove(real, tmp_path / "run", unlabelled=pool, dry_run=True).summary)
    assert "Give it with --unlabelled" in alone and "a closed set" in alone
    assert "Give it with --unlabelled" not in beside and "few labels and a pool of 8" in beside


def test_a_share_cannot_be_picked_after_the_fact(proven: Any, tmp_path: Path) -> None:
    """What is compared is written down before an arm is trained, and the same folder takes no other share."""
    real, made, _ = proven
    where = {
        "real": saved(real, tmp_path / "r.csv"),
        "synthetic": saved(made, tmp_path / "s.csv"),
        "out": tmp_path / "p",
    }
    seen: list[bool] = []

    def look(event: dict[str, Any]) -> None:
        if event.get("stage") == "prove" and event.get("done") == 0:
            seen.append((tmp_path / "p" / "eval" / "registered.json").exists())

    am.prove(**where, share=0.25, progress=look, **QUICK)
    assert seen and all(seen)
    with pytest.raises(Refused, match="share"):
        am.prove(**where, share=0.5, **QUICK)


def test_the_command_line_takes_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    real = saved(with_split(table(20, 1), table(40, 2)), tmp_path / "r.csv")
    fake = saved(table(30, 3).assign(a=np.nan), tmp_path / "s.csv")
    assert cli.main(["prove", str(real), str(fake)]) == 2
    told = capsys.readouterr().err
    assert "column 'a' (60 such cells in this column)" in told and "Traceback" not in told


def test_the_command_line_tells_the_verdicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    real = saved(with_split(table(20, 1), table(40, 2)), tmp_path / "r.csv")
    fake = saved(table(30, 3), tmp_path / "s.csv")
    flags = [word for k, v in QUICK.items() for word in (f"--{k.replace('_', '-')}", str(v))]
    assert cli.main(["prove", str(real), str(fake), "--out", str(tmp_path / "p"), *flags]) == 0
    told = capsys.readouterr().out
    proof = json.loads((tmp_path / "p" / "eval" / "proof.json").read_text())
    assert all(v["sentence"] in told for v in proof["verdicts"])
    assert all(f"{a['mean']:.1f} %" in told and a["title"] in told for a in proof["arms"])
    assert str(tmp_path / "p" / "report.html") in told and (tmp_path / "p" / "report.html").exists()
    assert cli.main(["prove", str(real), str(fake), "--out", str(tmp_path / "p"), "--json", *flags]) == 0
    assert json.loads(capsys.readouterr().out)["verdicts"] == proof["verdicts"]


def test_the_example_of_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parent.parent / "docs" / "prove.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(presets, "preset", lambda name: QUICK)
    for block in blocks:
        exec(compile(block, "docs/prove.md", "exec"), {"__name__": "docs"})
    assert (tmp_path / "proof" / "report.html").exists()


# --- what the run keeps for its page ---------------------------------------------------------------------------------


def test_the_run_keeps_a_command_that_a_shell_reads_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a terminal what was typed; from Python one with the same settings, which the program itself takes."""
    place = tmp_path / "my sets"
    place.mkdir()
    real, fake = saved(table(30, 0), place / "real.csv"), saved(table(20, 1), place / "made up.csv")
    am.prove(real, fake, out=place / "p", **QUICK)
    kept = shlex.split(json.loads((place / "p" / "run.json").read_text())["command"])
    assert kept[:4] == ["augmint", "prove", str(real), str(fake)]
    with monkeypatch.context() as patched:
        patched.setattr(sys, "argv", ["augmint"])
        assert cli.main([*kept[1:4], "--config", str(place / "p" / "config.yaml"), "--out", str(tmp_path / "q")]) == 0
    first, second = (json.loads((p / "run.json").read_text()) for p in (place / "p", tmp_path / "q"))
    assert first["config"] == second["config"]

    typed = ["/usr/bin/augmint", "prove", str(real), str(fake), "--out", str(place / "r s"), "--seeds", "3"]
    monkeypatch.setattr(sys, "argv", typed)
    am.prove(real, fake, out=place / "r s", **QUICK)
    assert shlex.split(json.loads((place / "r s" / "run.json").read_text())["command"])[1:] == typed[1:]


def test_suspected_copies_are_named_with_the_sample_that_they_copy(tmp_path: Path) -> None:
    """Planted: the first three rows of the set are rows of the training part, moved by a hair."""
    train = table(60, 2)
    data = with_split(train, table(60, 3))
    made = table(30, 4)
    made.loc[:2, COLUMNS] = train.loc[:2, COLUMNS].to_numpy() * (1 + 1e-4)
    am.prove(saved(data, tmp_path / "real.csv"), saved(made, tmp_path / "made.csv"), out=tmp_path / "p", **QUICK)
    found = json.loads((tmp_path / "p" / "eval" / "metrics.json").read_text())["copies"]
    named = {(row["id"], row["nearest_id"]) for row in found["suspects"]}
    split = pd.read_csv(tmp_path / "p" / "split.csv", dtype=str)
    fit = split[split["fold_0"] == "fit"]["id"]
    planted = {(f"made-{i:06d}", f"real-{i:06d}") for i in (1, 2, 3) if f"real-{i:06d}" in set(fit)}
    assert planted and planted <= named and len(named) == min(found["flagged"], 20)
    ratios = [row["ratio"] for row in found["suspects"]]
    assert ratios == sorted(ratios)
    choices = json.loads((tmp_path / "p" / "choices.json").read_text())
    assert choices["maker"]["value"] == "unknown" and choices["grid"]["value"] == [6, 1]


# --- probes of one's own, and probes that have not learned -----------------------------------------------------------

KNN = """
import numpy as np
def probe(x, y, test_x, seed):
    x, test_x = x.reshape(len(x), -1), test_x.reshape(len(test_x), -1)
    return y[((test_x[:, None] - x[None]) ** 2).sum(2).arg{}(1)]
"""


def test_an_edited_probe_is_another_one_and_a_misspelt_one_leaves_the_folder_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arms of two programs must not stand side by side."""
    monkeypatch.chdir(tmp_path)
    module = tmp_path / "edited_probe.py"
    module.write_text(KNN.format("min"))
    real = saved(with_split(table(10, 1), table(10, 2)), tmp_path / "r.csv")
    offered = saved(table(10, 3), tmp_path / "s.csv")
    common: dict[str, Any] = {"out": tmp_path / "out", "seeds": 3, "workers": 1}
    with pytest.raises(UserError, match="there is no 'prob' in edited_probe"):
        am.prove(real, offered, probe="edited_probe:prob", **common)
    assert not (tmp_path / "out").exists()
    first = am.prove(real, offered, probe="edited_probe:probe", **common)
    again = am.prove(real, offered, probe="edited_probe:probe", **common)
    assert isinstance(first, Proof) and isinstance(again, Proof) and _arms(first) == _arms(again)
    module.write_text(KNN.format("max"))
    with pytest.raises(UserError, match=r"other settings or data: inputs\.probe was"):
        am.prove(real, offered, probe="edited_probe:probe", **common)


def test_steps_are_doubled_until_a_probe_has_learned_its_samples() -> None:
    """Two far blobs are learned at once; classes at random over many samples never are."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 60)
    apart = (rng.normal(0, 0.1, (120, 6, 1)) + 0.6 * (2 * y - 1)[:, None, None]).astype(np.float32)
    noise = rng.normal(0, 0.3, (120, 6, 1)).astype(np.float32)
    recipe = Recipe("noise", (GaussianNoise(sigma_frac=(0.02, 0.02), p=1.0),))

    def steps(x: Any) -> tuple[int, float]:
        return steps_to_learn(Task(x, y, x[:4], y[:4], 2, recipe), fewest=20, most=40)

    num, left = steps(apart)
    assert num == 20 and left < 0.1
    num, left = steps(noise)
    assert num == 40 and left > 0.1


def test_probes_that_are_short_of_steps_are_told(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", verb="prove", config={}, inputs={})
    for name, value in {"probe_steps": 150, "probe_steps_wanted": 800, "proof_seconds": 70.0}.items():
        run.choose(name, value, "")
    (told,) = undertrained(run, ProveVerb(time=60.0))
    assert "get 150 training steps" in told and "--probe-steps 800" in told
    assert "--time 14m" in told  # 70 s x 800 / 150, of which it may take .45
    assert not undertrained(run, ProveVerb(probe_steps=150)), "as set is as wanted"


def test_copies_are_told_on_the_terminal(tmp_path: Path) -> None:
    train, test = table(60, 1), table(60, 2)
    copied = pd.concat([train.iloc[:40], train.iloc[60:100]]).assign(split="train").drop(columns="split")
    copied[COLUMNS] *= 1 + 1e-6
    real = saved(with_split(train, test), tmp_path / "r.csv")
    proof = am.prove(real, saved(copied, tmp_path / "s.csv"), out=tmp_path / "out", **QUICK)
    assert isinstance(proof, Proof)
    told = re.search(r"(\d+) of 80 synthetic samples lie suspiciously near", " ".join(proof.summary))
    assert told is not None and int(told[1]) >= 60  # the others copy reals that were held out of training
    fresh = am.prove(real, saved(table(40, 3), tmp_path / "f.csv"), out=tmp_path / "fresh", **QUICK)
    assert isinstance(fresh, Proof) and not any("suspiciously" in a for a in fresh.summary)


def test_a_probe_of_the_house_is_no_input_of_a_run_and_an_edited_one_changes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`boost` and `prove` ask the same question."""
    monkeypatch.chdir(tmp_path)
    assert probe_input(ProveVerb()) == probe_input(BoostConfig(probe="linear")) == {}
    module = tmp_path / "another_probe.py"
    module.write_text(KNN.format("min"))
    before = probe_input(BoostConfig(probe="another_probe:probe"))
    assert before == probe_input(ProveVerb(probe="another_probe:probe")) != {}
    module.write_text(KNN.format("max"))
    assert before != probe_input(BoostConfig(probe="another_probe:probe"))
