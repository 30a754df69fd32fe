"""UniLM's choice of how an example is read, and what it asks of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from training_tools import MASK, SPECIALS, VOCABULARY, Chain

from didact.batch import Example
from didact.objectives import UniLM, from_json, to_json
from didact.objectives.unilm import MODES
from didact.randomness import generators

SHARES = (1 / 3, 1 / 6, 1 / 6, 1 / 3)


def unilm(**changes: object) -> UniLM:
    return UniLM(MASK, VOCABULARY, SPECIALS, **changes)  # type: ignore[arg-type]


def keys(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(2**64, size=count, dtype=np.uint64)


def made(objective: UniLM, count: int = 3000) -> list[Example]:
    source = Chain(count, swapped=objective.unrelated)
    return [source(i, rng) for i, rng in enumerate(generators(keys(count, 1)))]


def modes(objective: UniLM, examples: list[Example]) -> np.ndarray:
    """How each example is read, told by its first segment id."""
    flat = objective(examples, keys(len(examples)))
    assert flat.segments is not None
    return np.searchsorted([0, 2, 3, 4], flat.segments[flat.cuts[:-1]])


@pytest.mark.parametrize("shares", [SHARES, (0.5, 0.25, 0.25, 0.0), (0.1, 0.0, 0.2, 0.7)], ids=str)
def test_the_shares_and_half_of_the_bidirectional_pairs_from_elsewhere(shares: tuple[float, ...]) -> None:
    objective = unilm(shares=shares)
    examples = made(objective)
    found = modes(objective, examples)
    assert np.bincount(found, minlength=4) / len(found) == pytest.approx(np.array(shares), abs=0.03)
    elsewhere = np.array([e.targets["relation"] for e in examples]) == 1
    assert (found[elsewhere] == 0).all(), "only neighbours are read in other ways"
    assert elsewhere[found == 0].mean() == pytest.approx(0.5, abs=0.05)


def test_only_bidirectional_pairs_are_asked_how_they_relate() -> None:
    objective = unilm()
    examples = made(objective, 400)
    flat = objective(examples, keys(400))
    asked = {a.labels.name: a for a in flat.labels}
    assert tuple(asked) == objective.names == (*MODES, "nsp")
    found = modes(objective, examples)
    assert (np.diff(asked["nsp"].cuts) == (found == 0)).all()
    for i, name in enumerate(MODES):
        assert ((np.diff(asked[name].cuts) > 0) == (found == i)).all()
    assert dict(objective.weights) == dict(zip(objective.names, (*SHARES, SHARES[0]), strict=True))


def test_both_segments_are_hidden_in_every_mode() -> None:
    objective = unilm(rate=0.4)
    flat = objective(made(objective, 400), keys(400))
    assert flat.hidden is not None
    for ids in ((0, 1), (2, 2), (3, 3), (4, 5)):
        for own in ids:
            assert flat.hidden[flat.segments == own].any()


def test_without_pairs_nothing_is_written_from_another() -> None:
    objective = unilm(next_sentence=False, shares=(0.2, 0.2, 0.2, 0.4))
    assert objective.relation is None
    assert "nsp" not in objective.names
    single = [replace(e, segments=np.zeros(len(e), np.int64), targets={}) for e in made(objective, 1000)]
    shares = np.bincount(modes(objective, single), minlength=4) / 1000
    assert shares == pytest.approx(np.array([0.6, 0.2, 0.2, 0.0]), abs=0.05)


def test_an_example_is_read_in_one_way_whatever_it_is_prepared_with() -> None:
    objective = unilm()
    examples, own = made(objective, 50), keys(50)
    together = objective(examples, own)
    for i in range(50):
        alone = objective([examples[i]], own[i : i + 1])
        rows = slice(together.cuts[i], together.cuts[i + 1])
        assert np.array_equal(alone.tokens, together.tokens[rows])
        assert np.array_equal(alone.segments, together.segments[rows])
        assert (alone.visibility_of(0).rank == together.visibility_of(i).rank).all()


def test_wrong_shares_and_json() -> None:
    nan = float("nan")
    for shares in ((0.5, 0.5, 0.5, 0.5), (nan, nan, nan, nan), (1.0, 0.0, 0.0, nan), (1.5, -0.5, 0.0, 0.0)):
        with pytest.raises(ValueError, match="four that add up to 1"):
            unilm(shares=shares)
    with pytest.raises(ValueError, match="rate"):
        unilm(rate=0.0)
    assert from_json(to_json(unilm())) == unilm()
