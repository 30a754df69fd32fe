"""didact.randomness: every draw is a function of its key; orders are permutations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from didact.randomness import Permutation, below, generator, generators, key, keys, runs, uniforms, unit, words

PARTS = st.lists(st.integers(-(2**70), 2**70), min_size=1, max_size=4)


@given(PARTS)
def test_key_is_a_word_that_depends_on_every_part(parts: list[int]) -> None:
    assert 0 <= key(*parts) < 2**64
    for i in range(len(parts)):
        assert key(*parts[:i], parts[i] + 1, *parts[i + 1 :]) != key(*parts)
    assert key(*parts, 0) != key(*parts)


def test_keys_are_stable() -> None:
    """What is in a checkpoint must mean the same for ever."""
    assert key(0) == 0xE220A8397B1DCDAF  # the first number of SplitMix64 seeded with 0
    assert uniforms(3, 1, count=2).tolist() == [0.036991376265271936, 0.14875479955011273]
    assert Permutation(10, seed=7, epoch=2)(np.arange(10)).tolist() == [8, 9, 1, 0, 2, 5, 6, 7, 3, 4]


@given(PARTS, st.lists(st.integers(0, 2**63 - 1), max_size=5))
def test_keys_at_once(parts: list[int], each: list[int]) -> None:
    assert keys(*parts, each=np.array(each, np.int64)).tolist() == [key(*parts, i) for i in each]


@given(st.integers(0, 2**64 - 1))
def test_words_are_what_uniforms_reads(k: int) -> None:
    own = words(np.full(6, k, np.uint64), np.arange(6))
    assert len(set(own.tolist())) == 6
    assert ((unit(own) >= 0) & (unit(own) < 1)).all()
    seed = 17
    read = unit(words(np.full(6, key(seed, 2), np.uint64), np.arange(6)))
    assert uniforms(seed, 2, count=6).tolist() == read.tolist()
    assert uniforms(seed, 2, count=9)[:6].tolist() == read.tolist()


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 40)), max_size=6))
def test_runs_depend_on_their_own_key_alone(each: list[tuple[int, int]]) -> None:
    ks, lengths = np.array([k for k, _ in each], np.uint64), np.array([n for _, n in each], np.int64)
    found = np.split(runs(ks, lengths), np.cumsum(lengths)[:-1]) if each else []
    for i, own in enumerate(found):
        alone = runs(ks[i : i + 1], np.array([60]))
        assert own.tolist() == alone[: lengths[i]].tolist()
        assert len(set(alone.tolist())) == 60


def test_runs_are_uniform_and_independent() -> None:
    drawn = runs(np.arange(2000, dtype=np.uint64), np.full(2000, 128)).reshape(2000, 128) / 2.0**32
    assert np.histogram(drawn, 20, (0, 1))[0] == pytest.approx(drawn.size / 20, rel=0.03)
    assert drawn.mean(0) == pytest.approx(0.5, abs=0.03)
    assert np.corrcoef(drawn.T)[np.triu_indices(128, 1)] == pytest.approx(0, abs=0.12)
    first = np.argsort(drawn, axis=1)[:, 0]
    assert np.bincount(first, minlength=128).max() < 40  # the smallest may be anywhere


def test_below() -> None:
    drawn = below(words(np.full(200_000, 9, np.uint64), np.arange(200_000)), 7)
    assert np.bincount(drawn, minlength=7) / 200_000 == pytest.approx(1 / 7, abs=0.004)
    assert below(np.array([0, 2**64 - 1], np.uint64), 30522).tolist() == [0, 30521]


def test_uniforms_are_uniform() -> None:
    drawn = uniforms(0, count=200_000)
    assert drawn.mean() == pytest.approx(0.5, abs=0.002)
    assert np.histogram(drawn, 20, (0, 1))[0] == pytest.approx(10_000, rel=0.04)
    assert np.corrcoef(drawn[:-1], drawn[1:])[0, 1] == pytest.approx(0, abs=0.01)


@given(st.integers(0, 2**64 - 1))
def test_a_generator_set_anew_is_one_made_anew(k: int) -> None:
    """Keys with their highest bit set, too: numpy would make floats of a list of such and smaller ones."""
    (rng,) = list(generators(np.array([k], np.uint64)))
    fresh = generator(k)
    for _ in range(2):
        assert rng.random(3).tolist() == fresh.random(3).tolist()
        assert rng.integers(5, size=3, dtype=np.uint32).tolist() == fresh.integers(5, size=3, dtype=np.uint32).tolist()


def test_no_draw_is_carried_over() -> None:
    drawn = []
    for rng in generators(np.array([1, 2, 1], np.uint64)):
        drawn.append(rng.integers(2**31, size=3, dtype=np.uint32).tolist())  # an odd number of half words
    assert drawn[0] == drawn[2] != drawn[1]


def test_generators_of_different_keys_differ() -> None:
    firsts = {generator(2**63 + i, j).random() for i in range(20) for j in range(20)}
    assert len(firsts) == 400


@given(st.integers(1, 300), st.integers(0, 99), st.integers(0, 9))
def test_a_permutation_holds_every_index_once(size: int, seed: int, epoch: int) -> None:
    order = Permutation(size, seed, epoch)
    every = order(np.arange(size))
    assert sorted(every.tolist()) == list(range(size))
    assert order(size - 1) == every[-1]
    assert isinstance(int(order(0)), int)


def test_permutations_mix() -> None:
    size = 10_000
    order = Permutation(size, 1)(np.arange(size))
    assert np.corrcoef(order, np.arange(size))[0, 1] == pytest.approx(0, abs=0.04)
    assert not np.array_equal(order, Permutation(size, 2)(np.arange(size)))
    assert not np.array_equal(order, Permutation(size, 1, 1)(np.arange(size)))
    huge = Permutation(10**12, 0)(np.array([0, 10**12 - 1]))
    assert ((huge >= 0) & (huge < 10**12)).all()


def test_outside_is_an_error() -> None:
    with pytest.raises(IndexError):
        Permutation(5, 0)(5)
    with pytest.raises(IndexError):
        Permutation(5, 0)(np.array([-1]))
    with pytest.raises(ValueError, match="at least one index"):
        Permutation(0, 0)
