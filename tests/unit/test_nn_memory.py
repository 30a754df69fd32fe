"""Which rows run when, and which they remember."""

from __future__ import annotations

import pytest
import torch
from nn_tools import tiny

from didact.batch import Side
from didact.nn.memory import turns
from didact.nn.transformer import build
from didact.packed import Chain, Packed
from didact.visibility import EVERYBODY, NOBODY, causal, ranked


def chained(after: tuple[int, ...], memory: int, lengths: tuple[int, ...] = (3, 2, 4, 2)) -> Packed:
    packed = Packed.of([list(range(10 * i, 10 * i + n)) for i, n in enumerate(lengths)])
    return Packed(packed.tokens, packed.positions, packed.cu_seqlens, max(lengths), chain=Chain(after, memory))


def test_sequences_run_after_those_they_continue() -> None:
    first, second, third = turns(Side(chained((-1, 0, 1, -1), 4), causal()))
    assert first.side.packed.tokens.tolist() == [0, 1, 2, 30, 31]
    assert first.places is None
    assert first.side.visibility.kind == "causal"
    assert second.side.packed.tokens.tolist() == [0, 1, 2, 10, 11]
    assert third.side.packed.tokens.tolist() == [1, 2, 10, 11, 20, 21, 22, 23]  # the last four before it
    assert third.side.packed.positions.tolist() == [-4, -3, -2, -1, 0, 1, 2, 3]
    assert third.memory.tolist() == [1, 2, 3, 4]
    assert third.rows.tolist() == [5, 6, 7, 8]
    assert third.places is not None
    assert torch.cat((third.memory, third.rows))[third.places.order].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert third.places.own.tolist() == [4, 5, 6, 7]
    seen = third.side.visibility.matrix(third.side.packed)
    assert seen[4:, :4].all()
    assert not seen[:4].any()
    assert torch.equal(seen[4:, 4:], torch.ones(4, 4).tril().bool())
    assert third.side.packed.max_seqlen >= 4 + 4


def test_query_rows_are_not_remembered() -> None:
    packed = chained((-1, 0), 10, (3, 2))
    packed = Packed(
        packed.tokens, packed.positions, packed.cu_seqlens, 3, torch.ones(5).long(), torch.tensor([2]), packed.chain
    )
    rank = torch.tensor([0, 0, NOBODY, 0, 0])
    _, second = turns(Side(packed, ranked(rank, torch.zeros_like(rank))))
    assert second.side.packed.tokens.tolist() == [0, 1, 10, 11]
    assert second.side.packed.segments is not None
    assert second.side.packed.segments.tolist() == [0, 0, 1, 1]
    assert second.side.visibility.rank is not None
    assert second.side.visibility.rank.tolist() == [EVERYBODY, EVERYBODY, 0, 0]


def test_no_gradient_flows_through_a_memory_and_none_outlives_the_pack() -> None:
    model = build(tiny(segments=0), torch.Generator().manual_seed(0))
    words: list[torch.Tensor] = []
    model.embedding.register_forward_hook(lambda *given: words.append(given[2].requires_grad_()) or words[-1])
    model.embedding.requires_grad_(False)
    packed = chained((-1, 0), 10, (3, 2))
    out = model(Side(packed)).main
    asked = torch.randn(out[3:].shape, generator=torch.Generator().manual_seed(1))  # a normed row's plain sum is fixed
    (slope,) = torch.autograd.grad((asked * out[3:]).sum(), words[0])
    assert not slope[:3].any()
    assert slope[3:].any()
    alone = Packed(packed.tokens[3:], packed.positions[3:], torch.tensor([0, 2], dtype=torch.int32), 2)
    assert not torch.allclose(model(Side(alone)).main, out[3:])  # it did see its memory
    assert torch.equal(model(Side(packed)).main, out)  # and has forgotten it


def test_no_attention_is_shown_of_a_chain() -> None:
    model = build(tiny(segments=0), torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="memory"):
        model(Side(chained((-1, 0), 10, (3, 2))), attention=(0,))
