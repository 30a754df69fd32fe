"""Classes of two texts, by comparing them: the mean row of each, how far the two are apart and where they agree
(Conneau et al., 2017, InferSent, §3.1: u, v, |u - v|, u * v; Mou et al., 2016, §3.2). The texts may have read each
other, as in a pair of BERT's, or not.

Shapes: n asked rows, g groups (texts, two an answer), m answers, C classes, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from didact.batch import Labels
from didact.config import ModelConfig
from didact.heads.base import HeadLayers
from didact.heads.classes import Classes
from didact.heads.groups import mean_within
from didact.nn.dropout import Dropout


@dataclass(frozen=True)
class Matching(Classes):
    """C numbers an answer, which are of two groups of rows: the first text's, and the second's; values, losses and
    weights as of `Classes`. No row of it passes through a pooler.
    """

    kind: ClassVar[str] = "matching"
    grouped: ClassVar = "always"
    classifies: ClassVar = False
    each: ClassVar[int] = 2

    pooled: bool = False
    pooling: Literal["mean"] = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pooled or self.pooling != "mean":
            raise ValueError("what is matched are means of rows, of no pooler")

    @property
    def slot(self) -> str:
        return self.kind

    def answers(self, asked: Labels) -> int:
        return (len(asked.groups) - 1) // self.each

    def build(self, config: ModelConfig) -> HeadLayers:
        return MatchingLayers(config.width, self.classes, config.dropout if self.dropout is None else self.dropout)


class MatchingLayers(HeadLayers):
    """hidden (n, D) -> logits (m, C): mean of each group, two of them set against each other, dropout, dense."""

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.dense = nn.Linear(4 * width, classes)

    def forward(self, hidden: Tensor, groups: Tensor | None = None, table: Tensor | None = None) -> Tensor:  # noqa: ARG002
        assert groups is not None, "what is matched are groups of rows"
        means = mean_within(hidden, groups)
        u, v = means[0::2], means[1::2]
        return self.dense(self.dropout(torch.cat([u, v, (u - v).abs(), u * v], -1)))
