"""Ragged batches compile nothing again: one compilation per block and direction, whatever the model's shape."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from nn_tools import CONFIGS, pack, tiny
from training_tools import Chain, replaced, step_of

from didact.batch import Side
from didact.config import PRE_NORM, Position
from didact.data.stream import BySequences, Stream
from didact.nn.compiled import compile_blocks, compile_module, ragged
from didact.nn.cores import build
from didact.nn.feedforward import FeedForward
from didact.training.policy import compiler_missing
from didact.visibility import bidirectional, causal

pytestmark = pytest.mark.filterwarnings("ignore")  # the compiler's own deprecations are not ours to judge

MODELS = {
    "bert": tiny(layers=3),
    "narrow, shared": tiny(**CONFIGS["narrow, shared"]),
    "rotary, gated, windows": tiny(
        layers=3, position=Position("rotary"), norms=PRE_NORM, gated=True, windows=(None, 2, None)
    ),
    "bucketed": tiny(position=Position("bucketed")),
    "relative": tiny(layers=3, position=Position("relative", distance=-1)),
    "disentangled": tiny(layers=3, position=Position("disentangled", maximum=12, buckets=6, distance=-1)),
    "dropout": tiny(dropout=0.1, attention_dropout=0.1),
    "opposed": tiny(core="opposed", layers=3),
}


class Counter:
    """A compiler that compiles nothing and counts how often it is asked to, forward and backward."""

    def __init__(self) -> None:
        from functorch.compile import make_boxed_func
        from torch._dynamo.backends.common import aot_autograd

        self.forward = self.backward = 0

        def forward(module: torch.fx.GraphModule, _inputs: object) -> object:
            self.forward += 1
            return make_boxed_func(module.forward)

        def backward(module: torch.fx.GraphModule, _inputs: object) -> object:
            self.backward += 1
            return make_boxed_func(module.forward)

        self.backend = aot_autograd(fw_compiler=forward, bw_compiler=backward)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def batches(count: int = 50) -> Iterator[list[int]]:
    """Lengths of ragged packs. The first has as many rows as the model is wide: chance equality must bind nothing."""
    draw = random.Random(0)
    yield [4, 4, 4, 4]
    for _ in range(count - 1):
        lengths = [draw.randint(1, 12) for _ in range(draw.randint(1, 9))]
        lengths = draw.choice([lengths, sorted(lengths), [lengths[0]] * len(lengths)])
        yield lengths if sum(lengths) > 1 else [2]


@pytest.mark.parametrize("name", MODELS)
def test_one_compilation_per_block_and_direction(name: str) -> None:
    counter = Counter()
    model = build(MODELS[name], torch.Generator().manual_seed(0)).train()
    compile_blocks(model, counter.backend)
    for seed, lengths in enumerate(batches()):
        model(Side(pack(lengths, seed))).main.sum().backward()
    blocks = len(model.blocks)
    assert 1 <= counter.forward <= blocks
    assert 1 <= counter.backward <= blocks
    assert (counter.forward, counter.backward) == (1, 1)  # blocks of one shape even share them


@pytest.mark.parametrize("changes", [name for name in CONFIGS if name.startswith("recurrent")])
def test_a_core_without_regions_compiles_nothing(changes: str) -> None:
    counter = Counter()
    model = build(tiny(**CONFIGS[changes]), torch.Generator().manual_seed(0)).train()
    compile_blocks(model, counter.backend)
    model(Side(pack([3, 1, 4]))).main.sum().backward()
    assert not model.regions
    assert (counter.forward, counter.backward) == (0, 0)


def test_evaluation_compiles_the_forward_once_more_and_no_other() -> None:
    counter = Counter()
    model = build(MODELS["bert"]).eval()
    compile_blocks(model, counter.backend)
    with torch.no_grad():
        for seed, lengths in enumerate(batches()):
            side = Side(pack(lengths, seed))
            compiled = model(side).main
            assert compiled.shape == (sum(lengths), 16)
    assert (counter.forward, counter.backward) == (1, 0)


@pytest.mark.parametrize("sharing", ["all", "difference"])
def test_models_trained_together_compile_each_its_own_block(sharing: Any) -> None:
    """A generator and the model that reads what it draws: two shapes of block, each compiled once a direction."""
    counter = Counter()
    objective = replaced(sharing=sharing)
    step = step_of(objective, width=16, layers=3, heads=2, feedforward=24).train()
    for model in step.models.values():
        compile_blocks(model.core, counter.backend)  # type: ignore[arg-type, union-attr]
    draw = random.Random(0)
    for number in range(25):
        batch = Stream(Chain(40, (3, 3 + draw.randint(0, 9))), objective, BySequences(draw.randint(1, 9)), 512)[number][
            0
        ]
        step(batch).scaled(batch.counts).backward()
    assert (counter.forward, counter.backward) == (2, 2)


def test_a_head_compiles_once_for_any_number_of_rows() -> None:
    counter = Counter()
    head = FeedForward(16, 16, "gelu", gated=False, bias=True)
    compile_module(head, counter.backend)
    for rows in (16, 2, 40, 3, 17):
        hidden = torch.randn(rows, 16)
        ragged(hidden)
        head(hidden).sum().backward()
    assert (counter.forward, counter.backward) == (1, 1)


@pytest.mark.slow
def test_compiled_is_eager() -> None:
    if missing := compiler_missing(torch.device("cpu")):
        pytest.skip(missing)
    plain, compiled = (build(MODELS["rotary, gated, windows"], torch.Generator().manual_seed(0)) for _ in range(2))
    compile_blocks(compiled)
    for seed, lengths in enumerate(batches(6)):
        side = Side(pack(lengths, seed), causal() if seed % 2 else bidirectional())
        for model in (plain.double(), compiled.double()):
            model.zero_grad()
            model(side).main.square().sum().backward()
        for a, b in zip(plain.parameters(), compiled.parameters(), strict=True):
            assert a.grad is not None
            torch.testing.assert_close(b.grad, a.grad, atol=1e-6, rtol=1e-6)  # rotary angles stay float32
