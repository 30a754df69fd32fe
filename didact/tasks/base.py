"""A task: a labelled file, the questions it asks of a model, and the official score of the answers.

    items    = task.items("train.tsv")         # records -> items: what is given, and the right answer where known
    task     = task.learn(items)               # what only the training file knows: the classes, the scheme of the tags
    dataset  = task.dataset(items, tokenizer)  # items -> sequences (windows, where one item takes several)
    answers  = answer(model, task, dataset)    # tasks.answering: logits of every sequence
    rows     = task.decode(dataset, answers)   # one prediction an item, JSON-able
    task.score(rows, items)                    # {"accuracy": …}

A fine-tuning task is an objective whose labels come from a file: `task.objective()`.

Shapes: n items, m sequences.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from didact.batch import Example, Labels, Prepared, SideName
from didact.config import ModelConfig
from didact.errors import InputError
from didact.heads import Head
from didact.objectives.base import Objective
from didact.tasks import forms
from didact.tasks.columns import Row, Source
from didact.tasks.metrics import Metric
from didact.tokenization.encoded import Encoded
from didact.tokenization.tokenizer import Tokenizer

Array = NDArray[Any]
Prediction = dict[str, Any]
Counts = Counter[str]


@dataclass(frozen=True)
class Item:
    """One row of a labelled file as its task understands it.

    id: the file's, else its number in the file, from 0; fields: what is given (text, question …); gold: the right
    answer in the task's own form, None where the file does not say; file, row: where it stands; group: items of equal
    group belong together (two pairs made of one text), which intervals heed.
    """

    id: str
    fields: Mapping[str, Any]
    gold: Any = None
    file: str | None = None
    row: int | None = None
    group: str | None = None

    def wrong(self, found: str, expected: str | None = None) -> InputError:
        """The error that says what is wrong with this item."""
        return InputError(found, file=self.file, row=self.row, expected=expected)


@dataclass(frozen=True)
class Dataset(Sequence[Example]):
    """Items and the sequences made of them. owners (m,): the item of each sequence, ascending; every item has at
    least one. counts: what was cut, moved or dropped on the way, by name. As a stream's source: len() and (index, rng).
    """

    items: tuple[Item, ...]
    examples: tuple[Example, ...]
    owners: Array
    counts: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: Any) -> Any:
        return self.examples[index]

    def __call__(self, index: int, rng: np.random.Generator | None = None) -> Example:  # noqa: ARG002
        return self.examples[index]

    def of_item(self) -> list[range]:
        """For each item, its sequences."""
        borders = np.searchsorted(self.owners, np.arange(len(self.items) + 1))
        return [range(int(a), int(b)) for a, b in pairwise(borders)]


class Task(ABC):
    """What every task answers to. A task is a frozen dataclass of plain values and goes to JSON field by field. Most
    have columns, format and header.

    kind: its name in run files; answer: the key of a prediction that is scored; written: whether its answers are texts
    that a decoding function writes (`tasks.answering.Write`), not logits of asked rows; named: the fields that columns
    may be of, besides id and group, () = any; length: of a sequence in tokens, special ones included; columns: which
    column of the file is which field (of any task: id, and group, see `Item`); format: of the file, None = by its
    name's ending; header: of tsv and csv, whether the first row names the columns, None = it does unless the mapping
    gives numbers. start, end: the token that a decoder begins with and the one that ends a text, learned from model and
    tokenizer where a decoder is asked.
    """

    kind: ClassVar[str]
    answer: ClassVar[str]
    written: ClassVar[bool] = False
    named: ClassVar[tuple[str, ...]] = ()
    length: int
    start: int | None = None
    end: int | None = None

    @abstractmethod
    def heads(self) -> Mapping[str, Head]:
        """What the model is asked through, by name. Raises InputError before `learn` where it must have learned."""

    @abstractmethod
    def rows(self, source: Source, labelled: bool = True) -> Iterator[Row]:
        """The rows of a file, or of records from Python, with the columns of this task's fields."""

    @abstractmethod
    def item(self, row: Row, labelled: bool, counts: Counts) -> tuple[Mapping[str, Any], Any] | None:
        """One record -> what is given, and the right answer (None where not labelled); None where the task leaves
        such a record out, which it counts.
        """

    @abstractmethod
    def dataset(self, items: Sequence[Item], tokenizer: Tokenizer) -> Dataset:
        """Items -> sequences of at most `length` tokens."""

    @abstractmethod
    def ask(self, example: Example) -> Labels:
        """Which rows of a sequence are asked what; the values are zeros where the right answer is not known."""

    @abstractmethod
    def decode(self, dataset: Dataset, answers: Sequence[Any]) -> list[Prediction]:
        """Logits of each sequence's asked rows, or what was written after each (tasks.answering) -> one prediction an
        item, in the items' order.
        """

    @abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """The official scores, the main one first."""

    @property
    def main(self) -> str:
        """The score that chooses checkpoints and learning rates."""
        return self.metrics()[0].name

    @property
    def higher(self) -> bool:
        """Whether more of the main score is better."""
        return self.metrics()[0].higher

    @property
    def largest(self) -> int:
        """The most tokens of a sequence that a model reads."""
        return self.length

    def size(self, example: Example) -> int:
        """Rows that an example takes in a pack once it is asked."""
        return len(example)

    @property
    def writing(self) -> Mapping[str, Any]:
        """Of a task whose answers are written: settings for `Pretrained.generate`."""
        return {}

    @property
    def watched(self) -> tuple[str, bool]:
        """What chooses a checkpoint while training, and whether more of it is better: the main score; of answers that
        are written, "nll", nats a token of what should have been ("forced" in tasks.answering).
        """
        return self.main, self.higher

    @property
    def side(self) -> SideName:
        """Whose rows are asked: those of a decoder that reads the text once more, or of what reads it alone."""
        return "inputs" if self.start is None else "outputs"

    def posed(self, example: Example) -> Prepared:
        """A sequence with its question, as a model is asked it: where that is a decoder, it reads the same text."""
        asked = self.ask(example)
        return Prepared(example, (asked,)) if self.start is None else forms.twice(example, asked, self.start)

    def suited(self, config: ModelConfig, tokenizer: Tokenizer, encoder: Collection[str] = ()) -> Self:  # noqa: ARG002
        """The task as a model of this configuration can be asked it. encoder: slots of heads that an encoder-decoder's
        encoder is asked (`Family.encoder`). Raises InputError where it cannot be asked.
        """
        if config.decoder is None and self.start is None:
            return self
        assert dataclasses.is_dataclass(self)
        if not {"start", "end"} <= {f.name for f in dataclasses.fields(self)}:
            raise InputError(f"task.{self.kind}: asks no decoder, and the model has one", expected="another model")
        start, end = (None, None) if config.decoder is None else forms.borders(config.decoder.start, tokenizer)
        return dataclasses.replace(self, start=start, end=end)

    def learn(self, items: Sequence[Item]) -> Self:  # noqa: ARG002
        """The task with what only the training file knows."""
        return self

    def tune(self, dataset: Dataset, answers: Sequence[Array]) -> Self:  # noqa: ARG002
        """The task with what is chosen on the dev set's answers (a threshold)."""
        return self

    def items(
        self, source: Source, labelled: bool = True, limit: int | None = None, counts: Counts | None = None
    ) -> list[Item]:
        """The items of a file, or of records from Python; the first `limit` of them. counts: where what is left out
        is counted.

        Raises InputError (file, row) where a field is missing or a label is not one of the task's.
        """
        items: list[Item] = []
        for row in self.rows(source, labelled):
            if limit is not None and len(items) >= limit:
                break
            made = self.item(row, labelled, Counter() if counts is None else counts)
            if made is None:
                continue
            fields, gold = made
            id = str(row.value("id")) if row.has("id") else str(len(items))
            group = str(row.value("group")) if row.has("group") else None
            items.append(Item(id, fields, gold, row.file, row.number, group))
        if not items and isinstance(source, str | Path):
            raise InputError("no records", file=source, expected="at least one")
        return items

    def read(self, source: Source, tokenizer: Tokenizer, labelled: bool = True, limit: int | None = None) -> Dataset:
        """`items` and `dataset` in one, and the counts of both."""
        counts: Counts = Counter()
        dataset = self.dataset(self.items(source, labelled, limit, counts), tokenizer)
        return dataclasses.replace(dataset, counts=Counter(dataset.counts) + counts)

    def objective(self) -> Objective:
        """What a model is trained on."""
        return Supervised(self)

    def gold(self, items: Sequence[Item]) -> list[Any]:
        """The right answers, all of which must be known. Raises InputError."""
        for item in items:
            if item.gold is None:
                raise item.wrong("no label", "labelled records to score predictions with")
        return [item.gold for item in items]

    def groups(self, items: Sequence[Item]) -> list[Any] | None:
        """What items belong together in a resample, by equal values; None = each is drawn alone."""
        if all(item.group is None for item in items):
            return None
        return [i if item.group is None else item.group for i, item in enumerate(items)]

    def predicted(self, predictions: Sequence[Prediction], items: Sequence[Item] | None = None) -> list[Any]:
        """What of each prediction is scored. items: what was asked, in the same order. Raises InputError where there
        are more or fewer of them, or a prediction's id, if it has one, is another.
        """
        if items is not None:
            _check_paired(predictions, items)
        return [prediction[self.answer] for prediction in predictions]

    def score(self, predictions: Sequence[Prediction], items: Sequence[Item]) -> dict[str, float]:
        """Official scores by name, the main one first; all are shares of 1 (correlations of -1 to 1)."""
        predicted, gold = self.predicted(predictions, items), self.gold(items)
        return {metric.name: metric(predicted, gold) for metric in self.metrics()}


