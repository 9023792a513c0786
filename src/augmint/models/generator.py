"""The generator: a latent vector and a class become a sample on the grid."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from augmint.core import rng
from augmint.models.blocks import ClassTable, Plan, Residual, conv, crop_to, linear, shuffle, to_cells, upsample

Z_DIM = 64


class Mapping(nn.Module):
    """``z`` and a class become ``w``: normalise, join the class embedding, two fully connected layers.

    ``w`` may be set to lie ``spread`` times as far from the middle of its class as it was learned (`widen`); training leaves that at 1.
    """

    middle: Tensor
    spread: Tensor

    def __init__(self, num_classes: int, w_dim: int) -> None:
        super().__init__()
        self.register_buffer("middle", torch.zeros(max(num_classes, 1), w_dim))
        self.register_buffer("spread", torch.ones(()))
        self.embed = ClassTable(max(num_classes, 1), Z_DIM)
        nn.init.normal_(self.embed.weight)
        self.fc1 = linear(2 * Z_DIM, w_dim, gain=1.4)
        self.fc2 = linear(w_dim, w_dim, gain=1.4)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        z = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        h = F.leaky_relu(self.fc1(torch.cat([z, self.embed(y)], 1)), 0.2)
        w, middle = F.leaky_relu(self.fc2(h), 0.2), self.middle[y]
        return middle + self.spread * (w - middle)

    @torch.no_grad()
    def widen(self, spread: float, *, n: int = 1000) -> None:
        """Set ``spread``, around each class's mean ``w`` of ``n`` latents: truncation (Karras et al. 2019) the other way."""
        self.spread.fill_(1.0)
        z = torch.from_numpy(rng.normal(rng.key("middle"), np.arange(n * Z_DIM)).astype(np.float32)).reshape(n, Z_DIM)
        for label, middle in enumerate(self.middle):
            middle.copy_(self(z.to(middle), torch.full((n,), label, device=middle.device)).mean(0))
        self.spread.fill_(spread)


class Maker(nn.Module):
    """What every generator can do; subclasses bring ``mapping`` and say how a sample follows from ``w`` (``synthesise``)."""

    mapping: Mapping

    @property
    def num_stages(self) -> int:
        """Stages, each of which can take a ``w`` of its own."""
        return 1

    def synthesise(self, w: Tensor) -> Tensor:
        """``w [N, D]``, or ``[N, stages, D]`` with a ``w`` of its own for each stage, -> ``[N, channels, *shape]``."""
        raise TypeError("a generator defines synthesise()")

    def to_w(self, z: Tensor, y: Tensor) -> Tensor:
        """``z [N, 64]`` and classes ``y [N]`` -> ``w [N, D]``."""
        w: Tensor = self.mapping(z, y)
        return w

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return self.synthesise(self.to_w(z, y))


class Generator(Maker):
    """``z [N, 64]``, ``y [N]`` -> ``[N, channels, *shape]``, about [-1, 1].

    Two fully connected layers make ``w``; ``w`` weighs a learned basis at the lowest resolution and shifts the
    channels of every stage (so that coarse and fine stages can take different ``w``); residual stages with linear upsampling;
    a 1x1 convolution and a pixel shuffle give the last doubling at a quarter of the cost.

    Args:
        widths: channels of the stages, lowest resolution first; the last ones are used where the grid is large.
    """

    def __init__(self, channels: int, shape: Sequence[int], num_classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        axes, self.shape, self.plan = len(shape), tuple(shape), Plan(shape)
        stages = max(2, self.plan.levels + 1)
        widths = [*widths, *[widths[-1]] * stages][:stages]
        w_dim = max(64, widths[0])
        self.mapping = Mapping(num_classes, w_dim)
        self.basis = nn.Parameter(torch.randn(1, widths[0], *self.plan.base))
        self.weigh = linear(w_dim, widths[0])
        self.change = nn.ModuleList(conv(axes, a, b, 1, gain=1.0) for a, b in pairwise(widths))
        self.blocks = nn.ModuleList(Residual(axes, w) for w in widths)
        self.style = nn.ModuleList(linear(w_dim, w, gain=0.1) for w in widths)
        self.out = to_cells(axes, widths[-1], channels)

    @property
    def num_stages(self) -> int:
        return len(self.blocks)

    def synthesise(self, w: Tensor) -> Tensor:
        if w.dim() == 2:
            w = w[:, None].expand(-1, len(self.blocks), -1)
        ones = (1,) * len(self.shape)
        x = self.basis * self.weigh(w[:, 0]).unflatten(1, (-1, *ones))
        skipped = len(self.blocks) - 1 - self.plan.levels  # stages that stay at the base resolution
        for i, (block, style) in enumerate(zip(self.blocks, self.style, strict=True)):
            if i > 0:
                x = self.change[i - 1](x)
                x = upsample(x, self.plan.at(i - skipped)) if i > skipped else x
            x = block(x + style(w[:, i]).unflatten(1, (-1, *ones)))
        return crop_to(shuffle(self.out(F.leaky_relu(x, 0.2))), self.shape)


class ArticleGenerator(Maker):
    """The small net of the article, taken literally: two fully connected layers, then two convolutions."""

    def __init__(self, channels: int, shape: Sequence[int], num_classes: int, width: int = 32) -> None:
        super().__init__()
        axes, self.shape = len(shape), tuple(shape)
        self.small = tuple(-(-s // 2) for s in shape)
        self.mapping = Mapping(num_classes, 128)
        cells = 1
        for s in self.small:
            cells *= s
        self.spread = linear(128, width * cells, gain=1.4)
        self.conv1 = conv(axes, width, width)
        self.conv2 = conv(axes, width, channels)

    def synthesise(self, w: Tensor) -> Tensor:
        w = w[:, 0] if w.dim() == 3 else w
        x = torch.unflatten(F.leaky_relu(self.spread(w), 0.2), 1, (-1, *self.small))
        x = upsample(x, [2 * s for s in self.small])
        return crop_to(torch.tanh(self.conv2(F.leaky_relu(self.conv1(x), 0.2))), self.shape)
