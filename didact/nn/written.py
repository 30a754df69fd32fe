"""Attention written out for one group of sequences of equal length, forward and backward: for what no fused kernel can.

That is distance terms, which need gradients, and attention dropout. Its memory is one group's L x L logits.

Shapes: T rows, N heads, H head width; the group has n sequences of L rows; I values of the distance index.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from didact.nn.distance import gather
from didact.nn.groups import Group, Rule, heads, split


@dataclass(frozen=True)
class Terms:
    """`DistanceTerms` without their index; or, as sums that grow group by group, their gradients."""

    by_distance: Tensor | None
    by_query: Tensor | None
    by_key: Tensor | None

    def zeros(self) -> Terms:
        """Where the gradients of these are summed up."""
        sums = (
            None if by is None else torch.zeros_like(by, dtype=exact(by))
            for by in (self.by_distance, self.by_query, self.by_key)
        )
        return Terms(*sums)


@dataclass(frozen=True)
class Dropout:
    """Which probabilities are dropped, drawn group by group on the host, so alike on every device and when redrawn."""

    rate: float
    draw: torch.Generator

    def __call__(self, p: Tensor) -> Tensor:
        """Like p: 1 / (1 - rate) where a probability is kept, 0 where it is dropped."""
        kept = torch.empty(p.shape, dtype=p.dtype).bernoulli_(1.0 - self.rate, generator=self.draw)
        return kept.div_(1.0 - self.rate).to(p.device)


def exact(values: Tensor) -> torch.dtype:
    """What softmaxes and sums over rows are kept in: float32, or float64 where everything is."""
    return torch.promote_types(values.dtype, torch.float32)


def forward(qkv: Tensor, at: Group, rule: Rule, terms: Terms, dropout: Dropout | None) -> Tensor:
    """qkv (T, 3, N, H) -> the group's results, (n, N, L, H)."""
    q, k, v = split(qkv, at)
    p = _probabilities(q, k, at, rule, terms)
    if dropout is not None:
        p = p * dropout(p)
    return p.to(v.dtype) @ v


def backward(
    d_out: Tensor, qkv: Tensor, at: Group, rule: Rule, terms: Terms, dropout: Dropout | None, d_terms: Terms
) -> tuple[Tensor, Tensor, Tensor]:
    """d_out (n, N, L, H) -> gradients of q, k and v, the same shape; d_terms gains the group's share."""
    q, k, v = split(qkv, at)
    p = _probabilities(q, k, at, rule, terms)
    kept = None if dropout is None else dropout(p)
    d_p = (d_out @ v.transpose(-1, -2)).to(p.dtype)
    d_v = (p if kept is None else p * kept).to(v.dtype).transpose(-1, -2) @ d_out
    if kept is not None:
        d_p = d_p * kept
    d_logits = p * (d_p - (p * d_p).sum(-1, keepdim=True))
    _add(d_logits, at, rule, d_terms)
    d_scores = (d_logits * q.shape[-1] ** -0.5).to(q.dtype)
    return d_scores @ k, d_scores.transpose(-1, -2) @ q, d_v


def _probabilities(q: Tensor, k: Tensor, at: Group, rule: Rule, terms: Terms) -> Tensor:
    """(n, N, L, L): rows are queries, and all zeros where a row sees nothing."""
    logits = (q @ k.transpose(-1, -2)).to(exact(q)) * q.shape[-1] ** -0.5
    i = rule.relation(at)
    if i is not None:
        if terms.by_distance is not None:
            logits = logits + terms.by_distance[:, i].transpose(0, 1)
        if terms.by_query is not None:
            logits = logits + gather(heads(terms.by_query, at), i[:, None])
        if terms.by_key is not None:
            logits = logits + gather(heads(terms.by_key, at), i[:, None].transpose(-1, -2)).transpose(-1, -2)
    hidden = rule.hidden(at)
    if hidden is None:
        return torch.softmax(logits, -1)
    # A finite floor and a second mask instead of -inf: a row that sees nothing gives zeros, not NaN.
    p = torch.softmax(logits.masked_fill(hidden, torch.finfo(logits.dtype).min), -1)
    return p.masked_fill(hidden, 0.0)


def _add(d_logits: Tensor, at: Group, rule: Rule, d_terms: Terms) -> None:
    """Add to the gradients of the terms what d_logits (n, N, L, L) gives."""
    i = rule.relation(at)
    if i is None:
        return
    if d_terms.by_distance is not None:
        d_terms.by_distance.index_add_(1, i.flatten(), d_logits.transpose(0, 1).flatten(1))
    across = i[:, None].expand_as(d_logits)
    if d_terms.by_query is not None:
        heads(d_terms.by_query, at).scatter_add_(-1, across, d_logits)
    if d_terms.by_key is not None:
        heads(d_terms.by_key, at).scatter_add_(-1, across.transpose(-1, -2), d_logits.transpose(-1, -2))
