"""Input embeddings: words, from a table or from their bytes, positions, segments; a norm; and, where they are narrower
than the model, a projection up.

Shapes: T rows, V vocabulary, E embedding width, D width, S segments.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from didact.config import Characters
from didact.nn.characters import CharacterCNN, spell
from didact.nn.dropout import dropout
from didact.nn.init import Begins
from didact.nn.position import Scheme
from didact.nn.spare import through
from didact.packed import Packed

WORDS = Characters()  # no filters: a table


class Embedding(Begins):
    """project(dropout(norm(word + position + segment))). A pack without segments is all segment 0, and so is every
    pack to a model that knows one segment alone (RoBERTa).

    narrow: E differs from D (ALBERT, Lan et al., 2020, §3.1; ELECTRA-small); projected: project even where it does not;
    characters: where they have filters, words are read from their bytes (nn.characters), and there is no table.
    queries: whether there is a vector that query rows begin as, whatever their tokens (XLNet, Yang et al., 2019, §2.3);
    scale: what words' vectors are multiplied by (Vaswani et al., 2017, §3.4); blank: the row of the table that is zeros
    and stays so, None = there is none.
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
        characters: Characters = WORDS,
        queries: bool = False,
        scale: float = 1.0,
        blank: int | None = None,
    ) -> None:
        super().__init__()
        inner = narrow or width
        self.scale = scale
        self.word: nn.Embedding | CharacterCNN
        if characters.filters:
            self.word = CharacterCNN(vocabulary, inner, characters)
        else:
            self.word = nn.Embedding(vocabulary, inner, padding_idx=blank)
        self.position = position
        self.segment = nn.Embedding(segments, inner) if segments else None
        self.query = nn.Parameter(torch.empty(1, 1, inner)) if queries else None  # as checkpoints have it
        self.norm = norm
        self.project = nn.Linear(inner, width) if inner != width or projected else None
        self.dropout = dropout

    def begin(self, generator: torch.Generator | None = None) -> None:
        del generator
        if isinstance(self.word, nn.Embedding) and self.word.padding_idx is not None:
            self.word.weight[self.word.padding_idx].zero_()

    def forward(self, packed: Packed) -> Tensor:
        """-> (T, D)."""
        x = self.word(packed.tokens)
        if self.scale != 1.0:
            x = x * self.scale
        if packed.queries is not None:
            assert self.query is not None, "query rows need a model with a vector for them (queries: true)"
            x = x.index_copy(0, packed.queries, self.query.view(1, -1).expand(len(packed.queries), -1).to(x.dtype))
        if self.segment is not None:
            alone = packed.segments is None or self.segment.num_embeddings == 1
            x = x + (self.segment.weight[0] if alone else self.segment(packed.segments))
        position = self.position.embed(packed.positions, x)
        if position is not None:
            x = x + position
        x = dropout(self.norm(x), self.dropout, self.training)
        return x if self.project is None else through(self.project, x)

    @property
    def table(self) -> Tensor | None:
        """The vectors of all words (V, E), for a head that is tied to them; None where they are read from bytes."""
        return self.word.weight if isinstance(self.word, nn.Embedding) else None

    @torch.no_grad()
    def spell(self, pieces: Sequence[str]) -> None:
        """How the tokenizer writes each token, (V,), which is what a character CNN reads; nothing to a table."""
        if isinstance(self.word, CharacterCNN):
            self.word.spelling.copy_(spell(pieces, self.word.longest))

    @property
    def products(self) -> tuple[int, int]:
        """Multiply-adds of each row, and of each distinct token of a pack."""
        row = 0 if self.project is None else self.project.weight.numel()
        return row, self.word.products if isinstance(self.word, CharacterCNN) else 0


class DecoderEmbedding(nn.Module):
    """dropout(norm(word + position)), words by the encoder's table, which is handed in: one parameter, one name."""

    def __init__(self, position: Scheme, norm: nn.Module, dropout: float, scale: float = 1.0) -> None:
        super().__init__()
        self.position, self.norm, self.dropout, self.scale = position, norm, dropout, scale

    def forward(self, packed: Packed, word: nn.Module) -> Tensor:
        """-> (T, D)."""
        x = word(packed.tokens)
        if self.scale != 1.0:
            x = x * self.scale
        position = self.position.embed(packed.positions, x)
        x = self.norm(x if position is None else x + position)
        return dropout(x, self.dropout, self.training)
