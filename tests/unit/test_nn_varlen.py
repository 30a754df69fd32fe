"""How the varlen kernel words a rule; what it computes is for the laws, on CUDA."""

from __future__ import annotations

import pytest
from nn_tools import RULES, pack

from didact.nn.varlen import Varlen


@pytest.mark.parametrize(
    ("rule", "left", "right"),
    [("full", -1, -1), ("causal", -1, 0), ("window", 1, 1), ("causal window", 2, 0)],
)
def test_windows_are_left_and_right(rule: str, left: int, right: int) -> None:
    packed = pack([3, 5])
    plan = Varlen().plan(packed, RULES[rule](packed))
    assert (plan.left, plan.right, plan.longest) == (left, right, 5)
