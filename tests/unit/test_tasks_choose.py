"""SWAG's and RACE's columns; the choices of one question are sequences that do not see each other."""

from __future__ import annotations

import numpy as np
import pytest
from task_tools import tokenizer

from didact.batch import Prepared
from didact.data.lay import lay_prepared
from didact.errors import InputError
from didact.tasks import Choose

SWAG = Choose(columns={"context": "sent1", "question": "sent2", "choices": ("ending0", "ending1")})
RACE = Choose(columns={"context": "article", "question": "question", "choices": "options", "label": "answer"})
PLAIN = {"context": "the cat", "choices": ["sat", "won the prize", "on"]}


def test_swag_and_race() -> None:
    (a,) = SWAG.items([{"sent1": "a cat", "sent2": "it", "ending0": "sat", "ending1": "won", "label": "1"}])
    (b,) = RACE.items([{"article": "a cat", "question": "why", "options": ["x", "y"], "answer": "B"}])
    assert (a.fields, a.gold) == ({"context": "a cat", "question": "it ", "choices": ("sat", "won")}, 1)
    assert (b.fields["question"], b.gold) == ("why ", 1)


@pytest.mark.parametrize(
    ("task", "label", "gold"),
    [
        (Choose(), 1, 1),
        (Choose(first=1), 1, 1),
        (Choose(first=1), "B", 2),
        (Choose(), "C", 2),
        (Choose(), "on", 2),
        (Choose(), " 0 ", 0),
    ],
)
def test_labels(task: Choose, label: object, gold: int) -> None:
    assert task.items([{**PLAIN, "label": label}])[0].gold == gold


def test_numbers_are_the_files_own() -> None:
    """Counted from 1 where the file counts so: what is read, and what is predicted; what is learned is a place."""
    task = Choose(first=1)
    dataset = task.read([{**PLAIN, "label": 3}], tokenizer("wordpiece"))
    assert [(i.gold, e.targets["choice"]) for i, e in zip(dataset.items, dataset.examples, strict=True)] == [(3, 2)]
    (found,) = task.decode(dataset, [np.array([0.0, 0.0, 1.0])])
    assert (found["label"], found["choice"]) == (3, PLAIN["choices"][2])
    assert task.score([found], dataset.items) == {"accuracy": 1.0}


@pytest.mark.parametrize(("task", "label"), [(Choose(), 3), (Choose(first=1), 0), (Choose(), "D"), (Choose(), "")])
def test_wrong_labels(task: Choose, label: object) -> None:
    with pytest.raises(InputError, match="found label"):
        task.items([{**PLAIN, "label": label}])


def test_one_choice_is_none() -> None:
    with pytest.raises(InputError, match="1 choices; expected two or more"):
        Choose().items([{"context": "a", "choices": ["b"], "label": 0}])


def test_choices_are_parts_with_positions_of_their_own() -> None:
    dataset = Choose().read([{**PLAIN, "label": 1}], tokenizer("wordpiece"))
    (example,) = dataset
    flat = lay_prepared([Prepared(example, (Choose().ask(example),))] * 2)
    packed = flat.batch([0, 1]).inputs.packed
    lengths = np.diff([*example.parts, len(example)]).tolist()
    assert packed.lengths == lengths * 2
    assert packed.positions.tolist() == [i for n in lengths * 2 for i in range(n)]
    assert packed.max_seqlen == max(lengths)
    (asked,) = flat.batch([0, 1]).labels
    assert asked.groups.tolist() == [0, 3, 6]
    assert packed.tokens[asked.rows].tolist() == [tokenizer("wordpiece").cls] * 6


def test_cutting_is_counted() -> None:
    dataset = Choose(length=8).read(
        [{"context": "cat " * 9, "choices": ["sat", "on " * 9], "label": 0}], tokenizer("wordpiece")
    )
    assert dataset.counts == {"choices cut to the length": 2}
    assert np.diff([*dataset[0].parts, len(dataset[0])]).tolist() == [8, 8]


def test_predictions() -> None:
    dataset = Choose().read([PLAIN], tokenizer("wordpiece"), labelled=False)
    (found,) = Choose().decode(dataset, [np.log([1.0, 2.0, 1.0])])
    assert (found["label"], found["choice"]) == (1, "won the prize")
    assert found["scores"] == pytest.approx([0.25, 0.5, 0.25])
