"""Which head goes where, and what a plain checkpoint says of its heads."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from didact.errors import InputError
from didact.families import BERT, by_name
from didact.heads import Choice, Classes, Head, PairRelation, Vocabulary


@pytest.mark.parametrize(
    ("heads", "architecture"),
    [
        ({}, "BertModel"),
        ({"a": Vocabulary()}, "BertForMaskedLM"),
        ({"a": PairRelation(), "b": Vocabulary()}, "BertForPreTraining"),
        ({"a": Classes(2), "b": Vocabulary()}, "BertForMaskedLM"),
        ({"a": Classes(2, pooled=False)}, "BertForTokenClassification"),
    ],
)
def test_architecture(heads: dict[str, Head], architecture: str) -> None:
    assert BERT.architecture(heads).name == architecture


def test_one_head_has_the_familys_names() -> None:
    """The one that the architecture speaks of, wherever it stands; the others keep ours."""
    heads = {"tags": Classes(2, pooled=False), "choice": Choice(), "first": Classes(2), "second": Classes(3)}
    assert BERT.architecture(heads).name == "BertForSequenceClassification"
    assert BERT.slots(heads) == {"tags": None, "choice": None, "first": "classes.pooled", "second": None}


def read(config: dict[str, Any], rows: int = 3) -> Head:
    tensors = {"classifier.weight": torch.zeros(rows, 4), "classifier.bias": torch.zeros(rows)}
    (head,) = BERT.read_heads(config, tensors, "config.json").values()
    return head


def test_classes_of_a_plain_checkpoint() -> None:
    pooled = {"architectures": ["BertForSequenceClassification"]}
    assert read(pooled) == Classes(3)
    assert read(pooled, rows=1) == Classes(1, "regression")
    assert read(pooled | {"problem_type": "multi_label_classification"}) == Classes(3, "multiple")
    assert read(pooled | {"classifier_dropout": 0.3}) == Classes(3, dropout=0.3)
    assert read(pooled | {"id2label": {"0": "a", "1": "b", "2": "c"}}) == Classes(3, names=("a", "b", "c"))
    assert read(pooled | {"id2label": {"0": "a", "1": "b"}}) == Classes(3)  # it speaks of something else
    assert read({"architectures": ["BertForTokenClassification"]}, 1) == Classes(1, pooled=False)
    assert read({"architectures": ["BertForMultipleChoice"]}, 1) == Choice()


@pytest.mark.parametrize("config", [{}, {"architectures": None}, {"architectures": ["BertModel"]}], ids=str)
def test_a_classifier_of_unknown_kind(config: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"leaves open what classifier\.weight, classifier\.bias is"):
        read(config)


def test_wrong_descriptions() -> None:
    with pytest.raises(InputError, match="problem_type 'guess'"):
        read({"architectures": ["BertForSequenceClassification"], "problem_type": "guess"})
    with pytest.raises(InputError, match="qa_outputs of 5 rows"):
        BERT.read_heads({}, {"qa_outputs.weight": torch.zeros(5, 4), "qa_outputs.bias": torch.zeros(5)}, "x")


def test_by_name() -> None:
    assert by_name("bert") is BERT
    with pytest.raises(InputError, match=r"config\.json: model_type 'oracle'; expected one of bert"):
        by_name("oracle", "config.json")
