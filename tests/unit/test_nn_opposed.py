"""Two stacks in opposite directions: their sizes, what attention they show, what they refuse, how they are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from nn_tools import pack, tiny
from run_tools import make_world

from didact import hub
from didact.batch import Side
from didact.config import Position
from didact.model import Model, Pretrained
from didact.nn.cores import build
from didact.objectives import BidirectionalLM
from didact.tokenization.tokenizer import Tokenizer
from didact.visibility import causal, right_to_left

OPPOSED = tiny(core="opposed", heads=4)


def test_each_direction_has_half() -> None:
    model = Model(OPPOSED, BidirectionalLM().heads)
    hidden = model.hidden(Side(pack([3, 5])), layers=True)
    assert {name: rows.shape[1] for name, rows in hidden.streams.items()} == {"main": 16, "forward": 8, "backward": 8}
    half = replace(OPPOSED, core="transformer", width=8, heads=2, feedforward=12)
    blocks = [sum(p.numel() for p in build(c).blocks.parameters()) for c in (OPPOSED, half)]
    assert blocks[0] == 2 * blocks[1]


def test_heads_that_look_left_then_heads_that_look_right() -> None:
    packed = pack([4, 1, 3])
    core = build(OPPOSED, torch.Generator().manual_seed(0)).eval()
    looks = core(Side(packed), attention=[1]).attention[1]
    rules = causal().matrix(packed), right_to_left(packed.positions).matrix(packed)
    start = 0
    for look, n in zip(looks, [4, 1, 3], strict=True):
        assert look.shape == (4, n, n)
        for heads, rule in zip(look.split(2), rules, strict=True):
            assert torch.equal(heads > 0, rule[start : start + n, start : start + n].expand(2, n, n))
        start += n


@pytest.mark.parametrize(
    "changes",
    [
        {"heads": 1},
        {"feedforward": 25},
        {"visibility": "causal"},
        {"queries": True},
        {"position": Position("relative", None)},
        {"position": Position("disentangled")},
    ],
    ids=str,
)
def test_what_it_has_no_place_for_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"opposed|even|odd|alone"):
        build(replace(OPPOSED, **changes))


def test_another_visibility_is_refused() -> None:
    with pytest.raises(ValueError, match="their own rules"):
        build(OPPOSED)(Side(pack([3]), causal()))


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    world = make_world(tmp_path / "world")
    tokenizer = Tokenizer.load(world / "tokenizer")
    config = replace(OPPOSED, vocabulary=tokenizer.vocabulary)
    model = Model(config, BidirectionalLM().heads, torch.Generator().manual_seed(0))
    hub.export(Pretrained(model, tokenizer, "bert"), tmp_path / "out")
    again = hub.load(tmp_path / "out", BidirectionalLM().heads)
    assert again.model.config == config
    assert {n: p.tolist() for n, p in again.model.state_dict().items()} == {
        n: p.tolist() for n, p in model.state_dict().items()
    }
