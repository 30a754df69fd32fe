"""Sequences of different lengths laid end to end: where each begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def cuts_of(lengths: Sequence[int] | Array) -> Array:
    """[2, 3] -> 0 2 5, int64."""
    cuts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=cuts[1:])
    return cuts


def ragged(starts: Array, lengths: Array) -> Array:
    """The numbers starts[i] … starts[i] + lengths[i] - 1 of every i, end to end, int64."""
    ends = lengths.cumsum()
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + (starts - ends + lengths).repeat(lengths)
