"""What a run calls by short names, in words for people: probes, features, arms, settings, and who made the samples."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from augmint.report.numbers import Row

CNN = "cnn"  # the house's probe; the only one that is trained in steps
_NETS = {True: "fully connected net", False: "convolutional net", None: "net"}
_PIXELS = {
    True: "the numbers themselves",
    False: "the samples themselves, at most {} cells an axis",
    None: "the samples themselves",
}
_NAMED = re.compile(
    r"cnn-(classes|clusters)-\d+(?:@\w+)?|pixels-(\d+)(?:@\w+)?|logistic regression, (\d+) cells an axis"
)
_PATHS = {"prove": "REAL SYNTHETIC"}


@dataclass(frozen=True)
class Terms:
    """What decides how the page of a run speaks.

    Attributes:
        verb: what made the run. probe: the name of the probe, empty where none was trained.
        is_flat: whether samples are rows of numbers without an axis; ``None`` where the run does not say.
        is_foreign: whether nobody knows what the maker of the synthetic samples has seen.
        arms: titles of the arms by name.
    """

    verb: str = ""
    probe: str = CNN
    is_flat: bool | None = None
    is_foreign: bool = False
    arms: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, state: Row, choices: Row, proof: Row | None, registered: Row | None) -> Terms:
        verb, size = str(state.get("verb", "")), _value(choices, "grid")
        plan: Row = (registered or {}).get("plan") or {}
        arms = [*(plan.get("arms") or ()), *((proof or {}).get("arms") or ())]
        return cls(
            verb=verb,
            probe=str((proof or {}).get("probe") or (state.get("config") or {}).get("probe") or CNN),
            is_flat=all(n == 1 for n in size[1:]) if isinstance(size, list) and size else None,
            is_foreign=verb == "prove" and _value(choices, "maker") != "augmint",
            arms={str(a["name"]): str(a.get("title") or a["name"]) for a in arms},
        )

    @property
    def net(self) -> str:
        return _NETS[self.is_flat]

    def features(self, text: str) -> str:
        """A text with the names of features in it, such as ``cnn-classes-64@d86d91fc``, said in words."""

        def told(found: re.Match[str]) -> str:
            learned, pixels, cells = found.groups()
            if learned:
                return f"a small {self.net} taught the {learned} of the training reals"
            if pixels:
                return _PIXELS[self.is_flat].format(pixels)
            return "logistic regression on " + _PIXELS[self.is_flat].format(cells)

        return _NAMED.sub(told, text)

    def arm(self, name: Any) -> str:
        return self.arms.get(str(name), str(name))

    @property
    def probe_told(self) -> str:
        known = {
            CNN: f"a small {self.net}, trained from the start",
            "linear": f"logistic regression on the frozen features of a small {self.net}",
        }
        return known.get(self.probe, self.probe)

    @property
    def pairing(self) -> str:
        """What is the same in all arms."""
        if self.probe == CNN:
            return "All arms train the same probe for the same number of steps from the same starts, so that differences are paired."
        return "All arms train the same probe with the same seeds, so that differences are paired."

    @property
    def seed(self) -> str:
        """What a pair of results has in common."""
        return "the same start and order of batches in both arms" if self.probe == CNN else "the same in both arms"

    def choices(self, found: Row) -> dict[str, Row]:
        """The inferred values that mean something in this run, arms by their titles."""
        out = {str(k): v for k, v in found.items() if isinstance(v, Mapping)}
        if self.probe != CNN:
            out.pop("probe_steps", None)
        if self.is_flat:
            out.pop("grid", None)  # as many columns as there are: nothing was settled
        if names := _value(out, "extra_arms"):
            out["extra_arms"] = {**out["extra_arms"], "value": [self.arm(n) for n in names]}
        if "proof_seconds" in out:
            # Its own reason counts arms by what they cost, which is not how many there are.
            out["proof_seconds"] = {**out["proof_seconds"], "reason": "estimated before anything was trained"}
        return out

    def command(self, name: str, inputs: Row) -> str:
        """How to make the run again where its command was not kept: with the paths to be filled in."""
        if not self.verb:
            return ""
        pool = " --unlabelled POOL" if "unlabelled" in inputs else ""
        config = shlex.quote(f"{name}/config.yaml")
        return f"augmint {self.verb} {_PATHS.get(self.verb, 'DATA')}{pool} --config {config} --out OUT"


def _value(choices: Row, name: str) -> Any:
    found = choices.get(name)
    return found.get("value") if isinstance(found, Mapping) else None
