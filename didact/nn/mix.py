"""A learned mix of layers in place of the last one (Peters et al., 2018, §3.2, eq. 1): gamma · Σ softmax(s)_j layer_j.

Shapes: T rows, D width, J layers, the embeddings' included.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didact.nn.init import Begins


class LayerMix(Begins):
    """s (J,): at first all 0, which is the mean; gamma (1,): at first 1. norm: each row of each layer is brought to
    mean 0 and variance 1 before, without weights of its own (§3.2).
    """

    def __init__(self, layers: int, norm: bool) -> None:
        super().__init__()
        self.s = nn.Parameter(torch.zeros(layers))
        self.gamma = nn.Parameter(torch.ones(1))
        self.norm = norm

    def begin(self, generator: torch.Generator | None = None) -> None:  # noqa: ARG002
        self.gamma.fill_(1.0)

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        """J times (T, D) -> (T, D)."""
        share = torch.softmax(self.s, 0)
        if self.norm:
            layers = [F.layer_norm(layer, layer.shape[-1:]) for layer in layers]
        return self.gamma * torch.stack([w * layer for w, layer in zip(share, layers, strict=True)]).sum(0)
