"""A start that is not quite the model to be trained: a smaller one, or one that knows fewer pieces.

`tile` makes a larger model from a smaller one (`nn.tile`); `extend` goes on with more pieces than a model has learned:
a new piece begins as the mean of the pieces that the old tokenizer writes it with, in the word embeddings, the output
matrix and the output bias (Gee et al., 2022, Fast Vocabulary Transfer, have it so of the embeddings).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from didact.config import ModelConfig
from didact.errors import InputError
from didact.exchange import keys, rules
from didact.heads import Vocabulary
from didact.hub.alike import unlike
from didact.model import Model, Pretrained
from didact.nn.tile import SIZES, tiled
from didact.tokenization.tokenizer import Tokenizer

SPELLING = "core.embedding.word.spelling"  # where words are read from their bytes, these are all that a new one needs


def tile(start: Pretrained, changes: Mapping[str, Any], generator: torch.Generator | None = None) -> Pretrained:
    """The start's weights tiled into a model with other sizes ({"layers": 28, "width": 1024, "heads": 16, …}).

    Raises InputError where a size is smaller than the start's, something else than sizes differs, or the start is of a
    kind whose layers cannot be tiled.
    """
    small = start.model
    config = keys.changed(small.config, changes)
    for name, before, after in _sizes(small.config, config):
        if after < before:
            raise InputError(
                f"model.start_tiled: {name} {before} cannot be tiled into {after}",
                expected=f"model.{name}: {before} or more",
            )
    for field, after, before in unlike(config, small.config, besides=[*SIZES, "position.maximum"]):
        raise InputError(
            f"model.start_tiled: {field} {before} cannot be tiled into {after}",
            expected=f"model.{field}: {before}, for only sizes may differ",
        )
    model = Model(config, small.specs, generator)
    try:
        state = tiled(small.state_dict(), small.config, model.state_dict(), config)
    except ValueError as problem:
        raise InputError(f"model.start_tiled: {problem}") from None
    model.load_state_dict(state)
    return replace(start, model=model.eval(), carried={})


def _sizes(small: ModelConfig, large: ModelConfig) -> Iterator[tuple[str, int, int]]:
    """Name and value of both, where both have one."""
    for name in ("layers", "width", "heads", "feedforward", "segments"):
        yield name, getattr(small, name), getattr(large, name)
    yield "head_width", small.key_width, large.key_width
    before, after = small.position.maximum, large.position.maximum
    if before is not None and after is not None:
        yield "position.maximum", before, after


def missing_pieces(old: Tokenizer, new: Tokenizer) -> tuple[int, ...]:
    """The pieces that `new` has above those of `old`.

    Raises InputError where it is not `old` with more pieces: the same treatment of text, every old piece under the
    number it had, and none that has become an added token, which is found inside words, whatever they were made of.
    """
    count = old.vocabulary
    another = "another tokenizer than the start's"
    if old.treatment != new.treatment or new.tokens(range(count)) != old.tokens(range(count)):
        raise InputError(another, expected="the start's own, or it with more pieces")
    if taken := [old.token(i) for i in range(count) if old.taken.get(i) != new.taken.get(i)]:
        raise InputError(
            f"{another}: old text is read otherwise, for {rules.listed(taken)} are added tokens in one of the two only",
            expected="the start's own with pieces that it has not",
        )
    if new.vocabulary == count:
        raise InputError(another, expected="the start's own, or it with more pieces")
    return tuple(range(count, new.vocabulary))


def extend(start: Pretrained, tokenizer: Tokenizer, vocabulary: int | None = None) -> Pretrained:
    """The start with the pieces of `tokenizer`, which is the start's own with more pieces.

    vocabulary: rows of the word embeddings, no fewer than they are and than the tokenizer needs, None = that many. A
    new piece that the old tokenizer cannot write, and a row without a piece, begin as the mean of all old pieces; the
    blank row that a decoder may start with stays behind all others. Raises InputError where the tokenizer is another
    one, or the rows are too few.
    """
    new = missing_pieces(start.tokenizer, tokenizer)
    small, known = start.model, start.tokenizer.vocabulary
    blank = small.config.vocabulary - small.config.pieces  # rows behind all others: a decoder's start
    least = max(small.config.vocabulary, tokenizer.vocabulary + blank)
    rows = least if vocabulary is None else vocabulary
    if rows < least:
        raise InputError(
            f"model.vocabulary: found {rows}", expected=f"{least} or more, the start's and the tokenizer's"
        )
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
