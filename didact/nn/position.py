"""Position schemes: how a row's place in its sequence enters the model. Each is one module with three doors.

    learned      a table added to the word embeddings (BERT; RoBERTa begins two rows later)
    sinusoidal   fixed sines and cosines added to them (Vaswani et al., 2017, §3.5)
    rotary       q and k turned by an angle that grows with position (RoFormer, Su et al., 2021)
    bucketed     a bias on the attention logit by logarithmic distance, shared by all layers (T5, Raffel et al., 2020)
    none         nothing

Shapes: T rows, E embedding width, N heads, H head width, I buckets.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didact.config import Position
from didact.nn.distance import DistanceTerms


class Scheme(nn.Module):
    """No positions at all; schemes open one of the three doors."""

    def embed(self, positions: Tensor, like: Tensor) -> Tensor | None:
        """What is added to the word embeddings `like` (T, E): (T, E) or None."""
        del positions, like
        return None

    def rotation(self, positions: Tensor, local: bool = False) -> tuple[Tensor, Tensor] | None:
        """Cosines and sines that turn q and k, (T, 1, 1, H) float32 each, or None; local: in a layer with a window."""
        del positions, local
        return None

    def distance(self) -> DistanceTerms | None:
        """What is added to attention logits, or None."""
        return None


class Learned(Scheme):
    """Row `offset + position` of a table of `offset + maximum` rows."""

    def __init__(self, maximum: int, offset: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(offset + maximum, width))
        self.offset = offset

    def embed(self, positions: Tensor, like: Tensor) -> Tensor:
        del like
        return F.embedding(positions + self.offset if self.offset else positions, self.weight)


class Sinusoidal(Scheme):
    """sin in the even columns, cos in the odd ones; computed where needed, so no position is too far."""

    def embed(self, positions: Tensor, like: Tensor) -> Tensor:
        width = like.shape[-1]
        column = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32)
        angle = positions[:, None].float() * torch.exp(column * (-math.log(10000.0) / width))
        return torch.stack((angle.sin(), angle.cos()), -1).flatten(1)[:, :width].to(like.dtype)


class Rotary(Scheme):
    """Angle of pair j at position p: p · theta^(-2 j / H), the pairs being columns j and j + H / 2.

    Layers with a window may have a theta of their own (ModernBERT, Warner et al., 2024, §2.1).
    """

    def __init__(self, theta: float, head_width: int, local_theta: float | None = None) -> None:
        super().__init__()
        self.theta, self.head_width = theta, head_width
        self.local_theta = theta if local_theta is None else local_theta

    def rotation(self, positions: Tensor, local: bool = False) -> tuple[Tensor, Tensor]:
        H, theta = self.head_width, self.local_theta if local else self.theta
        column = torch.arange(0, H, 2, device=positions.device, dtype=torch.float32)
        angle = positions[:, None].float() * (1.0 / theta ** (column / H))
        angle = torch.cat((angle, angle), -1)[:, None, None, :]
        return angle.cos(), angle.sin()


class Bucketed(Scheme):
    """weight (I, N): one bias per bucket and head. Half of the buckets, exact, are for near rows; the others widen
    logarithmically up to `furthest` rows, beyond which all share the last. Bidirectional: half for each direction.
    """

    def __init__(self, buckets: int, furthest: int, bidirectional: bool, heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(buckets, heads))
        distance = torch.arange(-furthest, furthest + 1)
        self.register_buffer("index", bucket(distance, buckets, furthest, bidirectional), persistent=False)
        self.index: Tensor

    def distance(self) -> DistanceTerms:
        return DistanceTerms(self.index, by_distance=self.weight.t())


def bucket(distance: Tensor, buckets: int, furthest: int, bidirectional: bool) -> Tensor:
    """T5's buckets (mesh_tensorflow/transformer/transformer_layers.py, _relative_position_bucket).

    distance: position[k] - position[q], any shape int64 -> bucket in [0, buckets), the same shape.
    """
    base = torch.zeros_like(distance)
    if bidirectional:
        buckets //= 2
        base = (distance > 0).long() * buckets
        away = distance.abs()
    else:
        away = (-distance).clamp(min=0)
    exact = buckets // 2
    scale = (buckets - exact) / math.log(furthest / exact)
    widening = exact + (torch.log(away.clamp(min=1).float() / exact) * scale).long()
    return base + torch.where(away < exact, away, widening.clamp(max=buckets - 1))


@dataclass(frozen=True)
class Widths:
    """The model's numbers that a scheme's layers depend on."""

    embedding: int
    head: int
    heads: int


@dataclass(frozen=True)
class Entry:
    """A scheme's name and how it is built."""

    name: str
    build: Callable[[Position, Widths], Scheme]


def _learned(position: Position, widths: Widths) -> Scheme:
    if position.maximum is None:
        raise ValueError("learned positions need a maximum")
    return Learned(position.maximum, position.offset, widths.embedding)


POSITIONS: tuple[Entry, ...] = (
    Entry("learned", _learned),
    Entry("sinusoidal", lambda _position, _widths: Sinusoidal()),
    Entry("rotary", lambda position, widths: Rotary(position.theta, widths.head, position.local_theta)),
    Entry(
        "bucketed",
        lambda position, widths: Bucketed(position.buckets, position.distance, position.bidirectional, widths.heads),
    ),
    Entry("none", lambda _position, _widths: Scheme()),
)


def build_position(position: Position, widths: Widths) -> Scheme:
    """The module of the scheme that `position` names; ValueError lists the schemes there are."""
    for entry in POSITIONS:
        if entry.name == position.scheme:
            return entry.build(position, widths)
    raise ValueError(f"no position scheme {position.scheme!r}; there are {', '.join(e.name for e in POSITIONS)}")
