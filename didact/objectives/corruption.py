"""A corruption: what becomes of a text before it is read, as a pure function of the text and a key. They follow each
other freely: each reads what the one before it wrote.

Special tokens are walls: nothing is done to them, and what is laid in another order stays between two of them. What a
corruption wrote ([MASK], a sentinel, a random token) is moved like any other row and never chosen again.

Shapes: n sequences, N tokens of them all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from didact.data.flat import Flat
from didact.errors import InputError
from didact.tokenization.tokenizer import Tokenizer

Keys = NDArray[np.uint64]


@dataclass(frozen=True)
class Pieces:
    """What of a tokenizer corruptions write with. mask_id: None where there is no mask; vocabulary: its size; specials:
    ids of special tokens, never drawn at random; sentinels: ids that mark the first hidden span, the second …
    """

    mask_id: int | None
    vocabulary: int
    specials: tuple[int, ...]
    sentinels: tuple[int, ...] = ()

    @property
    def mask(self) -> int:
        """The id of the mask. Raises ValueError where there is none."""
        if self.mask_id is None:
            raise ValueError("the tokenizer has no mask token")
        return self.mask_id


@dataclass(frozen=True)
class Corruption(ABC):
    """What every corruption answers to. masks: whether it writes the mask token."""

    kind: ClassVar[str]

    @property
    def masks(self) -> bool:
        return False

    def check(self, tokenizer: Tokenizer) -> None:
        """Raises InputError where it does not go with the tokenizer whose tokens it is to corrupt."""
        if self.masks and tokenizer.mask is None:
            raise InputError(f"{self.kind}: the tokenizer has no mask token", expected="one with [MASK] or <mask>")

    def rows(self, length: int, pieces: Pieces) -> int:  # noqa: ARG002
        """The most rows that become of `length`. Raises InputError where it cannot corrupt so many."""
        return length

    @abstractmethod
    def __call__(self, flat: Flat, pieces: Pieces, keys: Keys) -> Flat:
        """All sequences at once; what becomes of sequence i depends on it and keys[i] alone."""


def share_of(value: float, name: str, least: float = 0.0) -> None:
    """Raises ValueError where `value` is not a share of a whole."""
    if not least <= value <= 1.0:
        raise ValueError(f"{name} {value}: a share, from {least:g} to 1")


def shares_of_one(**shares: float) -> None:
    """Raises ValueError where they are not shares of one whole, of which they may leave a rest."""
    if not all(share >= 0.0 for share in shares.values()) or not sum(shares.values()) <= 1.0 + 1e-9:
        said = " and ".join(f"{name} {share}" for name, share in shares.items())
        raise ValueError(f"{said} are shares of one whole")
