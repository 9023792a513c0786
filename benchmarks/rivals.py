"""What else a person would train: a DCGAN, a net in the manner of FastGAN, and a small diffusion model; each for a CPU time.

Plain PyTorch, after the papers; as many weights as they are told, to the nearest width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gans import Budget, Draw, Trained, in_parts
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from augmint.core import rng
from augmint.core.types import F32, I64
from augmint.models.blocks import count_weights
from augmint.training.loop import Data, latents

Z = 64
GAN_LR = 2e-4
"""Adam's, with betas .5 and .999, as both papers have it."""
Pair = tuple[nn.Module, nn.Module]


def as_large(make: Callable[[int], Sequence[nn.Module]], weights: int, *, step: int = 4) -> int:
    """The width with which the networks have as many weights as they should, as nearly as can be."""
    widths = range(step, 40 * step, step)
    return min(widths, key=lambda w: abs(sum(count_weights(m) for m in make(w)) - weights))


@contextmanager
def seeded(*parts: str | int) -> Iterator[None]:
    """PyTorch's global randomness from a key, and as it was afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.torch_seed(*parts))
        yield


def _facts(nets: Sequence[nn.Module], budget: Budget, steps: int, batch: int) -> dict[str, Any]:
    weights = sum(count_weights(net) for net in nets)
    return {"weights": weights, "cpu_s": budget.used, "steps": steps, "samples_seen": steps * batch}


def _follow(average: nn.Module, net: nn.Module, step: int, longest: float) -> None:
    """Move an averaged net; early on the average is short, so that the random start is forgotten."""
    decay = min(longest, (1 + step) / (10 + step))
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 1 - decay)
        for old, new in zip(average.buffers(), net.buffers(), strict=True):
            old.copy_(new)


def _update(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    optimiser.step()


def _from_latents(generator: nn.Module) -> Draw:
    generator.eval()

    def draw(y: I64, seed: int) -> F32:
        with seeded("draw", seed):  # for the noise that FastGAN adds between its layers
            return in_parts(generator, latents(rng.key("draw", seed), len(y)), y)

    return draw


# -- DCGAN -----------------------------------------------------------------------------------------------------------


class Dcgan(nn.Module):
    """Generator of Radford et al. 2016 for 16, 32 or 64 pixels; the class embedding is joined to ``z [N, 64]``."""

    def __init__(self, side: int, channels: int, num_classes: int, width: int) -> None:
        super().__init__()
        widths, layers = _doubling(side, width), list[nn.Module]()
        self.embed = nn.Embedding(max(1, num_classes), Z)
        for i, (a, b) in enumerate(pairwise([2 * Z, *widths])):
            up = nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False) if i else nn.ConvTranspose2d(a, b, 4, bias=False)
            layers += [up, nn.BatchNorm2d(b), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1), nn.Tanh())

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        out: Tensor = self.layers(torch.cat([z, self.embed(y)], 1)[:, :, None, None])
        return out


class Critic(nn.Module):
    """Its opponent; the class embedding is joined to the picture as one more channel."""

    def __init__(self, side: int, channels: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.side, self.embed = side, nn.Embedding(max(1, num_classes), side * side)
        widths = _doubling(side, width)[::-1]
        layers: list[nn.Module] = [nn.Conv2d(channels + 1, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for a, b in pairwise(widths):
            layers += [nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        out: Tensor = self.layers(torch.cat([x, self.embed(y).view(-1, 1, self.side, self.side)], 1)).flatten()
        return out


def _doubling(side: int, width: int) -> list[int]:
    """Channels from 4 pixels to half the side."""
    return [width * 2**i for i in reversed(range(side.bit_length() - 3))]


def _start(module: nn.Module) -> None:
    """The paper's weights: N(0, .02), batch norm N(1, .02)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def dcgan(data: Data, width: int) -> Pair:
    """Generator and critic for this data."""
    size = data.grid.shape[0], data.grid.channels, data.num_classes, width
    return Dcgan(*size).apply(_start), Critic(*size).apply(_start)


