"""Transforms in training loops: the same with any workers, another each epoch; and recipes from albumentations."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from augmint.core.errors import UserError
from augmint.transforms import run_cv, run_mix, run_torch
from augmint.transforms.loops import Augment
from augmint.transforms.migrate import from_albumentations
from augmint.transforms.mix import Pool
from augmint.transforms.plan import Plan
from augmint.transforms.recipe import Recipe
from augmint.transforms.run_mix import Scene
from augmint.transforms.targets import Targets
from test_transforms_run import noise_image, to_tensor

COUNT = 12
DICT = json.loads((Path(__file__).parent / "albumentations.json").read_text())


class Pictures(Dataset):
    """Grainy pictures, augmented as they are fetched; each comes with its index."""

    def __init__(self, augment: Augment) -> None:
        self.augment = augment

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, i: int):
        return i, self.augment(to_uint8(i), i)


def to_uint8(i: int) -> torch.Tensor:
    return torch.from_numpy(noise_image(10, 12, 3, seed=i)).permute(2, 0, 1).contiguous()


def epochs(loader: DataLoader, count: int) -> list[dict[int, bytes]]:
    """What each epoch gave, by index."""
    return [
        {int(i): x.numpy().tobytes() for indices, pictures in loader for i, x in zip(indices, pictures, strict=True)}
        for _ in range(count)
    ]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_that_live_on_draw_anew_each_epoch_and_alike_in_any_number():
    found = []
    for workers, persistent in ((0, False), (2, True), (3, False)):
        augment = Augment("strong", seed=5)
        data = Pictures(augment)
        how = {"persistent_workers": True} if persistent else {}
        loader = DataLoader(data, batch_size=4, num_workers=workers, sampler=augment.sampler(data), **how)
        found.append(epochs(loader, 3))
    assert found[0] == found[1] == found[2]
    for a, b in ((0, 1), (1, 2), (0, 2)):
        same = sum(found[0][a][i] == found[0][b][i] for i in range(COUNT))
        assert same <= 1
    alone = Augment("strong", seed=5)
    alone.set_epoch(2)
    assert alone(to_uint8(3), 3).numpy().tobytes() == found[0][2][3]


def test_an_epoch_is_gone_on_from_and_set_by_hand_in_workers_that_live_on():
    augment = Augment("medium")
    data = Pictures(augment)
    loader = DataLoader(data, batch_size=4, num_workers=1, persistent_workers=True)
    seen = []
    for epoch in (0, 1, 0):
        augment.set_epoch(epoch)
        seen += epochs(loader, 1)
    assert seen[0] == seen[2] != seen[1]
    later = Augment("medium")
    later.set_epoch(1)
    resumed = DataLoader(Pictures(later), batch_size=4, sampler=later.sampler(Pictures(later)))
    assert epochs(resumed, 1)[0] == seen[1] and later.epoch == 1
    epochs(resumed, 1)
    assert later.epoch == 2


def test_samplers_shuffle_each_epoch_otherwise_and_take_others_along():
    augment = Augment("light", seed=1)
    sampler = augment.sampler(range(50))
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(50)) and first != second and len(sampler) == 50
    assert list(Augment("light", seed=1).sampler(range(50))) == first
    assert list(augment.sampler(range(5), shuffle=False)) == [0, 1, 2, 3, 4]
    ranks = [DistributedSampler(range(10), num_replicas=2, rank=r) for r in (0, 1)]
    both = [Augment("light").sampler(r) for r in ranks]
    orders = [[list(s) for s in both] for _ in range(2)]
    assert all(sorted(a + b) == list(range(10)) for a, b in orders) and orders[0] != orders[1]  # set_epoch was called


def test_a_picture_stays_what_it_is():
    augment = Augment(Recipe.from_dict({"ops": [{"Invert": {}}]}))
    rgb = noise_image(6, 7, 3)
    for x in (rgb, rgb[..., :1], rgb[..., 0], rgb.astype(np.uint16) * 257):
        out = augment(x, "a")
        assert out.dtype == x.dtype and out.shape == x.shape
        np.testing.assert_array_equal(out, np.iinfo(x.dtype).max - x)
    tensor = augment(to_uint8(0), 0)
    assert torch.equal(tensor, 255 - to_uint8(0))
    for mode, want in (("RGB", "RGB"), ("L", "L"), ("RGBA", "RGBA"), ("P", "RGB"), ("1", "L"), ("CMYK", "RGB")):
        picture = Image.fromarray(rgb).convert(mode)
        out = augment(picture)
        assert isinstance(out, Image.Image) and out.mode == want and out.size == picture.size
    for wrong in ("a.png", torch.zeros(3, 4, 4)):
        with pytest.raises(UserError):
            augment(wrong)


def test_without_ids_the_pixels_decide():
    augment = Augment("strong")
    a, b = noise_image(9, 9, 3), noise_image(9, 9, 3, seed=1)
    np.testing.assert_array_equal(augment(a), augment(a.copy()))
    before = augment(a)
    augment.set_epoch(1)
    assert (augment(a) != before).any()
    assert (augment(b) != augment(a)).any()


def test_normalize_ends_a_recipe_in_numbers():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    x = noise_image(8, 9, 3)
    augment = Augment(
        Recipe.from_dict({"ops": ["HorizontalFlip", {"Normalize": {"mean": list(mean), "std": list(std)}}]})
    )
    flipped = [s.op for s in augment.recipe.draw(seed=0, sample_id="a").steps] == ["HorizontalFlip"]
    want = (x[:, :: -1 if flipped else 1] / 255 - mean) / std
    got = augment(x, "a")
    assert got.dtype == torch.float32 and got.shape == (3, 8, 9)
    np.testing.assert_allclose(got.permute(1, 2, 0), want, atol=1e-5)
    scene = augment.scene(Scene(x, Targets(boxes=np.array([[0.0, 0, 4, 4]]))), "a")
    assert torch.equal(scene.picture, got) and scene.targets.boxes[0, 0] == (5 if flipped else 0)
    grey = Augment(Recipe.from_dict({"ops": ["Invert", "Normalize"]}))(x[..., 0], "a")
    np.testing.assert_allclose(grey[0], ((255 - x[..., 0]) / 255 - np.mean(mean)) / np.mean(std), atol=1e-5)
    batch = run_torch.augment(to_tensor(x), Recipe.from_dict({"ops": ["Invert", "Normalize"]}), np.zeros(1, np.uint64))
    np.testing.assert_allclose(batch[0].permute(1, 2, 0), ((255 - x) / 255 - mean) / std, atol=1e-5)


@pytest.mark.parametrize(
    ("ops", "words"),
    [
        (["Normalize", "Rotate"], "write it last"),
        ([{"OneOf": {"ops": ["Normalize"]}}], "write it last"),
        (["Rotate", {"Normalize": {"std": 0}}], "std is 0"),
        (["Rotate", {"Normalize": {"mean": "x"}}], "mean is 'x'"),
        (["Rotate", {"Normalize": {"means": 1}}], "did you mean 'mean'"),
    ],
)
def test_a_wrong_normalize_is_told(ops, words):
    with pytest.raises(UserError, match=words):
        Recipe.from_dict({"ops": ops})


def test_files_hold_no_normalised_numbers(tmp_path):
    path = tmp_path / "n.yaml"
    path.write_text("ops:\n  - Rotate\n  - Normalize: {mean: 0.5, std: 0.5}\n")
    recipe = Recipe.load(path)
    assert recipe.normalize is not None and Recipe.from_dict(recipe.to_dict()) == Recipe.from_dict(
        json.loads(json.dumps(recipe.to_dict()))
    )
    with pytest.raises(UserError, match="files hold pictures"):
        Recipe.load(path, levels=True)
    with pytest.raises(UserError, match="2 numbers for 3 channels"):
        Augment(Recipe.from_dict({"ops": ["Invert", {"Normalize": {"mean": [0.5, 0.5]}}]}))(noise_image(4, 4, 3))


def test_mixing_in_a_loop_gives_soft_labels():
    scenes = {str(i): Scene(noise_image(8, 8, 3, seed=i), labels={"ab"[i % 2]: 1.0}) for i in range(6)}
    recipe = Recipe.from_dict({"ops": [{"MixUp": {"alpha": 1.0}}, {"Normalize": {"mean": 0, "std": 1}}]})
    augment = Augment(recipe, seed=2, ids=scenes, load=scenes.__getitem__)
    augment.set_epoch(3)
    for name, scene in scenes.items():
        out = augment.scene(scene, name)
        plan = recipe.draw(seed=2, sample_id=name, epoch=3, pool=Pool(scenes))
        want = run_mix.apply(plan, scene, scenes.__getitem__)
        np.testing.assert_allclose(out.picture.permute(1, 2, 0), want.picture / 255, atol=1e-6)
        assert out.labels == want.labels and sum(out.labels.values()) == pytest.approx(1)
    with pytest.raises(UserError, match="needs other samples"):
        Augment(recipe)(noise_image(4, 4, 3))


def test_columns_serve_hugging_face_data_sets():
    augment = pickle.loads(pickle.dumps(Augment("strong", seed=1)))
    pictures = [Image.fromarray(noise_image(9, 9, 3, seed=i)) for i in range(3)]
    rows = {"image": pictures, "label": [0, 1, 0], "name": ["a", "b", "c"]}
    by_name = augment.columns("image", sample_id="name")(rows)  # with_transform gives a batch as lists
    assert by_name["label"] == rows["label"] and rows["image"] is pictures
    for x, name, out in zip(pictures, rows["name"], by_name["image"], strict=True):
        np.testing.assert_array_equal(out, augment(x, name))
    by_index = augment.columns("image")(rows, [4, 5, 6])  # map(with_indices=True, batched=True)
    np.testing.assert_array_equal(by_index["image"][1], augment(pictures[1], 5))
    one = augment.columns("image")({"image": pictures[0]}, 4)  # map, a row at a time
    np.testing.assert_array_equal(one["image"], by_index["image"][0])
    with pytest.raises(UserError, match="no column 'img'"):
        augment.columns("img")(rows)


# -- from albumentations ---------------------------------------------------------------------------------------------


def test_a_pipeline_of_albumentations_becomes_a_recipe():
    recipe = from_albumentations(DICT)  # what 2.0.8 gave
    two = {"factor": [0.8, 1.2], "degrees": [-20, 20], "shift_frac": [-0.1, 0.1]}
    lit = {"add_frac": [-0.3, 0.3], "factor": [0.9, 1.1]}
    want = Recipe.from_dict(
        {
            "name": "albumentations",
            "border": "zero",
            "ops": [
                {
                    "RandomResizedCrop": {
                        "height_px": 64,
                        "width_px": 80,
                        "area_frac": [0.08, 1],
                        "aspect": [0.75, 4 / 3],
                    }
                },
                {"HorizontalFlip": {"p": 0.3}},
                {"Affine": {**two, "x_degrees": [-8, 8], "y_degrees": [-8, 8], "p": 0.7}},
                {
                    "OneOf": {
                        "p": 0.8,
                        "ops": [{"BrightnessContrast": lit}, {"Gamma": {"exponent": [0.7, 1.3]}}, "CLAHE"],
                    }
                },
                {
                    "SomeOf": {
                        **{"p": 0.5, "num": 2},
                        "ops": [
                            {"GaussianBlur": {"sigma_px": [0.5, 3], "p": 0.5}},
                            {"GaussianNoise": {"sigma_frac": [0.2, 0.44], "p": 0.5}},
                            {"JPEG": {"quality": [99, 100], "p": 0.5}},
                        ],
                    }
                },
                {"Sometimes": {"p": 0.2, "ops": ["ToGray", {"Invert": {"p": 0.9}}]}},
                {"CoarseDropout": {"side_frac": [0.1, 0.2], "holes": 2, "fill": 0.0, "p": 0.5}},
                "Normalize",
            ],
        }
    )
    assert json.dumps(rounded(recipe.to_dict())) == json.dumps(rounded(want.to_dict()))
    assert Augment(recipe)(noise_image(90, 90, 3)).shape == (3, 64, 80)


def rounded(x):
    """Numbers to six places, whatever they are in."""
    if isinstance(x, dict):
        return {k: rounded(x[k]) for k in sorted(x)}
    return [rounded(v) for v in x] if isinstance(x, list) else round(float(x), 6) if isinstance(x, int | float) else x


def test_what_has_no_counterpart_is_named_whole():
    found = {
        "transforms": [{"__class_fullname__": n, "p": 0.5} for n in ("HorizontalFlip", "ISONoise", "Snow", "Rotate")]
    }
    with pytest.raises(UserError, match="no counterpart for ISONoise, Snow, Rotate without 'limit'"):
        from_albumentations(found)
    with pytest.raises(UserError, match="no albumentations pipeline"):
        from_albumentations({"ops": []})
    for thing in (object(), None, [], "Compose", {"transforms": None}, {"transforms": [object()]}):
        with pytest.raises(UserError, match=r"transform\.to_dict\(\)"):
            from_albumentations(thing)
    odd = {
        "__class_fullname__": "OneOf",
        "transforms": [{"__class_fullname__": n, "p": p} for n, p in (("ToGray", 0.1), ("InvertImg", 0.2))],
    }
    with pytest.raises(UserError, match="unequal weights"):
        from_albumentations({"transforms": [odd]})


@pytest.mark.parametrize(
    ("entry", "step"),
    [
        ({"__class_fullname__": "Rotate", "limit": [20, 20], "border_mode": 0}, ("Rotate", {"degrees": 20})),
        ({"__class_fullname__": "RandomGamma", "gamma_limit": [150, 150]}, ("Gamma", {"exponent": 1.5})),
        ({"__class_fullname__": "GaussNoise", "std_range": [0.1, 0.1]}, ("GaussianNoise", {"sigma_frac": 0.1})),
        ({"__class_fullname__": "Blur", "blur_limit": [5, 5]}, ("GaussianBlur", {"sigma_px": 2**0.5})),
        (
            {
                "__class_fullname__": "HueSaturationValue",
                "hue_shift_limit": [10, 10],
                "sat_shift_limit": [51, 51],
                "val_shift_limit": [0, 0],
            },
            ("ColorJitter", {"hue_degrees": 20, "saturation": 1.2, "brightness": 1, "contrast": 1}),
        ),
        (
            {
                **{"__class_fullname__": "ShiftScaleRotate", "shift_limit_x": [0.1, 0.1], "shift_limit_y": [0.1, 0.1]},
                **{"scale_limit": [0.2, 0.2], "rotate_limit": [20, 20]},
            },
            ("Affine", {"factor": 1.2, "degrees": 20, "x_frac": 0.1, "y_frac": 0.1, "x_degrees": 0, "y_degrees": 0}),
        ),
    ],
)
def test_units_are_carried_over(entry, step):
    (found,) = from_albumentations({"transforms": [{**entry, "p": 1.0}]}).draw(seed=0, sample_id="a").steps
    numbers = {k: v for k, v in found.params.items() if k != "key"}
    assert (found.op, numbers) == (step[0], pytest.approx(step[1]))


def test_brightness_contrast_is_one_matrix():
    x = noise_image(9, 9, 3)
    plan = Plan.from_dict({"steps": [{"op": "BrightnessContrast", "add_frac": 0.1, "factor": 1.25}]})
    want = np.clip((x / 255 - 0.5) * 1.25 + 0.5 + 0.1, 0, 1) * 255
    assert np.abs(run_cv.apply(plan, x) - want).max() <= 0.51
