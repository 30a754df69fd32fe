"""Score a model, or predictions, on a labelled set: every official score with its bootstrap interval; and compare two.

Shapes: n items, S seeds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from didact.evaluation.intervals import Interval, difference, interval
from didact.tasks.answering import Write, answer
from didact.tasks.base import Dataset, Item, Prediction, Task


@dataclass(frozen=True)
class Scores:
    """intervals: each official score with its interval, the main one (`main`) first; predictions: one an item;
    counts: what was cut or left out while reading; items, sequences: how many; seconds: the model's share;
    signatures: how scores were computed that must say so, by name.
    """

    main: str
    intervals: Mapping[str, Interval]
    predictions: Sequence[Prediction] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    items: int = 0
    sequences: int = 0
    seconds: float = 0.0
    signatures: Mapping[str, str] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, float]:
        return {name: found.value for name, found in self.intervals.items()}

    @property
    def value(self) -> float:
        """The main score."""
        return self.intervals[self.main].value

    def to_json(self) -> dict[str, Any]:
        """All but the predictions."""
        return {
            "main": self.main,
            "scores": {name: found.to_json() for name, found in self.intervals.items()},
            "counts": dict(self.counts),
            "items": self.items,
            "sequences": self.sequences,
            "seconds": self.seconds,
            "signatures": dict(self.signatures),
        }


def evaluate(
    model: nn.Module,
    task: Task,
    dataset: Dataset,
    *,
    batch_tokens: int = 8192,
    device: torch.device | str | None = None,
    precision: torch.dtype | None = None,
    resamples: int = 2000,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
    write: Write | None = None,
) -> Scores:
    """Answer the dataset's questions and score the answers; `tasks.answering.answer` says what the options mean.

    resamples: of the bootstrap, 0 = none (intervals are then not numbers). Raises InputError where a label is missing.
    """
    task.gold(dataset.items)
    start = time.perf_counter()
    answers = answer(model, task, dataset, batch_tokens, device, precision, progress, write)
    seconds = time.perf_counter() - start
    predictions = task.decode(dataset, answers)
    found = intervals(task, predictions, dataset.items, resamples=resamples, seed=seed)
    signatures = {metric.name: metric.signature for metric in task.metrics() if metric.signature}
    return Scores(task.main, found, predictions, dataset.counts, len(dataset.items), len(dataset), seconds, signatures)


def intervals(
    task: Task,
    predictions: Sequence[Prediction] | Sequence[Sequence[Prediction]],
    items: Sequence[Item],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    new_seeds: bool = False,
) -> dict[str, Interval]:
    """Every official score of one run's predictions, or of several seeds' (their mean), with its bootstrap interval.

    Items that the task groups (`Task.groups`) are drawn together; new_seeds: the interval is about new seeds too.
    Raises InputError where predictions are not those of the items, one by one.
    """
    gold, groups = task.gold(items), task.groups(items)
    runs = [task.predicted(run, items) for run in _runs(predictions)]
    return {
        metric.name: interval(
            metric,
            [metric.units(run, gold) for run in runs],
            groups,
            level=level,
            resamples=resamples,
            seed=seed,
            new_seeds=new_seeds,
        )
        for metric in task.metrics()
    }


def compare(
    task: Task,
    predictions: Sequence[Prediction] | Sequence[Sequence[Prediction]],
    baseline: Sequence[Prediction] | Sequence[Sequence[Prediction]],
    items: Sequence[Item],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    new_seeds: bool = False,
) -> dict[str, Interval]:
    """Every official score less the baseline's on the same items, with its paired interval: of one run's predictions
    each, or of several seeds' (their means; the numbers of seeds may differ). Raises InputError as `intervals` does.
    """
    gold, groups = task.gold(items), task.groups(items)
    ours = [task.predicted(run, items) for run in _runs(predictions)]
    theirs = [task.predicted(run, items) for run in _runs(baseline)]
    return {
        metric.name: difference(
            metric,
            [metric.units(run, gold) for run in ours],
            [metric.units(run, gold) for run in theirs],
            groups,
            level=level,
            resamples=resamples,
            seed=seed,
            new_seeds=new_seeds,
        )
        for metric in task.metrics()
    }


def _runs(predictions: Sequence[Any]) -> list[Sequence[Prediction]]:
    """One run as a list of runs."""
    return [predictions] if not predictions or isinstance(predictions[0], Mapping) else list(predictions)
