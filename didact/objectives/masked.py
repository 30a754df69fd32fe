"""Masked language modelling (Devlin et al., 2019, §3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import ClassVar

import numpy as np

from didact.batch import Example, Labels, Prepared
from didact.data.flat import Asked, Flat
from didact.data.ragged import cuts_of
from didact.heads import Head, Vocabulary
from didact.objectives.base import Keys, Objective, alone
from didact.objectives.corrupt import Corrupt
from didact.objectives.corruption import shares_of_one
from didact.objectives.select import Select, Tokens
from didact.tokenization.tokenizer import Tokenizer

Rate = float | tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Masked(Objective):
    """Hidden: a share of the tokens, see `select`. Asked: what stood there, of the hidden and of the kept.

    Used by BERT, RoBERTa, ALBERT, SpanBERT's first term, ModernBERT. With `Spans` it is SpanBERT without its span
    boundary objective; with a fixed key per example it is BERT's static masking; rate 0.4, random 0 and mask 1 is
    what "Should you mask 15 %?" recommends (Wettig et al., 2023).

    mask_id, vocabulary (its size), specials: token ids, known when the objective is built for a tokenizer.
    rate: the share of a sequence's non-special tokens that is chosen, or points (step, rate), in order, that are
    joined by straight lines, constant before the first and after the last. select: which tokens. mask, random: shares
    of the chosen that become [MASK] or a random token; the rest is kept. Special tokens are never chosen, never drawn.
    name: of its figures.
    """

    kind: ClassVar[str] = "masked"
    mask_id: int
    vocabulary: int
    specials: tuple[int, ...]
    rate: Rate = 0.15
    mask: float = 0.8
    random: float = 0.1
    select: Select = field(default_factory=Tokens)
    name: str = "mlm"

    def __post_init__(self) -> None:
        rates = [self.rate] if isinstance(self.rate, float | int) else [r for _, r in self.rate]
        if not rates or not all(0.0 < r <= 1.0 for r in rates):
            raise ValueError(f"rate {self.rate}: a share of the tokens is above 0 and at most 1")
        steps = [] if isinstance(self.rate, float | int) else [-1, *(step for step, _ in self.rate)]
        if not all(before < step for before, step in pairwise(steps)):
            raise ValueError(f"rate {self.rate}: points (step, rate) in order, each of a later step, from 0")
        shares_of_one(mask=self.mask, random=self.random)

    @property
    def heads(self) -> Mapping[str, Head]:
        return {"vocabulary": Vocabulary()}

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def rated(self) -> tuple[str, ...]:
        return self.names

    def check(self, tokenizer: Tokenizer) -> None:
        self.select.check(tokenizer)

    def at(self, step: int) -> Masked:
        """Its rate at this step, a number."""
        return self if isinstance(self.rate, float | int) else replace(self, rate=self._rate(step))

    def at_rate(self, rate: float) -> Masked:
        return replace(self, rate=rate)

    def prepare(self, example: Example, rng: np.random.Generator) -> Prepared:
        return alone(self, example, rng)

    def ask(self, flat: Flat, keys: Keys) -> Flat:
        chosen = self.select(flat, self._rate(0), keys)
        tokens, gone = self._corrupt(flat.tokens, flat.cuts, chosen, keys)
        hidden = np.zeros(len(tokens), bool)
        hidden[chosen.rows[gone]] = True
        source_bytes = flat.column("source_bytes")
        asked = Asked(
            Labels(
                "vocabulary",
                rows=chosen.rows - flat.cuts[chosen.sequences],
                values=flat.originals[chosen.rows],
                name=self.name,
            ),
            cuts=cuts_of(np.bincount(chosen.sequences, minlength=len(flat))),
            source_bytes=None if source_bytes is None else source_bytes[chosen.rows],
        )
        return flat.then(replace(flat, tokens=tokens, labels=(asked,), hidden=hidden))

    @cached_property
    def _corrupt(self) -> Corrupt:
        return Corrupt(
            self.mask, self.random, self.mask_id, self.vocabulary, self.specials, together=self.select.together
        )

    def _rate(self, step: int) -> float:
        if isinstance(self.rate, float | int):
            return float(self.rate)
        steps, rates = zip(*self.rate, strict=True)
        return float(np.interp(step, steps, rates))
