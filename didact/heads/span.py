"""Where the answer starts and where it ends: extractive question answering (Devlin et al., 2019, §4.2–4.3).

Each group holds the candidate rows of one window; the softmax runs over the group's rows alone. A question without
an answer points at the group's first row (SQuAD 2.0: [CLS]), so the task puts that row into the group.

Shapes: n asked rows, g groups, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from didact.batch import Labels, Part
from didact.config import ModelConfig
from didact.heads.base import Head, HeadLayers, part
from didact.heads.groups import at, log_softmax_within, maximum_within
from didact.nn.dropout import Dropout


@dataclass(frozen=True)
class Span(Head):
    """A start and an end a group. logits (n, 2); values (g, 2) int64: start and end, counted within the group's rows.

    The loss of a group is the mean of its two cross-entropies; it is right where both are the group's largest.
    nullable: whether the first row of each group stands for "no answer" (read by the task, no part of the layers).
    dropout: on the rows (DistilBERT).
    """

    kind: ClassVar[str] = "span"
    grouped: ClassVar = "always"
    classifies: ClassVar = True

    nullable: bool = False
    dropout: float = 0.0

    @property
    def pooled(self) -> bool:
        return False

    def build(self, config: ModelConfig) -> SpanLayers:
        return SpanLayers(config.width, self.dropout)

    def loss(self, logits: Tensor, labels: Labels) -> Part:
        chosen = log_softmax_within(logits, labels.groups)
        picked = at(chosen, labels.groups, labels.values)
        right = picked.detach() >= maximum_within(chosen.detach(), labels.groups)
        return part(-picked.mean(-1), right.all(-1), labels)


class SpanLayers(HeadLayers):
    """hidden (n, D) -> logits (n, 2), of start and end; the groups come in with the loss."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.dense = nn.Linear(width, 2)

    def forward(self, hidden: Tensor, groups: Tensor | None = None, table: Tensor | None = None) -> Tensor:  # noqa: ARG002
        return self.dense(self.dropout(hidden))
