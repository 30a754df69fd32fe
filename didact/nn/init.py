"""Initial weights (Devlin et al., 2019: normal, std 0.02; biases 0; norms 1 and 0), drawn from an explicit generator.

BERT's TensorFlow code cuts the normal at two standard deviations (modeling.py, create_initializer); like transformers
and most that came after, this one does not.
"""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def initialise(module: nn.Module, std: float, generator: torch.Generator | None = None) -> None:
    """Set every weight below `module` in place: matrices normal with `std`, biases 0, norms' scales 1.

    The order of draws is that of `named_parameters`, so equal modules and generators give equal weights.
    """
    norms = {id(m.weight) for m in module.modules() if isinstance(m, nn.LayerNorm | nn.RMSNorm)}
    for _, parameter in module.named_parameters():
        if id(parameter) in norms:
            parameter.fill_(1.0)
        elif parameter.ndim < 2:
            parameter.zero_()
        else:
            parameter.normal_(0.0, std, generator=generator)
