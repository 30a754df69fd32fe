"""Memory: what a sequence sees of those it continues (Transformer-XL: Dai et al., 2019, §3.2; XLNet: Yang et al., 2019,
§2.4), worked out beforehand, turn by turn.

In a turn run the sequences whose predecessors have run. Each is laid behind the rows that it remembers, whose positions
are -1, -2 … backwards from its first row; everybody of the sequence sees them and they see nobody. They are of segment
0, as in the reference code (modeling.py, `mem_pad`), whatever they were of.

In attention the remembered rows pass through the whole fused projection, though q is not asked of them, and are queries
that see nothing: a third of their projection is computed for nothing, and no kernel has to know two kinds of packs.

Shapes: T own rows of a turn, M remembered rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from didact.batch import Side
from didact.nn.attention import Places
from didact.packed import Packed, cumulated
from didact.visibility import EVERYBODY, ranked


@dataclass(frozen=True)
class Turn:
    """rows (T,), memory (M,): of the whole pack, those that run and those that are remembered; side: what attention
    sees, of M + T rows; places: where both lie in it.
    """

    rows: Tensor
    memory: Tensor
    side: Side
    places: Places | None


def turns(side: Side) -> Iterator[Turn]:
    """The turns of a pack with a chain, in order. Waits for the device where cu_seqlens lives on one."""
    packed = side.packed
    assert packed.chain is not None
    starts = packed.cu_seqlens.tolist()
    after, most = packed.chain.after, packed.chain.memory
    own = [list(range(a, b)) for a, b in itertools.pairwise(starts)]
    asking = set() if packed.queries is None else set(packed.queries.tolist())
    before: list[list[int]] = []  # of each sequence: the rows that it remembers
    depth: list[int] = []
    for previous in after:
        rows = [] if previous < 0 else before[previous] + [row for row in own[previous] if row not in asking]
        before.append(rows[len(rows) - min(most, len(rows)) :])
        depth.append(0 if previous < 0 else depth[previous] + 1)
    for level in range(max(depth, default=-1) + 1):
        now = [b for b, d in enumerate(depth) if d == level]
        yield _turn(side, [before[b] for b in now], [own[b] for b in now])


def _turn(side: Side, before: list[list[int]], own: list[list[int]]) -> Turn:
    packed, device = side.packed, side.packed.tokens.device
    every = [row for b, o in zip(before, own, strict=True) for row in b + o]
    held = [mine for b, o in zip(before, own, strict=True) for mine in [False] * len(b) + [True] * len(o)]
    backwards = [p for b, o in zip(before, own, strict=True) for p in [*range(-len(b), 0), *(0 for _ in o)]]
    at = torch.tensor(every, dtype=torch.int64, device=device)
    mine = torch.tensor(held, dtype=torch.bool, device=device)
    place = mine.nonzero()[:, 0]
    rows, memory = at[place], at[~mine]
    positions = torch.where(mine, packed.positions[at], torch.tensor(backwards, dtype=torch.int64, device=device))
    lengths = [len(b) + len(o) for b, o in zip(before, own, strict=True)]
    laid = Packed(
        tokens=packed.tokens[at],
        positions=positions,
        cu_seqlens=cumulated(lengths).to(device),
        max_seqlen=packed.max_seqlen + max(map(len, before), default=0),
        segments=None if packed.segments is None else packed.segments[at] * mine,
    )
    rule = side.visibility
    if not len(memory):
        if rule.rank is not None and rule.reach is not None:
            rule = ranked(rule.rank[at], rule.reach[at]).within(rule.window)
        return Turn(rows, memory, Side(laid, rule), None)
    rank, reach = (values[at] for values in rule.ranks(packed))
    rank, reach = rank.masked_fill(~mine, EVERYBODY), reach.masked_fill(~mine, EVERYBODY - 1)
    order = torch.empty_like(at)  # which of the remembered rows, then the own ones, lies where
    order[~mine] = torch.arange(len(memory), device=device)
    order[place] = torch.arange(len(memory), len(at), device=device)
    return Turn(rows, memory, Side(laid, ranked(rank, reach).within(rule.window)), Places(order, place))
