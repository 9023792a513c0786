"""A sheet of small pictures, line by line, each line under its title."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from augmint.data.images import U8

PAPER = (244, 244, 241)
_GAP = 4


def sheet(rows: Sequence[Sequence[U8]], titles: Sequence[str]) -> U8:
    """RGB pictures ``[H, W, 3]`` side by side, a line a row; '' for no title."""
    lines = [
        line
        for row, title in zip(rows, titles, strict=True)
        for line in (_title(title), _line(row))
        if line is not None
    ]
    width = max(x.shape[1] for x in lines)
    wide = [cv2.copyMakeBorder(x, 0, 0, 0, width - x.shape[1], cv2.BORDER_CONSTANT, value=PAPER) for x in lines]
    return np.concatenate(wide)


def _title(text: str) -> U8 | None:
    if not text:
        return None
    out = np.full((24, 10 + 8 * len(text), 3), PAPER, dtype=np.uint8)
    cv2.putText(out, text, (_GAP, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (70, 75, 80), 1, cv2.LINE_AA)
    return out


def _line(row: Sequence[U8]) -> U8 | None:
    if not row:
        return None
    height = max(x.shape[0] for x in row)
    out = np.full((height + _GAP, sum(x.shape[1] + _GAP for x in row) + _GAP, 3), PAPER, dtype=np.uint8)
    left = _GAP
    for x in row:
        out[: x.shape[0], left : left + x.shape[1]] = x
        left += x.shape[1] + _GAP
    return out
