"""Edits of many sequences at once: tokens written over, taken out, put in, or laid in another order.

Each row remembers where it comes from (`Flat.moved`), so that what is known of the text (special tokens, words,
sentences) stays known of what is left of it, and edits follow each other freely.

Shapes: n sequences, N rows of them all, I rows put in.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from didact.data.flat import Flat, Moved
from didact.data.ragged import cuts_of

Array = NDArray[Any]


def overwritten(flat: Flat, rows: Array, tokens: Array) -> Flat:
    """Rows that now read something else: rows (m,), tokens (N,) of all sequences, equal elsewhere."""
    put = np.zeros(len(tokens), bool)
    put[rows] = True
    return _from(flat, np.arange(len(tokens)), flat.cuts, tokens, put)


def reordered(flat: Flat, order: Array) -> Flat:
    """The same rows of each sequence in another order (N,): row i is what row order[i] was."""
    return _from(flat, order, flat.cuts, flat.tokens[order], np.zeros(len(order), bool))


def edited(flat: Flat, keep: Array, before: Array, owner: Array, tokens: Array) -> Flat:
    """keep (N,) bool: the rows that stay; before (I,): the rows in front of which something is put, owner (I,): in
    which sequence (its end is the row after its last), both non-decreasing, and tokens (I,): what.
    """
    kept = keep.nonzero()[0]
    rows = kept.searchsorted(flat.cuts)
    counts = rows[1:] - rows[:-1]
    counts += np.bincount(owner, minlength=len(flat))
    size = len(kept) + len(before)
    new = kept.searchsorted(before) + np.arange(len(before))
    put = np.zeros(size, bool)
    put[new] = True
    take = np.empty(size, np.int64)
    take[~put] = kept
    take[new] = np.minimum(before, flat.cuts[owner + 1] - 1)  # what is put at the end belongs to the last row
    written = flat.tokens[take]
    written[new] = tokens
    return _from(flat, take, cuts_of(counts), written, put)


def _from(flat: Flat, take: Array, cuts: Array, tokens: Array, put: Array) -> Flat:
    if flat.parts is not None or flat.queries is not None:
        raise ValueError("corruption is of sequences of one part, without query rows")
    if any(asked.labels.side == "inputs" for asked in flat.labels):
        raise ValueError("an objective that corrupts sequences must come before all others that are combined with it")
    rows = take
    if flat.moved is not None:
        rows, put = flat.moved.rows[take], flat.moved.put[take] | put
    segments = None if flat.segments is None else flat.segments[take]
    return replace(flat, cuts=cuts, tokens=tokens, segments=segments, moved=Moved(rows, put))
