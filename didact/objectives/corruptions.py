"""Corruptions of chosen tokens: masked, replaced, deleted, marked by sentinels; and tokens put in between.

    text              the river runs past the old mill      "river" and "past the" chosen
    mask              the [MASK] runs [MASK] [MASK] old mill
    replace           the stone runs lamp seven old mill
    delete            the runs old mill
    sentinels         the <0> runs <1> old mill
    insert            the river [MASK] runs past the [MASK] old mill

Shapes: n sequences, N tokens of them all, R chosen tokens, S runs of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from didact.data.edited import edited, overwritten
from didact.data.flat import Flat
from didact.data.ragged import cuts_of
from didact.errors import InputError
from didact.objectives.corrupt import Corrupt
from didact.objectives.corruption import Corruption, Keys, Pieces, share_of, shares_of_one
from didact.objectives.fragments import Segments
from didact.objectives.select import Chosen, Select, Tokens, budget_of, choosable, smallest
from didact.randomness import runs, unit, words
from didact.tokenization.tokenizer import Tokenizer

Array = NDArray[Any]
_PLACE, _FATE = np.uint64(0x1C51), np.uint64(0x1C52)  # what a draw is for, mixed into its key


@dataclass(frozen=True)
class Mask(Corruption):
    """Chosen tokens become the mask, one for one (BART's token masking: Lewis et al., 2020, §2.2; T5's "mask tokens":
    Raffel et al., 2020, table 3); with kept 0.1 and random 0.1 it is BERT's. rate: the share that is chosen; select:
    which; random, kept: shares of the chosen that become a random token, or stay as they are.
    """

    kind: ClassVar[str] = "mask"
    rate: float = 0.15
    select: Select = field(default_factory=Tokens)
    random: float = 0.0
    kept: float = 0.0

    def __post_init__(self) -> None:
        share_of(self.rate, "rate")
        shares_of_one(random=self.random, kept=self.kept)

    @property
    def masks(self) -> bool:
        return self.random + self.kept < 1.0

    def check(self, tokenizer: Tokenizer) -> None:
        super().check(tokenizer)
        self.select.check(tokenizer)

    def __call__(self, flat: Flat, pieces: Pieces, keys: Keys) -> Flat:
        chosen = self.select(flat, self.rate, keys)
        mask = 1.0 - self.random - self.kept
        mask_id = pieces.mask if self.masks else 0
        corrupt = Corrupt(mask, self.random, mask_id, pieces.vocabulary, pieces.specials, self.select.together)
        tokens, hidden = corrupt(flat.tokens, flat.cuts, chosen, keys)
        return overwritten(flat, chosen.rows[hidden], tokens)


@dataclass(frozen=True)
class Replace(Corruption):
    """Chosen tokens become random ones of the vocabulary, special tokens apart (T5's code,
    `noise_token_to_random_token`). rate: the share that is chosen; select: which.
    """

    kind: ClassVar[str] = "replace"
    rate: float = 0.15
    select: Select = field(default_factory=Tokens)

    def __post_init__(self) -> None:
        share_of(self.rate, "rate")

    def check(self, tokenizer: Tokenizer) -> None:
        self.select.check(tokenizer)

    def __call__(self, flat: Flat, pieces: Pieces, keys: Keys) -> Flat:
        return Mask(self.rate, self.select, random=1.0)(flat, pieces, keys)


@dataclass(frozen=True)
class Delete(Corruption):
    """Chosen tokens are taken out: where, is for the model to find (BART's token deletion, §2.2; with
    `select: segments`, or `tokens`, T5's "drop corrupted tokens": table 3). rate: the share that is chosen; select:
    which.
    """

    kind: ClassVar[str] = "delete"
    rate: float = 0.15
    select: Select = field(default_factory=Tokens)

    def __post_init__(self) -> None:
        share_of(self.rate, "rate")

    def check(self, tokenizer: Tokenizer) -> None:
        self.select.check(tokenizer)

    def __call__(self, flat: Flat, pieces: Pieces, keys: Keys) -> Flat:  # noqa: ARG002
        return without(flat, self.select(flat, self.rate, keys))


@dataclass(frozen=True)
class Sentinels(Corruption):
    """Each run of chosen tokens becomes one sentinel, the first run the first (Raffel et al., 2020, §3.1.4; their code,
    `noise_span_to_unique_sentinel`). Neighbouring tokens, or spans, that were chosen apart are one run. rate: the share
    that is chosen; select: which, tokens one by one in T5's first baseline, segments in the published models.
    """

    kind: ClassVar[str] = "sentinels"
    rate: float = 0.15
    select: Select = field(default_factory=Segments)

    def __post_init__(self) -> None:
        share_of(self.rate, "rate")

    def check(self, tokenizer: Tokenizer) -> None:
        self.select.check(tokenizer)

    def rows(self, length: int, pieces: Pieces) -> int:
        enough(self.select.most_runs(length, self.rate), length, pieces.sentinels)
        return length

    def __call__(self, flat: Flat, pieces: Pieces, keys: Keys) -> Flat:
        chosen = self.select(flat, self.rate, keys)
        first, number = runs_of(flat, chosen)
        return without(flat, chosen, first, sentinel(pieces.sentinels, number[first]))


@dataclass(frozen=True)
class Insert(Corruption):
    """Tokens are put in at random places (facebookresearch/fairseq, denoising_dataset.py, `add_insertion_noise`; not in
    BART's paper). rate: how many, as a share of a text's tokens; random: the share of them that are random tokens, the
    others are the mask.
    """

    kind: ClassVar[str] = "insert"
    rate: float = 0.15
    random: float = 0.1

    def __post_init__(self) -> None:
        share_of(self.rate, "rate")
        share_of(self.random, "random")

    @property
    def masks(self) -> bool:
        return self.random < 1.0

    def rows(self, length: int, pieces: Pieces) -> int:  # noqa: ARG002
        return length + int(self.rate * length) + 1

    def __call__(self, flat: Flat, pieces: Pieces, keys: Keys) -> Flat:
        rows, _, cuts = choosable(flat)
        counts = np.diff(cuts)
        more = budget_of(counts, self.rate, keys)
        slots, at = counts + more, cuts_of(counts + more)
        drawn = smallest(runs(keys ^ _PLACE, slots), at, more, slots)
        owner = np.arange(len(flat)).repeat(more)
        number = np.arange(len(drawn)) - cuts_of(more)[owner]
        before = in_front_of(rows, cuts, owner, drawn - at[owner] - number)
        where = np.arange(len(drawn))
        put = np.full(len(drawn), pieces.mask if self.masks else 0)
        fate = words(keys[owner] ^ _FATE, number)
        random = where[unit(fate) < self.random]
        corrupt = Corrupt(0.0, 1.0, 0, pieces.vocabulary, pieces.specials)
        put, _ = corrupt(put, cuts_of(more), Chosen(random, owner[random], random), keys ^ _FATE)
        return edited(flat, np.ones(len(flat.tokens), bool), before, owner, put)


def in_front_of(rows: Array, cuts: Array, owner: Array, passed: Array) -> Array:
    """The row in front of which something comes to stand that has passed[j] (I,) of the rows of sequence owner[j]
    (I,) before it: rows (c,) of n sequences cut at cuts (n + 1,), none of which is empty; after the last, the next one.
    """
    at = cuts[owner] + passed
    last = at == cuts[owner + 1]
    return rows[at - last] + last


def runs_of(flat: Flat, chosen: Chosen) -> tuple[Array, Array]:
    """(S,) which of the chosen (R,) begin a run, no other token that may be chosen being between those of one; and (R,)
    the number of each one's run within its sequence.
    """
    rows, owner, _ = choosable(flat)
    place = np.empty(len(flat.tokens), np.int64)
    place[rows] = np.arange(len(rows)) + owner  # no place of one sequence follows upon one of another
    at = place[chosen.rows]
    begins = np.diff(at, prepend=-2) > 1
    first = begins.nonzero()[0]
    number = begins.cumsum() - 1
    starts = first.searchsorted(chosen.sequences.searchsorted(chosen.sequences[first]))
    return first, number - starts[number]


def sentinel(sentinels: tuple[int, ...], numbers: Array) -> Array:
    """The ids of the sentinels with these numbers. Raises InputError where there are not so many."""
    if (most := 1 + int(numbers.max(initial=-1))) > len(sentinels):
        raise InputError(f"a sequence of {most} hidden spans", expected=f"at most {len(sentinels)}, the sentinels")
    return np.array(sentinels, np.int64)[numbers]


def enough(spans: int, length: int, sentinels: tuple[int, ...]) -> None:
    """Raises InputError where there are fewer sentinels than spans to be marked by them."""
    if spans > len(sentinels):
        raise InputError(
            f"{spans} spans in a sequence of {length} tokens, and the tokenizer has {len(sentinels)} sentinels",
            expected=f"{spans} of <extra_id_0>, <extra_id_1> … (didact tokenizer --sentinels {spans}), or fewer spans",
        )


def without(flat: Flat, chosen: Chosen, first: Array | None = None, marks: Array | None = None) -> Flat:
    """The sequences without the chosen; in front of those numbered `first` (S,), `marks` (S,)."""
    keep = np.ones(len(flat.tokens), bool)
    keep[chosen.rows] = False
    none = np.zeros(0, np.int64)
    if first is None or marks is None:
        return edited(flat, keep, none, none, none)
    return edited(flat, keep, chosen.rows[first], chosen.sequences[first], marks)
