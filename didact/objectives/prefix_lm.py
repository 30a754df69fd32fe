"""Prefix language modelling (Liu et al., 2018; Raffel et al., 2020, §3.2.3; Dong et al., 2019): how a text goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch

from didact.batch import Example, Labels, Prepared
from didact.data.flat import Asked, Flat
from didact.data.ragged import cuts_of
from didact.heads import Head, Vocabulary
from didact.objectives.base import Keys, Objective, alone
from didact.objectives.causal import apart
from didact.randomness import unit, words
from didact.visibility import prefix

_LENGTH = np.uint64(0x9F1E)  # what a draw is for, mixed into its key


@dataclass(frozen=True)
class PrefixLM(Objective):
    """Hidden: from every row, what comes after it, the prefix apart, of which every row sees all. Asked: of the last
    row of the prefix and of every later one, the token that comes next.

    How long the prefix is, is drawn: from one token to all but one, each length as likely. Used by T5 as a decoder
    without an encoder ("prefix LM"), UniLM's fine-tuning, PaLM's and UL2's decoders. With a prefix of one token it is
    `causal`; `span_corruption` with `select: suffix` and no sentinels is the same for an encoder and a decoder. Each
    document of a sequence has a prefix of its own and does not see the others; where the next one begins is asked of
    its last row, as in `causal`.

    smoothing: share of each answer that is spread evenly over the vocabulary; name: of its figures.
    """

    kind: ClassVar[str] = "prefix_lm"
    smoothing: float = 0.0
    name: str = "prefix_lm"

    @property
    def heads(self) -> Mapping[str, Head]:
        return {"vocabulary": Vocabulary(smoothing=self.smoothing)}

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def visibility(self) -> Literal["causal"]:
        return "causal"

    @property
    def ranked(self) -> bool:
        return True

    def prepare(self, example: Example, rng: np.random.Generator) -> Prepared:
        return alone(self, example, rng)

    def ask(self, flat: Flat, keys: Keys) -> Flat:
        parts = apart(flat)
        begins = np.zeros(len(flat.tokens), bool) if parts is None else parts.copy()
        begins[flat.cuts[:-1][flat.lengths > 0]] = True
        starts = begins.nonzero()[0]  # of every document
        lengths = np.diff(starts, append=len(flat.tokens))
        sequence = np.searchsorted(flat.cuts, starts, "right") - 1
        number = np.arange(len(starts)) - np.searchsorted(sequence, sequence)  # of a document in its sequence
        drawn = 1 + (unit(words((keys ^ _LENGTH)[sequence], number)) * (lengths - 1)).astype(np.int64)
        own = np.minimum(drawn, lengths).repeat(lengths)
        place = np.arange(len(flat.tokens)) - starts.repeat(lengths)
        asked = place >= own  # the token at this row, of the row before it
        asked |= begins  # what begins a document ends the one before
        asked[flat.cuts[:-1][flat.lengths > 0]] = False
        at = asked.nonzero()[0]
        counts = np.diff(np.append(0, asked.cumsum())[flat.cuts])
        source_bytes = flat.column("source_bytes")
        rows = at - 1 - flat.cuts[:-1].repeat(counts)
        labels = Labels("vocabulary", rows, flat.originals[at], name=self.name)
        return flat.then(
            replace(
                flat,
                labels=(
                    Asked(
                        labels,
                        cuts_of(counts),
                        source_bytes=None if source_bytes is None else source_bytes[at],
                    ),
                ),
                hidden=asked,
                visibility=prefix(torch.from_numpy(place), torch.from_numpy(own)),
                parts=parts,
            )
        )
