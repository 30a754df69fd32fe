"""Heads that start with neighbours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from data_tools import example
from nn_tools import tiny

from didact.batch import Side
from didact.config import ModelConfig, Norms, Position
from didact.data.lay import lay
from didact.nn.attention import Context
from didact.nn.kernel import named
from didact.nn.neighbours import LEFT, OFFSETS, RIGHT, turn
from didact.nn.opposed import build as build_opposed
from didact.nn.transformer import Transformer, build
from didact.objectives import Permuted
from didact.packed import Packed
from didact.visibility import bidirectional, causal


def config(**changes: object) -> ModelConfig:
    position = Position(maximum=90, offset=2, start="neighbours")
    return replace(tiny(width=128, heads=4, layers=2, vocabulary=50, init_std=0.02, position=position), **changes)


def looks(model: Transformer, tokens: torch.Tensor) -> torch.Tensor:
    """(N, L, L): where the first block's heads look."""
    packed = Packed.of([tokens.tolist()])
    attention = model.blocks[0].attention
    (found,) = attention.probabilities(model.embedding(packed), Context(named("dense"), None), packed, bidirectional())
    return found


def test_query_rows_look_where_words_do() -> None:
    model = build(config(layers=1, queries=True, vocabulary=5000), torch.Generator().manual_seed(0))
    side = Permuted(0.3).ask(lay([example(60, seed=1)]), np.ones(1, np.uint64)).batch([0]).inputs
    assert side.packed.queries is not None
    at, sees = side.packed.positions.tolist(), side.visibility.matrix(side.packed)
    with torch.no_grad():
        (found,) = model(side, attention=[0]).attention[0]
    for head, offset in enumerate(OFFSETS[:2]):
        rows = [(q, at[q] + offset) for q in side.packed.queries.tolist() if 0 <= at[q] + offset < 60]
        seen = [(q, other) for q, other in rows if sees[q, other]]
        assert 0 < len(seen) < len(rows)
        assert all(int(found[head, q].argmax()) == other for q, other in seen)


def test_rows_that_see_one_side_look_to_it() -> None:
    packed = Packed.of([list(range(1, 41))])
    left = build(config(layers=1, visibility="causal"), torch.Generator().manual_seed(0))
    both = build_opposed(config(layers=1, width=256, heads=8, core="opposed"), torch.Generator().manual_seed(0))
    with torch.no_grad():
        (looks_left,) = left(Side(packed, causal()), attention=[0]).attention[0]
        (looks_both,) = both(Side(packed), attention=[0]).attention[0]
    for heads, offsets in ((looks_left, LEFT), (looks_both, (*LEFT, *RIGHT))):
        for look, offset in zip(heads, offsets, strict=True):
            if offset is not None:
                assert all(int(look[row].argmax()) == row + offset for row in range(40) if 0 <= row + offset < 40)


def test_turn_is_the_sum_of_angles() -> None:
    x, by = torch.tensor([0.3, 1.1]), torch.tensor([0.5, -2.0])
    before = torch.stack((x.sin(), x.cos()), -1).flatten()
    after = torch.stack(((x + by).sin(), (x + by).cos()), -1).flatten()
    torch.testing.assert_close(turn(by) @ before, after)


@pytest.mark.parametrize(("width", "heads"), [(128, 4), (256, 4), (128, 2), (256, 8)])
def test_each_head_looks_at_its_neighbour_or_at_everything(width: int, heads: int) -> None:
    model = build(config(width=width, heads=heads, layers=1), torch.Generator().manual_seed(0))
    tokens = torch.randint(50, (90,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = looks(model, tokens)
    for head, offset in enumerate(OFFSETS[:heads]):
        if offset is None:  # sees everything alike
            torch.testing.assert_close(found[head], torch.full((90, 90), 1 / 90), rtol=0.5, atol=0.0)
            continue
        at = [(row, row + offset) for row in range(90) if 0 <= row + offset < 90]
        seen = torch.tensor([float(found[head, row, other]) for row, other in at])
        assert all(int(found[head, row].argmax()) == other for row, other in at)
        assert 0.75 < float(seen.mean()) < 0.95  # and can still be told otherwise


@pytest.mark.parametrize("own", [{"scaled_words": True}, {"scaled_attention": False}, {"segments": 0}, {"layers": 3}])
def test_other_scales_change_little(own: dict[str, object]) -> None:
    """Of words, of attention; without segments; in every block of a post-norm model."""
    model = build(config(**own), torch.Generator().manual_seed(0))
    packed = Packed.of([torch.randint(50, (90,), generator=torch.Generator().manual_seed(1)).tolist()])
    layers = list(range(len(model.blocks)))
    with torch.no_grad():
        looked = model(Side(packed), attention=layers).attention
    for (found,) in looked.values():
        for head, offset in enumerate(OFFSETS[:2]):
            at = [(row, row + offset) for row in range(90) if 0 <= row + offset < 90]
            assert np.mean([int(found[head, row].argmax()) == other for row, other in at]) > 0.9
            assert 0.6 < np.mean([float(found[head, row, other]) for row, other in at]) < 0.95


def test_the_rest_is_drawn_as_ever() -> None:
    plain = config(position=Position(maximum=90, offset=2))
    a = build(plain, torch.Generator().manual_seed(3)).state_dict()
    b = build(config(), torch.Generator().manual_seed(3)).state_dict()
    assert {name for name in a if not torch.equal(a[name], b[name])} == {
        "embedding.word.weight", "embedding.segment.weight", "embedding.position.weight",
        "blocks.0.attention.qkv.weight", "blocks.1.attention.qkv.weight",
    }  # fmt: skip
    assert torch.equal(a["embedding.word.weight"][:, 32:], b["embedding.word.weight"][:, 32:])
    assert torch.equal(a["blocks.0.attention.qkv.weight"][256:], b["blocks.0.attention.qkv.weight"][256:])


@pytest.mark.parametrize(
    "changes",
    [
        {"embedding_width": 64},
        {"position": Position("rotary", start="neighbours")},
        {"heads": 128},
        {"norms": Norms(embedding=None)},
    ],
)
def test_what_has_no_room_for_it_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="neighbours"):
        build(config(**changes))
