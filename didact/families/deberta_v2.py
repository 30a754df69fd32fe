"""DeBERTa, versions 2 and 3 (He et al., 2021; 2023): content and position apart in attention, by logarithmic distance.

Post-norm, no absolute positions, no segments; one table of distances for all layers, normalised, projected by each
layer's own q and k. Version 2's convolution beside the first layer (its two largest models) is refused. transformers
has no class for a head that finds replaced tokens in DeBERTa: its tensors are written by our names, beside the core.
"""

from __future__ import annotations

from dataclasses import replace

from didact.config import ModelConfig, Norms, Position, Summary
from didact.errors import InputError
from didact.exchange.keys import Key, Keys, Only
from didact.exchange.rules import Names, Rule, fused, pairs
from didact.families import bert
from didact.families.base import Architecture, Family
from didact.objectives import Objective, Replaced, WholeWords
from didact.tokenization.tokenizer import Tokenizer

_BLOCK, _LAYER = "core.blocks.{i}", "encoder.layer.{i}"

CORE = (
    Rule(
        "core.embedding.word.weight",
        ("embeddings.word_embeddings.weight",),
        copies=("cls.predictions.decoder.weight",),
        tied=True,
    ),
    Rule("core.embedding.word.weight", ("embeddings.word_embeddings.weight",), tied=False),
    Rule("core.embedding.segment.weight", ("embeddings.token_type_embeddings.weight",)),
    *pairs("core.embedding.norm", "embeddings.LayerNorm"),
    Rule("core.embedding.position.weight", ("encoder.rel_embeddings.weight",)),
    *pairs("core.embedding.position.norm", "encoder.LayerNorm"),
    *fused(f"{_BLOCK}.attention.qkv", tuple(f"{_LAYER}.attention.self.{p}_proj" for p in ("query", "key", "value"))),
    *pairs(f"{_BLOCK}.attention.out", f"{_LAYER}.attention.output.dense"),
    *pairs(f"{_BLOCK}.norm_attention_out", f"{_LAYER}.attention.output.LayerNorm"),
    *pairs(f"{_BLOCK}.feedforward.up", f"{_LAYER}.intermediate.dense"),
    *pairs(f"{_BLOCK}.feedforward.down", f"{_LAYER}.output.dense"),
    *pairs(f"{_BLOCK}.norm_feedforward_out", f"{_LAYER}.output.LayerNorm"),
    *(replace(rule, outside=True) for rule in pairs("pooler.dense", "pooler.dense")),
)

HEADS = {slot: rules for slot, rules in bert.HEADS.items() if slot != "pair_relation"}  # no class of theirs has one

KEYS = Keys(
    keys=(
        Key("vocab_size", "vocabulary", 128100),
        Key("hidden_size", "width", 1536),
        Key("num_hidden_layers", "layers", 24),
        Key("num_attention_heads", "heads", 24),
        Key("intermediate_size", "feedforward", 6144),
        Key("max_position_embeddings", "position.maximum", 512),
        Key("position_buckets", "position.buckets", -1),
        Key("max_relative_positions", "position.distance", -1),
        Key("type_vocab_size", "segments", 0),
        Key("layer_norm_eps", "norms.eps", 1e-7),
        Key("hidden_dropout_prob", "dropout", 0.1),
        Key("attention_probs_dropout_prob", "attention_dropout", 0.1),
        Key("initializer_range", "init_std", 0.02),
        Key("tie_word_embeddings", "tied", True),
        Key("hidden_act", "activation", "gelu", words=bert.ACTIVATIONS),
        Key("pooler_hidden_act", "summary.activation", "gelu", words=bert.ACTIVATIONS),
    ),
    only=(
        Only("relative_attention", (True,), absent=False),
        Only("pos_att_type", ("p2c|c2p", "c2p|p2c", ["p2c", "c2p"], ["c2p", "p2c"]), absent=False),
        Only("share_att_key", (True,), absent=False),
        Only("norm_rel_ebd", ("layer_norm",), absent=False),
        Only("position_biased_input", (False,), absent=False),
        Only("conv_kernel_size", (0, None)),  # a convolution beside the first layer
        Only("pooler_dropout", (0, 0.0)),
        Only("is_decoder", (False, None)),
        Only("quantization_config", (None,)),
        Only("auto_map", ({}, None)),  # code from a checkpoint is never run
    ),
    written=(
        ("relative_attention", True),
        ("pos_att_type", ["p2c", "c2p"]),
        ("share_att_key", True),
        ("norm_rel_ebd", "layer_norm"),
        ("position_biased_input", False),
        ("pooler_dropout", 0),
        ("pad_token_id", 0),
    ),
    fixed=(("legacy", True),),  # which of transformers' two layouts the vocabulary head is written in
    repeats=(("attention_head_size", "key_width"), ("embedding_size", "width"), ("pooler_hidden_size", "width")),
)


def recipe(tokenizer: Tokenizer) -> Objective:
    """Replaced tokens, gradients disentangled (version 3, §3): 15 % chosen, in whole words, all masked; a generator as
    wide as the model and half as deep. Version 2 learned masked words.
    """
    if tokenizer.mask is None:
        raise InputError("the tokenizer has no mask token", expected="one with [MASK]")
    return Replaced(
        tokenizer.mask,
        tokenizer.vocabulary,
        tokenizer.special_ids,
        mask=1.0,
        select=WholeWords(),
        sharing="difference",
        generator_size=1.0,
        generator_depth=0.5,
    )


DEBERTA_V2 = Family(
    name="deberta-v2",
    base=ModelConfig(
        vocabulary=128100,
        segments=0,
        position=Position("disentangled", maximum=512, buckets=256, distance=-1),
        norms=Norms(eps=1e-7),
        summary=Summary(activation="gelu"),
        pooler=False,
    ),
    keys=KEYS,
    names=Names(
        core=CORE,
        prefix="deberta.",
        heads=HEADS,
        derived=(r"embeddings\.position_ids",),
        spellings=(
            (r"LayerNorm\.gamma$", "LayerNorm.weight"),
            (r"LayerNorm\.beta$", "LayerNorm.bias"),
            # microsoft/DeBERTa's own names, which transformers reads where `legacy` is false
            (r"^lm_predictions\.lm_head\.bias$", "cls.predictions.bias"),
            (r"^lm_predictions\.lm_head\.", "cls.predictions.transform."),
        ),
        # The reference code's head for replaced tokens, and positions that the input does not have.
        others=(r"mask_predictions\..*", r"embeddings\.position_embeddings\.weight"),
    ),
    architectures=(
        Architecture("DebertaV2ForMaskedLM", ("vocabulary",)),
        Architecture("DebertaV2ForSequenceClassification", ("classes.pooled",)),
        Architecture("DebertaV2ForTokenClassification", ("classes.rows",)),
        Architecture("DebertaV2ForQuestionAnswering", ("span",)),
        Architecture("DebertaV2ForMultipleChoice", ("choice",)),
        Architecture("DebertaV2Model"),
    ),
    tokenizer="unigram",
    recipe=recipe,
    sources=(
        "He et al., 2021, arXiv:2006.03654",
        "He et al., 2023, arXiv:2111.09543",
        "github.com/microsoft/DeBERTa",
    ),
    dropouts=dict.fromkeys(("classes.pooled", "choice"), ("cls_dropout", None)),
)
