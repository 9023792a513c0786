"""The kinds of data, by name; each is one file, imported when it is asked for."""

from __future__ import annotations

import os
from collections import Counter
from importlib import import_module
from pathlib import Path, PurePath

from augmint.core.errors import UserError, did_you_mean
from augmint.core.types import Modality

MODALITIES: dict[str, str] = {
    "image": "augmint.modalities.image:ImageModality",
    "speech": "augmint.modalities.speech:SpeechModality",
    "table": "augmint.modalities.table:TableModality",
}


def get(name: str) -> Modality:
    """The modality of this name."""
    if name not in MODALITIES:
        raise UserError(
            f"there is no modality '{name}'{did_you_mean(name, MODALITIES)}", mend="one of: " + ", ".join(MODALITIES)
        )
    module, cls = MODALITIES[name].split(":")
    modality: Modality = getattr(import_module(module), cls)()
    return modality


def find(root: Path) -> str:
    """The name of the kind of data that most files below a folder are of, by their endings; of a tie, the first kind's.

    Raises:
        UserError: if no file there is of any kind.
    """
    known = {name: getattr(get(name), "suffixes", ()) for name in MODALITIES}
    endings = Counter(PurePath(name).suffix.lower() for _, _, names in os.walk(root) for name in names)
    if not any(endings[suffix] for suffixes in known.values() for suffix in suffixes):
        others = ", ".join(suffix or "nothing" for suffix, _ in endings.most_common(5))
        kinds = "; ".join(f"{name}: {' '.join(suffixes)}" for name, suffixes in known.items() if suffixes)
        raise UserError(
            "the folder holds no samples" + (f"; its files end in {others}" if others else ""),
            where=root,
            mend=f"check the path, or put files of one kind into it ({kinds})",
        )
    return max(known, key=lambda name: sum(endings[suffix] for suffix in known[name]))
