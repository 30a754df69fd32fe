"""Document formats: how a store's documents become sequences (Liu et al., 2019, §4.2, compare four of them).

    segment_pair     two segments of one or more sentences, as BERT read them
    sentence_pair    two sentences
    full_sentences   sentences until it is full, on into the next document after a separator (RoBERTa's)
    doc_sentences    the same, never past the end of a document

A format is a source: its length is its number of anchors (runs of consecutive sentences that are fixed by the store,
see `data.anchors`), and `format(index, rng)` is anchor `index` as an Example. With a relation, `rng` decides what
targets["relation"] will be: "next": with probability 1/2 the second segment comes from another document (1), else it
follows (0); "order": with probability 1/2 the two are swapped (1). What of the anchor is then not shown is counted in
targets["unused"], in tokens. (Devlin's code puts it back for a later example, which leaves no fixed number of
examples and no index to shuffle: a departure.)

An anchor of one sentence (a document of one, or the last of an odd number) is shown as a single segment and asked no
relation; `counts` says how many there are. Sentences longer than a segment are cut.

Shapes: L tokens of one sequence, K anchors.
"""

from __future__ import annotations

import bisect
import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from didact.batch import Example, Source
from didact.data.anchors import Anchors, Cut, anchors, units_of
from didact.data.stored import SplitName, Store
from didact.errors import InputError
from didact.tokenization.frame import Piece

Array = NDArray[Any]
Relation = Literal["none", "next", "order"]
Range = tuple[int, int]
_TRIES = 64


