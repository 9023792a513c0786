"""Slopes that are differentiated again, at half the cost; the numbers are those of plain autograd.

A network of convolutions, average pooling and leaky rectifiers is piecewise linear, so its slope at a sample does not change where the
sample moves a little. Autograd does not know that: going back through a slope it sends zeros down the whole network, and
it finds the gradient of a convolution's weights by a convolution of another shape than usual, which libraries are slow at. The three
operations here say what is so, and get there by what libraries are quick at. (StyleGAN2-ADA, Karras et al. 2020, has a convolution
of its own for a like reason.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.overrides import TorchFunctionMode

_Layout = tuple[list[int], list[int], list[int], int]
"""Stride, padding, dilation, groups."""


def _conv_gradients(
    grad: Tensor, x: Tensor, weight: Tensor, layout: _Layout, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Of ``x``, the weights and the bias, those that are wanted."""
    stride, padding, dilation, groups = layout
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        grad, x, weight, [len(weight)], stride, padding, dilation, False, [0] * len(stride), groups, wanted
    )
    return found


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, layout: _Layout) -> Tensor:
    stride, padding, dilation, groups = layout
    out: Tensor = torch.ops.aten.convolution(
        x, weight, bias, stride, padding, dilation, False, [0] * len(stride), groups
    )
    return out


class _Convolution(Function):
    """A convolution of which the slope in ``x``, while it is recorded, is all that is asked for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, layout: _Layout) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.layout, ctx.has_bias = layout, bias is not None
        return _convolve(x, weight, bias, layout)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _ConvolutionSlope.apply(grad, weight, x.detach(), ctx.layout), None, None, None  # type: ignore[no-untyped-call]
        # Back through the slope already, by way of something curved: here the weights count as well.
        found = _conv_gradients(grad, x, weight, ctx.layout, [True, True, ctx.has_bias])
        return *found, None


class _ConvolutionSlope(Function):
    """The gradient in ``x`` of a convolution: linear in ``grad`` and in the weights, and the same whatever ``x`` is."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, weight: Tensor, x: Tensor, layout: _Layout) -> Tensor:
        ctx.save_for_backward(grad, weight)
        ctx.layout = layout
        return _conv_gradients(grad, x, weight, layout, [True, False, False])[0]

    @staticmethod
    def backward(ctx: Any, moved: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad, weight = ctx.saved_tensors
        on_weight = _conv_gradients(grad, moved, weight, ctx.layout, [False, True, False])[1]
        return _convolve(moved, weight, None, ctx.layout), on_weight, None, None


class _LeakyRelu(Function):
    """A leaky rectifier whose slope, 1 or ``slope``, is taken for constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope
        return F.leaky_relu(x, slope)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.leaky_relu_backward(grad, x.detach(), ctx.slope, False), None


class _Halved(Function):
    """Means over blocks of two along every axis."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, pool: Callable[..., Tensor]) -> Tensor:
        return pool(x, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return F.interpolate(grad, scale_factor=2.0, mode="nearest") / 2 ** (grad.dim() - 2), None


_CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)
_POOLS = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)


class PiecewiseLinear(TorchFunctionMode):
    """Within it, the operations above stand for those that a network calls; every other one is autograd's own, curved ones too.

    For a slope that is recorded (``create_graph=True``) and gone back through once. What was computed within it has no gradient
    in the weights of its own.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.leaky_relu:
            return _LeakyRelu.apply(args[0], kwargs.get("negative_slope", *args[1:2]))  # type: ignore[no-untyped-call]
        if func in _CONVOLUTIONS and not kwargs and not isinstance(args[4], str):
            x, weight, bias, stride, padding, dilation, groups = args
            return _Convolution.apply(x, weight, bias, (list(stride), list(padding), list(dilation), groups))  # type: ignore[no-untyped-call]
        if func in _POOLS and args[1:] == (2,) and not kwargs and all(size % 2 == 0 for size in args[0].shape[2:]):
            return _Halved.apply(args[0], func)  # type: ignore[no-untyped-call]
        return func(*args, **kwargs)
