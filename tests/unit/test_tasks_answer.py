"""Windows, labels, n-best, thresholds; every form of file; exact characters in any script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from task_tools import CONTEXT, CORPUS, KINDS, perfect, tokenizer

from didact.errors import InputError
from didact.randomness import generator
from didact.tasks import Answer
from didact.tasks.answer import stripped

LONG = " ".join([CONTEXT] * 6)


def read(task: Answer, records: Any, kind: str = "wordpiece") -> tuple[Answer, Any]:
    items = task.items(records)
    task = task.learn(items)
    return task, task.dataset(items, tokenizer(kind))


def squad(folder: Path, version: str = "v2.0") -> Path:
    asked = [
        {
            "id": "q1",
            "question": "Who won?",
            "answers": [{"text": "Marie Curie", "answer_start": 0}],
            "is_impossible": False,
        },
        {"id": "q2", "question": "Why?", "answers": [], "is_impossible": True},
    ]
    if version == "1.1":
        asked = [{k: v for k, v in asked[0].items() if k != "is_impossible"}]
    data = {"version": version, "data": [{"title": "t", "paragraphs": [{"context": CONTEXT, "qas": asked}]}]}
    path = folder / "train.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


@pytest.mark.parametrize(("version", "nullable"), [("1.1", False), ("v2.0", True)])
def test_squad_files(tmp_path: Path, version: str, nullable: bool) -> None:
    task, dataset = read(Answer(), squad(tmp_path, version))
    assert task.nullable is nullable
    assert task.scoring == "squad"
    assert [i.id for i in dataset.items] == ["q1", "q2"][: 1 + nullable]
    names = ["f1", "exact"] + ["has_answer_f1", "has_answer_exact", "no_answer_accuracy"] * nullable
    found = task.score(task.decode(dataset, perfect(task, dataset)), dataset.items)
    assert found == dict.fromkeys(names, 1.0)


def test_contexts_in_another_file(tmp_path: Path) -> None:
    """QAMR: sentence ids, answers as numbers of words by several annotators, no header in either file."""
    (tmp_path / "sentences.tsv").write_text("s:1\tthe cat sat on the mat\ns:2\twho won\n", encoding="utf-8")
    questions = tmp_path / "qa.tsv"
    questions.write_text("s:1\t3\t76\tWhere?\t3 4 5\t261:5\t60:4 5\ns:2\t1\t76\tWho?\t0\t1:0\t2:0\n", encoding="utf-8")
    task = Answer(columns={"context": 0, "question": 3, "words": (4, 5, 6)}, contexts=str(tmp_path / "sentences.tsv"))
    task, dataset = read(task, questions)
    assert dataset.items[0].fields == {"context": "the cat sat on the mat", "question": "Where?"}
    assert dataset.items[0].gold.texts == ("on the mat", "mat", "the mat")
    assert task.decode(dataset, perfect(task, dataset))[0]["answer"] == "on the mat"
    questions.write_text("s:9\t3\t76\tWhere?\t3\t1:3\t2:3\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"qa\.tsv:1: context 's:9'"):
        task.items(questions)


def test_a_mark_for_no_answer() -> None:
    task = Answer(columns={"context": "review", "span": "at"}, no_answer="NONE")
    records = [
        {"review": "the cat sat NONE", "question": "?", "at": "(4, 7)"},
        {"review": "the cat sat NONE", "question": "?", "at": "(12, 16)"},
    ]
    task, dataset = read(task, records)
    assert [i.gold.texts for i in dataset.items] == [("cat",), ()]
    assert dataset.items[0].fields["context"] == "the cat sat "
    assert task.nullable


def test_misplaced_answers_stop_or_are_dropped() -> None:
    records = [{"context": "a b", "question": "?", "answer": "z"}, {"context": "a b", "question": "?", "answer": "b"}]
    with pytest.raises(InputError, match="not in the context"):
        Answer().items(records)
    dataset = Answer(misplaced="drop").read(records, tokenizer("wordpiece"))
    assert len(dataset.items) == 1
    assert dataset.counts["questions whose answer is not in the context, left out"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_windows_hold_the_answer_or_point_at_cls(kind: str) -> None:
    start = LONG.index("Nobel", 600)
    record = {"context": LONG, "question": "Which?", "answers": [{"text": "Nobel Prize", "answer_start": start}]}
    _, dataset = read(Answer(length=48, stride=16), [record], kind)
    assert dataset.counts["contexts cut into windows"] == 1
    held = 0
    for example in dataset:
        asked = dataset.items[0]
        rows, (first, last) = example.targets["rows"], example.targets["value"]
        assert len(example) <= 48
        if first == last == 0:
            continue
        held += 1
        a, b = stripped(LONG, example.offsets[rows[first], 0], example.offsets[rows[last], 1])
        assert (a, b) == (start, start + len("Nobel Prize")) == (asked.gold.start, asked.gold.end)
    assert held >= 2  # windows overlap


def test_counts_say_what_cannot_be_learned() -> None:
    records = [
        {"context": "the mat was warm", "question": "?", "answer": "arm"},
        {"context": "the \u200b mat", "question": "?", "answer": "\u200b", "start": 4},
        {"context": LONG, "question": "?", "answer": LONG[:500], "start": 0},
        {"context": "the mat", "question": "who " * 99, "answer": "mat"},
    ]
    _, dataset = read(Answer(length=64, stride=32, question=20), records)
    assert dataset.counts["answers that no token covers, not asked"] == 1
    assert dataset.counts["answers in no window whole, not asked"] == 1
    assert dataset.counts["answers longer than an answer may be"] == 1
    assert dataset.counts["questions cut"] == 1


def test_no_room() -> None:
    with pytest.raises(InputError, match="no room"):
        Answer(length=10, question=20).read(
            [{"context": "a", "question": "who " * 20, "answer": "a"}], tokenizer("wordpiece")
        )


@pytest.mark.parametrize("seed", range(4))
def test_decoding_against_every_span_of_every_window(seed: int) -> None:
    """Best span by brute force: over all windows, first token owned by the window, at most `longest` tokens."""
    records = [
        {"context": LONG, "question": "Who won it?", "answer": "cat"},
        {"context": "", "question": "?", "answer": ""},
    ]
    task, dataset = read(Answer(length=40, stride=12, longest=5, best=3), records)
    rng = generator(seed, 0)
    answers = [rng.normal(size=(len(e.targets["rows"]), 2)) for e in dataset]
    found, empty = task.decode(dataset, answers)
    spans = []
    for i in dataset.of_item()[0]:
        rows, own = dataset[i].targets["rows"], dataset[i].targets["own"]
        for a in range(1, len(rows)):
            for b in range(a, min(len(rows), a + 5)):
                if own[a - 1]:
                    at = stripped(LONG, dataset[i].offsets[rows[a], 0], dataset[i].offsets[rows[b], 1])
                    piece = dataset[i].targets["start"] + a - 1
                    spans.append((answers[i][a, 0] + answers[i][b, 1], *at, piece, piece + b - a + 1))
    score, start, end, first, last = max(spans)
    nothing = min(answers[i][0].sum() for i in dataset.of_item()[0])
    answered = nothing - score <= 0
    assert found["best"][0]["score"] == pytest.approx(score)
    assert found["no_answer"] == pytest.approx(nothing - score)
    best = found["best"][0]
    assert (best["start"], best["end"], best["tokens"]) == (start, end, [first, last])
    assert (found["start"], found["answer"]) == ((start, LONG[start:end]) if answered else (None, ""))
    texts = [b["answer"] for b in found["best"]]
    assert len(set(texts)) == len(texts) == 3
    assert (empty["answer"], empty["best"], empty["no_answer"]) == ("", [], None)


def test_words_are_numbered_over_the_whole_context() -> None:
    task, dataset = read(Answer(), [{"context": "the mat, the warm cat", "question": "?", "answer": "warm cat"}])
    (found,) = task.decode(dataset, perfect(task, dataset))
    assert found["words"] == [4, 6]  # the comma is a word
    assert (found["start"], found["end"]) == (13, 21)


def test_the_threshold_is_found_on_the_dev_set() -> None:
    records = [{"context": CORPUS[0], "question": f"{i}?", "answers": ["cat"] * (i % 2)} for i in range(8)]
    task, dataset = read(Answer(), records)
    assert task.nullable
    answers = []
    for i, e in enumerate(dataset):
        logits = np.zeros((len(e.targets["rows"]), 2))
        logits[2] = 5.0  # "cat"
        logits[0] = 6.0 if i % 2 else 8.0  # "not here" always outscores it, more so where there is no answer
        answers.append(logits)
    before = task.score(task.decode(dataset, answers), dataset.items)
    tuned = task.tune(dataset, answers)
    assert before["f1"] == 0.5
    assert tuned.score(tuned.decode(dataset, answers), dataset.items)["f1"] == 1.0
    assert 2.0 < tuned.threshold < 6.0
    assert Answer(nullable=False).tune(dataset, answers) == Answer(nullable=False)


def test_chinese_is_scored_by_characters() -> None:
    task, dataset = read(Answer(), [{"context": CORPUS[3], "question": "誰？", "answer": "李教授"}])
    assert task.scoring == "cmrc"
    assert task.score([{"answer": "由李教授"}], dataset.items) == pytest.approx({"f1": 6 / 7, "exact": 0.0})


@pytest.mark.parametrize(
    ("text", "span", "expected"),
    [(" a b ", (0, 5), (1, 4)), ("ab", (0, 2), (0, 2)), ("  ", (0, 2), (2, 2)), ("", (0, 0), (0, 0))],
)
def test_stripped(text: str, span: tuple[int, int], expected: tuple[int, int]) -> None:
    assert stripped(text, *span) == expected


def test_real_files(shared_data: Path) -> None:
    folder = shared_data / "qa"
    cases = {
        "zh-drcd/DRCD_dev.json": Answer(longest=999, length=256),
        "policyqa/dev.json": Answer(longest=999, length=999),
        "subjqa/grocery/splits/dev.csv": Answer(
            columns={"context": "review", "span": "human_ans_indices"},
            no_answer="ANSWERNOTFOUND",
            longest=999,
            length=999,
        ),
        "qamr/filtered_dev.tsv": Answer(
            columns={"context": 0, "question": 5, "words": (6, 7, 8)},
            contexts=str(folder / "qamr" / "wiki-sentences.tsv"),
            longest=999,
            length=999,
        ),
    }
    for name, task in cases.items():
        items = task.items(folder / name, limit=25)
        task = task.learn(items)
        dataset = task.dataset(items, tokenizer("bytes"))
        found = task.score(task.decode(dataset, perfect(task, dataset)), items)
        assert found["f1"] > 0.97, (name, found, dataset.counts)  # a few answers end within a token
