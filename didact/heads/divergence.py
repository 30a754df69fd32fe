"""How far a model's softened answers are from another's, its gradient made while the logits are in the cache.

The loss of distillation (Hinton, Vinyals & Dean, 2015, §2): the Kullback-Leibler divergence from the teacher's
distribution to the student's, both at a temperature, times its square, so that gradients keep their size whatever it
is. Rows are taken a cache's worth at a time, as in `heads.cross_entropy`.

Shapes: n rows, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from didact.heads.cross_entropy import cached


def divergence(logits: Tensor, taught: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """logits (n, V) of the student, taught (n, V) of the teacher -> losses (n,) float32, right (n,) bool: whether both
    find the same token likeliest. No gradient flows into `taught`.
    """
    return _Divergence.apply(logits, taught.detach(), temperature)  # type: ignore[return-value]


class _Divergence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, taught: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        n = len(logits)
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        losses = logits.new_empty(n, dtype=torch.float32)
        right = logits.new_empty(n, dtype=torch.bool)
        for rows in cached(logits):
            own, theirs = logits[rows], taught[rows]
            log_p = torch.log_softmax(theirs.float() / temperature, -1)
            log_q = torch.log_softmax(own.float() / temperature, -1)
            p = log_p.exp()
            losses[rows] = (p * (log_p - log_q)).sum(-1) * temperature**2
            right[rows] = own.argmax(-1) == theirs.argmax(-1)
            if gradient is not None:
                gradient[rows] = (log_q.exp_() - p).mul_(temperature)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(right)
        return losses, right

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _right: None) -> tuple[Tensor, None, None]:  # pyright: ignore
        (gradient,) = ctx.saved_tensors
        return gradient.mul_(upstream[:, None].to(gradient.dtype)), None, None
