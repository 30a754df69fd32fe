"""What one optimizer step of a pre-training run costs: measured by torch's dispatcher, checked against the formula."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from didact.data.stream import Stream
from didact.errors import InputError
from didact.runs.runfile import load_plugins
from didact.runs.schema import PretrainRun
from didact.training.flops import measured_flops, step_flops
from didact.training.step import Step

STEPS = 4  # the first ones of the run; lengths and numbers of asked rows differ from step to step
AGREE = 0.05  # the share by which measured and counted operations may differ before somebody is told


@dataclass(frozen=True)
class Cost:
    """Operations of an average step: measured while it ran, and counted by the formula that runs report."""

    measured: float
    counted: float

    @property
    def agree(self) -> bool:
        return abs(self.measured - self.counted) <= AGREE * self.counted


def step_cost(step: Step, stream: Stream, steps: int = STEPS) -> Cost:
    """Forward and backward of the stream's first steps, uncompiled, no weight changed. Parts without a matrix product
    (look-ups, norms, the optimizer) are in neither number.
    """
    measured = counted = 0.0
    for number in range(steps):
        batches = stream[number]
        counts: dict[str, float] = {}
        for batch in batches:
            for name, count in batch.counts.items():
                counts[name] = counts.get(name, 0.0) + count

        def once(batches: list = batches, counts: dict[str, float] = counts) -> None:
            for batch in batches:
                step(batch).scaled(counts).backward()

        counted += step_flops(dict(step.models.items()), batches)
        measured += measured_flops(once)
        step.zero_grad(set_to_none=True)
    return Cost(measured / steps, counted / steps)


def flops_of(run: PretrainRun) -> float:
    """Measured operations of an average step of a run that has not begun; InputError where they are nothing like
    those that the run would report.
    """
    from didact.runs.pretrain import assemble

    load_plugins(run.plugins)
    with torch.random.fork_rng([]):
        parts = assemble(run)
        cost = step_cost(Step(parts.models, parts.objective), parts.stream)
    if not cost.agree:
        raise InputError(
            f"a step measures {cost.measured:.4g} operations and counts {cost.counted:.4g}",
            expected="the same to 5 %; a part of this model is not counted: give the arms equal steps or tokens",
        )
    return cost.measured
