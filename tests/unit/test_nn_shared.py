"""Input tables in common: one set, or one plus a difference; what is written is what is computed with."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from nn_tools import pack, tiny
from torch import nn

from didact.config import Characters, Position
from didact.nn.shared import begin_alike, plain_state, share, tables
from didact.nn.transformer import Transformer, build

CONFIG = replace(tiny(), embedding_width=8)
NARROW = replace(CONFIG, width=12, heads=2)


def two(other: object = NARROW) -> tuple[Transformer, Transformer]:
    return (
        build(CONFIG, torch.Generator().manual_seed(0)),
        build(other, torch.Generator().manual_seed(1)),  # type: ignore[arg-type]
    )


def test_all_is_one_set_of_tables_and_one_norm() -> None:
    main, small = two()
    before = {name: tensor.clone() for name, tensor in main.state_dict().items()}
    share(main.embedding, small.embedding, "all")
    shared = {name for name, p in small.named_parameters() if any(p is q for q in main.parameters())}
    assert shared == {
        f"embedding.{name}" for name in ("word.weight", "position.weight", "segment.weight", "norm.weight", "norm.bias")
    }
    assert all(torch.equal(tensor, before[name]) for name, tensor in main.state_dict().items())
    assert len(list(nn.ModuleList([main, small]).parameters())) == len(before) + len(small.state_dict()) - 5


def test_a_difference_starts_where_it_stood_and_moves_alone() -> None:
    main, small = two()
    before, theirs = copy.deepcopy(main), copy.deepcopy(small)
    share(main.embedding, small.embedding, "difference")
    packed = pack([3, 5])
    torch.testing.assert_close(main.embedding(packed), before.embedding(packed))
    assert all(torch.equal(a, b) for a, b in zip(small.parameters(), theirs.parameters(), strict=True))
    main.embedding(packed).square().sum().backward()
    assert all(p.grad is None for p in small.parameters())
    for name, table in tables(main.embedding).items():
        assert table.parametrizations.weight.original.grad.any(), name  # type: ignore[union-attr, operator]
    with torch.no_grad():
        small.embedding.word.weight += 1.0  # and it follows the table it is a difference from
    torch.testing.assert_close(main.embedding.word.weight, before.embedding.word.weight + 1.0)


@pytest.mark.parametrize("sharing", ["all", "difference", "none"])
def test_what_is_written_stands_alone(sharing: str) -> None:
    main, small = two()
    share(main.embedding, small.embedding, sharing)  # type: ignore[arg-type]
    packed = pack([4, 2])
    for stack, config in ((main, CONFIG), (small, NARROW)):
        alone = build(config)
        alone.load_state_dict(plain_state(stack))
        assert torch.equal(alone.embedding(packed), stack.embedding(packed))


def test_a_copy_of_both_is_a_pair_of_its_own() -> None:
    pair = nn.ModuleList(two())
    share(pair[0].embedding, pair[1].embedding, "difference")  # type: ignore[arg-type, union-attr]
    twin = copy.deepcopy(pair)
    assert [name for name, _ in twin.named_parameters()] == [name for name, _ in pair.named_parameters()]
    with torch.no_grad():
        pair[1].embedding.word.weight += 1.0  # type: ignore[union-attr, operator]
        twin[1].embedding.word.weight += 2.0  # type: ignore[union-attr, operator]
    weights = [own[0].embedding.word.weight for own in (pair, twin)]  # type: ignore[union-attr]
    torch.testing.assert_close(weights[1], weights[0] + 1.0)  # type: ignore[operator]


def test_a_fresh_one_begins_with_the_same_tables() -> None:
    main, small = two()
    begin_alike(main.embedding, small.embedding)
    for name, table in tables(main.embedding).items():
        assert torch.equal(table.weight, tables(small.embedding)[name].weight)
    share(main.embedding, small.embedding, "difference")
    assert not any(table.parametrizations.weight.original.any() for table in tables(main.embedding).values())  # type: ignore[union-attr, operator]


def test_tables_of_other_shapes_are_refused() -> None:
    for other, what in (
        (replace(NARROW, embedding_width=6), "word"),
        (replace(NARROW, segments=0), "segment"),
        (replace(NARROW, position=Position("none")), "position"),
    ):
        main, small = two(other)
        with pytest.raises(ValueError, match=f"have {what} tables"):
            share(main.embedding, small.embedding, "all")


def test_words_that_are_read_from_bytes() -> None:
    """One set of filters for both; but nothing that could be a difference, and no sharing in two shapes."""
    letters = {"tied": False, "characters": Characters(((1, 4), (3, 4)), width=4, longest=6)}
    config, narrow = replace(CONFIG, **letters), replace(NARROW, **letters)
    main, small = build(config), build(narrow)
    with pytest.raises(ValueError, match="no table that could be a difference"):
        share(main.embedding, small.embedding, "difference")
    share(main.embedding, small.embedding, "all")
    assert small.embedding.word is main.embedding.word
    fewer = replace(narrow, characters=Characters(((1, 4),), width=4, longest=6))
    with pytest.raises(ValueError, match="in two shapes"):
        share(main.embedding, build(fewer).embedding, "all")
    with pytest.raises(ValueError, match="have word tables"):
        share(main.embedding, build(NARROW).embedding, "all")
