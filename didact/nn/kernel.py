"""Attention kernels: which there are, which one is used where, and one function that attends.

Every kernel has two verbs: `plan(packed, visibility)`, once per forward and window, and `kernel(qkv, plan, distance,
dropout, scale)`, once per layer; scale: of q · k, None = 1 / sqrt(H). And the same two for cross-attention, where rows
of one pack see all rows of the same sequence of another: `plan_cross(queries, keys)` and `cross(q, kv, plan, dropout,
scale)`. All give what `dense`, the definition, gives; a row that sees nothing gets zeros.

Shapes: T rows, N heads, H head width, L rows of one sequence.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from didact.nn.dense import Dense, cross_probabilities, probabilities
from didact.nn.distance import DistanceTerms
from didact.nn.flex import Flex
from didact.nn.grouped import Grouped
from didact.nn.varlen import Varlen
from didact.packed import Packed
from didact.visibility import Visibility

__all__ = ["KERNELS", "Kernel", "attend", "choose", "cross_probabilities", "named", "probabilities"]


class Kernel(Protocol):
    """One way to compute attention over a pack."""

    @property
    def name(self) -> str: ...

    def plan(self, packed: Packed, visibility: Visibility) -> Any: ...

    def __call__(
        self,
        qkv: Tensor,
        plan: Any,
        distance: DistanceTerms | None = None,
        dropout: float = 0.0,
        scale: float | None = None,
    ) -> Tensor: ...

    def plan_cross(self, queries: Packed, keys: Packed) -> Any: ...

    def cross(self, q: Tensor, kv: Tensor, plan: Any, dropout: float = 0.0, scale: float | None = None) -> Tensor: ...


KERNELS: tuple[Kernel, ...] = (Dense(), Grouped(), Varlen(), Flex())


def named(name: str) -> Kernel:
    """The kernel of that name; ValueError lists the names there are."""
    for kernel in KERNELS:
        if kernel.name == name:
            return kernel
    raise ValueError(f"no kernel {name!r}; there are {', '.join(k.name for k in KERNELS)}")


def choose(
    device: torch.device, dtype: torch.dtype, visibility: Visibility, distance: bool = False, dropout: float = 0.0
) -> Kernel:
    """The table: where, how exact, who sees whom, what is added -> the fastest kernel that can.

    device  dtype       visibility    terms   dropout   kernel
    cuda    bf16, fp16  full, causal  no      no        varlen   (compute capability 8.0 or newer)
    cuda    any         any           any     no        flex     (compute capability 8.0 or newer)
    any     any         any           any     any       grouped
    """
    modern = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    if not modern or dropout > 0:
        return named("grouped")
    if dtype in (torch.bfloat16, torch.float16) and visibility.kind != "ranked" and not distance:
        return named("varlen")
    return named("flex")


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    packed: Packed,
    visibility: Visibility,
    distance: DistanceTerms | None = None,
    dropout: float = 0.0,
    kernel: str | None = None,
) -> Tensor:
    """q, k, v (T, N, H) -> (T, N, H), by the kernel named or, unnamed, the table's choice."""
    chosen = named(kernel) if kernel else choose(q.device, q.dtype, visibility, distance is not None, dropout)
    return chosen(torch.stack((q, k, v), 1), chosen.plan(packed, visibility), distance, dropout)
