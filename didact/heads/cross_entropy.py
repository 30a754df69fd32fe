"""Softmax cross-entropy over a vocabulary, its gradient made while the logits are in the cache.

What F.cross_entropy computes, in fewer passes over memory: rows are taken a cache's worth at a time, their
probabilities go straight into the gradient's buffer in the logits' own type, and whether the right token is the
likeliest falls out on the way. (The idea of Liger-Kernel's fused loss, Hsu et al., 2024, §3.2, without the kernel.)

Shapes: n rows, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

CACHED = 2**19  # logits handled at a time on a CPU: 2 MiB of float32, the second-level cache of one core


def cross_entropy(logits: Tensor, values: Tensor, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """logits (n, V), values (n,) int64 -> losses (n,) float32, right (n,) bool: whether `values` is the likeliest.

    smoothing: where gradients are wanted, the answer is 1 - smoothing of `values` and smoothing / V of every token
    (Szegedy et al., 2016, §7); elsewhere `values`.

    Where gradients are wanted a tie for the likeliest counts as right (the largest logit is found several times faster
    than its place); elsewhere the first of a tie is the likeliest, as argmax has it.
    """
    if logits.requires_grad and torch.is_grad_enabled():
        return _CrossEntropy.apply(logits, values, smoothing)  # type: ignore[return-value]
    return F.cross_entropy(logits.float(), values, reduction="none"), logits.argmax(-1) == values


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, values: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
        n, vocabulary = logits.shape
        gradient = torch.empty_like(logits)
        losses = logits.new_empty(n, dtype=torch.float32)
        right = logits.new_empty(n, dtype=torch.bool)
        some = max(1, CACHED // vocabulary) if logits.device.type == "cpu" else max(1, n)
        for start in range(0, n, some):
            rows = slice(start, start + some)
            target = values[rows, None]
            largest = logits[rows].amax(-1, keepdim=True)
            # In float32 the gradient's own rows are worked in, and nothing is copied.
            room = gradient[rows] if logits.dtype == torch.float32 else None
            shifted = torch.sub(logits[rows].float(), largest.float(), out=room)
            picked = shifted.gather(1, target)
            right[rows] = picked.squeeze(1) >= 0
            if smoothing:
                picked = picked.lerp(shifted.mean(-1, keepdim=True), smoothing)  # the mean logit under the answer
            probability = shifted.exp_()
            total = probability.sum(-1, keepdim=True)
            losses[rows] = (total.log() - picked).squeeze(1)
            probability *= total.reciprocal()
            if smoothing:
                probability -= smoothing / vocabulary
            probability.scatter_add_(1, target, torch.full_like(target, smoothing - 1.0, dtype=torch.float32))
            if room is None:
                gradient[rows] = probability
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(right)
        return losses, right

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _right: None) -> tuple[Tensor, None, None]:  # pyright: ignore
        (gradient,) = ctx.saved_tensors
        return gradient.mul_(upstream[:, None].to(gradient.dtype)), None, None
