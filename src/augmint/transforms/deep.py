"""Recolouring in 16 bits: a matrix is one pass over integers, a power one table of 65,536 numbers.

Between the 8 bits of a picture and the end of a run there are 257 steps to a grey level, so rounding stays far below one. A table
takes a quarter of the time of a power, and a matrix on integers clips as it goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import cv2
import numpy as np
from numpy.typing import DTypeLike

from augmint.core.rng import F64
from augmint.core.types import F32
from augmint.transforms.colour import Affine, Part, Power
from augmint.transforms.sampling import Pixels, scratch

_TOP = 65_535
_WORST = 0.25  # grey levels that rounding may come to, before the last one


@dataclass(frozen=True)
class Ending:
    """What values from 0 to 1 become in the end: ``scale · v + offset`` of each channel, float32."""

    scale: tuple[float, ...]
    offset: tuple[float, ...]

    @lru_cache(64)  # noqa: B019 - of what a program's pictures have in common
    def matrix(self, unit: float) -> F64:
        """``[C, C + 1]``, for values whose 1 is ``unit``."""
        return np.concatenate([np.diag(self.scale) / unit, np.array(self.offset)[:, None]], 1)

    @property
    def is_same(self) -> bool:
        """Whether all channels are treated alike."""
        return len(set(self.scale)) == len(set(self.offset)) == 1


@dataclass(frozen=True)
class Tones:
    """A run's parts on uint16 ``[H, W, C]``.

    Attributes:
        steps: matrices ``[C, C + 1]`` and tables ``[65536]``, uint16 to uint16.
        table: the last step where it is a table, to what is asked for or, if a matrix is left, to float32.
        matrix: from float32 to what is asked for.
    """

    steps: tuple[F64 | Pixels, ...]
    table: Pixels | None
    matrix: F64 | None

    def run(self, x: Pixels, out: Pixels) -> None:
        """Recolour a picture of 257 a level into ``out``."""
        for i, step in enumerate(self.steps):
            into = scratch("ab"[i % 2], out.shape, np.uint16)
            x = cv2.transform(x, step, dst=into) if step.ndim == 2 else looked_up(x, step, into)
        if self.matrix is None:
            if self.table is None:
                cv2.convertScaleAbs(x, dst=out, alpha=1 / 257)
            else:
                looked_up(x, self.table, out)
            return
        between = scratch("c", out.shape, np.float32)
        if self.table is None:
            np.copyto(between, x.reshape(out.shape))
        else:
            looked_up(x, self.table, between)
        cv2.transform(between, self.matrix, dst=out)


def tones(parts: Sequence[Part], channels: int, ending: Ending | None) -> Tones | None:
    """The steps of a run's parts; ``None`` where 16 bits are not enough, or a small error could become a large one.

    Nothing is clipped before the end but what a power takes as 0: what a matrix gives above 1 is kept by another scale.

    Args:
        ending: what the values become; ``None`` for uint8 levels.
    """
    high = 1.0  # the value of the last of 65,536 steps; the first is 0
    error = 0.5 / 257  # greatest deviation so far, in grey levels
    steps: list[F64 | Pixels] = []
    table: Pixels | None = None
    last = len(parts) - 1
    for i, part in enumerate(parts):
        if isinstance(part, Affine) and (i == last or isinstance(parts[i + 1], Power)):
            rows = part.rows(channels)
            most = 1.0 if i >= last - 1 else _highest(rows, high)
            gain, lift = high / most, _TOP / most
            steps.append(np.array([[*[v * gain for v in row], at * lift] for *row, at in rows]))
            error = error * max([sum(map(abs, row)) for *row, _ in rows]) + 0.5 * 255 / lift
            high = most
        elif isinstance(part, Power) and part.exponent != 1:  # which would leave alone what is below 0
            exponent = float(part.exponent)
            error = 255 * max((error / 255) ** exponent, exponent * high ** (exponent - 1) * error / 255)
            if i == last:
                table = _last_table(exponent, high, ending)
            else:
                steps.append(np.rint(_TOP * _powers(exponent)).astype(np.uint16))
            high = high**exponent
        else:
            return None
        if error > _WORST:
            return None
    if ending is None or (table is not None and ending.is_same):
        return Tones(tuple(steps), table, None)
    return Tones(tuple(steps), table, ending.matrix(1.0 if table is not None else _TOP))


def _highest(rows: Sequence[Sequence[float]], high: float) -> float:
    """The greatest value that a matrix makes of channels from 0 to ``high``."""
    return max(1e-6, *(high * sum(v for v in row if v > 0) + at for *row, at in rows))


def _last_table(exponent: float, high: float, ending: Ending | None) -> Pixels:
    """The last power as a table that clips and, where it can, is the ending too."""
    values = _powers(exponent)
    if high != 1:
        np.minimum(np.multiply(values, np.float32(high**exponent), out=values), np.float32(1), out=values)
    if ending is None:
        levels: Pixels = cv2.convertScaleAbs(values, alpha=255)
        return levels.ravel()
    if ending.is_same:
        values *= np.float32(ending.scale[0])
        values += np.float32(ending.offset[0])
    return values


def _powers(exponent: float) -> F32:
    """``(i / 65535) ** exponent`` for all i: the exponential of a multiple of logarithms that are known."""
    out = scratch("powers", (_TOP + 1,), np.float32)
    np.multiply(_logarithms(), np.float32(exponent), out=out)
    cv2.exp(out, dst=out)
    return out


@cache
def _logarithms() -> F32:
    steps = np.arange(_TOP + 1) / _TOP
    steps[0] = 1e-300  # nothing, even to the power of 0.1
    return np.log(steps).astype(np.float32)


def looked_up(x: Pixels, table: Pixels, out: Pixels) -> Pixels:
    """``table[x]`` of uint16."""
    if _has_wide_tables(table.dtype.char):
        found: Pixels = cv2.LUT(x, table, dst=out)
        return found
    return np.take(table, x.reshape(out.shape), out=out, mode="clip")


@cache
def _has_wide_tables(kind: DTypeLike) -> bool:
    """Whether this OpenCV looks uint16 up: 5 does, 4 does not."""
    try:
        cv2.LUT(np.zeros((2, 2), np.uint16), np.zeros(_TOP + 1, kind))
    except cv2.error:
        return False
    return True
