"""Rows that are answered as one: softmax, mean, maximum and first row within each group of rows.

Group i is rows `groups[i]` to `groups[i + 1]`; rows before the first and past the last border belong to no group
(rows added only to keep shapes constant). A group may be empty: its mean and maximum are zeros.

Shapes: n rows, g groups, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def group_ids(groups: Tensor, n: int) -> Tensor:
    """groups (g + 1,) -> (n,) int64: each row's group; g for the rows that belong to none."""
    rows = torch.arange(n, device=groups.device)
    ids = torch.searchsorted(groups[1:].long(), rows, right=True)
    return torch.where(rows < groups[0], groups.shape[0] - 1, ids)


def log_softmax_within(logits: Tensor, groups: Tensor) -> Tensor:
    """logits (n, …) -> log-probabilities (n, …) float32, normalised within each group; zeros outside groups."""
    logits = logits.float()
    count, ids = groups.shape[0] - 1, group_ids(groups, logits.shape[0])
    top = _maximum(logits.detach(), ids, count)
    shifted = logits - top[ids]
    total = shifted.new_zeros(count + 1, *logits.shape[1:]).index_add(0, ids, shifted.exp())
    outside = (ids == count).view(-1, *[1] * (logits.dim() - 1))
    return (shifted - total.clamp(min=torch.finfo(torch.float32).tiny).log()[ids]).masked_fill(outside, 0.0)


def maximum_within(values: Tensor, groups: Tensor) -> Tensor:
    """values (n, …) -> (g, …): the largest of each group, entry by entry."""
    count = groups.shape[0] - 1
    return _maximum(values, group_ids(groups, values.shape[0]), count)[:count]


def mean_within(values: Tensor, groups: Tensor) -> Tensor:
    """values (n, D) -> (g, D): the mean row of each group, summed in float32."""
    count, ids = groups.shape[0] - 1, group_ids(groups, values.shape[0])
    total = torch.zeros(count + 1, *values.shape[1:], device=values.device).index_add(0, ids, values.float())
    sizes = (groups[1:] - groups[:-1]).clamp(min=1).view(-1, *[1] * (values.dim() - 1))
    return (total[:count] / sizes).to(values.dtype)


def first_within(values: Tensor, groups: Tensor) -> Tensor:
    """values (n, …) -> (g, …): the first row of each group."""
    return at(values, groups, torch.zeros_like(groups[1:]))


def last_within(values: Tensor, groups: Tensor) -> Tensor:
    """values (n, …) -> (g, …): the last row of each group."""
    return at(values, groups, (groups[1:] - groups[:-1] - 1).clamp(min=0))


def at(values: Tensor, groups: Tensor, index: Tensor) -> Tensor:
    """values (n, …), index (g, …) counted within each group -> values at those rows; of an empty group, any row's.

    values (n,) with index (g,) gives (g,); values (n, k) with index (g, k) gives column j at index[:, j].
    """
    rows = (groups[:-1].view(-1, *[1] * (index.dim() - 1)) + index).long().clamp(max=values.shape[0] - 1)
    return values.gather(0, rows) if index.dim() > 1 else values[rows]


def _maximum(values: Tensor, ids: Tensor, count: int) -> Tensor:
    """(count + 1, …): the largest of each group, the last for rows outside; zeros where a group is empty."""
    index = ids.view(-1, *[1] * (values.dim() - 1)).expand_as(values)
    start = values.new_zeros(count + 1, *values.shape[1:])
    return start.scatter_reduce(0, index, values, "amax", include_self=False)