def dcgan_step(nets: Pair, optims: Sequence[torch.optim.Adam], real: Tensor, y: Tensor, z: Tensor) -> None:
    """Binary cross-entropy, one step each."""
    generator, critic = nets
    ones, zeros, bce = torch.ones(len(real)), torch.zeros(len(real)), F.binary_cross_entropy_with_logits
    fake = generator(z, y)
    _update(optims[1], bce(critic(real, y), ones) + bce(critic(fake.detach(), y), zeros))
    _update(optims[0], bce(critic(fake, y), ones))


def adams(nets: Pair) -> list[torch.optim.Adam]:
    return [torch.optim.Adam(net.parameters(), lr=GAN_LR, betas=(0.5, 0.999)) for net in nets]


def train_dcgan(data: Data, seconds: float, seed: int, *, weights: int, batch: int = 64) -> Trained:
    """Conditional where there are classes; batch and learning rate of the usual example."""
    budget, step = Budget(seconds), 0
    with seeded(seed, "dcgan"):
        nets = dcgan(data, as_large(lambda w: dcgan(data, w), weights))
        optims = adams(nets)
        while not budget:
            real, y = data.draw(rng.key(seed, "batch", step), batch)
            dcgan_step(nets, optims, real, y, latents(rng.key(seed, "z", step), batch))
            step += 1
    facts = _facts(nets, budget, step, batch)
    return Trained("DCGAN", _from_latents(nets[0]), facts)


# -- in the manner of FastGAN ----------------------------------------------------------------------------------------


def _sn(layer: nn.Module) -> nn.Module:
    out: nn.Module = spectral_norm(layer)
    return out


class _Noise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight * torch.randn(len(x), 1, *x.shape[2:])


def _gated(c_in: int, c_out: int) -> list[nn.Module]:
    return [_sn(nn.Conv2d(c_in, 2 * c_out, 3, 1, 1, bias=False)), nn.BatchNorm2d(2 * c_out), nn.GLU(1)]


def _up(c_in: int, c_out: int, *, twice: bool = False) -> nn.Sequential:
    """Nearest upsampling and a gated convolution, or two with noise between."""
    more = [_Noise(), *_gated(c_out, c_out)] if twice else []
    return nn.Sequential(nn.Upsample(scale_factor=2), *_gated(c_in, c_out), *more)


class FastGenerator(nn.Module):
    """Spectral and batch norm, gated linear units, and a skip-layer excitation from 4 pixels to the last stage."""

    def __init__(self, side: int, channels: int, num_classes: int, width: int) -> None:
        super().__init__()
        widths = [width * min(4, 2**i) for i in reversed(range(side.bit_length() - 2))]
        self.embed = nn.Embedding(max(1, num_classes), Z)
        first = nn.ConvTranspose2d(2 * Z, 2 * widths[0], 4, bias=False)
        self.first = nn.Sequential(_sn(first), nn.BatchNorm2d(2 * widths[0]), nn.GLU(1))
        self.ups = nn.ModuleList(_up(a, b, twice=i % 2 == 0) for i, (a, b) in enumerate(pairwise(widths)))
        squeeze = _sn(nn.Conv2d(widths[0], widths[-1], 4)), nn.SiLU(), _sn(nn.Conv2d(widths[-1], widths[-1], 1))
        self.excite = nn.Sequential(*squeeze, nn.Sigmoid())
        self.out = nn.Sequential(_sn(nn.Conv2d(widths[-1], channels, 3, 1, 1)), nn.Tanh())

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        low = x = self.first(torch.cat([z, self.embed(y)], 1)[:, :, None, None])
        for up in self.ups:
            x = up(x)
        out: Tensor = self.out(x * self.excite(low))
        return out


