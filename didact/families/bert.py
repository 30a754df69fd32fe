"""BERT (Devlin et al., 2019): bidirectional, post-norm, learned positions; masked words and next sentences.

Also every checkpoint of its `model_type`: multilingual and Chinese BERT, MiniLM, BGE, E5, GTE of that shape.
"""

from __future__ import annotations

from didact.config import ModelConfig
from didact.exchange.keys import Key, Keys, Only
from didact.exchange.rules import Names, Rule, fused, pairs
from didact.families.base import Architecture, Family
from didact.families.recipes import masked
from didact.objectives import Combined, NextSentence, Objective
from didact.tokenization.tokenizer import Tokenizer

_BLOCK, _LAYER = "core.blocks.{i}", "encoder.layer.{i}"


def core(decoder: str) -> tuple[Rule, ...]:
    """Of a model built as BERT is. decoder: the vocabulary head's matrix, as which tied embeddings may come again."""
    return (
        Rule("core.embedding.word.weight", ("embeddings.word_embeddings.weight",), copies=(decoder,), tied=True),
        Rule("core.embedding.word.weight", ("embeddings.word_embeddings.weight",), tied=False),
        Rule("core.embedding.position.weight", ("embeddings.position_embeddings.weight",)),
        Rule("core.embedding.segment.weight", ("embeddings.token_type_embeddings.weight",)),
        *pairs("core.embedding.norm", "embeddings.LayerNorm"),
        *fused(
            f"{_BLOCK}.attention.qkv", tuple(f"{_LAYER}.attention.self.{part}" for part in ("query", "key", "value"))
        ),
        *pairs(f"{_BLOCK}.attention.out", f"{_LAYER}.attention.output.dense"),
        *pairs(f"{_BLOCK}.norm_attention_out", f"{_LAYER}.attention.output.LayerNorm"),
        *pairs(f"{_BLOCK}.feedforward.up", f"{_LAYER}.intermediate.dense"),
        *pairs(f"{_BLOCK}.feedforward.down", f"{_LAYER}.output.dense"),
        *pairs(f"{_BLOCK}.norm_feedforward_out", f"{_LAYER}.output.LayerNorm"),
        *pairs("pooler.dense", "pooler.dense"),
    )


# The first rule of each tells the number of its outputs.
HEADS = {
    "vocabulary": (
        Rule("bias", ("cls.predictions.bias",), copies=("cls.predictions.decoder.bias",), tied=True),
        # Untied, transformers 5 computes with the decoder's own bias and leaves the other one as it was drawn.
        Rule("bias", ("cls.predictions.decoder.bias",), dead=("cls.predictions.bias",), tied=False),
        Rule("decoder.weight", ("cls.predictions.decoder.weight",), tied=False),
        *pairs("dense", "cls.predictions.transform.dense"),
        *pairs("norm", "cls.predictions.transform.LayerNorm"),
    ),
    "pair_relation": pairs("dense", "cls.seq_relationship"),
    "classes.pooled": pairs("dense", "classifier"),
    "classes.rows": pairs("dense", "classifier"),
    "choice": pairs("dense", "classifier"),
    "span": pairs("dense", "qa_outputs"),
}

ACTIVATIONS = (
    ("gelu", "gelu"),
    ("gelu_new", "gelu_tanh"),
    ("gelu_pytorch_tanh", "gelu_tanh"),
    ("relu", "relu"),
    ("silu", "silu"),
    ("swish", "silu"),
    ("tanh", "tanh"),
)
START = Key(
    "position_initializer",
    "position.start",
    "normal",
    words=(("normal", "normal"), ("neighbours", "neighbours")),
    ours_alone=True,
)
ONLY = (
    Only("position_embedding_type", ("absolute", None)),
    Only("is_decoder", (False, None)),
    Only("add_cross_attention", (False, None)),
    Only("is_encoder_decoder", (False, None)),
    Only("pruned_heads", ({}, None)),
    Only("quantization_config", (None,)),
    Only("auto_map", ({}, None)),  # code from a checkpoint is never run
)
DERIVED = (r"embeddings\.(position_ids|token_type_ids)",)
OLD_NAMES = ((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias"))

KEYS = Keys(
    keys=(
        Key("vocab_size", "vocabulary", 30522),
        Key("hidden_size", "width", 768),
        Key("num_hidden_layers", "layers", 12),
        Key("num_attention_heads", "heads", 12),
        Key("intermediate_size", "feedforward", 3072),
        Key("max_position_embeddings", "position.maximum", 512),
        Key("type_vocab_size", "segments", 2),
        Key("layer_norm_eps", "norms.eps", 1e-12),
        Key("hidden_dropout_prob", "dropout", 0.1),
        Key("attention_probs_dropout_prob", "attention_dropout", 0.1),
        Key("initializer_range", "init_std", 0.02),
        START,
        Key("tie_word_embeddings", "tied", True),
        Key("hidden_act", "activation", "gelu", words=ACTIVATIONS),
    ),
    only=ONLY,
    written=(("position_embedding_type", "absolute"), ("pad_token_id", 0), ("use_cache", True)),
)


def recipe(tokenizer: Tokenizer) -> Objective:
    """Masked words at 15 % (80 % [MASK], 10 % random, 10 % kept) and next sentence, summed (§3.1, appendix A.2)."""
    return Combined((masked(tokenizer), NextSentence()))


BERT = Family(
    name="bert",
    base=ModelConfig(),
    keys=KEYS,
    names=Names(
        core=core("cls.predictions.decoder.weight"),
        prefix="bert.",
        heads=HEADS,
        derived=DERIVED,
        spellings=OLD_NAMES,
    ),
    architectures=(
        Architecture("BertForPreTraining", ("vocabulary", "pair_relation")),
        Architecture("BertForMaskedLM", ("vocabulary",)),
        Architecture("BertForSequenceClassification", ("classes.pooled",)),
        Architecture("BertForTokenClassification", ("classes.rows",)),
        Architecture("BertForQuestionAnswering", ("span",)),
        Architecture("BertForMultipleChoice", ("choice",)),
        Architecture("BertForNextSentencePrediction", ("pair_relation",)),
        Architecture("BertModel"),
    ),
    tokenizer="wordpiece",
    recipe=recipe,
    sources=("Devlin et al., 2019, arXiv:1810.04805", "github.com/google-research/bert"),
)
