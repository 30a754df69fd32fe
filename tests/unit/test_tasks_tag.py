"""First pieces of words, windows, default tags, ignored tags."""

from __future__ import annotations

import numpy as np
import pytest
from seqeval.metrics import f1_score
from task_tools import KINDS, perfect, tokenizer

from didact.tasks import Tag
from didact.tasks.tag import first_pieces


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("joiner", [" ", ""])
def test_first_pieces(kind: str, joiner: str) -> None:
    """The first piece that covers a character of the word: looked for one by one."""
    words = ["The", "naïve", "café", "\u200b", "3.50", "don't", "", "機器", "器", "(", "x"]
    text = tokenizer(kind).encode(joiner.join(words))
    numbers, pieces = first_pieces(text, [len(w) for w in words], len(joiner))
    expected, at = {}, 0
    for number, word in enumerate(words):
        for piece, (start, end) in enumerate(text.offsets.tolist()):
            if start < at + len(word) and end > at:
                expected[number] = piece
                break
        at += len(word) + len(joiner)
    assert dict(zip(numbers.tolist(), pieces.tolist(), strict=True)) == expected


def test_words_without_a_piece_get_the_default_and_are_counted() -> None:
    records = [{"words": ["cat", "\u200b", "sat"], "tags": ["B-X", "O", "I-X"]}]
    task = Tag()
    task = task.learn(task.items(records))
    dataset = task.read(records, tokenizer("wordpiece"))
    assert dataset.counts == {"words without a piece, not asked": 1}
    assert task.ask(dataset[0]).rows.tolist() == [1, 2]
    (found,) = task.decode(dataset, perfect(task, dataset))
    assert found == {"id": "0", "words": ["cat", "\u200b", "sat"], "tags": ["B-X", "O", "I-X"]}


def test_the_default_is_the_most_frequent_tag_where_there_is_no_o() -> None:
    task = Tag()
    assert task.learn(task.items([{"words": "a b c", "tags": "N V V"}])).default == "V"
    assert task.learn(task.items([{"words": "a b c", "tags": "O B-X B-X"}])).default == "O"


def test_a_sentence_without_any_piece() -> None:
    task = Tag(tags=("N", "V"), default="V")
    dataset = task.read(
        [{"words": ["\u200b"], "tags": ["N"]}, {"words": ["cat"], "tags": ["N"]}], tokenizer("wordpiece")
    )
    assert [len(task.ask(e).rows) for e in dataset] == [0, 1]
    assert [p["tags"] for p in task.decode(dataset, perfect(task, dataset))] == [["V"], ["N"]]


def test_windows_ask_each_word_where_it_sees_most() -> None:
    words = [*["the", "cat", "sat", "on", "the", "mat"], *["and", "the", "mat", "was", "warm", "on", "the", "cat"]]
    task = Tag(tags=("X",), length=8, stride=3, default="X")
    dataset = task.read([{"words": words, "tags": ["X"] * len(words)}], tokenizer("wordpiece"))
    assert dataset.counts["texts cut into windows"] == 1
    assert all(len(e) <= 8 for e in dataset)
    middle = dataset[1]
    contexts = [min(r - 1, len(middle) - 2 - r) for r in middle.targets["rows"].tolist()]
    assert min(contexts) >= 1


def test_ignored_tags_are_neither_asked_nor_scored() -> None:
    records = [{"words": "a b c", "tags": "N _ V"}]
    task = Tag(ignore=("_",))
    items = task.items(records)
    task = task.learn(items)
    assert task.tags == ("N", "V")
    dataset = task.dataset(items, tokenizer("wordpiece"))
    assert len(task.ask(dataset[0]).rows) == 2
    assert task.score([{"tags": ["N", "N", "N"]}], items) == pytest.approx({"accuracy": 0.5, "f1_macro": 1 / 3})


def test_span_scores() -> None:
    gold = ["B-X", "I-X", "O", "B-Y"]
    predicted = ["B-X", "I-X", "B-Y", "O"]
    task = Tag()
    items = task.items([{"words": "a b c d", "tags": gold}])
    task = task.learn(items)
    assert task.spans == "lenient"
    assert task.main == "span_f1"
    found = task.score([{"tags": predicted}], items)
    assert found == pytest.approx({"span_f1": f1_score([gold], [predicted]), "accuracy": 0.5})


def test_plain_scores_are_over_words() -> None:
    task = Tag(tags=("A", "B"), spans="none")
    items = task.items([{"words": "a b c", "tags": "A A B"}, {"words": "d", "tags": "B"}])
    found = task.score([{"tags": ["A", "B", "B"]}, {"tags": ["A"]}], items)
    assert found == pytest.approx({"accuracy": 0.5, "f1_macro": 0.5})


def test_balanced_weights() -> None:
    task = Tag(class_weights="balanced")
    task = task.learn(task.items([{"words": "a b c d", "tags": "N V V V"}]))
    assert task.class_weights == pytest.approx((2.0, 2 / 3))
    assert task.heads()["tags"].class_weights == task.class_weights  # type: ignore[attr-defined]


def test_real_treebanks(shared_data) -> None:  # type: ignore[no-untyped-def]
    task = Tag(columns={"words": "form", "tags": "upos"})
    items = task.items(shared_data / "tag" / "en-ewt" / "train.conllu.xz", limit=300)
    task = task.learn(items)
    dataset = task.dataset(items, tokenizer("bytes"))
    assert task.score(task.decode(dataset, perfect(task, dataset)), items)["accuracy"] == 1.0
    assert np.concatenate([task.ask(e).rows for e in dataset]).size == sum(len(i.fields["words"]) for i in items)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.conllu", "1\tThe\t_\tD\t_\t_\t0\t_\t_\t_\n2\tcat\t_\tN\t_\t_\t1\t_\t_\t_\n\n"),
        ("a.conll", "The x D\ncat y N\n"),
        ("a.jsonl", '{"words": ["The", "cat"], "tags": "D N"}\n'),
    ],
)
def test_columns_that_need_no_telling(tmp_path, name: str, text: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / name).write_text(text, encoding="utf-8")
    (item,) = Tag().items(tmp_path / name)
    assert (item.fields["words"], item.gold) == (("The", "cat"), ("D", "N"))
