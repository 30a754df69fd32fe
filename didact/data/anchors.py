"""Anchors: documents cut, from the offsets alone, into runs of consecutive sentences; index i <-> anchor i.

The table of one format and length is made once, kept beside the store (tables/), and mapped into memory. It depends
on the store alone: any process may make it, and the last to finish changes nothing.

Shapes: D documents of a block, U units (sentences, long ones cut), K anchors.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from didact.data.ragged import ragged
from didact.data.stored import SplitName, Store
from didact.errors import InputError

Array = NDArray[Any]
_BLOCK = 1 << 20  # sentences cut at a time: a bound on memory


@dataclass(frozen=True)
class Cut:
    """How sentences become anchors. room: tokens of an anchor, without special ones; longest: tokens of a unit, a
    longer sentence is cut into several; units: "room": as many as fit it; "two": at most two;
    crossing: anchors go on into the next document, a separator token between; pairs: an anchor wants two units.
    """

    room: int
    longest: int
    units: Literal["room", "two"] = "room"
    crossing: bool = False
    pairs: bool = False


@dataclass(frozen=True)
class Anchors:
    """places (K, 2) int64: tokens [start, stop) of each anchor; counts: what was cut, and what stands alone."""

    places: Array
    counts: dict[str, int]


def anchors(store: Store, split: SplitName, cut: Cut) -> Anchors:
    """The table of a split's anchors, from beside the store or made now (and kept there where that can be written)."""
    files = store.meta["files"]
    key = json.dumps([asdict(cut), split, *(files[n]["sha256"] for n in ("sentences", "documents", "validation"))])
    folder = store.folder / "tables"
    path = folder / f"{split}-{cut.room}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.bin"
    if not path.is_file():
        aside = folder / f".{path.name}.{os.getpid()}"
        try:
            folder.mkdir(exist_ok=True)
            with aside.open("wb") as file:
                counts = _write(store, split, cut, file)
            aside.with_suffix(".json").write_text(json.dumps(counts), encoding="utf-8")
            os.replace(aside.with_suffix(".json"), path.with_suffix(".json"))
            os.replace(aside, path)  # last: where it is, so are the counts
        except OSError:  # a store that cannot be written to
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            return _in_memory(store, split, cut)
    return _read(path)


def units_of(store: Store, start: int, stop: int, longest: int) -> list[int]:
    """Borders of the units among tokens [start, stop) of one document, start and stop included.

    A plain list: an anchor has few, and this is asked for every pair that is read.
    """
    starts = store.sentence_starts
    first, last = starts.searchsorted(start, "right") - 1, starts.searchsorted(stop, "left")
    sentences = starts[first : last + 1].tolist()
    borders = [start]
    for begin, end in itertools.pairwise(sentences):
        borders.extend(unit for unit in range(begin, end, longest) if start < unit < stop)
    return [*borders, stop]


def _blocks(store: Store, split: SplitName) -> Iterator[Array]:
    """The split's documents in runs of about `_BLOCK` sentences."""
    documents = store.split(split)
    sentences = np.cumsum(store.document_starts[documents + 1] - store.document_starts[documents])
    yield from np.split(documents, np.flatnonzero(np.diff(sentences // _BLOCK)) + 1)


def _write(store: Store, split: SplitName, cut: Cut, file: BinaryIO) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for documents in _blocks(store, split):
        if len(documents):
            file.write(np.ascontiguousarray(_block(store, documents, cut, counts), "<i8").data)
    return dict(counts)


def _in_memory(store: Store, split: SplitName, cut: Cut) -> Anchors:
    counts: Counter[str] = Counter()
    blocks = [_block(store, documents, cut, counts) for documents in _blocks(store, split) if len(documents)]
    return Anchors(np.concatenate(blocks) if blocks else np.zeros((0, 2), np.int64), dict(counts))


def _block(store: Store, documents: Array, cut: Cut, counts: Counter[str]) -> Array:
    """(K, 2): the anchors of some documents (D,), in order."""
    first = store.document_starts[documents]
    lengths = store.document_starts[documents + 1] - first
    starts, stops, sentence = _cut_long(ragged(first, lengths), store, cut.longest)
    document = np.repeat(np.arange(len(documents)), lengths)[sentence]
    opens = np.diff(document, prepend=-1) > 0
    ends_of = np.append(np.flatnonzero(opens)[1:], len(starts))[document]  # the unit after each one's document
    sizes = stops - starts
    until = np.cumsum(sizes + opens) if cut.crossing else np.cumsum(sizes)  # a separator before each document
    if cut.units == "two":
        after = np.minimum(np.arange(len(starts)) + 2, ends_of)
    else:
        after = np.searchsorted(until, until - sizes + cut.room, side="right")
        if not cut.crossing:
            after = np.minimum(after, ends_of)
    begins = _chain(after)
    ends = after[begins]
    if cut.pairs and cut.units == "room":
        _even_out(begins, ends, document)
    counts.update(
        {
            "documents": len(documents),
            "sentences": int(lengths.sum()),
            "sentences cut": int(lengths.sum() and (np.bincount(sentence) > 1).sum()),
            "documents of one sentence": int((lengths == 1).sum()),
            "anchors": len(begins),
            "anchors of one sentence": int((ends - begins == 1).sum()),
        }
    )
    return np.stack([starts[begins], stops[ends - 1]], axis=1)


def _cut_long(sentences: Array, store: Store, longest: int) -> tuple[Array, Array, Array]:
    """sentences (s,) -> starts (U,), stops (U,) in tokens, and which of the sentences each unit is of (U,)."""
    starts, stops = store.sentence_starts[sentences], store.sentence_starts[sentences + 1]
    pieces = -(-(stops - starts) // longest)
    sentence = np.repeat(np.arange(len(sentences)), pieces)
    begins = starts[sentence] + longest * ragged(np.zeros(len(sentences), np.int64), pieces)
    return begins, np.minimum(begins + longest, stops[sentence]), sentence


def _chain(after: Array) -> Array:
    """0, after[0], after[after[0]] … A list, because each step needs the one before it."""
    following, found, at = after.tolist(), [], 0
    while at < len(following):
        found.append(at)
        at = following[at]
    return np.array(found, np.int64)


def _even_out(begins: Array, ends: Array, document: Array) -> None:
    """Where a document's last anchor has one unit and the one before it three or more, move one over: in place."""
    lone = np.flatnonzero((ends[1:] - begins[1:] == 1) & (ends[:-1] - begins[:-1] > 2)) + 1
    lone = lone[document[begins[lone]] == document[begins[lone - 1]]]
    begins[lone] -= 1
    ends[lone - 1] -= 1


def _read(path: Path) -> Anchors:
    try:
        places = _mapped(path)
        counts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        whole = isinstance(counts, dict) and counts.get("anchors", 0) == len(places)
    except (OSError, ValueError):
        whole, places, counts = False, np.zeros((0, 2), np.int64), {}
    if not whole:
        raise InputError("damaged or cut short", file=path, expected="none: it is made anew where it is deleted")
    return Anchors(places, counts)


def _mapped(path: Path) -> Array:
    if not path.stat().st_size:
        return np.zeros((0, 2), np.int64)
    return np.asarray(np.memmap(path, "<i8", mode="r")).reshape(-1, 2)
