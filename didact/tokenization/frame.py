"""Special tokens around a text and around a pair: which ones, read from the tokenizer's own post-processor; `frame`.

BERT: [CLS] a [SEP] and [CLS] a [SEP] b [SEP] with segments 0 and 1; RoBERTa: <s> a </s> and <s> a </s> </s> b </s>,
all segment 0; GPT-2: nothing. Reading it from tokenizer.json keeps ids equal to transformers' whatever the family.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from didact.errors import InputError
from didact.tokenization import whole_words
from didact.tokenization.encoded import Encoded

if TYPE_CHECKING:
    from didact.batch import Example, Source
    from didact.tokenization.tokenizer import Tokenizer

Piece = tuple[str | int, int]
"""("a" or "b" or the id of a special token, segment)"""
Truncation = Literal["longest_first", "only_first", "only_second"]
End = Literal["first", "last"]


@dataclass(frozen=True)
class Template:
    """single: pieces of one text; pair: pieces of two; in order."""

    single: tuple[Piece, ...]
    pair: tuple[Piece, ...]

    @property
    def begins(self) -> bool:
        """Whether a special token stands first."""
        return isinstance(self.single[0][0], int)

    def places(self, a: int, b: int) -> tuple[range, range]:
        """Which rows of a pair are the first text's, of `a` tokens, and which the second's, of `b`."""
        at, found = 0, {}
        for content, _ in self.pair:
            size = 1 if isinstance(content, int) else {"a": a, "b": b}[content]
            if isinstance(content, str):
                found[content] = range(at, at + size)
            at += size
        return found["a"], found["b"]

    def overhead(self, pair: bool) -> int:
        """How many special tokens are added to one text, or to a pair."""
        return sum(isinstance(content, int) for content, _ in (self.pair if pair else self.single))


def bert_template(cls: int, sep: int) -> Template:
    """[CLS] a [SEP] b [SEP], b in segment 1 (Devlin et al., 2019, §3)."""
    single: tuple[Piece, ...] = ((cls, 0), ("a", 0), (sep, 0))
    return Template(single, (*single, ("b", 1), (sep, 1)))


def roberta_template(cls: int, sep: int) -> Template:
    """<s> a </s> </s> b </s>, one segment (Liu et al., 2019)."""
    single: tuple[Piece, ...] = ((cls, 0), ("a", 0), (sep, 0))
    return Template(single, (*single, (sep, 0), ("b", 0), (sep, 0)))


BARE = Template((("a", 0),), (("a", 0), ("b", 0)))


def read_template(post_processor: Mapping[str, Any] | None) -> Template | None:
    """The `post_processor` of a tokenizer.json -> its template, or None where it has none."""
    if post_processor is None:
        return None
    match post_processor["type"]:
        case "BertProcessing":
            return bert_template(post_processor["cls"][1], post_processor["sep"][1])
        case "RobertaProcessing":
            return roberta_template(post_processor["cls"][1], post_processor["sep"][1])
        case "TemplateProcessing":
            ids = {name: tuple(token["ids"]) for name, token in post_processor["special_tokens"].items()}
            return Template(_pieces(post_processor["single"], ids), _pieces(post_processor["pair"], ids))
        case "Sequence":
            found = [t for p in post_processor["processors"] if (t := read_template(p)) is not None]
            return found[-1] if found else None
        case _:  # ByteLevel: it moves offsets and adds nothing
            return None


def _pieces(described: list[dict[str, Any]], ids: Mapping[str, tuple[int, ...]]) -> tuple[Piece, ...]:
    pieces: list[Piece] = []
    for piece in described:
        if "Sequence" in piece:
            pieces.append((piece["Sequence"]["id"].lower(), piece["Sequence"]["type_id"]))
        else:
            special = piece["SpecialToken"]
            pieces.extend((i, special["type_id"]) for i in ids[special["id"]])
    return tuple(pieces)


def frame(
    tokenizer: Tokenizer,
    a: Encoded,
    b: Encoded | None = None,
    max_length: int | None = None,
    truncation: Truncation = "longest_first",
    keep: End = "first",
    targets: Mapping[str, Any] | None = None,
    source: Source | None = None,
) -> Example:
    """One text or a pair with its special tokens: [CLS] a [SEP], [CLS] a [SEP] b [SEP], or the tokenizer's template.

    max_length: tokens, special ones counted; truncation: which text gives way ("longest_first" as `tokenizers` does
    it: the longer one until they are level, then both); keep: which end of a cut text stays.
    Raises InputError where the text that may give way cannot make room.
    """
    from didact.batch import Example  # here, so that tokenizing needs no torch: it takes seconds to import

    if max_length is not None:
        a, b = shorten(a, b, max_length - tokenizer.template.overhead(b is not None), truncation, keep)
    pieces = tokenizer.template.single if b is None else tokenizer.template.pair
    texts = {"a": a} if b is None else {"a": a, "b": b}
    sizes = [len(texts[content]) if isinstance(content, str) else 1 for content, _ in pieces]
    length = sum(sizes)
    special = np.ones(length, bool)
    tokens = np.empty(length, np.int64)
    words = np.full(length, -1, np.int64)
    offsets = np.zeros((length, 2), np.int64)
    source_bytes = np.zeros(length, np.int64)
    row = counted = 0
    for (content, _), size in zip(pieces, sizes, strict=True):
        here = slice(row, row + size)
        row += size
        if isinstance(content, int):
            tokens[here] = content
            continue
        text = texts[content]
        tokens[here], special[here] = text.tokens, False
        words[here] = whole_words.number(text.word_starts) + counted
        counted = 1 + int(words[here].max(initial=counted - 1))
        if text.offsets is not None:
            offsets[here] = text.offsets
        if text.source_bytes is not None:
            source_bytes[here] = text.source_bytes
    segments = np.repeat(np.array([segment for _, segment in pieces], np.int64), sizes)
    return Example(
        tokens=tokens,
        special=special,
        segments=segments,
        words=words,
        offsets=None if any(t.offsets is None for t in texts.values()) else offsets,
        source_bytes=None if any(t.source_bytes is None for t in texts.values()) else source_bytes,
        targets=targets or {},
        source=source,
    )


def shorten(
    a: Encoded, b: Encoded | None, room: int, truncation: Truncation = "longest_first", keep: End = "first"
) -> tuple[Encoded, Encoded | None]:
    """One text or two cut to `room` tokens together, special ones not counted; as `frame` says. Raises InputError."""
    size_a, size_b = len(a), 0 if b is None else len(b)
    if size_a + size_b <= room:
        return a, b
    if truncation == "longest_first":
        small = min(size_a, size_b)
        large = max(small, room - small) if small <= room else small
        if small + large > room:
            small, large = room // 2, room - room // 2
        size_a, size_b = (large, small) if size_a > size_b else (small, large)
    elif truncation == "only_first":
        size_a = room - size_b
    else:
        size_b = room - size_a
    if min(size_a, size_b, room) < 0:
        raise InputError(f"{len(a)} + {0 if b is None else len(b)} tokens do not fit", expected=f"at most {room}")
    return _end(a, size_a, keep), None if b is None else _end(b, size_b, keep)


def _end(text: Encoded, size: int, keep: End) -> Encoded:
    return text.cut(0, size) if keep == "first" else text.cut(len(text) - size, len(text))
