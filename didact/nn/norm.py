"""What a norm slot may hold: layer norm (Ba et al., 2016), RMS norm (Zhang & Sennrich, 2019), nothing."""

from __future__ import annotations

from torch import nn

from didact.config import Norm


def build_norm(kind: Norm | None, width: int, eps: float, bias: bool) -> nn.Module:
    """A module (…, width) -> (…, width); an empty slot is the identity. RMS norm never has a bias."""
    if kind is None:
        return nn.Identity()
    if kind == "layer":
        return nn.LayerNorm(width, eps=eps, bias=bias)
    return nn.RMSNorm(width, eps=eps)
