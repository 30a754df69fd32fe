"""The fused loss against torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from didact.heads import cross_entropy as module
from didact.heads.cross_entropy import cross_entropy, linear_cross_entropy

DTYPES = {torch.float32: 1e-6, torch.bfloat16: 1e-2, torch.float16: 2e-3}


@pytest.mark.parametrize(("n", "vocabulary"), [(0, 5), (1, 1), (7, 30), (33, 1000)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cached", [1, 64, 2**19])
def test_losses_and_gradients(
    n: int, vocabulary: int, dtype: torch.dtype, cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CACHED", cached)
    generator = torch.Generator().manual_seed(0)
    drawn = (torch.randn(n, vocabulary, generator=generator) * 4).to(dtype)
    values = torch.randint(vocabulary, (n,), generator=generator)
    weights = torch.rand(n, generator=generator)
    ours, theirs = (drawn.clone().requires_grad_() for _ in range(2))
    losses, right = cross_entropy(ours, values)
    (losses * weights).sum().backward()
    expected = F.cross_entropy(theirs.float(), values, reduction="none")
    (expected * weights).sum().backward()
    assert losses.dtype == torch.float32
    assert torch.allclose(losses, expected, atol=1e-5)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert ours.grad.dtype == dtype
    assert torch.allclose(ours.grad.float(), theirs.grad.float(), atol=DTYPES[dtype])
    best = drawn.amax(-1) if vocabulary else None
    assert torch.equal(right, drawn.gather(1, values[:, None]).squeeze(1) == best)


def test_without_gradients_it_is_torchs() -> None:
    logits, values = torch.tensor([[1.0, 3.0, 3.0], [0.0, 0.0, -1.0]]), torch.tensor([2, 0])
    losses, right = cross_entropy(logits, values)
    assert torch.equal(losses, F.cross_entropy(logits, values, reduction="none"))
    assert right.tolist() == [False, True]  # the first of a tie is the likeliest
    assert cross_entropy(logits.requires_grad_(), values)[1].tolist() == [True, True]


def test_extreme_logits_stay_finite() -> None:
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]]).requires_grad_()
    losses, _ = cross_entropy(logits, torch.tensor([0, 0]))
    losses.sum().backward()
    assert losses.tolist() == [0.0, 2e4]
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0.0, 0.0], [-1.0, 1.0]]


def test_a_second_backward_is_refused_not_wrong() -> None:
    logits = torch.randn(3, 4).requires_grad_()
    loss = cross_entropy(logits, torch.tensor([0, 1, 2]))[0].sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match=r"in-?place"):
        loss.backward()


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cached", [1, 2**19])
def test_smoothed_losses_and_gradients(
    smoothing: float, dtype: torch.dtype, cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CACHED", cached)
    generator = torch.Generator().manual_seed(0)
    drawn = (torch.randn(17, 300, generator=generator) * 4).to(dtype)
    values = torch.randint(300, (17,), generator=generator)
    weights = torch.rand(17, generator=generator)
    ours, theirs = (drawn.clone().requires_grad_() for _ in range(2))
    losses, right = cross_entropy(ours, values, smoothing)
    (losses * weights).sum().backward()
    expected = F.cross_entropy(theirs.float(), values, reduction="none", label_smoothing=smoothing)
    (expected * weights).sum().backward()
    assert torch.allclose(losses, expected, atol=1e-5)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.allclose(ours.grad.float(), theirs.grad.float(), atol=DTYPES[dtype])
    assert torch.equal(right, cross_entropy(drawn.clone().requires_grad_(), values)[1])


def test_what_is_measured_without_gradients_is_not_smoothed() -> None:
    logits, values = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)), torch.arange(5)
    assert torch.equal(cross_entropy(logits, values, 0.3)[0], F.cross_entropy(logits, values, reduction="none"))
    with torch.no_grad():
        same = cross_entropy(logits.requires_grad_(), values, 0.3)[0]
    assert torch.equal(same, F.cross_entropy(logits, values, reduction="none"))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("block", "cached"), [(1, 1), (900, 600), (2**24, 2**19)])
def test_the_product_and_its_loss_at_once(
    smoothing: float,
    weighted: bool,
    biased: bool,
    dtype: torch.dtype,
    block: int,
    cached: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Against torch's product, loss and gradients of the whole logits, in float32."""
    monkeypatch.setattr(module, "CACHED", cached)
    monkeypatch.setattr(module, "BLOCK", block)
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(size, generator=generator) for size in ((17, 16), (300, 16), (300,))]
    values = torch.randint(300, (17,), generator=generator)
    weights = torch.rand(17, generator=generator).masked_fill(values % 3 == 0, 0.0) if weighted else None
    ours, theirs = ([d.clone().requires_grad_() for d in drawn] for _ in range(2))
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        total, correct = linear_cross_entropy(*ours[:2], ours[2] if biased else None, values, weights, smoothing)
    (total * 0.5).backward()
    logits = F.linear(theirs[0], theirs[1], theirs[2] if biased else None)
    scale = torch.ones(17) if weights is None else weights
    expected = (F.cross_entropy(logits, values, reduction="none", label_smoothing=smoothing) * scale).sum()
    (expected * 0.5).backward()
    near = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 6e-2}
    torch.testing.assert_close(total, expected, **near)
    if dtype == torch.float32:
        assert correct == ((logits.argmax(-1) == values) * scale).sum()
    for own, other in zip(ours[: 2 + biased], theirs[: 2 + biased], strict=True):
        torch.testing.assert_close(own.grad, other.grad, **near)


def test_what_needs_no_gradient_gets_none() -> None:
    rows, matrix = torch.randn(3, 4, requires_grad=True), torch.randn(5, 4)
    total, correct = linear_cross_entropy(rows, matrix, None, torch.arange(3))
    assert not correct.requires_grad
    total.backward()
    assert rows.grad is not None
    nothing, none = linear_cross_entropy(rows[:0], matrix, None, torch.arange(0))
    assert (nothing.item(), none.item()) == (0.0, 0.0)
