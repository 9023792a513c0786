"""Two processes with half a batch each do what one does with the whole; and a run survives the loss of one of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from augmint.cli import main
from augmint.core.errors import UserError
from augmint.scale import ranks
from test_contract import write_images

ROOT = Path(__file__).parent.parent


def test_one_process_is_all_ranks() -> None:
    net = nn.Linear(3, 2)
    net(torch.ones(1, 3)).sum().backward()
    before = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    with ranks.joined():
        ranks.average_grads(net)
        ranks.equalise(net)
        ranks.wait()
        assert (ranks.rank(), ranks.num_ranks(), ranks.is_first()) == (0, 1, True)
        assert ranks.part(7) == slice(0, 7)
        assert ranks.averaged({"a": 0.1}) == {"a": 0.1} and ranks.told({"b": 0.3}) == {"b": 0.3}
    assert all(torch.equal(a, p.grad) for a, p in zip(before, net.parameters(), strict=True))


def test_parts_are_disjoint_whole_and_even(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "num_ranks", lambda: 3)
    covered: list[int] = []
    for r in range(3):
        monkeypatch.setattr(ranks, "rank", lambda r=r: r)
        covered += range(12)[ranks.part(12)]
    assert covered == list(range(12))
    with pytest.raises(UserError, match="multiple of 3"):
        ranks.part(32)


def torchrun(num: int, *arguments: str) -> subprocess.Popen[bytes]:
    """``torchrun`` as a user would call it, on loopback."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num}", *arguments]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)


def launch(num: int, data: Path, out: Path, *, steps: int, restarts: int = 0) -> subprocess.Popen[bytes]:
    """A training run of ``num`` processes."""
    train = ["-m", "augmint", "train", str(data), "--out", str(out), "--steps", str(steps), "--batch", "8"]
    return torchrun(num, f"--max-restarts={restarts}", *train, "--seed", "4", "--workers", "1", "--precision", "fp32")


def finish(process: subprocess.Popen[bytes]) -> str:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out.decode()[-3000:]
    return out.decode()


def gradients(run: Path) -> dict[str, np.ndarray]:
    """Of the one step that was made: without momentum Adam's first moment is the gradient itself."""
    (kept,) = (run / "checkpoints").glob("step-*/optim.safetensors")
    return {k: v.numpy() for k, v in load_file(kept).items() if k.endswith(".exp_avg")}


@pytest.mark.slow
def test_two_ranks_have_the_gradients_of_one_and_speak_once(tmp_path: Path) -> None:
    """The command, in single precision: after one step the gradients agree to float tolerance. Weights: the next test."""
    data = write_images(tmp_path / "data")
    told = [finish(launch(num, data, tmp_path / str(num) / "run", steps=1)) for num in (1, 2)]
    one, two = (gradients(tmp_path / num / "run") for num in ("1", "2"))
    assert one.keys() == two.keys() and any(g.any() for g in one.values())
    for name, g in one.items():
        assert np.abs(g - two[name]).max() <= 2e-6 * np.abs(g).max(), name
    assert all(text.count("a GAN of 12 x 12 grids") == 1 for text in told)


@pytest.mark.slow
def test_two_ranks_end_with_the_weights_of_one(tmp_path: Path) -> None:
    """Three steps with penalties and augmentation, in double precision (ranks_in_double.py says why): nothing but rounding differs."""
    ends = []
    for num in (1, 2):
        out = tmp_path / str(num)
        out.mkdir()
        finish(torchrun(num, str(ROOT / "tests" / "ranks_in_double.py"), str(out)))
        ends += [dict(np.load(out / f"rank{r}.npz")) for r in range(num)]
    one, *both = ends
    assert len(both) == 2 and all(value.dtype == np.float64 for value in one.values())
    for other in both:
        assert one.keys() == other.keys()
        assert max(np.abs(value - other[name]).max() for name, value in one.items()) < 1e-12


@pytest.mark.slow
def test_a_rank_that_is_killed_is_started_again_and_the_run_finishes(tmp_path: Path) -> None:
    data, out = write_images(tmp_path / "data"), tmp_path / "run"
    process = launch(2, data, out, steps=60, restarts=2)
    deadline = time.monotonic() + 200
    while not (out / "checkpoints" / "last").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    children = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    os.kill(int(children[-1]), signal.SIGKILL)
    finish(process)
    assert "resumed at step" in (out / "log.txt").read_text()
    assert (out / "gan" / "generator.safetensors").exists()


@pytest.mark.parametrize("verb", ["boost", "prove"])
def test_only_training_is_shared(verb: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    places = ["a", "--out", "b"] if verb == "boost" else ["a", "b"]
    assert main([verb, *places]) == 2
    assert f"cannot share the work of `{verb}`" in capsys.readouterr().err
