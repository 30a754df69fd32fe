"""Encoded: one text as tokens, where they lie in it, where its words begin, how many bytes each token stands for.

Everything is measured in whole arrays over many texts at once, because a store is built from billions of tokens.

Shapes: L tokens of one text, T of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from didact.tokenization import whole_words

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Encoded:
    """One text as tokens, no special ones among them.

    tokens (L,) int64; offsets (L, 2) int64: characters [start, end) of the *original* text (whatever was lower-cased,
    stripped or composed on the way), without white space at either end, empty for a token of white space alone; None
    where they are not known; word_starts (L,) bool: see
    `didact.tokenization.whole_words`; source_bytes (L,) int64: UTF-8 bytes of the text each token stands for. White
    space (and anything else no token covers) counts for the token after it, at the end of the text for the last one;
    of several tokens on one character the first has its bytes. So the sum is the text's size wherever L > 0.
    """

    tokens: Integers
    offsets: Integers | None
    word_starts: NDArray[np.bool_]
    source_bytes: Integers | None

    def __len__(self) -> int:
        return len(self.tokens)

    def cut(self, start: int, stop: int) -> Encoded:
        """Tokens [start, stop), offsets still counted in the whole text."""
        return Encoded(
            self.tokens[start:stop],
            None if self.offsets is None else self.offsets[start:stop],
            self.word_starts[start:stop],
            None if self.source_bytes is None else self.source_bytes[start:stop],
        )


@dataclass(frozen=True)
class Flat:
    """Many texts encoded, their tokens end to end; text i is rows lengths[:i].sum() on. Offsets count per text."""

    tokens: Integers
    offsets: Integers
    word_starts: NDArray[np.bool_]
    source_bytes: Integers
    lengths: Integers

    def split(self) -> list[Encoded]:
        """One Encoded a text."""
        cuts = [0, *np.cumsum(self.lengths).tolist()]
        return [
            Encoded(self.tokens[a:b], self.offsets[a:b], self.word_starts[a:b], self.source_bytes[a:b])
            for a, b in pairwise(cuts)
        ]


@dataclass(frozen=True)
class Laid:
    """Texts laid end to end, each after a line break. text: with one at the end; points: its code points (c,);
    bases, sizes: where each text begins in it and how many characters it has.
    """

    text: str
    points: NDArray[np.uint32]
    bases: Integers
    sizes: Integers

    @staticmethod
    def of(texts: Sequence[str]) -> Laid:
        text = "".join(chain.from_iterable(("\n", t) for t in texts)) + "\n"
        sizes = np.fromiter(map(len, texts), np.int64, len(texts))
        return Laid(text, whole_words.codes(text), np.cumsum(sizes + 1) - sizes, sizes)

    def measure(
        self, tokens: Integers, given: Integers, lengths: Integers, segmenter: whole_words.Segmenter | None
    ) -> Flat:
        """tokens (T,) of all texts, given (T, 2): their characters in `text` as a tokenizer tells them; lengths: tokens
        of each text -> with word starts and source bytes, offsets in each text.
        """
        kinds = whole_words.classes(self.points)
        rows = whole_words.visible(kinds, given)
        boundaries = whole_words.boundaries(self.text, segmenter, self.points, kinds)
        starts = whole_words.token_starts(boundaries, rows)
        ends = np.maximum.accumulate(given[:, 1]) if len(given) else given[:, 1]
        kept = lengths > 0
        last = np.cumsum(lengths)[kept] - 1  # the last token of each text that has any takes what is left
        first = last + 1 - lengths[kept]
        ends[last] = (self.bases + self.sizes)[kept]
        before = np.concatenate([[0], ends[:-1]])
        before[first] = self.bases[kept]
        starts[first] = True  # whatever the text before ended with
        if self.text.isascii():
            covered = ends - before
        else:
            points = self.points
            utf8 = 1 + (points >= 0x80) + (points >= 0x800) + (points >= 0x10000)
            until = np.concatenate([[0], np.cumsum(utf8)])
            covered = until[ends] - until[before]
        return Flat(tokens, rows - np.repeat(self.bases, lengths)[:, None], starts, covered, lengths)
