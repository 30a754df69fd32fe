"""Flat: many prepared sequences laid end to end, with what is asked of each. The form in which a step is prepared.

Numpy has a fixed cost per call and Python one per object, so a step of hundreds of sequences is prepared in columns:
one array of all tokens, one of all asked rows, and cuts that say which belong to which sequence. `Prepared` is one
sequence of it; a `Batch` is any selection of its sequences, in any order.

Shapes: n sequences, N tokens of them all, R asked rows, G groups, m picked sequences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from didact.batch import Batch, Example, Labels, Prepared
from didact.data.picked import side_of
from didact.data.ragged import Array, cuts_of, ragged
from didact.visibility import Visibility, bidirectional

BIDIRECTIONAL = bidirectional()


@dataclass(frozen=True)
class Asked:
    """The labels of one name, of n sequences.

    labels: rows (R,) numbered within their sequence, values, groups, weights and noise of all sequences, end to end;
    cuts (n + 1,): sequence i is asked rows cuts[i] to cuts[i + 1]; group_cuts (n + 1,): and groups likewise, where
    there are groups; source_bytes (R,): bytes of source that each asked row's token stands for, where known.
    """

    labels: Labels
    cuts: Array
    group_cuts: Array | None = None
    source_bytes: Array | None = None

    def pick(self, order: Array, starts: Array, places: Array | None = None) -> Labels:
        """The labels of sequences `order` (m,), which now start at rows `starts` (m,); arrays still numpy.

        places: where row starts[i] + r of what was picked has come to lie, where that is elsewhere.
        """
        old = self.labels
        counts = self.cuts[order + 1] - self.cuts[order]
        at = ragged(self.cuts[order], counts)
        rows = old.rows[at] + starts.repeat(counts)
        if places is not None:
            rows = places[rows]
        groups, answers = None, at
        if self.group_cuts is not None:
            answers = _between(self.group_cuts, order)
            groups = cuts_of(np.diff(old.groups)[answers])
            if (each := (len(old.groups) - 1) // max(1, len(old.values))) > 1:  # groups that are one answer
                answers = _between(self.group_cuts // each, order)
        weights = None if old.weights is None else old.weights[answers]
        return Labels(
            head=old.head,
            rows=rows,
            values=old.values[answers],
            groups=groups,
            weights=weights,
            noise=None if old.noise is None else old.noise[at],
            side=old.side,
            stream=old.stream,
            name=old.name,
            covered=0 if self.source_bytes is None else int(self.source_bytes[at].sum()),
        )


@dataclass(frozen=True)
class Queries:
    """The query rows of n sequences (see `Prepared`): rows (Q,), increasing within each sequence and numbered there;
    cuts (n + 1,): which are whose.
    """

    rows: Array
    cuts: Array


@dataclass(frozen=True)
class Moved:
    """Where the rows of n corrupted sequences come from: rows (N,): of the examples as they were given, laid end to
    end, the row that each is, or stands for; put (N,) bool: whether a corruption wrote it.
    """

    rows: Array
    put: Array


# What is said of a row that a corruption wrote: nobody chooses it, it is of no word, it stands for no text.
_OF_PUT: Mapping[str, int] = {"special": True, "words": -1, "source_bytes": 0}


@dataclass(frozen=True)
class Flat:
    """n sequences end to end: sequence i is rows cuts[i] to cuts[i + 1] of tokens (N,) and segments (N,).

    examples: the sequences as they were given, for what else is known of them; labels: of each name once; hidden (N,)
    bool: see `Prepared`; visibility: one for all (of N rows, where it is ranked), or one each; outputs: the decoder's
    side, as a Flat without labels; parts (N,) bool: rows where a part of a sequence begins (see `Example.parts`), None
    where each is one; queries: see there; memory: see `Prepared`; positions (N,): see `Example`, None = counted from 0;
    moved: where rows come from, where they are no longer those of the examples, row by row (`hidden` goes by the
    examples).
    """

    cuts: Array
    tokens: Array
    segments: Array | None = None
    examples: tuple[Example, ...] = ()
    labels: tuple[Asked, ...] = ()
    hidden: Array | None = None
    visibility: Visibility | tuple[Visibility, ...] = BIDIRECTIONAL
    outputs: Flat | None = None
    parts: Array | None = None
    queries: Queries | None = None
    memory: int | None = None
    positions: Array | None = None
    moved: Moved | None = None

    def __len__(self) -> int:
        return len(self.cuts) - 1

    @property
    def lengths(self) -> Array:
        """(n,): tokens of each sequence."""
        return self.cuts[1:] - self.cuts[:-1]

    @property
    def sizes(self) -> Array:
        """(n,): rows that each takes in a pack, which is its longer side; query rows are rows, too."""
        own = self.lengths if self.queries is None else self.lengths + np.diff(self.queries.cuts)
        return own if self.outputs is None else np.maximum(own, self.outputs.lengths)

    def column(self, name: str) -> Array | None:
        """A field of the examples, (N,) end to end; None where any of them lacks it."""
        if not self.examples or getattr(self.examples[0], name) is None:
            return None
        parts = [part for example in self.examples if (part := getattr(example, name)) is not None]
        if len(parts) < len(self.examples):
            return None
        values = np.concatenate(parts)
        return values if self.moved is None else np.where(self.moved.put, _OF_PUT[name], values[self.moved.rows])

    @cached_property
    def given(self) -> Array:
        """(n + 1,): which rows of the examples as they were given, laid end to end, are whose."""
        return self.cuts if self.moved is None else cuts_of([len(example.tokens) for example in self.examples])

    @property
    def originals(self) -> Array:
        """(N,) tokens as the examples have them, whatever has been hidden since: what is asked for where they stood.
        Rows that a corruption put in have what stands there.
        """
        if self.hidden is None or not self.examples:
            return self.tokens
        values = np.concatenate([example.tokens for example in self.examples])
        return values if self.moved is None else np.where(self.moved.put, self.tokens, values[self.moved.rows])

    def sentences(self) -> Array | None:
        """(N,) the number of the sentence that each row belongs to, counted over all sequences; None where an example
        does not know its sentences.
        """
        starts = [example.sentences for example in self.examples if example.sentences is not None]
        if len(starts) < len(self):
            return None
        given = self.given
        begins = np.zeros(int(given[-1]) + 1, np.int64)
        begins[given] = 1
        for own, cut in zip(starts, given.tolist(), strict=False):
            begins[cut + own] = 1
        numbers = begins[:-1].cumsum()
        return numbers if self.moved is None else numbers[self.moved.rows]

    def lean(self) -> Flat:
        """Only what batches are made of: without the examples and `hidden`, tokens in 32 bits (less to send)."""
        outputs = None if self.outputs is None else self.outputs.lean()
        segments = None if self.segments is None else self.segments.astype(np.uint8)
        tokens = self.tokens.astype(np.int32)
        return replace(self, tokens=tokens, segments=segments, examples=(), hidden=None, outputs=outputs, moved=None)

    def batch(self, order: Sequence[int] | Array, max_seqlen: int | None = None) -> Batch:
        """Sequences `order` (m,) as one pack, in that order. max_seqlen: a bound to state instead of the longest."""
        order = np.asarray(order, np.int64)
        inputs, starts, places = side_of(self, order, max_seqlen)
        outputs, output_starts = None, starts
        if self.outputs is not None:
            outputs, output_starts, _ = side_of(self.outputs, order, max_seqlen)
        labels = (
            asked.pick(order, starts, places) if asked.labels.side == "inputs" else asked.pick(order, output_starts)
            for asked in self.labels
        )
        return Batch(inputs, tuple(_to_torch(asked) for asked in labels), outputs, int(self.lengths[order].sum()))

    def idle(self, max_seqlen: int | None = None) -> Batch:
        """A batch that asks nothing and counts 0: its shortest sequence, for a rank that has run out of sequences
        while the others have not (every rank must run the same steps of communication).
        """
        shortest = self.batch([int(self.sizes.argmin())], max_seqlen)
        labels = tuple(replace(_nothing(asked.labels), name=asked.labels.name) for asked in self.labels)
        return replace(shortest, labels=tuple(_to_torch(asked) for asked in labels), tokens=0)

    def then(self, later: Flat) -> Flat:
        """What is asked by two objectives of the same sequences, `later` having read what this one wrote.

        Raises ValueError where the later one moved rows that the first asks of.
        """
        if not self.labels:
            return later
        if not np.array_equal(self.cuts, later.cuts) or later.outputs is not self.outputs:
            raise ValueError("an objective that moves rows must come before all others that are combined with it")
        hidden = self.hidden if later.hidden is None else later.hidden
        if self.hidden is not None and later.hidden is not None:
            hidden = self.hidden | later.hidden
        plain = isinstance(later.visibility, Visibility) and later.visibility.kind == "full"
        return replace(
            later,
            examples=self.examples,
            labels=self.labels + later.labels,
            hidden=hidden,
            visibility=self.visibility if plain else later.visibility,
        )

    def prepared(self) -> list[Prepared]:
        """The sequences one by one."""
        views = [None if part is None else [part.example(i) for i in range(len(self))] for part in (self, self.outputs)]
        zero, given = np.zeros(1, np.int64), self.given
        inputs, outputs = views
        assert inputs is not None
        return [
            Prepared(
                inputs=inputs[i],
                labels=tuple(asked.pick(np.array([i]), zero) for asked in self.labels),
                outputs=None if outputs is None else outputs[i],
                visibility=self.visibility_of(i),
                output_visibility=BIDIRECTIONAL if self.outputs is None else self.outputs.visibility_of(i),
                hidden=None if self.hidden is None else self.hidden[given[i] : given[i + 1]],
                queries=None
                if self.queries is None
                else self.queries.rows[self.queries.cuts[i] : self.queries.cuts[i + 1]],
                memory=self.memory,
            )
            for i in range(len(self))
        ]

    def example(self, i: int) -> Example:
        """Sequence i as it now reads, with what else was known of it."""
        rows = slice(self.cuts[i], self.cuts[i + 1])
        segments = None if self.segments is None else self.segments[rows].astype(np.int64)
        parts = self.examples[i].parts if self.parts is None else self.parts[rows].nonzero()[0]
        example = self.examples[i] if self.moved is None else self._carried(i, rows)
        positions = example.positions if self.positions is None else self.positions[rows]
        tokens = self.tokens[rows].astype(np.int64)
        return replace(example, tokens=tokens, segments=segments, parts=parts, positions=positions)

    def _carried(self, i: int, rows: slice) -> Example:
        """What was known of the rows of example i, of those that sequence i has now."""
        assert self.moved is not None
        example, put = self.examples[i], self.moved.put[rows]
        old = self.moved.rows[rows] - int(self.given[i])
        known = {
            name: np.where(put, fill, values[old])
            for name, fill in _OF_PUT.items()
            if (values := getattr(example, name)) is not None
        }
        offsets = None if example.offsets is None else np.where(put[:, None], 0, example.offsets[old])
        sentences = example.sentences
        if sentences is not None:
            sentences = np.diff(sentences.searchsorted(old, "right"), prepend=0).nonzero()[0]
        return replace(example, **known, offsets=offsets, sentences=sentences, positions=None)

    def visibility_of(self, i: int) -> Visibility:
        """Who sees whom in sequence i."""
        if not isinstance(self.visibility, Visibility):
            return self.visibility[i]
        return self.visibility.of(torch.arange(int(self.cuts[i]), int(self.cuts[i + 1])))


def _between(cuts: Array, order: Array) -> Array:
    """Everything that lies between cuts[i] and cuts[i + 1], of each i in `order`, in that order."""
    return ragged(cuts[order], cuts[order + 1] - cuts[order])


def _nothing(labels: Labels) -> Labels:
    """The same question, asked of no row."""
    return replace(
        labels,
        rows=labels.rows[:0],
        values=labels.values[:0],
        groups=None if labels.groups is None else labels.groups[:1],
        weights=None if labels.weights is None else labels.weights[:0],
        noise=None if labels.noise is None else labels.noise[:0],
        count=0.0,
    )


def _to_torch(labels: Labels) -> Labels:
    moved = {
        name: torch.from_numpy(np.ascontiguousarray(value))
        for name in ("rows", "values", "groups", "weights", "noise")
        if (value := getattr(labels, name)) is not None
    }
    return replace(labels, **moved)
