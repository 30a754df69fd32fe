"""Does the second sentence follow the first: next-sentence prediction (Devlin et al., 2019, §3.1) and sentence order
(Lan et al., 2020, §3.1) ask it of [CLS].

Shapes: n asked rows, g groups, m answers (g where there are groups, else n).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from didact.batch import Labels, Part
from didact.config import ModelConfig
from didact.heads.base import Head, part
from didact.heads.classes import ClassesLayers


@dataclass(frozen=True)
class PairRelation(Head):
    """How do the two sides of a pair relate: BERT's next-sentence head (2 classes, pooled, no dropout), which NSP and
    ALBERT's SOP share. values (m,) int64: 0 = B follows A, 1 = it does not (or the two are swapped).
    """

    kind: ClassVar[str] = "pair_relation"
    grouped: ClassVar = "either"

    @property
    def pooled(self) -> bool:
        return True

    def build(self, config: ModelConfig) -> ClassesLayers:
        return ClassesLayers(config.width, 2, 0.0)

    def loss(self, logits: Tensor, labels: Labels) -> Part:
        losses = F.cross_entropy(logits.float(), labels.values, reduction="none")
        return part(losses, logits.detach().argmax(-1) == labels.values, labels)
