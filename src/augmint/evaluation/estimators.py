"""Probes that are not the house's network: logistic regression on frozen features, scikit-learn's, the user's own."""

from __future__ import annotations

import copy
import importlib
import inspect
import sys
from collections.abc import Callable
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from augmint.core.errors import UserError, did_you_mean
from augmint.core.types import F32, I64
from augmint.evaluation.arms import CNN, LINEAR

Probe = Callable[[F32, I64, F32, int, str], I64]
"""``(x [N, C, *shape], y [N], test_x, seed, where)`` to the classes of ``test_x``; ``where`` is named in errors."""
_MEND = (
    "a probe is `module:name`: a function (x, y, test_x, seed) that returns the class of each test sample, or a class "
    "with fit and predict, such as sklearn.ensemble:RandomForestClassifier"
)


def find(name: str, fit_x: F32, fit_y: I64, *, seed: int = 0) -> Probe:
    """The probe of this name: ``linear``, or ``module:name`` of a function or of an estimator.

    Args:
        fit_x, fit_y: labelled reals, on which the frozen features of ``linear`` are learned; the same in every arm.

    Raises:
        UserError: if there is no such thing, or it cannot be called.
    """
    if name == LINEAR:
        from augmint.evaluation.features import trained_cnn_features

        features = trained_cnn_features(fit_x, fit_y, seed=seed)
        return lambda x, y, test_x, seed, where: linear(features(x), y, features(test_x))
    made = _named(name)
    if hasattr(made, "fit") and hasattr(made, "predict"):
        return _guarded(name, lambda x, y, test_x, seed: _estimate(made, x, y, test_x, seed))
    if callable(made):
        return _guarded(name, made)
    raise UserError(f"the probe '{name}' is neither a function nor an estimator", mend=_MEND)


def digest(name: str) -> str:
    """What the source file of ``module:name`` holds, as a hash; empty for the house's probes and where there is no file.

    A probe that was edited is another one: arms that it trained before and after must not stand side by side.

    Raises:
        UserError: if there is no such probe.
    """
    if name in (CNN, LINEAR):
        return ""
    made = _named(name)
    source = inspect.getsourcefile(made if isinstance(made, type) or inspect.isfunction(made) else type(made))
    return sha256(Path(source).read_bytes()).hexdigest()[:16] if source and Path(source).exists() else ""


def linear(x: F32, y: I64, test_x: F32) -> I64:
    """Classes ``[N]`` of ``test_x [N, D]`` by logistic regression (C = 1) on standardised features ``x [M, D]``."""
    from sklearn.linear_model import LogisticRegression

    centre, scale = x.mean(0), x.std(0) + 1e-6
    model = LogisticRegression(max_iter=300).fit((x - centre) / scale, y)
    out: I64 = np.asarray(model.predict((test_x - centre) / scale), dtype=np.int64)
    return out


def _named(name: str) -> Any:
    module, mark, attribute = name.partition(":") if ":" in name else name.rpartition(".")
    if not (module and mark and attribute):
        raise UserError(f"'{name}' names no probe", mend=_MEND)
    with _working_folder():
        try:
            found = importlib.import_module(module)
        except (Exception, SystemExit) as error:
            raise UserError(
                f"the probe '{name}' cannot be imported: {type(error).__name__}: {error}", mend=_MEND
            ) from error
    if not hasattr(found, attribute):
        raise UserError(f"there is no '{attribute}' in {module}{did_you_mean(attribute, dir(found))}", mend=_MEND)
    return getattr(found, attribute)


@contextmanager
def _working_folder() -> Any:
    """A module beside the user is found too; whatever is installed goes first."""
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _estimate(made: Any, x: F32, y: I64, test_x: F32, seed: int) -> Any:
    model = made() if isinstance(made, type) else copy.deepcopy(made)
    if hasattr(model, "get_params") and "random_state" in model.get_params():
        model.set_params(random_state=seed % 2**31)
    model.fit(x.reshape(len(x), -1), y)
    return model.predict(test_x.reshape(len(test_x), -1))


def _guarded(name: str, run: Callable[[F32, I64, F32, int], Any]) -> Probe:
    """Whatever goes wrong in somebody else's code is told with its name, and the answers are checked."""

    def probe(x: F32, y: I64, test_x: F32, seed: int, where: str) -> I64:
        try:
            found = np.asarray(run(x, y, test_x, seed))
        except (Exception, SystemExit) as error:
            raise UserError(
                f"the probe '{name}' failed: {type(error).__name__}: {error}",
                where=where,
                mend="mend the probe, and give another --out: an edited probe is another experiment",
            ) from error
        if found.shape != (len(test_x),) or found.dtype.kind not in "iuf" or not (found == np.round(found)).all():
            raise UserError(
                f"the probe '{name}' gave {found.dtype} of shape {found.shape} for {len(test_x)} samples",
                where=where,
                mend="return one whole number, the class index, for each test sample",
            )
        return found.astype(np.int64)

    return probe
