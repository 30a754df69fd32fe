"""A text longer than the model reads is cut into windows; every token is answered in the window where it sees most.

The rule of most context is BERT's for question answering (Devlin et al., 2019; `run_squad.py`, "max context"): a token
belongs to the window in which the smaller of its left and right context is largest, the first such window on a tie.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """starts, ends (w,) int64: window i is tokens [starts[i], ends[i])."""

    starts: Integers
    ends: Integers

    def __len__(self) -> int:
        return len(self.starts)

    def owner(self, tokens: Integers) -> Integers:
        """tokens (n,): the window that answers for each, (n,). Every token of the text has exactly one."""
        tokens = np.asarray(tokens, np.int64)
        if len(self) == 1:
            return np.zeros(len(tokens), np.int64)
        left = tokens[:, None] - self.starts[None, :]
        right = self.ends[None, :] - 1 - tokens[:, None]
        return np.argmax(np.minimum(left, right), axis=1)  # outside a window one of the two is negative


def cut(length: int, capacity: int, stride: int, breaks: NDArray[np.bool_] | None = None) -> Windows:
    """Windows of at most `capacity` tokens, each beginning `stride` tokens after the one before, covering `length`.

    breaks (length,) bool: where a window may begin (the first pieces of words); a window then begins at the last break
    at or before its place, so that no word is cut at a window's start unless it is longer than a stride. A text that
    fits, an empty one included, is one window. Raises ValueError unless 0 < stride <= capacity.
    """
    if not 0 < stride <= capacity:
        raise ValueError(f"windows of {capacity} tokens every {stride}: expected 0 < stride <= capacity")
    if length <= capacity:
        return Windows(np.zeros(1, np.int64), np.array([length], np.int64))
    if breaks is None:
        starts = np.arange(0, length - capacity + stride, stride, dtype=np.int64)
    else:
        allowed = np.flatnonzero(breaks)
        places = [0]
        while places[-1] + capacity < length:
            wanted = places[-1] + stride
            at = int(np.searchsorted(allowed, wanted, side="right")) - 1
            start = int(allowed[at]) if at >= 0 else 0
            places.append(start if start > places[-1] else wanted)
        starts = np.array(places, np.int64)
    return Windows(starts, np.minimum(starts + capacity, length))
