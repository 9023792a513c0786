"""Plans that mix pictures, with OpenCV: `run_cv` between the mixing steps, and what each of these makes of several pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from augmint.core import rng
from augmint.core.errors import UserError
from augmint.core.types import F32
from augmint.transforms import fuse, run_cv
from augmint.transforms.mix import MIXES, Labels, box_ends, shares
from augmint.transforms.op import Bool, Params
from augmint.transforms.plan import Partner, Plan, Step
from augmint.transforms.sampling import Pixels
from augmint.transforms.targets import Targets, hidden, joined, touched


@dataclass(frozen=True)
class Scene:
    """A picture and what is known of it. ``labels``: the share of each class, 1 in all; empty where it has no label."""

    picture: Pixels
    targets: Targets = field(default_factory=Targets)
    labels: Labels = field(default_factory=dict)


Load = Callable[[str], Scene]


def apply(plan: Plan, scene: Scene, load: Load, *, min_visibility: float = 0.1) -> Scene:
    """What the plan makes of a scene.

    Args:
        load: the scene of a partner by its id, with as many channels as ``scene`` and the same type.
        min_visibility: as in `run_cv.apply_with`; also where a mixing op hides a part of a box.

    Raises:
        UserError: if a picture or a target is not of its kind, or a partner's picture or masks are of another kind.
    """
    run_cv.check_picture(scene.picture)
    return _Mixer(plan, load, min_visibility).run(plan.steps, scene)


@dataclass(frozen=True)
class _Mixer:
    """What stays the same while one plan is run."""

    plan: Plan
    load: Load
    min_visibility: float

    def run(self, steps: tuple[Step, ...], scene: Scene) -> Scene:
        waiting: list[Step] = []
        for step in steps:
            if step.op in MIXES:
                scene, waiting = _RUN[step.op](self, step, tuple(waiting), scene), []
            else:
                waiting.append(step)
        return self._alone(tuple(waiting), scene)

    def _alone(self, steps: tuple[Step, ...], scene: Scene) -> Scene:
        plan = replace(self.plan, steps=steps)
        picture, targets = run_cv.apply_with(plan, scene.picture, scene.targets, min_visibility=self.min_visibility)
        return replace(scene, picture=picture, targets=targets)

    def _loaded(self, partner: Partner) -> Scene:
        scene = self.load(str(partner.id))
        run_cv.check_picture(scene.picture)
        return scene

    def _partner(self, step: Step, number: int, like: Pixels, *fit: Step) -> Scene:
        """A partner after its steps and those that fit it in."""
        partner = step.partners[number]
        scene = self._loaded(partner)
        if scene.picture.dtype != like.dtype or scene.picture.shape[2:] != like.shape[2:]:
            raise UserError(
                f"{step.op} of pictures with {like.shape[2]} and {scene.picture.shape[2]} channels of {like.dtype} and "
                f"{scene.picture.dtype}",
                where=partner.id,
                mend="make them alike first",
            )
        return self.run((*partner.steps, *fit), scene)

    def mix_up(self, step: Step, before: tuple[Step, ...], scene: Scene) -> Scene:
        own = self._alone(before, scene)
        other = self._partner(step, 0, own.picture, _stretch(own.picture))
        lam = step.params["lam"]
        # Objects that show through less than one that is hidden would are not there for anybody.
        targets = other.targets if 1 - lam >= self.min_visibility else Targets()
        if own.targets.instances is not None and targets.instances is not None:  # this picture's are in front
            targets = replace(targets, instances=np.where(own.targets.instances > 0, 0, targets.instances))
        picture = _blend([own.picture, other.picture], [lam, 1 - lam])
        return Scene(picture, joined(own.targets, targets), shares([(own.labels, lam), (other.labels, 1 - lam)]))

    def cut_mix(self, step: Step, before: tuple[Step, ...], scene: Scene) -> Scene:
        own = self._alone(before, scene)
        other = self._partner(step, 0, own.picture, _stretch(own.picture))
        height, width = own.picture.shape[:2]
        where = np.zeros((height, width), np.bool_)
        where[_side(step, "y", height), _side(step, "x", width)] = True
        share = float(where.mean())
        return self._over(step, own, other, where, shares([(own.labels, 1 - share), (other.labels, share)]))

    def copy_paste(self, step: Step, before: tuple[Step, ...], scene: Scene) -> Scene:
        own = self._alone(before, scene)
        height, width = own.picture.shape[:2]
        size = {"height_px": float(height), "width_px": float(width)}
        other = self._partner(step, 0, own.picture, Step("LetterBox", "fit", size))
        found = _objects(other.targets, (height, width))
        if not found:
            return own
        order = np.argsort(rng.bits(np.uint64(step.params["key"]), np.arange(len(found))))
        chosen = np.sort(order[: max(1, round(step.params["share_frac"] * len(found)))])
        where = np.any([found[i] for i in chosen], axis=0)
        had = own.targets.instances is not None or other.targets.instances is not None
        if len(other.targets.boxes):
            targets = other.targets.taken(chosen, np.arange(len(other.targets.keypoints)))
            outlines = np.zeros((height, width), np.int32)
            for number, i in enumerate(chosen, 1):
                outlines[found[i]] = number
            other = replace(other, targets=replace(targets, instances=outlines))
        out = self._over(step, own, other, where, own.labels)
        return out if had else replace(out, targets=replace(out.targets, instances=None))

    def mosaic(self, step: Step, before: tuple[Step, ...], scene: Scene) -> Scene:
        height, width = _size_after(before, scene.picture)
        middle = [int(np.rint(step.params[f"{axis}_frac"] * side)) for axis, side in (("y", height), ("x", width))]
        spans = [((0, m), (m, side)) for m, side in zip(middle, (height, width), strict=True)]
        corners = [(rows, columns) for rows in spans[0] for columns in spans[1]]
        corners.sort(key=lambda c: -(c[0][1] - c[0][0]) * (c[1][1] - c[1][0]))  # the largest is this picture's
        picture = np.zeros((height, width, *scene.picture.shape[2:]), scene.picture.dtype)
        parts, targets = [], None
        for number, ((top, bottom), (left, right)) in enumerate(corners):
            size = (bottom - top, right - left)
            if 0 in size:
                continue
            one = self._cover(step, before, scene, number, size)
            picture[top:bottom, left:right] = one.picture
            parts.append((one, size[0] * size[1] / (height * width)))
            placed = one.targets.placed(top, left, (height, width))
            targets = placed if targets is None else _added(step, targets, placed)
        return Scene(picture, targets or Targets(), shares([(one.labels, share) for one, share in parts]))

    def _cover(self, step: Step, before: tuple[Step, ...], scene: Scene, number: int, size: tuple[int, int]) -> Scene:
        """Picture ``number`` of a mosaic, this one being the first, scaled to cover ``size``."""
        if number == 0:
            return self._alone((*before, _cover(_size_after(before, scene.picture), size)), scene)
        partner = step.partners[number - 1]
        after = _size_after(partner.steps, self._loaded(partner).picture)
        return self._partner(step, number - 1, scene.picture, _cover(after, size))

    def aug_mix(self, step: Step, before: tuple[Step, ...], scene: Scene) -> Scene:
        own = self._alone(before, scene)
        weights = [step.params[f"weight_{i + 1}"] for i in range(len(step.partners))]
        chains = [self._alone(p.steps, Scene(own.picture)).picture for p in step.partners]
        return replace(own, picture=_blend([own.picture, *chains], [1 - sum(weights), *weights]))

    def _over(self, step: Step, own: Scene, other: Scene, where: Bool, labels: Labels) -> Scene:
        """``own`` with ``other`` in front of it, where that is said."""
        picture = np.where(where[..., None], other.picture, own.picture)
        below, above = (
            hidden(t, w, min_visibility=self.min_visibility) for t, w in ((own.targets, where), (other.targets, ~where))
        )
        masks = tuple(
            np.where(where if a.ndim == 2 else where[..., None], b, a).astype(a.dtype)
            for a, b in _mask_pairs(step, own.targets, other.targets)
        )
        return Scene(picture, replace(joined(below, above), masks=masks), labels)


_RUN = {
    "MixUp": _Mixer.mix_up,
    "CutMix": _Mixer.cut_mix,
    "Mosaic": _Mixer.mosaic,
    "CopyPaste": _Mixer.copy_paste,
    "AugMix": _Mixer.aug_mix,
}


def _stretch(like: Pixels) -> Step:
    """To the size of another picture."""
    return Step("Resize", "fit", {"height_px": float(like.shape[0]), "width_px": float(like.shape[1])})


def _cover(size: tuple[int, int], corner: tuple[int, int]) -> Step:
    """Scaled to cover a corner, aspect kept, the middle of it."""
    factor = max(c / s for c, s in zip(corner, size, strict=True))
    keep_y, keep_x = (c / (factor * s) for c, s in zip(corner, size, strict=True))
    place = {"x_frac": 0.5, "y_frac": 0.5, "keep_x_frac": keep_x, "keep_y_frac": keep_y}
    return Step("RandomResizedCrop", "fit", {"height_px": float(corner[0]), "width_px": float(corner[1]), **place})


def _size_after(steps: tuple[Step, ...], picture: Pixels) -> tuple[int, int]:
    """Height and width after these steps; mixing ones keep them."""
    height, width, channels = picture.shape
    alone = Plan(tuple(s for s in steps if s.op not in MIXES))
    return fuse.compile(alone, (height, width, channels)).out_size


def _side(step: Step, axis: str, length: int) -> slice:
    low, high = box_ends(cast(Params, step.params), axis, length)
    return slice(int(low), int(high))


def _blend(pictures: list[Pixels], weights: list[float]) -> Pixels:
    """The weighted mean, of premultiplied colour where there is alpha, in the type of the first."""
    kind = pictures[0].dtype
    top = np.float32(np.iinfo(kind).max)
    total: F32 = np.zeros(pictures[0].shape, np.float32)
    for picture, weight in zip(pictures, weights, strict=True):
        x = picture.astype(np.float32)
        if x.shape[2] == 4:
            x[..., :3] *= x[..., 3:] / top
        total += np.float32(weight) * x
    if total.shape[2] == 4:
        total[..., :3] *= top / np.maximum(total[..., 3:], 1)
    return np.clip(np.rint(total), 0, top).astype(kind)


def _objects(targets: Targets, size: tuple[int, int]) -> list[Bool]:
    """Where each object is: see `CopyPaste`; one for each box, where there are boxes."""
    solid = [m != 0 if m.ndim == 2 else (m != 0).any(-1) for m in targets.masks[:1]]
    if len(targets.boxes):
        return [_outlined(targets, i, solid, size) for i in range(len(targets.boxes))]
    if solid and targets.masks[0].ndim == 2:
        return [targets.masks[0] == value for value in np.unique(targets.masks[0]) if value != 0]
    return [s for s in solid if s.any()]


def _outlined(targets: Targets, number: int, solid: list[Bool], size: tuple[int, int]) -> Bool:
    if targets.instances is not None and (targets.instances == number + 1).any():
        return np.asarray(targets.instances == number + 1)
    left, top, right, bottom = touched(targets.boxes[number], size)
    inside = np.zeros(size, np.bool_)
    inside[top:bottom, left:right] = solid[0][top:bottom, left:right] if solid else True
    return inside


def _mask_pairs(step: Step, own: Targets, other: Targets) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """The masks of both, one for one; zeros for those of a picture that has none."""
    a, b = own.masks, other.masks
    if a and b and [m.shape for m in a] != [m.shape for m in b]:
        raise UserError(
            f"{step.op} of pictures with {len(a)} and {len(b)} masks", mend="give all pictures the same masks"
        )
    a, b = a or tuple(np.zeros_like(m) for m in b), b or tuple(np.zeros_like(m) for m in a)
    return list(zip(a, b, strict=True))


def _added(step: Step, first: Targets, second: Targets) -> Targets:
    """Targets that lie in different places of one picture."""
    masks = tuple(np.where(b != 0, b, a).astype(a.dtype) for a, b in _mask_pairs(step, first, second))
    return replace(joined(first, second), masks=masks)
