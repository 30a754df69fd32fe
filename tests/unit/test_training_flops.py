from __future__ import annotations

from typing import Any

import pytest
import torch
from training_tools import MADE, Chain, core_of, model, step_of

from didact.batch import Batch
from didact.config import PRE_NORM, Characters, Position
from didact.data.stream import BySequences, Stream
from didact.objectives import Objective, Replaced
from didact.training.flops import Cost, matmul_peak, measured_flops, step_flops
from didact.training.optim import AdamW

SHAPES = {
    "plain": {},
    "gated": {"gated": True},
    "shared": {"layers": 4, "layer_groups": 2},
    "narrow": {"embedding_width": 16},
    "untied": {"tied": False},
    "pre-norm": {"norms": PRE_NORM},
    "relative": {"position": Position("relative", distance=-1)},
    "disentangled": {"position": Position("disentangled", maximum=32, buckets=8)},
    "characters": {"tied": False, "characters": Characters(((1, 4), (3, 8)), width=4, longest=9)},
}


def batches(objective: Objective) -> list[Batch]:
    return Stream(Chain(40, (3, 12)), objective, BySequences(12), 128)[0]


RECURRENT_SHAPES = {
    "plain": {},
    "narrow": {"embedding_width": 12},
    "tied": {"tied": True, "characters": Characters()},
    "not projected": {"feedforward": 16},
    "table": {"characters": Characters()},
    "opposed": {"core": "opposed", "heads": 4, "position": Position(), "characters": Characters()},
}
CASES = [
    pytest.param(objective, changes, id=f"{objective.kind}-{shape}")
    for objective in MADE
    for shape, changes in (RECURRENT_SHAPES if core_of(objective).get("core") else SHAPES).items()
    if not (objective.decoder and shape in ("shared", "narrow"))  # which no model with a decoder is
    and not (
        shape == "characters" and isinstance(objective, Replaced) and objective.sharing == "difference"
    )  # no table
]


@pytest.mark.parametrize(("objective", "changes"), CASES)
def test_counts_what_torch_does(objective: Objective, changes: dict[str, Any]) -> None:
    step = step_of(objective, **changes)
    own = batches(objective)

    def run() -> None:
        for batch in own:
            step(batch).scaled(batch.counts).backward()

    measured, computed = measured_flops(run), step_flops(dict(step.models.items()), own)
    assert computed == pytest.approx(measured, rel=0.01)


def test_a_model_that_looks_back_sees_half_whatever_the_batch_says() -> None:
    batch = batches(MADE[0])[0]
    full, half = (Cost.of(model(MADE[0], visibility=seen))(batch) for seen in ("full", "causal"))
    assert full - half == 12 * 32 * 2 * sum(n * (n - 1) // 2 for n in batch.inputs.packed.lengths)


@pytest.mark.parametrize("freeze", ["embeddings", 1, 2])
def test_frozen_layers_have_no_backward(freeze: Any) -> None:
    objective = MADE[1]
    step = step_of(objective)
    AdamW(freeze=freeze).frozen(step)
    own = batches(objective)

    def run() -> None:
        for batch in own:
            step(batch).scaled(batch.counts).backward()

    # The lowest trained block's first product passes no gradient on, which is not told apart.
    assert step_flops(dict(step.models.items()), own) == pytest.approx(measured_flops(run), rel=0.1)


def test_windows_and_causality_see_less() -> None:
    batch = batches(MADE[0])[0]
    full = Cost.of(model(MADE[0]))(batch)
    narrow = Cost.of(model(MADE[0], windows=(2, None)))(batch)
    narrower = Cost.of(model(MADE[0], windows=(2, 2)))(batch)
    assert full - narrow == pytest.approx(narrow - narrower)
    pairs = sum(sum(min(n, q + 3) - max(0, q - 2) for q in range(n)) for n in batch.inputs.packed.lengths)
    wide = sum(n * n for n in batch.inputs.packed.lengths)
    assert full - narrow == 12 * 32 * (wide - pairs)


def test_other_modules_count_nothing() -> None:
    assert step_flops({"main": torch.nn.Linear(3, 3)}, batches(MADE[0])) == 0.0


def test_peak_is_measured_once() -> None:
    first = matmul_peak(torch.device("cpu"), torch.float32, (64, 128), 2)
    assert first > 1e6
    assert matmul_peak(torch.device("cpu"), torch.float32, (64, 128), 2) == first
