"""A tag for every word: parts of speech, named entities, roles of identifiers (Devlin et al., 2019, §5.3, figure 4 d).

A word is asked at its first piece. A text longer than the model reads is cut into windows, and each word is asked once,
in the window where it sees most. A word of which the tokenizer leaves nothing (a control character) is not asked: it
gets the `default` tag and is counted.

Shapes: n words, p pieces of a text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, ClassVar, Literal, Self

import numpy as np

from didact.batch import Example, Labels
from didact.bounds import check_counts
from didact.config import ModelConfig
from didact.errors import InputError
from didact.heads import Classes, Head
from didact.heads.classes import balanced
from didact.tasks.base import Array, Counts, Dataset, Item, Prediction, Task, encode_all
from didact.tasks.columns import Columns, Row, Source, rows
from didact.tasks.metrics import Floats, Metric, f1_macro, ratio, summed
from didact.tasks.spans import Scheme, are_spans, span_f1
from didact.tasks.windows import cut
from didact.tokenization.encoded import Encoded
from didact.tokenization.frame import frame
from didact.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class Tag(Task):
    """columns: of words and tags, lists or text with spaces between, and id; where not given, "words" and "tags", in
    CoNLL-U "form" and "upos", in CoNLL the first and the last;
    characters: words and tags are texts of equal length, each character a word (residues of a protein);
    joiner: what stands between words before the tokenizer sees them ("" for scripts without spaces);
    tags: learned from the training file where not given (sorted); default: the tag of a word that is not asked, "O" or
    the training file's most frequent; ignore: tags whose words are neither asked nor scored;
    spans: how tags are read as spans, "none" for tags that are not, None = learned ("lenient" where all have prefixes);
    stride: tokens between the starts of windows, None = half of a window; class_weights: "balanced" (learned), or one
    number a tag; dropout: on the asked rows, None = the model's.
    """

    kind: ClassVar[str] = "tag"
    named: ClassVar[tuple[str, ...]] = ("words", "tags")
    answer: ClassVar[str] = "tags"

    columns: Columns = field(default_factory=dict)
    format: str | None = None
    length: int = 128
    stride: int | None = None
    characters: bool = False
    joiner: str = " "
    tags: tuple[str, ...] | None = None
    default: str | None = None
    ignore: tuple[str, ...] = ()
    spans: Scheme | Literal["none"] | None = None
    class_weights: Literal["balanced"] | tuple[float, ...] | None = None
    dropout: float | None = None
    start: int | None = None
    end: int | None = None

    def __post_init__(self) -> None:
        check_counts(stride=self.stride)
        if self.tags is None:
            return
        if set(self.tags) <= set(self.ignore):
            raise ValueError(f"tags {_named(self.tags)}, ignore {_named(self.ignore)}: no tag is left to be asked")
        if len(set(self.tags)) < len(self.tags):
            raise ValueError(f"tags {_named(self.tags)}: each once")
        outside = () if self.spans == "none" else ("O",)
        if self.default is not None and self.default not in (*self.tags, *outside):
            raise ValueError(f"default {self.default!r}: one of {_named(self.tags)}")
        if self.class_weights != "balanced":
            self.heads()  # which check their own

    def rows(self, source: Source, labelled: bool = True) -> Iterator[Row]:
        for row in rows(source, self.columns, self.format, None, not labelled, ("words",)):
            yield replace(row, mapping={**_columns(row.record), **self.columns})

    @property
    def known(self) -> tuple[str, ...]:
        """The tags. Raises InputError where they are neither given nor learned yet."""
        if self.tags is None:
            raise InputError("the tags are not known", expected="`tags`, or a training file to learn them from")
        return self.tags

    def heads(self) -> Mapping[str, Head]:
        names = self.known
        if self.class_weights == "balanced":
            raise InputError("the class weights are not known", expected="a training file to learn them from")
        weights = self.class_weights
        return {"tags": Classes(len(names), "single", False, self.dropout, class_weights=weights, names=names)}

    def suited(self, config: ModelConfig, tokenizer: Tokenizer, encoder: Collection[str] = ()) -> Self:
        """A decoder's rows are asked (BART: "the top hidden state of the decoder as a representation for each word",
        Lewis et al., 2020, §3.2), unless the family's encoder is (T5ForTokenClassification).
        """
        return self if "classes.rows" in encoder else super().suited(config, tokenizer, encoder)

    def item(self, row: Row, labelled: bool, counts: Counts) -> tuple[Mapping[str, Any], Any] | None:  # noqa: ARG002
        words = self._list(row, "words")
        if not labelled:
            return {"words": words}, None
        tags = self._list(row, "tags")
        if len(words) != len(tags):
            raise row.wrong(f"{len(words)} words and {len(tags)} tags", "one tag a word")
        for tag in tags if self.tags is not None else ():
            if tag not in self.known and tag not in self.ignore:
                raise row.wrong(f"found tag {tag!r}", f"one of {', '.join(self.known)}")
        return {"words": words}, tags

    def _list(self, row: Row, name: str) -> tuple[str, ...]:
        return tuple(row.text(name) if self.characters else row.texts(name))

    def learn(self, items: Sequence[Item]) -> Self:
        """Tags: every one of the training file, sorted; and what follows from them."""
        seen = Counter(tag for tag in chain.from_iterable(self.gold(items)) if tag not in self.ignore)
        names = self.tags or tuple(sorted(seen))
        most = "O" if "O" in names else max(names, key=lambda tag: seen[tag], default=None)
        weights = self.class_weights
        return replace(
            self,
            tags=names,
            default=self.default or most,
            spans=self.spans or ("lenient" if are_spans(names) else "none"),
            class_weights=balanced(tuple(seen[tag] for tag in names)) if weights == "balanced" else weights,
        )

    def dataset(self, items: Sequence[Item], tokenizer: Tokenizer) -> Dataset:
        counts: Counts = Counter()
        joiner = "" if self.characters else self.joiner
        encoded = encode_all(tokenizer, [joiner.join(item.fields["words"]) for item in items])
        number = {tag: i for i, tag in enumerate(self.known)}
        capacity = self.length - tokenizer.template.overhead(False)
        stride = self.stride or max(1, capacity // 2)
        examples, owners = [], []
        for owner, (item, text) in enumerate(zip(items, encoded, strict=True)):
            words, pieces = first_pieces(text, [len(word) for word in item.fields["words"]], len(joiner))
            counts["words without a piece, not asked"] += len(item.fields["words"]) - len(words)
            counts["words that share a piece with another"] += len(pieces) - len(np.unique(pieces))
            if item.gold is not None and self.ignore:
                kept = np.array([item.gold[w] not in self.ignore for w in words], bool)
                words, pieces = words[kept], pieces[kept]
            windows = cut(len(text), capacity, min(stride, capacity), text.word_starts)
            counts["texts cut into windows"] += len(windows) > 1
            window_of = windows.owner(pieces)
            for i, (start, end) in enumerate(zip(windows.starts.tolist(), windows.ends.tolist(), strict=True)):
                own = window_of == i
                example = frame(tokenizer, text.cut(start, end))
                gold = [] if item.gold is None else [number[item.gold[w]] for w in words[own]]
                targets = {
                    "words": words[own],
                    "rows": np.flatnonzero(~example.special)[pieces[own] - start],
                    "tags": np.array(gold, np.int64) if item.gold is not None else np.zeros(own.sum(), np.int64),
                }
                examples.append(replace(example, offsets=None, source_bytes=None, targets=targets))
                owners.append(owner)
        return Dataset(tuple(items), tuple(examples), np.array(owners, np.int64), +counts)

    def ask(self, example: Example) -> Labels:
        return Labels("tags", example.targets["rows"], example.targets["tags"])

    def decode(self, dataset: Dataset, answers: Sequence[Array]) -> list[Prediction]:
        predictions: list[Prediction] = []
        for item, windows in zip(dataset.items, dataset.of_item(), strict=True):
            tags = [self.default or self.known[0]] * len(item.fields["words"])
            for i in windows:
                best = np.asarray(answers[i]).reshape(-1, len(self.known)).argmax(-1)
                for word, tag in zip(dataset[i].targets["words"].tolist(), best.tolist(), strict=True):
                    tags[word] = self.known[tag]
            predictions.append({"id": item.id, "words": list(item.fields["words"]), "tags": tags})
        return predictions

    def metrics(self) -> tuple[Metric, ...]:
        """Of spans: their F1, and the accuracy; of plain tags: the accuracy, and the macro F1 over tags."""
        accuracy = Metric("accuracy", self._right, summed(ratio))
        if self.spans in (None, "none"):
            return (accuracy, self._macro())
        f1 = span_f1(self.spans)
        return (replace(f1, units=lambda p, g: f1.units(*self._masked(p, g))), accuracy)

    def _right(self, predicted: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]) -> Floats:
        pairs = [
            [(a, b) for a, b in zip(p, g, strict=True) if b not in self.ignore]
            for p, g in zip(predicted, gold, strict=True)
        ]
        return np.array([[sum(a == b for a, b in pair), len(pair)] for pair in pairs], np.float64).reshape(-1, 2)

    def _macro(self) -> Metric:
        of_words = f1_macro(self.known)

        def units(predicted: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]) -> Floats:
            """Per sentence, the sum of its words' units."""
            number = {tag: i for i, tag in enumerate(self.known)}
            counts = np.zeros((len(gold), 3, len(self.known)))
            for i, (p, g) in enumerate(zip(predicted, gold, strict=True)):
                for a, b in zip(p, g, strict=True):
                    if b not in self.ignore:
                        counts[i, 0, number[b]] += a == b
                        counts[i, 1, number[a]] += 1
                        counts[i, 2, number[b]] += 1
            return counts.reshape(len(gold), -1)

        return replace(of_words, units=units)

    def _masked(
        self, predicted: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]
    ) -> tuple[list[list[str]], list[list[str]]]:
        """Ignored words are outside every span, on both sides."""
        out = [[b in self.ignore for b in g] for g in gold]

        def cover(side: Sequence[Sequence[str]]) -> list[list[str]]:
            return [["O" if o else t for t, o in zip(s, os, strict=True)] for s, os in zip(side, out, strict=True)]

        return cover(predicted), cover(gold)


