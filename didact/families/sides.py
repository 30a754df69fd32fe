"""What the families with a decoder share: how fairseq, and transformers after it, call the tensors and settings of
the two stacks of BART and its relatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from didact.config import Decoder, ModelConfig
from didact.errors import InputError
from didact.exchange.keys import Key, Only, Together
from didact.exchange.rules import Rule, fused, pairs
from didact.families import bert
from didact.tokenization.tokenizer import Tokenizer

SHARED = "core.embedding.word.weight"
BLANK = "decoder_start_is_blank"  # a key that no other library knows
TABLES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")  # which repeat the shared one


def stack(ours: str, theirs: str) -> tuple[Rule, ...]:
    """A stack's rules, whichever of them a family's norms need: before or after each sublayer, one name serves."""
    block, layer = f"{ours}.blocks.{{i}}", f"{theirs}.layers.{{i}}"
    return (
        Rule(f"{ours}.embedding.position.weight", (f"{theirs}.embed_positions.weight",)),
        *pairs(f"{ours}.embedding.norm", f"{theirs}.layernorm_embedding"),
        *fused(f"{block}.attention.qkv", tuple(f"{layer}.self_attn.{part}_proj" for part in "qkv")),
        *pairs(f"{block}.attention.out", f"{layer}.self_attn.out_proj"),
        *pairs(f"{block}.cross.q", f"{layer}.encoder_attn.q_proj"),
        *fused(f"{block}.cross.kv", tuple(f"{layer}.encoder_attn.{part}_proj" for part in "kv")),
        *pairs(f"{block}.cross.out", f"{layer}.encoder_attn.out_proj"),
        *pairs(f"{block}.feedforward.up", f"{layer}.fc1"),
        *pairs(f"{block}.feedforward.down", f"{layer}.fc2"),
        *(
            rule
            for place in ("in", "out")
            for sublayer, norm in (("attention", "self_attn_layer_norm"), ("cross", "encoder_attn_layer_norm"))
            for rule in pairs(f"{block}.norm_{sublayer}_{place}", f"{layer}.{norm}")
        ),
        *(
            rule
            for place in ("in", "out")
            for rule in pairs(f"{block}.norm_feedforward_{place}", f"{layer}.final_layer_norm")
        ),
        *pairs(f"{ours}.final_norm", f"{theirs}.layer_norm"),
    )


CORE = (
    Rule(SHARED, ("shared.weight",), copies=(*TABLES, "lm_head.weight"), tied=True),
    Rule(SHARED, ("shared.weight",), copies=TABLES, tied=False),
    *stack("core", "encoder"),
    *stack("decoder", "decoder"),
    *(replace(rule, outside=True) for rule in pairs("pooler.dense", "classification_head.dense")),
)

VOCABULARY = (
    # Of BART a buffer of zeros, which a file may leave out; here it is trained, as Marian's is.
    Rule("bias", ("final_logits_bias",), layout="row", zeros=True),
    Rule("decoder.weight", ("lm_head.weight",), tied=False),
)

# The first rule of each tells the number of its outputs.
HEADS = {
    "vocabulary": VOCABULARY,
    "classes.pooled": (
        *pairs("dense", "classification_head.out_proj"),
        *pairs("pooler.dense", "classification_head.dense"),
    ),
    "span": pairs("dense", "qa_outputs"),
}


def whole(name: str, value: Any) -> int:
    """A number of layers, heads … of config.json. Raises InputError."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name} {value!r}", expected="a whole number")
    return value


