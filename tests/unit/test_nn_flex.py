"""The flex kernel's forward on a CPU (its backward needs CUDA, where the laws run it)."""

from __future__ import annotations

import pytest
import torch
from nn_tools import RULES, pack

from didact.nn.flex import Flex


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_it_sees_only_blocks_that_have_something_to_see() -> None:
    packed = pack([200, 200])
    plan = Flex().plan(packed, RULES["full"](packed))
    assert plan.blocks.sparsity() < 100
    qkv = torch.randn(400, 3, 2, 16)
    with torch.no_grad():
        out = Flex()(qkv, plan)
        alone = pack([200])
        first = Flex()(qkv[:200], Flex().plan(alone, RULES["full"](alone)))
    torch.testing.assert_close(out[:200], first)
