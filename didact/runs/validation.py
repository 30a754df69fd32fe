"""Validation that does not depend on the run: held-out examples in a fixed order, hidden by fixed masks.

The masks are keyed by (validation seed, example) at the rates asked for, whatever rate the run trains with, so that
losses of different runs, objectives and rates can be laid side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from didact.batch import Batch, Example
from didact.data.packing import pack
from didact.data.stream import Source
from didact.objectives import Objective
from didact.randomness import Permutation, generator, keys
from didact.training.step import Step

_CHUNK = 1024  # examples prepared at once


@dataclass(frozen=True)
class FixedValidation:
    """source: held-out examples; amount: the most of them that are asked; rates: shares of hidden tokens.

    Called with a step it gives, for every part p of the objective that depends on the rate, `p@15/loss` (nats a
    token), `p@15/bits_per_token`, `p@15/bits_per_byte` (bits of the asked tokens / bytes of source they stand for) and
    `p@15/accuracy`, for each rate; for every other part `p/loss` and `p/accuracy`; where a part marks tokens (replaced
    ones) `f1` beside them. `loss` is the objective's own weighted sum at the first rate, not a number where nothing is
    asked.
    """

    source: Source
    objective: Objective
    amount: int
    rates: Sequence[float]
    seed: int
    micro_tokens: int

    def __call__(self, step: Step) -> dict[str, float]:
        device = next(step.parameters()).device
        metrics: dict[str, float] = {}
        fixed: set[str] = set()
        for number, rate in enumerate(self.rates if self.objective.rated else self.rates[:1]):
            sums = self._sums(step, rate, lambda batch: batch.to(device))
            for name, own in sums.items():
                if name in fixed or not own.count:
                    continue
                prefix = f"{name}@{100 * rate:g}" if name in self.objective.rated else name
                if name not in self.objective.rated:
                    fixed.add(name)
                metrics |= {f"{prefix}/{key}": value for key, value in own.metrics().items()}
            if number == 0:
                asked = [own for own in sums.values() if own.count]
                # Of nothing asked, no number: 0 would be the best loss of all.
                metrics["loss"] = sum(own.weight * own.total / own.count for own in asked) if asked else math.nan
        return metrics

    def _sums(self, step: Step, rate: float, move: Callable[[Batch], Batch]) -> Mapping[str, _Sum]:
        sums: dict[str, _Sum] = {}
        for batch in self._batches(rate):
            covered: dict[str, int] = {}
            for asked in batch.labels:
                covered[asked.name] = covered.get(asked.name, 0) + asked.covered
            for name, part in step(move(batch)).parts.items():
                own = sums.setdefault(name, _Sum(weight=part.weight))
                own.total += float(part.total)
                own.count += part.count
                own.covered += covered.get(name, 0)
                own.correct += float("nan") if part.correct is None else float(part.correct)
                own.marked = own.marked + (np.full(3, np.nan) if part.marked is None else part.marked.cpu().numpy())
        return sums

    def _batches(self, rate: float) -> list[Batch]:
        objective = self.objective.at_rate(rate)
        batches: list[Batch] = []
        order = self._order()
        for start in range(0, len(order), _CHUNK):
            indices = order[start : start + _CHUNK]
            own = keys(self.seed, each=indices)
            examples: list[Example] = [
                self.source(index, generator(key)) for index, key in zip(indices.tolist(), own.tolist(), strict=True)
            ]
            flat = objective(examples, own)
            batches += [flat.batch(some) for some in pack(flat.sizes, self.micro_tokens)]
        return batches

    def _order(self) -> np.ndarray:
        """Which examples, in a fixed shuffled order: a few of them stand for all."""
        size = len(self.source)
        return Permutation(size, self.seed)(np.arange(min(size, self.amount)))


@dataclass
class _Sum:
    total: float = 0.0
    count: float = 0.0
    correct: float = 0.0
    covered: int = 0
    weight: float = 1.0
    marked: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def metrics(self) -> dict[str, float]:
        found = {"loss": self.total / self.count}
        if not math.isnan(self.correct):
            found["accuracy"] = self.correct / self.count
        if not np.isnan(self.marked).any():
            rightly, given, true = self.marked.tolist()
            found["f1"] = 2.0 * rightly / (given + true) if given + true else 0.0
        if self.covered:
            found["bits_per_token"] = self.total / self.count / math.log(2)
            found["bits_per_byte"] = self.total / self.covered / math.log(2)
        return found
