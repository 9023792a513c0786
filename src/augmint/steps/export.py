"""A trained GAN for use elsewhere: weights, ONNX graphs and a model card. Its training samples stay behind."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from augmint.core.errors import UserError
from augmint.core.run import read_json, read_jsonl, write_bytes, write_text
from augmint.core.wording import number_of
from augmint.generation.draw import Gan
from augmint.models.blocks import count_weights
from augmint.models.generator import Z_DIM, Maker
from augmint.models.verifier import Judge

ONNX_PACKAGES = ("onnx", "onnxscript")
MOST = 65_536  # samples a call; an upper end is what makes the exporter leave the number of samples open


class _Making(nn.Module):
    """Latents and classes to samples in [-1, 1], as `Gan.draw` makes them."""

    def __init__(self, generator: Maker) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        out: Tensor = self.generator(z, y).clamp(-1, 1)
        return out


class _Judging(nn.Module):
    """Samples and classes to all that the verifier has to say of them."""

    def __init__(self, verifier: Judge) -> None:
        super().__init__()
        self.verifier = verifier

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        verdict = self.verifier(x, y)
        rebuilt = self.verifier.rebuild(self.verifier.heads.code(verdict.features))
        return verdict.score, verdict.logits, verdict.features, rebuilt


def check_onnx() -> None:
    """
    Raises:
        UserError: with the command that installs what ONNX needs, if it is not there.
    """
    missing = [name for name in ONNX_PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(f"--onnx needs {', '.join(missing)}", mend="pip install 'augmint[onnx]'")


def export(run: Path, gan: Gan, out: Path, *, onnx: bool) -> list[Path]:
    """Write the GAN of a run to ``out``; returns the files.

    ``gan.json`` and ``gan/*.safetensors`` are what `Gan.load` reads; ``generator.onnx`` takes ``z [N, 64]`` (standard normal) and
    ``y [N]`` (int64) and gives ``x [N, C, *shape]``; ``verifier.onnx`` takes ``x`` and ``y`` and gives ``score [N]``, ``logits [N, K]``,
    ``features [N, 128]`` and ``rebuilt [N, C, *shape]``. ``README.md`` is the model card.
    """
    gan.save(out, size=read_json(run / "gan.json")["size"], with_samples=False)
    if onnx:
        grid = gan.codec.grid
        z, y, x = torch.zeros(2, Z_DIM), torch.zeros(2, dtype=torch.long), torch.zeros(2, *grid.size)
        told = ["score", "logits", "features", "rebuilt"]
        write_bytes(out / "generator.onnx", to_onnx(_Making(gan.generator), {"z": z, "y": y}, ["x"]))
        write_bytes(out / "verifier.onnx", to_onnx(_Judging(gan.verifier), {"x": x, "y": y}, told))
    write_text(out / "README.md", card(run, gan, onnx=onnx))
    return sorted(p for p in out.rglob("*") if p.is_file())


def to_onnx(module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> bytes:
    """An ONNX file of a module whose inputs and outputs all have the samples along their first axis, any number of them."""
    num = torch.export.Dim("num", min=1, max=MOST)
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it regrets, each time, that torchvision is not installed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(), tuple(inputs.values()), dynamo=True, verbose=False, input_names=list(inputs),
                output_names=list(outputs), dynamic_shapes=tuple({0: num} for _ in inputs),
            )  # fmt: skip
    finally:
        logger.setLevel(level)
    assert program is not None
    coded: bytes = program.model_proto.SerializeToString()
    return coded


def card(run: Path, gan: Gan, *, onnx: bool) -> str:
    """The model card: what it was trained on, what was measured, how to use it, and what it should not be used for."""
    state, choices = read_json(run / "run.json"), read_json(run / "choices.json")
    steps = choices.get("last_step", {}).get("value")
    grid, classes = gan.codec.grid, gan.classes
    shape = " x ".join(str(s) for s in grid.shape)
    lines = [
        "---", "tags: [augmint, gan]", "---", "", f"# {gan.name}", "",
        f"A generator ({count_weights(gan.generator):,} weights) and its verifier ({count_weights(gan.verifier):,}) of {shape} grids with "
        f"{number_of(grid.channels, 'channel')}, trained with augmint {state['versions'].get('augmint', '')} for {steps} steps.", "",
        "## Trained on", "",
        f"- data fingerprint: `{state['inputs'].get('data', 'unknown')}`",
        *([f"- unlabelled pool: `{state['inputs']['unlabelled']}`"] if "unlabelled" in state["inputs"] else []),
        f"- classes: {', '.join(classes) or 'none'}",
        *([f"- started from another GAN: {choices['init']['reason']}"] if "init" in choices else []),
        "- the training samples are not part of this folder", "",
        "## Measured", "", *_measured(run), "",
        "## Use", "", *_usage(gan.modality.name, onnx), "",
        "## Limits", "",
        "- It knows nothing but its training samples: their gaps and biases are its own.",
        "- Whether its samples train a better model is another question: `augmint prove` answers it.",
        "- No privacy is promised: a generator can give away what it was trained on. The copy check finds near-copies only.",
        "- Mark what it makes as synthetic.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _measured(run: Path) -> list[str]:
    rows = read_json(run / "eval" / "metrics.json")["rows"] if (run / "eval" / "metrics.json").exists() else []
    if rows:
        head = ["| metric | value | between real samples | n |", "|---|---|---|---|"]
        return head + [f"| {r['title']} | {r['value']:.3g} | {r['real']:.3g} | {r['n']} |" for r in rows]
    ticks = [r for r in read_jsonl(run / "metrics.jsonl") if "fid" in r]
    if not ticks:
        return ["Too few held-out samples to measure anything."]
    best = min(ticks, key=lambda r: float(r["fid"]))
    names = [k for k in ("fid", "precision", "recall", "coverage", "copy_rate") if k in best]
    return [f"On held-out samples, at step {best['step']}: " + ", ".join(f"{k} {best[k]:.3g}" for k in names) + "."]


def _usage(kind: str, onnx: bool) -> list[str]:
    lines = [
        "```python",
        "from pathlib import Path",
        "from augmint.generation.draw import Gan",
        "from augmint.modalities import get",
        "",
        f'gan = Gan.load(Path("."), get("{kind}"))',
        "samples = gan.generate(16)",
        "```",
    ]
    if onnx:
        lines += [
            "", "Without augmint:", "", "```python", "import numpy as np, onnxruntime", "",
            'session = onnxruntime.InferenceSession("generator.onnx")',
            "z, y = np.random.randn(16, 64).astype(np.float32), np.zeros(16, np.int64)  # y: place in the list of classes",
            'x = session.run(None, {"z": z, "y": y})[0]  # [16, C, ...] in [-1, 1]', "```",
        ]  # fmt: skip
    return lines


def facts(files: Sequence[Path], out: Path) -> dict[str, Any]:
    """Names and sizes of what was written."""
    return {"files": {p.relative_to(out).as_posix(): p.stat().st_size for p in files}}
