"""One side of any selection of a step's sequences, as the core takes it: packed, with query rows beside the others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from didact.batch import Side
from didact.data.ragged import Array, cuts_of, ragged
from didact.packed import Chain, Packed
from didact.visibility import Visibility, joined, ranked, with_queries

if TYPE_CHECKING:
    from didact.data.flat import Flat


def side_of(flat: Flat, order: Array, max_seqlen: int | None) -> tuple[Side, Array, Array | None]:
    """One side of the picked sequences; the row at which each starts; and where its rows have come to lie, where that
    is elsewhere (see `_beside`).
    """
    old = flat.cuts[:-1][order]
    lengths = flat.cuts[1:][order] - old
    borders = cuts_of(lengths)
    starts, spans = borders[:-1], lengths
    positions = np.arange(int(borders[-1])) - starts.repeat(lengths)
    at = positions + old.repeat(lengths)
    if flat.parts is not None:
        borders = np.append(flat.parts[at].nonzero()[0], len(at))
        spans = np.diff(borders)
        positions = np.arange(len(at)) - borders[:-1].repeat(spans)
    most = int(spans.max(initial=0))
    if flat.positions is not None:
        positions = flat.positions[at]
        most = max(most, 1 + int(positions.max(initial=-1)))
    packed = Packed(
        tokens=torch.from_numpy(flat.tokens[at].astype(np.int64, copy=False)),
        positions=torch.from_numpy(positions),
        cu_seqlens=torch.from_numpy(borders.astype(np.int32)),
        max_seqlen=max_seqlen or most,
        segments=None if flat.segments is None else torch.from_numpy(flat.segments[at].astype(np.int64, copy=False)),
    )
    visibility = flat.visibility
    if not isinstance(visibility, Visibility):
        visibility = joined([visibility[i] for i in order], lengths.tolist())
    elif visibility.kind == "ranked":
        visibility = visibility.of(torch.from_numpy(at))
    if flat.memory is not None and flat.parts is not None:
        first = np.zeros(len(at) + 1, bool)
        first[starts] = True
        after = np.where(first[borders[:-1]], -1, np.arange(len(borders) - 1) - 1)
        packed = replace(packed, chain=Chain(tuple(after.tolist()), flat.memory))
    side = Side(packed, visibility)
    if flat.queries is None:
        return side, starts, None
    counts = flat.queries.cuts[order + 1] - flat.queries.cuts[order]
    asking = flat.queries.rows[ragged(flat.queries.cuts[order], counts)] + starts.repeat(counts)
    side, places = _beside(side, asking)
    return side, *_numbered(places, lengths, counts)


def _beside(side: Side, asking: Array) -> tuple[Side, Array]:
    """A side and query rows for its rows `asking` (Q,), increasing: at the end of each sequence its own. And the places
    (T + Q,) of the T rows, then of the query rows.
    """
    packed = side.packed
    borders = packed.cu_seqlens.numpy().astype(np.int64)
    T, lengths = int(borders[-1]), np.diff(borders)
    counts = np.diff(asking.searchsorted(borders))
    starts = cuts_of(lengths + counts)[:-1]
    places = np.concatenate([ragged(starts, lengths), ragged(starts + lengths, counts)])
    asked, at = torch.from_numpy(asking), torch.from_numpy(places)

    def laid(values: torch.Tensor, of_queries: torch.Tensor) -> torch.Tensor:
        return values.new_empty(len(places)).index_copy_(0, at, torch.cat((values, of_queries)))

    wide = replace(
        packed,
        tokens=laid(packed.tokens, torch.zeros_like(asked)),  # they read none: nothing may be told by it
        positions=laid(packed.positions, packed.positions[asked]),
        segments=None if packed.segments is None else laid(packed.segments, packed.segments[asked]),
        cu_seqlens=torch.from_numpy(cuts_of(lengths + counts).astype(np.int32)),
        queries=at[T:],
    )
    rank, reach = with_queries(*side.visibility.ranks(packed), asked)
    rule = ranked(torch.empty_like(rank).index_copy_(0, at, rank), torch.empty_like(reach).index_copy_(0, at, reach))
    return Side(wide, rule.within(side.visibility.window)), places


def _numbered(places: Array, lengths: Array, counts: Array) -> tuple[Array, Array]:
    """places of all rows, then of all query rows -> the row at which each sequence starts, its rows being numbered with
    its query rows behind them, and the place of each row so numbered.
    """
    starts = cuts_of(lengths + counts)[:-1]
    numbers = np.concatenate([ragged(starts, lengths), ragged(starts + lengths, counts)])
    out = np.empty_like(places)
    out[numbers] = places
    return starts, out
