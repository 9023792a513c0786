"""From a few real samples to a training set you can trust.

    import augmint as am

    data = am.read("photos/")
    gan = am.train(data)
    new = gan.generate(100, label="cat")
    proof = am.prove(data, new)

Names are loaded when they are first used: ``import augmint`` alone loads neither torch nor pandas.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from augmint.core.errors import UserError
    from augmint.core.types import Dataset, Sample
    from augmint.evaluation.proof import Proof
    from augmint.generation.draw import Gan
    from augmint.transforms.loops import Augment
    from augmint.transforms.migrate import from_albumentations
    from augmint.transforms.recipe import Recipe
    from augmint.verbs import (
        augment,
        boost,
        demo,
        doctor,
        export,
        generate,
        inspect,
        load,
        preview,
        prove,
        read,
        report,
        train,
    )

    __version__: str

_HOMES = {
    "augmint.verbs": "read load boost augment train generate prove report export inspect preview replay doctor demo",
    "augmint.core.types": "Dataset Sample",
    "augmint.core.errors": "UserError",
    "augmint.evaluation.proof": "Proof",
    "augmint.generation.draw": "Gan",
    "augmint.transforms.loops": "Augment",
    "augmint.transforms.migrate": "from_albumentations",
    "augmint.transforms.recipe": "Recipe",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "Augment",
    "Dataset",
    "Gan",
    "Proof",
    "Recipe",
    "Sample",
    "UserError",
    "__version__",
    "augment",
    "boost",
    "demo",
    "doctor",
    "export",
    "from_albumentations",
    "generate",
    "inspect",
    "load",
    "preview",
    "prove",
    "read",
    "replay",
    "report",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("augmint")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'augmint' has no attribute '{name}'")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return __all__


class _Package(ModuleType):
    """Keeps ``augmint.report`` the verb: the import system would put the sub-package of that name in its place."""

    @property
    def report(self) -> Any:
        return __getattr__("report")

    @report.setter
    def report(self, module: ModuleType) -> None:
        """Reached as ``from augmint.report import ...`` all the same."""


sys.modules[__name__].__class__ = _Package
