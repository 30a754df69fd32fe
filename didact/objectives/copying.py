"""The copy mechanism: a pointer-generator network, and coverage (See, Liu & Manning, 2017, §2.2 and §2.3).

A gate decides at every row between writing a token of the vocabulary and copying one of the source, by where the row
looks. What is copied are the source's tokens: a word outside the vocabulary is several pieces, copied one after the
other, so that no extended vocabulary is needed (the paper's is of whole words).

Shapes: T rows of a pack of decoders, S rows of the sources, Q and K of one sequence, N heads, V vocabulary, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

TINY = torch.finfo(torch.float32).tiny


def looks(probabilities: Sequence[Tensor]) -> list[Tensor]:
    """(N, Q, K) of each sequence -> (Q, K): the mean of the heads, which is what a row points at."""
    return [p.float().mean(0) for p in probabilities]


def contexts(attention: Sequence[Tensor], encoded: Tensor) -> Tensor:
    """(Q, K) of each sequence and what the encoder made of the sources (S, D), end to end -> (T, D): the mean of the
    source's rows as each row looks at them (eq. 3), in float32 at least, whatever autocast says.
    """
    exact = torch.promote_types(encoded.dtype, torch.float32)
    sources = encoded.to(exact).split([a.shape[1] for a in attention])
    with torch.autocast(encoded.device.type, enabled=False):
        return torch.cat([a.to(exact) @ rows for a, rows in zip(attention, sources, strict=True)])


def pointed(attention: Sequence[Tensor], sources: Sequence[Tensor], vocabulary: int) -> Tensor:
    """(Q, K) of each sequence and the tokens of its source (K,) -> (T, V): the probability that copying gives each
    token; of a token that stands several times in the source, the sum over its places (eq. 9, second term).
    """
    found = []
    for a, tokens in zip(attention, sources, strict=True):
        found.append(a.new_zeros(a.shape[0], vocabulary).index_add(1, tokens, a))
    return torch.cat(found)


def pointed_at(attention: Sequence[Tensor], sources: Sequence[Tensor], wanted: Tensor) -> Tensor:
    """`pointed` of one token a row alone: wanted (T,) -> (T,)."""
    rows = wanted.split([a.shape[0] for a in attention])
    each = [
        (a * (tokens[None, :] == own[:, None])).sum(-1) for a, tokens, own in zip(attention, sources, rows, strict=True)
    ]
    return torch.cat(each)


def mixed(logits: Tensor, gate: Tensor, copied: Tensor) -> Tensor:
    """logits (T, V) of writing, gate (T,) the logit of writing rather than copying, copied (T, V) or, where only one
    token a row is wanted, logits and copied (T, 1) and the first already log-probabilities -> log of eq. 9's P(w),
    (T, V) float32: normalised, so that it may stand for logits anywhere.
    """
    written = F.log_softmax(logits.float(), -1) if logits.shape[-1] > 1 else logits.float()
    copying = copied.float().clamp(min=TINY).log() + F.logsigmoid(-gate.float())[:, None]
    return torch.logaddexp(written + F.logsigmoid(gate.float())[:, None], copying)


def coverages(attention: Sequence[Tensor]) -> list[Tensor]:
    """(Q, K) of each sequence -> (Q, K): what the rows before each have looked at already (eq. 10). In a network that
    reads all rows at once it tells the loss, and not the attention of the next row, as eq. 11 has it.
    """
    return [a.cumsum(0) - a for a in attention]


def coverage_loss(attention: Sequence[Tensor]) -> tuple[Tensor, int]:
    """Σ over rows of Σ_k min(a_k, what was looked at of k before) (eq. 12), and how many rows."""
    total = torch.zeros((), device=attention[0].device if attention else None)
    for a, before in zip(attention, coverages(attention), strict=True):
        total = total + torch.minimum(a, before).sum()
    return total, sum(a.shape[0] for a in attention)
