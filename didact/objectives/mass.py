"""Masked sequence to sequence (MASS: Song et al., 2019, §3.1): the fragment that an encoder does not see is written."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from didact.batch import Labels
from didact.data.edited import overwritten
from didact.data.flat import Flat, Moved
from didact.data.ragged import cuts_of
from didact.objectives.base import Keys
from didact.objectives.corrupt import Corrupt
from didact.objectives.corruption import share_of, shares_of_one
from didact.objectives.fragments import Fragment
from didact.objectives.select import Select
from didact.objectives.writing import Writing
from didact.objectives.written import Target, asked
from didact.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class Mass(Writing):
    """Hidden: the tokens of the fragment, from the encoder, and from the decoder's rows up to the one asked for each.
    Asked: of the decoder, the fragment, each token of a row that reads the token before it in the text and stands at
    its own place of the text. Nothing else is read or written there: what the encoder can see, the decoder cannot.

        text       the   river runs  past  the   old   mill
        encoder    the   river [M]   [M]   [M]   old   mill
        decoder                river runs  past                 at positions 2, 3, 4
        asked                  runs  past  the

    Used by MASS. With a fragment of one token it is masked language modelling, with the whole text causal language
    modelling (table 1 of the paper). Of the fragment 80 % are masked, 10 % random, 10 % read as they are (microsoft/
    MASS, `mask_word`). Its code also corrupts the decoder's own input in part (`random_word`), which is not done here,
    and one of its two programs counts the decoder's positions from 0; positions as in the text are those of the paper
    (§4.1) and of the other (masked_dataset.py).

    mask_id, vocabulary (its size), specials: token ids, known when the objective is built for a tokenizer; start: the
    token that is read for the first of a text that has none before it, the model's; rate: the fragment's share of the
    text; select: where it is; mask, random: shares of the fragment that become [MASK] or a random token, the rest is
    kept; smoothing: share of each answer that is spread evenly over the vocabulary; name: of its figures.
    """

    kind: ClassVar[str] = "mass"
    mask_id: int
    vocabulary: int
    specials: tuple[int, ...]
    start: int
    rate: float = 0.5
    select: Select = field(default_factory=Fragment)
    mask: float = 0.8
    random: float = 0.1
    smoothing: float = 0.0
    name: str = "mass"

    def __post_init__(self) -> None:
        share_of(self.rate, "rate")
        shares_of_one(mask=self.mask, random=self.random)

    @property
    def rated(self) -> tuple[str, ...]:
        return self.names

    def check(self, tokenizer: Tokenizer) -> None:
        self.select.check(tokenizer)

    def at_rate(self, rate: float) -> Mass:
        return replace(self, rate=rate)

    def ask(self, flat: Flat, keys: Keys) -> Flat:
        chosen = self.select(flat, self.rate, keys)
        tokens, gone = self._corrupt(flat.tokens, flat.cuts, chosen, keys)
        cuts = cuts_of(np.bincount(chosen.sequences, minlength=len(flat)))
        place = chosen.rows - flat.cuts[chosen.sequences]
        before = np.maximum(chosen.rows - 1, 0)
        outputs = Flat(
            cuts,
            np.where(place > 0, flat.tokens[before], self.start),
            positions=place,
            moved=Moved(before, place == 0),
        )
        values = flat.tokens[chosen.rows]
        rows = np.arange(len(place)) - cuts[chosen.sequences]
        return asked(
            overwritten(flat, chosen.rows[gone], tokens),
            outputs,
            Labels("vocabulary", rows=rows, values=values, side="outputs", name=self.name),
            Target(cuts, values, chosen.rows, np.zeros(len(place), bool)),
        )

    @cached_property
    def _corrupt(self) -> Corrupt:
        return Corrupt(self.mask, self.random, self.mask_id, self.vocabulary, self.specials)
