"""Verdicts: what is said of numbers whose truth is known."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from didact.lab.grid import Grid
from didact.lab.results import Results, Score, Spent
from didact.lab.sheets import Sheet
from didact.lab.verdict import compare, short_of, verdicts
from didact.runs.runfile import checked
from didact.runs.schema import FinetuneRun
from didact.tasks import Classify
from didact.tasks.metrics import Metric, share

TUNE: dict[str, Any] = {
    "run": "r", "start": "s", "task": {"classify": {}}, "data": {"train": "a.tsv"}, "learning_rates": [1e-4]
}  # fmt: skip
TASK = Classify(labels=("a", "b"))
ITEMS = tuple(TASK.items([{"text": str(i), "label": "ab"[i % 2]} for i in range(400)]))
RUN: FinetuneRun = checked(FinetuneRun, TUNE)
SHEETS = {"topic": Sheet(RUN, TASK, ITEMS, ITEMS)}


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
    answers = {(arm, "topic"): {s: answered(r, 10 * i + s) for s in seeds} for i, (arm, r) in enumerate(right.items())}
    scores = tuple(
        Score(arm, s, task, "test", "accuracy", TASK.score(predictions, ITEMS)["accuracy"])
        for (arm, task), by_seed in answers.items()
        for s, predictions in by_seed.items()
    )
    return Results(scores, (), dict.fromkeys(answers, RUN), answers)


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


def test_arms_with_other_test_files_are_left_out_and_said_so() -> None:
    found = results({"base": 0.5, "other": 0.6})
    elsewhere = checked(FinetuneRun, TUNE | {"data": {"train": "a.tsv", "test": "other.tsv"}})
    runs = {**found.runs, ("other", "topic"): elsewhere}
    both = compare(grid(), Results(found.scores, (), runs, found.answers), SHEETS)
    assert (both[1].how, both[1].change, both[1].elsewhere) == ("3 seeds", None, "another test file")
    assert both[0].how == "3 seeds × 400 examples"
    (said,) = verdicts(grid(), both)
    assert said.endswith("of another test file, not compared.")


def test_what_a_generator_answers_is_not_compared_with_what_a_model_does() -> None:
    alike = {"masked": {"mask": 0.85, "random": 0.0}}  # as ELECTRA's code hides them
    pretrain = {"run": "r", "data": {"train": "x"}, "budget": {"steps": 1}, "objective": alike}
    beside: dict[str, Any] = {"replaced": {}}
    arms = {"base": {}, "rtd": {"pretrain": {"objective": beside}}}
    asked = [("base", "mlm@15/loss"), ("rtd", "mlm@15/loss"), ("rtd", "rtd@15/loss")]
    scores = [
        Score(arm, seed, "pretrain", "validation", loss, 1.0 + seed / 9) for arm, loss in asked for seed in range(3)
    ]
    for control, wanted in ((False, ["", "its generator", ""]), (True, ["", "", ""])):
        beside["replaced"] = {"control": control}
        found = compare(checked(Grid, {"grid": "g", "pretrain": pretrain, "arms": arms}), Results(tuple(scores)), {})
        assert [c.elsewhere for c in found] == wanted
    beside["replaced"] = {}
    made = checked(Grid, {"grid": "g", "pretrain": pretrain, "arms": arms})
    assert "rtd 1.111, of its generator, not compared" in verdicts(made, compare(made, Results(tuple(scores)), {}))[0]


def masked(**changes: Any) -> dict[str, Any]:
    return {"pretrain": changes}


@pytest.mark.parametrize(
    ("arm", "same"),
    [
        (masked(**{"objective.masked.rate": 0.4}), True),
        (masked(**{"objective.masked.weight": 2.0}), True),
        (masked(objective={"masked": {"select": {"whole_words": {}}, "rate": 0.4}}), True),
        (masked(**{"model.layers": 3}), True),
        (masked(**{"batch.size": "7 sequences"}), True),
        (masked(**{"validation.seed": 1}), False),
        (masked(**{"validation.sequences": 7}), False),
        (masked(**{"data.length": 64}), False),
        (masked(**{"data.format": "doc_sentences"}), False),
        (masked(**{"data.train": "other"}), False),
        (masked(**{"objective.masked.select": {"spans": {}}}), False),
        (masked(**{"objective.masked.mask": 0.5}), False),
        (masked(objective={"causal": {}}), False),
        (masked(objective={"masked": {}, "next_sentence": {}}, **{"data.format": "segment_pair"}), False),
    ],
    ids=lambda value: str(value)[13:60] if isinstance(value, dict) else None,
)
def test_figures_of_other_validation_questions_are_not_compared(arm: Any, same: bool) -> None:
    """Seeds do not tell: the difference of the questions is the same in all of them."""
    base = {"run": "r", "data": {"train": "store"}, "budget": {"steps": 10}}
    base["objective"] = {"masked": {"select": "whole_words"}}
    made = grid(pretrain=base, finetune={}, arms={"base": {}, "other": arm})
    figures = {"base": (3.0, 3.01, 2.99), "other": (3.2, 3.21, 3.19)}
    scores = tuple(
        Score(name, seed, "pretrain", "validation", "mlm@15/loss", value)
        for name, values in figures.items()
        for seed, value in enumerate(values)
    )
    ours = next(c for c in compare(made, Results(scores), {}) if c.arm == "other")
    assert (ours.better is False) == same
    assert ours.elsewhere == ("" if same else "other validation questions")
    assert ours.value.value == pytest.approx(3.2)


def test_arms_with_other_training_files_are_compared_seed_by_seed() -> None:
    found = results({"base": 0.5, "other": 0.6})
    runs = {**found.runs, ("other", "topic"): checked(FinetuneRun, TUNE | {"data": {"train": "more.tsv"}})}
    _, other = compare(grid(), Results(found.scores, (), runs, found.answers), SHEETS)
    assert (other.how, other.elsewhere) == ("3 seeds, paired", "")


def test_without_the_reference_each_arm_is_scored_on_its_own_file() -> None:
    """The sheet is the first arm's; the second answered a shorter file, which is not scored against it."""
    three = grid(arms={"base": {}, "other": {}, "third": {}})
    found = results({"other": 0.6, "third": 0.7})
    elsewhere = checked(FinetuneRun, TUNE | {"data": {"train": "a.tsv", "test": "short.tsv"}})
    runs = {**found.runs, ("third", "topic"): elsewhere}
    answers = {**found.answers, ("third", "topic"): {s: answered(0.7, s)[:50] for s in (0, 1, 2)}}
    other, third = compare(three, Results(found.scores, (), runs, answers), SHEETS)
    assert (other.how, other.elsewhere) == ("3 seeds × 400 examples", "")
    assert (third.how, third.elsewhere) == ("3 seeds", "another test file")
    (said,) = verdicts(three, [other, third])
    assert "nothing of base to compare with" in said
    assert re.search(r"third 0\.\d+, of another test file, not compared", said)


