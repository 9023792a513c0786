"""A recipe as a callable in training loops: PyTorch data sets and loaders, `torchvision`'s folders, Hugging Face data sets.

What happens to a picture follows from the seed, its id, and the epoch, and from nothing else; so it is the same with any number of
worker processes. The epoch lies in memory that the workers share, so that it reaches those that live on from epoch to epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

from augmint.core import rng
from augmint.core.errors import UserError
from augmint.transforms import run_cv, run_mix
from augmint.transforms.mix import Pool
from augmint.transforms.plan import Plan
from augmint.transforms.recipe import Recipe
from augmint.transforms.run_mix import Load, Scene


class Augment:
    """Transforms pictures as a recipe says; each epoch otherwise.

    Args:
        recipe: a recipe, the name of a preset, or the path of a recipe file.
        seed: every random number follows from this one.
        ids, load: for recipes that mix samples: the ids of all training samples, and a function from an id to its `Scene`.

    Raises:
        UserError: if the recipe mixes samples and there are none to mix in.
    """

    def __init__(
        self, recipe: Recipe | str | Path, *, seed: int = 0, ids: Iterable[str] = (), load: Load | None = None
    ) -> None:
        self.recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
        self.seed, self._pool, self._load = seed, Pool(ids) if load is not None else None, load
        self._epoch: Tensor = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """From now on draw as in this epoch, in all workers; call it before an epoch begins, or let `sampler` do it."""
        self._epoch.fill_(epoch)

    def __call__(self, picture: Any, sample_id: str | int | None = None) -> Any:
        """A new picture of the same kind; where the recipe ends in `Normalize`, a float32 tensor ``[C, H, W]``.

        Args:
            picture: uint8 or uint16 array ``[H, W]`` or ``[H, W, C]``, tensor ``[C, H, W]`` of uint8, or picture of PIL.
            sample_id: what its random numbers follow from; without one, the picture's own pixels.
        """
        x = _array(picture)
        out = self.scene(Scene(x), _id_of(x) if sample_id is None else sample_id).picture
        return out if isinstance(out, Tensor) else _as(picture, out)

    def scene(self, scene: Scene, sample_id: str | int) -> Scene:
        """The same for a picture ``[H, W, C]`` with its targets and labels; `Scene.labels` become shares where samples are mixed, and
        `Scene.picture` a tensor where the recipe ends in `Normalize`."""
        own = str(sample_id)
        plan = self.recipe.draw(seed=self.seed, sample_id=own, epoch=self.epoch, pool=self._pool)
        how = self.recipe.normalize
        if how is None:
            return run_mix.apply(plan, scene, self._loaded)
        mean, std = how.numbers(scene.picture.shape[2])
        if not plan.others and not self.recipe.mixes and not scene.targets.is_there:
            x = run_cv.apply_normalised(plan, scene.picture, mean, std)  # not rounded in between
            return Scene(_tensor(x), scene.targets, scene.labels)
        out = run_mix.apply(plan, scene, self._loaded)
        return Scene(_tensor(run_cv.apply_normalised(Plan(), out.picture, mean, std)), out.targets, out.labels)

    def _loaded(self, name: str) -> Scene:
        assert self._load is not None  # or the plan would have no partners
        return self._load(name)

    def sampler(self, data: Sized | Sampler[int], *, shuffle: bool = True) -> Sampler[int]:
        """An order for ``DataLoader(sampler=...)`` that begins a new epoch each time it is gone through.

        Args:
            data: the data set; or another sampler, whose order is taken (its ``set_epoch`` is called too, if it has one).
            shuffle: a new order each epoch, which follows from the seed; or the data set's own.
        """
        return _Epochs(self, data, shuffle)

    def columns(self, image: str, sample_id: str | None = None) -> Callable[..., dict[str, Any]]:
        """A function for ``with_transform`` and ``map`` of Hugging Face `datasets`.

        Args:
            image: the column of pictures. sample_id: a column that names each sample; without one, ``map(with_indices=True)`` gives
                their numbers, else their pixels count.
        """
        return partial(_columns, self, image, sample_id)


class _Epochs(Sampler[int]):
    """Indices, epoch after epoch."""

    def __init__(self, augment: Augment, data: Sized | Sampler[int], shuffle: bool) -> None:
        self._augment, self._data, self._shuffle, self._next = augment, data, shuffle, augment.epoch
        self._told = augment.epoch

    def __len__(self) -> int:
        return len(self._data)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[int]:
        if self._augment.epoch != self._told:  # somebody has set it, to go on from a checkpoint, say
            self._next = self._augment.epoch
        epoch = self._told = self._next
        self._augment.set_epoch(epoch)
        self._next += 1
        if isinstance(self._data, Sampler):
            if hasattr(self._data, "set_epoch"):
                self._data.set_epoch(epoch)
            return iter(self._data)
        if not self._shuffle:
            return iter(range(len(self)))
        return iter(rng.permutation(rng.key("order", self._augment.seed, epoch), len(self)).tolist())


def _columns(
    augment: Augment,
    image: str,
    sample_id: str | None,
    rows: Mapping[str, Any],
    indices: Sequence[int] | int | None = None,
) -> dict[str, Any]:
    if image not in rows:
        raise UserError(f"there is no column '{image}'", mend="give one of " + ", ".join(rows))
    names: Any = rows[sample_id] if sample_id is not None else indices
    if not isinstance(rows[image], list):
        return {**rows, image: augment(rows[image], names)}
    each: Sequence[Any] = [None] * len(rows[image]) if names is None else names
    return {**rows, image: [augment(x, n) for x, n in zip(rows[image], each, strict=True)]}


def _array(picture: Any) -> NDArray[Any]:
    """``[H, W, C]``."""
    if isinstance(picture, np.ndarray):
        return picture[..., None] if picture.ndim == 2 else picture
    if isinstance(picture, Tensor):
        if picture.ndim != 3 or picture.dtype != torch.uint8:
            raise UserError(
                f"a tensor of shape {list(picture.shape)} and type {picture.dtype}",
                mend="give uint8 [C, H, W]; run_torch.augment takes batches of floats",
            )
        return np.ascontiguousarray(picture.permute(1, 2, 0).cpu().numpy())
    if hasattr(picture, "getbands") and hasattr(picture, "convert"):
        has_alpha = "A" in picture.getbands() or "transparency" in picture.info
        grey = picture.mode in ("1", "L", "I;16")
        x = np.asarray(
            picture
            if grey and picture.mode != "1"
            else picture.convert("L" if grey else "RGBA" if has_alpha else "RGB")
        )
        return x[..., None] if x.ndim == 2 else x
    raise UserError(
        f"a {type(picture).__name__} is no picture", mend="give an array, a uint8 tensor, or a picture of PIL"
    )


def _as(like: Any, x: NDArray[Any]) -> Any:
    """A picture ``[H, W, C]`` as the kind that came in."""
    if isinstance(like, np.ndarray):
        return x[..., 0] if like.ndim == 2 else x
    if isinstance(like, Tensor):
        return _tensor(x).to(like.device)
    from PIL import Image

    return Image.fromarray(x[..., 0] if x.shape[2] == 1 else x)


def _tensor(x: NDArray[Any]) -> Any:
    """``[C, H, W]``."""
    return torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1)))


def _id_of(x: NDArray[Any]) -> str:
    return blake2b(repr(x.shape).encode() + np.ascontiguousarray(x).tobytes(), digest_size=16).hexdigest()
