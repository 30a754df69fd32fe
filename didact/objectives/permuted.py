"""Permutation language modelling (Yang et al., 2019, §2.2–2.5): words predicted in an order that is drawn anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from didact.batch import Example, Labels, Prepared
from didact.data.flat import Asked, Flat, Queries
from didact.data.ragged import cuts_of
from didact.errors import InputError
from didact.heads import Head, Vocabulary
from didact.objectives.base import Keys, Objective, alone
from didact.objectives.select import InContext, Select
from didact.randomness import words
from didact.tokenization.tokenizer import Tokenizer
from didact.visibility import permuted

_ORDER = np.uint64(0x0D3E)  # what a draw is for, mixed into its key


@dataclass(frozen=True)
class Permuted(Objective):
    """Hidden: each asked token from the row asked for it and from all that come before it in the order; nothing is
    replaced. Asked: that token, of a query row at its place, which knows the place and sees what comes earlier.

    The order of a sequence: first what is not asked, which is seen by all and sees nothing else; then, one after the
    other in a drawn order, the asked tokens and the special ones, as in the reference code (data_utils.py,
    `_local_perm`; there special tokens take part, asked or not). Its content rows see themselves and what is earlier,
    its query rows what is earlier: where that is nothing (all of a sequence is asked), attention gives them zeros.

    Used by XLNet. With one order for all sequences, from left to right, and all asked, it is causal language modelling;
    with all asked rows seeing context alone it is masked language modelling without [MASK] in the input.

    rate: the share that is asked, 1 / K in the paper (§2.3, K = 6); select: which tokens; segments: into how many equal
    parts each sequence is cut, at most its length in tokens, later ones of which remember earlier ones (§2.4); memory:
    how many rows before its own a part sees, as the layer below made them and without gradients; name: of its figures.
    Memory begins empty with each sequence. (The reference code carries it from batch to batch, in the order of the
    corpus, and so must permute within the half of a segment that is carried; here orders run over whole segments.)
    """

    kind: ClassVar[str] = "permuted"
    rate: float = 1 / 6
    select: Select = field(default_factory=InContext)
    segments: int = 1
    memory: int = 384
    name: str = "plm"

    def __post_init__(self) -> None:
        if not 0.0 < self.rate <= 1.0:
            raise ValueError(f"rate {self.rate}: a share of the tokens is above 0 and at most 1")
        if self.segments < 1 or self.memory < 0:
            raise ValueError(f"segments {self.segments}, memory {self.memory}: at least 1, and at least 0")

    @property
    def heads(self) -> Mapping[str, Head]:
        return {"vocabulary": Vocabulary()}

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def rated(self) -> tuple[str, ...]:
        return self.names

    @property
    def queries(self) -> bool:
        return True

    @property
    def ranked(self) -> bool:
        return True

    @property
    def segmented(self) -> bool:
        return self.segments > 1

    def at_rate(self, rate: float) -> Permuted:
        return replace(self, rate=rate)

    def rows_of(self, length: int) -> int:
        if self.segments > length:
            raise InputError(
                f"permuted.segments {self.segments} of a sequence of {length} tokens", expected=f"at most {length}"
            )
        return length

    def check(self, tokenizer: Tokenizer) -> None:
        self.select.check(tokenizer)

    def prepare(self, example: Example, rng: np.random.Generator) -> Prepared:
        return alone(self, example, rng)

    def ask(self, flat: Flat, keys: Keys) -> Flat:
        if flat.parts is not None or flat.outputs is not None:
            raise ValueError("permuted language modelling is of sequences of one part and one side")
        chosen = self.select(flat, self.rate, keys)
        hidden = np.zeros(len(flat.tokens), bool)
        hidden[chosen.rows] = True
        cuts = cuts_of(np.bincount(chosen.sequences, minlength=len(flat)))
        local = chosen.rows - flat.cuts[chosen.sequences]
        source_bytes = flat.column("source_bytes")
        behind = flat.lengths[chosen.sequences] + np.arange(len(local)) - cuts[chosen.sequences]
        asked = Asked(
            Labels("vocabulary", rows=behind, values=flat.originals[chosen.rows], name=self.name),
            cuts=cuts,
            source_bytes=None if source_bytes is None else source_bytes[chosen.rows],
        )
        return flat.then(
            replace(
                flat,
                labels=(asked,),
                hidden=hidden,
                visibility=permuted(torch.from_numpy(_order(flat, hidden, keys))),
                queries=Queries(local, cuts),
                parts=None if self.segments == 1 else _cut(flat, self.segments),
                memory=None if self.segments == 1 else self.memory,
            )
        )


def _order(flat: Flat, hidden: NDArray[np.bool_], keys: Keys) -> NDArray[np.int64]:
    """(N,): the place of each row in its sequence's order, 0 for all that is not asked and not special."""
    special = flat.column("special")
    late = hidden if special is None else hidden | special
    rows = late.nonzero()[0]
    owner = np.arange(len(flat)).repeat(flat.lengths)[rows]
    drawn = np.lexsort((words(keys[owner] ^ _ORDER, rows - flat.cuts[owner]), owner))
    order = np.zeros(len(hidden), np.int64)
    order[rows[drawn]] = 1 + np.arange(len(rows)) - owner.searchsorted(owner)
    return order


def _cut(flat: Flat, segments: int) -> NDArray[np.bool_]:
    """(N,) bool: where parts begin, equal to within one row; a sequence shorter than `segments` has as many as rows."""
    lengths = flat.lengths.repeat(flat.lengths)
    parts = np.minimum(segments, lengths)
    local = np.arange(len(flat.tokens)) - flat.cuts[:-1].repeat(flat.lengths)
    number = -(-local * parts // lengths)  # of the first part that begins here or later
    return number * lengths // parts == local
