"""mBART (Liu et al., 2020): BART in many languages, each text beside a token of its language; pre-norm, a norm after
each stack, words scaled by the root of the width.

What a decoder's first row reads is the language to be written: `decoder_start_token_id` stands for the usual one.
"""

from __future__ import annotations

from dataclasses import replace

from didact.config import Norms
from didact.exchange.keys import Key, Keys, Only
from didact.exchange.rules import Names
from didact.families import sides
from didact.families.bart import BART
from didact.families.base import Architecture, Family

KEYS = Keys(
    keys=(
        *(key for key in sides.fairseq_keys(12, 16, 4096, 1024, 50265) if key.ours != "scaled_words"),
        Key("scale_embedding", "scaled_words", False),
    ),
    only=(
        *sides.ONLY,
        Only("normalize_before", (True, None)),
        Only("normalize_embedding", (True, None)),
        Only("static_position_embeddings", (False, None)),
        Only("add_final_layer_norm", (True, None)),
    ),
    written=tuple(
        (name, True if name in ("normalize_before", "add_final_layer_norm") else value)
        for name, value in BART.keys.written
    ),
    together=(sides.fairseq_decoder(12, 16, 4096, 2),),
)

MBART = Family(
    name="mbart",
    base=replace(
        BART.base,
        vocabulary=250027,
        norms=Norms("layer", "layer", None, "layer", None, "layer", eps=1e-5),
        scaled_words=True,
    ),
    keys=KEYS,
    names=Names(core=sides.CORE, prefix="model.", heads=sides.HEADS, derived=BART.names.derived),
    architectures=(
        Architecture("MBartForConditionalGeneration", ("vocabulary",)),
        Architecture("MBartForSequenceClassification", ("classes.pooled",)),
        Architecture("MBartForQuestionAnswering", ("span",)),
        Architecture("MBartModel"),
    ),
    tokenizer="unigram",
    recipe=BART.recipe,
    sources=("Liu et al., 2020, arXiv:2001.08210", "github.com/facebookresearch/fairseq, examples/mbart"),
    dropouts=sides.DROPOUTS,
    fitted=sides.starts_with_end,
)
