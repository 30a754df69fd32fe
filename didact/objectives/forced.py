"""Sequence to sequence by teacher forcing (Sutskever et al., 2014; Vaswani et al., 2017, §5): the encoder reads a text,
the decoder writes another, or the same, and reads what it should have written so far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from didact.batch import Example, Labels, Prepared
from didact.heads import Head, Vocabulary
from didact.objectives.base import Objective
from didact.visibility import causal


@dataclass(frozen=True)
class Forced(Objective):
    """Hidden: from every row of the decoder, what comes after it in the target. Asked: of every row of the decoder, the
    target's next token.

    The decoder's row i reads token i - 1 of the target, its first row `start`. The target is what the example says
    (`targets["target"]`, token ids) or the example itself. Nothing of the inputs is hidden: where the target is the
    example itself, that is copying.

    start: id of the token that the decoder's first row reads; name: of its figures.
    """

    kind: ClassVar[str] = "forced"

    start: int = 2
    name: str = "s2s"

    @property
    def heads(self) -> Mapping[str, Head]:
        return {"vocabulary": Vocabulary()}

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def decoder(self) -> bool:
        return True

    def beginning(self, start: int) -> Forced:
        return replace(self, start=start)

    def prepare(self, example: Example, rng: np.random.Generator) -> Prepared:  # noqa: ARG002
        target = np.asarray(example.targets.get("target", example.tokens), np.int64)
        read = np.concatenate([[self.start], target[:-1]]).astype(np.int64)[: len(target)]
        rows = np.arange(len(target))
        asked = Labels("vocabulary", rows, target, side="outputs", name=self.name)
        outputs = Example(read, np.zeros(len(read), bool))
        return Prepared(example, (asked,), outputs, output_visibility=causal())
