"""The demo's data: scikit-learn's handwritten digits, written out as an ordinary data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from augmint.core import rng
from augmint.core.types import Modality, Sample

NUM_TEST = 897
NUM_POOL = 800
DEMO_DRAW = 4
"""The draw that the demo shows. What comes out on others, worse ones too, is in benchmarks/results/boost_digits.md."""


def write_digits(
    root: Path, modality: Modality, *, per_class: int | Sequence[int], with_pool: bool, draw: int = 0
) -> tuple[Path, Path | None]:
    """``root/data/{train,test}/<digit>/*.png`` and, if wanted, ``root/pool/*.png``; 8 x 8 pixels, 0 to 255.

    Source: E. Alpaydin and C. Kaynak 1998, "Optical recognition of handwritten digits", UCI; the copy that ships with scikit-learn.

    Args:
        per_class: labelled training images of each class; ten numbers where they differ. A class that has fewer outside the test part
            gives all of them.
        draw: another number chooses other images.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    order = rng.permutation(rng.key("demo", draw), len(pixels))
    test, rest = order[:NUM_TEST], order[NUM_TEST:]
    counts = [per_class] * 10 if isinstance(per_class, int) else per_class
    labelled = np.concatenate([rest[digits.target[rest] == c][:n] for c, n in enumerate(counts)])
    data, pool = root / "data", root / "pool"
    sink = modality.sink(data, layout="class-folders")
    for part, chosen in (("train", labelled), ("test", test)):
        for i in chosen.tolist():
            label = str(digits.target[i])
            sink.write(Sample(f"{part}/{label}/{i:04d}.png", pixels[i], label))
    sink.close()
    if not with_pool:
        return data, None
    unlabelled = rest[~np.isin(rest, labelled)][:NUM_POOL]
    sink = modality.sink(pool, layout="flat")
    for i in np.sort(unlabelled).tolist():
        sink.write(Sample(f"{i:04d}.png", pixels[i]))
    sink.close()
    return data, pool
