"""MASS (Song et al., 2019): an encoder that reads a sentence with a fragment masked, a decoder that writes the
fragment.

Post-norm, learned positions, GELU, a norm on the embeddings, as its code has them (github.com/microsoft/MASS, after
XLM). No class of transformers: `didact` writes and reads the folder, with BART's names for the settings and its own for
the tensors.
"""

from __future__ import annotations

from didact.config import Decoder, ModelConfig, Norms, Output, Position
from didact.exchange.keys import Key, Keys
from didact.exchange.rules import Names
from didact.families import sides
from didact.families.base import Family
from didact.objectives import Forced, Objective
from didact.tokenization.tokenizer import Tokenizer

KEYS = Keys(
    keys=(*sides.fairseq_keys(6, 8, 4096, 1024, 60000), Key("tie_word_embeddings", "tied", True)),
    together=(sides.fairseq_decoder(6, 8, 4096, 2),),
)


def recipe(tokenizer: Tokenizer) -> Objective:
    """The text itself, by teacher forcing; the paper masks half of the encoder's and asks for it (§3.1)."""
    return Forced(sides.starts_with_end(tokenizer)["decoder.start"])


MASS = Family(
    name="mass",
    base=ModelConfig(
        vocabulary=60000,
        width=1024,
        layers=6,
        heads=8,
        feedforward=4096,
        segments=0,
        position=Position(maximum=1024),
        norms=Norms(),
        pooler=False,
        output=Output(transform=False),
        decoder=Decoder(),
    ),
    keys=KEYS,
    names=Names(ours=True),
    architectures=(),
    tokenizer="bpe",
    recipe=recipe,
    sources=("Song et al., 2019, arXiv:1905.02450", "github.com/microsoft/MASS"),
    fitted=sides.starts_with_end,
)
