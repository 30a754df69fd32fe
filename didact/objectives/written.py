"""What a decoder is to write, and how it is asked: every token of it, of a row that has read the ones before
(teacher forcing: Williams & Zipser, 1989).

    target    </s>-framed text        The    river  runs   </s>
    reads     start, then the target  start  The    river  runs
    asked                             The    river  runs   </s>

Shapes: n sequences, N tokens of them all, M rows of their targets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from didact.batch import Labels
from didact.data.flat import Asked, Flat, Moved
from didact.visibility import causal

Array = NDArray[Any]


@dataclass(frozen=True)
class Target:
    """tokens (M,) of n sequences cut at cuts (n + 1,); rows (M,): the row of the texts as they were given, laid end to
    end, that each token is; put (M,) bool: whether it is none of them (a sentinel, an end), and rows any of the text.
    """

    cuts: Array
    tokens: Array
    rows: Array
    put: Array

    @staticmethod
    def of(flat: Flat) -> Target:
        """The sequences as they are."""
        size = len(flat.tokens)
        rows, put = np.arange(size), np.zeros(size, bool)
        if flat.moved is not None:
            rows, put = flat.moved.rows, flat.moved.put
        return Target(flat.cuts, flat.tokens, rows, put)


def written(flat: Flat, target: Target, start: int, name: str) -> Flat:
    """`flat`, what the encoder reads, and the target asked of a decoder, whose first row reads the token `start`."""
    first = target.cuts[:-1][np.diff(target.cuts) > 0]
    before = np.arange(-1, len(target.tokens) - 1)
    before[first] = first
    put = target.put[before]
    put[first] = True
    reads = target.tokens[before]
    reads[first] = start
    lengths = np.diff(target.cuts)
    labels = Labels(
        "vocabulary",
        rows=np.arange(len(target.tokens)) - target.cuts[:-1].repeat(lengths),
        values=target.tokens,
        side="outputs",
        name=name,
    )
    return asked(flat, Flat(target.cuts, reads, moved=Moved(target.rows[before], put)), labels, target)


def asked(flat: Flat, outputs: Flat, labels: Labels, target: Target) -> Flat:
    """`flat` with a decoder's side and what is asked of it: labels of the rows of `target`, all of them."""
    source_bytes = replace(flat, moved=None).column("source_bytes")
    if source_bytes is not None:
        source_bytes = np.where(target.put, 0, source_bytes[target.rows])
    return replace(
        flat,
        labels=(Asked(labels, target.cuts, source_bytes=source_bytes),),
        hidden=lost(flat),
        outputs=replace(outputs, examples=flat.examples, visibility=causal()),
    )


def lost(flat: Flat) -> Array:
    """(N,) bool: the tokens of the texts as they were given that are not to be read any more."""
    hidden = np.zeros(int(flat.given[-1]), bool)
    if flat.moved is not None:
        hidden[:] = True
        hidden[flat.moved.rows[~flat.moved.put]] = False
    return hidden
