"""Classes of a row: sequence classification (on [CLS], through the pooler), tagging (on each asked token),
several labels at once, and regression (Devlin et al., 2019, §4; figure 4 a, b, d).

Shapes: n asked rows, g groups, m answers (g where there are groups, else n), C classes, D width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didact.batch import Labels, Part
from didact.bounds import check_counts, check_dropout
from didact.config import ModelConfig
from didact.heads.base import Head, HeadLayers, part
from didact.heads.groups import mean_within
from didact.nn.dropout import Dropout

Problem = Literal["single", "multiple", "regression"]


@dataclass(frozen=True)
class Classes(Head):
    """C numbers an answer. Where there are groups, a group's rows are averaged and answered as one.

    problem: "single": one of C, values (m,) int64, cross-entropy. "multiple": any of C, values (m, C) of 0 and 1,
    binary cross-entropy averaged over the C; right = all C right. "regression": values (m,) or (m, C) float, squared
    error averaged over the C; right has no meaning.
    pooled: through the pooler (a sequence's [CLS]) or as it is (tagging). dropout: on the rows; None = the model's.
    class_weights: C numbers. single: an answer's loss times the weight of its true class; multiple: the weight of a
    true 1. *Normaliser*: the sum is divided by the number of answers, which is known before the forward pass and
    adds up over micro-batches and ranks, not by Σ class_weights[true] as F.cross_entropy's mean does. The two agree
    where the weights average 1 over the training set, as n / (C · n_c) does; use such weights.
    names: of the C classes, in order; written to the checkpoint. pooling: what a task asks it of, see `Head.row`; read
    by the checkpoint, no part of the layers.
    """

    kind: ClassVar[str] = "classes"
    grouped: ClassVar = "either"
    classifies: ClassVar = True

    classes: int
    problem: Problem = "single"
    pooled: bool = True  # pyright: ignore[reportIncompatibleMethodOverride]
    dropout: float | None = None
    class_weights: tuple[float, ...] | None = None
    names: tuple[str, ...] | None = None
    pooling: Literal["cls", "first", "last", "mean"] = "cls"

    def __post_init__(self) -> None:
        check_counts(classes=self.classes)
        check_dropout(dropout=self.dropout)
        for label, given in (("class_weights", self.class_weights), ("names", self.names)):
            if given is not None and len(given) != self.classes:
                raise ValueError(f"{len(given)} {label} for {self.classes} classes")
        if self.problem == "regression" and self.class_weights is not None:
            raise ValueError("class_weights have no meaning in a regression")
        weights = self.class_weights
        if weights is not None and not (all(0.0 <= w < math.inf for w in weights) and any(weights)):
            raise ValueError(f"class_weights {weights}: numbers from 0, at least one of them above")

    @property
    def slot(self) -> str:
        return "classes.pooled" if self.pooled else "classes.rows"

    @property
    def row(self) -> str | None:
        return self.pooling if self.pooled else None

    def build(self, config: ModelConfig) -> HeadLayers:
        dropout = config.dropout if self.dropout is None else self.dropout
        return ClassesLayers(config.width, self.classes, dropout, not self.pooled or config.summary.class_bias)

    def loss(self, logits: Tensor, labels: Labels) -> Part:
        logits = logits.float()
        weights = None if self.class_weights is None else logits.new_tensor(self.class_weights)
        if self.problem == "single":
            losses = F.cross_entropy(logits, labels.values, weight=weights, reduction="none")
            return part(losses, logits.detach().argmax(-1) == labels.values, labels)
        values = labels.values.float().view(logits.shape)
        if self.problem == "multiple":
            each = F.binary_cross_entropy_with_logits(logits, values, pos_weight=weights, reduction="none")
            return part(each.mean(-1), ((logits.detach() > 0) == (values > 0.5)).all(-1), labels)
        return part(F.mse_loss(logits, values, reduction="none").mean(-1), None, labels)


class ClassesLayers(HeadLayers):
    """hidden (n, D) -> logits (m, C): [mean of each group,] dropout, dense."""

    def __init__(self, width: int, classes: int, dropout: float, bias: bool = True) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.dense = nn.Linear(width, classes, bias)

    def forward(self, hidden: Tensor, groups: Tensor | None = None, table: Tensor | None = None) -> Tensor:  # noqa: ARG002
        if groups is not None:
            hidden = mean_within(hidden, groups)
        return self.dense(self.dropout(hidden))


def balanced(counts: tuple[int, ...]) -> tuple[float, ...]:
    """Class weights n / (C · n_c) from the classes' counts in the training set: they average 1 over it.

    A class that never occurs weighs 0.
    """
    total = torch.tensor(counts, dtype=torch.float64)
    return tuple(float(total.sum() / (len(counts) * n)) if n else 0.0 for n in total)
