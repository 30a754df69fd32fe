"""A task's test file with everybody's answers to it: what paired comparisons and trivial floors are computed from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from didact.errors import InputError
from didact.evaluation.evaluate import compare, intervals
from didact.evaluation.floors import floors_of
from didact.evaluation.intervals import Interval
from didact.runs.build import learned, task_of
from didact.runs.runfile import load_plugins
from didact.runs.schema import FinetuneRun
from didact.tasks.base import Item, Prediction, Task

Answers = Mapping[int, list[Prediction]]
"""seed -> predictions, in the test file's order"""


@dataclass(frozen=True)
class Sheet:
    """task: as it learned from the training file; train, test: the items of both."""

    task: Task
    train: tuple[Item, ...]
    test: tuple[Item, ...]

    def scores(self, answers: Answers) -> dict[str, Interval]:
        """Every official score, the seeds' mean, with its bootstrap interval over test examples and seeds."""
        return intervals(self.task, list(answers.values()), self.test, resample_seeds=True)

    def changes(self, answers: Answers, others: Answers) -> dict[str, Interval]:
        """Every official score less that of others on the same examples, with its paired interval."""
        return compare(self.task, list(answers.values()), list(others.values()), self.test, resample_seeds=True)

    def floors(self) -> dict[str, dict[str, float]]:
        """name -> scores of each trivial method that suits the task, learned from the training file."""
        found = {}
        for floor in floors_of(self.task):
            predict = floor.fit(self.task, self.train)
            found[floor.name] = self.task.score(predict(self.test), self.test)
        return found


def sheet_of(run: FinetuneRun) -> Sheet | None:
    """The sheet of a fine-tuning run; None where it has no test file. What a task leaves out, the run has said."""
    if run.data.test is None:
        return None
    load_plugins(run.plugins)
    task = task_of(run.task, run.length)
    paths = run.data.train if isinstance(run.data.train, tuple) else (run.data.train,)
    train = [item for path in paths for item in task.items(path, limit=run.data.limit)]
    task = learned(task, train)
    return Sheet(task, tuple(train), tuple(task.items(run.data.test, limit=run.data.limit)))


def answers_in(file: Path) -> list[Prediction]:
    """The predictions of a file of JSON lines. InputError where a line is none."""
    found: list[Any] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError as problem:
            raise InputError(f"not JSON: {problem}", file=file, row=number) from None
    return found
