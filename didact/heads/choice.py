"""Which of several candidates: multiple choice (Radford et al., 2018, §3.3; Devlin et al., 2019, §4.4, SWAG).

Every candidate is a sequence of its own; its [CLS] row, pooled, gets one score, and the softmax runs over the
candidates of one question.

Shapes: n asked rows (one a candidate), g groups (questions), D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from didact.batch import Labels, Part
from didact.bounds import check_dropout
from didact.config import ModelConfig
from didact.heads.base import Head, HeadLayers, part
from didact.heads.groups import at, log_softmax_within, maximum_within
from didact.nn.dropout import Dropout


@dataclass(frozen=True)
class Choice(Head):
    """One of a group's rows. logits (n,); values (g,) int64: the right candidate, counted within its group.

    dropout: on the pooled rows; None = the model's. pooling: which row a task asks of each, see `Head.row`.
    """

    kind: ClassVar[str] = "choice"
    grouped: ClassVar = "always"

    dropout: float | None = None
    pooling: Literal["cls", "first", "last"] = "cls"

    def __post_init__(self) -> None:
        check_dropout(dropout=self.dropout)
        if self.pooling not in ("cls", "first", "last"):
            raise ValueError(f"a choice by the {self.pooling} of a sequence's rows: only by one of them")

    @property
    def pooled(self) -> bool:
        return True

    @property
    def row(self) -> str | None:
        return self.pooling

    def build(self, config: ModelConfig) -> ChoiceLayers:
        return ChoiceLayers(config.width, config.dropout if self.dropout is None else self.dropout)

    def loss(self, logits: Tensor, labels: Labels) -> Part:
        chosen = log_softmax_within(logits, labels.groups)
        picked = at(chosen, labels.groups, labels.values)
        return part(-picked, picked.detach() >= maximum_within(chosen.detach(), labels.groups), labels)


class ChoiceLayers(HeadLayers):
    """hidden (n, D) -> logits (n,): one score a candidate; the groups come in with the loss."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.dense = nn.Linear(width, 1)

    def forward(self, hidden: Tensor, groups: Tensor | None = None, table: Tensor | None = None) -> Tensor:  # noqa: ARG002
        return self.dense(self.dropout(hidden)).squeeze(-1)
