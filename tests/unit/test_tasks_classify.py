"""Classes, several classes and numbers; pairs; cutting; weights."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from sklearn import metrics as sk
from task_tools import KINDS, tokenizer

from didact.errors import InputError
from didact.heads import Classes, Matching
from didact.randomness import generator
from didact.tasks import Classify

RECORDS = [{"text": f"good {i}", "label": label} for i, label in enumerate("abbcab")]


def learned(task: Classify, records: list[dict] = RECORDS) -> Classify:  # type: ignore[type-arg]
    return task.learn(task.items(records))


def test_classes_are_learned_sorted() -> None:
    assert learned(Classify()).labels == ("a", "b", "c")
    assert learned(Classify(labels=("c", "b", "a"))).labels == ("c", "b", "a")
    assert learned(Classify("regression"), [{"text": "a", "label": 1}]).labels is None


def test_heads() -> None:
    task = learned(Classify(dropout=0.1, pooled=False))
    assert task.heads() == {"classes": Classes(3, "single", False, 0.1, names=("a", "b", "c"))}
    assert Classify("regression").heads() == {"classes": Classes(1, "regression")}


@pytest.mark.parametrize("task", [Classify(), Classify(class_weights="balanced", labels=("a",))])
def test_heads_of_a_task_that_has_not_learned(task: Classify) -> None:
    with pytest.raises(InputError, match="not known"):
        task.heads()


def test_balanced_weights_average_one() -> None:
    weights = learned(Classify(class_weights="balanced")).class_weights
    assert weights == pytest.approx((1.0, 2 / 3, 2.0))
    counts = np.array([2, 3, 1])
    assert (np.array(weights) * counts).sum() == pytest.approx(6)


def test_cutting_is_counted() -> None:
    task = Classify(labels=("a",), length=8, columns={"text_b": "b"})
    records = [{"text": "cat " * 9, "b": "mat mat", "label": "a"}, {"text": "cat", "b": "mat", "label": "a"}]
    dataset = task.read(records, tokenizer("wordpiece"))
    assert [len(e) for e in dataset] == [8, 5]
    assert dataset.counts == {"texts cut to the length": 1, "tokens cut off": 6}
    assert dataset[0].segments.tolist() == [0, 0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [128, 16])
def test_what_is_matched_are_the_two_texts(kind: str, length: int) -> None:
    """Their tokens and no special one, cut as any pair is."""
    own = tokenizer(kind)
    records = [
        {"text": "the cat sat on the mat", "text_b": "the mat was warm in 1911 and again, of course", "label": "a"}
    ]
    task = learned(Classify(pooling="matched", pooled=False, length=length), records)
    assert task.heads() == {"classes": Matching(1, names=("a",))}
    (example,) = task.read(records, own)
    (plain,) = learned(Classify(length=length), records).read(records, own)
    assert example.tokens.tolist() == plain.tokens.tolist()
    asked = task.ask(example)
    first, second = (example.tokens[asked.rows[a:b]].tolist() for a, b in pairwise(asked.groups.tolist()))
    whole = [own.encode(records[0][name]).tokens.tolist() for name in ("text", "text_b")]
    assert not example.special[asked.rows].any()
    assert [*first, *second] == example.tokens[~example.special].tolist()
    assert [whole[0][: len(first)], whole[1][: len(second)]] == [first, second]
    assert (first, second) == tuple(whole) if length == 128 else abs(len(first) - len(second)) <= 1


def test_one_text_has_nothing_to_match() -> None:
    task = learned(Classify(pooling="matched", pooled=False))
    with pytest.raises(InputError, match="one text; expected two, which pooling: matched compares"):
        task.read(RECORDS, tokenizer("wordpiece"))
    with pytest.raises(ValueError, match="passes no pooler: pooled: false"):
        Classify(pooling="matched")


def test_single_predictions() -> None:
    task = learned(Classify())
    dataset = task.read(RECORDS[:2], tokenizer("wordpiece"))
    a, b = task.decode(dataset, [np.array([[0.0, np.log(3), 0.0]]), np.array([[9.0, 0, 0]])])
    assert (a["id"], a["label"], b["label"]) == ("0", "b", "a")
    assert a["scores"] == pytest.approx({"a": 0.2, "b": 0.6, "c": 0.2})


@pytest.mark.parametrize(("threshold", "expected"), [(0.5, ["b", "c"]), (0.7, ["c"]), (0.3, ["a", "b", "c"])])
def test_multiple_predictions(threshold: float, expected: list[str]) -> None:
    task = learned(Classify("multiple", threshold=threshold))
    dataset = task.read(RECORDS[:1], tokenizer("wordpiece"))
    (found,) = task.decode(dataset, [np.array([[-0.5, 0.1, 2.0]])])
    assert found["label"] == expected


def test_labels_in_one_field() -> None:
    task = Classify("multiple", separator="|")
    items = task.items([{"text": "x", "label": "b | a|b"}, {"text": "x", "label": ""}, {"text": "x", "label": ["c"]}])
    assert [i.gold for i in items] == [("a", "b"), (), ("c",)]


@pytest.mark.parametrize("scores", [("f1",), ("f1_macro", "accuracy"), ("matthews",)])
def test_scores_chosen(scores: tuple) -> None:  # type: ignore[type-arg]
    task = learned(Classify(scores=scores, positive="b"))
    items = task.items(RECORDS)
    rng = generator(0, 0)
    predicted = [{"label": "abc"[i]} for i in rng.integers(3, size=6)]
    found = task.score(predicted, items)
    y, p = [i.gold for i in items], [q["label"] for q in predicted]
    oracle = {
        "f1": sk.f1_score(y, p, labels=["b"], average="macro"),
        "f1_macro": sk.f1_score(y, p, average="macro"),
        "accuracy": sk.accuracy_score(y, p),
        "matthews": sk.matthews_corrcoef(y, p),
    }
    assert found == pytest.approx({name: oracle[name] for name in scores})
    assert task.main == scores[0]


def test_numbers() -> None:
    task = Classify("regression", scores=("mse", "pearson"))
    records = [{"text": "a", "label": x} for x in (1.0, 2.0, 4.0)]
    dataset = task.read(records, tokenizer("wordpiece"))
    predictions = task.decode(dataset, [np.array([[x]]) for x in (1.0, 2.0, 3.0)])
    assert predictions[2] == {"id": "2", "label": 3.0}
    assert task.score(predictions, dataset.items)["mse"] == pytest.approx(1 / 3)
    assert task.higher is False
    assert task.ask(dataset[1]).values.tolist() == [2.0]


def test_pairs_are_recognised_and_stay_pairs() -> None:
    records = [{"text": "a", "text_b": "b", "label": "x"}]
    task = learned(Classify(), records)
    assert task.columns == {"text_b": "text_b"}
    assert len(task.read([("the cat", "sat")], tokenizer("wordpiece"), labelled=False)[0]) == 6
    with pytest.raises(InputError, match="records:1: columns text, label; expected 'text_b'"):
        task.items([{"text": "a", "label": "x"}])
    with pytest.raises(InputError, match="records:2: one text; expected pairs"):
        Classify(labels=("x",)).read([*records, {"text": "a", "label": "x"}], tokenizer("wordpiece"))


def test_bare_texts_can_be_predicted() -> None:
    task = Classify(labels=("x",), columns={"text": "sentence"})
    dataset = task.read(["the cat", {"text": "sat"}, {"sentence": "on"}], tokenizer("wordpiece"), labelled=False)
    assert [i.fields["text"] for i in dataset.items] == ["the cat", "sat", "on"]
