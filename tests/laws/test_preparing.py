"""Preparing a step costs what its sequences cost: neither the interpreter's steps nor the memory grow with the square
of their number, for any objective and any task. Steps are counted, not timed.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import numpy as np
import pytest
from task_tools import CASES, tokenizer
from training_tools import MADE, Chain

from didact.batch import Example
from didact.objectives import Objective
from didact.tasks import Embed

FEW = 32


def steps(work: Callable[[], Any]) -> int:
    """Bytecode instructions that the interpreter takes for it."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def peak(work: Callable[[], Any]) -> int:
    """Bytes at most, of what it takes itself."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def bent(one: int, two: int, four: int) -> float:
    """How far a + b n + c n² is from a line, from its values at n, 2 n and 4 n: 6 c n² as a share of the first."""
    return (four - 3 * two + 2 * one) / one


def check(objective: Objective, examples: Sequence[Example]) -> None:
    def ask(times: int) -> Callable[[], Any]:
        some = [examples[i % min(FEW, len(examples))] for i in range(FEW)] * times
        keys = np.random.default_rng(0).integers(2**64, size=len(some), dtype=np.uint64)

        def work() -> None:
            flat = objective(some, keys)
            for start in range(0, len(flat), 8):
                flat.batch(range(start, min(start + 8, len(flat))))

        return work

    for measure, most in ((steps, 0.1), (peak, 0.5)):
        ask(1)()  # what is made once is made before
        one, two, four = (measure(ask(times)) for times in (1, 2, 4))
        assert bent(one, two, four) < most, f"{measure.__name__}: {one:,} for {FEW} sequences, {two:,}, {four:,}"


@pytest.mark.parametrize("objective", MADE, ids=lambda o: o.kind)
def test_of_every_objective(objective: Objective) -> None:
    source = Chain()
    check(objective, [source(i, np.random.default_rng(i)) for i in range(FEW)])


@pytest.mark.parametrize("name", CASES)
def test_of_every_task(name: str) -> None:
    task, records = CASES[name]
    items = task.items(records)
    task = task if isinstance(task, Embed) else task.learn(items)
    check(task.objective(), task.dataset(items, tokenizer("wordpiece")).examples)


def test_a_square_is_seen_and_a_line_is_none() -> None:
    def square(n: int) -> Callable[[], Any]:
        return lambda: [[bytearray(99) for _ in range(n)] for _ in range(n)]

    def line(n: int) -> Callable[[], Any]:
        return lambda: [bytearray(9999) for _ in range(n)]

    for measure, most in ((steps, 0.1), (peak, 0.5)):
        one, two, four = (measure(square(n)) for n in (FEW, 2 * FEW, 4 * FEW))
        assert bent(one, two, four) > most
        one, two, four = (measure(line(n)) for n in (FEW, 2 * FEW, 4 * FEW))
        assert bent(one, two, four) < most
