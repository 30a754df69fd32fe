"""Every task: right answers score 1, every word is answered once, order does not matter, JSON keeps everything."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from task_tools import CASES, KINDS, greedy, model_of, perfect, tokenizer

from didact import tasks
from didact.errors import InputError
from didact.randomness import generator
from didact.tasks import TASKS, Classify, Dataset, Embed, Tag, Task
from didact.tasks.answering import answer, forced

EVERY = pytest.mark.parametrize("name", CASES)
TOKENIZERS = pytest.mark.parametrize("kind", KINDS)


def made(name: str, kind: str = "wordpiece") -> tuple[Task, Dataset]:
    task, records = CASES[name]
    items = task.items(records)
    task = task if isinstance(task, Embed) else task.learn(items)
    return task, task.dataset(items, tokenizer(kind))


def test_all_tasks_are_here() -> None:
    assert {type(task) for task, _ in CASES.values()} == set(TASKS)


@EVERY
@TOKENIZERS
def test_perfect_answers_score_one(name: str, kind: str) -> None:
    task, dataset = made(name, kind)
    predictions = task.decode(dataset, perfect(task, dataset))
    scores = task.score(predictions, dataset.items)
    assert next(iter(scores)) == task.main
    for score, value in scores.items():
        assert value == pytest.approx(0.0 if score == "mse" else 1.0, abs=1e-6), (score, predictions)
    assert [metric.name for metric in task.metrics()] == list(scores)
    assert json.loads(json.dumps(predictions)) == predictions


@EVERY
@TOKENIZERS
def test_sequences_fit_and_rows_are_asked_within(name: str, kind: str) -> None:
    task, dataset = made(name, kind)
    assert len(dataset) > 0
    for example in dataset:
        borders = [*(example.parts if example.parts is not None else [0]), len(example)]
        assert max(np.diff(borders)) <= task.length
        asked = task.ask(example)
        assert asked.head in task.heads()
        prepared = task.objective().prepare(example, generator(0))
        read = prepared.inputs if asked.side == "inputs" else prepared.outputs
        assert read is not None
        assert len(read) <= (2 * task.length if task.written else max(np.diff(borders)) * len(borders))
        assert ((asked.rows >= 0) & (asked.rows < len(read))).all()
    assert [len(own) > 0 for own in dataset.of_item()] == [True] * len(dataset.items)


@EVERY
def test_order_of_records_does_not_matter(name: str) -> None:
    """Learned classes, predictions and scores are the same for the records backwards."""
    task, records = CASES[name]
    found = []
    for given in (records, records[::-1]):
        items = task.items(given)
        learned = task if isinstance(task, Embed) else task.learn(items)
        dataset = learned.dataset(items, tokenizer("wordpiece"))
        rng_free: list[Any] = perfect(learned, dataset)
        if not task.written and name != "embed":
            rng_free = [np.sin(np.arange(a.size)).reshape(a.shape) for a in map(np.asarray, rng_free)]
        predictions = learned.decode(dataset, rng_free)
        for prediction in predictions:
            prediction.pop("id")  # the number of the record
        found.append((learned, predictions, learned.score(predictions, items)))
    (one, forwards, scores), (two, backwards, again) = found
    assert one == two
    assert forwards == backwards[::-1]
    assert scores == pytest.approx(again)


@EVERY
def test_json_keeps_the_task(name: str) -> None:
    task, _ = made(name)
    assert tasks.from_json(json.loads(json.dumps(tasks.to_json(task)))) == task


@EVERY
def test_without_labels(name: str) -> None:
    """The same questions are asked, and records need no labels."""
    task, dataset = made(name)
    labels = ("label", "tags", "answers", "answer", "start", "score", "target")
    bare = [{k: v for k, v in record.items() if k not in labels} for record in CASES[name][1]]
    asked = task.read(bare, tokenizer("wordpiece"), labelled=False)
    assert all(item.gold is None for item in asked.items)
    if not (isinstance(task, Tag) and task.ignore):
        for a, b in zip(asked, dataset, strict=True):
            np.testing.assert_array_equal(a.tokens, b.tokens)
            if not task.written:  # what is asked of are the target's own rows
                np.testing.assert_array_equal(task.ask(a).rows, task.ask(b).rows)
    with pytest.raises(InputError, match="no label"):
        task.score(task.decode(dataset, perfect(task, dataset)), asked.items)


MISLABELLED: dict[str, tuple[dict[str, Any], str]] = {
    "classify": ({"text": "good", "label": "yess"}, "found label 'yess'; expected one of no, yes"),
    "mean": ({"text": "good", "label": "yess"}, "found label 'yess'; expected one of no, yes"),
    "pair": ({"text": "a", "text_b": "b", "label": 7}, "found label '7'; expected one of 0, 1, 2"),
    "matched": ({"text": "a", "text_b": "b", "label": 7}, "found label '7'; expected one of 0, 1, 2"),
    "multiple": ({"text": "good", "label": "a,x"}, "found label 'x'; expected one of a, b, c"),
    "regression": ({"text": "good", "label": "high"}, "label is 'high'; expected a number"),
    "tag": ({"words": ["a"], "tags": ["Q"]}, "found tag 'Q'; expected one of ., A, "),
    "spans": ({"words": ["a", "b"], "tags": ["O"]}, "2 words and 1 tags"),
    "characters": ({"words": "ab", "tags": "HQ"}, "found tag 'Q'; expected one of E, H"),
    "answer": ({"context": "a b", "question": "?", "answer": "c"}, "not in the context"),
    "nullable": ({"context": "a b", "question": "?"}, "no answer in columns context, question"),
    "choose": ({"context": "a", "choices": ["b", "c"], "label": "D"}, "found label 'D'"),
    "glue": ({"sentence1": "a", "sentence2": "b", "label": "entails"}, "expected one of entailment, not_entailment"),
    "glue_regression": ({"sentence1": "a", "sentence2": "b", "score": ""}, "score is ''"),
    "embed": ({"text": "a", "text_b": "b", "score": "high"}, "'high'; expected a number"),
    "translate causal": ({"source": "a", "target": " "}, "an empty target; expected text"),
    "translate prefix": ({"source": "a", "target": ["b", ""]}, "an empty target; expected text"),
}


@EVERY
def test_a_wrong_label_names_its_row_and_what_is_allowed(name: str) -> None:
    task, _ = made(name)
    wrong, said = MISLABELLED[name]
    with pytest.raises(InputError) as caught:
        task.items([*CASES[name][1], wrong])
    assert caught.value.row == len(CASES[name][1]) + 1
    assert said.replace("score is", "label is") in str(caught.value)


@EVERY
def test_a_model_answers_each_sequence_as_it_would_alone(name: str) -> None:
    """Whatever the budget of tokens: the choices of a question are sequences of their own, groups stay together."""
    task, dataset = made(name)
    model = model_of(name, task, width=16, seed=0)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3, generator=torch.Generator().manual_seed(p.numel()))
    if task.written:
        whole = forced(model, task, dataset, batch_tokens=10_000)
        assert forced(model, task, dataset, batch_tokens=1) == pytest.approx(whole, abs=1e-5)
    else:
        together = answer(model, task, dataset, batch_tokens=10_000)
        for budget in (1, 60):
            for a, b in zip(together, answer(model, task, dataset, batch_tokens=budget), strict=True):
                np.testing.assert_allclose(a, b, atol=1e-5)
        predictions = task.decode(dataset, together)
        assert len(predictions) == len(dataset.items)
    assert model.training
    objective = task.objective()
    flat = objective(dataset.examples, np.zeros(len(dataset), np.uint64))
    batch = flat.batch(np.arange(len(flat)))
    (asked,) = batch.labels
    part = objective.loss({"main": model}, batch).parts[asked.name]
    assert torch.isfinite(part.total)
    assert part.count == asked.count > 0


@TOKENIZERS
def test_every_word_is_predicted_once(kind: str) -> None:
    words = [
        w
        for text in ("the cat sat on the warm mat", "naïve café owners", "台 北 市", "1903 1911")
        for w in text.split()
    ] * 9
    rng = generator(0, 1)
    task = Tag(length=16, stride=int(rng.integers(3, 9)))
    records = [{"words": words[: int(n)], "tags": ["x"] * int(n)} for n in rng.integers(1, len(words), size=12)]
    items = task.items(records)
    dataset = task.learn(items).dataset(items, tokenizer(kind))
    for item, own in zip(dataset.items, dataset.of_item(), strict=True):
        asked = np.concatenate([dataset[i].targets["words"] for i in own])
        assert sorted(asked) == list(range(len(item.fields["words"])))


@TOKENIZERS
def test_every_token_of_a_context_may_start_one_answer(kind: str) -> None:
    _, dataset = made("answer", kind)
    for own in dataset.of_item():
        starts = [dataset[i].targets["start"] + np.flatnonzero(dataset[i].targets["own"]) for i in own]
        last = dataset[own[-1]].targets
        length = last["start"] + len(last["own"])
        assert sorted(np.concatenate(starts)) == list(range(length))


@TOKENIZERS
def test_answers_are_the_context_s_own_characters(kind: str) -> None:
    task, dataset = made("answer", kind)
    for prediction, item in zip(task.decode(dataset, perfect(task, dataset)), dataset.items, strict=True):
        for found in (prediction, *prediction["best"]):
            assert found["answer"] == item.fields["context"][found["start"] : found["end"]]
        assert prediction["answer"] == item.gold.texts[0]


@pytest.mark.parametrize("names", [("a", "b", "c"), ("c", "b", "a"), ("b", "c", "a")])
def test_the_order_of_classes_does_not_matter(names: tuple[str, ...]) -> None:
    records = [{"text": "good", "label": label} for label in "abcabca"]
    task = Classify(labels=names, scores=("accuracy", "f1_macro", "f1_micro", "matthews"))
    items = task.items(records)
    dataset = task.dataset(items, tokenizer("wordpiece"))
    logits = generator(3, 3).normal(size=(7, 3))  # columns a, b, c
    order = ["abc".index(name) for name in names]
    scores = task.score(task.decode(dataset, [row[order] for row in logits]), items)
    expected = Classify(labels=("a", "b", "c"), scores=task.scores)
    assert scores == pytest.approx(expected.score(expected.decode(dataset, list(logits)), items))


def test_fields_that_run_files_set_are_documented() -> None:
    for task in TASKS:
        assert dataclasses.is_dataclass(task)
        for field in dataclasses.fields(task):
            assert f"{field.name}" in f"{task.__doc__} {Task.__doc__} header", (task, field)


@pytest.mark.parametrize("name", [name for name in CASES if name != "embed"])  # which learns from texts without scores
def test_a_small_model_learns_the_labels_by_heart(name: str) -> None:
    """What `ask` teaches is what `decode` reads: trained on a task's few records, a model answers all of them.

    At three times the rate, or half the width, one start in ten stays at equal chances for all labels: which of them,
    the rounding of the machine decides.
    """
    task, dataset = made(name)
    model = model_of(name, task, width=64, seed=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    objective = task.objective()
    batch = objective(dataset.examples, np.zeros(len(dataset), np.uint64)).batch(np.arange(len(dataset)))
    for _ in range(1000):
        loss = objective.loss({"main": model}, batch).scaled(batch.counts)
        if loss.item() < 0.02:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    write = greedy(model, task) if task.written else None
    found = task.score(task.decode(dataset, answer(model, task, dataset, write=write)), dataset.items)
    assert found[task.main] > 0.98, found
