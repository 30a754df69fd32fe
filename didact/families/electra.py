"""ELECTRA (Clark et al., 2020): BERT's stack, input vectors narrower than the model, pre-trained to tell which tokens a
small generator has replaced. Also its generators, which are of the same `model_type`.
"""

from __future__ import annotations

from dataclasses import replace

from didact.config import ModelConfig, Summary
from didact.errors import InputError
from didact.exchange.keys import Key, Keys, Only
from didact.exchange.rules import Names, Rule, pairs
from didact.families import bert
from didact.families.base import Architecture, Family
from didact.objectives import Objective, Replaced
from didact.tokenization.tokenizer import Tokenizer

# The first rule of each tells the number of its outputs.
HEADS = {
    "vocabulary": (
        Rule("bias", ("generator_lm_head.bias",)),
        Rule("decoder.weight", ("generator_lm_head.weight",), tied=False),
        *pairs("dense", "generator_predictions.dense"),
        *pairs("norm", "generator_predictions.LayerNorm"),
    ),
    "replaced": (
        *pairs("out", "discriminator_predictions.dense_prediction"),
        *pairs("dense", "discriminator_predictions.dense"),
    ),
    "classes.pooled": (*pairs("dense", "classifier.out_proj"), *pairs("pooler.dense", "classifier.dense")),
    "classes.rows": pairs("dense", "classifier"),
    "choice": (*pairs("dense", "classifier"), *pairs("pooler.dense", "sequence_summary.summary")),
    "span": pairs("dense", "qa_outputs"),
}

_DEFAULTS = {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024}  # where the file says nothing
_SUMMARY = (("summary_type", "first"), ("summary_use_proj", True), ("summary_activation", "gelu"))

KEYS = Keys(
    keys=(
        *(replace(key, default=_DEFAULTS.get(key.theirs, key.default)) for key in bert.KEYS.keys),
        Key("embedding_size", "embedding_width", 128),
    ),
    only=(*bert.ONLY, *(Only(key, (value,)) for key, value in _SUMMARY)),
    written=(*bert.KEYS.written, *_SUMMARY),
)


def recipe(tokenizer: Tokenizer) -> Objective:
    """Replaced tokens: 15 % chosen, a generator of a quarter of the widths, detection weighing 50 (table 6)."""
    if tokenizer.mask is None:
        raise InputError("the tokenizer has no mask token", expected="one with [MASK] or <mask>")
    return Replaced(tokenizer.mask, tokenizer.vocabulary, tokenizer.special_ids)


ELECTRA = Family(
    name="electra",
    base=ModelConfig(  # ELECTRA-Small (table 6); transformers' generators say gelu whatever the stack's activation is
        width=256,
        heads=4,
        feedforward=1024,
        embedding_width=128,
        head_activation="gelu",
        pooler=False,
        summary=Summary(activation="gelu", dropout=True),
    ),
    keys=KEYS,
    names=Names(
        core=(*bert.core("generator_lm_head.weight"), *pairs("core.embedding.project", "embeddings_project")),
        prefix="electra.",
        heads=HEADS,
        derived=bert.DERIVED,
        spellings=bert.OLD_NAMES,
    ),
    architectures=(
        Architecture("ElectraForPreTraining", ("replaced",)),
        Architecture("ElectraForMaskedLM", ("vocabulary",)),
        Architecture("ElectraForSequenceClassification", ("classes.pooled",)),
        Architecture("ElectraForTokenClassification", ("classes.rows",)),
        Architecture("ElectraForQuestionAnswering", ("span",)),
        Architecture("ElectraForMultipleChoice", ("choice",)),
        Architecture("ElectraModel"),
    ),
    tokenizer="wordpiece",
    recipe=recipe,
    sources=("Clark et al., 2020, arXiv:2003.10555", "github.com/google-research/electra"),
    dropouts={
        "classes.pooled": ("classifier_dropout", None),
        "classes.rows": ("classifier_dropout", None),
        "choice": ("summary_last_dropout", 0.1),
    },
)
