"""Mixtures of objectives: each example meets one of them, and may be told which (UL2: Tay et al., 2022, §3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from didact.batch import Batch, Example, Loss, Prepared
from didact.bounds import check_positive
from didact.data.dealt import dealt, gathered
from didact.data.edited import edited
from didact.data.flat import Flat
from didact.heads import Head
from didact.objectives.base import Answering, Keys, Objective, alone
from didact.objectives.fragments import Segments
from didact.objectives.span_corruption import SpanCorruption
from didact.randomness import unit, words
from didact.tokenization.tokenizer import Tokenizer

_WHICH, _OWN = np.uint64(0x3D01), np.uint64(0x3D02)  # what a draw is for, mixed into its key
# Tay et al., 2022, table 1: (mean length of a span, share of tokens hidden) of each kind; None: one span, a quarter of
# the text, at its end.
UL2 = (
    ("R", ((3.0, 0.15), (8.0, 0.15))),
    ("S", ((None, 0.25),)),
    ("X", ((3.0, 0.5), (8.0, 0.5), (64.0, 0.15), (64.0, 0.5))),
)


@dataclass(frozen=True)
class Mixed(Objective):
    """Hidden: what one of `parts` hides, drawn for each example by its own key. Asked: what that part asks. Where there
    are modes, the encoder reads a token before all others that says which kind of part it is.

    All parts ask a decoder. Parts may share a name, and then count as one in the figures. Each name's loss is the mean
    over its own answers, times the shares of its parts: what a mean over batches of one kind each comes to. (In UL2's
    code all target tokens of a batch weigh the same, so that parts with long targets weigh more.)

    Used by UL2: seven span corruptions of three kinds, regular, sequential and extreme, all as likely, with a token for
    each kind (`ul2`; [R], [S] and [X] in the paper, [NLU], [S2S] and [NLG] in its checkpoints).

    parts: the objectives; in a run file a list of `{OBJECTIVE: {…}, share: 1, mode: "[X]"}`, without one UL2's seven;
    shares: how likely each is, up to a factor, all alike unless told (in a run file beside each part); modes: for each
    part the token that says what is wanted, if it is to be said (in a run file beside each part, or UL2's as
    `{R: "[R]", S: "[S]", X: "[X]"}`, none of them as `{}`).
    """

    kind: ClassVar[str] = "mixed"
    parts: tuple[Objective, ...]
    shares: tuple[float, ...] | None = None
    modes: tuple[int | None, ...] | None = None

    def __post_init__(self) -> None:
        if not self.parts or any(isinstance(part, Mixed) or not part.decoder for part in self.parts):
            raise ValueError("parts: one or more objectives that ask a decoder, none of them a mixture")
        for name, given in (("shares", self.shares), ("modes", self.modes)):
            if given is not None and len(given) != len(self.parts):
                raise ValueError(f"{len(given)} {name} for {len(self.parts)} parts")
        for share in self.shares or ():
            check_positive(shares=share)
        for name, head in [item for part in self.parts for item in part.heads.items()]:
            if self.heads[name] != head:
                raise ValueError(f"two different heads are called {name!r}: {self.heads[name]} and {head}")

    @property
    def heads(self) -> Mapping[str, Head]:
        return {name: head for part in self.parts for name, head in part.heads.items()}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for part in self.parts for name in part.names))

    @property
    def decoder(self) -> bool:
        return True

    @property
    def alone(self) -> bool:
        return True

    @property
    def weights(self) -> Mapping[str, float]:
        """Of each of `names` in the sum."""
        own = self.shares or (1.0,) * len(self.parts)
        found = dict.fromkeys(self.names, 0.0)
        for part, share in zip(self.parts, own, strict=True):
            for name in part.names:
                found[name] += share / sum(own)
        return found

    def check(self, tokenizer: Tokenizer) -> None:
        for part in self.parts:
            part.check(tokenizer)

    def beginning(self, start: int) -> Mixed:
        return replace(self, parts=tuple(part.beginning(start) for part in self.parts))

    def at(self, step: int) -> Mixed:
        return replace(self, parts=tuple(part.at(step) for part in self.parts))

    def rows_of(self, length: int) -> int:
        return max(part.rows_of(length) for part in self.parts) + (self.modes is not None)

    def prepare(self, example: Example, rng: np.random.Generator) -> Prepared:
        return alone(self, example, rng)

    def ask(self, flat: Flat, keys: Keys) -> Flat:
        which = self._which(keys)
        each = dealt(flat, which, len(self.parts))
        own = keys ^ _OWN
        done = gathered([part.ask(each[i], own[which == i]) for i, part in enumerate(self.parts)], which)
        if self.modes is None:
            return done
        told = np.array([mode is not None for mode in self.modes])[which].nonzero()[0]
        modes = np.array([mode or 0 for mode in self.modes], np.int64)[which[told]]
        return edited(done, np.ones(len(done.tokens), bool), done.cuts[told], told, modes)

    def loss(self, models: Mapping[str, Answering], batch: Batch) -> Loss:
        parts = Objective.loss(self, models, batch).parts
        return Loss({name: replace(part, weight=self.weights[name]) for name, part in parts.items()})

    def _which(self, keys: Keys) -> np.ndarray:
        """(n,): each sequence's part."""
        until = np.cumsum(self.shares or (1.0,) * len(self.parts))
        return (until[:-1] / until[-1]).searchsorted(unit(words(keys ^ _WHICH, 0)), "right")


def ul2(sentinels: Sequence[int], start: int, end: int, modes: Mapping[str, int | None]) -> Mixed:
    """UL2's seven denoisers. modes: the tokens of "R", "S" and "X", or none of them."""
    parts, told = [], []
    for name, variants in UL2:
        for mean, rate in variants:
            select = Segments(1e9 if mean is None else mean)
            parts.append(SpanCorruption(tuple(sentinels), start, end, rate, select, name=name.lower()))
            told.append(modes.get(name))
    return Mixed(tuple(parts), modes=tuple(told) if modes else None)
