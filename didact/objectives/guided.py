"""Guided attention: what is written should be read in order (Tachibana et al., 2018, §3.2, eq. 6 and 7; monotonic:
after Rios et al., 2021, "On biasing Transformer attention towards monotonicity", §3).

Pure functions of where the rows of a decoder look in a source, one sequence at a time.

Shapes: N heads, Q rows that look, K rows that are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Guide = Literal["diagonal", "monotonic"]


def penalties(queries: int, keys: int, width: float) -> Tensor:
    """(Q, K): W of eq. 7, 1 - exp(-(k / K - q / Q)² / 2 width²): nothing on the diagonal of the two texts, near 1 far
    from it; rows are counted from 0.
    """
    down = torch.arange(queries, dtype=torch.float32)[:, None] / queries
    across = torch.arange(keys, dtype=torch.float32)[None, :] / keys
    return 1 - torch.exp(-((across - down) ** 2) / (2 * width**2))


def diagonal(probabilities: Sequence[Tensor], width: float = 0.2) -> tuple[Tensor, int]:
    """(N, Q, K) of each sequence -> the sum over all rows of their expected penalty, averaged over heads, and how many
    rows. The mean over rows is eq. 6 without its further division by K, which would let long sources off.
    """
    total, rows = _zero(probabilities), 0
    for p in probabilities:
        _, queries, keys = p.shape
        total = total + (p.float() * penalties(queries, keys, width).to(p.device)).sum() / p.shape[0]
        rows += queries
    return total, rows


def monotonic(probabilities: Sequence[Tensor], margin: float = 0.0) -> tuple[Tensor, int]:
    """(N, Q, K) of each sequence -> how far, as a share of the source, the mean place that a row looks at falls behind
    that of the row before it and `margin` · K / Q places more, summed over rows and averaged over heads; and how many
    rows. 0 for attention that only moves on.
    """
    total, rows = _zero(probabilities), 0
    for p in probabilities:
        _, queries, keys = p.shape
        place = (p.float() * torch.arange(keys, device=p.device)).sum(-1)
        behind = place[:, :-1] + margin * keys / queries - place[:, 1:]
        total = total + behind.clamp(min=0).sum() / (keys * p.shape[0])
        rows += queries
    return total, rows


def guided(probabilities: Sequence[Tensor], guide: Guide, strength: float) -> tuple[Tensor, int]:
    """By name; strength: the width of the one, the margin of the other."""
    return diagonal(probabilities, strength) if guide == "diagonal" else monotonic(probabilities, strength)


def _zero(probabilities: Sequence[Tensor]) -> Tensor:
    return torch.zeros((), device=probabilities[0].device if probabilities else None)
