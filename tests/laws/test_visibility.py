"""Who sees whom: gradients flow from key to query just where the rule says so; every kernel is the definition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from nn_tools import CONFIGS, LENGTHS, RULES, TERMS, distance_terms, knows, pack, place, tensors, tiny
from torch import Tensor

from didact.batch import Side
from didact.nn.attention import Attention, Context
from didact.nn.core import Core
from didact.nn.cores import build, entry
from didact.nn.distance import DistanceTerms
from didact.nn.kernel import KERNELS, Kernel, attend, named
from didact.packed import Packed
from didact.visibility import Visibility

HEADS, WIDTH = 2, 16
UNFUSED = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
EXACT = [kernel for kernel in KERNELS if kernel.name in ("dense", "grouped")]  # those that differentiate on CPUs


def projections(packed: Packed) -> Tensor:
    draw = torch.Generator().manual_seed(3)
    return torch.randn(packed.tokens.shape[0], 3, HEADS, WIDTH, generator=draw, dtype=torch.float64)


def moved(terms: DistanceTerms | None, device: torch.device, dtype: torch.dtype) -> DistanceTerms | None:
    """A copy whose tensors are leaves of their own."""
    if terms is None:
        return None
    own = {
        name: by.detach().to(device, dtype).requires_grad_()
        for name in ("by_distance", "by_query", "by_key", "by_same")
        if (by := getattr(terms, name)) is not None
    }
    return replace(terms, index=terms.index.to(device), **own)


# flex costs seconds a case where it runs unfused, or is compiled anew for each: it walks over fewer of them.
FEWER = {"flex": (("none", "all"), ("scattered",))}
CASES = [
    pytest.param(kernel, rule, terms, lengths, id=f"{kernel.name}-{rule}-{terms}-{lengths}")
    for kernel in KERNELS
    for rule in RULES
    for terms in FEWER.get(kernel.name, (TERMS,))[0]
    for lengths in FEWER.get(kernel.name, ((), ("neighbours", "scattered", "empty inside")))[1]
    if kernel.name != "dense" and knows(kernel, rule, terms)
]


@UNFUSED
@pytest.mark.parametrize(("kernel", "rule", "name", "lengths"), CASES)
def test_every_kernel_is_the_definition(kernel: Kernel, rule: str, name: str, lengths: str) -> None:
    packed = pack(LENGTHS[lengths])
    seen = RULES[rule](packed)
    terms = distance_terms(name, packed.tokens.shape[0], HEADS)
    device, dtype, tolerance = place(kernel)
    there = moved(terms, device, dtype)
    qkv = projections(packed).to(dtype).double().requires_grad_()
    expected = attend(*qkv.unbind(1), packed, seen, terms, kernel="dense")
    qkv_there = qkv.detach().to(device, dtype).requires_grad_()
    differentiable = kernel.name != "flex" or device.type == "cuda"
    with torch.set_grad_enabled(differentiable):
        result = attend(*qkv_there.unbind(1), packed.to(device), seen.to(device), there, kernel=kernel.name)
    torch.testing.assert_close(result.cpu().double(), expected, atol=tolerance, rtol=tolerance)
    if not differentiable:
        return
    upstream = torch.randn(expected.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    wanted = torch.autograd.grad(expected, [qkv, *tensors(terms)], upstream)
    given = torch.autograd.grad(result, [qkv_there, *tensors(there)], upstream.to(device, dtype))
    for a, b in zip(given, wanted, strict=True):
        torch.testing.assert_close(a.cpu().double(), b, atol=4 * tolerance, rtol=4 * tolerance)


def moves(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """(T, T) bool: whether output row q changes with input row k at all, in a random direction of the output."""
    x = x.detach().requires_grad_()
    out = function(x)
    direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(6), dtype=x.dtype)
    rows = (out * direction).sum(-1)
    slopes = [torch.autograd.grad(row, x, retain_graph=True)[0] for row in rows]
    return torch.stack(slopes).abs().amax(-1) > 0


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kernel", EXACT, ids=lambda k: k.name)
def test_gradients_flow_where_the_rule_says(kernel: Kernel, rule: str) -> None:
    packed = pack([1, 4, 4, 6])
    seen = RULES[rule](packed)
    torch.manual_seed(0)
    attention = Attention(WIDTH, HEADS, WIDTH // HEADS, bias=True, dropout=0.0).double()
    context = Context(kernel, kernel.plan(packed, seen))

    def keys_to_output(x: Tensor) -> Tensor:
        qkv = torch.cat((attention.project(x.detach(), context)[:, :1], attention.project(x, context)[:, 1:]), 1)
        return attention.out(kernel(qkv, context.plan).flatten(1))

    x = torch.randn(packed.tokens.shape[0], WIDTH, dtype=torch.float64)
    assert torch.equal(moves(keys_to_output, x), seen.matrix(packed))


@pytest.mark.parametrize("windows", [(None, None), (1, 2)], ids=str)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kernel", EXACT, ids=lambda k: k.name)
def test_nothing_passes_where_no_path_leads(kernel: Kernel, rule: str, windows: tuple[int | None, ...]) -> None:
    packed = pack([1, 4, 6])
    seen = RULES[rule](packed)
    model = build(tiny(windows=windows), torch.Generator().manual_seed(0)).double()
    model.kernel = kernel.name
    rows = torch.eye(packed.tokens.shape[0], dtype=torch.bool)
    reachable = rows
    for window in windows:
        reachable = (seen.within(window).matrix(packed) | rows).double() @ reachable.double() > 0
    assert torch.equal(moves(output_of(model, Side(packed, seen)), words_of(model, packed)), reachable)


def words_of(model: Core, packed: Packed) -> Tensor:
    return model.embedding.word(packed.tokens).detach()


def output_of(model: Core, side: Side, stream: str = "main") -> Callable[[Tensor], Tensor]:
    """A stream of the model as a function of its word vectors."""

    def output(given: Tensor) -> Tensor:
        handle = model.embedding.word.register_forward_hook(lambda *_: given)
        out = model(side).streams[stream]
        handle.remove()
        return out

    return output


@pytest.mark.parametrize("changes", CONFIGS)
def test_streams_see_by_their_own_rule(changes: str) -> None:
    """Those that do not see by the rule of the batch, through all of their layers: they never mix on the way."""
    packed = pack([1, 4, 6, 4])
    config = tiny(**CONFIGS[changes])
    model = build(config, torch.Generator().manual_seed(0)).double()
    for stream, rule in entry(config.core).streams.items():
        if rule is not None:
            seen = moves(output_of(model, Side(packed), stream), words_of(model, packed))
            assert torch.equal(seen, RULES["full" if rule == "bidirectional" else rule](packed).matrix(packed))


@UNFUSED
@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("kernel", [k for k in KERNELS if knows(k, "blind rows", "none")], ids=lambda k: k.name)
def test_a_row_that_sees_nothing_gives_zeros(kernel: Kernel, name: str) -> None:
    packed = pack([1, 4, 4])
    seen: Visibility = RULES["blind rows"](packed)
    terms = distance_terms(name, 9, HEADS)
    device, dtype, _ = place(kernel)
    terms = moved(terms, device, dtype)
    blind = ~seen.matrix(packed).any(1)
    assert blind.sum() == 3
    with torch.no_grad():
        qkv = projections(packed).to(device, dtype)
        out = attend(*qkv.unbind(1), packed.to(device), seen.to(device), terms, kernel=kernel.name).cpu()
    assert torch.equal(out[blind], torch.zeros_like(out[blind]))
    assert torch.isfinite(out).all()


def test_kernels_are_found_by_name() -> None:
    assert [named(kernel.name) for kernel in KERNELS] == list(KERNELS)
