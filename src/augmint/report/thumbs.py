"""Keeping embedded pictures light: large PNGs become small WebP pictures, which keep transparency."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

_PNG = b"\x89PNG\r\n\x1a\n"
_EMBEDDED = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")
THUMB_BYTES, THUMB_WIDTH = 9_000, 192  # twice the width at which a preview is shown, for fine screens
SNAPSHOT_BYTES, SNAPSHOT_WIDTH = 110_000, 640


def lighter(markup: str, width: int = THUMB_WIDTH) -> str:
    """The same markup with every embedded PNG shrunk that has more than `THUMB_BYTES`, or as many times that as ``width`` has the area."""
    most = round(THUMB_BYTES * (width / THUMB_WIDTH) ** 2)

    def shrink(found: re.Match[str]) -> str:
        return _uri(*_shrunk(base64.b64decode(found[1]), most, width)) or found[0]

    return _EMBEDDED.sub(shrink, markup)


def snapshot(path: Path) -> dict[str, Any] | None:
    """A picture grid such as ``step-000500.png`` as a data URI with its step; ``None`` where the file is no PNG."""
    mime, data = _shrunk(path.read_bytes(), SNAPSHOT_BYTES, SNAPSHOT_WIDTH)
    if not data:
        return None
    digits = path.stem.removeprefix("step-")
    step = f"{int(digits):,}" if digits.isdecimal() else digits
    is_tiny = mime == "image/png" and int.from_bytes(data[16:20], "big") < 300  # the width in a PNG's header
    return {"step": step, "uri": _uri(mime, data), "is_tiny": is_tiny}


def _uri(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}" if data else ""


def _shrunk(data: bytes, most_bytes: int, most_width: int) -> tuple[str, bytes]:
    """A light PNG as it is, a heavy one smaller and as WebP, nothing where it is no PNG: media type and bytes."""
    if not data.startswith(_PNG):
        return "", b""
    if len(data) <= most_bytes:
        return "image/png", data
    import cv2
    import numpy as np

    raw = np.frombuffer(data, np.uint8)
    picture = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED)
    if picture is not None and picture.dtype != np.uint8:
        picture = cv2.imdecode(raw, cv2.IMREAD_COLOR)
    if picture is None:
        return "", b""
    scale = min(1.0, most_width / picture.shape[1])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else picture
    return "image/webp", cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, 82])[1].tobytes()
