"""Local ops that are computed picture by picture in 8 bits: histograms, ranks, codecs, other noise, and repair.

Each op is its ranges here and one function of the same name in `run_pixels`; both executors call that one, so they agree. On
tensors the gradient passes straight through them (Bengio et al. 2013, arXiv 1308.3432).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, replace
from typing import ClassVar, Literal, get_args

import numpy as np

from augmint.core.errors import check_one_of
from augmint.core.rng import F64
from augmint.transforms.op import KEY, Bool, Family, Law, Op, Params, Range, number, within

Threshold = Literal["otsu", "sauvola"]


@dataclass(frozen=True)
class Picture:
    """Run the function of this name, with these numbers ``[...]``, on each picture where ``active``."""

    name: str
    params: Params
    active: Bool

    def masked(self, active: Bool) -> Picture:
        """The same where active, nothing elsewhere."""
        return replace(self, active=self.active & active)


@dataclass(frozen=True, kw_only=True)
class PixelOp(Op):
    """An op that ends a fusion run and is computed picture by picture.

    The ranges of a subclass become its numbers, each drawn uniformly, and its plain settings go along.
    """

    family: ClassVar[Family] = "local"
    has_key: ClassVar[bool] = False  # whether it needs randomness of its own, from one key
    moves: ClassVar[bool] = False  # whether it moves pixels, by what it finds in the picture

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        settings = {name: entry.metadata for name, entry in vars(cls).items() if isinstance(entry, Field)}
        ranges = (Law(name, name) for name, about in settings.items() if "least" in about)
        cls.laws = (*ranges, *([KEY] if cls.has_key else []))
        cls.num_uniforms = len(cls.laws)
        cls.constants = tuple(name for name, about in settings.items() if "floor" in about)

    @classmethod
    def stage(cls, params: Params, height: int, width: int) -> Picture:
        """What the executors run."""
        return Picture(cls.__name__, params, np.array(True))


@dataclass(frozen=True, kw_only=True)
class Equalize(PixelOp):
    """Spread the levels evenly, in each channel."""


@dataclass(frozen=True, kw_only=True)
class AutoContrast(PixelOp):
    """Stretch each channel so that its darkest and brightest levels become 0 and 255. ``cut_frac``: share of the pixels at each end
    that may be lost, within [0, 0.4]."""

    cut_frac: Range = field(default=(0.0, 0.01), metadata=within(0, 0.4))


@dataclass(frozen=True, kw_only=True)
class CLAHE(PixelOp):
    """Contrast-limited adaptive equalisation of the luma (Zuiderveld 1994). ``clip``: limit of a cell's slope, within [1, 40];
    ``cells``: cells a side, whole number within [1, 64]."""

    clip: Range = field(default=(1.0, 4.0), metadata=within(1, 40))
    cells: int = field(default=8, metadata=number(1, 64, whole=True))


@dataclass(frozen=True, kw_only=True)
class MotionBlur(PixelOp):
    """Blur along a line. ``length_px``: of the line, within [1, 99]; ``degrees``: its direction, counter-clockwise, within [-180, 180]."""

    length_px: Range = field(default=(3.0, 9.0), metadata=within(1, 99))
    degrees: Range = field(default=(-180.0, 180.0), metadata=within(-180, 180))


@dataclass(frozen=True, kw_only=True)
class MedianBlur(PixelOp):
    """The median of a square. ``side_px``: of the square, rounded to an odd number, within [1, 31]."""

    side_px: Range = field(default=(3.0, 5.0), metadata=within(1, 31))


@dataclass(frozen=True, kw_only=True)
class Sharpen(PixelOp):
    """Unsharp mask: add ``amount`` times what a Gaussian blur of ``sigma_px`` takes away; within [0, 5] and [0.3, 10]."""

    amount: Range = field(default=(0.2, 1.0), metadata=within(0, 5))
    sigma_px: Range = field(default=(0.8, 1.5), metadata=within(0.3, 10))


@dataclass(frozen=True, kw_only=True)
class ISONoise(PixelOp):
    """Camera noise: grain of the luma, and a coarser one of the colours. ``luma_frac`` and ``colour_frac``: standard deviations as
    fractions of the full range, within [0, 1]."""

    has_key: ClassVar[bool] = True
    luma_frac: Range = field(default=(0.01, 0.04), metadata=within(0, 1))
    colour_frac: Range = field(default=(0.01, 0.04), metadata=within(0, 1))


@dataclass(frozen=True, kw_only=True)
class ShotNoise(PixelOp):
    """Noise of counted light: the variance grows with the level. ``photons``: of a white pixel, within [5, 1e6]. Counts are many, so
    their distribution is taken as Gaussian."""

    has_key: ClassVar[bool] = True
    photons: Range = field(default=(100.0, 1000.0), metadata=within(5, 1e6))


@dataclass(frozen=True, kw_only=True)
class SaltAndPepper(PixelOp):
    """Some pixels become black or white. ``share_frac``: how many, within [0, 1]."""

    has_key: ClassVar[bool] = True
    share_frac: Range = field(default=(0.005, 0.03), metadata=within(0, 1))


@dataclass(frozen=True, kw_only=True)
class JPEG(PixelOp):
    """Written as JPEG and read again. ``quality``: rounded to a whole number, within [1, 100]. Two channels become two grey pictures."""

    quality: Range = field(default=(40.0, 90.0), metadata=within(1, 100))


@dataclass(frozen=True, kw_only=True)
class Downscale(PixelOp):
    """Shrunk and enlarged again: detail is lost, the size stays. ``factor``: of the small picture, within [0.02, 1]."""

    factor: Range = field(default=(0.4, 0.8), metadata=within(0.02, 1))


@dataclass(frozen=True, kw_only=True)
class CoarseDropout(PixelOp):
    """Several holes. ``side_frac``: sides of each, as a fraction of the picture's, within [0, 1]; ``holes``: how many, whole number within
    [1, 64]; ``fill``: grey value in [0, 1]. Holes in RGBA are transparent."""

    has_key: ClassVar[bool] = True
    side_frac: Range = field(default=(0.05, 0.15), metadata=within(0, 1))
    holes: int = field(default=6, metadata=number(1, 64, whole=True))
    fill: float = field(default=0.5, metadata=number(0, 1))


@dataclass(frozen=True, kw_only=True)
class GridDropout(PixelOp):
    """Square holes in a grid at a random place (Chen et al. 2020, arXiv 2001.04086). ``unit_frac``: side of a grid cell, as a fraction of
    the picture's shorter side, within [0.02, 1]; ``hole_frac``: side of its hole, as a fraction of the cell, within [0, 1]."""

    has_key: ClassVar[bool] = True
    unit_frac: Range = field(default=(0.15, 0.35), metadata=within(0.02, 1))
    hole_frac: Range = field(default=(0.3, 0.5), metadata=within(0, 1))
    fill: float = field(default=0.5, metadata=number(0, 1))