@dataclass(frozen=True)
class Format(ABC):
    """What every format answers to. store: where the documents are; length: the most tokens of a sequence, special
    ones included; split: which documents; relation: what a pair is asked; unrelated: the share of pairs
    that are put apart or swapped, where a relation is asked; near: how many anchors away, at most, the other document
    of a pair put apart is, None = anywhere; paired: whether two segments are needed though nothing is asked of a pair.

    Raises InputError where the split gives no sequence, the format or the documents have no pairs to relate, or there
    is only one document.
    """

    kind: ClassVar[str]
    pairs: ClassVar[bool]
    store: Store = field(repr=False)
    length: int
    split: SplitName = "train"
    relation: Relation = "none"
    unrelated: float = 0.5
    near: int | None = None
    paired: bool = False

    def __post_init__(self) -> None:
        if self.relation != "none" and not self.pairs:
            raise InputError(f"relation {self.relation!r} in format {self.kind!r}", expected="a format of pairs")
        if self.room < 2:
            raise InputError(f"sequences of {self.length} tokens", expected="room for two tokens among special ones")

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), tuple(getattr(self, f.name) for f in dataclasses.fields(self)))

    @property
    def room(self) -> int:
        """Tokens of a sequence without the special ones."""
        return self.length - self.store.tokenizer.template.overhead(self.pairs)

    @property
    @abstractmethod
    def cut(self) -> Cut:
        """How its anchors are cut."""

    @abstractmethod
    def __call__(self, index: int, rng: np.random.Generator) -> Example:
        """Anchor `index` as a sequence; what is left to chance is drawn from `rng`."""

    @cached_property
    def anchors(self) -> Anchors:
        """Its table."""
        table = anchors(self.store, self.split, self.cut)
        if not len(table.places):
            raise InputError(f"no documents in the {self.split} split", file=self.store.folder, expected="at least one")
        if self.relation == "next" and table.counts["documents"] < 2:
            raise InputError("one document", file=self.store.folder, expected="at least two to pair segments of")
        related = self.relation != "none" or self.paired
        if related and table.counts["anchors of one sentence"] == len(table.places):
            raise InputError(
                f"no document of two sentences in the {self.split} split: nothing to pair",
                file=self.store.folder,
                expected="documents of several sentences (didact prepare --layout)",
            )
        return table

    @property
    def counts(self) -> dict[str, int]:
        """Of the split: documents, sentences, anchors; sentences cut; documents and anchors of one sentence."""
        return self.anchors.counts

    def __len__(self) -> int:
        return len(self.anchors.places)

    def place(self, index: int) -> Range:
        """Tokens [start, stop) of anchor `index`."""
        start, stop = self.anchors.places[index].tolist()
        return start, stop

    def document_at(self, token: int) -> int:
        """The document that a token belongs to."""
        sentence = int(self.store.sentence_starts.searchsorted(token, "right")) - 1
        return int(self.store.document_starts.searchsorted(sentence, "right")) - 1

    def single(self, ranges: list[Range], targets: dict[str, Any]) -> Example:
        """One segment of token ranges, of a document each, a separator between them; targets["documents"]: the rows of
        the separators, where a further document begins.
        """
        pieces: list[tuple[Range | int, int]] = []
        begins: list[int] = []
        for content, segment in self.store.tokenizer.template.single:
            if isinstance(content, int):
                pieces.append((content, segment))
                continue
            for number, part in enumerate(ranges):
                if number:
                    begins.append(sum(_size(piece) for piece, _ in pieces))
                    pieces.append((self._separator, segment))
                pieces.append((part, segment))
        return self._lay(pieces, {**targets, "documents": np.array(begins, np.int64)} if begins else targets)

    def pair(self, a: Range, b: Range, targets: dict[str, Any]) -> Example:
        """Two segments."""
        where = {"a": a, "b": b}
        template: tuple[Piece, ...] = self.store.tokenizer.template.pair
        return self._lay([(c if isinstance(c, int) else where[c], segment) for c, segment in template], targets)

    @cached_property
    def _separator(self) -> int:
        tokenizer = self.store.tokenizer
        separator = tokenizer.sep if tokenizer.sep is not None else tokenizer.eos
        if separator is None:
            raise InputError("a tokenizer without a separator", expected="one with [SEP], </s> or an end of text")
        return separator

    def _lay(self, pieces: list[tuple[Range | int, int]], targets: dict[str, Any]) -> Example:
        sizes = [_size(content) for content, _ in pieces]
        length = sum(sizes)
        tokens = np.empty(length, np.int64)
        special = np.ones(length, bool)
        begins = np.zeros(length, np.int64)
        source_bytes = np.zeros(length, np.int64)
        sentences: list[Array] = []
        row, record = 0, -1
        for (content, _), size in zip(pieces, sizes, strict=True):
            rows = slice(row, row + size)
            if isinstance(content, int):
                tokens[row] = content
            elif size:
                text = self.store.read(*content)
                assert text.source_bytes is not None
                tokens[rows], special[rows], source_bytes[rows] = text.tokens, False, text.source_bytes
                begins[rows] = text.word_starts
                begins[row] = 1
                sentences.append(self._sentences(*content) + (row - content[0]))
                record = content[0] if record < 0 else record
            row += size
        words = begins.cumsum() - 1
        words[special] = -1
        return Example(
            tokens=tokens,
            special=special,
            segments=np.repeat(np.array([segment for _, segment in pieces], np.int64), sizes),
            words=words,
            sentences=np.concatenate(sentences) if sentences else np.zeros(0, np.int64),
            source_bytes=source_bytes,
            targets=targets,
            source=Source(self.document_at(record)) if record >= 0 else None,
        )

    def _sentences(self, start: int, stop: int) -> Array:
        """The tokens of [start, stop) at which a sentence begins, or goes on that was begun before."""
        starts = self.store.sentence_starts
        inside = starts[starts.searchsorted(start, "right") : starts.searchsorted(stop)]
        return np.concatenate(([start], inside))


def _size(content: Range | int) -> int:
    return 1 if isinstance(content, int) else content[1] - content[0]


