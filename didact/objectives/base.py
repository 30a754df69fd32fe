"""An objective: selection x corruption x visibility x questions. Which tokens are chosen, what becomes of them, who
sees whom, which rows are asked what.

A fine-tuning task is an objective whose labels come from a file. Objectives are frozen and stateless: their
randomness is an argument, and their schedules are resolved by `at(step)` before anything is prepared.

Shapes: n sequences, L tokens of one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from didact.batch import Batch, Example, Labels, Loss, Part, Prepared, Side
from didact.config import ModelConfig
from didact.data.flat import Flat
from didact.data.lay import lay, lay_prepared
from didact.heads import Head
from didact.nn.core import Hidden
from didact.nn.shared import Sharing
from didact.randomness import generators, words
from didact.tokenization.tokenizer import Tokenizer

Keys = NDArray[np.uint64]


class Answering(Protocol):
    """What an objective needs of a model: logits for each of the batch's labels, at once or in two steps (what the core
    makes of the inputs, what a head says of it), and their losses, with the logits or without.
    """

    def __call__(self, batch: Batch) -> tuple[Tensor, ...]: ...

    def hidden(self, side: Side) -> Hidden: ...

    def decoded(
        self,
        outputs: Side,
        encoded: Hidden,
        inputs: Side,
        layers: bool = False,
        attention: Collection[int] = (),
        cross: Collection[int] = (),
    ) -> Hidden: ...

    def answer(self, hidden: Hidden, asked: Labels) -> Tensor: ...

    def loss(self, logits: Tensor, asked: Labels) -> Part: ...

    def loss_at(self, hidden: Hidden, asked: Labels) -> Part: ...


def answers(model: Answering, batch: Batch) -> tuple[Tensor, ...]:
    """The logits of each of the batch's labels, in order."""
    sides = _sides(model, batch)
    return tuple(model.answer(sides[asked.side], asked) for asked in batch.labels)


def _sides(model: Answering, batch: Batch) -> dict[str, Hidden]:
    """What the model makes of each side of a batch."""
    encoded = model.hidden(batch.inputs)
    if batch.outputs is None:
        return {"inputs": encoded}
    return {"inputs": encoded, "outputs": model.decoded(batch.outputs, encoded, batch.inputs)}


class Once:
    """A model whose core, and whose decoder, runs once for all that is asked of the same inputs."""

    def __init__(self, model: Answering) -> None:
        self.model = model
        self.known: tuple[Side, Hidden] | None = None
        self.told: tuple[Side, Hidden, Hidden] | None = None

    def __call__(self, batch: Batch) -> tuple[Tensor, ...]:
        return answers(self, batch)

    def hidden(self, side: Side) -> Hidden:
        if self.known is None or self.known[0] is not side:
            self.known = side, self.model.hidden(side)
        return self.known[1]

    def decoded(
        self,
        outputs: Side,
        encoded: Hidden,
        inputs: Side,
        layers: bool = False,
        attention: Collection[int] = (),
        cross: Collection[int] = (),
    ) -> Hidden:
        if layers or attention or cross:  # more than the others want
            return self.model.decoded(outputs, encoded, inputs, layers, attention, cross)
        if self.told is None or self.told[0] is not outputs or self.told[1] is not encoded:
            self.told = outputs, encoded, self.model.decoded(outputs, encoded, inputs)
        return self.told[2]

    def answer(self, hidden: Hidden, asked: Labels) -> Tensor:
        return self.model.answer(hidden, asked)

    def loss(self, logits: Tensor, asked: Labels) -> Part:
        return self.model.loss(logits, asked)

    def loss_at(self, hidden: Hidden, asked: Labels) -> Part:
        return self.model.loss_at(hidden, asked)


@dataclass(frozen=True)
class Companion:
    """A model that is trained beside "main": what it is made of, what it is asked, which input tables they share."""

    config: ModelConfig
    heads: Mapping[str, Head]
    sharing: Sharing = "none"


