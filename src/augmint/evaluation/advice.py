"""What to do next, as the evidence has it: use it, leave it out, label more, or train on the pool itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from augmint.core.wording import number_of, signed

if TYPE_CHECKING:
    from augmint.evaluation.proof import Proof

_POOL_ARMS = ("consistency", "self_training", "spread", "spread_features", "spread_trained", "pool_labelled")
_VERIFIER_ARMS = ("verifier", "verifier_linear", "backbone")
_MOST_NAMED = 3
Row = Mapping[str, Any]


def advise(proof: Proof, recalls: Sequence[Row]) -> list[str]:
    """Lines of advice.

    Args:
        recalls: of each class that the test part can judge: ``class``, ``recall``, ``ci95`` in percent, and ``labelled``,
            the number of its labelled samples in training (``None``: unknown).
    """
    return [
        *_on_use(proof), *_on_worth(proof), *_on_pool(proof), *_on_verifier(proof), *_on_weak_classes(proof, recalls)
    ]  # fmt: skip


_WHY = {
    "HURTS": "proven to hurt here",
    "NO DIFFERENCE": "proven to make no difference here",
    "NOT ENOUGH EVIDENCE": "not proven to help here, whichever way it leans",
}


def _on_use(proof: Proof) -> list[str]:
    classic, synthetic = proof.verdict("classic"), proof.verdict("synthetic")
    if synthetic == "HELPS":
        alone = "" if classic == "HELPS" else ", which alone is not proven to help: the lift was measured on top of it"
        out = [
            f"Train with the synthetic samples and classic augmentation{alone}.",
            *_on_reals(proof),
            *_on_newness(proof),
        ]
    else:
        asked = {"the synthetic samples": synthetic, "classic augmentation": classic}
        out = [f"Train without {what}: {_WHY[v]}." for what, v in asked.items() if v in _WHY]
    mean = {a["name"]: a["mean"] for a in proof.arms}
    if "sqrt_adjusted" in mean and mean["sqrt_adjusted"] >= max(mean.get("real", 0.0), mean.get("classic", 0.0)):
        out.append("With unbalanced classes, square-root sampling with logit adjustment costs nothing: use it first.")
    return out


def _on_reals(proof: Proof) -> list[str]:
    """A word where the lift over the best classic arm is not proven over the real samples alone: that arm may have been the worse start."""
    row = _between(proof, "synthetic", "real")
    if row is None or row["ci95"][0] > 0:
        return []
    effect, low, high = signed(row["effect"], *row["ci95"])
    return [
        f"Over the real samples alone, without classic augmentation, it is not proven ({effect}, {low} to {high}): that augmentation "
        "may cost here what the synthetic samples bring. Try another --recipe, or train on the real samples as they are."
    ]


def _on_newness(proof: Proof) -> list[str]:
    """A word where the control that holds nothing new may do as well: then the lift may be chance, or that of more repetition."""
    row = _between(proof, "synthetic", "duplicates")
    if row is None or row["ci95"][0] > 0:
        return []
    effect, low, high = signed(row["effect"], *row["ci95"])
    return [
        f"It is not shown that what is new in them helps: as many copies of real samples may do as well ({effect}, {low} to {high} "
        "between the two). Look at the copy check, or try again with more test samples."
    ]


def _on_worth(proof: Proof) -> list[str]:
    """What the synthetic samples are worth in labels; where they are not proven, what labels themselves would bring."""
    found, verdict = proof.more_real or {}, proof.verdict("synthetic")
    worth, doubling = found.get("worth"), found.get("doubling")
    if verdict == "HELPS" and worth:
        low, high = worth["ci95"]
        return [
            f"The synthetic samples are worth about {worth['k']:.1f} more labelled samples a class (95 % interval "
            f"{low:.1f} to {high:.1f}), on the curve of the error against the number of labelled samples."
        ]
    if verdict == "HELPS" or not doubling or doubling["ci95"][0] <= 0:
        return []
    most = found["points"][-1]["num_real"]
    low, high = signed(*doubling["ci95"])
    return [
        f"As many labelled samples again ({most:.0f} more) would bring about {doubling['effect']:+.1f} points of "
        f"{proof.metric} ({low} to {high}): label more, if you can."
    ]


def _on_pool(proof: Proof) -> list[str]:
    """Where using the pool itself does as well as samples made from it, say so, and how sure that is."""
    mean = {a["name"]: a["mean"] for a in proof.arms}
    direct = [a for a in proof.arms if a["name"] in _POOL_ARMS]
    rival = "synthetic" if "synthetic" in mean else "classic"
    if not direct or rival not in mean:
        return []
    best = max(direct, key=lambda a: float(a["mean"]))
    ahead = best["mean"] - mean[rival]
    over_classic = next((c for c in proof.comparisons if c["a"] == best["name"]), None)
    helps = over_classic is None or over_classic["ci95"][0] > 0  # the pool must beat doing without it, too
    if ahead < -proof.margin or not helps:
        return []
    how = f"{ahead:.1f} points above" if ahead > 0 else f"within {number_of(proof.margin, 'point')} of"
    return [
        f"Using the pool directly ({best['title']}) reaches {best['mean']:.1f} %, {how} the {rival} arm"
        f"{_sureness(proof, best['name'], rival)}: if you can keep the pool at training time, train on it directly."
    ]


def _on_verifier(proof: Proof) -> list[str]:
    """Where the verifier itself beats what was trained on the set, it is the better product of the run."""
    mean = {a["name"]: a["mean"] for a in proof.arms}
    rival = max((mean[name] for name in ("synthetic", "classic", "sqrt_adjusted") if name in mean), default=0.0)
    ahead = [c for c in proof.comparisons if c["a"] in _VERIFIER_ARMS and c["ci95"][0] > 0 and mean[c["a"]] > rival]
    if not ahead:
        return []
    best = max(ahead, key=lambda c: float(mean[c["a"]]))
    title, (low, high) = next(a["title"] for a in proof.arms if a["name"] == best["a"]), signed(*best["ci95"])
    over_set = _between(proof, "synthetic", best["a"])
    surely = over_set is None or over_set["ci95"][1] < 0
    what = "has learned more than the set can teach" if surely else "may know as much as the set can teach, or more"
    return [
        f"The verifier {what}: {title} reaches {mean[best['a']]:.1f} % ({low} to {high} "
        f"against the best classic arm). Use it: gan.classify(x), or start from gan.verifier.as_backbone()."
    ]


def _between(proof: Proof, a: str, b: str) -> Row | None:
    """The comparison of these two arms, if there is one."""
    return next((c for c in proof.comparisons if (c["a"], c["b"]) == (a, b)), None)


def _sureness(proof: Proof, direct: str, rival: str) -> str:
    for row in proof.comparisons:
        if {row["a"], row["b"]} == {direct, rival}:
            low, high = signed(*(row["ci95"] if row["a"] == direct else [-v for v in reversed(row["ci95"])]))
            return f" (difference {low} to {high})"
    return ""


def _on_weak_classes(proof: Proof, recalls: Sequence[Row]) -> list[str]:
    """Classes whose recall lies below the median class's by more than its interval allows, and how many labels to add."""
    if len(recalls) < 2:
        return []
    typical = float(np.median([r["recall"] for r in recalls]))
    weak = [r for r in recalls if r["ci95"][1] < typical and typical - r["recall"] >= max(5.0, proof.margin)]
    out = []
    for row in sorted(weak, key=lambda r: float(r["recall"]))[:_MOST_NAMED]:
        low, high = row["ci95"]
        out.append(
            f"Class '{row['class']}' is weak (recall {row['recall']:.0f} %, {low:.0f} to {high:.0f}; the median class "
            f"{typical:.0f} %): label {_to_label(proof, row, typical)} more of it."
        )
    return out


def _to_label(proof: Proof, row: Row, typical: float) -> int:
    """Labels that would lift a class to the median on the measured line, in fives, at most as many again; else 10."""
    doubling = (proof.more_real or {}).get("doubling")
    if not doubling or doubling["ci95"][0] <= 0 or not row["labelled"]:
        return 10
    doublings = min(1.0, float((typical - row["recall"]) / doubling["effect"]))
    return max(5, 5 * math.ceil(int(row["labelled"]) * (2**doublings - 1) / 5))
