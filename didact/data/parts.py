"""Sequences side by side in one example: each a part, unseen by the others (`Example.parts`), and never split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from didact.batch import Example


def parted(example: Example) -> list[Example]:
    """The parts of an example as examples, without what is known of the whole; [it] where it is one sequence."""
    if example.parts is None:
        return [example]
    borders = [*example.parts.tolist(), len(example)]

    def cut(column: NDArray[Any] | None, own: slice) -> NDArray[Any] | None:
        return None if column is None else column[own]

    return [
        Example(example.tokens[own], example.special[own], cut(example.segments, own), cut(example.words, own))
        for own in (slice(a, b) for a, b in pairwise(borders))
    ]


def side_by_side(parts: Sequence[Example], targets: Mapping[str, Any] | None = None) -> Example:
    """k sequences as the parts of one example, whose source is the first's; what is known of their characters is
    dropped.
    """
    starts = np.cumsum([0, *(len(part) for part in parts[:-1])])

    def column(name: str) -> NDArray[Any] | None:
        columns = [getattr(part, name) for part in parts]
        return None if any(c is None for c in columns) else np.concatenate(columns)

    return replace(
        parts[0],
        tokens=np.concatenate([part.tokens for part in parts]),
        special=np.concatenate([part.special for part in parts]),
        segments=column("segments"),
        words=None,
        sentences=None,
        offsets=None,
        source_bytes=None,
        parts=starts,
        targets=targets or {},
    )
