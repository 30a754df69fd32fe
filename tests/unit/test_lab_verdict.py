"""Verdicts: what is said of numbers whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from didact.lab.grid import Grid
from didact.lab.results import Results, Score, Spent
from didact.lab.sheets import Sheet
from didact.lab.verdict import compare, short_of, verdicts
from didact.runs.runfile import checked
from didact.runs.schema import FinetuneRun
from didact.tasks import Classify

TUNE: dict[str, Any] = {
    "run": "r", "start": "s", "task": {"classify": {}}, "data": {"train": "a.tsv"}, "learning_rates": [1e-4]
}  # fmt: skip
TASK = Classify(labels=("a", "b"))
ITEMS = tuple(TASK.items([{"text": str(i), "label": "ab"[i % 2]} for i in range(400)]))
SHEETS = {"topic": Sheet(TASK, ITEMS, ITEMS)}


def grid(**changes: Any) -> Grid:
    values: dict[str, Any] = {
        "grid": "trial",
        "finetune": {"topic": TUNE},
        "arms": {"base": {}, "other": {}},
    }
    return checked(Grid, values | changes)


def answered(right: float, seed: int, flip: float = 0.02) -> list[dict[str, Any]]:
    """Predictions that are right on a share of the examples, mostly the same ones for every seed."""
    rng = np.random.default_rng(seed)
    correct = np.arange(len(ITEMS)) < right * len(ITEMS)
    correct ^= rng.random(len(ITEMS)) < flip
    other = {"a": "b", "b": "a"}
    return [{"label": i.gold if ok else other[i.gold]} for i, ok in zip(ITEMS, correct, strict=True)]


def results(right: dict[str, float], seeds: tuple[int, ...] = (0, 1, 2)) -> Results:
    answers = {(arm, "topic"): {s: answered(r, 100 * i + s) for s in seeds} for i, (arm, r) in enumerate(right.items())}
    scores = tuple(
        Score(arm, s, task, "test", "accuracy", TASK.score(predictions, ITEMS)["accuracy"])
        for (arm, task), by_seed in answers.items()
        for s, predictions in by_seed.items()
    )
    return Results(scores, (), dict.fromkeys(answers, checked(FinetuneRun, TUNE)), answers)


def test_a_real_difference_is_called_one() -> None:
    _, other = compare(grid(), results({"base": 0.5, "other": 0.6}), SHEETS)
    assert other.change is not None
    assert other.better is True
    assert other.change.low < 0.1 < other.change.high
    assert other.how == "3 seeds × 400 examples"
    (said,) = verdicts(grid(), compare(grid(), results({"base": 0.5, "other": 0.6}), SHEETS))
    assert said.startswith("topic accuracy: other is better than base by +0.")


def test_equal_arms_are_no_difference_at_this_scale() -> None:
    (said,) = verdicts(grid(), compare(grid(), results({"base": 0.5, "other": 0.5}), SHEETS))
    assert "other and base: no difference at this scale" in said


def test_arms_with_other_test_files_are_compared_seed_by_seed() -> None:
    found = results({"base": 0.5, "other": 0.6})
    elsewhere = checked(FinetuneRun, TUNE | {"data": {"train": "a.tsv", "test": "other.tsv"}})
    runs = {**found.runs, ("other", "topic"): elsewhere}
    _, other = compare(grid(), Results(found.scores, (), runs, found.answers), SHEETS)
    assert other.how == "3 seeds, paired"


def test_losses_are_compared_seed_by_seed_and_lower_is_better() -> None:
    values = {"base": [2.0, 2.1, 2.2], "other": [1.8, 1.9, 2.0]}
    each = [(arm, seed, value) for arm, found in values.items() for seed, value in enumerate(found)]
    scores = tuple(Score(arm, seed, "pretrain", "validation", "mlm@15/loss", value) for arm, seed, value in each)
    _, other = compare(grid(), Results(scores), {})
    assert other.change is not None
    assert other.change.value == pytest.approx(-0.2)
    assert (other.better, other.how) == (True, "3 seeds, paired")


def test_one_seed_without_examples_says_nothing() -> None:
    scores = tuple(Score(a, 0, "topic", "dev", "f1", v) for a, v in (("base", 0.5), ("other", 0.9)))
    (said,) = verdicts(grid(), compare(grid(), Results(scores), {}))
    assert said == "topic f1 (dev): other and base differ by +0.4 in a single seed, which says nothing."


def test_an_arm_without_a_counterpart_is_not_compared() -> None:
    scores = (Score("other", 0, "topic", "test", "f1", 0.9),)
    (said,) = verdicts(grid(), compare(grid(), Results(scores), {}))
    assert "nothing of base to compare with" in said


@pytest.mark.parametrize(
    ("model", "enough"),
    [
        ({"family": "bart", "layers": 2}, True),  # and 2 to write
        ({"family": "bart", "layers": 2, "decoder": {"layers": 1}}, False),
        ({"family": "t5", "layers": 3}, True),
        ({"family": "bert", "layers": 3}, False),
    ],
)
def test_layers_that_write_are_layers(model: dict[str, Any], enough: bool) -> None:
    pretrain = {"run": "r", "model": model, "data": {"train": "x"}, "budget": {"tokens": 5_000_000}}
    values = {"grid": "g", "pretrain": pretrain, "arms": {"base": {}}}
    said = short_of(checked(Grid, values))
    assert any(line.startswith("layers below") for line in said) is not enough


def test_small_grids_are_told_what_they_lack() -> None:
    pretrain: dict[str, Any] = {
        "run": "r",
        "model": {"layers": 2, "width": 64},
        "data": {"train": "x"},
        "budget": {"tokens": 1_000_000},
    }
    small = grid(pretrain=pretrain, seeds=[0])
    assert short_of(small) == [
        "1 seed (at least 3)",
        "layers below 4 (base, other)",
        "width below 128 (base, other)",
        "fewer than 5 M tokens (base, other)",
        "pre-training rate not tuned for each arm",
        "topic: learning rate not tuned for each arm",
        "topic: no trivial floor (no test file)",
    ]
    enough = grid(
        pretrain=pretrain | {"model": {"layers": 4, "width": 128}, "budget": {"tokens": 5_000_000}},
        learning_rates={"pretrain": [1e-3, 5e-4], "by": "nll", "finetune": [1e-4, 3e-4]},
        floors={"topic": {"accuracy": 0.3}},
    )
    assert short_of(enough) == []
    read = Results((), (Spent("base", 0, "pretrain", 10, 1.0, 1.0, 4_000_000, 1e-3),))
    assert short_of(enough, read) == ["fewer than 5 M tokens (base)"]
