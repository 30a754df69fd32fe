"""ModernBERT against transformers: rows longer than the windows, every layer and head, in both directions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from parity_tools import VOCABULARY, assert_answers, assert_equal, expected_of, logits_of, ragged, randomise
from torch import Tensor

from didact import hub
from didact.batch import Batch, Labels, Side
from didact.errors import InputError
from didact.exchange import keys
from didact.families import MODERNBERT
from didact.heads import Choice, Classes, Head, Span, Vocabulary
from didact.hub import weights
from didact.model import Model, Pretrained
from didact.tokenization.tokenizer import Tokenizer

LENGTHS = (7, 1, 21, 14)
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 24,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "intermediate_size": 20,
    "max_position_embeddings": 32,
    "local_attention": 6,
    "pad_token_id": 0,
}
TOKENS = {f"{role}_token_id": None for role in ("bos", "eos", "cls", "sep")}
THETAS = {"global_rope_theta": 900.0, "local_rope_theta": 20.0}
CONFIGS: dict[str, dict[str, Any]] = {
    "plain": THETAS,
    "wide apart": {"global_attn_every_n_layers": 2, "local_attention": 2, "norm_bias": True} | THETAS,
    "by a list": {"layer_types": [*["sliding_attention"] * 2, "full_attention", "sliding_attention", "full_attention"]},
    "untied, biased head": {"tie_word_embeddings": False, "classifier_bias": True, "classifier_activation": "relu"},
    "all global": {"global_attn_every_n_layers": 1, "hidden_activation": "silu"},
    "mean": {"classifier_pooling": "mean"} | THETAS,
}
HEADS: dict[str, dict[str, Head]] = {
    "ModernBertModel": {},
    "ModernBertForMaskedLM": {"vocabulary": Vocabulary()},
    "ModernBertForSequenceClassification": {"classes": Classes(5)},
    "ModernBertForTokenClassification": {"classes": Classes(5, pooled=False)},
    "ModernBertForQuestionAnswering": {"span": Span()},
    "ModernBertForMultipleChoice": {"choice": Choice()},
}
BOTH = [
    pytest.param(settings, name, id=f"{label}-{name}")
    for label, settings in CONFIGS.items()
    for name in HEADS
    if label != "mean" or name == "ModernBertForSequenceClassification"
]


def sides() -> tuple[Side, dict[str, Tensor]]:
    side, inputs = ragged(lengths=LENGTHS)
    packed = side.packed
    plain = type(packed)(packed.tokens, packed.positions, packed.cu_seqlens, packed.max_seqlen)
    return Side(plain), {name: value for name, value in inputs.items() if name != "token_type_ids"}


def assert_same(ours: Model, theirs: Any) -> None:
    side, inputs = sides()
    kept = inputs["attention_mask"].bool()
    with torch.inference_mode():
        hidden = ours.hidden(side, layers=True)
        out = theirs.base_model(**inputs, output_hidden_states=True)
    assert len(hidden.layers) == len(out.hidden_states) == 6
    assert_equal(hidden.main, out.last_hidden_state[kept], "last")
    for i, (a, b) in enumerate(zip(hidden.layers[:-1], out.hidden_states, strict=False)):
        assert_equal(a, b[kept], f"layer {i}")
    expected = expected_of(theirs, inputs)
    if theirs.config.classifier_pooling == "mean":
        cu = side.packed.cu_seqlens
        with torch.inference_mode():
            (mean,) = ours(Batch(side, (Labels("classes", torch.arange(len(side.packed.tokens)), cu[:-1].long(), cu),)))
        assert_equal(mean, expected["classes"], "classes")
    else:
        assert_answers(logits_of(ours, side), expected)


def specs(settings: dict[str, Any], architecture: str) -> dict[str, Head]:
    """The heads of a class of theirs, with what these settings say of them."""
    mean = settings.get("classifier_pooling") == "mean"
    return {"classes": Classes(5, pooling="mean")} if mean else HEADS[architecture]


@pytest.mark.parametrize(("settings", "architecture"), BOTH)
def test_what_transformers_wrote(settings: dict[str, Any], architecture: str, tmp_path: Path, vocabulary: Path) -> None:
    labels = 2 if "Question" in architecture else 5
    config = transformers.ModernBertConfig(**SHAPE | TOKENS | settings, num_labels=labels)
    theirs = getattr(transformers, architecture)(config).eval()
    randomise(theirs)
    theirs.save_pretrained(tmp_path)
    Tokenizer.load(vocabulary).save(tmp_path)
    ours = hub.load(tmp_path)
    assert [head.slot for head in ours.model.specs.values()] == [h.slot for h in HEADS[architecture].values()]
    if "Sequence" in architecture:
        assert ours.model.specs["classes"] == Classes(5, pooling=config.classifier_pooling)
    assert ours.fresh == ours.unused == ()
    assert_same(ours.model, theirs)
    before = weights.read(tmp_path)
    hub.export(ours, tmp_path / "again")
    after = weights.read(tmp_path / "again")
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    said, says = (weights.read_json(folder / "config.json") for folder in (tmp_path, tmp_path / "again"))
    assert {name for name, value in said.items() if says.get(name) != value} <= {"problem_type"}


@pytest.mark.parametrize(("settings", "architecture"), BOTH)
def test_what_we_wrote(settings: dict[str, Any], architecture: str, tmp_path: Path, vocabulary: Path) -> None:
    heads = specs(settings, architecture)
    config = keys.read(SHAPE | settings, MODERNBERT.keys, MODERNBERT.base)
    config = keys.changed(config, {"pooler": any(head.pools(config) for head in heads.values())})
    model = Model(config, heads).eval()
    randomise(model)
    hub.export(Pretrained(model, Tokenizer.load(vocabulary), "modernbert"), tmp_path)
    theirs, report = getattr(transformers, architecture).from_pretrained(tmp_path, output_loading_info=True)
    assert weights.read_json(tmp_path / "config.json")["architectures"] == [architecture]
    assert report["unexpected_keys"] == set()
    assert report["missing_keys"] == set()
    assert (theirs.config.cls_token_id, theirs.config.sep_token_id) == (2, 3)
    assert_same(model, theirs.eval())
    again = hub.load(tmp_path)
    assert again.model.specs == model.specs
    assert again.model.config == config
    assert all(torch.equal(t, again.model.state_dict()[n]) for n, t in model.state_dict().items())


def test_a_row_sees_half_the_window_on_either_side() -> None:
    """Both ends included: with `local_attention` 6, three rows back and three ahead."""
    config = transformers.ModernBertConfig(**SHAPE | TOKENS | {"num_hidden_layers": 2})
    theirs = transformers.ModernBertModel(config).eval()
    randomise(theirs)
    layer = theirs.layers[1]
    seen = {}
    layer.attn.register_forward_pre_hook(lambda _m, _a, given: seen.update(given), with_kwargs=True)
    with torch.inference_mode():
        theirs(torch.arange(5, 20)[None])
    mask = seen["attention_mask"][0, 0]
    mask = mask if mask.dtype == torch.bool else mask == 0
    distance = (torch.arange(15)[:, None] - torch.arange(15)[None]).abs()
    assert torch.equal(mask, distance <= 3)
    assert keys.read(config.to_dict(), MODERNBERT.keys, MODERNBERT.base).windows == (None, 3)


@pytest.mark.parametrize(
    "said",
    [
        {"mlp_bias": True},
        {"decoder_bias": False},
        {"mlp_dropout": 0.1},
        {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}},
        {"rope_parameters": {"full_attention": {"rope_type": "yarn"}}},
        {"layer_types": ["full_attention"]},
        {"local_attention": 0},
        {"classifier_activation": "maxout"},
        {"global_rope_theta": "far"},
    ],
    ids=str,
)
def test_what_is_not_known_is_refused(said: dict[str, Any]) -> None:
    name = next(iter(said))
    with pytest.raises(InputError, match="rope_type" if name == "rope_parameters" else name):
        keys.read(SHAPE | said, MODERNBERT.keys, MODERNBERT.base)


def test_a_choice_by_the_mean_is_refused(tmp_path: Path, vocabulary: Path) -> None:
    """Ours asks one row of each candidate; read as one, it would answer otherwise without a word."""
    config = transformers.ModernBertConfig(**SHAPE | TOKENS | {"classifier_pooling": "mean"})
    transformers.ModernBertForMultipleChoice(config).save_pretrained(tmp_path)
    Tokenizer.load(vocabulary).save(tmp_path)
    with pytest.raises(InputError, match=r"config\.json.*classifier_pooling 'mean': a choice by the mean"):
        hub.load(tmp_path)
