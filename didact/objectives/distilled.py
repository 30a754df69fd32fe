"""What a teacher would say (DistilBERT: Sanh et al., 2019, §2 and §3; after Hinton, Vinyals & Dean, 2015).

The teacher is a model beside "main" that reads the same inputs, is never trained and drops nothing out.

Shapes: n sequences, R asked rows, V vocabulary, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from didact.batch import Batch, Example, Labels, Loss, Part, Prepared
from didact.data.flat import Asked, Flat
from didact.data.ragged import Array, cuts_of
from didact.heads import Head, State, Vocabulary
from didact.heads.base import part
from didact.heads.divergence import divergence
from didact.objectives.base import Answering, Keys, Objective, alone


@dataclass(frozen=True)
class Distilled(Objective):
    """Hidden: nothing of its own; beside `masked` it reads what that one hid. Asked: the teacher's distribution over
    the vocabulary ("soft") and the direction of its last hidden state ("cosine").

    Used by DistilBERT, beside masked words: 5 · soft + 2 · masked + 1 · cosine at temperature 2 (the reference script's
    weights). Temperature near 0 and rows "asked" come to training on the teacher's answers in place of the text's own.

    temperature: both distributions are softened by it; soft, cosine: weights of the two parts, cosine 0 = not asked (a
    teacher of another width); rows: of which "soft" is asked, "all" (as the reference code does) or "asked": those
    that the objectives before it ask a token of.
    """

    kind: ClassVar[str] = "distilled"
    temperature: float = 2.0
    soft: float = 5.0
    cosine: float = 1.0
    rows: Literal["all", "asked"] = "all"

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.soft <= 0 or self.cosine < 0:
            raise ValueError(
                f"temperature {self.temperature} and soft {self.soft} must be above 0, cosine {self.cosine} at least 0"
            )

    @property
    def heads(self) -> Mapping[str, Head]:
        return {"vocabulary": Vocabulary()} | ({"state": State()} if self.cosine else {})

    @property
    def names(self) -> tuple[str, ...]:
        return ("soft", "cosine") if self.cosine else ("soft",)

    @property
    def teachers(self) -> tuple[str, ...]:
        return ("teacher",)

    @property
    def follows(self) -> str:
        return "vocabulary" if self.rows == "asked" else ""

    @property
    def visibility(self) -> None:
        """Whatever the teacher's is, which is asked of the same rows."""
        return None

    def prepare(self, example: Example, rng: np.random.Generator) -> Prepared:
        return alone(self, example, rng)

    def ask(self, flat: Flat, keys: Keys) -> Flat:  # noqa: ARG002
        every = np.ones(len(flat.tokens), bool)
        labels = [_asked(flat, every if self.rows == "all" else _asked_before(flat), "vocabulary", "soft")]
        if self.cosine:
            labels.append(_asked(flat, every, "state", "cosine"))
        return flat.then(replace(flat, labels=tuple(labels)))

    def loss(self, models: Mapping[str, Answering], batch: Batch) -> Loss:
        """Sums of divergences and of angles, `main` against `teacher` at the same rows."""
        main, teacher = models["main"], models["teacher"]
        hidden = main.hidden(batch.inputs)
        with torch.no_grad():
            taught = teacher.hidden(batch.inputs)
        parts: dict[str, Part] = {}
        for asked in batch.labels:
            answer = main.answer(hidden, asked)
            with torch.no_grad():
                wanted = teacher.answer(taught, asked)
            if asked.head == "state":
                lost = main.loss(answer, replace(asked, values=wanted))
                parts[asked.name] = replace(lost, weight=self.cosine)
            else:
                parts[asked.name] = replace(self._softened(answer, wanted, asked), weight=self.soft)
        return Loss(parts)

    def _softened(self, answer: Tensor, wanted: Tensor, asked: Labels) -> Part:
        known = min(answer.shape[-1], wanted.shape[-1])  # either may be padded with tokens that no text has
        return part(*divergence(answer[:, :known], wanted[:, :known], self.temperature), asked)


def _asked(flat: Flat, of: Array, head: str, name: str) -> Asked:
    """A question to `head` about the rows `of` (N,) bool. What is right, the teacher says: the values are (R, 0)."""
    rows = np.flatnonzero(of)
    sequences = np.searchsorted(flat.cuts, rows, side="right") - 1
    labels = Labels(head, rows - flat.cuts[sequences], np.zeros((len(rows), 0), np.int64), name=name)
    return Asked(labels, cuts_of(np.bincount(sequences, minlength=len(flat))))


def _asked_before(flat: Flat) -> Array:
    """(N,) bool: rows that are asked a token of."""
    found = np.zeros(len(flat.tokens), bool)
    for asked in flat.labels:
        if asked.labels.head == "vocabulary":
            found[asked.labels.rows + np.repeat(flat.cuts[:-1], np.diff(asked.cuts))] = True
    return found
