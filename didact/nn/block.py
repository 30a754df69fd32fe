"""One layer of a stack: attention and feed-forward, each with a residual and two places for a norm; a decoder's has
cross-attention between them.

Shapes: T rows, S rows of the source, D width, N heads, H head width.
"""

from __future__ import annotations

from torch import Tensor, nn

from didact.nn.attention import Attention, Context, CrossAttention, Crossing
from didact.nn.dropout import dropout
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
        return dropout(x, self.dropout, self.training)


class DecoderBlock(nn.Module):
    """x = norm_out(x + dropout(sublayer(norm_in(x)))), three times (Vaswani et al., 2017, §3.1).

    norms: of attention, of cross-attention, of feed-forward, "in" and "out" of each.
    """

    def __init__(
        self,
        attention: Attention,
        cross: CrossAttention,
        feedforward: FeedForward,
        norms: tuple[nn.Module, ...],
        dropout: float,
    ) -> None:
        super().__init__()
        self.attention, self.cross, self.feedforward, self.dropout = attention, cross, feedforward, dropout
        self.norm_attention_in, self.norm_attention_out, self.norm_cross_in, self.norm_cross_out, *rest = norms
        self.norm_feedforward_in, self.norm_feedforward_out = rest

    def forward(self, x: Tensor, context: Context, encoded: Tensor, crossing: Crossing) -> Tensor:
        """x (T, D), encoded (S, D): what the encoder made of the source -> (T, D)."""
        return self.read(self.looked_back(x, context), self.cross.keys(encoded), crossing)

    def looked_back(self, x: Tensor, context: Context) -> Tensor:
        """x (T, D) -> (T, D), after attention to the rows before."""
        return self.norm_attention_out(x + self._drop(self.attention(self.norm_attention_in(x), context)))

    def read(self, x: Tensor, kv: Tensor, crossing: Crossing) -> Tensor:
        """What `looked_back` gave (T, D), and k and v of the source (S, 2, N, H) -> (T, D), the layer's output."""
        x = self.norm_cross_out(x + self._drop(self.cross(self.norm_cross_in(x), kv, crossing)))
        return self.norm_feedforward_out(x + self._drop(self.feedforward(self.norm_feedforward_in(x))))

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)
