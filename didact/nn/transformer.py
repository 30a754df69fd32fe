"""The Transformer stack over packed tokens; `build` makes any member of the family from a ModelConfig.

Shapes: T rows, D width, N heads, L rows of one sequence.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from didact.batch import Side
from didact.config import ModelConfig
from didact.nn.attention import Attention, Context, Places
from didact.nn.block import Block
from didact.nn.compiled import ragged
from didact.nn.core import Core, Hidden, Pass, Stack
from didact.nn.embedding import Embedding
from didact.nn.feedforward import FeedForward
from didact.nn.init import initialise
from didact.nn.kernel import Kernel, choose, named
from didact.nn.memory import turns
from didact.nn.neighbours import LEFT, OFFSETS, start_with_neighbours
from didact.nn.norm import build_norm
from didact.nn.position import Scheme, Widths, build_position, build_relation
from didact.nn.spare import filled, multiplied, spare
from didact.visibility import Visibility


class Transformer(Core):
    """Embedding, then layers, then a final norm where there is one. Layer i runs block i · blocks // layers.

    windows: per layer, how far a row sees in positions, None = any distance. visibility: who sees whom where the side
    does not say it, which is where its kind is "full".
    """

    def __init__(
        self,
        embedding: Embedding,
        blocks: nn.ModuleList,
        final_norm: nn.Module,
        windows: tuple[int | None, ...],
        attention_dropout: float,
        kernel: str | None = None,
        visibility: Literal["full", "causal"] = "full",
    ) -> None:
        super().__init__(embedding, blocks, kernel)
        self.final_norm = final_norm
        self.windows = windows
        self.attention_dropout = attention_dropout
        self.visibility: Literal["full", "causal"] = visibility

    def forward(self, side: Side, layers: bool = False, attention: Collection[int] = ()) -> Hidden:
        """layers: keep every layer's output; attention: the layers whose probabilities are wanted (ValueError for a
        pack with a chain: there are rows of a memory among its keys).
        """
        side = replace(side, visibility=side.visibility.unless_said(self.visibility))
        packed = side.packed
        x = self.embedding(packed)
        if packed.chain is not None:
            if attention:
                raise ValueError("no attention probabilities of sequences with a memory")
            return self._in_turn(side, x, layers)
        T, extra = len(x), spare_rows(self, x)
        contexts = self._contexts(side, x, extra=extra)
        kept = [x]
        looks = {}
        x = filled(x, extra)
        count, repeat = len(self.windows), len(self.blocks)
        for i, window in enumerate(self.windows):
            block, context = self.blocks[i * repeat // count], contexts[window]
            if i in attention:
                seen = side.visibility.within(window)
                read = block.norm_attention_in(x)[:T]  # type: ignore[operator]
                looks[i] = block.attention.probabilities(read, context.of(T), packed, seen)  # type: ignore[operator, union-attr]
            if self.compiled:
                ragged(x)
            x = block(x, context)
            if layers:
                kept.append(x[:T])
        x = self.final_norm(x[:T])
        kept[-1] = x
        return Hidden({"main": x}, tuple(kept) if layers else (), looks)

    def _in_turn(self, side: Side, x: Tensor, layers: bool) -> Hidden:
        """A chain: the sequences that continue nothing, then those that continue them and remember them, and so on.

        remembered: the input of each layer, of all rows so far, without gradients.
        """
        remembered = [torch.zeros_like(x) for _ in self.windows]
        rows: list[Tensor] = []
        made: list[list[Tensor]] = []
        for turn in turns(side):
            contexts = self._contexts(turn.side, x, turn.places)
            now = x.index_select(0, turn.rows)
            kept = [now]
            for i, window in enumerate(self.windows):
                remembered[i].index_copy_(0, turn.rows, now.detach().to(x.dtype))
                memory = remembered[i].index_select(0, turn.memory) if len(turn.memory) else None
                if self.compiled:
                    ragged(now, memory)
                now = self.blocks[i * len(self.blocks) // len(self.windows)](now, contexts[window], memory)
                kept.append(now)
            kept[-1] = self.final_norm(now)
            rows.append(turn.rows)
            made.append(kept if layers else kept[-1:])
        back = torch.cat(rows).argsort()
        every = [torch.cat(parts).index_select(0, back) for parts in zip(*made, strict=True)]
        return Hidden({"main": every[-1]}, tuple(every) if layers else ())

    def _contexts(
        self, side: Side, x: Tensor, places: Places | None = None, extra: int = 0
    ) -> dict[int | None, Context]:
        """One context for each window that layers have, all else shared."""
        return contexts(self, self.embedding.position, self.windows, self.attention_dropout, side, x, places, extra)

    @property
    def passes(self) -> Sequence[Pass]:
        count, repeat = len(self.windows), len(self.blocks)
        return [Pass(self.blocks[i * repeat // count], window=window) for i, window in enumerate(self.windows)]

    @property
    def regions(self) -> Sequence[nn.Module]:
        return tuple(self.blocks)


def contexts(
    stack: Stack,
    position: Scheme,
    windows: Sequence[int | None],
    attention_dropout: float,
    side: Side,
    x: Tensor,
    places: Places | None = None,
    extra: int = 0,
) -> dict[int | None, Context]:
    """What the layers of a stack need to attend, a context for each of their windows. x (T, D): their first input;
    extra: spare rows that will be behind it.
    """
    distance, relative = position.distance(), position.relative(side.packed.max_seqlen)
    found = {}
    for window in dict.fromkeys(windows):
        rotation = position.rotation(side.packed.positions, local=window is not None)
        seen = side.visibility.within(window)
        kernel = kernel_for(stack, x, seen, distance is not None or relative is not None, attention_dropout)
        plan = kernel.plan(side.packed, seen)
        if extra:
            plan = plan.filled(extra)
            rotation = rotation and (filled(rotation[0], extra), filled(rotation[1], extra))
        found[window] = Context(kernel, plan, distance, rotation, relative, places)
        if stack.compiled:
            ragged(plan, rotation, places, relative, distance and (distance.by_query, distance.by_key))
    return found


def spare_rows(stack: Stack, x: Tensor) -> int:
    """How many rows to lay behind x (T, D), the rows of a pack; only `grouped` knows of them."""
    return spare(len(x), x.device, multiplied(x)) if stack.kernel in (None, "grouped") else 0


def kernel_for(stack: Stack, x: Tensor, seen: Visibility, terms: bool, attention_dropout: float) -> Kernel:
    """The kernel that the stack is set to, or else the table's for rows like x."""
    if stack.kernel is not None:
        return named(stack.kernel)
    return choose(x.device, multiplied(x), seen, terms, attention_dropout if stack.training else 0.0)


