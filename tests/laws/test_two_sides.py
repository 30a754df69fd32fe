"""Encoder-decoders: every kernel's cross-attention is the definition, a pair alone is the same pair inside any pack,
and nothing passes from a source to another's target or from a target's rows to those before; for every family with a
decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from nn_tools import LENGTHS, pack, place
from torch import Tensor
from torch.nn import functional as F

from didact.batch import Batch, Labels, Side
from didact.config import ModelConfig
from didact.exchange import keys
from didact.families import FAMILIES, Family
from didact.heads import Vocabulary
from didact.model import Model
from didact.nn.attention import CrossAttention, Crossing
from didact.nn.compiled import compile_blocks
from didact.nn.kernel import KERNELS, Kernel
from didact.packed import Packed

HEADS, WIDTH = 2, 16
UNFUSED = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
EXACT = [kernel for kernel in KERNELS if kernel.name in ("dense", "grouped")]  # those that differentiate on CPUs
SIDES = {  # lengths of the sequences that look, and of those looked at
    "one": ([3], [5]),
    "single rows": ([1, 1, 2], [1, 4, 1]),
    "equal": ([4, 4, 4], [5, 5, 5]),
    "equal keys": ([4, 2, 7], [5, 5, 5]),
    "ragged": ([3, 5, 3, 1, 5, 3, 5, 1], [4, 1, 9, 2, 2, 7, 3, 3]),
    "far apart": ([60, 2, 3, 50], [3, 70, 80, 2]),
    "empty": ([3, 0, 4, 2, 0], [2, 3, 0, 4, 0]),
}
SCALES = (None, 1.0)
DECODERS = [family for family in FAMILIES if family.base.decoder is not None]
EVERY = pytest.mark.parametrize("family", DECODERS, ids=lambda f: f.name)


def projections(q: Packed, k: Packed) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(3)
    shapes = (len(q.tokens), HEADS, WIDTH), (len(k.tokens), 2, HEADS, WIDTH)
    rows, kv = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes)
    return rows, kv


def written_out(q: Tensor, kv: Tensor, queries: Packed, source: Packed, scale: float | None) -> Tensor:
    """Sequence by sequence, by torch's own attention; zeros where there is nothing to see."""
    out = []
    for rows, others in zip(q.split(queries.lengths), kv.split(source.lengths), strict=True):
        if not len(others):
            out.append(rows * 0.0)
            continue
        parts = (x.transpose(0, 1) for x in (rows, others[:, 0], others[:, 1]))
        out.append(F.scaled_dot_product_attention(*parts, scale=scale).transpose(0, 1))
    return torch.cat(out)


