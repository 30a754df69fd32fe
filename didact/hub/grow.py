"""A start that is not quite the model to be trained: a smaller one, or one that knows fewer pieces.

`tile` makes a larger model from a smaller one (`nn.tile`); `extend` goes on with more pieces than a model has learned:
a new piece begins as the mean of the pieces that the old tokenizer writes it with, in the word embeddings, the output
matrix and the output bias (Gee et al., 2022, Fast Vocabulary Transfer, have it so of the embeddings).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from didact.errors import InputError
from didact.exchange import keys
from didact.heads import Vocabulary
from didact.model import Model, Pretrained
from didact.nn.tile import tiled
from didact.tokenization.tokenizer import Tokenizer

SPELLING = "core.embedding.word.spelling"  # where words are read from their bytes, these are all that a new one needs


def tile(start: Pretrained, changes: Mapping[str, Any], generator: torch.Generator | None = None) -> Pretrained:
    """The start's weights tiled into a model with other sizes ({"layers": 28, "width": 1024, "heads": 16, …}).

    Raises InputError where a size is smaller than the start's, or something else than sizes differs.
    """
    small = start.model
    config = keys.changed(small.config, changes)
    model = Model(config, small.specs, generator)
    try:
        state = tiled(small.state_dict(), small.config, model.state_dict(), config)
    except ValueError as problem:
        raise InputError(f"model.start_tiled: {problem}", expected="sizes as large as the start's, or larger") from None
    model.load_state_dict(state)
    return replace(start, model=model.eval(), carried={})


def missing_pieces(old: Tokenizer, new: Tokenizer) -> tuple[int, ...] | None:
    """The pieces that `new` has above those of `old`; None where it is not `old` with more pieces: the same treatment
    of text, and every old piece under the number it had.
    """
    count = old.vocabulary
    same = old.treatment == new.treatment and new.tokens(range(count)) == old.tokens(range(count))
    return tuple(range(count, new.vocabulary)) if same and new.vocabulary > count else None


def extend(start: Pretrained, tokenizer: Tokenizer, vocabulary: int = 0) -> Pretrained:
    """The start with the pieces of `tokenizer`, which is the start's own with more pieces.

    vocabulary: rows of the word embeddings, no fewer than they are and than the tokenizer needs. A new piece that the
    old tokenizer cannot write, and a row without a piece, begin as the mean of all old pieces; the blank row that a
    decoder may start with stays behind all others. Raises InputError where the tokenizer is another one.
    """
    new = missing_pieces(start.tokenizer, tokenizer)
    if new is None:
        raise InputError("another tokenizer than the start's", expected="the start's own, or it with more pieces")
    small, known = start.model, start.tokenizer.vocabulary
    blank = small.config.vocabulary - small.config.pieces  # rows behind all others: a decoder's start
    rows = max(small.config.vocabulary, tokenizer.vocabulary + blank, vocabulary)
    changes = {"vocabulary": rows} | ({"decoder.start": rows - 1} if blank else {})
    model = Model(keys.changed(small.config, changes), small.specs)
    model.core.embedding.spell(tokenizer.tokens(range(rows)))
    state = small.state_dict()
    scores = [f"heads.{name}.{part}" for name in small.specs for part in ("bias", "decoder.weight")]
    heads = {name for name, head in small.specs.items() if isinstance(head, Vocabulary)}
    tables = ["core.embedding.word.weight", *(s for s in scores if s.split(".")[1] in heads)]
    for name in (table for table in tables if table in state):
        old, last = state[name][: small.config.pieces], state[name][small.config.pieces :]
        mean = old[:known].mean(0)
        grown = torch.cat([old, mean.expand(rows - len(old) - len(last), *mean.shape), last])
        for piece in new:
            made_of = start.tokenizer.written(tokenizer.token(piece), text=piece in tokenizer.added)
            grown[piece] = old[made_of].mean(0) if made_of else mean
        state[name] = grown
    if SPELLING in state:
        state[SPELLING] = model.state_dict()[SPELLING]
    model.load_state_dict(state)
    return replace(start, model=model.eval(), tokenizer=tokenizer)
