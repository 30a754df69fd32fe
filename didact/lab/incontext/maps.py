"""Documents that each repeat a map of their own, from keys to values: what can only be known by reading on.

    k17 v3
    k140 v20
    k17 v3
    …

A document draws some keys, gives each a value, and then writes pairs of its map in random order, with repeats. No key
has a value of its own outside a document, so a model that has read none of the document can only guess. For each key a
few values are held out: no document of the corpus ever gives them to it, and questions about maps made of them alone
cannot be answered from anything that was seen in training.

Shapes: K keys, V values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from didact.errors import InputError
from didact.randomness import generator


@dataclass(frozen=True)
class Maps:
    """keys, values: how many there are; held: values of each key that the corpus never gives it; sizes: keys of a
    document's map, drawn evenly; pairs: written in a document.
    """

    keys: int
    values: int
    held: int
    sizes: tuple[int, ...]
    pairs: int
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.held < self.values:
            raise InputError(f"held {self.held} of {self.values} values", expected=f"1 to {self.values - 1}")
        if not self.sizes or not 0 < min(self.sizes) <= max(self.sizes) <= self.keys:
            raise InputError(f"sizes {list(self.sizes)}", expected=f"some, from 1 to {self.keys}, the keys")

    def held_out(self) -> NDArray[np.bool_]:
        """(K, V): whether a key never has a value in the corpus."""
        ranks = np.stack([generator(self.seed, 0, k).permutation(self.values) for k in range(self.keys)])
        return ranks < self.held

    def documents(self, count: int) -> Iterator[str]:
        """The corpus: document i depends on (seed, i) alone."""
        free = ~self.held_out()
        for i in range(count):
            rng = generator(self.seed, 1, i)
            own = list(self.draw(rng, int(rng.choice(self.sizes)), free).items())
            written = rng.integers(len(own), size=self.pairs)
            yield "\n".join(f"{own[at][0]} {own[at][1]}" for at in written)

    def draw(self, rng: np.random.Generator, size: int, allowed: NDArray[np.bool_]) -> dict[str, str]:
        """A map of `size` keys, their values among those `allowed` (K, V)."""
        chosen = rng.choice(self.keys, size, replace=False)
        return {f"k{k}": f"v{rng.choice(np.flatnonzero(allowed[k]))}" for k in chosen.tolist()}

    def records(self, maps: int, size: int, rounds: int, held: bool) -> Iterator[dict[str, Any]]:
        """Every pair of fresh maps `rounds` times: what questions are asked of and demonstrations drawn from. held: of
        held-out pairs alone.
        """
        allowed = self.held_out() if held else ~self.held_out()
        for number in range(maps):
            own = self.draw(generator(self.seed, 2 + held, number), size, allowed)
            for round in range(rounds):
                for key, value in own.items():
                    yield {"id": f"{number}.{round}.{key}", "map": str(number), "key": key, "value": value}
