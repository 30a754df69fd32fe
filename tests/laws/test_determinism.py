"""Determinism: the same seed and position give the same batches for any number of workers and ranks, from any start;
every index comes exactly once an epoch; what becomes of an example does not depend on what it is prepared with.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from data_tools import example, same, selections
from training_tools import MADE, VOCABULARY, masked

from didact.batch import Batch, Example, Prepared
from didact.data.loader import Loader
from didact.data.stream import BySequences, ByTokens, Mixture, Position, Stream
from didact.objectives import OBJECTIVES, Objective
from didact.randomness import generator, generators


@dataclass(frozen=True)
class Drawn:
    """A source whose examples depend on their rng: length and relation. The first word's token says which it is."""

    size: int
    base: int = 0

    def __len__(self) -> int:
        return self.size

    def __call__(self, index: int, rng: np.random.Generator) -> Example:
        return example(int(rng.integers(4, 20)), self.base + index, VOCABULARY, relation=int(rng.integers(2)))


CASES: tuple[Objective, ...] = (*MADE, *(masked(select=select, rate=((0, 0.4), (6, 0.1))) for select in selections()))
OBJECTIVE = pytest.mark.parametrize("objective", CASES, ids=range(len(CASES)))
SOURCES = (Drawn(37), Mixture((Drawn(37), Drawn(9, base=100)), (2.0, 1.0)))
PLANS = (BySequences(12), BySequences(12, ((2, 3), (4, 7))), ByTokens(192, window=15))
STREAM = pytest.mark.parametrize(
    ("source", "plan"),
    [(source, plan) for source in SOURCES for plan in PLANS],
    ids=[f"{s}-{p}" for s in ("one", "mixture") for p in ("sequences", "warmup", "tokens")],
)


def test_all_objectives_are_here() -> None:
    assert {type(case) for case in CASES} == set(OBJECTIVES)


def stream(source: Any, plan: Any, objective: Objective = MADE[-1], **changes: Any) -> Stream:
    return Stream(source, objective, plan, 48, **({"seed": 5} | changes))


def steps(count: int, *args: Any, start: Position | None = None, workers: int = 0, **changes: Any) -> list[Any]:
    return list(islice(Loader(stream(*args, **changes), start or Position(), workers), count))


def sequences(batches: list[Batch]) -> list[tuple[Any, ...]]:
    """Every sequence of some batches, with the questions it is asked, in no order."""
    found = []
    for batch in batches:
        if not batch.tokens:
            continue
        cuts = batch.inputs.packed.cu_seqlens.tolist()
        for start, stop in pairwise(cuts):
            asked = []
            for labels in batch.labels:
                own = (labels.rows >= start) & (labels.rows < stop)
                noise = None if labels.noise is None else labels.noise[own].tolist()
                asked.append((labels.name, (labels.rows[own] - start).tolist(), labels.values[own].tolist(), noise))
            found.append((batch.inputs.packed.tokens[start:stop].tolist(), asked))
    return sorted(found, key=repr)


def equal(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(
        p == q and len(x) == len(y) and all(same(m, n) for m, n in zip(x, y, strict=True))
        for (x, p), (y, q) in zip(a, b, strict=True)
    )


@STREAM
def test_any_number_of_workers(source: Any, plan: Any) -> None:
    assert equal(steps(8, source, plan), steps(8, source, plan, workers=2))


@STREAM
def test_any_number_of_ranks(source: Any, plan: Any) -> None:
    alone = steps(8, source, plan)
    for ranks in (2, 4):
        if isinstance(plan, ByTokens) and plan.tokens % (48 * ranks):
            continue
        each = [steps(8, source, plan, rank=rank, ranks=ranks) for rank in range(ranks)]
        for number, (batches, position) in enumerate(alone):
            own = [rank[number] for rank in each]
            assert all(p == position for _, p in own)
            assert len({len(b) for b, _ in own}) == 1  # every rank runs as many micro-batches
            assert len({tuple(a.name for a in batch.labels) for b, _ in own for batch in b}) == 1
            assert sequences([batch for b, _ in own for batch in b]) == sequences(batches)
            assert sum(batch.tokens for b, _ in own for batch in b) == sum(batch.tokens for batch in batches)


@STREAM
def test_from_any_position(source: Any, plan: Any) -> None:
    whole = steps(10, source, plan)
    for number, (_, position) in enumerate(whole[:-1]):
        assert equal(steps(9 - number, source, plan, start=position), whole[number + 1 :])
    assert all(same(a, b) for a, b in zip(stream(source, plan)[4], whole[4][0], strict=True))


@STREAM
def test_no_global_randomness_is_read_or_written(source: Any, plan: Any) -> None:
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1]
    first = steps(3, source, plan)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)
    torch.manual_seed(1)
    np.random.seed(1)
    assert equal(first, steps(3, source, plan))


