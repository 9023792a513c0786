"""Exact checkpoints: weights as safetensors, the rest as JSON; a folder appears whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from augmint.core.errors import UserError
from augmint.core.run import write_bytes, write_json, write_text


def adam_state(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's moments and step counts as flat named tensors."""
    state = optimiser.state_dict()["state"]
    return {f"{i}.{k}": torch.as_tensor(v).clone() for i, s in state.items() for k, v in s.items()}


def load_adam(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `adam_state`. Moments are laid out in memory as the weights are: the fused Adam takes that for granted, without a word."""
    whole = optimiser.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, entry = name.split(".", 1)
        state.setdefault(int(index), {})[entry] = value
    optimiser.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
    for weight, moments in optimiser.state.items():
        for name, value in moments.items():
            if value.shape == weight.shape:
                moments[name] = torch.empty_like(weight).copy_(value)


def save_folder(folder: Path, parts: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> None:
    """Write ``{name}.safetensors`` for each part and ``state.json``, under a temporary name that is renamed at the end."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name, tensors in parts.items():
        write_bytes(part / f"{name}.safetensors", save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}))
    write_json(part / "state.json", dict(state))
    if folder.exists():
        shutil.rmtree(folder)
    part.replace(folder)


def load_part(folder: Path, name: str) -> dict[str, Tensor]:
    """One part of a checkpoint. Only safetensors are read: a pickle is refused, whatever its name."""
    path = folder / f"{name}.safetensors"
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError("these weights are missing", where=path, mend="is this a checkpoint of augmint?") from None
    except SafetensorError as error:
        raise UserError(
            f"not a safetensors file ({error}); pickles are refused, for they run code when they are read",
            where=path,
            mend="use the weights as augmint wrote them",
        ) from None


def load_into(module: nn.Module, folder: Path, name: str) -> None:
    """Load weights into a module that must fit them exactly."""
    try:
        module.load_state_dict(load_part(folder, name))
    except RuntimeError as error:
        raise UserError(
            f"these weights are of another network: {str(error).splitlines()[1].strip()}",
            where=folder / f"{name}.safetensors",
            mend="use the run's own settings",
        ) from None


def load_state(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "state.json").read_text()))


def point(checkpoints: Path, name: str, folder: Path) -> None:
    """Let ``checkpoints/{name}`` name a folder beside it, by atomic rename."""
    write_text(checkpoints / name, folder.name + "\n")


def find(checkpoints: Path, name: str) -> Path | None:
    """The folder that ``last`` or ``best`` names, if it is there."""
    pointer = checkpoints / name
    if not pointer.is_file():
        return None
    folder = checkpoints / pointer.read_text().strip()
    return folder if (folder / "state.json").is_file() else None


def tidy(checkpoints: Path, keep: int = 2) -> None:
    """Remove all but the newest ``keep`` checkpoints and the best one; of trials (``gamma-*``) the run has no more use."""
    for trial in checkpoints.glob("gamma-*"):
        shutil.rmtree(trial, ignore_errors=True)
    folders = sorted(p for p in checkpoints.glob("step-*") if p.is_dir())
    best = find(checkpoints, "best")
    for old in folders[:-keep]:
        if old != best:
            shutil.rmtree(old, ignore_errors=True)
