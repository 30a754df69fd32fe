"""Where words begin, in every script: what whole-word masking and the store's word-start bits are made of.

Words are a property of the text, never of the tokenizer, so WordPiece, byte-level BPE and Unigram agree on them:

- a word is a run of letters, digits and the marks on them, up to white space;
- every punctuation mark or symbol is a word of its own (as in BERT's pre-tokenizer, so "don't" is three words);
- scripts written without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese …) are cut into characters, each with
  the marks that belong to it, or into the words of a segmenter where one is given; Tibetan is cut at its tsheg;
- a run of more than 100 letters without a space is a sequence (DNA, protein), not a word: each character counts as a
  word (100 is the length past which BERT's WordPiece answers [UNK]);
- white space belongs to the word that follows it.

A token starts a word where a word starts at its first character that is not white space and no earlier token covers
that character (Cui et al., 2021, "Pre-training with whole word masking for Chinese BERT", for the Chinese case).

Shapes: n characters, L tokens.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from didact.errors import InputError

Bits = NDArray[np.bool_]
Integers = NDArray[np.int64]
Segmenter = Callable[[str], Iterable[str]]
"""text without spaces -> its words, which joined give the text again"""

LONGEST_WORD = 100
"""characters; a longer run without a space is a sequence, not a word"""

SPACE, WORD, MARK, SYMBOL, UNSPACED = range(5)

# Scripts written without spaces between words: first and last code point of their letters.
_UNSPACED_RANGES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x1B00, 0x1B7F),  # Balinese
    (0x2E80, 0x2FDF),  # Han radicals
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x3038, 0x303B),
    (0x3041, 0x312F),  # Hiragana, Katakana, Bopomofo
    (0x31A0, 0x31BF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xA000, 0xA4CF),  # Yi
    (0xA980, 0xA9DF),  # Javanese
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAADF),  # Myanmar, Tai Viet
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9D),  # halfwidth Katakana
    (0x11700, 0x1174F),  # Ahom
    (0x12000, 0x1345F),  # cuneiform, hieroglyphs
    (0x17000, 0x18D7F),  # Tangut, Khitan
    (0x1AFF0, 0x1B2FF),  # Kana extensions, Nushu
    (0x20000, 0x3FFFF),  # Han
)
# Letters by category that belong to the character before them: Thai and Lao am, Japanese length and voicing marks.
_MARKS = (0x0E33, 0x0EB3, 0x30FC, 0xFF70, 0xFF9E, 0xFF9F)
# Signs that stack the next consonant under this one: Khmer coeng, Myanmar virama, Tai Tham sakot.
_STACKERS = (0x17D2, 0x1039, 0x1A60)


@cache
def _table() -> NDArray[np.uint8]:
    """Class of every code point, from the Unicode categories of this Python."""
    by_category = {"Z": SPACE, "M": MARK, "P": SYMBOL, "S": SYMBOL}
    table = np.full(0x110000, WORD, np.uint8)
    for code in range(0x40000):
        category = unicodedata.category(chr(code))
        if category in ("Cc", "Cf"):  # invisible: they neither make nor break a word
            table[code] = MARK
        elif category[0] in by_category:
            table[code] = by_category[category[0]]
    for first, last in _UNSPACED_RANGES:
        letters = [c for c in range(first, last + 1) if table[c] == WORD and unicodedata.category(chr(c)) != "Nd"]
        table[letters] = UNSPACED
    table[0x2E80:0x2FE0] = UNSPACED  # Han radicals are symbols by category
    table[list(_MARKS)] = MARK
    table[0x1F3FB:0x1F400] = MARK  # skin tones
    table[0xE0000:0xE1000] = MARK  # tags and variation selectors
    table[[0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x1C, 0x1D, 0x1E, 0x1F, 0x85, 0x200B]] = SPACE
    return table


def codes(text: str) -> NDArray[np.uint32]:
    """(n,) the text's code points."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def classes(code_points: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """code_points (n,) -> (n,) SPACE, WORD, MARK, SYMBOL or UNSPACED; marks after white space count as white space."""
    kinds = _table()[code_points]
    if (marks := kinds == MARK).any():
        based = _base(kinds)
        kinds[marks & (based == SPACE)] = SPACE
    return kinds


