"""Clipping of the global gradient norm (Pascanu et al., 2013, §3.2).

A model's gradients are tens of megabytes, and on a processor each pass over them is a share of the step that shows. The
fused optimizer divides gradients by a number while it reads them anyway, so clipping costs no pass of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from didact.training.parallel import sharded, whole

SMALL = 1e-6
"""added to the norm, as torch does"""

FOLDING = ("cpu", "cuda")
"""devices whose fused optimizers divide gradients by what they are handed; Apple's takes it and leaves it (pytorch PR
#186360)"""


def clip(
    parameters: Sequence[nn.Parameter], most: float | None, optimizer: torch.optim.Optimizer | None = None
) -> Tensor:
    """The norm of all gradients before clipping, (). most: None = nothing is clipped.

    optimizer: takes the gradients with a norm of `most` or less when it next steps, if it is fused; till then they
    are as they were. None, or another: they are clipped here and now.
    """
    norm = gradient_norm(parameters)
    fused = optimizer is not None and optimizer.defaults.get("fused") and norm.device.type in FOLDING
    if most is not None and fused:
        scale = ((norm.float() + SMALL) / most).clamp(min=1.0)  # of any weights, torch's kernels want it so
        optimizer.grad_scale = scale  # type: ignore[attr-defined]  # undeclared, and how torch's GradScaler hands it over
    elif most is not None:
        nn.utils.clip_grads_with_norm_(parameters, most, norm)
    return whole(norm)


def gradient_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """The norm of all gradients together, (), of a sharded model in shards."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients or any(sharded(g) or g.device.type != "cpu" for g in gradients):
        return nn.utils.get_total_norm(gradients)
    # Of sparse ones the rows there are. A product is no slower than a norm, and more exact.
    flat = [(g.coalesce().values() if g.is_sparse else g).reshape(-1) for g in gradients]
    return torch.stack([torch.dot(g, g) for g in flat]).sum().sqrt()
