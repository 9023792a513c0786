"""A recipe: an ordered list of ops with their ranges, and how the ops are drawn for samples.

Every draw is a function of (seed, sample id, variant, epoch) and of the op's id, and of nothing else: not of the other ops,
of the batch, of the order or of the number of workers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from augmint.core import rng
from augmint.core.config import load_yaml
from augmint.core.errors import UserError, did_you_mean
from augmint.core.rng import U64
from augmint.transforms.colour import Brightness, Contrast, Gamma, Saturation
from augmint.transforms.geometry import Crop, HorizontalFlip, Rotate, Scale, Shear, Translate
from augmint.transforms.local import Cutout, GaussianBlur, GaussianNoise
from augmint.transforms.op import Op
from augmint.transforms.plan import OPS, Border, Drawn, Interp, Plan, check_op, check_ways, sample_key


@dataclass(frozen=True)
class Recipe:
    """What may happen to a sample.

    Args:
        name: for people and manifests.
        ops: in the order of their effect.
        border: what lies beyond the edge: ``reflect`` (mirrored, edge pixel repeated), ``edge`` or ``zero`` (black, or transparent).
        interp: ``linear``, or ``cubic`` (keeps more detail, three to five times the warp's time).
    """

    name: str
    ops: tuple[Op, ...]
    border: Border = "reflect"
    interp: Interp = "linear"

    def __post_init__(self) -> None:
        check_ways(self.border, self.interp)
        twice = [i for i, n in Counter(self.ids).items() if n > 1]
        if twice:
            raise UserError(f"two ops have the id '{twice[0]}'", mend="give each op an id of its own, or none")

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Each op's id: its own, or its name and ordinal among the ops of that name that have none."""
        seen: Counter[str] = Counter()
        out = []
        for op in self.ops:
            if op.id is None:
                seen[op.name] += 1
            out.append(op.id or f"{op.name}-{seen[op.name]}")
        return tuple(out)

    @cached_property
    def _streams(self) -> U64:
        return np.array([rng.key("op", i) for i in self.ids], dtype=np.uint64)

    def draw(self, *, seed: int, sample_id: str, variant: int = 0, epoch: int = 0) -> Plan:
        """What happens to this variant of this sample."""
        return self.plan_of(sample_key(seed, sample_id, variant, epoch))

    def plan_of(self, key: int) -> Plan:
        """The plan of one sample key: the same numbers as its row of ``draw_batch``."""
        return Plan.row(self.draw_batch(np.array([key], np.uint64)), 0, border=self.border, interp=self.interp)

    def draw_batch(self, keys: ArrayLike, *, p: float = 1.0) -> tuple[Drawn, ...]:
        """Every op drawn for every sample key (uint64 ``[N]``); ``p`` in [0, 1] scales each op's own probability."""
        if not self.ops:
            return ()
        width = 1 + max(op.num_uniforms for op in self.ops)
        streams = rng.combine(np.asarray(keys, dtype=np.uint64)[:, None], self._streams)
        u = rng.uniform(streams.T[..., None], np.arange(width))  # [ops, N, width]; the first decides whether
        return tuple(
            Drawn(op.name, i, row[:, 0] < op.p * p, op.draw(row[:, 1:]))
            for op, i, row in zip(self.ops, self.ids, u, strict=True)
        )

    def only(self, allowed: Sequence[str] | None) -> Recipe:
        """Without the ops that are not allowed (``None`` allows all)."""
        if allowed is None:
            return self
        return Recipe(self.name, tuple(op for op in self.ops if op.name in allowed), self.border, self.interp)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, in the form of a recipe file."""
        return {
            "name": self.name,
            "border": self.border,
            "interp": self.interp,
            "ops": [op.to_dict() for op in self.ops],
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Recipe:
        """
        Raises:
            UserError: for an unknown key, op or setting (with the nearest known one), or a value out of range.
        """
        known = ("name", "border", "interp", "ops")
        for key in found:
            if key not in known:
                raise UserError(
                    f"unknown key '{key}'{did_you_mean(key, known)}", mend="known keys: " + ", ".join(known)
                )
        ops = found.get("ops")
        if not isinstance(ops, list) or not ops:
            raise UserError(
                "a recipe needs a list of `ops`", mend="write `ops:` and below it `- Rotate: {degrees: [-5, 5]}`"
            )
        built = tuple(_op(entry, number) for number, entry in enumerate(ops, 1))
        return cls(
            str(found.get("name", "recipe")), built, found.get("border", "reflect"), found.get("interp", "linear")
        )

    @classmethod
    def load(cls, name_or_path: str | Path, *, allowed: Sequence[str] | None = None) -> Recipe:
        """A preset by name, or a recipe file in YAML.

        Args:
            allowed: names of the ops that the data's modality takes. A preset leaves the others out; a file that names
                one is an error.

        Raises:
            UserError: for an unknown preset, a missing file, or a fault in it, with the file's name.
        """
        text = str(name_or_path)
        if text in PRESETS:
            return PRESETS[text].only(allowed)
        path = Path(text)
        if path.suffix not in (".yaml", ".yml") and not path.is_file():
            raise UserError(
                f"there is no recipe '{text}'{did_you_mean(text, PRESETS)}",
                mend="use " + ", ".join(PRESETS) + ", or the path of a .yaml file",
            )
        if not path.is_file():
            raise UserError("there is no such recipe file", where=path, mend="check the path given to --recipe")
        return _from_file(path, allowed)


def _from_file(path: Path, allowed: Sequence[str] | None) -> Recipe:
    found = load_yaml(path)
    try:
        recipe = Recipe.from_dict({"name": path.stem, **found})
    except UserError as error:
        raise UserError(error.problem, where=path, mend=error.mend) from None
    for op in recipe.ops:
        if allowed is not None and op.name not in allowed:
            raise UserError(
                f"{op.name} does not apply to this kind of data",
                where=path,
                mend="take it out; what applies: " + ", ".join(allowed),
            )
    return recipe


def _op(entry: object, number: int) -> Op:
    if isinstance(entry, str):
        entry = {entry: None}
    if not isinstance(entry, dict) or len(entry) != 1:
        raise UserError(
            f"op {number} is {entry!r}", mend="write one op an entry, such as `- Rotate: {degrees: [-5, 5]}`"
        )
    name, settings = next(iter(entry.items()))
    op = OPS[check_op(name)]
    if settings is not None and not isinstance(settings, dict):
        raise UserError(f"op {number}, {name}: its settings are {settings!r}", mend="write them as {setting: value}")
    return op.build(settings or {})


PRESETS: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "light",
            (
                Rotate(degrees=(-5, 5)),
                Translate(shift_frac=(-0.05, 0.05)),
                Scale(factor=(0.95, 1.05)),
                Brightness(add_frac=(-0.05, 0.05)),
                Contrast(factor=(0.92, 1.08)),
            ),
        ),
        # No flips: they change handwriting, letters, and parts that have a side.
        Recipe(
            "medium",
            (
                Rotate(degrees=(-12, 12)),
                Translate(shift_frac=(-0.12, 0.12)),
                Scale(factor=(0.88, 1.12)),
                Shear(x_degrees=(-5, 5)),
                Brightness(add_frac=(-0.06, 0.06)),
                Contrast(factor=(0.88, 1.12)),
                Saturation(factor=(0.8, 1.2)),
                GaussianNoise(sigma_frac=(0.0, 0.04)),
            ),
        ),
        Recipe(
            "strong",
            (
                HorizontalFlip(),
                Rotate(degrees=(-20, 20)),
                Translate(shift_frac=(-0.15, 0.15)),
                Scale(factor=(0.8, 1.25)),
                Shear(x_degrees=(-10, 10), y_degrees=(-5, 5)),
                Crop(keep_frac=(0.75, 1.0), p=0.3),
                Brightness(add_frac=(-0.15, 0.15)),
                Contrast(factor=(0.75, 1.33)),
                Saturation(factor=(0.5, 1.5)),
                Gamma(exponent=(0.75, 1.33), p=0.5),
                GaussianBlur(sigma_px=(0.3, 0.8), p=0.2),
                GaussianNoise(sigma_frac=(0.0, 0.06), p=0.5),
                Cutout(side_frac=(0.1, 0.3), p=0.3),
            ),
        ),
    )
}
