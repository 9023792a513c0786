"""Draw the README's picture from a finished demo: ``python docs/first_look.py demo/boosted.run``."""

from __future__ import annotations

import base64
import re
import sys
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np

from augmint.core.run import read_jsonl

mpl.use("Agg")
from matplotlib import pyplot as plt

ROWS = (("real", "real"), ("augmented", "augmented"), ("kept", "synthetic, kept"), ("rejected", "synthetic, rejected"))
NUM = 12


def picture(html: str) -> np.ndarray:
    """The picture inside an ``<img>`` of the gallery."""
    coded = re.search(r"base64,([^\"]+)", html)
    assert coded is not None
    return cv2.imdecode(np.frombuffer(base64.b64decode(coded[1]), np.uint8), cv2.IMREAD_GRAYSCALE)


def main(run: Path) -> None:
    rows = read_jsonl(run / "eval" / "gallery.jsonl")
    figure, axes = plt.subplots(len(ROWS), NUM, figsize=(9, 4.3), dpi=110)
    for (kind, title), line in zip(ROWS, axes, strict=True):
        found = [r for r in rows if r["kind"] == kind]
        shown = [found[int(i * len(found) / NUM)] for i in range(NUM)] if len(found) >= NUM else found
        for axis, row in zip(line, shown, strict=False):
            axis.imshow(picture(row["html"]), cmap="gray", interpolation="nearest")
            told = row["label"] if "score" not in row else f"{row['label']}: {row['score']:.0f}"
            axis.set_xlabel(f"{told}\n{row['reason']}" if row.get("reason") else told, fontsize=7, labelpad=2)
        line[0].set_title(title, fontsize=9, loc="left")
        for axis in line:
            axis.set_xticks([])
            axis.set_yticks([])
    figure.tight_layout(h_pad=0.9, w_pad=0.4)
    figure.savefig(Path(__file__).parent / "img" / "first-look.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
