"""The window: the losses of the steps since the last logged line, kept on the device until they are asked for.

Reading a number from an accelerator waits for everything before it; so it happens once a line, not once a step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from didact.batch import Loss
from didact.errors import NotANumber
from didact.training.parallel import Ranks


@dataclass
class _Open:
    """A step whose numbers are still on the device: name -> (total, correct)."""

    step: int
    norm: Tensor
    rate: float
    totals: dict[str, tuple[Tensor, Tensor | None]]
    weights: dict[str, float]
    counts: dict[str, float]


@dataclass
class Window:
    """Steps since the last line. `settled` ones are host numbers, and go into a checkpoint as they are."""

    ranks: Ranks
    settled: list[dict[str, Any]] = field(default_factory=list)
    _open: list[_Open] = field(default_factory=list)

    def begin(self, step: int, counts: Mapping[str, float], rate: float) -> None:
        """A step whose answers, over all ranks, are `counts`."""
        self._open.append(_Open(step, torch.zeros(()), rate, {}, {}, dict(counts)))

    def add(self, loss: Loss) -> None:
        """A micro-batch of the step that was begun."""
        own = self._open[-1]
        for name, part in loss.parts.items():
            total, correct = part.total.detach(), part.correct
            if name in own.totals:
                before, right = own.totals[name]
                total = before + total
                correct = None if correct is None or right is None else right + correct
            own.totals[name] = total, correct
            own.weights[name] = part.weight

    def end(self, norm: Tensor) -> None:
        """The step's gradient norm, before clipping."""
        self._open[-1].norm = norm.detach()

    def settle(self, strict: bool = True) -> None:
        """Read everything, in one wait for the device, and add up over ranks (all of them must settle together).

        Raises NotANumber for the first step whose loss, or gradient norm if `strict`, is not finite.
        """
        if not self._open:
            return
        tensors = [t for own in self._open for pair in own.totals.values() for t in (own.norm, *pair) if t is not None]
        device = tensors[0].device if tensors else torch.device("cpu")
        flat = [t.reshape(()).to(device, torch.float32) for t in tensors]
        values = iter(torch.stack(flat).tolist() if flat else [])
        steps = []
        for own in self._open:
            parts: dict[str, Any] = {}
            norm = 0.0
            for name, (_, correct) in own.totals.items():
                norm = next(values)
                parts[name] = [next(values), None if correct is None else next(values), own.weights[name]]
            steps.append({"step": own.step, "norm": norm, "rate": own.rate, "counts": own.counts, "parts": parts})
        self._open = []
        self.settled += self._over_ranks(steps)
        for own in self.settled:
            _check(own, strict)

    def _over_ranks(self, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
        everybody = self.ranks.exchange(steps)
        together = everybody[0]
        for other in everybody[1:]:
            for mine, theirs in zip(together, other, strict=True):
                for name, (total, correct, weight) in theirs["parts"].items():
                    old = mine["parts"].setdefault(name, [0.0, None if correct is None else 0.0, weight])
                    old[0] += total
                    old[1] = None if correct is None else old[1] + correct
        return together

    def line(self) -> dict[str, float]:
        """What the steps come to: nats an answer of each part, their weighted sum, the share answered rightly, the
        last rate, the largest gradient norm. Empties the window.
        """
        steps, self.settled = self.settled, []
        names = dict.fromkeys(name for own in steps for name in own["parts"])
        line: dict[str, float] = {"loss": 0.0}
        for name in names:
            own = [s for s in steps if name in s["parts"]]
            count = math.fsum(s["counts"][name] for s in own)
            if not count:
                continue
            line[f"loss/{name}"] = math.fsum(s["parts"][name][0] for s in own) / count
            line["loss"] += own[-1]["parts"][name][2] * line[f"loss/{name}"]
            if own[-1]["parts"][name][1] is not None:
                line[f"accuracy/{name}"] = math.fsum(s["parts"][name][1] for s in own) / count
        return {**line, "rate": steps[-1]["rate"], "gradient_norm": max(s["norm"] for s in steps)} if steps else line


def _check(own: dict[str, Any], strict: bool) -> None:
    for name, (total, _, _) in own["parts"].items():
        if not math.isfinite(total):
            raise NotANumber(f"the loss of {name!r} is {total} at step {own['step'] + 1}")
    if strict and not math.isfinite(own["norm"]):
        raise NotANumber(f"the gradient norm is {own['norm']} at step {own['step'] + 1}")
