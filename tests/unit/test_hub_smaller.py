"""didact.hub.smaller: which layers, and that everything else is the larger model's."""

from __future__ import annotations

import pytest
import torch

from didact.config import ModelConfig, Position
from didact.errors import InputError
from didact.exchange import keys
from didact.families import DISTILBERT
from didact.heads import PairRelation, State, Vocabulary
from didact.hub.smaller import spread, take_layers
from didact.model import Model

LARGE = ModelConfig(36, 16, 6, 2, 24, position=Position(maximum=20))


def model(config: ModelConfig, seed: int, heads: bool = True) -> Model:
    given = {"vocabulary": Vocabulary()} if heads else {}
    return Model(config, given, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("layers", "among", "chosen"),
    [(6, 12, (0, 2, 4, 7, 9, 11)), (12, 12, tuple(range(12))), (1, 4, (0,)), (2, 5, (0, 4)), (3, 24, (0, 12, 23))],
)
def test_layers_are_spread(layers: int, among: int, chosen: tuple[int, ...]) -> None:
    """Six of twelve are those of the reference script (extract_distilbert.py)."""
    assert spread(layers, among) == chosen


def test_every_second_layer_of_a_bert_is_a_distilbert() -> None:
    large = model(LARGE, 0)
    sizes = {"vocabulary": 36, "width": 16, "layers": 3, "heads": 2, "feedforward": 24, "position.maximum": 20}
    config = keys.changed(DISTILBERT.base, sizes)
    small = Model(config, {"vocabulary": Vocabulary(), "state": State()}, torch.Generator().manual_seed(1))
    assert take_layers(small, large) == ()
    theirs, own = large.state_dict(), small.state_dict()
    for here, there in ((0, 0), (1, 2), (2, 5)):
        for name, tensor in own.items():
            if name.startswith(f"core.blocks.{here}."):
                assert torch.equal(tensor, theirs[name.replace(f"blocks.{here}.", f"blocks.{there}.")])
    rest = [name for name in own if not name.startswith("core.blocks.")]
    assert all(torch.equal(own[name], theirs[name]) for name in rest)
    assert "core.embedding.segment.weight" not in own


def test_as_many_layers_make_the_same_model() -> None:
    large, small = model(LARGE, 0), model(LARGE, 1)
    assert take_layers(small, large) == ()
    assert all(torch.equal(a, b) for a, b in zip(small.parameters(), large.parameters(), strict=True))


def test_layers_can_be_named_and_positions_shortened() -> None:
    large = model(LARGE, 0)
    small = model(keys.changed(LARGE, {"layers": 2, "position": {"maximum": 8, "offset": 2}}), 1)
    before = small.core.embedding.position.weight[:2].clone()  # type: ignore[union-attr, index]
    take_layers(small, large, (5, 1))
    assert torch.equal(small.core.blocks[0].feedforward.up.weight, large.core.blocks[5].feedforward.up.weight)  # type: ignore[union-attr]
    table = small.state_dict()["core.embedding.position.weight"]
    assert torch.equal(table[2:], large.state_dict()["core.embedding.position.weight"][:8])
    assert torch.equal(table[:2], before)


def test_what_the_larger_one_lacks_is_said() -> None:
    small = Model(keys.changed(LARGE, {"layers": 2}), {"vocabulary": Vocabulary(), "pair_relation": PairRelation()})
    fresh = take_layers(small, model(LARGE, 0))
    assert fresh == ("heads.pair_relation.dense.weight", "heads.pair_relation.dense.bias")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layers": 7}, "7 layers out of 6; expected 1 to 6"),
        ({"layers": 2, "feedforward": 8}, r"the larger model's core\.blocks\.0\.feedforward\.up"),
        ({"layers": 2, "position.maximum": 21}, "20 positions of width 16; expected 21 of 16"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(changes: dict[str, int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        take_layers(model(keys.changed(LARGE, changes), 1), model(LARGE, 0))


def test_wrong_layers_are_refused() -> None:
    small = model(keys.changed(LARGE, {"layers": 2}), 1)
    for layers in ((0,), (0, 6), (0, 1, 2)):
        with pytest.raises(InputError, match="expected 2 of 0 to 5"):
            take_layers(small, model(LARGE, 0), layers)
