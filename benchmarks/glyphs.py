"""Capital letters from the fonts of this machine, written out as an ordinary data set: ten classes, fonts never on both sides.

Fonts come from Debian packages: ``sudo sh benchmarks/fonts.sh`` installs them (Debian 12 and later, Ubuntu; 160 MB). Left out are
fonts that lack a letter or draw nothing for it, that draw two letters alike, that repeat another one, and dingbats; which fonts
remain depends on the packages, so tables name their number and `Glyphs.digest`.

Fonts whose names begin alike (``Lato Light``, ``Lato Black``) or whose letters nearly match (Liberation Sans, TeX Gyre Heros) form
a group, of which at most ten are used and which stands in training and pool, or in the test part, as a whole.

Run: python benchmarks/glyphs.py [SHEET.png]; tells what was found, and draws a sheet of it.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.sparse.csgraph import connected_components

from augmint.core import rng
from augmint.core.errors import UserError
from augmint.core.types import F32, I64, Modality, Sample

LETTERS = "ABEGKMRSTZ"
FOLDERS = ("/usr/share/fonts/truetype", "/usr/share/fonts/opentype", "/usr/share/texmf/fonts/opentype")
FEWEST_FONTS = 400
NUM_TEST_FONTS = 200
NUM_POOL = 1000
MOST_OF_A_GROUP = 10
CANVAS = 32
"""Fonts are compared at this size, whatever the pictures' own, so that the choice is the same at every size."""
UNASSIGNED = "\U0010fffe"
"""No font has it: what is drawn instead stands for a missing letter."""
ALIKE, REPEATED, NEAR = 0.005, 0.02, 0.05
"""Cosine distances: of two letters of a font, of a font from an earlier one, and of fonts of one group (means over letters)."""
FEWEST_READ = 2
"""Letters of ten that look most like the same letter in other fonts; a font with fewer holds dingbats, or puzzles."""
_NOTHING: tuple[I64, I64, dict[str, int]] = (np.zeros(0, np.int64), np.zeros(0, np.int64), {})


@dataclass(frozen=True)
class Glyphs:
    """Letters of every usable font.

    Attributes:
        pixels: ``[F, 10, side, side]`` uint8, ink 255 on 0; one row a font, one column a letter of `LETTERS`.
        group: ``[F]`` fonts that stand on one side together.
        names: ``[F]`` file names.
        dropped: how many fonts were left out, by reason.
    """

    pixels: NDArray[np.uint8]
    group: I64
    names: tuple[str, ...]
    dropped: dict[str, int]

    @property
    def digest(self) -> str:
        """Names the set of pictures."""
        return hashlib.sha256(self.pixels.tobytes()).hexdigest()[:12]

    def split(self, draw: int) -> tuple[I64, I64]:
        """Fonts for training and pool, and at least 200 for the test part; whole groups, in an order that follows from ``draw``."""
        ids = np.unique(self.group)
        order = ids[rng.permutation(rng.key("glyphs", "test fonts", draw), len(ids))]
        sizes = np.cumsum([(self.group == g).sum() for g in order])
        chosen = order[: int(np.searchsorted(sizes, NUM_TEST_FONTS)) + 1]
        is_test = np.isin(self.group, chosen)
        return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def glyphs(side: int) -> Glyphs:
    """Letters of ``side`` x ``side`` pixels of all usable fonts, each scaled to fill the picture but for a margin.

    Raises:
        UserError: with fewer than 400 usable fonts; the message says how to get more.
    """
    paths = sorted(
        p for root in FOLDERS for p in Path(root).rglob("*") if p.is_file() and p.suffix.lower() in (".ttf", ".otf")
    )
    reasons: Counter[str] = Counter()
    drawn, small = [], []
    for path in paths:
        masks, reason = _masks(path, 3 * CANVAS)
        if reason:
            reasons[reason] += 1
        else:
            drawn.append(path)
            small.append([_fitted(m, CANVAS) for m in masks])
    kept, group, more = _choose(_unit(np.array(small)), [_family(p) for p in drawn]) if drawn else _NOTHING
    if len(kept) < FEWEST_FONTS:
        raise UserError(
            f"{len(kept)} usable fonts found, {FEWEST_FONTS} are needed",
            where=", ".join(FOLDERS),
            mend="install the packages that benchmarks/fonts.sh lists: sudo sh benchmarks/fonts.sh (Debian, Ubuntu)",
        )
    chosen = [drawn[i] for i in kept]
    pixels = [[_fitted(m, side) for m in _masks(p, max(3 * CANVAS, 4 * side))[0]] for p in chosen]
    return Glyphs(np.array(pixels, dtype=np.uint8), group, tuple(p.name for p in chosen), {**reasons, **more})


