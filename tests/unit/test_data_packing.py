"""didact.data.packing: packs hold what they may, waste little, and are dealt evenly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from data_tools import example
from hypothesis import given
from hypothesis import strategies as st

from didact.batch import Labels, Prepared
from didact.data.packing import collate, deal, efficiency, pack
from didact.errors import InputError

SIZES = st.lists(st.integers(0, 64), max_size=80)


@given(SIZES, st.integers(64, 200))
def test_pack_holds_every_index_once_within_the_capacity(sizes: list[int], capacity: int) -> None:
    packs = pack(sizes, capacity)
    assert sorted(i for p in packs for i in p) == list(range(len(sizes)))
    assert all(p and sum(sizes[i] for i in p) <= capacity for p in packs)
    assert all([sizes[i] for i in p] == sorted((sizes[i] for i in p), reverse=True) for p in packs)


@given(st.lists(st.integers(1, 64), min_size=1, max_size=80), st.integers(64, 200))
def test_pack_opens_a_pack_only_where_none_fits(sizes: list[int], capacity: int) -> None:
    packs = pack(sizes, capacity)
    loads = [sum(sizes[i] for i in p) for p in packs]
    for j, p in enumerate(packs):  # the longest of pack j opened it: no earlier pack had room for it at the end either
        assert all(loads[i] + sizes[p[0]] > capacity for i in range(j))


@given(SIZES, st.integers(64, 200), st.integers(1, 5))
def test_deal_holds_every_index_once_and_is_a_multiple_of_the_ranks(
    sizes: list[int], capacity: int, ranks: int
) -> None:
    packs = deal(sizes, capacity, ranks)
    assert sorted(i for p in packs for i in p) == list(range(len(sizes)))
    assert len(packs) % ranks == 0
    assert len(packs) < len(pack(sizes, capacity)) + ranks or len(packs) == ranks
    loads = [sum(sizes[i] for i in p) for p in packs]
    assert max(loads) <= capacity
    assert loads == sorted(loads, reverse=True)


def test_deal_is_even() -> None:
    sizes = np.random.default_rng(0).integers(8, 129, 256)
    loads = [int(sizes[p].sum()) for p in deal(sizes, 4096, 2)]
    assert max(loads) - min(loads) <= 16


@pytest.mark.parametrize("longest", [128, 512])
def test_a_window_wastes_less_than_a_hundredth(longest: int) -> None:
    sizes = np.random.default_rng(1).integers(8, longest + 1, 6000)
    assert efficiency(sizes, pack(sizes, 8192), 8192) > 0.99


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(InputError, match="65 tokens does not fit a micro-batch of 64"):
        pack([3, 65], 64)


def test_nothing_to_pack() -> None:
    assert pack([], 8) == []
    assert deal([], 8, 2) == [[], []]
    assert efficiency([], [], 8) == 1.0


def test_collate_lays_the_longest_first_and_moves_rows_along() -> None:
    prepared = [
        Prepared(e, (Labels("vocabulary", np.array([1, len(e) - 2]), e.tokens[[1, -2]]),))
        for e in (example(n, seed=n) for n in (5, 9, 3))
    ]
    batch = collate(prepared)
    packed = batch.inputs.packed
    assert packed.lengths == [9, 5, 3]
    assert packed.max_seqlen == 9
    assert batch.tokens == 17
    assert packed.positions.tolist() == [*range(9), *range(5), *range(3)]
    (asked,) = batch.labels
    assert asked.rows.tolist() == [1, 7, 10, 12, 15, 15]
    assert torch.equal(packed.tokens[asked.rows], asked.values)
    assert batch.counts == {"vocabulary": 6.0}
    assert collate(prepared, max_seqlen=32).inputs.packed.max_seqlen == 32
