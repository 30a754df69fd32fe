"""Spare rows change nothing: no hidden state, no attention, no loss and no gradient, for any model and objective; and
ragged packs that have them compile nothing again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import test_compile
import torch
from gradients import one_step
from nn_tools import CONFIGS, LENGTHS, RULES, pack, tiny
from test_compile import MODELS, Counter, batches
from test_loss import ONE, assert_same
from training_tools import MADE

from didact.batch import Side
from didact.config import ModelConfig, Position
from didact.nn.compiled import compile_blocks
from didact.nn.cores import build, entry
from didact.nn.position import POSITIONS
from didact.nn.spare import filled, spare, through
from didact.objectives import Objective

pytestmark = pytest.mark.filterwarnings("ignore")  # the compiler's own deprecations are not ours to judge
_fresh = test_compile._fresh
Lay = Callable[[Callable[[int], int]], None]
USED = ("didact.nn.spare.spare", "didact.nn.transformer.spare", "didact.heads.cross_entropy.spare")


@pytest.fixture
def lay(monkeypatch: pytest.MonkeyPatch) -> Lay:
    """Lay so many spare rows behind so many, whatever the precision: the laws are then exact."""

    def patch(spares: Callable[[int], int]) -> None:
        for name in USED:
            monkeypatch.setattr(name, lambda rows, _device, _dtype: spares(rows))

    return patch


def check(config: ModelConfig, rule: str, lengths: str, lay: Lay) -> None:
    model = build(config, torch.Generator().manual_seed(1)).eval()
    packed = pack(LENGTHS[lengths])
    side = Side(packed, RULES[rule](packed))
    looks = range(config.layers) if entry(config.core).name != "recurrent" else ()
    with torch.no_grad():
        lay(lambda _: 0)
        wanted = model(side, layers=True, attention=looks)
        lay(lambda _: 5)
        found = model(side, layers=True, attention=looks)
    assert found.streams.keys() == wanted.streams.keys()
    for stream, rows in wanted.streams.items():
        torch.testing.assert_close(found.streams[stream], rows, atol=1e-6, rtol=1e-5)
    for own, other in zip(found.layers, wanted.layers, strict=True):
        torch.testing.assert_close(own, other, atol=1e-6, rtol=1e-5)
    assert found.attention.keys() == wanted.attention.keys()
    for i, seen in wanted.attention.items():
        for own, other in zip(found.attention[i], seen, strict=True):
            torch.testing.assert_close(own, other, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("lengths", ["one", "equal", "scattered", "empty inside"])
@pytest.mark.parametrize("rule", RULES)
def test_hidden_states_of_every_rule(rule: str, lengths: str, lay: Lay) -> None:
    check(tiny(position=Position("bucketed", buckets=8, distance=6)), rule, lengths, lay)


@pytest.mark.parametrize("scheme", [entry.name for entry in POSITIONS])
def test_hidden_states_of_every_position_scheme(scheme: str, lay: Lay) -> None:
    position = Position(scheme, maximum=32, offset=2, buckets=8, distance=6)
    check(tiny(position=position, windows=(None, 2)), "full", "scattered", lay)


@pytest.mark.parametrize("changes", CONFIGS)
def test_hidden_states_of_every_shape_of_model(changes: str, lay: Lay) -> None:
    check(tiny(**CONFIGS[changes]), "full", "scattered", lay)


@pytest.mark.parametrize("objective", MADE, ids=lambda o: o.kind)
def test_losses_and_gradients_of_every_objective(objective: Objective, lay: Lay, tmp_path: Path) -> None:
    lay(lambda _: 0)
    wanted = one_step(objective, ONE, tmp_path / "without")
    lay(lambda _: 5)
    found = one_step(objective, ONE, tmp_path / "with")
    assert_same(found["gradients"], wanted["gradients"], found["loss"], wanted["loss"])


@pytest.mark.parametrize("name", MODELS)
def test_one_compilation_per_block_and_direction(name: str, lay: Lay) -> None:
    lay(lambda rows: -rows % 8)
    counter = Counter()
    model = build(MODELS[name], torch.Generator().manual_seed(0)).train()
    compile_blocks(model, counter.backend)
    spares = set()
    for seed, lengths in enumerate(batches()):
        spares.add(-sum(lengths) % 8)
        assert len(model(Side(pack(lengths, seed))).main) == sum(lengths)
        model(Side(pack(lengths, seed))).main.sum().backward()
    assert len(spares) == 8, "packs with and without spare rows"
    assert (counter.forward, counter.backward) == (1, 1)


@pytest.mark.parametrize("visibility", ["full", "causal"])
def test_blocks_see_them_in_bf16_and_nobody_else_does(visibility: str) -> None:
    model = build(tiny(visibility=visibility), torch.Generator().manual_seed(1)).eval()
    seen: list[int] = []
    for block in model.blocks:
        block.register_forward_hook(lambda _module, given, _found: seen.append(len(given[0])))
    side = Side(pack([12] * 8 + [1]))
    with torch.no_grad():
        exact = model(side).main
        with torch.autocast("cpu", torch.bfloat16):
            near = model(side).main
    assert seen == [97, 97, 98, 98]
    assert near.shape == exact.shape == (97, 16)
    torch.testing.assert_close(near.float(), exact, atol=5e-2, rtol=5e-2)


def test_how_many() -> None:
    cpu, half = torch.device("cpu"), torch.bfloat16
    assert spare(4097, cpu, torch.float32) == spare(4097, torch.device("cuda"), half) == 0
    assert [spare(rows, cpu, half) for rows in (0, 1, 63, 64, 65, 4096, 4097, 4160)] == [0, 0, 0, 0, 1, 0, 127, 64]
    for rows in range(1, 20_000):
        extra = spare(rows, cpu, half)
        assert 0 <= extra <= rows / 32
        assert spare(rows + extra, cpu, half) == 0
    assert len({rows + spare(rows, cpu, half) for rows in range(4096, 8192)}) == 33


def test_layers_that_take_rows_one_by_one() -> None:
    layer, x = torch.nn.Linear(3, 4), torch.randn(67, 3)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(through(layer, x), layer(x), atol=1e-2, rtol=1e-2)
        assert through(layer, x).shape == (67, 4)
    assert torch.equal(filled(x, 2)[67:], torch.zeros(2, 3))
    assert filled(x, 0) is x
