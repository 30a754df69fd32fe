"""A gate: one number a row, the logit of a yes. Three of them together decide between writing a token and copying one
(See, Liu & Manning, 2017, eq. 8, whose sum has a term for each of three vectors).

Shapes: n asked rows, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from didact.batch import Labels, Part
from didact.config import ModelConfig
from didact.heads.base import Head, HeadLayers, part


@dataclass(frozen=True)
class Gate(Head):
    """values (n,) of 0 and 1; binary cross-entropy. layer: of a decoder, the one whose attention points at what is
    copied where this gate is closed, -1 = the last; bias: whether it has one.
    """

    kind: ClassVar[str] = "gate"

    layer: int = -1
    bias: bool = True

    @property
    def pooled(self) -> bool:
        return False

    def build(self, config: ModelConfig) -> GateLayers:
        return GateLayers(config.width, self.bias)

    def loss(self, logits: Tensor, labels: Labels) -> Part:
        wanted = labels.values.float()
        losses = F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")
        return part(losses, (logits.detach() > 0) == (wanted > 0.5), labels)


class GateLayers(HeadLayers):
    """hidden (n, D) -> (n,)."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.dense = nn.Linear(width, 1, bias)

    def forward(self, hidden: Tensor, groups: Tensor | None = None, table: Tensor | None = None) -> Tensor:  # noqa: ARG002
        assert groups is None, "a gate is of one row"
        return self.dense(hidden).squeeze(-1)
