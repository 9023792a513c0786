"""Masks, boxes and keypoints against an oracle that knows no algebra: paint them, warp the picture, measure again."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from augmint.core.errors import UserError
from augmint.transforms import run_cv
from augmint.transforms.plan import PICTURE_OPS as OPS
from augmint.transforms.recipe import Recipe
from augmint.transforms.targets import Targets, from_format, swapping, to_format
from test_transforms_run import noise_image, plan, small

GEOMETRY = [n for n, op in OPS.items() if op.family == "geometry"]
H, W = 90, 110
SIZES = {"height_px": 70, "width_px": 80, "side_px": 100}


def geometry_recipe(names, border="zero"):
    ops = [OPS[n](**{k: v for k, v in SIZES.items() if hasattr(OPS[n], k)}) for n in names]
    return Recipe("r", tuple(ops), border)


def measured(painted):
    """Left, top, right, bottom of what is more than half covered, from the outer edge."""
    y, x = np.nonzero(painted > 127)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]) if len(x) else None


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(GEOMETRY), min_size=1, max_size=3),
    st.integers(0, 2**31),
    st.integers(0, W - 20),
    st.integers(0, H - 20),
    st.integers(12, 40),
    st.integers(12, 40),
)
def test_boxes_are_where_a_painted_box_goes(names, seed, left, top, wide, high):
    box = np.array([[left, top, min(W, left + wide), min(H, top + high)]], float)
    picture = np.zeros((H, W, 1), np.uint8)
    picture[int(box[0, 1]) : int(box[0, 3]), int(box[0, 0]) : int(box[0, 2])] = 255
    p = geometry_recipe(names).draw(seed=seed, sample_id="a")
    out, found = run_cv.apply_with(p, picture, Targets(boxes=box, box_labels=("part",)), min_visibility=0.0)
    seen = measured(out[..., 0])
    if seen is None or min(seen[2:] - seen[:2]) < 3:
        return  # a sliver: half covered pixels tell nothing of its edge
    assert found.box_labels == ("part",)
    # Half covered pixels measure the tip of a turned corner too short, touched ones an edge too long: between them it lies.
    y, x = np.nonzero(out[..., 0] > 0)
    touched = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
    between = np.clip(found.boxes[0], np.minimum(seen, touched), np.maximum(seen, touched))
    assert np.abs(found.boxes[0] - between).max() <= 1, names


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(GEOMETRY), min_size=1, max_size=3),
    st.integers(0, 2**31),
    st.integers(5, W - 6),
    st.integers(5, H - 6),
)
def test_keypoints_are_where_a_painted_dot_goes(names, seed, x, y):
    gy, gx = np.mgrid[:H, :W]
    dot = 250 * np.exp(-((gx - x) ** 2 + (gy - y) ** 2) / (2 * 2.0**2))
    p = geometry_recipe(names).draw(seed=seed, sample_id="a")
    out, found = run_cv.apply_with(p, dot[..., None].astype(np.uint8), Targets(keypoints=np.array([[x, y]], float)))
    v = out[..., 0].astype(float)
    if not len(found.keypoints):
        rim = max(v[0].max(), v[-1].max(), v[:, 0].max(), v[:, -1].max())
        assert rim > 100 or v.max() < 130, names  # its middle lies outside
        return
    kx, ky = found.keypoints[0]
    if not (8 < kx < out.shape[1] - 9 and 8 < ky < out.shape[0] - 9):
        return  # the dot is cut
    oy, ox = np.mgrid[: out.shape[0], : out.shape[1]]
    near = v * (np.hypot(ox - kx, oy - ky) < 8)
    assert np.hypot((near * ox).sum() / near.sum() - kx, (near * oy).sum() / near.sum() - ky) <= 1, names


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(GEOMETRY), min_size=1, max_size=3),
    st.integers(0, 2**31),
    st.sampled_from(["reflect", "edge", "zero"]),
)
@example(["Upscale", "Upscale", "Upscale"], 0, "reflect")
def test_masks_move_with_their_picture_in_every_type(names, seed, border):
    gy, gx = np.mgrid[:H, :W]
    shape = (np.hypot(gx - 50, gy - 40) < 25) | (gx > 95)
    picture = (255 * shape[..., None]).astype(np.uint8)
    kinds = [np.uint8, np.uint16, np.int32, np.int64, np.float32, np.bool_]
    masks = tuple((shape * (1 if k is np.bool_ else 7)).astype(k) for k in kinds)
    many = np.stack([shape * 3, ~shape * 70_000], -1).astype(np.int32)
    p = geometry_recipe(names, border).draw(seed=seed, sample_id="a")
    out, found = run_cv.apply_with(p, picture, Targets(masks=(*masks, many)))
    for kind, mask in zip(kinds, found.masks, strict=False):
        assert mask.dtype == kind and mask.shape == out.shape[:2]
        assert set(np.unique(mask)) <= {0, 1 if kind is np.bool_ else 7}
        np.testing.assert_array_equal(mask > 0, found.masks[0] > 0)
    assert found.masks[-1].shape == (*out.shape[:2], 2) and set(np.unique(found.masks[-1])) <= {0, 3, 70_000}
    # A mask's edge lies within a pixel of the picture's (where that is enlarged, within half of one of the pixels that it had), and in
    # nearly all of it they part only where the picture is in between.
    reach = max(1, math.ceil(max(out.shape[0] / H, out.shape[1] / W) / 2))
    around = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    seen, own = (out[..., 0] > 127).astype(np.uint8), (found.masks[0] > 0).astype(np.uint8)
    for one, other in ((seen, own), (own, seen)):
        wide = cv2.dilate(np.pad(one, reach, mode="edge"), around)[reach:-reach, reach:-reach]
        assert not (other & ~wide & 1).any(), names
    certain = (out[..., 0] < 10) | (out[..., 0] > 245)
    assert ((found.masks[0] > 0) == (out[..., 0] > 127))[certain].mean() > 0.99


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([*GEOMETRY, "HorizontalFlip", "Transpose"]), min_size=1, max_size=4), st.integers(0, 2**31)
)
def test_keypoints_change_their_names_where_the_picture_is_mirrored(names, seed):
    """Three points close together, so that a field hardly bends their triangle, show by their order whether it is mirrored."""
    points = np.array([[54.0, 42], [58, 42], [55, 47]])
    labels = ("left eye", "right eye", "nose")
    p = geometry_recipe(names).draw(seed=seed, sample_id="a")
    mirror = swapping([("left eye", "right eye")])
    given_ = Targets(keypoints=points, keypoint_labels=labels, mirror=mirror)
    _, found = run_cv.apply_with(p, np.zeros((H, W, 1), np.uint8), given_)
    if len(found.keypoints) < 3:
        return
    a, b, c = found.keypoints
    is_mirrored = np.linalg.det([b - a, c - a]) * np.linalg.det([points[1] - points[0], points[2] - points[0]]) < 0
    assert found.keypoint_labels == (("right eye", "left eye", "nose") if is_mirrored else labels), names
    plain = run_cv.apply_with(p, np.zeros((H, W, 1), np.uint8), Targets(keypoints=points, keypoint_labels=labels))[1]
    assert plain.keypoint_labels == labels


def test_what_is_left_of_a_box_decides_whether_it_stays():
    picture = np.zeros((20, 20, 1), np.uint8)
    boxes = [[0, 0, 10, 10], [12, 12, 20, 20], [4, 4, 4, 4], [19.5, 0, 20.01, 9]]
    shift = plan(("Translate", {"x_frac": 0.4, "y_frac": 0.0}))
    _, found = run_cv.apply_with(shift, picture, Targets(boxes=np.array(boxes), box_labels=("a", "b", "c", "d")))
    assert found.box_labels == ("a",)  # b and d have left, c is empty
    np.testing.assert_allclose(found.boxes, [[8, 0, 18, 10]])
    half = plan(("Translate", {"x_frac": 0.75, "y_frac": 0.0}))
    for least, stays in ((0.4, True), (0.6, False)):
        _, found = run_cv.apply_with(half, picture, Targets(boxes=np.array(boxes[:1])), min_visibility=least)
        assert len(found.boxes) == stays


def test_local_and_colour_ops_leave_targets_alone():
    names = [n for n, op in OPS.items() if op.family != "geometry" and n != "Deskew"]
    p = Recipe("r", tuple(small(n, p=1.0) for n in names)).draw(seed=1, sample_id="a")
    given_ = Targets((noise_image(20, 20, 1)[..., 0],), np.array([[2.0, 3, 9, 9]]), np.array([[4.0, 5]]))
    _, found = run_cv.apply_with(p, noise_image(20, 20, 3), given_)
    np.testing.assert_array_equal(found.masks[0], given_.masks[0])
    np.testing.assert_array_equal(found.boxes, given_.boxes)
    np.testing.assert_array_equal(found.keypoints, given_.keypoints)


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=5), st.sampled_from(["pascal_voc", "coco", "yolo"]))
def test_formats_come_back(rows, form):
    boxes = np.sort(np.array(rows).reshape(-1, 2, 2), axis=1).reshape(-1, 4) * [60, 40, 60, 40]
    np.testing.assert_allclose(from_format(to_format(boxes, form, (40, 60)), form, (40, 60)), boxes, atol=1e-9)


def test_formats_are_what_they_are_called():
    size = (100, 200)
    np.testing.assert_allclose(from_format([[10, 20, 30, 40]], "coco", size), [[10, 20, 40, 60]])
    np.testing.assert_allclose(from_format([[0.5, 0.5, 0.1, 0.2]], "yolo", size), [[90, 40, 110, 60]])
    np.testing.assert_allclose(from_format([[0.5, 0.5, 1.0006, 1]], "yolo", size), [[-0.06, 0, 200.06, 100]])
    out = run_cv.apply_with(
        plan(), np.zeros((100, 200, 1), np.uint8), Targets(boxes=np.array([[-0.06, 0, 200.06, 100]]))
    )
    np.testing.assert_allclose(out[1].boxes, [[0, 0, 200, 100]])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (Targets(boxes=[[5, 5, 2, 9]]), "ends before it begins"),
        (Targets(boxes=[[np.nan, 0, 1, 1]]), "finite"),
        (Targets(boxes=[["a", 0, 1, 1]]), "finite"),
        (Targets(keypoints=[[1, 2, 3]]), "finite"),
        (Targets(boxes=[[0, 0, 1, 1]], box_labels=("a", "b")), "2 labels for 1 box"),
        (Targets(masks=(np.zeros((3, 4)),)), "a mask of shape"),
    ],
)
def test_wrong_targets_are_told(wrong, words):
    with pytest.raises(UserError, match=words):
        run_cv.apply_with(plan(), np.zeros((8, 8, 1), np.uint8), wrong)
    with pytest.raises(UserError, match="did you mean 'coco'"):
        from_format([[0, 0, 1, 1]], "cocoo", (8, 8))
