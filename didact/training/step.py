"""Step: what is compiled, wrapped and sharded. One forward from a batch to its loss.

Nothing else ever calls a model that is being trained: an objective that reached past a data-parallel wrapper into the
model inside it would get silently wrong gradients. Through one `forward`, DDP and FSDP2 see everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast, overload

import torch.utils._pytree as pytree
from torch import Tensor, nn

from didact.batch import Batch, Loss, Part
from didact.objectives.base import Answering, Objective


class Step(nn.Module):
    """models: by name; "main" is the one that is exported, others are a generator or a teacher. objective: frozen.
    What the objective learns from (`teachers`) is taken out of training for good: no gradients, no dropout.

    Its parameters are named `models.<name>.…`.
    """

    def __init__(self, models: Mapping[str, nn.Module], objective: Objective) -> None:
        super().__init__()
        if "main" not in models:
            raise ValueError(f"no model is called 'main', only {', '.join(models) or 'none'}")
        if missing := [name for name in objective.teachers if name not in models]:
            raise ValueError(f"no model is called {', '.join(missing)}, only {', '.join(models)}")
        self.models = nn.ModuleDict(models)
        for name in objective.teachers:
            self.models[name].requires_grad_(False)
        self.base = objective
        self.objective = objective

    def train(self, mode: bool = True) -> Step:
        """Training mode for everything but what the objective learns from."""
        super().train(mode)
        for name in self.base.teachers:
            self.models[name].eval()
        return self

    def settle(self, step: int) -> None:
        """From now on, lose by the objective as it is at this optimizer step (its schedules resolved)."""
        self.objective = self.base.at(step)

    @overload
    def forward(self, batch: Batch, logits: Literal[False] = False) -> Loss: ...

    @overload
    def forward(self, batch: Batch, logits: Literal[True]) -> tuple[Tensor, ...]: ...

    def forward(self, batch: Batch, logits: bool = False) -> Loss | tuple[Tensor, ...]:
        """The loss; or, for validation, what is answered to each of the batch's labels."""
        models = cast(Mapping[str, Answering], self.models)
        if logits:
            return self.objective.answers(models, batch)
        return self.objective.loss(models, batch)


def _parts(loss: Loss) -> tuple[list[Tensor | None], list[tuple[str, float, float]]]:
    flat: list[Tensor | None] = []
    for part in loss.parts.values():
        flat += [part.total, part.correct, part.marked]
    return flat, [(name, part.count, part.weight) for name, part in loss.parts.items()]


def _loss(flat: list[Tensor | None], names: list[tuple[str, float, float]]) -> Loss:
    every = zip(flat[::3], flat[1::3], flat[2::3], names, strict=True)
    return Loss({name: Part(cast(Tensor, t), count, weight, c, m) for t, c, m, (name, count, weight) in every})


# FSDP2 and DDP look for the tensors of an output in torch's trees; without this they would find none in a Loss.
pytree.register_pytree_node(Loss, _parts, _loss, serialized_type_name="didact.batch.Loss")  # type: ignore[arg-type]
