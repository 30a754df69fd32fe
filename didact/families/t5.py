"""T5 (Raffel et al., 2020): text to text; pre-norm without biases, distances in buckets, no division of attention's
logits. Also its version 1.1 (gated feed-forward layers, an output matrix of its own) and mT5 (Xue et al., 2021).

The three are told apart by `feed_forward_proj`, `tie_word_embeddings` and `scale_decoder_outputs`. transformers 5
calls every T5 tied, and unties those whose file holds two different matrices: so it is read here. One number is the
dropout of hidden states and of attention there; here attention's is said apart where it differs. Weights begin as
everywhere here (normal, one standard deviation), not by each matrix' width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from didact.config import Decoder, ModelConfig, Norms, Output, Position, Summary
from didact.errors import InputError
from didact.exchange.keys import Key, Keys, Only, Together
from didact.exchange.rules import Names, Rule, pairs
from didact.families import sides
from didact.families.base import Architecture, Family
from didact.families.bert import ACTIVATIONS
from didact.objectives import Objective, SpanCorruption
from didact.tokenization.tokenizer import Tokenizer


def _stack(ours: str, theirs: str, last: int) -> tuple[Rule, ...]:
    """A stack's rules. last: the number of the feed-forward sublayer."""
    block, layer = f"{ours}.blocks.{{i}}", f"{theirs}.block.{{i}}.layer"
    look, feed = f"{layer}.0.SelfAttention", f"{layer}.{last}.DenseReluDense"

    def one(ours: str, *theirs: str, gated: bool | None = None) -> Rule:
        return Rule(f"{ours}.weight", tuple(f"{name}.weight" for name in theirs), gated=gated)

    return (
        one(f"{ours}.embedding.position", f"{theirs}.block.0.layer.0.SelfAttention.relative_attention_bias"),
        one(f"{block}.attention.qkv", *(f"{look}.{part}" for part in "qkv")),
        one(f"{block}.attention.out", f"{look}.o"),
        one(f"{block}.norm_attention_in", f"{layer}.0.layer_norm"),
        one(f"{block}.cross.q", f"{layer}.1.EncDecAttention.q"),
        one(f"{block}.cross.kv", *(f"{layer}.1.EncDecAttention.{part}" for part in "kv")),
        one(f"{block}.cross.out", f"{layer}.1.EncDecAttention.o"),
        one(f"{block}.norm_cross_in", f"{layer}.1.layer_norm"),
        one(f"{block}.feedforward.up", f"{feed}.wi", gated=False),
        one(f"{block}.feedforward.up", f"{feed}.wi_0", f"{feed}.wi_1", gated=True),
        one(f"{block}.feedforward.down", f"{feed}.wo"),
        one(f"{block}.norm_feedforward_in", f"{layer}.{last}.layer_norm"),
        one(f"{ours}.final_norm", f"{theirs}.final_layer_norm"),
    )


POOLER = pairs("pooler.dense", "classification_head.dense")

CORE = (
    *sides.CORE[:2],  # the words
    *_stack("core", "encoder", 1),
    *_stack("decoder", "decoder", 2),
    *(replace(rule, outside=True) for rule in POOLER),
)

HEADS = {
    "vocabulary": (Rule("decoder.weight", ("lm_head.weight",), tied=False),),
    "classes.pooled": (*pairs("dense", "classification_head.out_proj"), *POOLER),
    "classes.rows": pairs("dense", "classifier"),
    "span": pairs("dense", "qa_outputs"),
}

NAMES = Names(
    core=CORE,
    prefix="transformer.",
    heads=HEADS,
    derived=(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",),  # of old files, unread
)


def _architectures(name: str) -> tuple[Architecture, ...]:
    """The classes of transformers, of which two keep the rest of their tensors apart."""
    return (
        Architecture(f"{name}ForConditionalGeneration", ("vocabulary",), prefixed=False),
        Architecture(f"{name}ForSequenceClassification", ("classes.pooled",)),
        Architecture(f"{name}ForTokenClassification", ("classes.rows",)),
        Architecture(f"{name}ForQuestionAnswering", ("span",), prefixed=False),
        Architecture(f"{name}Model"),
    )


def _read_feedforward(config: Mapping[str, Any]) -> dict[str, Any]:
    said = config.get("feed_forward_proj", "relu")
    first, _, last = str(said).rpartition("-")
    known = dict(ACTIVATIONS)
    if first not in ("", "gated") or last not in known:
        raise InputError(f"feed_forward_proj {said!r}", expected=f"gated- or nothing, and one of {', '.join(known)}")
    return {"gated": bool(first), "activation": "gelu_tanh" if said == "gated-gelu" else known[last]}


def _write_feedforward(config: ModelConfig) -> dict[str, Any]:
    word = next(theirs for theirs, ours in ACTIVATIONS if ours == config.activation)
    said = f"gated-{'gelu' if word == 'gelu_new' else word}" if config.gated else word
    return {"feed_forward_proj": said, "is_gated_act": config.gated, "dense_act_fn": word}


def _read_dropouts(config: Mapping[str, Any]) -> dict[str, float]:
    hidden = config.get("dropout_rate", 0.1)
    values = {"dropout": hidden, "attention_dropout": config.get("attention_dropout", hidden)}
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"{name} {value!r}", expected="a share, from 0 to 1")
    return {name: float(value) for name, value in values.items()}


