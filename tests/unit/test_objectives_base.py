"""didact.objectives: the base class's ways, and JSON both ways."""

from __future__ import annotations

import json

import numpy as np
import pytest
from data_tools import example

from didact import objectives
from didact.batch import Example, Labels, Prepared
from didact.errors import InputError
from didact.heads import Head
from didact.objectives import (
    CORRUPTIONS,
    OBJECTIVES,
    SELECTS,
    Combined,
    Masked,
    NextSentence,
    Objective,
    SentenceOrder,
    Spans,
    WholeWords,
)
from didact.randomness import generator, words

MASKED = Masked(mask_id=4, vocabulary=100, specials=(0, 4))


class First(Objective):
    """Asks the first row for a random number: written with `prepare` alone."""

    kind = "first"

    @property
    def heads(self) -> dict[str, Head]:
        return {}

    @property
    def names(self) -> tuple[str, ...]:
        return ("first",)

    def prepare(self, example: Example, rng: np.random.Generator) -> Prepared:
        return Prepared(example, (Labels("first", np.array([0]), rng.integers(1 << 40, size=1)),))


def test_prepare_alone_is_enough() -> None:
    keys = np.array([5, 9, 2**63], np.uint64)
    flat = First()([example(n) for n in (3, 5, 4)], keys)
    wanted = [int(generator(int(k)).integers(1 << 40)) for k in words(keys, 0)]
    assert flat.batch([2, 0, 1]).labels[0].values.tolist() == [wanted[2], wanted[0], wanted[1]]
    assert First().at(3) == First().at_rate(0.4) == First()
    assert First().rated == ()
    assert First().relation is None


@pytest.mark.parametrize(
    "objective",
    [
        MASKED,
        Masked(4, 100, (0, 4), rate=((0, 0.3), (50, 0.15)), select=Spans(p=0.3, longest=5), name="spans"),
        NextSentence(),
        SentenceOrder(name="order"),
        Combined((Masked(4, 100, (0, 4), select=WholeWords()), SentenceOrder()), (1.0, 0.5)),
        Combined((MASKED,)),
    ],
)
def test_json_and_back(objective: Objective) -> None:
    text = json.dumps(objectives.to_json(objective))
    assert objectives.from_json(json.loads(text)) == objective


def test_unknown_json_is_refused() -> None:
    with pytest.raises(InputError, match="an objective of kind 'guess'; expected one of masked"):
        objectives.from_json({"kind": "guess"})
    with pytest.raises(InputError, match="with colour; expected only"):
        objectives.from_json(objectives.to_json(MASKED) | {"colour": 1})


def test_registries_are_consistent() -> None:
    assert len({cls.kind for cls in OBJECTIVES + SELECTS + CORRUPTIONS}) == len(OBJECTIVES + SELECTS + CORRUPTIONS)
    for registry in (OBJECTIVES, SELECTS, CORRUPTIONS):
        assert len({cls.kind for cls in registry}) == len(registry)
        assert all(cls.__doc__ for cls in registry)
