"""Counter-based randomness: every draw is a pure function of its key, never of what was drawn before.

A generator keyed (seed, epoch, index) gives an example the same corruption whatever worker, rank or restart prepares
it (Philox: Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3"). A keyed Feistel network over the
index range gives a shuffled order that needs O(1) memory and is exact at any size (cycle walking: Black & Rogaway,
2002, "Ciphers with arbitrary finite domains", §3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Words = NDArray[np.uint64]
_WORD = 2**64
_GOLDEN = 0x9E3779B97F4A7C15


def _mix(x: Words) -> Words:
    """The finalizer of SplitMix64 (Steele et al., 2014): a bijection of 64-bit words in which every bit counts."""
    mixed = x >> np.uint64(30)
    mixed ^= x
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def key(*parts: int) -> int:
    """One 64-bit key from any number of integers; their order counts."""
    word = 0
    for part in parts:  # plain integers: `_mix` on arrays of one costs fifty times as much
        word = (word + _GOLDEN + part) % _WORD
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % _WORD
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB % _WORD
        word ^= word >> 31
    return word


def keys(*parts: int, each: Integers | Words) -> Words:
    """`key(*parts, i)` for every i of `each` (n,), at once: (n,) uint64."""
    return _mix(np.asarray(each).astype(np.uint64) + np.uint64((key(*parts) + _GOLDEN) % _WORD))


def words(keys: Words, counters: Integers | int) -> Words:
    """The word of each counter under its key: keys (n,), counters (n,) or one for all, >= 0 -> (n,) uint64, bits all
    equally good.

    `words(k, arange(n))` are the bits that `uniforms` reads for key k: draws for many examples at once, of which each
    depends on its own key alone.
    """
    if isinstance(counters, int):
        return _mix(keys + np.uint64((counters + 1) * _GOLDEN % _WORD))
    steps = counters.astype(np.uint64)
    steps += np.uint64(1)
    steps *= np.uint64(_GOLDEN)
    steps += keys
    return _mix(steps)


def runs(keys: Words, lengths: Integers) -> NDArray[np.uint32]:
    """lengths[i] (n,) numbers under keys[i] (n,), end to end: (Σ lengths,) uint32, no two of one key equal.

    A Weyl sequence through the 32-bit finalizer of MurmurHash3 (Appleby, 2011): half the bytes of `words`, for draws
    that are only compared with one another.
    """
    step = 0x9E3779B9
    ends = lengths.cumsum()
    start = (_mix(keys) >> np.uint64(32)).astype(np.uint32) - (ends - lengths).astype(np.uint32) * np.uint32(step)
    mixed = np.arange(int(ends[-1]) if len(ends) else 0, dtype=np.uint32)
    mixed *= np.uint32(step)
    mixed += start.repeat(lengths)
    mixed ^= mixed >> np.uint32(16)
    mixed *= np.uint32(0x85EBCA6B)
    mixed ^= mixed >> np.uint32(13)
    mixed *= np.uint32(0xC2B2AE35)
    mixed ^= mixed >> np.uint32(16)
    return mixed


def unit(words: Words) -> NDArray[np.float64]:
    """Words (n,) uint64 -> numbers in [0, 1)."""
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def below(words: Words, bound: int) -> Integers:
    """Words (n,) uint64 -> integers in [0, bound), bound < 2^32, all equally likely to within bound / 2^32 (Lemire,
    2019, "Fast random integer generation in an interval", without the rejection).
    """
    drawn = words >> np.uint64(32)
    drawn *= np.uint64(bound)
    drawn >>= np.uint64(32)
    return drawn.view(np.int64)


def generator(seed: int, *counters: int) -> np.random.Generator:
    """A numpy Generator that depends on (seed, *counters) alone.

    `generator(seed, epoch, index)` is the one that an example of the training stream is prepared with.
    """
    # An array: of a list with a number above 2^63 and one below numpy makes floats, which drop bits of the key.
    return np.random.Generator(np.random.Philox(key=np.array([seed % _WORD, key(*counters)], np.uint64)))


def generators(keys: Words) -> Iterator[np.random.Generator]:
    """`generator(k)` for every key (n,) in turn, one object set anew each time: not to be kept. (Making a generator
    costs thirty times as much as setting one.)
    """
    philox = np.random.Philox(key=0)
    own = np.random.Generator(philox)
    state = {"counter": [0] * 4, "key": [0, 0]}  # lists: numpy takes these number by number, and arrays are slow at it
    fresh: Any = {"bit_generator": "Philox", "state": state, "buffer": [0] * 4, "buffer_pos": 4}
    fresh |= {"has_uint32": 0, "uinteger": 0}
    for k in keys.tolist():
        state["key"][0] = k
        philox.state = fresh
        yield own


def uniforms(seed: int, *counters: int, count: int) -> NDArray[np.float64]:
    """`count` numbers in [0, 1) of the key (seed, *counters): for draws that need no generator's state."""
    return unit(words(np.full(count, key(seed, *counters), np.uint64), np.arange(count)))


@dataclass(frozen=True)
class Permutation:
    """A pseudo-random order of `range(size)`: `Permutation(size, seed, epoch)(i)` is the index shown i-th.

    Every index comes exactly once. Takes an integer or an array of integers in [0, size); O(1) memory.
    """

    size: int
    seed: int
    epoch: int = 0
    _keys: NDArray[np.uint64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"a permutation needs at least one index, got size {self.size}")
        object.__setattr__(self, "_keys", np.array([key(self.seed, self.epoch, r) for r in range(4)], np.uint64))

    def __call__(self, index: int | Integers) -> Integers:
        """index (n,) or scalar -> permuted index, int64, same shape."""
        wanted = np.asarray(index, np.int64).reshape(-1)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= self.size):
            raise IndexError(f"index outside [0, {self.size})")
        bits = max(2, int(self.size - 1).bit_length())
        low, high = np.uint64(bits - bits // 2), np.uint64(bits // 2)
        low_mask, high_mask = np.uint64(2 ** int(low) - 1), np.uint64(2 ** int(high) - 1)
        value = wanted.astype(np.uint64)
        walking = np.arange(len(value))
        while len(walking):  # outside the range: walk the cycle until it comes back in (fewer than 2 walks on average)
            own = value[walking]
            left, right = own >> low, own & low_mask
            for first, second in self._keys.reshape(2, 2):  # two halves of unlike width take two rounds to be back
                left ^= _mix(right + first) & high_mask
                right ^= _mix(left + second) & low_mask
            value[walking] = left << low | right
            walking = walking[value[walking] >= np.uint64(self.size)]
        return value.astype(np.int64).reshape(np.shape(index))
