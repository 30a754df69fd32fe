"""Collocations chosen as one: PMI masking (Levine et al., 2021, §4), over the list that `didact collocations` makes.

Of two entries one inside the other, the longer one counts; of two that overlap, one is taken at random and the other's
remaining words stand for themselves, as do all words that are in no entry. Units are then chosen as whole words are,
and all of a unit meets one fate.

Shapes: n sequences, U words, M places where an entry was found, S states of the automaton, E entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from didact.data.collocations import Gram, read
from didact.data.flat import Flat
from didact.data.ragged import ragged
from didact.errors import InputError
from didact.objectives.select import Chosen, Keys, Select, Words, budget_of, shuffled
from didact.randomness import words
from didact.tokenization.tokenizer import Tokenizer

Array = NDArray[Any]
_ORDER, _WINNER, _ALONE = np.uint64(0xF7A1), np.uint64(0xF8B2), np.uint64(0xF9C3)  # what a draw is for


@dataclass(frozen=True)
class PMISpans(Select):
    """Collocations and, elsewhere, whole words.

    Where no unit fits what may be chosen of a sequence, its shortest word is taken alone. file: what
    `didact collocations` wrote for the store's tokenizer.
    """

    kind: ClassVar[str] = "pmi_spans"
    together: ClassVar[bool] = True
    file: str

    def check(self, tokenizer: Tokenizer) -> None:
        made = read(Path(self.file)).tokenizer
        if made != tokenizer.fingerprint:
            raise InputError(
                f"collocations in the tokens of another tokenizer ({made[:12]})",
                file=self.file,
                expected=f"{tokenizer.fingerprint[:12]}, the store's",
            )

    def __call__(self, flat: Flat, rate: float, keys: Keys) -> Chosen:
        single = Words.of(flat)
        units = single.merged(self._begins(flat, single, keys))
        budget = budget_of(units.tokens, rate, keys)
        order = shuffled(units.cuts, words(keys[units.owner] ^ _ORDER, units.local))
        taken = units.fitting(order, budget)
        alone = shuffled(single.cuts, words(keys[single.owner] ^ _ALONE, single.local))
        rest = single.chosen(single.shortest(units.untouched(taken, budget), alone), single.local)
        most = units.chosen(taken, units.local)
        rows = np.append(most.rows, rest.rows)
        at = rows.argsort()
        return Chosen(rows[at], np.append(most.sequences, rest.sequences)[at], np.append(most.parts, rest.parts)[at])

    def _begins(self, flat: Flat, single: Words, keys: Keys) -> Array:
        """(U,) bool: the words at which a unit begins."""
        lengths = self._automaton.longest(flat.tokens[single.rows], single)
        starts = np.flatnonzero(lengths)
        ends = starts + lengths[starts]
        outermost = np.ones(len(starts), bool)
        outermost[1:] = ends[1:] > np.maximum.accumulate(ends)[:-1]
        starts, ends = starts[outermost], ends[outermost]
        won = _one_of_each_overlap(starts, ends, words(keys[single.owner[starts]] ^ _WINNER, single.local[starts]))
        begins = np.ones(len(lengths), bool)
        begins[ragged(starts[won] + 1, ends[won] - starts[won] - 1)] = False
        return begins

    @cached_property
    def _automaton(self) -> _Automaton:
        return _Automaton.of([entry.words for entry in read(Path(self.file)).entries])


def _one_of_each_overlap(starts: Array, ends: Array, draws: Keys) -> Array:
    """Runs [starts, ends) (M,), none inside another, in order -> (M,) bool: a set that does not overlap, the run with
    the smallest draw first, then the smallest of those that do not touch it, and so on.
    """
    won = np.zeros(len(starts), bool)
    open_ = np.arange(len(starts))
    while len(open_):
        s, e, d = starts[open_], ends[open_], draws[open_]
        wins = np.ones(len(open_), bool)
        touching = []
        for k in range(1, len(open_)):
            touch = s[k:] < e[:-k]
            if not touch.any():
                break
            touching.append((k, touch))
            wins[k:] &= ~touch | (d[k:] < d[:-k])
            wins[:-k] &= ~touch | (d[:-k] <= d[k:])
        gone = wins.copy()
        for k, touch in touching:
            gone[k:] |= touch & wins[:-k]
            gone[:-k] |= touch & wins[k:]
        won[open_[wins]] = True
        open_ = open_[~gone]
    return won


@dataclass(frozen=True)
class _Automaton:
    """All entries as one tree of symbols (a token, and whether it begins a word): steps (S,) int64, increasing, a state
    and a symbol in one; to (S,): the state that each leads to; words (S + 1,): of the entry that ends in a state, or 0.
    """

    steps: Array
    to: Array
    words: Array

    @staticmethod
    def of(entries: list[Gram]) -> _Automaton:
        sizes = np.array([sum(map(len, entry)) for entry in entries], np.int64)
        symbols = np.full((len(entries), int(sizes.max(initial=0))), -1, np.int64)
        for row, entry in enumerate(entries):
            symbols[row, : sizes[row]] = [2 * t + (i == 0) for word in entry for i, t in enumerate(word)]
        state = np.zeros(len(entries), np.int64)
        steps, to, known = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 1
        for place in range(symbols.shape[1]):
            on = np.flatnonzero(sizes > place)
            distinct, number = np.unique(_step(state[on], symbols[on, place]), return_inverse=True)
            state[on] = known + number
            steps.append(distinct)
            to.append(known + np.arange(len(distinct)))
            known += len(distinct)
        ends = np.zeros(known, np.int64)
        ends[state] = [len(entry) for entry in entries]
        every = np.concatenate(steps)
        order = every.argsort()
        return _Automaton(every[order], np.concatenate(to)[order], ends)

    def longest(self, tokens: Array, single: Words) -> Array:
        """tokens (c,) of the rows of `single` -> (U,): how many words the longest entry that begins at each word has,
        0 where none does. Entries are read within a run: no special token, no other sequence in between.
        """
        begins = np.zeros(len(tokens) + 1, bool)
        begins[single.row_cuts] = True
        symbols = 2 * tokens.astype(np.int64) + begins[:-1]
        breaks = np.append(single.row_cuts[:-1][single.breaks], len(tokens))
        found = np.zeros(len(single.owner), np.int64)
        if not len(self.steps):
            return found
        word = np.arange(len(found))
        at = single.row_cuts[:-1].copy()
        end = breaks[np.searchsorted(breaks, at, side="right")] if len(at) else at
        state = np.zeros(len(found), np.int64)
        while len(word):
            wanted = _step(state, symbols[at])
            place = np.minimum(np.searchsorted(self.steps, wanted), len(self.steps) - 1)
            on = self.steps[place] == wanted
            word, at, end, state = word[on], at[on] + 1, end[on], self.to[place[on]]
            whole = begins[at] & (self.words[state] > 0)
            found[word[whole]] = self.words[state[whole]]
            on = at < end
            word, at, end, state = word[on], at[on], end[on], state[on]
        return found


def _step(state: Array, symbol: Array) -> Array:
    return state << 32 | symbol
