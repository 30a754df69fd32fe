"""One layer of the stack: attention and feed-forward, each with a residual and two places for a norm.

Shapes: T rows, D width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from didact.nn.attention import Attention, Context
from didact.nn.feedforward import FeedForward


class Block(nn.Module):
    """x = norm_out(x + dropout(sublayer(norm_in(x)))), twice. An empty slot is the identity: post-norm (BERT) fills
    the two "out" slots, pre-norm (GPT-2) the two "in" slots.
    """

    def __init__(
        self, attention: Attention, feedforward: FeedForward, norms: tuple[nn.Module, ...], dropout: float
    ) -> None:
        super().__init__()
        self.attention = attention
        self.feedforward = feedforward
        self.norm_attention_in, self.norm_attention_out, self.norm_feedforward_in, self.norm_feedforward_out = norms
        self.dropout = dropout

    def forward(self, x: Tensor, context: Context, memory: Tensor | None = None) -> Tensor:
        """x (T, D), memory (M, D): what is remembered of this layer's input, rows that are only looked at -> (T, D)."""
        seen = None if memory is None else self.norm_attention_in(memory)
        x = self.norm_attention_out(x + self._drop(self.attention(self.norm_attention_in(x), context, seen)))
        return self.norm_feedforward_out(x + self._drop(self.feedforward(self.norm_feedforward_in(x))))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.training and self.dropout > 0 else x