@dataclass(frozen=True)
class Supervised(Objective):
    """Fine-tuning. Hidden: nothing. Asked: what the task's file says. (Devlin et al., 2019, §3.2 and §4.)"""

    kind: ClassVar[str] = "supervised"

    task: Task

    @property
    def heads(self) -> Mapping[str, Head]:
        return self.task.heads()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.heads)

    def prepare(self, example: Example, rng: np.random.Generator) -> Prepared:  # noqa: ARG002
        return self.task.posed(example)

    @property
    def decoder(self) -> bool:
        return self.task.side == "outputs"


def _check_paired(predictions: Sequence[Prediction], items: Sequence[Item]) -> None:
    if len(predictions) != len(items):
        raise InputError(f"{len(predictions):,} predictions for {len(items):,} records", expected="one for each")
    for prediction, item in zip(predictions, items, strict=True):
        if str(found := prediction.get("id", item.id)) != item.id:
            raise item.wrong(f"a prediction of id {found!r}", f"{item.id!r}, in the records' order")


def asked_row(example: Example, end: int | None = None) -> int:
    """The row that answers for a whole sequence: the first token where it is special ([CLS]), else the last (XLNet,
    GPT). end: where a decoder is asked, the token that ends a text: its row there has seen the most (BART: Lewis et
    al., 2020, §3.1).
    """
    if end is not None:
        ends = np.flatnonzero(example.tokens == end)
        return int(ends[-1]) if len(ends) else len(example) - 1
    return 0 if len(example) and example.special[0] else len(example) - 1


def encode_all(tokenizer: Tokenizer, texts: Sequence[str], batch: int = 8192, special: bool = False) -> list[Encoded]:
    """Every text encoded, each distinct one once, `batch` texts at a time (which bounds the memory). special: names of
    special tokens in the texts stand for them.
    """
    distinct = list(dict.fromkeys(texts))
    encoded: dict[str, Encoded] = {}
    for start in range(0, len(distinct), batch):
        some = distinct[start : start + batch]
        encoded.update(zip(some, tokenizer.encode_many(some, special=special), strict=True))
    return [encoded[text] for text in texts]


def to_json(task: Task) -> dict[str, Any]:
    """{"kind": …, field: value …}; JSON-able."""
    assert dataclasses.is_dataclass(task)
    return {"kind": task.kind} | {f.name: _plain(getattr(task, f.name)) for f in dataclasses.fields(task)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(v) for name, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def frozen(value: Any) -> Any:
    """What JSON made lists of, as tuples again."""
    if isinstance(value, Mapping):
        return {name: frozen(v) for name, v in value.items()}
    return tuple(frozen(v) for v in value) if isinstance(value, list | tuple) else value
