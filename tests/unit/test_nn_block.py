"""One layer: where its norms and residuals are."""

from __future__ import annotations

import pytest
import torch
from nn_tools import NORMS, pack, tiny
from torch import nn

from didact.nn.attention import Context
from didact.nn.block import Block
from didact.nn.kernel import named
from didact.nn.transformer import build
from didact.visibility import bidirectional


@pytest.mark.parametrize("norms", NORMS)
def test_each_slot_is_where_its_name_says(norms: str) -> None:
    block = build(tiny(norms=NORMS[norms]), torch.Generator().manual_seed(0)).blocks[0]
    assert isinstance(block, Block)
    packed = pack([4, 2])
    kernel = named("dense")
    context = Context(kernel, kernel.plan(packed, bidirectional()))
    x = torch.randn(6, 16)
    middle = block.norm_attention_out(x + block.attention(block.norm_attention_in(x), context))
    expected = block.norm_feedforward_out(middle + block.feedforward(block.norm_feedforward_in(middle)))
    torch.testing.assert_close(block(x, context), expected)
    filled = {name for name, part in block.named_children() if name.startswith("norm") and list(part.parameters())}
    slots = ("attention_in", "attention_out", "feedforward_in", "feedforward_out")
    assert filled == {f"norm_{slot}" for slot in slots if getattr(NORMS[norms], slot) is not None}


def test_dropout_is_on_what_the_sublayers_add() -> None:
    block = build(tiny(norms=NORMS["none"])).blocks[0].train()
    block.dropout = 1.0  # type: ignore[assignment]
    packed = pack([4])
    kernel = named("grouped")
    x = torch.randn(4, 16)
    context = Context(kernel, kernel.plan(packed, bidirectional()))
    assert torch.equal(block(x, context), x)
    assert not any(isinstance(part, nn.Dropout) for part in block.modules())
