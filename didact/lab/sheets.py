"""A task's test file with everybody's answers to it: what paired comparisons and trivial floors are computed from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from didact.errors import InputError
from didact.evaluation.evaluate import compare, intervals
from didact.evaluation.floors import floors_of
from didact.evaluation.intervals import Interval
from didact.lab.numbers import higher_is_better
from didact.runs.build import learned, task_of
from didact.runs.runfile import load_plugins
from didact.runs.schema import FinetuneRun
from didact.tasks.base import Item, Prediction, Task

Answers = Mapping[int, list[Prediction]]
"""seed -> predictions, in the test file's order"""


@dataclass(frozen=True)
class Sheet:
    """run: whose files these are; task: as it learned from the training file; train, test: the items of both, () where
    the run has no test file.
    """

    run: FinetuneRun
    task: Task
    train: tuple[Item, ...]
    test: tuple[Item, ...] = ()

    def asks(self, run: FinetuneRun) -> bool:
        """Whether a run was asked this very sheet, so that its answers are to these items."""
        return bool(self.test) and (run.data, run.task) == (self.run.data, self.run.task)

    def check(self, answers: Sequence[Prediction], file: Path) -> None:
        """Raise InputError where the answers of a file are not to these items, in this order."""
        for row, (item, answer) in enumerate(zip(self.test, answers, strict=False), 1):
            found = str(answer.get("id", item.id))  # a plugin's task may write none
            if found != item.id:
                expected = f"the one to {item.id!r}, as {self.run.data.test} has it"
                raise InputError(f"an answer to {found!r}", file=file, row=row, expected=expected)
        if len(answers) != len(self.test):
            expected = f"{len(self.test)}, one to each item of {self.run.data.test}"
            raise InputError(f"{len(answers)} answers", file=file, expected=expected)

    def higher(self, metric: str) -> bool:
        """Whether more of a score is better: the task knows of its own; of others the name must tell."""
        own = {one.name: one.higher for one in self.task.metrics()}
        return own.get(metric, higher_is_better(metric))

    def scores(self, answers: Answers) -> dict[str, Interval]:
        """Every official score, the seeds' mean, with its bootstrap interval over test examples and seeds."""
        return intervals(self.task, list(answers.values()), self.test, new_seeds=True)

    def changes(self, answers: Answers, others: Answers) -> dict[str, Interval]:
        """Every official score less that of others on the same examples, with its paired interval."""
        return compare(self.task, list(answers.values()), list(others.values()), self.test, new_seeds=True)

    def floors(self) -> dict[str, dict[str, float]]:
        """name -> scores of each trivial method that suits the task, learned from the training file."""
        found = {}
        for floor in floors_of(self.task) if self.test else ():
            predict = floor.fit(self.task, self.train)
            found[floor.name] = self.task.score(predict(self.test), self.test)
        return found


def sheet_of(run: FinetuneRun) -> Sheet:
    """The sheet of a fine-tuning run. What a task leaves out, the run has said."""
    load_plugins(run.plugins)
    task = task_of(run.task, run.length)
    train = [item for path in run.data.training for item in task.items(path, limit=run.data.limit)]
    task = learned(task, train)
    test = () if run.data.test is None else tuple(task.items(run.data.test, limit=run.data.limit))
    return Sheet(run, task, tuple(train), test)


def answers_in(file: Path) -> list[Prediction]:
    """The predictions of a file of JSON lines. InputError where a line is none."""
    found: list[Any] = []
    # at line feeds alone: texts hold other characters that end lines for Python (U+2028, U+0085), and JSON lets them
    for number, line in enumerate(file.read_text(encoding="utf-8").removesuffix("\n").split("\n"), 1):
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError as problem:
            raise InputError(f"not JSON: {problem}", file=file, row=number) from None
        if not isinstance(found[-1], dict):
            raise InputError(f"found {line[:80]}", file=file, row=number, expected="keys and values")
    return found
