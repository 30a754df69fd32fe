"""Which token stands here, or comes next: BERT's masked-language-model head (Devlin et al., 2019; google-research/bert,
run_pretraining.py `get_masked_lm_output`): dense, activation, norm, then the word embeddings as the output matrix; or,
without the first three, GPT-2's (Radford et al., 2019). Which of them there are is `config.Output`.

Shapes: n asked rows, D width, E embedding width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didact.batch import Labels, Part
from didact.config import ModelConfig
from didact.heads.base import Head, HeadLayers, part
from didact.heads.cross_entropy import cross_entropy, linear_cross_entropy
from didact.nn.feedforward import ACTIVATIONS
from didact.nn.init import Begins
from didact.nn.norm import build_norm
from didact.nn.spare import through

NEVER = -1e4  # the score, for other libraries, of a row that is never answered


@dataclass(frozen=True)
class Vocabulary(Head):
    """One of V tokens a row. values (n,) int64. It runs on asked rows only: V is the widest product of the model.

    stream: the core's stream that it reads, or one as wide; smoothing: share of each answer that is spread evenly over
    the vocabulary while training (Szegedy et al., 2016, §7; Vaswani et al., 2017, §5.4). What is measured without
    gradients is the plain loss, which perplexities and bits are of.
    """

    kind: ClassVar[str] = "vocabulary"

    stream: str = "main"
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.smoothing < 1.0:
            raise ValueError(f"smoothing {self.smoothing}: a share, from 0 to below 1")

    @property
    def pooled(self) -> bool:
        return False

    def build(self, config: ModelConfig) -> VocabularyLayers:
        return VocabularyLayers(config, config.stream_width(self.stream))

    def loss(self, logits: Tensor, labels: Labels) -> Part:
        return part(*cross_entropy(logits, labels.values, self.smoothing), labels)

    def loss_at(
        self, layers: HeadLayers, rows: Tensor, groups: Tensor | None, table: Tensor | None, labels: Labels
    ) -> Part:
        """Without the logits of all rows, where gradients are wanted."""
        if not torch.is_grad_enabled():
            return super().loss_at(layers, rows, groups, table, labels)
        assert isinstance(layers, VocabularyLayers)
        product = layers.before(rows), layers.matrix(table), layers.offset
        total, correct = linear_cross_entropy(*product, labels.values, labels.weights, self.smoothing)
        return Part(total, labels.count, correct=correct)


class VocabularyLayers(HeadLayers, Begins):
    """hidden (n, D) -> logits (n, V). Tied: the output matrix is the `table` handed in, so that it is one parameter
    of the model under one name; untied: a matrix of its own. Without `output.transform` it gets rows as they are. A
    blank row (`config.Decoder`) is never answered: V is then without it.
    """

    def __init__(self, config: ModelConfig, width: int) -> None:
        super().__init__()
        output, norms = config.output, config.norms
        narrow = config.word_width if output.transform else width
        if config.tied and narrow != config.word_width:
            raise ValueError(
                f"rows {narrow} wide are not tied to embeddings {config.word_width} wide (output.transform false)"
            )
        self.dense = nn.Linear(width, narrow, bias=output.dense_bias) if output.transform else None
        self.activation = ACTIVATIONS[config.head_activation or config.activation]
        self.norm = build_norm("layer" if output.transform else None, narrow, norms.eps, norms.bias)
        self.decoder = None if config.tied else nn.Linear(narrow, config.vocabulary, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary)) if output.bias else None
        self.scale = width**-0.5 if output.scaled else 1.0
        self.pieces = config.pieces

    def begin(self, generator: torch.Generator | None = None) -> None:
        del generator
        if self.bias is not None:
            self.bias[self.pieces :] = NEVER

    @torch.no_grad()
    def start(self, counts: Tensor) -> None:
        """The bias, if there is one, as the logarithm of how often each token occurs: counts (V,), one added to each.

        The model then knows from the first step what counting words teaches, and what it learns is context. Measured
        (4 x 128, vocabulary 8192, 0.95 M tokens, heads that look at neighbours from the start): 4.85 nats a masked
        token; with a bias that begins at 0 it still stood at 6.32, which is what counting words reaches.
        """
        if self.bias is None:
            return
        share = (counts + 1.0) / (counts + 1.0).sum()
        self.bias[: self.pieces] = share.log()[: self.pieces]

    def before(self, hidden: Tensor) -> Tensor:
        """hidden (n, D) -> what the output matrix is multiplied with, (n, its columns)."""
        if self.dense is not None:
            hidden = self.norm(self.activation(through(self.dense, hidden)))
        return hidden if self.scale == 1.0 else hidden * self.scale

    def matrix(self, table: Tensor | None) -> Tensor:
        """The output matrix (V, columns): one of its own, or the word embeddings that are handed in."""
        matrix = table if self.decoder is None else self.decoder.weight
        assert matrix is not None, "a tied vocabulary head needs the word embeddings"
        return matrix if len(matrix) == self.pieces else matrix[: self.pieces]

    @property
    def offset(self) -> Tensor | None:
        """What is added to the scores, (V,) or None."""
        if self.bias is None or len(self.bias) == self.pieces:
            return self.bias
        return self.bias[: self.pieces]

    def forward(self, hidden: Tensor, groups: Tensor | None = None, table: Tensor | None = None) -> Tensor:
        assert groups is None, "the vocabulary head answers row by row"
        return F.linear(self.before(hidden), self.matrix(table), self.offset)
