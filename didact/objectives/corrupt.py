"""What becomes of the chosen tokens: 80 % [MASK], 10 % a random token, 10 % kept (Devlin et al., 2019, §3.1).

Random tokens are drawn uniformly from the vocabulary without its special tokens; the original itself may be drawn, as
in the reference code.

Shapes: R chosen tokens, n sequences.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from didact.objectives.select import Chosen
from didact.randomness import below, words

Array = NDArray[Any]
Keys = NDArray[np.uint64]
_FATE, _TOGETHER = np.uint64(0xF6F7), np.uint64(0xA7A8)  # what a draw is for, mixed into its key


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
        bits = words(own ^ _FATE, local)  # the upper half decides the fate, the lower one draws a token
        fate = (words(own ^ _TOGETHER, chosen.parts) if self.together else bits) >> np.uint64(32)
        masked = fate < np.uint64(round(self.mask * 2**32))
        hidden = fate < np.uint64(round((self.mask + self.random) * 2**32))
        new = tokens.copy()
        new[chosen.rows[masked]] = self.mask_id
        drawn = (hidden > masked).nonzero()[0]
        new[chosen.rows[drawn]] = self._draw(bits[drawn] << np.uint64(32))
        return new, hidden

    def _draw(self, bits: Keys) -> Array:
        """Words (m,) -> tokens that are not special: the r-th of them, counted past the special ones below it."""
        drawn = below(bits, self.vocabulary - len(self._gaps))
        return drawn + self._gaps.searchsorted(drawn, side="right")

    @cached_property
    def _gaps(self) -> Array:
        """For each special token, in order, how many that are not special are below it."""
        specials = np.unique(np.array(self.specials, np.int64))
        return specials - np.arange(len(specials))
