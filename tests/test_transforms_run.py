"""The executors, against closed forms, a slow warp written here, SciPy, and each other."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from skimage import data

from augmint.core import rng
from augmint.core.errors import UserError
from augmint.transforms import fuse, local, run_cv, run_torch
from augmint.transforms.colour import table
from augmint.transforms.pixels import PixelOp
from augmint.transforms.plan import PICTURE_OPS as OPS
from augmint.transforms.plan import Plan, Step, sample_key
from augmint.transforms.recipe import PRESETS, Recipe

# OpenCV 4 interpolates on a raster of 1/32 pixel; 5 does not.
LEVELS = 1 if int(cv2.__version__.split(".")[0]) >= 5 else 6
RIGHT = {"reflect": "symmetric", "edge": "edge", "zero": "constant"}


def plan(*steps, border="reflect", interp="linear"):
    return Plan(tuple(Step(n, f"{n}{i}", p) for i, (n, p) in enumerate(steps)), border, interp)


def photo(height, width, channels=3):
    whole = cv2.resize(data.astronaut(), (width, height), interpolation=cv2.INTER_AREA).reshape(height, width, 3)
    alpha = cv2.GaussianBlur((whole[..., :1] > 90).astype(np.float32), (3, 3), 0).reshape(height, width, 1) * 255
    return np.ascontiguousarray(np.concatenate([whole, alpha.astype(np.uint8)], -1)[..., :channels])


SMALL = {"height_px": 15, "width_px": 13, "side_px": 14}
JUMPING = ("Cutout", "Solarize", "Posterize")  # a rounding before them can become a whole step
EIGHT_BIT = [n for n, op in OPS.items() if issubclass(op, PixelOp)]
SMOOTH = [n for n in OPS if n not in JUMPING and n not in EIGHT_BIT]


def small(name, **settings):
    """The op with its defaults, but an output size that is quick to test."""
    own = {k: v for k, v in SMALL.items() if isinstance(getattr(OPS[name], k, None), int)}
    return OPS[name](**own, **settings)


def noise_image(height, width, channels, seed=0):
    return (
        (rng.bits(seed, np.arange(height * width * channels)) % np.uint64(256))
        .astype(np.uint8)
        .reshape(height, width, channels)
    )


def to_tensor(image):
    v = image.astype(np.float64) / 255
    if v.shape[2] == 4:
        v[..., :3] *= v[..., 3:]
    return torch.from_numpy(2 * v - 1).float().permute(2, 0, 1)[None]


def to_levels(x):
    return np.clip((x[0].permute(1, 2, 0).numpy() + 1) * 127.5, 0, 255)


def slow_warp(image, forward, border):
    """Bilinear, one pixel at a time; ``forward`` maps input pixel (x, y) to output pixel (x, y)."""
    h, w, c = image.shape
    pad = 2 * max(h, w)
    wide = np.pad(image.astype(float), ((pad, pad), (pad, pad), (0, 0)), mode=RIGHT[border])
    back = np.linalg.inv(forward)
    out = np.zeros((h, w, c))
    for y in range(h):
        for x in range(w):
            sx, sy, _ = back @ (x, y, 1)
            x0, y0 = int(np.floor(sx)), int(np.floor(sy))
            fx, fy = sx - x0, sy - y0
            for dy, wy in ((0, 1 - fy), (1, fy)):
                for dx, wx in ((0, 1 - fx), (1, fx)):
                    out[y, x] += wy * wx * wide[y0 + dy + pad, x0 + dx + pad]
    return out


def about_centre(matrix, h, w):
    to = np.array([[1, 0, -(w - 1) / 2], [0, 1, -(h - 1) / 2], [0, 0, 1]])
    return np.linalg.inv(to) @ np.asarray(matrix, float) @ to


@pytest.mark.parametrize("border", ["reflect", "edge", "zero"])
def test_fused_geometry_equals_a_slow_warp_by_the_product_of_the_matrices(border):
    h, w = 17, 23
    image = photo(h, w)
    a, f, sx, sy = np.deg2rad(20), 0.8, np.tan(np.deg2rad(10)), np.tan(np.deg2rad(-5))
    turn = [[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]]
    steps = [
        (("Rotate", {"degrees": 20.0}), turn),
        (("Translate", {"x_frac": 0.1, "y_frac": -0.2}), [[1, 0, 0.1 * w], [0, 1, -0.2 * h], [0, 0, 1]]),
        (("Scale", {"factor": f}), np.diag([f, f, 1])),
        (("Shear", {"x_degrees": 10.0, "y_degrees": -5.0}), [[1, -sx, 0], [-sy, 1, 0], [0, 0, 1]]),
        (("HorizontalFlip", {}), np.diag([-1, 1, 1])),
    ]
    forward = np.eye(3)
    for _, m in steps:
        forward = about_centre(m, h, w) @ forward
    want = slow_warp(image, forward, border)
    got = run_cv.apply(plan(*[s for s, _ in steps], border=border), image)
    assert np.abs(got - want).max() <= (0.51 if LEVELS == 1 else LEVELS)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(8, 8), (5, 9)])
def test_flips_turns_and_crops_alone_are_array_moves(channels, size):
    image = noise_image(*size, channels)
    h, w = size
    flips = plan(("HorizontalFlip", {})), plan(("VerticalFlip", {})), plan(("VerticalFlip", {}), ("HorizontalFlip", {}))
    for p, want in zip(flips, (image[:, ::-1], image[::-1], image[::-1, ::-1]), strict=True):
        np.testing.assert_array_equal(run_cv.apply(p, image), want)
        np.testing.assert_array_equal(run_cv.apply(p, image, exact=True), want)
    crop = {"keep_frac": 0.6, "x_frac": 0.999, "y_frac": 0.0, "resize": 0.0}
    nh, nw = round(0.6 * h), round(0.6 * w)
    np.testing.assert_array_equal(run_cv.apply(plan(("Crop", crop)), image), image[:nh, w - nw :])
    both = run_cv.apply(plan(("HorizontalFlip", {}), ("Crop", crop), ("VerticalFlip", {})), image)
    np.testing.assert_array_equal(both, image[:, ::-1][:nh, w - nw :][::-1])
    np.testing.assert_array_equal(run_cv.apply(plan(("HorizontalFlip", {}), ("HorizontalFlip", {})), image), image)
    np.testing.assert_array_equal(run_cv.apply(plan(("Rotate", {"degrees": 180.0})), image), image[::-1, ::-1])
    if h == w:
        for quarter in (1, 3):  # np.rot90 turns counter-clockwise, as we do
            turned = run_cv.apply(plan(("Rotate", {"degrees": 90.0 * quarter - 360 * (quarter > 2)})), image)
            np.testing.assert_array_equal(turned, np.rot90(image, quarter))
        mixed = run_cv.apply(plan(("Rotate", {"degrees": 90.0}), ("HorizontalFlip", {})), image)
        np.testing.assert_array_equal(mixed, np.rot90(image)[:, ::-1])


def test_moves_compile_to_moves_and_warps_to_one_warp():
    def names(p):
        return [type(s).__name__ for s in fuse.compile(p, (8, 8, 3)).stages]

    assert names(plan(("HorizontalFlip", {}), ("Rotate", {"degrees": 90.0}))) == ["Move"]
    assert names(plan(("HorizontalFlip", {}), ("Rotate", {"degrees": 91.0}))) == ["Warp"]
    assert names(plan(("Translate", {"x_frac": 0.125, "y_frac": 0.0}))) == ["Warp"]  # needs the border
    assert names(plan(("VerticalFlip", {}), ("VerticalFlip", {}))) == []


def test_a_crop_that_is_scaled_back_shows_its_window():
    ramp = np.broadcast_to(np.linspace(20, 220, 101)[None, :, None], (40, 101, 1)).astype(np.uint8)
    crop = {"keep_frac": 0.5, "x_frac": 0.25, "y_frac": 0.5, "resize": 1.0}
    got = run_cv.apply(plan(("Crop", crop)), ramp)[20, :, 0].astype(float)
    left = 0.25 * (101 - 50.5)
    at = left + (np.arange(101) + 0.5) * 0.5 - 0.5
    np.testing.assert_allclose(got, 20 + 2 * at, atol=1.2)


LEVEL = np.arange(256) / 255.0
GREYS = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)


@pytest.mark.parametrize(
    ("step", "want"),
    [
        (("Brightness", {"add_frac": 0.2}), LEVEL + 0.2),
        (("Contrast", {"factor": 1.5}), 0.5 + 1.5 * (LEVEL - 0.5)),
        (("Gamma", {"exponent": 0.5}), LEVEL**0.5),
        (("Gamma", {"exponent": 2.2}), LEVEL**2.2),
        (("Saturation", {"factor": 2.0}), LEVEL),
        (("Hue", {"degrees": 70.0}), LEVEL),
        (("Invert", {}), 1 - LEVEL),
        (("Solarize", {"threshold_frac": 0.5}), np.where(np.arange(256) >= 128, 1 - LEVEL, LEVEL)),
        (("Posterize", {"bits": 3.0}), (np.arange(256) & 0b11100000) / 255),
    ],
)
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_colour_ops_are_their_formulas(step, want, channels):
    got = run_cv.apply(plan(step), np.repeat(GREYS, channels, -1))
    want = np.rint(np.clip(255 * want, 0, 255)).reshape(16, 16, 1)
    assert np.abs(got - want).max() <= 1  # halves may round either way


def test_saturation_keeps_luma_and_zero_is_grey():
    image = photo(20, 20)
    luma = image @ [0.2126, 0.7152, 0.0722]
    grey = run_cv.apply(plan(("Saturation", {"factor": 0.0})), image)
    assert np.abs(grey - luma[..., None]).max() <= 0.52
    mild = run_cv.apply(plan(("Saturation", {"factor": 0.6})), image)
    assert np.abs(mild @ [0.2126, 0.7152, 0.0722] - luma).max() <= 0.6


def test_hue_turns_round_keeps_luma_and_adds_up():
    image = (0.3 * photo(20, 20) + 90).astype(np.uint8)
    luma = image @ [0.2126, 0.7152, 0.0722]
    turned = run_cv.apply(plan(("Hue", {"degrees": 100.0})), image)
    assert np.abs(turned @ [0.2126, 0.7152, 0.0722] - luma).max() <= 0.6
    assert np.abs(turned.astype(int) - image).max() > 15
    thrice = run_cv.apply(plan(*[("Hue", {"degrees": 120.0})] * 3), image)
    assert np.abs(thrice.astype(int) - image).max() <= 1
    # A third of a turn about the grey axis takes red to green, but for the grey that keeps the luma.
    red = run_cv.apply(plan(("Hue", {"degrees": 120.0})), np.array([[[180, 100, 100]]], np.uint8))[0, 0].astype(int)
    assert red[1] - red[0] == 80 and red[0] == red[2]


def test_channel_ops_are_their_formulas():
    image = photo(12, 12)
    shift = {"red_frac": 0.1, "green_frac": 0.0, "blue_frac": -0.1}
    want = np.clip(image + np.array([25.5, 0, -25.5]), 0, 255)
    assert np.abs(run_cv.apply(plan(("RGBShift", shift)), image) - want).max() <= 0.51
    orders = {run_cv.apply(plan(("ChannelShuffle", {"order": float(i)})), image).tobytes() for i in range(6)}
    assert len(orders) == 6
    for i in range(6):
        got = run_cv.apply(plan(("ChannelShuffle", {"order": float(i)})), image)
        np.testing.assert_array_equal(np.sort(got, -1), np.sort(image, -1))
    grey = run_cv.apply(plan(("ToGray", {})), image)
    assert np.abs(grey - (image @ [0.2126, 0.7152, 0.0722])[..., None]).max() <= 0.52
    np.testing.assert_array_equal(run_cv.apply(plan(("WhiteBalance", {"kelvin": 6500.0})), image), image)
    jitter = {"brightness": 1.1, "contrast": 0.9, "saturation": 1.3, "hue_degrees": 20.0}
    apart = [
        ("Brightness", {"add_frac": 0.0}),
        ("Contrast", {"factor": 0.9}),
        ("Saturation", {"factor": 1.3}),
        ("Hue", {"degrees": 20.0}),
    ]
    bright = (0.4 * image + 40).astype(np.uint8)
    whole = run_cv.apply(plan(("ColorJitter", jitter)), bright)
    parts = run_cv.apply(plan(*apart), np.rint(1.1 * bright).astype(np.uint8))
    assert np.abs(whole.astype(int) - parts).max() <= 2


def test_white_balance_warms_below_and_cools_above_daylight():
    grey = np.full((2, 2, 3), 128, np.uint8)
    ratios = []
    for kelvin in (2500, 4500, 6500, 9000, 14000):
        red, green, blue = run_cv.apply(plan(("WhiteBalance", {"kelvin": float(kelvin)})), grey)[0, 0].astype(float)
        assert abs(0.2126 * red + 0.7152 * green + 0.0722 * blue - 128) < 1
        ratios.append(red / blue)
    assert ratios == sorted(ratios, reverse=True) and ratios[2] == 1.0
    # Tungsten light of 2856 K has the chromaticity x = 0.4476, y = 0.4074 (CIE illuminant A).
    from augmint.transforms.colour import _black_body

    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ _black_body(np.array(2856.0))
    np.testing.assert_allclose(xyz[:2] / xyz.sum(), [0.4476, 0.4074], atol=0.002)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["Solarize", "Posterize", "Invert", "Hue"]), st.integers(0, 2**40), st.integers(1, 3))
def test_both_executors_agree_on_what_jumps(name, key, channels):
    compare(Recipe("r", (OPS[name](),)), photo(16, 20, channels), key)


def test_pointwise_ops_in_a_row_are_one_table():
    steps = [("Gamma", {"exponent": 0.7}), ("Solarize", {"threshold_frac": 0.4}), ("Posterize", {"bits": 4.0})]
    (stage,) = fuse.compile(plan(*steps), (16, 16, 3)).stages
    assert table(stage.parts).shape == (256, 1)
    shift = ("RGBShift", {"red_frac": 0.1, "green_frac": 0.0, "blue_frac": -0.1})
    (stage,) = fuse.compile(plan(("Gamma", {"exponent": 0.7}), shift), (16, 16, 3)).stages
    assert table(stage.parts).shape == (256, 3)


def test_nothing_is_clipped_inside_a_run_but_the_chain_clips():
    up_down = plan(("Brightness", {"add_frac": 0.5}), ("Brightness", {"add_frac": -0.5}))
    np.testing.assert_array_equal(run_cv.apply(up_down, GREYS), GREYS)
    chained = run_cv.apply(up_down, GREYS, exact=True)
    assert chained.max() == 127 or chained.max() == 128
    there_and_back = plan(("Rotate", {"degrees": 30.0}), ("Rotate", {"degrees": -30.0}))
    image = photo(32, 32)
    np.testing.assert_array_equal(run_cv.apply(there_and_back, image), image)
    assert np.abs(run_cv.apply(there_and_back, image, exact=True).astype(int) - image).max() > 20


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(OPS)), st.integers(0, 2**31), st.sampled_from([1, 3, 4]))
def test_one_step_alone_equals_the_unfused_reference(name, seed, channels):
    p = Recipe("r", (small(name, p=1.0),)).draw(seed=seed, sample_id="a")
    image = photo(21, 18, channels)
    fused, exact = run_cv.apply(p, image), run_cv.apply(p, image, exact=True)
    assert np.abs(fused.astype(int) - exact).max() <= 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_fused_stays_near_the_chain_away_from_what_it_clips_and_crops(seed):
    # On a smooth picture with values in the middle, the chain loses nothing either except at the rim.
    y, x = np.mgrid[:48, :48] - 23.5
    smooth = (128 + 60 * np.exp(-(x**2 + (y - 4) ** 2) / 90))[..., None].astype(np.uint8)
    p = (
        PRESETS["medium"]
        .only(["Rotate", "Translate", "Scale", "Shear", "Brightness", "Contrast"])
        .draw(seed=seed, sample_id="a")
    )
    fused, exact = run_cv.apply(p, smooth), run_cv.apply(p, smooth, exact=True)
    assert np.abs(fused.astype(int) - exact)[10:-10, 10:-10].max() <= 3


def test_blur_is_scipys_and_noise_is_gaussian():
    image = photo(24, 30)
    got = run_cv.apply(plan(("GaussianBlur", {"sigma_px": 1.5})), image)
    want = ndimage.gaussian_filter(image.astype(float), (1.5, 1.5, 0), mode="reflect", radius=5)
    assert np.abs(got - want).max() <= 0.51
    z = local.normal_field(np.array(123.0), 100_001)
    assert stats.kstest(z, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(z[:50_000], z[50_001:100_001])[0, 1]) < 0.02  # the two of a Box-Muller pair
    assert abs(np.corrcoef(z[:-1], z[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(z, local.normal_field(np.array(124.0), 100_001))[0, 1]) < 0.02
    grey = np.full((200, 200, 1), 128, np.uint8)
    noisy = run_cv.apply(plan(("GaussianNoise", {"sigma_frac": 0.05, "key": 9.0})), grey).astype(float)
    assert abs(noisy.mean() - 128) < 0.3 and abs(noisy.std() - 12.75) < 0.2


@given(st.lists(st.integers(0, 2**53 - 1), min_size=1, max_size=4), st.integers(1, 99))
def test_the_noise_field_is_the_same_on_arrays_and_tensors(keys, count):
    arrays = local.normal_field(np.array(keys, float), count)
    tensors = run_torch.normal_field(torch.tensor(keys), count)
    np.testing.assert_allclose(tensors.numpy(), arrays, atol=3e-6)


def test_cutout_fills_its_box_and_is_transparent_on_rgba():
    step = ("Cutout", {"side_frac": 0.5, "x_frac": 0.25, "y_frac": 1.0, "fill": 0.2})
    got = run_cv.apply(plan(step), np.full((8, 12, 1), 200, np.uint8))[..., 0]
    want = np.full((8, 12), 200)
    want[6:, :6] = 51
    np.testing.assert_array_equal(got, want)
    assert not run_cv.apply(plan(step), photo(8, 12, 4))[6:, :6].any()


@given(st.integers(0, 2**31), st.sampled_from([n for n in OPS if OPS[n].family == "colour"]))
def test_colour_and_noise_leave_alpha_as_it_is(seed, name):
    image = noise_image(6, 7, 4, seed)
    for p in (Recipe("r", (OPS[name](),)), Recipe("r", (OPS[name](), OPS["GaussianNoise"]()))):
        for exact in (False, True):
            out = run_cv.apply(p.draw(seed=seed, sample_id="a"), image, exact=exact)
            np.testing.assert_array_equal(out[..., 3], image[..., 3])


def test_transparent_colour_does_not_leak_into_a_warp():
    image = np.zeros((16, 16, 4), np.uint8)
    image[:, :8] = (200, 100, 50, 255)
    image[:, 8:] = (0, 255, 0, 0)  # bright green, but invisible
    out = run_cv.apply(plan(("Rotate", {"degrees": 33.0}), ("GaussianBlur", {"sigma_px": 1.0})), image).astype(int)
    seen = out[out[..., 3] > 20][:, :3]
    assert np.abs(seen - (200, 100, 50)).max() <= 6


def compare(recipe, image, key, levels=LEVELS):
    by_cv = run_cv.apply(recipe.plan_of(key), image).astype(float)
    by_torch = np.rint(to_levels(run_torch.augment(to_tensor(image), recipe, np.array([key], np.uint64))))
    if image.shape[2] == 4:  # tensors hold premultiplied colour
        alpha = by_cv[..., 3:].copy()
        by_cv[..., :3] *= alpha / 255
        assert np.abs(by_cv - by_torch)[..., 3].max() <= levels
        by_cv = np.rint(by_cv)
        levels = levels + 1  # 8-bit straight colour was rounded before it was multiplied
    assert np.abs(by_cv - by_torch).max() <= levels


@settings(max_examples=40, deadline=None)
@example(
    "strong", 4, (8, 8), 1, "zero", "cubic"
)  # shows nothing from beyond the edge, and the kernel is wider than a pixel
@given(
    st.sampled_from(["light", "medium", "strong"]),
    st.integers(0, 2**40),
    st.sampled_from([(1, 1), (8, 8), (1, 5), (31, 19)]),
    st.integers(1, 4),
    st.sampled_from(["reflect", "edge", "zero"]),
    st.sampled_from(["linear", "cubic"]),
)
@example(
    "strong", 4, (8, 8), 1, "zero", "cubic"
)  # a window inside the picture, beyond whose edges a cubic kernel reaches
def test_both_executors_agree_within_one_level(preset, key, size, channels, border, interp):
    recipe = Recipe("r", PRESETS[preset].ops, border, interp)
    compare(recipe, photo(*size, channels), key)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([*SMOOTH, "Cutout"]), min_size=1, max_size=7), st.integers(0, 2**40), st.integers(1, 4))
def test_both_executors_agree_on_any_sequence_of_ops(names, key, channels):
    recipe = Recipe("r", tuple(small(n) for n in names))
    compare(recipe, photo(16, 20, channels), key)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31))
def test_a_row_of_a_batch_equals_the_sample_alone(seed):
    recipe = Recipe("r", PRESETS["strong"].ops)
    keys = np.array([sample_key(seed, str(i)) for i in range(7)], np.uint64)
    x = torch.from_numpy(rng.uniform(seed, np.arange(7 * 3 * 10 * 11)).reshape(7, 3, 10, 11) * 2 - 1).float()
    whole = run_torch.augment(x, recipe, keys)
    for i in range(7):
        torch.testing.assert_close(
            run_torch.augment(x[i : i + 1], recipe, keys[i : i + 1])[0], whole[i], atol=3e-5, rtol=0
        )


def test_replay_from_json_gives_the_same_bytes_whatever_ran_before():
    image = photo(40, 33)
    plans = [PRESETS["strong"].draw(seed=3, sample_id=f"{i}.png") for i in range(12)]
    first = [run_cv.apply(p, image).tobytes() for p in plans]
    again = [run_cv.apply(Plan.from_json(p.to_json()), image).tobytes() for p in reversed(plans)]
    assert again[::-1] == first
    assert len(set(first)) == 12


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_augment_is_differentiable(channels):
    # float64 and away from 0 and 1, where clipping and powers have kinks
    torch.manual_seed(0)
    x = (torch.rand(2, channels, 4, 5, dtype=torch.float64) * 0.6 - 0.3).requires_grad_()
    ops = [small(n, p=1.0) for n in SMOOTH]
    recipe = Recipe("r", tuple(ops))
    keys = rng.bits(5, np.arange(2))
    assert torch.autograd.gradcheck(lambda v: run_torch.augment(v, recipe, keys, clip=False), (x,), atol=1e-4)


def test_gradients_stay_finite_on_black_white_and_transparent():
    recipe = Recipe("r", tuple(small(n, p=1.0) for n in SMOOTH))
    for channels in (1, 3, 4):
        for value in (-1.0, 1.0):
            x = torch.full((4, channels, 6, 6), value, requires_grad=True)
            out = run_torch.augment(x, recipe, rng.bits(5, np.arange(4)))
            out.sum().backward()
            assert torch.isfinite(out).all() and torch.isfinite(x.grad).all()


@pytest.mark.parametrize("shape", [(1, 7), (5, 16), (2, 3, 8, 9), (3, 4, 5, 6)])
def test_other_numbers_of_axes_take_what_makes_sense(shape):
    x = torch.zeros(6, *shape) + 0.25
    keys = rng.bits(1, np.arange(6))
    for name, op in OPS.items():
        recipe = Recipe("r", (small(name, p=1.0),))
        out = run_torch.augment(x, recipe, keys)
        assert out.shape == x.shape and torch.isfinite(out).all()
        if len(shape) != 3 and not op.any_axes:
            assert out is x, name
    cut = run_torch.augment(x, Recipe("r", (OPS["Cutout"].build({"side_frac": [0.5, 0.5]}),)), keys)
    holes = cut != x
    assert holes.any() and not holes.all()
    assert torch.equal(holes, holes[:, :1].expand_as(holes))  # the same hole in every channel
    if len(shape) == 4:
        assert torch.equal(holes, holes[:, :, :1].expand_as(holes))  # and in every slice


def test_p_zero_and_an_empty_recipe_give_the_batch_itself():
    x = torch.rand(4, 1, 8, 8)
    keys = rng.bits(1, np.arange(4))
    assert run_torch.augment(x, PRESETS["strong"], keys, p=0.0) is x
    assert run_torch.augment(x, run_torch.gan_recipe([]), keys) is x
    assert run_torch.augment(x[:0], PRESETS["strong"], keys[:0]).shape == (0, 1, 8, 8)


def test_the_gan_recipe_takes_what_the_data_takes():
    assert {op.name for op in run_torch.gan_recipe(["Rotate", "Contrast", "Gamma"]).ops} == {"Rotate", "Contrast"}
    assert not {"HorizontalFlip", "VerticalFlip"} & {op.name for op in run_torch.gan_recipe(list(OPS)).ops}


def test_wrong_inputs_are_told():
    some = plan(("Rotate", {"degrees": 3.0}))
    for bad in (
        np.zeros((4, 4, 3)),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((0, 4, 1), np.uint8),
    ):
        with pytest.raises(UserError, match="a picture of shape"):
            run_cv.apply(some, bad)
    with pytest.raises(UserError, match="a program for size"):
        run_cv.apply(fuse.compile(some, (4, 4, 3)), np.zeros((5, 4, 3), np.uint8))
    with pytest.raises(UserError, match="one key a sample"):
        run_torch.augment(torch.zeros(2, 1, 4, 4), PRESETS["light"], np.zeros(3, np.uint64))
    cut = Recipe("r", (OPS["Crop"].build({"resize": False}),))
    with pytest.raises(UserError, match="different sizes"):
        run_torch.augment(torch.zeros(6, 1, 40, 40), cut, np.arange(6, dtype=np.uint64))


def test_the_input_is_never_changed_nor_shared():
    for p in (plan(), plan(("HorizontalFlip", {})), plan(("GaussianNoise", {"sigma_frac": 0.1, "key": 1.0}))):
        image = photo(9, 9)
        before = image.copy()
        out = run_cv.apply(p, image)
        out[:] = 0
        np.testing.assert_array_equal(image, before)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["light", "medium", "strong"]), st.integers(0, 2**40), st.integers(1, 4))
def test_normalised_is_the_formula_on_what_apply_gives(preset, key, channels):
    image = photo(20, 18, channels)
    p = PRESETS[preset].plan_of(key)
    mean, std = np.array([0.4, 0.5, 0.6, 0.5])[:channels], np.array([0.2, 0.25, 0.3, 0.5])[:channels]
    want = (run_cv.apply(p, image) / 255 - mean) / std
    got = run_cv.apply_normalised(p, image, mean, std)
    assert got.dtype == np.float32 and np.abs((got - want) * std * 255).max() <= 0.51
