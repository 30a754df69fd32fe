"""Dropout by a hash: as often as it says; of no place, mask or layer another's; scaled; differentiable."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from didact.nn.dropout import Dropout, dropout, kept
from didact.training.policy import compiler_missing

WITHOUT = compiler_missing(torch.device("cpu"))
RATES = (0.1, 0.5, 0.9)


def masks(count: int, shape: tuple[int, ...], rate: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    seeds = torch.randint(-(2**31), 2**31, (count, 2), dtype=torch.int32, generator=generator)
    return torch.stack([kept(shape, own, rate) for own in seeds])


@pytest.mark.parametrize("rate", RATES)
def test_every_place_is_dropped_as_often_as_said(rate: float) -> None:
    """Of 4,000 masks of 64 x 48: each place, each row, each column and each mask by itself, binomially."""
    count, shape = 4000, (64, 48)
    dropped = (~masks(count, shape, rate)).double()
    for axes in ((0,), (0, 1), (0, 2), (1, 2)):
        n = 1
        for axis in axes:
            n *= dropped.shape[axis]
        z = (dropped.mean(axes) - rate) / (rate * (1 - rate) / n) ** 0.5
        assert stats.kstest(z.flatten().numpy(), "norm").pvalue > 1e-4
        assert z.abs().max() < 6


@pytest.mark.parametrize("rate", RATES)
def test_places_and_masks_know_nothing_of_each_other(rate: float) -> None:
    """Correlations of each place with the next ones, with the row below and with the same place of the next mask."""
    dropped = (~masks(400, (64, 64), rate, seed=1)).double() - rate
    flat = dropped.flatten(1)
    for far in (1, 2, 3, 4, 7, 8, 16, 63, 64, 65, 128, 1024):
        along = (flat[:, far:] * flat[:, :-far]).mean() / (rate * (1 - rate))
        assert abs(float(along)) < 6 / (400 * (4096 - far)) ** 0.5, far
    across = (flat[1:] * flat[:-1]).mean() / (rate * (1 - rate))
    assert abs(float(across)) < 6 / (399 * 4096) ** 0.5


def test_seeds_that_differ_by_one_bit_give_unrelated_masks() -> None:
    """And so do seeds a step of the walk over places apart, which with one seed would be one mask moved by a place."""
    base = torch.tensor([12345, -678], dtype=torch.int32)
    own = ~kept((4096,), base, 0.5)
    others = [base ^ torch.tensor([1 << bit if i == at else 0 for i in range(2)]) for bit in range(31) for at in (0, 1)]
    others += [base + torch.tensor([0, by], dtype=torch.int32) for by in (1, 2, -1640531527)]
    for seeds in others:
        other = ~kept((4096,), seeds.to(torch.int32), 0.5)
        for a, b in ((own, other), (own[1:], other[:-1]), (own[:-1], other[1:])):
            same = (a == b).double().mean()
            assert abs(float(same) - 0.5) < 6 * 0.5 / 4095**0.5, seeds


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_what_is_kept_is_scaled_and_gradients_pass_where_it_is(dtype: torch.dtype) -> None:
    x = torch.randn(50, 40, dtype=dtype).add_(3.0).requires_grad_()
    out = dropout(x, 0.25)
    assert out.dtype == dtype
    out.sum().backward()
    stays = out != 0
    assert 0.6 < stays.double().mean() < 0.9
    torch.testing.assert_close(out[stays], x[stays] / 0.75)
    torch.testing.assert_close(x.grad, stays.to(dtype) / 0.75)


def test_a_seed_repeats_it_and_each_call_draws_anew() -> None:
    x = torch.ones(300)
    torch.manual_seed(3)
    first, second = dropout(x, 0.5), dropout(x, 0.5)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.5), first)
    assert not torch.equal(first, second)


def test_none_at_all_and_all_of_it() -> None:
    x = torch.ones(300)
    state = torch.random.get_rng_state()
    assert dropout(x, 0.0) is x
    assert dropout(x, 0.5, training=False) is x
    assert torch.equal(torch.random.get_rng_state(), state), "what drops nothing draws nothing"
    assert not dropout(x, 1.0).any()
    assert dropout(x[:0], 0.5).shape == (0,)
    layer = Dropout(0.5)
    assert (layer(x) == 0).any()
    assert layer.eval()(x) is x


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own deprecations are not ours to judge
@pytest.mark.skipif(bool(WITHOUT), reason=WITHOUT)
def test_compiled_it_is_as_often_and_as_free() -> None:
    """Compiled code draws its seeds in its own way: the same law, not the same masks."""

    def residual(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + dropout(y, 0.1)

    compiled = torch.compile(residual, dynamic=True, fullgraph=True)
    x, y = torch.zeros(500, 64), torch.ones(500, 64, requires_grad=True)
    outs = []
    for _ in range(20):
        out = compiled(x, y)
        out.sum().backward()
        outs.append(out.detach())
        assert y.grad is not None
        assert torch.equal(y.grad != 0, out != 0), "backward knows the mask of forward"
        y.grad = None
    dropped = (torch.stack(outs) == 0).double()
    assert abs(float(dropped.mean()) - 0.1) < 6 * (0.09 / dropped.numel()) ** 0.5
    across = ((dropped[1:] - 0.1) * (dropped[:-1] - 0.1)).mean() / 0.09
    assert abs(float(across)) < 6 / (19 * 32000) ** 0.5
