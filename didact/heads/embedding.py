"""One vector a text: Sentence-BERT's pooling (Reimers & Gurevych, 2019, §3), which has no parameters of its own; and
what SimCSE puts behind it in training (Gao et al., 2021).

Shapes: n asked rows, g groups (texts), D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didact.batch import Labels, Part
from didact.config import ModelConfig
from didact.heads.base import Head, HeadLayers, part
from didact.heads.groups import first_within, last_within, maximum_within, mean_within

Pooling = Literal["mean", "cls", "last", "max"]
POOLINGS = {"mean": mean_within, "cls": first_within, "last": last_within, "max": maximum_within}


@dataclass(frozen=True)
class EmbeddingHead(Head):
    """A group's rows -> a vector (g, D), by `pooling`: their mean, first, last, or their largest, entry by entry.

    values (g, D) float: the vector asked for (a teacher's); the loss is the squared distance averaged over D
    (Reimers & Gurevych, 2020, eq. 1). normalise: to length 1. maximum: tokens of a text that are read, special ones
    included; None = as many as the model takes.
    """

    kind: ClassVar[str] = "embedding"
    grouped: ClassVar = "always"

    pooling: Pooling = "mean"
    normalise: bool = False
    maximum: int | None = None

    @property
    def pooled(self) -> bool:
        return False

    def answers(self, asked: Labels) -> int:
        return len(asked.groups) - 1

    def build(self, config: ModelConfig) -> EmbeddingLayers:  # noqa: ARG002
        return EmbeddingLayers(self.pooling, self.normalise)

    def loss(self, logits: Tensor, labels: Labels) -> Part:
        return part(F.mse_loss(logits.float(), labels.values.float(), reduction="none").mean(-1), None, labels)


@dataclass(frozen=True)
class Projection(Head):
    """A group's rows -> a vector (g, D), by `pooling`, then a dense layer and tanh: what a contrastive loss reads, and
    nobody else (SimCSE: Gao et al., 2021, §6.3 "MLP", where it is left out once training is done).

    values (g, D) float; the loss as of `EmbeddingHead`.
    """

    kind: ClassVar[str] = "projection"
    grouped: ClassVar = "always"

    pooling: Pooling = "cls"

    @property
    def pooled(self) -> bool:
        return False

    def answers(self, asked: Labels) -> int:
        return len(asked.groups) - 1

    def build(self, config: ModelConfig) -> ProjectionLayers:
        return ProjectionLayers(self.pooling, config.width)

    def loss(self, logits: Tensor, labels: Labels) -> Part:
        return part(F.mse_loss(logits.float(), labels.values.float(), reduction="none").mean(-1), None, labels)


class ProjectionLayers(HeadLayers):
    """hidden (n, D) -> (g, D)."""

    def __init__(self, pooling: Pooling, width: int) -> None:
        super().__init__()
        self.pool = POOLINGS[pooling]
        self.dense = nn.Linear(width, width)

    def forward(self, hidden: Tensor, groups: Tensor | None = None, table: Tensor | None = None) -> Tensor:  # noqa: ARG002
        assert groups is not None, "an embedding is of a group of rows"
        return torch.tanh(self.dense(self.pool(hidden, groups)))


class EmbeddingLayers(HeadLayers):
    """hidden (n, D) -> (g, D)."""

    def __init__(self, pooling: Pooling, normalise: bool) -> None:
        super().__init__()
        self.pool, self.normalise = POOLINGS[pooling], normalise

    def forward(self, hidden: Tensor, groups: Tensor | None = None, table: Tensor | None = None) -> Tensor:  # noqa: ARG002
        assert groups is not None, "an embedding is of a group of rows"
        pooled = self.pool(hidden.float(), groups)  # of low-precision rows the mean is worth more than they are
        return F.normalize(pooled, dim=-1) if self.normalise else pooled
