"""The kinds of data, by name; each is one file, imported when it is asked for."""

from __future__ import annotations

from importlib import import_module

from augmint.core.errors import UserError, did_you_mean
from augmint.core.types import Modality

MODALITIES: dict[str, str] = {
    "image": "augmint.modalities.image:ImageModality",
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
