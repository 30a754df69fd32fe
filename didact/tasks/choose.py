"""Which of several choices is right: multiple choice (Devlin et al., 2019, §4.4, SWAG; Lai et al., 2017, RACE).

Every choice is a sequence of its own, [CLS] context [SEP] question choice [SEP], and the choices of one question are
one example, so that the softmax runs over them. Questions may have different numbers of choices.

Shapes: k choices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from didact.batch import Example, Labels
from didact.data.parts import side_by_side
from didact.heads import Choice, Head
from didact.tasks.base import Array, Counts, Dataset, Item, Prediction, Task, asked_row, encode_all
from didact.tasks.classify import softmax
from didact.tasks.columns import Columns, Row, Source, rows
from didact.tasks.metrics import ACCURACY, Metric
from didact.tokenization.frame import frame
from didact.tokenization.tokenizer import Tokenizer

DEFAULT_COLUMNS: Columns = {"context": "context", "choices": "choices", "label": "label", "id": "id"}


@dataclass(frozen=True)
class Choose(Task):
    """columns: of context, choices (a list, or several columns), label, id, and where there is one of question, which
    goes before each choice (SWAG: {"context": "sent1", "question": "sent2", "choices": ["ending0", …]}; RACE:
    {"context": "article", "question": "question", "choices": "options", "label": "answer"});
    label: the number of the right choice, its letter, or its text; first: what the first choice's number is (0 or 1),
    in files and in predictions.
    length: of one choice's sequence in tokens; the longer of context and choice gives way. dropout: on the pooled row.
    """

    kind: ClassVar[str] = "choose"
    named: ClassVar[tuple[str, ...]] = ("context", "question", "choices", "label")
    answer: ClassVar[str] = "label"

    columns: Columns = field(default_factory=dict)
    format: str | None = None
    header: bool | None = None
    length: int = 128
    first: int = 0
    dropout: float | None = None
    start: int | None = None
    end: int | None = None

    def __post_init__(self) -> None:
        self.heads()  # which check their own

    def rows(self, source: Source, labelled: bool = True) -> Iterator[Row]:
        return rows(source, {**DEFAULT_COLUMNS, **self.columns}, self.format, self.header, not labelled)

    def heads(self) -> Mapping[str, Head]:
        return {"choice": Choice(self.dropout)}

    def item(self, row: Row, labelled: bool, counts: Counts) -> tuple[Mapping[str, Any], Any] | None:  # noqa: ARG002
        choices = tuple(row.texts("choices", "|"))
        if len(choices) < 2:
            raise row.wrong(f"{len(choices)} choices", "two or more")
        question = f"{row.text('question')} " if "question" in row.mapping else ""
        fields = {"context": row.text("context"), "choices": choices, "question": question}
        return fields, self._gold(row, choices) if labelled else None

    def _gold(self, row: Row, choices: Sequence[str]) -> int:
        """The number of the right choice, from `first`."""
        label = row.text("label").strip()
        letters = [chr(ord("A") + i) for i in range(len(choices))]
        numbers = [str(i + self.first) for i in range(len(choices))]
        for names in (numbers, letters, choices):
            if label in names:
                return self.first + list(names).index(label)
        raise row.wrong(f"found label {label!r}", f"one of {', '.join(numbers)} (or a letter, or a choice)")

    def dataset(self, items: Sequence[Item], tokenizer: Tokenizer) -> Dataset:
        counts: Counts = Counts()
        contexts = encode_all(tokenizer, [item.fields["context"] for item in items])
        endings = iter(
            encode_all(tokenizer, [item.fields["question"] + c for item in items for c in item.fields["choices"]])
        )
        examples = []
        for item, context in zip(items, contexts, strict=True):
            parts = []
            for _ in item.fields["choices"]:
                ending = next(endings)
                cut = len(context) + len(ending) + tokenizer.template.overhead(True) - self.length
                counts["choices cut to the length"] += cut > 0
                parts.append(frame(tokenizer, context, ending, self.length))
            starts = np.cumsum([0, *(len(part) for part in parts[:-1])])
            rows = starts + [asked_row(part, self.end) for part in parts]
            examples.append(
                side_by_side(parts, {"rows": rows, "choice": 0 if item.gold is None else item.gold - self.first})
            )
        return Dataset(tuple(items), tuple(examples), np.arange(len(items)), +counts)

    def ask(self, example: Example) -> Labels:
        rows = example.targets["rows"]
        return Labels("choice", rows, np.array([example.targets["choice"]], np.int64), groups=np.array([0, len(rows)]))

    def decode(self, dataset: Dataset, answers: Sequence[Array]) -> list[Prediction]:
        predictions: list[Prediction] = []
        for item, answer in zip(dataset.items, answers, strict=True):
            logits = np.asarray(answer, np.float64).reshape(-1)
            best, choices = int(logits.argmax()), item.fields["choices"]
            scores = softmax(logits).tolist()
            label = self.first + best
            predictions.append({"id": item.id, "label": label, "choice": choices[best], "scores": scores})
        return predictions

    def metrics(self) -> tuple[Metric, ...]:
        return (ACCURACY,)
