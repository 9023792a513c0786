"""What belongs to a picture and moves with it: masks, boxes, keypoints and their labels.

Coordinates are continuous pixels, x to the right and y downwards. **Boxes** count from the picture's outer edge, so pixel j
covers j to j + 1 and a whole picture is (0, 0, W, H); **keypoints** count from the middle of the first pixel, so a keypoint at
(3, 2) is the middle of pixel row 2, column 3.

Rules: a box becomes the smallest upright box around what is left of it inside the picture. It is dropped where less than
``min_visibility`` of its area is left, or less than a pixel in width or height. A keypoint is dropped outside the picture.
Labels go with their box or keypoint; in a picture that is mirrored, those of keypoints swap as ``mirror`` says. What the border mirrors is in the masks, as it is in the picture, but gets no box and is no
part of ``instances``. Where a mixing op hides a part of a picture, the same share decides whether a box stays, and it shrinks to what
can be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from augmint.core.errors import UserError, did_you_mean
from augmint.core.rng import F64
from augmint.core.types import I64
from augmint.transforms.fuse import Move, Program, Size, Warp
from augmint.transforms.geometry import affine
from augmint.transforms.op import Bool

BoxFormat = Literal["pascal_voc", "coco", "yolo"]
_PER_EDGE = 24  # points along each edge of a box: fields bend it
_OVER = 1e-2  # pixels that a box may hang over the edge by rounding


@dataclass(frozen=True)
class Targets:
    """
    Args:
        masks: each ``[H, W]`` or ``[H, W, C]`` of any whole-number type, bool or float.
        boxes: ``[N, 4]``: left, top, right, bottom.
        keypoints: ``[K, 2]``: x, y.
        box_labels, keypoint_labels: anything, one each, or none at all.
        instances: ``[H, W]`` of whole numbers: k + 1 where the object in box k is seen, else 0.
        mirror: what the label of a keypoint becomes in a mirrored picture, where a left eye is a right one; see `swapping`.
    """

    masks: tuple[NDArray[Any], ...] = ()
    boxes: F64 = field(default_factory=lambda: np.zeros((0, 4)))
    keypoints: F64 = field(default_factory=lambda: np.zeros((0, 2)))
    box_labels: tuple[Any, ...] = ()
    keypoint_labels: tuple[Any, ...] = ()
    instances: NDArray[Any] | None = None
    mirror: Callable[[Any], Any] | None = None

    def checked(self, size: Size) -> Targets:
        """The same with arrays of numbers, boxes cut to the picture.

        Raises:
            UserError: for a mask of another size, a box or keypoint that is no number, a box inside out, or too few labels.
        """
        for mask in self._maps:
            if mask.shape[:2] != size or mask.ndim > 3:
                raise UserError(
                    f"a mask of shape {list(mask.shape)} for a picture of {list(size)}", mend="make them alike"
                )
        boxes = _numbers(self.boxes, 4, "boxes", "left, top, right, bottom")
        points = _numbers(self.keypoints, 2, "keypoints", "x, y")
        inside_out = np.flatnonzero((boxes[:, :2] > boxes[:, 2:]).any(1))
        if inside_out.size:
            raise UserError(
                f"box {inside_out[0]} is {boxes[inside_out[0]].tolist()}, which ends before it begins",
                mend="give left, top, right, bottom; `from_format` reads COCO and YOLO boxes",
            )
        for name, things in (("box", boxes), ("keypoint", points)):
            labels = getattr(self, f"{name}_labels")
            if labels and len(labels) != len(things):
                raise UserError(f"{len(labels)} labels for {len(things)} {name}s", mend="give one each, or none")
        if self.instances is not None:
            _check_instances(self.instances, len(boxes))
        return replace(self, boxes=np.clip(boxes, 0, [size[1], size[0]] * 2), keypoints=points)

    def placed(self, top: int, left: int, size: Size) -> Targets:
        """The same in a larger picture, whose masks are 0 elsewhere."""

        def wider(mask: NDArray[Any]) -> NDArray[Any]:
            out = np.zeros((*size, *mask.shape[2:]), mask.dtype)
            out[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
            return out

        return replace(
            self,
            masks=tuple(wider(m) for m in self.masks),
            boxes=self.boxes + [left, top] * 2,
            keypoints=self.keypoints + np.array([left, top]),
            instances=None if self.instances is None else wider(self.instances),
        )

    @property
    def is_there(self) -> bool:
        """Whether there is any target."""
        return bool(self._maps) or len(self.boxes) + len(self.keypoints) > 0

    @property
    def _maps(self) -> tuple[NDArray[Any], ...]:
        return self.masks if self.instances is None else (*self.masks, self.instances)

    def taken(self, boxes: I64, keypoints: I64) -> Targets:
        """Only the boxes and keypoints of these numbers, in this order."""
        instances = self.instances
        if instances is not None:
            number = np.zeros(len(self.boxes) + 1, instances.dtype)
            number[boxes + 1] = np.arange(1, len(boxes) + 1)
            instances = number[instances]
        return replace(
            self,
            boxes=self.boxes[boxes],
            keypoints=self.keypoints[keypoints],
            box_labels=_taken(self.box_labels, boxes),
            keypoint_labels=_taken(self.keypoint_labels, keypoints),
            instances=instances,
        )


def swapping(pairs: Sequence[tuple[Any, Any]]) -> Callable[[Any], Any]:
    """A `Targets.mirror` that swaps the labels of each pair, such as ``("left eye", "right eye")``, and keeps the others."""
    both = {a: b for one, other in pairs for a, b in ((one, other), (other, one))}
    return partial(_swapped, both)


def _swapped(both: dict[Any, Any], label: Any) -> Any:
    return both.get(label, label)


def _check_instances(found: NDArray[Any], count: int) -> None:
    if found.ndim != 2 or found.dtype.kind not in "iu" or (found.size and not 0 <= found.min() <= found.max() <= count):
        raise UserError(
            f"instances of shape {list(found.shape)} and type {found.dtype} for {count} boxes",
            mend="give [H, W] of whole numbers: k + 1 where the object in box k is seen, else 0",
        )


def from_format(boxes: ArrayLike, form: BoxFormat, size: Size) -> F64:
    """``[N, 4]`` left, top, right, bottom in pixels.

    Args:
        form: ``pascal_voc`` (that itself), ``coco`` (left, top, width, height in pixels) or ``yolo`` (middle, width and height
            as fractions of the picture's sides).
        size: height and width of the picture.
    """
    found = _numbers(boxes, 4, "boxes", "four")
    match _known(form):
        case "coco":
            return np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], 1)
        case "yolo":
            found = found * ([size[1], size[0]] * 2)
            return np.concatenate([found[:, :2] - found[:, 2:] / 2, found[:, :2] + found[:, 2:] / 2], 1)
        case _:
            return found


def to_format(boxes: F64, form: BoxFormat, size: Size) -> F64:
    """The inverse of `from_format`."""
    sides = boxes[:, 2:] - boxes[:, :2]
    match _known(form):
        case "coco":
            return np.concatenate([boxes[:, :2], sides], 1)
        case "yolo":
            middle = (boxes[:, :2] + boxes[:, 2:]) / 2
            found: F64 = np.concatenate([middle, sides], 1) / ([size[1], size[0]] * 2)
            return found
        case _:
            return boxes


def carry(program: Program, targets: Targets, *, min_visibility: float = 0.1) -> Targets:
    """Boxes and keypoints after the program, with their labels; masks are left as they are (`run_cv` moves them)."""
    outlines = [_outline(box) for box in targets.boxes]
    areas = np.array([_area(o) for o in outlines])
    left = np.where(areas > 0, 1.0, 0.0)
    points, kept = _seen(targets.keypoints + 0.5, np.arange(len(targets.keypoints)), program.size[:2])
    is_mirrored = False
    for stage in program.stages:
        if not isinstance(stage, Move | Warp):
            continue
        is_mirrored ^= _mirrors(stage)
        out_size = stage.out_size
        for i, outline in enumerate(outlines):
            whole = _moved(stage, outline)
            outlines[i] = _cut(whole, out_size)
            left[i] *= _area(outlines[i]) / max(_area(whole), 1e-12)
        points, kept = _seen(_moved(stage, points), kept, out_size)
    boxes = np.array([[*o.min(0), *o.max(0)] if len(o) else [0.0] * 4 for o in outlines]).reshape(-1, 4)
    alive = np.flatnonzero((left >= min_visibility) & (left > 0) & ((boxes[:, 2:] - boxes[:, :2]) >= 1 - _OVER).all(1))
    everything = np.zeros((len(targets.keypoints), 2))
    everything[kept] = points - 0.5
    if is_mirrored and targets.mirror is not None:
        targets = replace(targets, keypoint_labels=tuple(targets.mirror(label) for label in targets.keypoint_labels))
    return replace(targets, boxes=boxes, keypoints=everything).taken(alive, kept)


def _seen(points: F64, numbers: I64, size: Size) -> tuple[F64, I64]:
    """The points that lie in the picture, counted from its outer edge, with their numbers."""
    seen = ((points >= 0) & (points < size[::-1])).all(1)
    return points[seen], numbers[seen]


def hidden(targets: Targets, where: Bool, *, min_visibility: float = 0.1) -> Targets:
    """What is left of boxes and keypoints where others hide a part of the picture: ``where`` ``[H, W]``. Masks stay."""
    height, width = where.shape
    boxes, left = targets.boxes.copy(), np.ones(len(targets.boxes))
    for i, box in enumerate(targets.boxes):
        x0, y0, x1, y1 = touched(box, (height, width))
        whole = np.ones((y1 - y0, x1 - x0), np.bool_)
        if targets.instances is not None and (targets.instances == i + 1).any():
            whole = targets.instances[y0:y1, x0:x1] == i + 1
        seen = whole & ~where[y0:y1, x0:x1]
        if seen.sum() == whole.sum():
            continue
        left[i] = seen.sum() / whole.sum()
        boxes[i] = _around(seen, x0, y0, box)
    at = np.clip(np.rint(targets.keypoints).astype(int), 0, [width - 1, height - 1])
    alive = np.flatnonzero((left >= min_visibility) & (left > 0))
    out = replace(targets, boxes=boxes).taken(alive, np.flatnonzero(~where[at[:, 1], at[:, 0]]))
    return out if out.instances is None else replace(out, instances=np.where(where, 0, out.instances))


def tightened(targets: Targets) -> Targets:
    """Boxes no wider than what is seen of their objects, where ``instances`` shows it: a turned box is wider than what was in it."""
    if targets.instances is None:
        return targets
    boxes = targets.boxes.copy()
    for i, box in enumerate(boxes):
        x0, y0, x1, y1 = touched(box, targets.instances.shape)
        boxes[i] = _around(targets.instances[y0:y1, x0:x1] == i + 1, x0, y0, box)
    return replace(targets, boxes=boxes)


def _around(seen: Bool, left: int, top: int, box: F64) -> F64:
    """The part of a box that holds what is seen, in a window that begins at ``left`` and ``top``; the whole if that is nothing."""
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if not len(rows):
        return box
    low, high = [left + columns[0], top + rows[0]], [left + columns[-1] + 1, top + rows[-1] + 1]
    return np.concatenate([np.maximum(box[:2], low), np.minimum(box[2:], high)])


def touched(box: F64, size: Size) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the pixels that a box touches."""
    low, high = np.floor(box[:2] + _OVER).astype(int), np.ceil(box[2:] - _OVER).astype(int)
    low = np.clip(low, 0, [size[1] - 1, size[0] - 1])
    high = np.clip(np.maximum(high, low + 1), 1, size[::-1])
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def joined(below: Targets, above: Targets) -> Targets:
    """The boxes, keypoints and instances of both, those of ``below`` first; the masks of ``below``."""
    instances = below.instances
    if above.instances is not None:
        under = np.zeros_like(above.instances) if instances is None else instances
        over = above.instances.astype(np.int32)
        instances = np.where(over > 0, over + len(below.boxes), under).astype(np.int32)
    return Targets(
        below.masks,
        np.concatenate([below.boxes, above.boxes]),
        np.concatenate([below.keypoints, above.keypoints]),
        _both(below.box_labels, len(below.boxes), above.box_labels, len(above.boxes)),
        _both(below.keypoint_labels, len(below.keypoints), above.keypoint_labels, len(above.keypoints)),
        instances,
        below.mirror or above.mirror,
    )


def _both(a: tuple[Any, ...], num_a: int, b: tuple[Any, ...], num_b: int) -> tuple[Any, ...]:
    """The labels of both; ``None`` for those that have none, where the others have some."""
    if not a and not b:
        return ()
    return (*(a or (None,) * num_a), *(b or (None,) * num_b))


def _taken(labels: Sequence[Any], index: I64) -> tuple[Any, ...]:
    return tuple(labels[i] for i in index) if labels else ()


def _known(form: str) -> str:
    known = get_args(BoxFormat)
    if form not in known:
        raise UserError(f"unknown box format '{form}'{did_you_mean(form, known)}", mend="use " + ", ".join(known))
    return form


def _numbers(values: ArrayLike, width: int, name: str, what: str) -> F64:
    try:
        found = np.asarray(values, dtype=np.float64).reshape(-1, width)
    except (TypeError, ValueError):
        found = np.full((1, width), np.nan)
    if not np.isfinite(found).all():
        raise UserError(f"{name} that are not rows of {width} finite numbers", mend=f"give {what} for each")
    return found


def _outline(box: F64) -> F64:
    t = np.arange(_PER_EDGE)[:, None] / _PER_EDGE
    corners = box[[[0, 1], [2, 1], [2, 3], [0, 3]]]
    return np.concatenate([a + t * (b - a) for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)])


