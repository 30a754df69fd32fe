"""XLNet (Yang et al., 2019): Transformer-XL's relative attention, pre-trained to predict words in permuted orders.

Post-norm, nothing added to the word embeddings: position and segment enter attention logits alone. In the published
models a sequence ends in its <cls>, whose row answers for it; where a tokenizer puts one first, `summary_type` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from didact.config import ModelConfig, Norms, Output, Position
from didact.errors import InputError
from didact.exchange.keys import Key, Keys, Only, Together
from didact.exchange.rules import Names, Rule, pairs
from didact.families import bert
from didact.families.base import Architecture, Asked, Family
from didact.objectives import Objective, Permuted
from didact.tokenization.tokenizer import Tokenizer

_BLOCK, _LAYER = "core.blocks.{i}", "layer.{i}"
_RELATION, _ATTENTION = f"{_BLOCK}.attention.relation", f"{_LAYER}.rel_attn"

CORE = (
    Rule("core.embedding.word.weight", ("word_embedding.weight",), copies=("lm_loss.weight",), tied=True),
    Rule("core.embedding.word.weight", ("word_embedding.weight",), tied=False),
    Rule("core.embedding.query", ("mask_emb",)),
    Rule(
        f"{_BLOCK}.attention.qkv.weight",
        tuple(f"{_ATTENTION}.{part}" for part in ("q", "k", "v")),
        layout="into heads",
    ),
    Rule(f"{_BLOCK}.attention.out.weight", (f"{_ATTENTION}.o",), layout="out of heads"),
    Rule(f"{_RELATION}.distance.weight", (f"{_ATTENTION}.r",), layout="into heads"),
    Rule(f"{_RELATION}.content_bias", (f"{_ATTENTION}.r_w_bias",)),
    Rule(f"{_RELATION}.distance_bias", (f"{_ATTENTION}.r_r_bias",)),
    Rule(f"{_RELATION}.segment_bias", (f"{_ATTENTION}.r_s_bias",)),
    Rule(f"{_RELATION}.segment", (f"{_ATTENTION}.seg_embed",)),
    *pairs(f"{_BLOCK}.norm_attention_out", f"{_ATTENTION}.layer_norm"),
    *pairs(f"{_BLOCK}.feedforward.up", f"{_LAYER}.ff.layer_1"),
    *pairs(f"{_BLOCK}.feedforward.down", f"{_LAYER}.ff.layer_2"),
    *pairs(f"{_BLOCK}.norm_feedforward_out", f"{_LAYER}.ff.layer_norm"),
    *(replace(rule, outside=True) for rule in pairs("pooler.dense", "sequence_summary.summary")),
)

# The first rule of each tells the number of its outputs.
HEADS = {
    "vocabulary": (
        Rule("bias", ("lm_loss.bias",)),
        Rule("decoder.weight", ("lm_loss.weight",), tied=False),
    ),
    "classes.pooled": pairs("dense", "logits_proj"),
    "classes.rows": pairs("dense", "classifier"),
    "choice": pairs("dense", "logits_proj"),
    "span": pairs("dense", "qa_outputs"),
}


def _read_dropouts(config: Mapping[str, Any]) -> dict[str, float]:
    """Their one number is also the dropout of attention, unless our own key says otherwise."""
    hidden = config.get("dropout", 0.1)
    values = {"dropout": hidden, "attention_dropout": config.get("attention_dropout", hidden)}
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"{name} {value!r}", expected="a share, from 0 to 1")
    return {name: float(value) for name, value in values.items()}


def _write_dropouts(config: ModelConfig) -> dict[str, float]:
    own = {} if config.attention_dropout == config.dropout else {"attention_dropout": config.attention_dropout}
    return {"dropout": config.dropout, **own}


KEYS = Keys(
    keys=(
        Key("vocab_size", "vocabulary", 32000),
        Key("d_model", "width", 1024),
        Key("n_layer", "layers", 24),
        Key("n_head", "heads", 16),
        Key("d_inner", "feedforward", 4096),
        Key("layer_norm_eps", "norms.eps", 1e-12),
        Key("clamp_len", "position.distance", -1),
        Key("initializer_range", "init_std", 0.02),
        Key("tie_word_embeddings", "tied", True),
        Key("ff_activation", "activation", "gelu", words=bert.ACTIVATIONS),
    ),
    only=(
        Only("attn_type", ("bi",)),  # "uni" is Transformer-XL, with a causal mask
        Only("bi_data", (False,)),  # half of a batch read backwards
        Only("untie_r", (True,)),  # biases of each layer's own
        Only("summary_type", ("last", "first")),  # "mean" takes padding in
        Only("summary_use_proj", (True,)),
        Only("summary_activation", ("tanh",)),
        Only("quantization_config", (None,)),
        Only("auto_map", ({}, None)),  # code from a checkpoint is never run
    ),
    written=(
        ("attn_type", "bi"),
        ("bi_data", False),
        ("untie_r", True),
        ("same_length", False),
        ("mem_len", None),
        ("reuse_len", None),
        ("summary_type", "last"),
        ("summary_use_proj", True),
        ("summary_activation", "tanh"),
    ),
    together=(
        Together(("dropout", "attention_dropout"), ("dropout", "attention_dropout"), _read_dropouts, _write_dropouts),
    ),
    repeats=(("d_head", "key_width"),),
)


def recipe(tokenizer: Tokenizer) -> Objective:  # noqa: ARG001
    """A sixth of the words, in spans of one to five, predicted in a permuted order (§2.3, §3.1)."""
    return Permuted()


XLNET = Family(
    name="xlnet",
    base=ModelConfig(
        vocabulary=32000,
        segments=0,
        position=Position("relative", maximum=None, distance=-1),
        norms=Norms(embedding=None),
        attention_biases=False,
        output=Output(transform=False),
        pooler=False,
        queries=True,
    ),
    keys=KEYS,
    names=Names(
        core=CORE,
        prefix="transformer.",
        heads=HEADS,
        others=(r"(start_logits|end_logits|answer_class)\..*",),  # SQuAD by beams (XLNetForQuestionAnswering)
    ),
    architectures=(
        Architecture("XLNetLMHeadModel", ("vocabulary",)),
        Architecture("XLNetForSequenceClassification", ("classes.pooled",)),
        Architecture("XLNetForTokenClassification", ("classes.rows",)),
        Architecture("XLNetForQuestionAnsweringSimple", ("span",)),
        Architecture("XLNetForMultipleChoice", ("choice",)),
        Architecture("XLNetModel"),
    ),
    tokenizer="unigram",
    recipe=recipe,
    sources=("Yang et al., 2019, arXiv:1906.08237", "Dai et al., 2019, arXiv:1901.02860", "github.com/zihangdai/xlnet"),
    asked=Asked("last", "summary_type", {"cls": "last", "first": "first"}),
    dropouts=dict.fromkeys(("classes.pooled", "choice"), ("summary_last_dropout", 0.1)),
)
