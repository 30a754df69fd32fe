"""Does this token stand where it stood: ELECTRA's discriminator (Clark et al., 2020, §2; google-research/electra,
run_pretraining.py `_get_discriminator_output`): dense, activation, one number a row.

Shapes: n asked rows, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didact.batch import Labels, Part
from didact.config import ModelConfig
from didact.heads.base import Head, HeadLayers, part
from didact.nn.feedforward import ACTIVATIONS
from didact.nn.spare import through


@dataclass(frozen=True)
class Replacement(Head):
    """Was this token replaced? logits (n,), above 0 = replaced; values (n,) int64 of 0 and 1. Binary cross-entropy."""

    kind: ClassVar[str] = "replaced"

    @property
    def pooled(self) -> bool:
        return False

    def build(self, config: ModelConfig) -> ReplacementLayers:
        return ReplacementLayers(config)

    def loss(self, logits: Tensor, labels: Labels) -> Part:
        logits = logits.float()
        given, true = logits.detach() > 0, labels.values > 0
        losses = F.binary_cross_entropy_with_logits(logits, true.float(), reduction="none")
        weights = torch.ones_like(logits) if labels.weights is None else labels.weights
        marked = (torch.stack([given & true, given, true]) * weights.detach()).sum(-1)
        return replace(part(losses, given == true, labels), marked=marked)


class ReplacementLayers(HeadLayers):
    """hidden (n, D) -> logits (n,)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.width, config.width)
        self.activation = ACTIVATIONS[config.activation]
        self.out = nn.Linear(config.width, 1)

    def forward(self, hidden: Tensor, groups: Tensor | None = None, table: Tensor | None = None) -> Tensor:  # noqa: ARG002
        assert groups is None, "whether a token was replaced is asked row by row"
        return self.out(self.activation(through(self.dense, hidden))).squeeze(-1)