def _area(polygon: F64) -> float:
    """Shoelace formula."""
    x, y = polygon.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _moved(stage: Move | Warp, points: F64) -> F64:
    """Points ``[K, 2]``, counted from the outer edge, after a stage."""
    height, width = stage.out_size
    if isinstance(stage, Move):
        out = points - [stage.left, stage.top]
        out = out[:, ::-1] if stage.transpose else out
        return np.where([stage.flip_x, stage.flip_y], [width, height] - out, out)
    at = _through(stage.matrix, points - np.array(stage.size[::-1]) / 2)
    for bend in stage.bends:
        at = _through(bend.matrix, bend.field.forward(at))
    out_points: F64 = _through(affine(1.0, 0.0, 0.0, 1.0, width / 2, height / 2), at)
    return out_points


def _mirrors(stage: Move | Warp) -> bool:
    """Whether left and right change places: a matrix does that if its determinant is below 0, a field never."""
    if isinstance(stage, Move):
        return stage.transpose ^ stage.flip_x ^ stage.flip_y
    matrices = (stage.matrix, *(bend.matrix for bend in stage.bends))
    return bool(np.prod([np.linalg.det(m) for m in matrices]) < 0)


def _through(m: F64, points: F64) -> F64:
    out = np.concatenate([points, np.ones((len(points), 1))], 1) @ m.T
    # What lies at the horizon or behind it goes far away, not to the other side.
    result: F64 = out[:, :2] / np.maximum(out[:, 2:], 1e-3)
    return result


def _cut(polygon: F64, size: Size) -> F64:
    """What is left of a polygon inside the picture (Sutherland and Hodgman 1974)."""
    for axis, bound, sign in ((0, 0.0, 1), (0, float(size[1]), -1), (1, 0.0, 1), (1, float(size[0]), -1)):
        if not len(polygon):
            break
        inside = sign * (polygon[:, axis] - bound) >= 0
        after, after_inside = np.roll(polygon, -1, 0), np.roll(inside, -1)
        across = inside != after_inside
        span = np.where(across, after[:, axis] - polygon[:, axis], 1.0)
        meet = polygon + ((bound - polygon[:, axis]) / span)[:, None] * (after - polygon)
        pairs = np.stack([polygon, meet], 1).reshape(-1, 2)
        polygon = pairs[np.stack([inside, across], 1).ravel()]
    return polygon
