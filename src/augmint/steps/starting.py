"""Starting a GAN from another run: what must be the same, and what that run must not have seen."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np

from augmint.core.errors import Refused, UserError
from augmint.core.run import read_json
from augmint.core.types import F32, Codec, Modality, Sample
from augmint.data.leaks import copies
from augmint.data.split import Fold
from augmint.generation.draw import Gan
from augmint.steps.prepare import Prepared
from augmint.training.transfer import Start


def load(folder: Path, modality: Modality, size: str | None, tier: str) -> tuple[Gan, str]:
    """The GAN of a run (or of an export) to start from, and its size.

    Raises:
        UserError: if it is of another kind of data, another tier, or another size than the one set.
    """
    about = read_json(folder / "gan.json")
    if about["modality"] != modality.name:
        raise UserError(
            f"the run to start from made {about['modality']} data, this is {modality.name} data",
            where=folder,
            mend="start from a run on the same kind of data",
        )
    if size is not None and about["size"] != size:
        raise UserError(
            f"the run to start from has networks of the size '{about['size']}', not '{size}'",
            where=folder,
            mend=f"give --size {about['size']}",
        )
    gan = Gan.load(folder, modality)
    if gan.verifier.tier != tier:
        raise UserError(
            f"the run to start from is of the tier '{gan.verifier.tier}', not '{tier}'",
            where=folder,
            mend=f"give --tier {gan.verifier.tier}",
        )
    return gan, about["size"]


def fingerprint(folder: Path) -> str:
    """SHA-256 over the weights of a run's GAN."""
    parts = [(folder / "gan" / f"{name}.safetensors").read_bytes() for name in ("generator", "verifier")]
    return sha256(b"".join(parts)).hexdigest()


def start(gan: Gan, folder: Path, prepared: Prepared, fold: Fold) -> tuple[Start, str]:
    """The weights to start from, and a sentence on them.

    Raises:
        UserError: if that GAN works on another grid.
        Refused: if it has learned a sample of this fold's test part.
    """
    theirs, ours = gan.codec.grid, prepared.codec.grid
    if theirs != ours:
        raise UserError(
            f"the run to start from works on a grid of {theirs.size}, this data gets one of {ours.size}",
            where=folder,
            mend=f"give --grid {max(theirs.shape)}, if channels and shape agree; else train from the start",
        )
    found = Start(gan.name, gan.classes, gan.generator.state_dict(), gan.verifier.state_dict())
    told = found.told(prepared.data.classes)
    if gan.known is None:
        return found, f"{told}; its training samples are not with it: nobody can tell whether it has seen the test part"
    test = prepared.x[fold.test]
    learned = _recoded(gan.known.x, gan.codec, prepared.codec)
    seen = copies(learned, test, np.concatenate([prepared.x, learned]))
    if seen:
        raise Refused(
            f"the run to start from has learned {len(seen)} samples of this data's test part; the first: "
            f"{prepared.data.ids[int(fold.test[seen[0].test])]}",
            where=folder,
            mend="start from a run on other data; of the same folder, give the --seed of that run, for the same split",
        )
    return found, told


def _recoded(x: F32, old: Codec, new: Codec) -> F32:
    """Grid tensors as another codec would have made them of the same samples."""
    if not len(x):
        return x
    return np.stack([new.encode(Sample("", old.decode(one))) for one in x])
