"""Time contenders side by side: the same work, in turns (A B C A B C …), median and spread of the turns.

Turns, because a machine's speed drifts (heat, neighbours): a ratio of two times taken next to each other keeps its
meaning where two averages taken minutes apart do not.
"""

from __future__ import annotations

import gc
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

Work = Callable[[int], float]
"""work(round) does the round's work and returns how many units it did (real tokens, sequences …)."""


@dataclass(frozen=True)
class Contender:
    """One side. ready: builds it and returns its work, of which one round is done before anything is timed (compiling,
    warming up).
    """

    name: str
    ready: Callable[[], Work]


def both_sides(ours: Callable[[], Work], theirs: Callable[[bool], Work], compiled: bool) -> list[Contender]:
    """didact, transformers eager, and transformers compiled where that is wanted. theirs(compiled)."""
    found = [Contender("didact", ours), Contender("transformers, eager", lambda: theirs(False))]
    return [*found, Contender("transformers, compiled", lambda: theirs(True))] if compiled else found


@dataclass(frozen=True)
class Case:
    """One comparison: `contenders`, the first of which is ours, do the same `unit`s of work in every round.

    settings: what was the same on all sides, for the record.
    """

    benchmark: str
    name: str
    unit: str
    contenders: tuple[Contender, ...]
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of the rounds."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        return Spread(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Timing:
    """What one contender did. seconds, units: per round; first: seconds of getting ready (building, compiling)."""

    seconds: tuple[float, ...]
    units: tuple[float, ...]
    first: float

    @property
    def time(self) -> Spread:
        """Seconds of a round."""
        return Spread.of(self.seconds)

    @property
    def rate(self) -> Spread:
        """Units per second."""
        return Spread.of([u / s for u, s in zip(self.units, self.seconds, strict=True)])


@dataclass(frozen=True)
class Outcome:
    """A case, measured. notes: lines that say more; facts: the same as numbers, for the record."""

    case: Case
    timings: dict[str, Timing]
    notes: tuple[str, ...] = ()
    facts: Mapping[str, float] = field(default_factory=dict)

    def ratio(self, contender: str) -> Spread:
        """How many times as fast ours is as `contender`: the ratio of their rates, round by round."""
        ours, theirs = self.timings[self.case.contenders[0].name], self.timings[contender]
        each = [
            (u / s) / (v / t) for u, s, v, t in zip(ours.units, ours.seconds, theirs.units, theirs.seconds, strict=True)
        ]
        return Spread.of(each)


class Benchmark(ABC):
    """One kind of work, in one or several cases. A frozen dataclass of its sizes. name: what `bench` is asked for."""

    name: ClassVar[str]

    @abstractmethod
    def outcomes(self, repeats: int) -> Iterator[Outcome]:
        """Every case, measured `repeats` times each."""

    @abstractmethod
    def small(self) -> Self:
        """The same at a size at which the times mean nothing: to see that it runs."""


def equal_start(ours: float, theirs: float, tolerance: float = 1e-4) -> float:
    """By how much the two sides' losses on the same batch differ, relative; RuntimeError where they do not start
    equal and a comparison would be of different things.
    """
    apart = abs(ours - theirs) / max(abs(theirs), 1e-12)
    if not apart <= tolerance:
        raise RuntimeError(f"the sides do not start equal: loss {ours:.6g} here, {theirs:.6g} there")
    return apart


def take_turns(
    case: Case,
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
    wait: Callable[[], None] = lambda: None,
    rest: float = 0.0,
) -> Outcome:
    """Get all contenders ready, then `repeats` rounds in each of which every contender works once. wait: until what
    was asked of a device is done; rest: seconds before each turn.

    Garbage is collected between the turns, not inside them.
    """
    works: dict[str, Work] = {}
    first: dict[str, float] = {}
    for contender in case.contenders:
        began = clock()
        works[contender.name] = contender.ready()
        works[contender.name](-1)
        wait()
        first[contender.name] = clock() - began
    seconds: dict[str, list[float]] = {name: [] for name in works}
    units: dict[str, list[float]] = {name: [] for name in works}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(repeats):
            for name, work in works.items():
                gc.collect()
                time.sleep(rest)
                began = clock()
                done = work(turn)
                wait()
                seconds[name].append(clock() - began)
                units[name].append(done)
    finally:
        if collecting:
            gc.enable()
    return Outcome(case, {name: Timing(tuple(seconds[name]), tuple(units[name]), first[name]) for name in works})
