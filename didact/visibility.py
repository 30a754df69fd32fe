"""Visibility: who sees whom, for every member of the family, by one rule.

Query q sees key k if and only if
    they belong to the same sequence,  and  rank[k] <= reach[q],  and  |position[q] - position[k]| <= window.

    bidirectional (BERT)      all ranks 0, all reaches 0
    causal (GPT)              rank = reach = position
    right to left (UniLM)     rank = reach = -position
    prefix (UniLM, T5)        rank = reach = 0 inside the prefix, 1 + position - prefix length after it
    permutation (XLNet)       rank = factorization order; reach = rank in the content stream, rank - 1 in the query
                              stream, whose rows are extra rows of rank NOBODY (no query sees them)
    memory (Transformer-XL)   rank EVERYBODY (below every reach)

Shapes: T rows, S keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from didact.packed import Packed

NOBODY = 2**31 - 1  # the rank of a key that no query sees
EVERYBODY = -(2**31) + 1  # the rank of a key that every query sees
Kind = Literal["full", "causal", "ranked"]


@dataclass(frozen=True)
class Visibility:
    """The rule's terms. kind "full" and "causal" need no tensors (kernels know them); "ranked" carries
    rank (T,) int64 of the rows as keys and reach (T,) int64 of the rows as queries.
    window: the largest distance in positions at which a key is still seen; None = any.
    """

    kind: Kind = "full"
    rank: Tensor | None = None
    reach: Tensor | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        if (self.kind == "ranked") != (self.rank is not None and self.reach is not None):
            raise ValueError(f"kind {self.kind!r} with rank {self.rank is not None}, reach {self.reach is not None}")

    def within(self, window: int | None) -> Visibility:
        """The same rule, narrowed to `window` positions on either side (local attention)."""
        if window is None:
            return self
        return replace(self, window=window if self.window is None else min(window, self.window))

    def unless_said(self, kind: Literal["full", "causal"]) -> Visibility:
        """The same rule; where it is the plain one, that everybody sees everybody, the rule of this kind instead."""
        return replace(self, kind=kind) if self.kind == "full" else self

    def ranks(self, packed: Packed) -> tuple[Tensor, Tensor]:
        """(rank (T,), reach (T,)) as tensors, whatever the kind."""
        if self.rank is not None and self.reach is not None:
            return self.rank, self.reach
        if self.kind == "causal":
            return packed.positions, packed.positions
        zeros = torch.zeros_like(packed.positions)
        return zeros, zeros

    def matrix(self, packed: Packed) -> Tensor:
        """The rule written out: (T, T) bool, [q, k] true where q sees k. T x T: for tests and pictures."""
        rank, reach = self.ranks(packed)
        sequence = packed.sequence_ids()
        seen = (sequence[:, None] == sequence[None, :]) & (rank[None, :] <= reach[:, None])
        if self.window is not None:
            seen &= (packed.positions[:, None] - packed.positions[None, :]).abs() <= self.window
        return seen

    def mask_mod(self, packed: Packed) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
        """The rule as flex_attention wants it: mask_mod(batch, head, q, k) -> bool."""
        rank, reach = self.ranks(packed)
        sequence, positions, window = packed.sequence_ids(), packed.positions, self.window

        def rule(_batch: Tensor, _head: Tensor, q: Tensor, k: Tensor) -> Tensor:
            seen = (sequence[q] == sequence[k]) & (rank[k] <= reach[q])
            if window is not None:
                seen = seen & ((positions[q] - positions[k]).abs() <= window)
            return seen

        return rule

    def of(self, rows: Tensor) -> Visibility:
        """The rule of some rows, (n,) int64, in their order."""
        if self.rank is None or self.reach is None:
            return self
        return replace(self, rank=self.rank[rows], reach=self.reach[rows])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Visibility:
        if self.rank is None or self.reach is None:
            return self
        return replace(
            self,
            rank=self.rank.to(device, non_blocking=non_blocking),
            reach=self.reach.to(device, non_blocking=non_blocking),
        )


def bidirectional() -> Visibility:
    """Everybody sees everybody of the same sequence (BERT)."""
    return Visibility("full")


def causal() -> Visibility:
    """A row sees itself and what came before it (GPT)."""
    return Visibility("causal")


def ranked(rank: Tensor, reach: Tensor) -> Visibility:
    """Any order: rank (T,) of the rows as keys, reach (T,) of the rows as queries."""
    return Visibility("ranked", rank, reach)


def right_to_left(positions: Tensor) -> Visibility:
    """A row sees itself and what comes after it (UniLM, Dong et al., 2019, §2.3); positions (T,)."""
    return ranked(-positions, -positions)


def prefix(positions: Tensor, length: Tensor | int) -> Visibility:
    """The first `length` rows see each other, later rows see them and what came before (UniLM, T5).

    positions (T,); length: of each row's own prefix, (T,) or one number for all.
    """
    rank = (positions - length + 1).clamp(min=0)
    return ranked(rank, rank)


def permuted(order: Tensor) -> Visibility:
    """A row sees itself and what comes before it in the factorization order (XLNet's content stream).

    order (T,): the place of each row in its sequence's order.
    """
    return ranked(order, order)


def with_queries(rank: Tensor, reach: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """rank and reach of a pack's rows (T,), then of query rows for its rows `rows` (Q,): XLNet's query stream."""
    nobody = torch.full_like(rows, NOBODY)
    return torch.cat((rank, nobody)), torch.cat((reach, rank[rows] - 1))


def joined(parts: Sequence[Visibility], lengths: Sequence[int]) -> Visibility:
    """One visibility for a pack whose sequences each have their own (of the same window)."""
    if not parts:
        return bidirectional()
    windows = {p.window for p in parts}
    if len(windows) > 1:
        raise ValueError(f"sequences of one pack have different windows: {sorted(map(str, windows))}")
    kinds = {p.kind for p in parts}
    if len(kinds) == 1 and kinds != {"ranked"}:
        return parts[0]
    ranks, reaches = [], []
    for part, n in zip(parts, lengths, strict=True):
        if part.rank is not None and part.reach is not None:
            rank, reach = part.rank, part.reach
        else:
            rank = reach = torch.arange(n) if part.kind == "causal" else torch.zeros(n, dtype=torch.int64)
        ranks.append(rank)
        reaches.append(reach)
    return Visibility("ranked", torch.cat(ranks), torch.cat(reaches), windows.pop())