def _write_dropouts(config: ModelConfig) -> dict[str, float]:
    own = {} if config.attention_dropout == config.dropout else {"attention_dropout": config.attention_dropout}
    return {"dropout_rate": config.dropout, **own}


def _read_scale(config: Mapping[str, Any]) -> dict[str, bool]:
    said = config.get("scale_decoder_outputs", config.get("tie_word_embeddings", True))
    if not isinstance(said, bool):
        raise InputError(f"scale_decoder_outputs {said!r}", expected="true or false")
    return {"output.scaled": said}


SCALE = Together(
    ("scale_decoder_outputs",),
    ("output.scaled",),
    _read_scale,
    lambda config: {"scale_decoder_outputs": config.output.scaled},
)

KEYS = Keys(
    keys=(
        Key("vocab_size", "vocabulary", 32128),
        Key("d_model", "width", 512),
        Key("d_kv", "head_width", 64),
        Key("d_ff", "feedforward", 2048),
        Key("num_layers", "layers", 6),
        Key("num_heads", "heads", 8),
        Key("relative_attention_num_buckets", "position.buckets", 32),
        Key("relative_attention_max_distance", "position.distance", 128),
        Key("layer_norm_epsilon", "norms.eps", 1e-6),
        Key("tie_word_embeddings", "tied", True),
    ),
    only=(
        *(only for only in sides.ONLY if only.theirs not in ("tie_word_embeddings", "add_cross_attention")),
        Only("add_cross_attention", (False, None)),
    ),
    written=(
        ("is_encoder_decoder", True),
        ("initializer_factor", 1.0),
        ("classifier_dropout", 0.0),
        ("use_cache", True),
        ("pad_token_id", None),
        ("eos_token_id", None),
    ),
    together=(
        sides.decoder({"layers": ("num_decoder_layers", "num_layers", None)}, 0),
        Together(
            ("feed_forward_proj", "is_gated_act", "dense_act_fn"),
            ("gated", "activation"),
            _read_feedforward,
            _write_feedforward,
        ),
        Together(
            ("dropout_rate", "attention_dropout"), ("dropout", "attention_dropout"), _read_dropouts, _write_dropouts
        ),
        SCALE,
    ),
)


def recipe(tokenizer: Tokenizer) -> Objective:
    """15 % of the tokens in spans of 3, each of which a sentinel stands for (§3.3.4)."""
    start, end = (known(tokenizer)["decoder.start"] for known in (sides.starts_with_padding, sides.starts_with_end))
    return SpanCorruption(tokenizer.sentinels, start, end)


T5 = Family(
    name="t5",
    base=ModelConfig(
        vocabulary=32128,
        width=512,
        layers=6,
        heads=8,
        head_width=64,
        feedforward=2048,
        segments=0,
        position=Position("bucketed", maximum=None),
        norms=Norms(None, "rms", None, "rms", None, "rms", eps=1e-6),
        activation="relu",
        biases=False,
        pooler=False,
        summary=Summary(dropout=True),
        output=Output(transform=False, bias=False, scaled=True),
        decoder=Decoder(start=0),
        scaled_attention=False,
    ),
    keys=KEYS,
    names=NAMES,
    architectures=_architectures("T5"),
    tokenizer="unigram",
    recipe=recipe,
    sources=("Raffel et al., 2020, arXiv:1910.10683", "Shazeer, 2020, arXiv:2002.05202 (v1.1)"),
    fitted=sides.starts_with_padding,
    tied_by_tensors=True,
    dropouts=dict.fromkeys(("classes.pooled", "classes.rows"), ("classifier_dropout", 0.0)),
    encoder=("classes.rows",),  # T5ForTokenClassification
)

MT5_SIZES = {"vocab_size": 250112, "d_ff": 1024, "num_layers": 8, "num_heads": 6}

MT5 = replace(
    T5,
    name="mt5",
    base=replace(
        T5.base,
        vocabulary=250112,
        layers=8,
        heads=6,
        feedforward=1024,
        activation="gelu_tanh",
        gated=True,
        tied=False,
        output=Output(transform=False, bias=False),
    ),
    keys=replace(
        KEYS,
        keys=tuple(replace(key, default=MT5_SIZES.get(key.theirs, key.default)) for key in KEYS.keys),
        # Its class never scales what the output matrix reads.
        together=tuple(some for some in KEYS.together if some is not SCALE),
    ),
    architectures=_architectures("MT5"),
    sources=("Xue et al., 2021, arXiv:2010.11934",),
)
