"""Which tokens are chosen: single tokens (Devlin et al., 2019), whole words (google-research/bert, 2019), or spans of
geometric length (SpanBERT: Joshi et al., 2020, §3.1).

The budget is exact: of the c tokens of a sequence that may be chosen, floor(rate · c + u) are, u uniform in [0, 1),
so that the mean is rate · c at any length; at least one where c > 0, never more than c. Whole words are taken in
random order, and one that would overrun the budget is passed over for the next that does not (the reference code's
rule); only where no word fits at all is the shortest one taken, and the budget overrun. Special tokens are never
chosen. All three are one algorithm: units (tokens or words) in a random order, taken while they fit.

Shapes: n sequences, c tokens of them all that may be chosen, U words, R chosen tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from didact.data.flat import Flat, ragged
from didact.randomness import unit, words

Array = NDArray[Any]
Keys = NDArray[np.uint64]
_BITS = 20  # that number a row, or a sequence, in a sort key: up to a million of each
_ORDER, _BUDGET, _LENGTH = (np.uint64(n) for n in (0x6F72646572, 0x627564676574, 0x6C656E677468))  # what a draw is for


@dataclass(frozen=True)
class Chosen:
    """rows (R,): of the flat, increasing; sequences (R,): whose they are; parts (R,): tokens of equal number within a
    sequence were chosen as one (a word, a span).
    """

    rows: Array
    sequences: Array
    parts: Array


@dataclass(frozen=True)
class Select(ABC):
    """A way of choosing. together: whether what was chosen as one also meets one fate (see `corrupt`)."""

    kind: ClassVar[str]
    together: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, flat: Flat, rate: float, keys: Keys) -> Chosen:
        """Choose about `rate` of every sequence's tokens; sequence i's choice depends on it and keys[i] alone."""


@dataclass(frozen=True)
class Tokens(Select):
    """Every token by itself (BERT, RoBERTa)."""

    kind: ClassVar[str] = "tokens"

    def __call__(self, flat: Flat, rate: float, keys: Keys) -> Chosen:
        rows, owner, cuts = _choosable(flat)
        local = rows - flat.cuts[owner]
        order = _shuffled(owner, cuts, words(keys[owner] ^ _ORDER, local))
        first = np.sort(order[ragged(cuts[:-1], _budget(np.diff(cuts), rate, keys))])
        return Chosen(rows[first], owner[first], local[first])


@dataclass(frozen=True)
class WholeWords(Select):
    """All pieces of a word or none: the words that `Example.words` numbers."""

    kind: ClassVar[str] = "whole_words"

    def __call__(self, flat: Flat, rate: float, keys: Keys) -> Chosen:
        units = _Words.of(flat)
        order = _shuffled(units.owner, units.cuts, words(keys[units.owner] ^ _ORDER, units.local))
        taken = units.take(order, _budget(units.tokens, rate, keys))
        return units.chosen(taken, units.local)


@dataclass(frozen=True)
class Spans(Select):
    """Runs of whole words, k of them with probability proportional to (1 - p)^(k - 1), k <= longest.

    p = 0.2 and longest 10 give a mean of 3.8 words. The words of a sequence are tiled with such runs end to end and
    the tiles taken in random order, the last one cut where the budget ends; special tokens break a run. (The
    reference code throws anchors and drops those that hit what is masked, which favours short spans.)
    """

    kind: ClassVar[str] = "spans"
    together: ClassVar[bool] = True
    p: float = 0.2
    longest: int = 10

    def __call__(self, flat: Flat, rate: float, keys: Keys) -> Chosen:
        units = _Words.of(flat)
        tile = self._tile(units, keys)
        order = _shuffled(units.owner, units.cuts, words(keys[units.owner] ^ _ORDER, tile))
        taken = units.take(order, _budget(units.tokens, rate, keys))
        return units.chosen(taken, tile)

    def _tile(self, units: _Words, keys: Keys) -> Array:
        """(U,): the number of the tile that each word belongs to, within its sequence."""
        below = 1.0 - (1.0 - self.p) ** self.longest  # the distribution is cut at `longest`: invert what lies below
        draw = unit(words(keys[units.owner] ^ _LENGTH, units.local))
        lengths = 1 + np.floor(np.log1p(-draw * below) / np.log1p(-self.p)).astype(np.int64)
        first = units.cuts[units.owner]
        ends = np.cumsum(lengths)
        ends -= np.append(0, ends)[first]  # the word, counted within the sequence, at which the next tile starts
        inside = ends < (units.cuts[1:] - units.cuts[:-1])[units.owner]
        starts = units.breaks.astype(np.int64)
        starts[(first + ends)[inside]] = 1
        tile = np.cumsum(starts)
        return tile - tile[first]


@dataclass(frozen=True)
class _Words:
    """The words of all sequences: owner (U,) the sequence, cuts (n + 1,) the words of each, local (U,) the number
    within it; rows (c,) that may be chosen, row_cuts (U + 1,) those of each word; tokens (n,) of each sequence that
    may be chosen; breaks (U,): whether the sequence, or a token that may not be chosen, ends before this word.
    """

    owner: Array
    cuts: Array
    local: Array
    rows: Array
    row_cuts: Array
    tokens: Array
    breaks: Array

    @staticmethod
    def of(flat: Flat) -> _Words:
        rows, row_owner, token_cuts = _choosable(flat)
        numbers = flat.column("words")
        if numbers is None:
            raise ValueError("whole words and spans need examples whose `words` are numbered")
        word = numbers[rows]
        other = np.ones(len(rows), bool)
        other[1:] = row_owner[1:] != row_owner[:-1]
        gap = other.copy()
        gap[1:] |= rows[1:] != rows[:-1] + 1
        starts = np.flatnonzero(gap | np.append(True, word[1:] != word[:-1])[: len(rows)])
        owner = row_owner[starts]
        cuts = np.searchsorted(owner, np.arange(len(flat) + 1))
        return _Words(
            owner=owner,
            cuts=cuts,
            local=np.arange(len(starts)) - cuts[owner],
            rows=rows,
            row_cuts=np.append(starts, len(rows)),
            tokens=np.diff(token_cuts),
            breaks=gap[starts],
        )

    def take(self, order: Array, budget: Array) -> Array:
        """Words in `order` (U,), sequence by sequence, each taken where it still fits what is left of the sequence's
        budget (n,) in tokens -> the words taken, in increasing order.
        """
        sizes, owner = np.diff(self.row_cuts)[order], self.owner[order]
        taken = np.zeros(len(order), bool)
        left = budget.copy()
        waiting = np.flatnonzero(sizes <= left[owner])
        while len(waiting):  # take up to the first that overruns, drop what cannot fit any more, again
            of, size = owner[waiting], sizes[waiting]
            upto = np.cumsum(size)
            upto -= (upto - size)[np.searchsorted(of, of)]
            fits = upto <= left[of]
            taken[waiting[fits]] = True
            left -= np.bincount(of[fits], weights=size[fits], minlength=len(left)).astype(np.int64)
            rest = waiting[~fits]
            waiting = rest[sizes[rest] <= left[owner[rest]]]
        for i in np.flatnonzero((budget > 0) & (left == budget)):  # no word fits: rare, so not worth columns
            own = slice(self.cuts[i], self.cuts[i + 1])
            taken[self.cuts[i] + sizes[own].argmin()] = True
        return np.sort(order[taken])

    def chosen(self, taken: Array, parts: Array) -> Chosen:
        """The tokens of the words `taken`; parts (U,): what was chosen as one."""
        lengths = self.row_cuts[taken + 1] - self.row_cuts[taken]
        rows = self.rows[ragged(self.row_cuts[taken], lengths)]
        return Chosen(rows, np.repeat(self.owner[taken], lengths), np.repeat(parts[taken], lengths))


def _choosable(flat: Flat) -> tuple[Array, Array, Array]:
    """rows (c,) that may be chosen, the sequence of each, and cuts (n + 1,): which of them are whose."""
    special = flat.column("special")
    owner = np.repeat(np.arange(len(flat)), flat.lengths)
    rows = np.arange(len(owner)) if special is None else np.flatnonzero(~special)
    owner = owner[rows]
    return rows, owner, np.searchsorted(owner, np.arange(len(flat) + 1))


def _budget(counts: Array, rate: float, keys: Keys) -> Array:
    """(n,): how many of `counts` (n,) tokens to choose; the rule is in the first lines of this file."""
    chance = unit(words(keys ^ _BUDGET, np.zeros(len(keys), np.int64)))
    wanted = np.floor(rate * counts + chance).astype(np.int64)
    return np.minimum(np.maximum(wanted, 1), counts)


def _shuffled(owner: Array, cuts: Array, draws: Keys) -> Array:
    """A permutation of items (m,), sequence by sequence, within each in the order of `draws` (24 bits), then of place.

    owner (m,): the sequence of each, non-decreasing; cuts (n + 1,): which are whose. One sort of packed words: several
    times faster than an argsort, and the same on every machine.
    """
    local = np.arange(len(owner)) - cuts[owner]
    if len(owner) and (int(owner[-1]) >> _BITS or int(local.max()) >> _BITS):
        raise ValueError(f"more than {1 << _BITS} sequences, or tokens in one, prepared at once")
    low, high = np.uint64(_BITS), np.uint64(64 - _BITS)
    packed = (owner.astype(np.uint64) << high) | (draws >> np.uint64(2 * _BITS) << low) | local.astype(np.uint64)
    packed.sort()
    return cuts[(packed >> high).astype(np.int64)] + (packed & np.uint64((1 << _BITS) - 1)).astype(np.int64)


SELECTS: tuple[type[Select], ...] = (Tokens, WholeWords, Spans)
