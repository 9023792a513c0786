"""Pictures: PNG, JPEG, TIFF, WebP and BMP files, gray, RGB or RGBA, of any size."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from augmint.core.errors import BadSample, UserError
from augmint.core.provenance import SOURCE_TYPES, origin_of
from augmint.core.types import F32, Dataset, Grid, Ref, Sample, Scan
from augmint.data import contact, images, layout, objects
from augmint.data.annotated import AnnotatedSink
from augmint.data.images import SUFFIXES, U8
from augmint.data.objects import Point, Thing
from augmint.data.sink import FolderSink
from augmint.data.split import box_means
from augmint.transforms import run_mix
from augmint.transforms.marks import marked
from augmint.transforms.mix import MIXES
from augmint.transforms.plan import PICTURE_OPS, Plan
from augmint.transforms.targets import Targets

if TYPE_CHECKING:
    from augmint.models.efficientnet import EfficientNetFeatures

LARGEST = 64  # pixels on the longer side, unless a size is asked for: what a CPU trains a GAN on in minutes
SMALLEST = 4
SMALLEST_JUDGED = 32
_DEEPEST = 65_535  # the highest level of 16 bits
_ALL_LEVELS = (0, _DEEPEST)
_NARROW = 0.3  # of the range: what 14 bits use is less
_FAULTS = 0.001  # of the values: hot and dead pixels
_FAR = 0.25
_TAKEN = "to the commands these levels are black and white, and what they write has these levels again"
_MIXED = "brightness and contrast are fractions of all of it, unless all pictures are of this kind"
_SCANNED = ("height", "width", "channels", "format", "bytes", "origin", "annotations")


class ImageModality:
    """Everything about pictures: `Sample.data` is ``[H, W, C]`` with C in {1, 3, 4}, uint8, or uint16 where the file has 16 bits."""

    name = "image"
    suffixes = SUFFIXES
    ops = (*PICTURE_OPS, *MIXES)

    def scan(self, root: Path, *, strict: bool = False) -> Scan:
        """Class folders, a flat folder or metadata, as `layout.scan` has it; COCO, YOLO or masks, as `objects.find` has it; and
        each picture's header.

        Every ``Ref.meta`` gets ``height, width`` (upright), ``channels, format, bytes`` and ``origin``; a picture
        whose header is broken or too large is skipped and named.
        """
        found = objects.find(root, SUFFIXES, strict=strict) or layout.scan(root, SUFFIXES, strict=strict)
        found = layout.examined(found, _with_header, root=root, strict=strict)
        return replace(found, notes=(*found.notes, *_mixed(found.refs)))

    def load(self, ref: Ref) -> Sample:
        """Decode one picture; see `images.read` for what may be in the file and what comes out. With its targets, if there are any."""
        origin, x = ref.meta.get("origin", "real"), images.read(ref.path, deep=True)
        targets = objects.load(ref, x.shape[:2]) if ref.targets else {}
        return Sample(ref.id, x, ref.label, targets, ref.meta, origin)

    def transform(self, plan: Plan, sample: Sample, load: Callable[[str], Sample]) -> Sample:
        """What a plan makes of one picture and its targets, at the picture's own size; ``meta`` gets ``soft_label`` where classes
        are mixed.

        A picture whose rim is transparent somewhere is cut out of its surroundings: beyond its edges is nothing, not its mirror image.
        """
        x, span = sample.data, plan.span if plan.steps and sample.data.dtype == np.uint16 else None
        x = _stretched(x, span)
        if plan.border == "reflect" and x.shape[2] == 4 and _is_cut_out(x):
            plan = replace(plan, border="zero")
        scene = run_mix.apply(plan, _scene(replace(sample, data=x), x), _Partners(load, x, span))
        mixed = {k: round(v, 6) for k, v in scene.labels.items()} if len(scene.labels) > 1 else None
        has_targets = bool(sample.targets) or scene.targets.is_there
        return replace(
            sample,
            data=_back(scene.picture, span),
            targets=vars(scene.targets) if has_targets else {},
            meta={**sample.meta, "soft_label": mixed} if mixed else sample.meta,
        )

    def sink(self, out: Path, *, layout: str) -> FolderSink:
        """Writes pictures with the provenance mark of their origin, and their targets where the layout has some."""
        kind = AnnotatedSink if layout in objects.LAYOUTS else FolderSink
        return kind(out, layout=layout, file_name=_file_name, encode=_coded, passing=_SCANNED)

    def fit(self, dataset: Dataset, *, size: int | None = None) -> ImageCodec:
        """One grid for all pictures: their own size where it is common and at most 64, else a letterbox.

        Mixed sizes get the median longer side (at most 64) and the median aspect, or a square where upright and lying
        pictures are mixed. ``size`` sets the longer side. Channels are the widest that occur. Where all pictures have 16
        bits, the levels that they use span the grid's range, and what is made of it has 16 bits too.
        """
        if not len(dataset):
            raise UserError("there are no pictures to fit a grid to", where=dataset.root, mend="check the folder")
        shapes = np.array([_shape(dataset, i) for i in range(len(dataset))])
        height, width = _grid_size(shapes[:, :2].astype(np.float64), size)
        channels = int(shapes[:, 2].max())
        fits = (np.abs(shapes[:, 0] * width - shapes[:, 1] * height) <= np.maximum(shapes[:, 0], shapes[:, 1])).all()
        codec = ImageCodec(channels, height, width, (0,) * channels, self._levels(dataset))
        return codec if fits or channels == 4 else replace(codec, pad=_border_level(dataset, codec))

    def span(self, dataset: Dataset) -> tuple[int, int] | None:
        """The levels that transforms take for black and white, where all pictures have 16 bits and use little of them."""
        found = self._levels(dataset)
        return None if found == _ALL_LEVELS else found

    def _levels(self, dataset: Dataset) -> tuple[int, int] | None:
        """Lowest and highest level of colours where all pictures (200 are looked at) have 16 bits; all levels where much of them is used.

        A level that lies farther out than `_FAR`, in parts of what all but a thousandth of the values span, is a faulty pixel's.
        """
        spans = []
        for sample in _some(dataset):
            if (span := self.seen(sample)) is None:
                return None
            colours = sample.data[..., :3]
            spans.append((*span, int(colours.min()), int(colours.max())))
        if not spans:
            return None
        lows, highs, least, most = zip(*spans, strict=True)
        reach = round(_FAR * (max(highs) - min(lows)))
        low, high = max(min(least), min(lows) - reach), min(max(most), max(highs) + reach)
        return (low, high) if 0 < high - low < _NARROW * _DEEPEST else _ALL_LEVELS

    def codec(self, state: Mapping[str, Any]) -> ImageCodec:
        span = state.get("span")
        return ImageCodec(
            state["channels"], state["height"], state["width"], tuple(state["pad"]), tuple(span) if span else None
        )

    def features(self, batch: F32) -> F32:
        """``[N, D]`` of ``[N, C, H, W]``: 8 x 8 box means, level and contrast of each channel, and 4 x 4 cells of
        gradient directions (8 bins, weighted by magnitude; after Dalal and Triggs 2005, without their blocks)."""
        num, channels = batch.shape[:2]
        small = box_means(box_means(batch, 2, 8), 3, 8).reshape(num, -1)
        flat = batch.reshape(num, channels, -1)
        return np.concatenate([small, flat.mean(axis=2), flat.std(axis=2), _gradients(batch)], axis=1, dtype=np.float32)

    def judge(self, grid: Grid) -> EfficientNetFeatures | None:
        """EfficientNet-Lite0 for grids of at least 32 pixels a side: on fewer, what it was trained on cannot be seen."""
        from augmint.models.efficientnet import efficientnet_features, weights_path

        return None if min(grid.shape) < SMALLEST_JUDGED or weights_path() is None else efficientnet_features()

    def seen(self, sample: Sample) -> tuple[int, int] | None:
        """Of 16 bits the lowest and highest level of colours, but for a thousandth of the values that may be faults; of 8 bits nothing."""
        x = sample.data[..., :3]
        if x.dtype != np.uint16:
            return None
        total = np.cumsum(np.bincount(x.ravel(), minlength=_DEEPEST + 1))
        low, high = np.searchsorted(total, np.array([_FAULTS / 2, 1 - _FAULTS / 2]) * x.size).tolist()
        return low, high

    def advised(self, seen: Sequence[tuple[int, int] | None]) -> list[str]:
        """What to do where most pictures of 16 bits hold far fewer: strengths are fractions of the whole range."""
        deep = [span for span in seen if span is not None]
        narrow = [(low, high) for low, high in deep if high - low < _NARROW * _DEEPEST]
        low, high = min((a for a, _ in narrow), default=0), max((b for _, b in narrow), default=0)
        if 2 * len(narrow) <= len(deep) or low == high:
            return []
        which = "" if len(narrow) == len(deep) else f"{len(narrow)} of {len(deep)} "
        share = math.ceil(100 * (high - low) / _DEEPEST)
        return [
            f"{which}16-bit pictures use only {share} % of their range (levels {low:,} to {high:,} of {_DEEPEST:,}): {_TAKEN if not which else _MIXED}; "
            f"stretch them for Augment, which sees one at a time, and for other programs, all alike, x to (x - {low}) * {_DEEPEST / (high - low):.3g} cut at both "
            f"ends (docs/transforms.md shows how; ops in 8 bits, AutoContrast too, see {round(high / 257) - round(low / 257) + 1} levels of them there)"
        ]

    def sheet(self, rows: Sequence[Sequence[Sample]], titles: Sequence[str]) -> tuple[bytes, str]:
        """A PNG with one line of pictures a row, each under its title ('' for none): ``(bytes, suffix)``."""
        pictures = [[_shown(sample.data, 48) for sample in row] for row in rows]
        return images.encode(contact.sheet(pictures, titles), ".png"), ".png"

    def marked(self, sample: Sample, side: int) -> Sample:
        """The picture over paper, ``side`` pixels at most, with its masks, boxes and keypoints drawn onto it."""
        return replace(sample, data=marked(_shown(sample.data, 1), Targets(**sample.targets), side), targets={})

    def film(self, frames: Sequence[Sample]) -> tuple[bytes, str]:
        """A looping GIF of pictures of one size, small ones enlarged: ``(bytes, suffix)``."""
        return images.gif([_shown(frame.data, 160) for frame in frames]), ".gif"

    def preview(self, sample: Sample, *, width: int = 96) -> str:
        """An ``<img>`` with the picture inside; small pictures keep sharp pixels, large ones are shrunk first."""
        data = _visible(sample.data)
        height = max(1, round(width * data.shape[0] / data.shape[1]))
        if data.shape[1] > 2 * width:
            data = _resized(data, (2 * height, 2 * width))
        coded = base64.b64encode(images.encode(data, ".png")).decode("ascii")
        style = ' style="image-rendering:pixelated"' if data.shape[1] < width else ""
        title = escape(sample.id if sample.label is None else f"{sample.label}: {sample.id}", quote=True)
        return (
            f'<img src="data:image/png;base64,{coded}" width="{width}" height="{height}" '
            f'alt="{title}" title="{title}" loading="lazy"{style}>'
        )


def _scene(sample: Sample, like: NDArray[Any]) -> run_mix.Scene:
    """With as many channels and bits as another picture."""
    labels = {} if sample.label is None else {sample.label: 1.0}
    x = sample.data
    if x.dtype != like.dtype:
        x = images.eight_bits(x) if like.dtype == np.uint8 else x.astype(np.uint16) * 257
    return run_mix.Scene(_promoted(x, like.shape[2]), Targets(**sample.targets), labels)


def _stretched(x: NDArray[Any], span: tuple[int, int] | None) -> NDArray[Any]:
    """16 bits over the whole range; what lies outside the span is cut. Whole levels come `_back` as they were."""
    if span is None or x.dtype != np.uint16:
        return x
    low, high = span
    colours = np.rint((x[..., :3].clip(low, high) - float(low)) * (_DEEPEST / (high - low))).astype(np.uint16)
    return np.concatenate([colours, x[..., 3:]], axis=2)


def _back(x: NDArray[Any], span: tuple[int, int] | None) -> NDArray[Any]:
    if span is None:
        return x
    low, high = span
    colours = np.rint(low + x[..., :3] * ((high - low) / _DEEPEST)).astype(np.uint16)
    return np.concatenate([colours, x[..., 3:]], axis=2)


class _Partners:
    """Partners as scenes, of the picture's kind; what is in one's boxes gets keys of its own each time."""

    def __init__(self, load: Callable[[str], Sample], like: NDArray[Any], span: tuple[int, int] | None) -> None:
        self._load, self._like, self._span, self._count = load, like, span, 0

    def __call__(self, name: str) -> run_mix.Scene:
        self._count += 1
        sample = self._load(name)
        scene = _scene(replace(sample, data=_stretched(sample.data, self._span)), self._like)
        boxes, points = self._own(scene.targets.box_labels), self._own(scene.targets.keypoint_labels)
        return replace(scene, targets=replace(scene.targets, box_labels=boxes, keypoint_labels=points))

    def _own(self, labels: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(replace(x, key=f"{self._count}:{x.key}") if isinstance(x, Thing | Point) else x for x in labels)


def _is_cut_out(x: U8) -> bool:
    alpha = x[:, :, 3]
    return bool(min(alpha[0].min(), alpha[-1].min(), alpha[:, 0].min(), alpha[:, -1].min()) == 0)


def _shown(x: U8, side: int) -> U8:
    """RGB over paper; a small picture is enlarged to about ``side`` pixels without smoothing."""
    x = _promoted(_visible(x), 4)
    alpha = x[:, :, 3:] / 255.0
    rgb: U8 = np.rint(x[:, :, :3] * alpha + np.array(contact.PAPER) * (1 - alpha)).astype(np.uint8)
    times = max(1, side // max(rgb.shape[:2]))
    return np.repeat(np.repeat(rgb, times, axis=0), times, axis=1)


def _visible(x: NDArray[Any]) -> U8:
    """In 8 bits; what uses little of 16 bits is brightened to be seen."""
    top = int(x[..., :3].max())
    out: U8 = images.eight_bits(_stretched(x, (0, top)) if 0 < top < _NARROW * _DEEPEST else x)
    return out


def _with_header(ref: Ref) -> Ref:
    head = images.header(ref.path)
    origin = origin_of(ref.meta.get("origin"), head.mark)
    seen = {"height": head.height, "width": head.width, "channels": head.channels, "format": head.format}
    return replace(ref, meta={**ref.meta, **seen, "bytes": ref.path.stat().st_size, "origin": origin})


def _mixed(refs: Sequence[Ref]) -> Iterator[str]:
    """A note where few pictures decide how many channels the grid has: one with transparency makes it four for all."""
    clear = [ref for ref in refs if ref.meta["channels"] == 4]
    if 0 < len(clear) < len(refs) / 2:
        yield (
            f"{len(clear)} of {len(refs)} pictures have transparency ({clear[0].id}), so a GAN learns four channels for all; "
            "save them without it if it means nothing"
        )


def _shape(dataset: Dataset, index: int) -> tuple[int, int, int]:
    meta = dataset.refs[index].meta
    if {"height", "width", "channels"} <= meta.keys():
        return meta["height"], meta["width"], meta["channels"]
    height, width, channels = dataset[index].data.shape
    return height, width, channels


def _grid_size(sizes: F32 | np.ndarray[Any, np.dtype[np.float64]], size: int | None) -> tuple[int, int]:
    """(height, width) of the grid for pictures of ``sizes`` ``[N, 2]``."""
    if (sizes == sizes[0]).all():
        height, width = float(sizes[0, 0]), float(sizes[0, 1])
    else:
        aspects = np.log(sizes[:, 1] / sizes[:, 0])
        low, middle, high = np.quantile(aspects, [0.2, 0.5, 0.8])
        aspect = 1.0 if low < -0.1 and high > 0.1 else float(np.exp(middle))
        longer = float(np.median(sizes.max(axis=1)))
        height, width = longer / max(aspect, 1.0), longer * min(aspect, 1.0)
    scale = (size or min(LARGEST, max(height, width))) / max(height, width)
    return max(SMALLEST, round(height * scale)), max(SMALLEST, round(width * scale))


def _some(dataset: Dataset, most: int = 200) -> Iterator[Sample]:
    """At most so many samples from all over a data set, those left out that cannot be read."""
    for i in np.unique(np.linspace(0, len(dataset) - 1, most).astype(int)):
        with suppress(BadSample):
            yield dataset[int(i)]


def _border_level(dataset: Dataset, codec: ImageCodec) -> tuple[int, ...]:
    """Median of the outermost pixels of some pictures: what letterbox bars blend in with."""
    pictures = [codec.levels(sample.data) for sample in _some(dataset)]
    edges = [np.median(np.concatenate([x[0], x[-1], x[:, 0], x[:, -1]]), axis=0) for x in pictures]
    return tuple(int(v) for v in np.median(edges, axis=0)) if edges else codec.pad


def _promoted(x: NDArray[Any], channels: int) -> NDArray[Any]:
    """Gray to RGB to RGBA without loss; the other way, alpha is laid on black and colour becomes luma. The type stays."""
    have, top = x.shape[2], np.iinfo(x.dtype).max
    if have == 4 and channels < 4:
        x = ((x[:, :, :3].astype(np.uint64) * x[:, :, 3:] + top // 2) // top).astype(x.dtype)
        have = 3
    if have == 3 and channels == 1:
        return np.asarray(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY), dtype=x.dtype)[:, :, None]
    if have == 1 and channels >= 3:
        x = np.repeat(x, 3, axis=2)
    if channels == 4 and x.shape[2] == 3:
        x = np.concatenate([x, np.full((*x.shape[:2], 1), top, dtype=x.dtype)], axis=2)
    return x


def _resized(x: Any, size: tuple[int, int]) -> Any:
    if x.shape[:2] == size:
        return x
    shrinks = size[0] < x.shape[0] or size[1] < x.shape[1]
    out: Any = cv2.resize(x, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return out[:, :, None] if out.ndim == 2 else out


def _gradients(batch: F32) -> F32:
    gray = batch.mean(axis=1)
    dy, dx = np.gradient(gray, axis=(1, 2))
    magnitude = np.hypot(dx, dy)
    bins = ((np.arctan2(dy, dx) / (2 * np.pi) + 1.0) * 8).astype(np.int64) % 8
    planes = np.where(bins[:, None] == np.arange(8)[None, :, None, None], magnitude[:, None], 0.0).astype(np.float32)
    cells = box_means(box_means(planes, 2, 4), 3, 4).reshape(len(batch), -1)
    out: F32 = np.sqrt(cells)
    return out


@dataclass(frozen=True, slots=True)
class ImageCodec:
    """Between pictures of any size and one grid: aspect kept, the rest filled with ``pad`` (levels 0 to 255).

    ``span``: the levels of 16 bits that stand for -1 and 1, what lies beyond them is cut; ``None`` for pictures of 8 bits.
    Four channels are premultiplied on the grid, so that what lies under full transparency cannot be learned; `decode`
    undoes it.
    """

    channels: int
    height: int
    width: int
    pad: tuple[int, ...]
    span: tuple[int, int] | None = None

    @property
    def grid(self) -> Grid:
        return Grid(self.channels, (self.height, self.width))

    def encode(self, sample: Sample) -> F32:
        """``[C, height, width]`` float32 in [-1, 1]."""
        x = self.levels(sample.data)
        if self.channels == 4:
            x = np.concatenate([x[:, :, :3] * (x[:, :, 3:] / 255.0), x[:, :, 3:]], axis=2, dtype=np.float32)
        boxed = self._letterbox(x) / 127.5 - 1.0
        return np.ascontiguousarray(boxed.transpose(2, 0, 1), dtype=np.float32)

    def levels(self, x: NDArray[Any]) -> F32:
        """A picture's levels, float32 in [0, 255] over the span, with the grid's channels."""
        if self.span is None:
            return _promoted(images.eight_bits(x), self.channels).astype(np.float32)
        x = x if x.dtype == np.uint16 else x.astype(np.uint16) * 257
        return _promoted(_stretched(x, self.span), self.channels).astype(np.float32) / np.float32(257)

    def _letterbox(self, x: F32) -> F32:
        scale = min(self.height / x.shape[0], self.width / x.shape[1])
        height = min(self.height, max(1, round(x.shape[0] * scale)))
        width = min(self.width, max(1, round(x.shape[1] * scale)))
        inner: F32 = _resized(x, (height, width))
        if (height, width) == (self.height, self.width):
            return inner
        out = np.empty((self.height, self.width, self.channels), dtype=np.float32)
        out[:] = self.pad
        top, left = (self.height - height) // 2, (self.width - width) // 2
        out[top : top + height, left : left + width] = inner
        return out

    def decode(self, x: F32) -> NDArray[Any]:
        """uint8 ``[height, width, C]``, uint16 where there is a span; straight alpha where there are four channels."""
        y = (np.clip(x, -1.0, 1.0).transpose(1, 2, 0).astype(np.float32) + 1.0) * 127.5
        if self.channels == 4:
            alpha = np.rint(y[:, :, 3:]) / 255.0
            colour = np.where(alpha > 0, y[:, :, :3] / np.maximum(alpha, 1e-6), 0.0)
            y = np.concatenate([np.minimum(colour, 255.0), y[:, :, 3:]], axis=2)
        if self.span is None:
            return np.asarray(np.rint(y), dtype=np.uint8)
        return _back(np.rint(y.astype(np.float64) * 257).astype(np.uint16), self.span)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _file_name(sample: Sample) -> str:
    """The id's own name where a picture can have it, else with ``.png``: for transparency and 16 bits, which not all formats hold."""
    path = PurePosixPath(sample.id)
    if path.suffix.lower() not in SUFFIXES:
        return path.name + ".png"
    fits = (sample.data.shape[2] < 4 or path.suffix.lower() in images.CLEAR) and (
        sample.data.dtype == np.uint8 or path.suffix.lower() in images.DEEP
    )
    return path.name if fits else path.stem + ".png"


def _coded(sample: Sample, suffix: str) -> bytes:
    return images.encode(sample.data, suffix, mark=SOURCE_TYPES.get(sample.origin))
