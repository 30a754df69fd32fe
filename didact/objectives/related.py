"""How two segments relate: next-sentence prediction (Devlin et al., 2019, §3.1) and sentence order (Lan et al., 2020,
§3.1).

Both are answered at the first row ([CLS]) by the head `pair_relation`; what the right answer is, the document format
has put into `targets["relation"]` when it made the pair: 0 where B follows A, 1 where it does not.

Shapes: n sequences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from didact.batch import Example, Labels, Prepared
from didact.bounds import check_counts
from didact.data.flat import Asked, Flat
from didact.data.ragged import cuts_of
from didact.errors import InputError
from didact.heads import Head, PairRelation
from didact.objectives.base import Keys, Objective, alone
from didact.tokenization.tokenizer import Tokenizer


def check_first(kind: str, tokenizer: Tokenizer) -> None:
    """Raises InputError where the first row of a pair, which is to say how it is related, is a word of it."""
    if not isinstance(tokenizer.template.pair[0][0], int):
        raise InputError(
            f"objective.{kind}: it asks the first row, and the tokenizer puts no token before a pair",
            expected="[CLS] a [SEP] b [SEP]",
        )


@dataclass(frozen=True)
class _Relation(Objective):
    """Asks [CLS] for `targets["relation"]`. An example without one (a document of one sentence) is asked nothing."""

    name: str = ""

    @property
    def heads(self) -> Mapping[str, Head]:
        return {"pair_relation": PairRelation()}

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def check(self, tokenizer: Tokenizer) -> None:
        check_first(self.kind, tokenizer)

    def prepare(self, example: Example, rng: np.random.Generator) -> Prepared:
        return alone(self, example, rng)

    def ask(self, flat: Flat, keys: Keys) -> Flat:  # noqa: ARG002
        relations = [example.targets.get("relation", -1) for example in flat.examples]
        known = np.array(relations, np.int64)
        asked = known >= 0
        labels = Labels("pair_relation", np.zeros(int(asked.sum()), np.int64), known[asked], name=self.name)
        return flat.then(replace(flat, labels=(Asked(labels, cuts_of(asked.astype(np.int64))),)))


@dataclass(frozen=True)
class NextSentence(_Relation):
    """Hidden: nothing. Asked: does segment B follow A, or does it come from another document? Of [CLS].

    Used by BERT. Needs a document format with relation "next". name: of its figures. near: how many anchors away, at
    most, the other document is: in a corpus whose neighbours speak of the same (a module's functions, an encyclopedia
    in order) its subject alone does not give the answer away; None = anywhere, as BERT has it.
    """

    kind: ClassVar[str] = "next_sentence"
    name: str = "nsp"
    near: int | None = None  # pyright: ignore[reportIncompatibleMethodOverride]

    def __post_init__(self) -> None:
        check_counts(near=self.near)

    @property
    def relation(self) -> Literal["next"]:
        return "next"


@dataclass(frozen=True)
class SentenceOrder(_Relation):
    """Hidden: nothing. Asked: do segments A and B stand in their order, or are they swapped? Of [CLS].

    Used by ALBERT, and with a third class by StructBERT. Needs a document format with relation "order". name: of its
    figures.
    """

    kind: ClassVar[str] = "sentence_order"
    name: str = "sop"

    @property
    def relation(self) -> Literal["order"]:
        return "order"
