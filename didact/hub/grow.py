"""A start that is not quite the model to be trained: a smaller one, or one that knows fewer pieces, or others.

`tile` makes a larger model from a smaller one (`nn.tile`); `extend` goes on with more pieces than a model has learned,
`transfer` with those of another tokenizer: a new piece begins as the mean of the pieces that the old tokenizer writes
it with, in the word embeddings, the output matrix and the output bias (Gee et al., 2022, Fast Vocabulary Transfer,
have it so of the embeddings).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from didact.config import ModelConfig
from didact.errors import InputError
from didact.exchange import keys, rules
from didact.families import by_name
from didact.heads import Vocabulary
from didact.hub.alike import unlike
from didact.model import Model, Pretrained
from didact.nn.tile import SIZES, tiled
from didact.tokenization.tokenizer import ROLES, Tokenizer

POSITIONS = "core.embedding.position.weight"  # of learned positions
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
    new piece that the old tokenizer cannot write, and a new row without a piece, begin as the mean of all old pieces;
    the blank row that a decoder may start with stays behind all others. Raises InputError where the tokenizer is
    another one, or the rows are too few.
    """
    missing_pieces(start.tokenizer, tokenizer)
    small = start.model.config
    rows = _rows(small, tokenizer, small.vocabulary, vocabulary)
    return _respelled(start, tokenizer, written_with(start.tokenizer, tokenizer), _sized(small, rows), small.pieces)


def transfer(start: Pretrained, tokenizer: Tokenizer, vocabulary: int | None = None) -> Pretrained:
    """The start with another tokenizer, of whatever kind, learned on other text: a piece that both have keeps its row,
    and tokens of one role (the mask, the padding) stand for each other; the others begin as `extend` has it. What the
    family says of a tokenizer's tokens (where positions begin, what a decoder begins with) is said anew.

    vocabulary: rows of the word embeddings, None = as many as the tokenizer needs. Raises InputError where they are
    too few, or the tokenizer lacks the token that the decoder begins with.
    """
    small, made_of = start.model.config, written_with(start.tokenizer, tokenizer)
    changes = _sized(small, _rows(small, tokenizer, 1, vocabulary))
    if small.decoder is not None and not small.decoder.blank:
        begin = small.decoder.start
        if [begin] not in made_of:
            raise InputError(
                f"no token {start.tokenizer.token(begin)}, with which the decoder begins",
                expected="a tokenizer that has it",
            )
        changes["decoder.start"] = made_of.index([begin])
    changes = {**by_name(start.family).fitted(tokenizer), **changes}
    return replace(_respelled(start, tokenizer, made_of, changes, 0), carried={})


def _rows(config: ModelConfig, tokenizer: Tokenizer, least: int, vocabulary: int | None) -> int:
    """least: rows that there must be, whatever the tokenizer."""
    least = max(least, tokenizer.vocabulary + config.vocabulary - config.pieces)
    if vocabulary is not None and vocabulary < least:
        raise InputError(
            f"model.vocabulary: found {vocabulary}", expected=f"{least} or more, the start's and the tokenizer's"
        )
    return least if vocabulary is None else vocabulary


def _sized(config: ModelConfig, rows: int) -> dict[str, Any]:
    """So many rows, a decoder's blank one behind all others."""
    blank = config.vocabulary > config.pieces
    return {"vocabulary": rows} | ({"decoder.start": rows - 1} if blank else {})


def _respelled(
    start: Pretrained, tokenizer: Tokenizer, made_of: list[list[int]], changes: Mapping[str, Any], kept: int
) -> Pretrained:
    """made_of: see `written_with`; changes: of the configuration; kept: rows that stay as they are where no piece takes
    them.
    """
    small, known = start.model, start.tokenizer.vocabulary
    model = Model(keys.changed(small.config, changes), small.specs)
    rows = model.config.vocabulary
    model.core.embedding.spell(tokenizer.tokens(range(rows)))
    state = small.state_dict()
    scores = [f"heads.{name}.{part}" for name in small.specs for part in ("bias", "decoder.weight")]
    heads = {name for name, head in small.specs.items() if isinstance(head, Vocabulary)}
    tables = ["core.embedding.word.weight", *(s for s in scores if s.split(".")[1] in heads)]
    for name in (table for table in tables if table in state):
        old, last = state[name][: small.config.pieces], state[name][small.config.pieces :]
        mean = old[:known].mean(0)
        made = torch.cat([old[:kept], mean.expand(rows - kept - len(last), *mean.shape), last])
        for piece, parts in enumerate(made_of):
            made[piece] = mean if not parts else old[parts[0]] if len(parts) == 1 else old[parts].mean(0)
        state[name] = made
    if POSITIONS in state:  # behind as many rows that nothing stands at as the new tokenizer's padding asks
        before, now = small.config.position.offset, model.config.position.offset
        table = state[POSITIONS]
        state[POSITIONS] = table if before == now else torch.cat([table.new_zeros(now, table.shape[1]), table[before:]])
    if SPELLING in state:
        state[SPELLING] = model.state_dict()[SPELLING]
    model.load_state_dict(state)
    return replace(start, model=model.eval(), tokenizer=tokenizer)


def written_with(old: Tokenizer, new: Tokenizer) -> list[list[int]]:
    """Of each piece of `new`, the pieces of `old` that stand for it: itself alone where both have it; else the token of
    its role; else those that write it; [] where none do.
    """
    alike = old.spelling == new.spelling
    names = {old.token(i): i for i in reversed(range(old.vocabulary)) if alike or i in old.special_ids}
    surfaces = {} if alike else {text: i for i, text in reversed([*enumerate(old.surfaces)]) if text}
    roles = {getattr(new, role): getattr(old, role) for role, _ in reversed(ROLES) if getattr(old, role) is not None}
    found: list[list[int]] = []
    for piece in range(new.vocabulary):
        name, special = new.token(piece), piece in new.special_ids
        if (own := names.get(name) if alike or special else None) is not None:
            parts = [own]
        elif piece in roles:
            parts = [roles[piece]]
        elif special and not alike:
            parts = []
        elif (own := surfaces.get(new.surfaces[piece])) is not None:
            parts = [own]
        else:
            parts = old.written(name, text=piece in new.added) if alike else []
            parts = parts or _written(old, new.surfaces[piece])
        found.append(parts)
    return found


def _written(tokenizer: Tokenizer, surface: bytes) -> list[int]:
    """A piece's text as the beginning of one; [] where it is none, or has a character that the tokenizer lacks."""
    try:
        found = tokenizer.encode(surface.decode().strip()).tokens.tolist()
    except UnicodeDecodeError:  # some of a character's bytes
        return []
    return [] if tokenizer.unk in found else found
