"""Two language models at once, one in each direction (Peters et al., 2018, §3.1).

Shapes: n sequences, N tokens of them all, R asked rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from didact.batch import Example, Labels, Prepared
from didact.data.flat import Asked, Flat
from didact.data.ragged import cuts_of
from didact.heads import Head, Vocabulary
from didact.objectives.base import Keys, Objective, alone

Array = NDArray[Any]


@dataclass(frozen=True)
class BidirectionalLM(Objective):
    """Hidden: every token, from the two rows that are asked for it. Asked: the next token, of the stream "forward", and
    the previous one, of "backward"; one softmax for both.

    Used by ELMo. Each direction alone is a causal language model, of the text and of the text reversed. The loss is the
    sum of the two means (Peters et al., 2018, §3.1). Special tokens are read and never asked for: where a sequence was
    cut cannot be known. (The reference code, bilm-tf, asks for its marks of begin and end of a sentence.)
    """

    kind: ClassVar[str] = "bidirectional_lm"

    @property
    def heads(self) -> Mapping[str, Head]:
        return {"vocabulary": Vocabulary(stream="forward")}

    @property
    def names(self) -> tuple[str, ...]:
        return ("forward", "backward")

    @property
    def streams(self) -> tuple[str, ...]:
        return ("forward", "backward")

    def prepare(self, example: Example, rng: np.random.Generator) -> Prepared:
        return alone(self, example, rng)

    def ask(self, flat: Flat, keys: Keys) -> Flat:  # noqa: ARG002
        special = flat.column("special")
        assert special is not None
        borders = np.zeros(len(special) + 1, bool)
        borders[flat.cuts] = True  # row r begins a sequence, so r - 1 ended one
        if flat.parts is not None:
            borders[:-1] |= flat.parts
        forward = np.flatnonzero(~special & ~borders[:-1])  # what is asked for; the row before it is asked
        backward = np.flatnonzero(~special & ~borders[1:])
        hidden = np.zeros(len(special), bool)
        hidden[forward] = hidden[backward] = True
        labels = (_asked(flat, forward, -1, "forward"), _asked(flat, backward, 1, "backward"))
        return flat.then(replace(flat, labels=labels, hidden=hidden))


def _asked(flat: Flat, wanted: Array, step: int, stream: str) -> Asked:
    """wanted (R,): rows whose tokens are asked for, each of the row `step` beside it."""
    sequences = flat.cuts.searchsorted(wanted, "right") - 1
    source_bytes = flat.column("source_bytes")
    return Asked(
        Labels(
            "vocabulary",
            rows=wanted + step - flat.cuts[sequences],
            values=flat.originals[wanted],
            stream=stream,
            name=stream,
        ),
        cuts=cuts_of(np.bincount(sequences, minlength=len(flat))),
        source_bytes=None if source_bytes is None else source_bytes[wanted],
    )
