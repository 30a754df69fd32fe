"""didact.objectives.scheduled: the three decays of the paper, and which tokens are taken from the model."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from didact.batch import Side
from didact.objectives.scheduled import TeacherRate, reread
from didact.packed import Packed


@pytest.mark.parametrize("step", [0, 1, 7, 400, 10**6])
def test_decays_of_the_paper(step: int) -> None:
    assert TeacherRate("linear", 50, least=0.1)(step) == pytest.approx(max(0.1, 1 - step / 50))
    assert TeacherRate("exponential", 0.99)(step) == pytest.approx(0.99**step)
    assert TeacherRate("inverse_sigmoid", 20)(step) == pytest.approx(
        20 / (20 + math.exp(step / 20)) if step < 10_000 else 0.0, abs=1e-12
    )


@pytest.mark.parametrize(
    "wrong",
    [
        ("linear", 0.0),
        ("linear", math.inf),
        ("exponential", 1.0),
        ("inverse_sigmoid", 0.5),
        ("inverse_sigmoid", math.inf),
        ("linear", 9, 1.5),
        ("linear", 9, math.nan),
    ],
)
def test_wrong_decays(wrong: Any) -> None:
    with pytest.raises(ValueError, match="decay with k"):
        TeacherRate(*wrong)


def test_what_is_written_takes_the_next_place() -> None:
    """Row i's word is read at row i + 1 of the same sequence; never a sequence's first row; the rest is as it was."""
    side = Side(Packed.of([[10, 11, 12], [20], [30, 31]]))
    rows, written = torch.tensor([0, 1, 2, 3, 4, 5]), torch.tensor([1, 2, 3, 4, 5, 6])
    every = reread(side, rows, written, torch.ones(6, dtype=torch.bool))
    assert every.packed.tokens.tolist() == [10, 1, 2, 20, 30, 5]
    some = reread(side, rows, written, torch.tensor([False, True, True, True, False, True]))
    assert some.packed.tokens.tolist() == [10, 11, 2, 20, 30, 31]
    assert side.packed.tokens.tolist() == [10, 11, 12, 20, 30, 31]
