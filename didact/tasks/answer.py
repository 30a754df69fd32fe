"""An answer inside a text: extractive question answering (Devlin et al., 2019, §4.2–4.3, figure 4 c).

Asked: which token of the context the answer starts at and which it ends at; [CLS] stands for "not here". A context
longer than the model reads is cut into windows (BERT's doc_stride); a window that does not hold the whole answer is
taught "not here". Prediction: the best span over all windows, a span counting in the window where its first token sees
most; nothing, where "not here" beats it by more than a threshold found on the dev set. Answers are given in characters
of the context (text = context[start:end], exactly, in any script), in tokens and in words.

Shapes: m windows, n candidate rows of a window ([CLS] and the context's tokens).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np

from didact.batch import Example, Labels
from didact.bounds import check_counts
from didact.errors import InputError
from didact.heads import Head, Span
from didact.tasks import squad
from didact.tasks.base import Array, Counts, Dataset, Item, Prediction, Task, asked_row, encode_all
from didact.tasks.candidates import best_spans, best_threshold
from didact.tasks.classify import softmax
from didact.tasks.columns import Columns, Row, Source, rows
from didact.tasks.metrics import Metric
from didact.tasks.references import FORMS, Reference, read_reference
from didact.tasks.windows import Windows, cut
from didact.tokenization.encoded import Encoded
from didact.tokenization.frame import frame
from didact.tokenization.tokenizer import Tokenizer
from didact.tokenization.whole_words import number

DEFAULT_COLUMNS: Columns = {
    "context": "context",
    "question": "question",
    "answers": "answers",
    "answer": "answer",
    "start": "start",
    "impossible": "is_impossible",
    "id": "id",
}
_HAN = re.compile("[\u3400-\u9fff]")


@dataclass(frozen=True)
class Answer(Task):
    """columns: of context, question, id, and one of the forms of `tasks.references` (answers, answer and start, span,
    words); contexts: a file of two columns, id and text, where the context's column holds ids; no_answer: a text that
    stands for none, also cut from the end of contexts (SubjQA); misplaced: of rows whose answer's text is not in the
    context, "error" or "drop" (counted).
    length: of a window in tokens; stride: tokens between the starts of windows, None = 128, or half of what a window
    holds of the context where that is less; question: its longest, in tokens; longest: an answer's longest, in tokens;
    best: answers listed for each question.
    nullable: whether a question may have no answer, None = learned; threshold: "no answer" is given where it
    outscores the best answer by more, found on the dev set (`tune`); scoring: "squad" or "cmrc" (for
    Chinese), None = learned.
    """

    kind: ClassVar[str] = "answer"
    named: ClassVar[tuple[str, ...]] = ("context", "question", *FORMS, "start", "impossible")
    answer: ClassVar[str] = "answer"

    columns: Columns = field(default_factory=dict)
    format: str | None = None
    header: bool | None = None
    contexts: str | None = None
    no_answer: str = ""
    misplaced: Literal["error", "drop"] = "error"
    length: int = 384
    stride: int | None = None
    question: int = 64
    longest: int = 30
    best: int = 5
    nullable: bool | None = None
    threshold: float = 0.0
    scoring: Literal["squad", "cmrc"] | None = None
    start: int | None = None
    end: int | None = None

    def __post_init__(self) -> None:
        check_counts(stride=self.stride, question=self.question, longest=self.longest, best=self.best)

    def heads(self) -> Mapping[str, Head]:
        return {"span": Span(nullable=bool(self.nullable))}

    def rows(self, source: Source, labelled: bool = True) -> Iterator[Row]:
        """The rows, contexts looked up where the file holds only their ids."""
        mapping = {**DEFAULT_COLUMNS, **self.columns}
        found = rows(source, mapping, self.format, self.header, not labelled, ("question", "context"))
        if self.contexts is None:
            yield from found
            return
        texts = _contexts(self.contexts)
        for row in found:
            id = row.text("context")
            if id not in texts:
                raise row.wrong(f"context {id!r}", f"an id of {self.contexts}")
            yield replace(row, record={**row.record, _TEXT: texts[id]}, mapping={**mapping, "context": _TEXT})

    def item(self, row: Row, labelled: bool, counts: Counts) -> tuple[Mapping[str, Any], Any] | None:
        context = row.text("context")
        fields = {"context": context, "question": row.text("question")}
        if self.no_answer:
            fields["context"] = context.removesuffix(self.no_answer)
        if not labelled:
            return fields, None
        gold = read_reference(row, context, self.no_answer, lambda what: counts.update([what]))
        if gold is None and self.misplaced == "error":
            raise row.wrong("the answer's text is not in the context", 'such a text, or `misplaced: "drop"`')
        if gold is None:
            counts["questions whose answer is not in the context, left out"] += 1
            return None
        return fields, gold

    def learn(self, items: Sequence[Item]) -> Self:
        """Whether questions may have no answer; Chinese or other scoring, by the answers' script."""
        gold: list[Reference] = super().gold(items)
        text = "".join(reference.texts[0] for reference in gold if reference.texts)
        chinese = 2 * len(_HAN.findall(text)) > sum(c.isalnum() for c in text)
        nullable = any(not reference.texts for reference in gold)
        return replace(
            self,
            nullable=nullable if self.nullable is None else self.nullable,
            scoring=self.scoring or ("cmrc" if chinese else "squad"),
        )

    def dataset(self, items: Sequence[Item], tokenizer: Tokenizer) -> Dataset:
        counts: Counts = Counter()
        contexts = encode_all(tokenizer, [item.fields["context"] for item in items])
        questions = encode_all(tokenizer, [item.fields["question"] for item in items])
        examples, owners = [], []
        for owner, (item, context, question) in enumerate(zip(items, contexts, questions, strict=True)):
            counts["questions cut"] += len(question) > self.question
            question = question.cut(0, min(self.question, len(question)))
            room = self.length - tokenizer.template.overhead(True) - len(question)
            if room < 1:
                raise InputError(f"length {self.length} has no room beside a question of {len(question)} tokens")
            stride = min(128, max(1, room // 2)) if self.stride is None else min(self.stride, room)
            windows = cut(len(context), room, stride)
            counts["contexts cut into windows"] += len(windows) > 1
            words = number(context.word_starts)
            span = None if item.gold is None else self._tokens(item, context, windows, counts)
            for i, (start, end) in enumerate(zip(windows.starts.tolist(), windows.ends.tolist(), strict=True)):
                example = frame(tokenizer, question, context.cut(start, end))
                rows = np.concatenate([[asked_row(example)], np.flatnonzero(~example.special)[len(question) :]])
                held = span is not None and start <= span[0] and span[1] < end
                targets = {
                    "rows": rows,
                    "value": np.array(span) - start + 1 if held else np.zeros(2, np.int64),
                    "start": start,
                    "words": words[start:end],
                    "own": windows.owner(np.arange(start, end)) == i,
                }
                examples.append(replace(example, source_bytes=None, words=None, targets=targets))
                owners.append(owner)
        return Dataset(tuple(items), tuple(examples), np.array(owners, np.int64), +counts)

    def _tokens(self, item: Item, context: Encoded, windows: Windows, counts: Counts) -> tuple[int, int] | None:
        """First and last token of the answer; None where there is none, or no token of the context covers it."""
        gold, text = item.gold, item.fields["context"]
        if not gold.texts:
            return None
        assert context.offsets is not None
        first = int(np.searchsorted(np.maximum.accumulate(context.offsets[:, 1]), gold.start, side="right"))
        last = int(np.searchsorted(context.offsets[:, 0], gold.end, side="left")) - 1
        if first > last:
            counts["answers that no token covers, not asked"] += 1
            return None
        found = stripped(text, int(context.offsets[first, 0]), int(context.offsets[last, 1]))
        counts["answers not on the borders of tokens"] += found != stripped(text, gold.start, gold.end)
        counts["answers longer than an answer may be"] += last - first >= self.longest
        inside = (windows.starts <= first) & (last < windows.ends)
        counts["answers in no window whole, not asked"] += not inside.any()
        return first, last

    def ask(self, example: Example) -> Labels:
        rows = example.targets["rows"]
        return Labels("span", rows, example.targets["value"][None], groups=np.array([0, len(rows)], np.int64))

    def decode(self, dataset: Dataset, answers: Sequence[Array]) -> list[Prediction]:
        """{id, answer, start, end (characters), tokens and words ([first, past the last]), score, no_answer: by how
        much "no answer" outscores the best answer, best: [{answer, start …, probability}]}. Where nothing is
        answered, answer is "" and the places are null.
        """
        return [
            self._prediction(item, [self._found(item, dataset[i], np.asarray(answers[i], np.float64)) for i in windows])
            for item, windows in zip(dataset.items, dataset.of_item(), strict=True)
        ]

    def _found(self, item: Item, window: Example, logits: Array) -> tuple[float, list[Prediction]]:
        """A window's score of "not here", and its best answers."""
        asked = window.targets
        first, last, scores = best_spans(logits[1:, 0], logits[1:, 1], self.longest, self.best, asked["own"])
        assert window.offsets is not None
        offsets, context = window.offsets[asked["rows"][1:]], item.fields["context"]
        found = []
        for a, b, score in zip(first.tolist(), last.tolist(), scores.tolist(), strict=True):
            start, end = stripped(context, int(offsets[a, 0]), int(offsets[b, 1]))
            found.append(
                {
                    "answer": context[start:end],
                    "start": start,
                    "end": end,
                    "tokens": [asked["start"] + a, asked["start"] + b + 1],
                    "words": [int(asked["words"][a]), int(asked["words"][b]) + 1],
                    "score": score,
                }
            )
        return float(logits[0].sum()), found

    def _prediction(self, item: Item, windows: Sequence[tuple[float, list[Prediction]]]) -> Prediction:
        nothing = min(score for score, _ in windows)  # "not here" must be said of every window
        ordered = sorted((f for _, found in windows for f in found), key=lambda f: -f["score"])
        best: list[Prediction] = []
        for found in ordered:  # a text counts once, at its best place
            if found["answer"] and found["answer"] not in [b["answer"] for b in best] and len(best) < self.best:
                best.append(found)
        if not best:
            return {"id": item.id, **_NOTHING, "score": None, "no_answer": None, "best": []}
        chances = softmax(np.array([found["score"] for found in best] + [nothing] * bool(self.nullable)))
        margin = nothing - best[0]["score"]
        silent = bool(self.nullable) and margin > self.threshold
        listed = [{**found, "probability": float(p)} for found, p in zip(best, chances, strict=False)]
        chosen = {**best[0], **_NOTHING} if silent else best[0]
        return {"id": item.id, **chosen, "no_answer": margin, "best": listed}

    def tune(self, dataset: Dataset, answers: Sequence[Array]) -> Self:
        """The threshold of "no answer" that scores the highest F1 on these answers."""
        if not self.nullable:
            return self
        compare = squad.SCORES[self.scoring or "squad"]
        predictions = replace(self, threshold=np.inf).decode(dataset, answers)
        margins, answered, silent = [], [], []
        for prediction, texts in zip(predictions, self.gold(dataset.items), strict=True):
            if prediction["no_answer"] is not None:
                margins.append(prediction["no_answer"])
                answered.append(squad.best(compare.f1, prediction["answer"], squad.references(texts, compare)))
                silent.append(squad.best(compare.f1, "", squad.references(texts, compare)))
        return replace(self, threshold=best_threshold(np.array(margins), np.array(answered), np.array(silent)))

    def gold(self, items: Sequence[Item]) -> list[Any]:
        """Of each question, the texts of its right answers; none where it has no answer."""
        return [reference.texts for reference in super().gold(items)]

    def groups(self, items: Sequence[Item]) -> list[Any]:
        """Questions on one context are drawn together."""
        return [item.fields["context"] for item in items]

    def metrics(self) -> tuple[Metric, ...]:
        return squad.metrics(self.scoring or "squad", bool(self.nullable))


_NOTHING: dict[str, Any] = {"answer": "", "start": None, "end": None, "tokens": None, "words": None}
_TEXT = "the text of the context"


def stripped(context: str, start: int, end: int) -> tuple[int, int]:
    """The span without white space at its ends (byte-level tokens begin with the space before them)."""
    while start < end and context[start].isspace():
        start += 1
    while start < end and context[end - 1].isspace():
        end -= 1
    return start, end


def _contexts(path: str) -> dict[str, str]:
    """{id: text} from a file of two columns, which a TSV or CSV does not name."""
    from didact.data.records import records

    texts: dict[str, str] = {}
    for record in records(path, header=False):
        if len(record.fields) != 2:
            raise InputError(
                f"{len(record.fields)} columns", file=path, row=record.row, expected="two, of id and context"
            )
        id, text = record.fields.values()
        texts[str(id)] = str(text)
    return texts
