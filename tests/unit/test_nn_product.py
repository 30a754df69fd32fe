"""Products with matrices laid out once are those of `F.linear`, however many rows there are."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from didact.nn.incremental import for_steps
from didact.nn.product import FEWEST, MOST, Constant, Product


@pytest.mark.parametrize("first", [1, FEWEST, 8, 40, MOST])
@pytest.mark.parametrize("bias", [False, True])
def test_as_many_rows_as_one_likes(first: int, bias: bool) -> None:
    """Whichever number of rows comes first, which is what the matrix is laid out for."""
    generator = torch.Generator().manual_seed(0)
    matrix, added = torch.randn(70, 24, generator=generator), torch.randn(70, generator=generator)
    product = Product(matrix, added if bias else None)
    with torch.inference_mode():
        for n in (first, 1, 3, 4, 31, 32, 33, 64, 65, 128, 129, 300):
            rows = torch.randn(n, 24, generator=generator)
            expected = F.linear(rows, matrix, added if bias else None)
            torch.testing.assert_close(product(rows), expected, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(product(rows[None, :, None]), expected[None, :, None], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("first", [1, 8, 40])
def test_in_bfloat16(first: int) -> None:
    """Laid out or not, to its eight bits."""
    generator = torch.Generator().manual_seed(0)
    matrix, bias = torch.randn(70, 24, generator=generator), torch.randn(70, generator=generator)
    product = Product(matrix.bfloat16(), bias.bfloat16())
    with torch.inference_mode():
        for n in (first, 1, 4, 33, 64, 65, 300):
            rows = torch.randn(n, 24, generator=generator).bfloat16()
            found = product(rows)
            assert found.dtype == torch.bfloat16
            exact = F.linear(rows.double(), matrix.bfloat16().double(), bias.bfloat16().double())
            assert (found.double() - exact).abs().max() <= 2**-7 * exact.abs().max()


def test_tensors_of_inference_and_other_types() -> None:
    with torch.inference_mode():
        matrix = torch.randn(24, 8)
        rows = torch.randn(6, 16)[:, ::2]
        torch.testing.assert_close(Product(matrix, None)(rows), F.linear(rows, matrix))
        product = Product(matrix.double(), None)
        torch.testing.assert_close(product(rows.double()), F.linear(rows.double(), matrix.double()))


def test_a_module_for_steps_shares_its_parameters_and_leaves_the_other_alone() -> None:
    inner = nn.Linear(8, 8)
    module = nn.Sequential(inner, nn.LayerNorm(8), nn.Sequential(inner, nn.Dropout(0.5))).train()
    own = for_steps(module)
    assert isinstance(own[0], Constant)
    assert own[0] is own[2][0]  # type: ignore[index]
    assert module[0] is inner
    assert [id(p) for p in own.parameters()] == [id(p) for p in module.parameters()]
    assert all(part.training for part in module.modules())
    assert not any(part.training for part in own.modules())
    rows = torch.randn(5, 8)
    torch.testing.assert_close(own(rows), module.eval()(rows))