def test_one_seed_says_nothing_whatever_its_examples() -> None:
    both = compare(grid(), results({"base": 0.5, "other": 0.9}, seeds=(0,)), SHEETS)
    assert both[1].change is not None
    assert both[1].change.above
    assert both[1].better is None
    (said,) = verdicts(grid(), both)
    assert "in a single seed, which says nothing" in said


def test_one_group_says_nothing_of_another() -> None:
    """However many examples and seeds it has."""
    task = Classify(labels=("a", "b"), columns={"group": "group"})
    records = [{"text": item.fields["text"], "label": item.gold, "group": "p"} for item in ITEMS]
    sheets = {"topic": Sheet(RUN, task, ITEMS, tuple(task.items(records)))}
    both = compare(grid(), results({"base": 0.5, "other": 0.9}), sheets)
    assert both[1].better is None
    (said,) = verdicts(grid(), both, {"topic": {"majority": {"accuracy": 0.1}}})
    assert re.fullmatch(r"topic accuracy: other and base differ by \+0\.\d+, of which no interval is defined\.", said)


@pytest.mark.parametrize(
    ("floors", "said"),
    [
        (
            {"majority": {"accuracy": 0.3}, "linear": {"accuracy": 0.4}},
            "other is better than the best trivial method, linear 0.4",
        ),
        ({"majority": {"accuracy": 0.8}}, "other is not better than the best trivial method, majority 0.8"),
        ({"majority": {"accuracy": 0.59}}, "other is not surely better than the best trivial method, majority 0.59"),
    ],
)
def test_the_better_arm_is_held_against_trivial_methods(floors: Any, said: str) -> None:
    both = compare(grid(), results({"base": 0.5, "other": 0.6}), SHEETS)
    (one,) = verdicts(grid(), both, {"topic": floors})
    assert said in one
    turned = grid(reference="other")
    (one,) = verdicts(turned, compare(turned, results({"base": 0.5, "other": 0.6}), SHEETS), {"topic": floors})
    assert "base is worse than other" in one
    assert said in one
    (one,) = verdicts(grid(), compare(grid(), results({"base": 0.5, "other": 0.5}), SHEETS), {"topic": floors})
    assert "trivial" not in one


