"""Which demonstrations stand before a question (Brown et al., 2020, §2.4: drawn at random for each question).

A draw depends on the seed, the question's number and the pool alone. The demonstrations of fewer shots are the first
ones of more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from didact.errors import InputError
from didact.evaluation.fewshot.task import Case, Fewshot
from didact.randomness import Permutation, key

_BLOCK = 64


@dataclass(frozen=True)
class Pool:
    """What demonstrations are drawn from. A question is never among its own: not the same record, and unless
    `task.repeats`, none whose fields read the same.
    """

    task: Fewshot
    cases: Sequence[Case]
    _within: dict[str, list[int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        within: dict[str, list[int]] = defaultdict(list)
        for i, case in enumerate(self.cases):
            within[case.within].append(i)
        object.__setattr__(self, "_within", dict(within))

    def draw(self, question: Case, number: int, shots: int, seed: int) -> list[int]:
        """The numbers of `shots` demonstrations, in the order in which they stand. number: of the question.

        Raises InputError where there are not as many.
        """
        if not shots:
            return []
        possible = self._within.get(question.within, [])
        parts = (seed, number) if self.task.draw == "question" else (seed,)
        found: list[int] = []
        order = (i for i in _shuffled(possible, key(*parts)) if not self._same(question, self.cases[i]))
        for i in order if self.task.balance is None else self._balanced(order):
            found.append(i)
            if len(found) == shots:
                return found
        where = "" if self.task.within is None else f" with {self.task.within} {question.within!r}"
        raise InputError(
            f"{len(found)} examples{where} to show before question {question.id}",
            file=question.file, row=question.row, expected=f"{shots}, the shots",
        )  # fmt: skip

    def _same(self, question: Case, other: Case) -> bool:
        if question.file is not None and (question.file, question.row) == (other.file, other.row):
            return True
        return not self.task.repeats and question.fields == other.fields

    def _balanced(self, order: Iterator[int]) -> Iterator[int]:
        """Rounds in which each value of the field comes once, as long as there are any of it."""
        every = list(order)
        seen: Counter[str] = Counter()
        rounds = []
        for i in every:
            rounds.append(seen[self.cases[i].balance])
            seen[self.cases[i].balance] += 1
        return (every[at] for at in np.argsort(np.array(rounds, np.int64), kind="stable"))


def _shuffled(numbers: Sequence[int], seed: int) -> Iterator[int]:
    if not numbers:
        return
    order = Permutation(len(numbers), seed)
    for start in range(0, len(numbers), _BLOCK):
        for place in order(np.arange(start, min(start + _BLOCK, len(numbers)))):
            yield numbers[int(place)]
