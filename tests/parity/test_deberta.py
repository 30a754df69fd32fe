"""DeBERTa against transformers: every layer and every head, theirs padded, ours packed, in both directions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from parity_tools import (
    VOCABULARY,
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
from safetensors.torch import load_file, save_file

from didact import hub
from didact.errors import InputError
from didact.exchange import keys
from didact.families import DEBERTA_V2
from didact.heads import Choice, Classes, Head, Span, Vocabulary
from didact.model import Model, Pretrained
from didact.nn.position import log_bucket
from didact.tokenization.tokenizer import Tokenizer

VERSION_3: dict[str, Any] = {
    "relative_attention": True,
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    "position_biased_input": False,
}
SHAPE: dict[str, Any] = VERSION_3 | {
    "vocab_size": VOCABULARY,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no buckets": {"position_buckets": -1},
    "near distances, segments": {"max_relative_positions": 7, "type_vocab_size": 3},
    "relu, tanh pooler": {"hidden_act": "relu", "pooler_hidden_act": "tanh"},
    "untied": {"tie_word_embeddings": False},
}
ARCHITECTURES: dict[str, dict[str, Head]] = {
    "DebertaV2Model": {},
    "DebertaV2ForMaskedLM": {"vocabulary": Vocabulary()},
    "DebertaV2ForSequenceClassification": {"classes": Classes(5)},
    "DebertaV2ForTokenClassification": {"classes": Classes(5, pooled=False)},
    "DebertaV2ForQuestionAnswering": {"span": Span()},
    "DebertaV2ForMultipleChoice": {"choice": Choice()},
}
POOLED = ("relu, tanh pooler", "DebertaV2ForSequenceClassification")
CASES = [("DebertaV2ForMaskedLM", name) for name in CONFIGS] + [POOLED[::-1]]
CASES += [(a, "plain") for a in ARCHITECTURES if a != "DebertaV2ForMaskedLM"]


def theirs_of(architecture: str, settings: dict[str, Any], folder: Path, vocabulary: Path) -> Any:
    """A random model of transformers, saved by transformers."""
    labels: dict[str, Any] = {"num_labels": 5 if "Classification" in architecture else 2}
    config = transformers.DebertaV2Config(**SHAPE | settings | labels)
    return random_peer(config, architecture, folder, vocabulary)


def assert_same(ours: Model, theirs: Any) -> None:
    side, inputs = ragged(3 if ours.config.segments else 1)
    assert_layers(ours, theirs, side, inputs)
    assert_answers(logits_of(ours, side), expected_of(theirs, inputs))


@pytest.mark.parametrize(("architecture", "settings"), CASES)
def test_what_transformers_wrote(architecture: str, settings: str, tmp_path: Path, vocabulary: Path) -> None:
    theirs = theirs_of(architecture, CONFIGS[settings], tmp_path, vocabulary)
    ours = hub.load(tmp_path)
    assert [h.slot for h in ours.model.specs.values()] == [h.slot for h in ARCHITECTURES[architecture].values()]
    assert ours.fresh == ours.unused == ()
    assert_same(ours.model, theirs)


@pytest.mark.parametrize(("architecture", "settings"), CASES)
def test_what_we_wrote(architecture: str, settings: str, tmp_path: Path, vocabulary: Path) -> None:
    heads = ARCHITECTURES[architecture]
    config = keys.changed(
        keys.read(SHAPE | CONFIGS[settings], DEBERTA_V2.keys, DEBERTA_V2.base),
        {"pooler": any(head.pooled for head in heads.values())},
    )
    model = Model(config, heads).eval()
    randomise(model)
    hub.export(Pretrained(model, Tokenizer.load(vocabulary), "deberta-v2"), tmp_path)
    theirs, report = getattr(transformers, architecture).from_pretrained(tmp_path, output_loading_info=True)
    assert report["unexpected_keys"] == report["missing_keys"] == set()
    assert_same(model, theirs.eval())
    again = hub.load(tmp_path)
    assert again.model.specs == model.specs
    assert again.model.config == config
    assert_same_weights(model, again.model)


def test_long_sequences(tmp_path: Path, vocabulary: Path) -> None:
    """256 buckets, as published: the exact ones, the logarithmic ones, and those past the table's end."""
    shape = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "num_hidden_layers": 2}
    settings = shape | {"position_buckets": 256, "max_position_embeddings": 512}
    for furthest in (-1, 300):
        theirs = theirs_of("DebertaV2Model", settings | {"max_relative_positions": furthest}, tmp_path, vocabulary)
        ours = hub.load(tmp_path).model
        side, inputs = ragged(1, (400, 130, 320))
        with torch.inference_mode():
            expected = theirs(**inputs).last_hidden_state[inputs["attention_mask"].bool()]
            assert_equal(ours.hidden(side).main, expected, furthest)


@pytest.mark.parametrize(("buckets", "furthest"), [(256, 512), (8, 16), (32, 128), (-1, 20)])
def test_buckets(buckets: int, furthest: int) -> None:
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    distance = torch.arange(-600, 601)
    expected = distance if buckets < 0 else make_log_bucket_position(distance, buckets, furthest).long()
    assert torch.equal(log_bucket(distance, buckets, furthest), expected)


def test_the_reference_codes_names(tmp_path: Path, vocabulary: Path) -> None:
    """microsoft/DeBERTa calls the vocabulary head otherwise, and adds tensors that no class of transformers reads."""
    theirs = theirs_of("DebertaV2ForMaskedLM", {"legacy": False}, tmp_path, vocabulary)
    tensors = load_file(tmp_path / "model.safetensors")
    assert any(name.startswith("lm_predictions.") for name in tensors)
    extra = {"mask_predictions.dense.weight": torch.zeros(24, 24)}
    save_file(tensors | extra, tmp_path / "model.safetensors", metadata={"format": "pt"})
    ours = hub.load(tmp_path)
    assert ours.unused == ("mask_predictions.dense.weight",)
    assert_same(ours.model, theirs)
    hub.export(ours, tmp_path / "again")
    again = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "again").eval()
    assert again.config.legacy
    assert_same(ours.model, again)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("conv_kernel_size", 3),
        ("share_att_key", False),
        ("position_biased_input", True),
        ("pos_att_type", ["c2p"]),
        ("embedding_size", 12),
        ("attention_head_size", 5),
    ],
)
def test_what_changes_the_computation_is_refused(key: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=key):
        keys.read(SHAPE | {key: value}, DEBERTA_V2.keys, DEBERTA_V2.base, tmp_path)
