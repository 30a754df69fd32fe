"""ModernBERT (Warner et al., 2024): rotary positions, two layers of three look nearby, pre-norm, GeGLU, no biases.

Masked words at 30 %, no next sentence (§2.2); windows of 64 tokens on either side, every third layer sees all (§2.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from didact.config import ModelConfig, Norms, Output, Position, Summary
from didact.errors import InputError
from didact.exchange.keys import Key, Keys, Only, Together
from didact.exchange.rules import Names, Rule, pairs
from didact.families.base import Architecture, Asked, Family
from didact.objectives import Masked, Objective
from didact.tokenization.tokenizer import Tokenizer

_BLOCK, _LAYER = "core.blocks.{i}", "layers.{i}"
Windows = tuple[int | None, ...]

CORE = (
    Rule("core.embedding.word.weight", ("embeddings.tok_embeddings.weight",), copies=("decoder.weight",), tied=True),
    Rule("core.embedding.word.weight", ("embeddings.tok_embeddings.weight",), tied=False),
    *pairs("core.embedding.norm", "embeddings.norm"),
    *pairs(f"{_BLOCK}.norm_attention_in", f"{_LAYER}.attn_norm"),
    *pairs(f"{_BLOCK}.attention.qkv", f"{_LAYER}.attn.Wqkv"),
    *pairs(f"{_BLOCK}.attention.out", f"{_LAYER}.attn.Wo"),
    *pairs(f"{_BLOCK}.norm_feedforward_in", f"{_LAYER}.mlp_norm"),
    *pairs(f"{_BLOCK}.feedforward.up", f"{_LAYER}.mlp.Wi"),
    *pairs(f"{_BLOCK}.feedforward.down", f"{_LAYER}.mlp.Wo"),
    *pairs("core.final_norm", "final_norm"),
    # Beside a vocabulary head, which has the names of transformers' `head`, a pooler has its own.
    *(Rule(f"pooler.{p}", (f"pooler.{p}",), outside=True) for p in ("dense.weight", "dense.bias", "norm.weight")),
    Rule("pooler.norm.bias", ("pooler.norm.bias",), outside=True),
)

_POOLER = (*pairs("pooler.dense", "head.dense"), *pairs("pooler.norm", "head.norm"))
_CLASSIFIER = (*pairs("dense", "classifier"), *_POOLER)

# The first rule of each tells the number of its outputs.
HEADS = {
    "vocabulary": (
        Rule("bias", ("decoder.bias",)),
        Rule("decoder.weight", ("decoder.weight",), tied=False),
        *pairs("dense", "head.dense"),
        *pairs("norm", "head.norm"),
    ),
    "classes.pooled": _CLASSIFIER,
    "classes.rows": _CLASSIFIER,
    "choice": _CLASSIFIER,
    "span": _CLASSIFIER,
}

LOCAL, GLOBAL = "sliding_attention", "full_attention"
WORDS: dict[str, Any] = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh", "relu": "relu"}
WORDS |= {"silu": "silu", "swish": "silu", "tanh": "tanh"}


def _read_windows(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A list of every layer's kind, or "all is seen in every n-th layer"; `local_attention` is both sides together,
    and both its ends are seen: rows at most half of it away (transformers, masking_utils.py).
    """
    window, every = config.get("local_attention", 128), config.get("global_attn_every_n_layers", 3)
    kinds, layers = config.get("layer_types"), config.get("num_hidden_layers", 22)
    for name, value in (("local_attention", window), ("global_attn_every_n_layers", every)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name} {value!r}", expected="a whole number above 0")
    side = window // 2
    if kinds is None:
        return {"windows": (None, *(side,) * (every - 1)) if every > 1 else None}
    if not isinstance(kinds, list) or len(kinds) != layers or not set(kinds) <= {LOCAL, GLOBAL}:
        raise InputError(f"layer_types {kinds!r}", expected=f"{LOCAL} or {GLOBAL} for each of {layers} layers")
    found = [side if kind == LOCAL else None for kind in kinds]
    pattern = next(found[:p] for p in range(1, layers + 1) if all(w == found[i % p] for i, w in enumerate(found)))
    return {"windows": None if pattern == [None] else tuple(pattern)}


def _write_windows(config: ModelConfig) -> Mapping[str, Any]:
    pattern: Windows = config.windows or (None,)
    side = max((w for w in pattern if w is not None), default=64)
    out: dict[str, Any] = {"local_attention": 2 * side}
    if pattern == (None, *(side,) * (len(pattern) - 1)):  # older readers know this form alone
        return out | {"global_attn_every_n_layers": len(pattern)}
    return out | {"layer_types": [GLOBAL if w is None else LOCAL for w in config.window_of]}


