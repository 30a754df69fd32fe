"""The Transformer (Vaswani et al., 2017): an encoder and a decoder, post-norm, sines for positions, one table of words
for both sides and the output. Its checkpoints are Marian's (Junczys-Dowmunt et al., 2018), which is the same model.

The norms' eps is 1e-5 (Marian's class knows no other; tensor2tensor has 1e-6), and the output has a bias, as Marian's.
A fresh model's decoder begins with a row of zeros behind the tokenizer's pieces, as Marian's does: CTranslate2 cuts the
last row off, and starts from zeros.
"""

from __future__ import annotations

from didact.config import Decoder, ModelConfig, Norms, Output, Position
from didact.exchange.keys import Keys, Only
from didact.exchange.rules import Names
from didact.families import sides
from didact.families.base import Architecture, Family
from didact.objectives import Forced, Objective
from didact.tokenization.tokenizer import Tokenizer

KEYS = Keys(
    keys=sides.fairseq_keys(12, 16, 4096, 1024, 58101),
    only=(
        *sides.ONLY,
        Only("share_encoder_decoder_embeddings", (True,)),
        Only("normalize_before", (False, None)),
        Only("normalize_embedding", (False, None)),
        Only("static_position_embeddings", (True, None)),
        Only("add_final_layer_norm", (False, None)),
    ),
    written=(
        ("is_encoder_decoder", True),
        ("tie_word_embeddings", True),
        ("share_encoder_decoder_embeddings", True),
        ("normalize_before", False),
        ("normalize_embedding", False),
        ("static_position_embeddings", True),
        ("add_final_layer_norm", False),
        ("add_bias_logits", False),
        ("extra_pos_embeddings", 0),
        ("encoder_layerdrop", 0.0),
        ("decoder_layerdrop", 0.0),
        ("activation_dropout", 0.0),
        ("use_cache", True),
        ("pad_token_id", None),
        ("bos_token_id", None),
        ("eos_token_id", None),
        ("forced_eos_token_id", None),
    ),
    together=(sides.fairseq_decoder(12, 16, 4096, 58100),),
    repeats=(("decoder_vocab_size", "vocabulary"),),
)


def recipe(tokenizer: Tokenizer) -> Objective:
    """The target, by teacher forcing (§5)."""
    return Forced(tokenizer.vocabulary)


TRANSFORMER = Family(
    name="transformer",
    model_type="marian",
    base=ModelConfig(
        vocabulary=37000,
        width=512,
        layers=6,
        heads=8,
        feedforward=2048,
        segments=0,
        position=Position("sinusoidal", maximum=512, halves=True),
        norms=Norms(embedding=None, eps=1e-5),
        activation="relu",
        pooler=False,
        output=Output(transform=False),
        decoder=Decoder(start=0),
        scaled_words=True,
    ),
    keys=KEYS,
    names=Names(
        core=sides.CORE,
        prefix="model.",
        heads={"vocabulary": sides.VOCABULARY},
        derived=(r"(en|de)coder\.embed_positions\.weight",),  # the sines themselves
    ),
    architectures=(Architecture("MarianMTModel", ("vocabulary",)), Architecture("MarianModel")),
    tokenizer="unigram",
    recipe=recipe,
    sources=("Vaswani et al., 2017, arXiv:1706.03762", "github.com/marian-nmt/marian"),
    fitted=sides.starts_blank,
)
