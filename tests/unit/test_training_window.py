from __future__ import annotations

import json
import math

import pytest
import torch

from didact.batch import Loss, Part
from didact.errors import NotANumber
from didact.training.parallel import Ranks
from didact.training.window import Window


def a_loss(total: float, count: float, correct: float | None = None, weight: float = 1.0) -> Loss:
    right = None if correct is None else torch.tensor(correct)
    return Loss({"mlm": Part(torch.tensor(total, requires_grad=True), count, weight, right)})


def filled(*steps: list[Loss], norm: float = 1.0, window: Window | None = None) -> Window:
    window = window or Window(Ranks())
    for number, losses in enumerate(steps):
        window.begin(number, {"mlm": sum(loss.parts["mlm"].count for loss in losses)}, rate=0.1 * (number + 1))
        for loss in losses:
            window.add(loss)
        window.end(torch.tensor(norm + number))
    return window


def test_a_line_is_the_mean_over_answers() -> None:
    window = filled([a_loss(6.0, 3, 1.0), a_loss(2.0, 1, 1.0)], [a_loss(4.0, 4, 2.0)])
    window.settle()
    line = window.line()
    assert line["loss/mlm"] == line["loss"] == 12 / 8
    assert line["accuracy/mlm"] == 4 / 8
    assert (line["rate"], line["gradient_norm"]) == (0.2, 2.0)
    assert window.settled == []
    assert window.line() == {"loss": 0.0}


def test_weights_and_missing_parts() -> None:
    window = Window(Ranks())
    window.begin(0, {"a": 2.0, "b": 0.0}, 0.1)
    window.add(Loss({"a": Part(torch.tensor(3.0), 2, 0.5), "b": Part(torch.tensor(0.0), 0, 9.0)}))
    window.end(torch.tensor(1.0))
    window.settle()
    line = window.line()
    assert line["loss"] == 0.5 * 1.5
    assert "loss/b" not in line, "nobody was asked"
    assert "accuracy/a" not in line


def test_what_is_settled_survives_json() -> None:
    steps = [a_loss(1 / 3, 1, 1.0)], [a_loss(0.1, 3, 2.0)], [a_loss(1e-7, 2, 0.0)]
    through = filled(*steps[:2])
    through.settle()
    through = Window(Ranks(), json.loads(json.dumps(through.settled)))
    filled(steps[2], window=through)
    through.settle()
    at_once = filled(*steps)
    at_once.settle()
    ours, theirs = through.line(), at_once.line()
    assert [ours[name] for name in ("loss", "accuracy/mlm")] == [theirs[name] for name in ("loss", "accuracy/mlm")]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_not_a_number(bad: float) -> None:
    with pytest.raises(NotANumber, match=r"the loss of 'mlm' is -?(nan|inf) at step 2"):
        filled([a_loss(1.0, 1)], [a_loss(bad, 1)]).settle()
    with pytest.raises(NotANumber, match=r"the gradient norm is .* at step 1"):
        filled([a_loss(1.0, 1)], norm=bad).settle()
    filled([a_loss(1.0, 1)], norm=bad).settle(strict=False)  # with scaled gradients that is how a scale is found
