"""Penalties of slopes against plain autograd, which goes the long way round."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from augmint.models.verifier import ArticleVerifier, Verifier
from augmint.training import losses


class Curved(nn.Module):
    """Convolutions with stride, dilation and groups, with and without bias, and activations that are not straight anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 8, 3, stride=2, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4, bias=False)
        self.same = nn.Conv2d(8, 4, 3, padding="same")
        self.last = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.silu(self.first(x))
        x = nn.functional.avg_pool2d(torch.tanh(self.second(x)), 2)
        x = nn.functional.leaky_relu(self.same(x))  # with its default slope
        return self.last(nn.functional.avg_pool2d(x, 2, 1).square().mean((2, 3))).squeeze(1)


class Score(nn.Module):
    """A verifier's score, labels and all."""

    def __init__(self, verifier: nn.Module) -> None:
        super().__init__()
        self.verifier = verifier

    def forward(self, x: Tensor) -> Tensor:
        return self.verifier(x, torch.arange(len(x)) % 3).score


def the_long_way(net: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_(True)
    (grad,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    return grad.square().flatten(1).sum(1).mean()


NETS = {
    "one axis": (lambda: Score(Verifier(2, (50,), 3, (24, 16))), (2, 50)),
    "two axes": (lambda: Score(Verifier(1, (16, 20), 3, (16, 12))), (1, 16, 20)),
    "two odd axes": (lambda: Score(Verifier(3, (17, 9), 3, (16, 12))), (3, 17, 9)),
    "three axes": (lambda: Score(Verifier(1, (6, 12, 8), 3, (8, 8))), (1, 6, 12, 8)),
    "the article's": (lambda: Score(ArticleVerifier(1, (10, 10), 3)), (1, 10, 10)),
    "curved": (Curved, (2, 16, 16)),
}


@pytest.mark.parametrize("name", NETS)
def test_penalties_and_their_gradients_are_those_of_plain_autograd(name: str) -> None:
    make, shape = NETS[name]
    torch.manual_seed(0)
    net = make().double()
    for weight in net.parameters():  # blocks that start as identity would hide what they do
        nn.init.normal_(weight, std=0.3)
    x = torch.randn(4, *shape, dtype=torch.double)

    wanted = the_long_way(net, x)
    wanted.backward()
    expected = {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    found = losses.gradient_penalty(net, x)
    found.backward()
    gradients = {n: p.grad for n, p in net.named_parameters() if p.grad is not None}

    assert found.item() == pytest.approx(wanted.item(), rel=1e-12)
    for part, gradient in expected.items():
        other = gradients.get(part, torch.zeros_like(gradient))  # a bias has no part in a straight slope
        assert torch.allclose(other, gradient, rtol=1e-9, atol=1e-9 * float(gradient.abs().max())), part
    assert any(g.abs().max() > 0 for g in expected.values())


def test_of_a_straight_network_nothing_is_computed_twice() -> None:
    """Three convolutions: each once forward, once for its slope, and in the end once more each for both factors of the slope."""
    net = nn.Sequential(*(layer for _ in range(3) for layer in (nn.Conv2d(2, 2, 3, padding=1), nn.LeakyReLU(0.2))))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        losses.gradient_penalty(lambda x: net(x).flatten(1).sum(1), torch.randn(2, 2, 6, 6)).backward()
    calls = {event.key: event.count for event in seen.key_averages()}
    assert calls["aten::convolution"] == 6 and calls["aten::convolution_backward"] == 6