@dataclass(frozen=True)
class Objective(ABC):
    """What every objective answers to. Only `heads`, `names` and `prepare` have to be written; `ask` where a step's
    sequences can be prepared together faster than one by one.
    """

    kind: ClassVar[str]

    @property
    @abstractmethod
    def heads(self) -> Mapping[str, Head]:
        """The heads of "main" that its questions are put to, by the name that `Labels.head` uses."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """The names of the parts of its loss (`Labels.name`)."""

    @abstractmethod
    def prepare(self, example: Example, rng: np.random.Generator) -> Prepared:
        """The example as this objective asks it. Depends on the example and `rng` alone; must not write into it."""

    @classmethod
    def answered_by(cls, settings: Mapping[str, Any]) -> Mapping[str, str]:  # noqa: ARG003
        """Of the names of losses those that not "main" answers, and which companion does. settings: of a run file."""
        return {}

    @property
    def rated(self) -> tuple[str, ...]:
        """Those of `names` whose questions depend on the share of hidden tokens (`at_rate`)."""
        return ()

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams of the core that its questions are put to (`Labels.stream`)."""
        return ("main",)

    @property
    def relation(self) -> Literal["next", "order"] | None:
        """What it wants to know of a pair of segments, for the document format to make: "next", "order" or nothing.

        Raises ValueError where its parts want different things.
        """
        return None

    @property
    def teachers(self) -> tuple[str, ...]:
        """The names of the models beside "main" that it learns from: they are given, never trained."""
        return ()

    @property
    def teachers_heads(self) -> Mapping[str, Head]:
        """The heads that it asks its teachers too."""
        return self.heads if self.teachers else {}

    def check(self, tokenizer: Tokenizer) -> None:  # noqa: B027
        """Raises InputError where it does not go with the tokenizer whose tokens it is to ask about."""

    @property
    def unrelated(self) -> float:
        """Where it wants to know of a pair: the share of pairs that the document format is to put apart or swap."""
        return 0.5

    @property
    def near(self) -> int | None:
        """Where pairs are put apart: how many anchors away, at most, the other document is, None = anywhere."""
        return None

    @property
    def segment_ids(self) -> int:
        """How many segment ids it uses."""
        return 2

    @property
    def visibility(self) -> Literal["full", "causal"] | None:
        """Of the model that it trains (`ModelConfig.visibility`): who sees whom when nothing is asked; None = any.

        Raises ValueError where its parts want different things.
        """
        return "full"

    @property
    def comparable(self) -> bool:
        """Whether validation losses of two steps are answers to the same questions, so that the lower one is better."""
        return True

    @property
    def alone(self) -> bool:
        """Whether it cannot stand beside others: what "main" is to read is made in the middle of its loss, or is not
        read row by row any more.
        """
        return False

    def companions(self, main: ModelConfig) -> Mapping[str, Companion]:  # noqa: ARG002
        """The models that it needs beside "main", by name, for a main model of this configuration.

        Raises ValueError where none goes with it.
        """
        return {}

    @property
    def queries(self) -> bool:
        """Whether it asks query rows, for which a model must have a vector (`ModelConfig.queries`)."""
        return False

    @property
    def decoder(self) -> bool:
        """Whether its questions are put to a decoder's rows, for which a model must have one."""
        return False

    @property
    def group(self) -> int:
        """How many consecutive examples of a step it asks together, as one sequence of parts; a step is to be whole
        groups, in sequences.
        """
        return 1

    def most(self, length: int, parted: bool = False) -> int:
        """Rows of the largest sequence that it makes of examples of at most so many tokens. parted: whether they have
        parts; those that have none are read twice where they are asked together.
        """
        return self.group * length * (1 if parted or self.group == 1 else 2)

    @property
    def dropout(self) -> bool:
        """Whether it learns from what dropout changes, for which a model must have some."""
        return False

    def beginning(self, start: int) -> Objective:  # noqa: ARG002
        """The objective for a decoder whose first row reads this token (`config.Decoder.start`)."""
        return self

    def rows_of(self, length: int) -> int:
        """The most rows that either side takes of a sequence of `length` tokens.

        Raises InputError where it cannot ask about so many.
        """
        return length

    @property
    def ranked(self) -> bool:
        """Whether it says of each example who sees whom, for which a core must see by the rule of the batch."""
        return False

    @property
    def segmented(self) -> bool:
        """Whether it reads a sequence in segments, the earlier ones without the later (`Permuted.segments`)."""
        return False

    @property
    def paired(self) -> bool:
        """Whether some of its questions need two segments, of the document format."""
        return False

    @property
    def follows(self) -> str:
        """The head that an objective before it must have asked, for it asks the same rows; empty = none."""
        return ""

    def at(self, step: int) -> Objective:  # noqa: ARG002
        """The objective as it is at this step, schedules resolved."""
        return self

    def at_rate(self, rate: float) -> Objective:  # noqa: ARG002
        """The objective with another share of hidden tokens, where it hides tokens (validation at fixed rates)."""
        return self

    def ask(self, flat: Flat, keys: Keys) -> Flat:
        """All sequences of a step at once: sequence i depends on flat's sequence i and keys[i] alone."""
        examples = [flat.example(i) for i in range(len(flat))]
        apart = generators(words(keys, 0))  # the source may have drawn from the generator of the key itself
        return flat.then(lay_prepared([self.prepare(e, rng) for e, rng in zip(examples, apart, strict=True)]))

    def __call__(self, examples: Sequence[Example], keys: Keys, step: int = 0) -> Flat:
        """examples (n,) and their keys (n,) uint64 -> prepared for `step`. What a `Stream` calls."""
        return self.at(step).ask(lay(examples), keys)

    def loss(self, models: Mapping[str, Answering], batch: Batch) -> Loss:
        """Sums over this batch's answers: unless said otherwise, each label's head answers for the model "main"."""
        model = models["main"]
        sides = _sides(model, batch)
        return Loss({asked.name: model.loss_at(sides[asked.side], asked) for asked in batch.labels})

    def answers(self, models: Mapping[str, Answering], batch: Batch) -> tuple[Tensor, ...]:
        """What the models answer to each of the batch's labels."""
        return models["main"](batch)


def alone(objective: Objective, example: Example, rng: np.random.Generator) -> Prepared:
    """`prepare` of an objective that is written as `ask`: one sequence, its key drawn from `rng`."""
    return objective.ask(lay([example]), rng.integers(2**64, size=1, dtype=np.uint64)).prepared()[0]
