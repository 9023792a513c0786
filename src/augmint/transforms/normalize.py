"""What a network sees: values centred and scaled, at the end of a recipe. No op: a picture in a file cannot hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from augmint.core.errors import UserError, did_you_mean
from augmint.core.rng import F64


@dataclass(frozen=True)
class Normalize:
    """``(value - mean) / std`` of values from 0 to 1.

    ``mean``, ``std``: one number, or one a channel; the defaults are ImageNet's. With three and a grey picture their means count.
    """

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            found = getattr(self, name)
            values = tuple(found) if isinstance(found, list | tuple) else (found,)
            is_right = 1 <= len(values) <= 4 and all(_is_number(v) and (name == "mean" or v > 0) for v in values)
            if not is_right:
                raise UserError(
                    f"Normalize: {name} is {found!r}", mend="write one number, or one a channel; std above 0"
                )
            object.__setattr__(self, name, tuple(float(v) for v in values))

    def numbers(self, channels: int) -> tuple[F64, F64]:
        """``mean`` and ``std``, each ``[channels]``.

        Raises:
            UserError: if there are others than 1 and as many as channels.
        """
        out = []
        for values in (self.mean, self.std):
            if len(values) not in (1, channels) and channels != 1:
                raise UserError(
                    f"Normalize has {len(values)} numbers for {channels} channels", mend="give one a channel"
                )
            out.append(np.broadcast_to(np.mean(values) if channels == 1 else np.array(values), (channels,)))
        return out[0], out[1]

    @classmethod
    def build(cls, settings: Mapping[str, Any]) -> Self:
        """From plain values, as YAML gives them."""
        for name in settings:
            if name not in ("mean", "std"):
                wrong = f"Normalize has no setting '{name}'{did_you_mean(str(name), ('mean', 'std'))}"
                raise UserError(wrong, mend="it has mean, std")
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        return {"Normalize": {"mean": list(self.mean), "std": list(self.std)}}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
