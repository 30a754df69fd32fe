"""A larger model's weights from a smaller one's: the middle is the smaller model, the rest repeats it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from didact.config import ModelConfig, Position
from didact.exchange import keys
from didact.families import BERT, ELMO, GPT2, MODERNBERT, XLNET, Family
from didact.heads import Vocabulary
from didact.model import Model
from didact.nn.tile import center, tiled

SMALL = {"vocabulary": 13, "width": 8, "layers": 3, "heads": 2, "feedforward": 6, "position.maximum": 5}
LARGE = {"width": 20, "layers": 5, "heads": 5, "feedforward": 15, "position.maximum": 7}


def wrapped(values: Tensor, *shape: int) -> Tensor:
    """Numpy's own: padded on both sides by wrapping around."""
    sides = [((m - n) // 2, m - n - (m - n) // 2) for n, m in zip(values.shape, shape, strict=True)]
    return torch.from_numpy(np.pad(values.numpy(), sides, mode="wrap"))


def pair(family: Family, large: dict[str, Any] | None = None) -> tuple[Model, Model, dict[str, Tensor]]:
    small = Model(keys.changed(family.base, SMALL), {"vocabulary": Vocabulary()}, torch.Generator().manual_seed(0))
    config = keys.changed(small.config, large or LARGE)
    model = Model(config, small.specs, torch.Generator().manual_seed(1))
    return small, model, tiled(small.state_dict(), small.config, model.state_dict(), config)


def test_the_middle_wrapped_around() -> None:
    """The first figures are those of the reference code's own test."""
    assert center(torch.tensor([1, 2, 3]), 0, 8).tolist() == [2, 3, 1, 2, 3, 1, 2, 3]
    matrix = torch.arange(12.0).view(3, 4)
    for rows, columns in ((3, 4), (5, 4), (4, 9), (10, 13)):
        assert torch.equal(center(center(matrix, 0, rows), 1, columns), wrapped(matrix, rows, columns))
    with pytest.raises(ValueError, match="4 cannot be tiled into 3"):
        center(matrix, 1, 3)


@pytest.mark.parametrize("family", [BERT, GPT2, MODERNBERT], ids=lambda f: f.name)
def test_every_parameter(family: Family) -> None:
    small, model, state = pair(family)
    assert {n: t.shape for n, t in state.items()} == {n: t.shape for n, t in model.state_dict().items()}
    model.load_state_dict(state)
    old = small.state_dict()
    assert torch.equal(state["core.embedding.word.weight"], wrapped(old["core.embedding.word.weight"], 13, 20))
    for layer, source in enumerate((0, 1, 1, 2, 2)):  # round(i · 3 / 5): 0, 0.6, 1.2, 1.8, 2.4
        here, there = f"core.blocks.{layer}.", f"core.blocks.{source}."
        if family is not MODERNBERT:
            bias = old[there + "attention.qkv.bias"].view(3, 2, 4)
            assert torch.equal(state[here + "attention.qkv.bias"].view(3, 5, 4), wrapped(bias, 3, 5, 4))
        qkv = old[there + "attention.qkv.weight"].view(3, 2, 4, 8)
        assert torch.equal(state[here + "attention.qkv.weight"].view(3, 5, 4, 20), wrapped(qkv, 3, 5, 4, 20))
        out = old[there + "attention.out.weight"].view(8, 2, 4)
        assert torch.equal(state[here + "attention.out.weight"].view(20, 5, 4), wrapped(out, 20, 5, 4))
        parts = 2 if small.config.gated else 1
        up = old[there + "feedforward.up.weight"].view(parts, 6, 8)
        assert torch.equal(state[here + "feedforward.up.weight"].view(parts, 15, 20), wrapped(up, parts, 15, 20))
        down = old[there + "feedforward.down.weight"]
        assert torch.equal(state[here + "feedforward.down.weight"], wrapped(down, 20, 15))


def test_a_layer_that_asks_for_distances() -> None:
    """Transformer-XL's: columns of its projection read sines of a speed each, which depend on the width."""
    with pytest.raises(ValueError, match="a width of 8 with relative positions cannot be tiled into 20"):
        pair(XLNET)


def test_the_copied_blocks_stand_where_the_smaller_model_was() -> None:
    """The widths' middle: rows 6 to 13 of 20; of five heads the second and third; of 15 inner columns 4 to 9."""
    small, _, state = pair(MODERNBERT)
    qkv = state["core.blocks.0.attention.qkv.weight"].view(3, 5, 4, 20)
    assert torch.equal(qkv[:, 1:3, :, 6:14], small.state_dict()["core.blocks.0.attention.qkv.weight"].view(3, 2, 4, 8))
    up = state["core.blocks.0.feedforward.up.weight"].view(2, 15, 20)
    assert torch.equal(up[:, 4:10, 6:14], small.state_dict()["core.blocks.0.feedforward.up.weight"].view(2, 6, 8))


def test_positions_keep_their_numbers() -> None:
    small, _, state = pair(BERT)
    old, new = (s["core.embedding.position.weight"] for s in (small.state_dict(), state))
    assert torch.equal(new[:5, 6:14], old)
    assert torch.equal(new[5:, 6:14], old[:2])


def test_what_the_smaller_model_lacks_stays_as_drawn() -> None:
    """ModernBERT's first layer has no norm before its attention; twice as many layers read it twice."""
    _, model, state = pair(MODERNBERT, {"layers": 9})
    name = "core.blocks.1.norm_attention_in.weight"
    assert torch.equal(state[name], model.state_dict()[name])
    assert "core.blocks.0.norm_attention_in.weight" not in state


def test_many_more_layers_end_with_the_last() -> None:
    """Of three layers to nine: round(i / 3) would end with a fourth."""
    small, _, state = pair(GPT2, {"layers": 9})
    old = small.state_dict()
    for layer, source in enumerate((0, 0, 1, 1, 1, 2, 2, 2, 2)):
        own = state[f"core.blocks.{layer}.feedforward.down.weight"]
        assert torch.equal(own, old[f"core.blocks.{source}.feedforward.down.weight"])


def test_layers_that_share_their_block() -> None:
    config = ModelConfig(13, 8, 2, 2, 6, layer_groups=1, position=Position(maximum=4))
    small, large = Model(config, {}), Model(replace(config, layers=4, width=12, heads=3), {})
    state = tiled(small.state_dict(), small.config, large.state_dict(), large.config)
    assert torch.equal(state["core.blocks.0.feedforward.down.bias"][2:10], torch.zeros(8))
    assert set(state) == set(large.state_dict())


def test_layers_without_attention_are_not_tiled() -> None:
    config = keys.changed(ELMO.base, {"vocabulary": 13, "width": 8, "feedforward": 6, "characters.filters": [[1, 4]]})
    state = Model(config, {}).state_dict()
    with pytest.raises(ValueError, match="layers of a recurrent core cannot be tiled"):
        tiled(state, config, state, config)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layers": 2}, "3 layers cannot be tiled into 2"),
        ({"width": 4, "heads": 1}, "8 cannot be tiled into 4"),
        ({"vocabulary": 20}, "vocabulary 13 cannot be tiled into 20"),
        ({"width": 16}, "width of 4 with rotary positions cannot be tiled into 8"),
        ({"gated": False}, "gated True cannot be tiled into False"),
        ({"tied": False, "characters.filters": [[1, 4]]}, "tied True cannot be tiled into False"),
    ],
    ids=str,
)
def test_what_is_not_larger(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        pair(MODERNBERT, changes)
