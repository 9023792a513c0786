"""The projected tier: a verifier on frozen ImageNet features, mixed at random (Sauer et al. 2021, "Projected GANs Converge Faster").

What an ImageNet net sees in a picture need not be learned from a few of them. Features of four scales go through random,
never trained convolutions that mix channels (CCM) and then scales (CSM, coarse to fine), so that no part of them can be
ignored; on each scale a small net of its own tells real from fake, place by place. Nothing judged by the same features
says anything about such a run: `Judge.borrowed` names them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from augmint.core.errors import UserError
from augmint.models.blocks import ClassTable, conv, halve, upsample
from augmint.models.efficientnet import TAP_CHANNELS, Lite0, at_least, efficientnet_features, shown
from augmint.models.verifier import Heads, Judge, Verdict

SMALLEST_SHOWN = 128
"""Pixels on the shorter side; smaller grids are enlarged, for the coarsest features are a thirty-second of the side."""
SMALLEST_GRID = 32
_WIDTH = 64  # channels of every scale once mixed, and of the nets that tell real from fake
_PATCHES = 4  # cells on the shorter side of a map of patch scores
_SQUARINGS = 6


class Mixed(nn.Module):
    """``[N, C, H, W]`` -> four maps ``[N, V * 64, h, w]``, finest first: frozen features, mixed across channels and scales.

    Nothing here is a parameter: weights are buffers, saved with the rest and out of every optimiser's reach. ``V`` is 2 for
    pictures with transparency, which are looked at over black and over white, and 1 for others.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.grounds = (0.0, 1.0) if channels == 4 else (0.0,)
        self.net = _folded(efficientnet_features().net)
        self.across = nn.ModuleList(conv(2, c, _WIDTH, 1, gain=1.0) for c in TAP_CHANNELS)
        self.down = nn.ModuleList(conv(2, _WIDTH, _WIDTH, 3, gain=1.0) for _ in TAP_CHANNELS)
        _freeze(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        views = torch.cat([at_least(shown(x, ground=g), SMALLEST_SHOWN) for g in self.grounds])
        maps = [layer(tap) for layer, tap in zip(self.across, self.net.taps(views), strict=True)]
        for i in reversed(range(len(maps))):
            if i + 1 < len(maps):
                maps[i] = math.sqrt(0.5) * (maps[i] + upsample(maps[i + 1], maps[i].shape[2:]))
            maps[i] = self.down[i](maps[i])
        return [m.unflatten(0, (len(self.grounds), -1)).transpose(0, 1).flatten(1, 2) for m in maps]


class Bounded(nn.Module):
    """A convolution whose weights, as a matrix ``[out, in * cells]``, never stretch a vector: divided by their spectral norm.

    After Miyato et al. 2018, but with the power iteration started anew at every pass: a pass changes nothing, so training
    and judging, and an interrupted run and an uninterrupted one, see the same net.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int) -> None:
        super().__init__()
        self.layer = conv(2, c_in, c_out, kernel)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.layer.weight, self.layer.bias
        assert isinstance(weight, Tensor) and isinstance(bias, Tensor)
        return F.conv2d(x, weight / spectral_norm(weight.flatten(1)), bias, padding=weight.shape[-1] // 2)


def spectral_norm(matrix: Tensor) -> Tensor:
    """The largest singular value of ``[R, C]``, from below; its gradient is that of ``u^T W v`` with u and v held."""
    with torch.no_grad():
        square = power = matrix @ matrix.T
        for _ in range(_SQUARINGS):  # each does the work of all power iterations before it
            power = power / power.diagonal().sum().clamp(min=1e-30)
            power = power @ power
        u = F.normalize(power @ (square.sum(1) + square.diagonal()), dim=0)
        v = F.normalize(matrix.T @ u, dim=0)
    return u @ (matrix @ v)


class Scale(nn.Module):
    """Tells real from fake on one scale, at about 4 x 4 places."""

    def __init__(self, c_in: int, side: int, num_classes: int) -> None:
        super().__init__()
        halvings = max(0, int(math.log2(max(1, side / _PATCHES))))
        widths = [c_in, *[_WIDTH] * max(1, halvings)]
        self.halvings = halvings
        self.convs = nn.ModuleList(Bounded(a, b, 3) for a, b in pairwise(widths))
        self.realness = Bounded(_WIDTH, 1, 1)
        self.project = ClassTable(max(num_classes, 1), _WIDTH)
        nn.init.normal_(self.project.weight, std=1 / math.sqrt(_WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, 64, h, w]``."""
        for i, layer in enumerate(self.convs):
            x = F.leaky_relu(layer(x), 0.2)
            x = halve(x) if i < self.halvings else x
        return x

    def patches(self, h: Tensor, y: Tensor | None) -> Tensor:
        """``[N, h * w]``: realness of every place, with the class projection of Miyato and Koyama 2018."""
        out: Tensor = self.realness(h)
        if y is not None:
            out = out + (h * self.project(y)[:, :, None, None]).sum(1, keepdim=True)
        return out.flatten(1)


class ProjectedVerifier(Judge):
    """Frozen, mixed features; on each of four scales a small net; the fully connected layers and the decoder of every verifier.

    Raises:
        UserError: for grids that are no pictures, or smaller than 32 pixels.
    """

    tier = "projected"
    borrowed = ("efficientnet-lite0",)

    def __init__(self, channels: int, shape: Sequence[int], num_classes: int) -> None:
        super().__init__()
        if len(shape) != 2 or channels not in (1, 3, 4) or min(shape) < SMALLEST_GRID:
            raise UserError(
                f"the projected tier sees pictures of at least {SMALLEST_GRID} pixels a side, not {[channels, *shape]}",
                mend="leave --tier out, or give a larger --grid",
            )
        self.mixed = Mixed(channels)
        shorter = max(min(shape), SMALLEST_SHOWN)
        c_in = _WIDTH * len(self.mixed.grounds)
        self.scales = nn.ModuleList(Scale(c_in, math.ceil(shorter / 2**i), num_classes) for i in (2, 3, 4, 5))
        self.heads = Heads(_WIDTH * len(self.scales), channels, shape, num_classes, hidden=256, width=_WIDTH)

    def _maps(self, x: Tensor) -> list[Tensor]:
        return [scale(m) for scale, m in zip(self.scales, self.mixed(x), strict=True)]

    def see(self, x: Tensor) -> Tensor:
        return torch.cat([h.mean((2, 3)) for h in self._maps(x)], 1)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Verdict:
        maps = self._maps(x)
        whole: Verdict = self.heads(torch.cat([h.mean((2, 3)) for h in maps], 1), y)
        parts = [scale.patches(h, y) for scale, h in zip(self.scales, maps, strict=True)]  # type: ignore[operator]
        patches = torch.cat([*parts, whole.score[:, None]], 1)
        return Verdict(patches.mean(1), whole.logits, whole.features, patches)

    def forget_game(self) -> None:
        for scale in self.scales:
            del scale.realness, scale.project


def _folded(net: Lite0) -> Lite0:
    """A copy with every batch norm worked into the convolution before it, and without what the taps do not need."""
    net = copy.deepcopy(net)
    del net._conv_head, net._bn1, net._fc
    for module in net.modules():
        for conv_name, norm_name in (
            ("_conv_stem", "_bn0"),
            ("_expand_conv", "_bn0"),
            ("_depthwise_conv", "_bn1"),
            ("_project_conv", "_bn2"),
        ):
            layer, norm = getattr(module, conv_name, None), getattr(module, norm_name, None)
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                _fold(layer, norm)
                setattr(module, norm_name, nn.Identity())
    return net


def _fold(layer: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.detach() * torch.rsqrt(norm.running_var + norm.eps)
    layer.weight = nn.Parameter(layer.weight.detach() * scale[:, None, None, None])
    layer.bias = nn.Parameter(norm.bias.detach() - norm.running_mean * scale)


def _freeze(module: nn.Module) -> None:
    """Turn every parameter into a buffer."""
    for part in module.modules():
        for name, value in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, value.detach())
