"""Causal language modelling (Radford et al., 2018, §3.1): what comes next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from didact.batch import Example, Labels, Prepared
from didact.data.flat import Asked, Flat
from didact.data.ragged import cuts_of
from didact.heads import Head, Vocabulary
from didact.objectives.base import Keys, Objective, alone
from didact.visibility import causal

Array = NDArray[Any]


@dataclass(frozen=True)
class Causal(Objective):
    """Hidden: from every row, what comes after it. Asked: of every row, the token that comes next.

    Every token of a sequence is asked, special ones too, except the first one, which nothing precedes: the row before
    is asked for it. So [CLS] or a leading end of text is never asked, and the token after it is asked of it; a
    sequence that begins in mid-text begins with a token that is only read. A separator between two documents is asked
    of the last row of the first, and is the row of which the second one's first token is asked: what ends one document
    begins the next, as in GPT-2, whose <|endoftext|> is both. Documents that share a sequence do not see each other,
    and each counts its positions from 0 (GPT-2 let them see each other); the same holds for all sequences of a pack.

    Used by GPT, GPT-2. name: of its figures.
    """

    kind: ClassVar[str] = "causal"
    name: str = "clm"

    @property
    def heads(self) -> Mapping[str, Head]:
        return {"vocabulary": Vocabulary()}

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def visibility(self) -> Literal["causal"]:
        return "causal"

    def prepare(self, example: Example, rng: np.random.Generator) -> Prepared:
        return alone(self, example, rng)

    def ask(self, flat: Flat, keys: Keys) -> Flat:  # noqa: ARG002
        lengths = flat.lengths
        asked = np.ones(len(flat.tokens), bool)  # the token at this row, of the row before it
        asked[flat.cuts[:-1][lengths > 0]] = False
        at = asked.nonzero()[0]
        counts = np.maximum(lengths - 1, 0)
        source_bytes = flat.column("source_bytes")
        labels = Labels(
            "vocabulary",
            rows=at - 1 - flat.cuts[:-1].repeat(counts),
            values=flat.originals[at],
            name=self.name,
        )
        return flat.then(
            replace(
                flat,
                labels=(
                    Asked(labels, cuts_of(counts), source_bytes=None if source_bytes is None else source_bytes[at]),
                ),
                hidden=asked,
                visibility=causal(),
                parts=apart(flat),
            )
        )


def apart(flat: Flat) -> Array | None:
    """(N,) bool: where documents begin, their separators included; None where every sequence is one document's."""
    begins = [
        (start, e.targets["documents"])
        for start, e in zip(flat.cuts, flat.examples, strict=False)
        if len(e.targets.get("documents", ()))
    ]
    if not begins:
        return flat.parts
    parts = np.zeros(len(flat.tokens) + 1, bool) if flat.parts is None else np.append(flat.parts, False)
    parts[flat.cuts] = True
    for start, rows in begins:
        parts[start + rows] = True
    return parts[:-1]
