"""Asking a model: batches by budget, order kept, mode restored, predictions without labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from task_tools import CASES, tokenizer
from torch import nn

from didact.batch import Batch
from didact.config import ModelConfig
from didact.model import Model
from didact.tasks import Answer, Classify
from didact.tasks.answering import answer, batches, predict


@pytest.mark.parametrize(
    ("sizes", "budget", "expected"),
    [
        ([3, 9, 4, 2], 9, [[1], [2, 0, 3]]),
        ([3, 9, 4, 2], 5, [[1], [2], [0, 3]]),
        ([2, 2, 2], 100, [[0, 1, 2]]),
        ([2, 2], 1, [[0], [1]]),
        ([], 9, []),
    ],
)
def test_batches(sizes: list[int], budget: int, expected: list[list[int]]) -> None:
    assert batches(np.array(sizes, np.int64), budget) == expected


class Echo(nn.Module):
    """Answers every row with its token's id, and remembers how many tokens it was given."""

    def __init__(self, answers: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.answers = answers
        self.given: list[int] = []

    def forward(self, batch: Batch) -> tuple[torch.Tensor, ...]:
        assert not torch.is_grad_enabled()
        assert not self.training
        self.given.append(batch.tokens)
        (asked,) = batch.labels
        return (batch.inputs.packed.tokens[asked.rows].float()[:, None].expand(-1, self.answers),)


@pytest.mark.parametrize("budget", [1, 50, 10_000])
def test_answers_come_back_in_order(budget: int) -> None:
    task, records = CASES["answer"]
    dataset = task.learn(task.items(records)).read(records, tokenizer("wordpiece"))
    model, seen = Echo(2), []
    answers = answer(model, task, dataset, budget, progress=seen.append)
    for own, example in zip(answers, dataset, strict=True):
        np.testing.assert_array_equal(own[:, 0], example.tokens[example.targets["rows"]])
    assert sum(seen) == len(dataset)
    assert sum(model.given) == sum(len(e) for e in dataset)
    assert all(n <= max(budget, max(len(e) for e in dataset)) for n in model.given)
    assert model.training


def test_nothing_to_answer() -> None:
    task = Classify(labels=("a",))
    assert answer(Echo(1), task, task.read([], tokenizer("wordpiece"))) == []
    assert task.decode(task.read([], tokenizer("wordpiece")), []) == []


def test_precision() -> None:
    task, records = CASES["classify"]
    task = task.learn(task.items(records))
    dataset = task.read(records, tokenizer("wordpiece"))
    config = ModelConfig(vocabulary=tokenizer("wordpiece").vocabulary, width=16, layers=1, heads=2, feedforward=16)
    model = Model(config, task.heads(), torch.Generator().manual_seed(0))
    full = answer(model, task, dataset)
    half = answer(model, task, dataset, precision=torch.bfloat16)
    assert half[0].dtype == np.float32
    np.testing.assert_allclose(full, half, atol=0.02)


def test_predict() -> None:
    task = Answer(nullable=True, scoring="squad")
    found = predict(Echo(2), task, tokenizer("wordpiece"), [{"context": "the cat", "question": "who?", "id": "x"}])
    assert found[0]["id"] == "x"
    assert set(found[0]) >= {"answer", "start", "end", "tokens", "words", "no_answer", "best"}
