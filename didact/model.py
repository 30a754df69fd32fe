"""The model: one core (a Transformer), BERT's pooler, and named heads that answer for the rows they are asked.

Shapes: T tokens, n asked rows, g groups, D width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from didact.batch import Batch, Labels, Part, Side
from didact.config import ModelConfig
from didact.heads import Head
from didact.nn.init import initialise
from didact.nn.transformer import Hidden
from didact.nn.transformer import build as build_transformer


class Model(nn.Module):
    """config: of the core; specs: what is asked of it, by name.

    Parameters are named `core.*`, `pooler.dense.*` and `heads.<name>.*`. A tied vocabulary head has no output matrix
    of its own: it is handed `core.embedding.word.weight` when it runs, so that this is one parameter with one name.
    All weights are drawn with `generator` (None: torch's own).
    """

    def __init__(
        self, config: ModelConfig, heads: Mapping[str, Head], generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        if missing := [name for name, head in heads.items() if head.pooled and not config.pooler]:
            raise ValueError(f"heads {missing} read pooled rows, and the configuration has no pooler")
        self.config = config
        self.specs = dict(heads)
        self.core = build_transformer(config)
        self.pooler = Pooler(config.width) if config.pooler else None
        self.heads = nn.ModuleDict({name: head.build(config) for name, head in heads.items()})
        initialise(self, config.init_std, generator)

    def forward(self, batch: Batch) -> tuple[Tensor, ...]:
        """The logits of each of the batch's labels, in order."""
        hidden = self.core(batch.inputs)
        return tuple(self.answer(hidden, asked) for asked in batch.labels)

    def answer(self, hidden: Hidden, asked: Labels) -> Tensor:
        """What the head that `asked` names says of the rows it asks."""
        rows = hidden.streams[asked.stream].index_select(0, asked.rows)
        if self.specs[asked.head].pooled:
            assert self.pooler is not None
            rows = self.pooler(rows)
        return self.heads[asked.head](rows, asked.groups, self.core.embedding.word.weight)

    def loss(self, logits: Tensor, asked: Labels) -> Part:
        """The sum of the losses of these answers, as the head that gave them counts it."""
        return self.specs[asked.head].loss(logits, asked)

    def hidden(self, side: Side, layers: bool = False) -> Hidden:
        """The core's streams (T, D), and with `layers` the embedding output and every layer's."""
        return self.core(side, layers)


class Pooler(nn.Module):
    """Dense and tanh on a row: (n, D) -> (n, D), before every head that answers for a whole sequence (BERT's [CLS])."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)

    def forward(self, rows: Tensor) -> Tensor:
        return torch.tanh(self.dense(rows))
