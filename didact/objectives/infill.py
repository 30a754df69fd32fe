"""Text infilling: spans of any length, none included, become one mask each (Lewis et al., 2020, §2.2, after SpanBERT).

    text     the river runs past the old mill
    infill   the [MASK] past the [MASK] old mill       "river runs" is hidden, and nothing before "old"

The paper: "a number of text spans are sampled, with span lengths drawn from a Poisson distribution (λ = 3). Each span
is replaced with a single [MASK] token. 0-length spans correspond to the insertion of [MASK] tokens"; 30 % of the tokens
of each document are hidden (§5.1). How spans come to lie, it does not say. Here: lengths are drawn until the budget is
spent, the last one cut; put in a random order; and each is put between two of the kept tokens, or at an end, no two of
them between the same ones, all ways being equally likely. So no span touches another, each mask stands for exactly one,
and the budget is exact; the first and last tokens of a text are hidden less often, since fewer spans reach them.

facebookresearch/fairseq (denoising_dataset.py, `add_whole_word_mask`) departs from that: lengths and budget are in
words; every span begins at a random word, whatever the others cover, so that they run into each other and fewer tokens
are hidden than the budget says; spans of no length are put in afterwards, anywhere; one mask in ten is a random token
(`mask_random`); and λ is 3.5 in its examples.

Shapes: n sequences, S spans.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from didact.data.edited import edited
from didact.data.flat import Flat
from didact.data.ragged import cuts_of, ragged
from didact.objectives.corrupt import Corrupt
from didact.objectives.corruption import Corruption, Keys, Pieces, share_of
from didact.objectives.corruptions import in_front_of
from didact.objectives.select import Chosen, Words, budget_of, choosable, shuffled, smallest
from didact.randomness import runs, unit, words

Array = NDArray[Any]
_LENGTH, _SHUFFLE, _PLACE, _FATE = (np.uint64(k) for k in (0x1F51, 0x1F52, 0x1F53, 0x1F54))


@dataclass(frozen=True)
class Infill(Corruption):
    """Spans of Poisson length become one mask each. rate: the share of tokens that is hidden; mean: of the length (λ);
    words: whether lengths and budget are counted in whole words; random: the share of masks that are a random token
    instead. Spans of no length are passed over where they would make a text longer than it was.
    """

    kind: ClassVar[str] = "infill"
    rate: float = 0.3
    mean: float = 3.0
    words: bool = False
    random: float = 0.0

    def __post_init__(self) -> None:
        share_of(self.rate, "rate")
        share_of(self.random, "random")
        if not 0.1 <= self.mean <= 100.0:
            raise ValueError(f"mean {self.mean}: the mean length of a span, from 0.1 to 100")

    @property
    def masks(self) -> bool:
        return self.random < 1.0

    def __call__(self, flat: Flat, pieces: Pieces, keys: Keys) -> Flat:
        rows, row_cuts, cuts = _units(flat, self.words)
        counts = np.diff(cuts)
        budget = budget_of(counts, self.rate, keys)
        lengths, spans = self._lengths(budget, counts - budget + 1, keys)
        owner = np.arange(len(flat)).repeat(spans)
        first = cuts_of(spans)
        number = np.arange(len(owner)) - first[owner]
        lengths = lengths[shuffled(first, words(keys[owner] ^ _SHUFFLE, number))]
        gaps = np.where(counts > 0, counts - budget + 1, 0)
        at = cuts_of(gaps)
        kept = smallest(runs(keys ^ _PLACE, gaps), at, spans, gaps) - at[owner]  # units that stay before each span
        gone = lengths.cumsum() - lengths
        passed = kept + gone - gone[first[owner]]
        keep = np.ones(len(flat.tokens), bool)
        hidden = ragged(cuts[owner] + passed, lengths)
        keep[rows[ragged(row_cuts[hidden], row_cuts[hidden + 1] - row_cuts[hidden])]] = False
        starts = rows[row_cuts[:-1]]  # an end of a unit is where the next one begins, or behind its last row
        before = in_front_of(starts, cuts, owner, passed)
        end = passed == counts[owner]
        before[end] = rows[row_cuts[cuts[owner[end] + 1]] - 1] + 1
        return edited(flat, keep, before, owner, self._written(pieces, first, owner, keys))

    def _lengths(self, budget: Array, gaps: Array, keys: Keys) -> tuple[Array, Array]:
        """The lengths of all spans, end to end, and how many are whose (n,). They add up to `budget` (n,); there are at
        most as many as that, and as `gaps` (n,).
        """
        until = np.cumsum(np.exp([k * math.log(self.mean) - self.mean - math.lgamma(k + 1) for k in range(400)]))
        draws = 8 + (budget / self.mean * 1.2).astype(np.int64)
        while True:  # until each has drawn enough: nearly always at once
            owner = np.arange(len(budget)).repeat(draws)
            first = cuts_of(draws)
            number = np.arange(len(owner)) - first[owner]
            drawn = until.searchsorted(unit(words(keys[owner] ^ _LENGTH, number)), "right")
            upto = drawn.cumsum()
            upto -= (upto - drawn)[first[:-1]].repeat(draws)
            if (upto[first[1:] - 1] >= budget).all():
                break
            draws = np.where(upto[first[1:] - 1] >= budget, draws, 2 * draws)
        left = budget[owner] - (upto - drawn)  # before this one
        drawn = np.minimum(drawn, np.maximum(left, 0))
        drawn, owner = drawn[left > 0], owner[left > 0]
        # Spans beyond the most that there may be: those of no length go first, then the budget of the others falls to
        # the last one that stays.
        most = np.minimum(budget, gaps)
        full = drawn > 0
        rank = _rank(owner, full)
        room = most - np.minimum(np.bincount(owner[full], minlength=len(budget)), most)
        stays = np.where(full, rank < most[owner], _rank(owner, ~full) < room[owner])
        lost = np.bincount(owner[~stays], weights=drawn[~stays], minlength=len(budget)).astype(np.int64)
        last = full & stays & (rank == most[owner] - 1)
        drawn[last] += lost[owner[last]]
        return drawn[stays], np.bincount(owner[stays], minlength=len(budget))

    def _written(self, pieces: Pieces, first: Array, owner: Array, keys: Keys) -> Array:
        """(S,) what stands for each span."""
        masks = np.full(len(owner), pieces.mask if self.masks else 0)
        chosen = Chosen(np.arange(len(owner)), owner, np.arange(len(owner)))
        fate = Corrupt(1.0 - self.random, self.random, pieces.mask_id or 0, pieces.vocabulary, pieces.specials)
        return masks if not self.random else fate(masks, first, chosen, keys ^ _FATE)[0]


def _rank(owner: Array, among: Array) -> Array:
    """(S,) how many of those in `among` (S,) bool come before each one in its own sequence."""
    before = among.cumsum() - among
    return before - before[owner.searchsorted(owner)]


def _units(flat: Flat, whole: bool) -> tuple[Array, Array, Array]:
    """rows (c,) that may be chosen, row_cuts (U + 1,): those of each unit, a token or a word, cuts (n + 1,): the units
    of each sequence.
    """
    if whole:
        found = Words.of(flat)
        return found.rows, found.row_cuts, found.cuts
    rows, _, cuts = choosable(flat)
    return rows, np.arange(len(rows) + 1), cuts