@dataclass(frozen=True, kw_only=True)
class Denoise(PixelOp):
    """Smooth noise away and keep edges, by a bilateral filter (Tomasi and Manduchi 1998). ``sigma_frac``: differences of level below this
    are noise, as a fraction of the full range, within [0, 1]."""

    sigma_frac: Range = field(default=(0.05, 0.1), metadata=within(0, 1))


@dataclass(frozen=True, kw_only=True)
class Binarize(PixelOp):
    """Black and white, by a threshold of the luma.

    ``method``: ``otsu``, one threshold for the whole picture, the one that separates its levels best (Otsu 1979); or ``sauvola``, one for
    each pixel, for dark ink on paper that is lit unevenly: ``m (1 + k (s / 128 - 1))`` with the mean m and the standard deviation s, in
    levels, of the square of ``window_px`` around it (Sauvola and Pietikäinen 2000). ``window_px``: whole number within [3, 999], an even one
    counts as the next odd one; ``k``: within [0, 1], greater keeps less ink: the paper's 0.5 loses what is grey, 0.2 keeps it. What is black over more than a window comes out hollow.
    """

    later: ClassVar[Mapping[str, float]] = {"method": 0.0, "window_px": 15.0, "k": 0.5}
    method: Threshold = "otsu"
    window_px: int = field(default=15, metadata=number(3, 999, whole=True))
    k: float = field(default=0.5, metadata=number(0, 1))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_one_of("Binarize: method", self.method, get_args(Threshold))

    def draw(self, u: F64) -> dict[str, F64]:
        return {"method": np.full(u.shape[:-1], float(get_args(Threshold).index(self.method)))} | super().draw(u)


@dataclass(frozen=True, kw_only=True)
class Embolden(PixelOp):
    """Thicker dark strokes: the minimum of a disc. ``radius_px``: within [0, 10]; a part of a pixel is mixed in."""

    radius_px: Range = field(default=(0.5, 1.5), metadata=within(0, 10))


@dataclass(frozen=True, kw_only=True)
class Deblock(PixelOp):
    """Smooth the steps between JPEG's blocks of 8 x 8, as far as they are small. ``strength``: steps above about this many levels are taken
    for edges, within [1, 60]. The picture must not have been moved since.

    Source: ITU-T H.263, annex J.
    """

    strength: Range = field(default=(3.0, 8.0), metadata=within(1, 60))


@dataclass(frozen=True, kw_only=True)
class Deskew(PixelOp):
    """Turn a page of text so that its lines lie level: by the angle that makes the sums of rows differ most (Postl 1986, US patent
    4723297). ``most_degrees``: of the angle, within [0.1, 45]. What comes in at the corners is the recipe's border. Targets cannot follow: it
    is an error where there are any.
    """

    moves: ClassVar[bool] = True
    most_degrees: float = field(default=10.0, metadata=number(0.1, 45))
