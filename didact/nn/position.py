"""Position schemes: how a row's place in its sequence enters the model. Each is one module with four doors.

    learned       a table added to the word embeddings (BERT; RoBERTa begins two rows later)
    sinusoidal    fixed sines and cosines added to them (Vaswani et al., 2017, §3.5)
    rotary        q and k turned by an angle that grows with position (RoFormer, Su et al., 2021)
    bucketed      a bias on the attention logit by logarithmic distance, shared by all layers (T5, Raffel et al., 2020)
    relative      sines and cosines of the distance, which each layer asks with its q (Dai et al., 2019, §3.3; XLNet)
    disentangled  a table by logarithmic distance, which each layer asks with q and k (DeBERTa, He et al., 2021, §3.1)
    none          nothing

Shapes: T rows, E embedding width, D width, N heads, H head width, I buckets.
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
from didact.nn.dropout import dropout
from didact.nn.relation import Disentangled, Distances, Relation, Relative


class Scheme(nn.Module):
    """No positions at all; schemes open one of the four doors."""

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

    def relative(self, furthest: int) -> Relative | None:
        """What layers make their own distance terms of, or None. furthest: no two rows are further apart."""
        del furthest
        return None

    def distances(self, furthest: int) -> int:
        """Rows of that table (I)."""
        del furthest
        return 0


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
    """sin in the even columns, cos in the odd ones; with `halves` sin in the first half of them and cos in the second.

    Without a maximum computed where needed, so no position is too far; with one, a table computed in float64: in
    float32 the angle of position 500 is off by 3e-5.
    """

    def __init__(self, maximum: int | None = None, width: int = 0, halves: bool = False) -> None:
        super().__init__()
        self.halves = halves
        table = None if maximum is None else self._waves(torch.arange(maximum).double(), width).float()
        self.register_buffer("table", table, persistent=False)
        self.table: Tensor | None

    def embed(self, positions: Tensor, like: Tensor) -> Tensor:
        if self.table is not None:
            return F.embedding(positions, self.table).to(like.dtype)
        return self._waves(positions.float(), like.shape[-1]).to(like.dtype)

    def _waves(self, at: Tensor, width: int) -> Tensor:
        """at (T,) -> (T, width), of the same dtype."""
        column = torch.arange(0, width, 2, device=at.device, dtype=at.dtype)
        angle = at[:, None] * torch.exp(column * (-math.log(10000.0) / width))
        if self.halves:
            return torch.cat((angle.sin(), angle.cos()), -1)[:, :width]
        return torch.stack((angle.sin(), angle.cos()), -1).flatten(1)[:, :width]


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


class Sines(Scheme):
    """Sines in the first half of the columns, cosines in the second, of the query's position minus the key's; so no
    distance is too far. cut: from where on all distances are one, None = nowhere (XLNet's `clamp_len`).
    """

    def __init__(self, width: int, cut: int | None, dropout: float) -> None:
        super().__init__()
        self.cut, self.dropout = cut, dropout
        self.register_buffer("rate", 1.0 / 10000.0 ** (torch.arange(0, width, 2).float() / width), persistent=False)
        self.rate: Tensor

    def distances(self, furthest: int) -> int:
        return 2 * self._reach(furthest) + 1

    def _reach(self, furthest: int) -> int:
        return furthest if self.cut is None else min(furthest, self.cut)

    def relative(self, furthest: int) -> Relative:
        reach = self._reach(furthest)
        distance = torch.arange(-reach, reach + 1, device=self.rate.device)
        angle = -distance[:, None].to(self.rate.dtype) * self.rate
        table = torch.cat((angle.sin(), angle.cos()), -1)
        return Relative(distance + reach, dropout(table, self.dropout, self.training))


class Logarithmic(Scheme):
    """weight (2 · I, D) and the norm on it: half of the rows for keys before the query, half for those after, the near
    ones exact, the others by the logarithm of their distance up to `furthest`, beyond which all share the last.
    """

    def __init__(self, buckets: int, furthest: int, width: int, eps: float) -> None:
        super().__init__()
        span = buckets if buckets > 0 else furthest
        self.weight = nn.Parameter(torch.empty(2 * span, width))
        self.norm = nn.LayerNorm(width, eps=eps)
        back = -torch.arange(-furthest, furthest + 1)  # the query's position minus the key's
        index = (log_bucket(back, buckets, furthest) + span).clamp(0, 2 * span - 1)
        self.register_buffer("index", index, persistent=False)
        self.index: Tensor

    def distances(self, furthest: int) -> int:
        del furthest
        return len(self.weight)

    def relative(self, furthest: int) -> Relative:
        del furthest
        return Relative(self.index, self.norm(self.weight))


def log_bucket(distance: Tensor, buckets: int, furthest: int) -> Tensor:
    """DeBERTa's buckets (microsoft/DeBERTa, da_utils.py, make_log_bucket_position): distances up to half of `buckets`
    are themselves, further ones grow with their logarithm, `furthest` - 1 being the last; below 1 = all themselves.

    distance: any shape int64 -> a signed bucket, the same shape; `furthest` and more may give `buckets` itself.
    """
    if buckets < 1:
        return distance
    middle = buckets // 2
    away = torch.where(distance.abs() < middle, middle - 1, distance.abs())
    share = torch.log(away / middle) / torch.log(torch.tensor((furthest - 1) / middle))
    far = torch.ceil(share * (middle - 1)) + middle
    return torch.where(away <= middle, distance, (far * distance.sign()).long())


@dataclass(frozen=True)
class Widths:
    """The model's numbers that a scheme's layers depend on; dropout: of its hidden states; eps: of its norms."""

    embedding: int
    head: int
    heads: int
    model: int = 0
    dropout: float = 0.0
    eps: float = 1e-12


@dataclass(frozen=True)
class Entry:
    """A scheme's name, how it is built, and how each layer's part in it is, where layers have one."""

    name: str
    build: Callable[[Position, Widths], Scheme]
    relation: Callable[[Widths], Relation | None] = lambda _: None


def _learned(position: Position, widths: Widths) -> Scheme:
    if position.maximum is None:
        raise ValueError("learned positions need a maximum")
    return Learned(position.maximum, position.offset, widths.embedding)


def _disentangled(position: Position, widths: Widths) -> Scheme:
    furthest = position.distance if position.distance > 0 else position.maximum
    if furthest is None:
        raise ValueError("disentangled positions need a distance or a maximum")
    return Logarithmic(position.buckets, furthest, widths.model, widths.eps)


POSITIONS: tuple[Entry, ...] = (
    Entry("learned", _learned),
    Entry(
        "sinusoidal",
        lambda position, widths: Sinusoidal(position.maximum, widths.embedding, position.halves),
    ),
    Entry("rotary", lambda position, widths: Rotary(position.theta, widths.head, position.local_theta)),
    Entry(
        "bucketed",
        lambda position, widths: Bucketed(position.buckets, position.distance, position.bidirectional, widths.heads),
    ),
    Entry(
        "relative",
        lambda position, widths: Sines(
            widths.model, position.distance if position.distance > 0 else None, widths.dropout
        ),
        lambda widths: Distances(widths.model, widths.heads, widths.head),
    ),
    Entry("disentangled", _disentangled, lambda widths: Disentangled(widths.dropout)),
    Entry("none", lambda _position, _widths: Scheme()),
)


def build_position(position: Position, widths: Widths) -> Scheme:
    """The module of the scheme that `position` names; ValueError lists the schemes there are."""
    return _named(position).build(position, widths)


def build_relation(position: Position, widths: Widths) -> Relation | None:
    """A layer's part in that scheme, None where layers have none."""
    return _named(position).relation(widths)


def _named(position: Position) -> Entry:
    for entry in POSITIONS:
        if entry.name == position.scheme:
            return entry
    raise ValueError(f"no position scheme {position.scheme!r}; there are {', '.join(e.name for e in POSITIONS)}")
