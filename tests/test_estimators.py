"""Probes of the user's own: scikit-learn's, functions beside the user, and what goes wrong in them."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from augmint.core.config import ProveVerb
from augmint.core.errors import Interrupted, UserError
from augmint.evaluation import estimators, lift
from augmint.evaluation.arms import Arm, Task, arms
from augmint.steps.experiment import _predictions

FOREST = "sklearn.ensemble:RandomForestClassifier"


def blobs(num, seed, spread=0.6):
    centre = np.random.default_rng(99).normal(size=(3, 1, 6, 6))
    g, y = np.random.default_rng(seed), np.arange(num) % 3
    return (centre[y] * 0.4 + spread * g.normal(size=(num, 1, 6, 6))).astype(np.float32).clip(-1, 1), y


def task():
    (x, y), (test_x, test_y), (new_x, new_y) = blobs(30, 1), blobs(60, 2), blobs(30, 3)
    return Task(x, y, test_x, test_y, 3, synthetic_x=new_x, synthetic_y=new_y)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module in the user's folder."""

    def write(text):
        (tmp_path / "my_probe.py").write_text(text)
        monkeypatch.chdir(tmp_path)
        monkeypatch.delitem(sys.modules, "my_probe", raising=False)
        return "my_probe:probe"

    yield write
    sys.modules.pop("my_probe", None)


@pytest.mark.parametrize("name", [FOREST, "sklearn.neighbors.KNeighborsClassifier"])
def test_every_arm_is_trained_and_paired(name):
    t = task()
    chosen = [Arm("classic", "", "classic"), Arm("same", "", "control", filler="unfiltered", share=0.5)]
    found = lift.run(t, chosen, seeds=2, probe=name)
    assert (found["classic"] == found["same"]).all()  # a share filled with nothing
    assert (found["classic"] == t.test_y).mean() > 0.7
    assert (lift.run(t, chosen[:1], seeds=2, probe=name)["classic"] == found["classic"]).all()


def test_a_linear_probe_on_frozen_features_learns():
    t = task()
    got = lift.run(t, [Arm("classic", "", "classic")], seeds=2, probe="linear")["classic"]
    assert (got == t.test_y).mean() > 0.7


def test_a_function_gets_the_samples_as_they_are_and_a_seed(own):
    name = own(
        "import numpy as np\n"
        "def probe(x, y, test_x, seed):\n"
        "    assert x.shape[1:] == test_x.shape[1:] == (1, 6, 6) and len(x) == len(y) >= 400\n"
        "    return np.full(len(test_x), seed % 3)\n"
    )
    got = lift.run(task(), [Arm("classic", "", "classic")], seeds=3, seed=4, probe=name)["classic"]
    assert got[:, 0].tolist() == [1, 2, 0] and (got == got[:, :1]).all()


def test_linear_equals_scikit_learns_pipeline():
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    (x, y), (test_x, _) = blobs(90, 1, 1.5), blobs(60, 2, 1.5)
    flat, test = x.reshape(90, -1), test_x.reshape(60, -1)
    peer = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(flat, y).predict(test)
    assert (estimators.linear(flat, y, test) == peer).mean() > 0.98


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("forest", "names no probe"),
        ("no_such_module:f", "cannot be imported"),
        ("sklearn.ensemble:RandomForestClasifier", "RandomForestClassifier"),
        ("math:pi", "neither a function"),
    ],
)
def test_a_probe_that_is_not_there_is_named(name, match):
    with pytest.raises(UserError, match=match):
        estimators.find(name, *blobs(9, 0))


@pytest.mark.parametrize(
    ("body", "match"),
    [
        ("raise RuntimeError('no GPU')", "RuntimeError: no GPU"),
        ("return [0]", "shape"),
        ("return test_x", "shape"),
        ("return [0.5] * len(test_x)", "float"),
        ("return ['a'] * len(test_x)", "<U1"),
    ],
)
def test_a_probe_that_fails_is_named_with_its_arm(own, body, match):
    name = own(f"def probe(x, y, test_x, seed):\n    {body}\n")
    with pytest.raises(UserError, match=match) as told:
        lift.run(task(), [Arm("classic", "", "classic")], seeds=2, probe=name)
    assert "my_probe:probe" in str(told.value) and "arm 'classic'" in str(told.value)
    with pytest.raises(UserError, match="my_probe:probe"):
        lift.seconds_per_arm(task(), name)


def test_a_probe_that_waits_is_timed_by_the_clock(own):
    name = own("import time\ndef probe(x, y, test_x, seed):\n    time.sleep(0.1)\n    return [0] * len(test_x)\n")
    assert lift.seconds_per_arm(task(), name, seeds=10) >= 1.0


CRASHES = """
import numpy as np
from pathlib import Path
def probe(x, y, test_x, seed):
    log = Path("calls"); n = len(log.read_text()) if log.exists() else 0
    if n == {most}:
        raise ValueError("out of luck")
    log.write_text("x" * (n + 1))
    return np.zeros(len(test_x), int)
"""


def test_what_is_done_is_kept_when_a_probe_crashes(own, tmp_path):
    t = task()
    chosen = arms(t, "closed", share=0.25, probe="my_probe:probe")

    class Job:
        def __truediv__(self, name):
            return tmp_path / name

    (tmp_path / "eval").mkdir()
    config = ProveVerb(seeds=3, probe=own(CRASHES.format(most=7)), workers=1)
    told = {"config": config, "seed": 0, "steps": 1, "stop": False, "progress": lambda event: None}
    with pytest.raises(UserError, match="out of luck"):
        _predictions(Job(), "fold-0", t, chosen, **told)
    with np.load(tmp_path / "eval" / "predictions-fold-0.npz") as kept:
        assert len(kept.files) - 1 == 2  # two arms of three calls each; the third crashed
    own(CRASHES.format(most=99))
    found, spent = _predictions(Job(), "fold-0", t, chosen, **told)
    assert list(found) == list(spent) == [a.name for a in chosen]
    assert len((tmp_path / "calls").read_text()) == 7 + 3 * (len(chosen) - 2) - 0


def test_a_stop_keeps_the_arms_that_are_done(tmp_path):
    class Job:
        def __truediv__(self, name):
            return tmp_path / name

    (tmp_path / "eval").mkdir()
    t = task()
    told = {"config": ProveVerb(seeds=3, workers=1), "seed": 0, "steps": 2, "progress": lambda event: None}
    chosen = arms(t, "closed", share=0.25)
    for done in range(1, len(chosen)):
        with pytest.raises(Interrupted):
            _predictions(Job(), "fold-0", t, chosen, stop=True, **told)
        with np.load(tmp_path / "eval" / "predictions-fold-0.npz") as kept:
            assert len(kept.files) - 1 == done
    found, _ = _predictions(Job(), "fold-0", t, chosen, stop=True, **told)
    whole = lift.run(t, chosen, seeds=3, steps=2)
    assert all((found[k] == whole[k]).all() for k in whole)
