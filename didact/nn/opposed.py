"""Two stacks of attention over packed tokens, one looking to the left, one to the right, that never meet: what ELMo is
to LSTMs (Peters et al., 2018), and what BERT was held against ("train separate LTR and RTL models and represent each
token as the concatenation of the two": Devlin et al., 2019, §5.1).

Both read one table of words, as ELMo's do. What a configuration says of width, heads and feedforward is of both
together: each direction has half of them.

Shapes: T rows, D width of both together, N heads of both together, L rows of one sequence.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from didact.batch import Side
from didact.config import ModelConfig
from didact.nn import transformer
from didact.nn.attention import Context
from didact.nn.block import Block
from didact.nn.compiled import ragged
from didact.nn.core import Core, Hidden, Pass
from didact.nn.embedding import Embedding
from didact.nn.neighbours import LEFT, RIGHT, start_with_neighbours
from didact.nn.spare import filled
from didact.visibility import permuted, right_to_left


class Pair(nn.Module):
    """A layer of each direction."""

    def __init__(self, forwards: Block, backwards: Block) -> None:
        super().__init__()
        self.forwards, self.backwards = forwards, backwards

    def forward(self, x: tuple[Tensor, Tensor], contexts: tuple[Context, Context]) -> tuple[Tensor, Tensor]:
        """Both (T, D / 2)."""
        return self.forwards(x[0], contexts[0]), self.backwards(x[1], contexts[1])

    def looks(
        self, x: tuple[Tensor, Tensor], contexts: tuple[Context, Context], sides: tuple[Side, Side]
    ) -> tuple[Tensor, ...]:
        """The attention of each sequence, (N, L, L): the heads that look left, then those that look right."""
        each = [
            block.attention.probabilities(block.norm_attention_in(own), context, side.packed, side.visibility)  # type: ignore[operator, union-attr]
            for block, own, context, side in zip((self.forwards, self.backwards), x, contexts, sides, strict=True)
        ]
        return tuple(torch.cat(both) for both in zip(*each, strict=True))


class Opposed(Core):
    """Streams "forward" and "backward" (T, D / 2), which see to the left and to the right, themselves included; "main"
    (T, D): one beside the other. Layers are those of "main", the embeddings twice. Layer i runs block i · blocks //
    layers; windows: per layer, how far a row sees in positions, None = any distance.
    """

    def __init__(
        self,
        embedding: Embedding,
        blocks: nn.ModuleList,
        final_norms: nn.ModuleList,
        windows: tuple[int | None, ...],
        attention_dropout: float,
        kernel: str | None = None,
    ) -> None:
        super().__init__(embedding, blocks, kernel)
        self.final_norms = final_norms
        self.windows = windows
        self.attention_dropout = attention_dropout

    def forward(self, side: Side, layers: bool = False, attention: Collection[int] = ()) -> Hidden:
        """Raises ValueError for a visibility other than "full", since each stream has its own, for query rows and for
        sequences with a memory.
        """
        packed = side.packed
        if side.visibility.kind != "full" or packed.queries is not None or packed.chain is not None:
            raise ValueError("the streams of an opposed core see by their own rules, without query rows or a memory")
        words = self.embedding(packed)
        rules = permuted(packed.positions), right_to_left(packed.positions)  # of one form: both compile as one block
        sides = [Side(packed, rule.within(side.visibility.window)) for rule in rules]
        position, dropout = self.embedding.position, self.attention_dropout
        T, extra = len(words), transformer.spare_rows(self, words)
        contexts = [
            transformer.contexts(self, position, self.windows, dropout, own, words, extra=extra) for own in sides
        ]
        x = filled(words, extra), filled(words, extra)
        kept = [torch.cat((words, words), -1)]
        looks = {}
        for i, (window, both) in enumerate(zip(self.windows, self._layers, strict=True)):
            own = contexts[0][window], contexts[1][window]
            if i in attention:
                seen = [replace(side, visibility=side.visibility.within(window)) for side in sides]
                looks[i] = both.looks((x[0][:T], x[1][:T]), (own[0].of(T), own[1].of(T)), (seen[0], seen[1]))
            if self.compiled:
                ragged(*x)
            x = both(x, own)
            if layers:
                kept.append(torch.cat(x, -1)[:T])
        forward, backward = self.final_norms[0](x[0][:T]), self.final_norms[1](x[1][:T])
        kept[-1] = torch.cat((forward, backward), -1)
        streams = {"main": kept[-1], "forward": forward, "backward": backward}
        return Hidden(streams, tuple(kept) if layers else (), looks)

    @property
    def _layers(self) -> list[Pair]:
        count, repeat = len(self.windows), len(self.blocks)
        return [self.blocks[i * repeat // count] for i in range(count)]  # type: ignore[misc]

    @property
    def passes(self) -> Sequence[Pass]:
        return [Pass(both, window=window) for window, both in zip(self.windows, self._layers, strict=True)]

    @property
    def regions(self) -> Sequence[nn.Module]:
        return tuple(block for both in self.blocks for block in both.children())


def build(config: ModelConfig, generator: torch.Generator | None = None) -> Opposed:
    """The stacks of `config`, the forward one drawn first. Raises ValueError for what they have no place for."""
    if config.queries:
        raise ValueError("an opposed core has no query rows")
    half = replace(
        config,
        core="transformer",
        position=replace(config.position, start="normal"),
        width=config.width // 2,
        heads=config.heads // 2,
        feedforward=config.feedforward // 2,
    )
    left, right = transformer.build(half, generator), transformer.build(half, generator)
    if left.embedding.position.relative(2) is not None:
        raise ValueError(f"position.scheme {config.position.scheme!r}: an opposed core's layers ask no table")
    if config.position.start == "neighbours":
        for stack, offsets in ((left, LEFT), (right, RIGHT)):
            start_with_neighbours(left.embedding, stack.blocks, config.init_std, offsets)
    return Opposed(
        embedding=left.embedding,
        blocks=nn.ModuleList(Pair(*both) for both in zip(left.blocks, right.blocks, strict=True)),  # type: ignore[arg-type]
        final_norms=nn.ModuleList((left.final_norm, right.final_norm)),
        windows=config.window_of,
        attention_dropout=config.attention_dropout,
    )
