"""didact.objectives.combined: parts read each other's writing, and weigh what they are told to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from data_tools import example
from torch import Tensor

from didact.batch import Batch, Example, Labels, Loss, Part, Prepared, Side
from didact.heads import Classes, Head
from didact.objectives import Combined, Distilled, Masked, NextSentence, Objective, SentenceOrder
from didact.randomness import generator

MASKED = Masked(mask_id=4, vocabulary=100, specials=(0, 1, 2, 3, 4), rate=0.4)


@dataclass(frozen=True)
class Counting(Objective):
    """A part of its own kind: asks the last row how many masks it reads; its loss is its own business."""

    kind: ClassVar[str] = "counting"

    @property
    def heads(self) -> Mapping[str, Head]:
        return {"count": Classes(200)}

    @property
    def names(self) -> tuple[str, ...]:
        return ("count",)

    def prepare(self, example: Example, rng: np.random.Generator) -> Prepared:  # noqa: ARG002
        seen = np.array([int((example.tokens == 4).sum())])
        return Prepared(example, (Labels("count", np.array([len(example) - 1]), seen),))

    def loss(self, models: Mapping[str, Any], batch: Batch) -> Loss:  # noqa: ARG002
        (asked,) = batch.labels
        return Loss({"count": Part(torch.tensor(7.0), asked.count)})


class Answers:
    """A model whose every answer costs 1, and which counts how often it runs. width: numbers of an answer, 0 = one."""

    def __init__(self, width: int = 0) -> None:
        self.runs, self.width = 0, width

    def __call__(self, batch: Batch) -> tuple[Tensor, ...]:
        self.runs += 1
        return tuple(torch.ones(len(asked.values)) for asked in batch.labels)

    def hidden(self, side: Side) -> Any:  # noqa: ARG002
        self.runs += 1
        return None

    def answer(self, hidden: Any, asked: Labels) -> Tensor:  # noqa: ARG002
        return torch.ones(len(asked.values), *[self.width] * (self.width > 0))

    def loss(self, logits: Tensor, asked: Labels) -> Part:
        return Part(logits[..., :1].sum() if self.width else logits.sum(), asked.count)

    def loss_at(self, hidden: Any, asked: Labels) -> Part:
        return self.loss(self.answer(hidden, asked), asked)


def keys(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(2**64, size=count, dtype=np.uint64)


def examples(count: int = 12) -> list[Example]:
    return [example(5 + 3 * i, seed=i, relation=i % 2) for i in range(count)]


def test_parts_ask_the_same_sequences() -> None:
    both = Combined((MASKED, NextSentence()))(examples(), keys(12)).batch(range(12))
    assert [a.name for a in both.labels] == ["mlm", "nsp"]
    assert both.counts["nsp"] == 12
    assert both.labels[1].rows.tolist() == both.inputs.packed.cu_seqlens[:-1].tolist()
    assert (both.inputs.packed.tokens == 4).sum() > 0


def test_a_part_reads_what_the_one_before_it_wrote() -> None:
    flat = Combined((MASKED, Counting()))(examples(), keys(12))
    for prepared in flat.prepared():
        assert prepared.labels[1].values.tolist() == [int((prepared.inputs.tokens == 4).sum())]
    before = Combined((Counting(), MASKED))(examples(), keys(12))
    assert all(p.labels[0].values.tolist() == [0] for p in before.prepared())


def test_parts_draw_apart() -> None:
    twice = Combined((MASKED, replace(MASKED, name="again")))
    prepared = twice.prepare(example(200), generator(0))
    first, second = (set(asked.rows.tolist()) for asked in prepared.labels)
    assert first != second


@pytest.mark.parametrize(
    "beside",
    [
        (MASKED,),
        (MASKED, Counting()),
        (MASKED, NextSentence()),
        (NextSentence(), MASKED),
    ],
    ids=["alone, weighed", "with another", "before a relation", "after a relation"],
)
def test_the_same_words_are_hidden_whatever_stands_beside(beside: tuple[Objective, ...]) -> None:
    """So that losses of runs with other objectives are answers to the same questions."""
    for seed in range(5):
        alone = MASKED.prepare(example(30), generator(0, seed))
        (own,) = alone.labels
        made = Combined(beside, weights=(2.0,) * len(beside)).prepare(example(30), generator(0, seed))
        asked = next(labels for labels in made.labels if labels.name == "mlm")
        assert made.inputs.tokens.tolist() == alone.inputs.tokens.tolist()
        assert asked.rows.tolist() == own.rows.tolist()


def test_weights_hold_whatever_the_counts() -> None:
    objective = Combined((MASKED, NextSentence()), (1.0, 0.25))
    batch = objective(examples(), keys(12)).batch(range(12))
    model = Answers()
    loss = objective.loss({"main": model}, batch)
    assert model.runs == 1
    assert {name: part.weight for name, part in loss.parts.items()} == {"mlm": 1.0, "nsp": 0.25}
    assert float(loss.scaled(batch.counts)) == pytest.approx(1.25)
    plain = Combined((MASKED, NextSentence()))
    assert float(plain.loss({"main": Answers()}, batch).scaled(batch.counts)) == pytest.approx(2.0)


def test_a_part_with_a_loss_of_its_own() -> None:
    objective = Combined((Counting(), NextSentence()), (2.0, 1.0))
    batch = objective(examples(), keys(12)).batch(range(12))
    loss = objective.loss({"main": Answers()}, batch)
    assert float(loss.parts["count"].total) == 7.0
    assert loss.parts["count"].weight == 2.0
    assert float(loss.parts["nsp"].total) == 12.0


def test_parts_with_losses_of_their_own_share_one_run_of_each_model() -> None:
    objective = Combined((MASKED, NextSentence(), Distilled()), (2.0, 1.0, 0.5))
    batch = objective(examples(), keys(12)).batch(range(12))
    models = {"main": Answers(width=5), "teacher": Answers(width=5)}
    loss = objective.loss(models, batch)
    assert models["main"].runs == models["teacher"].runs == 1
    assert {name: part.weight for name, part in loss.parts.items()} == {"mlm": 2, "nsp": 1, "soft": 2.5, "cosine": 0.5}
    assert objective.teachers == ("teacher",)


def test_schedules_and_rates_reach_the_parts() -> None:
    objective = Combined((replace(MASKED, rate=((0, 0.3), (10, 0.1))), NextSentence()))
    part = objective.at(5).parts[0]
    assert isinstance(part, Masked)
    assert part.rate == pytest.approx(0.2)
    assert objective.at_rate(0.4).parts[0] == replace(MASKED, rate=0.4)
    assert objective.rated == ("mlm",)
    assert objective.names == ("mlm", "nsp")
    assert set(objective.heads) == {"vocabulary", "pair_relation"}
    assert objective.relation == "next"


def test_what_does_not_go_together_is_said() -> None:
    with pytest.raises(ValueError, match="distinct names"):
        Combined((MASKED, MASKED))
    with pytest.raises(ValueError, match="1 weights for 2 parts"):
        Combined((MASKED, NextSentence()), (1.0,))
    with pytest.raises(ValueError, match="different pairs"):
        _ = Combined((NextSentence(), SentenceOrder())).relation
