"""ELMo (Peters et al., 2018): words from their characters, two LSTMs that read in opposite directions, one softmax.

No class of transformers: a checkpoint is a folder of the same form with `model_type` "elmo", whose settings and tensors
are called as here. What a task reads is a learned mix of all layers: `model: {mix: {layers: all}}` in fine-tuning.
"""

from __future__ import annotations

from typing import get_args

from didact.config import Activation, Characters, Mix, ModelConfig, Norms, Output, Position, Recurrent
from didact.exchange.keys import Key, Keys
from didact.exchange.rules import Names
from didact.families.base import Family
from didact.objectives import BidirectionalLM, Objective
from didact.tokenization.tokenizer import Tokenizer

ACTIVATIONS = tuple((name, name) for name in get_args(Activation))

# The "original" model: widths and counts of the convolutions, 2 x 4096 cells projected to 512 (Peters et al., 2018,
# §3.4, and allennlp's elmo_2x4096_512_2048cnn_2xhighway_options.json).
FILTERS = ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024))
BASE = ModelConfig(
    vocabulary=793_471,
    width=1024,
    layers=2,
    heads=1,
    feedforward=4096,
    segments=0,
    position=Position("none", maximum=None),
    norms=Norms(None, None, None, None, None, None),
    pooler=False,
    tied=False,
    dropout=0.1,
    init_std=0.04,  # about 1 / sqrt(512)
    recurrent=Recurrent(),
    characters=Characters(FILTERS),
    mix=Mix(),
    output=Output(transform=False),
    core="recurrent",
)


KEYS = Keys(
    keys=(
        Key("vocab_size", "vocabulary", 793_471),
        Key("hidden_size", "width", 1024),
        Key("num_hidden_layers", "layers", 2),
        Key("lstm_cells", "feedforward", 4096),
        Key("lstm_residual", "recurrent.residual", True),
        Key("lstm_forget_bias", "recurrent.forget", 1.0),
        Key("char_filters", "characters.filters", FILTERS),
        Key("char_embedding_size", "characters.width", 16),
        Key("char_highways", "characters.highways", 2),
        Key("char_max", "characters.longest", 50),
        Key("char_act", "characters.activation", "relu", words=ACTIVATIONS),
        Key("hidden_dropout_prob", "dropout", 0.1),
        Key("initializer_range", "init_std", 0.04),
        Key("tie_word_embeddings", "tied", False),
        Key("output_transform", "output.transform", False),
        Key("hidden_act", "activation", "gelu", words=ACTIVATIONS),
        Key("mix_layers", "mix.layers", "last", words=(("last", "last"), ("all", "all"))),
        Key("mix_norm", "mix.norm", False),
        Key("mix_toward_equal", "mix.toward_equal", 0.0),
    ),
)


def recipe(tokenizer: Tokenizer) -> Objective:  # noqa: ARG001
    """The next word and the previous one, summed (§3.1)."""
    return BidirectionalLM()


ELMO = Family(
    name="elmo",
    base=BASE,
    keys=KEYS,
    names=Names(ours=True),
    architectures=(),
    tokenizer="word",
    recipe=recipe,
    sources=("Peters et al., 2018, arXiv:1802.05365", "github.com/allenai/bilm-tf"),
)
