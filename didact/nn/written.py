"""Attention written out for one group of sequences of equal length, forward and backward: for what no fused kernel can.

That is attention dropout, and the gradients of distance terms (which going forward are a mask to a fused kernel). Its
memory is one group's L x L logits.

Shapes: T rows, N heads, H head width; the group has n sequences of L rows; I values of the distance index.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
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
    by_same: Tensor | None

    def zeros(self) -> Terms:
        """Where the gradients of these are summed up."""
        sums = (
            None if by is None else torch.zeros(by.shape, dtype=exact(by), device=by.device)
            for by in (self.by_distance, self.by_query, self.by_key, self.by_same)
        )
        return Terms(*sums)

    def bias(self, at: Group, rule: Rule) -> Tensor | None:
        """What they add to the group's logits, (n, N, L, L), a new tensor; None where they add nothing."""
        i, same = rule.relation(at), rule.same(at)
        parts: list[Tensor] = []
        if i is not None and self.by_query is not None:
            parts.append(gather(heads(self.by_query, at), i))
        if i is not None and self.by_key is not None:
            parts.append(gather(heads(self.by_key, at), i.transpose(-1, -2)).transpose(-1, -2))
        if i is not None and self.by_distance is not None:
            parts.append(self.by_distance[:, i[:, 0]].transpose(0, 1))
        if same is not None and self.by_same is not None:
            parts.append(heads(self.by_same[..., None], at) * same)
        if not parts:
            return None
        total = parts[0]
        for part in parts[1:]:
            total = total.add_(part)
        return total


@dataclass(frozen=True)
class Dropout:
    """Which probabilities are dropped, drawn group by group on the host, so alike on every device and when redrawn.

    Sixteen bits a number, of numpy's SFC64: three times as fast as torch's `bernoulli_` (32 x 12 x 128 x 128 numbers:
    65 and 21 ms on one core), and a rate is met to 1 / 65,536.
    """

    rate: float
    draw: np.random.BitGenerator

    @staticmethod
    def seeded(rate: float, seed: Tensor | None) -> Dropout | None:
        """seed (1,) int64, not negative; None = nothing is dropped."""
        return None if seed is None else Dropout(rate, np.random.SFC64(int(seed)))

    def __call__(self, p: Tensor) -> Tensor:
        """Like p: 1 / (1 - rate) where a probability is kept, 0 where it is dropped."""
        numbers = p.numel()
        raw = self.draw.random_raw(-(-numbers // 4)).view(np.int16)[:numbers]
        below = min(round(self.rate * 2**16), 2**16 - 1)
        kept = torch.from_numpy(raw).view(p.shape) >= below - 2**15
        return kept.to(p.device, p.dtype).mul_(2**16 / (2**16 - below))


def exact(values: Tensor) -> torch.dtype:
    """What softmaxes and sums over rows are kept in: float32, or float64 where everything is."""
    return torch.promote_types(values.dtype, torch.float32)


def forward(
    qkv: Tensor, at: Group, rule: Rule, terms: Terms, dropout: Dropout | None, scale: float | None = None
) -> Tensor:
    """qkv (T, 3, N, H) -> the group's results, (n, N, L, H). scale: of q · k, None = 1 / sqrt(H)."""
    q, k, v = split(qkv, at)
    p = probabilities(q, k, scale, terms.bias(at, rule), rule.hidden(at))
    if dropout is not None:
        p = p * dropout(p)
    return p.to(v.dtype) @ v


def backward(
    d_out: Tensor,
    qkv: Tensor,
    at: Group,
    rule: Rule,
    terms: Terms,
    dropout: Dropout | None,
    d_terms: Terms,
    out: Tensor | None = None,
    lse: Tensor | None = None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """d_out (n, N, L, H) -> gradients of q, k and v, the same shape; d_terms gains the group's share. Where known: out
    (n, N, L, H), what forward gave, and lse (n, N, L), each softmax's log-denominator.
    """
    q, k, v = split(qkv, at)
    p = probabilities(q, k, scale, terms.bias(at, rule), rule.hidden(at), lse)
    d_q, d_k, d_v, d_logits = slopes(d_out, q, k, v, p, scale, None if dropout is None else dropout(p), out)
    _add(d_logits, at, rule, d_terms)
    return d_q, d_k, d_v


def slopes(
    d_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    p: Tensor,
    scale: float | None,
    kept: Tensor | None = None,
    out: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """d_out (n, N, Q, H), q, k, v, and the probabilities p (n, N, Q, K) -> gradients of q, k, v and the logits. kept:
    what dropout multiplied p with; out: what forward gave, where known.
    """
    d_p = (d_out @ v.transpose(-1, -2)).to(p.dtype)
    d_v = (p if kept is None else p * kept).to(v.dtype).transpose(-1, -2) @ d_out
    if kept is not None:
        d_p = d_p.mul_(kept)
    along = (p * d_p).sum(-1, keepdim=True) if out is None else (d_out * out).sum(-1, keepdim=True, dtype=p.dtype)
    d_logits = d_p.sub_(along).mul_(p)
    by = q.shape[-1] ** -0.5 if scale is None else scale
    d_scores = d_logits.to(q.dtype)
    return (d_scores @ k).mul_(by), (d_scores.transpose(-1, -2) @ q).mul_(by), d_v, d_logits


def probabilities(
    q: Tensor, k: Tensor, scale: float | None, bias: Tensor | None, hidden: Tensor | None, lse: Tensor | None = None
) -> Tensor:
    """q (n, N, Q, H), k (n, N, K, H) -> (n, N, Q, K): all zeros where a row sees nothing. scale: of q · k, None =
    1 / sqrt(H); bias: what is added to that; hidden: true where q does not see k; lse: see `backward`.
    """
    logits = (q @ k.transpose(-1, -2)).to(exact(q)) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if bias is not None:
        logits = logits + bias
    if lse is not None:
        p = logits.sub_(lse[..., None]).exp_()
        return p if hidden is None else p.masked_fill_(hidden, 0.0)
    if hidden is None:
        return torch.softmax(logits, -1)
    # A finite floor and a second mask instead of -inf: a row that sees nothing gives zeros, not NaN.
    p = torch.softmax(logits.masked_fill(hidden, torch.finfo(logits.dtype).min), -1)
    return p.masked_fill(hidden, 0.0)


def _add(d_logits: Tensor, at: Group, rule: Rule, d_terms: Terms) -> None:
    """Add to the gradients of the terms what d_logits (n, N, L, L) gives."""
    i, same = rule.relation(at), rule.same(at)
    if same is not None and d_terms.by_same is not None:
        heads(d_terms.by_same[..., None], at).copy_((d_logits * same).sum(-1, keepdim=True))
    if i is None:
        return
    if d_terms.by_distance is not None:
        d_terms.by_distance.index_add_(1, i.flatten(), d_logits.transpose(0, 1).flatten(1))
    across = i.expand_as(d_logits)
    if d_terms.by_query is not None:
        heads(d_terms.by_query, at).scatter_add_(-1, across, d_logits)
    if d_terms.by_key is not None:
        heads(d_terms.by_key, at).scatter_add_(-1, across.transpose(-1, -2), d_logits.transpose(-1, -2))
