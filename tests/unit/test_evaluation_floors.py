"""Trivial baselines: they fit every task they suit, and see what is planted for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from task_tools import CASES, CORPUS

from didact.evaluation.floor import tokens
from didact.evaluation.floors import FLOORS, Copied, Cosine, FrequentTag, Linear, Majority, Overlap, floors_of
from didact.evaluation.nearest import Nearest, SharedWords
from didact.tasks import Answer, Choose, Classify, Embed, Tag, Task, Translate


def scored(floor, task: Task, train: list, test: list | None = None) -> dict[str, float]:  # type: ignore[no-untyped-def, type-arg]
    items = task.items(train)
    task = task.learn(items)
    others = task.items(test or train)
    return task.score(floor.fit(task, items)(others), others)


def learned(task: Task, items: list) -> Task:  # type: ignore[type-arg]
    """Pairs with a score are to be judged by, not to be learned from."""
    return task if isinstance(task, Embed) else task.learn(items)


@pytest.mark.parametrize("name", CASES)
def test_every_task_has_a_floor(name: str) -> None:
    task, records = CASES[name]
    items = task.items(records)
    task = learned(task, items)
    found = floors_of(task)
    assert found
    for floor in found:
        predictions = floor.fit(task, items)(items)
        assert [p["id"] for p in predictions] == [i.id for i in items]
        assert task.main in task.score(predictions, items)


def test_all_floors_are_used() -> None:
    tasks = [learned(task, task.items(records)) for task, records in CASES.values()]
    assert {type(floor) for task in tasks for floor in floors_of(task)} == set(FLOORS)


def test_majority() -> None:
    records = [{"text": "x", "label": label} for label in "abbb"]
    assert scored(Majority(), Classify(scores=("accuracy",)), records)["accuracy"] == 0.75
    numbers = [{"text": "x", "label": n} for n in (1.0, 2.0, 6.0)]
    assert scored(Majority(), Classify("regression", scores=("mse",)), numbers)["mse"] == pytest.approx(14 / 3)
    tags = [{"words": "a b c", "tags": "N N V"}]
    assert scored(Majority(), Tag(), tags)["accuracy"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("problem", ["single", "multiple", "regression"])
@pytest.mark.parametrize("words", [("good", "bad"), ("真好看", "不好看")])
def test_linear_sees_words(problem: str, words: tuple[str, str]) -> None:
    values = {"single": ("yes", "no"), "multiple": (["a", "b"], ["b"]), "regression": (1.0, 0.0)}[problem]
    records = [{"text": f"{words[i % 2]} {CORPUS[0][i : i + 5]}", "label": values[i % 2]} for i in range(60)]
    found = scored(Linear(), Classify(problem), records)  # type: ignore[arg-type]
    assert next(iter(found.values())) > 0.95


@pytest.mark.parametrize("n", [60, 300])
@pytest.mark.parametrize("alphabet", ["ACGT", "🙂🙁😀😡", "!?.,"])
@pytest.mark.parametrize("sides", [("text",), ("text", "text_b")])
def test_linear_sees_characters_where_there_are_no_words(n: int, alphabet: str, sides: tuple[str, ...]) -> None:
    """Sequences are one word each, and no two alike; of the labels, each prefers letters of its own."""
    rng = np.random.default_rng(0)
    task = Classify(columns={side: side for side in sides}, scores=("accuracy",))
    shares = ((0.4, 0.4, 0.1, 0.1), (0.1, 0.1, 0.4, 0.4))
    records = [
        {side: "".join(rng.choice(list(alphabet), 40, p=shares[i % 2])) for side in sides} | {"label": i % 2}
        for i in range(n)
    ]
    floor = Linear()
    assert floor.name == "TF-IDF + linear"
    assert scored(floor, task, records[: n - 20], records[n - 20 :])["accuracy"] > 0.9
    assert floor.name == "TF-IDF of characters + linear"
    scored(floor, task, [dict.fromkeys(sides, f"a {i}") | {"label": i % 2} for i in range(9)])
    assert floor.name == "TF-IDF + linear"


@pytest.mark.parametrize("problem", ["single", "multiple", "regression"])
def test_linear_of_nothing_is_the_majority(problem: str) -> None:
    values = {"single": ("yes", "no"), "multiple": (["a", "b"], ["b"]), "regression": (1.0, 0.0)}[problem]
    records = [{"text": chr(0x4E00 + i), "label": values[i % 3 == 0]} for i in range(120)]
    task = Classify(problem)  # type: ignore[arg-type]
    items = task.items(records)
    task = task.learn(items)
    assert Linear().fit(task, items)(items) == Majority().fit(task, items)(items)


def test_tags_of_which_none_counts() -> None:
    task = Tag(tags=("X", "N", "V"), ignore=("X",))
    items = task.items([{"words": "a b", "tags": "X X"}])
    for floor in (FrequentTag(), Majority()):
        (prediction,) = floor.fit(task.learn(items), items)(items)
        assert prediction["tags"] == ["N", "N"]


def test_most_frequent_tag_of_the_word() -> None:
    train = [{"words": "the cat sat the", "tags": "D N V D"}, {"words": "the dog the", "tags": "D N X"}]
    found = FrequentTag().fit(Tag(tags=("D", "N", "V", "X")), Tag().items(train))
    (prediction,) = found(Tag().items([{"words": "the zebra sat"}], labelled=False))
    assert prediction["tags"] == ["D", "N", "V"]


def test_overlap_sees_shared_words() -> None:
    task = Classify(columns={"text_b": "text_b"}, scores=("accuracy",))
    records = [
        {"text": "the cat sat on a mat", "text_b": ("a cat sat there", "who won the prize")[i % 2], "label": i % 2}
        for i in range(40)
    ]
    assert scored(Overlap(), task, records)["accuracy"] == 1.0


def test_nearest_sentence() -> None:
    context = "Paris is large. The prize was won by Marie Curie. It rained."
    record = {"context": context, "question": "By whom was the prize won?", "answer": "Marie Curie"}
    assert scored(Nearest(), Answer(), [record])["exact"] == 1.0
    records = [record, {"context": context, "question": "Which xylophone?", "answer": ""}] * 4
    assert scored(Nearest(), Answer(), records)["exact"] == 1.0


def test_shared_words() -> None:
    records = [{"context": "the cat sat on the mat", "choices": ["who won", "the mat was warm"], "label": 1}]
    assert scored(SharedWords(), Choose(), records)["accuracy"] == 1.0


def test_tokens() -> None:
    assert tokens("The cat's 3.5 台北 A_b") == ["the", "cat", "s", "3", "5", "台", "北", "a", "b"]


def test_the_stated_floor_of_a_treebank(shared_data: Path) -> None:
    folder, task = shared_data / "tag" / "en-ewt", Tag(columns={"words": "form", "tags": "upos"})
    train = task.items(folder / "train.conllu.xz", limit=4000)
    task = task.learn(train)
    test = task.items(folder / "test.conllu", limit=500)
    assert 0.82 < task.score(FrequentTag().fit(task, train)(test), test)["accuracy"] < 0.88


def test_the_source_itself() -> None:
    records = [{"source": "ein Haus", "target": "ein Haus"}, {"source": "ein Baum", "target": "a tree"}]
    assert scored(Copied(), Translate(scores=("exact",)), records)["exact"] == 0.5


def test_cosine_of_words() -> None:
    """scikit-learn's, with this inverse document frequency."""
    from sklearn.feature_extraction.text import CountVectorizer

    texts = [("a cat sat on a mat", "a cat sat"), ("the prize", "who won the prize"), ("cat", "dog"), ("?", "dog")]
    items = Embed().items([{"text": a, "text_b": b, "score": 0.5} for a, b in texts])
    counts = CountVectorizer(token_pattern=r"[^\W_]+").fit_transform([t for pair in texts for t in pair]).toarray()
    weighted = counts * (np.log((1 + len(counts)) / (1 + (counts > 0).sum(0))) + 1e-6)
    for (a, b), found in zip(weighted.reshape(len(texts), 2, -1), Cosine().fit(Embed(), [])(items), strict=True):
        size = np.linalg.norm(a) * np.linalg.norm(b)
        assert found["score"] == pytest.approx(float(a @ b / size) if size else 0.0)
