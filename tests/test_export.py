"""An exported GAN says the same elsewhere: ONNX in onnxruntime against the networks here."""

from __future__ import annotations

from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import augmint as am
from augmint.core.errors import Refused, UserError
from augmint.generation.draw import Gan
from augmint.modalities import get
from augmint.models.generator import ArticleGenerator, Generator
from augmint.models.verifier import ArticleVerifier, Verifier
from augmint.steps import export
from test_contract import TINY, TRAIN, write_images

ort = pytest.importorskip("onnxruntime")
torch.set_num_threads(1)

NETS = {
    "square": (1, (8, 8), "engine"),
    "four channels, any size": (4, (13, 22), "engine"),
    "one axis": (2, (50,), "engine"),
    "three axes": (1, (4, 8, 8), "engine"),
    "article": (3, (12, 9), "article"),
}


def nets(channels: int, shape: tuple[int, ...], kind: str) -> tuple[Any, Any]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        if kind == "article":
            return ArticleGenerator(channels, shape, 3), ArticleVerifier(channels, shape, 3)
        widths = (24, 16, 12)
        pair = Generator(channels, shape, 3, widths), Verifier(channels, shape, 3, widths)
        for p in [p for net in pair for p in net.parameters() if not p.any()]:
            torch.nn.init.normal_(p, std=0.05)
        return pair


def session(coded: bytes) -> Any:
    return ort.InferenceSession(coded, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if "axes" in n or "any" in n else []) for n in NETS]
)
def test_onnx_graphs_equal_the_networks_for_any_number_of_samples(name: str) -> None:
    channels, shape, _ = NETS[name]
    generator, verifier = nets(*NETS[name])
    z, y, x = torch.zeros(2, 64), torch.zeros(2, dtype=torch.long), torch.zeros(2, channels, *shape)
    maker, judging = export._Making(generator), export._Judging(verifier)
    outputs = ["score", "logits", "features", "rebuilt"]
    made = session(export.to_onnx(maker, {"z": z, "y": y}, ["x"]))
    judged = session(export.to_onnx(judging, {"x": x, "y": y}, outputs))
    for n in (1, 5):
        g = torch.Generator().manual_seed(n)
        z, y = torch.randn(n, 64, generator=g), torch.arange(n) % 3
        x = torch.randn(n, channels, *shape, generator=g)
        with torch.no_grad():
            np.testing.assert_allclose(made.run(None, {"z": z.numpy(), "y": y.numpy()})[0], maker(z, y), atol=2e-5)
            wanted = judging(x, y)
        assert [o.name for o in judged.get_outputs()] == outputs
        for a, b in zip(judged.run(None, {"x": x.numpy(), "y": y.numpy()}), wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_a_run_is_exported_without_its_samples_and_loads_again(tmp_path: Path) -> None:
    am.train(write_images(tmp_path / "data"), out=tmp_path / "run", **TINY, **TRAIN)
    result = am.export(tmp_path / "run", out=tmp_path / "out", onnx=True)
    names = set(result.facts["files"])
    assert {"README.md", "gan.json", "generator.onnx", "verifier.onnx", "gan/generator.safetensors"} <= names
    assert not any("known" in name for name in names)
    here, there = (Gan.load(tmp_path / place, get("image")) for place in ("run", "out"))
    y = np.array([0, 1, 0])
    assert there.draw(y, seed=3).tobytes() == here.draw(y, seed=3).tobytes() and there.known is None
    text = (tmp_path / "out" / "README.md").read_text()
    assert "lying, standing" in text and "not part of this folder" in text
    with pytest.raises(Refused):
        am.export(tmp_path / "run", out=tmp_path / "out")


def test_without_the_packages_the_command_that_installs_them_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnx" else util.find_spec(name))
    with pytest.raises(UserError, match=r"pip install 'augmint\[onnx\]'"):
        am.export(tmp_path, out=tmp_path / "out", onnx=True)