def _read_thetas(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """One base of the angles for layers that see all, one for local layers."""
    if config.get("rope_scaling") is not None:
        raise InputError(f"rope_scaling {config['rope_scaling']!r} is not supported", expected="null")
    parameters = config.get("rope_parameters") or {}
    found = []
    for kind, name, default in ((GLOBAL, "global_rope_theta", 160000.0), (LOCAL, "local_rope_theta", 10000.0)):
        own = parameters.get(kind) or {}
        if own.get("rope_type", "default") != "default":
            raise InputError(f"rope_type {own['rope_type']!r} is not supported", expected="default")
        theta = own.get("rope_theta", config.get(name, default))
        if theta is None and kind == LOCAL:  # transformers 4: as in the layers that see all
            theta = found[0]
        if isinstance(theta, bool) or not isinstance(theta, int | float):
            raise InputError(f"{name} {theta!r}", expected="a number")
        found.append(float(theta))
    return dict(zip(("position.theta", "position.local_theta"), found, strict=True))


def _write_thetas(config: ModelConfig) -> Mapping[str, Any]:
    theta, local = config.position.theta, config.position.local_theta
    return {"global_rope_theta": theta, "local_rope_theta": theta if local is None else local}


def _read_head(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """`head` stands before the vocabulary and before classes: one dense layer, activation and norm for both."""
    word, bias = config.get("classifier_activation", "gelu"), config.get("classifier_bias", False)
    if not isinstance(word, str) or word not in WORDS:
        raise InputError(f"classifier_activation {word!r}", expected=f"one of {', '.join(WORDS)}")
    if not isinstance(bias, bool):
        raise InputError(f"classifier_bias {bias!r}", expected="true or false")
    return {
        "head_activation": WORDS[word],
        "summary.activation": WORDS[word],
        "output.dense_bias": bias,
        "summary.biases": bias,
    }


def _write_head(config: ModelConfig) -> Mapping[str, Any]:
    word = next(word for word, meaning in WORDS.items() if meaning == config.summary.activation)
    return {"classifier_activation": word, "classifier_bias": config.summary.biases}


KEYS = Keys(
    keys=(
        Key("vocab_size", "vocabulary", 50368),
        Key("hidden_size", "width", 768),
        Key("num_hidden_layers", "layers", 22),
        Key("num_attention_heads", "heads", 12),
        Key("intermediate_size", "feedforward", 1152),
        Key("max_position_embeddings", "position.maximum", 8192),
        Key("norm_eps", "norms.eps", 1e-5),
        Key("norm_bias", "norms.bias", False),
        Key("initializer_range", "init_std", 0.02),
        Key("tie_word_embeddings", "tied", True),
        Key("hidden_activation", "activation", "gelu", words=tuple(WORDS.items())),
        # Theirs drop out at other places than ours: their keys are for values of 0, and ours are our own.
        Key("hidden_dropout_prob", "dropout", 0.0, ours_alone=True),
        Key("attention_probs_dropout_prob", "attention_dropout", 0.0, ours_alone=True),
    ),
    only=(
        Only("attention_bias", (False,)),
        Only("mlp_bias", (False,)),
        Only("decoder_bias", (True,)),
        Only("embedding_dropout", (0.0, 0)),
        Only("attention_dropout", (0.0, 0)),
        Only("mlp_dropout", (0.0, 0)),
        Only("pruned_heads", ({}, None)),
        Only("quantization_config", (None,)),
        Only("auto_map", ({}, None)),  # code from a checkpoint is never run
    ),
    written=tuple((f"{role}_token_id", None) for role in ("pad", "bos", "eos", "cls", "sep")),
    together=(
        Together(
            ("local_attention", "global_attn_every_n_layers", "layer_types"),
            ("windows",),
            _read_windows,
            _write_windows,
        ),
        Together(
            ("global_rope_theta", "local_rope_theta", "rope_parameters", "rope_scaling"),
            ("position.theta", "position.local_theta"),
            _read_thetas,
            _write_thetas,
        ),
        Together(
            ("classifier_activation", "classifier_bias"),
            ("head_activation", "summary.activation", "output.dense_bias", "summary.biases"),
            _read_head,
            _write_head,
        ),
    ),
)


def recipe(tokenizer: Tokenizer) -> Objective:
    """Masked words at 30 % (§2.2); the shares of [MASK], random and kept are BERT's."""
    if tokenizer.mask is None:
        raise InputError("the tokenizer has no mask token", expected="one with [MASK]")
    return Masked(tokenizer.mask, tokenizer.vocabulary, tokenizer.special_ids, rate=0.3)


MODERNBERT = Family(
    name="modernbert",
    base=ModelConfig(
        vocabulary=50368,
        layers=22,
        feedforward=1152,
        segments=0,
        position=Position("rotary", 8192, theta=160000.0, local_theta=10000.0),
        norms=Norms("layer", "layer", None, "layer", None, "layer", eps=1e-5, bias=False, first=False),
        head_activation="gelu",
        gated=True,
        biases=False,
        windows=(None, 64, 64),
        pooler=False,
        summary=Summary(activation="gelu", biases=False, norm=True, rows=True),
        output=Output(dense_bias=False),
    ),
    keys=KEYS,
    names=Names(core=CORE, prefix="model.", heads=HEADS),
    architectures=(
        Architecture("ModernBertForMaskedLM", ("vocabulary",)),
        Architecture("ModernBertForSequenceClassification", ("classes.pooled",)),
        Architecture("ModernBertForTokenClassification", ("classes.rows",)),
        Architecture("ModernBertForQuestionAnswering", ("span",)),
        Architecture("ModernBertForMultipleChoice", ("choice",)),
        Architecture("ModernBertModel"),
    ),
    tokenizer="bpe",
    asked=Asked(key="classifier_pooling", words={"cls": "cls", "mean": "mean"}),
    dropouts=dict.fromkeys(("classes.pooled", "classes.rows", "choice", "span"), ("classifier_dropout", 0.0)),
    recipe=recipe,
    sources=("Warner et al., 2024, arXiv:2412.13663", "github.com/AnswerDotAI/ModernBERT"),
)
