"""Packing: which sequences share a pack of at most so many tokens. Best-fit decreasing, and an even deal.

Best fit decreasing (Johnson et al., 1974): longest first, each into the fullest pack that still holds it. It needs at
most 11/9 of the fewest packs possible, and on lengths of text wastes far below 1 % where packs are many.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from didact.batch import Batch, Prepared
from didact.data.lay import lay_prepared
from didact.errors import InputError

Sizes = Sequence[int] | NDArray[Any]


def pack(sizes: Sizes, capacity: int) -> list[list[int]]:
    """sizes (n,) in tokens -> packs of indices, each of at most `capacity` tokens, longest index first.

    Raises InputError where one size exceeds the capacity.
    """
    order, sizes = _longest_first(sizes, capacity)
    packs: list[list[int]] = []
    open_packs: dict[int, list[int]] = {}  # by the room that is left in them
    rooms = 0  # bit r is set where some pack has room r: the fullest one that fits is the lowest bit above
    for index in order:
        size = sizes[index]
        fitting = rooms >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1
            number = open_packs[room].pop()
            if not open_packs[room]:
                rooms ^= 1 << room
            packs[number].append(index)
        else:
            room, number = capacity, len(packs)
            packs.append([index])
        left = room - size
        open_packs.setdefault(left, []).append(number)
        rooms |= 1 << left
    return packs


def deal(sizes: Sizes, capacity: int, ranks: int = 1) -> list[list[int]]:
    """Like `pack`, with as few packs as it takes, evenly full, their number a multiple of `ranks` (the last ones may
    be empty). Pack j belongs to rank j % ranks; packs of one round are about equally full, so that no rank waits.
    """
    order, sizes = _longest_first(sizes, capacity)
    number = _multiple(-(-sum(sizes) // capacity), ranks)
    even = _even(order, sizes, capacity, number)
    if even is None:
        fewest = pack(sizes, capacity)
        number = _multiple(len(fewest), ranks)
        even = _even(order, sizes, capacity, number) or fewest + [[] for _ in range(number - len(fewest))]
    return sorted(even, key=lambda p: -sum(sizes[i] for i in p))


def _multiple(number: int, ranks: int) -> int:
    """The least multiple of `ranks` that is at least `number`, and more than none."""
    return max(1, -(-number // ranks)) * ranks


def _even(order: list[int], sizes: list[int], capacity: int, number: int) -> list[list[int]] | None:
    """Longest processing time first (Graham, 1969): each to the emptiest of `number` packs; None if one overflows."""
    if number == 1:
        return [order] if sum(sizes) <= capacity else None
    packs: list[list[int]] = [[] for _ in range(number)]
    # (load, pack) as one integer: half the time of a heap of pairs.
    bits = number.bit_length()
    loads, pack_of, limit, replaced = list(range(number)), (1 << bits) - 1, (capacity + 1) << bits, heapq.heapreplace
    for index in order:
        least = loads[0]
        more = least + (sizes[index] << bits)
        if more >= limit:
            return None
        packs[least & pack_of].append(index)
        replaced(loads, more)
    return packs


def collate(prepared: Sequence[Prepared], max_seqlen: int | None = None) -> Batch:
    """Prepared sequences -> one pack, longest first (equal lengths are neighbours: attention then needs no gather).

    max_seqlen: a bound to state instead of the longest length, for compiled code that wants it constant.
    """
    flat = lay_prepared(prepared)
    return flat.batch(np.argsort(-flat.sizes, kind="stable"), max_seqlen)


def efficiency(sizes: Sizes, packs: Sequence[Sequence[int]], capacity: int) -> float:
    """The share of the packs' room that holds tokens."""
    return float(np.sum(sizes)) / (capacity * len(packs)) if packs else 1.0


def _longest_first(sizes: Sizes, capacity: int) -> tuple[list[int], list[int]]:
    array = np.asarray(sizes, np.int64)
    if array.size and int(array.max()) > capacity:
        raise InputError(
            f"a sequence of {int(array.max())} tokens does not fit a micro-batch of {capacity}",
            expected="micro-batches at least as large as the longest sequence",
        )
    return np.argsort(-array, kind="stable").tolist(), array.tolist()