def _named(tags: Sequence[str]) -> str:
    return ", ".join(tags) or "none"


def _columns(record: Mapping[Any, Any]) -> Columns:
    """The columns of words and tags where the task names none: CoNLL-U's; of CoNLL the first and last; our own."""
    if "form" in record and "words" not in record:
        return {"words": "form", "tags": "upos", "id": "id"}
    if 0 in record:
        return {"words": 0, "tags": max(record)}
    return {"words": "words", "tags": "tags", "id": "id"}


def first_pieces(text: Encoded, sizes: Sequence[int], gap: int) -> tuple[Array, Array]:
    """Words of `sizes` characters with `gap` characters between them, encoded as one text -> the numbers of the words
    that have a piece, and the first piece of each: the first that covers a character of the word. A piece that covers
    two words (a tokenizer that merges across the gap) answers for both.
    """
    lengths = np.asarray(sizes, np.int64)
    ends = np.cumsum(lengths + gap) - gap
    starts = ends - lengths
    if not len(text):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    assert text.offsets is not None
    piece_ends = np.maximum.accumulate(text.offsets[:, 1])
    piece = np.searchsorted(piece_ends, starts, side="right")
    inside = np.minimum(piece, len(text) - 1)
    found = (piece < len(text)) & (text.offsets[inside, 0] < ends)
    return np.flatnonzero(found), piece[found]
