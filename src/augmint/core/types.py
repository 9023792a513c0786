"""The nouns: Sample, Ref, Dataset, Grid, and the protocols that a modality fulfils."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from augmint.core.errors import BadSample, UserError

if TYPE_CHECKING:
    import pandas as pd

Origin = Literal["real", "augmented", "synthetic"]
Part = Literal["train", "val", "test"]
F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sample:
    """One thing that a person recognises.

    ``id`` is the POSIX path relative to the data set, extension included, or a table row's key. ``data`` is what
    the modality's people work with: an image is uint8 ``[H, W, C]``.
    """

    id: str
    data: Any
    label: str | None = None
    targets: Mapping[str, Any] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin = "real"

    def __repr__(self) -> str:
        """Without what is in it: a list of a hundred pictures is to be readable."""
        shape = getattr(self.data, "shape", None)
        data = f"{type(self.data).__name__}{list(shape) if shape is not None else ''}"
        return f"Sample({self.id!r}, {data}, label={self.label!r}, origin={self.origin!r})"


@dataclass(frozen=True, slots=True)
class Ref:
    """Where a sample lies: enough to load it later, in any process.

    ``path`` is absolute; ``row`` counts samples inside a file that holds many. ``part`` is set only where the data set
    itself says so (train/val/test folders or a ``split`` column). ``targets`` is what is known of boxes, masks and the like without
    opening the sample, as plain values; ``beside`` are further files that it needs, such as masks.
    """

    id: str
    path: Path
    label: str | None = None
    part: Part | None = None
    row: int | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    targets: Mapping[str, Any] = field(default_factory=dict)
    beside: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was left out, and why; ``mend`` says what to do about it."""

    where: str
    reason: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}" + (f"; to mend it: {self.mend}" if self.mend else "")


@dataclass(frozen=True, slots=True)
class Scan:
    """What ``Modality.scan`` found: references, the layout's name, remarks for the user, and what was left out.

    ``layout`` is one of ``class-folders``, ``flat``, ``metadata``, or a modality's own word.
    """

    refs: tuple[Ref, ...]
    layout: str
    notes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True, slots=True)
class Grid:
    """What a network sees: ``[channels, *shape]``, 1 to 3 axes; float32 in [-1, 1] unless categorical."""

    channels: int
    shape: tuple[int, ...]
    categorical: bool = False

    @property
    def size(self) -> tuple[int, ...]:
        """``(channels, *shape)``."""
        return (self.channels, *self.shape)


@dataclass(frozen=True, slots=True)
class Likeness:
    """How two tensors of a grid may differ and still show the same sample, as a copy does that was moved.

    Attributes:
        axes: those along which a sample can be moved and stretched; None = all, and then, in the last two, it can be turned and mirrored
            too, as pictures can.
        shift: how far, as a part of the side.
        levelled: brings a batch ``[N, C, *shape]`` to one level, where a louder sample is still the same; None = levels count.
    """

    axes: tuple[int, ...] | None = None
    shift: float = 1 / 8
    levelled: Callable[[F32], F32] | None = None


PICTURES = Likeness()


class Codec(Protocol):
    """Between samples and tensors on a grid; fitted on a data set and saved with the run as plain JSON.

    Optional: ``on_grid(x, drawn, clip)`` runs drawn transforms on a batch of tensors, where the grid is no picture (without it,
    `run_torch` does), and ``mix_on_grid(op, params, parts, clip)`` what mixes them (without it, MixUp alone happens there); ``likeness`` says which movements leave a sample the same, where they are not a picture's (without it,
    `PICTURES`); ``render(x)`` decodes what a network has made, where that is done otherwise than with samples' own tensors (`rendered`);
    ``sketch(x)`` gives a modality's ``sheet`` something to show of a tensor, where decoding takes long; ``mel``, ``column_s``,
    ``pair(sound)`` and ``spoken(speak)`` let a vocoder make what `decode` gives, where the grid is a mel spectrogram.
    """

    @property
    def grid(self) -> Grid: ...

    def encode(self, sample: Sample) -> F32:
        """``[C, *shape]`` float32 in [-1, 1]."""
        ...

    def decode(self, x: F32) -> Any:
        """The inverse, as far as there is one: what ``Sample.data`` holds. ``x`` is clipped to [-1, 1]."""
        ...

    def to_dict(self) -> dict[str, Any]: ...


