"""One answer about a text or a pair of texts: a class, several, or a number (Devlin et al., 2019, figure 4 a, b).

Sentiment, acceptability, topic; with a column for `text_b`, entailment, paraphrase and similarity. The question is
asked of the [CLS] row (see `tasks.base.asked_row`; of a decoder, of its row at the end of the text), of the mean of all
rows, or of the means of both texts of a pair, set against each other.

Shapes: m sequences, C classes (1 for a number).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np

from didact.batch import Example, Labels
from didact.errors import InputError
from didact.heads import Classes, Head, Matching
from didact.heads.classes import balanced
from didact.tasks import metrics
from didact.tasks.base import Array, Counts, Dataset, Item, Prediction, Task, asked_row, encode_all
from didact.tasks.columns import Columns, Row, Source, rows
from didact.tasks.metrics import Metric
from didact.tokenization.encoded import Encoded
from didact.tokenization.frame import frame, shorten
from didact.tokenization.tokenizer import Tokenizer

Problem = Literal["single", "multiple", "regression"]
Score = Literal["accuracy", "f1", "f1_macro", "f1_micro", "matthews", "pearson", "spearman", "mse", "exact"]

DEFAULT_SCORES: dict[Problem, tuple[Score, ...]] = {
    "single": ("accuracy", "f1_macro", "matthews"),
    "multiple": ("f1_micro", "f1_macro", "exact"),
    "regression": ("pearson", "spearman", "mse"),
}
FITTING: dict[Problem, tuple[Score, ...]] = {
    "single": ("accuracy", "f1", "f1_macro", "f1_micro", "matthews"),
    "multiple": ("f1", "f1_macro", "f1_micro", "exact"),
    "regression": ("pearson", "spearman", "mse"),
}
"""the scores that mean something of an answer; those of numbers also of single classes that are numbers"""
DEFAULT_COLUMNS: Columns = {"text": "text", "text_b": "text_b", "label": "label", "id": "id"}


@dataclass(frozen=True)
class Classify(Task):
    """problem: "single" (one class), "multiple" (any number of classes) or "regression" (a number).

    columns: of text and label, and where there are such of text_b and id ({"text": "sentence", "label": "label"}, or
    by number from 0); a field that is not named here is looked for under its own name. format, header: of the file,
    None = by its name's ending and by whether columns are names.
    labels: the classes in order, learned from the training file where not given (sorted); separator: between the
    labels of one field, in a "multiple" file; drop: labels whose rows are left out and counted (OCNLI's "-");
    scores: the main one first, None = by the problem; positive: the class that "f1" is of, None = the last;
    class_weights: "balanced" (see `heads.classes.balanced`; learned), or one number a class; threshold: probability
    from which "multiple" gives a class; pooling: "cls", the row that stands for the sequence (see `asked_row`),
    "last", its last row, "mean", the mean of all its rows, or "matched", the means of both texts of a pair, their
    difference and their product (`heads.Matching`, which no class of transformers has); pooled: through the model's
    pooler; dropout: on that row, None = the model's.
    """

    kind: ClassVar[str] = "classify"
    named: ClassVar[tuple[str, ...]] = ("text", "text_b", "label")
    answer: ClassVar[str] = "label"

    problem: Problem = "single"
    columns: Columns = field(default_factory=dict)
    format: str | None = None
    header: bool | None = None
    length: int = 128
    labels: tuple[str, ...] | None = None
    separator: str = ","
    drop: tuple[str, ...] = ()
    scores: tuple[Score, ...] | None = None
    positive: str | None = None
    class_weights: Literal["balanced"] | tuple[float, ...] | None = None
    threshold: float = 0.5
    pooling: Literal["cls", "last", "mean", "matched"] = "cls"
    pooled: bool = True
    dropout: float | None = None
    start: int | None = None
    end: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError(f"threshold {self.threshold}: a probability, from 0 to 1")
        if self.pooling == "matched" and self.pooled:
            raise ValueError("pooling matched passes no pooler: pooled: false")
        self._check_scores()
        if self.problem != "regression" and self.labels is not None:
            self._check_labels(self.labels)
        if self.problem == "regression" or (self.labels is not None and self.class_weights != "balanced"):
            self.heads()  # which check their own

    def _check_scores(self) -> None:
        fitting = FITTING[self.problem]
        if self.problem == "single" and (self.labels is None or all(map(_is_number, self.labels))):
            fitting += FITTING["regression"]
        if wrong := [name for name in self.scores or () if name not in fitting]:
            raise ValueError(f"scores {', '.join(wrong)} of problem {self.problem!r}: some of {', '.join(fitting)}")

    def _check_labels(self, labels: tuple[str, ...]) -> None:
        if not labels or len(set(labels)) < len(labels):
            raise ValueError(f"labels {_listed(labels) or 'none'}: one or more, each once")
        if self.positive is not None and self.positive not in labels:
            raise ValueError(f"positive {self.positive!r}: one of {_listed(labels)}")

    def rows(self, source: Source, labelled: bool = True) -> Iterator[Row]:
        return rows(
            source, {**DEFAULT_COLUMNS, **self.columns}, self.format, self.header, not labelled, ("text", "text_b")
        )

    @property
    def known(self) -> tuple[str, ...]:
        """The classes. Raises InputError where they are neither given nor learned yet."""
        if self.labels is None:
            raise InputError("the classes are not known", expected="`labels`, or a training file to learn them from")
        return self.labels

    def heads(self) -> Mapping[str, Head]:
        if self.problem == "regression":
            return {"classes": self._head(1)}
        if self.class_weights == "balanced":
            raise InputError("the class weights are not known", expected="a training file to learn them from")
        return {"classes": self._head(len(self.known), self.class_weights, self.known)}

    def _head(
        self, classes: int, weights: tuple[float, ...] | None = None, names: tuple[str, ...] | None = None
    ) -> Classes:
        if self.pooling == "matched":
            return Matching(classes, self.problem, dropout=self.dropout, class_weights=weights, names=names)
        return Classes(classes, self.problem, self.pooled, self.dropout, weights, names, self.pooling)

    def item(self, row: Row, labelled: bool, counts: Counts) -> tuple[Mapping[str, Any], Any] | None:
        fields = {"text": row.text("text")}
        if "text_b" in self.columns or row.has("text_b"):
            fields["text_b"] = row.text("text_b")
        gold: Any = None
        if labelled:
            if self.problem == "single" and row.has("label") and row.text("label") in self.drop:
                counts[f"rows labelled {row.text('label')!r}, left out"] += 1
                return None
            gold = self._gold(row)
        return fields, gold

    def _gold(self, row: Row) -> Any:
        if self.problem == "regression":
            return row.number_of("label")
        found = [row.text("label")] if self.problem == "single" else row.texts("label", self.separator)
        for label in found:
            if (self.labels is not None and label not in self.labels) or not label:
                expected = "a label" if self.labels is None else f"one of {_listed(self.labels)}"
                raise row.wrong(f"found label {label!r}", expected)
        return found[0] if self.problem == "single" else tuple(sorted(set(found)))

    def learn(self, items: Sequence[Item]) -> Self:
        """Classes: every label of the training file, sorted. Weights: balanced over it. Whether texts are pairs."""
        task = self
        if items and "text_b" in items[0].fields:
            task = replace(task, columns={"text_b": "text_b", **self.columns})
        if self.problem == "regression":
            return task
        seen = Counter(label for gold in self.gold(items) for label in ((gold,) if isinstance(gold, str) else gold))
        if self.labels is None:
            task = replace(task, labels=tuple(sorted(seen)))
        if self.class_weights == "balanced":
            task = replace(task, class_weights=balanced(tuple(seen[label] for label in task.known)))
        return task

    def dataset(self, items: Sequence[Item], tokenizer: Tokenizer) -> Dataset:
        counts: Counts = Counter()
        a = encode_all(tokenizer, [item.fields["text"] for item in items])
        paired = bool(items) and "text_b" in items[0].fields
        for item in items:
            if ("text_b" in item.fields) is not paired:
                raise item.wrong(f"{'one text' if paired else 'two texts'}", "pairs, or single texts, throughout")
        if items and not paired and self.pooling == "matched":
            raise items[0].wrong("one text", "two, which pooling: matched compares")
        b = encode_all(tokenizer, [item.fields["text_b"] for item in items]) if paired else [None] * len(items)
        room = self.length - tokenizer.template.overhead(paired)
        number = {} if self.problem == "regression" else {label: i for i, label in enumerate(self.known)}
        examples = []
        for item, first, second in zip(items, a, b, strict=True):
            cut = len(first) + (0 if second is None else len(second)) - room
            if cut > 0:
                counts["texts cut to the length"] += 1
                counts["tokens cut off"] += cut
            first, second = shorten(first, second, room)
            targets = {"label": self._value(item.gold, number), **self._texts(tokenizer, first, second)}
            made = frame(tokenizer, first, second, targets=targets)
            examples.append(replace(made, offsets=None, source_bytes=None))
        return Dataset(tuple(items), tuple(examples), np.arange(len(items)), counts)

    def _texts(self, tokenizer: Tokenizer, a: Encoded, b: Encoded | None) -> dict[str, Any]:
        """The rows of both texts, where it is their means that are asked."""
        if self.pooling != "matched" or b is None:
            return {}
        return {"texts": tokenizer.template.places(len(a), len(b))}

    def _value(self, gold: Any, number: Mapping[str, int]) -> Any:
        """The head's form of a right answer; zeros where it is not known."""
        if self.problem == "regression":
            return np.float32(0.0 if gold is None else gold)
        if self.problem == "single":
            return 0 if gold is None else number[gold]
        held = np.zeros(len(number), np.float32)
        held[[number[label] for label in gold or ()]] = 1.0
        return held

    def ask(self, example: Example) -> Labels:
        kind = np.int64 if self.problem == "single" else np.float32
        value = np.asarray(example.targets["label"], kind)[None]
        if self.pooling == "mean":
            return Labels("classes", np.arange(len(example)), value, groups=np.array([0, len(example)], np.int64))
        if self.pooling == "matched":
            a, b = example.targets["texts"]
            return Labels("classes", np.array([*a, *b]), value, groups=np.array([0, len(a), len(a) + len(b)], np.int64))
        row = len(example) - 1 if self.pooling == "last" else asked_row(example, self.end)
        return Labels("classes", np.array([row], np.int64), value)

    def decode(self, dataset: Dataset, answers: Sequence[Array]) -> list[Prediction]:
        logits = np.concatenate([np.asarray(a, np.float64).reshape(1, -1) for a in answers]) if len(answers) else []
        predictions: list[Prediction] = []
        for item, row in zip(dataset.items, logits, strict=True):
            if self.problem == "regression":
                predictions.append({"id": item.id, "label": float(row[0])})
                continue
            chances = softmax(row) if self.problem == "single" else 1 / (1 + np.exp(-np.clip(row, -50, 50)))
            label: Any = self.known[int(row.argmax())]
            if self.problem == "multiple":
                label = [name for name, p in zip(self.known, chances, strict=True) if p >= self.threshold]
            scores = {name: float(p) for name, p in zip(self.known, chances, strict=True)}
            predictions.append({"id": item.id, "label": label, "scores": scores})
        return predictions

    def metrics(self) -> tuple[Metric, ...]:
        return tuple(self._metric(name) for name in self.scores or DEFAULT_SCORES[self.problem])

    def _metric(self, name: Score) -> Metric:
        match name:
            case "accuracy":
                return metrics.ACCURACY
            case "exact":
                return metrics.share("exact", lambda p, g: float(set(p) == set(g)))
            case "f1":
                return metrics.f1_binary(self.known, self.positive or self.known[-1])
            case "f1_macro":
                return metrics.f1_macro(self.known)
            case "f1_micro":
                return metrics.f1_micro(self.known)
            case "matthews":
                return metrics.matthews(self.known)
            case "pearson":
                return metrics.PEARSON
            case "spearman":
                return metrics.SPEARMAN
            case "mse":
                return metrics.SQUARED_ERROR


def softmax(logits: Array) -> Array:
    """Over the last axis."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _is_number(label: str) -> bool:
    try:
        return math.isfinite(float(label))
    except ValueError:
        return False


def _listed(labels: Sequence[str], most: int = 12) -> str:
    return ", ".join(labels[:most]) + (f" … ({len(labels)} in all)" if len(labels) > most else "")
