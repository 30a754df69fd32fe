"""didact.objectives.related: [CLS] is asked what the document format says of the pair."""

from __future__ import annotations

import numpy as np
import pytest
from data_tools import example

from didact.objectives import NextSentence, Objective, SentenceOrder
from didact.randomness import generator


@pytest.mark.parametrize(("objective", "name"), [(NextSentence(), "nsp"), (SentenceOrder(), "sop")])
def test_the_first_row_is_asked(objective: Objective, name: str) -> None:
    relations = [0, 1, None, 1]
    examples = [example(4 + i, seed=i, relation=r) for i, r in enumerate(relations)]
    batch = objective(examples, np.zeros(4, np.uint64)).batch([3, 2, 0, 1])
    (asked,) = batch.labels
    assert (asked.head, asked.name) == ("pair_relation", name)
    starts = batch.inputs.packed.cu_seqlens.tolist()
    assert asked.rows.tolist() == [starts[0], starts[2], starts[3]]  # one without a relation is asked nothing
    assert asked.values.tolist() == [1, 0, 1]
    prepared = objective.prepare(examples[1], generator(0))
    assert prepared.labels[0].values.tolist() == [1]
    assert np.array_equal(prepared.inputs.tokens, examples[1].tokens)


def test_what_they_want_of_a_format() -> None:
    assert NextSentence().relation == "next"
    assert SentenceOrder().relation == "order"
    assert NextSentence().rated == ()