def likeness(codec: Codec) -> Likeness:
    """What makes two samples on the codec's grid the same."""
    found: Likeness = getattr(codec, "likeness", PICTURES)
    return found


def rendered(codec: Codec, x: F32) -> Any:
    """The sample that a made tensor stands for; ``x`` is clipped to [-1, 1]."""
    return getattr(codec, "render", codec.decode)(x)


class Sink(Protocol):
    """Writes samples into a data set on disk."""

    def write(self, sample: Sample, *, part: str | None = None) -> Path:
        """Write one sample under a temporary name, rename it, and return its path relative to the sink's root."""
        ...

    def copy(self, ref: Ref) -> Path:
        """Copy a real sample unchanged, byte for byte where it is a file of its own."""
        ...

    def close(self) -> None:
        """Write what is known only at the end, such as the metadata."""
        ...


@runtime_checkable
class FileSink(Sink, Protocol):
    """A sink of one file a sample, and further ones beside it, which worker processes can write: ``save`` and ``note`` are the halves of
    ``write``."""

    def save(self, sample: Sample, *, part: str | None = None) -> dict[str, str]:
        """Write the files of one sample; returns their places, its own first, and the SHA-256 of each."""
        ...

    def note(
        self,
        place: Path,
        *,
        label: str | None,
        origin: Origin,
        part: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep what the metadata tells of a file that is written."""
        ...

    def beside(self, ref: Ref) -> Iterator[tuple[Path, Path]]:
        """Each file beside a real sample, and the place that `copy` gives it."""
        ...


@runtime_checkable
class Modality(Protocol):
    """Everything that depends on the kind of data. Structural: no base class to inherit from.

    Optional members, looked up with ``getattr``: ``suffixes``, the endings of its files, by which a folder is recognised;
    ``kind``, which vocabulary of ``plan.VOCABULARIES`` its ops' names are from (pictures', if it does not say);
    ``presets``, its own recipes by name; ``sizes``, the columns that tell how large samples are; ``lasting``, the columns of a
    data set's metadata that stay true of a sample's variants; ``networks(size, grid, num_classes)`` replaces the generic nets;
    ``transform(plan, sample, load)`` runs a plan on a sample as it is, its targets too (without it, transforms run on the grid);
    ``load(id)`` gives it the samples that a mixing op mixes in;
    ``span(dataset)`` is what such plans take for black and white, where that is not all that a file can hold;
    ``sheet(rows, titles)`` draws samples in a grid of pictures and returns ``(bytes, suffix)``;
    ``previews(line, width=)`` is ``preview`` of samples side by side, to one scale;
    ``marked(sample, side)`` is the sample with its targets drawn onto it, for such a sheet, where they can be;
    ``seen(sample)`` is what ``advised(seen)`` needs of each sample to give advice on the data set, in words, to `inspect`;
    ``film(frames)`` joins samples into a moving picture, likewise;
    ``judge(grid)`` gives a feature extractor with weights from elsewhere (``name``, ``sha256``, and a call from
    ``[N, C, *shape]`` to ``[N, D]``) through which metrics are measured too, or `None` if it cannot see such a grid.
    Nothing is trained on it.
    """

    @property
    def name(self) -> str: ...

    @property
    def ops(self) -> tuple[str, ...]:
        """Names of the transforms that this modality takes."""
        ...

    def scan(self, root: Path, *, strict: bool = False) -> Scan: ...

    def load(self, ref: Ref) -> Sample: ...

    def sink(self, out: Path, *, layout: str) -> Sink: ...

    def fit(self, dataset: Dataset, *, size: int | None = None) -> Codec: ...

    def codec(self, state: Mapping[str, Any]) -> Codec:
        """The codec that ``to_dict`` wrote down."""
        ...

    def features(self, batch: F32) -> F32:
        """``[N, D]`` plain features of ``[N, C, *shape]`` for searching copies and fitting the calibration."""
        ...

    def preview(self, sample: Sample, *, width: int = 96) -> str:
        """One self-contained piece of HTML that shows the sample (an ``<img>`` with a data URI, say)."""
        ...


class Dataset:
    """A lazy, ordered collection of samples of one modality.

    Indexing loads: ``data[3]`` is a `Sample`. A file that cannot be read raises `BadSample`; `usable` returns the
    data set without such files and counts them in `skipped`.
    """

    def __init__(
        self,
        modality: Modality,
        root: Path,
        refs: Sequence[Ref],
        *,
        layout: str = "flat",
        notes: Sequence[str] = (),
        skipped: Sequence[Skipped] = (),
        classes: Sequence[str] | None = None,
    ) -> None:
        self.modality, self.root, self.refs, self.layout = modality, root, tuple(refs), layout
        self.notes, self.skipped = tuple(notes), tuple(skipped)
        found = sorted({r.label for r in self.refs if r.label is not None})
        self.classes: tuple[str, ...] = tuple(classes) if classes is not None else tuple(found)

    def __len__(self) -> int:
        return len(self.refs)

    def __getitem__(self, index: int) -> Sample:
        return self.modality.load(self.refs[index])

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"Dataset({self.root.name}: {len(self)} {self.modality.name} samples, {len(self.classes)} classes)"

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(r.id for r in self.refs)

    @property
    def labels(self) -> I64:
        """``[N]`` class indices into `classes`; -1 where there is no label."""
        index = {c: i for i, c in enumerate(self.classes)}
        return np.array([-1 if r.label is None else index.get(r.label, -1) for r in self.refs], dtype=np.int64)

    @property
    def counts(self) -> dict[str, int]:
        """Samples a class, in class order."""
        tally = Counter(r.label for r in self.refs)
        return {c: tally.get(c, 0) for c in self.classes}

    @property
    def table(self) -> pd.DataFrame:
        """One row a sample: id, label, part, and what the scan knew of it (size, channels, bytes ...)."""
        import pandas as pd

        return pd.DataFrame([{"id": r.id, "label": r.label, "part": r.part, **r.meta} for r in self.refs])

    @property
    def fingerprint(self) -> str:
        """SHA-256 over ids, labels, parts and the bytes of every file: equal means the same data."""
        digest = sha256()
        sums: dict[Path, bytes] = {}
        for ref in self.refs:
            for path in (ref.path, *ref.beside):
                if path not in sums:
                    sums[path] = sha256(path.read_bytes()).digest() if path.is_file() else b""
            digest.update(repr((ref.id, ref.label, ref.part, ref.row)).encode())
            digest.update(b"".join(sums[path] for path in (ref.path, *ref.beside)))
        return digest.hexdigest()

    def subset(self, indices: Sequence[int] | I64) -> Dataset:
        """The samples at these positions, in this order; the classes stay the same."""
        return self.with_refs([self.refs[int(i)] for i in indices])

    def part(self, name: Part | None) -> Dataset:
        """The samples that the data set itself puts into this part (``None``: those that it leaves open)."""
        return self.with_refs([r for r in self.refs if r.part == name])

    def with_refs(self, refs: Sequence[Ref]) -> Dataset:
        return Dataset(
            self.modality,
            self.root,
            refs,
            layout=self.layout,
            notes=self.notes,
            skipped=self.skipped,
            classes=self.classes,
        )

    def relabelled(self, labels: Sequence[str | None]) -> Dataset:
        """The same samples with other labels, one for each."""
        if len(labels) != len(self.refs):
            raise UserError(f"{len(labels)} labels for {len(self.refs)} samples", mend="give one label a sample")
        return self.with_refs([replace(r, label=label) for r, label in zip(self.refs, labels, strict=True)])

    def encode(self, codec: Codec) -> F32:
        """All samples on the grid: ``[N, C, *shape]`` float32 in [-1, 1]."""
        out = np.empty((len(self), *codec.grid.size), dtype=np.float32)
        for i in range(len(self)):
            out[i] = codec.encode(self[i])
        return out

    def usable(self, *, strict: bool = False) -> Dataset:
        """Without the samples that cannot be read, each named in `skipped`; with ``strict`` the first one raises."""
        good: list[Ref] = []
        bad: list[Skipped] = []
        for ref in self.refs:
            try:
                self.modality.load(ref)
            except BadSample as error:
                if strict:
                    raise
                bad.append(Skipped(ref.id, error.problem, error.mend))
            else:
                good.append(ref)
        out = self.with_refs(good)
        out.skipped = (*self.skipped, *bad)
        return out
