"""Where a context ends and its continuation begins, in tokens (the rule of EleutherAI's lm-evaluation-harness, 0.4.13,
`TemplateLM._encode_pair`, with a way out where that rule has none).

White space at the end of the context goes to the continuation, for most vocabularies write a space and the word after
it as one piece. Then context and the whole are tokenized, and the continuation's pieces are those of the whole that
come after the context's. Where the whole does not begin with the context's pieces, because one piece would reach across
the border, the two are tokenized apart: no character is left out, none is read twice. (The harness would keep the
context's pieces and take the whole's from that number on, whatever they cover.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from didact.errors import InputError
from didact.tokenization.tokenizer import Tokenizer

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Pieces:
    """context (c,) and continuation (m,) int64, no special tokens around them."""

    context: Integers
    continuation: Integers


def around(tokenizer: Tokenizer) -> tuple[Integers, Integers]:
    """The special tokens before and after one text, as the tokenizer's template has them."""
    pieces = [content for content, _ in tokenizer.template.single]
    text = pieces.index("a")
    before, after = ([i for i in part if isinstance(i, int)] for part in (pieces[:text], pieces[text + 1 :]))
    return np.array(before, np.int64), np.array(after, np.int64)


def beginning(tokenizer: Tokenizer) -> Integers:
    """What a causal model reads before a text: the template's special tokens ([CLS]), else the one that begins or ends
    texts (GPT-2's end of text), else nothing.
    """
    before, _ = around(tokenizer)
    if len(before):
        return before
    token = tokenizer.eos if tokenizer.bos is None else tokenizer.bos
    return np.array([] if token is None else [token], np.int64)


def split(tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]], special: bool = False) -> list[Pieces]:
    """(context, continuation) -> their pieces. special: names of special tokens in the texts stand for these tokens.

    Raises InputError for a continuation that has no piece.
    """
    moved = []
    for context, continuation in pairs:
        bare = context.rstrip()
        moved.append((bare, context[len(bare) :] + continuation))
    contexts = list(dict.fromkeys(context for context, _ in moved))
    known = dict(zip(contexts, tokenizer.encode_many(contexts, special=special), strict=True))
    wholes = tokenizer.encode_many([context + continuation for context, continuation in moved], special=special)
    found = []
    for (context, continuation), whole in zip(moved, wholes, strict=True):
        before = known[context].tokens
        if np.array_equal(whole.tokens[: len(before)], before) and len(whole) > len(before):
            found.append(Pieces(before, whole.tokens[len(before) :]))
        else:
            found.append(Pieces(before, tokenizer.encode(continuation, special=special).tokens))
        if not len(found[-1].continuation):
            raise InputError(f"nothing to score in {continuation!r}", expected="a continuation with text in it")
    return found
