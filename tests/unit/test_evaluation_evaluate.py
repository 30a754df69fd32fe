"""Scores of a model and of predictions, with intervals; comparisons on the same items."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from task_tools import CASES, CORPUS, perfect, tokenizer

from didact.config import ModelConfig
from didact.errors import InputError
from didact.evaluation.evaluate import compare, evaluate, intervals
from didact.model import Model
from didact.randomness import generator
from didact.tasks import Answer, Classify

TASK = Classify(labels=("a", "b"))
RECORDS = [{"text": f"good {i}", "label": "ab"[i % 2]} for i in range(40)]


def predictions(seed: int, share: float) -> list[dict[str, Any]]:
    rng = generator(seed, 0)
    return [{"label": r["label"] if rng.random() < share else "a"} for r in RECORDS]


@pytest.mark.parametrize("name", CASES)
def test_every_task_is_evaluated(name: str) -> None:
    task, records = CASES[name]
    task = task if name == "embed" else task.learn(task.items(records))
    dataset = task.read(records, tokenizer("wordpiece"))
    config = ModelConfig(vocabulary=tokenizer("wordpiece").vocabulary, width=16, layers=1, heads=2, feedforward=16)
    model = Model(config, task.heads(), torch.Generator().manual_seed(0))
    write = (lambda prompts: [f"the {len(p)} mats" for p in prompts]) if task.written else None
    found = evaluate(model, task, dataset, resamples=50, write=write)
    assert next(iter(found.intervals)) == found.main == task.main
    assert found.values == pytest.approx(task.score(found.predictions, dataset.items), nan_ok=True)
    assert found.value == pytest.approx(found.values[task.main])
    assert (found.items, found.sequences) == (len(dataset.items), len(dataset))
    assert json.loads(json.dumps(found.to_json()))["main"] == task.main
    for shown in found.intervals.values():
        assert np.isnan(shown.low) or shown.low <= shown.value + 1e-9


def test_unlabelled_records_cannot_be_scored() -> None:
    dataset = TASK.read(RECORDS, tokenizer("wordpiece"), labelled=False)
    with pytest.raises(InputError, match="no label"):
        evaluate(torch.nn.Linear(1, 1), TASK, dataset)


def test_one_run_and_several_seeds() -> None:
    items = TASK.items(RECORDS)
    runs = [predictions(s, 0.5) for s in range(3)]
    one, several = intervals(TASK, runs[0], items), intervals(TASK, runs, items)
    assert one["accuracy"].value == pytest.approx(TASK.score(runs[0], items)["accuracy"])
    assert several["accuracy"].value == pytest.approx(np.mean([TASK.score(r, items)["accuracy"] for r in runs]))


def test_compare() -> None:
    items = TASK.items(RECORDS)
    good, bad = [predictions(s, 0.9) for s in range(3)], [predictions(s, 0.1) for s in range(3)]
    found = compare(TASK, good, bad, items)
    assert found["accuracy"].above
    assert compare(TASK, bad, good, items)["accuracy"].below
    assert compare(TASK, good[0], good[0], items)["accuracy"].value == 0.0


def test_predictions_are_those_of_the_items() -> None:
    """One by one, where they have ids; as many, always."""
    items = TASK.items(RECORDS)
    named = [{"id": item.id, "label": "a"} for item in items]
    assert TASK.score(named, items)["accuracy"] == 0.5
    assert TASK.score([{**p, "id": int(p["id"])} for p in named], items)["accuracy"] == 0.5
    for wrong, said in (
        ([named[1], named[0], *named[2:]], "records:1: a prediction of id '1'; expected '0', in the records' order"),
        (named[1:], "39 predictions for 40 records; expected one for each"),
    ):
        for score in (
            lambda own: TASK.score(own, items),
            lambda own: intervals(TASK, [named, own], items),
            lambda own: compare(TASK, own, named, items),
            lambda own: compare(TASK, named, own, items),
        ):
            with pytest.raises(InputError) as problem:
                score(wrong)
            assert str(problem.value) == said


def test_questions_on_one_context_are_drawn_together() -> None:
    records = [
        {"context": text, "question": f"{i}?", "answers": [text.split()[0]]} for text in CORPUS[:3] for i in range(20)
    ]
    task = Answer(nullable=False, scoring="squad")
    dataset = task.read(records, tokenizer("wordpiece"))
    found = task.decode(dataset, perfect(task, dataset))
    for prediction in found[:20]:  # one context is answered wrongly throughout
        prediction["answer"] = "nothing"
    shown = intervals(task, found, dataset.items)["exact"]
    assert shown.value == pytest.approx(2 / 3)
    assert (shown.low, shown.high) == pytest.approx((0.0, 1.0), abs=0.01)
