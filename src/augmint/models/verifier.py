"""The verifier, the literature's discriminator D: it scores a sample, names its class, and rebuilds it.

From here on it is always called the verifier.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from augmint.models.blocks import (
    ClassTable,
    Plan,
    Residual,
    conv,
    crop_to,
    halve,
    linear,
    pad_to,
    shuffle,
    to_cells,
    unshuffle,
    upsample,
)

FEATURES = 128
_NARROWEST = 8


class Verdict(NamedTuple):
    """What one pass over ``[N, C, *shape]`` gives: realness ``[N]``, class logits ``[N, K]``, features ``[N, 128]``.

    ``patches [N, P]``, where the realness is a mean of scores of parts that play the game each for itself.
    """

    score: Tensor
    logits: Tensor
    features: Tensor
    patches: Tensor | None = None

    def to(self, dtype: torch.dtype) -> Verdict:
        """The same in another precision: losses are never formed in half."""
        patches = None if self.patches is None else self.patches.to(dtype)
        return Verdict(self.score.to(dtype), self.logits.to(dtype), self.features.to(dtype), patches)


class Decoder(nn.Module):
    """The verifier's generative branch: a short code becomes a sample on the grid.

    Light on purpose: from the fourth stage on each has half the channels of the one before.
    """

    def __init__(self, channels: int, shape: Sequence[int], code_dim: int, width: int) -> None:
        super().__init__()
        axes, self.shape, self.plan = len(shape), tuple(shape), Plan(shape)
        widths = [max(_NARROWEST, width >> max(0, level - 2)) for level in range(self.plan.levels + 1)]
        self.start = linear(code_dim, width * math.prod(self.plan.base), gain=1.4)
        self.convs = nn.ModuleList(conv(axes, a, b) for a, b in pairwise([width, *widths]))
        self.out = to_cells(axes, widths[-1], channels)

    def forward(self, code: Tensor) -> Tensor:
        x = self.start(code).unflatten(1, (-1, *self.plan.base))
        for level, layer in enumerate(self.convs):
            x = upsample(x, self.plan.at(level)) if level else x
            x = layer(F.leaky_relu(x, 0.2))
        return crop_to(shuffle(self.out(F.leaky_relu(x, 0.2))), self.shape)


class Heads(nn.Module):
    """Two fully connected layers and what reads from them: realness with class projection (Miyato and Koyama 2018),
    class logits, and the code that the decoder rebuilds from."""

    def __init__(
        self, d_in: int, channels: int, shape: Sequence[int], num_classes: int, hidden: int, width: int
    ) -> None:
        super().__init__()
        code_dim = min(64, max(4, channels * math.prod(shape) // 4))
        self.fc1, self.fc2 = linear(d_in, hidden, gain=1.4), linear(hidden, FEATURES, gain=1.4)
        self.realness = linear(FEATURES, 1)
        self.project = ClassTable(max(num_classes, 1), FEATURES)
        nn.init.normal_(self.project.weight, std=1 / math.sqrt(FEATURES))
        self.classes = linear(FEATURES, max(num_classes, 1))
        self.code = linear(FEATURES, code_dim)
        self.decoder = Decoder(channels, shape, code_dim, width)

    def embed(self, x: Tensor) -> Tensor:
        """The two fully connected layers: what the convolutions saw -> features ``[N, 128]``."""
        return F.leaky_relu(self.fc2(F.leaky_relu(self.fc1(x), 0.2)), 0.2)

    def forward(self, x: Tensor, y: Tensor | None) -> Verdict:
        h = self.embed(x)
        score = self.realness(h).squeeze(1)
        if y is not None:
            score = score + (h * self.project(y)).sum(1)
        return Verdict(score, self.classes(h), h)


class Judge(nn.Module):
    """What every verifier can do; subclasses say how the convolutions see a sample (``see``).

    Attributes:
        tier: ``own``, or the name of what else it is built on.
        borrowed: names of the feature extractors that it sees through; none of them may judge what it has taught.
    """

    tier = "own"
    borrowed: tuple[str, ...] = ()
    heads: Heads

    def see(self, x: Tensor) -> Tensor:
        """``[N, C, *shape]`` -> the vector that the heads read."""
        raise TypeError("a verifier defines see()")

    def forward(self, x: Tensor, y: Tensor | None = None) -> Verdict:
        verdict: Verdict = self.heads(self.see(x), y)
        return verdict

    def score(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Realness ``[N]``: higher is more real; only differences mean something (the loss is relativistic)."""
        return self(x, y).score  # type: ignore[no-any-return]

    def classify(self, x: Tensor) -> Tensor:
        """Class logits ``[N, K]``."""
        return self(x).logits  # type: ignore[no-any-return]

    def features(self, x: Tensor) -> Tensor:
        """``[N, 128]``."""
        return self(x).features  # type: ignore[no-any-return]

    def encode(self, x: Tensor) -> Tensor:
        """The code that `rebuild` starts from."""
        return self.heads.code(self.features(x))  # type: ignore[no-any-return]

    def rebuild(self, code: Tensor) -> Tensor:
        """A code -> ``[N, C, *shape]``."""
        return self.heads.decoder(code)  # type: ignore[no-any-return]

    def reconstruct(self, x: Tensor) -> Tensor:
        """The sample as the verifier's generative branch rebuilds it."""
        return self.rebuild(self.encode(x))

    def forget_game(self) -> None:
        """Drop what only the game needs and `see` does not."""

    def as_backbone(self) -> Backbone:
        """The trunk as a module of its own, to fine-tune a model from; a copy, so that this verifier stays as it is."""
        return Backbone(self)


