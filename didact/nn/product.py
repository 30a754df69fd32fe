"""Products with matrices that do not change, where a step asks few rows: the layers of a model that writes, and the
vocabulary's scores.

Such a product is bound by reading the matrix, and a matrix as `nn.Linear` has it is read badly: for few rows the
library rearranges it at every call. So it is rearranged once, at the first call of few rows. (Measured, 24 matrices of
a 6 x 384 model and its 384 to 30,522, 89 MB, one core with AVX-512, processor ms: 8 rows: as they are 25.7, by column
16.8, oneDNN's layout 12.7, MKL's 11.0, and reading 89 MB alone takes 9; 32 rows: 24.5, 24.0, 21.1, 18.6. On one core
with AMX, 8 rows: 12.5 as they are, oneDNN's layout 8.2, MKL's 8.6, in bfloat16 4.5 and 2.5; 32 rows: 17.6, 14.7, 14.0,
6.0 and 3.0.)

Shapes: n rows, K columns, V outputs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEWEST, MOST = 4, 128  # rows for which rearranging a matrix pays; of 3 rows it is read as well as it is


def has_bf16() -> bool:
    """Whether this processor multiplies bfloat16 itself (AVX512-BF16, AMX) and does not only imitate it."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


class Product:
    """rows (…, K) -> rows matrixᵀ + bias (…, V), for a matrix (V, K) and bias (V,) that do not change.

    On a CPU few rows are multiplied with the matrix as MKL wants it, in float32, or, where there is no MKL and in
    bfloat16 that the processor multiplies itself, oneDNN; others with the matrix as it is.
    """

    def __init__(self, matrix: Tensor, bias: Tensor | None) -> None:
        self._matrix, self._bias = matrix.detach(), None if bias is None else bias.detach()
        self._laid: Tensor | None = None
        self._most = 0
        here, exact = matrix.device.type == "cpu", matrix.dtype == torch.float32
        half = matrix.dtype == torch.bfloat16 and has_bf16()
        self._mkl = here and exact and torch.backends.mkl.is_available()
        self._can = self._mkl or (here and (exact or half) and torch.backends.mkldnn.is_available())

    def __call__(self, rows: Tensor) -> Tensor:
        n = rows.numel() // rows.shape[-1]
        if self._laid is None and self._can and FEWEST <= n <= MOST:
            self._lay(n)
        if self._laid is None or n > self._most or rows.dtype != self._matrix.dtype:
            return F.linear(rows, self._matrix, self._bias)
        if self._mkl:
            return torch.ops.mkl._mkl_linear(rows, self._laid, self._matrix, self._bias, n)
        return torch.ops.mkldnn._linear_pointwise(rows.contiguous(), self._laid, self._bias, "none", [], "")

    def _lay(self, n: int) -> None:
        """For as many rows as these and fewer; one for 32 rows serves fewer as well as their own would."""
        meant = max(32, -(-n // 16) * 16)
        with torch.inference_mode(False), torch.no_grad():  # the operators know no inference tensors
            plain = (self._matrix.clone() if self._matrix.is_inference() else self._matrix).contiguous()
            layout = torch.ops.mkl._mkl_reorder_linear_weight if self._mkl else torch.ops.mkldnn._reorder_linear_weight
            self._laid = layout(plain, meant)
        self._most = 2 * meant  # beyond, the matrix as it is


class Constant(nn.Linear):
    """A dense layer that shares the parameters of another and takes them for constants."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self._product = Product(layer.weight, layer.bias)

    def forward(self, input: Tensor) -> Tensor:
        return self._product(input)
