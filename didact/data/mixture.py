"""Sources of examples, and mixtures of them.

A source is anything with a length that gives example `index` when called with it and a generator: a document format
over a store, or a list. A mixture draws from several in proportion to weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from didact.batch import Example
from didact.errors import InputError
from didact.randomness import Permutation, key

_DECK = 1 << 12  # examples over which a mixture's proportions are exact


class Source(Protocol):
    """What gives examples: a document format over a store, or a list of labelled examples."""

    def __len__(self) -> int: ...

    def __call__(self, index: int, rng: np.random.Generator) -> Example: ...


@dataclass(frozen=True)
class Listed:
    """Examples that are already there, as a source (a fine-tuning file)."""

    examples: Sequence[Example]

    def __len__(self) -> int:
        return len(self.examples)

    def __call__(self, index: int, rng: np.random.Generator) -> Example:  # noqa: ARG002
        return self.examples[index]


@dataclass(frozen=True)
class Mixture:
    """Several sources, drawn in proportion to `weights` (any positive numbers), each in its own shuffled order.

    Every 4,096 examples are a deck, shuffled by a counter-based permutation, in which each source has its share of the
    cards, at least one. Card i says whose example i is, and how many cards of that source came before it (in whole
    decks, and in this one) which of the source's examples: so any i is found without those before it, and each
    source shows every example once an epoch of its own.
    """

    sources: tuple[Source, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.sources) != len(self.weights) or not self.sources or min(self.weights) <= 0:
            raise InputError(
                f"a mixture of {len(self.sources)} sources with weights {self.weights}",
                expected="one weight above 0 for each source",
            )

    @staticmethod
    def tempered(sources: Sequence[Source], temperature: float = 1.0) -> Mixture:
        """Weights size ** (1 / temperature): 1 in proportion to size, larger favours the small ones (Devlin's
        multilingual BERT: 1 / 0.7; Conneau et al., 2020). InputError where they overflow.
        """
        try:
            weights = tuple(float(len(source)) ** (1.0 / temperature) for source in sources)
        except OverflowError:
            weights = (math.inf,)
        if not math.isfinite(sum(weights)):
            raise InputError(
                f"data.temperature: found {temperature}, and sizes ** (1 / {temperature}) are too large for numbers",
                expected="a larger one",
            )
        return Mixture(tuple(sources), weights)

    def __len__(self) -> int:
        return sum(len(source) for source in self.sources)

    def __call__(self, index: int, rng: np.random.Generator) -> Example:
        """Example `index` of all sources laid end to end (a stream draws by weight instead)."""
        for source in self.sources:
            if index < len(source):
                return source(index, rng)
            index -= len(source)
        raise IndexError("past the last source")

    @cached_property
    def cards(self) -> NDArray[np.int64]:
        """(sources,): how many of a deck's cards each source has; largest remainders."""
        exact = np.array(self.weights) / sum(self.weights) * _DECK
        cards = np.maximum(np.floor(exact).astype(np.int64), 1)
        while left := _DECK - int(cards.sum()):
            cards[(exact - cards).argmax() if left > 0 else cards.argmax()] += np.sign(left)
        return cards

    def drawn(self, numbers: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Examples number i (n,) -> whose each is, and the how-manieth of that source it is (n,), (n,)."""
        whose, place = np.empty_like(numbers), np.empty_like(numbers)
        owners = np.repeat(np.arange(len(self.cards)), self.cards)
        first = np.cumsum(self.cards) - self.cards
        for deck in np.unique(numbers // _DECK).tolist():
            shuffled = owners[Permutation(_DECK, key(seed, deck))(np.arange(_DECK))]
            before = np.empty(_DECK, np.int64)
            by_owner = np.argsort(shuffled, kind="stable")
            before[by_owner] = np.arange(_DECK) - first[shuffled[by_owner]]
            own = numbers // _DECK == deck
            cards = numbers[own] % _DECK
            whose[own] = shuffled[cards]
            place[own] = deck * self.cards[whose[own]] + before[cards]
        return whose, place
