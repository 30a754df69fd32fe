"""How a pack falls into groups of sequences of equal length, and the rule and the distances inside one group.

The packer lays sequences of equal length next to each other, so a group is a view of the pack's rows, not a copy.

Shapes: T rows, N heads, H head width; a group has n sequences of L rows; G groups; I values of the distance index.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from didact.nn.distance import relate
from didact.nn.spare import filled
from didact.packed import Packed
from didact.visibility import Visibility

Group = tuple[int, int, int]  # first row, sequences, rows of each


@dataclass(frozen=True)
class Plan:
    """How a pack is grouped; made once per forward, shared by all layers of one window.

    table (2 + G, 3) int64, on the host; numbers that change from pack to pack are data, lest compiled code be compiled
    again: row 0: whether rows are first reordered, whether positions are each sequence's own 0, 1, 2 …, whether the
    rule is causal; row 1: the window, -1 = none; then for each group its first row, its sequences, their length.
    order (T,): which row of the pack is the i-th of the reordered rows.
    positions, segments, rank, reach (T,): of the reordered rows; the last two are None for rules known by name.
    """

    table: Tensor
    order: Tensor
    positions: Tensor
    segments: Tensor | None
    rank: Tensor | None
    reach: Tensor | None

    def filled(self, rows: int) -> Plan:
        """With so many spare rows behind (`nn.spare`), which are in no group."""
        if rows == 0:
            return self
        order = torch.arange(len(self.order) + rows, device=self.order.device)
        order[: len(self.order)] = self.order
        others = (self.positions, self.segments, self.rank, self.reach)
        positions, segments, rank, reach = (None if x is None else filled(x, rows) for x in others)
        assert positions is not None
        return Plan(self.table, order, positions, segments, rank, reach)


def plan(packed: Packed, visibility: Visibility) -> Plan:
    """Waits for the device where cu_seqlens lives on one: once per forward."""
    starts = packed.cu_seqlens.tolist()
    groups, order = group([b - a for a, b in itertools.pairwise(starts)])
    positions, segments, rank, reach = packed.positions, packed.segments, visibility.rank, visibility.reach
    causal, window = visibility.kind == "causal", -1 if visibility.window is None else visibility.window
    plain = (causal or window >= 0) and positions.device.type == "cpu" and _plain(packed)
    if order is None:
        at = torch.arange(starts[-1], device=positions.device)
    else:
        at = torch.cat([torch.arange(starts[b], starts[b + 1]) for b in order]).to(positions.device)
    # Copied where nothing moves, too: which of them are one tensor is a thing the compiler compiles anew for.
    positions, segments, rank, reach = (None if x is None else x[at] for x in (positions, segments, rank, reach))
    assert positions is not None
    table = torch.tensor([(order is not None, plain, causal), (window, 0, 0), *groups], dtype=torch.int64)
    return Plan(table, at, positions, segments, rank, reach)


def group(lengths: list[int]) -> tuple[list[Group], list[int] | None]:
    """Lengths of the sequences in pack order -> groups of neighbours of equal length, and None; or, where sorting the
    sequences by length first saves more than a third of the groups, those of the sorted pack, and the sequences' order.
    """
    runs = _runs(lengths)
    if 3 * len(set(lengths)) >= 2 * len(runs):
        return runs, None
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    return _runs([lengths[b] for b in order]), order


def _runs(lengths: list[int]) -> list[Group]:
    runs, start = [], 0
    for length, same in itertools.groupby(lengths):
        n = len(list(same))
        if length:
            runs.append((start, n, length))
        start += n * length
    return runs


def _plain(packed: Packed) -> bool:
    """Whether positions are each sequence's own 0, 1, 2 …, so that masks may be left out where lengths allow it."""
    cu = packed.cu_seqlens.long()
    own = torch.arange(packed.positions.shape[0]) - torch.repeat_interleave(cu[:-1], cu.diff())
    return bool((packed.positions == own).all())


class Rule:
    """A plan's parts and the distance index, as the operator gets them: who sees whom in a group, and how far apart."""

    def __init__(
        self,
        table: Tensor,
        positions: Tensor,
        segments: Tensor | None,
        rank: Tensor | None,
        reach: Tensor | None,
        index: Tensor | None,
    ) -> None:
        (self.reordered, self.plain, self.causal), (self.window, _, _), *groups = table.tolist()
        self.groups: list[Group] = [(start, n, length) for start, n, length in groups]
        self.end = max((start + n * length for start, n, length in self.groups), default=0)  # spare rows follow
        self.positions, self.segments, self.rank, self.reach, self.index = positions, segments, rank, reach, index

    def triangle(self, at: Group) -> bool:
        """Whether the rule is the lower triangle, which flash attention knows by name."""
        return bool(self.causal and self.plain and not self._narrow(at))

    def hidden(self, at: Group) -> Tensor | None:
        """(n, 1, L, L) bool, true where q does *not* see k; None where everybody sees everybody."""
        hidden = None
        if self._narrow(at):
            position = rows(self.positions, at)
            hidden = (position[:, :, None] - position[:, None, :]).abs() > self.window
        rank, reach = (self.positions, self.positions) if self.causal else (self.rank, self.reach)
        if rank is not None and reach is not None:
            later = rows(rank, at)[:, None, :] > rows(reach, at)[:, :, None]
            hidden = later if hidden is None else hidden | later
        return None if hidden is None else hidden[:, None]

    def relation(self, at: Group) -> Tensor | None:
        """(n, 1, L, L) int64: the distance index of each pair; None without distance terms."""
        if self.index is None:
            return None
        position = rows(self.positions, at)
        return relate(self.index, position[:, None, :, None], position[:, None, None, :])

    def same(self, at: Group) -> Tensor | None:
        """(n, 1, L, L) bool: whether the two rows' segments are the same; None where segments do not count."""
        if self.segments is None:
            return None
        segment = rows(self.segments, at)
        return segment[:, None, :, None] == segment[:, None, None, :]

    def _narrow(self, at: Group) -> bool:
        return self.window >= 0 and not (self.plain and at[2] - 1 <= self.window)


def rows(values: Tensor, at: Group) -> Tensor:
    """values (T, …) -> the group's (n, L, …), a view."""
    start, n, length = at
    return values[start : start + n * length].unflatten(0, (n, length))


def heads(values: Tensor, at: Group) -> Tensor:
    """values (T, N, …) -> the group's (n, N, L, …), a view."""
    return rows(values, at).transpose(1, 2)


def split(qkv: Tensor, at: Group) -> tuple[Tensor, Tensor, Tensor]:
    """qkv (T, 3, N, H) or its gradient -> the group's q, k and v, (n, N, L, H) each, views."""
    q, k, v = rows(qkv, at).permute(2, 0, 3, 1, 4).unbind(0)
    return q, k, v
