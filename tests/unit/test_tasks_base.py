"""Reading, counting and what JSON refuses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import tokenizers
from task_tools import CORPUS, tokenizer

from didact import tasks
from didact.batch import Example
from didact.config import Decoder, ModelConfig
from didact.errors import InputError
from didact.randomness import generator
from didact.tasks import Classify
from didact.tasks.base import asked_row, encode_all
from didact.tokenization.tokenizer import Tokenizer


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_items_keep_their_place_and_id(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", "id\ttext\tlabel\r\n7\tgood\tx\r\n9\tbad\ty\r\n")
    items = Classify().items(path)
    assert [(i.id, i.row, i.gold, i.file) for i in items] == [("7", 2, "x", str(path)), ("9", 3, "y", str(path))]
    assert [i.id for i in Classify().items([{"text": "a", "label": "b"}])] == ["0"]


def test_columns_by_number_have_no_header(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", "x\tgood\ny\tbad\n")
    items = Classify(columns={"text": 1, "label": 0}).items(path)
    assert [(i.fields["text"], i.gold, i.row) for i in items] == [("good", "x", 1), ("bad", "y", 2)]


def test_limit_and_counts(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", "text\tlabel\na\t-\nb\tx\nc\ty\nd\tx\n")
    task = Classify(drop=("-",))
    dataset = task.learn(task.items(path)).read(path, tokenizer("wordpiece"), limit=2)
    assert [i.gold for i in dataset.items] == ["x", "y"]
    assert dataset.counts == {"rows labelled '-', left out": 1}


@pytest.mark.parametrize(
    ("text", "row", "said"),
    [
        ("text\tlabel\ngood\n", 2, "1 field; expected 2"),
        ("sentence\tlabel\ngood\tx\n", 2, "columns sentence, label; expected 'text'"),
        ("text\tlabel\ngood\t\n", 2, "found label ''"),
        ("", None, "no record"),
        ("text\tlabel\n", None, "no record"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, row: int | None, said: str) -> None:
    with pytest.raises(InputError) as caught:
        Classify().items(write(tmp_path, "bad.tsv", text))
    assert (caught.value.row, said in str(caught.value)) == (row, True), str(caught.value)
    assert "bad.tsv" in str(caught.value)


def test_nothing_from_python_is_nothing() -> None:
    assert len(Classify(labels=("a",)).read([], tokenizer("wordpiece"))) == 0


def test_supervised() -> None:
    task = Classify(labels=("a", "b"))
    dataset = task.read([{"text": "good", "label": "b"}], tokenizer("wordpiece"))
    objective = task.objective()
    assert set(objective.heads) == set(objective.names) == {"classes"}
    prepared = objective.prepare(dataset(0, generator(0)), generator(0))
    assert prepared.labels[0].values.tolist() == [1]
    assert prepared.labels[0].rows.tolist() == [0]
    flat = objective(dataset.examples, np.zeros(1, np.uint64))
    assert flat.labels[0].labels.values.tolist() == [1]


def test_dataset_is_a_sequence() -> None:
    dataset = Classify(labels=("a",)).read([{"text": t, "label": "a"} for t in "abc"], tokenizer("wordpiece"))
    assert len(dataset) == len(list(dataset)) == 3
    assert dataset.of_item() == [range(1), range(1, 2), range(2, 3)]


def test_the_row_that_answers_for_a_sequence() -> None:
    special = np.array([True, False, True])
    assert asked_row(Example(np.arange(3), special)) == 0  # BERT
    assert asked_row(Example(np.arange(3), special[[1, 1, 0]])) == 2  # XLNet
    ended = Example(np.array([2, 9, 2, 7]), np.array([True, False, True, True]))
    assert asked_row(ended, end=2) == 2  # mBART: the last end, not the language behind it
    assert asked_row(ended, end=5) == 3


def test_a_task_is_posed_as_the_model_it_is_suited_to() -> None:
    """To a decoder twice; suited to a model without one again, as ever."""
    words, reads, writes = tokenizer("wordpiece"), ModelConfig(), ModelConfig(segments=0, decoder=Decoder(start=1))
    task = Classify(labels=("a",)).suited(writes, words)
    (example,) = task.read([{"text": "the cat", "label": "a"}], words)
    made = task.posed(example)
    assert made.outputs is not None
    assert made.outputs.tokens.tolist() == [1, *example.tokens[:-1].tolist()]
    assert task.objective().prepare(example, generator(0)).labels == made.labels
    again = task.suited(reads, words)
    assert again == Classify(labels=("a",))
    assert again.posed(example).outputs is None


def test_what_cannot_be_asked_of_a_decoder_is_refused() -> None:
    @dataclass(frozen=True)
    class Own(Classify):
        start: ClassVar[None] = None  # type: ignore[misc, assignment]  # a task that was written before decoders were

    with pytest.raises(InputError, match="asks no decoder"):
        Own().suited(ModelConfig(segments=0, decoder=Decoder()), tokenizer("wordpiece"))
    endless = tokenizers.Tokenizer(tokenizers.models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))  # type: ignore[call-arg]
    with pytest.raises(InputError, match="no token that ends a text"):
        Classify().suited(ModelConfig(segments=0, decoder=Decoder()), Tokenizer(endless))


def test_encode_all_is_encode() -> None:
    texts = [*CORPUS, CORPUS[0], "", *CORPUS]
    for a, text in zip(encode_all(tokenizer("bytes"), texts, batch=2), texts, strict=True):
        np.testing.assert_array_equal(a.tokens, tokenizer("bytes").encode(text).tokens)


@pytest.mark.parametrize(
    ("data", "said"),
    [({"kind": "chat"}, "a task of kind 'chat'"), ({"kind": "tag", "lenght": 3}, "with lenght"), ({}, "kind None")],
)
def test_json_refuses_what_it_does_not_know(data: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        tasks.from_json(data)


def test_groups() -> None:
    records = [{"text": "a", "label": "x", "of": g} for g in ("p", "p", None)]
    assert Classify().groups(Classify().items(records)) is None
    task = Classify(columns={"group": "of"})
    assert task.groups(task.items(records)) == ["p", "p", 2]
