"""GPT (Radford et al., 2018): GPT-2's predecessor, post-norm like BERT but without a norm of the embeddings."""

from __future__ import annotations

from dataclasses import replace

from didact.config import POST_NORM, Position
from didact.exchange.keys import Key, Keys, Together
from didact.exchange.rules import Names, Rule, pairs
from didact.families import gpt2
from didact.families.base import Architecture, Asked, Family
from didact.objectives import Causal, Objective
from didact.tokenization.tokenizer import Tokenizer

_BLOCK, _LAYER = "core.blocks.{i}", "h.{i}"

CORE = (
    Rule("core.embedding.word.weight", ("tokens_embed.weight",), copies=("lm_head.weight",), tied=True),
    Rule("core.embedding.word.weight", ("tokens_embed.weight",), tied=False),
    Rule("core.embedding.position.weight", ("positions_embed.weight",)),
    *gpt2.BLOCK,
    *pairs(f"{_BLOCK}.norm_attention_out", f"{_LAYER}.ln_1"),
    *pairs(f"{_BLOCK}.norm_feedforward_out", f"{_LAYER}.ln_2"),
)

HEADS = {slot: gpt2.HEADS[slot] for slot in ("vocabulary", "classes.pooled", "choice")}

KEYS = Keys(
    keys=(
        Key("vocab_size", "vocabulary", 40478),
        Key("n_positions", "position.maximum", 512),
        *gpt2.SIZES,
        # Its "gelu" is the approximation (openai/finetune-transformer-lm, train.py `gelu`).
        Key(
            "afn",
            "activation",
            "gelu",
            words=(("gelu", "gelu_tanh"), ("relu", "relu"), ("silu", "silu"), ("swish", "silu")),
        ),
    ),
    only=gpt2.ONLY,
    written=gpt2.KEYS.written,
    together=(
        gpt2.DROPOUT,
        # No key says how wide the feed-forward layers are.
        Together((), ("feedforward",), lambda config: {"feedforward": 4 * config.get("n_embd", 768)}, lambda _: {}),
    ),
)


def recipe(tokenizer: Tokenizer) -> Objective:  # noqa: ARG001
    """The next token (§3.1)."""
    return Causal()


OPENAI_GPT = Family(
    name="openai-gpt",
    base=replace(
        gpt2.GPT2.base,
        vocabulary=40478,
        position=Position(maximum=512),
        norms=replace(POST_NORM, embedding=None, eps=1e-5),
    ),
    keys=KEYS,
    names=Names(core=CORE, prefix="transformer.", heads=HEADS, derived=(r"h\.\d+\.attn\.bias", "position_ids")),
    architectures=(
        Architecture("OpenAIGPTDoubleHeadsModel", ("vocabulary", "choice")),
        Architecture("OpenAIGPTLMHeadModel", ("vocabulary",)),
        Architecture("OpenAIGPTForSequenceClassification", ("classes.pooled",)),
        Architecture("OpenAIGPTModel"),
    ),
    tokenizer="bpe",
    asked=Asked("last"),
    dropouts={"choice": ("summary_first_dropout", 0.1)},
    recipe=recipe,
    sources=(
        "Radford et al., 2018, Improving Language Understanding by Generative Pre-Training",
        "github.com/openai/finetune-transformer-lm",
    ),
)
