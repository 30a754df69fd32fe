"""A token's vector from its own bytes (Kim et al., 2016; as Peters et al., 2018, §3.4, and Józefowicz et al., 2016, put
it before LSTMs): convolutions of several widths, the largest value of each filter, highways, a projection.

What is read is the token as its tokenizer writes it, in UTF-8, between a mark for its begin and one for its end. A
token's bytes never change, so they are a table made once (`spell`), and each distinct token of a pack is computed once.

Shapes: T rows, U distinct tokens, C bytes of a token, V vocabulary, W width of a byte's vector, F filters, E output.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from didact import config
from didact.nn.feedforward import ACTIVATIONS
from didact.nn.init import Begins

BEGIN, END, NOTHING = 256, 257, 258  # beside the 256 bytes: the marks, and what comes after the token
SYMBOLS = 259


def spell(pieces: Sequence[str], longest: int) -> Tensor:
    """(V, longest) int32: BEGIN, bytes, END, NOTHING … of each piece; the bytes that do not fit are left out.
    (Processes send each other no numbers of 16 bits.)
    """
    most = longest - 2
    encoded = [piece.encode("utf-8", "replace")[:most] for piece in pieces]
    sizes = np.fromiter(map(len, encoded), np.int64, len(encoded))
    letters = np.array(encoded, f"S{most}").view(np.uint8).reshape(-1, most).astype(np.int32)
    table = np.full((len(encoded), longest), NOTHING, np.int32)
    table[:, 0] = BEGIN
    table[:, 1:-1] = np.where(np.arange(most) < sizes[:, None], letters, NOTHING)
    table[np.arange(len(encoded)), sizes + 1] = END
    return torch.from_numpy(table)


class Highway(Begins):
    """g · act(h(x)) + (1 - g) · x, g = sigmoid(gate(x)) (Srivastava et al., 2015); at first mostly x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense, self.gate = nn.Linear(width, width), nn.Linear(width, width)

    def begin(self, generator: torch.Generator | None = None) -> None:
        for layer in (self.dense, self.gate):
            layer.weight.normal_(0.0, layer.in_features**-0.5, generator=generator)
        self.gate.bias.fill_(-2.0)  # §2.3

    def forward(self, x: Tensor) -> Tensor:
        g = torch.sigmoid(self.gate(x))
        return g * torch.relu(self.dense(x)) + (1 - g) * x


class CharacterCNN(Begins):
    """tokens (T,) -> (T, E). spelling (V, C): the bytes of every token, part of the model; until `spelling` is set, a
    token is spelled by its number.

    NOTHING is a symbol like any other, so a short token differs from one that is cut there, and every filter has
    somewhere to stand. Weights are drawn as bilm-tf draws them (bilm/model.py, _build_word_char_embeddings), each for
    its own fan-in, not with the model's one standard deviation: a byte's vector is so narrow that nothing would pass.
    """

    def __init__(self, vocabulary: int, width: int, parts: config.Characters) -> None:
        super().__init__()
        total = sum(count for _, count in parts.filters)
        self.longest = parts.longest
        self.byte = nn.Embedding(SYMBOLS, parts.width)
        self.filters = nn.ModuleList(nn.Conv1d(parts.width, count, size) for size, count in parts.filters)
        self.highways = nn.ModuleList(Highway(total) for _ in range(parts.highways))
        self.project = nn.Linear(total, width)
        self.activation = ACTIVATIONS[parts.activation]
        self.register_buffer("spelling", spell([str(i) for i in range(vocabulary)], parts.longest))
        self.spelling: Tensor

    def begin(self, generator: torch.Generator | None = None) -> None:
        self.byte.weight.uniform_(-1.0, 1.0, generator=generator)
        for layer in self.filters:
            layer.weight.uniform_(-0.05, 0.05, generator=generator)  # type: ignore[operator, union-attr]
        self.project.weight.normal_(0.0, math.sqrt(1.0 / self.project.in_features), generator=generator)

    def forward(self, tokens: Tensor) -> Tensor:
        distinct, place = torch.unique(tokens, return_inverse=True)
        x = self.byte(self.spelling[distinct].long()).transpose(1, 2)
        x = torch.cat([self.activation(layer(x).amax(-1)) for layer in self.filters], -1)
        for highway in self.highways:
            x = highway(x)
        return self.project(x)[place]

    @property
    def products(self) -> int:
        """Multiply-adds of one token."""
        C = self.longest
        slides = sum(f.weight.numel() * (C - f.kernel_size[0] + 1) for f in self.filters)  # type: ignore[union-attr, operator, index]
        dense = [*(p for h in self.highways for p in h.parameters()), self.project.weight]
        return int(slides + sum(p.numel() for p in dense if p.ndim == 2))
