"""Tokens of words that were seen before: a text's words are few and come again and again (Zipf), so BERT's tokenizer
needs to be asked for each of them once.

Right only where tokens do not depend on what stands beside a word. BERT's pipeline is so: white space, ASCII
punctuation and (where its normalizer says so) Chinese characters part words before anything else is looked at. Other
pipelines (byte-level, "▁") are not, and `remembered` refuses them.

Shapes: c characters of all texts, w words in them, T tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import chain
from threading import Lock

import numpy as np
import tokenizers
from numpy.typing import NDArray

Integers = NDArray[np.int64]

MOST_WORDS = 1 << 18
"""words that are remembered (about 40 MB); further ones are asked for every time"""
LONGEST = 32
"""characters of a word that is remembered"""
_PARTING, _JOINING, _ALONE = 0, 1, 2
_HAN = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF))


def remembered(backend: tokenizers.Tokenizer) -> Words | None:
    """The words of a tokenizer, none remembered yet; None where its tokens are not those of its words end to end."""
    described = json.loads(backend.to_str())
    normalizer, splitter = described["normalizer"] or {}, described["pre_tokenizer"] or {}
    if normalizer.get("type") != "BertNormalizer" or splitter.get("type") != "BertPreTokenizer":
        return None
    if not all(token["special"] for token in described["added_tokens"]):
        return None
    return Words(backend, _parts(normalizer["handle_chinese_chars"]))


def _parts(chinese: bool) -> Callable[[NDArray[np.uint32]], NDArray[np.uint8]]:
    """code points -> _PARTING (white space), _ALONE (a word by itself) or _JOINING. What is not sure to part joins."""
    table = np.full(0x10000, _JOINING, np.uint8)
    table[[0x09, 0x0A, 0x20]] = _PARTING
    table[[c for c in range(0x21, 0x7F) if not chr(c).isalnum()]] = _ALONE
    for first, last in _HAN if chinese else ():
        table[first : last + 1] = _ALONE
    return lambda points: table[np.minimum(points, 0xFFFF)]


class Words:
    """Words by their letters, and the tokens of each. Several threads may ask at once."""

    def __init__(self, backend: tokenizers.Tokenizer, parts: Callable[[NDArray[np.uint32]], NDArray[np.uint8]]) -> None:
        self._backend, self._parts = backend, parts
        self._lock = Lock()
        self._numbers: dict[str, int] = {}
        self._first = np.zeros(1, np.int64)  # word i has tokens first[i] to first[i + 1]
        self._tokens = np.zeros(0, np.int32)
        self._offsets = np.zeros((0, 2), np.int32)

    def __call__(self, text: str, points: NDArray[np.uint32]) -> tuple[Integers, Integers, Integers, Integers]:
        """A text and its code points (c,) -> where each word starts (w,), how many tokens it has (w,), and of all of
        them tokens (T,) and offsets (T, 2) in characters of the text.
        """
        kinds = self._parts(points)
        before = np.concatenate([np.zeros(1, np.uint8), kinds[:-1]])
        opens = (kinds == _ALONE) | ((kinds == _JOINING) & (before != _JOINING))
        starts = np.flatnonzero(opens)
        breaks = np.append(np.flatnonzero(opens | (kinds == _PARTING)), len(points))
        ends = breaks[np.searchsorted(breaks, starts) + 1]
        words = [text[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
        with self._lock:
            numbers, first, tokens, offsets = self._look_up(words)
        counts = first[numbers + 1] - first[numbers]
        total = np.cumsum(counts)
        rows = np.arange(total[-1] if len(total) else 0) + np.repeat(first[numbers] - total + counts, counts)
        return starts, counts, tokens[rows].astype(np.int64), offsets[rows] + np.repeat(starts, counts)[:, None]

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
