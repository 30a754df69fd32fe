"""What becomes of the chosen tokens: 80 % [MASK], 10 % a random token, 10 % kept (Devlin et al., 2019, §3.1).

Random tokens are drawn uniformly from the vocabulary without its special tokens; the original itself may be drawn, as
in the reference code.

Shapes: R chosen tokens, n sequences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from didact.objectives.select import Chosen
from didact.randomness import unit, words

Array = NDArray[Any]
Keys = NDArray[np.uint64]
_FATE, _TOKEN = np.uint64(0x66617465), np.uint64(0x746F6B656E)  # what a draw is for


@dataclass(frozen=True)
class Corrupt:
    """mask and random: the shares that become `mask_id` or a random one of `vocabulary` tokens outside `specials`; the
    rest is kept. together: what was chosen as one meets one fate (SpanBERT), else each token its own (BERT).
    """

    mask: float
    random: float
    mask_id: int
    vocabulary: int
    specials: tuple[int, ...]
    together: bool = False

    def __call__(self, tokens: Array, cuts: Array, chosen: Chosen, keys: Keys) -> tuple[Array, Array]:
        """tokens (N,) of sequences cut at `cuts` (n + 1,), keys (n,) -> the corrupted tokens, a new array, and
        (R,) bool: which of the chosen are hidden (not kept).
        """
        local = chosen.rows - cuts[chosen.sequences]
        own = keys[chosen.sequences]
        fate = unit(words(own ^ _FATE, chosen.parts if self.together else local))
        masked = fate < self.mask
        hidden = fate < self.mask + self.random
        new = tokens.copy()
        new[chosen.rows[masked]] = self.mask_id
        drawn = hidden & ~masked
        new[chosen.rows[drawn]] = self._draw(words(own[drawn] ^ _TOKEN, local[drawn]))
        return new, hidden

    def _draw(self, bits: Keys) -> Array:
        """Words (m,) -> tokens that are not special: the r-th of them, counted past the special ones below it."""
        specials = np.unique(np.array(self.specials, np.int64))
        drawn = np.floor(unit(bits) * (self.vocabulary - len(specials))).astype(np.int64)
        return drawn + np.searchsorted(specials - np.arange(len(specials)), drawn, side="right")
