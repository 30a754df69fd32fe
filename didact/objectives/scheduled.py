"""Scheduled sampling (Bengio et al., 2015), in two parallel passes (Mihaylova & Martins, 2019, §3): a model that reads
at training what it would have written, instead of what it should have.

The first pass reads the right tokens and says at every row what it would write; some of these, more and more of them,
take the places of the right ones; the second pass reads that, and is what learns. No gradient flows through the first.

Shapes: T rows of a pack, n asked rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from didact.batch import Side

Decay = Literal["linear", "exponential", "inverse_sigmoid"]


@dataclass(frozen=True)
class TeacherRate:
    """The share of tokens that are the right ones, at a step (Bengio et al., 2015, §2.4): "linear": 1 - step / k;
    "exponential": k ** step, k below 1; "inverse_sigmoid": k / (k + exp(step / k)), k from 1; least: it falls no lower.
    """

    decay: Decay = "inverse_sigmoid"
    k: float = 1000.0
    least: float = 0.0

    def __post_init__(self) -> None:
        k = self.k
        right = {"linear": 0 < k < math.inf, "exponential": 0 < k < 1, "inverse_sigmoid": 1 <= k < math.inf}
        if not right[self.decay] or not 0 <= self.least <= 1:
            raise ValueError(f"{self.decay} decay with k {self.k} down to {self.least}")

    def __call__(self, step: int) -> float:
        match self.decay:
            case "linear":
                rate = 1 - step / self.k
            case "exponential":
                rate = self.k**step
            case "inverse_sigmoid":
                rate = self.k / (self.k + math.exp(min(step / self.k, 700.0)))
        return max(self.least, rate)


def reread(side: Side, rows: Tensor, written: Tensor, taken: Tensor) -> Side:
    """The side that reads, after row rows[i], written[i] where taken[i]: rows (n,) asked, written (n,) tokens, taken
    (n,) bool. A row that ends its sequence is followed by none.
    """
    packed = side.packed
    ends = torch.zeros(len(packed.tokens) + 1, dtype=torch.bool, device=rows.device)
    ends[packed.cu_seqlens[1:].long()] = True
    taken = taken & ~ends[rows + 1]
    tokens = packed.tokens.index_copy(0, rows[taken] + 1, written[taken])
    return replace(side, packed=replace(packed, tokens=tokens))
