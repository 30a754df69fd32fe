"""Packed: the tokens of all sequences laid end to end. The one layout; padding exists only for the outside world.

Shapes: T tokens in all, B sequences, L the longest, D width, Q query rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Chain:
    """Sequences that go on where others of the same pack end, and remember them (Transformer-XL: Dai et al., 2019,
    §3.2): a later one reads, in every layer, what the layer below made of the rows before it, through which no
    gradient flows. A pack is a run's whole memory: nothing is remembered from one pack to the next.

    after: for each of the B sequences the number of the one that it continues, an earlier one, -1 = none;
    memory: how many rows before its own a sequence sees, query rows not counted.
    """

    after: tuple[int, ...]
    memory: int


@dataclass(frozen=True)
class Packed:
    """B sequences as one run of T tokens; sequence b is rows `cu_seqlens[b]` to `cu_seqlens[b + 1]`.

    tokens (T,) int64; positions (T,) int64, counted within each sequence unless told otherwise; segments (T,) int64
    or None; cu_seqlens (B + 1,) int32, non-decreasing, first 0, last T (repeating T adds empty sequences, which is
    how B is kept constant for compiled code); max_seqlen: an upper bound of the lengths, known on the host, query rows
    not counted: no position is as large; queries (Q,) int64 or None: the query rows, which read no token (XLNet's
    second stream: each shares the position and segment of the row that it asks for); chain: see `Chain`.
    """

    tokens: Tensor
    positions: Tensor
    cu_seqlens: Tensor
    max_seqlen: int
    segments: Tensor | None = None
    queries: Tensor | None = None
    chain: Chain | None = None

    @staticmethod
    def of(sequences: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None) -> Packed:
        """Lay sequences of token ids (and, in the same shape, segment ids) end to end."""
        lengths = [len(s) for s in sequences]
        flat = [t for s in sequences for t in s]
        return Packed(
            tokens=torch.tensor(flat, dtype=torch.int64),
            positions=positions_of(lengths),
            cu_seqlens=cumulated(lengths),
            max_seqlen=max(lengths, default=0),
            segments=None if segments is None else torch.tensor([t for s in segments for t in s], dtype=torch.int64),
        )

    @staticmethod
    def unpad(input_ids: Tensor, attention_mask: Tensor, segments: Tensor | None = None) -> Packed:
        """From a padded batch: input_ids, attention_mask (1 = token) and segments (B, L) -> Packed."""
        kept = attention_mask.bool()
        lengths = [int(n) for n in kept.sum(1)]
        return Packed(
            tokens=input_ids[kept],
            positions=positions_of(lengths).to(input_ids.device),
            cu_seqlens=cumulated(lengths).to(input_ids.device),
            max_seqlen=max(lengths, default=0),
            segments=None if segments is None else segments[kept],
        )

    def pad(self, values: Tensor, fill: float = 0) -> Tensor:
        """values (T, …) -> (B, L, …), rows past a sequence's end filled with `fill`."""
        lengths = self.lengths
        out = values.new_full((len(lengths), max(lengths, default=0), *values.shape[1:]), fill)
        for b, (start, n) in enumerate(zip(self.cu_seqlens.tolist()[:-1], lengths, strict=True)):
            out[b, :n] = values[start : start + n]
        return out

    @property
    def lengths(self) -> list[int]:
        """The B lengths, on the host (waits for the device where cu_seqlens lives on one)."""
        cu = self.cu_seqlens.tolist()
        return [b - a for a, b in itertools.pairwise(cu)]

    def sequence_ids(self) -> Tensor:
        """(T,) int64: which sequence each row belongs to."""
        rows = torch.arange(self.tokens.shape[0], device=self.tokens.device)
        return torch.searchsorted(self.cu_seqlens[1:].long(), rows, right=True)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Packed:
        move = {
            name: value.to(device, non_blocking=non_blocking)
            for name in ("tokens", "positions", "cu_seqlens", "segments", "queries")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **move)


def positions_of(lengths: Sequence[int]) -> Tensor:
    """[2, 3] -> 0 1 0 1 2, int64."""
    return torch.cat([torch.arange(n) for n in lengths]) if lengths else torch.zeros(0, dtype=torch.int64)


def cumulated(lengths: Sequence[int]) -> Tensor:
    """[2, 3] -> 0 2 5, int32: where each sequence starts, and the total."""
    return torch.nn.functional.pad(torch.tensor(lengths, dtype=torch.int32).cumsum(0, dtype=torch.int32), (1, 0))
