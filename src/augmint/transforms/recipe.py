"""A recipe: an ordered list of ops with their ranges, and how the ops are drawn for samples.

Every draw is a function of (seed, sample id, variant, epoch) and of the op's id, and of nothing else: not of the other ops,
of the batch, of the order or of the number of workers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from augmint.core import rng
from augmint.core.config import load_yaml
from augmint.core.errors import UserError, check_one_of, did_you_mean
from augmint.core.rng import U64
from augmint.core.types import Codec, Modality
from augmint.transforms.bending import Perspective
from augmint.transforms.choice import CHOICES, Choice, OneOf, SomeOf
from augmint.transforms.colour import Brightness, Contrast, Gamma, Hue, Invert, Posterize, Saturation, Solarize
from augmint.transforms.drawing import Drawing
from augmint.transforms.geometry import Crop, HorizontalFlip, Rotate, Scale, Shear, Translate
from augmint.transforms.local import Cutout, GaussianBlur, GaussianNoise
from augmint.transforms.mix import AugMix, Mix, Pool
from augmint.transforms.normalize import Normalize
from augmint.transforms.op import Op, Params
from augmint.transforms.pixels import JPEG, AutoContrast, Binarize, Denoise, Embolden, Equalize, Sharpen
from augmint.transforms.plan import (
    PICTURES,
    VOCABULARIES,
    Border,
    Drawn,
    Interp,
    Partner,
    Plan,
    Quality,
    Step,
    check_ways,
    kind_for,
    op_named,
    sample_key,
)

_WAYS = ("border", "interp", "quality")
_PARTNER = np.uint64(rng.key("partner"))  # so that what partners are drawn from is apart from the op's own numbers


@dataclass(frozen=True)
class Recipe:
    """What may happen to a sample.

    Args:
        name: for people and manifests.
        ops: in the order of their effect; choices among ops stand where their ops do.
        border: what lies beyond the edge: ``reflect`` (mirrored, edge pixel repeated), ``edge`` or ``zero`` (black, or transparent).
        interp: ``linear``, or ``cubic`` (keeps more detail, three to five times the warp's time).
        quality: of changes of a sound's pitch and tempo: ``best``, or ``fast``.
        normalize: what a network gets; files cannot hold it. In a recipe file it is the last entry of ``ops``.
        on_grid: what runs drawn ops on a batch of tensors, from ``(x, drawn, clip)``, where the grid is no picture; see `on`.
        mix_on_grid: what runs a mixing op there, from ``(op, params, parts, clip)``; see `run_mix_torch`.
    """

    name: str
    ops: tuple[Op | Choice, ...]
    border: Border = "reflect"
    interp: Interp = "linear"
    quality: Quality = "best"
    normalize: Normalize | None = None
    on_grid: Callable[[Any, Sequence[Drawn], bool], Any] | None = field(default=None, compare=False, repr=False)
    mix_on_grid: Callable[[Mix, Params, list[Any], bool], Any] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_ways(self.border, self.interp, self.quality)
        twice = [i for i, n in Counter(self.ids).items() if n > 1]
        if twice:
            raise UserError(f"two ops have the id '{twice[0]}'", mend="give each op an id of its own, or none")

    @cached_property
    def flat(self) -> tuple[Op, ...]:
        """Every op, those of choices too."""
        return tuple(op for entry in self.ops for op in (entry.ops if isinstance(entry, Choice) else (entry,)))

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The id of each op of ``flat``: its own, or its name and ordinal among the ops of that name that have none."""
        return _ids(self.flat)

    @cached_property
    def _streams(self) -> U64:
        return np.array([rng.key("op", i) for i in self.ids], dtype=np.uint64)

    @cached_property
    def _choices(self) -> tuple[tuple[Choice, int, int], ...]:
        """Each choice, the key of its random stream, and the place of its first op in ``flat``."""
        found, at = [], 0
        for entry in self.ops:
            if isinstance(entry, Choice):
                found.append((entry, at))
            at += len(entry.ops) if isinstance(entry, Choice) else 1
        names = _ids([c for c, _ in found])
        return tuple((c, rng.key("choice", i), at) for (c, at), i in zip(found, names, strict=True))

    def _chosen(self, keys: U64) -> NDArray[np.bool_]:
        """``[N, ops]``: which ops of ``flat`` their choices leave open."""
        out = np.ones((len(keys), len(self.flat)), np.bool_)
        for choice, stream, at in self._choices:
            num = len(choice.ops)
            own = rng.combine(keys, np.uint64(stream))
            out[:, at : at + num] = choice.chosen(rng.uniform(own[:, None], np.arange(1 + num)))
        return out

    @cached_property
    def kind(self) -> str:
        """The kind of data that its ops are for; pictures where several have them."""
        fitting = (k for k, known in VOCABULARIES.items() if all(known.get(op.name) is type(op) for op in self.flat))
        return next(fitting, PICTURES)

    @cached_property
    def mixes(self) -> bool:
        """Whether some op needs other samples, or versions of the sample itself."""
        return any(isinstance(op, Mix) for op in self.flat)

    @property
    def is_fixed(self) -> bool:
        """Whether nothing is drawn, so that all variants of a sample are one."""
        if self._choices or self.mixes or any(op.p < 1 for op in self.flat):
            return False
        return self.plan_of(1).steps == self.plan_of(2).steps

    def draw(self, *, seed: int, sample_id: str, variant: int = 0, epoch: int = 0, pool: Pool | None = None) -> Plan:
        """What happens to this variant of this sample. ``pool``: where mixing ops find partners."""
        return self.plan_of(sample_key(seed, sample_id, variant, epoch), own=sample_id, pool=pool)

    def plan_of(self, key: int, *, own: str = "", pool: Pool | None = None) -> Plan:
        """The plan of one sample key: the same numbers as its row of ``draw_batch``.

        Args:
            own: the sample's id, which is no partner of its own.
            pool: where mixing ops find partners; one that finds none does not happen.

        Raises:
            UserError: if the recipe mixes samples and there is no pool.
        """
        return self._plan(key, own, pool, len(self.flat))

    def _plan(self, key: int, own: str, pool: Pool | None, end: int) -> Plan:
        """The plan of the first ``end`` ops of ``flat``."""
        steps = self._drawing.steps(key, end) if self.flat else []
        if self._choices:
            chosen = dict(zip(self.ids, self._chosen(np.array([key], np.uint64))[0], strict=True))
            steps = [s for s in steps if chosen[s.id]]
        if self.mixes:
            steps = [s for step in steps for s in self._mixed(step, key, own, pool)]
        return Plan(tuple(steps), self.border, self.interp, self.kind, self.quality)

    @cached_property
    def _drawing(self) -> Drawing:
        return Drawing(self.flat, self.ids, self._streams)

    def _mixed(self, step: Step, key: int, own: str, pool: Pool | None) -> tuple[Step, ...]:
        """A step with its partners; nothing where there are none for it."""
        at = self.ids.index(step.id)
        op = self.flat[at]
        if not isinstance(op, Mix):
            return (step,)
        keys = self.mixing_keys(np.array([key], np.uint64), at)
        if isinstance(op, AugMix):
            chains = (
                tuple(Step(n, n, {k: float(v[0]) for k, v in u.items()}) for n, _, u in c) for c in op.chains(keys)
            )
            return (step._replace(partners=tuple(Partner(None, chain) for chain in chains)),)
        key = int(keys[0])
        if pool is None:
            raise UserError(f"{op.name} needs other samples", mend="give `pool`, the ids of the data set")
        others = op.source(pool).pick(key, own, op.wanted)
        before = (
            () if op.is_raw else self._plan(int(rng.combine(key, i)[0]), other, pool, at).steps
            for i, other in enumerate(others)
        )
        partners = tuple(Partner(*pair) for pair in zip(others, before, strict=True))
        return (step._replace(partners=partners),) if partners else ()

    def mixing_keys(self, keys: U64, at: int) -> U64:
        """What the partners or chains of op number ``at`` of ``flat`` are drawn from, apart from the op's own numbers."""
        return rng.combine(rng.combine(keys, self._streams[at]), _PARTNER)

    def draw_batch(self, keys: ArrayLike, *, p: float = 1.0) -> tuple[Drawn, ...]:
        """Every op drawn for every sample key (uint64 ``[N]``); ``p`` in [0, 1] scales each op's own probability."""
        if not self.ops:
            return ()
        keys = np.asarray(keys, dtype=np.uint64)
        width = 1 + max(op.num_uniforms for op in self.flat)
        streams = rng.combine(keys[:, None], self._streams)
        u = rng.uniform(streams.T[..., None], np.arange(width))  # [ops, N, width]; the first decides whether
        happens = u[:, :, 0] < np.array([op.p * p for op in self.flat])[:, None]
        if self._choices:
            happens &= self._chosen(keys).T
        return tuple(
            Drawn(op.name, i, active, op.draw(row[:, 1:]), op.files)
            for op, i, active, row in zip(self.flat, self.ids, happens, u, strict=True)
        )

    def only(self, allowed: Sequence[str] | None) -> Recipe:
        """Without the ops that are not allowed (``None`` allows all)."""
        if allowed is None:
            return self
        names = tuple(allowed)
        kept = (e.only(names) if isinstance(e, Choice) else e if e.name in names else None for e in self.ops)
        return replace(self, ops=tuple(e for e in kept if e is not None))

    @cached_property
    def unmixed(self) -> Recipe:
        """Without the ops that mix samples: for views of samples whose labels nobody knows, or must stay whole."""
        return self.only([op.name for op in self.flat if not isinstance(op, Mix)]) if self.mixes else self

    def on(self, codec: Codec | None) -> Recipe:
        """The same for tensors that this codec has put on their grid: where it says itself what ops do there (``on_grid``, ``mix_on_grid``), it
        is asked."""
        return replace(self, on_grid=getattr(codec, "on_grid", None), mix_on_grid=getattr(codec, "mix_on_grid", None))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, in the form of a recipe file."""
        ways: dict[str, str] = {"border": self.border, "interp": self.interp}
        if self.kind != PICTURES:
            ways = {"kind": self.kind, "quality": self.quality}
        return {
            "name": self.name,
            **ways,
            "ops": [op.to_dict() for op in (*self.ops, *([self.normalize] if self.normalize else []))],
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any], *, kind: str | None = None) -> Recipe:
        """
        Args:
            kind: of data, a key of `VOCABULARIES`; without one what it says itself, else the first that has all the ops named.

        Raises:
            UserError: for an unknown key, op or setting (with the nearest known one), or a value out of range.
        """
        known = ("name", "kind", *_WAYS, "ops")
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
        *ops, last = ops
        name, settings = _named(last, str(len(ops) + 1))
        normalize = Normalize.build(settings or {}) if name == "Normalize" else None
        ops = ops if normalize else [*ops, last]
        kind = _kind(found.get("kind"), kind) or kind_for(_all_named(ops))
        built = tuple(_entry(entry, str(number), kind) for number, entry in enumerate(ops, 1))
        ways = {key: found[key] for key in _WAYS if key in found}
        return cls(str(found.get("name", "recipe")), built, **ways, normalize=normalize)

    @classmethod
    def load(
        cls,
        name_or_path: str | Path,
        *,
        allowed: Sequence[str] | None = None,
        kind: str | None = None,
        tensors: bool = False,
        levels: bool = False,
        presets: Mapping[str, Recipe] | None = None,
    ) -> Recipe:
        """A preset by name, or a recipe file in YAML.

        Args:
            allowed: names of the ops that the data's modality takes. A preset leaves the others out; a file that names
                one is an error.
            kind: as in `from_dict`.
            tensors: refuse ops that mix samples and do not happen on batches of tensors.
            levels: refuse `Normalize`: where the results are pictures again.
            presets: the modality's own, by name; default: those for pictures.

        Raises:
            UserError: for an unknown preset, a missing file, or a fault in it, with the file's name.
        """
        text, presets = str(name_or_path), PRESETS if presets is None else presets
        if text in presets:
            return presets[text].only(allowed)
        path = Path(text)
        if path.suffix not in (".yaml", ".yml") and not path.is_file():
            raise UserError(
                f"there is no recipe '{text}' for this kind of data{did_you_mean(text, presets)}",
                mend="use " + ", ".join(presets) + ", or the path of a .yaml file",
            )
        if not path.is_file():
            raise UserError("there is no such recipe file", where=path, mend="check the path given to --recipe")
        found = _from_file(path, allowed, kind)
        mixing = [op.name for op in found.flat if isinstance(op, Mix) and tensors and not op.on_batches]
        if mixing:
            raise UserError(
                f"{mixing[0]} needs more than the tensors and classes that the experiment has",
                where=path,
                mend="take it out here; `augmint augment` takes it",
            )
        if levels and found.normalize is not None:
            raise UserError(
                "Normalize gives what a network sees, and files hold pictures",
                where=path,
                mend="take it out here; transforms.loops.Augment takes it",
            )
        return found


def is_recipe(name_or_path: str | Path) -> bool:
    """Whether this is a preset's name or looks like a recipe file, and is no folder."""
    path = Path(name_or_path)
    return not path.is_dir() and (str(name_or_path) in PRESETS or path.suffix in (".yaml", ".yml"))


def recipe_for(modality: Modality, name_or_path: str | Path, *, tensors: bool = False, levels: bool = False) -> Recipe:
    """`Recipe.load` with what this kind of data takes, and its own presets where it has any."""
    own, kind = getattr(modality, "presets", None), kind_of(modality)
    return Recipe.load(name_or_path, allowed=modality.ops, kind=kind, tensors=tensors, levels=levels, presets=own)


def kind_of(modality: Modality) -> str:
    """Which of `VOCABULARIES` tells what the names of its ops mean."""
    return str(getattr(modality, "kind", PICTURES))


def _from_file(path: Path, allowed: Sequence[str] | None, kind: str | None) -> Recipe:
    found = load_yaml(path)
    try:
        recipe = Recipe.from_dict({"name": path.stem, **found}, kind=kind)
    except UserError as error:
        raise UserError(error.problem, where=path, mend=error.mend) from None
    for op in recipe.flat:
        if allowed is not None and op.name not in allowed:
            raise UserError(
                f"{op.name} does not apply to this kind of data",
                where=path,
                mend="take it out; what applies: " + ", ".join(allowed),
            )
    return recipe


def _ids(things: Sequence[Op] | Sequence[Choice]) -> tuple[str, ...]:
    seen: Counter[str] = Counter()
    out = []
    for thing in things:
        if thing.id is None:
            seen[thing.name] += 1
        out.append(thing.id or f"{thing.name}-{seen[thing.name]}")
    return tuple(out)


def _kind(said: Any, wanted: str | None) -> str | None:
    """The kind of data that a recipe is for, if it says so or is asked for one."""
    if said is not None:
        check_one_of("kind", said, tuple(VOCABULARIES))
    if None not in (said, wanted) and said != wanted:
        raise UserError(f"a recipe for {said}, and here are {wanted}", mend="give one for this data")
    return wanted or said


def _all_named(entries: Sequence[object]) -> Iterator[str]:
    """The ops' names, those of choices too; what is wrong with an entry is told when it is built."""
    for number, entry in enumerate(entries, 1):
        name, settings = _named(entry, str(number))
        inner = (settings or {}).get("ops") if name in CHOICES else None
        names = [_named(e, f"{number}.{i}")[0] for i, e in enumerate(inner, 1)] if isinstance(inner, list) else []
        yield from (n for n in ([] if name in CHOICES else [name]) + names if n != "Normalize")


def _entry(entry: object, number: str, kind: str) -> Op | Choice:
    """An op, or a choice among ops; choices do not nest."""
    name, settings = _named(entry, number)
    if name not in CHOICES:
        return _op(entry, number, kind)
    choice = CHOICES[name]
    known = [e.name for e in fields(choice)]
    for key in settings or {}:
        if key not in known:
            raise UserError(
                f"{name} has no setting '{key}'{did_you_mean(str(key), known)}", mend="it has " + ", ".join(known)
            )
    ops = (settings or {}).get("ops")
    if not isinstance(ops, list) or not ops:
        raise UserError(
            f"op {number}, {name}: it needs a list of `ops`", mend=f"write `- {name}: {{ops: [Rotate, Scale]}}`"
        )
    built = tuple(_op(e, f"{number}.{i}", kind) for i, e in enumerate(ops, 1))
    return choice(**{**(settings or {}), "ops": built})


def _named(entry: object, number: str) -> tuple[str, Any]:
    if isinstance(entry, str):
        entry = {entry: None}
    if not isinstance(entry, dict) or len(entry) != 1:
        raise UserError(
            f"op {number} is {entry!r}", mend="write one op an entry, such as `- Rotate: {degrees: [-5, 5]}`"
        )
    name, settings = next(iter(entry.items()))
    if settings is not None and not isinstance(settings, dict):
        raise UserError(f"op {number}, {name}: its settings are {settings!r}", mend="write them as {setting: value}")
    return name, settings


def _op(entry: object, number: str, kind: str) -> Op:
    name, settings = _named(entry, number)
    if name == "Normalize":
        raise UserError(f"op {number} is Normalize", mend="write it last, and not inside a choice")
    return op_named(name, kind).build(settings or {})


# The ops of RandAugment (Cubuk et al. 2019, arXiv 1909.13719), each drawn evenly up to its strength and in both directions. There
# is no identity among them: as one of fourteen it is in TrivialAugment's p.
def _rand_ops(strength: float) -> tuple[Op, ...]:
    s = strength
    return (
        Rotate(degrees=(-30 * s, 30 * s)),
        Shear(x_degrees=(-17 * s, 17 * s)),
        Shear(x_degrees=(0, 0), y_degrees=(-17 * s, 17 * s)),
        Translate(shift_frac=(-0.3 * s, 0.3 * s)),
        Brightness(add_frac=(-0.45 * s, 0.45 * s)),
        Contrast(factor=(2.5**-s, 2.5**s)),
        Saturation(factor=(1 - 0.9 * s, 1 + 0.9 * s)),
        Sharpen(amount=(0, 1.8 * s)),
        Posterize(bits=(8 - 4 * s, 8)),
        Solarize(threshold_frac=(1 - s, 1)),
        AutoContrast(),
        Equalize(),
        Scale(factor=(1 - 0.3 * s, 1 + 0.3 * s)),
    )


def rand(strength: float) -> Recipe:
    """RandAugment: two of the ops, each drawn up to a strength within (0, 1]."""
    return Recipe(f"rand-{strength:g}", (SomeOf(ops=_rand_ops(strength), num=2),))


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
        # TrivialAugment (Müller and Hutter 2021, arXiv 2103.10158): one op, its strength drawn evenly.
        Recipe("trivial", (OneOf(ops=_rand_ops(1.0), p=13 / 14),)),
        replace(rand(0.6), name="rand"),
        Recipe(
            "document",
            (
                Denoise(sigma_frac=(0.05, 0.1), p=0.5),
                Rotate(degrees=(-2, 2)),
                Perspective(corner_frac=(0.0, 0.02)),
                Contrast(factor=(0.85, 1.4)),
                Embolden(radius_px=(0.0, 0.7), p=0.5),
                # One threshold for all blackens what lies in shade; the paper's k of 0.5 loses grey print.
                Binarize(method="sauvola", window_px=25, k=0.2, p=0.2),
                JPEG(quality=(50, 95), p=0.3),
            ),
        ),
        # The same for every sample: repairs, no chance but the noise that is there.
        Recipe(
            "enhance",
            (
                Denoise(sigma_frac=(0.06, 0.06)),
                AutoContrast(cut_frac=(0.005, 0.005)),
                Sharpen(amount=(0.5, 0.5), sigma_px=(1, 1)),
            ),
        ),
        # The groups of Karras et al. 2020 (arXiv 2006.06676, appendix B) that help on pictures: blitting, geometry, colour. Their normal
        # distributions are uniform ones of the same variance here, and every op has one p, as there.
        Recipe(
            "ada",
            (
                HorizontalFlip(p=0.25),
                Scale(factor=(0.785, 1.274), p=0.5),
                Rotate(degrees=(-180, 180), p=0.5),
                Translate(shift_frac=(-0.217, 0.217), p=0.5),
                Brightness(add_frac=(-0.346, 0.346), p=0.5),
                Contrast(factor=(0.549, 1.823), p=0.5),
                Invert(p=0.25),
                Hue(degrees=(-180, 180), p=0.5),
                Saturation(factor=(0.3, 3.32), p=0.5),
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
