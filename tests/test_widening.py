"""How far a trained generator draws from the middle of each class."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from augmint.core.types import F32, I64
from augmint.models.generator import Generator, Mapping
from augmint.steps.widening import SPREADS, best_spread
from augmint.training.transfer import adopt


def latents(n: int) -> torch.Tensor:
    return torch.randn(n, 64, generator=torch.Generator().manual_seed(1))


def test_each_class_keeps_its_middle_and_lies_so_many_times_as_far_from_it() -> None:
    torch.manual_seed(0)
    mapping = Mapping(3, 32)
    z, before = latents(4000), []
    with torch.no_grad():
        for label in range(3):
            before.append(mapping(z, torch.full((4000,), label)))
        mapping.widen(1.3)
        for label, was in enumerate(before):
            now = mapping(z, torch.full((4000,), label))
            torch.testing.assert_close(now.std(0), 1.3 * was.std(0), rtol=1e-4, atol=1e-6)
            assert (now.mean(0) - was.mean(0)).abs().max() < 0.3 * 5 * was.std(0).max() / 1000**0.5
        mapping.widen(1.0)
        for label, was in enumerate(before):
            torch.testing.assert_close(mapping(z, torch.full((4000,), label)), was, rtol=1e-6, atol=1e-6)


def test_training_that_starts_from_it_starts_from_what_was_learned() -> None:
    torch.manual_seed(0)
    one, two = (Generator(1, (8, 8), 2, (16, 16)) for _ in range(2))
    plain = one(latents(5), torch.zeros(5, dtype=torch.long))
    one.mapping.widen(1.2)
    assert not torch.equal(one(latents(5), torch.zeros(5, dtype=torch.long)), plain)
    adopt(two, one.state_dict(), ("a", "b"), ("a", "b"))
    assert torch.equal(two(latents(5), torch.zeros(5, dtype=torch.long)), plain)


@pytest.mark.parametrize(("narrow", "wanted"), [(1.0, {1.0}), (0.9, {1.1}), (0.8, {1.2, 1.3}), (0.5, {1.3})])
def test_what_is_narrower_than_the_reals_is_widened_until_it_is_nearest(narrow: float, wanted: set[float]) -> None:
    """Between N(0, s^2) and N(0, 1) the Fréchet distance is (s - 1)^2 an axis: least where narrow * spread comes nearest to 1."""
    reals = np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32)
    y = np.zeros(1000, np.int64)

    def draw(spread: float, some: I64, number: int) -> F32:
        return (narrow * spread * np.random.default_rng(1 + number).normal(size=(len(some), 8))).astype(np.float32)

    best, why = best_spread(draw, lambda x: x, reals, y, seed=0)
    assert best in wanted and "recall" in why
    assert all(f"at {s:g}" in why for s in SPREADS)


def test_few_samples_tell_nothing() -> None:
    def draw(spread: float, some: I64, number: int) -> F32:
        raise AssertionError

    few = np.zeros((299, 4), np.float32)
    best, why = best_spread(draw, lambda x: x, few, np.zeros(299, np.int64), seed=0)
    assert best == 1.0 and "300" in why
