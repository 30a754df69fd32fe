"""A sequence alone is the same sequence inside any pack: nothing depends on its neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from data_tools import example
from nn_tools import CONFIGS, LENGTHS, NORMS, RULES, pack, tiny
from training_tools import VOCABULARY
from training_tools import model as model_for

from didact.batch import Side
from didact.config import ModelConfig, Position
from didact.data.lay import lay
from didact.nn.cores import build, entry
from didact.nn.position import POSITIONS
from didact.objectives import Permuted
from didact.packed import Packed, cumulated, positions_of
from didact.visibility import Visibility, ranked

SCHEMES = [entry.name for entry in POSITIONS]


def alone(packed: Packed, rule: Visibility, b: int) -> tuple[Packed, Visibility, slice]:
    """Sequence b as a pack of its own, with its own part of the rule, and its rows in the pack."""
    rows = slice(int(packed.cu_seqlens[b]), int(packed.cu_seqlens[b + 1]))
    n = rows.stop - rows.start
    assert packed.segments is not None
    one = Packed(packed.tokens[rows], positions_of([n]), cumulated([n]), n, packed.segments[rows])
    if rule.rank is None or rule.reach is None:
        return one, rule, rows
    return one, ranked(rule.rank[rows], rule.reach[rows]).within(rule.window), rows


def check(config: ModelConfig, lengths: list[int], rule: str, kernel: str) -> None:
    model = build(config, torch.Generator().manual_seed(1)).eval()
    model.kernel = kernel
    packed = pack(lengths)
    seen = RULES[rule](packed)
    with torch.no_grad():
        together = model(Side(packed, seen), layers=True)
        for b, n in enumerate(lengths):
            if n:
                one, own, rows = alone(packed, seen, b)
                expected = model(Side(one, own), layers=True)
                for whole, part in zip(together.layers, expected.layers, strict=True):
                    torch.testing.assert_close(whole[rows], part, atol=1e-5, rtol=1e-5)
                for stream in entry(config.core).streams:
                    torch.testing.assert_close(
                        together.streams[stream][rows], expected.streams[stream], atol=1e-5, rtol=1e-5
                    )
    assert torch.equal(together.main, together.layers[-1])
    assert len(together.layers) == config.layers + 1


@pytest.mark.parametrize("kernel", ["dense", "grouped"])
@pytest.mark.parametrize("norms", NORMS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_alone_is_together_for_every_position_scheme_and_norm_placement(scheme: str, norms: str, kernel: str) -> None:
    position = Position(scheme, maximum=32, offset=2, buckets=8, distance=6)
    check(tiny(position=position, norms=NORMS[norms]), LENGTHS["scattered"], "full", kernel)


@pytest.mark.parametrize("kernel", ["dense", "grouped"])
@pytest.mark.parametrize("lengths", ["single rows", "scattered", "empty inside"])
@pytest.mark.parametrize("rule", RULES)
def test_alone_is_together_for_every_rule(rule: str, lengths: str, kernel: str) -> None:
    check(tiny(position=Position("bucketed", buckets=8, distance=6)), LENGTHS[lengths], rule, kernel)


@pytest.mark.parametrize("changes", CONFIGS)
def test_alone_is_together_for_every_shape_of_model(changes: str) -> None:
    check(tiny(**CONFIGS[changes]), LENGTHS["scattered"], "full", "grouped")
    check(tiny(**CONFIGS[changes]), LENGTHS["empty inside"], "full", "grouped")


@pytest.mark.parametrize("objective", [Permuted(0.4), Permuted(0.4, segments=3, memory=4)], ids=["orders", "memory"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_alone_is_together_for_query_rows_and_memories(scheme: str, objective: Permuted) -> None:
    position = Position(scheme, maximum=40, offset=2, buckets=8, distance=6)
    net = model_for(objective, position=position, segments=2, init_std=0.3).eval()
    examples = [example(n, n, VOCABULARY) for n in (3, 17, 30, 4, 17)]
    flat = objective.ask(lay(examples), np.arange(5, dtype=np.uint64))
    with torch.no_grad():
        batch = flat.batch([2, 0, 4, 3, 1])
        (together,) = net(batch)
        alone = [flat.batch([i]) for i in (2, 0, 4, 3, 1)]
        expected = torch.cat([net(one)[0] for one in alone])
    assert torch.equal(batch.labels[0].values, torch.cat([one.labels[0].values for one in alone]))
    torch.testing.assert_close(together, expected, atol=1e-5, rtol=1e-5)
