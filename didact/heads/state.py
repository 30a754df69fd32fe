"""The hidden state itself, to be pointed where another model's points (DistilBERT: Sanh et al., 2019, §2).

Shapes: n asked rows, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from didact.batch import Labels, Part
from didact.config import ModelConfig
from didact.heads.base import Head, HeadLayers, part


@dataclass(frozen=True)
class State(Head):
    """A row as the core gives it, (n, D); no parameters. values (n, D) float: the row asked for (a teacher's).

    The loss is 1 - the cosine of the angle between the two.
    """

    kind: ClassVar[str] = "state"

    @property
    def pooled(self) -> bool:
        return False

    def build(self, config: ModelConfig) -> StateLayers:  # noqa: ARG002
        return StateLayers()

    def loss(self, logits: Tensor, labels: Labels) -> Part:
        return part(1.0 - F.cosine_similarity(logits.float(), labels.values.float(), dim=-1), None, labels)


class StateLayers(HeadLayers):
    """hidden (n, D) -> the same."""

    def forward(self, hidden: Tensor, groups: Tensor | None = None, table: Tensor | None = None) -> Tensor:  # noqa: ARG002
        assert groups is None, "a state is of one row"
        return hidden
