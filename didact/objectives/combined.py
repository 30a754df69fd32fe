"""Several objectives on the same example: BERT is masked language modelling and next-sentence prediction at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor

from didact.batch import Batch, Example, Loss, Part, Prepared
from didact.config import ModelConfig
from didact.data.flat import Flat
from didact.heads import Head
from didact.objectives.base import Answering, Companion, Keys, Objective, Once, alone
from didact.randomness import words
from didact.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class Combined(Objective):
    """Hidden and asked: what `parts` hide and ask; each reads what the one before it wrote.

    Each part's loss is the mean over its own answers, times its weight (1 unless told): the weights hold whatever the
    counts are, so MLM with 600 answers a step and NSP with 32 weigh the same, as in the reference code. The names of
    all parts are distinct. Used by BERT (masked + next sentence), ALBERT (masked + sentence order).
    """

    kind: ClassVar[str] = "combined"
    parts: tuple[Objective, ...]
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.weights is not None and len(self.weights) != len(self.parts):
            raise ValueError(f"{len(self.weights)} weights for {len(self.parts)} parts")
        if len(self.parts) > 1 and (single := [part.kind for part in self.parts if part.alone]):
            raise ValueError(f"{', '.join(single)} cannot stand beside other objectives")
        if len(deciding := [part.kind for part in self.parts if part.ranked or part.visibility == "causal"]) > 1:
            raise ValueError(f"{' and '.join(deciding)} each say who sees whom")
        if any(part.relation for part in self.parts) and (apart := [p.kind for p in self.parts if p.segmented]):
            raise ValueError(f"{', '.join(apart)} in segments, of which the first sees no pair: expected segments 1")
        for number, part in enumerate(self.parts):
            if part.follows and not any(part.follows in other.heads for other in self.parts[:number]):
                raise ValueError(
                    f"{part.kind} asks what was asked before it, and nothing before it asks the {part.follows} head"
                )
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"parts must have distinct names, found {self.names}")
        for name, head in [item for part in self.parts for item in part.heads.items()]:
            if self.heads[name] != head:
                raise ValueError(f"two different heads are called {name!r}: {self.heads[name]} and {head}")

    @property
    def heads(self) -> Mapping[str, Head]:
        return {name: head for part in self.parts for name, head in part.heads.items()}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for part in self.parts for name in part.names)

    @property
    def rated(self) -> tuple[str, ...]:
        return tuple(name for part in self.parts for name in part.rated)

    @property
    def streams(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(stream for part in self.parts for stream in part.streams))

    @property
    def relation(self) -> Literal["next", "order"] | None:
        wanted: list[Literal["next", "order"]] = sorted(
            {found for part in self.parts if (found := part.relation) is not None}
        )
        if len(wanted) > 1:
            raise ValueError(f"parts that want different pairs: {', '.join(wanted)}")
        return wanted[0] if wanted else None

    @property
    def teachers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for part in self.parts for name in part.teachers))

    @property
    def teachers_heads(self) -> Mapping[str, Head]:
        return {name: head for part in self.parts for name, head in part.teachers_heads.items()}

    def check(self, tokenizer: Tokenizer) -> None:
        for part in self.parts:
            part.check(tokenizer)

    @property
    def unrelated(self) -> float:
        return min((part.unrelated for part in self.parts if part.relation), default=0.5)

    @property
    def near(self) -> int | None:
        return next((part.near for part in self.parts if part.near is not None), None)

    @property
    def segment_ids(self) -> int:
        return max(part.segment_ids for part in self.parts)

    @property
    def visibility(self) -> Literal["full", "causal"] | None:
        wanted: list[Literal["full", "causal"]] = sorted(
            {found for part in self.parts if (found := part.visibility) is not None}
        )
        if len(wanted) > 1:
            raise ValueError(f"parts that train models of different visibility: {', '.join(wanted)}")
        return wanted[0] if wanted else None

    @property
    def comparable(self) -> bool:
        return all(part.comparable for part in self.parts)

    @property
    def alone(self) -> bool:
        return any(part.alone for part in self.parts)

    def companions(self, main: ModelConfig) -> Mapping[str, Companion]:
        return {name: one for part in self.parts for name, one in part.companions(main).items()}

    @property
    def queries(self) -> bool:
        return any(part.queries for part in self.parts)

    @property
    def group(self) -> int:
        return math.lcm(*(part.group for part in self.parts))

    def most(self, length: int, parted: bool = False) -> int:
        return max(part.most(length, parted) for part in self.parts)

    @property
    def dropout(self) -> bool:
        return any(part.dropout for part in self.parts)

    @property
    def decoder(self) -> bool:
        return any(part.decoder for part in self.parts)

    def beginning(self, start: int) -> Combined:
        return replace(self, parts=tuple(part.beginning(start) for part in self.parts))

    def rows_of(self, length: int) -> int:
        return max(part.rows_of(length) for part in self.parts)

    @property
    def ranked(self) -> bool:
        return any(part.ranked for part in self.parts)

    @property
    def paired(self) -> bool:
        return any(part.paired for part in self.parts)

    def at(self, step: int) -> Combined:
        return replace(self, parts=tuple(part.at(step) for part in self.parts))

    def at_rate(self, rate: float) -> Combined:
        return replace(self, parts=tuple(part.at_rate(rate) for part in self.parts))

    def prepare(self, example: Example, rng: np.random.Generator) -> Prepared:
        return alone(self, example, rng)

    def ask(self, flat: Flat, keys: Keys) -> Flat:
        """The first part that asks about single tokens draws as it would alone, so that {masked: {}} hides the same
        words whatever stands beside it; the others draw by their place.
        """
        chief = next((number for number, part in enumerate(self.parts) if part.relation is None), 0)
        for number, part in enumerate(self.parts):
            flat = part.ask(flat, keys if number == chief else words(keys, np.full(len(keys), number)))
        return flat

    def loss(self, models: Mapping[str, Answering], batch: Batch) -> Loss:
        """The parts' own losses. All that ask about the same inputs share one run of a model's core."""
        plain = [part for part in self.parts if type(part).loss is Objective.loss]
        if 1 < len(self.parts) > len(plain):
            models = {name: Once(model) for name, model in models.items()}
        losses: dict[str, Part] = {}
        if plain:
            own = {name for part in plain for name in part.names}
            losses |= Objective.loss(self, models, _only(batch, own)).parts
        for part in self.parts:
            if part not in plain:
                losses |= part.loss(models, _only(batch, set(part.names))).parts
        weights = self.weights or (1.0,) * len(self.parts)
        weight = {name: w for part, w in zip(self.parts, weights, strict=True) for name in part.names}
        return Loss({name: replace(p, weight=p.weight * weight[name]) for name, p in losses.items()})

    def answers(self, models: Mapping[str, Answering], batch: Batch) -> tuple[Tensor, ...]:
        if len(self.parts) == 1:
            return self.parts[0].answers(models, batch)
        return super().answers(models, batch)


def _only(batch: Batch, names: set[str]) -> Batch:
    return replace(batch, labels=tuple(asked for asked in batch.labels if asked.name in names))