def write_glyphs(
    root: Path, modality: Modality, found: Glyphs, *, per_class: int, num_pool: int = NUM_POOL, draw: int = 0
) -> tuple[Path, Path | None]:
    """``root/data/{train,test}/<letter>/*.png`` and, if wanted, ``root/pool/*.png``: labelled pictures and pool are of the
    same fonts (never the same picture), the test part is all ten letters of fonts of its own. Two fonts may share one letter to
    the last pixel; it then stays out of the test part.

    Args:
        per_class: labelled training pictures a letter.
        num_pool: unlabelled pictures; 0 for none.
        draw: another number chooses other fonts and pictures.
    """
    train, test = found.split(draw)
    order = rng.permutation(rng.key("glyphs", "pictures", draw), len(train) * len(LETTERS))
    pictures = [(int(train[i // len(LETTERS)]), int(i % len(LETTERS))) for i in order]
    labelled = [[p for p in pictures if p[1] == c][:per_class] for c in range(len(LETTERS))]
    data, pool = root / "data", root / "pool"
    sink = modality.sink(data, layout="class-folders")
    labelled_ones = [p for own in labelled for p in own]
    taken = set(labelled_ones)
    unlabelled = sorted([p for p in pictures if p not in taken][:num_pool])
    seen = {found.pixels[p].tobytes() for p in (*labelled_ones, *unlabelled)}
    sealed = [(int(f), c) for f in test for c in range(len(LETTERS)) if found.pixels[f, c].tobytes() not in seen]
    for part, chosen in {"train": labelled_ones, "test": sealed}.items():
        for font, c in chosen:
            sink.write(Sample(f"{part}/{LETTERS[c]}/{font:04d}.png", found.pixels[font, c, :, :, None], LETTERS[c]))
    sink.close()
    if not num_pool:
        return data, None
    sink = modality.sink(pool, layout="flat")
    for font, c in unlabelled:
        sink.write(Sample(f"{font:04d}-{c}.png", found.pixels[font, c, :, :, None]))
    sink.close()
    return data, pool


# -- drawing ---------------------------------------------------------------------------------------------------------


def _masks(path: Path, size: int) -> tuple[list[Image.Image], str]:
    """Ink of each letter, cut out; or why the font cannot be used."""
    try:
        font = ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
        masks = [_ink(font, letter) for letter in LETTERS]
        missing = _ink(font, UNASSIGNED)
    except (OSError, ValueError):
        return [], "not readable"
    whole = [m for m in masks if m is not None]
    if len(whole) < len(masks):
        return [], "draws nothing for a letter"
    if missing is not None and any(m.size == missing.size and m.tobytes() == missing.tobytes() for m in whole):
        return [], "lacks a letter"
    return whole, ""


def _ink(font: ImageFont.FreeTypeFont, letter: str) -> Image.Image | None:
    left, top, right, bottom = (int(v) for v in font.getbbox(letter))
    page = Image.new("L", (max(right - left, 0) + 8, max(bottom - top, 0) + 8))
    ImageDraw.Draw(page).text((4 - left, 4 - top), letter, fill=255, font=font)
    box = page.getbbox()
    return page.crop(box) if box else None


def _fitted(mask: Image.Image, side: int) -> NDArray[np.uint8]:
    """A letter in the middle of a picture, its longer side filling it but for a margin of a sixteenth; averaged over areas."""
    inner = side - 2 * max(1, side // 16)
    width, height = (max(1, round(v * inner / max(mask.size))) for v in mask.size)
    page = Image.new("L", (side, side))
    page.paste(mask.resize((width, height), Image.Resampling.BOX), ((side - width) // 2, (side - height) // 2))
    return np.asarray(page)


# -- choosing --------------------------------------------------------------------------------------------------------


def _choose(rows: F32, names: Sequence[str]) -> tuple[I64, I64, dict[str, int]]:
    """Indices of the fonts to use, their groups, and how many were left out of those that draw every letter.

    Args:
        rows: ``[F, 10, D]`` letters of length 1.
    """
    between = 1.0 - rows @ rows.transpose(0, 2, 1) + 2.0 * np.eye(rows.shape[1])
    clear = np.flatnonzero(between.min((1, 2)) >= ALIKE)
    whole = rows.reshape(len(rows), -1)
    apart = 1.0 - whole @ whole.T / rows.shape[1]
    fresh: list[int] = []
    for i in clear:
        if not fresh or apart[i, fresh].min() > REPEATED:
            fresh.append(int(i))
    some = np.array(fresh)
    named = np.unique([names[i] for i in some], return_inverse=True)[1]
    near = (named[:, None] == named[None]) | (apart[np.ix_(some, some)] < NEAR)
    group = connected_components(near, directed=False)[1].astype(np.int64)
    read = _read(rows[some], group) >= FEWEST_READ
    order = rng.permutation(rng.key("glyphs", "of a group"), len(some))
    rank = np.empty(len(some), np.int64)
    for g in np.unique(group):
        mine = order[(group[order] == g) & read[order]]
        rank[mine] = np.arange(len(mine))
    use = read & (rank < MOST_OF_A_GROUP)
    dropped = {
        "draws two letters alike": len(rows) - len(clear),
        "repeats another": len(clear) - len(some),
        "dingbats and puzzles": int((~read).sum()),
        f"more than {MOST_OF_A_GROUP} of a group": int((read & ~use).sum()),
    }
    return some[use], group[use], dropped


def _read(rows: F32, group: I64, k: int = 5) -> I64:
    """``[F]`` how many letters of each font have the same letter in most of their 5 nearest pictures of other groups."""
    num, letters = rows.shape[:2]
    flat, own = rows.reshape(num * letters, -1), np.repeat(group, letters)
    right = np.zeros(num, np.int64)
    for i in range(num):
        close = rows[i] @ flat.T
        close[:, own == group[i]] = -1
        nearest = np.argpartition(-close, k, axis=1)[:, :k] % letters
        right[i] = sum(np.bincount(row, minlength=letters).argmax() == c for c, row in enumerate(nearest))
    return right


def _unit(pixels: NDArray[np.uint8]) -> F32:
    rows = pixels.reshape(*pixels.shape[:2], -1).astype(np.float32)
    out: F32 = rows / np.linalg.norm(rows, axis=2, keepdims=True)
    return out


def _family(path: Path) -> str:
    """The first word of a font's family name: ``lato`` of Lato Light, ``free`` of FreeSans."""
    family = ImageFont.truetype(str(path), 16).getname()[0] or path.stem
    words = re.findall(r"[a-z]+|[0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", family).lower())
    return words[0] if words else path.stem


def sheet(found: Glyphs, num: int = 120, columns: int = 4) -> Image.Image:
    """Some fonts, ten letters each."""
    side = found.pixels.shape[-1] + 2
    some = np.sort(rng.permutation(rng.key("glyphs", "sheet"), len(found.pixels))[:num])
    page = Image.new("L", (columns * (len(LETTERS) + 1) * side, -(-len(some) // columns) * side))
    for n, font in enumerate(some):
        left, top = n % columns * (len(LETTERS) + 1) * side, n // columns * side
        for c in range(len(LETTERS)):
            page.paste(Image.fromarray(found.pixels[font, c]), (left + c * side, top))
    return page


if __name__ == "__main__":
    seen = glyphs(CANVAS)
    print(f"{len(seen.names)} fonts in {len(np.unique(seen.group))} groups, {seen.digest}; left out: {seen.dropped}")
    if len(sys.argv) > 1:
        sheet(seen).save(sys.argv[1])
