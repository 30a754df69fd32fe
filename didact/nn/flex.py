"""The `flex` kernel: PyTorch's flex_attention, which compiles the rule and the distance terms into one fused kernel.

CUDA; on a CPU its forward alone runs, and unfused. No dropout.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from didact.nn.distance import DistanceTerms, relate
from didact.packed import Packed
from didact.visibility import Visibility

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask  # importing it takes seconds: only those who use it wait


@dataclass(frozen=True)
class Plan:
    """Which blocks of the T x T pairs have anything to see; made once per forward and window."""

    blocks: BlockMask
    positions: Tensor
    segments: Tensor | None


@dataclass(frozen=True)
class Flex:
    """Any rule and any distance terms, at a cost that follows the blocks that are seen, not T x T."""

    name: str = "flex"

    def plan(self, packed: Packed, visibility: Visibility) -> Plan:
        T, device = packed.tokens.shape[0], packed.tokens.device
        make = _functions(device.type == "cuda")[1]
        return Plan(
            make(visibility.mask_mod(packed), None, None, T, T, device=device), packed.positions, packed.segments
        )

    def __call__(
        self,
        qkv: Tensor,
        plan: Plan,
        distance: DistanceTerms | None = None,
        dropout: float = 0.0,
        scale: float | None = None,
    ) -> Tensor:
        """qkv (T, 3, N, H) -> (T, N, H)."""
        if dropout > 0:
            raise ValueError("the flex kernel has no dropout")
        attend = _functions(qkv.device.type == "cuda" and not torch.compiler.is_compiling())[0]
        q, k, v = (x.transpose(0, 1)[None] for x in qkv.unbind(1))
        score = None if distance is None else _score_mod(distance, plan.positions, plan.segments)
        return attend(q, k, v, score_mod=score, block_mask=plan.blocks, scale=scale)[0].transpose(0, 1)

    def plan_cross(self, queries: Packed, keys: Packed) -> BlockMask:
        own, others = queries.sequence_ids(), keys.sequence_ids()
        make = _functions(own.device.type == "cuda")[1]

        def same(_batch: Tensor, _head: Tensor, q: Tensor, k: Tensor) -> Tensor:
            return own[q] == others[k]

        return make(same, None, None, len(own), len(others), device=own.device)

    def cross(self, q: Tensor, kv: Tensor, plan: BlockMask, dropout: float = 0.0, scale: float | None = None) -> Tensor:
        """q (T, N, H), kv (S, 2, N, H) -> (T, N, H)."""
        if dropout > 0:
            raise ValueError("the flex kernel has no dropout")
        attend = _functions(q.device.type == "cuda" and not torch.compiler.is_compiling())[0]
        rows, k, v = (x.transpose(0, 1)[None] for x in (q, *kv.unbind(1)))
        return attend(rows, k, v, block_mask=plan, scale=scale)[0].transpose(0, 1)


@functools.cache
def _functions(fused: bool) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """(flex_attention, create_block_mask); not fused, both write T x T pairs out."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    return (
        (torch.compile(flex_attention), torch.compile(create_block_mask))
        if fused
        else (flex_attention, create_block_mask)
    )


def _score_mod(distance: DistanceTerms, positions: Tensor, segments: Tensor | None) -> Callable[..., Tensor]:
    index, by_distance, by_query, by_key = distance.index, distance.by_distance, distance.by_query, distance.by_key
    by_same = None if segments is None else distance.by_same

    def terms(score: Tensor, _batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        i = relate(index, positions[q], positions[k])
        if by_distance is not None:
            score = score + by_distance[head, i]
        if by_query is not None:
            score = score + by_query[q, head, i]
        if by_key is not None:
            score = score + by_key[k, head, i]
        if by_same is not None and segments is not None:
            score = score + torch.where(segments[q] == segments[k], by_same[q, head], 0.0)
        return score

    return terms