@UNFUSED
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("lengths", SIDES)
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_every_kernel_crosses_by_the_definition(kernel: Kernel, lengths: str, scale: float | None) -> None:
    queries, source = (pack(each, seed) for seed, each in enumerate(SIDES[lengths]))
    device, dtype, tolerance = place(kernel)
    q, kv = (x.to(dtype).double().requires_grad_() for x in projections(queries, source))
    expected = written_out(q, kv, queries, source, scale)
    differentiable = kernel.name != "flex" or device.type == "cuda"
    there = [x.detach().to(device, dtype).requires_grad_(differentiable) for x in (q, kv)]
    plan = kernel.plan_cross(queries.to(device), source.to(device))
    result = kernel.cross(there[0], there[1], plan, scale=scale)
    torch.testing.assert_close(result.cpu().double(), expected, atol=tolerance, rtol=tolerance)
    if not differentiable:
        return
    upstream = torch.randn(expected.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    wanted = torch.autograd.grad(expected, [q, kv], upstream)
    given = torch.autograd.grad(result, there, upstream.to(device, dtype))
    for a, b in zip(given, wanted, strict=True):
        torch.testing.assert_close(a.cpu().double(), b, atol=4 * tolerance, rtol=4 * tolerance)


@pytest.mark.parametrize("kernel", EXACT, ids=lambda k: k.name)
def test_a_row_crosses_to_its_own_source_alone(kernel: Kernel) -> None:
    queries, source = pack([2, 3, 1, 4]), pack([3, 1, 5, 2], 1)
    torch.manual_seed(0)
    layer = CrossAttention(WIDTH, HEADS, WIDTH // HEADS, bias=True, dropout=0.0).double()
    crossing = Crossing(kernel, kernel.plan_cross(queries, source))
    x = torch.randn(10, WIDTH, dtype=torch.float64)
    encoded = torch.randn(11, WIDTH, dtype=torch.float64)
    own = queries.sequence_ids()[:, None] == source.sequence_ids()[None, :]
    assert torch.equal(moves(lambda given: layer(x, layer.keys(given), crossing), encoded), own)


def test_packs_of_other_sequences_are_refused() -> None:
    (grouped,) = [kernel for kernel in KERNELS if kernel.name == "grouped"]
    with pytest.raises(ValueError, match="2 sequences look at 3"):
        grouped.plan_cross(pack([1, 2]), pack([1, 2, 3]))


def tiny(family: Family, **changes: Any) -> ModelConfig:
    """The family's own shape, small: two layers and three, other heads where its keys can say so."""
    sizes = {"vocabulary": 40, "width": 16, "layers": 2, "heads": 4, "feedforward": 24, "init_std": 0.3}
    sizes |= {"head_width": None, "decoder.layers": 3, "decoder.heads": 2, "decoder.start": 1}
    sizes |= {"position.maximum": None if family.base.position.maximum is None else 12}
    sizes |= {"position.buckets": 6, "position.distance": 7}
    return keys.changed(family.base, sizes | changes)


def built(family: Family, **changes: Any) -> Model:
    return Model(tiny(family, **changes), {"vocabulary": Vocabulary()}, torch.Generator().manual_seed(1)).eval()


def moves(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """(T, S) bool: whether output row q changes with input row k at all, in a random direction of the output."""
    x = x.detach().requires_grad_()
    out = function(x)
    direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(6), dtype=x.dtype)
    slopes = [torch.autograd.grad(row, x, retain_graph=True)[0] for row in (out * direction).sum(-1)]
    return torch.stack(slopes).abs().amax(-1) > 0


@pytest.mark.parametrize("kernel", EXACT, ids=lambda k: k.name)
@EVERY
def test_alone_is_together(family: Family, kernel: Kernel) -> None:
    model = built(family)
    for stack in model.stacks:
        stack.kernel = kernel.name
    q, k = [3, 5, 3, 1, 9, 3], [4, 1, 9, 2, 2, 7]
    target, source = pack(q), pack(k, 1)
    with torch.no_grad():
        everything = logits(model, target, source)
        pairs = zip(target.tokens.split(q), source.tokens.split(k), strict=True)
        alone = [logits(model, *(Packed.of([side.tolist()]) for side in pair)) for pair in pairs]
    torch.testing.assert_close(everything, torch.cat(alone), atol=1e-5, rtol=1e-5)


def logits(model: Model, target: Packed, source: Packed) -> Tensor:
    rows = torch.arange(len(target.tokens))
    return model(Batch(Side(source), (Labels("vocabulary", rows, rows, side="outputs"),), Side(target)))[0]


@pytest.mark.parametrize("kernel", EXACT, ids=lambda k: k.name)
@EVERY
def test_a_decoder_looks_back_and_at_its_own_source(family: Family, kernel: Kernel) -> None:
    model = built(family).double()
    for stack in model.stacks:
        stack.kernel = kernel.name
    target, source = pack([1, 4, 3]), pack([2, 3, 1], 1)
    word = model.core.embedding.word
    read, told = (word(side.tokens).detach() for side in (source, target))

    def output(given: Tensor, which: int) -> Tensor:
        vectors = iter([given if number == which else plain for number, plain in enumerate((read, told))])
        handle = word.register_forward_hook(lambda *_: next(vectors))
        out = model.decoded(Side(target), model.hidden(Side(source)), Side(source)).main
        handle.remove()
        return out

    own = target.sequence_ids()[:, None]
    assert torch.equal(moves(lambda x: output(x, 0), read), own == source.sequence_ids()[None])
    back = (own == own.T) & (target.positions[None] <= target.positions[:, None])
    assert torch.equal(moves(lambda x: output(x, 1), told), back)


@EVERY
def test_probabilities_of_named_layers(family: Family) -> None:
    """They are those that the layer attends with, sum to 1, and have gradients."""
    model = built(family)
    target, source = pack([2, 5]), pack([3, 4], 1)
    encoded = model.hidden(Side(source))
    found = model.decoded(Side(target), encoded, Side(source), cross=(0, 2), attention=(1,))
    assert set(found.cross) == {0, 2}
    assert set(found.attention) == {1}
    assert [tuple(p.shape) for p in found.cross[2]] == [(2, 2, 3), (2, 5, 4)]
    for probabilities in found.cross[2]:
        torch.testing.assert_close(probabilities.sum(-1), torch.ones(probabilities.shape[:2]))
    weight = model.decoder.blocks[2].cross.q.weight  # type: ignore[union-attr, index]
    (slope,) = torch.autograd.grad(found.cross[2][1][0, 4, 1], [weight])
    assert slope.abs().max() > 0


def test_words_are_one_parameter() -> None:
    for family in DECODERS:
        state = built(family).state_dict()
        tables = [name for name, tensor in state.items() if tensor.shape == (40, 16)]
        assert tables == ["core.embedding.word.weight", "heads.vocabulary.decoder.weight"][: 1 + (not family.base.tied)]


class Counter:
    """A compiler that compiles nothing and counts how often it is asked to, forward and backward."""

    def __init__(self) -> None:
        from functorch.compile import make_boxed_func
        from torch._dynamo.backends.common import aot_autograd

        self.count = 0

        def count(module: torch.fx.GraphModule, _inputs: object) -> object:
            self.count += 1
            return make_boxed_func(module.forward)

        self.backend = aot_autograd(fw_compiler=count, bw_compiler=count)


@pytest.fixture
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore")  # the compiler's own deprecations are not ours to judge
@pytest.mark.usefixtures("_fresh")
@pytest.mark.parametrize("family", [f for f in DECODERS if f.name in ("bart", "t5")], ids=lambda f: f.name)
def test_ragged_batches_compile_each_block_once(family: Family) -> None:
    counter, model = Counter(), built(family).train()
    for stack in model.stacks:
        compile_blocks(stack, counter.backend)
    draw = torch.Generator().manual_seed(0)
    for seed in range(20):
        n = int(torch.randint(1, 6, (1,), generator=draw))
        q, k = (torch.randint(1, 9, (n,), generator=draw).tolist() for _ in range(2))
        logits(model, pack([*q, 2], seed), pack([*k, 2], seed + 1)).sum().backward()
    assert counter.count == 4  # an encoder's block and a decoder's, forward and backward


@pytest.mark.parametrize("lengths", LENGTHS)
def test_torch_accepts_the_operator(lengths: str) -> None:
    from didact.nn.crossed import attend, plan

    for dropout in (0.0, 0.3):
        queries, source = pack(LENGTHS[lengths]), pack(list(reversed(LENGTHS[lengths])), 1)
        made = plan(queries, source)
        rows = [x.requires_grad_() for x in projections(queries, source)]
        rest = (made.table, made.lengths, made.q_at, made.k_at, dropout, torch.tensor([11]) if dropout else None)
        checks = ("test_schema", "test_autograd_registration", "test_faketensor")
        torch.library.opcheck(torch.ops.didact.crossed.default, (*rows, *rest), test_utils=checks)
        assert torch.autograd.gradcheck(lambda *given, rest=rest: attend(*given, *rest)[0], rows, fast_mode=True)


def test_dropout_follows_the_seed_and_keeps_the_mean() -> None:
    (kernel,) = [kernel for kernel in KERNELS if kernel.name == "grouped"]
    queries, source = pack([100, 90, 50]), pack([80, 80, 60])
    plan = kernel.plan_cross(queries, source)
    q, kv = torch.zeros(240, 2, 4), torch.ones(220, 2, 2, 4)

    def run(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return kernel.cross(q, kv, plan, dropout=0.25)

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
    assert abs(float(run(1).mean()) - 1.0) < 0.02
