"""The position-wise feed-forward layer (Vaswani et al., 2017, §3.3), plain or gated (Shazeer, 2020, "GLU variants").

Shapes: T rows, D width, F inner width.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didact.config import Activation

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
}


class FeedForward(nn.Module):
    """down(act(up(x))), or, gated, down(act(g) · u), g and u being the first and the second half of up(x)."""

    def __init__(self, width: int, inner: int, activation: Activation, gated: bool, bias: bool) -> None:
        super().__init__()
        self.up = nn.Linear(width, 2 * inner if gated else inner, bias=bias)
        self.gated = gated
        self.down = nn.Linear(inner, width, bias=bias)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """x (T, D) -> (T, D)."""
        if not self.gated:
            return self.down(self.activation(self.up(x)))
        gate, up = self.up(x).chunk(2, -1)
        return self.down(self.activation(gate) * up)
