"""BART (Lewis et al., 2020): a bidirectional encoder and a decoder that writes the whole text anew; post-norm, learned
positions for each side, one table of words.

Positions are counted from row 2 of their tables, as fairseq counted them. Sequences are classified, and answers found,
by what the decoder makes of the text, which both sides then read: the labels' side is "outputs".
"""

from __future__ import annotations

from didact.config import Decoder, ModelConfig, Norms, Output, Position, Summary
from didact.exchange.keys import Keys, Only
from didact.exchange.rules import Names
from didact.families import sides
from didact.families.base import Architecture, Family
from didact.objectives import Forced, Objective
from didact.tokenization.tokenizer import Tokenizer

KEYS = Keys(
    keys=sides.fairseq_keys(12, 16, 4096, 1024, 50265),
    only=(
        *sides.ONLY,
        Only("normalize_before", (False, None)),
        Only("normalize_embedding", (True, None)),
        Only("static_position_embeddings", (False, None)),
        Only("add_final_layer_norm", (False, None)),
    ),
    written=(
        ("is_encoder_decoder", True),
        ("tie_word_embeddings", True),
        ("normalize_before", False),
        ("normalize_embedding", True),
        ("static_position_embeddings", False),
        ("add_final_layer_norm", False),
        ("add_bias_logits", False),
        ("encoder_layerdrop", 0.0),
        ("decoder_layerdrop", 0.0),
        ("activation_dropout", 0.0),
        ("classifier_dropout", 0.0),
        ("use_cache", True),
        ("pad_token_id", None),
        ("bos_token_id", None),
        ("eos_token_id", None),
        ("forced_eos_token_id", None),
    ),
    together=(sides.fairseq_decoder(12, 16, 4096, 2),),
)


def recipe(tokenizer: Tokenizer) -> Objective:
    """The text itself, by teacher forcing; the paper breaks the encoder's: 30 % infilled, sentences permuted (§2.2)."""
    return Forced(sides.starts_with_end(tokenizer)["decoder.start"])


BART = Family(
    name="bart",
    base=ModelConfig(
        vocabulary=50265,
        width=1024,
        layers=12,
        heads=16,
        feedforward=4096,
        segments=0,
        position=Position(maximum=1024, offset=2),
        norms=Norms(eps=1e-5),
        pooler=False,
        summary=Summary(dropout=True),
        output=Output(transform=False),
        decoder=Decoder(),
    ),
    keys=KEYS,
    names=Names(core=sides.CORE, prefix="model.", heads=sides.HEADS, derived=(r"(en|de)coder\.version",)),
    architectures=(
        Architecture("BartForConditionalGeneration", ("vocabulary",)),
        Architecture("BartForSequenceClassification", ("classes.pooled",)),
        Architecture("BartForQuestionAnswering", ("span",)),
        Architecture("BartModel"),
    ),
    tokenizer="bpe",
    recipe=recipe,
    sources=("Lewis et al., 2020, arXiv:1910.13461", "github.com/facebookresearch/fairseq, examples/bart"),
    dropouts=sides.DROPOUTS,
    fitted=sides.starts_with_end,
)
