"""BERT against transformers: every layer and every head, theirs padded, ours packed, in both directions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from parity_tools import (
    LENGTHS,
    VOCABULARY,
    asked_of,
    assert_answers,
    assert_equal,
    assert_layers,
    assert_same_weights,
    expected_of,
    logits_of,
    ragged,
    random_peer,
    randomise,
)
from torch import Tensor

from didact import hub
from didact.batch import Batch, Labels
from didact.config import ModelConfig
from didact.exchange import keys
from didact.families import BERT
from didact.heads import Choice, Classes, Head, PairRelation, Span, Vocabulary
from didact.model import Model, Pretrained
from didact.tokenization.tokenizer import Tokenizer

SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tanh gelu, one segment": {"hidden_act": "gelu_new", "type_vocab_size": 1},
    "relu, wide eps": {"hidden_act": "relu", "layer_norm_eps": 1e-3},
    "untied": {"tie_word_embeddings": False},
}
ARCHITECTURES: dict[str, dict[str, Head]] = {
    "BertModel": {},
    "BertForPreTraining": {"vocabulary": Vocabulary(), "pair_relation": PairRelation()},
    "BertForMaskedLM": {"vocabulary": Vocabulary()},
    "BertForNextSentencePrediction": {"pair_relation": PairRelation()},
    "BertForSequenceClassification": {"classes": Classes(5)},
    "BertForTokenClassification": {"classes": Classes(5, pooled=False)},
    "BertForQuestionAnswering": {"span": Span()},
    "BertForMultipleChoice": {"choice": Choice()},
}
AUTO = {
    "BertForPreTraining": "AutoModelForPreTraining",
    "BertForMaskedLM": "AutoModelForMaskedLM",
    "BertForNextSentencePrediction": "AutoModelForNextSentencePrediction",
    "BertForSequenceClassification": "AutoModelForSequenceClassification",
    "BertForTokenClassification": "AutoModelForTokenClassification",
    "BertForQuestionAnswering": "AutoModelForQuestionAnswering",
    "BertForMultipleChoice": "AutoModelForMultipleChoice",
    "BertModel": "AutoModel",
}


def theirs_of(architecture: str, settings: dict[str, Any], folder: Path, vocabulary: Path) -> Any:
    """A random model of transformers, saved by transformers."""
    config = transformers.BertConfig(**SHAPE | settings, num_labels=5 if "Classification" in architecture else 2)
    return random_peer(config, architecture, folder, vocabulary)


def assert_same(ours: Model, theirs: Any, segments: int) -> None:
    side, inputs = ragged(segments)
    assert_layers(ours, theirs, side, inputs)
    assert_answers(logits_of(ours, side), expected_of(theirs, inputs))


@pytest.mark.parametrize("settings", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_transformers_wrote(architecture: str, settings: dict[str, Any], tmp_path: Path, vocabulary: Path) -> None:
    theirs = theirs_of(architecture, settings, tmp_path, vocabulary)
    ours = hub.load(tmp_path)
    assert {n: h.slot for n, h in ours.model.specs.items()} == {
        n: h.slot for n, h in ARCHITECTURES[architecture].items()
    }
    assert ours.fresh == ours.unused == ()
    assert_same(ours.model, theirs, theirs.config.type_vocab_size)


@pytest.mark.parametrize("settings", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_we_wrote(architecture: str, settings: dict[str, Any], tmp_path: Path, vocabulary: Path) -> None:
    config = keys.changed(keys.read(SHAPE | settings, BERT.keys, BERT.base), {"dropout": 0.1})
    model = Model(config, ARCHITECTURES[architecture]).eval()
    randomise(model)
    hub.export(Pretrained(model, Tokenizer.load(vocabulary)), tmp_path)
    theirs, report = getattr(transformers, AUTO[architecture]).from_pretrained(tmp_path, output_loading_info=True)
    assert type(theirs).__name__ == architecture
    # Where their class has no pooler and ours has, that is all they leave unread.
    assert {name for name in report["unexpected_keys"] if "pooler" not in name} == set()
    assert report["missing_keys"] == set()
    assert_same(model, theirs.eval(), config.segments)
    again = hub.load(tmp_path)
    assert again.model.specs == model.specs
    assert again.model.config == config
    assert_same_weights(model, again.model)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer("abc a?")["input_ids"] == [2, *again.tokenizer.encode("abc a?").tokens.tolist(), 3]


@pytest.mark.parametrize(
    ("head", "values"),
    [
        (Vocabulary(), torch.tensor([3, 1, 2])),
        (PairRelation(), torch.tensor([0, 1, 1, 0])),
        (Classes(5), torch.tensor([0, 4, 2, 1])),
        (Classes(5, "multiple"), torch.tensor([[0, 1, 0, 1, 1], [0, 0, 0, 0, 0], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]])),
        (Classes(1, "regression"), torch.tensor([0.5, -1.0, 2.0, 0.0])),
        (Classes(5, pooled=False), torch.tensor([0, 4, 2])),
        (Span(), torch.tensor([[0, 6], [0, 0], [4, 9], [2, 2]])),
        (Choice(), torch.tensor([1, 0])),
    ],
    ids=["vocabulary", "relation", "single", "multiple", "regression", "tags", "span", "choice"],
)
def test_losses(head: Head, values: Tensor, tmp_path: Path, vocabulary: Path) -> None:
    """Sum over count is the loss that transformers reports for the same labels."""
    model = Model(ModelConfig(VOCABULARY, 24, 2, 4, 40), {"head": head}).eval()
    randomise(model)
    hub.export(Pretrained(model, Tokenizer.load(vocabulary)), tmp_path)
    architecture = BERT.architecture(model.specs).name
    theirs = getattr(transformers, architecture).from_pretrained(tmp_path).eval()
    side, inputs = ragged()
    (asked,) = asked_of(model.specs, side)
    if not head.pooled and head.kind != "span":
        rows = torch.tensor([0, 4, 9])  # two of the first sequence, one of the third
        asked = Labels("head", rows, values)
        padded = torch.full((len(LENGTHS), max(LENGTHS)), -100)
        padded[0, 0], padded[0, 4], padded[2, 1] = values
        expected = theirs(**inputs, labels=padded).loss
    elif head.kind == "span":  # theirs runs the softmax over padding too: one sequence at a time has none
        rows = [slice(0, n) for n in LENGTHS]
        one = [{name: x[i : i + 1, rows[i]] for name, x in inputs.items()} for i in range(len(LENGTHS))]
        ends = [{"start_positions": v[:1], "end_positions": v[1:]} for v in values]
        expected = torch.stack([theirs(**x, **y).loss for x, y in zip(one, ends, strict=True)]).mean()
    elif head.kind == "choice":
        expected = theirs(**{name: value.view(2, 2, -1) for name, value in inputs.items()}, labels=values).loss
    else:
        single = not isinstance(head, Classes) or head.problem == "single"
        expected = theirs(**inputs, labels=values if single else values.float()).loss
    asked = Labels(asked.head, asked.rows, values, asked.groups)
    (logits,) = model(Batch(side, (asked,)))
    part = model.loss(logits, asked)
    assert_equal(part.total / part.count, expected, head)
