"""Floors by shared words: the nearest sentence for questions, the nearest choice (Richardson et al., 2013, §4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from didact.data.sentences import split
from didact.evaluation.floor import TOKEN, Floor, Predict, rarity, tokens
from didact.tasks import Answer, Choose, Item, Prediction, Task, squad
from didact.tasks.candidates import best_threshold


@dataclass(frozen=True)
class Nearest(Floor):
    """The context's sentence with the largest share of the question's words, rare words counting more; of it, the
    longest stretch without a word of the question. Where questions may have no answer, it says so below a share that
    is found on the training items.
    """

    name: ClassVar[str] = "nearest sentence"

    def suits(self, task: Task) -> bool:
        return isinstance(task, Answer)

    def fit(self, task: Task, train: Sequence[Item]) -> Predict:
        assert isinstance(task, Answer)
        idf = rarity(dict.fromkeys(item.fields["context"] for item in train))
        least = -1.0
        if task.nullable:
            compare = squad.SCORES[task.scoring or "squad"]
            found = [self._answer(item, idf) for item in train]
            gold = [squad.references(texts, compare) for texts in task.gold(train)]
            answered = [squad.best(compare.f1, text, g) for (_, text), g in zip(found, gold, strict=True)]
            silent = [squad.best(compare.f1, "", g) for g in gold]
            least = -best_threshold(np.array([-share for share, _ in found]), np.array(answered), np.array(silent))

        def predict(items: Sequence[Item]) -> list[Prediction]:
            answers = [self._answer(item, idf) for item in items]
            return [
                {"id": item.id, "answer": text if share >= least else ""}
                for item, (share, text) in zip(items, answers, strict=True)
            ]

        return predict

    def _answer(self, item: Item, idf: Callable[[str], float]) -> tuple[float, str]:
        """(share of the question's words in the best sentence, the answer)."""
        context, asked = item.fields["context"], set(tokens(item.fields["question"]))
        whole = sum(map(idf, asked)) or 1.0
        best, span = -1.0, (0, 0)
        for start, end in split(context):
            share = sum(map(idf, asked & set(tokens(context[start:end])))) / whole
            if share > best:
                best, span = share, (start, end)
        return best, _stretch(context, *span, asked)


def _stretch(context: str, start: int, end: int, asked: set[str]) -> str:
    """The longest run of characters of a sentence between two words of the question, word to word."""
    words = [(m.start() + start, m.end() + start) for m in TOKEN.finditer(context[start:end])]
    best: tuple[int, int] = (start, start)
    run: tuple[int, int] | None = None
    for a, b in words:
        run = None if context[a:b].lower() in asked else (a if run is None else run[0], b)
        if run is not None and run[1] - run[0] > best[1] - best[0]:
            best = run
    return context[best[0] : best[1]]


@dataclass(frozen=True)
class SharedWords(Floor):
    name: ClassVar[str] = "shared words"

    def suits(self, task: Task) -> bool:
        return isinstance(task, Choose)

    def fit(self, task: Task, train: Sequence[Item]) -> Predict:
        assert isinstance(task, Choose)
        idf = rarity([f"{item.fields['context']} {choice}" for item in train for choice in item.fields["choices"]])

        def choose(item: Item) -> int:
            given = set(tokens(f"{item.fields['context']} {item.fields['question']}"))
            shares = []
            for choice in item.fields["choices"]:
                words = set(tokens(choice))
                shares.append(sum(map(idf, words & given)) / (sum(map(idf, words)) or 1.0))
            return task.first + int(np.argmax(shares))

        return lambda items: [{"id": item.id, "label": choose(item)} for item in items]
