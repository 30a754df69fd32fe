"""Which tokens are chosen: single tokens (Devlin et al., 2019), whole words (google-research/bert, 2019), spans of
geometric length (SpanBERT: Joshi et al., 2020, §3.1), or of one to three words (ALBERT: Lan et al., 2020, §4.1).

The budget is exact: of the c tokens of a sequence that may be chosen, floor(rate · c + u) are, u uniform in [0, 1),
so that the mean is rate · c at any length; at least one where c > 0, never more than c. Whole words are taken in
random order, and one that would overrun the budget is passed over for the next that does not (the reference code's
rule); only where no word fits at all is the shortest one taken, and the budget overrun. Special tokens are never
chosen. All are one algorithm: units (tokens or words) in a random order, taken while they fit.

Shapes: n sequences, c tokens of them all that may be chosen, U words, R chosen tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from didact.bounds import check_counts
from didact.data.flat import Flat
from didact.data.ragged import ragged
from didact.randomness import runs, unit, words
from didact.tokenization.tokenizer import Tokenizer

Array = NDArray[Any]
Keys = NDArray[np.uint64]
_BITS = 20  # that number a row, or a sequence, in a sort key: up to a million of each
# What a draw is for, mixed into its key.
_ORDER, _BUDGET, _LENGTH, _BEGUN, _SIDE = (np.uint64(k) for k in (0xA5A1, 0xB5B2, 0xC5C3, 0xD5D4, 0xE5E5))
_ALONE = np.uint64(0xF5F6)


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
    """A way of choosing. together: whether what was chosen as one also meets one fate (see `corrupt`); even: whether
    the budget is as the first lines of this file say and every token has the same chance.
    """

    kind: ClassVar[str]
    together: ClassVar[bool] = False
    even: ClassVar[bool] = True

    def check(self, tokenizer: Tokenizer) -> None:  # noqa: B027
        """Raises InputError where it does not go with the tokenizer whose tokens it is to choose of."""

    @abstractmethod
    def __call__(self, flat: Flat, rate: float, keys: Keys) -> Chosen:
        """Choose about `rate` of every sequence's tokens; sequence i's choice depends on it and keys[i] alone."""

    def most_runs(self, count: int, rate: float) -> int:
        """Into how many runs, at most, what is chosen of `count` tokens falls."""
        return min(int(rate * count) + 1, (count + 1) // 2)


@dataclass(frozen=True)
class Tokens(Select):
    """Every token by itself (BERT, RoBERTa)."""

    kind: ClassVar[str] = "tokens"

    def __call__(self, flat: Flat, rate: float, keys: Keys) -> Chosen:
        lengths, starts, special = flat.lengths, flat.cuts[:-1], flat.column("special")
        counts = lengths
        if special is not None:
            before = special.nonzero()[0].searchsorted(flat.cuts)
            counts = lengths - (before[1:] - before[:-1])
        budget = budget_of(counts, rate, keys)
        rows = smallest(runs(keys ^ _ORDER, lengths), flat.cuts, budget, counts, special)
        sequences = np.arange(len(flat)).repeat(budget)
        return Chosen(rows, sequences, rows - starts[sequences])


@dataclass(frozen=True)
class WholeWords(Select):
    """All pieces of a word or none: the words that `Example.words` numbers."""

    kind: ClassVar[str] = "whole_words"

    def __call__(self, flat: Flat, rate: float, keys: Keys) -> Chosen:
        units = Words.of(flat)
        order = shuffled(units.cuts, words(keys[units.owner] ^ _ORDER, units.local))
        taken = units.take(order, budget_of(units.tokens, rate, keys))
        return units.chosen(taken, units.local)


@dataclass(frozen=True)
class Tiled(Select):
    """Runs of whole words, their lengths drawn with probability proportional to `shares`.

    The words of a sequence are tiled with such runs end to end and the tiles taken in random order, the last one cut,
    at either end, where the budget ends; special tokens break a run. The tiling goes on past both ends of the
    sequence, so that no word is more often at the edge of a run than another.
    """

    @property
    @abstractmethod
    def shares(self) -> Array:
        """(longest,): of runs of 1, 2, 3 … words, up to a factor."""

    def __call__(self, flat: Flat, rate: float, keys: Keys) -> Chosen:
        units = Words.of(flat)
        starts = self._tile(units, keys)
        tile = np.cumsum(starts) - 1
        number = tile - tile[units.cuts[units.owner]]  # within the sequence
        order = shuffled(units.cuts, words(keys[units.owner] ^ _ORDER, number))
        borders = np.append(np.flatnonzero(starts), len(starts))
        word = np.arange(len(starts))
        backwards = words(keys[units.owner] ^ _SIDE, number) & np.uint64(1) > 0
        mirrored = np.where(backwards, borders[tile] + borders[tile + 1] - 1 - word, word)
        return units.chosen(units.take(mirrored[order], budget_of(units.tokens, rate, keys)), number)

    def _tile(self, units: Words, keys: Keys) -> Array:
        """(U,) bool: the words at which tiles start."""
        share = self.shares
        draw = unit(words(keys[units.owner] ^ _LENGTH, units.local))
        lengths = _drawn(share, draw)
        opening = units.local == 0  # the tile in which a sequence begins: longer ones are hit more often, anywhere
        where = unit(words(keys ^ _BEGUN, 0))[units.owner[opening]]
        hit = _drawn(share * np.arange(1, len(share) + 1), draw[opening])
        lengths[opening] = hit - np.floor(hit * where).astype(np.int64)
        begin = units.cuts[units.owner]
        ends = np.cumsum(lengths)
        ends -= np.append(0, ends)[begin]  # the word, counted within the sequence, at which the next tile starts
        inside = ends < (units.cuts[1:] - units.cuts[:-1])[units.owner]
        starts = units.breaks.copy()
        starts[(begin + ends)[inside]] = True
        return starts


@dataclass(frozen=True)
class Spans(Tiled):
    """Runs of whole words, k of them with probability proportional to (1 - p)^(k - 1), k <= longest.

    p = 0.2 and longest 10 give a mean of 3.8 words; all of a run meets one fate. (The reference code throws anchors and
    drops those that hit what is masked, which favours short spans.)
    p: the chance that a run ends after a word; longest: words of a run.
    """

    kind: ClassVar[str] = "spans"
    together: ClassVar[bool] = True
    p: float = 0.2
    longest: int = 10

    def __post_init__(self) -> None:
        check_counts(longest=self.longest)
        if not 0.0 <= self.p < 1.0:
            raise ValueError(f"p {self.p}: a chance, from 0 to below 1")

    @property
    def shares(self) -> Array:
        return (1.0 - self.p) ** np.arange(self.longest)


@dataclass(frozen=True)
class NGrams(Tiled):
    """Runs of whole words, n of them with probability proportional to 1 / n, n <= longest (ALBERT).

    longest 3 gives a mean of 1.6 words; each token meets its own fate, as in the reference code
    (google-research/albert, create_pretraining_data.py). longest: words of a run.
    """

    kind: ClassVar[str] = "ngrams"
    longest: int = 3

    def __post_init__(self) -> None:
        check_counts(longest=self.longest)

    @property
    def shares(self) -> Array:
        return 1.0 / np.arange(1, self.longest + 1)


@dataclass(frozen=True)
class InContext(Select):
    """Runs of n whole words, n of them with probability proportional to 1 / n, n <= longest, each somewhere in n / rate
    words of its own, of which the others are context (zihangdai/xlnet, data_utils.py, `_sample_mask`).

    So runs lie evenly over a sequence, and seldom side by side. Such stretches tile its words, from somewhere before
    its first one on; special tokens break none. What overruns the budget of the runs, taken in random order, is cut
    off at either end; what they leave of it goes to single words anywhere, as in the reference code. longest: words
    of a run.
    """

    kind: ClassVar[str] = "in_context"
    longest: int = 5

    def __post_init__(self) -> None:
        check_counts(longest=self.longest)

    def __call__(self, flat: Flat, rate: float, keys: Keys) -> Chosen:
        units = Words.of(flat)
        own, begin = keys[units.owner], units.cuts[units.owner]
        n, stretch, entered = self._drawn(units, rate, keys)
        ends = np.cumsum(stretch - entered)
        ends -= np.append(0, ends)[begin]  # the word, counted within the sequence, at which the next stretch begins
        starts = units.local == 0
        starts[(begin + ends)[ends < (units.cuts[1:] - units.cuts[:-1])[units.owner]]] = True
        number = np.cumsum(starts) - 1
        first = np.flatnonzero(starts)[number]
        number -= number[begin]  # of each word: the stretch that it is in, within the sequence
        which, word = begin + number, np.arange(len(starts))
        side = words(own ^ _SIDE, number)
        left = first - entered[which] + (unit(side) * (stretch[which] - n[which] + 1)).astype(np.int64)
        right = np.minimum(left + n[which], units.cuts[units.owner + 1])
        left = np.maximum(left, first)
        run = (word >= left) & (word < right)
        draws = np.where(run, words(own ^ _ORDER, number), words(own ^ _ALONE, units.local)) >> np.uint64(1)
        draws |= (~run).astype(np.uint64) << np.uint64(63)  # runs first
        mirrored = np.where(run & (side & np.uint64(1) > 0), left + right - 1 - word, word)
        taken = units.take(mirrored[shuffled(units.cuts, draws)], budget_of(units.tokens, rate, keys))
        return units.chosen(taken, np.where(run, number, -1 - units.local))

    def _drawn(self, units: Words, rate: float, keys: Keys) -> tuple[Array, Array, Array]:
        """(U,) each, the j-th of a sequence's being of its j-th stretch: words of the run, words of the stretch, and
        how many of these are before the sequence (of the first one only, which is longer than others are).
        """
        k = np.arange(1, self.longest + 1)
        lengths = np.maximum(k, np.rint(k / rate).astype(np.int64))
        draw = unit(words(keys[units.owner] ^ _LENGTH, units.local))
        n = _drawn(1.0 / k, draw)
        opening = units.local == 0
        n[opening] = _drawn(lengths / k, draw[opening])
        stretch = lengths[n - 1]
        entered = np.zeros_like(n)
        where = unit(words(keys ^ _BEGUN, 0))[units.owner[opening]]
        entered[opening] = (stretch[opening] * where).astype(np.int64)
        return n, stretch, entered


def _drawn(share: Array, draw: Array) -> Array:
    """Numbers from 1 on, k with probability proportional to share[k - 1], by inverting the distribution at `draw`."""
    until = np.cumsum(share)
    return 1 + np.searchsorted(until[:-1] / until[-1], draw, side="right")


@dataclass(frozen=True)
class Words:
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
    def of(flat: Flat) -> Words:
        rows, row_owner, token_cuts = choosable(flat)
        numbers = flat.column("words")
        if numbers is None and len(flat):
            raise ValueError("whole words and spans need examples whose `words` are numbered")
        word = rows if numbers is None else numbers[rows]
        other = np.ones(len(rows), bool)
        other[1:] = row_owner[1:] != row_owner[:-1]
        gap = other.copy()
        gap[1:] |= rows[1:] != rows[:-1] + 1
        starts = np.flatnonzero(gap | np.append(True, word[1:] != word[:-1])[: len(rows)])
        owner = row_owner[starts]
        cuts = np.searchsorted(owner, np.arange(len(flat) + 1))
        return Words(
            owner=owner,
            cuts=cuts,
            local=np.arange(len(starts)) - cuts[owner],
            rows=rows,
            row_cuts=np.append(starts, len(rows)),
            tokens=np.diff(token_cuts),
            breaks=gap[starts],
        )

    def merged(self, begins: Array) -> Words:
        """Units of several words: begins (U,) bool, the words at which they start."""
        at = np.flatnonzero(begins)
        owner = self.owner[at]
        cuts = np.searchsorted(owner, np.arange(len(self.tokens) + 1))
        return replace(
            self,
            owner=owner,
            cuts=cuts,
            local=np.arange(len(at)) - cuts[owner],
            row_cuts=np.append(self.row_cuts[at], self.row_cuts[-1]),
            breaks=self.breaks[at],
        )

    def take(self, order: Array, budget: Array) -> Array:
        """Words in `order` (U,), sequence by sequence, as the first lines of this file say, within the budget (n,) in
        tokens -> the words taken, in increasing order.
        """
        taken = self.fitting(order, budget)
        return np.sort(np.append(taken, self.shortest(self.untouched(taken, budget), order)))

    def fitting(self, order: Array, budget: Array) -> Array:
        """Words in `order` (U,), each taken where it still fits what is left of its sequence's budget (n,)."""
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
        return np.sort(order[taken])

    def untouched(self, taken: Array, budget: Array) -> Array:
        """The sequences of which something is to be taken, and nothing fits."""
        return np.flatnonzero((budget > 0) & (np.bincount(self.owner[taken], minlength=len(budget)) == 0))

    def shortest(self, sequences: Array, order: Array) -> Array:
        """The shortest word of each of these sequences, the first such in `order` (rare, so not worth columns)."""
        sizes = np.diff(self.row_cuts)[order]
        found = [self.cuts[i] + sizes[self.cuts[i] : self.cuts[i + 1]].argmin() for i in sequences.tolist()]
        return order[np.array(found, np.int64)]

    def chosen(self, taken: Array, parts: Array) -> Chosen:
        """The tokens of the words `taken`; parts (U,): what was chosen as one."""
        lengths = self.row_cuts[taken + 1] - self.row_cuts[taken]
        rows = self.rows[ragged(self.row_cuts[taken], lengths)]
        return Chosen(rows, np.repeat(self.owner[taken], lengths), np.repeat(parts[taken], lengths))