@pytest.mark.parametrize("plan", [BySequences(5), ByTokens(96, window=37)], ids=["sequences", "tokens"])
def test_every_index_once_an_epoch(plan: Any) -> None:
    shown = Counter(
        tuple(s[0]) for batches, _ in steps(60, _numbers(37), plan, objective=MADE[1]) for s in sequences(batches)
    )
    assert len(shown) == 37
    assert max(shown.values()) - min(shown.values()) <= 1


@pytest.mark.parametrize("ways", [1, 3])
def test_static_masks_come_again_and_orders_do_not(ways: int) -> None:
    """In epoch e every example is made and asked as in epoch e mod `ways`, and in no other; the order is always new."""
    static = stream(Drawn(37), BySequences(37), masked(), duplicates=ways)
    epochs = []
    for epoch in range(2 * ways + 1):
        (labels,) = (flat := static.prepare(*static.examples(np.arange(37 * epoch, 37 * (epoch + 1))), 0)).labels
        rows = [labels.labels.rows[a:b].tolist() for a, b in pairwise(labels.cuts.tolist())]
        epochs.append([(e.tokens.tolist(), own) for e, own in zip(flat.examples, rows, strict=True)])
    for epoch, shown in enumerate(epochs):
        for before, other in enumerate(epochs[:epoch]):
            assert (sorted(shown) == sorted(other)) == ((epoch - before) % ways == 0)
            assert shown != other


def _numbers(size: int) -> list[Example]:
    class Numbers(list[Example]):
        def __call__(self, index: int, rng: np.random.Generator) -> Example:  # noqa: ARG002
            return self[index]

    return Numbers(replace(example(5, 1), tokens=np.arange(5) + 10 * i) for i in range(size))


@STREAM
def test_seeds_differ(source: Any, plan: Any) -> None:
    assert not equal(steps(2, source, plan), steps(2, source, plan, seed=6))


@OBJECTIVE
def test_what_becomes_of_an_example_is_its_own_affair(objective: Objective) -> None:
    examples = [Drawn(40)(i, rng) for i, rng in enumerate(generators(np.arange(40, dtype=np.uint64)))]
    keys = np.random.default_rng(0).integers(2**64, size=40, dtype=np.uint64)
    for step in (0, 3):
        every = objective(examples, keys, step).prepared()
        some = [7, 3, 15]  # of the sequences that are made, each of so many examples
        own = [i * objective.group + k for i in some for k in range(objective.group)]
        for i, p in zip(some, objective([examples[i] for i in own], keys[own], step).prepared(), strict=True):
            q = every[i]
            assert made(p) == made(q)


@OBJECTIVE
def test_one_prepared_by_itself_is_repeated_by_its_generator(objective: Objective) -> None:
    e = example(90, 2, VOCABULARY, relation=1)
    first, again, other = (objective.at(0).prepare(e, generator(seed)) for seed in (1, 1, 2))
    if objective.rated:
        assert made(first) != made(other)
    assert made(first) == made(again)


def made(prepared: Prepared) -> tuple[Any, ...]:
    """What became of an example: what it reads, what it is asked, who sees whom."""
    rank = prepared.visibility.rank
    asked = [(a.name, a.rows.tolist(), a.values.tolist()) for a in prepared.labels]
    return prepared.inputs.tokens.tolist(), asked, None if rank is None else rank.tolist()


def test_generators_are_the_generators_of_their_keys() -> None:
    keys = np.array([0, 1, 2**64 - 1], np.uint64)
    for k, rng in zip(keys, generators(keys), strict=True):
        fresh = generator(int(k))
        assert rng.random(5).tolist() == fresh.random(5).tolist()
        assert rng.integers(7, size=3).tolist() == fresh.integers(7, size=3).tolist()
