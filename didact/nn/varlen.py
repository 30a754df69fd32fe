"""The `varlen` kernel: PyTorch's flash attention over variable lengths (torch.nn.attention.varlen).

CUDA, bf16 and fp16. Full, causal and window visibility; no distance terms, no dropout.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from didact.nn.distance import DistanceTerms
from didact.packed import Packed
from didact.visibility import Visibility


@dataclass(frozen=True)
class Plan:
    """cu_seqlens (B + 1,) int32; longest: a bound of the lengths; left, right: how far a row sees, -1 = any."""

    cu_seqlens: Tensor
    longest: int
    left: int
    right: int


@dataclass(frozen=True)
class Varlen:
    """One fused kernel over all sequences. The window counts rows, so positions must be the rows' own (0, 1, 2 …)."""

    name: str = "varlen"

    def plan(self, packed: Packed, visibility: Visibility) -> Plan:
        if visibility.kind == "ranked":
            raise ValueError("the varlen kernel knows full and causal visibility only, got 'ranked'")
        window = -1 if visibility.window is None else visibility.window
        return Plan(packed.cu_seqlens, packed.max_seqlen, window, 0 if visibility.kind == "causal" else window)

    def __call__(
        self,
        qkv: Tensor,
        plan: Plan,
        distance: DistanceTerms | None = None,
        dropout: float = 0.0,
        scale: float | None = None,
    ) -> Tensor:
        """qkv (T, 3, N, H) -> (T, N, H)."""
        if distance is not None or dropout > 0:
            raise ValueError("the varlen kernel has no distance terms and no dropout")
        from torch.nn.attention.varlen import varlen_attn  # imports the compiler, which takes seconds

        q, k, v = qkv.unbind(1)
        cu, longest = plan.cu_seqlens, plan.longest
        out = varlen_attn(q, k, v, cu, cu, longest, longest, window_size=(plan.left, plan.right), scale=scale)
        assert isinstance(out, Tensor)
        return out

    def plan_cross(self, queries: Packed, keys: Packed) -> tuple[Plan, Plan]:
        """Of the queries and of the keys."""
        q, k = (Plan(packed.cu_seqlens, packed.max_seqlen, -1, -1) for packed in (queries, keys))
        return q, k

    def cross(
        self, q: Tensor, kv: Tensor, plan: tuple[Plan, Plan], dropout: float = 0.0, scale: float | None = None
    ) -> Tensor:
        """q (T, N, H), kv (S, 2, N, H) -> (T, N, H)."""
        if dropout > 0:
            raise ValueError("the varlen kernel has no dropout")
        from torch.nn.attention.varlen import varlen_attn

        own, others = plan
        k, v = kv.unbind(1)
        starts, longest = (own.cu_seqlens, others.cu_seqlens), (own.longest, others.longest)
        out = varlen_attn(q, k, v, *starts, *longest, scale=scale)
        assert isinstance(out, Tensor)
        return out
