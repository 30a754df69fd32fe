"""AdamW of a table of words of which a step reads few.

Fine-tuning reads some hundreds of a vocabulary's vectors a step, and the table is half of a small model's weights and
two thirds of a multilingual one's. Its gradient is kept as the rows that were read, and the optimizer passes over the
rows that ever were: those that never were have no moments, and only decay. What comes out is AdamW of the whole table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from didact.heads import Vocabulary
from didact.model import Model

MOST = 0.15
"""of a table's rows; where more have moments, gathering them and putting them back costs more than it saves. Measured,
400 rows read, one core with AVX-512, gradient and step, processor ms: 30,522 x 384: 21 as a whole; by rows 15 where a
tenth has moments, 23 where a fifth has. 250,002 x 768 (XLM-R): 510; 78 where a hundredth has, 180 where a tenth has."""


def sparse_tables(module: nn.Module) -> None:
    """From now on the gradients of word tables come as rows, where nothing but the lookup makes them."""
    for model in module.modules():
        if not isinstance(model, Model) or not isinstance(model.core.embedding.word, nn.Embedding):
            continue
        asked = any(isinstance(head, Vocabulary) for head in model.specs.values())
        if not asked or not model.config.tied:
            model.core.embedding.word.sparse = True


class AdamWByRows(torch.optim.AdamW):
    """As `torch.optim.AdamW(fused=True)`, and gradients may be sparse, (V, D) by rows."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._moved: dict[Tensor, Tensor] = {}  # of a table (V, D): which rows have moments, (V,) bool

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        apart = [(group, table, table.grad) for group, table in self._tables()]
        for _, table, _ in apart:
            table.grad = None
        done = super().step(closure)
        for group, table, gradient in apart:
            assert gradient is not None
            self._step(group, table, gradient.coalesce())
            table.grad = gradient
        return done

    def _tables(self) -> Iterator[tuple[dict[str, Any], Tensor]]:
        for group in self.param_groups:
            yield from ((group, p) for p in group["params"] if p.grad is not None and p.grad.is_sparse)

    def _step(self, group: dict[str, Any], table: Tensor, gradient: Tensor) -> None:
        state = self.state[table]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"], state["exp_avg_sq"] = _untouched(table), _untouched(table)
            self._moved[table] = torch.zeros(len(table), dtype=torch.bool)
        first, second = state["exp_avg"], state["exp_avg_sq"]
        if table not in self._moved:
            self._moved[table] = (first != 0).any(1) | (second != 0).any(1)
        moved = self._moved[table]
        values = gradient.values()
        known = (values != 0).any(1)  # a row that gets nothing has no moments: after a restart as before it
        read, values = gradient.indices()[0][known], values[known]
        moved[read] = True
        rows = moved.nonzero().squeeze(1)
        if len(rows) > MOST * len(table):
            whole = torch.zeros_like(table).index_copy_(0, read, values)
            self._adamw(group, table, whole, first, second, state["step"])
            return
        own, m, v = (whole.index_select(0, rows) for whole in (table, first, second))
        g = torch.zeros_like(own).index_copy_(0, torch.searchsorted(rows, read), values)
        self._adamw(group, own, g, m, v, state["step"])
        if group["weight_decay"]:
            table.mul_(1.0 - group["lr"] * group["weight_decay"])
        for target, source in ((table, own), (first, m), (second, v)):
            target.index_copy_(0, rows, source)

    def _adamw(self, group: dict[str, Any], p: Tensor, g: Tensor, m: Tensor, v: Tensor, step: Tensor) -> None:
        adamw(
            [p],
            [g],
            [m],
            [v],
            [],
            [step],
            fused=True,
            grad_scale=getattr(self, "grad_scale", None),
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def _untouched(like: Tensor) -> Tensor:
    """Zeros that take no memory where nothing else has been written yet: numpy leaves that to the system, torch writes
    them.
    """
    return torch.from_numpy(np.zeros(like.shape, np.float32)).to(like.dtype)
