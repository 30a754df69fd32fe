"""What flows from the data to the loss: Example -> Prepared -> Batch -> Loss.

An Example is one sequence as the data gives it; Prepared is what an objective made of it (corrupted inputs, who sees
whom, which rows are asked what); a Batch is many Prepared, packed; a Loss is what a Step returns. Example and
Prepared are numpy (workers make them), Batch and Loss are torch.

Shapes: L tokens of one sequence, T of the pack, n asked rows, g groups, S sentences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from didact.packed import Packed
from didact.visibility import Visibility, bidirectional

Array = NDArray[Any]
SideName = Literal["inputs", "outputs"]


@dataclass(frozen=True)
class Source:
    """Where an example comes from: the record's id, and the character of that record where its text begins."""

    record: str | int
    character: int = 0


@dataclass(frozen=True, slots=True)
class Example:
    """One sequence, special tokens in place.

    tokens (L,) int64; special (L,) bool: tokens that no objective may choose ([CLS], [SEP] …);
    segments (L,) int64: token-type ids; words (L,) int64: the number of the word that each token belongs to, counted
    over the sequence, -1 for special tokens; sentences (S,) int64: rows where a sentence starts;
    offsets (L, 2) int64: the characters [start, end) of the source text that each token covers, (0, 0) for special
    ones; source_bytes (L,) int64: bytes of source that each token stands for (sum = the text's bytes);
    parts (k,) int64: rows where a part begins that is a sequence of its own to the model: unseen by the other parts,
    positions from 0 (the choices of one question); None = the example is one sequence;
    positions (L,) int64: where each token stands in the text that it was taken out of; None = counted from 0;
    targets: what a labelled file or a document format says of it, by name.
    """

    tokens: Array
    special: Array
    segments: Array | None = None
    words: Array | None = None
    sentences: Array | None = None
    offsets: Array | None = None
    source_bytes: Array | None = None
    parts: Array | None = None
    positions: Array | None = None
    targets: Mapping[str, Any] = field(default_factory=dict)
    source: Source | None = None

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class Labels:
    """Which rows are asked what, by which head: no -100, no logits for rows nobody asks.

    head: name of the head that answers; rows (n,) int64: the rows asked, numbered within the sequence while prepared,
    within the pack once batched; groups (g + 1,) int64 or None: rows [groups[i], groups[i + 1]) of `rows` are answered
    as one (a QA window's candidates, the choices of a question, the tokens to be pooled); values: the right answers,
    one per row, or per group where there are groups (integers, floats, or (·, k) for several at once);
    weights: like values' first axis, float32, None = all 1; noise (n,): one uniform number per row for objectives
    that sample inside the step (ELECTRA). name: what this part of the loss is called, the head's name unless given.
    count: what the summed loss is divided by, a host number known before forward: Σ weights, or the number of values.
    covered: bytes of source that the asked tokens stand for, where known (0 otherwise): bits per byte divide by it.
    """

    head: str
    rows: Any
    values: Any
    groups: Any = None
    weights: Any = None
    noise: Any = None
    side: SideName = "inputs"
    stream: str = "main"
    name: str = ""
    count: float = -1.0
    covered: int = 0

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.head)
        if self.count < 0:
            counted = len(self.values) if self.weights is None else float(self.weights.sum())
            object.__setattr__(self, "count", float(counted))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Labels:
        moved = {
            name: value.to(device, non_blocking=non_blocking)
            for name in ("rows", "values", "groups", "weights", "noise")
            if isinstance(value := getattr(self, name), Tensor)
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class Prepared:
    """An example as an objective asks it.

    inputs: the (corrupted) sequence the model reads; outputs: the decoder's, or None; visibility: who sees whom in
    each; labels: rows within this sequence; hidden (L,) bool: the rows of the *original* whose token the objective
    hides from the row asked for it (the no-leak law tests exactly these; kept tokens are not hidden). Where a decoder
    is asked, these are the tokens that `inputs` has lost, and they are hidden from the decoder's rows up to the one
    asked for them: later ones have read them.
    queries (m,) int64, increasing, or None: rows that get a query row besides: row L + i of the sequence asks about row
    queries[i], shares its position and segment, reads no token, is seen by nobody and sees what its row sees, without
    that row itself and what came into the order with it: reach = rank - 1. memory: of an example in parts, how many
    rows before its first one a part sees, as the layer below had made them (`packed.Chain`); None: it knows nothing of
    the parts before it.
    """

    inputs: Example
    labels: tuple[Labels, ...]
    outputs: Example | None = None
    visibility: Visibility = field(default_factory=bidirectional)
    output_visibility: Visibility = field(default_factory=bidirectional)
    hidden: Array | None = None
    queries: Array | None = None
    memory: int | None = None

    @property
    def size(self) -> int:
        """Rows this example takes in a pack (of its longer side)."""
        inputs = len(self.inputs) + (0 if self.queries is None else len(self.queries))
        return max(inputs, 0 if self.outputs is None else len(self.outputs))


@dataclass(frozen=True)
class Side:
    """One side of a batch: the packed tokens and who sees whom among them."""

    packed: Packed
    visibility: Visibility = field(default_factory=bidirectional)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Side:
        return Side(self.packed.to(device, non_blocking), self.visibility.to(device, non_blocking))


@dataclass(frozen=True)
class Batch:
    """Packed examples and what is asked of them. tokens: real input tokens in it, a host number; query rows, which
    read none, do not count.
    """

    inputs: Side
    labels: tuple[Labels, ...]
    outputs: Side | None = None
    tokens: int = 0

    @property
    def counts(self) -> dict[str, float]:
        """What each part of the loss is divided by, known before forward."""
        counts: dict[str, float] = {}
        for asked in self.labels:
            counts[asked.name] = counts.get(asked.name, 0.0) + asked.count
        return counts

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        return Batch(
            self.inputs.to(device, non_blocking),
            tuple(asked.to(device, non_blocking) for asked in self.labels),
            None if self.outputs is None else self.outputs.to(device, non_blocking),
            self.tokens,
        )


@dataclass(frozen=True)
class Part:
    """One term of a loss: total, the *sum* over its count answers (scalar, differentiable); weight in the objective.

    correct: how many of them the model got right (scalar, detached), where that has a meaning; marked (3,): of a head
    that marks some rows and leaves the others, how many were marked rightly, marked, and to be marked (detached).
    """

    total: Tensor
    count: float
    weight: float = 1.0
    correct: Tensor | None = None
    marked: Tensor | None = None


@dataclass(frozen=True)
class Loss:
    """The sums a Step returns. Sums, because the mean over a global batch is not the mean of micro-batch means."""

    parts: Mapping[str, Part]

    def scaled(self, counts: Mapping[str, float]) -> Tensor:
        """Σ weight · total / counts[name], with counts of the *global* batch (all micro-batches, all ranks).

        A part without answers anywhere adds 0. This is what is differentiated.
        """
        terms = [
            part.total * (part.weight / counts[name]) if counts[name] > 0 else part.total * 0.0
            for name, part in self.parts.items()
        ]
        return torch.stack(terms).sum()


def empty_labels(head: str, name: str = "") -> Labels:
    """Labels that ask nothing: what an objective returns for an example too short to ask anything of."""
    none = np.zeros(0, np.int64)
    return Labels(head, none, none, name=name)
