"""ALBERT (Lan et al., 2020): one layer's weights for all layers, narrow embeddings, spans masked, sentences ordered.

Layers share their weights in groups of neighbours (`layer_groups`, 1 in every published model); the embeddings are
projected up to the model's width, and the vocabulary head works in theirs.
"""

from __future__ import annotations

from didact.config import ModelConfig
from didact.exchange.keys import Key, Keys, Only
from didact.exchange.rules import Names, Rule, fused, pairs
from didact.families import bert
from didact.families.base import Architecture, Family
from didact.families.recipes import masked
from didact.objectives import Combined, NGrams, Objective, SentenceOrder
from didact.tokenization.tokenizer import Tokenizer

_BLOCK, _LAYER = "core.blocks.{i}", "encoder.albert_layer_groups.{i}.albert_layers.0"

CORE = (
    Rule(
        "core.embedding.word.weight",
        ("embeddings.word_embeddings.weight",),
        copies=("predictions.decoder.weight",),
        tied=True,
    ),
    Rule("core.embedding.word.weight", ("embeddings.word_embeddings.weight",), tied=False),
    Rule("core.embedding.position.weight", ("embeddings.position_embeddings.weight",)),
    Rule("core.embedding.segment.weight", ("embeddings.token_type_embeddings.weight",)),
    *pairs("core.embedding.norm", "embeddings.LayerNorm"),
    *pairs("core.embedding.project", "encoder.embedding_hidden_mapping_in"),
    *fused(f"{_BLOCK}.attention.qkv", tuple(f"{_LAYER}.attention.{part}" for part in ("query", "key", "value"))),
    *pairs(f"{_BLOCK}.attention.out", f"{_LAYER}.attention.dense"),
    *pairs(f"{_BLOCK}.norm_attention_out", f"{_LAYER}.attention.LayerNorm"),
    *pairs(f"{_BLOCK}.feedforward.up", f"{_LAYER}.ffn"),
    *pairs(f"{_BLOCK}.feedforward.down", f"{_LAYER}.ffn_output"),
    *pairs(f"{_BLOCK}.norm_feedforward_out", f"{_LAYER}.full_layer_layer_norm"),
    *pairs("pooler.dense", "pooler"),
)

# The first rule of each tells the number of its outputs.
HEADS = {
    "vocabulary": (
        Rule("bias", ("predictions.bias",), copies=("predictions.decoder.bias",), tied=True),
        # Untied, transformers 5 computes with the decoder's own bias and leaves the other one as it was drawn.
        Rule("bias", ("predictions.decoder.bias",), dead=("predictions.bias",), tied=False),
        Rule("decoder.weight", ("predictions.decoder.weight",), tied=False),
        *pairs("dense", "predictions.dense"),
        *pairs("norm", "predictions.LayerNorm"),
    ),
    "pair_relation": pairs("dense", "sop_classifier.classifier"),
    "classes.pooled": pairs("dense", "classifier"),
    "classes.rows": pairs("dense", "classifier"),
    "choice": pairs("dense", "classifier"),
    "span": pairs("dense", "qa_outputs"),
}

KEYS = Keys(
    keys=(
        Key("vocab_size", "vocabulary", 30000),
        Key("embedding_size", "embedding_width", 128),
        Key("hidden_size", "width", 4096),
        Key("num_hidden_layers", "layers", 12),
        Key("num_hidden_groups", "layer_groups", 1),
        Key("num_attention_heads", "heads", 64),
        Key("intermediate_size", "feedforward", 16384),
        Key("max_position_embeddings", "position.maximum", 512),
        Key("type_vocab_size", "segments", 2),
        Key("layer_norm_eps", "norms.eps", 1e-12),
        Key("hidden_dropout_prob", "dropout", 0.0),
        Key("attention_probs_dropout_prob", "attention_dropout", 0.0),
        Key("initializer_range", "init_std", 0.02),
        bert.START,
        Key("tie_word_embeddings", "tied", True),
        Key("hidden_act", "activation", "gelu_new", words=bert.ACTIVATIONS),
    ),
    only=(*bert.ONLY, Only("inner_group_num", (1,))),
    written=(("position_embedding_type", "absolute"), ("inner_group_num", 1), ("pad_token_id", 0)),
)


def recipe(tokenizer: Tokenizer) -> Objective:
    """Runs of one to three words masked at 15 %, and the order of two segments, summed (§3.1, §4.1)."""
    return Combined((masked(tokenizer, select=NGrams()), SentenceOrder()))


ALBERT = Family(
    name="albert",
    base=ModelConfig(
        vocabulary=30000,
        embedding_width=128,
        embedding_projected=True,
        layer_groups=1,
        activation="gelu_tanh",
    ),
    keys=KEYS,
    names=Names(
        core=CORE,
        prefix="albert.",
        heads=HEADS,
        derived=bert.DERIVED,
        spellings=bert.OLD_NAMES,
    ),
    architectures=(
        Architecture("AlbertForPreTraining", ("vocabulary", "pair_relation")),
        Architecture("AlbertForMaskedLM", ("vocabulary",)),
        Architecture("AlbertForSequenceClassification", ("classes.pooled",)),
        Architecture("AlbertForTokenClassification", ("classes.rows",)),
        Architecture("AlbertForQuestionAnswering", ("span",)),
        Architecture("AlbertForMultipleChoice", ("choice",)),
        Architecture("AlbertModel"),
    ),
    tokenizer="unigram",
    recipe=recipe,
    sources=("Lan et al., 2020, arXiv:1909.11942", "github.com/google-research/albert"),
    dropouts=dict.fromkeys(("classes.pooled", "classes.rows", "choice"), ("classifier_dropout_prob", 0.1)),
)
