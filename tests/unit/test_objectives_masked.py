"""didact.objectives.masked: what is asked is what stood there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from data_tools import example, selections

from didact.heads import Vocabulary
from didact.objectives import Masked
from didact.randomness import generator

SPECIALS = (0, 1, 2, 3, 4)


def masked(**changes: Any) -> Masked:
    return Masked(mask_id=4, vocabulary=100, specials=SPECIALS, **changes)


def keys(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(2**64, size=count, dtype=np.uint64)


@pytest.mark.parametrize("select", selections(), ids=lambda s: s.kind)
def test_it_asks_for_what_stood_there(select: Any) -> None:
    examples = [example(3 + i, seed=i) for i in range(60)]
    objective = masked(rate=0.3, select=select)
    batch = objective(examples, keys(60)).batch(range(60))
    (asked,) = batch.labels
    original = np.concatenate([e.tokens for e in examples])
    assert asked.values.tolist() == original[asked.rows.numpy()].tolist()
    changed = np.flatnonzero(batch.inputs.packed.tokens.numpy() != original)
    assert set(changed.tolist()) <= set(asked.rows.tolist())
    assert (asked.head, asked.name, asked.count) == ("vocabulary", "mlm", len(asked.rows))
    assert asked.covered == 3 * len(asked.rows)  # each of these tokens stands for three bytes


def test_hidden_is_what_was_replaced() -> None:
    prepared = masked(rate=0.5).prepare(example(300), generator(0))
    (asked,) = prepared.labels
    assert prepared.hidden is not None
    rows = np.flatnonzero(prepared.hidden)
    assert set(rows.tolist()) < set(asked.rows.tolist())
    kept = sorted(set(asked.rows.tolist()) - set(rows.tolist()))
    assert kept
    assert np.array_equal(prepared.inputs.tokens[kept], example(300).tokens[kept])
    assert (prepared.inputs.tokens[rows] == 4).mean() > 0.75


def test_the_example_is_not_written_into() -> None:
    e = example(50)
    before = e.tokens.copy()
    masked(rate=1.0).prepare(e, generator(0))
    assert np.array_equal(e.tokens, before)


@pytest.mark.parametrize(
    ("rate", "step", "expected"),
    [
        (0.2, 7, 0.2),
        (((0, 0.3), (100, 0.1)), 0, 0.3),
        (((0, 0.3), (100, 0.1)), 50, 0.2),
        (((10, 0.3), (20, 0.1)), 5, 0.3),
        (((10, 0.3), (20, 0.1)), 500, 0.1),
    ],
)
def test_the_rate_of_a_step(rate: Any, step: int, expected: float) -> None:
    assert masked(rate=rate).at(step).rate == pytest.approx(expected)
    examples = [example(202, seed=i) for i in range(20)]
    flat = masked(rate=rate)(examples, keys(20), step)
    assert flat.batch(range(20)).counts["mlm"] == pytest.approx(4000 * expected, abs=20)


def test_at_rate() -> None:
    assert masked(rate=((0, 0.3), (9, 0.1))).at_rate(0.4).at(3) == masked(rate=0.4)
    assert masked().rated == ("mlm",)


@pytest.mark.parametrize(
    "changes",
    [
        {"rate": 0.0},
        {"rate": 1.5},
        {"rate": float("nan")},
        {"rate": ()},
        {"rate": ((0, 0.0),)},
        {"rate": ((100, 0.2), (0, 0.4))},
        {"rate": ((100, 0.2), (100, 0.4))},
        {"rate": ((-1, 0.2), (100, 0.4))},
        {"mask": 0.8, "random": 0.3},
        {"mask": -0.1},
        {"mask": float("nan")},
        {"random": float("nan")},
    ],
)
def test_what_makes_no_sense_is_said(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"rate|mask"):
        masked(**changes)


def test_what_makes_sense_is_taken() -> None:
    for points in (((0, 0.3),), ((5, 1.0),), ((0, 0.3), (10, 0.3), (11, 0.1))):
        assert masked(rate=points).rate == points
    assert masked(mask=1.0, random=0.0).mask == 1.0
    assert masked(mask=0.0, random=0.0).mask == 0.0


def test_sequences_without_a_word() -> None:
    bare = replace(example(2), source_bytes=None)
    batch = masked()([bare, bare], keys(2)).batch([0, 1])
    assert batch.counts == {"mlm": 0.0}
    assert batch.labels[0].covered == 0


def test_its_head_and_names() -> None:
    assert masked(name="words").names == ("words",)
    assert masked().heads == {"vocabulary": Vocabulary()}
    assert masked().relation is None
