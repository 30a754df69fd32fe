"""Teacher forcing: what the decoder reads, what it is asked, and that it is asked for nothing that it has read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from data_tools import example
from training_tools import SEP, VOCABULARY, step_of

from didact.data.packing import collate
from didact.objectives import Combined, Forced
from didact.randomness import generator

FORCED = Forced(SEP)


def test_the_decoder_reads_what_it_should_have_written() -> None:
    given = replace(example(5, 0, VOCABULARY), targets={"target": np.array([7, 8, 9])})
    made = FORCED.prepare(given, generator(0))
    assert made.outputs is not None
    assert made.outputs.tokens.tolist() == [SEP, 7, 8]
    (asked,) = made.labels
    assert (asked.rows.tolist(), asked.values.tolist(), asked.side) == ([0, 1, 2], [7, 8, 9], "outputs")
    assert made.output_visibility.kind == "causal"
    assert np.array_equal(made.inputs.tokens, given.tokens)
    itself = FORCED.prepare(replace(given, targets={}), generator(0))
    assert np.array_equal(itself.labels[0].values, given.tokens)
    assert Combined((FORCED,)).beginning(4).parts[0] == Forced(4)


@pytest.mark.parametrize("place", [0, 3, 9])
def test_a_row_has_read_nothing_that_it_is_asked_for(place: int) -> None:
    """Another token of the target changes the answers of the rows after it, and not a bit of those up to its own."""
    net = step_of(FORCED).eval()
    given = replace(example(12, 0, VOCABULARY), targets={"target": np.arange(4, 14)})
    target = np.arange(4, 14)
    target[place] = 15
    other = replace(given, targets={"target": target})
    with torch.no_grad():
        a, b = (net(collate([FORCED.prepare(e, generator(0))]), logits=True)[0] for e in (given, other))
    assert torch.equal(a[: place + 1], b[: place + 1])
    assert all(not torch.equal(x, y) for x, y in zip(a[place + 1 :], b[place + 1 :], strict=True))
