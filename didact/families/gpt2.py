"""GPT-2 (Radford et al., 2019): each row sees what came before it; pre-norm, learned positions; the next token.

Also every checkpoint of its `model_type`: DistilGPT2, DialoGPT.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from didact.config import PRE_NORM, ModelConfig, Output, Position, Summary
from didact.errors import InputError
from didact.exchange.keys import Key, Keys, Only, Together
from didact.exchange.rules import Names, Rule, pairs
from didact.families.base import Architecture, Asked, Family
from didact.objectives import Causal, Objective
from didact.tokenization.tokenizer import Tokenizer


def conv(ours: str, theirs: str) -> tuple[Rule, ...]:
    """The rules of a Conv1D, whose weight is (in, out)."""
    return Rule(f"{ours}.weight", (f"{theirs}.weight",), layout="transposed"), Rule(f"{ours}.bias", (f"{theirs}.bias",))


_BLOCK, _LAYER = "core.blocks.{i}", "h.{i}"

BLOCK = (
    *conv(f"{_BLOCK}.attention.qkv", f"{_LAYER}.attn.c_attn"),
    *conv(f"{_BLOCK}.attention.out", f"{_LAYER}.attn.c_proj"),
    *conv(f"{_BLOCK}.feedforward.up", f"{_LAYER}.mlp.c_fc"),
    *conv(f"{_BLOCK}.feedforward.down", f"{_LAYER}.mlp.c_proj"),
)

CORE = (
    Rule("core.embedding.word.weight", ("wte.weight",), copies=("lm_head.weight",), tied=True),
    Rule("core.embedding.word.weight", ("wte.weight",), tied=False),
    Rule("core.embedding.position.weight", ("wpe.weight",)),
    *BLOCK,
    *pairs(f"{_BLOCK}.norm_attention_in", f"{_LAYER}.ln_1"),
    *pairs(f"{_BLOCK}.norm_feedforward_in", f"{_LAYER}.ln_2"),
    *pairs("core.final_norm", "ln_f"),
)

HEADS = {
    "vocabulary": (Rule("decoder.weight", ("lm_head.weight",), tied=False),),
    "classes.pooled": (Rule("dense.weight", ("score.weight",)),),
    "classes.rows": pairs("dense", "classifier"),
    "choice": pairs("dense", "multiple_choice_head.summary"),
    "span": pairs("dense", "qa_outputs"),
}


def _inner(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The inner width: 4 times the width where nothing is said."""
    said, width = config.get("n_inner"), config.get("n_embd", 768)
    if said is not None and (isinstance(said, bool) or not isinstance(said, int)):
        raise InputError(f"n_inner {said!r}", expected="a whole number or null")
    return {"feedforward": 4 * width if said is None else said}


def _dropout(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """One dropout of the hidden states: here it has one value for embeddings and sublayers."""
    said = {name: config.get(name, 0.1) for name in ("resid_pdrop", "embd_pdrop")}
    for name, value in said.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"{name} {value!r}", expected="a share")
    if len(set(said.values())) > 1:
        raise InputError(f"resid_pdrop {said['resid_pdrop']} and embd_pdrop {said['embd_pdrop']}", expected="one value")
    return {"dropout": float(said["resid_pdrop"])}


DROPOUT = Together(
    ("resid_pdrop", "embd_pdrop"),
    ("dropout",),
    _dropout,
    lambda config: {"resid_pdrop": config.dropout, "embd_pdrop": config.dropout},
)

ONLY = (  # of how a question's choices are summed up, transformers knows more ways
    Only("summary_type", ("cls_index", "last")),
    Only("summary_use_proj", (True,)),
    Only("summary_proj_to_labels", (True,)),
    Only("summary_activation", (None,)),
    Only("pruned_heads", ({}, None)),
    Only("quantization_config", (None,)),
    Only("auto_map", ({}, None)),  # code from a checkpoint is never run
)

SIZES = (
    Key("n_embd", "width", 768),
    Key("n_layer", "layers", 12),
    Key("n_head", "heads", 12),
    Key("layer_norm_epsilon", "norms.eps", 1e-5),
    Key("attn_pdrop", "attention_dropout", 0.1),
    Key("initializer_range", "init_std", 0.02),
    Key("tie_word_embeddings", "tied", True),
)

KEYS = Keys(
    keys=(
        Key("vocab_size", "vocabulary", 50257),
        Key("n_positions", "position.maximum", 1024),
        *SIZES,
        Key(
            "activation_function",
            "activation",
            "gelu_new",
            words=(
                ("gelu_new", "gelu_tanh"),
                ("gelu_pytorch_tanh", "gelu_tanh"),
                ("gelu", "gelu"),
                ("relu", "relu"),
                ("silu", "silu"),
                ("swish", "silu"),
                ("tanh", "tanh"),
            ),
        ),
    ),
    only=(
        # The first two change every logit, each layer's by another factor; the third, how it is rounded, which is free.
        Only("scale_attn_weights", (True,)),
        Only("scale_attn_by_inverse_layer_idx", (False,)),
        Only("add_cross_attention", (False,)),
        *ONLY,
    ),
    written=(("bos_token_id", None), ("eos_token_id", None), ("pad_token_id", None)),
    together=(DROPOUT, Together(("n_inner",), ("feedforward",), _inner, lambda c: {"n_inner": c.feedforward})),
)


def recipe(tokenizer: Tokenizer) -> Objective:  # noqa: ARG001
    """The next token (§2)."""
    return Causal()


GPT2 = Family(
    name="gpt2",
    base=ModelConfig(
        vocabulary=50257,
        segments=0,
        position=Position(maximum=1024),
        norms=PRE_NORM,
        activation="gelu_tanh",
        pooler=False,
        summary=Summary(dense=False, class_bias=False),
        output=Output(transform=False, bias=False),
        visibility="causal",
    ),
    keys=KEYS,
    names=Names(
        core=CORE,
        prefix="transformer.",
        heads=HEADS,
        derived=(r"h\.\d+\.attn\.(bias|masked_bias)",),  # the triangle itself, in old files
    ),
    architectures=(
        Architecture("GPT2DoubleHeadsModel", ("vocabulary", "choice")),
        Architecture("GPT2LMHeadModel", ("vocabulary",)),
        Architecture("GPT2ForSequenceClassification", ("classes.pooled",)),
        Architecture("GPT2ForTokenClassification", ("classes.rows",)),
        Architecture("GPT2ForQuestionAnswering", ("span",)),
        Architecture("GPT2Model"),
    ),
    tokenizer="gpt2",
    asked=Asked("last"),
    dropouts={"classes.rows": ("classifier_dropout", None), "choice": ("summary_first_dropout", 0.1)},
    recipe=recipe,
    sources=("Radford et al., 2019, Language Models are Unsupervised Multitask Learners", "github.com/openai/gpt-2"),
)
