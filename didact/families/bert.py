"""BERT (Devlin et al., 2019): bidirectional, post-norm, learned positions; masked words and next sentences.

Also every checkpoint of its `model_type`: multilingual and Chinese BERT, MiniLM, BGE, E5, GTE of that shape.
"""

from __future__ import annotations

from didact.config import ModelConfig
from didact.errors import InputError
from didact.exchange.keys import Key, Keys, Only
from didact.exchange.rules import Names, Rule
from didact.families.base import Architecture, Family
from didact.objectives import Combined, Masked, NextSentence, Objective
from didact.tokenization.tokenizer import Tokenizer


def _pairs(ours: str, theirs: str) -> tuple[Rule, ...]:
    """A layer's weight and bias."""
    return tuple(Rule(f"{ours}.{p}", (f"{theirs}.{p}",)) for p in ("weight", "bias"))


_BLOCK, _LAYER = "core.blocks.{i}", "encoder.layer.{i}"

CORE = (
    Rule(
        "core.embedding.word.weight",
        ("embeddings.word_embeddings.weight",),
        copies=("cls.predictions.decoder.weight",),
        tied=True,
    ),
    Rule("core.embedding.word.weight", ("embeddings.word_embeddings.weight",), tied=False),
    Rule("core.embedding.position.weight", ("embeddings.position_embeddings.weight",)),
    Rule("core.embedding.segment.weight", ("embeddings.token_type_embeddings.weight",)),
    *_pairs("core.embedding.norm", "embeddings.LayerNorm"),
    *(
        Rule(
            f"{_BLOCK}.attention.qkv.{p}",
            tuple(f"{_LAYER}.attention.self.{part}.{p}" for part in ("query", "key", "value")),
        )
        for p in ("weight", "bias")
    ),
    *_pairs(f"{_BLOCK}.attention.out", f"{_LAYER}.attention.output.dense"),
    *_pairs(f"{_BLOCK}.norm_attention_out", f"{_LAYER}.attention.output.LayerNorm"),
    *_pairs(f"{_BLOCK}.feedforward.up", f"{_LAYER}.intermediate.dense"),
    *_pairs(f"{_BLOCK}.feedforward.down", f"{_LAYER}.output.dense"),
    *_pairs(f"{_BLOCK}.norm_feedforward_out", f"{_LAYER}.output.LayerNorm"),
    *_pairs("pooler.dense", "pooler.dense"),
)

# The first rule of each tells the number of its outputs.
HEADS = {
    "vocabulary": (
        Rule("bias", ("cls.predictions.bias",), copies=("cls.predictions.decoder.bias",), tied=True),
        # Untied, transformers 5 computes with the decoder's own bias and leaves the other one as it was drawn.
        Rule("bias", ("cls.predictions.decoder.bias",), dead=("cls.predictions.bias",), tied=False),
        Rule("decoder.weight", ("cls.predictions.decoder.weight",), tied=False),
        *_pairs("dense", "cls.predictions.transform.dense"),
        *_pairs("norm", "cls.predictions.transform.LayerNorm"),
    ),
    "pair_relation": _pairs("dense", "cls.seq_relationship"),
    "classes.pooled": _pairs("dense", "classifier"),
    "classes.rows": _pairs("dense", "classifier"),
    "choice": _pairs("dense", "classifier"),
    "span": _pairs("dense", "qa_outputs"),
}

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
        Key(
            "position_initializer",
            "position.start",
            "normal",
            words=(("normal", "normal"), ("neighbours", "neighbours")),
            ours_alone=True,
        ),
        Key("tie_word_embeddings", "tied", True),
        Key(
            "hidden_act",
            "activation",
            "gelu",
            words=(
                ("gelu", "gelu"),
                ("gelu_new", "gelu_tanh"),
                ("gelu_pytorch_tanh", "gelu_tanh"),
                ("relu", "relu"),
                ("silu", "silu"),
                ("swish", "silu"),
                ("tanh", "tanh"),
            ),
        ),
    ),
    only=(
        Only("position_embedding_type", ("absolute", None)),
        Only("is_decoder", (False, None)),
        Only("add_cross_attention", (False, None)),
        Only("is_encoder_decoder", (False, None)),
        Only("pruned_heads", ({}, None)),
        Only("quantization_config", (None,)),
        Only("auto_map", ({}, None)),  # code from a checkpoint is never run
    ),
    written=(("position_embedding_type", "absolute"), ("pad_token_id", 0), ("use_cache", True)),
)


def recipe(tokenizer: Tokenizer) -> Objective:
    """Masked words at 15 % (80 % [MASK], 10 % random, 10 % kept) and next sentence, summed (§3.1, appendix A.2)."""
    if tokenizer.mask is None:
        raise InputError("the tokenizer has no mask token", expected="one with [MASK]")
    masked = Masked(tokenizer.mask, tokenizer.vocabulary, tokenizer.special_ids)
    return Combined((masked, NextSentence()))


BERT = Family(
    name="bert",
    base=ModelConfig(),
    keys=KEYS,
    names=Names(
        core=CORE,
        prefix="bert.",
        heads=HEADS,
        derived=(r"embeddings\.(position_ids|token_type_ids)",),
        spellings=((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias")),
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
