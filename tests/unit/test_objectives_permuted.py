"""Orders, query rows and memories, as the objective lays them out."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from data_tools import example
from training_tools import masked

from didact.data.flat import Flat
from didact.data.lay import lay, lay_prepared
from didact.errors import InputError
from didact.objectives import Combined, Masked, NextSentence, Permuted, Tokens
from didact.packed import Chain
from didact.visibility import NOBODY

KEYS = np.arange(1, 6, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
LENGTHS = (7, 12, 3, 12, 40)


def flat_of(objective: Permuted) -> tuple[Flat, Flat]:
    plain = lay([example(n, seed=n, relation=0) for n in LENGTHS])
    return plain, objective.ask(plain, KEYS)


def test_a_query_row_stands_for_each_asked_word() -> None:
    plain, flat = flat_of(Permuted(0.4))
    assert flat.queries is not None
    assert flat.sizes.tolist() == (plain.lengths + np.diff(flat.queries.cuts)).tolist()
    order = [4, 1, 3, 0, 2]
    batch = flat.batch(order)
    packed, rule, (asked,) = batch.inputs.packed, batch.inputs.visibility, batch.labels
    assert batch.tokens == sum(LENGTHS)
    assert len(packed.tokens) == int(flat.sizes.sum())
    assert packed.lengths == flat.sizes[order].tolist()
    assert packed.max_seqlen == max(LENGTHS)
    assert rule.rank is not None
    assert rule.reach is not None
    assert packed.queries is not None
    assert torch.equal(asked.rows, packed.queries)
    asking = rule.rank == NOBODY
    assert asking.nonzero()[:, 0].tolist() == asked.rows.tolist()
    for (start, stop), i in zip(pairwise(packed.cu_seqlens.tolist()), order, strict=True):
        own = slice(start, start + LENGTHS[i])
        rank, reach = rule.rank[own], rule.reach[own]
        assert packed.tokens[own].tolist() == plain.example(i).tokens.tolist()
        assert packed.positions[own].tolist() == list(range(LENGTHS[i]))
        assert torch.equal(rank, reach)
        late = plain.example(i).special.copy()
        for row in range(own.stop, stop):
            about = int(packed.positions[row])
            late[about] = True
            assert packed.tokens[row] == 0
            assert rule.reach[row] == rank[about] - 1
            assert packed.segments is not None
            assert packed.segments[row] == packed.segments[start + about]
            (value,) = asked.values[asked.rows == row]
            assert value == packed.tokens[start + about]
        assert sorted(rank[late].tolist()) == list(range(1, late.sum() + 1))
        assert not rank[~late].any()


def test_one_by_one_and_all_at_once_are_the_same() -> None:
    for objective in (Permuted(0.4), Permuted(0.4, segments=3, memory=2)):
        _, flat = flat_of(objective)
        again = lay_prepared(flat.prepared())
        a, b = (f.batch([3, 0, 4]) for f in (flat, again))
        for x, y in ((a.inputs.packed, b.inputs.packed), (a.inputs.visibility, b.inputs.visibility)):
            for name, value in vars(x).items():
                other = getattr(y, name)
                assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, name
        assert torch.equal(a.labels[0].rows, b.labels[0].rows)
        assert torch.equal(a.labels[0].values, b.labels[0].values)
        assert [p.size for p in flat.prepared()] == flat.sizes.tolist()


def test_parts_follow_each_other_and_keep_their_query_rows() -> None:
    plain, flat = flat_of(Permuted(0.4, segments=3, memory=5))
    batch = flat.batch([4, 2])
    packed, (asked,) = batch.inputs.packed, batch.labels
    assert packed.chain == Chain((-1, 0, 1, -1, 3, 4), 5)
    asking = np.zeros(len(packed.tokens), bool)
    assert packed.queries is not None
    asking[packed.queries.numpy()] = True
    read = []
    for start, stop in pairwise(packed.cu_seqlens.tolist()):
        own = np.flatnonzero(~asking[start:stop]) + start
        assert own.tolist() == list(range(start, start + len(own)))
        assert packed.positions[own].tolist() == list(range(len(own)))
        read.append(packed.tokens[own].tolist())
        for row in range(start + len(own), stop):
            about = start + int(packed.positions[row])
            assert about < start + len(own)
            assert asked.values[asked.rows == row].tolist() == [int(packed.tokens[about])]
    assert [len(part) for part in read] == [13, 13, 14, 1, 1, 1]
    assert [t for part in read[:3] for t in part] == plain.example(4).tokens.tolist()


def test_every_word_comes_anywhere_in_the_order() -> None:
    plain = lay([example(8, seed=1)] * 6000)
    flat = Permuted(1.0).ask(plain, np.random.default_rng(0).integers(2**64, size=6000, dtype=np.uint64))
    assert not isinstance(flat.visibility, tuple)
    assert flat.visibility.rank is not None
    rank = flat.visibility.rank.view(6000, 8)  # two special tokens, six asked
    shares = torch.stack([(rank == place).double().mean(0) for place in range(1, 9)])
    assert (shares - 1 / 8).abs().max() < 0.02


def test_with_other_objectives() -> None:
    plain = lay([example(n, seed=n, relation=n % 2) for n in LENGTHS])
    both = Combined((Permuted(0.4), NextSentence()))
    assert both.queries
    assert not Combined((masked(), NextSentence())).queries
    flat = both.ask(plain, KEYS)
    batch = flat.batch(np.arange(5))
    starts = batch.inputs.packed.cu_seqlens[:-1]
    assert batch.labels[1].rows.tolist() == starts.tolist()
    assert batch.labels[1].values.tolist() == [n % 2 for n in LENGTHS]
    assert batch.inputs.packed.queries is not None
    assert batch.labels[0].rows.tolist() == batch.inputs.packed.queries.tolist()


@pytest.mark.parametrize("segments", [2, 3, 5, 7, 10**6, 10**18])
def test_parts_are_equal_to_within_one_row(segments: int) -> None:
    lengths = (1, 2, 5, 7, 12)
    flat = Permuted(0.4, Tokens(), segments=segments).ask(lay([example(n, n) for n in lengths]), KEYS[: len(lengths)])
    assert flat.parts is not None
    for start, end in pairwise(flat.cuts.tolist()):
        begins = flat.parts[start:end].nonzero()[0].tolist()
        assert begins == sorted({(end - start) * number // min(segments, 99) for number in range(min(segments, 99))})


def test_more_parts_than_a_sequence_has_tokens() -> None:
    assert Permuted(segments=8).rows_of(8) == 8
    with pytest.raises(InputError, match=r"segments 9 of a sequence of 8 tokens; expected at most 8"):
        Permuted(segments=9).rows_of(8)


def test_what_it_cannot_be_is_said() -> None:
    with pytest.raises(ValueError, match="rate"):
        Permuted(0.0)
    with pytest.raises(ValueError, match="segments"):
        Permuted(segments=0)
    choices = lay([example(6, 1)])
    choices = Flat(choices.cuts, choices.tokens, examples=choices.examples, parts=np.array([1, 0, 0, 1, 0, 0], bool))
    with pytest.raises(ValueError, match="one part"):
        Permuted(select=Tokens()).ask(choices, KEYS[:1])
    assert Permuted().at_rate(0.3).rate == 0.3
    assert isinstance(masked(), Masked)