def choosable(flat: Flat) -> tuple[Array, Array, Array]:
    """rows (c,) that may be chosen, the sequence of each, and cuts (n + 1,): which of them are whose."""
    special = flat.column("special")
    owner = np.repeat(np.arange(len(flat)), flat.lengths)
    rows = np.arange(len(owner)) if special is None else np.flatnonzero(~special)
    owner = owner[rows]
    return rows, owner, np.searchsorted(owner, np.arange(len(flat) + 1))


def budget_of(counts: Array, rate: float, keys: Keys) -> Array:
    """(n,): how many of `counts` (n,) tokens to choose; the rule is in the first lines of this file."""
    chance = unit(words(keys ^ _BUDGET, 0))
    wanted = (rate * counts + chance).astype(np.int64)
    return np.minimum(np.maximum(wanted, 1), counts)


def smallest(draws: Array, cuts: Array, wanted: Array, counts: Array, without: Array | None = None) -> Array:
    """Of items (m,), those with the wanted[i] smallest draws (uint32) between cuts[i] and cuts[i + 1], increasing: each
    choice of so many is as likely as another. without (m,) bool: items that are not to be had; counts (n,): how many
    are, in each.
    """
    lengths = cuts[1:] - cuts[:-1]
    # To sort only those that are small is nearly always enough.
    share = (wanted + 5.0 * np.sqrt(wanted) + 5.0) / np.maximum(counts, 1)
    limit = (np.minimum(share, 1.0) * (2.0**32 - 1.0)).astype(np.uint32)
    for enough in (draws < limit.repeat(lengths), np.ones(len(draws), bool)):
        items = (enough if without is None else enough > without).nonzero()[0]  # enough and not without
        at = items.searchsorted(cuts)
        if (at[1:] - at[:-1] >= wanted).all():
            break
    items = items[shuffled(at, draws[items].astype(np.uint64) << np.uint64(32))[ragged(at[:-1], wanted)]]
    items.sort()
    return items


def shuffled(cuts: Array, draws: Keys) -> Array:
    """A permutation of items (m,), sequence by sequence, within each in the order of `draws` (24 bits), then of place.

    cuts (n + 1,): which items are whose. One sort of packed words (sequence, draw, place): several times faster than
    an argsort, and the same on every machine.
    """
    lengths = cuts[1:] - cuts[:-1]
    if len(lengths) >> _BITS or int(lengths.max(initial=0)) >> _BITS:
        raise ValueError(f"more than {1 << _BITS} sequences, or tokens in one, prepared at once")
    starts = cuts[:-1].repeat(lengths)
    packed = draws >> np.uint64(64 - 24) << np.uint64(_BITS)
    packed |= (np.arange(len(lengths), dtype=np.uint64) << np.uint64(64 - _BITS)).repeat(lengths)
    packed |= (np.arange(len(draws)) - starts).view(np.uint64)
    packed.sort()
    packed &= np.uint64((1 << _BITS) - 1)
    return packed.view(np.int64) + starts
