"""What the benchmarks of training steps have in common: two sides of one step, in turns, on a processor or a GPU.

Both sides collate, ask, run forward and backward, clip and apply fused AdamW, from equal weights, on the same
sequences, with the same dropout. On a GPU batches are made beforehand on both sides: loaders make them beside it.
"""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch

from didact.batch import Batch, Example
from didact.config import ModelConfig
from didact.data.stream import Stream
from didact.lab.bench import machine, material, ours
from didact.lab.bench.measure import Benchmark, Case, Contender, Outcome, Work, both_sides, take_turns
from didact.lab.bench.peer import Recipe
from didact.model import Model
from didact.objectives.base import Objective
from didact.training.flops import matmul_peak, step_flops
from didact.training.policy import DTYPES

SIZES = ("vocabulary", "layers", "width", "heads", "feedforward")
MINI = ModelConfig(layers=4, width=256, heads=4, feedforward=1024)
Theirs = Callable[[bool, Recipe], Work]
"""The peer's work, compiled or not."""


@dataclass(frozen=True)
class Sides:
    """model: in words; models: ours, by name; theirs: the peer's work; tokens: real ones of a round, on either side;
    equal_start: by how much the losses of the first batch differ; settings: what else the record is to say.
    """

    model: str
    models: Mapping[str, Model]
    objective: Objective
    stream: Stream
    theirs: Theirs
    tokens: int
    equal_start: float
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StepBenchmark(Benchmark):
    """sequences, longest: of a step; steps: of a round; kinds: of lengths, see `material.lengths`; dropout: of hidden
    states (of attention it is 0 unless a benchmark says otherwise); compiled: whether ours is, and whether theirs is
    shown so besides; precisions: None = those the device has units for; device: "cpu" or "cuda".
    """

    config: ModelConfig = MINI
    sequences: int = 32
    longest: int = 128
    steps: int = 2
    kinds: tuple[str, ...] = ("full", "mixed")
    dropout: float = 0.1
    compiled: bool = True
    precisions: tuple[str, ...] | None = None
    device: str = "cpu"
    peak_sizes: tuple[int, ...] = (1024, 2048, 4096)

    @abstractmethod
    def sides(self, kind: str, folder: Path) -> Sides:
        """Both sides of a step at lengths of this kind, ready to be built; `folder` is empty and lasts as long."""

    def others(self, sides: Sides, recipe: Recipe) -> list[Contender]:  # noqa: ARG002
        """Contenders besides didact and transformers."""
        return []

    def small(self) -> Self:
        tiny = replace(self.config, vocabulary=200, layers=2, width=16, heads=2, feedforward=32)
        sizes = replace(self, config=tiny, sequences=4, longest=16, steps=1, peak_sizes=(64,))
        return replace(sizes, compiled=False, precisions=("fp32",))

    def on(self, device: str) -> Self:
        """On a GPU: BERT-base's sizes, 64 sequences of 64 to 512 tokens."""
        if device == "cpu":
            return self
        base = replace(self.config, layers=12, width=768, heads=12, feedforward=3072)
        return replace(
            self, device=device, config=base, sequences=64, longest=512, steps=8, peak_sizes=(4096, 8192, 16384)
        )

    def outcomes(self, repeats: int) -> Iterator[Outcome]:
        for precision in self.precisions or machine.precisions(self.device):
            recipe = Recipe(precision, device=self.device)
            for kind in self.kinds:
                with tempfile.TemporaryDirectory() as folder:
                    yield self._outcome(kind, recipe, self.sides(kind, Path(folder)), repeats)
                torch.compiler.reset()

    def lengths(self, kind: str) -> list[int]:
        """Of the sequences of a round."""
        return material.lengths(kind, self.sequences * self.steps, seed=1, longest=self.longest)

    def _outcome(self, kind: str, recipe: Recipe, sides: Sides, repeats: int) -> Outcome:
        def mine() -> Work:
            step = ours.trainer(sides.models, sides.objective, sides.stream, recipe, self.steps, self.compiled)

            def work(turn: int) -> float:
                step(turn)
                return sides.tokens

            return work

        contenders = both_sides(mine, lambda compiled: sides.theirs(compiled, recipe), self.compiled)
        contenders += self.others(sides, recipe)
        flops = sum(step_flops(sides.models, sides.stream[step]) for step in range(self.steps))
        settings = {
            "model": sides.model,
            "sequences": self.sequences,
            "tokens": sides.tokens // self.steps,
            "longest": self.longest,
            "precision": recipe.precision,
            "device": machine.device_name(self.device),
            "dropout": self.dropout,
            "attention_dropout": 0.0,
            "clip": recipe.clip,
            "steps_a_round": self.steps,
            "equal_start": sides.equal_start,
            **sides.settings,
        }
        case = Case(self.name, f"{kind} lengths, {recipe.precision}", "real tokens", tuple(contenders), settings)
        done = take_turns(case, repeats, wait=lambda: machine.wait(self.device))
        peak = matmul_peak(torch.device(self.device), DTYPES[recipe.precision], self.peak_sizes)
        reached = flops / done.timings["didact"].time.median
        note = (
            f"didact reaches {reached / 1e9:,.1f} GFLOP/s, {reached / peak:.1%} of the {recipe.precision} matmul peak "
            f"({peak / 1e9:,.1f} GFLOP/s, best of square n {', '.join(map(str, self.peak_sizes))})"
        )
        return replace(done, notes=(*done.notes, note), facts={"share_of_peak": reached / peak, "peak": peak})


def peer_work(
    step: Callable[[Any], object],
    collator: Callable[[Any], Any],
    groups: Sequence[Sequence[Example]],
    recipe: Recipe,
    rows: Callable[[Sequence[Example]], Any] = material.as_features,
) -> Work:
    """A round of theirs: collate and train on each group of sequences; returns real tokens. rows: what the collator
    takes of a group.
    """
    given = [rows(group) for group in groups]
    tokens = sum(len(example) for group in groups for example in group)
    known = [collator(features) for features in given] if recipe.beforehand else None

    def work(turn: int) -> float:  # noqa: ARG001
        for number, features in enumerate(given):
            step(collator(features) if known is None else known[number])
        return tokens

    return work


@torch.no_grad()
def padded_loss(model: Any, batches: Sequence[Batch]) -> float:
    """A transformers model's loss on what we prepared, padded and with -100 for rows nobody asks, without dropout."""
    model.eval()
    total = count = 0.0
    for batch in batches:
        packed, (asked,) = batch.inputs.packed, batch.labels
        labels = torch.full_like(packed.tokens, -100)
        labels[asked.rows] = asked.values
        mask = packed.pad(torch.ones_like(packed.tokens))
        loss = model(input_ids=packed.pad(packed.tokens), attention_mask=mask, labels=packed.pad(labels, -100)).loss
        total, count = total + float(loss) * asked.count, count + asked.count
    return total / count
