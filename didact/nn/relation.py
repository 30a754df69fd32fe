"""How a layer makes distance terms of its own q and k: Transformer-XL's and XLNet's relative attention, DeBERTa's.

Both know positions by one table of vectors, a row for each value of the distance index, that all layers share; each
layer asks it with its q (and DeBERTa's with its k). Nothing is added to the embeddings.

Shapes: T rows, D width, N heads, H head width, I rows of the table (values of the index), R entries of the index.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didact.nn.distance import DistanceTerms
from didact.nn.dropout import dropout


@dataclass(frozen=True)
class Relative:
    """index (R,) int64, see `nn.distance`; table (I, D): a vector for each of its values."""

    index: Tensor
    table: Tensor


class Relation(nn.Module, ABC):
    """A layer's part in relative positions. terms: how many of its terms compare every row with the table."""

    terms: ClassVar[int]

    @abstractmethod
    def operations(self, trains: bool) -> int:
        """Of projecting the table, forward and backward, for each of I · D · N · H."""

    @abstractmethod
    def forward(self, qkv: Tensor, relative: Relative, projection: nn.Linear) -> tuple[Tensor, DistanceTerms]:
        """qkv (T, 3, N, H), and the layer that made it of x (T, D) -> q, k and v as they are to be multiplied, of the
        same shape, and what is added to their logits. Kernels divide q · k by sqrt(H); the terms are final.
        """


class Distances(Relation):
    """Transformer-XL's four terms (Dai et al., 2019, §3.3) and XLNet's two of segments (Yang et al., 2019, §2.5):

    logit = [(q + u) · k  +  (q + v) · W table[distance]  +  (q + w) · (same segment ? s0 : s1)] / sqrt(H)

    u, v, w are `content_bias`, `distance_bias` and `segment_bias` (N, H), W is `distance`, s is `segment` (2, N, H).
    """

    terms: ClassVar[int] = 1

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.distance = nn.Linear(width, heads * head_width, bias=False)
        self.content_bias = nn.Parameter(torch.empty(heads, head_width))
        self.distance_bias = nn.Parameter(torch.empty(heads, head_width))
        self.segment_bias = nn.Parameter(torch.empty(heads, head_width))
        self.segment = nn.Parameter(torch.empty(2, heads, head_width))

    def operations(self, trains: bool) -> int:
        return 4 if trains else 2  # the table is fixed: no gradient goes on to it

    def forward(self, qkv: Tensor, relative: Relative, projection: nn.Linear) -> tuple[Tensor, DistanceTerms]:  # noqa: ARG002
        N, H = qkv.shape[2:]
        q = qkv[:, 0]
        scale = H**-0.5
        keys = self.distance(relative.table).view(-1, N, H)
        by_query = torch.einsum("tnh,inh->tni", (q + self.distance_bias).to(q.dtype) * scale, keys)
        apart = (self.segment[0] - self.segment[1]) * scale
        by_same = ((q + self.segment_bias) * apart).sum(-1)
        moved = torch.cat(((q + self.content_bias).to(qkv.dtype)[:, None], qkv[:, 1:]), 1)
        return moved, DistanceTerms(relative.index, by_query=by_query, by_same=by_same)


class Disentangled(Relation):
    """DeBERTa's content-to-position and position-to-content (He et al., 2021, §3.1), positions projected by the
    layer's own q and k (version 3: `share_att_key`):

    logit = [q · k  +  q · K table[distance]  +  k · Q table[distance]] / sqrt(3 H)

    (The reference code reads the table at the distance seen from the key for the third; the two are one index.)
    dropout: on the table.
    """

    terms: ClassVar[int] = 2

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout

    def operations(self, trains: bool) -> int:
        return 12 if trains else 4

    def forward(self, qkv: Tensor, relative: Relative, projection: nn.Linear) -> tuple[Tensor, DistanceTerms]:
        N, H = qkv.shape[2:]
        table = dropout(relative.table, self.dropout, self.training)
        rows = 2 * N * H  # q and k, not v
        bias = None if projection.bias is None else projection.bias[:rows]
        positions = F.linear(table, projection.weight[:rows], bias).view(-1, 2, N, H)
        scaled = qkv[:, :2] * (3 * H) ** -0.5
        by_query = torch.einsum("tnh,inh->tni", scaled[:, 0], positions[:, 1])
        by_key = torch.einsum("tnh,inh->tni", scaled[:, 1], positions[:, 0])
        moved = torch.cat((qkv[:, :1] * 3**-0.5, qkv[:, 1:]), 1)
        return moved, DistanceTerms(relative.index, by_query=by_query, by_key=by_key)
