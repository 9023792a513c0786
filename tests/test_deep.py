"""What makes one picture fast, against what it stands for: numpy's formulas, whole warps, many draws at once."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from augmint.core import rng
from augmint.transforms import deep, run_cv, sampling
from augmint.transforms.colour import Affine, Contrast, Hue, Part, Power, Saturation
from augmint.transforms.recipe import Recipe
from test_transforms_run import LEVELS, compare, noise_image, photo, plan

numbers = st.floats(-0.5, 1.5)
matrices = st.lists(numbers, min_size=12, max_size=12).map(lambda n: Affine(tuple(n)))
pairs = st.tuples(st.floats(0.2, 3), st.floats(-0.5, 0.5)).map(Affine)
powers = st.floats(0.7, 1.5).map(Power)
runs = st.one_of(
    st.tuples(matrices),
    st.tuples(pairs),
    st.tuples(powers),
    st.tuples(matrices, powers),
    st.tuples(pairs, powers),
    st.tuples(powers, pairs),
    st.tuples(powers, matrices, powers),
)


def formula(parts: tuple[Part, ...], v: np.ndarray) -> np.ndarray:
    for part in parts:
        if isinstance(part, Power):
            v = np.maximum(v, 0) ** part.exponent
        else:
            m = np.array(part.rows(3))
            v = v @ m[:, :3].T + m[:, 3]
    return np.clip(v, 0, 1)


@settings(max_examples=150)
@given(runs, st.sampled_from(["levels", "alike", "apart"]), st.integers(0, 99))
def test_a_run_in_16_bits_is_its_formula(parts, kind, seed):
    scale, offset = {"alike": ((2.0,) * 3, (-1.0,) * 3), "apart": ((2.0, 3.0, 4.0), (-1.0, 0.5, 0.0))}.get(kind, (0, 0))
    found = deep.tones(parts, 3, None if kind == "levels" else deep.Ending(scale, offset))
    assume(found is not None)
    x = (rng.bits(seed, np.arange(40 * 50 * 3)) % np.uint64(65536)).astype(np.uint16).reshape(40, 50, 3)
    want, out = formula(parts, x / 65535), np.empty(x.shape, np.uint8 if kind == "levels" else np.float32)
    found.run(x, out)
    if kind == "levels":
        assert np.abs(out - 255 * want).max() <= 0.5 + deep._WORST
    else:
        assert np.abs((out - offset) / scale - want).max() * 255 <= deep._WORST


def test_what_16_bits_cannot_hold_is_left_to_floats():
    assert deep.tones((Power(0.2),), 3, None) is None  # dark levels become far apart
    assert deep.tones((Power(1.0),), 3, None) is None  # which keeps what is below 0
    image = noise_image(30, 31, 3)
    steps = [("Rotate", {"degrees": 20.0}), ("Contrast", {"factor": 1.5}), ("Gamma", {"exponent": 0.2})]
    compare_exact = run_cv.apply(plan(*steps), image).astype(int) - run_cv.apply(plan(*steps), image, exact=True)
    assert np.median(np.abs(compare_exact)) <= 1


@given(st.floats(0.3, 3), st.floats(0, 3), st.floats(-180, 180))
def test_matrices_of_numbers_multiply_as_arrays_do(factor, saturation, degrees):
    parts = [
        Contrast.part({"factor": factor}, 3),
        Saturation.part({"factor": saturation}, 3),
        Hue.part({"degrees": degrees}, 3),
        Contrast.part({"factor": 1 / factor}, 3),
    ]
    one = parts[0]
    whole = np.eye(4)
    for i, part in enumerate(parts):
        one = one.then(part) if i else one
        whole = np.concatenate([part.on(3), [[0, 0, 0, 1]]]) @ whole
    np.testing.assert_allclose(one.on(3), whole[:3], atol=1e-12)
    batch = Hue.part({"degrees": np.array([degrees])}, 3).matrix[0]
    np.testing.assert_allclose(parts[2].on(3), batch, atol=1e-12)


@settings(max_examples=80, deadline=None)
@given(
    st.floats(-180, 180),
    st.floats(0.5, 3),
    st.tuples(st.floats(-60, 60), st.floats(-60, 60)),
    st.floats(-0.004, 0.004),
    st.sampled_from(["reflect", "edge", "zero"]),
    st.sampled_from(["linear", "cubic"]),
    st.sampled_from([(25, 31), (1, 9), (40, 12)]),
    st.integers(0, 9),
)
def test_what_is_cut_out_is_sampled_as_the_whole_is(degrees, factor, shift, lean, border, interp, size, seed):
    image = noise_image(*size, 3, seed)
    cos, sin = np.cos(np.deg2rad(degrees)) / factor, np.sin(np.deg2rad(degrees)) / factor
    where = np.array([[cos, sin, shift[0]], [-sin, cos, shift[1]], [lean, -lean / 2, 1.0]])
    height, width = out_size = (30, 28)
    corners = where[2] @ [[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]]
    assume(corners.min() > 0.2)
    flags = sampling._INTERP[interp] | cv2.WARP_INVERSE_MAP
    ways = {"borderMode": sampling._BORDER[border], "borderValue": 0}
    exact = cv2.warpPerspective(image.astype(np.float32), where, (width, height), flags=flags, **ways)
    got = sampling.sampled(image, where, out_size, border, interp)
    # Noise is the worst case: 1e-4 pixels of rounding are 0.03 levels, and where they tip a half, one.
    assert np.abs(got - np.clip(exact, 0, 255)).max() <= (0.6 if LEVELS == 1 else 9)
    fine = sampling.sampled(image, where, out_size, border, interp, kind=np.uint16, keep=False)
    assert np.abs(fine / 257 - np.clip(exact, 0, 255)).max() <= (0.1 if LEVELS == 1 else 9)


@pytest.mark.parametrize("tile", [64, 700])
def test_tiles_do_not_show(tile, monkeypatch):
    image, steps = (
        photo(70, 90),
        [("Rotate", {"degrees": 25.0}), ("Hue", {"degrees": 30.0}), ("Gamma", {"exponent": 0.8})],
    )
    for chain in (steps, steps[1:], [*steps, ("GaussianBlur", {"sigma_px": 1.0})]):
        whole = run_cv.apply(plan(*chain), image)
        monkeypatch.setattr(run_cv, "_TILE", tile)
        tiles = list(run_cv._tiles(70, 90))
        covered = np.zeros((70, 90), int)
        for top, left, height, width in tiles:
            covered[top : top + height, left : left + width] += 1
        assert (covered == 1).all() and max(h * w for *_, h, w in tiles) <= tile
        in_parts = run_cv.apply(plan(*chain), image)
        monkeypatch.undo()
        assert np.abs(whole.astype(int) - in_parts).max() <= LEVELS
        assert (whole != in_parts).mean() < 0.002 or LEVELS > 1


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**40), st.sampled_from(["reflect", "edge", "zero"]))
def test_both_executors_agree_on_colours_after_a_warp(key, border):
    ops = ("HorizontalFlip", "Affine", "BrightnessContrast", "Hue", "Saturation", {"Gamma": {"exponent": [0.66, 1.5]}})
    recipe = Recipe.from_dict({"ops": list(ops), "border": border})
    compare(recipe, photo(37, 41), key)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5, unique=True), st.integers(0, 2**64 - 1), st.data())
def test_lanes_are_the_uniform_numbers_of_their_streams(streams, key, data):
    lanes = data.draw(st.lists(st.integers(0, len(streams) - 1), min_size=1, max_size=9))
    counters = data.draw(st.lists(st.integers(0, 2**40), min_size=len(lanes), max_size=len(lanes)))
    own = rng.combine(np.array([key], np.uint64), np.array(streams, np.uint64))
    want = [rng.uniform(own[lane], counter)[0] for lane, counter in zip(lanes, counters, strict=True)]
    found = rng.Lanes(streams, lanes, counters)
    np.testing.assert_array_equal(found.uniform(key), want)
    found.FEW = 0  # as if they were many
    np.testing.assert_array_equal(found.uniform(key), want)