def decoder(theirs: Mapping[str, tuple[str, str, int | None]], start: int) -> Together:
    """The decoder's own keys. theirs: what the decoder's "layers", "heads" and "feedforward" are called, what the
    encoder's are, and what both are where the file says nothing, None = as the encoder has it; start: likewise of
    `decoder_start_token_id`.
    """

    def read(config: Mapping[str, Any]) -> dict[str, Any]:
        values: dict[str, int | None] = {}
        for field, (name, encoder, absent) in theirs.items():
            said = config.get(name, absent)
            value = None if said is None and absent is None else whole(name, said)
            values[field] = None if value == config.get(encoder, absent) else value
        said, blank = config.get("decoder_start_token_id"), config.get(BLANK, False)
        if not isinstance(blank, bool):
            raise InputError(f"{BLANK} {blank!r}", expected="true or false")
        first = start if said is None else whole("decoder_start_token_id", said)
        return {"decoder": Decoder(start=first, blank=blank, **values)}

    def write(config: ModelConfig) -> dict[str, Any]:
        if config.decoder is None:
            return {}
        own = {name: getattr(config.decoding, field) for field, (name, _, _) in theirs.items()}
        blank = {BLANK: True} if config.decoder.blank else {}
        return {**own, "decoder_start_token_id": config.decoder.start, **blank}

    names = tuple(name for name, _, _ in theirs.values())
    return Together((*names, "decoder_start_token_id", BLANK), ("decoder",), read, write)


def fairseq_keys(layers: int, heads: int, feedforward: int, width: int, vocabulary: int) -> tuple[Key, ...]:
    """The settings that BART and its relatives call alike, with what their class assumes."""
    return (
        Key("vocab_size", "vocabulary", vocabulary),
        Key("d_model", "width", width),
        Key("encoder_layers", "layers", layers),
        Key("encoder_attention_heads", "heads", heads),
        Key("encoder_ffn_dim", "feedforward", feedforward),
        Key("max_position_embeddings", "position.maximum", 1024),
        Key("dropout", "dropout", 0.1),
        Key("attention_dropout", "attention_dropout", 0.0),
        Key("init_std", "init_std", 0.02),
        Key("scale_embedding", "scaled_words", False),
        Key("activation_function", "activation", "gelu", words=bert.ACTIVATIONS),
    )


def fairseq_decoder(layers: int, heads: int, feedforward: int, start: int) -> Together:
    """The decoder's keys of BART and its relatives."""
    return decoder(
        {
            "layers": ("decoder_layers", "encoder_layers", layers),
            "heads": ("decoder_attention_heads", "encoder_attention_heads", heads),
            "feedforward": ("decoder_ffn_dim", "encoder_ffn_dim", feedforward),
        },
        start,
    )


ONLY = (
    Only("is_encoder_decoder", (True, None)),
    Only("is_decoder", (False, None)),
    Only("add_cross_attention", (False, None)),
    # Untied, transformers 5 reads three tables of words: the encoder's, the decoder's and the output's.
    Only("tie_word_embeddings", (True,)),
    Only("pruned_heads", ({}, None)),
    Only("quantization_config", (None,)),
    Only("auto_map", ({}, None)),  # code from a checkpoint is never run
)

DROPOUTS = {"classes.pooled": ("classifier_dropout", 0.0)}


def starts_with(*roles: int | None) -> dict[str, Any]:
    """What a tokenizer decides: the decoder's first token, the first of these that there is. Raises InputError."""
    for token in roles:
        if token is not None:
            return {"decoder.start": token}
    raise InputError("the tokenizer has no token for a decoder to start with", expected="</s>, [SEP] or [PAD]")


def starts_with_end(tokenizer: Tokenizer) -> dict[str, Any]:
    """The decoder's first token is the one that ends a text (BART: </s>)."""
    return starts_with(tokenizer.eos, tokenizer.sep)


def starts_with_padding(tokenizer: Tokenizer) -> dict[str, Any]:
    """The decoder's first token is the padding (T5)."""
    return starts_with(tokenizer.pad, tokenizer.eos, tokenizer.sep)


def starts_blank(tokenizer: Tokenizer) -> dict[str, Any]:
    """The decoder's first token is a row of its own, behind all pieces (Marian)."""
    own = {"decoder.start": tokenizer.vocabulary, "decoder.blank": True}
    return {"vocabulary": tokenizer.vocabulary + 1, **own}
