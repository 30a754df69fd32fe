"""What a pre-training run costs: measured by torch's dispatcher, checked against the formula that runs report.

A step costs what the one before it did for as long as neither the size of the batch nor the objective changes: of each
such stretch the first steps are measured. Where a schedule changes the objective from step to step, a stretch ends with
it, or once it has taken its part of the run, and the step in its middle is measured.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

from didact.data.stream import BySequences, Position, Stream
from didact.errors import InputError
from didact.objectives import Objective
from didact.runs.runfile import load_plugins
from didact.runs.schema import PretrainRun
from didact.training.flops import measured_flops, step_flops
from didact.training.step import Step

STEPS = 4  # the first ones of a stretch; lengths and numbers of asked rows differ from step to step
PARTS = 16  # of a run: where the objective changes from step to step, no stretch is longer than one of them
AGREE = 0.05  # the share by which measured and counted operations may differ before somebody is told


@dataclass(frozen=True)
class Cost:
    """Steps of the optimizer, and the operations of all of them."""

    steps: int
    flops: float


@dataclass(frozen=True)
class Course:
    """A run that has not begun. No weight is changed by measuring it; parts without a matrix product (look-ups, norms,
    the optimizer) are not counted.
    """

    step: Step
    stream: Stream

    def spent(self, steps: int | None = None, whole: float = math.inf) -> Cost:
        """What so many steps come to; or, without `steps`, as many as come nearest to `whole` operations, at least one.
        InputError where what is measured is nothing like what the run would report.
        """
        at, flops, one = 0, 0.0, 0.0
        while True:
            changing = self._changes(at)
            if changing:
                one = one or self.cost(at)
                part = math.ceil(steps / PARTS) if steps else max(1, round(whole / one / PARTS))
                end = self._end(at, min(at + part, steps or at + part), self._changes)
                one = self.cost((at + end - 1) // 2)
            else:
                one = self.cost(at, self._end(at, at + STEPS, self._stays) - at)
                end = at
            last = steps or max(1, at + round((whole - flops) / one))
            if last <= at:
                return Cost(at, flops)
            end = min(end, last) if changing else self._end(at, last, self._stays)
            at, flops = end, flops + (end - at) * one
            if at == last:
                return Cost(at, flops)

    def cost(self, first: int, count: int = 1) -> float:
        """Operations of forward and backward of an average step of so many, from `first` on, uncompiled."""
        position = self._position(first)
        items = map(self.stream.item, itertools.count(self.stream.first_item(position)))
        measured = counted = 0.0
        for number, (batches, _) in enumerate(itertools.islice(self.stream.steps(items, position), count), first):
            self.step.settle(number)
            counts: dict[str, float] = {}
            for batch in batches:
                for name, answers in batch.counts.items():
                    counts[name] = counts.get(name, 0.0) + answers

            def once(batches: list = batches, counts: dict[str, float] = counts) -> None:
                for batch in batches:
                    self.step(batch).scaled(counts).backward()

            counted += step_flops(dict(self.step.models.items()), batches)
            measured += measured_flops(once)
            self.step.zero_grad(set_to_none=True)
        if abs(measured - counted) > AGREE * counted:
            raise InputError(
                f"a step measures {measured / count:.4g} operations and counts {counted / count:.4g}",
                expected="the same to 5 %; a part of this model is not counted: give the arms equal steps or tokens",
            )
        return measured / count

    def _end(self, first: int, most: int, goes_on: Callable[[int], bool]) -> int:
        """The end of the stretch that begins with `first`: `most`, or before it where a step does not go on."""
        end = first + 1
        while end < most and goes_on(end - 1):
            end += 1
        return end

    def _stays(self, step: int) -> bool:
        """Whether the next step is like this one."""
        return self._size(step) == self._size(step + 1) and self._objectives(step) == self._objectives(step + 1)

    def _changes(self, step: int) -> bool:
        """Whether the next step is of the same size, and what it asks is not the same."""
        return self._size(step) == self._size(step + 1) and self._objectives(step) != self._objectives(step + 1)

    def _size(self, step: int) -> int:
        batch = self.stream.batch
        return batch.before(step + 1) - batch.before(step) if isinstance(batch, BySequences) else batch.tokens

    def _objectives(self, step: int) -> tuple[Objective, Objective]:
        """By which a step's sequences are prepared (a window's, all at once), and by which it loses."""
        base, stream = self.step.base, self.stream
        losing = base.at(step)
        if isinstance(stream.batch, BySequences):
            return losing, losing
        begin = int(self._position(step).window * stream.window * stream.mean_size // stream.batch.tokens)
        return base.at(begin), losing  # `begin` is what `Stream.item` takes the window's first step to be

    def _position(self, step: int) -> Position:
        """Where the stream stands at a step; of one in windows about, all being taken to have as many packs."""
        batch = self.stream.batch
        if isinstance(batch, BySequences):
            return Position(step)
        return Position(step, *divmod(step * (batch.tokens // self.stream.micro_tokens), self._packs))

    @cached_property
    def _packs(self) -> int:
        """Of a window."""
        return len(self.stream.item(0).packs)


def flops_of(run: PretrainRun, whole: float | None = None) -> Cost:
    """Measured operations of all steps of a run that has not begun; with `whole`, of as many steps as come nearest to
    so many. InputError where they are nothing like those that the run would report.
    """
    from didact.runs.pretrain import assemble

    load_plugins(run.plugins)
    with torch.random.fork_rng([]):
        parts = assemble(run)
        course = Course(Step(parts.models, parts.objective), parts.stream)
        return course.spent(parts.budget.steps) if whole is None else course.spent(whole=whole)
