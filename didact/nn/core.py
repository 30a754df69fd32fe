"""What every stack of layers is, and a core, which reads tokens by itself; and what they give.

Shapes: T rows, D width, N heads, L rows of one sequence.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from torch import Tensor, nn

from didact.batch import Side
from didact.nn.embedding import Embedding


@dataclass(frozen=True)
class Hidden:
    """What a stack gives: named streams ("main", (T, D), always); every layer of "main" where asked for, layers[0] the
    embedding output, then one per layer, the last of them through the final norm; attention where asked for: layer
    number, from 0 -> the probabilities of each sequence, (N, L, L), rows are queries; cross likewise: where the rows of
    a decoder look in the source, (N, Q, K).
    """

    streams: Mapping[str, Tensor]
    layers: tuple[Tensor, ...] = ()
    attention: Mapping[int, tuple[Tensor, ...]] = field(default_factory=dict)
    cross: Mapping[int, tuple[Tensor, ...]] = field(default_factory=dict)

    @property
    def main(self) -> Tensor:
        return self.streams["main"]


@dataclass(frozen=True)
class Pass:
    """A layer as a row meets it. block: its modules; attends: whether its rows look at each other in pairs, and then
    window: how far, in positions, None = any distance.
    """

    block: nn.Module
    attends: bool = True
    window: int | None = None


E = TypeVar("E", bound=nn.Module)


class Stack(nn.Module, ABC, Generic[E]):
    """embedding: what the first layer reads comes from it; blocks: the distinct layers, from the input up, whose
    parameters are named `blocks.<i>.…`; kernel: of attention, whatever the table says, None = the table's choice;
    compiled: set by nn.compiled, whether sizes that change are to be declared before each call.
    """

    def __init__(self, embedding: E, blocks: nn.ModuleList, kernel: str | None = None) -> None:
        super().__init__()
        self.embedding: E = embedding  # first, as weights are drawn in this order
        self.blocks = blocks
        self.kernel = kernel
        self.compiled = False

    @property
    @abstractmethod
    def passes(self) -> Sequence[Pass]:
        """The layers in the order in which a row meets them; a shared block comes several times."""

    @property
    @abstractmethod
    def regions(self) -> Sequence[nn.Module]:
        """What compilation pays for, each compiled by itself; none where torch has one fused operator already."""


class Core(Stack[Embedding]):
    """A stack that reads tokens by itself."""

    @abstractmethod
    def forward(self, side: Side, layers: bool = False, attention: Collection[int] = ()) -> Hidden:
        """layers: keep every layer's output; attention: the layers whose probabilities are wanted."""
