"""RoBERTa (Liu et al., 2019): BERT without next sentences, with masks drawn anew, one segment and byte-level BPE.

Positions are counted from the row after the padding token's id, as fairseq counts them: 514 rows for 512 positions
where that id is 1. Also its many-language form, XLM-R (Conneau et al., 2020), which differs in its tokenizer alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from didact.config import ModelConfig, Norms, Position, Summary
from didact.exchange.keys import Key, Keys
from didact.exchange.rules import Names, Rule, pairs
from didact.families import bert
from didact.families.base import Architecture, Family
from didact.families.recipes import masked
from didact.objectives import Objective
from didact.tokenization.tokenizer import Tokenizer

# The first rule of each tells the number of its outputs.
HEADS = {
    "vocabulary": (
        Rule("bias", ("lm_head.bias",), copies=("lm_head.decoder.bias",), tied=True),
        # Untied, transformers 5 computes with the decoder's own bias and leaves the other one as it was drawn.
        Rule("bias", ("lm_head.decoder.bias",), dead=("lm_head.bias",), tied=False),
        Rule("decoder.weight", ("lm_head.decoder.weight",), tied=False),
        *pairs("dense", "lm_head.dense"),
        *pairs("norm", "lm_head.layer_norm"),
    ),
    "classes.pooled": (*pairs("dense", "classifier.out_proj"), *pairs("pooler.dense", "classifier.dense")),
    "classes.rows": pairs("dense", "classifier"),
    "choice": pairs("dense", "classifier"),
    "span": pairs("dense", "qa_outputs"),
}

KEYS = Keys(
    keys=(
        Key("pad_token_id", "position.offset", 1, more=-1),
        Key("max_position_embeddings", "position.maximum", 512, more="position.offset"),
        *(key for key in bert.KEYS.keys if key.ours != "position.maximum"),
    ),
    only=bert.ONLY,
    written=(("position_embedding_type", "absolute"), ("use_cache", True)),
)


def recipe(tokenizer: Tokenizer) -> Objective:
    """Masked tokens at 15 %, drawn anew whenever a sequence is shown, and nothing else (§4.1, §4.2)."""
    return masked(tokenizer)


def fitted(tokenizer: Tokenizer) -> Mapping[str, Any]:
    """Positions begin after the padding token's id, whatever that is: so transformers counts them."""
    return {} if tokenizer.pad is None else {"position.offset": tokenizer.pad + 1}


def _architectures(prefix: str) -> tuple[Architecture, ...]:
    return (
        Architecture(f"{prefix}ForMaskedLM", ("vocabulary",)),
        Architecture(f"{prefix}ForSequenceClassification", ("classes.pooled",)),
        Architecture(f"{prefix}ForTokenClassification", ("classes.rows",)),
        Architecture(f"{prefix}ForQuestionAnswering", ("span",)),
        Architecture(f"{prefix}ForMultipleChoice", ("choice",)),
        Architecture(f"{prefix}Model"),
    )


ROBERTA = Family(
    name="roberta",
    base=ModelConfig(
        vocabulary=50265,
        segments=1,
        position=Position(maximum=512, offset=2),
        norms=Norms(eps=1e-5),
        head_activation="gelu",
        pooler=False,
        summary=Summary(dropout=True),
    ),
    keys=KEYS,
    names=Names(
        core=bert.core("lm_head.decoder.weight"),
        prefix="roberta.",
        heads=HEADS,
        derived=bert.DERIVED,
        spellings=bert.OLD_NAMES,
    ),
    architectures=_architectures("Roberta"),
    tokenizer="bpe",
    recipe=recipe,
    sources=("Liu et al., 2019, arXiv:1907.11692", "github.com/facebookresearch/fairseq, examples/roberta"),
    dropouts=dict.fromkeys(("classes.pooled", "classes.rows"), ("classifier_dropout", None)),
    fitted=fitted,
)

XLM_ROBERTA = replace(
    ROBERTA,
    name="xlm-roberta",
    base=replace(ROBERTA.base, vocabulary=250002),
    architectures=_architectures("XLMRoberta"),
    tokenizer="unigram",
    sources=("Conneau et al., 2020, arXiv:1911.02116", "github.com/facebookresearch/fairseq, examples/xlmr"),
)
