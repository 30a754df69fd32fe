"""A head: what is asked of a row, or of a group of rows, and how a right answer is rewarded.

A Head is a specification: frozen, printable, goes to JSON field by field. `build` makes the layers it needs, `loss`
turns their logits into a sum over answers. It never sees the batch, the other rows, or the ranks.

Shapes: n asked rows, g groups, D width, E embedding width, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from didact.batch import Labels, Part
from didact.config import ModelConfig


class HeadLayers(nn.Module, ABC):
    """The layers of a head. A new base class only to say what `forward` takes."""

    @abstractmethod
    def forward(self, hidden: Tensor, groups: Tensor | None = None, table: Tensor | None = None) -> Tensor:
        """hidden (n, D): the asked rows; groups (g + 1,): borders of the rows answered as one, or None;
        table (V, E): the word embeddings, for a head that is tied to them. Returns logits, (n, …) or (g, …).
        """


@dataclass(frozen=True)
class Head(ABC):
    """What every head answers to.

    grouped: "never": one answer a row; "always": one answer a group; "either": a group's rows are averaged first
    where there are groups. classifies: whether it is one of those that read through the pooler in models where rows
    do so, too (`Summary.rows`), although it answers row by row. each: groups that are one answer, where it always has
    groups.
    """

    kind: ClassVar[str]
    grouped: ClassVar[Literal["never", "either", "always"]] = "never"
    classifies: ClassVar[bool] = False
    each: ClassVar[int] = 1

    @property
    @abstractmethod
    def pooled(self) -> bool:
        """Whether it answers for a whole sequence, its rows passing through the model's pooler first."""

    @property
    def row(self) -> str | None:
        """Which row of a sequence a task asks it of, where it answers for all of it and there is a choice: the row that
        stands for a sequence in the family ("cls"), its "first", its "last", or the "mean" of all.
        """
        return None

    def pools(self, config: ModelConfig) -> bool:
        """Whether its rows pass through the pooler of such a model first."""
        return self.pooled or (self.classifies and config.summary.rows)

    @property
    def slot(self) -> str:
        """The place it takes in a checkpoint: its kind, told apart where checkpoints tell it apart."""
        return self.kind

    def answers(self, asked: Labels) -> int:
        """Rows of the logits that it gives for these labels: one a row asked, one a group where it averages."""
        groups = asked.groups if self.grouped == "either" else None
        return len(asked.rows) if groups is None else len(groups) - 1

    @abstractmethod
    def build(self, config: ModelConfig) -> HeadLayers:
        """Its layers for a model of this configuration, not yet initialised."""

    @abstractmethod
    def loss(self, logits: Tensor, labels: Labels) -> Part:
        """The *sum* of the losses of all answers, each times its weight; count is `labels.count`, `correct` the
        (weighted) number of right answers where that has a meaning.
        """

    def loss_at(
        self, layers: HeadLayers, rows: Tensor, groups: Tensor | None, table: Tensor | None, labels: Labels
    ) -> Part:
        """The loss of what its layers say of these rows. A new one only for a head that has it for less than the logits
        of all rows.
        """
        return self.loss(layers(rows, groups, table), labels)


def part(losses: Tensor, right: Tensor | None, labels: Labels) -> Part:
    """losses (m,) and right (m,) bool of m answers -> their weighted sum. Weight 0 removes an answer altogether."""
    losses = losses.float()
    if labels.weights is not None:
        losses = torch.where(labels.weights > 0, losses * labels.weights, 0.0)
    if right is not None:
        right = (right.float() if labels.weights is None else right * labels.weights).sum().detach()
    return Part(losses.sum(), labels.count, correct=right)
