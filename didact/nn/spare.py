"""Spare rows: a pack's rows are filled up with zeros to a number that comes again, where products are in bf16 on a CPU.

There, oneDNN writes a program for every shape it multiplies, and packs have as many rows as their texts happen to have:
a product of a new shape took 2.5 to 20 ms more than one that had come before. Measured, steps of BERT-mini at mixed
lengths on two cores with AMX, no number of rows twice: 347 ms a step, 264 once every shape had come before. Sizes with
six leading bits come again soon (32 an octave), and at most three rows in a hundred are spare.

Nobody sees a spare row, and none is in what a stack gives: they are cut off before.

Shapes: T rows, W rows with the spare ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

BITS = 6


def spare(rows: int, device: torch.device, dtype: torch.dtype) -> int:
    """How many rows to add to so many; dtype: what products are computed in."""
    if device.type != "cpu" or dtype != torch.bfloat16:
        return 0
    return -rows % (1 << max(0, rows.bit_length() - BITS))


def multiplied(x: Tensor) -> torch.dtype:
    """What products with rows like x are computed in."""
    place = x.device.type
    return torch.get_autocast_dtype(place) if torch.is_autocast_enabled(place) else x.dtype


def filled(x: Tensor, rows: int) -> Tensor:
    """x (T, …) -> (T + rows, …), zeros behind."""
    return x if rows == 0 else torch.cat((x, x.new_zeros(rows, *x.shape[1:])))


def through(layer: torch.nn.Module, x: Tensor) -> Tensor:
    """layer(x) for a layer that takes rows (T, …) one by one, its products with spare rows."""
    return layer(filled(x, spare(len(x), x.device, multiplied(x))))[: len(x)]