def _base(kinds: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Class of the character that each one belongs to: its own, or for marks that of the last character before."""
    last = np.maximum.accumulate(np.where(kinds == MARK, -1, np.arange(len(kinds))))
    return np.where(last < 0, np.uint8(SPACE), kinds[last])


def boundaries(
    text: str,
    segmenter: Segmenter | None = None,
    code_points: NDArray[np.uint32] | None = None,
    kinds: NDArray[np.uint8] | None = None,
) -> Bits:
    """(n,) whether a word starts at each character of the text.

    segmenter: words of the runs in scripts without spaces; without one every character of theirs is a word.
    code_points, kinds: `codes(text)` and `classes(codes(text))` where the caller has them already.
    """
    code_points = codes(text) if code_points is None else code_points
    kinds = classes(code_points) if kinds is None else kinds
    if not len(kinds):
        return np.zeros(0, bool)
    before = np.concatenate([np.zeros(1, np.uint8), _base(kinds)[:-1]])
    bits = (kinds == SYMBOL) | (kinds == UNSPACED) | ((kinds == WORD) & (before != WORD))
    if (unspaced := kinds == UNSPACED).any():
        bits[1:] &= ~(unspaced[1:] & np.isin(code_points[:-1], _STACKERS))
        if segmenter is not None:
            _segment(text, bits, unspaced | ((kinds == MARK) & (_base(kinds) == UNSPACED)), segmenter)
    breaks = np.flatnonzero(bits | (kinds == SPACE))
    lengths = np.diff(breaks, append=len(kinds))
    for i in np.flatnonzero(lengths > LONGEST_WORD):
        start, stop = breaks[i], breaks[i] + lengths[i]
        bits[start:stop] |= kinds[start:stop] == WORD
    return bits


def _segment(text: str, bits: Bits, unspaced: Bits, segmenter: Segmenter) -> None:
    """Within each run of a script without spaces, keep only the starts of the segmenter's words."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], unspaced, [False]]).astype(np.int8)))
    for start, stop in edges.reshape(-1, 2).tolist():
        words = [w for w in segmenter(text[start:stop]) if w]
        if "".join(words) != text[start:stop]:
            raise ValueError(f"the segmenter changed the text {text[start:stop]!r} into {''.join(words)!r}")
        starts = start + np.cumsum([0] + [len(w) for w in words[:-1]])
        bits[start:stop] = False
        bits[starts] = True


def visible(kinds: NDArray[np.uint8], offsets: Integers) -> Integers:
    """offsets (L, 2) -> the same without the white space at both ends; (end, end) for tokens of white space alone."""
    n = len(kinds)
    here = np.arange(n, dtype=np.int32 if n < 2**31 else np.int64)
    space = kinds == SPACE
    after = np.append(np.minimum.accumulate(np.where(space, n, here)[::-1])[::-1], n)  # first from here on
    before = np.append(0, np.maximum.accumulate(np.where(space, -1, here)) + 1)  # just after the last before here
    start, end = offsets[:, 0], offsets[:, 1]
    start = np.minimum(after[start], end)
    return np.stack([start, np.maximum(start, np.minimum(before[end], end))], axis=1)


def token_starts(word_boundaries: Bits, offsets: Integers) -> Bits:
    """offsets (L, 2), `visible`, (L,) whether each token starts a word; word_boundaries (n,) of the text.

    A token of white space alone starts the word that follows it. Several texts may be laid end to end with white
    space between them, as long as the offsets go on counting.
    """
    start, end = offsets[:, 0], offsets[:, 1]
    blank = start == end
    after_blank = np.concatenate([[False], blank])[: len(blank)]
    covered = np.concatenate([[0], np.maximum.accumulate(end)])[: len(blank)]
    opens = np.append(word_boundaries, False)[start] & (start >= covered)
    return (blank | opens) & ~after_blank


def number(word_starts: Bits) -> Integers:
    """(L,) bits -> (L,) the number of the word each token belongs to, from 0; the first token always opens a word."""
    if not len(word_starts):
        return np.zeros(0, np.int64)
    opens = word_starts.astype(np.int64)
    opens[0] = 1
    return np.cumsum(opens) - 1


def words(text: str, segmenter: Segmenter | None = None) -> list[str]:
    """The words of a text in order, without the white space between them."""
    starts = np.flatnonzero(boundaries(text, segmenter)).tolist()
    return [text[a:b].rstrip() for a, b in pairwise([*starts, len(text)])]


def jieba_segmenter() -> Segmenter:
    """Chinese words by jieba (extra `zh`), whose dictionary is loaded on the first call.

    Raises InputError where jieba is not installed.
    """
    import importlib
    import logging
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jieba 0.42.1 predates raw strings for regular expressions
        try:
            jieba = importlib.import_module("jieba")
        except ModuleNotFoundError:
            raise InputError("Chinese words, but no jieba is installed", expected="pip install 'didact[zh]'") from None

    jieba.setLogLevel(logging.WARNING)
    dictionary = jieba.Tokenizer()

    def segment(text: str) -> list[str]:
        return [str(word) for word in dictionary.lcut(text)]

    return segment


SEGMENTERS: tuple[tuple[str, Callable[[], Any]], ...] = (("jieba", jieba_segmenter),)
"""name in a run file -> what makes the segmenter"""
