"""What a norm slot holds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from didact.nn.norm import build_norm


@pytest.mark.parametrize("bias", [True, False])
def test_each_kind_is_its_formula(bias: bool) -> None:
    x = torch.randn(5, 8, dtype=torch.float64)
    layer = build_norm("layer", 8, 1e-3, bias).double()
    variance = x.var(-1, correction=0, keepdim=True)
    torch.testing.assert_close(layer(x), (x - x.mean(-1, keepdim=True)) / (variance + 1e-3).sqrt())
    assert {name for name, _ in layer.named_parameters()} == ({"weight", "bias"} if bias else {"weight"})
    rms = build_norm("rms", 8, 1e-3, bias).double()
    torch.testing.assert_close(rms(x), x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt())
    assert [name for name, _ in rms.named_parameters()] == ["weight"]
    assert isinstance(build_norm(None, 8, 1e-3, bias), nn.Identity)
