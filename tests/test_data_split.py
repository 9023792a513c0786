"""Splits as properties, and near-duplicates on real pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits, load_sample_images

from augmint.data.split import assign, box_means, joined, near_duplicates, near_pairs, near_threshold, signature


@st.composite
def worlds(draw: st.DrawFn) -> tuple[np.ndarray, list[str | None], np.ndarray]:
    num = draw(st.integers(0, 60))
    labels = np.array(draw(st.lists(st.integers(-1, 4), min_size=num, max_size=num)), dtype=np.int64)
    parts = draw(st.lists(st.sampled_from([None, None, "train", "val", "test"]), min_size=num, max_size=num))
    if draw(st.booleans()):
        parts = [None] * num
    owners = draw(st.lists(st.integers(0, max(0, num - 1)), min_size=num, max_size=num))
    groups = np.minimum(np.array(owners, dtype=np.int64), np.arange(num)) if draw(st.booleans()) else np.arange(num)
    return labels, parts, groups


@settings(max_examples=100, deadline=None)
@given(worlds(), st.integers(0, 3), st.integers(2, 7))
def test_whatever_the_data_no_group_straddles_and_given_parts_stand(
    world: tuple[np.ndarray, list[str | None], np.ndarray], seed: int, folds: int
) -> None:
    labels, parts, groups = world
    found = assign(labels, parts, groups, seed=seed, folds=folds)
    assert 1 <= len(found.folds) <= folds
    tested: list[int] = []
    for k, fold in enumerate(found.folds):
        names = found.part(k)
        for group in np.unique(groups):
            sides = set(names[groups == group]) - {"left-out"}
            given_sides = {p for p, g in zip(parts, groups, strict=True) if g == group} & {"val", "test"}
            assert len(sides) <= max(1, len(given_sides))
        assert len(fold.fit) + len(fold.held_out) + len(fold.test) + len(found.left_out) == len(labels)
        if "test" in parts:
            assert fold.test.tolist() == [i for i, p in enumerate(parts) if p == "test"]
        if "val" in parts and len(fold.held_out):
            assert all(parts[i] == "val" for i in fold.held_out)
        tested += fold.test.tolist()
        # A class that could be kept in fit is.
        for label in np.unique(labels):
            mine = [i for i in np.flatnonzero(labels == label) if parts[i] not in ("val", "test")]
            alone = [i for i in mine if i not in found.left_out and (labels[groups == groups[i]] == label).all()]
            if alone:
                assert (labels[fold.fit] == label).any()
    assert len(tested) == len(set(tested))


def test_few_samples_give_stratified_outer_folds_that_test_each_once() -> None:
    labels = np.repeat(np.arange(4), [50, 20, 10, 5])
    found = assign(labels, [None] * 85, seed=0)
    assert len(found.folds) == 5
    assert sorted(np.concatenate([f.test for f in found.folds])) == list(range(85))
    for fold in found.folds:
        assert np.bincount(labels[fold.test]).tolist() == [10, 4, 2, 1]
        assert len(fold.held_out) == round(0.15 * 85)


def test_many_samples_give_one_fold_in_proportion() -> None:
    labels = np.repeat(np.arange(3), [1000, 400, 200])
    (fold,) = assign(labels, [None] * 1600, seed=0).folds
    assert np.bincount(labels[fold.test]).tolist() == [200, 80, 40]
    assert np.bincount(labels[fold.held_out]).tolist() == [150, 60, 30]


def test_classes_of_one_and_two() -> None:
    labels = np.array([0] * 20 + [1] * 2 + [2])
    found = assign(labels, [None] * 23, seed=1)
    for k in range(len(found.folds)):
        assert found.part(k)[22] == "fit" and "fit" in found.part(k)[20:22]


@pytest.mark.parametrize(("few", "held"), [(2, 0), (3, 0), (5, 0), (20, 3)])
def test_rare_classes_are_held_out_only_by_whole_samples(few: int, held: int) -> None:
    """Of 15 %, a class of 3 owes .45 of a sample, and one of 5 owes .75; the others of like size share what rounding leaves."""
    labels = np.repeat(np.arange(10), [80] * 7 + [few] * 3)
    for seed in range(5):
        (fold,) = assign(np.append(labels, 0), [None] * len(labels) + ["test"], seed=seed).folds
        counts = np.bincount(labels[fold.held_out], minlength=10)
        assert counts[7:].tolist() == [held] * 3
        assert abs(counts.sum() - 0.15 * len(labels)) <= 1.5 and np.ptp(counts[:7]) <= 1


def test_small_classes_of_like_size_give_some_of_them_all_the_same() -> None:
    labels = np.repeat(np.arange(10), [7] + [6] * 9)
    (fold,) = assign(np.append(labels, 0), [None] * 61 + ["test"], seed=0).folds
    assert len(fold.held_out) == round(0.15 * 61)


def test_no_samples_and_one_sample() -> None:
    assert [len(f.fit) for f in assign(np.array([], np.int64), [], seed=0).folds] == [0]
    assert [len(f.fit) for f in assign(np.array([0]), [None], seed=0).folds] == [1]


def test_nothing_held_out_where_none_is_wanted() -> None:
    found = assign(np.repeat([0, 1], 20), ["test"] * 5 + [None] * 35, seed=0, held_out_frac=0.0)
    assert len(found.folds[0].held_out) == 0 and len(found.folds[0].fit) == 35


def test_training_samples_that_repeat_a_test_sample_are_left_out() -> None:
    groups = np.array([0, 0, 2, 3, 3, 5])
    found = assign(np.zeros(6, np.int64), ["test", "train", "train", "val", None, "train"], groups, seed=0)
    assert found.left_out.tolist() == [1, 4]
    assert found.part().tolist() == ["test", "left-out", "fit", "held-out", "left-out", "fit"]
    assert "2 samples are left out" in found.notes[0]


def test_the_split_depends_on_the_seed_and_on_nothing_else() -> None:
    labels = np.arange(300) % 3
    first, again, other = (assign(labels, [None] * 300, seed=s).table([str(i) for i in range(300)]) for s in (0, 0, 1))
    assert first.equals(again) and not first.equals(other)
    assert list(first.columns) == ["id", "group", "fold_0", "fold_1", "fold_2", "fold_3", "fold_4"]
    np.random.default_rng(0).random()  # a global generator would not matter either


# Near-duplicates


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.floats(0.05, 1.5), st.integers(0, 99))
def test_pairs_and_groups_equal_the_slow_way(num: int, threshold: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num, 3)).astype(np.float32)
    x[num // 2 :] = x[: num - num // 2]
    near = [(i, j) for j in range(num) for i in range(j) if np.linalg.norm(x[i].astype(np.float64) - x[j]) < threshold]
    groups = np.arange(num)
    for _ in range(num):
        for i, j in near:
            groups[groups == max(groups[i], groups[j])] = min(groups[i], groups[j])
    np.testing.assert_array_equal(near_duplicates(x, threshold), groups)
    assert set(near_pairs(x, threshold)) <= set(near)


def test_joined_takes_the_first_member() -> None:
    assert joined([(3, 4), (1, 3)], 5).tolist() == [0, 1, 2, 1, 1]


def test_box_means_are_area_means() -> None:
    x = np.random.default_rng(0).normal(size=(2, 1, 64, 5)).astype(np.float32)
    np.testing.assert_allclose(box_means(x, 2, 16), x.reshape(2, 1, 16, 4, 5).mean(3), atol=1e-6)
    assert box_means(x, 3, 16) is x


def grid(x: np.ndarray, side: int = 32) -> np.ndarray:
    return (cv2.resize(x, (side, side), interpolation=cv2.INTER_AREA).transpose(2, 0, 1) / 127.5 - 1).astype(np.float32)


def photos() -> list[np.ndarray]:
    """Sixty different views of two photographs."""
    rng = np.random.default_rng(0)
    out = []
    for picture in load_sample_images().images:
        for _ in range(30):
            y, x = rng.integers(0, 227), rng.integers(0, 440)
            out.append(np.ascontiguousarray(picture[y : y + 200, x : x + 200]))
    return out


def jpeg(x: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def smaller(x: np.ndarray, factor: float) -> np.ndarray:
    return cv2.resize(x, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


CHANGES = {
    "jpeg 90": lambda x: jpeg(x, 90),
    "jpeg 50": lambda x: jpeg(x, 50),
    "jpeg 30": lambda x: jpeg(x, 30),
    "half": lambda x: smaller(x, 0.5),
    "third, jpeg 80": lambda x: jpeg(smaller(x, 1 / 3), 80),
    "brighter": lambda x: np.clip(x.astype(int) + 12, 0, 255).astype(np.uint8),
    "contrast": lambda x: np.clip((x - 128.0) * 1.1 + 128, 0, 255).astype(np.uint8),
    "noise": lambda x: np.clip(x + np.random.default_rng(0).normal(0, 4, x.shape), 0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("change", CHANGES)
def test_saved_again_resized_or_brightened_photos_are_found(change: str) -> None:
    originals = photos()
    both = [grid(p) for p in originals] + [grid(CHANGES[change](p)) for p in originals]
    groups = near_duplicates(np.stack(both))
    found = np.mean(groups[60:] == groups[:60])
    assert found >= 0.9, f"{change}: {found:.0%} found"


def test_different_digits_are_not_taken_for_duplicates() -> None:
    x, _ = load_digits(return_X_y=True)
    x = (x.reshape(-1, 1, 8, 8) / 8 - 1).astype(np.float32)
    groups = near_duplicates(x)
    assert len(groups) - len(np.unique(groups)) <= 2
    twice = near_duplicates(np.concatenate([x, x[:100]]))
    assert (twice[len(x) :] == twice[:100]).all()


def test_pictures_of_one_scene_are_not_all_one() -> None:
    """A fixed camera: the scene is the same, a small object moves, sensor noise. Saved-again frames are still found."""
    rng = np.random.default_rng(0)
    scene = grid(photos()[0], 64)
    frames = []
    for _ in range(100):
        frame = scene + rng.normal(0, 0.01, scene.shape).astype(np.float32)
        y, x = rng.integers(2, 56, 2)
        frame[:, y : y + 6, x : x + 6] = rng.uniform(-1, 1)
        frames.append(frame)
    again = [f + rng.normal(0, 0.004, f.shape).astype(np.float32) for f in frames[:20]]
    groups = near_duplicates(np.stack(frames + again).astype(np.float32))
    assert len(np.unique(groups[:100])) >= 95
    assert (groups[100:] == groups[:20]).mean() >= 0.9


def test_the_threshold_for_a_handful_is_the_fixed_one() -> None:
    assert near_threshold(signature(np.zeros((3, 1, 8, 8), np.float32))) == 0.1
    assert near_duplicates(np.zeros((0, 1, 8, 8), np.float32)).tolist() == []


def test_blank_pictures_of_different_levels_are_different() -> None:
    levels = np.linspace(-1, 1, 4).astype(np.float32)
    x = np.broadcast_to(levels[:, None, None, None], (4, 1, 8, 8)).copy()
    assert near_duplicates(np.concatenate([x, x[:1]])).tolist() == [0, 1, 2, 3, 0]
