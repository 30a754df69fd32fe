"""DistilBERT (Sanh et al., 2019): every second layer of a BERT, taught by all of it; no segments, no pooler.

A table of positions that began as sines and cosines (`sinusoidal_pos_embds`) is a table like any other: the file has
it. The classifier's own dense layer takes the pooler's place.
"""

from __future__ import annotations

from didact.config import ModelConfig, Summary
from didact.exchange.keys import Key, Keys
from didact.exchange.rules import Names, Rule, fused, pairs
from didact.families import bert
from didact.families.base import Architecture, Family
from didact.families.recipes import masked
from didact.objectives import Combined, Distilled, Objective
from didact.tokenization.tokenizer import Tokenizer

_BLOCK, _LAYER = "core.blocks.{i}", "transformer.layer.{i}"

CORE = (
    Rule(
        "core.embedding.word.weight",
        ("embeddings.word_embeddings.weight",),
        copies=("vocab_projector.weight",),
        tied=True,
    ),
    Rule("core.embedding.word.weight", ("embeddings.word_embeddings.weight",), tied=False),
    Rule("core.embedding.position.weight", ("embeddings.position_embeddings.weight",)),
    *pairs("core.embedding.norm", "embeddings.LayerNorm"),
    *fused(f"{_BLOCK}.attention.qkv", tuple(f"{_LAYER}.attention.{part}_lin" for part in "qkv")),
    *pairs(f"{_BLOCK}.attention.out", f"{_LAYER}.attention.out_lin"),
    *pairs(f"{_BLOCK}.norm_attention_out", f"{_LAYER}.sa_layer_norm"),
    *pairs(f"{_BLOCK}.feedforward.up", f"{_LAYER}.ffn.lin1"),
    *pairs(f"{_BLOCK}.feedforward.down", f"{_LAYER}.ffn.lin2"),
    *pairs(f"{_BLOCK}.norm_feedforward_out", f"{_LAYER}.output_layer_norm"),
    *pairs("pooler.dense", "pre_classifier"),
)

# The first rule of each tells the number of its outputs.
HEADS = {
    "vocabulary": (
        Rule("bias", ("vocab_projector.bias",)),
        Rule("decoder.weight", ("vocab_projector.weight",), tied=False),
        *pairs("dense", "vocab_transform"),
        *pairs("norm", "vocab_layer_norm"),
    ),
    "classes.pooled": (*pairs("dense", "classifier"), *pairs("pooler.dense", "pre_classifier")),
    "classes.rows": pairs("dense", "classifier"),
    "choice": (*pairs("dense", "classifier"), *pairs("pooler.dense", "pre_classifier")),
    "span": pairs("dense", "qa_outputs"),
}

KEYS = Keys(
    keys=(
        Key("vocab_size", "vocabulary", 30522),
        Key("dim", "width", 768),
        Key("n_layers", "layers", 6),
        Key("n_heads", "heads", 12),
        Key("hidden_dim", "feedforward", 3072),
        Key("max_position_embeddings", "position.maximum", 512),
        Key("dropout", "dropout", 0.1),
        Key("attention_dropout", "attention_dropout", 0.1),
        Key("initializer_range", "init_std", 0.02),
        bert.START,
        Key("tie_word_embeddings", "tied", True),
        Key("activation", "activation", "gelu", words=bert.ACTIVATIONS),
    ),
    only=bert.ONLY,
    written=(("pad_token_id", 0), ("sinusoidal_pos_embds", False)),
)


def recipe(tokenizer: Tokenizer) -> Objective:
    """Masked words at 15 % and what the teacher says: 2 · masked + 5 · soft + 1 · cosine (§2; the reference script)."""
    return Combined((masked(tokenizer), Distilled()), (2.0, 1.0))


DISTILBERT = Family(
    name="distilbert",
    base=ModelConfig(layers=6, segments=0, pooler=False, summary=Summary(activation="relu")),
    keys=KEYS,
    names=Names(
        core=CORE,
        prefix="distilbert.",
        heads=HEADS,
        derived=bert.DERIVED,
        spellings=bert.OLD_NAMES,
    ),
    architectures=(
        Architecture("DistilBertForMaskedLM", ("vocabulary",)),
        Architecture("DistilBertForSequenceClassification", ("classes.pooled",)),
        Architecture("DistilBertForTokenClassification", ("classes.rows",)),
        Architecture("DistilBertForQuestionAnswering", ("span",)),
        Architecture("DistilBertForMultipleChoice", ("choice",)),
        Architecture("DistilBertModel"),
    ),
    tokenizer="wordpiece",
    recipe=recipe,
    sources=(
        "Sanh et al., 2019, arXiv:1910.01108",
        "github.com/huggingface/transformers, examples/research_projects/distillation",
    ),
    dropouts={
        "classes.pooled": ("seq_classif_dropout", 0.2),
        "choice": ("seq_classif_dropout", 0.2),
        "span": ("qa_dropout", 0.1),
    },
)