def build(config: ModelConfig, generator: torch.Generator | None = None) -> Transformer:
    """The stack of `config`, its weights drawn with `generator` (normal, `config.init_std`); then, where the positions
    are to start so, `nn.neighbours`. Raises ValueError for parts that do not go together.
    """
    norms = config.norms

    def norm(slot: str, width: int = config.width) -> nn.Module:
        return build_norm(getattr(norms, slot), width, norms.eps, norms.bias)

    def block(i: int) -> Block:
        return Block(
            Attention(
                config.width,
                config.heads,
                config.key_width,
                config.biases if config.attention_biases is None else config.attention_biases,
                config.attention_dropout,
                build_relation(config.position, widths),
                attention_scale(config),
            ),
            FeedForward(config.width, config.feedforward, config.activation, config.gated, config.biases),
            (
                norm("attention_in") if i or norms.first else nn.Identity(),
                norm("attention_out"),
                norm("feedforward_in"),
                norm("feedforward_out"),
            ),
            config.dropout,
        )

    inner = config.word_width
    widths = Widths(inner, config.key_width, config.heads, config.width, config.dropout, norms.eps)
    blocks = [block(i) for i in range(config.layer_groups or config.layers)]
    transformer = Transformer(
        embedding=Embedding(
            config.vocabulary,
            config.embedding_width,
            config.width,
            config.segments,
            build_position(config.position, widths),
            norm("embedding", inner),
            config.dropout,
            config.embedding_projected,
            config.characters,
            config.queries,
            word_scale(config),
            config.decoder.start if config.decoder is not None and config.decoder.blank else None,
        ),
        blocks=nn.ModuleList(blocks),
        final_norm=norm("final"),
        windows=config.window_of,
        attention_dropout=config.attention_dropout,
        visibility=config.visibility,
    )
    initialise(transformer, config.init_std, generator)
    if config.position.start == "neighbours":
        offsets = LEFT if config.visibility == "causal" else OFFSETS
        start_with_neighbours(transformer.embedding, blocks, config.init_std, offsets)
    return transformer


def attention_scale(config: ModelConfig) -> float | None:
    """What q · k is multiplied by; None = 1 / sqrt(H)."""
    return None if config.scaled_attention else 1.0


def word_scale(config: ModelConfig) -> float:
    """What the words' vectors are multiplied by."""
    return config.word_width**0.5 if config.scaled_words else 1.0
