"""What a model is made of, as frozen numbers and names. No torch: only a core's `build` turns it into layers.

A member of the family is a set of values here, never a class of its own: post-norm is two filled slots, ALBERT is
`shared_layers` and `embedding_width`, T5 is a bucketed position scheme and a missing bias.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Literal

from didact.bounds import check_counts, check_dropout, check_numbers, check_positive

Norm = Literal["layer", "rms"]
Activation = Literal["gelu", "gelu_tanh", "relu", "silu", "tanh"]
HALVED = ("recurrent", "opposed")  # cores of two directions, each of which has half of the width


@dataclass(frozen=True)
class Norms:
    """Six slots, each empty (None) or filled. Post-norm (BERT) fills embedding, attention_out, feedforward_out;
    pre-norm (GPT-2) fills attention_in, feedforward_in, final.

    attention_in, feedforward_in: of what the sublayer reads; attention_out, feedforward_out: of the sum of residual
    and sublayer; embedding: of the embeddings; final: of what the last layer gives; eps: added to the variance;
    bias: whether norms have one; first: whether the lowest layer has an attention_in (ModernBERT's has none: the norm
    of the embeddings stands there).
    """

    embedding: Norm | None = "layer"
    attention_in: Norm | None = None
    attention_out: Norm | None = "layer"
    feedforward_in: Norm | None = None
    feedforward_out: Norm | None = "layer"
    final: Norm | None = None
    eps: float = 1e-12
    bias: bool = True
    first: bool = True

    def __post_init__(self) -> None:
        check_numbers(0, eps=self.eps)


SIZES = ("vocabulary", "width", "layers", "heads", "feedforward", "embedding_width", "head_width", "layer_groups")
DECODED = ("layers", "heads", "feedforward")  # what a decoder may have otherwise than the encoder

POST_NORM = Norms()
PRE_NORM = Norms(None, "layer", None, "layer", None, "layer", eps=1e-5)


@dataclass(frozen=True)
class Position:
    """scheme: a name of `nn.position.POSITIONS`; every other field belongs to the schemes that read it.

    maximum: the longest sequence (learned: rows of the table), None = any length; offset: rows of a learned table
    before position 0 (RoBERTa: 2); start: a learned table drawn like every weight, or so that half of the heads look
    at neighbours at first (nn.neighbours); theta: the base of rotary angles; local_theta: that of layers with a window,
    None = theta; buckets: of a bucketed scheme (T5); distance: from which on all share its last bucket, or where
    relative distances are cut (below 1: the maximum there, nowhere here); bidirectional: whether buckets tell before
    from after (a decoder's never do); halves: sinusoidal ones have all sines in the first half of the columns and all
    cosines in the second (tensor2tensor, Marian), not in turn.
    """

    scheme: str = "learned"
    maximum: int | None = 512
    offset: int = 0
    start: Literal["normal", "neighbours"] = "normal"
    theta: float = 10000.0
    local_theta: float | None = None
    buckets: int = 32
    distance: int = 128
    bidirectional: bool = True
    halves: bool = False

    def __post_init__(self) -> None:
        check_counts(maximum=self.maximum)
        check_numbers(0, offset=self.offset)
        check_positive(theta=self.theta, local_theta=self.local_theta)
        if self.buckets < 4 and (self.scheme == "bucketed" or (self.scheme == "disentangled" and self.buckets > 0)):
            raise ValueError(f"buckets {self.buckets}: at least 4")
        exact = self.buckets // (4 if self.bidirectional else 2)
        if self.scheme == "bucketed" and self.distance <= exact:
            raise ValueError(
                f"distance {self.distance}: above {exact}, up to which {self.buckets} buckets"
                f"{'' if self.bidirectional else ' of one direction'} tell all distances apart"
            )


@dataclass(frozen=True)
class Summary:
    """The pooler: what happens to a row, or to the mean of several, before heads that answer for a whole sequence.

    dense: whether there is a dense layer at all (GPT-2 has none: rows are read as they are); activation: after it;
    biases: whether it has one; norm: whether what it gives is normalised (ModernBERT); dropout: whether the row is
    dropped out before it as well (RoBERTa, ELECTRA, DeBERTa), by the model's dropout; rows: whether heads that answer
    row by row (tags, spans) read through it, too (ModernBERT); class_bias: whether classes of a whole sequence have a
    bias of their own (GPT-2's have none).
    """

    dense: bool = True
    activation: Activation = "tanh"
    biases: bool = True
    norm: bool = False
    dropout: bool = False
    rows: bool = False
    class_bias: bool = True


@dataclass(frozen=True)
class Output:
    """What stands between a row and the vocabulary. transform: a dense layer, an activation and a norm first (BERT;
    GPT-2 and ELMo have none); dense_bias: whether the dense layer has a bias; bias: whether the vocabulary's scores
    have one; scaled: whether rows are divided by sqrt(width) first (T5's first version).
    """

    transform: bool = True
    dense_bias: bool = True
    bias: bool = True
    scaled: bool = False


@dataclass(frozen=True)
class Recurrent:
    """What a stack of LSTMs has besides widths (Peters et al., 2018, §3.4). residual: whether every layer but the first
    adds its input to its output; forget: where the bias of the forget gates begins.
    """

    residual: bool = True
    forget: float = 1.0

    def __post_init__(self) -> None:
        check_numbers(forget=self.forget)


@dataclass(frozen=True)
class Characters:
    """A convolution over each token's own bytes in place of a table of tokens (Kim et al., 2016). filters: (width in
    bytes, how many) of each convolution, none = a table; width: of a byte's vector; highways: layers after the
    convolutions; longest: bytes of a token that are read, a mark at its begin and one at its end included;
    activation: after the convolutions.
    """

    filters: tuple[tuple[int, int], ...] = ()
    width: int = 16
    highways: int = 2
    longest: int = 50
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        object.__setattr__(self, "filters", tuple((int(width), int(count)) for width, count in self.filters))
        check_counts(width=self.width)
        check_numbers(0, highways=self.highways)
        if self.longest < 3 or any(not 0 < width <= self.longest or count < 1 for width, count in self.filters):
            raise ValueError(f"filters {self.filters}: widths are at least 1 and at most the {self.longest} bytes read")


@dataclass(frozen=True)
class Decoder:
    """The other stack of an encoder-decoder (Vaswani et al., 2017, §3.1): its rows look back at each other, then at all
    that the encoder made of the source. Whatever is not said here is as in the encoder; words have one table.

    layers: how many, None = the encoder's; heads: of its attention, None = the encoder's; feedforward: its inner width,
    None = the encoder's; start: the id of the token that its first row reads (BART: </s>, T5 and Marian: <pad>); blank:
    whether that is no piece of the tokenizer but the vocabulary's last row, which reads zeros and is never written
    (Marian: Junczys-Dowmunt et al., 2018; so CTranslate2 has it).
    """

    layers: int | None = None
    heads: int | None = None
    feedforward: int | None = None
    start: int = 2
    blank: bool = False

    def __post_init__(self) -> None:
        check_counts(layers=self.layers, heads=self.heads, feedforward=self.feedforward)


@dataclass(frozen=True)
class Mix:
    """What heads read: the last layer, or a learned mix gamma · Σ softmax(s)_j layer_j of all layers, the embeddings
    included (Peters et al., 2018, eq. 1). layers: which of them; norm: whether each layer is brought to mean 0 and
    variance 1 before; toward_equal: weight of Σ s_j² in the loss, which draws the layers' weights together.
    """

    layers: Literal["last", "all"] = "last"
    norm: bool = False
    toward_equal: float = 0.0

    def __post_init__(self) -> None:
        check_numbers(0, toward_equal=self.toward_equal)


@dataclass(frozen=True)
class ModelConfig:
    """A stack of layers over embeddings. vocabulary: rows of the word embeddings; width: of the hidden states (D);
    layers: how many; heads: of attention (N); feedforward: inner width; embedding_width: narrower than width for
    ALBERT and ELECTRA-small, None = width; embedding_projected: whether embeddings are projected even where they are as
    wide as the model (ALBERT); segments: token types, 0 = none; position: see `Position`; norms: see `Norms`;
    activation: of the feed-forward layers; head_activation: of the vocabulary head's own layer, None = activation;
    gated: whether feed-forward layers multiply by a second projection; biases: whether dense layers have them;
    attention_biases: whether those of attention do, None = biases; head_width: of one head, None = width / heads;
    layer_groups: distinct blocks repeated over the layers, None = one block a layer; windows: of the layers in turn,
    repeated from the lowest up: how far one sees on either side in tokens, None = all (ModernBERT: [null, 64, 64]);
    pooler: whether there is a layer that sequence-level heads share; summary: what it is; tied: the vocabulary head's
    output matrix is the embedding's; output: see `Output`; queries: whether there is a vector that query rows begin as
    (XLNet); dropout: on embeddings and on what sublayers add; attention_dropout: on attention probabilities, which the
    fast kernels do without; init_std: standard deviation of fresh weights; visibility: who sees whom where the
    objective does not say it, everybody, or each row itself and the ones before it; core: a name of `nn.cores.CORES`;
    recurrent: of a recurrent core, see `Recurrent` (its width is that of both directions together, feedforward the
    cells of one; width, heads and feedforward of an opposed one are of both together); characters: see `Characters`;
    mix: see `Mix`; decoder: of an encoder-decoder, the other stack, None = there is none; scaled_words: whether words'
    vectors are multiplied by sqrt(width) (Vaswani et al., 2017, §3.4); scaled_attention: whether attention's logits are
    divided by sqrt(head width) (T5's are not).
    """

    vocabulary: int = 30522
    width: int = 768
    layers: int = 12
    heads: int = 12
    feedforward: int = 3072
    embedding_width: int | None = None
    embedding_projected: bool = False
    segments: int = 2
    position: Position = field(default_factory=Position)
    norms: Norms = POST_NORM
    activation: Activation = "gelu"
    head_activation: Activation | None = None
    gated: bool = False
    biases: bool = True
    attention_biases: bool | None = None
    head_width: int | None = None
    layer_groups: int | None = None
    windows: tuple[int | None, ...] | None = None
    pooler: bool = True
    summary: Summary = field(default_factory=Summary)
    tied: bool = True
    output: Output = field(default_factory=Output)
    queries: bool = False
    dropout: float = 0.0
    attention_dropout: float = 0.0
    init_std: float = 0.02
    visibility: Literal["full", "causal"] = "full"
    core: str = "transformer"
    recurrent: Recurrent = field(default_factory=Recurrent)
    characters: Characters = field(default_factory=Characters)
    mix: Mix = field(default_factory=Mix)
    decoder: Decoder | None = None
    scaled_words: bool = False
    scaled_attention: bool = True

    def __post_init__(self) -> None:
        check_counts(**{name: getattr(self, name) for name in SIZES})
        check_dropout(dropout=self.dropout, attention_dropout=self.attention_dropout)
        check_numbers(0, segments=self.segments, init_std=self.init_std)
        if self.head_width is None and self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.windows is not None and not self.windows:
            raise ValueError("windows has no entry; without local attention it is null")
        if self.windows is not None and min(window or 0 for window in self.windows) < 0:
            raise ValueError(f"windows {list(self.windows)}: rows on either side, 0 at least, or null")
        if self.layer_groups is not None and not 1 <= self.layer_groups <= self.layers:
            raise ValueError(f"layer_groups {self.layer_groups}: from 1 to {self.layers}, the layers")
        if self.position.scheme == "rotary" and self.key_width % 2:
            raise ValueError(f"heads {self.key_width} wide with rotary positions, which turn two columns together")
        if self.windows is not None and (pattern := shortest(self.windows)) is not self.windows:
            object.__setattr__(self, "windows", None if pattern == (None,) else pattern)
        if self.tied and not self.output.transform and self.word_width != self.stream_width("forward"):
            raise ValueError(
                f"tied: embeddings {self.word_width} wide, and nothing before the output matrix is as narrow"
            )
        if self.tied and self.characters.filters:
            raise ValueError("tied: a character CNN has no table that could be the vocabulary head's")
        if self.core == "recurrent":
            self._check_recurrent()
        if self.core == "opposed" and (self.width % 2 or self.heads % 2 or self.feedforward % 2):
            raise ValueError(
                f"width {self.width}, heads {self.heads}, feedforward {self.feedforward}: of two directions together, "
                "so even numbers"
            )
        if self.core == "opposed" and self.visibility != "full":
            raise ValueError("visibility: each direction of an opposed core sees by its own rule, so full")
        if self.decoder is not None:
            self._check_decoder(self.decoder)

    def _check_decoder(self, decoder: Decoder) -> None:
        """What the encoder has, too, is said once; what no decoder here has is refused."""
        as_encoder = {name: None for name in DECODED if getattr(decoder, name) == getattr(self, name)}
        if as_encoder:
            object.__setattr__(self, "decoder", replace(decoder, **as_encoder))
        wanted = {
            "core": self.core == "transformer",
            "visibility": self.visibility == "full",
            "windows": self.windows is None,
            "layer_groups": self.layer_groups is None,
            "segments": self.segments == 0,
            "queries": not self.queries,
            "embedding_width": self.embedding_width in (None, self.width) and not self.embedding_projected,
            "position.start": self.position.start == "normal",
        }
        if wrong := [name for name, right in wanted.items() if not right]:
            raise ValueError(f"a model with a decoder is not made with {', '.join(f'this {name}' for name in wrong)}")
        if decoder.blank and decoder.start != self.vocabulary - 1:
            raise ValueError(f"decoder.start {decoder.start} is blank, and not the last of {self.vocabulary} rows")
        if self.head_width is None and decoder.heads is not None and self.width % decoder.heads:
            raise ValueError(f"width {self.width} is not a multiple of decoder.heads {decoder.heads}")
        if not 0 <= decoder.start < self.vocabulary:
            raise ValueError(f"decoder.start {decoder.start}: from 0 to below {self.vocabulary}, the vocabulary")
        try:
            _ = self.decoding
        except ValueError as problem:
            raise ValueError(f"as the decoder has it, {problem}") from None

    def _check_recurrent(self) -> None:
        """What attention has is refused, rather than left without effect."""
        norms = {f.name for f in fields(Norms) if f.name not in ("embedding", "eps", "bias", "first")}
        wanted = {
            "heads": self.heads == 1,
            "position.scheme": self.position.scheme == "none",
            "windows": self.windows is None,
            "layer_groups": self.layer_groups is None,
            "head_width": self.head_width is None,
            "gated": not self.gated,
            "attention_dropout": self.attention_dropout == 0.0,
            "visibility": self.visibility == "full",
            "norms": self.norms.first and not any(getattr(self.norms, name) for name in norms),
        }
        if wrong := [name for name, right in wanted.items() if not right]:
            raise ValueError(f"a recurrent core has no attention, so no {', '.join(wrong)} (heads 1, position none)")
        if self.width % 2 or self.feedforward < self.width // 2:
            raise ValueError(
                f"width {self.width}, feedforward {self.feedforward}: each direction has half of an even width, and at "
                "least as many cells (feedforward)"
            )

    def stream_width(self, stream: str = "main") -> int:
        """Width of the rows of a stream: where there are two directions, each has half of the model's."""
        return self.width // 2 if self.core in HALVED and stream != "main" else self.width

    @property
    def decoding(self) -> ModelConfig:
        """The decoder's stack as a configuration of its own. ValueError where there is none."""
        if self.decoder is None:
            raise ValueError("a model without a decoder")
        own = {name: value for name in DECODED if (value := getattr(self.decoder, name)) is not None}
        position = replace(self.position, bidirectional=False)
        return replace(self, decoder=None, visibility="causal", position=position, **own)

    @property
    def pieces(self) -> int:
        """Rows of the vocabulary that can be written: all but a decoder's blank one."""
        return self.vocabulary - (self.decoder is not None and self.decoder.blank)

    @property
    def word_width(self) -> int:
        """Width of the word embeddings (E)."""
        return self.embedding_width or self.stream_width("forward")

    @property
    def window_of(self) -> tuple[int | None, ...]:
        """The window of each layer, from the lowest up."""
        pattern = self.windows or (None,)
        return tuple(pattern[i % len(pattern)] for i in range(self.layers))

    @property
    def key_width(self) -> int:
        """Width of one attention head (H)."""
        return self.head_width or self.width // self.heads


def shortest(windows: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """The shortest part of `windows` that repeated a whole number of times is it."""
    n = len(windows)
    return next(windows[:p] for p in range(1, n + 1) if n % p == 0 and windows[:p] * (n // p) == windows)
