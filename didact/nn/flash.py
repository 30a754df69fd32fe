"""PyTorch's flash attention on a CPU (Dao et al., 2022, "FlashAttention"), forward and backward, as kernels call it.

Its backward pass in bf16 packs every block for the processor's bf16 units, which short sequences never earn back; they
are computed in float32. Measured, one core with AMX, milliseconds of a backward pass in bf16 and in float32, rounding
included: 32 sequences of 20 rows, 12 heads of 32: 22.9 and 2.3; 32 of 128, 4 heads of 64: 35.5 and 15.4; 16 of 200, 12
heads: 61 and 26; 8 of 256: 39 and 48; 4 of 512: 53 and 66.

Written out in bf16 products it was as fast for lengths that come again (14.5 at 32 of 128), but a batched product of
a new shape costs 0.3 to 2 ms once more, and ragged packs are made of new shapes.

Shapes: n sequences, N heads, Q rows that look, K rows that are looked at, H head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

SHORT = 256  # rows below which bf16 is computed in float32 going back

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


def forward(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """q (n, N, Q, H), k, v (n, N, K, H), mask (n or 1, N or 1, Q or 1, K): what is added to the logits -> (n, N, Q, H);
    and (n, N, Q) float32: each softmax's log-denominator. causal: the lower triangle alone. scale: None = 1 / sqrt(H).
    """
    return _forward(q, k, v, 0.0, causal, attn_mask=mask, scale=scale)


def backward(
    d_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    mask: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """d_out (n, N, Q, H), and what `forward` got and gave -> gradients of q, k and v, in float32 or as those are."""
    if q.dtype == torch.bfloat16 and max(q.shape[-2], k.shape[-2]) < SHORT:
        d_out, q, k, v, out = (x.float() for x in (d_out, q, k, v, out))
        mask = None if mask is None else mask.float()
    return _backward(d_out, q, k, v, out, lse, 0.0, causal, attn_mask=mask, scale=scale)
