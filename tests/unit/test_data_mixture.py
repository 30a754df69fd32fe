"""didact.data.mixture: proportions are exact over a deck, and any card is found without those before it."""

from __future__ import annotations

import numpy as np
import pytest
from data_tools import Numbered, example

from didact.data.mixture import Listed, Mixture
from didact.errors import InputError


def test_a_mixture_is_exact_over_a_deck() -> None:
    mixture = Mixture((Numbered(3), Numbered(9)), (1.0, 3.0))
    assert mixture.cards.tolist() == [1 << 10, 3 << 10]
    assert len(mixture) == 12
    whose, place = mixture.drawn(np.arange(3 << 12), seed=5)
    assert [sorted(place[whose == m].tolist()) for m in (0, 1)] == [list(range(3 << 10)), list(range(9 << 10))]
    assert all((np.diff(place[whose == m]) == 1).all() for m in (0, 1))
    some = np.array([9000, 17, 4096])
    assert [x.tolist() for x in mixture.drawn(some, 5)] == [whose[some].tolist(), place[some].tolist()]
    assert Mixture((Numbered(3), Numbered(9)), (1e-9, 1.0)).cards.tolist() == [1, 4095]
    assert Mixture((Numbered(3),) * 3, (1.0, 1.0, 1.0)).cards.tolist() == [1366, 1365, 1365]


def test_a_mixture_is_a_source_of_all() -> None:
    mixture, rng = Mixture((Numbered(3, 0), Numbered(2, 1)), (1.0, 1.0)), np.random.default_rng(0)
    assert [int(mixture(i, rng).tokens[0]) for i in range(5)] == [0, 1, 2, 1000, 1001]
    with pytest.raises(IndexError):
        mixture(5, rng)


def test_temperature() -> None:
    sources = (Numbered(100), Numbered(10_000))
    assert Mixture.tempered(sources, 1.0).weights == (100.0, 10_000.0)
    assert Mixture.tempered(sources, 2.0).weights == (10.0, 100.0)


def test_a_listed_source() -> None:
    examples = [example(4, i) for i in range(3)]
    source = Listed(examples)
    assert len(source) == 3
    assert source(1, np.random.default_rng()) is examples[1]


@pytest.mark.parametrize("weights", [(0.0,), (-1.0,), (1.0, 2.0), ()])
def test_what_makes_no_sense_is_said(weights: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="a mixture of 1 sources"):
        Mixture((Numbered(3),), weights)
