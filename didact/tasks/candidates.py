"""The best answers in a window: every span of at most so many tokens, scored start + end (Devlin et al., 2019, §4.2).

The reference code pairs the 20 best starts with the 20 best ends; here all pairs are compared, as one banded matrix.

Shapes: n candidate tokens of a window, k spans.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def best_spans(
    starts: Floats, ends: Floats, longest: int, k: int, allowed: NDArray[np.bool_] | None = None
) -> tuple[Integers, Integers, Floats]:
    """starts, ends (n,): scores of the tokens -> (first, last, score), each (<= k,), best first.

    longest: tokens of a span at most; allowed (n,): where a span may start. Equal scores: the earlier, shorter span.
    """
    n = len(starts)
    longest = max(1, min(longest, n))
    if not n:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    ends = np.concatenate([ends, np.full(longest - 1, -np.inf)])
    scores = starts[:, None] + np.lib.stride_tricks.sliding_window_view(ends, longest)
    if allowed is not None:
        scores[~allowed] = -np.inf
    flat = scores.ravel()
    if k < flat.size:
        least = np.partition(flat, flat.size - k)[flat.size - k]
        some = np.flatnonzero(flat >= least)
    else:
        some = np.arange(flat.size)
    some = some[np.argsort(-flat[some], kind="stable")][:k]
    some = some[np.isfinite(flat[some])]
    first = some // longest
    return first, first + some % longest, flat[some]


def best_threshold(margins: Floats, answered: Floats, silent: Floats) -> float:
    """The margin above which saying nothing is best (evaluate-v2.0.py, find_best_thresh).

    margins (q,): by how much "no answer" outscores the best answer; answered, silent (q,): what each question scores
    if answered and if not. A question is silent where margin > threshold. The threshold lies halfway
    between two margins, or past all of them by 1.
    """
    order = np.argsort(margins, kind="stable")
    margins, gain = margins[order], (answered - silent)[order]
    totals = np.concatenate([[0.0], np.cumsum(gain)])  # total after answering the first i questions
    ends_a_tie = np.concatenate([[True], np.append(margins[1:] != margins[:-1], True)])
    i = int(np.argmax(np.where(ends_a_tie, totals, -np.inf)))
    if not len(margins):
        return 0.0
    low = margins[0] - 2.0 if i == 0 else margins[i - 1]
    high = margins[-1] + 2.0 if i == len(margins) else margins[i]
    return float((low + high) / 2)
