"""Convolution, resampling and space-to-depth for 1, 2 or 3 axes: the dimension is a parameter, never a copy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
_POOLS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
# Keeps the variance where a leaky rectifier comes before (He et al. 2015).
_AFTER_LEAKY = nn.init.calculate_gain("leaky_relu", 0.2)


def conv(
    axes: int,
    c_in: int,
    c_out: int,
    kernel: int = 3,
    *,
    gain: float = _AFTER_LEAKY,
    zero: bool = False,
    stride: int = 1,
) -> nn.Module:
    """Same-size convolution over ``axes`` axes, its weights scaled so that values keep their variance, times ``gain`` squared.

    ``gain`` is 1 where nothing nonlinear comes before; ``zero`` starts it at nothing, so that a residual block starts as identity.
    """
    layer: nn.Module = _CONVS[axes](c_in, c_out, kernel, stride=stride, padding=kernel // 2)
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor) and isinstance(bias, Tensor)
    nn.init.zeros_(bias)
    if zero:
        nn.init.zeros_(weight)
    else:
        nn.init.normal_(weight, std=gain / math.sqrt(c_in * kernel**axes))
    return layer


def to_cells(axes: int, c_in: int, channels: int) -> nn.Module:
    """The 1x1 convolution before a `shuffle`: at the start all cells of a block get the same values.

    With weights of its own for each cell, a net that has not learned much yet weaves a checker of the cells into every sample
    (Aitken et al. 2017, "Checkerboard artifact free sub-pixel convolution"; measured in docs/log.md).
    """
    layer = conv(axes, c_in, channels * 2**axes, 1)
    weight = layer.weight
    assert isinstance(weight, Tensor)
    with torch.no_grad():
        weight.copy_(weight[:: 2**axes].repeat_interleave(2**axes, 0))
    return layer


def linear(d_in: int, d_out: int, *, gain: float = 1.0) -> nn.Linear:
    """A fully connected layer with variance-keeping weights times ``gain``."""
    layer = nn.Linear(d_in, d_out)
    nn.init.normal_(layer.weight, std=gain / math.sqrt(d_in))
    nn.init.zeros_(layer.bias)
    return layer


class ClassTable(nn.Embedding):
    """A learned vector for each class: ``y [N]`` -> ``[N, D]``.

    Compiled, a lookup's gradient is added up by all threads at once, in the order in which they happen to come (``atomic_add``), so
    that a run that was stopped and resumed ends elsewhere in the last bit. Compiled, a row is therefore picked by multiplication.
    """

    def forward(self, y: Tensor) -> Tensor:
        if not _compiling():
            return super().forward(y)
        picked = y[:, None] == torch.arange(self.num_embeddings, device=y.device)
        return (picked[:, :, None] * self.weight).sum(1)


def upsample(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Linear interpolation to ``shape``. Compiled it is a product of matrices, for the reason that `ClassTable` gives."""
    shape = tuple(shape)
    if not _compiling():
        return F.interpolate(x, size=shape, mode=_LINEAR[x.dim() - 2], align_corners=False)
    for axis, (now, then) in enumerate(zip(x.shape[2:], shape, strict=True), 2):
        each = torch.eye(now, dtype=x.dtype, device=x.device)[None]
        weights = F.interpolate(each, size=then, mode="linear", align_corners=False)[0]
        x = (x.movedim(axis, -1) @ weights).movedim(-1, axis)
    return x


def _compiling() -> bool:
    """Whether `torch.compile` reads this now; an exporter, which takes no gradients, gets the plain operations."""
    return torch.compiler.is_compiling() and not torch.compiler.is_exporting()


def halve(x: Tensor) -> Tensor:
    """Average pooling by two along every axis."""
    pooled: Tensor = _POOLS[x.dim() - 2](x, 2)
    return pooled


def unshuffle(x: Tensor) -> Tensor:
    """Space to depth by two along every axis: ``[N, C, 2h, ...] -> [N, C * 2^axes, h, ...]``."""
    axes = x.dim() - 2
    if axes == 2:
        return F.pixel_unshuffle(x, 2)
    n, c = x.shape[:2]
    split = [s for size in x.shape[2:] for s in (size // 2, 2)]
    order = [0, 1, *range(3, 3 + 2 * axes, 2), *range(2, 2 + 2 * axes, 2)]
    return x.reshape(n, c, *split).permute(order).reshape(n, c * 2**axes, *(s // 2 for s in x.shape[2:]))


def shuffle(x: Tensor) -> Tensor:
    """Depth to space, the inverse of `unshuffle`."""
    axes = x.dim() - 2
    if axes == 2:
        return F.pixel_shuffle(x, 2)
    n, c = x.shape[0], x.shape[1] // 2**axes
    order = [0, 1, *(i for a in range(axes) for i in (2 + axes + a, 2 + a))]
    y = x.reshape(n, c, *([2] * axes), *x.shape[2:]).permute(order)
    return y.reshape(n, c, *(2 * s for s in x.shape[2:]))


def pad_to(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Repeat the last row and column (...) until the grid has ``shape``."""
    missing = [want - have for want, have in zip(shape, x.shape[2:], strict=True)]
    if not any(missing):
        return x
    return F.pad(x, [p for m in reversed(missing) for p in (0, m)], mode="replicate")


def crop_to(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Cut the end of every axis down to ``shape``."""
    for axis, size in enumerate(shape):
        x = x.narrow(axis + 2, 0, size)
    return x


class Residual(nn.Module):
    """Two convolutions and a shortcut; no normalisation, the last convolution starts at zero (R3GAN, Huang et al. 2024)."""

    def __init__(self, axes: int, width: int) -> None:
        super().__init__()
        self.a = conv(axes, width, width)
        self.b = conv(axes, width, width, zero=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.b(F.leaky_relu(self.a(F.leaky_relu(x, 0.2)), 0.2))
        return out


class Plan(nn.Module):
    """How a grid is laid out inside the networks; holds no weights.

    The grid is padded to even multiples, shuffled to half its size, and halved ``levels`` times more until its
    shortest axis is about 3 to 7 cells long.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        half = [max(1, math.ceil(s / 2)) for s in shape]
        levels = 0
        while min(half) / 2 ** (levels + 1) >= 3:
            levels += 1
        self.levels = levels
        self.base = tuple(math.ceil(h / 2**levels) for h in half)
        self.padded = tuple(b * 2 ** (levels + 1) for b in self.base)

    def at(self, level: int) -> tuple[int, ...]:
        """The shape after ``level`` doublings of the base."""
        return tuple(b * 2**level for b in self.base)


def count_weights(module: nn.Module) -> int:
    """How many numbers the module learns."""
    return sum(p.numel() for p in module.parameters())


def flat_grads(module: nn.Module) -> Tensor:
    """All gradients as one vector (for checks and all-reduce)."""
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
