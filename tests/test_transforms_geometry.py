"""Sizes, perspective and fields of displacement: against numpy, closed forms and a slow warp written here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from augmint.core import rng
from augmint.core.errors import UserError
from augmint.transforms import fuse, run_cv, run_torch
from augmint.transforms.bending import Perspective
from augmint.transforms.geometry import moved
from augmint.transforms.plan import PICTURE_OPS as OPS
from augmint.transforms.recipe import Recipe
from test_transforms_run import LEVELS, noise_image, photo, plan


def sized(height, width):
    return {"height_px": float(height), "width_px": float(width)}


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("exact", [False, True])
def test_windows_and_quarter_turns_are_numpys(channels, exact):
    image = noise_image(9, 14, channels)

    def run(*steps):
        return run_cv.apply(plan(*steps), image, exact=exact)

    np.testing.assert_array_equal(run(("CenterCrop", sized(5, 6))), image[2:7, 4:10])
    at = {"x_frac": 0.99, "y_frac": 0.0}
    np.testing.assert_array_equal(run(("RandomCrop", sized(4, 3) | at)), image[:4, 11:])
    np.testing.assert_array_equal(run(("Transpose", {})), image.swapaxes(0, 1))
    for quarters in range(4):
        np.testing.assert_array_equal(run(("RandomRotate90", {"quarters": quarters})), np.rot90(image, quarters))
    twice = run(("Transpose", {}), ("CenterCrop", sized(6, 5)), ("HorizontalFlip", {}))
    np.testing.assert_array_equal(twice, image.swapaxes(0, 1)[4:10, 2:7][:, ::-1])


@pytest.mark.parametrize(("border", "mode"), [("reflect", "symmetric"), ("edge", "edge"), ("zero", "constant")])
@pytest.mark.parametrize("op", ["Pad", "CenterCrop", "RandomCrop"])
def test_a_crop_larger_than_the_picture_is_a_pad(op, border, mode):
    image = noise_image(5, 6, 3)
    got = run_cv.apply(plan((op, sized(9, 11) | {"x_frac": 0.7, "y_frac": 0.2}), border=border), image)
    np.testing.assert_array_equal(got, np.pad(image, ((2, 2), (3, 2), (0, 0)), mode=mode))


def test_shrinking_by_a_whole_number_is_the_mean_of_the_cells():
    image = noise_image(24, 36, 3)
    want = image.reshape(6, 4, 9, 4, 3).mean((1, 3))
    for steps in ([("Resize", sized(6, 9))], [("LongestMaxSize", {"side_px": 9.0})]):
        assert np.abs(run_cv.apply(plan(*steps), image) - want).max() <= 0.51
    boxed = run_cv.apply(plan(("LetterBox", sized(9, 9)), border="zero"), image)
    assert boxed.shape == (9, 9, 3) and not boxed[0].any() and boxed[4].any()


def test_a_fine_pattern_turns_grey_instead_of_aliasing():
    stripes = np.tile(np.array([0, 255], np.uint8), (128, 64))[..., None]
    for steps in (
        [("Resize", sized(37, 37))],
        [("Rotate", {"degrees": 9.0}), ("Scale", {"factor": 0.31})],
        [("Scale", {"factor": 0.5}), ("Scale", {"factor": 0.5})],
    ):
        got = run_cv.apply(plan(*steps), stripes)[12:-12, 12:-12]
        assert np.abs(got.astype(int) - 128).max() < 52, steps  # sampled without a filter: 0 and 255


def test_resizing_keeps_a_ramp_and_does_not_darken_the_rim():
    ramp = np.broadcast_to(np.linspace(50, 200, 31)[None, :, None], (10, 31, 1)).astype(np.uint8)
    for border in ("zero", "edge"):
        got = run_cv.apply(plan(("Resize", sized(20, 62)), border=border), ramp)[..., 0].astype(float)
        at = np.clip((np.arange(62) + 0.5) / 2 - 0.5, 0, 30)
        np.testing.assert_allclose(got, np.broadcast_to(50 + 5 * at, (20, 62)), atol=0.6)


@given(st.integers(0, 2**31), st.integers(2, 90), st.integers(2, 90))
def test_perspective_takes_the_corners_where_it_says(seed, height, width):
    op = Perspective(corner_frac=(0.0, 0.3))
    params = {k: np.asarray(v) for k, v in op.draw(rng.uniform(seed, np.arange(9))).items()}
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, height / 2]
    shift = np.array([[params[f"x{i}_frac"] * width, params[f"y{i}_frac"] * height] for i in range(4)])
    np.testing.assert_allclose(moved(Perspective.matrix(params, height, width), corners), corners + shift, atol=1e-6)


def backward(warp, out_xy):
    """Where one output pixel looks, pointwise, without any grid."""
    p = np.array([out_xy], float) - (np.array(warp.out_size[::-1]) - 1) / 2
    for bend in reversed(warp.bends):
        p = moved(np.linalg.inv(bend.matrix), p)
        p = p + bend.field.at(p)
    return (moved(np.linalg.inv(warp.matrix), p) + (np.array(warp.size[::-1]) - 1) / 2)[0]


@pytest.mark.parametrize("border", ["reflect", "edge", "zero"])
@pytest.mark.parametrize("seed", range(3))
def test_fields_and_matrices_in_any_order_equal_a_pointwise_warp(border, seed):
    names = ["OpticalDistortion", "Rotate", "ElasticTransform", "Perspective", "GridDistortion", "Shear"]
    order = rng.permutation(seed, len(names))
    recipe = Recipe("r", tuple(OPS[names[i]]() for i in order), border)
    p = recipe.draw(seed=seed, sample_id="a")
    image = photo(19, 23)
    (warp,) = fuse.compile(p, image.shape).stages
    wide = np.pad(
        image.astype(float),
        ((60, 60), (60, 60), (0, 0)),
        mode={"reflect": "symmetric", "edge": "edge", "zero": "constant"}[border],
    )
    want = np.zeros(image.shape)
    for y in range(19):
        for x in range(23):
            sx, sy = backward(warp, (x, y)) + 60
            x0, y0 = int(sx), int(sy)
            fx, fy = sx - x0, sy - y0
            box = wide[y0 : y0 + 2, x0 : x0 + 2]
            want[y, x] = np.einsum("i,j,ijc->c", [1 - fy, fy], [1 - fx, fx], box)
    # Inner fields are read off a grid of pixels, which bends a little less than the field itself.
    miss = np.abs(run_cv.apply(p, image) - want)
    assert np.median(miss) <= 0.51 and miss.mean() < 1 and miss.max() <= 12


def test_a_single_field_is_exact():
    image = photo(31, 40)
    p = plan(("OpticalDistortion", {"k": 0.2}))
    (warp,) = fuse.compile(p, image.shape).stages
    y, x = np.mgrid[:31, :40] - np.array([15.0, 19.5])[:, None, None]
    r2 = (x**2 + y**2) / (np.hypot(31, 40) / 2) ** 2
    for point in [(0, 0), (39, 30), (12, 7)]:
        i = point[::-1]
        want = np.array([x[i] * (1 + 0.2 * r2[i]) + 19.5, y[i] * (1 + 0.2 * r2[i]) + 15])
        np.testing.assert_allclose(backward(warp, point), want, atol=1e-9)
    assert run_cv.apply(p, image).shape == image.shape


@settings(max_examples=60)
@example("OpticalDistortion", 48, (17, 63))
@given(
    st.sampled_from(["ElasticTransform", "GridDistortion", "OpticalDistortion"]),
    st.integers(0, 2**31),
    st.sampled_from([(40, 40), (17, 63)]),
)
def test_no_field_folds_within_its_bounds_and_forward_undoes_it(name, seed, size):
    op = OPS[name]
    entry = op.__dataclass_fields__["k" if name == "OpticalDistortion" else "bend_frac"]
    widest = op(**{entry.name: (entry.metadata["least"], entry.metadata["most"])})
    params = {k: np.asarray(v) for k, v in widest.draw(rng.uniform(seed, np.arange(op.num_uniforms))).items()}
    field = op.bend(params, *size)
    steps = np.einsum("hi,ijc,wj->hwc", field.rows(), field.nodes, field.columns())
    y, x = np.mgrid[: size[0], : size[1]] - (np.array(size) - 1)[:, None, None] / 2
    source = np.stack([x, y], -1) + steps
    gy, gx = np.gradient(source, axis=(0, 1))
    assert (gx[..., 0] * gy[..., 1] - gx[..., 1] * gy[..., 0]).min() > 0
    inner = np.stack([x, y], -1)[3:-3:5, 3:-3:5].reshape(-1, 2)
    np.testing.assert_allclose(field.forward(inner + field.at(inner)), inner, atol=0.02)


def test_a_batch_takes_sizes_that_all_samples_share():
    x = torch.rand(6, 3, 12, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    keys = rng.bits(3, np.arange(6))
    recipe = Recipe.from_dict(
        {"ops": ["RandomRotate90", {"GaussianBlur": {"p": 0.5}}, {"Resize": {"height_px": 7, "width_px": 9}}]}
    )
    whole = run_torch.augment(x, recipe, keys)
    assert whole.shape == (6, 3, 7, 9)
    for i in range(6):
        torch.testing.assert_close(
            run_torch.augment(x[i : i + 1], recipe, keys[i : i + 1])[0], whole[i], atol=3e-5, rtol=0
        )
    some = Recipe.from_dict({"ops": [{"Resize": {"height_px": 7, "width_px": 9, "p": 0.5}}]})
    with pytest.raises(UserError, match="different sizes"):
        run_torch.augment(x, some, keys)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 0.9), st.sampled_from(["reflect", "edge", "zero"]))
def test_both_executors_filter_alike(seed, factor, border):
    image = photo(41, 36)
    recipe = Recipe("r", (OPS["Rotate"](), OPS["Scale"](factor=(factor, factor)), OPS["Perspective"]()), border)
    by_cv = run_cv.apply(recipe.plan_of(seed), image).astype(float)
    x = torch.from_numpy(image).float().permute(2, 0, 1)[None] / 127.5 - 1
    by_torch = (run_torch.augment(x, recipe, np.array([seed], np.uint64))[0].permute(1, 2, 0).numpy() + 1) * 127.5
    miss = np.abs(by_cv - np.rint(by_torch))
    assert miss.max() <= LEVELS and np.abs(by_cv - by_torch).mean() <= 0.35


def test_a_slow_warp_agrees_with_perspective():
    image = photo(15, 18)
    params = {
        f"{a}{i}_frac": v
        for (a, i), v in zip(
            [(a, i) for i in range(4) for a in "xy"], [0.1, 0.05, -0.1, 0.1, 0.05, -0.08, 0.0, 0.1], strict=True
        )
    }
    m = Perspective.matrix({k: np.asarray(v) for k, v in params.items()}, 15, 18)
    centre = np.array([[1, 0, -8.5], [0, 1, -7], [0, 0, 1]])
    forward = np.linalg.inv(centre) @ m @ centre
    got = run_cv.apply(plan(("Perspective", params)), image)
    inside = slow_warp_projective(image, forward)
    assert np.abs(got - inside).max() <= (0.51 if LEVELS == 1 else LEVELS)


def slow_warp_projective(image, forward):
    """Bilinear, one pixel at a time, by a 3×3 matrix of pixel positions."""
    h, w, c = image.shape
    back = np.linalg.inv(forward)
    out = np.zeros((h, w, c))
    wide = np.pad(image.astype(float), ((40, 40), (40, 40), (0, 0)), mode="symmetric")
    for y in range(h):
        for x in range(w):
            sx, sy, s = back @ (x, y, 1)
            sx, sy = sx / s + 40, sy / s + 40
            x0, y0 = int(sx), int(sy)
            out[y, x] = np.einsum(
                "i,j,ijc->c", [1 - sy + y0, sy - y0], [1 - sx + x0, sx - x0], wide[y0 : y0 + 2, x0 : x0 + 2]
            )
    return out
