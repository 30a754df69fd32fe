"""Which demonstrations stand before a question (Brown et al., 2020, §2.4: drawn at random for each question).

A draw depends on the seed, the question's number and the pool alone. The demonstrations of fewer shots are the first
ones of more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterator, Sequence
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
    _values: dict[str, Counter[str]] = field(init=False, repr=False)  # of `balance`, in each of these
    _alike: dict[Hashable, list[int]] = field(init=False, repr=False)  # by what they read, and by where they stand

    def __post_init__(self) -> None:
        within: dict[str, list[int]] = defaultdict(list)
        values: dict[str, Counter[str]] = defaultdict(Counter)
        alike: dict[Hashable, list[int]] = defaultdict(list)
        for i, case in enumerate(self.cases):
            within[case.within].append(i)
            values[case.within][case.balance] += 1
            for mark in self._marks(case):
                alike[mark].append(i)
        object.__setattr__(self, "_within", dict(within))
        object.__setattr__(self, "_values", dict(values))
        object.__setattr__(self, "_alike", dict(alike))

    def draw(self, question: Case, number: int, shots: int, seed: int) -> list[int]:
        """The numbers of `shots` demonstrations, in the order in which they stand. number: of the question.

        Raises InputError where there are not as many.
        """
        if not shots:
            return []
        possible = self._within.get(question.within, [])
        parts = (seed, number) if self.task.draw == "question" else (seed,)
        found: list[int] = []
        same = {i for mark in self._marks(question) for i in self._alike.get(mark, ())}
        order = (i for i in _shuffled(possible, key(*parts)) if i not in same)
        for i in order if self.task.balance is None else self._balanced(order, question.within, same):
            found.append(i)
            if len(found) == shots:
                return found
        where = "" if self.task.within is None else f" with {self.task.within} {question.within!r}"
        raise InputError(
            f"{len(found)} examples{where} to show before question {question.id}",
            file=question.file, row=question.row, expected=f"{shots}, the shots",
        )  # fmt: skip

    def _marks(self, case: Case) -> Iterator[Hashable]:
        """By which a case is known to be a question's own: where it stands, and, unless `repeats`, what it reads."""
        if case.file is not None:
            yield case.file, case.row
        if not self.task.repeats:
            yield tuple(sorted(case.fields.items()))

    def _balanced(self, order: Iterator[int], within: str, same: Collection[int]) -> Iterator[int]:
        """Rounds in which each value of the field comes once, as long as there are any of it. Of `order` no more is
        read than these rounds take: a pool may be large, and is drawn from for every question.
        """
        left = self._values.get(within, Counter()).copy()
        left.subtract(self.cases[i].balance for i in same if self.cases[i].within == within)
        rounds: dict[int, list[int]] = defaultdict(list)
        seen: Counter[str] = Counter()
        for number in range(max(left.values(), default=0)):
            while len(rounds[number]) < sum(count > number for count in left.values()):
                i = next(order)
                rounds[seen[self.cases[i].balance]].append(i)
                seen[self.cases[i].balance] += 1
            yield from rounds.pop(number)


def _shuffled(numbers: Sequence[int], seed: int) -> Iterator[int]:
    if not numbers:
        return
    order = Permutation(len(numbers), seed)
    for start in range(0, len(numbers), _BLOCK):
        for place in order(np.arange(start, min(start + _BLOCK, len(numbers)))):
            yield numbers[int(place)]
