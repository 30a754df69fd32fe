"""GLUE: nine tasks and a diagnostic set as columns of `Classify`, scored and averaged as gluebenchmark.com does it
(Wang et al., 2019, §3 and table 1), and the files that its leaderboard takes.

Scores are shares of 1; the site shows them times 100.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from didact.batch import Example, Labels
from didact.errors import InputError
from didact.heads import Head
from didact.tasks.base import Array, Counts, Dataset, Item, Prediction, Task
from didact.tasks.classify import Classify, Score
from didact.tasks.columns import Columns, Row, Source
from didact.tasks.metrics import Metric
from didact.tokenization.tokenizer import Tokenizer

BINARY = ("0", "1")
ENTAILMENT = ("entailment", "not_entailment")
INFERENCE = ("contradiction", "entailment", "neutral")

Name = Literal["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli", "ax"]


@dataclass(frozen=True)
class Member:
    """labelled, unlabelled: the columns of train.tsv and dev.tsv, and of test.tsv; scores: what is averaged into the
    task's score; boards: its files on the leaderboard and the test file each answers; averaged: counts in GLUE's score;
    header: whether train.tsv and dev.tsv name their columns; broken: whether its files have rows cut short.
    """

    labelled: Columns
    unlabelled: Columns
    labels: tuple[str, ...] | None
    scores: tuple[Score, ...]
    boards: Mapping[str, str]
    averaged: bool = True
    header: bool = True
    broken: bool = False


def _pair(a: str, b: str, label: str) -> tuple[Columns, Columns]:
    both: Columns = {"text": a, "text_b": b}
    return {**both, "label": label}, both


MEMBERS: dict[str, Member] = {
    # train.tsv and dev.tsv have no header: source, label, the author's mark, sentence
    "cola": Member(
        {"text": 3, "label": 1}, {"text": "sentence"}, BINARY, ("matthews",), {"CoLA": "test"}, header=False
    ),
    "sst2": Member(
        {"text": "sentence", "label": "label"}, {"text": "sentence"}, BINARY, ("accuracy",), {"SST-2": "test"}
    ),
    "mrpc": Member(*_pair("#1 String", "#2 String", "Quality"), BINARY, ("f1", "accuracy"), {"MRPC": "test"}),
    "stsb": Member(*_pair("sentence1", "sentence2", "score"), None, ("pearson", "spearman"), {"STS-B": "test"}),
    "qqp": Member(
        *_pair("question1", "question2", "is_duplicate"), BINARY, ("f1", "accuracy"), {"QQP": "test"}, broken=True
    ),
    "mnli": Member(
        *_pair("sentence1", "sentence2", "gold_label"),
        INFERENCE,
        ("accuracy",),
        {"MNLI-m": "test_matched", "MNLI-mm": "test_mismatched"},
    ),
    "qnli": Member(*_pair("question", "sentence", "label"), ENTAILMENT, ("accuracy",), {"QNLI": "test"}),
    "rte": Member(*_pair("sentence1", "sentence2", "label"), ENTAILMENT, ("accuracy",), {"RTE": "test"}),
    "wnli": Member(*_pair("sentence1", "sentence2", "label"), BINARY, ("accuracy",), {"WNLI": "test"}),
    # the diagnostic set is answered by a model of MNLI
    "ax": Member(
        *_pair("sentence1", "sentence2", "label"), INFERENCE, ("matthews",), {"AX": "diagnostic"}, averaged=False
    ),
}


@dataclass(frozen=True)
class Glue(Task):
    """name: of the task. Reads GLUE's own files, train.tsv and dev.tsv (labelled) and test.tsv (not), as they are.
    dropout: on the pooled row, None = the model's.
    """

    kind: ClassVar[str] = "glue"
    answer: ClassVar[str] = "label"

    name: Name
    length: int = 128
    dropout: float | None = None
    start: int | None = None
    end: int | None = None

    def __post_init__(self) -> None:
        if self.name not in MEMBERS:
            raise InputError(f"GLUE task {self.name!r}", expected=f"one of {', '.join(MEMBERS)}")
        _ = self.plain  # which checks its own

    @property
    def plain(self) -> Classify:
        """The task without GLUE's name, as it reads labelled files."""
        member = MEMBERS[self.name]
        return Classify(
            problem="single" if member.labels else "regression",
            columns={**member.labelled, "id": "index"},
            format="tsv",
            header=member.header,
            length=self.length,
            labels=member.labels,
            scores=member.scores,
            dropout=self.dropout,
            start=self.start,
            end=self.end,
        )

    def heads(self) -> Mapping[str, Head]:
        return self.plain.heads()

    def rows(self, source: Source, labelled: bool = True) -> Iterator[Row]:
        """Rows cut short, which QQP's files have, come with nothing in the columns they lack."""
        member, plain = MEMBERS[self.name], self.plain
        if not labelled:
            plain = replace(plain, columns={**member.unlabelled, "id": "index"}, header=True)
        if member.broken and isinstance(source, str | Path):
            return _uneven_rows(source, plain.columns)
        return plain.rows(source, labelled)

    def item(self, row: Row, labelled: bool, counts: Counts) -> tuple[Mapping[str, Any], Any] | None:
        asked = ("text", "text_b", "label") if labelled else ("text", "text_b")
        if MEMBERS[self.name].broken and not all(row.has(field) for field in asked):
            counts["rows cut short, left out"] += 1
            return None
        return self.plain.item(row, labelled, counts)

    def learn(self, items: Sequence[Item]) -> Self:  # noqa: ARG002
        return self

    def dataset(self, items: Sequence[Item], tokenizer: Tokenizer) -> Dataset:
        return self.plain.dataset(items, tokenizer)

    def ask(self, example: Example) -> Labels:
        return self.plain.ask(example)

    def decode(self, dataset: Dataset, answers: Sequence[Array]) -> list[Prediction]:
        return self.plain.decode(dataset, answers)

    def metrics(self) -> tuple[Metric, ...]:
        return self.plain.metrics()


