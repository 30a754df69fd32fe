"""Span corruption: what is hidden of a text is written, and no more (T5: Raffel et al., 2020, §3.1.4 and §3.3)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from didact.data.flat import Flat
from didact.data.ragged import cuts_of
from didact.objectives.base import Keys
from didact.objectives.corruption import share_of
from didact.objectives.corruptions import enough, runs_of, sentinel, without
from didact.objectives.fragments import Segments
from didact.objectives.select import Chosen, Select
from didact.objectives.writing import Writing
from didact.objectives.written import Target, written
from didact.tokenization.tokenizer import Tokenizer

Array = NDArray[Any]


@dataclass(frozen=True)
class SpanCorruption(Writing):
    """Hidden: the chosen tokens, each run of which becomes one sentinel. Asked: of a decoder, for each sentinel in
    turn, the sentinel and the tokens that it stands for, then an end; each of a row that has read the ones before it.

        text     Thank you for inviting me to your party last week .
        inputs   Thank you <0> me to your party <1> week .
        target   <0> for inviting <1> last [end]                          and with `closing`: … last <2> [end]

    Used by T5: 15 % in spans of 3 (`segments`); with `select: tokens`, neighbours merged, it is the paper's first
    baseline (§3.1.4); with `sentinels_shown: false` its "drop corrupted tokens"; with `select: suffix` and no sentinels
    its prefix language modelling for encoder-decoders (table 3). UL2's denoisers are this with other rates and means.
    (The paper's figure 2 closes the target with one more sentinel, and so does its code where a text ends with a token
    that is not hidden, which spans never leave: `closing`. Where a text begins with a hidden token, which single tokens
    may, the code writes its first sentinel after that token; here each sentinel comes before what it stands for.)

    sentinels: their token ids, known when the objective is built for a tokenizer; start: the token that the decoder's
    first row reads, the model's; end: the token that ends a target, the tokenizer's; rate: the share of a sequence's
    non-special tokens that is hidden; select: which; sentinels_shown: whether sentinels say where something is missing;
    closing: whether one more sentinel ends the target; smoothing: share of each answer that is spread evenly over the
    vocabulary; name: of its figures.
    """

    kind: ClassVar[str] = "span_corruption"
    sentinels: tuple[int, ...]
    start: int
    end: int
    rate: float = 0.15
    select: Select = field(default_factory=Segments)
    sentinels_shown: bool = True
    closing: bool = False
    smoothing: float = 0.0
    name: str = "spans"

    def __post_init__(self) -> None:
        share_of(self.rate, "rate")
        if self.closing and not self.sentinels_shown:
            raise ValueError("closing: a last sentinel where sentinels are not shown")

    @property
    def rated(self) -> tuple[str, ...]:
        return self.names

    def check(self, tokenizer: Tokenizer) -> None:
        self.select.check(tokenizer)

    def at_rate(self, rate: float) -> SpanCorruption:
        return replace(self, rate=rate)

    def rows_of(self, length: int) -> int:
        spans = self.select.most_runs(length, self.rate)
        if not self.sentinels_shown:
            return length + 1
        enough(spans + self.closing, length, self.sentinels)
        return max(length, min(int(self.rate * length) + 1, length) + spans + self.closing + 1)

    def ask(self, flat: Flat, keys: Keys) -> Flat:
        chosen = self.select(flat, self.rate, keys)
        if not self.sentinels_shown:
            return written(without(flat, chosen), self._missing(flat, chosen), self.start, self.name)
        first, number = runs_of(flat, chosen)
        read = without(flat, chosen, first, sentinel(self.sentinels, number[first]))
        return written(read, self._marked(flat, chosen, first, number), self.start, self.name)

    def _missing(self, flat: Flat, chosen: Chosen) -> Target:
        """The chosen tokens one after another, then an end."""
        counts = np.bincount(chosen.sequences, minlength=len(flat))
        return self._target(flat, chosen, np.arange(len(chosen.rows)) + chosen.sequences, cuts_of(counts + 1))

    def _marked(self, flat: Flat, chosen: Chosen, first: Array, number: Array) -> Target:
        """Each run behind its sentinel, then an end: a token has as many sentinels before it as its run has number."""
        spans = np.bincount(chosen.sequences[first], minlength=len(flat))
        cuts = cuts_of(np.bincount(chosen.sequences, minlength=len(flat)) + spans + self.closing + 1)
        begins = np.zeros(len(chosen.rows), np.int64)
        begins[first] = 1
        at = np.arange(len(chosen.rows)) + begins.cumsum() + chosen.sequences * (1 + self.closing)
        target = self._target(flat, chosen, at, cuts)
        target.tokens[at[first] - 1] = sentinel(self.sentinels, number[first])
        if self.closing:
            target.tokens[cuts[1:] - 2] = sentinel(self.sentinels, spans)
        return target

    def _target(self, flat: Flat, chosen: Chosen, at: Array, cuts: Array) -> Target:
        """The chosen tokens at rows `at` (R,), ends elsewhere."""
        tokens = np.full(int(cuts[-1]), self.end)
        rows, put = flat.given[:-1].repeat(np.diff(cuts)), np.ones(len(tokens), bool)
        tokens[at], put[at] = flat.tokens[chosen.rows], False
        rows[at] = chosen.rows if flat.moved is None else flat.moved.rows[chosen.rows]
        return Target(cuts, tokens, rows, put)