class _Down(nn.Module):
    """The mean of two ways down."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()

        def block(*conv: Any) -> list[nn.Module]:
            return [_sn(nn.Conv2d(*conv, bias=False)), nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2)]

        self.main = nn.Sequential(*block(c_in, c_out, 4, 2, 1), *block(c_out, c_out, 3, 1, 1))
        self.side = nn.Sequential(nn.AvgPool2d(2), *block(c_in, c_out, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = (self.main(x) + self.side(x)) / 2
        return out


class FastCritic(nn.Module):
    """Logits of patches plus a class projection, and a decoder that rebuilds the reals from 8 pixels."""

    def __init__(self, side: int, channels: int, num_classes: int, width: int) -> None:
        super().__init__()
        widths = [width * min(4, 2 ** (i + 1)) for i in range(side.bit_length() - 4)]
        top = widths[-1]
        downs = [_Down(a, b) for a, b in pairwise(widths)]
        self.down = nn.Sequential(_sn(nn.Conv2d(channels, widths[0], 4, 2, 1)), nn.LeakyReLU(0.2), *downs)
        squeeze = _sn(nn.Conv2d(top, top, 1, bias=False)), nn.BatchNorm2d(top), nn.LeakyReLU(0.2)
        self.score = nn.Sequential(*squeeze, _sn(nn.Conv2d(top, 1, 4, bias=False)))
        self.project = nn.Embedding(max(1, num_classes), top)
        ups = [_up(a, b) for a, b in pairwise([top, *widths[::-1]])]
        self.decode = nn.Sequential(*ups, _sn(nn.Conv2d(widths[0], channels, 3, 1, 1)), nn.Tanh())

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        h = self.down(x)
        project = (h.mean((2, 3)) * self.project(y)).sum(1)
        return self.score(h).flatten(1) + project[:, None], h


def diffaug(x: Tensor) -> Tensor:
    """Zhao et al. 2020, "Differentiable augmentation": colour, translation by an eighth, a hole of half the side."""
    n, _, high, wide = x.shape
    u = torch.rand(7, n, 1, 1, 1)
    x = x + u[0] - 0.5
    x = (x - x.mean(1, keepdim=True)) * 2 * u[1] + x.mean(1, keepdim=True)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * (u[2] + 0.5) + mean
    shift = high // 8
    rows, cols = torch.arange(high).view(1, 1, -1, 1), torch.arange(wide).view(1, 1, 1, -1)
    down, right = ((v * (2 * shift + 1)).long() for v in u[3:5])
    padded = F.pad(x, (shift,) * 4)
    x = padded[torch.arange(n).view(-1, 1, 1, 1), torch.arange(x.shape[1]).view(1, -1, 1, 1), rows + down, cols + right]
    top, left = (v * (high + 1) - high / 4 for v in u[5:7])
    hole = (rows >= top) & (rows < top + high // 2) & (cols >= left) & (cols < left + wide // 2)
    return x.masked_fill(hole, 0.0)


def fastgan(data: Data, width: int) -> Pair:
    """Generator and critic for this data."""
    size = data.grid.shape[0], data.grid.channels, data.num_classes, width
    return FastGenerator(*size), FastCritic(*size)


def fastgan_step(nets: Pair, optims: Sequence[torch.optim.Adam], real: Tensor, y: Tensor, z: Tensor) -> None:
    """Hinge loss with DiffAugment, and the reals rebuilt (mean squares in place of the paper's perceptual distance)."""
    generator, critic = nets
    fake = generator(z, y)
    real, seen = diffaug(real), diffaug(fake)
    (on_real, h), (on_fake, _) = critic(real, y), critic(seen.detach(), y)
    loss = F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean() + F.mse_loss(critic.decode(h), real)
    _update(optims[1], loss)
    _update(optims[0], -critic(seen, y)[0].mean())


def train_fastgan(data: Data, seconds: float, seed: int, *, weights: int, batch: int = 32) -> Trained:
    """After Liu et al. 2021, "Towards faster and stabilized GAN training"; averaged generator."""
    budget, step = Budget(seconds), 0
    with seeded(seed, "fastgan"):
        nets = fastgan(data, as_large(lambda w: fastgan(data, w), weights))
        average, optims = copy.deepcopy(nets[0]), adams(nets)
        while not budget:
            real, y = data.draw(rng.key(seed, "batch", step), batch)
            fastgan_step(nets, optims, real, y, latents(rng.key(seed, "z", step), batch))
            step += 1
            _follow(average, nets[0], step, 0.999)
    facts = _facts(nets, budget, step, batch)
    return Trained("FastGAN-like", _from_latents(average), facts)


# -- diffusion -------------------------------------------------------------------------------------------------------

TIMES = 1000
ALPHA_BAR = torch.cumprod(1 - torch.linspace(1e-4, 0.02, TIMES, dtype=torch.float64), 0).float()
"""Share of the signal's power at each time; Ho et al. 2020."""


class _Res(nn.Module):
    def __init__(self, c_in: int, c_out: int, emb: int) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.GroupNorm(8, c_in), nn.SiLU(), nn.Conv2d(c_in, c_out, 3, 1, 1))
        self.emb = nn.Linear(emb, c_out)
        self.b = nn.Sequential(nn.GroupNorm(8, c_out), nn.SiLU(), nn.Conv2d(c_out, c_out, 3, 1, 1))
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()
        nn.init.zeros_(self.b[2].weight)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        out: Tensor = self.skip(x) + self.b(self.a(x) + self.emb(emb)[:, :, None, None])
        return out


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = (
            nn.GroupNorm(8, width),
            nn.Conv2d(width, 3 * width, 1),
            nn.Conv2d(width, width, 1),
        )
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, 2)
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        out: Tensor = x + self.out(h)
        return out


