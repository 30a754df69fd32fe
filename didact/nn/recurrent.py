"""Two stacks of LSTMs over packed tokens, one reading left to right, one right to left, that never meet (ELMo: Peters
et al., 2018, §3.1; projections: Sak et al., 2014; residuals: Józefowicz et al., 2016).

Rows are reordered for the LSTMs: all first rows of the sequences, then all second ones, … (torch's PackedSequence), the
longest sequence first; for the other direction every sequence's last rows come first. So each sequence starts from a
state of zeros, and nothing passes from one to another.

Shapes: T rows, B sequences, L the longest, D width of both directions together, P = D / 2 of one, C cells of one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from didact.batch import Side
from didact.config import ModelConfig
from didact.nn.core import Core, Hidden, Pass
from didact.nn.dropout import dropout
from didact.nn.embedding import Embedding
from didact.nn.init import Begins, initialise
from didact.nn.norm import build_norm
from didact.nn.position import Widths, build_position
from didact.packed import Packed


@dataclass(frozen=True)
class Order:
    """Rows as one direction reads them. to (T,): the row that each place reads; back (T,): the place of each row;
    sizes (L,) int64, on the host: rows read at once, at each step.
    """

    to: Tensor
    back: Tensor
    sizes: Tensor

    @staticmethod
    def of(packed: Packed, backward: bool) -> Order:
        """The order of this pack, on its device."""
        device, rows = packed.tokens.device, packed.tokens.shape[0]
        cu = packed.cu_seqlens.cpu().long()
        lengths = cu.diff()
        rank = torch.argsort(torch.argsort(lengths, descending=True, stable=True))
        step = torch.arange(rows) - torch.repeat_interleave(cu[:-1], lengths)
        if backward:
            step = torch.repeat_interleave(lengths, lengths) - 1 - step
        to = torch.argsort(step * len(lengths) + torch.repeat_interleave(rank, lengths))
        back = torch.empty_like(to)
        back[to] = torch.arange(rows)
        return Order(to.to(device), back.to(device), torch.bincount(step))


class Direction(Begins):
    """One layer of one direction: an LSTM of C cells whose output is projected to P where C is more (no bias, as in
    torch and TensorFlow). `forget`: where the bias of its forget gates begins.
    """

    def __init__(self, width: int, cells: int, bias: bool, forget: float) -> None:
        super().__init__()
        self.cells, self.forget = cells, forget
        self.lstm = nn.LSTM(width, cells, bias=bias, proj_size=width if cells > width else 0)

    def begin(self, generator: torch.Generator | None = None) -> None:  # noqa: ARG002
        """torch adds two biases, `ih` and `hh`; gates come in the order input, forget, cell, output."""
        if self.lstm.bias:
            self.lstm.get_parameter("bias_ih_l0")[self.cells : 2 * self.cells] = self.forget

    def forward(self, x: Tensor, sizes: Tensor) -> Tensor:
        """x (T, P) in reading order -> (T, P)."""
        return self.lstm(PackedSequence(x, sizes))[0].data


class Layer(nn.Module):
    """A layer of each direction, with a residual around both or none."""

    def __init__(self, forwards: Direction, backwards: Direction, residual: bool, dropout: float) -> None:
        super().__init__()
        self.forwards, self.backwards = forwards, backwards
        self.residual, self.dropout = residual, dropout

    def forward(self, x: tuple[Tensor, Tensor], sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Both (T, P), each in its own reading order; sizes are the same for both."""
        return self._one(self.forwards, x[0], sizes), self._one(self.backwards, x[1], sizes)

    def _one(self, direction: Direction, x: Tensor, sizes: Tensor) -> Tensor:
        out = direction(x, sizes)
        if self.residual:
            out = out + x
        return dropout(out, self.dropout, self.training)


class BiLM(Core):
    """Streams "forward" and "backward" (T, P), which see to the left and to the right, themselves included; "main"
    (T, D): one beside the other. Layers are those of "main", the embeddings twice (Peters et al., 2018, §3.2).
    """

    def forward(self, side: Side, layers: bool = False, attention: Collection[int] = ()) -> Hidden:
        """Raises ValueError for attention, which there is none of, and for a visibility other than "full": each stream
        has its own.
        """
        if attention:
            raise ValueError("a recurrent core has no attention")
        if side.visibility.kind != "full" or side.visibility.window is not None:
            raise ValueError(f"visibility {side.visibility.kind!r}: the streams of a recurrent core have their own")
        orders = [Order.of(side.packed, backward) for backward in (False, True)]
        words = self.embedding(side.packed)
        x = (words[orders[0].to], words[orders[1].to])
        kept = [torch.cat((words, words), -1)] if layers else []
        for layer in self.blocks:
            x = layer(x, orders[0].sizes)
            if layers:
                kept.append(torch.cat((x[0][orders[0].back], x[1][orders[1].back]), -1))
        forward, backward = x[0][orders[0].back], x[1][orders[1].back]
        main = kept[-1] if layers else torch.cat((forward, backward), -1)
        return Hidden({"main": main, "forward": forward, "backward": backward}, tuple(kept))

    @property
    def passes(self) -> Sequence[Pass]:
        return [Pass(block, attends=False) for block in self.blocks]

    @property
    def regions(self) -> Sequence[nn.Module]:
        return ()


def build(config: ModelConfig, generator: torch.Generator | None = None) -> BiLM:
    """The stack of `config`, its weights drawn with `generator` (normal, `config.init_std`). Raises ValueError for
    query rows, which it has no place for: it reads rows one after the other.
    """
    if config.queries:
        raise ValueError("a recurrent core has no query rows")
    width = config.stream_width("forward")

    def direction() -> Direction:
        return Direction(width, config.feedforward, config.biases, config.recurrent.forget)

    layers = [
        Layer(direction(), direction(), config.recurrent.residual and i > 0, config.dropout)
        for i in range(config.layers)
    ]
    core = BiLM(
        Embedding(
            config.vocabulary,
            config.embedding_width,
            width,
            config.segments,
            build_position(config.position, Widths(config.word_width, config.key_width, config.heads)),
            build_norm(config.norms.embedding, config.word_width, config.norms.eps, config.norms.bias),
            config.dropout,
            config.embedding_projected,
            config.characters,
        ),
        nn.ModuleList(layers),
    )
    initialise(core, config.init_std, generator)
    return core
