"""What every transform is: a frozen set of ranges, and a pure function from uniform numbers to plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self, TypeGuard

import numpy as np
from numpy.typing import NDArray

from augmint.core.errors import UserError, did_you_mean
from augmint.core.rng import F64

Range = tuple[float, float]
Family = Literal["geometry", "colour", "local", "mixing", "time", "response", "samples"]
Params = Mapping[str, F64]
Bool = NDArray[np.bool_]


def within(least: float, most: float) -> dict[str, float]:
    """The metadata of a dataclass field that holds a ``(low, high)`` range: the bounds that it is checked against."""
    return {"least": least, "most": most}


def number(least: float, most: float, *, whole: bool = False, optional: bool = False) -> dict[str, Any]:
    """The metadata of a field that holds one number, or one whole number, or optionally none."""
    return {"floor": least, "ceiling": most, "whole": whole, "optional": optional}


def between(limits: Range, u: F64) -> F64:
    """Uniform numbers of [0, 1) stretched over a range."""
    return limits[0] + (limits[1] - limits[0]) * u


@dataclass(frozen=True)
class Law:
    """How an op draws one number: evenly over a range, that in one of its fields or the same always, or evenly in the logarithm."""

    name: str
    over: str | Range
    log: bool = False

    def limits(self, op: Op) -> Range:
        """What uniform numbers are stretched over, before the exponential."""
        low, high = getattr(op, self.over) if isinstance(self.over, str) else self.over
        return tuple(np.log((low, high)).tolist()) if self.log else (low, high)


KEY_BITS = 53  # a noise key is a whole number that JSON, a double and every language hold exactly
KEY = Law("key", (0.0, 2.0**KEY_BITS))  # whole, for so many bits has a uniform number
EVEN: Range = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Op:
    """One transform. Subclasses add ranges, ``laws`` or ``draw``, and the algebra of their family.

    Args:
        p: probability in [0, 1] that the op happens to a sample.
        id: name of its random stream; left out, it is the op's name and ordinal (``Rotate-1``). Two ops of a recipe
            never share one.
    """

    family: ClassVar[Family]
    num_uniforms: ClassVar[int] = 0
    laws: ClassVar[tuple[Law, ...]] = ()  # of the uniforms, one each
    constants: ClassVar[tuple[str, ...]] = ()  # settings that go along as numbers
    any_axes: ClassVar[bool] = False  # whether it makes sense on grids of 1 and 3 axes too
    resizes: ClassVar[bool] = False  # whether the picture may come out at another size
    later: ClassVar[Mapping[str, float]] = {}  # numbers that plans of earlier versions lack, as they were then
    file_settings: ClassVar[tuple[str, ...]] = ()  # which settings are paths of files that a plan must name

    p: float = 1.0
    id: str | None = None

    def __post_init__(self) -> None:
        if not _is_number(self.p) or not 0 <= self.p <= 1:
            raise UserError(f"{self.name}: p is {self.p!r}", mend="p is a probability between 0 and 1")
        if self.id is not None and (not isinstance(self.id, str) or not self.id):
            raise UserError(f"{self.name}: id is {self.id!r}", mend="id is a word, such as grain")
        for entry in fields(self):
            if "least" in entry.metadata:
                limits = _checked(self.name, entry.name, getattr(self, entry.name), entry.metadata)
                object.__setattr__(self, entry.name, limits)
            elif "floor" in entry.metadata:
                _check_number(self.name, entry.name, getattr(self, entry.name), entry.metadata)
            elif isinstance(entry.default, bool) and not isinstance(getattr(self, entry.name), bool):
                raise UserError(
                    f"{self.name}: {entry.name} is {getattr(self, entry.name)!r}", mend="write true or false"
                )

    @property
    def name(self) -> str:
        return type(self).__name__

    def draw(self, u: F64) -> dict[str, F64]:
        """The op's numbers ``[...]`` from independent uniforms ``[..., num_uniforms]``; leading axes are free."""
        out = {}
        for i, law in enumerate(self.laws):
            number = between(law.limits(self), u[..., i])
            out[law.name] = np.exp(number) if law.log else number
        return out | {name: np.full(u.shape[:-1], float(getattr(self, name))) for name in self.constants}

    @property
    def files(self) -> dict[str, str]:
        """The paths of the files that it needs, by setting."""
        return {name: path for name in self.file_settings if (path := getattr(self, name)) is not None}

    def check_needs(self) -> None:
        """
        Raises:
            UserError: if what it needs besides its numbers (a package, a file) is not there.
        """

    @classmethod
    def build(cls, settings: Mapping[str, Any]) -> Self:
        """An op from plain values, as YAML and JSON give them.

        Raises:
            UserError: for an unknown setting, or a value that is not of its kind or out of range.
        """
        known = [entry.name for entry in fields(cls)]
        for name in settings:
            if name not in known:
                raise UserError(
                    f"{cls.__name__} has no setting '{name}'{did_you_mean(str(name), known)}",
                    mend="it has " + ", ".join(known),
                )
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        """``{name: settings}``, the form that a recipe file has; ``id`` only where it was given."""
        settings = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items() if v is not None}
        return {self.name: plain}


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _check_number(op: str, name: str, value: object, bounds: Mapping[str, Any]) -> None:
    if value is None and bounds["optional"]:
        return
    kind = int if bounds["whole"] else (int, float)
    if not _is_number(value) or not isinstance(value, kind) or not bounds["floor"] <= value <= bounds["ceiling"]:
        what = "a whole number" if bounds["whole"] else "a number"
        raise UserError(
            f"{op}: {name} is {value!r}",
            mend=f"{name} is {what} between {bounds['floor']:g} and {bounds['ceiling']:g}",
        )


def _checked(op: str, name: str, value: object, bounds: Mapping[str, float]) -> Range:
    form = f"write {name}: [low, high] with {bounds['least']:g} <= low <= high <= {bounds['most']:g}"
    if not isinstance(value, tuple | list) or len(value) != 2 or not all(_is_number(v) for v in value):
        raise UserError(f"{op}: {name} is {value!r}", mend=form)
    low, high = float(value[0]), float(value[1])
    if not bounds["least"] <= low <= high <= bounds["most"]:
        raise UserError(f"{op}: {name} is [{low:g}, {high:g}]", mend=form)
    return low, high