def test_a_task_knows_which_way_its_scores_are_better() -> None:
    """Whatever they are called."""

    class Counting(Classify):
        def metrics(self) -> tuple[Metric, ...]:
            wrong = share("hamming_distance", lambda p, g: float(p != g), higher=False)
            return (wrong, share("loss_avoided", lambda p, g: float(p == g)))

    sheets = {"topic": Sheet(RUN, Counting(labels=("a", "b")), ITEMS, ITEMS)}
    found = results({"base": 0.5, "other": 0.6})
    scores = tuple(
        Score(arm, s, "topic", "test", metric, 0.0)
        for arm in ("base", "other")
        for s in (0, 1, 2)
        for metric in ("hamming_distance", "loss_avoided")
    )
    judged = compare(grid(), Results(scores, (), found.runs, found.answers), sheets)
    assert {(c.metric, c.higher, c.better) for c in judged if c.arm == "other"} == {
        ("hamming_distance", False, True), ("loss_avoided", True, True),
    }  # fmt: skip


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


def test_a_start_has_sizes_too(tmp_path: Path) -> None:
    sizes = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 128}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": 100} | sizes))
    save_file({"any": torch.zeros(1)}, tmp_path / "model.safetensors")
    pretrain: dict[str, Any] = {"run": "r", "data": {"train": "x"}, "budget": {"tokens": 5_000_000}}
    arms = {
        "small": {"pretrain": {"model": {"start": str(tmp_path)}}},
        "moved": {"pretrain": {"model": {"start_transferred": str(tmp_path)}}},
        "tiled": {"pretrain": {"model": {"start_tiled": str(tmp_path), "layers": 4}}},
        "usual": {},
        "lost": {"pretrain": {"model": {"start": str(tmp_path / "no/such")}}},
    }
    said = short_of(checked(Grid, {"grid": "g", "pretrain": pretrain, "arms": arms}))
    assert said[:3] == [
        "layers below 4 (small, moved)",
        "width below 128 (small, moved, tiled)",
        "layers and width not known, for want of the start (lost)",
    ]


def test_an_arm_with_a_single_learning_rate_is_not_tuned() -> None:
    rates: dict[str, Any] = {"learning_rates": [1e-4, 3e-4], "data": {"train": "a.tsv", "test": "b.tsv"}}
    arms = {"base": {}, "other": {"finetune": {"learning_rates": [1e-4]}}}
    assert short_of(grid(finetune={"topic": TUNE | rates}, arms=arms)) == ["topic: learning rate not tuned (other)"]
    pretrain = {"run": "r", "model": {"layers": 4, "width": 128}, "data": {"train": "x"}, "budget": {"tokens": 5e6}}
    arms = {"base": {}, "other": {"learning_rates": [1e-3]}}
    tuned = {"pretrain": [1e-3, 5e-4], "by": "nll", "finetune": [1e-4, 3e-4]}
    made = grid(pretrain=pretrain, learning_rates=tuned, arms=arms, floors={"topic": {"accuracy": 0.3}})
    assert short_of(made) == ["pre-training rate not tuned (other)"]


def test_pre_training_once_is_one_seed_of_it() -> None:
    pretrain: dict[str, Any] = {"run": "r", "data": {"train": "x"}, "budget": {"tokens": 5_000_000}}
    assert "1 seed of pre-training (at least 3)" in short_of(grid(pretrain=pretrain, pretrain_once=True))
    assert not any("1 seed" in line for line in short_of(grid(pretrain=pretrain)))
