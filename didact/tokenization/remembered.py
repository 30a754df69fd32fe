"""Tokens of words that were seen before: the words of a text are few and come again and again (Zipf), so a tokenizer
needs to be asked for each of them once.

Right only where a word's tokens do not depend on what stands beside it. Two kinds of pipeline are so:

- BERT's: white space, ASCII punctuation and (where its normalizer says so) Chinese characters part words before
  anything else is looked at;
- byte-level (GPT-2's) and our own unigram and character ones: nothing reaches across the border between a letter,
  digit or sign and the white space after it. White space is part of the word after it.

Other pipelines are refused. In scripts without spaces words are long and do not come again; that is noticed.

Shapes: c characters of all texts, w words in them, T tokens.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import chain
from threading import Lock
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import models

from didact.tokenization.encoded import Laid
from didact.tokenization.pipelines import pipeline

Integers = NDArray[np.int64]
Bits = NDArray[np.bool_]
Parts = Callable[[Laid], tuple[Bits, Bits]]
"""texts -> (c,) where a word starts, (c,) what belongs to no word"""

MOST_WORDS = 1 << 18
"""words that are remembered (about 40 MB); further ones are asked for every time"""
LONGEST = 32
"""characters of a word that is remembered"""
TRIED = 1 << 17
"""characters after which it is known whether words come again"""
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_HAN = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF))
_WHITE = [0x09, 0x0A, 0x0D, 0x20]


def remembered(backend: tokenizers.Tokenizer, described: Mapping[str, Any]) -> Words | None:
    """The words of a tokenizer, none remembered yet; None where its tokens are not those of its words end to end.

    backend: without a post-processor; described: its JSON.
    """
    if not all(token["special"] for token in described["added_tokens"]):
        return None
    normalizer, splitter = described["normalizer"] or {}, described["pre_tokenizer"] or {}
    if (normalizer.get("type"), splitter.get("type")) == ("BertNormalizer", "BertPreTokenizer"):
        return Words(backend, _around_punctuation(normalizer["handle_chinese_chars"]))
    if splitter == _BYTE_LEVEL and not normalizer:
        return Words(backend, _before_spaces())
    if any(
        (normalizer, splitter) == _pipeline(k, cased) for k in ("bpe", "unigram", "char") for cased in (True, False)
    ):
        return Words(backend, _before_spaces())
    return None


def _pipeline(kind: str, cased: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    described = json.loads(pipeline(kind, models.BPE(), cased, 0).to_str())
    return described["normalizer"] or {}, described["pre_tokenizer"]


def _around_punctuation(chinese: bool) -> Parts:
    """What is not sure to part words joins them."""
    alone, white = np.zeros(0x10000, bool), np.zeros(0x10000, bool)
    white[_WHITE] = True
    alone[[c for c in range(0x21, 0x7F) if not chr(c).isalnum()]] = True
    for first, last in _HAN if chinese else ():
        alone[first : last + 1] = True

    def parts(laid: Laid) -> tuple[Bits, Bits]:
        points = np.minimum(laid.points, 0xFFFF)
        lone, parting = alone[points], white[points]
        joining = ~(lone | parting)
        joined = np.concatenate([[False], joining[:-1]])
        return lone | (joining & ~joined), parting

    return parts


@cache
def _solid() -> Bits:
    """Code points that no normalizer takes away or makes white space of: letters, digits, marks and signs."""
    solid = np.zeros(0x10000, bool)
    for code in range(0xFFFF):
        if unicodedata.category(chr(code))[0] in "LNPS":
            solid[code] = not any(c.isspace() for c in unicodedata.normalize("NFKD", chr(code)))
    return solid


def _before_spaces() -> Parts:
    """White space after a solid character starts a word."""
    solid, white = _solid(), np.zeros(0x10000, bool)
    white[_WHITE] = True

    def parts(laid: Laid) -> tuple[Bits, Bits]:
        points = np.minimum(laid.points, 0xFFFF)
        starts = white[points] & np.concatenate([[False], solid[points[:-1]]])
        between = np.zeros(len(points), bool)
        between[np.append(laid.bases - 1, len(points) - 1)] = True
        starts[laid.bases] = True  # of an empty text: the line break after it, which is taken back
        return starts & ~between, between

    return parts


class Words:
    """Words by their letters, and the tokens of each. Several threads may ask at once.

    useful: whether most of what was asked consists of words short enough to be remembered.
    """

    def __init__(self, backend: tokenizers.Tokenizer, parts: Parts) -> None:
        self._backend, self._parts = backend, parts
        self._lock = Lock()
        self._numbers: dict[str, int] = {}
        self._first = np.zeros(1, np.int64)  # word i has tokens first[i] to first[i + 1]
        self._tokens = np.zeros(0, np.int32)
        self._offsets = np.zeros((0, 2), np.int32)
        self._asked = self._long = 0
        self.useful = True

    def __call__(self, laid: Laid) -> tuple[Integers, Integers, Integers]:
        """Texts -> tokens (T,), their characters (T, 2) in `laid.text`, and how many tokens each text has."""
        opens, outside = self._parts(laid)
        starts = np.flatnonzero(opens)
        breaks = np.append(np.flatnonzero(opens | outside), len(opens))
        ends = breaks[np.searchsorted(breaks, starts) + 1]
        text = laid.text
        words = [text[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
        with self._lock:
            sizes = ends - starts
            self._asked += int(sizes.sum())
            self._long += int(sizes[sizes > LONGEST].sum())
            self.useful = self._asked < TRIED or self._long < 0.3 * self._asked
            numbers, first, tokens, offsets = self._look_up(words)
        counts = first[numbers + 1] - first[numbers]
        total = np.cumsum(counts)
        rows = np.arange(total[-1] if len(total) else 0) + np.repeat(first[numbers] - total + counts, counts)
        owner = np.searchsorted(laid.bases, starts, side="right") - 1
        lengths = np.bincount(owner, weights=counts, minlength=len(laid.bases)).astype(np.int64)
        return tokens[rows].astype(np.int64), offsets[rows] + np.repeat(starts, counts)[:, None], lengths

    def _look_up(self, words: Sequence[str]) -> tuple[Integers, Integers, NDArray[np.int32], NDArray[np.int32]]:
        """The number of each word (w,), and first, tokens and offsets by number."""
        known = self._numbers
        missing = [word for word in dict.fromkeys(words) if word not in known]
        if not missing:
            return self._numbered(words), self._first, self._tokens, self._offsets
        room = MOST_WORDS - len(known)
        short = [word for word in missing if len(word) <= LONGEST][:room]
        kept = set(short)
        passing = [word for word in missing if word not in kept]
        encodings = self._backend.encode_batch(short + passing, add_special_tokens=False)
        lengths = np.fromiter(map(len, encodings), np.int64, len(encodings))
        new_tokens, new_offsets = flatten(encodings, int(lengths.sum()))
        first = np.concatenate([self._first, self._first[-1] + np.cumsum(lengths)])
        tokens = np.concatenate([self._tokens, new_tokens.astype(np.int32)])
        offsets = np.concatenate([self._offsets, new_offsets.astype(np.int32)])
        known.update(zip(short + passing, range(len(known), len(known) + len(missing)), strict=True))
        numbers = self._numbered(words)
        for word in passing:
            del known[word]
        self._first = first[: len(known) + 1]
        self._tokens, self._offsets = tokens[: self._first[-1]], offsets[: self._first[-1]]
        return numbers, first, tokens, offsets

    def _numbered(self, words: Sequence[str]) -> Integers:
        return np.fromiter(map(self._numbers.__getitem__, words), np.int64, len(words))


def flatten(encodings: Sequence[tokenizers.Encoding], total: int) -> tuple[Integers, Integers]:
    """Encodings of `total` tokens in all -> tokens (T,), offsets (T, 2)."""
    tokens = np.fromiter(chain.from_iterable(e.ids for e in encodings), np.int64, total)
    flat = chain.from_iterable(chain.from_iterable(e.offsets for e in encodings))
    return tokens, np.fromiter(flat, np.int64, 2 * total).reshape(total, 2)
