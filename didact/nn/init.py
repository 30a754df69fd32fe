"""Initial weights (Devlin et al., 2019: normal, std 0.02; biases 0; norms 1 and 0), drawn from an explicit generator.

BERT's TensorFlow code cuts the normal at two standard deviations (modeling.py, create_initializer); like transformers
and most that came after, this one does not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn


class Begins(nn.Module, ABC):
    """A module some of whose weights begin in their own way."""

    @abstractmethod
    def begin(self, generator: torch.Generator | None = None) -> None:
        """Set them in place, after all weights of the model have been drawn. Gradients are off."""


@torch.no_grad()
def initialise(module: nn.Module, std: float, generator: torch.Generator | None = None) -> None:
    """Set every weight below `module` in place: matrices normal with `std`, biases 0, norms' scales 1; then those that
    begin in their own way.

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
    for part in module.modules():
        if isinstance(part, Begins):
            part.begin(generator)
