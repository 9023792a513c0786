"""Ops that need other sounds: of the data set itself, or files of a folder. Their numbers; `run_mix_audio` computes them.

A step names what it mixes in: the id of a sample, or ``file:`` and the path of a file as the recipe gives it, from where the command
runs. Partners of `MixUp` and `Concat` went through the ops that stand before it in the recipe; the talkers of a babble, backgrounds and
impulse responses are as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from augmint.core.errors import UserError
from augmint.transforms.mix import Mix, Pool
from augmint.transforms.mix import MixUp as PictureMixUp
from augmint.transforms.op import EVEN, KEY, Law, Range, number, within


@dataclass(frozen=True, kw_only=True)
class MixUp(PictureMixUp):
    """Add another sound (Zhang et al. 2017, arXiv 1710.09412, equation 2), from its beginning, cut or followed by silence where it is not
    as long.

    ``alpha``: of Beta(alpha, alpha), within [0.01, 100]; small ones mostly mix in little. This sound's share is the greater one.
    """


@dataclass(frozen=True, kw_only=True)
class Concat(Mix):
    """Another sound behind this one. ``gap_s``: silence between them in seconds, within [0, 5]. Transcripts are joined too; of two
    classes each has its share of the time."""

    on_batches: ClassVar[bool] = True
    num_uniforms: ClassVar[int] = 1
    laws: ClassVar[tuple[Law, ...]] = (Law("gap_s", "gap_s"),)
    gap_s: Range = field(default=(0.05, 0.3), metadata=within(0, 5))


@dataclass(frozen=True, kw_only=True)
class AddBabble(Mix):
    """Other people talk: sounds of the data set, each as loud as the others, from anywhere in them and repeated as long as needed.

    ``snr_db``: mean power of the sound over that of the babble, in dB, within [-20, 100]; ``talkers``: how many, from 1 to 20.
    """

    on_batches: ClassVar[bool] = True
    num_uniforms: ClassVar[int] = 2
    has_more: ClassVar[bool] = True
    is_raw: ClassVar[bool] = True
    laws: ClassVar[tuple[Law, ...]] = (Law("snr_db", "snr_db"), KEY)
    snr_db: Range = field(default=(5.0, 25.0), metadata=within(-20, 100))
    talkers: int = field(default=5, metadata=number(1, 20, whole=True))

    @property
    def wanted(self) -> int:
        return self.talkers


@dataclass(frozen=True, kw_only=True)
class _OfFolder(Mix):
    """``folder``: where the files lie, also in folders within it."""

    is_raw: ClassVar[bool] = True
    folder: str = ""

    @classmethod
    def build(cls, settings: Mapping[str, Any]) -> Self:
        folder = settings.get("folder")
        if not isinstance(folder, str) or not folder:
            raise UserError(
                f"{cls.__name__}: folder is {folder!r}", mend="write the path of one with sounds: {folder: noises}"
            )
        return super().build(settings)

    def source(self, pool: Pool) -> Pool:
        return pool.of_folder(self.folder)


@dataclass(frozen=True, kw_only=True)
class AddBackground(_OfFolder):
    """Add a recording of surroundings, from anywhere in it; where it is shorter than the sound, it is repeated.

    ``folder``: of such recordings; ``snr_db``: mean power of the sound over that of the background, in dB, within [-20, 100]. In silence
    nothing is added.
    """

    num_uniforms: ClassVar[int] = 2
    laws: ClassVar[tuple[Law, ...]] = (Law("snr_db", "snr_db"), Law("from_frac", EVEN))
    snr_db: Range = field(default=(5.0, 30.0), metadata=within(-20, 100))


@dataclass(frozen=True, kw_only=True)
class ImpulseResponse(_OfFolder):
    """A room or a device, by its recorded answer to a click (the first channel of the file, from its peak on).

    ``folder``: of such recordings. The sound's length and power stay about the same: put `Pad` before it to hear the last echo out.
    """


SOUND_MIXES: dict[str, type[Mix]] = {
    op.__name__: op for op in (MixUp, Concat, AddBabble, AddBackground, ImpulseResponse)
}
