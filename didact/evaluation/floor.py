"""What a trivial baseline is, and the words that such baselines count."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from didact.tasks import Glue, Item, Prediction, Task

Predict = Callable[[Sequence[Item]], list[Prediction]]
TOKEN = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\\W_]+")
UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff]")


@dataclass(frozen=True)
class Floor(ABC):
    """name: in reports, once fitted. One verb: `fit`."""

    name: ClassVar[str]

    @abstractmethod
    def suits(self, task: Task) -> bool:
        """Whether it can answer this task."""

    @abstractmethod
    def fit(self, task: Task, train: Sequence[Item]) -> Predict:
        """Labelled items -> predictions for others. The task must have learned (`task.learn`)."""


def tokens(text: str) -> list[str]:
    """Lower-case words; of scripts without spaces, characters."""
    return TOKEN.findall(text.lower())


def plain(task: Task) -> Task:
    """The task without GLUE's name."""
    return task.plain if isinstance(task, Glue) else task


def rarity(texts: Iterable[str]) -> Callable[[str], float]:
    """word -> log((1 + n) / (1 + texts that have it)), n texts: its inverse document frequency."""
    n, held = 0, Counter[str]()
    for text in texts:
        n += 1
        held.update(set(tokens(text)))
    return lambda word: math.log((1 + n) / (1 + held[word])) + 1e-6