@dataclass(frozen=True)
class _Pairs(Format):
    """Two segments of one anchor, or of two documents."""

    pairs: ClassVar[bool] = True

    def __call__(self, index: int, rng: np.random.Generator) -> Example:
        start, stop = self.place(index)
        borders = units_of(self.store, start, stop, self.cut.longest)
        if len(borders) == 2:
            return self.single([(start, stop)], {})
        middle = borders[1 if len(borders) == 3 else int(rng.integers(1, len(borders) - 1))]
        a, b = (start, middle), (middle, stop)
        if self.relation == "none":
            return self.pair(a, b, {})
        # A half is one bit: what examples are at a seed has not changed since other shares are possible.
        other = int(rng.integers(2) if self.unrelated == 0.5 else rng.random() < self.unrelated)
        if not other:
            return self.pair(a, b, {"relation": 0, "unused": 0})
        if self.relation == "order":
            return self.pair(b, a, {"relation": 1, "unused": 0})
        return self.pair(
            a, self._elsewhere(index, stop - middle, middle - start, rng), {"relation": 1, "unused": stop - middle}
        )

    def _elsewhere(self, index: int, wanted: int, taken: int, rng: np.random.Generator) -> Range:
        """A run of whole units from another document (one unit, where B is one), as near to `wanted` tokens as can be
        within the room that `taken` leaves: lengths must not give the answer away. index: of the anchor.
        """
        own = self.document_at(self.place(index)[0])
        document = own
        among = (
            (0, len(self)) if self.near is None else (max(0, index - self.near), min(len(self), index + self.near + 1))
        )
        for _ in range(_TRIES):
            place = self.place(int(rng.integers(*among)))
            if (document := self.document_at(place[0])) != own:
                break
        else:  # nearly all of these anchors are of this document
            others = self.store.split(self.split)
            document = int(rng.choice(others[others != own]))
            place = self.store.document(document)
        end = self.store.document(document)[1]
        stop = min(end, place[1] + self.room)
        borders = units_of(self.store, place[0], stop, self.cut.longest)
        if stop < end and len(borders) > 2:
            borders = borders[:-1]  # the last unit was cut to look no further than needed
        inside = bisect.bisect_left(borders, place[1])
        first = int(rng.integers(inside))
        begin, room = borders[first], self.room - taken
        ends = borders[first + 1 : first + 2] if self.cut.units == "two" else borders[first + 1 :]
        fitting = [end - begin for end in ends if end - begin <= room]
        return begin, begin + min(fitting, key=lambda size: abs(size - wanted), default=room)


@dataclass(frozen=True)
class SegmentPair(_Pairs):
    """As many sentences of a document as fit, cut in two at random (Devlin et al., 2019)."""

    kind: ClassVar[str] = "segment_pair"

    @property
    def cut(self) -> Cut:
        return Cut(self.room, max(1, self.room // 2), pairs=True)


@dataclass(frozen=True)
class SentencePair(_Pairs):
    """Two sentences of a document."""

    kind: ClassVar[str] = "sentence_pair"

    @property
    def cut(self) -> Cut:
        return Cut(self.room, max(1, self.room // 2), units="two", pairs=True)


@dataclass(frozen=True)
class FullSentences(Format):
    """Sentences until it is full, on into the next document (RoBERTa)."""

    kind: ClassVar[str] = "full_sentences"
    pairs: ClassVar[bool] = False

    @property
    def cut(self) -> Cut:
        return Cut(self.room, self.room, crossing=True)

    def __call__(self, index: int, rng: np.random.Generator) -> Example:  # noqa: ARG002
        start, stop = self.place(index)
        ranges: list[Range] = []
        document = self.document_at(start)
        end = self.store.document(document)[1]
        while end < stop:  # documents of the other split in between are passed over
            ranges.append((start, end))
            document += 1
            while self.store.held_out[document] != (self.split == "validation"):
                document += 1
            start, end = self.store.document(document)
        return self.single([*ranges, (start, stop)], {})


@dataclass(frozen=True)
class DocSentences(Format):
    """Sentences until it is full or the document ends."""

    kind: ClassVar[str] = "doc_sentences"
    pairs: ClassVar[bool] = False

    @property
    def cut(self) -> Cut:
        return Cut(self.room, self.room)

    def __call__(self, index: int, rng: np.random.Generator) -> Example:  # noqa: ARG002
        return self.single([self.place(index)], {})


FORMATS: tuple[type[Format], ...] = (SegmentPair, SentencePair, FullSentences, DocSentences)
