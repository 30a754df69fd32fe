"""What objectives have in common whose texts a decoder writes: one question, to its rows, at every token of a text."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import replace
from typing import Self

import numpy as np

from didact.batch import Example, Prepared
from didact.heads import Head, Vocabulary
from didact.objectives.base import Objective, alone


class Writing(Objective, ABC):
    """Only `ask` has to be written, `rows_of` where a text becomes longer. Of its fields it knows three, which each
    objective declares where it wants them. start: the token that the decoder's first row reads, the model's;
    smoothing: share of each answer that is spread evenly over the vocabulary; name: of its figures.
    """

    start: int
    smoothing: float
    name: str

    @property
    def heads(self) -> Mapping[str, Head]:
        return {"vocabulary": Vocabulary(smoothing=self.smoothing)}

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def decoder(self) -> bool:
        return True

    @property
    def alone(self) -> bool:
        return True

    def beginning(self, start: int) -> Self:
        return replace(self, start=start)

    def prepare(self, example: Example, rng: np.random.Generator) -> Prepared:
        return alone(self, example, rng)
