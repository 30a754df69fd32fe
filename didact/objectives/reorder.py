"""Corruptions that lay a text in another order and change no token: sentences permuted, documents rotated, shuffled.

    text                 One. Two words. Three. [SEP] Four. Five.
    permute_sentences    Three. One. Two words. [SEP] Five. Four.
    rotate               words. Three. One. Two [SEP] . Five. Four
    shuffle              . words Three One . Two . [SEP] . Five Four .

A stretch between two special tokens is a text of its own: nothing passes from one document, or segment, to another.

Shapes: n sequences, N tokens of them all, m rows of them that are not special, P stretches, S sentences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from didact.data.edited import reordered
from didact.data.flat import Flat
from didact.data.ragged import ragged
from didact.objectives.corruption import Corruption, Keys, Pieces, share_of
from didact.objectives.select import shuffled
from didact.randomness import unit, words

Array = NDArray[Any]
_ORDER, _WHETHER, _OFFSET = (np.uint64(k) for k in (0x4E51, 0x4E52, 0x4E53))  # what a draw is for


@dataclass(frozen=True)
class PermuteSentences(Corruption):
    """The sentences of each document in a random order (Lewis et al., 2020, §2.2). Where sentences begin, the store
    knows; fairseq takes the token of a full stop for their end (denoising_dataset.py, `permute_sentences`: id 13 of
    GPT-2's vocabulary). share: of the sentences, rounded up, that change places with one another (all in BART).
    """

    kind: ClassVar[str] = "permute_sentences"
    share: float = 1.0

    def __post_init__(self) -> None:
        share_of(self.share, "share")

    def __call__(self, flat: Flat, pieces: Pieces, keys: Keys) -> Flat:  # noqa: ARG002
        sentence = flat.sentences()
        if sentence is None:
            raise ValueError("permuting sentences needs examples whose `sentences` are known")
        rows, cuts, own = _stretches(flat, keys)
        begins = np.diff(sentence[rows], prepend=-1) != 0
        begins[cuts[:-1]] = True
        first = begins.nonzero()[0]
        lengths = np.diff(np.append(first, len(rows)))
        order = _shuffled(first.searchsorted(cuts), own, self.share)
        return _laid(flat, rows, ragged(first[order], lengths[order]))


@dataclass(frozen=True)
class Rotate(Corruption):
    """Each document begins with a token of it that is drawn, what was before it comes to its end (Lewis et al., 2020,
    §2.2: each token is as likely, the first one too, which fairseq leaves out). share: of the documents.
    """

    kind: ClassVar[str] = "rotate"
    share: float = 1.0

    def __post_init__(self) -> None:
        share_of(self.share, "share")

    def __call__(self, flat: Flat, pieces: Pieces, keys: Keys) -> Flat:  # noqa: ARG002
        rows, cuts, own = _stretches(flat, keys)
        lengths = np.diff(cuts)
        offset = (unit(words(own ^ _OFFSET, 0)) * lengths).astype(np.int64)
        offset[unit(words(own ^ _WHETHER, 0)) >= self.share] = 0
        start, size = cuts[:-1].repeat(lengths), lengths.repeat(lengths)
        return _laid(flat, rows, start + (np.arange(len(rows)) - start + offset.repeat(lengths)) % size)


@dataclass(frozen=True)
class Shuffle(Corruption):
    """The tokens of each document in a random order (T5's "deshuffling": Raffel et al., 2020, table 3, after Liu et
    al., 2019, "SummAE"). share: of the tokens, rounded up, that change places with one another.
    """

    kind: ClassVar[str] = "shuffle"
    share: float = 1.0

    def __post_init__(self) -> None:
        share_of(self.share, "share")

    def __call__(self, flat: Flat, pieces: Pieces, keys: Keys) -> Flat:  # noqa: ARG002
        rows, cuts, own = _stretches(flat, keys)
        return _laid(flat, rows, _shuffled(cuts, own, self.share))


def _stretches(flat: Flat, keys: Keys) -> tuple[Array, Array, Keys]:
    """rows (m,) that are not special, cuts (P + 1,): which of them are of each stretch, and a key for each (P,)."""
    fixed = flat.column("special")
    if fixed is None:
        fixed = np.zeros(len(flat.tokens), bool)
    elif flat.moved is not None:
        fixed = fixed & ~flat.moved.put
    rows = (~fixed).nonzero()[0]
    owner = np.arange(len(flat)).repeat(flat.lengths)[rows]
    begins = np.ones(len(rows), bool)
    begins[1:] = (rows[1:] != rows[:-1] + 1) | (owner[1:] != owner[:-1])
    first = begins.nonzero()[0]
    own = owner[first]
    number = np.arange(len(first)) - own.searchsorted(own)
    return rows, np.append(first, len(rows)), words(keys[own], number)


def _shuffled(cuts: Array, keys: Keys, share: float) -> Array:
    """A permutation of items (m,), cut at `cuts` (P + 1,): of each stretch a share of the items, rounded up, change
    places with one another, whichever it hits.
    """
    counts = np.diff(cuts)
    within = np.arange(len(keys)).repeat(counts)
    order = shuffled(cuts, words(keys[within] ^ _ORDER, np.arange(len(within)) - cuts[within]))
    if share < 1.0:
        some = np.ceil(share * counts).astype(np.int64)
        drawn = order[ragged(cuts[:-1], some)]
        order = np.arange(len(order))
        order[np.sort(drawn)] = drawn
    return order


def _laid(flat: Flat, rows: Array, order: Array) -> Flat:
    whole = np.arange(len(flat.tokens))
    whole[rows] = rows[order]
    return reordered(flat, whole)