class Unet(nn.Module):
    """The usual one, made small: a residual block a level, widths w, 2w, 2w, ..., attention at the lowest; the noise at time t."""

    def __init__(self, side: int, channels: int, num_classes: int, width: int) -> None:
        super().__init__()
        levels, emb = side.bit_length() - 4, 2 * width  # down to 8 pixels
        widths = [width, *[2 * width] * levels]
        self.width = width
        self.time = nn.Sequential(nn.Linear(width, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.label = nn.Embedding(max(1, num_classes), emb)
        self.first = nn.Conv2d(channels, width, 3, 1, 1)
        self.down = nn.ModuleList(_Res(a, b, emb) for a, b in pairwise([width, *widths]))
        self.mid = nn.ModuleList([_Res(widths[-1], widths[-1], emb), _Attention(widths[-1])])
        ins = [b + c for b, c in zip([widths[-1], *widths[:0:-1]], widths[::-1], strict=True)]
        self.up = nn.ModuleList(_Res(a, b, emb) for a, b in zip(ins, widths[::-1], strict=True))
        self.out = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, channels, 3, 1, 1))
        nn.init.zeros_(self.out[2].weight)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        rate = torch.exp(torch.linspace(0, -np.log(10_000), self.width // 2))
        angle = t[:, None].float() * rate
        emb = F.silu(self.time(torch.cat([angle.sin(), angle.cos()], 1)) + self.label(y))
        h, kept = self.first(x), []
        for i, block in enumerate(self.down):
            h = block(F.avg_pool2d(h, 2) if i else h, emb)
            kept.append(h)
        h = self.mid[1](self.mid[0](h, emb))
        for i, block in enumerate(self.up):
            h = block(torch.cat([F.interpolate(h, scale_factor=2) if i else h, kept.pop()], 1), emb)
        out: Tensor = self.out(h)
        return out


@dataclass(frozen=True)
class Diffusion(Trained):
    """Its ``draw`` takes 50 steps of DDIM; other samplers are in `draws`."""

    draws: dict[str, Draw]


def train_diffusion(
    data: Data, seconds: float, seed: int, *, weights: int, batch: int = 32, lr: float = 1e-3
) -> Diffusion:
    """DDPM (Ho et al. 2020): the noise is learned by mean squares; Adam with a warm-up and a cosine, averaged weights."""
    budget, step = Budget(seconds), 0
    size = data.grid.shape[0], data.grid.channels, data.num_classes
    with seeded(seed, "diffusion"):
        net = Unet(*size, as_large(lambda w: [Unet(*size, w)], weights, step=8))
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster, a third in sampling
        average, optim = copy.deepcopy(net), torch.optim.Adam(net.parameters(), lr=lr)
        while not budget:
            part = budget.used / seconds
            optim.param_groups[0]["lr"] = lr * min(1.0, 20 * part + 0.01) * (0.5 + 0.5 * np.cos(np.pi * part))
            real, y = data.draw(rng.key(seed, "batch", step), batch)
            t, noise = torch.randint(TIMES, (batch,)), torch.randn(real.shape)
            a = ALPHA_BAR[t].view(-1, 1, 1, 1)
            _update(optim, F.mse_loss(net(a.sqrt() * real + (1 - a).sqrt() * noise, t, y), noise))
            step += 1
            _follow(average, net, step, 0.995)
    average.eval()
    samplers = {f"{name} {n}": _sampler(average, data, fn, n) for name, (fn, nums) in SAMPLERS.items() for n in nums}
    facts = _facts([net], budget, step, batch)
    return Diffusion("DDPM", samplers["DDIM 50"], facts, samplers)


Eps = Callable[[Tensor, int], Tensor]


def ddim(eps: Eps, x: Tensor, times: Sequence[int]) -> Tensor:
    """Song et al. 2021, eq. 12 without noise; what is predicted is cut to [-1, 1]."""
    for i, t in enumerate(times):
        a, b = ALPHA_BAR[t], ALPHA_BAR[times[i + 1]] if i + 1 < len(times) else torch.ones(())
        clean = _clean(eps, x, t)
        x = b.sqrt() * clean + (1 - b).sqrt() * (x - a.sqrt() * clean) / (1 - a).sqrt()
    return x


def dpm_solver(eps: Eps, x: Tensor, times: Sequence[int]) -> Tensor:
    """DPM-Solver++(2M): Lu et al. 2022 (2211.01095), algorithm 2; the last step is of first order, and goes to t = 0."""
    before: tuple[Tensor, Tensor] | None = None
    for i, t in enumerate(times):
        a = ALPHA_BAR[t]
        clean, at = _clean(eps, x, t), _half_log_snr(a)
        if i + 1 == len(times):
            return clean
        b = ALPHA_BAR[times[i + 1]]
        h, found = _half_log_snr(b) - at, clean
        if before is not None:
            r = (at - before[1]) / h
            found = (1 + 1 / (2 * r)) * clean - before[0] / (2 * r)
        x = ((1 - b) / (1 - a)).sqrt() * x - b.sqrt() * torch.expm1(-h) * found
        before = clean, at
    return x


def _clean(eps: Eps, x: Tensor, t: int) -> Tensor:
    a = ALPHA_BAR[t]
    return ((x - (1 - a).sqrt() * eps(x, t)) / a.sqrt()).clamp(-1, 1)


def _half_log_snr(a: Tensor) -> Tensor:
    return 0.5 * (a.log() - (1 - a).log())


SAMPLERS = {"DDIM": (ddim, (20, 50)), "DPM-Solver++": (dpm_solver, (20,))}
"""By name, with their numbers of steps."""


def _sampler(net: nn.Module, data: Data, fn: Callable[[Eps, Tensor, Sequence[int]], Tensor], num: int) -> Draw:
    times = np.linspace(TIMES - 1, 0, num).round().astype(int).tolist()

    def make(x: Tensor, y: Tensor) -> Tensor:
        return fn(lambda x, t: net(x, torch.full((len(x),), t), y), x, times)

    def draw(y: I64, seed: int) -> F32:
        source = torch.Generator().manual_seed(rng.torch_seed("diffusion", seed))
        noise = torch.randn(len(y), *data.grid.size, generator=source)
        return in_parts(make, noise.contiguous(memory_format=torch.channels_last), y)

    return draw
