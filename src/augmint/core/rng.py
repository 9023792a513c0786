"""Randomness as a function: every number is a pure function of a key and a counter, never of what was drawn before.

The mixer is the finaliser of SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"),
applied twice. The same integers come out for one sample or for a vector of samples, in any order, on any machine.
"""

from __future__ import annotations

from hashlib import blake2b
from struct import unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]

# As arrays without axes: a scalar of NumPy takes half as long again in each sum.
_GOLDEN, _M1, _M2, _S30, _S27, _S31, _S11 = (
    np.array(v, np.uint64) for v in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 30, 27, 31, 11)
)


def key(*parts: str | int) -> int:
    """A 64-bit key for a tuple of words and whole numbers; ``key("a", 1)`` and ``key("a1")`` differ."""
    text = "\x1f".join([type(p).__name__[0] + str(p).replace("\x1f", "\x1f\x1f") for p in parts])
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def mix(x: U64) -> U64:
    """SplitMix64 finaliser: a bijection of 64-bit integers that spreads every input bit over all output bits."""
    out = x ^ (x >> _S30)
    out *= _M1
    out ^= out >> _S27
    out *= _M2
    out ^= out >> _S31
    return out


def _as_u64(values: ArrayLike) -> U64:
    # A bare numpy scalar would warn on the wrap-around that the mixer wants, an array does not.
    return np.atleast_1d(np.asarray(values, dtype=np.uint64))


def bits(keys: ArrayLike, counters: ArrayLike) -> U64:
    """64 random bits for each (key, counter) pair, broadcast against each other; at least one-dimensional."""
    return _hashed(_as_u64(keys), _strides(_as_u64(counters)))


def _strides(counters: U64) -> U64:
    return _GOLDEN * (counters + np.uint64(1))


def _hashed(keys: U64, strides: U64) -> U64:
    return mix(mix(keys + strides) ^ keys)


def combine(keys: ArrayLike, other: ArrayLike) -> U64:
    """New keys from pairs of keys, broadcast: the key of "this op on this sample"."""
    return bits(keys, other)


def uniform(keys: ArrayLike, counters: ArrayLike = 0) -> F64:
    """Uniform numbers in [0, 1) for each (key, counter) pair, 53 bits each."""
    return _fractions(bits(keys, counters))


def _fractions(bits: U64) -> F64:
    return (bits >> _S11).astype(np.float64) * 2.0**-53


class Lanes:
    """Many uniform numbers of one key in one pass: those of ``uniform(combine(key, streams), counters)``, as numbers of Python.

    Up to `FEW` of them are computed side by side in one long whole number of Python, 128 bits a lane: half the time of arrays.

    Args:
        streams: ``[S]``, keys of what draws. lanes: ``[L]``, for each number the place of its stream. counters: ``[L]``.
    """

    FEW = 40

    def __init__(self, streams: ArrayLike, lanes: ArrayLike, counters: ArrayLike) -> None:
        self._lanes = np.asarray(lanes, dtype=np.intp)
        self._streams, self._counters = _strides(_as_u64(streams)), _strides(_as_u64(counters))
        self._count = len(self._lanes)
        self._ones = sum(1 << (_WIDTH * i) for i in range(self._count))
        self._mask = self._ones * _LOW
        self._side_by_side = [_side_by_side(v) for v in (self._streams[self._lanes], self._counters)]
        self._apart = "<" + "Q8x" * self._count

    def uniform(self, key: int) -> list[float]:
        """``[L]``, in [0, 1)."""
        if self._count > self.FEW:
            own = _hashed(np.array(key, np.uint64), self._streams)[self._lanes]
            numbers: list[float] = _fractions(_hashed(own, self._counters)).tolist()
            return numbers
        keys, mask = key * self._ones, self._mask
        for strides in self._side_by_side:
            keys = _mixed(_mixed((keys + strides) & mask, mask) ^ keys, mask)
        apart = unpack(self._apart, keys.to_bytes(self._count * _WIDTH // 8, "little"))
        return [(bits >> 11) * 2.0**-53 for bits in apart]


_WIDTH, _LOW = 128, 2**64 - 1  # bits of a lane: the product of two numbers of 64; and those that a result has


def _side_by_side(values: U64) -> int:
    return sum(v << (_WIDTH * i) for i, v in enumerate(values.tolist()))


def _mixed(x: int, mask: int) -> int:
    """`mix` of every lane. What the shifts bring in from the next lane lies outside the mask, and stays there until the next one."""
    x = ((x ^ (x >> 30)) & mask) * 0xBF58476D1CE4E5B9 & mask
    x = ((x ^ (x >> 27)) & mask) * 0x94D049BB133111EB & mask
    return x ^ (x >> 31)


def normal(keys: ArrayLike, counters: ArrayLike = 0) -> F64:
    """Standard normal numbers for each (key, counter) pair (Box-Muller on two uniforms of the same counter)."""
    counters = _as_u64(counters) * np.uint64(2)
    u1, u2 = uniform(keys, counters), uniform(keys, counters + np.uint64(1))
    out: F64 = np.sqrt(-2.0 * np.log1p(-u1)) * np.cos(2.0 * np.pi * u2)
    return out


def permutation(seed_key: int, n: int) -> NDArray[np.int64]:
    """A random order of ``range(n)`` that depends on the key alone."""
    return np.argsort(bits(seed_key, np.arange(n)), kind="stable").astype(np.int64)


def torch_seed(*parts: str | int) -> int:
    """A seed for ``torch.Generator.manual_seed`` (which wants a non-negative signed 64-bit integer)."""
    return key(*parts) >> 1
