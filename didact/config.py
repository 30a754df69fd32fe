"""What a model is made of, as frozen numbers and names. No torch: only `nn.transformer.build` turns it into layers.

A member of the family is a set of values here, never a class of its own: post-norm is two filled slots, ALBERT is
`shared_layers` and `embedding_width`, T5 is a bucketed position scheme and a missing bias.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Norm = Literal["layer", "rms"]
Activation = Literal["gelu", "gelu_tanh", "relu", "silu", "tanh"]


@dataclass(frozen=True)
class Norms:
    """Six slots, each empty (None) or filled. Post-norm (BERT): embedding, attention_out, feedforward_out.
    Pre-norm (GPT-2): attention_in, feedforward_in, final. "in" normalises what a sublayer reads, "out" the sum of
    residual and sublayer.
    """

    embedding: Norm | None = "layer"
    attention_in: Norm | None = None
    attention_out: Norm | None = "layer"
    feedforward_in: Norm | None = None
    feedforward_out: Norm | None = "layer"
    final: Norm | None = None
    eps: float = 1e-12
    bias: bool = True


POST_NORM = Norms()
PRE_NORM = Norms(None, "layer", None, "layer", None, "layer", eps=1e-5)


@dataclass(frozen=True)
class Position:
    """scheme: a name of `nn.position.POSITIONS`; the rest belongs to the schemes that read it.

    learned: a table of `maximum` rows, `offset` of them before position 0 (RoBERTa: 2), drawn like every weight or,
    with start "neighbours", so that heads look at neighbours at first (nn.neighbours); sinusoidal: fixed, no limit;
    rotary: base `theta`; bucketed (T5): `buckets` up to `distance`, shared by all layers; none.
    """

    scheme: str = "learned"
    maximum: int | None = 512
    offset: int = 0
    start: Literal["normal", "neighbours"] = "normal"
    theta: float = 10000.0
    buckets: int = 32
    distance: int = 128
    bidirectional: bool = True


@dataclass(frozen=True)
class ModelConfig:
    """A Transformer stack. width: of the hidden states (D); heads: of attention (N, each width / heads wide);
    feedforward: inner width; embedding_width: narrower than width for ALBERT and ELECTRA-small, None = width;
    segments: token types, 0 = none; layer_groups: distinct blocks repeated over the layers, None = one block a layer;
    windows: per layer, the attention window in tokens on either side, None = all; pooler: the dense tanh layer on a
    row that BERT's sequence-level heads share; tied: the vocabulary head's output matrix is the embedding's.
    """

    vocabulary: int = 30522
    width: int = 768
    layers: int = 12
    heads: int = 12
    feedforward: int = 3072
    embedding_width: int | None = None
    segments: int = 2
    position: Position = field(default_factory=Position)
    norms: Norms = POST_NORM
    activation: Activation = "gelu"
    gated: bool = False
    biases: bool = True
    head_width: int | None = None
    layer_groups: int | None = None
    windows: tuple[int | None, ...] | None = None
    pooler: bool = True
    tied: bool = True
    dropout: float = 0.0
    attention_dropout: float = 0.0
    init_std: float = 0.02
    visibility: Literal["full", "causal"] = "full"

    def __post_init__(self) -> None:
        if self.head_width is None and self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.windows is not None and len(self.windows) != self.layers:
            raise ValueError(f"windows has {len(self.windows)} entries for {self.layers} layers")

    @property
    def key_width(self) -> int:
        """Width of one attention head (H)."""
        return self.head_width or self.width // self.heads
