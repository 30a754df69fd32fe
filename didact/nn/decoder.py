"""The decoder of an encoder-decoder (Vaswani et al., 2017, §3.1): a stack whose rows look back at each other, then at
what the encoder made of the source, sequence b at sequence b.

Shapes: T rows, S rows of the source, D width, N heads, Q and K rows of one sequence and of its source.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from didact.batch import Side
from didact.config import ModelConfig
from didact.nn.attention import Attention, CrossAttention, Crossing
from didact.nn.block import DecoderBlock
from didact.nn.compiled import ragged
from didact.nn.core import Hidden, Pass, Stack
from didact.nn.embedding import DecoderEmbedding
from didact.nn.feedforward import FeedForward
from didact.nn.init import initialise
from didact.nn.norm import build_norm
from didact.nn.position import Widths, build_position, build_relation
from didact.nn.spare import filled
from didact.nn.transformer import attention_scale, contexts, kernel_for, spare_rows, word_scale
from didact.packed import Packed
from didact.visibility import bidirectional


class Decoder(Stack[DecoderEmbedding]):
    """Embedding, then layers, then a final norm where there is one. Words are read through the encoder's table."""

    def __init__(
        self,
        embedding: DecoderEmbedding,
        blocks: nn.ModuleList,
        final_norm: nn.Module,
        attention_dropout: float,
        kernel: str | None = None,
    ) -> None:
        super().__init__(embedding, blocks, kernel)
        self.final_norm = final_norm
        self.attention_dropout = attention_dropout

    def forward(
        self,
        side: Side,
        word: nn.Module,
        encoded: Tensor,
        source: Packed,
        layers: bool = False,
        attention: Collection[int] = (),
        cross: Collection[int] = (),
    ) -> Hidden:
        """word: tokens (T,) -> vectors (T, D), the encoder's; encoded (S, D): what the encoder made of `source`;
        layers: keep every layer's output; attention, cross: the layers whose probabilities are wanted, differentiable.
        A side that says nothing of who sees whom looks back. ValueError where the two have other numbers of sequences.
        """
        side = replace(side, visibility=side.visibility.unless_said("causal"))
        x = self.embedding(side.packed, word)
        T, extra, behind = len(x), spare_rows(self, x), spare_rows(self, encoded)
        position, dropout = self.embedding.position, self.attention_dropout
        context = contexts(self, position, (None,), dropout, side, x, extra=extra)[None]
        crossing = self.crossing(side.packed, source, x, extra, behind)
        kept, looks, crossed = [x], {}, {}
        x, encoded, S = filled(x, extra), filled(encoded, behind), len(encoded)
        for i, block in enumerate(self.blocks):
            assert isinstance(block, DecoderBlock)
            if i in attention:
                read = block.norm_attention_in(x)[:T]
                looks[i] = block.attention.probabilities(read, context.of(T), side.packed, side.visibility)
            if i in cross:
                read = block.norm_cross_in(block.looked_back(x, context))[:T]
                crossed[i] = block.cross.probabilities(read, block.cross.keys(encoded)[:S], side.packed, source)
            if self.compiled:
                ragged(x, encoded)
            x = block(x, context, encoded, crossing)
            if layers:
                kept.append(x[:T])
        x = self.final_norm(x[:T])
        kept[-1] = x
        return Hidden({"main": x}, tuple(kept) if layers else (), looks, crossed)

    def crossing(self, queries: Packed, source: Packed, x: Tensor, extra: int = 0, behind: int = 0) -> Crossing:
        """What cross-attention of these rows to that source needs; x (T, D): any of their hidden states; extra, behind:
        spare rows behind them and behind the source's.
        """
        kernel = kernel_for(self, x, bidirectional(), False, self.attention_dropout)
        plan = kernel.plan_cross(queries, source)
        if extra or behind:
            plan = plan.filled(extra, behind)
        if self.compiled:
            ragged(plan)
        return Crossing(kernel, plan)

    @property
    def passes(self) -> Sequence[Pass]:
        return [Pass(block) for block in self.blocks]

    @property
    def regions(self) -> Sequence[nn.Module]:
        return tuple(self.blocks)


def build(config: ModelConfig, generator: torch.Generator | None = None) -> Decoder:
    """The decoder of `config`, its weights drawn with `generator` (normal, `config.init_std`). The norms before and
    after cross-attention are those that attention has.
    """
    own, norms = config.decoding, config.norms
    widths = Widths(own.word_width, own.key_width, own.heads, own.width, own.dropout, norms.eps)
    scale = attention_scale(own)
    bias = own.biases if own.attention_biases is None else own.attention_biases
    shape = (own.width, own.heads, own.key_width, bias, own.attention_dropout)

    def norm(slot: str) -> nn.Module:
        return build_norm(getattr(norms, slot), own.width, norms.eps, norms.bias)

    def block(i: int) -> DecoderBlock:
        return DecoderBlock(
            Attention(*shape, build_relation(own.position, widths), scale),
            CrossAttention(*shape, scale),
            FeedForward(own.width, own.feedforward, own.activation, own.gated, own.biases),
            (
                norm("attention_in") if i or norms.first else nn.Identity(),
                norm("attention_out"),
                norm("attention_in"),
                norm("attention_out"),
                norm("feedforward_in"),
                norm("feedforward_out"),
            ),
            own.dropout,
        )

    decoder = Decoder(
        DecoderEmbedding(build_position(own.position, widths), norm("embedding"), own.dropout, word_scale(own)),
        nn.ModuleList([block(i) for i in range(own.layers)]),
        norm("final"),
        own.attention_dropout,
    )
    initialise(decoder, own.init_std, generator)
    return decoder