class Backbone(nn.Module):
    """A verifier's convolutions and its two fully connected layers: ``[N, C, *shape]`` -> features ``[N, 128]``."""

    def __init__(self, verifier: Judge) -> None:
        super().__init__()
        self.trunk = copy.deepcopy(verifier).requires_grad_(True)
        for name in ("realness", "project", "classes", "code", "decoder"):
            delattr(self.trunk.heads, name)
        self.trunk.forget_game()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.trunk.heads.embed(self.trunk.see(x))
        return out


class Verifier(Judge):
    """Pixel-unshuffle stem, at least two convolution stages, a learned pooling, two fully connected layers."""

    def __init__(self, channels: int, shape: Sequence[int], num_classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        axes, self.plan = len(shape), Plan(shape)
        stages = max(2, self.plan.levels + 1)
        widths = [*widths, *[widths[-1]] * stages][:stages][::-1]
        self.stem = conv(axes, channels * 2**axes, widths[0], 3)
        self.blocks = nn.ModuleList(Residual(axes, w) for w in widths)
        self.change = nn.ModuleList(conv(axes, a, b, 1) for a, b in pairwise(widths))
        # One weight for each channel and cell: pooling that knows where things are.
        cells = math.prod(self.plan.base)
        self.pool = nn.Parameter(torch.randn(1, widths[-1], *self.plan.base) / math.sqrt(cells))
        self.heads = Heads(
            widths[-1], channels, shape, num_classes, hidden=2 * FEATURES, width=max(16, widths[-1] // 4)
        )

    def see(self, x: Tensor) -> Tensor:
        x = self.stem(unshuffle(pad_to(x, self.plan.padded)))
        for i, block in enumerate(self.blocks):
            if i > 0:
                x = halve(x) if i <= self.plan.levels else x  # before the 1x1 convolution: the same numbers for less
                x = self.change[i - 1](x)
            x = block(x)
        return (F.leaky_relu(x, 0.2) * self.pool).flatten(2).sum(2)


class ArticleVerifier(Judge):
    """The small net of the article, taken literally: two convolutions and two fully connected layers."""

    def __init__(self, channels: int, shape: Sequence[int], num_classes: int, width: int = 32) -> None:
        super().__init__()
        axes = len(shape)
        self.conv1 = conv(axes, channels, width, stride=2)
        self.conv2 = conv(axes, width, 2 * width, stride=2)
        cells = math.prod(math.ceil(math.ceil(s / 2) / 2) for s in shape)
        self.heads = Heads(2 * width * cells, channels, shape, num_classes, hidden=FEATURES, width=16)

    def see(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.conv1(x), 0.2)
        return F.leaky_relu(self.conv2(x), 0.2).flatten(1)
