"""Input embeddings that two models trained together have in common (Clark et al., 2020, §3.2), or of which one is the
other's plus a difference of its own: gradient-disentangled sharing (He et al., 2023, DeBERTaV3, §3.3).

Tables are those of words, segments and learned positions; the projection to a model's own width is always its own.

Shapes: V rows of a table, E embedding width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from didact.nn.embedding import Embedding
from didact.nn.position import Learned

Sharing = Literal["all", "difference", "none"]


def share(embedding: Embedding, source: Embedding, sharing: Sharing) -> None:
    """Join two embeddings in place. `source` keeps its weights, except that with "all" it takes `embedding`'s.

    "all": one set of tables and one norm, trained by both models (google-research/electra builds both in one scope).
    "difference": a table of `embedding` is `source`'s, through which no gradient passes, plus a trained difference,
    which begins as what keeps the table as it is. "none": nothing is shared. Raises ValueError where the tables are
    not of one shape, or the difference wanted is one of words that are read from their bytes.
    """
    if sharing == "none":
        return
    if sharing == "difference" and embedding.table is None:
        raise ValueError("words that are read from their bytes have no table that could be a difference")
    mine, theirs = tables(embedding), tables(source)
    for name in {**mine, **theirs}:
        shapes = [tuple(found[name].weight.shape) if name in found else None for found in (mine, theirs)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"embeddings that share their tables have {name} tables {shapes[0]} and {shapes[1]}")
    if [p.shape for p in embedding.word.parameters()] != [p.shape for p in source.word.parameters()]:
        raise ValueError("embeddings that share how they read words from bytes do so in two shapes")
    if sharing == "all":
        source.word, source.segment, source.norm = embedding.word, embedding.segment, embedding.norm
        if "position" in mine:
            source.position = embedding.position
        return
    with torch.no_grad():
        for name, table in mine.items():
            table.weight.sub_(theirs[name].weight)
            parametrize.register_parametrization(table, "weight", Beyond(theirs[name]))


@torch.no_grad()
def begin_alike(embedding: Embedding, source: Embedding) -> None:
    """Give `source` the tables of `embedding`, as far as it has them: how a fresh one begins."""
    theirs = tables(source)
    for name, table in tables(embedding).items():
        if name in theirs and theirs[name].weight.shape == table.weight.shape:
            theirs[name].weight.copy_(table.weight)


def tables(embedding: Embedding) -> dict[str, nn.Embedding | Learned]:
    """The modules whose `weight` is a table of input vectors."""
    words = embedding.word if isinstance(embedding.word, nn.Embedding) else None
    found: dict[str, nn.Embedding | Learned | None] = {"word": words, "segment": embedding.segment}
    found["position"] = embedding.position if isinstance(embedding.position, Learned) else None
    return {name: module for name, module in found.items() if module is not None}


class Beyond(nn.Module):
    """difference (V, E) -> the table it is a difference from, as a constant, plus it."""

    def __init__(self, source: nn.Embedding | Learned) -> None:
        super().__init__()
        self.source = (source,)  # in a tuple: the table is the other model's parameter, under its name alone

    def forward(self, difference: Tensor) -> Tensor:
        return self.source[0].weight.detach() + difference


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The model's `state_dict` as if it stood alone: tables that are sums are written as such."""
    state = model.state_dict()
    for name, module in _sums(model):
        del state[f"{name}.parametrizations.weight.original"]
        assert isinstance(module.weight, Tensor)
        state[f"{name}.weight"] = module.weight.detach()
    return state


def _sums(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            yield name, module