def _uneven_rows(path: str | Path, columns: Columns) -> Iterator[Row]:
    """The rows of a TSV file with a header, whatever number of fields they have."""
    from didact.data.files import lines

    names: list[str] = []
    for number, (_, line) in enumerate(lines(Path(path)), 1):
        fields = line.split("\t")
        if number == 1:
            names = fields
        else:
            yield Row(dict(zip_longest(names, fields[: len(names)])), columns, str(path), number)


def task_score(name: str, scores: Mapping[str, float]) -> float:
    """A task's one score: the mean of its official ones."""
    official = MEMBERS[name].scores
    return sum(scores[s] for s in official) / len(official)


def average(scores: Mapping[str, Mapping[str, float]]) -> float:
    """The GLUE score: the mean of the nine tasks' scores. MNLI is one task, the mean of matched and mismatched.

    scores: {"cola": {"matthews": …}, …, "mnli": {"accuracy": …}, "mnli_mismatched": {"accuracy": …}}; the diagnostic
    set does not count. Raises InputError where one of the nine is missing.
    """
    nine = [name for name, member in MEMBERS.items() if member.averaged]
    if missing := [name for name in (*nine, "mnli_mismatched") if name not in scores]:
        raise InputError(f"no scores of {', '.join(missing)}", expected="all nine tasks")
    of = {name: task_score(name, scores[name]) for name in nine}
    of["mnli"] = (of["mnli"] + task_score("mnli", scores["mnli_mismatched"])) / 2
    return sum(of.values()) / len(of)


def write_board(board: str, predictions: Sequence[Prediction], folder: Path) -> Path:
    """One leaderboard file (board: "CoLA", "MNLI-mm" …): index TAB prediction, in the test file's order.

    STS-B's numbers are held to [0, 5], as its scale is.
    """
    if board not in (known := [b for member in MEMBERS.values() for b in member.boards]):
        raise InputError(f"leaderboard file {board!r}", expected=f"one of {', '.join(known)}")
    lines = ["index\tprediction"]
    for index, prediction in enumerate(predictions):
        label = prediction["label"]
        lines.append(f"{index}\t{min(5.0, max(0.0, label)):.3f}" if isinstance(label, float) else f"{index}\t{label}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{board}.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_submission(folder: Path) -> Path:
    """The zip of all eleven files in `folder`, for gluebenchmark.com. Raises InputError where one is missing."""
    boards = [board for member in MEMBERS.values() for board in member.boards]
    if missing := [board for board in boards if not (folder / f"{board}.tsv").is_file()]:
        raise InputError(f"no {', '.join(missing)}", file=folder, expected="the files of all tasks")
    path = folder / "submission.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for board in boards:
            archive.write(folder / f"{board}.tsv", f"{board}.tsv")
    return path
