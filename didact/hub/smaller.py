"""A smaller model out of a larger one: some of its layers, and everything else that fits (Sanh et al., 2019, §3).

DistilBERT began as every second layer of BERT; the reference script's choice of six out of twelve (0, 2, 4, 7, 9, 11)
is what spreading them evenly from the first to the last gives.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from didact.errors import InputError
from didact.model import Model

_BLOCK = re.compile(r"(core|decoder)\.blocks\.(\d+)\.(.+)")


def spread(layers: int, among: int) -> tuple[int, ...]:
    """`layers` of `among` layers, evenly from the first to the last: (6, 12) -> 0 2 4 7 9 11."""
    if not 1 <= layers <= among:
        raise InputError(f"{layers} layers out of {among}", expected=f"1 to {among}")
    if layers == 1:
        return (0,)
    return tuple(round(i * (among - 1) / (layers - 1)) for i in range(layers))


@torch.no_grad()
def take_layers(smaller: Model, larger: Model, layers: Sequence[int] | None = None) -> tuple[str, ...]:
    """Copy into `smaller`, in place, the blocks of `larger` that `layers` names (None: spread evenly, as a decoder's
    always are), its embeddings, final norms, pooler and heads of the same name. Returns the parameters that `larger`
    had nothing for.

    What the smaller one has no place for (a table of segments) is left behind, as in the reference script; a table of
    positions may be shorter. Raises InputError where a matrix that both have is of another shape.
    """
    count, among = len(smaller.core.blocks), len(larger.core.blocks)
    chosen = spread(count, among) if layers is None else tuple(layers)
    if len(chosen) != count or not all(0 <= layer < among for layer in chosen):
        raise InputError(f"layers {list(chosen)}", expected=f"{count} of 0 to {among - 1}")
    taken = {"core": chosen}
    if smaller.decoder is not None and larger.decoder is not None:
        taken["decoder"] = spread(len(smaller.decoder.blocks), len(larger.decoder.blocks))
    source = dict(larger.state_dict())
    fresh: list[str] = []
    for name, own in smaller.state_dict().items():
        theirs = source.get(_origin(name, taken))
        if theirs is None:
            fresh.append(name)
        elif name.endswith(".embedding.position.weight"):
            own.copy_(_positions(theirs, own, larger, smaller))
        elif own.shape != theirs.shape:
            raise InputError(
                f"the larger model's {name} is {tuple(theirs.shape)}", expected=f"{tuple(own.shape)}, the smaller one's"
            )
        else:
            own.copy_(theirs)
    return tuple(fresh)


def _origin(name: str, taken: Mapping[str, Sequence[int]]) -> str:
    found = _BLOCK.fullmatch(name)
    if found is None or found[1] not in taken:
        return name
    return f"{found[1]}.blocks.{taken[found[1]][int(found[2])]}.{found[3]}"


def _positions(theirs: Tensor, own: Tensor, larger: Model, smaller: Model) -> Tensor:
    """The rows of the first positions, whichever row position 0 is in."""
    before, after = larger.config.position.offset, smaller.config.position.offset
    rows = theirs[before : before + own.shape[0] - after]
    if rows.shape[0] < own.shape[0] - after or rows.shape[1] != own.shape[1]:
        raise InputError(
            f"the larger model has {rows.shape[0]} positions of width {rows.shape[1]}",
            expected=f"{own.shape[0] - after} of {own.shape[1]}, the smaller one's",
        )
    return torch.cat([own[:after], rows])
