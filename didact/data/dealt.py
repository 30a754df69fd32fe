"""Sequences that were dealt out, prepared in several ways, and are wanted in their own order again.

Shapes: n sequences, N tokens of them all, R asked rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from didact.batch import Labels
from didact.data.flat import Asked, Flat, Moved
from didact.data.lay import lay
from didact.data.ragged import cuts_of, ragged
from didact.visibility import Visibility

Array = NDArray[Any]


def dealt(flat: Flat, hands: Array, count: int) -> list[Flat]:
    """The sequences of each hand 0 … count - 1, hands (n,): as they were given, nothing asked yet."""
    if flat.moved is not None or flat.labels or flat.outputs is not None:
        raise ValueError("sequences are dealt out before anything is done to them")
    return [lay([flat.examples[i] for i in (hands == hand).nonzero()[0].tolist()]) for hand in range(count)]


def gathered(flats: Sequence[Flat], hands: Array) -> Flat:
    """The inverse: sequence i is the next one of flats[hands[i]]. Labels of one name are joined.

    Raises ValueError where the flats do not go together: other rules of who sees whom, or with and without a decoder.
    """
    order = np.empty(len(hands), np.int64)
    order[hands.argsort(kind="stable")] = np.arange(len(hands))
    whole = _concatenated(flats)
    given = whole.given  # before they change places
    taken = _taken(whole, order)
    if taken.moved is None:
        return taken
    shift = _shifts(given, order)
    return _shifted(taken, shift)


def _concatenated(flats: Sequence[Flat]) -> Flat:
    rules = {(type(f.visibility), f.visibility) for f in flats if isinstance(f.visibility, Visibility) and len(f)}
    if len(rules) > 1 or any(not isinstance(f.visibility, Visibility) or f.visibility.kind == "ranked" for f in flats):
        raise ValueError("objectives of which each example meets one go by one rule of who sees whom")
    if len({f.outputs is None for f in flats}) > 1 or any(f.parts is not None or f.queries is not None for f in flats):
        raise ValueError("objectives of which each example meets one all have a decoder, or none")
    starts = np.cumsum([0] + [int(f.given[-1]) for f in flats])
    names = dict.fromkeys(asked.labels.name for f in flats for asked in f.labels)
    rows = [np.arange(len(f.tokens)) if f.moved is None else f.moved.rows for f in flats]
    put = [np.zeros(len(f.tokens), bool) if f.moved is None else f.moved.put for f in flats]
    outputs = [f.outputs for f in flats if f.outputs is not None]
    return Flat(
        cuts=cuts_of(np.concatenate([f.lengths for f in flats])),
        tokens=np.concatenate([f.tokens for f in flats]),
        segments=_column([f.segments for f in flats]),
        examples=tuple(e for f in flats for e in f.examples),
        labels=tuple(_joined(name, flats) for name in names),
        hidden=_column([f.hidden for f in flats]),
        visibility=next((f.visibility for f in flats if len(f)), flats[0].visibility),
        outputs=_concatenated(outputs) if outputs else None,
        positions=_positions(flats),
        moved=Moved(np.concatenate([r + s for r, s in zip(rows, starts, strict=False)]), np.concatenate(put)),
    )


def _column(parts: Sequence[Array | None]) -> Array | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def _positions(flats: Sequence[Flat]) -> Array | None:
    if all(f.positions is None for f in flats):
        return None
    plain = (np.arange(len(f.tokens)) - f.cuts[:-1].repeat(f.lengths) for f in flats)
    return np.concatenate([p if f.positions is None else f.positions for f, p in zip(flats, plain, strict=True)])


def _joined(name: str, flats: Sequence[Flat]) -> Asked:
    """The questions of one name, of each flat that asks them; the others' sequences are asked none."""
    found = [next((a for a in f.labels if a.labels.name == name), None) for f in flats]
    known = [a for a in found if a is not None]
    first = known[0].labels
    if any((a.labels.head, a.labels.side, a.labels.stream) != (first.head, first.side, first.stream) for a in known):
        raise ValueError(f"two different questions are called {name!r}")
    if any(a.labels.groups is not None or a.labels.weights is not None or a.labels.noise is not None for a in known):
        raise ValueError(f"questions {name!r} have groups, weights or noise, and cannot be joined")
    counts = [np.zeros(len(f), np.int64) if a is None else np.diff(a.cuts) for f, a in zip(flats, found, strict=True)]
    rows = np.concatenate([a.labels.rows for a in known])
    values = np.concatenate([a.labels.values for a in known])
    labels = Labels(first.head, rows, values, side=first.side, stream=first.stream, name=name)
    return Asked(labels, cuts_of(np.concatenate(counts)), source_bytes=_column([a.source_bytes for a in known]))


def _taken(flat: Flat, order: Array) -> Flat:
    """The sequences `order` (n,) of it, in that order; `moved` still as it was."""
    lengths = flat.lengths[order]
    at = ragged(flat.cuts[order], lengths)
    given = np.diff(flat.given)[order]
    moved = flat.moved
    return replace(
        flat,
        cuts=cuts_of(lengths),
        tokens=flat.tokens[at],
        segments=None if flat.segments is None else flat.segments[at],
        examples=tuple(flat.examples[i] for i in order.tolist()),
        labels=tuple(_picked(asked, order) for asked in flat.labels),
        hidden=None if flat.hidden is None else flat.hidden[ragged(flat.given[order], given)],
        outputs=None if flat.outputs is None else _taken(flat.outputs, order),
        positions=None if flat.positions is None else flat.positions[at],
        moved=None if moved is None else Moved(moved.rows[at], moved.put[at]),
    )


def _shifts(given: Array, order: Array) -> Array:
    """(n,) by how much the rows of the examples as they were given move, for each sequence in its new place."""
    return cuts_of(np.diff(given)[order])[:-1] - given[order]


def _shifted(flat: Flat, shift: Array) -> Flat:
    assert flat.moved is not None
    outputs = None if flat.outputs is None else _shifted(flat.outputs, shift)
    rows = flat.moved.rows + shift.repeat(flat.lengths)
    return replace(flat, moved=Moved(rows, flat.moved.put), outputs=outputs)


def _picked(asked: Asked, order: Array) -> Asked:
    counts = np.diff(asked.cuts)[order]
    at = ragged(asked.cuts[order], counts)
    labels = replace(asked.labels, rows=asked.labels.rows[at], values=asked.labels.values[at], count=-1.0)
    return Asked(labels, cuts_of(counts), source_bytes=None if asked.source_bytes is None else asked.source_bytes[at])
