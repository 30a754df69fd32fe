"""Input embeddings: words, positions, segments; a norm; and, where they are narrower than the model, a projection up.

Shapes: T rows, V vocabulary, E embedding width, D width, S segments.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from didact.nn.position import Scheme
from didact.packed import Packed


class Embedding(nn.Module):
    """project(dropout(norm(word + position + segment))). A pack without segments is all segment 0, and so is every
    pack to a model that knows one segment alone (RoBERTa).

    narrow: E differs from D (ALBERT, Lan et al., 2020, §3.1; ELECTRA-small); projected: project even where it does not.
    """

    def __init__(
        self,
        vocabulary: int,
        narrow: int | None,
        width: int,
        segments: int,
        position: Scheme,
        norm: nn.Module,
        dropout: float,
        projected: bool = False,
    ) -> None:
        super().__init__()
        inner = narrow or width
        self.word = nn.Embedding(vocabulary, inner)
        self.position = position
        self.segment = nn.Embedding(segments, inner) if segments else None
        self.norm = norm
        self.project = nn.Linear(inner, width) if inner != width or projected else None
        self.dropout = dropout

    def forward(self, packed: Packed) -> Tensor:
        """-> (T, D)."""
        x = self.word(packed.tokens)
        if self.segment is not None:
            alone = packed.segments is None or self.segment.num_embeddings == 1
            x = x + (self.segment.weight[0] if alone else self.segment(packed.segments))
        position = self.position.embed(packed.positions, x)
        if position is not None:
            x = x + position
        x = self.norm(x)
        if self.training and self.dropout > 0:
            x = F.dropout(x, self.dropout)
        return x if self.project is None else self.project(x)
